#include "isolate/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cgroup_backend.h"
#include "isolate/cleanup.h"
#include "isolate/file.h"

#define SWEEP_STEP_US 2000
#define SWEEP_STEPS   1000 /* 2 s in all */
#define TREE_DEPTH    8    /* groups below one another; environments may have 4 */

const char *const cgroup_names[CGROUP_CONTROLLERS] = {"memory", "pids", "cpu", "cpuacct"};

/* ---- finding ------------------------------------------------------------------ */

bool cgroup_has_word(const char *list, const char *word, char separator) {
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)); at += length)
        if ((at == list || at[-1] == separator || at[-1] == ' ') &&
            (!at[length] || at[length] == separator || at[length] == '\n' || at[length] == ' '))
            return true;
    return false;
}

/* The group of this process in one hierarchy, from the text of /proc/self/cgroup:
 * lines `ID:controllers:/path`; v2's has no controllers. */
static bool own_group(const char *text, const char *controller, char *path, size_t size) {
    for (const char *line = text; line && *line;
         line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
        const char *names = strchr(line, ':');
        const char *group = names ? strchr(names + 1, ':') : NULL;
        if (!group)
            continue;
        char list[128];
        snprintf(list, sizeof list, "%.*s", (int)(group - names - 1), names + 1);
        if (controller ? !cgroup_has_word(list, controller, ',') : list[0] != 0)
            continue;
        size_t length = strcspn(group + 1, "\n");
        snprintf(path, size, "%.*s", (int)length, group + 1);
        return true;
    }
    return false;
}

struct mount_line {
    char root[256], point[256], type[32], options[256];
};

/* The word that is `skip` words after at, copied if it fits. sscanf would do, at ten
 * times the cost, and this stands on the way of every call. */
static bool take_word(const char *at, int skip, char *word, size_t size) {
    while (skip-- > 0) {
        at += strcspn(at, " \n");
        if (*at != ' ')
            return false;
        at++;
    }
    size_t length = strcspn(at, " \n");
    if (!length || length >= size)
        return false;
    memcpy(word, at, length);
    word[length] = 0;
    return true;
}

/* One line of /proc/self/mountinfo: see proc(5). */
static bool parse_mount(const char *line, struct mount_line *mount) {
    const char *dash = strstr(line, " - ");
    return dash && take_word(line, 3, mount->root, sizeof mount->root) &&
           take_word(line, 4, mount->point, sizeof mount->point) &&
           take_word(dash + 3, 0, mount->type, sizeof mount->type) &&
           take_word(dash + 3, 2, mount->options, sizeof mount->options);
}

/* The directory of `group` (a path in the hierarchy) below the mount. A mount may
 * show a part of the hierarchy only: its root is then cut off the front. */
static bool below_mount(const struct mount_line *mount, const char *group, char *path,
                        size_t size) {
    size_t cut = strcmp(mount->root, "/") == 0 ? 0 : strlen(mount->root);
    if (cut && (strncmp(group, mount->root, cut) != 0 || (group[cut] && group[cut] != '/')))
        return false;
    const char *rest = group + cut;
    int length = snprintf(path, size, "%s%s", mount->point, strcmp(rest, "/") == 0 ? "" : rest);
    return length > 0 && (size_t)length < size;
}

/* What the user named: absolute below the v2 mount, or the same in each hierarchy. */
static bool named_group(const struct mount_line *mount, const char *group, char *path,
                        size_t size) {
    struct stat st;
    int length;
    if (strncmp(group, mount->point, strlen(mount->point)) == 0)
        length = snprintf(path, size, "%s", group);
    else
        length = snprintf(path, size, "%s/%s", mount->point, group + (group[0] == '/'));
    return length > 0 && (size_t)length < size && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void note_mount(struct cgroup_layout *layout, const struct mount_line *mount,
                       const char *groups, const char *named) {
    char group[256], path[sizeof layout->unified];
    bool v2 = strcmp(mount->type, "cgroup2") == 0;
    if (v2) {
        if (layout->unified[0] || !own_group(groups, NULL, group, sizeof group))
            return;
        if (!below_mount(mount, group, layout->own_unified, sizeof layout->own_unified))
            return;
        snprintf(layout->unified, sizeof layout->unified, "%s", mount->point);
        if (named && named_group(mount, named, path, sizeof path))
            snprintf(layout->own_unified, sizeof layout->own_unified, "%s", path);
        else if (named)
            layout->unified[0] = 0;
        return;
    }
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        struct cgroup_place *place = &layout->places[i];
        if (place->version || !cgroup_has_word(mount->options, cgroup_names[i], ',') ||
            !own_group(groups, cgroup_names[i], group, sizeof group))
            continue;
        if (named ? named_group(mount, named, path, sizeof path)
                  : below_mount(mount, group, path, sizeof path)) {
            place->version = 1;
            snprintf(place->parent, sizeof place->parent, "%s", path);
        }
    }
}

