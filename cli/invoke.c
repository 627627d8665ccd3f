#include "cli/invoke.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/connect.h"
#include "cli/decode.h"
#include "cli/http.h"
#include "cli/invoke_print.h"
#include "images/json.h"
#include "runner/event.h"
#include "runner/outcome.h"

#define EVENT_MAX  ((uint64_t)1 << 30) /* the most that any function.ini may allow */
#define RESULT_MAX ((size_t)1 << 30)
#define ERROR_MAX  65536
#define NAME_MAX_  64
#define DAY_MS     (UINT64_C(24) * 3600000)

/* One call on its way. Static, and in an order that keeps together what every call touches:
 * each page of it that a process is the first to touch is paid by the caller. */
static struct call {
    const struct args *args;
    struct event event;
    bool event_owned;
    char *body;
    size_t body_length;
    struct http_exchange exchange;
    struct error err;
} the_call;

static int complain(const char *text, int status) {
    fprintf(stderr, "fnrun: %s\n", text);
    return status;
}

static int refuse(int outcome, const struct error *err) {
    fprintf(stderr, "fnrun: %s: %s\n", outcome_name(outcome), err->message);
    return outcome_exit_code(outcome);
}

/* --- what is asked for ------------------------------------------------------------ */

static bool is_name(const char *text) {
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    size_t length = strspn(text, letters);
    return length >= 1 && length <= NAME_MAX_ && !text[length];
}

/* The unit's length in ms, 0 for none such. */
static uint64_t unit_ms(const char *unit) {
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].unit) == 0)
            return units[i].ms;
    return 0;
}

/* As function.ini writes times: 500ms, 1.5s; from 1ms to 24h. */
static bool is_time(const char *text) {
    const char *rest = text + strspn(text, "0123456789");
    uint64_t whole = 0, thousandths = 0, scale = 100;
    if (rest == text || rest - text > 9)
        return false;
    for (; text < rest; text++)
        whole = whole * 10 + (uint64_t)(*text - '0');
    bool parts = *rest == '.';
    const char *digit = rest + parts, *unit = digit + (parts ? strspn(digit, "0123456789") : 0);
    uint64_t factor = unit_ms(unit);
    if (!factor || (parts && (unit == digit || unit - digit > 6 || factor == 1)))
        return false;
    for (; digit < unit; digit++, scale /= 10)
        thousandths += (uint64_t)(*digit - '0') * scale;
    uint64_t ms = whole * factor + thousandths * factor / 1000;
    return ms >= 1 && ms <= DAY_MS;
}

static int check_words(const struct args *args, struct error *err) {
    if (!is_name(args->operand)) {
        error_set(err, -ENOENT,
                  "'%.80s' cannot be the name of a function: those have 1 to 64 letters, digits, - "
                  "and _; a path has a / in it: ./%.80s",
                  args->operand, args->operand);
        return refuse(OUTCOME_NO_FUNCTION, err);
    }
    if (args->timeout && !is_time(args->timeout)) {
        error_set(
            err, -EINVAL,
            "--timeout: expected a time such as 3s (with ms, s, m or h), 1ms to 24h, got '%.80s'",
            args->timeout);
        return complain(err->message, EXIT_USAGE);
    }
    return 0;
}

/* The event that needs no reading: a text in the command line, sent from where it stands, or
 * {} where stdin is a terminal or /dev/null. NULL for all others. */
static const char *ready_event(const char *option) {
    struct stat status;
    if (!option)
        return fstat(STDIN_FILENO, &status) == 0 && S_ISCHR(status.st_mode) ? "{}" : NULL;
    bool text = *option != '@' && strcmp(option, "-") != 0;
    return text && json_scan(option, strlen(option), NULL) ? option : NULL;
}

static int read_event(struct call *call) {
    const char *option = call->args->event, *ready = ready_event(option);
    if (ready) {
        call->event.data = (char *)ready;
        call->event.length = strlen(ready);
        return 0;
    }
    call->event_owned = true;
    int outcome = event_read(option, EVENT_MAX, call->args->quiet, &call->event, &call->err);
    return outcome == OUTCOME_SUCCESS ? 0 : refuse(outcome, &call->err);
}

/* --- the exchange ----------------------------------------------------------------- */

/* The connection closes with the process, and the daemon kills the invocation. */
static void leave(int number) {
    _exit(128 + number);
}

static void watch_signals(void) {
    struct sigaction action = {.sa_handler = leave};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_IGN; /* a closed stdout is an error with words */
    sigaction(SIGPIPE, &action, NULL);
}

