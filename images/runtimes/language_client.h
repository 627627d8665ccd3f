/* The language side's half of "the language zygote" in isolate/launcher.h: L, a process with
 * an interpreter and no user code, makes zygotes in environments that it is asked for. As
 * gate_client.h: raw system calls, static storage, no libc.
 *
 *     L    forks the next E as soon as one has been taken, and does nothing else
 *     E    copies ahead the pages that it will write, waits for a request, enters the
 *          environment's namespaces, starts M and ends
 *     M    is in there, starts Z and ends
 *     Z    becomes the zygote: the keeper's child
 *
 * The three are one memory, which Z is left with: when a request comes nothing is copied any
 * more. E and M are never in the function's control groups, and gone before Z shows itself.
 * Until then nobody in there can trace or look into them: their memory is not dumpable, and
 * belongs to the machine. */
#ifndef FNRUN_LANGUAGE_CLIENT_H
#define FNRUN_LANGUAGE_CLIENT_H

#include <linux/capability.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/socket.h>

#include "images/runtimes/gate_client.h"
#include "isolate/launcher.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* Linux 5.19 */
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#if defined __x86_64__
#define LANGUAGE_RSEQ 0x53053053 /* RSEQ_SIG, which libc registers with */
#else
#define LANGUAGE_RSEQ 0xd428bc00
#endif

#define LANGUAGE_FDS         16
#define LANGUAGE_TASKS       4
#define LANGUAGE_QUIET_NS    100000000
#define LANGUAGE_NAMESPACES  7            /* user, pid, mnt, ipc, uts, cgroup, net */
#define LANGUAGE_ENVIRONMENT (256u << 10) /* the runner's bound is lower */
#define LANGUAGE_FILTER      4096         /* instructions, the kernel's bound */

/* Exit statuses of those that did not come through; the keeper starts an interpreter then. */
enum language_exit {
    LANGUAGE_EXIT_REQUEST = 70,
    LANGUAGE_EXIT_NAMESPACE,
    LANGUAGE_EXIT_FORK,
    LANGUAGE_EXIT_GROUPS,
    LANGUAGE_EXIT_START,
    LANGUAGE_EXIT_FOLDER,
    LANGUAGE_EXIT_FILES,
    LANGUAGE_EXIT_IDS,
    LANGUAGE_EXIT_LIMITS,
    LANGUAGE_EXIT_FILTER,
    LANGUAGE_EXIT_LISTENER,
};

struct language_client {
    long tid_address, robust_head, robust_length;
    const long *rseq_offset; /* libc's __rseq_offset, from the thread pointer, */
    const int *rseq_size;    /* and __rseq_size; NULL, or 0 there: none is registered */
    int socket;              /* to the launcher */
    int line[2];             /* a pipe: E tells L that it is taken */
    int gone[2];             /* a pipe whose end tells Z that E and M have let go of the memory */
    int fds[LANGUAGE_FDS], count;
    int namespaces, channel, tasks; /* how many namespaces; places in fds */
    struct language_start start;
    struct sock_filter filter[LANGUAGE_FILTER];
    char environment[LANGUAGE_ENVIRONMENT];
};

#define LANGUAGE_MUST(status, call)                                                                \
    __extension__({                                                                                \
        long result_ = (call);                                                                     \
        if (result_ < 0)                                                                           \
            gate_exit(status);                                                                     \
        result_;                                                                                   \
    })

/* flags: with the thread id's place, or 0 of none. On this process's stack, or a copy. */
static inline long language_clone(long flags, long tid_address) {
#if defined __x86_64__
    return gate_syscall(__NR_clone, flags, 0, 0, tid_address, 0);
#else
    return gate_syscall(__NR_clone, flags, 0, 0, 0, tid_address);
#endif
}

/* --- messages ----------------------------------------------------------------------------- */

