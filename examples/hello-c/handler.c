/* The smallest native function. Build it, then call it:
 *
 *     examples/hello-c/build
 *     fnrun invoke examples/hello-c --event '{"name":"Ada"}'
 *
 * The event is JSON text; real functions use a JSON library. This one looks for the
 * first "name": "..." and passes the string on as it is written, escapes included. */
#include <fnrun.h>
#include <string.h>

static const char *skip_space(const char *text) {
    return text + strspn(text, " \t\r\n");
}

/* Returns where the string's text starts and sets *length, or NULL. */
static const char *find_name(const char *json, size_t *length) {
    static const char key[] = "\"name\"";
    while ((json = strstr(json, key))) {
        json = skip_space(json + sizeof key - 1);
        if (*json != ':')
            continue;
        json = skip_space(json + 1);
        if (*json != '"')
            return NULL;
        const char *end = ++json;
        while (*end != '"')
            end += *end == '\\' ? 2 : 1; /* the event is valid JSON: the quote comes */
        *length = (size_t)(end - json);
        return json;
    }
    return NULL;
}

int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    size_t length = 0;
    const char *name = find_name(event->data, &length);
    if (length == 0) {
        name = "World";
        length = 5;
    }
    if (fnrun_result_write(result, "{\"message\": \"Hello, ", 20) < 0 ||
        fnrun_result_write(result, name, length) < 0 || fnrun_result_write(result, "!\"}", 3) < 0)
        return fnrun_result_fail(result, "OutOfMemory", "no memory for the result");
    return 0;
}
