/* Events and answers through the gate (isolate/gate.h): the process that has loaded the
 * function waits, and a copy of a copy of it handles each event. */
#ifndef FNRUN_NATIVE_ZYGOTE_H
#define FNRUN_NATIVE_ZYGOTE_H

#include <stddef.h>

/* The function could not be loaded: hands in the error object. */
__attribute__((noreturn)) void zygote_failed(const void *data, size_t length);

/* Waits. Returns in the process of one event, before that is there. */
void zygote_become_event(void);

/* Waits for the event. Returns its payload as frames_receive_event does, NULL when there is no
 * memory for it. A trial ends in here. */
char *zygote_receive_event(size_t *length);

/* kind: GATE_RESULT or GATE_ERROR. The process is killed while it waits. */
__attribute__((noreturn)) void zygote_reply(const void *data, size_t length, long kind);

#endif
