#include "runner/package.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "cli/programs.h"
#include "images/utf8.h"
#include "isolate/cleanup.h"
#include "runner/package_tree.h"

#define TIME_LIMIT (PACKAGE_SECONDS * UINT64_C(1000000)) /* us */

/* One unpacking. It belongs to its sources, which belong to the loop. */
struct job {
    pid_t pid;
    int pidfd, said; /* what it says on stderr */
    char *folder;
    char text[PACKAGE_TEXT];
    size_t length;
    bool late, reaped;
    sd_event_source *ended, *heard, *timer;
    void (*done)(void *owner, int code, const char *text);
    void *owner;
};

/* --- the helper ----------------------------------------------------------------------------- */

static int prepare(posix_spawn_file_actions_t *files, posix_spawnattr_t *attributes, int said) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int r = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_addopen(files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(files, said, STDERR_FILENO);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attributes, &none);
    if (r == 0)
        r = posix_spawnattr_setsigdefault(attributes, &all);
    if (r == 0)
        r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return r;
}

/* Starts it with nothing but /dev/null and the pipe, and an empty environment. */
static int spawn(struct job *job, const char *program, const char *archive, int said) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    char *const argv[] = {(char *)"fnrun-unpack", (char *)archive, job->folder, NULL};
    char *const environment[] = {NULL};
    int r = posix_spawn_file_actions_init(&files);
    if (r != 0)
        return -r;
    r = posix_spawnattr_init(&attributes);
    if (r == 0) {
        r = prepare(&files, &attributes, said);
        if (r == 0)
            r = posix_spawn(&job->pid, program, &files, &attributes, argv, environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&files);
    if (r != 0) {
        job->pid = 0;
        return -r;
    }
    /* Not reaped yet, so the number is still this child's. */
    job->pidfd = (int)syscall(SYS_pidfd_open, job->pid, 0);
    return job->pidfd < 0 ? -errno : 0;
}

static void kill_helper(const struct job *job) {
    if (job->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, job->pidfd, SIGKILL, NULL, 0);
    else if (job->pid > 0)
        kill(job->pid, SIGKILL); /* unreaped, so it is still this child */
}

static void reap(struct job *job, siginfo_t *info) {
    *info = (siginfo_t){0};
    while (waitid(P_PID, (id_t)job->pid, info, WEXITED) < 0 && errno == EINTR)
        ;
    job->reaped = true;
}

static void job_free(struct job *job) {
    siginfo_t info;
    if (job->pid > 0 && !job->reaped) {
        kill_helper(job);
        reap(job, &info);
        package_tree_remove(AT_FDCWD, job->folder);
    }
    cleanup_close(&job->pidfd);
    cleanup_close(&job->said);
    free(job->folder);
    free(job);
}

/* --- what it says ----------------------------------------------------------------------------- */

/* Reads what is there; the rest of a long text is thrown away, so that the helper never
 * waits for it. Returns whether more may come. */
static bool hear(struct job *job) {
    for (;;) {
        char rest[512];
        size_t room = sizeof job->text - 1 - job->length;
        ssize_t got = room ? read(job->said, job->text + job->length, room)
                           : read(job->said, rest, sizeof rest);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 && errno == EAGAIN;
        if (room)
            job->length += (size_t)got;
    }
}

/* One line of text, whatever came: an archive may have taken the helper over. */
static void make_text(struct job *job) {
    unsigned char *from = (unsigned char *)job->text, *to = from, *end = from + job->length;
    while (from < end && *from != '\n') {
        size_t step = utf8_step(from, end);
        if (step && *from >= 0x20 && *from != 0x7f) {
            memmove(to, from, step);
            to += step;
        } else {
            *to++ = '?';
        }
        from += step ? step : 1;
    }
    *to = 0;
    job->length = (size_t)(to - (unsigned char *)job->text);
}

