#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "runner/failure.h"
#include "images/json.h"
#include "runner/outcome.h"
#include "runner/report.h"

static struct function function;
static struct invocation invocation;
static struct answer answer;

static int start(void **state) {
    (void)state;
    memset(&invocation, 0, sizeof invocation);
    memset(&function, 0, sizeof function);
    answer = (struct answer){.request_id = "11111111-2222-4333-8444-555555555555"};
    function.limits.memory = 128 << 20;
    invocation.function = &function;
    strcpy(invocation.request_id, "11111111-2222-4333-8444-555555555555");
    return 0;
}

static int finish(void **state) {
    (void)state;
    free(invocation.result);
    free(answer.result);
    return 0;
}

static void expect_member(const char *text, size_t length, const char *key, const char *value) {
    size_t found_length;
    const char *found = json_member(text, length, key, &found_length);
    assert_non_null(found);
    assert_int_equal(found_length, strlen(value));
    assert_memory_equal(found, value, found_length);
}

static void every_outcome_has_a_name_and_the_exit_code_of_the_table(void **state) {
    (void)state;
    static const struct {
        int outcome, code;
    } expected[] = {
        {OUTCOME_SUCCESS, 0},       {OUTCOME_UNHANDLED, 1},      {OUTCOME_EXIT, 1},
        {OUTCOME_TIMEOUT, 124},     {OUTCOME_INIT_TIMEOUT, 124}, {OUTCOME_MEMORY, 137},
        {OUTCOME_TOO_LARGE, 1},     {OUTCOME_NOT_JSON, 1},       {OUTCOME_ENTRYPOINT, 1},
        {OUTCOME_CLIENT_GONE, 130}, {OUTCOME_BAD_EVENT, 3},      {OUTCOME_EVENT_TOO_LARGE, 3},
        {OUTCOME_BAD_FUNCTION, 3},  {OUTCOME_NO_FUNCTION, 3},    {OUTCOME_THROTTLED, 4},
        {OUTCOME_SERVICE, 5},
    };
    assert_int_equal(sizeof expected / sizeof *expected, OUTCOME_COUNT);
    for (int i = 0; i < OUTCOME_COUNT; i++) {
        assert_int_equal(outcome_exit_code(expected[i].outcome), expected[i].code);
        assert_non_null(outcome_name(i));
    }
}

static void a_failure_is_an_error_object_with_its_request(void **state) {
    (void)state;
    failure_set(&answer, OUTCOME_TIMEOUT, "said \"%s\"\n", "no");
    assert_true(json_scan(answer.result, answer.result_length, NULL));
    expect_member(answer.result, answer.result_length, "errorMessage", "\"said \\\"no\\\"\\n\"");
    expect_member(answer.result, answer.result_length, "errorType", "\"Sandbox.Timedout\"");
    assert_int_equal(answer.outcome, OUTCOME_TIMEOUT);
}

static void an_end_without_a_result_names_its_status_or_signal(void **state) {
    (void)state;
    failure_set_exit(&answer, 3 << 8);
    assert_non_null(strstr(answer.result, "exit status 3"));
    failure_set_exit(&answer, SIGKILL);
    assert_non_null(strstr(answer.result, "signal: killed"));
    failure_set_exit(&answer, 0);
    assert_non_null(strstr(answer.result, "without providing a reason"));
}

static void a_forbidden_architecture_is_said_in_the_outcome(void **state) {
    (void)state;
    failure_set_exit(&answer, SIGSYS);
    assert_non_null(strstr(answer.result, "foreign architecture"));
}

static void the_report_line_is_worded_as_lambda_does(void **state) {
    (void)state;
    struct json_out out = {0};
    invocation.duration_us = 15740;
    invocation.init_us = 130490;
    invocation.usage.peak_memory = (55 << 20) + 1;
    report_line(&invocation, &out);
    json_put_raw(&out, "", 1);
    assert_ptr_equal(
        strstr(out.data,
               "REPORT RequestId: 11111111-2222-4333-8444-555555555555\tDuration: 15.74 ms\t"
               "Billed Duration: 16 ms\tMemory Size: 128 MB\tMax Memory Used: 56 MB\t"
               "Init Duration: 130.49 ms\t"),
        out.data);
    free(out.data);
}

static void the_report_says_when_it_ran_without_control_groups(void **state) {
    (void)state;
    struct json_out out = {0};
    invocation.spec.without_cgroups = true;
    report_line(&invocation, &out);
    json_put_raw(&out, "", 1);
    assert_non_null(strstr(out.data, "Limits: rlimit"));
    free(out.data);
}

static void the_json_object_is_json_with_the_result_unchanged(void **state) {
    (void)state;
    struct json_out out = {0};
    invocation.result = strdup("{\"n\": 9007199254740993}");
    invocation.result_length = strlen(invocation.result);
    invocation.log = (char *)"line\n\xff";
    invocation.log_length = 6;
    report_json(&invocation, &out);
    assert_true(json_scan(out.data, out.length, NULL));
    expect_member(out.data, out.length, "result", "{\"n\": 9007199254740993}");
    expect_member(out.data, out.length, "outcome", "\"Success\"");
    expect_member(out.data, out.length, "log", "\"line\\n\xef\xbf\xbd\"");
    free(out.data);
}

static void a_raw_result_that_is_no_text_is_given_in_base64(void **state) {
    (void)state;
    struct json_out out = {0};
    function.output = OUTPUT_RAW;
    invocation.result = malloc(4);
    memcpy(invocation.result, "\xff\xfe\x01\x02", 4);
    invocation.result_length = 4;
    report_json(&invocation, &out);
    assert_true(json_scan(out.data, out.length, NULL));
    expect_member(out.data, out.length, "resultBase64", "\"//4BAg==\"");
    free(out.data);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, finish)
    const struct CMUnitTest tests[] = {
        TEST(every_outcome_has_a_name_and_the_exit_code_of_the_table),
        TEST(a_failure_is_an_error_object_with_its_request),
        TEST(an_end_without_a_result_names_its_status_or_signal),
        TEST(a_forbidden_architecture_is_said_in_the_outcome),
        TEST(the_report_line_is_worded_as_lambda_does),
        TEST(the_report_says_when_it_ran_without_control_groups),
        TEST(the_json_object_is_json_with_the_result_unchanged),
        TEST(a_raw_result_that_is_no_text_is_given_in_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
