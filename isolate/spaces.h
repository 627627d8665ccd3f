/* The namespaces of a slot: those that its init is born into, and the network's, which
 * a helper makes beside everything else (0.7 ms of the kernel's own work that can only
 * be overlapped). Both children run in the launcher's memory (CLONE_VM). */
#ifndef FNRUN_SPACES_H
#define FNRUN_SPACES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "isolate/error.h"

enum { SPACES_PENDING = 0, SPACES_READY = 1, SPACES_FAILED = 2 };

/* What a child leaves for the launcher to word. */
struct spaces_failure {
    const char *step; /* static text; NULL: none */
    int code;         /* negative errno */
};

struct spaces {
    int init; /* pidfd of PID 1; -EBADF: not open */
    pid_t init_id;
    int parent;             /* pidfd of this process, for init to see it die */
    pid_t helper;           /* makes the network; 0: none running */
    int network;            /* descriptor of the namespace, once ready */
    uint32_t network_state; /* futex: SPACES_PENDING ... */
    struct spaces_failure failure;
};

/* Every descriptor closed, nothing running. */
void spaces_clear(struct spaces *spaces);

/* init in user, PID, mount, IPC and UTS namespaces of its own. It dies when this
 * process does. The id maps are still to be written. */
int spaces_open(struct spaces *spaces, struct error *err);

/* The network namespace with lo up. beside: returns at once, the helper goes on. The
 * helper's change of credentials makes this process's memory undumpable. */
int spaces_open_network(struct spaces *spaces, bool beside, struct error *err);

/* Joins it, waiting for the helper. For a child in this memory: raw calls only. */
int spaces_join_network(struct spaces *spaces, struct spaces_failure *failure);

/* After the function's process has started or failed: the helper is reaped, its
 * descriptor closed. init stays. */
void spaces_settle(struct spaces *spaces);

/* SIGKILL to init and with it to everything in the PID namespace. */
void spaces_kill(struct spaces *spaces);

/* A child of this process on the stack given (32-byte aligned, size in bytes).
 * Returns its id or a negative errno. See clone3(2) for flags. */
long spaces_start_child(int (*child)(void *), void *argument, uint64_t flags, int exit_signal,
                        void *stack, unsigned long stack_size);

#endif
