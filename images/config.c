#include "images/config.h"

#include <ini.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "images/config_lines.h"
#include "images/config_table.h"
#include "images/config_value.h"
#include "images/function.h"
#include "images/utf8.h"
#include "isolate/cleanup.h"

/* --- problems ------------------------------------------------------------------------- */

void config_problem(struct config_problems *problems, const char *file, unsigned line,
                    const char *format, ...) {
    struct config_problem problem = {.file = file ? strdup(file) : NULL, .line = line};
    va_list args;
    va_start(args, format);
    if (vasprintf(&problem.text, format, args) < 0)
        problem.text = NULL;
    va_end(args);
    struct config_problem *items =
        reallocarray(problems->items, problems->count + 1, sizeof *items);
    if (!items) {
        free(problem.file);
        free(problem.text);
        problems->count += !problems->count;
        return;
    }
    if (!problems->items) /* those whose memory was not to be had */
        memset(items, 0, problems->count * sizeof *items);
    problems->items = items;
    items[problems->count++] = problem;
}

void config_problems_free(struct config_problems *problems) {
    for (size_t i = 0; problems->items && i < problems->count; i++) {
        free(problems->items[i].file);
        free(problems->items[i].text);
    }
    free(problems->items);
    *problems = (struct config_problems){0};
}

void config_problems_print(const struct config_problems *problems, FILE *to) {
    for (size_t i = 0; i < problems->count; i++) {
        const struct config_problem lost = {0};
        const struct config_problem *problem = problems->items ? &problems->items[i] : &lost;
        if (problem->file)
            fprintf(to, "%s:", problem->file);
        if (problem->file && problem->line)
            fprintf(to, "%u:", problem->line);
        fprintf(to, "%s%s\n", problem->file ? " " : "",
                problem->text ? problem->text : "out of memory for the text of a problem");
    }
}

/* They come nearly sorted, so that insertion is linear. */
void config_problems_sort(struct config_problems *problems, size_t first) {
    struct config_problem *items = problems->items;
    for (size_t i = first + 1; items && i < problems->count; i++) {
        struct config_problem moved = items[i];
        size_t place = i;
        for (; place > first && items[place - 1].line > moved.line; place--)
            items[place] = items[place - 1];
        items[place] = moved;
    }
}

/* --- values that do not come from a file ---------------------------------------------- */

void config_table_defaults(const struct config_table *table, void *object) {
    char text[CONFIG_TEXT_SIZE];
    for (size_t i = 0; i < table->count; i++) {
        const struct config_row *row = &table->rows[i];
        if (row->initial)
            config_apply(row, row->key, row->initial, object, text);
    }
}

void config_defaults(struct function *function) {
    config_table_defaults(&config_function_table, function);
}

int config_set(struct function *function, const char *section, const char *key, const char *value,
               struct error *err) {
    char text[CONFIG_TEXT_SIZE];
    const struct config_row *row = config_find(&config_function_table, section, key);
    if (!row)
        return error_set(err, -EINVAL, "there is no key %s in [%s]", key, section);
    int r = config_apply(row, key, value, function, text);
    if (r == -EINVAL)
        return error_set(err, r, "%s", text);
    return r < 0 ? error_set(err, r, "out of memory for %s", key) : 0;
}

/* --- reading a file ----------------------------------------------------------------------- */

/* A key that has been read: for duplicates. */
struct seen {
    const struct config_row *row;
    char *key; /* in the file's bytes */
    unsigned line;
};

/* One reading of one file. inih drives it: it takes lines from next_line, keeps the
 * section, and calls take_key. Values go around it, by `line`: its own lines end at
 * 200 bytes and its values at a ` ;`. */
struct reading {
    struct config_reading shown; /* the table's own functions see this */
    const struct config_table *table;
    size_t first_problem;
    struct config_lines lines;
    struct config_line line;
    struct seen *seen;
    size_t seen_count, free_keys;
    int failed; /* -ENOMEM */
};

#define UNKNOWN_SECTION "?" /* for inih: the keys of a section that has been refused */

static bool too_many(const struct reading *reading) {
    return reading->shown.problems->count - reading->first_problem >= CONFIG_MAX_PROBLEMS;
}

