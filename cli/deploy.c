#include "cli/deploy.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/pack.h"
#include "cli/remote.h"
#include "images/config_lines.h"
#include "isolate/cleanup.h"

#define NAME_SIZE 65

/* --- the function's name ------------------------------------------------------------ */

/* `name` of [function] in function.ini, where that says one. */
static bool name_from_ini(const char *path, bool zip, char name[NAME_SIZE]) {
    _cleanup_free_ char *text = pack_read_ini(path, zip);
    struct config_lines lines;
    struct config_line line;
    bool here = false, found = false;
    if (!text)
        return false;
    config_lines_start(&lines, text, strlen(text));
    while (config_lines_next(&lines, &line)) {
        if (line.kind == CONFIG_LINE_SECTION)
            here = strcmp(line.key, "function") == 0;
        if (line.kind != CONFIG_LINE_KEY || !here || strcmp(line.key, "name") != 0)
            continue;
        found = *line.value && strlen(line.value) < NAME_SIZE;
        if (found)
            strcpy(name, line.value);
    }
    return found;
}

/* From that of the folder or file, as a one-shot call makes it: without a file's ending,
 * and - for what a name may not have. */
static void name_from_path(const char *path, bool file, char name[NAME_SIZE]) {
    char real[PATH_MAX];
    if (!realpath(path, real))
        snprintf(real, sizeof real, "%s", path);
    const char *last = strrchr(real, '/') + 1;
    const char *dot = file ? strrchr(last, '.') : NULL;
    size_t length = dot && dot != last ? (size_t)(dot - last) : strlen(last);
    snprintf(name, NAME_SIZE, "%.*s", (int)(length < NAME_SIZE ? length : NAME_SIZE - 1),
             *last ? last : "function");
    static const char valid[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    for (char *p = name; *p; p++)
        if (!strchr(valid, *p))
            *p = '-';
}

/* What is wrong with a name in function.ini the daemon says, with its line: it gets the
 * folder's then. */
static int find_name(const struct args *args, bool file, bool zip, char name[NAME_SIZE]) {
    static const char valid[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    if (args->name) {
        int status = remote_check_name(args->name);
        if (!status)
            strcpy(name, args->name);
        return status ? ARGS_EXIT_USAGE : 0;
    }
    bool from_ini = (!file || zip) && name_from_ini(args->operand, zip, name);
    if (!from_ini || name[strspn(name, valid)])
        name_from_path(args->operand, file, name);
    return 0;
}

/* --- what the daemon says ------------------------------------------------------------- */

static void print_warnings(const cJSON *json) {
    for (const cJSON *item = remote_items(json, "warnings"); item; item = item->next)
        if (cJSON_IsString(item))
            fprintf(stderr, "warning: %s\n", item->valuestring);
}

/* "hello version 3 (0123456789ab): forked from a loaded process" */
static int print_served(const struct remote *remote) {
    const cJSON *json = remote->json;
    const char *way = remote_text(json, "way"), *why = remote_text(json, "why");
    const char *how = strcmp(way, "fork") == 0    ? "forked from a loaded process"
                      : strcmp(way, "ahead") == 0 ? "started ahead in each slot"
                                                  : "not up";
    if (remote->args->json)
        return remote_print_body(remote);
    if (remote->args->quiet)
        return ARGS_EXIT_OK;
    printf("%s version %.0f (%.12s): %s%s%s%s\n", remote_text(json, "name"),
           remote_number(json, "version"), remote_text(json, "digest"),
           remote_true(json, "unchanged") ? "nothing has changed; " : "", how, *why ? ": " : "",
           why);
    print_warnings(json);
    return remote_printed();
}

static void print_problems(const cJSON *json) {
    for (const cJSON *problem = remote_items(json, "problems"); problem; problem = problem->next) {
        const char *file = remote_text(problem, "file");
        double line = remote_number(problem, "line");
        if (*file && line > 0)
            fprintf(stderr, "%s:%.0f: ", file, line);
        else if (*file)
            fprintf(stderr, "%s: ", file);
        fprintf(stderr, "%s\n", remote_text(problem, "message"));
    }
}

/* The error object of a handler that could not be loaded, unless its log has said so. */
static void print_error(const cJSON *error, const char *log) {
    if (!cJSON_IsObject(error) || strstr(log, remote_text(error, "errorMessage")))
        return;
    fprintf(stderr, "%s: %s\n", remote_text(error, "errorType"),
            remote_text(error, "errorMessage"));
    for (const cJSON *line = remote_items(error, "stackTrace"); line; line = line->next)
        if (cJSON_IsString(line))
            fprintf(stderr, "    %s%s", line->valuestring,
                    strchr(line->valuestring, '\n') ? "" : "\n");
}

static void print_log(const char *log) {
    size_t length = strlen(log);
    fputs(log, stderr);
    if (length && log[length - 1] != '\n')
        fputc('\n', stderr);
}

/* A version that was refused: all that is known of it, the cause last. */
static int print_refused(struct remote *remote, const char *name) {
    const cJSON *json = remote->json;
    int status = remote->exchange.status;
    if (remote->args->json && json)
        remote_print_body(remote);
    print_problems(json);
    print_log(remote_text(json, "log"));
    print_error(cJSON_GetObjectItemCaseSensitive(json, "error"), remote_text(json, "log"));
    int code = remote_refused(remote);
    if (status == 400)
        fprintf(stderr, "fnrun: %s was not %s\n", name,
                remote->args->command == COMMAND_ROLLBACK ? "rolled back" : "deployed");
    return code;
}

static int take_answer(struct remote *remote, const char *name) {
    struct error err;
    if (http_receive(&remote->exchange, &err) < 0)
        return remote_broken(&err);
    int status = remote_read_all(remote);
    if (status)
        return status;
    return remote->exchange.status < 300 ? print_served(remote) : print_refused(remote, name);
}

/* --- deploy ------------------------------------------------------------------------------ */

struct upload {
    struct remote *remote;
    struct error err;
    bool answered; /* the daemon takes no more: its answer says why */
};

static int send_bytes(void *owner, const char *bytes, size_t length) {
    struct upload *upload = owner;
    int r = length ? http_send_chunk(&upload->remote->exchange, bytes, length, &upload->err) : 0;
    upload->answered = r == -EPIPE;
    return r;
}

/* Returns 0 when an answer can be expected, else the exit status. */
static int send_package(struct upload *upload, const char *path, bool zip) {
    struct error err = {0};
    int r =
        zip ? pack_file(path, send_bytes, upload, &err) : pack_tar(path, send_bytes, upload, &err);
    if (r == 0)
        r = http_send_chunk(&upload->remote->exchange, "", 0, &upload->err);
    if (r == 0 || upload->answered || r == -EPIPE)
        return 0;
    if (upload->err.code)
        return remote_broken(&upload->err);
    fprintf(stderr, "fnrun: %s\n", err.message);
    return r == -ENOMEM ? ARGS_EXIT_BROKEN : ARGS_EXIT_REFUSED;
}

int deploy_run(const struct args *args) {
    struct remote remote;
    struct upload upload = {.remote = &remote};
    struct stat found;
    char name[NAME_SIZE];
    if (stat(args->operand, &found) < 0) {
        fprintf(stderr, "fnrun: %s: %s%s\n", args->operand, strerror(errno),
                errno == ENOENT ? "; give the folder, file or .zip of a function" : "");
        return ARGS_EXIT_REFUSED;
    }
    bool file = !S_ISDIR(found.st_mode), zip = file && pack_is_zip(args->operand);
    int status = find_name(args, file, zip, name);
    if (status)
        return status;
    status = remote_connect(&remote, args);
    if (status)
        return status;
    status = remote_ask(&remote, "PUT",
                        zip ? "Content-Type: application/zip\r\nTransfer-Encoding: chunked\r\n"
                            : "Content-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n",
                        "functions/%s", name);
    if (!status)
        status = send_package(&upload, args->operand, zip);
    if (!status)
        status = take_answer(&remote, name);
    remote_end(&remote);
    return status;
}

/* --- rollback, remove ----------------------------------------------------------------------- */

/* Returns the number, 0 for none that is one. */
static unsigned long version_number(const char *text) {
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    return errno || *end || *text < '0' || *text > '9' ? 0 : number;
}

int deploy_rollback(const struct args *args) {
    struct remote remote;
    char query[48] = "";
    int status = remote_check_name(args->operand);
    if (status)
        return status;
    if (args->second) {
        unsigned long number = version_number(args->second);
        if (!number) {
            fprintf(stderr,
                    "fnrun: rollback: '%.40s' is no version; `fnrun versions %s` lists their "
                    "numbers\n",
                    args->second, args->operand);
            return ARGS_EXIT_USAGE;
        }
        snprintf(query, sizeof query, "?version=%lu", number);
    }
    status = remote_connect(&remote, args);
    if (!status)
        status = remote_ask(&remote, "POST", "Content-Length: 0\r\n", "functions/%s/rollback%s",
                            args->operand, query);
    if (!status)
        status = take_answer(&remote, args->operand);
    remote_end(&remote);
    return status;
}

int deploy_remove(const struct args *args) {
    struct remote remote;
    int status = remote_check_name(args->operand);
    if (status)
        return status;
    status = remote_call(&remote, args, "DELETE", "functions/%s", args->operand);
    if (!status && args->json)
        printf("{\"name\":\"%s\",\"removed\":true}\n", args->operand);
    else if (!status && !args->quiet)
        printf("%s is removed\n", args->operand);
    remote_end(&remote);
    return status ? status : remote_printed();
}
