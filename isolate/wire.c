#include "isolate/wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int wire_send(int socket, const void *data, size_t length, const int *fds, size_t count) {
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(WIRE_FDS * sizeof(int))];
    } control;
    struct iovec part = {(void *)data, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > WIRE_FDS)
        return -EINVAL;
    if (count) {
        memset(&control, 0, sizeof control);
        message.msg_control = control.space;
        message.msg_controllen = (unsigned)CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = (unsigned)CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    for (;;) {
        if (sendmsg(socket, &message, MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

/* Hands on the first `room` descriptors of one control message, closes the others. */
static size_t take(const struct cmsghdr *head, int *fds, size_t room) {
    size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int), taken = 0;
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
        if (taken < room)
            fds[taken++] = fd;
        else
            close(fd);
    }
    return taken;
}

ssize_t wire_receive(int socket, void *data, size_t size, int *fds, size_t *count) {
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(WIRE_FDS * sizeof(int))];
    } control;
    struct iovec part = {data, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.space,
                             .msg_controllen = sizeof control.space};
    size_t room = count ? *count : 0, taken = 0;
    ssize_t length;
    while ((length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    if (count)
        *count = 0;
    if (length < 0)
        return errno == ECONNRESET ? 0 : -errno;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head))
        if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
            taken += take(head, fds + taken, room - taken);
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        while (taken)
            close(fds[--taken]);
        return -EMSGSIZE;
    }
    if (count)
        *count = taken;
    return length;
}
