/* The loop: one message of the runner, or one question of a keeper, at a time. */
#include "isolate/launcher_loop.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/launcher_language.h"
#include "isolate/monotonic.h"
#include "isolate/wire.h"

#define LEAVE_STEP_MS 2
#define LEAVE_US      2000000 /* how long a group is waited for after its last process */

/* A message that the runner's socket had no room for. */
struct unsent {
    struct unsent *next;
    struct launcher_message message;
};

enum { RUNNER, LANGUAGE_SOCKET, LANGUAGE_PIDFD, LISTED };

struct loop {
    const struct launcher_setup *setup;
    struct environment *first;
    struct unsent *unsent, **unsent_end;
    struct language language;
    struct pollfd *polled; /* LISTED, then two for each environment */
    size_t room;
    bool ending;
};

/* ---- to the runner ------------------------------------------------------------------------ */

int launcher_say(const struct launcher_message *message) {
    return wire_send(LAUNCHER_SOCKET_FD, message, sizeof *message, NULL, 0);
}

/* In order, none lost: what does not fit waits, and meanwhile nothing is taken from the
 * runner. Out of memory or a closed socket is the end. */
static void say(struct loop *loop, const struct launcher_message *message) {
    if (loop->ending)
        return;
    int r = loop->unsent ? -EAGAIN : launcher_say(message);
    struct unsent *unsent = r == -EAGAIN ? malloc(sizeof *unsent) : NULL;
    if (unsent) {
        unsent->next = NULL;
        unsent->message = *message;
        *loop->unsent_end = unsent;
        loop->unsent_end = &unsent->next;
    } else if (r < 0) {
        loop->ending = true;
    }
}

static void say_unsent(struct loop *loop) {
    while (loop->unsent) {
        struct unsent *unsent = loop->unsent;
        int r = launcher_say(&unsent->message);
        if (r == -EAGAIN)
            return;
        if (r < 0)
            loop->ending = true;
        loop->unsent = unsent->next;
        free(unsent);
    }
    loop->unsent_end = &loop->unsent;
}

static void refuse(struct loop *loop, uint32_t id, const struct error *err) {
    struct launcher_message message = {.op = LAUNCHER_REFUSED, .id = id, .code = err->code};
    snprintf(message.text, sizeof message.text, "%.*s", (int)sizeof message.text - 1, err->message);
    say(loop, &message);
}

/* ---- from the runner ---------------------------------------------------------------------- */

static bool is_text(const char *text, size_t size) {
    return memchr(text, 0, size) != NULL;
}

static bool is_digest(const char *text) {
    return strspn(text, "0123456789abcdef") == LAUNCHER_DIGEST && !text[LAUNCHER_DIGEST];
}

