/* How many slots a pool's keeper is asked to hold: those in use and one more, what the recent rate
 * of calls keeps occupied, what is provisioned; the most of it in the last two windows. */
#include "runner/pool_core.h"

#define BUILD_AT_ONCE 8 /* slots under construction */
#define ARRIVALS      8 /* before their rate means something */

void pool_note_arrival(struct pool *pool, uint64_t now) {
    if (pool->last_arrival) {
        uint64_t gap = now - pool->last_arrival;
        pool->gap_us = pool->gap_us ? (pool->gap_us * 7 + gap) / 8 : gap;
    }
    pool->last_arrival = now;
    pool->active = true;
    if (pool->arrivals < ARRIVALS)
        pool->arrivals++;
}

/* Little's law: how many are occupied at once is the rate times how long each is. */
static uint64_t load(const struct pool *pool, uint64_t now) {
    uint64_t gap = pool->gap_us;
    if (pool->arrivals < ARRIVALS || !pool->occupied_us)
        return 0;
    if (now - pool->last_arrival > gap)
        gap = now - pool->last_arrival;
    return gap ? (pool->occupied_us + gap - 1) / gap : pool->function.scale.concurrency;
}

uint32_t pool_needed(const struct pool *pool, uint64_t now) {
    const struct function_scale *scale = &pool->function.scale;
    /* What is answered is being killed and cleaned: work for the cores, of which more slots do
     * not make more. */
    uint32_t cores = pool->pools->cores;
    uint64_t count = (uint64_t)pool->busy - pool->answered + pool->queue.count;
    count += pool->answered < cores ? pool->answered : cores;
    if (load(pool, now) > count)
        count = load(pool, now);
    if (!pool->draining)
        count++; /* one is always ready */
    if (count < scale->provisioned && !pool->draining)
        count = scale->provisioned;
    return count < scale->concurrency ? (uint32_t)count : (uint32_t)scale->concurrency;
}

void pool_balance(struct pool *pool, bool may_shrink) {
    uint64_t now = monotonic_us();
    if (!pool->up || !pool->environment)
        return;
    uint32_t count = pool_needed(pool, now);
    if (count > pool->peak_now)
        pool->peak_now = count;
    count = pool->peak_now > pool->peak_before ? pool->peak_now : pool->peak_before;
    /* A few at a time: what is being built takes the machine from what runs. */
    if (count > pool->alive + BUILD_AT_ONCE)
        count = pool->alive + BUILD_AT_ONCE;
    if (count == pool->wanted || (count < pool->wanted && !may_shrink))
        return;
    struct keeper_message message = {.op = KEEPER_WANT, .number = count};
    pool->wanted = count;
    environment_send(pool->environment, &message, NULL, 0);
}
