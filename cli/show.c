#include "cli/show.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/remote.h"
#include "cli/table.h"

#define COLUMNS(list) (list), sizeof(list) / sizeof *(list)

static int print_table(struct table *table, const char *none) {
    bool failed = table->failed;
    if (failed)
        fputs("fnrun: out of memory\n", stderr);
    else if (!table->used)
        fprintf(stderr, "%s\n", none);
    else
        table_print(table, stdout, table_may_colour(), 0, 0, false);
    table_end(table);
    int status = remote_printed();
    return failed ? ARGS_EXIT_BROKEN : status;
}

/* --- list ------------------------------------------------------------------------ */

static void add_listed(struct table *table, const cJSON *item) {
    const char *broken = remote_text(item, "broken"), *way = remote_text(item, "way");
    double errors = remote_number(item, "errors");
    bool up = remote_true(item, "up");
    table_cell(table, TABLE_PLAIN, "%s", remote_text(item, "name"));
    table_cell(table, TABLE_PLAIN, "%.0f", remote_number(item, "version"));
    table_cell(table, TABLE_PLAIN, "%s", remote_text(item, "runtime"));
    if (*broken)
        table_cell(table, TABLE_RED, "broken");
    else
        table_cell(table, up ? TABLE_GREEN : TABLE_DIM, up ? "up" : "idle");
    table_cell(table, TABLE_PLAIN, "%s",
               strcmp(way, "fork") == 0    ? "forked"
               : strcmp(way, "ahead") == 0 ? "ahead"
                                           : "-");
    table_cell(table, TABLE_PLAIN, "%.0f", remote_number(item, "ready"));
    table_cell(table, TABLE_PLAIN, "%.0f/%.0f", remote_number(item, "busy"),
               remote_number(item, "concurrency"));
    table_cell(table, TABLE_PLAIN, "%.0f", remote_number(item, "calls"));
    table_cell(table, errors > 0 ? TABLE_YELLOW : TABLE_PLAIN, "%.0f", errors);
}

int show_list(const struct args *args) {
    static const struct table_column columns[] = {
        {"FUNCTION", false}, {"VERSION", true}, {"RUNTIME", false},
        {"STATE", false},    {"WAY", false},    {"READY", true},
        {"BUSY", true},      {"CALLS", true},   {"ERRORS", true},
    };
    struct remote remote;
    struct table table;
    int status = remote_call(&remote, args, "GET", "functions");
    if (!status && args->json) {
        status = remote_print_body(&remote);
    } else if (!status) {
        table_begin(&table, COLUMNS(columns));
        for (const cJSON *item = remote_items(remote.json, "functions"); item; item = item->next)
            add_listed(&table, item);
        status = print_table(&table, "no function is deployed; `fnrun deploy DIR` deploys one");
    }
    remote_end(&remote);
    return status;
}

/* --- versions, usage --------------------------------------------------------------- */

static void add_version(struct table *table, const cJSON *item) {
    char date[TABLE_NUMBER];
    double number = remote_number(item, "version");
    bool current = remote_true(item, "current");
    table_cell(table, TABLE_PLAIN, "%.0f", number > 0 ? number : remote_number(item, "number"));
    table_cell(table, current ? TABLE_GREEN : TABLE_PLAIN, "%s", current ? "current" : "");
    table_cell(table, TABLE_PLAIN, "%s", table_date(remote_number(item, "created"), date));
    table_cell(table, TABLE_DIM, "%.12s", remote_text(item, "digest"));
}

int show_versions(const struct args *args) {
    static const struct table_column columns[] = {
        {"VERSION", true}, {"", false}, {"DEPLOYED", false}, {"DIGEST", false}};
    struct remote remote;
    struct table table;
    int status = remote_check_name(args->operand);
    if (status)
        return status;
    status = remote_call(&remote, args, "GET", "functions/%s/versions", args->operand);
    if (!status && args->json) {
        status = remote_print_body(&remote);
    } else if (!status) {
        table_begin(&table, COLUMNS(columns));
        for (const cJSON *item = remote_items(remote.json, "versions"); item; item = item->next)
            add_version(&table, item);
        status = print_table(&table, "it has no versions");
    }
    remote_end(&remote);
    return status;
}

static void add_record(struct table *table, const cJSON *item) {
    char text[TABLE_NUMBER];
    const char *outcome = remote_text(item, "outcome");
    bool good = strcmp(outcome, "Success") == 0;
    table_cell(table, TABLE_PLAIN, "%s", table_date(remote_number(item, "time") / 1000, text));
    table_cell(table, TABLE_DIM, "%s", remote_text(item, "requestId"));
    table_cell(table, TABLE_PLAIN, "%.0f", remote_number(item, "version"));
    table_cell(table, good ? TABLE_GREEN : TABLE_RED, "%s", outcome);
    table_cell(table, TABLE_PLAIN, "%s", remote_true(item, "cold") ? "cold" : "warm");
    table_cell(table, TABLE_PLAIN, "%s", table_time(remote_number(item, "initUs"), text));
    table_cell(table, TABLE_PLAIN, "%s", table_time(remote_number(item, "durationUs"), text));
    table_cell(table, TABLE_PLAIN, "%s", table_time(remote_number(item, "cpuUs"), text));
    table_cell(table, TABLE_PLAIN, "%s", table_size(remote_number(item, "peakMemory"), text));
    table_cell(table, TABLE_PLAIN, "%s", table_size(remote_number(item, "bytesIn"), text));
    table_cell(table, TABLE_PLAIN, "%s", table_size(remote_number(item, "bytesOut"), text));
}

