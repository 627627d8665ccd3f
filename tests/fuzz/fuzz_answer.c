/* Any bytes as the daemon's answer, and as what stands in its headers. What must hold: what
 * is read whole and what is read in small pieces are the same; nothing is longer than what
 * came; no text leaves its room. With files as arguments it is a plain program. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/base64.h"
#include "cli/decode.h"
#include "cli/http.h"
#include "images/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

static bool begin(struct http_exchange *exchange, const uint8_t *data, size_t size) {
    int ends[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    bool sent = send(ends[1], data, size, MSG_DONTWAIT) == (ssize_t)size;
    close(ends[1]);
    http_begin(exchange, ends[0]);
    return sent;
}

static void decode(const struct http_exchange *exchange, const char *body, size_t length) {
    char text[16];
    uint64_t number;
    char *log = (char *)http_answer_header(exchange, "L");
    size_t room = log ? strlen(log) : 0;
    must(!log || base64_decode(log) <= (long)room);
    if (!json_scan(body, length, NULL))
        return;
    must(decode_text(body, length, "a", text, sizeof text) < (long)sizeof text);
    must(json_is_utf8(text, strlen(text), NULL));
    decode_number(body, length, "a", 3, &number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct http_exchange whole, pieces;
    struct error err;
    char *body = NULL, *joined = malloc(size + 1);
    size_t length = 0, used = 0;
    must(joined != NULL);
    if (begin(&whole, data, size) && begin(&pieces, data, size)) {
        bool good = http_receive(&whole, &err) == 0;
        must(good == (http_receive(&pieces, &err) == 0));
        if (good && http_read_all(&whole, size, &body, &length, &err) == 0) {
            ssize_t got;
            while ((got = http_read(&pieces, joined + used, size + 1 - used < 3 ? 1 : 3, &err)) > 0)
                used += (size_t)got;
            must(got == 0 && used == length && memcmp(joined, body, length) == 0);
            decode(&whole, body, length);
        }
        http_end(&pieces);
    }
    http_end(&whole);
    free(joined);
    return 0;
}

#include "tests/fuzz/plain.h"
