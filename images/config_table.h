/* A file's table: every section and key with its type, range, default and help line.
 * config.c reads by it, config_value.c checks by it, and the manual page is printed from
 * it. Here is that of function.ini; runner/settings.c has that of fnrun.ini. */
#ifndef FNRUN_CONFIG_TABLE_H
#define FNRUN_CONFIG_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

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
    CONFIG_PATH,   /* char *: an absolute path */
    CONFIG_MODE,   /* uint32_t: permissions, in octal */
    /* Free keys: those of function.ini's [limits] and [scale] that make sense for many
     * functions; struct function_pair * ("limits.memory", value), and their count. */
    CONFIG_DEFAULT,
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
    size_t offset;       /* into what the table fills */
    size_t count_offset; /* CONFIG_PAIRS, CONFIG_DEFAULT */
    const char *help;    /* one sentence, without the range */
};

struct config_problems;

/* What has been read, for what is checked between keys. */
struct config_reading {
    const char *name; /* of the file, for problems */
    void *object;     /* what the table fills */
    struct config_problems *problems;
};

struct config_table {
    const char *file;  /* "function.ini" */
    const char *where; /* the keys are described: "fnrun.ini(5)" */
    const struct config_row *rows;
    size_t count;
    /* A key was on that line, with a right value or not. May be NULL. */
    void (*said)(void *object, const struct config_row *row, unsigned line);
    /* After the last line; line_of says where a key was, or 0. May be NULL. */
    void (*together)(const struct config_reading *reading,
                     unsigned (*line_of)(const struct config_reading *reading, const char *section,
                                         const char *key));
};

extern const struct config_table config_function_table;
extern const struct config_row config_rows[]; /* of function.ini */
extern const size_t config_row_count;

/* The row of section.key, a row for free keys included, or NULL. */
const struct config_row *config_find(const struct config_table *table, const char *section,
                                     const char *key);
bool config_has_section(const struct config_table *table, const char *section);
/* The key of function.ini that [defaults] may have under this name, or NULL. */
const struct config_row *config_find_default(const char *key);

/* The nearest key of the section, or section, or NULL when none is near. */
const char *config_near_key(const struct config_table *table, const char *section, const char *key);
const char *config_near_section(const struct config_table *table, const char *section);
const char *config_near_default(const char *key);
/* The section in which there is such a key, or NULL. */
const char *config_section_of(const struct config_table *table, const char *key);
/* "function, limits or scale" */
void config_sections_text(const struct config_table *table, char *text, size_t size);

/* "4M to 1024G", "python, node, native or exec": what the row takes, in words; ""
 * for texts. */
void config_range_text(const struct config_row *row, char *text, size_t size);

/* The value that *object has for a number or word of the table, as one would write
 * it ("128M"). */
void config_value_text(const struct config_row *row, const void *object, char *text, size_t size);
/* A number of the row's type, as one would write it. */
void config_number_text(const struct config_row *row, uint64_t value, char *text, size_t size);

/* The table as troff for a manual page, and as plain text. */
void config_table_man(const struct config_table *table, FILE *to);
void config_table_help(const struct config_table *table, FILE *to);

#endif
