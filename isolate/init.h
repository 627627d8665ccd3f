/* The slot's PID 1: it holds the namespaces open and reaps what is orphaned. It
 * runs in the launcher's memory (CLONE_VM), has no descriptor and no capability,
 * and executes nothing but a wait. Killing it ends everything in the slot. */
#ifndef FNRUN_INIT_H
#define FNRUN_INIT_H

struct init_start {
    int parent; /* pidfd of the launcher: readable once it is dead */
};

/* The body of the child; argument is a struct init_start. Never returns. */
int init_main(void *argument);

#endif