static void unknown_section(struct reading *reading, const char *section) {
    char shown[UTF8_EXCERPT], sections[200];
    const char *near = config_near_section(reading->table, section);
    utf8_excerpt(section, shown);
    config_sections_text(reading->table, sections, sizeof sections);
    if (near)
        config_problem(reading->shown.problems, reading->shown.name, reading->line.number,
                       "unknown section [%s]; did you mean [%s]?", shown, near);
    else
        config_problem(reading->shown.problems, reading->shown.name, reading->line.number,
                       "unknown section [%s]: expected %s", shown, sections);
}

static void unknown_key(struct reading *reading, const char *section, const char *key) {
    char shown[UTF8_EXCERPT];
    const struct config_table *table = reading->table;
    const char *near = config_near_key(table, section, key);
    const char *other = config_section_of(table, key);
    unsigned line = reading->line.number;
    utf8_excerpt(key, shown);
    if (!*section && other)
        config_problem(reading->shown.problems, reading->shown.name, line,
                       "`%s` stands before the first section: put it below [%s]", shown, other);
    else if (!*section)
        config_problem(reading->shown.problems, reading->shown.name, line,
                       "`%s` stands before the first section, such as [%s]", shown,
                       table->rows[0].section);
    else if (other)
        config_problem(reading->shown.problems, reading->shown.name, line,
                       "unknown key `%s` in [%s]: it belongs into [%s]", shown, section, other);
    else if (near)
        config_problem(reading->shown.problems, reading->shown.name, line,
                       "unknown key `%s` in [%s]; did you mean %s?", shown, section, near);
    else
        config_problem(reading->shown.problems, reading->shown.name, line,
                       "unknown key `%s` in [%s]; %s", shown, section, table->where);
}

/* inih's reader: a line in buffer that it can only understand in one way, or NULL. */
static char *next_line(char *buffer, int size, void *user) {
    struct reading *reading = user;
    struct config_line *line = &reading->line;
    while (!reading->failed && !too_many(reading) && config_lines_next(&reading->lines, line)) {
        const char *section = UNKNOWN_SECTION;
        int length = -1;
        if (line->kind == CONFIG_LINE_BAD) {
            config_problem(reading->shown.problems, reading->shown.name, line->number, "%s",
                           line->text);
            if (!line->was_section)
                continue;
        } else if (line->kind == CONFIG_LINE_SECTION) {
            if (config_has_section(reading->table, line->key))
                section = line->key;
            else
                unknown_section(reading, line->key);
        } else {
            length = snprintf(buffer, (size_t)size, "%s=\n", line->key);
        }
        if (length < 0)
            length = snprintf(buffer, (size_t)size, "[%s]\n", section);
        if (length < size)
            return buffer;
        config_problem(reading->shown.problems, reading->shown.name, line->number,
                       "a key of %zu bytes; %d at most", strlen(line->key), size - 3);
    }
    return NULL;
}

/* The line on which this key stood before, or 0. [environment] and [secrets] share
 * their names: both become variables or files of one function. */
static unsigned seen_before(const struct reading *reading, const struct config_row *row,
                            const char *key) {
    for (size_t i = 0; i < reading->seen_count; i++) {
        const struct config_row *other = reading->seen[i].row;
        bool same = other == row || (other->type == CONFIG_PAIRS && row->type == CONFIG_PAIRS);
        if (same && strcmp(reading->seen[i].key, key) == 0)
            return reading->seen[i].line;
    }
    return 0;
}

/* Remembers the key. Returns whether it is the first of its name and not too many. */
static bool first_of_its_name(struct reading *reading, const struct config_row *row, char *key) {
    unsigned line = reading->line.number;
    char shown[UTF8_EXCERPT];
    if (!row->key && reading->free_keys > CONFIG_MAX_KEYS) /* said already */
        return false;
    unsigned before = seen_before(reading, row, key);
    if (before) {
        config_problem(reading->shown.problems, reading->shown.name, line,
                       "`%s` has a value already, on line %u: remove one of them",
                       utf8_excerpt(key, shown), before);
        return false;
    }
    if (!row->key && ++reading->free_keys > CONFIG_MAX_KEYS) {
        config_problem(reading->shown.problems, reading->shown.name, line,
                       "more than %d variables, secrets and quotas", CONFIG_MAX_KEYS);
        return false;
    }
    struct seen *more = reallocarray(reading->seen, reading->seen_count + 1, sizeof *more);
    if (!more) {
        reading->failed = -ENOMEM;
        return false;
    }
    reading->seen = more;
    more[reading->seen_count++] = (struct seen){.row = row, .key = key, .line = line};
    return true;
}

