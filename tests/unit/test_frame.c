#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runner/frame.h"
#include "runner/logs.h"

static int ends[2]; /* 0: ours, not blocking; 1: the slot's */

static int open_ends(void **state) {
    (void)state;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return -1;
    return fcntl(ends[0], F_SETFL, O_NONBLOCK);
}

static int close_ends(void **state) {
    (void)state;
    close(ends[0]);
    if (ends[1] >= 0)
        close(ends[1]);
    return 0;
}

static void say(uint32_t type, const char *payload, size_t length) {
    unsigned char head[FRAME_HEAD];
    frame_put_head(head, (struct frame_head){type, (uint32_t)length});
    assert_int_equal(write(ends[1], head, sizeof head), sizeof head);
    if (payload)
        assert_int_equal(write(ends[1], payload, length), length);
}

static void the_head_is_little_endian_on_every_machine(void **state) {
    (void)state;
    unsigned char head[FRAME_HEAD];
    frame_put_head(head, (struct frame_head){FRAME_RESULT, 0x01020304});
    assert_memory_equal(head, "\3\0\0\0\4\3\2\1", 8);
    assert_int_equal(frame_get_head(head).length, 0x01020304);
}

static void ready_stops_the_reading_so_that_the_clock_can_change(void **state) {
    (void)state;
    struct frame_reader reader = {.limit = 100};
    say(FRAME_READY, NULL, 0);
    say(FRAME_RESULT, "{}", 2);
    assert_int_equal(frame_receive(&reader, ends[0]), 1);
    assert_true(reader.ready);
    assert_false(reader.done);
    assert_int_equal(frame_receive(&reader, ends[0]), 1);
    assert_true(reader.done);
    assert_int_equal(reader.type, FRAME_RESULT);
    assert_memory_equal(reader.payload.data, "{}", 2);
    free(reader.payload.data);
}

static void a_frame_that_comes_byte_by_byte_is_put_together(void **state) {
    (void)state;
    struct frame_reader reader = {.limit = 100};
    const char bytes[] = "\3\0\0\0\5\0\0\0hello";
    for (size_t i = 0; i < sizeof bytes - 1; i++) {
        assert_false(reader.done);
        assert_int_equal(write(ends[1], bytes + i, 1), 1);
        assert_int_equal(frame_receive(&reader, ends[0]), 1);
    }
    assert_true(reader.done);
    assert_int_equal(reader.payload.length, 5);
    free(reader.payload.data);
}

static void a_result_over_the_limit_is_not_read(void **state) {
    (void)state;
    struct frame_reader reader = {.limit = 4};
    say(FRAME_RESULT, "hello", 5);
    frame_receive(&reader, ends[0]);
    assert_true(reader.too_large);
    assert_int_equal(reader.announced, 5);
    assert_int_equal(reader.payload.length, 0);
}

static void a_result_of_the_limit_passes(void **state) {
    (void)state;
    struct frame_reader reader = {.limit = 5};
    say(FRAME_RESULT, "hello", 5);
    frame_receive(&reader, ends[0]);
    assert_true(reader.done && !reader.too_large);
    free(reader.payload.data);
}

static void an_unknown_type_breaks_the_channel(void **state) {
    (void)state;
    struct frame_reader reader = {.limit = 100};
    say(77, NULL, 0);
    frame_receive(&reader, ends[0]);
    assert_non_null(reader.broken);
}

static void a_second_ready_breaks_the_channel(void **state) {
    (void)state;
    struct frame_reader reader = {.limit = 100};
    say(FRAME_READY, NULL, 0);
    frame_receive(&reader, ends[0]);
    say(FRAME_READY, NULL, 0);
    frame_receive(&reader, ends[0]);
    assert_non_null(reader.broken);
}

static void a_closed_channel_is_the_end_of_it(void **state) {
    (void)state;
    struct frame_reader reader = {.limit = 100};
    close(ends[1]);
    ends[1] = -1;
    assert_int_equal(frame_receive(&reader, ends[0]), 0);
    assert_false(reader.done);
}

