#include "runner/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "images/json.h"
#include "isolate/cleanup.h"
#include "runner/state_db.h"
#include "runner/state_store.h"
#include "runner/usage.h"

#define DAY_MS INT64_C(86400000)

enum statement {
    FIND_NUMBER,
    ADD_VERSION,
    SET_CURRENT,
    DIGESTS_OF,
    REMOVE_FUNCTION,
    REMOVE_VERSIONS,
    VERSIONS_OF,
    VERSIONS_CURRENT,
    IS_NAMED,
    OLD_VERSIONS,
    REMOVE_VERSION,
    USAGE_OF,
    USAGE_ALL,
    STATEMENTS
};
#define VERSION_COLUMNS "v.function, v.digest, v.number, v.created, v.number = f.current"
#define USAGE_COLUMNS                                                                              \
    "request, function, version, outcome, time, cold, init_us, duration_us, cpu_us, peak_memory,"  \
    " peak_exact, bytes_in, bytes_out"
static const char *const texts[STATEMENTS] = {
    [FIND_NUMBER] = "SELECT (SELECT number FROM versions WHERE function = ?1 AND digest = ?2),"
                    " (SELECT max(number) FROM versions WHERE function = ?1)",
    [ADD_VERSION] = "INSERT INTO versions (function, number, digest, created) VALUES (?1,?2,?3,?4)",
    [SET_CURRENT] = "INSERT INTO functions (name, current) VALUES (?1, ?2)"
                    " ON CONFLICT (name) DO UPDATE SET current = ?2",
    [DIGESTS_OF] = "SELECT digest FROM versions WHERE function = ?1",
    [REMOVE_FUNCTION] = "DELETE FROM functions WHERE name = ?1",
    [REMOVE_VERSIONS] = "DELETE FROM versions WHERE function = ?1",
    [VERSIONS_OF] = "SELECT " VERSION_COLUMNS " FROM versions v JOIN functions f"
                    " ON f.name = v.function WHERE v.function = ?1 ORDER BY v.number DESC",
    [VERSIONS_CURRENT] = "SELECT " VERSION_COLUMNS " FROM functions f JOIN versions v"
                         " ON v.function = f.name AND v.number = f.current ORDER BY f.name",
    [IS_NAMED] = "SELECT 1 FROM versions WHERE digest = ?1",
    [OLD_VERSIONS] =
        "SELECT v.function, v.number, v.digest FROM versions v JOIN functions f"
        " ON f.name = v.function WHERE v.number <> f.current AND ?1 <= (SELECT count(*)"
        " FROM versions n WHERE n.function = v.function AND n.number > v.number)",
    [REMOVE_VERSION] = "DELETE FROM versions WHERE function = ?1 AND number = ?2",
    [USAGE_OF] = "SELECT " USAGE_COLUMNS " FROM usage WHERE function = ?1"
                 " ORDER BY id DESC LIMIT ?2",
    [USAGE_ALL] = "SELECT " USAGE_COLUMNS " FROM usage ORDER BY id DESC LIMIT ?2",
};

struct state {
    char *store;
    int lock;
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
    struct state_names doomed; /* folders to remove, unless a row names them */
    struct usage *usage;
};

/* --- statements --------------------------------------------------------------------------- */

/* The statement, ready to bind; what it read before is let go. */
static sqlite3_stmt *ready(struct state *state, enum statement which) {
    sqlite3_stmt *statement = state->statements[which];
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return statement;
}

static void bind_text(sqlite3_stmt *statement, int column, const char *text) {
    sqlite3_bind_text(statement, column, text, -1, SQLITE_TRANSIENT);
}

static const char *text_of(sqlite3_stmt *statement, int column) {
    const char *text = (const char *)sqlite3_column_text(statement, column);
    return text ? text : "";
}

/* 1: a row; 0: no more, and the statement is reset; or a negative errno. */
static int next_row(struct state *state, sqlite3_stmt *statement, struct error *err) {
    int got = sqlite3_step(statement);
    if (got == SQLITE_ROW)
        return 1;
    int r = got == SQLITE_DONE ? 0 : state_db_failed(state->db, err);
    sqlite3_reset(statement);
    return r;
}

