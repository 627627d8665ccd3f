/* What the parts of the keeper share: the environment, its zygote, its slots. Internal to
 * isolate/keeper_*.c, zygote.c, gate.c, kslot.c, proof.c, clean.c, ahead.c, leaf.c.
 *
 * A slot's stages, fork way:
 *
 *   EMPTY -> INIT (its init is building) -> WAITING (for the zygote's gate) -> COPYING (Z_s
 *   joins) -> FORKING (F on its way to its gate) -> READY -> RUNNING -> DYING (F killed, not
 *   reaped) -> FORKING ... or -> LEAVING (everything killed, not all reaped) -> EMPTY
 *
 * ahead: EMPTY -> INIT -> NEEDING (descriptors) -> STARTING -> READY -> RUNNING -> DYING ->
 * LEAVING -> EMPTY */
#ifndef FNRUN_KEEPER_CORE_H
#define FNRUN_KEEPER_CORE_H

#include <stdbool.h>
#include <stdint.h>
#include <linux/stat.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>

#include "isolate/gate.h"
#include "isolate/keeper.h"
#include "isolate/launcher.h"
#include "isolate/leaf.h"
#include "isolate/monotonic.h"

enum slot_stage {
    SLOT_EMPTY,
    SLOT_INIT,
    SLOT_WAITING,
    SLOT_COPYING,
    SLOT_FORKING,
    SLOT_NEEDING,
    SLOT_STARTING,
    SLOT_READY,
    SLOT_RUNNING,
    SLOT_DYING,
    SLOT_LEAVING,
};

#define SHARED_KNOWN 16 /* read-only file mappings that are MAP_SHARED: few */

struct shared_list { /* mappings that may be shared, each found harmless */
    unsigned count;
    struct {
        uint64_t start, end, inode;
    } known[SHARED_KNOWN];
};

struct kslot {
    uint32_t number;
    int stage; /* enum slot_stage */
    struct leaf leaf;
    bool has_leaf;

    pid_t init;                      /* PID 1 of the slot; 0: none */
    int control;                     /* socket to it */
    int namespaces[GATE_NAMESPACES]; /* pid, mnt, ipc, uts, cgroup, net */
    ino_t pid_inode;

    pid_t copy;   /* Z_s, or 0 */
    bool entered; /* it has its groups */
    bool frozen;  /* it waits in clone, notification copy_id */
    uint64_t copy_id;
    int copy_maps, copy_fds, copy_autogroup, tmp, sockets;
    struct shared_list shared;
    char autogroup[64];
    bool touches;          /* it was given the ranges */
    struct statx tmp_stat; /* of /tmp as it was made */
    struct statfs tmp_room;

    pid_t process; /* F or the started program */
    bool arrived;  /* F waits in its gate, notification process_id */
    uint64_t process_id, buffer, buffer_size;
    uint64_t event_length; /* announced, not handed in yet: GATE_MORE */
    bool trial;
    int given[4]; /* descriptors for it, or -EBADF */

    bool used;  /* has served an event */
    int taint;  /* enum keeper_trace, or -1 */
    int end;    /* enum keeper_end of the event that runs */
    int status; /* wait status, once reaped */
    uint64_t deadline, grace, began, cpu_before, ended;
    int spawn; /* ahead: pipe from the spawner */
    pid_t spawner;
    bool died_early; /* ahead: the program was reaped before its spawner had spoken */
    uint64_t reply_length;
    bool hurry;                     /* the runner wants the numbers with the result */
    struct keeper_message end_told; /* op 0: none; KEEPER_END that goes with the next message */
};

struct zygote {
    pid_t pid; /* 0: none */
    bool loaded, at_gate;
    uint64_t gate_id;
    struct kslot *making; /* the slot a Z_s is made for */
    bool cloned;          /* ... and its clone was let go */
    uint64_t deadline, began, loading_us;
    struct leaf leaf;
    struct shared_list shared;
    bool failing; /* killed: waits to be reaped */
    int end;      /* why: enum keeper_end */
};

struct keeper {
    struct keeper_config config;
    const char *program;
    char **arguments, **environment, **ahead_arguments, **ahead_environment;
    int way; /* enum keeper_way */
    char why_ahead[256];
    bool up;
    int poll, runner, launcher, group, listener, signals, null, log;
    unsigned char *memory; /* shared with the runner */
    uint64_t stride;       /* bytes of one slot in it */
    unsigned filters;      /* the keeper's own, inherited */
    bool counts_fds;       /* st_size of /proc/PID/fd is their number */
    uint32_t wanted;
    bool was_ready;      /* some slot was */
    unsigned failures;   /* verifications in a row that failed */
    struct kslot *slots; /* config.slots + 1: the last one is for the trial run */
    /* ahead, of each slot: the process that its spawner starts, written by the kernel before that
     * process runs. Shared with the spawners. */
    pid_t *spawned;
    struct zygote zygote;
    struct gate_range ranges[GATE_RANGES];
    unsigned range_count;
    bool learned, learning;
};

/* What a slot's leaf may have: init and the frozen copy are in it beside the function. */
static inline struct cgroup_limits keeper_leaf_limits(const struct keeper *k) {
    return (struct cgroup_limits){.memory = k->config.memory,
                                  .processes = k->config.processes + LAUNCHER_RESIDENTS,
                                  .cpu_milli = k->config.cpu_milli};
}

/* What both the zygote and its copies clone with: see gate.h. */
#define FORK_FLAGS (CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)

