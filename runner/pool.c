#include "runner/pool_core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUEUE_LEAST 64
#define QUEUE_TIMES 4     /* of concurrency */
#define TEXTS_MOST  12288 /* bytes of client context and trace id */

/* --- the queue ----------------------------------------------------------------------------- */

void queue_add(struct call_queue *queue, struct call *call) {
    call->next = NULL;
    call->previous = queue->last;
    *(queue->last ? &queue->last->next : &queue->first) = call;
    queue->last = call;
    queue->count++;
}

void queue_put_back(struct call_queue *queue, struct call *call) {
    call->previous = NULL;
    call->next = queue->first;
    *(queue->first ? &queue->first->previous : &queue->last) = call;
    queue->first = call;
    queue->count++;
}

void queue_remove(struct call_queue *queue, struct call *call) {
    *(call->previous ? &call->previous->next : &queue->first) = call->next;
    *(call->next ? &call->next->previous : &queue->last) = call->previous;
    call->next = call->previous = NULL;
    queue->count--;
}

/* --- answers ------------------------------------------------------------------------------- */

/* What stays of a call when its owner may have freed it. */
static struct call record_of(const struct call *call) {
    struct call record = *call;
    record.event = record.context = record.trace_id = NULL;
    record.result = record.log = NULL;
    record.next = record.previous = NULL;
    record.slot = record.owner = NULL;
    return record;
}

void pool_finish(struct pool *pool, struct call *call, struct warm *slot) {
    call->finished = monotonic_us();
    call->slot = NULL;
    call->pool = NULL;
    stats_add(pool, call);
    struct call record = record_of(call);
    if (slot) {
        slot->call = NULL;
        slot->record = record;
        slot->recording = true;
    }
    void (*ended)(void *, const struct call *) = slot ? NULL : pool->events.ended;
    void *owner = pool->owner;
    call->done(call);
    if (ended)
        ended(owner, &record);
}

static void set_failure(struct call *call, int outcome, const char *text) {
    struct answer answer = {.request_id = call->request_id, .result = call->result};
    failure_set(&answer, outcome, "%s", text);
    call->outcome = answer.outcome;
    call->result = answer.result;
    call->result_length = answer.result_length;
}

void pool_refuse(struct pool *pool, struct call *call, int outcome, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    set_failure(call, outcome, text);
    pool_finish(pool, call, NULL);
}

void pool_refuse_all(struct pool *pool, int outcome, const char *format, ...) {
    /* done may submit again: those wait in a new queue. */
    struct call_queue waiting = pool->queue;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pool->queue = (struct call_queue){0};
    while (waiting.first) {
        struct call *call = waiting.first;
        queue_remove(&waiting, call);
        pool_refuse(pool, call, outcome, "%s", text);
    }
}

/* --- slots --------------------------------------------------------------------------------- */

static void unlist(struct warm *slot) {
    struct pool *pool = slot->pool;
    if (!slot->listed)
        return;
    *(slot->previous ? &slot->previous->next : &pool->free) = slot->next;
    if (slot->next)
        slot->next->previous = slot->previous;
    slot->next = slot->previous = NULL;
    slot->listed = false;
    pool->ready--;
}

static bool is_busy(int state) {
    return state == WARM_BUSY || state == WARM_ANSWERED;
}

void warm_set_state(struct warm *slot, int state) {
    struct pool *pool = slot->pool;
    pool->busy += (uint32_t)is_busy(state) - (uint32_t)is_busy(slot->state);
    pool->answered += (uint32_t)(state == WARM_ANSWERED) - (uint32_t)(slot->state == WARM_ANSWERED);
    pool->alive += (uint32_t)(state != WARM_GONE) - (uint32_t)(slot->state != WARM_GONE);
    slot->state = state;
    if (state != WARM_READY && state != WARM_NEEDY)
        unlist(slot);
}

void warm_list(struct warm *slot) {
    struct pool *pool = slot->pool;
    if (slot->listed)
        return;
    slot->previous = NULL;
    slot->next = pool->free;
    if (pool->free)
        pool->free->previous = slot;
    pool->free = slot;
    slot->listed = true;
    pool->ready++;
}

void warm_make_free(struct warm *slot) {
    struct pool *pool = slot->pool;
    warm_list(slot);
    pool_dispatch(pool);
    pool_note_ready(pool);
}

