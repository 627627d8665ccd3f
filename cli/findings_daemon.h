/* Whether a daemon is there, for doctor. */
#ifndef FNRUN_FINDINGS_DAEMON_H
#define FNRUN_FINDINGS_DAEMON_H

#include "cli/findings.h"

/* Asks the daemon at socket (as connect_daemon takes it) how it is, and whether this user may
 * manage functions. Waits two seconds at most for each answer. */
void findings_look_at_daemon(struct findings *findings, const char *socket);

#endif
