/* A process that works little and must be woken at once: on a busy machine the scheduler lets
 * whoever asks for short slices in earlier (Linux 6.12; before, this does nothing). */
#ifndef FNRUN_PROMPT_H
#define FNRUN_PROMPT_H

/* Asks for it, for this process alone: children are ordinary ones, of nice 0 where this has a
 * better value. Takes no privilege. See sched_setattr(2), sched_runtime. */
void prompt_be(void);

#endif
