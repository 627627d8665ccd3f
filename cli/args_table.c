#include "cli/args_table.h"

#include "cli/args.h"

#define INVOKE     ARGS_FOR(COMMAND_INVOKE)
#define CHECK      ARGS_FOR(COMMAND_CHECK)
#define INIT       ARGS_FOR(COMMAND_INIT)
#define DOCTOR     ARGS_FOR(COMMAND_DOCTOR)
#define VERSION    ARGS_FOR(COMMAND_VERSION)
#define HELP       ARGS_FOR(COMMAND_HELP)
#define BEFORE_ANY ARGS_FOR(COMMAND_NONE)
#define EVERY      (INVOKE | CHECK | INIT | DOCTOR | VERSION | HELP)
#define IN(member) offsetof(struct args, member)

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};
static const char *const limit_kinds[] = {"rlimit", NULL};
static const char *const runtimes[] = {"python", "node", "azure", "native", "exec", NULL};

const struct args_command args_commands[] = {
    {COMMAND_INVOKE, "invoke", "run call exec start test", "PATH|NAME", true, NULL,
     "run a function on one event",
     "Runs the function once in a fresh sandbox, with the limits of its function.ini. The\n"
     "result goes to stdout and nothing else does; log and REPORT line go to stderr.\n"
     "\n"
     "PATH is a function's folder or a single file: anything with a / in it, or the name of\n"
     "an existing file. A bare word is the NAME of a deployed function, which this version\n"
     "does not have yet; for the folder hello say ./hello.\n"
     "\n"
     "Without --event the event is read from stdin when that is a file, a pipe or a socket;\n"
     "otherwise it is {}.\n",
     "fnrun invoke ./hello --event '{\"name\":\"Ada\"}'\n"
     "fnrun invoke ./hello --event @hello/event.json --timeout 10s\n"
     "echo '{\"name\":\"Ada\"}' | fnrun invoke app.py\n"},
    {COMMAND_CHECK, "check", "validate lint verify", "PATH", true, NULL,
     "say all that is wrong with a function, without running it",
     "Reads function.ini and looks for the handler. Every problem is said at once, each with\n"
     "file and line.\n",
     "fnrun check ./hello\n"},
    {COMMAND_INIT, "init", "new create generate", "NAME", true, "runtime",
     "write a small working function to start from",
     "Makes the folder NAME (letters, digits, - and _; 64 at most) with a handler,\n"
     "function.ini, event.json and README.md. Nothing is ever overwritten.\n",
     "fnrun init hello --runtime python\n"
     "fnrun invoke ./hello --event @hello/event.json\n"},
    {COMMAND_DOCTOR, "doctor", "info status diagnose", NULL, false, NULL,
     "say what this machine offers, and how to get what is missing",
     "Tries everything that a one-shot call needs, as the user who asks, and says for each\n"
     "missing thing how to get it.\n",
     "fnrun doctor\nsudo fnrun doctor\n"},
    {COMMAND_VERSION, "version", NULL, NULL, false, NULL, "print the version", "", NULL},
    {COMMAND_HELP, "help", "man usage", "COMMAND", false, NULL,
     "explain a command: options, exit statuses, examples", "", "fnrun help invoke\n"},
};
const size_t args_commands_count = sizeof args_commands / sizeof *args_commands;

