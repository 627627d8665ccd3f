#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/gate.h"
#include "isolate/launcher.h"
#include "isolate/wire.h"
#include "runner/frame.h"
#include "runner/outcome.h"
#include "runner/pool.h"
#include "runner/pool_core.h"

#define PATIENCE_MS 10000 /* a test that waits as long has failed */
#define DIGEST      "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* --- the world: a launcher and a keeper played by the test --------------------------------- */

static struct sd_event *loop;
static struct pools *pools;
static struct pool *pool;
static struct function function;
static int launcher = -EBADF;
static struct keeper_message said; /* the last message to the keeper */
static int given[4];
static size_t given_count;
static bool launcher_lost, was_drained;
static char logged[65536];
static size_t logged_length;
static struct call ended_call;
static unsigned ended_count;

static struct keeper {
    int socket, log, memory_fd;
    char *memory;
    size_t size;
    uint32_t id;
    struct keeper_config config;
} keeper;

struct test_call {
    struct call call;
    bool done;
};

static void turn(void) {
    assert_true(sd_event_run(loop, 5000) >= 0);
}

/* Turns the loop until there is something to read. */
static void await_input(int fd) {
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    for (uint64_t end = monotonic_us() + PATIENCE_MS * 1000; poll(&wait, 1, 0) == 0;) {
        assert_true(monotonic_us() < end);
        turn();
    }
}

static void await(const bool *what) {
    for (uint64_t end = monotonic_us() + PATIENCE_MS * 1000; !*what;) {
        assert_true(monotonic_us() < end);
        turn();
    }
}

static void settle(void) {
    while (sd_event_run(loop, 0) > 0)
        ;
}

static void is_lost(void *owner) {
    (void)owner;
    launcher_lost = true;
}
static void is_drained(void *owner) {
    (void)owner;
    was_drained = true;
    pool = NULL;
}
static void take_log(void *owner, const char *request_id, const char *text, size_t length) {
    (void)owner;
    (void)request_id;
    if (length > sizeof logged - logged_length)
        length = sizeof logged - logged_length;
    memcpy(logged + logged_length, text, length);
    logged_length += length;
}
static void call_ended(void *owner, const struct call *call) {
    (void)owner;
    ended_call = *call;
    ended_count++;
}
static void call_done(struct call *call) {
    struct test_call *test = call->owner;
    assert_false(test->done);
    test->done = true;
}

static void make_pool(void) {
    static const struct pool_events events = {.log = take_log, .ended = call_ended};
    pool = pool_new(pools, &function, DIGEST, &events, NULL);
    assert_non_null(pool);
}

