/* Any bytes as a function.ini. What must hold, whatever came in: reading ends well,
 * with a bounded list of problems in the order of their lines; what was taken over is
 * in its range and is UTF-8 without a control character but those of escapes. With
 * files as arguments it is a plain program. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "images/config.h"
#include "images/function.h"
#include "images/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

static void must_be_text(const char *text) {
    const unsigned char *p = (const unsigned char *)text, *end = p + strlen(text);
    while (p < end) {
        size_t step = utf8_step(p, end);
        must(step && (*p >= 0x20 || *p == '\n' || *p == '\t') && *p != 0x7f);
        p += step;
    }
}

static void check_pairs(struct function_pair *pairs, size_t count) {
    must(count <= CONFIG_MAX_KEYS);
    for (size_t i = 0; i < count; i++) {
        must_be_text(pairs[i].key);
        must_be_text(pairs[i].value);
        free(pairs[i].key);
        free(pairs[i].value);
    }
    free(pairs);
}

static void check_function(struct function *function) {
    must(function->limits.memory >= 4 << 20 && function->limits.memory <= 1ull << 40);
    must(function->limits.timeout_ms >= 1 && function->limits.timeout_ms <= 86400000);
    must(function->limits.cpu_milli >= 10 && function->limits.cpu_milli <= 1024000);
    must(function->limits.files >= 16 && function->limits.logs <= 1 << 30);
    must(!function->name || (*function->name && strlen(function->name) <= 64));
    if (function->handler)
        must_be_text(function->handler);
    check_pairs(function->environment, function->environment_count);
    check_pairs(function->secrets, function->secrets_count);
    free(function->name);
    free(function->handler);
    free(function->image);
    free(function->scale.warmup);
}

static void check_problems(struct config_problems *problems) {
    must(problems->count <= CONFIG_MAX_PROBLEMS + 1);
    for (size_t i = 0; i < problems->count; i++) {
        must(problems->items[i].text != NULL);
        must_be_text(problems->items[i].text);
        must(!i || problems->items[i].line >= problems->items[i - 1].line);
    }
    config_problems_free(problems);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    struct function function = {0};
    struct config_problems problems = {0};
    struct error err = {0};
    if (fd < 0)
        fd = memfd_create("function.ini", MFD_CLOEXEC);
    must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    must(lseek(fd, 0, SEEK_SET) == 0);
    config_defaults(&function);
    must(config_read(fd, "function.ini", &function, &problems, &err) == 0);
    check_function(&function);
    check_problems(&problems);
    return 0;
}

#include "tests/fuzz/plain.h"
