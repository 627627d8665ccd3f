#include "runner/usage.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "runner/outcome.h"
#include "runner/state_db.h"

#define NICENESS       10
#define FORGET_AT_ONCE "10000" /* rows of one transaction */

struct record {
    char request[REQUEST_ID_SIZE], function[65];
    bool cold, exact;
    int outcome;
    int64_t time; /* Unix ms */
    uint64_t version, init_us, duration_us, cpu_us, peak, in, out;
};

struct batch {
    struct record *records;
    size_t count, capacity;
    uint64_t dropped;
};

struct usage {
    struct batch queue; /* the daemon's thread alone */

    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    bool busy, stop;
    struct batch batch; /* the thread's while it is busy; kept when it could not be written */
    int64_t forget;     /* before this time; 0: nothing to do */
    struct error failed;

    sqlite3 *db; /* the thread's */
    sqlite3_stmt *insert, *drop;
};

/* --- writing: the thread ------------------------------------------------------------------ */

static int write_record(struct usage *usage, const struct record *record, struct error *err) {
    sqlite3_stmt *insert = usage->insert;
    const char *outcome = record->outcome >= 0 && record->outcome < OUTCOME_COUNT
                              ? outcome_name(record->outcome)
                              : NULL;
    const int64_t numbers[] = {
        record->cold,
        (int64_t)record->init_us,
        (int64_t)record->duration_us,
        (int64_t)record->cpu_us,
        (int64_t)record->peak,
        record->exact,
        (int64_t)record->in,
        (int64_t)record->out,
    };
    int column = 1;
    sqlite3_bind_int64(insert, column++, record->time);
    sqlite3_bind_text(insert, column++, record->request, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, column++, record->function, -1, SQLITE_STATIC);
    sqlite3_bind_int64(insert, column++, (int64_t)record->version);
    sqlite3_bind_text(insert, column++, outcome ? outcome : "unknown", -1, SQLITE_STATIC);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sqlite3_bind_int64(insert, column++, numbers[i]);
    return state_db_step(usage->db, insert, err);
}

static int64_t unix_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* All or nothing. */
static int write_batch(struct usage *usage, const struct batch *batch, struct error *err) {
    int r = state_db_run(usage->db, "BEGIN IMMEDIATE", err);
    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < batch->count; i++)
        r = write_record(usage, &batch->records[i], err);
    if (r == 0 && batch->dropped) {
        sqlite3_bind_int64(usage->drop, 1, unix_ms());
        sqlite3_bind_int64(usage->drop, 2, (int64_t)batch->dropped);
        r = state_db_step(usage->db, usage->drop, err);
    }
    if (r == 0)
        r = state_db_run(usage->db, "COMMIT", err);
    if (r < 0)
        sqlite3_exec(usage->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

/* In parts, so that a deploy never waits long for its turn to write. Rows are in the order of
 * time, near enough: all before the first that is to stay go. */
static int forget(struct usage *usage, int64_t before, struct error *err) {
    static const char sql[] =
        "DELETE FROM usage WHERE id IN (SELECT id FROM usage WHERE id < coalesce("
        "(SELECT id FROM usage WHERE time >= ?1 ORDER BY id LIMIT 1), 9223372036854775807)"
        " ORDER BY id LIMIT " FORGET_AT_ONCE ")";
    sqlite3_stmt *statement;
    int r = state_db_prepare(usage->db, sql, &statement, err);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, before);
    do
        r = state_db_step(usage->db, statement, err);
    while (r == 0 && sqlite3_changes(usage->db) > 0);
    sqlite3_finalize(statement);
    return r;
}

static void *run(void *owner) {
    struct usage *usage = owner;
    setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICENESS);
    pthread_mutex_lock(&usage->lock);
    for (;;) {
        while (!usage->busy && !usage->stop)
            pthread_cond_wait(&usage->changed, &usage->lock);
        if (!usage->busy)
            break;
        int64_t before = usage->forget;
        struct error err = {0};
        pthread_mutex_unlock(&usage->lock);
        /* While busy is set nobody else touches the batch. */
        int r = 0;
        if (usage->batch.count || usage->batch.dropped)
            r = write_batch(usage, &usage->batch, &err);
        bool written = r == 0;
        if (r == 0 && before)
            r = forget(usage, before, &err);
        pthread_mutex_lock(&usage->lock);
        if (written)
            usage->batch.count = usage->batch.dropped = 0;
        if (r == 0 && usage->forget == before)
            usage->forget = 0;
        if (r < 0)
            usage->failed = err;
        usage->busy = false;
        pthread_cond_broadcast(&usage->changed);
    }
    pthread_mutex_unlock(&usage->lock);
    return NULL;
}

/* --- queueing: the daemon's thread -------------------------------------------------------- */

