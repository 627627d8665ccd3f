/* How the benchmark talks to what it measures, so that rows can be interleaved: a program
 * that is up all the time and measures a slice of its work whenever it is told to.
 *
 * On stdin, a line each:      calls N       N calls, one after another
 *                             seconds S     as many as fit into S seconds
 *                             quit
 * On stdout, for each slice:  {"calls":..,"errors":..,"seconds":..,"per_second":..,"p50_ns":..,
 *                             "p99_ns":..,"max_ns":..,"reply":"..","problem":".."}
 *
 * Each latency is appended to the file that --record names: uint64_t, ns. reply is that of
 * the slice's first call that went well, problem tells of the first that did not. */
#ifndef BENCH_SLICES_H
#define BENCH_SLICES_H

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct slice {
    FILE *record; /* or NULL */
    /* what was asked for */
    uint64_t calls, until_ns; /* until_ns: 0, or when the slice ends */
    /* what has been done */
    uint64_t started, errors, begun_ns;
    uint64_t *latencies;
    size_t count, room;
    char reply[512], problem[2048];
};

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline void stay_on_core(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        die("core %d: %s", core, strerror(errno));
}

/* May another call be started? Counts it. */
static inline bool slice_more(struct slice *slice) {
    if (slice->until_ns ? now_ns() >= slice->until_ns : slice->started >= slice->calls)
        return false;
    slice->started++;
    return true;
}

/* text is not kept, and cut where it is long. */
static inline void slice_keep(char *to, size_t size, const char *text, size_t length) {
    if (to[0])
        return;
    length = length < size - 1 ? length : size - 1;
    memcpy(to, text, length);
    to[length] = 0;
}

static inline void slice_done(struct slice *slice, uint64_t ns, const char *reply, size_t length) {
    if (slice->count == slice->room) {
        slice->room = slice->room ? slice->room * 2 : 4096;
        slice->latencies = realloc(slice->latencies, slice->room * sizeof *slice->latencies);
        if (!slice->latencies)
            die("no memory for %zu latencies", slice->room);
    }
    slice->latencies[slice->count++] = ns;
    slice_keep(slice->reply, sizeof slice->reply, reply, length);
}

static inline void slice_failed(struct slice *slice, const char *problem, size_t length) {
    slice->errors++;
    slice_keep(slice->problem, sizeof slice->problem, problem, length);
}

static inline int slice_compare(const void *one, const void *other) {
    uint64_t a = *(const uint64_t *)one, b = *(const uint64_t *)other;
    return a < b ? -1 : a > b;
}

static inline void slice_print_text(const char *key, const char *text) {
    printf(",\"%s\":\"", key);
    for (; *text; text++)
        if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            printf("\\u%04x", (unsigned)*text);
        else
            putchar(*text);
    putchar('"');
}

static inline void slice_print(struct slice *slice) {
    double seconds = (double)(now_ns() - slice->begun_ns) / 1e9;
    size_t count = slice->count;
    if (slice->record && count &&
        (fwrite(slice->latencies, sizeof *slice->latencies, count, slice->record) != count ||
         fflush(slice->record)))
        die("the record: %s", strerror(errno));
    printf("{\"calls\":%zu,\"errors\":%llu,\"seconds\":%.6f,\"per_second\":%.1f", count,
           (unsigned long long)slice->errors, seconds, (double)count / seconds);
    if (count) {
        qsort(slice->latencies, count, sizeof *slice->latencies, slice_compare);
        printf(",\"p50_ns\":%llu,\"p99_ns\":%llu,\"max_ns\":%llu",
               (unsigned long long)slice->latencies[count / 2],
               (unsigned long long)slice->latencies[count * 99 / 100],
               (unsigned long long)slice->latencies[count - 1]);
    }
    slice_print_text("reply", slice->reply);
    slice_print_text("problem", slice->problem);
    printf("}\n");
    fflush(stdout);
}

/* Reads commands until stdin ends. measure does the slice's calls; other, which may be NULL,
 * takes every other line and prints nothing. */
static inline void slices_serve(FILE *record, void (*measure)(struct slice *slice),
                                void (*other)(const char *line)) {
    static char line[65536];
    static struct slice slice;
    slice.record = record;
    while (fgets(line, sizeof line, stdin)) {
        unsigned long long calls = 0;
        double seconds = 0;
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, "quit") == 0)
            return;
        bool by_time = sscanf(line, "seconds %lf", &seconds) == 1;
        if (!by_time && sscanf(line, "calls %llu", &calls) != 1) {
            if (!other)
                die("not understood: %s", line);
            other(line);
            continue;
        }
        slice.started = slice.errors = slice.count = 0;
        slice.reply[0] = slice.problem[0] = 0;
        slice.calls = calls;
        slice.begun_ns = now_ns();
        slice.until_ns = by_time ? slice.begun_ns + (uint64_t)(seconds * 1e9) : 0;
        measure(&slice);
        slice_print(&slice);
    }
}

static inline FILE *open_record(const char *path) {
    FILE *file = fopen(path, "abe");
    if (!file)
        die("%s: %s", path, strerror(errno));
    return file;
}

#endif