static int start_with(uint64_t budget) {
    int ends[2];
    struct error err = {0};
    assert_return_code(sd_event_new(&loop), 0);
    assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    assert_return_code(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    launcher = ends[1];
    pools = pools_new(loop, ends[0], budget, is_lost, NULL, &err);
    assert_non_null(pools);
    function = (struct function){
        .name = (char *)"hello",
        .runtime = RUNTIME_NATIVE,
        .handler = (char *)"hello.so",
        .image = (char *)"host",
        .limits = {.memory = 64 << 20,
                   .tmp = 1 << 20,
                   .event = 1 << 20,
                   .response = 1 << 20,
                   .logs = 8192,
                   .timeout_ms = 3000,
                   .init_ms = 10000,
                   .cpu_milli = 1000,
                   .processes = 10,
                   .files = 100},
        .scale = {.concurrency = 4, .keep_alive_ms = 600000},
    };
    pool_times = (struct pool_times){.backoff_first = 1000,
                                     .backoff_most = 100000,
                                     .slack = 60000000,
                                     .window = 10000000,
                                     .start = 15000000};
    keeper = (struct keeper){.socket = -EBADF, .log = -EBADF, .memory_fd = -EBADF};
    for (int i = 0; i < 4; i++)
        given[i] = -EBADF;
    given_count = logged_length = 0;
    launcher_lost = was_drained = false;
    ended_count = 0;
    pool = NULL;
    return 0;
}

static int start(void **state) {
    (void)state;
    return start_with(0);
}

static void drop_given(void) {
    for (size_t i = 0; i < 4; i++)
        cleanup_close(&given[i]);
    given_count = 0;
}

static void keeper_drop(void) {
    cleanup_close(&keeper.socket);
    cleanup_close(&keeper.log);
    cleanup_close(&keeper.memory_fd);
    if (keeper.memory)
        munmap(keeper.memory, keeper.size);
    keeper.memory = NULL;
}

static int finish(void **state) {
    (void)state;
    pools_free(pools);
    sd_event_unref(loop);
    cleanup_close(&launcher);
    drop_given();
    keeper_drop();
    return 0;
}

/* --- the launcher -------------------------------------------------------------------------- */

static void launcher_says(uint32_t op, uint32_t id, int code, const char *text) {
    struct launcher_message message = {.op = op, .id = id, .code = code, .pid = 1};
    strcpy(message.text, text);
    assert_int_equal(wire_send(launcher, &message, sizeof message, NULL, 0), 0);
}

/* The next environment that is asked for; its keeper is the test. */
static void await_make(void) {
    struct launcher_make make;
    int fds[2] = {-EBADF, -EBADF};
    size_t count = 1;
    keeper_drop();
    await_input(launcher);
    assert_int_equal(wire_receive(launcher, &make, sizeof make, &keeper.socket, &count),
                     sizeof make);
    assert_int_equal(make.op, LAUNCHER_MAKE);
    assert_string_equal(make.digest, DIGEST);
    assert_int_equal(count, 1);
    keeper.id = make.id;
    launcher_says(LAUNCHER_MADE, keeper.id, 0, "");
    count = 2;
    assert_true(wire_receive(keeper.socket, &said, sizeof said, fds, &count) > 0);
    assert_int_equal(said.op, KEEPER_CONFIGURE);
    assert_int_equal(count, 2);
    static char text[WIRE_MAX];
    assert_int_equal(wire_receive(keeper.socket, text, sizeof text, NULL, NULL), said.length);
    memcpy(&keeper.config, text, sizeof keeper.config);
    keeper.memory_fd = fds[0];
    keeper.log = fds[1];
    keeper.size = keeper.config.slots * (keeper.config.event_size + keeper.config.response_size);
    keeper.memory =
        mmap(NULL, keeper.size, PROT_READ | PROT_WRITE, MAP_SHARED, keeper.memory_fd, 0);
    assert_ptr_not_equal(keeper.memory, MAP_FAILED);
}

static void await_kill(void) {
    struct launcher_message message;
    await_input(launcher);
    assert_true(wire_receive(launcher, &message, sizeof message, NULL, NULL) > 0);
    assert_int_equal(message.op, LAUNCHER_KILL);
    assert_int_equal(message.id, keeper.id);
}

/* It is killed, and everything of it is gone. */
static void await_end(void) {
    await_kill();
    launcher_says(LAUNCHER_GONE, keeper.id, 0, "");
}

static bool is_asked(void) {
    struct pollfd wait = {.fd = launcher, .events = POLLIN};
    settle();
    return poll(&wait, 1, 0) > 0;
}

/* --- the keeper ---------------------------------------------------------------------------- */

static void keeper_says(struct keeper_message message) {
    assert_int_equal(wire_send(keeper.socket, &message, keeper_length(&message), NULL, 0), 0);
}
static void keeper_says_op(uint32_t op, uint32_t slot, uint32_t number) {
    keeper_says((struct keeper_message){.op = op, .slot = slot, .number = number});
}

/* The next message to the keeper but WANT, which is looked at by await_want. */
static void await_message(uint32_t op, uint32_t slot) {
    do {
        drop_given();
        given_count = 4;
        await_input(keeper.socket);
        assert_true(wire_receive(keeper.socket, &said, sizeof said, given, &given_count) > 0);
    } while (said.op == KEEPER_WANT && op != KEEPER_WANT);
    assert_int_equal(said.op, op);
    assert_int_equal(said.slot, slot);
}

static uint32_t await_want(void) {
    await_message(KEEPER_WANT, 0);
    return said.number;
}

static char *event_of(uint32_t slot) {
    return keeper.memory + slot * (keeper.config.event_size + keeper.config.response_size);
}

static void keeper_comes_up(uint32_t way) {
    keeper_says_op(KEEPER_UP, 0, way);
    assert_true(await_want() >= 1);
}

/* What was said of a slot has been heard: there is a ready one, or an event for it. */
static void await_ready(void) {
    struct pollfd said_something = {.fd = keeper.socket, .events = POLLIN};
    struct pool_stats stats;
    uint64_t end = monotonic_us() + PATIENCE_MS * 1000;
    for (;;) {
        pool_read_stats(pool, &stats);
        if (stats.ready || poll(&said_something, 1, 0) == 1)
            return;
        assert_true(monotonic_us() < end);
        turn();
    }
}

/* Up, with slot 0 ready. */
static void environment_comes_up(void) {
    await_make();
    keeper_comes_up(KEEPER_FORK);
    keeper_says_op(KEEPER_READY, 0, 0);
    await_ready();
}

static void keeper_replies(uint32_t slot, const char *text, uint32_t kind) {
    memcpy(event_of(slot) + keeper.config.event_size, text, strlen(text));
    keeper_says((struct keeper_message){.op = KEEPER_RESULT,
                                        .slot = slot,
                                        .number = kind,
                                        .length = strlen(text),
                                        .ended = monotonic_us()});
}

static void keeper_ends(uint32_t slot, uint32_t number, int status) {
    keeper_says((struct keeper_message){.op = KEEPER_END,
                                        .slot = slot,
                                        .number = number,
                                        .status = status,
                                        .cpu_us = 77,
                                        .peak = 4096000,
                                        .peak_exact = 1,
                                        .ended = monotonic_us()});
}

/* --- calls --------------------------------------------------------------------------------- */

static void call_make(struct test_call *test, const char *event) {
    *test = (struct test_call){
        .call = {.event = event, .event_length = strlen(event), .done = call_done, .owner = test}};
    request_id_make(test->call.request_id);
}

static void submit(struct test_call *test, const char *event) {
    call_make(test, event);
    assert_int_equal(pool_submit(pool, &test->call), 0);
}

static void expect_result(struct test_call *test, int outcome, const char *result) {
    await(&test->done);
    assert_int_equal(test->call.outcome, outcome);
    assert_int_equal(test->call.result_length, strlen(result));
    assert_memory_equal(test->call.result, result, strlen(result));
    call_free(&test->call);
}

static void expect_failure(struct test_call *test, int outcome, const char *part) {
    await(&test->done);
    assert_int_equal(test->call.outcome, outcome);
    assert_true(json_scan(test->call.result, test->call.result_length, NULL));
    assert_non_null(memmem(test->call.result, test->call.result_length, part, strlen(part)));
    call_free(&test->call);
}

static void expect_log(const struct test_call *test, const char *text) {
    assert_int_equal(test->call.log_length, strlen(text));
    assert_memory_equal(test->call.log, text, strlen(text));
}

/* --- forked -------------------------------------------------------------------------------- */

static void a_call_starts_the_environment_and_is_answered_from_shared_memory(void **state) {
    (void)state;
    struct test_call call;
    char expected[256];
    make_pool();
    call_make(&call, "{\"n\":1}");
    call.call.trace_id = "Root=1";
    call.call.context = "{\n\"custom\":1}";
    assert_int_equal(pool_submit(pool, &call.call), 0);
    environment_comes_up();
    assert_int_equal(keeper.config.slots, 4);
    await_message(KEEPER_EVENT, 0);
    snprintf(expected, sizeof expected,
             "request-id: %s\ntimeout-ms: 3000\ntrace-id: Root=1\nclient-context: { "
             "\"custom\":1}\n\n{\"n\":1}",
             call.call.request_id);
    assert_int_equal(said.length, strlen(expected));
    assert_memory_equal(event_of(0), expected, strlen(expected));
    assert_true(said.deadline > monotonic_us() && said.deadline <= monotonic_us() + 3000000);
    keeper_replies(0, "{\"ok\":true}", GATE_RESULT);
    await(&call.done);
    assert_true(call.call.cold);
    assert_true(call.call.duration_us > 0);
    expect_result(&call, OUTCOME_SUCCESS, "{\"ok\":true}");
    assert_int_equal(ended_count, 0);
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    keeper_says_op(KEEPER_READY, 0, 1);
    await_ready();
    assert_int_equal(ended_count, 1);
    assert_string_equal(ended_call.request_id, call.call.request_id);
    assert_int_equal(ended_call.cpu_us, 77);
    assert_int_equal(ended_call.peak_memory, 4096000);
    assert_null(ended_call.event);
    struct pool_stats stats;
    pool_read_stats(pool, &stats);
    assert_int_equal(stats.built, 1);
    assert_int_equal(stats.reused, 1);
    assert_int_equal(stats.calls, 1);
    assert_int_equal(stats.cold, 1);
    assert_int_equal(stats.ready, 1);
    assert_true(stats.p50_us > 0);
}

static void what_an_event_prints_is_its_own_log(void **state) {
    (void)state;
    struct test_call first, second;
    make_pool();
    submit(&first, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    assert_int_equal(given_count, 1);
    assert_int_equal(write(given[0], "one\nerr", 7), 7);
    keeper_replies(0, "1", GATE_RESULT);
    await(&first.done);
    expect_log(&first, "one\nerr\n");
    expect_result(&first, OUTCOME_SUCCESS, "1");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    keeper_says_op(KEEPER_READY, 0, 1);
    await_ready();
    submit(&second, "2");
    await_message(KEEPER_EVENT, 0);
    assert_int_equal(write(given[0], "two\n", 4), 4);
    keeper_replies(0, "2", GATE_RESULT);
    await(&second.done);
    expect_log(&second, "two\n");
    assert_false(second.call.cold);
    expect_result(&second, OUTCOME_SUCCESS, "2");
    assert_memory_equal(logged, "one\nerrtwo\n", 11);
}

static void a_flood_of_log_is_cut_and_stops_nobody(void **state) {
    (void)state;
    struct test_call call;
    char line[1000];
    make_pool();
    submit(&call, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    int out = given[0];
    given[0] = -EBADF;
    memset(line, 'x', sizeof line);
    assert_return_code(fcntl(out, F_SETFL, O_NONBLOCK), 0);
    /* More than limit and pipe hold: it is read while the call runs. */
    uint64_t end = monotonic_us() + PATIENCE_MS * 1000;
    for (size_t sent = 0; sent < 300000;) {
        assert_true(monotonic_us() < end);
        ssize_t wrote = write(out, line, sizeof line);
        if (wrote > 0)
            sent += (size_t)wrote;
        else
            turn();
    }
    close(out);
    keeper_replies(0, "1", GATE_RESULT);
    await(&call.done);
    assert_true(call.call.log_truncated);
    assert_int_equal(call.call.log_length, 8192 + strlen("\n[truncated]\n"));
    assert_memory_equal(call.call.log + 8192, "\n[truncated]\n", 13);
    assert_int_equal(logged_length, 8192 + strlen("\n[truncated]\n"));
    expect_result(&call, OUTCOME_SUCCESS, "1");
}

static void a_call_that_wants_its_numbers_is_answered_with_them(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    call_make(&call, "1");
    call.call.wants_usage = true;
    assert_int_equal(pool_submit(pool, &call.call), 0);
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    assert_int_equal(said.number, 1);
    memcpy(event_of(0) + keeper.config.event_size, "1", 1);
    keeper_says((struct keeper_message){.op = KEEPER_RESULT,
                                        .length = 1,
                                        .ended = monotonic_us(),
                                        .cpu_us = 55,
                                        .peak = 4096,
                                        .peak_exact = 1});
    await(&call.done);
    assert_int_equal(call.call.cpu_us, 55);
    assert_int_equal(call.call.peak_memory, 4096);
    assert_true(call.call.peak_exact);
    expect_result(&call, OUTCOME_SUCCESS, "1");
    assert_int_equal(ended_count, 0);
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    keeper_says_op(KEEPER_READY, 0, 1);
    await_ready();
    assert_int_equal(ended_count, 1);
    assert_int_equal(ended_call.cpu_us, 77);
}

static void ends_without_an_answer_have_the_words_of_one_shot_calls(void **state) {
    (void)state;
    static const struct {
        uint32_t end;
        int status, outcome;
        const char *words;
    } cases[] = {
        {KEEPER_EXITED, 3 << 8, OUTCOME_EXIT, "Runtime exited with error: exit status 3"},
        {KEEPER_EXITED, SIGSEGV, OUTCOME_EXIT, "signal: segmentation fault"},
        {KEEPER_TIMEOUT, SIGKILL, OUTCOME_TIMEOUT, "Task timed out after 3.00 seconds"},
        {KEEPER_OOM, SIGKILL, OUTCOME_MEMORY, "The memory limit of 64 MB was reached"},
        {KEEPER_TOO_LARGE, SIGKILL, OUTCOME_TOO_LARGE, "Response payload size (5000000 bytes)"},
    };
    make_pool();
    struct test_call call;
    submit(&call, "1");
    environment_comes_up();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (i) {
            keeper_says_op(KEEPER_READY, 0, 1);
            await_ready();
            submit(&call, "1");
        }
        await_message(KEEPER_EVENT, 0);
        keeper_says((struct keeper_message){.op = KEEPER_END,
                                            .number = cases[i].end,
                                            .status = cases[i].status,
                                            .length = 5000000});
        expect_failure(&call, cases[i].outcome, cases[i].words);
    }
}

static void an_error_and_a_result_that_is_no_json_are_told_apart(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "{\"errorType\":\"E\"}", GATE_ERROR);
    expect_result(&call, OUTCOME_UNHANDLED, "{\"errorType\":\"E\"}");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    keeper_says_op(KEEPER_READY, 0, 1);
    await_ready();
    submit(&call, "1");
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "{oops", GATE_RESULT);
    expect_failure(&call, OUTCOME_NOT_JSON, "The result is not JSON");
}

