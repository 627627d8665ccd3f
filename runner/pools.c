/* All pools of the daemon: the launcher they share, and the memory that their environments may
 * take together. */
#include "runner/pool_core.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "runner/launcher_client.h"

static void launcher_is_lost(void *owner) {
    struct pools *pools = owner;
    pools_kill(pools);
    pools->lost(pools->owner);
}

struct pools *pools_new(struct sd_event *loop, int launcher, uint64_t budget,
                        void (*lost)(void *owner), void *owner, struct error *err) {
    struct pools *pools = calloc(1, sizeof *pools);
    if (!pools) {
        close(launcher);
        error_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    *pools = (struct pools){.loop = loop, .budget = budget, .lost = lost, .owner = owner};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    pools->cores = cores > 0 ? (uint32_t)cores : 1;
    pools->client = launcher_client_new(loop, launcher, launcher_is_lost, pools, err);
    if (!pools->client) {
        free(pools);
        return NULL;
    }
    return pools;
}

void pools_free(struct pools *pools) {
    if (!pools)
        return;
    while (pools->first)
        pool_free(pools->first);
    launcher_client_free(pools->client);
    free(pools);
}

void pools_kill(struct pools *pools) {
    pools->killed = true;
    /* A pool is freed by its timer alone, so that the list stays whole. */
    for (struct pool *pool = pools->first; pool; pool = pool->next)
        pool_lose(pool, "the daemon is stopping");
}

/* --- memory -------------------------------------------------------------------------------- */

/* One that needs more than there is runs alone. */
static uint64_t cost(const struct pools *pools, const struct pool *pool) {
    uint64_t bytes = pool->function.limits.memory * pool->function.scale.concurrency;
    return bytes < pools->budget ? bytes : pools->budget;
}

static bool may_go(const struct pool *pool) {
    return pool->charged && pool->environment && pool->up && pool_is_idle(pool) && !pool->started &&
           pool->function.scale.provisioned == 0;
}

/* The longest idle in units of what it costs to have it again. */
static struct pool *least_valuable(const struct pools *pools, uint64_t now) {
    struct pool *found = NULL;
    double worst = -1;
    for (struct pool *pool = pools->first; pool; pool = pool->next) {
        if (!may_go(pool))
            continue;
        double idle = (double)(now - pool->idle_since) / (double)(pool->start_us + 1);
        if (idle > worst) {
            worst = idle;
            found = pool;
        }
    }
    return found;
}

bool pools_charge(struct pools *pools, struct pool *pool) {
    uint64_t bytes = cost(pools, pool), idle = 0;
    uint64_t now = monotonic_us();
    if (!pools->budget || pool->charged)
        return true;
    for (const struct pool *other = pools->first; other; other = other->next)
        idle += may_go(other) ? cost(pools, other) : 0;
    /* None is ended in vain. */
    if (pools->used + bytes > pools->budget + idle)
        return false;
    uint64_t leaving = 0;
    while (pools->used - leaving + bytes > pools->budget) {
        struct pool *victim = least_valuable(pools, now);
        uint64_t before = pools->used;
        if (!victim)
            break;
        pool_rest(victim);
        /* Its memory is free once everything of it is removed. */
        if (pools->used == before)
            leaving += cost(pools, victim);
    }
    if (pools->used + bytes > pools->budget)
        return false;
    pools->used += bytes;
    pool->charged = true;
    return true;
}

void pools_release(struct pools *pools, struct pool *pool) {
    if (!pool->charged)
        return;
    pool->charged = false;
    pools->used -= cost(pools, pool);
    pools_room(pools);
}

void pools_room(struct pools *pools) {
    if (!pools->budget)
        return;
    for (struct pool *pool = pools->first; pool; pool = pool->next)
        if (pool->waits_for_room)
            pool_arm(pool, monotonic_us());
}
