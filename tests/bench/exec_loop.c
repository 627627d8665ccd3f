/* Starts a command for each event, as baselines (c) and the other sandboxes do.
 *
 *     exec_loop [--record FILE] -- COMMAND ARGUMENT...
 *
 * The clock runs from vfork to the last byte of what the command writes to stdout; it is
 * reaped after that. Its stderr is /dev/null, its environment small. See slices.h. */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slices.h"

static char **command;
static int null;

static pid_t start_command(int output) {
    static char *environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/tmp",
                                  NULL};
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(null, 0);
        dup2(output, 1);
        dup2(null, 2);
        execve(command[0], command, environment);
        _exit(127);
    }
    return pid;
}

static void call(struct slice *slice) {
    char reply[65536], problem[128];
    size_t length = 0;
    ssize_t got;
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        die("pipe: %s", strerror(errno));
    uint64_t start = now_ns(), last = start;
    pid_t pid = start_command(ends[1]);
    close(ends[1]);
    while (length < sizeof reply &&
           (got = read(ends[0], reply + length, sizeof reply - length)) > 0) {
        length += (size_t)got;
        last = now_ns();
    }
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid > 0 && length && status == 0)
        slice_done(slice, last - start, reply, length);
    else
        slice_failed(
            slice, problem,
            (size_t)snprintf(problem, sizeof problem, "status %d, %zu bytes", status, length));
}

static void measure(struct slice *slice) {
    while (slice_more(slice))
        call(slice);
}

int main(int argc, char *argv[]) {
    FILE *record = NULL;
    int at = 1;
    if (at + 1 < argc && strcmp(argv[at], "--record") == 0) {
        record = open_record(argv[at + 1]);
        at += 2;
    }
    if (at + 1 >= argc || strcmp(argv[at], "--") != 0)
        die("usage: exec_loop [--record FILE] -- COMMAND ARGUMENT...");
    command = argv + at + 1;
    null = open("/dev/null", O_RDWR | O_CLOEXEC);
    slices_serve(record, measure, NULL);
    return 0;
}
