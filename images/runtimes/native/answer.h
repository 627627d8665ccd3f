/* What a native function says: its result while it grows, and error objects. */
#ifndef FNRUN_NATIVE_ANSWER_H
#define FNRUN_NATIVE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "images/runtimes/native/fnrun.h"

/* A growing buffer. Errors are few and short, so one that found no memory is cut. */
struct bytes {
    char *data; /* owned */
    size_t length, capacity;
};

/* One event's answer, filled by the handler through the result that is in it. */
struct answer {
    struct fnrun_result result;
    struct bytes written;
    bool failed;
    char *type, *message; /* of fail, owned; NULL where memory ran out */
};

void answer_start(struct answer *answer);
/* Gives its memory back. */
void answer_end(struct answer *answer);

/* The whole object {"errorMessage", "errorType", "requestId", "stackTrace"}, to free. */
struct bytes answer_error_object(const char *type, const char *message, const char *request_id);

#endif
