/* A native function that does not leave the gate to the runtime: its constructor takes over
 * in the zygote, speaks isolate/gate.h itself, and tells one lie, named by the environment
 * variable LIE. What is not the lie is done as it should be, so that one check alone can find
 * it. Where the function is started ahead instead there is no gate, and it is honest.
 *
 * An event that a lying slot should never have had is answered {"lied": true}; one that the
 * program started ahead has, {"ahead": true}. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fnrun.h"
#include "images/runtimes/gate_client.h"

#define LATER 3 /* forks of the copy that are honest where the lie is told later */

static struct gate_client client;
static const char *lie = "";
static int lied, turn, folder = -1;
static char notes[1024]; /* what each refused call said: "name": errno, */
static char buffer[65536], stack[65536] __attribute__((aligned(16)));

static int is(const char *name) {
    return strcmp(lie, name) == 0;
}

/* What was answered to a forbidden thing: an errno, or 0 where it was given. */
static void tell_errno(const char *name, long result) {
    size_t used = strlen(notes);
    snprintf(notes + used, sizeof notes - used, ", \"%s\": %ld", name, result < 0 ? -result : 0);
}

#define RAW(number, a, b, c, d, e)                                                                 \
    gate_syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e))
#define TELL(name, number, a, b, c, d, e) tell_errno(name, RAW(number, a, b, c, d, e))

/* --- single lies ---------------------------------------------------------------------------- */

static void share_memory(void) {
    (void)mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

/* A file that was opened for writing: mprotect makes it writable at any time. */
static void map_file(const char *path, int protection, int flags) {
    int fd = open(path, O_RDWR | O_CREAT, 0666);
    if (ftruncate(fd, 4096) < 0 || mmap(NULL, 4096, protection, flags, fd, 0) == MAP_FAILED)
        gate_exit(70);
    close(fd);
}

__attribute__((noreturn)) static int thread(void *unused) {
    (void)unused;
    for (;;)
        RAW(__NR_pause, 0, 0, 0, 0, 0);
}

/* Without CLONE_FS and CLONE_FILES, with which joining a mount namespace fails. */
static void start_thread(void) {
    clone(thread, stack + sizeof stack, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
          NULL);
}

static pid_t start_helper(void) {
    pid_t pid = (pid_t)RAW(__NR_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        thread(NULL);
    return pid;
}

/* Seen by F, if the copy runs while F does. */
static void tick(int number) {
    (void)number;
    close(open("/tmp/tick", O_CREAT | O_WRONLY, 0600));
}

static void start_timer(void) {
    const struct itimerval often = {{0, 10000}, {0, 10000}};
    signal(SIGALRM, tick);
    setitimer(ITIMER_REAL, &often, NULL);
}

static void add_filter(void) {
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &allow};
    RAW(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program, 0, 0);
}

static void wait_until_gone(pid_t pid) {
    while (kill(pid, 0) == 0 || errno == EPERM)
        sched_yield();
}

/* Whoever asks for the event in F's place. */
__attribute__((noreturn)) static void impersonate(void) {
    lied = 1;
    gate(GATE_EVENT, buffer, sizeof buffer, 0);
    gate_reply("{\"lied\": true}", 14, GATE_RESULT);
}

/* --- F ---------------------------------------------------------------------------------------- */

static int asks(const char *what) {
    return strstr(buffer, what) != NULL;
}

/* For ten of its ticks. */
static void watch_the_timer(void) {
    struct timespec now, start;
    unlink("/tmp/tick"); /* of before the copy was frozen */
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec < 100000000L);
    tell_errno("tick", access("/tmp/tick", F_OK) < 0 ? -errno : 0);
}

