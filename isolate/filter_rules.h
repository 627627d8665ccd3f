/* What a sandboxed process may ask of the kernel. This is the whole policy: the
 * generator writes the embedded programs from it, and the unit test builds the same
 * rules with libseccomp and compares every answer. There are two programs: the
 * ordinary one, and the zygote's, which is the same but for the overrides at the end.
 *
 *   every call has one group or some checks; what has neither, or has a number
 *   that nobody named yet (a newer kernel's), answers ENOSYS, on which every libc
 *   falls back; calls of another architecture, and x32 ones, kill the process.
 *
 * The list follows the default profiles of Docker and Podman, and is stricter where
 * a function has no use for a call or the call reaches beyond its slot. The filter
 * is the second wall: namespaces, ids without capabilities and control groups are
 * the first, and none of them relies on it, new user namespaces apart (in one of its
 * own a process has all capabilities again).
 *
 * Constants are those of the building machine; x86-64 and aarch64 share them all. */
#ifndef FNRUN_FILTER_RULES_H
#define FNRUN_FILTER_RULES_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/memfd.h>
#include <linux/prctl.h>

#include "isolate/gate.h"

enum filter_verdict {
    FILTER_ALLOW,
    FILTER_EPERM,   /* refused, as the kernel refuses an unprivileged caller */
    FILTER_ENOSYS,  /* "this kernel has no such call": the caller has another way */
    FILTER_NOTHING, /* answers 0 and does nothing */
    FILTER_KILL,    /* the whole process, by SIGSYS */
    /* The zygote's program alone: */
    FILTER_NOTIFY,     /* the keeper decides; until then the caller executes nothing */
    FILTER_EOPNOTSUPP, /* as a file system that lacks it: the caller has another way */
    FILTER_VERDICTS
};

struct filter_group {
    enum filter_verdict verdict;
    const char *purpose;
    const char *calls; /* names, a space between two; those an architecture lacks are skipped */
};

