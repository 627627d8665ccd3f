/* What cgroup.c asks of the two kinds of hierarchy. Descriptors are directories
 * of groups; names are of files in them. */
#ifndef FNRUN_CGROUP_BACKEND_H
#define FNRUN_CGROUP_BACKEND_H

#include <sys/types.h>

#include "isolate/cgroup.h"

extern const char *const cgroup_names[CGROUP_CONTROLLERS]; /* "memory", ... */

#define CGROUP_CPU_PERIOD_US 100000 /* the kernel's own for a new group */

/* What thousandths of a core are in us of each period; 1,000 is the kernel's least. */
static inline uint64_t cgroup_cpu_quota(uint64_t milli) {
    uint64_t quota = milli * (CGROUP_CPU_PERIOD_US / 1000);
    return quota < 1000 ? 1000 : quota;
}

/* Whether word is one of the words of list, which separator, blanks or newlines part:
 * "cpu" is not one of "cpuset memory". */
bool cgroup_has_word(const char *list, const char *word, char separator);
/* The next number of a text of cgroup.procs, and past its line; 0 at the end. */
pid_t cgroup_next_pid(char **at);

/* Writes text to the file `name` in dir. 0 or a negative errno. */
int cgroup_write(int dir, const char *name, const char *text);
int cgroup_write_number(int dir, const char *name, uint64_t value);
/* Reads at most size - 1 bytes, zero-terminated. The length or a negative errno. */
int cgroup_read_file(int dir, const char *name, char *text, unsigned long size);
/* The number after `key ` in a flat keyed file; with key NULL the first number. */
int cgroup_read_number(int dir, const char *name, const char *key, uint64_t *value);
/* mkdirat and open; a leftover of the same name (the caller holds the claim on it)
 * is swept first. *fd is the directory. */
int cgroup_make_group(int parent, const char *parent_path, const char *name, int *fd,
                      struct error *err);

int cgroup_v1_make(struct cgroup *cg, int controller, const struct cgroup_limits *limits,
                   struct error *err);
/* Sets the limit that the controller has in the group of that directory. */
int cgroup_v2_limit(int dir, int controller, const struct cgroup_limits *limits, struct error *err);
int cgroup_v1_limit(int dir, int controller, const struct cgroup_limits *limits, struct error *err);
void cgroup_v1_read(struct cgroup *cg, uint64_t *peak, uint64_t *cpu_us, bool *oom_killed);

int cgroup_v2_usable(const struct cgroup_layout *layout, struct error *err);
int cgroup_v2_step_aside(struct cgroup *cg, struct error *err);
int cgroup_v2_make(struct cgroup *cg, const struct cgroup_limits *limits, struct error *err);
void cgroup_v2_read(struct cgroup *cg, uint64_t *peak, uint64_t *cpu_us, bool *oom_killed);
int cgroup_v2_remove(struct cgroup *cg, struct error *err);
/* The leaf that this process steps aside into while the slot `name` lives. Returns the
 * path's length or -ENAMETOOLONG. */
int cgroup_v2_leaf(const struct cgroup_layout *layout, const char *name, char *path,
                   unsigned long size);
bool cgroup_v2_is_leaf(const char *path);
/* Moves who is in the leaf at path to the group above. Returns 0, or -EBUSY where that has
 * other groups, whose limits it would lose. */
int cgroup_v2_leave(const char *path);
/* The group at path was left behind and has been removed. If it was such a leaf, its
 * parent gets back what cgroup_v2_make changed, so that processes may enter it again. */
void cgroup_v2_swept(const char *path);

#endif
