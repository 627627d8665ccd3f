/* Members of JSON objects, for answers: ,"key": (or, as the first one, "key":) and a value.
 * Header only. */
#ifndef FNRUN_JSON_MEMBERS_H
#define FNRUN_JSON_MEMBERS_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "images/json.h"

static inline void put_key(struct json_out *out, const char *key) {
    char last = out->length ? out->data[out->length - 1] : '{';
    if (last != '{' && last != '[')
        json_put_text(out, ",");
    json_put_string(out, key, strlen(key));
    json_put_text(out, ":");
}

static inline void put_string(struct json_out *out, const char *key, const char *value) {
    put_key(out, key);
    json_put_string(out, value, strlen(value));
}

static inline void put_number(struct json_out *out, const char *key, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    put_key(out, key);
    json_put_text(out, text);
}

static inline void put_bool(struct json_out *out, const char *key, bool value) {
    put_key(out, key);
    json_put_text(out, value ? "true" : "false");
}

/* Ends the text with a newline and a 0. Returns its bytes, the caller's to free, or NULL where
 * memory ran out. */
static inline char *put_end(struct json_out *out) {
    json_put_raw(out, "\n", 2);
    if (!out->failed)
        return out->data;
    free(out->data);
    return NULL;
}

#endif
