/* What the parts of an invocation share while it runs: loop.c moves the bytes and keeps
 * the time, conclude.c finds out how it ended, invocation.c begins and ends. */
#ifndef FNRUN_RUN_H
#define FNRUN_RUN_H

#include "runner/frame.h"
#include "runner/invocation.h"
#include "runner/logs.h"

enum phase {
    PHASE_INIT,  /* the handler is being loaded */
    PHASE_RUN,   /* the handler has the event */
    PHASE_GRACE, /* the result is here, the process may end by itself */
    PHASE_OVER,
};

/* What the loop holds. For frames, input and output are one socket. */
struct run {
    struct invocation *invocation;
    struct slot *slot;
    struct frame_sender sender;
    struct frame_reader reader; /* frames; its payload also collects an exec's stdout */
    struct logs logs;
    int input, output, log, signals;
    int ends[4];                    /* the slot's ends: 0, 1, 2 and the channel */
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

/* Fills outcome and result of the invocation. status: wait(2)'s, of the function's process. */
void run_conclude(struct run *run, int status);

/* The program was not started (code: negative errno). True when that is the function's
 * fault: its outcome and result are then filled. */
bool run_explain_start(struct run *run, int code);

#endif
