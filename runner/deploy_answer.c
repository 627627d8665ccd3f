#include "runner/deploy_answer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images/json.h"
#include "runner/json_members.h"

#define ERROR_MAX (256ul << 10) /* bytes of an error object that is passed on */
#define LOG_MAX   (1ul << 20)   /* the end of a longer log */

/* --- success ---------------------------------------------------------------------------------- */

static uint64_t machine_memory(void) {
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t deploy_memory_budget(const struct settings *settings) {
    return settings->memory ? settings->memory : machine_memory();
}

bool deploy_memory_warning(const struct function *function, const struct settings *settings,
                           char *text, size_t size) {
    uint64_t machine = machine_memory();
    uint64_t memory = function->limits.memory, count = function->scale.concurrency, all;
    bool budget = settings->memory && settings->memory < machine;
    uint64_t most = budget ? settings->memory : machine;
    if (__builtin_mul_overflow(memory, count, &all))
        all = UINT64_MAX;
    if (all <= most)
        return false;
    snprintf(text, size,
             "concurrency (%" PRIu64 ") x memory (%" PRIu64 " MiB) is %" PRIu64
             " MiB, more than the %" PRIu64 " MiB %s: when all of it is used at once, "
             "invocations will fail for want of memory",
             count, memory >> 20, all >> 20, most >> 20,
             budget ? "of `memory` in fnrun.ini" : "that this machine has");
    return true;
}

char *deploy_success_json(const struct deploy_success *success) {
    struct json_out out = {0};
    char text[512];
    json_put_text(&out, "{");
    put_string(&out, "name", success->name);
    put_number(&out, "version", success->number);
    put_string(&out, "digest", success->digest);
    put_key(&out, "unchanged");
    json_put_text(&out, success->unchanged ? "true" : "false");
    put_key(&out, "way");
    json_put_text(&out, !success->stats->up                  ? "null"
                        : success->stats->way == KEEPER_FORK ? "\"fork\""
                                                             : "\"ahead\"");
    put_string(&out, "why", success->stats->why);
    put_key(&out, "warnings");
    json_put_text(&out, "[");
    bool warned = deploy_memory_warning(success->function, success->settings, text, sizeof text);
    if (warned)
        json_put_string(&out, text, strlen(text));
    if (success->remark) {
        json_put_text(&out, warned ? "," : "");
        json_put_string(&out, success->remark, strlen(success->remark));
    }
    json_put_text(&out, "]}");
    return put_end(&out);
}

/* --- failure ---------------------------------------------------------------------------------- */

void deploy_error_text(const char *error, size_t length, char *text, size_t size) {
    size_t used = strlen(text), found = 0;
    const char *message = NULL;
    if (error && json_scan(error, length, NULL))
        message = json_member(error, length, "errorMessage", &found);
    if (!message || found < 2 || *message != '"')
        return;
    /* Escapes but \" \\ \/ and \n stay as they are written: this is for a person's eye, and the
     * object itself goes along. */
    if (found > 2048)
        found = 2048;
    for (size_t i = 1; i < found - 1 && used + 1 < size; i++) {
        char c = message[i], next = message[i + 1];
        if (c == '\\' && (next == '"' || next == '\\' || next == '/' || next == 'n')) {
            c = next == 'n' ? ' ' : next;
            i++;
        }
        text[used++] = c;
    }
    text[used] = 0;
}

/* Text without the path of the upload's folder, which tells the user nothing. */
static void put_shown(struct json_out *out, const char *text, const char *hidden) {
    struct json_out shown = {0};
    size_t length = hidden ? strlen(hidden) : 0;
    while (text && *text) {
        const char *at = length ? strstr(text, hidden) : NULL;
        size_t before = at ? (size_t)(at - text) : strlen(text);
        json_put_raw(&shown, text, before);
        text += before + (at ? length : 0);
    }
    json_put_string(out, shown.data ? shown.data : "", shown.length);
    free(shown.data);
}

static void put_problems(struct json_out *out, const struct deploy_failure *failure) {
    const struct config_problems *problems = failure->problems;
    json_put_text(out, "[");
    for (size_t i = 0; problems && problems->items && i < problems->count; i++) {
        const struct config_problem *problem = &problems->items[i];
        json_put_text(out, i ? ",{" : "{");
        put_key(out, "file");
        if (problem->file)
            put_shown(out, problem->file, failure->hidden);
        else
            json_put_text(out, "null");
        if (problem->line) {
            put_number(out, "line", problem->line);
        } else {
            put_key(out, "line");
            json_put_text(out, "null");
        }
        put_key(out, "message");
        put_shown(out, problem->text ? problem->text : "out of memory", failure->hidden);
        json_put_text(out, "}");
    }
    json_put_text(out, "]");
}

static void put_error(struct json_out *out, const char *error, size_t length) {
    if (error && length && length <= ERROR_MAX && json_scan(error, length, NULL))
        json_put_raw(out, error, length);
    else
        json_put_text(out, "null");
}

char *deploy_failure_json(const struct deploy_failure *failure) {
    struct json_out out = {0};
    const char *log = failure->log ? failure->log : "";
    size_t log_length = failure->log ? failure->log_length : 0;
    if (log_length > LOG_MAX) {
        log += log_length - LOG_MAX;
        log_length = LOG_MAX;
    }
    json_put_text(&out, "{");
    put_string(&out, "Type", failure->service ? "Service" : "User");
    put_key(&out, "Message");
    put_shown(&out, failure->message, failure->hidden);
    put_key(&out, "problems");
    put_problems(&out, failure);
    put_key(&out, "error");
    put_error(&out, failure->error, failure->error_length);
    put_key(&out, "log");
    json_put_string(&out, log, log_length);
    json_put_text(&out, "}");
    return put_end(&out);
}
