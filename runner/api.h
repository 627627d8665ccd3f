/* The HTTP API. Invoking is AWS Lambda's; management is fnrun's own.
 *
 *   POST   /2015-03-31/functions/NAME/invocations
 *            NAME also as NAME:QUALIFIER, ACCOUNT:function:NAME or arn:aws:lambda:REGION:ACCOUNT:
 *            function:NAME, the latter two with or without :QUALIFIER; ?Qualifier=. A qualifier
 *            is $LATEST or the number of the version that is current.
 *          X-Amz-Invocation-Type: RequestResponse (default) | DryRun (204); Event: 400, says
 *            that it is not supported yet
 *          X-Amz-Log-Type: Tail     -> X-Amz-Log-Result: base64 of the last 4 KiB, with Lambda's
 *            lines START, END and REPORT
 *          X-Amz-Client-Context: base64 of a JSON object
 *          X-Fnrun-Timeout: "500ms" lowers the limit
 *          X-Fnrun-Report: 1 -> the answer waits for the numbers, in X-Fnrun-Report (JSON: the
 *            fields of --json without result and log, and "cold"), and has the whole log: in
 *            X-Fnrun-Log (base64) up to 8 KiB; a larger one stands behind the result in
 *            the body, X-Fnrun-Log-Length: N says that its last N bytes are the log
 *          body: the event, JSON; none is {}
 *          200 body: the result or error object; X-Amz-Function-Error: Unhandled,
 *            X-Amz-Executed-Version, X-Amzn-RequestId
 *          errors: {"Type":"User"|"Service","Message","message",...} with x-amzn-ErrorType;
 *            429 also "Reason" and Retry-After
 *   GET    /fnrun/v1/functions                       list
 *   PUT    /fnrun/v1/functions/NAME                  deploy: body a tar or zip; NAME may be "-":
 *            the package's own name. 200 {"name","version","digest","unchanged","way","why",
 *            "warnings"}; 400 {"Type","Message","problems":[...],"error":{...},"log":...}
 *   GET    /fnrun/v1/functions/NAME                  show
 *   DELETE /fnrun/v1/functions/NAME                  204
 *   GET    /fnrun/v1/functions/NAME/versions         {"versions":[{"version":N,"digest",
 *            "created":UNIX_S,"current":bool}...]}, newest first
 *   POST   /fnrun/v1/functions/NAME/rollback         ?version=N; answers as deploy
 *   GET    /fnrun/v1/functions/NAME/logs             ?since=UNIX_US&request_id=&follow=1: a line
 *            of JSON for each: {"time":UNIX_US,"requestId","message"}
 *   GET    /fnrun/v1/functions/NAME/usage            ?limit= (100; at most 10000): a JSON array
 *   GET    /fnrun/v1/top
 *   GET    /fnrun/v1/health                          anybody: {"status":"ok","version",...}
 *
 * Every answer has X-Amzn-RequestId. What list, show and top look like: registry.h.
 *
 * Who may: root and the daemon's owner all of it; the socket's group invokes and nothing else;
 * others get 403 AccessDeniedException. */
#ifndef FNRUN_API_H
#define FNRUN_API_H

#include "runner/http.h"
#include "runner/registry.h"

struct api {
    struct sd_event *loop;
    struct registry *registry;
    struct state *state;
    const struct settings *settings;
    bool stopping; /* answers 503 and Retry-After */
    gid_t group;   /* may invoke; (gid_t)-1: none */
};

extern const struct http_handler api_handler; /* owner: struct api */

#endif
