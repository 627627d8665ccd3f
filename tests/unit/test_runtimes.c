#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "images/runtimes.h"

static struct error err;
static struct runtime_plan plan;

#define PAIRS 4
static struct function_pair pairs[PAIRS], extra[PAIRS];

static struct function make_function(int runtime, char *handler) {
    return (struct function){.name = (char *)"hello",
                             .runtime = runtime,
                             .handler = handler,
                             .limits = {.memory = 192ul << 20},
                             .environment = pairs};
}

static struct runtime_call make_call(void) {
    return (struct runtime_call){.request_id = "c0ffee",
                                 .version = "$LATEST",
                                 .log_stream = "2030/01/02/[$LATEST]abc",
                                 .extra = extra};
}

static int set_up(void **state) {
    (void)state;
    runtimes_python3 = runtimes_node = "/usr/bin/env"; /* on every machine */
    memset(&err, 0, sizeof err);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    runtime_plan_free(&plan);
    return 0;
}

static int make_plan(const struct function *function) {
    struct runtime_call call = make_call();
    runtime_plan_free(&plan);
    return runtime_plan(function, &call, &plan, &err);
}

/* The value of a variable, NULL where there is none. It must not stand there twice. */
static const char *value_of(const char *name) {
    const char *found = NULL;
    size_t length = strlen(name);
    for (char **entry = plan.environment; entry && *entry; entry++)
        if (!strncmp(*entry, name, length) && (*entry)[length] == '=') {
            assert_null(found);
            found = *entry + length + 1;
        }
    return found;
}

static void assert_arguments(const char *first, const char *second, const char *third) {
    const char *const expected[] = {first, second, third, NULL};
    for (size_t i = 0; expected[i]; i++) {
        assert_non_null(plan.arguments[i]);
        assert_string_equal(plan.arguments[i], expected[i]);
        if (!expected[i + 1])
            assert_null(plan.arguments[i + 1]);
    }
}

static void python_runs_its_bootstrap_by_the_interpreters_full_path(void **state) {
    struct function function = make_function(RUNTIME_PYTHON, (char *)"app.handler");
    (void)state;
    assert_int_equal(make_plan(&function), 0);
    assert_string_equal(plan.program, "/usr/bin/env");
    assert_arguments("/usr/bin/env", "/var/runtime/python/bootstrap.py", NULL);
    assert_true(plan.frames);
    assert_string_equal(value_of("_HANDLER"), "app.handler");
    assert_null(value_of("FNRUN_RUNTIME_FORM"));
}

static void node_runs_its_bootstrap_and_is_told_of_the_azure_form(void **state) {
    struct function function = make_function(RUNTIME_NODE, (char *)"index.handler");
    (void)state;
    assert_int_equal(make_plan(&function), 0);
    assert_arguments("/usr/bin/env", "/var/runtime/node/bootstrap.js", NULL);
    assert_true(plan.frames);
    assert_null(value_of("FNRUN_RUNTIME_FORM"));
    assert_non_null(strstr(value_of("AWS_EXECUTION_ENV"), "AWS_Lambda_nodejs"));
    function.runtime = RUNTIME_AZURE;
    assert_int_equal(make_plan(&function), 0);
    assert_arguments("/usr/bin/env", "/var/runtime/node/bootstrap.js", NULL);
    assert_string_equal(value_of("FNRUN_RUNTIME_FORM"), "azure");
}

static void native_loads_the_shared_object_and_its_symbol(void **state) {
    struct function function = make_function(RUNTIME_NATIVE, (char *)"lib/hello.so:answer");
    (void)state;
    assert_int_equal(make_plan(&function), 0);
    assert_string_equal(plan.program, "/var/runtime/native/fnrun-native");
    assert_arguments("/var/runtime/native/fnrun-native", "/var/task/lib/hello.so", "answer");
    assert_true(plan.frames);
    function.handler = (char *)"hello.so";
    assert_int_equal(make_plan(&function), 0);
    assert_arguments("/var/runtime/native/fnrun-native", "/var/task/hello.so", "handler");
    function.handler = (char *)"hello.so:";
    assert_int_equal(make_plan(&function), -EINVAL);
    assert_non_null(strstr(err.message, "file.so:name"));
}

