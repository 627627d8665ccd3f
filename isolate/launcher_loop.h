/* The launcher's life after its start: it hears the runner and the keepers, until the
 * runner is gone, and then ends every environment. */
#ifndef FNRUN_LAUNCHER_LOOP_H
#define FNRUN_LAUNCHER_LOOP_H

#include "isolate/launcher.h"
#include "isolate/launcher_make.h"

/* Returns 0 once all environments are gone, or a negative errno: the
 * keepers die with this process then. */
int launcher_loop(const struct launcher_setup *setup);

/* To the runner; the socket does not block once the loop runs. As wire_send. */
int launcher_say(const struct launcher_message *message);

#endif
