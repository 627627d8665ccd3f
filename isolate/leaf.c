#include "isolate/leaf.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cgroup_backend.h"
#include "isolate/cleanup.h"
#include "isolate/launcher.h"
#include "isolate/sys.h"
#include "isolate/wire.h"

void leaf_clear(struct leaf *leaf) {
    memset(leaf, 0, sizeof *leaf);
    leaf->group = leaf->processes = leaf->peak = leaf->cpu = leaf->oom = leaf->own = -EBADF;
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        leaf->tasks[i] = leaf->slot_tasks[i] = -EBADF;
}

void leaf_close(struct leaf *leaf) {
    cleanup_close(&leaf->group);
    cleanup_close(&leaf->processes);
    cleanup_close(&leaf->peak);
    cleanup_close(&leaf->cpu);
    cleanup_close(&leaf->oom);
    cleanup_close(&leaf->own);
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        cleanup_close(&leaf->tasks[i]);
        cleanup_close(&leaf->slot_tasks[i]);
    }
}

/* --- v1 ---------------------------------------------------------------------------- */

static int open_counters_v1(struct leaf *leaf, const int *groups) {
    leaf->processes = openat(groups[CGROUP_PIDS], "pids.current", O_RDONLY | O_CLOEXEC);
    leaf->peak =
        openat(groups[CGROUP_MEMORY], "memory.memsw.max_usage_in_bytes", O_RDWR | O_CLOEXEC);
    if (leaf->peak < 0)
        leaf->peak = openat(groups[CGROUP_MEMORY], "memory.max_usage_in_bytes", O_RDWR | O_CLOEXEC);
    leaf->oom = openat(groups[CGROUP_MEMORY], "memory.oom_control", O_RDONLY | O_CLOEXEC);
    leaf->cpu = openat(groups[CGROUP_CPUACCT], "cpuacct.usage", O_RDONLY | O_CLOEXEC);
    leaf->peak_resets = true;
    return leaf->processes < 0 || leaf->peak < 0 || leaf->oom < 0 || leaf->cpu < 0 ? -errno : 0;
}

static int open_v1(struct leaf *leaf, int launcher, uint32_t number, char *text, size_t size) {
    struct launcher_message answer = {0};
    int fds[3 * CGROUP_CONTROLLERS];
    size_t count = sizeof fds / sizeof *fds;
    int r = wire_send(launcher, &number, sizeof number, NULL, 0);
    ssize_t length = r < 0 ? r : wire_receive(launcher, &answer, sizeof answer, fds, &count);
    if (length < 0 || count != 3 * CGROUP_CONTROLLERS) {
        answer.text[sizeof answer.text - 1] = 0;
        snprintf(text, size, "control groups of slot %u: %s", number,
                 length > 0 && answer.text[0] ? answer.text : "the launcher did not answer");
        while (length > 0 && count)
            close(fds[--count]);
        return length < 0 ? (int)length : -EIO;
    }
    memcpy(leaf->tasks, fds + CGROUP_CONTROLLERS, sizeof leaf->tasks);
    memcpy(leaf->slot_tasks, fds + 2 * CGROUP_CONTROLLERS, sizeof leaf->slot_tasks);
    r = open_counters_v1(leaf, fds);
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        close(fds[i]);
    if (r < 0)
        snprintf(text, size, "counters of the control groups: %s", strerror(-r));
    return r;
}

/* --- v2 ---------------------------------------------------------------------------- */

/* Those of the keeper's hierarchy: all its controllers are v2's. */
static int limit_v2(int dir, const struct cgroup_limits *limits, struct error *err) {
    int r = 0;
    for (int i = 0; i < CGROUP_CONTROLLERS && r == 0; i++)
        r = cgroup_v2_limit(dir, i, limits, err);
    return r;
}

int leaf_prepare(int group, char *text, size_t size) {
    if (mkdirat(group, "keeper", 0755) < 0 && errno != EEXIST) {
        snprintf(text, size, "making the keeper's control group: %s", strerror(errno));
        return -errno;
    }
    int r = cgroup_write(group, "keeper/cgroup.procs", "0");
    if (r == 0)
        r = cgroup_write(group, "cgroup.subtree_control", "+memory +pids +cpu");
    if (r < 0)
        snprintf(text, size, "dividing the environment's control group: %s", strerror(-r));
    return r;
}

