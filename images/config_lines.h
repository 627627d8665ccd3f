/* The lines of function.ini: our own reader in front of inih, which closes what
 * inih leaves open. It counts lines, takes values of any length up to the line's,
 * strips a byte order mark, carriage returns and leading blanks (an indented line is
 * a line, never the end of the one before), and refuses what is no text.
 *
 *   ; comment        also with #
 *   [section]
 *   key = value      blanks around both are dropped; a comment begins at a ; or #
 *                    with a blank before it: `a;b` and `a#b` are whole values
 *   key = "value"    everything between the quotes, with \" \\ \n and \t
 */
#ifndef FNRUN_CONFIG_LINES_H
#define FNRUN_CONFIG_LINES_H

#include <stdbool.h>
#include <stddef.h>

#define CONFIG_MAX_LINE 65536 /* bytes */

enum config_line_kind { CONFIG_LINE_SECTION, CONFIG_LINE_KEY, CONFIG_LINE_BAD };

struct config_line {
    int kind;         /* enum config_line_kind */
    unsigned number;  /* from 1 */
    char *key;        /* CONFIG_LINE_SECTION: the section's name */
    char *value;      /* CONFIG_LINE_KEY: unquoted, without comment */
    bool was_section; /* CONFIG_LINE_BAD: it began with a [ */
    char text[200];   /* CONFIG_LINE_BAD: what is wrong */
};

struct config_lines {
    char *at, *end;
    unsigned number; /* of the line before `at` */
};

/* Starts at the first of length bytes. data needs one byte more, which is written:
 * key and value of a line point into data, changed and zero terminated there. */
void config_lines_start(struct config_lines *lines, char *data, size_t length);

/* The next line that is neither empty nor a comment. False at the end. */
bool config_lines_next(struct config_lines *lines, struct config_line *line);

#endif
