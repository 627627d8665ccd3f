/* Slots: built, released, retired. The order of the steps of one is in keeper_core.h. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/keeper_core.h"

#define BUILD_US 10000000 /* a slot that is not ready by then is given up */

void kslot_clear(struct kslot *slot) {
    uint32_t number = slot->number;
    struct leaf leaf = slot->leaf;
    bool has_leaf = slot->has_leaf;
    memset(slot, 0, sizeof *slot);
    slot->number = number;
    slot->leaf = leaf;
    slot->has_leaf = has_leaf;
    slot->control = slot->copy_maps = slot->copy_fds = slot->copy_autogroup = slot->tmp =
        slot->sockets = slot->spawn = -EBADF;
    slot->taint = -1;
    for (int i = 0; i < GATE_NAMESPACES; i++)
        slot->namespaces[i] = -EBADF;
    for (int i = 0; i < 4; i++)
        slot->given[i] = -EBADF;
}

static void close_all(struct kslot *slot) {
    cleanup_close(&slot->control);
    cleanup_close(&slot->copy_maps);
    cleanup_close(&slot->copy_fds);
    cleanup_close(&slot->copy_autogroup);
    cleanup_close(&slot->tmp);
    cleanup_close(&slot->sockets);
    cleanup_close(&slot->spawn);
    for (int i = 0; i < GATE_NAMESPACES; i++)
        cleanup_close(&slot->namespaces[i]);
    for (int i = 0; i < 4; i++)
        cleanup_close(&slot->given[i]);
}

/* --- building ------------------------------------------------------------------------- */

void kslot_began(struct kslot *slot) {
    slot->began = monotonic_us();
    slot->deadline = slot->began + BUILD_US;
}

void kslot_build(struct keeper *k, struct kslot *slot) {
    const struct cgroup_limits limits = keeper_leaf_limits(k);
    char text[256];
    int ends[2];
    kslot_clear(slot);
    if (!slot->has_leaf &&
        leaf_open(&slot->leaf, k->launcher, k->group, slot->number, &limits, text, sizeof text) < 0)
        keeper_fail(k, "%s", text);
    slot->has_leaf = true;
    kslot_began(slot);
    slot->trial = slot->number == k->config.slots;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        keeper_fail(k, "a slot's control socket: %s", strerror(errno));
    struct kinit start = {
        .control = ends[1],
        .listener = k->listener,
        .leaf = &slot->leaf,
        .host_network = k->config.host_network != 0,
        .tmp_bytes = k->config.tmp_bytes,
        .host_name = k->config.host_name,
    };
    slot->init = leaf_fork(&slot->leaf, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS);
    if (slot->init == 0)
        kinit_main(&start);
    if (slot->init < 0)
        keeper_fail(k,
                    "a slot's namespaces: %s. Sysctl user.max_pid_namespaces and its like "
                    "limit them",
                    strerror(errno));
    close(ends[1]);
    slot->control = ends[0];
    slot->stage = SLOT_INIT;
    keeper_watch_slot(k, slot, slot->control, false);
}

/* What is looked at, or handed to the copy, later. */
static int open_views(struct kslot *slot) {
    static const char *const names[GATE_NAMESPACES] = {"pid", "mnt", "ipc", "uts", "cgroup", "net"};
    char path[64];
    struct stat st;
    for (int i = 0; i < GATE_NAMESPACES; i++) {
        snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)slot->init, names[i]);
        slot->namespaces[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (slot->namespaces[i] < 0)
            return -errno;
    }
    if (fstat(slot->namespaces[0], &st) < 0)
        return -errno;
    slot->pid_inode = st.st_ino;
    snprintf(path, sizeof path, "/proc/%d/net/sockstat", (int)slot->init);
    slot->sockets = open(path, O_RDONLY | O_CLOEXEC);
    return slot->sockets < 0 ? -errno : 0;
}

