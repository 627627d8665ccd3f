#include "runner/store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"

/* The folders above, as mkdir -p; they stay the caller's. */
static int make_parents(const char *path, struct error *err) {
    char parent[PATH_MAX];
    for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        memcpy(parent, path, (size_t)(slash - path));
        parent[slash - path] = 0;
        if (mkdir(parent, 0755) < 0 && errno != EEXIST)
            return error_set(err, -errno, "%s cannot be made: %s", parent, strerror(errno));
    }
    return 0;
}

/* Makes name below `at`, or finds it, and opens it; it is the identity's afterwards. By
 * descriptor: what is looked at is what is changed. */
static int own_folder(int at, const char *name, const struct identity *identity,
                      struct error *err) {
    struct stat st;
    int made = mkdirat(at, name, 0755);
    if (made < 0 && errno != EEXIST)
        return error_set(err, -errno, "%s cannot be made: %s", name, strerror(errno));
    _cleanup_close_ int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", name, strerror(errno));
    bool roots = identity->drop && st.st_uid == 0;
    if (roots && fchown(fd, identity->uid, identity->gid) < 0)
        return error_set(err, -errno, "%s cannot be given to %s: %s", name, identity->name,
                         strerror(errno));
    if (!roots && st.st_uid != identity->uid)
        return error_set(err, -EPERM,
                         "%s belongs to uid %u, not to %s as whom fnrund serves: chown -R %s it, "
                         "or choose another store",
                         name, (unsigned)st.st_uid, identity->name, identity->name);
    /* Readable for the ids of functions, which have no other name; written by its owner. */
    if ((st.st_mode & 07777) != 0755 && fchmod(fd, 0755) < 0)
        return error_set(err, -errno, "%s: %s", name, strerror(errno));
    return TAKE_FD(fd);
}

int store_make(const char *path, const struct identity *identity, struct error *err) {
    if (path[0] != '/' || strlen(path) >= PATH_MAX - 100)
        return error_set(err, -EINVAL, "the store's path must be absolute: %.200s", path);
    int r = make_parents(path, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = own_folder(AT_FDCWD, path, identity, err);
    if (fd < 0)
        return fd;
    static const char *const parts[] = {"versions", "incoming"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        r = own_folder(fd, parts[i], identity, err);
        if (r < 0) {
            error_context(err, "%s: ", path);
            return r;
        }
        close(r);
    }
    return 0;
}