/* Controllers that no v1 hierarchy has are v2's, where v2 offers them. */
static void note_unified(struct cgroup_layout *layout) {
    char offered[512];
    if (!layout->unified[0])
        return;
    _cleanup_close_ int dir = open(layout->own_unified, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || cgroup_read_file(dir, "cgroup.controllers", offered, sizeof offered) < 0)
        return;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        struct cgroup_place *place = &layout->places[i];
        /* v2 accounts cpu time without a controller of that name. */
        const char *name = i == CGROUP_CPUACCT ? "cpu" : cgroup_names[i];
        if (place->version || !cgroup_has_word(offered, name, ' '))
            continue;
        place->version = 2;
        snprintf(place->parent, sizeof place->parent, "%s", layout->own_unified);
    }
    /* cpuacct beside a v1 cpu would make a v2 group for nothing but accounting. */
    if (layout->places[CGROUP_CPU].version == 1 && layout->places[CGROUP_CPUACCT].version == 2)
        layout->places[CGROUP_CPUACCT].version = 0;
}

void cgroup_find_in(struct cgroup_layout *layout, const char *mountinfo, const char *groups,
                    const char *group) {
    memset(layout, 0, sizeof *layout);
    layout->configured = group != NULL;
    for (const char *at = mountinfo; (at = strstr(at, " - cgroup")); at++) {
        const char *line = at;
        while (line > mountinfo && line[-1] != '\n')
            line--;
        struct mount_line mount;
        if (parse_mount(line, &mount))
            note_mount(layout, &mount, groups, group);
    }
    note_unified(layout);
}

static int find(struct cgroup_layout *layout, const char *group, struct error *err) {
    _cleanup_free_ char *mounts = NULL, *groups = NULL;
    int r = file_read("/proc/self/cgroup", SIZE_MAX, &groups);
    if (r == 0)
        r = file_read("/proc/self/mountinfo", SIZE_MAX, &mounts);
    if (r != 0)
        return error_set(err, r, "/proc/self/mountinfo or cgroup cannot be read: %s", strerror(-r));
    cgroup_find_in(layout, mounts, groups, group);
    return 0;
}

int cgroup_find(struct cgroup_layout *layout, struct error *err) {
    return find(layout, NULL, err);
}

int cgroup_find_below(struct cgroup_layout *layout, const char *group, struct error *err) {
    int r = find(layout, group, err);
    if (r < 0)
        return r;
    for (int i = 0; i < CGROUP_CPUACCT; i++)
        if (!layout->places[i].version)
            return error_set(err, -ENOENT,
                             "--cgroup %s: no such group with the %s controller. Make it in every "
                             "hierarchy first "
                             "(mkdir), or name another",
                             group, cgroup_names[i]);
    return 0;
}

bool cgroup_on_v2(const struct cgroup_layout *layout) {
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (layout->places[i].version == 2)
            return true;
    return false;
}

int cgroup_usable(const struct cgroup_layout *layout, struct error *err) {
    for (int i = 0; i < CGROUP_CPUACCT; i++) {
        const struct cgroup_place *place = &layout->places[i];
        if (!place->version)
            return error_set(
                err, -EOPNOTSUPP,
                "no %s controller: neither a v1 hierarchy nor %s has it (`fnrun doctor` "
                "says how to get it). Ways out: " CGROUP_WAYS_OUT,
                cgroup_names[i], layout->unified[0] ? layout->own_unified : "a cgroup2 mount");
        if (place->version == 1 && access(place->parent, W_OK) < 0)
            return error_set(err, -EACCES,
                             "no group can be made below %s: %s. Ways out: " CGROUP_WAYS_OUT,
                             place->parent, strerror(errno));
    }
    return cgroup_on_v2(layout) ? cgroup_v2_usable(layout, err) : 0;
}

