/* What the files of http share: the server, its connections, their current requests.
 * Internal to http*.c.
 *
 *   http.c             the server: sources in the loop, libmicrohttpd's rounds, answering
 *   http_connection.c  accepting, the limit, hang-ups, slow clients
 *   http_request.c     a request from its headers to the handler; what the handler may ask
 *   http_body.c        its body, in memory or in a file
 *   http_stream.c      answers that go on
 *
 * libmicrohttpd calls the access handler once after the headers, then for pieces of the body,
 * then once more ("final"), where an answer must be queued or the connection be suspended.
 * While it is suspended nobody looks at the socket but our own epoll (hangups), where each
 * connection is registered once, edge-triggered, for hang-ups alone: no system call for each
 * request. */
#ifndef FNRUN_HTTP_CORE_H
#define FNRUN_HTTP_CORE_H

#include <microhttpd.h>
#include <systemd/sd-event.h>

#include "isolate/monotonic.h"
#include "runner/http.h"

#define HTTP_CONNECTIONS 1024
#define HTTP_MEMORY      (32 * 1024) /* of a connection: request headers and answer's headers */
#define HTTP_HEADERS     (12 * 1024) /* of a request */
#define HTTP_SLOWEST     (16 * 1024) /* bytes per second */
#define HTTP_DRAIN_MOST  (64ll << 20)
#define HTTP_NEW_US      50000ull /* a connection that has just come */
#define HTTP_BACKLOG     (1 << 20)
#define HTTP_BODY_MEMORY (512ul << 20) /* of all requests together */
#ifndef HTTP_IDLE_S                    /* the tests have less patience */
#define HTTP_IDLE_S     30
#define HTTP_GRACE_US   (30 * 1000000ull)
#define HTTP_HEADERS_US (60 * 1000000ull)
#define HTTP_SWEEP_US   (5 * 1000000ull)
#endif

struct http_body {
    char *data;
    size_t length, capacity, limit;
    bool mapped;  /* data is a mapping, not malloc's */
    int spool_to; /* the handler's, or -1 */
    uint64_t bytes;
};

/* expected: Content-Length, or 0 when unknown. */
int http_body_open(struct http_body *body, size_t limit, size_t expected, int spool_to);
/* 0, -EFBIG beyond the limit, or a negative errno. */
int http_body_add(struct http_body *body, const char *bytes, size_t length);
void http_body_free(struct http_body *body);

enum http_phase {
    HTTP_BODY,     /* begin has allowed it */
    HTTP_DRAIN,    /* answered before its body was whole: what comes is thrown away */
    HTTP_WAITING,  /* handle was called */
    HTTP_ANSWERED, /* http_reply or http_end was */
    HTTP_STREAMING,
    HTTP_GONE, /* gone was */
};

struct http_stream;

struct http_connection {
    struct http *http;
    struct MHD_Connection *mhd;
    struct http_request *request; /* the current one, or NULL */
    struct http_connection *next, *previous;
    struct http_peer peer;
    int fd; /* libmicrohttpd's */
    int family;
    bool hung;
    uint64_t since; /* us: open, or the end of the last request */
};

struct http_request {
    struct http_connection *connection;
    const char *method, *path; /* libmicrohttpd's */
    void *data;
    struct http_body body;
    int phase;
    bool inside; /* libmicrohttpd's callback is on the stack */
    bool suspended;
    bool queued;    /* libmicrohttpd has the response */
    uint64_t since; /* us: of the body's or the answer's beginning */
    uint64_t drained, answer_bytes;
    struct MHD_Response *response; /* made, not yet given to libmicrohttpd */
    unsigned status;
    struct http_stream *stream;
    /* To be looked at in http_flush, or (suspend) after the round. */
    struct http_request *next_flush, *next_suspend;
    bool listed_flush, listed_suspend;
};

struct http {
    struct sd_event *loop;
    struct MHD_Daemon *daemon;
    const struct http_handler *handler;
    void *owner;
    int listening, hangups, family;
    size_t limit, count, open_requests;
    size_t body_memory; /* bytes of bodies held */
    bool stopping, closing, accepting;
    sd_event_source *accept_source, *daemon_source, *hangup_source, *flush_source, *again_source,
        *sweep_source;
    struct http_connection *connections; /* newest first */
    struct http_request *to_flush, **to_flush_end, *to_suspend;
};

/* http.c */
void http_run(struct http *http); /* rounds of libmicrohttpd until it is quiet */
void http_flush_later(struct http_request *request);
void http_forget(struct http_request *request); /* out of the lists */
/* Gives the response to libmicrohttpd, or keeps it until the body is drained. */
void http_answer(struct http_request *request, struct MHD_Response *response, unsigned status);
struct MHD_Response *http_finish_response(struct http_request *request,
                                          struct MHD_Response *response, const char *const *headers,
                                          unsigned status);

/* http_connection.c */
int http_watch(struct http *http, struct error *err); /* the sources for accept, hang-ups, time */
void http_on_connection(void *owner, struct MHD_Connection *mhd, void **context,
                        enum MHD_ConnectionNotificationCode code);
void http_close_idle(struct http *http);
void http_go_on_accepting(struct http *http); /* where it was paused */

/* http_stream.c */
void http_stream_detach(struct http_request *request); /* the request ends before it */

/* http_request.c */
enum MHD_Result http_on_request(void *owner, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **context);
void http_on_completed(void *owner, struct MHD_Connection *mhd, void **context,
                       enum MHD_RequestTerminationCode code);
/* Tells the handler, once. */
void http_tell_gone(struct http_request *request);

#endif
