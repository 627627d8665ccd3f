#include "isolate/lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "isolate/sys.h"

#define ABOVE_TARGETS 16 /* descriptors are first copied to numbers above their new ones */

/* The kernel's struct, which is not libc's. */
struct kernel_sigaction {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

SYS_CHILD void lockdown_signals(void) {
    struct kernel_sigaction action = {0};
    uint64_t none = 0;
    for (int number = 1; number <= 64; number++)
        sys_call4(SYS_rt_sigaction, number, SYS_PTR(&action), 0, sizeof action.mask);
    sys_call4(SYS_rt_sigprocmask, SIG_SETMASK, SYS_PTR(&none), 0, sizeof none);
}

SYS_CHILD void lockdown_ignore_children(void) {
    struct kernel_sigaction action = {.handler = (void *)SIG_IGN};
    sys_call4(SYS_rt_sigaction, SIGCHLD, SYS_PTR(&action), 0, sizeof action.mask);
}

SYS_CHILD int lockdown_capabilities(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    sys_call5(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return (int)sys_call2(SYS_capset, SYS_PTR(&head), SYS_PTR(none));
}

SYS_CHILD int lockdown_descriptors(const int *sources, int count) {
    long high[LOCKDOWN_DESCRIPTORS];
    for (int i = 0; i < count; i++) {
        high[i] = sys_call3(SYS_fcntl, sources[i], F_DUPFD_CLOEXEC, ABOVE_TARGETS);
        if (high[i] < 0)
            return (int)high[i];
    }
    for (int i = 0; i < count; i++) {
        long r = sys_call3(SYS_dup3, high[i], i, 0);
        if (r < 0)
            return (int)r;
    }
    return (int)sys_call3(SYS_close_range, count, ~0U, 0);
}

/* Soft and hard, never above the hard limit that is there: raising that would take
 * CAP_SYS_RESOURCE on the machine, and a lower one is no weaker. */
SYS_CHILD static int set_limit(int resource, uint64_t value) {
    struct {
        uint64_t soft, hard;
    } limit, now;
    long r = sys_call4(SYS_prlimit64, 0, resource, 0, SYS_PTR(&now));
    if (r < 0)
        return (int)r;
    limit.soft = limit.hard = value < now.hard ? value : now.hard;
    return (int)sys_call4(SYS_prlimit64, 0, resource, SYS_PTR(&limit), 0);
}

SYS_CHILD int lockdown_bounding(uint64_t kept) {
    for (int capability = 0; capability < 64; capability++) {
        if (kept >> capability & 1)
            continue;
        long r = sys_call5(SYS_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
        if (r == -EINVAL && capability > 0) /* past the last one the kernel knows */
            return 0;
        if (r < 0)
            return (int)r;
    }
    return 0;
}

SYS_CHILD int lockdown_limits(const struct lockdown *lockdown) {
    int r = set_limit(RLIMIT_CORE, 0);
    if (r == 0)
        r = set_limit(RLIMIT_NOFILE, lockdown->open_files);
    if (r == 0)
        r = set_limit(RLIMIT_NPROC, lockdown->processes);
    if (r == 0)
        r = set_limit(RLIMIT_MEMLOCK, 64 * 1024);
    if (r == 0)
        r = set_limit(RLIMIT_RTPRIO, 0); /* a real-time task is outside the cpu limit */
    if (r == 0)
        r = set_limit(RLIMIT_NICE, 0);
    if (r == 0 && lockdown->data)
        r = set_limit(RLIMIT_DATA, lockdown->data);
    return r;
}

#define TRY(name, call)                                                                            \
    do {                                                                                           \
        *step = name;                                                                              \
        long r_ = (call);                                                                          \
        if (r_ < 0)                                                                                \
            return (int)r_;                                                                        \
    } while (0)

SYS_CHILD int lockdown_apply(const struct lockdown *lockdown, const char **step) {
    uint32_t id = lockdown->id;
    /* Groups before ids: afterwards there is no CAP_SETGID. The bounding set before
     * the uid: dropping from it needs CAP_SETPCAP, which goes with uid 0. */
    if (!lockdown->keep_groups)
        TRY("dropping supplementary groups", sys_call2(SYS_setgroups, 0, 0));
    if (lockdown->change_ids)
        TRY("changing the group id", sys_call3(SYS_setresgid, id, id, id));
    TRY("dropping the bounding set", lockdown_bounding(0));
    if (lockdown->change_ids)
        TRY("changing the user id", sys_call3(SYS_setresuid, id, id, id));
    TRY("dropping capabilities", lockdown_capabilities());
    /* A change of uid clears the parent-death signal. */
    TRY("setting the parent-death signal",
        sys_call5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0));
    TRY("starting a session", sys_call0(SYS_setsid));
    sys_call1(SYS_umask, 022);
    TRY("setting resource limits", lockdown_limits(lockdown));
    TRY("setting no_new_privs", sys_call5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    return 0;
}
