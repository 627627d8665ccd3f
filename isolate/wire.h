/* Messages with descriptors over a SOCK_SEQPACKET socket: one send is one receive. All
 * ends are programs of this project, but a keeper may have been taken over: whoever
 * receives checks lengths, numbers and texts before use. */
#ifndef FNRUN_WIRE_H
#define FNRUN_WIRE_H

#include <stddef.h>
#include <sys/types.h>

#define WIRE_FDS 16
#define WIRE_MAX 65536 /* bytes of one message */

/* Sends the bytes and count (0 to WIRE_FDS) descriptors, which stay the caller's.
 * Blocks where the socket does. Returns 0 or a negative errno (-EPIPE: the other end is
 * gone; -EAGAIN). */
int wire_send(int socket, const void *data, size_t length, const int *fds, size_t count);

/* Receives one message of at most size bytes. Descriptors (close-on-exec) go to fds, the
 * caller's from then on; those beyond *count are closed. *count: how many fit, then how
 * many came. Returns the length; 0: the other end is gone; a negative errno: -EAGAIN,
 * -EMSGSIZE (cut: nothing is handed on). */
ssize_t wire_receive(int socket, void *data, size_t size, int *fds, size_t *count);

#endif
