/* From an uploaded archive (tar, any libarchive compression, or zip) to a folder of the store.
 * Unpacking runs in a helper process, fnrun-unpack, since archives are hostile: no absolute
 * names, no .., no links out, no devices, sizes and counts bounded; modes become 0644 or 0755. */
#ifndef FNRUN_PACKAGE_H
#define FNRUN_PACKAGE_H

#include <stdint.h>

#include "isolate/error.h"

struct sd_event;

#define PACKAGE_SECONDS 60 /* for unpacking */
#define PACKAGE_TEXT    1024

/* Starts `fnrun-unpack ARCHIVE FOLDER` (FOLDER is made) and calls done with 0, or a negative
 * errno and a text for the user (one line of UTF-8, "entry `../x`: a name with .. in it"), when
 * it is through; never before this returns. After a failure there is no FOLDER. The archive
 * stays, and is the caller's to remove. The helper is killed after PACKAGE_SECONDS (-ETIME), with
 * this process, and when the loop is freed (done is not called then).
 * Returns 0 or a negative errno with err (done will not be called). SIGCHLD must not be
 * ignored. */
int package_unpack(struct sd_event *loop, const char *archive, const char *folder,
                   void (*done)(void *owner, int code, const char *text), void *owner,
                   struct error *err);

/* The digest of a folder's content: names, executable bits and bytes, in order; SHA-256, hex.
 * Also makes modes 0644 / 0755. -EINVAL where something is neither file, folder nor link. */
int package_digest(const char *folder, char digest[65], struct error *err);

/* Moves it to STORE/versions/DIGEST, or removes it when that is there already. fsync'ed. */
int package_keep(const char *store, const char *folder, const char *digest, struct error *err);

/* Removes a folder of the store (or an upload) that will be no version; one that is not there
 * is no error. */
int package_remove(const char *folder, struct error *err);

#endif
