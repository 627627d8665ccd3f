/* fnrun-native FILE SYMBOL: loads a native function (a shared object, see fnrun.h),
 * gives it the one event that comes on descriptor 3 and sends back its result, by
 * runner/frame.h. It runs inside the sandbox, in the process of the user's code, and
 * decides nothing: it links no library but libc, since its start-up time is part of
 * every call. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "images/runtimes/native/fnrun.h"
#include "runner/frame.h"

/* A growing buffer. Errors are few and short, so one that found no memory is cut. */
struct bytes {
    char *data;
    size_t length, capacity;
};

/* What is behind struct fnrun_result's opaque. */
struct answer {
    struct bytes result;
    bool failed;
    char *type, *message; /* of fail, NULL where memory ran out */
};

/* The event as it came: the head's lines are cut in place. */
struct request {
    char *payload; /* owned */
    struct fnrun_event event;
};

/* Set in a process that the function forked: the answer is not its to give. */
static bool forked;

static int bytes_add(struct bytes *to, const void *data, size_t length) {
    if (length > to->capacity - to->length) {
        size_t capacity = to->capacity ? to->capacity : 4096;
        while (capacity - to->length < length) {
            if (capacity > SIZE_MAX / 2)
                return -1;
            capacity *= 2;
        }
        char *grown = realloc(to->data, capacity);
        if (!grown)
            return -1;
        to->data = grown;
        to->capacity = capacity;
    }
    if (length > 0)
        memcpy(to->data + to->length, data, length);
    to->length += length;
    return 0;
}

static void bytes_text(struct bytes *to, const char *text) {
    (void)bytes_add(to, text, strlen(text));
}

/* The length of the UTF-8 character that text begins with (RFC 3629), 0 when it is
 * none. text ends with a zero byte, which is no continuation. */
