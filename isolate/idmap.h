/* Which host ids a slot's id 0 (init) and its function's id become.
 *
 * root:          two ids from a block of the range that /etc/subuid and
 *                /etc/subgid reserve for the owner `fnrun`; an overlap with
 *                another owner's range is an error.
 * ordinary user: id 0 is the user; the function's is from the user's own range,
 *                by newuidmap and newgidmap;
 * single:        where those are missing: one id, the user's own, is the
 *                function's (its processes are then the user's to the kernel, and
 *                supplementary groups cannot be dropped; said in REPORT).
 *
 * Sources: user_namespaces(7), subuid(5), newuidmap(1). */
#ifndef FNRUN_IDMAP_H
#define FNRUN_IDMAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "isolate/error.h"

#define IDMAP_OWNER       "fnrun" /* of the reserved range */
#define IDMAP_BLOCK       1024    /* ids in one claimable block */
#define IDMAP_FUNCTION_ID 1000    /* uid and gid of slot 0's function, inside */

enum idmap_kind { IDMAP_RANGE, IDMAP_SUBORDINATE, IDMAP_SINGLE };

struct idmap {
    int kind;                      /* enum idmap_kind */
    uint32_t uid_start, uid_count; /* the whole range that may be used */
    uint32_t gid_start, gid_count;
    uint32_t blocks;      /* how many claims fit: 1 or more */
    char why_single[256]; /* IDMAP_SINGLE: what is missing and how to get it */
};

/* Finds out which form this caller can have. Returns 0; -ENOENT (root: nothing
 * reserved), -EEXIST (overlap), -EINVAL (a broken line), with err saying which
 * line of which file and the command that mends it. */
int idmap_find(struct idmap *ids, struct error *err);

/* The same for the user euid, with another folder in the place of /etc: for tests. */
int idmap_find_from(struct idmap *ids, const char *etc, uid_t euid, struct error *err);

/* Writes the maps of the process pid, whose user namespace is new, for block
 * number `block`. For IDMAP_SUBORDINATE it runs newuidmap and newgidmap. */
int idmap_write(const struct idmap *ids, uint32_t block, pid_t pid, struct error *err);

/* "ids from /etc/subuid", ... for doctor and REPORT. */
const char *idmap_kind_text(int kind);

#endif
