#include "runner/state_db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

#include "isolate/cleanup.h"

#define SCHEMA      1          /* user_version */
#define APPLICATION 0x666e7231 /* "fnr1": application_id */
#define TEXT_OF(x)  #x
#define TEXT(x)     TEXT_OF(x)
#define BUSY_MS     5000 /* another program (sqlite3, a backup) has it */

static const char tables[] =
    "CREATE TABLE functions ("
    " name TEXT PRIMARY KEY NOT NULL,"
    " current INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE TABLE versions ("
    " function TEXT NOT NULL,"
    " number INTEGER NOT NULL,"
    " digest TEXT NOT NULL,"
    " created INTEGER NOT NULL,"
    " PRIMARY KEY (function, number),"
    " UNIQUE (function, digest)"
    ") WITHOUT ROWID;"
    "CREATE INDEX versions_digest ON versions (digest);"
    "CREATE TABLE usage ("
    " id INTEGER PRIMARY KEY,"
    " time INTEGER NOT NULL," /* Unix ms */
    " request TEXT NOT NULL,"
    " function TEXT NOT NULL,"
    " version INTEGER NOT NULL,"
    " outcome TEXT NOT NULL,"
    " cold INTEGER NOT NULL,"
    " init_us INTEGER NOT NULL,"
    " duration_us INTEGER NOT NULL,"
    " cpu_us INTEGER NOT NULL,"
    " peak_memory INTEGER NOT NULL,"
    " peak_exact INTEGER NOT NULL,"
    " bytes_in INTEGER NOT NULL,"
    " bytes_out INTEGER NOT NULL"
    ");"
    "CREATE INDEX usage_function ON usage (function, id);"
    /* Records that found the queue full: how many, and when that was noticed. */
    "CREATE TABLE usage_dropped (time INTEGER NOT NULL, count INTEGER NOT NULL);"
    "PRAGMA application_id = " TEXT(APPLICATION) ";"
                                                 "PRAGMA user_version = " TEXT(SCHEMA) ";";

/* --- in words ------------------------------------------------------------------------- */

static int damaged(const char *path, const char *why, struct error *err) {
    return error_set(err, -EBADMSG,
                     "%s is damaged (%s). Put a backup of it in its place; or move it away, with "
                     "its -wal and -shm files, and deploy the functions again",
                     path, why);
}

int state_db_failed(sqlite3 *db, struct error *err) {
    const char *path = sqlite3_db_filename(db, "main"), *why = sqlite3_errmsg(db);
    path = path && *path ? path : "state.db";
    switch (sqlite3_errcode(db) & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return damaged(path, why, err);
    case SQLITE_FULL:
        return error_set(err, -ENOSPC, "%s: the disk is full", path);
    case SQLITE_NOMEM:
        return error_set(err, -ENOMEM, "%s: out of memory", path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return error_set(err, -EROFS, "%s cannot be written: %s", path, why);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, -EBUSY, "%s is held by another program for more than %d s", path,
                         BUSY_MS / 1000);
    default:
        return error_set(err, -EIO, "%s: %s", path, why);
    }
}

/* --- statements ------------------------------------------------------------------------- */

int state_db_run(sqlite3 *db, const char *sql, struct error *err) {
    return sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : state_db_failed(db, err);
}

int state_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **statement, struct error *err) {
    int r = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    return r == SQLITE_OK ? 0 : state_db_failed(db, err);
}

int state_db_step(sqlite3 *db, sqlite3_stmt *statement, struct error *err) {
    int r = sqlite3_step(statement) == SQLITE_DONE ? 0 : state_db_failed(db, err);
    sqlite3_reset(statement);
    return r;
}

/* The one number that sql gives. */
static int number_of(sqlite3 *db, const char *sql, int64_t *number, struct error *err) {
    sqlite3_stmt *statement;
    int r = state_db_prepare(db, sql, &statement, err);
    if (r < 0)
        return r;
    if (sqlite3_step(statement) == SQLITE_ROW)
        *number = sqlite3_column_int64(statement, 0);
    else
        r = state_db_failed(db, err);
    sqlite3_finalize(statement);
    return r;
}

/* --- opening ------------------------------------------------------------------------------ */

static int check_tables(sqlite3 *db, const char *path, struct error *err) {
    /* The few rows that everything hangs on; usage may be large and is no reason to wait. */
    static const char *const checked[] = {"PRAGMA quick_check(functions)",
                                          "PRAGMA quick_check(versions)"};
    for (size_t i = 0; i < sizeof checked / sizeof *checked; i++) {
        sqlite3_stmt *statement;
        int r = state_db_prepare(db, checked[i], &statement, err);
        if (r < 0)
            return r;
        if (sqlite3_step(statement) != SQLITE_ROW) {
            r = state_db_failed(db, err);
        } else {
            const char *said = (const char *)sqlite3_column_text(statement, 0);
            if (!said || strcmp(said, "ok") != 0)
                r = damaged(path, said ? said : "not checked", err);
        }
        sqlite3_finalize(statement);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_tables(sqlite3 *db, struct error *err) {
    int r = state_db_run(db, "BEGIN IMMEDIATE", err);
    if (r == 0)
        r = state_db_run(db, tables, err);
    if (r == 0)
        r = state_db_run(db, "COMMIT", err);
    if (r < 0)
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

static int prepare_tables(sqlite3 *db, const char *path, struct error *err) {
    int64_t version = 0, application = 0, count = 0;
    int r = number_of(db, "PRAGMA user_version", &version, err);
    if (r == 0)
        r = number_of(db, "PRAGMA application_id", &application, err);
    if (r == 0)
        r = number_of(db, "SELECT count(*) FROM sqlite_master", &count, err);
    if (r < 0)
        return r;
    if (!version && !application && !count)
        return make_tables(db, err);
    if (application != APPLICATION)
        return error_set(err, -EINVAL,
                         "%s is a database of another program: give fnrund another store", path);
    if (version != SCHEMA)
        return error_set(err, -EINVAL,
                         "%s has the form %lld and this fnrund reads form %d: it was written by "
                         "another release; use that one, or another store",
                         path, (long long)version, SCHEMA);
    return check_tables(db, path, err);
}

static int set_up(sqlite3 *db, const char *path, int durable, struct error *err) {
    sqlite3_extended_result_codes(db, 1);
    sqlite3_busy_timeout(db, BUSY_MS);
    int r = state_db_run(db,
                         "PRAGMA journal_mode = WAL; PRAGMA cache_size = -512;"
                         "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
                         err);
    if (r == 0)
        r = state_db_run(db, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL",
                         err);
    return r < 0 ? r : prepare_tables(db, path, err);
}

int state_db_open(const char *path, int durable, sqlite3 **db, struct error *err) {
    /* Made here, so that nobody else reads it; SQLite gives its other files the same mode. */
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_set(err, -errno, "%s cannot be opened: %s", path, strerror(errno));
    close(fd);
    *db = NULL;
    int r = sqlite3_open_v2(path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (!*db)
        return error_set(err, -ENOMEM, "%s: out of memory", path);
    r = r == SQLITE_OK ? set_up(*db, path, durable, err) : state_db_failed(*db, err);
    if (r < 0) {
        sqlite3_close(*db);
        *db = NULL;
    }
    return r;
}
