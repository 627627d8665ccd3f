/* What the parts of a pool share; nobody else includes this. The way of a call through them:
 *
 *   pool.c        taken, queued, given to a free slot, answered
 *   pool_fork.c   a slot of a zygote: event and reply in the shared memory
 *   pool_ahead.c  a slot with a program started ahead: event and reply by its descriptors
 *   pool_log.c    what slots and zygote print
 *   pool_load.c   code that cannot be loaded: who is told
 *   pool_life.c   the environment: started, failed, idle, ended
 *   pool_size.c   how many slots
 *   pool_clock.c  what is due
 *   pools.c       all of them: launcher, budget
 *   pool_stats.c  counts and durations */
#ifndef FNRUN_POOL_CORE_H
#define FNRUN_POOL_CORE_H

#include <systemd/sd-event.h>

#include "isolate/gate.h"
#include "isolate/monotonic.h"
#include "runner/conclude.h"
#include "runner/ends.h"
#include "runner/environment.h"
#include "runner/outcome.h"
#include "runner/pool.h"

#define POOL_NEVER     UINT64_MAX
#define POOL_DURATIONS 1000

enum warm_state {
    WARM_GONE,     /* nothing is known under this number, or it is being built */
    WARM_NEEDY,    /* ahead: built, nothing is started in it yet */
    WARM_LOADING,  /* ahead: the program runs, the handler is being loaded */
    WARM_READY,    /* waits for an event */
    WARM_BUSY,     /* has one */
    WARM_ANSWERED, /* its answer is known, its process not gone yet */
    WARM_LEAVING,  /* over: cleaned (and ready again), or taken away */
};

/* A slot as the runner sees it. */
struct warm {
    struct pool *pool;
    uint32_t number;
    int state;                    /* enum warm_state */
    struct warm *next, *previous; /* among the free ones */
    bool listed;

    struct call *call;  /* until it was answered */
    struct call record; /* after that, until its numbers are known: texts are NULL */
    bool recording;
    bool cancelled;
    bool large;          /* its memory is given back after the event */
    uint64_t timeout_ms; /* what the call has */
    uint64_t since;      /* us: event given; LOADING: program started */
    uint64_t deadline;   /* us: when the keeper must have ended it; 0: none */
    uint64_t peak;       /* bytes: of the last call */

    struct ends ends;
    sd_event_source *log_source, *channel_source, *input_source;
    struct logs logs;
    size_t told; /* bytes of them that went to events.log */
    bool told_truncated;
    uint64_t log_resumes; /* us: a flood is not read until then; 0: it is read */

    /* ahead */
    bool started; /* the keeper says that the program runs */
    bool timed;   /* loading was given to the keeper as an event, for its time limit */
    bool served;  /* isolation = environment: has had a call */
    int verdict;  /* enum outcome found here */
    struct frame_sender sender;
    struct frame_reader reader;
    uint64_t load_began, load_us;
};

/* First in, first out; calls are linked by themselves. */
struct call_queue {
    struct call *first, *last;
    uint32_t count;
};

struct pool {
    struct pools *pools;
    struct pool *next;
    struct function function; /* texts are NULL but for the name */
    struct environment_plan plan;
    struct error plan_error; /* code < 0: it cannot be started at all */
    struct pool_events events;
    void *owner;

    struct call_queue queue;
    struct environment *environment; /* NULL: none */
    struct environment *leaving;     /* one that is being removed: its budget is not free yet */
    bool up;                         /* KEEPER_UP came */
    bool served;                     /* a slot of it was ready once */
    bool charged;
    int way;
    char why[KEEPER_TEXT];
    struct warm *slots;
    struct warm *free;    /* the last one that became ready first */
    uint32_t ready, busy; /* busy: BUSY or ANSWERED */
    uint32_t answered;
    uint32_t alive; /* not GONE */
    uint64_t began, came_up, start_us;
    struct logs log; /* the zygote's, until a slot is ready */
    size_t log_told;
    bool log_told_truncated;
    uint64_t log_resumes;

