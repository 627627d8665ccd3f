#include "runner/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/programs.h"
#include "isolate/claim.h"
#include "isolate/cleanup.h"
#include "isolate/wire.h"

extern char **environ;

static int spawn(pid_t *pid, const char *program, char *const arguments[], int socket) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, socket, LAUNCHER_SOCKET_FD);
    posix_spawn_file_actions_addclosefrom_np(&actions, LAUNCHER_SOCKET_FD + 1);
    /* A session of its own: Ctrl-C at fnrund's terminal lets fnrund finish its work first. */
    posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int r = posix_spawn(pid, program, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

/* The launcher ended, or is about to, without a word. */
static int explain_end(pid_t pid, struct error *err) {
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        return error_set(err, -ECHILD, "the launcher was killed by signal %d (%s) at its start",
                         WTERMSIG(status), strsignal(WTERMSIG(status)));
    return error_set(err, -ECHILD, "the launcher ended with status %d at its start",
                     WEXITSTATUS(status));
}

static int wait_for_hello(struct launch *launch, struct error *err) {
    struct pollfd poll_fd = {.fd = launch->socket, .events = POLLIN};
    struct launcher_message message = {0};
    size_t count = 0;
    int ready;
    do
        ready = poll(&poll_fd, 1, LAUNCH_SECONDS * 1000);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return error_set(err, -ETIMEDOUT, "the launcher was not ready within %d s", LAUNCH_SECONDS);
    ssize_t length =
        ready < 0 ? -errno : wire_receive(launch->socket, &message, sizeof message, NULL, &count);
    if (length == 0 || length == -ECONNRESET)
        return explain_end(launch->pid, err);
    if (length < 0)
        return error_set(err, (int)length, "the launcher cannot be heard: %s",
                         strerror((int)-length));
    message.text[sizeof message.text - 1] = 0;
    if ((size_t)length < offsetof(struct launcher_message, text) || message.op != LAUNCHER_HELLO)
        return error_set(err, -EPROTO,
                         "the launcher said something else than hello: are fnrund and "
                         "fnrun-launcher of one version?");
    if (message.code < 0)
        return error_set(err, message.code, "%s", message.text);
    memcpy(launch->hello, message.text, sizeof launch->hello);
    return 0;
}

int launch_start(struct launch *launch, const char *store, const char *cgroup, struct error *err) {
    char program[PATH_MAX], run_dir[256], runtimes[PATH_MAX];
    int ends[2];
    int r = programs_find("fnrun-launcher", program, sizeof program, err);
    if (r == 0)
        r = claim_run_dir(run_dir, sizeof run_dir, err);
    if (r < 0)
        return r;
    /* The language side is beside the programs that need it. */
    int folder = (int)(strrchr(program, '/') - program);
    if (snprintf(runtimes, sizeof runtimes, "%.*s/runtimes", folder, program) >=
        (int)sizeof runtimes)
        return error_set(err, -ENAMETOOLONG, "the path of fnrun's parts is too long");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set(err, -errno, "no socket pair: %s", strerror(errno));
    char empty[] = "";
    char *arguments[] = {program,
                         (char *)(uintptr_t)store,
                         run_dir,
                         runtimes,
                         cgroup ? (char *)(uintptr_t)cgroup : empty,
                         NULL};
    r = spawn(&launch->pid, program, arguments, ends[1]);
    close(ends[1]);
    launch->socket = ends[0];
    if (r < 0)
        error_set(err, r, "%s cannot be started: %s", program, strerror(-r));
    else
        r = wait_for_hello(launch, err);
    /* The loop never waits for it. */
    if (r == 0 && fcntl(launch->socket, F_SETFL, O_NONBLOCK) < 0)
        r = error_set(err, -errno, "the launcher's socket: %s", strerror(errno));
    if (r < 0) {
        close(launch->socket); /* which ends it */
        launch->socket = -EBADF;
    }
    return r;
}

int launch_wait(struct launch *launch) {
    int status = 0;
    _cleanup_close_ int pidfd = (int)syscall(SYS_pidfd_open, launch->pid, 0);
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    int ready;
    do
        ready = pidfd < 0 ? 1 : poll(&poll_fd, 1, LAUNCH_SECONDS * 1000);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        return -ETIMEDOUT;
    while (waitpid(launch->pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return status;
}
