/* `fnrun check DIR`: everything that is wrong with a function, at once and without
 * running it; or, when nothing is, what it will run as. A file *.ini that is not
 * function.ini is checked as the daemon's fnrun.ini. */
#ifndef FNRUN_CHECK_H
#define FNRUN_CHECK_H

#include "cli/args.h"

/* Problems and remarks go to stderr, a line each ("dir/function.ini:4: ..."); without
 * problems a short table goes to stdout (not with --quiet). With --json one object
 * goes to stdout instead of both:
 *   {"ok", "problems": [{"file", "line", "message"}], "remarks": ["..."],
 *    "function": {"name", "runtime", "handler", "image", "path", "network",
 *                 "limits": {...as in function.ini...}, "environment": [names]}}
 * file and line are null where there is none, function when there are problems.
 *
 * Returns the exit status: 0; 2 without a folder; 3 when there are problems or no
 * such function; 5 when the machine failed. */
int check_run(const struct args *args);

#endif
