#include "images/config_lines.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "images/utf8.h"

#define BYTE_ORDER_MARK "\xef\xbb\xbf"

void config_lines_start(struct config_lines *lines, char *data, size_t length) {
    *lines = (struct config_lines){.at = data, .end = data + length};
    if (length >= 3 && memcmp(data, BYTE_ORDER_MARK, 3) == 0)
        lines->at += 3;
}

__attribute__((format(printf, 2, 3))) static void bad(struct config_line *line, const char *format,
                                                      ...) {
    va_list args;
    va_start(args, format);
    line->kind = CONFIG_LINE_BAD;
    vsnprintf(line->text, sizeof line->text, format, args);
    va_end(args);
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static char *skip_blanks(char *p) {
    while (is_blank(*p))
        p++;
    return p;
}

/* Ends the text at p before its trailing blanks. */
static void strip_end(char *p) {
    size_t length = strlen(p);
    while (length && is_blank(p[length - 1]))
        length--;
    p[length] = 0;
}

static bool ends_or_comment(const char *p) {
    return !*p || *p == ';' || *p == '#';
}

/* Whether the bytes are text; else the line is bad. */
static bool check_bytes(const char *start, const char *stop, struct config_line *line) {
    if (stop - start > CONFIG_MAX_LINE) {
        bad(line, "a line of %zu bytes; %d at most", (size_t)(stop - start), CONFIG_MAX_LINE);
        return false;
    }
    for (const char *p = start; p < stop;) {
        size_t step = utf8_step((const unsigned char *)p, (const unsigned char *)stop);
        unsigned char c = (unsigned char)*p;
        if (!c) {
            bad(line, "a NUL byte at column %zu: save the file as UTF-8 text",
                (size_t)(p - start) + 1);
        } else if (c == '\r') {
            bad(line,
                "a carriage return inside the line, at column %zu: end lines with LF or CR LF",
                (size_t)(p - start) + 1);
        } else if ((c < 0x20 && c != '\t') || c == 0x7f) {
            bad(line, "a control character (0x%02x) at column %zu: write text only", c,
                (size_t)(p - start) + 1);
        } else if (!step) {
            bad(line, "invalid UTF-8 (0x%02x) at column %zu: save the file as UTF-8", c,
                (size_t)(p - start) + 1);
        } else {
            p += step;
            continue;
        }
        return false;
    }
    return true;
}

/* Removes quotes and escapes in place. */
static void unquote(char *value, struct config_line *line) {
    char *from = value + 1, *to = value;
    while (*from && *from != '"') {
        if (*from == '\\') {
            from++;
            const char *escape = *from ? strchr("\"\\nt", *from) : NULL;
            if (!escape) {
                bad(line, "`\\%.1s` in a quoted value: the escapes are \\\" \\\\ \\n and \\t",
                    (unsigned char)*from < 0x80 ? from : "?");
                return;
            }
            *to++ = "\"\\\n\t"[escape - "\"\\nt"];
            from++;
        } else {
            *to++ = *from++;
        }
    }
    if (!*from) {
        bad(line,
            "a quoted value without its closing quote: a value is one line (\\n is a new one)");
        return;
    }
    from = skip_blanks(from + 1);
    if (!ends_or_comment(from)) {
        bad(line, "something behind the closing quote; write a quote inside the value as \\\"");
        return;
    }
    *to = 0;
}

static void read_value(char *value, struct config_line *line) {
    line->value = value;
    if (*value == '"') {
        unquote(value, line);
        return;
    }
    for (char *p = value; *p; p++) {
        if ((*p == ';' || *p == '#') && (p == value || is_blank(p[-1]))) {
            *p = 0;
            break;
        }
    }
    strip_end(value);
}

/* Keys that inih would read otherwise than they are written (`a:b = c` is its key a)
 * are none. */
static bool is_key(const char *key) {
    return *key && !key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                    "0123456789_.-")];
}

static void read_key(char *text, struct config_line *line) {
    char *equals = strchr(text, '='), shown[UTF8_EXCERPT];
    if (!equals) {
        bad(line, "expected `key = value` or `[section]`%s",
            strchr(text, ':') ? "; between key and value stands a =" : "");
        return;
    }
    *equals = 0;
    strip_end(text);
    line->kind = CONFIG_LINE_KEY;
    line->key = text;
    if (!*text)
        bad(line, "expected a key before the =");
    else if (!is_key(text))
        bad(line, "`%s` is no key: expected letters, digits, _, - and .",
            utf8_excerpt(text, shown));
    else
        read_value(skip_blanks(equals + 1), line);
}

static void read_section(char *text, struct config_line *line) {
    char *name = skip_blanks(text + 1), *close = strchr(name, ']');
    line->was_section = true;
    if (!close) {
        bad(line, "a section without its closing ]");
        return;
    }
    if (!ends_or_comment(skip_blanks(close + 1))) {
        bad(line, "something behind the section's ]; keys stand on lines of their own");
        return;
    }
    *close = 0;
    strip_end(name);
    line->kind = CONFIG_LINE_SECTION;
    line->key = name;
}

bool config_lines_next(struct config_lines *lines, struct config_line *line) {
    while (lines->at < lines->end) {
        char *start = lines->at;
        char *stop = memchr(start, '\n', (size_t)(lines->end - start));
        lines->at = stop ? stop + 1 : lines->end;
        if (!stop)
            stop = lines->end;
        if (stop > start && stop[-1] == '\r')
            stop--;
        *line = (struct config_line){.number = ++lines->number};
        line->was_section = start < stop && *start == '[';
        if (!check_bytes(start, stop, line))
            return true;
        *stop = 0;
        start = skip_blanks(start);
        strip_end(start);
        if (ends_or_comment(start))
            continue;
        if (*start == '[')
            read_section(start, line);
        else
            read_key(start, line);
        return true;
    }
    return false;
}
