/* How a function of each runtime is started: program, arguments, environment,
 * and by which way its event and result travel. Knows nothing of processes. */
#ifndef FNRUN_RUNTIMES_H
#define FNRUN_RUNTIMES_H

#include <stdbool.h>
#include <stddef.h>

#include "images/function.h"
#include "isolate/error.h"

#define RUNTIMES_TASK "/var/task"       /* the function's folder, inside */
#define RUNTIMES_SUPPORT "/var/runtime" /* the language side, inside */

struct runtime_plan {
    char *program;      /* absolute path inside the sandbox */
    char **arguments;   /* NULL terminated, owned */
    char **environment; /* NULL terminated, owned */
    bool frames;        /* event and result by runner/frame.h; else stdin and stdout */
};

/* What differs between calls of one version. */
struct runtime_call {
    const char *request_id;
    const char *version;      /* "$LATEST" for a one-shot call */
    const char *log_stream;
    const struct function_pair *extra; /* --env, after [environment] */
    size_t extra_count;
};

/* Fills *plan; free with runtime_plan_free in every case. Reserved names (AWS_*,
 * LAMBDA_*, _HANDLER) set by the user are -EINVAL. Returns 0 or a negative errno
 * with err ("python was not found when fnrun was built: ..."). */
int runtime_plan(const struct function *function, const struct runtime_call *call,
                 struct runtime_plan *plan, struct error *err);
void runtime_plan_free(struct runtime_plan *plan);

#endif
