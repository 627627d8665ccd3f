/* The zygote of an environment: started by trusted code that loads its filter and gives up
 * all but what joining a slot takes; then it runs the function's own code and is believed
 * nothing. */
#include "isolate/keeper_core.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/filter.h"
#include "isolate/launcher.h"
#include "isolate/lockdown.h"
#include "isolate/root.h"
#include "isolate/wire.h"

/* Out of reach of the processes in a slot, which count from 2: OpenSSL tells a fork by a
 * changed pid alone. */
#define ZYGOTE_PID 30000

/* --- in the child: trusted, before the program ---------------------------------------- */

static __attribute__((noreturn)) void child_failed(const char *step, int code) {
    dprintf(2, "fnrun: starting the zygote: %s: %s\n", step, strerror(-code));
    _exit(127);
}

#define CHILD(step, call)                                                                          \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            child_failed(step, -errno);                                                            \
    } while (0)

/* Joining a slot takes CAP_SYS_ADMIN and CAP_SYS_CHROOT, becoming its id the other two. */
#define KEPT_CAPABILITIES                                                                          \
    (1U << CAP_SYS_ADMIN | 1U << CAP_SYS_CHROOT | 1U << CAP_SETUID | 1U << CAP_SETGID)

/* They are ambient, so that the program has them after exec. */
static void keep_capabilities(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {
        {KEPT_CAPABILITIES, KEPT_CAPABILITIES, KEPT_CAPABILITIES}, {0, 0, 0}};
    CHILD("keeping capabilities", syscall(SYS_capset, &head, sets));
    for (int i = 0; i < 32; i++)
        if (KEPT_CAPABILITIES >> i & 1)
            CHILD("keeping capabilities", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0));
}

