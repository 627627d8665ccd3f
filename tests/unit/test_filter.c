/* The embedded filters, the zygote's too, against libseccomp's own answers to the same
 * rules (simulated, so that both architectures are tested on one machine); of the
 * ordinary one the promises by name, and real system calls. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/filter.h"
#include "isolate/filter_rules.h"
#include "tests/unit/filter_ask.h"

/* --- alike ----------------------------------------------------------------------------- */

static bool named_in_groups(const char *call) {
    for (size_t i = 0; i < FILTER_COUNT(filter_groups); i++)
        if (oracle_list_has(filter_groups[i].calls, call))
            return true;
    for (size_t i = 0; i < FILTER_COUNT(filter_checks); i++)
        if (strcmp(filter_checks[i].call, call) == 0)
            return true;
    return false;
}

static void every_call_that_libseccomp_knows_gets_libseccomps_answer(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        unsigned compared = 0;
        for (int number = 0; number <= 600; number++) {
            char *name = seccomp_syscall_resolve_num_arch(machine->seccomp, number);
            if (name && named_in_groups(name)) {
                for (unsigned i = 0; i < 6; i++) {
                    struct seccomp_data data = {.nr = number, .arch = machine->audit};
                    for (unsigned j = 0; j < 6; j++)
                        data.args[j] = i % 2 ? ~(uint64_t)0 >> (8 * i) : GARBAGE >> i;
                    assert_alike(machine, &data);
                }
                compared++;
            }
            free(name);
        }
        assert_true(compared > 300);
    }
}

static void every_call_up_to_the_newest_in_the_rules_is_named_there(void **state) {
    (void)state;
    int newest = filter_numbers[FILTER_COUNT(filter_numbers) - 1].number;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++)
        for (int number = 0; number <= newest; number++) {
            char *name = seccomp_syscall_resolve_num_arch(machine->seccomp, number);
            if (name && !named_in_groups(name))
                fail_msg("%s (%d on %s) is in no group", name, number, machine->name);
            free(name);
        }
}

static void assert_unknown(const struct machine *machine, uint32_t first, uint32_t last) {
    for (uint32_t number = first; number <= last; number++) {
        struct seccomp_data data = {.nr = (int)number, .arch = machine->audit};
        if (machine->zygote && number == GATE_CALL)
            continue;
        assert_int_equal(REFUSED(ENOSYS), ask(machine, &data));
    }
}

static void a_number_that_nobody_named_answers_enosys(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        assert_unknown(machine, 337, 423); /* no architecture has these */
        assert_unknown(machine, 471, 5000);
        assert_unknown(machine, X32 - 1000, X32 - 1);
        struct seccomp_data none = {.nr = -1, .arch = machine->audit};
        assert_int_equal(REFUSED(ENOSYS), ask(machine, &none));
        if (machine->audit == AUDIT_ARCH_AARCH64) {
            assert_unknown(machine, 244, 259);
            assert_unknown(machine, X32, X32 + 600); /* it knows no x32 either */
        }
    }
}

static void newer_calls_than_libseccomps_have_the_groups_answer(void **state) {
    (void)state;
    assert_all(ALLOWED, "mseal setxattrat getxattrat listxattrat removexattrat file_getattr "
                        "file_setattr fchmodat2 futex_wait futex_wake futex_requeue uretprobe");
    assert_all(REFUSED(EPERM), "statmount listmount open_tree_attr listns");
    assert_all(REFUSED(ENOSYS), "lsm_get_self_attr lsm_set_self_attr lsm_list_modules cachestat");
}

