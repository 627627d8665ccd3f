/* The control groups of one slot, or of the zygote, as the keeper has them: on v1 made by the
 * launcher, which hands their descriptors over; on v2 made by the keeper below its
 * environment's group. Counters are read through descriptors that stay open. */
#ifndef FNRUN_LEAF_H
#define FNRUN_LEAF_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "isolate/cgroup.h"

struct leaf {
    bool v2;
    int group;                          /* v2: its directory, for CLONE_INTO_CGROUP */
    int tasks[CGROUP_CONTROLLERS];      /* v1: init and trusted children write "0" */
    int slot_tasks[CGROUP_CONTROLLERS]; /* v1: for Z_s */
    int processes, peak, cpu, oom;      /* pids.current, ...max_usage, cpuacct.usage, oom_kill */
    int own;                            /* v2: cgroup.procs */
    bool peak_resets;
    uint64_t oom_seen;
};

void leaf_clear(struct leaf *leaf);
/* v1: asks the launcher for number's groups. v2 (group >= 0): makes `name` there. Returns 0 or
 * a negative errno, text worded. */
int leaf_open(struct leaf *leaf, int launcher, int group, uint32_t number,
              const struct cgroup_limits *limits, char *text, size_t size);
void leaf_close(struct leaf *leaf);

/* v2, once: the keeper leaves the environment's group for a leaf of it and turns controllers on. */
int leaf_prepare(int group, char *text, size_t size);

/* In a child that is to be limited: moves itself. On v2 nothing: CLONE_INTO_CGROUP did it.
 * Raw system calls only. */
int leaf_enter(const struct leaf *leaf);
/* fork(2) with flags of clone3(2), into the leaf where it is v2's; on v1 the child calls
 * leaf_enter. Returns as fork does. */
pid_t leaf_fork(const struct leaf *leaf, uint64_t flags);
/* v2: moves the (frozen) process. */
int leaf_move(const struct leaf *leaf, pid_t pid);

int leaf_count(const struct leaf *leaf); /* processes in it, or a negative errno */
uint64_t leaf_cpu_us(const struct leaf *leaf);
uint64_t leaf_peak(const struct leaf *leaf);
void leaf_reset_peak(struct leaf *leaf);
bool leaf_oom(struct leaf *leaf); /* whether the killer came since it was asked last */

#endif