int cgroup_paths(const struct cgroup_layout *layout, const char *name, char *lines,
                 unsigned long size) {
    size_t used = 0;
    bool unified = false;
    lines[0] = 0;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        const struct cgroup_place *place = &layout->places[i];
        if (!place->version || (place->version == 2 && unified))
            continue;
        if (used)
            lines[used++] = '\n';
        if (place->version == 2) { /* the leaf is made before the slot's group */
            unified = true;
            int leaf = cgroup_v2_leaf(layout, name, lines + used, size - used);
            if (leaf < 0 || used + (size_t)leaf + 1 >= size)
                return -ENAMETOOLONG;
            used += (size_t)leaf;
            lines[used++] = '\n';
        }
        int length = snprintf(lines + used, size - used, "%s/%s", place->parent, name);
        /* Room for a newline is kept as well. */
        if (length < 0 || used + (size_t)length + 1 >= size)
            return -ENAMETOOLONG;
        used += (size_t)length;
    }
    return (int)used;
}

/* ---- files of a group -------------------------------------------------------- */

int cgroup_write(int dir, const char *name, const char *text) {
    _cleanup_close_ int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int cgroup_write_number(int dir, const char *name, uint64_t value) {
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return cgroup_write(dir, name, text);
}

int cgroup_read_file(int dir, const char *name, char *text, unsigned long size) {
    _cleanup_close_ int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = read(fd, text, size - 1);
    if (got < 0)
        return -errno;
    text[got] = 0;
    return (int)got;
}

pid_t cgroup_next_pid(char **at) {
    pid_t pid = (pid_t)strtol(*at, at, 10);
    if (**at == '\n')
        ++*at;
    return pid;
}

int cgroup_read_number(int dir, const char *name, const char *key, uint64_t *value) {
    char text[1024];
    int r = cgroup_read_file(dir, name, text, sizeof text);
    if (r < 0)
        return r;
    const char *at = text;
    if (key) {
        size_t length = strlen(key);
        while (strncmp(at, key, length) != 0 || at[length] != ' ') {
            at = strchr(at, '\n');
            if (!at)
                return -ENOENT;
            at++;
        }
        at += length + 1;
    }
    *value = strtoull(at, NULL, 10);
    return 0;
}

/* ---- removing ------------------------------------------------------------------ */

static void nap(void) {
    struct timespec step = {.tv_nsec = SWEEP_STEP_US * 1000L};
    nanosleep(&step, NULL);
}

static bool is_member(int dir, pid_t pid) {
    char text[8192];
    if (cgroup_read_file(dir, "cgroup.procs", text, sizeof text) < 0)
        return false;
    pid_t member;
    for (char *at = text; (member = cgroup_next_pid(&at)) > 0;)
        if (member == pid)
            return true;
    return false;
}

/* Calls visit for each group below dir, with dir and the group's name. */
static void each_below(int dir, int depth, void (*visit)(int, const char *, int)) {
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *groups = copy < 0 ? NULL : fdopendir(copy);
    struct dirent *entry;
    if (!groups && copy >= 0)
        close(copy);
    while (groups && (entry = readdir(groups)))
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            visit(copy, entry->d_name, depth);
}

/* SIGKILL to every process of the group, by pidfd: the number may have been given
 * to another by the time it is used, so it is looked for again once it is held. */
static void kill_members(int parent, const char *name, int depth) {
    char text[8192];
    _cleanup_close_ int dir = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || cgroup_write(dir, "cgroup.kill", "1") == 0) /* v2: those below as well */
        return;
    if (depth > 0)
        each_below(dir, depth - 1, kill_members);
    if (cgroup_read_file(dir, "cgroup.procs", text, sizeof text) < 0)
        return;
    pid_t pid;
    for (char *at = text; (pid = cgroup_next_pid(&at)) > 0;) {
        _cleanup_close_ int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (fd >= 0 && is_member(dir, pid))
            syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0);
    }
}

static void remove_below(int parent, const char *name, int depth) {
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || (errno != EBUSY && errno != ENOTEMPTY) ||
        depth == 0)
        return;
    _cleanup_close_ int dir = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir >= 0)
        each_below(dir, depth - 1, remove_below);
    unlinkat(parent, name, AT_REMOVEDIR);
}

int cgroup_remove_tree(int parent, const char *name) {
    remove_below(parent, name, TREE_DEPTH);
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    return -errno;
}

