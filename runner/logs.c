#include "runner/logs.h"

#include <errno.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#define CHUNK  65536
#define ROUNDS 16

void logs_add(struct logs *logs, const char *bytes, size_t length) {
    uint64_t room = logs->limit > logs->kept.length ? logs->limit - logs->kept.length : 0;
    if (logs->truncated)
        room = 0;
    if (length > room) {
        logs->truncated = true;
        length = (size_t)room;
    }
    json_put_raw(&logs->kept, bytes, length);
}

int logs_receive(struct logs *logs, int fd) {
    char chunk[CHUNK];
    for (int round = 0; round < ROUNDS; round++) {
        ssize_t got = read(fd, chunk, sizeof chunk);
        if (got < 0)
            return errno == EAGAIN || errno == EINTR ? 1 : 0;
        if (got == 0)
            return 0;
        logs_add(logs, chunk, (size_t)got);
        if ((size_t)got < sizeof chunk)
            break;
    }
    return 1;
}

void logs_close(struct logs *logs) {
    static const char mark[] = "[truncated]\n";
    if (logs->kept.length && logs->kept.data[logs->kept.length - 1] != '\n')
        json_put_raw(&logs->kept, "\n", 1);
    if (logs->truncated)
        json_put_raw(&logs->kept, mark, sizeof mark - 1);
}

static void woken(int number) {
    (void)number;
}

void logs_stream(struct logs *logs, int fd, size_t most) {
    size_t length = logs_pending(logs);
    if (length > most)
        length = most;
    /* A terminal that is stopped (Ctrl-S), or a pipe that another writer filled since it
     * polled writable, would hold this process up, and with it the time limit: a tick
     * ends the wait. */
    static const struct itimerval tick = {{0, 20000}, {0, 20000}}, off;
    struct sigaction action = {.sa_handler = woken};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &tick, NULL);
    ssize_t wrote = write(fd, logs->kept.data + logs->streamed, length);
    int code = errno;
    setitimer(ITIMER_REAL, &off, NULL);
    errno = code;
    if (wrote > 0)
        logs->streamed += (size_t)wrote;
    else if (wrote < 0 && errno != EAGAIN && errno != EINTR)
        logs->streamed = logs->kept.length; /* nobody reads it: never try again */
}