static uint64_t random_state = 88172645463325252u;
static uint64_t next_random(void) { /* xorshift: the same numbers in every run */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void try_checked(const struct machine *machine, int number, const struct filter_check *check,
                        uint64_t value) {
    static const uint64_t high[] = {0, 1ull << 32, GARBAGE, ~0ull << 32};
    for (size_t i = 0; i < FILTER_COUNT(high); i++) {
        struct seccomp_data data = {.nr = number, .arch = machine->audit};
        for (unsigned j = 0; j < 6; j++) /* small ones too, or socket's other check hides this */
            data.args[j] = i == 0 ? 1 : next_random() >> (next_random() % 64);
        data.args[check->argument] = (value & 0xffffffff) | high[i];
        assert_alike(machine, &data);
        data.args[check->argument] = value;
        assert_alike(machine, &data);
    }
}

static void try_check(const struct machine *machine, const struct filter_check *check) {
    int number = seccomp_syscall_resolve_name_arch(machine->seccomp, check->call);
    if (number < 0)
        return;
    for (uint32_t value = 0; value < 256; value++)
        try_checked(machine, number, check, value);
    for (unsigned bit = 0; bit < 64; bit++) {
        try_checked(machine, number, check, 1ull << bit);
        for (unsigned v = 0; v < check->count; v++) {
            try_checked(machine, number, check, check->values[v] ^ (1ull << bit));
            try_checked(machine, number, check, check->values[v] + bit);
            try_checked(machine, number, check, check->values[v] - bit);
        }
    }
    for (unsigned n = 0; n < 1000; n++)
        try_checked(machine, number, check, next_random() >> (n % 64));
}

static void checked_arguments_get_libseccomps_answer_whatever_stands_above_32_bits(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        for (size_t i = 0; i < FILTER_COUNT(filter_checks); i++)
            try_check(machine, &filter_checks[i]);
        for (size_t i = 0; i < FILTER_COUNT(filter_zygote_checks); i++)
            try_check(machine, &filter_zygote_checks[i]);
    }
}

static void every_mixture_of_clones_flags_gets_libseccomps_answer(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        int number = seccomp_syscall_resolve_name_arch(machine->seccomp, "clone");
        for (uint64_t bits = 0; bits < 1 << 16; bits++) { /* CLONE_VM to CLONE_NEWNS, and more */
            struct seccomp_data data = {.nr = number, .arch = machine->audit};
            data.args[0] = bits << 8 | (bits % 5 ? SIGCHLD : 0) | (bits % 3 ? 0 : GARBAGE) |
                           (bits % 7 ? 0 : CLONE_NEWUSER);
            assert_alike(machine, &data);
        }
    }
}

static void every_family_and_type_of_socket_gets_libseccomps_answer(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        int number = seccomp_syscall_resolve_name_arch(machine->seccomp, "socket");
        for (uint64_t family = 0; family < 64; family++)
            for (uint64_t type = 0; type < 32; type++) {
                struct seccomp_data data = {.nr = number, .arch = machine->audit};
                data.args[0] = family | (type % 2 ? GARBAGE : 0);
                data.args[1] = type | SOCK_CLOEXEC | (family % 2 ? GARBAGE : 0);
                assert_alike(machine, &data);
            }
    }
}

static void every_foreign_architecture_is_killed(void **state) {
    (void)state;
    static const uint32_t foreign[] = {AUDIT_ARCH_I386,
                                       AUDIT_ARCH_ARM,
                                       AUDIT_ARCH_X86_64,
                                       AUDIT_ARCH_AARCH64,
                                       AUDIT_ARCH_MIPS64,
                                       AUDIT_ARCH_RISCV64,
                                       AUDIT_ARCH_S390X,
                                       AUDIT_ARCH_PPC64LE,
                                       AUDIT_ARCH_ARMEB,
                                       0x400000b7u,
                                       0x4000003eu,
                                       0x8000003eu,
                                       0x800000b7u,
                                       0,
                                       1,
                                       0xffffffff};
    for (struct machine *machine = machines; machine < MACHINES_END; machine++)
        for (size_t i = 0; i < FILTER_COUNT(foreign); i++)
            for (int number = -1; number <= 600 && foreign[i] != machine->audit; number++) {
                struct seccomp_data data = {.nr = number, .arch = foreign[i]};
                assert_int_equal(KILLED, ask(machine, &data));
                assert_alike(machine, &data);
            }
}