/* Replies that are none. */
static void lie_about_the_reply(void) {
    if (asks("reply from a child")) {
        pid_t child = fork();
        if (child == 0) {
            _exit((int)-gate(GATE_REPLY, "{\"lied\": true}", 14, GATE_RESULT));
        }
        int status = 0;
        waitpid(child, &status, 0);
        tell_errno("reply", -WEXITSTATUS(status));
    } else if (asks("reply from nowhere")) {
        gate_reply((void *)64, 4096, GATE_RESULT);
    } else if (asks("reply of everything")) {
        gate_reply(buffer, 1UL << 62, GATE_RESULT);
    } else if (asks("reply of a strange kind")) {
        gate_reply("{\"lied\": false}", 15, 77);
    } else if (asks("ask again")) {
        tell_errno("event", gate(GATE_EVENT, buffer, sizeof buffer, 0));
        tell_errno("more", gate(GATE_MORE, buffer, sizeof buffer, 0));
        tell_errno("zygote", gate(GATE_ZYGOTE, 0, 0, 0));
        tell_errno("failed", gate(GATE_FAILED, "{}", 2, 0));
        tell_errno("enter", gate(GATE_ENTER, buffer, sizeof buffer, 0));
        tell_errno("unknown", gate(99, 0, 0, 0));
        TELL("setresuid", __NR_setresuid, 0, 0, 0, 0, 0);
    }
}

__attribute__((noreturn)) static void be_event(void) {
    char text[2048];
    RAW(__NR_prctl, PR_SET_DUMPABLE, !is("F is not dumpable"), 0, 0, 0);
    if (!is("F stays in the copy's process group"))
        setpgid(0, 0);
    else
        lied = 1;
    if (is("F ends before its event") || (is("impostor of F") && turn == 0))
        gate_exit(0);
    /* The length, then the event (isolate/gate.h). */
    if (gate(GATE_EVENT, buffer, sizeof buffer - 1, 0) < 0)
        gate_exit(0);
    long answer = *(long *)(void *)buffer;
    if (answer & GATE_TRIAL)
        gate_reply(NULL, 0, GATE_RESULT);
    answer = answer < (long)(sizeof buffer - sizeof answer) ? answer : 0;
    __builtin_memmove(buffer, buffer + sizeof answer, (unsigned long)answer);
    buffer[answer] = 0;
    if (is("an interval timer in the copy"))
        watch_the_timer();
    lie_about_the_reply();
    snprintf(text, sizeof text, "{\"lied\": %s, \"turn\": %d, \"pid\": %d%s}",
             lied ? "true" : "false", turn, (int)getpid(), notes);
    gate_reply(text, strlen(text), GATE_RESULT);
}

/* --- Z_s: joining ------------------------------------------------------------------------------
 */

static int joins(int index) {
    static const char *const names[GATE_NAMESPACES] = {"pid", "mnt", "ipc", "uts", "cgroup", "net"};
    char name[40];
    snprintf(name, sizeof name, "does not join %s", names[index]);
    return !is(name);
}

static void join(void) {
    static const int kinds[GATE_NAMESPACES] = {CLONE_NEWPID, CLONE_NEWNS,     CLONE_NEWIPC,
                                               CLONE_NEWUTS, CLONE_NEWCGROUP, CLONE_NEWNET};
    if (is("a thread in the copy"))
        start_thread();
    for (int i = 0; i < GATE_NAMESPACES; i++)
        if (joins(i) && RAW(__NR_setns, GATE_NAMESPACE_FD + i, kinds[i], 0, 0, 0) < 0)
            gate_exit(GATE_EXIT_NAMESPACE + i);
    if (is("works in the zygote's /tmp"))
        fchdir(folder);
    else if (is("works in /tmp"))
        chdir("/tmp");
    else if (is("works outside"))
        chdir("/usr");
    else
        chdir(client.folder);
}

