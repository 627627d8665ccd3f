/* The command line: parser, suggestions, help. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/args.h"
#include "cli/args_table.h"

enum { WORDS_MAX = 16 };

static struct args args;
static struct error err;
static char *words[WORDS_MAX];

/* Parses "fnrun" and the given words. The list ends with NULL. */
static int parse(const char *first, ...) {
    va_list list;
    int count = 1;
    args_free(&args);
    memset(&err, 0, sizeof err);
    words[0] = (char *)"fnrun";
    va_start(list, first);
    for (const char *word = first; word && count < WORDS_MAX - 1; word = va_arg(list, const char *))
        words[count++] = (char *)word;
    va_end(list);
    words[count] = NULL;
    return args_parse(count, words, &args, &err);
}

static void assert_says(const char *part) {
    assert_int_equal(err.code, -22); /* EINVAL */
    if (!strstr(err.message, part))
        fail_msg("expected '%s' in '%s'", part, err.message);
}

static int clean(void **state) {
    (void)state;
    unsetenv("FNRUN_LOG_LEVEL");
    unsetenv("FNRUN_CGROUP");
    unsetenv("FNRUN_SOCKET");
    args_free(&args);
    return 0;
}

/* --- the parser ------------------------------------------------------------- */

static void no_words_are_no_command(void **state) {
    (void)state;
    assert_int_equal(parse(NULL), 0);
    assert_int_equal(args.command, COMMAND_NONE);
    assert_false(args.help);
}

static void every_option_of_invoke_is_stored(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "./f", "--event", "{}", "--timeout", "2s", "--memory", "64M",
                           "--json", "--quiet", "--limits=rlimit", "--cgroup", "a/b", NULL),
                     0);
    assert_int_equal(args.command, COMMAND_INVOKE);
    assert_string_equal(args.operand, "./f");
    assert_string_equal(args.event, "{}");
    assert_string_equal(args.timeout, "2s");
    assert_string_equal(args.memory, "64M");
    assert_string_equal(args.cgroup, "a/b");
    assert_true(args.json && args.quiet && args.limits_rlimit);
}

static void options_may_stand_before_and_after_operands(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "-q", "--timeout=1s", "./f", "--event=-", NULL), 0);
    assert_string_equal(args.operand, "./f");
    assert_string_equal(args.timeout, "1s");
    assert_string_equal(args.event, "-");
    assert_true(args.quiet);
}

static void a_value_may_hold_an_equals_sign_and_be_empty(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "./f", "--event={\"a\":\"x=y\"}", NULL), 0);
    assert_string_equal(args.event, "{\"a\":\"x=y\"}");
    assert_int_equal(parse("invoke", "./f", "--event=", NULL), 0);
    assert_string_equal(args.event, "");
}

static void two_dashes_end_the_options(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "--", "--odd", NULL), 0);
    assert_string_equal(args.operand, "--odd");
}

static void the_last_of_two_options_wins(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "./f", "--memory", "1M", "-m", "2M", NULL), 0);
    assert_string_equal(args.memory, "2M");
}

static void short_options_can_share_a_word_and_hold_a_value(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "./f", "-qh", "-eA=b", "-m64M", NULL), 0);
    assert_true(args.quiet && args.help);
    assert_int_equal(args.env_count, 1);
    assert_string_equal(args.env[0], "A=b");
    assert_string_equal(args.memory, "64M");
}

static void env_pairs_stay_in_order(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "./f", "--env", "B=2", "-e", "A=", "--env=C=x=y", NULL), 0);
    assert_int_equal(args.env_count, 3);
    assert_string_equal(args.env[0], "B=2");
    assert_string_equal(args.env[1], "A=");
    assert_string_equal(args.env[2], "C=x=y");
}

static void env_without_a_value_takes_the_callers(void **state) {
    (void)state;
    setenv("FNRUN_TEST_OWN", "mine", 1);
    unsetenv("FNRUN_TEST_NONE");
    assert_int_equal(parse("invoke", "./f", "-e", "FNRUN_TEST_OWN", "-e", "FNRUN_TEST_NONE", NULL),
                     0);
    assert_int_equal(args.env_count, 1);
    assert_string_equal(args.env[0], "FNRUN_TEST_OWN=mine");
}

