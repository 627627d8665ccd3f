/* What runner and launcher say to each other. The launcher is the one privileged process:
 * it makes environments (ids, control groups, image, namespaces) and hands their keepers'
 * sockets to nobody: the runner makes the socketpair and sends one end along. It is started
 * by fnrund with the socket as descriptor 3 and these arguments:
 *
 *     fnrun-launcher STORE RUN_DIR RUNTIMES [CGROUP [KEEPER]]
 *
 * STORE: the folder with versions (it opens STORE/versions/DIGEST and nothing else for
 * functions); RUN_DIR: prepared root and claims; RUNTIMES: the language side; CGROUP:
 * where groups are made ("" or absent: below its own); KEEPER: the keeper's program, for
 * tests (absent: fnrun-keeper beside this one). When the runner is gone it ends all
 * environments, removes what it made, and ends. Its own death ends all keepers.
 *
 * It believes nothing: every field is checked against bounds, the digest's form included. */
#ifndef FNRUN_LAUNCHER_H
#define FNRUN_LAUNCHER_H

#include <stdint.h>

#define LAUNCHER_SOCKET_FD 3
#define LAUNCHER_DIGEST    64 /* lower-case hexadecimal */
#define LAUNCHER_TEXT      512

enum launcher_op {
    /* runner -> launcher */
    LAUNCHER_MAKE = 1, /* struct launcher_make; one descriptor: the keeper's socket end */
    LAUNCHER_KILL,     /* id: at once */
    /* launcher -> runner */
    LAUNCHER_HELLO = 32, /* it is ready: text: how ids and limits are made; else (code < 0)
                          * why it cannot work, and it ends */
    LAUNCHER_MADE,       /* id; pid of the keeper */
    LAUNCHER_REFUSED,    /* id; code: negative errno; text */
    LAUNCHER_GONE,       /* id: the keeper ended and everything of it is removed; code: its wait
                          * status */
};

struct launcher_make {
    uint32_t op, id; /* id: the runner's number, not 0 */
    char digest[LAUNCHER_DIGEST + 1];
    char task_file[129]; /* a single-file function: its name in the version's folder; else "" */
    char name[65];       /* the function's, for messages */
    uint32_t slots;      /* 1 to KEEPER_SLOTS */
    uint32_t host_network;
    uint64_t memory, processes, cpu_milli, tmp_bytes; /* of one slot */
};

struct launcher_message {
    uint32_t op, id;
    int32_t code, pid;
    char text[LAUNCHER_TEXT];
};

/* --- what the keeper starts with ---------------------------------------------------------
 *
 * PID 1 of its namespace and root of its user namespace, all capabilities there; no
 * environment variables, no descriptor but those below (0, 1 and 2 are closed), / as its
 * directory, umask 022, default signals, a session of its own; RLIMIT_NOFILE as high as it
 * goes. It stands in the environment's groups. Nice value -5 and oom_score_adj -500 where
 * the launcher may set them: its children inherit both, and it sets them back in those.
 * /proc is the machine's (what a slot sees is put over it, see root.h); /tmp, and all else,
 * is read-only and cannot be made writable. It dies with the launcher, as long as it does
 * not change its ids; everything in its PID namespace dies with it. */

/* --- launcher and keeper: descriptor 4 of the keeper ------------------------------------
 *
 * Only where control groups are v1's: their files are opened by the launcher. The keeper
 * sends the number of a slot (uint32_t) or LAUNCHER_ZYGOTE for the zygote's leaf, whose
 * limits are a slot's; the launcher makes its groups (once), sets limits, gives the files
 * that reset peaks to the keeper's host id, and answers
 * with the same number and, as descriptors, in this order:
 *
 *     CGROUP_CONTROLLERS times the group's directory (O_PATH is not enough: O_RDONLY),
 *     for memory, pids, cpu, cpuacct;
 *     the same number of `tasks`, opened as root: for the slot's init;
 *     the same number of `tasks`, opened with the slot's own host id: for Z_s.
 *
 * Where two controllers share a directory (cpu,cpuacct) it is sent twice. The directories are
 * mounts of their own: nothing is above them. Asked again, the same groups are opened again.
 * Questions are answered one after the other; any number may be under way. A failure is
 * answered with no descriptors and a struct launcher_message. */
#define KEEPER_RUNNER_FD   3
#define KEEPER_LAUNCHER_FD 4
/* Slots beyond those of struct launcher_make, for the keeper's trial run. */
#define LAUNCHER_TRIAL 1
/* Processes in a slot's groups beside the function's. */
#define LAUNCHER_RESIDENTS 2
/* v2: the environment's group (a directory, delegated to the keeper, which stands in it
 * when it starts); not open where controllers are v1's. */
#define KEEPER_CGROUP_FD 5
#define LAUNCHER_ZYGOTE  0xffffffffu
/* Bytes for each slot that the zygote's leaf may have beside a slot's memory: the page tables of
 * its copies are charged to it. */
#define ZYGOTE_COPY (2ULL << 20)

/* --- the language zygote ----------------------------------------------------------------
 *
 * One Python with the runtime's support and much of the standard library loaded, and no
 * user's code ever, started by the launcher as the owner of the environments' user
 * namespaces: a host id used for nothing else, outside all of them. A keeper that wants a
 * zygote sends LAUNCHER_LANGUAGE in the place of a slot's number, with descriptors:
 *
 *     namespaces user, pid, mnt, ipc, uts, cgroup, net (not with a shared network);
 *     one end of a SOCK_SEQPACKET channel;
 *     CGROUP_CONTROLLERS times `tasks` of the zygote's leaf (v1)
 *
 * The launcher hands struct language_request and all descriptors on, once for each environment
 * (or closes them where there is no such zygote: the keeper sees the channel's end and starts
 * an interpreter itself). A child of the language zygote, forked before it was asked, joins
 * the namespaces and forks twice more there (so that the zygote is the keeper's). The
 * zygote writes "0" into each of tasks, and reads from the channel:
 *
 *     struct language_start with one descriptor, the zygote's log (its 1 and 2; 0 is
 *     /dev/null); then a message of `filter` bytes (struct sock_filter), then `environment`
 *     bytes in messages of at most WIRE_MAX: strings, each zero-terminated
 *
 * It becomes ENVIRONMENT_ZYGOTE_ID with four capabilities (CAP_SYS_ADMIN, CAP_SYS_CHROOT,
 * CAP_SETUID, CAP_SETGID: no others), its own session, no_new_privs, loads the filter with a
 * listener, sends one byte and the listener, closes everything but 0, 1 and 2, and is then
 * what bootstrap.py is with GATE_VARIABLE set: it loads the function. */
#define LAUNCHER_LANGUAGE 0xfffffffeu
struct language_request {
    uint32_t number;         /* LAUNCHER_LANGUAGE */
    uint32_t shared_network; /* 1: no network namespace is given, it stays in the machine's */
};
struct language_start {
    uint32_t filter, environment;   /* bytes */
    uint64_t open_files, processes; /* its RLIMIT_NOFILE and RLIMIT_NPROC */
};
/* The language zygote says this byte on its socket when requests can be sent. */
#define LANGUAGE_READY 1
/* Environment variable of the language zygote's program: "1"; its socket is descriptor 3. */
#define LANGUAGE_VARIABLE "FNRUN_LANGUAGE"

/* Ids inside an environment's user namespace. */
#define ENVIRONMENT_ZYGOTE_ID 1000
#define ENVIRONMENT_SLOT_ID   2000 /* + slot number */

#endif