static char *put(char *to, const char *text) {
    size_t length = strlen(text);
    memcpy(to, text, length);
    return to + length;
}

static char *put_size(char *to, size_t number) {
    char digits[24], *from = digits + sizeof digits;
    do
        *--from = (char)('0' + number % 10);
    while (number /= 10);
    size_t length = (size_t)(digits + sizeof digits - from);
    memcpy(to, from, length);
    return to + length;
}

/* By hand: printf's pages would be a good part of what a warm call costs. */
static int send_request(struct call *call, struct error *err) {
    char head[512], *to = head;
    to = put(to, "POST /2015-03-31/functions/");
    to = put(to, call->args->operand);
    to = put(to, "/invocations HTTP/1.1\r\nHost: fnrun\r\nContent-Length: ");
    to = put_size(to, call->event.length);
    if (call->args->timeout) {
        to = put(to, "\r\nX-Fnrun-Timeout: ");
        to = put(to, call->args->timeout);
    }
    if (invoke_wants_report(call->args))
        to = put(to, "\r\nX-Fnrun-Report: 1");
    to = put(to, "\r\n\r\n");
    return http_send(&call->exchange, head, (size_t)(to - head), call->event.data,
                     call->event.length, err);
}

/* Where a folder or file of that name is, it runs without a daemon. */
static void suggest_path(const char *name, struct error *err) {
    struct stat status;
    size_t used = strlen(err->message);
    if (stat(name, &status) == 0)
        snprintf(err->message + used, sizeof err->message - used,
                 "; `fnrun invoke ./%s` runs the %s of that name once, without a daemon", name,
                 S_ISDIR(status.st_mode) ? "folder" : "file");
}

static int no_daemon(const struct args *args, struct error *err) {
    if (err->code == -ENOENT || err->code == -ECONNREFUSED)
        suggest_path(args->operand, err);
    return complain(err->message, err->code == -EACCES ? ARGS_EXIT_BUSY : ARGS_EXIT_BROKEN);
}

/* --- a refusal ------------------------------------------------------------------- */

/* Anything but 200: nothing was run, or no outcome is known. */
static int explain_refusal(struct call *call) {
    char message[700];
    struct error *err = &call->err;
    const struct http_exchange *exchange = &call->exchange;
    int status = exchange->status;
    const char *type = http_answer_header(exchange, "x-amzn-ErrorType");
    const char *retry = http_answer_header(exchange, "Retry-After");
    if (!json_scan(call->body, call->body_length, NULL) ||
        decode_text(call->body, call->body_length, "Message", message, sizeof message) <= 0)
        snprintf(message, sizeof message, "the daemon answered %d without saying why", status);
    error_set(err, -EREMOTEIO, "%.*s: %s", type ? (int)strcspn(type, ":") : 16,
              type ? type : "ServiceException", message);
    if (status == 404) {
        suggest_path(call->args->operand, err);
    } else if (retry) {
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, "; try again in %.10s s", retry);
    }
    if (status == 403 || status == 429)
        return complain(err->message, ARGS_EXIT_BUSY);
    return complain(err->message,
                    status >= 400 && status < 500 ? ARGS_EXIT_REFUSED : ARGS_EXIT_BROKEN);
}

/* --- all of it ------------------------------------------------------------------------- */

static int exchange(struct call *call) {
    struct error *err = &call->err;
    struct http_exchange *exchange = &call->exchange;
    int fd = connect_daemon(call->args->socket, err);
    if (fd < 0)
        return no_daemon(call->args, err);
    http_begin(exchange, fd);
    int r = send_request(call, err);
    if (r == 0)
        r = http_receive(exchange, err);
    if (r == 0)
        r = http_read_all(exchange, exchange->status == 200 ? RESULT_MAX : ERROR_MAX, &call->body,
                          &call->body_length, err);
    if (r < 0)
        return complain(err->message, ARGS_EXIT_BROKEN);
    return exchange->status == 200
               ? invoke_print(call->args, exchange, call->body, call->body_length)
               : explain_refusal(call);
}

int invoke_run(const struct args *args) {
    struct call *call = &the_call;
    call->args = args;
    call->exchange.fd = -EBADF;
    int code = check_words(args, &call->err);
    watch_signals();
    if (code == 0)
        code = read_event(call);
    if (code == 0)
        code = exchange(call);
    http_end(&call->exchange);
    if (call->event_owned)
        event_free(&call->event);
    return code;
}
