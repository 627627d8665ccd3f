#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "runner/logbook.h"
#include "runner/logbook_journal.h"

#define ONE "11111111-1111-4111-8111-111111111111"
#define TWO "22222222-2222-4222-8222-222222222222"

/* What a reader was shown: each line and a bar. */
struct shown {
    char text[200000];
    size_t length, lines;
    struct logbook *book; /* not NULL: unfollow at the first line */
    struct logbook_follower *follower;
    int ended;
};
static struct shown shown;

static void show(void *owner, const struct logbook_line *line) {
    struct shown *to = owner;
    assert_true(to->length + line->length + 1 < sizeof to->text);
    memcpy(to->text + to->length, line->text, line->length);
    to->length += line->length;
    to->text[to->length++] = '|';
    to->text[to->length] = 0;
    to->lines++;
    assert_true(line->time_us > 1500000000000000);
    if (to->book)
        logbook_unfollow(to->book, to->follower);
}

static const char *read_all(struct logbook *book, int64_t since, const char *request_id) {
    memset(&shown, 0, sizeof shown);
    logbook_read(book, since, request_id, show, &shown);
    return shown.text;
}

static void add(struct logbook *book, const char *request_id, const char *text) {
    logbook_add(book, request_id, text, strlen(text));
}

static int without_a_journal(void **state) {
    (void)state;
    logbook_journal_path = "/nonexistent/journal";
    return 0;
}

static void lines_are_told_apart_by_request(void **state) {
    (void)state;
    struct logbook *book = logbook_new("hello", 1 << 20);
    add(book, ONE, "a\nb\n");
    add(book, TWO, "c\n");
    add(book, NULL, "loading\n");
    assert_string_equal(read_all(book, 0, NULL), "a|b|c|loading|");
    assert_string_equal(read_all(book, 0, ONE), "a|b|");
    assert_string_equal(read_all(book, 0, TWO), "c|");
    assert_string_equal(read_all(book, 0, ""), "loading|");
    logbook_free(book);
}

static void an_unfinished_line_waits_for_its_rest(void **state) {
    (void)state;
    struct logbook *book = logbook_new("hello", 1 << 20);
    add(book, ONE, "first\nhal");
    add(book, TWO, "other\n");
    assert_string_equal(read_all(book, 0, NULL), "first|other|");
    add(book, ONE, "f\nnext");
    assert_string_equal(read_all(book, 0, ONE), "first|half|");
    logbook_close_call(book, ONE);
    assert_string_equal(read_all(book, 0, ONE), "first|half|next|");
    logbook_close_call(book, ONE);
    add(book, ONE, "x\n");
    assert_string_equal(read_all(book, 0, ONE), "first|half|next|x|");
    logbook_free(book);
}

static void empty_lines_are_lines(void **state) {
    (void)state;
    struct logbook *book = logbook_new("hello", 1 << 20);
    add(book, ONE, "\n\na\n");
    add(book, ONE, "");
    assert_string_equal(read_all(book, 0, NULL), "||a|");
    logbook_free(book);
}

static void a_long_line_comes_in_pieces_however_it_is_cut(void **state) {
    (void)state;
    size_t length = 3 * LOGBOOK_LINE;
    char *line = malloc(length + 1);
    assert_non_null(line);
    memset(line, 'x', length);
    line[length] = '\n';
    for (size_t step = 1; step <= length + 1; step = step < 4000 ? step * 7 : step + 4001) {
        struct logbook *book = logbook_new("hello", 1 << 20);
        for (size_t at = 0; at < length + 1; at += step)
            logbook_add(book, ONE, line + at, step < length + 1 - at ? step : length + 1 - at);
        logbook_close_call(book, ONE);
        read_all(book, 0, ONE);
        assert_int_equal(shown.length - shown.lines, length);
        assert_int_equal(shown.lines, 3);
        logbook_free(book);
    }
    free(line);
}

static void the_oldest_lines_go_when_the_bound_is_reached(void **state) {
    (void)state;
    struct logbook *book = logbook_new("hello", 4096);
    char text[32];
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof text, "line %d\n", i);
        add(book, ONE, text);
    }
    read_all(book, 0, NULL);
    assert_true(shown.lines > 20 && shown.lines < 4096 / 8);
    assert_non_null(strstr(shown.text, "|line 999|"));
    assert_null(strstr(shown.text, "line 500|"));
    logbook_resize(book, 400);
    add(book, ONE, "last\n");
    read_all(book, 0, NULL);
    assert_true(shown.lines < 8);
    assert_non_null(strstr(shown.text, "last|"));
    logbook_free(book);
}

static void bytes_of_any_kind_are_kept(void **state) {
    (void)state;
    struct logbook *book = logbook_new("hello", 4096);
    logbook_add(book, ONE, "a\0\xff\n", 4);
    read_all(book, 0, NULL);
    assert_memory_equal(shown.text, "a\0\xff|", 4);
    logbook_free(book);
}

static void a_reader_asks_for_what_is_new(void **state) {
    (void)state;
    struct logbook *book = logbook_new("hello", 4096);
    add(book, ONE, "a\n");
    assert_string_equal(read_all(book, INT64_MAX, NULL), "");
    assert_string_equal(read_all(book, 1, NULL), "a|");
    logbook_free(book);
}

