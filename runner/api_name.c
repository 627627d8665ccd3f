#include <string.h>

#include "runner/api_core.h"

#define PARTS 9

struct part {
    const char *text;
    size_t length;
};

static size_t split(const char *text, size_t length, struct part parts[PARTS]) {
    size_t count = 0;
    const char *end = text + length;
    for (;;) {
        const char *colon = memchr(text, ':', (size_t)(end - text));
        if (count == PARTS)
            return PARTS + 1;
        parts[count++] = (struct part){text, (size_t)((colon ? colon : end) - text)};
        if (!colon)
            return count;
        text = colon + 1;
    }
}

static bool is(const struct part *part, const char *word) {
    return part->length == strlen(word) && memcmp(part->text, word, part->length) == 0;
}

static bool copy(const struct part *part, char *to, size_t size, const char *also) {
    if (!part->length || part->length >= size)
        return false;
    for (size_t i = 0; i < part->length; i++) {
        char c = part->text[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                     c == '-' || c == '_';
        if (!plain && (!c || !strchr(also, c)))
            return false;
        to[i] = c;
    }
    to[part->length] = 0;
    return true;
}

bool api_parse_name(const char *text, size_t length, char name[65], char qualifier[129]) {
    struct part parts[PARTS];
    size_t count = split(text, length, parts), at = 0;
    if (count > PARTS)
        return false;
    if (is(&parts[0], "arn")) { /* arn:aws:lambda:REGION:ACCOUNT:function:NAME */
        if (count < 7 || !is(&parts[2], "lambda") || !is(&parts[5], "function"))
            return false;
        at = 6;
    } else if (count >= 3 && is(&parts[1], "function")) {
        at = 2;
    }
    *qualifier = 0;
    if (count > at + 2 || !copy(&parts[at], name, 65, ""))
        return false;
    return count == at + 1 || copy(&parts[at + 1], qualifier, 129, "$");
}
