#include "runner/fnrund_args.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

static const struct option {
    const char *name, *value, *help;
    size_t offset;
} options[] = {
    {"socket", "PATH", "listen on this unix socket\n(environment: FNRUN_SOCKET)",
     offsetof(struct fnrund_args, socket)},
    {"config", "FILE",
     "read this instead of /etc/fnrun/fnrun.ini (as an\nordinary user: "
     "~/.config/fnrun/fnrun.ini)",
     offsetof(struct fnrund_args, config)},
    {"store", "DIR", "keep functions and usage records there", offsetof(struct fnrund_args, store)},
    {"check-config", NULL, "say all that is wrong with fnrun.ini, and end",
     offsetof(struct fnrund_args, check_config)},
    {"version", NULL, "print the version", offsetof(struct fnrund_args, version)},
    {"help", NULL, "print this text", offsetof(struct fnrund_args, help)},
};
enum { OPTIONS = sizeof options / sizeof *options, COLUMN = 20 };

static const struct option *find(const char *word, size_t length) {
    for (size_t i = 0; i < OPTIONS; i++)
        if (strlen(options[i].name) == length && memcmp(options[i].name, word, length) == 0)
            return &options[i];
    return NULL;
}

int fnrund_args_parse(int argc, char *argv[], struct fnrund_args *args, struct error *err) {
    *args = (struct fnrund_args){0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-h") == 0) {
            args->help = true;
            continue;
        }
        if (strncmp(argv[i], "--", 2) != 0 || !argv[i][2])
            return error_set(err, -EINVAL, "unexpected argument `%s` (see fnrund --help)", argv[i]);
        const char *word = argv[i] + 2, *equals = strchr(word, '=');
        const struct option *option = find(word, equals ? (size_t)(equals - word) : strlen(word));
        if (!option)
            return error_set(err, -EINVAL, "unknown option `%s` (see fnrund --help)", argv[i]);
        void *member = (char *)args + option->offset;
        if (!option->value) {
            if (equals)
                return error_set(err, -EINVAL, "--%s takes no value", option->name);
            *(bool *)member = true;
            continue;
        }
        const char *value = equals ? equals + 1 : argv[++i];
        if (!value || !*value)
            return error_set(err, -EINVAL, "--%s needs a value: --%s %s", option->name,
                             option->name, option->value);
        *(const char **)member = value;
    }
    return 0;
}

/* `  left   text`, the text's further lines below its first. */
static void print_columns(FILE *to, const char *left, const char *text) {
    int used = fprintf(to, "  %s", left);
    while (true) {
        size_t line = strcspn(text, "\n");
        fprintf(to, "%*s%.*s\n", COLUMN - used, "", (int)line, text);
        if (!text[line])
            return;
        text += line + 1;
        used = 0;
    }
}

void fnrund_args_print_help(FILE *to) {
    fputs("usage: fnrund [OPTION]...\n\n"
          "Keeps functions warm and answers invocations over HTTP on a unix socket, until\n"
          "SIGTERM or Ctrl-C. SIGHUP reads fnrun.ini again.\n"
          "\noptions:\n",
          to);
    for (size_t i = 0; i < OPTIONS; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", options[i].name, options[i].value ? " " : "",
                 options[i].value ? options[i].value : "");
        print_columns(to, left, options[i].help);
    }
    fputs("\nexit status:\n", to);
    print_columns(to, "0", "stopped as asked");
    print_columns(to, "2", "wrong usage of the command");
    print_columns(to, "3", "something is wrong with fnrun.ini");
    print_columns(to, "5", "it could not start, or its launcher was lost");
    fputs("\nto start:\n  fnrund &\n  fnrun deploy ./hello\n  fnrun invoke hello\n", to);
}
