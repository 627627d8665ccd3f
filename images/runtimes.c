#include <config.h>

#include "images/runtimes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "isolate/cleanup.h"
#include "isolate/gate.h"

#ifndef FNRUN_LIBEXECDIR /* a program that is not to be installed */
#define FNRUN_LIBEXECDIR ""
#endif

const char *runtimes_python3 = FNRUN_PYTHON3;
const char *runtimes_node = FNRUN_NODE;
const char *runtimes_folder;

/* A list of strings that is NULL terminated at every moment, so that a plan that
 * failed half-way can be freed. */
struct strings {
    char **items;
    size_t count, bytes;
};

static int out_of_memory(struct error *err) {
    return error_set(err, -ENOMEM, "out of memory while preparing the function's start");
}

static void free_strings(char **items) {
    for (size_t i = 0; items && items[i]; i++)
        free(items[i]);
    free(items);
}

void runtime_plan_free(struct runtime_plan *plan) {
    free(plan->program);
    free_strings(plan->arguments);
    free_strings(plan->environment);
    *plan = (struct runtime_plan){0};
}

/* Takes text, which may be NULL (memory ran out). */
static int append(struct strings *list, char *text, struct error *err) {
    if (!text)
        return out_of_memory(err);
    char **items = realloc(list->items, (list->count + 2) * sizeof *items);
    if (!items) {
        free(text);
        return out_of_memory(err);
    }
    list->items = items;
    list->bytes += strlen(text) + 1;
    items[list->count++] = text;
    items[list->count] = NULL;
    return 0;
}

__attribute__((format(printf, 1, 2))) static char *format_new(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}

/* --- the environment --- */

/* Sets name to a formatted value, in the place of the value that it had. */
__attribute__((format(printf, 4, 5))) static int set(struct strings *environment, struct error *err,
                                                     const char *name, const char *format, ...) {
    size_t length = strlen(name);
    _cleanup_free_ char *value = NULL;
    va_list args;
    va_start(args, format);
    int r = vasprintf(&value, format, args);
    va_end(args);
    if (r < 0) {
        value = NULL;
        return out_of_memory(err);
    }
    char *text = format_new("%s=%s", name, value);
    for (size_t i = 0; text && i < environment->count; i++) {
        char **old = &environment->items[i];
        if (strncmp(*old, name, length) != 0 || (*old)[length] != '=')
            continue;
        environment->bytes += strlen(text) - strlen(*old);
        free(*old);
        *old = text;
        return 0;
    }
    return append(environment, text, err);
}

bool runtimes_reserved(const char *name) {
    static const char *const reserved[] = {"_HANDLER",
                                           "_X_AMZN_TRACE_ID",
                                           "AWS_EXECUTION_ENV",
                                           "AWS_LAMBDA_FUNCTION_NAME",
                                           "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                                           "AWS_LAMBDA_FUNCTION_VERSION",
                                           "AWS_LAMBDA_INITIALIZATION_TYPE",
                                           "AWS_LAMBDA_LOG_GROUP_NAME",
                                           "AWS_LAMBDA_LOG_STREAM_NAME",
                                           "AWS_LAMBDA_MAX_CONCURRENCY",
                                           "AWS_LAMBDA_REQUEST_ID",
                                           "AWS_LAMBDA_RUNTIME_API",
                                           "LAMBDA_RUNTIME_DIR",
                                           "LAMBDA_TASK_ROOT"};
    for (size_t i = 0; i < sizeof reserved / sizeof reserved[0]; i++)
        if (!strcmp(name, reserved[i]))
            return true;
    return !strncmp(name, "FNRUN_", 6);
}

static int set_defaults(struct strings *environment, struct error *err) {
    static const char *const defaults[][2] = {
        {"PATH", "/usr/local/bin:/usr/bin:/bin"},
        {"HOME", "/tmp"},
        {"LANG", "C.UTF-8"}, /* Lambda's en_US.UTF-8 is not on every machine */
        {"TZ", ":UTC"},
    };
    int r = 0;
    for (size_t i = 0; r >= 0 && i < sizeof defaults / sizeof defaults[0]; i++)
        r = set(environment, err, defaults[i][0], "%s", defaults[i][1]);
    return r;
}

