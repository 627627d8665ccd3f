/* fnrun-keeper: see keeper.h for what it says to the runner, keeper_core.h for its parts. This
 * file: configuration, the loop, deadlines, the dead. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/keeper_core.h"
#include "isolate/launcher.h"
#include "isolate/prompt.h"
#include "isolate/sys.h"
#include "isolate/wire.h"

#define MAX_STRINGS 20000

/* --- to the runner --------------------------------------------------------------- */

void keeper_tell(struct keeper *k, const struct keeper_message *message) {
    /* Blocks where the runner is behind; where it is gone, so is this environment. */
    if (wire_send(k->runner, message, keeper_length(message), NULL, 0) < 0)
        _exit(0);
}

void keeper_tell_end(struct keeper *k, struct kslot *slot) {
    if (slot->end_told.op)
        keeper_tell(k, &slot->end_told);
    slot->end_told.op = 0;
}

void keeper_tell_op(struct keeper *k, uint32_t op, const struct kslot *slot, uint32_t number,
                    const char *text) {
    struct keeper_message message = {.op = op, .slot = slot ? slot->number : 0, .number = number};
    if (text)
        snprintf(message.text, sizeof message.text, "%s", text);
    keeper_tell(k, &message);
}

void keeper_fail(struct keeper *k, const char *format, ...) {
    struct keeper_message message = {.op = KEEPER_TROUBLE};
    va_list args;
    va_start(args, format);
    vsnprintf(message.text, sizeof message.text, format, args);
    va_end(args);
    keeper_tell(k, &message);
    _exit(1);
}

void keeper_be_ordinary(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    setpriority(PRIO_PROCESS, 0, 0);
    /* Raising it takes no privilege. */
    if (fd >= 0) {
        if (write(fd, "0", 1) != 1)
            setpriority(PRIO_PROCESS, 0, 1);
        close(fd);
    }
}

/* --- configuration ---------------------------------------------------------------- */

/* Cuts count strings off the text; NULL-terminated array. */
static char **take_strings(char **at, const char *end, uint32_t count) {
    char **list = calloc(count + 1, sizeof *list);
    for (uint32_t i = 0; list && i < count; i++) {
        char *stop = memchr(*at, 0, (size_t)(end - *at));
        if (!stop)
            return NULL;
        list[i] = *at;
        *at = stop + 1;
    }
    return list;
}

static bool take_configuration(struct keeper *k, char *text, size_t length) {
    struct keeper_config *config = &k->config;
    if (length < sizeof *config)
        return false;
    memcpy(config, text, sizeof *config);
    char *at = text + sizeof *config, *end = text + length;
    uint64_t strings = (uint64_t)config->arguments + config->environment + config->ahead_arguments +
                       config->ahead_environment;
    if (config->slots < 1 || config->slots > KEEPER_SLOTS || strings > MAX_STRINGS ||
        config->event_size % 4096 || config->response_size % 4096)
        return false;
    config->host_name[sizeof config->host_name - 1] = 0;
    char **program = take_strings(&at, end, 1);
    if (!program)
        return false;
    k->program = program[0];
    k->arguments = take_strings(&at, end, config->arguments);
    k->environment = k->arguments ? take_strings(&at, end, config->environment) : NULL;
    k->ahead_arguments = k->environment ? take_strings(&at, end, config->ahead_arguments) : NULL;
    k->ahead_environment =
        k->ahead_arguments ? take_strings(&at, end, config->ahead_environment) : NULL;
    k->way = (int)config->way;
    return k->ahead_environment != NULL;
}

/* The first message is struct keeper_message with KEEPER_CONFIGURE and length, the second the
 * configuration itself, in as many messages as it takes. */
static void configure(struct keeper *k) {
    struct keeper_message head;
    int fds[2] = {-EBADF, -EBADF};
    size_t count = 2, have = 0;
    ssize_t length = wire_receive(k->runner, &head, sizeof head, fds, &count);
    if (length <= 0)
        _exit(0);
    if (head.op != KEEPER_CONFIGURE || count != 2 || head.length > 16UL << 20)
        keeper_fail(k, "the keeper was given no configuration");
    char *text = malloc(head.length + WIRE_MAX);
    while (text && have < head.length) {
        length = wire_receive(k->runner, text + have, WIRE_MAX, NULL, NULL);
        if (length <= 0)
            _exit(0);
        have += (size_t)length;
    }
    if (!text || !take_configuration(k, text, have))
        keeper_fail(k, "the keeper was given a configuration that it cannot read");
    k->stride = k->config.event_size + k->config.response_size;
    k->log = fds[1];
    k->memory =
        mmap(NULL, k->stride * k->config.slots, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
    close(fds[0]);
    k->slots = calloc(k->config.slots + 1, sizeof *k->slots);
    k->spawned = mmap(NULL, k->config.slots * sizeof *k->spawned, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (k->memory == MAP_FAILED || k->spawned == MAP_FAILED || !k->slots)
        keeper_fail(k, "memory for %u slots: %s", k->config.slots, strerror(errno));
    for (uint32_t i = 0; i <= k->config.slots; i++) {
        kslot_clear(&k->slots[i]);
        k->slots[i].number = i;
    }
}

/* --- the loop's sources -------------------------------------------------------------- */

static void watch(struct keeper *k, int fd, uint64_t tag) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = tag};
    if (epoll_ctl(k->poll, EPOLL_CTL_ADD, fd, &event) < 0)
        keeper_fail(k, "epoll: %s", strerror(errno));
}

