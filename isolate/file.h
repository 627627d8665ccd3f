/* Small text files read whole; bytes written whole. */
#ifndef FNRUN_FILE_H
#define FNRUN_FILE_H

#include <stddef.h>

/* Reads the file at path to its end, zero-terminated; *text is the caller's to free.
 * limit: of its size in bytes. Returns 0, -EFBIG above the limit, or another negative
 * errno. Files of /proc, which have no size, are read as well. */
int file_read(const char *path, size_t limit, char **text);

/* Writes all of it, however often that takes. Returns 0 or a negative errno. */
int file_write_all(int fd, const char *bytes, size_t length);

#endif
