#include "cli/decode.h"

#include <stdbool.h>
#include <string.h>

#include "images/json.h"

/* --- texts ----------------------------------------------------------------------- */

/* Four digits; json_scan has seen that they are there. */
static unsigned hex4(const char *digits) {
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        unsigned c = (unsigned char)digits[i];
        value = value * 16 + (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return value;
}

static size_t put_utf8(unsigned code, char bytes[4]) {
    if (code < 0x80) {
        bytes[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        bytes[0] = (char)(0xc0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 63));
        return 2;
    }
    if (code < 0x10000) {
        bytes[0] = (char)(0xe0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 63));
        bytes[2] = (char)(0x80 | (code & 63));
        return 3;
    }
    bytes[0] = (char)(0xf0 | code >> 18);
    bytes[1] = (char)(0x80 | (code >> 12 & 63));
    bytes[2] = (char)(0x80 | (code >> 6 & 63));
    bytes[3] = (char)(0x80 | (code & 63));
    return 4;
}

/* The character behind a backslash at *from; moves *from behind it. */
static unsigned escape(const char **from, const char *end) {
    static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
    const char *letter = strchr(letters, **from);
    if (letter) {
        (*from)++;
        return (unsigned char)meant[letter - letters];
    }
    if (**from != 'u')
        return (unsigned char)*(*from)++;
    unsigned code = hex4(*from + 1);
    *from += 5;
    if (code < 0xd800 || code > 0xdfff)
        return code;
    if (code < 0xdc00 && end - *from >= 6 && (*from)[0] == '\\' && (*from)[1] == 'u') {
        unsigned low = hex4(*from + 2);
        if (low >= 0xdc00 && low <= 0xdfff) {
            *from += 6;
            return 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
    }
    return 0xfffd;
}

/* How many bytes the character that begins with c has; the text is valid UTF-8. */
static size_t character(unsigned char c) {
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

long decode_text(const char *json, size_t length, const char *key, char *text, size_t size) {
    size_t value_length = 0, used = 0;
    const char *value = json_member(json, length, key, &value_length);
    text[0] = 0;
    if (!value || value_length < 2 || *value != '"')
        return -1;
    const char *from = value + 1, *end = value + value_length - 1;
    while (from < end) {
        char escaped[4];
        const char *bytes = from;
        size_t count;
        if (*from == '\\') {
            from++;
            count = put_utf8(escape(&from, end), escaped);
            bytes = escaped;
        } else {
            count = character((unsigned char)*from);
            from += count;
        }
        if (!bytes[0])
            continue;
        if (used + count >= size)
            break;
        memcpy(text + used, bytes, count);
        used += count;
    }
    text[used] = 0;
    return (long)used;
}

/* --- numbers --------------------------------------------------------------------- */

static bool append(uint64_t *number, char digit) {
    return !__builtin_mul_overflow(*number, 10, number) &&
           !__builtin_add_overflow(*number, (uint64_t)(digit - '0'), number);
}

int decode_number(const char *json, size_t length, const char *key, unsigned digits,
                  uint64_t *number) {
    size_t value_length = 0, i = 0;
    const char *value = json_member(json, length, key, &value_length);
    *number = 0;
    if (!value || !value_length || value[0] < '0' || value[0] > '9')
        return -1;
    for (; i < value_length && value[i] >= '0' && value[i] <= '9'; i++)
        if (!append(number, value[i]))
            return -1;
    i += i < value_length && value[i] == '.';
    for (; digits; digits--) {
        bool more = i < value_length && value[i] >= '0' && value[i] <= '9';
        if (!append(number, more ? value[i++] : '0'))
            return -1;
    }
    while (i < value_length && value[i] >= '0' && value[i] <= '9')
        i++;
    return i < value_length ? -1 : 0; /* an exponent: nobody writes one here */
}
