#include "runner/registry.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "images/config.h"
#include "isolate/cleanup.h"
#include "runner/deploy_worker.h"
#include "runner/logbook.h"
#include "runner/outcome.h"
#include "runner/package_tree.h"
#include "runner/registry_core.h"
#include "runner/registry_secrets.h"

/* --- entries ---------------------------------------------------------------------------------- */

static struct entry **bucket(struct registry *registry, const char *name) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return &registry->buckets[hash & (REGISTRY_BUCKETS - 1)];
}

struct entry *registry_find(struct registry *registry, const char *name) {
    struct entry *entry = *bucket(registry, name);
    while (entry && strcmp(entry->name, name) != 0)
        entry = entry->hashed;
    return entry;
}

struct entry *registry_first(struct registry *registry) {
    return registry->entries;
}

struct entry *registry_entry_new(struct registry *registry, const char *name) {
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->registry = registry;
    entry->logs = logbook_new(entry->name, registry->settings->logs);
    if (entry->logs)
        return entry;
    free(entry);
    return NULL;
}

static void entry_free(struct entry *entry) {
    logbook_free(entry->logs);
    function_free(&entry->function);
    free(entry);
}

void registry_entry_drop(struct entry *entry) {
    if (!entry->listed && !entry->pools)
        entry_free(entry);
}

void registry_list(struct entry *entry) {
    struct entry **hashed = bucket(entry->registry, entry->name);
    struct entry **place = &entry->registry->entries;
    entry->listed = true;
    entry->hashed = *hashed;
    *hashed = entry;
    while (*place && strcmp((*place)->name, entry->name) < 0)
        place = &(*place)->next;
    entry->next = *place;
    *place = entry;
}

static void unlist(struct entry *entry) {
    struct entry **hashed = bucket(entry->registry, entry->name);
    struct entry **place = &entry->registry->entries;
    while (*hashed != entry)
        hashed = &(*hashed)->hashed;
    *hashed = entry->hashed;
    while (*place != entry)
        place = &(*place)->next;
    *place = entry->next;
    entry->listed = false;
}

/* --- versions that serve ---------------------------------------------------------------------- */

static void add_log(void *owner, const char *request_id, const char *text, size_t length) {
    struct serving *serving = owner;
    logbook_add(serving->entry->logs, request_id, text, length);
}

static void call_ended(void *owner, const struct call *call) {
    struct serving *serving = owner;
    logbook_close_call(serving->entry->logs, call->request_id);
    state_record(serving->entry->registry->state, serving->entry->name, serving->number, call);
}

struct serving *registry_serving_new(struct entry *entry, const struct function *function,
                                     const char *digest) {
    static const struct pool_events events = {.log = add_log, .ended = call_ended};
    struct serving *serving = calloc(1, sizeof *serving);
    if (!serving)
        return NULL;
    serving->entry = entry;
    memcpy(serving->digest, digest, STATE_DIGEST);
    serving->pool = pool_new(entry->registry->pools, function, digest, &events, serving);
    if (!serving->pool) {
        free(serving);
        return NULL;
    }
    serving->next = entry->registry->servings;
    entry->registry->servings = serving;
    entry->pools++;
    return serving;
}

/* The pool is gone: so is the serving, and an entry that nothing else holds. */
static void serving_free(struct serving *serving) {
    struct entry *entry = serving->entry;
    struct serving **place = &entry->registry->servings;
    while (*place != serving)
        place = &(*place)->next;
    *place = serving->next;
    if (entry->serving == serving) {
        entry->serving = NULL;
        entry->pool = NULL;
    }
    free(serving);
    entry->pools--;
    registry_entry_drop(entry);
}

static void serving_ended(void *owner) {
    struct serving *serving = owner;
    struct registry *registry = serving->entry->registry;
    char digest[STATE_DIGEST + 1];
    bool discard = serving->discard;
    memcpy(digest, serving->digest, sizeof digest);
    serving_free(serving);
    if (discard)
        registry_discard(registry, digest);
    registry_check_drained(registry);
}

void registry_serving_end(struct serving *serving) {
    pool_drain(serving->pool, serving_ended, serving);
}

void registry_switch(struct entry *entry, struct serving *serving, struct function *function,
                     uint64_t number) {
    struct serving *old = entry->serving;
    function_free(&entry->function);
    entry->function = *function;
    *function = (struct function){0};
    serving->number = number;
    entry->serving = serving;
    entry->pool = serving->pool;
    entry->number = number;
    memcpy(entry->digest, serving->digest, sizeof entry->digest);
    if (!entry->listed)
        registry_list(entry);
    if (old)
        registry_serving_end(old);
}

void registry_check_drained(struct registry *registry) {
    if (!registry->stopping || registry->servings || registry->deploys || !registry->drained)
        return;
    void (*drained)(void *owner) = registry->drained;
    registry->drained = NULL;
    drained(registry->drained_owner);
}

