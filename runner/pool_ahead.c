/* A slot in which the program itself is started, before its event where it can be: frames over
 * descriptor 3, or an event on stdin and a result on stdout. The keeper times and kills.
 *
 * Loading a handler is an event of its own to the keeper, which so keeps the init limit and tells
 * how the process ended: KEEPER_EVENT when it runs, KEEPER_KEEP when READY has come. */
#include "runner/pool_core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CHUNK 65536

static bool has_frames(const struct warm *slot) {
    return slot->pool->plan.frames;
}

bool ahead_on_demand(const struct pool *pool) {
    return !pool->plan.frames && !pool->function.scale.prestart;
}

static void say(struct warm *slot, uint32_t op, uint32_t number, uint64_t deadline) {
    struct keeper_message message = {
        .op = op, .slot = slot->number, .number = number, .deadline = deadline};
    environment_send(slot->pool->environment, &message, NULL, 0);
}

/* --- the channel --------------------------------------------------------------------------- */

static void take_frames(struct warm *slot);
static void take_stdout(struct warm *slot);
static void give_event(struct warm *slot);

static int channel_ready(sd_event_source *source, int fd, uint32_t revents, void *data) {
    struct warm *slot = data;
    (void)source;
    (void)fd;
    if (revents & EPOLLOUT)
        give_event(slot);
    if (revents & ~(uint32_t)EPOLLOUT) {
        if (has_frames(slot))
            take_frames(slot);
        else
            take_stdout(slot);
    }
    return 0;
}

static int input_ready(sd_event_source *source, int fd, uint32_t revents, void *data) {
    (void)source;
    (void)fd;
    (void)revents;
    give_event(data);
    return 0;
}

static void watch_channel(struct warm *slot, bool watch) {
    struct sd_event *loop = slot->pool->pools->loop;
    if (slot->channel_source)
        sd_event_source_set_enabled(slot->channel_source, watch ? SD_EVENT_ON : SD_EVENT_OFF);
    else if (watch && slot->ends.output >= 0)
        sd_event_add_io(loop, &slot->channel_source, slot->ends.output, EPOLLIN, channel_ready,
                        slot);
}

static void close_channel(struct warm *slot) {
    slot->channel_source = sd_event_source_disable_unref(slot->channel_source);
    ends_close_output(&slot->ends);
}

static void close_input(struct warm *slot) {
    slot->input_source = sd_event_source_disable_unref(slot->input_source);
    if (has_frames(slot) && slot->channel_source)
        sd_event_source_set_io_events(slot->channel_source, EPOLLIN);
    if (has_frames(slot))
        slot->ends.input = -EBADF; /* the same descriptor: stays open */
    else
        ends_close_input(&slot->ends);
}

void ahead_forget_event(struct warm *slot) {
    if (slot->pool->way == KEEPER_AHEAD)
        close_input(slot);
    slot->sender.body = NULL;
    slot->sender.body_length = 0;
}

/* As far as the program takes it. One that does not read its stdin is not wrong. */
static void give_event(struct warm *slot) {
    if (slot->ends.input < 0)
        return;
    if (frame_send(&slot->sender, slot->ends.input) != 0)
        close_input(slot);
    else if (has_frames(slot))
        sd_event_source_set_io_events(slot->channel_source, EPOLLIN | EPOLLOUT);
    else if (!slot->input_source)
        sd_event_add_io(slot->pool->pools->loop, &slot->input_source, slot->ends.input, EPOLLOUT,
                        input_ready, slot);
}

/* --- starting ------------------------------------------------------------------------------ */

static int open_program(struct warm *slot) {
    ends_close(&slot->ends);
    slot->reader = (struct frame_reader){.limit = slot->pool->function.limits.response};
    slot->started = slot->timed = slot->served = false;
    slot->load_began = slot->since = monotonic_us();
    slot->load_us = slot->deadline = 0;
    int r = has_frames(slot) ? ends_open_frames(&slot->ends) : ends_open_pipes(&slot->ends);
    if (r < 0)
        ends_close(&slot->ends);
    return r;
}

static void send_program(struct warm *slot) {
    struct keeper_message message = {.op = KEEPER_GIVE, .slot = slot->number};
    int fds[4];
    size_t count = 0;
    for (int i = 0; i < 4 && slot->ends.theirs[i] >= 0; i++) {
        fds[count++] = slot->ends.theirs[i];
        slot->ends.theirs[i] = -EBADF;
    }
    environment_send(slot->pool->environment, &message, fds, count);
    log_watch(slot);
}

