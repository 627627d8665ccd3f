/* What is in a prepared root of the host image. host.c decides when one is made and
 * which is up to date. */
#ifndef FNRUN_HOST_TREE_H
#define FNRUN_HOST_TREE_H

#include "isolate/error.h"

/* Of / besides usr: where programs and libraries are, as links or directories. NULL
 * terminated. */
extern const char *const host_tree_top[];

/* Fills the empty directory `tree`: mount points, links, /dev's entries, made and
 * copied files of /etc, and the runtimes. etc: the directory (a descriptor) that is
 * copied as /etc; runtimes: that copied as /var/runtime. Returns 0 or a negative
 * errno with err; what was made so far is the caller's to remove. */
int host_tree_make(int tree, int etc, int runtimes, struct error *err);

/* Removes a tree of ours, of any state. Returns 0 (also when there is none) or a
 * negative errno. */
int host_tree_remove(int at, const char *name);

#endif
