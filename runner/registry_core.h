/* What registry.c, deploy.c and registry_json.c share; nobody else includes this. */
#ifndef FNRUN_REGISTRY_CORE_H
#define FNRUN_REGISTRY_CORE_H

#include "runner/registry.h"

#define REGISTRY_BUCKETS 1024 /* a power of two */
#define REGISTRY_PATH    4096

struct deploy;
struct worker;

/* One version of a function and its pool; the owner of the pool's events. */
struct serving {
    struct serving *next; /* of all that have not ended */
    struct entry *entry;
    struct pool *pool;
    char digest[STATE_DIGEST + 1];
    uint64_t number; /* 0 until it is the current version */
    bool discard;    /* its folder is looked at when it has ended: registry_discard */
};

struct registry {
    struct sd_event *loop;
    struct pools *pools;
    struct state *state;
    const struct settings *settings;
    struct entry *entries; /* by name */
    struct entry *buckets[REGISTRY_BUCKETS];
    struct serving *servings;
    struct worker *worker;
    struct deploy *deploys; /* all under way, oldest first */
    unsigned trash;         /* number of the next folder to be removed */
    bool stopping;
    void (*drained)(void *owner);
    void *drained_owner;
};

/* --- registry.c --- */

/* An entry that is not listed yet, with a logbook. NULL: out of memory. */
struct entry *registry_entry_new(struct registry *registry, const char *name);
/* Frees it when it is neither listed nor has pools. */
void registry_entry_drop(struct entry *entry);
void registry_list(struct entry *entry);

/* Makes the pool; function is copied. NULL: out of memory. */
struct serving *registry_serving_new(struct entry *entry, const struct function *function,
                                     const char *digest);
/* Takes no more calls, finishes those it has, frees the serving; then, perhaps, its entry. */
void registry_serving_end(struct serving *serving);
/* serving becomes what the entry's calls go to; function is taken over (and emptied). */
void registry_switch(struct entry *entry, struct serving *serving, struct function *function,
                     uint64_t number);

/* Calls drained when the registry stops and nothing is under way any more. */
void registry_check_drained(struct registry *registry);

/* Removes the version's folder unless a row, a pool or a deployment has it; then a pool's or a
 * deployment's end does. */
void registry_discard(struct registry *registry, const char *digest);
/* Takes a folder of the store away at once, and removes it off the loop's thread. */
void registry_remove_folder(struct registry *registry, const char *path);

/* Reads the function in a folder, as a folder or, where it is no function as such, as the one
 * file in it. Returns as function_load; problems of the first reading are those that stay. */
int registry_load(const char *folder, struct function *function, struct config_problems *problems,
                  struct error *err);
/* The same for a version of the store, under a name, with the daemon's settings. Returns 0, or a
 * negative errno with err (the problems, if any, in a line). */
int registry_load_version(struct registry *registry, const char *name, const char *digest,
                          struct function *function, struct error *err);
/* Replaces function->name. Returns 0 or -ENOMEM. */
int registry_name(struct function *function, const char *name);

/* --- deploy.c --- */

bool deploy_has_digest(const struct registry *registry, const char *digest);
bool deploy_has_name(const struct registry *registry, const char *name);
/* Refuses those that wait for another; the others end by themselves. */
void deploy_stop(struct registry *registry);
void deploy_free_all(struct registry *registry);

#endif
