/* The folders of the store: made, locked, and rid of what no version needs. */
#ifndef FNRUN_STATE_STORE_H
#define FNRUN_STATE_STORE_H

#include <stddef.h>

#include "isolate/error.h"

#define STATE_INCOMING "incoming"
#define STATE_VERSIONS "versions"

/* Makes store and what is in it, checks whose it is, and takes its lock.
 * Returns the lock's descriptor, held until it is closed; -EBUSY with err naming who has it. */
int state_store_open(const char *store, struct error *err);

/* Names below the store ("versions/DIGEST"). */
struct state_names {
    char **items;
    size_t count;
};
/* Adds FOLDER/name. Returns 0 or -ENOMEM. */
int state_names_add(struct state_names *names, const char *folder, const char *name);
void state_names_free(struct state_names *names);

/* Adds all that is in the store's folder. */
int state_store_list(const char *store, const char *folder, struct state_names *names,
                     struct error *err);
/* Removes one of them with all that is in it. */
int state_store_remove(const char *store, const char *name, struct error *err);

#endif
