/* `fnrun logs`: the lines that a deployed function has printed, as they come. */
#ifndef FNRUN_CLI_LOGS_H
#define FNRUN_CLI_LOGS_H

#include "cli/args.h"

/* Returns the exit status. */
int logs_run(const struct args *args);

#endif
