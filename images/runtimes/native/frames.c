#include "images/runtimes/native/frames.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "runner/frame.h"

void frames_start(void) {
    (void)fcntl(FRAME_FD, F_SETFD, FD_CLOEXEC);
}

void frames_forget(void) {
    (void)close(FRAME_FD);
}

/* Reads exactly length bytes. False: the runner is gone. */
static bool receive(void *data, size_t length) {
    char *at = data;
    while (length > 0) {
        ssize_t count = read(FRAME_FD, at, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        at += count;
        length -= (size_t)count;
    }
    return true;
}

void frames_send(uint32_t type, const void *data, size_t length) {
    unsigned char head[FRAME_HEAD];
    frame_put_head(head, (struct frame_head){.type = type, .length = (uint32_t)length});
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, length}};
    int first = 0;
    while (first < 2) {
        ssize_t count = writev(FRAME_FD, parts + first, 2 - first);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            fprintf(stderr, "fnrun: the answer could not be sent on descriptor %d: %s\n", FRAME_FD,
                    strerror(errno));
            fflush(NULL);
            _exit(1);
        }
        for (size_t sent = (size_t)count; first < 2; first++) {
            size_t part = sent < parts[first].iov_len ? sent : parts[first].iov_len;
            parts[first].iov_base = (char *)parts[first].iov_base + part;
            parts[first].iov_len -= part;
            sent -= part;
            if (parts[first].iov_len > 0)
                break;
        }
    }
}

char *frames_receive_event(size_t *length, int at_end) {
    unsigned char bytes[FRAME_HEAD];
    if (!receive(bytes, sizeof bytes))
        _exit(at_end ? 0 : 1);
    struct frame_head head = frame_get_head(bytes);
    if (head.type != FRAME_EVENT)
        _exit(1);
    char *payload = malloc((size_t)head.length + 1);
    if (!payload)
        return NULL;
    if (!receive(payload, head.length))
        _exit(1);
    payload[head.length] = '\0';
    *length = head.length;
    return payload;
}

const char *frames_early_request_id(void) {
    static char start[4096];
    static const char key[] = "request-id: ";
    int flags = fcntl(FRAME_FD, F_GETFL);
    if (flags < 0 || fcntl(FRAME_FD, F_SETFL, flags | O_NONBLOCK) < 0)
        return "";
    ssize_t count = read(FRAME_FD, start, sizeof start - 1);
    (void)fcntl(FRAME_FD, F_SETFL, flags);
    char *line = count > FRAME_HEAD ? start + FRAME_HEAD : NULL;
    while (line && *line != '\n') {
        char *end = strchr(line, '\n');
        if (end && strncmp(line, key, sizeof key - 1) == 0) {
            *end = '\0';
            return line + sizeof key - 1;
        }
        line = end ? end + 1 : NULL;
    }
    return "";
}
