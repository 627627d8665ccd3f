#include "images/json.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "images/utf8.h"

/* Where a scan stands. A failed step leaves `at` on the byte that is wrong. */
struct scan {
    const unsigned char *at, *end;
    const char *what;
};

static bool fail(struct scan *scan, const char *what) {
    scan->what = what;
    return false;
}

/* --- eight bytes at a time ------------------------------------------------------- */

#define EACH(byte) (0x0101010101010101ull * (byte))

static inline uint64_t load8(const unsigned char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Not zero when one of the eight bytes is not plain ASCII of a string: a control
 * byte, a quote, a backslash, or 0x80 and above. A borrow between bytes can only
 * make this say yes too often (behind a byte that is one), never no. */
static inline uint64_t any_special(uint64_t word) {
    uint64_t quote = word ^ EACH('"'), backslash = word ^ EACH('\\');
    return (word | (word - EACH(0x20)) | (quote - EACH(1)) | (backslash - EACH(1))) & EACH(0x80);
}

static inline bool is_space(unsigned char c) {
    return c <= ' ' && ((1ull << ' ' | 1 << '\n' | 1 << '\r' | 1 << '\t') >> c & 1);
}

static inline void skip_space(struct scan *scan) {
    const unsigned char *at = scan->at, *end = scan->end;
    while (at < end && is_space(*at)) {
        at++;
        while (end - at >= 8 && load8(at) == EACH(' ')) /* indentation */
            at += 8;
    }
    scan->at = at;
}

/* --- strings, numbers, words ------------------------------------------------------ */

static inline bool is_digit(unsigned char c) {
    return (unsigned char)(c - '0') < 10;
}

static bool is_hex(unsigned char c) {
    return is_digit(c) || (unsigned char)((c | 0x20) - 'a') < 6;
}

/* Behind a backslash. */
static bool scan_escape(struct scan *scan) {
    if (scan->at == scan->end)
        return fail(scan, "a string without its closing quote");
    switch (*scan->at) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        scan->at++;
        return true;
    case 'u':
        scan->at++;
        for (int i = 0; i < 4; i++, scan->at++)
            if (scan->at == scan->end || !is_hex(*scan->at))
                return fail(scan, "\\u without four hexadecimal digits");
        return true;
    default:
        return fail(scan, "an escape that JSON does not have");
    }
}

/* Behind the opening quote, to behind the closing one. */
static bool scan_string(struct scan *scan) {
    for (;;) {
        while (scan->end - scan->at >= 8 && !any_special(load8(scan->at)))
            scan->at += 8;
        if (scan->at == scan->end)
            return fail(scan, "a string without its closing quote");
        unsigned char c = *scan->at;
        if (c == '"') {
            scan->at++;
            return true;
        }
        if (c == '\\') {
            scan->at++;
            if (!scan_escape(scan))
                return false;
        } else if (c < 0x20) {
            return fail(scan, "a control character in a string (write it as \\u00XX)");
        } else {
            size_t length = utf8_step(scan->at, scan->end);
            if (!length)
                return fail(scan, "invalid UTF-8");
            scan->at += length;
        }
    }
}

static bool scan_digits(struct scan *scan) {
    if (scan->at == scan->end || !is_digit(*scan->at))
        return fail(scan, "expected a digit");
    while (scan->at < scan->end && is_digit(*scan->at))
        scan->at++;
    return true;
}

static bool scan_number(struct scan *scan) {
    if (*scan->at == '-')
        scan->at++;
    if (scan->at < scan->end && *scan->at == '0') {
        scan->at++;
        if (scan->at < scan->end && is_digit(*scan->at))
            return fail(scan, "a number with a leading zero");
    } else if (!scan_digits(scan)) {
        return false;
    }
    if (scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        if (!scan_digits(scan))
            return false;
    }
    if (scan->at < scan->end && (*scan->at | 0x20) == 'e') {
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
            scan->at++;
        if (!scan_digits(scan))
            return false;
    }
    return true;
}

static bool scan_word(struct scan *scan, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(scan->end - scan->at) < length || memcmp(scan->at, word, length) != 0)
        return fail(scan, "expected a value");
    scan->at += length;
    return true;
}

