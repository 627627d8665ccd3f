/* The entries of a hostile archive as files below a folder. */
#ifndef FNRUN_UNPACK_FILES_H
#define FNRUN_UNPACK_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "isolate/error.h"

struct unpack_limits {
    uint64_t bytes; /* of all files together */
    size_t entries; /* files, folders and links */
};
#define UNPACK_BYTES   (UINT64_C(512) << 20)
#define UNPACK_ENTRIES 50000

/* Reads the archive (tar, plain or compressed, or zip) behind the descriptor and makes what is
 * in it below folder, which is empty: files of mode 0644 or 0755, folders of 0755, symbolic links
 * that stay inside, hard links to files that came before. Nothing is ever written through
 * a link. umask must be 0.
 * Returns 0 or a negative errno with err, which names the entry and what is wrong with it;
 * what was made until then stays. */
int unpack_files(int archive, int folder, const struct unpack_limits *limits, struct error *err);

#endif
