/* Usage records on their way to the database: queued by the daemon's thread, written by
 * another one at lower priority, since a transaction of a busy second takes as long as many
 * answers. */
#ifndef FNRUN_USAGE_H
#define FNRUN_USAGE_H

#include <stdint.h>

#include "isolate/error.h"
#include "runner/call.h"

#define USAGE_QUEUE 65536 /* records; more are dropped and counted */

struct usage;

/* Starts the thread, with a connection of its own to the database at path. */
int usage_open(const char *path, struct usage **usage, struct error *err);
/* Writes what is queued and ends the thread. NULL is fine. */
void usage_close(struct usage *usage);

/* The time of the record is now. Never waits. */
void usage_add(struct usage *usage, const char *function, uint64_t version,
               const struct call *call);
/* Hands over what is queued, unless the thread is still busy. Returns 0 or what went wrong
 * since the last call. */
int usage_flush(struct usage *usage, struct error *err);
/* Until all that is queued now is written, or could not be. */
int usage_settle(struct usage *usage, struct error *err);
/* Records before that time (Unix ms) are removed by the thread. */
void usage_forget(struct usage *usage, int64_t before);

#endif
