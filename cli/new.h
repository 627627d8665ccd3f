/* `fnrun init NAME --runtime R`: a small working function to start from. */
#ifndef FNRUN_NEW_H
#define FNRUN_NEW_H

#include <stdbool.h>

#include "isolate/error.h"

/* Makes the folder `name` in the current one, with the files of the runtime
 * ("python", "node", "azure", "native", "exec"), all readable by everybody
 * whatever the umask: the sandboxed process has ids of its own. A native function
 * is also compiled where make and a compiler are there.
 * Returns 0; -EINVAL (name); -EEXIST; another negative errno; err says what is
 * wrong and nothing half-made is left. *built: false when a native function still
 * has to be compiled. */
int new_function(const char *name, const char *runtime, bool *built, struct error *err);

#endif