/* Anything but an object or an array. */
static bool scan_scalar(struct scan *scan) {
    switch (*scan->at) {
    case '"':
        scan->at++;
        return scan_string(scan);
    case 't':
        return scan_word(scan, "true");
    case 'f':
        return scan_word(scan, "false");
    case 'n':
        return scan_word(scan, "null");
    default:
        if (*scan->at == '-' || is_digit(*scan->at))
            return scan_number(scan);
        return fail(scan, "expected a value");
    }
}

/* --- nesting ---------------------------------------------------------------------- */

/* The open objects and arrays: one bit each, set for an object. */
struct nesting {
    uint64_t bits[(JSON_MAX_DEPTH + 63) / 64];
    size_t depth;
};

static bool nesting_push(struct scan *scan, struct nesting *nesting, bool object) {
    if (nesting->depth == JSON_MAX_DEPTH)
        return fail(scan, "nested deeper than 1,000");
    uint64_t *word = &nesting->bits[nesting->depth / 64];
    uint64_t bit = 1ull << (nesting->depth % 64);
    *word = object ? *word | bit : *word & ~bit;
    nesting->depth++;
    return true;
}

static bool nesting_in_object(const struct nesting *nesting) {
    size_t top = nesting->depth - 1;
    return nesting->bits[top / 64] >> (top % 64) & 1;
}

/* A member's key and colon, with the white space around them. */
static bool scan_key(struct scan *scan) {
    skip_space(scan);
    if (scan->at == scan->end || *scan->at != '"')
        return fail(scan, "expected a key in double quotes");
    scan->at++;
    if (!scan_string(scan))
        return false;
    skip_space(scan);
    if (scan->at == scan->end || *scan->at != ':')
        return fail(scan, "expected a colon");
    scan->at++;
    return true;
}

/* Takes an opening bracket. *empty: its closing one came at once and is taken too. */
static bool scan_open(struct scan *scan, struct nesting *nesting, bool *empty) {
    bool object = *scan->at == '{';
    if (!nesting_push(scan, nesting, object))
        return false;
    scan->at++;
    skip_space(scan);
    *empty = scan->at < scan->end && *scan->at == (object ? '}' : ']');
    if (*empty) {
        scan->at++;
        nesting->depth--;
        return true;
    }
    return !object || scan_key(scan);
}

/* Behind a value: closes what ends here, up to the next value. */
static bool scan_close(struct scan *scan, struct nesting *nesting) {
    while (nesting->depth) {
        bool object = nesting_in_object(nesting);
        skip_space(scan);
        if (scan->at == scan->end)
            return fail(scan, object ? "an object without its closing brace"
                                     : "an array without its closing bracket");
        unsigned char c = *scan->at;
        if (c == ',') {
            scan->at++;
            return !object || scan_key(scan);
        }
        if (c != (object ? '}' : ']'))
            return fail(scan, object ? "expected a comma or a closing brace"
                                     : "expected a comma or a closing bracket");
        scan->at++;
        nesting->depth--;
    }
    return true;
}

/* One value, white space before it allowed. */
static bool scan_value(struct scan *scan) {
    struct nesting nesting;
    nesting.depth = 0;
    do {
        bool whole = true;
        skip_space(scan);
        if (scan->at == scan->end)
            return fail(scan, "expected a value, found the end");
        if (*scan->at == '{' || *scan->at == '[') {
            if (!scan_open(scan, &nesting, &whole))
                return false;
        } else if (!scan_scalar(scan)) {
            return false;
        }
        if (whole && !scan_close(scan, &nesting))
            return false;
    } while (nesting.depth);
    return true;
}

/* --- the public ones --------------------------------------------------------------- */

static struct scan scan_from(const char *text, size_t length) {
    const unsigned char *start = (const unsigned char *)(text ? text : "");
    return (struct scan){.at = start, .end = start + (text ? length : 0)};
}