static void take_ids(long answer) {
    long id = GATE_SLOT_ID(answer);
    if (is("becomes somebody else")) {
        TELL("root", __NR_setresuid, 0, 0, 0, 0, 0);
        TELL("neighbour", __NR_setresuid, id + 1, id + 1, id + 1, 0, 0);
        TELL("saved", __NR_setresuid, id, id, 0, 0, 0);
        TELL("keeps", __NR_setresuid, -1, -1, -1, 0, 0);
        TELL("rootgroup", __NR_setresgid, 0, 0, 0, 0, 0);
        TELL("setuid", __NR_setuid, 0, 0, 0, 0, 0);
        TELL("setreuid", __NR_setreuid, 0, 0, 0, 0, 0);
        TELL("setfsuid", __NR_setfsuid, 0, 0, 0, 0, 0);
        TELL("setgroups", __NR_setgroups, 0, 0, 0, 0, 0);
        TELL("newuser", __NR_setns, GATE_NAMESPACE_FD, CLONE_NEWUSER, 0, 0, 0);
        TELL("unshare", __NR_unshare, CLONE_NEWUSER, 0, 0, 0, 0);
        TELL("chroot", __NR_chroot, "/tmp", 0, 0, 0, 0);
        TELL("mount", __NR_mount, "none", "/tmp", "tmpfs", 0, 0);
        TELL("gatezygote", GATE_CALL, GATE_ZYGOTE, 0, 0, 0, 0);
    }
    if (!is("keeps its group id"))
        RAW(__NR_setresgid, id, id, id, 0, 0);
    if (!is("keeps its user id"))
        RAW(__NR_setresuid, id, id, id, 0, 0);
    RAW(__NR_prctl, PR_SET_DUMPABLE, !is("is not dumpable"), 0, 0, 0);
    if (!is("has no session"))
        setsid();
}

static void enter(void) {
    long answer = gate(GATE_ENTER, client.ranges, sizeof client.ranges, 0);
    if (answer < 0)
        gate_exit(GATE_EXIT_TASKS);
    for (long i = 0; i < GATE_TASKS_COUNT(answer); i++)
        if (!is("stays in the zygote's groups"))
            write(GATE_TASKS_FD + (int)i, "0", 1);
    if (is("enters and joins again")) {
        TELL("enter", GATE_CALL, GATE_ENTER, client.ranges, sizeof client.ranges, 0, 0);
        TELL("setns", __NR_setns, GATE_NAMESPACE_FD, CLONE_NEWPID, 0, 0, 0);
        TELL("setresuid", __NR_setresuid, getuid(), getuid(), getuid(), 0, 0);
    }
}

static void clone_otherwise(void) {
    const long plain = CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD,
               tid = client.tid_address;
    if (is("clones otherwise")) {
        TELL("vm", __NR_clone, GATE_CLONE_FLAGS | CLONE_VM, stack + sizeof stack, 0, tid, 0);
        TELL("files", __NR_clone, GATE_CLONE_FLAGS | CLONE_FILES, 0, 0, tid, 0);
        TELL("fs", __NR_clone, GATE_CLONE_FLAGS | CLONE_FS, 0, 0, tid, 0);
        TELL("vfork", __NR_clone, GATE_CLONE_FLAGS | CLONE_VM | CLONE_VFORK, stack + sizeof stack,
             0, tid, 0);
        TELL("signal", __NR_clone, (GATE_CLONE_FLAGS & ~0xffL) | SIGUSR1, 0, 0, tid, 0);
        TELL("user", __NR_clone, plain | CLONE_NEWUSER, 0, 0, tid, 0);
        TELL("newpid", __NR_clone, plain | CLONE_NEWPID, 0, 0, tid, 0);
        TELL("pidfd", __NR_clone, plain | CLONE_PIDFD, 0, buffer, tid, 0);
        TELL("clone3", __NR_clone3, buffer, 88, 0, 0, 0);
    } else if (is("F is the copy's own child")) {
        if (RAW(__NR_clone, plain, 0, 0, tid, 0) == 0)
            impersonate();
        thread(NULL);
    } else if (is("F shares memory by vfork")) {
        /* Its own stack: nothing is overwritten of the one that waits. */
        clone((int (*)(void *))impersonate, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD,
              NULL);
    }
}

