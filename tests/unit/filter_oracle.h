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
    uint32_t masks[6], values[6]; /* what the checks so far say of each argument */
};

static const uint32_t oracle_actions[FILTER_VERDICTS] = {
    [FILTER_ALLOW] = SCMP_ACT_ALLOW,
    [FILTER_EPERM] = SCMP_ACT_ERRNO(EPERM), /* the default */
    [FILTER_ENOSYS] = SCMP_ACT_ERRNO(ENOSYS),
    [FILTER_NOTHING] = SCMP_ACT_ERRNO(0),
    [FILTER_NOTIFY] = SCMP_ACT_NOTIFY,
    [FILTER_EOPNOTSUPP] = SCMP_ACT_ERRNO(EOPNOTSUPP),
};

/* libseccomp will not be told its default again. */
static void oracle_rule(const struct oracle *oracle, enum filter_verdict verdict) {
    struct scmp_arg_cmp arguments[6];
    unsigned count = 0;
    for (unsigned i = 0; i < 6; i++)
        if (oracle->masks[i] != 0)
            arguments[count++] =
                SCMP_CMP(i, SCMP_CMP_MASKED_EQ, oracle->masks[i], oracle->values[i]);
    if (verdict != FILTER_EPERM)
        assert_int_equal(0, seccomp_rule_add_array(oracle->context, oracle_actions[verdict],
                                                   oracle->call, count, arguments));
}

/* After the check at hand: the one that follows it, or the verdict. */
#define ORACLE_GO_ON FILTER_VERDICTS
static void oracle_add(struct oracle oracle);

/* With (the argument of the check at hand & mask) == value, as far as that can be. */
static void oracle_narrow(struct oracle oracle, uint32_t mask, uint32_t value, unsigned outcome) {
    unsigned argument = oracle.checks->argument;
    if ((oracle.masks[argument] & mask & (oracle.values[argument] ^ value)) != 0)
        return;
    oracle.masks[argument] |= mask;
    oracle.values[argument] |= value;
    if (outcome != ORACLE_GO_ON) {
        oracle_rule(&oracle, outcome);
        return;
    }
    oracle.checks++;
    oracle.checks_left--;
    oracle_add(oracle);
}

/* libseccomp has no "is none of them": every block of numbers (those whose bits in `mask`
 * are `value`) that holds none of the check's values. */
static void oracle_narrow_to_others(const struct oracle *oracle, uint32_t mask, uint32_t value,
                                    unsigned outcome) {
    const struct filter_check *check = oracle->checks;
    uint32_t rest = check->mask & ~mask;
    bool inside = false;
    for (unsigned i = 0; i < check->count; i++)
        inside |= (check->values[i] & mask) == value;
    if (!inside) {
        oracle_narrow(*oracle, mask, value, outcome);
    } else if (rest != 0) {
        uint32_t bit = 1u << (31 - __builtin_clz(rest));
        oracle_narrow_to_others(oracle, mask | bit, value, outcome);
        oracle_narrow_to_others(oracle, mask | bit, value | bit, outcome);
    }
}

/* One rule for each way through the checks that are left. */
static void oracle_add(struct oracle oracle) {
    const struct filter_check *check = oracle.checks;
    if (oracle.checks_left == 0) {
        oracle_rule(&oracle, FILTER_ALLOW);
        return;
    }
    unsigned found = check->how == FILTER_ONE_OF    ? ORACLE_GO_ON
                     : check->how == FILTER_NONE_OF ? check->otherwise
                                                    : FILTER_ALLOW;
    unsigned other = check->how == FILTER_ONE_OF ? check->otherwise : ORACLE_GO_ON;
    for (unsigned i = 0; found != FILTER_EPERM && i < check->count; i++)
        oracle_narrow(oracle, check->mask, check->values[i], found);
    if (other != FILTER_EPERM)
        oracle_narrow_to_others(&oracle, 0, 0, other);
}

static bool oracle_list_has(const char *list, const char *call) {
    size_t length = strlen(call);
    for (const char *at = list; (at = strstr(at, call)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0))
            return true;
    return false;
}

/* Whether one of the zygote's rows takes the place of what the others say of the call. */
static bool oracle_overridden(const char *call) {
    for (size_t i = 0; i < FILTER_COUNT(filter_zygote_groups); i++)
        if (oracle_list_has(filter_zygote_groups[i].calls, call))
            return true;
    for (size_t i = 0; i < FILTER_COUNT(filter_zygote_checks); i++)
        if (strcmp(filter_zygote_checks[i].call, call) == 0)
            return true;
    return false;
}

static void oracle_add_group(scmp_filter_ctx context, const struct filter_group *group,
                             bool unless_overridden) {
    char *calls = strdup(group->calls), *rest = calls;
    for (char *call; (call = strtok_r(rest, " ", &rest));) {
        struct oracle oracle = {.context = context, .call = seccomp_syscall_resolve_name(call)};
        if (oracle.call != __NR_SCMP_ERROR && !(unless_overridden && oracle_overridden(call)))
            oracle_rule(&oracle, group->verdict);
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

static void oracle_add_checks(scmp_filter_ctx context, const struct filter_check *checks,
                              size_t count, bool unless_overridden) {
    for (size_t first = 0, next = 0; first < count; first = next) {
        const char *call = checks[first].call;
        while (next < count && strcmp(checks[next].call, call) == 0)
            next++;
        struct oracle oracle = {.context = context,
                                .call = seccomp_syscall_resolve_name(call),
                                .checks = &checks[first],
                                .checks_left = (unsigned)(next - first)};
        if (!(unless_overridden && oracle_overridden(call)))
            oracle_add(oracle);
    }
}

/* libseccomp's filter for one of its architectures (SCMP_ARCH_...), the ordinary one or
 * the zygote's. The caller frees it. */
static struct sock_filter *oracle_make(uint32_t architecture, bool zygote, size_t *count) {
    seccomp_api_set(6); /* notification, whatever the kernel here can do */
    scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    assert_int_equal(0, seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
    if (architecture != seccomp_arch_native()) {
        assert_int_equal(0, seccomp_arch_add(context, architecture));
        assert_int_equal(0, seccomp_arch_remove(context, SCMP_ARCH_NATIVE));
    }
    for (size_t i = 0; i < FILTER_COUNT(filter_groups); i++)
        oracle_add_group(context, &filter_groups[i], zygote);
    oracle_add_checks(context, filter_checks, FILTER_COUNT(filter_checks), zygote);
    for (size_t i = 0; zygote && i < FILTER_COUNT(filter_zygote_groups); i++)
        oracle_add_group(context, &filter_zygote_groups[i], false);
    if (zygote)
        oracle_add_checks(context, filter_zygote_checks, FILTER_COUNT(filter_zygote_checks), false);
    struct sock_filter *filter = oracle_export(context, count);
    seccomp_release(context);
    return filter;
}

#endif
