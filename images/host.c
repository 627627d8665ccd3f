#include <config.h>

#include "images/host.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>

#include "images/digest.h"
#include "images/host_tree.h"
#include "isolate/cleanup.h"

/* A prepared root is called host-<installation><content>, 16 hex digits each: which
 * runtimes folder it serves, and a digest of all that went into it. One that is being
 * made or removed has .tmp.<id> behind its name and is never believed.
 *
 * Locks stand on bytes of one file that only its owner can open. (A lock on the tree
 * itself could be taken by any user, and by a function, which sees it as its /.) A
 * tree's byte is locked for reading by those who use it and for writing by him who
 * takes it away; the byte of an id is locked for writing by the one builder that has
 * it, so that leftovers of dead builders are known for certain. See fcntl(2) on open
 * file description locks. */

#define FORMAT        2 /* raise it when host_tree.c makes something else of the same sources */
#define LOCK_FILE     "host.lock"
#define NAME_LENGTH   37 /* host- and 32 hex digits */
#define NAME_SIZE     64 /* with .tmp. and an id */
#define ID_BYTES      (1ll << 62)
#define STALE_SECONDS (24 * 60 * 60) /* for trees of another installation */
#define TMPFS         0x01021994

struct image {
    int run_dir, lock, etc, runtimes;
    uint64_t installation, content;
    char name[NAME_SIZE];
};

static void image_close(struct image *image) {
    cleanup_close(&image->run_dir);
    cleanup_close(&image->lock);
    cleanup_close(&image->etc);
    cleanup_close(&image->runtimes);
}

/* What is looked at in /etc. Files are replaced by new ones there (by packages, ldconfig,
 * editors), which shows in the times of /etc itself and of these folders; named besides
 * are the few that are written in place or are links to elsewhere. What an in-place edit
 * of another one (services, say) changes is seen with the next change of /etc. */
static const char *const watched[] = {
    "ld.so.cache",
    "resolv.conf",
    "localtime",
    "alternatives",
    "ssl",
    "ssl/certs",
    "ssl/certs/ca-certificates.crt",
    "pki/ca-trust/extracted/pem",
    "crypto-policies/back-ends",
    "fonts",
    "fonts/conf.d",
    "ImageMagick-6",
    "ImageMagick-7",
    "mono",
    NULL,
};

/* The language folders are replaced as a whole when they are staged, and files by new
 * ones when they are installed: their folders' times show that. */
static const char *const runtime_files[] = {"python", "node", "native", NULL};

/* Top-level directories that are no links, from the last look at /. */
static char extra_mounts[8][16];
static int extra_count = -1;

/* Mixes in what is at path, or that nothing is. Returns whether something is; a link
 * counts with what it leads to, since its content may be what is copied. */
