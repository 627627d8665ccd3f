/* The functions this daemon serves: name -> current version and its pool. Deploying,
 * rolling back, removing; what the management API shows. */
#ifndef FNRUN_REGISTRY_H
#define FNRUN_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "images/function.h"
#include "isolate/error.h"
#include "runner/pool.h"
#include "runner/settings.h"
#include "runner/state.h"

struct logbook;
struct serving;

struct entry { /* one function; valid until its last call is answered */
    char name[65];
    struct function function; /* of the current version */
    char digest[STATE_DIGEST + 1];
    uint64_t number;
    struct pool *pool;
    struct logbook *logs;
    struct entry *next; /* by name */
    struct registry *registry;

    /* The registry's own. */
    struct entry *hashed;
    struct serving *serving;
    unsigned pools; /* of this entry that have not ended yet, older versions' included */
    bool listed;
};

/* How a deployment was refused, beside enum outcome: another one of the same function is
 * under way and a second waits already. */
#define REGISTRY_CONFLICT 100

/* HTTP status and x-amzn-ErrorType of what registry_deploy and registry_rollback tell. */
unsigned registry_status(int outcome, const char **error_type);

struct registry;

/* Reads state and makes a pool for each function (none is started, but those with
 * provisioned slots). A version that cannot be read is skipped with a line on stderr. */
int registry_open(struct sd_event *loop, struct pools *pools, struct state *state,
                  const struct settings *settings, struct registry **registry, struct error *err);
/* state_sweep while functions are served: rows and folders beyond the last `keep` versions of
 * each go. Returns -EAGAIN, without err, when something is under way. */
int registry_sweep(struct registry *registry, unsigned keep, struct error *err);
/* The settings have changed: takes over what holds for functions that are there already. */
void registry_reload(struct registry *registry);
/* After pools_free: pools are not touched. Waits for file work under way; deployments under way
 * are not told. */
void registry_free(struct registry *registry);

struct entry *registry_find(struct registry *registry, const char *name);
struct entry *registry_first(struct registry *registry); /* then ->next; by name */

/* Makes the unpacked folder (STORE/incoming/ANY/NAME) the function's new version: checked,
 * started, then switched to; the old one drains. name NULL: that of function.ini, else of the
 * folder's last component. The folder is the registry's from here on, its parent the caller's:
 * to be removed (rmdir) when done was told. Two deployments of one function go one after the
 * other; a third is refused.
 *
 * done is told once, after this has returned (but where memory runs out at once): outcome is
 * OUTCOME_SUCCESS, another of enum outcome, or REGISTRY_CONFLICT; json is the whole body for the
 * client, valid in the call:
 *
 *     {"name","version":N,"digest","unchanged":bool,"way":"fork"|"ahead"|null,"why",
 *      "warnings":[...]}
 *     {"Type":"User"|"Service","Message","problems":[{"file","line","message"}...],
 *      "error":{...}|null,"log":"..."} */
void registry_deploy(struct registry *registry, const char *folder, const char *name,
                     void (*done)(void *owner, int outcome, const char *json), void *owner);
/* To version number (0: the newest that is older than the current one). As deploy, and from
 * the store. */
void registry_rollback(struct registry *registry, const char *name, uint64_t number,
                       void (*done)(void *owner, int outcome, const char *json), void *owner);
/* Takes the function away at once; calls that it has end, then its files go. Returns 0, -ENOENT
 * (no such function), -EBUSY (a deployment of it is under way: 409), or another negative errno
 * (it stays), all with err. */
int registry_remove(struct registry *registry, const char *name, struct error *err);

/* JSON for GET; malloc'ed, NULL: out of memory. Times in us, memory in bytes.
 *
 * show: {"name","version","digest","runtime","handler","image","network","isolation",
 *        "limits":{as function.ini writes them},"scale":{...},"environment":[names],
 *        "up":bool,"way":"fork"|"ahead"|null,"why":"","broken":"",
 *        "slots":{"ready","busy","total","built","reused","retired":{reason:n}},
 *        "queued","calls","errors","throttled","cold","p50Us","p99Us","memory","cpuUs"}
 * list: {"functions":[{"name","version","digest","runtime","up","way","ready","busy",
 *        "concurrency","calls","errors","broken"}...]}
 * top:  {"time":UNIX_US,"functions":[{"name","up","busy","queued","ready","slots","calls",
 *        "errors","throttled","cold","p50Us","p99Us","memory","cpuUs","broken"}...]} */
char *registry_show_json(struct registry *registry, const struct entry *entry);
char *registry_list_json(struct registry *registry);
char *registry_top_json(struct registry *registry);

/* Takes no more calls and deployments, and calls drained, once, when the last one is through:
 * at once, in this call, when there are none. */
void registry_drain(struct registry *registry, void (*drained)(void *owner), void *owner);

#endif
