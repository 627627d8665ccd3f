#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "images/config.h"
#include "images/function.h"
#include "isolate/cleanup.h"

#define NAME "function.ini"

/* function_free belongs to function.c, which this program does without. */
static void free_pairs(struct function_pair *pairs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(pairs[i].key);
        free(pairs[i].value);
    }
    free(pairs);
}

struct reading {
    struct function function;
    struct config_problems problems;
    struct error err;
    char *text; /* the problems, a line each */
    int result;
};

static void reading_free(struct reading *reading) {
    free(reading->function.name);
    free(reading->function.handler);
    free(reading->function.image);
    free(reading->function.scale.warmup);
    free_pairs(reading->function.environment, reading->function.environment_count);
    free_pairs(reading->function.secrets, reading->function.secrets_count);
    config_problems_free(&reading->problems);
    free(reading->text);
}
#define _cleanup_reading_ _cleanup_(reading_free)

static struct reading read_bytes(const char *bytes, size_t length) {
    struct reading reading = {0};
    size_t size;
    _cleanup_close_ int fd = memfd_create("function.ini", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t done = 0; done < length;) {
        ssize_t wrote = write(fd, bytes + done, length - done);
        assert_true(wrote > 0);
        done += (size_t)wrote;
    }
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    config_defaults(&reading.function);
    reading.result = config_read(fd, NAME, &reading.function, &reading.problems, &reading.err);
    FILE *to = open_memstream(&reading.text, &size);
    assert_non_null(to);
    config_problems_print(&reading.problems, to);
    fclose(to);
    return reading;
}

static void assert_problems(const char *ini, const char *expected) {
    _cleanup_reading_ struct reading reading = read_bytes(ini, strlen(ini));
    assert_int_equal(reading.result, 0);
    assert_string_equal(reading.text, expected);
}

static void assert_value(const char *line, const char *expected) {
    char ini[512];
    snprintf(ini, sizeof ini, "[environment]\n%s\n", line);
    _cleanup_reading_ struct reading reading = read_bytes(ini, strlen(ini));
    assert_string_equal(reading.text, "");
    assert_int_equal(reading.function.environment_count, 1);
    assert_string_equal(reading.function.environment[0].value, expected);
}

/* --- the values ---------------------------------------------------------------------- */

static void an_empty_file_leaves_the_defaults(void **state) {
    (void)state;
    _cleanup_reading_ struct reading reading = read_bytes("", 0);
    const struct function *function = &reading.function;
    assert_string_equal(reading.text, "");
    assert_string_equal(function->image, "host");
    assert_null(function->name);
    assert_null(function->handler);
    assert_int_equal(function->runtime, RUNTIME_UNSET);
    assert_int_equal(function->output, OUTPUT_JSON);
    assert_int_equal(function->network, NETWORK_NONE);
    assert_int_equal(function->limits.memory, 128 << 20);
    assert_int_equal(function->limits.timeout_ms, 3000);
    assert_int_equal(function->limits.cpu_milli, 1000);
    assert_int_equal(function->limits.processes, 64);
    assert_int_equal(function->limits.init_ms, 10000);
    assert_int_equal(function->limits.tmp, 64 << 20);
    assert_int_equal(function->limits.files, 256);
    assert_int_equal(function->limits.event, 6 << 20);
    assert_int_equal(function->limits.response, 6 << 20);
    assert_int_equal(function->limits.logs, 1 << 20);
    assert_int_equal(function->scale.provisioned, 0);
    assert_int_equal(function->scale.concurrency, 16);
    assert_int_equal(function->scale.keep_alive_ms, 600000);
    assert_int_equal(function->scale.isolation, ISOLATION_INVOCATION);
    assert_false(function->scale.prestart);
    assert_null(function->scale.warmup);
}

