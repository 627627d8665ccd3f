#include "cli/pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/file.h"

#define BLOCK     ((size_t)128 * 1024)
#define DEPTH_MAX 64
#define INI_MAX   ((size_t)1 << 20)

struct packing {
    struct archive *archive;
    struct archive_entry *entry;
    const char *shown; /* the path as the user wrote it */
    pack_sink *sink;
    void *owner;
    bool over; /* nothing goes to the sink any more */
    int sunk;  /* what sink returned, once it was not 0 */
    char *block;
    struct error *err;
};

/* --- to the sink ----------------------------------------------------------------- */

/* An archive that its sink has failed cannot be freed whole (libarchive keeps what it has for
 * the sink), so it never learns of it: what comes after a failure goes nowhere, the end of
 * the archive included. */
static la_ssize_t write_block(struct archive *archive, void *owner, const void *bytes,
                              size_t length) {
    struct packing *packing = owner;
    (void)archive;
    if (!packing->over)
        packing->sunk = packing->sink(packing->owner, bytes, length);
    if (packing->sunk)
        packing->over = true;
    return (la_ssize_t)length;
}

static int archive_failed(struct packing *packing, const char *name) {
    if (packing->sunk)
        return packing->sunk;
    const char *why = archive_error_string(packing->archive);
    return error_set(packing->err, -EINVAL, "%s/%s cannot be packed: %s", packing->shown, name,
                     why ? why : "libarchive does not say why");
}

static int cannot(struct packing *packing, int r, const char *name, const char *what) {
    return error_set(packing->err, r, "%s%s%s cannot be %s: %s", packing->shown, *name ? "/" : "",
                     name, what, strerror(-r));
}

/* --- one thing ------------------------------------------------------------------- */

/* The daemon sets owner, modes and times itself; only the executable bit says something. */
static int put_header(struct packing *packing, const char *name, const struct stat *status,
                      const char *target) {
    struct archive_entry *entry = archive_entry_clear(packing->entry);
    mode_t type = status->st_mode & S_IFMT;
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, type == S_IFREG && !(status->st_mode & 0111) ? 0644 : 0755);
    archive_entry_set_mtime(entry, 0, 0);
    if (type == S_IFREG)
        archive_entry_set_size(entry, status->st_size);
    if (target)
        archive_entry_set_symlink(entry, target);
    bool put = archive_write_header(packing->archive, entry) == ARCHIVE_OK;
    return put && !packing->over ? 0 : archive_failed(packing, name);
}

static int changed(struct packing *packing, const char *name) {
    return error_set(packing->err, -EAGAIN,
                     "%s/%s changed while it was read: deploy again when nothing writes there",
                     packing->shown, name);
}

