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
 * and a descriptor of it that holds a shared lock: while somebody holds it, the
 * tree is not removed. run_dir: made by the caller (claim_open_run_dir).
 * runtimes: the folder with the language runtimes, copied to /var/runtime.
 * Returns the descriptor or a negative errno with err. Not thread-safe. */
int host_image_open(const char *run_dir, const char *runtimes, char *path, unsigned long size,
                    struct error *err);

/* The entries of /etc that are copied, NULL terminated: for doctor and the docs. */
extern const char *const host_image_etc[];

#endif
