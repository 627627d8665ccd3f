#include "runner/unpack_files.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/file.h"
#include "runner/unpack_name.h"

#define BLOCK 65536

struct unpacking {
    struct archive *archive;
    struct archive_entry *entry;
    int folder;
    const struct unpack_limits *limits;
    uint64_t bytes;
    size_t entries;
    char name[UNPACK_NAME_SIZE]; /* of the entry */
    char **links;                /* the symbolic links made, to be looked at in the end */
    size_t link_count;
    struct error *err;
};

__attribute__((format(printf, 3, 4))) static int refuse(struct unpacking *unpacking, int code,
                                                        const char *format, ...) {
    char shown[UNPACK_SHOWN];
    va_list args;
    if (!unpacking->err)
        return code;
    unpacking->err->code = code;
    va_start(args, format);
    vsnprintf(unpacking->err->message, sizeof unpacking->err->message, format, args);
    va_end(args);
    error_context(unpacking->err, "entry `%s`: ", unpack_shown(unpacking->name, shown));
    return code;
}

static int broken(struct unpacking *unpacking) {
    const char *why = archive_error_string(unpacking->archive);
    return refuse(unpacking, -EBADMSG, "the archive is damaged here: %s",
                  why ? why : "its end is missing");
}

/* Of a system call that failed with errno. */
static int failed(struct unpacking *unpacking, int error) {
    switch (error) {
    case EEXIST:
        return refuse(unpacking, -EEXIST, "the archive has this name twice");
    case ELOOP:
        return refuse(unpacking, -EINVAL, "its name leads through a symbolic link");
    case ENOTDIR:
        return refuse(unpacking, -EINVAL, "its name leads through something that is no folder");
    default:
        return refuse(unpacking, -error, "cannot be written: %s", strerror(error));
    }
}

static int count_entry(struct unpacking *unpacking) {
    if (unpacking->entries >= unpacking->limits->entries)
        return refuse(unpacking, -E2BIG, "more than %zu files and folders",
                      unpacking->limits->entries);
    unpacking->entries++;
    return 0;
}

/* --- folders ---------------------------------------------------------------------------- */

/* path below the folder, through folders alone. A descriptor or a negative errno. */
static int open_beneath(int folder, const char *path) {
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
    long fd = syscall(SYS_openat2, folder, path, &how, sizeof how);
    return fd < 0 ? -errno : (int)fd;
}

/* Opens the first `length` bytes of the entry's name as a folder, making what is missing of it.
 * A descriptor or a negative errno with err. */
static int open_folder(struct unpacking *unpacking, size_t length) {
    char path[UNPACK_NAME_SIZE];
    memcpy(path, unpacking->name, length);
    path[length] = 0;
    int fd = open_beneath(unpacking->folder, length ? path : ".");
    if (fd != -ENOENT)
        return fd < 0 ? failed(unpacking, -fd) : fd;
    _cleanup_close_ int at = open_beneath(unpacking->folder, ".");
    for (char *part = path; at >= 0 && part;) {
        char *slash = strchr(part, '/');
        if (slash)
            *slash = 0;
        int r = mkdirat(at, part, 0755);
        if (r == 0)
            r = count_entry(unpacking);
        else if (errno == EEXIST)
            r = 0;
        else
            return failed(unpacking, errno);
        if (r < 0)
            return r;
        int next = open_beneath(at, part);
        close(at);
        at = next;
        part = slash ? slash + 1 : NULL;
    }
    return at < 0 ? failed(unpacking, -at) : TAKE_FD(at);
}

/* The folder of the entry; *base is the rest of its name. */
static int open_parent(struct unpacking *unpacking, const char **base) {
    const char *slash = strrchr(unpacking->name, '/');
    *base = slash ? slash + 1 : unpacking->name;
    return open_folder(unpacking, slash ? (size_t)(slash - unpacking->name) : 0);
}

static int make_folder(struct unpacking *unpacking) {
    _cleanup_close_ int fd = open_folder(unpacking, strlen(unpacking->name));
    return fd < 0 ? fd : 0;
}

/* --- files -------------------------------------------------------------------------------- */

static int too_large(struct unpacking *unpacking) {
    return refuse(unpacking, -EFBIG, "the files are larger than %llu MiB together",
                  (unsigned long long)(unpacking->limits->bytes >> 20));
}

