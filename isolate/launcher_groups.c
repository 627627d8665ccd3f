#include "isolate/launcher_groups.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cgroup_backend.h"
#include "isolate/cleanup.h"
#include "isolate/sys.h"

#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#define TREE_CLONE 1 /* OPEN_TREE_CLONE */

/* What the keeper needs beside the slots: itself and the events and replies in its memory,
 * and for each slot what the kernel keeps of its namespaces. */
#define KEEPER_MEMORY    (64ULL << 20)
#define KEEPER_SLOT      (16ULL << 20)
#define KEEPER_PROCESSES 16
#define MOST_PROCESSES   (1ULL << 22) /* the kernel's own bound */
#define DEPTH            "4"          /* v2: groups below the environment's */

/* The ways out of a single call are not the daemon's. */
static void add_ways_out(struct error *err) {
    static const char ways[] = "Ways out: " CGROUP_DAEMON_WAYS_OUT;
    char *theirs = strstr(err->message, "Ways out: ");
    size_t used = strlen(err->message);
    if (theirs)
        snprintf(theirs, sizeof err->message - (size_t)(theirs - err->message), "%s", ways);
    else
        snprintf(err->message + used, sizeof err->message - used, ". %s", ways);
}

int launcher_groups_usable(const struct cgroup_layout *layout, struct error *err) {
    int r = cgroup_usable(layout, err);
    if (r < 0) {
        add_ways_out(err);
        return r;
    }
    bool v1 = false, v2 = false;
    for (int i = 0; i < CGROUP_CPUACCT; i++)
        *(layout->places[i].version == 1 ? &v1 : &v2) = true;
    if (v1 && v2)
        return error_set(err, -EOPNOTSUPP,
                         "of the controllers memory, pids and cpu some are in a v1 hierarchy and "
                         "some in v2's: the daemon needs them together. Boot with "
                         "systemd.unified_cgroup_hierarchy=1, or cgroup_no_v1=all");
    if (v1 && geteuid() != 0)
        return error_set(err, -EOPNOTSUPP,
                         "with cgroup v1 only root can give each slot its group: start fnrund as "
                         "root, or on a machine with cgroup v2");
    return 0;
}

static struct cgroup_limits limits_of_slot(const struct launcher_make *request) {
    struct cgroup_limits limits = {
        .memory = request->memory,
        .processes = request->processes + LAUNCHER_RESIDENTS,
        .cpu_milli = request->cpu_milli,
    };
    return limits;
}

/* The zygote's leaf and that of the trial run count as slots. */
static struct cgroup_limits limits_of_all(const struct launcher_make *request) {
    uint64_t leaves = request->slots + LAUNCHER_TRIAL + 1;
    struct cgroup_limits limits = {
        .memory = leaves * (request->memory + KEEPER_SLOT) + KEEPER_MEMORY,
        .processes = leaves * (request->processes + LAUNCHER_RESIDENTS) + KEEPER_PROCESSES,
        .cpu_milli = leaves * request->cpu_milli,
        .is_sum = true,
    };
    if (limits.processes > MOST_PROCESSES)
        limits.processes = MOST_PROCESSES;
    return limits;
}

/* v2: gives the group away, but not its limits, and bounds what can be made in it. */
static int delegate(struct launcher_groups *groups, struct error *err) {
    static const char *const given[] = {"cgroup.procs", "cgroup.subtree_control", "cgroup.threads"};
    int dir = groups->all.into;
    uid_t uid = groups->ids.keeper_uid;
    gid_t gid = groups->ids.keeper_gid;
    int r = cgroup_write(dir, "cgroup.max.depth", DEPTH);
    if (r == 0)
        r = cgroup_write_number(dir, "cgroup.max.descendants", 4 * (groups->slots + 4));
    if (r < 0)
        return error_set(err, r, "the control group %s cannot be bounded: %s", groups->all.name,
                         strerror(-r));
    if (geteuid() != 0)
        return 0; /* the keeper is the user, whose group it is */
    for (size_t i = 0; i < sizeof given / sizeof *given && r == 0; i++)
        r = fchownat(dir, given[i], uid, gid, 0);
    if (r == 0)
        r = fchownat(dir, "", uid, gid, AT_EMPTY_PATH);
    return r < 0 ? error_set(err, -errno, "the control group %s cannot be given to the keeper: %s",
                             groups->all.name, strerror(errno))
                 : 0;
}