static inline long language_receive(int socket, void *data, unsigned long size, int *fds,
                                    int *count) {
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(LANGUAGE_FDS * sizeof(int))];
    } control;
    struct iovec part = {data, size};
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    *count = 0;
    long length = gate_syscall(__NR_recvmsg, socket, (long)&message, MSG_CMSG_CLOEXEC, 0, 0);
    if (length < 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))
        return -1;
    const struct cmsghdr *head = &control.head;
    if (message.msg_controllen >= sizeof *head && head->cmsg_level == SOL_SOCKET &&
        head->cmsg_type == SCM_RIGHTS) {
        int got = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (int i = 0; i < got && i < LANGUAGE_FDS; i++)
            fds[(*count)++] = ((const int *)(const void *)CMSG_DATA(head))[i];
    }
    return length;
}

static inline void language_send_listener(int socket, int listener) {
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    char byte = 1;
    struct iovec part = {&byte, 1};
    struct msghdr message = {0};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.space;
    message.msg_controllen = sizeof control.space;
    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(int));
    *(int *)(void *)CMSG_DATA(&control.head) = listener;
    LANGUAGE_MUST(LANGUAGE_EXIT_LISTENER,
                  gate_syscall(__NR_sendmsg, socket, (long)&message, MSG_NOSIGNAL, 0, 0));
}

/* --- E ---------------------------------------------------------------------------------------- */

#define LANGUAGE_SIGTERM 15
#define LANGUAGE_DEFAULT ((void *)0)
#define LANGUAGE_IGNORE  ((void *)1)

/* What differs in L and E from what an interpreter has: nobody reaps the one's children, and
 * a service manager's signal to all processes of its unit is the runner's business. */
static inline void language_signals(void *children, void *end) {
    struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } action = {children, 0, 0, 0};
    gate_syscall(__NR_rt_sigaction, GATE_SIGCHLD, (long)&action, 0, sizeof action.mask, 0);
    action.handler = end;
    gate_syscall(__NR_rt_sigaction, LANGUAGE_SIGTERM, (long)&action, 0, sizeof action.mask, 0);
}

/* Waits for a request. Ends with the launcher's end of the socket. */
static inline void language_wait(struct language_client *client, int socket) {
    struct language_request request;
    long length = language_receive(socket, &request, sizeof request, client->fds, &client->count);
    client->namespaces = LANGUAGE_NAMESPACES - (request.shared_network ? 1 : 0);
    client->channel = client->namespaces;
    client->tasks = client->channel + 1;
    if (length != sizeof request || request.number != LAUNCHER_LANGUAGE ||
        client->count < client->tasks || client->count > client->tasks + LANGUAGE_TASKS)
        gate_exit(LANGUAGE_EXIT_REQUEST);
}

/* All of them or none: what is of another kind ends here, so that nothing of the machine's
 * is kept that the environment does not have. The user namespace first: in it this id has
 * the capabilities that the others take. */
static inline void language_enter(const struct language_client *client) {
    static const int kinds[LANGUAGE_NAMESPACES] = {CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNS,
                                                   CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP,
                                                   CLONE_NEWNET};
    for (int i = 0; i < client->namespaces; i++)
        LANGUAGE_MUST(LANGUAGE_EXIT_NAMESPACE,
                      gate_syscall(__NR_setns, client->fds[i], kinds[i], 0, 0, 0));
}

/* E starts M, M starts Z, both end; Z returns. All of them on one stack: from their clone
 * on E and M use registers alone. M is L's child, as E is: nobody else would reap it. */
