#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "runner/logbook.h"
#include "runner/logbook_journal.h"
#include "runner/outcome.h"
#include "runner/package_tree.h"
#include "runner/registry.h"

/* --- pools that do as they are told ----------------------------------------------------------- */

struct pool {
    struct pool *next;
    char name[65], digest[65];
    const struct pool_events *events;
    void *owner;
    void (*started)(void *owner, int outcome, const char *error, size_t error_length,
                    const char *log, size_t log_length);
    void *started_owner;
    void (*drained)(void *owner);
    void *drained_owner;
    bool up;
};
static struct pool *pools_made;
static bool hold_starts, hold_drains;
static unsigned made, freed;

struct pool *pool_new(struct pools *pools, const struct function *function, const char *digest,
                      const struct pool_events *events, void *owner) {
    struct pool *pool = calloc(1, sizeof *pool);
    (void)pools;
    assert_non_null(pool);
    snprintf(pool->name, sizeof pool->name, "%s", function->name);
    snprintf(pool->digest, sizeof pool->digest, "%s", digest);
    pool->events = events;
    pool->owner = owner;
    pool->next = pools_made;
    pools_made = pool;
    made++;
    return pool;
}

static void start_ends(struct pool *pool, int outcome, const char *error, const char *log) {
    void (*started)(void *, int, const char *, size_t, const char *, size_t) = pool->started;
    assert_non_null(started);
    pool->started = NULL;
    pool->up = outcome == OUTCOME_SUCCESS;
    started(pool->started_owner, outcome, error, error ? strlen(error) : 0, log,
            log ? strlen(log) : 0);
}

void pool_start(struct pool *pool,
                void (*started)(void *owner, int outcome, const char *error, size_t error_length,
                                const char *log, size_t log_length),
                void *owner) {
    pool->started = started;
    pool->started_owner = owner;
    if (!hold_starts)
        start_ends(pool, OUTCOME_SUCCESS, NULL, NULL);
}

static void drain_ends(struct pool *pool) {
    struct pool **place = &pools_made;
    void (*drained)(void *owner) = pool->drained;
    void *owner = pool->drained_owner;
    assert_non_null(drained);
    while (*place != pool)
        place = &(*place)->next;
    *place = pool->next;
    free(pool);
    freed++;
    drained(owner);
}

void pool_drain(struct pool *pool, void (*drained)(void *owner), void *owner) {
    assert_null(pool->drained);
    pool->drained = drained;
    pool->drained_owner = owner;
    if (!hold_drains)
        drain_ends(pool);
}

void pool_read_stats(const struct pool *pool, struct pool_stats *stats) {
    *stats = (struct pool_stats){.up = pool->up, .way = KEEPER_AHEAD, .retired = {7}};
    snprintf(stats->why, sizeof stats->why, "threads: 3");
}

void settings_apply(const struct settings *settings, struct function *function,
                    struct config_problems *problems) {
    if (function->limits.memory > settings->max_memory)
        config_problem(problems, function->path, 0, "memory: more than fnrun.ini allows");
}

/* --- a daemon without the rest ---------------------------------------------------------------- */

struct told {
    int outcome, count, folder_is_there;
    char json[65536];
};

static char base[64], store[80], last_upload[256];
static sd_event *loop;
static struct state *state_db;
static struct registry *registry;
static struct settings settings;
static unsigned uploads;

static void open_all(void) {
    struct error err = {0};
    settings = (struct settings){.logs = 65536, .max_memory = 1ul << 30, .memory = 1ul << 30};
    assert_int_equal(sd_event_new(&loop), 0);
    assert_int_equal(state_open(store, &state_db, &err), 0);
    assert_int_equal(state_sweep(state_db, 10, &err), 0);
    assert_int_equal(registry_open(loop, NULL, state_db, &settings, &registry, &err), 0);
}

static void close_all(void) {
    while (pools_made) {
        struct pool *pool = pools_made;
        pools_made = pool->next;
        free(pool);
    }
    registry_free(registry);
    state_close(state_db);
    sd_event_unref(loop);
    hold_starts = hold_drains = false;
}

static int set_up(void **state) {
    (void)state;
    logbook_journal_path = "/nonexistent/journal";
    strcpy(base, "/tmp/fnrun-test-registry-XXXXXX");
    if (!mkdtemp(base))
        return -1;
    snprintf(store, sizeof store, "%s/store", base);
    made = freed = 0;
    open_all();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    close_all();
    return package_tree_remove(AT_FDCWD, base);
}

