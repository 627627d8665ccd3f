/* The life of a pool's environment: started, up, failed, ended. */
#include "runner/pool_core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BROKEN_AFTER 3        /* failures in a row */
#define BAD_SLOTS    5        /* in a row that were not to be had */
#define LONG_LIFE_US 60000000 /* an environment that lived as long has not failed to start */

struct pool_times pool_times = {
    .backoff_first = 100000,
    .backoff_most = 10000000,
    .slack = 1100000,
    .window = 10000000,
    .start = 15000000,
};

/* --- failing ------------------------------------------------------------------------------- */

bool pool_is_broken(const struct pool *pool, uint64_t now) {
    return pool->failures >= BROKEN_AFTER && now < pool->retry_at;
}

void pool_note_failure(struct pool *pool, const char *text, const struct logs *log) {
    size_t used = (size_t)snprintf(pool->broken, sizeof pool->broken, "%.300s", text);
    if (log && log->kept.length && used < sizeof pool->broken - 32) {
        used += (size_t)snprintf(pool->broken + used, sizeof pool->broken - used, ". Last log: ");
        size_t room = sizeof pool->broken - used - 1, length = log->kept.length;
        size_t skipped = length > room ? length - room : 0;
        memcpy(pool->broken + used, log->kept.data + skipped, length - skipped);
        used += length - skipped;
        pool->broken[used] = 0;
    }
    for (char *at = pool->broken; *at; at++)
        if ((unsigned char)*at < ' ')
            *at = ' ';
    pool->failures++;
    pool->retry_at = monotonic_us() + pool->backoff_us;
    pool->backoff_us *= 2;
    if (pool->backoff_us > pool_times.backoff_most)
        pool->backoff_us = pool_times.backoff_most;
    pool_arm(pool, pool->retry_at);
}

void pool_note_bad_slot(struct pool *pool, const char *text) {
    if (!text || ++pool->bad_slots < BAD_SLOTS || !pool->environment)
        return;
    pool->bad_slots = 0;
    pool_lose(pool, text);
}

void pool_note_success(struct pool *pool) {
    pool->bad_slots = 0;
    pool->failures = 0;
    pool->failed_loading = false;
    pool->backoff_us = pool_times.backoff_first;
    pool->retry_at = 0;
    pool->broken[0] = 0;
}

void pool_note_ready(struct pool *pool) {
    if (!pool->environment)
        return;
    if (pool->failed_loading)
        pool_note_success(pool);
    if (!pool->served)
        log_drop_zygote(pool);
    pool->served = true;
    pool_balance(pool, false);
    if (!pool->started)
        return;
    pool_tell_started(pool, OUTCOME_SUCCESS, NULL, 0, NULL, 0);
    pools_room(pool->pools); /* it may go now, where others need its memory */
}

void pool_tell_started(struct pool *pool, int outcome, const char *error, size_t error_length,
                       const char *log, size_t log_length) {
    void (*started)(void *, int, const char *, size_t, const char *, size_t) = pool->started;
    pool->started = NULL;
    if (started)
        started(pool->started_owner, outcome, error, error_length, log, log_length);
}

void pool_tell_refused(struct pool *pool, int outcome, const char *text) {
    char id[REQUEST_ID_SIZE];
    struct answer answer = {.request_id = id};
    struct logs log = {.limit = pool->log.limit};
    if (!pool->started)
        return;
    request_id_make(id);
    failure_set(&answer, outcome, "%s", text);
    json_put_raw(&log.kept, pool->log.kept.data, pool->log.kept.length);
    log.truncated = pool->log.truncated;
    logs_close(&log);
    pool_tell_started(pool, outcome, answer.result, answer.result_length, log.kept.data,
                      log.kept.length);
    free(answer.result);
    free(log.kept.data);
}

/* --- its end ------------------------------------------------------------------------------- */

static void environment_is_gone(void *owner);

static void free_slots(struct pool *pool) {
    for (uint32_t i = 0; pool->slots && i < pool->plan.make.slots; i++)
        warm_clear(&pool->slots[i]);
    free(pool->slots);
    pool->slots = NULL;
}