static void x32_calls_are_killed(void **state) {
    (void)state;
    static const uint32_t numbers[] = {X32,        X32 + 39,   X32 + 512, X32 + 600,
                                       0x7fffffff, 0x80000000, 0xfffffffe};
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        if (machine->audit != AUDIT_ARCH_X86_64)
            continue;
        for (size_t i = 0; i < FILTER_COUNT(numbers); i++) {
            struct seccomp_data data = {.nr = (int)numbers[i], .arch = AUDIT_ARCH_X86_64};
            assert_int_equal(KILLED, ask(machine, &data));
            assert_alike(machine, &data);
        }
        for (uint32_t number = 0; number <= 1024; number++) {
            struct seccomp_data data = {.nr = (int)(X32 + number), .arch = AUDIT_ARCH_X86_64};
            assert_int_equal(KILLED, ask(machine, &data));
        }
    }
}

/* --- the promises, by name ---------------------------------------------------------------- */

static void clone3_answers_enosys_so_that_libc_uses_clone(void **state) {
    (void)state;
    assert_all(REFUSED(ENOSYS), "clone3");
}

static void clone_makes_threads_and_processes_but_no_namespace(void **state) {
    (void)state;
    static const uint64_t refused[] = {0x00020000, 0x02000000, 0x04000000, 0x08000000,
                                       0x10000000, 0x20000000, 0x40000000, CLONE_PARENT};
    const uint64_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                            CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                            CLONE_CHILD_CLEARTID;
    const uint64_t fork = CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD;
    const uint64_t spawn = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD;
    assert_everywhere(ALLOWED, "clone", thread, 0, 0, 0);
    assert_everywhere(ALLOWED, "clone", fork, 0, 0, 0);
    assert_everywhere(ALLOWED, "clone", spawn, 0, 0, 0);
    for (size_t i = 0; i < FILTER_COUNT(refused); i++) {
        assert_everywhere(REFUSED(EPERM), "clone", refused[i], 0, 0, 0);
        assert_everywhere(REFUSED(EPERM), "clone", fork | refused[i] | GARBAGE, 0, 0, 0);
    }
    /* 0x80 is CLONE_NEWTIME to clone3 and unshare, but part of clone's exit signal. */
    assert_everywhere(ALLOWED, "clone", 0x80, 0, 0, 0);
}

static void no_input_is_put_into_a_terminal_whatever_the_high_bits(void **state) {
    (void)state;
    assert_everywhere(REFUSED(EPERM), "ioctl", 0, 0x5412, 0, 0); /* TIOCSTI */
    assert_everywhere(REFUSED(EPERM), "ioctl", 0, 0x5412 | GARBAGE, 0, 0);
    assert_everywhere(REFUSED(EPERM), "ioctl", 0, 0x541c, 0, 0); /* TIOCLINUX */
    assert_everywhere(REFUSED(EPERM), "ioctl", 0, 0x100000000 | 0x541c, 0, 0);
    assert_everywhere(ALLOWED, "ioctl", 0, 0x5413, 0, 0); /* TIOCGWINSZ */
    assert_everywhere(ALLOWED, "ioctl", 0, 0x5401, 0, 0); /* TCGETS */
    assert_everywhere(ALLOWED, "ioctl", 0, 0x541b, 0, 0); /* FIONREAD */
}

