/* One block of host ids, and the number that names its control groups, held by
 * a lock that ends with its holder. The file (one for the machine when root, one
 * for each ordinary user) also records which groups a holder made, so that the
 * next run can remove what a killed one left behind.
 *
 * Layout of `claims`: byte N is 1 while block N is in use; the record of block N
 * (paths of its groups, a line each) is at CLAIM_RECORDS + N * CLAIM_RECORD.
 * The lock is an open-file-description lock on byte N: see fcntl(2), F_OFD_SETLK. */
#ifndef FNRUN_CLAIM_H
#define FNRUN_CLAIM_H

#include <stdint.h>

#include "isolate/error.h"

#define CLAIM_BLOCKS  1024
#define CLAIM_RECORDS 4096
#define CLAIM_RECORD  2048

struct claim {
    int fd;         /* holds the lock */
    uint32_t block; /* 0 to CLAIM_BLOCKS - 1 */
    uint32_t book;  /* tells this claims file from others: goes into the groups' names */
};

/* Takes the lowest free block below `blocks`. run_dir is the directory that holds
 * the file: made if missing, 0755 for root and 0700 otherwise; another owner or a
 * group- or world-writable mode is an error. Blocks whose holder died are swept:
 * their recorded groups are killed and removed; one of which something stays is not
 * taken. Returns 0, -EBUSY when all are
 * taken, or another negative errno with err. */
int claim_take(struct claim *claim, const char *run_dir, uint32_t blocks, struct error *err);

/* Records the groups (paths, one a line, at most CLAIM_RECORD - 1 bytes). Written
 * before they are made, so that no instant leaves an unrecorded group. */
int claim_record(struct claim *claim, const char *lines, struct error *err);

/* Gives the block back: the caller has removed its groups. */
void claim_release(struct claim *claim);

/* /run/fnrun for root; $XDG_RUNTIME_DIR/fnrun, or /tmp/fnrun-UID where that is
 * unset, for others. */
int claim_run_dir(char *path, unsigned long size, struct error *err);
/* Makes path as above or checks its owner and mode. Returns an O_PATH-less
 * directory descriptor or a negative errno. */
int claim_open_run_dir(const char *path, struct error *err);

#endif
