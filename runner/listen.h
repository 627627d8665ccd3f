/* fnrund's socket: made before privileges are dropped (/run is root's), or handed over by the
 * service manager; removed at the end, whoever fnrund is by then. */
#ifndef FNRUN_LISTEN_H
#define FNRUN_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "isolate/error.h"

struct listening {
    int fd; /* bound and listening; handed on to http_new */
    char path[108];
    bool ours;        /* made here: to be removed at the end */
    struct stat made; /* what is removed then, and nothing else */
    int remover;      /* see listen_guard; -1: none */
    pid_t remover_pid;
};

/* A socket from the service manager (LISTEN_FDS) where there is one, else a new one at path with
 * this mode, owner and group (the caller may chown: it is root, or they are its own). One that
 * a dead fnrund left is replaced; a live one is an error. Returns 0 or a negative errno with
 * err: -EADDRINUSE, -EEXIST (something else is there), -ENAMETOOLONG, ... */
int listen_open(struct listening *listening, const char *path, uint32_t mode, uid_t uid, gid_t gid,
                struct error *err);

/* Before privileges are dropped: starts a process that does nothing but wait for fnrund's end,
 * however it comes, and then removes the socket. Only root can remove what is in /run. It has
 * no capabilities, and no descriptors but one end of a pipe. */
int listen_guard(struct listening *listening, struct error *err);

/* Removes the socket, if it is still the one that was made. */
void listen_remove(struct listening *listening);

#endif