/* Returns 0 where text is no number from 1 to 10,000. */
static unsigned long parse_limit(const char *text) {
    char *end;
    errno = 0;
    unsigned long limit = strtoul(text, &end, 10);
    return errno || *end || *text < '0' || *text > '9' || limit > 10000 ? 0 : limit;
}

int show_usage(const struct args *args) {
    static const struct table_column columns[] = {
        {"TIME", false},  {"REQUEST", false}, {"VERSION", true}, {"OUTCOME", false},
        {"START", false}, {"INIT", true},     {"WALL", true},    {"CPU", true},
        {"MEMORY", true}, {"IN", true},       {"OUT", true},
    };
    struct remote remote;
    struct table table;
    unsigned long limit = args->limit ? parse_limit(args->limit) : 20;
    int status = remote_check_name(args->operand);
    if (status)
        return status;
    if (!limit) {
        fprintf(stderr, "fnrun: --limit: expected a number from 1 to 10000, got '%.40s'\n",
                args->limit);
        return ARGS_EXIT_USAGE;
    }
    status =
        remote_call(&remote, args, "GET", "functions/%s/usage?limit=%lu", args->operand, limit);
    if (!status && args->json) {
        status = remote_print_body(&remote);
    } else if (!status) {
        table_begin(&table, COLUMNS(columns));
        for (const cJSON *item = remote_items(remote.json, "usage"); item; item = item->next)
            add_record(&table, item);
        status = print_table(&table, "it has not been called yet");
    }
    remote_end(&remote);
    return status;
}

/* --- show --------------------------------------------------------------------------- */

static void line(const char *key, const char *value) {
    if (*value)
        printf("%-12s  %s\n", key, value);
}

/* "memory 128M, timeout 3s, ..." */
static void line_of_values(const cJSON *json, const char *key) {
    bool first = true;
    for (const cJSON *item = remote_items(json, key); item; item = item->next) {
        char number[TABLE_NUMBER];
        const char *value = cJSON_GetStringValue(item);
        if (!value && !cJSON_IsNumber(item))
            continue;
        if (!value)
            snprintf(number, sizeof number, "%.0f", item->valuedouble);
        if (first)
            printf("%-12s  ", key);
        printf("%s%s%s%s", first ? "" : ", ", item->string ? item->string : "",
               item->string ? " " : "", value ? value : number);
        first = false;
    }
    if (!first)
        putchar('\n');
}

static void print_slots(const cJSON *json) {
    const cJSON *slots = cJSON_GetObjectItemCaseSensitive(json, "slots");
    printf("%-12s  %.0f ready, %.0f busy, %.0f in all; %.0f built, %.0f used again\n", "slots",
           remote_number(slots, "ready"), remote_number(slots, "busy"),
           remote_number(slots, "total"), remote_number(slots, "built"),
           remote_number(slots, "reused"));
    line_of_values(slots, "retired");
}

static void print_counts(const cJSON *json) {
    char p50[TABLE_NUMBER], p99[TABLE_NUMBER];
    double calls = remote_number(json, "calls");
    printf("%-12s  %.0f, %.0f failed, %.0f refused (too many at once), %.0f cold; %.0f wait now\n",
           "calls", calls, remote_number(json, "errors"), remote_number(json, "throttled"),
           remote_number(json, "cold"), remote_number(json, "queued"));
    if (calls > 0)
        printf("%-12s  p50 %s, p99 %s\n", "duration", table_time(remote_number(json, "p50Us"), p50),
               table_time(remote_number(json, "p99Us"), p99));
    printf("%-12s  %s\n", "memory", table_size(remote_number(json, "memory"), p50));
    printf("%-12s  %s\n", "cpu", table_time(remote_number(json, "cpuUs"), p50));
}

static void print_way(const cJSON *json) {
    const char *way = remote_text(json, "way"), *why = remote_text(json, "why");
    if (strcmp(way, "fork") == 0)
        line("way", "forked from a loaded process");
    else if (strcmp(way, "ahead") == 0)
        printf("%-12s  started ahead in each slot%s%s\n", "way", *why ? ": " : "", why);
    else
        line("way", "not known before it is up");
}

static void print_function(const cJSON *json) {
    bool colours = table_may_colour();
    const char *broken = remote_text(json, "broken");
    printf("%-12s  %s\n", "function", remote_text(json, "name"));
    printf("%-12s  %.0f (%.12s)\n", "version", remote_number(json, "version"),
           remote_text(json, "digest"));
    line("runtime", remote_text(json, "runtime"));
    line("handler", remote_text(json, "handler"));
    line("image", remote_text(json, "image"));
    line("network", remote_text(json, "network"));
    line("isolation", remote_text(json, "isolation"));
    line_of_values(json, "limits");
    line_of_values(json, "scale");
    line_of_values(json, "environment");
    if (*broken)
        printf("%-12s  %sbroken%s: %s\n", "state", colours ? "\033[31m" : "",
               colours ? "\033[0m" : "", broken);
    else
        line("state", remote_true(json, "up") ? "up" : "idle: the next call starts it");
    print_way(json);
    print_slots(json);
    print_counts(json);
}

int show_function(const struct args *args) {
    struct remote remote;
    int status = remote_check_name(args->operand);
    if (status)
        return status;
    status = remote_call(&remote, args, "GET", "functions/%s", args->operand);
    if (!status && args->json) {
        status = remote_print_body(&remote);
    } else if (!status) {
        print_function(remote.json);
        status = remote_printed();
    }
    remote_end(&remote);
    return status;
}