static void only_unix_and_internet_sockets_can_be_made(void **state) {
    (void)state;
    static const int allowed[] = {AF_UNIX, AF_INET, AF_INET6};
    for (size_t i = 0; i < FILTER_COUNT(allowed); i++) {
        assert_everywhere(ALLOWED, "socket", (uint64_t)allowed[i], SOCK_STREAM, 0, 0);
        assert_everywhere(ALLOWED, "socket", (uint64_t)allowed[i] | GARBAGE,
                          SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC | GARBAGE, 0, 0);
    }
    /* netlink, packet, vsock, alg, key, xdp, tipc, bluetooth, can, unspecified */
    static const uint64_t refused[] = {16, 17, 40, 38, 15, 44, 30, 31, 29, 0};
    for (size_t i = 0; i < FILTER_COUNT(refused); i++)
        for (uint64_t type = 0; type < 16; type++) {
            assert_everywhere(REFUSED(EPERM), "socket", refused[i], type, 0, 0);
            assert_everywhere(REFUSED(EPERM), "socket", refused[i] | GARBAGE, type, 0, 0);
        }
    /* The kernel makes an AF_PACKET socket of an AF_INET one of type SOCK_PACKET. */
    assert_everywhere(REFUSED(EPERM), "socket", AF_INET, SOCK_PACKET, 0, 0);
    assert_everywhere(REFUSED(EPERM), "socket", AF_INET, SOCK_PACKET | SOCK_CLOEXEC, 0, 0);
    assert_everywhere(REFUSED(EPERM), "socket", AF_INET, SOCK_RAW, 1, 0);
    assert_everywhere(ALLOWED, "socketpair", AF_UNIX, SOCK_STREAM, 0, 0);
    assert_everywhere(REFUSED(EPERM), "socketpair", 30, SOCK_STREAM, 0, 0);
}

static void what_reaches_beyond_the_slot_is_refused_with_eperm(void **state) {
    (void)state;
    assert_all(REFUSED(EPERM),
               "unshare setns mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig "
               "fsmount fspick mount_setattr keyctl add_key request_key bpf perf_event_open "
               "io_uring_setup io_uring_enter io_uring_register userfaultfd ptrace "
               "process_vm_readv process_vm_writev kexec_load kexec_file_load init_module "
               "finit_module delete_module create_module personality quotactl quotactl_fd "
               "open_by_handle_at name_to_handle_at kcmp pidfd_getfd process_madvise swapon "
               "swapoff reboot settimeofday clock_settime adjtimex clock_adjtime acct syslog iopl "
               "ioperm modify_ldt lookup_dcookie nfsservctl vhangup sethostname setdomainname "
               "fanotify_init memfd_secret");
}

static void no_device_can_be_made_but_files_fifos_and_sockets_can(void **state) {
    (void)state;
    static const uint64_t allowed[] = {0, S_IFREG, S_IFIFO, S_IFSOCK};
    for (size_t i = 0; i < FILTER_COUNT(allowed); i++) {
        assert_everywhere(ALLOWED, "mknod", 0, allowed[i] | 0644, 0, 0);
        assert_everywhere(ALLOWED, "mknodat", 0, 0, allowed[i] | 07777 | GARBAGE, 0);
    }
    assert_everywhere(REFUSED(EPERM), "mknod", 0, S_IFCHR | 0644, 0, 0);
    assert_everywhere(REFUSED(EPERM), "mknodat", 0, 0, S_IFCHR | 0644, 0);
    assert_everywhere(REFUSED(EPERM), "mknodat", 0, 0, S_IFBLK | GARBAGE, 0);
    assert_everywhere(REFUSED(EPERM), "mknodat", 0, 0, S_IFBLK | 0x10000, 0);
}

static void no_huge_page_is_taken_past_the_memory_limit(void **state) {
    (void)state;
    const uint64_t anonymous = MAP_PRIVATE | MAP_ANONYMOUS;
    assert_everywhere(ALLOWED, "mmap", 0, 4096, PROT_READ, anonymous);
    assert_everywhere(REFUSED(EPERM), "mmap", 0, 4096, PROT_READ, anonymous | MAP_HUGETLB);
    assert_everywhere(REFUSED(EPERM), "mmap", 0, 4096, PROT_READ, MAP_HUGETLB | 21ull << 26);
    assert_everywhere(ALLOWED, "memfd_create", 0, MFD_CLOEXEC | MFD_ALLOW_SEALING, 0, 0);
    assert_everywhere(REFUSED(EPERM), "memfd_create", 0, MFD_CLOEXEC | MFD_HUGETLB, 0, 0);
}

