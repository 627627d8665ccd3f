#include "runner/check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "images/config.h"
#include "images/config_table.h"
#include "images/function.h"
#include "images/runtimes.h"
#include "images/json.h"
#include "runner/settings.h"

#define HOST_NETWORK                                                                               \
    "the machine's own: what listens on its loopback, and its abstract sockets, can be reached"

struct check {
    struct function function;
    struct config_problems problems;
    char remarks[4][sizeof((struct error *)0)->message];
    size_t remark_count;
    bool settings; /* it is the daemon's fnrun.ini */
};

static void remark(struct check *check, const char *text) {
    snprintf(check->remarks[check->remark_count++], sizeof check->remarks[0], "%s", text);
}

/* What would be refused by the same function that prepares a call: too large an
 * environment. A missing interpreter is the machine's lack, not the function's. */
static void check_plan(struct check *check) {
    struct runtime_plan plan = {0};
    struct error err = {0};
    const struct runtime_call call = {.request_id = "00000000-0000-4000-8000-000000000000",
                                      .version = "$LATEST",
                                      .log_stream = "check"};
    int r = runtime_plan(&check->function, &call, &plan, &err);
    runtime_plan_free(&plan);
    if (r == -ENOENT)
        remark(check, err.message);
    else if (r < 0)
        config_problem(&check->problems, check->function.path, 0, "%s", err.message);
}

/* Under a daemon all slots together may want more than there is. */
static void check_size(struct check *check) {
    const struct function *function = &check->function;
    struct sysinfo machine;
    char text[256];
    uint64_t most = function->limits.memory * function->scale.concurrency;
    if (sysinfo(&machine) < 0 || most <= (uint64_t)machine.totalram * machine.mem_unit)
        return;
    snprintf(text, sizeof text,
             "concurrency x memory is %" PRIu64 " MiB, more than this machine's %" PRIu64
             " MiB: calls may be refused or killed before concurrency is reached",
             most >> 20, ((uint64_t)machine.totalram * machine.mem_unit) >> 20);
    remark(check, text);
}

/* fnrun.ini by any name, but function.ini. */
static bool is_settings(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name);
    return length > 4 && strcmp(name + length - 4, ".ini") == 0 &&
           strcmp(name, "function.ini") != 0;
}

static int load_settings(struct check *check, const char *path) {
    struct error err = {0};
    int r = settings_check(path, &check->problems, &err);
    if (r < 0 && !check->problems.count)
        config_problem(&check->problems, NULL, 0, "%s", err.message);
    return check->problems.count ? ARGS_EXIT_REFUSED : 0;
}

/* Loads and looks at everything. Returns the exit status; when it is not 0 there is a
 * problem that says why. */
static int load(struct check *check, const char *path) {
    struct error err = {0};
    char text[512];
    int r = function_load(path, &check->function, &check->problems, &err);
    if (r == 0)
        check_plan(check);
    if (check->problems.count && r != -ENOMEM)
        return ARGS_EXIT_REFUSED;
    if (r < 0) {
        config_problem(&check->problems, NULL, 0, "%s", err.message);
        return r == -ENOMEM || r == -EIO ? ARGS_EXIT_BROKEN : ARGS_EXIT_REFUSED;
    }
    check_size(check);
    if (function_remark(&check->function, text, sizeof text))
        remark(check, text);
    if (check->function.secrets_count)
        remark(check, "[secrets] are given by the daemon only: `fnrun invoke` of this path will "
                      "refuse them");
    return 0;
}

/* --- for a person --------------------------------------------------------------------------- */

static void print_table(const struct function *function) {
    printf("%-10s  %s\n", "name", function->name);
    printf("%-10s  %s\n", "runtime", function_runtime_name(function->runtime));
    printf("%-10s  %s\n", "handler", function->handler);
    for (size_t i = 0; i < config_row_count; i++) {
        char text[64];
        if (strcmp(config_rows[i].section, "limits") != 0)
            continue;
        config_value_text(&config_rows[i], function, text, sizeof text);
        printf("%-10s  %s\n", config_rows[i].key, text);
    }
    printf("%-10s  %s\n", "network",
           function->network == NETWORK_HOST ? "host: " HOST_NETWORK
                                             : "none: a loopback of its own");
}