static bool add(uint64_t *digest, int at, const char *path) {
    struct stat st;
    if (fstatat(at, path, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        *digest = digest_word(*digest, 0);
        return false;
    }
    *digest = digest_stat(*digest, &st);
    if (S_ISLNK(st.st_mode) && fstatat(at, path, &st, 0) == 0)
        *digest = digest_stat(*digest, &st);
    return true;
}

/* The version's folder (/etc/python3.11) of the interpreter that functions run in:
 * its sitecustomize.py is read at every start. */
static void add_python(uint64_t *digest, int etc) {
    char target[64], path[100];
    ssize_t length = readlink(FNRUN_PYTHON3, target, sizeof target - 1);
    if (length <= 0)
        return;
    target[length] = 0;
    const char *slash = strrchr(target, '/');
    const char *version = slash ? slash + 1 : target;
    if (!add(digest, etc, version))
        return;
    snprintf(path, sizeof path, "%s/sitecustomize.py", version);
    add(digest, etc, path);
}

/* The layout of /; notes the directories that need a mount each. */
static void add_top(uint64_t *digest) {
    extra_count = 0;
    for (int i = 0; host_tree_top[i]; i++) {
        char path[16];
        struct stat st;
        snprintf(path, sizeof path, "/%s", host_tree_top[i]);
        if (lstat(path, &st) < 0) {
            *digest = digest_word(*digest, 0);
        } else if (S_ISDIR(st.st_mode)) {
            /* Bound later, so what is in it does not matter. */
            *digest = digest_word(*digest, 1);
            snprintf(extra_mounts[extra_count++], sizeof extra_mounts[0], "%s", host_tree_top[i]);
        } else {
            *digest = digest_stat(*digest, &st);
        }
    }
}

int host_image_extra_mounts(char names[8][16]) {
    uint64_t digest = 0;
    if (extra_count < 0)
        add_top(&digest);
    memcpy(names, extra_mounts, sizeof extra_mounts);
    return extra_count;
}

/* Names the tree that the machine's present state asks for. Metadata only: nothing is
 * read or listed, which keeps a call that finds its tree within tens of us. */
static int find_name(struct image *image, struct error *err) {
    struct stat st;
    uint64_t digest = digest_start(FORMAT);
    if (fstat(image->etc, &st) < 0)
        return error_set(err, -errno, "cannot look at /etc: %s", strerror(errno));
    /* Shows entries that come, go, or are replaced, those of the wildcards too. */
    digest = digest_stat(digest, &st);
    for (const char *const *name = watched; *name; name++)
        add(&digest, image->etc, *name);
    add_python(&digest, image->etc);
    add_top(&digest);
    if (fstat(image->runtimes, &st) < 0)
        return error_set(err, -errno, "cannot look at the runtimes folder: %s", strerror(errno));
    digest = digest_stat(digest, &st);
    for (const char *const *name = runtime_files; *name; name++)
        add(&digest, image->runtimes, *name);
    image->content = digest;
    snprintf(image->name, sizeof image->name, "host-%016" PRIx64 "%016" PRIx64, image->installation,
             image->content);
    return 0;
}

/* Sets a lock of this kind (F_RDLCK, F_WRLCK, F_UNLCK) on one byte, waiting for it or
 * not. Returns 0 or a negative errno: -EAGAIN where somebody else has it. */
static int lock_byte(int fd, short type, off_t byte, bool wait) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    while (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) < 0)
        if (errno != EINTR)
            return errno == EACCES ? -EAGAIN : -errno;
    return 0;
}

static off_t tree_byte(uint64_t installation, uint64_t content) {
    return (off_t)((installation ^ content) >> 2); /* below ID_BYTES */
}

