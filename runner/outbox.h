/* Messages on their way into a non-blocking SOCK_SEQPACKET socket (isolate/wire.h): sent at
 * once where there is room, else kept, in order, until the socket takes them. */
#ifndef FNRUN_OUTBOX_H
#define FNRUN_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>

#define OUTBOX_MOST 65536 /* messages that may wait: more means that nobody reads */

struct outbox_message;

struct outbox {
    int socket; /* the owner's */
    struct outbox_message *first, **last;
    size_t count;
};

void outbox_open(struct outbox *box, int socket);
/* The descriptors are the outbox's from here on: closed once sent, or here on failure.
 * Returns 0, or a negative errno: -EPIPE and others: the other end is gone; -ENOBUFS: it does
 * not read; -ENOMEM. */
int outbox_send(struct outbox *box, const void *data, size_t length, int *fds, size_t count);
/* The socket takes more. */
int outbox_flush(struct outbox *box);
static inline bool outbox_is_empty(const struct outbox *box) {
    return box->first == NULL;
}
void outbox_close(struct outbox *box);

#endif
