#include "cli/args.h"

#include <string.h>

#include "cli/args_table.h"

/* Columns in which the second part of a line starts. */
enum { WORD_COLUMN = 12, OPTION_COLUMN = 24, STATUS_COLUMN = 8 };

/* Prints `  left   text`, the text's further lines below its first. */
static void print_columns(FILE *to, int column, const char *left, const char *text) {
    int used = fprintf(to, "  %s", left);
    if (used > column - 2) {
        fputc('\n', to);
        used = 0;
    }
    while (true) {
        size_t line = strcspn(text, "\n");
        fprintf(to, "%*s%.*s\n", column - used, "", (int)line, text);
        if (!text[line])
            return;
        text += line + 1;
        used = 0;
    }
}

static void print_option(FILE *to, const struct args_option *option) {
    char left[64], help[256];
    char letter[5] = "    ";
    if (option->letter)
        snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name, option->value ? " " : "",
             option->value ? option->value : "");
    snprintf(help, sizeof help, "%s%s%s", option->help, option->variable ? "\nenvironment: " : "",
             option->variable ? option->variable : "");
    print_columns(to, OPTION_COLUMN, left, help);
}

static void print_indented(FILE *to, const char *lines) {
    while (*lines) {
        size_t line = strcspn(lines, "\n");
        fprintf(to, "  %.*s\n", (int)line, lines);
        lines += line + (lines[line] != 0);
    }
}

static void print_overview(FILE *to) {
    fputs("usage: fnrun COMMAND [OPTION]...\n\n"
          "Runs functions, one event in and one result out, in sandboxes with hard limits.\n"
          "\ncommands:\n",
          to);
    for (size_t i = 0; i < args_commands_count; i++)
        print_columns(to, WORD_COLUMN, args_commands[i].word, args_commands[i].summary);
    fputs("\nto start:\n", to);
    print_indented(to, args_command_row(COMMAND_INIT)->examples);
    fputs("\n'fnrun help COMMAND' has a command's options, exit statuses and examples.\n", to);
}

void args_print_help(int command, FILE *to) {
    const struct args_command *row = args_command_row(command);
    if (!row) {
        print_overview(to);
        return;
    }
    const char *open = row->operand_needed ? "" : "[", *close = row->operand_needed ? "" : "]";
    fprintf(to, "usage: fnrun %s", row->word);
    if (row->operand)
        fprintf(to, " %s%s%s", open, row->operand, close);
    if (row->second)
        fprintf(to, " [%s]", row->second);
    if (row->option_needed)
        fprintf(to, " --%s VALUE", row->option_needed);
    fprintf(to, " [OPTION]...\n\nfnrun %s: %s\n\n", row->word, row->summary);
    if (*row->text)
        fprintf(to, "%s\n", row->text);
    fputs("options:\n", to);
    for (size_t i = 0; i < args_options_count; i++)
        if (args_options[i].commands & ARGS_FOR(command))
            print_option(to, &args_options[i]);
    fputs("\nexit statuses:\n", to);
    for (size_t i = 0; i < args_statuses_count; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", args_statuses[i].status);
        if (args_statuses[i].commands & ARGS_FOR(command))
            print_columns(to, STATUS_COLUMN, number, args_statuses[i].text);
    }
    if (row->examples) {
        fputs("\nexamples:\n", to);
        print_indented(to, row->examples);
    }
}
