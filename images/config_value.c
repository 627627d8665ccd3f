#include "images/config_value.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "images/config.h"
#include "images/function.h"
#include "images/near.h"
#include "images/runtimes.h"
#include "images/utf8.h"

#define NAME_MAX_LENGTH 64
#define FRACTION_DIGITS 6

/* --- numbers and units --------------------------------------------------------------- */

struct number {
    uint64_t whole, fraction, scale; /* whole + fraction / scale */
    const char *unit;                /* what stands behind it */
};

static int read_number(const char *text, struct number *number) {
    bool negative = *text == '-', overflow = false;
    const char *p = text + negative;
    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    *number = (struct number){.scale = 1};
    for (; isdigit((unsigned char)*p); p++) {
        overflow = overflow || __builtin_mul_overflow(number->whole, 10, &number->whole) ||
                   __builtin_add_overflow(number->whole, (uint64_t)(*p - '0'), &number->whole);
    }
    if (*p == '.') {
        int digits = 0;
        for (p++; isdigit((unsigned char)*p); p++, digits++) {
            if (digits == FRACTION_DIGITS)
                return -EINVAL;
            number->fraction = number->fraction * 10 + (uint64_t)(*p - '0');
            number->scale *= 10;
        }
        if (!digits)
            return -EINVAL;
    }
    number->unit = p;
    return negative || overflow ? -ERANGE : 0;
}

/* number times factor, rounded down; a factor of 1 has no parts. */
static int scale_number(const struct number *number, uint64_t factor, uint64_t *value) {
    uint64_t whole;
    if (factor == 1 && number->scale != 1)
        return -EINVAL;
    if (__builtin_mul_overflow(number->whole, factor, &whole) ||
        __builtin_add_overflow(whole, number->fraction * factor / number->scale, value))
        return -ERANGE;
    return 0;
}

/* The factor of a size's unit, 0 for none such. */
static uint64_t size_factor(const char *unit) {
    static const char letters[] = "KMG";
    if (!*unit || !strcasecmp(unit, "B"))
        return 1;
    const char *letter = strchr(letters, toupper((unsigned char)*unit));
    const char *rest = unit + 1;
    if (!letter || (*rest && strcasecmp(rest, "B") != 0 && strcasecmp(rest, "iB") != 0))
        return 0;
    return 1ull << (10 * (letter - letters + 1));
}

static uint64_t time_factor(const char *unit) {
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(unit, units[i].unit) == 0)
            return units[i].ms;
    return 0;
}

static int parse_scaled(const char *text, uint64_t (*factor_of)(const char *), uint64_t *value) {
    struct number number;
    int r = read_number(text, &number);
    if (r == -EINVAL)
        return r;
    uint64_t factor = factor_of(number.unit);
    if (!factor)
        return -EINVAL;
    return r < 0 ? r : scale_number(&number, factor, value);
}

int config_parse_size(const char *text, uint64_t *value) {
    return parse_scaled(text, size_factor, value);
}

int config_parse_time(const char *text, uint64_t *value) {
    return parse_scaled(text, time_factor, value);
}

static uint64_t no_unit(const char *unit) {
    return !*unit;
}

static uint64_t cores_factor(const char *unit) {
    return *unit ? 0 : 1000;
}

static int parse_number(const struct config_row *row, const char *text, uint64_t *value) {
    switch (row->type) {
    case CONFIG_SIZE:
        return config_parse_size(text, value);
    case CONFIG_TIME:
        return config_parse_time(text, value);
    case CONFIG_CORES:
        return parse_scaled(text, cores_factor, value);
    default:
        return parse_scaled(text, no_unit, value);
    }
}

/* --- wording ---------------------------------------------------------------------------- */

/* "key: what, got `value`hint". Returns -EINVAL. */
__attribute__((format(printf, 4, 5))) static int
refuse(char text[CONFIG_TEXT_SIZE], const char *key, const char *value, const char *format, ...) {
    char what[CONFIG_TEXT_SIZE], got[UTF8_EXCERPT];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    utf8_excerpt(value, got);
    int used = snprintf(text, CONFIG_TEXT_SIZE, "%.64s: %.240s, got ", key, what);
    size_t left = CONFIG_TEXT_SIZE - (size_t)used;
    if (*got)
        snprintf(text + used, left, "`%s`", got);
    else
        snprintf(text + used, left, "nothing");
    return -EINVAL;
}

