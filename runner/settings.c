#include "runner/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images/config_table.h"
#include "images/config_value.h"
#include "isolate/cleanup.h"

#define K    (UINT64_C(1) << 10)
#define M    (UINT64_C(1) << 20)
#define G    (UINT64_C(1) << 30)
#define HOUR UINT64_C(3600000)

/* --- the table ------------------------------------------------------------------------- */

#define AT(member)      .offset = offsetof(struct settings, member)
#define RUNNER(name)    .section = "runner", .key = name
#define LIMIT(name)     .section = "limits", .key = name
#define RANGE(from, to) .minimum = (from), .maximum = (to)

static const struct config_row rows[] = {
    {RUNNER("store"), .type = CONFIG_PATH, AT(store),
     .help = "The folder of deployed functions and usage records. Default: /var/lib/fnrun as "
             "root, else $XDG_DATA_HOME/fnrun or ~/.local/share/fnrun."},
    {RUNNER("socket"), .type = CONFIG_PATH, AT(socket),
     .help = "Where fnrund listens; FNRUN_SOCKET in its environment goes before. Default: "
             "$XDG_RUNTIME_DIR/fnrun.sock, or /run/fnrun.sock."},
    {RUNNER("mode"), .type = CONFIG_MODE, RANGE(0600, 0777), .initial = "0660", AT(mode),
     .help = "The socket's permissions."},
    {RUNNER("group"), .type = CONFIG_NAME, AT(group),
     .help = "The socket's group, whose members may invoke functions. Default: none."},
    {RUNNER("user"), .type = CONFIG_NAME, .initial = "fnrun", AT(user),
     .help = "The user that fnrund becomes when root starts it."},
    {RUNNER("cgroup"), .type = CONFIG_TEXT, AT(cgroup),
     .help = "The control group below which those of functions are made, as --cgroup of fnrun(1) "
             "takes it. Default: fnrund's own."},
    {RUNNER("memory"), .type = CONFIG_SIZE, RANGE(16 * M, 1024 * 1024 * G), .zero_too = true,
     .initial = "0", AT(memory),
     .help = "Memory for all environments together, beyond which idle ones leave; 0 is what the "
             "machine has."},
    {RUNNER("stop"), .type = CONFIG_TIME, RANGE(0, HOUR), .initial = "30s", AT(stop_ms),
     .help = "How long invocations may go on after fnrund is told to stop."},
    {RUNNER("usage_days"), .type = CONFIG_COUNT, RANGE(0, 3650), .initial = "30", AT(usage_days),
     .help = "How long usage records are kept."},
    {RUNNER("logs"), .type = CONFIG_SIZE, RANGE(64 * K, G), .initial = "1M", AT(logs),
     .help = "How much of each function's log is kept in memory."},

    {LIMIT("memory"), .type = CONFIG_SIZE, RANGE(4 * M, 1024 * G), .initial = "1024G",
     AT(max_memory), .help = "The most memory that a function may ask for."},
    {LIMIT("timeout"), .type = CONFIG_TIME, RANGE(1, 24 * HOUR), .initial = "24h",
     AT(max_timeout_ms), .help = "The longest timeout that a function may ask for."},
    {LIMIT("concurrency"), .type = CONFIG_COUNT, RANGE(1, 10000), .initial = "10000",
     AT(max_concurrency), .help = "The most invocations at once that a function may ask for."},

    {.section = "defaults",
     .type = CONFIG_DEFAULT,
     AT(defaults),
     .count_offset = offsetof(struct settings, defaults_count),
     .help = "Any key of [limits] and [scale] of function.ini(5), but output and warmup: what "
             "holds for functions that do not say it."},
};

/* The keys of function.ini that [limits] bounds. */
static const struct bound {
    const char *section, *key;
    size_t offset; /* of the most, in struct settings */
} bounds[] = {
    {"limits", "memory", offsetof(struct settings, max_memory)},
    {"limits", "timeout", offsetof(struct settings, max_timeout_ms)},
    {"scale", "concurrency", offsetof(struct settings, max_concurrency)},
};
#define BOUNDS (sizeof bounds / sizeof *bounds)