/* where: how the user gave them, for messages. */
static int set_users(struct strings *environment, const char *where,
                     const struct function_pair *pairs, size_t count, struct error *err) {
    for (size_t i = 0; i < count; i++) {
        const char *name = pairs[i].key, *value = pairs[i].value ? pairs[i].value : "";
        if (!*name || strchr(name, '='))
            return error_set(err, -EINVAL,
                             "%s: `%s` cannot be a variable's name: it is empty or holds a `=`",
                             where, name);
        if (runtimes_reserved(name))
            return error_set(err, -EINVAL,
                             "%s: %s is set by fnrun, as on AWS Lambda; use another name", where,
                             name);
        int r = set(environment, err, name, "%s", value);
        if (r < 0)
            return r;
    }
    return 0;
}

static const char *get(const struct strings *environment, const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < environment->count; i++)
        if (!strncmp(environment->items[i], name, length) && environment->items[i][length] == '=')
            return environment->items[i] + length + 1;
    return NULL;
}

/* Lambda gives both and they agree; libraries read one or the other. Who sets one of
 * them means both. */
static int set_region(struct strings *environment, struct error *err) {
    const char *region = get(environment, "AWS_REGION");
    const char *fallback = get(environment, "AWS_DEFAULT_REGION");
    int r = 0;
    if (!region)
        r = set(environment, err, "AWS_REGION", "%s", fallback ? fallback : "us-east-1");
    if (r >= 0 && !fallback)
        r = set(environment, err, "AWS_DEFAULT_REGION", "%s", region ? region : "us-east-1");
    return r;
}

/* python3.11 where /usr/bin/python3 is a link to that, as distributions make it; the
 * bare word otherwise: asking the interpreter would cost its start. */
static void python_version(char *out, size_t size) {
    char target[64];
    snprintf(out, size, "python3");
    ssize_t length = readlink(runtimes_python3, target, sizeof target - 1);
    if (length <= 0)
        return;
    target[length] = 0;
    const char *slash = strrchr(target, '/');
    const char *name = slash ? slash + 1 : target;
    if (!strncmp(name, "python3.", 8) && name[8] && !name[8 + strspn(name + 8, "0123456789")])
        snprintf(out, size, "%s", name);
}

/* Node's version is not in its file's name. configure may define FNRUN_NODE_MAJOR. */
#ifdef FNRUN_NODE_MAJOR
#define NODE_NAME "nodejs" FNRUN_NODE_MAJOR ".x"
#else
#define NODE_NAME "nodejs"
#endif

/* What only one runtime has. */
static int set_runtime(struct strings *environment, const struct function *function,
                       const struct runtime_call *call, struct error *err) {
    char python[64];
    int r;
    switch (function->runtime) {
    case RUNTIME_PYTHON:
        python_version(python, sizeof python);
        return set(environment, err, "AWS_EXECUTION_ENV", "AWS_Lambda_%s", python);
    case RUNTIME_AZURE:
        r = set(environment, err, "FNRUN_RUNTIME_FORM", "azure");
        return r < 0 ? r : set(environment, err, "AWS_EXECUTION_ENV", "AWS_Lambda_" NODE_NAME);
    case RUNTIME_NODE:
        return set(environment, err, "AWS_EXECUTION_ENV", "AWS_Lambda_" NODE_NAME);
    case RUNTIME_EXEC:
        return call->request_id
                   ? set(environment, err, "AWS_LAMBDA_REQUEST_ID", "%s", call->request_id)
                   : 0;
    default:
        return 0;
    }
}

