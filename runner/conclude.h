/* How one event ended, from what came of it: outcome, result or error object. The same words
 * for one-shot calls and for the daemon's. */
#ifndef FNRUN_CONCLUDE_H
#define FNRUN_CONCLUDE_H

#include <stdbool.h>
#include <stdint.h>

#include "images/function.h"
#include "runner/failure.h"
#include "runner/frame.h"
#include "runner/logs.h"

struct conclusion {
    /* What is known, set by the caller. */
    const struct function *function; /* limits and output are looked at */
    bool frames;                     /* else stdout and the exit status tell */
    struct frame_reader *reader; /* what came; an exec's stdout in its payload, which is taken */
    struct logs *logs;           /* a failed exec's stdout is added */
    uint64_t timeout_ms;         /* what the handler had */
    int verdict;                 /* enum outcome that was found while it ran; OUTCOME_SUCCESS:
                                  * what came and how it ended tell */
    int status;                  /* wait(2)'s, of the function's process */
    bool oom_killed;
    int signal_number; /* OUTCOME_CLIENT_GONE: the signal that came, or 0 */

    /* What it means; request_id set by the caller, result NULL. */
    struct answer answer;
};

void conclude(struct conclusion *end);

/* The program was not started (code: negative errno). True when that is the function's fault:
 * the answer is then filled; the rest (no memory, say) is the machine's. */
bool conclude_start(struct answer *answer, const char *program, int code);

#endif
