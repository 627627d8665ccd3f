/* One step through UTF-8 (RFC 3629): no surrogates, no overlong forms, nothing
 * beyond U+10FFFF. Header only, usable from every folder. */
#ifndef FNRUN_UTF8_H
#define FNRUN_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* The length (1 to 4) of the character at p, or 0 when no valid one starts there.
 * p < end. */
static inline size_t utf8_step(const unsigned char *p, const unsigned char *end) {
    size_t left = (size_t)(end - p);
    unsigned char lowest = 0x80, highest = 0xbf; /* of the second byte */
    size_t length;
    if (*p < 0x80)
        return 1;
    if (*p < 0xc2)
        return 0;
    if (*p < 0xe0) {
        length = 2;
    } else if (*p < 0xf0) {
        length = 3;
        lowest = *p == 0xe0 ? 0xa0 : 0x80;
        highest = *p == 0xed ? 0x9f : 0xbf;
    } else if (*p < 0xf5) {
        length = 4;
        lowest = *p == 0xf0 ? 0x90 : 0x80;
        highest = *p == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (left < length || p[1] < lowest || p[1] > highest)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

#define UTF8_EXCERPT 64

/* value as a message shows it: in at most 60 bytes, cut between characters. */
static inline const char *utf8_excerpt(const char *value, char text[UTF8_EXCERPT]) {
    size_t length = strlen(value);
    bool cut = length > 60;
    if (cut)
        for (length = 57; length && ((unsigned char)value[length] & 0xc0) == 0x80;)
            length--;
    memcpy(text, value, length);
    memcpy(text + length, cut ? "..." : "", cut ? 4 : 1);
    return text;
}

#endif