__attribute__((noinline)) static void language_split(long tid_address) {
    const long flags = CLONE_VM | CLONE_PARENT | GATE_SIGCHLD;
    const long last_flags = CLONE_VM | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | GATE_SIGCHLD;
    long result;
#if defined __x86_64__
    register long r10 __asm__("r10") = tid_address;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("mov %[clone], %%eax\n\t"
                     "syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "js 2f\n\t"
                     "jnz 1f\n\t"
                     "mov %[last], %%rdi\n\t"
                     "mov %[clone], %%eax\n\t"
                     "syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jz 2f\n\t"
                     "1: mov %[exit], %%eax\n\t"
                     "xor %%edi, %%edi\n\t"
                     "syscall\n\t"
                     "jmp 1b\n\t"
                     "2:"
                     : "=&a"(result)
                     : [clone] "i"(__NR_clone), [exit] "i"(__NR_exit_group), "D"(flags), "S"(0L),
                       "d"(0L), "r"(r10), "r"(r8), [last] "r"(last_flags)
                     : "rcx", "r11", "memory", "cc");
#else
    register long x8 __asm__("x8") = __NR_clone;
    register long x0 __asm__("x0") = flags;
    register long x1 __asm__("x1") = 0;
    register long x2 __asm__("x2") = 0;
    register long x3 __asm__("x3") = 0;
    register long x4 __asm__("x4") = tid_address;
    __asm__ volatile("svc 0\n\t"
                     "cmp x0, #0\n\t"
                     "b.lt 2f\n\t"
                     "b.gt 1f\n\t"
                     "mov x0, %[last]\n\t"
                     "svc 0\n\t"
                     "cbz x0, 2f\n\t"
                     "1: mov x8, %[exit]\n\t"
                     "mov x0, #0\n\t"
                     "svc 0\n\t"
                     "b 1b\n\t"
                     "2:"
                     : "+r"(x0), "+r"(x8)
                     : [exit] "i"(__NR_exit_group), "r"(x1), "r"(x2), "r"(x3),
                       "r"(x4), [last] "r"(last_flags)
                     : "memory", "cc");
    result = x0;
#endif
    if (result < 0)
        gate_exit(LANGUAGE_EXIT_FORK);
}

/* glibc's area for restartable sequences, which the kernel forgets with CLONE_VM. 32 bytes is
 * what it registers, whatever it says it uses. */
static inline void language_rseq(const struct language_client *client, int flags) {
    if (client->rseq_offset && client->rseq_size && *client->rseq_size)
        gate_syscall(__NR_rseq, (long)((char *)__builtin_thread_pointer() + *client->rseq_offset),
                     32, flags, LANGUAGE_RSEQ, 0);
}

/* --- Z -----------------------------------------------------------------------------------------
 */

/* What the keeper has sent: limits, log, filter, environment. */
static inline int language_read_start(struct language_client *client) {
    int channel = client->fds[client->channel], log = -1, count, got[LANGUAGE_FDS];
    long length = language_receive(channel, &client->start, sizeof client->start, got, &count);
    if (length != sizeof client->start || count != 1 ||
        client->start.environment > sizeof client->environment)
        gate_exit(LANGUAGE_EXIT_START);
    log = got[0];
    length = language_receive(channel, client->filter, sizeof client->filter, got, &count);
    if (length != (long)client->start.filter || length % (long)sizeof *client->filter)
        gate_exit(LANGUAGE_EXIT_START);
    for (unsigned long have = 0; have < client->start.environment; have += (unsigned long)length) {
        length = language_receive(channel, client->environment + have,
                                  client->start.environment - have, got, &count);
        if (length <= 0)
            gate_exit(LANGUAGE_EXIT_START);
    }
    return log;
}

static inline void language_standard(int log) {
    int null = (int)LANGUAGE_MUST(
        LANGUAGE_EXIT_FILES,
        gate_syscall(__NR_openat, AT_FDCWD, (long)"/dev/null", 02 /* O_RDWR */, 0, 0));
    LANGUAGE_MUST(LANGUAGE_EXIT_FILES, gate_syscall(__NR_dup3, null, 0, 0, 0, 0));
    LANGUAGE_MUST(LANGUAGE_EXIT_FILES, gate_syscall(__NR_dup3, log, 1, 0, 0, 0));
    LANGUAGE_MUST(LANGUAGE_EXIT_FILES, gate_syscall(__NR_dup3, log, 2, 0, 0, 0));
}

static inline int language_is_kept(int capability) {
    return capability == CAP_SYS_ADMIN || capability == CAP_SYS_CHROOT ||
           capability == CAP_SETUID || capability == CAP_SETGID;
}

/* The zygote's id and its four capabilities, as after the exec of an interpreter that the
 * keeper started: ambient, inheritable, and the bounding set no wider. */