/* Its calls must have been taken out of its slots. */
static void end_environment(struct pool *pool) {
    struct environment *environment = pool->environment;
    if (!environment)
        return;
    pool->environment = NULL;
    pool->up = pool->served = false;
    pool->wanted = pool->peak_now = pool->peak_before = 0;
    pool->log_resumes = 0;
    free_slots(pool);
    if (environment_end(environment))
        pools_release(pool->pools, pool);
    else
        pool->leaving = environment;
    pool_arm(pool, monotonic_us());
}

static void environment_is_gone(void *owner) {
    struct pool *pool = owner;
    pool->leaving = NULL;
    pools_release(pool->pools, pool);
    pool_arm(pool, monotonic_us());
}

void pool_rest(struct pool *pool) {
    end_environment(pool);
    log_drop_zygote(pool);
}

bool pool_is_idle(const struct pool *pool) {
    return pool->busy == 0 && pool->queue.count == 0;
}

void pool_note_quiet(struct pool *pool) {
    if (!pool_is_idle(pool))
        return;
    pool->idle_since = monotonic_us();
    if (pool->draining)
        pool_arm(pool, pool->idle_since);
    else if (pool->environment)
        pool_arm(pool, pool->idle_since + pool->function.scale.keep_alive_ms * 1000);
    pools_room(pool->pools);
}

/* Those in flight, out of their slots. What is known already is told as it is. */
static void collect_calls(struct pool *pool, struct call_queue *calls, const char *why) {
    for (uint32_t i = 0; pool->slots && i < pool->plan.make.slots; i++) {
        struct warm *slot = &pool->slots[i];
        struct call *call = slot->call;
        if (!call)
            continue;
        if (slot->state == WARM_BUSY) {
            struct answer answer = {.request_id = call->request_id};
            int outcome = slot->cancelled ? OUTCOME_CLIENT_GONE : OUTCOME_SERVICE;
            failure_set(&answer, outcome, "the environment of %s ended: %s", pool->function.name,
                        why);
            call->outcome = outcome;
            call->result = answer.result;
            call->result_length = answer.result_length;
            call->duration_us = monotonic_us() - slot->since;
        }
        log_take(slot, call);
        slot->call = NULL;
        queue_add(calls, call);
    }
}

/* Usage records whose numbers will not come any more. */
static void tell_records(struct pool *pool) {
    for (uint32_t i = 0; pool->slots && i < pool->plan.make.slots; i++)
        if (pool->slots[i].recording)
            warm_settle(&pool->slots[i], NULL);
}

static void finish_calls(struct pool *pool, struct call_queue *calls) {
    while (calls->first) {
        struct call *call = calls->first;
        queue_remove(calls, call);
        pool_finish(pool, call, NULL);
    }
}

static void take_down(struct pool *pool, struct call_queue *calls, const char *why) {
    if (!pool->environment)
        return;
    log_read_zygote(pool);
    collect_calls(pool, calls, why);
    tell_records(pool);
    end_environment(pool);
}

void pool_lose(struct pool *pool, const char *why) {
    struct call_queue calls = {0};
    char text[KEEPER_TEXT];
    snprintf(text, sizeof text, "%s", why); /* why may be of what ends here */
    if (pool->came_up && monotonic_us() - pool->came_up > LONG_LIFE_US)
        pool_note_success(pool);
    take_down(pool, &calls, text);
    pool_note_failure(pool, text, &pool->log);
    finish_calls(pool, &calls);
    pool_tell_refused(pool, OUTCOME_SERVICE, text);
    if (pool->pools->killed || pool->failures >= BROKEN_AFTER)
        pool_refuse_all(pool, OUTCOME_SERVICE, "the environment of %s ended: %s",
                        pool->function.name, text);
    log_drop_zygote(pool);
}

/* The code could not be loaded. */
static void fail(struct pool *pool, const struct keeper_message *message) {
    struct frame_reader reader = {.limit = pool->function.limits.response};
    struct call_queue calls = {0};
    struct load_failure failure = {
        .reader = &reader,
        .log = &pool->log,
        .verdict = message->number == KEEPER_TIMEOUT ? OUTCOME_INIT_TIMEOUT : OUTCOME_SUCCESS,
        .status = message->status < 0 ? 0 : message->status,
        .oom_killed = message->number == KEEPER_OOM,
    };
    if (message->number == KEEPER_ANSWERED) {
        json_put_raw(&reader.payload, environment_reply(pool->environment, 0),
                     (size_t)message->length);
        reader.type = FRAME_ERROR;
        reader.announced = message->length;
        reader.done = true;
    }
    take_down(pool, &calls, "its code could not be loaded");
    finish_calls(pool, &calls); /* none: no slot was ready */
    pool_load_failed(pool, &failure, UINT32_MAX);
    free(reader.payload.data);
    log_drop_zygote(pool);
}

