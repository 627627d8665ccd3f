#include "tests/unit/bpf_simulate.h"

#include <string.h>

static int load(const struct seccomp_data *data, uint32_t offset, uint32_t *word) {
    if (offset % 4 != 0 || offset > sizeof *data - 4)
        return -1;
    memcpy(word, (const char *)data + offset, 4);
    return 0;
}

/* Whether a jump with this accumulator is taken; -1: no such jump. */
static int jump_taken(uint16_t code, uint32_t accumulator, uint32_t value) {
    switch (code) {
    case BPF_JMP | BPF_JEQ | BPF_K:
        return accumulator == value;
    case BPF_JMP | BPF_JGE | BPF_K:
        return accumulator >= value;
    case BPF_JMP | BPF_JGT | BPF_K:
        return accumulator > value;
    case BPF_JMP | BPF_JSET | BPF_K:
        return (accumulator & value) != 0;
    default:
        return -1;
    }
}

int bpf_simulate(const struct sock_filter *program, size_t count, const struct seccomp_data *data,
                 uint32_t *result) {
    uint32_t accumulator = 0;
    int steps = 0;
    for (size_t at = 0; at < count; at++) {
        const struct sock_filter *now = &program[at];
        int taken;
        steps++;
        switch (now->code) {
        case BPF_LD | BPF_W | BPF_ABS:
            if (load(data, now->k, &accumulator) < 0)
                return -1;
            break;
        case BPF_ALU | BPF_AND | BPF_K:
            accumulator &= now->k;
            break;
        case BPF_JMP | BPF_JA:
            at += now->k;
            break;
        case BPF_RET | BPF_K:
            *result = now->k;
            return steps;
        default:
            if ((taken = jump_taken(now->code, accumulator, now->k)) < 0)
                return -1;
            at += taken ? now->jt : now->jf;
        }
    }
    return -1;
}

int bpf_longest_path(const struct sock_filter *program, size_t count) {
    int longest[BPF_MAXINSNS] = {0};
    if (count == 0 || count > BPF_MAXINSNS)
        return -1;
    for (size_t at = count; at-- > 0;) {
        const struct sock_filter *now = &program[at];
        size_t yes = at + 1, no = at + 1;
        if (now->code == (BPF_RET | BPF_K)) {
            longest[at] = 1;
            continue;
        }
        if (now->code == (BPF_JMP | BPF_JA)) {
            yes += now->k;
            no = yes;
        } else if (BPF_CLASS(now->code) == BPF_JMP) {
            yes += now->jt;
            no += now->jf;
        }
        if (yes >= count || no >= count)
            return -1;
        longest[at] = 1 + (longest[yes] > longest[no] ? longest[yes] : longest[no]);
    }
    return longest[0];
}
