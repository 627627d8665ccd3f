/* One event as it came: the head's lines ("key: value\n", runner/frame.h), an empty line,
 * the event's bytes. */
#ifndef FNRUN_NATIVE_REQUEST_H
#define FNRUN_NATIVE_REQUEST_H

#include "images/runtimes/native/fnrun.h"

/* Fills *event from payload: length bytes and a zero byte behind them. The lines are cut in
 * place, so payload must live as long as the event. */
void request_parse(char *payload, size_t length, struct fnrun_event *event);

#endif
