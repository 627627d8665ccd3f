/* The root file system of a slot: the prepared tree, /usr, the function's folder,
 * all read-only; /proc of the slot's PID namespace, read-only and with what tells
 * of the machine masked; one size-limited tmpfs on /tmp (dev/shm leads there); a
 * /dev of a few nodes. Made by fd-based mount calls, in parts:
 *
 * root_open     clones the trees. root does it with the machine's own privilege (a folder
 *               in a 0700 home can be reached); an ordinary user may do it only inside
 *               the new user and mount namespaces.
 * root_attach   puts them together, all but /proc and /tmp.
 * root_pivot    makes that /.
 * root_mount_private   /proc and /tmp.
 *
 * A slot of one call has its own of everything: root_enter. An environment shares the
 * first three: its launcher does them before the environment's user namespace is made, so
 * that nobody in there can make them writable; each slot has only root_mount_private, in
 * its own PID and mount namespaces, done by the environment's keeper.
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
    const char *prepared; /* absolute path of the tree of mount points */
    const char *task;     /* absolute path; with task_is_open unused */
    bool task_is_open;    /* task_fd, of this mount namespace, is the folder or file */
    int task_fd;
    const char *task_file; /* task is a file to be shown under this name; else NULL */
    uint64_t tmp_bytes;
    const char (*extra)[16]; /* ROOT_EXTRA names of top-level directories to bind, or "" */
    bool own_devices;        /* the prepared tree has devices in its dev/ */
    bool privileged;         /* root_open runs as root of the machine */
    bool machine_proc;       /* the machine's own at /proc: without one in sight a new user
                              * namespace may not mount another. Slots put theirs over it */
};

struct root_trees {
    int prepared, usr, task;
    int dev;  /* with own_devices; else the nodes */
    int proc; /* with machine_proc */
    int extra[ROOT_EXTRA];
    int nodes[ROOT_NODES];
};

/* None open. */
extern const struct root_trees root_no_trees;

/* All descriptors are set, to -EBADF where unused. *step names what failed.
 * Returns 0 or a negative errno. */
int root_open(const struct root_spec *spec, struct root_trees *trees, const char **step);
void root_close(struct root_trees *trees);
int root_attach(const struct root_spec *spec, const struct root_trees *trees, const char **step);
int root_pivot(const struct root_trees *trees, const char **step);
/* root_attach, a /proc and a /tmp of the caller's PID and user namespaces, root_pivot. */
int root_enter(const struct root_spec *spec, const struct root_trees *trees, const char **step);

/* After root_pivot, in a mount namespace of the caller's own: a fresh /proc (read-only,
 * masked, hidepid=2) of the caller's PID namespace over what is at /proc, and a fresh tmpfs
 * (mode 1777, nosuid, nodev, noatime, of this many bytes) over what is at /tmp. Paths are
 * looked up from the caller's /. Return 0 or a negative errno with the step that failed. */
int root_mount_private(uint64_t tmp_bytes, const char **step);
int root_mount_tmp(uint64_t tmp_bytes, const char **step);

#endif