enum { TAG_RUNNER = 1, TAG_SIGNALS, TAG_LISTENER, TAG_SLOT = 0x10000, TAG_SPAWN = 0x20000 };

void keeper_watch_slot(struct keeper *k, const struct kslot *slot, int fd, bool spawn) {
    watch(k, fd, (spawn ? TAG_SPAWN : TAG_SLOT) + slot->number);
}
void keeper_watch_listener(struct keeper *k) {
    watch(k, k->listener, TAG_LISTENER);
}

static void set_up(struct keeper *k) {
    sigset_t set;
    char text[256];
    prompt_be();
    k->runner = KEEPER_RUNNER_FD;
    k->launcher = KEEPER_LAUNCHER_FD;
    k->listener = -EBADF;
    k->group = fcntl(KEEPER_CGROUP_FD, F_GETFD) >= 0 ? KEEPER_CGROUP_FD : -EBADF;
    for (int fd = KEEPER_RUNNER_FD; fd <= KEEPER_CGROUP_FD; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    k->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    /* 0 to 2 are kept taken: a descriptor of the keeper's must not become one of them. */
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            dup2(k->null, fd);
    k->poll = epoll_create1(EPOLL_CLOEXEC);
    if (k->null < 0 || k->poll < 0)
        keeper_fail(k, "the keeper's descriptors: %s", strerror(errno));
    /* While it stands in the environment's group: the namespace is rooted there, and processes
     * can be moved only between groups below its root. */
    if (k->group >= 0 && unshare(CLONE_NEWCGROUP) < 0)
        keeper_fail(k, "the environment's cgroup namespace: %s", strerror(errno));
    if (k->group >= 0 && leaf_prepare(k->group, text, sizeof text) < 0)
        keeper_fail(k, "%s", text);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        keeper_fail(k, "mounting the environment's /proc: %s", strerror(errno));
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    watch(k, k->signals, TAG_SIGNALS);
    watch(k, k->runner, TAG_RUNNER);
    k->filters = proof_own_filters();
    k->counts_fds = proof_counts_fds();
}

/* --- from the runner ------------------------------------------------------------------- */

static void give(struct kslot *slot, int *fds, size_t count) {
    for (int i = 0; i < 4; i++)
        cleanup_close(&slot->given[i]);
    for (size_t i = 0; i < count; i++)
        slot->given[i] = TAKE_FD(fds[i]);
}

static void take_given(struct keeper *k, struct kslot *slot, int *fds, size_t count) {
    if (count < 3)
        return;
    give(slot, fds, count);
    if (slot->stage == SLOT_NEEDING)
        ahead_start(k, slot);
}

void keeper_end_event(struct kslot *slot, int end) {
    if (slot->process <= 0 || slot->stage != SLOT_RUNNING)
        return;
    slot->end = end;
    slot->stage = SLOT_DYING;
    slot->deadline = slot->grace = 0;
    slot->ended = monotonic_us();
    /* Not reaped yet, so the number is still its own. */
    kill(slot->process, SIGKILL);
}

/* log: of the event; -EBADF: none. */
static void take_event(struct keeper *k, struct kslot *slot, const struct keeper_message *message,
                       int log) {
    if (slot->stage != SLOT_READY || message->length > k->config.event_size)
        return;
    slot->stage = SLOT_RUNNING;
    slot->deadline = message->deadline;
    slot->used = true;
    slot->grace = 0;
    slot->began = monotonic_us();
    slot->hurry = message->number != 0;
    if (k->way == KEEPER_FORK)
        gate_give_event(k, slot, message->length, log >= 0 ? log : k->null);
}

static void keep_process(struct keeper *k, struct kslot *slot) {
    struct keeper_message message = {.op = KEEPER_END, .slot = slot->number, .number = KEEPER_KEPT};
    uint64_t cpu = leaf_cpu_us(&slot->leaf);
    message.cpu_us = cpu - slot->cpu_before;
    message.peak = leaf_peak(&slot->leaf);
    message.peak_exact = slot->leaf.peak_resets;
    message.ended = monotonic_us();
    slot->cpu_before = cpu;
    leaf_reset_peak(&slot->leaf);
    slot->stage = SLOT_READY;
    slot->deadline = 0;
    keeper_tell(k, &message);
}

static void take_message(struct keeper *k, const struct keeper_message *message, int *fds,
                         size_t count) {
    if (message->op == KEEPER_WANT) {
        k->wanted = message->number < k->config.slots ? message->number : k->config.slots;
        kslot_balance(k);
        return;
    }
    if (message->slot >= k->config.slots)
        return;
    struct kslot *slot = &k->slots[message->slot];
    switch (message->op) {
    case KEEPER_GIVE:
        take_given(k, slot, fds, count);
        break;
    case KEEPER_EVENT:
        take_event(k, slot, message, count ? fds[0] : -EBADF);
        break;
    case KEEPER_CANCEL:
        keeper_end_event(slot, KEEPER_CANCELLED);
        break;
    case KEEPER_CLOSE:
        if (slot->stage == SLOT_RUNNING && message->number) {
            slot->grace = monotonic_us() + message->number * 1000UL;
            slot->end = KEEPER_ANSWERED;
        } else {
            keeper_end_event(slot, KEEPER_ANSWERED);
        }
        break;
    case KEEPER_KEEP:
        if (slot->stage == SLOT_RUNNING)
            keep_process(k, slot);
        break;
    case KEEPER_RETIRE:
        if (slot->stage == SLOT_READY)
            kslot_retire(k, slot, KEEPER_UNWANTED, "");
        break;
    default:
        break;
    }
}

static void from_runner(struct keeper *k) {
    struct keeper_message message = {0};
    int fds[4] = {-EBADF, -EBADF, -EBADF, -EBADF};
    size_t count = 4;
    ssize_t length = wire_receive(k->runner, &message, sizeof message, fds, &count);
    if (length == 0)
        _exit(0); /* the runner is gone or wants this environment gone: PID 1's end is its end */
    if (length > 0)
        take_message(k, &message, fds, count);
    for (int i = 0; i < 4; i++)
        cleanup_close(&fds[i]);
}

/* --- the dead --------------------------------------------------------------------------- */

void keeper_process_reaped(struct keeper *k, struct kslot *slot, int status) {
    /* A program may be through before the runner has timed it: that is an end like another. */
    bool ran = slot->stage == SLOT_RUNNING || (slot->stage == SLOT_READY && k->way == KEEPER_AHEAD);
    slot->process = 0;
    slot->status = status;
    if (ran && slot->grace == 0)
        slot->end = KEEPER_EXITED;
    if (ran || slot->stage == SLOT_DYING) {
        if (ran)
            slot->ended = monotonic_us();
        slot->stage = SLOT_DYING;
        clean_slot(k, slot);
    } else if (slot->stage != SLOT_LEAVING) {
        kslot_fail(k, slot, KEEPER_TRACE_DIED, "the process died before its event");
    }
}

static void slot_reaped(struct keeper *k, struct kslot *slot, pid_t pid, int status) {
    if (pid == slot->process) {
        keeper_process_reaped(k, slot, status);
    } else if (pid == slot->spawner) {
        slot->spawner = 0;
    } else {
        bool init = pid == slot->init;
        if (init)
            slot->init = 0;
        else
            slot->copy = 0;
        if (slot->stage == SLOT_RUNNING || slot->stage == SLOT_DYING) {
            /* The event's end is told first; then the slot cannot be used again. */
            slot->taint = slot->taint < 0 ? KEEPER_TRACE_DIED : slot->taint;
            /* Without its frozen copy it can end as it likes. */
            if (init && slot->process > 0 && slot->stage == SLOT_RUNNING)
                keeper_end_event(slot, KEEPER_BROKEN);
        } else if (slot->stage != SLOT_LEAVING) {
            int trace = leaf_oom(&slot->leaf) ? KEEPER_TRACE_OOM : KEEPER_TRACE_DIED;
            const char *why = init ? "init died" : "the frozen copy died";
            if (slot->stage < SLOT_READY)
                kslot_fail(k, slot, trace, why);
            else
                kslot_retire(k, slot, trace, why);
        }
    }
    if (slot->stage == SLOT_LEAVING && !slot->process && !slot->init && !slot->copy &&
        !slot->spawner) {
        slot->stage = SLOT_EMPTY;
        kslot_balance(k);
    }
}

/* A short program ends before its spawner has said which one it is. */
static bool reap_early(struct keeper *k, struct kslot *slot, pid_t pid, int status) {
    if (slot->stage != SLOT_STARTING || slot->number >= k->config.slots ||
        k->spawned[slot->number] != pid)
        return false;
    slot->died_early = true;
    slot->status = status;
    return true;
}

static bool reap_one(struct keeper *k, pid_t pid, int status) {
    for (uint32_t i = 0; i <= k->config.slots; i++) {
        struct kslot *slot = &k->slots[i];
        if (slot->process == pid || slot->init == pid || slot->copy == pid ||
            slot->spawner == pid) {
            slot_reaped(k, slot, pid, status);
            return true;
        }
        if (reap_early(k, slot, pid, status))
            return true;
    }
    return false;
}

static void reap(struct keeper *k) {
    struct signalfd_siginfo info;
    int status;
    pid_t pid;
    while (read(k->signals, &info, sizeof info) == sizeof info)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == k->zygote.pid)
            zygote_reaped(k, status);
        else if (!reap_one(k, pid, status))
            gate_find_lost(k);
    }
}

