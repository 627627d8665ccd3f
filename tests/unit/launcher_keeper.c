#include "launcher_keeper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/cgroup.h"
#include "isolate/launcher.h"
#include "isolate/root.h"
#include "isolate/wire.h"

#define FDS (3 * CGROUP_CONTROLLERS)

extern char **environ;
static char reply[KEEPER_ANSWER];

__attribute__((format(printf, 1, 2))) static void add(const char *format, ...) {
    size_t used = strlen(reply);
    va_list args;
    va_start(args, format);
    vsnprintf(reply + used, sizeof reply - used, format, args);
    va_end(args);
}

static void add_result(const char *what, int r) {
    add("%s %d\n", what, r < 0 ? -errno : 0);
}

static int write_file(const char *name, const char *text) {
    int fd = openat(KEEPER_CGROUP_FD, name, O_WRONLY | O_CLOEXEC);
    int r = fd < 0 ? -1 : (int)write(fd, text, strlen(text));
    int code = errno;
    if (fd >= 0)
        close(fd);
    errno = code;
    return r;
}

static void add_write(const char *what, const char *name, const char *text) {
    add_result(what, write_file(name, text));
}

static void add_file(int dir, const char *path) {
    char text[2048];
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length < 0)
        add("%d\n", -errno);
    else
        add("%.*s", (int)length, text);
    if (fd >= 0)
        close(fd);
}

static void ids(void) {
    uid_t uid[3];
    gid_t gid[3];
    int variables = 0, ignored = 0;
    char folder[256];
    struct sigaction action;
    getresuid(uid, uid + 1, uid + 2);
    getresgid(gid, gid + 1, gid + 2);
    while (environ[variables])
        variables++;
    for (int number = 1; number < 32; number++)
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            ignored++;
    mode_t mask = umask(022);
    add("uid %u %u %u\ngid %u %u %u\ngroups %d\npid %d\nparent %d\nsession %d\n", uid[0], uid[1],
        uid[2], gid[0], gid[1], gid[2], getgroups(0, NULL), getpid(), getppid(), getsid(0));
    add("environment %d\nfolder %s\nmask %o\nignored %d\n", variables,
        getcwd(folder, sizeof folder), mask, ignored);
}

static void remount(const char *path) {
    add_result("remount", mount(NULL, path, NULL, MS_REMOUNT | MS_BIND, NULL));
    add_result("umount", umount2(path, MNT_DETACH));
}

static void mount_private(int all) {
    const char *step = "";
    int r = all ? root_mount_private(1 << 20, &step) : root_mount_tmp(1 << 20, &step);
    add("%d %s\n", r, r < 0 ? step : "");
}

/* Returns how many descriptors came. */
static size_t ask(uint32_t number, int *fds) {
    char answer[sizeof(struct launcher_message)];
    size_t count = FDS;
    if (wire_send(KEEPER_LAUNCHER_FD, &number, sizeof number, NULL, 0) < 0)
        return 0;
    ssize_t length = wire_receive(KEEPER_LAUNCHER_FD, answer, sizeof answer, fds, &count);
    if (length == sizeof number && memcmp(answer, &number, sizeof number) == 0)
        return count;
    if (length > 0)
        add("refused %s\n", ((struct launcher_message *)(void *)answer)->text);
    return 0;
}

