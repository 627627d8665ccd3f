/* The handler of a function: which file it names, and whether the sandboxed process,
 * which runs under ids of its own, will be able to read and run that file. */
#ifndef FNRUN_HANDLER_H
#define FNRUN_HANDLER_H

#include <stdbool.h>
#include <stddef.h>

#include "images/config.h"
#include "images/folder.h"
#include "images/function.h"

#define HANDLER_PATH 1024

/* Finds the file that `handler` names for a runtime, relative to the folder, and the
 * name that is called in it ("" where there is none). What is tried is what the
 * runtimes try (images/runtimes/). Returns 0; -EINVAL: the handler has not the form
 * that the runtime needs; -ENOENT: no such file; -EXDEV: it leads out of the
 * folder; or another negative errno. */
int handler_find(const struct folder *folder, int runtime, const char *handler,
                 char path[HANDLER_PATH], char name[HANDLER_PATH]);

/* Adds to *problems whatever would keep function->handler from being started. ini:
 * how messages call function.ini. */
void handler_check(const struct folder *folder, const struct function *function, const char *ini,
                   struct config_problems *problems);

/* Whether the text of a Python module seems to define name at its top: by def, by an
 * assignment or by an import. */
bool handler_python_defines(const char *text, size_t length, const char *name);

#endif
