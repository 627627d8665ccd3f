#include "images/config_table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "images/config.h"
#include "images/function.h"
#include "images/near.h"

#define K      (UINT64_C(1) << 10)
#define M      (UINT64_C(1) << 20)
#define G      (UINT64_C(1) << 30)
#define SECOND UINT64_C(1000)
#define HOUR   (3600 * SECOND)

static const struct config_word runtimes[] = {
    {"python", RUNTIME_PYTHON, NULL},
    {"node", RUNTIME_NODE, NULL},
    {"native", RUNTIME_NATIVE, NULL},
    {"exec", RUNTIME_EXEC, NULL},
    {"provided", 0,
     "`provided` is not supported yet; a program that reads the event from stdin runs as exec"},
    {NULL, 0, NULL},
};
static const struct config_word outputs[] = {
    {"json", OUTPUT_JSON, NULL},
    {"raw", OUTPUT_RAW, NULL},
    {NULL, 0, NULL},
};
static const struct config_word isolations[] = {
    {"invocation", ISOLATION_INVOCATION, NULL},
    {"strict", ISOLATION_STRICT, NULL},
    {"environment", ISOLATION_ENVIRONMENT, NULL},
    {NULL, 0, NULL},
};
static const struct config_word networks[] = {
    {"none", NETWORK_NONE, NULL},
    {"host", NETWORK_HOST, NULL},
    {"outbound", 0, "`outbound` is not supported yet; none or host"},
    {NULL, 0, NULL},
};

#define AT(member)      .offset = offsetof(struct function, member)
#define LIMIT(name)     .section = "limits", .key = name
#define SCALE(name)     .section = "scale", .key = name
#define RANGE(from, to) .minimum = (from), .maximum = (to)

