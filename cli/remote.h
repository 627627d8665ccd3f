/* The daemon's management API for fnrun-manage: a request, its answer as JSON, and what a
 * refusal means for the exit status. */
#ifndef FNRUN_REMOTE_H
#define FNRUN_REMOTE_H

#include <cjson/cJSON.h>
#include <stdbool.h>

#include "cli/args.h"
#include "cli/http.h"

struct remote {
    const struct args *args;
    struct http_exchange exchange;
    char *body; /* of the answer, as it came; NULL before */
    size_t length;
    cJSON *json; /* body, when it is JSON */
};

/* Sends METHOD /fnrun/v1/PATH without a body and reads the whole answer. Returns 0 when that
 * is 200 to 299 (then json is there, but for 204); else the exit status, after having said
 * on stderr what is wrong. Call remote_end in every case. */
__attribute__((format(printf, 4, 5))) int remote_call(struct remote *remote,
                                                      const struct args *args, const char *method,
                                                      const char *path, ...);
void remote_end(struct remote *remote);

/* The steps of remote_call, for requests with a body and answers that go on: each returns 0,
 * or the exit status after having said why. */
int remote_connect(struct remote *remote, const struct args *args);
/* headers: further lines, each with \r\n. */
__attribute__((format(printf, 4, 5))) int remote_ask(struct remote *remote, const char *method,
                                                     const char *headers, const char *path, ...);
/* Status and headers. What is no success is read whole and told by remote_refused. */
int remote_receive(struct remote *remote);
int remote_read_all(struct remote *remote);
/* Says why the daemon refused (body and json are read); returns the exit status. */
int remote_refused(struct remote *remote);
/* Says what went wrong on the way; returns the exit status. */
int remote_broken(const struct error *err);

/* Whether text can be a function's name; says so where not. Returns 0 or the exit status. */
int remote_check_name(const char *text);

/* Prints the answer's body and a newline: --json. Returns the exit status. */
int remote_print_body(const struct remote *remote);
/* After the last output: ARGS_EXIT_OK, or ARGS_EXIT_BROKEN where stdout did not take it. */
int remote_printed(void);

/* Members of an object, with what stands for one that is not there or of another type. */
const char *remote_text(const cJSON *object, const char *key); /* "" */
double remote_number(const cJSON *object, const char *key);    /* 0 */
bool remote_true(const cJSON *object, const char *key);        /* false */
/* The first item of the list that member `key` of an object is, or the list itself where json
 * is one; the next is item->next. NULL at the end, or where there is no list. */
const cJSON *remote_items(const cJSON *json, const char *key);

#endif
