#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runner/http_core.h"
#include "isolate/file.h"

#define HUGE        (2ul << 20)
#define FIRST_CHUNK 4096

/* Megabytes come faster into huge pages: three page faults instead of fifteen hundred. */
static char *map_huge(size_t capacity) {
    size_t whole = capacity + HUGE;
    char *at = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    size_t before = (HUGE - ((uintptr_t)at & (HUGE - 1))) & (HUGE - 1);
    if (before)
        munmap(at, before);
    if (whole - before > capacity)
        munmap(at + before + capacity, whole - before - capacity);
    madvise(at + before, capacity, MADV_HUGEPAGE); /* where there are none, small ones do */
    return at + before;
}

int http_body_open(struct http_body *body, size_t limit, size_t expected, int spool_to) {
    *body = (struct http_body){.limit = limit, .spool_to = spool_to};
    if (spool_to >= 0 || !expected)
        return 0;
    /* What is announced is not touched before it comes, and costs no memory till then. */
    body->capacity = expected + 1;
    body->mapped = body->capacity >= HUGE / 2;
    if (body->mapped) {
        body->capacity = (body->capacity + HUGE - 1) & ~(HUGE - 1);
        body->data = map_huge(body->capacity);
    } else {
        body->data = malloc(body->capacity);
    }
    return body->data ? 0 : -ENOMEM;
}

static int grow(struct http_body *body, size_t needed) {
    size_t capacity = body->capacity ? body->capacity : FIRST_CHUNK;
    while (capacity < needed)
        capacity *= 2;
    char *data = body->mapped ? NULL : realloc(body->data, capacity);
    if (!data)
        return -ENOMEM;
    body->data = data;
    body->capacity = capacity;
    return 0;
}

int http_body_add(struct http_body *body, const char *bytes, size_t length) {
    if (length > body->limit - body->bytes)
        return -EFBIG;
    int r = 0;
    if (body->spool_to >= 0) {
        r = file_write_all(body->spool_to, bytes, length);
    } else {
        if (body->capacity - body->length < length + 1)
            r = grow(body, body->length + length + 1);
        if (r == 0) {
            memcpy(body->data + body->length, bytes, length);
            body->length += length;
            body->data[body->length] = 0;
        }
    }
    if (r == 0)
        body->bytes += length;
    return r;
}

void http_body_free(struct http_body *body) {
    if (body->mapped)
        munmap(body->data, body->capacity);
    else
        free(body->data);
    body->data = NULL;
    body->mapped = false;
    body->capacity = body->length = 0;
}
