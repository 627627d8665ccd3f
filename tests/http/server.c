/* A server on runner/http.h for the tests and for measuring: what it answers is told by the
 * path, and what happened to each request it says on stdout, a line each, for the tests to
 * wait for.
 *
 *   /echo          the body, at once
 *   /later         the body, from the loop's next turn but one
 *   /hold          no answer; "holding N", and "gone N" when the client is
 *   /release       answers, and answers every held one
 *   /spool         the body's length, of what is in the file
 *   /stream        a line at once, one for each /push, "gone N" when the client is, ended by /end
 *   /flood         a stream that never stops, to see it cut
 *   /stop          http_stop_accepting
 *   /big           the body's number of bytes
 *   else           404
 *
 * Usage: server unix:PATH | tcp [LIMIT]; says "port N" for tcp. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "runner/http.h"

#define HELD 2048

static sd_event *loop;
static struct http *http;
static int64_t limit = 6 << 20;
static struct http_request *held[HELD], *streams[HELD];
static sd_event_source *later_source, *flood_source;
static struct http_request *later[HELD];
static size_t later_count;
static unsigned long number;

struct note {
    unsigned long number;
    int spool;
};

static int on_later(sd_event_source *source, void *owner) {
    (void)source, (void)owner;
    size_t count = later_count;
    later_count = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length;
        const char *body = http_body(later[i], &length);
        free(http_data(later[i]));
        http_reply(later[i], 200, NULL, (char *)body, length, false);
    }
    return 0;
}

static int on_flood(sd_event_source *source, uint64_t time, void *owner) {
    static char block[64 * 1024];
    (void)source, (void)time, (void)owner;
    bool any = false;
    memset(block, 'x', sizeof block);
    for (size_t i = 0; i < HELD; i++)
        if (streams[i] && strcmp(http_path(streams[i]), "/flood") == 0) {
            http_push(streams[i], block, sizeof block);
            any = true;
        }
    sd_event_source_set_enabled(flood_source, any ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
    return 0;
}

static void put(struct http_request **list, struct http_request *request) {
    for (size_t i = 0; i < HELD; i++)
        if (!list[i]) {
            list[i] = request;
            return;
        }
    abort();
}

static bool drop(struct http_request **list, struct http_request *request) {
    for (size_t i = 0; i < HELD; i++)
        if (list[i] == request) {
            list[i] = NULL;
            return true;
        }
    return false;
}

static int64_t begin(void *owner, struct http_request *request, int *spool_to) {
    struct note *note = calloc(1, sizeof *note);
    (void)owner;
    note->number = ++number;
    note->spool = -1;
    http_set_data(request, note);
    if (strcmp(http_path(request), "/refused") == 0) {
        static const char *const headers[] = {"x-amzn-ErrorType", "AccessDeniedException", NULL};
        free(note);
        http_reply(request, 403, headers, (char *)"{}", 2, false);
        return -EPERM;
    }
    if (strcmp(http_path(request), "/spool") == 0)
        note->spool = *spool_to = fileno(tmpfile());
    return strcmp(http_method(request), "GET") == 0 ? 0 : limit;
}

static void text(struct http_request *request, unsigned status, const char *body) {
    free(http_data(request));
    http_reply(request, status, NULL, (char *)body, strlen(body), false);
}

static void each(struct http_request **list, void (*do_it)(struct http_request *)) {
    for (size_t i = 0; i < HELD; i++)
        if (list[i] && strcmp(http_path(list[i]), "/flood") != 0)
            do_it(list[i]);
}

static void release(struct http_request *request) {
    drop(held, request);
    text(request, 200, "\"released\"");
}

static void push(struct http_request *request) {
    http_push(request, "pushed\n", 7);
}

static void end(struct http_request *request) {
    drop(streams, request);
    free(http_data(request));
    http_end(request);
}

static void stream(struct http_request *request) {
    static const char *const headers[] = {"Content-Type", "text/plain", NULL};
    put(streams, request);
    http_stream(request, 200, headers);
    http_push(request, "first\n", 6);
}

static void handle(void *owner, struct http_request *request) {
    const char *path = http_path(request);
    struct note *note = http_data(request);
    size_t length;
    const char *body = http_body(request, &length);
    (void)owner;
    if (strcmp(path, "/echo") == 0) {
        free(note);
        http_reply(request, 200, NULL, (char *)body, length, false);
    } else if (strcmp(path, "/later") == 0) {
        later[later_count++] = request;
        sd_event_source_set_enabled(later_source, SD_EVENT_ONESHOT);
    } else if (strcmp(path, "/hold") == 0) {
        put(held, request);
        printf("holding %lu\n", note->number);
    } else if (strcmp(path, "/release") == 0) {
        each(held, release);
        text(request, 200, "{}");
    } else if (strcmp(path, "/spool") == 0 || strcmp(path, "/big") == 0) {
        char words[64];
        long long bytes = note->spool >= 0 ? lseek(note->spool, 0, SEEK_END) : (long long)length;
        snprintf(words, sizeof words, "%lld", bytes);
        text(request, 200, words);
    } else if (strcmp(path, "/stream") == 0) {
        stream(request);
        printf("streaming %lu\n", note->number);
    } else if (strcmp(path, "/flood") == 0) {
        stream(request);
        sd_event_source_set_enabled(flood_source, SD_EVENT_ONESHOT);
    } else if (strcmp(path, "/push") == 0 || strcmp(path, "/end") == 0) {
        each(streams, strcmp(path, "/push") == 0 ? push : end);
        text(request, 200, "{}");
    } else if (strcmp(path, "/query") == 0) {
        const char *value = http_query(request, "q");
        text(request, 200, value ? value : "none");
    } else if (strcmp(path, "/stop") == 0) {
        text(request, 200, "{}");
        http_stop_accepting(http);
    } else if (strcmp(path, "/peer") == 0) {
        char words[96];
        const struct http_peer *peer = http_peer(request);
        snprintf(words, sizeof words, "%d %d %d %d", peer->known, (int)peer->uid,
                 http_peer_in_group(request, peer->gid), http_peer_in_group(request, 54321));
        text(request, 200, words);
    } else {
        text(request, 404, "{}");
    }
}

static void gone(void *owner, struct http_request *request) {
    struct note *note = http_data(request);
    (void)owner;
    drop(held, request);
    drop(streams, request);
    for (size_t i = 0; i < later_count; i++)
        if (later[i] == request)
            later[i--] = later[--later_count];
    printf("gone %lu\n", note->number);
    free(note);
}

static void refuse(void *owner, struct http_request *request, unsigned status) {
    static const char *const headers[] = {"x-amzn-ErrorType", "RequestTooLargeException", NULL};
    (void)owner;
    free(http_data(request));
    http_set_data(request, NULL);
    http_reply(request, status, status == 413 ? headers : NULL, (char *)"{}", 2, false);
}

static int listen_on(const char *where) {
    int fd;
    if (strncmp(where, "unix:", 5) == 0) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        strncpy(address.sun_path, where + 5, sizeof address.sun_path - 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
            return -1;
    } else {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof address;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
            getsockname(fd, (struct sockaddr *)&address, &size) < 0)
            return -1;
        printf("port %d\n", ntohs(address.sin_port));
    }
    return listen(fd, 512) < 0 ? -1 : fd;
}

int main(int count, char **words) {
    static const struct http_handler handler = {
        .begin = begin, .handle = handle, .gone = gone, .refuse = refuse};
    struct error err;
    sigset_t set;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int fd = count > 1 ? listen_on(words[1]) : -1;
    if (fd < 0)
        return perror("listen"), 1;
    if (count > 2)
        limit = atoll(words[2]);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (sd_event_new(&loop) < 0 || sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL) < 0 ||
        sd_event_add_defer(loop, &later_source, on_later, NULL) < 0 ||
        sd_event_add_time(loop, &flood_source, CLOCK_MONOTONIC, 0, 1, on_flood, NULL) < 0)
        return 1;
    sd_event_source_set_enabled(later_source, SD_EVENT_OFF);
    sd_event_source_set_enabled(flood_source, SD_EVENT_OFF);
    http = http_new(loop, fd, &handler, NULL, &err);
    if (!http)
        return fprintf(stderr, "%s\n", err.message), 1;
    printf("ready\n");
    int r = sd_event_loop(loop);
    printf("open %zu\n", http_open_requests(http));
    http_free(http);
    printf("freed\n");
    sd_event_source_unref(later_source);
    sd_event_source_unref(flood_source);
    sd_event_unref(loop);
    return r;
}
