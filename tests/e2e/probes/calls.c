/* Asks the kernel for what a function must not have, and prints each answer as JSON:
 * {"unshare": 1, ...}: an errno, or 0 where it was given. With an argument it makes one
 * call that must kill it: `int80` or `x32`. The event on stdin is not read. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef AF_ALG
#define AF_ALG 38
#endif
#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif
#ifndef AF_PACKET
#define AF_PACKET 17
#endif
#ifndef AF_NETLINK
#define AF_NETLINK 16
#endif

static int printed;

static void say(const char *name, long answer) {
    printf("%s\"%s\": %d", printed++ ? ", " : "{", name, answer < 0 ? errno : 0);
}

#define TRY(name, ...)                                                                             \
    do {                                                                                           \
        errno = 0;                                                                                 \
        say(name, syscall(__VA_ARGS__));                                                           \
    } while (0)

struct clone3_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
};

static void namespaces(void) {
    static const struct {
        const char *name;
        unsigned long flag;
    } all[] = {{"newns", CLONE_NEWNS},    {"newuser", CLONE_NEWUSER}, {"newpid", CLONE_NEWPID},
               {"newnet", CLONE_NEWNET},  {"newipc", CLONE_NEWIPC},   {"newuts", CLONE_NEWUTS},
               {"newcgroup", 0x02000000}, {"parent", CLONE_PARENT}};
    char name[40];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(name, sizeof name, "unshare %s", all[i].name);
        TRY(name, SYS_unshare, all[i].flag);
        snprintf(name, sizeof name, "clone %s", all[i].name);
        errno = 0;
        long pid = syscall(SYS_clone, all[i].flag | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
            _exit(0);
        say(name, pid);
    }
    struct clone3_arguments arguments = {.exit_signal = SIGCHLD};
    errno = 0;
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0)
        _exit(0);
    say("clone3", pid);
    TRY("setns", SYS_setns, 0, 0);
}

static void sockets(void) {
    TRY("socket inet", SYS_socket, AF_INET, SOCK_STREAM, 0);
    TRY("socket inet6", SYS_socket, AF_INET6, SOCK_DGRAM, 0);
    TRY("socket unix", SYS_socket, AF_UNIX, SOCK_SEQPACKET, 0);
    TRY("socket netlink", SYS_socket, AF_NETLINK, SOCK_RAW, 0);
    TRY("socket netlink dgram", SYS_socket, AF_NETLINK, SOCK_DGRAM, 0);
    TRY("socket packet", SYS_socket, AF_PACKET, SOCK_DGRAM, 0);
    TRY("socket inet packet", SYS_socket, AF_INET, SOCK_PACKET, 0);
    TRY("socket vsock", SYS_socket, AF_VSOCK, SOCK_STREAM, 0);
    TRY("socket alg", SYS_socket, AF_ALG, SOCK_SEQPACKET, 0);
    TRY("socket raw", SYS_socket, AF_INET, SOCK_RAW, 1);
    /* The family is an int to the kernel: what stands above it must not hide it. */
    TRY("socket netlink high", SYS_socket, AF_NETLINK | (1ul << 32), SOCK_RAW, 0);
}

static void terminals(void) {
    char byte = 'x';
    TRY("ioctl TIOCSTI", SYS_ioctl, 0, TIOCSTI, &byte);
    TRY("ioctl TIOCSTI high", SYS_ioctl, 0, TIOCSTI | (1ul << 32), &byte);
    TRY("ioctl TIOCLINUX", SYS_ioctl, 0, 0x541c, &byte);
}

static void the_rest(void) {
    char handle[64] = {0}, path[] = "/tmp";
    TRY("mount", SYS_mount, "none", path, "tmpfs", 0, 0);
    TRY("umount2", SYS_umount2, path, 2);
    TRY("pivot_root", SYS_pivot_root, path, path);
    TRY("chroot", SYS_chroot, path);
    TRY("open_tree", 428, AT_FDCWD, path, 1);
    TRY("move_mount", 429, -1, "", -1, "", 0);
    TRY("fsopen", 430, "tmpfs", 0);
    TRY("mount_setattr", 442, AT_FDCWD, path, 0, handle, 32);
    TRY("ptrace", SYS_ptrace, 0, 0, 0, 0);
    TRY("process_vm_readv", SYS_process_vm_readv, getpid(), 0, 0, 0, 0, 0);
    TRY("process_vm_writev", SYS_process_vm_writev, getpid(), 0, 0, 0, 0, 0);
    TRY("pidfd_getfd", 438, -1, 0, 0);
    TRY("keyctl", SYS_keyctl, 0, -3, 0, 0, 0);
    TRY("add_key", SYS_add_key, "user", "x", "y", 1, -3);
    TRY("request_key", SYS_request_key, "user", "x", 0, -3);
    TRY("bpf", SYS_bpf, 0, handle, sizeof handle);
    TRY("perf_event_open", SYS_perf_event_open, handle, 0, -1, -1, 0);
    TRY("io_uring_setup", 425, 1, handle);
    TRY("io_uring_enter", 426, -1, 0, 0, 0, 0, 0);
    TRY("io_uring_register", 427, -1, 0, 0, 0);
    TRY("userfaultfd", SYS_userfaultfd, 1);
    TRY("personality", SYS_personality, 0xffffffff);
    TRY("open_by_handle_at", SYS_open_by_handle_at, AT_FDCWD, handle, 0);
    TRY("name_to_handle_at", SYS_name_to_handle_at, AT_FDCWD, path, handle, handle, 0);
    TRY("quotactl", SYS_quotactl, 0, 0, 0, 0);
    TRY("syslog", SYS_syslog, 3, handle, sizeof handle);
    TRY("reboot", SYS_reboot, 0, 0, 0, 0);
    TRY("swapon", SYS_swapon, path, 0);
    TRY("acct", SYS_acct, 0);
    TRY("sethostname", SYS_sethostname, "x", 1);
    TRY("settimeofday", SYS_settimeofday, 0, 0);
    TRY("init_module", SYS_init_module, 0, 0, "");
    TRY("finit_module", SYS_finit_module, -1, "", 0);
    TRY("delete_module", SYS_delete_module, "x", 0);
    TRY("kexec_load", SYS_kexec_load, 0, 0, 0, 0);
    TRY("fanotify_init", SYS_fanotify_init, 0, 0);
    TRY("mknod device", SYS_mknodat, AT_FDCWD, "/tmp/device", S_IFCHR | 0600, makedev(1, 1));
    TRY("mknod fifo", SYS_mknodat, AT_FDCWD, "/tmp/fifo", S_IFIFO | 0600, 0);
    TRY("setuid 0", SYS_setuid, 0);
    TRY("setgid 0", SYS_setgid, 0);
    TRY("unknown call", 1 << 20);
    errno = 0;
    void *huge = mmap(NULL, 2 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
    say("mmap huge", huge == MAP_FAILED ? -1 : 0);
}

/* By the entry of 32 bit programs: getpid. */
static void by_int80(void) {
#ifdef __x86_64__
    long answer;
    __asm__ volatile("int $0x80" : "=a"(answer) : "0"(20L) : "memory", "r8", "r9", "r10", "r11");
    printf("%ld", answer);
#endif
}

int main(int count, char *words[]) {
    if (count > 1 && strcmp(words[1], "int80") == 0)
        by_int80();
    else if (count > 1 && strcmp(words[1], "x32") == 0)
        printf("%ld", syscall(0x40000000 | SYS_getpid));
    if (count > 1)
        return 0;
    namespaces();
    sockets();
    terminals();
    the_rest();
    printf("}\n");
    return 0;
}
