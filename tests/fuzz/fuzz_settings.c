/* Any bytes as a fnrun.ini. What must hold, whatever came in: reading ends well, with a
 * bounded list of problems in the order of their lines; what was taken over is in its range, and
 * a function that says nothing comes out of it whole. With files as arguments it is a plain
 * program. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runner/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

static void check_function(const struct settings *settings, bool good) {
    struct function function = {0};
    struct config_problems problems = {0};
    config_defaults(&function);
    settings_apply(settings, &function, &problems);
    must(!good || !problems.count);
    must(function.limits.memory >= 4 << 20 && function.limits.memory <= settings->max_memory);
    must(function.limits.timeout_ms >= 1);
    must(function.limits.timeout_ms <= settings->max_timeout_ms);
    must(function.scale.concurrency >= 1);
    must(function.scale.concurrency <= settings->max_concurrency);
    must(!function.scale.warmup);
    config_problems_free(&problems);
    free(function.image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char path[64];
    static int fd = -1;
    struct config_problems problems = {0};
    struct settings settings = {0}, now = {0};
    struct error err = {0};
    char text[128];
    if (fd < 0) {
        fd = memfd_create("fnrun.ini", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    must(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
    must(settings_load(path, &settings, &problems, &err) == 0);
    must(problems.count <= CONFIG_MAX_PROBLEMS + 1);
    for (size_t i = 1; i < problems.count; i++)
        must(problems.items[i].line >= problems.items[i - 1].line);
    must(*settings.store == '/' && *settings.socket == '/' && *settings.user);
    must(settings.mode >= 0600 && settings.mode <= 0777);
    check_function(&settings, !problems.count);
    settings_reload(&now, &settings, text, sizeof text);
    must(strlen(text) < sizeof text);
    config_problems_free(&problems);
    settings_free(&settings);
    settings_free(&now);
    return 0;
}

#include "tests/fuzz/plain.h"
