/* The launcher as fnrund's child: started while fnrund still has the privileges it was started
 * with, waited for until it says hello, and at the end. See isolate/launcher.h. */
#ifndef FNRUN_LAUNCH_H
#define FNRUN_LAUNCH_H

#include <sys/types.h>

#include "isolate/error.h"
#include "isolate/launcher.h"

struct launch {
    pid_t pid;
    int socket;                /* to it; taken by pools_new, which closes it */
    char hello[LAUNCHER_TEXT]; /* how ids and limits are made */
};

/* store: absolute. cgroup: where groups are made, or NULL. Takes until the launcher is ready, at
 * most LAUNCH_SECONDS. Returns 0 or a negative errno with err: the launcher's own words where it
 * had some. */
int launch_start(struct launch *launch, const char *store, const char *cgroup, struct error *err);

/* After the socket was closed: waits for it to have removed what it made. Returns its wait
 * status; -ETIMEDOUT when it does not end. */
int launch_wait(struct launch *launch);

#define LAUNCH_SECONDS 30

#endif
