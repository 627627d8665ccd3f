/* How a function of each runtime is started: program, arguments, environment,
 * and by which way its event and result travel. Knows nothing of processes. */
#ifndef FNRUN_RUNTIMES_H
#define FNRUN_RUNTIMES_H

#include <stdbool.h>
#include <stddef.h>

#include "images/function.h"
#include "isolate/error.h"

#define RUNTIMES_TASK    "/var/task"    /* the function's folder, inside */
#define RUNTIMES_SUPPORT "/var/runtime" /* the language side, inside */

#define RUNTIMES_MAX_ENVIRONMENT (128ul << 10) /* bytes: names, values, a = and a 0 for each */

struct runtime_plan {
    char *program;      /* absolute path inside the sandbox */
    char **arguments;   /* NULL terminated, owned */
    char **environment; /* NULL terminated, owned */
    bool frames;        /* event and result by runner/frame.h; else stdin and stdout */
};

/* What differs between calls of one version. */
struct runtime_call {
    const char *request_id; /* NULL where it is not known yet: exec, started ahead */
    const char *version;    /* "$LATEST" for a one-shot call */
    const char *log_stream;
    const struct function_pair *extra; /* --env, after [environment] */
    size_t extra_count;
    bool gate;  /* the process becomes a zygote (isolate/gate.h, GATE_VARIABLE) */
    bool serve; /* one event after the other (SERVE_VARIABLE); needs plan->frames */
};

/* Fills *plan; free with runtime_plan_free in every case.
 *
 * The environment is, the later winning: fnrun's defaults (TZ, LANG, PATH, HOME), the
 * function's [environment], call->extra, a region where none is set yet, then the
 * reserved names. No name stands in it twice. An exec function finds its request's id
 * in AWS_LAMBDA_REQUEST_ID where call has one; others are told with their event.
 *
 * Returns 0; -EINVAL (a reserved or impossible name set by the user, a handler that
 * leads out of the folder); -ENOENT (the interpreter was not there when fnrun was
 * built, or is gone); -E2BIG (more than RUNTIMES_MAX_ENVIRONMENT); -ENOMEM; all with
 * err. */
int runtime_plan(const struct function *function, const struct runtime_call *call,
                 struct runtime_plan *plan, struct error *err);
void runtime_plan_free(struct runtime_plan *plan);

/* Whether the runtime of this function can be asked to be a zygote: python where its gate
 * module was built, and native. */
bool runtime_can_gate(const struct function *function);

/* Whether a function's variable of this name is fnrun's to set: what Lambda reserves
 * (its "Defined runtime environment variables") and FNRUN_*. Region and credentials
 * (AWS_REGION, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN) are not: here nobody but the user could give them. */
bool runtimes_reserved(const char *name);

/* Absolute paths of the interpreters, "" for one that was not found when fnrun was
 * built. Variables for tests alone. */
extern const char *runtimes_python3, *runtimes_node;

/* The folder of the language sides ("runtimes" as make stages and installs it), or NULL:
 * looked for beside this program and where it is installed. A variable for tests alone. */
extern const char *runtimes_folder;

#endif