/* --- time -------------------------------------------------------------------------------- */

static uint64_t next_deadline(const struct keeper *k) {
    uint64_t next = k->zygote.deadline ? k->zygote.deadline : UINT64_MAX;
    for (uint32_t i = 0; i <= k->config.slots; i++) {
        const struct kslot *slot = &k->slots[i];
        if (slot->stage != SLOT_EMPTY && slot->stage != SLOT_READY && slot->deadline &&
            slot->deadline < next)
            next = slot->deadline;
        if (slot->stage == SLOT_RUNNING && slot->grace && slot->grace < next)
            next = slot->grace;
    }
    return next;
}

static void keep_time(struct keeper *k) {
    uint64_t now = monotonic_us();
    if (k->zygote.deadline && now >= k->zygote.deadline)
        zygote_overdue(k);
    for (uint32_t i = 0; i <= k->config.slots; i++) {
        struct kslot *slot = &k->slots[i];
        if (slot->stage == SLOT_RUNNING) {
            if (slot->grace && now >= slot->grace)
                keeper_end_event(slot, KEEPER_ANSWERED);
            else if (slot->deadline && now >= slot->deadline)
                keeper_end_event(slot, KEEPER_TIMEOUT);
        } else if (slot->stage != SLOT_EMPTY && slot->stage != SLOT_READY && slot->deadline &&
                   now >= slot->deadline) {
            slot->deadline = 0;
            kslot_refuse(k, slot, "building it took longer than 10 s");
        }
    }
}