void warm_clear(struct warm *slot) {
    struct pool *pool = slot->pool;
    uint32_t number = slot->number;
    warm_set_state(slot, WARM_GONE);
    log_close(slot);
    sd_event_source_disable_unref(slot->channel_source);
    sd_event_source_disable_unref(slot->input_source);
    ends_close(&slot->ends);
    free(slot->sender.front.data);
    free(slot->reader.payload.data);
    *slot = (struct warm){.pool = pool, .number = number};
    ends_clear(&slot->ends);
}

static uint64_t timeout_of(const struct pool *pool, const struct call *call) {
    uint64_t limit = pool->function.limits.timeout_ms;
    return call->timeout_ms && call->timeout_ms < limit ? call->timeout_ms : limit;
}

void warm_take_call(struct warm *slot, struct call *call) {
    struct pool *pool = slot->pool;
    /* What a process that serves on has printed since its last call is not this one's. */
    if (slot->served && pool->function.scale.isolation == ISOLATION_ENVIRONMENT)
        log_take(slot, NULL);
    slot->call = call;
    slot->cancelled = slot->large = slot->recording = false;
    slot->verdict = OUTCOME_SUCCESS;
    slot->since = monotonic_us();
    slot->timeout_ms = timeout_of(pool, call);
    slot->deadline = slot->since + slot->timeout_ms * 1000;
    call->slot = slot;
    /* It waited for the code to be loaded. */
    bool waited =
        !slot->served && slot->load_us && call->arrived <= slot->load_began + slot->load_us;
    call->cold = waited || call->arrived <= pool->came_up;
    call->init_us = waited ? slot->load_us : call->cold ? pool->start_us : 0;
    slot->served = true;
    warm_set_state(slot, WARM_BUSY);
}

void warm_conclude(struct warm *slot, struct frame_reader *reader, int verdict, int status,
                   bool oom_killed) {
    struct pool *pool = slot->pool;
    struct call *call = slot->call;
    /* What a failed exec printed on stdout comes after what is on stderr. */
    if (!pool->plan.frames)
        log_read(slot);
    struct conclusion end = {
        .function = &pool->function,
        .frames = pool->plan.frames,
        .reader = reader,
        .logs = &slot->logs,
        .timeout_ms = slot->timeout_ms,
        .verdict = slot->cancelled ? OUTCOME_CLIENT_GONE : verdict,
        .status = status,
        .oom_killed = oom_killed,
        .answer = {.request_id = call->request_id},
    };
    conclude(&end);
    call->outcome = end.answer.outcome;
    call->result = end.answer.result;
    call->result_length = end.answer.result_length;
}

void warm_answer(struct warm *slot) {
    warm_set_state(slot, WARM_ANSWERED);
    if (slot->call->wants_usage)
        return; /* and what it prints until its end */
    log_take(slot, slot->call);
    if (slot->pool->way == KEEPER_FORK)
        log_close(slot); /* it is being killed */
    /* Nothing after this: the call's owner may do anything. */
    pool_finish(slot->pool, slot->call, slot);
}

void warm_put_numbers(struct call *call, const struct keeper_message *end) {
    call->cpu_us = end->cpu_us;
    call->peak_memory = end->peak;
    call->peak_exact = end->peak_exact != 0;
}

void warm_settle(struct warm *slot, const struct keeper_message *end) {
    struct pool *pool = slot->pool;
    struct call *call = slot->call, *of = call ? call : &slot->record;
    if (!call && !slot->recording)
        return;
    if (end) {
        warm_put_numbers(of, end);
        slot->peak = end->peak;
        uint64_t took = monotonic_us() - slot->since;
        pool->occupied_us = pool->occupied_us ? (pool->occupied_us * 7 + took) / 8 : took;
        pool->cpu_us += end->cpu_us;
    }
    if (call)
        log_take(slot, call);
    slot->call = NULL;
    slot->recording = false;
    struct call record = slot->record;
    pool_note_quiet(pool);
    if (call)
        pool_finish(pool, call, NULL); /* which tells events.ended, too */
    else if (pool->events.ended)
        pool->events.ended(pool->owner, &record);
}

void warm_leave(struct warm *slot, const struct keeper_message *end) {
    slot->deadline = 0;
    warm_set_state(slot, WARM_LEAVING);
    pool_note_success(slot->pool);
    warm_settle(slot, end);
}

/* --- from the queue to a slot -------------------------------------------------------------- */

void pool_dispatch(struct pool *pool) {
    while (pool->queue.first && pool->free && pool->environment) {
        struct call *call = pool->queue.first;
        struct warm *slot = pool->free;
        queue_remove(&pool->queue, call);
        unlist(slot);
        if (pool->way == KEEPER_FORK)
            fork_begin(slot, call);
        else
            ahead_begin(slot, call);
    }
}