static void print_text(const struct check *check, bool quiet) {
    config_problems_print(&check->problems, stderr);
    for (size_t i = 0; i < check->remark_count && !quiet; i++)
        fprintf(stderr, "remark: %s\n", check->remarks[i]);
    if (check->problems.count && !quiet)
        fprintf(stderr, "%zu problem%s\n", check->problems.count,
                check->problems.count == 1 ? "" : "s");
    if (check->problems.count || quiet)
        return;
    if (check->settings)
        puts("nothing is wrong with it");
    else
        print_table(&check->function);
}

/* --- for a program -------------------------------------------------------------------------- */

/* ,"key": or, as the first member, "key": */
static void put_key(struct json_out *out, const char *key) {
    char last = out->length ? out->data[out->length - 1] : '{';
    if (last != '{' && last != '[')
        json_put_text(out, ",");
    json_put_string(out, key, strlen(key));
    json_put_text(out, ":");
}

static void put_string(struct json_out *out, const char *key, const char *value) {
    put_key(out, key);
    if (value)
        json_put_string(out, value, strlen(value));
    else
        json_put_text(out, "null");
}

static void put_problems(struct json_out *out, const struct config_problems *problems) {
    char line[16];
    put_key(out, "problems");
    json_put_text(out, "[");
    for (size_t i = 0; problems->items && i < problems->count; i++) {
        const struct config_problem *problem = &problems->items[i];
        json_put_text(out, i ? ",{" : "{");
        put_string(out, "file", problem->file);
        put_key(out, "line");
        snprintf(line, sizeof line, "%u", problem->line);
        json_put_text(out, problem->line ? line : "null");
        put_string(out, "message", problem->text ? problem->text : "out of memory");
        json_put_text(out, "}");
    }
    json_put_text(out, "]");
}

static void put_function(struct json_out *out, const struct function *function) {
    json_put_text(out, "{");
    put_string(out, "name", function->name);
    put_string(out, "runtime", function_runtime_name(function->runtime));
    put_string(out, "handler", function->handler);
    put_string(out, "image", function->image);
    put_string(out, "path", function->path);
    put_string(out, "network", function->network == NETWORK_HOST ? "host" : "none");
    if (function->network == NETWORK_HOST)
        put_string(out, "networkExposes", HOST_NETWORK);
    put_key(out, "limits");
    json_put_text(out, "{");
    for (size_t i = 0; i < config_row_count; i++) {
        char text[64];
        if (strcmp(config_rows[i].section, "limits") != 0)
            continue;
        config_value_text(&config_rows[i], function, text, sizeof text);
        put_string(out, config_rows[i].key, text);
    }
    json_put_text(out, "}");
    put_key(out, "environment");
    json_put_text(out, "[");
    for (size_t i = 0; i < function->environment_count; i++) {
        const char *key = function->environment[i].key;
        json_put_text(out, i ? "," : "");
        json_put_string(out, key, strlen(key));
    }
    json_put_text(out, "]}");
}

static void print_json(const struct check *check) {
    struct json_out out = {0};
    bool ok = !check->problems.count;
    json_put_text(&out, "{");
    put_key(&out, "ok");
    json_put_text(&out, ok ? "true" : "false");
    put_problems(&out, &check->problems);
    put_key(&out, "remarks");
    json_put_text(&out, "[");
    for (size_t i = 0; i < check->remark_count; i++) {
        json_put_text(&out, i ? "," : "");
        json_put_string(&out, check->remarks[i], strlen(check->remarks[i]));
    }
    json_put_text(&out, "]");
    put_key(&out, "function");
    if (ok && !check->settings)
        put_function(&out, &check->function);
    else
        json_put_text(&out, "null");
    json_put_text(&out, "}\n");
    if (!out.failed)
        fwrite(out.data, 1, out.length, stdout);
    else
        fputs("fnrun: out of memory\n", stderr);
    free(out.data);
}

int check_run(const struct args *args) {
    struct check check = {0};
    if (!args->operand) {
        fputs("fnrun: check needs the folder of a function, or the daemon's fnrun.ini: fnrun check "
              "DIR\n",
              stderr);
        return ARGS_EXIT_USAGE;
    }
    check.settings = is_settings(args->operand);
    int code = check.settings ? load_settings(&check, args->operand) : load(&check, args->operand);
    if (args->json)
        print_json(&check);
    else
        print_text(&check, args->quiet);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "fnrun: stdout cannot be written: %s\n", strerror(errno));
        code = ARGS_EXIT_BROKEN;
    }
    config_problems_free(&check.problems);
    function_free(&check.function);
    return code;
}
