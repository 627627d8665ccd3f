#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "images/json.h"

struct text {
    const char *bytes;
    size_t length;
};
#define TEXT(literal)                                                                              \
    { literal, sizeof(literal) - 1 }

/* From memory of exactly the text's size, so that a sanitizer sees a read beyond it. */
static bool scan(const char *bytes, size_t length, struct json_problem *problem) {
    char *copy = malloc(length ? length : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    bool good = json_scan(copy, length, problem);
    free(copy);
    return good;
}

static void json_texts_are_accepted(void **state) {
    (void)state;
    static const struct text good[] = {
        TEXT("0"),
        TEXT("-0"),
        TEXT("-0.0e-0"),
        TEXT("9007199254740993"),
        TEXT("123456789012345678901234567890"),
        TEXT("1E400"),
        TEXT("1.5e+10"),
        TEXT("true"),
        TEXT("false"),
        TEXT("null"),
        TEXT("\"\""),
        TEXT("\"plain ascii, long enough for more than one step of eight\""),
        TEXT("\"1234567\""),
        TEXT("\"12345678\""),
        TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u0000\""),
        TEXT("\"\\ud83d\""),
        TEXT("\"\\udc00\\ud800\""),
        TEXT("\"\x7f\""),
        TEXT("\"\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf\""),
        TEXT("\"\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf\""),
        TEXT("\"\xef\xbb\xbf\""),
        TEXT("[]"),
        TEXT("{}"),
        TEXT(" \t\r\n[ ] \n"),
        TEXT("[[],{},[[{}]]]"),
        TEXT("[1,\"a\",null,{\"k\":[true]}]"),
        TEXT("{\"\":0}"),
        TEXT("{\"a\":1,\"a\":2}"),
        TEXT("{ \"a\" : { \"b\" : [ 1 , 2 ] } , \"c\" : \"d\" }"),
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct json_problem problem = {0, NULL};
        if (!scan(good[i].bytes, good[i].length, &problem))
            fail_msg("%s: at %zu: %s", good[i].bytes, problem.offset, problem.what);
    }
}

