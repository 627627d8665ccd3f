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
#include "isolate/sys.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#ifndef __WALL
#define __WALL 0x40000000
#endif
#define CHILD_STACK 16384

/* What may run at once for one user id in one user namespace besides the slot's own
 * processes: RLIMIT_NPROC counts them together. */
#define PROCESS_MARGIN 64

static const char *hint(int code) {
    switch (code) {
    case -EPERM:
    case -EACCES:
        return ". `fnrun doctor` says what this machine allows";
    case -ENOSPC:
        return ". A limit on namespaces was reached: sysctl user.max_user_namespaces and its like";
    case -ENOSYS:
    case -EINVAL:
        return ". The kernel may be too old: `fnrun doctor` says";
    default:
        return "";
    }
}

static int fail(struct error *err, const char *step, int code) {
    return error_set(err, code, "%s: %s%s", step, strerror(-code), hint(code));
}

/* init and all its namespaces but the network's. */
static int start_init(struct build *build, struct error *err) {
    static char stack[CHILD_STACK] __attribute__((aligned(64)));
    struct slot *slot = build->slot;
    struct sys_clone clone = {
        .flags = CLONE_VM | CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS |
                 CLONE_NEWIPC | CLONE_NEWUTS,
        .pidfd = (uint64_t)(uintptr_t)&slot->init,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)stack,
        .stack_size = sizeof stack,
    };
    long pid = sys_clone_child(&clone, init_main, &build->init);
    if (pid < 0)
        return fail(err, "making the slot's namespaces", (int)pid);
    slot->init_id = (pid_t)pid;
    return 0;
}

static char side_stack[CHILD_STACK] __attribute__((aligned(64)));

/* A helper that shares memory and descriptors. Returns its id or a negative errno. */
static long start_beside(int (*child)(void *), struct build *build, uint64_t more_flags) {
    struct sys_clone clone = {
        .flags = CLONE_VM | CLONE_FILES | more_flags,
        .exit_signal = 0,
        .stack = (uint64_t)(uintptr_t)side_stack,
        .stack_size = sizeof side_stack,
    };
    return sys_clone_child(&clone, child, build);
}

static void reap(pid_t pid) {
    int status;
    while (waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        ;
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
    snprintf(name, sizeof name, "fnrun-%u-%u", (unsigned)geteuid(), slot->claim.block);
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
                                           : spec->limits.processes + PROCESS_MARGIN,
        .data = spec->without_cgroups ? spec->limits.memory : 0,
    };
    /* One id for all: RLIMIT_NPROC then counts the user's own processes as well. */
    if (single)
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
    int r;
    if (build->privileged) {
        /* Children of this process now start in the slot's PID namespace. */
        if (sys_call2(SYS_setns, build->slot->init, CLONE_NEWPID) < 0)
            return fail(err, "joining the PID namespace", -errno);
        r = child_start_function(build, 0);
        if (r < 0)
            return fail(err, "starting the function's process", r);
    } else {
        long spawner = start_beside(child_spawner, build, CLONE_VFORK);
        if (spawner < 0)
            return fail(err, "starting the function's process", (int)spawner);
        reap((pid_t)spawner);
    }
    *program_failed = build->program_failed;
    if (build->failure.code)
        return fail(err, build->failure.step, build->failure.code);
    return 0;
}

/* The network namespace is made beside the rest. An ordinary user's helper must end
 * before the function's process starts: its change of credentials makes this memory
 * undumpable, and joining init's namespaces would then be refused. */
static int start_network(struct build *build, pid_t *beside, struct error *err) {
    if (build->spec->host_network)
        return 0;
    long helper = start_beside(child_network, build, 0);
    if (helper < 0)
        return fail(err, "making the network namespace", (int)helper);
    if (build->privileged)
        *beside = (pid_t)helper;
    else
        reap((pid_t)helper);
    return 0;
}