const struct config_row config_rows[] = {
    {.section = "function",
     .key = "name",
     .type = CONFIG_NAME,
     AT(name),
     .help = "The function's name: 1 to 64 letters, digits, - and _. Default: made from the "
             "folder's or file's name."},
    {.section = "function",
     .key = "runtime",
     .type = CONFIG_WORD,
     .words = runtimes,
     AT(runtime),
     .help = "How the code is loaded and called. Default: told by the files in the folder."},
    {.section = "function",
     .key = "handler",
     .type = CONFIG_TEXT,
     AT(handler),
     .help = "What is called: module.function (python), file.export (node), file.so or "
             "file.so:symbol (native), the executable (exec). Default: told by the files."},
    {.section = "function",
     .key = "image",
     .type = CONFIG_CHOICE,
     .initial = "host",
     AT(image),
     .words = (const struct config_word[]){{"host", 0, NULL}, {NULL, 0, NULL}},
     .help = "The read-only root file system; host is the machine's own /usr."},

    {LIMIT("memory"), .type = CONFIG_SIZE, RANGE(4 * M, 1024 * G), .initial = "128M",
     AT(limits.memory),
     .help = "Memory of everything in the sandbox together, swap and /tmp included."},
    {LIMIT("timeout"), .type = CONFIG_TIME, RANGE(1, 24 * HOUR), .initial = "3s",
     AT(limits.timeout_ms), .help = "The time the handler has for one event."},
    {LIMIT("cpu"), .type = CONFIG_CORES, RANGE(10, 1024 * 1000), .initial = "1.0",
     AT(limits.cpu_milli), .help = "Processor time: cores, parts of one included."},
    {LIMIT("processes"), .type = CONFIG_COUNT, RANGE(1, 100000), .initial = "64",
     AT(limits.processes), .help = "Processes and threads at once."},
    {LIMIT("init"), .type = CONFIG_TIME, RANGE(1, HOUR), .initial = "10s", AT(limits.init_ms),
     .help = "The time for loading the handler, apart from its own."},
    {LIMIT("tmp"), .type = CONFIG_SIZE, RANGE(64 * K, 1024 * G), .zero_too = true, .initial = "64M",
     AT(limits.tmp),
     .help = "Size of /tmp and /dev/shm together; what is in them counts as memory."},
    {LIMIT("files"), .type = CONFIG_COUNT, RANGE(16, 1048576), .initial = "256", AT(limits.files),
     .help = "Open descriptors of each process."},
    {LIMIT("output"), .type = CONFIG_WORD, .words = outputs, .initial = "json", AT(output),
     .help = "What the result of an exec function is: JSON (anything else becomes a JSON "
             "string), or raw bytes."},
    {LIMIT("event"), .type = CONFIG_SIZE, RANGE(K, G), .initial = "6M", AT(limits.event),
     .help = "The largest event."},
    {LIMIT("response"), .type = CONFIG_SIZE, RANGE(K, G), .initial = "6M", AT(limits.response),
     .help = "The largest result."},
    {LIMIT("logs"), .type = CONFIG_SIZE, RANGE(0, G), .initial = "1M", AT(limits.logs),
     .help = "How much of one invocation's log is kept."},

    {SCALE("provisioned"), .type = CONFIG_COUNT, RANGE(0, 10000), .initial = "0",
     AT(scale.provisioned), .help = "Slots that are kept ready for ever."},
    {SCALE("concurrency"), .type = CONFIG_COUNT, RANGE(1, 10000), .initial = "16",
     AT(scale.concurrency), .help = "Invocations at once; more are refused."},
    {SCALE("keep_alive"), .type = CONFIG_TIME, RANGE(0, 30 * 24 * HOUR), .initial = "10m",
     AT(scale.keep_alive_ms), .help = "An environment that is idle for so long is dropped."},
    {SCALE("isolation"), .type = CONFIG_WORD, .words = isolations, .initial = "invocation",
     AT(scale.isolation),
     .help = "invocation (a new process for each event in a cleaned slot), strict (each slot is "
             "used once), environment (the process is reused, as on AWS Lambda)."},
    {SCALE("prestart"), .type = CONFIG_SWITCH, .initial = "no", AT(scale.prestart),
     .help = "Start an exec function ahead, waiting on stdin for its event."},
    {SCALE("warmup"), .type = CONFIG_FILE, AT(scale.warmup),
     .help = "A file in the folder with events that are run before the freeze (python, node)."},

    {.section = "environment",
     .type = CONFIG_PAIRS,
     AT(environment),
     .count_offset = offsetof(struct function, environment_count),
     .help = "Any NAME = value: a variable of the function's environment."},
    {.section = "secrets",
     .type = CONFIG_PAIRS,
     AT(secrets),
     .count_offset = offsetof(struct function, secrets_count),
     .help = "Any NAME = credential: a systemd credential, or a file that only its owner can "
             "read. Given by the daemon only."},
    {.section = "network",
     .key = "mode",
     .type = CONFIG_WORD,
     .words = networks,
     .initial = "none",
     AT(network),
     .help = "none: a loopback of its own and nothing else; host: the machine's own network, "
             "with the services on its loopback and its abstract sockets."},
    {.section = "quota",
     .key = "group",
     .type = CONFIG_GROUP,
     .help = "The functions of one group share their quota."},
    {.section = "quota",
     .type = CONFIG_QUOTA,
     RANGE(1, 1000000000000000),
     .help = "<resource>_per_<minute|hour|day|month> with invocations, gb_seconds or cpu_seconds "
             "as resource: how much may be used. Kept by the daemon only."},
};
const size_t config_row_count = sizeof config_rows / sizeof config_rows[0];

/* Where handler and others were said, for what is checked later. */
static void said(void *object, const struct config_row *row, unsigned line) {
    struct function *function = object;
    _Static_assert(sizeof config_rows / sizeof config_rows[0] <= 64, "a bit of `said` each");
    function->said |= UINT64_C(1) << (row - config_rows);
    if (row->offset == offsetof(struct function, runtime))
        function->lines.runtime = line;
    else if (row->offset == offsetof(struct function, handler))
        function->lines.handler = line;
    else if (row->offset == offsetof(struct function, output))
        function->lines.output = line;
    else if (row->offset == offsetof(struct function, scale.warmup))
        function->lines.warmup = line;
}

static void together(const struct config_reading *reading,
                     unsigned (*line_of)(const struct config_reading *, const char *,
                                         const char *)) {
    const struct function *function = reading->object;
    config_check_scale(function, reading->name, line_of(reading, "scale", "provisioned"),
                       reading->problems);
}

void config_check_scale(const struct function *function, const char *name, unsigned line,
                        struct config_problems *problems) {
    const struct function_scale *scale = &function->scale;
    if (scale->provisioned > scale->concurrency)
        config_problem(
            problems, name, line, "provisioned: at most concurrency, which is %llu, got `%llu`",
            (unsigned long long)scale->concurrency, (unsigned long long)scale->provisioned);
}

const struct config_table config_function_table = {
    .file = "function.ini",
    .where = "`fnrun help check` says where the keys are described",
    .rows = config_rows,
    .count = sizeof config_rows / sizeof config_rows[0],
    .said = said,
    .together = together,
};

/* --- looking up -------------------------------------------------------------------- */

