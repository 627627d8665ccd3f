/* The slot's PID 1: it makes the network namespace, holds all of them open and has
 * orphans reaped. It runs in the launcher's memory (CLONE_VM), ends up without a
 * descriptor or a capability and executes nothing but a wait. Killing it ends
 * everything in the slot. */
#ifndef FNRUN_INIT_H
#define FNRUN_INIT_H

#include <stdbool.h>
#include <stdint.h>

enum { INIT_PENDING = 0, INIT_READY = 1, INIT_FAILED = 2 };

/* What a child leaves for the launcher to word. */
struct step_failure {
    const char *step; /* static text; NULL: none */
    int code;         /* negative errno */
};

struct init_start {
    int parent;     /* pidfd of the launcher: readable once it is dead */
    unsigned cpu;   /* where the launcher runs */
    bool network;   /* make a network namespace and bring its lo up */
    uint32_t state; /* futex: INIT_PENDING until the network is there */
    struct step_failure failure;
};

/* The body of the child; argument is a struct init_start. Never returns. */
int init_main(void *argument);

/* Waits until init is through. For a child in the same memory: raw calls only.
 * Returns 0, or init's failure in *failure as well. */
int init_wait(struct init_start *start, struct step_failure *failure);

#endif