static void exec_runs_the_file_itself_with_event_and_result_on_its_standard_streams(void **state) {
    struct function function = make_function(RUNTIME_EXEC, (char *)"bin/count.sh");
    (void)state;
    assert_int_equal(make_plan(&function), 0);
    assert_string_equal(plan.program, "/var/task/bin/count.sh");
    assert_arguments("/var/task/bin/count.sh", NULL, NULL);
    assert_false(plan.frames);
    assert_string_equal(value_of("AWS_LAMBDA_REQUEST_ID"), "c0ffee");
    assert_null(value_of("AWS_EXECUTION_ENV"));
}

static void a_handler_outside_the_folder_is_refused(void **state) {
    static const char *const bad[] = {"/bin/sh", "../x", "a/../../x", "..", "a/..", ""};
    static const char *const good[] = {"..x", "a..b/c", "./x", "a/.../b", "x.."};
    struct function function = make_function(RUNTIME_EXEC, NULL);
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        function.handler = (char *)bad[i];
        assert_int_equal(make_plan(&function), -EINVAL);
        assert_non_null(strstr(err.message, "without a leading /"));
    }
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        function.handler = (char *)good[i];
        assert_int_equal(make_plan(&function), 0);
    }
    function.handler = NULL;
    assert_int_equal(make_plan(&function), -EINVAL);
}

static void the_variables_of_lambda_are_set(void **state) {
    static const char *const expected[][2] = {
        {"AWS_LAMBDA_FUNCTION_NAME", "hello"},
        {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "192"},
        {"AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"},
        {"AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/hello"},
        {"AWS_LAMBDA_LOG_STREAM_NAME", "2030/01/02/[$LATEST]abc"},
        {"AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"},
        {"AWS_REGION", "us-east-1"},
        {"AWS_DEFAULT_REGION", "us-east-1"},
        {"LAMBDA_TASK_ROOT", "/var/task"},
        {"LAMBDA_RUNTIME_DIR", "/var/runtime"},
        {"_HANDLER", "run"},
        {"TZ", ":UTC"},
        {"LANG", "C.UTF-8"},
        {"PATH", "/usr/local/bin:/usr/bin:/bin"},
        {"HOME", "/tmp"},
    };
    struct function function = make_function(RUNTIME_EXEC, (char *)"run");
    (void)state;
    assert_int_equal(make_plan(&function), 0);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        assert_non_null(value_of(expected[i][0]));
        assert_string_equal(value_of(expected[i][0]), expected[i][1]);
    }
    setenv("FNRUN_TEST_OF_THE_CALLERS_OWN", "1", 1);
    assert_null(value_of("FNRUN_TEST_OF_THE_CALLERS_OWN"));
}

static void the_later_of_equal_names_wins_and_stands_once(void **state) {
    struct function function = make_function(RUNTIME_EXEC, (char *)"run");
    (void)state;
    pairs[0] = (struct function_pair){(char *)"TZ", (char *)"Europe/Berlin"};
    pairs[1] = (struct function_pair){(char *)"GREETING2", (char *)"other"};
    pairs[2] = (struct function_pair){(char *)"GREETING", (char *)"hello"};
    pairs[3] = (struct function_pair){(char *)"AWS_REGION", (char *)"eu-west-1"};
    extra[0] = (struct function_pair){(char *)"GREETING", (char *)"a=b"};
    extra[1] = (struct function_pair){(char *)"AWS_ACCESS_KEY_ID", (char *)"key"};
    extra[2] = (struct function_pair){(char *)"EMPTY", NULL};
    function.environment_count = 4;
    struct runtime_call call = make_call();
    call.extra_count = 3;
    assert_int_equal(runtime_plan(&function, &call, &plan, &err), 0);
    assert_string_equal(value_of("TZ"), "Europe/Berlin");
    assert_string_equal(value_of("GREETING"), "a=b");
    assert_string_equal(value_of("GREETING2"), "other");
    assert_string_equal(value_of("AWS_REGION"), "eu-west-1");
    assert_string_equal(value_of("AWS_ACCESS_KEY_ID"), "key");
    assert_string_equal(value_of("EMPTY"), "");
}

