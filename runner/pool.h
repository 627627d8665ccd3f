/* One version's environment: started, fed, watched, ended. Requests wait here for a ready
 * slot, at most to their deadline; slots are built ahead of load and given up after it.
 * Speaks isolate/keeper.h through runner/environment.h.
 *
 * All from the loop's thread. Callbacks (done, started, drained, lost, those of pool_events)
 * come from the loop or from within the functions here that say so. done, started and drained
 * may call anything of this header but pools_free; the others nothing. */
#ifndef FNRUN_POOL_H
#define FNRUN_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "images/function.h"
#include "isolate/error.h"
#include "isolate/keeper.h"
#include "runner/call.h"

struct sd_event;
struct pool;
struct pools; /* all of them, their memory budget, the launcher's socket */

struct pool_events { /* told to the owner; any may be NULL */
    /* Log as it comes, of one call or (request_id NULL) of no call: of the zygote, of a program
     * between its calls. Any number of lines, the last one perhaps not whole; not
     * zero-terminated. At most limits.logs bytes of a call, then a line [truncated]. */
    void (*log)(void *owner, const char *request_id, const char *text, size_t length);
    /* A call has ended and its numbers are known: for usage records, after its done. Of the
     * texts only request_id is there, of event, result and log the lengths. */
    void (*ended)(void *owner, const struct call *call);
};

struct pool_stats {
    bool up;
    int way;                             /* enum keeper_way */
    char why[KEEPER_TEXT];               /* why not forked, or "" */
    char broken[KEEPER_TEXT];            /* circuit breaker open: the last failure, or "" */
    uint32_t ready, busy, queued, slots; /* now */
    uint64_t built, reused, retired[KEEPER_TRACES];
    uint64_t calls, errors, throttled, cold;
    uint64_t p50_us, p99_us; /* of the last calls' durations */
    uint64_t memory, cpu_us; /* memory: bytes, of the environment's slots, last peaks summed */
};

/* launcher: socket to the launcher, owned from here on. budget: bytes for all environments
 * (concurrency x memory of those that are up; one that needs more by itself runs alone), 0:
 * none. socket: non-blocking, its HELLO received. lost: the launcher died; every call has been
 * answered. NULL with err: no memory or descriptors; launcher is closed then, too. */
struct pools *pools_new(struct sd_event *loop, int launcher, uint64_t budget,
                        void (*lost)(void *owner), void *owner, struct error *err);
/* With its pools. Calls nobody; calls must have been answered (pools_kill, pool_drain). */
void pools_free(struct pools *pools);
/* Ends every environment at once and answers every call, before it returns; no other is
 * taken. */
void pools_kill(struct pools *pools);

/* function and digest are copied. Starts nothing yet. NULL: out of memory. */
struct pool *pool_new(struct pools *pools, const struct function *function, const char *digest,
                      const struct pool_events *events, void *owner);

/* Starts environment and first slot (for deploy; a call starts them by itself). started is
 * called once, from the loop: OUTCOME_SUCCESS, or why not with an error object and the log so
 * far. */
void pool_start(struct pool *pool,
                void (*started)(void *owner, int outcome, const char *error, size_t error_length,
                                const char *log, size_t log_length),
                void *owner);

/* Takes the call. Returns 0, or -EBUSY (queue full: answer 429), -EHOSTDOWN (circuit broken:
 * pool_stats has the text), -ESHUTDOWN (draining), -E2BIG (event longer than limits.event, or
 * context and trace_id than 12 KiB). done may be called before this returns. A call that finds
 * no slot in its time ends as OUTCOME_THROTTLED. */
int pool_submit(struct pool *pool, struct call *call);
/* The client is gone: event and texts are not looked at after this. done is called, perhaps
 * before this returns, with OUTCOME_CLIENT_GONE (or how it ended, where that is known). */
void pool_cancel(struct call *call);

/* Takes no more calls, finishes those it has, ends, frees itself; then drained. */
void pool_drain(struct pool *pool, void (*drained)(void *owner), void *owner);

void pool_read_stats(const struct pool *pool, struct pool_stats *stats);

#endif
