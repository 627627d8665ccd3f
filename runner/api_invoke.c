#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "images/config.h"
#include "isolate/cleanup.h"
#include "runner/api_core.h"

#define MAX_CONTEXT 3583 /* of base64, as Lambda has it */
#define MAX_TRACE   512
#define HEADER_LOG  8192 /* a larger one goes behind the result: the header has its bounds */

struct invoke {
    struct call call;
    struct exchange *exchange;
    struct http_body *body; /* the event, once the client is gone */
    char *context, *trace_id;
    char version[24]; /* X-Amz-Executed-Version */
    bool dry, tail, report, raw;
    uint64_t memory;
};

static void free_invoke(void *data) {
    struct invoke *invoke = data;
    call_free(&invoke->call);
    http_release_body(invoke->body);
    free(invoke->context);
    free(invoke->trace_id);
    free(invoke);
}

/* ---- what is asked ------------------------------------------------------------------- */

static int read_type(struct exchange *exchange, struct invoke *invoke) {
    const char *type = http_header(exchange->request, "X-Amz-Invocation-Type");
    const char *log = http_header(exchange->request, "X-Amz-Log-Type");
    if (type && strcmp(type, "Event") == 0)
        return api_refuse(exchange, 400, "InvalidParameterValueException",
                          "invocation type Event (asynchronous) is not supported yet");
    invoke->dry = type && strcmp(type, "DryRun") == 0;
    if (type && !invoke->dry && strcmp(type, "RequestResponse") != 0)
        return api_refuse(exchange, 400, "InvalidParameterValueException",
                          "X-Amz-Invocation-Type: RequestResponse or DryRun, not '%.40s'", type);
    invoke->tail = log && strcmp(log, "Tail") == 0;
    if (log && !invoke->tail && strcmp(log, "None") != 0)
        return api_refuse(exchange, 400, "InvalidParameterValueException",
                          "X-Amz-Log-Type: None or Tail, not '%.40s'", log);
    const char *report = http_header(exchange->request, "X-Fnrun-Report");
    invoke->report = report && strcmp(report, "1") == 0;
    invoke->call.wants_usage = invoke->report || invoke->tail;
    return 0;
}

static int read_context(struct exchange *exchange, struct invoke *invoke) {
    const char *text = http_header(exchange->request, "X-Amz-Client-Context");
    size_t length = text ? strlen(text) : 0;
    if (!length)
        return 0;
    if (length > MAX_CONTEXT)
        return api_refuse(exchange, 400, "InvalidRequestContentException",
                          "the client context is longer than %d bytes", MAX_CONTEXT);
    invoke->context = malloc(length + 1);
    if (!invoke->context)
        return api_refuse(exchange, 500, "ServiceException", "out of memory");
    long bytes = api_decode_base64(text, invoke->context);
    size_t start = bytes > 0 ? strspn(invoke->context, " \t\r\n") : 0;
    if (bytes <= 0 || invoke->context[start] != '{' ||
        !json_scan(invoke->context, (size_t)bytes, NULL))
        return api_refuse(exchange, 400, "InvalidRequestContentException",
                          "Client context must be a valid Base64-encoded JSON object.");
    invoke->call.context = invoke->context;
    return 0;
}

static int read_limits(struct exchange *exchange, struct invoke *invoke) {
    const char *timeout = http_header(exchange->request, "X-Fnrun-Timeout");
    const char *trace = http_header(exchange->request, "X-Amzn-Trace-Id");
    uint64_t ms = 0;
    if (timeout && (config_parse_time(timeout, &ms) < 0 || !ms))
        return api_refuse(exchange, 400, "InvalidParameterValueException",
                          "X-Fnrun-Timeout: a time as 500ms, 3s or 1m, not '%.40s'", timeout);
    invoke->call.timeout_ms = ms;
    if (!trace || !*trace)
        return 0;
    /* A copy: the call may outlive the request. */
    invoke->trace_id = strndup(trace, MAX_TRACE);
    if (!invoke->trace_id)
        return api_refuse(exchange, 500, "ServiceException", "out of memory");
    invoke->call.trace_id = invoke->trace_id;
    return 0;
}

/* A qualifier in the name and one in the query must be one; and only the current version has
 * an environment. */