int cgroup_sweep(const char *path) {
    char above[640];
    const char *name = strrchr(path, '/');
    if (!name || (size_t)(name - path) >= sizeof above)
        return -EINVAL;
    snprintf(above, sizeof above, "%.*s", (int)(name++ - path), path);
    _cleanup_close_ int parent = open(above, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return errno == ENOENT ? 0 : -errno;
    if (faccessat(parent, name, F_OK, 0) < 0 && errno == ENOENT)
        return 0;
    int r = -EBUSY;
    for (int i = 0; i < SWEEP_STEPS; i++) {
        r = cgroup_remove_tree(parent, name);
        if (r != -EBUSY)
            break;
        if (!cgroup_v2_is_leaf(path))
            kill_members(parent, name, TREE_DEPTH);
        else if ((r = cgroup_v2_leave(path)) < 0)
            break;
        nap();
    }
    if (r == 0)
        cgroup_v2_swept(path);
    return r;
}

static int remove_group(int parent, const char *name, const char *parent_path, struct error *err) {
    for (int i = 0; i < SWEEP_STEPS; i++) {
        if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return 0;
        if (errno != EBUSY)
            break;
        nap();
    }
    return error_set(err, -errno, "the control group %s/%s cannot be removed: %s", parent_path,
                     name, strerror(errno));
}

int cgroup_make_group(int parent, const char *parent_path, const char *name, int *fd,
                      struct error *err) {
    int r = mkdirat(parent, name, 0755);
    if (r < 0 && errno == EEXIST) {
        char path[640];
        snprintf(path, sizeof path, "%s/%s", parent_path, name);
        cgroup_sweep(path);
        r = mkdirat(parent, name, 0755);
    }
    if (r < 0)
        return error_set(err, -errno, "the control group %s/%s cannot be made: %s", parent_path,
                         name, strerror(errno));
    *fd = openat(parent, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) {
        r = -errno;
        unlinkat(parent, name, AT_REMOVEDIR);
        return error_set(err, r, "the control group %s/%s cannot be opened: %s", parent_path, name,
                         strerror(-r));
    }
    return 0;
}

/* ---- the slot's groups ------------------------------------------------------- */

static void start(struct cgroup *cg, const struct cgroup_layout *layout, const char *name) {
    memset(cg, 0, sizeof *cg);
    cg->active = true;
    cg->layout = *layout;
    snprintf(cg->name, sizeof cg->name, "%s", name);
    cg->into = cg->unified_parent = -EBADF;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        cg->parents[i] = cg->groups[i] = cg->tasks[i] = -EBADF;
}

int cgroup_make(struct cgroup *cg, const struct cgroup_layout *layout, const char *name,
                const struct cgroup_limits *limits, struct error *err) {
    int r = 0;
    start(cg, layout, name);
    for (int i = 0; i < CGROUP_CONTROLLERS && r == 0; i++)
        if (layout->places[i].version == 1)
            r = cgroup_v1_make(cg, i, limits, err);
    if (r == 0 && cgroup_on_v2(layout))
        r = cgroup_v2_make(cg, limits, err);
    if (r < 0)
        cgroup_remove(cg, NULL);
    return r;
}

int cgroup_step_aside(struct cgroup *cg, const struct cgroup_layout *layout, const char *name,
                      struct error *err) {
    start(cg, layout, name);
    int r = cgroup_on_v2(layout) ? cgroup_v2_step_aside(cg, err) : 0;
    if (r < 0)
        cgroup_remove(cg, NULL);
    return r;
}

void cgroup_read(struct cgroup *cg, uint64_t *peak_memory, uint64_t *cpu_us, bool *oom_killed) {
    *peak_memory = *cpu_us = 0;
    *oom_killed = false;
    if (!cg->active)
        return;
    cgroup_v1_read(cg, peak_memory, cpu_us, oom_killed);
    cgroup_v2_read(cg, peak_memory, cpu_us, oom_killed);
}

bool cgroup_remove_empty(struct cgroup *cg) {
    bool none_left = !cg->active || cg->into < 0;
    for (int i = 0; i < CGROUP_CONTROLLERS && cg->active; i++) {
        if (cg->groups[i] < 0)
            continue;
        if (unlinkat(cg->parents[i], cg->name, AT_REMOVEDIR) == 0)
            cleanup_close(&cg->groups[i]);
        else
            none_left = false;
    }
    return none_left;
}

int cgroup_remove(struct cgroup *cg, struct error *err) {
    int result = 0;
    if (!cg->active)
        return 0;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        if (cg->groups[i] >= 0) {
            int r = remove_group(cg->parents[i], cg->name, cg->layout.places[i].parent,
                                 result ? NULL : err);
            result = result ? result : r;
        }
        cleanup_close(&cg->tasks[i]);
        cleanup_close(&cg->groups[i]);
        cleanup_close(&cg->parents[i]);
    }
    if (cg->unified_parent >= 0) {
        if (cg->into >= 0) {
            int r = remove_group(cg->unified_parent, cg->name, cg->layout.own_unified,
                                 result ? NULL : err);
            result = result ? result : r;
        }
        int r = cgroup_v2_remove(cg, result ? NULL : err);
        result = result ? result : r;
    }
    cg->active = false;
    return result;
}
