/* What a version's environments are started with: made once for each version. */
#include "runner/environment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "images/json.h"
#include "images/runtimes.h"

#define PAGE 4096ul

static uint64_t whole_pages(uint64_t bytes) {
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

static void copy_text(char *to, size_t size, const char *from) {
    size_t length = strnlen(from, size - 1);
    memcpy(to, from, length);
    to[length] = 0;
}

static uint32_t put_strings(struct json_out *out, char *const *list) {
    uint32_t count = 0;
    for (; list && list[count]; count++)
        json_put_raw(out, list[count], strlen(list[count]) + 1);
    return count;
}

static int plan_runtime(const struct function *function, const char *digest, bool gate, bool serve,
                        struct runtime_plan *plan, struct error *err) {
    const struct runtime_call call = {
        .version = "$LATEST",
        .log_stream = digest,
        .gate = gate,
        .serve = serve,
    };
    return runtime_plan(function, &call, plan, err);
}

static void fill_make(struct launcher_make *make, const struct function *function,
                      const char *digest) {
    copy_text(make->digest, sizeof make->digest, digest);
    copy_text(make->name, sizeof make->name, function->name);
    if (function->single_file && function->file)
        copy_text(make->task_file, sizeof make->task_file, function->file);
    make->slots = (uint32_t)function->scale.concurrency;
    make->host_network = function->network == NETWORK_HOST;
    make->memory = function->limits.memory;
    make->processes = function->limits.processes;
    make->cpu_milli = function->limits.cpu_milli;
    make->tmp_bytes = function->limits.tmp;
}

/* Whether the function's zygote may be a child of the language zygote: not where its own
 * variables change how an interpreter starts. */
static bool may_share_start(const struct function *function) {
    static const char *const starts[] = {"PYTHON",  "LD_",    "LC_",      "LANG", "HOME",
                                         "MALLOC_", "GLIBC_", "OPENSSL_", "SSL_"};
    if (function->runtime != RUNTIME_PYTHON)
        return false;
    for (size_t i = 0; i < function->environment_count; i++)
        for (size_t k = 0; k < sizeof starts / sizeof *starts; k++)
            if (!strncmp(function->environment[i].key, starts[k], strlen(starts[k])))
                return false;
    return true;
}

/* The zygote's arguments and environment, then those of a program started ahead. */
static int fill_config(struct environment_plan *plan, const struct function *function,
                       const struct runtime_plan *zygote, const struct runtime_plan *ahead,
                       bool fork, struct error *err) {
    struct keeper_config config = {
        .way = fork ? KEEPER_FORK : KEEPER_AHEAD,
        .channel = ahead->frames,
        .reuse = function->scale.isolation == ISOLATION_INVOCATION,
        .keep = function->scale.isolation == ISOLATION_ENVIRONMENT,
        .slots = plan->make.slots,
        .host_network = plan->make.host_network,
        .event_size = plan->event_size,
        .response_size = plan->response_size,
        .memory = function->limits.memory,
        .processes = function->limits.processes,
        .cpu_milli = function->limits.cpu_milli,
        .tmp_bytes = function->limits.tmp,
        .open_files = function->limits.files,
        .init_ms = function->limits.init_ms,
        .language = fork && may_share_start(function),
    };
    struct json_out out = {0};
    copy_text(config.host_name, sizeof config.host_name, function->name);
    json_put_raw(&out, (const char *)&config, sizeof config);
    json_put_raw(&out, zygote->program, strlen(zygote->program) + 1);
    config.arguments = put_strings(&out, zygote->arguments);
    config.environment = put_strings(&out, zygote->environment);
    config.ahead_arguments = put_strings(&out, ahead->arguments);
    config.ahead_environment = put_strings(&out, ahead->environment);
    if (out.failed) {
        free(out.data);
        return error_set(err, -ENOMEM, "out of memory");
    }
    memcpy(out.data, &config, sizeof config);
    plan->config = out.data;
    plan->config_length = out.length;
    return 0;
}

int environment_plan_make(struct environment_plan *plan, const struct function *function,
                          const char *digest, struct error *err) {
    struct runtime_plan zygote = {0}, ahead = {0};
    bool keep = function->scale.isolation == ISOLATION_ENVIRONMENT;
    bool fork = !keep && runtime_can_gate(function);
    *plan = (struct environment_plan){
        .event_size = whole_pages(function->limits.event + ENVIRONMENT_LINES),
        .response_size = whole_pages(function->limits.response),
    };
    if (function->scale.concurrency < 1 || function->scale.concurrency > KEEPER_SLOTS)
        return error_set(err, -EINVAL, "concurrency is not within 1 and %d", KEEPER_SLOTS);
    fill_make(&plan->make, function, digest);
    int r = plan_runtime(function, digest, fork, false, &zygote, err);
    if (r >= 0)
        r = plan_runtime(function, digest, false, keep && zygote.frames, &ahead, err);
    if (r >= 0)
        r = fill_config(plan, function, &zygote, &ahead, fork, err);
    if (r >= 0) {
        plan->frames = ahead.frames;
        plan->program = strdup(ahead.program);
        r = plan->program ? 0 : error_set(err, -ENOMEM, "out of memory");
    }
    runtime_plan_free(&zygote);
    runtime_plan_free(&ahead);
    return r;
}

void environment_plan_free(struct environment_plan *plan) {
    free(plan->config);
    free(plan->program);
    *plan = (struct environment_plan){0};
}
