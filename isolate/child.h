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

struct build {
    const struct slot_spec *spec;
    struct slot *slot;
    bool privileged; /* the launcher is root of the machine */
    struct init_start *init;
    struct lockdown lockdown;
    struct step_failure failure; /* of the function's process */
    bool program_failed;         /* ... at its execve */
};

/* Ordinary users: enters the new user and PID namespaces (the launcher itself has
 * no right to the second alone) and starts child_function as the launcher's child. */
int child_spawner(void *build);

/* Starts child_function; the launcher sleeps until it has run its program or failed.
 * more_flags: CLONE_PARENT from the spawner. Sets slot->process and process_id.
 * Returns 0 or a negative errno. */
int child_start_function(struct build *build, uint64_t more_flags);

#endif
