#include <stdlib.h>
#include <string.h>

#include "runner/pool_core.h"

void stats_add(struct pool *pool, const struct call *call) {
    pool->calls++;
    pool->cold += call->cold;
    if (call->outcome == OUTCOME_THROTTLED)
        pool->throttled++;
    else if (call->outcome != OUTCOME_SUCCESS && call->outcome != OUTCOME_CLIENT_GONE)
        pool->errors++;
    if (!call->duration_us)
        return;
    if (!pool->durations)
        pool->durations = calloc(POOL_DURATIONS, sizeof *pool->durations);
    if (pool->durations)
        pool->durations[pool->durations_count++ % POOL_DURATIONS] =
            call->duration_us < UINT32_MAX ? (uint32_t)call->duration_us : UINT32_MAX;
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void read_durations(const struct pool *pool, struct pool_stats *stats) {
    uint32_t sorted[POOL_DURATIONS];
    size_t count =
        pool->durations_count < POOL_DURATIONS ? (size_t)pool->durations_count : POOL_DURATIONS;
    if (!count || !pool->durations)
        return;
    memcpy(sorted, pool->durations, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare);
    stats->p50_us = sorted[(count - 1) / 2];
    stats->p99_us = sorted[(count - 1) * 99 / 100];
}

void pool_read_stats(const struct pool *pool, struct pool_stats *stats) {
    *stats = (struct pool_stats){
        .up = pool->up,
        .way = pool->way,
        .ready = pool->ready,
        .busy = pool->busy,
        .queued = pool->queue.count,
        .slots = pool->alive,
        .built = pool->built,
        .reused = pool->reused,
        .calls = pool->calls,
        .errors = pool->errors,
        .throttled = pool->throttled,
        .cold = pool->cold,
        .cpu_us = pool->cpu_us,
    };
    memcpy(stats->why, pool->why, sizeof stats->why);
    memcpy(stats->broken, pool->broken, sizeof stats->broken);
    memcpy(stats->retired, pool->retired, sizeof stats->retired);
    for (uint32_t i = 0; pool->slots && i < pool->plan.make.slots; i++)
        stats->memory += pool->slots[i].peak;
    read_durations(pool, stats);
}
