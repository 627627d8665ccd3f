#include "runner/api.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "runner/api_core.h"

#define MAX_HEADERS 24
#define FUNCTIONS   "/fnrun/v1/functions"

static const struct api_route routes[] = {
    {"POST", "/2015-03-31/functions/", "/invocations", true, false, api_invoke_begin, api_invoke,
     api_invoke_gone},
    {"GET", FUNCTIONS, NULL, false, false, NULL, api_list, NULL},
    {"GET", FUNCTIONS "/", "", false, false, NULL, api_show, NULL},
    {"PUT", FUNCTIONS "/", "", false, false, api_deploy_begin, api_deploy, NULL},
    {"DELETE", FUNCTIONS "/", "", false, false, NULL, api_remove, NULL},
    {"GET", FUNCTIONS "/", "/versions", false, false, NULL, api_versions, NULL},
    {"POST", FUNCTIONS "/", "/rollback", false, false, NULL, api_rollback, NULL},
    {"GET", FUNCTIONS "/", "/logs", false, false, NULL, api_logs, NULL},
    {"GET", FUNCTIONS "/", "/usage", false, false, NULL, api_usage, NULL},
    {"GET", "/fnrun/v1/top", NULL, false, false, NULL, api_top, NULL},
    {"GET", "/fnrun/v1/health", NULL, false, true, NULL, api_health, NULL},
};
#define ROUTES (sizeof routes / sizeof *routes)

/* ---- answering ----------------------------------------------------------------------- */

void api_exchange_free(struct exchange *exchange) {
    if (exchange->free_data)
        exchange->free_data(exchange->data);
    free(exchange);
}

void api_reply(struct exchange *exchange, unsigned status, const char *const *headers, char *body,
               size_t length) {
    const char *all[MAX_HEADERS + 3] = {"X-Amzn-RequestId", exchange->request_id};
    struct http_request *request = exchange->request;
    for (size_t i = 0; headers && headers[i] && i < MAX_HEADERS; i++)
        all[i + 2] = headers[i];
    exchange->request = NULL;
    if (request) {
        http_set_data(request, NULL);
        http_reply(request, status, all, body, length, true);
    } else {
        free(body);
    }
    api_exchange_free(exchange);
}

void api_reply_json(struct exchange *exchange, char *body) {
    if (body)
        api_reply(exchange, 200, NULL, body, strlen(body));
    else
        api_refuse(exchange, 500, "ServiceException", "out of memory");
}

static void put_error(struct json_out *out, unsigned status, const char *reason,
                      const char *message) {
    json_put_text(out, "{\"Type\":");
    json_put_text(out, status >= 500 ? "\"Service\"" : "\"User\"");
    /* Lambda's own models read now the one, now the other. */
    json_put_text(out, ",\"Message\":");
    json_put_string(out, message, strlen(message));
    json_put_text(out, ",\"message\":");
    json_put_string(out, message, strlen(message));
    if (reason) {
        json_put_text(out, ",\"Reason\":");
        json_put_string(out, reason, strlen(reason));
    }
    json_put_text(out, "}");
}

static int refuse(struct exchange *exchange, unsigned status, const char *type, const char *reason,
                  bool retry, const char *message) {
    const char *headers[] = {"x-amzn-ErrorType", type, retry ? "Retry-After" : NULL, "1", NULL};
    struct json_out out = {0};
    put_error(&out, status, reason, message);
    if (out.failed)
        out.length = 0;
    api_reply(exchange, status, headers, out.data, out.length);
    return -EPERM;
}

int api_refuse(struct exchange *exchange, unsigned status, const char *type, const char *format,
               ...) {
    char message[1536];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return refuse(exchange, status, type, NULL, false, message);
}

int api_refuse_for_now(struct exchange *exchange, unsigned status, const char *type,
                       const char *reason, const char *message) {
    return refuse(exchange, status, type, reason, true, message);
}

struct entry *api_find(struct exchange *exchange) {
    struct entry *entry = registry_find(exchange->api->registry, exchange->name);
    if (!entry)
        api_refuse(exchange, 404, "ResourceNotFoundException",
                   "Function not found: arn:aws:lambda:us-east-1:000000000000:function:%s%s%s",
                   exchange->name, *exchange->qualifier ? ":" : "", exchange->qualifier);
    return entry;
}

/* ---- which and who ------------------------------------------------------------------- */

