#include "runner/state_store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "isolate/cleanup.h"
#include "runner/package_tree.h"

/* --- making ---------------------------------------------------------------------------- */

static int cannot_make(const char *path, struct error *err) {
    return error_set(err, -errno,
                     "%s cannot be made: %s. Make it yourself, owned by the user that fnrund runs "
                     "as, or name another store in fnrun.ini ([runner] store)",
                     path, strerror(errno));
}

/* The folders above path, where they are missing. */
static int make_above(const char *path, struct error *err) {
    char part[PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof part)
        return error_set(err, -ENAMETOOLONG, "the path of the store is too long");
    memcpy(part, path, length + 1);
    for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return cannot_make(part, err);
        *slash = '/';
    }
    return 0;
}

static int check_owner(int fd, const char *path, struct error *err) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    if (st.st_uid != geteuid())
        return error_set(err, -EPERM,
                         "%s belongs to the user %u, and fnrund runs as %u: chown -R %u it, or "
                         "name another store in fnrun.ini ([runner] store)",
                         path, st.st_uid, geteuid(), geteuid());
    if (st.st_mode & 022)
        return error_set(err, -EPERM, "others can write to %s: chmod go-w it", path);
    return 0;
}

/* Opens the folder, after making it. The mode is set for new ones alone: who has narrowed an
 * old one meant it. */
static int open_folder(int parent, const char *name, const char *shown, mode_t mode,
                       struct error *err) {
    bool made = mkdirat(parent, name, mode) == 0;
    if (!made && errno != EEXIST)
        return cannot_make(shown, err);
    _cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", shown, strerror(errno));
    if (made && fchmod(fd, mode) < 0) /* whatever the umask */
        return cannot_make(shown, err);
    int r = check_owner(fd, shown, err);
    return r < 0 ? r : TAKE_FD(fd);
}

/* --- the lock ---------------------------------------------------------------------------- */

static int in_use(int fd, const char *store, struct error *err) {
    char pid[16] = "";
    ssize_t length = pread(fd, pid, sizeof pid - 1, 0);
    size_t digits = length > 0 ? strspn(pid, "0123456789") : 0;
    pid[digits] = 0;
    return error_set(err, -EBUSY,
                     "%s is in use by another fnrund%s%s: stop that one, or name another store in "
                     "fnrun.ini ([runner] store)",
                     store, digits ? ", process " : "", pid);
}

/* The kernel gives it back however the process ends. */
static int take_lock(int folder, const char *store, struct error *err) {
    char pid[16];
    _cleanup_close_ int fd =
        openat(folder, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, -errno, "%s/lock cannot be opened: %s", store, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? in_use(fd, store, err)
                   : error_set(err, -errno, "%s/lock cannot be locked: %s", store, strerror(errno));
    int length = snprintf(pid, sizeof pid, "%d\n", getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)length, 0) != length)
        return error_set(err, errno ? -errno : -EIO, "%s/lock cannot be written: %s", store,
                         strerror(errno));
    return TAKE_FD(fd);
}

int state_store_open(const char *store, struct error *err) {
    char shown[PATH_MAX];
    static const struct {
        const char *name;
        mode_t mode;
    } folders[] = {{STATE_VERSIONS, 0755}, {STATE_INCOMING, 0700}};
    int r = make_above(store, err);
    if (r < 0)
        return r;
    /* Functions read their code under uids of their own: o+x on the way to it. */
    _cleanup_close_ int fd = open_folder(AT_FDCWD, store, store, 0755, err);
    if (fd < 0)
        return fd;
    _cleanup_close_ int lock = take_lock(fd, store, err);
    for (size_t i = 0; lock >= 0 && i < sizeof folders / sizeof *folders; i++) {
        snprintf(shown, sizeof shown, "%s/%s", store, folders[i].name);
        _cleanup_close_ int folder = open_folder(fd, folders[i].name, shown, folders[i].mode, err);
        if (folder < 0)
            return folder;
    }
    return lock < 0 ? lock : TAKE_FD(lock);
}

/* --- names -------------------------------------------------------------------------------- */

int state_names_add(struct state_names *names, const char *folder, const char *name) {
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    char **more = reallocarray(names->items, names->count + 1, sizeof *more);
    if (!more)
        return -ENOMEM;
    names->items = more;
    more[names->count++] = TAKE_PTR(path);
    return 0;
}

void state_names_free(struct state_names *names) {
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct state_names){0};
}

int state_store_list(const char *store, const char *folder, struct state_names *names,
                     struct error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", store, folder) >= (int)sizeof path)
        return error_set(err, -ENAMETOOLONG, "the path of the store is too long");
    _cleanup_closedir_ DIR *dir = opendir(path);
    while (dir) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (state_names_add(names, folder, entry->d_name) < 0)
            return error_set(err, -ENOMEM, "out of memory");
    }
    return errno ? error_set(err, -errno, "%s cannot be read: %s", path, strerror(errno)) : 0;
}

int state_store_remove(const char *store, const char *name, struct error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", store, name) >= (int)sizeof path)
        return error_set(err, -ENAMETOOLONG, "the path of the store is too long");
    int r = package_tree_remove(AT_FDCWD, path);
    return r < 0 ? error_set(err, r, "%s cannot be removed: %s", path, strerror(-r)) : 0;
}
