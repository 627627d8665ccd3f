/* The command line: one table of commands and options makes the parser, --help,
 * `fnrun help`, the suggestions for misspelt words and the tests. Used by all
 * three programs: fnrun parses first and reports usage errors (exit 2), the
 * program that it hands on to parses the same words again. No library beyond
 * libc, no allocation but for --env. */
#ifndef FNRUN_ARGS_H
#define FNRUN_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "isolate/error.h"

enum command {
    COMMAND_NONE = 0, /* `fnrun` alone, --help, help */
    COMMAND_HELP,
    COMMAND_VERSION,
    COMMAND_INVOKE,
    COMMAND_CHECK,
    COMMAND_INIT,
    COMMAND_DOCTOR,
    /* Of the daemon's functions. */
    COMMAND_DEPLOY,
    COMMAND_LIST,
    COMMAND_SHOW,
    COMMAND_VERSIONS,
    COMMAND_ROLLBACK,
    COMMAND_REMOVE,
    COMMAND_LOGS,
    COMMAND_TOP,
    COMMAND_USAGE,
    COMMAND_COUNT
};

/* Exit statuses: the outcomes that all commands share. */
enum args_exit {
    ARGS_EXIT_OK = 0,      /* the handler returned; the command did its work */
    ARGS_EXIT_FAILED = 1,  /* the function failed */
    ARGS_EXIT_USAGE = 2,   /* wrong usage of the command */
    ARGS_EXIT_REFUSED = 3, /* bad event, bad function.ini, no such function */
    ARGS_EXIT_BUSY = 4,    /* too many at once, or not allowed */
    ARGS_EXIT_BROKEN = 5,  /* the sandbox or the machine failed */
    ARGS_EXIT_TIMEOUT = 124,
    ARGS_EXIT_GONE = 130, /* interrupted */
    ARGS_EXIT_MEMORY = 137,
};

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct args {
    int command;            /* enum command */
    bool help;              /* --help after the command */
    const char *operand;    /* PATH or NAME, folder of check, NAME of init, COMMAND of help */
    const char *second;     /* VERSION of rollback, or NULL */
    const char *event;      /* --event, NULL when not given */
    const char *timeout;    /* --timeout as written (checked by config_set) */
    const char *memory;     /* --memory */
    const char *runtime;    /* --runtime of init */
    const char *cgroup;     /* --cgroup: the group to work below; or FNRUN_CGROUP */
    bool limits_rlimit;     /* --limits=rlimit */
    const char *socket;     /* --socket: where the daemon listens; or FNRUN_SOCKET */
    const char *name;       /* --name of deploy */
    const char *since;      /* --since of logs, as written */
    const char *request_id; /* --request-id of logs */
    const char *limit;      /* --limit of usage, as written */
    bool follow, once;      /* --follow of logs, --once of top */
    bool json, quiet;
    int log_level;    /* enum log_level; or FNRUN_LOG_LEVEL */
    const char **env; /* --env K=V, in order, pointers into argv */
    size_t env_count;
};

/* Parses argv. Options may stand before or after operands, `--name value` and
 * `--name=value`, `--` ends them. A log level that nothing names is info.
 * An operand that its command needs is there, unless help is set; options for one-shot calls
 * are refused with a NAME. Returns 0, or -EINVAL with err:
 * what is wrong, and the near word where there is one ("unknown option --evnt; did you mean
 * --event?"). --env without `=` takes the value from the caller's environment,
 * as docker does. args_free releases env. */
int args_parse(int argc, char *const argv[], struct args *args, struct error *err);
void args_free(struct args *args);

/* Whether the operand of invoke is a path: it has a `/` or a `.` in it, which no name of a
 * deployed function has (`.`, `..` and `app.py` are paths). Anything else is a NAME. */
bool args_is_path(const char *operand);

/* The text of `fnrun help COMMAND`, exit codes included; COMMAND_NONE: the
 * overview. */
void args_print_help(int command, FILE *to);

/* The command that word names, or COMMAND_NONE; *near gets the closest one, or
 * NULL when none is close. near may be NULL. */
int args_command(const char *word, const char **near);

#endif
