#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "isolate/cleanup.h"
#include "runner/outcome.h"
#include "runner/package_tree.h"
#include "runner/state.h"
#include "runner/usage.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static char store[64];

static int make_store(void **unused) {
    (void)unused;
    snprintf(store, sizeof store, "/tmp/fnrun-test-state-XXXXXX");
    return mkdtemp(store) ? 0 : -1;
}

static int remove_store(void **unused) {
    (void)unused;
    return package_tree_remove(AT_FDCWD, store);
}

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", store, name);
    return path;
}

static bool is_there(const char *name) {
    struct stat st;
    return lstat(path_of(name), &st) == 0;
}

static void make_folder(const char *name) {
    assert_int_equal(mkdir(path_of(name), 0755), 0);
    char file[192];
    snprintf(file, sizeof file, "%s/app.py", name);
    int fd = open(path_of(file), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    close(fd);
}

static struct state *opened(void) {
    struct state *state = NULL;
    struct error err = {0};
    if (state_open(store, &state, &err) < 0)
        fail_msg("%s", err.message);
    return state;
}

static uint64_t put(struct state *state, const char *function, const char *digest) {
    struct error err = {0};
    uint64_t number = 0;
    if (state_put(state, function, digest, &number, &err) < 0)
        fail_msg("%s", err.message);
    return number;
}

static void sweep(struct state *state, unsigned keep) {
    struct error err = {0};
    if (state_sweep(state, keep, &err) < 0)
        fail_msg("%s", err.message);
}

/* "hello:2*cccc hello:1 aaaa": each version, a star at the current one. */
static void assert_versions(struct state *state, const char *function, const char *expected) {
    _cleanup_free_ struct state_version *list = NULL;
    struct error err = {0};
    char text[1024] = "";
    size_t used = 0;
    long count = state_versions(state, function, &list, &err);
    assert_true(count >= 0);
    for (long i = 0; i < count; i++) {
        assert_true(list[i].created > 1700000000);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s:%d%s%.4s", i ? " " : "",
                                 list[i].function, (int)list[i].number, list[i].current ? "*" : " ",
                                 list[i].digest);
    }
    assert_string_equal(text, expected);
}

/* --- versions ----------------------------------------------------------------------------- */

static void a_version_is_current_until_the_next_and_back_again(void **unused) {
    (void)unused;
    struct state *state = opened();
    make_folder("versions/" A);
    make_folder("versions/" B);
    assert_versions(state, "hello", "");
    assert_int_equal(put(state, "hello", A), 1);
    assert_int_equal(put(state, "hello", B), 2);
    assert_int_equal(put(state, "other", B), 1);
    assert_versions(state, "hello", "hello:2*bbbb hello:1 aaaa");
    assert_versions(state, NULL, "hello:2*bbbb other:1*bbbb");
    assert_int_equal(put(state, "hello", A), 1); /* rolled back: the old number */
    assert_versions(state, "hello", "hello:2 bbbb hello:1*aaaa");
    assert_int_equal(put(state, "hello", A), 1); /* the same again changes nothing */
    assert_versions(state, "hello", "hello:2 bbbb hello:1*aaaa");
    state_close(state);
}

static void functions_are_there_after_a_restart(void **unused) {
    (void)unused;
    struct state *state = opened();
    make_folder("versions/" A);
    make_folder("versions/" B);
    put(state, "hello", A);
    put(state, "hello", B);
    state_close(state);
    state = opened();
    sweep(state, 5);
    assert_versions(state, NULL, "hello:2*bbbb");
    assert_true(is_there("versions/" A "/app.py"));
    assert_int_equal(put(state, "hello", B), 2);
    state_close(state);
}

static void a_version_without_a_folder_is_refused(void **unused) {
    (void)unused;
    struct state *state = opened();
    struct error err = {0};
    uint64_t number;
    assert_int_equal(state_put(state, "hello", A, &number, &err), -ENOENT);
    assert_non_null(strstr(err.message, "versions/" A " is not there: deploy"));
    assert_int_equal(state_put(state, "hello", "../../etc", &number, &err), -EINVAL);
    assert_versions(state, NULL, "");
    state_close(state);
}

static void a_removed_function_is_gone_and_its_folders_with_the_next_sweep(void **unused) {
    (void)unused;
    struct state *state = opened();
    struct error err = {0};
    make_folder("versions/" A);
    make_folder("versions/" B);
    put(state, "hello", A);
    put(state, "hello", B);
    put(state, "other", B);
    sweep(state, 5);
    assert_int_equal(state_remove(state, "hello", &err), 0);
    assert_versions(state, NULL, "other:1*bbbb");
    assert_versions(state, "hello", "");
    assert_true(is_there("versions/" A)); /* an environment may still run from it */
    sweep(state, 5);
    assert_false(is_there("versions/" A));
    assert_true(is_there("versions/" B "/app.py")); /* the other one's */
    assert_int_equal(state_remove(state, "hello", &err), -ENOENT);
    assert_string_equal(err.message, "there is no function hello");
    state_close(state);
}

