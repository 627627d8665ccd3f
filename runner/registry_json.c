/* What the management API shows of functions. */
#include <string.h>
#include <time.h>

#include "images/config_table.h"
#include "runner/json_members.h"
#include "runner/registry_core.h"

/* --- parts ------------------------------------------------------------------------------------ */

static void put_way(struct json_out *out, const struct pool_stats *stats) {
    put_key(out, "way");
    json_put_text(out, !stats->up ? "null" : stats->way == KEEPER_FORK ? "\"fork\"" : "\"ahead\"");
}

static void read_stats(const struct entry *entry, struct pool_stats *stats) {
    *stats = (struct pool_stats){0};
    if (entry->pool)
        pool_read_stats(entry->pool, stats);
}

/* Every key that the section has, as function.ini writes its value. */
static void put_section(struct json_out *out, const char *section,
                        const struct function *function) {
    put_key(out, section);
    json_put_text(out, "{");
    for (size_t i = 0; i < config_row_count; i++) {
        const struct config_row *row = &config_rows[i];
        char text[64];
        if (strcmp(row->section, section) != 0 || !row->key || row->type == CONFIG_FILE)
            continue;
        config_value_text(row, function, text, sizeof text);
        put_string(out, row->key, text);
    }
    json_put_text(out, "}");
}

/* Names alone: values may be nobody's business. */
static void put_names(struct json_out *out, const char *key, const struct function_pair *pairs,
                      size_t count) {
    put_key(out, key);
    json_put_text(out, "[");
    for (size_t i = 0; i < count; i++) {
        json_put_text(out, i ? "," : "");
        json_put_string(out, pairs[i].key, strlen(pairs[i].key));
    }
    json_put_text(out, "]");
}

static void put_retired(struct json_out *out, const struct pool_stats *stats) {
    static const char *const reasons[KEEPER_TRACES] = {
        [KEEPER_USED_ONCE] = "usedOnce",    [KEEPER_UNWANTED] = "unwanted",
        [KEEPER_REFRESHED] = "refreshed",   [KEEPER_UNVERIFIED] = "unverified",
        [KEEPER_TRACE_OOM] = "outOfMemory", [KEEPER_TRACE_SOCKETS] = "sockets",
        [KEEPER_TRACE_IPC] = "ipc",         [KEEPER_TRACE_AUTOGROUP] = "autogroup",
        [KEEPER_TRACE_TMP] = "tmp",         [KEEPER_TRACE_PROCESSES] = "processes",
        [KEEPER_TRACE_DIED] = "died",
    };
    put_key(out, "retired");
    json_put_text(out, "{");
    for (size_t i = 0; i < KEEPER_TRACES; i++)
        if (stats->retired[i] && reasons[i])
            put_number(out, reasons[i], stats->retired[i]);
    json_put_text(out, "}");
}

static void put_slots(struct json_out *out, const struct pool_stats *stats) {
    put_key(out, "slots");
    json_put_text(out, "{");
    put_number(out, "ready", stats->ready);
    put_number(out, "busy", stats->busy);
    put_number(out, "total", stats->slots);
    put_number(out, "built", stats->built);
    put_number(out, "reused", stats->reused);
    put_retired(out, stats);
    json_put_text(out, "}");
}

static void put_counts(struct json_out *out, const struct pool_stats *stats) {
    put_number(out, "calls", stats->calls);
    put_number(out, "errors", stats->errors);
    put_number(out, "throttled", stats->throttled);
    put_number(out, "cold", stats->cold);
    put_number(out, "p50Us", stats->p50_us);
    put_number(out, "p99Us", stats->p99_us);
    put_number(out, "memory", stats->memory);
    put_number(out, "cpuUs", stats->cpu_us);
}

static const char *isolation_name(int isolation) {
    return isolation == ISOLATION_STRICT        ? "strict"
           : isolation == ISOLATION_ENVIRONMENT ? "environment"
                                                : "invocation";
}

/* --- answers ---------------------------------------------------------------------------------- */

char *registry_show_json(struct registry *registry, const struct entry *entry) {
    const struct function *function = &entry->function;
    struct json_out out = {0};
    struct pool_stats stats;
    (void)registry;
    read_stats(entry, &stats);
    json_put_text(&out, "{");
    put_string(&out, "name", entry->name);
    put_number(&out, "version", entry->number);
    put_string(&out, "digest", entry->digest);
    put_string(&out, "runtime", function_runtime_name(function->runtime));
    put_string(&out, "handler", function->handler ? function->handler : "");
    put_string(&out, "image", function->image);
    put_string(&out, "network", function->network == NETWORK_HOST ? "host" : "none");
    put_string(&out, "isolation", isolation_name(function->scale.isolation));
    put_section(&out, "limits", function);
    put_section(&out, "scale", function);
    put_names(&out, "environment", function->environment, function->environment_count);
    put_bool(&out, "up", stats.up);
    put_way(&out, &stats);
    put_string(&out, "why", stats.why);
    put_string(&out, "broken", stats.broken);
    put_slots(&out, &stats);
    put_number(&out, "queued", stats.queued);
    put_counts(&out, &stats);
    json_put_text(&out, "}");
    return put_end(&out);
}

static void put_listed(struct json_out *out, const struct entry *entry) {
    struct pool_stats stats;
    read_stats(entry, &stats);
    put_string(out, "name", entry->name);
    put_number(out, "version", entry->number);
    put_string(out, "digest", entry->digest);
    put_string(out, "runtime", function_runtime_name(entry->function.runtime));
    put_bool(out, "up", stats.up);
    put_way(out, &stats);
    put_number(out, "ready", stats.ready);
    put_number(out, "busy", stats.busy);
    put_number(out, "concurrency", entry->function.scale.concurrency);
    put_number(out, "calls", stats.calls);
    put_number(out, "errors", stats.errors);
    put_string(out, "broken", stats.broken);
}

static void put_top(struct json_out *out, const struct entry *entry) {
    struct pool_stats stats;
    read_stats(entry, &stats);
    put_string(out, "name", entry->name);
    put_bool(out, "up", stats.up);
    put_number(out, "busy", stats.busy);
    put_number(out, "queued", stats.queued);
    put_number(out, "ready", stats.ready);
    put_number(out, "slots", stats.slots);
    put_counts(out, &stats);
    put_string(out, "broken", stats.broken);
}

static char *all(struct registry *registry, struct json_out *out,
                 void (*put)(struct json_out *, const struct entry *)) {
    put_key(out, "functions");
    json_put_text(out, "[");
    for (const struct entry *entry = registry->entries; entry; entry = entry->next) {
        json_put_text(out, entry == registry->entries ? "{" : ",{");
        put(out, entry);
        json_put_text(out, "}");
    }
    json_put_text(out, "]}");
    return put_end(out);
}

char *registry_list_json(struct registry *registry) {
    struct json_out out = {0};
    json_put_text(&out, "{");
    return all(registry, &out, put_listed);
}

char *registry_top_json(struct registry *registry) {
    struct json_out out = {0};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_put_text(&out, "{");
    put_number(&out, "time", (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    return all(registry, &out, put_top);
}
