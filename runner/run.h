/* What the parts of an invocation share while it runs: loop.c moves the bytes and keeps
 * the time, invocation.c begins and ends. */
#ifndef FNRUN_RUN_H
#define FNRUN_RUN_H

#include "runner/ends.h"
#include "runner/frame.h"
#include "runner/invocation.h"
#include "runner/logs.h"

enum phase {
    PHASE_INIT,  /* the handler is being loaded */
    PHASE_RUN,   /* the handler has the event */
    PHASE_GRACE, /* the result is here, the process may end by itself */
    PHASE_OVER,
};

/* What the loop holds. */
struct run {
    struct invocation *invocation;
    struct slot *slot;
    struct frame_sender sender;
    struct frame_reader reader; /* frames; its payload also collects an exec's stdout */
    struct logs logs;
    struct ends ends;
    int signals;
    int phase;                      /* enum phase */
    uint64_t started, ready, ended; /* us, CLOCK_MONOTONIC */
    uint64_t deadline;
    int verdict; /* enum outcome that the loop itself found */
    int signal_number;
};

/* CLOCK_MONOTONIC in us. */
uint64_t run_now(void);

/* Gives the event as far as the slot takes it; the input is closed when it is all there. */
void run_give_event(struct run *run);

/* From the program's start to its end, a limit or a signal: run->verdict and the bytes
 * that came. */
void run_loop(struct run *run);

/* After slot_finish, when every writer is dead: what they left is read to its end. */
void run_drain(struct run *run);

void run_close(struct run *run);

#endif
