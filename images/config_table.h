/* The table of function.ini: every section and key with its type, range, default
 * and help line. config.c reads by it, config_value.c checks by it, and the manual
 * page is printed from it. */
#ifndef FNRUN_CONFIG_TABLE_H
#define FNRUN_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct function;

enum config_type {
    CONFIG_NAME,   /* char *: 1 to 64 of A-Z a-z 0-9 _ - */
    CONFIG_TEXT,   /* char *: any text but none */
    CONFIG_FILE,   /* char *: a path in the function's folder, or nothing: NULL */
    CONFIG_SIZE,   /* uint64_t in bytes */
    CONFIG_TIME,   /* uint64_t in ms */
    CONFIG_CORES,  /* uint64_t in thousandths */
    CONFIG_COUNT,  /* uint64_t */
    CONFIG_WORD,   /* int, by the row's list of words */
    CONFIG_CHOICE, /* char *: one of the row's words */
    CONFIG_SWITCH, /* bool: yes or no */
    CONFIG_PAIRS,  /* free keys: struct function_pair *, and their count behind it */
    CONFIG_QUOTA,  /* free keys: <resource>_per_<time> = number; checked, not kept */
    CONFIG_GROUP,  /* a name as CONFIG_NAME; checked, not kept */
};

struct config_word {
    const char *word; /* NULL ends a list */
    int value;
    const char *refused; /* not NULL: known, but to be refused with this text */
};

struct config_row {
    const char *section;
    const char *key;           /* NULL: any key that no other row has */
    int type;                  /* enum config_type */
    bool zero_too;             /* 0 is allowed beside the range */
    uint64_t minimum, maximum; /* of numbers, in the unit that is kept */
    const char *initial;       /* the default as one would write it; NULL: none */
    const struct config_word *words;
    size_t offset;       /* into struct function */
    size_t count_offset; /* CONFIG_PAIRS */
    const char *help;    /* one sentence, without the range */
};

extern const struct config_row config_rows[];
extern const size_t config_row_count;

/* The row of section.key, a row for free keys included, or NULL. */
const struct config_row *config_find(const char *section, const char *key);
bool config_has_section(const char *section);

/* The nearest key of the section, or section, or NULL when none is near. */
const char *config_near_key(const char *section, const char *key);
const char *config_near_section(const char *section);
/* The section in which there is such a key, or NULL. */
const char *config_section_of(const char *key);

/* "4M to 1024G", "python, node, native or exec": what the row takes, in words; ""
 * for texts. */
void config_range_text(const struct config_row *row, char *text, size_t size);

/* The value that *function has for a number or word of the table, as one would write
 * it ("128M"). */
void config_value_text(const struct config_row *row, const struct function *function, char *text,
                       size_t size);

#endif
