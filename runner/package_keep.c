#include "runner/package.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "runner/package_tree.h"

int package_remove(const char *folder, struct error *err) {
    int r = package_tree_remove(AT_FDCWD, folder);
    return r < 0 ? error_set(err, r, "%s cannot be removed: %s", folder, strerror(-r)) : 0;
}

int package_keep(const char *store, const char *folder, const char *digest, struct error *err) {
    char versions[PATH_MAX];
    if (strlen(digest) != 64 || strspn(digest, "0123456789abcdef") != 64)
        return error_set(err, -EINVAL, "`%.64s` is no digest", digest);
    if (snprintf(versions, sizeof versions, "%s/versions", store) >= (int)sizeof versions)
        return error_set(err, -ENAMETOOLONG, "the path of the store is too long");
    _cleanup_close_ int fd = open(versions, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", versions, strerror(errno));
    int r = package_tree_sync(AT_FDCWD, folder);
    if (r < 0)
        return error_set(err, r, "%s cannot be written to the disk: %s", folder, strerror(-r));
    /* A folder is never renamed over one that has something in it. */
    if (renameat(AT_FDCWD, folder, fd, digest) < 0) {
        if (errno != EEXIST && errno != ENOTEMPTY)
            return error_set(err, -errno, "%s cannot be moved to %s: %s", folder, versions,
                             strerror(errno));
        return package_remove(folder, err);
    }
    /* The name is on the disk before a row speaks of it. */
    if (fsync(fd) < 0)
        return error_set(err, -errno, "%s cannot be written to the disk: %s", versions,
                         strerror(errno));
    return 0;
}
