#include "runner/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "runner/http_core.h"

#define ROUNDS 16 /* of libmicrohttpd in one turn of the loop */

/* ---- rounds ------------------------------------------------------------------------ */

static void suspend_waiting(struct http *http) {
    struct http_request *request;
    while ((request = http->to_suspend)) {
        http->to_suspend = request->next_suspend;
        request->listed_suspend = false;
        if (request->response || request->queued || request->phase == HTTP_GONE)
            continue; /* http_flush looks at it */
        MHD_suspend_connection(request->connection->mhd);
        request->suspended = true;
    }
}

void http_run(struct http *http) {
    MHD_UNSIGNED_LONG_LONG wait = 0;
    for (int i = 0; i < ROUNDS; i++) {
        MHD_run(http->daemon);
        suspend_waiting(http);
        if (MHD_get_timeout(http->daemon, &wait) != MHD_YES || wait != 0)
            return;
    }
    /* Others' turn. By a timer of no time: a deferred source counts as older than any other, and
     * one that is always set again would be the only one ever served. */
    sd_event_source_set_time(http->again_source, 0);
    sd_event_source_set_enabled(http->again_source, SD_EVENT_ONESHOT);
}

static int on_again(sd_event_source *source, uint64_t time, void *owner) {
    (void)source, (void)time;
    http_run(owner);
    return 0;
}

static void resume(struct http_request *request) {
    if (!request->suspended)
        return;
    request->suspended = false;
    MHD_resume_connection(request->connection->mhd);
}

static int on_flush(sd_event_source *source, void *owner) {
    struct http *http = owner;
    struct http_request *request;
    (void)source;
    while ((request = http->to_flush)) {
        http->to_flush = request->next_flush;
        if (!http->to_flush)
            http->to_flush_end = &http->to_flush;
        request->listed_flush = false;
        resume(request);
        /* libmicrohttpd goes on with a connection that is not suspended at once, and may end
         * the request in this call. */
        if (request->response)
            http_answer(request, request->response, request->status);
    }
    http_run(http);
    return 0;
}

void http_flush_later(struct http_request *request) {
    struct http *http = request->connection->http;
    if (request->listed_flush || request->inside)
        return;
    request->listed_flush = true;
    request->next_flush = NULL;
    *http->to_flush_end = request;
    http->to_flush_end = &request->next_flush;
    sd_event_source_set_enabled(http->flush_source, SD_EVENT_ONESHOT);
}

void http_forget(struct http_request *request) {
    struct http *http = request->connection->http;
    if (request->listed_flush) {
        struct http_request **at = &http->to_flush;
        while (*at != request)
            at = &(*at)->next_flush;
        *at = request->next_flush;
        if (!*at)
            http->to_flush_end = at;
    }
    if (request->listed_suspend) {
        struct http_request **at = &http->to_suspend;
        while (*at != request)
            at = &(*at)->next_suspend;
        *at = request->next_suspend;
    }
    request->listed_flush = request->listed_suspend = false;
}

static int on_daemon(sd_event_source *source, int fd, uint32_t events, void *owner) {
    (void)source, (void)fd, (void)events;
    http_run(owner);
    return 0;
}

/* ---- answering ----------------------------------------------------------------------- */

void http_answer(struct http_request *request, struct MHD_Response *response, unsigned status) {
    request->response = NULL;
    request->queued = true;
    if (MHD_queue_response(request->connection->mhd, status, response) != MHD_YES)
        shutdown(request->connection->fd, SHUT_RDWR); /* refused: never without an end */
    MHD_destroy_response(response);
}

struct MHD_Response *http_finish_response(struct http_request *request,
                                          struct MHD_Response *response, const char *const *headers,
                                          unsigned status) {
    bool typed = status == MHD_HTTP_NO_CONTENT, ok = response != NULL;
    for (; ok && headers && headers[0]; headers += 2) {
        typed = typed || strcasecmp(headers[0], MHD_HTTP_HEADER_CONTENT_TYPE) == 0;
        ok = MHD_add_response_header(response, headers[0], headers[1]) == MHD_YES;
    }
    if (ok && !typed)
        ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json") ==
             MHD_YES;
    if (ok && request->connection->http->stopping)
        ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES;
    if (!ok && response) {
        MHD_destroy_response(response);
        response = NULL;
    }
    return response;
}

