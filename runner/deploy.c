/* Deploying and rolling back: the steps in their order, each told its turn by the loop. Until
 * state_put has returned the old version is the current one, in memory and on disk; from then
 * on it is the new one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "images/runtimes.h"
#include "isolate/cleanup.h"
#include "runner/deploy_answer.h"
#include "runner/deploy_worker.h"
#include "runner/logbook.h"
#include "runner/outcome.h"
#include "runner/package.h"
#include "runner/registry_core.h"
#include "runner/registry_secrets.h"

struct deploy {
    struct deploy *next;
    struct registry *registry;
    char *folder;  /* the upload's; NULL: a rollback, or it is in the store now */
    char *hidden;  /* the folder's parent with a slash: not for the user */
    char name[66]; /* one more than a name may have: a longer one stays too long */
    bool named;    /* by the caller */
    bool holds;    /* the function's name: no other one of it goes on */
    bool waiting;  /* for the one that holds it */
    bool keeping;  /* digest may be in the store already, without a row */
    bool rollback;
    uint64_t wanted; /* version to roll back to; 0: the one before */
    void (*done)(void *owner, int outcome, const char *json);
    void *owner;
    void (*step)(struct deploy *deploy);
    sd_event_source *later;

    struct function function;
    struct config_problems problems;
    char remark[512];
    char digest[STATE_DIGEST + 1];
    struct error err;
    int code; /* of the work in a thread */
    struct serving *serving;
    int outcome; /* of the start */
    char *error, *log;
    size_t error_length, log_length;
};

static const char no_memory[] = "{\"Type\":\"Service\",\"Message\":\"out of memory\"}\n";

static void begin(struct deploy *deploy);

unsigned registry_status(int outcome, const char **error_type) {
    switch (outcome) {
    case OUTCOME_SUCCESS:
        *error_type = NULL;
        return 200;
    case REGISTRY_CONFLICT:
        *error_type = "ResourceConflictException";
        return 409;
    case OUTCOME_NO_FUNCTION:
        *error_type = "ResourceNotFoundException";
        return 404;
    case OUTCOME_THROTTLED:
        *error_type = "TooManyRequestsException";
        return 429;
    case OUTCOME_SERVICE:
        *error_type = "ServiceException";
        return 500;
    default: /* the package, or how its code behaved when it was started */
        *error_type = "InvalidParameterValueException";
        return 400;
    }
}

/* --- all that are under way ------------------------------------------------------------------- */

bool deploy_has_digest(const struct registry *registry, const char *digest) {
    for (const struct deploy *deploy = registry->deploys; deploy; deploy = deploy->next)
        if (deploy->keeping && strcmp(deploy->digest, digest) == 0)
            return true;
    return false;
}

static struct deploy *holder(const struct registry *registry, const char *name) {
    struct deploy *deploy = registry->deploys;
    while (deploy && !(deploy->holds && strcmp(deploy->name, name) == 0))
        deploy = deploy->next;
    return deploy;
}

static struct deploy *waiter(const struct registry *registry, const char *name) {
    struct deploy *deploy = registry->deploys;
    while (deploy && !(deploy->waiting && strcmp(deploy->name, name) == 0))
        deploy = deploy->next;
    return deploy;
}

bool deploy_has_name(const struct registry *registry, const char *name) {
    return holder(registry, name) != NULL;
}

static void deploy_free(struct deploy *deploy) {
    sd_event_source_disable_unref(deploy->later);
    function_free(&deploy->function);
    config_problems_free(&deploy->problems);
    free(deploy->folder);
    free(deploy->hidden);
    free(deploy->error);
    free(deploy->log);
    free(deploy);
}

void deploy_free_all(struct registry *registry) {
    while (registry->deploys) {
        struct deploy *deploy = registry->deploys;
        registry->deploys = deploy->next;
        deploy_free(deploy);
    }
}

static int run_step(sd_event_source *source, void *userdata) {
    struct deploy *deploy = userdata;
    (void)source;
    deploy->later = sd_event_source_disable_unref(deploy->later);
    deploy->step(deploy);
    return 0;
}

/* The step is taken when the caller has returned to the loop. */
static void later(struct deploy *deploy, void (*step)(struct deploy *deploy)) {
    deploy->step = step;
    if (sd_event_add_defer(deploy->registry->loop, &deploy->later, run_step, deploy) < 0)
        step(deploy);
}

/* --- the end ---------------------------------------------------------------------------------- */