static void become_zygote(struct keeper *k, int channel) {
    struct lockdown limits = {.open_files = k->config.open_files,
                              .processes = k->config.processes + LOCKDOWN_PROCESS_MARGIN};
    const char *step = "";
    int r;
    lockdown_signals();
    keeper_be_ordinary();
    CHILD("standard descriptors", dup2(k->null, 0));
    CHILD("standard descriptors", fcntl(0, F_SETFD, 0)); /* where it was 0 already */
    CHILD("standard descriptors", dup2(k->log, 1));
    CHILD("standard descriptors", dup2(k->log, 2));
    if ((r = leaf_enter(&k->zygote.leaf)) < 0)
        child_failed("entering its control groups", r);
    CHILD("its namespaces", unshare(CLONE_NEWNS | CLONE_NEWCGROUP));
    if ((r = root_mount_private(k->config.tmp_bytes, &step)) < 0)
        child_failed(step, r);
    CHILD("entering /var/task", chdir("/var/task"));
    if ((r = lockdown_bounding(KEPT_CAPABILITIES)) < 0)
        child_failed("its bounding set", r);
    CHILD("keeping capabilities", prctl(PR_SET_KEEPCAPS, 1));
    CHILD("its group id", syscall(SYS_setresgid, ENVIRONMENT_ZYGOTE_ID, ENVIRONMENT_ZYGOTE_ID,
                                  ENVIRONMENT_ZYGOTE_ID));
    CHILD("its user id", syscall(SYS_setresuid, ENVIRONMENT_ZYGOTE_ID, ENVIRONMENT_ZYGOTE_ID,
                                 ENVIRONMENT_ZYGOTE_ID));
    keep_capabilities();
    CHILD("its session", setsid());
    if ((r = lockdown_limits(&limits)) < 0)
        child_failed("its limits", r);
    CHILD("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    int listener = filter_load_listener();
    if (listener < 0)
        child_failed("loading the system call filter", listener);
    char ready = 1;
    if ((r = wire_send(channel, &ready, 1, &listener, 1)) < 0)
        child_failed("handing over the listener", r);
    syscall(SYS_close_range, 3U, ~0U, 0);
    execve(k->program, k->arguments, k->environment);
    child_failed("starting the program", -errno);
}

/* --- in the keeper -------------------------------------------------------------------- */

static int write_file(const char *path, const char *text) {
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/* An interpreter or loader of its own. */
static void start_program(struct keeper *k) {
    struct zygote *z = &k->zygote;
    int channel[2];
    char text[16], byte;
    size_t count = 1;
    snprintf(text, sizeof text, "%d", ZYGOTE_PID - 1);
    int r = write_file("/proc/sys/kernel/ns_last_pid", text);
    if (r < 0)
        keeper_fail(k, "ns_last_pid: %s", strerror(-r));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
        keeper_fail(k, "the zygote's channel: %s", strerror(errno));
    z->pid = leaf_fork(&z->leaf, 0);
    if (z->pid == 0)
        become_zygote(k, channel[1]);
    if (z->pid < 0)
        keeper_fail(k, "the zygote cannot be started: %s", strerror(errno));
    close(channel[1]);
    ssize_t got = wire_receive(channel[0], &byte, 1, &k->listener, &count);
    close(channel[0]);
    if (got != 1 || count != 1)
        keeper_fail(k, "the zygote could not be started; its log says why");
}

void zygote_start(struct keeper *k) {
    struct zygote *z = &k->zygote;
    struct cgroup_limits limits = keeper_leaf_limits(k);
    char text[256];
    /* The page tables of its copies are charged to it. */
    limits.memory += k->config.slots * ZYGOTE_COPY;
    if (leaf_open(&z->leaf, k->launcher, k->group, LAUNCHER_ZYGOTE, &limits, text, sizeof text) < 0)
        keeper_fail(k, "%s", text);
    z->began = monotonic_us();
    z->pid = k->config.language && !z->leaf.v2 ? language_start(k, ZYGOTE_PID - 1) : -1;
    if (z->pid < 0)
        start_program(k);
    z->deadline = z->began + k->config.init_ms * 1000;
    keeper_watch_listener(k);
    /* The first slot's namespaces are made while the code is being loaded. */
    k->wanted = 1;
    kslot_build(k, &k->slots[0]);
}

static void kill_zygote(struct zygote *z, int end) {
    z->failing = true;
    z->end = end;
    z->deadline = 0;
    kill(z->pid, SIGKILL);
}

void zygote_overdue(struct keeper *k) {
    kill_zygote(&k->zygote, KEEPER_TIMEOUT);
}

/* It could not load the code: the error object goes to the runner, the environment ends. */
static void take_failure(struct keeper *k, const uint64_t *args) {
    struct keeper_message message = {.op = KEEPER_FAILED, .number = KEEPER_ANSWERED};
    size_t length = args[2] < k->config.response_size ? args[2] : k->config.response_size;
    struct iovec here = {k->memory + k->config.event_size, length};
    struct iovec there = {(void *)(uintptr_t)args[1], length};
    ssize_t got = process_vm_readv(k->zygote.pid, &here, 1, &there, 1, 0);
    message.length = got > 0 ? (uint64_t)got : 0;
    message.us = monotonic_us() - k->zygote.began;
    keeper_tell(k, &message);
    _exit(0);
}

void zygote_is_up(struct keeper *k) {
    struct keeper_message message = {
        .op = KEEPER_UP, .number = (uint32_t)k->way, .us = k->zygote.loading_us};
    snprintf(message.text, sizeof message.text, "%s", k->why_ahead);
    k->up = true;
    keeper_tell(k, &message);
}

void zygote_give_up(struct keeper *k, const char *why) {
    snprintf(k->why_ahead, sizeof k->why_ahead, "%s", why);
    k->way = KEEPER_AHEAD;
    kill_zygote(&k->zygote, KEEPER_ANSWERED);
    kill(-1, SIGKILL); /* what it left in the environment, too; no slot is in use */
    for (uint32_t i = 0; i <= k->config.slots; i++)
        kslot_retire(k, &k->slots[i], KEEPER_UNVERIFIED, why);
    zygote_is_up(k);
    kslot_balance(k);
}

/* The first time at its gate: may it be copied? If not, everything is started ahead. It is up
 * once a copy and its process were verified, too: until then there is still the other way. */
static void judge(struct keeper *k) {
    struct zygote *z = &k->zygote;
    char why[256];
    z->loaded = true;
    z->deadline = 0;
    z->loading_us = monotonic_us() - z->began;
    if (proof_zygote(k, why, sizeof why) < 0) {
        zygote_give_up(k, why);
        return;
    }
    z->at_gate = true;
    zygote_serve(k);
    kslot_balance(k);
}

/* Whether the copy that was asked for is there. A signal of the zygote's own, of a timer say,
 * makes the kernel begin its clone anew, and then there was none yet. */
static bool has_copy(const struct zygote *z) {
    return z->cloned && (z->making->copy || leaf_count(&z->leaf) > 1);
}

void zygote_find_lost(struct keeper *k) {
    struct zygote *z = &k->zygote;
    if (z->at_gate && z->making && !has_copy(z))
        kslot_refuse(k, z->making, "the zygote made no copy");
}

static void came_back(struct keeper *k) {
    struct zygote *z = &k->zygote;
    char why[256];
    z->at_gate = true;
    if (proof_zygote(k, why, sizeof why) < 0)
        keeper_fail(k, "the zygote changed: %s", why);
    zygote_find_lost(k);
    zygote_serve(k);
}

/* In the environment's own namespaces. Ids are not changed: the zygote, and so its children,
 * could become any, the keeper's included. */
static bool is_harmless(int nr) {
    return nr == SYS_socket || nr == SYS_shmget || nr == SYS_semget || nr == SYS_msgget ||
           nr == SYS_mq_open;
}

void zygote_child_notified(struct keeper *k, uint64_t id, int nr) {
    gate_answer(k, id, 0, is_harmless(nr) ? 0 : -EPERM, is_harmless(nr));
}

/* What Z itself asks for. */
void zygote_notified(struct keeper *k, uint64_t id, int nr, const uint64_t *args) {
    struct zygote *z = &k->zygote;
    bool copies = nr == SYS_clone && z->making && !has_copy(z) && (uint32_t)args[0] == FORK_FLAGS;
    if (nr == GATE_CALL && args[0] == GATE_ZYGOTE && !z->failing) {
        z->gate_id = id;
        if (z->loaded)
            came_back(k);
        else
            judge(k);
    } else if (nr == GATE_CALL && args[0] == GATE_FAILED && !z->loaded && !z->failing) {
        take_failure(k, args);
    } else if ((copies || is_harmless(nr)) && !z->failing) {
        z->cloned |= copies;
        gate_answer(k, id, 0, 0, true);
    } else {
        gate_answer(k, id, 0, -EPERM, false);
    }
}

void zygote_reaped(struct keeper *k, int status) {
    struct zygote *z = &k->zygote;
    struct keeper_message message = {.op = KEEPER_FAILED, .status = status};
    z->pid = 0;
    if (z->loaded && z->failing)
        return; /* everything is started ahead */
    if (z->loaded)
        keeper_fail(k, "the zygote died");
    message.number = z->failing ? (uint32_t)z->end : KEEPER_EXITED;
    if (leaf_oom(&z->leaf))
        message.number = KEEPER_OOM;
    message.us = monotonic_us() - z->began;
    keeper_tell(k, &message);
    _exit(0);
}

void zygote_serve(struct keeper *k) {
    struct zygote *z = &k->zygote;
    if (!z->at_gate || z->making || z->failing)
        return;
    for (uint32_t i = 0; i <= k->config.slots; i++) {
        struct kslot *slot = &k->slots[i];
        if (slot->stage != SLOT_WAITING)
            continue;
        int64_t value = ENVIRONMENT_SLOT_ID + slot->number;
        for (int n = 0; n < GATE_NAMESPACES; n++)
            if (slot->namespaces[n] >= 0 &&
                gate_place(k, z->gate_id, slot->namespaces[n], GATE_NAMESPACE_FD + n) < 0)
                return;
        if (k->config.host_network)
            value |= GATE_SHARED_NETWORK;
        z->making = slot;
        z->cloned = false;
        z->at_gate = false;
        slot->stage = SLOT_COPYING;
        kslot_began(slot);
        gate_answer(k, z->gate_id, value, 0, false);
        return;
    }
}
