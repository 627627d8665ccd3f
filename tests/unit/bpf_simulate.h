/* A classic BPF interpreter for the subset that seccomp accepts and that filters
 * are made of: word loads from struct seccomp_data, jumps, AND, return. It lets a
 * filter of any architecture be asked on any machine. See the kernel's
 * Documentation/networking/filter.rst and seccomp_check_filter() in kernel/seccomp.c. */
#ifndef FNRUN_BPF_SIMULATE_H
#define FNRUN_BPF_SIMULATE_H

#include <stddef.h>
#include <stdint.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

/* Runs the program on data. Returns how many instructions ran, with what it returned
 * in *result; or -1 where the kernel would not have taken the program (an unknown
 * instruction, a load outside of data, running past the end). */
int bpf_simulate(const struct sock_filter *program, size_t count, const struct seccomp_data *data,
                 uint32_t *result);

/* The number of instructions on the longest way through the program, 4,096 at most
 * (BPF_MAXINSNS); -1 when a jump leaves it. */
int bpf_longest_path(const struct sock_filter *program, size_t count);

#endif
