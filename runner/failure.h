/* The words of failures that fnrun itself finds: error objects as AWS Lambda's,
 * with what to do about it in the message. */
#ifndef FNRUN_FAILURE_H
#define FNRUN_FAILURE_H

#include "runner/invocation.h"

/* Sets invocation->result to {"errorMessage","errorType","requestId"} and its outcome. */
__attribute__((format(printf, 3, 4))) void failure_set(struct invocation *invocation, int outcome,
                                                       const char *format, ...);

/* For a process that ended without a result: status is wait(2)'s. */
void failure_set_exit(struct invocation *invocation, int status);

#endif
