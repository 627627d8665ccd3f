#include "runner/outcome.h"

static const struct {
    const char *name;
    int exit_code;
} table[OUTCOME_COUNT] = {
    [OUTCOME_SUCCESS] = {"Success", 0},
    [OUTCOME_UNHANDLED] = {"Unhandled", 1},
    [OUTCOME_EXIT] = {"Runtime.ExitError", 1},
    [OUTCOME_TIMEOUT] = {"Sandbox.Timedout", 124},
    [OUTCOME_INIT_TIMEOUT] = {"Runtime.InitTimeout", 124},
    [OUTCOME_MEMORY] = {"Runtime.OutOfMemory", 137},
    [OUTCOME_TOO_LARGE] = {"Function.ResponseSizeTooLarge", 1},
    [OUTCOME_NOT_JSON] = {"Runtime.MarshalError", 1},
    [OUTCOME_ENTRYPOINT] = {"Runtime.InvalidEntrypoint", 1},
    [OUTCOME_CLIENT_GONE] = {"Client.Gone", 130},
    [OUTCOME_BAD_EVENT] = {"InvalidRequestContentException", EXIT_REFUSED},
    [OUTCOME_EVENT_TOO_LARGE] = {"RequestTooLargeException", EXIT_REFUSED},
    [OUTCOME_BAD_FUNCTION] = {"InvalidParameterValueException", EXIT_REFUSED},
    [OUTCOME_NO_FUNCTION] = {"ResourceNotFoundException", EXIT_REFUSED},
    [OUTCOME_THROTTLED] = {"TooManyRequestsException", EXIT_THROTTLED},
    [OUTCOME_SERVICE] = {"ServiceException", EXIT_SERVICE},
};

const char *outcome_name(int outcome) {
    return table[outcome].name;
}

int outcome_exit_code(int outcome) {
    return table[outcome].exit_code;
}