static int begin(struct state *state, struct error *err) {
    return state_db_run(state->db, "BEGIN IMMEDIATE", err);
}

/* Ends what begin has begun, by how it went. Returns that. */
static int end(struct state *state, int r, struct error *err) {
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_reset(state->statements[i]);
    if (r == 0)
        r = state_db_run(state->db, "COMMIT", err);
    if (r < 0)
        sqlite3_exec(state->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

/* --- opening -------------------------------------------------------------------------------- */

/* What an earlier run left: all of incoming/; of versions/ the sweep looks which are named. */
static int find_left(struct state *state, struct error *err) {
    int r = state_store_list(state->store, STATE_INCOMING, &state->doomed, err);
    return r < 0 ? r : state_store_list(state->store, STATE_VERSIONS, &state->doomed, err);
}

static int open_all(struct state *state, struct error *err) {
    char path[PATH_MAX];
    state->lock = state_store_open(state->store, err);
    if (state->lock < 0)
        return state->lock;
    if (snprintf(path, sizeof path, "%s/state.db", state->store) >= (int)sizeof path)
        return error_set(err, -ENAMETOOLONG, "the path of the store is too long");
    int r = state_db_open(path, 1, &state->db, err);
    for (size_t i = 0; r == 0 && i < STATEMENTS; i++)
        r = state_db_prepare(state->db, texts[i], &state->statements[i], err);
    if (r == 0)
        r = find_left(state, err);
    return r < 0 ? r : usage_open(path, &state->usage, err);
}

int state_open(const char *store, struct state **opened, struct error *err) {
    struct state *state = calloc(1, sizeof *state);
    if (!state)
        return error_set(err, -ENOMEM, "out of memory");
    state->lock = -EBADF;
    state->store = strdup(store);
    int r = state->store ? open_all(state, err) : error_set(err, -ENOMEM, "out of memory");
    if (r < 0)
        state_close(state);
    else
        *opened = state;
    return r;
}

void state_close(struct state *state) {
    if (!state)
        return;
    usage_close(state->usage);
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(state->statements[i]);
    sqlite3_close(state->db);
    cleanup_close(&state->lock);
    state_names_free(&state->doomed);
    free(state->store);
    free(state);
}

const char *state_store(const struct state *state) {
    return state->store;
}

/* A folder that loses its row. Where memory runs out it is left to the next start. */
static void doom(struct state *state, const char *digest) {
    for (size_t i = 0; i < state->doomed.count; i++)
        if (strcmp(state->doomed.items[i] + strlen(STATE_VERSIONS "/"), digest) == 0)
            return;
    state_names_add(&state->doomed, STATE_VERSIONS, digest);
}

/* --- versions ------------------------------------------------------------------------------- */

static int has_folder(struct state *state, const char *digest, struct error *err) {
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof path, "%s/" STATE_VERSIONS "/%s", state->store, digest);
    if (strlen(digest) != STATE_DIGEST || strchr(digest, '/'))
        return error_set(err, -EINVAL, "`%.64s` is no digest", digest);
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    return error_set(err, -ENOENT, "%s is not there: deploy that version again", path);
}

static int put(struct state *state, const char *function, const char *digest, uint64_t *number,
               struct error *err) {
    sqlite3_stmt *find = ready(state, FIND_NUMBER);
    bind_text(find, 1, function);
    bind_text(find, 2, digest);
    int r = next_row(state, find, err);
    if (r < 0)
        return r;
    bool known = sqlite3_column_type(find, 0) != SQLITE_NULL;
    *number = (uint64_t)(known ? sqlite3_column_int64(find, 0) : sqlite3_column_int64(find, 1) + 1);
    sqlite3_reset(find);
    if (!known) {
        sqlite3_stmt *add = ready(state, ADD_VERSION);
        bind_text(add, 1, function);
        sqlite3_bind_int64(add, 2, (int64_t)*number);
        bind_text(add, 3, digest);
        sqlite3_bind_int64(add, 4, (int64_t)time(NULL));
        r = state_db_step(state->db, add, err);
        if (r < 0)
            return r;
    }
    sqlite3_stmt *set = ready(state, SET_CURRENT);
    bind_text(set, 1, function);
    sqlite3_bind_int64(set, 2, (int64_t)*number);
    return state_db_step(state->db, set, err);
}

int state_put(struct state *state, const char *function, const char *digest, uint64_t *number,
              struct error *err) {
    int r = has_folder(state, digest, err);
    if (r == 0)
        r = begin(state, err);
    return r < 0 ? r : end(state, put(state, function, digest, number, err), err);
}

static int remove_rows(struct state *state, const char *function, struct error *err) {
    sqlite3_stmt *digests = ready(state, DIGESTS_OF);
    int r;
    bind_text(digests, 1, function);
    while ((r = next_row(state, digests, err)) > 0)
        doom(state, text_of(digests, 0));
    for (enum statement which = REMOVE_FUNCTION; r == 0 && which <= REMOVE_VERSIONS; which++) {
        sqlite3_stmt *removal = ready(state, which);
        bind_text(removal, 1, function);
        r = state_db_step(state->db, removal, err);
        if (r == 0 && which == REMOVE_FUNCTION && !sqlite3_changes(state->db))
            r = error_set(err, -ENOENT, "there is no function %s", function);
    }
    return r;
}

int state_remove(struct state *state, const char *function, struct error *err) {
    int r = begin(state, err);
    return r < 0 ? r : end(state, remove_rows(state, function, err), err);
}

long state_versions(struct state *state, const char *function, struct state_version **list,
                    struct error *err) {
    sqlite3_stmt *statement = ready(state, function ? VERSIONS_OF : VERSIONS_CURRENT);
    _cleanup_free_ struct state_version *versions = NULL;
    size_t count = 0, capacity = 0;
    int r;
    *list = NULL;
    if (function)
        bind_text(statement, 1, function);
    while ((r = next_row(state, statement, err)) > 0) {
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            struct state_version *more = reallocarray(versions, capacity, sizeof *more);
            if (!more) {
                sqlite3_reset(statement);
                return error_set(err, -ENOMEM, "out of memory");
            }
            versions = more;
        }
        struct state_version *version = &versions[count++];
        *version = (struct state_version){.number = (uint64_t)sqlite3_column_int64(statement, 2),
                                          .created = sqlite3_column_int64(statement, 3),
                                          .current = sqlite3_column_int(statement, 4)};
        snprintf(version->function, sizeof version->function, "%s", text_of(statement, 0));
        snprintf(version->digest, sizeof version->digest, "%s", text_of(statement, 1));
    }
    if (r < 0)
        return r;
    *list = TAKE_PTR(versions);
    return (long)count;
}

