/* fnrun: reads the command line, answers help and version itself, has the daemon run a
 * deployed function, and becomes fnrun-once (a path's call, check) or fnrun-manage (all
 * else). It stays small because each page touched on the way is paid on every call: no stdio
 * until there is something to print. */
#include "config.h"

#include <errno.h>
#include <stdio.h>

#include "cli/args.h"
#include "cli/invoke.h"
#include "cli/programs.h"

static int fail(const struct error *err, int status) {
    fprintf(stderr, "fnrun: %s\n", err->message);
    return status;
}

/* A full disk or a closed pipe must not look like success. */
static int printed(void) {
    struct error err;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return ARGS_EXIT_OK;
    error_set(&err, -errno, "cannot write to stdout: %s", strerror(errno));
    return fail(&err, ARGS_EXIT_BROKEN);
}

static int print_version(const struct args *args) {
    printf(args->json ? "{\"version\":\"%s\"}\n" : "fnrun %s\n", PACKAGE_VERSION);
    return printed();
}

static int become(const char *program, char *const argv[]) {
    struct error err;
    programs_become(program, argv, &err);
    return fail(&err, ARGS_EXIT_BROKEN);
}

/* What function.ini may say stands behind the help of check; the table is fnrun-once's. */
static int print_help(int command) {
    char *const table[] = {"fnrun", "config-help", NULL};
    args_print_help(command, stdout);
    if (command == COMMAND_CHECK)
        fputs("\nfunction.ini:\n", stdout);
    int status = printed();
    return status == ARGS_EXIT_OK && command == COMMAND_CHECK ? become("fnrun-once", table)
                                                              : status;
}

static int run(const struct args *args, char *const argv[]) {
    if (args->help)
        return print_help(args->command);
    switch (args->command) {
    case COMMAND_HELP:
        return print_help(args->operand ? args_command(args->operand, NULL) : COMMAND_NONE);
    case COMMAND_VERSION:
        return print_version(args);
    case COMMAND_INVOKE:
        return args_is_path(args->operand) ? become("fnrun-once", argv) : invoke_run(args);
    case COMMAND_CHECK:
        return become("fnrun-once", argv);
    case COMMAND_NONE: /* no command at all */
        args_print_help(COMMAND_NONE, stderr);
        return ARGS_EXIT_USAGE;
    default:
        return become("fnrun-manage", argv);
    }
}

/* Its error is on the stack no longer when the call begins: pages that are not touched cost
 * nothing. */
static __attribute__((noinline)) int parse(int argc, char *argv[], struct args *args) {
    struct error err;
    return args_parse(argc, argv, args, &err) < 0 ? fail(&err, ARGS_EXIT_USAGE) : 0;
}

int main(int argc, char *argv[]) {
    struct args args;
    int status = parse(argc, argv, &args);
    if (!status)
        status = run(&args, argv);
    args_free(&args);
    return status;
}
