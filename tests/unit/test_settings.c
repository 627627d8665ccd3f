#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "isolate/cleanup.h"
#include "runner/settings.h"

#define G (UINT64_C(1) << 30)
#define M (UINT64_C(1) << 20)

static char path[] = "/tmp/fnrun-test-settings-XXXXXX";

static int make_file(void **unused) {
    static const char *const variables[] = {"FNRUN_SOCKET", "XDG_RUNTIME_DIR", "XDG_DATA_HOME",
                                            "XDG_CONFIG_HOME"};
    (void)unused;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    strcpy(path + sizeof path - 7, "XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **unused) {
    (void)unused;
    return unlink(path);
}

static void write_file(const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* The problems, a line each, without the file's name. */
static char *texts(struct config_problems *problems) {
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    for (size_t i = 0; i < problems->count; i++)
        fprintf(to, "%u: %s\n", problems->items[i].line, problems->items[i].text);
    fclose(to);
    config_problems_free(problems);
    return text;
}

static void assert_problems(const char *ini, const char *expected) {
    struct config_problems problems = {0};
    struct error err = {0};
    write_file(ini);
    assert_int_equal(settings_check(path, &problems, &err), 0);
    _cleanup_free_ char *text = texts(&problems);
    assert_string_equal(text, expected);
}

#define _cleanup_settings_ _cleanup_(settings_free)
#define _cleanup_function_ _cleanup_(free_image)

static void free_image(struct function *function) {
    free(function->image);
}

static struct settings loaded(const char *ini) {
    struct config_problems problems = {0};
    struct settings settings = {0};
    struct error err = {0};
    write_file(ini);
    if (settings_load(path, &settings, &problems, &err) < 0)
        fail_msg("%s", err.message);
    _cleanup_free_ char *text = texts(&problems);
    assert_string_equal(text, "");
    return settings;
}

/* --- reading ------------------------------------------------------------------------------ */

static void an_empty_file_leaves_the_defaults(void **unused) {
    (void)unused;
    _cleanup_settings_ struct settings settings = loaded("");
    assert_int_equal(settings.mode, 0660);
    assert_string_equal(settings.user, "fnrun");
    assert_null(settings.group);
    assert_null(settings.cgroup);
    assert_int_equal(settings.memory, 0);
    assert_int_equal(settings.stop_ms, 30000);
    assert_int_equal(settings.usage_days, 30);
    assert_int_equal(settings.logs, M);
    assert_int_equal(settings.max_memory, 1024 * G);
    assert_int_equal(settings.max_timeout_ms, 86400000);
    assert_int_equal(settings.max_concurrency, 10000);
    assert_int_equal(settings.defaults_count, 0);
}

static void every_key_is_taken_over(void **unused) {
    (void)unused;
    _cleanup_settings_ struct settings settings = loaded("[runner]\n"
                                                         "store = /srv/fnrun\n"
                                                         "socket = /run/other.sock\n"
                                                         "mode = 666\n"
                                                         "group = developers\n"
                                                         "user = nobody\n"
                                                         "cgroup = graders/a\n"
                                                         "memory = 8G\n"
                                                         "stop = 1m\n"
                                                         "usage_days = 7\n"
                                                         "logs = 2M\n"
                                                         "[limits]\n"
                                                         "memory = 2G\n"
                                                         "timeout = 5m\n"
                                                         "concurrency = 100\n"
                                                         "[defaults]\n"
                                                         "memory = 256M\n"
                                                         "isolation = strict\n");
    assert_string_equal(settings.store, "/srv/fnrun");
    assert_string_equal(settings.socket, "/run/other.sock");
    assert_int_equal(settings.mode, 0666);
    assert_string_equal(settings.group, "developers");
    assert_string_equal(settings.user, "nobody");
    assert_string_equal(settings.cgroup, "graders/a");
    assert_int_equal(settings.memory, 8 * G);
    assert_int_equal(settings.stop_ms, 60000);
    assert_int_equal(settings.usage_days, 7);
    assert_int_equal(settings.logs, 2 * M);
    assert_int_equal(settings.max_memory, 2 * G);
    assert_int_equal(settings.max_timeout_ms, 300000);
    assert_int_equal(settings.max_concurrency, 100);
    assert_int_equal(settings.defaults_count, 2);
    assert_string_equal(settings.defaults[0].key, "limits.memory");
    assert_string_equal(settings.defaults[0].value, "256M");
    assert_string_equal(settings.defaults[1].key, "scale.isolation");
}

static void places_come_from_the_environment_where_the_file_is_silent(void **unused) {
    (void)unused;
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    _cleanup_settings_ struct settings silent = loaded("");
    assert_string_equal(silent.socket, "/run/user/7/fnrun.sock");
    _cleanup_settings_ struct settings said = loaded("[runner]\nsocket = /said\n");
    assert_string_equal(said.socket, "/said");
    setenv("FNRUN_SOCKET", "/first", 1);
    _cleanup_settings_ struct settings first = loaded("[runner]\nsocket = /said\n");
    assert_string_equal(first.socket, "/first");
    setenv("FNRUN_SOCKET", "relative", 1);
    unsetenv("XDG_RUNTIME_DIR");
    _cleanup_settings_ struct settings last = loaded("");
    assert_string_equal(last.socket, "/run/fnrun.sock");
    if (geteuid() == 0) {
        assert_string_equal(last.store, "/var/lib/fnrun");
    } else {
        setenv("XDG_DATA_HOME", "/data", 1);
        _cleanup_settings_ struct settings user = loaded("");
        assert_string_equal(user.store, "/data/fnrun");
    }
}

static void a_file_that_was_named_must_be_there(void **unused) {
    (void)unused;
    struct config_problems problems = {0};
    struct settings settings = {0};
    struct error err = {0};
    assert_int_equal(settings_load("/nonexistent/fnrun.ini", &settings, &problems, &err), -ENOENT);
    assert_string_equal(err.message, "/nonexistent/fnrun.ini: No such file or directory");
    settings_free(&settings);
    assert_int_equal(settings_check("/nonexistent/fnrun.ini", &problems, &err), -ENOENT);
    assert_int_equal(settings_check("/tmp", &problems, &err), -EINVAL);
    assert_string_equal(err.message, "/tmp is no regular file");
}

/* --- what is wrong --------------------------------------------------------------------------- */

static void wrong_values_are_told_with_what_was_expected(void **unused) {
    (void)unused;
    assert_problems("[runner]\n"
                    "store = var\n"
                    "mode = 999\n"
                    "mode = 0777\n",
                    "2: store: expected an absolute path, got `var`\n"
                    "3: mode: expected permissions, 0600 to 0777, octal, got `999`\n"
                    "4: `mode` has a value already, on line 3: remove one of them\n");
    assert_problems("[runner]\nmode = 0200\n",
                    "2: mode: expected permissions, 0600 to 0777, octal, got `0200`\n");
    assert_problems("[runner]\ngroup = a b\nmemory = 1M\n",
                    "2: group: expected 1 to 64 letters, digits, - and _, got `a b`\n"
                    "3: memory: 0, or 16M to 1048576G, got `1M`\n");
}

static void unknown_words_are_told_with_the_near_one(void **unused) {
    (void)unused;
    assert_problems("[runer]\n", "1: unknown section [runer]; did you mean [runner]?\n");
    assert_problems("[function]\n",
                    "1: unknown section [function]: expected runner, limits or defaults\n");
    assert_problems("[runner]\nsokcet = /x\nxyzzy = 1\ntimeout = 3s\n",
                    "2: unknown key `sokcet` in [runner]; did you mean socket?\n"
                    "3: unknown key `xyzzy` in [runner]; fnrun.ini(5) describes the keys\n"
                    "4: unknown key `timeout` in [runner]: it belongs into [limits]\n");
    assert_problems("store = /x\n", "1: `store` stands before the first section: put it below "
                                    "[runner]\n");
}

static void defaults_are_checked_as_in_function_ini(void **unused) {
    (void)unused;
    assert_problems("[defaults]\n"
                    "memory = 1M\n"
                    "memroy = 5M\n"
                    "warmup = events\n"
                    "isolation = strikt\n"
                    "memory = 5M\n",
                    "2: memory: 4M to 1024G, got `1M`\n"
                    "3: unknown key `memroy` in [defaults]: expected one of function.ini's "
                    "[limits] or [scale], but output and warmup; did you mean memory?\n"
                    "4: unknown key `warmup` in [defaults]: expected one of function.ini's "
                    "[limits] or [scale], but output and warmup\n"
                    "5: isolation: expected invocation, strict or environment, got `strikt`; did "
                    "you mean strict?\n"
                    "6: `memory` has a value already, on line 2: remove one of them\n");
}

static void defaults_must_fit_the_limits(void **unused) {
    (void)unused;
    assert_problems("[defaults]\n"
                    "memory = 2G\n"
                    "timeout = 2m\n"
                    "provisioned = 9\n"
                    "[limits]\n"
                    "memory = 1G\n"
                    "timeout = 2m\n"
                    "concurrency = 8\n",
                    "2: memory: at most 1G, which is the memory of [limits], got `2G`\n"
                    "4: provisioned: at most concurrency, which is 8, got `9`\n");
}

/* --- functions ---------------------------------------------------------------------------------
 */

/* A function as function.ini describes it, and settings put to it. */
static struct function applied(const struct settings *settings, const char *ini,
                               const char *expected) {
    struct function function = {0};
    struct config_problems problems = {0};
    struct error err = {0};
    FILE *file = tmpfile();
    assert_non_null(file);
    fputs(ini, file);
    rewind(file);
    config_defaults(&function);
    assert_int_equal(config_read(fileno(file), "function.ini", &function, &problems, &err), 0);
    fclose(file);
    assert_int_equal(problems.count, 0);
    settings_apply(settings, &function, &problems);
    _cleanup_free_ char *text = texts(&problems);
    assert_string_equal(text, expected);
    return function;
}

static void what_function_ini_does_not_say_comes_from_the_daemon(void **unused) {
    (void)unused;
    _cleanup_settings_ struct settings settings = loaded("[defaults]\n"
                                                         "memory = 256M\n"
                                                         "cpu = 0.5\n"
                                                         "concurrency = 4\n"
                                                         "isolation = strict\n");
    _cleanup_function_ struct function silent = applied(&settings, "", "");
    assert_int_equal(silent.limits.memory, 256 * M);
    assert_int_equal(silent.limits.cpu_milli, 500);
    assert_int_equal(silent.scale.concurrency, 4);
    assert_int_equal(silent.scale.isolation, ISOLATION_STRICT);
    assert_int_equal(silent.limits.timeout_ms, 3000);
    _cleanup_function_ struct function said =
        applied(&settings, "[limits]\nmemory = 64M\n[scale]\nisolation = invocation\n", "");
    assert_int_equal(said.limits.memory, 64 * M);
    assert_int_equal(said.limits.cpu_milli, 500);
    assert_int_equal(said.scale.isolation, ISOLATION_INVOCATION);
}

static void what_exceeds_the_limits_is_refused(void **unused) {
    (void)unused;
    _cleanup_settings_ struct settings settings = loaded("[limits]\n"
                                                         "memory = 1G\n"
                                                         "timeout = 1m\n"
                                                         "concurrency = 8\n");
    _cleanup_function_ struct function most =
        applied(&settings, "[limits]\nmemory = 1G\ntimeout = 1m\n[scale]\nconcurrency = 8\n", "");
    assert_int_equal(most.limits.memory, G);
    _cleanup_function_ struct function more =
        applied(&settings, "[limits]\nmemory = 2G\ntimeout = 2m\n[scale]\nconcurrency = 9\n",
                "0: memory: at most 1G on this machine ([limits] in fnrun.ini), got `2G`\n"
                "0: timeout: at most 1m on this machine ([limits] in fnrun.ini), got `2m`\n"
                "0: concurrency: at most 8 on this machine ([limits] in fnrun.ini), got `9`\n");
    (void)more;
}

static void what_was_not_said_is_lowered_to_the_limits(void **unused) {
    (void)unused;
    _cleanup_settings_ struct settings settings =
        loaded("[limits]\nmemory = 64M\ntimeout = 1s\nconcurrency = 2\n");
    _cleanup_function_ struct function silent = applied(&settings, "", "");
    assert_int_equal(silent.limits.memory, 64 * M);
    assert_int_equal(silent.limits.timeout_ms, 1000);
    assert_int_equal(silent.scale.concurrency, 2);
    _cleanup_function_ struct function provisioned =
        applied(&settings, "[scale]\nprovisioned = 3\n",
                "0: provisioned: at most concurrency, which is 2, got `3`\n");
    (void)provisioned;
}

/* --- reading again
 * -------------------------------------------------------------------------------- */

static void a_reload_takes_over_what_it_can_and_names_the_rest(void **unused) {
    (void)unused;
    char text[128] = "?";
    _cleanup_settings_ struct settings now = loaded("[runner]\nstore = /a\nsocket = /s\n"
                                                    "memory = 1G\n[defaults]\ncpu = 2\n");
    struct settings next = loaded("[runner]\nstore = /b\nsocket = /s\ngroup = g\nmode = 0666\n"
                                  "memory = 2G\nstop = 5s\nusage_days = 1\nlogs = 2M\n"
                                  "[limits]\nmemory = 3G\ntimeout = 9s\nconcurrency = 50\n"
                                  "[defaults]\ncpu = 3\nfiles = 99\n");
    settings_reload(&now, &next, text, sizeof text);
    settings_free(&next);
    assert_string_equal(text, "store, mode, group");
    assert_string_equal(now.store, "/a");
    assert_null(now.group);
    assert_int_equal(now.mode, 0660);
    assert_int_equal(now.memory, 2 * G);
    assert_int_equal(now.stop_ms, 5000);
    assert_int_equal(now.usage_days, 1);
    assert_int_equal(now.logs, 2 * M);
    assert_int_equal(now.max_memory, 3 * G);
    assert_int_equal(now.max_timeout_ms, 9000);
    assert_int_equal(now.max_concurrency, 50);
    assert_int_equal(now.defaults_count, 2);
    assert_string_equal(now.defaults[0].value, "3");
}

static void a_reload_of_the_same_file_needs_no_restart(void **unused) {
    (void)unused;
    char text[8] = "?";
    static const char ini[] = "[runner]\nstore = /a\ngroup = g\ncgroup = /c\n";
    _cleanup_settings_ struct settings now = loaded(ini);
    _cleanup_settings_ struct settings next = loaded(ini);
    settings_reload(&now, &next, text, sizeof text);
    assert_string_equal(text, "");
    _cleanup_settings_ struct settings other = loaded("[runner]\nstore = /b\nuser = u\n");
    settings_reload(&now, &other, text, sizeof text); /* a small text ends well */
    assert_string_equal(text, "store, ");
}

static void the_manual_comes_from_the_table(void **unused) {
    (void)unused;
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    settings_print_man(to);
    fclose(to);
    assert_non_null(strstr(text, ".SS [runner]\n.TP\n\\fBstore\\fR\n"));
    assert_non_null(strstr(text, "\\fBmode\\fR = \\fI0660\\fR\n"));
    assert_non_null(strstr(text, ".SS [defaults]\n.TP\n\\fBKEY\\fR\n"));
    free(text);
}

#define FILE_TEST(test) cmocka_unit_test_setup_teardown(test, make_file, remove_file)

int main(void) {
    const struct CMUnitTest tests[] = {
        FILE_TEST(an_empty_file_leaves_the_defaults),
        FILE_TEST(every_key_is_taken_over),
        FILE_TEST(places_come_from_the_environment_where_the_file_is_silent),
        FILE_TEST(a_file_that_was_named_must_be_there),
        FILE_TEST(wrong_values_are_told_with_what_was_expected),
        FILE_TEST(unknown_words_are_told_with_the_near_one),
        FILE_TEST(defaults_are_checked_as_in_function_ini),
        FILE_TEST(defaults_must_fit_the_limits),
        FILE_TEST(what_function_ini_does_not_say_comes_from_the_daemon),
        FILE_TEST(what_exceeds_the_limits_is_refused),
        FILE_TEST(what_was_not_said_is_lowered_to_the_limits),
        FILE_TEST(a_reload_takes_over_what_it_can_and_names_the_rest),
        FILE_TEST(a_reload_of_the_same_file_needs_no_restart),
        FILE_TEST(the_manual_comes_from_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
