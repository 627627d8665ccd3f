/* The real API (runner/api*.c, http*.c, logbook.c) over a registry, pool, state and unpacker
 * that do what they are told, for test_api.py:
 *
 *   functions   hello (JSON), raw (raw output); [limits] event 100000
 *   an event    {"outcome":N, "result":any, "log":"text", "hold":true, "submit":-N}: how its
 *               call ends; "hold" leaves it until it is cancelled
 *   a package   "bad..." cannot be unpacked; "slow..." is told when /fnrun/v1/top is asked
 *
 * Usage: api_server PATH [GROUP]. Says on stdout what it was asked. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "runner/api.h"
#include "runner/logbook.h"
#include "runner/outcome.h"
#include "runner/package.h"

static sd_event *loop;
static struct entry hello = {.name = "hello", .number = 7}, raw = {.name = "raw", .number = 1};
static char store[200];

/* ---- pool ------------------------------------------------------------------------------- */

static char *print(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return item ? cJSON_PrintUnformatted(item) : NULL;
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

struct later {
    struct call *call;
    sd_event_source *source;
};

static int end_call(sd_event_source *source, void *owner) {
    struct later *later = owner;
    struct call *call = later->call;
    (void)source;
    sd_event_source_disable_unref(later->source);
    free(later);
    call->done(call);
    return 0;
}

static void end_later(struct call *call) {
    struct later *later = calloc(1, sizeof *later);
    later->call = call;
    sd_event_add_defer(loop, &later->source, end_call, later);
}

int pool_submit(struct pool *pool, struct call *call) {
    cJSON *event = cJSON_ParseWithLength(call->event, call->event_length);
    const cJSON *log = cJSON_GetObjectItemCaseSensitive(event, "log");
    int r = (int)number(event, "submit");
    (void)pool;
    printf("call timeout=%llu context=%s trace=%s usage=%d event=%.40s\n",
           (unsigned long long)call->timeout_ms, call->context ? call->context : "-",
           call->trace_id ? call->trace_id : "-", call->wants_usage, call->event);
    if (!r) {
        call->outcome = (int)number(event, "outcome");
        call->result = print(event, "result");
        call->result_length = call->result ? strlen(call->result) : 0;
        if (cJSON_IsString(log)) {
            call->log = strdup(log->valuestring);
            call->log_length = strlen(call->log);
        }
        call->cold = true;
        call->duration_us = 1234;
        call->init_us = 5678;
        call->cpu_us = 910;
        call->peak_memory = 9 << 20;
        if (!cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(event, "hold")))
            end_later(call);
    }
    cJSON_Delete(event);
    return r;
}

void pool_cancel(struct call *call) {
    printf("cancelled, event=%.*s\n", (int)call->event_length, call->event);
    call->outcome = OUTCOME_CLIENT_GONE;
    end_later(call);
}

void pool_read_stats(const struct pool *pool, struct pool_stats *stats) {
    (void)pool;
    *stats = (struct pool_stats){.broken = "it \"broke\""};
}

void call_free(struct call *call) {
    free(call->result);
    free(call->log);
}

/* ---- registry, state, unpacker ----------------------------------------------------------------
 */

struct registry;

struct entry *registry_find(struct registry *registry, const char *name) {
    (void)registry;
    return strcmp(name, "hello") == 0 ? &hello : strcmp(name, "raw") == 0 ? &raw : NULL;
}

static void (*slow_done)(void *owner, int outcome, const char *json);
static void *slow_owner;

char *registry_show_json(struct registry *registry, const struct entry *entry) {
    char *text = NULL;
    (void)registry;
    return asprintf(&text, "{\"name\":\"%s\"}", entry->name) < 0 ? NULL : text;
}
char *registry_list_json(struct registry *registry) {
    (void)registry;
    return strdup("{\"functions\":[]}");
}
char *registry_top_json(struct registry *registry) {
    (void)registry;
    if (slow_done)
        slow_done(slow_owner, OUTCOME_SUCCESS, "{\"name\":\"slow\"}");
    slow_done = NULL;
    return strdup("{\"time\":1}");
}

unsigned registry_status(int outcome, const char **error_type) {
    *error_type = outcome == OUTCOME_SUCCESS ? NULL : "InvalidParameterValueException";
    return outcome == OUTCOME_SUCCESS ? 200 : 400;
}

void registry_deploy(struct registry *registry, const char *folder, const char *name,
                     void (*done)(void *owner, int outcome, const char *json), void *owner) {
    (void)registry;
    printf("deploy %s as %s\n", strrchr(folder, '/') + 1, name ? name : "-");
    if (name && strcmp(name, "slow") == 0) {
        slow_done = done;
        slow_owner = owner;
    } else {
        done(owner, OUTCOME_SUCCESS, "{\"name\":\"deployed\"}");
    }
}

