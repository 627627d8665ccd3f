/* A busy loop for ever, and no longer than who started it. */
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(void) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == 1)
        return 1;
    for (volatile unsigned long turns = 0;; turns++)
        ;
}