/* --- what it says -------------------------------------------------------------------------- */

static void come_up(struct pool *pool, const struct keeper_message *message) {
    pool->slots = calloc(pool->plan.make.slots, sizeof *pool->slots);
    if (!pool->slots) {
        pool_lose(pool, "out of memory");
        return;
    }
    for (uint32_t i = 0; i < pool->plan.make.slots; i++) {
        pool->slots[i] = (struct warm){.pool = pool, .number = i};
        ends_clear(&pool->slots[i].ends);
    }
    pool->up = true;
    pool->way = (int)message->number;
    memcpy(pool->why, message->text, sizeof pool->why);
    pool->came_up = pool->idle_since = monotonic_us();
    pool->start_us = pool->came_up - pool->began;
    pool->window_ends = pool->came_up + pool_times.window;
    pool_balance(pool, false);
    pool_arm(pool, pool->came_up);
}

static void take_message(void *owner, const struct keeper_message *message) {
    struct pool *pool = owner;
    if (message->op == KEEPER_FAILED && !pool->up) {
        fail(pool, message);
    } else if (message->op == KEEPER_UP && !pool->up) {
        come_up(pool, message);
    } else if (message->op == KEEPER_UP || message->op == KEEPER_FAILED || !pool->up) {
        pool_lose(pool, "its keeper said something that does not fit what was before");
    } else {
        if (message->op == KEEPER_RETIRED && message->number < KEEPER_TRACES)
            pool->retired[message->number]++;
        if (pool->way == KEEPER_FORK)
            fork_message(&pool->slots[message->slot], message);
        else
            ahead_message(&pool->slots[message->slot], message);
    }
}

static void take_log(void *owner) {
    log_read_zygote(owner);
}

static void is_lost(void *owner, const char *why) {
    pool_lose(owner, why);
}

/* --- its start ----------------------------------------------------------------------------- */

static void refuse_plan(struct pool *pool) {
    int code = pool->plan_error.code;
    int outcome = code == -EINVAL || code == -E2BIG ? OUTCOME_BAD_FUNCTION : OUTCOME_SERVICE;
    pool_tell_refused(pool, outcome, pool->plan_error.message);
    pool_refuse_all(pool, outcome, "%s", pool->plan_error.message);
}

void pool_wake(struct pool *pool) {
    static const struct environment_events events = {
        .message = take_message, .log = take_log, .lost = is_lost, .gone = environment_is_gone};
    struct error err = {0};
    uint64_t now = monotonic_us();
    if (pool->environment || pool->leaving || pool->pools->killed)
        return;
    if (pool->plan_error.code < 0) {
        refuse_plan(pool);
        return;
    }
    if (now < pool->retry_at) {
        pool_arm(pool, pool->retry_at);
        return;
    }
    pool->waits_for_room = !pools_charge(pool->pools, pool);
    if (pool->waits_for_room)
        return;
    pool->began = pool->idle_since = now;
    pool->came_up = 0;
    log_drop_zygote(pool);
    pool->environment =
        environment_start(pool->pools->client, pool->pools->loop, &pool->plan, &events, pool, &err);
    if (!pool->environment) {
        pools_release(pool->pools, pool);
        pool_lose(pool, err.message);
    }
}

/* --- freed ---------------------------------------------------------------------------------- */

void pool_free(struct pool *pool) {
    struct pool **at = &pool->pools->first;
    while (*at != pool)
        at = &(*at)->next;
    *at = pool->next;
    sd_event_source_disable_unref(pool->timer);
    for (uint32_t i = 0; pool->slots && i < pool->plan.make.slots; i++)
        pool->slots[i].call = NULL;
    free_slots(pool);
    if (pool->environment)
        environment_drop(pool->environment);
    if (pool->leaving)
        environment_drop(pool->leaving);
    pools_release(pool->pools, pool);
    log_drop_zygote(pool);
    environment_plan_free(&pool->plan);
    free(pool->function.name);
    free(pool->durations);
    free(pool);
}
