#include "runner/outbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "isolate/wire.h"

struct outbox_message {
    struct outbox_message *next;
    int fds[WIRE_FDS];
    size_t count, length;
    char data[];
};

static void close_all(int *fds, size_t count) {
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

void outbox_open(struct outbox *box, int socket) {
    *box = (struct outbox){.socket = socket};
    box->last = &box->first;
}

static int keep(struct outbox *box, const void *data, size_t length, const int *fds, size_t count) {
    struct outbox_message *message = malloc(sizeof *message + length);
    if (!message)
        return -ENOMEM;
    message->next = NULL;
    message->count = count;
    message->length = length;
    memcpy(message->fds, fds, count * sizeof *fds);
    memcpy(message->data, data, length);
    *box->last = message;
    box->last = &message->next;
    box->count++;
    return 0;
}

int outbox_send(struct outbox *box, const void *data, size_t length, int *fds, size_t count) {
    int none, r = -EAGAIN;
    if (!fds)
        fds = &none;
    if (outbox_is_empty(box))
        r = wire_send(box->socket, data, length, fds, count);
    if (r == -EAGAIN) {
        r = box->count < OUTBOX_MOST ? keep(box, data, length, fds, count) : -ENOBUFS;
        if (r == 0)
            return 0;
    }
    close_all(fds, count);
    return r;
}

static void drop_first(struct outbox *box) {
    struct outbox_message *message = box->first;
    box->first = message->next;
    if (!box->first)
        box->last = &box->first;
    box->count--;
    close_all(message->fds, message->count);
    free(message);
}

int outbox_flush(struct outbox *box) {
    while (box->first) {
        const struct outbox_message *message = box->first;
        int r =
            wire_send(box->socket, message->data, message->length, message->fds, message->count);
        if (r < 0)
            return r == -EAGAIN ? 0 : r;
        drop_first(box);
    }
    return 0;
}

void outbox_close(struct outbox *box) {
    while (box->first)
        drop_first(box);
}
