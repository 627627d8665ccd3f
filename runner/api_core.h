/* What the files of the API share. Internal to api*.c.
 *
 *   api.c         routes, who may, refusals
 *   api_name.c    a function's name, as Lambda lets it be written
 *   api_invoke.c  an event in, a result out
 *   api_report.c  what an answer says of its invocation: log, REPORT line, numbers
 *   api_manage.c  looking at functions, removing, rolling back
 *   api_deploy.c  an upload, unpacked and given to the registry
 *   api_logs.c    the log, also as it grows
 *
 * A request has one struct exchange, from its headers to its answer, or on to the end of what
 * it started where the client went away before (request is NULL then). */
#ifndef FNRUN_API_CORE_H
#define FNRUN_API_CORE_H

#include <cjson/cJSON.h>

#include "images/json.h"
#include "runner/api.h"
#include "runner/call.h"
#include "runner/outcome.h"

struct exchange;

struct api_route {
    const char *method;
    const char *prefix, *suffix; /* of the path, around NAME; suffix NULL: no name, prefix is all */
    bool invoking, anybody;      /* who may, beside those that administer */
    /* After the headers: bytes of body allowed, or negative, refused already. NULL: none. */
    int64_t (*begin)(struct exchange *exchange, int *spool_to);
    void (*handle)(struct exchange *exchange);
    /* The client is gone: exchange->request is NULL from here on. */
    void (*gone)(struct exchange *exchange, struct http_request *request);
};

struct exchange {
    struct api *api;
    struct http_request *request; /* NULL: the client is gone, or answered */
    bool busy; /* something is under way that will answer and free this, client or not */
    const struct api_route *route;
    char request_id[REQUEST_ID_SIZE];
    char name[65]; /* of the function; or "-" */
    char qualifier[129];
    void *data; /* the route's own */
    void (*free_data)(void *data);
};

/* Answers, where the client is still there, and frees the exchange. headers: further ones, or
 * NULL. body: malloc'ed, taken over. */
void api_reply(struct exchange *exchange, unsigned status, const char *const *headers, char *body,
               size_t length);
/* body NULL: out of memory, 500. */
void api_reply_json(struct exchange *exchange, char *body);
/* {"Type","Message"...}; Type by the status. Returns -EPERM, for begin. */
__attribute__((format(printf, 4, 5))) int api_refuse(struct exchange *exchange, unsigned status,
                                                     const char *type, const char *format, ...);
/* With 429's Reason, or NULL, and Retry-After: 1. */
int api_refuse_for_now(struct exchange *exchange, unsigned status, const char *type,
                       const char *reason, const char *message);
void api_exchange_free(struct exchange *exchange);

/* A path segment as Lambda's FunctionName. Fills name and qualifier ("": none). */
bool api_parse_name(const char *text, size_t length, char name[65], char qualifier[129]);
/* The function, or NULL after 404. */
struct entry *api_find(struct exchange *exchange);

/* api_invoke.c */
int64_t api_invoke_begin(struct exchange *exchange, int *spool_to);
void api_invoke(struct exchange *exchange);
void api_invoke_gone(struct exchange *exchange, struct http_request *request);

/* api_report.c; base64 of bytes is appended as it is, the other two zero-terminated. */
void api_put_base64(struct json_out *out, const char *bytes, size_t length);
long api_decode_base64(const char *text, char *to); /* bytes, or -1 */
void api_put_tail(struct json_out *out, const struct call *call, uint64_t memory_limit,
                  const char *version); /* X-Amz-Log-Result */
void api_put_numbers(struct json_out *out, const struct call *call, uint64_t memory_limit);

/* api_manage.c */
void api_list(struct exchange *exchange);
void api_show(struct exchange *exchange);
void api_remove(struct exchange *exchange);
void api_versions(struct exchange *exchange);
void api_rollback(struct exchange *exchange);
void api_usage(struct exchange *exchange);
void api_top(struct exchange *exchange);
void api_health(struct exchange *exchange);
/* done of registry_deploy and registry_rollback; owner: struct exchange. */
void api_deployed(void *owner, int outcome, const char *json);

/* api_deploy.c */
int64_t api_deploy_begin(struct exchange *exchange, int *spool_to);
void api_deploy(struct exchange *exchange);

/* api_logs.c */
void api_logs(struct exchange *exchange);

#endif