void registry_drain(struct registry *registry, void (*drained)(void *owner), void *owner) {
    registry->stopping = true;
    registry->drained_owner = owner;
    deploy_stop(registry);
    for (struct entry *entry = registry->entries, *next; entry; entry = next) {
        next = entry->next;
        if (entry->serving)
            registry_serving_end(entry->serving);
    }
    registry->drained = drained;
    registry_check_drained(registry);
}

/* --- versions in the store -------------------------------------------------------------------- */

int registry_name(struct function *function, const char *name) {
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    free(function->name);
    function->name = copy;
    return 0;
}

/* The one file of a folder, or NULL; the caller frees. */
static char *only_file(const char *folder) {
    _cleanup_closedir_ DIR *dir = opendir(folder);
    _cleanup_free_ char *path = NULL;
    struct dirent *entry;
    struct stat st;
    while (dir && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (path || asprintf(&path, "%s/%s", folder, entry->d_name) < 0)
            return NULL;
    }
    return path && lstat(path, &st) == 0 && S_ISREG(st.st_mode) ? TAKE_PTR(path) : NULL;
}

int registry_load(const char *folder, struct function *function, struct config_problems *problems,
                  struct error *err) {
    int r = function_load(folder, function, problems, err);
    _cleanup_free_ char *file = r == -EINVAL ? only_file(folder) : NULL;
    struct config_problems others = {0};
    struct function single = {0};
    if (!file)
        return r;
    if (function_load(file, &single, &others, NULL) == 0) {
        function_free(function);
        *function = single;
        single = (struct function){0};
        config_problems_free(problems);
        *problems = (struct config_problems){0};
        r = 0;
    }
    function_free(&single);
    config_problems_free(&others);
    return r;
}

static int version_path(const struct registry *registry, const char *digest, char *path,
                        struct error *err) {
    int length =
        snprintf(path, REGISTRY_PATH, "%s/versions/%s", state_store(registry->state), digest);
    return length < REGISTRY_PATH ? 0
                                  : error_set(err, -ENAMETOOLONG, "the store's path is too long");
}

int registry_load_version(struct registry *registry, const char *name, const char *digest,
                          struct function *function, struct error *err) {
    char path[REGISTRY_PATH];
    struct config_problems problems = {0};
    *function = (struct function){0};
    int r = version_path(registry, digest, path, err);
    if (r == 0)
        r = registry_load(path, function, &problems, err);
    if (r == 0) {
        settings_apply(registry->settings, function, &problems);
        registry_read_secrets(function, &problems);
    }
    if (problems.count) {
        const char *text = problems.items ? problems.items[0].text : NULL;
        r = error_set(err, -EINVAL, "%s%s", text ? text : "out of memory",
                      problems.count > 1 ? " (and more)" : "");
    }
    config_problems_free(&problems);
    if (r == 0 && registry_name(function, name) < 0)
        r = error_set(err, -ENOMEM, "out of memory");
    return r;
}

/* Whether a row of any function names the digest; true also when that cannot be known. */
static bool row_names(struct registry *registry, const char *digest) {
    struct state_version *functions = NULL;
    bool found = false;
    long count = state_versions(registry->state, NULL, &functions, NULL);
    if (count < 0)
        return true;
    for (long i = 0; i < count && !found; i++) {
        struct state_version *versions = NULL;
        long of = state_versions(registry->state, functions[i].function, &versions, NULL);
        found = of < 0;
        for (long j = 0; j < of && !found; j++)
            found = strcmp(versions[j].digest, digest) == 0;
        free(versions);
    }
    free(functions);
    return found;
}

/* Whether pools have the digest; the last of them to end looks again, then. */
static bool pool_has(struct registry *registry, const char *digest) {
    bool found = false;
    for (struct serving *serving = registry->servings; serving; serving = serving->next)
        if (strcmp(serving->digest, digest) == 0)
            found = serving->discard = true;
    return found;
}

/* In a thread, or where there is none in place. */
static void remove_tree(void *owner) {
    char *path = owner;
    int r = package_tree_remove(AT_FDCWD, path);
    if (r < 0)
        fprintf(stderr, "fnrund: %s cannot be removed: %s\n", path, strerror(-r));
    free(path);
}

void registry_remove_folder(struct registry *registry, const char *path) {
    _cleanup_free_ char *trash = NULL;
    /* Away in one step: nobody ever sees half of it, and what is in incoming/ at a start is
     * removed. */
    if (asprintf(&trash, "%s/incoming/removed-%u", state_store(registry->state),
                 registry->trash++) < 0) {
        trash = NULL;
        return;
    }
    if (rename(path, trash) < 0) {
        if (errno != ENOENT)
            fprintf(stderr, "fnrund: %s cannot be removed: %s\n", path, strerror(errno));
        return;
    }
    if (worker_run(registry->worker, remove_tree, NULL, trash) < 0)
        remove_tree(trash);
    (void)TAKE_PTR(trash);
}

