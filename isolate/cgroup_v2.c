/* cgroup v2: one group for all controllers. A group that holds processes can have
 * no controlled children, so this process first moves to a leaf beside the slot's
 * group (7 to 18 ms: a migration waits for an RCU grace period), and back at the
 * end. The function's process is born in its group (CLONE_INTO_CGROUP). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "isolate/cgroup_backend.h"
#include "isolate/cleanup.h"

#define LEAF "-runner" /* after the slot's name: where this process steps aside to */

struct members {
    bool self, companion, others;
};

/* Who is in the group. Returns 0 or a negative errno. */
static int look(int dir, pid_t companion, struct members *members) {
    char text[4096];
    *members = (struct members){false, false, false};
    int length = cgroup_read_file(dir, "cgroup.procs", text, sizeof text);
    if (length < 0)
        return length;
    for (char *at = text; *at;) {
        pid_t pid = cgroup_next_pid(&at);
        if (pid == getpid())
            members->self = true;
        else if (pid == companion)
            members->companion = true;
        else
            members->others = true;
    }
    return 0;
}

/* The hierarchy's root may hold processes and have controlled children. */
static bool is_root(int dir) {
    return faccessat(dir, "cgroup.type", F_OK, 0) < 0;
}

/* A scope that systemd made for this process alone: see cli/scope.h. */
static bool is_own_scope(const char *path) {
    char name[48];
    const char *last = strrchr(path, '/');
    snprintf(name, sizeof name, "/fnrun-%d.scope", (int)getpid());
    return last && strcmp(last, name) == 0;
}

static bool is_unit(const char *path) {
    static const char *const kinds[] = {".service", ".scope", ".slice", ".socket", ".mount"};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t tail = strlen(kinds[i]);
        if (length > tail && strcmp(path + length - tail, kinds[i]) == 0)
            return true;
    }
    return false;
}

/* Whether the group belongs to a unit of the system's systemd that is not delegated. It
 * may then take controllers away from what is below at any time (a daemon-reload is
 * enough), and with them the limits. What it has delegated it marks: see its
 * CGROUP_DELEGATION. A user's own systemd sets no mark: what he may write is his. */
static bool is_systemds(const struct cgroup_layout *layout) {
    char path[sizeof layout->own_unified], mark[8];
    if (layout->configured || geteuid() != 0 || access("/run/systemd/system", F_OK) < 0)
        return false;
    snprintf(path, sizeof path, "%s", layout->own_unified);
    while (strlen(path) > strlen(layout->unified) && !is_unit(path))
        *strrchr(path, '/') = 0;
    return is_unit(path) && !is_own_scope(path) &&
           getxattr(path, "trusted.delegate", mark, sizeof mark) < 0;
}

/* A process is moved, or born, into another group by leave of the closest group above
 * both: see cgroups(7), "Delegation containment rules". */
static int check_way(const struct cgroup_layout *layout, struct error *err) {
    struct cgroup_layout own;
    const char *to = layout->own_unified;
    char above[sizeof own.own_unified + 16];
    size_t common = 0;
    if (!layout->configured || geteuid() == 0 || cgroup_find(&own, NULL) < 0 || !own.unified[0])
        return 0;
    const char *from = own.own_unified;
    for (size_t i = 0;; i++) {
        bool from_ends = !from[i] || from[i] == '/', to_ends = !to[i] || to[i] == '/';
        if (from_ends && to_ends)
            common = i;
        if (from[i] != to[i] || !from[i])
            break;
    }
    snprintf(above, sizeof above, "%.*s/cgroup.procs", (int)common, from);
    if (access(above, W_OK) == 0)
        return 0;
    return error_set(err, -EACCES,
                     "the control group %s cannot be entered from %s: that takes the right to "
                     "write %s, of the group common to both. Start fnrun inside the delegated "
                     "unit that the group is in, or without --cgroup",
                     to, from, above);
}

int cgroup_v2_usable(const struct cgroup_layout *layout, struct error *err) {
    const char *path = layout->own_unified;
    struct members members;
    _cleanup_close_ int dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", path, strerror(errno));
    if (faccessat(dir, ".", W_OK, 0) < 0 || faccessat(dir, "cgroup.subtree_control", W_OK, 0) < 0)
        return error_set(err, -EACCES, "the control group %s is not this user's to divide", path);
    /* The root of the hierarchy is the machine's, not ours. */
    if (is_root(dir))
        return layout->configured
                   ? 0
                   : error_set(err, -EBUSY, "this process is in the root control group");
    if (is_systemds(layout))
        return error_set(err, -EBUSY,
                         "the control group %s is systemd's: its unit has no Delegate=yes", path);
    int r = look(dir, layout->companion, &members);
    if (r < 0)
        return error_set(err, r, "%s/cgroup.procs cannot be read: %s", path, strerror(-r));
    if (members.others)
        return error_set(
            err, -EBUSY,
            "the control group %s holds other processes, so it can have no limited groups below it",
            path);
    return check_way(layout, err);
}

