#include "cli/remote.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/connect.h"

#define ANSWER_MAX ((size_t)64 << 20)
#define PATH_SIZE  512

int remote_broken(const struct error *err) {
    fprintf(stderr, "fnrun: %s\n", err->message);
    return err->code == -EACCES ? ARGS_EXIT_BUSY : ARGS_EXIT_BROKEN;
}

int remote_connect(struct remote *remote, const struct args *args) {
    struct error err;
    int fd = connect_daemon(args->socket, &err);
    *remote = (struct remote){.args = args, .exchange.fd = -EBADF};
    if (fd < 0)
        return remote_broken(&err);
    http_begin(&remote->exchange, fd);
    return 0;
}

void remote_end(struct remote *remote) {
    cJSON_Delete(remote->json);
    remote->json = NULL;
    http_end(&remote->exchange);
}

static int send_request(struct remote *remote, const char *method, const char *headers,
                        const char *format, va_list values) {
    char path[PATH_SIZE], head[PATH_SIZE + 256];
    struct error err;
    vsnprintf(path, sizeof path, format, values);
    int length = snprintf(head, sizeof head, "%s /fnrun/v1/%s HTTP/1.1\r\nHost: fnrun\r\n%s\r\n",
                          method, path, headers);
    if (length < 0 || (size_t)length >= sizeof head) {
        error_set(&err, -E2BIG, "the request is too long");
        return remote_broken(&err);
    }
    return http_send(&remote->exchange, head, (size_t)length, NULL, 0, &err) < 0
               ? remote_broken(&err)
               : 0;
}

int remote_ask(struct remote *remote, const char *method, const char *headers, const char *path,
               ...) {
    va_list values;
    va_start(values, path);
    int status = send_request(remote, method, headers, path, values);
    va_end(values);
    return status;
}

int remote_read_all(struct remote *remote) {
    struct error err;
    if (http_read_all(&remote->exchange, ANSWER_MAX, &remote->body, &remote->length, &err) < 0)
        return remote_broken(&err);
    remote->json = cJSON_ParseWithLength(remote->body, remote->length);
    bool good = remote->exchange.status < 300;
    if (good && !remote->json && remote->exchange.status != 204) {
        error_set(&err, -EPROTO, "the daemon's answer cannot be understood: it is not JSON");
        return remote_broken(&err);
    }
    return 0;
}

int remote_receive(struct remote *remote) {
    struct error err;
    if (http_receive(&remote->exchange, &err) < 0)
        return remote_broken(&err);
    if (remote->exchange.status < 300)
        return 0;
    int status = remote_read_all(remote);
    return status ? status : remote_refused(remote);
}

int remote_call(struct remote *remote, const struct args *args, const char *method,
                const char *path, ...) {
    int status = remote_connect(remote, args);
    if (status)
        return status;
    va_list values;
    va_start(values, path);
    bool body = strcmp(method, "GET") != 0 && strcmp(method, "DELETE") != 0;
    status = send_request(remote, method, body ? "Content-Length: 0\r\n" : "", path, values);
    va_end(values);
    if (!status)
        status = remote_receive(remote);
    return status ? status : remote_read_all(remote);
}

/* --- what a refusal says ------------------------------------------------------------ */

/* What to do about it, where the daemon's words cannot know. */
static const char *advice(const struct remote *remote) {
    switch (remote->exchange.status) {
    case 403:
        return " (root and the daemon's owner may; members of the socket's group may only invoke)";
    case 404: /* of a version that is not there the daemon says it itself */
        return remote->args->second ? "" : " (`fnrun list` has all functions)";
    default:
        return "";
    }
}

static int exit_status(int status) {
    if (status == 403 || status == 409 || status == 429)
        return ARGS_EXIT_BUSY;
    return status >= 400 && status < 500 ? ARGS_EXIT_REFUSED : ARGS_EXIT_BROKEN;
}

int remote_refused(struct remote *remote) {
    int status = remote->exchange.status;
    const char *message = remote_text(remote->json, "Message");
    const char *type = http_answer_header(&remote->exchange, "x-amzn-ErrorType");
    const char *retry = http_answer_header(&remote->exchange, "Retry-After");
    if (!*message)
        message = remote_text(remote->json, "message");
    if (*message)
        fprintf(stderr, "fnrun: %s%s%s%s", type ? type : "", type ? ": " : "", message,
                advice(remote));
    else
        fprintf(stderr, "fnrun: the daemon answered %d without saying why%s", status,
                advice(remote));
    fprintf(stderr, retry ? "; try again in %s s\n" : "\n", retry);
    return exit_status(status);
}

/* --- small things ------------------------------------------------------------------- */

int remote_check_name(const char *text) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t length = strspn(text, letters);
    if (length >= 1 && length <= 64 && !text[length])
        return 0;
    fprintf(stderr,
            "fnrun: '%.80s' cannot be the name of a function: those have 1 to 64 letters, digits, "
            "- and _\n",
            text);
    return ARGS_EXIT_REFUSED;
}

int remote_printed(void) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return ARGS_EXIT_OK;
    fprintf(stderr, "fnrun: cannot write to stdout: %s\n", strerror(errno));
    return ARGS_EXIT_BROKEN;
}

int remote_print_body(const struct remote *remote) {
    fwrite(remote->body, 1, remote->length, stdout);
    if (!remote->length || remote->body[remote->length - 1] != '\n')
        putchar('\n');
    return remote_printed();
}

const char *remote_text(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

double remote_number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

bool remote_true(const cJSON *object, const char *key) {
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(object, key));
}

const cJSON *remote_items(const cJSON *json, const char *key) {
    const cJSON *list = cJSON_IsArray(json) ? json : cJSON_GetObjectItemCaseSensitive(json, key);
    return cJSON_IsArray(list) || cJSON_IsObject(list) ? list->child : NULL;
}
