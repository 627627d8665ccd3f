/* fnrun-unpack ARCHIVE FOLDER: makes FOLDER and unpacks a hostile archive into it. A process
 * of its own, so that what an archive does to the library that reads it stays here: it has
 * limits of its own, no way to more privilege, and dies with the daemon that waits for it.
 * Exit status 0, or 1 with one line on stderr and no FOLDER. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "isolate/cleanup.h"
#include "isolate/error.h"
#include "runner/package_tree.h"
#include "runner/unpack_files.h"

#define CPU_SECONDS 60
#define ADDRESSES   (UINT64_C(1) << 30) /* xz -9 takes 65 MiB, zstd --long 128 */
#define DESCRIPTORS 32
#define NICENESS    10

static int limit(int resource, rlim_t value, const char *what, struct error *err) {
    const struct rlimit both = {.rlim_cur = value, .rlim_max = value};
    if (setrlimit((__rlimit_resource_t)resource, &both) < 0)
        return error_set(err, -errno, "cannot limit %s: %s", what, strerror(errno));
    return 0;
}

/* Before the first byte of the archive is read. */
static int confine(struct error *err) {
    struct pollfd reader = {.fd = STDERR_FILENO};
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return error_set(err, -errno, "prctl: %s", strerror(errno));
    /* A daemon that died before that line sends no signal; but then nobody reads. */
    if (poll(&reader, 1, 0) == 1 && reader.revents & POLLERR)
        return error_set(err, -EPIPE, "nobody waits for this");
    setpriority(PRIO_PROCESS, 0, NICENESS); /* answers come first */
    signal(SIGXFSZ, SIG_IGN);               /* EFBIG instead, which is said */
    umask(0);
    int r = limit(RLIMIT_CPU, CPU_SECONDS, "processor time", err);
    if (r == 0)
        r = limit(RLIMIT_FSIZE, UNPACK_BYTES, "the size of files", err);
    if (r == 0)
        r = limit(RLIMIT_NOFILE, DESCRIPTORS, "descriptors", err);
    if (r == 0)
        r = limit(RLIMIT_CORE, 0, "core files", err);
#ifndef FNRUN_SANITIZERS /* they reserve terabytes of addresses */
    if (r == 0)
        r = limit(RLIMIT_AS, ADDRESSES, "memory", err);
#endif
    return r;
}

static int unpack(const char *archive, const char *folder, struct error *err) {
    const struct unpack_limits limits = {.bytes = UNPACK_BYTES, .entries = UNPACK_ENTRIES};
    _cleanup_close_ int from = open(archive, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0)
        return error_set(err, -errno, "the archive cannot be opened: %s", strerror(errno));
    if (mkdir(folder, 0755) < 0)
        return error_set(err, -errno, "%s cannot be made: %s", folder, strerror(errno));
    _cleanup_close_ int to = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int r = to < 0 ? error_set(err, -errno, "%s cannot be opened: %s", folder, strerror(errno))
                   : unpack_files(from, to, &limits, err);
    /* Written to the disk here, where nobody waits in turn: the daemon's own fsync of each file
     * then finds nothing to do. */
    if (r == 0 && syncfs(to) < 0)
        r = error_set(err, -errno, "%s cannot be written to the disk: %s", folder, strerror(errno));
    if (r < 0)
        package_tree_remove(AT_FDCWD, folder);
    return r;
}

/* The message in one write of one line. */
static int complain(struct error *err) {
    size_t length = strnlen(err->message, sizeof err->message - 1);
    err->message[length] = '\n';
    return write(STDERR_FILENO, err->message, length + 1) < 0 ? 2 : 1;
}

int main(int argc, char *argv[]) {
    struct error err = {0};
    int r;
    /* Names of archives are converted to the locale's: UTF-8, whatever the daemon's is. */
    setlocale(LC_CTYPE, "C.UTF-8");
    if (argc != 3)
        r = error_set(&err, -EINVAL, "fnrun-unpack: expected ARCHIVE FOLDER");
    else
        r = confine(&err);
    if (r == 0)
        r = unpack(argv[1], argv[2], &err);
    return r < 0 ? complain(&err) : 0;
}
