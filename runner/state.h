/* What outlives the daemon: functions, their versions, usage records, in SQLite (WAL), and the
 * content-addressed store of code beside it:
 *
 *     STORE/lock          held while a daemon uses the store
 *     STORE/state.db
 *     STORE/versions/DIGEST/...   a version's files, owner the daemon, go-w, o+rX
 *     STORE/incoming/             uploads and unpacked folders that are not versions yet
 *
 * A version is a folder first (renamed into place), a row second: a crash leaves a folder
 * without a row at worst, which the next start removes.
 * All of this is for one thread; usage records are written by a thread of their own. */
#ifndef FNRUN_STATE_H
#define FNRUN_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "isolate/error.h"
#include "runner/call.h"

#define STATE_DIGEST    64
#define STATE_USAGE_MAX 10000 /* records of one answer */

struct state;

struct state_version {
    char function[65];
    char digest[STATE_DIGEST + 1];
    uint64_t number; /* 1, 2, ... of the function */
    int64_t created; /* Unix time, s */
    bool current;
};

/* Makes the store where it is not there (with the folders above it). -EBUSY with err naming
 * the process that uses it; -EBADMSG for a damaged state.db, with what to do. */
int state_open(const char *store, struct state **state, struct error *err);
/* Writes what is queued, and waits for it. NULL is fine. */
void state_close(struct state *state);
const char *state_store(const struct state *state);

/* Makes digest the current version of the function (a new row, or the old one of the same
 * digest: so rolling back is this too); *number is its number. One transaction, on the disk when
 * this returns. -ENOENT when there is no folder of that digest. */
int state_put(struct state *state, const char *function, const char *digest, uint64_t *number,
              struct error *err);
/* -ENOENT when there is no such function. Its folders go with the next state_sweep, unless
 * other functions have the same: so sweep when its environment is gone. */
int state_remove(struct state *state, const char *function, struct error *err);
/* Newest first; function NULL: the current one of each, by name. Returns how many, or negative;
 * *list is the caller's to free (NULL for none). */
long state_versions(struct state *state, const char *function, struct state_version **list,
                    struct error *err);
/* Removes rows beyond the last `keep` versions of a function (1 or more; never the current one),
 * and folders that no row names: those that an earlier run left in versions/ and incoming/, and
 * those that lost their row in this one. What this run is just unpacking stays. */
int state_sweep(struct state *state, unsigned keep, struct error *err);

/* Usage: queued in memory, written by state_flush (once a second, and at the end) in one
 * transaction, off the way of an answer. Records beyond the bound of the queue are dropped, and
 * how many is recorded. */
void state_record(struct state *state, const char *function, uint64_t version,
                  const struct call *call);
/* Hands the queue to the thread that writes, and does not wait for it. Returns 0, or what
 * went wrong since the last call (the records are kept and tried again). */
int state_flush(struct state *state, struct error *err);
/* JSON array of the newest `limit` records (at most STATE_USAGE_MAX) of a function (NULL: all),
 * malloc'ed; what is queued included. NULL with err. Members: requestId, function, version,
 * outcome, time (Unix ms), cold, initUs, durationUs, cpuUs, peakMemory, peakExact, bytesIn,
 * bytesOut. */
char *state_usage_json(struct state *state, const char *function, unsigned limit,
                       struct error *err);
/* Removes records older than that, in the writing thread. Errors come by state_flush. */
int state_forget_usage(struct state *state, uint64_t days, struct error *err);

#endif
