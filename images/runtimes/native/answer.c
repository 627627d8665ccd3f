#include "images/runtimes/native/answer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int bytes_add(struct bytes *to, const void *data, size_t length) {
    if (length > to->capacity - to->length) {
        size_t capacity = to->capacity ? to->capacity : 4096;
        while (capacity - to->length < length) {
            if (capacity > SIZE_MAX / 2)
                return -1;
            capacity *= 2;
        }
        char *grown = realloc(to->data, capacity);
        if (!grown)
            return -1;
        to->data = grown;
        to->capacity = capacity;
    }
    if (length > 0)
        memcpy(to->data + to->length, data, length);
    to->length += length;
    return 0;
}

static void bytes_text(struct bytes *to, const char *text) {
    (void)bytes_add(to, text, strlen(text));
}

/* The length of the UTF-8 character that text begins with (RFC 3629), 0 when it is
 * none. text ends with a zero byte, which is no continuation. */
static size_t utf8_length(const unsigned char *text) {
    unsigned char first = text[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    /* Overlong forms, surrogates and what is beyond U+10FFFF show in the second byte. */
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* Adds text as a JSON string; what is not UTF-8 becomes U+FFFD. */
static void bytes_json(struct bytes *to, const char *text) {
    bytes_text(to, "\"");
    while (*text) {
        unsigned char c = (unsigned char)*text;
        size_t length = utf8_length((const unsigned char *)text);
        if (c == '"' || c == '\\') {
            char escaped[2] = {'\\', (char)c};
            (void)bytes_add(to, escaped, 2);
        } else if (c < 0x20) {
            char escaped[8];
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", c);
            bytes_text(to, escaped);
        } else if (length == 0) {
            bytes_text(to, "\xef\xbf\xbd");
        } else {
            (void)bytes_add(to, text, length);
        }
        text += length ? length : 1;
    }
    bytes_text(to, "\"");
}

struct bytes answer_error_object(const char *type, const char *message, const char *request_id) {
    struct bytes object = {0};
    bytes_text(&object, "{\"errorMessage\": ");
    bytes_json(&object, message);
    bytes_text(&object, ", \"errorType\": ");
    bytes_json(&object, type);
    bytes_text(&object, ", \"requestId\": ");
    bytes_json(&object, request_id);
    bytes_text(&object, ", \"stackTrace\": []}");
    return object;
}

static int result_write(struct fnrun_result *result, const void *data, size_t length) {
    struct answer *answer = result->opaque;
    /* A frame's length has 32 bits. */
    if (length > UINT32_MAX - answer->written.length)
        return -1;
    return bytes_add(&answer->written, data, length);
}

static int result_fail(struct fnrun_result *result, const char *type, const char *message) {
    struct answer *answer = result->opaque;
    answer->failed = true;
    free(answer->type);
    free(answer->message);
    answer->type = type ? strdup(type) : NULL;
    answer->message = message ? strdup(message) : NULL;
    return -1;
}

void answer_start(struct answer *answer) {
    *answer =
        (struct answer){.result = {.opaque = answer, .write = result_write, .fail = result_fail}};
}

void answer_end(struct answer *answer) {
    free(answer->written.data);
    free(answer->type);
    free(answer->message);
}
