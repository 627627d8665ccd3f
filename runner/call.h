/* One event on its way through the daemon: made by the gateway, given to a pool, answered
 * through `done`. The daemon's counterpart of invocation.h. */
#ifndef FNRUN_CALL_H
#define FNRUN_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runner/request_id.h"

struct call {
    /* What is asked for, set by who makes it; texts and event stay valid until done. */
    char request_id[REQUEST_ID_SIZE];
    const char *event;
    size_t event_length;
    uint64_t timeout_ms;  /* lowers the function's; 0: the function's */
    const char *context;  /* JSON of X-Amz-Client-Context, decoded, or NULL */
    const char *trace_id; /* or NULL */
    bool wants_usage;     /* done is called when the numbers are known, not at the result */
    void (*done)(struct call *call); /* exactly once; may free the call */
    void *owner;

    /* How it ended, set before done. */
    int outcome;  /* enum outcome */
    char *result; /* or the error object; freed by call_free */
    size_t result_length;
    char *log; /* at most limits.logs bytes */
    size_t log_length;
    bool log_truncated, cold;
    uint64_t init_us, duration_us, cpu_us, peak_memory;
    bool peak_exact;
    uint64_t arrived, finished; /* us, CLOCK_MONOTONIC */

    /* The pool's. */
    struct pool *pool;
    struct call *next, *previous;
    void *slot;
};

void call_free(struct call *call); /* what it owns, not the struct */

#endif
