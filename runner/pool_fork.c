/* A slot with a frozen copy of the zygote: its event lies in the shared memory, its reply is put
 * there. Nothing but one message is on the way of an event. */
#include "runner/pool_core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LARGE 262144 /* bytes: the memory of a larger event or reply is given back */

/* The log of the next event, made while there is none. */
static void make_log(struct warm *slot) {
    log_close(slot);
    ends_close(&slot->ends);
    /* No descriptors: an event without a log is better than none. */
    if (ends_pipe(&slot->ends.log, &slot->ends.theirs[1], false) < 0)
        ends_close(&slot->ends);
}

void fork_begin(struct warm *slot, struct call *call) {
    struct pool *pool = slot->pool;
    struct json_out lines = {0};
    warm_take_call(slot, call);
    frame_put_lines(&lines, &(struct frame_lines){.request_id = call->request_id,
                                                  .timeout_ms = slot->timeout_ms,
                                                  .trace_id = call->trace_id,
                                                  .context = call->context});
    size_t length = lines.length + call->event_length;
    if (lines.failed || length > pool->plan.event_size) {
        free(lines.data);
        slot->call = NULL;
        warm_set_state(slot, WARM_READY);
        warm_list(slot);
        pool_refuse(pool, call, OUTCOME_SERVICE, "out of memory");
        return;
    }
    char *memory = environment_event(pool->environment, slot->number);
    memcpy(memory, lines.data, lines.length);
    if (call->event_length)
        memcpy(memory + lines.length, call->event, call->event_length);
    free(lines.data);
    slot->large = length > LARGE;
    struct keeper_message message = {
        .op = KEEPER_EVENT,
        .slot = slot->number,
        .length = length,
        .deadline = slot->deadline,
        .number = call->wants_usage,
    };
    int log = TAKE_FD(slot->ends.theirs[1]);
    environment_send(pool->environment, &message, &log, log >= 0);
    log_watch(slot);
    pool_arm(pool, slot->deadline + pool_times.slack);
}

/* The keeper's clock is this one's, but its word is only a keeper's. */
static uint64_t duration(const struct warm *slot, uint64_t ended) {
    uint64_t now = monotonic_us();
    return (ended > slot->since && ended <= now ? ended : now) - slot->since;
}

static void take_result(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    size_t length = (size_t)message->length;
    struct frame_reader reader = {
        .limit = pool->function.limits.response,
        .type = message->number == GATE_ERROR ? FRAME_ERROR : FRAME_RESULT,
        .announced = message->length,
        .ready = true,
        .done = true,
    };
    slot->call->duration_us = duration(slot, message->ended);
    if (length > LARGE)
        slot->large = true;
    if (length > reader.limit) {
        reader.too_large = true;
    } else {
        /* Copied before it is looked at: the keeper's side may still change it. */
        json_put_raw(&reader.payload, environment_reply(pool->environment, slot->number), length);
        if (reader.payload.failed)
            reader.broken = "more than memory holds";
    }
    warm_conclude(slot, &reader, OUTCOME_SUCCESS, 0, false);
    free(reader.payload.data);
    if (slot->call->wants_usage) {
        /* They came with the result: its process is stopped, and about to be killed. */
        warm_put_numbers(slot->call, message);
        slot->call->wants_usage = false;
    }
    warm_answer(slot);
}

static int verdict_of(const struct keeper_message *end) {
    switch (end->number) {
    case KEEPER_TIMEOUT:
        return OUTCOME_TIMEOUT;
    case KEEPER_TOO_LARGE:
        return OUTCOME_TOO_LARGE;
    case KEEPER_CANCELLED:
        return OUTCOME_CLIENT_GONE;
    case KEEPER_BROKEN:
        return OUTCOME_SERVICE;
    default:
        return OUTCOME_SUCCESS;
    }
}

static void take_end(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    if (slot->state == WARM_BUSY) {
        struct frame_reader reader = {.limit = pool->function.limits.response,
                                      .announced = message->length};
        slot->call->duration_us = duration(slot, message->ended);
        warm_conclude(slot, &reader, verdict_of(message), message->status,
                      message->number == KEEPER_OOM);
        free(reader.payload.data);
    }
    if (slot->large)
        environment_punch(pool->environment, slot->number);
    warm_leave(slot, message); /* nothing after this */
}

/* A call that is still in it was never begun (else KEEPER_END had come) and is given to another,
 * except where something in the slot broke the rules. */
static void take_retired(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    struct call *call = slot->state == WARM_BUSY ? slot->call : NULL;
    bool unproven = message->number == KEEPER_UNVERIFIED;
    bool bad = slot->state != WARM_LEAVING && (unproven || message->number == KEEPER_TRACE_DIED);
    if (call && !unproven)
        pool_requeue(pool, slot);
    slot->call = NULL;
    warm_clear(slot);
    pool_note_bad_slot(pool, bad ? message->text : NULL);
    if (call && unproven)
        pool_refuse(pool, call, OUTCOME_SERVICE, "the slot failed: %s", message->text);
    pool_dispatch(pool);
}

static void take_ready(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    if (message->number)
        pool->reused++;
    else
        pool->built++;
    warm_set_state(slot, WARM_READY);
    make_log(slot);
    warm_make_free(slot);
}

void fork_message(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    switch (message->op) {
    case KEEPER_READY:
        if (slot->state == WARM_GONE || slot->state == WARM_LEAVING) {
            take_ready(slot, message);
            return;
        }
        break;
    case KEEPER_RESULT:
        if (slot->state == WARM_BUSY) {
            take_result(slot, message);
            return;
        }
        break;
    case KEEPER_END:
        if (slot->state == WARM_BUSY || slot->state == WARM_ANSWERED) {
            take_end(slot, message);
            return;
        }
        break;
    case KEEPER_RETIRED:
        take_retired(slot, message);
        return;
    default:
        break;
    }
    pool_lose(pool, "its keeper said something that does not fit what was before");
}
