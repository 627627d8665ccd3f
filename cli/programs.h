/* Where the programs that work together are: beside each other in a build tree,
 * bin/ and libexec/fnrun/ when installed. No stdio before an error. */
#ifndef FNRUN_PROGRAMS_H
#define FNRUN_PROGRAMS_H

#include <stddef.h>

#include "isolate/error.h"

/* Absolute path of the directory this very program is in, symbolic links
 * resolved, without a slash at the end. Returns 0 or a negative errno with err. */
int programs_own_folder(char *path, size_t size, struct error *err);

/* The path of the sister program `name` ("fnrun-once", "fnrun-manage"): beside this
 * program, in the libexec directory that configure was told, or in
 * ../libexec/fnrun (an installation that was moved as a whole). Returns 0, or
 * -ENOENT with err naming the places, -ENAMETOOLONG. */
int programs_find(const char *name, char *path, size_t size, struct error *err);

/* Becomes the sister program, with the same arguments. Returns only on failure: a
 * negative errno with err. */
int programs_become(const char *name, char *const argv[], struct error *err);

#endif