void ahead_load(struct warm *slot) {
    if (open_program(slot) < 0) {
        pool_arm(slot->pool, monotonic_us() + pool_times.backoff_first); /* it stays needy */
        return;
    }
    warm_set_state(slot, WARM_LOADING);
    send_program(slot);
    if (has_frames(slot))
        watch_channel(slot, true);
}

static void become_ready(struct warm *slot) {
    slot->deadline = 0;
    watch_channel(slot, false);
    log_take(slot, NULL);
    warm_set_state(slot, WARM_READY);
    warm_make_free(slot);
}

/* It is over before its first event. */
static void fail_loading(struct warm *slot, int verdict, int status, bool oom_killed,
                         const char *text) {
    struct pool *pool = slot->pool;
    struct frame_reader reader = slot->reader;
    struct logs logs;
    log_read(slot);
    logs = slot->logs;
    slot->logs = (struct logs){0};
    slot->reader = (struct frame_reader){0};
    close_channel(slot);
    log_close(slot);
    warm_set_state(slot, WARM_LEAVING);
    slot->deadline = 0;
    struct load_failure failure = {.reader = &reader,
                                   .log = &logs,
                                   .verdict = verdict,
                                   .status = status,
                                   .oom_killed = oom_killed,
                                   .text = text};
    pool_load_failed(pool, &failure, 1);
    free(reader.payload.data);
    free(logs.kept.data);
}

/* --- an event ------------------------------------------------------------------------------ */

static int prepare(struct warm *slot, const struct call *call) {
    free(slot->sender.front.data);
    slot->sender = (struct frame_sender){.body = call->event, .body_length = call->event_length};
    if (!has_frames(slot))
        return 0;
    const struct frame_lines lines = {.request_id = call->request_id,
                                      .timeout_ms = slot->timeout_ms,
                                      .trace_id = call->trace_id,
                                      .context = call->context};
    slot->ends.input = slot->ends.output;
    return frame_prepare_lines(&slot->sender, &lines, call->event, call->event_length);
}

void ahead_begin(struct warm *slot, struct call *call) {
    struct pool *pool = slot->pool;
    bool needy = slot->state == WARM_NEEDY;
    warm_take_call(slot, call);
    int r = needy ? open_program(slot) : 0;
    if (r == 0)
        r = prepare(slot, call);
    if (r < 0) {
        slot->call = NULL;
        warm_set_state(slot, needy ? WARM_NEEDY : WARM_READY);
        warm_list(slot);
        pool_refuse(pool, call, OUTCOME_SERVICE, "pipes to the function: %s", strerror(-r));
        return;
    }
    if (needy) {
        /* What fits is there before the program runs: a small event costs no wake-up. */
        give_event(slot);
        send_program(slot);
    } else {
        say(slot, KEEPER_EVENT, 0, slot->deadline);
        pool_arm(pool, slot->deadline + pool_times.slack);
        log_watch(slot);
    }
    watch_channel(slot, true);
    if (!needy)
        give_event(slot);
}

/* frames: the answer is whole, or what came is no answer. */
static void take_answer(struct warm *slot) {
    struct pool *pool = slot->pool;
    bool whole = slot->reader.done && !slot->reader.too_large && !slot->reader.broken;
    bool keep = whole && pool->function.scale.isolation == ISOLATION_ENVIRONMENT;
    uint32_t grace = whole ? FRAME_GRACE_MS : 0;
    uint64_t now = monotonic_us();
    close_input(slot);
    watch_channel(slot, false);
    slot->call->duration_us = now - slot->since;
    warm_conclude(slot, &slot->reader, OUTCOME_SUCCESS, 0, false);
    say(slot, keep ? KEEPER_KEEP : KEEPER_CLOSE, keep ? 0 : grace, 0);
    slot->deadline = now + grace * 1000UL;
    pool_arm(pool, slot->deadline + pool_times.slack);
    warm_answer(slot); /* nothing after this */
}

