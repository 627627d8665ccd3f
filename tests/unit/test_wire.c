#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/wire.h"

static int ends[2];

static int start(void **state) {
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends);
}

static int stop(void **state) {
    (void)state;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

static int count_open(void) {
    int count = 0;
    DIR *fds = opendir("/proc/self/fd");
    while (readdir(fds))
        count++;
    closedir(fds);
    return count;
}

static void one_message_is_received_as_it_was_sent(void **state) {
    (void)state;
    char text[16];
    assert_int_equal(wire_send(ends[0], "first", 5, NULL, 0), 0);
    assert_int_equal(wire_send(ends[0], "second", 6, NULL, 0), 0);
    assert_int_equal(wire_receive(ends[1], text, sizeof text, NULL, NULL), 5);
    assert_memory_equal(text, "first", 5);
    assert_int_equal(wire_receive(ends[1], text, sizeof text, NULL, NULL), 6);
    assert_memory_equal(text, "second", 6);
    assert_int_equal(wire_receive(ends[1], text, sizeof text, NULL, NULL), -EAGAIN);
}

static void descriptors_arrive_in_order_and_close_on_exec(void **state) {
    (void)state;
    int pipes[2], sent[WIRE_FDS], got[WIRE_FDS];
    size_t count = WIRE_FDS;
    struct stat a, b;
    char byte;
    assert_int_equal(pipe(pipes), 0);
    for (int i = 0; i < WIRE_FDS; i++)
        sent[i] = pipes[i % 2];
    assert_int_equal(wire_send(ends[0], "x", 1, sent, WIRE_FDS), 0);
    assert_int_equal(wire_receive(ends[1], &byte, 1, got, &count), 1);
    assert_int_equal(count, WIRE_FDS);
    for (int i = 0; i < WIRE_FDS; i++) {
        assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(got[i], F_GETFL) & O_ACCMODE, i % 2 ? O_WRONLY : O_RDONLY);
        assert_int_equal(fstat(got[i], &a), 0);
        assert_int_equal(fstat(sent[i], &b), 0);
        assert_int_equal(a.st_ino, b.st_ino);
        close(got[i]);
    }
    close(pipes[0]);
    close(pipes[1]);
}

static void more_descriptors_than_wanted_are_closed(void **state) {
    (void)state;
    int sent[] = {0, 1, 2}, got[1];
    size_t count = 1;
    char byte;
    int before = count_open();
    assert_int_equal(wire_send(ends[0], "x", 1, sent, 3), 0);
    assert_int_equal(wire_receive(ends[1], &byte, 1, got, &count), 1);
    assert_int_equal(count, 1);
    close(got[0]);
    assert_int_equal(wire_send(ends[0], "x", 1, sent, 3), 0);
    assert_int_equal(wire_receive(ends[1], &byte, 1, NULL, NULL), 1);
    assert_int_equal(count_open(), before);
}

static void a_message_that_is_too_long_hands_nothing_on(void **state) {
    (void)state;
    int sent[] = {0, 1}, got[2];
    size_t count = 2;
    char text[4];
    int before = count_open();
    assert_int_equal(wire_send(ends[0], "12345", 5, sent, 2), 0);
    assert_int_equal(wire_receive(ends[1], text, sizeof text, got, &count), -EMSGSIZE);
    assert_int_equal(count, 0);
    assert_int_equal(count_open(), before);
}

static void the_other_end_gone_is_told_and_no_signal(void **state) {
    (void)state;
    char byte;
    close(ends[0]);
    assert_int_equal(wire_receive(ends[1], &byte, 1, NULL, NULL), 0);
    assert_int_equal(wire_send(ends[1], "x", 1, NULL, 0), -EPIPE);
    ends[0] = -1;
}

static void too_many_descriptors_are_not_sent(void **state) {
    (void)state;
    int sent[WIRE_FDS + 1] = {0};
    assert_int_equal(wire_send(ends[0], "x", 1, sent, WIRE_FDS + 1), -EINVAL);
}

static void a_full_socket_says_so(void **state) {
    (void)state;
    static char text[4096];
    int r = 0, sent = 0;
    while (r == 0 && sent < 10000)
        if ((r = wire_send(ends[0], text, sizeof text, NULL, 0)) == 0)
            sent++;
    assert_int_equal(r, -EAGAIN);
    assert_true(sent > 0);
    assert_int_equal(wire_receive(ends[1], text, sizeof text, NULL, NULL), sizeof text);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(one_message_is_received_as_it_was_sent),
        TEST(descriptors_arrive_in_order_and_close_on_exec),
        TEST(more_descriptors_than_wanted_are_closed),
        TEST(a_message_that_is_too_long_hands_nothing_on),
        TEST(the_other_end_gone_is_told_and_no_signal),
        TEST(too_many_descriptors_are_not_sent),
        TEST(a_full_socket_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