static int conclude(struct job *job, const siginfo_t *info) {
    make_text(job);
    if (job->late) {
        snprintf(job->text, sizeof job->text, "unpacking took longer than %d s", PACKAGE_SECONDS);
        return -ETIME;
    }
    if (info->si_code == CLD_EXITED && info->si_status == 0) {
        job->text[0] = 0;
        return 0;
    }
    if (info->si_code == CLD_EXITED && info->si_status == 1 && job->length)
        return -EINVAL;
    if (info->si_code != CLD_EXITED && info->si_status == SIGXCPU) {
        snprintf(job->text, sizeof job->text, "unpacking took too much processor time");
        return -ETIME;
    }
    snprintf(job->text, sizeof job->text, "unpacking failed: fnrun-unpack ended with %s %d",
             info->si_code == CLD_EXITED ? "status" : "signal", info->si_status);
    return -EIO;
}

/* --- the loop ------------------------------------------------------------------------------- */

static int on_heard(sd_event_source *source, int fd, uint32_t events, void *owner) {
    struct job *job = owner;
    (void)fd;
    (void)events;
    if (!hear(job))
        sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return 0;
}

static int on_late(sd_event_source *source, uint64_t now, void *owner) {
    struct job *job = owner;
    (void)source;
    (void)now;
    job->late = true;
    kill_helper(job);
    return 0;
}

/* Takes the loop's reference, which is the only one (sd_event_source_set_floating(3)). */
static void drop(sd_event_source *source) {
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    sd_event_source_set_floating(source, 0);
}

static void give_to_loop(sd_event_source *source) {
    sd_event_source_set_floating(source, 1);
    sd_event_source_unref(source);
}

static int on_ended(sd_event_source *source, int fd, uint32_t events, void *owner) {
    struct job *job = owner;
    siginfo_t info;
    (void)fd;
    (void)events;
    reap(job, &info);
    hear(job);
    int code = conclude(job, &info);
    if (code < 0) /* it removes the folder itself, unless it was killed */
        package_tree_remove(AT_FDCWD, job->folder);
    drop(job->heard);
    drop(job->timer);
    job->done(job->owner, code, job->text);
    drop(source); /* frees the job */
    return 0;
}

static void on_destroy(void *owner) {
    job_free(owner);
}

/* The loop owns the sources, and the first of them the job: freeing the loop ends it. */
static int watch(struct job *job, sd_event *loop) {
    int r = sd_event_add_io(loop, &job->heard, job->said, EPOLLIN, on_heard, job);
    if (r >= 0)
        r = sd_event_add_time_relative(loop, &job->timer, CLOCK_MONOTONIC, TIME_LIMIT, 0, on_late,
                                       job);
    if (r >= 0)
        r = sd_event_add_io(loop, &job->ended, job->pidfd, EPOLLIN, on_ended, job);
    if (r >= 0)
        r = sd_event_source_set_destroy_callback(job->ended, on_destroy);
    if (r >= 0) {
        give_to_loop(job->heard);
        give_to_loop(job->timer);
        give_to_loop(job->ended);
        return 0;
    }
    sd_event_source_disable_unref(job->heard);
    sd_event_source_disable_unref(job->timer);
    sd_event_source_disable_unref(job->ended);
    return r;
}

int package_unpack(struct sd_event *loop, const char *archive, const char *folder,
                   void (*done)(void *owner, int code, const char *text), void *owner,
                   struct error *err) {
    char program[PATH_MAX];
    int ends[2] = {-EBADF, -EBADF};
    int r = programs_find("fnrun-unpack", program, sizeof program, err);
    if (r < 0)
        return r;
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return error_set(err, -ENOMEM, "out of memory");
    *job = (struct job){.pidfd = -EBADF, .said = -EBADF, .done = done, .owner = owner};
    job->folder = strdup(folder);
    if (!job->folder || pipe2(ends, O_CLOEXEC) < 0) {
        r = error_set(err, job->folder ? -errno : -ENOMEM, "no pipe for unpacking: %s",
                      strerror(errno));
    } else {
        _cleanup_close_ int said = ends[1];
        job->said = ends[0];
        /* Only this end: the helper's own waits, and is always emptied. */
        r = fcntl(job->said, F_SETFL, O_NONBLOCK) < 0 ? -errno : spawn(job, program, archive, said);
        if (r >= 0)
            r = watch(job, loop);
        if (r < 0)
            error_set(err, r, "%s cannot be started: %s", program, strerror(-r));
    }
    if (r < 0)
        job_free(job);
    return r;
}
