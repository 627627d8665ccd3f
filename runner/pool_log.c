/* What functions print. Each event has a pipe of its own, read from time to time: a small log is
 * read once, with the answer; only events that take longer are watched. A flood is read slowly,
 * beyond its limit to be dropped: that function waits, nobody else. */
#include "runner/pool_core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "isolate/cleanup.h"

#define PAUSE_US 5000
#define QUIET_US 5000 /* an event that has ended by then is not watched at all */

static void tell(struct pool *pool, const char *request_id, const struct logs *logs, size_t *told,
                 bool *told_truncated) {
    static const char mark[] = "[truncated]\n";
    if (pool->events.log && logs->kept.length > *told)
        pool->events.log(pool->owner, request_id, logs->kept.data + *told,
                         logs->kept.length - *told);
    *told = logs->kept.length;
    if (logs->truncated && !*told_truncated && pool->events.log) {
        if (*told && logs->kept.data[*told - 1] != '\n')
            pool->events.log(pool->owner, request_id, "\n", 1);
        pool->events.log(pool->owner, request_id, mark, sizeof mark - 1);
    }
    *told_truncated = logs->truncated;
}

/* --- of a slot ----------------------------------------------------------------------------- */

static void tell_slot(struct warm *slot) {
    const char *id = slot->call        ? slot->call->request_id
                     : slot->recording ? slot->record.request_id
                                       : NULL;
    tell(slot->pool, id, &slot->logs, &slot->told, &slot->told_truncated);
}

void log_read(struct warm *slot) {
    if (slot->ends.log < 0)
        return;
    slot->logs.limit = slot->pool->function.limits.logs;
    if (logs_receive(&slot->logs, slot->ends.log) == 0) {
        slot->log_source = sd_event_source_disable_unref(slot->log_source);
        cleanup_close(&slot->ends.log);
    }
    tell_slot(slot);
}

static int readable(sd_event_source *source, int fd, uint32_t revents, void *data) {
    struct warm *slot = data;
    (void)fd;
    (void)revents;
    log_read(slot);
    if (slot->log_source && slot->logs.truncated) {
        sd_event_source_set_enabled(source, SD_EVENT_OFF);
        slot->log_resumes = monotonic_us() + PAUSE_US;
        pool_arm(slot->pool, slot->log_resumes);
    }
    return 0;
}

void log_watch(struct warm *slot) {
    uint64_t now = monotonic_us();
    if (slot->ends.log < 0)
        return;
    if (slot->log_resumes) {
        if (now < slot->log_resumes) {
            pool_arm(slot->pool, slot->log_resumes);
        } else {
            slot->log_resumes = 0;
            sd_event_source_set_enabled(slot->log_source, SD_EVENT_ON);
        }
    } else if (!slot->log_source) {
        if (now < slot->since + QUIET_US)
            pool_arm(slot->pool, slot->since + QUIET_US);
        else if (sd_event_add_io(slot->pool->pools->loop, &slot->log_source, slot->ends.log,
                                 EPOLLIN, readable, slot) < 0)
            slot->log_source = NULL; /* it is read with the answer */
    }
}

static void start_anew(struct warm *slot) {
    free(slot->logs.kept.data);
    slot->logs = (struct logs){.limit = slot->pool->function.limits.logs};
    slot->told = 0;
    slot->told_truncated = false;
}

void log_take(struct warm *slot, struct call *call) {
    log_read(slot);
    tell_slot(slot);
    if (call) {
        logs_close(&slot->logs);
        call->log = TAKE_PTR(slot->logs.kept.data);
        call->log_length = slot->logs.kept.length;
        call->log_truncated = slot->logs.truncated;
    }
    start_anew(slot);
}

void log_close(struct warm *slot) {
    slot->log_source = sd_event_source_disable_unref(slot->log_source);
    slot->log_resumes = 0;
    cleanup_close(&slot->ends.log);
    start_anew(slot);
}

/* --- of the zygote ------------------------------------------------------------------------- */

void log_read_zygote(struct pool *pool) {
    int fd = environment_log(pool->environment);
    uint64_t now = monotonic_us();
    if (fd < 0 || (pool->log_resumes && now < pool->log_resumes))
        return;
    pool->log_resumes = 0;
    environment_watch_log(pool->environment, true);
    pool->log.limit = pool->function.limits.logs;
    int r = logs_receive(&pool->log, fd);
    tell(pool, NULL, &pool->log, &pool->log_told, &pool->log_told_truncated);
    if (r == 0) {
        environment_watch_log(pool->environment, false);
    } else if (pool->log.truncated) {
        environment_watch_log(pool->environment, false);
        pool->log_resumes = now + PAUSE_US;
        pool_arm(pool, pool->log_resumes);
    }
}

void log_drop_zygote(struct pool *pool) {
    free(pool->log.kept.data);
    pool->log = (struct logs){0};
    pool->log_told = 0;
    pool->log_told_truncated = false;
}