static void add_hint(char text[CONFIG_TEXT_SIZE], const char *word) {
    size_t used = strlen(text);
    if (word)
        snprintf(text + used, CONFIG_TEXT_SIZE - used, "; did you mean %s?", word);
}

static const char *number_example(const struct config_row *row) {
    switch (row->type) {
    case CONFIG_SIZE:
        return "a size such as 128M (bytes, or with K, M or G)";
    case CONFIG_TIME:
        return "a time such as 3s (with ms, s, m or h)";
    case CONFIG_CORES:
        return "a number of cores such as 0.5";
    default:
        return "a whole number";
    }
}

/* --- each type --------------------------------------------------------------------------- */

static int apply_number(const struct config_row *row, const char *key, const char *value,
                        uint64_t *to, char *text) {
    char range[80], with_unit[72];
    uint64_t number = 0;
    int r = parse_number(row, value, &number);
    config_range_text(row, range, sizeof range);
    if (r == -EINVAL) {
        refuse(text, key, value, "expected %s, %s", number_example(row), range);
        snprintf(with_unit, sizeof with_unit, "%.60ss", value);
        if (row->type == CONFIG_TIME && config_parse_time(with_unit, &number) == 0)
            add_hint(text, with_unit);
        return r;
    }
    bool zero = r == 0 && number == 0 && row->zero_too;
    if (r < 0 || (!zero && (number < row->minimum || number > row->maximum)))
        return refuse(text, key, value, "%s", range);
    if (to)
        *to = number;
    return 0;
}

static int apply_text(const char *value, char **to) {
    char *copy = strdup(value);
    if (!copy)
        return -ENOMEM;
    free(*to);
    *to = copy;
    return 0;
}

static bool is_name(const char *text) {
    size_t length = strlen(text);
    return length >= 1 && length <= NAME_MAX_LENGTH &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
               length;
}

static const struct config_word *find_word(const struct config_row *row, const char *key,
                                           const char *value, char *text) {
    const char *nearest = NULL;
    size_t distance = (size_t)-1;
    char range[128];
    for (const struct config_word *word = row->words; word->word; word++) {
        if (strcmp(word->word, value) == 0) {
            if (!word->refused)
                return word;
            snprintf(text, CONFIG_TEXT_SIZE, "%s: %s", key, word->refused);
            return NULL;
        }
        near_offer(value, word->word, &nearest, &distance);
    }
    config_range_text(row, range, sizeof range);
    refuse(text, key, value, "expected %s", range);
    add_hint(text, nearest);
    return NULL;
}

static int apply_switch(const char *key, const char *value, bool *to, char *text) {
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *to = i % 2;
            return 0;
        }
    }
    return refuse(text, key, value, "expected yes or no");
}

/* Inside the folder by its words alone; function.c asks the kernel. */
static int apply_file(const char *key, const char *value, char **to, char *text) {
    if (!*value) {
        free(*to);
        *to = NULL;
        return 0;
    }
    if (*value == '/')
        return refuse(text, key, value, "expected a path inside the function's folder");
    return apply_text(value, to);
}

static bool is_variable_name(const char *key) {
    if (!isalpha((unsigned char)*key) && *key != '_')
        return false;
    for (; *key; key++)
        if (!isalnum((unsigned char)*key) && *key != '_')
            return false;
    return true;
}

/* To a list in *object: a pointer at row->offset, its count at count_offset. */
static int add_pair(const struct config_row *row, const char *key, const char *value,
                    void *object) {
    struct function_pair **items = (struct function_pair **)((char *)object + row->offset);
    size_t *count = (size_t *)((char *)object + row->count_offset);
    struct function_pair *more = realloc(*items, (*count + 1) * sizeof *more);
    if (!more)
        return -ENOMEM;
    *items = more;
    struct function_pair pair = {.key = strdup(key), .value = strdup(value)};
    if (!pair.key || !pair.value) {
        free(pair.key);
        free(pair.value);
        return -ENOMEM;
    }
    more[(*count)++] = pair;
    return 0;
}

static int apply_pair(const struct config_row *row, const char *key, const char *value,
                      void *object, char *text) {
    char shown[UTF8_EXCERPT];
    utf8_excerpt(key, shown);
    if (!is_variable_name(key)) {
        snprintf(text, CONFIG_TEXT_SIZE,
                 "%s: a variable's name is letters, digits and _, and starts with no digit", shown);
        return -EINVAL;
    }
    if (runtimes_reserved(key)) {
        snprintf(text, CONFIG_TEXT_SIZE,
                 "%s: this variable is set by fnrun, as on AWS Lambda; use another name", shown);
        return -EINVAL;
    }
    if (!*value && row->offset == offsetof(struct function, secrets))
        return refuse(text, shown, value, "expected the name of a credential or a file");
    return add_pair(row, key, value, object);
}

