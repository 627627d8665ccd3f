#include "cli/invoke_print.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/base64.h"
#include "cli/decode.h"
#include "images/function.h"
#include "images/json.h"
#include "isolate/file.h"
#include "runner/invocation.h"
#include "runner/outcome.h"
#include "runner/report.h"

/* An answer, taken apart. */
struct answer {
    const struct http_exchange *exchange;
    const char *result, *log, *report; /* report: JSON, checked, or NULL */
    size_t result_length, log_length, report_length;
    int outcome; /* enum outcome */
    bool raw;    /* result is bytes, not JSON */
};

static bool prints_log(const struct args *args) {
    return !args->json && !args->quiet && args->log_level >= LOG_LEVEL_WARN;
}

static bool prints_line(const struct args *args) {
    return !args->json && !args->quiet && args->log_level >= LOG_LEVEL_INFO;
}

bool invoke_wants_report(const struct args *args) {
    return args->json || prints_log(args);
}

/* --- taking apart ------------------------------------------------------------------- */

/* What a call that was run can end as; another name is no name for that. */
static int outcome_by_name(const char *name) {
    for (int outcome = OUTCOME_SUCCESS; outcome < OUTCOME_CLIENT_GONE; outcome++)
        if (strcmp(outcome_name(outcome), name) == 0)
            return outcome;
    return OUTCOME_UNHANDLED;
}

/* The report knows. Without one the error object's own type has to do, which the function
 * may have written itself: it only ever decides between statuses of failure. */
static int find_outcome(const struct answer *answer) {
    char name[64];
    if (!http_answer_header(answer->exchange, "X-Amz-Function-Error"))
        return OUTCOME_SUCCESS;
    if (answer->report &&
        decode_text(answer->report, answer->report_length, "outcome", name, sizeof name) > 0)
        return outcome_by_name(name);
    if (!json_scan(answer->result, answer->result_length, NULL))
        return OUTCOME_UNHANDLED;
    decode_text(answer->result, answer->result_length, "errorType", name, sizeof name);
    int outcome = outcome_by_name(name);
    return outcome == OUTCOME_SUCCESS ? OUTCOME_UNHANDLED : outcome;
}

/* The log is in a header, or, where it is long, behind the result. */
static void find_log(struct answer *answer) {
    const char *length = http_answer_header(answer->exchange, "X-Fnrun-Log-Length");
    char *log = (char *)http_answer_header(answer->exchange, "X-Fnrun-Log");
    if (length) {
        unsigned long long bytes = strtoull(length, NULL, 10);
        if (bytes > answer->result_length)
            return;
        answer->log_length = (size_t)bytes;
        answer->result_length -= (size_t)bytes;
        answer->log = answer->result + answer->result_length;
    } else if (log) {
        long bytes = base64_decode(log);
        answer->log = log;
        answer->log_length = bytes > 0 ? (size_t)bytes : 0;
    }
}

static void take_apart(struct answer *answer, const char *body, size_t length) {
    const char *type = http_answer_header(answer->exchange, "Content-Type");
    const char *report = http_answer_header(answer->exchange, "X-Fnrun-Report");
    answer->result = body;
    answer->result_length = length;
    answer->raw = type && strncmp(type, "application/json", 16) != 0;
    if (report && json_scan(report, strlen(report), NULL)) {
        answer->report = report;
        answer->report_length = strlen(report);
    }
    find_log(answer);
    answer->outcome = find_outcome(answer);
}

/* --- printing ------------------------------------------------------------------------- */

static void put_result(const struct answer *answer, struct json_out *out) {
    bool json = !answer->raw && json_scan(answer->result, answer->result_length, NULL);
    if (json) {
        json_put_text(out, ",\"result\":");
        json_put_raw(out, answer->result, answer->result_length);
    } else if (json_is_utf8(answer->result, answer->result_length, NULL)) {
        json_put_text(out, ",\"result\":");
        json_put_string(out, answer->result, answer->result_length);
    } else {
        json_put_text(out, ",\"resultBase64\":\"");
        base64_put(out, answer->result, answer->result_length);
        json_put_text(out, "\"");
    }
}

