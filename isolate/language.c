/* A zygote that is a child of the language zygote outside: no interpreter has to be started.
 * Its mount and cgroup namespaces are made here, by a process that is gone again when it has
 * joined them. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/filter.h"
#include "isolate/keeper_core.h"
#include "isolate/launcher.h"
#include "isolate/lockdown.h"
#include "isolate/root.h"
#include "isolate/wire.h"

#define WAIT_MS 2000

/* The process that makes the zygote's namespaces and waits to be killed. */
static __attribute__((noreturn)) void make_room(struct keeper *k, int ready) {
    const char *step = "";
    char byte = 1;
    keeper_be_ordinary();
    if (leaf_enter(&k->zygote.leaf) < 0 || unshare(CLONE_NEWNS | CLONE_NEWCGROUP) < 0 ||
        root_mount_private(k->config.tmp_bytes, &step) < 0 || write(ready, &byte, 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static int open_namespace(pid_t pid, const char *name) {
    char path[48];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Namespaces, channel, tasks: see launcher.h. */
static int ask(struct keeper *k, pid_t room, int channel) {
    static const char *const names[] = {"user", "pid", "mnt", "ipc", "uts", "cgroup", "net"};
    const uint32_t number = LAUNCHER_LANGUAGE;
    int fds[WIRE_FDS], r = 0;
    size_t count = 0, own;
    for (size_t i = 0; i < sizeof names / sizeof *names - (k->config.host_network ? 1 : 0); i++) {
        fds[count] = open_namespace(room, names[i]);
        if (fds[count] < 0)
            r = -errno;
        else
            count++;
    }
    own = count;
    fds[count++] = channel;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (k->zygote.leaf.tasks[i] >= 0)
            fds[count++] = k->zygote.leaf.tasks[i];
    if (r == 0)
        r = wire_send(k->launcher, &number, sizeof number, fds, count);
    while (own)
        close(fds[--own]);
    return r;
}

static size_t environment_bytes(struct keeper *k) {
    size_t bytes = 0;
    for (char **at = k->environment; *at; at++)
        bytes += strlen(*at) + 1;
    return bytes;
}

static int send_start(struct keeper *k, int channel) {
    size_t filter = filter_zygote.count * sizeof(struct sock_filter);
    /* The strings stand one behind the other, as they came. */
    size_t left = environment_bytes(k), part;
    struct language_start start = {
        .filter = (uint32_t)filter,
        .environment = (uint32_t)left,
        .open_files = k->config.open_files,
        .processes = k->config.processes + LOCKDOWN_PROCESS_MARGIN,
    };
    int r = wire_send(channel, &start, sizeof start, &k->log, 1);
    if (r == 0)
        r = wire_send(channel, filter_zygote.instructions, filter, NULL, 0);
    for (const char *at = k->environment[0]; r == 0 && left; at += part, left -= part) {
        part = left < WIRE_MAX ? left : WIRE_MAX;
        r = wire_send(channel, at, part, NULL, 0);
    }
    return r;
}

/* The listener. Whoever sent it is verified as the zygote when he is at his gate. */
static int receive_listener(int channel) {
    struct pollfd poller = {.fd = channel, .events = POLLIN};
    int listener = -EBADF;
    size_t count = 1;
    char byte;
    if (poll(&poller, 1, WAIT_MS) != 1 || wire_receive(channel, &byte, 1, &listener, &count) != 1 ||
        count != 1)
        return -EPIPE;
    return listener;
}

static pid_t fork_room(struct keeper *k) {
    int ends[2];
    char byte;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    pid_t room = fork();
    if (room == 0)
        make_room(k, ends[1]);
    close(ends[1]);
    if (room > 0 && read(ends[0], &byte, 1) != 1) {
        kill(room, SIGKILL);
        waitpid(room, NULL, 0);
        room = -1;
    }
    close(ends[0]);
    return room;
}

pid_t language_start(struct keeper *k, int last_pid) {
    int ends[2];
    pid_t zygote = -1, room = fork_room(k);
    if (room < 0)
        return -1;
    /* Two more are made in between: the one that enters and the one that ends. */
    char text[16];
    int length = snprintf(text, sizeof text, "%d", last_pid - 1);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0) {
        _cleanup_close_ int ours = ends[0], theirs = ends[1];
        const struct timeval patience = {WAIT_MS / 1000, 0};
        setsockopt(ours, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        _cleanup_close_ int numbers = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
        if (write(numbers, text, (size_t)length) == length && send_start(k, ours) == 0 &&
            ask(k, room, theirs) == 0) {
            cleanup_close(&theirs);
            int listener = receive_listener(ours);
            if (listener >= 0) {
                k->listener = listener;
                zygote = last_pid + 1;
            }
        }
    }
    kill(room, SIGKILL);
    waitpid(room, NULL, 0);
    if (zygote > 0 && waitpid(zygote, NULL, WNOHANG) != 0) {
        cleanup_close(&k->listener);
        zygote = -1;
    }
    if (zygote < 0) {
        /* Whatever came so far. Orphans are reaped by the loop. */
        kill(last_pid, SIGKILL);
        kill(last_pid + 1, SIGKILL);
    }
    return zygote;
}
