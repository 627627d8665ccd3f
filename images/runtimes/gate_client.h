/* The language side's half of isolate/gate.h: how a process that has the code loaded
 * becomes Z, each of its copies Z_s, and each of theirs F. Shared by the native loader and
 * the python module, so: raw system calls, static storage of the caller's, and no libc.
 *
 * From the first clone to gate_become_event's return nothing else runs. That is needed in
 * Z_s, which has neither descriptors nor a usable libc (its thread id is another's), and it
 * is cheap in Z and Z_s: every page that they write is copied for every F that lives. */
#ifndef FNRUN_GATE_CLIENT_H
#define FNRUN_GATE_CLIENT_H

#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#include "isolate/gate.h"
#include "isolate/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* not in every libc's headers */
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; not in every libc's headers */
#endif
#define GATE_HUGE       (2l << 20) /* bytes */
#define GATE_HUGE_PAGES 2048       /* at most */
/* libc's and the kernel's headers define the names, and not together. */
#define GATE_SIGCHLD  17
#define GATE_F_GETFD  1
#define GATE_AT_FDCWD (-100)
#define GATE_CLONE_FLAGS                                                                           \
    ((long)(CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | GATE_SIGCHLD))

/* Exit statuses of a Z_s that could not be made. */
enum gate_exit_status {
    GATE_EXIT_NAMESPACE = 50, /* and the five after it */
    GATE_EXIT_FOLDER = 56,
    GATE_EXIT_IDS,
    GATE_EXIT_TASKS,
    GATE_EXIT_CAPABILITIES,
    GATE_EXIT_CLONE,
};

/* Large: keep it in static storage. */
struct gate_client {
    long tid_address; /* of libc's own thread id */
    long robust_head, robust_length;
    char folder[4096];   /* the working folder, which joining a mount namespace leaves */
    unsigned huge_count; /* pages to collapse once the first copy is made: addresses */
    unsigned long huge[GATE_HUGE_PAGES];
    unsigned long ranges_length;
    struct gate_range ranges[GATE_RANGES];
};

/* None of these touches errno, which is a thread's. */
static inline long gate_syscall(long number, long a, long b, long c, long d, long e) {
    return sys_call5(number, a, b, c, d, e);
}

#if defined __x86_64__
/* Clones until it returns in a child (0) or fails (negative errno). What the parent does is
 * all in registers: it writes no page that the child would then have to copy. */