    /* How many slots. */
    uint32_t wanted;                /* as the keeper was told */
    uint32_t peak_now, peak_before; /* most that was needed in this and the last window */
    uint64_t window_ends;
    uint64_t last_arrival, gap_us; /* between calls, mean */
    uint64_t occupied_us;          /* of a slot by a call, mean */
    uint32_t arrivals;
    uint64_t idle_since;

    /* Failing. */
    uint32_t failures; /* in a row */
    bool failed_loading;
    uint32_t bad_slots; /* in a row */
    uint64_t backoff_us, retry_at;
    char broken[KEEPER_TEXT];

    sd_event_source *timer;
    uint64_t armed;

    void (*started)(void *owner, int outcome, const char *error, size_t error_length,
                    const char *log, size_t log_length);
    void *started_owner;
    bool active; /* was called or started: provisioned slots are kept */
    bool draining;
    void (*drained)(void *owner);
    void *drained_owner;
    bool waits_for_room;

    /* Counts. */
    uint64_t built, reused, retired[KEEPER_TRACES];
    uint64_t calls, errors, throttled, cold, cpu_us;
    uint32_t *durations; /* us; a ring of POOL_DURATIONS */
    uint64_t durations_count;
};

struct pools {
    struct sd_event *loop;
    struct launcher_client *client;
    uint64_t budget, used; /* bytes */
    void (*lost)(void *owner);
    void *owner;
    struct pool *first;
    uint32_t cores;
    bool killed;
};

/* us; variables for tests alone. */
struct pool_times {
    uint64_t backoff_first, backoff_most;
    uint64_t slack;  /* after a deadline, until a keeper counts as dead */
    uint64_t window; /* two of them: how long slots stay after they were needed */
    uint64_t start;  /* of an environment, beside what loading may take */
};
extern struct pool_times pool_times;

/* --- pool.c --- */
void queue_add(struct call_queue *queue, struct call *call);
void queue_put_back(struct call_queue *queue, struct call *call);
void queue_remove(struct call_queue *queue, struct call *call);

/* Hands waiting calls to free slots. */
void pool_dispatch(struct pool *pool);
/* Outcome, result and log are set; the call is done, and told to events.ended unless a slot
 * keeps a record of it. */
void pool_finish(struct pool *pool, struct call *call, struct warm *slot);
/* Answers with an error object made here. */
__attribute__((format(printf, 4, 5))) void pool_refuse(struct pool *pool, struct call *call,
                                                       int outcome, const char *format, ...);
/* The event cannot be given to a slot, or it ended before it began: first in the queue again. */
void pool_requeue(struct pool *pool, struct warm *slot);

/* Slots. */
void warm_list(struct warm *slot);      /* READY or NEEDY: may be given a call */
void warm_make_free(struct warm *slot); /* ... and is, where one waits */
void warm_set_state(struct warm *slot, int state);
/* Closes and frees what it holds; GONE. Its call, if any, must have been taken. */
void warm_clear(struct warm *slot);
void warm_take_call(struct warm *slot, struct call *call);
/* Finds outcome and result of the slot's call. reader: what came, its payload is taken. */
void warm_conclude(struct warm *slot, struct frame_reader *reader, int verdict, int status,
                   bool oom_killed);
/* What an event cost, from the keeper's message. */
void warm_put_numbers(struct call *call, const struct keeper_message *message);
/* The answer is known: state ANSWERED; done is called, unless the call waits for its numbers. */
void warm_answer(struct warm *slot);
/* The keeper's numbers: what is still owed (done, events.ended) is told. NULL: none will come. */
void warm_settle(struct warm *slot, const struct keeper_message *end);
/* Its event has ended well or badly, by the keeper: settled, and on its way to be clean. */
void warm_leave(struct warm *slot, const struct keeper_message *end);