static void pages_of_a_large_event_are_given_back(void **state) {
    (void)state;
    struct test_call call;
    struct stat st;
    char *event = calloc(1, 600001);
    memset(event, ' ', 600000);
    event[0] = '1';
    make_pool();
    submit(&call, event);
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    assert_return_code(fstat(keeper.memory_fd, &st), 0);
    assert_true(st.st_blocks * 512 > 600000);
    keeper_replies(0, "1", GATE_RESULT);
    expect_result(&call, OUTCOME_SUCCESS, "1");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    keeper_says_op(KEEPER_READY, 0, 1);
    await_ready();
    assert_return_code(fstat(keeper.memory_fd, &st), 0);
    assert_int_equal(st.st_blocks, 0);
    free(event);
}

static void a_keeper_cannot_cut_the_shared_memory(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    await_make();
    assert_int_equal(ftruncate(keeper.memory_fd, 0), -1);
    assert_int_equal(errno, EPERM);
    keeper_drop();
    await_end();
    await_make(); /* the call is alive */
    pool_cancel(&call.call);
    expect_failure(&call, OUTCOME_CLIENT_GONE, "the client went away");
}

/* --- the queue ----------------------------------------------------------------------------- */

static void calls_wait_for_a_slot_in_their_order(void **state) {
    (void)state;
    struct test_call calls[3];
    make_pool();
    for (int i = 0; i < 3; i++)
        submit(&calls[i], i == 0 ? "0" : i == 1 ? "1" : "2");
    environment_comes_up();
    for (int i = 0; i < 3; i++) {
        await_message(KEEPER_EVENT, 0);
        assert_int_equal(event_of(0)[said.length - 1], '0' + i);
        keeper_replies(0, "1", GATE_RESULT);
        expect_result(&calls[i], OUTCOME_SUCCESS, "1");
        keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
        keeper_says_op(KEEPER_READY, 0, 1);
        await_ready();
    }
}