/* Moves this process into a leaf, so that its group may have controlled children. */
static int step_aside(struct cgroup *cg, struct error *err) {
    char leaf[80], pid[16];
    struct members members;
    int r = look(cg->unified_parent, cg->layout.companion, &members);
    if (r < 0 || !members.self || is_root(cg->unified_parent))
        return r < 0 ? error_set(err, r, "cgroup.procs cannot be read: %s", strerror(-r)) : 0;
    snprintf(leaf, sizeof leaf, "%s" LEAF, cg->name);
    if (mkdirat(cg->unified_parent, leaf, 0755) < 0 && errno != EEXIST)
        return error_set(err, -errno, "%s/%s cannot be made: %s", cg->layout.own_unified, leaf,
                         strerror(errno));
    char file[112];
    snprintf(file, sizeof file, "%s/cgroup.procs", leaf);
    r = cgroup_write(cg->unified_parent, file, "0");
    if (r < 0) {
        unlinkat(cg->unified_parent, leaf, AT_REMOVEDIR);
        return error_set(err, r, "%s/%s cannot be entered: %s", cg->layout.own_unified, leaf,
                         strerror(-r));
    }
    cg->moved_self = true;
    if (!members.companion)
        return 0;
    snprintf(pid, sizeof pid, "%d", (int)cg->layout.companion);
    r = cgroup_write(cg->unified_parent, file, pid);
    return r < 0 && r != -ESRCH ? error_set(err, r, "process %s cannot be moved to %s/%s: %s", pid,
                                            cg->layout.own_unified, leaf, strerror(-r))
                                : 0;
}

static int enable(struct cgroup *cg, struct error *err) {
    char have[512], word[16];
    int r = cgroup_read_file(cg->unified_parent, "cgroup.subtree_control", have, sizeof have);
    if (r < 0)
        return error_set(err, r, "cgroup.subtree_control cannot be read: %s", strerror(-r));
    for (int i = 0; i < CGROUP_CPUACCT; i++) {
        if (cg->layout.places[i].version != 2 || cgroup_has_word(have, cgroup_names[i], ' '))
            continue;
        snprintf(word, sizeof word, "+%s", cgroup_names[i]);
        r = cgroup_write(cg->unified_parent, "cgroup.subtree_control", word);
        if (r < 0)
            return error_set(err, r, "the %s controller cannot be enabled below %s: %s",
                             cgroup_names[i], cg->layout.own_unified, strerror(-r));
        /* In a group that the user named, other slots may rely on it by the end. */
        cg->enabled[i] = !cg->layout.configured;
    }
    return 0;
}

/* No swap at all: memory.max then is the limit of both together. */
static int limit_memory(int dir, uint64_t bytes, const char **file) {
    int r = cgroup_write_number(dir, *file = "memory.max", bytes);
    if (r < 0)
        return r;
    r = cgroup_write(dir, "memory.swap.max", "0");
    if (r == -ENOENT) /* no such file: no swap to limit */
        return 0;
    *file = "memory.swap.max";
    return r;
}

static int limit_cpu(int dir, uint64_t milli, const char **file) {
    char text[48];
    snprintf(text, sizeof text, "%llu %d", (unsigned long long)cgroup_cpu_quota(milli),
             CGROUP_CPU_PERIOD_US);
    return cgroup_write(dir, *file = "cpu.max", text);
}

int cgroup_v2_limit(int dir, int controller, const struct cgroup_limits *limits,
                    struct error *err) {
    const char *file = "";
    int r = 0;
    if (controller == CGROUP_MEMORY)
        r = limit_memory(dir, limits->memory, &file);
    else if (controller == CGROUP_PIDS)
        r = cgroup_write_number(dir, file = "pids.max", limits->processes);
    else if (controller == CGROUP_CPU)
        r = limit_cpu(dir, limits->cpu_milli, &file);
    return r < 0 ? error_set(err, r, "the limit %s cannot be set: %s", file, strerror(-r)) : 0;
}

static int set_limits(struct cgroup *cg, const struct cgroup_limits *limits, struct error *err) {
    int r = 0;
    for (int i = 0; i < CGROUP_CONTROLLERS && r == 0; i++)
        if (cg->layout.places[i].version == 2)
            r = cgroup_v2_limit(cg->into, i, limits, err);
    return r;
}

int cgroup_v2_step_aside(struct cgroup *cg, struct error *err) {
    const char *parent = cg->layout.own_unified;
    cg->unified_parent = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cg->unified_parent < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", parent, strerror(errno));
    int r = step_aside(cg, err);
    return r < 0 ? r : enable(cg, err);
}

int cgroup_v2_make(struct cgroup *cg, const struct cgroup_limits *limits, struct error *err) {
    const char *parent = cg->layout.own_unified;
    int r = cgroup_v2_step_aside(cg, err);
    if (r == 0)
        r = cgroup_make_group(cg->unified_parent, parent, cg->name, &cg->into, err);
    return r < 0 ? r : set_limits(cg, limits, err);
}