static void a_big_event_is_sent_in_parts_and_arrives_whole(void **state) {
    (void)state;
    size_t length = 3 << 20, got = 0;
    char *event = malloc(length), *seen = malloc(length + 4096);
    struct frame_sender sender = {0};
    assert_non_null(event);
    assert_non_null(seen);
    for (size_t i = 0; i < length; i++)
        event[i] = (char)(i * 7 + (i >> 8));
    assert_int_equal(frame_prepare(&sender, "some-id", 3000, event, length), 0);
    size_t whole = sender.front.length + length;
    for (int sent = 0; got < whole;) {
        if (!sent)
            sent = frame_send(&sender, ends[0]);
        ssize_t r = read(ends[1], seen + got, length + 4096 - got);
        assert_true(r > 0);
        got += (size_t)r;
    }
    struct frame_head head = frame_get_head((unsigned char *)seen);
    assert_int_equal(head.type, FRAME_EVENT);
    assert_int_equal(head.length, whole - FRAME_HEAD);
    assert_memory_equal(seen + FRAME_HEAD, "request-id: some-id\ntimeout-ms: 3000\n\n", 38);
    assert_memory_equal(seen + sender.front.length, event, length);
    free(sender.front.data);
    free(event);
    free(seen);
}

static void sending_to_a_slot_that_is_gone_is_an_error_not_a_signal(void **state) {
    (void)state;
    struct frame_sender sender = {.body = "x", .body_length = 1};
    close(ends[1]);
    ends[1] = -1;
    assert_true(frame_send(&sender, ends[0]) < 0);
}

static void a_log_keeps_its_first_bytes_and_says_truncated(void **state) {
    (void)state;
    struct logs logs = {.limit = 10};
    logs_add(&logs, "12345678", 8);
    logs_add(&logs, "abcdef", 6);
    logs_add(&logs, "more", 4);
    logs_close(&logs);
    json_put_raw(&logs.kept, "", 1);
    assert_string_equal(logs.kept.data, "12345678ab\n[truncated]\n");
    free(logs.kept.data);
}

static void a_log_that_fits_only_gets_its_last_line_ended(void **state) {
    (void)state;
    struct logs logs = {.limit = 3};
    logs_add(&logs, "abc", 3);
    logs_close(&logs);
    json_put_raw(&logs.kept, "", 1);
    assert_string_equal(logs.kept.data, "abc\n");
    free(logs.kept.data);
}

static void a_reader_that_is_gone_does_not_stop_the_log(void **state) {
    (void)state;
    struct logs logs = {.limit = 100};
    int pair[2];
    assert_int_equal(pipe(pair), 0);
    close(pair[0]);
    logs_add(&logs, "abc\n", 4);
    logs_stream(&logs, pair[1], 100);
    assert_int_equal(logs_pending(&logs), 0);
    close(pair[1]);
    free(logs.kept.data);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_ends, close_ends)
    const struct CMUnitTest tests[] = {
        TEST(the_head_is_little_endian_on_every_machine),
        TEST(ready_stops_the_reading_so_that_the_clock_can_change),
        TEST(a_frame_that_comes_byte_by_byte_is_put_together),
        TEST(a_result_over_the_limit_is_not_read),
        TEST(a_result_of_the_limit_passes),
        TEST(an_unknown_type_breaks_the_channel),
        TEST(a_second_ready_breaks_the_channel),
        TEST(a_closed_channel_is_the_end_of_it),
        TEST(a_big_event_is_sent_in_parts_and_arrives_whole),
        TEST(sending_to_a_slot_that_is_gone_is_an_error_not_a_signal),
        TEST(a_log_keeps_its_first_bytes_and_says_truncated),
        TEST(a_log_that_fits_only_gets_its_last_line_ended),
        TEST(a_reader_that_is_gone_does_not_stop_the_log),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