/* --- sweeping --------------------------------------------------------------------------------- */

/* One old version's row. Returns 1 when there was one, 0 when there is none. */
static int remove_old(struct state *state, unsigned keep, struct error *err) {
    sqlite3_stmt *old = ready(state, OLD_VERSIONS);
    sqlite3_bind_int64(old, 1, keep ? keep : 1);
    int r = next_row(state, old, err);
    if (r <= 0)
        return r;
    sqlite3_stmt *removal = ready(state, REMOVE_VERSION);
    bind_text(removal, 1, text_of(old, 0));
    sqlite3_bind_int64(removal, 2, sqlite3_column_int64(old, 1));
    doom(state, text_of(old, 2));
    sqlite3_reset(old);
    r = state_db_step(state->db, removal, err);
    return r < 0 ? r : 1;
}

static int is_named(struct state *state, const char *name, struct error *err) {
    static const char before[] = STATE_VERSIONS "/";
    if (strncmp(name, before, sizeof before - 1) != 0)
        return 0;
    sqlite3_stmt *named = ready(state, IS_NAMED);
    bind_text(named, 1, name + sizeof before - 1);
    int r = next_row(state, named, err);
    sqlite3_reset(named);
    return r;
}

/* Goes on after one that cannot be removed: it is tried again the next time. */
static int remove_doomed(struct state *state, struct error *err) {
    struct state_names *doomed = &state->doomed;
    size_t kept = 0;
    int result = 0;
    for (size_t i = 0; i < doomed->count; i++) {
        int r = is_named(state, doomed->items[i], err);
        if (r == 0)
            r = state_store_remove(state->store, doomed->items[i], err);
        if (r < 0) {
            result = r;
            doomed->items[kept++] = doomed->items[i];
        } else {
            free(doomed->items[i]);
        }
    }
    doomed->count = kept;
    return result;
}

