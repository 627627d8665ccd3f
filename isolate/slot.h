/* A slot for one invocation: namespaces, ids, cgroups, root file system, init
 * and the function's process, built by slot_start, ended and read out
 * by slot_finish. Knows nothing of functions, HTTP or JSON.
 *
 * The order of the steps, and why it is that order, stands in slot.c. */
#ifndef FNRUN_SLOT_H
#define FNRUN_SLOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "isolate/cgroup.h"
#include "isolate/claim.h"
#include "isolate/error.h"
#include "isolate/idmap.h"

/* What the function's process gets besides 0, 1 and 2. */
#define SLOT_CHANNEL_FD 3

struct slot_spec {
    const char *host_name;            /* also shown by uname; 1 to 64 bytes */
    const char *root;                 /* absolute path of the prepared tree of mount points */
    char extra[8][16];                /* directories of / besides /usr to bind: "bin" ..., or "" */
    const char *task;                 /* absolute path of the folder or file put at /var/task */
    uint64_t task_device, task_inode; /* what task must be (fstat), checked when root starts it */
    const char *task_file;            /* task is a file: its name below /var/task; else NULL */
    bool host_network;                /* share the machine's network namespace */
    bool without_cgroups;             /* --limits=rlimit: rlimits stand in for them */
    const struct cgroup_layout *layout; /* where groups are made; NULL without_cgroups */
    struct cgroup_limits limits;
    uint64_t tmp_bytes;       /* size of the tmpfs behind /tmp and /dev/shm */
    uint64_t open_files;      /* RLIMIT_NOFILE */
    const char *program;      /* absolute path inside the sandbox */
    char *const *arguments;   /* NULL terminated */
    char *const *environment; /* NULL terminated */
    /* Descriptors of the caller that become 0, 1, 2 and SLOT_CHANNEL_FD (-1:
     * none) of the function's process. The caller keeps and closes its own. */
    int standard_input, standard_output, standard_error, channel;
};

struct slot_usage {
    uint64_t cpu_us;      /* user and system time of everything in the slot */
    uint64_t peak_memory; /* bytes; 0: not known */
    bool oom_killed;      /* the cgroup's own counter rose */
};

struct slot {
    bool prepared, furnished;
    int process;      /* pidfd of the function's process; readable when it has ended */
    pid_t process_id; /* in the caller's PID namespace, for wait4 */
    int init;         /* pidfd of the slot's PID 1 */
    pid_t init_id;
    struct claim claim; /* its host ids, and the record of its groups */
    struct idmap ids;
    struct cgroup groups;
};

/* Building can begin before the caller knows everything, so that the kernel works while
 * the caller reads and checks. Both are for root of the machine only, and not where the
 * control groups are v2's (they come first there): slot_start does what was not done.
 * After slot_prepare, slot_start or slot_finish must be called.
 *
 * slot_prepare: init and the network namespace. slot_furnish: ids and the root file
 * system; what it takes of spec are host_name, root, extra, task, task_file, tmp_bytes,
 * and their texts must stay until slot_start returns. Return 0 or a negative errno. */
int slot_prepare(struct slot *slot, struct error *err);
int slot_furnish(struct slot *slot, const struct slot_spec *spec, struct error *err);

/* Makes a slot of which nothing is there: slot_start and slot_finish take it. */
void slot_clear(struct slot *slot);

/* Builds the slot (cleared, prepared or furnished) and starts the program in it. Returns 0,
 * or a negative errno with err saying which step failed and what to do; nothing is left
 * then. *program_failed: all else was done and execve refused the program (the code is
 * execve(2)'s). */
int slot_start(struct slot *slot, const struct slot_spec *spec, bool *program_failed,
               struct error *err);

/* SIGKILL to everything in the slot, double-forked and stopped processes
 * included. Returns at once; may be called at any time and twice. */
void slot_kill(struct slot *slot);

/* Kills what is left, reaps, reads the counters, removes the groups, gives the
 * ids back. *status is the function process's wait status. Returns 0, or a
 * negative errno with err when something could not be removed. */
int slot_finish(struct slot *slot, int *status, struct slot_usage *usage, struct error *err);

#endif
