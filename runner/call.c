#include "runner/call.h"

#include <stdlib.h>

void call_free(struct call *call) {
    free(call->result);
    free(call->log);
    call->result = call->log = NULL;
    call->result_length = call->log_length = 0;
}