void registry_rollback(struct registry *registry, const char *name, uint64_t version,
                       void (*done)(void *owner, int outcome, const char *json), void *owner) {
    (void)registry;
    printf("rollback %s to %llu\n", name, (unsigned long long)version);
    done(owner, version == 9 ? OUTCOME_BAD_FUNCTION : OUTCOME_SUCCESS, "{\"version\":1}");
}

int registry_remove(struct registry *registry, const char *name, struct error *err) {
    (void)registry;
    if (strcmp(name, "hello") == 0)
        return 0;
    return strcmp(name, "raw") == 0 ? error_set(err, -EBUSY, "busy")
                                    : error_set(err, -ENOENT, "no %s", name);
}

const char *state_store(const struct state *state) {
    (void)state;
    return store;
}

long state_versions(struct state *state, const char *function, struct state_version **list,
                    struct error *err) {
    (void)state, (void)err;
    *list = calloc(1, sizeof **list);
    snprintf((*list)->function, sizeof(*list)->function, "%s", function);
    (*list)->number = 7;
    (*list)->created = 1700000000;
    (*list)->current = true;
    memset((*list)->digest, 'a', STATE_DIGEST);
    return 1;
}

char *state_usage_json(struct state *state, const char *function, unsigned limit,
                       struct error *err) {
    char *text = NULL;
    (void)state, (void)err;
    return asprintf(&text, "[\"%s\",%u]", function, limit) < 0 ? NULL : text;
}

struct unpack {
    sd_event_source *source;
    void (*done)(void *owner, int code, const char *text);
    void *owner;
    bool bad;
};

static int end_unpack(sd_event_source *source, void *owner) {
    struct unpack unpack = *(struct unpack *)owner;
    (void)source;
    sd_event_source_disable_unref(unpack.source);
    free(owner);
    unpack.done(unpack.owner, unpack.bad ? -EINVAL : 0, unpack.bad ? "no archive at all" : "");
    return 0;
}

int package_unpack(struct sd_event *event, const char *archive, const char *folder,
                   void (*done)(void *owner, int code, const char *text), void *owner,
                   struct error *err) {
    char start[4] = "";
    struct unpack *unpack = calloc(1, sizeof *unpack);
    FILE *file = fopen(archive, "r");
    (void)event, (void)err;
    if (!unpack || !file || !fgets(start, sizeof start, file))
        abort();
    fclose(file);
    printf("unpack %s to %s\n", start, folder);
    unpack->done = done;
    unpack->owner = owner;
    unpack->bad = strcmp(start, "bad") == 0;
    return sd_event_add_defer(loop, &unpack->source, end_unpack, unpack);
}

/* ---- the server ----------------------------------------------------------------------------- */

static int on_usr1(sd_event_source *source, const struct signalfd_siginfo *info, void *owner) {
    (void)source, (void)info, (void)owner;
    logbook_add(hello.logs, "id-2", "and more\n", 9);
    return 0;
}

static int on_usr2(sd_event_source *source, const struct signalfd_siginfo *info, void *owner) {
    struct api *api = owner;
    (void)source, (void)info;
    api->stopping = true;
    printf("stopping\n");
    return 0;
}

static int listen_on(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 100) < 0)
        return -1;
    chmod(path, 0666);
    return fd;
}

int main(int count, char **words) {
    static struct api api = {.group = (gid_t)-1};
    struct error err;
    sigset_t set;
    int fd = count > 1 ? listen_on(words[1]) : -1;
    if (fd < 0)
        return perror("listen"), 1;
    if (count > 2)
        api.group = (gid_t)atoi(words[2]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(store, sizeof store, "%s.store", words[1]);
    hello.function.limits.event = raw.function.limits.event = 100000;
    hello.function.limits.memory = raw.function.limits.memory = 128 << 20;
    raw.function.output = OUTPUT_RAW;
    hello.logs = logbook_new("hello", 1 << 20);
    logbook_add(hello.logs, "id-1", "one \"line\"\nand \xff\n", 17);
    logbook_add(hello.logs, "id-2", "two\n", 4);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (sd_event_new(&loop) < 0 || sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL) < 0 ||
        sd_event_add_signal(loop, NULL, SIGUSR1, on_usr1, NULL) < 0 ||
        sd_event_add_signal(loop, NULL, SIGUSR2, on_usr2, &api) < 0)
        return 1;
    api.loop = loop;
    struct http *http = http_new(loop, fd, &api_handler, &api, &err);
    if (!http)
        return fprintf(stderr, "%s\n", err.message), 1;
    printf("ready\n");
    int r = sd_event_loop(loop);
    http_free(http);
    logbook_free(hello.logs);
    sd_event_unref(loop);
    printf("freed\n");
    return r;
}
