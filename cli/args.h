/* The command line: one table of commands and options makes the parser, --help,
 * `fnrun help`, the suggestions for misspelt words and the tests. Used by all
 * three programs: fnrun parses first and reports usage errors (exit 2), the
 * program that it hands on to parses the same words again. No library beyond
 * libc, no allocation but for --env. */
#ifndef FNRUN_ARGS_H
#define FNRUN_ARGS_H

#include <stdbool.h>
#include <stddef.h>

#include "isolate/error.h"

enum command {
    COMMAND_NONE = 0, /* `fnrun` alone, --help, help */
    COMMAND_HELP,
    COMMAND_VERSION,
    COMMAND_INVOKE,
    COMMAND_CHECK,
    COMMAND_INIT,
    COMMAND_DOCTOR,
};

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct args {
    int command;          /* enum command */
    bool help;            /* --help after the command */
    const char *operand;  /* PATH or NAME, folder of check, NAME of init, COMMAND of help */
    const char *event;    /* --event, NULL when not given */
    const char *timeout;  /* --timeout as written (checked by config_set) */
    const char *memory;   /* --memory */
    const char *runtime;  /* --runtime of init */
    const char *cgroup;   /* --cgroup: the group to work below; or FNRUN_CGROUP */
    bool limits_rlimit;   /* --limits=rlimit */
    bool json, quiet;
    int log_level;        /* enum log_level; or FNRUN_LOG_LEVEL */
    const char **env;     /* --env K=V, in order, pointers into argv */
    size_t env_count;
};

/* Parses argv. Options may stand before or after operands, `--name value` and
 * `--name=value`, `--` ends them. Returns 0, or -EINVAL with err: what is wrong,
 * and the near word where there is one ("unknown option --evnt; did you mean
 * --event?"). --env without `=` takes the value from the caller's environment,
 * as docker does. args_free releases env. */
int args_parse(int argc, char *const argv[], struct args *args, struct error *err);
void args_free(struct args *args);

/* An operand with a `/`, or one that names an existing file or folder's file, is
 * a path: see `fnrun help invoke`. */
bool args_is_path(const char *operand);

/* The text of `fnrun help COMMAND`, exit codes included; COMMAND_NONE: the
 * overview. Returns the length written. */
#include <stdio.h>
void args_print_help(int command, FILE *to);

/* The command that word names, or COMMAND_NONE; *near gets the closest one. */
int args_command(const char *word, const char **near);

#endif