static uint64_t most(const struct settings *settings, const struct bound *bound) {
    return *(const uint64_t *)((const char *)settings + bound->offset);
}

/* --- functions under it ------------------------------------------------------------------ */

/* The bit of function->said. */
static uint64_t bit_of(const struct config_row *row) {
    return UINT64_C(1) << (row - config_rows);
}

static void put_defaults(const struct settings *settings, struct function *function) {
    for (size_t i = 0; i < settings->defaults_count; i++) {
        char text[CONFIG_TEXT_SIZE];
        const char *key = strchr(settings->defaults[i].key, '.');
        const struct config_row *row = key ? config_find_default(key + 1) : NULL;
        /* The value has been checked by the same row when the file was read. */
        if (row && !(function->said & bit_of(row)))
            config_apply(row, row->key, settings->defaults[i].value, function, text);
    }
}

void settings_apply(const struct settings *settings, struct function *function,
                    struct config_problems *problems) {
    put_defaults(settings, function);
    for (const struct bound *bound = bounds; bound < bounds + BOUNDS; bound++) {
        const struct config_row *row =
            config_find(&config_function_table, bound->section, bound->key);
        uint64_t *value = (uint64_t *)((char *)function + row->offset);
        char limit[32], got[32];
        if (*value <= most(settings, bound))
            continue;
        config_number_text(row, most(settings, bound), limit, sizeof limit);
        config_number_text(row, *value, got, sizeof got);
        if (function->said & bit_of(row))
            config_problem(problems, "function.ini", 0,
                           "%s: at most %s on this machine ([limits] in fnrun.ini), got `%s`",
                           row->key, limit, got);
        else
            *value = most(settings, bound);
    }
    config_check_scale(function, "function.ini", 0, problems);
}

/* --- what holds between keys ---------------------------------------------------------------- */

static void check_bounds(const struct config_reading *reading,
                         unsigned (*line_of)(const struct config_reading *, const char *,
                                             const char *)) {
    const struct settings *settings = reading->object;
    struct function asked = {0};
    put_defaults(settings, &asked);
    for (const struct bound *bound = bounds; bound < bounds + BOUNDS; bound++) {
        const struct config_row *row =
            config_find(&config_function_table, bound->section, bound->key);
        uint64_t value = *(const uint64_t *)((const char *)&asked + row->offset);
        char limit[32], got[32];
        config_number_text(row, most(settings, bound), limit, sizeof limit);
        config_number_text(row, value, got, sizeof got);
        if (value > most(settings, bound))
            config_problem(reading->problems, reading->name, line_of(reading, "defaults", row->key),
                           "%s: at most %s, which is the %s of [limits], got `%s`", row->key, limit,
                           row->key, got);
    }
}

/* A function that says nothing must come out whole. */
static void together(const struct config_reading *reading,
                     unsigned (*line_of)(const struct config_reading *, const char *,
                                         const char *)) {
    const struct settings *settings = reading->object;
    struct function silent = {0};
    check_bounds(reading, line_of);
    config_defaults(&silent);
    put_defaults(settings, &silent);
    if (silent.scale.concurrency > settings->max_concurrency)
        silent.scale.concurrency = settings->max_concurrency;
    config_check_scale(&silent, reading->name, line_of(reading, "defaults", "provisioned"),
                       reading->problems);
    free(silent.image);
}

static const struct config_table table = {
    .file = "fnrun.ini",
    .where = "fnrun.ini(5) describes the keys",
    .rows = rows,
    .count = sizeof rows / sizeof *rows,
    .together = together,
};

/* --- reading --------------------------------------------------------------------------------- */

/* An absolute path of the environment, or NULL (as the XDG base directories want it). */
static const char *from_environment(const char *name) {
    const char *value = getenv(name);
    return value && *value == '/' ? value : NULL;
}

/* base/rest, or home/below/rest where base is not set; NULL where neither is known. */
static char *below(const char *base, const char *in_home, const char *rest) {
    const char *root = from_environment(base), *home = from_environment("HOME");
    char *path = NULL;
    int length = root               ? asprintf(&path, "%s/%s", root, rest)
                 : home && *in_home ? asprintf(&path, "%s/%s/%s", home, in_home, rest)
                                    : -1;
    return length < 0 ? NULL : path;
}

