#include "cli/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/scope.h"
#include "isolate/cleanup.h"

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* Runs step(argument) in a child; what it returns is what comes back. */
static int in_child(int (*step)(int), int argument) {
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid == 0)
        _exit(-step(argument));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ECANCELED;
}

/* --- namespaces -------------------------------------------------------------- */

static int enter_user(int flags) {
    return unshare(CLONE_NEWUSER | flags) < 0 ? -errno : 0;
}

/* Where AppArmor restricts user namespaces they can be made, but hold no power. */
static int check_power(void) {
    cap_t own = cap_get_proc();
    cap_flag_value_t set = CAP_CLEAR;
    if (own)
        cap_get_flag(own, CAP_SYS_ADMIN, CAP_EFFECTIVE, &set);
    cap_free(own);
    return set == CAP_SET ? 0 : -EPERM;
}

static int try_namespace(int flag) {
    int r = enter_user(0);
    if (r < 0)
        return r;
    if (flag == CLONE_NEWUSER)
        return check_power();
    return unshare(flag) < 0 ? -errno : 0;
}

int probe_namespace(int flag) {
    return in_child(try_namespace, flag);
}

static int write_text(const char *path, const char *text) {
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* A user and a mount namespace in which this process is id 0, and mounts stay in. */
static int enter_mounts(int flags) {
    char map[32];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int r = enter_user(CLONE_NEWNS | flags);
    if (r < 0)
        return r;
    snprintf(map, sizeof map, "0 %u 1", (unsigned)uid);
    r = write_text("/proc/self/uid_map", map);
    if (r == 0)
        r = write_text("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", (unsigned)gid);
    if (r == 0)
        r = write_text("/proc/self/gid_map", map);
    if (r == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        r = -errno;
    return r;
}

/* --- mounts ------------------------------------------------------------------ */

static int mount_proc(int unused) {
    (void)unused;
    int flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
    return mount("proc", "/proc", "proc", (unsigned long)flags, NULL) < 0 ? -errno : 0;
}

static int try_proc(int unused) {
    int r = enter_mounts(CLONE_NEWPID);
    /* Only a child is in the new PID namespace, whose /proc this is. */
    return r < 0 ? r : in_child(mount_proc, unused);
}

int probe_proc(void) {
    return in_child(try_proc, 0);
}

static int try_mount_calls(int unused) {
    (void)unused;
    struct mount_attr attributes = {.attr_set =
                                        MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    int r = enter_mounts(0);
    if (r < 0)
        return r;
    /* Recursive: what the parent namespace mounted there may not be uncovered. */
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "/usr",
                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (tree < 0)
        return -errno;
    if (syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                sizeof attributes) < 0)
        return -errno;
    return syscall(SYS_move_mount, tree, "", AT_FDCWD, "/usr", MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno
                                                                                            : 0;
}

int probe_mount_calls(void) {
    return in_child(try_mount_calls, 0);
}

static int try_overlay(int unused) {
    (void)unused;
    int r = enter_mounts(0);
    if (r < 0)
        return r;
    if (mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0 || mkdir("/tmp/l", 0755) < 0 ||
        mkdir("/tmp/u", 0755) < 0 || mkdir("/tmp/w", 0755) < 0 || mkdir("/tmp/m", 0755) < 0)
        return -errno;
    return mount("overlay", "/tmp/m", "overlay", 0,
                 "lowerdir=/tmp/l,upperdir=/tmp/u,workdir=/tmp/w") < 0
               ? -errno
               : 0;
}

int probe_overlay(void) {
    return in_child(try_overlay, 0);
}

int probe_seccomp(unsigned action) {
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? -errno : 0;
}

/* --- control groups, and a scope ----------------------------------------------- */

int probe_groups(const struct cgroup_layout *layout, struct error *err) {
    static const struct cgroup_limits limits = {
        .memory = 64 << 20, .processes = 16, .cpu_milli = 1000};
    struct cgroup groups;
    char name[40];
    int r = cgroup_usable(layout, err);
    if (r < 0)
        return r;
    snprintf(name, sizeof name, "fnrun-doctor-%d", (int)getpid());
    r = cgroup_make(&groups, layout, name, &limits, err);
    return r < 0 ? r : cgroup_remove(&groups, err);
}

struct seen { /* what the child in the scope saw */
    int result;
    struct cgroup_layout layout;
    struct error err;
};

static void look_in_scope(int go, int answer) {
    static struct seen seen;
    char byte;
    if (read(go, &byte, 1) != 1) /* no scope: the parent closed its end */
        _exit(0);
    seen.result = cgroup_find(&seen.layout, &seen.err);
    if (seen.result == 0)
        seen.result = probe_groups(&seen.layout, &seen.err);
    _exit(write(answer, &seen, sizeof seen) == sizeof seen ? 0 : 1);
}

/* The struct is larger than a pipe's atomic write may be. */
static bool read_all(int fd, void *to, size_t size) {
    for (size_t got = 0; got < size;) {
        ssize_t n = read(fd, (char *)to + got, size - got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

/* Asks in a child: who asks goes into the scope too, and must have left it before
 * groups can be made there. */
static int ask_for_scope(pid_t pid, struct error *err) {
    int answer[2];
    static struct error reason;
    if (pipe2(answer, O_CLOEXEC) < 0)
        return error_set(err, -errno, "pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t asker = fork();
    if (asker == 0) {
        bool failed = scope_make(pid, &reason) < 0;
        _exit(failed && write(answer[1], &reason, sizeof reason) ? 1 : failed);
    }
    close(answer[1]);
    _cleanup_close_ int answer_out = answer[0];
    if (asker < 0)
        return error_set(err, -errno, "fork: %s", strerror(errno));
    bool failed = read_all(answer_out, &reason, sizeof reason);
    int status = 0;
    while (waitpid(asker, &status, 0) < 0 && errno == EINTR) {
    }
    if (failed && err)
        *err = reason;
    if (failed)
        return reason.code;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : error_set(err, -EIO, "the process that asks for a scope was killed");
}

int probe_scope(struct cgroup_layout *layout, struct error *err) {
    int go[2] = {-EBADF, -EBADF}, answer[2] = {-EBADF, -EBADF};
    static struct seen seen;
    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(answer, O_CLOEXEC) < 0)
        return error_set(err, -errno, "pipe: %s", strerror(errno));
    _cleanup_close_ int go_in = go[1], answer_out = answer[0];
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        look_in_scope(go[0], answer[1]);
    }
    int r = pid < 0 ? error_set(err, -errno, "fork: %s", strerror(errno)) : 0;
    close(go[0]);
    close(answer[1]);
    if (r < 0)
        return r;
    r = ask_for_scope(pid, err);
    if (r == 0 && write(go_in, "", 1) == 1 && read_all(answer_out, &seen, sizeof seen)) {
        *layout = seen.layout;
        r = seen.result;
        if (r < 0 && err)
            *err = seen.err;
    } else if (r == 0) {
        r = error_set(err, -EIO, "the process in the scope gave no answer");
    }
    cleanup_close(&go_in);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return r;
}

/* --- why not ------------------------------------------------------------------ */

/* The number in a file, or -1. */
static long setting(const char *path) {
    char text[32] = "";
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    return n <= 0 ? -1 : strtol(text, NULL, 10);
}

static void explain_permission(char *hint, size_t size) {
    if (setting("/proc/sys/kernel/unprivileged_userns_clone") == 0)
        snprintf(hint, size, "sudo sysctl -w kernel.unprivileged_userns_clone=1");
    else if (setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
        snprintf(hint, size,
                 "AppArmor forbids it to programs without a profile: sudo sysctl -w "
                 "kernel.apparmor_restrict_unprivileged_userns=0, or a profile with 'userns,' for "
                 "fnrun-once");
    else
        snprintf(hint, size,
                 "something around this process forbids it: a container (run it with "
                 "--security-opt seccomp=unconfined, or --privileged), a chroot, or an LSM");
}

void probe_explain(int error, const char *kind, char *hint, size_t size) {
    char path[80];
    snprintf(path, sizeof path, "/proc/sys/user/max_%s_namespaces", kind);
    switch (-error) {
    case EPERM:
    case EACCES:
    case ECANCELED:
        explain_permission(hint, size);
        break;
    case ENOSPC:
        snprintf(hint, size, "the limit is %ld: sudo sysctl -w user.max_%s_namespaces=15000",
                 setting(path), kind);
        break;
    case EUSERS:
        snprintf(hint, size, "user namespaces are nested too deeply: run fnrun further outside");
        break;
    case EINVAL:
    case ENOSYS:
        snprintf(hint, size, "this kernel was built without it: use a distribution's own kernel");
        break;
    default:
        snprintf(hint, size, "%s", strerror(-error));
    }
}
