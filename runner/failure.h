/* The words of failures that fnrun itself finds: error objects as AWS Lambda's,
 * with what to do about it in the message. */
#ifndef FNRUN_FAILURE_H
#define FNRUN_FAILURE_H

#include <stddef.h>

/* What an event's sender is told. */
struct answer {
    const char *request_id;
    int outcome;  /* enum outcome */
    char *result; /* the result, or an error object; owned */
    size_t result_length;
};

/* Replaces the result by {"errorMessage","errorType","requestId"} and sets the outcome. */
__attribute__((format(printf, 3, 4))) void failure_set(struct answer *answer, int outcome,
                                                       const char *format, ...);

/* For a process that ended without a result: status is wait(2)'s. */
void failure_set_exit(struct answer *answer, int status);

#endif