static void close_all(const int *fds, size_t count) {
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static void leaf(uint32_t number) {
    int fds[FDS];
    size_t count = ask(number, fds);
    add("%zu descriptors\n", count);
    if (count == FDS) {
        add_file(fds[CGROUP_MEMORY], "memory.limit_in_bytes");
        add_file(fds[CGROUP_PIDS], "pids.max");
        add_file(fds[CGROUP_CPU], "cpu.cfs_quota_us");
        int peak = openat(fds[CGROUP_MEMORY], "memory.max_usage_in_bytes", O_WRONLY);
        add_result("reset", peak < 0 ? -1 : (int)write(peak, "0", 1));
        add_result("limit", openat(fds[CGROUP_MEMORY], "memory.limit_in_bytes", O_WRONLY));
        close(peak);
    }
    close_all(fds, count);
}

static void flood(int times) {
    char received[sizeof(struct launcher_message)];
    uint32_t number = 0;
    int fds[FDS], sent = 0, answered = 0;
    fcntl(KEEPER_LAUNCHER_FD, F_SETFL, O_NONBLOCK);
    while (sent < times && wire_send(KEEPER_LAUNCHER_FD, &number, sizeof number, NULL, 0) == 0)
        sent++;
    fcntl(KEEPER_LAUNCHER_FD, F_SETFL, 0);
    while (answered < sent) {
        size_t count = FDS;
        if (wire_receive(KEEPER_LAUNCHER_FD, received, sizeof received, fds, &count) <= 0)
            break;
        close_all(fds, count);
        answered++;
    }
    add("%d sent, %d answered\n", sent, answered);
}

/* Asks for a child of the language zygote, with any descriptors; what comes on the channel. */
static void language(void) {
    const uint32_t number = LAUNCHER_LANGUAGE;
    int ends[2], fds[8];
    char byte;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return;
    for (int i = 0; i < 8; i++)
        fds[i] = ends[1];
    add_result("send", wire_send(KEEPER_LAUNCHER_FD, &number, sizeof number, fds, 8));
    close(ends[1]);
    add("received %d\n", (int)recv(ends[0], &byte, 1, 0));
    close(ends[0]);
}

/* In a child with the slot's id: moves itself. */
static void enter(uint32_t number) {
    int fds[FDS], result[2];
    size_t count = ask(number, fds);
    if (count != FDS || pipe(result) < 0)
        return;
    pid_t child = fork();
    if (child == 0) {
        uid_t id = number == LAUNCHER_ZYGOTE ? ENVIRONMENT_ZYGOTE_ID : ENVIRONMENT_SLOT_ID + number;
        if (setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0)
            add_result("setresuid", -1);
        for (size_t i = 2 * CGROUP_CONTROLLERS; i < count; i++)
            if (write(fds[i], "0", 1) != 1)
                add_result("write", -1);
        add_file(AT_FDCWD, "/proc/self/cgroup");
        _exit(write(result[1], reply, strlen(reply)) < 0);
    }
    close(result[1]);
    ssize_t length = read(result[0], reply, sizeof reply - 1);
    reply[length > 0 ? length : 0] = 0;
    close(result[0]);
    waitpid(child, NULL, 0);
    close_all(fds, count);
}

static void steal(uint32_t number) {
    int fds[FDS];
    size_t count = ask(number, fds);
    if (count == FDS)
        add_result("write", (int)write(fds[2 * CGROUP_CONTROLLERS], "0", 1));
    close_all(fds, count);
}

static void above(void) {
    int fds[FDS];
    size_t count = ask(0, fds);
    if (count == FDS) {
        int up = openat(fds[0], "..", O_RDONLY | O_DIRECTORY);
        struct stat here, there;
        add("%s\n", up >= 0 && fstat(up, &there) == 0 && fstat(fds[0], &here) == 0 &&
                            here.st_ino == there.st_ino
                        ? "nothing"
                        : "something");
        close(up);
    }
    close_all(fds, count);
}

/* v2: as a keeper does it. */
static void divide(void) {
    struct stat here, there;
    add_result("namespace", unshare(CLONE_NEWCGROUP));
    mkdirat(KEEPER_CGROUP_FD, "keeper", 0755);
    add_write("keeper", "keeper/cgroup.procs", "0");
    /* Who lingers has to leave as well. */
    for (int pid = 2; pid < 10; pid++) {
        char number[16];
        snprintf(number, sizeof number, "%d", pid);
        write_file("keeper/cgroup.procs", number);
    }
    add_write("enable", "cgroup.subtree_control", "+memory +pids +cpu");
    add_result("slot", mkdirat(KEEPER_CGROUP_FD, "0", 0755));
    add_write("memory", "0/memory.max", "1048576");
    int up = openat(KEEPER_CGROUP_FD, "..", O_RDONLY | O_DIRECTORY);
    add("above %s\n", up >= 0 && fstat(up, &there) == 0 && fstat(KEEPER_CGROUP_FD, &here) == 0 &&
                              here.st_ino == there.st_ino
                          ? "nothing"
                          : "something");
    close(up);
    /* A process in the slot's group, for whoever has to remove it. */
    pid_t child = fork();
    if (child == 0) {
        write_file("0/cgroup.procs", "0");
        for (;;)
            pause();
    }
    add("moved %d to /0\n", child);
}

static void deep(void) {
    char path[32] = "0";
    int r = 0;
    for (int i = 0; i < 10 && r == 0; i++) {
        strcat(path, "/0");
        r = mkdirat(KEEPER_CGROUP_FD, path, 0755);
    }
    add_result("deep", r);
}

static void linger(void) {
    pid_t child = fork();
    if (child == 0) {
        setsid();
        signal(SIGTERM, SIG_IGN);
        for (;;)
            pause();
    }
    add("%d\n", child);
}

static void answer(const char *question) {
    const char *rest = strchr(question, ' ');
    rest = rest ? rest + 1 : "";
    uint32_t number = (uint32_t)strtoul(rest, NULL, 10);
    reply[0] = 0;
    if (strncmp(question, "ids", 3) == 0)
        ids();
    else if (strncmp(question, "read ", 5) == 0)
        add_file(AT_FDCWD, rest);
    else if (strncmp(question, "create ", 7) == 0)
        add_result("create", open(rest, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    else if (strncmp(question, "write ", 6) == 0)
        add_result("write", open(rest, O_WRONLY | O_CLOEXEC));
    else if (strncmp(question, "remount ", 8) == 0)
        remount(rest);
    else if (strcmp(question, "private") == 0)
        mount_private(1);
    else if (strcmp(question, "tmp") == 0)
        mount_private(0);
    else if (strncmp(question, "leaf ", 5) == 0)
        leaf(number);
    else if (strncmp(question, "flood ", 6) == 0)
        flood((int)number);
    else if (strcmp(question, "language") == 0)
        language();
    else if (strcmp(question, "nonsense") == 0)
        add_result("send", wire_send(KEEPER_LAUNCHER_FD, "nonsense", 8, NULL, 0));
    else if (strncmp(question, "enter ", 6) == 0)
        enter(number);
    else if (strncmp(question, "steal ", 6) == 0)
        steal(number);
    else if (strcmp(question, "above") == 0)
        above();
    else if (strcmp(question, "divide") == 0)
        divide();
    else if (strcmp(question, "widen") == 0)
        add_write("memory", "memory.max", "max");
    else if (strcmp(question, "deep") == 0)
        deep();
    else if (strcmp(question, "linger") == 0)
        linger();
    else
        add("what?\n");
}

int launcher_keeper_main(void) {
    char question[256];
    for (;;) {
        ssize_t length = wire_receive(KEEPER_RUNNER_FD, question, sizeof question - 1, NULL, NULL);
        if (length <= 0)
            return 3;
        question[length] = 0;
        if (strcmp(question, "exit") == 0)
            return 7;
        answer(question);
        if (wire_send(KEEPER_RUNNER_FD, reply, strlen(reply) + 1, NULL, 0) < 0)
            return 4;
    }
}
