#include "runner/frame.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#define CHUNK 65536

static void put_line(struct json_out *out, const char *key, const char *value) {
    json_put_text(out, key);
    size_t start = out->length;
    json_put_text(out, value);
    if (!out->failed)
        for (size_t i = start; i < out->length; i++)
            if (out->data[i] == '\n' || out->data[i] == '\r')
                out->data[i] = ' ';
    json_put_raw(out, "\n", 1);
}

void frame_put_lines(struct json_out *out, const struct frame_lines *lines) {
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)lines->timeout_ms);
    put_line(out, "request-id: ", lines->request_id);
    put_line(out, "timeout-ms: ", number);
    if (lines->trace_id)
        put_line(out, "trace-id: ", lines->trace_id);
    if (lines->context)
        put_line(out, "client-context: ", lines->context);
    json_put_raw(out, "\n", 1);
}

int frame_prepare_lines(struct frame_sender *sender, const struct frame_lines *lines,
                        const char *event, size_t length) {
    static const unsigned char head[FRAME_HEAD];
    json_put_raw(&sender->front, (const char *)head, sizeof head);
    frame_put_lines(&sender->front, lines);
    if (sender->front.failed)
        return -ENOMEM;
    size_t used = sender->front.length - FRAME_HEAD;
    if (used > UINT32_MAX / 2 || length > UINT32_MAX - used)
        return -E2BIG;
    frame_put_head((unsigned char *)sender->front.data,
                   (struct frame_head){FRAME_EVENT, (uint32_t)(used + length)});
    sender->body = event;
    sender->body_length = length;
    return 0;
}

int frame_prepare(struct frame_sender *sender, const char *request_id, uint64_t timeout_ms,
                  const char *event, size_t length) {
    const struct frame_lines lines = {.request_id = request_id, .timeout_ms = timeout_ms};
    return frame_prepare_lines(sender, &lines, event, length);
}

int frame_send(struct frame_sender *sender, int fd) {
    size_t front = sender->front.length;
    while (sender->sent < front + sender->body_length) {
        struct iovec parts[2];
        int count = 0;
        if (sender->sent < front)
            parts[count++] =
                (struct iovec){sender->front.data + sender->sent, front - sender->sent};
        size_t into = sender->sent > front ? sender->sent - front : 0;
        if (into < sender->body_length)
            parts[count++] =
                (struct iovec){(char *)sender->body + into, sender->body_length - into};
        ssize_t wrote = writev(fd, parts, count);
        if (wrote < 0)
            return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        sender->sent += (size_t)wrote;
    }
    return 1;
}

static void start_payload(struct frame_reader *reader) {
    struct frame_head head = frame_get_head(reader->head);
    switch (head.type) {
    case FRAME_READY:
        if (reader->ready || head.length)
            reader->broken = "a second READY frame, or one with a payload";
        reader->ready = true;
        reader->head_length = 0;
        break;
    case FRAME_RESULT:
    case FRAME_ERROR:
        reader->type = head.type;
        reader->announced = head.length;
        reader->too_large = head.length > reader->limit;
        reader->done = reader->too_large || head.length == 0;
        break;
    default:
        reader->broken = "a frame of an unknown type";
    }
}

int frame_receive(struct frame_reader *reader, int fd) {
    while (!reader->done && !reader->broken) {
        char chunk[CHUNK];
        bool in_head = reader->head_length < FRAME_HEAD;
        size_t want =
            in_head ? FRAME_HEAD - reader->head_length : reader->announced - reader->payload.length;
        if (want > sizeof chunk)
            want = sizeof chunk;
        ssize_t got = read(fd, chunk, want);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return errno == EAGAIN ? 1 : 0;
        if (got == 0)
            return 0;
        if (in_head) {
            for (ssize_t i = 0; i < got; i++)
                reader->head[reader->head_length++] = (unsigned char)chunk[i];
            if (reader->head_length == FRAME_HEAD)
                start_payload(reader);
            if (reader->ready && reader->head_length == 0)
                return 1; /* the caller's clock changes here */
        } else {
            json_put_raw(&reader->payload, chunk, (size_t)got);
            if (reader->payload.failed)
                reader->broken = "more than memory holds";
            reader->done = reader->payload.length == reader->announced;
        }
    }
    return 1;
}