static void take_frames(struct warm *slot) {
    struct frame_reader *reader = &slot->reader;
    if (frame_receive(reader, slot->ends.output) == 0)
        close_channel(slot);
    bool over = reader->done || reader->broken;
    if (slot->state == WARM_BUSY && over) {
        take_answer(slot);
    } else if (slot->state == WARM_LOADING && over) {
        if (slot->timed)
            say(slot, KEEPER_CLOSE, FRAME_GRACE_MS, 0);
        fail_loading(slot, OUTCOME_SUCCESS, 0, false, NULL);
    } else if (slot->state == WARM_LOADING && reader->ready && !slot->load_us) {
        slot->load_us = monotonic_us() - slot->load_began;
        watch_channel(slot, false);
        if (slot->timed)
            say(slot, KEEPER_KEEP, 0, 0);
    }
}

/* The call is over for the runner, its process is not. Only what has been given its event can be
 * ended: one that is being started yet is when it runs. */
static void end_early(struct warm *slot) {
    slot->deadline = monotonic_us();
    say(slot, slot->cancelled ? KEEPER_CANCEL : KEEPER_CLOSE, 0, 0);
    pool_arm(slot->pool, slot->deadline + pool_times.slack);
}

static void take_stdout(struct warm *slot) {
    struct json_out *payload = &slot->reader.payload;
    char chunk[CHUNK];
    ssize_t got = read(slot->ends.output, chunk, sizeof chunk);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        close_channel(slot);
        return;
    }
    json_put_raw(payload, chunk, (size_t)got);
    if (payload->length > slot->reader.limit) {
        close_channel(slot);
        slot->verdict = OUTCOME_TOO_LARGE;
        if (slot->started)
            end_early(slot);
    }
}

/* Every writer is dead: what they left is read to its end. */
static void drain(struct warm *slot) {
    struct frame_reader *reader = &slot->reader;
    if (has_frames(slot)) {
        while (slot->ends.output >= 0 && !reader->done && !reader->broken) {
            size_t before = reader->payload.length + reader->head_length;
            bool was_ready = reader->ready;
            if (frame_receive(reader, slot->ends.output) == 0 ||
                (before == reader->payload.length + reader->head_length &&
                 was_ready == reader->ready))
                break;
        }
        return;
    }
    while (slot->ends.output >= 0 && reader->payload.length <= reader->limit) {
        size_t before = reader->payload.length;
        take_stdout(slot);
        if (before == reader->payload.length)
            break;
    }
}

/* --- what the keeper says ------------------------------------------------------------------ */

static int verdict_of(const struct warm *slot, const struct keeper_message *end) {
    if (slot->verdict != OUTCOME_SUCCESS)
        return slot->verdict;
    if (end->number == KEEPER_TIMEOUT)
        return slot->state == WARM_LOADING ? OUTCOME_INIT_TIMEOUT : OUTCOME_TIMEOUT;
    if (end->number == KEEPER_BROKEN)
        return OUTCOME_SERVICE;
    return end->number == KEEPER_CANCELLED ? OUTCOME_CLIENT_GONE : OUTCOME_SUCCESS;
}

static void end_call(struct warm *slot, const struct keeper_message *message) {
    uint64_t now = monotonic_us();
    uint64_t ended = message->ended > slot->since && message->ended < now ? message->ended : now;
    drain(slot);
    slot->call->duration_us = ended - slot->since;
    warm_conclude(slot, &slot->reader, verdict_of(slot, message), message->status,
                  message->number == KEEPER_OOM);
}

static void take_started(struct warm *slot) {
    struct pool *pool = slot->pool;
    uint64_t now = monotonic_us();
    slot->started = true;
    pool->built++;
    switch (slot->state) {
    case WARM_BUSY: /* on demand */
        slot->load_us = now - slot->load_began;
        if (slot->call->cold)
            slot->call->init_us = slot->load_us;
        slot->since = now;
        slot->deadline = now + slot->timeout_ms * 1000;
        say(slot, KEEPER_EVENT, 0, slot->deadline);
        pool_arm(pool, slot->deadline + pool_times.slack);
        if (slot->cancelled || slot->verdict != OUTCOME_SUCCESS)
            end_early(slot);
        break;
    case WARM_LOADING:
        if (!has_frames(slot) || slot->load_us) {
            become_ready(slot);
        } else {
            slot->timed = true;
            slot->deadline = slot->load_began + pool->function.limits.init_ms * 1000;
            say(slot, KEEPER_EVENT, 0, slot->deadline);
            pool_arm(pool, slot->deadline + pool_times.slack);
        }
        break;
    default: /* its loading had failed before this came */
        say(slot, KEEPER_EVENT, 0, now);
        say(slot, KEEPER_CLOSE, FRAME_GRACE_MS, 0);
    }
}

