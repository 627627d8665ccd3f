/* What a deployment tells its client: the bodies that runner/registry.h describes. */
#ifndef FNRUN_DEPLOY_ANSWER_H
#define FNRUN_DEPLOY_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "images/config.h"
#include "images/function.h"
#include "isolate/keeper.h"
#include "runner/pool.h"
#include "runner/settings.h"

struct deploy_success {
    const char *name, *digest;
    uint64_t number;
    bool unchanged;
    const struct function *function;
    const struct settings *settings;
    const struct pool_stats *stats;
    const char *remark; /* or NULL */
};

struct deploy_failure {
    bool service; /* fnrun's fault, not the user's */
    const char *message;
    const struct config_problems *problems; /* or NULL */
    const char *hidden; /* a path that is left out of texts: the upload's folder, or NULL */
    const char *error;  /* an error object, or any bytes, or NULL */
    size_t error_length;
    const char *log; /* or NULL */
    size_t log_length;
};

/* malloc'ed; NULL: out of memory. */
char *deploy_success_json(const struct deploy_success *success);
char *deploy_failure_json(const struct deploy_failure *failure);

/* Bytes for all environments: the setting, or what the machine has. */
uint64_t deploy_memory_budget(const struct settings *settings);

/* Whether concurrency x memory is more than the budget, or than the machine has: text then says
 * so. */
bool deploy_memory_warning(const struct function *function, const struct settings *settings,
                           char *text, size_t size);

/* Appends the message of an error object (its errorMessage, at most 2 KiB of it) to text. */
void deploy_error_text(const char *error, size_t length, char *text, size_t size);

#endif
