#include "runner/delegate.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/programs.h"
#include "isolate/cgroup.h"

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

int delegate_self(struct error *err) {
    char program[PATH_MAX], pid[16];
    int status = -1;
    pid_t child;
    if (access("/run/systemd/system", F_OK) < 0 || !curable())
        return 0;
    int r = programs_find("fnrun-manage", program, sizeof program, err);
    if (r < 0)
        return r;
    char command[] = "scope", *arguments[] = {program, command, pid, NULL};
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    r = posix_spawn(&child, program, NULL, NULL, arguments, environ);
    if (r)
        return error_set(err, -r, "%s cannot be started: %s", program, strerror(r));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    /* Its own words are on stderr already. */
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(err, -EPERM, "no control group could be had from systemd");
    return 0;
}
