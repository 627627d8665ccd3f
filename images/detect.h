/* What the files of a function say where function.ini does not: runtime and handler. */
#ifndef FNRUN_DETECT_H
#define FNRUN_DETECT_H

#include "images/config.h"
#include "images/folder.h"
#include "images/function.h"

/* Both set function->runtime or function->handler, or add a problem that says what
 * was expected, or lists the candidates. ini: how messages call function.ini.
 * Return 0 or -ENOMEM. */
int detect_runtime(const struct folder *folder, struct function *function,
                   struct config_problems *problems);
int detect_handler(const struct folder *folder, struct function *function, const char *ini,
                   struct config_problems *problems);

/* Both for a single file, whose name in the folder is function->file. */
int detect_file(const struct folder *folder, struct function *function,
                struct config_problems *problems);

#endif
