/* A bounded JSON scanner and the little writing that fnrun needs. Events and
 * results are checked with it, never parsed and printed again: their bytes pass
 * through unchanged. No allocation while scanning. */
#ifndef FNRUN_JSON_H
#define FNRUN_JSON_H

#include <stdbool.h>
#include <stddef.h>

#define JSON_MAX_DEPTH 1000

struct json_problem {
    size_t offset;    /* bytes from the start */
    const char *what; /* static text: "expected a value", "invalid UTF-8", ... */
};

/* Whether text is exactly one JSON value (RFC 8259) with white space around it:
 * grammar, valid UTF-8 (RFC 3629: no surrogates, no overlong forms), nesting at
 * most JSON_MAX_DEPTH. Surrogate escapes need not pair (JavaScript makes such).
 * Returns true, or false with *problem (may be NULL) filled. Linear time, stack
 * use independent of the input. */
bool json_scan(const char *text, size_t length, struct json_problem *problem);

/* Finds member `key` of the object that text is (already checked by json_scan).
 * Only keys written without escapes are found. Returns the value's first byte
 * and its length in *value_length, or NULL when text is no object or has no such
 * member. The last of duplicates wins, as in most parsers. */
const char *json_member(const char *text, size_t length, const char *key, size_t *value_length);

/* A growing byte buffer for what fnrun writes itself; `failed` is set once when
 * memory ran out and later calls do nothing. Zero-initialise; free(data). */
struct json_out {
    char *data;
    size_t length, capacity;
    bool failed;
};
void json_put_raw(struct json_out *out, const char *bytes, size_t length);
void json_put_text(struct json_out *out, const char *c_string); /* as is, no quotes */
/* As a JSON string with quotes. Invalid UTF-8 becomes U+FFFD. */
void json_put_string(struct json_out *out, const char *bytes, size_t length);

/* True when bytes are valid UTF-8; *offset (may be NULL) is the first bad byte. */
bool json_is_utf8(const char *bytes, size_t length, size_t *offset);

#endif
