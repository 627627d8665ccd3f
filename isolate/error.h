/* An error that a person will read: a negative errno and a sentence, filled
 * where the cause is known. Callers put context in front ("function hello: "),
 * they do not replace it. Header only, usable from every folder. */
#ifndef FNRUN_ERROR_H
#define FNRUN_ERROR_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct error {
    int code; /* negative errno; 0: no error */
    char message[1024];
};

/* Fills err (which may be NULL) and returns code, so that a caller can write
 * `return error_set(err, -ENOENT, "...")`. */
__attribute__((format(printf, 3, 4))) static inline int error_set(struct error *err, int code,
                                                                  const char *format, ...) {
    if (err) {
        va_list args;
        err->code = code;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return code;
}

/* Puts context in front of the message that is there. */
__attribute__((format(printf, 2, 3))) static inline void error_context(struct error *err,
                                                                       const char *format, ...) {
    char before[sizeof err->message];
    char after[sizeof err->message];
    va_list args;
    if (!err)
        return;
    va_start(args, format);
    vsnprintf(before, sizeof before, format, args);
    va_end(args);
    memcpy(after, err->message, sizeof after);
    /* Cut the end, never the context: the start of a sentence says more. */
    size_t used = strlen(before);
    memcpy(err->message, before, used);
    size_t room = sizeof err->message - used - 1;
    size_t more = strnlen(after, room);
    memcpy(err->message + used, after, more);
    err->message[used + more] = 0;
}

#endif
