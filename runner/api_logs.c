#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "isolate/cleanup.h"
#include "runner/api_core.h"
#include "runner/logbook.h"

static const char *const lines_type[] = {"Content-Type", "application/x-ndjson", NULL};

struct follow {
    struct exchange *exchange;
    struct logbook *book;
    struct logbook_follower *follower;
};

static void unfollow(void *data) {
    struct follow *follow = data;
    if (follow->follower)
        logbook_unfollow(follow->book, follow->follower);
    free(follow);
}

static void put_line(void *owner, const struct logbook_line *line) {
    struct json_out *out = owner;
    char time[48];
    snprintf(time, sizeof time, "{\"time\":%lld,\"requestId\":", (long long)line->time_us);
    json_put_text(out, time);
    json_put_string(out, line->request_id, strlen(line->request_id));
    json_put_text(out, ",\"message\":");
    json_put_string(out, line->text, line->length);
    json_put_text(out, "}\n");
}

static void push_line(void *owner, const struct logbook_line *line) {
    struct follow *follow = owner;
    struct json_out out = {0};
    put_line(&out, line);
    if (!out.failed && follow->exchange->request)
        http_push(follow->exchange->request, out.data, out.length);
    free(out.data);
}

/* The function is gone: there will be no more. */
static void ended(void *owner) {
    struct follow *follow = owner;
    struct exchange *exchange = follow->exchange;
    struct http_request *request = TAKE_PTR(exchange->request);
    if (request) {
        http_set_data(request, NULL);
        http_end(request);
    }
    api_exchange_free(exchange);
}

static void begin_following(struct exchange *exchange, struct logbook *book, const char *id,
                            struct json_out *lines) {
    const char *headers[] = {"Content-Type", "application/x-ndjson", "X-Amzn-RequestId",
                             exchange->request_id, NULL};
    struct follow *follow = calloc(1, sizeof *follow);
    if (follow) {
        follow->exchange = exchange;
        follow->book = book;
        follow->follower = logbook_follow(book, id, push_line, follow);
    }
    if (!follow || !follow->follower) {
        free(follow);
        api_refuse(exchange, 500, "ServiceException", "out of memory");
        return;
    }
    exchange->data = follow;
    exchange->free_data = unfollow;
    logbook_on_end(follow->follower, ended);
    http_stream(exchange->request, 200, headers);
    http_push(exchange->request, lines->data, lines->length);
}

void api_logs(struct exchange *exchange) {
    struct entry *entry = api_find(exchange);
    struct json_out out = {0};
    if (!entry)
        return;
    const char *since = http_query(exchange->request, "since"), *end = NULL;
    const char *id = http_query(exchange->request, "request_id");
    const char *follow = http_query(exchange->request, "follow");
    long long since_us = 0;
    errno = 0;
    if (since)
        since_us = strtoll(since, (char **)&end, 10);
    if (since && (!*since || *end || errno || since_us < 0)) {
        api_refuse(exchange, 400, "InvalidParameterValueException",
                   "since: microseconds since 1970, not '%.40s'", since);
        return;
    }
    logbook_read(entry->logs, since_us, id, put_line, &out);
    if (out.failed)
        api_refuse(exchange, 500, "ServiceException", "out of memory");
    else if (follow && strcmp(follow, "1") == 0)
        begin_following(exchange, entry->logs, id, &out);
    else {
        api_reply(exchange, 200, lines_type, out.data, out.length);
        return;
    }
    free(out.data);
}
