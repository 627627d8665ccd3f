/* The loopback interface of a new network namespace, which is born down. Raw system calls only. */
#ifndef FNRUN_LO_H
#define FNRUN_LO_H

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "isolate/sys.h"

/* Of the caller's network namespace. Returns 0 or a negative errno. */
SYS_CHILD static inline int lo_bring_up(void) {
    struct ifreq request = {.ifr_name = "lo"};
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    long fd = sys_call3(SYS_socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return (int)fd;
    long r = sys_call3(SYS_ioctl, fd, SIOCSIFFLAGS, SYS_PTR(&request));
    sys_call1(SYS_close, fd);
    return (int)r;
}

#endif
