/* What a one-shot call prints about itself: the REPORT line as AWS Lambda words it,
 * and the one object of --json. */
#ifndef FNRUN_REPORT_H
#define FNRUN_REPORT_H

#include "runner/invocation.h"
#include "images/json.h"

/* "REPORT RequestId: ...\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\t
 * Max Memory Used: 9 MB\tInit Duration: 4.56 ms\t[Status: timeout\t]...\n" */
void report_line(const struct invocation *invocation, struct json_out *out);

/* {"requestId","outcome","result","log","report":{...}} and a newline. A raw result is
 * a string, or "resultBase64" when it is no UTF-8. */
void report_json(const struct invocation *invocation, struct json_out *out);

#endif
