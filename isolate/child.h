/* The short-lived children that build a slot from inside. All run in the
 * launcher's memory (CLONE_VM) on stacks of their own and use raw system calls
 * only; what went wrong is left in struct build for the launcher to word. */
#ifndef FNRUN_CHILD_H
#define FNRUN_CHILD_H

#include <stdbool.h>
#include <stdint.h>

#include "isolate/init.h"
#include "isolate/lockdown.h"
#include "isolate/root.h"
#include "isolate/slot.h"

enum { BUILD_PENDING = 0, BUILD_READY = 1, BUILD_FAILED = 2 };

struct build_failure {
    const char *step; /* static text; NULL: none */
    int code;         /* negative errno */
};

struct build {
    const struct slot_spec *spec;
    struct slot *slot;
    bool privileged; /* the launcher is root of the machine */
    struct init_start init;
    struct root_spec root;
    struct root_trees trees;
    struct lockdown lockdown;
    /* The network namespace is made beside everything else: 0.7 ms of the kernel's
     * own work that can only be overlapped. */
    int network;            /* descriptor in the shared table */
    uint32_t network_state; /* futex: BUILD_PENDING ... */
    struct build_failure network_failure;
    struct build_failure failure; /* of the function's process */
    bool program_failed;          /* ... at its execve */
};

/* Joins init's user namespace, makes the network namespace, brings lo up. */
int child_network(void *build);

/* Ordinary users: enters the new user and PID namespaces (the launcher itself has
 * no right to the second alone) and starts child_function as the launcher's child. */
int child_spawner(void *build);

/* Starts child_function; the launcher sleeps until it has run its program or failed.
 * more_flags: CLONE_PARENT from the spawner. Sets slot->process and process_id.
 * Returns 0 or a negative errno. */
int child_start_function(struct build *build, uint64_t more_flags);

#endif
