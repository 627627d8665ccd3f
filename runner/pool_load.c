/* Loading has failed: each call that waited for it is answered as if it alone had been started
 * and failed, as a one-shot call is. */
#include "runner/pool_core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The runtime's error object does not know whose call it is. */
static void put_request_id(struct json_out *out, const char *text, size_t length,
                           const char *request_id) {
    size_t value_length = 0;
    const char *value = json_member(text, length, "requestId", &value_length);
    bool is_null = value && value_length == 4 && memcmp(value, "null", 4) == 0;
    bool is_empty = value && value_length == 2 && memcmp(value, "\"\"", 2) == 0;
    if (!is_null && !is_empty) {
        json_put_raw(out, text, length);
        return;
    }
    json_put_raw(out, text, (size_t)(value - text));
    json_put_string(out, request_id, strlen(request_id));
    value += value_length;
    json_put_raw(out, value, (size_t)(text + length - value));
}

static void explain_start(struct pool *pool, const struct load_failure *failure,
                          struct answer *answer) {
    if (!conclude_start(answer, pool->plan.program, failure->status))
        failure_set(answer, OUTCOME_SERVICE, "%s", failure->text ? failure->text : "");
}

static void explain(struct pool *pool, const struct load_failure *failure, struct answer *answer,
                    struct logs *logs) {
    struct frame_reader reader = *failure->reader;
    const struct json_out *payload = &failure->reader->payload;
    memset(&reader.payload, 0, sizeof reader.payload);
    if (reader.done && reader.type == FRAME_ERROR &&
        json_scan(payload->data, payload->length, NULL))
        put_request_id(&reader.payload, payload->data, payload->length, answer->request_id);
    else
        json_put_raw(&reader.payload, payload->data, payload->length);
    json_put_raw(&logs->kept, failure->log->kept.data, failure->log->kept.length);
    logs->truncated = failure->log->truncated;
    logs->limit = pool->function.limits.logs;
    if (failure->status < 0) {
        explain_start(pool, failure, answer);
    } else {
        struct conclusion end = {
            .function = &pool->function,
            .frames = pool->plan.frames,
            .reader = &reader,
            .logs = logs,
            .timeout_ms = pool->function.limits.timeout_ms,
            .verdict = failure->verdict,
            .status = failure->status,
            .oom_killed = failure->oom_killed,
            .answer = *answer,
        };
        conclude(&end);
        *answer = end.answer;
    }
    /* A result before the event came: whatever it is, it is none. */
    if (answer->outcome == OUTCOME_SUCCESS)
        failure_set(answer, OUTCOME_EXIT,
                    "RequestId: %s Error: Runtime exited with error: it answered before it was "
                    "given an event",
                    answer->request_id);
    free(reader.payload.data);
    logs_close(logs);
}

static void answer_call(struct pool *pool, const struct load_failure *failure, struct call *call) {
    struct answer answer = {.request_id = call->request_id};
    struct logs logs = {0};
    explain(pool, failure, &answer, &logs);
    call->outcome = answer.outcome;
    call->result = answer.result;
    call->result_length = answer.result_length;
    call->log = logs.kept.data;
    call->log_length = logs.kept.length;
    call->log_truncated = logs.truncated;
    call->cold = true;
    call->init_us = monotonic_us() - (call->arrived > pool->began ? call->arrived : pool->began);
    pool_finish(pool, call, NULL);
}

/* The message alone, without its quotes, for people. */
static void message_of(const struct answer *answer, char *text, size_t size) {
    size_t length = 0;
    const char *value = json_member(answer->result ? answer->result : "", answer->result_length,
                                    "errorMessage", &length);
    if (!value || length < 2)
        value = outcome_name(answer->outcome), length = strlen(value);
    else
        value++, length -= 2;
    if (length >= size)
        length = size - 1;
    memcpy(text, value, length);
    text[length] = 0;
}

void pool_load_failed(struct pool *pool, struct load_failure *failure, uint32_t most) {
    struct call_queue told = {0};
    char id[REQUEST_ID_SIZE], text[KEEPER_TEXT];
    struct answer answer = {.request_id = id};
    struct logs logs = {0};
    request_id_make(id);
    explain(pool, failure, &answer, &logs);
    message_of(&answer, text, sizeof text);
    pool->failed_loading = true;
    pool_note_failure(pool, text, failure->log);
    if (pool_is_broken(pool, monotonic_us()))
        most = UINT32_MAX;
    while (pool->queue.first && told.count < most) {
        struct call *call = pool->queue.first;
        queue_remove(&pool->queue, call);
        queue_add(&told, call);
    }
    pool_note_quiet(pool);
    pool_tell_started(pool, answer.outcome, answer.result, answer.result_length, logs.kept.data,
                      logs.kept.length);
    free(answer.result);
    free(logs.kept.data);
    while (told.first) {
        struct call *call = told.first;
        queue_remove(&told, call);
        answer_call(pool, failure, call);
    }
}
