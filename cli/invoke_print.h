/* What `fnrun invoke NAME` prints of an invocation that was run: the words of a one-shot
 * call (runner/report.h). */
#ifndef FNRUN_INVOKE_PRINT_H
#define FNRUN_INVOKE_PRINT_H

#include <stdbool.h>
#include <stddef.h>

#include "cli/args.h"
#include "cli/http.h"

/* Whether log or numbers will be printed: the daemon then answers a little later. */
bool invoke_wants_report(const struct args *args);

/* Prints the answer (200) whose whole body is given: the result, alone or in the object of
 * --json, on stdout; log and REPORT line on stderr. Returns the exit status. */
int invoke_print(const struct args *args, struct http_exchange *exchange, char *body,
                 size_t length);

#endif