static void who_sets_one_of_the_two_regions_means_both(void **state) {
    struct function function = make_function(RUNTIME_EXEC, (char *)"run");
    (void)state;
    function.environment_count = 1;
    pairs[0] = (struct function_pair){(char *)"AWS_REGION", (char *)"eu-west-1"};
    assert_int_equal(make_plan(&function), 0);
    assert_string_equal(value_of("AWS_DEFAULT_REGION"), "eu-west-1");
    pairs[0].key = (char *)"AWS_DEFAULT_REGION";
    assert_int_equal(make_plan(&function), 0);
    assert_string_equal(value_of("AWS_REGION"), "eu-west-1");
    pairs[1] = (struct function_pair){(char *)"AWS_REGION", (char *)"eu-west-2"};
    function.environment_count = 2;
    assert_int_equal(make_plan(&function), 0);
    assert_string_equal(value_of("AWS_REGION"), "eu-west-2");
    assert_string_equal(value_of("AWS_DEFAULT_REGION"), "eu-west-1");
}

static void a_reserved_name_is_refused_and_the_message_says_where_it_stands(void **state) {
    struct function function = make_function(RUNTIME_EXEC, (char *)"run");
    (void)state;
    pairs[0] = (struct function_pair){(char *)"_HANDLER", (char *)"x"};
    function.environment_count = 1;
    assert_int_equal(make_plan(&function), -EINVAL);
    assert_non_null(strstr(err.message, "[environment]: _HANDLER"));
    function.environment_count = 0;
    extra[0] = (struct function_pair){(char *)"LAMBDA_TASK_ROOT", (char *)"x"};
    struct runtime_call call = make_call();
    call.extra_count = 1;
    runtime_plan_free(&plan);
    assert_int_equal(runtime_plan(&function, &call, &plan, &err), -EINVAL);
    assert_non_null(strstr(err.message, "--env: LAMBDA_TASK_ROOT"));
}

static void every_name_that_a_plan_sets_is_reserved_or_the_users_to_change(void **state) {
    static const char *const free_names[] = {"PATH",
                                             "HOME",
                                             "LANG",
                                             "TZ",
                                             "AWS_REGION",
                                             "AWS_DEFAULT_REGION",
                                             "AWS_PROFILE",
                                             "AWS_SECRET_ACCESS_KEY",
                                             "AWS_SESSION_TOKEN",
                                             "AWS_LAMBDA_EXEC_WRAPPER"};
    static const int all[] = {RUNTIME_PYTHON, RUNTIME_NODE, RUNTIME_AZURE, RUNTIME_NATIVE,
                              RUNTIME_EXEC};
    (void)state;
    for (size_t i = 0; i < sizeof free_names / sizeof free_names[0]; i++)
        assert_false(runtimes_reserved(free_names[i]));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct function function = make_function(all[i], (char *)"run");
        assert_int_equal(make_plan(&function), 0);
        for (char **entry = plan.environment; *entry; entry++) {
            char name[64];
            snprintf(name, sizeof name, "%.*s", (int)strcspn(*entry, "="), *entry);
            bool known = runtimes_reserved(name);
            for (size_t j = 0; j < sizeof free_names / sizeof free_names[0]; j++)
                known |= !strcmp(name, free_names[j]);
            if (!known)
                fail_msg("%s is neither", name);
        }
    }
}