void registry_discard(struct registry *registry, const char *digest) {
    char path[REGISTRY_PATH];
    if (!pool_has(registry, digest) && !deploy_has_digest(registry, digest) &&
        !row_names(registry, digest) && version_path(registry, digest, path, NULL) == 0)
        registry_remove_folder(registry, path);
}

/* --- removing a function ---------------------------------------------------------------------- */

int registry_remove(struct registry *registry, const char *name, struct error *err) {
    struct entry *entry = registry_find(registry, name);
    struct state_version *versions = NULL;
    if (deploy_has_name(registry, name))
        return error_set(err, -EBUSY,
                         "a deployment of %s is under way: remove it when that has ended", name);
    /* One that could not be read at the start has rows, but no entry. */
    long count = state_versions(registry->state, name, &versions, err);
    int r = count < 0 ? (int)count : 0;
    if (count == 0 && !entry)
        r = error_set(err, -ENOENT, "there is no function %s", name);
    if (r == 0)
        r = state_remove(registry->state, name, err);
    if (r == 0 && entry) {
        unlist(entry);
        if (entry->serving)
            registry_serving_end(entry->serving); /* and frees the entry, perhaps at once */
        else
            registry_entry_drop(entry);
    }
    /* Those that still have calls to finish go at their end. */
    for (long i = 0; r == 0 && i < count; i++)
        registry_discard(registry, versions[i].digest);
    free(versions);
    return r;
}

/* --- start and end ---------------------------------------------------------------------------- */

static void provisioned_started(void *owner, int outcome, const char *error, size_t error_length,
                                const char *log, size_t log_length) {
    struct serving *serving = owner;
    (void)log;
    (void)log_length;
    if (outcome == OUTCOME_SUCCESS)
        return;
    fprintf(stderr, "fnrund: function %s did not start: %s: %.*s\n", serving->entry->name,
            outcome_name(outcome), (int)(error_length < 1000 ? error_length : 1000),
            error ? error : "");
}

/* One function of the database. A version that cannot be read is skipped; that memory ran out
 * is an error. */
static int open_function(struct registry *registry, const struct state_version *row,
                         struct error *err) {
    struct function function = {0};
    struct error why = {0};
    int r = registry_load_version(registry, row->function, row->digest, &function, &why);
    if (r < 0) {
        fprintf(stderr, "fnrund: function %s is not served: %s\n", row->function, why.message);
        function_free(&function);
        return r == -ENOMEM ? error_set(err, r, "%s", why.message) : 0;
    }
    struct entry *entry = registry_entry_new(registry, row->function);
    struct serving *serving = entry ? registry_serving_new(entry, &function, row->digest) : NULL;
    if (!serving) {
        function_free(&function);
        if (entry)
            entry_free(entry);
        return error_set(err, -ENOMEM, "out of memory");
    }
    registry_switch(entry, serving, &function, row->number);
    if (entry->function.scale.provisioned)
        pool_start(serving->pool, provisioned_started, serving);
    return 0;
}

int registry_open(struct sd_event *loop, struct pools *pools, struct state *state,
                  const struct settings *settings, struct registry **result, struct error *err) {
    struct registry *registry = calloc(1, sizeof *registry);
    struct state_version *rows = NULL;
    if (!registry)
        return error_set(err, -ENOMEM, "out of memory");
    *registry =
        (struct registry){.loop = loop, .pools = pools, .state = state, .settings = settings};
    registry->worker = worker_new(loop);
    int r = registry->worker ? 0 : error_set(err, -ENOMEM, "out of memory");
    long count = r == 0 ? state_versions(state, NULL, &rows, err) : 0;
    if (count < 0)
        r = (int)count;
    for (long i = 0; rows && r == 0 && i < count; i++)
        r = open_function(registry, &rows[i], err);
    free(rows);
    if (r < 0)
        registry_free(registry);
    else
        *result = registry;
    return r;
}

int registry_sweep(struct registry *registry, unsigned keep, struct error *err) {
    /* A version that drains, and one that is just deployed, may have no row. */
    for (const struct serving *serving = registry->servings; serving; serving = serving->next)
        if (serving->entry->serving != serving)
            return -EAGAIN;
    return registry->deploys ? -EAGAIN : state_sweep(registry->state, keep, err);
}

void registry_reload(struct registry *registry) {
    for (struct entry *entry = registry->entries; entry; entry = entry->next)
        logbook_resize(entry->logs, registry->settings->logs);
}

void registry_free(struct registry *registry) {
    if (!registry)
        return;
    worker_free(registry->worker);
    deploy_free_all(registry);
    while (registry->servings)
        serving_free(registry->servings);
    while (registry->entries) {
        struct entry *entry = registry->entries;
        registry->entries = entry->next;
        entry_free(entry);
    }
    free(registry);
}