int launcher_groups_make(struct launcher_groups *groups, const struct cgroup_layout *layout,
                         const char *name, const struct launcher_make *request,
                         const struct idmap_environment *ids, struct error *err) {
    struct cgroup_limits limits = limits_of_all(request);
    memset(groups, 0, sizeof *groups);
    groups->slot = limits_of_slot(request);
    groups->slots = request->slots + LAUNCHER_TRIAL;
    groups->ids = *ids;
    int r = cgroup_make(&groups->all, layout, name, &limits, err);
    if (r < 0 || groups->all.into < 0)
        return r;
    r = delegate(groups, err);
    if (r < 0)
        cgroup_remove(&groups->all, NULL);
    return r;
}

/* ---- leaves --------------------------------------------------------------------------- */

/* The directory as a mount of its own, so that who has it cannot go up from it. */
static int open_alone(int dir) {
    _cleanup_close_ int tree =
        (int)sys_call3(SYS_open_tree, dir, SYS_PTR(""), TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH);
    if (tree < 0)
        return tree;
    int fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* v1 asks who opened the file, when a process is moved with it: who opened it with a
 * slot's own id moves that id's processes and nobody else. So the file is that id's for
 * the moment of opening. */
static int open_as(int dir, uid_t uid) {
    int fd = -1, code = 0;
    if (fchownat(dir, "tasks", uid, (gid_t)-1, 0) < 0)
        return -errno;
    if (seteuid(uid) == 0) {
        fd = openat(dir, "tasks", O_WRONLY | O_CLOEXEC);
        code = errno;
        /* Root still: the real id is. Going on as somebody else would be worse than ending. */
        if (seteuid(0) < 0)
            _exit(1);
    } else {
        code = errno;
    }
    if (fchownat(dir, "tasks", 0, (gid_t)-1, 0) < 0 && fd >= 0) {
        code = errno;
        close(fd);
        fd = -1;
    }
    return fd < 0 ? -code : fd;
}

/* What the keeper resets between two calls. */
static int give_peaks(int dir, const struct idmap_environment *ids) {
    static const char *const given[] = {"memory.max_usage_in_bytes",
                                        "memory.memsw.max_usage_in_bytes"};
    for (int i = 0; i < 2; i++)
        if (fchownat(dir, given[i], ids->keeper_uid, ids->keeper_gid, 0) < 0 && errno != ENOENT)
            return -errno;
    return 0;
}

/* The leaf in one hierarchy: fds[0], [CGROUP_CONTROLLERS] and [2 * CGROUP_CONTROLLERS]. */
static int open_leaf(struct launcher_groups *groups, int controller, const char *name, uid_t uid,
                     const struct cgroup_limits *limits, int *fds, struct error *err) {
    int parent = groups->all.groups[controller];
    if (mkdirat(parent, name, 0755) < 0 && errno != EEXIST)
        return error_set(err, -errno, "the control group %s/%s cannot be made: %s",
                         groups->all.name, name, strerror(errno));
    _cleanup_close_ int dir = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return error_set(err, -errno, "the control group %s/%s cannot be opened: %s",
                         groups->all.name, name, strerror(errno));
    int r = cgroup_v1_limit(dir, controller, limits, err);
    if (r < 0)
        return r;
    if (controller == CGROUP_MEMORY)
        r = give_peaks(dir, &groups->ids);
    if (r == 0)
        r = fds[0] = open_alone(dir);
    if (r >= 0) {
        r = fds[CGROUP_CONTROLLERS] = openat(dir, "tasks", O_WRONLY | O_CLOEXEC);
        if (r < 0)
            r = -errno;
    }
    if (r >= 0)
        r = fds[2 * CGROUP_CONTROLLERS] = open_as(dir, uid);
    return r < 0 ? error_set(err, r, "the control group %s/%s cannot be handed out: %s",
                             groups->all.name, name, strerror(-r))
                 : 0;
}

/* Which controller's group serves this one: its own; that of an earlier one with the same
 * hierarchy; cpu's where cpu time is not accounted apart. */
static int serving(const struct cgroup *all, int controller) {
    if (all->groups[controller] >= 0)
        return controller;
    for (int i = 0; i < controller; i++)
        if (all->groups[i] >= 0 &&
            strcmp(all->layout.places[i].parent, all->layout.places[controller].parent) == 0)
            return i;
    return CGROUP_CPU;
}

static int copy_fds(int *fds, int from, int to) {
    for (int kind = 0; kind < LAUNCHER_LEAF_FDS; kind += CGROUP_CONTROLLERS) {
        fds[kind + to] = fcntl(fds[kind + from], F_DUPFD_CLOEXEC, 0);
        if (fds[kind + to] < 0)
            return -errno;
    }
    return 0;
}

int launcher_groups_leaf(struct launcher_groups *groups, uint32_t number, int *fds,
                         struct error *err) {
    char name[16] = "zygote";
    bool zygote = number == LAUNCHER_ZYGOTE;
    int r = 0;
    if (groups->all.into >= 0 || !groups->all.active)
        return error_set(err, -EOPNOTSUPP, "with cgroup v2 the keeper makes its groups itself");
    if (!zygote && number >= groups->slots)
        return error_set(err, -ERANGE, "there is no slot %u: there are %u", number, groups->slots);
    if (!zygote)
        snprintf(name, sizeof name, "%u", number);
    struct cgroup_limits limits = groups->slot;
    if (zygote)
        limits.memory += groups->slots * ZYGOTE_COPY;
    uid_t uid = zygote ? groups->ids.zygote_uid : groups->ids.slot_uid + number;
    for (int i = 0; i < LAUNCHER_LEAF_FDS; i++)
        fds[i] = -EBADF;
    for (int i = 0; i < CGROUP_CONTROLLERS && r == 0; i++) {
        int from = serving(&groups->all, i);
        if (from == i)
            r = open_leaf(groups, i, name, uid, &limits, fds + i, err);
        else if ((r = copy_fds(fds, from, i)) < 0)
            error_set(err, r, "a control group cannot be handed out: %s", strerror(-r));
    }
    for (int i = 0; i < LAUNCHER_LEAF_FDS && r < 0; i++)
        cleanup_close(&fds[i]);
    return r;
}

/* ---- removing --------------------------------------------------------------------------- */

int launcher_groups_remove(struct launcher_groups *groups, struct error *err) {
    struct cgroup *all = &groups->all;
    int result = 0;
    for (int i = 0; i < CGROUP_CONTROLLERS && all->active; i++) {
        int r = all->groups[i] >= 0 ? cgroup_remove_tree(all->parents[i], all->name) : 0;
        if (r < 0)
            result = r;
    }
    if (all->active && all->into >= 0) {
        int r = cgroup_remove_tree(all->unified_parent, all->name);
        if (r < 0)
            result = r;
    }
    if (result < 0)
        return error_set(err, result, "the control group %s cannot be removed: %s", all->name,
                         strerror(-result));
    launcher_groups_close(groups);
    return 0;
}

void launcher_groups_close(struct launcher_groups *groups) {
    struct cgroup *all = &groups->all;
    if (!all->active)
        return;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        cleanup_close(&all->groups[i]);
        cleanup_close(&all->tasks[i]);
        cleanup_close(&all->parents[i]);
    }
    cleanup_close(&all->into);
    cleanup_close(&all->unified_parent);
    all->active = false;
}
