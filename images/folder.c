#include "images/folder.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include "isolate/cleanup.h"

int folder_open(const struct folder *folder, const char *path, int flags) {
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC | ((flags & O_PATH) ? 0 : O_NONBLOCK | O_NOCTTY)),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    long fd;
    do /* EAGAIN: a `..` was raced by a rename (openat2(2)) */
        fd = syscall(SYS_openat2, folder->fd, path, &how, sizeof how);
    while (fd < 0 && (errno == EAGAIN || errno == EINTR));
    return fd < 0 ? -errno : (int)fd;
}

int folder_look(const struct folder *folder, const char *path, struct stat *st) {
    _cleanup_close_ int fd = folder_open(folder, path, O_PATH);
    if (fd < 0)
        return fd;
    return fstat(fd, st) < 0 ? -errno : 0;
}

bool folder_has_file(const struct folder *folder, const char *path) {
    struct stat st;
    return folder_look(folder, path, &st) == 0 && S_ISREG(st.st_mode);
}

char *folder_read(const struct folder *folder, const char *path, size_t max, size_t *length) {
    struct stat st;
    _cleanup_free_ char *data = NULL;
    _cleanup_close_ int fd = folder_open(folder, path, O_RDONLY);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return NULL;
    if ((uint64_t)st.st_size < max)
        max = (size_t)st.st_size;
    data = malloc(max + 1);
    if (!data)
        return NULL;
    *length = 0;
    while (*length < max) {
        ssize_t got = read(fd, data + *length, max - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return NULL;
        if (!got)
            break;
        *length += (size_t)got;
    }
    data[*length] = 0;
    return TAKE_PTR(data);
}

bool folder_ends_with(const char *name, const char *end) {
    size_t name_length = strlen(name), end_length = strlen(end);
    return name_length > end_length && strcmp(name + name_length - end_length, end) == 0;
}

/* Into its place; what falls off the end is only counted. */
static int keep_name(struct folder_names *names, const char *name) {
    size_t place = names->kept;
    names->count++;
    while (place > 0 && strcmp(names->names[place - 1], name) > 0)
        place--;
    if (place == FOLDER_NAMES)
        return 0;
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    if (names->kept == FOLDER_NAMES)
        free(names->names[--names->kept]);
    memmove(&names->names[place + 1], &names->names[place],
            (names->kept - place) * sizeof names->names[0]);
    names->names[place] = copy;
    names->kept++;
    return 0;
}

int folder_list(const struct folder *folder,
                bool (*wanted)(const struct folder *, const char *name, const struct stat *st),
                struct folder_names *names) {
    int fd = openat(folder->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    int r = 0;
    if (!dir) {
        r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    while (r == 0 && (errno = 0, entry = readdir(dir))) {
        struct stat st;
        bool left_out = entry->d_name[0] == '.' || strcmp(entry->d_name, "function.ini") == 0 ||
                        entry->d_type == DT_DIR;
        if (!left_out && folder_look(folder, entry->d_name, &st) == 0 && S_ISREG(st.st_mode) &&
            wanted(folder, entry->d_name, &st))
            r = keep_name(names, entry->d_name);
    }
    return r < 0 ? r : -errno;
}

void folder_names_free(struct folder_names *names) {
    for (size_t i = 0; i < names->kept; i++)
        free(names->names[i]);
    *names = (struct folder_names){0};
}

const char *folder_names_text(const struct folder_names *names, char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < names->kept && used < size; i++) {
        bool last = i + 1 == names->count;
        used += (size_t)snprintf(text + used, size - used, "%s%s",
                                 !i     ? ""
                                 : last ? " and "
                                        : ", ",
                                 names->names[i]);
    }
    if (names->count > names->kept && used < size)
        snprintf(text + used, size - used, " and %zu more", names->count - names->kept);
    return text;
}
