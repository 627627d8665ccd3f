/* Times whole commands, interleaved: each round runs every row once, the order
 * turned by one each round, so that what the machine does meanwhile meets all alike.
 *
 *     timer ROUNDS QUIET_MS < rows > samples
 *
 * A row is a line of arguments separated by tabs, the first an absolute path. Its
 * environment is small and fixed, 0 is /dev/null, 1 and 2 too. Before each sample the
 * timer sleeps QUIET_MS: 0 is back to back. One unmeasured round comes first.
 * Prints a line a row: the samples in us (from vfork to reaped), and after a `|` how
 * many ended with another status than 0. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROWS      64
#define MAX_ARGUMENTS 64

struct row {
    char *arguments[MAX_ARGUMENTS + 1];
    double *samples;
    int failures;
};

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int read_rows(struct row *rows, int rounds) {
    static char line[65536];
    int count = 0;
    while (count < MAX_ROWS && fgets(line, sizeof line, stdin)) {
        int arguments = 0;
        line[strcspn(line, "\n")] = 0;
        if (!line[0])
            continue;
        for (char *word = strtok(strdup(line), "\t"); word && arguments < MAX_ARGUMENTS;
             word = strtok(NULL, "\t"))
            rows[count].arguments[arguments++] = word;
        rows[count].samples = calloc((size_t)rounds, sizeof(double));
        count++;
    }
    return count;
}

static double run_once(struct row *row, int null) {
    static char *environment[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=/tmp",
                                  NULL};
    int status = 0;
    double start = now_us();
    pid_t pid = vfork();
    if (pid == 0) {
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        execve(row->arguments[0], row->arguments, environment);
        _exit(127);
    }
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    double end = now_us();
    if (pid < 0 || status)
        row->failures++;
    return end - start;
}

int main(int argc, char *argv[]) {
    static struct row rows[MAX_ROWS];
    if (argc != 3) {
        fprintf(stderr, "usage: timer ROUNDS QUIET_MS < rows\n");
        return 2;
    }
    int rounds = atoi(argv[1]);
    int quiet_ms = atoi(argv[2]);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int count = read_rows(rows, rounds);
    for (int round = -1; round < rounds; round++)
        for (int k = 0; k < count; k++) {
            struct row *row = &rows[(k + round + 1) % count];
            if (quiet_ms)
                usleep((useconds_t)quiet_ms * 1000);
            double took = run_once(row, null);
            if (round >= 0)
                row->samples[round] = took;
            else
                row->failures = 0;
        }
    for (int k = 0; k < count; k++) {
        for (int i = 0; i < rounds; i++)
            printf("%.1f ", rows[k].samples[i]);
        printf("| %d\n", rows[k].failures);
    }
    return 0;
}
