#include "runner/run.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/sys.h"
#include "runner/outcome.h"

#define STREAM_STEP 4096 /* what a pipe that polls writable takes without blocking */

uint64_t run_now(void) {
    struct timespec now = {0};
    /* Not by the vdso: mapping its two pages in costs 20 us, a call 0.2. */
    sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, SYS_PTR(&now));
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void run_give_event(struct run *run) {
    /* An exec that does not read its stdin is not wrong: the rest is dropped. */
    if (run->ends.input >= 0 && frame_send(&run->sender, run->ends.input) != 0)
        ends_close_input(&run->ends);
}

/* Ends the function's process. verdict: what it was ended for, OUTCOME_SUCCESS where
 * what it sent and how it ended tell. */
static void end(struct run *run, int verdict) {
    run->ended = run_now();
    run->verdict = verdict;
    run->phase = PHASE_OVER;
    slot_kill(run->slot);
}

static void take_frames(struct run *run) {
    struct frame_reader *reader = &run->reader;
    bool was_ready = reader->ready;
    if (frame_receive(reader, run->ends.output) == 0)
        ends_close_output(&run->ends);
    if (!was_ready && reader->ready) {
        run->phase = PHASE_RUN;
        run->ready = run_now();
        run->deadline = run->ready + run->invocation->function->limits.timeout_ms * 1000;
    }
    if (reader->broken) {
        end(run, OUTCOME_SUCCESS); /* take_frame finds the words */
    } else if (reader->too_large) {
        end(run, OUTCOME_TOO_LARGE);
    } else if (reader->done) {
        run->phase = PHASE_GRACE;
        run->ended = run_now();
        uint64_t grace = run->ended + FRAME_GRACE_MS * 1000;
        if (grace < run->deadline)
            run->deadline = grace;
        ends_close_output(&run->ends);
    }
}

static void take_stdout(struct run *run) {
    char chunk[65536];
    ssize_t got = read(run->ends.output, chunk, sizeof chunk);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        ends_close_output(&run->ends);
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
    uint64_t now = run_now();
    uint64_t left = run->deadline > now ? run->deadline - now : 0;
    struct timespec timeout = {.tv_sec = (time_t)(left / 1000000),
                               .tv_nsec = (long)(left % 1000000) * 1000};
    fds[0] = (struct pollfd){.fd = run->slot->process, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = run->signals, .events = POLLIN};
    fds[2] = (struct pollfd){.fd = run->ends.log, .events = POLLIN};
    fds[3] = (struct pollfd){.fd = run->ends.output, .events = POLLIN};
    fds[4] = (struct pollfd){.fd = run->ends.input, .events = POLLOUT};
    fds[5] = (struct pollfd){.fd = stream ? 2 : -1, .events = POLLOUT};
    return ppoll(fds, 6, &timeout, NULL);
}

void run_loop(struct run *run) {
    bool frames = run->invocation->plan->frames;
    while (run->phase != PHASE_OVER) {
        struct pollfd fds[6];
        int count = wait_for_events(run, fds);
        if (count < 0 && errno != EINTR) {
            error_set(&run->invocation->service, -errno, "ppoll: %s", strerror(errno));
            end(run, OUTCOME_SERVICE);
            break;
        }
        /* The clock is looked at each time: a flood must not outrun it. */
        if (run_now() >= run->deadline) {
            time_is_up(run);
            break;
        }
        if (count <= 0)
            continue;
        if (fds[1].revents)
            take_signal(run);
        if (fds[2].revents && logs_receive(&run->logs, run->ends.log) == 0)
            cleanup_close(&run->ends.log);
        if (fds[3].revents && run->phase != PHASE_OVER)
            frames ? take_frames(run) : take_stdout(run);
        if (fds[4].revents && run->ends.input >= 0)
            run_give_event(run);
        if (fds[5].revents)
            logs_stream(&run->logs, 2, STREAM_STEP);
        if (fds[0].revents && run->phase != PHASE_OVER) {
            if (run->phase != PHASE_GRACE)
                run->ended = run_now();
            run->phase = PHASE_OVER;
        }
    }
}

/* Every writer is dead: what they left is read to its end. */
void run_drain(struct run *run) {
    while (run->ends.output >= 0 && run->invocation->plan->frames && !run->reader.done &&
           !run->reader.broken) {
        size_t before = run->reader.payload.length + run->reader.head_length;
        if (frame_receive(&run->reader, run->ends.output) == 0)
            break;
        if (before == run->reader.payload.length + run->reader.head_length)
            break;
    }
    while (run->ends.output >= 0 && !run->invocation->plan->frames &&
           run->reader.payload.length <= run->reader.limit)
        take_stdout(run);
    while (run->ends.log >= 0 && logs_receive(&run->logs, run->ends.log) != 0)
        ;
}

void run_close(struct run *run) {
    ends_close(&run->ends);
    cleanup_close(&run->signals);
}