static void a_full_queue_refuses(void **state) {
    (void)state;
    struct test_call *calls = calloc(65, sizeof *calls);
    struct pool_stats stats;
    function.scale.concurrency = 1;
    make_pool();
    for (int i = 0; i < 64; i++)
        submit(&calls[i], "1");
    call_make(&calls[64], "1");
    assert_int_equal(pool_submit(pool, &calls[64].call), -EBUSY);
    pool_read_stats(pool, &stats);
    assert_int_equal(stats.queued, 64);
    assert_int_equal(stats.throttled, 1);
    pools_kill(pools);
    for (int i = 0; i < 64; i++)
        expect_failure(&calls[i], OUTCOME_SERVICE, "ServiceException");
    assert_int_equal(pool_submit(pool, &calls[64].call), -ESHUTDOWN);
    free(calls);
}

static void a_call_that_finds_no_slot_in_its_time_is_throttled(void **state) {
    (void)state;
    struct test_call busy, late;
    function.scale.concurrency = 1;
    make_pool();
    submit(&busy, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    call_make(&late, "1");
    late.call.timeout_ms = 1;
    assert_int_equal(pool_submit(pool, &late.call), 0);
    expect_failure(&late, OUTCOME_THROTTLED, "TooManyRequestsException");
    assert_false(busy.done);
    keeper_replies(0, "1", GATE_RESULT);
    expect_result(&busy, OUTCOME_SUCCESS, "1");
}

static void an_event_over_the_limit_is_refused(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    call_make(&call, "1");
    call.call.event_length = function.limits.event + 1;
    assert_int_equal(pool_submit(pool, &call.call), -E2BIG);
}

static void a_cancelled_call_is_taken_from_the_queue_or_killed(void **state) {
    (void)state;
    struct test_call queued, running;
    function.scale.concurrency = 1;
    make_pool();
    submit(&running, "1");
    submit(&queued, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    pool_cancel(&queued.call);
    expect_failure(&queued, OUTCOME_CLIENT_GONE, "Client.Gone");
    pool_cancel(&running.call);
    await_message(KEEPER_CANCEL, 0);
    assert_false(running.done);
    keeper_ends(0, KEEPER_CANCELLED, SIGKILL);
    expect_failure(&running, OUTCOME_CLIENT_GONE, "Client.Gone");
}

static void a_call_in_a_slot_that_is_taken_away_first_goes_to_another(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_says_op(KEEPER_RETIRED, 0, KEEPER_UNWANTED);
    keeper_says_op(KEEPER_READY, 1, 0);
    await_ready();
    await_message(KEEPER_EVENT, 1);
    keeper_replies(1, "1", GATE_RESULT);
    expect_result(&call, OUTCOME_SUCCESS, "1");
    struct pool_stats stats;
    pool_read_stats(pool, &stats);
    assert_int_equal(stats.retired[KEEPER_UNWANTED], 1);
}

static void a_call_in_a_slot_that_broke_the_rules_is_not_run_again(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_says((struct keeper_message){
        .op = KEEPER_RETIRED, .number = KEEPER_UNVERIFIED, .text = "it asked for more"});
    expect_failure(&call, OUTCOME_SERVICE, "it asked for more");
    assert_int_equal(pool->queue.count, 0);
}

/* --- faults -------------------------------------------------------------------------------- */

static void a_dead_keeper_fails_what_is_in_flight_and_what_waits_goes_on(void **state) {
    (void)state;
    struct test_call running, waiting;
    function.scale.concurrency = 1;
    make_pool();
    submit(&running, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    submit(&waiting, "2");
    keeper_drop();
    expect_failure(&running, OUTCOME_SERVICE, "its keeper died");
    assert_false(waiting.done);
    await_end();
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "2", GATE_RESULT);
    expect_result(&waiting, OUTCOME_SUCCESS, "2");
}

static void last_words_count_though_the_launcher_says_gone_first(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    await_make();
    launcher_says(LAUNCHER_GONE, keeper.id, 0, "");
    keeper_says(
        (struct keeper_message){.op = KEEPER_FAILED, .number = KEEPER_EXITED, .status = 7 << 8});
    expect_failure(&call, OUTCOME_EXIT, "exit status 7");
}

static void load_fails(const char *log, const char *object) {
    await_make();
    assert_int_equal(write(keeper.log, log, strlen(log)), strlen(log));
    memcpy(event_of(0) + keeper.config.event_size, object, strlen(object));
    keeper_says((struct keeper_message){
        .op = KEEPER_FAILED, .number = KEEPER_ANSWERED, .length = strlen(object)});
}

static void code_that_cannot_be_loaded_is_each_waiting_calls_own_error(void **state) {
    (void)state;
    struct test_call calls[2];
    char expected[640];
    make_pool();
    submit(&calls[0], "1");
    submit(&calls[1], "1");
    load_fails("why\n", "{\"errorType\":\"Runtime.ImportModuleError\",\"requestId\":null}");
    for (int i = 0; i < 2; i++) {
        snprintf(expected, sizeof expected,
                 "{\"errorType\":\"Runtime.ImportModuleError\",\"requestId\":\"%s\"}",
                 calls[i].call.request_id);
        await(&calls[i].done);
        expect_log(&calls[i], "why\n");
        expect_result(&calls[i], OUTCOME_UNHANDLED, expected);
    }
    await_end();
}

static void loading_that_takes_too_long_is_an_init_timeout(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    await_make();
    keeper_says_op(KEEPER_FAILED, 0, KEEPER_TIMEOUT);
    expect_failure(&call, OUTCOME_INIT_TIMEOUT, "longer than 10.00 seconds");
}

static void after_three_failures_calls_are_refused_until_a_trial_succeeds(void **state) {
    (void)state;
    struct test_call call;
    struct pool_stats stats;
    pool_times.backoff_first = pool_times.backoff_most = 200000;
    make_pool();
    for (int i = 0; i < 3; i++) {
        submit(&call, "1");
        load_fails("last words\n", "{\"errorMessage\":\"no module\",\"requestId\":\"\"}");
        expect_failure(&call, OUTCOME_UNHANDLED, "no module");
        await_end();
    }
    call_make(&call, "1");
    assert_int_equal(pool_submit(pool, &call.call), -EHOSTDOWN);
    pool_read_stats(pool, &stats);
    assert_non_null(strstr(stats.broken, "no module"));
    assert_non_null(strstr(stats.broken, "last words"));
    while (pool_submit(pool, &call.call) == -EHOSTDOWN)
        turn();
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "1", GATE_RESULT);
    expect_result(&call, OUTCOME_SUCCESS, "1");
    pool_read_stats(pool, &stats);
    assert_string_equal(stats.broken, "");
}

static void an_environment_that_the_launcher_refuses_is_tried_again(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    await_make();
    launcher_says(LAUNCHER_REFUSED, keeper.id, -ENOSPC, "no ids left");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "1", GATE_RESULT);
    expect_result(&call, OUTCOME_SUCCESS, "1");
}

