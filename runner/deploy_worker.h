/* File work that takes its time (digests, fsync, removing trees), off the loop's thread: each
 * job in a thread of its own, its end told on the loop's. */
#ifndef FNRUN_DEPLOY_WORKER_H
#define FNRUN_DEPLOY_WORKER_H

struct sd_event;
struct worker;

/* NULL: out of memory or descriptors. */
struct worker *worker_new(struct sd_event *loop);
/* Waits for the jobs that are under way; their `done` is not called. */
void worker_free(struct worker *worker);

/* work runs in a thread, then done (or NULL) on the loop's thread. work must touch nothing but what
 * owner keeps for it. Returns 0, or -EAGAIN or -ENOMEM: neither is called. */
int worker_run(struct worker *worker, void (*work)(void *owner), void (*done)(void *owner),
               void *owner);

#endif
