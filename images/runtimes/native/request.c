#include "images/runtimes/native/request.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t unix_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void request_parse(char *payload, size_t length, struct fnrun_event *event) {
    const char *name = getenv("AWS_LAMBDA_FUNCTION_NAME");
    *event = (struct fnrun_event){.function_name = name ? name : "", .request_id = ""};
    char *line = payload, *end = payload + length;
    while (line < end && *line != '\n') {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            break;
        *stop = '\0';
        if (strncmp(line, "request-id: ", 12) == 0)
            event->request_id = line + 12;
        else if (strncmp(line, "timeout-ms: ", 12) == 0)
            event->deadline_ms = unix_ms() + strtoll(line + 12, NULL, 10);
        line = stop + 1;
    }
    if (line < end)
        line++;
    event->data = line;
    event->length = (size_t)(end - line);
}
