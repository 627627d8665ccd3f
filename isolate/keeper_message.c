#include <stddef.h>
#include <string.h>

#include "isolate/keeper.h"

unsigned long keeper_length(const struct keeper_message *message) {
    return offsetof(struct keeper_message, text) + strnlen(message->text, KEEPER_TEXT - 1) + 1;
}

const char *keeper_trace_text(unsigned trace) {
    static const char *const texts[KEEPER_TRACES] = {
        [KEEPER_USED_ONCE] = "used once",
        [KEEPER_UNWANTED] = "not needed",
        [KEEPER_REFRESHED] = "built before its pages were known",
        [KEEPER_UNVERIFIED] = "verification failed",
        [KEEPER_TRACE_OOM] = "out of memory",
        [KEEPER_TRACE_SOCKETS] = "sockets",
        [KEEPER_TRACE_IPC] = "System V or POSIX IPC",
        [KEEPER_TRACE_AUTOGROUP] = "autogroup changed",
        [KEEPER_TRACE_TMP] = "/tmp busy",
        [KEEPER_TRACE_PROCESSES] = "a process would not die",
        [KEEPER_TRACE_DIED] = "its init or frozen copy died",
    };
    return trace < KEEPER_TRACES ? texts[trace] : "unknown";
}
