/* `fnrun doctor`: says what this machine offers, one line an item, and for each
 * missing thing one line on how to get it. */
#ifndef FNRUN_DOCTOR_H
#define FNRUN_DOCTOR_H

#include "cli/args.h"

/* Returns the exit status: ARGS_EXIT_OK when one-shot calls work for this user. */
int doctor_run(const struct args *args);

#endif
