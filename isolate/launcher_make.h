/* Making one environment: what launcher.h promises of ids, groups, image, namespaces and of
 * what the keeper's program finds when it starts. The order of the steps, and why it is
 * that order, stands in launcher_make.c. */
#ifndef FNRUN_LAUNCHER_MAKE_H
#define FNRUN_LAUNCHER_MAKE_H

#include <stdint.h>
#include <sys/types.h>

#include "isolate/cgroup.h"
#include "isolate/claim.h"
#include "isolate/error.h"
#include "isolate/idmap.h"
#include "isolate/launcher.h"
#include "isolate/launcher_groups.h"

/* The same for all environments. */
struct launcher_setup {
    const char *store, *run_dir, *runtimes; /* absolute paths */
    struct idmap ids;
    struct cgroup_layout layout;
    int keeper;   /* its program, opened */
    int launcher; /* pidfd of this process */
};

struct environment {
    struct environment *next;
    uint32_t id;            /* the runner's number */
    pid_t pid;              /* of the keeper */
    int pidfd;              /* readable when it has ended */
    int socket;             /* to the keeper; does not block */
    int image;              /* while it is open the prepared root stays */
    bool has_answer;        /* a leaf was asked for and could not be sent yet */
    uint32_t answer;        /* its number */
    bool host_network;      /* it was made with the machine's network */
    bool asked_language;    /* it was given to the language zygote, or could not be */
    bool leaving;           /* the keeper is reaped, its groups are not gone yet */
    int status;             /* wait(2)'s, while leaving */
    uint64_t leaving_until; /* us, CLOCK_MONOTONIC */
    struct claim claim;
    struct launcher_groups groups;
};

/* Makes it. runner: the keeper's end of its socket with the runner, the caller's to close.
 * The request has been checked. Returns 0, *made is then to be freed with launcher_free after its
 * keeper has been reaped and its groups removed; or a negative errno with err, and nothing is left.
 */
int launcher_make(const struct launcher_setup *setup, const struct launcher_make *request,
                  int runner, struct environment **made, struct error *err);

/* Closes what is open. released: its groups are gone, so its ids are free. */
void launcher_free(struct environment *environment, bool released);

#endif
