/* The daemon's client: what it makes of answers, whole, in pieces, and of what is none. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/http.h"

static struct http_exchange exchange;
static struct error err;
static char *body;
static size_t length;

/* Begins an exchange whose daemon has said `bytes` and hung up. They have to fit the socket's
 * buffer. */
static void answered_bytes(const char *bytes, size_t count) {
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(send(ends[1], bytes, count, MSG_DONTWAIT), (ssize_t)count);
    close(ends[1]);
    http_end(&exchange);
    http_begin(&exchange, ends[0]);
}

static void answered(const char *text) {
    answered_bytes(text, strlen(text));
}

static int receive_all(size_t limit) {
    int r = http_receive(&exchange, &err);
    return r < 0 ? r : http_read_all(&exchange, limit, &body, &length, &err);
}

static int setup(void **state) {
    (void)state;
    exchange.fd = -1;
    memset(&err, 0, sizeof err);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    http_end(&exchange);
    return 0;
}

static void a_body_with_a_length_is_read(void **state) {
    (void)state;
    answered("HTTP/1.1 200 OK\r\ncontent-length:  5\r\nX-Two: a: b\r\n\r\nhello");
    assert_int_equal(receive_all(100), 0);
    assert_int_equal(exchange.status, 200);
    assert_int_equal(length, 5);
    assert_string_equal(body, "hello");
    assert_string_equal(http_answer_header(&exchange, "x-tWO"), "a: b");
    assert_null(http_answer_header(&exchange, "X-Tw"));
    assert_null(http_answer_header(&exchange, "hello"));
}

static void a_body_in_chunks_is_joined(void **state) {
    (void)state;
    answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
             "3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nTrailer: x\r\n\r\n");
    assert_int_equal(receive_all(100), 0);
    assert_string_equal(body, "hello");
    char more;
    assert_int_equal(http_read(&exchange, &more, 1, &err), 0);
}

static void a_body_without_length_ends_with_the_connection(void **state) {
    (void)state;
    answered("HTTP/1.1 200 OK\r\n\r\nhello");
    assert_int_equal(receive_all(100), 0);
    assert_string_equal(body, "hello");
}

static void an_answer_without_a_body_has_none(void **state) {
    (void)state;
    answered("HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(receive_all(100), 0);
    assert_int_equal(length, 0);
    assert_string_equal(body, "");
}

static void what_comes_before_the_answer_is_left_out(void **state) {
    (void)state;
    answered("HTTP/1.1 100 Continue\r\nX: early\r\n\r\nHTTP/1.1 103 Hints\r\n\r\n"
             "HTTP/1.1 404 Not Found\r\nX-Late: 1\r\nContent-Length: 2\r\n\r\n{}");
    assert_int_equal(receive_all(100), 0);
    assert_int_equal(exchange.status, 404);
    assert_string_equal(http_answer_header(&exchange, "X-Late"), "1");
    assert_string_equal(body, "{}");
}

static void a_head_of_a_log_in_base64_is_taken_and_a_longer_one_refused(void **state) {
    (void)state;
    size_t sizes[] = {90000, HTTP_HEAD_MAX + 10000};
    for (size_t i = 0; i < 2; i++) {
        char *text = malloc(sizes[i] + 100);
        assert_non_null(text);
        size_t used = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Log: ");
        memset(text + used, 'x', sizes[i]);
        memcpy(text + used + sizes[i], "\r\n\r\n{}", 6);
        answered_bytes(text, used + sizes[i] + 6);
        free(text);
        assert_int_equal(receive_all(100), i == 0 ? 0 : -EPROTO);
        if (i == 0)
            assert_int_equal(strlen(http_answer_header(&exchange, "X-Log")), sizes[i]);
    }
}

static void an_answer_that_is_none_is_refused(void **state) {
    static const char *const bad[] = {
        "",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n\r",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 999 Odd\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\nxxxx",
        "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad line\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhello\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        answered(bad[i]);
        memset(&err, 0, sizeof err);
        if (receive_all(1 << 20) != -EPROTO)
            fail_msg("taken: %s", bad[i]);
        assert_true(err.message[0]);
    }
}

static void a_body_beyond_the_limit_is_refused(void **state) {
    (void)state;
    static const char *const heads[] = {
        "Content-Length: 6\r\n\r\nhello!", "Content-Length: 999999999999\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n3\r\nlo!\r\n", "\r\nhello!"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char text[200];
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\n%s", heads[i]);
        answered(text);
        assert_int_equal(receive_all(5), -EFBIG);
    }
}

static void a_long_body_in_many_chunks_is_whole(void **state) {
    (void)state;
    static char text[120000];
    size_t used = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t i = 0; i < 9000; i++)
        used += (size_t)sprintf(text + used, "4\r\n%04zu\r\n", i);
    used += (size_t)sprintf(text + used, "0\r\n\r\n");
    answered_bytes(text, used);
    assert_int_equal(receive_all(1 << 20), 0);
    assert_int_equal(length, 36000);
    for (size_t i = 0; i < 9000; i++) {
        char number[5];
        snprintf(number, sizeof number, "%04zu", i);
        assert_memory_equal(body + 4 * i, number, 4);
    }
}

static void a_request_goes_out_in_one_piece(void **state) {
    (void)state;
    int ends[2];
    char got[64];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    http_begin(&exchange, ends[0]);
    assert_int_equal(http_send(&exchange, "HEAD", 4, "BODY", 4, &err), 0);
    assert_int_equal(recv(ends[1], got, sizeof got, 0), 8);
    assert_memory_equal(got, "HEADBODY", 8);
    assert_int_equal(http_send_chunk(&exchange, "hello", 5, &err), 0);
    assert_int_equal(http_send_chunk(&exchange, "", 0, &err), 0);
    assert_int_equal(recv(ends[1], got, sizeof got, 0), 15);
    assert_memory_equal(got, "5\r\nhello\r\n0\r\n\r\n", 15);
    close(ends[1]);
    /* Who hung up may have answered: that is read, not taken for an error. */
    assert_int_equal(http_send(&exchange, "HEAD", 4, NULL, 0, &err), 0);
    assert_int_equal(http_send_chunk(&exchange, "x", 1, &err), -EPIPE);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_body_with_a_length_is_read),
        TEST(a_body_in_chunks_is_joined),
        TEST(a_body_without_length_ends_with_the_connection),
        TEST(an_answer_without_a_body_has_none),
        TEST(what_comes_before_the_answer_is_left_out),
        TEST(a_head_of_a_log_in_base64_is_taken_and_a_longer_one_refused),
        TEST(an_answer_that_is_none_is_refused),
        TEST(a_body_beyond_the_limit_is_refused),
        TEST(a_long_body_in_many_chunks_is_whole),
        TEST(a_request_goes_out_in_one_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
