#include "isolate/child.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "isolate/filter.h"
#include "isolate/sys.h"

#define FUNCTION_STACK 32768

#define TRY(failure_, name, call)                                                                  \
    do {                                                                                           \
        long r_ = (call);                                                                          \
        if (r_ < 0) {                                                                              \
            (failure_)->step = name;                                                               \
            (failure_)->code = (int)r_;                                                            \
            return (int)r_;                                                                        \
        }                                                                                          \
    } while (0)

SYS_CHILD static int enter_groups(struct build *build) {
    struct cgroup *groups = &build->slot->groups;
    if (!groups->active)
        return 0;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (groups->tasks[i] >= 0)
            TRY(&build->failure, "entering the control group",
                sys_call3(SYS_write, groups->tasks[i], SYS_PTR("0"), 1));
    return 0;
}

/* Once init has built them: its changes of credentials make the memory that all share
 * undumpable, and setns by pidfd asks for the right to read init's memory. */
SYS_CHILD static int enter_namespaces(struct build *build) {
    struct step_failure *failure = &build->failure;
    int spaces = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS;
    int r = init_wait(build->init, failure);
    if (r < 0)
        return r;
    /* The spawner's child is in the user namespace already, and re-entering it is
     * refused (it would give capabilities back). */
    if (build->privileged)
        spaces |= CLONE_NEWUSER;
    if (!build->spec->host_network)
        spaces |= CLONE_NEWNET;
    sys_call5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    TRY(failure, "joining the slot's namespaces", sys_call2(SYS_setns, build->slot->init, spaces));
    /* From inside the groups: made elsewhere it would show the machine's path. */
    TRY(failure, "making the cgroup namespace", sys_call1(SYS_unshare, CLONE_NEWCGROUP));
    return 0;
}

/* The caller's descriptors to 0, 1, 2 and 3, everything else closed. The table is
 * shared with the launcher until unshare. */
SYS_CHILD static int take_descriptors(struct build *build) {
    const struct slot_spec *spec = build->spec;
    const int sources[] = {spec->standard_input, spec->standard_output, spec->standard_error,
                           spec->channel};
    TRY(&build->failure, "copying descriptors", sys_call1(SYS_unshare, CLONE_FILES));
    TRY(&build->failure, "placing descriptors",
        lockdown_descriptors(sources, spec->channel >= 0 ? 4 : 3));
    return 0;
}

/* Getting in, in order. Each line needs what stands above it. */
SYS_CHILD static int enter(struct build *build) {
    struct step_failure *failure = &build->failure;
    int r;
    sys_call5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    lockdown_signals();
    if ((r = enter_groups(build)) < 0 || (r = enter_namespaces(build)) < 0 ||
        (r = take_descriptors(build)) < 0)
        return r;
    TRY(failure, "entering /var/task", sys_call1(SYS_chdir, SYS_PTR("/var/task")));
    if ((r = lockdown_apply(&build->lockdown, &failure->step)) < 0)
        return failure->code = r;
    /* The launcher's memory, which this still is, must not be open to a process of
     * the same user (the single-id form). */
    sys_call5(SYS_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
    TRY(failure, "loading the system call filter", filter_load());
    return 0;
}

SYS_CHILD static int child_function(void *argument) {
    struct build *build = argument;
    const struct slot_spec *spec = build->spec;
    if (enter(build) < 0)
        return 127;
    long r = sys_call3(SYS_execve, SYS_PTR(spec->program), SYS_PTR(spec->arguments),
                       SYS_PTR(spec->environment));
    build->failure.step = "starting the program";
    build->failure.code = (int)r;
    build->program_failed = true;
    return 127;
}

SYS_CHILD int child_start_function(struct build *build, uint64_t more_flags) {
    static char stack[FUNCTION_STACK] __attribute__((aligned(64)));
    struct slot *slot = build->slot;
    struct sys_clone clone = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_FILES | CLONE_PIDFD | more_flags,
        .pidfd = (uint64_t)(uintptr_t)&slot->process,
        .exit_signal = more_flags & CLONE_PARENT ? 0 : SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = sizeof stack,
    };
    if (slot->groups.active && slot->groups.into >= 0) {
        clone.flags |= CLONE_INTO_CGROUP;
        clone.cgroup = (uint64_t)slot->groups.into;
    }
    long pid = sys_clone_child(&clone, child_function, build);
    if (pid < 0)
        return (int)pid;
    slot->process_id = (pid_t)pid;
    return 0;
}

SYS_CHILD int child_spawner(void *argument) {
    struct build *build = argument;
    struct step_failure *failure = &build->failure;
    sys_call5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    int r = init_wait(build->init, failure);
    if (r < 0)
        return r;
    sys_call5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    TRY(failure, "joining the user and PID namespaces",
        sys_call2(SYS_setns, build->slot->init, CLONE_NEWUSER | CLONE_NEWPID));
    sys_call5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    TRY(failure, "starting the function's process", child_start_function(build, CLONE_PARENT));
    return 0;
}
