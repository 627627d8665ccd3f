#include "runner/invocation.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "runner/conclude.h"
#include "runner/outcome.h"
#include "runner/run.h"

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
    int r = invocation->plan->frames ? ends_open_frames(&run->ends) : ends_open_pipes(&run->ends);
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
    spec->standard_input = run->ends.theirs[0];
    spec->standard_output = run->ends.theirs[1];
    spec->standard_error = run->ends.theirs[2];
    spec->channel = run->ends.theirs[3];
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

static void take_answer(struct invocation *invocation, const struct answer *answer) {
    invocation->outcome = answer->outcome;
    invocation->result = answer->result;
    invocation->result_length = answer->result_length;
}

static bool explain_start(struct run *run, int code) {
    struct invocation *invocation = run->invocation;
    struct answer answer = {.request_id = invocation->request_id};
    bool explained = conclude_start(&answer, invocation->spec.program, code);
    if (explained)
        take_answer(invocation, &answer);
    return explained;
}

static void find_outcome(struct run *run, int status) {
    struct invocation *invocation = run->invocation;
    struct conclusion end = {
        .function = invocation->function,
        .frames = invocation->plan->frames,
        .reader = &run->reader,
        .logs = &run->logs,
        .timeout_ms = invocation->function->limits.timeout_ms,
        .verdict = run->verdict,
        .status = status,
        .oom_killed = invocation->usage.oom_killed,
        .signal_number = run->signal_number,
        .answer = {.request_id = invocation->request_id, .outcome = invocation->outcome},
    };
    conclude(&end);
    take_answer(invocation, &end.answer);
}

static int start(struct run *run, struct error *err) {
    bool program_failed = false;
    int r = set_up(run, err);
    if (r == 0)
        r = slot_start(run->slot, &run->invocation->spec, &program_failed, err);
    ends_close_theirs(&run->ends);
    run->ready = run_now();
    if (program_failed && explain_start(run, r))
        return 1;
    return r;
}

void invocation_run(struct invocation *invocation, int *signal_number) {
    struct run run = {.invocation = invocation, .slot = invocation->slot};
    sigset_t before;
    int status = 0;
    ends_clear(&run.ends);
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
        find_outcome(&run, status);
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