int state_sweep(struct state *state, unsigned keep, struct error *err) {
    int r = begin(state, err);
    if (r < 0)
        return r;
    do
        r = remove_old(state, keep, err);
    while (r > 0);
    r = end(state, r, err);
    return r < 0 ? r : remove_doomed(state, err);
}

/* --- usage ------------------------------------------------------------------------------------ */

void state_record(struct state *state, const char *function, uint64_t version,
                  const struct call *call) {
    usage_add(state->usage, function, version, call);
}

int state_flush(struct state *state, struct error *err) {
    return usage_flush(state->usage, err);
}

int state_forget_usage(struct state *state, uint64_t days, struct error *err) {
    struct timespec now;
    (void)err;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t before = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + 1;
    /* So long ago that nothing can be older. */
    if (days < (uint64_t)(before / DAY_MS))
        usage_forget(state->usage, before - (int64_t)days * DAY_MS);
    return 0;
}

static void put_record(struct json_out *out, sqlite3_stmt *row) {
    static const struct {
        const char *name;
        char kind; /* s: text, b: yes or no, n: number */
    } members[] = {{"requestId", 's'}, {"function", 's'},   {"version", 'n'},   {"outcome", 's'},
                   {"time", 'n'},      {"cold", 'b'},       {"initUs", 'n'},    {"durationUs", 'n'},
                   {"cpuUs", 'n'},     {"peakMemory", 'n'}, {"peakExact", 'b'}, {"bytesIn", 'n'},
                   {"bytesOut", 'n'}};
    char number[32];
    for (int i = 0; i < (int)(sizeof members / sizeof *members); i++) {
        json_put_text(out, i ? ",\"" : "{\"");
        json_put_text(out, members[i].name);
        json_put_text(out, "\":");
        if (members[i].kind == 's') {
            const char *text = text_of(row, i);
            json_put_string(out, text, strlen(text));
        } else if (members[i].kind == 'b') {
            json_put_text(out, sqlite3_column_int(row, i) ? "true" : "false");
        } else {
            snprintf(number, sizeof number, "%lld", (long long)sqlite3_column_int64(row, i));
            json_put_text(out, number);
        }
    }
    json_put_text(out, "}");
}

char *state_usage_json(struct state *state, const char *function, unsigned limit,
                       struct error *err) {
    struct json_out out = {0};
    bool first = true;
    int r = usage_settle(state->usage, err);
    if (r < 0)
        return NULL;
    sqlite3_stmt *statement = ready(state, function ? USAGE_OF : USAGE_ALL);
    if (function)
        bind_text(statement, 1, function);
    sqlite3_bind_int64(statement, 2, limit < STATE_USAGE_MAX ? limit : STATE_USAGE_MAX);
    json_put_text(&out, "[");
    for (; (r = next_row(state, statement, err)) > 0; first = false) {
        if (!first)
            json_put_text(&out, ",");
        put_record(&out, statement);
    }
    json_put_text(&out, "]");
    json_put_raw(&out, "", 1);
    if (r == 0 && out.failed)
        r = error_set(err, -ENOMEM, "out of memory");
    if (r == 0)
        return out.data;
    free(out.data);
    return NULL;
}