static void a_dead_launcher_leaves_no_call_unanswered(void **state) {
    (void)state;
    struct test_call running, waiting;
    function.scale.concurrency = 1;
    make_pool();
    submit(&running, "1");
    submit(&waiting, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    cleanup_close(&launcher);
    await(&launcher_lost);
    assert_true(running.done && waiting.done);
    expect_failure(&running, OUTCOME_SERVICE, "ServiceException");
    expect_failure(&waiting, OUTCOME_SERVICE, "ServiceException");
}

static void a_keeper_that_misses_a_deadline_is_killed(void **state) {
    (void)state;
    struct test_call call;
    pool_times.slack = 1000;
    function.limits.timeout_ms = 1;
    make_pool();
    submit(&call, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    expect_failure(&call, OUTCOME_SERVICE, "did not end a call at its deadline");
    await_kill();
}

static void a_keeper_that_talks_nonsense_is_killed(void **state) {
    (void)state;
    static const struct keeper_message lies[] = {
        {.op = KEEPER_READY, .slot = 4},
        {.op = KEEPER_READY, .slot = UINT32_MAX},
        {.op = KEEPER_RESULT, .slot = 4},
        {.op = KEEPER_END, .slot = 4},
        {.op = KEEPER_RETIRED, .slot = 4},
        {.op = KEEPER_NEEDS, .slot = 4},
        {.op = KEEPER_RESULT, .slot = 0, .length = UINT64_MAX},
        {.op = KEEPER_RESULT, .slot = 1},
        {.op = KEEPER_END, .slot = 1},
        {.op = KEEPER_READY, .slot = 0},
        {.op = KEEPER_UP},
        {.op = 99},
    };
    struct test_call call;
    make_pool();
    pool_times.backoff_most = 1000;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        pool_note_success(pool);
        submit(&call, "1");
        environment_comes_up();
        await_message(KEEPER_EVENT, 0);
        keeper_says(lies[i]);
        expect_failure(&call, OUTCOME_SERVICE, "its keeper");
        await_end();
    }
}

static void slots_that_cannot_be_verified_end_the_environment(void **state) {
    (void)state;
    struct test_call call;
    struct pool_stats stats;
    make_pool();
    submit(&call, "1");
    await_make();
    keeper_comes_up(KEEPER_FORK);
    for (int i = 0; i < 5; i++)
        keeper_says((struct keeper_message){
            .op = KEEPER_RETIRED, .number = KEEPER_UNVERIFIED, .text = "two threads"});
    await_end();
    pool_read_stats(pool, &stats);
    assert_int_equal(stats.retired[KEEPER_UNVERIFIED], 5);
    pool_cancel(&call.call);
    await(&call.done);
    call_free(&call.call);
}

/* --- life ---------------------------------------------------------------------------------- */

static struct {
    bool told;
    int outcome;
    char error[512], log[512];
} start_told;

static void has_started(void *owner, int outcome, const char *error, size_t error_length,
                        const char *log, size_t log_length) {
    (void)owner;
    memset(&start_told, 0, sizeof start_told);
    start_told.told = true;
    start_told.outcome = outcome;
    memcpy(start_told.error, error ? error : "", error_length);
    memcpy(start_told.log, log ? log : "", log_length);
}

static void a_start_succeeds_when_the_first_slot_is_ready(void **state) {
    (void)state;
    start_told.told = false;
    make_pool();
    pool_start(pool, has_started, NULL);
    await_make();
    keeper_comes_up(KEEPER_FORK);
    settle();
    assert_false(start_told.told);
    keeper_says_op(KEEPER_READY, 0, 0);
    await(&start_told.told);
    assert_int_equal(start_told.outcome, OUTCOME_SUCCESS);
    start_told.told = false;
    pool_start(pool, has_started, NULL); /* it is up already */
    await(&start_told.told);
    assert_int_equal(start_told.outcome, OUTCOME_SUCCESS);
}

static void a_start_that_fails_gives_error_and_log(void **state) {
    (void)state;
    start_told.told = false;
    make_pool();
    pool_start(pool, has_started, NULL);
    load_fails("traceback\n", "{\"errorType\":\"Runtime.UserCodeSyntaxError\"}");
    await(&start_told.told);
    assert_int_equal(start_told.outcome, OUTCOME_UNHANDLED);
    assert_non_null(strstr(start_told.error, "UserCodeSyntaxError"));
    assert_string_equal(start_told.log, "traceback\n");
    await_end();
    assert_false(is_asked()); /* nobody waits for another try */
}

static void a_drained_pool_finishes_its_calls_and_goes(void **state) {
    (void)state;
    struct test_call running, waiting, late;
    function.scale.concurrency = 1;
    make_pool();
    submit(&running, "1");
    submit(&waiting, "2");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    pool_drain(pool, is_drained, NULL);
    call_make(&late, "3");
    assert_int_equal(pool_submit(pool, &late.call), -ESHUTDOWN);
    keeper_replies(0, "1", GATE_RESULT);
    expect_result(&running, OUTCOME_SUCCESS, "1");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    keeper_says_op(KEEPER_READY, 0, 1);
    await_ready();
    await_message(KEEPER_EVENT, 0);
    assert_false(was_drained);
    keeper_replies(0, "2", GATE_RESULT);
    expect_result(&waiting, OUTCOME_SUCCESS, "2");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    await_kill();
    settle();
    assert_false(was_drained);
    launcher_says(LAUNCHER_GONE, keeper.id, 0, "");
    await(&was_drained);
}

static void an_idle_environment_is_dropped_after_keep_alive(void **state) {
    (void)state;
    struct test_call call;
    function.scale.keep_alive_ms = 1;
    make_pool();
    submit(&call, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "1", GATE_RESULT);
    expect_result(&call, OUTCOME_SUCCESS, "1");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    await_end();
    submit(&call, "2");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "2", GATE_RESULT);
    await(&call.done);
    assert_true(call.call.cold);
    expect_result(&call, OUTCOME_SUCCESS, "2");
}

