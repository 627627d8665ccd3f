/* SQLite as fnrun uses it: one file, opened by the daemon's thread and by the one that writes
 * usage, each with a connection of its own. Errors in words that say what to do. */
#ifndef FNRUN_STATE_DB_H
#define FNRUN_STATE_DB_H

#include <sqlite3.h>

#include "isolate/error.h"

/* Opens path and makes or checks the tables. durable: a commit is on the disk when it returns
 * (synchronous = FULL); else a crash of the machine may lose the last ones, never more
 * (NORMAL). Returns 0 or a negative errno with err; *db is closed with sqlite3_close. */
int state_db_open(const char *path, int durable, sqlite3 **db, struct error *err);

/* Words the last error of db into err and returns its negative errno: -EBADMSG damaged,
 * -ENOSPC, -EROFS, -EBUSY, -EIO for the rest. */
int state_db_failed(sqlite3 *db, struct error *err);

int state_db_run(sqlite3 *db, const char *sql, struct error *err);
int state_db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **statement, struct error *err);

/* Steps a statement that gives no rows and resets it. Returns 0 or a negative errno. */
int state_db_step(sqlite3 *db, sqlite3_stmt *statement, struct error *err);

#endif