static int write_content(struct unpacking *unpacking, int fd) {
    static char block[BLOCK];
    for (;;) {
        /* Holes of sparse files come as the zeros that they stand for, and are counted. */
        ssize_t got = archive_read_data(unpacking->archive, block, sizeof block);
        if (got < 0)
            return broken(unpacking);
        if (!got)
            return 0;
        unpacking->bytes += (uint64_t)got;
        if (unpacking->bytes > unpacking->limits->bytes)
            return too_large(unpacking);
        int r = file_write_all(fd, block, (size_t)got);
        if (r < 0)
            return failed(unpacking, -r);
    }
}

static int make_file(struct unpacking *unpacking) {
    const char *base;
    bool runs = archive_entry_perm(unpacking->entry) & 0111;
    if (archive_entry_is_encrypted(unpacking->entry))
        return refuse(unpacking, -EINVAL, "it is encrypted; pack it without a password");
    /* Said before anything is written, where the archive is honest. */
    if (archive_entry_size_is_set(unpacking->entry) &&
        (uint64_t)archive_entry_size(unpacking->entry) >
            unpacking->limits->bytes - unpacking->bytes)
        return too_large(unpacking);
    _cleanup_close_ int parent = open_parent(unpacking, &base);
    if (parent < 0)
        return parent;
    int r = count_entry(unpacking);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = openat(
        parent, base, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, runs ? 0755 : 0644);
    return fd < 0 ? failed(unpacking, errno) : write_content(unpacking, fd);
}

/* --- links -------------------------------------------------------------------------------- */

static int make_symbolic_link(struct unpacking *unpacking) {
    const char *base, *target = archive_entry_symlink(unpacking->entry);
    char shown[UNPACK_SHOWN];
    if (!target || strlen(target) >= UNPACK_NAME_SIZE)
        return refuse(unpacking, -EINVAL, "a symbolic link with no target, or one too long");
    if (!unpack_link_stays(unpacking->name, target))
        return refuse(unpacking, -EXDEV, "a symbolic link out of the folder, to `%s`",
                      unpack_shown(target, shown));
    _cleanup_close_ int parent = open_parent(unpacking, &base);
    if (parent < 0)
        return parent;
    int r = count_entry(unpacking);
    if (r < 0)
        return r;
    char **more = reallocarray(unpacking->links, unpacking->link_count + 1, sizeof *more);
    if (more)
        unpacking->links = more;
    char *name = more ? strdup(unpacking->name) : NULL;
    if (!name)
        return refuse(unpacking, -ENOMEM, "out of memory");
    more[unpacking->link_count++] = name;
    return symlinkat(target, parent, base) < 0 ? failed(unpacking, errno) : 0;
}