static void env_needs_a_name(void **state) {
    (void)state;
    assert_true(parse("invoke", "./f", "--env", "=x", NULL) < 0);
    assert_says("a name is missing");
    assert_true(parse("invoke", "./f", "--env=", NULL) < 0);
    assert_says("--env NAME=VALUE");
}

static void the_log_level_is_info_unless_named(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "./f", NULL), 0);
    assert_int_equal(args.log_level, LOG_LEVEL_INFO);
    assert_int_equal(parse("invoke", "./f", "--log-level", "debug", NULL), 0);
    assert_int_equal(args.log_level, LOG_LEVEL_DEBUG);
}

static void an_option_wins_over_its_variable(void **state) {
    (void)state;
    setenv("FNRUN_LOG_LEVEL", "debug", 1);
    setenv("FNRUN_CGROUP", "theirs", 1);
    assert_int_equal(parse("invoke", "./f", NULL), 0);
    assert_int_equal(args.log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(args.cgroup, "theirs");
    assert_int_equal(parse("invoke", "./f", "--log-level=error", "--cgroup=mine", NULL), 0);
    assert_int_equal(args.log_level, LOG_LEVEL_ERROR);
    assert_string_equal(args.cgroup, "mine");
}

static void an_empty_variable_counts_as_unset(void **state) {
    (void)state;
    setenv("FNRUN_LOG_LEVEL", "", 1);
    setenv("FNRUN_CGROUP", "", 1);
    assert_int_equal(parse("invoke", "./f", NULL), 0);
    assert_int_equal(args.log_level, LOG_LEVEL_INFO);
    assert_null(args.cgroup);
}

static void a_wrong_variable_is_named_in_the_error(void **state) {
    (void)state;
    setenv("FNRUN_LOG_LEVEL", "loud", 1);
    assert_true(parse("invoke", "./f", NULL) < 0);
    assert_says("FNRUN_LOG_LEVEL: 'loud' is not one of error, warn, info or debug");
    assert_int_equal(parse("version", NULL), 0); /* not its business */
}

static void version_is_an_option_and_a_command(void **state) {
    (void)state;
    assert_int_equal(parse("--version", NULL), 0);
    assert_int_equal(args.command, COMMAND_VERSION);
    assert_int_equal(parse("version", "--json", NULL), 0);
    assert_int_equal(args.command, COMMAND_VERSION);
    assert_true(args.json);
}

static void help_needs_no_operand(void **state) {
    (void)state;
    assert_int_equal(parse("invoke", "--help", NULL), 0);
    assert_true(args.help);
    assert_int_equal(args.command, COMMAND_INVOKE);
    assert_int_equal(parse("--help", "init", NULL), 0);
    assert_true(args.help);
    assert_int_equal(args.command, COMMAND_INIT);
    assert_int_equal(parse("-h", NULL), 0);
    assert_true(args.help);
}

/* --- refusals ----------------------------------------------------------------- */

static void a_missing_operand_is_named(void **state) {
    (void)state;
    assert_true(parse("invoke", "--json", NULL) < 0);
    assert_says("PATH|NAME is missing");
    assert_true(parse("check", NULL) < 0);
    assert_says("PATH is missing");
    assert_true(parse("invoke", "", NULL) < 0);
    assert_says("is empty");
}

static void init_needs_a_runtime_and_lists_them(void **state) {
    (void)state;
    assert_true(parse("init", "hello", NULL) < 0);
    assert_says("--runtime is missing");
    assert_says("python, node, azure, native or exec");
    assert_int_equal(parse("init", "hello", "--runtime", "azure", NULL), 0);
    assert_string_equal(args.runtime, "azure");
}

static void a_second_operand_is_refused(void **state) {
    (void)state;
    assert_true(parse("invoke", "./f", "{}", NULL) < 0);
    assert_says("--event");
    assert_true(parse("doctor", "me", NULL) < 0);
    assert_says("takes no operand");
}

static void an_option_without_its_value_shows_the_form(void **state) {
    (void)state;
    assert_true(parse("invoke", "./f", "--event", NULL) < 0);
    assert_says("--event JSON|@FILE|-");
    assert_true(parse("invoke", "./f", "--json=yes", NULL) < 0);
    assert_says("--json takes no value");
}

static void only_rlimit_is_a_kind_of_limits(void **state) {
    (void)state;
    assert_true(parse("invoke", "./f", "--limits=none", NULL) < 0);
    assert_says("'none' is not a value of it; the only one is rlimit");
    assert_false(args.limits_rlimit);
}

static void an_option_of_another_command_is_refused(void **state) {
    (void)state;
    assert_true(parse("check", "./f", "--timeout", "3s", NULL) < 0);
    assert_says("check has no option --timeout");
    assert_true(parse("--json", "version", NULL) < 0);
    assert_says("after the command");
}

/* --- near words ------------------------------------------------------------------ */

static void the_distance_counts_edits_and_swaps(void **state) {
    (void)state;
    assert_int_equal(args_distance("invoke", "invoke"), 0);
    assert_int_equal(args_distance("invoke", "INVOKE"), 0);
    assert_int_equal(args_distance("invoke", "invok"), 1);
    assert_int_equal(args_distance("invoke", "invokee"), 1);
    assert_int_equal(args_distance("invoke", "onvoke"), 1);
    assert_int_equal(args_distance("invoke", "ivnoke"), 1);
    assert_int_equal(args_distance("", "abc"), 3);
    assert_int_equal(args_distance("kitten", "sitting"), 3);
}

static void a_very_long_word_is_far_from_all(void **state) {
    (void)state;
    char word[5000];
    memset(word, 'i', sizeof word - 1);
    word[sizeof word - 1] = 0;
    const char *near = "unset";
    assert_int_equal(args_command(word, &near), COMMAND_NONE);
    assert_null(near);
    assert_true(parse(word, NULL) < 0);
    char option[sizeof word + 3] = "--";
    memcpy(option + 2, word, sizeof word);
    assert_true(parse("invoke", option, NULL) < 0);
    assert_says("unknown option --iiii");
}

static void a_misspelt_command_suggests_the_near_one(void **state) {
    static const struct {
        const char *word, *near;
    } slips[] = {{"invok", "invoke"},  {"inovke", "invoke"},   {"chekc", "check"},
                 {"Doctor", "doctor"}, {"versoin", "version"}, {"run", "invoke"},
                 {"new", "init"},      {"delete", "remove"},   {"ls", "list"},
                 {"depoly", "deploy"}, {"tail", "logs"},       {"publish", "deploy"}};
    (void)state;
    for (size_t i = 0; i < sizeof slips / sizeof *slips; i++) {
        const char *near = NULL;
        assert_int_equal(args_command(slips[i].word, &near), COMMAND_NONE);
        assert_non_null(near);
        assert_string_equal(near, slips[i].near);
        assert_true(parse(slips[i].word, NULL) < 0);
        assert_says(slips[i].near);
    }
}

static void a_word_far_from_every_command_suggests_none(void **state) {
    (void)state;
    const char *near = "unset";
    assert_int_equal(args_command("xylophone", &near), COMMAND_NONE);
    assert_null(near);
    assert_true(parse("xylophone", NULL) < 0);
    assert_says("'fnrun help' lists them");
}

static void a_misspelt_option_suggests_the_near_one(void **state) {
    (void)state;
    assert_true(parse("invoke", "./f", "--evnt", "{}", NULL) < 0);
    assert_says("unknown option --evnt; did you mean --event?");
    assert_true(parse("invoke", "./f", "--tiemout=3s", NULL) < 0);
    assert_says("unknown option --tiemout; did you mean --timeout?");
    assert_true(parse("--hepl", NULL) < 0);
    assert_says("--help");
    assert_true(parse("invoke", "./f", "-event", "{}", NULL) < 0);
    assert_says("unknown option -event; did you mean --event?");
}

static void a_misspelt_choice_suggests_the_near_one(void **state) {
    (void)state;
    assert_true(parse("init", "a", "--runtime", "pyhton", NULL) < 0);
    assert_says("did you mean python?");
    assert_true(parse("help", "invok", NULL) < 0);
    assert_says("'fnrun help invoke'");
}

/* --- paths, help and the table itself ---------------------------------------------- */

static void an_operand_is_a_path_by_its_slash_or_its_dot(void **state) {
    static const char *const paths[] = {".", "..", "./hello", "hello/", "/", "a/b", "app.py", ".x"};
    static const char *const names[] = {"hello", "hello-python", "hello_2", "usr", "a b", "-"};
    char back[4096];
    (void)state;
    assert_non_null(getcwd(back, sizeof back));
    assert_int_equal(chdir("/"), 0); /* where usr is a folder: files do not decide it */
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_true(args_is_path(paths[i]));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_false(args_is_path(names[i]));
    assert_int_equal(chdir(back), 0);
}

static void options_of_one_shot_calls_are_refused_with_a_name(void **state) {
    static const char *const options[][2] = {{"--env=A=b", "--env"},
                                             {"-m64M", "--memory"},
                                             {"--limits=rlimit", "--limits"},
                                             {"--cgroup=a", "--cgroup"}};
    (void)state;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        assert_int_equal(parse("invoke", options[i][0], "./hello", NULL), 0);
        assert_int_equal(parse("invoke", options[i][0], "--help", "hello", NULL), 0);
        assert_true(parse("invoke", options[i][0], "hello", NULL) < 0);
        assert_says(options[i][1]);
        assert_says("is for one-shot calls (fnrun invoke ./PATH)");
    }
    assert_int_equal(parse("invoke", "hello", "--timeout", "1s", "--json", "-q", NULL), 0);
    assert_int_equal(parse("doctor", "--cgroup", "a", NULL), 0);
    setenv("FNRUN_CGROUP", "a", 1);
    assert_int_equal(parse("invoke", "hello", NULL), 0);
}

