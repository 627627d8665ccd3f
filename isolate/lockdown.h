/* What the function's process gives up before its program starts: ids,
 * capabilities, limits, privileges to come. Raw system calls only: it runs in a
 * child that shares the launcher's memory. */
#ifndef FNRUN_LOCKDOWN_H
#define FNRUN_LOCKDOWN_H

#include <stdbool.h>
#include <stdint.h>

/* What may run at once for one user id in one user namespace besides the slot's own
 * processes: RLIMIT_NPROC counts them together. */
#define LOCKDOWN_PROCESS_MARGIN 64

struct lockdown {
    bool keep_groups; /* single-id form: setgroups is denied there */
    bool change_ids;  /* false in the single-id form: the id is the function's already */
    uint32_t id;      /* uid and gid inside */
    uint64_t open_files;
    uint64_t processes; /* RLIMIT_NPROC: a wide second line behind pids.max */
    uint64_t data;      /* RLIMIT_DATA in bytes; 0: unlimited (the cgroup limits memory) */
};

/* In order: groups, gid, bounding set, uid, capabilities, session, umask, rlimits,
 * no_new_privs. The filter comes after, by filter_load. *step names the step that
 * failed. Returns 0 or a negative errno. */
int lockdown_apply(const struct lockdown *lockdown, const char **step);

/* The rlimits alone. */
int lockdown_limits(const struct lockdown *lockdown);

/* The count (at most LOCKDOWN_DESCRIPTORS) descriptors become 0, 1, ...; all others are closed. The
 * table must be the caller's own. Returns 0 or a negative errno. */
#define LOCKDOWN_DESCRIPTORS 4
int lockdown_descriptors(const int *sources, int count);

/* Drops all capabilities but the kept ones (a bit each) from the bounding set. */
int lockdown_bounding(uint64_t kept);

/* Empties the five capability sets but the bounding one. */
int lockdown_capabilities(void);

/* Default dispositions for every signal and an empty mask: what a caller ignores
 * (nohup) is inherited by programs. */
void lockdown_signals(void);

/* For init: SIGCHLD ignored, so that the kernel reaps orphans. */
void lockdown_ignore_children(void);

#endif