static int put_content(struct packing *packing, const char *name, int fd, uint64_t left) {
    while (left) {
        ssize_t got = read(fd, packing->block, left < BLOCK ? (size_t)left : BLOCK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cannot(packing, -errno, name, "read");
        if (got == 0)
            return changed(packing, name);
        if (archive_write_data(packing->archive, packing->block, (size_t)got) != got ||
            packing->over)
            return archive_failed(packing, name);
        left -= (uint64_t)got;
    }
    char more;
    return read(fd, &more, 1) > 0 ? changed(packing, name) : 0;
}

static int put_file(struct packing *packing, int folder, const char *last, const char *name) {
    struct stat status;
    _cleanup_close_ int fd = openat(folder, last, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return cannot(packing, -errno, name, "read");
    if (!S_ISREG(status.st_mode))
        return changed(packing, name);
    int r = put_header(packing, name, &status, NULL);
    return r < 0 ? r : put_content(packing, name, fd, (uint64_t)status.st_size);
}

static int put_link(struct packing *packing, int folder, const char *last, const char *name,
                    const struct stat *status) {
    char target[PATH_MAX];
    ssize_t length = readlinkat(folder, last, target, sizeof target);
    if (length < 0 || (size_t)length >= sizeof target)
        return cannot(packing, length < 0 ? -errno : -ENAMETOOLONG, name, "read");
    target[length] = 0;
    return put_header(packing, name, status, target);
}

static int put_folder(struct packing *packing, int folder, const char *last, const char *name,
                      int depth);

static int put_any(struct packing *packing, int folder, const char *last, const char *name,
                   int depth) {
    struct stat status;
    int r;
    if (fstatat(folder, last, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? changed(packing, name) : cannot(packing, -errno, name, "read");
    switch (status.st_mode & S_IFMT) {
    case S_IFREG:
        return put_file(packing, folder, last, name);
    case S_IFLNK:
        return put_link(packing, folder, last, name, &status);
    case S_IFDIR:
        r = put_header(packing, name, &status, NULL);
        return r < 0 ? r : put_folder(packing, folder, last, name, depth);
    default:
        return error_set(packing->err, -EINVAL,
                         "%s/%s is a socket, pipe or device: a function has regular files, "
                         "folders and symbolic links; remove it, or deploy a folder without it",
                         packing->shown, name);
    }
}

/* --- a folder -------------------------------------------------------------------- */

static int neither_dot(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* By bytes, so that the same content makes the same stream on every file system and in every
 * locale. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int put_entry(struct packing *packing, int fd, const char *name, const char *last,
                     int depth) {
    _cleanup_free_ char *inner = NULL;
    if (asprintf(&inner, "%s%s%s", name, *name ? "/" : "", last) < 0) {
        inner = NULL;
        return error_set(packing->err, -ENOMEM, "out of memory");
    }
    return put_any(packing, fd, last, inner, depth);
}

static int put_folder(struct packing *packing, int folder, const char *last, const char *name,
                      int depth) {
    int follow = *name ? O_NOFOLLOW : 0; /* the function's own folder may be named by a link */
    struct dirent **entries = NULL;
    int r = 0;
    if (depth > DEPTH_MAX)
        return error_set(packing->err, -EINVAL, "%s/%s: folders are nested deeper than %d",
                         packing->shown, name, DEPTH_MAX);
    _cleanup_close_ int fd = openat(folder, last, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
    int count = fd < 0 ? -1 : scandirat(fd, ".", &entries, neither_dot, by_name);
    if (count < 0)
        return cannot(packing, -errno, name, "read");
    for (int i = 0; i < count; i++) {
        if (r == 0)
            r = put_entry(packing, fd, name, entries[i]->d_name, depth + 1);
        free(entries[i]);
    }
    free(entries);
    return r;
}

/* --- all of it ------------------------------------------------------------------- */

static int put_path(struct packing *packing, const char *path) {
    struct stat status;
    if (stat(path, &status) < 0)
        return error_set(packing->err, -errno, "%s: %s", path, strerror(errno));
    if (S_ISDIR(status.st_mode))
        return put_folder(packing, AT_FDCWD, path, "", 0);
    if (!S_ISREG(status.st_mode))
        return error_set(packing->err, -EINVAL,
                         "%s is neither a folder nor a file: give the folder of a function", path);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set(packing->err, -errno, "%s: %s", path, strerror(errno));
    int r = put_header(packing, name, &status, NULL);
    return r < 0 ? r : put_content(packing, name, fd, (uint64_t)status.st_size);
}

int pack_tar(const char *path, pack_sink *sink, void *owner, struct error *err) {
    struct packing packing = {.shown = path, .sink = sink, .owner = owner, .err = err};
    packing.archive = archive_write_new();
    packing.entry = archive_entry_new();
    packing.block = malloc(BLOCK);
    int r = 0;
    if (!packing.archive || !packing.entry || !packing.block) {
        r = error_set(err, -ENOMEM, "out of memory");
    } else {
        archive_write_set_format_pax_restricted(packing.archive);
        archive_write_set_bytes_per_block(packing.archive, (int)BLOCK);
        archive_write_set_bytes_in_last_block(packing.archive, 1);
        /* Names are bytes, not a locale's letters. */
        archive_write_set_options(packing.archive, "hdrcharset=BINARY");
        if (archive_write_open(packing.archive, &packing, NULL, write_block, NULL) != ARCHIVE_OK)
            r = archive_failed(&packing, "");
    }
    if (r == 0)
        r = put_path(&packing, path);
    packing.over = packing.over || r < 0; /* no end after half of it */
    if (r == 0 && (archive_write_close(packing.archive) != ARCHIVE_OK || packing.over))
        r = archive_failed(&packing, "");
    archive_entry_free(packing.entry);
    archive_write_free(packing.archive);
    free(packing.block);
    return r;
}

bool pack_is_zip(const char *path) {
    char head[4];
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return fd >= 0 && read(fd, head, sizeof head) == sizeof head &&
           (memcmp(head, "PK\3\4", 4) == 0 || memcmp(head, "PK\5\6", 4) == 0);
}

int pack_file(const char *path, pack_sink *sink, void *owner, struct error *err) {
    _cleanup_free_ char *block = malloc(BLOCK);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || !block)
        return error_set(err, -errno, "%s cannot be read: %s", path, strerror(errno));
    for (;;) {
        ssize_t got = read(fd, block, BLOCK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(err, -errno, "%s cannot be read: %s", path, strerror(errno));
        if (got == 0)
            return 0;
        int r = sink(owner, block, (size_t)got);
        if (r < 0)
            return r;
    }
}

/* --- function.ini, for the name in it ---------------------------------------------- */

static char *ini_of_zip(const char *path) {
    struct archive *archive = archive_read_new();
    struct archive_entry *entry;
    char *text = NULL;
    archive_read_support_format_zip(archive);
    if (archive && archive_read_open_filename(archive, path, BLOCK) == ARCHIVE_OK)
        while (!text && archive_read_next_header(archive, &entry) == ARCHIVE_OK) {
            const char *name = archive_entry_pathname(entry);
            if (!name || strcmp(name + (strncmp(name, "./", 2) ? 0 : 2), "function.ini") != 0)
                continue;
            text = calloc(1, INI_MAX + 1);
            if (!text || archive_read_data(archive, text, INI_MAX) < 0)
                break;
        }
    archive_read_free(archive);
    return text;
}

char *pack_read_ini(const char *path, bool zip) {
    _cleanup_free_ char *file = NULL;
    struct stat status;
    char *text = NULL;
    if (zip)
        return ini_of_zip(path);
    if (asprintf(&file, "%s/function.ini", path) < 0) {
        file = NULL;
        return NULL;
    }
    /* A pipe of that name would be waited for. */
    if (stat(file, &status) < 0 || !S_ISREG(status.st_mode))
        return NULL;
    return file_read(file, INI_MAX, &text) == 0 ? text : NULL;
}
