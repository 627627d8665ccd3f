/* Copies part of the machine's configuration into a prepared tree: bounded, by
 * descriptors, and never anything that others cannot read, since what is copied is
 * shown to every function. */
#ifndef FNRUN_COPY_H
#define FNRUN_COPY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "isolate/error.h"

#define COPY_MAX_FILE    (4ul << 20)  /* bytes of one file */
#define COPY_MAX_BYTES   (64ul << 20) /* of all */
#define COPY_MAX_ENTRIES 4096         /* files, links and directories in all */
#define COPY_MAX_DEPTH   8

/* One run of copying; zero-initialise. */
struct copy {
    /* Whether an absolute path names something in the tree: a link that leads there
     * stays a link; of any other the content is copied. NULL: nothing does. */
    bool (*in_tree)(const char *path);
    /* The source is fnrun's own: modes of files and folders are not looked at, and
     * what exceeds a bound is an error. Otherwise what others cannot read, folders
     * called `private`, sockets, devices and what exceeds a bound are left out. */
    bool own;
    uint64_t bytes;   /* copied so far */
    unsigned entries; /* looked at so far */
};

/* Copies the entry `name` of the directory `from` to the same name in `to`. path is
 * the absolute path that the copy will have in the tree, by which relative links are
 * understood. Files become 0644 (0755 when others may execute them) with their
 * modification time, directories 0755, all owned by the caller. A missing entry is
 * left out. Returns 0 or a negative errno with err. */
int copy_entry(struct copy *copy, int from, const char *name, int to, const char *path,
               struct error *err);

/* The same for all that the directory `from` holds, into a new directory `name`. */
int copy_contents(struct copy *copy, int from, const char *name, int to, const char *path,
                  struct error *err);

/* Opens what path (relative to the directory `at`, links followed) leads to, when it
 * is a regular file or a directory that any user of the machine could read, every
 * folder on the way included. Returns a descriptor and *st, or a negative errno
 * (-EACCES: others could not). Needs /proc. */
int copy_open_public(int at, const char *path, struct stat *st);

/* Makes an empty directory with exactly this mode, whatever the umask; one that is
 * there is taken. Returns a descriptor of it or a negative errno. */
int copy_make_directory(int at, const char *name, mode_t mode);

/* Makes the file `name` with these bytes, mode 0644. Returns 0 or a negative errno. */
int copy_make_file(int at, const char *name, const char *bytes, unsigned long length);

#endif
