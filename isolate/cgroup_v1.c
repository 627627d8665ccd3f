/* cgroup v1: one group a controller, each in its own hierarchy. A process enters
 * by writing "0" to `tasks` itself: 56 us for all of them, where a pid written to
 * cgroup.procs waits for an RCU grace period (7 to 18 ms on an idle machine). */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "isolate/cgroup_backend.h"
#include "isolate/cleanup.h"

static int failed(int r, int controller, const char *file, struct error *err) {
    return error_set(err, r, "the %s limit cannot be set (%s): %s", cgroup_names[controller], file,
                     strerror(-r));
}

/* Memory and swap together. Where the kernel does not account swap, the group is
 * told not to use it. */
static int limit_memory(int dir, uint64_t bytes, struct error *err) {
    int r = cgroup_write_number(dir, "memory.limit_in_bytes", bytes);
    if (r < 0)
        return failed(r, CGROUP_MEMORY, "memory.limit_in_bytes", err);
    r = cgroup_write_number(dir, "memory.memsw.limit_in_bytes", bytes);
    if (r == -ENOENT)
        r = cgroup_write(dir, "memory.swappiness", "0");
    if (r < 0)
        return failed(r, CGROUP_MEMORY, "memory.memsw.limit_in_bytes", err);
    /* Buffers of TCP and UDP sockets are counted apart, and without a limit not at all: a
     * part of the memory, beside it (which a function that lets them fill may have more). */
    r = cgroup_write_number(dir, "memory.kmem.tcp.limit_in_bytes", bytes / 8);
    return r < 0 && r != -ENOENT ? failed(r, CGROUP_MEMORY, "memory.kmem.tcp.limit_in_bytes", err)
                                 : 0;
}

static int limit_cpu(int dir, const struct cgroup_limits *limits, struct error *err) {
    int r = cgroup_write_number(dir, "cpu.cfs_quota_us", cgroup_cpu_quota(limits->cpu_milli));
    /* More than a group above has is refused here, where v2 takes the less of both. */
    if (r == -EINVAL && limits->is_sum)
        return 0;
    return r < 0 ? failed(r, CGROUP_CPU, "cpu.cfs_quota_us", err) : 0;
}

int cgroup_v1_limit(int dir, int controller, const struct cgroup_limits *limits,
                    struct error *err) {
    int r = 0;
    switch (controller) {
    case CGROUP_MEMORY:
        return limit_memory(dir, limits->memory, err);
    case CGROUP_PIDS:
        r = cgroup_write_number(dir, "pids.max", limits->processes);
        return r < 0 ? failed(r, controller, "pids.max", err) : 0;
    case CGROUP_CPU:
        return limit_cpu(dir, limits, err);
    default:
        return 0;
    }
}

/* Two controllers mounted together (cpu,cpuacct) share one directory. */
static bool shares_earlier(const struct cgroup *cg, int controller) {
    for (int i = 0; i < controller; i++)
        if (cg->layout.places[i].version == 1 &&
            strcmp(cg->layout.places[i].parent, cg->layout.places[controller].parent) == 0)
            return true;
    return false;
}

int cgroup_v1_make(struct cgroup *cg, int controller, const struct cgroup_limits *limits,
                   struct error *err) {
    const char *parent = cg->layout.places[controller].parent;
    if (shares_earlier(cg, controller))
        return 0;
    cg->parents[controller] = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (cg->parents[controller] < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", parent, strerror(errno));
    int r =
        cgroup_make_group(cg->parents[controller], parent, cg->name, &cg->groups[controller], err);
    if (r < 0)
        return r;
    int dir = cg->groups[controller];
    r = cgroup_v1_limit(dir, controller, limits, err);
    if (r < 0)
        return r;
    cg->tasks[controller] = openat(dir, "tasks", O_WRONLY | O_CLOEXEC);
    if (cg->tasks[controller] < 0)
        return error_set(err, -errno, "%s/%s/tasks cannot be opened: %s", parent, cg->name,
                         strerror(errno));
    return 0;
}

void cgroup_v1_read(struct cgroup *cg, uint64_t *peak, uint64_t *cpu_us, bool *oom_killed) {
    uint64_t value;
    int memory = cg->groups[CGROUP_MEMORY];
    if (memory >= 0) {
        if (cgroup_read_number(memory, "memory.memsw.max_usage_in_bytes", NULL, peak) < 0)
            cgroup_read_number(memory, "memory.max_usage_in_bytes", NULL, peak);
        if (cgroup_read_number(memory, "memory.oom_control", "oom_kill", &value) == 0 && value)
            *oom_killed = true;
    }
    int cpu = cg->groups[CGROUP_CPUACCT] >= 0 ? cg->groups[CGROUP_CPUACCT] : cg->groups[CGROUP_CPU];
    if (cpu >= 0 && cgroup_read_number(cpu, "cpuacct.usage", NULL, &value) == 0)
        *cpu_us = value / 1000;
}
