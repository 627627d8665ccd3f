/* The load client: events over keep-alive HTTP/1.1 connections to a unix socket.
 *
 *     load --socket PATH --path PATH --event FILE [--connections N] [--header 'Name: value']...
 *          [--method POST] [--record FILE] [--keep NAME FILE] [--pause US] [--realtime]
 *
 * The clock runs from just before the request is written (head and event in one piece, on a
 * connection that is open) to the reply's last byte. One connection waits in recv, several
 * in poll, each with one request under way. A call fails when the status is not 200 or 204
 * or the reply has X-Amz-Function-Error; it counts and is timed nevertheless. A connection that
 * ends ends the program. --keep: this header's value of each reply, a line each. --pause: before
 * each call, not timed. --realtime: SCHED_FIFO, so that the client is no part of a busy
 * machine's delays. Besides slices.h's commands: `path PATH`: what is called from then on. */
#include <ctype.h>
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "slices.h"

#define MAX_CONNECTIONS 256
#define MAX_REPLY       ((size_t)1 << 20)

struct connection {
    int fd;
    bool waiting;
    uint64_t start;
    size_t length; /* of what has come of the reply */
    char *reply;   /* MAX_REPLY + 1 bytes */
};

static const char *socket_path, *keep_name, *method = "POST";
static char event[65536], headers[4096], request[65536 + 8192];
static size_t event_length, request_length;
static FILE *keep;
static unsigned pause_us;
static nfds_t connection_count = 1;
static struct connection connections[MAX_CONNECTIONS];

static void make_request(const char *path) {
    int head = snprintf(request, 8192,
                        "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                        "%sContent-Length: %zu\r\n\r\n",
                        method, path, headers, event_length);
    if (head < 0 || head >= 8192)
        die("the request's head is too long");
    memcpy(request + head, event, event_length);
    request_length = (size_t)head + event_length;
}

static void connection_open(struct connection *connection) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(socket_path) >= sizeof address.sun_path)
        die("the socket's path is too long");
    strcpy(address.sun_path, socket_path);
    connection->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0 ||
        connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("%s: %s", socket_path, strerror(errno));
    connection->reply = malloc(MAX_REPLY + 1);
    if (!connection->reply)
        die("no memory for a connection");
}

static void send_request(struct connection *connection) {
    size_t done = 0;
    if (pause_us)
        usleep(pause_us);
    connection->waiting = true;
    connection->length = 0;
    connection->start = now_ns();
    while (done < request_length) {
        ssize_t sent = send(connection->fd, request + done, request_length - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            die("send: %s", strerror(errno));
        done += (size_t)sent;
    }
}

/* The value of a header in a head that ends with an empty line, or NULL. */
static const char *header_value(const char *head, const char *name, size_t *length) {
    size_t name_length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line && line[2] != '\r';
         line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, name_length) != 0 || line[name_length] != ':')
            continue;
        line += name_length + 1;
        while (*line == ' ')
            line++;
        *length = (size_t)(strstr(line, "\r\n") - line);
        return line;
    }
    return NULL;
}

/* Is the reply complete? Then it is counted, with the time at which its last byte came. */
static bool take_reply(struct connection *connection, struct slice *slice, uint64_t now) {
    char *head = connection->reply;
    head[connection->length] = 0;
    char *body = strstr(head, "\r\n\r\n");
    if (!body)
        return false;
    body += 4;
    char first = *body;
    *body = 0; /* the head alone is looked through */
    size_t length = 0, value_length = 0;
    bool nothing = strncmp(head, "HTTP/1.1 204 ", 13) == 0; /* has no length */
    bool well = (nothing || strncmp(head, "HTTP/1.1 200 ", 13) == 0) &&
                !header_value(head, "X-Amz-Function-Error", &value_length);
    const char *value = header_value(head, "Content-Length", &value_length);
    if (value)
        length = strtoul(value, NULL, 10);
    else if (!nothing)
        die("a reply without Content-Length: %s", head);
    size_t had = connection->length - (size_t)(body - head);
    if (had >= length && keep) {
        value = header_value(head, keep_name, &value_length);
        fprintf(keep, "%.*s\n", value ? (int)value_length : 0, value ? value : "");
    }
    *body = first;
    if (had < length)
        return false;
    if (had > length)
        die("%zu bytes more than the reply's Content-Length", had - length);
    slice_done(slice, now - connection->start, well ? body : "", well ? length : 0);
    if (!well)
        slice_failed(slice, head, connection->length);
    connection->waiting = false;
    return true;
}