static void what_libcs_and_interpreters_need_is_allowed(void **state) {
    (void)state;
    assert_all(ALLOWED,
               "read write openat openat2 execve execveat vfork wait4 waitid futex futex_waitv "
               "rseq set_robust_list membarrier getrandom statx faccessat2 close_range pidfd_open "
               "pidfd_send_signal epoll_pwait2 sched_setaffinity sched_getattr shmget semop msgsnd "
               "mq_open inotify_add_watch timerfd_create eventfd2 signalfd4 splice tee vmsplice "
               "copy_file_range mlock2 prlimit64 capget capset setresuid setgroups arch_prctl "
               "rt_sigreturn restart_syscall seccomp landlock_restrict_self rename getdents64 "
               "clock_nanosleep mprotect madvise kill tgkill exit_group");
    assert_everywhere(ALLOWED, "prctl", 15, 0, 0, 0); /* PR_SET_NAME */
    assert_everywhere(REFUSED(EPERM), "prctl", 62 | GARBAGE, 1, 0, 0);
}

static void sync_succeeds_without_touching_the_machines_disks(void **state) {
    (void)state;
    assert_all(REFUSED(0), "sync syncfs");
    assert_all(ALLOWED, "fsync fdatasync");
}

static void no_way_through_is_longer_than_25_instructions(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        int longest = bpf_longest_path(machine->program, machine->count);
        assert_true(longest > 0 && longest <= 25);
        assert_true(machine->count <= 200);
    }
}

static void a_filter_with_long_jumps_is_valid_too(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        unsigned long_jumps = 0;
        for (size_t i = 0; i < machine->long_count; i++) {
            const struct sock_filter *now = &machine->with_long_jumps[i];
            assert_true(now->jt <= 20 && now->jf <= 20);
            long_jumps += now->code == (BPF_JMP | BPF_JA);
        }
        assert_true(long_jumps > 20);
        assert_true(bpf_longest_path(machine->with_long_jumps, machine->long_count) > 0);
    }
}

/* --- the native filter, loaded ---------------------------------------------------------------- */

/* Runs the probe in a child that has loaded the filter. Returns the wait status. */
static int filtered(int (*probe)(void)) {
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || filter_load() != 0)
            _exit(99);
        _exit(probe());
    }
    assert_true(child > 0);
    assert_int_equal(child, waitpid(child, &status, 0));
    return status;
}

static int probe_refusals(void) {
    char name[] = "/tmp/filter-device";
    EXPECT(FAILS_WITH(ENOSYS, syscall(435 /* clone3 */, NULL, 0)));
    EXPECT(FAILS_WITH(ENOSYS, syscall(999)));
    EXPECT(FAILS_WITH(ENOSYS, syscall(-1)));
    EXPECT(FAILS_WITH(EPERM, unshare(CLONE_NEWUSER)));
    EXPECT(FAILS_WITH(EPERM, unshare(0)));
    EXPECT(FAILS_WITH(EPERM, ptrace(PTRACE_TRACEME, 0, 0, 0)));
    EXPECT(FAILS_WITH(EPERM, socket(AF_NETLINK, SOCK_DGRAM, 0)));
    EXPECT(FAILS_WITH(EPERM, socket(AF_INET, SOCK_PACKET, 0)));
    EXPECT(FAILS_WITH(EPERM, syscall(SYS_ioctl, 0, TIOCSTI | (long)GARBAGE, "x")));
    EXPECT(FAILS_WITH(EPERM, syscall(SYS_keyctl, 0, -3)));
    EXPECT(FAILS_WITH(EPERM, syscall(425 /* io_uring_setup */, 1, NULL)));
    EXPECT(FAILS_WITH(EPERM, syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)));
    EXPECT(FAILS_WITH(EPERM, mknod(name, S_IFCHR | 0600, makedev(1, 3))));
    return 0;
}

static void *add_one(void *number) {
    ++*(int *)number;
    return number;
}

