/* The zygote's filter: its promises by name (that its answers are libseccomp's own is in
 * test_filter.c), and real calls of a child that has loaded it, with this test in the
 * keeper's place. */
#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "isolate/filter.h"
#include "isolate/filter_rules.h"
#include "isolate/gate.h"
#include "tests/unit/filter_ask.h"

#define NOTIFIED SECCOMP_RET_USER_NOTIF

static int ask_the_zygotes(void **state) {
    (void)state;
    asked_zygote = true;
    return 0;
}

/* --- the promises, by name ---------------------------------------------------------------- */

static void the_gate_is_notified_and_its_neighbours_are_unknown(void **state) {
    (void)state;
    assert_all(NOTIFIED, "fnrun_gate");
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        struct seccomp_data data = {.nr = GATE_CALL, .arch = machine->audit};
        assert_int_equal(machine->zygote ? NOTIFIED : REFUSED(ENOSYS), ask(machine, &data));
        data.nr = GATE_CALL - 1;
        assert_int_equal(REFUSED(ENOSYS), ask(machine, &data));
        data.nr = GATE_CALL + 1;
        assert_int_equal(REFUSED(ENOSYS), ask(machine, &data));
    }
}

static void every_setns_and_every_change_of_id_is_notified(void **state) {
    (void)state;
    assert_all(NOTIFIED, "setns setuid setgid setreuid setregid setresuid setresgid");
}

static void no_half_change_of_id_is_possible(void **state) {
    (void)state;
    assert_all(REFUSED(EPERM), "setfsuid setfsgid setgroups");
}

static void every_way_to_an_ipc_object_is_notified(void **state) {
    (void)state;
    assert_all(NOTIFIED, "shmget semget msgget mq_open");
}

static void calls_with_their_flags_in_memory_answer_enosys(void **state) {
    (void)state;
    assert_all(REFUSED(ENOSYS), "clone3 openat2");
}

static void sockets_but_unix_ones_are_notified_and_refused_ones_stay_refused(void **state) {
    (void)state;
    static const uint64_t types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET,
                                     SOCK_STREAM | SOCK_CLOEXEC | GARBAGE};
    for (size_t i = 0; i < FILTER_COUNT(types); i++) {
        assert_everywhere(ALLOWED, "socket", AF_UNIX, types[i], 0, 0);
        assert_everywhere(ALLOWED, "socket", AF_UNIX | GARBAGE, types[i], 0, 0);
        assert_everywhere(NOTIFIED, "socket", AF_INET, types[i], 0, 0);
        assert_everywhere(NOTIFIED, "socket", AF_INET6 | GARBAGE, types[i], 0, 0);
        assert_everywhere(REFUSED(EPERM), "socket", AF_NETLINK, types[i], 0, 0);
        assert_everywhere(REFUSED(EPERM), "socket", AF_PACKET, types[i], 0, 0);
        assert_everywhere(REFUSED(EPERM), "socket", 40 /* AF_VSOCK */, types[i], 0, 0);
        assert_everywhere(REFUSED(EPERM), "socket", 38 /* AF_ALG */, types[i], 0, 0);
    }
    assert_everywhere(REFUSED(EPERM), "socket", AF_INET, SOCK_RAW, 1, 0);
    assert_everywhere(REFUSED(EPERM), "socket", AF_INET, SOCK_PACKET, 0, 0);
    assert_everywhere(ALLOWED, "socketpair", AF_UNIX, SOCK_STREAM, 0, 0);
}

static void no_file_without_a_name_is_opened(void **state) {
    (void)state;
    const uint64_t nameless = O_TMPFILE | O_RDWR;
    assert_everywhere(REFUSED(EOPNOTSUPP), "open", 0, nameless, 0600, 0);
    assert_everywhere(REFUSED(EOPNOTSUPP), "open", 0, 020000000 | GARBAGE, 0600, 0);
    assert_everywhere(REFUSED(EOPNOTSUPP), "openat", nameless, 0, nameless, 0600);
    assert_everywhere(REFUSED(EOPNOTSUPP), "openat", 0, 0, 020000000 | GARBAGE, 0600);
    /* aarch64 has another O_DIRECTORY; the rest of O_TMPFILE is one bit on both. */
    assert_everywhere(ALLOWED, "open", 020000000, O_RDONLY | O_DIRECTORY, 020000000, 0);
    assert_everywhere(ALLOWED, "openat", 020000000, 020000000, O_CREAT | O_EXCL | O_RDWR, 0600);
    assert_everywhere(ALLOWED, "openat", 0, 0, 040000 | 0200000 | GARBAGE, 0);
}

