/* One running version: its keeper, asked for from the launcher, the socket to it, the memory
 * shared with it and the log of its zygote. Messages are checked here before anybody acts on
 * them. What they mean is the pool's. */
#ifndef FNRUN_ENVIRONMENT_H
#define FNRUN_ENVIRONMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "images/function.h"
#include "isolate/error.h"
#include "isolate/keeper.h"
#include "isolate/launcher.h"

struct sd_event;
struct environment;
struct launcher_client;

#define ENVIRONMENT_LINES 16384 /* bytes in front of an event: ids, client context */

/* What every environment of a version is started with. */
struct environment_plan {
    struct launcher_make make;
    char *config; /* struct keeper_config and its strings */
    size_t config_length;
    uint64_t event_size, response_size; /* of a slot in the shared memory */
    bool frames; /* ahead: the program speaks frames, else stdin and stdout */
    char *program;
};

/* Returns 0, or a negative errno with err: -EINVAL and -E2BIG are the function's fault. */
int environment_plan_make(struct environment_plan *plan, const struct function *function,
                          const char *digest, struct error *err);
void environment_plan_free(struct environment_plan *plan);

/* Called from the loop, never from within a function of this header. environment_end may be
 * called in any of them. */
struct environment_events {
    /* KEEPER_UP, KEEPER_FAILED, and those of slots: NEEDS, READY, RESULT, END, RETIRED. Slots
     * and lengths are within bounds, the text is terminated. */
    void (*message)(void *owner, const struct keeper_message *message);
    void (*log)(void *owner); /* the zygote's has something to read */
    /* It is over, and why: refused, dead, or in trouble. environment_end is still to be called. */
    void (*lost)(void *owner, const char *why);
    /* After environment_end: everything of it is removed, the struct is freed after this. */
    void (*gone)(void *owner);
};

/* Asks for one; its keeper is configured as soon as it is there. plan must stay. NULL with err:
 * no memory, descriptors, or a limit on file sizes. */
struct environment *environment_start(struct launcher_client *client, struct sd_event *loop,
                                      const struct environment_plan *plan,
                                      const struct environment_events *events, void *owner,
                                      struct error *err);
/* Ends it at once. Nothing but gone comes after this. Returns true when everything of it is
 * removed already: gone is not called then. */
bool environment_end(struct environment *environment);
/* As environment_end, and gone is not called either. */
void environment_drop(struct environment *environment);

/* descriptors are closed here in every case. What cannot be sent shows as `lost` soon. */
void environment_send(struct environment *environment, const struct keeper_message *message,
                      int *fds, size_t count);

/* A slot's part of the shared memory. */
char *environment_event(const struct environment *environment, uint32_t slot);
const char *environment_reply(const struct environment *environment, uint32_t slot);
/* Gives the pages of a slot back. */
void environment_punch(const struct environment *environment, uint32_t slot);

/* Read end of the zygote's log, non-blocking; -EBADF: its end was read. */
int environment_log(const struct environment *environment);
/* The log of the zygote has ended, or is not to be watched for a while. */
void environment_watch_log(struct environment *environment, bool watch);

#endif