static int read_version(struct exchange *exchange, struct invoke *invoke,
                        const struct entry *entry) {
    const char *query = http_query(exchange->request, "Qualifier");
    const char *qualifier = *exchange->qualifier ? exchange->qualifier : query ? query : "";
    snprintf(invoke->version, sizeof invoke->version, "%s", "$LATEST");
    if (query && *exchange->qualifier && strcmp(query, exchange->qualifier) != 0)
        return api_refuse(exchange, 400, "InvalidParameterValueException",
                          "the qualifier in the function's name and that in the query differ");
    if (!*qualifier || strcmp(qualifier, "$LATEST") == 0)
        return 0;
    snprintf(invoke->version, sizeof invoke->version, "%llu", (unsigned long long)entry->number);
    if (strcmp(qualifier, invoke->version) == 0)
        return 0;
    return api_refuse(
        exchange, 404, "ResourceNotFoundException",
        "Function not found: arn:aws:lambda:us-east-1:000000000000:function:%s:%.128s "
        "(version %s is the current one)",
        exchange->name, qualifier, invoke->version);
}

int64_t api_invoke_begin(struct exchange *exchange, int *spool_to) {
    struct entry *entry = api_find(exchange);
    struct invoke *invoke = entry ? calloc(1, sizeof *invoke) : NULL;
    (void)spool_to;
    if (!entry)
        return -ENOENT;
    if (!invoke)
        return api_refuse(exchange, 500, "ServiceException", "out of memory");
    exchange->data = invoke;
    exchange->free_data = free_invoke;
    invoke->exchange = exchange;
    int r = read_type(exchange, invoke);
    if (r == 0)
        r = read_context(exchange, invoke);
    if (r == 0)
        r = read_limits(exchange, invoke);
    if (r == 0)
        r = read_version(exchange, invoke, entry);
    return r < 0 ? r : (int64_t)entry->function.limits.event;
}

/* ---- the answer ------------------------------------------------------------------------ */

static const struct refusal {
    int outcome;
    unsigned status;
    const char *type;
} refusals[] = {
    {OUTCOME_BAD_EVENT, 400, "InvalidRequestContentException"},
    {OUTCOME_EVENT_TOO_LARGE, 413, "RequestTooLargeException"},
    {OUTCOME_BAD_FUNCTION, 400, "InvalidParameterValueException"},
    {OUTCOME_NO_FUNCTION, 404, "ResourceNotFoundException"},
    {OUTCOME_THROTTLED, 429, "TooManyRequestsException"},
    {OUTCOME_SERVICE, 500, "ServiceException"},
};

static const struct refusal *find_refusal(int outcome) {
    size_t count = sizeof refusals / sizeof *refusals;
    for (size_t i = 0; i < count; i++)
        if (refusals[i].outcome == outcome)
            return &refusals[i];
    return &refusals[count - 1];
}

/* errorMessage of the call's error object, or the outcome's name. */
static void read_message(const struct call *call, char *message, size_t size) {
    cJSON *error =
        call->result_length ? cJSON_ParseWithLength(call->result, call->result_length) : NULL;
    const cJSON *text = cJSON_GetObjectItemCaseSensitive(error, "errorMessage");
    snprintf(message, size, "%s",
             cJSON_IsString(text) ? text->valuestring : outcome_name(call->outcome));
    cJSON_Delete(error);
}

static void throttle(struct exchange *exchange, const char *message) {
    api_refuse_for_now(exchange, 429, "TooManyRequestsException",
                       "ReservedFunctionConcurrentInvocationLimitExceeded", message);
}

static void answer_refusal(struct exchange *exchange, const struct call *call) {
    const struct refusal *refusal = find_refusal(call->outcome);
    char message[1024];
    read_message(call, message, sizeof message);
    if (call->outcome == OUTCOME_THROTTLED)
        throttle(exchange, message);
    else if (refusal->status == 500 && exchange->api->stopping)
        api_refuse_for_now(exchange, 503, refusal->type, NULL, message);
    else
        api_refuse(exchange, refusal->status, refusal->type, "%s", message);
}

/* Puts the log behind the result. */
static bool append_log(struct call *call, char length[24]) {
    char *whole = realloc(call->result, call->result_length + call->log_length);
    if (!whole)
        return false;
    memcpy(whole + call->result_length, call->log, call->log_length);
    call->result = whole;
    call->result_length += call->log_length;
    snprintf(length, 24, "%zu", call->log_length);
    return true;
}

