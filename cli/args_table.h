/* The one table of commands, options and exit statuses: the parser, --help and the
 * suggestions are made from it. Private to args.c, args_help.c and their tests. */
#ifndef FNRUN_ARGS_TABLE_H
#define FNRUN_ARGS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

/* A set of commands, as bits. */
#define ARGS_FOR(command) (1U << (command))

enum args_kind {
    ARGS_FLAG,         /* sets the bool at offset */
    ARGS_TEXT,         /* stores the value's text at offset */
    ARGS_CHOICE_TEXT,  /* the same, one of choices */
    ARGS_CHOICE_INDEX, /* stores the choice's number in the int at offset */
    ARGS_CHOICE_FLAG,  /* one of choices, sets the bool at offset */
    ARGS_PAIR,         /* NAME=VALUE or NAME, added to env */
    ARGS_VERSION,      /* stands for the command version */
};

struct args_option {
    const char *name; /* without the dashes */
    char letter;      /* short form, or 0 */
    enum args_kind kind;
    unsigned commands;          /* ARGS_FOR bits; ARGS_FOR(COMMAND_NONE): before any command */
    size_t offset;              /* in struct args */
    const char *value;          /* how help shows the value, or NULL for a flag */
    const char *const *choices; /* NULL terminated, or NULL */
    const char *variable;       /* environment variable that stands in, or NULL */
    const char *help;           /* lines separated by \n */
    bool path_only;             /* of invoke: not with the NAME of a deployed function */
};

struct args_command {
    int command;         /* enum command */
    const char *word;    /* as typed */
    const char *also;    /* other tools' words for it, space separated: only suggested */
    const char *operand; /* how help shows it, or NULL when it takes none */
    bool operand_needed;
    const char *second;        /* a further operand that may be there, or NULL */
    const char *option_needed; /* name of an option that must be there, or NULL */
    const char *summary;       /* one line */
    const char *text;          /* paragraphs of `fnrun help COMMAND` */
    const char *examples;      /* lines, or NULL */
};

struct args_status {
    int status;
    unsigned commands;
    const char *text;
};

extern const struct args_command args_commands[];
extern const size_t args_commands_count;
extern const struct args_option args_options[];
extern const size_t args_options_count;
extern const struct args_status args_statuses[];
extern const size_t args_statuses_count;

/* The row of a command, or NULL. */
const struct args_command *args_command_row(int command);

/* Edits between two words (insert, delete, replace, swap neighbours), case
 * ignored: the optimal string alignment distance. More than ARGS_NEAR_MAX letters
 * count as far. */
#define ARGS_NEAR_MAX 31
unsigned args_distance(const char *a, const char *b);

/* Whether `word` is near enough to `known` to be suggested, and how near. */
bool args_near(const char *word, const char *known, unsigned *distance);

#endif