/* --- to the runner (keeper.c) --- */
void keeper_tell(struct keeper *k, const struct keeper_message *message);
/* KEEPER_END that was held back: see clean.c. */
void keeper_tell_end(struct keeper *k, struct kslot *slot);
void keeper_tell_op(struct keeper *k, uint32_t op, const struct kslot *slot, uint32_t number,
                    const char *text);
__attribute__((format(printf, 2, 3), noreturn)) void keeper_fail(struct keeper *k,
                                                                 const char *format, ...);

int keeper_run(void); /* never returns */
/* In a child: the keeper's better priority and its protection from the out-of-memory killer,
 * which it inherited, are given up. */
void keeper_be_ordinary(void);
void keeper_watch_slot(struct keeper *k, const struct kslot *slot, int fd, bool spawn);
void keeper_watch_listener(struct keeper *k);
/* Kills the process of a running event, for this reason; its end is told once it is reaped. */
void keeper_end_event(struct kslot *slot, int end);
/* The slot's process has been reaped. */
void keeper_process_reaped(struct keeper *k, struct kslot *slot, int status);

/* --- slots (kslot.c) --- */
void kslot_clear(struct kslot *slot);
/* It has BUILD_US from now on to be ready. */
void kslot_began(struct kslot *slot);
/* Begins to build it: EMPTY -> INIT. */
void kslot_build(struct keeper *k, struct kslot *slot);
/* Kills everything of it and reports; LEAVING until all is reaped. */
void kslot_retire(struct keeper *k, struct kslot *slot, int trace, const char *text);
/* It did not come to be: retired; the third time in a row this way is given up. */
void kslot_fail(struct keeper *k, struct kslot *slot, int trace, const char *why);
/* The same where the verification failed. */
void kslot_refuse(struct keeper *k, struct kslot *slot, const char *why);
/* Something came from its init, or it is gone. */
void kslot_init_ready(struct keeper *k, struct kslot *slot);
/* One command to init; those with an answer wait for it. Returns the answer or -EPIPE. */
int kslot_ask(struct kslot *slot, char op);
/* The frozen copy is let go once: it forks F. */
void kslot_release(struct keeper *k, struct kslot *slot);
void kslot_ready(struct keeper *k, struct kslot *slot);
/* Builds what is wanted, retires what is not. */
void kslot_balance(struct keeper *k);
struct kslot *kslot_of_namespace(struct keeper *k, pid_t pid);

/* --- the slot's init (kinit.c); never returns --- */
struct kinit {
    int control, listener;
    const struct leaf *leaf;
    bool host_network;
    uint64_t tmp_bytes;
    const char *host_name;
};
__attribute__((noreturn)) void kinit_main(const struct kinit *start);
enum {
    KINIT_GO = 'G',   /* with a notification's id: pid numbers from the start, then answer it */
    KINIT_KILL = 'K', /* everything but itself; answers 0 when nothing is left */
    KINIT_TMP = 'T',  /* a new /tmp; answers 0 or an errno */
};
struct kinit_command {
    uint64_t id;
    char op;
};

/* --- the zygote (zygote.c) --- */
void zygote_start(struct keeper *k);
void zygote_notified(struct keeper *k, uint64_t id, int nr, const uint64_t *args);
/* What a child of it asks for while the code is loaded. */
void zygote_child_notified(struct keeper *k, uint64_t id, int nr);
void zygote_reaped(struct keeper *k, int status);
/* KEEPER_UP: a process of it waits for an event, or it was given up. */
void zygote_is_up(struct keeper *k);
/* It cannot be forked: everything is started ahead from now on. */
void zygote_give_up(struct keeper *k, const char *why);
void zygote_overdue(struct keeper *k);
/* At its gate again: was the copy made that it was asked for, and does it live? */
void zygote_find_lost(struct keeper *k);
/* Its gate is free and a slot waits: asks it for a copy. */
void zygote_serve(struct keeper *k);

/* A zygote from the language zygote (language.c). Its number will be last_pid + 1. Sets
 * k->listener and returns its number, or -1: an interpreter is to be started. */
pid_t language_start(struct keeper *k, int last_pid);

/* --- notifications (gate.c) --- */
void gate_handle(struct keeper *k);
/* Some child of the keeper's, unknown by number, has ended: it may have been the copy or the
 * process of a slot before it was heard of. */
void gate_find_lost(struct keeper *k);
/* Answers; continue_: the kernel goes on with the call itself. */
int gate_answer(struct keeper *k, uint64_t id, int64_t value, int error, bool continue_);
int gate_place(struct keeper *k, uint64_t id, int fd, int at);
/* The event is in the shared memory: hands it to F with the descriptor of its log, and lets it
 * go. length: or GATE_TRIAL. */
void gate_give_event(struct keeper *k, struct kslot *slot, uint64_t length, int log);

/* --- verification (proof.c): 0, or -1 with why --- */
int proof_zygote(struct keeper *k, char *why, size_t size);
int proof_copy(struct keeper *k, struct kslot *slot, char *why, size_t size);
int proof_process(struct keeper *k, struct kslot *slot, char *why, size_t size);
unsigned proof_own_filters(void);
bool proof_counts_fds(void);

/* --- after an event (clean.c) --- */
void clean_note_tmp(struct kslot *slot);
/* F is reaped: what is left killed, numbers told, the slot proven and released again, or
 * retired. */
void clean_slot(struct keeper *k, struct kslot *slot);

/* --- started ahead (ahead.c) --- */
void ahead_start(struct keeper *k, struct kslot *slot);
void ahead_spawned(struct keeper *k, struct kslot *slot);

/* --- pages to touch (touch.c) --- */
void touch_learn(struct keeper *k, struct kslot *slot);

#endif
