#include "cli/args.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/args_table.h"

/* Where the parser stands. */
struct parser {
    int argc;
    char *const *argv;
    int next; /* index of the word to look at */
    struct args *args;
    uint32_t given; /* options seen, one bit for each row of the table */
    struct error *err;
};

/* --- near words ------------------------------------------------------------ */

static char lower(char c) {
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static unsigned smallest(unsigned a, unsigned b) {
    return a < b ? a : b;
}

unsigned args_distance(const char *a, const char *b) {
    size_t rows = strnlen(a, ARGS_NEAR_MAX + 1), columns = strnlen(b, ARGS_NEAR_MAX + 1);
    unsigned table[ARGS_NEAR_MAX + 1][ARGS_NEAR_MAX + 1];
    if (rows > ARGS_NEAR_MAX || columns > ARGS_NEAR_MAX)
        return ARGS_NEAR_MAX + 1;
    for (unsigned i = 0; i <= rows; i++)
        table[i][0] = i;
    for (unsigned j = 0; j <= columns; j++)
        table[0][j] = j;
    for (size_t i = 1; i <= rows; i++)
        for (size_t j = 1; j <= columns; j++) {
            char x = lower(a[i - 1]), y = lower(b[j - 1]);
            unsigned best = table[i - 1][j - 1] + (x != y);
            best = smallest(best, table[i - 1][j] + 1);
            best = smallest(best, table[i][j - 1] + 1);
            if (i > 1 && j > 1 && x == lower(b[j - 2]) && lower(a[i - 2]) == y)
                best = smallest(best, table[i - 2][j - 2] + 1);
            table[i][j] = best;
        }
    return table[rows][columns];
}

bool args_near(const char *word, const char *known, unsigned *distance) {
    size_t length = strlen(known);
    /* Three edits turn any short word into any other: allow fewer there. */
    unsigned allowed = length >= 7 ? 3 : length >= 5 ? 2 : 1;
    *distance = args_distance(word, known);
    return *distance <= allowed && *distance < length;
}

/* Whether the space separated list has the word. */
static bool list_has(const char *list, const char *word) {
    size_t length = strlen(word);
    while (list && *list) {
        size_t item = strcspn(list, " ");
        if (item == length && strncasecmp(list, word, length) == 0)
            return true;
        list += item + strspn(list + item, " ");
    }
    return false;
}

int args_command(const char *word, const char **near) {
    unsigned best = UINT32_MAX, distance;
    const char *closest = NULL;
    for (size_t i = 0; i < args_commands_count; i++) {
        const struct args_command *row = &args_commands[i];
        if (strcmp(word, row->word) == 0) {
            if (near)
                *near = NULL;
            return row->command;
        }
        if (list_has(row->also, word)) {
            closest = row->word;
            best = 0;
        } else if (args_near(word, row->word, &distance) && distance < best) {
            closest = row->word;
            best = distance;
        }
    }
    if (near)
        *near = closest;
    return COMMAND_NONE;
}

static bool option_belongs(const struct args_option *option, int command) {
    return option->commands & ARGS_FOR(command);
}

/* The closest option of this command, or of any where the command has none. */
static const struct args_option *near_option(const char *name, int command) {
    const struct args_option *closest = NULL;
    unsigned best = UINT32_MAX, distance;
    for (size_t i = 0; i < args_options_count; i++) {
        const struct args_option *row = &args_options[i];
        if (option_belongs(row, command) && args_near(name, row->name, &distance) &&
            distance < best) {
            closest = row;
            best = distance;
        }
    }
    return closest;
}

/* --- options --------------------------------------------------------------- */

static int unknown_option(struct parser *p, const char *written, const char *name) {
    const char *command = p->args->command ? args_command_row(p->args->command)->word : NULL;
    const struct args_option *near = near_option(name, p->args->command);
    if (near)
        return error_set(p->err, -EINVAL, "unknown option %s; did you mean --%s?", written,
                         near->name);
    if (!command)
        return error_set(p->err, -EINVAL, "unknown option %s; see 'fnrun help'", written);
    return error_set(p->err, -EINVAL, "unknown option %s for %s; see 'fnrun help %s'", written,
                     command, command);
}

/* The table's row for a name (length bytes) or a letter, of whatever command. */
static const struct args_option *find_option(const char *name, size_t length, char letter,
                                             int command) {
    const struct args_option *elsewhere = NULL;
    for (size_t i = 0; i < args_options_count; i++) {
        const struct args_option *row = &args_options[i];
        bool same = letter ? row->letter == letter
                           : strlen(row->name) == length && memcmp(row->name, name, length) == 0;
        if (same && option_belongs(row, command))
            return row;
        if (same)
            elsewhere = row;
    }
    return elsewhere;
}

/* "error, warn, info or debug" */
static void list_choices(const char *const *choices, char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; choices[i] && used < size; i++) {
        const char *between = i == 0 ? "" : choices[i + 1] ? ", " : " or ";
        used += (size_t)snprintf(text + used, size - used, "%s%s", between, choices[i]);
    }
}