/* --- sweeping ----------------------------------------------------------------------------- */

static void a_sweep_keeps_the_newest_and_the_current(void **unused) {
    (void)unused;
    static const char digits[] = "0123456789";
    struct state *state = opened();
    char digest[65] = "", name[80];
    for (size_t i = 0; i < 6; i++) {
        memset(digest, digits[i], 64);
        snprintf(name, sizeof name, "versions/%s", digest);
        make_folder(name);
        put(state, "hello", digest);
    }
    memset(digest, '1', 64);
    put(state, "hello", digest);
    sweep(state, 2);
    assert_versions(state, "hello", "hello:6 5555 hello:5 4444 hello:2*1111");
    for (size_t i = 0; i < 6; i++) {
        memset(digest, digits[i], 64);
        snprintf(name, sizeof name, "versions/%s", digest);
        assert_int_equal(is_there(name), i == 1 || i == 4 || i == 5);
    }
    memset(digest, '5', 64);
    put(state, "hello", digest);
    sweep(state, 0); /* as 1 */
    assert_versions(state, "hello", "hello:6*5555");
    make_folder("versions/" A);
    assert_int_equal(put(state, "hello", A), 7); /* numbers are not used again */
    state_close(state);
}

static void what_a_crash_left_goes_and_what_this_run_makes_stays(void **unused) {
    (void)unused;
    state_close(opened());
    make_folder("versions/" A);
    make_folder("versions/half");
    make_folder("incoming/upload");
    make_folder("incoming/upload/deep");
    struct state *state = opened();
    make_folder("versions/" B); /* renamed into place, its row comes later */
    make_folder("incoming/unpacking");
    assert_int_equal(symlink("/", path_of("versions/half/root")), 0);
    sweep(state, 5);
    assert_false(is_there("versions/" A));
    assert_false(is_there("versions/half"));
    assert_false(is_there("incoming/upload"));
    assert_true(is_there("versions/" B));
    assert_true(is_there("incoming/unpacking"));
    assert_int_equal(access("/bin/sh", X_OK), 0); /* the link was not followed */
    state_close(state);
}

/* --- the store ------------------------------------------------------------------------------ */

