/* `fnrun top`: the deployed functions at work, once or each second anew. */
#ifndef FNRUN_TOP_H
#define FNRUN_TOP_H

#include "cli/args.h"

/* Returns the exit status. */
int top_run(const struct args *args);

#endif
