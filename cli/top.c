#include "cli/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/remote.h"
#include "cli/table.h"

#define EVERY_MS 1000

/* --- the table --------------------------------------------------------------------- */

/* Short words: all of it fits in 80 columns. */
static const struct table_column columns[] = {
    {"FUNCTION", false}, {"BUSY", true}, {"READY", true}, {"QUEUE", true},
    {"CALLS", true},     {"/S", true},   {"P50", true},   {"P99", true},
    {"ERR", true},       {"THR", true},  {"MEM", true},   {"CPU", true},
};

static const cJSON *find(const cJSON *json, const char *name) {
    for (const cJSON *item = remote_items(json, "functions"); item; item = item->next)
        if (strcmp(remote_text(item, "name"), name) == 0)
            return item;
    return NULL;
}

static void add_count(struct table *table, double count, int colour) {
    table_cell(table, count > 0 ? colour : TABLE_DIM, "%.0f", count);
}

/* What grows is shown as it grows: by the second, and cpu as a share of one core. before NULL:
 * what there was in all. */
static void add_growth(struct table *table, const cJSON *item, const cJSON *before, const char *key,
                       double us, bool cpu) {
    char text[TABLE_NUMBER];
    double grown = remote_number(item, key) - remote_number(before, key);
    if (before && us > 0 && grown >= 0)
        table_cell(table, grown > 0 ? TABLE_PLAIN : TABLE_DIM, cpu ? "%.0f%%" : "%.0f",
                   cpu ? grown * 100 / us : grown * 1e6 / us);
    else if (cpu)
        table_cell(table, TABLE_PLAIN, "%s", table_time(remote_number(item, key), text));
    else
        table_cell(table, TABLE_DIM, "-");
}

/* us: since `before` was asked. */
static void add_row(struct table *table, const cJSON *item, const cJSON *before, double us) {
    char text[TABLE_NUMBER];
    bool broken = *remote_text(item, "broken"), up = remote_true(item, "up");
    table_cell(table,
               broken ? TABLE_RED
               : up   ? TABLE_PLAIN
                      : TABLE_DIM,
               "%s%s", remote_text(item, "name"), broken ? " (broken)" : "");
    add_count(table, remote_number(item, "busy"), TABLE_GREEN);
    add_count(table, remote_number(item, "ready"), TABLE_PLAIN);
    add_count(table, remote_number(item, "queued"), TABLE_YELLOW);
    add_count(table, remote_number(item, "calls"), TABLE_PLAIN);
    add_growth(table, item, before, "calls", us, false);
    table_cell(table, TABLE_PLAIN, "%s", table_time(remote_number(item, "p50Us"), text));
    table_cell(table, TABLE_PLAIN, "%s", table_time(remote_number(item, "p99Us"), text));
    add_count(table, remote_number(item, "errors"), TABLE_RED);
    add_count(table, remote_number(item, "throttled"), TABLE_YELLOW);
    table_cell(table, TABLE_PLAIN, "%s", table_size(remote_number(item, "memory"), text));
    add_growth(table, item, before, "cpuUs", us, true);
}

/* rows_max 0: all. Returns the exit status. */
static int fill(struct table *table, const cJSON *json, const cJSON *before, size_t rows_max) {
    size_t rows = 0;
    double us = before ? remote_number(json, "time") - remote_number(before, "time") : 0;
    table_begin(table, columns, sizeof columns / sizeof *columns);
    for (const cJSON *item = remote_items(json, "functions"); item; item = item->next) {
        if (rows_max && rows++ == rows_max)
            break;
        add_row(table, item, before ? find(before, remote_text(item, "name")) : NULL, us);
    }
    if (!table->failed)
        return 0;
    fputs("fnrun: out of memory\n", stderr);
    return ARGS_EXIT_BROKEN;
}

/* --- once ------------------------------------------------------------------------------ */