static void the_store_is_made_with_the_folders_above(void **unused) {
    (void)unused;
    struct state *state = NULL;
    struct error err = {0};
    struct stat st;
    mode_t before = umask(077);
    assert_int_equal(state_open(path_of("a/b/store"), &state, &err), 0);
    umask(before);
    assert_non_null(strstr(state_store(state), "/a/b/store"));
    assert_int_equal(stat(path_of("a/b/store/versions"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755); /* functions read their code there */
    assert_int_equal(stat(path_of("a/b/store/incoming"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(path_of("a/b/store/state.db"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(path_of("a/b/store/state.db-wal"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    state_close(state);
}

static void a_second_daemon_is_told_who_has_the_store(void **unused) {
    (void)unused;
    struct state *state = opened(), *second = NULL;
    struct error err = {0};
    char expected[256];
    assert_int_equal(state_open(store, &second, &err), -EBUSY);
    snprintf(expected, sizeof expected,
             "%s is in use by another fnrund, process %d: stop that one, or name another store in "
             "fnrun.ini ([runner] store)",
             store, getpid());
    assert_string_equal(err.message, expected);
    assert_null(second);
    state_close(state);
    state_close(opened());
}

static void a_store_that_others_can_write_is_refused(void **unused) {
    (void)unused;
    struct state *state = NULL;
    struct error err = {0};
    assert_int_equal(chmod(store, 0777), 0);
    assert_int_equal(state_open(store, &state, &err), -EPERM);
    assert_non_null(strstr(err.message, "chmod go-w"));
}

static void a_store_in_a_file_is_an_error_that_names_it(void **unused) {
    (void)unused;
    struct state *state = NULL;
    struct error err = {0};
    close(open(path_of("file"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    assert_int_equal(state_open(path_of("file/store"), &state, &err), -ENOTDIR);
    assert_non_null(strstr(err.message, "/file"));
    assert_non_null(strstr(err.message, "name another store in fnrun.ini"));
}

/* --- a database that is none ------------------------------------------------------------------ */

static void overwrite(const char *name, off_t at, size_t length) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(pwrite(fd, "\x5a", 1, at + (off_t)i), 1);
    close(fd);
}

static void assert_refused(int code, const char *text) {
    struct state *state = NULL;
    struct error err = {0};
    assert_int_equal(state_open(store, &state, &err), code);
    assert_null(state);
    if (!strstr(err.message, text))
        fail_msg("%s", err.message);
}

static void a_damaged_database_says_what_to_do(void **unused) {
    (void)unused;
    overwrite("state.db", 0, 8192);
    assert_refused(-EBADMSG, "deploy the functions again");
}

static void a_database_with_damaged_rows_says_what_to_do(void **unused) {
    (void)unused;
    struct state *state = opened();
    make_folder("versions/" A);
    put(state, "hello", A);
    state_close(state); /* the journal is in the file now */
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path_of("state.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT rootpage, (SELECT page_size FROM pragma_page_size)"
                                        " FROM sqlite_master WHERE name = 'versions'",
                                        -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    off_t at = (off_t)(sqlite3_column_int(statement, 0) - 1) * sqlite3_column_int(statement, 1);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    overwrite("state.db", at, 100);
    assert_refused(-EBADMSG, "is damaged (");
}

static void change_database(const char *sql) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path_of("state.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void a_newer_form_and_a_foreign_database_are_refused(void **unused) {
    (void)unused;
    state_close(opened());
    change_database("PRAGMA user_version = 99");
    assert_refused(-EINVAL, "written by another release");
    change_database("PRAGMA application_id = 7");
    assert_refused(-EINVAL, "database of another program");
}

/* --- usage ------------------------------------------------------------------------------------ */

static void record(struct state *state, const char *function, const char *id) {
    struct call call = {.outcome = OUTCOME_TIMEOUT,
                        .cold = true,
                        .init_us = 11,
                        .duration_us = 22,
                        .cpu_us = 33,
                        .peak_memory = UINT64_C(1) << 40,
                        .peak_exact = true,
                        .event_length = 44,
                        .result_length = 55};
    snprintf(call.request_id, sizeof call.request_id, "%s", id);
    state_record(state, function, 7, &call);
}

static char *usage_json(struct state *state, const char *function, unsigned limit) {
    struct error err = {0};
    char *json = state_usage_json(state, function, limit, &err);
    if (!json)
        fail_msg("%s", err.message);
    return json;
}

static size_t count_of(const char *text, const char *word) {
    size_t count = 0;
    for (const char *p = text; (p = strstr(p, word)); p += strlen(word))
        count++;
    return count;
}

static void a_record_has_all_that_was_measured(void **unused) {
    (void)unused;
    struct state *state = opened();
    record(state, "hello", "id-1");
    _cleanup_free_ char *json = usage_json(state, "hello", 10);
    char *time = strstr(json, "\"time\":");
    assert_non_null(time);
    assert_true(strtoll(time + 7, NULL, 10) > 1700000000000);
    const char *rest = strchr(time, ',');
    *time = 0;
    assert_string_equal(json, "[{\"requestId\":\"id-1\",\"function\":\"hello\",\"version\":7,"
                              "\"outcome\":\"Sandbox.Timedout\",");
    assert_string_equal(rest, ",\"cold\":true,\"initUs\":11,\"durationUs\":22,\"cpuUs\":33,"
                              "\"peakMemory\":1099511627776,\"peakExact\":true,\"bytesIn\":44,"
                              "\"bytesOut\":55}]");
    state_close(state);
}

static void the_newest_records_come_first_by_function(void **unused) {
    (void)unused;
    struct state *state = opened();
    char id[16];
    for (int i = 0; i < 5; i++) {
        snprintf(id, sizeof id, "id-%d", i);
        record(state, i % 2 ? "odd" : "even", id);
    }
    _cleanup_free_ char *odd = usage_json(state, "odd", 10), *all = usage_json(state, NULL, 2);
    _cleanup_free_ char *none = usage_json(state, "none", 10);
    assert_true(strstr(odd, "id-3") < strstr(odd, "id-1"));
    assert_int_equal(count_of(odd, "requestId"), 2);
    assert_true(strstr(all, "id-4") < strstr(all, "id-3"));
    assert_int_equal(count_of(all, "requestId"), 2);
    assert_string_equal(none, "[]");
    state_close(state);
}

static void records_are_written_when_the_state_is_closed(void **unused) {
    (void)unused;
    struct state *state = opened();
    struct error err = {0};
    record(state, "hello", "first");
    assert_int_equal(state_flush(state, &err), 0);
    record(state, "hello", "second");
    state_close(state);
    state = opened();
    _cleanup_free_ char *json = usage_json(state, NULL, 10);
    assert_int_equal(count_of(json, "requestId"), 2);
    state_close(state);
}

static int64_t number_in_database(const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_open(path_of("state.db"), &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

static void what_the_queue_cannot_hold_is_counted(void **unused) {
    (void)unused;
    struct state *state = opened();
    for (size_t i = 0; i < USAGE_QUEUE + 1234; i++)
        record(state, "flood", "id");
    state_close(state);
    assert_int_equal(number_in_database("SELECT count(*) FROM usage"), USAGE_QUEUE);
    assert_int_equal(number_in_database("SELECT sum(count) FROM usage_dropped"), 1234);
}

static void records_that_could_not_be_written_are_tried_again(void **unused) {
    (void)unused;
    struct state *state = opened();
    struct error err = {0};
    change_database("ALTER TABLE usage RENAME TO hidden");
    record(state, "hello", "one");
    assert_null(state_usage_json(state, NULL, 10, &err));
    assert_int_equal(err.code, -EIO);
    change_database("ALTER TABLE hidden RENAME TO usage");
    record(state, "hello", "two");
    _cleanup_free_ char *json = usage_json(state, NULL, 10);
    assert_int_equal(count_of(json, "\"one\""), 1);
    assert_int_equal(count_of(json, "\"two\""), 1);
    state_close(state);
}

static void old_records_are_forgotten(void **unused) {
    (void)unused;
    struct state *state = opened();
    struct error err = {0};
    record(state, "hello", "old");
    record(state, "hello", "new");
    free(usage_json(state, NULL, 10));
    change_database("UPDATE usage SET time = time - 10 * 86400000 WHERE request = 'old'");
    assert_int_equal(state_forget_usage(state, 11, &err), 0);
    _cleanup_free_ char *both = usage_json(state, NULL, 10);
    assert_int_equal(count_of(both, "requestId"), 2);
    assert_int_equal(state_forget_usage(state, 9, &err), 0);
    _cleanup_free_ char *one = usage_json(state, NULL, 10);
    assert_int_equal(count_of(one, "requestId"), 1);
    assert_non_null(strstr(one, "\"new\""));
    assert_int_equal(state_forget_usage(state, 0, &err), 0);
    _cleanup_free_ char *none = usage_json(state, NULL, 10);
    assert_string_equal(none, "[]");
    state_close(state);
}

/* --- a crash ---------------------------------------------------------------------------------- */

static void a_daemon_that_is_killed_leaves_the_store_whole_and_unlocked(void **unused) {
    (void)unused;
    int ends[2];
    char byte;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (!child) {
        struct state *state = NULL;
        struct error err = {0};
        uint64_t number;
        close(ends[0]);
        if (state_open(store, &state, &err) == 0 && mkdir(path_of("versions/" C), 0755) == 0 &&
            state_put(state, "hello", C, &number, &err) == 0 && write(ends[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct state *state = opened();
    assert_versions(state, NULL, "hello:1*cccc");
    state_close(state);
}

#define STORE_TEST(test) cmocka_unit_test_setup_teardown(test, make_store, remove_store)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_version_is_current_until_the_next_and_back_again),
        STORE_TEST(functions_are_there_after_a_restart),
        STORE_TEST(a_version_without_a_folder_is_refused),
        STORE_TEST(a_removed_function_is_gone_and_its_folders_with_the_next_sweep),
        STORE_TEST(a_sweep_keeps_the_newest_and_the_current),
        STORE_TEST(what_a_crash_left_goes_and_what_this_run_makes_stays),
        STORE_TEST(the_store_is_made_with_the_folders_above),
        STORE_TEST(a_second_daemon_is_told_who_has_the_store),
        STORE_TEST(a_store_that_others_can_write_is_refused),
        STORE_TEST(a_store_in_a_file_is_an_error_that_names_it),
        STORE_TEST(a_damaged_database_says_what_to_do),
        STORE_TEST(a_database_with_damaged_rows_says_what_to_do),
        STORE_TEST(a_newer_form_and_a_foreign_database_are_refused),
        STORE_TEST(a_record_has_all_that_was_measured),
        STORE_TEST(the_newest_records_come_first_by_function),
        STORE_TEST(records_are_written_when_the_state_is_closed),
        STORE_TEST(what_the_queue_cannot_hold_is_counted),
        STORE_TEST(records_that_could_not_be_written_are_tried_again),
        STORE_TEST(old_records_are_forgotten),
        STORE_TEST(a_daemon_that_is_killed_leaves_the_store_whole_and_unlocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