void http_reply(struct http_request *request, unsigned status, const char *const *headers,
                char *body, size_t length, bool take) {
    if (request->phase > HTTP_WAITING || request->response)
        return; /* answered, or gone */
    struct MHD_Response *response = MHD_create_response_from_buffer(
        length, body, take ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_MUST_COPY);
    if (!response && take)
        free(body);
    response = http_finish_response(request, response, headers, status);
    if (!response) { /* no memory, or a header that is none */
        response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
        status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    request->phase = request->phase == HTTP_WAITING ? HTTP_ANSWERED : HTTP_DRAIN;
    request->since = monotonic_us();
    request->answer_bytes = length;
    request->response = response;
    request->status = status;
    if (!response) {
        shutdown(request->connection->fd, SHUT_RDWR);
        return;
    }
    if (request->phase == HTTP_ANSWERED)
        http_flush_later(request);
}

/* ---- the server ------------------------------------------------------------------------ */

/* Percent signs in a path or query. %00 stays as it is: behind a NUL the rest would not be
 * seen. */
static size_t unescape(void *owner, struct MHD_Connection *mhd, char *text) {
    static const char digits[] = "0123456789abcdef";
    char *to = text;
    (void)owner, (void)mhd;
    for (const char *from = text; *from; from++) {
        const char *high = from[0] == '%' && from[1] ? strchr(digits, from[1] | 0x20) : NULL;
        const char *low = high && *high && from[2] ? strchr(digits, from[2] | 0x20) : NULL;
        int value = low && *low ? (int)(high - digits) * 16 + (int)(low - digits) : 0;
        if (value) {
            *to++ = (char)value;
            from += 2;
        } else {
            *to++ = *from;
        }
    }
    *to = 0;
    return (size_t)(to - text);
}

static size_t connection_limit(void) {
    struct rlimit files;
    size_t limit = HTTP_CONNECTIONS;
    /* Environments need descriptors too: at most half of what there is. */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur / 2 < limit)
        limit = (size_t)files.rlim_cur / 2;
    return limit < 8 ? 8 : limit;
}

static int start_daemon(struct http *http, struct error *err) {
    /* Suspending without the descriptor that wakes other threads: there are none, and the
     * library drops it by itself in this mode. Turbo: a new connection is read from at
     * once, closed without shutdown(2). */
    unsigned flags =
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO;
    http->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, http_on_request, http, MHD_OPTION_NOTIFY_COMPLETED, http_on_completed,
        http, MHD_OPTION_NOTIFY_CONNECTION, http_on_connection, http, MHD_OPTION_UNESCAPE_CALLBACK,
        unescape, NULL, MHD_OPTION_CONNECTION_LIMIT, (unsigned)http->limit,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)HTTP_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HTTP_MEMORY, MHD_OPTION_END);
    if (!http->daemon)
        return error_set(err, -EIO, "libmicrohttpd does not start (%s)", strerror(errno));
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    int r = info ? sd_event_add_io(http->loop, &http->daemon_source, info->epoll_fd, EPOLLIN,
                                   on_daemon, http)
                 : -EIO;
    if (r >= 0)
        r = sd_event_add_defer(http->loop, &http->flush_source, on_flush, http);
    if (r >= 0)
        r = sd_event_source_set_enabled(http->flush_source, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_event_add_time(http->loop, &http->again_source, CLOCK_MONOTONIC, 0, 1, on_again,
                              http);
    if (r >= 0)
        r = sd_event_source_set_enabled(http->again_source, SD_EVENT_OFF);
    return r < 0 ? error_set(err, r, "HTTP in the event loop: %s", strerror(-r)) : 0;
}

struct http *http_new(struct sd_event *loop, int listening, const struct http_handler *handler,
                      void *owner, struct error *err) {
    struct http *http = calloc(1, sizeof *http);
    if (!http) {
        close(listening);
        error_set(err, -ENOMEM, "HTTP: %s", strerror(ENOMEM));
        return NULL;
    }
    http->loop = sd_event_ref(loop);
    http->handler = handler;
    http->owner = owner;
    http->listening = listening;
    http->hangups = -EBADF;
    http->limit = connection_limit();
    http->to_flush_end = &http->to_flush;
    if (start_daemon(http, err) < 0 || http_watch(http, err) < 0) {
        http_free(http);
        return NULL;
    }
    return http;
}

static void close_listening(struct http *http) {
    http->accept_source = sd_event_source_disable_unref(http->accept_source);
    cleanup_close(&http->listening);
}

void http_stop_accepting(struct http *http) {
    http->stopping = true;
    close_listening(http);
    for (struct http_connection *at = http->connections; at; at = at->next) {
        struct http_request *request = at->request;
        if (request && request->phase == HTTP_STREAMING) {
            http_tell_gone(request);
            request->phase = HTTP_STREAMING;
            http_end(request);
        }
    }
    http_close_idle(http);
}

size_t http_open_requests(const struct http *http) {
    return http->open_requests;
}

void http_free(struct http *http) {
    if (!http)
        return;
    http->closing = true;
    close_listening(http);
    /* The library stops the process when a connection is still suspended then. */
    for (struct http_connection *at = http->connections; at; at = at->next)
        if (at->request) {
            http_tell_gone(at->request);
            resume(at->request);
        }
    if (http->daemon)
        MHD_stop_daemon(http->daemon);
    sd_event_source_disable_unref(http->daemon_source);
    sd_event_source_disable_unref(http->hangup_source);
    sd_event_source_disable_unref(http->flush_source);
    sd_event_source_disable_unref(http->again_source);
    sd_event_source_disable_unref(http->sweep_source);
    cleanup_close(&http->hangups);
    sd_event_unref(http->loop);
    free(http);
}
