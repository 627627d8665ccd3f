#include "cli/args_table.h"

#include "cli/args.h"

#define INVOKE     ARGS_FOR(COMMAND_INVOKE)
#define CHECK      ARGS_FOR(COMMAND_CHECK)
#define INIT       ARGS_FOR(COMMAND_INIT)
#define DOCTOR     ARGS_FOR(COMMAND_DOCTOR)
#define VERSION    ARGS_FOR(COMMAND_VERSION)
#define HELP       ARGS_FOR(COMMAND_HELP)
#define DEPLOY     ARGS_FOR(COMMAND_DEPLOY)
#define LIST       ARGS_FOR(COMMAND_LIST)
#define SHOW       ARGS_FOR(COMMAND_SHOW)
#define VERSIONS   ARGS_FOR(COMMAND_VERSIONS)
#define ROLLBACK   ARGS_FOR(COMMAND_ROLLBACK)
#define REMOVE     ARGS_FOR(COMMAND_REMOVE)
#define LOGS       ARGS_FOR(COMMAND_LOGS)
#define TOP        ARGS_FOR(COMMAND_TOP)
#define USAGE      ARGS_FOR(COMMAND_USAGE)
#define BEFORE_ANY ARGS_FOR(COMMAND_NONE)
#define CHANGES    (DEPLOY | ROLLBACK | REMOVE)
#define OF_ONE     (SHOW | VERSIONS | ROLLBACK | REMOVE | LOGS | USAGE)
#define DAEMONS    (DEPLOY | LIST | OF_ONE | TOP)
#define EVERY      (INVOKE | CHECK | INIT | DOCTOR | VERSION | HELP | DAEMONS)
#define IN(member) offsetof(struct args, member)

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const limit_kinds[] = {"rlimit", NULL};
static const char *const runtimes[] = {"python", "node", "azure", "native", "exec", NULL};

const struct args_command args_commands[] = {
    {COMMAND_INVOKE, "invoke", "run call exec start test", "PATH|NAME", true, NULL, NULL,
     "run a function on one event",
     "Runs the function on one event, isolated, with the limits of its function.ini. The result\n"
     "goes to stdout and nothing else does; log and REPORT line go to stderr.\n"
     "\n"
     "A NAME (letters, digits, - and _) is that of a deployed function: fnrund runs it, warm.\n"
     "Anything with a / or a . in it is a PATH, the folder of a function or a single file: it\n"
     "is run once, here and now, with or without a daemon. For the folder hello say ./hello.\n"
     "\n"
     "Without --event the event is read from stdin when that is a file, a pipe or a socket;\n"
     "otherwise it is {}. Ctrl-C ends the call and the function with it.\n",
     "fnrun invoke ./hello --event '{\"name\":\"Ada\"}'\n"
     "fnrun invoke ./hello --event @hello/event.json --timeout 10s\n"
     "echo '{\"name\":\"Ada\"}' | fnrun invoke app.py\n"
     "fnrun deploy ./hello && fnrun invoke hello --event '{\"name\":\"Ada\"}'\n"},
    {COMMAND_DEPLOY, "deploy", "push publish upload update", "DIR|FILE|ZIP", true, NULL, NULL,
     "give a function to the daemon, as its newest version",
     "Packs the folder (or the single file, or takes the .zip as it is) and gives it to fnrund,\n"
     "which checks it, starts it and only then switches to it; calls under way end with the old\n"
     "version. A version that does not start is refused, with its own error and log, and the\n"
     "old one keeps serving. The same content again changes nothing.\n"
     "\n"
     "The function's name is --name, that of function.ini, or the folder's or file's own.\n",
     "fnrun deploy ./hello\n"
     "fnrun deploy build/function.zip --name hello\n"},
    {COMMAND_LIST, "list", "ls ps functions", NULL, false, NULL, NULL,
     "list the deployed functions", "", "fnrun list\nfnrun list --json\n"},
    {COMMAND_SHOW, "show", "get describe inspect", "NAME", true, NULL, NULL,
     "say all about a deployed function",
     "Its version, limits, the way it is run (forked from a loaded process, or started ahead in\n"
     "each slot, and why), its slots and what it has done.\n",
     "fnrun show hello\n"},
    {COMMAND_LOGS, "logs", "log tail journal", "NAME", true, NULL, NULL,
     "print what a deployed function has printed",
     "The newest lines that fnrund keeps in memory, oldest first, each with time and request id.\n",
     "fnrun logs hello --since 5m\n"
     "fnrun logs -f hello\n"},
    {COMMAND_TOP, "top", "stats watch monitor", NULL, false, NULL, NULL,
     "watch the deployed functions work",
     "A table of all functions, made anew each second until q or Ctrl-C; printed once where\n"
     "stdout is no terminal.\n",
     "fnrun top\nfnrun top --json\n"},
    {COMMAND_VERSIONS, "versions", "history", "NAME", true, NULL, NULL,
     "list the versions of a deployed function", "", "fnrun versions hello\n"},
    {COMMAND_ROLLBACK, "rollback", "revert undo", "NAME", true, "VERSION", NULL,
     "go back to an older version of a function",
     "To VERSION, a number that `fnrun versions` lists, or to the one before the current. It is\n"
     "started and switched to as a deployment is.\n",
     "fnrun rollback hello\nfnrun rollback hello 3\n"},
    {COMMAND_REMOVE, "remove", "rm delete undeploy", "NAME", true, NULL, NULL,
     "take a function away from the daemon",
     "It is not called any more; calls under way end first. All its versions go.\n",
     "fnrun remove hello\n"},
    {COMMAND_USAGE, "usage", "metrics billing records", "NAME", true, NULL, NULL,
     "list the last calls of a function and what each has used", "",
     "fnrun usage hello\nfnrun usage hello --limit 1000 --json\n"},
    {COMMAND_CHECK, "check", "validate lint verify", "PATH", true, NULL, NULL,
     "say all that is wrong with a function, without running it",
     "Reads function.ini and looks for the handler. Every problem is said at once, each with\n"
     "file and line.\n",
     "fnrun check ./hello\n"},
    {COMMAND_INIT, "init", "new create generate", "NAME", true, NULL, "runtime",
     "write a small working function to start from",
     "Makes the folder NAME (letters, digits, - and _; 64 at most) with a handler,\n"
     "function.ini, event.json and README.md. Nothing is ever overwritten.\n",
     "fnrun init hello --runtime python\n"
     "fnrun invoke ./hello --event @hello/event.json\n"},
    {COMMAND_DOCTOR, "doctor", "info status diagnose", NULL, false, NULL, NULL,
     "say what this machine offers, and how to get what is missing",
     "Tries everything that a one-shot call needs, as the user who asks, and says for each\n"
     "missing thing how to get it. Also whether the daemon is there and may be used.\n",
     "fnrun doctor\nsudo fnrun doctor\n"},
    {COMMAND_VERSION, "version", NULL, NULL, false, NULL, NULL, "print the version", "", NULL},
    {COMMAND_HELP, "help", "man", "COMMAND", false, NULL, NULL,
     "explain a command: options, exit statuses, examples", "", "fnrun help invoke\n"},
};
const size_t args_commands_count = sizeof args_commands / sizeof *args_commands;

