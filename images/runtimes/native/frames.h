/* Events and answers by frames (runner/frame.h) on descriptor 3. */
#ifndef FNRUN_NATIVE_FRAMES_H
#define FNRUN_NATIVE_FRAMES_H

#include <stddef.h>
#include <stdint.h>

/* The descriptor is the runtime's alone: not that of programs that the function starts. */
void frames_start(void);
/* In a process that the function forked: gives up the descriptor. */
void frames_forget(void);

/* Sends one frame; a process that cannot ends, and the runner says why. */
void frames_send(uint32_t type, const void *data, size_t length);

/* Waits for the next EVENT. Returns its payload, to free, with a zero byte behind its length
 * bytes; NULL when there is no memory for it. Ends the process when the runner is gone,
 * with status 1 where an event was expected (at_end: with 0). */
char *frames_receive_event(size_t *length, int at_end);

/* For errors while the function is loaded: the event's head may be here already,
 * but is not waited for. Returns "" or the id, in memory that lives on. */
const char *frames_early_request_id(void);

#endif
