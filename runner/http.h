/* HTTP/1.1 by libmicrohttpd, driven from the sd-event loop. A request is handed over when
 * its body is whole; it is answered later, once, from the loop's thread.
 *
 * When is a client gone? On a unix socket when it has closed (or died): the kernel then says
 * EPOLLHUP. One that only ended its own sending (shutdown(SHUT_WR), `nc -N`) is EPOLLRDHUP
 * without EPOLLHUP, is still there, and gets its answer. On TCP both look the same, a FIN;
 * there it counts as gone, as in nginx and Go.
 *
 * What is bounded: connections (http_connection_limit; at the limit the longest idle one
 * makes room), request line and headers together (12 KiB: 431, 414 or 400), the body (what begin
 * allows: 413), silence (30 s while something is awaited of the client), slowness (60 s for the
 * headers, then 16 KiB/s after 30 s of grace). */
#ifndef FNRUN_HTTP_H
#define FNRUN_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "isolate/error.h"

struct sd_event;
struct http;
struct http_request;

struct http_peer { /* SO_PEERCRED at connect; known false for TCP */
    bool known;
    uid_t uid;
    gid_t gid;
    pid_t pid;
};

struct http_handler {
    /* After the headers: how many bytes of body are allowed, or a negative errno after having
     * answered (http_reply) already. *spool_to: set to an open descriptor (the handler's)
     * for bodies that go to a file instead of memory; -1 otherwise. */
    int64_t (*begin)(void *owner, struct http_request *request, int *spool_to);
    /* The body is whole. Not before this may a request be answered from elsewhere. */
    void (*handle)(void *owner, struct http_request *request);
    /* The client went away before the answer, or before http_end (in begin's or handle's time):
     * the request is gone after this returns; http_reply must not be called any more. */
    void (*gone)(void *owner, struct http_request *request);
    /* The body exceeds begin's limit, or (status 500) could not be kept; answers, 4xx or 5xx.
     * May be NULL: the status alone is sent. */
    void (*refuse)(void *owner, struct http_request *request, unsigned status);
};

/* listening: a bound, listening socket, unix or TCP, non-blocking or not; owned from here on. */
struct http *http_new(struct sd_event *loop, int listening, const struct http_handler *handler,
                      void *owner, struct error *err);
/* No new connections; open ones are answered with `Connection: close`, idle ones closed, streams
 * ended (gone is called for them). */
void http_stop_accepting(struct http *http);
size_t http_open_requests(const struct http *http);
/* Open requests get gone and no answer. */
void http_free(struct http *http);

const char *http_method(const struct http_request *request);
const char *http_path(const struct http_request *request); /* decoded, without the query */
const char *http_query(struct http_request *request, const char *name);  /* or NULL */
const char *http_header(struct http_request *request, const char *name); /* or NULL */
const struct http_peer *http_peer(const struct http_request *request);
/* The peer's primary group or one of its others (SO_PEERGROUPS); false for TCP. */
bool http_peer_in_group(struct http_request *request, gid_t group);
/* In memory; zero-terminated one past its end. */
const char *http_body(const struct http_request *request, size_t *length);
uint64_t http_body_bytes(const struct http_request *request); /* also of a spooled one */
/* Takes the body in memory out of the request, for work that goes on when the client is gone;
 * its bytes stay where they are. NULL: there is none. */
struct http_body;
struct http_body *http_take_body(struct http_request *request);
void http_release_body(struct http_body *body); /* NULL is fine */
void http_set_data(struct http_request *request, void *data);
void *http_data(const struct http_request *request);

/* headers: name, value pairs, NULL terminated, or NULL. body is copied unless take: then it
 * is freed by free(3). Content-Type is application/json unless among the headers (none
 * is sent with 204). The headers together fit in 18 KiB. */
void http_reply(struct http_request *request, unsigned status, const char *const *headers,
                char *body, size_t length, bool take);

/* A streamed answer (logs -f, top): http_stream begins it, http_push adds bytes, http_end ends
 * it. A client that does not read is cut off at 1 MiB of backlog (gone is called, later), beside
 * what was pushed within `handle`. */
void http_stream(struct http_request *request, unsigned status, const char *const *headers);
void http_push(struct http_request *request, const char *bytes, size_t length);
void http_end(struct http_request *request);

#endif