static void end(struct deploy *deploy) {
    struct registry *registry = deploy->registry;
    struct deploy **place = &registry->deploys;
    while (*place != deploy)
        place = &(*place)->next;
    *place = deploy->next;
    struct deploy *next = deploy->holds ? waiter(registry, deploy->name) : NULL;
    if (next) {
        next->waiting = false;
        next->holds = true;
        later(next, begin);
    }
    if (deploy->keeping)
        registry_discard(registry, deploy->digest);
    deploy_free(deploy);
    registry_check_drained(registry);
}

static void tell(struct deploy *deploy, int outcome, char *json) {
    /* Before the caller hears of it: the folder's parent must be empty then. */
    if (deploy->folder)
        registry_remove_folder(deploy->registry, deploy->folder);
    deploy->done(deploy->owner, json ? outcome : OUTCOME_SERVICE, json ? json : no_memory);
    free(json);
}

/* Ends a deployment with what is wrong in err (and problems, and the start's error and log). */
static void refuse(struct deploy *deploy, int outcome) {
    tell(deploy, outcome,
         deploy_failure_json(&(struct deploy_failure){
             .service = outcome == OUTCOME_SERVICE,
             .message = deploy->err.message,
             .problems = &deploy->problems,
             .hidden = deploy->hidden,
             .error = deploy->error,
             .error_length = deploy->error_length,
             .log = deploy->log,
             .log_length = deploy->log_length,
         }));
    end(deploy);
}

static void refuse_service(struct deploy *deploy) {
    refuse(deploy, OUTCOME_SERVICE);
}

static void succeed(struct deploy *deploy, const struct entry *entry, bool unchanged) {
    struct pool_stats stats = {0};
    if (entry->pool)
        pool_read_stats(entry->pool, &stats);
    tell(deploy, OUTCOME_SUCCESS,
         deploy_success_json(&(struct deploy_success){
             .name = entry->name,
             .digest = entry->digest,
             .number = entry->number,
             .unchanged = unchanged,
             .function = &entry->function,
             .settings = deploy->registry->settings,
             .stats = &stats,
             .remark = deploy->remark[0] ? deploy->remark : NULL,
         }));
    end(deploy);
}

void deploy_stop(struct registry *registry) {
    for (struct deploy *deploy = registry->deploys; deploy; deploy = deploy->next)
        if (deploy->waiting) {
            deploy->waiting = false;
            later(deploy, begin); /* which says that the daemon is stopping */
        }
}

static bool stopping(struct deploy *deploy) {
    if (!deploy->registry->stopping)
        return false;
    error_set(&deploy->err, -ESHUTDOWN, "fnrund is stopping: deploy again when it runs");
    return true;
}

/* --- the new version starts ------------------------------------------------------------------- */

/* The pool of a version that is not to be; its folder goes with it unless others have it. */
static void drop_serving(struct deploy *deploy) {
    deploy->serving->discard = true;
    registry_serving_end(deploy->serving);
    deploy->serving = NULL;
}

static void switch_over(struct deploy *deploy) {
    struct registry *registry = deploy->registry;
    struct entry *entry = deploy->serving->entry;
    uint64_t number = 0;
    if (state_put(registry->state, deploy->name, deploy->digest, &number, &deploy->err) < 0) {
        error_context(&deploy->err, "the new version of %s cannot be recorded, the old one stays: ",
                      deploy->name);
        drop_serving(deploy);
        refuse(deploy, OUTCOME_SERVICE);
        return;
    }
    registry_switch(entry, deploy->serving, &deploy->function, number);
    succeed(deploy, entry, false);
}

static void finish_start(struct deploy *deploy) {
    int outcome = deploy->outcome;
    if (outcome == OUTCOME_SUCCESS && !stopping(deploy)) {
        switch_over(deploy);
        return;
    }
    if (outcome == OUTCOME_SUCCESS) {
        outcome = OUTCOME_SERVICE;
    } else {
        const struct entry *entry = deploy->serving->entry;
        error_set(&deploy->err, -EPROTO, "%s did not start%s: ", deploy->name,
                  entry->listed ? " (the version before goes on serving)" : "");
        deploy_error_text(deploy->error, deploy->error_length, deploy->err.message,
                          sizeof deploy->err.message);
    }
    drop_serving(deploy);
    refuse(deploy, outcome);
}

static char *copy(const char *bytes, size_t length) {
    char *to = bytes ? malloc(length + 1) : NULL;
    if (to) {
        memcpy(to, bytes, length);
        to[length] = 0;
    }
    return to;
}

static void started(void *owner, int outcome, const char *error, size_t error_length,
                    const char *log, size_t log_length) {
    struct deploy *deploy = owner;
    deploy->outcome = outcome;
    deploy->error = copy(error, error_length);
    deploy->error_length = deploy->error ? error_length : 0;
    deploy->log = copy(log, log_length);
    deploy->log_length = deploy->log ? log_length : 0;
    later(deploy, finish_start); /* the pool may not end inside its own callback */
}

