#include <config.h>

#include "isolate/launcher_language.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "images/host.h"
#include "isolate/cleanup.h"
#include "isolate/lockdown.h"
#include "isolate/monotonic.h"
#include "isolate/root.h"
#include "isolate/wire.h"

#define SUPPORT     "/var/runtime/python"
#define FIRST_PAUSE 100000   /* us */
#define LAST_PAUSE  60000000 /* as often a broken one is tried again */
#define LIVED       10000000 /* longer than this: its end was not its start's fault */
#define LOCKED      65536    /* RLIMIT_MEMLOCK, as every function's */

/* ---- in the child ----------------------------------------------------------------------- */

__attribute__((noreturn)) static void fail(const char *step, int code) {
    fprintf(stderr, "fnrun-launcher: starting the language zygote: %s: %s\n", step,
            strerror(-code));
    _exit(127);
}

#define CHILD(step, call)                                                                          \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail(step, -errno);                                                                    \
    } while (0)

/* The launcher's death is this process's. A change of ids clears the signal. */
static void watch_launcher(const struct launcher_setup *setup) {
    struct pollfd launcher = {.fd = setup->launcher, .events = POLLIN};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (poll(&launcher, 1, 0) != 0)
        _exit(127);
}

/* The image as an environment has it. Where a function's folder would be there is an empty
 * one: of the prepared root, since the launcher knows no other. */
