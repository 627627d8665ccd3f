/* What a page fault costs on this machine, in us: {"touch_us":..,"copy_us":..}, the medians
 * of 15 rounds over 2,048 small pages. touch: the first write to new memory; copy: the first
 * write of a forked child to memory that its parent has. */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "slices.h"

#define PAGES  2048
#define ROUNDS 15

static uint64_t touch(unsigned char *memory, size_t page) {
    uint64_t start = now_ns();
    for (size_t i = 0; i < PAGES; i++)
        memory[i * page]++;
    return now_ns() - start;
}

static double median_us(uint64_t *took) {
    qsort(took, ROUNDS, sizeof *took, slice_compare);
    uint64_t middle = took[ROUNDS / 2];
    return (double)middle / PAGES / 1e3;
}

int main(void) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    static uint64_t first[ROUNDS], copy[ROUNDS];
    uint64_t *shared = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int round = 0; round < ROUNDS; round++) {
        unsigned char *memory =
            mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || shared == MAP_FAILED)
            die("mmap: %s", strerror(errno));
        madvise(memory, PAGES * page, MADV_NOHUGEPAGE);
        first[round] = touch(memory, page);
        pid_t pid = fork();
        if (pid == 0) {
            *shared = touch(memory, page);
            _exit(0);
        }
        if (pid < 0 || waitpid(pid, NULL, 0) != pid)
            die("fork: %s", strerror(errno));
        copy[round] = *shared;
        munmap(memory, PAGES * page);
    }
    printf("{\"touch_us\": %.2f, \"copy_us\": %.2f}\n", median_us(first), median_us(copy));
    return 0;
}
