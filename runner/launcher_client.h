/* The launcher as the daemon sees it: environments are asked for by number, and end. Speaks
 * isolate/launcher.h. Nothing here waits. */
#ifndef FNRUN_LAUNCHER_CLIENT_H
#define FNRUN_LAUNCHER_CLIENT_H

#include <stdint.h>

#include "isolate/error.h"
#include "isolate/launcher.h"

struct sd_event;
struct launcher_client;

struct launcher_events {
    /* The keeper runs. */
    void (*made)(void *owner, int32_t pid);
    /* It was not made; the number means nothing any more. code: negative errno. */
    void (*refused)(void *owner, int code, const char *text);
    /* Everything of it is removed, or the launcher is dead; the number means nothing any more. */
    void (*gone)(void *owner);
};

/* socket: non-blocking, owned from here on. lost: the launcher died; every environment has been
 * told that it is gone before. NULL with err: out of memory or descriptors. */
struct launcher_client *launcher_client_new(struct sd_event *loop, int socket,
                                            void (*lost)(void *owner), void *owner,
                                            struct error *err);
/* Calls nobody. */
void launcher_client_free(struct launcher_client *client);

/* make: all but op and id. keeper: the keeper's end of its socket, closed here in every case.
 * Returns the environment's number, or a negative errno with err. */
int64_t launcher_client_make(struct launcher_client *client, const struct launcher_make *make,
                             int keeper, const struct launcher_events *events, void *owner,
                             struct error *err);
/* At once; gone is called later. */
void launcher_client_kill(struct launcher_client *client, uint32_t id);
/* Its owner will not be there any more: events of this number are dropped. */
void launcher_client_forget(struct launcher_client *client, uint32_t id);

#endif