static struct record *next_record(struct batch *queue) {
    if (queue->count == queue->capacity) {
        size_t capacity = queue->capacity ? queue->capacity * 2 : 256;
        struct record *more =
            capacity > USAGE_QUEUE ? NULL : reallocarray(queue->records, capacity, sizeof *more);
        if (!more) {
            queue->dropped++;
            return NULL;
        }
        queue->records = more;
        queue->capacity = capacity;
    }
    return &queue->records[queue->count++];
}

void usage_add(struct usage *usage, const char *function, uint64_t version,
               const struct call *call) {
    struct record *record = next_record(&usage->queue);
    if (!record)
        return;
    *record = (struct record){.cold = call->cold,
                              .exact = call->peak_exact,
                              .outcome = call->outcome,
                              .time = unix_ms(),
                              .version = version,
                              .init_us = call->init_us,
                              .duration_us = call->duration_us,
                              .cpu_us = call->cpu_us,
                              .peak = call->peak_memory,
                              .in = call->event_length,
                              .out = call->result_length};
    snprintf(record->request, sizeof record->request, "%s", call->request_id);
    snprintf(record->function, sizeof record->function, "%s", function);
}

/* With the lock. A batch that could not be written is tried again before the next; a quiet
 * time gives the memory of a busy one back. */
static void hand_over(struct usage *usage) {
    struct batch *queue = &usage->queue, *batch = &usage->batch;
    if (!batch->count && !batch->dropped) {
        free(batch->records);
        *batch = *queue;
        *queue = (struct batch){0};
    }
    usage->busy = batch->count || batch->dropped || usage->forget;
    if (usage->busy)
        pthread_cond_broadcast(&usage->changed);
}

static int take_error(struct usage *usage, struct error *err) {
    int code = usage->failed.code;
    if (code && err)
        *err = usage->failed;
    usage->failed = (struct error){0};
    return code;
}

int usage_flush(struct usage *usage, struct error *err) {
    pthread_mutex_lock(&usage->lock);
    int r = take_error(usage, err);
    if (!usage->busy)
        hand_over(usage);
    pthread_mutex_unlock(&usage->lock);
    return r;
}

int usage_settle(struct usage *usage, struct error *err) {
    int r = 0;
    pthread_mutex_lock(&usage->lock);
    for (;;) {
        while (usage->busy)
            pthread_cond_wait(&usage->changed, &usage->lock);
        r = take_error(usage, err);
        if (r < 0)
            break;
        hand_over(usage);
        if (!usage->busy)
            break;
    }
    pthread_mutex_unlock(&usage->lock);
    return r;
}

void usage_forget(struct usage *usage, int64_t before) {
    pthread_mutex_lock(&usage->lock);
    usage->forget = before;
    if (!usage->busy)
        hand_over(usage);
    pthread_mutex_unlock(&usage->lock);
}

/* --- life --------------------------------------------------------------------------------- */

static int start(struct usage *usage, struct error *err) {
    sigset_t all, before;
    /* Signals are for the daemon's thread. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&usage->thread, NULL, run, usage);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r ? error_set(err, -r, "no thread for usage records: %s", strerror(r)) : 0;
}

static void release(struct usage *usage) {
    sqlite3_finalize(usage->insert);
    sqlite3_finalize(usage->drop);
    sqlite3_close(usage->db);
    pthread_cond_destroy(&usage->changed);
    pthread_mutex_destroy(&usage->lock);
    free(usage->queue.records);
    free(usage->batch.records);
    free(usage);
}

int usage_open(const char *path, struct usage **opened, struct error *err) {
    struct usage *usage = calloc(1, sizeof *usage);
    if (!usage)
        return error_set(err, -ENOMEM, "out of memory");
    pthread_mutex_init(&usage->lock, NULL);
    pthread_cond_init(&usage->changed, NULL);
    int r = state_db_open(path, 0, &usage->db, err);
    if (r == 0)
        r = state_db_prepare(usage->db,
                             "INSERT INTO usage (time, request, function, version, outcome, cold,"
                             " init_us, duration_us, cpu_us, peak_memory, peak_exact, bytes_in,"
                             " bytes_out) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                             &usage->insert, err);
    if (r == 0)
        r = state_db_prepare(usage->db, "INSERT INTO usage_dropped (time, count) VALUES (?,?)",
                             &usage->drop, err);
    if (r == 0)
        r = start(usage, err);
    if (r < 0)
        release(usage);
    else
        *opened = usage;
    return r;
}

void usage_close(struct usage *usage) {
    if (!usage)
        return;
    usage_settle(usage, NULL);
    pthread_mutex_lock(&usage->lock);
    usage->stop = true;
    pthread_cond_broadcast(&usage->changed);
    pthread_mutex_unlock(&usage->lock);
    pthread_join(usage->thread, NULL);
    release(usage);
}