static int probe_everyday_work(void) {
    pthread_t thread;
    pid_t child;
    int number = 1, status = 1, pair[2];
    char *arguments[] = {"true", NULL};
    EXPECT(pthread_create(&thread, NULL, add_one, &number) == 0);
    EXPECT(pthread_join(thread, NULL) == 0 && number == 2);
    EXPECT(posix_spawnp(&child, "true", NULL, NULL, arguments, arguments + 1) == 0);
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    EXPECT(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0);
    EXPECT(syscall(SYS_sync) == 0);
    return 0;
}

static void real_calls_are_refused_with_the_promised_errors(void **state) {
    (void)state;
    assert_int_equal(0, filtered(probe_refusals));
}

static void threads_processes_and_sockets_work_under_the_filter(void **state) {
    (void)state;
    assert_int_equal(0, filtered(probe_everyday_work));
}

#if defined(__x86_64__)
static int probe_x32(void) {
    syscall(X32 + SYS_getpid);
    return 1;
}

static int probe_i386(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20 /* getpid */) : "memory");
    return 1;
}

static void a_real_x32_call_kills_the_process(void **state) {
    (void)state;
    int status = filtered(probe_x32);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void a_real_i386_call_kills_the_process(void **state) {
    (void)state;
    int status = filtered(probe_i386);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV) {
        print_message("SKIP: this kernel runs no i386 calls\n");
        skip();
    }
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}
#endif

static void loading_fails_with_eacces_where_new_privileges_are_possible(void **state) {
    (void)state;
    int status = 0;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 0) {
        print_message("SKIP: no_new_privs is set for this test itself\n");
        skip();
    }
    pid_t child = fork();
    if (child == 0) {
        if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
            _exit(99);
        _exit(filter_load() == -EACCES ? 0 : 1);
    }
    assert_int_equal(child, waitpid(child, &status, 0));
    assert_int_equal(0, status);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_that_libseccomp_knows_gets_libseccomps_answer),
        cmocka_unit_test(every_call_up_to_the_newest_in_the_rules_is_named_there),
        cmocka_unit_test(a_number_that_nobody_named_answers_enosys),
        cmocka_unit_test(newer_calls_than_libseccomps_have_the_groups_answer),
        cmocka_unit_test(checked_arguments_get_libseccomps_answer_whatever_stands_above_32_bits),
        cmocka_unit_test(every_mixture_of_clones_flags_gets_libseccomps_answer),
        cmocka_unit_test(every_family_and_type_of_socket_gets_libseccomps_answer),
        cmocka_unit_test(every_foreign_architecture_is_killed),
        cmocka_unit_test(x32_calls_are_killed),
        cmocka_unit_test(clone3_answers_enosys_so_that_libc_uses_clone),
        cmocka_unit_test(clone_makes_threads_and_processes_but_no_namespace),
        cmocka_unit_test(no_input_is_put_into_a_terminal_whatever_the_high_bits),
        cmocka_unit_test(only_unix_and_internet_sockets_can_be_made),
        cmocka_unit_test(what_reaches_beyond_the_slot_is_refused_with_eperm),
        cmocka_unit_test(no_device_can_be_made_but_files_fifos_and_sockets_can),
        cmocka_unit_test(no_huge_page_is_taken_past_the_memory_limit),
        cmocka_unit_test(what_libcs_and_interpreters_need_is_allowed),
        cmocka_unit_test(sync_succeeds_without_touching_the_machines_disks),
        cmocka_unit_test(no_way_through_is_longer_than_25_instructions),
        cmocka_unit_test(a_filter_with_long_jumps_is_valid_too),
        cmocka_unit_test(real_calls_are_refused_with_the_promised_errors),
        cmocka_unit_test(threads_processes_and_sockets_work_under_the_filter),
#if defined(__x86_64__)
        cmocka_unit_test(a_real_x32_call_kills_the_process),
        cmocka_unit_test(a_real_i386_call_kills_the_process),
#endif
        cmocka_unit_test(loading_fails_with_eacces_where_new_privileges_are_possible),
    };
    return cmocka_run_group_tests_name("filter", tests, make_oracles, free_oracles);
}
