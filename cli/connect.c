#include "cli/connect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "isolate/cleanup.h"

#define SYSTEM_SOCKET "/run/fnrun.sock"
#define USER_SOCKET   "/fnrun.sock"

static struct sockaddr_un address;

static int set_path(const char *folder, const char *name) {
    size_t a = strlen(folder), b = strlen(name);
    if (a + b + 1 > sizeof address.sun_path)
        return -ENAMETOOLONG;
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, folder, a);
    memcpy(address.sun_path + a, name, b + 1);
    return 0;
}

/* $XDG_RUNTIME_DIR, which only counts as an absolute path. */
static const char *user_folder(void) {
    const char *folder = getenv("XDG_RUNTIME_DIR");
    return folder && *folder == '/' ? folder : NULL;
}

static int try(int fd) {
    while (connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

#define START "start it with `fnrund &`, or with `systemctl start fnrund`"

static int explain(int r, const char *other, struct error *err) {
    const char *path = address.sun_path;
    switch (-r) {
    case ENOENT:
    case ENOTDIR:
        return error_set(err, -ENOENT, "no fnrund is running (there is no %s%s%s%s): " START, path,
                         other ? " and no " : "", other ? other : "", other ? USER_SOCKET : "");
    case ECONNREFUSED:
        return error_set(err, r, "no fnrund is running (nothing listens on %s any more): " START,
                         path);
    case EACCES:
    case EPERM:
        return error_set(err, -EACCES,
                         "you may not use the daemon's socket %s: ask for membership in its group, "
                         "or run this as root",
                         path);
    default:
        return error_set(err, r, "no connection to the daemon at %s: %s", path, strerror(-r));
    }
}

static int too_long(const char *path, struct error *err) {
    return error_set(err, -ENAMETOOLONG,
                     "the path of the daemon's socket is too long (107 bytes at most): %.200s",
                     path);
}

/* A program that was started without 0, 1 or 2 gets the lowest number for the socket, and
 * would then print into it. */
static int above_standard(int fd) {
    int moved;
    if (fd > STDERR_FILENO)
        return fd;
    moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return moved < 0 ? -errno : moved;
}

int connect_daemon(const char *named, struct error *err) {
    const char *own = named ? NULL : user_folder();
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fd = fd < 0 ? -errno : above_standard(fd);
    if (fd < 0)
        return error_set(err, fd, "no socket can be made: %s", strerror(-fd));
    if (named && set_path(named, "") < 0)
        return too_long(named, err);
    if (own && set_path(own, USER_SOCKET) < 0)
        own = NULL; /* nothing can listen there */
    if (!named && !own)
        set_path(SYSTEM_SOCKET, "");
    int r = try(fd);
    if (own && (r == -ENOENT || r == -ENOTDIR)) {
        set_path(SYSTEM_SOCKET, "");
        r = try(fd);
    } else if (own) {
        own = NULL; /* one socket is there: the other is not looked at */
    }
    return r < 0 ? explain(r, own, err) : TAKE_FD(fd);
}

const char *connect_path(const char *named) {
    const char *own = named ? NULL : user_folder();
    if (named ? set_path(named, "") < 0 : (!own || set_path(own, USER_SOCKET) < 0))
        set_path(SYSTEM_SOCKET, "");
    if (own && access(address.sun_path, F_OK) < 0)
        set_path(SYSTEM_SOCKET, "");
    return address.sun_path;
}