bool json_scan(const char *text, size_t length, struct json_problem *problem) {
    struct scan scan = scan_from(text, length);
    const unsigned char *start = scan.at;
    bool good = true;
    if (length >= 3 && text && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        good = fail(&scan, "a byte order mark, which JSON does not have");
    good = good && scan_value(&scan);
    if (good) {
        skip_space(&scan);
        if (scan.at != scan.end)
            good = fail(&scan, "something behind the value");
    }
    if (!good && problem)
        *problem = (struct json_problem){.offset = (size_t)(scan.at - start), .what = scan.what};
    return good;
}

const char *json_member(const char *text, size_t length, const char *key, size_t *value_length) {
    struct scan scan = scan_from(text, length);
    size_t key_length = strlen(key);
    const char *found = NULL;
    skip_space(&scan);
    if (scan.at == scan.end || *scan.at != '{')
        return NULL;
    do {
        scan.at++; /* the brace or a comma */
        skip_space(&scan);
        const unsigned char *name = scan.at + 1;
        if (!scan_key(&scan))
            return found;
        bool same = (size_t)(scan.at - name) > key_length && memcmp(name, key, key_length) == 0 &&
                    name[key_length] == '"';
        skip_space(&scan);
        const unsigned char *value = scan.at;
        if (!scan_value(&scan))
            return found;
        if (same) {
            found = (const char *)value;
            *value_length = (size_t)(scan.at - value);
        }
        skip_space(&scan);
    } while (scan.at < scan.end && *scan.at == ',');
    return found;
}

bool json_is_utf8(const char *bytes, size_t length, size_t *offset) {
    struct scan scan = scan_from(bytes, length);
    const unsigned char *start = scan.at;
    while (scan.at < scan.end) {
        while (scan.end - scan.at >= 8 && !(load8(scan.at) & EACH(0x80)))
            scan.at += 8;
        if (scan.at == scan.end)
            break;
        size_t step = utf8_step(scan.at, scan.end);
        if (!step) {
            if (offset)
                *offset = (size_t)(scan.at - start);
            return false;
        }
        scan.at += step;
    }
    return true;
}

/* --- writing ------------------------------------------------------------------------ */

void json_put_raw(struct json_out *out, const char *bytes, size_t length) {
    if (out->failed || !length)
        return;
    if (length > out->capacity - out->length) {
        size_t wanted = out->capacity ? out->capacity : 256;
        while (wanted - out->length < length) {
            if (wanted > SIZE_MAX / 2) {
                out->failed = true;
                return;
            }
            wanted *= 2;
        }
        char *data = realloc(out->data, wanted);
        if (!data) {
            out->failed = true;
            return;
        }
        out->data = data;
        out->capacity = wanted;
    }
    memcpy(out->data + out->length, bytes, length);
    out->length += length;
}

void json_put_text(struct json_out *out, const char *c_string) {
    json_put_raw(out, c_string, strlen(c_string));
}

/* One byte that cannot stand in a string as it is. */
static void put_special(struct json_out *out, unsigned char c) {
    static const char digits[] = "0123456789abcdef";
    static const char names[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *name = names; *name; name += 2) {
        if ((unsigned char)*name == c) {
            json_put_raw(out, (char[]){'\\', name[1]}, 2);
            return;
        }
    }
    json_put_raw(out, (char[]){'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]}, 6);
}

void json_put_string(struct json_out *out, const char *bytes, size_t length) {
    struct scan scan = scan_from(bytes, length);
    const unsigned char *plain = scan.at; /* from here on nothing has been put yet */
    json_put_raw(out, "\"", 1);
    while (scan.at < scan.end) {
        while (scan.end - scan.at >= 8 && !any_special(load8(scan.at)))
            scan.at += 8;
        if (scan.at == scan.end)
            break;
        unsigned char c = *scan.at;
        size_t step = utf8_step(scan.at, scan.end);
        if (step && c >= 0x20 && c != '"' && c != '\\') {
            scan.at += step;
            continue;
        }
        json_put_raw(out, (const char *)plain, (size_t)(scan.at - plain));
        if (step)
            put_special(out, c);
        else
            json_put_raw(out, "\xef\xbf\xbd", 3);
        plain = ++scan.at;
    }
    json_put_raw(out, (const char *)plain, (size_t)(scan.at - plain));
    json_put_raw(out, "\"", 1);
}
