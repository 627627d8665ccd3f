#include "cli/programs.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

/* The places, in order; NULL stands for this program's own folder. */
static const char *const places[] = {NULL, FNRUN_LIBEXECDIR, "/../libexec/fnrun"};
enum { PLACES = sizeof places / sizeof *places, RELATIVE = 2 };

int programs_own_folder(char *path, size_t size, struct error *err) {
    ssize_t length = readlink("/proc/self/exe", path, size);
    if (length < 0)
        return error_set(err, -errno,
                         "cannot read /proc/self/exe (%s): fnrun needs /proc to find its parts",
                         strerror(errno));
    if ((size_t)length >= size)
        return error_set(err, -ENAMETOOLONG, "the path of this program is too long");
    path[length] = 0;
    char *slash = strrchr(path, '/');
    if (!slash)
        return error_set(err, -ENOENT, "the path of this program is not known");
    *slash = 0;
    return 0;
}

/* Joins with memcpy, not snprintf: this stands on the way of every call. */
static int join(char *path, size_t size, const char *a, const char *b, const char *name) {
    size_t x = strlen(a), y = strlen(b), z = strlen(name);
    if (x + y + 1 + z + 1 > size)
        return -ENAMETOOLONG;
    memcpy(path, a, x);
    memcpy(path + x, b, y);
    path[x + y] = '/';
    memcpy(path + x + y + 1, name, z + 1);
    return 0;
}

static int place(size_t number, const char *own, const char *name, char *path, size_t size) {
    bool own_first = number == 0 || number == RELATIVE;
    return join(path, size, own_first ? own : "", places[number] ? places[number] : "", name);
}

static int missing(const char *own, const char *name, struct error *err) {
    return error_set(err, -ENOENT,
                     "a part of fnrun is missing: %s is neither in %s nor in %s; install fnrun "
                     "again (make install)",
                     name, own, FNRUN_LIBEXECDIR);
}

int programs_find(const char *name, char *path, size_t size, struct error *err) {
    char own[PATH_MAX];
    int r = programs_own_folder(own, sizeof own, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < PLACES; i++) {
        if (place(i, own, name, path, size) < 0)
            return error_set(err, -ENAMETOOLONG, "the path of %s is too long", name);
        if (access(path, X_OK) == 0)
            return 0;
    }
    return missing(own, name, err);
}

/* Out of the way of the usual case: its buffers would be two more pages to touch. */
static __attribute__((noinline)) int become_elsewhere(const char *name, char *const argv[],
                                                      struct error *err) {
    char own[PATH_MAX], path[PATH_MAX];
    int r = programs_own_folder(own, sizeof own, err);
    if (r < 0)
        return r;
    for (size_t i = 1; i < PLACES; i++) {
        if (place(i, own, name, path, sizeof path) < 0)
            continue;
        execv(path, argv);
        if (errno != ENOENT && errno != ENOTDIR)
            return error_set(err, -errno, "cannot start %s: %s", path, strerror(errno));
    }
    return missing(own, name, err);
}

int programs_become(const char *name, char *const argv[], struct error *err) {
    char path[PATH_MAX];
    size_t room = strlen(name) + 2;
    int r = programs_own_folder(path, sizeof path - room, err);
    if (r < 0)
        return r;
    size_t length = strlen(path);
    path[length] = '/';
    memcpy(path + length + 1, name, room - 1);
    /* Trying costs one call where looking first would cost two. */
    execv(path, argv);
    if (errno != ENOENT && errno != ENOTDIR)
        return error_set(err, -errno, "cannot start %s: %s", path, strerror(errno));
    return become_elsewhere(name, argv, err);
}
