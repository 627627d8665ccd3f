#include "cli/logs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/log_lines.h"
#include "cli/remote.h"
#include "cli/table.h"

static int wrong(const char *option, const char *expected, const char *value) {
    fprintf(stderr, "fnrun: %s: expected %s, got '%.80s'\n", option, expected, value);
    return ARGS_EXIT_USAGE;
}

/* The query of the request: "?since=...&request_id=...&follow=1". */
static int make_query(const struct args *args, char *query, size_t size) {
    char since[48] = "", id[64] = "";
    if (args->since) {
        long long age = log_lines_age(args->since);
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        if (age < 0)
            return wrong("--since", "a time such as 5m (with s, m, h or d)", args->since);
        long long from = (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000 - age;
        snprintf(since, sizeof since, "&since=%lld", from > 0 ? from : 0);
    }
    if (args->request_id) {
        size_t length = strspn(args->request_id, "0123456789abcdefABCDEF-");
        if (length < 1 || length > 36 || args->request_id[length])
            return wrong("--request-id", "a request id as the REPORT line has it",
                         args->request_id);
        snprintf(id, sizeof id, "&request_id=%s", args->request_id);
    }
    snprintf(query, size, "%s%s%s", since, id, args->follow ? "&follow=1" : "");
    if (*query)
        *query = '?';
    return 0;
}

static int print_stream(struct remote *remote) {
    static struct log_lines lines; /* 128 KiB: not for the stack */
    static char bytes[65536];
    struct error err;
    lines.to = stdout;
    lines.json = remote->args->json;
    lines.terminal = isatty(STDOUT_FILENO);
    lines.colours = table_may_colour();
    for (;;) {
        ssize_t got = http_read(&remote->exchange, bytes, sizeof bytes, &err);
        if (got == 0)
            return lines.used ? log_lines_add(&lines, "\n", 1) : 0;
        if (got < 0)
            return remote_broken(&err);
        if (log_lines_add(&lines, bytes, (size_t)got) < 0) {
            error_set(&err, -EPROTO,
                      "the daemon's answer cannot be understood: a line of it is no log");
            fflush(stdout);
            return remote_broken(&err);
        }
        int status = remote_printed(); /* each line is seen when it comes */
        if (status)
            return status;
    }
}

int logs_run(const struct args *args) {
    struct remote remote;
    char query[160];
    int status = remote_check_name(args->operand);
    if (!status)
        status = make_query(args, query, sizeof query);
    if (status)
        return status;
    status = remote_connect(&remote, args);
    if (!status)
        status = remote_ask(&remote, "GET", "", "functions/%s/logs%s", args->operand, query);
    if (!status)
        status = remote_receive(&remote);
    if (!status)
        status = print_stream(&remote);
    remote_end(&remote);
    return status ? status : remote_printed();
}