static int open_v2(struct leaf *leaf, int group, uint32_t number,
                   const struct cgroup_limits *limits, char *text, size_t size) {
    char name[16];
    leaf->v2 = true;
    if (number == LAUNCHER_ZYGOTE)
        snprintf(name, sizeof name, "zygote");
    else
        snprintf(name, sizeof name, "%u", number);
    if (mkdirat(group, name, 0755) < 0 && errno != EEXIST)
        goto failed;
    leaf->group = openat(group, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (leaf->group < 0)
        goto failed;
    struct error err;
    int r = limit_v2(leaf->group, limits, &err);
    if (r < 0) {
        snprintf(text, size, "control group %s of the environment: %.200s", name, err.message);
        return r;
    }
    leaf->processes = openat(leaf->group, "pids.current", O_RDONLY | O_CLOEXEC);
    leaf->cpu = openat(leaf->group, "cpu.stat", O_RDONLY | O_CLOEXEC);
    leaf->oom = openat(leaf->group, "memory.events", O_RDONLY | O_CLOEXEC);
    leaf->own = openat(leaf->group, "cgroup.procs", O_WRONLY | O_CLOEXEC);
    /* Written to from 6.12 on: tried, not told by the version. */
    leaf->peak = openat(leaf->group, "memory.peak", O_RDWR | O_CLOEXEC);
    if (leaf->peak < 0)
        leaf->peak = openat(leaf->group, "memory.peak", O_RDONLY | O_CLOEXEC);
    else
        leaf->peak_resets = write(leaf->peak, "r", 1) == 1;
    if (leaf->processes >= 0 && leaf->cpu >= 0 && leaf->oom >= 0 && leaf->own >= 0 &&
        leaf->peak >= 0)
        return 0;
failed:
    r = -errno;
    snprintf(text, size, "control group %s of the environment: %s", name, strerror(-r));
    return r;
}

/* --- both --------------------------------------------------------------------------- */

int leaf_open(struct leaf *leaf, int launcher, int group, uint32_t number,
              const struct cgroup_limits *limits, char *text, size_t size) {
    leaf_clear(leaf);
    int r = group >= 0 ? open_v2(leaf, group, number, limits, text, size)
                       : open_v1(leaf, launcher, number, text, size);
    if (r < 0)
        leaf_close(leaf);
    else
        leaf_oom(leaf);
    return r;
}

SYS_CHILD int leaf_enter(const struct leaf *leaf) {
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (leaf->tasks[i] >= 0) {
            long r = sys_call3(SYS_write, leaf->tasks[i], SYS_PTR("0"), 1);
            if (r < 0)
                return (int)r;
        }
    return 0;
}

pid_t leaf_fork(const struct leaf *leaf, uint64_t flags) {
    struct sys_clone clone = {.flags = flags, .exit_signal = SIGCHLD};
    if (leaf->v2) {
        clone.flags |= CLONE_INTO_CGROUP;
        clone.cgroup = (uint64_t)leaf->group;
    }
    return (pid_t)syscall(SYS_clone3, &clone, sizeof clone);
}

int leaf_move(const struct leaf *leaf, pid_t pid) {
    char text[16];
    int length = snprintf(text, sizeof text, "%d", (int)pid);
    return pwrite(leaf->own, text, (size_t)length, 0) < 0 ? -errno : 0;
}

/* The number after key, or the first one. */
static uint64_t read_number(int fd, const char *key) {
    char text[512];
    ssize_t length = pread(fd, text, sizeof text - 1, 0);
    if (length <= 0)
        return 0;
    text[length] = 0;
    const char *at = key ? strstr(text, key) : text;
    return at ? strtoull(at + (key ? strlen(key) : 0), NULL, 10) : 0;
}

int leaf_count(const struct leaf *leaf) {
    char text[24];
    ssize_t length = pread(leaf->processes, text, sizeof text - 1, 0);
    if (length <= 0)
        return length < 0 ? -errno : -EIO;
    text[length] = 0;
    return (int)strtol(text, NULL, 10);
}

uint64_t leaf_cpu_us(const struct leaf *leaf) {
    return leaf->v2 ? read_number(leaf->cpu, "usage_usec ") : read_number(leaf->cpu, NULL) / 1000;
}

uint64_t leaf_peak(const struct leaf *leaf) {
    return read_number(leaf->peak, NULL);
}

void leaf_reset_peak(struct leaf *leaf) {
    if (leaf->peak_resets && pwrite(leaf->peak, leaf->v2 ? "r" : "0", 1, 0) != 1)
        leaf->peak_resets = false;
}

bool leaf_oom(struct leaf *leaf) {
    uint64_t now = read_number(leaf->oom, "oom_kill ");
    bool rose = now > leaf->oom_seen;
    leaf->oom_seen = now;
    return rose;
}