static void provisioned_slots_stay_and_come_back(void **state) {
    (void)state;
    function.scale.keep_alive_ms = 1;
    function.scale.provisioned = 3;
    make_pool();
    pool_start(pool, has_started, NULL);
    await_make();
    keeper_says_op(KEEPER_UP, 0, KEEPER_FORK);
    assert_int_equal(await_want(), 3);
    keeper_says_op(KEEPER_READY, 0, 0);
    await_ready();
    assert_false(is_asked());
    keeper_drop();
    await_end();
    await_make();
}

static void slots_grow_with_the_load_and_shrink_after_it(void **state) {
    (void)state;
    struct test_call calls[6];
    function.scale.concurrency = 4;
    pool_times.window = 20000;
    make_pool();
    for (int i = 0; i < 6; i++)
        submit(&calls[i], "1");
    await_make();
    keeper_says_op(KEEPER_UP, 0, KEEPER_FORK);
    assert_int_equal(await_want(), 4); /* never more than concurrency */
    for (int i = 0; i < 6; i++) {
        keeper_says_op(KEEPER_READY, 0, i > 0);
        await_ready();
        await_message(KEEPER_EVENT, 0);
        keeper_replies(0, "1", GATE_RESULT);
        expect_result(&calls[i], OUTCOME_SUCCESS, "1");
        keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    }
    function.scale.keep_alive_ms = 600000;
    pool_arm(pool, monotonic_us());
    uint32_t want = await_want();
    while (want != 1) {
        assert_true(want < 4);
        want = await_want();
    }
}

static void an_idle_environment_makes_room_for_another_under_the_budget(void **state) {
    (void)state;
    struct test_call first, second;
    struct pool *other;
    uint32_t id;
    finish(NULL);
    start_with(64 << 20);
    function.scale.concurrency = 1;
    make_pool();
    other = pool;
    submit(&first, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    id = keeper.id;
    make_pool();
    submit(&second, "2");
    assert_false(is_asked()); /* the first is in use */
    keeper_replies(0, "1", GATE_RESULT);
    expect_result(&first, OUTCOME_SUCCESS, "1");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    await_kill();
    assert_false(is_asked()); /* and not gone yet */
    launcher_says(LAUNCHER_GONE, id, 0, "");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "2", GATE_RESULT);
    expect_result(&second, OUTCOME_SUCCESS, "2");
    struct pool_stats stats;
    pool_read_stats(other, &stats);
    assert_false(stats.up);
}

static void none_is_ended_for_room_that_would_not_be_enough(void **state) {
    (void)state;
    struct test_call first, second, third;
    finish(NULL);
    start_with(128 << 20);
    function.scale.concurrency = 1;
    make_pool();
    submit(&first, "1");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    struct keeper busy = keeper;
    keeper = (struct keeper){.socket = -EBADF, .log = -EBADF, .memory_fd = -EBADF};
    make_pool();
    submit(&second, "2");
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "2", GATE_RESULT);
    expect_result(&second, OUTCOME_SUCCESS, "2");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    function.scale.concurrency = 2; /* all the memory there is */
    make_pool();
    submit(&third, "3");
    assert_false(is_asked()); /* the second is idle, the first is not */
    pools_kill(pools);
    expect_failure(&first, OUTCOME_SERVICE, "ServiceException");
    expect_failure(&third, OUTCOME_SERVICE, "ServiceException");
    keeper_drop();
    keeper = busy;
}

static struct test_call another;

static void submit_another(struct call *call) {
    call_done(call);
    submit(&another, "2");
}
static void kill_all(struct call *call) {
    call_done(call);
    pools_kill(pools);
}

static void a_done_may_submit_and_even_kill(void **state) {
    (void)state;
    struct test_call call;
    function.scale.concurrency = 1;
    make_pool();
    call_make(&call, "1");
    call.call.done = submit_another;
    assert_int_equal(pool_submit(pool, &call.call), 0);
    environment_comes_up();
    await_message(KEEPER_EVENT, 0);
    keeper_replies(0, "1", GATE_RESULT);
    expect_result(&call, OUTCOME_SUCCESS, "1");
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    keeper_says_op(KEEPER_READY, 0, 1);
    await_ready();
    await_message(KEEPER_EVENT, 0);
    another.call.done = kill_all;
    call_make(&call, "3");
    assert_int_equal(pool_submit(pool, &call.call), 0);
    keeper_replies(0, "2", GATE_RESULT);
    expect_result(&another, OUTCOME_SUCCESS, "2");
    expect_failure(&call, OUTCOME_SERVICE, "the daemon is stopping");
    await_kill();
}

/* --- started ahead ------------------------------------------------------------------------- */