static int print_once(const struct args *args) {
    struct remote remote;
    struct table table;
    int status = remote_call(&remote, args, "GET", "top");
    if (!status && args->json) {
        status = remote_print_body(&remote);
    } else if (!status) {
        status = fill(&table, remote.json, NULL, 0);
        if (!status)
            table_print(&table, stdout, table_may_colour(), 0, 0, false);
        table_end(&table);
    }
    remote_end(&remote);
    return status ? status : remote_printed();
}

/* --- live ------------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void on_signal(int number) {
    if (number != SIGWINCH)
        interrupted = number;
}

struct screen {
    struct termios before;
    bool keys; /* stdin is a terminal, too */
};

/* An empty screen, no cursor, keys without Enter; Ctrl-C still interrupts. */
static void enter(struct screen *screen) {
    struct sigaction action = {.sa_handler = on_signal};
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    screen->keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &screen->before) == 0;
    if (screen->keys) {
        struct termios now = screen->before;
        now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        tcsetattr(STDIN_FILENO, TCSANOW, &now);
    }
    fputs("\033[2J\033[?25l", stdout);
}

static void leave(const struct screen *screen) {
    fputs("\033[?25h", stdout);
    fflush(stdout);
    if (screen->keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &screen->before);
}

/* A second, or a key, or a signal. True when it was asked to end. */
static bool wait_for_key(const struct screen *screen) {
    struct pollfd key = {.fd = screen->keys ? STDIN_FILENO : -1, .events = POLLIN};
    char letter;
    if (poll(&key, 1, EVERY_MS) != 1)
        return interrupted;
    return read(STDIN_FILENO, &letter, 1) != 1 || letter == 'q' || letter == 'Q';
}

static void print_head(const cJSON *json, size_t width) {
    char text[200], date[TABLE_NUMBER];
    size_t count = 0, up = 0;
    double busy = 0;
    for (const cJSON *item = remote_items(json, "functions"); item; item = item->next) {
        count++;
        up += remote_true(item, "up");
        busy += remote_number(item, "busy");
    }
    snprintf(text, sizeof text, "fnrun top  %s  %zu function%s, %zu up, %.0f in flight  (q quits)",
             table_date(remote_number(json, "time") / 1e6, date), count, count == 1 ? "" : "s", up,
             busy);
    printf("\033[H%.*s\033[K\n\033[K\n", (int)(width < sizeof text ? width : sizeof text), text);
}

static int draw(const cJSON *json, const cJSON *before) {
    struct winsize size = {0};
    struct table table;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col) {
        size.ws_row = 24;
        size.ws_col = 80;
    }
    size_t rows = size.ws_row > 5 ? (size_t)size.ws_row - 4 : 1;
    int status = fill(&table, json, before, rows);
    if (!status) {
        print_head(json, size.ws_col);
        table_print(&table, stdout, table_may_colour(), rows, size.ws_col, true);
        fputs("\033[J", stdout); /* what was below */
    }
    table_end(&table);
    return status ? status : remote_printed();
}

static int watch(const struct args *args, struct screen *screen) {
    cJSON *before = NULL;
    int status = 0;
    bool entered = false;
    while (!status && !interrupted) {
        struct remote remote;
        status = remote_call(&remote, args, "GET", "top");
        if (!status && !entered) {
            enter(screen);
            entered = true;
        }
        if (!status)
            status = draw(remote.json, before);
        cJSON_Delete(before);
        before = remote.json;
        remote.json = NULL;
        remote_end(&remote);
        if (!status && wait_for_key(screen))
            break;
    }
    cJSON_Delete(before);
    if (entered)
        leave(screen);
    return status ? status : interrupted ? 128 + (int)interrupted : ARGS_EXIT_OK;
}

int top_run(const struct args *args) {
    struct screen screen = {.keys = false};
    bool live = !args->json && !args->once && isatty(STDOUT_FILENO);
    return live ? watch(args, &screen) : print_once(args);
}
