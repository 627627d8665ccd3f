#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "runner/http_core.h"

/* ---- what the handler may ask ---------------------------------------------------- */

const char *http_method(const struct http_request *request) {
    return request->method;
}

const char *http_path(const struct http_request *request) {
    return request->path;
}

const char *http_query(struct http_request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection->mhd, MHD_GET_ARGUMENT_KIND, name);
}

const char *http_header(struct http_request *request, const char *name) {
    return MHD_lookup_connection_value(request->connection->mhd, MHD_HEADER_KIND, name);
}

const struct http_peer *http_peer(const struct http_request *request) {
    return &request->connection->peer;
}

bool http_peer_in_group(struct http_request *request, gid_t group) {
    struct http_connection *connection = request->connection;
    gid_t few[64], *groups = few;
    socklen_t size = sizeof few;
    bool found = false;
    if (!connection->peer.known)
        return false;
    if (connection->peer.gid == group)
        return true;
    int r = getsockopt(connection->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size);
    if (r < 0 && errno == ERANGE) { /* size is now what it takes */
        groups = malloc(size);
        if (!groups)
            return false;
        r = getsockopt(connection->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size);
    }
    for (size_t i = 0; r == 0 && i < size / sizeof *groups; i++)
        found = found || groups[i] == group;
    if (groups != few)
        free(groups);
    return found;
}

const char *http_body(const struct http_request *request, size_t *length) {
    *length = request->body.length;
    return request->body.data ? request->body.data : "";
}

uint64_t http_body_bytes(const struct http_request *request) {
    return request->body.bytes;
}

struct http_body *http_take_body(struct http_request *request) {
    struct http_body *body = request->body.data ? malloc(sizeof *body) : NULL;
    if (!body)
        return NULL;
    *body = request->body;
    request->connection->http->body_memory -= body->length;
    request->body = (struct http_body){.spool_to = -1, .bytes = body->bytes};
    return body;
}

void http_release_body(struct http_body *body) {
    if (body)
        http_body_free(body);
    free(body);
}

void http_set_data(struct http_request *request, void *data) {
    request->data = data;
}

void *http_data(const struct http_request *request) {
    return request->data;
}

/* ---- headers ----------------------------------------------------------------------- */

struct framing { /* what the headers say of the body */
    unsigned lengths, encodings;
    uint64_t length;
    bool chunked, wrong, expects;
};

static bool parse_length(const char *text, size_t size, uint64_t *length) {
    *length = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned digit = (unsigned char)text[i] - (unsigned)'0';
        if (digit > 9 || __builtin_mul_overflow(*length, 10, length) ||
            __builtin_add_overflow(*length, digit, length))
            return false;
    }
    return size > 0;
}

static enum MHD_Result see_header(void *owner, enum MHD_ValueKind kind, const char *key,
                                  size_t key_size, const char *value, size_t value_size) {
    struct framing *framing = owner;
    (void)kind;
    if (key_size == 14 && strcasecmp(key, "Content-Length") == 0) {
        framing->lengths++;
        framing->wrong =
            framing->wrong || !value || !parse_length(value, value_size, &framing->length);
    } else if (key_size == 17 && strcasecmp(key, "Transfer-Encoding") == 0) {
        framing->encodings++;
        framing->chunked = value && strcasecmp(value, "chunked") == 0;
        framing->wrong = framing->wrong || !framing->chunked;
    } else if (key_size == 6 && strcasecmp(key, "Expect") == 0) {
        framing->expects = value && strcasecmp(value, "100-continue") == 0;
    } else if (value && (strlen(key) != key_size || strlen(value) != value_size)) {
        framing->wrong = true; /* a NUL within */
    }
    return MHD_YES;
}

/* ---- its life ----------------------------------------------------------------------- */

static void refuse(struct http_request *request, unsigned status) {
    struct http *http = request->connection->http;
    if (http->handler->refuse)
        http->handler->refuse(http->owner, request, status);
    if (!request->response)
        http_reply(request, status, NULL, NULL, 0, false);
}

void http_tell_gone(struct http_request *request) {
    struct http *http = request->connection->http;
    int phase = request->phase;
    if (phase != HTTP_BODY && phase != HTTP_WAITING && phase != HTTP_STREAMING)
        return;
    request->phase = HTTP_GONE;
    http->handler->gone(http->owner, request);
}

static void request_free(struct http_request *request) {
    struct http *http = request->connection->http;
    http_forget(request);
    http_stream_detach(request);
    if (request->response)
        MHD_destroy_response(request->response);
    http->body_memory -= request->body.length;
    http_body_free(&request->body);
    http->open_requests--;
    free(request);
}

void http_on_completed(void *owner, struct MHD_Connection *mhd, void **context,
                       enum MHD_RequestTerminationCode code) {
    struct http_request *request = *context;
    (void)owner, (void)mhd, (void)code;
    *context = NULL;
    if (!request)
        return;
    http_tell_gone(request);
    request->connection->since = monotonic_us();
    request->connection->request = NULL;
    http_go_on_accepting(request->connection->http);
    request_free(request);
}

