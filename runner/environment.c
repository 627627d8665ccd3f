#include "runner/environment.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/wire.h"
#include "runner/ends.h"
#include "runner/launcher_client.h"
#include "runner/outbox.h"

#define MESSAGES_AT_ONCE 16

struct environment {
    struct launcher_client *client;
    struct sd_event *loop;
    const struct environment_plan *plan;
    const struct environment_events *events;
    void *owner;
    uint32_t id;
    int socket, log;
    sd_event_source *source, *log_source;
    struct outbox outbox;
    char *memory;
    size_t memory_size;
    bool removed;    /* the launcher knows nothing of it any more */
    bool lost;       /* ... was told */
    bool ended;      /* environment_end was called */
    unsigned inside; /* callbacks under way: not freed below them */
};

static uint64_t stride(const struct environment *environment) {
    return environment->plan->event_size + environment->plan->response_size;
}

char *environment_event(const struct environment *environment, uint32_t slot) {
    return environment->memory + stride(environment) * slot;
}
const char *environment_reply(const struct environment *environment, uint32_t slot) {
    return environment_event(environment, slot) + environment->plan->event_size;
}
void environment_punch(const struct environment *environment, uint32_t slot) {
    madvise(environment_event(environment, slot), stride(environment), MADV_REMOVE);
}
int environment_log(const struct environment *environment) {
    return environment->log;
}

/* --- its end ------------------------------------------------------------------------------- */

static void release(struct environment *environment) {
    environment->source = sd_event_source_disable_unref(environment->source);
    environment->log_source = sd_event_source_disable_unref(environment->log_source);
    outbox_close(&environment->outbox);
    cleanup_close(&environment->socket);
    cleanup_close(&environment->log);
    if (environment->memory)
        munmap(environment->memory, environment->memory_size);
    environment->memory = NULL;
}

static void enter(struct environment *environment) {
    environment->inside++;
}
static void leave(struct environment *environment) {
    if (--environment->inside == 0 && environment->ended && environment->removed)
        free(environment);
}

bool environment_end(struct environment *environment) {
    environment->ended = environment->lost = true;
    release(environment);
    bool removed = environment->removed;
    if (!removed)
        launcher_client_kill(environment->client, environment->id);
    else if (!environment->inside)
        free(environment);
    return removed;
}

void environment_drop(struct environment *environment) {
    if (!environment->removed)
        launcher_client_forget(environment->client, environment->id);
    environment->removed = true;
    if (!environment->ended)
        environment_end(environment);
    else if (!environment->inside)
        free(environment);
}

static void lose(struct environment *environment, const char *why) {
    if (environment->lost)
        return;
    environment->lost = true;
    /* Whoever is told may look at what came; nothing more is heard. */
    environment->source = sd_event_source_disable_unref(environment->source);
    environment->events->lost(environment->owner, why);
}

/* --- what the keeper says ------------------------------------------------------------------ */

static bool makes_sense(const struct environment *environment, const struct keeper_message *m) {
    switch (m->op) {
    case KEEPER_UP:
        return m->number == KEEPER_FORK || m->number == KEEPER_AHEAD;
    case KEEPER_FAILED:
        return m->length <= environment->plan->response_size;
    case KEEPER_RESULT:
        return m->slot < environment->plan->make.slots &&
               m->length <= environment->plan->response_size;
    case KEEPER_NEEDS:
    case KEEPER_READY:
    case KEEPER_END:
    case KEEPER_RETIRED:
        return m->slot < environment->plan->make.slots;
    case KEEPER_TROUBLE:
        return true;
    default:
        return false;
    }
}

static void take_message(struct environment *environment, const struct keeper_message *message) {
    if (!makes_sense(environment, message))
        lose(environment, "its keeper sent a message that makes no sense");
    else if (message->op == KEEPER_TROUBLE)
        lose(environment, message->text);
    else
        environment->events->message(environment->owner, message);
}

/* One message. False: there is none now. */
static bool receive(struct environment *environment) {
    struct keeper_message message;
    ssize_t length = wire_receive(environment->socket, &message, sizeof message, NULL, NULL);
    if (length == -EAGAIN)
        return false;
    if (length == 0) {
        lose(environment, "its keeper died");
    } else if (length <= (ssize_t)offsetof(struct keeper_message, text)) {
        lose(environment, "its keeper sent a broken message");
    } else {
        size_t text = (size_t)length - offsetof(struct keeper_message, text);
        message.text[text < KEEPER_TEXT ? text : KEEPER_TEXT - 1] = 0;
        take_message(environment, &message);
    }
    return true;
}

static void watch(struct environment *environment) {
    uint32_t events = EPOLLIN;
    if (!outbox_is_empty(&environment->outbox))
        events |= EPOLLOUT;
    /* Costs a system call only when it differs. */
    sd_event_source_set_io_events(environment->source, events);
}

static int readable(sd_event_source *source, int fd, uint32_t revents, void *data) {
    struct environment *environment = data;
    (void)source;
    (void)fd;
    enter(environment);
    if (revents & EPOLLOUT) {
        int r = outbox_flush(&environment->outbox);
        /* A socket that takes nothing may hold last words, such as KEEPER_FAILED. */
        if (r < 0)
            outbox_close(&environment->outbox);
        watch(environment);
    }
    for (int i = 0; i < MESSAGES_AT_ONCE && !environment->lost; i++)
        if (!receive(environment))
            break;
    leave(environment);
    return 0;
}

void environment_send(struct environment *environment, const struct keeper_message *message,
                      int *fds, size_t count) {
    if (environment->lost) {
        for (size_t i = 0; i < count; i++)
            close(fds[i]);
        return;
    }
    bool was_empty = outbox_is_empty(&environment->outbox);
    int r = outbox_send(&environment->outbox, message, keeper_length(message), fds, count);
    /* It is gone, which its socket tells after its last words; or it does not read: then its
     * calls' deadlines tell. */
    if (r == 0 && was_empty != outbox_is_empty(&environment->outbox))
        watch(environment);
}

