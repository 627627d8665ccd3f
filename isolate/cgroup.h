/* The control groups of one slot: memory (swap included), pids and cpu, each on
 * v1 or v2 as the machine has it, chosen per controller from
 * /proc/self/mountinfo and /proc/self/cgroup. cgroup_v1.c and cgroup_v2.c hold
 * what differs. The machine's hierarchies and other people's groups are never
 * remounted or touched: work is done below the group that this process is in, or
 * below a configured one.
 *
 * Sources: cgroups(7), the kernel's admin-guide/cgroup-v1 and cgroup-v2. */
#ifndef FNRUN_CGROUP_H
#define FNRUN_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "isolate/error.h"

enum cgroup_controller {
    CGROUP_MEMORY,
    CGROUP_PIDS,
    CGROUP_CPU,
    CGROUP_CPUACCT,
    CGROUP_CONTROLLERS
};

/* For errors: what to do where no group can be had. */
#define CGROUP_WAYS_OUT                                                                            \
    "sudo fnrun ...; systemd-run --user --scope -p Delegate=yes fnrun ...; a delegated group "     \
    "with --cgroup PATH; or --limits=rlimit to run without control groups"
/* The same for the daemon. */
#define CGROUP_DAEMON_WAYS_OUT                                                                     \
    "start fnrund as root; by its systemd unit; with systemd-run --user --scope -p "               \
    "Delegate=yes fnrund; or name a delegated group in fnrun.ini"

struct cgroup_limits {
    uint64_t memory;    /* bytes, swap included */
    uint64_t processes; /* tasks, threads included */
    uint64_t cpu_milli; /* thousandths of a core */
    bool is_sum;        /* of several slots': a group above may have less cpu than that */
};

struct cgroup_place { /* of one controller, or of v2 as a whole */
    int version;      /* 0: not there; 1; 2 */
    char parent[512]; /* absolute path of the directory the slot's group is made in */
};

/* Where groups can be made, found without making any. */
struct cgroup_layout {
    struct cgroup_place places[CGROUP_CONTROLLERS];
    char unified[512];     /* mount point of cgroup2, "" where there is none */
    char own_unified[512]; /* this process's own group there, absolute path */
    bool configured;       /* a group was named by the user: parents are below it */
    pid_t companion;       /* v2: a process of ours that may stand in the same group and steps
                            * aside with this one; 0: none */
};

struct cgroup {
    bool active;
    char name[64];                   /* of the group in each parent */
    int parents[CGROUP_CONTROLLERS]; /* directory descriptors, -EBADF where unused */
    int groups[CGROUP_CONTROLLERS];  /* v1 only */
    int tasks[CGROUP_CONTROLLERS];   /* v1: write "0" to move oneself */
    int unified_parent, into;        /* v2: parent and group (CLONE_INTO_CGROUP), or -EBADF */
    bool moved_self; /* v2: this process stands in a leaf that cgroup_remove undoes */
    bool enabled[CGROUP_CONTROLLERS]; /* v2: written to the parent's subtree_control by us */
    struct cgroup_layout layout;
};

/* What the machine offers to this caller. Returns 0 or a negative errno. */
int cgroup_find(struct cgroup_layout *layout, struct error *err);

/* The same, below the group that the user named: an absolute path under the
 * cgroup2 mount, or a path that is looked for in every hierarchy ("graders/a").
 * -ENOENT when a hierarchy lacks it. */
int cgroup_find_below(struct cgroup_layout *layout, const char *group, struct error *err);

/* Both of the above from the texts of /proc/self/mountinfo and /proc/self/cgroup;
 * group may be NULL. For tests. */
void cgroup_find_in(struct cgroup_layout *layout, const char *mountinfo, const char *groups,
                    const char *group);

/* Whether the controller is on v2 (one group serves all of them). */
bool cgroup_on_v2(const struct cgroup_layout *layout);

/* Whether groups can be made there: 0, or -EACCES, -EOPNOTSUPP (a controller is
 * missing), -EBUSY (v2 group holds other processes) with err naming the ways out. */
int cgroup_usable(const struct cgroup_layout *layout, struct error *err);

/* The paths that cgroup_make will make under `name`, a line each, for the claim's
 * record. Returns the length or -ENAMETOOLONG. */
int cgroup_paths(const struct cgroup_layout *layout, const char *name, char *lines,
                 unsigned long size);

/* Makes the groups and sets the limits. On failure nothing is left. */
int cgroup_make(struct cgroup *cg, const struct cgroup_layout *layout, const char *name,
                const struct cgroup_limits *limits, struct error *err);

/* The part of it that comes before any group, for a process that will make many: with v2 it
 * (and its companion) leaves its group for a leaf of its own, named after `name`, and the
 * controllers are enabled. cgroup_remove undoes it. */
int cgroup_step_aside(struct cgroup *cg, const struct cgroup_layout *layout, const char *name,
                      struct error *err);

/* Peak memory in bytes, cpu time in us (0 where no accounting group is there) and
 * whether the out-of-memory killer came, from the groups' own counters. */
void cgroup_read(struct cgroup *cg, uint64_t *peak_memory, uint64_t *cpu_us, bool *oom_killed);

/* Removes those v1 groups that nobody is in any more, without waiting. True when none
 * is left: then nothing can have been counted since cgroup_read. */
bool cgroup_remove_empty(struct cgroup *cg);

/* Removes the groups, waiting (at most 2 s) for their last task to be gone.
 * Returns 0 or a negative errno with err naming the group. */
int cgroup_remove(struct cgroup *cg, struct error *err);

/* Removes the group `name` of the directory and those below it, the deepest first, as far
 * as nobody is in them. Does not wait. Returns 0 (it is gone), -EBUSY, or another negative
 * errno. */
int cgroup_remove_tree(int parent, const char *name);

/* Kills what is in the group at path and in those below it, and removes them (2 s at most):
 * for leftovers. From a leaf that somebody stepped aside into nobody is killed: who is there
 * goes back to the group above. */
int cgroup_sweep(const char *path);

#endif
