/* The slot's PID 1: it makes the network namespace and the root file system while the
 * launcher does the rest, then holds all namespaces open and has orphans reaped. It
 * runs in the launcher's memory (CLONE_VM), ends up without a descriptor or a
 * capability and executes nothing but a wait. Killing it ends everything in the slot. */
#ifndef FNRUN_INIT_H
#define FNRUN_INIT_H

#include <stdbool.h>
#include <stdint.h>

#include "isolate/root.h"

/* What a child leaves for the launcher to word. */
struct step_failure {
    const char *step; /* static text; NULL: none */
    int code;         /* negative errno */
};

enum { INIT_BUILDING = 0, INIT_READY = 1, INIT_FAILED = 2 };

struct init_start {
    /* From the start. */
    int parent;   /* pidfd of the launcher: readable once it is dead */
    unsigned cpu; /* where the launcher runs */
    bool network; /* make a network namespace and bring its lo up */
    /* From init_go on. */
    const char *host_name;
    bool become_root; /* id 0 is mapped (not in the single-id form) */
    bool open_trees;  /* the launcher could not */
    struct root_spec root;
    struct root_trees trees;
    /* Futexes: 1 once the lines above stand and the id maps are written; one of INIT_*. */
    uint32_t go, state;
    struct step_failure failure;
};

/* The body of the child; argument is a struct init_start. Never returns. */
int init_main(void *argument);

/* Tells init that it has all it needs. */
void init_go(struct init_start *start);

/* Waits (10 s at most) until init is through. For a child in the same memory: raw calls
 * only. Returns 0, or init's failure, in *failure as well. */
int init_wait(struct init_start *start, struct step_failure *failure);

#endif
