#include <config.h>

#include "images/copy.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "isolate/cleanup.h"
#include "isolate/file.h"

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static int copy_any(struct copy *copy, int from, const char *name, int to, const char *path,
                    int depth, struct error *err);

int copy_make_directory(int at, const char *name, mode_t mode) {
    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    _cleanup_close_ int fd = openat(at, name, DIRECTORY_FLAGS);
    if (fd < 0 || fchmod(fd, mode) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int create(int at, const char *name) {
    int fd = openat(at, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

int copy_make_file(int at, const char *name, const char *bytes, unsigned long length) {
    _cleanup_close_ int fd = create(at, name);
    if (fd < 0)
        return fd;
    int r = file_write_all(fd, bytes, length);
    return r < 0 ? r : fchmod(fd, 0644) < 0 ? -errno : 0;
}

/* Whether every user of the machine could read it, going by the mode. */
static bool is_public(const struct stat *st) {
    mode_t need = S_ISDIR(st->st_mode) ? S_IROTH | S_IXOTH : S_IROTH;
    return (st->st_mode & need) == need;
}

/* Opens an entry of a directory without following a link, waiting for a pipe or
 * waking a device: only what is a file or a directory is opened at all. */
static int open_entry(int at, const char *name, struct stat *st) {
    if (fstatat(at, name, st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode))
        return -EINVAL;
    _cleanup_close_ int fd =
        openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, st) < 0)
        return -errno;
    return S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) ? TAKE_FD(fd) : -EINVAL;
}

/* Walks a path that holds no links from /, so that a folder closed to others hides
 * what is in it from them here too, though root could look. */
static int walk_public(char *path, struct stat *st) {
    _cleanup_close_ int at = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return -errno;
    char *rest = NULL;
    char *name = strtok_r(path, "/", &rest);
    while (name) {
        char *next = strtok_r(NULL, "/", &rest);
        if (!next) {
            int fd = open_entry(at, name, st);
            if (fd >= 0 && !is_public(st)) {
                close(fd);
                return -EACCES;
            }
            return fd;
        }
        int below = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0)
            return -errno;
        close(at);
        at = below;
        if (fstat(at, st) < 0)
            return -errno;
        if (!(st->st_mode & S_IXOTH))
            return -EACCES;
        name = next;
    }
    return -EISDIR; /* the path was "/" */
}

int copy_open_public(int at, const char *path, struct stat *st) {
    char link[40], real[PATH_MAX];
    _cleanup_close_ int fd = openat(at, path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, real, sizeof real - 1);
    if (length < 0)
        return -errno;
    real[length] = 0;
    return real[0] == '/' ? walk_public(real, st) : -EINVAL;
}

/* Takes the file from the bounds. Returns 1 when there is room, 0 when it is to be
 * left out. */
static int take(struct copy *copy, const struct stat *st, const char *path, struct error *err) {
    uint64_t size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
    if (copy->entries < COPY_MAX_ENTRIES && size <= COPY_MAX_FILE &&
        copy->bytes + size <= COPY_MAX_BYTES) {
        copy->entries++;
        copy->bytes += size;
        return 1;
    }
    if (!copy->own)
        return 0;
    return error_set(err, -EFBIG,
                     "%s is too much to copy: a file may have %lu MiB, all together %lu MiB and "
                     "%d files; is something else in the runtimes folder?",
                     path, COPY_MAX_FILE >> 20, COPY_MAX_BYTES >> 20, COPY_MAX_ENTRIES);
}

static int failed(int r, const char *path, struct error *err) {
    return error_set(err, r, "cannot write %s in the prepared root: %s", path, strerror(-r));
}

