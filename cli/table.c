#include "cli/table.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_MAX 400 /* bytes of a cell */

void table_begin(struct table *table, const struct table_column *columns, size_t count) {
    *table = (struct table){.columns = columns, .count = count};
}

void table_end(struct table *table) {
    for (size_t i = 0; i < table->used; i++)
        free(table->cells[i].text);
    free(table->cells);
    table->cells = NULL;
    table->used = table->capacity = 0;
}

void table_cell(struct table *table, int colour, const char *format, ...) {
    char text[TEXT_MAX];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127)
            *p = '?';
    if (table->used == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 64;
        struct table_cell *more = reallocarray(table->cells, capacity, sizeof *more);
        if (!more) {
            table->failed = true;
            return;
        }
        table->cells = more;
        table->capacity = capacity;
    }
    char *copy = strdup(text);
    if (copy)
        table->cells[table->used++] = (struct table_cell){copy, colour};
    table->failed = table->failed || !copy;
}

/* --- printing -------------------------------------------------------------------- */

/* Letters, not bytes: what follows a first byte of UTF-8 takes no room. */
static size_t width_of(const char *text) {
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void measure(const struct table *table, size_t *widths) {
    for (size_t i = 0; i < table->count; i++)
        widths[i] = width_of(table->columns[i].title);
    for (size_t i = 0; i < table->used; i++) {
        size_t width = width_of(table->cells[i].text);
        if (width > widths[i % table->count])
            widths[i % table->count] = width;
    }
}

static const char *sequence(int colour) {
    static const char *const sequences[] = {"", "\033[2m", "\033[32m", "\033[33m", "\033[31m"};
    return sequences[colour];
}

/* As much of text as fits in width letters. */
static int fitting(const char *text, size_t width) {
    const char *p = text;
    while (*p) {
        const char *next = p + 1;
        while (((unsigned char)*next & 0xc0) == 0x80)
            next++;
        if (!width--)
            break;
        p = next;
    }
    return (int)(p - text);
}

struct line {
    FILE *to;
    bool colours;
    size_t left; /* columns of the terminal */
};

static void print_blanks(struct line *line, size_t count) {
    count = count < line->left ? count : line->left;
    fprintf(line->to, "%*s", (int)count, "");
    line->left -= count;
}

static void print_text(struct line *line, const char *text, int colour) {
    int length = fitting(text, line->left);
    bool coloured = line->colours && colour != TABLE_PLAIN && length > 0;
    fprintf(line->to, "%s%.*s%s", coloured ? sequence(colour) : "", length, text,
            coloured ? "\033[0m" : "");
    size_t width = width_of(text);
    line->left -= width < line->left ? width : line->left;
}

/* cells NULL: the titles. */
static void print_row(const struct table *table, struct line *line, const size_t *widths,
                      const struct table_cell *cells) {
    for (size_t i = 0; i < table->count; i++) {
        const char *text = cells ? cells[i].text : table->columns[i].title;
        size_t padding = widths[i] - width_of(text);
        bool right = table->columns[i].right, last = i + 1 == table->count;
        if (right)
            print_blanks(line, padding);
        print_text(line, text, cells ? cells[i].colour : TABLE_DIM);
        if (!last)
            print_blanks(line, (right ? 0 : padding) + 2);
    }
}

size_t table_print(const struct table *table, FILE *to, bool colours, size_t rows_max, size_t width,
                   bool clear) {
    size_t *widths = calloc(table->count, sizeof *widths);
    size_t rows = table->used / table->count, lines = 0;
    if (!widths)
        return 0;
    measure(table, widths);
    if (rows_max && rows > rows_max)
        rows = rows_max;
    for (; lines <= rows; lines++) {
        struct line line = {to, colours, width ? width : (size_t)1 << 16};
        print_row(table, &line, widths, lines ? &table->cells[(lines - 1) * table->count] : NULL);
        fputs(clear ? "\033[K\n" : "\n", to);
    }
    free(widths);
    return lines;
}

bool table_may_colour(void) {
    const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && terminal && strcmp(terminal, "dumb") != 0;
}

/* --- numbers --------------------------------------------------------------------- */

/* Three digits at most: 1.23, 12.3, 123. */
static void put(char text[TABLE_NUMBER], double number, const char *unit) {
    int digits = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
    snprintf(text, TABLE_NUMBER, "%.*f%s", digits, number, unit);
}

const char *table_size(double bytes, char text[TABLE_NUMBER]) {
    static const char *const units[] = {"", "K", "M", "G", "T"};
    size_t unit = 0;
    for (; bytes >= 1023.5 && unit + 1 < sizeof units / sizeof *units; unit++)
        bytes /= 1024;
    snprintf(text, TABLE_NUMBER, "%.*f%s", unit >= 3 && bytes < 9.95 ? 1 : 0, bytes, units[unit]);
    return text;
}

const char *table_time(double us, char text[TABLE_NUMBER]) {
    if (us < 1)
        snprintf(text, TABLE_NUMBER, "0");
    else if (us < 999.5)
        snprintf(text, TABLE_NUMBER, "%.0fus", us);
    else if (us < 999500)
        put(text, us / 1e3, "ms");
    else if (us < 120e6)
        put(text, us / 1e6, "s");
    else if (us < 7200e6)
        snprintf(text, TABLE_NUMBER, "%.0fm", us / 60e6);
    else
        snprintf(text, TABLE_NUMBER, "%.1fh", us / 3600e6);
    return text;
}

const char *table_date(double unix_seconds, char text[TABLE_NUMBER]) {
    time_t seconds = (time_t)unix_seconds;
    struct tm parts;
    if (unix_seconds < 0 || unix_seconds > 253402300799.0 || !localtime_r(&seconds, &parts) ||
        !strftime(text, TABLE_NUMBER, "%Y-%m-%d %H:%M:%S", &parts))
        snprintf(text, TABLE_NUMBER, "?");
    return text;
}
