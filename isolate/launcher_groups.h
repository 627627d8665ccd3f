/* The control groups of one environment: a group for all of it, whose limits are the sum of
 * the slots', and below it one leaf for the zygote and one for each slot.
 *
 * v1: the launcher makes the leaves, when the keeper asks, since only root can open their
 * files so that they move somebody. v2: the group is given to the keeper, who makes what is
 * below it; no deeper and no more than an environment needs. */
#ifndef FNRUN_LAUNCHER_GROUPS_H
#define FNRUN_LAUNCHER_GROUPS_H

#include <stdint.h>

#include "isolate/cgroup.h"
#include "isolate/error.h"
#include "isolate/idmap.h"
#include "isolate/launcher.h"

#define LAUNCHER_LEAF_FDS (3 * CGROUP_CONTROLLERS) /* see launcher.h for their order */

struct launcher_groups {
    struct cgroup all;
    struct cgroup_limits slot; /* of one leaf */
    struct idmap_environment ids;
    uint32_t slots;
};

/* Whether environments can be made in what the machine offers: cgroup_usable, and v1's only
 * for root, and not some controllers on v1 and some on v2. */
int launcher_groups_usable(const struct cgroup_layout *layout, struct error *err);

/* Makes the group called `name`. The request has been checked. On failure nothing is left. */
int launcher_groups_make(struct launcher_groups *groups, const struct cgroup_layout *layout,
                         const char *name, const struct launcher_make *request,
                         const struct idmap_environment *ids, struct error *err);

/* v1: makes (or opens again) the leaf of slot `number`, or of LAUNCHER_ZYGOTE. fds are the
 * caller's to close. -ERANGE: no such slot; -EOPNOTSUPP: v2. */
int launcher_groups_leaf(struct launcher_groups *groups, uint32_t number, int *fds,
                         struct error *err);

/* Removes them as far as nobody is in them, without waiting. 0: all are gone, and groups is
 * closed; -EBUSY; another negative errno with err. */
int launcher_groups_remove(struct launcher_groups *groups, struct error *err);

/* Gives up: what is left is for the next sweep of the claim. */
void launcher_groups_close(struct launcher_groups *groups);

#endif
