/* The native function of the benchmark: heap.h behind fnrun.h. */
#include <fnrun.h>

#include "heap.h"

__attribute__((constructor)) static void load(void) {
    if (heap_make() < 0)
        abort();
}

fnrun_handler handler;

int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    char reply[128];
    int length = heap_work(event->data, event->length, reply, sizeof reply);
    return fnrun_result_write(result, reply, (size_t)length);
}
