/* The root file system of a slot: the prepared tree, /usr, the function's folder,
 * all read-only; /proc of the slot's PID namespace, read-only and with what tells
 * of the machine masked; one size-limited tmpfs on /tmp (dev/shm leads there); a
 * /dev of a few nodes. Made by fd-based mount calls in two halves:
 *
 * root_open   clones the trees. root does it in the launcher, with the machine's
 *             own privilege (a folder in a 0700 home can be reached); an ordinary
 *             user may do it only inside the new user and mount namespaces.
 * root_enter  attaches them inside the slot and makes them /.
 *
 * Raw system calls only: both may run in a child that shares the launcher's
 * memory. Sources: mount_setattr(2), open_tree and move_mount, pivot_root(2). */
#ifndef FNRUN_ROOT_H
#define FNRUN_ROOT_H

#include <stdbool.h>
#include <stdint.h>

#define ROOT_EXTRA 8 /* /bin, /lib, ... where they are no links into /usr */
#define ROOT_NODES 5

struct root_spec {
    const char *prepared;  /* absolute path of the tree of mount points */
    const char *task;      /* absolute path */
    const char *task_file; /* task is a file to be shown under this name; else NULL */
    uint64_t tmp_bytes;
    const char (*extra)[16]; /* ROOT_EXTRA names of top-level directories to bind, or "" */
    bool own_devices;        /* the prepared tree has devices in its dev/ */
    bool privileged;         /* root_open runs as root of the machine */
};

struct root_trees {
    int prepared, usr, task;
    int dev; /* with own_devices; else the nodes */
    int extra[ROOT_EXTRA];
    int nodes[ROOT_NODES];
};

/* None open. */
extern const struct root_trees root_no_trees;

/* All descriptors are set, to -EBADF where unused. *step names what failed.
 * Returns 0 or a negative errno. */
int root_open(const struct root_spec *spec, struct root_trees *trees, const char **step);
void root_close(struct root_trees *trees);
int root_enter(const struct root_spec *spec, const struct root_trees *trees, const char **step);

#endif