static void what_json_is_not_is_refused_at_the_byte_that_is_wrong(void **state) {
    (void)state;
    static const struct {
        struct text text;
        size_t offset;
    } bad[] = {
        {TEXT(""), 0},
        {TEXT("  "), 2},
        {TEXT("01"), 1},
        {TEXT("-"), 1},
        {TEXT("-01"), 2},
        {TEXT("+1"), 0},
        {TEXT(".5"), 0},
        {TEXT("1."), 2},
        {TEXT("1.e5"), 2},
        {TEXT("1e"), 2},
        {TEXT("1e+"), 3},
        {TEXT("0x10"), 1},
        {TEXT("1 2"), 2},
        {TEXT("--1"), 1},
        {TEXT("NaN"), 0},
        {TEXT("Infinity"), 0},
        {TEXT("-Infinity"), 1},
        {TEXT("tru"), 0},
        {TEXT("True"), 0},
        {TEXT("truex"), 4},
        {TEXT("nul"), 0},
        {TEXT("'a'"), 0},
        {TEXT("\"a"), 2},
        {TEXT("\"12345678"), 9},
        {TEXT("\""), 1},
        {TEXT("\"a\\"), 3},
        {TEXT("\"\\x41\""), 2},
        {TEXT("\"\\u12\""), 5},
        {TEXT("\"\\u12g4\""), 5},
        {TEXT("\"\\u"), 3},
        {TEXT("\"a\nb\""), 2},
        {TEXT("\"a\0b\""), 2},
        {TEXT("\"1234567\x1f\""), 8},
        {TEXT("\0"), 0},
        {TEXT("1\0"), 1},
        {TEXT("[\0]"), 1},
        {TEXT("[1,]"), 3},
        {TEXT("[,1]"), 1},
        {TEXT("[1 2]"), 3},
        {TEXT("[1"), 2},
        {TEXT("["), 1},
        {TEXT("]"), 0},
        {TEXT("[1}"), 2},
        {TEXT("[1]]"), 3},
        {TEXT("{"), 1},
        {TEXT("{\"a\"}"), 4},
        {TEXT("{\"a\":}"), 5},
        {TEXT("{\"a\":1,}"), 7},
        {TEXT("{\"a\":1 \"b\":2}"), 7},
        {TEXT("{a:1}"), 1},
        {TEXT("{1:1}"), 1},
        {TEXT("{\"a\":1]"), 6},
        {TEXT("{\"a\":[1}"), 7},
        {TEXT("// no\n1"), 0},
        {TEXT("1 // no"), 2},
        {TEXT("\xef\xbb\xbf{}"), 0},
        {TEXT("\xff\xfe{\0}\0"), 0},
        /* UTF-8 */
        {TEXT("\"\x80\""), 1},
        {TEXT("\"\xbf\""), 1},
        {TEXT("\"\xc3\""), 1},
        {TEXT("\"\xc3"), 1},
        {TEXT("\"\xc0\xaf\""), 1},
        {TEXT("\"\xc1\xbf\""), 1},
        {TEXT("\"\xe0\x9f\xbf\""), 1},
        {TEXT("\"\xe2\x82\""), 1},
        {TEXT("\"\xe2\x82"), 1},
        {TEXT("\"\xed\xa0\x80\""), 1},
        {TEXT("\"\xed\xbf\xbf\""), 1},
        {TEXT("\"\xf0\x8f\xbf\xbf\""), 1},
        {TEXT("\"\xf0\x9f\x98\""), 1},
        {TEXT("\"\xf4\x90\x80\x80\""), 1},
        {TEXT("\"\xf5\x80\x80\x80\""), 1},
        {TEXT("\"\xfe\""), 1},
        {TEXT("\"\xff\""), 1},
        {TEXT("\"12345678901\xff\""), 12},
        {TEXT("\xc3\xa9"), 0},
        {TEXT("[1,\xc2\xa0 2]"), 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct json_problem problem = {12345, NULL};
        if (scan(bad[i].text.bytes, bad[i].text.length, &problem))
            fail_msg("number %zu was accepted: %s", i, bad[i].text.bytes);
        assert_non_null(problem.what);
        if (problem.offset != bad[i].offset)
            fail_msg("number %zu, %s: the problem is at %zu, not at %zu", i, bad[i].text.bytes,
                     bad[i].offset, problem.offset);
    }
    assert_false(json_scan(NULL, 0, NULL));
}

/* depth opening brackets of one kind, a value, and the closing ones. */
static char *nested(size_t depth, bool objects, size_t *length) {
    const char *open = objects ? "{\"k\":" : "[";
    size_t step = strlen(open);
    char *text = malloc(depth * (step + 1) + 1), *p = text;
    assert_non_null(text);
    for (size_t i = 0; i < depth; i++, p += step)
        memcpy(p, open, step);
    *p++ = '1';
    memset(p, objects ? '}' : ']', depth);
    *length = depth * (step + 1) + 1;
    return text;
}

static void a_depth_of_1000_is_the_deepest(void **state) {
    (void)state;
    for (int objects = 0; objects < 2; objects++) {
        struct json_problem problem;
        size_t length;
        char *text = nested(1000, objects, &length);
        assert_true(json_scan(text, length, NULL));
        free(text);
        text = nested(1001, objects, &length);
        assert_false(json_scan(text, length, &problem));
        assert_string_equal(problem.what, "nested deeper than 1,000");
        assert_int_equal(problem.offset, objects ? 5000 : 1000);
        free(text);
    }
}

static void many_brackets_are_refused_without_a_stack_for_them(void **state) {
    (void)state;
    size_t length = 100000;
    char *text = malloc(length);
    assert_non_null(text);
    memset(text, '[', length);
    assert_false(json_scan(text, length, NULL));
    for (size_t i = 0; i < length; i += 2)
        memcpy(text + i, "[]", 2);
    assert_false(json_scan(text, length, NULL)); /* "[][]": a second value */
    for (size_t i = 0; i < length; i += 4)
        memcpy(text + i, "[],[", 4);
    text[0] = ' ';
    assert_false(json_scan(text, length, NULL));
    free(text);
}

static void closed_brackets_do_not_count_as_depth(void **state) {
    (void)state;
    size_t count = 5000;
    char *text = malloc(3 * count + 2);
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < count; i++)
        memcpy(text + 1 + 3 * i, i % 2 ? "{}," : "[],", 3);
    text[3 * count] = ']';
    assert_true(json_scan(text, 3 * count + 1, NULL));
    free(text);
}

/* Every bad byte at every place of a long string: the eight byte steps see all. */
static void a_bad_byte_is_found_at_every_place_of_a_long_string(void **state) {
    (void)state;
    char text[42];
    for (size_t place = 1; place < sizeof text - 1; place++) {
        for (int byte = 0; byte < 256; byte++) {
            memset(text, 'x', sizeof text);
            text[0] = text[sizeof text - 1] = '"';
            text[place] = (char)byte;
            bool bad = byte < 0x20 || byte == '"' || byte == '\\' || byte >= 0x80;
            assert_int_equal(scan(text, sizeof text, NULL), !bad);
        }
    }
}

static void assert_member(const char *text, const char *key, const char *expected) {
    size_t length = 0;
    const char *value = json_member(text, strlen(text), key, &length);
    if (!expected) {
        assert_null(value);
        return;
    }
    assert_non_null(value);
    assert_int_equal(length, strlen(expected));
    assert_memory_equal(value, expected, length);
}