static void the_socket_is_the_options_before_the_variables(void **state) {
    (void)state;
    setenv("FNRUN_SOCKET", "/theirs", 1);
    assert_int_equal(parse("list", NULL), 0);
    assert_string_equal(args.socket, "/theirs");
    assert_int_equal(parse("list", "--socket", "/mine", NULL), 0);
    assert_string_equal(args.socket, "/mine");
    assert_int_equal(parse("invoke", "hello", NULL), 0);
    assert_string_equal(args.socket, "/theirs");
    assert_int_equal(parse("check", "./x", NULL), 0);
    assert_null(args.socket);
}

static void only_rollback_takes_a_second_operand(void **state) {
    (void)state;
    assert_int_equal(parse("rollback", "hello", NULL), 0);
    assert_null(args.second);
    assert_int_equal(parse("rollback", "hello", "3", NULL), 0);
    assert_string_equal(args.operand, "hello");
    assert_string_equal(args.second, "3");
    assert_true(parse("rollback", "hello", "3", "4", NULL) < 0);
    assert_says("'4' is too much: rollback takes one NAME and one VERSION");
    assert_true(parse("remove", "hello", "3", NULL) < 0);
    assert_says("'3' is too much: remove takes one NAME");
}

static void the_options_of_logs_and_deploy_are_stored(void **state) {
    (void)state;
    assert_int_equal(parse("logs", "-f", "--since=5m", "--request-id", "ab", "hello", NULL), 0);
    assert_true(args.follow);
    assert_string_equal(args.since, "5m");
    assert_string_equal(args.request_id, "ab");
    assert_int_equal(parse("deploy", "-n", "mine", "./hello", NULL), 0);
    assert_string_equal(args.name, "mine");
    assert_int_equal(parse("top", "--once", NULL), 0);
    assert_true(args.once);
    assert_int_equal(parse("usage", "hello", "--limit", "7", NULL), 0);
    assert_string_equal(args.limit, "7");
}