const struct args_option args_options[] = {
    {"event", 0, ARGS_TEXT, INVOKE, IN(event), "JSON|@FILE|-", NULL, NULL,
     "the event: JSON text, a file, or - for stdin", false},
    {"timeout", 0, ARGS_TEXT, INVOKE, IN(timeout), "TIME", NULL, NULL,
     "the handler's time for this call: 500ms, 2s, 1m, 1h;\nwith a NAME it can only be lowered",
     false},
    {"memory", 'm', ARGS_TEXT, INVOKE, IN(memory), "SIZE", NULL, NULL,
     "memory for this call, swap and /tmp included: 64M, 1G\n(PATH only)", true},
    {"env", 'e', ARGS_PAIR, INVOKE, 0, "NAME[=VALUE]", NULL, NULL,
     "an environment variable; NAME alone takes the caller's\nvalue; may be repeated (PATH only)",
     true},
    {"limits", 0, ARGS_CHOICE_FLAG, INVOKE, IN(limits_rlimit), "rlimit", limit_kinds, NULL,
     "run without control groups: weaker limits for each\nprocess instead, said so in REPORT "
     "(PATH only)",
     true},
    {"cgroup", 0, ARGS_TEXT, INVOKE | DOCTOR, IN(cgroup), "PATH", NULL, "FNRUN_CGROUP",
     "make control groups below this delegated group", true},
    {"name", 'n', ARGS_TEXT, DEPLOY, IN(name), "NAME", NULL, NULL,
     "deploy under this name: 1 to 64 letters, digits,\n- and _", false},
    {"follow", 'f', ARGS_FLAG, LOGS, IN(follow), NULL, NULL, NULL,
     "go on with what is printed from now on", false},
    {"since", 0, ARGS_TEXT, LOGS, IN(since), "TIME", NULL, NULL, "not older than this: 30s, 5m, 2h",
     false},
    {"request-id", 0, ARGS_TEXT, LOGS, IN(request_id), "ID", NULL, NULL, "of one call alone",
     false},
    {"once", 0, ARGS_FLAG, TOP, IN(once), NULL, NULL, NULL, "print the table once", false},
    {"limit", 0, ARGS_TEXT, USAGE, IN(limit), "COUNT", NULL, NULL,
     "how many calls: 1 to 10000; default: 20", false},
    {"socket", 0, ARGS_TEXT, INVOKE | DAEMONS | DOCTOR, IN(socket), "PATH", NULL, "FNRUN_SOCKET",
     "where fnrund listens; default: $XDG_RUNTIME_DIR/fnrun.sock\nwhere that is there, else "
     "/run/fnrun.sock",
     false},
    {"log-level", 0, ARGS_CHOICE_INDEX, INVOKE, IN(log_level), "LEVEL", log_levels,
     "FNRUN_LOG_LEVEL", "fnrun's own messages: error, warn, info (default)\nor debug", false},
    {"runtime", 0, ARGS_CHOICE_TEXT, INIT, IN(runtime), "RUNTIME", runtimes, NULL,
     "python, node, azure, native (a shared object in C)\nor exec (any program or script)", false},
    {"json", 0, ARGS_FLAG, INVOKE | CHECK | DOCTOR | VERSION | DAEMONS, IN(json), NULL, NULL, NULL,
     "print JSON on stdout: one object, for logs one a line", false},
    {"quiet", 'q', ARGS_FLAG, INVOKE | CHECK | CHANGES, IN(quiet), NULL, NULL, NULL,
     "nothing but the result and errors", false},
    {"help", 'h', ARGS_FLAG, EVERY | BEFORE_ANY, IN(help), NULL, NULL, NULL, "print this text",
     false},
    {"version", 0, ARGS_VERSION, BEFORE_ANY, 0, NULL, NULL, NULL, "print the version", false},
};
const size_t args_options_count = sizeof args_options / sizeof *args_options;
_Static_assert(sizeof args_options / sizeof *args_options <= 32, "options given are bits");