static inline void language_take_ids(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}, {0, 0, 0}};
    const long id = ENVIRONMENT_ZYGOTE_ID;
    for (int i = 0; i < 64; i++)
        if (!language_is_kept(i) && gate_syscall(__NR_prctl, PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            break;
    LANGUAGE_MUST(LANGUAGE_EXIT_IDS, gate_syscall(__NR_setresgid, id, id, id, 0, 0));
    LANGUAGE_MUST(LANGUAGE_EXIT_IDS, gate_syscall(__NR_setresuid, id, id, id, 0, 0));
    for (int i = 0; i < 32; i++)
        if (language_is_kept(i))
            sets[0].effective |= 1u << i;
    sets[0].permitted = sets[0].inheritable = sets[0].effective;
    LANGUAGE_MUST(LANGUAGE_EXIT_IDS, gate_syscall(__NR_capset, (long)&head, (long)sets, 0, 0, 0));
    for (int i = 0; i < 32; i++)
        if (language_is_kept(i))
            LANGUAGE_MUST(LANGUAGE_EXIT_IDS,
                          gate_syscall(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0));
    LANGUAGE_MUST(LANGUAGE_EXIT_IDS, gate_syscall(__NR_setsid, 0, 0, 0, 0, 0));
}

/* Never above the hard limit that is there. */
static inline void language_limit(int resource, uint64_t value) {
    uint64_t limit[2] = {0, 0};
    LANGUAGE_MUST(LANGUAGE_EXIT_LIMITS,
                  gate_syscall(__NR_prlimit64, 0, resource, 0, (long)limit, 0));
    limit[0] = limit[1] = value < limit[1] ? value : limit[1];
    LANGUAGE_MUST(LANGUAGE_EXIT_LIMITS,
                  gate_syscall(__NR_prlimit64, 0, resource, (long)limit, 0, 0));
}

static inline int language_load_filter(struct language_client *client) {
    struct sock_fprog program = {(unsigned short)(client->start.filter / sizeof *client->filter),
                                 client->filter};
    return (int)LANGUAGE_MUST(
        LANGUAGE_EXIT_FILTER,
        gate_syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER,
                     SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
                     (long)&program, 0, 0));
}

/* E and M have let go of the memory: it is charged to Z's group from now on, and is Z's to
 * show. M's end makes Z the keeper's child, which the keeper looks for with the listener. */
static inline void language_wait_alone(const struct language_client *client) {
    const struct { long seconds, nanoseconds; } step = {0, 20000};
    char byte;
    gate_syscall(__NR_close, client->gone[1], 0, 0, 0, 0);
    while (gate_syscall(__NR_read, client->gone[0], (long)&byte, 1, 0, 0) != 0)
        ;
    while (gate_syscall(__NR_getppid, 0, 0, 0, 0, 0) != 1)
        gate_syscall(__NR_nanosleep, (long)&step, 0, 0, 0, 0);
}

/* What /proc shows of the start of this process: those variables, and the zygote's id. Only
 * looks: where the kernel does not do it they are the language zygote's. */
static inline void language_show(struct language_client *client, struct prctl_mm_map *map) {
    struct {
        unsigned long key, value;
    } *at = (void *)map->auxv;
    map->env_start = (unsigned long)client->environment;
    map->env_end = map->env_start + client->start.environment;
    map->brk = (unsigned long)gate_syscall(__NR_brk, 0, 0, 0, 0, 0);
    for (unsigned long i = 0; i < map->auxv_size / sizeof *at; i++)
        if (at[i].key >= 11 && at[i].key <= 14) /* AT_UID, AT_EUID, AT_GID, AT_EGID */
            at[i].value = ENVIRONMENT_ZYGOTE_ID;
    gate_syscall(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)map, sizeof *map, 0);
}

/* In order. After this the process is under the filter, and trusted no longer once it loads
 * the function. */