static void a_name_that_cannot_be_one_is_refused(void **state) {
    static const char *const bad[] = {"", "A=B", "="};
    struct function function = make_function(RUNTIME_EXEC, (char *)"run");
    (void)state;
    function.environment_count = 1;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        pairs[0] = (struct function_pair){(char *)bad[i], (char *)"x"};
        assert_int_equal(make_plan(&function), -EINVAL);
    }
}

static void an_environment_that_is_too_large_is_refused(void **state) {
    struct function function = make_function(RUNTIME_EXEC, (char *)"run");
    char *value = malloc(RUNTIMES_MAX_ENVIRONMENT);
    (void)state;
    assert_non_null(value);
    memset(value, 'x', RUNTIMES_MAX_ENVIRONMENT);
    pairs[0] = (struct function_pair){(char *)"BIG", value};
    pairs[1] = (struct function_pair){(char *)"BIG", (char *)"small"};
    value[RUNTIMES_MAX_ENVIRONMENT - 1] = 0;
    function.environment_count = 1;
    assert_int_equal(make_plan(&function), -E2BIG);
    assert_non_null(strstr(err.message, "131072 at most"));
    /* What a later one replaced does not count. */
    function.environment_count = 2;
    assert_int_equal(make_plan(&function), 0);
    /* 2 KiB are enough for what fnrun adds. */
    value[RUNTIMES_MAX_ENVIRONMENT - 2048] = 0;
    function.environment_count = 1;
    assert_int_equal(make_plan(&function), 0);
    free(value);
}

static void an_interpreter_that_was_not_found_is_an_error_that_says_how_to_get_it(void **state) {
    struct function python = make_function(RUNTIME_PYTHON, (char *)"app.handler");
    struct function node = make_function(RUNTIME_AZURE, (char *)"index.handler");
    (void)state;
    runtimes_python3 = runtimes_node = "";
    assert_int_equal(make_plan(&python), -ENOENT);
    assert_string_equal(err.message, "no python3 was found when fnrun was built: apt-get install "
                                     "python3, then ./bootstrap");
    assert_int_equal(make_plan(&node), -ENOENT);
    assert_non_null(strstr(err.message, "apt-get install nodejs"));
}

static void an_interpreter_that_is_gone_or_out_of_sight_is_an_error(void **state) {
    struct function python = make_function(RUNTIME_PYTHON, (char *)"app.handler");
    (void)state;
    runtimes_python3 = "/usr/bin/python3-that-is-not-there";
    assert_int_equal(make_plan(&python), -ENOENT);
    assert_non_null(strstr(err.message, runtimes_python3));
    runtimes_python3 = "/proc/self/exe";
    assert_int_equal(make_plan(&python), -ENOENT);
    assert_non_null(strstr(err.message, "outside /usr"));
}

static void the_python_version_is_told_from_the_interpreters_link(void **state) {
    struct function python = make_function(RUNTIME_PYTHON, (char *)"app.handler");
    char target[64], expected[128];
    (void)state;
    assert_int_equal(make_plan(&python), 0);
    assert_string_equal(value_of("AWS_EXECUTION_ENV"), "AWS_Lambda_python3");
    ssize_t length = readlink("/usr/bin/python3", target, sizeof target - 1);
    if (length <= 0)
        skip(); /* no such link on this machine */
    target[length] = 0;
    if (strchr(target, '/') || access("/usr/bin/python3", X_OK) < 0)
        skip(); /* another distribution's way */
    runtimes_python3 = "/usr/bin/python3";
    snprintf(expected, sizeof expected, "AWS_Lambda_%s", target);
    assert_int_equal(make_plan(&python), 0);
    assert_string_equal(value_of("AWS_EXECUTION_ENV"), expected);
}

static void a_function_without_a_runtime_is_refused(void **state) {
    struct function function = make_function(RUNTIME_UNSET, (char *)"x");
    (void)state;
    assert_int_equal(make_plan(&function), -EINVAL);
    assert_null(plan.environment);
}