static void everything_else_is_answered_as_by_the_ordinary_filter(void **state) {
    (void)state;
    const struct machine *ordinary = machines, *zygote = machines + 2;
    for (; zygote < MACHINES_END; ordinary++, zygote++) {
        unsigned compared = 0;
        assert_true(zygote->audit == ordinary->audit && zygote->zygote && !ordinary->zygote);
        for (int number = 0; number < 1200; number++) {
            char *name = seccomp_syscall_resolve_num_arch(zygote->seccomp, number);
            bool own = number == GATE_CALL || (name && oracle_overridden(name));
            free(name);
            for (uint64_t i = 0; i < 64 && !own; i++) {
                struct seccomp_data data = {.nr = number, .arch = zygote->audit};
                for (unsigned j = 0; j < 6; j++)
                    data.args[j] = i < 8 ? i : GARBAGE | 1ull << (i % 32);
                assert_int_equal(ask(ordinary, &data), ask(zygote, &data));
            }
            compared += !own;
        }
        assert_true(compared > 1150);
    }
}

/* --- clone ---------------------------------------------------------------------------------- */

#define THREAD                                                                                     \
    ((uint64_t)(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
                CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID))
#define FORK  ((uint64_t)(CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD))
#define VFORK ((uint64_t)(CLONE_VM | CLONE_VFORK | SIGCHLD))

static void assert_clone(uint32_t verdict, uint64_t flags) {
    assert_everywhere(verdict, "clone", flags, ~0ull, ~0ull, ~0ull);
    assert_everywhere(verdict, "clone", flags | GARBAGE, 0, 0, 0);
}

static void threads_forks_and_vforks_go_on_without_the_keeper(void **state) {
    (void)state;
    assert_clone(ALLOWED, THREAD);
    assert_clone(ALLOWED, THREAD | CLONE_PARENT); /* to the kernel it means nothing there */
    assert_clone(ALLOWED, FORK);
    assert_clone(ALLOWED, SIGCHLD);
    assert_clone(ALLOWED, 0);
    assert_clone(ALLOWED, VFORK);
    assert_clone(ALLOWED, CLONE_VFORK | SIGCHLD);
    assert_all(ALLOWED, "fork vfork");
}

static void a_clone_that_makes_a_child_of_the_keepers_is_notified(void **state) {
    (void)state;
    assert_clone(NOTIFIED, FORK | CLONE_PARENT); /* the gate's */
    assert_clone(NOTIFIED, CLONE_PARENT);
    assert_clone(NOTIFIED, VFORK | CLONE_PARENT);
}

static void a_process_shares_nothing_with_the_one_it_was_copied_from(void **state) {
    (void)state;
    static const uint64_t shared[] = {CLONE_FILES, CLONE_FS, CLONE_IO, CLONE_SYSVSEM};
    for (size_t i = 0; i < FILTER_COUNT(shared); i++) {
        assert_clone(REFUSED(EPERM), FORK | shared[i]);
        assert_clone(REFUSED(EPERM), VFORK | shared[i]);
        assert_clone(REFUSED(EPERM), FORK | CLONE_PARENT | shared[i]);
    }
    assert_clone(REFUSED(EPERM), CLONE_VM | SIGCHLD);
    assert_clone(REFUSED(EPERM), CLONE_VM | CLONE_SIGHAND | SIGCHLD);
    assert_clone(REFUSED(EPERM), CLONE_VM | CLONE_PARENT | SIGCHLD);
}

static void no_clone_makes_a_namespace_or_keeps_a_descriptor(void **state) {
    (void)state;
    static const uint64_t refused[] = {CLONE_NEWNS,   CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
                                       CLONE_NEWUSER, CLONE_NEWPID,    CLONE_NEWNET, CLONE_PIDFD};
    for (size_t i = 0; i < FILTER_COUNT(refused); i++) {
        assert_clone(REFUSED(EPERM), refused[i]);
        assert_clone(REFUSED(EPERM), FORK | refused[i]);
        assert_clone(REFUSED(EPERM), VFORK | refused[i]);
        assert_clone(REFUSED(EPERM), THREAD | refused[i]);
        assert_clone(REFUSED(EPERM), FORK | CLONE_PARENT | refused[i]);
    }
}