static const struct filter_group filter_groups[] = {
    {FILTER_ALLOW, "reading and writing what is open",
     "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek close "
     "close_range dup dup2 dup3 fcntl flock fsync fdatasync sync_file_range ftruncate fallocate "
     "fadvise64 readahead sendfile splice tee vmsplice copy_file_range"},
    {FILTER_ALLOW, "opening, naming and describing files",
     "open openat openat2 creat access faccessat faccessat2 stat fstat lstat newfstatat statx "
     "statfs fstatfs getdents getdents64 getcwd chdir fchdir rename renameat renameat2 mkdir "
     "mkdirat rmdir link linkat unlink unlinkat symlink symlinkat readlink readlinkat truncate "
     "umask utime utimes futimesat utimensat"},
    {FILTER_ALLOW, "owners, modes and attributes of files (every mount is nosuid)",
     "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr "
     "getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr "
     "fremovexattr setxattrat getxattrat listxattrat removexattrat file_getattr file_setattr"},
    {FILTER_ALLOW, "pipes, events and waiting for them",
     "pipe pipe2 poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait "
     "epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create "
     "timerfd_settime timerfd_gettime inotify_init inotify_init1 inotify_add_watch "
     "inotify_rm_watch"},
    {FILTER_ALLOW, "sockets, once they are made",
     "bind connect listen accept accept4 shutdown getsockname getpeername setsockopt getsockopt "
     "sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg"},
    {FILTER_ALLOW, "System V and POSIX IPC (the slot's IPC namespace is its own)",
     "shmget shmat shmctl shmdt semget semop semtimedop semctl msgget msgsnd msgrcv msgctl "
     "mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr"},
    {FILTER_ALLOW, "memory of its own",
     "brk munmap mremap mprotect madvise mincore msync mlock mlock2 munlock mlockall munlockall "
     "mseal remap_file_pages pkey_alloc pkey_free pkey_mprotect map_shadow_stack"},
    {FILTER_ALLOW, "processes and threads",
     "fork vfork execve execveat exit exit_group wait4 waitid set_tid_address set_robust_list "
     "get_robust_list futex futex_waitv futex_wake futex_wait futex_requeue membarrier rseq "
     "arch_prctl restart_syscall pidfd_open uretprobe uprobe"},
    {FILTER_ALLOW, "signals",
     "kill tkill tgkill pause alarm sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn "
     "rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend "
     "pidfd_send_signal"},
    {FILTER_ALLOW, "ids, sessions, capabilities: the kernel judges, nothing can be won back",
     "getpid getppid gettid getuid geteuid getgid getegid getresuid getresgid getgroups setuid "
     "setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups setpgid getpgid "
     "getpgrp setsid getsid capget capset"},
    {FILTER_ALLOW, "scheduling and limits (both can only be lowered)",
     "sched_yield sched_setparam sched_getparam sched_setscheduler sched_getscheduler "
     "sched_get_priority_max sched_get_priority_min sched_rr_get_interval sched_setaffinity "
     "sched_getaffinity sched_setattr sched_getattr getpriority setpriority ioprio_set "
     "ioprio_get getcpu getrlimit setrlimit prlimit64 getrusage times"},
    {FILTER_ALLOW, "clocks and timers",
     "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep getitimer setitimer "
     "timer_create timer_settime timer_gettime timer_getoverrun timer_delete"},
    {FILTER_ALLOW, "the machine, as far as it shows", "uname sysinfo getrandom"},
    {FILTER_ALLOW, "a tighter sandbox of the function's own (a browser's, say): both only add",
     "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self"},

    /* A slot's only writable files are in its tmpfs, so there is nothing to write
     * out, while the real calls flush every disk of the machine, and wait for it. */
    {FILTER_NOTHING, "flushing the machine's disks", "sync syncfs"},

    /* A filter cannot read clone3's struct. ENOSYS makes libc use clone. */
    {FILTER_ENOSYS, "what the filter cannot judge", "clone3"},
    /* As on a machine with one memory node. libnuma, OpenMP and Java ask once and are
     * quiet; EPERM makes some of them complain on every call. */
    {FILTER_ENOSYS, "choice of memory nodes",
     "get_mempolicy set_mempolicy mbind set_mempolicy_home_node migrate_pages move_pages"},
    /* Their contexts count against one limit for the whole machine (fs.aio-max-nr).
     * POSIX aio of glibc and musl is made of threads and goes on. */
    {FILTER_ENOSYS, "kernel aio",
     "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents"},
    /* What others read of the shared image lies in the same page cache. */
    {FILTER_ENOSYS, "the page cache's state", "cachestat"},
    {FILTER_ENOSYS, "security modules (programs go on with /proc)",
     "lsm_get_self_attr lsm_set_self_attr lsm_list_modules"},
    {FILTER_ENOSYS, "gone from the kernel, which answers the same",
     "_sysctl afs_syscall tuxcall security vserver getpmsg putpmsg epoll_ctl_old epoll_wait_old "
     "get_thread_area set_thread_area"},

    {FILTER_EPERM, "namespaces", "unshare setns listns"},
    {FILTER_EPERM, "mounts and roots",
     "mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount "
     "fspick mount_setattr statmount listmount"},
    {FILTER_EPERM, "files by handle, past every mount", "name_to_handle_at open_by_handle_at"},
    {FILTER_EPERM, "other processes' memory and descriptors",
     "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd kcmp"},
    {FILTER_EPERM, "keys, which belong to no namespace", "keyctl add_key request_key"},
    {FILTER_EPERM, "programs and queues inside the kernel, where its holes have been",
     "bpf perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd "
     "fanotify_init fanotify_mark memfd_secret"},
    {FILTER_EPERM, "modules and other kernels",
     "init_module finit_module delete_module create_module query_module get_kernel_syms "
     "kexec_load kexec_file_load"},
    {FILTER_EPERM, "the machine's clock, name, swap, quotas, log and end",
     "settimeofday clock_settime adjtimex clock_adjtime sethostname setdomainname swapon swapoff "
     "quotactl quotactl_fd acct syslog reboot vhangup"},
    {FILTER_EPERM, "hardware and other ways to run", "iopl ioperm modify_ldt personality"},
    {FILTER_EPERM, "relics", "lookup_dcookie nfsservctl uselib ustat sysfs"},
};

/* Checks compare the low 32 bits alone: each of these arguments is an int, an
 * unsigned int or a word of flags below 2^32 to the kernel, so that comparing 64
 * would let TIOCSTI through with any bit set above them. */
enum filter_how {
    FILTER_ONE_OF,  /* passed when (argument & mask) is one of the values */
    FILTER_NONE_OF, /* passed when it is none of them */
    FILTER_ENOUGH   /* one of them: allowed, without the checks that follow; else these */
};

#define FILTER_VALUES 4
struct filter_check {
    const char *call; /* several checks of one call stand together: all must be passed */
    unsigned argument;
    uint32_t mask;
    enum filter_how how;
    unsigned count;
    uint32_t values[FILTER_VALUES];
    enum filter_verdict otherwise; /* when it is not passed */
};