/* As report_json does it, with the daemon's own report inside. */
static void put_json(const struct answer *answer, struct json_out *out) {
    const char *id = http_answer_header(answer->exchange, "X-Amzn-RequestId");
    size_t length = 0;
    const char *report = answer->report
                             ? json_member(answer->report, answer->report_length, "report", &length)
                             : NULL;
    json_put_text(out, "{\"requestId\":");
    json_put_string(out, id ? id : "", id ? strlen(id) : 0);
    json_put_text(out, ",\"outcome\":\"");
    json_put_text(out, outcome_name(answer->outcome));
    json_put_text(out, "\"");
    put_result(answer, out);
    json_put_text(out, ",\"log\":");
    json_put_string(out, answer->log ? answer->log : "", answer->log_length);
    json_put_text(out, ",\"report\":");
    if (report)
        json_put_raw(out, report, length);
    else
        json_put_text(out, "{}");
    json_put_text(out, "}\n");
}

/* The words are those of one-shot calls; so the numbers go where those have them. */
static void put_line(const struct answer *answer, struct json_out *out) {
    struct function function = {0};
    static struct invocation invocation;
    size_t length = 0, cold_length = 0;
    uint64_t mb = 0;
    const char *report = answer->report
                             ? json_member(answer->report, answer->report_length, "report", &length)
                             : NULL;
    if (!report)
        return;
    invocation.function = &function;
    invocation.outcome = answer->outcome;
    decode_text(answer->report, answer->report_length, "requestId", invocation.request_id,
                sizeof invocation.request_id);
    decode_number(report, length, "durationMs", 3, &invocation.duration_us);
    decode_number(report, length, "initDurationMs", 3, &invocation.init_us);
    decode_number(report, length, "cpuMs", 3, &invocation.usage.cpu_us);
    decode_number(report, length, "memorySizeMB", 0, &mb);
    function.limits.memory = mb << 20;
    decode_number(report, length, "maxMemoryUsedMB", 0, &mb);
    invocation.usage.peak_memory = mb << 20;
    report_line(&invocation, out);
    /* A warm call has loaded nothing; Lambda leaves the field out then. */
    const char *cold = json_member(report, length, "cold", &cold_length);
    char *field = out->data ? memmem(out->data, out->length, "Init Duration:", 14) : NULL;
    char *end = field ? memchr(field, '\t', (size_t)(out->data + out->length - field)) : NULL;
    if (cold && cold_length == 5 && end) {
        memmove(field, end + 1, (size_t)(out->data + out->length - end - 1));
        out->length -= (size_t)(end + 1 - field);
    }
}

/* Returns a negative errno when stdout does not take it. */
static int print_json(const struct answer *answer) {
    struct json_out out = {0};
    put_json(answer, &out);
    int r = out.failed ? -ENOMEM : file_write_all(STDOUT_FILENO, out.data, out.length);
    free(out.data);
    return r;
}

/* The line goes to memory that is there: it has 310 bytes at most, and the first allocation
 * of a process costs five system calls. */
static int print_plain(const struct args *args, const struct answer *answer) {
    char room[512];
    struct json_out line = {.data = room, .capacity = sizeof room};
    if (prints_log(args))
        file_write_all(STDERR_FILENO, answer->log, answer->log_length);
    if (prints_line(args))
        put_line(answer, &line);
    file_write_all(STDERR_FILENO, line.data, line.length);
    /* Byte for byte; a newline only where a person reads it. */
    int r = file_write_all(STDOUT_FILENO, answer->result, answer->result_length);
    if (r == 0 && answer->result_length && isatty(STDOUT_FILENO))
        r = file_write_all(STDOUT_FILENO, "\n", 1);
    return r;
}

int invoke_print(const struct args *args, struct http_exchange *exchange, char *body,
                 size_t length) {
    struct answer answer = {.exchange = exchange};
    take_apart(&answer, body, length);
    int r = args->json ? print_json(&answer) : print_plain(args, &answer);
    if (r < 0) {
        fprintf(stderr, "fnrun: the result cannot be written to stdout: %s\n", strerror(-r));
        return EXIT_SERVICE;
    }
    return outcome_exit_code(answer.outcome);
}
