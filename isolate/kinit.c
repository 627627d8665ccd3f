/* PID 1 of a slot: a fork of the keeper that builds what only a process inside can build,
 * then does three small things on request. It runs no code but this. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "isolate/keeper_core.h"
#include "isolate/lo.h"
#include "isolate/lockdown.h"
#include "isolate/root.h"
#include "isolate/sys.h"

#define KILL_TURNS   2000
#define KILL_STEP_NS 100000

struct inside {
    int last_pid; /* ns_last_pid, open for writing */
    const struct kinit *start;
};

/* What the keeper is told instead of "ready": the step and the errno. */
struct kinit_failure {
    char what; /* 'f' */
    int code;
    char step[64];
};

static __attribute__((noreturn)) void fail(const struct kinit *start, const char *step, int code) {
    struct kinit_failure failure = {.what = 'f', .code = code};
    strncpy(failure.step, step, sizeof failure.step - 1);
    if (send(start->control, &failure, sizeof failure, MSG_NOSIGNAL) < 0)
        _exit(126);
    _exit(125);
}

/* The slot's /proc will be read-only: this file is opened in a mount of its own, which is
 * gone but for the descriptor. */
static int open_last_pid(void) {
    int context = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
    if (context < 0 || syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    int mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
    if (mount < 0)
        return -errno;
    int fd = openat(mount, "sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : fd;
    close(mount);
    close(context);
    return r;
}

/* In order: the group before its namespace, which shows the group it is made in as /. */
static void build(const struct kinit *start, struct inside *inside) {
    const char *step = "";
    int r = leaf_enter(start->leaf);
    if (r < 0)
        fail(start, "entering the slot's control groups", r);
    if (unshare(CLONE_NEWCGROUP | (start->host_network ? 0 : CLONE_NEWNET)) < 0)
        fail(start, "making the network and cgroup namespaces", -errno);
    if (!start->host_network && (r = lo_bring_up()) < 0)
        fail(start, "bringing lo up", r);
    if (sethostname(start->host_name, strlen(start->host_name)) < 0)
        fail(start, "naming the host", -errno);
    if ((inside->last_pid = open_last_pid()) < 0)
        fail(start, "opening ns_last_pid", inside->last_pid);
    if ((r = root_mount_private(start->tmp_bytes, &step)) < 0)
        fail(start, step, r);
}

/* Everything in the PID namespace but this. A process may be in the middle of its end, or
 * fork while it is killed: again until there is nobody. */
static int kill_all(void) {
    for (int turn = 0; turn < KILL_TURNS; turn++) {
        const struct timespec step = {0, KILL_STEP_NS};
        if (kill(-1, SIGKILL) < 0 && errno == ESRCH)
            return 0;
        nanosleep(&step, NULL);
    }
    return EBUSY;
}

static int renew_tmp(const struct kinit *start) {
    const char *step = "";
    /* Plainly: what still holds the old one makes this fail, and the slot is given up. */
    if (umount2("/tmp", 0) < 0)
        return errno;
    return -root_mount_tmp(start->tmp_bytes, &step);
}

static void go(const struct inside *inside, uint64_t id) {
    struct seccomp_notif_resp answer = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    /* F is the next process: number 2, each time. */
    if (pwrite(inside->last_pid, "1", 1, 0) != 1)
        _exit(124);
    if (ioctl(inside->start->listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 && errno != ENOENT)
        _exit(123);
}

static void serve(const struct inside *inside) {
    const struct kinit *start = inside->start;
    struct kinit_command command;
    unsigned char answer;
    while (recv(start->control, &command, sizeof command, 0) == sizeof command) {
        if (command.op == KINIT_GO) {
            go(inside, command.id);
            continue;
        }
        answer = (unsigned char)(command.op == KINIT_KILL ? kill_all() : renew_tmp(start));
        if (send(start->control, &answer, 1, MSG_NOSIGNAL) < 0)
            break;
    }
}

/* All descriptors but the control socket and the listener. */
static void close_others(const struct kinit *start, int last_pid) {
    int keep[3] = {start->control, start->listener, last_pid};
    for (int i = 0; i < 2; i++)
        for (int j = i + 1; j < 3; j++)
            if (keep[j] < keep[i]) {
                int other = keep[i];
                keep[i] = keep[j];
                keep[j] = other;
            }
    unsigned from = 0;
    for (int i = 0; i < 3; i++) {
        if (keep[i] < 0)
            continue;
        if ((unsigned)keep[i] > from)
            syscall(SYS_close_range, from, (unsigned)keep[i] - 1, 0);
        from = (unsigned)keep[i] + 1;
    }
    syscall(SYS_close_range, from, ~0U, 0);
}

void kinit_main(const struct kinit *start) {
    struct inside inside = {.start = start};
    char ready = 'r';
    sigset_t all;
    /* Its dead are reaped by the kernel; signals from inside do not reach PID 1. */
    lockdown_ignore_children();
    keeper_be_ordinary();
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    build(start, &inside);
    close_others(start, inside.last_pid);
    if (send(start->control, &ready, 1, MSG_NOSIGNAL) == 1)
        serve(&inside);
    _exit(0);
}
