/* The event of a one-shot call: from --event JSON, --event @file, --event - or,
 * without the option, from stdin when that is a file, a pipe or a socket. */
#ifndef FNRUN_EVENT_H
#define FNRUN_EVENT_H

#include <stddef.h>
#include <stdint.h>

#include "isolate/error.h"

struct event {
    char *data; /* owned; its bytes are exactly what was given */
    size_t length;
};

/* Reads and checks it (json_scan). A terminal, /dev/null or nothing means {}.
 * After one second without data on stdin a line on stderr says what is waited for
 * (not with quiet). limit: bytes.
 * Returns an enum outcome: OUTCOME_SUCCESS, OUTCOME_BAD_EVENT,
 * OUTCOME_EVENT_TOO_LARGE, or OUTCOME_SERVICE, with err filled. */
int event_read(const char *option, uint64_t limit, int quiet, struct event *event,
               struct error *err);
void event_free(struct event *event);

#endif
