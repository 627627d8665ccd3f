#include "cli/base64.h"

#include <stdbool.h>
#include <string.h>

static int sextet(unsigned char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

long base64_decode(char *text) {
    size_t length = strlen(text), used = 0;
    if (length % 4)
        return -1;
    for (size_t i = 0; i < length; i += 4) {
        bool last = i + 4 == length;
        int padding = last && text[i + 3] == '=' ? (text[i + 2] == '=' ? 2 : 1) : 0;
        unsigned value = 0;
        for (int j = 0; j < 4; j++) {
            int bits = j >= 4 - padding ? 0 : sextet((unsigned char)text[i + (size_t)j]);
            if (bits < 0)
                return -1;
            value = value << 6 | (unsigned)bits;
        }
        char three[3] = {(char)(value >> 16), (char)(value >> 8), (char)value};
        memcpy(text + used, three, 3 - (size_t)padding);
        used += 3 - (size_t)padding;
    }
    return (long)used;
}

void base64_put(struct json_out *out, const char *bytes, size_t length) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        size_t have = length - i < 3 ? length - i : 3;
        unsigned char three[3] = {0, 0, 0};
        memcpy(three, bytes + i, have);
        unsigned value = (unsigned)three[0] << 16 | (unsigned)three[1] << 8 | three[2];
        char four[4] = {digits[value >> 18], digits[value >> 12 & 63],
                        have > 1 ? digits[value >> 6 & 63] : '=',
                        have > 2 ? digits[value & 63] : '='};
        json_put_raw(out, four, 4);
    }
}
