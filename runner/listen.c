#include "runner/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cleanup.h"

#define PATIENCE_MS 500 /* for the socket of a daemon that may be dying */
#define TRIES       10
#define BACKLOG     4096 /* the kernel cuts it to net.core.somaxconn */

/* --- from the service manager ----------------------------------------------------------------- */

static int take_over(struct listening *listening, struct error *err) {
    int count = sd_listen_fds(1);
    if (count <= 0)
        return count;
    int fd = SD_LISTEN_FDS_START;
    if (count > 1)
        return error_set(err, -EINVAL,
                         "the service manager hands over %d sockets; fnrund takes one", count);
    if (sd_is_socket(fd, AF_UNSPEC, SOCK_STREAM, 1) <= 0)
        return error_set(err, -EINVAL,
                         "what the service manager hands over is no listening stream socket "
                         "(ListenStream= is meant)");
    struct sockaddr_un address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) == 0 && address.sun_family == AF_UNIX)
        snprintf(listening->path, sizeof listening->path, "%.107s", address.sun_path);
    else
        snprintf(listening->path, sizeof listening->path, "a socket of the service manager");
    listening->fd = fd;
    return 1;
}

/* --- its own ---------------------------------------------------------------------------------- */

/* A full queue (EAGAIN) has somebody behind it as well. Leaves connect's errno. A daemon that
 * was killed is heard for a moment longer where a child of it was about to run its program: so
 * it is asked more than once. */
static bool is_listened_to(const struct sockaddr_un *address) {
    const struct timespec pause = {0, PATIENCE_MS * 1000000L / TRIES};
    for (int i = 0; i < TRIES; i++) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            return false;
        if (connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno != EAGAIN)
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* Removes the socket of a daemon that is dead. Returns 0 when the path is free. */
static int clear_path(const struct sockaddr_un *address, struct error *err) {
    struct stat st;
    if (lstat(address->sun_path, &st) < 0)
        return errno == ENOENT
                   ? 0
                   : error_set(err, -errno, "%s: %s", address->sun_path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return error_set(err, -EEXIST,
                         "%s is there and is no socket: remove it, or give another --socket",
                         address->sun_path);
    if (is_listened_to(address))
        return error_set(err, -EADDRINUSE,
                         "a daemon is listening on %s already: stop it, or give another --socket",
                         address->sun_path);
    if (errno != ECONNREFUSED)
        return error_set(err, -errno, "%s cannot be tried: %s", address->sun_path, strerror(errno));
    if (unlink(address->sun_path) < 0 && errno != ENOENT)
        return error_set(err, -errno, "%s, left by a daemon that is gone, cannot be removed: %s",
                         address->sun_path, strerror(errno));
    return 0;
}

static int explain_bind(const char *path, int code, struct error *err) {
    const char *hint = code == ENOENT   ? "; make its folder first"
                       : code == EACCES ? "; give a --socket in a folder of yours"
                       : code == EROFS  ? "; give another --socket"
                                        : "";
    return error_set(err, -code, "the socket %s cannot be made: %s%s", path, strerror(code), hint);
}

int listen_open(struct listening *listening, const char *path, uint32_t mode, uid_t uid, gid_t gid,
                struct error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *listening = (struct listening){.fd = -EBADF, .remover = -EBADF};
    int r = take_over(listening, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (path[0] != '/' || strlen(path) >= sizeof address.sun_path)
        return error_set(err, -ENAMETOOLONG,
                         "the socket's path must be absolute and shorter than %zu bytes: %s",
                         sizeof address.sun_path, path);
    strcpy(address.sun_path, path);
    strcpy(listening->path, path);
    r = clear_path(&address, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set(err, -errno, "no socket: %s", strerror(errno));
    /* Nobody else gets in before mode and owner are what they shall be: not even the file's
     * group, and nobody is answered before listen(2) anyhow. */
    mode_t mask = umask(0177);
    r = bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ? errno : 0;
    umask(mask);
    if (r)
        return explain_bind(path, r, err);
    listening->ours = true;
    if (lchown(path, uid, gid) < 0 || fchmodat(AT_FDCWD, path, mode & 0777, 0) < 0 ||
        lstat(path, &listening->made) < 0 || listen(fd, BACKLOG) < 0) {
        r = -errno;
        unlink(path);
        return error_set(err, r, "the socket %s cannot be set up: %s", path, strerror(-r));
    }
    listening->fd = TAKE_FD(fd);
    return 0;
}

/* --- removing it ------------------------------------------------------------------------------ */

static void unlink_own(const struct listening *listening) {
    struct stat st;
    /* Another daemon may have put its own there, and its inode may have the same number: the
     * time tells them apart. */
    const struct stat *made = &listening->made;
    if (lstat(listening->path, &st) == 0 && st.st_dev == made->st_dev &&
        st.st_ino == made->st_ino && st.st_ctim.tv_sec == made->st_ctim.tv_sec &&
        st.st_ctim.tv_nsec == made->st_ctim.tv_nsec)
        unlink(listening->path);
}

/* Root's id is enough to remove what is in root's folder; nothing more is kept. */
static void give_up_capabilities(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    syscall(SYS_capset, &head, none);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static _Noreturn void wait_and_remove(const struct listening *listening, int pipe) {
    char byte;
    setsid(); /* a Ctrl-C at fnrund's terminal is not for this one */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    prctl(PR_SET_NAME, "fnrund-socket", 0, 0, 0);
    give_up_capabilities();
    dup2(pipe, 3);
    syscall(SYS_close_range, 0u, 2u, 0u);
    syscall(SYS_close_range, 4u, ~0u, 0u);
    if (chdir("/") < 0)
        _exit(1);
    while (read(3, &byte, 1) < 0 && errno == EINTR)
        ;
    unlink_own(listening);
    _exit(0);
}

int listen_guard(struct listening *listening, struct error *err) {
    int ends[2];
    if (!listening->ours)
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set(err, -errno, "no pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0)
        wait_and_remove(listening, ends[0]);
    close(ends[0]);
    if (pid < 0) {
        int r = -errno;
        close(ends[1]);
        return error_set(err, r, "no process for removing the socket: %s", strerror(-r));
    }
    listening->remover = ends[1];
    listening->remover_pid = pid;
    return 0;
}

void listen_remove(struct listening *listening) {
    if (!listening->ours)
        return;
    if (listening->remover >= 0) {
        close(listening->remover);
        listening->remover = -EBADF;
        while (waitpid(listening->remover_pid, NULL, 0) < 0 && errno == EINTR)
            ;
    } else {
        unlink_own(listening);
    }
    listening->ours = false;
}
