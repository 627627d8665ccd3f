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
 * An environment (one keeper, a zygote, many slots) has more of them: 0 is the keeper's,
 * 1000 the zygote's, 2000 and up the slots'. root gives it the ids of one block. Of an
 * ordinary user's range the first CLAIM_BLOCKS ids are those of single calls, one a claim,
 * and what follows is divided into blocks for environments: so one number of a claim, held
 * by the one or by the other, never leads to the same id.
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

/* Host ids of an environment. */
struct idmap_environment {
    uint32_t keeper_uid, keeper_gid; /* 0 inside */
    uint32_t zygote_uid, zygote_gid; /* IDMAP_ZYGOTE_ID inside */
    uint32_t slot_uid, slot_gid;     /* IDMAP_SLOT_ID inside; those of slot N are N higher */
};

#define IDMAP_ZYGOTE_ID 1000
#define IDMAP_SLOT_ID   2000
#define IDMAP_SLOTS     1000 /* at most in one environment */

/* How many claims of environments fit into the range: 0 where it is too small, or single. */
uint32_t idmap_environment_blocks(const struct idmap *ids);

/* block: below idmap_environment_blocks. */
void idmap_environment(const struct idmap *ids, uint32_t block,
                       struct idmap_environment *environment);

/* The host id that owns the user namespaces of environments and is used for nothing else:
 * the last one of the range, which no block's environment reaches. IDMAP_RANGE only:
 * otherwise the user's own. */
void idmap_language(const struct idmap *ids, uint32_t *uid, uint32_t *gid);

/* Writes the maps of an environment with so many slots (1 to IDMAP_SLOTS, and one for trial runs),
 * as idmap_write. -EOPNOTSUPP with err for IDMAP_SINGLE. */
int idmap_write_environment(const struct idmap *ids, uint32_t block, pid_t pid, uint32_t slots,
                            struct error *err);

/* The same ids for a user namespace below such a one: each as it is there. For a caller
 * that is root in the upper one. */
int idmap_write_nested(pid_t pid, uint32_t slots, struct error *err);

/* "ids from /etc/subuid", ... for doctor and REPORT. */
const char *idmap_kind_text(int kind);

#endif