static void serve_again(struct warm *slot, const struct keeper_message *message) {
    struct frame_reader *reader = &slot->reader;
    free(reader->payload.data);
    *reader = (struct frame_reader){.limit = reader->limit, .ready = true};
    slot->deadline = 0;
    if (slot->ends.output < 0) { /* it has closed its channel: no use any more */
        warm_set_state(slot, WARM_LEAVING);
        say(slot, KEEPER_RETIRE, 0, 0);
    } else {
        warm_set_state(slot, WARM_READY);
    }
    uint32_t number = slot->number;
    struct pool *pool = slot->pool;
    warm_settle(slot, message);
    /* The call's owner may have ended all of it. */
    if (pool->slots && pool->slots[number].state == WARM_READY)
        warm_make_free(&pool->slots[number]);
}

static void take_end(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    if (slot->state == WARM_LOADING && message->number == KEEPER_KEPT) {
        become_ready(slot);
    } else if (slot->state == WARM_LOADING) {
        drain(slot);
        fail_loading(slot, verdict_of(slot, message), message->status,
                     message->number == KEEPER_OOM, NULL);
    } else if (slot->state == WARM_READY) {
        /* It did not wait for an event; KEEPER_RETIRED is next. */
        warm_set_state(slot, WARM_LEAVING);
        if (!slot->served)
            fail_loading(slot, verdict_of(slot, message), message->status,
                         message->number == KEEPER_OOM, NULL);
    } else if (slot->state == WARM_ANSWERED && message->number == KEEPER_KEPT) {
        pool_note_success(pool);
        serve_again(slot, message);
    } else if (slot->state == WARM_BUSY || slot->state == WARM_ANSWERED) {
        if (slot->state == WARM_BUSY)
            end_call(slot, message);
        warm_leave(slot, message); /* nothing after this */
    }
}

/* The keeper took it away while it had a call, before the event was timed: memory ran out, or
 * slot or program were not to be had. */
static void end_retired(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    struct call *call = slot->call;
    struct answer answer = {.request_id = call->request_id};
    if (message->number == KEEPER_UNWANTED) {
        pool_requeue(pool, slot);
        warm_clear(slot);
        pool_dispatch(pool);
    } else if (message->number == KEEPER_TRACE_OOM) {
        end_call(slot, &(struct keeper_message){.number = KEEPER_OOM, .status = message->status});
        log_take(slot, call);
        slot->call = NULL;
        warm_clear(slot);
        pool_finish(pool, call, NULL);
    } else {
        log_take(slot, call);
        slot->call = NULL;
        warm_clear(slot);
        if (message->status < 0 && conclude_start(&answer, pool->plan.program, message->status)) {
            call->outcome = answer.outcome;
            call->result = answer.result;
            call->result_length = answer.result_length;
            pool_finish(pool, call, NULL);
        } else {
            pool_refuse(pool, call, OUTCOME_SERVICE, "%s", message->text);
        }
    }
}

static void take_retired(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    uint32_t number = slot->number;
    if (slot->state == WARM_BUSY) {
        end_retired(slot, message);
        return;
    }
    bool new_one = slot->state == WARM_LOADING || (slot->state == WARM_READY && !slot->served);
    if (new_one && message->number != KEEPER_UNWANTED) {
        drain(slot);
        fail_loading(slot, OUTCOME_SUCCESS, message->status, false, message->text);
    } else if (slot->call || slot->recording) {
        warm_settle(slot, NULL);
    }
    if (pool->slots && pool->slots[number].state != WARM_BUSY)
        warm_clear(&pool->slots[number]);
}

void ahead_message(struct warm *slot, const struct keeper_message *message) {
    struct pool *pool = slot->pool;
    bool known = slot->state != WARM_GONE && slot->state != WARM_NEEDY;
    switch (message->op) {
    case KEEPER_NEEDS:
        if (known && slot->state != WARM_LEAVING)
            break;
        warm_clear(slot);
        warm_set_state(slot, WARM_NEEDY);
        if (ahead_on_demand(pool))
            warm_make_free(slot);
        else if (monotonic_us() < pool->retry_at)
            pool_arm(pool, pool->retry_at);
        else
            ahead_load(slot);
        return;
    case KEEPER_READY:
        if (known && !slot->started) {
            take_started(slot);
            return;
        }
        break;
    case KEEPER_END:
        if (known) {
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