void kslot_init_ready(struct keeper *k, struct kslot *slot) {
    struct {
        char what;
        int code;
        char step[64];
    } said = {0};
    if (slot->control < 0)
        return;
    ssize_t length = recv(slot->control, &said, sizeof said, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        cleanup_close(&slot->control); /* its end is told by its parent's wait */
        return;
    }
    if (slot->stage != SLOT_INIT)
        return;
    if (said.what == 'f')
        keeper_fail(k, "building a slot: %.63s: %s", said.step, strerror(-said.code));
    int r = open_views(slot);
    if (r < 0)
        keeper_fail(k, "looking at a slot's init: %s", strerror(-r));
    if (k->way == KEEPER_FORK) {
        clean_note_tmp(slot);
        slot->stage = SLOT_WAITING;
        slot->deadline = 0; /* the zygote may be loading still, or be busy with others */
        zygote_serve(k);
    } else {
        slot->stage = SLOT_NEEDING;
        slot->deadline = 0;
        keeper_tell_op(k, KEEPER_NEEDS, slot, 0, NULL);
    }
}

int kslot_ask(struct kslot *slot, char op) {
    struct kinit_command command = {.op = op};
    unsigned char answer;
    if (send(slot->control, &command, sizeof command, MSG_NOSIGNAL) < 0 ||
        recv(slot->control, &answer, 1, 0) != 1)
        return -EPIPE;
    return answer;
}

void kslot_release(struct keeper *k, struct kslot *slot) {
    struct kinit_command command = {.op = KINIT_GO, .id = slot->copy_id};
    slot->stage = SLOT_FORKING;
    slot->frozen = slot->arrived = false;
    slot->process = 0;
    slot->taint = -1;
    slot->event_length = 0;
    slot->deadline = monotonic_us() + BUILD_US;
    if (send(slot->control, &command, sizeof command, MSG_NOSIGNAL) < 0)
        kslot_retire(k, slot, KEEPER_TRACE_DIED, "init died");
}

void kslot_ready(struct keeper *k, struct kslot *slot) {
    struct keeper_message message = {
        .op = KEEPER_READY,
        .slot = slot->number,
        .number = slot->used,
        .us = monotonic_us() - slot->began,
    };
    slot->deadline = 0;
    slot->end = KEEPER_EXITED;
    slot->status = 0;
    slot->cpu_before = leaf_cpu_us(&slot->leaf);
    leaf_reset_peak(&slot->leaf);
    if (slot->trial) {
        /* An event of the runtime's own, whose pages are then known. */
        slot->stage = SLOT_RUNNING;
        slot->deadline = monotonic_us() + BUILD_US;
        gate_give_event(k, slot, GATE_TRIAL, k->log);
        return;
    }
    slot->stage = SLOT_READY;
    k->was_ready = true;
    k->failures = 0;
    if (!k->up)
        zygote_is_up(k);
    keeper_tell_end(k, slot);
    keeper_tell(k, &message);
    /* Off the way of the first event: what the next copies shall touch. */
    if (!k->learned && !k->learning) {
        k->learning = true;
        kslot_build(k, &k->slots[k->config.slots]);
    }
    kslot_balance(k);
}

/* --- retiring --------------------------------------------------------------------------- */

/* Kills it. What is not the keeper's child, an impostor, will not be reaped here: it is forgotten.
 */