/* Reads what is there, waits for it if need be; sends the next request after a reply. */
static void serve(struct connection *connection, struct slice *slice) {
    ssize_t got = recv(connection->fd, connection->reply + connection->length,
                       MAX_REPLY - connection->length, 0);
    uint64_t now = now_ns();
    if (got < 0 && errno == EINTR)
        return;
    if (got <= 0)
        die("the connection has ended: %s", got ? strerror(errno) : "closed or reply too large");
    connection->length += (size_t)got;
    if (take_reply(connection, slice, now) && slice_more(slice))
        send_request(connection);
}

/* Waits for replies on all connections that have a request under way. Returns how many had. */
static nfds_t wait_for_replies(struct slice *slice) {
    static struct pollfd polls[MAX_CONNECTIONS];
    nfds_t waiting = 0;
    for (nfds_t i = 0; i < connection_count; i++) {
        polls[i] = (struct pollfd){.fd = -1, .events = POLLIN};
        if (connections[i].waiting) {
            polls[i].fd = connections[i].fd;
            waiting++;
        }
    }
    if (waiting && poll(polls, connection_count, -1) < 0 && errno != EINTR)
        die("poll: %s", strerror(errno));
    for (nfds_t i = 0; i < connection_count; i++)
        if (polls[i].revents)
            serve(&connections[i], slice);
    return waiting;
}

/* A server closes a connection that was silent for long, as between two slices. */
static void connection_renew(struct connection *connection) {
    char byte;
    if (recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) {
        close(connection->fd);
        connection_open(connection);
    }
}

static void measure(struct slice *slice) {
    for (nfds_t i = 0; i < connection_count; i++)
        connection_renew(&connections[i]);
    for (nfds_t i = 0; i < connection_count; i++)
        if (slice_more(slice))
            send_request(&connections[i]);
    while (connection_count == 1 && connections[0].waiting)
        serve(&connections[0], slice);
    while (connection_count > 1 && wait_for_replies(slice))
        ;
    if (keep)
        fflush(keep);
}

static void command(const char *line) {
    if (strncmp(line, "path ", 5) != 0)
        die("not understood: %s", line);
    make_request(line + 5);
}

static void read_event(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file)
        die("%s: %s", path, strerror(errno));
    event_length = fread(event, 1, sizeof event, file);
    fclose(file);
}

static void add_header(const char *text) {
    size_t used = strlen(headers);
    if (used + strlen(text) + 3 > sizeof headers)
        die("too many headers");
    sprintf(headers + used, "%s\r\n", text);
}

static void go_realtime(void) {
    struct sched_param first = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &first) < 0)
        die("SCHED_FIFO: %s", strerror(errno));
}

int main(int argc, char *argv[]) {
    const char *path = NULL;
    FILE *record = NULL;
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--realtime") == 0) {
            go_realtime();
            continue;
        }
        if (i + 1 >= argc)
            die("%s needs a value", name);
        const char *value = argv[++i];
        if (strcmp(name, "--socket") == 0)
            socket_path = value;
        else if (strcmp(name, "--path") == 0)
            path = value;
        else if (strcmp(name, "--method") == 0)
            method = value;
        else if (strcmp(name, "--event") == 0)
            read_event(value);
        else if (strcmp(name, "--connections") == 0)
            connection_count = strtoul(value, NULL, 10);
        else if (strcmp(name, "--header") == 0)
            add_header(value);
        else if (strcmp(name, "--record") == 0)
            record = open_record(value);
        else if (strcmp(name, "--pause") == 0)
            pause_us = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(name, "--keep") == 0 && i + 1 < argc) {
            keep_name = value;
            keep = open_record(argv[++i]);
        } else
            die("not understood: %s", name);
    }
    if (!socket_path || !path || connection_count < 1 || connection_count > MAX_CONNECTIONS)
        die("usage: load --socket PATH --path PATH --event FILE [--connections 1..%d] ...",
            MAX_CONNECTIONS);
    make_request(path);
    for (nfds_t i = 0; i < connection_count; i++)
        connection_open(&connections[i]);
    slices_serve(record, measure, command);
    return 0;
}