/* Building a slot, in order. */
static int build_slot(struct build *build, pid_t *beside, bool *program_failed, struct error *err) {
    struct slot *slot = build->slot;
    const struct slot_spec *spec = build->spec;
    bool v2 = spec->layout && cgroup_on_v2(spec->layout);
    int r = claim_ids(slot, err);
    /* v2: this process leaves its group for the slot's groups to be made, and init
     * would stay in it. v1: later, while the network is being made. */
    if (r == 0 && v2)
        r = make_groups(slot, spec, err);
    if (r == 0)
        r = start_init(build, err);
    if (r < 0)
        return r;
    /* An ordinary user writes the maps before the helper makes this undumpable: the
     * files would then belong to root. */
    if (!build->privileged)
        r = idmap_write(&slot->ids, slot->claim.block, slot->init_id, err);
    if (r == 0)
        r = start_network(build, beside, err);
    if (r == 0 && build->privileged)
        r = idmap_write(&slot->ids, slot->claim.block, slot->init_id, err);
    if (r == 0 && !v2)
        r = make_groups(slot, spec, err);
    if (r < 0)
        return r;
    plan_lockdown(build);
    build->root.own_devices = build->privileged && has_devices(spec->root);
    const char *step = NULL;
    if (build->privileged && (r = root_open(&build->root, &build->trees, &step)) < 0)
        return fail(err, step, r);
    return start_function(build, program_failed, err);
}

int slot_start(struct slot *slot, const struct slot_spec *spec, bool *program_failed,
               struct error *err) {
    _cleanup_close_ int self = (int)sys_call2(SYS_pidfd_open, getpid(), 0);
    struct build build = {
        .spec = spec,
        .slot = slot,
        .privileged = geteuid() == 0,
        .init = {.parent = self},
        .network = -EBADF,
        .root = {.prepared = spec->root,
                 .extra = spec->extra,
                 .privileged = geteuid() == 0,
                 .task = spec->task,
                 .task_file = spec->task_file,
                 .tmp_bytes = spec->tmp_bytes},
    };
    pid_t beside = 0;
    memset(slot, 0, sizeof *slot);
    slot->process = slot->init = slot->claim.fd = -EBADF;
    *program_failed = false;
    for (int *fd = &build.trees.prepared; fd < (int *)(&build.trees + 1); fd++)
        *fd = -EBADF;
    int r =
        self < 0 ? fail(err, "pidfd_open", self) : build_slot(&build, &beside, program_failed, err);
    if (beside)
        reap(beside);
    cleanup_close(&build.network);
    root_close(&build.trees);
    if (r < 0) {
        int status;
        struct slot_usage usage;
        slot_finish(slot, &status, &usage, NULL);
    }
    return r;
}

void slot_kill(struct slot *slot) {
    if (slot->init >= 0)
        sys_call4(SYS_pidfd_send_signal, slot->init, SIGKILL, 0, 0);
}

/* Waits for pid; adds its times to *cpu_us. */
static int collect(pid_t pid, uint64_t *cpu_us) {
    struct rusage usage = {0};
    int status = 0;
    pid_t got;
    while ((got = wait4(pid, &status, __WALL, &usage)) < 0 && errno == EINTR)
        ;
    if (got == pid)
        *cpu_us += (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                   (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    return status;
}

int slot_finish(struct slot *slot, int *status, struct slot_usage *usage, struct error *err) {
    uint64_t reaped_cpu = 0;
    memset(usage, 0, sizeof *usage);
    *status = 0;
    /* init waits in its exit until everything in its namespace is reaped, and the
     * function's process is this one's child: so that one first. */
    slot_kill(slot);
    if (slot->process_id > 0)
        *status = collect(slot->process_id, &reaped_cpu);
    if (slot->init_id > 0)
        collect(slot->init_id, &reaped_cpu);
    slot->process_id = slot->init_id = 0;
    cgroup_read(&slot->groups, &usage->peak_memory, &usage->cpu_us, &usage->oom_killed);
    /* Without an accounting group: what could be waited for. */
    if (!usage->cpu_us)
        usage->cpu_us = reaped_cpu;
    int r = cgroup_remove(&slot->groups, err);
    if (r == 0)
        claim_release(&slot->claim);
    cleanup_close(&slot->claim.fd);
    cleanup_close(&slot->process);
    cleanup_close(&slot->init);
    return r;
}
