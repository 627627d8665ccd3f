/* Experiments in forked children: what the kernel lets this user do is tried, not
 * read off a version. Each returns 0 or the negative errno that the step met;
 * -ECANCELED when the child was killed (by a seccomp filter around us, say).
 * Nothing is left behind: what a child makes ends with its namespaces. */
#ifndef FNRUN_PROBE_H
#define FNRUN_PROBE_H

#include <stddef.h>

#include "isolate/cgroup.h"
#include "isolate/error.h"

/* A namespace of this kind (CLONE_NEW...), made inside a new user namespace;
 * CLONE_NEWUSER: the user namespace itself, and that it gives capabilities. */
int probe_namespace(int flag);

/* A fresh /proc, mounted in new user, PID and mount namespaces. */
int probe_proc(void);

/* open_tree, mount_setattr and move_mount of a read-only copy of /usr. */
int probe_mount_calls(void);

/* An overlay on a tmpfs in a user namespace. */
int probe_overlay(void);

/* A seccomp filter's action (SECCOMP_RET_...). */
int probe_seccomp(unsigned action);

/* Makes a limited group as a call would, and removes it. err as from cgroup_usable
 * and cgroup_make. */
int probe_groups(const struct cgroup_layout *layout, struct error *err);

/* Has systemd put a child into a scope, which does the same there. *layout is what the
 * child found, and untouched where no scope could be had. err as from scope_make and
 * probe_groups. */
int probe_scope(struct cgroup_layout *layout, struct error *err);

/* Why a namespace could not be made, and the command that mends it, from the
 * errno and the settings under /proc/sys. kind: "user", "pid", "mnt", ... as in
 * /proc/sys/user/max_*_namespaces. */
void probe_explain(int error, const char *kind, char *hint, size_t size);

#endif
