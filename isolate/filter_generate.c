/* Writes the seccomp filters as C tables while fnrun is built: the ordinary ones,
 * PREFIX_x86_64 and PREFIX_aarch64, and the zygote's, PREFIX_zygote_x86_64 and
 * PREFIX_zygote_aarch64:
 *
 *     filter_generate PREFIX [REACH] > filter_data.h
 *
 * The program it writes checks the architecture, searches the call's number in the
 * ranges of numbers that share an answer, and ends in one of a few common tails. The
 * search tree is the one with the fewest steps for all numbers together, since the
 * kernel walks it once for each of them when the filter is loaded (it remembers the
 * calls that are always allowed and never runs the filter for those).
 *
 * It is laid out from its end to its beginning: a classic BPF jump goes forward only
 * and at most REACH (255) instructions, so what is jumped to exists already, and a
 * target too far away gets a long jump put in between. */
#include <errno.h>
#include <seccomp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "isolate/filter_rules.h"

#define NUMBERS   1024 /* above every number of a call; checked */
#define TRIED     480  /* the kernel tries the numbers that it knows: so many, by now */
#define X32_BIT   0x40000000u
#define UNDECIDED 0xff
#define CHECKED   FILTER_VERDICTS /* answers from here on: the call's checks, by index */

static const struct architecture {
    const char *name;
    uint32_t seccomp, audit;
    bool x32;
} architectures[] = {
    {"x86_64", SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, true},
    {"aarch64", SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64, false},
};

static __attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("filter_generate: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    exit(1);
}

/* --- from names to an answer for every number ------------------------------------ */

/* The call's number; -1 where this architecture does not have it. */
static int number_of(const struct architecture *arch, const char *call) {
    int number = seccomp_syscall_resolve_name_arch(arch->seccomp, call);
    for (size_t i = 0; i < FILTER_COUNT(filter_numbers); i++) {
        const struct filter_number *known = &filter_numbers[i];
        if (strcmp(known->call, call) != 0)
            continue;
        if (known->only && strcmp(known->only, arch->name) != 0)
            return -1;
        if (number >= 0 && number != known->number)
            fail("%s is number %d to libseccomp and %d to filter_rules.h", call, number,
                 known->number);
        return known->number;
    }
    if (number == __NR_SCMP_ERROR)
        fail("no call is named %s: misspelt, or newer than this libseccomp and missing from "
             "filter_numbers",
             call);
    return number < 0 ? -1 : number;
}

static void answer_call(const struct architecture *arch, unsigned char answers[NUMBERS],
                        const char *call, unsigned answer) {
    int number = number_of(arch, call);
    if (number < 0)
        return;
    if (number >= NUMBERS)
        fail("%s has number %d: raise NUMBERS", call, number);
    if (answers[number] != UNDECIDED)
        fail("%s stands in filter_rules.h twice", call);
    answers[number] = (unsigned char)answer;
}

/* The checks of both tables in one, so that an answer can name one. */
#define CHECKS (FILTER_COUNT(filter_checks) + FILTER_COUNT(filter_zygote_checks))
static struct filter_check checks[CHECKS];

static void join_checks(void) {
    memcpy(checks, filter_checks, sizeof filter_checks);
    memcpy(checks + FILTER_COUNT(filter_checks), filter_zygote_checks, sizeof filter_zygote_checks);
}

/* Whether this check is for the same call as the one before it, in the same table. */
static bool continues(size_t check) {
    return check > 0 && check < CHECKS && check != FILTER_COUNT(filter_checks) &&
           strcmp(checks[check].call, checks[check - 1].call) == 0;
}

static void answer_rows(const struct architecture *arch, unsigned char answers[NUMBERS],
                        const struct filter_group *groups, size_t group_count, size_t first_check,
                        size_t check_end) {
    memset(answers, UNDECIDED, NUMBERS);
    for (size_t i = 0; i < group_count; i++) {
        char *calls = strdup(groups[i].calls), *rest = calls;
        for (char *call; calls && (call = strtok_r(rest, " ", &rest));)
            answer_call(arch, answers, call, groups[i].verdict);
        free(calls);
    }
    for (size_t i = first_check; i < check_end; i++)
        if (!continues(i))
            answer_call(arch, answers, checks[i].call, CHECKED + (unsigned)i);
}