/* CLONE_NEWTIME (0x80) is not here: it lies in the byte that clone(2) takes for the
 * exit signal, so that only clone3 and unshare can make a time namespace.
 * CLONE_PARENT would make the launcher, outside the sandbox, the parent of a process
 * it does not know of; nothing but container runtimes uses it. */
#define FILTER_CLONE_REFUSED                                                                       \
    ((uint32_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |      \
                CLONE_NEWPID | CLONE_NEWNET | CLONE_PARENT))

#define FILTER_TIOCLINUX     0x541c     /* not in every libc's headers */
#define FILTER_PR_SCHED_CORE 62         /* not in the headers before Linux 5.14 */
#define FILTER_ALL           0xffffffff /* every bit is looked at */

static const struct filter_check filter_checks[] = {
    {"clone", 0, FILTER_CLONE_REFUSED, FILTER_ONE_OF, 1, {0}, FILTER_EPERM},
    /* Both put input into a terminal: the caller's shell would run it. */
    {"ioctl", 1, FILTER_ALL, FILTER_NONE_OF, 2, {TIOCSTI, FILTER_TIOCLINUX}, FILTER_EPERM},
    /* No AF_NETLINK, AF_PACKET, AF_VSOCK (it passes every network namespace), AF_ALG
     * or any family whose module the kernel would load on demand. The low four bits
     * of the type without raw ones, and without SOCK_PACKET, which turns an AF_INET
     * socket into an AF_PACKET one. */
    {"socket", 0, FILTER_ALL, FILTER_ONE_OF, 3, {AF_UNIX, AF_INET, AF_INET6}, FILTER_EPERM},
    {"socket", 1, 0xf, FILTER_ONE_OF, 3, {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}, FILTER_EPERM},
    {"socketpair", 0, FILTER_ALL, FILTER_ONE_OF, 1, {AF_UNIX}, FILTER_EPERM},
    /* No devices; 0 means a regular file. */
    {"mknod", 1, S_IFMT, FILTER_ONE_OF, 4, {0, S_IFREG, S_IFIFO, S_IFSOCK}, FILTER_EPERM},
    {"mknodat", 2, S_IFMT, FILTER_ONE_OF, 4, {0, S_IFREG, S_IFIFO, S_IFSOCK}, FILTER_EPERM},
    /* Huge pages come from a pool of the machine's and are not charged to the slot's
     * memory limit. Transparent ones are, and stay. */
    {"mmap", 3, MAP_HUGETLB, FILTER_ONE_OF, 1, {0}, FILTER_EPERM},
    {"memfd_create", 1, MFD_HUGETLB, FILTER_ONE_OF, 1, {0}, FILTER_EPERM},
    /* A core-scheduling cookie of its own keeps everybody else off the sibling
     * hyperthread, time that no cpu limit counts. */
    {"prctl", 0, FILTER_ALL, FILTER_NONE_OF, 2, {PR_SET_MM, FILTER_PR_SCHED_CORE}, FILTER_EPERM},
};

/* --- the zygote's program ------------------------------------------------------------
 *
 * Trusted code loads it before the runtime's first instruction; all copies of the
 * zygote inherit it. Each row takes the place of all that is said above of the call.
 *
 * What is notified the keeper judges by its scalar arguments alone, which cannot change
 * behind its back: it may let the very call go on. */
static const struct filter_group filter_zygote_groups[] = {
    {FILTER_NOTIFY, "the gate: freezing until the keeper answers", "fnrun_gate"},
    {FILTER_NOTIFY, "entering the slot's namespaces, each of them once", "setns"},
    {FILTER_NOTIFY, "becoming the slot's id, once (the zygote has the capability)",
     "setuid setgid setreuid setregid setresuid setresgid"},
    {FILTER_NOTIFY, "IPC objects, whose counters go on: the slot is not used again",
     "shmget semget msgget mq_open"},
    /* The zygote could take an id that is not the slot's, and there is no honest use:
     * its copies have no capabilities, and may not do it anyway. */
    {FILTER_EPERM, "parts of becoming another id", "setfsuid setfsgid setgroups"},
    /* It can do what open is kept from below, and libc has no wrapper for it. */
    {FILTER_ENOSYS, "flags in memory, where the filter cannot look", "openat2"},
};

