/* Questions to the embedded filters, simulated, so that those of both architectures can
 * be asked on one machine; each is asked of the program with long jumps too. Header
 * only, for the tests of the ordinary filter and of the zygote's; failures are cmocka's. */
#ifndef FNRUN_FILTER_ASK_H
#define FNRUN_FILTER_ASK_H

#include <linux/audit.h>

#include "isolate/filter_data.h"
#include "isolate/filter_data_short.h"
#include "tests/unit/bpf_simulate.h"
#include "tests/unit/filter_oracle.h"

#define ALLOWED    SECCOMP_RET_ALLOW
#define KILLED     SECCOMP_RET_KILL_PROCESS
#define REFUSED(e) (SECCOMP_RET_ERRNO | (e))
#define X32        0x40000000u
#define GARBAGE    0xdeadbeef00000000u /* above what the kernel looks at */

struct machine {
    const char *name;
    uint32_t seccomp, audit;
    bool zygote;
    const struct sock_filter *program, *with_long_jumps;
    size_t count, long_count;
    struct sock_filter *oracle; /* libseccomp's */
    size_t oracle_count;
};

#define PROGRAM(table) .program = (table), .count = FILTER_COUNT(table)
#define LONG(table)    .with_long_jumps = (table), .long_count = FILTER_COUNT(table)
static struct machine machines[] = {
    {"x86_64", SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, false, PROGRAM(filter_program_x86_64),
     LONG(filter_short_x86_64)},
    {"aarch64", SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64, false, PROGRAM(filter_program_aarch64),
     LONG(filter_short_aarch64)},
    {"x86_64", SCMP_ARCH_X86_64, AUDIT_ARCH_X86_64, true, PROGRAM(filter_program_zygote_x86_64),
     LONG(filter_short_zygote_x86_64)},
    {"aarch64", SCMP_ARCH_AARCH64, AUDIT_ARCH_AARCH64, true, PROGRAM(filter_program_zygote_aarch64),
     LONG(filter_short_zygote_aarch64)},
};
#define MACHINES_END (machines + FILTER_COUNT(machines))

/* Which program the questions by name are about. */
static bool asked_zygote;

static inline int make_oracles(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++)
        machine->oracle = oracle_make(machine->seccomp, machine->zygote, &machine->oracle_count);
    return 0;
}

static inline int free_oracles(void **state) {
    (void)state;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++)
        free(machine->oracle);
    return 0;
}

/* --- asking --------------------------------------------------------------------------- */

static uint32_t ask(const struct machine *machine, const struct seccomp_data *data) {
    uint32_t verdict = 0, with_long_jumps = 0;
    assert_true(bpf_simulate(machine->program, machine->count, data, &verdict) > 0);
    assert_true(
        bpf_simulate(machine->with_long_jumps, machine->long_count, data, &with_long_jumps) > 0);
    assert_int_equal(verdict, with_long_jumps);
    return verdict;
}

static inline uint32_t ask_oracle(const struct machine *machine, const struct seccomp_data *data) {
    uint32_t verdict = 0;
    assert_true(bpf_simulate(machine->oracle, machine->oracle_count, data, &verdict) > 0);
    return verdict;
}

static inline void assert_alike(const struct machine *machine, const struct seccomp_data *data) {
    uint32_t ours = ask(machine, data), theirs = ask_oracle(machine, data);
    if (ours != theirs)
        fail_msg("%s%s call %d (%#llx, %#llx, %#llx, %#llx): %#x, but libseccomp says %#x",
                 machine->name, machine->zygote ? " zygote" : "", data->nr,
                 (unsigned long long)data->args[0], (unsigned long long)data->args[1],
                 (unsigned long long)data->args[2], (unsigned long long)data->args[3], ours,
                 theirs);
}

/* The call by name with up to four arguments, on one machine; 0: it has no such call. */
static uint32_t verdict_of(const struct machine *machine, const char *call, uint64_t a, uint64_t b,
                           uint64_t c, uint64_t d) {
    int number = seccomp_syscall_resolve_name_arch(machine->seccomp, call);
    for (size_t i = 0; number < 0 && i < FILTER_COUNT(filter_numbers); i++)
        if (strcmp(filter_numbers[i].call, call) == 0 &&
            (!filter_numbers[i].only || strcmp(filter_numbers[i].only, machine->name) == 0))
            number = filter_numbers[i].number;
    if (number < 0)
        return 0;
    struct seccomp_data data = {
        .nr = number, .arch = machine->audit, .args = {a, b, c, d, GARBAGE, GARBAGE}};
    return ask(machine, &data);
}

static void assert_everywhere(uint32_t verdict, const char *call, uint64_t a, uint64_t b,
                              uint64_t c, uint64_t d) {
    bool asked = false;
    for (struct machine *machine = machines; machine < MACHINES_END; machine++) {
        if (machine->zygote != asked_zygote)
            continue;
        uint32_t answer = verdict_of(machine, call, a, b, c, d);
        asked |= answer != 0;
        if (answer != 0 && answer != verdict)
            fail_msg("%s on %s: %#x, not %#x", call, machine->name, answer, verdict);
    }
    if (!asked)
        fail_msg("no machine has the call %s", call);
}

/* Every name in the list, whatever its arguments. */
static void assert_all(uint32_t verdict, const char *list) {
    static const uint64_t values[] = {0, 1, 0x12345678, GARBAGE, ~(uint64_t)0};
    char *calls = strdup(list), *rest = calls;
    for (char *call; (call = strtok_r(rest, " ", &rest));)
        for (size_t i = 0; i < FILTER_COUNT(values); i++)
            assert_everywhere(verdict, call, values[i], values[i], values[i], values[i]);
    free(calls);
}

/* --- real calls, in a child ------------------------------------------------------------- */

/* A probe returns 0 when all is as expected. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            dprintf(2, "line %d, errno %d: %s\n", __LINE__, errno, #condition);                    \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)
#define FAILS_WITH(e, expression) (errno = 0, (expression) == -1 && errno == (e))

#endif