static void lie_before_the_freeze(void) {
    if (is("shared memory made in the copy"))
        share_memory();
    else if (is("maps a file of /tmp for writing"))
        map_file("/tmp/map", PROT_READ, MAP_SHARED);
    else if (is("maps a file of /tmp"))
        map_file("/tmp/map", PROT_READ, MAP_PRIVATE);
    else if (is("a helper of the copy"))
        start_helper();
    else if (is("an interval timer in the copy"))
        start_timer();
    else if (is("another filter"))
        add_filter();
    clone_otherwise();
}

static void give_up(void) {
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{0, 0, 0}, {0, 0, 0}};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (is("keeps inheritable capabilities"))
        sets[0].inheritable = 1U << 21; /* CAP_SYS_ADMIN */
    if (!is("keeps capabilities"))
        RAW(__NR_capset, &head, sets, 0, 0, 0);
    RAW(__NR_close_range, 0, ~0U, 0, 0, 0);
    if (is("a descriptor open in the copy"))
        open("/dev/null", O_RDWR);
    else if (is("a directory open in the copy"))
        open("/tmp", O_RDONLY | O_DIRECTORY);
}

/* --- Z_s: between two events --------------------------------------------------------------------
 */

/* Everybody that a copy can see: the zygote, other copies, other slots' inits and events. */
static void attack_all(pid_t own) {
    const struct rlimit few = {0, 0};
    int killed = 0, reniced = 0, limited = 0;
    notes[0] = 0;
    for (pid_t pid = 1; pid < 32768; pid++) {
        if (pid == own || pid == getpid())
            continue;
        killed += kill(pid, SIGKILL) == 0;
        reniced += setpriority(PRIO_PROCESS, (id_t)pid, 19) == 0;
        limited += prlimit(pid, RLIMIT_NOFILE, &few, NULL) == 0;
    }
    tell_errno("killed", -killed);
    tell_errno("reniced", -reniced);
    tell_errno("limited", -limited);
}

static void lie_between(pid_t child) {
    int late = turn >= LATER;
    if (is("a descriptor opened late") || (is("a descriptor opened after events") && late)) {
        lied = 1;
        open("/dev/null", O_RDWR);
    } else if (is("shared memory made late") || (is("shared memory made after events") && late)) {
        lied = 1;
        share_memory();
    } else if (is("a helper made late")) {
        lied = 1;
        start_helper();
    } else if (is("impostor of F")) {
        wait_until_gone(child);
        if (RAW(__NR_clone, SIGCHLD, 0, 0, 0, 0) == 0)
            impersonate();
    } else if (is("leaves its gate for another's")) {
        impersonate();
    } else if (is("leaves its gate to join")) {
        RAW(__NR_setns, 3, CLONE_NEWNET, 0, 0, 0);
    } else if (is("leaves its gate to be root")) {
        RAW(__NR_setresuid, 0, 0, 0, 0, 0);
    } else if (is("attacks all")) {
        attack_all(child);
    }
}

__attribute__((noreturn)) static void be_copy(long answer) {
    if (is("impostor of the copy"))
        thread(NULL);
    join();
    take_ids(answer);
    enter();
    lie_before_the_freeze();
    give_up();
    for (;; turn++) {
        if (is("makes a helper of the keeper's") && turn == 1)
            tell_errno("parent", RAW(__NR_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0));
        long child = gate_clone(client.tid_address);
        if (child == 0)
            be_event();
        if (child < 0)
            gate_exit(GATE_EXIT_CLONE);
        lie_between((pid_t)child);
    }
}

/* --- Z ------------------------------------------------------------------------------------------
 */