static struct http_request *request_new(struct http *http, struct MHD_Connection *mhd,
                                        const char *path, const char *method) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct http_connection *connection = info ? info->socket_context : NULL;
    struct http_request *request = connection ? calloc(1, sizeof *request) : NULL;
    if (!request)
        return NULL;
    request->connection = connection;
    connection->request = request;
    request->method = method;
    request->path = path;
    request->since = monotonic_us();
    request->body.spool_to = -1;
    http->open_requests++;
    return request;
}

/* Answered before its body came. One that asks first (Expect) or brings too much is answered
 * now, and the connection closed; of any other the body is thrown away before, since a
 * client that is still writing would see its connection reset instead of the answer. */
static enum MHD_Result answered_early(struct http_request *request, const struct framing *framing) {
    bool body = framing->chunked || framing->length > 0;
    if (body && !framing->expects && !framing->wrong && framing->length <= HTTP_DRAIN_MOST)
        return MHD_YES;
    request->phase = HTTP_ANSWERED;
    http_answer(request, request->response, request->status);
    return MHD_YES;
}

static void open_body(struct http *http, struct http_request *request,
                      const struct framing *framing) {
    int spool_to = -1;
    int64_t limit = http->handler->begin(http->owner, request, &spool_to);
    if (request->phase != HTTP_BODY)
        return;
    if (limit < 0) /* without having answered */
        refuse(request, MHD_HTTP_INTERNAL_SERVER_ERROR);
    else if (framing->length > (uint64_t)limit)
        refuse(request, MHD_HTTP_CONTENT_TOO_LARGE);
    else if (http_body_open(&request->body, (size_t)limit, framing->length, spool_to) < 0)
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE);
}

/* After the headers. */
static enum MHD_Result begin(struct http *http, struct MHD_Connection *mhd, const char *path,
                             const char *method, void **context) {
    struct framing framing = {0};
    struct http_request *request = request_new(http, mhd, path, method);
    if (!request)
        return MHD_NO;
    *context = request;
    request->inside = true;
    request->phase = HTTP_DRAIN; /* until begin was called, gone is nobody's business */
    MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, see_header, &framing);
    const union MHD_ConnectionInfo *size =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    /* Two ways of saying where the body ends are how requests are smuggled: RFC 9112, 6.3. */
    if (framing.wrong || framing.lengths + framing.encodings > 1) {
        framing.wrong = true;
        refuse(request, MHD_HTTP_BAD_REQUEST);
    } else if (!size || size->header_size > HTTP_HEADERS) {
        framing.wrong = true;
        refuse(request, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE);
    } else {
        request->phase = HTTP_BODY;
        open_body(http, request, &framing);
    }
    request->inside = false;
    return request->response ? answered_early(request, &framing) : MHD_YES;
}

static enum MHD_Result take(struct http_request *request, const char *data, size_t *size) {
    struct http *http = request->connection->http;
    size_t length = *size;
    *size = 0;
    if (request->phase == HTTP_DRAIN) {
        request->drained += length;
        return request->drained <= HTTP_DRAIN_MOST ? MHD_YES : MHD_NO;
    }
    if (request->phase != HTTP_BODY)
        return MHD_NO;
    size_t before = request->body.length;
    int r = http->body_memory + length > HTTP_BODY_MEMORY && request->body.spool_to < 0
                ? -ENOMEM
                : http_body_add(&request->body, data, length);
    http->body_memory += request->body.length - before;
    if (r == 0)
        return MHD_YES;
    request->inside = true;
    refuse(request, r == -EFBIG    ? MHD_HTTP_CONTENT_TOO_LARGE
                    : r == -ENOMEM ? MHD_HTTP_SERVICE_UNAVAILABLE
                                   : MHD_HTTP_INTERNAL_SERVER_ERROR);
    request->inside = false;
    http->body_memory -= request->body.length;
    http_body_free(&request->body);
    return MHD_YES;
}

/* The body is whole: the "final" call, which may come again. */
static enum MHD_Result finish(struct http *http, struct http_request *request) {
    if (request->phase == HTTP_BODY) {
        if (request->connection->hung || http->closing) {
            http_tell_gone(request);
            return MHD_NO;
        }
        request->phase = HTTP_WAITING;
        request->inside = true;
        http->handler->handle(http->owner, request);
        request->inside = false;
    }
    if (request->phase == HTTP_GONE)
        return MHD_NO;
    if (request->response && !request->queued) {
        if (request->phase == HTTP_DRAIN)
            request->phase = HTTP_ANSWERED;
        http_answer(request, request->response, request->status);
    } else if (!request->queued && !request->listed_suspend) {
        /* Not from in here: libmicrohttpd would remember this connection as one to read from,
         * and read on before it answers; the end of a half-closed client would be found
         * there, and the answer dropped. After the round it counts as neither. */
        request->listed_suspend = true;
        request->next_suspend = http->to_suspend;
        http->to_suspend = request;
    }
    return MHD_YES;
}

enum MHD_Result http_on_request(void *owner, struct MHD_Connection *mhd, const char *url,
                                const char *method, const char *version, const char *data,
                                size_t *size, void **context) {
    struct http_request *request = *context;
    (void)version;
    if (!request)
        return begin(owner, mhd, url, method, context);
    if (*size)
        return take(request, data, size);
    return finish(owner, request);
}