static char *help_text(int command) {
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    args_print_help(command, to);
    fclose(to);
    return text;
}

static void help_has_the_options_and_exit_statuses_of_its_command_only(void **state) {
    (void)state;
    for (size_t c = 0; c < args_commands_count; c++) {
        char *text = help_text(args_commands[c].command), want[64];
        unsigned own = ARGS_FOR(args_commands[c].command);
        for (size_t i = 0; i < args_options_count; i++) {
            /* "      --event JSON" or "  -e, --env NAME", not one in an example */
            snprintf(want, sizeof want, "%s--%s ", args_options[i].letter ? ", " : "\n      ",
                     args_options[i].name);
            assert_int_equal(strstr(text, want) != NULL, (args_options[i].commands & own) != 0);
        }
        for (size_t i = 0; i < args_statuses_count; i++) {
            char line[128];
            snprintf(line, sizeof line, "  %-6d%.*s\n", args_statuses[i].status,
                     (int)strcspn(args_statuses[i].text, "\n"), args_statuses[i].text);
            assert_int_equal(strstr(text, line) != NULL, (args_statuses[i].commands & own) != 0);
        }
        free(text);
    }
}

static void help_stays_within_a_hundred_columns(void **state) {
    (void)state;
    for (int command = COMMAND_NONE; command < COMMAND_COUNT; command++) {
        char *text = help_text(command);
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
            if (strlen(line) > 100)
                fail_msg("too wide: %s", line);
        free(text);
    }
}

