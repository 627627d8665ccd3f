#include "cli/log_lines.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/remote.h"

/* What a terminal would obey: C0 but for the tab, DEL, and C1 in UTF-8. A function's words
 * are not trusted with the reader's screen. */
static void print_safe(FILE *to, const char *text) {
    for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
        if ((*p < ' ' && *p != '\t') || *p == 127) {
            putc('?', to);
        } else if (*p == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
            putc('?', to);
            p++;
        } else {
            putc(*p, to);
        }
    }
}

/* "2024-05-17T12:34:56.789 REQUEST message", the time of this machine's zone. */
static void print_line(struct log_lines *lines, const cJSON *json) {
    double us = remote_number(json, "time");
    char date[32] = "?";
    struct tm parts;
    time_t seconds = us >= 0 && us < 253402300800e6 ? (time_t)(us / 1e6) : 0;
    if (localtime_r(&seconds, &parts))
        strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &parts);
    unsigned ms = (unsigned)((us - (double)seconds * 1e6) / 1e3) % 1000;
    const char *id = remote_text(json, "requestId"), *message = remote_text(json, "message");
    fprintf(lines->to, "%s%s.%03u %.36s%s ", lines->colours ? "\033[2m" : "", date, ms,
            *id ? id : "-", lines->colours ? "\033[0m" : "");
    if (lines->terminal)
        print_safe(lines->to, message);
    else
        fputs(message, lines->to);
    putc('\n', lines->to);
}

static int take_line(struct log_lines *lines) {
    size_t length = lines->used;
    lines->used = 0;
    if (!length || (length == 1 && lines->line[0] == '\r'))
        return 0;
    cJSON *json = cJSON_ParseWithLength(lines->line, length);
    bool good = cJSON_IsObject(json);
    if (good && lines->json) {
        fwrite(lines->line, 1, length, lines->to);
        putc('\n', lines->to);
    } else if (good) {
        print_line(lines, json);
    }
    cJSON_Delete(json);
    return good ? 0 : -EPROTO;
}

int log_lines_add(struct log_lines *lines, const char *bytes, size_t length) {
    while (length) {
        const char *end = memchr(bytes, '\n', length);
        size_t part = end ? (size_t)(end - bytes) : length;
        if (part > sizeof lines->line - lines->used)
            return -EPROTO;
        memcpy(lines->line + lines->used, bytes, part);
        lines->used += part;
        part += end != NULL;
        bytes += part;
        length -= part;
        int r = end ? take_line(lines) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

long long log_lines_age(const char *text) {
    static const struct {
        const char *unit;
        long long us;
    } units[] = {
        {"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000LL}, {"d", 86400000000LL}};
    size_t digits = strspn(text, "0123456789");
    if (digits < 1 || digits > 9)
        return -1;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(text + digits, units[i].unit) == 0)
            return strtoll(text, NULL, 10) * units[i].us;
    return -1;
}
