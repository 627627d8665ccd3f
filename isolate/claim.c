#include "isolate/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cgroup.h"
#include "isolate/cleanup.h"

int claim_run_dir(char *path, unsigned long size, struct error *err) {
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int length;
    if (geteuid() == 0)
        length = snprintf(path, size, "/run/fnrun");
    else if (runtime && runtime[0] == '/')
        length = snprintf(path, size, "%s/fnrun", runtime);
    else
        length = snprintf(path, size, "/tmp/fnrun-%u", (unsigned)geteuid());
    if (length < 0 || (unsigned long)length >= size)
        return error_set(err, -ENAMETOOLONG, "XDG_RUNTIME_DIR is too long: %.200s", runtime);
    return 0;
}

int claim_open_run_dir(const char *path, struct error *err) {
    mode_t mode = geteuid() == 0 ? 0755 : 0700;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        mode_t mask = umask(0);
        int made = mkdir(path, mode);
        int code = errno;
        umask(mask);
        if (made < 0 && code != EEXIST)
            return error_set(err, -code, "%s cannot be made: %s", path, strerror(code));
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022)) {
        close(fd);
        return error_set(
            err, -EPERM,
            "%s is not trusted: it must be owned by uid %u and writable by nobody else. "
            "Remove it and try again",
            path, (unsigned)geteuid());
    }
    return fd;
}

/* 0 when byte `block` could be locked, -EAGAIN when another holds it. */
static int lock_block(int fd, uint32_t block, short type) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = block, .l_len = 1};
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

static off_t record_offset(uint32_t block) {
    return CLAIM_RECORDS + (off_t)block * CLAIM_RECORD;
}

static int mark(int fd, uint32_t block, unsigned char used) {
    return pwrite(fd, &used, 1, block) == 1 ? 0 : -EIO;
}

/* The holder of block died: its groups are killed and removed. The lock is held. Returns
 * whether nothing is left; else it is tried again by the next. */
static bool sweep(int fd, uint32_t block) {
    char record[CLAIM_RECORD];
    ssize_t length = pread(fd, record, sizeof record - 1, record_offset(block));
    if (length < 0)
        return false;
    record[length] = 0;
    bool clean = true;
    /* Last made, first removed. */
    for (char *line; record[0];) {
        line = strrchr(record, '\n');
        char *path = line ? line + 1 : record;
        if (path[0] == '/' && strstr(path, "/fnrun-") && cgroup_sweep(path) < 0)
            clean = false;
        *(line ? line : record) = 0;
    }
    return clean && mark(fd, block, 0) == 0;
}

int claim_take(struct claim *claim, const char *run_dir, uint32_t blocks, struct error *err) {
    _cleanup_close_ int dir = claim_open_run_dir(run_dir, err);
    if (dir < 0)
        return dir;
    _cleanup_close_ int fd = openat(dir, "claims", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, -errno, "%s/claims cannot be opened: %s", run_dir, strerror(errno));
    unsigned char used[CLAIM_BLOCKS] = {0};
    if (pread(fd, used, sizeof used, 0) < 0)
        return error_set(err, -errno, "%s/claims cannot be read: %s", run_dir, strerror(errno));
    if (blocks > CLAIM_BLOCKS)
        blocks = CLAIM_BLOCKS;
    bool taken = false;
    for (uint32_t block = 0; block < CLAIM_BLOCKS; block++) {
        bool wanted = !taken && block < blocks;
        if ((!used[block] && !wanted) || lock_block(fd, block, F_WRLCK) < 0)
            continue;
        bool free = !used[block] || sweep(fd, block);
        if (wanted && free) {
            claim->block = block;
            taken = true;
        } else {
            lock_block(fd, block, F_UNLCK);
        }
    }
    if (!taken)
        return error_set(err, -EBUSY,
                         "all %u slots of this %s are in use: wait for one to end, or reserve a "
                         "larger range in /etc/subuid and /etc/subgid",
                         blocks, geteuid() == 0 ? "machine" : "user");
    /* Where /run is another (a container, another XDG_RUNTIME_DIR) so is the file, and its
     * block 0 must not have the same groups: the holder of one may sweep what it finds. */
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, -errno, "%s/claims: %s", run_dir, strerror(errno));
    claim->book = (uint32_t)((st.st_ino ^ st.st_dev << 20) * 2654435761u);
    claim->fd = TAKE_FD(fd);
    return 0;
}

int claim_record(struct claim *claim, const char *lines, struct error *err) {
    size_t length = strlen(lines) + 1;
    if (length > CLAIM_RECORD)
        return error_set(err, -ENAMETOOLONG, "the paths of the control groups are too long");
    if (pwrite(claim->fd, lines, length, record_offset(claim->block)) != (ssize_t)length ||
        mark(claim->fd, claim->block, 1) < 0)
        return error_set(err, -EIO,
                         "the claim of ids cannot be recorded: is the file system full?");
    return 0;
}

void claim_release(struct claim *claim) {
    if (claim->fd < 0)
        return;
    mark(claim->fd, claim->block, 0);
    close(claim->fd);
    claim->fd = -EBADF;
}