static void the_forms_of_the_daemon_are_asked_for_by_variables(void **state) {
    struct function function = make_function(RUNTIME_PYTHON, (char *)"app.handler");
    struct runtime_call call = make_call();
    (void)state;
    assert_int_equal(make_plan(&function), 0);
    assert_null(value_of("FNRUN_GATE"));
    assert_null(value_of("FNRUN_SERVE"));
    call.gate = true;
    runtime_plan_free(&plan);
    assert_int_equal(runtime_plan(&function, &call, &plan, &err), 0);
    assert_string_equal(value_of("FNRUN_GATE"), "1");
    assert_null(value_of("FNRUN_SERVE"));
    assert_string_equal(value_of("AWS_LAMBDA_INITIALIZATION_TYPE"), "on-demand");
    call.gate = false;
    call.serve = true;
    runtime_plan_free(&plan);
    assert_int_equal(runtime_plan(&function, &call, &plan, &err), 0);
    assert_null(value_of("FNRUN_GATE"));
    assert_string_equal(value_of("FNRUN_SERVE"), "1");
}

static void a_program_started_ahead_has_no_request_id_yet(void **state) {
    struct function function = make_function(RUNTIME_EXEC, (char *)"run");
    struct runtime_call call = make_call();
    (void)state;
    call.request_id = NULL;
    assert_int_equal(runtime_plan(&function, &call, &plan, &err), 0);
    assert_null(value_of("AWS_LAMBDA_REQUEST_ID"));
}

static void native_can_be_forked_and_python_where_its_gate_module_is(void **state) {
    char folder[] = "/tmp/fnrun-test-runtimes-XXXXXX", path[128];
    struct function function = make_function(RUNTIME_NATIVE, (char *)"x.so");
    (void)state;
    assert_non_null(mkdtemp(folder));
    runtimes_folder = folder;
    assert_true(runtime_can_gate(&function));
    function.runtime = RUNTIME_NODE;
    assert_false(runtime_can_gate(&function));
    function.runtime = RUNTIME_EXEC;
    assert_false(runtime_can_gate(&function));
    function.runtime = RUNTIME_PYTHON;
    assert_false(runtime_can_gate(&function));
    snprintf(path, sizeof path, "%s/python", folder);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/python/_gate.abi3.so", folder);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    close(fd);
    assert_true(runtime_can_gate(&function));
    assert_int_equal(unlink(path), 0);
    *strrchr(path, '/') = 0;
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(folder), 0);
    runtimes_folder = NULL;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(python_runs_its_bootstrap_by_the_interpreters_full_path),
        CASE(node_runs_its_bootstrap_and_is_told_of_the_azure_form),
        CASE(native_loads_the_shared_object_and_its_symbol),
        CASE(exec_runs_the_file_itself_with_event_and_result_on_its_standard_streams),
        CASE(a_handler_outside_the_folder_is_refused),
        CASE(the_variables_of_lambda_are_set),
        CASE(the_later_of_equal_names_wins_and_stands_once),
        CASE(who_sets_one_of_the_two_regions_means_both),
        CASE(a_reserved_name_is_refused_and_the_message_says_where_it_stands),
        CASE(every_name_that_a_plan_sets_is_reserved_or_the_users_to_change),
        CASE(a_name_that_cannot_be_one_is_refused),
        CASE(an_environment_that_is_too_large_is_refused),
        CASE(an_interpreter_that_was_not_found_is_an_error_that_says_how_to_get_it),
        CASE(an_interpreter_that_is_gone_or_out_of_sight_is_an_error),
        CASE(the_python_version_is_told_from_the_interpreters_link),
        CASE(a_function_without_a_runtime_is_refused),
        CASE(the_forms_of_the_daemon_are_asked_for_by_variables),
        CASE(a_program_started_ahead_has_no_request_id_yet),
        CASE(native_can_be_forked_and_python_where_its_gate_module_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
