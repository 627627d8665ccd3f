#include "runner/launcher_client.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/wire.h"
#include "runner/outbox.h"

#define MESSAGES_AT_ONCE 16

struct request {
    struct request *next;
    uint32_t id;
    const struct launcher_events *events;
    void *owner;
};

struct launcher_client {
    int socket;
    sd_event_source *source;
    struct outbox outbox;
    struct request *requests;
    uint32_t last_id;
    bool dead;
    void (*lost)(void *owner);
    void *owner;
};

/* Out of the list; the caller frees it. */
static struct request *take(struct launcher_client *client, uint32_t id) {
    for (struct request **at = &client->requests; *at; at = &(*at)->next) {
        struct request *request = *at;
        if (request->id != id)
            continue;
        *at = request->next;
        return request;
    }
    return NULL;
}

static const struct request *find(const struct launcher_client *client, uint32_t id) {
    const struct request *at = client->requests;
    while (at && at->id != id)
        at = at->next;
    return at;
}

static void watch(struct launcher_client *client) {
    sd_event_source_set_io_events(client->source,
                                  outbox_is_empty(&client->outbox) ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static void die(struct launcher_client *client) {
    if (client->dead)
        return;
    client->dead = true;
    client->source = sd_event_source_disable_unref(client->source);
    while (client->requests) {
        struct request *request = take(client, client->requests->id);
        request->events->gone(request->owner);
        free(request);
    }
    client->lost(client->owner);
}

static void take_message(struct launcher_client *client, const struct launcher_message *message) {
    if (message->op == LAUNCHER_MADE) {
        const struct request *request = find(client, message->id);
        if (request)
            request->events->made(request->owner, message->pid);
        return;
    }
    if (message->op != LAUNCHER_REFUSED && message->op != LAUNCHER_GONE)
        return;
    struct request *request = take(client, message->id);
    if (!request)
        return;
    if (message->op == LAUNCHER_REFUSED)
        request->events->refused(request->owner, message->code, message->text);
    else
        request->events->gone(request->owner);
    free(request);
}

static int readable(sd_event_source *source, int fd, uint32_t revents, void *data) {
    struct launcher_client *client = data;
    struct launcher_message message;
    (void)source;
    if ((revents & EPOLLOUT) && outbox_flush(&client->outbox) < 0) {
        die(client);
        return 0;
    }
    for (int i = 0; i < MESSAGES_AT_ONCE && !client->dead; i++) {
        memset(&message, 0, sizeof message);
        ssize_t length = wire_receive(fd, &message, sizeof message, NULL, NULL);
        if (length == -EAGAIN)
            break;
        message.text[sizeof message.text - 1] = 0;
        if (length < (ssize_t)offsetof(struct launcher_message, text))
            die(client);
        else
            take_message(client, &message);
    }
    if (!client->dead)
        watch(client);
    return 0;
}

struct launcher_client *launcher_client_new(struct sd_event *loop, int socket,
                                            void (*lost)(void *owner), void *owner,
                                            struct error *err) {
    struct launcher_client *client = calloc(1, sizeof *client);
    int r = client ? 0 : -ENOMEM;
    if (r == 0) {
        client->socket = socket;
        client->lost = lost;
        client->owner = owner;
        outbox_open(&client->outbox, socket);
        r = sd_event_add_io(loop, &client->source, socket, EPOLLIN, readable, client);
    }
    if (r < 0) {
        error_set(err, r, "watching the launcher: %s", strerror(-r));
        close(socket);
        free(client);
        return NULL;
    }
    return client;
}

void launcher_client_free(struct launcher_client *client) {
    if (!client)
        return;
    while (client->requests)
        free(take(client, client->requests->id));
    sd_event_source_disable_unref(client->source);
    outbox_close(&client->outbox);
    close(client->socket);
    free(client);
}

int64_t launcher_client_make(struct launcher_client *client, const struct launcher_make *make,
                             int keeper, const struct launcher_events *events, void *owner,
                             struct error *err) {
    struct launcher_make message = *make;
    _cleanup_free_ struct request *request = malloc(sizeof *request);
    if (!request || client->dead) {
        close(keeper);
        return request ? error_set(err, -EPIPE, "the launcher is dead")
                       : error_set(err, -ENOMEM, "out of memory");
    }
    do
        client->last_id++;
    while (client->last_id == 0 || find(client, client->last_id));
    message.op = LAUNCHER_MAKE;
    message.id = client->last_id;
    int r = outbox_send(&client->outbox, &message, sizeof message, &keeper, 1);
    if (r < 0)
        return error_set(err, r, "asking the launcher: %s", strerror(-r));
    watch(client);
    *request = (struct request){
        .next = client->requests, .id = message.id, .events = events, .owner = owner};
    client->requests = TAKE_PTR(request);
    return message.id;
}

void launcher_client_kill(struct launcher_client *client, uint32_t id) {
    struct launcher_message message = {.op = LAUNCHER_KILL, .id = id};
    if (client->dead || !find(client, id))
        return;
    /* Where that fails the launcher is gone, which its socket tells. */
    outbox_send(&client->outbox, &message, offsetof(struct launcher_message, text) + 1, NULL, 0);
    watch(client);
}

void launcher_client_forget(struct launcher_client *client, uint32_t id) {
    free(take(client, id));
}
