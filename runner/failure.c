#include "runner/failure.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "images/json.h"
#include "runner/outcome.h"

void failure_set(struct answer *answer, int outcome, const char *format, ...) {
    char message[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);

    struct json_out out = {0};
    json_put_text(&out, "{\"errorMessage\":");
    json_put_string(&out, message, strlen(message));
    json_put_text(&out, ",\"errorType\":\"");
    json_put_text(&out, outcome_name(outcome));
    json_put_text(&out, "\",\"requestId\":\"");
    json_put_text(&out, answer->request_id);
    json_put_text(&out, "\"}");
    free(answer->result);
    answer->result = out.data;
    answer->result_length = out.length;
    answer->outcome = outcome;
}

static const char *signal_text(int number) {
    switch (number) {
    case SIGKILL:
        return "killed";
    case SIGSEGV:
        return "segmentation fault";
    case SIGABRT:
        return "aborted";
    case SIGBUS:
        return "bus error";
    case SIGFPE:
        return "floating point exception";
    case SIGILL:
        return "illegal instruction";
    case SIGTERM:
        return "terminated";
    case SIGSYS:
        return "bad system call (SIGSYS): calls of a foreign architecture and of x32 kill the "
               "process";
    default:
        return NULL;
    }
}

void failure_set_exit(struct answer *answer, int status) {
    const char *id = answer->request_id;
    if (WIFSIGNALED(status)) {
        int number = WTERMSIG(status);
        const char *text = signal_text(number);
        if (text)
            failure_set(answer, OUTCOME_EXIT,
                        "RequestId: %s Error: Runtime exited with error: signal: %s", id, text);
        else
            failure_set(answer, OUTCOME_EXIT,
                        "RequestId: %s Error: Runtime exited with error: signal: %d", id, number);
    } else if (WEXITSTATUS(status)) {
        failure_set(answer, OUTCOME_EXIT,
                    "RequestId: %s Error: Runtime exited with error: exit status %d", id,
                    WEXITSTATUS(status));
    } else {
        failure_set(answer, OUTCOME_EXIT,
                    "RequestId: %s Error: Runtime exited without providing a reason: the process "
                    "ended before the "
                    "handler returned",
                    id);
    }
}