/* The sentences above as one expression, for every mixture. */
static uint32_t expected_of_clone(uint64_t flags) {
    if (flags & (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                 CLONE_NEWPID | CLONE_NEWNET | CLONE_PIDFD))
        return REFUSED(EPERM);
    if (flags & CLONE_THREAD)
        return ALLOWED;
    if ((flags & (CLONE_FILES | CLONE_FS | CLONE_IO | CLONE_SYSVSEM)) ||
        ((flags & CLONE_VM) && !(flags & CLONE_VFORK)))
        return REFUSED(EPERM);
    return flags & CLONE_PARENT ? NOTIFIED : ALLOWED;
}

static void every_mixture_of_clones_flags_is_judged_by_these_sentences(void **state) {
    (void)state;
    static const uint64_t flags[] = {
        CLONE_VM,    CLONE_FS,      CLONE_FILES,  CLONE_SIGHAND, CLONE_PIDFD,
        CLONE_VFORK, CLONE_PARENT,  CLONE_THREAD, CLONE_NEWNS,   CLONE_SYSVSEM,
        CLONE_IO,    CLONE_NEWUSER, CLONE_NEWPID, CLONE_SETTLS,  CLONE_CHILD_CLEARTID};
    for (uint32_t mixture = 0; mixture < 1u << FILTER_COUNT(flags); mixture++) {
        uint64_t mixed = SIGCHLD;
        for (size_t i = 0; i < FILTER_COUNT(flags); i++)
            mixed |= mixture >> i & 1 ? flags[i] : 0;
        assert_everywhere(expected_of_clone(mixed), "clone", mixed, 0, 0, 0);
    }
}

/* --- real calls ------------------------------------------------------------------------------- */

#define CALLS 32
struct kept {
    pid_t child;
    int listener;
    int calls[CALLS]; /* the numbers of those that were notified, in order */
    unsigned count;
};

/* Starts a child that loads the filter, runs the probe and exits with what it returns. */
static struct kept keep(int (*probe)(int listener)) {
    struct kept kept = {.listener = -1};
    int numbers[2], taken[2], number = -1, copied;
    assert_int_equal(0, pipe2(numbers, O_CLOEXEC));
    assert_int_equal(0, pipe2(taken, O_CLOEXEC));
    kept.child = fork();
    if (kept.child == 0) {
        char byte;
        close(taken[1]);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            _exit(98);
        number = filter_load_listener();
        if (write(numbers[1], &number, sizeof number) != sizeof number || number < 0)
            _exit(99);
        if (read(taken[0], &byte, 1) != 1)
            _exit(97);
        _exit(probe(number));
    }
    assert_true(kept.child > 0);
    assert_int_equal(sizeof number, read(numbers[0], &number, sizeof number));
    if (number < 0)
        fail_msg("filter_load_listener: %s", strerror(-number));
    copied = (int)syscall(SYS_pidfd_open, kept.child, 0);
    assert_true(copied >= 0);
    kept.listener = (int)syscall(SYS_pidfd_getfd, copied, number, 0);
    assert_true(kept.listener >= 0);
    assert_int_equal(1, write(taken[1], "", 1));
    close(copied);
    close(numbers[0]);
    close(numbers[1]);
    close(taken[0]);
    close(taken[1]);
    return kept;
}

/* The next notification; false: the child has ended. */
static bool receive(struct kept *kept, struct seccomp_notif *notification) {
    struct pollfd polled = {.fd = kept->listener, .events = POLLIN};
    assert_int_equal(1, poll(&polled, 1, 60000));
    if (!(polled.revents & POLLIN))
        return false;
    memset(notification, 0, sizeof *notification);
    assert_int_equal(0, ioctl(kept->listener, SECCOMP_IOCTL_NOTIF_RECV, notification));
    assert_true(kept->count < CALLS);
    kept->calls[kept->count++] = notification->data.nr;
    return true;
}

static void answer(const struct kept *kept, const struct seccomp_notif *notification, int64_t value,
                   int error, uint32_t flags) {
    struct seccomp_notif_resp response = {
        .id = notification->id, .val = value, .error = -error, .flags = flags};
    assert_int_equal(0, ioctl(kept->listener, SECCOMP_IOCTL_NOTIF_SEND, &response));
}

