/* The gate: one reserved system call number by which the code of a language runtime
 * talks to the keeper. The zygote's filter turns the call into a notification; while
 * it is not answered the caller executes nothing. Shared by isolate/ and the language
 * side in images/runtimes/, so: numbers only, no other header.
 *
 *     long gate(op, a, b, c)       syscall(GATE_CALL, op, a, b, c)
 *
 * The life of the three processes (isolate/keeper.h has the other half):
 *
 * Z, the zygote, loads the function's code, prepares (collects garbage, one plain fork
 * and wait, freezes its heap, flushes), then waits in GATE_ZYGOTE. Where the code could
 * not be loaded it calls GATE_FAILED with an error object instead. Each answer v >= 0 of
 * GATE_ZYGOTE asks for one Z_s: GATE_SLOT_ID(v) is the uid and gid it takes, and the
 * descriptors GATE_NAMESPACE_FD + 0 to 5 are the namespaces it joins, in this order: pid,
 * mnt, ipc, uts, cgroup, net (the last is absent when GATE_SHARED_NETWORK is set in v).
 * Z then clones (flags exactly CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID |
 * SIGCHLD), closes those descriptors, and waits again.
 *
 * Z_s, its copy, joins the namespaces (each by setns with the exact CLONE_NEW* flag),
 * takes gid and uid (setresgid, setresuid), PR_SET_DUMPABLE 1, its own session (setsid),
 * and calls GATE_ENTER(buffer, size): the answer is the number of bytes of `struct
 * gate_range`s put into buffer (pages to touch, may be 0), and descriptors GATE_TASKS_FD
 * onward may have been placed, GATE_TASKS_COUNT(answer) of them: Z_s writes "0" into each
 * to move itself. Then it empties its capability sets (capset, ambient too), closes every
 * descriptor, and clones F with those same flags: that clone is its gate. It stays in it,
 * frozen, between invocations; when it returns the parent side, it clones again.
 *
 * F, the process of one event: PR_SET_DUMPABLE 1, setpgid(0, 0), PR_SET_PDEATHSIG not (it
 * is the keeper's child already), the interpreter's after-fork work, reseeding, touching
 * the ranges (madvise MADV_POPULATE_WRITE), /dev/null as descriptor 0, then GATE_EVENT(buffer,
 * size). Descriptor 1, the log, comes with the event; F makes 2 its copy. Then the handler; F
 * flushes its output and calls GATE_REPLY, from which it never returns: it is killed there.
 *
 * A negative answer of any of these means: end (_exit). */
#ifndef FNRUN_GATE_H
#define FNRUN_GATE_H

#define GATE_CALL 1000 /* no architecture has it; the ordinary filter answers ENOSYS */

/* Z. -> v, see above. */
#define GATE_ZYGOTE 1
/* Z: (text, length, kind): the code could not be loaded. text is an error object (JSON).
 * Ends the zygote. */
#define GATE_FAILED 2
/* Z_s: (buffer, size) -> bytes of ranges | count of descriptors << 32. */
#define GATE_ENTER 3
/* F: (buffer, size) -> 1 (the descriptor that has come: the kernel hands it over and wakes F in
 * one step, where each that is only put there would be a turn of its own for F). In buffer: an
 * unsigned long, the length; then so many bytes: "key: value\n" lines, an empty line, the
 * event's bytes (as in runner/frame.h, FRAME_EVENT). When that is longer than the room,
 * nothing follows the length: F calls GATE_MORE with room for all of it. With GATE_TRIAL set
 * in the length there is no event: F runs one of the runtime's own (never user code), and
 * calls GATE_REPLY with no bytes. */
#define GATE_EVENT 4
#define GATE_MORE  5
/* F: (data, length, kind). */
#define GATE_REPLY 6

/* kind of a reply. */
#define GATE_RESULT 0
#define GATE_ERROR  1 /* data is an error object: {"errorMessage","errorType",...} */

#define GATE_NAMESPACES     6
#define GATE_NAMESPACE_FD   10 /* 10 to 15 */
#define GATE_TASKS_FD       20 /* 20 to 23 */
#define GATE_SHARED_NETWORK (1L << 30)
#define GATE_SLOT_ID(v)     ((v)&0xffffffL)
#define GATE_RANGE_BYTES(v) ((v)&0xffffffffL)
#define GATE_TASKS_COUNT(v) ((v) >> 32)
#define GATE_TRIAL          (1L << 62)

/* Pages that F touches before its event. */
struct gate_range {
    unsigned long start, length; /* bytes, whole pages */
};
#define GATE_RANGES 2048 /* at most */

/* Environment variable of the zygote's program: "1". Without it the runtime speaks
 * frames on descriptor 3 (runner/frame.h). */
#define GATE_VARIABLE "FNRUN_GATE"
/* Frames: "1" when the process serves many events, one after the other, until end of
 * file: EVENT, RESULT or ERROR, EVENT, ... (isolation = environment). */
#define SERVE_VARIABLE "FNRUN_SERVE"

#endif
