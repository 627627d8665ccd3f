/* fnrun-once: `invoke` of a path, and `check`, without a daemon. Launcher and
 * supervisor in one static program. Also prints the key table of function.ini, for its
 * manual page and for `fnrun help check` (the internal commands config-man, config-help). */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/programs.h"
#include "images/config.h"
#include "images/function.h"
#include "images/host.h"
#include "images/json.h"
#include "images/runtimes.h"
#include "isolate/claim.h"
#include "isolate/cleanup.h"
#include "isolate/file.h"
#include "runner/check.h"
#include "runner/event.h"
#include "runner/invocation.h"
#include "runner/outcome.h"
#include "runner/report.h"
#include "runner/settings.h"

extern char **environ;

#ifdef FNRUN_SANITIZERS
/* At its end this process's children would start in the slot's PID namespace, which is
 * dead: the leak checker's helper cannot be made. Leaks are the unit tests' to find. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "detect_leaks=0";
}
#endif

static void complain(const char *text) {
    fprintf(stderr, "fnrun: %s\n", text);
}

static int refuse(int outcome, const struct error *err) {
    fprintf(stderr, "fnrun: %s: %s\n", outcome_name(outcome), err->message);
    return outcome_exit_code(outcome);
}

/* Descriptors 0, 1 and 2 must be something, or a pipe would land there. */
static void hold_standard_descriptors(void) {
    int fd;
    do
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* a result to a closed stdout is an error */
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

/* ---- the function ----------------------------------------------------------------- */

static int load_function(const struct args *args, struct function *function) {
    struct config_problems problems = {0};
    struct error err = {0};
    int r = function_load(args->operand, function, &problems, &err);
    if (problems.count) {
        config_problems_print(&problems, stderr);
        fprintf(
            stderr,
            "fnrun: %s: %zu problem%s in %s; `fnrun help check` lists what function.ini may say\n",
            outcome_name(OUTCOME_BAD_FUNCTION), problems.count, problems.count == 1 ? "" : "s",
            args->operand);
        r = outcome_exit_code(OUTCOME_BAD_FUNCTION);
    } else if (r < 0) {
        r = refuse(r == -ENOENT                                   ? OUTCOME_NO_FUNCTION
                   : r == -EMFILE || r == -ENFILE || r == -ENOMEM ? OUTCOME_SERVICE
                                                                  : OUTCOME_BAD_FUNCTION,
                   &err);
    }
    config_problems_free(&problems);
    if (r == 0 && args->timeout &&
        config_set(function, "limits", "timeout", args->timeout, &err) < 0) {
        error_context(&err, "--timeout: ");
        r = EXIT_USAGE;
    } else if (r == 0 && args->memory &&
               config_set(function, "limits", "memory", args->memory, &err) < 0) {
        error_context(&err, "--memory: ");
        r = EXIT_USAGE;
    }
    if (r == EXIT_USAGE)
        complain(err.message);
    return r;
}

/* --env K=V; K alone takes the caller's value, and nothing where it is unset. */
static size_t extra_environment(const struct args *args, struct function_pair *pairs) {
    size_t count = 0;
    for (size_t i = 0; i < args->env_count; i++) {
        const char *equals = strchr(args->env[i], '=');
        const char *value = equals ? equals + 1 : getenv(args->env[i]);
        size_t length = equals ? (size_t)(equals - args->env[i]) : strlen(args->env[i]);
        if (!value)
            continue;
        pairs[count].key = strndup(args->env[i], length);
        pairs[count].value = strdup(value);
        if (pairs[count].key && pairs[count].value)
            count++;
    }
    return count;
}

static int plan_runtime(const struct args *args, const struct function *function,
                        const char *request_id, struct runtime_plan *plan) {
    struct function_pair *extra = calloc(args->env_count + 1, sizeof *extra);
    struct error err = {0};
    if (!extra)
        return outcome_exit_code(OUTCOME_SERVICE);
    size_t count = extra_environment(args, extra);
    struct runtime_call call = {
        .request_id = request_id,
        .version = "$LATEST",
        .log_stream = request_id,
        .extra = extra,
        .extra_count = count,
    };
    int r = runtime_plan(function, &call, plan, &err);
    for (size_t i = 0; i < count; i++) {
        free(extra[i].key);
        free(extra[i].value);
    }
    free(extra);
    if (r < 0)
        return refuse(r == -EINVAL || r == -E2BIG ? OUTCOME_BAD_FUNCTION : OUTCOME_SERVICE, &err);
    return 0;
}

/* ---- where it runs --------------------------------------------------------------- */

/* The prepared root; *lock is held until the end. */
static int open_image(const char *run_dir, char *root, size_t size, int *lock, struct error *err) {
    char runtimes[4096];
    int r = programs_own_folder(runtimes, sizeof runtimes - 10, err);
    if (r < 0)
        return r;
    strcat(runtimes, "/runtimes");
    *lock = claim_open_run_dir(run_dir, err);
    if (*lock < 0)
        return *lock;
    close(*lock);
    *lock = host_image_open(run_dir, runtimes, root, size, err);
    return *lock < 0 ? *lock : 0;
}

/* fnrun-manage asks systemd for a scope of this process's own, as it has the bus. */
static int ask_for_scope(struct error *err) {
    char program[4096], pid[16];
    int status = -1;
    pid_t child;
    int r = programs_find("fnrun-manage", program, sizeof program, err);
    if (r < 0)
        return r;
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    char *arguments[] = {program, "scope", pid, NULL};
    r = posix_spawn(&child, program, NULL, NULL, arguments, environ);
    if (r)
        return error_set(err, -r, "%s cannot be started: %s", program, strerror(r));
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    /* Its own words are on stderr already. */
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : error_set(err, -EPERM, "no control group could be had");
}

static int find_groups(const struct args *args, struct cgroup_layout *layout, struct error *err) {
    int r = args->cgroup ? cgroup_find_below(layout, args->cgroup, err) : cgroup_find(layout, err);
    if (r == 0)
        r = cgroup_usable(layout, err);
    /* Only a v2 group can be had from systemd, and only where the group that this is
     * in will not do: it holds others, is not the caller's, or lacks a controller. */
    bool curable = r == -EBUSY || r == -EACCES || (r == -EOPNOTSUPP && layout->unified[0]);
    if (!curable || args->cgroup || access("/run/systemd/system", F_OK) < 0)
        return r;
    r = ask_for_scope(err);
    if (r == 0)
        r = cgroup_find(layout, err);
    return r < 0 ? r : cgroup_usable(layout, err);
}

static void fill_spec(struct invocation *invocation, const struct args *args,
                      const struct cgroup_layout *layout, const char *root) {
    const struct function *function = invocation->function;
    invocation->spec = (struct slot_spec){
        .host_name = function->name,
        .root = root,
        .task = function->path,
        .task_device = function->device,
        .task_inode = function->inode,
        .task_file = function->single_file ? function->file : NULL,
        .host_network = function->network == NETWORK_HOST,
        .without_cgroups = args->limits_rlimit,
        .layout = args->limits_rlimit ? NULL : layout,
        .limits = {.memory = function->limits.memory,
                   .processes = function->limits.processes,
                   .cpu_milli = function->limits.cpu_milli},
        .tmp_bytes = function->limits.tmp,
        .open_files = function->limits.files,
        .program = invocation->plan->program,
        .arguments = invocation->plan->arguments,
        .environment = invocation->plan->environment,
    };
    host_image_extra_mounts(invocation->spec.extra);
}

/* ---- what is printed ------------------------------------------------------------ */

static int print_outcome(const struct args *args, const struct invocation *invocation) {
    struct json_out out = {0};
    int r;
    if (args->json) {
        report_json(invocation, &out);
        r = file_write_all(1, out.data, out.length);
    } else {
        if (!args->quiet && args->log_level >= LOG_LEVEL_INFO) {
            report_line(invocation, &out);
            file_write_all(2, out.data, out.length);
        }
        /* Byte for byte; a newline only where a person reads it. */
        r = file_write_all(1, invocation->result, invocation->result_length);
        if (r == 0 && isatty(1) && invocation->result_length)
            r = file_write_all(1, "\n", 1);
    }
    free(out.data);
    if (r < 0) {
        fprintf(stderr, "fnrun: the result cannot be written to stdout: %s\n", strerror(-r));
        return EXIT_SERVICE;
    }
    return outcome_exit_code(invocation->outcome);
}

/* ---- invoke ------------------------------------------------------------------------ */

static int run(const struct args *args, const struct function *function, const struct event *event,
               struct slot *slot) {
    struct runtime_plan plan = {0};
    struct invocation invocation = {
        .function = function, .plan = &plan, .event = event, .slot = slot};
    struct cgroup_layout layout;
    struct error err = {0};
    char run_dir[256], root[512];
    _cleanup_close_ int image = -EBADF;
    int signal_number = 0;

    request_id_make(invocation.request_id);
    int code = plan_runtime(args, function, invocation.request_id, &plan);
    if (code == 0) {
        int r = claim_run_dir(run_dir, sizeof run_dir, &err);
        if (r == 0)
            r = open_image(run_dir, root, sizeof root, &image, &err);
        if (r == 0) {
            fill_spec(&invocation, args, &layout, root);
            if (slot->prepared)
                r = slot_furnish(slot, &invocation.spec, &err);
        }
        if (r == 0 && !args->limits_rlimit)
            r = find_groups(args, &layout, &err);
        if (r < 0)
            code = refuse(OUTCOME_SERVICE, &err);
    }
    if (code == 0) {
        invocation.stream_log = !args->json && !args->quiet && args->log_level >= LOG_LEVEL_WARN;
        invocation_run(&invocation, &signal_number);
        if (invocation.unclean)
            complain(invocation.service.message);
        code = invocation.outcome == OUTCOME_SERVICE ? refuse(OUTCOME_SERVICE, &invocation.service)
                                                     : print_outcome(args, &invocation);
    }
    invocation_free(&invocation);
    runtime_plan_free(&plan);
    return signal_number ? 128 + signal_number : code;
}

/* While this reads and checks, the kernel can make namespaces: for root, and where no
 * group has to be made first (v2). */
static int prepare(struct slot *slot, struct error *err) {
    slot_clear(slot);
    if (geteuid() != 0 || access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0)
        return 0;
    return slot_prepare(slot, err);
}

static int invoke(const struct args *args) {
    struct function function = {0};
    struct event event = {0};
    struct error err = {0};
    struct slot slot;
    struct slot_usage usage;
    int status;
    int unready = prepare(&slot, &err);
    int code = load_function(args, &function);
    if (code == 0 && unready < 0)
        code = refuse(OUTCOME_SERVICE, &err);
    if (code == 0 && function.secrets_count) {
        error_set(&err, -EINVAL,
                  "[secrets] are given by the daemon only; use --env for a one-shot call");
        code = refuse(OUTCOME_BAD_FUNCTION, &err);
    }
    if (code == 0) {
        int outcome = event_read(args->event, function.limits.event, args->quiet, &event, &err);
        code = outcome == OUTCOME_SUCCESS ? run(args, &function, &event, &slot)
                                          : refuse(outcome, &err);
    }
    /* Nothing to do where an invocation has ended it. */
    slot_finish(&slot, &status, &usage, NULL);
    event_free(&event);
    function_free(&function);
    return code;
}

static int print_table(void (*print)(FILE *)) {
    print(stdout);
    return fflush(stdout) == 0 ? 0 : EXIT_SERVICE;
}

int main(int argc, char *argv[]) {
    struct args args;
    struct error err = {0};
    int code;
    hold_standard_descriptors();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* ignored by the caller, children leave no status */
    if (argc == 2 && strcmp(argv[1], "config-man") == 0)
        return print_table(config_print_man);
    if (argc == 2 && strcmp(argv[1], "settings-man") == 0)
        return print_table(settings_print_man);
    if (argc == 2 && strcmp(argv[1], "config-help") == 0)
        return print_table(config_print_help);
    if (args_parse(argc, argv, &args, &err) < 0) {
        complain(err.message);
        return EXIT_USAGE;
    }
    if (args.help) {
        args_print_help(args.command, stdout);
        code = 0;
    } else if (args.command == COMMAND_INVOKE) {
        code = invoke(&args);
    } else if (args.command == COMMAND_CHECK) {
        code = check_run(&args);
    } else {
        complain("fnrun-once serves `invoke PATH` and `check`; call fnrun");
        code = EXIT_USAGE;
    }
    args_free(&args);
    return code;
}