static int end(struct kept *kept) {
    int status = 0;
    assert_int_equal(kept->child, waitpid(kept->child, &status, 0));
    close(kept->listener);
    return status;
}

/* Lets changes of id and sockets go on, answers the gate with the sum of its arguments
 * and everything else with EXDEV. */
static int serve(struct kept *kept) {
    struct seccomp_notif notification;
    while (receive(kept, &notification)) {
        const struct seccomp_data *data = &notification.data;
        if (data->nr == GATE_CALL)
            answer(kept, &notification,
                   (int64_t)(data->args[0] + data->args[1] + data->args[2] + data->args[3]), 0, 0);
        else if (data->nr == SYS_setresuid || data->nr == SYS_setresgid || data->nr == SYS_socket)
            answer(kept, &notification, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
        else
            answer(kept, &notification, 0, EXDEV, 0);
    }
    return end(kept);
}

static int probe_notified(int listener) {
    EXPECT(close(listener) == 0);
    EXPECT(syscall(GATE_CALL, GATE_ZYGOTE, 40, 1L << 40, 0) == (1L << 40) + 41);
    EXPECT(FAILS_WITH(EXDEV, syscall(SYS_setns, -1, CLONE_NEWNET)));
    EXPECT(syscall(SYS_setresgid, getgid(), getgid(), getgid()) == 0);
    EXPECT(syscall(SYS_setresuid, getuid(), getuid(), getuid()) == 0);
    EXPECT(FAILS_WITH(EXDEV, shmget(IPC_PRIVATE, 4096, 0600)));
    EXPECT(FAILS_WITH(EXDEV, syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0)));
    EXPECT(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) >= 0);
    return 0;
}

static void real_calls_get_the_keepers_answer(void **state) {
    (void)state;
    static const int expected[] = {GATE_CALL,  SYS_setns, SYS_setresgid, SYS_setresuid,
                                   SYS_shmget, SYS_clone, SYS_socket};
    struct kept kept = keep(probe_notified);
    assert_int_equal(0, serve(&kept));
    assert_int_equal(FILTER_COUNT(expected), kept.count);
    assert_memory_equal(expected, kept.calls, sizeof expected);
}

static void *add_one(void *number) {
    ++*(int *)number;
    return number;
}

static int probe_everyday_work(int listener) {
    pthread_t thread;
    pid_t child;
    int number = 1, status = 1, pair[2];
    char *arguments[] = {"true", NULL}, name[] = "/tmp/filter-XXXXXX";
    EXPECT(close(listener) == 0);
    EXPECT(pthread_create(&thread, NULL, add_one, &number) == 0);
    EXPECT(pthread_join(thread, NULL) == 0 && number == 2);
    EXPECT(posix_spawnp(&child, "true", NULL, NULL, arguments, arguments + 1) == 0);
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    if ((child = fork()) == 0)
        _exit(7);
    EXPECT(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
    EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    EXPECT(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0);
    EXPECT(mkstemp(name) >= 0 && unlink(name) == 0);
    EXPECT(FAILS_WITH(EOPNOTSUPP, open("/tmp", O_TMPFILE | O_RDWR, 0600)));
    EXPECT(FAILS_WITH(ENOSYS, syscall(437 /* openat2 */, AT_FDCWD, "/", NULL, 0)));
    EXPECT(FAILS_WITH(EPERM, syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0)));
    EXPECT(FAILS_WITH(EPERM, socket(AF_NETLINK, SOCK_DGRAM, 0)));
    return 0;
}

static void everyday_work_never_waits_for_the_keeper(void **state) {
    (void)state;
    struct kept kept = keep(probe_everyday_work);
    assert_int_equal(0, serve(&kept));
    assert_int_equal(0, kept.count);
}

static int probe_listeners(int listener) {
    struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = 1, .filter = &allow};
    EXPECT(fcntl(listener, F_GETFD) == FD_CLOEXEC);
    EXPECT(close(listener) == 0);
    EXPECT(FAILS_WITH(EBUSY, syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                     SECCOMP_FILTER_FLAG_NEW_LISTENER, &program)));
    EXPECT(filter_load_listener() == -EBUSY);
    /* One of its own can only forbid more: the gate stays notified. */
    EXPECT(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
    EXPECT(FAILS_WITH(EBUSY, syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                     SECCOMP_FILTER_FLAG_NEW_LISTENER, &program)));
    EXPECT(syscall(GATE_CALL, 2, 3, 0, 0) == 5);
    return 0;
}

