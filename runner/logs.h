/* The log of one invocation: the first `limit` bytes are kept, the rest is counted
 * and dropped (a flood costs no memory), and what is kept can be streamed to a
 * descriptor that may stop taking it. */
#ifndef FNRUN_LOGS_H
#define FNRUN_LOGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "images/json.h"

struct logs {
    uint64_t limit; /* bytes */
    struct json_out kept;
    bool truncated;
    size_t streamed;
};

/* Reads what is there. 1: read or would block, 0: end of file. Reads at most a few
 * pipes' worth a call, so that a flood does not keep the caller from its clock. */
int logs_receive(struct logs *logs, int fd);
void logs_add(struct logs *logs, const char *bytes, size_t length);
/* Ends the last line and says [truncated] where something was dropped. */
void logs_close(struct logs *logs);

/* Bytes that wait to be streamed. */
static inline size_t logs_pending(const struct logs *logs) {
    return logs->kept.length - logs->streamed;
}
/* One write of at most `most` bytes. */
void logs_stream(struct logs *logs, int fd, size_t most);

#endif
