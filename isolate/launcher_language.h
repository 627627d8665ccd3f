/* The language zygote from the launcher's side: started, started again when it dies, asked.
 * What it is stands in launcher.h. It lives in the prepared image as functions see it (so
 * that every path in it is true for them), as a host id used for nothing else, without
 * any capability. Only as root of the machine, and where control groups are v1's. */
#ifndef FNRUN_LAUNCHER_LANGUAGE_H
#define FNRUN_LAUNCHER_LANGUAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "isolate/launcher_make.h"

struct language {
    bool usable; /* there can be one on this machine */
    bool ready;  /* it has said so */
    pid_t pid;   /* 0: none */
    int pidfd, socket;
    int image;                /* while it is open the prepared root stays */
    uint64_t began, retry_at; /* us, CLOCK_MONOTONIC; retry_at: 0 while it is there */
    uint64_t pause;           /* us until it is started again */
};

/* Finds out whether there can be one, and starts it. Never fails: without it keepers start
 * interpreters themselves; why it did not start is said on stderr. */
void language_open(struct language *language, const struct launcher_setup *setup);

/* What poll(2) said of socket and pidfd: it is ready, or gone and reaped. */
void language_hear(struct language *language);
void language_reap(struct language *language);

/* Starts it again when it is time. Returns the ms until then, or -1. */
int language_tend(struct language *language, const struct launcher_setup *setup);

/* Hands a keeper's descriptors on; they stay the caller's. False: nobody was there. */
bool language_ask(struct language *language, bool shared_network, const int *fds, size_t count);

/* Kills and reaps it. */
void language_close(struct language *language);

#endif
