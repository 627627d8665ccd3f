/* fnrun-manage: the commands that are not on the way of a call. fnrun becomes it for all
 * that has to do with the daemon but for invoke, and for init and doctor; fnrun-once runs
 * `fnrun-manage scope PID` where systemd has to give it a control group. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/deploy.h"
#include "cli/doctor.h"
#include "cli/logs.h"
#include "cli/new.h"
#include "cli/scope.h"
#include "cli/show.h"
#include "cli/top.h"

static int fail(const struct error *err, int status) {
    fprintf(stderr, "fnrun: %s\n", err->message);
    return status;
}

/* The internal command `scope PID`: says nothing on success. */
static int run_scope(int argc, char *argv[]) {
    struct error err;
    char *end = NULL;
    long pid = argc == 3 ? strtol(argv[2], &end, 10) : 0;
    if (pid <= 0 || *end || (pid_t)pid != pid) {
        error_set(&err, -EINVAL, "scope: say the process: fnrun-manage scope PID");
        return fail(&err, ARGS_EXIT_USAGE);
    }
    if (scope_make((pid_t)pid, &err) < 0)
        return fail(&err, ARGS_EXIT_BROKEN);
    return ARGS_EXIT_OK;
}

static int run_init(const struct args *args) {
    struct error err;
    bool built;
    int r = new_function(args->operand, args->runtime, &built, &err);
    if (r == -EINVAL)
        return fail(&err, ARGS_EXIT_USAGE);
    if (r == -EEXIST || r == -EACCES || r == -EPERM || r == -EROFS || r == -ENOENT)
        return fail(&err, ARGS_EXIT_REFUSED);
    if (r < 0)
        return fail(&err, ARGS_EXIT_BROKEN);
    fprintf(stderr, "%s is there. Next:\n", args->operand);
    if (!built)
        fprintf(stderr, "    make -C %s   # it is not compiled yet: apt-get install make gcc\n",
                args->operand);
    fprintf(stderr, "    fnrun invoke ./%s --event @%s/event.json\n", args->operand, args->operand);
    return ARGS_EXIT_OK;
}

static int run(const struct args *args) {
    if (args->help) {
        args_print_help(args->command, stdout);
        return ARGS_EXIT_OK;
    }
    switch (args->command) {
    case COMMAND_INIT:
        return run_init(args);
    case COMMAND_DOCTOR:
        return doctor_run(args);
    case COMMAND_DEPLOY:
        return deploy_run(args);
    case COMMAND_ROLLBACK:
        return deploy_rollback(args);
    case COMMAND_REMOVE:
        return deploy_remove(args);
    case COMMAND_LIST:
        return show_list(args);
    case COMMAND_SHOW:
        return show_function(args);
    case COMMAND_VERSIONS:
        return show_versions(args);
    case COMMAND_USAGE:
        return show_usage(args);
    case COMMAND_LOGS:
        return logs_run(args);
    case COMMAND_TOP:
        return top_run(args);
    default:
        fprintf(stderr, "fnrun-manage is a part of fnrun that manages functions; run fnrun\n");
        return ARGS_EXIT_USAGE;
    }
}

int main(int argc, char *argv[]) {
    struct args args;
    struct error err;
    if (argc > 1 && strcmp(argv[1], "scope") == 0)
        return run_scope(argc, argv);
    if (args_parse(argc, argv, &args, &err) < 0)
        return fail(&err, ARGS_EXIT_USAGE);
    int status = run(&args);
    args_free(&args);
    return status;
}