static int set_reserved(struct strings *environment, const struct function *function,
                        const struct runtime_call *call, struct error *err) {
    const char *const values[][2] = {
        {"AWS_LAMBDA_FUNCTION_NAME", function->name},
        {"AWS_LAMBDA_FUNCTION_VERSION", call->version},
        {"AWS_LAMBDA_LOG_STREAM_NAME", call->log_stream},
        {"AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"},
        {"LAMBDA_TASK_ROOT", RUNTIMES_TASK},
        {"LAMBDA_RUNTIME_DIR", RUNTIMES_SUPPORT},
        {"_HANDLER", function->handler},
    };
    int r = 0;
    for (size_t i = 0; r >= 0 && i < sizeof values / sizeof values[0]; i++)
        r = set(environment, err, values[i][0], "%s", values[i][1]);
    if (r >= 0)
        r = set(environment, err, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "%" PRIu64,
                function->limits.memory >> 20);
    if (r >= 0 && call->gate)
        r = set(environment, err, GATE_VARIABLE, "1");
    if (r >= 0 && call->serve)
        r = set(environment, err, SERVE_VARIABLE, "1");
    if (r >= 0)
        r = set(environment, err, "AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/%s", function->name);
    return r < 0 ? r : set_runtime(environment, function, call, err);
}

static int make_environment(const struct function *function, const struct runtime_call *call,
                            struct runtime_plan *plan, struct error *err) {
    struct strings environment = {0};
    int r = set_defaults(&environment, err);
    if (r >= 0)
        r = set_users(&environment, "[environment]", function->environment,
                      function->environment_count, err);
    if (r >= 0)
        r = set_users(&environment, "--env", call->extra, call->extra_count, err);
    if (r >= 0)
        r = set_region(&environment, err);
    if (r >= 0)
        r = set_reserved(&environment, function, call, err);
    if (r >= 0 && environment.bytes > RUNTIMES_MAX_ENVIRONMENT)
        r = error_set(
            err, -E2BIG,
            "the function's environment has %zu bytes, %lu at most are allowed; put large "
            "values into a file in its folder or into the event",
            environment.bytes, RUNTIMES_MAX_ENVIRONMENT);
    plan->environment = environment.items;
    return r;
}

/* --- program and arguments --- */

/* Whether path stays in the folder it is relative to. */
static bool stays_inside(const char *path) {
    if (!*path || *path == '/')
        return false;
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (!strncmp(part, "..", 2) && (part[2] == '/' || !part[2]))
            return false;
    }
    return true;
}

static int check_handler(const struct function *function, size_t length, struct error *err) {
    _cleanup_free_ char *file = strndup(function->handler, length);
    if (!file)
        return out_of_memory(err);
    if (stays_inside(file))
        return 0;
    return error_set(err, -EINVAL,
                     "handler `%s` is not a file in the function's folder: name it by its path "
                     "from there, without a leading / and without ..",
                     function->handler);
}

/* Program and arguments; first and second may be NULL. argv[0] is the program's full
 * path: CPython looks a bare name up in PATH to find its library, and may find that of
 * another version. */
static int set_program(struct runtime_plan *plan, const char *program, const char *first,
                       const char *second, struct error *err) {
    struct strings arguments = {0};
    plan->program = strdup(program);
    int r = plan->program ? append(&arguments, strdup(program), err) : out_of_memory(err);
    if (r >= 0 && first)
        r = append(&arguments, strdup(first), err);
    if (r >= 0 && second)
        r = append(&arguments, strdup(second), err);
    plan->arguments = arguments.items;
    return r;
}

/* A script run by an interpreter of the machine. */
static int plan_script(struct runtime_plan *plan, const char *what, const char *interpreter,
                       const char *package, const char *script, struct error *err) {
    if (!*interpreter)
        return error_set(err, -ENOENT,
                         "no %s was found when fnrun was built: apt-get install %s, then "
                         "./bootstrap",
                         what, package);
    if (access(interpreter, X_OK) < 0)
        return error_set(err, -ENOENT,
                         "%s, which fnrun was built for, cannot be run: %s; apt-get install %s, "
                         "or ./bootstrap to look for it again",
                         interpreter, strerror(errno), package);
    if (strncmp(interpreter, "/usr/", 5) != 0 && strncmp(interpreter, "/bin/", 5) != 0)
        return error_set(err, -ENOENT,
                         "fnrun was built for %s, but functions see no programs outside /usr; "
                         "configure with the path of one that is there",
                         interpreter);
    plan->frames = true;
    return set_program(plan, interpreter, script, NULL, err);
}