static void the_file_of_the_design_is_read_whole(void **state) {
    (void)state;
    static const char ini[] = "[function]\n"
                              "name    = hello            ; default: the folder's name\n"
                              "runtime = python           ; python | node\n"
                              "handler = app.handler      ; module.function\n"
                              "image   = host\n"
                              "\n"
                              "[limits]\n"
                              "memory    = 256M           ; whole slot\n"
                              "timeout   = 1500ms\n"
                              "cpu       = 0.25           ; cores\n"
                              "processes = 65\n"
                              "init      = 2m\n"
                              "tmp       = 0\n"
                              "files     = 16\n"
                              "output    = raw            ; or json\n"
                              "event     = 1G\n"
                              "response  = 1024\n"
                              "logs      = 2KiB\n"
                              "[scale]\n"
                              "provisioned = 2            ; slots\n"
                              "concurrency = 10000\n"
                              "keep_alive  = 0s\n"
                              "isolation   = strict       ; or: invocation\n"
                              "prestart    = yes          ; exec\n"
                              "warmup      =              ; a file of events\n"
                              "[environment]\n"
                              "GREETING = hello\n"
                              "_1 = two words\n"
                              "[secrets]\n"
                              "DB_PASSWORD = db-password  ; a systemd credential\n"
                              "[network]\n"
                              "mode = host                ; none | host\n"
                              "[quota]                    ; per time\n"
                              "group                  = team-a\n"
                              "invocations_per_minute = 600\n"
                              "gb_seconds_per_day     = 1000\n";
    _cleanup_reading_ struct reading reading = read_bytes(ini, sizeof ini - 1);
    const struct function *function = &reading.function;
    assert_int_equal(reading.result, 0);
    assert_string_equal(reading.text, "");
    assert_string_equal(function->name, "hello");
    assert_int_equal(function->runtime, RUNTIME_PYTHON);
    assert_string_equal(function->handler, "app.handler");
    assert_int_equal(function->lines.handler, 4);
    assert_int_equal(function->lines.output, 15);
    assert_int_equal(function->limits.memory, 256 << 20);
    assert_int_equal(function->limits.timeout_ms, 1500);
    assert_int_equal(function->limits.cpu_milli, 250);
    assert_int_equal(function->limits.processes, 65);
    assert_int_equal(function->limits.init_ms, 120000);
    assert_int_equal(function->limits.tmp, 0);
    assert_int_equal(function->limits.files, 16);
    assert_int_equal(function->output, OUTPUT_RAW);
    assert_int_equal(function->limits.event, 1 << 30);
    assert_int_equal(function->limits.response, 1024);
    assert_int_equal(function->limits.logs, 2048);
    assert_int_equal(function->scale.provisioned, 2);
    assert_int_equal(function->scale.concurrency, 10000);
    assert_int_equal(function->scale.keep_alive_ms, 0);
    assert_int_equal(function->scale.isolation, ISOLATION_STRICT);
    assert_true(function->scale.prestart);
    assert_null(function->scale.warmup);
    assert_int_equal(function->environment_count, 2);
    assert_string_equal(function->environment[0].key, "GREETING");
    assert_string_equal(function->environment[1].key, "_1");
    assert_string_equal(function->environment[1].value, "two words");
    assert_int_equal(function->secrets_count, 1);
    assert_string_equal(function->secrets[0].value, "db-password");
    assert_int_equal(function->network, NETWORK_HOST);
}

