/* A function's folder or file as a tar stream. */
#ifndef FNRUN_PACK_H
#define FNRUN_PACK_H

#include <stdbool.h>
#include <stddef.h>

#include "isolate/error.h"

/* Takes the next bytes of the stream. Returns 0, or a negative errno: packing ends with it. */
typedef int pack_sink(void *owner, const char *bytes, size_t length);

/* Packs the folder at path (its content, without the folder itself), or the one file, as a tar
 * (pax) of regular files, folders and symbolic links; whatever else is in it is an error that
 * names it. Nothing of the owner, times or further attributes goes along, so the same content
 * makes the same bytes. Symbolic links are not followed but where path itself is one.
 * Returns 0; what sink returned; or another negative errno with err: -ENOENT, -EACCES, -EINVAL
 * (something that cannot be deployed), -EAGAIN (a file changed while it was read). */
int pack_tar(const char *path, pack_sink *sink, void *owner, struct error *err);

/* Whether the file at path is a zip archive, by its first bytes. */
bool pack_is_zip(const char *path);

/* The bytes of a file, as they are. Returns as pack_tar. */
int pack_file(const char *path, pack_sink *sink, void *owner, struct error *err);

/* The text of function.ini in the folder or zip at path, malloc'ed and zero-terminated; NULL
 * where there is none that can be read. */
char *pack_read_ini(const char *path, bool zip);

#endif
