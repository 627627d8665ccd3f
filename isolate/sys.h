/* Raw system calls that return a negative errno and touch no thread-local
 * errno: for the children that run in the launcher's memory (CLONE_VM), where
 * libc must not be called. Also the numbers and structs that older headers lack. */
#ifndef FNRUN_SYS_H
#define FNRUN_SYS_H

#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x1000
#endif
#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL /* clone3 only */
#endif
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

#if defined(__x86_64__)
static inline long sys_call6(long nr, long a, long b, long c, long d, long e, long f) {
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
static inline long sys_call6(long nr, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = nr;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory", "cc");
    return x0;
}
#else
#error "fnrun is built for x86-64 and aarch64"
#endif

static inline long sys_call0(long nr) {
    return sys_call6(nr, 0, 0, 0, 0, 0, 0);
}
static inline long sys_call1(long nr, long a) {
    return sys_call6(nr, a, 0, 0, 0, 0, 0);
}
static inline long sys_call2(long nr, long a, long b) {
    return sys_call6(nr, a, b, 0, 0, 0, 0);
}
static inline long sys_call3(long nr, long a, long b, long c) {
    return sys_call6(nr, a, b, c, 0, 0, 0);
}
static inline long sys_call4(long nr, long a, long b, long c, long d) {
    return sys_call6(nr, a, b, c, d, 0, 0);
}
static inline long sys_call5(long nr, long a, long b, long c, long d, long e) {
    return sys_call6(nr, a, b, c, d, e, 0);
}

/* A pointer as a system call's argument. */
#define SYS_PTR(pointer) ((long)(uintptr_t)(pointer))

/* Functions that run in a CLONE_VM child: sanitizers keep state in thread-local
 * and shadow memory that belongs to the parent. */
#if defined(__clang__)
#define SYS_CHILD __attribute__((no_sanitize("address", "undefined")))
#else
#define SYS_CHILD __attribute__((no_sanitize_address, no_sanitize_undefined))
#endif

/* clone3 of a child that runs child(argument) and exits with what it returns. With
 * CLONE_VM in flags it runs on the given stack (its lowest address and size, in
 * bytes); without it, on a copy of the caller's. Returns the child's id or a
 * negative errno. The struct is clone3(2)'s. */
struct sys_clone {
    uint64_t flags;
    uint64_t pidfd;
    uint64_t child_tid;
    uint64_t parent_tid;
    uint64_t exit_signal;
    uint64_t stack;
    uint64_t stack_size;
    uint64_t tls;
    uint64_t set_tid;
    uint64_t set_tid_size;
    uint64_t cgroup;
};
long sys_clone_child(struct sys_clone *arguments, int (*child)(void *), void *argument);

#endif