/* A key of function.ini, checked as it will be there. None of them is a text, so that there is
 * nothing to free. */
static int apply_default(const struct config_row *row, const char *key, const char *value,
                         void *object, char *text) {
    struct function scratch = {0};
    const struct config_row *of = config_find_default(key);
    char name[64], shown[UTF8_EXCERPT];
    if (!of) {
        const char *near = config_near_default(key);
        snprintf(
            text, CONFIG_TEXT_SIZE,
            "unknown key `%s` in [%s]: expected one of function.ini's [limits] or [scale], but "
            "output and warmup",
            utf8_excerpt(key, shown), row->section);
        add_hint(text, near);
        return -EINVAL;
    }
    int r = config_apply(of, key, value, &scratch, text);
    if (r < 0)
        return r;
    snprintf(name, sizeof name, "%s.%s", of->section, of->key);
    return add_pair(row, name, value, object);
}

static int apply_path(const char *key, const char *value, char **to, char *text) {
    if (*value != '/')
        return refuse(text, key, value, "expected an absolute path");
    return apply_text(value, to);
}

static int apply_mode(const struct config_row *row, const char *key, const char *value,
                      uint32_t *to, char *text) {
    char range[80];
    size_t length = strlen(value);
    unsigned long mode = strtoul(value, NULL, 8);
    config_range_text(row, range, sizeof range);
    if (!length || length > 4 || strspn(value, "01234567") != length || mode < row->minimum ||
        mode > row->maximum)
        return refuse(text, key, value, "expected permissions, %s", range);
    *to = (uint32_t)mode;
    return 0;
}

static int check_quota(const struct config_row *row, const char *key, const char *value,
                       char *text) {
    static const char *const resources[] = {"invocations", "gb_seconds", "cpu_seconds"};
    static const char *const times[] = {"minute", "hour", "day", "month"};
    char name[64], shown[UTF8_EXCERPT];
    for (size_t i = 0; i < sizeof resources / sizeof resources[0]; i++) {
        for (size_t j = 0; j < sizeof times / sizeof times[0]; j++) {
            snprintf(name, sizeof name, "%s_per_%s", resources[i], times[j]);
            if (strcmp(key, name) == 0)
                return apply_number(row, key, value, NULL, text);
        }
    }
    utf8_excerpt(key, shown);
    snprintf(text, CONFIG_TEXT_SIZE,
             "unknown key `%s` in [quota]: expected group, or invocations, gb_seconds or "
             "cpu_seconds with _per_minute, _per_hour, _per_day or _per_month behind it",
             shown);
    return -EINVAL;
}

int config_apply(const struct config_row *row, const char *key, const char *value, void *object,
                 char text[CONFIG_TEXT_SIZE]) {
    void *to = (char *)object + row->offset;
    const struct config_word *word;
    switch (row->type) {
    case CONFIG_SIZE:
    case CONFIG_TIME:
    case CONFIG_CORES:
    case CONFIG_COUNT:
        return apply_number(row, key, value, to, text);
    case CONFIG_WORD:
        word = find_word(row, key, value, text);
        if (word)
            *(int *)to = word->value;
        return word ? 0 : -EINVAL;
    case CONFIG_CHOICE:
        word = find_word(row, key, value, text);
        return word ? apply_text(word->word, to) : -EINVAL;
    case CONFIG_SWITCH:
        return apply_switch(key, value, to, text);
    case CONFIG_NAME:
    case CONFIG_GROUP:
        if (!is_name(value))
            return refuse(text, key, value, "expected 1 to 64 letters, digits, - and _");
        return row->type == CONFIG_GROUP ? 0 : apply_text(value, to);
    case CONFIG_TEXT:
        if (!*value)
            return refuse(text, key, value, "expected a value");
        return apply_text(value, to);
    case CONFIG_FILE:
        return apply_file(key, value, to, text);
    case CONFIG_PAIRS:
        return apply_pair(row, key, value, object, text);
    case CONFIG_PATH:
        return apply_path(key, value, to, text);
    case CONFIG_MODE:
        return apply_mode(row, key, value, to, text);
    case CONFIG_DEFAULT:
        return apply_default(row, key, value, object, text);
    default:
        return check_quota(row, key, value, text);
    }
}
