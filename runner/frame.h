/* The bytes between the runner and a language runtime (python, node, native)
 * inside a slot: one stream socket, descriptor 3 in the sandboxed process.
 * exec functions do not use it: their event is stdin, their result stdout.
 *
 * A frame is an 8 byte head, then `length` bytes of payload:
 *
 *     u32 type     little endian, one of enum frame_type
 *     u32 length   little endian, of the payload
 *
 * runner -> runtime
 *   FRAME_EVENT  "key: value\n" lines, an empty line, then the event's bytes
 *                unchanged. Keys: request-id, timeout-ms (what the handler has
 *                from the moment it is given the event; may be absent in later
 *                versions), trace-id, client-context (JSON). Unknown keys are
 *                ignored. It may be in the socket before the runtime has loaded
 *                the handler.
 * runtime -> runner
 *   FRAME_READY  no payload: the handler is loaded, the handler's own time
 *                starts. Sent once, before the event is looked at.
 *   FRAME_RESULT the result's bytes (JSON text). Ends the invocation.
 *   FRAME_ERROR  an error object {"errorMessage","errorType","requestId",
 *                "stackTrace"}. Before READY: the handler could not be loaded.
 *                Ends the invocation.
 *
 * Everything that comes from the runtime side is hostile: user code shares the
 * process. A frame of an unknown type or a second READY ends the invocation as
 * Runtime.ExitError; what comes after the last frame is not read. stdout and
 * stderr (descriptors 1 and 2) are the log. After the last frame the process may
 * run its exit handlers for a short grace (FRAME_GRACE_MS), then it is killed. */
#ifndef FNRUN_FRAME_H
#define FNRUN_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "images/json.h"

#define FRAME_FD       3
#define FRAME_HEAD     8
#define FRAME_GRACE_MS 100

enum frame_type {
    FRAME_EVENT = 1,
    FRAME_READY = 2,
    FRAME_RESULT = 3,
    FRAME_ERROR = 4,
};

struct frame_head {
    uint32_t type;
    uint32_t length;
};

/* To and from the eight bytes of the wire. */
static inline void frame_put_head(unsigned char bytes[FRAME_HEAD], struct frame_head head) {
    for (int i = 0; i < 4; i++) {
        bytes[i] = (unsigned char)(head.type >> (8 * i));
        bytes[4 + i] = (unsigned char)(head.length >> (8 * i));
    }
}
static inline struct frame_head frame_get_head(const unsigned char bytes[FRAME_HEAD]) {
    struct frame_head head = {0, 0};
    for (int i = 0; i < 4; i++) {
        head.type |= (uint32_t)bytes[i] << (8 * i);
        head.length |= (uint32_t)bytes[4 + i] << (8 * i);
    }
    return head;
}

/* What is still to be written to a slot: an event, with its frame's head and lines
 * in front where frames are spoken. The event's bytes are the caller's. */
struct frame_sender {
    struct json_out front;
    const char *body;
    size_t body_length;
    size_t sent; /* of both */
};

/* What is said in front of an event. */
struct frame_lines {
    const char *request_id;
    uint64_t timeout_ms;
    const char *trace_id, *context; /* or NULL; line breaks in them become spaces */
};

/* Adds the lines and the empty one. Bytes of the event come next. */
void frame_put_lines(struct json_out *out, const struct frame_lines *lines);

/* Prepares the EVENT frame. Returns 0 or -ENOMEM, -E2BIG (over 4 GiB). */
int frame_prepare_lines(struct frame_sender *sender, const struct frame_lines *lines,
                        const char *event, size_t length);
/* The same with nothing but what is always said. */
int frame_prepare(struct frame_sender *sender, const char *request_id, uint64_t timeout_ms,
                  const char *event, size_t length);
/* Writes what fd (non-blocking) takes. 1: all written, 0: more to come, negative
 * errno: the other side is gone. */
int frame_send(struct frame_sender *sender, int fd);

/* What has come from a runtime. */
struct frame_reader {
    uint64_t limit; /* bytes of the last frame's payload */
    unsigned char head[FRAME_HEAD];
    size_t head_length;
    struct json_out payload;
    uint32_t type;      /* of the last frame, once done */
    uint64_t announced; /* its length */
    bool ready, done;
    bool too_large;     /* announced more than the limit; nothing of it was read */
    const char *broken; /* what was wrong, static text */
};

/* Reads what is there. 1: read something or would block, 0: end of file. */
int frame_receive(struct frame_reader *reader, int fd);

#endif
