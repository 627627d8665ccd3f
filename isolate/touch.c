/* Which private pages a process wrote, from its pagemap: present, not of a file, mapped by it
 * alone. Learnt once for an environment, from the trial run, which runs an event of the
 * runtime's own: a list that came from a real event would let later ones see what it wrote. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "isolate/keeper_core.h"

#define PAGE      4096UL
#define AT_ONCE   4096
#define PRESENT   (1ULL << 63)
#define FILE_PAGE (1ULL << 61)
#define EXCLUSIVE (1ULL << 56)

static void add_page(struct keeper *k, unsigned long address) {
    struct gate_range *last = k->range_count ? &k->ranges[k->range_count - 1] : NULL;
    if (last && last->start + last->length == address)
        last->length += PAGE;
    else if (k->range_count < GATE_RANGES)
        k->ranges[k->range_count++] = (struct gate_range){address, PAGE};
}

static void look_at(struct keeper *k, int pagemap, unsigned long start, unsigned long end) {
    static uint64_t pages[AT_ONCE];
    for (unsigned long at = start; at < end; at += AT_ONCE * PAGE) {
        size_t count = (end - at) / PAGE < AT_ONCE ? (end - at) / PAGE : AT_ONCE;
        ssize_t got =
            pread(pagemap, pages, count * sizeof *pages, (off_t)(at / PAGE * sizeof *pages));
        for (size_t i = 0; got > 0 && i < (size_t)got / sizeof *pages; i++)
            if ((pages[i] & PRESENT) && (pages[i] & EXCLUSIVE) && !(pages[i] & FILE_PAGE))
                add_page(k, at + i * PAGE);
    }
}

void touch_learn(struct keeper *k, struct kslot *slot) {
    char path[40], line[512], mode[8];
    snprintf(path, sizeof path, "/proc/%d/pagemap", (int)slot->process);
    _cleanup_close_ int pagemap = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "/proc/%d/maps", (int)slot->process);
    _cleanup_fclose_ FILE *maps = fopen(path, "re");
    k->range_count = 0;
    while (pagemap >= 0 && maps && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && mode[1] == 'w' &&
            mode[3] == 'p')
            look_at(k, pagemap, start, end);
    }
    k->learned = true;
    k->learning = false;
}
