/* Aligned tables for people, and how numbers stand in them. */
#ifndef FNRUN_TABLE_H
#define FNRUN_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum table_colour { TABLE_PLAIN, TABLE_DIM, TABLE_GREEN, TABLE_YELLOW, TABLE_RED };

struct table_column {
    const char *title;
    bool right; /* numbers */
};

struct table_cell {
    char *text;
    int colour; /* enum table_colour */
};

struct table {
    const struct table_column *columns;
    size_t count; /* of columns */
    struct table_cell *cells;
    size_t used, capacity;
    bool failed; /* out of memory */
};

void table_begin(struct table *table, const struct table_column *columns, size_t count);
/* The next cell of the row, and after its last one the first of the next. What would move the
 * cursor or change colours in text becomes ?. */
__attribute__((format(printf, 3, 4))) void table_cell(struct table *table, int colour,
                                                      const char *format, ...);
/* Titles and rows, two blanks between columns, nothing at the end of a line. rows_max, width:
 * no more of them (0: all); clear: the rest of each line of a terminal too. Returns how many
 * lines. */
size_t table_print(const struct table *table, FILE *to, bool colours, size_t rows_max, size_t width,
                   bool clear);
void table_end(struct table *table);

/* Whether stdout is a terminal that wants colours: https://no-color.org. */
bool table_may_colour(void);

#define TABLE_NUMBER 24 /* bytes for each text below */
/* "0", "900K", "12M", "1.5G" */
const char *table_size(double bytes, char text[TABLE_NUMBER]);
/* "0", "85us", "1.23ms", "12.3s", "5m", "2.1h" */
const char *table_time(double us, char text[TABLE_NUMBER]);
/* "2024-05-17 12:34:56", of the machine's time zone. */
const char *table_date(double unix_seconds, char text[TABLE_NUMBER]);

#endif