static void answer_all(const struct architecture *arch, unsigned char answers[NUMBERS],
                       bool zygote) {
    unsigned char instead[NUMBERS];
    answer_rows(arch, answers, filter_groups, FILTER_COUNT(filter_groups), 0,
                FILTER_COUNT(filter_checks));
    answer_rows(arch, instead, filter_zygote_groups, FILTER_COUNT(filter_zygote_groups),
                FILTER_COUNT(filter_checks), CHECKS);
    for (size_t number = 0; number < NUMBERS; number++) {
        if (zygote && instead[number] != UNDECIDED)
            answers[number] = instead[number];
        if (answers[number] == UNDECIDED)
            answers[number] = FILTER_ENOSYS;
    }
}

/* --- ranges, and the cheapest tree over them --------------------------------------- */

#define RANGES 400
static struct range {
    uint32_t first;
    unsigned answer;
    unsigned weight; /* numbers in it that the kernel tries when it loads the filter */
} ranges[RANGES];
static size_t range_count;

static void add_range(uint32_t first, unsigned answer) {
    if (range_count && ranges[range_count - 1].answer == answer)
        return;
    if (range_count == RANGES)
        fail("more than %d ranges", RANGES);
    ranges[range_count++] = (struct range){first, answer, 0};
}

static void make_ranges(const struct architecture *arch, const unsigned char answers[NUMBERS]) {
    range_count = 0;
    for (uint32_t number = 0; number < NUMBERS; number++)
        add_range(number, answers[number]);
    if (arch->x32) {
        add_range(X32_BIT, FILTER_KILL);
        add_range(UINT32_MAX, FILTER_ENOSYS); /* -1: no call of any kind, as a tracer skips one */
    }
    for (size_t i = 0; i < range_count; i++) {
        uint32_t end = i + 1 < range_count ? ranges[i + 1].first : NUMBERS;
        if (end > TRIED)
            end = TRIED;
        ranges[i].weight = ranges[i].first < end ? end - ranges[i].first : 1;
    }
}

/* split[i][j]: the first range of the right half of the best tree over i to j. */
static unsigned long cost[RANGES][RANGES];
static size_t split[RANGES][RANGES];

static void plan_search(void) {
    for (size_t length = 1; length < range_count; length++)
        for (size_t i = 0; i + length < range_count; i++) {
            size_t j = i + length;
            unsigned long weight = 0;
            cost[i][j] = (unsigned long)-1;
            for (size_t k = i; k <= j; k++)
                weight += ranges[k].weight;
            for (size_t k = i + 1; k <= j; k++) {
                unsigned long whole = weight + cost[i][k - 1] + cost[k][j];
                if (whole < cost[i][j]) {
                    cost[i][j] = whole;
                    split[i][j] = k;
                }
            }
        }
}

/* --- instructions, from the last to the first --------------------------------------- */

/* A place is counted from the program's end: the last instruction is 1. */
static struct sock_filter program[BPF_MAXINSNS];
static unsigned placed;
static unsigned reach = 255;

static unsigned place(struct sock_filter instruction) {
    if (placed == BPF_MAXINSNS)
        fail("more than %d instructions", BPF_MAXINSNS);
    program[placed++] = instruction;
    return placed;
}