/* from is an open regular file of *st. */
static int copy_file(int from, const struct stat *st, int to, const char *name, const char *path,
                     struct error *err) {
    char buffer[32768];
    const struct timespec times[2] = {st->st_mtim, st->st_mtim};
    off_t left = st->st_size;
    _cleanup_close_ int fd = create(to, name);
    if (fd < 0)
        return failed(fd, path, err);
    while (left > 0) { /* what grows meanwhile is not copied: its bound was checked */
        size_t want = (size_t)left < sizeof buffer ? (size_t)left : sizeof buffer;
        ssize_t n = read(from, buffer, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_set(err, -errno, "cannot read the machine's %s: %s", path,
                             strerror(errno));
        if (n == 0)
            break;
        int r = file_write_all(fd, buffer, (size_t)n);
        if (r < 0)
            return failed(r, path, err);
        left -= n;
    }
    if (fchmod(fd, st->st_mode & S_IXOTH ? 0755 : 0644) < 0 || futimens(fd, times) < 0)
        return failed(-errno, path, err);
    return 0;
}

/* from is an open directory, which this closes. */
static int copy_directory(struct copy *copy, int from, int to, const char *name, const char *path,
                          int depth, struct error *err) {
    _cleanup_closedir_ DIR *entries = fdopendir(from);
    if (!entries) {
        close(from);
        return error_set(err, -ENOMEM, "out of memory while copying %s", path);
    }
    _cleanup_close_ int below = copy_make_directory(to, name, 0755);
    if (below < 0)
        return failed(below, path, err);
    for (struct dirent *entry; (entry = readdir(entries));) {
        char longer[PATH_MAX];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (snprintf(longer, sizeof longer, "%s/%s", path, entry->d_name) >= (int)sizeof longer)
            continue;
        int r = copy_any(copy, dirfd(entries), entry->d_name, below, longer, depth + 1, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Copies what fd, closed here, is open on. */
static int copy_opened(struct copy *copy, int fd, const struct stat *st, int to, const char *name,
                       const char *path, int depth, struct error *err) {
    int r = take(copy, st, path, err);
    if (r > 0 && S_ISDIR(st->st_mode)) {
        bool closed = !copy->own && !strcmp(name, "private");
        if (!closed && depth < COPY_MAX_DEPTH)
            return copy_directory(copy, fd, to, name, path, depth, err);
        r = copy->own
                ? error_set(err, -ELOOP, "%s: more than %d folders deep", path, COPY_MAX_DEPTH)
                : 0;
    }
    if (r > 0)
        r = copy_file(fd, st, to, name, path, err);
    close(fd);
    return r;
}

/* Where the link at path leads, by its text alone: what the text means in the tree,
 * whatever it means on the machine. Returns false when that is too long. */
static bool link_meaning(const char *path, const char *target, char out[PATH_MAX]) {
    char text[2 * PATH_MAX];
    size_t used = 0;
    const char *slash = strrchr(path, '/');
    int before = target[0] == '/' || !slash ? 0 : (int)(slash - path);
    snprintf(text, sizeof text, "%.*s/%s", before, path, target);
    char *rest = NULL;
    for (char *part = strtok_r(text, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        size_t length = strlen(part);
        if (!strcmp(part, "."))
            continue;
        if (!strcmp(part, "..")) {
            while (used > 0 && out[--used] != '/')
                ;
            continue;
        }
        if (used + length + 2 > PATH_MAX)
            return false;
        out[used++] = '/';
        memcpy(out + used, part, length);
        used += length;
    }
    out[used] = 0;
    return true;
}

/* A relative link without `..` leads to something that is copied beside it. */
static bool link_stays_beside(const char *target) {
    return target[0] != '/' && strcmp(target, "..") != 0 && strncmp(target, "../", 3) != 0 &&
           !strstr(target, "/../");
}

static int copy_link(struct copy *copy, int from, const char *name, int to, const char *path,
                     int depth, struct error *err) {
    char target[PATH_MAX], meaning[PATH_MAX];
    struct stat st;
    ssize_t length = readlinkat(from, name, target, sizeof target - 1);
    if (length <= 0)
        return 0; /* replaced meanwhile: the next digest differs */
    target[length] = 0;
    if (link_stays_beside(target) ||
        (copy->in_tree && link_meaning(path, target, meaning) && copy->in_tree(meaning))) {
        if (copy->entries++ >= COPY_MAX_ENTRIES)
            return 0;
        return symlinkat(target, to, name) < 0 ? failed(-errno, path, err) : 0;
    }
    int fd = copy_open_public(from, name, &st);
    if (fd >= 0)
        return copy_opened(copy, fd, &st, to, name, path, depth, err);
    return copy->own ? error_set(err, fd, "cannot read what the link %s leads to: %s", path,
                                 strerror(-fd))
                     : 0;
}

static int copy_any(struct copy *copy, int from, const char *name, int to, const char *path,
                    int depth, struct error *err) {
    struct stat st;
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (S_ISLNK(st.st_mode))
        return copy_link(copy, from, name, to, path, depth, err);
    int fd = open_entry(from, name, &st);
    if (fd < 0)
        return copy->own ? error_set(err, fd, "cannot read %s: %s", path, strerror(-fd)) : 0;
    if (!copy->own && !is_public(&st)) {
        close(fd);
        return 0;
    }
    return copy_opened(copy, fd, &st, to, name, path, depth, err);
}

int copy_entry(struct copy *copy, int from, const char *name, int to, const char *path,
               struct error *err) {
    return copy_any(copy, from, name, to, path, 0, err);
}

int copy_contents(struct copy *copy, int from, const char *name, int to, const char *path,
                  struct error *err) {
    int fd = openat(from, ".", DIRECTORY_FLAGS);
    if (fd < 0)
        return error_set(err, -errno, "cannot list what becomes %s: %s", path, strerror(errno));
    return copy_directory(copy, fd, to, name, path, 0, err);
}