static void followers_hear_their_request_until_they_leave(void **state) {
    (void)state;
    static struct shown all, one;
    struct logbook *book = logbook_new("hello", 4096);
    memset(&all, 0, sizeof all);
    memset(&one, 0, sizeof one);
    add(book, ONE, "before\n");
    struct logbook_follower *a = logbook_follow(book, NULL, show, &all);
    struct logbook_follower *b = logbook_follow(book, ONE, show, &one);
    add(book, ONE, "a\n");
    add(book, TWO, "b\n");
    logbook_unfollow(book, b);
    add(book, ONE, "c\n");
    assert_string_equal(all.text, "a|b|c|");
    assert_string_equal(one.text, "a|");
    logbook_unfollow(book, a);
    add(book, ONE, "d\n");
    assert_string_equal(all.text, "a|b|c|");
    logbook_free(book);
}

static void a_follower_may_leave_while_it_is_told(void **state) {
    (void)state;
    static struct shown a, b;
    struct logbook *book = logbook_new("hello", 4096);
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    b.follower = logbook_follow(book, NULL, show, &b);
    a.follower = logbook_follow(book, NULL, show, &a);
    a.book = b.book = book;
    add(book, ONE, "x\ny\n");
    assert_string_equal(a.text, "x|");
    assert_string_equal(b.text, "x|");
    logbook_free(book);
}

static void hear_the_end(void *owner) {
    struct shown *to = owner;
    to->ended++;
}
static void hear_the_end_and_leave(void *owner) {
    struct shown *to = owner;
    to->ended++;
    logbook_unfollow(to->book, to->follower);
}

static void followers_outlive_the_function(void **state) {
    (void)state;
    static struct shown stays, leaves;
    struct logbook *book = logbook_new("hello", 4096);
    memset(&stays, 0, sizeof stays);
    memset(&leaves, 0, sizeof leaves);
    stays.follower = logbook_follow(book, NULL, show, &stays);
    leaves.follower = logbook_follow(book, NULL, show, &leaves);
    leaves.book = book;
    logbook_on_end(stays.follower, hear_the_end);
    logbook_on_end(leaves.follower, hear_the_end_and_leave);
    logbook_free(book);
    assert_int_equal(stays.ended, 1);
    assert_int_equal(leaves.ended, 1);
    logbook_unfollow(book, stays.follower);
}

/* --- the journal ------------------------------------------------------------------------------ */

static char journal_socket[] = "/tmp/fnrun-test-journal-XXXXXX/socket";

static int listen_as_the_journal(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", journal_socket);
    unlink(journal_socket);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static const char *journal_read(int fd) {
    static char text[65536];
    ssize_t length = recv(fd, text, sizeof text - 1, 0);
    text[length > 0 ? length : 0] = 0;
    return text;
}

static int make_journal_folder(void **state) {
    (void)state;
    *strrchr(journal_socket, '/') = 0;
    if (!mkdtemp(journal_socket))
        return -1;
    journal_socket[strlen(journal_socket)] = '/';
    logbook_journal_path = journal_socket;
    return 0;
}
static int remove_journal_folder(void **state) {
    (void)state;
    unlink(journal_socket);
    *strrchr(journal_socket, '/') = 0;
    return rmdir(journal_socket);
}

static void a_line_goes_to_the_journal_with_function_and_request(void **state) {
    (void)state;
    int fd = listen_as_the_journal();
    struct logbook *book = logbook_new("hello", 4096);
    add(book, ONE, "to the journal\n");
    const char *text = journal_read(fd);
    assert_non_null(strstr(text, "FNRUN_FUNCTION=hello\n"));
    assert_non_null(strstr(text, "FNRUN_REQUEST_ID=" ONE "\n"));
    assert_non_null(strstr(text, "MESSAGE=to the journal\n"));
    add(book, NULL, "loading\n");
    text = journal_read(fd);
    assert_non_null(strstr(text, "MESSAGE=loading\n"));
    assert_null(strstr(text, "FNRUN_REQUEST_ID"));

    /* Nobody reads any more: nothing waits, and the loss is said. */
    for (int i = 0; i < 5000; i++)
        add(book, ONE, "flood\n");
    int said = 0;
    while (*(text = journal_read(fd)))
        said += strstr(text, "too slow") != NULL;
    assert_int_equal(said, 0);
    add(book, ONE, "after\n");
    assert_non_null(strstr(journal_read(fd), "too slow for "));
    assert_non_null(strstr(journal_read(fd), "MESSAGE=after\n"));

    /* A journal that was started again is found again. */
    close(fd);
    fd = listen_as_the_journal();
    add(book, ONE, "again\n");
    assert_non_null(strstr(journal_read(fd), "MESSAGE=again\n"));
    close(fd);
    logbook_free(book);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_told_apart_by_request),
        cmocka_unit_test(an_unfinished_line_waits_for_its_rest),
        cmocka_unit_test(empty_lines_are_lines),
        cmocka_unit_test(a_long_line_comes_in_pieces_however_it_is_cut),
        cmocka_unit_test(the_oldest_lines_go_when_the_bound_is_reached),
        cmocka_unit_test(bytes_of_any_kind_are_kept),
        cmocka_unit_test(a_reader_asks_for_what_is_new),
        cmocka_unit_test(followers_hear_their_request_until_they_leave),
        cmocka_unit_test(a_follower_may_leave_while_it_is_told),
        cmocka_unit_test(followers_outlive_the_function),
        cmocka_unit_test_setup_teardown(a_line_goes_to_the_journal_with_function_and_request,
                                        make_journal_folder, remove_journal_folder),
    };
    return cmocka_run_group_tests_name("logbook", tests, without_a_journal, NULL);
}
