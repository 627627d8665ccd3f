/* Who fnrund is: started as root it becomes an ordinary user before it serves anybody; only the
 * launcher, started before, stays root. Uses NSS: fnrund is a dynamic program. */
#ifndef FNRUN_PRIVILEGES_H
#define FNRUN_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

#include "isolate/error.h"

struct identity {
    char name[64]; /* for messages */
    uid_t uid;
    gid_t gid;
    bool drop; /* it is another than the caller's: privileges_drop is needed */
};

/* What fnrund becomes: `user` when it was started as root, itself otherwise. Returns 0; -ENOENT
 * (no such user; err says how to make one), -EINVAL (root itself), all with err. */
int privileges_find(const char *user, struct identity *identity, struct error *err);

/* A group's number. Returns 0 or a negative errno with err. */
int privileges_group(const char *name, gid_t *gid, struct error *err);

/* For good: groups, ids, no_new_privs (which is set in any case). Returns 0 or a negative errno
 * with err: the caller must end then. */
int privileges_drop(const struct identity *identity, struct error *err);

#endif