/* inih's handler. Its own idea of the value is not used. Returns 1: go on. */
static int take_key(void *user, const char *section, const char *key, const char *value) {
    struct reading *reading = user;
    char text[CONFIG_TEXT_SIZE];
    (void)value;
    if (strcmp(section, UNKNOWN_SECTION) == 0)
        return 1;
    const struct config_row *row = config_find(reading->table, section, key);
    if (!row) {
        unknown_key(reading, section, key);
        return 1;
    }
    if (!first_of_its_name(reading, row, reading->line.key))
        return 1;
    int r = config_apply(row, key, reading->line.value, reading->shown.object, text);
    if (reading->table->said)
        reading->table->said(reading->shown.object, row, reading->line.number);
    if (r == -EINVAL)
        config_problem(reading->shown.problems, reading->shown.name, reading->line.number, "%s",
                       text);
    else if (r < 0)
        reading->failed = r;
    return 1;
}

/* The table's look at what holds between keys. */
static unsigned line_of(const struct config_reading *shown, const char *section, const char *key) {
    const struct reading *reading = (const struct reading *)shown; /* its first member */
    const struct config_row *row = config_find(reading->table, section, key);
    for (size_t i = 0; i < reading->seen_count; i++)
        if (reading->seen[i].row == row && strcmp(reading->seen[i].key, key) == 0)
            return reading->seen[i].line;
    return 0;
}

/* All of fd, of at most CONFIG_MAX_BYTES and one more, with room for a 0 behind. */
static int read_bytes(int fd, const char *name, char **data, size_t *length, struct error *err) {
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(err, -errno, "%s: %s", name, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "%s is no regular file", name);
    size_t room = st.st_size > (off_t)CONFIG_MAX_BYTES ? CONFIG_MAX_BYTES : (size_t)st.st_size;
    room += 2;
    *length = 0;
    *data = malloc(room);
    if (!*data)
        return error_set(err, -ENOMEM, "%s: out of memory", name);
    /* The file may grow meanwhile: what came first is what counts. */
    while (*length < room - 1) {
        ssize_t got = read(fd, *data + *length, room - 1 - *length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_set(err, -errno, "%s: %s", name, strerror(errno));
        if (!got)
            break;
        *length += (size_t)got;
    }
    return 0;
}

int config_read_table(int fd, const char *name, const struct config_table *table, void *object,
                      struct config_problems *problems, struct error *err) {
    struct reading reading = {.shown = {.name = name, .object = object, .problems = problems},
                              .table = table,
                              .first_problem = problems->count};
    _cleanup_free_ char *data = NULL;
    size_t length = 0;
    int r = read_bytes(fd, name, &data, &length, err);
    if (r < 0)
        return r;
    if (length > CONFIG_MAX_BYTES) {
        config_problem(problems, name, 0, "larger than 1 MiB: a %s is short text", table->file);
        return 0;
    }
    config_lines_start(&reading.lines, data, length);
    r = ini_parse_stream(next_line, &reading, take_key, &reading);
    if (r == 0 && !reading.failed && table->together)
        table->together(&reading.shown, line_of);
    free(reading.seen);
    if (reading.failed || r < 0)
        return error_set(err, -ENOMEM, "%s: out of memory", name);
    if (r > 0) /* next_line gives it nothing that it could refuse */
        return error_set(err, -EIO, "%s: inih stopped at its line %d", name, r);
    config_problems_sort(problems, reading.first_problem);
    if (too_many(&reading))
        config_problem(problems, name, reading.line.number,
                       "too many errors: the rest is not read");
    return 0;
}

int config_read(int fd, const char *name, struct function *function,
                struct config_problems *problems, struct error *err) {
    return config_read_table(fd, name, &config_function_table, function, problems, err);
}