/* A second name of a file that came before; tar writes such for files with several names. */
static int make_hard_link(struct unpacking *unpacking, const char *raw) {
    char name[UNPACK_NAME_SIZE], shown[UNPACK_SHOWN];
    const char *base, *slash, *from;
    struct stat st;
    if (unpack_name(raw, name, unpacking->err) < 0 || !*name)
        return refuse(unpacking, -EXDEV, "a hard link out of the folder, to `%s`",
                      unpack_shown(raw, shown));
    _cleanup_close_ int parent = open_parent(unpacking, &base);
    if (parent < 0)
        return parent;
    slash = strrchr(name, '/');
    from = slash ? slash + 1 : name;
    if (slash)
        name[slash - name] = 0;
    _cleanup_close_ int source = open_beneath(unpacking->folder, slash ? name : ".");
    if (source < 0 || fstatat(source, from, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return refuse(unpacking, -EINVAL,
                      "a hard link to `%s`, which is no file that came before it",
                      unpack_shown(raw, shown));
    int r = count_entry(unpacking);
    if (r < 0)
        return r;
    return linkat(source, from, parent, base, 0) < 0 ? failed(unpacking, errno) : 0;
}

/* Where the links lead in truth: a link on the way of another makes its words worthless. */
static int check_links(struct unpacking *unpacking) {
    struct open_how how = {.flags = O_PATH | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (size_t i = 0; i < unpacking->link_count; i++) {
        long fd = syscall(SYS_openat2, unpacking->folder, unpacking->links[i], &how, sizeof how);
        int error = fd < 0 ? errno : 0;
        if (fd >= 0)
            close((int)fd);
        if (!error || error == ENOENT) /* to nothing: harmless, and packages have such */
            continue;
        memcpy(unpacking->name, unpacking->links[i], strlen(unpacking->links[i]) + 1);
        if (error == EXDEV)
            return refuse(unpacking, -EXDEV, "a symbolic link that leads out of the folder");
        if (error == ELOOP)
            return refuse(unpacking, -EINVAL, "a symbolic link that leads to itself");
        return refuse(unpacking, -EINVAL, "a symbolic link that leads nowhere: %s",
                      strerror(error));
    }
    return 0;
}

/* --- entries ------------------------------------------------------------------------------ */

static const char *kind(unsigned type) {
    switch (type) {
    case AE_IFCHR:
    case AE_IFBLK:
        return "a device";
    case AE_IFIFO:
        return "a named pipe";
    case AE_IFSOCK:
        return "a socket";
    default:
        return "neither file, folder nor link";
    }
}

static int make_entry(struct unpacking *unpacking) {
    struct archive_entry *entry = unpacking->entry;
    const char *raw = archive_entry_pathname(entry), *hard;
    if (!raw)
        raw = archive_entry_pathname_utf8(entry);
    if (!raw)
        return error_set(unpacking->err, -EINVAL,
                         "an entry of the archive has no name that can be read");
    int r = unpack_name(raw, unpacking->name, unpacking->err);
    if (r < 0)
        return r;
    unsigned type = archive_entry_filetype(entry);
    if (!*unpacking->name) /* the folder itself, as tar writes it */
        return type == AE_IFDIR ? 0
                                : error_set(unpacking->err, -EINVAL,
                                            "entry `%s`: it would replace the folder itself", raw);
    hard = archive_entry_hardlink(entry);
    if (hard)
        return make_hard_link(unpacking, hard);
    switch (type) {
    case AE_IFREG:
        return make_file(unpacking);
    case AE_IFDIR:
        return make_folder(unpacking);
    case AE_IFLNK:
        return make_symbolic_link(unpacking);
    default:
        return refuse(unpacking, -EINVAL, "%s; only files, folders and links can be deployed",
                      kind(type));
    }
}

/* Those that libarchive knows without starting a program: it would, for what it was built
 * without, and those answer ARCHIVE_WARN and are not wanted. */
static bool open_archive(struct archive *archive, int fd) {
    static int (*const filters[])(struct archive *) = {
        archive_read_support_filter_gzip, archive_read_support_filter_bzip2,
        archive_read_support_filter_xz,   archive_read_support_filter_lzma,
        archive_read_support_filter_lzip, archive_read_support_filter_compress,
        archive_read_support_filter_zstd, archive_read_support_filter_lz4,
    };
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (filters[i](archive) == ARCHIVE_FATAL)
            return false;
    return archive_read_support_format_tar(archive) == ARCHIVE_OK &&
           archive_read_support_format_zip(archive) == ARCHIVE_OK &&
           archive_read_open_fd(archive, fd, BLOCK) == ARCHIVE_OK;
}

static int no_archive(struct unpacking *unpacking) {
    const char *why = archive_error_string(unpacking->archive);
    return error_set(unpacking->err, -EINVAL,
                     "this is no archive that can be read (%s): expected a tar (plain, or "
                     "compressed with gzip, bzip2, xz, zstd or lz4) or a zip",
                     why ? why : "unknown");
}

static int make_all(struct unpacking *unpacking) {
    for (bool first = true;; first = false) {
        int got = archive_read_next_header(unpacking->archive, &unpacking->entry);
        if (got == ARCHIVE_EOF)
            break;
        if (got != ARCHIVE_OK && got != ARCHIVE_WARN)
            return first ? no_archive(unpacking) : broken(unpacking);
        int r = make_entry(unpacking);
        if (r < 0)
            return r;
    }
    if (!unpacking->entries)
        return error_set(unpacking->err, -EINVAL, "the archive is empty: there is nothing to run");
    return check_links(unpacking);
}

int unpack_files(int archive, int folder, const struct unpack_limits *limits, struct error *err) {
    struct unpacking unpacking = {
        .archive = archive_read_new(), .folder = folder, .limits = limits, .err = err};
    int r;
    if (!unpacking.archive)
        return error_set(err, -ENOMEM, "out of memory");
    if (open_archive(unpacking.archive, archive))
        r = make_all(&unpacking);
    else
        r = no_archive(&unpacking);
    archive_read_free(unpacking.archive);
    for (size_t i = 0; i < unpacking.link_count; i++)
        free(unpacking.links[i]);
    free(unpacking.links);
    return r;
}
