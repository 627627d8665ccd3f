#include "cli/findings_daemon.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "cli/connect.h"
#include "cli/http.h"
#include "cli/remote.h"

#define PATIENCE_S 2
#define ANSWER_MAX ((size_t)64 << 20)

/* GET path. Returns the HTTP status with *json (NULL: none), or a negative errno with err. */
static int ask(const char *socket, const char *path, cJSON **json, struct error *err) {
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    struct http_exchange exchange;
    char head[128], *body;
    size_t length;
    *json = NULL;
    int fd = connect_daemon(socket, err);
    if (fd < 0)
        return fd;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    http_begin(&exchange, fd);
    int used = snprintf(head, sizeof head, "GET %s HTTP/1.1\r\nHost: fnrun\r\n\r\n", path);
    int r = http_send(&exchange, head, (size_t)used, NULL, 0, err);
    if (r == 0)
        r = http_receive(&exchange, err);
    if (r == 0)
        r = http_read_all(&exchange, ANSWER_MAX, &body, &length, err);
    if (r == 0) {
        *json = cJSON_ParseWithLength(body, length);
        r = exchange.status;
    }
    http_end(&exchange);
    return r;
}

static void not_there(struct finding *item, const char *path, const struct error *err) {
    item->state = FINDING_MISSING;
    if (err->code == -EACCES) {
        snprintf(item->detail, sizeof item->detail, "%s is not for this user", path);
        snprintf(item->hint, sizeof item->hint,
                 "only for deployed functions: join the group of %s (ls -l shows it)", path);
    } else if (err->code == -ENOENT || err->code == -ECONNREFUSED) {
        snprintf(item->detail, sizeof item->detail, "not running: nothing listens on %s", path);
        snprintf(item->hint, sizeof item->hint,
                 "only for deployed functions: start it with `fnrund &`, or with `systemctl start "
                 "fnrund`");
    } else {
        snprintf(item->detail, sizeof item->detail, "something listens on %s, but does not answer",
                 path);
        snprintf(item->hint, sizeof item->hint, "%.1000s", err->message);
    }
}

/* Who may not list may at most invoke. */
static void look_at_rights(struct finding *item, const char *socket) {
    struct error err;
    cJSON *json;
    int status = ask(socket, "/fnrun/v1/functions", &json, &err);
    size_t used = strlen(item->detail);
    const cJSON *functions = cJSON_GetObjectItemCaseSensitive(json, "functions");
    if (status == 200) {
        int count = cJSON_GetArraySize(functions);
        snprintf(item->detail + used, sizeof item->detail - used,
                 ", %d function%s; this user may manage them", count, count == 1 ? "" : "s");
    } else if (status == 403) {
        snprintf(item->detail + used, sizeof item->detail - used,
                 "; this user may not manage functions");
        item->state = FINDING_WEAKER;
        snprintf(item->hint, sizeof item->hint,
                 "root and the daemon's owner manage, the socket's group invokes: ask one of them");
    }
    cJSON_Delete(json);
}

void findings_look_at_daemon(struct findings *findings, const char *socket) {
    struct finding *item = findings_add(findings, "daemon", false);
    struct error err = {0};
    char path[128];
    cJSON *json;
    snprintf(path, sizeof path, "%s", connect_path(socket));
    int status = ask(socket, "/fnrun/v1/health", &json, &err);
    if (status == 200 && cJSON_IsObject(json)) {
        const char *version = remote_text(json, "version"), *how = remote_text(json, "status");
        snprintf(item->detail, sizeof item->detail, "fnrund %.40s answers on %s%s", version, path,
                 strcmp(how, "ok") == 0 ? "" : ", and is stopping");
        look_at_rights(item, socket);
    } else if (status >= 0) {
        error_set(&err, -EPROTO, "it answered %d without its health: is that fnrund?", status);
        not_there(item, path, &err);
    } else {
        not_there(item, path, &err);
    }
    cJSON_Delete(json);
}