#define FILTER_NAMESPACES  (FILTER_CLONE_REFUSED & ~(uint32_t)CLONE_PARENT)
#define FILTER_CLONE_SHARE ((uint32_t)(CLONE_FILES | CLONE_FS | CLONE_IO | CLONE_SYSVSEM))
#define FILTER_O_TMPFILE   020000000 /* __O_TMPFILE: O_TMPFILE without O_DIRECTORY */

static const struct filter_check filter_zygote_checks[] = {
    /* A new process shares nothing with the one it was copied from, which keeps no
     * descriptor of it; the memory of a vfork is the exception, since the parent waits.
     * Threads share all, and the keeper counts them. CLONE_PARENT makes a child of the
     * keeper's: each slot's copy and each event's process are made so, when the keeper
     * asked for one, never else. */
    {"clone", 0, FILTER_NAMESPACES | CLONE_PIDFD, FILTER_ONE_OF, 1, {0}, FILTER_EPERM},
    {"clone", 0, CLONE_THREAD, FILTER_ENOUGH, 1, {CLONE_THREAD}, FILTER_EPERM},
    {"clone", 0, FILTER_CLONE_SHARE, FILTER_ONE_OF, 1, {0}, FILTER_EPERM},
    {"clone", 0, CLONE_VM | CLONE_VFORK, FILTER_NONE_OF, 1, {CLONE_VM}, FILTER_EPERM},
    {"clone", 0, CLONE_PARENT, FILTER_ONE_OF, 1, {0}, FILTER_NOTIFY},
    /* A file without a name takes one of a tmpfs's inode numbers, which are not given
     * again, and leaves no mark on the times and counts that prove /tmp untouched. */
    {"open", 1, FILTER_O_TMPFILE, FILTER_ONE_OF, 1, {0}, FILTER_EOPNOTSUPP},
    {"openat", 2, FILTER_O_TMPFILE, FILTER_ONE_OF, 1, {0}, FILTER_EOPNOTSUPP},
    /* Of the families and types that are allowed, those that leave counters and ports in
     * the network namespace: the slot is not used again. */
    {"socket", 0, FILTER_ALL, FILTER_ONE_OF, 3, {AF_UNIX, AF_INET, AF_INET6}, FILTER_EPERM},
    {"socket", 1, 0xf, FILTER_ONE_OF, 3, {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}, FILTER_EPERM},
    {"socket", 0, FILTER_ALL, FILTER_ONE_OF, 1, {AF_UNIX}, FILTER_NOTIFY},
};

/* Calls that the oldest supported libseccomp (2.5.0) may not know by name. Numbers
 * from 403 on are the same on every architecture; a libseccomp that knows the name
 * must agree, or the build fails. The gate is no call of the kernel's. */
struct filter_number {
    const char *call;
    int number;
    const char *only; /* the one architecture that has it, or NULL */
};

static const struct filter_number filter_numbers[] = {
    {"fnrun_gate", GATE_CALL, NULL},
    {"uretprobe", 335, "x86_64"}, /* both are called by a trampoline of the kernel's, */
    {"uprobe", 336, "x86_64"},    /* in whatever process the administrator traces */
    {"faccessat2", 439, NULL},
    {"process_madvise", 440, NULL},
    {"epoll_pwait2", 441, NULL},
    {"mount_setattr", 442, NULL},
    {"quotactl_fd", 443, NULL},
    {"landlock_create_ruleset", 444, NULL},
    {"landlock_add_rule", 445, NULL},
    {"landlock_restrict_self", 446, NULL},
    {"memfd_secret", 447, NULL},
    {"process_mrelease", 448, NULL},
    {"futex_waitv", 449, NULL},
    {"set_mempolicy_home_node", 450, NULL},
    {"cachestat", 451, NULL},
    {"fchmodat2", 452, NULL},
    {"map_shadow_stack", 453, NULL},
    {"futex_wake", 454, NULL},
    {"futex_wait", 455, NULL},
    {"futex_requeue", 456, NULL},
    {"statmount", 457, NULL},
    {"listmount", 458, NULL},
    {"lsm_get_self_attr", 459, NULL},
    {"lsm_set_self_attr", 460, NULL},
    {"lsm_list_modules", 461, NULL},
    {"mseal", 462, NULL},
    {"setxattrat", 463, NULL},
    {"getxattrat", 464, NULL},
    {"listxattrat", 465, NULL},
    {"removexattrat", 466, NULL},
    {"open_tree_attr", 467, NULL},
    {"file_getattr", 468, NULL},
    {"file_setattr", 469, NULL},
    {"listns", 470, NULL},
};

#define FILTER_COUNT(table) (sizeof(table) / sizeof *(table))

#endif