static void start(struct deploy *deploy) {
    struct registry *registry = deploy->registry;
    struct entry *entry = registry_find(registry, deploy->name);
    if (!entry)
        entry = registry_entry_new(registry, deploy->name);
    if (entry)
        deploy->serving = registry_serving_new(entry, &deploy->function, deploy->digest);
    if (!deploy->serving) {
        if (entry)
            registry_entry_drop(entry);
        error_set(&deploy->err, -ENOMEM, "out of memory");
        refuse(deploy, OUTCOME_SERVICE);
        return;
    }
    pool_start(deploy->serving->pool, started, deploy);
}

static void load_and_start(struct deploy *deploy) {
    if (stopping(deploy)) {
        refuse(deploy, OUTCOME_SERVICE);
        return;
    }
    function_free(&deploy->function);
    int r = registry_load_version(deploy->registry, deploy->name, deploy->digest, &deploy->function,
                                  &deploy->err);
    if (r < 0)
        refuse(deploy, r == -ENOMEM ? OUTCOME_SERVICE : OUTCOME_BAD_FUNCTION);
    else
        start(deploy);
}

/* --- rolling back ----------------------------------------------------------------------------- */

static bool is_wanted(const struct deploy *deploy, const struct state_version *version,
                      uint64_t current) {
    return deploy->wanted ? version->number == deploy->wanted : version->number < current;
}

static int no_such_version(struct deploy *deploy, long count, uint64_t current) {
    if (count == 0)
        return error_set(&deploy->err, -ENOENT, "there is no function %s", deploy->name);
    if (deploy->wanted)
        return error_set(&deploy->err, -ENOENT,
                         "%s has no version %llu: `fnrun versions %s` lists them", deploy->name,
                         (unsigned long long)deploy->wanted, deploy->name);
    return error_set(&deploy->err, -ENOENT, "%s has no version older than %llu", deploy->name,
                     (unsigned long long)current);
}

/* The digest of the version to roll back to. */
static int find_version(struct deploy *deploy) {
    struct state_version *versions = NULL;
    const struct state_version *found = NULL;
    uint64_t current = 0;
    long count = state_versions(deploy->registry->state, deploy->name, &versions, &deploy->err);
    if (count < 0)
        return (int)count;
    for (long i = 0; i < count; i++)
        if (versions[i].current)
            current = versions[i].number;
    for (long i = 0; i < count && !found; i++)
        if (is_wanted(deploy, &versions[i], current))
            found = &versions[i];
    if (found)
        memcpy(deploy->digest, found->digest, sizeof deploy->digest);
    int r = found ? 0 : no_such_version(deploy, count, current);
    free(versions);
    return r;
}

/* --- from the upload to the store ------------------------------------------------------------- */

static void keep(void *owner) { /* in a thread */
    struct deploy *deploy = owner;
    deploy->code = package_keep(state_store(deploy->registry->state), deploy->folder,
                                deploy->digest, &deploy->err);
}

static void kept(void *owner) {
    struct deploy *deploy = owner;
    if (deploy->code < 0) {
        refuse(deploy, OUTCOME_SERVICE);
        return;
    }
    free(TAKE_PTR(deploy->folder));
    load_and_start(deploy);
}

/* The deployment has its function's name for itself. */
static void begin(struct deploy *deploy) {
    const struct entry *entry = registry_find(deploy->registry, deploy->name);
    if (stopping(deploy)) {
        refuse(deploy, OUTCOME_SERVICE);
        return;
    }
    int r = deploy->rollback ? find_version(deploy) : 0;
    if (r < 0) {
        refuse(deploy, r == -ENOENT ? OUTCOME_NO_FUNCTION : OUTCOME_SERVICE);
        return;
    }
    if (entry && strcmp(entry->digest, deploy->digest) == 0) {
        succeed(deploy, entry, true);
        return;
    }
    deploy->keeping = true;
    if (!deploy->folder)
        load_and_start(deploy);
    else if (worker_run(deploy->registry->worker, keep, kept, deploy) < 0) {
        keep(deploy);
        kept(deploy);
    }
}

static void claim_name(struct deploy *deploy) {
    if (!holder(deploy->registry, deploy->name)) {
        deploy->holds = true;
        begin(deploy);
    } else if (!waiter(deploy->registry, deploy->name)) {
        deploy->waiting = true;
    } else {
        error_set(&deploy->err, -EBUSY,
                  "two deployments of %s are under way already: try again when they have ended",
                  deploy->name);
        refuse(deploy, REGISTRY_CONFLICT);
    }
}

/* --- what the upload is ----------------------------------------------------------------------- */

