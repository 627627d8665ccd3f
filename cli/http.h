/* HTTP/1.1 as the daemon's client: one request on one connection, its body whole or in
 * chunks, the answer's body whole or as it comes. RFC 9112 as far as a client of one known
 * server needs it; everything that comes is bounded and checked. No library beyond libc.
 * (runner/http.h is the server's side.) */
#ifndef FNRUN_CLI_HTTP_H
#define FNRUN_CLI_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "isolate/error.h"

/* Bytes of an answer's status line and headers: a log of 64 KiB in base64 is among them. */
#define HTTP_HEAD_MAX ((size_t)192 * 1024)

struct http_exchange {
    int fd;     /* the connection: owned from http_begin on */
    int status; /* of the answer, 100 to 599, once http_receive has returned 0 */

    /* Private. */
    char *bytes; /* the head, then what came behind it */
    size_t capacity, length, head, at;
    int framing;   /* how the body ends */
    uint64_t left; /* of the body, or of the chunk */
    bool ended;
    char *grown, *whole;
    char first[2048]; /* of bytes: what an answer usually needs */
};

/* Begins an exchange on a connected socket. Call http_end in every case. */
void http_begin(struct http_exchange *exchange, int fd);
/* Closes the connection and frees what was received. */
void http_end(struct http_exchange *exchange);

/* Sends head (request line and headers, each with \r\n, the empty line too) and body in one
 * go. Returns 0 or a negative errno with err; a daemon that refuses early and hangs up is no
 * error: its answer tells. */
int http_send(struct http_exchange *exchange, const char *head, size_t head_length,
              const char *body, size_t body_length, struct error *err);
/* One chunk of a body with Transfer-Encoding: chunked; length 0: its end. Returns as
 * http_send, but -EPIPE without err when the daemon takes no more: read its answer. */
int http_send_chunk(struct http_exchange *exchange, const char *bytes, size_t length,
                    struct error *err);

/* Reads status and headers of the answer. Returns 0; -EPROTO with err: what came is no HTTP,
 * too long, or cut; another negative errno with err. */
int http_receive(struct http_exchange *exchange, struct error *err);
/* The value of a header of the answer, in any case of letters, or NULL. Valid until http_end. */
const char *http_answer_header(const struct http_exchange *exchange, const char *name);

/* Up to size bytes of the body, as they come. Returns how many, 0 at its end; -EPROTO with
 * err where the body is cut or malformed; another negative errno with err. */
ssize_t http_read(struct http_exchange *exchange, char *to, size_t size, struct error *err);
/* The whole body, zero-terminated one past its end, valid until http_end. Returns 0, -EFBIG
 * with err beyond limit bytes, or as http_read. */
int http_read_all(struct http_exchange *exchange, size_t limit, char **body, size_t *length,
                  struct error *err);

#endif