/* `source` names the option or the variable that the value came from. */
static int bad_choice(const struct args_option *option, const char *source, const char *value,
                      struct error *err) {
    char known[128];
    const char *closest = NULL;
    unsigned best = UINT32_MAX, distance;
    list_choices(option->choices, known, sizeof known);
    for (size_t i = 0; option->choices[i]; i++)
        if (args_near(value, option->choices[i], &distance) && distance < best) {
            closest = option->choices[i];
            best = distance;
        }
    if (!option->choices[1])
        return error_set(err, -EINVAL, "%s: '%s' is not a value of it; the only one is %s", source,
                         value, known);
    return error_set(err, -EINVAL, "%s: '%s' is not one of %s%s%s%s", source, value, known,
                     closest ? "; did you mean " : "", closest ? closest : "", closest ? "?" : "");
}

/* The caller's own "NAME=VALUE", or NULL. */
static const char *own_variable(const char *name) {
    size_t length = strlen(name);
    for (char **entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=')
            return *entry;
    return NULL;
}

static int add_pair(struct parser *p, const char *value) {
    struct args *args = p->args;
    if (!*value || *value == '=')
        return error_set(p->err, -EINVAL,
                         "--env '%s': a name is missing; say --env NAME=VALUE or "
                         "--env NAME",
                         value);
    /* Every pair takes at least one word, so argc pointers are always enough. */
    if (!args->env)
        args->env = calloc((size_t)p->argc, sizeof *args->env);
    if (!args->env)
        return error_set(p->err, -ENOMEM, "out of memory");
    if (!strchr(value, '='))
        value = own_variable(value);
    if (value) /* as docker does: a name that the caller has not is left out */
        args->env[args->env_count++] = value;
    return 0;
}

static int store(struct parser *p, const struct args_option *option, const char *source,
                 const char *value) {
    void *where = (char *)p->args + option->offset;
    size_t choice = 0;
    p->given |= UINT32_C(1) << (option - args_options);
    if (option->choices) {
        while (option->choices[choice] && strcmp(option->choices[choice], value) != 0)
            choice++;
        if (!option->choices[choice])
            return bad_choice(option, source, value, p->err);
    }
    switch (option->kind) {
    case ARGS_FLAG:
    case ARGS_CHOICE_FLAG:
        *(bool *)where = true;
        return 0;
    case ARGS_TEXT:
    case ARGS_CHOICE_TEXT:
        *(const char **)where = value;
        return 0;
    case ARGS_CHOICE_INDEX:
        *(int *)where = (int)choice;
        return 0;
    case ARGS_PAIR:
        return add_pair(p, value);
    case ARGS_VERSION:
        p->args->command = COMMAND_VERSION;
        return 0;
    }
    return 0;
}

/* Stores the option written as `written`; value is what stood in the same word, or
 * NULL: then the next word is it. */
static int take_option(struct parser *p, const struct args_option *option, const char *written,
                       const char *value) {
    if (!option_belongs(option, p->args->command)) {
        if (p->args->command == COMMAND_NONE)
            return error_set(p->err, -EINVAL, "%s stands after the command: fnrun COMMAND %s",
                             written, written);
        const char *word = args_command_row(p->args->command)->word;
        return error_set(p->err, -EINVAL, "%s has no option %s; see 'fnrun help %s'", word, written,
                         word);
    }
    if (!option->value && value)
        return error_set(p->err, -EINVAL, "--%s takes no value", option->name);
    if (option->value && !value) {
        if (p->next >= p->argc)
            return error_set(p->err, -EINVAL, "%s needs a value: --%s %s", written, option->name,
                             option->value);
        value = p->argv[p->next++];
    }
    return store(p, option, written, value ? value : "");
}

static int parse_long(struct parser *p, const char *word) {
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    char written[ARGS_NEAR_MAX + 8];
    snprintf(written, sizeof written, "--%.*s", (int)smallest((unsigned)length, ARGS_NEAR_MAX),
             name);
    const struct args_option *option = find_option(name, length, 0, p->args->command);
    if (!option)
        return unknown_option(p, written, written + 2);
    return take_option(p, option, written, name[length] ? name + length + 1 : NULL);
}

/* -q, several flags in one word (-qh), a value in the same word (-eA=b) or the next. */
static int parse_short(struct parser *p, const char *word) {
    for (const char *letter = word + 1; *letter; letter++) {
        char written[] = {'-', *letter, 0};
        const struct args_option *option = find_option("", 0, *letter, p->args->command);
        /* A long name with one dash: "-event" is a slip, neither flags nor -e vent. */
        if (letter == word + 1 && word[2] &&
            (!option || find_option(word + 1, strlen(word + 1), 0, p->args->command)))
            return unknown_option(p, word, word + 1);
        if (!option)
            return unknown_option(p, written, written + 1);
        bool rest = option->value && letter[1];
        int r = take_option(p, option, written, rest ? letter + 1 : NULL);
        if (r < 0 || option->value)
            return r;
    }
    return 0;
}

/* --- words ----------------------------------------------------------------- */

bool args_is_path(const char *operand) {
    return strpbrk(operand, "/.") != NULL;
}

static int take_command(struct parser *p, const char *word) {
    const char *near;
    p->args->command = args_command(word, &near);
    if (p->args->command != COMMAND_NONE)
        return 0;
    if (access(word, F_OK) == 0)
        return error_set(p->err, -EINVAL,
                         "unknown command '%s'; to run the function there say "
                         "'fnrun invoke %s%s'",
                         word, strchr(word, '/') ? "" : "./", word);
    if (near)
        return error_set(p->err, -EINVAL, "unknown command '%s'; did you mean 'fnrun %s'?", word,
                         near);
    return error_set(p->err, -EINVAL, "unknown command '%s'; 'fnrun help' lists them", word);
}

static int take_operand(struct parser *p, const char *word) {
    const struct args_command *row = args_command_row(p->args->command);
    if (!row->operand)
        return error_set(p->err, -EINVAL, "'%s' is too much: %s takes no operand", word, row->word);
    if (p->args->operand && row->second && !p->args->second) {
        p->args->second = word;
        return 0;
    }
    if (p->args->operand)
        return error_set(p->err, -EINVAL, "'%s' is too much: %s takes one %s%s%s%s", word,
                         row->word, row->operand, row->second ? " and one " : "",
                         row->second ? row->second : "",
                         row->command == COMMAND_INVOKE ? "; the event is given by --event" : "");
    p->args->operand = word;
    return 0;
}

/* --- all of it ------------------------------------------------------------- */

/* What the words leave open and the environment may say. */
static int apply_variables(struct parser *p) {
    for (size_t i = 0; i < args_options_count; i++) {
        const struct args_option *option = &args_options[i];
        if (!option->variable || !option_belongs(option, p->args->command) ||
            p->given & UINT32_C(1) << i)
            continue;
        const char *value = getenv(option->variable);
        if (!value || !*value)
            continue;
        int r = store(p, option, option->variable, value);
        if (r < 0)
            return r;
    }
    return 0;
}

/* What belongs to one call in a sandbox made for it means nothing to a function that is
 * deployed; said where the words say it, not where a variable does. */
static int check_named(struct parser *p) {
    struct args *args = p->args;
    if (args->command != COMMAND_INVOKE || args->help || !args->operand || !*args->operand ||
        args_is_path(args->operand))
        return 0;
    for (size_t i = 0; i < args_options_count; i++)
        if (args_options[i].path_only && p->given & UINT32_C(1) << i)
            return error_set(p->err, -EINVAL,
                             "--%s is for one-shot calls (fnrun invoke ./PATH); the deployed "
                             "function '%s' has what its function.ini says",
                             args_options[i].name, args->operand);
    return 0;
}

/* What a command cannot do without. */
static int check_needed(struct parser *p) {
    struct args *args = p->args;
    const struct args_command *row = args_command_row(args->command);
    if (!row || args->help)
        return 0;
    if (args->operand && !*args->operand)
        return error_set(p->err, -EINVAL, "%s: the %s is empty", row->word, row->operand);
    if (row->operand_needed && !args->operand)
        return error_set(p->err, -EINVAL, "%s: %s is missing: fnrun %s %s; see 'fnrun help %s'",
                         row->word, row->operand, row->word, row->operand, row->word);
    for (size_t i = 0; row->option_needed && i < args_options_count; i++) {
        const struct args_option *option = &args_options[i];
        char known[128] = "";
        if (strcmp(option->name, row->option_needed) != 0 || p->given & UINT32_C(1) << i)
            continue;
        if (option->choices)
            list_choices(option->choices, known, sizeof known);
        return error_set(p->err, -EINVAL, "%s: --%s is missing: say --%s %s (%s)", row->word,
                         option->name, option->name, option->value, known);
    }
    if (args->command == COMMAND_HELP && args->operand) {
        const char *near;
        if (args_command(args->operand, &near) == COMMAND_NONE)
            return error_set(p->err, -EINVAL, "no command '%s'%s%s%s", args->operand,
                             near ? "; did you mean 'fnrun help " : "; 'fnrun help' lists them",
                             near ? near : "", near ? "'?" : "");
    }
    return 0;
}

int args_parse(int argc, char *const argv[], struct args *args, struct error *err) {
    struct parser p = {.argc = argc, .argv = argv, .next = 1, .args = args, .err = err};
    bool operands_only = false;
    _Static_assert(COMMAND_COUNT <= 32, "commands are bits of an unsigned");
    memset(args, 0, sizeof *args);
    args->log_level = LOG_LEVEL_INFO;
    while (p.next < argc) {
        const char *word = argv[p.next++];
        int r;
        if (!operands_only && strcmp(word, "--") == 0) {
            operands_only = true;
            continue;
        }
        if (!operands_only && word[0] == '-' && word[1] == '-')
            r = parse_long(&p, word);
        else if (!operands_only && word[0] == '-' && word[1])
            r = parse_short(&p, word);
        else if (args->command == COMMAND_NONE)
            r = take_command(&p, word);
        else
            r = take_operand(&p, word);
        if (r < 0)
            return r;
    }
    int r = check_named(&p);
    if (r == 0)
        r = apply_variables(&p);
    return r < 0 ? r : check_needed(&p);
}

void args_free(struct args *args) {
    free(args->env);
    args->env = NULL;
    args->env_count = 0;
}