void cgroup_v2_read(struct cgroup *cg, uint64_t *peak, uint64_t *cpu_us, bool *oom_killed) {
    uint64_t value;
    if (cg->into < 0)
        return;
    if (cg->layout.places[CGROUP_MEMORY].version == 2) {
        cgroup_read_number(cg->into, "memory.peak", NULL, peak); /* since 5.19 */
        if (cgroup_read_number(cg->into, "memory.events", "oom_kill", &value) == 0 && value)
            *oom_killed = true;
    }
    if (cg->layout.places[CGROUP_CPU].version == 2 &&
        cgroup_read_number(cg->into, "cpu.stat", "usage_usec", &value) == 0)
        *cpu_us = value;
}

/* Moves every process of the leaf to the group above it. */
static void move_up(int parent, const char *leaf) {
    char text[8192], word[16];
    pid_t pid;
    _cleanup_close_ int dir = openat(parent, leaf, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || cgroup_read_file(dir, "cgroup.procs", text, sizeof text) < 0)
        return;
    for (char *at = text; (pid = cgroup_next_pid(&at)) > 0;) {
        snprintf(word, sizeof word, "%d", (int)pid);
        cgroup_write(parent, "cgroup.procs", word);
    }
}

/* This process has left its leaf. A companion, and what that has started since, has not. */
static int leave_with_others(int parent, const char *leaf) {
    if (unlinkat(parent, leaf, AT_REMOVEDIR) == 0)
        return 0;
    move_up(parent, leaf);
    return unlinkat(parent, leaf, AT_REMOVEDIR) == 0 ? 0 : -errno;
}

/* Undoes what cgroup_v2_make did to the parent, in the opposite order. */
int cgroup_v2_remove(struct cgroup *cg, struct error *err) {
    int result = 0;
    /* A scope of our own goes with this process, leaf and all: moving back costs
     * another 7 to 18 ms. */
    bool leave = is_own_scope(cg->layout.own_unified);
    for (int i = 0; i < CGROUP_CPUACCT && !leave; i++) {
        char word[16];
        if (!cg->enabled[i])
            continue;
        snprintf(word, sizeof word, "-%s", cgroup_names[i]);
        cgroup_write(cg->unified_parent, "cgroup.subtree_control", word);
    }
    if (cg->moved_self && !leave) {
        char leaf[80];
        snprintf(leaf, sizeof leaf, "%s" LEAF, cg->name);
        int r = cgroup_write(cg->unified_parent, "cgroup.procs", "0");
        if (r == 0)
            r = leave_with_others(cg->unified_parent, leaf);
        if (r < 0)
            result = error_set(err, r, "the control group %s/%s cannot be left: %s",
                               cg->layout.own_unified, leaf, strerror(-r));
    }
    memset(cg->enabled, 0, sizeof cg->enabled);
    cg->moved_self = false;
    cleanup_close(&cg->into);
    cleanup_close(&cg->unified_parent);
    return result;
}

/* ---- leftovers ------------------------------------------------------------------- */

int cgroup_v2_leaf(const struct cgroup_layout *layout, const char *name, char *path,
                   unsigned long size) {
    int length = snprintf(path, size, "%s/%s" LEAF, layout->own_unified, name);
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : length;
}

/* Whether the group has groups below it, but for the one named. */
static bool has_groups(const char *path, const char *besides) {
    _cleanup_closedir_ DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder && (entry = readdir(folder)))
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
            strcmp(entry->d_name, besides) != 0)
            return true;
    return false;
}

bool cgroup_v2_is_leaf(const char *path) {
    size_t length = strlen(path), tail = sizeof LEAF - 1;
    return length > tail && strcmp(path + length - tail, LEAF) == 0;
}

/* Gives the parent of the leaf back what cgroup_v2_make changed. Returns the parent's
 * descriptor, or -EBUSY where it still has other groups, which would lose their limits. */
static int free_parent(const char *path) {
    char parent[640];
    const char *last = strrchr(path, '/');
    if (!last || (size_t)(last - path) >= sizeof parent)
        return -EINVAL;
    snprintf(parent, sizeof parent, "%.*s", (int)(last - path), path);
    if (has_groups(parent, last + 1))
        return -EBUSY;
    int dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    for (int i = 0; i < CGROUP_CPUACCT; i++) {
        char word[16];
        snprintf(word, sizeof word, "-%s", cgroup_names[i]);
        cgroup_write(dir, "cgroup.subtree_control", word);
    }
    return dir;
}

int cgroup_v2_leave(const char *path) {
    _cleanup_close_ int parent = free_parent(path);
    if (parent < 0)
        return parent;
    move_up(parent, strrchr(path, '/') + 1);
    return 0;
}

void cgroup_v2_swept(const char *path) {
    int parent = cgroup_v2_is_leaf(path) ? free_parent(path) : -EBADF;
    if (parent >= 0)
        close(parent);
}
