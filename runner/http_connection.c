#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "runner/http_core.h"

#define ACCEPT_AT_ONCE  16
#define HANGUPS_AT_ONCE 64

/* ---- the limit -------------------------------------------------------------------------- */

static bool has_unread(int fd) {
    int bytes = 0;
    return ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0;
}

/* Ends it from outside: libmicrohttpd sees a hang-up and closes. */
static void end(struct http_connection *connection) {
    shutdown(connection->fd, SHUT_RDWR);
}

void http_close_idle(struct http *http) {
    for (struct http_connection *at = http->connections; at; at = at->next)
        if (!at->request && !has_unread(at->fd))
            end(at);
}

/* At the limit the connection that has been idle longest makes room: neither one that has just
 * come, nor one with a request on its way. */
static void close_longest_idle(struct http *http) {
    struct http_connection *idle = NULL;
    uint64_t now = monotonic_us();
    for (struct http_connection *at = http->connections; at; at = at->next)
        if (!at->request && now > at->since + HTTP_NEW_US && (!idle || at->since < idle->since) &&
            !has_unread(at->fd))
            idle = at;
    if (idle)
        end(idle);
}

/* No more for now: until a connection closes or becomes idle or, at the latest, the next sweep. */
static void pause_accepting(struct http *http) {
    http->accepting = false;
    sd_event_source_set_enabled(http->accept_source, SD_EVENT_OFF);
    close_longest_idle(http);
}

void http_go_on_accepting(struct http *http) {
    if (http->accepting || !http->accept_source)
        return;
    http->accepting = true;
    sd_event_source_set_enabled(http->accept_source, SD_EVENT_ON);
}

/* ---- coming and going --------------------------------------------------------------- */

static void set_sweep(struct http *http) {
    int wanted = http->count ? SD_EVENT_ON : SD_EVENT_OFF, is = SD_EVENT_OFF;
    if (!http->sweep_source || http->closing)
        return;
    sd_event_source_get_enabled(http->sweep_source, &is);
    if (is != wanted && wanted == SD_EVENT_ON)
        sd_event_source_set_time(http->sweep_source, monotonic_us() + HTTP_SWEEP_US);
    if (is != wanted)
        sd_event_source_set_enabled(http->sweep_source, wanted);
}

static void read_peer(struct http_connection *connection) {
    struct ucred credentials;
    socklen_t size = sizeof credentials;
    if (connection->family != AF_UNIX ||
        getsockopt(connection->fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
        return;
    connection->peer = (struct http_peer){
        .known = true, .uid = credentials.uid, .gid = credentials.gid, .pid = credentials.pid};
}

static void open_connection(struct http *http, struct MHD_Connection *mhd, void **context) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct http_connection *connection = calloc(1, sizeof *connection);
    if (!connection || !info) {
        free(connection);
        if (info)
            shutdown(info->connect_fd, SHUT_RDWR);
        return;
    }
    connection->http = http;
    connection->mhd = mhd;
    connection->fd = info->connect_fd;
    connection->family = http->family;
    connection->since = monotonic_us();
    read_peer(connection);
    struct epoll_event event = {.events = EPOLLET | EPOLLHUP | EPOLLERR, .data.ptr = connection};
    if (connection->family != AF_UNIX)
        event.events |= EPOLLRDHUP;
    if (epoll_ctl(http->hangups, EPOLL_CTL_ADD, connection->fd, &event) < 0)
        end(connection); /* unwatched would be unbounded */
    connection->next = http->connections;
    if (connection->next)
        connection->next->previous = connection;
    http->connections = connection;
    http->count++;
    *context = connection;
    set_sweep(http);
}

/* The descriptor is closed right after. That alone does not take it out of our epoll: another
 * thread may be starting a program, which has it for a moment longer. */
static void close_connection(struct http *http, void **context) {
    struct http_connection *connection = *context;
    *context = NULL;
    if (!connection)
        return;
    if (connection->previous)
        connection->previous->next = connection->next;
    else
        http->connections = connection->next;
    if (connection->next)
        connection->next->previous = connection->previous;
    http->count--;
    epoll_ctl(http->hangups, EPOLL_CTL_DEL, connection->fd, NULL);
    free(connection);
    set_sweep(http);
    http_go_on_accepting(http);
}

void http_on_connection(void *owner, struct MHD_Connection *mhd, void **context,
                        enum MHD_ConnectionNotificationCode code) {
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        open_connection(owner, mhd, context);
    else
        close_connection(owner, context);
}

static int on_accept(sd_event_source *source, int listening, uint32_t events, void *owner) {
    struct http *http = owner;
    struct sockaddr_storage address;
    (void)source, (void)events;
    for (int i = 0; i < ACCEPT_AT_ONCE && http->accepting; i++) {
        if (http->count >= http->limit) {
            if (i == 0) /* or nobody may be waiting */
                pause_accepting(http);
            break;
        }
        socklen_t size = sizeof address;
        int fd =
            accept4(listening, (struct sockaddr *)&address, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM))
            pause_accepting(http);
        if (fd < 0)
            break;
        MHD_add_connection(http->daemon, fd, (struct sockaddr *)&address, size); /* or closes */
    }
    http_run(http);
    return 0;
}