/* One name in a folder, without what would confuse a log. */
static bool is_file_name(const char *name) {
    for (const char *at = name; *at; at++)
        if (*at == '/' || (unsigned char)*at < ' ' || *at == 127)
            return false;
    return name[0] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_within(uint64_t value, uint64_t least, uint64_t most) {
    return value >= least && value <= most;
}

static int check_request(const struct launcher_make *request, struct error *err) {
    const char *what = NULL;
    if (!is_text(request->digest, sizeof request->digest) || !is_digest(request->digest))
        what = "digest: expected 64 characters of 0-9a-f";
    else if (!is_text(request->task_file, sizeof request->task_file) ||
             (request->task_file[0] && !is_file_name(request->task_file)))
        what = "task_file: expected a name without slashes";
    else if (!is_text(request->name, sizeof request->name) || !is_file_name(request->name))
        what = "name: expected the function's";
    else if (request->id == 0)
        what = "id: expected a number above 0";
    else if (!is_within(request->slots, 1, IDMAP_SLOTS))
        what = "slots: expected 1 to 1000";
    else if (request->host_network > 1)
        what = "host_network: expected 0 or 1";
    else if (!is_within(request->memory, 1 << 20, 1ULL << 44))
        what = "memory: expected 1 MiB to 16 TiB";
    else if (!is_within(request->processes, 1, 1 << 22))
        what = "processes: expected 1 to 4194304";
    else if (!is_within(request->cpu_milli, 1, 10000000))
        what = "cpu_milli: expected 1 to 10000000";
    else if (request->tmp_bytes > 1ULL << 44)
        what = "tmp_bytes: expected 16 TiB at most";
    return what ? error_set(err, -EINVAL, "the request to make an environment is wrong: %s", what)
                : 0;
}

static struct environment *find(const struct loop *loop, uint32_t id) {
    struct environment *at = loop->first;
    while (at && at->id != id)
        at = at->next;
    return at;
}

static void end_environment(const struct environment *environment) {
    if (!environment->leaving)
        syscall(SYS_pidfd_send_signal, environment->pidfd, SIGKILL, NULL, 0);
}

static void make(struct loop *loop, const struct launcher_make *request, int keeper) {
    struct launcher_message made = {.op = LAUNCHER_MADE, .id = request->id};
    struct environment *environment = NULL;
    struct error err = {0};
    struct stat st;
    int r = check_request(request, &err);
    if (r == 0 && find(loop, request->id))
        r = error_set(&err, -EEXIST, "there is an environment %u already", request->id);
    if (r == 0 && (fstat(keeper, &st) < 0 || !S_ISSOCK(st.st_mode)))
        r = error_set(&err, -EINVAL, "the request came without the keeper's socket");
    if (r == 0)
        r = launcher_make(loop->setup, request, keeper, &environment, &err);
    if (r < 0 || !environment) {
        refuse(loop, request->id, &err);
        return;
    }
    environment->next = loop->first;
    loop->first = environment;
    made.pid = environment->pid;
    say(loop, &made);
}

/* One message. What is none ends the launcher: whoever sends it is not the runner. */
static void hear_runner(struct loop *loop) {
    struct launcher_make request = {0};
    struct environment *environment;
    int fd = -EBADF;
    size_t count = 1;
    ssize_t length = wire_receive(LAUNCHER_SOCKET_FD, &request, sizeof request, &fd, &count);
    if (length == -EAGAIN)
        return;
    if (length == (ssize_t)sizeof request && request.op == LAUNCHER_MAKE) {
        make(loop, &request, fd);
    } else if (length >= (ssize_t)(2 * sizeof(uint32_t)) && request.op == LAUNCHER_KILL) {
        environment = find(loop, request.id);
        if (environment)
            end_environment(environment);
    } else {
        if (length != 0)
            fprintf(stderr, "fnrun-launcher: a message of the runner makes no sense: ending\n");
        loop->ending = true;
    }
    cleanup_close(&fd);
}

/* ---- keepers ------------------------------------------------------------------------------- */

/* The leaf that was asked for, or why not. */
static void answer(struct environment *environment) {
    uint32_t number = environment->answer;
    int fds[LAUNCHER_LEAF_FDS];
    struct error err = {0};
    int r = launcher_groups_leaf(&environment->groups, number, fds, &err);
    if (r < 0) {
        struct launcher_message message = {.op = LAUNCHER_REFUSED, .id = number, .code = r};
        snprintf(message.text, sizeof message.text, "%.*s", (int)sizeof message.text - 1,
                 err.message);
        r = wire_send(environment->socket, &message, sizeof message, NULL, 0);
    } else {
        r = wire_send(environment->socket, &number, sizeof number, fds, LAUNCHER_LEAF_FDS);
        for (int i = 0; i < LAUNCHER_LEAF_FDS; i++)
            close(fds[i]);
    }
    /* Full: it reads slower than it asks. The same again when there is room. */
    environment->has_answer = r == -EAGAIN;
    if (r < 0 && r != -EAGAIN)
        cleanup_close(&environment->socket);
}

/* One question. A keeper that asks nonsense, with descriptors say, is not heard again. */
static void hear_keeper(struct loop *loop, struct environment *environment) {
    uint32_t number;
    int fds[WIRE_FDS];
    size_t count = WIRE_FDS;
    ssize_t length = wire_receive(environment->socket, &number, sizeof number, fds, &count);
    if (length == -EAGAIN)
        return;
    if (length == sizeof number && number == LAUNCHER_LANGUAGE && count &&
        !environment->asked_language) {
        /* Once: a child of the language zygote that a keeper stops stays with it. The network
         * is the launcher's to say: a keeper that gave none would get the machine's. */
        environment->asked_language = true;
        language_ask(&loop->language, environment->host_network, fds, count);
    } else if (length == sizeof number && count == 0) {
        environment->answer = number;
        answer(environment);
    } else {
        cleanup_close(&environment->socket);
    }
    while (length > 0 && count)
        close(fds[--count]);
}

/* The keeper has ended, and with it, the first of its PID namespace, all that was in it. */
static void reap(struct environment *environment) {
    pid_t got;
    while ((got = waitpid(environment->pid, &environment->status, __WALL)) < 0 && errno == EINTR)
        ;
    if (got != environment->pid)
        environment->status = SIGKILL;
    cleanup_close(&environment->socket);
    environment->leaving = true;
    environment->leaving_until = monotonic_us() + LEAVE_US;
}

/* True when it is gone: the environment is freed then. */
static bool leave(struct loop *loop, struct environment *environment) {
    struct launcher_message gone = {
        .op = LAUNCHER_GONE, .id = environment->id, .code = environment->status};
    struct error err = {0};
    int r = launcher_groups_remove(&environment->groups, &err);
    if (r == -EBUSY && monotonic_us() < environment->leaving_until)
        return false;
    gone.pid = environment->pid;
    if (r < 0)
        snprintf(gone.text, sizeof gone.text, "%.*s", (int)sizeof gone.text - 1, err.message);
    launcher_free(environment, r == 0);
    say(loop, &gone);
    return true;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static size_t count_environments(const struct loop *loop) {
    size_t count = 0;
    for (const struct environment *at = loop->first; at; at = at->next)
        count++;
    return count;
}

/* What is waited for. Returns how many, or -ENOMEM; *timeout in ms. */
static int list(struct loop *loop, int *timeout) {
    size_t wanted = LISTED + 2 * count_environments(loop), count = LISTED;
    if (wanted > loop->room) {
        struct pollfd *more = reallocarray(loop->polled, wanted * 2, sizeof *more);
        if (!more)
            return -ENOMEM;
        loop->polled = more;
        loop->room = wanted * 2;
    }
    *timeout = loop->ending ? -1 : language_tend(&loop->language, loop->setup);
    loop->polled[RUNNER] = (struct pollfd){.fd = loop->ending ? -1 : LAUNCHER_SOCKET_FD,
                                           .events = loop->unsent ? POLLOUT : POLLIN};
    loop->polled[LANGUAGE_SOCKET] = (struct pollfd){.fd = loop->language.socket, .events = POLLIN};
    loop->polled[LANGUAGE_PIDFD] = (struct pollfd){.fd = loop->language.pidfd, .events = POLLIN};
    for (const struct environment *at = loop->first; at; at = at->next) {
        loop->polled[count++] =
            (struct pollfd){.fd = at->leaving ? -1 : at->pidfd, .events = POLLIN};
        loop->polled[count++] =
            (struct pollfd){.fd = at->socket, .events = at->has_answer ? POLLOUT : POLLIN};
        if (at->leaving)
            *timeout = LEAVE_STEP_MS;
    }
    return (int)count;
}

static void serve_language(struct loop *loop) {
    if (loop->polled[LANGUAGE_SOCKET].revents)
        language_hear(&loop->language);
    if (loop->polled[LANGUAGE_PIDFD].revents)
        language_reap(&loop->language);
}

/* polled[LISTED] and the next are those of the first environment, and so on. */
static void serve_keepers(struct loop *loop) {
    const struct pollfd *polled = loop->polled + LISTED;
    struct environment **link = &loop->first;
    for (; *link; polled += 2) {
        struct environment *at = *link, *next = at->next;
        if (!at->leaving && polled[0].revents)
            reap(at);
        else if (at->socket >= 0 && polled[1].revents && at->has_answer)
            answer(at);
        else if (at->socket >= 0 && polled[1].revents)
            hear_keeper(loop, at);
        if (at->leaving && leave(loop, at))
            *link = next;
        else
            link = &at->next;
    }
}

static void serve_runner(struct loop *loop) {
    if (!loop->ending && loop->polled[RUNNER].revents) {
        if (loop->unsent)
            say_unsent(loop);
        else
            hear_runner(loop);
    }
    for (struct environment *at = loop->first; at && loop->ending; at = at->next)
        end_environment(at);
}

int launcher_loop(const struct launcher_setup *setup) {
    struct loop loop = {.setup = setup};
    loop.unsent_end = &loop.unsent;
    language_open(&loop.language, setup);
    while (!loop.ending || loop.first) {
        int timeout, count = list(&loop, &timeout);
        if (count < 0)
            return count;
        if (poll(loop.polled, (nfds_t)count, timeout) < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        serve_language(&loop);
        /* First those that are listed: the runner may add one. */
        serve_keepers(&loop);
        serve_runner(&loop);
    }
    language_close(&loop.language);
    while (loop.unsent) {
        struct unsent *unsent = loop.unsent;
        loop.unsent = unsent->next;
        free(unsent);
    }
    free(loop.polled);
    return 0;
}
