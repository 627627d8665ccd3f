#include "isolate/init.h"

#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>

#include "isolate/lockdown.h"
#include "isolate/sys.h"

SYS_CHILD int init_main(void *argument) {
    const struct init_start *start = argument;
    /* The launcher dead means the slot dead, even by kill -9. It may have died
     * before the line took effect: then its pidfd is readable. */
    sys_call5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    struct pollfd parent = {.fd = start->parent, .events = POLLIN};
    struct timespec now = {0, 0};
    if (sys_call5(SYS_ppoll, SYS_PTR(&parent), 1, SYS_PTR(&now), 0, 0) != 0)
        return 1;
    lockdown_ignore_children();
    lockdown_capabilities();
    sys_call3(SYS_close_range, 0, ~0U, 0);
    for (;;)
        sys_call4(SYS_ppoll, 0, 0, 0, 0);
}
