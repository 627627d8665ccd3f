#include "images/runtimes/native/collapse.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define HUGE  (2ul << 20) /* bytes, also on aarch64 with pages of 4 KiB */
#define PAGE  4096ul
#define PAGES (HUGE / PAGE)

/* Whether three quarters of a huge page are in use: what was reserved and never touched must
 * not become memory. */
static bool is_filled(int pagemap, unsigned long address) {
    uint64_t entries[PAGES];
    if (pread(pagemap, entries, sizeof entries, (off_t)(address / PAGE * sizeof *entries)) !=
        (ssize_t)sizeof entries)
        return false;
    size_t present = 0;
    for (size_t i = 0; i < PAGES; i++)
        present += entries[i] >> 63;
    return present * 4 >= PAGES * 3;
}

/* False: not on this kernel. */
static bool collapse_range(int pagemap, unsigned long start, unsigned long end) {
    start = (start + HUGE - 1) / HUGE * HUGE;
    for (; start + HUGE <= end; start += HUGE)
        if (is_filled(pagemap, start) && madvise((void *)start, HUGE, MADV_COLLAPSE) < 0)
            return false;
    return true;
}

void collapse_heap(void) {
    if ((unsigned long)sysconf(_SC_PAGESIZE) != PAGE)
        return;
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[4352]; /* a path of 4095 bytes and what stands before it */
    while (pagemap >= 0 && maps && fgets(line, sizeof line, maps)) {
        unsigned long start, end, inode;
        char mode[5], name[8] = "";
        if (sscanf(line, "%lx-%lx %4s %*s %*s %lu %7s", &start, &end, mode, &inode, name) < 4 ||
            strcmp(mode, "rw-p") != 0 || inode != 0 || strcmp(name, "[stack]") == 0)
            continue;
        if (!collapse_range(pagemap, start, end))
            break;
    }
    if (maps)
        fclose(maps);
    if (pagemap >= 0)
        close(pagemap);
}
