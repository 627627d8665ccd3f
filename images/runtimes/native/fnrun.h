/* fnrun.h: the one entry point of a native function.
 *
 *     #include <fnrun.h>
 *     int handler(const struct fnrun_event *event, struct fnrun_result *result) {
 *         return fnrun_result_write(result, "\"hello\"", 7);
 *     }
 *
 * Build: cc -shared -fPIC -o handler.so handler.c
 * function.ini: [function] runtime = native, handler = handler.so (another symbol:
 * handler = handler.so:name). A process serves one event. */
#ifndef FNRUN_NATIVE_H
#define FNRUN_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fnrun_event {
    const char *data; /* the event's bytes, JSON, followed by a zero byte not counted */
    size_t length;    /* bytes */
    const char *request_id;
    const char *function_name;
    int64_t deadline_ms; /* Unix time in ms; 0: none known */
};

/* Filled by the calls below; its memory is fnrun's. */
struct fnrun_result {
    void *opaque;
    /* Appends bytes to the result. Returns 0, or -1 when memory ran out. */
    int (*write)(struct fnrun_result *result, const void *data, size_t length);
    /* Makes the call a failure with this type and message (copied). Returns -1, so
     * that a handler can `return result->fail(result, "BadInput", "no name");`. */
    int (*fail)(struct fnrun_result *result, const char *type, const char *message);
};

/* What a native function exports, named `handler` by default. Returns 0 on
 * success; anything else is a failure of type "Error" unless fail was called. */
typedef int fnrun_handler(const struct fnrun_event *event, struct fnrun_result *result);

static inline int fnrun_result_write(struct fnrun_result *result, const void *data, size_t length) {
    return result->write(result, data, length);
}
static inline int fnrun_result_fail(struct fnrun_result *result, const char *type,
                                    const char *message) {
    return result->fail(result, type, message);
}

#ifdef __cplusplus
}
#endif
#endif
