/* Baseline (a): forks for each event, with the native function's heap and work and without
 * any isolation. The child replies over a pipe.
 *
 *     fork_server EVENT_FILE [--core N] [--record FILE]
 *
 * It is its own client: the clock runs from just before fork, with the event at hand, to the
 * reply's last byte; the child is reaped after that. See slices.h. */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"
#include "slices.h"

static char event[65536];
static size_t event_length;

static void call(struct slice *slice) {
    char reply[256];
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        die("pipe: %s", strerror(errno));
    uint64_t start = now_ns();
    pid_t pid = fork();
    if (pid == 0) {
        int length = heap_work(event, event_length, reply, sizeof reply);
        _exit(write(ends[1], reply, (size_t)length) == length ? 0 : 1);
    }
    close(ends[1]);
    ssize_t got = pid < 0 ? -1 : read(ends[0], reply, sizeof reply);
    uint64_t end = now_ns();
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (got > 0 && status == 0)
        slice_done(slice, end - start, reply, (size_t)got);
    else
        slice_failed(slice, "no reply from the child", 23);
}

static void measure(struct slice *slice) {
    while (slice_more(slice))
        call(slice);
}

int main(int argc, char *argv[]) {
    FILE *record = NULL;
    if (argc < 2)
        die("usage: fork_server EVENT_FILE [--core N] [--record FILE]");
    for (int i = 2; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--core") == 0)
            stay_on_core(atoi(argv[i + 1]));
        else if (strcmp(argv[i], "--record") == 0)
            record = open_record(argv[i + 1]);
    FILE *file = fopen(argv[1], "re");
    if (!file)
        die("%s: %s", argv[1], strerror(errno));
    event_length = fread(event, 1, sizeof event, file);
    fclose(file);
    if (heap_make() < 0)
        die("no memory for the heap");
    slices_serve(record, measure, NULL);
    return 0;
}
