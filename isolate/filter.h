/* The seccomp filter of every sandboxed process. The rules stand in
 * filter_rules.h; libseccomp resolves the names when fnrun is built and
 * filter_generate.c writes them as a search over ranges of numbers (the kernel
 * runs a filter once for every call number when it is loaded, so the length of
 * its paths is what loading costs: about 0.1 ms against 0.4 for a plain list). */
#ifndef FNRUN_FILTER_H
#define FNRUN_FILTER_H

#include <stddef.h>
#include <stdint.h>

struct sock_filter;

struct filter {
    const struct sock_filter *instructions;
    unsigned short count;
};

/* The filter of the machine this was built for. */
extern const struct filter filter_native;

/* Loads it. The caller has set no_new_privs. Raw system calls only: may be
 * called in a child that shares the parent's memory. Returns 0 or a negative
 * errno. See seccomp(2). */
int filter_load(void);

#endif