/* handler: x.so or x.so:symbol */
static int plan_native(struct runtime_plan *plan, const struct function *function,
                       struct error *err) {
    const char *colon = strrchr(function->handler, ':');
    size_t length = colon ? (size_t)(colon - function->handler) : strlen(function->handler);
    const char *symbol = colon ? colon + 1 : "handler";
    int r = check_handler(function, length, err);
    if (r < 0)
        return r;
    if (!*symbol)
        return error_set(err, -EINVAL,
                         "handler `%s` names no symbol behind its colon: write file.so or "
                         "file.so:name",
                         function->handler);
    _cleanup_free_ char *library =
        format_new(RUNTIMES_TASK "/%.*s", (int)length, function->handler);
    if (!library)
        return out_of_memory(err);
    plan->frames = true;
    return set_program(plan, RUNTIMES_SUPPORT "/native/fnrun-native", library, symbol, err);
}

static int plan_exec(struct runtime_plan *plan, const struct function *function,
                     struct error *err) {
    int r = check_handler(function, strlen(function->handler), err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = format_new(RUNTIMES_TASK "/%s", function->handler);
    if (!path)
        return out_of_memory(err);
    plan->frames = false;
    return set_program(plan, path, NULL, NULL, err);
}

int runtime_plan(const struct function *function, const struct runtime_call *call,
                 struct runtime_plan *plan, struct error *err) {
    int r;
    *plan = (struct runtime_plan){0};
    if (!function->handler || !function->name)
        return error_set(err, -EINVAL, "the function has no %s",
                         function->name ? "handler" : "name");
    switch (function->runtime) {
    case RUNTIME_PYTHON:
        r = plan_script(plan, "python3", runtimes_python3, "python3",
                        RUNTIMES_SUPPORT "/python/bootstrap.py", err);
        break;
    case RUNTIME_NODE:
    case RUNTIME_AZURE:
        r = plan_script(plan, "node", runtimes_node, "nodejs",
                        RUNTIMES_SUPPORT "/node/bootstrap.js", err);
        break;
    case RUNTIME_NATIVE:
        r = plan_native(plan, function, err);
        break;
    case RUNTIME_EXEC:
        r = plan_exec(plan, function, err);
        break;
    default:
        r = error_set(err, -EINVAL, "the function has no runtime");
        break;
    }
    return r < 0 ? r : make_environment(function, call, plan, err);
}

/* --- what can be forked --- */

static bool has_gate_module(const char *folder) {
    _cleanup_free_ char *path = format_new("%s/python/_gate.abi3.so", folder);
    return path && access(path, R_OK) == 0;
}

/* The same places as those of fnrun's programs. */
static bool find_gate_module(void) {
    if (runtimes_folder)
        return has_gate_module(runtimes_folder);
    char own[4096];
    ssize_t length = readlink("/proc/self/exe", own, sizeof own - 1);
    own[length > 0 ? length : 0] = 0;
    char *slash = strrchr(own, '/');
    if (slash)
        *slash = 0;
    _cleanup_free_ char *beside = format_new("%s/runtimes", own);
    _cleanup_free_ char *moved = format_new("%s/../libexec/fnrun/runtimes", own);
    return (beside && has_gate_module(beside)) || has_gate_module(FNRUN_LIBEXECDIR "/runtimes") ||
           (moved && has_gate_module(moved));
}

bool runtime_can_gate(const struct function *function) {
    switch (function->runtime) {
    case RUNTIME_NATIVE:
        return true;
    case RUNTIME_PYTHON:
        return find_gate_module();
    default:
        return false;
    }
}
