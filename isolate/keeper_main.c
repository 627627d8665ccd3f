/* fnrun-keeper: PID 1 of an environment. Started by the launcher, with its sockets as
 * descriptors 3 and 4 and, on cgroup v2, its group as 5. */
#include <stdio.h>
#include <unistd.h>

#include "isolate/keeper_core.h"

int main(void) {
    if (getpid() != 1) {
        fprintf(stderr, "fnrun-keeper is started by fnrun-launcher, not by hand\n");
        return 2;
    }
    return keeper_run();
}
