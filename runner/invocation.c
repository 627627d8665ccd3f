#include "runner/invocation.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "runner/outcome.h"
#include "runner/run.h"

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
    run_give_event(run);
    return 0;
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

static int start(struct run *run, struct error *err) {
    bool program_failed = false;
    int r = set_up(run, err);
    if (r == 0)
        r = slot_start(run->slot, &run->invocation->spec, &program_failed, err);
    close_slot_ends(run);
    run->ready = run_now();
    if (program_failed && run_explain_start(run, r))
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
    run.started = run_now();
    int r = run.signals < 0 ? error_set(&invocation->service, run.signals, "signalfd: %s",
                                        strerror(-run.signals))
                            : start(&run, &invocation->service);
    if (r == 0) {
        run.phase = invocation->plan->frames ? PHASE_INIT : PHASE_RUN;
        const struct function_limits *limits = &invocation->function->limits;
        run.deadline =
            run.ready + (invocation->plan->frames ? limits->init_ms : limits->timeout_ms) * 1000;
        invocation->ids = run.slot->ids.kind;
        run_loop(&run);
        invocation->unclean =
            slot_finish(run.slot, &status, &invocation->usage, &invocation->service) < 0;
        run_drain(&run);
        run_conclude(&run, status);
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
    run_close(&run);
    free(run.sender.front.data);
    free(run.reader.payload.data);
}

void invocation_free(struct invocation *invocation) {
    free(invocation->result);
    free(invocation->log);
    invocation->result = invocation->log = NULL;
}
