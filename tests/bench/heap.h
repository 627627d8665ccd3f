/* The heap and the work of the native rows: the same in the plain fork server and in the
 * function. 8 MiB that have been touched, 16 pages of it written by each event. */
#ifndef BENCH_HEAP_H
#define BENCH_HEAP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAP_BYTES ((size_t)8 << 20)
#define HEAP_DIRTY ((size_t)16)

static unsigned char *heap;

static inline int heap_make(void) {
    heap = malloc(HEAP_BYTES);
    if (!heap)
        return -1;
    memset(heap, 1, HEAP_BYTES);
    return 0;
}

/* The sum is 32 in a process that handles its first event, and more in any other. Returns
 * the reply's length. */
static inline int heap_work(const char *event, size_t length, char *reply, size_t size) {
    unsigned sum = 0, check = 0;
    for (size_t i = 0; i < length; i++)
        check = check * 31 + (unsigned char)event[i];
    for (size_t i = 0; i < HEAP_DIRTY; i++)
        sum += ++heap[i * (HEAP_BYTES / HEAP_DIRTY) + 64];
    return snprintf(reply, size, "{\"sum\": %u, \"check\": %u}", sum, check);
}

#endif
