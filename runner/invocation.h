/* The life of one event, in the foreground and without a daemon: the slot is
 * started, the event handed in, log and result taken out, the limits kept, and
 * everything ended. The file to read first. */
#ifndef FNRUN_INVOCATION_H
#define FNRUN_INVOCATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "images/function.h"
#include "images/runtimes.h"
#include "isolate/error.h"
#include "isolate/slot.h"
#include "runner/event.h"
#include "runner/request_id.h"

struct invocation {
    /* What is asked for, set by the caller. */
    const struct function *function;
    const struct runtime_plan *plan;
    const struct event *event;
    struct slot *slot;     /* cleared, or prepared */
    struct slot_spec spec; /* but for the descriptors */
    bool stream_log;       /* to stderr as it comes */
    char request_id[REQUEST_ID_SIZE];

    /* How it ended. */
    int outcome;  /* enum outcome */
    char *result; /* what goes to stdout: the result, or the error object */
    size_t result_length;
    char *log; /* at most limits.logs bytes and a last line [truncated] */
    size_t log_length, log_streamed;
    bool log_truncated;
    uint64_t init_us;     /* from the start to the handler loaded */
    uint64_t duration_us; /* the handler's own time */
    struct slot_usage usage;
    int ids;              /* enum idmap_kind */
    struct error service; /* OUTCOME_SERVICE: what failed */
    bool unclean;         /* something could not be removed: service says what */
};

/* Runs it. Nothing of it is alive or left when this returns. Call
 * invocation_free in every case. SIGINT, SIGTERM and SIGHUP are held back while it
 * runs; one that came is in *signal_number (0: none) and ends it as Client.Gone. */
void invocation_run(struct invocation *invocation, int *signal_number);
void invocation_free(struct invocation *invocation);

#endif