const struct args_option args_options[] = {
    {"event", 0, ARGS_TEXT, INVOKE, IN(event), "JSON|@FILE|-", NULL, NULL,
     "the event: JSON text, a file, or - for stdin"},
    {"timeout", 0, ARGS_TEXT, INVOKE, IN(timeout), "TIME", NULL, NULL,
     "the handler's time for this call: 500ms, 2s, 1m, 1h"},
    {"memory", 'm', ARGS_TEXT, INVOKE, IN(memory), "SIZE", NULL, NULL,
     "memory for this call, swap and /tmp included: 64M, 1G"},
    {"env", 'e', ARGS_PAIR, INVOKE, 0, "NAME[=VALUE]", NULL, NULL,
     "an environment variable; NAME alone takes the caller's\nvalue; may be repeated"},
    {"limits", 0, ARGS_CHOICE_FLAG, INVOKE, IN(limits_rlimit), "rlimit", limit_kinds, NULL,
     "run without control groups: weaker limits for each\nprocess instead, said so in REPORT"},
    {"cgroup", 0, ARGS_TEXT, INVOKE | DOCTOR, IN(cgroup), "PATH", NULL, "FNRUN_CGROUP",
     "make control groups below this delegated group"},
    {"log-level", 0, ARGS_CHOICE_INDEX, INVOKE, IN(log_level), "LEVEL", log_levels,
     "FNRUN_LOG_LEVEL", "fnrun's own messages: error, warn, info (default)\nor debug"},
    {"runtime", 0, ARGS_CHOICE_TEXT, INIT, IN(runtime), "RUNTIME", runtimes, NULL,
     "python, node, azure, native (a shared object in C)\nor exec (any program or script)"},
    {"json", 0, ARGS_FLAG, INVOKE | CHECK | DOCTOR | VERSION, IN(json), NULL, NULL, NULL,
     "print one JSON object on stdout"},
    {"quiet", 'q', ARGS_FLAG, INVOKE | CHECK, IN(quiet), NULL, NULL, NULL,
     "nothing but the result and errors"},
    {"help", 'h', ARGS_FLAG, EVERY | BEFORE_ANY, IN(help), NULL, NULL, NULL, "print this text"},
    {"version", 0, ARGS_VERSION, BEFORE_ANY, 0, NULL, NULL, NULL, "print the version"},
};
const size_t args_options_count = sizeof args_options / sizeof *args_options;

const struct args_status args_statuses[] = {
    {ARGS_EXIT_OK, INVOKE, "the handler returned"},
    {ARGS_EXIT_OK, CHECK, "nothing is wrong"},
    {ARGS_EXIT_OK, INIT, "the function is there"},
    {ARGS_EXIT_OK, DOCTOR, "one-shot calls work here for this user"},
    {ARGS_EXIT_OK, VERSION | HELP, "printed"},
    {ARGS_EXIT_FAILED, INVOKE,
     "the function failed: it could not be loaded, raised, exited or was killed,\n"
     "or its result is too large or not JSON"},
    {ARGS_EXIT_USAGE, EVERY, "wrong usage of the command"},
    {ARGS_EXIT_REFUSED, INVOKE,
     "refused: no such function, bad function.ini, event not JSON or too large"},
    {ARGS_EXIT_REFUSED, CHECK, "something is wrong with the function, or it is not there"},
    {ARGS_EXIT_REFUSED, INIT, "refused: NAME is there already, or its folder cannot be made"},
    {ARGS_EXIT_BUSY, INVOKE, "not allowed, or too many calls at once"},
    {ARGS_EXIT_BROKEN, INVOKE, "the sandbox could not be made or failed (see fnrun doctor)"},
    {ARGS_EXIT_BROKEN, CHECK | INIT | VERSION | HELP,
     "the command itself failed: a part of fnrun is missing, the disk is full"},
    {ARGS_EXIT_BROKEN, DOCTOR, "something that one-shot calls need is missing"},
    {ARGS_EXIT_TIMEOUT, INVOKE, "the time limit, or loading took longer than init"},
    {ARGS_EXIT_GONE, INVOKE, "interrupted (Ctrl-C); the sandbox is gone"},
    {ARGS_EXIT_MEMORY, INVOKE, "the memory limit"},
};
const size_t args_statuses_count = sizeof args_statuses / sizeof *args_statuses;

const struct args_command *args_command_row(int command) {
    for (size_t i = 0; i < args_commands_count; i++)
        if (args_commands[i].command == command)
            return &args_commands[i];
    return NULL;
}
