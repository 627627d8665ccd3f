/* A control group of one's own from systemd. On cgroup v2 a group that holds other
 * processes can have no controlled children, so a one-shot call asks for a
 * transient scope that is delegated to it, as container runtimes do.
 *
 * Sources: org.freedesktop.systemd1(5), systemd's CGROUP_DELEGATION. */
#ifndef FNRUN_SCOPE_H
#define FNRUN_SCOPE_H

#include <stddef.h>
#include <sys/types.h>

#include "isolate/error.h"

#define SCOPE_TIMEOUT_S 10

/* Has systemd (the system's for root, the user's own for others) put process pid
 * into a new scope fnrun-PID.scope whose memory, pids and cpu controllers are
 * delegated, and waits until that is done, SCOPE_TIMEOUT_S at most. This process goes
 * in too, and should end soon: the scope goes when its last process has gone. SIGINT,
 * SIGTERM and SIGHUP wait until then. Empty scopes of killed calls are taken away.
 * Returns 0 or a negative errno with err naming the ways out: -ENOTCONN (no
 * systemd to talk to), -ETIMEDOUT, -EACCES, -ECANCELED (the job failed), ... */
int scope_make(pid_t pid, struct error *err);

/* Whether that systemd answers; its version goes to version. Returns 0 or a
 * negative errno with err saying which bus failed, and how. */
int scope_reachable(char *version, size_t size, struct error *err);

#endif
