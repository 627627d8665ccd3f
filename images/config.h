/* One table describes every key of function.ini: it makes the parser, the checks
 * and their texts, `fnrun check`, and (printed by config_print_man) the manual
 * page. inih reads the file, but lines come from our own reader: its 200 byte
 * limit, continuation lines, silent duplicates, lost line numbers and cut ` ;`
 * are closed here. */
#ifndef FNRUN_CONFIG_H
#define FNRUN_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "isolate/error.h"

#define CONFIG_MAX_BYTES    (1ul << 20)
#define CONFIG_MAX_PROBLEMS 100
#define CONFIG_MAX_KEYS     1000 /* in the sections with free keys */

struct function;
struct config_table;

struct config_problem {
    char *file;    /* as the caller named it, or NULL */
    unsigned line; /* from 1; 0: none */
    char *text;    /* what is wrong, and what was expected */
};
struct config_problems {
    struct config_problem *items;
    size_t count;
};

/* Adds one. Where memory runs out its text is lost, but the count is never 0 then. */
__attribute__((format(printf, 4, 5))) void config_problem(struct config_problems *problems,
                                                          const char *file, unsigned line,
                                                          const char *format, ...);
/* Those from number `first` on by their lines; equal ones stay in their order. */
void config_problems_sort(struct config_problems *problems, size_t first);
void config_problems_free(struct config_problems *problems);
/* "function.ini:4: unknown key ..." a line each. */
void config_problems_print(const struct config_problems *problems, FILE *to);

/* Sets every default of the table in *function, which was zero or freed before. */
void config_defaults(struct function *function);

/* Reads the function.ini behind the descriptor fd into *function. name is how
 * messages call the file. All errors go to *problems, in the order of their lines;
 * the first CONFIG_MAX_PROBLEMS of them. At most 1 MiB. What the lines look like:
 * images/config_lines.h.
 * Returns 0 (problems may have been added) or a negative errno with err. */
int config_read(int fd, const char *name, struct function *function,
                struct config_problems *problems, struct error *err);

/* The same for any table, and what it fills. */
void config_table_defaults(const struct config_table *table, void *object);
int config_read_table(int fd, const char *name, const struct config_table *table, void *object,
                      struct config_problems *problems, struct error *err);

/* What holds between the keys of [scale], whoever gave them. line: of provisioned, or 0. */
void config_check_scale(const struct function *function, const char *name, unsigned line,
                        struct config_problems *problems);

/* Values as users write them, for function.ini and the command line alike.
 * Sizes: bytes, or K M G (powers of 1,024, one optional trailing B or iB).
 * Times: a number and ms, s, m or h (no unit: an error); *value in ms.
 * Return 0, -EINVAL (no such form), -ERANGE (overflow, negative). */
int config_parse_size(const char *text, uint64_t *value);
int config_parse_time(const char *text, uint64_t *value);

/* Applies one "section.key" setting as function.ini would, for --memory and
 * --timeout: same ranges, same texts. Returns 0 or -EINVAL with err. */
int config_set(struct function *function, const char *section, const char *key, const char *value,
               struct error *err);

/* The table as troff for fnrun's function.ini(5) page, and as plain text. */
void config_print_man(FILE *to);
void config_print_help(FILE *to);

#endif