static void nobody_inside_gets_a_listener_of_his_own(void **state) {
    (void)state;
    struct kept kept = keep(probe_listeners);
    assert_int_equal(0, serve(&kept));
    assert_int_equal(1, kept.count);
}

static volatile sig_atomic_t handled;
static void handle(int number) {
    (void)number;
    handled = 1;
}

static int probe_signal(int listener) {
    struct sigaction action = {.sa_handler = handle}; /* no SA_RESTART: EINTR would show */
    EXPECT(close(listener) == 0);
    EXPECT(sigaction(SIGUSR1, &action, NULL) == 0);
    EXPECT(syscall(GATE_CALL, 1, 0, 0, 0) == 42);
    EXPECT(handled);
    return 0;
}

/* The process's state as in /proc/PID/stat. */
static char state_of(pid_t pid) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_true(read(file, text, sizeof text - 1) > 0);
    close(file);
    const char *name_end = strrchr(text, ')');
    assert_non_null(name_end);
    return name_end[2];
}

/* The kernel wakes it once, to find that it may not leave, and from then on ('D', not
 * 'S') it sleeps so that a fatal signal alone can wake it. */
static void no_signal_gets_a_call_out_of_the_gate(void **state) {
    (void)state;
    struct seccomp_notif notification;
    struct kept kept = keep(probe_signal);
    assert_true(receive(&kept, &notification));
    assert_int_equal(0, kill(kept.child, SIGUSR1));
    struct timespec pause = {.tv_nsec = 1000000};
    char now = 0;
    for (unsigned tries = 0; (now = state_of(kept.child)) != 'D' && tries < 10000; tries++) {
        assert_int_not_equal('Z', now);
        nanosleep(&pause, NULL);
    }
    assert_int_equal('D', now);
    assert_int_equal(0, ioctl(kept.listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &notification.id));
    answer(&kept, &notification, 42, 0, 0);
    assert_false(receive(&kept, &notification));
    assert_int_equal(0, end(&kept));
}

static int probe_gate(int listener) {
    close(listener);
    syscall(GATE_CALL, 1, 0, 0, 0);
    return 1;
}

static void a_process_that_waits_in_the_gate_can_be_killed(void **state) {
    (void)state;
    struct seccomp_notif notification;
    struct kept kept = keep(probe_gate);
    assert_true(receive(&kept, &notification));
    assert_int_equal(0, kill(kept.child, SIGKILL));
    int status = end(&kept);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_gate_is_notified_and_its_neighbours_are_unknown),
        cmocka_unit_test(every_setns_and_every_change_of_id_is_notified),
        cmocka_unit_test(no_half_change_of_id_is_possible),
        cmocka_unit_test(every_way_to_an_ipc_object_is_notified),
        cmocka_unit_test(calls_with_their_flags_in_memory_answer_enosys),
        cmocka_unit_test(sockets_but_unix_ones_are_notified_and_refused_ones_stay_refused),
        cmocka_unit_test(no_file_without_a_name_is_opened),
        cmocka_unit_test(everything_else_is_answered_as_by_the_ordinary_filter),
        cmocka_unit_test(threads_forks_and_vforks_go_on_without_the_keeper),
        cmocka_unit_test(a_clone_that_makes_a_child_of_the_keepers_is_notified),
        cmocka_unit_test(a_process_shares_nothing_with_the_one_it_was_copied_from),
        cmocka_unit_test(no_clone_makes_a_namespace_or_keeps_a_descriptor),
        cmocka_unit_test(every_mixture_of_clones_flags_is_judged_by_these_sentences),
        cmocka_unit_test(real_calls_get_the_keepers_answer),
        cmocka_unit_test(everyday_work_never_waits_for_the_keeper),
        cmocka_unit_test(nobody_inside_gets_a_listener_of_his_own),
        cmocka_unit_test(no_signal_gets_a_call_out_of_the_gate),
        cmocka_unit_test(a_process_that_waits_in_the_gate_can_be_killed),
    };
    return cmocka_run_group_tests_name("filter of the zygote", tests, ask_the_zygotes, NULL);
}
