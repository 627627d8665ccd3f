#include "isolate/init.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "isolate/lo.h"
#include "isolate/lockdown.h"
#include "isolate/sys.h"

#define CLOSE_UNSHARE 2 /* CLOSE_RANGE_UNSHARE */
#define WAIT_SECONDS  10
#define SPIN_TURNS    500 /* about 0.15 ms */

#define TRY(name, call)                                                                            \
    do {                                                                                           \
        failure->step = name;                                                                      \
        long r_ = (call);                                                                          \
        if (r_ < 0)                                                                                \
            return failure->code = (int)r_;                                                        \
    } while (0)

/* Leaves the launcher's processor where there is another: a scheduler that does not
 * spread new tasks would run one after the other what is meant to run at once. Its own
 * affinity is of no further use to init, and nobody inherits it. */
SYS_CHILD static void step_aside(unsigned launcher_cpu) {
    unsigned char allowed[1024 / 8];
    unsigned cpu;
    if (sys_call3(SYS_getcpu, SYS_PTR(&cpu), 0, 0) < 0 || cpu != launcher_cpu)
        return;
    long length = sys_call3(SYS_sched_getaffinity, 0, sizeof allowed, SYS_PTR(allowed));
    if (length <= (long)(cpu / 8))
        return;
    allowed[cpu / 8] &= (unsigned char)~(1U << cpu % 8);
    /* Refused where that leaves none. */
    sys_call3(SYS_sched_setaffinity, 0, length, SYS_PTR(allowed));
}

/* 0.7 ms of the kernel's own work, which is why it is done here, beside the launcher.
 * It belongs to the user namespace that this was born into. */
SYS_CHILD static int make_network(struct step_failure *failure) {
    TRY("making the network namespace", sys_call1(SYS_unshare, CLONE_NEWNET));
    TRY("bringing lo up", lo_bring_up());
    return 0;
}

SYS_CHILD static int watch_parent(const struct init_start *start) {
    struct pollfd parent = {.fd = start->parent, .events = POLLIN};
    struct timespec now = {0, 0};
    /* The launcher dead means the slot dead, even by kill -9. It may have died before
     * the line took effect: then its pidfd is readable. */
    sys_call5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    return sys_call5(SYS_ppoll, SYS_PTR(&parent), 1, SYS_PTR(&now), 0, 0) == 0 ? 0 : -ESRCH;
}

SYS_CHILD static void wait_for_go(struct init_start *start) {
    while (!__atomic_load_n(&start->go, __ATOMIC_ACQUIRE))
        sys_call4(SYS_futex, SYS_PTR(&start->go), FUTEX_WAIT, 0, 0);
}

SYS_CHILD static long name_host(const char *name) {
    size_t length = 0;
    while (name[length])
        length++;
    return sys_call2(SYS_sethostname, SYS_PTR(name), (long)length);
}

/* In order: each line needs what stands above it. */
SYS_CHILD static int build(struct init_start *start) {
    struct step_failure *failure = &start->failure;
    int r = 0;
    if (start->network) {
        step_aside(start->cpu);
        r = make_network(failure);
    }
    if (r < 0)
        return r;
    wait_for_go(start);
    /* Before the change of ids: an ordinary user's own folders are his alone. */
    if (start->open_trees && (r = root_open(&start->root, &start->trees, &failure->step)) < 0)
        return failure->code = r;
    if (start->become_root) {
        /* Mounts are made as id 0 of the slot: a tmpfs belongs to who mounts it. */
        TRY("becoming root of the slot", sys_call3(SYS_setresgid, 0, 0, 0));
        TRY("becoming root of the slot", sys_call3(SYS_setresuid, 0, 0, 0));
        /* A change of ids clears the parent-death signal. */
        TRY("watching the launcher", watch_parent(start));
    }
    if ((r = root_enter(&start->root, &start->trees, &failure->step)) < 0)
        return failure->code = r;
    TRY("naming the host", name_host(start->host_name));
    return 0;
}

SYS_CHILD int init_main(void *argument) {
    struct init_start *start = argument;
    if (watch_parent(start) < 0)
        return 1;
    int r = build(start);
    __atomic_store_n(&start->state, r < 0 ? INIT_FAILED : INIT_READY, __ATOMIC_RELEASE);
    sys_call3(SYS_futex, SYS_PTR(&start->state), FUTEX_WAKE, INT_MAX);
    lockdown_ignore_children();
    lockdown_capabilities();
    /* The table was shared with the launcher, for the trees that it opens. */
    sys_call3(SYS_close_range, 0, ~0U, CLOSE_UNSHARE);
    for (;;)
        sys_call4(SYS_ppoll, 0, 0, 0, 0);
}

void init_go(struct init_start *start) {
    __atomic_store_n(&start->go, 1, __ATOMIC_RELEASE);
    sys_call3(SYS_futex, SYS_PTR(&start->go), FUTEX_WAKE, 1);
}

SYS_CHILD int init_wait(struct init_start *start, struct step_failure *failure) {
    uint32_t state;
    int left = WAIT_SECONDS;
    /* Mostly it is nearly through, and waking a sleeper on another processor takes longer
     * than what is left. Each turn lets others run, init too where there is one processor. */
    for (int turn = 0;
         turn < SPIN_TURNS && __atomic_load_n(&start->state, __ATOMIC_ACQUIRE) == INIT_BUILDING;
         turn++)
        sys_call0(SYS_sched_yield);
    while ((state = __atomic_load_n(&start->state, __ATOMIC_ACQUIRE)) == INIT_BUILDING) {
        struct timespec second = {1, 0};
        long r = sys_call4(SYS_futex, SYS_PTR(&start->state), FUTEX_WAIT, INIT_BUILDING,
                           SYS_PTR(&second));
        if (r == -ETIMEDOUT && --left == 0) {
            failure->step = "waiting for the slot's init";
            return failure->code = (int)r;
        }
    }
    if (state == INIT_READY)
        return 0;
    *failure = start->failure;
    return failure->code;
}
