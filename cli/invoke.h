/* `fnrun invoke NAME`: one event to a deployed function, by way of the daemon. */
#ifndef FNRUN_INVOKE_H
#define FNRUN_INVOKE_H

#include "cli/args.h"

/* Reads the event, has the function run, prints its result, log and REPORT line as a
 * one-shot call would. Returns the exit status. A signal ends it, and with the connection
 * the invocation. */
int invoke_run(const struct args *args);

#endif
