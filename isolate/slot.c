#include "isolate/slot.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/child.h"
#include "isolate/cleanup.h"
#include "isolate/hint.h"
#include "isolate/lockdown.h"
#include "isolate/sys.h"

#ifndef __WALL
#define __WALL 0x40000000
#endif
#define CHILD_STACK 16384

static int fail(struct error *err, const char *step, int code) {
    return error_set(err, code, "%s: %s%s", step, strerror(-code), hint(code));
}

/* The one slot that is being built has the one init that is starting: what it reads
 * must outlive the functions here. */
static struct init_start starting;

/* init and the namespaces it is born into; the network's it makes itself. */
static int start_init(struct slot *slot, bool network, struct error *err) {
    static char stack[CHILD_STACK] __attribute__((aligned(64)));
    starting = (struct init_start){.network = network};
    starting.trees = root_no_trees;
    starting.parent = (int)sys_call2(SYS_pidfd_open, getpid(), 0);
    if (starting.parent < 0)
        return fail(err, "pidfd_open", starting.parent);
    sys_call3(SYS_getcpu, SYS_PTR(&starting.cpu), 0, 0);
    struct sys_clone clone = {
        .flags = CLONE_VM | CLONE_FILES | CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS |
                 CLONE_NEWIPC | CLONE_NEWUTS,
        .pidfd = (uint64_t)(uintptr_t)&slot->init,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = sizeof stack,
    };
    long pid = sys_clone_child(&clone, init_main, &starting);
    if (pid < 0)
        return fail(err, "making the slot's namespaces", (int)pid);
    slot->init_id = (pid_t)pid;
    /* Lets init start, so that it can go to another processor: see init.c. */
    sys_call0(SYS_sched_yield);
    return 0;
}

/* init is through with what it was given. */
static void close_start(void) {
    root_close(&starting.trees);
    cleanup_close(&starting.parent);
}

static int claim_ids(struct slot *slot, struct error *err) {
    char run_dir[256];
    int r = idmap_find(&slot->ids, err);
    if (r == 0)
        r = claim_run_dir(run_dir, sizeof run_dir, err);
    if (r == 0)
        r = claim_take(&slot->claim, run_dir, slot->ids.blocks, err);
    return r;
}

static int make_groups(struct slot *slot, const struct slot_spec *spec, struct error *err) {
    char name[64], lines[CLAIM_RECORD];
    if (spec->without_cgroups)
        return 0;
    snprintf(name, sizeof name, "fnrun-%u-%u-%08x", (unsigned)geteuid(), slot->claim.block,
             slot->claim.book);
    int r = cgroup_paths(spec->layout, name, lines, sizeof lines);
    if (r < 0)
        return error_set(err, r, "the paths of the control groups are too long");
    r = claim_record(&slot->claim, lines, err);
    return r < 0 ? r : cgroup_make(&slot->groups, spec->layout, name, &spec->limits, err);
}

static void plan_lockdown(struct build *build) {
    const struct slot_spec *spec = build->spec;
    bool single = build->slot->ids.kind == IDMAP_SINGLE;
    build->lockdown = (struct lockdown){
        .keep_groups = single,
        .change_ids = !single,
        .id = IDMAP_FUNCTION_ID,
        .open_files = spec->open_files,
        .processes = spec->without_cgroups ? spec->limits.processes
                                           : spec->limits.processes + LOCKDOWN_PROCESS_MARGIN,
        .data = spec->without_cgroups ? spec->limits.memory : 0,
    };
    /* One id for all: before Linux 5.14 RLIMIT_NPROC counts the user's own processes as well. */
    if (single && !spec->without_cgroups)
        build->lockdown.processes = RLIM_INFINITY;
}

/* Whether who prepared the tree could make devices in it. */
static bool has_devices(const char *prepared) {
    char path[512];
    struct stat st;
    snprintf(path, sizeof path, "%s/dev/null", prepared);
    return lstat(path, &st) == 0 && S_ISCHR(st.st_mode);
}

/* The function's process, and its failure worded. */
static int start_function(struct build *build, bool *program_failed, struct error *err) {
    static char stack[CHILD_STACK] __attribute__((aligned(64)));
    int r;
    if (build->privileged) {
        /* Children of this process now start in the slot's PID namespace. */
        r = (int)sys_call2(SYS_setns, build->slot->init, CLONE_NEWPID);
        if (r < 0)
            return fail(err, "joining the PID namespace", r);
        r = child_start_function(build, 0);
        if (r < 0)
            return fail(err, "starting the function's process", r);
    } else {
        struct sys_clone clone = {
            .flags = CLONE_VM | CLONE_FILES | CLONE_VFORK,
            .stack = (uint64_t)(uintptr_t)stack,
            .stack_size = sizeof stack,
        };
        long spawner = sys_clone_child(&clone, child_spawner, build);
        if (spawner < 0)
            return fail(err, "starting the function's process", (int)spawner);
        int status;
        while (waitpid((pid_t)spawner, &status, __WALL) < 0 && errno == EINTR)
            ;
    }
    *program_failed = build->program_failed;
    if (build->failure.code)
        return fail(err, build->failure.step, build->failure.code);
    return 0;
}

static bool is_task(const struct slot_spec *spec, int tree) {
    struct stat st;
    return fstat(tree, &st) == 0 && st.st_dev == spec->task_device && st.st_ino == spec->task_inode;
}

