/* Cuts a stream of JSON lines and prints them for people. */
#ifndef FNRUN_LOG_LINES_H
#define FNRUN_LOG_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A log line has 8 KiB at most; each byte of it can take six in JSON. */
#define LOG_LINES_MAX ((size_t)128 * 1024)

struct log_lines {
    FILE *to;
    bool json;     /* lines pass as they are */
    bool terminal; /* what would move the cursor or change colours is shown as ? */
    bool colours;
    size_t used;
    char line[LOG_LINES_MAX];
};

/* Takes the next bytes of the stream and prints each whole line. Returns 0, or -EPROTO when
 * a line is no JSON object, or longer than LOG_LINES_MAX. */
int log_lines_add(struct log_lines *lines, const char *bytes, size_t length);

/* "30s", "5m", "2h", "1d" to microseconds; -1 where text is none. */
long long log_lines_age(const char *text);

#endif
