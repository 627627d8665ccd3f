/* Events and answers through the gate (isolate/gate.h): the process that has loaded the
 * function waits, and a copy of a copy of it handles each event. */
#ifndef FNRUN_NATIVE_ZYGOTE_H
#define FNRUN_NATIVE_ZYGOTE_H

#include <stddef.h>

/* The function could not be loaded: hands in the error object. */
__attribute__((noreturn)) void zygote_failed(const void *data, size_t length);

/* Waits. Returns in the process of one event with the payload of it, as
 * frames_receive_event does, or with NULL and *trial set: nothing of the function's code may
 * run, and what the runtime does for an event is gone through once. NULL and *trial not
 * set: no memory for the event. */
char *zygote_become_event(size_t *length, int *trial);

/* kind: GATE_RESULT or GATE_ERROR; after a trial nothing is handed in. The process is killed while
 * it waits. */
__attribute__((noreturn)) void zygote_reply(const void *data, size_t length, long kind);

#endif