static void sizes_are_bytes_or_powers_of_1024(void **state) {
    (void)state;
    uint64_t value;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"0", 0},
                {"1", 1},
                {"17B", 17},
                {"1K", 1024},
                {"64M", 64 << 20},
                {"64m", 64 << 20},
                {"2MB", 2 << 20},
                {"2MiB", 2 << 20},
                {"3G", 3ull << 30},
                {"1.5K", 1536},
                {"0.5G", 512 << 20},
                {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(config_parse_size(good[i].text, &value), 0);
        assert_int_equal(value, good[i].bytes);
    }
    static const char *const bad[] = {"",    "M",    "12X", "12 M", "1T",   "1.M", "1.5", "1iB",
                                      "1Mi", "0x10", "+5",  "five", "1,5M", "1e3", "--1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (config_parse_size(bad[i], &value) != -EINVAL)
            fail_msg("%s was not refused as no size", bad[i]);
    static const char *const out[] = {"-1", "-5M", "18446744073709551616", "17179869184G",
                                      "99999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        if (config_parse_size(out[i], &value) != -ERANGE)
            fail_msg("%s was not refused as out of range", out[i]);
}

static void times_need_a_unit(void **state) {
    (void)state;
    uint64_t value;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0s", 0},      {"7ms", 7},        {"3s", 3000},      {"1.5s", 1500},
                {"2m", 120000}, {"0.5h", 1800000}, {"24h", 86400000}, {"0.25s", 250}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(config_parse_time(good[i].text, &value), 0);
        assert_int_equal(value, good[i].ms);
    }
    static const char *const bad[] = {"", "3", "s", "3 s", "3S", "3sec", "1d", "0.5ms", "1h30m"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (config_parse_time(bad[i], &value) != -EINVAL)
            fail_msg("%s was not refused as no time", bad[i]);
    assert_int_equal(config_parse_time("-3s", &value), -ERANGE);
    assert_int_equal(config_parse_time("99999999999999999999h", &value), -ERANGE);
}

/* --- what is wrong, and how it is said ---------------------------------------------------- */

static void a_wrong_value_is_told_with_what_was_expected(void **state) {
    (void)state;
    assert_problems("[limits]\nmemory = 1M\n", NAME ":2: memory: 4M to 1024G, got `1M`\n");
    assert_problems("[limits]\nmemory = -5M\n", NAME ":2: memory: 4M to 1024G, got `-5M`\n");
    assert_problems("[limits]\nmemory = 99999999999999999999\n",
                    NAME ":2: memory: 4M to 1024G, got `99999999999999999999`\n");
    assert_problems("[limits]\nmemory = 12 parsecs\n",
                    NAME ":2: memory: expected a size such as 128M (bytes, or with K, M or G), "
                         "4M to 1024G, got `12 parsecs`\n");
    assert_problems("[limits]\nmemory =\n",
                    NAME ":2: memory: expected a size such as 128M (bytes, or with K, M or G), "
                         "4M to 1024G, got nothing\n");
    assert_problems("[limits]\ntimeout = 3\n",
                    NAME ":2: timeout: expected a time such as 3s (with ms, s, m or h), 1ms to "
                         "24h, got `3`; did you mean 3s?\n");
    assert_problems("[limits]\ntimeout = 0s\n", NAME ":2: timeout: 1ms to 24h, got `0s`\n");
    assert_problems("[limits]\ncpu = 0.001\n", NAME ":2: cpu: 0.01 to 1024, got `0.001`\n");
    assert_problems("[limits]\ncpu = two\n",
                    NAME ":2: cpu: expected a number of cores such as 0.5, 0.01 to 1024, got "
                         "`two`\n");
    assert_problems("[limits]\nprocesses = 1.5\n",
                    NAME ":2: processes: expected a whole number, 1 to 100000, got `1.5`\n");
    assert_problems("[limits]\ntmp = 1K\n", NAME ":2: tmp: 0, or 64K to 1024G, got `1K`\n");
    assert_problems("[scale]\nkeep_alive = 721h\n",
                    NAME ":2: keep_alive: 0s to 720h, got `721h`\n");
    assert_problems("[scale]\nprestart = maybe\n",
                    NAME ":2: prestart: expected yes or no, got `maybe`\n");
    assert_problems("[network]\nmode = hots\n",
                    NAME ":2: mode: expected none or host, got `hots`; did you mean host?\n");
    assert_problems("[function]\nruntime = pyton\n",
                    NAME ":2: runtime: expected python, node, native or exec, got `pyton`; did "
                         "you mean python?\n");
    assert_problems("[function]\nruntime = provided\n",
                    NAME ":2: runtime: `provided` is not supported yet; a program that reads the "
                         "event from stdin runs as exec\n");
    assert_problems("[function]\nimage = debian\n",
                    NAME ":2: image: expected host, got `debian`\n");
    assert_problems("[function]\nname = a/b\n",
                    NAME ":2: name: expected 1 to 64 letters, digits, - and _, got `a/b`\n");
    assert_problems("[function]\nhandler = ; app.handler\n",
                    NAME ":2: handler: expected a value, got nothing\n");
    assert_problems("[scale]\nwarmup = /etc/passwd\n",
                    NAME ":2: warmup: expected a path inside the function's folder, got "
                         "`/etc/passwd`\n");
    assert_problems("[scale]\nconcurrency = 4\nprovisioned = 5\n",
                    NAME ":3: provisioned: at most concurrency, which is 4, got `5`\n");
}

static void the_ends_of_a_range_are_inside(void **state) {
    (void)state;
    assert_problems("[limits]\nmemory=4M\ntimeout=1ms\ncpu=0.01\nprocesses=1\ninit=1ms\n"
                    "tmp=64K\nfiles=16\nevent=1K\nresponse=1K\nlogs=0\n",
                    "");
    assert_problems("[limits]\nmemory=1024G\ntimeout=24h\ncpu=1024\nprocesses=100000\ninit=1h\n"
                    "tmp=1024G\nfiles=1048576\nevent=1G\nresponse=1G\nlogs=1G\n",
                    "");
}

static void an_unknown_key_or_section_is_told_with_the_near_one(void **state) {
    (void)state;
    assert_problems("[limits]\nmemroy = 64M\n",
                    NAME ":2: unknown key `memroy` in [limits]; did you mean memory?\n");
    assert_problems("[limits]\nMemory = 64M\n",
                    NAME ":2: unknown key `Memory` in [limits]; did you mean memory?\n");
    assert_problems("[function]\ntimeout = 3s\n",
                    NAME ":2: unknown key `timeout` in [function]: it belongs into [limits]\n");
    assert_problems("[function]\nxyzzy = 1\n",
                    NAME ":2: unknown key `xyzzy` in [function]; `fnrun help check` says where "
                         "the keys are described\n");
    assert_problems("[limit]\nmemory = 64M\nnonsense = 1\n",
                    NAME ":1: unknown section [limit]; did you mean [limits]?\n");
    assert_problems("[zebra]\n",
                    NAME ":1: unknown section [zebra]: expected function, limits, scale, "
                         "environment, secrets, network or quota\n");
    assert_problems("memory = 64M\n",
                    NAME ":1: `memory` stands before the first section: put it below [limits]\n");
    assert_problems("[quota]\ninvocations_per_year = 5\ninvocations_per_day = none\n",
                    NAME ":2: unknown key `invocations_per_year` in [quota]: expected group, or "
                         "invocations, gb_seconds or cpu_seconds with _per_minute, _per_hour, "
                         "_per_day or _per_month behind it\n" NAME
                         ":3: invocations_per_day: expected a whole number, 1 to "
                         "1000000000000000, got `none`\n");
}

static void all_errors_are_told_at_once_in_the_order_of_their_lines(void **state) {
    (void)state;
    assert_problems("[scale]\nconcurrency = 1\nprovisioned = 2\n[limits]\nmemory = x\nbroken\n"
                    "[environment]\n9LIVES = 1\n",
                    NAME ":3: provisioned: at most concurrency, which is 1, got `2`\n" NAME
                         ":5: memory: expected a size such as 128M (bytes, or with K, M or G), 4M "
                         "to 1024G, got `x`\n" NAME
                         ":6: expected `key = value` or `[section]`\n" NAME
                         ":8: 9LIVES: a variable's name is letters, digits and _, and starts with "
                         "no digit\n");
}

static void a_file_of_nothing_but_errors_is_not_read_to_its_end(void **state) {
    (void)state;
    size_t lines = 400000;
    char *ini = malloc(2 * lines);
    assert_non_null(ini);
    for (size_t i = 0; i < lines; i++)
        memcpy(ini + 2 * i, "x\n", 2);
    _cleanup_reading_ struct reading reading = read_bytes(ini, 2 * lines);
    free(ini);
    assert_int_equal(reading.problems.count, CONFIG_MAX_PROBLEMS + 1);
    assert_string_equal(reading.problems.items[CONFIG_MAX_PROBLEMS].text,
                        "too many errors: the rest is not read");
}

static void a_duplicate_names_the_first_line(void **state) {
    (void)state;
    assert_problems("[limits]\nmemory = 64M\n\n[limits]\nmemory = 64M\n",
                    NAME ":5: `memory` has a value already, on line 2: remove one of them\n");
    assert_problems("[environment]\nA = 1\nB = 1\nA = 2\n",
                    NAME ":4: `A` has a value already, on line 2: remove one of them\n");
    assert_problems("[environment]\nA = 1\n[secrets]\nA = cred\n",
                    NAME ":4: `A` has a value already, on line 2: remove one of them\n");
    assert_problems("[environment]\na = 1\nA = 1\n", "");
    assert_problems("[limits]\nmemory = bad\nmemory = 64M\n",
                    NAME ":2: memory: expected a size such as 128M (bytes, or with K, M or G), 4M "
                         "to 1024G, got `bad`\n" NAME
                         ":3: `memory` has a value already, on line 2: remove one of them\n");
}

static void what_fnrun_sets_itself_cannot_be_set(void **state) {
    (void)state;
    assert_problems("[environment]\n_HANDLER = x\nLAMBDA_TASK_ROOT = y\nLANG = C\n",
                    NAME ":2: _HANDLER: this variable is set by fnrun, as on AWS Lambda; use "
                         "another name\n" NAME ":3: LAMBDA_TASK_ROOT: this variable is set by "
                         "fnrun, as on AWS Lambda; use another name\n");
}

/* --- the lines ----------------------------------------------------------------------------- */

static void comments_begin_at_a_blank_and_a_semicolon_or_hash(void **state) {
    (void)state;
    assert_value("A = a;b", "a;b");
    assert_value("A = a#b", "a#b");
    assert_value("A = a ;b", "a");
    assert_value("A = a\t# b", "a");
    assert_value("A = #b", "");
    assert_value("A =;b", "");
    assert_value("A = http://h/?a=b:c;d=[e]", "http://h/?a=b:c;d=[e]");
    assert_value("; B = 1\n# C = 2\n  ; D = 3\nA = x", "x");
}

static void a_quoted_value_keeps_everything(void **state) {
    (void)state;
    assert_value("A = \"a ; b # c\" ; d", "a ; b # c");
    assert_value("A = \" blanks \"", " blanks ");
    assert_value("A = \"\"", "");
    assert_value("A = \"say \\\"hi\\\" \\\\ \\n\\t.\"", "say \"hi\" \\ \n\t.");
    assert_value("A = say \"hi\"", "say \"hi\"");
    assert_value("A = \\n", "\\n");
    assert_problems("[environment]\nA = \"open\n",
                    NAME ":2: a quoted value without its closing quote: a value is one line (\\n "
                         "is a new one)\n");
    assert_problems("[environment]\nA = \"open\\\"\nB = \"\\",
                    NAME ":2: a quoted value without its closing quote: a value is one line (\\n "
                         "is a new one)\n" NAME
                         ":3: `\\` in a quoted value: the escapes are \\\" \\\\ \\n and \\t\n");
    assert_problems("[environment]\nA = \"a\" b\n",
                    NAME ":2: something behind the closing quote; write a quote inside the value "
                         "as \\\"\n");
    assert_problems("[environment]\nA = \"\\x\"\n",
                    NAME ":2: `\\x` in a quoted value: the escapes are \\\" \\\\ \\n and \\t\n");
}

static void an_indented_line_is_a_line_of_its_own(void **state) {
    (void)state;
    static const char ini[] = "  [environment]\n  A = one\n    B = two\n\tC = three\n";
    _cleanup_reading_ struct reading reading = read_bytes(ini, sizeof ini - 1);
    assert_string_equal(reading.text, "");
    assert_int_equal(reading.function.environment_count, 3);
    assert_string_equal(reading.function.environment[0].value, "one");
    assert_string_equal(reading.function.environment[2].key, "C");
    assert_problems("[environment]\nA = one\n    and more\n",
                    NAME ":3: expected `key = value` or `[section]`\n");
}

static void a_long_value_is_whole(void **state) {
    (void)state;
    for (size_t length = 150; length < 120000; length = length * 3 + 1) {
        static const char head[] = "[environment]\nA = ";
        static char ini[200000];
        char *value = ini + sizeof head - 1;
        memcpy(ini, head, sizeof head);
        for (size_t i = 0; i < length; i++)
            value[i] = (char)('a' + i % 26);
        memcpy(value + length, "\nB = 1\n", sizeof "\nB = 1\n");
        _cleanup_reading_ struct reading reading = read_bytes(ini, strlen(ini));
        value[length] = 0;
        if (length < 65000) {
            assert_int_equal(reading.function.environment_count, 2);
            assert_string_equal(reading.function.environment[0].value, value);
        } else {
            assert_non_null(strstr(reading.text, NAME ":2: a line of "));
            assert_int_equal(reading.function.environment_count, 1);
        }
    }
}

static void a_long_key_is_an_error_with_its_line(void **state) {
    (void)state;
    char ini[1024];
    snprintf(ini, sizeof ini, "[environment]\n%0500d = 1\nA%0160d = 1\n", 0, 0);
    _cleanup_reading_ struct reading reading = read_bytes(ini, strlen(ini));
    assert_int_equal(reading.problems.count, 1);
    assert_int_equal(reading.problems.items[0].line, 2);
    assert_int_equal(reading.function.environment_count, 1);
    assert_int_equal(strlen(reading.function.environment[0].key), 161);
}

static void a_byte_order_mark_and_crlf_are_accepted(void **state) {
    (void)state;
    static const char ini[] = "\xef\xbb\xbf[limits]\r\nmemory = 64M\r\n\r\n[environment]\r\n"
                              "A = b ; c\r\nB = \"d\"\r\nC=\r\n";
    _cleanup_reading_ struct reading reading = read_bytes(ini, sizeof ini - 1);
    assert_string_equal(reading.text, "");
    assert_int_equal(reading.function.limits.memory, 64 << 20);
    assert_string_equal(reading.function.environment[0].value, "b");
    assert_string_equal(reading.function.environment[1].value, "d");
    assert_string_equal(reading.function.environment[2].value, "");
}

static void assert_bad_bytes(const char *bytes, size_t length, const char *expected) {
    _cleanup_reading_ struct reading reading = read_bytes(bytes, length);
    assert_string_equal(reading.text, expected);
}
#define ASSERT_BAD_BYTES(literal, expected) assert_bad_bytes(literal, sizeof(literal) - 1, expected)

static void what_is_no_text_is_an_error_with_its_line(void **state) {
    (void)state;
    ASSERT_BAD_BYTES("[limits]\nmemory = 6\0004M\n",
                     NAME ":2: a NUL byte at column 11: save the file as UTF-8 text\n");
    ASSERT_BAD_BYTES("[environment]\nA = \xff\n",
                     NAME ":2: invalid UTF-8 (0xff) at column 5: save the file as UTF-8\n");
    ASSERT_BAD_BYTES("[environment]\nA = \xc3\xa9\n", "");
    ASSERT_BAD_BYTES("; caf\xe9\n", NAME ":1: invalid UTF-8 (0xe9) at column 6: save the file as "
                                         "UTF-8\n");
    ASSERT_BAD_BYTES("[environment]\nA = \x1b[31m\n",
                     NAME ":2: a control character (0x1b) at column 5: write text only\n");
    ASSERT_BAD_BYTES("[limits]\rmemory = 64M\r",
                     NAME ":1: a carriage return inside the line, at column 9: end lines with LF "
                          "or CR LF\n");
}

static void broken_lines_are_told_for_what_they_are(void **state) {
    (void)state;
    assert_problems("[limits\nmemory = 1M\n", NAME ":1: a section without its closing ]\n");
    assert_problems("[limits] memory = 64M\n", NAME
                    ":1: something behind the section's ]; keys stand on lines of their own\n");
    assert_problems("[ limits ] ; memory\nmemory = 64M\n", "");
    assert_problems("[limits]\nmemory: 64M\n", NAME ":2: expected `key = value` or `[section]`; "
                                                    "between key and value stands a =\n");
    assert_problems("[limits]\nmemory:x = 64M\n",
                    NAME ":2: `memory:x` is no key: expected letters, digits, _, - and .\n");
    assert_problems("[limits]\n= 64M\n", NAME ":2: expected a key before the =\n");
    assert_problems("[limits]\nmemory = 64M", "");
    assert_problems("[?]\nx = 1\n", NAME ":1: unknown section [?]: expected function, limits, "
                                         "scale, environment, secrets, network or quota\n");
    assert_problems("[]\n", NAME ":1: unknown section []: expected function, limits, scale, "
                                 "environment, secrets, network or quota\n");
}

static void a_file_over_one_mebibyte_is_refused(void **state) {
    (void)state;
    size_t length = (1 << 20) + 1;
    char *ini = malloc(length);
    assert_non_null(ini);
    memset(ini, '\n', length);
    _cleanup_reading_ struct reading large = read_bytes(ini, length);
    assert_string_equal(large.text, NAME ": larger than 1 MiB: a function.ini is short text\n");
    _cleanup_reading_ struct reading full = read_bytes(ini, length - 1);
    assert_string_equal(full.text, "");
    free(ini);
}

static void more_than_a_thousand_variables_are_refused_once(void **state) {
    (void)state;
    char *ini = NULL;
    size_t length;
    FILE *to = open_memstream(&ini, &length);
    assert_non_null(to);
    fputs("[environment]\n", to);
    for (int i = 0; i < 1500; i++)
        fprintf(to, "A%d = 1\n", i);
    fclose(to);
    _cleanup_reading_ struct reading reading = read_bytes(ini, length);
    free(ini);
    assert_string_equal(reading.text, NAME ":1002: more than 1000 variables, secrets and quotas\n");
    assert_int_equal(reading.function.environment_count, 1000);
}

static void what_is_no_file_is_an_error_not_a_wait(void **state) {
    (void)state;
    struct function function = {0};
    struct config_problems problems = {0};
    struct error err = {0};
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(config_read(ends[0], NAME, &function, &problems, &err), -EINVAL);
    assert_string_equal(err.message, NAME " is no regular file");
    close(ends[0]);
    close(ends[1]);
}

/* --- the command line, and what is printed ------------------------------------------------- */

static void an_option_has_the_ranges_and_texts_of_the_file(void **state) {
    (void)state;
    struct function function = {0};
    struct error err = {0};
    config_defaults(&function);
    assert_int_equal(config_set(&function, "limits", "timeout", "2s", &err), 0);
    assert_int_equal(function.limits.timeout_ms, 2000);
    assert_int_equal(config_set(&function, "limits", "memory", "64M", &err), 0);
    assert_int_equal(function.limits.memory, 64 << 20);
    assert_int_equal(config_set(&function, "limits", "memory", "1M", &err), -EINVAL);
    assert_string_equal(err.message, "memory: 4M to 1024G, got `1M`");
    assert_int_equal(function.limits.memory, 64 << 20);
    assert_int_equal(config_set(&function, "limits", "nothing", "1", &err), -EINVAL);
    free(function.image);
}

static char *printed(void (*print)(FILE *)) {
    char *text = NULL;
    size_t length;
    FILE *to = open_memstream(&text, &length);
    assert_non_null(to);
    print(to);
    fclose(to);
    return text;
}

static void the_manual_and_the_help_come_from_the_table(void **state) {
    (void)state;
    _cleanup_free_ char *man = printed(config_print_man);
    assert_non_null(strstr(man, ".SS [limits]\n.TP\n\\fBmemory\\fR = \\fI128M\\fR\n"));
    assert_non_null(strstr(man, "Takes 4M to 1024G.\n"));
    assert_non_null(strstr(man, "\\fBkeep_alive\\fR = \\fI10m\\fR\n"));
    assert_null(strstr(man, " -"));
    _cleanup_free_ char *help = printed(config_print_help);
    assert_non_null(strstr(help, "[network]\n  mode "));
    assert_non_null(strstr(help, "none or host; default: none\n"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_leaves_the_defaults),
        cmocka_unit_test(the_file_of_the_design_is_read_whole),
        cmocka_unit_test(sizes_are_bytes_or_powers_of_1024),
        cmocka_unit_test(times_need_a_unit),
        cmocka_unit_test(a_wrong_value_is_told_with_what_was_expected),
        cmocka_unit_test(the_ends_of_a_range_are_inside),
        cmocka_unit_test(an_unknown_key_or_section_is_told_with_the_near_one),
        cmocka_unit_test(all_errors_are_told_at_once_in_the_order_of_their_lines),
        cmocka_unit_test(a_file_of_nothing_but_errors_is_not_read_to_its_end),
        cmocka_unit_test(a_duplicate_names_the_first_line),
        cmocka_unit_test(what_fnrun_sets_itself_cannot_be_set),
        cmocka_unit_test(comments_begin_at_a_blank_and_a_semicolon_or_hash),
        cmocka_unit_test(a_quoted_value_keeps_everything),
        cmocka_unit_test(an_indented_line_is_a_line_of_its_own),
        cmocka_unit_test(a_long_value_is_whole),
        cmocka_unit_test(a_long_key_is_an_error_with_its_line),
        cmocka_unit_test(a_byte_order_mark_and_crlf_are_accepted),
        cmocka_unit_test(what_is_no_text_is_an_error_with_its_line),
        cmocka_unit_test(broken_lines_are_told_for_what_they_are),
        cmocka_unit_test(a_file_over_one_mebibyte_is_refused),
        cmocka_unit_test(more_than_a_thousand_variables_are_refused_once),
        cmocka_unit_test(what_is_no_file_is_an_error_not_a_wait),
        cmocka_unit_test(an_option_has_the_ranges_and_texts_of_the_file),
        cmocka_unit_test(the_manual_and_the_help_come_from_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
