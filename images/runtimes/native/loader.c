/* fnrun-native FILE SYMBOL: loads a native function (a shared object, see fnrun.h), gives
 * it its event and sends back its result. It runs inside the sandbox, in the process of
 * the user's code, and decides nothing: it links no library but libc, since its start-up
 * time is part of every call. Events come
 *
 *     by frames on descriptor 3 (frames.h), one of them, or with FNRUN_SERVE=1 one after
 *     the other in the same process;
 *     with FNRUN_GATE=1 through the gate (zygote.h), each in a copy of this process. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "images/runtimes/native/answer.h"
#include "images/runtimes/native/frames.h"
#include "images/runtimes/native/request.h"
#include "images/runtimes/native/zygote.h"
#include "isolate/gate.h"
#include "runner/frame.h"

static bool gated, serving;
/* Set in a process that the function forked: the answer is not its to give. */
static bool forked;

static void note_fork(void) {
    forked = true;
    if (!gated)
        frames_forget();
}

/* Hands the answer on. What the function printed goes first: the runner keeps of the log
 * what is there before the answer. Returns only where another event may come. */
static void give(bool failed, const void *data, size_t length) {
    fflush(NULL);
    if (forked)
        _exit(0);
    if (gated)
        zygote_reply(data, length, failed ? GATE_ERROR : GATE_RESULT);
    frames_send(failed ? FRAME_ERROR : FRAME_RESULT, data, length);
    if (!serving)
        _exit(0);
}

static void give_error(const char *type, const char *message, const char *request_id) {
    struct bytes object = answer_error_object(type, message, request_id);
    give(true, object.data, object.length);
    free(object.data);
}

/* The function could not be loaded. */
__attribute__((noreturn)) static void fail_loading(const char *type, const char *message) {
    struct bytes object =
        answer_error_object(type, message, gated ? "" : frames_early_request_id());
    fflush(NULL);
    if (forked)
        _exit(0);
    if (gated)
        zygote_failed(object.data, object.length);
    frames_send(FRAME_ERROR, object.data, object.length);
    _exit(0);
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
        fail_loading("Runtime.ImportModuleError", message);
    }
    void *address = dlsym(object, symbol);
    if (!address) {
        (void)snprintf(message, sizeof message,
                       "Handler '%s' missing in '%s': %s. It must be a function that is not static "
                       "(in C++: extern \"C\"); another name is set as handler = FILE.so:NAME",
                       symbol, file, dlerror());
        fail_loading("Runtime.HandlerNotFound", message);
    }
    if (forked) /* by a constructor that went on in both */
        _exit(0);
    /* ISO C has no cast from an object's address to a function's; POSIX has. */
    fnrun_handler *handler;
    memcpy(&handler, &address, sizeof handler);
    return handler;
}

static void handle(fnrun_handler *handler, char *payload, size_t length) {
    struct fnrun_event event;
    struct answer answer;
    request_parse(payload, length, &event);
    answer_start(&answer);
    int status = handler(&event, &answer.result);
    if (answer.failed) {
        give_error(answer.type ? answer.type : "Error", answer.message ? answer.message : "",
                   event.request_id);
    } else if (status != 0) {
        char message[64];
        (void)snprintf(message, sizeof message, "the handler returned %d", status);
        give_error("Error", message, event.request_id);
    } else if (answer.written.length == 0) {
        give(false, "null", 4);
    } else {
        give(false, answer.written.data, answer.written.length);
    }
    answer_end(&answer);
}

static void give_no_memory(void) {
    give_error("Runtime.OutOfMemory", "no memory for the event", "");
}

/* What an event would find untouched (libc's code, the heap) is touched now, while nobody
 * waits. Nothing of the function's own; all that a trial is. */
static void rehearse(void) {
    char sample[] = "request-id: 0\ntimeout-ms: 1000\n\n{}";
    struct fnrun_event event;
    struct answer answer;
    request_parse(sample, sizeof sample - 1, &event);
    answer_start(&answer);
    (void)answer.result.write(&answer.result, event.data, event.length);
    answer_end(&answer);
    fflush(NULL);
}

__attribute__((noreturn)) static void run_zygote(fnrun_handler *handler) {
    zygote_become_event();
    rehearse();
    size_t length;
    char *payload = zygote_receive_event(&length);
    if (payload)
        handle(handler, payload, length);
    else
        give_no_memory();
    _exit(1); /* the answer does not return */
}

static void run_frames(fnrun_handler *handler) {
    frames_send(FRAME_READY, NULL, 0);
    for (bool again = false;; again = true) {
        size_t length;
        char *payload = frames_receive_event(&length, again);
        if (payload) {
            handle(handler, payload, length);
        } else { /* the stream is in the middle of a frame: no more can be read from it */
            serving = false;
            give_no_memory();
        }
        free(payload);
    }
}

/* Whether the runtime was asked to be so; the function shall not see it. */
static bool take_flag(const char *name) {
    const char *value = getenv(name);
    bool set = value && strcmp(value, "1") == 0;
    (void)unsetenv(name);
    return set;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: fnrun-native FILE.so SYMBOL (started by fnrun, not by hand)\n");
        return 2;
    }
    gated = take_flag(GATE_VARIABLE);
    serving = take_flag(SERVE_VARIABLE) && !gated;
    if (!gated)
        frames_start();
    (void)pthread_atfork(NULL, NULL, note_fork);
    /* A function that is killed at its limit must not lose the lines it printed. */
    (void)setvbuf(stdout, NULL, _IOLBF, 0);

    fnrun_handler *handler = load(argv[1], argv[2]);
    if (gated)
        run_zygote(handler);
    run_frames(handler);
}
