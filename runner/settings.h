/* fnrun.ini: the daemon's own configuration, from one table (type, range, default, help), as
 * images/config_table.h is for function.ini. Nothing here needs more than inih. */
#ifndef FNRUN_SETTINGS_H
#define FNRUN_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "images/config.h"
#include "images/function.h"
#include "isolate/error.h"

struct settings {
    /* [runner] */
    char *store;         /* /var/lib/fnrun; user: $XDG_DATA_HOME/fnrun or ~/.local/share/fnrun */
    char *socket;        /* FNRUN_SOCKET, else the file's, else $XDG_RUNTIME_DIR/fnrun.sock, else
                            /run/fnrun.sock */
    uint32_t mode;       /* of the socket, octal; 0660 */
    char *group;         /* the socket's group, whose members may invoke; NULL: none */
    char *user;          /* what fnrund becomes when started as root; "fnrun" */
    char *cgroup;        /* below which groups are made, or NULL */
    uint64_t memory;     /* bytes for all environments together; 0: the machine's */
    uint64_t stop_ms;    /* SIGTERM: how long in-flight work may take */
    uint64_t usage_days; /* how long usage records are kept */
    uint64_t logs;       /* bytes of log kept in memory of each function */
    /* [limits]: the most that a function may ask for */
    uint64_t max_memory, max_timeout_ms, max_concurrency;
    /* [defaults]: same keys as function.ini's [limits] and [scale], but output and warmup */
    struct function_pair *defaults; /* "section.key", value */
    size_t defaults_count;
};

/* path NULL: /etc/fnrun/fnrun.ini as root, $XDG_CONFIG_HOME/fnrun/fnrun.ini (or
 * ~/.config/fnrun/fnrun.ini) otherwise, where it exists; else the defaults.
 * *settings was zero or freed before, and owns its strings in every case.
 * Returns 0, with what is wrong in the file in *problems, in the order of lines (the caller
 * looks at their count); or a negative errno with err: -ENOENT where path names no file. */
int settings_load(const char *path, struct settings *settings, struct config_problems *problems,
                  struct error *err);
void settings_free(struct settings *settings);

/* `fnrun check FILE.ini`: reads the file as settings_load and keeps nothing of it. */
int settings_check(const char *path, struct config_problems *problems, struct error *err);

/* Puts the daemon's defaults under what function.ini did not say (function->said), and refuses
 * what it said beyond the daemon's limits: each as a problem. What it did not say is lowered to
 * the limits. For a function that function_load read without problems. */
void settings_apply(const struct settings *settings, struct function *function,
                    struct config_problems *problems);

/* Keys that differ and need a restart, each named in text ("store, socket"), "" when none.
 * What can be reloaded (memory, stop, usage_days, logs, [limits], [defaults]) is taken over into
 * *now; *next is still to be freed. */
void settings_reload(struct settings *now, struct settings *next, char *text, size_t size);

void settings_print_man(FILE *to);

#endif
