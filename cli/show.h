/* The commands that print what the daemon knows: list, show, versions, usage. */
#ifndef FNRUN_SHOW_H
#define FNRUN_SHOW_H

#include "cli/args.h"

/* Each returns the exit status. */
int show_list(const struct args *args);
int show_function(const struct args *args);
int show_versions(const struct args *args);
int show_usage(const struct args *args);

#endif