void pool_requeue(struct pool *pool, struct warm *slot) {
    struct call *call = slot->call;
    slot->call = NULL;
    call->slot = NULL;
    if (slot->cancelled)
        pool_refuse(pool, call, OUTCOME_CLIENT_GONE, "RequestId: %s Error: the client went away",
                    call->request_id);
    else
        queue_put_back(&pool->queue, call);
}

static uint32_t queue_most(const struct pool *pool) {
    uint64_t most = pool->function.scale.concurrency * QUEUE_TIMES;
    return most < QUEUE_LEAST ? QUEUE_LEAST : (uint32_t)most;
}

int pool_submit(struct pool *pool, struct call *call) {
    uint64_t now = monotonic_us();
    size_t texts =
        (call->context ? strlen(call->context) : 0) + (call->trace_id ? strlen(call->trace_id) : 0);
    if (pool->draining || pool->pools->killed)
        return -ESHUTDOWN;
    if (call->event_length > pool->function.limits.event || texts > TEXTS_MOST)
        return -E2BIG;
    if (!pool->free && pool_is_broken(pool, now))
        return -EHOSTDOWN;
    if (pool->queue.count >= queue_most(pool)) {
        pool->throttled++;
        return -EBUSY;
    }
    call->pool = pool;
    call->slot = NULL;
    call->arrived = now;
    call->result = call->log = NULL;
    call->result_length = call->log_length = 0;
    call->outcome = OUTCOME_SERVICE;
    call->cold = call->log_truncated = call->peak_exact = false;
    call->init_us = call->duration_us = call->cpu_us = call->peak_memory = 0;
    queue_add(&pool->queue, call);
    pool_note_arrival(pool, now);
    if (pool->free)
        pool_dispatch(pool);
    else
        pool_arm(pool, pool->environment ? now + timeout_of(pool, call) * 1000 : now);
    pool_balance(pool, false);
    return 0;
}

void pool_cancel(struct call *call) {
    struct pool *pool = call->pool;
    struct warm *slot = call->slot;
    if (!pool)
        return;
    if (!slot) {
        queue_remove(&pool->queue, call);
        call->event = call->context = call->trace_id = NULL;
        pool_refuse(pool, call, OUTCOME_CLIENT_GONE, "RequestId: %s Error: the client went away",
                    call->request_id);
        return;
    }
    call->event = call->context = call->trace_id = NULL;
    if (slot->cancelled || slot->state != WARM_BUSY)
        return; /* its answer is known, and its end near */
    slot->cancelled = true;
    ahead_forget_event(slot);
    /* Where the program is only being started, ahead_message does it. */
    if (pool->way == KEEPER_AHEAD && !slot->started)
        return;
    struct keeper_message message = {.op = KEEPER_CANCEL, .slot = slot->number};
    uint64_t now = monotonic_us();
    if (now < slot->deadline)
        slot->deadline = now;
    environment_send(pool->environment, &message, NULL, 0);
    pool_arm(pool, slot->deadline + pool_times.slack);
}

/* --- made, drained ------------------------------------------------------------------------- */

struct pool *pool_new(struct pools *pools, const struct function *function, const char *digest,
                      const struct pool_events *events, void *owner) {
    struct pool *pool = calloc(1, sizeof *pool);
    char *name = strdup(function->name);
    if (!pool || !name) {
        free(pool);
        free(name);
        return NULL;
    }
    int r = environment_plan_make(&pool->plan, function, digest, &pool->plan_error);
    pool->plan_error.code = r < 0 ? r : 0;
    pool->pools = pools;
    pool->function = (struct function){
        .name = name,
        .runtime = function->runtime,
        .output = function->output,
        .network = function->network,
        .limits = function->limits,
        .scale = function->scale,
    };
    pool->function.scale.warmup = NULL;
    if (events)
        pool->events = *events;
    pool->owner = owner;
    pool->armed = POOL_NEVER;
    pool->backoff_us = pool_times.backoff_first;
    pool->next = pools->first;
    pools->first = pool;
    return pool;
}

void pool_start(struct pool *pool,
                void (*started)(void *owner, int outcome, const char *error, size_t error_length,
                                const char *log, size_t log_length),
                void *owner) {
    pool->started = started;
    pool->started_owner = owner;
    pool->active = true;
    pool_arm(pool, monotonic_us());
}

void pool_drain(struct pool *pool, void (*drained)(void *owner), void *owner) {
    pool->draining = true;
    pool->drained = drained;
    pool->drained_owner = owner;
    pool_arm(pool, monotonic_us());
}
