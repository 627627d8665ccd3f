#include "isolate/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "isolate/sys.h"

#include "isolate/filter_data.h" /* made while building, for both architectures */

#if defined(__x86_64__)
#define PROGRAM filter_program_x86_64
#elif defined(__aarch64__)
#define PROGRAM filter_program_aarch64
#endif

const struct filter filter_native = {
    .instructions = PROGRAM,
    .count = sizeof PROGRAM / sizeof *PROGRAM,
};

SYS_CHILD int filter_load(void) {
    /* The kernel copies the program and does not write to it. */
    struct sock_fprog program = {
        .len = filter_native.count,
        .filter = (struct sock_filter *)(uintptr_t)filter_native.instructions,
    };
    return (int)sys_call3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, SYS_PTR(&program));
}
