/* The rules of isolate/filter_rules.h once more, made into a filter by libseccomp, for
 * the unit test to compare with. Header only; failures are cmocka's. */
#ifndef FNRUN_FILTER_ORACLE_H
#define FNRUN_FILTER_ORACLE_H

#include <errno.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/filter.h>

#include "isolate/filter_rules.h"

struct oracle {
    scmp_filter_ctx context;
    int call;
    const struct filter_check *checks;
    unsigned checks_left;
    struct scmp_arg_cmp arguments[6];
    unsigned argument_count;
};

static void oracle_add(struct oracle *oracle);

static void oracle_add_argument(struct oracle *oracle, uint32_t mask, uint32_t value) {
    oracle->arguments[oracle->argument_count++] =
        SCMP_CMP(oracle->checks->argument, SCMP_CMP_MASKED_EQ, mask, value);
    oracle->checks++;
    oracle->checks_left--;
    oracle_add(oracle);
    oracle->checks_left++;
    oracle->checks--;
    oracle->argument_count--;
}

/* libseccomp has no "differs in the low 32 bits": allow every block of numbers (those
 * whose upper bits are `value`) that holds none of the refused ones. */
static void oracle_add_others(struct oracle *oracle, uint32_t value, unsigned bits_left) {
    const struct filter_check *check = oracle->checks;
    uint32_t mask = bits_left == 32 ? 0 : ~((1u << bits_left) - 1);
    bool inside = false;
    for (unsigned i = 0; i < check->count; i++)
        inside |= (check->values[i] & mask) == value;
    if (!inside) {
        oracle_add_argument(oracle, mask, value);
    } else if (bits_left > 0) {
        oracle_add_others(oracle, value, bits_left - 1);
        oracle_add_others(oracle, value | 1u << (bits_left - 1), bits_left - 1);
    }
}

/* One rule for each way to pass all the checks that are left. */
static void oracle_add(struct oracle *oracle) {
    const struct filter_check *check = oracle->checks;
    if (oracle->checks_left == 0) {
        assert_int_equal(0, seccomp_rule_add_array(oracle->context, SCMP_ACT_ALLOW, oracle->call,
                                                   oracle->argument_count, oracle->arguments));
        return;
    }
    if (check->how == FILTER_NONE_OF) {
        assert_int_equal(check->mask, FILTER_ALL);
        oracle_add_others(oracle, 0, 32);
        return;
    }
    for (unsigned i = 0; i < check->count; i++)
        oracle_add_argument(oracle, check->mask, check->values[i]);
}

static void oracle_add_group(scmp_filter_ctx context, const struct filter_group *group) {
    static const uint32_t actions[FILTER_VERDICTS] = {
        [FILTER_ALLOW] = SCMP_ACT_ALLOW,
        [FILTER_ENOSYS] = SCMP_ACT_ERRNO(ENOSYS),
        [FILTER_NOTHING] = SCMP_ACT_ERRNO(0),
    };
    if (group->verdict == FILTER_EPERM) /* the default, which libseccomp will not be told again */
        return;
    assert_int_not_equal(0, actions[group->verdict]);
    char *calls = strdup(group->calls), *rest = calls;
    for (char *call; (call = strtok_r(rest, " ", &rest));) {
        int number = seccomp_syscall_resolve_name(call);
        if (number != __NR_SCMP_ERROR &&
            seccomp_rule_add(context, actions[group->verdict], number, 0) != 0)
            fail_msg("libseccomp does not take %s", call);
    }
    free(calls);
}

static struct sock_filter *oracle_export(scmp_filter_ctx context, size_t *count) {
    int file = memfd_create("filter", MFD_CLOEXEC);
    assert_int_equal(0, seccomp_export_bpf(context, file));
    off_t size = lseek(file, 0, SEEK_END);
    assert_true(size > 0);
    struct sock_filter *filter = malloc((size_t)size);
    assert_non_null(filter);
    assert_int_equal(size, pread(file, filter, (size_t)size, 0));
    close(file);
    *count = (size_t)size / sizeof *filter;
    return filter;
}

/* All checks of the call that filter_checks[first] is about. Returns the next call's index. */
static size_t oracle_add_checks(scmp_filter_ctx context, size_t first) {
    const char *call = filter_checks[first].call;
    struct oracle oracle = {.context = context, .checks = &filter_checks[first]};
    size_t next = first;
    while (next < FILTER_COUNT(filter_checks) && strcmp(filter_checks[next].call, call) == 0)
        next++;
    oracle.checks_left = (unsigned)(next - first);
    oracle.call = seccomp_syscall_resolve_name(call);
    oracle_add(&oracle);
    return next;
}

/* libseccomp's filter for one of its architectures (SCMP_ARCH_...). The caller frees it. */
static struct sock_filter *oracle_make(uint32_t architecture, size_t *count) {
    scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    assert_int_equal(0, seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    if (architecture != seccomp_arch_native()) {
        assert_int_equal(0, seccomp_arch_add(context, architecture));
        assert_int_equal(0, seccomp_arch_remove(context, SCMP_ARCH_NATIVE));
    }
    for (size_t i = 0; i < FILTER_COUNT(filter_groups); i++)
        oracle_add_group(context, &filter_groups[i]);
    for (size_t i = 0; i < FILTER_COUNT(filter_checks);)
        i = oracle_add_checks(context, i);
    struct sock_filter *filter = oracle_export(context, count);
    seccomp_release(context);
    return filter;
}

#endif