static inline long gate_clone_forever(long tid_address) {
    long result;
    register long r10 __asm__("r10") = tid_address;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("1: mov %[number], %%eax\n\t"
                     "syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jg 1b"
                     : "=&a"(result)
                     : [number] "i"(__NR_clone), "D"(GATE_CLONE_FLAGS), "S"(0L), "d"(0L), "r"(r10),
                       "r"(r8)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

static inline long gate_clone(long tid_address) {
    return gate_syscall(__NR_clone, GATE_CLONE_FLAGS, 0, 0, tid_address, 0);
}
#elif defined __aarch64__
/* As on x86-64. clone takes tls before the thread id's address here. */
static inline long gate_clone_forever(long tid_address) {
    register long x8 __asm__("x8") = __NR_clone;
    register long x0 __asm__("x0");
    register long x1 __asm__("x1") = 0;
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = 0;
    register long x4 __asm__("x4") = tid_address;
    __asm__ volatile("1: mov x0, %[flags]\n\t"
                     "svc 0\n\t"
                     "cmp x0, #0\n\t"
                     "b.gt 1b"
                     : "=&r"(x0)
                     : [flags] "r"(GATE_CLONE_FLAGS), "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4)
                     : "memory", "cc");
    return x0;
}

static inline long gate_clone(long tid_address) {
    return gate_syscall(__NR_clone, GATE_CLONE_FLAGS, 0, 0, 0, tid_address);
}
#else
#error "the gate's system calls are written for x86-64 and aarch64"
#endif

/* Until the keeper has taken the call, a signal of the function's own (a timer's) can end it. */
#define GATE_EINTR (-4)
static inline long gate(long op, const void *a, unsigned long b, long c) {
    long answer;
    do
        answer = gate_syscall(GATE_CALL, op, (long)a, (long)b, c, 0);
    while (answer == GATE_EINTR);
    return answer;
}

__attribute__((noreturn)) static inline void gate_exit(int status) {
    for (;;)
        gate_syscall(__NR_exit_group, status, 0, 0, 0, 0);
}

/* Remembers what a raw clone must set again, since libc's fork is passed by. */
static inline void gate_prepare(struct gate_client *client) {
    static int elsewhere;
    gate_syscall(__NR_prctl, PR_GET_TID_ADDRESS, (long)&client->tid_address, 0, 0, 0);
    gate_syscall(__NR_get_robust_list, 0, (long)&client->robust_head, (long)&client->robust_length,
                 0, 0);
    /* glibc keeps the thread's id there. Another libc's lock must not get it (musl's list
     * of threads would look locked). */
    const int *tid = (const int *)client->tid_address;
    if (!tid || *tid != (int)gate_syscall(__NR_gettid, 0, 0, 0, 0, 0))
        client->tid_address = (long)&elsewhere;
    if (gate_syscall(__NR_getcwd, (long)client->folder, sizeof client->folder, 0, 0, 0) < 0)
        client->folder[0] = 0;
}

/* Joins the slot. Every step is asked of the keeper, and looked at afterwards. */
static inline void gate_join(const struct gate_client *client, long answer) {
    static const int kinds[GATE_NAMESPACES] = {CLONE_NEWPID, CLONE_NEWNS,     CLONE_NEWIPC,
                                               CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWNET};
    int count = answer & GATE_SHARED_NETWORK ? GATE_NAMESPACES - 1 : GATE_NAMESPACES;
    for (int i = 0; i < count; i++)
        if (gate_syscall(__NR_setns, GATE_NAMESPACE_FD + i, kinds[i], 0, 0, 0) < 0)
            gate_exit(GATE_EXIT_NAMESPACE + i);
    /* The mount namespace's root is the working folder now. */
    if (client->folder[0] && gate_syscall(__NR_chdir, (long)client->folder, 0, 0, 0, 0) < 0)
        gate_exit(GATE_EXIT_FOLDER);
    long id = GATE_SLOT_ID(answer);
    if (gate_syscall(__NR_setresgid, id, id, id, 0, 0) < 0 ||
        gate_syscall(__NR_setresuid, id, id, id, 0, 0) < 0)
        gate_exit(GATE_EXIT_IDS);
    /* Each change of ids makes the memory root's; the keeper could not look at it. */
    gate_syscall(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    gate_syscall(__NR_setsid, 0, 0, 0, 0, 0);
}

/* Moves into the slot's groups and keeps the pages that F is to touch. */
static inline void gate_enter(struct gate_client *client) {
    long answer = gate(GATE_ENTER, client->ranges, sizeof client->ranges, 0);
    if (answer < 0)
        gate_exit(GATE_EXIT_TASKS);
    client->ranges_length = (unsigned long)GATE_RANGE_BYTES(answer);
    for (long i = 0; i < GATE_TASKS_COUNT(answer); i++)
        if (gate_syscall(__NR_write, GATE_TASKS_FD + i, (long)"0", 1, 0, 0) != 1)
            gate_exit(GATE_EXIT_TASKS);
}

/* Nothing is left after this but the memory: no capability, no descriptor. */
static inline void gate_lock_down(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}, {0, 0, 0}};
    gate_syscall(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (gate_syscall(__NR_capset, (long)&head, (long)none, 0, 0, 0) < 0)
        gate_exit(GATE_EXIT_CAPABILITIES);
    gate_syscall(__NR_close_range, 0, ~0u, 0, 0, 0);
}

/* Copies the pages that F will write in one go each, before its event is there. */
static inline void gate_touch(const struct gate_client *client) {
    const struct gate_range *range = client->ranges;
    const struct gate_range *end = range + client->ranges_length / sizeof *range;
    for (; range < end; range++)
        gate_syscall(__NR_madvise, (long)range->start, (long)range->length, MADV_POPULATE_WRITE, 0,
                     0);
}

/* Once, before the second copy is made: nobody waits for that one yet. A page that is busy at
 * the moment stays as it is. */
static inline void gate_collapse(struct gate_client *client) {
    for (unsigned i = 0; i < client->huge_count; i++)
        gate_syscall(__NR_madvise, (long)client->huge[i], GATE_HUGE, MADV_COLLAPSE, 0, 0);
    client->huge_count = 0;
}

/* The life of Z and of its copies. Returns in an F only, once for each: a new process with
 * one thread, its pages touched, its libc right again. The caller does its language's own
 * after-fork work, then asks for the event. client: after gate_prepare. */
static inline void gate_become_event(struct gate_client *client) {
    int copied = 0;
    for (;;) {
        long answer = gate(GATE_ZYGOTE, 0, 0, 0);
        if (answer < 0)
            gate_exit(0);
        if (copied)
            gate_collapse(client);
        long copy;
        do
            copy = gate_clone(client->tid_address);
        while (copy == GATE_EINTR);
        if (copy == 0) {
            gate_join(client, answer);
            break;
        }
        gate_syscall(__NR_close_range, GATE_NAMESPACE_FD, GATE_NAMESPACE_FD + GATE_NAMESPACES - 1,
                     0, 0, 0);
        copied = 1;
    }
    gate_enter(client);
    gate_lock_down();
    if (gate_clone_forever(client->tid_address) < 0)
        gate_exit(GATE_EXIT_CLONE);
    gate_touch(client);
    gate_syscall(__NR_set_robust_list, client->robust_head, client->robust_length, 0, 0, 0);
    gate_syscall(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    gate_syscall(__NR_setpgid, 0, 0, 0, 0, 0);
}

/* F: gives the answer. Nothing that it printed may still be held back: the kill is next. */
__attribute__((noreturn)) static inline void gate_reply(const void *data, unsigned long length,
                                                        long kind) {
    gate(GATE_REPLY, data, length, kind);
    gate_exit(1);
}

/* Z: the code could not be loaded; text is an error object. */
__attribute__((noreturn)) static inline void gate_failed(const void *text, unsigned long length) {
    gate(GATE_FAILED, text, length, GATE_ERROR);
    gate_exit(1);
}

/* F: waits for its event. Returns its length, or what has GATE_TRIAL set; the bytes are at
 * buffer + GATE_HEAD when they fit into size - GATE_HEAD. */
#define GATE_HEAD sizeof(long)
static inline long gate_event(char *buffer, unsigned long size) {
    if (gate_syscall(__NR_fcntl, 0, GATE_F_GETFD, 0, 0, 0) < 0)
        gate_syscall(__NR_openat, GATE_AT_FDCWD, (long)"/dev/null", 0, 0, 0); /* becomes 0 */
    *(volatile long *)buffer = 0; /* its fault, before the event's time begins */
    if (gate(GATE_EVENT, buffer, size, 0) < 0)
        gate_exit(0);
    if (gate_syscall(__NR_fcntl, 2, GATE_F_GETFD, 0, 0, 0) < 0)
        gate_syscall(__NR_dup3, 1, 2, 0, 0, 0);
    return *(volatile long *)buffer;
}

#endif