static void put_file(const char *folder, const char *name, const char *text, mode_t mode) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* A function whose content is `text`, as it lies in incoming/ after unpacking. */
static const char *upload(const char *name, const char *text, const char *ini) {
    static char folder[256];
    snprintf(folder, sizeof folder, "%s/incoming/%u", store, uploads++);
    assert_int_equal(mkdir(folder, 0755), 0);
    snprintf(folder + strlen(folder), 70, "/%s", name);
    assert_int_equal(mkdir(folder, 0755), 0);
    put_file(folder, "run", text, 0755);
    if (ini)
        put_file(folder, "function.ini", ini, 0644);
    strcpy(last_upload, folder);
    return folder;
}

static void tell(void *owner, int outcome, const char *json) {
    struct told *told = owner;
    told->outcome = outcome;
    told->count++;
    told->folder_is_there = access(last_upload, F_OK) == 0;
    snprintf(told->json, sizeof told->json, "%s", json);
}

/* Turns the loop until *flag is set, and a little further: what is under way then is told. */
static void turn(const int *flag) {
    while (!*flag)
        assert_true(sd_event_run(loop, 5000000) > 0);
    while (sd_event_run(loop, 0) > 0)
        ;
}

/* Turns the loop until there are `count` pools. */
static void turn_until_made(unsigned count) {
    while (made < count)
        assert_true(sd_event_run(loop, 5000000) > 0);
    while (sd_event_run(loop, 0) > 0)
        ;
}

static struct told *deploy(const char *folder, const char *name) {
    static struct told told;
    told = (struct told){0};
    registry_deploy(registry, folder, name, tell, &told);
    assert_int_equal(told.count, 0);
    turn(&told.count);
    assert_int_equal(told.count, 1);
    /* Whatever became of it, the upload's folder is gone when it is told. */
    assert_int_equal(told.folder_is_there, 0);
    return &told;
}

static struct told *rollback(const char *name, uint64_t number) {
    static struct told told;
    told = (struct told){0};
    registry_rollback(registry, name, number, tell, &told);
    turn(&told.count);
    return &told;
}

