/* fnrund's command line. */
#ifndef FNRUN_FNRUND_ARGS_H
#define FNRUN_FNRUND_ARGS_H

#include <stdbool.h>
#include <stdio.h>

#include "isolate/error.h"

struct fnrund_args {
    const char *socket, *config, *store; /* NULL: not given */
    bool check_config, version, help;
};

/* The texts are argv's. Returns 0, or -EINVAL with err: wrong usage, exit status 2. */
int fnrund_args_parse(int argc, char *argv[], struct fnrund_args *args, struct error *err);
void fnrund_args_print_help(FILE *to);

#endif