static void lie_before_the_gate(void) {
    if (is("shared memory made in the zygote"))
        share_memory();
    else if (is("maps a writable file"))
        map_file("/tmp/map", PROT_READ, MAP_SHARED);
    else if (is("maps a file privately"))
        map_file("/tmp/map", PROT_READ, MAP_PRIVATE);
    else if (is("a descriptor open in the zygote"))
        open("/dev/null", O_RDWR);
    else if (is("a helper of the zygote"))
        start_helper();
    else if (is("a thread in the zygote"))
        start_thread();
    else if (is("a child becomes root")) {
        pid_t child = fork();
        if (child == 0)
            _exit((int)-RAW(__NR_setresuid, 0, 0, 0, 0, 0));
        int status = 0;
        waitpid(child, &status, 0);
        tell_errno("root", -WEXITSTATUS(status));
    } else if (is("clones unasked")) {
        TELL("clone", __NR_clone, GATE_CLONE_FLAGS, 0, 0, client.tid_address, 0);
        TELL("setns", __NR_setns, 0, CLONE_NEWPID, 0, 0, 0);
        TELL("setresuid", __NR_setresuid, 0, 0, 0, 0, 0);
        TELL("enter", GATE_CALL, GATE_ENTER, buffer, sizeof buffer, 0, 0);
        TELL("event", GATE_CALL, GATE_EVENT, buffer, sizeof buffer, 0, 0);
        TELL("reply", GATE_CALL, GATE_REPLY, buffer, 1, 0, 0);
    }
}

/* Asked for a copy. */
static pid_t lie_before_the_clone(void) {
    if (is("shared memory made for the copy"))
        share_memory();
    else if (is("works in the zygote's /tmp"))
        folder = open("/tmp", O_PATH | O_DIRECTORY);
    else if (is("a helper while copying"))
        return start_helper();
    else if (is("impostor of the copy")) {
        pid_t child = fork();
        /* Refused until the real copy was made, which does not ask. */
        while (child == 0 && gate(GATE_ENTER, client.ranges, sizeof client.ranges, 0) < 0)
            sched_yield();
        if (child == 0) {
            gate_clone(client.tid_address);
            impersonate();
        }
        return child;
    }
    return 0;
}

static void lie_after_the_clone(pid_t copy, pid_t helper) {
    if (is("impostor of the copy")) {
        waitpid(helper, NULL, 0);
        kill(copy, SIGKILL);
        wait_until_gone(copy);
    } else if (is("a thread in the copy")) {
        wait_until_gone(copy); /* it counts among the zygote's processes */
    } else if (helper > 0) {
        wait_until_gone(copy);
        kill(helper, SIGKILL);
        waitpid(helper, NULL, 0);
    } else if (is("a thread made late in the zygote")) {
        start_thread();
    } else if (is("a descriptor opened late in the zygote")) {
        open("/dev/zero", O_RDONLY);
    } else if (is("two copies")) {
        TELL("clone", __NR_clone, GATE_CLONE_FLAGS, 0, 0, client.tid_address, 0);
    }
}

__attribute__((noreturn)) static void be_zygote(void) {
    fflush(NULL);
    gate_prepare(&client);
    lie_before_the_gate();
    for (;;) {
        long answer = gate(GATE_ZYGOTE, 0, 0, 0);
        if (answer < 0)
            gate_exit(0);
        pid_t helper = lie_before_the_clone();
        long copy = is("makes no copy") ? -1 : gate_clone(client.tid_address);
        if (copy == 0)
            be_copy(answer);
        lie_after_the_clone((pid_t)copy, helper);
        RAW(__NR_close_range, GATE_NAMESPACE_FD, GATE_NAMESPACE_FD + GATE_NAMESPACES - 1, 0, 0, 0);
        if (folder >= 0)
            close(folder);
        folder = -1;
    }
}

/* The runtime has taken FNRUN_GATE out of the environment; it was there when the program
 * started. */
static int is_gated(void) {
    static char text[65536];
    int fd = open("/proc/self/environ", O_RDONLY);
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    return length > 0 &&
           memmem(text, (size_t)length, GATE_VARIABLE "=1", sizeof GATE_VARIABLE + 1) != NULL;
}

__attribute__((constructor)) static void take_over(void) {
    lie = getenv("LIE");
    if (!lie)
        lie = "";
    else if (is_gated())
        be_zygote();
}

int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    (void)event;
    return fnrun_result_write(result, "{\"ahead\": true}", 15);
}
