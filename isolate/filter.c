#include "isolate/filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include "isolate/sys.h"

#include "isolate/filter_data.h" /* made while building, for both architectures */

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* Linux 5.19 */
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#if defined(__x86_64__)
#define ORDINARY filter_program_x86_64
#define ZYGOTE   filter_program_zygote_x86_64
#elif defined(__aarch64__)
#define ORDINARY filter_program_aarch64
#define ZYGOTE   filter_program_zygote_aarch64
#endif

const struct filter filter_native = {
    .instructions = ORDINARY,
    .count = sizeof ORDINARY / sizeof *ORDINARY,
};

const struct filter filter_zygote = {
    .instructions = ZYGOTE,
    .count = sizeof ZYGOTE / sizeof *ZYGOTE,
};

SYS_CHILD static int load(const struct filter *filter, unsigned long flags) {
    /* The kernel copies the program and does not write to it. */
    struct sock_fprog program = {
        .len = filter->count,
        .filter = (struct sock_filter *)(uintptr_t)filter->instructions,
    };
    return (int)sys_call3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (long)flags, SYS_PTR(&program));
}

SYS_CHILD int filter_load(void) {
    return load(&filter_native, 0);
}

SYS_CHILD int filter_load_listener(void) {
    return load(&filter_zygote,
                SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
}
