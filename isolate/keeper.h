/* What runner and keeper say to each other, over one SOCK_SEQPACKET socket (wire.h) and a
 * memory both have mapped. The keeper is PID 1 of an environment, trusted, root only in
 * the environment's user namespace; it builds the slots, holds the deadlines, kills,
 * cleans and proves. Every message starts with struct keeper_message.
 *
 * Two ways of running, chosen in the configuration and by what the keeper finds:
 *
 * KEEPER_FORK   a zygote has the code loaded; each slot holds a frozen copy of it that
 *               forks the process of one event (gate.h). The event lies in the shared
 *               memory, the reply is put there.
 * KEEPER_AHEAD  the program is started anew in each slot, which is used once (or for
 *               many events: isolation = environment). Runner and program talk over the
 *               program's own descriptors (runner/frame.h, or stdin and stdout); the
 *               keeper only times, kills and accounts.
 *
 * The shared memory is one memfd for the environment: slot N has `event_size +
 * response_size` bytes at N * (event_size + response_size), event first. The runner
 * copies a reply out before it looks at it; a function never sees this memory.
 *
 * A slot's life, as the runner sees it:
 *
 *     KEEPER_WANT        -> (building) -> KEEPER_READY
 *                           ahead: KEEPER_NEEDS first, answered by KEEPER_GIVE with the
 *                           descriptors 0, 1, 2 and (frames) 3 of the program
 *     KEEPER_EVENT       -> fork: KEEPER_RESULT (when the function answered), KEEPER_END
 *                        -> ahead: KEEPER_END, after KEEPER_CLOSE or by itself: that also
 *                        before KEEPER_EVENT, which then is not heard
 *     KEEPER_END         the event's process is dead and reaped; numbers. Then the slot is
 *                        cleaned and proven (KEEPER_READY again), or KEEPER_RETIRED
 *     KEEPER_RETIRED     it is gone, why; the keeper builds another if one is wanted
 */
#ifndef FNRUN_KEEPER_H
#define FNRUN_KEEPER_H

#include <stdint.h>

#define KEEPER_SLOTS 1000 /* at most in one environment */
#define KEEPER_TEXT  512  /* reasons, zero-terminated */

enum keeper_op {
    /* runner -> keeper */
    KEEPER_CONFIGURE = 1, /* length: of the configuration (struct keeper_config and its strings),
                           * which follows in messages of at most WIRE_MAX bytes of its own;
                           * descriptors: the shared memory, then the zygote's log (its 1 and
                           * 2, and those of trial runs) */
    KEEPER_WANT,          /* number: how many slots to hold from now on (0: none) */
    KEEPER_GIVE,          /* slot; three or four descriptors */
    KEEPER_EVENT,         /* slot; length: of the event in the memory (head lines included);
                           * deadline: us, CLOCK_MONOTONIC; number: 1 when the numbers so far
                           * shall come with KEEPER_RESULT; fork: one
                           * descriptor, which becomes 1 and 2 of the process */
    KEEPER_CANCEL,        /* slot: kill its event (the client went away) */
    KEEPER_CLOSE,         /* slot, ahead: the answer is complete, end it (in `number` ms the
                           * process may end by itself) */
    KEEPER_KEEP,          /* slot, ahead and environment: the answer is complete, the process
                           * stays for the next event -> KEEPER_END with KEEPER_KEPT */
    KEEPER_RETIRE,        /* slot, not in use: take it away */
    /* keeper -> runner */
    KEEPER_UP = 32, /* number: enum keeper_way; us: what loading took; text: why not forked,
                     * or "" */
    KEEPER_FAILED,  /* the code could not be loaded: number: enum keeper_end; status; length:
                     * of the error object in slot 0's response; text. The keeper ends. */
    KEEPER_NEEDS,   /* slot */
    KEEPER_READY,   /* slot; number: 1 when it was used before; us: what building or cleaning
                     * took */
    KEEPER_RESULT,  /* slot; number: GATE_RESULT or GATE_ERROR; length: of the reply in the
                     * memory; ended: us; cpu_us, peak, peak_exact where they were asked for */
    KEEPER_END,     /* slot; number: enum keeper_end; status; cpu_us, peak, peak_exact, ended */
    KEEPER_RETIRED, /* slot; number: enum keeper_trace; text; status: of its last process (it may
                     * have been killed for this), or a negative errno: the program could not be
                     * started (-EIO: for a reason that text tells) */
    KEEPER_TROUBLE, /* text: something of the environment failed (no slot can be built, the
                     * zygote died): the keeper ends next */
};