const struct config_row *config_find(const struct config_table *table, const char *section,
                                     const char *key) {
    const struct config_row *free_keys = NULL;
    for (size_t i = 0; i < table->count; i++) {
        const struct config_row *row = &table->rows[i];
        if (strcmp(row->section, section) != 0)
            continue;
        if (!row->key)
            free_keys = row;
        else if (strcmp(row->key, key) == 0)
            return row;
    }
    return free_keys;
}

bool config_has_section(const struct config_table *table, const char *section) {
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->rows[i].section, section) == 0)
            return true;
    return false;
}

const char *config_section_of(const struct config_table *table, const char *key) {
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i].key && strcmp(table->rows[i].key, key) == 0)
            return table->rows[i].section;
    return NULL;
}

const char *config_near_key(const struct config_table *table, const char *section,
                            const char *key) {
    const char *nearest = NULL;
    size_t distance = (size_t)-1;
    for (size_t i = 0; i < table->count; i++)
        if (table->rows[i].key && strcmp(table->rows[i].section, section) == 0)
            near_offer(key, table->rows[i].key, &nearest, &distance);
    return nearest;
}

const char *config_near_section(const struct config_table *table, const char *section) {
    const char *nearest = NULL;
    size_t distance = (size_t)-1;
    for (size_t i = 0; i < table->count; i++)
        near_offer(section, table->rows[i].section, &nearest, &distance);
    return nearest;
}

/* What is one function's alone: a file in its folder, what an exec program prints. */
static bool has_default(const struct config_row *row) {
    return (strcmp(row->section, "limits") == 0 || strcmp(row->section, "scale") == 0) &&
           row->type != CONFIG_FILE && row->offset != offsetof(struct function, output);
}

const struct config_row *config_find_default(const char *key) {
    for (size_t i = 0; i < config_row_count; i++)
        if (has_default(&config_rows[i]) && strcmp(config_rows[i].key, key) == 0)
            return &config_rows[i];
    return NULL;
}

const char *config_near_default(const char *key) {
    const char *nearest = NULL;
    size_t distance = (size_t)-1;
    for (size_t i = 0; i < config_row_count; i++)
        if (has_default(&config_rows[i]))
            near_offer(key, config_rows[i].key, &nearest, &distance);
    return nearest;
}

/* --- in words ------------------------------------------------------------------------ */

/* The largest unit that leaves no rest. */
static void size_text(uint64_t bytes, char *text, size_t size) {
    if (bytes && bytes % G == 0)
        snprintf(text, size, "%" PRIu64 "G", bytes / G);
    else if (bytes && bytes % M == 0)
        snprintf(text, size, "%" PRIu64 "M", bytes / M);
    else if (bytes && bytes % K == 0)
        snprintf(text, size, "%" PRIu64 "K", bytes / K);
    else
        snprintf(text, size, "%" PRIu64, bytes);
}

static void time_text(uint64_t ms, char *text, size_t size) {
    if (ms && ms % HOUR == 0)
        snprintf(text, size, "%" PRIu64 "h", ms / HOUR);
    else if (ms && ms % (60 * SECOND) == 0)
        snprintf(text, size, "%" PRIu64 "m", ms / (60 * SECOND));
    else if (ms % SECOND == 0)
        snprintf(text, size, "%" PRIu64 "s", ms / SECOND);
    else
        snprintf(text, size, "%" PRIu64 "ms", ms);
}

void config_number_text(const struct config_row *row, uint64_t value, char *text, size_t size) {
    if (row->type == CONFIG_SIZE)
        size_text(value, text, size);
    else if (row->type == CONFIG_TIME)
        time_text(value, text, size);
    else if (row->type == CONFIG_CORES && value % 1000)
        snprintf(text, size, "%g", (double)value / 1000);
    else
        snprintf(text, size, "%" PRIu64, row->type == CONFIG_CORES ? value / 1000 : value);
}

static void words_text(const struct config_word *word, char *text, size_t size) {
    size_t used = 0;
    for (; word->word && used < size; word++) {
        if (word->refused)
            continue;
        bool last = true;
        for (const struct config_word *next = word + 1; next->word; next++)
            last = last && next->refused;
        const char *between = !used ? "" : last ? " or " : ", ";
        used += (size_t)snprintf(text + used, size - used, "%s%s", between, word->word);
    }
}