static void enter_image(const char *prepared) {
    char empty[600], null[600], extra[ROOT_EXTRA][16];
    const char *step = "";
    struct root_trees trees;
    struct stat st;
    snprintf(empty, sizeof empty, "%s/run", prepared);
    snprintf(null, sizeof null, "%s/dev/null", prepared);
    struct root_spec spec = {
        .prepared = prepared,
        .task = empty,
        .extra = extra,
        .own_devices = lstat(null, &st) == 0 && S_ISCHR(st.st_mode),
        .privileged = true,
        .machine_proc = true,
    };
    host_image_extra_mounts(extra);
    CHILD("a mount namespace", unshare(CLONE_NEWNS));
    CHILD("private mounts", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    int r = root_open(&spec, &trees, &step);
    if (r == 0)
        r = root_attach(&spec, &trees, &step);
    if (r == 0)
        r = root_pivot(&trees, &step);
    if (r < 0)
        fail(step, r);
}

/* Neither better nor worse off than any other process, whatever the launcher is. */
static void be_ordinary(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    setpriority(PRIO_PROCESS, 0, 0);
    if (fd >= 0 && write(fd, "0", 1) != 1)
        (void)0; /* it stays as the launcher is */
    cleanup_close(&fd);
}

/* Those that are the same for all zygotes; the others come with each request. */
static void set_limits(void) {
    const struct rlimit none = {0, 0}, locked = {LOCKED, LOCKED};
    CHILD("its limits", setrlimit(RLIMIT_CORE, &none));
    CHILD("its limits", setrlimit(RLIMIT_RTPRIO, &none));
    CHILD("its limits", setrlimit(RLIMIT_NICE, &none));
    CHILD("its limits", setrlimit(RLIMIT_MEMLOCK, &locked));
}

/* Root's privileges end here, all of them; the owner's come from his id alone, when he
 * enters a namespace that is his. */
static void become_owner(uint32_t uid, uint32_t gid) {
    CHILD("dropping groups", syscall(SYS_setgroups, 0, NULL));
    CHILD("its group id", syscall(SYS_setresgid, gid, gid, gid));
    for (int i = 0; i < 64; i++)
        if (prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            break;
    CHILD("its user id", syscall(SYS_setresuid, uid, uid, uid));
    int r = lockdown_capabilities();
    if (r < 0)
        fail("dropping capabilities", r);
    CHILD("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void take_descriptors(int socket) {
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHILD("/dev/null", null);
    /* Above its place first: it may be standing on one of them. */
    CHILD("its socket", socket = fcntl(socket, F_DUPFD_CLOEXEC, 10));
    CHILD("its descriptors", dup2(null, 0));
    CHILD("its descriptors", dup2(null, 1));
    CHILD("its descriptors", dup2(socket, LAUNCHER_SOCKET_FD));
    CHILD("its descriptors", (int)syscall(SYS_close_range, LAUNCHER_SOCKET_FD + 1, ~0U, 0));
}

/* In order. The program, its arguments and its variables are those of every function's
 * interpreter, so that what it keeps of them is right in each of its children. */
__attribute__((noreturn)) static void run(const struct launcher_setup *setup, const char *prepared,
                                          int socket) {
    static char language_assigned[] = LANGUAGE_VARIABLE "=1";
    char *const arguments[] = {FNRUN_PYTHON3, SUPPORT "/bootstrap.py", NULL};
    char *const environment[] = {language_assigned, "PATH=/usr/local/bin:/usr/bin:/bin",
                                 "HOME=/tmp",       "LANG=C.UTF-8",
                                 "TZ=:UTC",         NULL};
    uint32_t uid, gid;
    idmap_language(&setup->ids, &uid, &gid);
    watch_launcher(setup);
    lockdown_signals();
    be_ordinary();
    enter_image(prepared);
    set_limits();
    CHILD("its session", setsid());
    umask(022);
    become_owner(uid, gid);
    watch_launcher(setup);
    take_descriptors(socket);
    execve(FNRUN_PYTHON3, arguments, environment);
    fail("starting " FNRUN_PYTHON3, -errno);
}

/* ---- in the launcher ---------------------------------------------------------------------- */

static void forget(struct language *language) {
    language->pid = 0;
    language->ready = false;
    cleanup_close(&language->pidfd);
    cleanup_close(&language->socket);
    cleanup_close(&language->image);
}

static void pause_it(struct language *language) {
    uint64_t now = monotonic_us();
    if (language->began && now - language->began > LIVED)
        language->pause = 0;
    language->pause = language->pause ? language->pause * 2 : FIRST_PAUSE;
    if (language->pause > LAST_PAUSE)
        language->pause = LAST_PAUSE;
    language->retry_at = now + language->pause;
}

static int begin(struct language *language, const struct launcher_setup *setup) {
    char prepared[512];
    struct error err = {0};
    int ends[2];
    language->began = monotonic_us();
    language->image =
        host_image_open(setup->run_dir, setup->runtimes, prepared, sizeof prepared, &err);
    if (language->image < 0)
        return language->image;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    language->socket = ends[0];
    language->pid = fork();
    if (language->pid == 0)
        run(setup, prepared, ends[1]);
    close(ends[1]);
    if (language->pid < 0)
        return -errno;
    language->pidfd = (int)syscall(SYS_pidfd_open, language->pid, 0);
    if (language->pidfd < 0 || fcntl(language->socket, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    language->retry_at = 0;
    return 0;
}

static void start(struct language *language, const struct launcher_setup *setup) {
    int r = begin(language, setup);
    if (r == 0)
        return;
    fprintf(stderr, "fnrun-launcher: the language zygote cannot be started: %s\n", strerror(-r));
    language_close(language);
    pause_it(language);
}

static bool has_gate(const char *runtimes) {
    char path[600];
    snprintf(path, sizeof path, "%s/python/_gate.abi3.so", runtimes);
    return access(path, R_OK) == 0;
}

void language_open(struct language *language, const struct launcher_setup *setup) {
    *language = (struct language){.pidfd = -EBADF, .socket = -EBADF, .image = -EBADF};
    language->usable = FNRUN_PYTHON3[0] && access(FNRUN_PYTHON3, X_OK) == 0 &&
                       has_gate(setup->runtimes) && setup->ids.kind == IDMAP_RANGE &&
                       !cgroup_on_v2(&setup->layout);
    if (language->usable)
        start(language, setup);
}

void language_reap(struct language *language) {
    int status = 0;
    while (waitpid(language->pid, &status, __WALL) < 0 && errno == EINTR)
        ;
    fprintf(stderr,
            "fnrun-launcher: the language zygote ended (wait status %d) and will be started again: "
            "until then functions start slower\n",
            status);
    forget(language);
    pause_it(language);
}

void language_hear(struct language *language) {
    char byte = 0;
    size_t none = 0;
    ssize_t length = wire_receive(language->socket, &byte, 1, NULL, &none);
    if (length == -EAGAIN)
        return;
    if (length == 1 && byte == LANGUAGE_READY) {
        language->ready = true;
        return;
    }
    /* Its end is told by its pidfd, and what it says besides by nobody. */
    kill(language->pid, SIGKILL);
    language->ready = false;
    cleanup_close(&language->socket);
}

int language_tend(struct language *language, const struct launcher_setup *setup) {
    if (!language->usable || language->pid > 0)
        return -1;
    uint64_t now = monotonic_us();
    if (now >= language->retry_at)
        start(language, setup);
    return language->pid > 0 ? -1 : (int)((language->retry_at - now) / 1000) + 1;
}

bool language_ask(struct language *language, bool shared_network, const int *fds, size_t count) {
    const struct language_request request = {LAUNCHER_LANGUAGE, shared_network};
    return language->ready &&
           wire_send(language->socket, &request, sizeof request, fds, count) == 0;
}

void language_close(struct language *language) {
    if (language->pid > 0) {
        kill(language->pid, SIGKILL);
        while (waitpid(language->pid, NULL, __WALL) < 0 && errno == EINTR)
            ;
    }
    forget(language);
}
