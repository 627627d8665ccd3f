/* Texts and numbers of JSON, and base64: what the small client reads without a library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/base64.h"
#include "cli/decode.h"

static const char *text_of(const char *json) {
    static char text[64];
    assert_true(json_scan(json, strlen(json), NULL));
    decode_text(json, strlen(json), "a", text, sizeof text);
    return text;
}

static void escapes_become_what_they_mean(void **state) {
    (void)state;
    assert_string_equal(text_of("{\"a\":\"x\\n\\t\\\"\\\\\\/\\b\\f\\r\"}"), "x\n\t\"\\/\b\f\r");
    assert_string_equal(text_of("{\"a\":\"\\u0041\\u00e4\\u20AC\\ud83d\\ude00\"}"), "Aä€😀");
    assert_string_equal(text_of("{\"a\":\"ä€😀\"}"), "ä€😀");
}

static void halves_of_pairs_and_zeros_do_no_harm(void **state) {
    (void)state;
    assert_string_equal(text_of("{\"a\":\"\\ud83dx\"}"), "\xef\xbf\xbdx");
    assert_string_equal(text_of("{\"a\":\"\\ude00\\ud83d\"}"), "\xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(text_of("{\"a\":\"\\ud83d\\u0041\"}"), "\xef\xbf\xbd"
                                                               "A");
    assert_string_equal(text_of("{\"a\":\"x\\u0000y\"}"), "xy");
}

static void a_long_text_is_cut_between_characters(void **state) {
    (void)state;
    char text[6];
    const char *json = "{\"a\":\"ab\xe2\x82\xac\xe2\x82\xac\"}";
    assert_int_equal(decode_text(json, strlen(json), "a", text, sizeof text), 5);
    assert_string_equal(text, "ab\xe2\x82\xac");
}

static void what_is_no_text_is_none(void **state) {
    static const char *const none[] = {"{}", "{\"a\":3}", "[\"a\"]", "\"a\"",
                                       "{\"a\":{\"a\":\"x\"}}"};
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        assert_string_equal(text_of(none[i]), "");
}

static void numbers_are_read_to_the_digits_that_are_asked(void **state) {
    static const struct {
        const char *json;
        unsigned digits;
        uint64_t number;
        int r;
    } cases[] = {
        {"{\"a\":12}", 0, 12, 0},     {"{\"a\":12.5}", 0, 12, 0},
        {"{\"a\":1.23}", 3, 1230, 0}, {"{\"a\":0.0049}", 3, 4, 0},
        {"{\"a\":7}", 3, 7000, 0},    {"{\"a\":-1}", 0, 0, -1},
        {"{\"a\":\"1\"}", 0, 0, -1},  {"{}", 0, 0, -1},
        {"{\"a\":1e3}", 0, 1, -1},    {"{\"a\":18446744073709551615}", 0, UINT64_MAX, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t number;
        const char *json = cases[i].json;
        assert_int_equal(decode_number(json, strlen(json), "a", cases[i].digits, &number),
                         cases[i].r);
        if (cases[i].r == 0)
            assert_int_equal(number, cases[i].number);
    }
}

static void a_number_that_is_too_large_is_none(void **state) {
    (void)state;
    uint64_t number;
    const char *json = "{\"a\":18446744073709551616}", *point = "{\"a\":18446744073709551615.5}";
    assert_int_equal(decode_number(json, strlen(json), "a", 0, &number), -1);
    assert_int_equal(decode_number(point, strlen(point), "a", 1, &number), -1);
}

static void base64_comes_back_as_it_was(void **state) {
    (void)state;
    for (size_t length = 0; length < 70; length++) {
        char bytes[70];
        struct json_out out = {0};
        for (size_t i = 0; i < length; i++)
            bytes[i] = (char)(i * 37 + length);
        base64_put(&out, bytes, length);
        json_put_raw(&out, "", 1);
        assert_non_null(out.data);
        assert_int_equal(base64_decode(out.data), (long)length);
        assert_memory_equal(out.data, bytes, length);
        free(out.data);
    }
}

static void what_is_no_base64_is_refused(void **state) {
    static const char *const bad[] = {
        "a", "ab", "abc", "ab=c", "a===", "====", "ab\n=", "ab==cdef", "a b="};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[16];
        strcpy(text, bad[i]);
        if (base64_decode(text) != -1)
            fail_msg("taken: %s", bad[i]);
    }
    char known[] = "aGVsbG8=";
    assert_int_equal(base64_decode(known), 5);
    assert_memory_equal(known, "hello", 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escapes_become_what_they_mean),
        cmocka_unit_test(halves_of_pairs_and_zeros_do_no_harm),
        cmocka_unit_test(a_long_text_is_cut_between_characters),
        cmocka_unit_test(what_is_no_text_is_none),
        cmocka_unit_test(numbers_are_read_to_the_digits_that_are_asked),
        cmocka_unit_test(a_number_that_is_too_large_is_none),
        cmocka_unit_test(base64_comes_back_as_it_was),
        cmocka_unit_test(what_is_no_base64_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