static void kill_process(pid_t *pid) {
    siginfo_t info;
    if (*pid <= 0)
        return;
    kill(*pid, SIGKILL);
    if (waitid(P_PID, (id_t)*pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        *pid = 0;
}

void kslot_retire(struct keeper *k, struct kslot *slot, int trace, const char *text) {
    if (slot->stage == SLOT_EMPTY || slot->stage == SLOT_LEAVING)
        return;
    bool trial = slot->trial;
    struct keeper_message message = {
        .op = KEEPER_RETIRED,
        .slot = slot->number,
        .number = (uint32_t)trace,
        .status = slot->process > 0 && slot->status >= 0 ? SIGKILL : slot->status,
    };
    snprintf(message.text, sizeof message.text, "%s", text);
    if (k->zygote.making == slot)
        k->zygote.making = NULL;
    slot->stage = SLOT_LEAVING;
    slot->deadline = slot->grace = 0;
    /* The copy first: it could fork. init takes its whole PID namespace along. */
    kill_process(&slot->copy);
    kill_process(&slot->process);
    kill_process(&slot->spawner);
    kill_process(&slot->init);
    close_all(slot);
    keeper_tell_end(k, slot);
    if (trial)
        k->learning = false;
    else if (k->up)
        keeper_tell(k, &message);
    if (!slot->copy && !slot->process && !slot->init && !slot->spawner)
        slot->stage = SLOT_EMPTY;
}

void kslot_fail(struct keeper *k, struct kslot *slot, int trace, const char *why) {
    kslot_retire(k, slot, trace, why);
    if (++k->failures < 3 || k->way != KEEPER_FORK)
        return;
    if (k->was_ready)
        keeper_fail(k, "no slot can be made: %s", why);
    k->failures = 0;
    zygote_give_up(k, why);
}

void kslot_refuse(struct keeper *k, struct kslot *slot, const char *why) {
    kslot_fail(k, slot, KEEPER_UNVERIFIED, why);
}

/* --- how many ------------------------------------------------------------------------------ */

static bool is_alive(const struct kslot *slot) {
    return slot->stage != SLOT_EMPTY && slot->stage != SLOT_LEAVING;
}

static struct kslot *find_empty(struct keeper *k) {
    for (uint32_t i = 0; i < k->config.slots; i++)
        if (k->slots[i].stage == SLOT_EMPTY)
            return &k->slots[i];
    return NULL;
}

static bool is_building(const struct kslot *slot) {
    return is_alive(slot) && slot->stage < SLOT_READY && slot->stage != SLOT_NEEDING;
}

/* Built before it was known which pages to touch, and idle. */
static bool is_stale(const struct keeper *k, const struct kslot *slot) {
    return k->way == KEEPER_FORK && k->learned && slot->stage == SLOT_READY && !slot->touches;
}

/* Which one leaves: a stale one first; else from the end, so that low numbers stay in use. */
static struct kslot *find_idle(struct keeper *k) {
    struct kslot *idle = NULL;
    for (uint32_t i = 0; i < k->config.slots; i++) {
        struct kslot *slot = &k->slots[i];
        if (is_stale(k, slot))
            return slot;
        if (slot->stage == SLOT_READY || slot->stage == SLOT_NEEDING)
            idle = slot;
    }
    return idle;
}

/* A stale slot is replaced while nothing else is built: the new one first, if there is room. */
static void refresh(struct keeper *k) {
    bool stale = false, building = false;
    struct kslot *slot = find_empty(k);
    for (uint32_t i = 0; i <= k->config.slots; i++) {
        stale |= i < k->config.slots && is_stale(k, &k->slots[i]);
        building |= is_building(&k->slots[i]);
    }
    if (stale && !building && slot)
        kslot_build(k, slot);
}

void kslot_balance(struct keeper *k) {
    uint32_t alive = 0, building = 0;
    struct kslot *slot;
    if (!k->up && !k->zygote.loaded)
        return;
    for (uint32_t i = 0; i < k->config.slots; i++) {
        alive += is_alive(&k->slots[i]);
        building += is_building(&k->slots[i]);
    }
    for (; alive < k->wanted && (slot = find_empty(k)); alive++)
        kslot_build(k, slot);
    /* One more than wanted is the replacement of a stale one: not before it is ready. */
    for (; alive > k->wanted + (building > 0) && (slot = find_idle(k)); alive--)
        kslot_retire(k, slot, is_stale(k, slot) ? KEEPER_REFRESHED : KEEPER_UNWANTED, "");
    if (alive == k->wanted)
        refresh(k);
}

struct kslot *kslot_of_namespace(struct keeper *k, pid_t pid) {
    char path[40];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    if (stat(path, &st) < 0)
        return NULL;
    for (uint32_t i = 0; i <= k->config.slots; i++)
        if (k->slots[i].stage != SLOT_EMPTY && k->slots[i].pid_inode == st.st_ino)
            return &k->slots[i];
    return NULL;
}
