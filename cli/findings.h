/* What a machine offers, item by item, for doctor to show. */
#ifndef FNRUN_FINDINGS_H
#define FNRUN_FINDINGS_H

#include <stdbool.h>
#include <stddef.h>

enum finding_state {
    FINDING_OK,
    FINDING_WEAKER, /* works, in a form that is weaker or slower: hint says what is better */
    FINDING_MISSING,
};

struct finding {
    const char *name; /* static */
    int state;        /* enum finding_state */
    bool needed;      /* one-shot calls do not work where it is missing */
    char detail[640]; /* what was found */
    char hint[1100];  /* one line: how to get what is missing; "" when nothing is */
};

#define FINDINGS_MAX 40
struct findings {
    struct finding items[FINDINGS_MAX];
    size_t count;
};

/* Looks at everything. cgroup: the group that the user named (--cgroup or
 * FNRUN_CGROUP), or NULL. Makes nothing that stays. */
void findings_collect(struct findings *findings, const char *cgroup);

/* One more item: ok, and without words yet. */
struct finding *findings_add(struct findings *findings, const char *name, bool needed);

/* Whether one-shot calls work: nothing that is needed is missing. */
bool findings_ready(const struct findings *findings);

#endif
