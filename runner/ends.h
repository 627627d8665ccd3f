/* The descriptors between the runner and a function's process: pipes, or one socket for
 * frames, each with an end of ours (non-blocking) and one of theirs. All close-on-exec.
 * Header only. */
#ifndef FNRUN_ENDS_H
#define FNRUN_ENDS_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"

struct ends {
    int input;     /* ours: the event is written here; -EBADF: none */
    int output;    /* ours: result or frames; the same descriptor as input for frames */
    int log;       /* ours: what 1 and 2 get (exec: 2) */
    int theirs[4]; /* 0, 1, 2 and, for frames, 3 */
};

static inline void ends_clear(struct ends *ends) {
    ends->input = ends->output = ends->log = -EBADF;
    for (int i = 0; i < 4; i++)
        ends->theirs[i] = -EBADF;
}

/* A pipe whose end of theirs may be opened anew by its owner, as /dev/stderr. 0 or a negative
 * errno, as the others; what was opened until then is in *ours and *theirs. */
static inline int ends_pipe(int *ours, int *theirs, bool we_write) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ours = ends[we_write];
    *theirs = ends[!we_write];
    /* Theirs may be opened anew, as /dev/stderr: the inode, one for both ends, belongs to
     * this process's user. */
    return fchmod(ends[0], 0666) < 0 || fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

/* No event and no result: 0 reads nothing, 1 and 2 are the log. */
static inline int ends_open_log(struct ends *ends) {
    ends->theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (ends->theirs[0] < 0)
        return -errno;
    int r = ends_pipe(&ends->log, &ends->theirs[1], false);
    if (r < 0)
        return r;
    ends->theirs[2] = fcntl(ends->theirs[1], F_DUPFD_CLOEXEC, 0);
    return ends->theirs[2] < 0 ? -errno : 0;
}

static inline int ends_open_frames(struct ends *ends) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    ends->input = ends->output = pair[0];
    ends->theirs[3] = pair[1];
    return fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : ends_open_log(ends);
}

static inline int ends_open_pipes(struct ends *ends) {
    int r = ends_pipe(&ends->input, &ends->theirs[0], true);
    if (r == 0)
        r = ends_pipe(&ends->output, &ends->theirs[1], false);
    if (r == 0)
        r = ends_pipe(&ends->log, &ends->theirs[2], false);
    return r;
}

static inline void ends_close_theirs(struct ends *ends) {
    for (int i = 0; i < 4; i++)
        cleanup_close(&ends->theirs[i]);
}

static inline void ends_close_input(struct ends *ends) {
    if (ends->input == ends->output)
        ends->input = -EBADF;
    cleanup_close(&ends->input);
}

/* Input too, for frames. */
static inline void ends_close_output(struct ends *ends) {
    if (ends->input == ends->output)
        ends->input = -EBADF;
    cleanup_close(&ends->output);
}

static inline void ends_close(struct ends *ends) {
    ends_close_output(ends);
    ends_close_input(ends);
    cleanup_close(&ends->log);
    ends_close_theirs(ends);
}

#endif