/* What would be refused when the version is started: a reserved variable, too large an
 * environment. */
static void check_plan(struct deploy *deploy) {
    struct runtime_plan plan = {0};
    struct error err = {0};
    const struct runtime_call call = {.request_id = "00000000-0000-4000-8000-000000000000",
                                      .version = "1",
                                      .log_stream = "deploy"};
    int r = runtime_plan(&deploy->function, &call, &plan, &err);
    runtime_plan_free(&plan);
    if (r < 0)
        config_problem(&deploy->problems, deploy->function.path, 0, "%s", err.message);
}

static void look(void *owner) { /* in a thread */
    struct deploy *deploy = owner;
    deploy->code =
        registry_load(deploy->folder, &deploy->function, &deploy->problems, &deploy->err);
    if (deploy->code < 0)
        return;
    check_plan(deploy);
    if (!function_remark(&deploy->function, deploy->remark, sizeof deploy->remark))
        deploy->remark[0] = 0;
    deploy->code = package_digest(deploy->folder, deploy->digest, &deploy->err);
}

static bool name_is_valid(const char *name) {
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "0123456789_-");
    return length >= 1 && length <= 64 && !name[length];
}

static void looked(void *owner) {
    struct deploy *deploy = owner;
    int code = deploy->code;
    if (code == 0 && !deploy->problems.count) {
        settings_apply(deploy->registry->settings, &deploy->function, &deploy->problems);
        registry_read_secrets(&deploy->function, &deploy->problems);
    }
    if (!deploy->named && deploy->function.name)
        snprintf(deploy->name, sizeof deploy->name, "%s", deploy->function.name);
    if (deploy->problems.count) {
        error_set(&deploy->err, -EINVAL, "%zu problem%s in %s", deploy->problems.count,
                  deploy->problems.count == 1 ? "" : "s",
                  deploy->name[0] ? deploy->name : "the package");
        refuse(deploy, OUTCOME_BAD_FUNCTION);
    } else if (code < 0) {
        bool user = code == -EINVAL || code == -ENOENT || code == -ELOOP;
        refuse(deploy, user ? OUTCOME_BAD_FUNCTION : OUTCOME_SERVICE);
    } else if (stopping(deploy)) {
        refuse(deploy, OUTCOME_SERVICE);
    } else {
        claim_name(deploy);
    }
}

static void first_look(struct deploy *deploy) {
    if (deploy->named && !name_is_valid(deploy->name)) {
        error_set(&deploy->err, -EINVAL,
                  "a function's name has 1 to 64 letters, digits, - and _: this one has others, "
                  "or more");
        refuse(deploy, OUTCOME_BAD_FUNCTION);
    } else if (stopping(deploy)) {
        refuse(deploy, OUTCOME_SERVICE);
    } else if (worker_run(deploy->registry->worker, look, looked, deploy) < 0) {
        look(deploy);
        looked(deploy);
    }
}

/* --- both ------------------------------------------------------------------------------------- */

static struct deploy *deploy_new(struct registry *registry, const char *name,
                                 void (*done)(void *owner, int outcome, const char *json),
                                 void *owner) {
    struct deploy *deploy = calloc(1, sizeof *deploy), **place = &registry->deploys;
    if (!deploy)
        return NULL;
    deploy->registry = registry;
    deploy->done = done;
    deploy->owner = owner;
    deploy->named = name != NULL;
    snprintf(deploy->name, sizeof deploy->name, "%s", name ? name : "");
    while (*place)
        place = &(*place)->next;
    *place = deploy;
    return deploy;
}

void registry_deploy(struct registry *registry, const char *folder, const char *name,
                     void (*done)(void *owner, int outcome, const char *json), void *owner) {
    struct deploy *deploy = deploy_new(registry, name, done, owner);
    if (!deploy) {
        done(owner, OUTCOME_SERVICE, no_memory);
        return;
    }
    const char *slash = strrchr(folder, '/');
    deploy->folder = strdup(folder);
    deploy->hidden = slash ? strndup(folder, (size_t)(slash - folder) + 1) : NULL;
    if (deploy->folder) {
        later(deploy, first_look);
        return;
    }
    error_set(&deploy->err, -ENOMEM, "out of memory");
    later(deploy, refuse_service);
}

void registry_rollback(struct registry *registry, const char *name, uint64_t number,
                       void (*done)(void *owner, int outcome, const char *json), void *owner) {
    struct deploy *deploy = deploy_new(registry, name, done, owner);
    if (!deploy) {
        done(owner, OUTCOME_SERVICE, no_memory);
        return;
    }
    deploy->rollback = true;
    deploy->wanted = number;
    later(deploy, claim_name);
}
