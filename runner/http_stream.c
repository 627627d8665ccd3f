#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "runner/http_core.h"

#define BLOCK (16 * 1024)

/* Bytes pushed and not yet taken by libmicrohttpd. It outlives the request: libmicrohttpd
 * frees it with the response. */
struct http_stream {
    struct http_request *request; /* NULL: ended or gone */
    char *data;
    size_t start, end, capacity;
    size_t first; /* bytes pushed where the stream was begun: beside the backlog's bound */
    bool ended, cut;
};

static ssize_t read_stream(void *owner, uint64_t position, char *to, size_t room) {
    struct http_stream *stream = owner;
    (void)position;
    size_t have = stream->end - stream->start;
    if (stream->cut)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    if (have) {
        size_t length = have < room ? have : room;
        memcpy(to, stream->data + stream->start, length);
        stream->start += length;
        if (stream->start == stream->end)
            stream->start = stream->end = 0;
        return (ssize_t)length;
    }
    if (stream->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!stream->request || stream->request->phase == HTTP_GONE)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    MHD_suspend_connection(stream->request->connection->mhd);
    stream->request->suspended = true;
    return 0;
}

static void free_stream(void *owner) {
    struct http_stream *stream = owner;
    free(stream->data);
    free(stream);
}

void http_stream_detach(struct http_request *request) {
    if (request->stream)
        request->stream->request = NULL;
    request->stream = NULL;
}

void http_stream(struct http_request *request, unsigned status, const char *const *headers) {
    struct MHD_Response *response = NULL;
    struct http_stream *stream = calloc(1, sizeof *stream);
    if (stream)
        response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_stream, stream,
                                                     free_stream);
    if (!response)
        free(stream);
    response = http_finish_response(request, response, headers, status);
    if (!stream || !response) { /* no memory: the connection is closed, and gone called */
        shutdown(request->connection->fd, SHUT_RDWR);
        return;
    }
    stream->request = request;
    request->stream = stream;
    request->phase = HTTP_STREAMING;
    request->status = status;
    request->response = response;
    http_flush_later(request);
}

static bool make_room(struct http_stream *stream, size_t length) {
    size_t have = stream->end - stream->start;
    if (stream->request->inside)
        stream->first += length;
    else if (have + length > stream->first + HTTP_BACKLOG)
        return false;
    if (stream->start && stream->capacity - stream->end < length) {
        memmove(stream->data, stream->data + stream->start, have);
        stream->start = 0;
        stream->end = have;
    }
    if (stream->capacity - stream->end >= length)
        return true;
    size_t capacity = stream->capacity ? stream->capacity : BLOCK;
    while (capacity < have + length)
        capacity *= 2;
    char *data = realloc(stream->data, capacity);
    if (!data)
        return false;
    stream->data = data;
    stream->capacity = capacity;
    return true;
}

void http_push(struct http_request *request, const char *bytes, size_t length) {
    struct http_stream *stream = request->stream;
    if (request->phase != HTTP_STREAMING || !stream || stream->cut || !length)
        return;
    if (!make_room(stream, length)) {
        /* gone is told from the loop, not from in here, where the caller walks its lists. */
        stream->cut = true;
        shutdown(request->connection->fd, SHUT_RDWR);
        return;
    }
    memcpy(stream->data + stream->end, bytes, length);
    stream->end += length;
    http_flush_later(request);
}

void http_end(struct http_request *request) {
    if (request->phase != HTTP_STREAMING)
        return;
    request->phase = HTTP_ANSWERED;
    request->since = monotonic_us();
    if (request->stream)
        request->stream->ended = true;
    http_flush_later(request);
}
