/* Tables for people, numbers in them, and the log's lines. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/log_lines.h"
#include "cli/table.h"

static const struct table_column columns[] = {{"NAME", false}, {"N", true}, {"END", false}};

static char *printed(const struct table *table, bool colours, size_t rows, size_t width) {
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    table_print(table, to, colours, rows, width, false);
    fclose(to);
    return text;
}

static void fill(struct table *table) {
    table_begin(table, columns, 3);
    table_cell(table, TABLE_PLAIN, "a");
    table_cell(table, TABLE_RED, "%d", 1000);
    table_cell(table, TABLE_PLAIN, "x");
    table_cell(table, TABLE_PLAIN, "grün");
    table_cell(table, TABLE_PLAIN, "7");
    table_cell(table, TABLE_PLAIN, "\033[2J\ny");
}

static void columns_are_as_wide_as_their_widest_cell(void **state) {
    (void)state;
    struct table table;
    fill(&table);
    char *text = printed(&table, false, 0, 0);
    assert_string_equal(text, "NAME     N  END\n"
                              "a     1000  x\n"
                              "grün     7  ?[2J?y\n");
    free(text);
    table_end(&table);
}

static void a_terminals_size_cuts_rows_and_lines(void **state) {
    (void)state;
    struct table table;
    fill(&table);
    char *text = printed(&table, true, 1, 8);
    assert_string_equal(text, "\033[2mNAME\033[0m    \n"
                              "a     \033[31m10\033[0m\n");
    free(text);
    table_end(&table);
}

static void sizes_and_times_have_three_digits_and_a_unit(void **state) {
    static const struct {
        double number;
        const char *size, *time;
    } cases[] = {
        {0, "0", "0"},
        {999, "999", "999us"},
        {999.6, "1000", "1.00ms"},
        {1023, "1023", "1.02ms"},
        {1024, "1K", "1.02ms"},
        {12345, "12K", "12.3ms"},
        {1048576, "1M", "1.05s"},
        {1.5 * (1 << 30), "1.5G", "27m"},
        {99950, "98K", "100ms"},
        {3600e6 * 3, "10G", "3.0h"},
    };
    char text[TABLE_NUMBER];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_string_equal(table_size(cases[i].number, text), cases[i].size);
        assert_string_equal(table_time(cases[i].number, text), cases[i].time);
    }
}

static void a_date_that_is_none_is_a_question_mark(void **state) {
    char text[TABLE_NUMBER];
    (void)state;
    setenv("TZ", "UTC", 1);
    assert_string_equal(table_date(1700000000, text), "2023-11-14 22:13:20");
    assert_string_equal(table_date(-1, text), "?");
    assert_string_equal(table_date(1e300, text), "?");
}

/* --- log lines ----------------------------------------------------------------------- */

static char *logged(struct log_lines *lines, const char *text, size_t step, int *r) {
    char *out = NULL;
    size_t size = 0, length = strlen(text);
    lines->to = open_memstream(&out, &size);
    assert_non_null(lines->to);
    *r = 0;
    for (size_t at = 0; *r == 0 && at < length; at += step)
        *r = log_lines_add(lines, text + at, length - at < step ? length - at : step);
    fclose(lines->to);
    return out;
}

static void lines_are_the_same_however_they_come(void **state) {
    static const char text[] =
        "{\"time\":1700000000123456,\"requestId\":\"r\",\"message\":\"one\"}\n\r\n\n"
        "{\"time\":1700000000999999,\"requestId\":\"\",\"message\":\"\\u00e4\\n\"}\n{\"mess";
    static struct log_lines lines;
    (void)state;
    setenv("TZ", "UTC", 1);
    for (size_t step = 1; step < sizeof text; step++) {
        int r;
        memset(&lines, 0, sizeof lines);
        char *out = logged(&lines, text, step, &r);
        assert_int_equal(r, 0);
        assert_string_equal(out, "2023-11-14T22:13:20.123 r one\n"
                                 "2023-11-14T22:13:20.999 - ä\n\n");
        free(out);
        assert_int_equal(lines.used, 6);
    }
}

static void a_line_that_is_no_log_is_refused(void **state) {
    static const char *const bad[] = {"x\n", "[]\n", "{\"a\":\n", "3\n"};
    static struct log_lines lines;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int r;
        memset(&lines, 0, sizeof lines);
        free(logged(&lines, bad[i], 100, &r));
        assert_int_equal(r, -EPROTO);
    }
}

static void a_line_without_end_is_refused(void **state) {
    static struct log_lines lines;
    static char block[60000];
    (void)state;
    memset(&lines, 0, sizeof lines);
    memset(block, 'x', sizeof block);
    assert_int_equal(log_lines_add(&lines, block, sizeof block), 0);
    assert_int_equal(log_lines_add(&lines, block, sizeof block), 0);
    assert_int_equal(log_lines_add(&lines, block, sizeof block), -EPROTO);
}

static void an_age_has_a_number_and_a_unit(void **state) {
    static const char *const bad[] = {"", "5", "m", "5x", "-5m", "5 m", "1.5h", "9999999999s"};
    (void)state;
    assert_int_equal(log_lines_age("250ms"), 250000);
    assert_int_equal(log_lines_age("30s"), 30000000);
    assert_int_equal(log_lines_age("5m"), 300000000);
    assert_int_equal(log_lines_age("2h"), 7200000000);
    assert_int_equal(log_lines_age("1d"), 86400000000);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(log_lines_age(bad[i]), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(a_terminals_size_cuts_rows_and_lines),
        cmocka_unit_test(sizes_and_times_have_three_digits_and_a_unit),
        cmocka_unit_test(a_date_that_is_none_is_a_question_mark),
        cmocka_unit_test(lines_are_the_same_however_they_come),
        cmocka_unit_test(a_line_that_is_no_log_is_refused),
        cmocka_unit_test(a_line_without_end_is_refused),
        cmocka_unit_test(an_age_has_a_number_and_a_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
