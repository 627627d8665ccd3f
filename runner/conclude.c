#include "runner/run.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "images/json.h"
#include "runner/failure.h"
#include "runner/outcome.h"

static void take_result(struct run *run) {
    struct invocation *invocation = run->invocation;
    invocation->result = run->reader.payload.data;
    invocation->result_length = run->reader.payload.length;
    memset(&run->reader.payload, 0, sizeof run->reader.payload);
    invocation->outcome = OUTCOME_SUCCESS;
}

static void not_json(struct run *run, const struct json_problem *problem) {
    bool exec = !run->invocation->plan->frames;
    failure_set(run->invocation, OUTCOME_NOT_JSON, "The result is not JSON: %s at byte %zu%s",
                problem->what, problem->offset,
                exec ? ". For bytes as they are set `output = raw` in [limits] of function.ini"
                     : "");
}

/* A text that an exec printed becomes a JSON string; JSON passes as it is. */
static void take_output(struct run *run) {
    struct invocation *invocation = run->invocation;
    struct json_out *payload = &run->reader.payload;
    struct json_problem problem = {0, "invalid UTF-8"};
    if (payload->length > run->reader.limit) {
        run->verdict = OUTCOME_TOO_LARGE;
        return;
    }
    if (invocation->function->output == OUTPUT_RAW ||
        json_scan(payload->data, payload->length, NULL)) {
        take_result(run);
    } else if (!json_is_utf8(payload->data, payload->length, &problem.offset)) {
        not_json(run, &problem);
    } else {
        struct json_out text = {0};
        json_put_string(&text, payload->data ? payload->data : "", payload->length);
        invocation->result = text.data;
        invocation->result_length = text.length;
        invocation->outcome = OUTCOME_SUCCESS;
    }
}

static void take_frame(struct run *run, int status) {
    struct frame_reader *reader = &run->reader;
    struct json_problem problem;
    if (reader->broken) {
        failure_set(
            run->invocation, OUTCOME_EXIT,
            "RequestId: %s Error: Runtime exited with error: it sent %s on its result channel",
            run->invocation->request_id, reader->broken);
    } else if (reader->too_large) {
        run->verdict = OUTCOME_TOO_LARGE;
    } else if (!reader->done) {
        failure_set_exit(run->invocation, status);
    } else if (!json_scan(reader->payload.data, reader->payload.length, &problem)) {
        not_json(run, &problem);
    } else {
        bool error = reader->type == FRAME_ERROR;
        take_result(run);
        if (error)
            run->invocation->outcome = OUTCOME_UNHANDLED;
    }
}

/* An exec's status first: what a failed program printed is for the reader of the log. */
static void take_exit(struct run *run, int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        take_output(run);
    } else {
        logs_add(&run->logs, run->reader.payload.data, run->reader.payload.length);
        failure_set_exit(run->invocation, status);
    }
}

/* As Lambda says it, with two digits; a third where there would be none. */
static const char *seconds(uint64_t ms, char text[24]) {
    if (ms < 10)
        snprintf(text, 24, "0.%03u", (unsigned)ms);
    else
        snprintf(text, 24, "%llu.%02u", (unsigned long long)(ms / 1000),
                 (unsigned)(ms % 1000 / 10));
    return text;
}

static void word_verdict(struct run *run) {
    char text[24];
    struct invocation *invocation = run->invocation;
    const struct function_limits *limits = &invocation->function->limits;
    const char *id = invocation->request_id;
    switch (run->verdict) {
    case OUTCOME_TIMEOUT:
        failure_set(invocation, OUTCOME_TIMEOUT,
                    "RequestId: %s Error: Task timed out after %s seconds (raise `timeout` in "
                    "[limits], or --timeout)",
                    id, seconds(limits->timeout_ms, text));
        break;
    case OUTCOME_INIT_TIMEOUT:
        failure_set(invocation, OUTCOME_INIT_TIMEOUT,
                    "RequestId: %s Error: Loading the handler took longer than %s seconds (raise "
                    "`init` in [limits])",
                    id, seconds(limits->init_ms, text));
        break;
    case OUTCOME_TOO_LARGE:
        failure_set(invocation, OUTCOME_TOO_LARGE,
                    "Response payload size (%llu bytes%s) exceeded maximum allowed payload size "
                    "(%llu bytes): raise "
                    "`response` in [limits], or return less",
                    (unsigned long long)(run->reader.announced ? run->reader.announced
                                                               : run->reader.payload.length),
                    run->reader.announced ? "" : " or more", (unsigned long long)limits->response);
        break;
    case OUTCOME_CLIENT_GONE:
        failure_set(invocation, OUTCOME_CLIENT_GONE, "RequestId: %s Error: ended by signal %d", id,
                    run->signal_number);
        break;
    default:
        break;
    }
}

void run_conclude(struct run *run, int status) {
    struct invocation *invocation = run->invocation;
    if (run->verdict == OUTCOME_SUCCESS) {
        if (invocation->plan->frames)
            take_frame(run, status);
        else
            take_exit(run, status);
    }
    word_verdict(run);
    bool stopped = run->verdict == OUTCOME_TIMEOUT || run->verdict == OUTCOME_CLIENT_GONE;
    if (invocation->usage.oom_killed && invocation->outcome != OUTCOME_SUCCESS && !stopped)
        failure_set(invocation, OUTCOME_MEMORY,
                    "RequestId: %s Error: The memory limit of %llu MB was reached and the kernel "
                    "killed a process "
                    "(raise `memory` in [limits], or --memory; /tmp counts in it)",
                    invocation->request_id,
                    (unsigned long long)(invocation->function->limits.memory >> 20));
}

/* Why the program was not started, where that is the function's fault; the rest (no
 * memory, say) is the machine's. */
bool run_explain_start(struct run *run, int code) {
    static const struct {
        int code;
        const char *advice;
    } faults[] = {
        {-ENOENT,
         " (the file, or the interpreter that its first line names, is not in the sandbox)"},
        {-ENOEXEC, " (a script needs a first line like #!/bin/sh)"},
        {-EACCES, " (chmod +x, and every folder on the way o+x)"},
        {-E2BIG, " (its environment and arguments are too long)"},
        {-ELOOP, ""},
        {-ENOTDIR, ""},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (faults[i].code != code)
            continue;
        failure_set(run->invocation, OUTCOME_ENTRYPOINT, "%s cannot be started: %s%s",
                    run->invocation->spec.program, strerror(-code), faults[i].advice);
        return true;
    }
    return false;
}