static size_t utf8_length(const unsigned char *text) {
    unsigned char first = text[0];
    if (first < 0x80)
        return 1;
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    /* Overlong forms, surrogates and what is beyond U+10FFFF show in the second byte. */
    unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* Adds text as a JSON string; what is not UTF-8 becomes U+FFFD. */
static void bytes_json(struct bytes *to, const char *text) {
    bytes_text(to, "\"");
    while (*text) {
        unsigned char c = (unsigned char)*text;
        size_t length = utf8_length((const unsigned char *)text);
        if (c == '"' || c == '\\') {
            char escaped[2] = {'\\', (char)c};
            (void)bytes_add(to, escaped, 2);
        } else if (c < 0x20) {
            char escaped[8];
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", c);
            bytes_text(to, escaped);
        } else if (length == 0) {
            bytes_text(to, "\xef\xbf\xbd");
        } else {
            (void)bytes_add(to, text, length);
        }
        text += length ? length : 1;
    }
    bytes_text(to, "\"");
}

/* Reads exactly length bytes. False: the runner is gone. */
static bool receive(void *data, size_t length) {
    char *at = data;
    while (length > 0) {
        ssize_t count = read(FRAME_FD, at, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return false;
        at += count;
        length -= (size_t)count;
    }
    return true;
}

/* Sends one frame; a process that cannot ends, and the runner says why. */
static void send_frame(uint32_t type, const void *data, size_t length) {
    unsigned char head[FRAME_HEAD];
    frame_put_head(head, (struct frame_head){.type = type, .length = (uint32_t)length});
    struct iovec parts[2] = {{head, sizeof head}, {(void *)data, length}};
    int first = 0;
    while (first < 2) {
        ssize_t count = writev(FRAME_FD, parts + first, 2 - first);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0) {
            fprintf(stderr, "fnrun: the answer could not be sent on descriptor %d: %s\n", FRAME_FD,
                    strerror(errno));
            fflush(NULL);
            _exit(1);
        }
        for (size_t sent = (size_t)count; first < 2; first++) {
            size_t part = sent < parts[first].iov_len ? sent : parts[first].iov_len;
            parts[first].iov_base = (char *)parts[first].iov_base + part;
            parts[first].iov_len -= part;
            sent -= part;
            if (parts[first].iov_len > 0)
                break;
        }
    }
}

/* Ends the invocation and the process. What the function printed goes first: the
 * runner keeps of the log what is there before the last frame. */
__attribute__((noreturn)) static void finish(uint32_t type, const void *data, size_t length) {
    fflush(NULL);
    if (!forked)
        send_frame(type, data, length);
    _exit(0);
}

__attribute__((noreturn)) static void finish_error(const char *type, const char *message,
                                                   const char *request_id) {
    struct bytes object = {0};
    bytes_text(&object, "{\"errorMessage\": ");
    bytes_json(&object, message);
    bytes_text(&object, ", \"errorType\": ");
    bytes_json(&object, type);
    bytes_text(&object, ", \"requestId\": ");
    bytes_json(&object, request_id);
    bytes_text(&object, ", \"stackTrace\": []}");
    finish(FRAME_ERROR, object.data, object.length);
}

/* For errors while the function is loaded: the event's head may be here already,
 * but is not waited for. Returns "" or the id, in memory that lives on. */
static const char *early_request_id(void) {
    static char start[4096];
    static const char key[] = "request-id: ";
    int flags = fcntl(FRAME_FD, F_GETFL);
    if (flags < 0 || fcntl(FRAME_FD, F_SETFL, flags | O_NONBLOCK) < 0)
        return "";
    ssize_t count = read(FRAME_FD, start, sizeof start - 1);
    (void)fcntl(FRAME_FD, F_SETFL, flags);
    char *line = count > FRAME_HEAD ? start + FRAME_HEAD : NULL;
    while (line && *line != '\n') {
        char *end = strchr(line, '\n');
        if (end && strncmp(line, key, sizeof key - 1) == 0) {
            *end = '\0';
            return line + sizeof key - 1;
        }
        line = end ? end + 1 : NULL;
    }
    return "";
}

/* What to do about a dlopen that failed, by glibc's and musl's words. */
static const char *load_hint(const char *reason) {
    if (strstr(reason, "undefined symbol") || strstr(reason, "symbol not found"))
        return ". Link the library that has it: cc -shared ... -lNAME";
    if (strstr(reason, "invalid ELF header") || strstr(reason, "file too short") ||
        strstr(reason, "Exec format error") || strstr(reason, "wrong ELF class"))
        return ". Build it for this machine: cc -shared -fPIC -o handler.so handler.c";
    if (strstr(reason, "cannot dynamically load"))
        return ". It is a program: build it with -shared, or use runtime = exec";
    return "";
}

static fnrun_handler *load(const char *file, const char *symbol) {
    char message[2048];
    void *object = dlopen(file, RTLD_NOW);
    if (!object) {
        const char *reason = dlerror();
        const char *hint = load_hint(reason);
        if (access(file, F_OK) == 0 && strncmp(reason, file, strlen(file)) != 0 && !*hint)
            hint = ". Put the library into the function's folder and link with "
                   "-Wl,-rpath,'$ORIGIN'";
        (void)snprintf(message, sizeof message, "Unable to load '%s': %s%s", file, reason, hint);
        finish_error("Runtime.ImportModuleError", message, early_request_id());
    }
    void *address = dlsym(object, symbol);
    if (!address) {
        (void)snprintf(message, sizeof message,
                       "Handler '%s' missing in '%s': %s. It must be a function that is not static "
                       "(in C++: extern \"C\"); another name is set as handler = FILE.so:NAME",
                       symbol, file, dlerror());
        finish_error("Runtime.HandlerNotFound", message, early_request_id());
    }
    /* ISO C has no cast from an object's address to a function's; POSIX has. */
    fnrun_handler *handler;
    memcpy(&handler, &address, sizeof handler);
    return handler;
}

static int64_t unix_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Takes the head's lines off the payload (length bytes and a zero) into event. */
static void parse_request(struct request *request, size_t length) {
    char *line = request->payload, *end = line + length;
    struct fnrun_event *event = &request->event;
    while (line < end && *line != '\n') {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            break;
        *stop = '\0';
        if (strncmp(line, "request-id: ", 12) == 0)
            event->request_id = line + 12;
        else if (strncmp(line, "timeout-ms: ", 12) == 0)
            event->deadline_ms = unix_ms() + strtoll(line + 12, NULL, 10);
        line = stop + 1;
    }
    if (line < end)
        line++;
    event->data = line;
    event->length = (size_t)(end - line);
}

/* Waits for the event. Without one (the runner is gone) the process ends. */
static void receive_request(struct request *request) {
    const char *name = getenv("AWS_LAMBDA_FUNCTION_NAME");
    request->event.function_name = name ? name : "";
    request->event.request_id = "";
    unsigned char bytes[FRAME_HEAD];
    if (!receive(bytes, sizeof bytes))
        _exit(1);
    struct frame_head head = frame_get_head(bytes);
    if (head.type != FRAME_EVENT)
        _exit(1);
    request->payload = malloc((size_t)head.length + 1);
    if (!request->payload)
        finish_error("Runtime.OutOfMemory", "no memory for the event", "");
    if (!receive(request->payload, head.length))
        _exit(1);
    request->payload[head.length] = '\0';
    parse_request(request, head.length);
}

static int result_write(struct fnrun_result *result, const void *data, size_t length) {
    struct answer *answer = result->opaque;
    /* A frame's length has 32 bits. */
    if (length > UINT32_MAX - answer->result.length)
        return -1;
    return bytes_add(&answer->result, data, length);
}

static int result_fail(struct fnrun_result *result, const char *type, const char *message) {
    struct answer *answer = result->opaque;
    answer->failed = true;
    free(answer->type);
    free(answer->message);
    answer->type = type ? strdup(type) : NULL;
    answer->message = message ? strdup(message) : NULL;
    return -1;
}

static void note_fork(void) {
    forked = true;
    (void)close(FRAME_FD);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: fnrun-native FILE.so SYMBOL (started by fnrun, not by hand)\n");
        return 2;
    }
    (void)fcntl(FRAME_FD, F_SETFD, FD_CLOEXEC);
    (void)pthread_atfork(NULL, NULL, note_fork);
    /* A function that is killed at its limit must not lose the lines it printed. */
    (void)setvbuf(stdout, NULL, _IOLBF, 0);

    fnrun_handler *handler = load(argv[1], argv[2]);
    if (forked)
        _exit(0);
    send_frame(FRAME_READY, NULL, 0);
    struct request request = {0};
    receive_request(&request);

    struct answer answer = {0};
    struct fnrun_result result = {.opaque = &answer, .write = result_write, .fail = result_fail};
    int status = handler(&request.event, &result);
    if (answer.failed)
        finish_error(answer.type ? answer.type : "Error", answer.message ? answer.message : "",
                     request.event.request_id);
    if (status != 0) {
        char message[64];
        (void)snprintf(message, sizeof message, "the handler returned %d", status);
        finish_error("Error", message, request.event.request_id);
    }
    if (answer.result.length == 0)
        finish(FRAME_RESULT, "null", 4);
    finish(FRAME_RESULT, answer.result.data, answer.result.length);
}