static unsigned place_load(size_t offset) {
    return place((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* A place from which the next two instructions can be jumped to and from: target
 * itself, or a long jump to it. Two, since the other target's may come in between. */
static unsigned near(unsigned target) {
    if (placed + 1 - target <= reach)
        return target;
    return place((struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, placed - target));
}

static unsigned place_jump(uint16_t test, uint32_t value, unsigned yes, unsigned no) {
    yes = near(yes);
    no = near(no);
    return place((struct sock_filter)BPF_JUMP((uint16_t)(BPF_JMP | test | BPF_K), value,
                                              (uint8_t)(placed - yes), (uint8_t)(placed - no)));
}

static unsigned verdict_place[FILTER_VERDICTS];
static unsigned check_place[CHECKS];

static void place_verdicts(bool zygote) {
    static const uint32_t returned[FILTER_VERDICTS] = {
        [FILTER_ALLOW] = SECCOMP_RET_ALLOW,
        [FILTER_EPERM] = SECCOMP_RET_ERRNO | EPERM,
        [FILTER_ENOSYS] = SECCOMP_RET_ERRNO | ENOSYS,
        [FILTER_NOTHING] = SECCOMP_RET_ERRNO | 0,
        [FILTER_KILL] = SECCOMP_RET_KILL_PROCESS,
        [FILTER_NOTIFY] = SECCOMP_RET_USER_NOTIF,
        [FILTER_EOPNOTSUPP] = SECCOMP_RET_ERRNO | EOPNOTSUPP,
    };
    for (unsigned i = 0; i < (zygote ? FILTER_VERDICTS : FILTER_NOTIFY); i++)
        verdict_place[i] = place((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, returned[i]));
}

static unsigned place_check(const struct filter_check *check, unsigned passed) {
    unsigned refused = verdict_place[check->otherwise];
    unsigned found = check->how == FILTER_ONE_OF    ? passed
                     : check->how == FILTER_NONE_OF ? refused
                                                    : verdict_place[FILTER_ALLOW];
    unsigned next = check->how == FILTER_ONE_OF ? refused : passed;
    if (check->count == 0 || check->count > FILTER_VALUES)
        fail("a check of %s has %u values", check->call, check->count);
    if (check->count == 1 && check->values[0] == 0) {
        place_jump(BPF_JSET, check->mask, next, found);
    } else {
        for (unsigned i = check->count; i-- > 0;)
            next = place_jump(BPF_JEQ, check->values[i], found, next);
        if (check->mask != FILTER_ALL)
            place((struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, check->mask));
    }
    /* Both architectures are little-endian: the low half comes first. */
    return place_load(offsetof(struct seccomp_data, args) + 8 * check->argument);
}

/* Those that are some number's answer. */
static void place_checks(const unsigned char answers[NUMBERS]) {
    for (size_t i = CHECKS; i-- > 0;) {
        size_t first = i;
        while (continues(first))
            first--;
        if (!memchr(answers, CHECKED + (int)first, NUMBERS))
            continue;
        bool more = continues(i + 1);
        check_place[i] =
            place_check(&checks[i], more ? check_place[i + 1] : verdict_place[FILTER_ALLOW]);
    }
}

static unsigned place_search(size_t first, size_t last) {
    unsigned answer = ranges[first].answer;
    if (first == last)
        return answer < CHECKED ? verdict_place[answer] : check_place[answer - CHECKED];
    size_t right = split[first][last];
    unsigned above = place_search(right, last);
    unsigned below = place_search(first, right - 1);
    return place_jump(BPF_JGE, ranges[right].first, above, below);
}

static void place_program(const struct architecture *arch, const unsigned char answers[NUMBERS],
                          bool zygote) {
    placed = 0;
    place_verdicts(zygote);
    place_checks(answers);
    unsigned search = place_search(0, range_count - 1);
    if (search != placed)
        fail("there is one answer for every number"); /* the load below must run into it */
    unsigned native = place_load(offsetof(struct seccomp_data, nr));
    place_jump(BPF_JEQ, arch->audit, native, verdict_place[FILTER_KILL]);
    place_load(offsetof(struct seccomp_data, arch));
}

static void write_filter(const struct architecture *arch, const char *prefix, bool zygote) {
    unsigned char answers[NUMBERS];
    answer_all(arch, answers, zygote);
    make_ranges(arch, answers);
    plan_search();
    place_program(arch, answers, zygote);
    printf("static const struct sock_filter %s_%s%s[] = {\n", prefix, zygote ? "zygote_" : "",
           arch->name);
    for (unsigned i = placed; i-- > 0;)
        printf("    {0x%02x, %3u, %3u, 0x%08x},\n", program[i].code, program[i].jt, program[i].jf,
               program[i].k);
    printf("};\n");
}

int main(int argc, char **argv) {
    if (argc > 2)
        reach = (unsigned)strtoul(argv[2], NULL, 10);
    if (argc < 2 || argc > 3 || reach < 8 || reach > 255)
        fail("usage: filter_generate PREFIX [REACH, 8 to 255] > FILE");
    printf("/* Made by isolate/filter_generate.c from isolate/filter_rules.h. */\n#include "
           "<linux/filter.h>\n\n");
    join_checks();
    for (size_t i = 0; i < FILTER_COUNT(architectures); i++) {
        write_filter(&architectures[i], argv[1], false);
        write_filter(&architectures[i], argv[1], true);
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        fail("cannot write: %s", strerror(errno));
    return 0;
}
