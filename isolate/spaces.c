#include "isolate/spaces.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/init.h"
#include "isolate/sys.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#ifndef __WALL
#define __WALL 0x40000000
#endif
#define CHILD_STACK 16384

#define TRY(failure_, name, call)                                                                  \
    do {                                                                                           \
        long r_ = (call);                                                                          \
        if (r_ < 0) {                                                                              \
            (failure_)->step = name;                                                               \
            (failure_)->code = (int)r_;                                                            \
            return (int)r_;                                                                        \
        }                                                                                          \
    } while (0)

void spaces_clear(struct spaces *spaces) {
    memset(spaces, 0, sizeof *spaces);
    spaces->init = spaces->parent = spaces->network = -EBADF;
}

long spaces_start_child(int (*child)(void *), void *argument, uint64_t flags, int exit_signal,
                        void *stack, unsigned long stack_size) {
    struct sys_clone clone = {
        .flags = CLONE_VM | flags,
        .exit_signal = (uint64_t)exit_signal,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = stack_size,
    };
    return sys_clone_child(&clone, child, argument);
}

int spaces_open(struct spaces *spaces, struct error *err) {
    static char stack[CHILD_STACK] __attribute__((aligned(64)));
    /* Static: it is read while this function has long returned. */
    static struct init_start start;
    spaces->parent = (int)sys_call2(SYS_pidfd_open, getpid(), 0);
    if (spaces->parent < 0)
        return error_set(err, spaces->parent, "pidfd_open: %s", strerror(-spaces->parent));
    start.parent = spaces->parent;
    struct sys_clone clone = {
        .flags = CLONE_VM | CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS |
                 CLONE_NEWIPC | CLONE_NEWUTS,
        .pidfd = (uint64_t)(uintptr_t)&spaces->init,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = sizeof stack,
    };
    long pid = sys_clone_child(&clone, init_main, &start);
    if (pid < 0) {
        const char *hint =
            pid == -ENOSPC
                ? "a limit on namespaces was reached (sysctl user.max_user_namespaces and "
                  "its like)"
                : "`fnrun doctor` says what this machine allows";
        return error_set(err, (int)pid, "making the slot's namespaces: %s. %s", strerror((int)-pid),
                         hint);
    }
    spaces->init_id = (pid_t)pid;
    return 0;
}

SYS_CHILD static int loopback_up(struct spaces_failure *failure) {
    long fd = sys_call3(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    TRY(failure, "opening a socket for lo", fd);
    struct ifreq request = {.ifr_name = "lo"};
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    TRY(failure, "bringing lo up", sys_call3(SYS_ioctl, fd, SIOCSIFFLAGS, SYS_PTR(&request)));
    sys_call1(SYS_close, fd);
    return 0;
}

SYS_CHILD static int make_network(struct spaces *spaces) {
    struct spaces_failure *failure = &spaces->failure;
    sys_call5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    TRY(failure, "joining the user namespace", sys_call2(SYS_setns, spaces->init, CLONE_NEWUSER));
    TRY(failure, "making the network namespace", sys_call1(SYS_unshare, CLONE_NEWNET));
    int r = loopback_up(failure);
    if (r < 0)
        return r;
    long fd = sys_call4(SYS_openat, AT_FDCWD, SYS_PTR("/proc/thread-self/ns/net"),
                        O_RDONLY | O_CLOEXEC, 0);
    TRY(failure, "opening the network namespace", fd);
    spaces->network = (int)fd;
    return 0;
}

SYS_CHILD static int network_main(void *argument) {
    struct spaces *spaces = argument;
    int r = make_network(spaces);
    __atomic_store_n(&spaces->network_state, r < 0 ? SPACES_FAILED : SPACES_READY,
                     __ATOMIC_RELEASE);
    sys_call3(SYS_futex, SYS_PTR(&spaces->network_state), FUTEX_WAKE, 1);
    return 0;
}

static void reap(pid_t pid) {
    int status;
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        ;
}

int spaces_open_network(struct spaces *spaces, bool beside, struct error *err) {
    static char stack[CHILD_STACK] __attribute__((aligned(64)));
    long pid = spaces_start_child(network_main, spaces, CLONE_FILES, 0, stack, sizeof stack);
    if (pid < 0)
        return error_set(err, (int)pid, "making the network namespace: %s", strerror((int)-pid));
    spaces->helper = (pid_t)pid;
    if (!beside) {
        reap(spaces->helper);
        spaces->helper = 0;
    }
    return 0;
}

SYS_CHILD int spaces_join_network(struct spaces *spaces, struct spaces_failure *failure) {
    uint32_t state;
    while ((state = __atomic_load_n(&spaces->network_state, __ATOMIC_ACQUIRE)) == SPACES_PENDING)
        sys_call4(SYS_futex, SYS_PTR(&spaces->network_state), FUTEX_WAIT, SPACES_PENDING, 0);
    if (state == SPACES_FAILED) {
        *failure = spaces->failure;
        return failure->code;
    }
    TRY(failure, "joining the network namespace",
        sys_call2(SYS_setns, spaces->network, CLONE_NEWNET));
    return 0;
}

void spaces_settle(struct spaces *spaces) {
    if (spaces->helper > 0)
        reap(spaces->helper);
    spaces->helper = 0;
    cleanup_close(&spaces->network);
    cleanup_close(&spaces->parent);
}

void spaces_kill(struct spaces *spaces) {
    if (spaces->init >= 0)
        sys_call4(SYS_pidfd_send_signal, spaces->init, SIGKILL, 0, 0);
}