static int open_lock(struct image *image, const char *run_dir, struct error *err) {
    struct stat st;
    image->lock = openat(image->run_dir, LOCK_FILE,
                         O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (image->lock < 0 || fstat(image->lock, &st) < 0)
        return error_set(err, -errno, "cannot open %s/%s: %s", run_dir, LOCK_FILE, strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return error_set(err, -EPERM, "%s/%s is not a file of uid %u alone (mode 0600); remove it",
                         run_dir, LOCK_FILE, (unsigned)geteuid());
    return 0;
}

static int open_folders(struct image *image, const char *run_dir, const char *etc,
                        const char *runtimes, struct error *err) {
    struct stat st;
    image->run_dir = open(run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (image->run_dir < 0 || fstat(image->run_dir, &st) < 0)
        return error_set(err, -errno, "cannot open the run directory %s: %s", run_dir,
                         strerror(errno));
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return error_set(err, -EPERM,
                         "the run directory %s does not belong to uid %u alone (it belongs to uid "
                         "%u, mode %04o), so what is in it cannot be trusted; remove it",
                         run_dir, (unsigned)geteuid(), (unsigned)st.st_uid,
                         (unsigned)st.st_mode & 07777);
    image->etc = open(etc, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (image->etc < 0)
        return error_set(err, -errno, "cannot open %s: %s", etc, strerror(errno));
    image->runtimes = open(runtimes, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (image->runtimes < 0)
        return error_set(err, -errno,
                         "cannot open the language runtimes in %s: %s; run make, or make install",
                         runtimes, strerror(errno));
    image->installation = digest_text(digest_start(0), runtimes);
    return open_lock(image, run_dir, err);
}

/* Whether the tree is there and is ours. Returns 1, 0 (none) or a negative errno. The
 * caller holds its lock, so it stays. */
static int look(const struct image *image, const char *run_dir, struct error *err) {
    struct stat st;
    if (fstatat(image->run_dir, image->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0
                               : error_set(err, -errno, "cannot look at %s/%s: %s", run_dir,
                                           image->name, strerror(errno));
    if (st.st_mode == (S_IFDIR | 0755) && st.st_uid == geteuid())
        return 1;
    return error_set(err, -EPERM,
                     "the prepared root %s/%s is not a directory of uid %u with mode 0755 (it has "
                     "uid %u, mode %04o), so it cannot be trusted; remove it",
                     run_dir, image->name, (unsigned)geteuid(), (unsigned)st.st_uid,
                     (unsigned)st.st_mode & 07777);
}

/* Takes an id that no builder alive has: the pid, but for one of another PID
 * namespace that works in the same directory. */
static int take_id(int lock) {
    int id = (int)getpid();
    for (int tries = 0; tries < 1000; tries++, id++) {
        int r = lock_byte(lock, F_WRLCK, ID_BYTES + id, false);
        if (r != -EAGAIN)
            return r < 0 ? r : id;
    }
    return -EBUSY;
}

/* Moves a tree away from its name while nobody uses it, then removes it: an instant
 * of half a tree under a name that is believed does not exist. */
static void remove_outdated(const struct image *image, const char *name, off_t byte, int id) {
    char away[NAME_SIZE];
    snprintf(away, sizeof away, "%.*s.tmp.%d", NAME_LENGTH, name, id);
    if (lock_byte(image->lock, F_WRLCK, byte, false) < 0)
        return;
    int r = renameat(image->run_dir, name, image->run_dir, away);
    lock_byte(image->lock, F_UNLCK, byte, false);
    if (r == 0)
        host_tree_remove(image->run_dir, away);
}

/* Looks at one name of the run directory. A tree of another installation (the build
 * tree's fnrun and the installed one, say) is outdated only when it is old: two in
 * turn would otherwise make theirs anew at every call. */
static void sweep_one(const struct image *image, const char *name, int id) {
    unsigned long long installation, content;
    struct stat st;
    int end = 0, owner = 0, owner_end = 0;
    if (sscanf(name, "host-%16llx%16llx%n.tmp.%d%n", &installation, &content, &end, &owner,
               &owner_end) < 2 ||
        end != NAME_LENGTH)
        return;
    off_t byte = tree_byte(installation, content);
    if (owner_end > 0 && !name[owner_end]) {
        if (owner == id) {
            host_tree_remove(image->run_dir, name);
        } else if (lock_byte(image->lock, F_WRLCK, ID_BYTES + owner, false) == 0) {
            host_tree_remove(image->run_dir, name);
            lock_byte(image->lock, F_UNLCK, ID_BYTES + owner, false);
        }
    } else if (!name[end] && strcmp(name, image->name) != 0 &&
               byte != tree_byte(image->installation, image->content) &&
               fstatat(image->run_dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
               (installation == image->installation ||
                time(NULL) - st.st_ctim.tv_sec > STALE_SECONDS)) {
        remove_outdated(image, name, byte, id);
    }
}

/* What cannot be removed now is tried again by the next builder: no error. */
static void sweep(const struct image *image, int id) {
    int fd = openat(image->run_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(entries));)
        if (!strncmp(entry->d_name, "host-", 5))
            sweep_one(image, entry->d_name, id);
}

/* Makes the tree under a name of its own. Mode 0755 comes last, and on a disk the data
 * is made to arrive before the name does. */
static int fill(const struct image *image, const char *temporary, struct error *err) {
    struct statfs fs;
    if (mkdirat(image->run_dir, temporary, 0700) < 0)
        return error_set(err, -errno, "cannot make the prepared root: %s", strerror(errno));
    _cleanup_close_ int tree =
        openat(image->run_dir, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (tree < 0)
        return error_set(err, -errno, "cannot open the prepared root: %s", strerror(errno));
    int r = host_tree_make(tree, image->etc, image->runtimes, err);
    if (r < 0)
        return r;
    if (fchmod(tree, 0755) < 0 || fstatfs(tree, &fs) < 0 || (fs.f_type != TMPFS && syncfs(tree)))
        return error_set(err, -errno, "cannot finish the prepared root: %s", strerror(errno));
    return 0;
}

/* Makes the tree that image->name names and puts it there, unless somebody else was
 * faster. Returns 0, -EAGAIN when the machine changed meanwhile (nothing is made
 * then), or another negative errno with err. */
static int build(struct image *image, int id, struct error *err) {
    char temporary[NAME_SIZE];
    uint64_t content = image->content;
    snprintf(temporary, sizeof temporary, "%.*s.tmp.%d", NAME_LENGTH, image->name, id);
    int r = host_tree_remove(image->run_dir, temporary);
    if (r < 0)
        return error_set(err, r, "cannot remove a leftover %s: %s", temporary, strerror(-r));
    r = fill(image, temporary, err);
    if (r >= 0)
        r = find_name(image, err);
    if (r >= 0 && image->content != content)
        r = -EAGAIN;
    if (r >= 0 && renameat(image->run_dir, temporary, image->run_dir, image->name) == 0)
        return 0;
    if (r >= 0 && errno != EEXIST && errno != ENOTEMPTY)
        r = error_set(err, -errno, "cannot name the prepared root %s: %s", image->name,
                      strerror(errno));
    host_tree_remove(image->run_dir, temporary);
    return r;
}

/* One way through: name, lock, look, and where it is missing make it. */
static int settle(struct image *image, const char *run_dir, struct error *err) {
    int r = find_name(image, err);
    if (r < 0)
        return r;
    off_t byte = tree_byte(image->installation, image->content);
    /* Waits only for somebody who just moves an outdated tree away. */
    r = lock_byte(image->lock, F_RDLCK, byte, true);
    if (r < 0)
        return error_set(err, r, "cannot lock %s/%s: %s", run_dir, LOCK_FILE, strerror(-r));
    r = look(image, run_dir, err);
    if (r != 0)
        return r;
    int id = take_id(image->lock);
    if (id < 0)
        return error_set(err, id, "cannot lock %s/%s: %s", run_dir, LOCK_FILE, strerror(-id));
    r = build(image, id, err);
    if (r == 0)
        sweep(image, id);
    lock_byte(image->lock, F_UNLCK, ID_BYTES + id, false);
    if (r == 0)
        r = look(image, run_dir, err);
    if (r <= 0)
        lock_byte(image->lock, F_UNLCK, byte, false);
    return r == 0 ? -EAGAIN : r;
}

int host_image_open_from(const char *run_dir, const char *etc, const char *runtimes, char *path,
                         unsigned long size, struct error *err) {
    _cleanup_(image_close) struct image image = {-EBADF, -EBADF, -EBADF, -EBADF, 0, 0, ""};
    if (run_dir[0] != '/')
        return error_set(err, -EINVAL, "the run directory %s is not an absolute path", run_dir);
    int r = open_folders(&image, run_dir, etc, runtimes, err);
    if (r < 0)
        return r;
    r = -EAGAIN;
    for (int tries = 0; r == -EAGAIN && tries < 16; tries++)
        r = settle(&image, run_dir, err);
    if (r == -EAGAIN)
        return error_set(err, -EAGAIN,
                         "/etc or the runtimes folder changes all the time, so that no prepared "
                         "root can be made of it; try again when the package manager is done");
    if (r < 0)
        return r;
    if ((size_t)snprintf(path, size, "%s/%s", run_dir, image.name) >= size)
        return error_set(err, -ENAMETOOLONG, "the run directory's path is too long: %s", run_dir);
    return TAKE_FD(image.lock);
}

int host_image_open(const char *run_dir, const char *runtimes, char *path, unsigned long size,
                    struct error *err) {
    return host_image_open_from(run_dir, "/etc", runtimes, path, size, err);
}
