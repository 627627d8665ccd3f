/* What is started ahead: the program itself, in its slot, by trusted code; used once. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/filter.h"
#include "isolate/keeper_core.h"
#include "isolate/launcher.h"
#include "isolate/lockdown.h"
#include "isolate/sys.h"

#define FUNCTION_STACK 32768
#define EXEC_STEP      "starting the program"

/* What the spawner says: the program's process, or the step that failed. */
struct spawned {
    int32_t pid, code;
    char step[56];
};

struct plan {
    struct keeper *k;
    struct kslot *slot;
    struct lockdown lockdown;
    struct spawned said;
};

#define TRY(plan_, name, call)                                                                     \
    do {                                                                                           \
        long r_ = (call);                                                                          \
        if (r_ < 0) {                                                                              \
            __builtin_strncpy((plan_)->said.step, name, sizeof((plan_)->said.step) - 1);           \
            (plan_)->said.code = (int32_t)r_;                                                      \
            return 127;                                                                            \
        }                                                                                          \
    } while (0)

/* The program's process, in the spawner's memory. In order: groups while it is the keeper's id,
 * namespaces while it has its capabilities, then all of it is given up. */
SYS_CHILD static int program(void *argument) {
    static const int types[GATE_NAMESPACES] = {
        0, CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWNET};
    struct plan *plan = argument;
    struct keeper *k = plan->k;
    const char *step = "";
    lockdown_signals();
    for (int i = 1; i < GATE_NAMESPACES; i++)
        if (!(i == GATE_NAMESPACES - 1 && k->config.host_network))
            TRY(plan, "joining the slot's namespaces",
                sys_call2(SYS_setns, plan->slot->namespaces[i], types[i]));
    TRY(plan, "placing descriptors",
        lockdown_descriptors(plan->slot->given, plan->slot->given[3] >= 0 ? 4 : 3));
    TRY(plan, "entering /var/task", sys_call1(SYS_chdir, SYS_PTR("/var/task")));
    int r = lockdown_apply(&plan->lockdown, &step);
    TRY(plan, "giving up privileges", r);
    TRY(plan, "loading the system call filter", filter_load());
    TRY(plan, EXEC_STEP,
        sys_call3(SYS_execve, SYS_PTR(k->program), SYS_PTR(k->ahead_arguments),
                  SYS_PTR(k->ahead_environment)));
    return 127;
}

/* A fork of the keeper: enters the groups and the PID namespace, which moves only children,
 * starts the program as the keeper's child and says its number. */
static __attribute__((noreturn)) void spawner(struct plan *plan, int answer) {
    static char stack[FUNCTION_STACK] __attribute__((aligned(64)));
    int r = leaf_enter(&plan->slot->leaf);
    keeper_be_ordinary();
    struct sys_clone clone = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_PARENT | CLONE_PARENT_SETTID,
        .parent_tid = (uint64_t)(uintptr_t)&plan->k->spawned[plan->slot->number],
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = sizeof stack,
    };
    if (r == 0 && setns(plan->slot->namespaces[0], CLONE_NEWPID) < 0)
        r = -errno;
    long pid = r < 0 ? r : sys_clone_child(&clone, program, plan);
    if (pid < 0) {
        plan->said.code = (int32_t)pid;
        snprintf(plan->said.step, sizeof plan->said.step, "entering the slot");
    } else {
        plan->said.pid = (int32_t)pid;
    }
    if (write(answer, &plan->said, sizeof plan->said) < 0)
        _exit(1);
    _exit(0);
}

void ahead_start(struct keeper *k, struct kslot *slot) {
    struct plan plan = {
        .k = k,
        .slot = slot,
        .lockdown = {.change_ids = true,
                     .id = ENVIRONMENT_SLOT_ID + slot->number,
                     .open_files = k->config.open_files,
                     .processes = k->config.processes + LOCKDOWN_PROCESS_MARGIN},
    };
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        keeper_fail(k, "starting a program: %s", strerror(errno));
    slot->cpu_before = leaf_cpu_us(&slot->leaf);
    leaf_reset_peak(&slot->leaf);
    slot->stage = SLOT_STARTING;
    kslot_began(slot);
    k->spawned[slot->number] = 0;
    slot->died_early = false;
    slot->spawner = leaf_fork(&slot->leaf, 0);
    if (slot->spawner == 0)
        spawner(&plan, ends[1]);
    if (slot->spawner < 0)
        keeper_fail(k, "starting a program: %s", strerror(errno));
    close(ends[1]);
    for (int i = 0; i < 4; i++)
        cleanup_close(&slot->given[i]);
    slot->spawn = ends[0];
    keeper_watch_slot(k, slot, slot->spawn, true);
}

void ahead_spawned(struct keeper *k, struct kslot *slot) {
    struct spawned said = {0};
    char text[128];
    if (slot->spawn < 0)
        return;
    ssize_t length = read(slot->spawn, &said, sizeof said);
    cleanup_close(&slot->spawn);
    if (slot->stage != SLOT_STARTING)
        return;
    if (!slot->died_early)
        slot->process = k->spawned[slot->number];
    if (length != sizeof said) {
        said.code = -EIO;
        snprintf(said.step, sizeof said.step, "the spawner died");
    }
    if (said.code < 0) {
        /* What is wrong with the program itself is told by its number, too. */
        slot->status = strcmp(said.step, EXEC_STEP) == 0 ? said.code : -EIO;
        snprintf(text, sizeof text, "%s: %s", said.step, strerror(-said.code));
        kslot_retire(k, slot, KEEPER_UNVERIFIED, text);
        return;
    }
    slot->stage = SLOT_READY;
    slot->deadline = 0;
    slot->end = KEEPER_EXITED;
    struct keeper_message message = {
        .op = KEEPER_READY, .slot = slot->number, .us = monotonic_us() - slot->began};
    keeper_tell(k, &message);
    if (slot->died_early)
        keeper_process_reaped(k, slot, slot->status);
}
