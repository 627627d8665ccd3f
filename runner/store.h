/* The store's folder, as fnrund finds or makes it before it gives up privileges. */
#ifndef FNRUN_STORE_H
#define FNRUN_STORE_H

#include "isolate/error.h"
#include "runner/privileges.h"

/* Makes path (absolute) and what is missing above it, with versions/ and incoming/ in it, all
 * the identity's own. Folders that are there already must be the identity's; root's are given
 * to it. Returns 0 or a negative errno with err. */
int store_make(const char *path, const struct identity *identity, struct error *err);

#endif