static inline void language_settle(struct language_client *client, struct prctl_mm_map *map) {
    language_wait_alone(client);
    language_rseq(client, 0);
    for (int i = client->tasks; i < client->count; i++)
        if (gate_syscall(__NR_write, client->fds[i], (long)"0", 1, 0, 0) != 1)
            gate_exit(LANGUAGE_EXIT_GROUPS);
    language_signals(LANGUAGE_DEFAULT, LANGUAGE_DEFAULT);
    int log = language_read_start(client);
    language_standard(log);
    LANGUAGE_MUST(LANGUAGE_EXIT_FOLDER, gate_syscall(__NR_chdir, (long)"/var/task", 0, 0, 0, 0));
    language_take_ids();
    language_limit(7 /* RLIMIT_NOFILE */, client->start.open_files);
    language_limit(6 /* RLIMIT_NPROC */, client->start.processes);
    language_show(client, map);
    int listener = language_load_filter(client);
    gate_syscall(__NR_set_robust_list, client->robust_head, client->robust_length, 0, 0, 0);
    gate_syscall(__NR_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    language_send_listener(client->fds[client->channel], listener);
    gate_syscall(__NR_close_range, 3, ~0u, 0, 0, 0);
}

/* --- L -------------------------------------------------------------------------------------------
 */

/* The life of L. Returns in each E, and only there; 1: a request is waiting already. socket:
 * the launcher's, the one descriptor above 2. */
static inline int language_serve(struct language_client *client) {
    struct {
        int fd;
        short events, revents;
    } asked = {client->socket, 1 /* POLLIN */, 0};
    const struct { long seconds, nanoseconds; } now = {0, 0}, quiet = {0, LANGUAGE_QUIET_NS};
    char byte;
    language_signals(LANGUAGE_IGNORE, LANGUAGE_IGNORE);
    for (;;) {
        if (gate_syscall(__NR_pipe2, (long)client->line, 02000000 /* O_CLOEXEC */, 0, 0, 0) < 0)
            gate_exit(1);
        long child = language_clone(CLONE_CHILD_SETTID | GATE_SIGCHLD, client->tid_address);
        if (child < 0)
            gate_exit(1);
        if (child == 0)
            break;
        gate_syscall(__NR_close, client->line[1], 0, 0, 0, 0);
        /* Nothing: it died before it was asked, with the launcher or for want of memory. */
        if (gate_syscall(__NR_read, client->line[0], (long)&byte, 1, 0, 0) != 1)
            gate_exit(1);
        gate_syscall(__NR_close, client->line[0], 0, 0, 0, 0);
        /* Not on the way of the function that is just starting, unless another one waits. */
        gate_syscall(__NR_ppoll, (long)&asked, 1, (long)&quiet, 0, 0);
    }
    gate_syscall(__NR_prctl, PR_SET_PDEATHSIG, 9, 0, 0, 0);
    gate_syscall(__NR_set_robust_list, client->robust_head, client->robust_length, 0, 0, 0);
    return gate_syscall(__NR_ppoll, (long)&asked, 1, (long)&now, 0, 0) > 0;
}

/* E, once it is ready. Returns in Z, and only there. */
static inline void language_become_zygote(struct language_client *client,
                                          struct prctl_mm_map *map) {
    char byte = LANGUAGE_READY;
    gate_syscall(__NR_write, client->socket, (long)&byte, 1, 0, 0);
    language_wait(client, client->socket);
    /* Nobody in there may look into this memory, or have these. */
    LANGUAGE_MUST(LANGUAGE_EXIT_REQUEST, gate_syscall(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0));
    gate_syscall(__NR_close, client->socket, 0, 0, 0, 0);
    gate_syscall(__NR_write, client->line[1], (long)&byte, 1, 0, 0);
    gate_syscall(__NR_close, client->line[0], 0, 0, 0, 0);
    gate_syscall(__NR_close, client->line[1], 0, 0, 0, 0);
    language_enter(client);
    LANGUAGE_MUST(LANGUAGE_EXIT_FORK,
                  gate_syscall(__NR_pipe2, (long)client->gone, 02000000 /* O_CLOEXEC */, 0, 0, 0));
    language_rseq(client, 1 /* RSEQ_FLAG_UNREGISTER */);
    language_split(client->tid_address);
    language_settle(client, map);
}

#endif
