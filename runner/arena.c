/* malloc for fnrun-once where it is linked with musl: a program that lives for a few
 * milliseconds and one thread. musl's own maps and unmaps a group of slots for each
 * size, two page faults a time; here small blocks come one after another from one
 * array and are given back only when they are the last. Large ones are mappings of
 * their own, so that a growing event is moved by the kernel, not copied. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 16
#define LARGE     (64 * 1024)
#define CHUNK     (256 * 1024)

/* In front of every block; its size keeps blocks aligned. */
struct head {
    size_t size; /* usable bytes; mappings: all of the mapping but this head */
    size_t large;
};

static unsigned char first[16 * 1024] __attribute__((aligned(ALIGNMENT)));
static unsigned char *next = first, *limit = first + sizeof first;
static struct head *last;

static struct head *head_of(void *block) {
    return (struct head *)((uintptr_t)block - sizeof(struct head));
}

static void *map(size_t size) {
    size_t whole = (size + sizeof(struct head) + 4095) & ~(size_t)4095;
    if (whole < size)
        return NULL;
    struct head *head =
        mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (head == MAP_FAILED)
        return NULL;
    *head = (struct head){whole - sizeof *head, 1};
    return head + 1;
}

static size_t rounded(size_t size) {
    return size ? (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1) : ALIGNMENT;
}

/* Not called malloc: the compiler would make a calloc of a malloc and a memset, and
 * calloc is here. */
static void *take(size_t size) {
    if (size >= LARGE) {
        void *block = map(size);
        if (!block)
            errno = ENOMEM;
        return block;
    }
    size = rounded(size);
    if (size + sizeof(struct head) > (size_t)(limit - next)) {
        unsigned char *chunk =
            mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (chunk == MAP_FAILED) {
            errno = ENOMEM;
            return NULL;
        }
        next = chunk;
        limit = chunk + CHUNK;
    }
    last = (struct head *)next;
    *last = (struct head){size, 0};
    next += sizeof *last + size;
    return last + 1;
}

void *malloc(size_t size) {
    return take(size);
}

void free(void *block) {
    if (!block)
        return;
    struct head *head = head_of(block);
    if (head->large) {
        munmap(head, head->size + sizeof *head);
    } else if (head == last) {
        next = (unsigned char *)head;
        last = NULL;
    }
}

void *calloc(size_t count, size_t size) {
    size_t whole;
    if (__builtin_mul_overflow(count, size, &whole)) {
        errno = ENOMEM;
        return NULL;
    }
    void *block = take(whole);
    /* A block may have been used before, a mapping is new. */
    return block && !head_of(block)->large ? memset(block, 0, whole) : block;
}

static void *move(void *block, size_t old, size_t size) {
    void *moved = take(size);
    if (!moved)
        return NULL;
    memcpy(moved, block, old < size ? old : size);
    free(block);
    return moved;
}

void *realloc(void *block, size_t size) {
    if (!block)
        return take(size);
    struct head *head = head_of(block);
    if (size <= head->size)
        return block;
    if (head->large) {
        size_t whole = (size + sizeof *head + 4095) & ~(size_t)4095;
        head = whole < size ? MAP_FAILED
                            : mremap(head, head->size + sizeof *head, whole, MREMAP_MAYMOVE);
        if (head == MAP_FAILED) {
            errno = ENOMEM;
            return NULL;
        }
        head->size = whole - sizeof *head;
        return head + 1;
    }
    if (head == last && size < LARGE && rounded(size) - head->size <= (size_t)(limit - next)) {
        next += rounded(size) - head->size;
        head->size = rounded(size);
        return block;
    }
    return move(block, head->size, size);
}