static unsigned count_in(const char *part) {
    char path[128];
    unsigned count = 0;
    snprintf(path, sizeof path, "%s/%s", store, part);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

#define A "#!/bin/sh\necho '\"a\"'\n"
#define B "#!/bin/sh\necho '\"b\"'\n"
#define C "#!/bin/sh\necho '\"c\"'\n"

#define assert_says(told, text)                                                                    \
    do {                                                                                           \
        if (!strstr((told)->json, text))                                                           \
            fail_msg("`%s` is not in %s", text, (told)->json);                                     \
    } while (0)

/* --- deploying -------------------------------------------------------------------------------- */

static void a_new_function_is_served_once_its_environment_is_up(void **state) {
    (void)state;
    struct told told = {0};
    hold_starts = true;
    registry_deploy(registry, upload("hello", A, NULL), NULL, tell, &told);
    turn_until_made(1);
    assert_int_equal(told.count, 0);
    assert_null(registry_find(registry, "hello"));
    start_ends(pools_made, OUTCOME_SUCCESS, NULL, NULL);
    turn(&told.count);
    assert_int_equal(told.outcome, OUTCOME_SUCCESS);
    assert_says(&told, "\"name\":\"hello\"");
    assert_says(&told, "\"version\":1");
    assert_says(&told, "\"unchanged\":false");
    assert_says(&told, "\"way\":\"ahead\",\"why\":\"threads: 3\"");
    struct entry *entry = registry_find(registry, "hello");
    assert_non_null(entry);
    assert_int_equal(entry->number, 1);
    assert_ptr_equal(entry->pool, pools_made);
    assert_int_equal(count_in("versions"), 1);
}

static void a_deployment_is_told_after_the_call_has_returned(void **state) {
    (void)state;
    assert_int_equal(deploy(upload("hello", A, NULL), "not a name")->outcome, OUTCOME_BAD_FUNCTION);
    assert_int_equal(rollback("nothing", 0)->outcome, OUTCOME_NO_FUNCTION);
}

static void the_name_is_the_callers_else_the_inis_else_the_folders(void **state) {
    (void)state;
    assert_says(deploy(upload("folder", A, NULL), NULL), "\"name\":\"folder\"");
    assert_says(deploy(upload("folder", A, "[function]\nname = ini\n"), NULL), "\"name\":\"ini\"");
    assert_says(deploy(upload("folder", A, "[function]\nname = ini\n"), "url"), "\"name\":\"url\"");
    assert_non_null(registry_find(registry, "url"));
    assert_string_equal(registry_find(registry, "url")->function.name, "url");
    char long_name[80];
    memset(long_name, 'x', sizeof long_name);
    long_name[65] = 0;
    assert_says(deploy(upload("folder", A, NULL), long_name), "1 to 64 letters");
    assert_says(deploy(upload("folder", A, NULL), "../up"), "1 to 64 letters");
}

static void the_same_content_again_changes_nothing(void **state) {
    (void)state;
    deploy(upload("hello", A, NULL), NULL);
    struct told *told = deploy(upload("hello", A, NULL), NULL);
    assert_int_equal(told->outcome, OUTCOME_SUCCESS);
    assert_says(told, "\"unchanged\":true");
    assert_says(told, "\"version\":1");
    assert_int_equal(made, 1);
    assert_int_equal(freed, 0);
}

static void a_new_version_takes_over_and_the_old_one_drains(void **state) {
    (void)state;
    deploy(upload("hello", A, NULL), NULL);
    struct pool *old = pools_made;
    hold_drains = true;
    struct told *told = deploy(upload("hello", B, NULL), NULL);
    assert_says(told, "\"version\":2");
    assert_non_null(old->drained);
    assert_ptr_not_equal(registry_find(registry, "hello")->pool, old);
    drain_ends(old);
    assert_non_null(registry_find(registry, "hello")->pool);
    assert_int_equal(count_in("versions"), 2);
}

static void a_version_that_does_not_start_is_refused_and_the_old_one_serves(void **state) {
    (void)state;
    struct told told = {0};
    deploy(upload("hello", A, NULL), NULL);
    struct pool *old = pools_made;
    hold_starts = true;
    registry_deploy(registry, upload("hello", B, NULL), NULL, tell, &told);
    turn_until_made(2);
    start_ends(pools_made, OUTCOME_UNHANDLED,
               "{\"errorMessage\":\"no module named \\\"x\\\"\",\"errorType\":\"E\"}",
               "Traceback\n");
    turn(&told.count);
    assert_int_equal(told.outcome, OUTCOME_UNHANDLED);
    const char *type = NULL;
    assert_int_equal(registry_status(told.outcome, &type), 400);
    assert_says(&told, "goes on serving): no module named \\\"x\\\"\"");
    assert_says(&told, "\"error\":{\"errorMessage\":\"no module named");
    assert_says(&told, "\"log\":\"Traceback\\n\"");
    assert_ptr_equal(registry_find(registry, "hello")->pool, old);
    assert_int_equal(registry_find(registry, "hello")->number, 1);
    assert_int_equal(count_in("versions"), 1);
}

static void a_first_version_that_does_not_start_leaves_nothing(void **state) {
    (void)state;
    struct told told = {0};
    hold_starts = hold_drains = true;
    registry_deploy(registry, upload("hello", B, NULL), NULL, tell, &told);
    turn_until_made(1);
    start_ends(pools_made, OUTCOME_INIT_TIMEOUT, "not JSON", NULL);
    turn(&told.count);
    assert_int_equal(told.outcome, OUTCOME_INIT_TIMEOUT);
    assert_says(&told, "\"error\":null");
    assert_null(registry_find(registry, "hello"));
    /* Its environment may still be ending. */
    assert_int_equal(count_in("versions"), 1);
    drain_ends(pools_made);
    assert_int_equal(freed, 1);
    assert_int_equal(count_in("versions"), 0);
}

static void all_problems_are_told_without_the_daemons_paths(void **state) {
    (void)state;
    struct told *told =
        deploy(upload("hello", A, "[limits]\nmemory = 1\ntimeout = never\nnonsense = 1\n"), NULL);
    assert_int_equal(told->outcome, OUTCOME_BAD_FUNCTION);
    assert_says(told, "\"file\":\"hello/function.ini\",\"line\":3");
    assert_says(told, "\"line\":4");
    assert_says(told, "3 problems in hello");
    assert_null(strstr(told->json, store));
    assert_int_equal(made, 0);
    assert_int_equal(count_in("versions"), 0);
}

static void limits_of_the_daemon_hold(void **state) {
    (void)state;
    struct told *told = deploy(upload("hello", A, "[limits]\nmemory = 2G\n"), NULL);
    assert_int_equal(told->outcome, OUTCOME_BAD_FUNCTION);
    assert_says(told, "more than fnrun.ini allows");
    assert_null(strstr(told->json, store));
}

static void secrets_are_files_that_only_their_owner_can_read(void **state) {
    (void)state;
    static struct told shown;
    char ini[256];
    snprintf(ini, sizeof ini, "[secrets]\nKEY = %s/secret\n", base);
    struct told *told = deploy(upload("hello", A, ini), NULL);
    assert_int_equal(told->outcome, OUTCOME_BAD_FUNCTION);
    assert_says(told, "[secrets] KEY: ");
    put_file(base, "secret", "value\n", 0644);
    assert_says(deploy(upload("hello", A, ini), NULL), "chmod 600");
    put_file(base, "secret", "value\n", 0600);
    assert_int_equal(deploy(upload("hello", A, ini), NULL)->outcome, OUTCOME_SUCCESS);
    const struct function *function = &registry_find(registry, "hello")->function;
    assert_int_equal(function->environment_count, 1);
    assert_string_equal(function->environment[0].key, "KEY");
    assert_string_equal(function->environment[0].value, "value");
    char *json = registry_show_json(registry, registry_find(registry, "hello"));
    snprintf(shown.json, sizeof shown.json, "%s", json);
    free(json);
    assert_says(&shown, "\"environment\":[\"KEY\"]");
    assert_null(strstr(shown.json, "value"));
    unsetenv("CREDENTIALS_DIRECTORY");
    assert_says(deploy(upload("hello", A, "[secrets]\nKEY = password\n"), NULL),
                "LoadCredential=password:");
    setenv("CREDENTIALS_DIRECTORY", base, 1);
    assert_says(deploy(upload("hello", A, "[secrets]\nKEY = ../x\n"), NULL), "neither the name");
    assert_int_equal(deploy(upload("hello", A, "[secrets]\nKEY = secret\n"), NULL)->outcome,
                     OUTCOME_SUCCESS);
}

static void memory_beyond_the_budget_is_warned_of(void **state) {
    (void)state;
    assert_says(deploy(upload("hello", A, "[scale]\nconcurrency = 4\n"), NULL), "\"warnings\":[]");
    assert_says(deploy(upload("hello", B, "[scale]\nconcurrency = 64\n"), NULL),
                "concurrency (64) x memory (128 MiB) is 8192 MiB, more than the 1024 MiB");
}

static void a_version_that_cannot_be_recorded_does_not_take_over(void **state) {
    (void)state;
    struct told told = {0};
    char path[256];
    deploy(upload("hello", A, NULL), NULL);
    hold_starts = true;
    registry_deploy(registry, upload("hello", B, NULL), NULL, tell, &told);
    turn_until_made(2);
    snprintf(path, sizeof path, "%s/versions/%s", store, pools_made->digest);
    assert_int_equal(package_tree_remove(AT_FDCWD, path), 0);
    start_ends(pools_made, OUTCOME_SUCCESS, NULL, NULL);
    turn(&told.count);
    assert_int_equal(told.outcome, OUTCOME_SERVICE);
    assert_int_equal(registry_find(registry, "hello")->number, 1);
    assert_int_equal(freed, 1);
}

/* --- several at once -------------------------------------------------------------------------- */

static void a_second_deployment_waits_and_a_third_is_refused(void **state) {
    (void)state;
    static struct told first, second, third;
    first = second = third = (struct told){0};
    hold_starts = true;
    registry_deploy(registry, upload("hello", A, NULL), NULL, tell, &first);
    turn_until_made(1);
    registry_deploy(registry, upload("hello", B, NULL), NULL, tell, &second);
    registry_deploy(registry, upload("hello", C, NULL), NULL, tell, &third);
    /* Which of the two comes first out of its thread is open. */
    while (!second.count && !third.count)
        assert_true(sd_event_run(loop, 5000000) > 0);
    struct told *refused = second.count ? &second : &third;
    struct told *waits = second.count ? &third : &second;
    assert_int_equal(refused->outcome, REGISTRY_CONFLICT);
    const char *type = NULL;
    assert_int_equal(registry_status(refused->outcome, &type), 409);
    assert_string_equal(type, "ResourceConflictException");
    assert_int_equal(made, 1);
    struct error err = {0};
    assert_int_equal(registry_remove(registry, "hello", &err), -EBUSY);
    start_ends(pools_made, OUTCOME_SUCCESS, NULL, NULL);
    turn(&first.count);
    turn_until_made(2);
    start_ends(pools_made, OUTCOME_SUCCESS, NULL, NULL);
    turn(&waits->count);
    assert_says(&first, "\"version\":1");
    assert_says(waits, "\"version\":2");
}

static void content_of_a_failed_deployment_stays_while_another_one_needs_it(void **state) {
    (void)state;
    static struct told one, two;
    one = two = (struct told){0};
    hold_starts = true;
    registry_deploy(registry, upload("one", A, NULL), NULL, tell, &one);
    turn_until_made(1);
    struct pool *pool_one = pools_made;
    registry_deploy(registry, upload("two", A, NULL), NULL, tell, &two);
    turn_until_made(2);
    struct pool *pool_two = pools_made;
    start_ends(pool_one, OUTCOME_EXIT, NULL, NULL);
    turn(&one.count);
    assert_int_equal(count_in("versions"), 1);
    start_ends(pool_two, OUTCOME_SUCCESS, NULL, NULL);
    turn(&two.count);
    assert_int_equal(two.outcome, OUTCOME_SUCCESS);
    assert_int_equal(count_in("versions"), 1);
}

static void content_that_is_just_being_kept_is_not_removed_with_another_function(void **state) {
    (void)state;
    static struct told told;
    struct error err = {0};
    told = (struct told){0};
    deploy(upload("one", A, NULL), NULL);
    registry_deploy(registry, upload("two", A, NULL), NULL, tell, &told);
    assert_true(sd_event_run(loop, 5000000) > 0); /* the thread that looks is started */
    assert_true(sd_event_run(loop, 5000000) > 0); /* and now the one that keeps */
    alarm(10);
    while (access(last_upload, F_OK) == 0)
        sched_yield();
    alarm(0);
    assert_int_equal(registry_remove(registry, "one", &err), 0);
    turn(&told.count);
    assert_int_equal(told.outcome, OUTCOME_SUCCESS);
    assert_int_equal(count_in("versions"), 1);
}

static void content_of_an_older_version_stays_for_rolling_back(void **state) {
    (void)state;
    struct error err = {0};
    deploy(upload("one", A, NULL), NULL);
    deploy(upload("two", A, NULL), NULL);
    deploy(upload("two", B, NULL), NULL);
    assert_int_equal(registry_remove(registry, "one", &err), 0);
    assert_int_equal(count_in("versions"), 2);
    assert_says(rollback("two", 0), "\"version\":1");
}

/* --- back, away, again ------------------------------------------------------------------------ */

static void rolling_back_takes_the_version_before_or_the_one_asked_for(void **state) {
    (void)state;
    deploy(upload("hello", A, NULL), NULL);
    deploy(upload("hello", B, NULL), NULL);
    deploy(upload("hello", C, NULL), NULL);
    assert_says(rollback("hello", 0), "\"version\":2");
    assert_says(rollback("hello", 0), "\"version\":1");
    assert_says(rollback("hello", 3), "\"version\":3");
    assert_says(rollback("hello", 3), "\"unchanged\":true");
    struct told *told = rollback("hello", 9);
    assert_int_equal(told->outcome, OUTCOME_NO_FUNCTION);
    assert_says(told, "no version 9");
    rollback("hello", 1);
    assert_says(rollback("hello", 0), "no version older than 1");
    assert_int_equal(registry_find(registry, "hello")->number, 1);
    assert_int_equal(count_in("versions"), 3);
}

static void removing_drains_first_and_then_removes_the_files(void **state) {
    (void)state;
    struct error err = {0};
    deploy(upload("hello", A, NULL), NULL);
    deploy(upload("hello", B, NULL), NULL);
    struct pool *pool = pools_made;
    struct entry *entry = registry_find(registry, "hello");
    hold_drains = true;
    assert_int_equal(registry_remove(registry, "hello", &err), 0);
    assert_null(registry_find(registry, "hello"));
    assert_null(registry_first(registry));
    assert_int_equal(count_in("versions"), 1);
    /* Its last calls still log. */
    pool->events->log(pool->owner, NULL, "bye\n", 4);
    assert_string_equal(entry->name, "hello");
    drain_ends(pool);
    assert_int_equal(count_in("versions"), 0);
    assert_int_equal(registry_remove(registry, "hello", &err), -ENOENT);
    assert_non_null(strstr(err.message, "no function hello"));
}

static void a_version_that_still_drains_is_removed_at_its_own_end(void **state) {
    (void)state;
    struct error err = {0};
    deploy(upload("hello", A, NULL), NULL);
    struct pool *old = pools_made;
    hold_drains = true;
    deploy(upload("hello", B, NULL), NULL);
    hold_drains = false;
    assert_int_equal(registry_remove(registry, "hello", &err), 0);
    assert_int_equal(count_in("versions"), 1);
    drain_ends(old);
    assert_int_equal(count_in("versions"), 0);
}

static void versions_beyond_those_to_keep_go_when_nothing_is_under_way(void **state) {
    (void)state;
    struct error err = {0};
    deploy(upload("hello", A, NULL), NULL);
    deploy(upload("hello", B, NULL), NULL);
    struct pool *old = pools_made;
    hold_drains = true;
    deploy(upload("hello", C, NULL), NULL);
    assert_int_equal(registry_sweep(registry, 1, &err), -EAGAIN);
    assert_int_equal(count_in("versions"), 3);
    drain_ends(old);
    assert_int_equal(registry_sweep(registry, 2, &err), 0);
    assert_int_equal(count_in("versions"), 2);
    assert_int_equal(registry_sweep(registry, 1, &err), 0);
    assert_int_equal(count_in("versions"), 1);
    assert_int_equal(registry_find(registry, "hello")->number, 3);
}

static void content_that_two_functions_share_goes_with_the_last_of_them(void **state) {
    (void)state;
    struct error err = {0};
    deploy(upload("one", A, NULL), NULL);
    deploy(upload("two", A, NULL), NULL);
    assert_int_equal(count_in("versions"), 1);
    assert_int_equal(registry_remove(registry, "one", &err), 0);
    assert_int_equal(count_in("versions"), 1);
    assert_int_equal(registry_remove(registry, "two", &err), 0);
    assert_int_equal(count_in("versions"), 0);
}

static void functions_are_there_again_after_a_restart(void **state) {
    (void)state;
    deploy(upload("b", B, NULL), NULL);
    deploy(upload("a", A, "[scale]\nprovisioned = 1\n"), NULL);
    deploy(upload("b", C, NULL), NULL);
    close_all();
    made = 0;
    hold_starts = true;
    open_all();
    assert_int_equal(made, 2);
    struct entry *first = registry_first(registry);
    assert_string_equal(first->name, "a");
    assert_string_equal(first->next->name, "b");
    assert_int_equal(first->next->number, 2);
    assert_non_null(first->pool->started);
    assert_null(first->next->pool->started);
    start_ends(first->pool, OUTCOME_SUCCESS, NULL, NULL);
}

static void a_function_that_cannot_be_read_is_skipped_and_can_be_removed(void **state) {
    (void)state;
    struct error err = {0};
    char path[256];
    deploy(upload("good", A, NULL), NULL);
    deploy(upload("bad", B, NULL), NULL);
    snprintf(path, sizeof path, "%s/versions/%s/run", store, pools_made->digest);
    close_all();
    assert_int_equal(unlink(path), 0);
    open_all();
    assert_non_null(registry_find(registry, "good"));
    assert_null(registry_find(registry, "bad"));
    assert_int_equal(registry_remove(registry, "bad", &err), 0);
    assert_int_equal(count_in("versions"), 1);
}

static void note(void *owner) {
    *(int *)owner += 1;
}

static void the_end_waits_for_calls_and_deployments(void **state) {
    (void)state;
    static struct told told;
    int over = 0;
    told = (struct told){0};
    deploy(upload("hello", A, NULL), NULL);
    struct pool *old = pools_made;
    hold_starts = hold_drains = true;
    registry_deploy(registry, upload("hello", B, NULL), NULL, tell, &told);
    turn_until_made(2);
    struct pool *fresh = pools_made;
    registry_drain(registry, note, &over);
    assert_int_equal(over, 0);
    drain_ends(old);
    assert_int_equal(over, 0);
    start_ends(fresh, OUTCOME_SUCCESS, NULL, NULL);
    turn(&told.count);
    assert_int_equal(told.outcome, OUTCOME_SERVICE);
    assert_says(&told, "fnrund is stopping");
    drain_ends(fresh);
    assert_int_equal(over, 1);
    assert_says(deploy(upload("hello", C, NULL), NULL), "fnrund is stopping");
    assert_int_equal(over, 1);
}

static void without_functions_the_end_is_at_once(void **state) {
    (void)state;
    int over = 0;
    registry_drain(registry, note, &over);
    assert_int_equal(over, 1);
}

/* --- what is shown ---------------------------------------------------------------------------- */

static void what_is_shown_is_json_with_limits_and_counts(void **state) {
    (void)state;
    static struct told shown;
    deploy(upload("hello", A, "[environment]\nSECRET = value\n"), NULL);
    char *json = registry_show_json(registry, registry_find(registry, "hello"));
    snprintf(shown.json, sizeof shown.json, "%s", json);
    free(json);
    assert_says(&shown, "\"runtime\":\"exec\"");
    assert_says(&shown, "\"memory\":\"128M\"");
    assert_says(&shown, "\"concurrency\":\"16\"");
    assert_says(&shown, "\"environment\":[\"SECRET\"]");
    assert_says(&shown, "\"retired\":{\"usedOnce\":7}");
    assert_null(strstr(shown.json, "value"));
    json = registry_list_json(registry);
    snprintf(shown.json, sizeof shown.json, "%s", json);
    free(json);
    assert_says(&shown, "{\"functions\":[{\"name\":\"hello\",\"version\":1");
    json = registry_top_json(registry);
    snprintf(shown.json, sizeof shown.json, "%s", json);
    free(json);
    assert_says(&shown, ",\"functions\":[{\"name\":\"hello\",\"up\":true");
}

static void a_calls_log_is_in_the_functions_book(void **state) {
    (void)state;
    deploy(upload("hello", A, NULL), NULL);
    struct pool *pool = pools_made;
    struct call call = {.request_id = "11111111-1111-4111-8111-111111111111"};
    pool->events->log(pool->owner, call.request_id, "half", 4);
    pool->events->ended(pool->owner, &call);
    struct error err = {0};
    char *usage = state_usage_json(state_db, "hello", 10, &err);
    assert_non_null(usage);
    assert_non_null(strstr(usage, call.request_id));
    free(usage);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_new_function_is_served_once_its_environment_is_up),
        TEST(a_deployment_is_told_after_the_call_has_returned),
        TEST(the_name_is_the_callers_else_the_inis_else_the_folders),
        TEST(the_same_content_again_changes_nothing),
        TEST(a_new_version_takes_over_and_the_old_one_drains),
        TEST(a_version_that_does_not_start_is_refused_and_the_old_one_serves),
        TEST(a_first_version_that_does_not_start_leaves_nothing),
        TEST(all_problems_are_told_without_the_daemons_paths),
        TEST(limits_of_the_daemon_hold),
        TEST(secrets_are_files_that_only_their_owner_can_read),
        TEST(memory_beyond_the_budget_is_warned_of),
        TEST(a_version_that_cannot_be_recorded_does_not_take_over),
        TEST(a_second_deployment_waits_and_a_third_is_refused),
        TEST(content_of_a_failed_deployment_stays_while_another_one_needs_it),
        TEST(content_that_is_just_being_kept_is_not_removed_with_another_function),
        TEST(content_of_an_older_version_stays_for_rolling_back),
        TEST(rolling_back_takes_the_version_before_or_the_one_asked_for),
        TEST(removing_drains_first_and_then_removes_the_files),
        TEST(a_version_that_still_drains_is_removed_at_its_own_end),
        TEST(versions_beyond_those_to_keep_go_when_nothing_is_under_way),
        TEST(content_that_two_functions_share_goes_with_the_last_of_them),
        TEST(functions_are_there_again_after_a_restart),
        TEST(a_function_that_cannot_be_read_is_skipped_and_can_be_removed),
        TEST(the_end_waits_for_calls_and_deployments),
        TEST(without_functions_the_end_is_at_once),
        TEST(what_is_shown_is_json_with_limits_and_counts),
        TEST(a_calls_log_is_in_the_functions_book),
    };
    return cmocka_run_group_tests_name("registry", tests, NULL, NULL);
}
