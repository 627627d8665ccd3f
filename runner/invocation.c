#include "runner/invocation.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/sys.h"
#include "runner/failure.h"
#include "runner/frame.h"
#include "images/json.h"
#include "runner/logs.h"
#include "runner/outcome.h"

#define STREAM_STEP 4096 /* what a pipe that polls writable takes without blocking */

enum phase {
    PHASE_INIT,  /* the handler is being loaded */
    PHASE_RUN,   /* the handler has the event */
    PHASE_GRACE, /* the result is here, the process may end by itself */
    PHASE_OVER,
};

/* What the loop holds. For frames, input and output are one socket. */
struct run {
    struct invocation *invocation;
    struct slot *slot;
    struct frame_sender sender;
    struct frame_reader reader; /* frames; its payload also collects an exec's stdout */
    struct logs logs;
    int input, output, log, signals;
    int ends[4];                    /* the slot's ends: 0, 1, 2 and the channel */
    int phase;                      /* enum phase */
    uint64_t started, ready, ended; /* us, CLOCK_MONOTONIC */
    uint64_t deadline;
    int verdict; /* enum outcome that the loop itself found */
    int signal_number;
};

static uint64_t now_us(void) {
    struct timespec now = {0};
    /* Not by the vdso: mapping its two pages in costs 20 us, a call 0.2. */
    sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, SYS_PTR(&now));
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void invocation_make_id(char id[REQUEST_ID_SIZE]) {
    unsigned char b[16];
    if (getrandom(b, sizeof b, 0) != sizeof b)
        memset(b, 0, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(id, REQUEST_ID_SIZE,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

/* ---- setting up --------------------------------------------------------------- */

static int make_pipe(int *ours, int *theirs, bool we_write) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    /* Theirs may be opened anew, as /dev/stderr: the inode, one for both ends, belongs to
     * this process's user. */
    if (fchmod(ends[0], 0666) < 0)
        return -errno;
    *ours = ends[we_write];
    *theirs = ends[!we_write];
    return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

static int open_frames(struct run *run) {
    int ends[2];
    run->ends[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (run->ends[0] < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    run->input = run->output = ends[0];
    run->ends[3] = ends[1];
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    int r = make_pipe(&run->log, &run->ends[1], false);
    if (r < 0)
        return r;
    run->ends[2] = fcntl(run->ends[1], F_DUPFD_CLOEXEC, 0);
    return run->ends[2] < 0 ? -errno : 0;
}

static int open_pipes(struct run *run) {
    int r = make_pipe(&run->input, &run->ends[0], true);
    if (r == 0)
        r = make_pipe(&run->output, &run->ends[1], false);
    if (r == 0)
        r = make_pipe(&run->log, &run->ends[2], false);
    return r;
}

static int open_signals(sigset_t *before) {
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action;
    sigset_t set;
    sigemptyset(&set);
    /* What the caller ignores (nohup) stays ignored: blocked it would be queued. */
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (sigaction(ends[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, ends[i]);
    sigprocmask(SIG_BLOCK, &set, before);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static void close_input(struct run *run) {
    if (run->input >= 0 && run->input != run->output)
        close(run->input);
    run->input = -EBADF;
}

static void give_event(struct run *run) {
    /* An exec that does not read its stdin is not wrong: the rest is dropped. */
    if (run->input >= 0 && frame_send(&run->sender, run->input) != 0)
        close_input(run);
}

static int set_up(struct run *run, struct error *err) {
    struct invocation *invocation = run->invocation;
    const struct function *function = invocation->function;
    int r = invocation->plan->frames ? open_frames(run) : open_pipes(run);
    if (r < 0)
        return error_set(err, r, "pipes to the function: %s", strerror(-r));
    run->logs.limit = function->limits.logs;
    run->reader.limit = function->limits.response;
    if (invocation->plan->frames) {
        r = frame_prepare(&run->sender, invocation->request_id, function->limits.timeout_ms,
                          invocation->event->data, invocation->event->length);
        if (r < 0)
            return error_set(err, r, "the event: %s", strerror(-r));
    } else {
        run->sender.body = invocation->event->data;
        run->sender.body_length = invocation->event->length;
    }
    struct slot_spec *spec = &invocation->spec;
    spec->standard_input = run->ends[0];
    spec->standard_output = run->ends[1];
    spec->standard_error = run->ends[2];
    spec->channel = run->ends[3];
    /* What fits is there before the program runs: an error while it loads can then
     * name its request, and a small event costs no wake-up. */
    give_event(run);
    return 0;
}

/* ---- the loop -------------------------------------------------------------------- */

static void close_output(struct run *run) {
    if (run->input == run->output)
        run->input = -EBADF;
    cleanup_close(&run->output);
}

/* Ends the function's process. verdict: what it was ended for, OUTCOME_SUCCESS where
 * what it sent and how it ended tell. */
static void end(struct run *run, int verdict) {
    run->ended = now_us();
    run->verdict = verdict;
    run->phase = PHASE_OVER;
    slot_kill(run->slot);
}

static void take_frames(struct run *run) {
    struct frame_reader *reader = &run->reader;
    bool was_ready = reader->ready;
    if (frame_receive(reader, run->output) == 0)
        close_output(run);
    if (!was_ready && reader->ready) {
        run->phase = PHASE_RUN;
        run->ready = now_us();
        run->deadline = run->ready + run->invocation->function->limits.timeout_ms * 1000;
    }
    if (reader->broken) {
        end(run, OUTCOME_SUCCESS); /* take_frame finds the words */
    } else if (reader->too_large) {
        end(run, OUTCOME_TOO_LARGE);
    } else if (reader->done) {
        run->phase = PHASE_GRACE;
        run->ended = now_us();
        uint64_t grace = run->ended + FRAME_GRACE_MS * 1000;
        if (grace < run->deadline)
            run->deadline = grace;
        close_output(run);
    }
}

static void take_stdout(struct run *run) {
    char chunk[65536];
    ssize_t got = read(run->output, chunk, sizeof chunk);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        close_output(run);
        return;
    }
    json_put_raw(&run->reader.payload, chunk, (size_t)got);
    if (run->reader.payload.length > run->reader.limit && run->phase != PHASE_OVER)
        end(run, OUTCOME_TOO_LARGE);
}

static void take_signal(struct run *run) {
    struct signalfd_siginfo info;
    if (read(run->signals, &info, sizeof info) == sizeof info) {
        run->signal_number = (int)info.ssi_signo;
        end(run, OUTCOME_CLIENT_GONE);
    }
}

static void time_is_up(struct run *run) {
    if (run->phase == PHASE_GRACE) {
        run->phase = PHASE_OVER;
        slot_kill(run->slot);
    } else {
        end(run, run->phase == PHASE_INIT ? OUTCOME_INIT_TIMEOUT : OUTCOME_TIMEOUT);
    }
}

static int wait_for_events(struct run *run, struct pollfd fds[6]) {
    bool stream = run->invocation->stream_log && logs_pending(&run->logs) > 0;
    uint64_t now = now_us();
    uint64_t left = run->deadline > now ? run->deadline - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / 1000000),
                               .tv_nsec = (long)(left % 1000000) * 1000};
    fds[0] = (struct pollfd){.fd = run->slot->process, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = run->signals, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = run->log, .events = POLLIN};
    fds[3] = (struct pollfd){.fd = run->output, .events = POLLIN};
    fds[4] = (struct pollfd){.fd = run->input, .events = POLLOUT};
    fds[5] = (struct pollfd){.fd = stream ? 2 : -1, .events = POLLOUT};
    return ppoll(fds, 6, &timeout, NULL);
}

static void loop(struct run *run) {
    bool frames = run->invocation->plan->frames;
    while (run->phase != PHASE_OVER) {
        struct pollfd fds[6];
        int count = wait_for_events(run, fds);
        if (count < 0 && errno != EINTR) {
            error_set(&run->invocation->service, -errno, "ppoll: %s", strerror(errno));
            end(run, OUTCOME_SERVICE);
        }
        /* The clock is looked at each time: a flood must not outrun it. */
        if (now_us() >= run->deadline) {
            time_is_up(run);
            break;
        }
        if (count <= 0)
            continue;
        if (fds[1].revents)
            take_signal(run);
        if (fds[2].revents && logs_receive(&run->logs, run->log) == 0)
            cleanup_close(&run->log);
        if (fds[3].revents && run->phase != PHASE_OVER)
            frames ? take_frames(run) : take_stdout(run);
        if (fds[4].revents && run->input >= 0)
            give_event(run);
        if (fds[5].revents)
            logs_stream(&run->logs, 2, STREAM_STEP);
        if (fds[0].revents && run->phase != PHASE_OVER) {
            if (run->phase != PHASE_GRACE)
                run->ended = now_us();
            run->phase = PHASE_OVER;
        }
    }
}

/* Every writer is dead: what they left is read to its end. */
static void drain(struct run *run) {
    while (run->output >= 0 && run->invocation->plan->frames && !run->reader.done &&
           !run->reader.broken) {
        size_t before = run->reader.payload.length + run->reader.head_length;
        if (frame_receive(&run->reader, run->output) == 0)
            break;
        if (before == run->reader.payload.length + run->reader.head_length)
            break;
    }
    while (run->output >= 0 && !run->invocation->plan->frames &&
           run->reader.payload.length <= run->reader.limit)
        take_stdout(run);
    while (run->log >= 0 && logs_receive(&run->logs, run->log) != 0)
        ;
}

/* ---- how it ended -------------------------------------------------------------- */

static void take_result(struct run *run) {
    struct invocation *invocation = run->invocation;
    invocation->result = run->reader.payload.data;
    invocation->result_length = run->reader.payload.length;
    memset(&run->reader.payload, 0, sizeof run->reader.payload);
    invocation->outcome = OUTCOME_SUCCESS;
}

static void not_json(struct run *run, const struct json_problem *problem) {
    bool exec = !run->invocation->plan->frames;
    failure_set(run->invocation, OUTCOME_NOT_JSON, "The result is not JSON: %s at byte %zu%s",
                problem->what, problem->offset,
                exec ? ". For bytes as they are set `output = raw` in [limits] of function.ini"
                     : "");
}

/* A text that an exec printed becomes a JSON string; JSON passes as it is. */
static void take_output(struct run *run) {
    struct invocation *invocation = run->invocation;
    struct json_out *payload = &run->reader.payload;
    struct json_problem problem = {0, "invalid UTF-8"};
    if (payload->length > run->reader.limit) {
        run->verdict = OUTCOME_TOO_LARGE;
        return;
    }
    if (invocation->function->output == OUTPUT_RAW ||
        json_scan(payload->data, payload->length, NULL)) {
        take_result(run);
    } else if (!json_is_utf8(payload->data, payload->length, &problem.offset)) {
        not_json(run, &problem);
    } else {
        struct json_out text = {0};
        json_put_string(&text, payload->data ? payload->data : "", payload->length);
        invocation->result = text.data;
        invocation->result_length = text.length;
        invocation->outcome = OUTCOME_SUCCESS;
    }
}

static void take_frame(struct run *run, int status) {
    struct frame_reader *reader = &run->reader;
    struct json_problem problem;
    if (reader->broken) {
        failure_set(
            run->invocation, OUTCOME_EXIT,
            "RequestId: %s Error: Runtime exited with error: it sent %s on its result channel",
            run->invocation->request_id, reader->broken);
    } else if (reader->too_large) {
        run->verdict = OUTCOME_TOO_LARGE;
    } else if (!reader->done) {
        failure_set_exit(run->invocation, status);
    } else if (!json_scan(reader->payload.data, reader->payload.length, &problem)) {
        not_json(run, &problem);
    } else {
        bool error = reader->type == FRAME_ERROR;
        take_result(run);
        if (error)
            run->invocation->outcome = OUTCOME_UNHANDLED;
    }
}

/* An exec's status first: what a failed program printed is for the reader of the log. */
static void take_exit(struct run *run, int status) {
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        take_output(run);
    } else {
        logs_add(&run->logs, run->reader.payload.data, run->reader.payload.length);
        failure_set_exit(run->invocation, status);
    }
}

/* As Lambda says it, with two digits; a third where there would be none. */
static const char *seconds(uint64_t ms, char text[24]) {
    if (ms < 10)
        snprintf(text, 24, "0.%03u", (unsigned)ms);
    else
        snprintf(text, 24, "%llu.%02u", (unsigned long long)(ms / 1000),
                 (unsigned)(ms % 1000 / 10));
    return text;
}

static void word_verdict(struct run *run) {
    char text[24];
    struct invocation *invocation = run->invocation;
    const struct function_limits *limits = &invocation->function->limits;
    const char *id = invocation->request_id;
    switch (run->verdict) {
    case OUTCOME_TIMEOUT:
        failure_set(invocation, OUTCOME_TIMEOUT,
                    "RequestId: %s Error: Task timed out after %s seconds (raise `timeout` in "
                    "[limits], or --timeout)",
                    id, seconds(limits->timeout_ms, text));
        break;
    case OUTCOME_INIT_TIMEOUT:
        failure_set(invocation, OUTCOME_INIT_TIMEOUT,
                    "RequestId: %s Error: Loading the handler took longer than %s seconds (raise "
                    "`init` in [limits])",
                    id, seconds(limits->init_ms, text));
        break;
    case OUTCOME_TOO_LARGE:
        failure_set(invocation, OUTCOME_TOO_LARGE,
                    "Response payload size (%llu bytes%s) exceeded maximum allowed payload size "
                    "(%llu bytes): raise "
                    "`response` in [limits], or return less",
                    (unsigned long long)(run->reader.announced ? run->reader.announced
                                                               : run->reader.payload.length),
                    run->reader.announced ? "" : " or more", (unsigned long long)limits->response);
        break;
    case OUTCOME_CLIENT_GONE:
        failure_set(invocation, OUTCOME_CLIENT_GONE, "RequestId: %s Error: ended by signal %d", id,
                    run->signal_number);
        break;
    default:
        break;
    }
}

static void conclude(struct run *run, int status) {
    struct invocation *invocation = run->invocation;
    if (run->verdict == OUTCOME_SUCCESS) {
        if (invocation->plan->frames)
            take_frame(run, status);
        else
            take_exit(run, status);
    }
    word_verdict(run);
    bool stopped = run->verdict == OUTCOME_TIMEOUT || run->verdict == OUTCOME_CLIENT_GONE;
    if (invocation->usage.oom_killed && invocation->outcome != OUTCOME_SUCCESS && !stopped)
        failure_set(invocation, OUTCOME_MEMORY,
                    "RequestId: %s Error: The memory limit of %llu MB was reached and the kernel "
                    "killed a process "
                    "(raise `memory` in [limits], or --memory; /tmp counts in it)",
                    invocation->request_id,
                    (unsigned long long)(invocation->function->limits.memory >> 20));
}

static void keep_log(struct run *run) {
    struct invocation *invocation = run->invocation;
    logs_close(&run->logs);
    while (invocation->stream_log && logs_pending(&run->logs) > 0 && !run->signal_number)
        logs_stream(&run->logs, 2, logs_pending(&run->logs));
    invocation->log = run->logs.kept.data;
    invocation->log_length = run->logs.kept.length;
    invocation->log_truncated = run->logs.truncated;
}

static void close_slot_ends(struct run *run) {
    for (int i = 0; i < 4; i++)
        cleanup_close(&run->ends[i]);
}

/* Why the program was not started, where that is the function's fault; the rest (no
 * memory, say) is the machine's. */
static bool explain_start(struct run *run, int code) {
    static const struct {
        int code;
        const char *advice;
    } faults[] = {
        {-ENOENT,
         " (the file, or the interpreter that its first line names, is not in the sandbox)"},
        {-ENOEXEC, " (a script needs a first line like #!/bin/sh)"},
        {-EACCES, " (chmod +x, and every folder on the way o+x)"},
        {-E2BIG, " (its environment and arguments are too long)"},
        {-ELOOP, ""},
        {-ENOTDIR, ""},
    };
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (faults[i].code != code)
            continue;
        failure_set(run->invocation, OUTCOME_ENTRYPOINT, "%s cannot be started: %s%s",
                    run->invocation->spec.program, strerror(-code), faults[i].advice);
        return true;
    }
    return false;
}

static int start(struct run *run, struct error *err) {
    bool program_failed = false;
    int r = set_up(run, err);
    if (r == 0)
        r = slot_start(run->slot, &run->invocation->spec, &program_failed, err);
    close_slot_ends(run);
    run->ready = now_us();
    if (program_failed && explain_start(run, r))
        return 1;
    return r;
}

void invocation_run(struct invocation *invocation, int *signal_number) {
    struct run run = {.invocation = invocation,
                      .slot = invocation->slot,
                      .input = -EBADF,
                      .output = -EBADF,
                      .log = -EBADF};
    sigset_t before;
    int status = 0;
    for (int i = 0; i < 4; i++)
        run.ends[i] = -EBADF;
    invocation->outcome = OUTCOME_SERVICE; /* until something better is known */
    run.signals = open_signals(&before);
    run.started = now_us();
    int r = run.signals < 0 ? error_set(&invocation->service, run.signals, "signalfd: %s",
                                        strerror(-run.signals))
                            : start(&run, &invocation->service);
    if (r == 0) {
        run.phase = invocation->plan->frames ? PHASE_INIT : PHASE_RUN;
        const struct function_limits *limits = &invocation->function->limits;
        run.deadline =
            run.ready + (invocation->plan->frames ? limits->init_ms : limits->timeout_ms) * 1000;
        invocation->ids = run.slot->ids.kind;
        loop(&run);
        invocation->unclean =
            slot_finish(run.slot, &status, &invocation->usage, &invocation->service) < 0;
        drain(&run);
        conclude(&run, status);
        bool loaded = !invocation->plan->frames || run.reader.ready;
        invocation->init_us = (loaded ? run.ready : run.ended) - run.started;
        invocation->duration_us = loaded && run.ended > run.ready ? run.ended - run.ready : 0;
    }
    if (r < 0)
        invocation->outcome = OUTCOME_SERVICE;
    /* The slot is gone: a reader that does not read may be left by a signal. */
    sigprocmask(SIG_SETMASK, &before, NULL);
    keep_log(&run);
    *signal_number = run.signal_number;
    close_output(&run);
    close_input(&run);
    cleanup_close(&run.log);
    cleanup_close(&run.signals);
    free(run.sender.front.data);
    free(run.reader.payload.data);
}

void invocation_free(struct invocation *invocation) {
    free(invocation->result);
    free(invocation->log);
    invocation->result = invocation->log = NULL;
}
