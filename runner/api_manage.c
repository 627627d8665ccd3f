#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isolate/cleanup.h"
#include "runner/api_core.h"

#define USAGE_DEFAULT 100
#define USAGE_MOST    10000

/* A number from the query. Returns 1, 0 when it is not there, or negative after 400. */
static int read_number(struct exchange *exchange, const char *name, uint64_t most,
                       uint64_t *number) {
    const char *text = http_query(exchange->request, name);
    char *end = NULL;
    if (!text)
        return 0;
    errno = 0;
    *number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || *number > most)
        return api_refuse(exchange, 400, "InvalidParameterValueException",
                          "%s: a number from 0 to %llu, not '%.40s'", name,
                          (unsigned long long)most, text);
    return 1;
}

void api_list(struct exchange *exchange) {
    api_reply_json(exchange, registry_list_json(exchange->api->registry));
}

void api_show(struct exchange *exchange) {
    struct entry *entry = api_find(exchange);
    if (entry)
        api_reply_json(exchange, registry_show_json(exchange->api->registry, entry));
}

void api_top(struct exchange *exchange) {
    api_reply_json(exchange, registry_top_json(exchange->api->registry));
}

void api_health(struct exchange *exchange) {
    struct json_out out = {0};
    json_put_text(&out, "{\"status\":\"");
    json_put_text(&out, exchange->api->stopping ? "stopping" : "ok");
    json_put_text(&out, "\",\"version\":\"" PACKAGE_VERSION "\"}");
    json_put_raw(&out, "", 1);
    if (out.failed) {
        free(out.data);
        out.data = NULL;
    }
    api_reply_json(exchange, out.data);
}

void api_remove(struct exchange *exchange) {
    struct error err = {0};
    int r = registry_remove(exchange->api->registry, exchange->name, &err);
    if (r == -ENOENT)
        api_refuse(exchange, 404, "ResourceNotFoundException", "%s", err.message);
    else if (r == -EBUSY)
        api_refuse(exchange, 409, "ResourceConflictException", "%s", err.message);
    else if (r < 0)
        api_refuse(exchange, 500, "ServiceException", "%s", err.message);
    else
        api_reply(exchange, 204, NULL, NULL, 0);
}

/* ---- versions ------------------------------------------------------------------------- */

static char *print_versions(const struct state_version *list, long count) {
    cJSON *json = cJSON_CreateObject();
    cJSON *versions = cJSON_AddArrayToObject(json, "versions");
    for (long i = 0; i < count; i++) {
        cJSON *version = cJSON_CreateObject();
        cJSON_AddNumberToObject(version, "version", (double)list[i].number);
        cJSON_AddStringToObject(version, "digest", list[i].digest);
        cJSON_AddNumberToObject(version, "created", (double)list[i].created);
        cJSON_AddBoolToObject(version, "current", list[i].current);
        cJSON_AddItemToArray(versions, version);
    }
    char *text = versions ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    return text;
}

void api_versions(struct exchange *exchange) {
    _cleanup_free_ struct state_version *list = NULL;
    struct error err = {0};
    if (!api_find(exchange))
        return;
    long count = state_versions(exchange->api->state, exchange->name, &list, &err);
    if (count < 0)
        api_refuse(exchange, 500, "ServiceException", "%s", err.message);
    else
        api_reply_json(exchange, print_versions(list, count));
}

void api_deployed(void *owner, int outcome, const char *json) {
    struct exchange *exchange = owner;
    const char *type = NULL;
    unsigned status = registry_status(outcome, &type);
    const char *headers[] = {type ? "x-amzn-ErrorType" : NULL, type,
                             status == 429 || status == 503 ? "Retry-After" : NULL, "1", NULL};
    char *body = json ? strdup(json) : NULL;
    exchange->busy = false;
    if (body)
        api_reply(exchange, status, type ? headers : NULL, body, strlen(body));
    else
        api_refuse(exchange, 500, "ServiceException", "out of memory");
}

void api_rollback(struct exchange *exchange) {
    uint64_t number = 0;
    if (read_number(exchange, "version", INT64_MAX, &number) < 0 || !api_find(exchange))
        return;
    exchange->busy = true;
    registry_rollback(exchange->api->registry, exchange->name, number, api_deployed, exchange);
}

void api_usage(struct exchange *exchange) {
    struct error err = {0};
    uint64_t limit = USAGE_DEFAULT;
    if (read_number(exchange, "limit", USAGE_MOST, &limit) < 0)
        return;
    char *json = state_usage_json(exchange->api->state, exchange->name, (unsigned)limit, &err);
    if (json)
        api_reply_json(exchange, json);
    else
        api_refuse(exchange, 500, "ServiceException", "%s", err.message);
}
