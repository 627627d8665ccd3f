/* The commands that change what the daemon serves: deploy, rollback, remove. */
#ifndef FNRUN_CLI_DEPLOY_H
#define FNRUN_CLI_DEPLOY_H

#include "cli/args.h"

/* Each returns the exit status, having printed what was done or, on stderr, why not. */
int deploy_run(const struct args *args);
int deploy_rollback(const struct args *args);
int deploy_remove(const struct args *args);

#endif