/* --- what the launcher says ---------------------------------------------------------------- */

static void is_made(void *owner, int32_t pid) {
    (void)owner;
    (void)pid;
}

static void is_refused(void *owner, int code, const char *text) {
    struct environment *environment = owner;
    (void)code;
    enter(environment);
    environment->removed = true;
    if (environment->ended)
        environment->events->gone(environment->owner);
    else
        lose(environment, text);
    leave(environment);
}

static void is_gone(void *owner) {
    struct environment *environment = owner;
    enter(environment);
    environment->removed = true;
    if (environment->ended) {
        environment->events->gone(environment->owner);
    } else {
        /* Its last words may not have been read yet. */
        while (!environment->lost && receive(environment))
            ;
        lose(environment, "its keeper died");
    }
    leave(environment);
}

/* --- the zygote's log ---------------------------------------------------------------------- */

static int log_readable(sd_event_source *source, int fd, uint32_t revents, void *data) {
    struct environment *environment = data;
    (void)source;
    (void)fd;
    (void)revents;
    enter(environment);
    environment->events->log(environment->owner);
    leave(environment);
    return 0;
}

void environment_watch_log(struct environment *environment, bool watch_it) {
    if (environment->log_source)
        sd_event_source_set_enabled(environment->log_source, watch_it ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* --- its start ----------------------------------------------------------------------------- */

/* Sealed: a keeper that was taken over could otherwise cut it, and this process would get
 * SIGBUS when it looks. Costs address space only until it is written. */
static int open_memory(struct environment *environment, int *memory, struct error *err) {
    const struct environment_plan *plan = environment->plan;
    struct rlimit limit;
    environment->memory_size = stride(environment) * plan->make.slots;
    /* Beyond it ftruncate would kill this process by SIGXFSZ. */
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < environment->memory_size)
        return error_set(err, -EFBIG,
                         "memory for events and results (%zu bytes: concurrency times event and "
                         "response) is more than this process's limit on file sizes (ulimit -f)",
                         environment->memory_size);
    *memory = memfd_create("fnrun-events", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*memory < 0 || ftruncate(*memory, (off_t)environment->memory_size) < 0 ||
        fcntl(*memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return error_set(err, -errno, "memory for events and results: %s", strerror(errno));
    void *mapped = mmap(NULL, environment->memory_size, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_NORESERVE, *memory, 0);
    if (mapped == MAP_FAILED)
        return error_set(err, -errno,
                         "memory for events and results: %s (%zu bytes of address space: "
                         "concurrency times event and response)",
                         strerror(errno), environment->memory_size);
    environment->memory = mapped;
    return 0;
}

/* It lies in the socket until the keeper is there. */
static int configure(struct environment *environment, int *memory, int *log) {
    const struct environment_plan *plan = environment->plan;
    struct keeper_message head = {.op = KEEPER_CONFIGURE, .length = plan->config_length};
    int fds[2] = {TAKE_FD(*memory), TAKE_FD(*log)};
    int r = outbox_send(&environment->outbox, &head, keeper_length(&head), fds, 2);
    for (size_t sent = 0; r == 0 && sent < plan->config_length;) {
        size_t length = plan->config_length - sent;
        if (length > WIRE_MAX)
            length = WIRE_MAX;
        r = outbox_send(&environment->outbox, plan->config + sent, length, NULL, 0);
        sent += length;
    }
    return r;
}

static int open_channels(struct environment *environment, int *keeper, struct error *err) {
    _cleanup_close_ int memory = -EBADF, log = -EBADF;
    int ends[2];
    int r = open_memory(environment, &memory, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set(err, -errno, "a socket to the keeper: %s", strerror(errno));
    environment->socket = ends[0];
    *keeper = ends[1];
    outbox_open(&environment->outbox, environment->socket);
    r = fcntl(environment->socket, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    if (r == 0)
        r = ends_pipe(&environment->log, &log, false);
    if (r == 0)
        r = configure(environment, &memory, &log);
    if (r == 0)
        r = sd_event_add_io(environment->loop, &environment->source, environment->socket, EPOLLIN,
                            readable, environment);
    if (r >= 0)
        r = sd_event_add_io(environment->loop, &environment->log_source, environment->log, EPOLLIN,
                            log_readable, environment);
    if (r < 0)
        return error_set(err, r, "a socket to the keeper: %s", strerror(-r));
    watch(environment);
    return 0;
}

struct environment *environment_start(struct launcher_client *client, struct sd_event *loop,
                                      const struct environment_plan *plan,
                                      const struct environment_events *events, void *owner,
                                      struct error *err) {
    static const struct launcher_events launcher_events = {
        .made = is_made, .refused = is_refused, .gone = is_gone};
    struct environment *environment = calloc(1, sizeof *environment);
    _cleanup_close_ int keeper = -EBADF;
    if (!environment) {
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    *environment = (struct environment){.client = client,
                                        .loop = loop,
                                        .plan = plan,
                                        .events = events,
                                        .owner = owner,
                                        .socket = -EBADF,
                                        .log = -EBADF};
    outbox_open(&environment->outbox, -EBADF);
    int64_t r = open_channels(environment, &keeper, err);
    if (r == 0)
        r = launcher_client_make(client, &plan->make, TAKE_FD(keeper), &launcher_events,
                                 environment, err);
    if (r < 0) {
        release(environment);
        free(environment);
        return NULL;
    }
    environment->id = (uint32_t)r;
    return environment;
}
