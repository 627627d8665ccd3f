#include "runner/conclude.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "images/json.h"
#include "runner/outcome.h"

static void take_result(struct conclusion *end) {
    end->answer.result = end->reader->payload.data;
    end->answer.result_length = end->reader->payload.length;
    memset(&end->reader->payload, 0, sizeof end->reader->payload);
    end->answer.outcome = OUTCOME_SUCCESS;
}

static void not_json(struct conclusion *end, const struct json_problem *problem) {
    failure_set(&end->answer, OUTCOME_NOT_JSON, "The result is not JSON: %s at byte %zu%s",
                problem->what, problem->offset,
                end->frames ? ""
                            : ". For bytes as they are set `output = raw` in [limits] of "
                              "function.ini");
}

/* A text that an exec printed becomes a JSON string; JSON passes as it is. */
static void take_output(struct conclusion *end) {
    struct json_out *payload = &end->reader->payload;
    struct json_problem problem = {0, "invalid UTF-8"};
    if (payload->length > end->reader->limit) {
        end->verdict = OUTCOME_TOO_LARGE;
        return;
    }
    if (end->function->output == OUTPUT_RAW || json_scan(payload->data, payload->length, NULL)) {
        take_result(end);
    } else if (!json_is_utf8(payload->data, payload->length, &problem.offset)) {
        not_json(end, &problem);
    } else {
        struct json_out text = {0};
        json_put_string(&text, payload->data ? payload->data : "", payload->length);
        end->answer.result = text.data;
        end->answer.result_length = text.length;
        end->answer.outcome = OUTCOME_SUCCESS;
    }
}

static void take_frame(struct conclusion *end) {
    struct frame_reader *reader = end->reader;
    struct json_problem problem;
    if (reader->broken) {
        failure_set(
            &end->answer, OUTCOME_EXIT,
            "RequestId: %s Error: Runtime exited with error: it sent %s on its result channel",
            end->answer.request_id, reader->broken);
    } else if (reader->too_large) {
        end->verdict = OUTCOME_TOO_LARGE;
    } else if (!reader->done) {
        failure_set_exit(&end->answer, end->status);
    } else if (!json_scan(reader->payload.data, reader->payload.length, &problem)) {
        not_json(end, &problem);
    } else {
        take_result(end);
        if (reader->type == FRAME_ERROR)
            end->answer.outcome = OUTCOME_UNHANDLED;
    }
}

/* An exec's status first: what a failed program printed is for the reader of the log. */
static void take_exit(struct conclusion *end) {
    if (WIFEXITED(end->status) && WEXITSTATUS(end->status) == 0) {
        take_output(end);
    } else {
        logs_add(end->logs, end->reader->payload.data, end->reader->payload.length);
        failure_set_exit(&end->answer, end->status);
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

static void word_verdict(struct conclusion *end) {
    char text[24];
    const struct function_limits *limits = &end->function->limits;
    const struct frame_reader *reader = end->reader;
    const char *id = end->answer.request_id;
    switch (end->verdict) {
    case OUTCOME_TIMEOUT:
        failure_set(&end->answer, OUTCOME_TIMEOUT,
                    "RequestId: %s Error: Task timed out after %s seconds (raise `timeout` in "
                    "[limits], or --timeout)",
                    id, seconds(end->timeout_ms, text));
        break;
    case OUTCOME_INIT_TIMEOUT:
        failure_set(&end->answer, OUTCOME_INIT_TIMEOUT,
                    "RequestId: %s Error: Loading the handler took longer than %s seconds (raise "
                    "`init` in [limits])",
                    id, seconds(limits->init_ms, text));
        break;
    case OUTCOME_TOO_LARGE:
        failure_set(
            &end->answer, OUTCOME_TOO_LARGE,
            "Response payload size (%llu bytes%s) exceeded maximum allowed payload size "
            "(%llu bytes): raise "
            "`response` in [limits], or return less",
            (unsigned long long)(reader->announced ? reader->announced : reader->payload.length),
            reader->announced ? "" : " or more", (unsigned long long)limits->response);
        break;
    case OUTCOME_CLIENT_GONE:
        if (end->signal_number)
            failure_set(&end->answer, OUTCOME_CLIENT_GONE,
                        "RequestId: %s Error: ended by signal %d", id, end->signal_number);
        else
            failure_set(&end->answer, OUTCOME_CLIENT_GONE,
                        "RequestId: %s Error: the client went away", id);
        break;
    case OUTCOME_SERVICE:
        failure_set(&end->answer, OUTCOME_SERVICE,
                    "RequestId: %s Error: the sandbox failed while the function ran in it", id);
        break;
    default:
        break;
    }
}

void conclude(struct conclusion *end) {
    if (end->verdict == OUTCOME_SUCCESS) {
        if (end->frames)
            take_frame(end);
        else
            take_exit(end);
    }
    word_verdict(end);
    bool stopped = end->verdict == OUTCOME_TIMEOUT || end->verdict == OUTCOME_CLIENT_GONE;
    if (end->oom_killed && end->answer.outcome != OUTCOME_SUCCESS && !stopped)
        failure_set(&end->answer, OUTCOME_MEMORY,
                    "RequestId: %s Error: The memory limit of %llu MB was reached and the kernel "
                    "killed a process "
                    "(raise `memory` in [limits], or --memory; /tmp counts in it)",
                    end->answer.request_id,
                    (unsigned long long)(end->function->limits.memory >> 20));
}

bool conclude_start(struct answer *answer, const char *program, int code) {
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
        failure_set(answer, OUTCOME_ENTRYPOINT, "%s cannot be started: %s%s", program,
                    strerror(-code), faults[i].advice);
        return true;
    }
    return false;
}