static void every_command_has_its_exit_statuses(void **state) {
    (void)state;
    for (size_t c = 0; c < args_commands_count; c++) {
        unsigned good = 0, usage = 0;
        for (size_t i = 0; i < args_statuses_count; i++) {
            bool mine = args_statuses[i].commands & ARGS_FOR(args_commands[c].command);
            good += mine && args_statuses[i].status == ARGS_EXIT_OK;
            usage += mine && args_statuses[i].status == ARGS_EXIT_USAGE;
        }
        assert_int_equal(good, 1);
        assert_int_equal(usage, 1);
    }
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, clean, clean)
    const struct CMUnitTest tests[] = {
        TEST(no_words_are_no_command),
        TEST(every_option_of_invoke_is_stored),
        TEST(options_may_stand_before_and_after_operands),
        TEST(a_value_may_hold_an_equals_sign_and_be_empty),
        TEST(two_dashes_end_the_options),
        TEST(the_last_of_two_options_wins),
        TEST(short_options_can_share_a_word_and_hold_a_value),
        TEST(env_pairs_stay_in_order),
        TEST(env_without_a_value_takes_the_callers),
        TEST(env_needs_a_name),
        TEST(the_log_level_is_info_unless_named),
        TEST(an_option_wins_over_its_variable),
        TEST(an_empty_variable_counts_as_unset),
        TEST(a_wrong_variable_is_named_in_the_error),
        TEST(version_is_an_option_and_a_command),
        TEST(help_needs_no_operand),
        TEST(a_missing_operand_is_named),
        TEST(init_needs_a_runtime_and_lists_them),
        TEST(a_second_operand_is_refused),
        TEST(an_option_without_its_value_shows_the_form),
        TEST(only_rlimit_is_a_kind_of_limits),
        TEST(an_option_of_another_command_is_refused),
        TEST(the_distance_counts_edits_and_swaps),
        TEST(a_very_long_word_is_far_from_all),
        TEST(a_misspelt_command_suggests_the_near_one),
        TEST(a_word_far_from_every_command_suggests_none),
        TEST(a_misspelt_option_suggests_the_near_one),
        TEST(a_misspelt_choice_suggests_the_near_one),
        TEST(an_operand_is_a_path_by_its_slash_or_its_dot),
        TEST(options_of_one_shot_calls_are_refused_with_a_name),
        TEST(the_socket_is_the_options_before_the_variables),
        TEST(only_rollback_takes_a_second_operand),
        TEST(the_options_of_logs_and_deploy_are_stored),
        TEST(help_has_the_options_and_exit_statuses_of_its_command_only),
        TEST(help_stays_within_a_hundred_columns),
        TEST(every_command_has_its_exit_statuses),
    };
    return cmocka_run_group_tests_name("args", tests, NULL, NULL);
}
