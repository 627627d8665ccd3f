/* How an invocation ended: exactly one of these, each with its Lambda error type
 * and fnrun's exit code. */
#ifndef FNRUN_OUTCOME_H
#define FNRUN_OUTCOME_H

enum outcome {
    OUTCOME_SUCCESS = 0,
    OUTCOME_UNHANDLED, /* the handler raised, or could not be loaded: its own error type */
    OUTCOME_EXIT,      /* the process ended without a result */
    OUTCOME_TIMEOUT,
    OUTCOME_INIT_TIMEOUT,
    OUTCOME_MEMORY,
    OUTCOME_TOO_LARGE,
    OUTCOME_NOT_JSON,
    OUTCOME_ENTRYPOINT, /* the program could not be started */
    OUTCOME_CLIENT_GONE,
    OUTCOME_BAD_EVENT, /* from here on: refusals, nothing was run */
    OUTCOME_EVENT_TOO_LARGE,
    OUTCOME_BAD_FUNCTION,
    OUTCOME_NO_FUNCTION,
    OUTCOME_THROTTLED, /* it waited too long for a free slot */
    OUTCOME_SERVICE,   /* the sandbox failed */
    OUTCOME_COUNT
};

#define EXIT_USAGE     2
#define EXIT_REFUSED   3
#define EXIT_THROTTLED 4
#define EXIT_SERVICE   5

/* "Sandbox.Timedout" and its like; "Success" and "Unhandled" have no type of their
 * own. */
const char *outcome_name(int outcome);
int outcome_exit_code(int outcome);

#endif