/* Ids and trees for init, which then builds the root file system. */
static int furnish(struct slot *slot, const struct slot_spec *spec, struct error *err) {
    const char *step = NULL;
    bool privileged = geteuid() == 0;
    int r = idmap_write(&slot->ids, slot->claim.block, slot->init_id, err);
    if (r < 0)
        return r;
    starting.root = (struct root_spec){
        .prepared = spec->root,
        .extra = spec->extra,
        .own_devices = privileged && has_devices(spec->root),
        .privileged = privileged,
        .task = spec->task,
        .task_file = spec->task_file,
        .tmp_bytes = spec->tmp_bytes,
    };
    starting.host_name = spec->host_name;
    starting.become_root = slot->ids.kind != IDMAP_SINGLE;
    starting.open_trees = !privileged;
    if (privileged && (r = root_open(&starting.root, &starting.trees, &step)) < 0)
        return fail(err, step, r);
    /* root reaches more than the folder's owner: the name may lead elsewhere by now. */
    if (privileged && !is_task(spec, starting.trees.task))
        return error_set(err, -ESTALE, "%s was replaced by something else meanwhile: try again",
                         spec->task);
    init_go(&starting);
    slot->furnished = true;
    return 0;
}

/* Building a slot, in order, where it was not begun. */
static int build_slot(struct build *build, bool *program_failed, struct error *err) {
    struct slot *slot = build->slot;
    const struct slot_spec *spec = build->spec;
    bool v2 = spec->layout && cgroup_on_v2(spec->layout);
    int r = slot->furnished ? 0 : claim_ids(slot, err);
    /* v2: this process leaves its group for the slot's groups to be made, and init
     * would stay in it. v1: later, while init is building. */
    if (r == 0 && v2)
        r = make_groups(slot, spec, err);
    if (r == 0 && !slot->prepared)
        r = start_init(slot, !spec->host_network, err);
    if (r == 0 && !slot->furnished)
        r = furnish(slot, spec, err);
    if (r == 0 && !v2)
        r = make_groups(slot, spec, err);
    if (r < 0)
        return r;
    plan_lockdown(build);
    return start_function(build, program_failed, err);
}

void slot_clear(struct slot *slot) {
    memset(slot, 0, sizeof *slot);
    slot->process = slot->init = slot->claim.fd = -EBADF;
}

int slot_prepare(struct slot *slot, struct error *err) {
    slot_clear(slot);
    slot->prepared = true;
    return start_init(slot, true, err);
}

int slot_furnish(struct slot *slot, const struct slot_spec *spec, struct error *err) {
    int r = claim_ids(slot, err);
    return r < 0 ? r : furnish(slot, spec, err);
}

static void abandon(struct slot *slot) {
    int status;
    struct slot_usage usage;
    slot_finish(slot, &status, &usage, NULL);
    slot_clear(slot);
}

int slot_start(struct slot *slot, const struct slot_spec *spec, bool *program_failed,
               struct error *err) {
    struct build build = {
        .spec = spec, .slot = slot, .privileged = geteuid() == 0, .init = &starting};
    *program_failed = false;
    /* See build_slot: with v2 the groups come first. */
    if (slot->prepared && spec->layout && cgroup_on_v2(spec->layout))
        abandon(slot);
    int r = build_slot(&build, program_failed, err);
    close_start();
    if (r < 0)
        abandon(slot);
    return r;
}

void slot_kill(struct slot *slot) {
    if (slot->init >= 0)
        if (sys_call4(SYS_pidfd_send_signal, slot->init, SIGKILL, 0, 0) < 0 && slot->init_id > 0)
            kill(slot->init_id, SIGKILL); /* not reaped: the number is still its own */
}

/* Waits for pid; adds its times to *cpu_us. What cannot be waited for has not ended well. */
static int collect(pid_t pid, uint64_t *cpu_us) {
    struct rusage usage = {0};
    int status = 0;
    pid_t got;
    while ((got = wait4(pid, &status, __WALL, &usage)) < 0 && errno == EINTR)
        ;
    if (got != pid)
        return SIGKILL;
    *cpu_us += (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
               (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return status;
}

int slot_finish(struct slot *slot, int *status, struct slot_usage *usage, struct error *err) {
    struct cgroup *groups = &slot->groups;
    uint64_t reaped_cpu = 0;
    memset(usage, 0, sizeof *usage);
    *status = 0;
    close_start();
    /* init waits in its exit until everything in its namespace is reaped, and the
     * function's process is this one's child: so that one first. */
    slot_kill(slot);
    if (slot->process_id > 0)
        *status = collect(slot->process_id, &reaped_cpu);
    /* Mostly it was alone in its groups: they go while init is still exiting. Else the
     * counters are read again when all is dead. */
    cgroup_read(groups, &usage->peak_memory, &usage->cpu_us, &usage->oom_killed);
    bool removed = cgroup_remove_empty(groups);
    if (slot->init_id > 0)
        collect(slot->init_id, &reaped_cpu);
    slot->process_id = slot->init_id = 0;
    if (!removed)
        cgroup_read(groups, &usage->peak_memory, &usage->cpu_us, &usage->oom_killed);
    /* Without an accounting group: what could be waited for. */
    if (!usage->cpu_us)
        usage->cpu_us = reaped_cpu;
    int r = cgroup_remove(groups, err);
    if (r == 0)
        claim_release(&slot->claim);
    cleanup_close(&slot->claim.fd);
    cleanup_close(&slot->process);
    cleanup_close(&slot->init);
    return r;
}
