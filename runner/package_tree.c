#include "runner/package_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"

#define FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* The next entry but . and ..; NULL at the end or with *error. */
static struct dirent *next_entry(DIR *dir, int *error) {
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry) {
            *error = -errno;
            return NULL;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            return entry;
    }
}

static DIR *open_folder(int parent, const char *name, int *error) {
    _cleanup_close_ int fd = openat(parent, name, FOLDER);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir)
        (void)TAKE_FD(fd);
    else
        *error = -errno;
    return dir;
}

static int remove_depth(int parent, const char *name, unsigned depth) {
    int r = 0;
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    if (depth > PACKAGE_TREE_DEPTH)
        return -ELOOP;
    _cleanup_closedir_ DIR *dir = open_folder(parent, name, &r);
    if (!dir)
        return r;
    for (struct dirent *entry; (entry = next_entry(dir, &r));) {
        r = remove_depth(dirfd(dir), entry->d_name, depth + 1);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    return unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

int package_tree_remove(int parent, const char *name) {
    return remove_depth(parent, name, 0);
}

static int sync_file(int parent, const char *name) {
    _cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

static int sync_depth(int parent, const char *name, unsigned depth) {
    int r = 0;
    if (depth > PACKAGE_TREE_DEPTH)
        return -ELOOP;
    _cleanup_closedir_ DIR *dir = open_folder(parent, name, &r);
    if (!dir)
        return r;
    for (struct dirent *entry; (entry = next_entry(dir, &r));) {
        struct stat st;
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
        if (S_ISDIR(st.st_mode))
            r = sync_depth(dirfd(dir), entry->d_name, depth + 1);
        else if (S_ISREG(st.st_mode))
            r = sync_file(dirfd(dir), entry->d_name);
        if (r < 0)
            return r;
    }
    return r < 0 || fsync(dirfd(dir)) == 0 ? r : -errno;
}

int package_tree_sync(int parent, const char *name) {
    return sync_depth(parent, name, 0);
}