static void answer_result(struct exchange *exchange, struct invoke *invoke) {
    struct call *call = &invoke->call;
    const char *headers[16] = {"X-Amz-Executed-Version", invoke->version};
    struct json_out tail = {0}, numbers = {0}, log = {0};
    char log_length[24];
    size_t count = 2;
    if (call->outcome != OUTCOME_SUCCESS) {
        headers[count++] = "X-Amz-Function-Error";
        headers[count++] = "Unhandled";
    } else if (invoke->raw) {
        headers[count++] = "Content-Type";
        headers[count++] = "application/octet-stream";
    }
    if (invoke->tail) {
        api_put_tail(&tail, call, invoke->memory, invoke->version);
        headers[count++] = "X-Amz-Log-Result";
        headers[count++] = tail.data;
    }
    if (invoke->report) {
        api_put_numbers(&numbers, call, invoke->memory);
        headers[count++] = "X-Fnrun-Report";
        headers[count++] = numbers.data;
    }
    if (invoke->report && call->log_length > HEADER_LOG) {
        if (append_log(call, log_length)) {
            headers[count++] = "X-Fnrun-Log-Length";
            headers[count++] = log_length;
        }
    } else if (invoke->report && call->log_length) {
        api_put_base64(&log, call->log, call->log_length);
        json_put_raw(&log, "", 1);
        headers[count++] = "X-Fnrun-Log";
        headers[count++] = log.data;
    }
    if (tail.failed || numbers.failed || log.failed)
        api_refuse(exchange, 500, "ServiceException", "out of memory");
    else {
        size_t length = call->result_length;
        char *result = TAKE_PTR(call->result);
        call->result_length = 0;
        api_reply(exchange, 200, headers, result, length);
    }
    free(tail.data);
    free(numbers.data);
    free(log.data);
}

static void done(struct call *call) {
    struct invoke *invoke = call->owner;
    struct exchange *exchange = invoke->exchange;
    if (!exchange->request)
        api_exchange_free(exchange);
    else if (call->outcome <= OUTCOME_ENTRYPOINT)
        answer_result(exchange, invoke);
    else
        answer_refusal(exchange, call);
}

/* ---- the call ---------------------------------------------------------------------------- */

static void submit(struct exchange *exchange, struct invoke *invoke, struct entry *entry) {
    struct pool_stats stats;
    exchange->busy = true;
    int r = pool_submit(entry->pool, &invoke->call);
    if (r == 0)
        return; /* and it may be done, and gone, already */
    exchange->busy = false;
    if (r == -EBUSY) {
        throttle(exchange, "Rate Exceeded: as many calls as [scale] concurrency allows are under "
                           "way, and more are waiting than may");
    } else if (r == -EHOSTDOWN) {
        char message[KEEPER_TEXT + 200];
        pool_read_stats(entry->pool, &stats);
        snprintf(message, sizeof message, "%s fails again and again: %s", entry->name,
                 stats.broken);
        api_refuse_for_now(exchange, 503, "ServiceException", NULL, message);
    } else if (r == -ESHUTDOWN) {
        api_refuse_for_now(exchange, 503, "ServiceException", NULL,
                           "the function is being taken away");
    } else {
        api_refuse(exchange, 500, "ServiceException", "%s", strerror(-r));
    }
}

void api_invoke(struct exchange *exchange) {
    struct invoke *invoke = exchange->data;
    struct call *call = &invoke->call;
    struct entry *entry = api_find(exchange); /* anew: it may have gone while the body came */
    struct json_problem problem;
    if (!entry)
        return;
    call->event = http_body(exchange->request, &call->event_length);
    if (!call->event_length) {
        call->event = "{}";
        call->event_length = 2;
    }
    if (call->event_length > entry->function.limits.event) {
        api_refuse(exchange, 413, "RequestTooLargeException",
                   "the event has %zu bytes; at most %llu", call->event_length,
                   (unsigned long long)entry->function.limits.event);
        return;
    }
    if (!json_scan(call->event, call->event_length, &problem)) {
        api_refuse(exchange, 400, "InvalidRequestContentException",
                   "Could not parse request body into json: %s at byte %zu", problem.what,
                   problem.offset);
        return;
    }
    if (invoke->dry) {
        const char *headers[] = {"X-Amz-Executed-Version", invoke->version, NULL};
        api_reply(exchange, 204, headers, NULL, 0);
        return;
    }
    memcpy(call->request_id, exchange->request_id, sizeof call->request_id);
    call->arrived = 0;
    invoke->memory = entry->function.limits.memory;
    invoke->raw = entry->function.output == OUTPUT_RAW;
    call->done = done;
    call->owner = invoke;
    submit(exchange, invoke, entry);
}

void api_invoke_gone(struct exchange *exchange, struct http_request *request) {
    struct invoke *invoke = exchange->data;
    if (!exchange->busy)
        return;
    /* The event is read until the call is done. */
    invoke->body = http_take_body(request);
    pool_cancel(&invoke->call);
}
