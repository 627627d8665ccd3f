/* A pool's clock: one timer, set to the next moment at which something has to be looked at; it may
 * fire too early, and then is set anew. What is waited for costs no system call on the way of a
 * call: most of the time the timer stands earlier already. */
#include "runner/pool_core.h"

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Those that waited too long leave the queue. Returns when the next one will have. */
static uint64_t expire(struct pool *pool, uint64_t now, struct call_queue *expired) {
    const struct function_limits *limits = &pool->function.limits;
    uint64_t next = POOL_NEVER;
    for (struct call *call = pool->queue.first, *after; call; call = after) {
        after = call->next;
        uint64_t wait = call->timeout_ms && call->timeout_ms < limits->timeout_ms
                            ? call->timeout_ms
                            : limits->timeout_ms;
        uint64_t from = call->arrived > pool->came_up ? call->arrived : pool->came_up;
        if (pool->environment && !pool->up)
            continue; /* its loading has a limit of its own */
        if (!pool->waits_for_room &&
            (!pool->up || (pool->way == KEEPER_AHEAD && pool->plan.frames)))
            wait += limits->init_ms;
        if (from + wait * 1000 > now) {
            next = earlier(next, from + wait * 1000);
            continue;
        }
        queue_remove(&pool->queue, call);
        queue_add(expired, call);
    }
    return next;
}

static void refuse_expired(struct pool *pool, struct call_queue *expired) {
    while (expired->first) {
        struct call *call = expired->first;
        queue_remove(expired, call);
        if (pool->failures && !pool->up)
            pool_refuse(pool, call, OUTCOME_SERVICE, "the environment of %s does not start: %s",
                        pool->function.name, pool->broken);
        else
            pool_refuse(
                pool, call, OUTCOME_THROTTLED,
                "no slot of %s was free in the time that the call has: all %llu are in use, "
                "or there is no memory for more",
                pool->function.name, (unsigned long long)pool->function.scale.concurrency);
    }
}

/* False: a keeper that does not keep its deadlines. */
static bool look_at_slots(struct pool *pool, uint64_t now, uint64_t *next) {
    for (uint32_t i = 0; pool->slots && i < pool->plan.make.slots; i++) {
        struct warm *slot = &pool->slots[i];
        if (slot->state == WARM_GONE)
            continue;
        if (slot->deadline) {
            if (now >= slot->deadline + pool_times.slack)
                return false;
            *next = earlier(*next, slot->deadline + pool_times.slack);
        }
        if (slot->state == WARM_NEEDY && !ahead_on_demand(pool)) {
            if (now >= pool->retry_at)
                ahead_load(slot);
            else
                *next = earlier(*next, pool->retry_at);
        }
        if (slot->ends.log >= 0 &&
            (slot->state == WARM_BUSY || slot->state == WARM_LOADING || slot->log_resumes))
            log_watch(slot);
    }
    return true;
}

static uint64_t roll_window(struct pool *pool, uint64_t now) {
    if (now >= pool->window_ends) {
        pool->peak_before = pool->peak_now;
        pool->peak_now = 0;
        pool->window_ends = now + pool_times.window;
        pool_balance(pool, true);
    }
    /* Where nothing can become less there is nothing to look at. */
    return pool->wanted > pool_needed(pool, now) || pool->peak_before > pool_needed(pool, now)
               ? pool->window_ends
               : POOL_NEVER;
}

/* While there is an environment. Returns when to look again. */
static uint64_t look_at_environment(struct pool *pool, uint64_t now) {
    const struct function_scale *scale = &pool->function.scale;
    uint64_t next = POOL_NEVER;
    if (pool->log_resumes) {
        log_read_zygote(pool);
        next = earlier(next, pool->log_resumes ? pool->log_resumes : POOL_NEVER);
    }
    if (!pool->up) {
        uint64_t latest = pool->began + pool->function.limits.init_ms * 1000 + pool_times.start;
        if (now < latest)
            return earlier(next, latest);
        pool_lose(pool, "it did not come up in time");
        return POOL_NEVER;
    }
    if (!look_at_slots(pool, now, &next)) {
        pool_lose(pool, "its keeper did not end a call at its deadline");
        return POOL_NEVER;
    }
    if (pool->draining || (scale->provisioned == 0 && pool_is_idle(pool))) {
        uint64_t rest = pool->draining ? now : pool->idle_since + scale->keep_alive_ms * 1000;
        if (pool_is_idle(pool) && now >= rest && !pool->started) {
            pool_rest(pool);
            return POOL_NEVER;
        }
        if (!pool->draining)
            next = earlier(next, rest);
    }
    return earlier(next, roll_window(pool, now));
}

/* True: it is freed. */
static bool end_drained(struct pool *pool) {
    void (*drained)(void *) = pool->drained;
    void *owner = pool->drained_owner;
    if (!pool->draining || pool->environment || pool->leaving || !pool_is_idle(pool))
        return false;
    pool_free(pool);
    if (drained)
        drained(owner);
    return true;
}

static int tick(sd_event_source *source, uint64_t usec, void *data) {
    struct pool *pool = data;
    struct call_queue expired = {0};
    (void)source;
    (void)usec;
    pool->armed = POOL_NEVER;
    uint64_t now = monotonic_us();
    uint64_t next = expire(pool, now, &expired);
    refuse_expired(pool, &expired);
    if (pool->draining)
        pool_tell_refused(pool, OUTCOME_SERVICE, "it is being removed");
    if (pool->environment && pool->served)
        pool_tell_started(pool, OUTCOME_SUCCESS, NULL, 0, NULL, 0);
    if (pool->environment)
        next = earlier(next, look_at_environment(pool, now));
    bool kept = pool->function.scale.provisioned && pool->active && !pool->draining;
    if (!pool->environment && (pool->queue.count || pool->started || kept))
        pool_wake(pool);
    if (end_drained(pool))
        return 0;
    if (next != POOL_NEVER)
        pool_arm(pool, next);
    return 0;
}

void pool_arm(struct pool *pool, uint64_t at) {
    if (at >= pool->armed)
        return;
    if (!pool->timer &&
        sd_event_add_time(pool->pools->loop, &pool->timer, CLOCK_MONOTONIC, at, 1, tick, pool) < 0)
        return;
    pool->armed = at;
    sd_event_source_set_time(pool->timer, at);
    sd_event_source_set_enabled(pool->timer, SD_EVENT_ONESHOT);
}