static void a_member_is_found_with_its_bytes_unchanged(void **state) {
    (void)state;
    const char *text = " {\"a\" : 9007199254740993 , \"b\":[1, {\"a\":5}],\"c\":\"x\\\"y\"} ";
    assert_member(text, "a", "9007199254740993");
    assert_member(text, "b", "[1, {\"a\":5}]");
    assert_member(text, "c", "\"x\\\"y\"");
    assert_member(text, "d", NULL);
    assert_member(text, "", NULL);
    assert_member("{\"a\":1,\"a\":2}", "a", "2");
    assert_member("{\"ab\":1}", "a", NULL);
    assert_member("{\"a\":1}", "ab", NULL);
    assert_member("{\"\\u0061\":1}", "a", NULL);
    assert_member("{}", "a", NULL);
    assert_member("[\"a\",1]", "a", NULL);
    assert_member("\"a\"", "a", NULL);
    assert_member("", "a", NULL);
}

static void assert_put(const char *bytes, size_t length, const char *expected) {
    struct json_out out = {0};
    json_put_string(&out, bytes, length);
    assert_false(out.failed);
    assert_int_equal(out.length, strlen(expected));
    assert_memory_equal(out.data, expected, out.length);
    assert_true(json_scan(out.data, out.length, NULL));
    free(out.data);
}

static void what_is_written_as_a_string_is_json(void **state) {
    (void)state;
    assert_put("", 0, "\"\"");
    assert_put("plain text of some length", 25, "\"plain text of some length\"");
    assert_put("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
    assert_put("\b\f\n\r\t\0\x1f\x7f", 8, "\"\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\"");
    assert_put("h\xc3\xa9 \xf0\x9f\x98\x80", 8, "\"h\xc3\xa9 \xf0\x9f\x98\x80\"");
    assert_put("a\xff"
               "b\xc3",
               4,
               "\"a\xef\xbf\xbd"
               "b\xef\xbf\xbd\"");
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    struct json_out out = {0};
    for (size_t from = 0; from < 256; from++)
        json_put_string(&out, all + from, 256 - from);
    assert_false(out.failed);
    for (size_t i = 0; i < out.length; i++)
        assert_true((unsigned char)out.data[i] >= 0x20);
    assert_true(json_is_utf8(out.data, out.length, NULL));
    free(out.data);
}

static void raw_bytes_and_text_are_appended_as_they_are(void **state) {
    (void)state;
    struct json_out out = {0};
    json_put_text(&out, "{\"n\":");
    for (int i = 0; i < 1000; i++)
        json_put_raw(&out, "1\0", 2);
    json_put_raw(&out, NULL, 0);
    assert_false(out.failed);
    assert_int_equal(out.length, 2005);
    assert_memory_equal(out.data, "{\"n\":1\0001\0", 9);
    free(out.data);
}

static void a_size_that_cannot_be_had_sets_failed_once_and_keeps_the_bytes(void **state) {
    (void)state;
    struct json_out out = {0};
    json_put_text(&out, "abc");
    json_put_raw(&out, "x", SIZE_MAX - 8);
    assert_true(out.failed);
    json_put_text(&out, "more");
    assert_int_equal(out.length, 3);
    assert_memory_equal(out.data, "abc", 3);
    free(out.data);
}

static void utf8_is_told_from_other_bytes(void **state) {
    (void)state;
    size_t offset = 99;
    assert_true(json_is_utf8("", 0, NULL));
    assert_true(json_is_utf8("a\0\n\xc3\xa9 and some more ascii", 26, &offset));
    assert_false(json_is_utf8("0123456789\xff", 11, &offset));
    assert_int_equal(offset, 10);
    assert_false(json_is_utf8("\xed\xa0\x80", 3, &offset));
    assert_int_equal(offset, 0);
    assert_false(json_is_utf8("ab\xf0\x9f\x98", 5, &offset));
    assert_int_equal(offset, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_texts_are_accepted),
        cmocka_unit_test(what_json_is_not_is_refused_at_the_byte_that_is_wrong),
        cmocka_unit_test(a_depth_of_1000_is_the_deepest),
        cmocka_unit_test(many_brackets_are_refused_without_a_stack_for_them),
        cmocka_unit_test(closed_brackets_do_not_count_as_depth),
        cmocka_unit_test(a_bad_byte_is_found_at_every_place_of_a_long_string),
        cmocka_unit_test(a_member_is_found_with_its_bytes_unchanged),
        cmocka_unit_test(what_is_written_as_a_string_is_json),
        cmocka_unit_test(raw_bytes_and_text_are_appended_as_they_are),
        cmocka_unit_test(a_size_that_cannot_be_had_sets_failed_once_and_keeps_the_bytes),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