static char *usual_file(void) {
    return geteuid() == 0 ? strdup("/etc/fnrun/fnrun.ini")
                          : below("XDG_CONFIG_HOME", ".config", "fnrun/fnrun.ini");
}

/* What depends on who runs it. */
static int fill_in(struct settings *settings, struct error *err) {
    const char *socket = from_environment("FNRUN_SOCKET");
    if (!settings->store) {
        settings->store = geteuid() == 0 ? strdup("/var/lib/fnrun")
                                         : below("XDG_DATA_HOME", ".local/share", "fnrun");
        if (!settings->store)
            return error_set(err, -ENOENT,
                             "no place for the store: set HOME, or [runner] store in fnrun.ini");
    }
    if (socket) {
        free(settings->socket);
        settings->socket = strdup(socket);
    } else if (!settings->socket) {
        settings->socket = below("XDG_RUNTIME_DIR", "", "fnrun.sock");
        if (!settings->socket)
            settings->socket = strdup("/run/fnrun.sock");
    }
    return settings->socket && settings->user ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static int read_file(const char *path, bool optional, struct settings *settings,
                     struct config_problems *problems, struct error *err) {
    /* Not blocking: a fifo is found to be no file afterwards. */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && optional && (errno == ENOENT || errno == ENOTDIR))
        return 0;
    if (fd < 0)
        return error_set(err, -errno, "%s: %s", path, strerror(errno));
    return config_read_table(fd, path, &table, settings, problems, err);
}

int settings_load(const char *path, struct settings *settings, struct config_problems *problems,
                  struct error *err) {
    _cleanup_free_ char *usual = path ? NULL : usual_file();
    *settings = (struct settings){0};
    config_table_defaults(&table, settings);
    int r = 0;
    if (path || usual)
        r = read_file(path ? path : usual, !path, settings, problems, err);
    return r < 0 ? r : fill_in(settings, err);
}

int settings_check(const char *path, struct config_problems *problems, struct error *err) {
    struct settings settings = {0};
    config_table_defaults(&table, &settings);
    int r = read_file(path, false, &settings, problems, err);
    settings_free(&settings);
    return r;
}

void settings_free(struct settings *settings) {
    free(settings->store);
    free(settings->socket);
    free(settings->group);
    free(settings->user);
    free(settings->cgroup);
    for (size_t i = 0; i < settings->defaults_count; i++) {
        free(settings->defaults[i].key);
        free(settings->defaults[i].value);
    }
    free(settings->defaults);
    *settings = (struct settings){0};
}

/* --- reading again ------------------------------------------------------------------------------
 */

static bool same(const char *a, const char *b) {
    return a == b || (a && b && strcmp(a, b) == 0);
}

void settings_reload(struct settings *now, struct settings *next, char *text, size_t size) {
    const struct {
        const char *key;
        bool same;
    } fixed[] = {
        {"store", same(now->store, next->store)}, {"socket", same(now->socket, next->socket)},
        {"mode", now->mode == next->mode},        {"group", same(now->group, next->group)},
        {"user", same(now->user, next->user)},    {"cgroup", same(now->cgroup, next->cgroup)},
    };
    size_t used = 0;
    if (size)
        *text = 0;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed && used < size; i++)
        if (!fixed[i].same)
            used +=
                (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", fixed[i].key);
    now->memory = next->memory;
    now->stop_ms = next->stop_ms;
    now->usage_days = next->usage_days;
    now->logs = next->logs;
    now->max_memory = next->max_memory;
    now->max_timeout_ms = next->max_timeout_ms;
    now->max_concurrency = next->max_concurrency;
    struct function_pair *pairs = now->defaults;
    size_t count = now->defaults_count;
    now->defaults = next->defaults;
    now->defaults_count = next->defaults_count;
    next->defaults = pairs;
    next->defaults_count = count;
}

void settings_print_man(FILE *to) {
    config_table_man(&table, to);
}