/* --- pool_fork.c, pool_ahead.c --- */
void fork_begin(struct warm *slot, struct call *call);
void fork_message(struct warm *slot, const struct keeper_message *message);
void ahead_begin(struct warm *slot, struct call *call);
void ahead_message(struct warm *slot, const struct keeper_message *message);
/* Starts the program in a needy slot, where it may be started before its event. */
void ahead_load(struct warm *slot);
bool ahead_on_demand(const struct pool *pool);
/* The client is gone: the event is not looked at any more. */
void ahead_forget_event(struct warm *slot);

/* --- pool_log.c --- */
void log_watch(struct warm *slot);
/* Reads what is there. */
void log_read(struct warm *slot);
/* The call's log is what came until now; NULL: dropped. */
void log_take(struct warm *slot, struct call *call);
void log_close(struct warm *slot);
/* The zygote's. */
void log_read_zygote(struct pool *pool);
void log_drop_zygote(struct pool *pool);

/* --- pool_clock.c --- */
/* Looks at everything at that time, or earlier. */
void pool_arm(struct pool *pool, uint64_t at);

/* --- pool_size.c --- */
uint32_t pool_needed(const struct pool *pool, uint64_t now);
/* Tells the keeper how many slots are needed; may_shrink: at the end of a window. */
void pool_balance(struct pool *pool, bool may_shrink);
void pool_note_arrival(struct pool *pool, uint64_t now);

/* --- pool_life.c --- */
/* Starts the environment where there is none and it may be. */
void pool_wake(struct pool *pool);
/* An environment, or the loading in a slot, has failed. text: for people. */
void pool_note_failure(struct pool *pool, const char *text, const struct logs *log);
void pool_note_success(struct pool *pool);
/* A slot went before its first event, text: why (NULL: another reason). Where that happens again
 * and again the environment is given up. */
void pool_note_bad_slot(struct pool *pool, const char *text);
bool pool_is_broken(const struct pool *pool, uint64_t now);
/* The environment is over: calls in flight are answered, it is ended. */
void pool_lose(struct pool *pool, const char *why);
/* No call any more, perhaps: who waits for that looks. */
void pool_note_quiet(struct pool *pool);
/* Ends an idle one. */
void pool_rest(struct pool *pool);
bool pool_is_idle(const struct pool *pool);
void pool_tell_started(struct pool *pool, int outcome, const char *error, size_t error_length,
                       const char *log, size_t log_length);
/* ... with an error object of fnrun's own. */
void pool_tell_refused(struct pool *pool, int outcome, const char *text);
/* When the first slot is ready. */
void pool_note_ready(struct pool *pool);
/* --- pool_load.c --- */
/* Loading has failed, and how. */
struct load_failure {
    struct frame_reader *reader; /* what came instead; the caller's */
    struct logs *log;            /* what was printed; the caller's */
    int verdict, status;         /* as in conclude.h; status < 0: the program was not started */
    bool oom_killed;
    const char *text; /* status < 0: in words */
};
/* Those who waited for it are told, at most `most`, each as if it had been its own call's failure;
 * so is who started the pool. Notes it as a failure; where the circuit breaks by that all that
 * wait are told. */
void pool_load_failed(struct pool *pool, struct load_failure *failure, uint32_t most);

/* --- pool_life.c, again --- */
/* Answers all that wait. */
__attribute__((format(printf, 3, 4))) void pool_refuse_all(struct pool *pool, int outcome,
                                                           const char *format, ...);
void pool_free(struct pool *pool);

/* --- pools.c --- */
/* Whether the pool's environment may be started: idle ones of less value are ended for it. */
bool pools_charge(struct pools *pools, struct pool *pool);
void pools_release(struct pools *pools, struct pool *pool);
/* Somebody became idle or went: who waits for room looks again. */
void pools_room(struct pools *pools);

/* --- pool_stats.c --- */
void stats_add(struct pool *pool, const struct call *call);

#endif