/* ---- hang-ups ------------------------------------------------------------------------- */

static int on_hangup(sd_event_source *source, int fd, uint32_t events, void *owner) {
    struct http *http = owner;
    struct epoll_event found[HANGUPS_AT_ONCE];
    bool resumed = false;
    (void)source, (void)events;
    /* None of them ends while this is on the stack but in http_run, at the end. */
    int count = epoll_wait(fd, found, HANGUPS_AT_ONCE, 0);
    for (int i = 0; i < count; i++) {
        struct http_connection *connection = found[i].data.ptr;
        struct http_request *request = connection->request;
        connection->hung = true;
        if (!request || !request->suspended)
            continue; /* libmicrohttpd looks itself */
        http_tell_gone(request);
        if (request->response)
            continue; /* answered: http_flush comes to it */
        request->phase = HTTP_GONE;
        request->suspended = false;
        MHD_resume_connection(connection->mhd);
        resumed = true;
    }
    if (resumed)
        http_run(http);
    return 0;
}

/* ---- slow clients ---------------------------------------------------------------------- */

static bool too_slow(const struct http_connection *connection, uint64_t now) {
    const struct http_request *request = connection->request;
    uint64_t bytes;
    if (!request) /* silent ones are libmicrohttpd's to close, after HTTP_IDLE_S */
        return now > connection->since + HTTP_HEADERS_US;
    switch (request->phase) {
    case HTTP_BODY:
        bytes = request->body.bytes;
        break;
    case HTTP_DRAIN:
        bytes = request->drained;
        break;
    case HTTP_ANSWERED: /* not yet taken whole */
        bytes = request->answer_bytes;
        break;
    default:
        return false;
    }
    return now > request->since + HTTP_GRACE_US + bytes * 1000000 / HTTP_SLOWEST;
}

static int on_sweep(sd_event_source *source, uint64_t time, void *owner) {
    struct http *http = owner;
    uint64_t now = monotonic_us();
    (void)time;
    for (struct http_connection *at = http->connections; at; at = at->next)
        if (too_slow(at, now))
            end(at);
    sd_event_source_set_time(source, now + HTTP_SWEEP_US);
    http_go_on_accepting(http);
    http_run(http);
    return 0;
}

/* ---- sources -------------------------------------------------------------------------- */

int http_watch(struct http *http, struct error *err) {
    socklen_t size = sizeof http->family;
    int r = 0;
    if (getsockopt(http->listening, SOL_SOCKET, SO_DOMAIN, &http->family, &size) < 0 ||
        fcntl(http->listening, F_SETFL, fcntl(http->listening, F_GETFL) | O_NONBLOCK) < 0)
        return error_set(err, -errno, "the listening socket: %s", strerror(errno));
    http->hangups = epoll_create1(EPOLL_CLOEXEC);
    if (http->hangups < 0)
        r = -errno;
    if (r >= 0)
        r = sd_event_add_io(http->loop, &http->accept_source, http->listening, EPOLLIN, on_accept,
                            http);
    if (r >= 0)
        r = sd_event_add_io(http->loop, &http->hangup_source, http->hangups, EPOLLIN, on_hangup,
                            http);
    if (r >= 0)
        r = sd_event_add_time(http->loop, &http->sweep_source, CLOCK_MONOTONIC, 0, 1000000,
                              on_sweep, http);
    if (r >= 0)
        r = sd_event_source_set_enabled(http->sweep_source, SD_EVENT_OFF);
    http->accepting = true;
    return r < 0 ? error_set(err, r, "HTTP in the event loop: %s", strerror(-r)) : 0;
}