/* A table has its sections together: each is a run of rows. */
void config_sections_text(const struct config_table *table, char *text, size_t size) {
    size_t used = 0, last = table->count - 1;
    while (last && strcmp(table->rows[last - 1].section, table->rows[last].section) == 0)
        last--;
    for (size_t i = 0; i < table->count && used < size; i++) {
        if (i && strcmp(table->rows[i - 1].section, table->rows[i].section) == 0)
            continue;
        used += (size_t)snprintf(text + used, size - used, "%s%s",
                                 !i          ? ""
                                 : i == last ? " or "
                                             : ", ",
                                 table->rows[i].section);
    }
}

void config_range_text(const struct config_row *row, char *text, size_t size) {
    char from[32], to[32];
    text[0] = 0;
    switch (row->type) {
    case CONFIG_SIZE:
    case CONFIG_TIME:
    case CONFIG_CORES:
    case CONFIG_COUNT:
    case CONFIG_QUOTA:
        config_number_text(row, row->minimum, from, sizeof from);
        config_number_text(row, row->maximum, to, sizeof to);
        snprintf(text, size, "%s%s to %s", row->zero_too ? "0, or " : "", from, to);
        break;
    case CONFIG_WORD:
    case CONFIG_CHOICE:
        words_text(row->words, text, size);
        break;
    case CONFIG_SWITCH:
        snprintf(text, size, "yes or no");
        break;
    case CONFIG_MODE:
        snprintf(text, size, "0%03llo to 0%03llo, octal", (unsigned long long)row->minimum,
                 (unsigned long long)row->maximum);
        break;
    default:
        break;
    }
}

void config_value_text(const struct config_row *row, const void *object, char *text, size_t size) {
    const void *at = (const char *)object + row->offset;
    text[0] = 0;
    switch (row->type) {
    case CONFIG_SIZE:
    case CONFIG_TIME:
    case CONFIG_CORES:
    case CONFIG_COUNT:
        config_number_text(row, *(const uint64_t *)at, text, size);
        break;
    case CONFIG_WORD:
        for (const struct config_word *word = row->words; word->word; word++)
            if (!word->refused && word->value == *(const int *)at)
                snprintf(text, size, "%s", word->word);
        break;
    case CONFIG_SWITCH:
        snprintf(text, size, "%s", *(const bool *)at ? "yes" : "no");
        break;
    default:
        break;
    }
}

/* --- the manual page ------------------------------------------------------------------ */

/* As troff takes it: `-` would become a hyphen, a backslash an escape. */
static void put_troff(const char *text, FILE *to) {
    if (*text == '.' || *text == '\'')
        fputs("\\&", to);
    for (; *text; text++) {
        if (*text == '-')
            fputs("\\-", to);
        else if (*text == '\\')
            fputs("\\e", to);
        else
            putc(*text, to);
    }
}

/* What stands for the keys of a row that has none of its own. */
static const char *shown_key(const struct config_row *row) {
    if (row->key)
        return row->key;
    return row->type == CONFIG_PAIRS ? "NAME" : row->type == CONFIG_DEFAULT ? "KEY" : "LIMIT";
}

void config_table_man(const struct config_table *table, FILE *to) {
    const char *section = "";
    for (size_t i = 0; i < table->count; i++) {
        const struct config_row *row = &table->rows[i];
        char range[128];
        config_range_text(row, range, sizeof range);
        if (strcmp(section, row->section) != 0)
            fprintf(to, ".SS [%s]\n", row->section);
        section = row->section;
        fputs(".TP\n\\fB", to);
        put_troff(shown_key(row), to);
        fputs("\\fR", to);
        if (row->initial) {
            fputs(" = \\fI", to);
            put_troff(row->initial, to);
            fputs("\\fR", to);
        }
        putc('\n', to);
        put_troff(row->help, to);
        if (range[0]) {
            fputs(" Takes ", to);
            put_troff(range, to);
            putc('.', to);
        }
        putc('\n', to);
    }
}

void config_table_help(const struct config_table *table, FILE *to) {
    const char *section = "";
    for (size_t i = 0; i < table->count; i++) {
        const struct config_row *row = &table->rows[i];
        char range[128];
        config_range_text(row, range, sizeof range);
        if (strcmp(section, row->section) != 0)
            fprintf(to, "%s[%s]\n", *section ? "\n" : "", row->section);
        section = row->section;
        fprintf(to, "  %-12s %s\n", shown_key(row), row->help);
        if (range[0])
            fprintf(to, "  %-12s %s", "", range);
        if (row->initial)
            fprintf(to, "%s default: %s", range[0] ? ";" : "              ", row->initial);
        if (range[0] || row->initial)
            putc('\n', to);
    }
}

void config_print_man(FILE *to) {
    config_table_man(&config_function_table, to);
}

void config_print_help(FILE *to) {
    config_table_help(&config_function_table, to);
}