static int wait_for_events(struct keeper *k, struct epoll_event *events, int room) {
    uint64_t next = next_deadline(k), now;
    struct timespec wait, *limit = NULL;
    if (next != UINT64_MAX) {
        now = monotonic_us();
        uint64_t us = next > now ? next - now : 0;
        wait = (struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
        limit = &wait;
    }
    long count = syscall(SYS_epoll_pwait2, k->poll, events, room, limit, NULL, 0);
    return count < 0 ? 0 : (int)count;
}

/* All that were under the filter are gone: nobody will ask any more, the listener stays ready for
 * ever, and to receive from it would block (before Linux 6.11). */
static void leave_listener(struct keeper *k) {
    epoll_ctl(k->poll, EPOLL_CTL_DEL, k->listener, NULL);
}

static void dispatch(struct keeper *k, const struct epoll_event *event) {
    uint64_t tag = event->data.u64;
    if (tag == TAG_RUNNER)
        from_runner(k);
    else if (tag == TAG_LISTENER && !(event->events & EPOLLIN))
        leave_listener(k);
    else if (tag == TAG_LISTENER)
        gate_handle(k);
    else if (tag == TAG_SIGNALS)
        reap(k);
    else if (tag >= TAG_SPAWN)
        ahead_spawned(k, &k->slots[tag - TAG_SPAWN]);
    else
        kslot_init_ready(k, &k->slots[tag - TAG_SLOT]);
}

int keeper_run(void) {
    static struct keeper keeper;
    struct epoll_event events[32];
    set_up(&keeper);
    configure(&keeper);
    if (keeper.way == KEEPER_FORK) {
        zygote_start(&keeper);
    } else {
        keeper.up = true;
        keeper_tell_op(&keeper, KEEPER_UP, NULL, KEEPER_AHEAD, "");
    }
    for (;;) {
        int count = wait_for_events(&keeper, events, 32);
        keep_time(&keeper);
        for (int i = 0; i < count; i++)
            dispatch(&keeper, &events[i]);
    }
}
