#include "runner/event.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "images/json.h"
#include "runner/outcome.h"

#define WAIT_MS 1000

static int too_large(uint64_t limit, struct error *err) {
    error_set(err, -E2BIG,
              "the event is larger than %llu bytes: send less, or raise `event` in [limits] of "
              "function.ini",
              (unsigned long long)limit);
    return OUTCOME_EVENT_TOO_LARGE;
}

static int set_text(struct event *event, const char *text) {
    event->length = strlen(text);
    event->data = malloc(event->length + 1);
    if (!event->data)
        return OUTCOME_SERVICE;
    memcpy(event->data, text, event->length + 1);
    return OUTCOME_SUCCESS;
}

/* To the end of fd. One byte more than the limit is enough to know. */
static int read_all(int fd, const char *name, uint64_t limit, bool patient, struct event *event,
                    struct error *err) {
    size_t capacity = 65536;
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0) {
        if ((uint64_t)st.st_size > limit + 4096)
            return too_large(limit, err);
        capacity = (size_t)st.st_size + 1;
    }
    for (;;) {
        if (event->length >= capacity || !event->data) {
            if (event->data)
                capacity *= 2;
            char *more = realloc(event->data, capacity);
            if (!more) {
                error_set(err, -ENOMEM, "out of memory for the event");
                return OUTCOME_SERVICE;
            }
            event->data = more;
        }
        if (!patient) {
            struct pollfd wait = {.fd = fd, .events = POLLIN};
            if (poll(&wait, 1, WAIT_MS) == 0) {
                static const char text[] = "fnrun: waiting for the event on stdin; use --event\n";
                ssize_t told = write(2, text, sizeof text - 1);
                (void)told; /* who cannot be told waits all the same */
            }
            patient = true;
        }
        ssize_t got = read(fd, event->data + event->length, capacity - event->length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            error_set(err, -errno, "%s cannot be read: %s", name, strerror(errno));
            return OUTCOME_BAD_EVENT;
        }
        if (got == 0)
            return event->length > limit ? too_large(limit, err) : OUTCOME_SUCCESS;
        event->length += (size_t)got;
        if (event->length > limit)
            return too_large(limit, err);
    }
}

static int read_file(const char *path, uint64_t limit, struct event *event, struct error *err) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        error_set(err, -errno, "the event's file %s cannot be opened: %s", path, strerror(errno));
        return OUTCOME_BAD_EVENT;
    }
    return read_all(fd, path, limit, true, event, err);
}

/* Without --event: stdin counts when something can be read to its end from it. */
static bool stdin_has_event(void) {
    struct stat st;
    return fstat(0, &st) == 0 &&
           (S_ISREG(st.st_mode) || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

static int check_json(const struct event *event, struct error *err) {
    struct json_problem problem;
    if (json_scan(event->data, event->length, &problem))
        return OUTCOME_SUCCESS;
    error_set(err, -EINVAL, "the event is not JSON: %s at byte %zu%s", problem.what, problem.offset,
              event->length == 0 ? " (it is empty; {} is the empty event)"
                                 : ". A text must be a JSON string: \"...\"");
    return OUTCOME_BAD_EVENT;
}

int event_read(const char *option, uint64_t limit, int quiet, struct event *event,
               struct error *err) {
    int outcome;
    memset(event, 0, sizeof *event);
    if (option && option[0] == '@')
        outcome = read_file(option + 1, limit, event, err);
    else if (option && strcmp(option, "-") != 0)
        outcome = strlen(option) > limit ? too_large(limit, err) : set_text(event, option);
    else if (option || stdin_has_event())
        outcome = read_all(0, "stdin", limit, quiet, event, err);
    else
        outcome = set_text(event, "{}");
    return outcome == OUTCOME_SUCCESS ? check_json(event, err) : outcome;
}

void event_free(struct event *event) {
    free(event->data);
    memset(event, 0, sizeof *event);
}
