/* The `host` image: the machine's own /usr, the few files of /etc that programs
 * need, and nothing of /home, /root, /var, /run. This makes the prepared root: an
 * immutable tree of mount points, links and copied files in the run directory,
 * named by a digest of what went into it, made on first use and kept. Its owner
 * and mode are checked each time. slot.c attaches it and puts /usr, /proc, /dev,
 * /tmp and /var/task on it. */
#ifndef FNRUN_HOST_H
#define FNRUN_HOST_H

#include "isolate/error.h"

/* Returns in path (size bytes) the absolute path of an up-to-date prepared root,
 * and a descriptor that holds a shared lock on it: while somebody holds it, the
 * tree is not removed. run_dir: absolute, made by the caller (claim_open_run_dir).
 * runtimes: the folder with the language runtimes, copied to /var/runtime.
 *
 * An outdated tree that nobody holds is removed when a new one is made. Neither a
 * crash nor two callers at once leave a tree that is believed before it is whole.
 *
 * Returns the descriptor or a negative errno with err: -EPERM (the run directory,
 * its lock file or the tree has another owner or can be written by others), -ENOENT
 * (no runtimes folder), or what making the tree failed with. Not thread-safe. */
int host_image_open(const char *run_dir, const char *runtimes, char *path, unsigned long size,
                    struct error *err);

/* The same with another folder in the place of /etc, for tests. */
int host_image_open_from(const char *run_dir, const char *etc, const char *runtimes, char *path,
                         unsigned long size, struct error *err);

/* The directories of / besides /usr that have to be bound to the same place in the
 * tree, which has a mount point for each: on a machine whose /bin, /sbin and /lib*
 * are links into /usr there is none. Returns how many names were filled. */
int host_image_extra_mounts(char names[8][16]);

/* The entries of /etc that are copied where they exist and any user can read them,
 * NULL terminated, with * for any text: for doctor and the docs. */
extern const char *const host_image_etc[];

#endif
