/* After an event: what is left of it is killed, its numbers are told, and the slot is proven to
 * hold no trace before it is used again. What cannot be proven is not used again. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/keeper_core.h"

#define NO_SOCKETS   "sockets: used 0\n"
#define DRAIN_ROUNDS 50

/* --- /tmp ------------------------------------------------------------------------------ */

/* How it looks when nobody has touched it. */
void clean_note_tmp(struct kslot *slot) {
    const struct timespec never[2] = {{0, 0}, {0, 0}};
    char path[40];
    cleanup_close(&slot->tmp);
    snprintf(path, sizeof path, "/proc/%d/root/tmp", (int)slot->init);
    slot->tmp = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    /* Times that no function can set, its root being init's: a change shows. */
    utimensat(AT_FDCWD, path, never, 0);
    if (slot->tmp < 0 ||
        syscall(SYS_statx, slot->tmp, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &slot->tmp_stat) < 0 ||
        fstatfs(slot->tmp, &slot->tmp_room) < 0)
        slot->tmp_stat.stx_nlink = 0; /* never equal: replaced each time */
}

static bool same_time(const struct statx_timestamp *a, const struct statx_timestamp *b) {
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static bool is_tmp_untouched(const struct kslot *slot) {
    struct statx now;
    struct statfs room;
    const struct statx *before = &slot->tmp_stat;
    if (syscall(SYS_statx, slot->tmp, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &now) < 0 ||
        fstatfs(slot->tmp, &room) < 0)
        return false;
    return same_time(&now.stx_mtime, &before->stx_mtime) &&
           same_time(&now.stx_ctime, &before->stx_ctime) &&
           same_time(&now.stx_atime, &before->stx_atime) && now.stx_nlink == before->stx_nlink &&
           now.stx_mode == before->stx_mode && room.f_ffree == slot->tmp_room.f_ffree &&
           room.f_bfree == slot->tmp_room.f_bfree;
}

/* --- proofs: 0, or a trace --------------------------------------------------------------- */

/* kill(2) of everything but init until the group holds init and the copy alone. */
static int drain(struct kslot *slot, int residents) {
    for (int round = 0; leaf_count(&slot->leaf) != residents; round++) {
        const struct timespec pause = {0, 100000};
        int answer = round < DRAIN_ROUNDS ? kslot_ask(slot, KINIT_KILL) : EBUSY;
        if (answer != 0)
            return answer < 0 ? KEEPER_TRACE_DIED : KEEPER_TRACE_PROCESSES;
        if (round > 2)
            nanosleep(&pause, NULL);
    }
    return -1;
}

static int prove_sockets(const struct keeper *k, const struct kslot *slot) {
    char text[64];
    if (k->config.host_network)
        return -1;
    ssize_t length = pread(slot->sockets, text, sizeof text, 0);
    return length >= (ssize_t)strlen(NO_SOCKETS) &&
                   memcmp(text, NO_SOCKETS, strlen(NO_SOCKETS)) == 0
               ? -1
               : KEEPER_TRACE_SOCKETS;
}

static int prove_autogroup(const struct kslot *slot) {
    char text[sizeof slot->autogroup] = "";
    if (slot->copy_autogroup < 0)
        return -1;
    ssize_t length = pread(slot->copy_autogroup, text, sizeof text - 1, 0);
    text[length < 0 ? 0 : length] = 0;
    return strcmp(text, slot->autogroup) == 0 ? -1 : KEEPER_TRACE_AUTOGROUP;
}

static int prove_tmp(struct kslot *slot) {
    if (is_tmp_untouched(slot))
        return -1;
    cleanup_close(&slot->tmp);
    if (kslot_ask(slot, KINIT_TMP) != 0)
        return KEEPER_TRACE_TMP;
    clean_note_tmp(slot);
    return -1;
}

static int prove(struct keeper *k, struct kslot *slot) {
    int trace = slot->taint;
    if (trace < 0)
        trace = prove_sockets(k, slot);
    if (trace < 0)
        trace = prove_autogroup(slot);
    if (trace < 0)
        trace = prove_tmp(slot);
    return trace;
}

/* --- the end of an event --------------------------------------------------------------------- */

/* Its end of the socket is closed before its namespace's processes are killed; it is reaped after
 * that. */
static bool is_init_gone(const struct kslot *slot) {
    struct pollfd control = {.fd = slot->control, .events = POLLIN};
    return slot->init == 0 || slot->control < 0 ||
           (poll(&control, 1, 0) == 1 && (control.revents & (POLLHUP | POLLERR)));
}

static void tell_end(struct keeper *k, struct kslot *slot, bool oom) {
    struct keeper_message message = {
        .op = KEEPER_END,
        .slot = slot->number,
        .number = (uint32_t)slot->end,
        .status = slot->status,
        .length = slot->reply_length,
        .ended = slot->ended,
        .cpu_us = leaf_cpu_us(&slot->leaf) - slot->cpu_before,
        .peak = leaf_peak(&slot->leaf),
        .peak_exact = slot->leaf.peak_resets,
    };
    bool killed = WIFSIGNALED(slot->status) && WTERMSIG(slot->status) == SIGKILL;
    if (slot->end == KEEPER_EXITED && killed && is_init_gone(slot))
        message.number = KEEPER_BROKEN;
    if (oom && (slot->end == KEEPER_EXITED || slot->end == KEEPER_BROKEN))
        message.number = KEEPER_OOM;
    slot->reply_length = 0;
    /* Whoever has the answer is not woken for these alone: they go with what becomes of the
     * slot. */
    slot->end_told = message;
    if (slot->end != KEEPER_ANSWERED)
        keeper_tell_end(k, slot);
}

void clean_slot(struct keeper *k, struct kslot *slot) {
    bool forked = k->way == KEEPER_FORK;
    int residents = (slot->init > 0) + (slot->copy > 0), trace = slot->taint;
    int left = is_init_gone(slot) ? KEEPER_TRACE_DIED : drain(slot, residents);
    bool oom = leaf_oom(&slot->leaf);
    if (left >= 0)
        trace = left;
    if (oom)
        trace = KEEPER_TRACE_OOM;
    slot->taint = trace;
    if (!slot->trial)
        tell_end(k, slot, oom);
    if (!forked || !k->config.reuse || slot->trial)
        trace = KEEPER_USED_ONCE;
    else
        trace = prove(k, slot);
    if (trace < 0 && !slot->frozen)
        trace = KEEPER_TRACE_DIED;
    if (trace < 0 && slot->touches != k->learned)
        trace = KEEPER_REFRESHED;
    if (trace >= 0) {
        kslot_retire(k, slot, trace, "");
        kslot_balance(k);
    } else {
        slot->began = monotonic_us();
        kslot_release(k, slot);
    }
}