enum keeper_way { KEEPER_FORK, KEEPER_AHEAD };

enum keeper_end {
    KEEPER_ANSWERED,  /* fork: after KEEPER_RESULT; ahead: after KEEPER_CLOSE */
    KEEPER_EXITED,    /* the process ended by itself: status */
    KEEPER_TIMEOUT,   /* killed at its deadline (loading: at init) */
    KEEPER_OOM,       /* the memory limit: the group's own counter rose */
    KEEPER_CANCELLED, /* by KEEPER_CANCEL */
    KEEPER_TOO_LARGE, /* the reply was larger than response_size: length says how large */
    KEEPER_KEPT,      /* still there, for the next event */
    KEEPER_BROKEN,    /* it was killed because a trusted part of its slot died */
};

/* Why a slot was taken away. */
enum keeper_trace {
    KEEPER_USED_ONCE,  /* isolation = strict, or started ahead */
    KEEPER_UNWANTED,   /* KEEPER_WANT or KEEPER_RETIRE */
    KEEPER_REFRESHED,  /* built before the pages to touch were known */
    KEEPER_UNVERIFIED, /* the verification of slot or process failed: text */
    KEEPER_TRACE_OOM,
    KEEPER_TRACE_SOCKETS, /* a socket that was not AF_UNIX, or one still alive */
    KEEPER_TRACE_IPC,     /* System V or POSIX IPC */
    KEEPER_TRACE_AUTOGROUP,
    KEEPER_TRACE_TMP,       /* /tmp stays busy */
    KEEPER_TRACE_PROCESSES, /* something would not die */
    KEEPER_TRACE_DIED,      /* init or the frozen copy died */
    KEEPER_TRACES
};

struct keeper_message {
    uint32_t op; /* enum keeper_op */
    uint32_t slot;
    uint32_t number;
    int32_t status; /* wait(2)'s */
    uint64_t length;
    uint64_t deadline, us, ended; /* us; deadline and ended on CLOCK_MONOTONIC */
    uint64_t cpu_us, peak;        /* peak: bytes */
    uint32_t peak_exact;          /* 0: "at most" */
    uint32_t reserved;
    char text[KEEPER_TEXT]; /* only sent as far as needed: see keeper_length */
};

/* The configuration: this, then the strings, each zero-terminated: program, `arguments`
 * strings (argv[0] first), `environment`, `ahead_arguments` and `ahead_environment` strings:
 * the zygote's, and what is started in a slot where there is no zygote (the same program). */
struct keeper_config {
    uint32_t way;     /* enum keeper_way that is asked for; fork may become ahead */
    uint32_t channel; /* ahead: descriptor 3 is given (frames) */
    uint32_t reuse;   /* isolation = invocation: 1; strict: 0; see keep for environment */
    uint32_t keep;    /* isolation = environment: the process serves many events */
    uint32_t slots;   /* concurrency: numbers 0 to slots - 1 */
    uint32_t host_network;
    uint32_t arguments, environment, ahead_arguments, ahead_environment;
    uint32_t language; /* the zygote may be a child of the language zygote: see launcher.h */
    uint32_t reserved;
    uint64_t event_size, response_size;                           /* bytes, multiples of 4096 */
    uint64_t memory, processes, cpu_milli, tmp_bytes, open_files; /* of a slot */
    uint64_t init_ms;
    char host_name[65];
};
/* Bytes of a message to send: the text's end included. */
unsigned long keeper_length(const struct keeper_message *message);

const char *keeper_trace_text(unsigned trace);

#endif
