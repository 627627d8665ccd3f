/* Notifications of the zygote's filter, from the zygote, its frozen copies and the processes
 * they fork: who asks, whether he may, and what it means for his slot. */
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "isolate/keeper_core.h"
#include "isolate/launcher.h"

int gate_answer(struct keeper *k, uint64_t id, int64_t value, int error, bool continue_) {
    struct seccomp_notif_resp answer = {
        .id = id,
        .val = value,
        .error = error,
        .flags = continue_ ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0,
    };
    /* ENOENT: whoever asked is dead. */
    return ioctl(k->listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 ? -errno : 0;
}

int gate_place(struct keeper *k, uint64_t id, int fd, int at) {
    struct seccomp_notif_addfd place = {
        .id = id,
        .flags = SECCOMP_ADDFD_FLAG_SETFD,
        .srcfd = (uint32_t)fd,
        .newfd = (uint32_t)at,
    };
    return ioctl(k->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &place) < 0 ? -errno : 0;
}

static bool put(pid_t pid, uint64_t at, const void *bytes, size_t length) {
    struct iovec here = {(void *)bytes, length}, there = {(void *)(uintptr_t)at, length};
    return length == 0 || process_vm_writev(pid, &here, 1, &there, 1, 0) == (ssize_t)length;
}

static unsigned char *event_memory(const struct keeper *k, const struct kslot *slot) {
    return k->memory + k->stride * slot->number;
}

/* --- the copy ------------------------------------------------------------------------- */

/* It waits in its clone: both there, the slot is ready to be looked at. */
static void both_there(struct keeper *k, struct kslot *slot) {
    char why[256];
    if (!slot->frozen || !slot->arrived || slot->stage != SLOT_FORKING)
        return;
    if (proof_process(k, slot, why, sizeof why) < 0)
        kslot_refuse(k, slot, why);
    else
        kslot_ready(k, slot);
}

/* The process ended before it came to its gate, or was never made: nobody else would tell. */
static void look_for_lost(struct keeper *k, struct kslot *slot) {
    if (slot->stage == SLOT_FORKING && slot->frozen && !slot->arrived &&
        leaf_count(&slot->leaf) <= 2)
        kslot_fail(k, slot, leaf_oom(&slot->leaf) ? KEEPER_TRACE_OOM : KEEPER_TRACE_DIED,
                   "the process ended before its event");
}

void gate_find_lost(struct keeper *k) {
    for (uint32_t i = 0; i <= k->config.slots; i++)
        look_for_lost(k, &k->slots[i]);
    zygote_find_lost(k);
}

static void copy_enters(struct keeper *k, struct kslot *slot, uint64_t id, const uint64_t *args) {
    size_t bytes = k->range_count * sizeof *k->ranges;
    int64_t count = 0;
    slot->entered = true;
    slot->touches = k->learned;
    if (bytes > args[2] || !put(slot->copy, args[1], k->ranges, bytes))
        bytes = 0;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (slot->leaf.slot_tasks[i] >= 0 &&
            gate_place(k, id, slot->leaf.slot_tasks[i], GATE_TASKS_FD + (int)count) == 0)
            count++;
    if (slot->leaf.v2)
        leaf_move(&slot->leaf, slot->copy);
    gate_answer(k, id, (int64_t)bytes | count << 32, 0, false);
}

/* The copy while it joins: each step is judged by its arguments, which are numbers and cannot
 * change behind this look; what it made of them is verified when it is frozen. */
static void copy_joins(struct keeper *k, struct kslot *slot, uint64_t id, int nr,
                       const uint64_t *args) {
    uint32_t own = ENVIRONMENT_SLOT_ID + slot->number;
    bool takes_id = (nr == SYS_setresuid || nr == SYS_setresgid) && (uint32_t)args[0] == own &&
                    (uint32_t)args[1] == own && (uint32_t)args[2] == own;
    char why[256];
    if (!slot->entered && (nr == SYS_setns || takes_id)) {
        gate_answer(k, id, 0, 0, true);
    } else if (nr == GATE_CALL && args[0] == GATE_ENTER && !slot->entered) {
        copy_enters(k, slot, id, args);
    } else if (nr == SYS_clone && slot->entered && (uint32_t)args[0] == FORK_FLAGS) {
        slot->frozen = true;
        slot->copy_id = id;
        k->zygote.making = NULL;
        if (proof_copy(k, slot, why, sizeof why) < 0)
            kslot_refuse(k, slot, why);
        else
            kslot_release(k, slot);
        zygote_serve(k);
    } else {
        gate_answer(k, id, 0, -EPERM, false);
    }
}

static void copy_notified(struct keeper *k, struct kslot *slot, uint64_t id, int nr,
                          const uint64_t *args) {
    if (slot->stage == SLOT_COPYING) {
        copy_joins(k, slot, id, nr, args);
    } else if (slot->stage == SLOT_FORKING && !slot->frozen && nr == SYS_clone &&
               (uint32_t)args[0] == FORK_FLAGS) {
        slot->frozen = true;
        slot->copy_id = id;
        look_for_lost(k, slot);
        both_there(k, slot);
    } else if (slot->stage == SLOT_LEAVING) {
        gate_answer(k, id, 0, -EPERM, false);
    } else {
        kslot_refuse(k, slot, "the frozen copy asked for something else");
    }
}

/* --- the process of an event ------------------------------------------------------------ */

void gate_give_event(struct keeper *k, struct kslot *slot, uint64_t length, int log) {
    unsigned long head = length;
    uint64_t here = length & GATE_TRIAL ? 0 : length;
    if (here + sizeof head > slot->buffer_size) {
        slot->event_length = here;
        here = 0;
    }
    struct iovec parts[2] = {{&head, sizeof head}, {event_memory(k, slot), here}};
    struct iovec there = {(void *)(uintptr_t)slot->buffer, sizeof head + here};
    struct seccomp_notif_addfd place = {
        .id = slot->process_id,
        .flags = SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND,
        .srcfd = (uint32_t)log,
        .newfd = 1,
    };
    /* What fails here shows as the process's end, or at its deadline. */
    if (process_vm_writev(slot->process, parts, 2, &there, 1, 0) < 0 ||
        ioctl(k->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &place) < 0)
        kill(slot->process, SIGKILL);
}

static void give_more(struct keeper *k, struct kslot *slot, uint64_t id, const uint64_t *args) {
    uint64_t length = slot->event_length;
    slot->event_length = 0;
    if (!length || args[2] < length || !put(slot->process, args[1], event_memory(k, slot), length))
        gate_answer(k, id, 0, -EINVAL, false);
    else
        gate_answer(k, id, (int64_t)length, 0, false);
}

static void take_reply(struct keeper *k, struct kslot *slot, const uint64_t *args) {
    struct keeper_message message = {.op = KEEPER_RESULT, .slot = slot->number};
    if (slot->trial) {
        touch_learn(k, slot);
        keeper_end_event(slot, KEEPER_ANSWERED);
        return;
    }
    if (args[2] > k->config.response_size) {
        slot->reply_length = args[2];
        keeper_end_event(slot, KEEPER_TOO_LARGE);
        return;
    }
    struct iovec here = {event_memory(k, slot) + k->config.event_size, args[2]};
    struct iovec there = {(void *)(uintptr_t)args[1], args[2]};
    if (args[2] && process_vm_readv(slot->process, &here, 1, &there, 1, 0) != (ssize_t)args[2]) {
        keeper_end_event(slot, KEEPER_EXITED);
        return;
    }
    message.number = args[3] == GATE_ERROR ? GATE_ERROR : GATE_RESULT;
    message.length = args[2];
    message.ended = monotonic_us();
    if (slot->hurry) {
        message.cpu_us = leaf_cpu_us(&slot->leaf) - slot->cpu_before;
        message.peak = leaf_peak(&slot->leaf);
        message.peak_exact = slot->leaf.peak_resets;
    }
    keeper_end_event(slot, KEEPER_ANSWERED);
    keeper_tell(k, &message);
}

static void process_gate(struct keeper *k, struct kslot *slot, uint64_t id, pid_t pid,
                         const uint64_t *args) {
    if (args[0] == GATE_EVENT && slot->stage == SLOT_FORKING && !slot->arrived) {
        slot->process = pid;
        slot->arrived = true;
        slot->process_id = id;
        slot->buffer = args[1];
        slot->buffer_size = args[2];
        both_there(k, slot);
    } else if (args[0] == GATE_EVENT && slot->stage == SLOT_COPYING) {
        kslot_refuse(k, slot, "a process asked for an event before its copy was verified");
    } else if (args[0] == GATE_MORE && slot->stage == SLOT_RUNNING && pid == slot->process) {
        give_more(k, slot, id, args);
    } else if (args[0] == GATE_REPLY && slot->stage == SLOT_RUNNING && pid == slot->process) {
        take_reply(k, slot, args); /* no answer: it is killed */
    } else {
        gate_answer(k, id, 0, -EPERM, false);
    }
}

/* F or one of its own children. What leaves a trace that cannot be undone is let go, and the
 * slot is not used again. */
static void process_notified(struct keeper *k, struct kslot *slot, uint64_t id, pid_t pid, int nr,
                             const uint64_t *args) {
    if (slot->stage == SLOT_LEAVING) {
        gate_answer(k, id, 0, -EPERM, false);
        return;
    }
    switch (nr) {
    case GATE_CALL:
        process_gate(k, slot, id, pid, args);
        break;
    case SYS_socket:
        if (!k->config.host_network)
            slot->taint = KEEPER_TRACE_SOCKETS;
        gate_answer(k, id, 0, 0, true);
        break;
    case SYS_shmget:
    case SYS_semget:
    case SYS_msgget:
    case SYS_mq_open:
        slot->taint = KEEPER_TRACE_IPC;
        gate_answer(k, id, 0, 0, true);
        break;
    case SYS_setns:
    case SYS_clone: /* CLONE_PARENT: a sibling that nobody would know of */
        gate_answer(k, id, 0, -EPERM, false);
        break;
    default: /* a change of ids: without capabilities the kernel judges it as it should */
        gate_answer(k, id, 0, 0, true);
    }
}

/* --- who is it ------------------------------------------------------------------------------ */

static void judge(struct keeper *k, const struct seccomp_notif *asked) {
    pid_t pid = (pid_t)asked->pid;
    uint64_t args[6];
    int nr = asked->data.nr;
    for (int i = 0; i < 6; i++)
        args[i] = asked->data.args[i];
    if (pid == k->zygote.pid) {
        zygote_notified(k, asked->id, nr, args);
        return;
    }
    for (uint32_t i = 0; i <= k->config.slots; i++) {
        struct kslot *slot = &k->slots[i];
        if (slot->copy == pid) {
            copy_notified(k, slot, asked->id, nr, args);
            return;
        }
        if (slot->process == pid) {
            process_notified(k, slot, asked->id, pid, nr, args);
            return;
        }
    }
    struct kslot *slot = kslot_of_namespace(k, pid);
    if (slot) {
        process_notified(k, slot, asked->id, pid, nr, args);
    } else if (k->zygote.making && k->zygote.cloned && !k->zygote.making->copy) {
        /* A process of the environment's own PID namespace, while one is being made. That it
         * is the keeper's child is verified with all else. */
        k->zygote.making->copy = pid;
        copy_notified(k, k->zygote.making, asked->id, nr, args);
    } else if (!k->zygote.loaded) {
        zygote_child_notified(k, asked->id, nr);
    } else {
        gate_answer(k, asked->id, 0, -EPERM, false);
    }
}

void gate_handle(struct keeper *k) {
    struct seccomp_notif asked = {0};
    /* ENOENT: killed meanwhile. */
    if (ioctl(k->listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) == 0)
        judge(k, &asked);
}