static void write_frame(int fd, uint32_t type, const char *text) {
    unsigned char head[FRAME_HEAD];
    frame_put_head(head, (struct frame_head){type, (uint32_t)strlen(text)});
    assert_int_equal(write(fd, head, sizeof head), sizeof head);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

/* The event that is in the program's channel, without its lines. */
static void expect_frame(int fd, const char *event) {
    unsigned char head[FRAME_HEAD];
    char text[1024];
    await_input(fd);
    assert_int_equal(read(fd, head, sizeof head), sizeof head);
    struct frame_head frame = frame_get_head(head);
    assert_int_equal(frame.type, FRAME_EVENT);
    assert_true(frame.length < sizeof text);
    assert_int_equal(read(fd, text, frame.length), frame.length);
    text[frame.length] = 0;
    assert_string_equal(strstr(text, "\n\n") + 2, event);
}

static int channel, program_log;

/* A program is started in the slot; its descriptors 3 and 2 are the test's. */
static void program_starts(uint32_t slot) {
    keeper_says_op(KEEPER_NEEDS, slot, 0);
    await_message(KEEPER_GIVE, slot);
    assert_int_equal(given_count, 4);
    channel = given[3];
    program_log = given[2];
    given[3] = given[2] = -EBADF;
    keeper_says_op(KEEPER_READY, slot, 0);
    await_message(KEEPER_EVENT, slot);
    assert_true(said.deadline > monotonic_us() + 5000000); /* loading has its own limit */
}

static void program_loads(uint32_t slot) {
    write_frame(channel, FRAME_READY, "");
    await_message(KEEPER_KEEP, slot);
    keeper_says_op(KEEPER_END, slot, KEEPER_KEPT);
}

static void come_up_ahead(void) {
    await_make();
    keeper_says(
        (struct keeper_message){.op = KEEPER_UP, .number = KEEPER_AHEAD, .text = "threads: 3"});
    await_want();
}

static void a_program_started_ahead_is_loaded_and_answers_by_frames(void **state) {
    (void)state;
    struct test_call call;
    struct pool_stats stats;
    make_pool();
    submit(&call, "{\"n\":1}");
    come_up_ahead();
    program_starts(0);
    assert_false(call.done);
    assert_int_equal(write(program_log, "loading\n", 8), 8);
    program_loads(0);
    await_message(KEEPER_EVENT, 0);
    assert_true(said.deadline <= monotonic_us() + 3000000);
    expect_frame(channel, "{\"n\":1}");
    assert_int_equal(write(program_log, "working\n", 8), 8);
    write_frame(channel, FRAME_RESULT, "2");
    await(&call.done);
    expect_log(&call, "working\n");
    assert_true(call.call.cold && call.call.init_us > 0);
    expect_result(&call, OUTCOME_SUCCESS, "2");
    await_message(KEEPER_CLOSE, 0);
    assert_int_equal(said.number, FRAME_GRACE_MS);
    keeper_ends(0, KEEPER_ANSWERED, 0);
    keeper_says_op(KEEPER_RETIRED, 0, KEEPER_USED_ONCE);
    close(channel);
    close(program_log);
    program_starts(0);
    assert_int_equal(ended_count, 1);
    assert_int_equal(ended_call.cpu_us, 77);
    pool_read_stats(pool, &stats);
    assert_string_equal(stats.why, "threads: 3");
    assert_int_equal(stats.way, KEEPER_AHEAD);
    close(channel);
    close(program_log);
}

static void a_handler_that_cannot_be_loaded_ahead_fails_its_call(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    come_up_ahead();
    program_starts(0);
    assert_int_equal(write(program_log, "no such module\n", 15), 15);
    write_frame(channel, FRAME_ERROR, "{\"errorType\":\"Runtime.ImportModuleError\"}");
    await(&call.done);
    expect_log(&call, "no such module\n");
    expect_result(&call, OUTCOME_UNHANDLED, "{\"errorType\":\"Runtime.ImportModuleError\"}");
    await_message(KEEPER_CLOSE, 0);
    close(channel);
    close(program_log);
}

static void loading_ahead_has_the_init_limit_and_names_how_it_ended(void **state) {
    (void)state;
    struct test_call call;
    make_pool();
    submit(&call, "1");
    come_up_ahead();
    program_starts(0);
    close(channel);
    close(program_log);
    keeper_ends(0, KEEPER_TIMEOUT, SIGKILL);
    expect_failure(&call, OUTCOME_INIT_TIMEOUT, "Loading the handler took longer");
    keeper_says_op(KEEPER_RETIRED, 0, KEEPER_USED_ONCE);
    submit(&call, "1");
    program_starts(0);
    close(channel);
    close(program_log);
    keeper_ends(0, KEEPER_EXITED, 9 << 8);
    expect_failure(&call, OUTCOME_EXIT, "exit status 9");
}

static void one_process_serves_many_events_where_that_is_chosen(void **state) {
    (void)state;
    struct test_call call;
    function.scale.isolation = ISOLATION_ENVIRONMENT;
    make_pool();
    submit(&call, "1");
    come_up_ahead();
    assert_int_equal(keeper.config.way, KEEPER_AHEAD);
    assert_int_equal(keeper.config.keep, 1);
    program_starts(0);
    program_loads(0);
    for (int i = 0; i < 3; i++) {
        if (i)
            submit(&call, "1");
        await_message(KEEPER_EVENT, 0);
        expect_frame(channel, "1");
        assert_int_equal(write(program_log, "line\n", 5), 5);
        write_frame(channel, FRAME_RESULT, "2");
        await(&call.done);
        expect_log(&call, "line\n");
        expect_result(&call, OUTCOME_SUCCESS, "2");
        await_message(KEEPER_KEEP, 0);
        keeper_ends(0, KEEPER_KEPT, 0);
        settle();
    }
    assert_int_equal(ended_count, 3);
    close(channel);
    close(program_log);
}

static void make_exec(bool prestart) {
    function.runtime = RUNTIME_EXEC;
    function.handler = (char *)"run";
    function.scale.prestart = prestart;
    make_pool();
}

static void expect_stdin(const char *event) {
    char text[64] = "";
    await_input(given[0]);
    assert_int_equal(read(given[0], text, sizeof text), strlen(event));
    assert_string_equal(text, event);
    await_input(given[0]);
    assert_int_equal(read(given[0], text, sizeof text), 0); /* its end */
}

static void an_exec_is_started_when_its_event_is_there(void **state) {
    (void)state;
    struct test_call call;
    make_exec(false);
    submit(&call, "{}");
    come_up_ahead();
    keeper_says_op(KEEPER_NEEDS, 0, 0);
    await_message(KEEPER_GIVE, 0);
    assert_int_equal(given_count, 3);
    expect_stdin("{}");
    int out = given[1], err = given[2];
    given[1] = given[2] = -EBADF;
    keeper_says_op(KEEPER_READY, 0, 0);
    await_message(KEEPER_EVENT, 0);
    assert_int_equal(write(out, "plain text", 10), 10);
    assert_int_equal(write(err, "log\n", 4), 4);
    close(out);
    close(err);
    keeper_ends(0, KEEPER_EXITED, 0);
    await(&call.done);
    expect_log(&call, "log\n");
    expect_result(&call, OUTCOME_SUCCESS, "\"plain text\"");
    keeper_says_op(KEEPER_RETIRED, 0, KEEPER_USED_ONCE);
    keeper_says_op(KEEPER_NEEDS, 0, 0);
    settle();
    struct pool_stats stats;
    pool_read_stats(pool, &stats);
    assert_int_equal(stats.ready, 1); /* built, and nothing started in it */
}

static void a_prestarted_exec_waits_on_its_stdin(void **state) {
    (void)state;
    struct test_call call;
    make_exec(true);
    pool_start(pool, has_started, NULL);
    start_told.told = false;
    come_up_ahead();
    keeper_says_op(KEEPER_NEEDS, 0, 0);
    await_message(KEEPER_GIVE, 0);
    int in = given[0], out = given[1], err = given[2];
    given[0] = given[1] = given[2] = -EBADF;
    keeper_says_op(KEEPER_READY, 0, 0);
    await(&start_told.told);
    assert_int_equal(start_told.outcome, OUTCOME_SUCCESS);
    submit(&call, "[1]");
    await_message(KEEPER_EVENT, 0);
    given[0] = in;
    expect_stdin("[1]");
    assert_int_equal(write(out, "half", 4), 4);
    close(out);
    close(err);
    keeper_ends(0, KEEPER_EXITED, 4 << 8);
    await(&call.done);
    expect_log(&call, "half\n");
    expect_failure(&call, OUTCOME_EXIT, "exit status 4");
}

static void an_exec_that_ends_before_its_event_is_timed_is_answered_all_the_same(void **state) {
    (void)state;
    struct test_call call;
    make_exec(false);
    submit(&call, "{}");
    come_up_ahead();
    keeper_says_op(KEEPER_NEEDS, 0, 0);
    await_message(KEEPER_GIVE, 0);
    assert_int_equal(write(given[1], "[2]", 3), 3);
    drop_given();
    keeper_says_op(KEEPER_READY, 0, 0);
    keeper_ends(0, KEEPER_EXITED, 0);
    expect_result(&call, OUTCOME_SUCCESS, "[2]");
    await_message(KEEPER_EVENT, 0);
    keeper_says_op(KEEPER_RETIRED, 0, KEEPER_USED_ONCE);
    submit(&call, "{}");
    keeper_says_op(KEEPER_NEEDS, 0, 0);
    await_message(KEEPER_GIVE, 0);
    keeper_says((struct keeper_message){
        .op = KEEPER_RETIRED, .number = KEEPER_UNVERIFIED, .status = -ENOENT});
    expect_failure(&call, OUTCOME_ENTRYPOINT, "cannot be started");
}

static void an_exec_that_prints_too_much_is_ended(void **state) {
    (void)state;
    struct test_call call;
    function.limits.response = 4096;
    make_exec(false);
    submit(&call, "{}");
    come_up_ahead();
    keeper_says_op(KEEPER_NEEDS, 0, 0);
    await_message(KEEPER_GIVE, 0);
    char much[5000] = {0};
    assert_int_equal(write(given[1], much, sizeof much), sizeof much);
    keeper_says_op(KEEPER_READY, 0, 0);
    await_message(KEEPER_EVENT, 0);
    await_message(KEEPER_CLOSE, 0);
    keeper_ends(0, KEEPER_ANSWERED, SIGKILL);
    expect_failure(&call, OUTCOME_TOO_LARGE, "exceeded maximum allowed payload size");
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)
    const struct CMUnitTest tests[] = {
        TEST(a_call_starts_the_environment_and_is_answered_from_shared_memory),
        TEST(what_an_event_prints_is_its_own_log),
        TEST(a_flood_of_log_is_cut_and_stops_nobody),
        TEST(a_call_that_wants_its_numbers_is_answered_with_them),
        TEST(ends_without_an_answer_have_the_words_of_one_shot_calls),
        TEST(an_error_and_a_result_that_is_no_json_are_told_apart),
        TEST(pages_of_a_large_event_are_given_back),
        TEST(a_keeper_cannot_cut_the_shared_memory),
        TEST(calls_wait_for_a_slot_in_their_order),
        TEST(a_full_queue_refuses),
        TEST(a_call_that_finds_no_slot_in_its_time_is_throttled),
        TEST(an_event_over_the_limit_is_refused),
        TEST(a_cancelled_call_is_taken_from_the_queue_or_killed),
        TEST(a_call_in_a_slot_that_is_taken_away_first_goes_to_another),
        TEST(a_call_in_a_slot_that_broke_the_rules_is_not_run_again),
        TEST(a_dead_keeper_fails_what_is_in_flight_and_what_waits_goes_on),
        TEST(last_words_count_though_the_launcher_says_gone_first),
        TEST(code_that_cannot_be_loaded_is_each_waiting_calls_own_error),
        TEST(loading_that_takes_too_long_is_an_init_timeout),
        TEST(after_three_failures_calls_are_refused_until_a_trial_succeeds),
        TEST(an_environment_that_the_launcher_refuses_is_tried_again),
        TEST(a_dead_launcher_leaves_no_call_unanswered),
        TEST(a_keeper_that_misses_a_deadline_is_killed),
        TEST(a_keeper_that_talks_nonsense_is_killed),
        TEST(slots_that_cannot_be_verified_end_the_environment),
        TEST(a_start_succeeds_when_the_first_slot_is_ready),
        TEST(a_start_that_fails_gives_error_and_log),
        TEST(a_drained_pool_finishes_its_calls_and_goes),
        TEST(an_idle_environment_is_dropped_after_keep_alive),
        TEST(provisioned_slots_stay_and_come_back),
        TEST(slots_grow_with_the_load_and_shrink_after_it),
        TEST(an_idle_environment_makes_room_for_another_under_the_budget),
        TEST(none_is_ended_for_room_that_would_not_be_enough),
        TEST(a_done_may_submit_and_even_kill),
        TEST(a_program_started_ahead_is_loaded_and_answers_by_frames),
        TEST(a_handler_that_cannot_be_loaded_ahead_fails_its_call),
        TEST(loading_ahead_has_the_init_limit_and_names_how_it_ended),
        TEST(one_process_serves_many_events_where_that_is_chosen),
        TEST(an_exec_is_started_when_its_event_is_there),
        TEST(a_prestarted_exec_waits_on_its_stdin),
        TEST(an_exec_that_ends_before_its_event_is_timed_is_answered_all_the_same),
        TEST(an_exec_that_prints_too_much_is_ended),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