/* Whether the path is the route's; NAME within it. */
static bool path_fits(const struct api_route *route, const char *path, const char **name,
                      size_t *length) {
    size_t before = strlen(route->prefix), all = strlen(path);
    *name = NULL;
    if (!route->suffix)
        return strcmp(path, route->prefix) == 0;
    size_t after = strlen(route->suffix);
    if (all <= before + after || memcmp(path, route->prefix, before) != 0 ||
        strcmp(path + all - after, route->suffix) != 0)
        return false;
    *name = path + before;
    *length = all - before - after;
    return !memchr(*name, '/', *length);
}

static int find_route(struct exchange *exchange, struct http_request *request) {
    const char *path = http_path(request), *method = http_method(request), *name = NULL;
    size_t length = 0;
    bool known = false;
    for (size_t i = 0; i < ROUTES && !exchange->route; i++) {
        if (!path_fits(&routes[i], path, &name, &length))
            continue;
        known = true;
        if (strcmp(routes[i].method, method) == 0)
            exchange->route = &routes[i];
    }
    if (!known)
        return api_refuse(exchange, 404, "UnknownOperationException",
                          "there is nothing at this path");
    if (!exchange->route)
        return api_refuse(exchange, 405, "MethodNotAllowedException",
                          "%.16s is not possible for this path", method);
    if (name && !api_parse_name(name, length, exchange->name, exchange->qualifier))
        return api_refuse(exchange, 400, "InvalidParameterValueException",
                          "'%.*s' is no function name: 1 to 64 of A-Z a-z 0-9 - _, or an ARN",
                          length < 170 ? (int)length : 170, name);
    return 0;
}

static int check_right(struct exchange *exchange, struct http_request *request) {
    const struct http_peer *peer = http_peer(request);
    const struct api *api = exchange->api;
    if (exchange->route->anybody)
        return 0;
    if (peer->known && (peer->uid == 0 || peer->uid == getuid()))
        return 0;
    bool member = api->group != (gid_t)-1 && http_peer_in_group(request, api->group);
    if (member && exchange->route->invoking)
        return 0;
    if (member)
        return api_refuse(exchange, 403, "AccessDeniedException",
                          "the socket's group may invoke functions; this is for root and the "
                          "daemon's owner");
    return api_refuse(exchange, 403, "AccessDeniedException",
                      "user %ld is neither root, nor the daemon's owner, nor in the socket's group",
                      peer->known ? (long)peer->uid : -1L);
}

/* ---- the handler ---------------------------------------------------------------------- */

static struct exchange *exchange_new(struct api *api, struct http_request *request) {
    struct exchange *exchange = calloc(1, sizeof *exchange);
    if (!exchange)
        return NULL;
    exchange->api = api;
    exchange->request = request;
    request_id_make(exchange->request_id);
    http_set_data(request, exchange);
    return exchange;
}

static int64_t begin(void *owner, struct http_request *request, int *spool_to) {
    struct api *api = owner;
    struct exchange *exchange = exchange_new(api, request);
    if (!exchange)
        return -ENOMEM;
    int r = find_route(exchange, request);
    if (r == 0)
        r = check_right(exchange, request);
    if (r == 0 && api->stopping && !exchange->route->anybody)
        r = api_refuse_for_now(exchange, 503, "ServiceException", NULL, "fnrund is stopping");
    if (r < 0)
        return r;
    return exchange->route->begin ? exchange->route->begin(exchange, spool_to) : 0;
}

static void handle(void *owner, struct http_request *request) {
    struct exchange *exchange = http_data(request);
    (void)owner;
    exchange->route->handle(exchange);
}

static void gone(void *owner, struct http_request *request) {
    struct exchange *exchange = http_data(request);
    (void)owner;
    if (!exchange)
        return;
    exchange->request = NULL;
    /* What is under way frees it, perhaps in the call of gone already. */
    bool busy = exchange->busy;
    if (exchange->route->gone)
        exchange->route->gone(exchange, request);
    if (!busy)
        api_exchange_free(exchange);
}

static void refused(void *owner, struct http_request *request, unsigned status) {
    struct exchange *exchange = http_data(request);
    if (!exchange)
        exchange = exchange_new(owner, request);
    if (!exchange)
        return;
    if (status == 413)
        api_refuse(exchange, status, "RequestTooLargeException",
                   "the request's body is larger than what is allowed here (for events: "
                   "[limits] event of the function)");
    else if (status == 431)
        api_refuse(exchange, status, "InvalidParameterValueException",
                   "the request's headers are larger than 12 KiB");
    else if (status == 400)
        api_refuse(exchange, status, "InvalidRequestContentException",
                   "headers that do not say clearly where the body ends");
    else
        api_refuse(exchange, status, "ServiceException", "the request's body could not be kept");
}

const struct http_handler api_handler = {
    .begin = begin, .handle = handle, .gone = gone, .refuse = refused};
