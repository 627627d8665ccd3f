/* The clock that deadlines and durations are kept by. Header only, usable by all. */
#ifndef FNRUN_MONOTONIC_H
#define FNRUN_MONOTONIC_H

#include <stdint.h>
#include <time.h>

/* us, CLOCK_MONOTONIC. */
static inline uint64_t monotonic_us(void) {
    struct timespec now = {0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

#endif
