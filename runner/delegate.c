#include "runner/delegate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/programs.h"
#include "isolate/cgroup.h"
#include "isolate/cleanup.h"

extern char **environ;

static bool curable(void) {
    struct cgroup_layout layout = {0};
    int r = cgroup_find(&layout, NULL);
    if (r == 0)
        r = cgroup_usable(&layout, NULL);
    /* Only a v2 group can be had from systemd, and only where the group that this is in will not
     * do: it holds others, is not the caller's, or lacks a controller. */
    return r == -EBUSY || r == -EACCES || (r == -EOPNOTSUPP && layout.unified[0]);
}

/* What the program has to say, without its name and what a single call could do instead. */
static int explain(const char *said, struct error *err) {
    static const char name[] = "fnrun: ", ways[] = "; ways out: ";
    if (strncmp(said, name, sizeof name - 1) == 0)
        said += sizeof name - 1;
    const char *end = strstr(said, ways);
    int length = (int)(end ? (size_t)(end - said) : strcspn(said, "\n"));
    return error_set(
        err, -EPERM,
        "no control group could be had from systemd: %.*s. Ways out: " CGROUP_DAEMON_WAYS_OUT,
        length, said);
}

/* Starts it with its stderr on a pipe, of which *from is the other end. */
static int start(const char *program, char *const arguments[], pid_t *child, int *from) {
    posix_spawn_file_actions_t actions;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
    int r = posix_spawn(child, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *from = ends[0];
    return -r;
}

static void read_all(int fd, char *text, size_t size) {
    size_t used = 0;
    ssize_t length;
    while (used < size - 1 && ((length = read(fd, text + used, size - 1 - used)) > 0 ||
                               (length < 0 && errno == EINTR)))
        used += length > 0 ? (size_t)length : 0;
    text[used] = 0;
}

int delegate_self(struct error *err) {
    char program[PATH_MAX] = "", pid[16], said[sizeof err->message];
    _cleanup_close_ int from = -EBADF;
    int status = -1;
    pid_t child = -1;
    if (access("/run/systemd/system", F_OK) < 0 || !curable())
        return 0;
    int r = programs_find("fnrun-manage", program, sizeof program, err);
    if (r < 0)
        return r;
    char command[] = "scope", *arguments[] = {program, command, pid, NULL};
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    r = start(program, arguments, &child, &from);
    if (r < 0)
        return error_set(err, r, "%s cannot be started: %s", program, strerror(-r));
    read_all(from, said, sizeof said);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : explain(said, err);
}