const struct args_status args_statuses[] = {
    {ARGS_EXIT_OK, INVOKE, "the handler returned"},
    {ARGS_EXIT_OK, CHECK, "nothing is wrong"},
    {ARGS_EXIT_OK, INIT, "the function is there"},
    {ARGS_EXIT_OK, DOCTOR, "one-shot calls work here for this user"},
    {ARGS_EXIT_OK, DEPLOY | ROLLBACK, "the version is served, or was already"},
    {ARGS_EXIT_OK, REMOVE, "the function is gone"},
    {ARGS_EXIT_OK, LIST | SHOW | VERSIONS | LOGS | TOP | USAGE | VERSION | HELP, "printed"},
    {ARGS_EXIT_FAILED, INVOKE,
     "the function failed: it could not be loaded, raised, exited or was killed,\n"
     "or its result is too large or not JSON"},
    {ARGS_EXIT_USAGE, EVERY, "wrong usage of the command"},
    {ARGS_EXIT_REFUSED, INVOKE,
     "refused: no such function, bad function.ini, event not JSON or too large"},
    {ARGS_EXIT_REFUSED, CHECK, "something is wrong with the function, or it is not there"},
    {ARGS_EXIT_REFUSED, INIT, "refused: NAME is there already, or its folder cannot be made"},
    {ARGS_EXIT_REFUSED, DEPLOY,
     "refused: it cannot be read, something is wrong with it, or it does not start;\n"
     "what served before goes on serving"},
    {ARGS_EXIT_REFUSED, ROLLBACK, "refused: no such function or version, or it does not start"},
    {ARGS_EXIT_REFUSED, OF_ONE & ~ROLLBACK, "no such function"},
    {ARGS_EXIT_BUSY, INVOKE, "not allowed, or too many calls at once"},
    {ARGS_EXIT_BUSY, DAEMONS & ~CHANGES, "not allowed"},
    {ARGS_EXIT_BUSY, CHANGES, "not allowed, or the function is being deployed by another"},
    {ARGS_EXIT_BROKEN, INVOKE,
     "the sandbox could not be made or failed (see fnrun doctor); with a NAME: no\n"
     "daemon answers, or it failed"},
    {ARGS_EXIT_BROKEN, DAEMONS, "no daemon answers, or it failed; stdout cannot be written"},
    {ARGS_EXIT_BROKEN, CHECK | INIT | VERSION | HELP,
     "the command itself failed: a part of fnrun is missing, the disk is full"},
    {ARGS_EXIT_BROKEN, DOCTOR, "something that one-shot calls need is missing"},
    {ARGS_EXIT_TIMEOUT, INVOKE, "the time limit, or loading took longer than init"},
    {ARGS_EXIT_GONE, INVOKE, "interrupted (Ctrl-C); the sandbox is gone"},
    {ARGS_EXIT_GONE, LOGS | TOP | DEPLOY, "interrupted (Ctrl-C)"},
    {ARGS_EXIT_MEMORY, INVOKE, "the memory limit"},
};
const size_t args_statuses_count = sizeof args_statuses / sizeof *args_statuses;

const struct args_command *args_command_row(int command) {
    for (size_t i = 0; i < args_commands_count; i++)
        if (args_commands[i].command == command)
            return &args_commands[i];
    return NULL;
}
