/* The files that `fnrun init` writes, by runtime. */
#ifndef FNRUN_TEMPLATES_H
#define FNRUN_TEMPLATES_H

#include <stddef.h>
#include <sys/types.h>

#define TEMPLATE_NAME    "@NAME@"    /* becomes the function's name */
#define TEMPLATE_INCLUDE "@INCLUDE@" /* becomes the folder of fnrun.h */

struct template {
    const char *runtime;
    const char *file;
    mode_t mode;
    const char *text;
};

/* In the order they are written. */
extern const struct template templates[];
extern const size_t templates_count;

#endif
