/* A control group of the daemon's own where it was started by hand: on cgroup v2 a group that
 * holds other processes (a login session's) can have none below it. */
#ifndef FNRUN_DELEGATE_H
#define FNRUN_DELEGATE_H

#include "isolate/error.h"

/* Where groups cannot be made in the group that this process is in, and systemd can help: has it
 * put this process into a delegated scope, by fnrun-manage, which speaks to the bus. Before the
 * launcher is started. In all other cases nothing: what is wrong is the launcher's to say.
 * Returns 0 or a negative errno with err. */
int delegate_self(struct error *err);

#endif
