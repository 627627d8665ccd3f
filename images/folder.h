/* A function's folder: its files looked up beneath it and nowhere else, so that
 * neither `..` nor a link leads out (openat2 with RESOLVE_BENEATH). Nothing here
 * waits: a fifo is opened without blocking and then found to be no file. */
#ifndef FNRUN_FOLDER_H
#define FNRUN_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

struct folder {
    int fd;
    const char *shown; /* as the user named it, for messages */
};

/* Opens path below the folder, close-on-exec. Returns a descriptor or a negative
 * errno; -EXDEV when it leads out of the folder. */
int folder_open(const struct folder *folder, const char *path, int flags);

/* What path is, links followed. Returns 0 or a negative errno as above. */
int folder_look(const struct folder *folder, const char *path, struct stat *st);
bool folder_has_file(const struct folder *folder, const char *path);

/* The first bytes of a regular file, at most max, with a 0 behind them; the caller
 * frees. NULL where it cannot be read. */
char *folder_read(const struct folder *folder, const char *path, size_t max, size_t *length);

#define FOLDER_NAMES 12

struct folder_names {
    char *names[FOLDER_NAMES]; /* the first in the order of the alphabet */
    size_t kept, count;
};

/* The regular files directly in the folder that `wanted` takes; hidden ones and
 * function.ini are left out. Returns 0 or a negative errno. */
int folder_list(const struct folder *folder,
                bool (*wanted)(const struct folder *, const char *name, const struct stat *st),
                struct folder_names *names);
void folder_names_free(struct folder_names *names);
/* "a.py, b.py and 3 more" */
const char *folder_names_text(const struct folder_names *names, char *text, size_t size);

bool folder_ends_with(const char *name, const char *end);

#endif
