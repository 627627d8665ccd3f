#include "isolate/sys.h"

#include <signal.h>

/* The child returns from the system call on a stack of its own, where there is no
 * frame to return to: it must go straight into its function, so this is assembly.
 * The function and its argument travel in registers that the call keeps. */
#if defined(__x86_64__)
static long clone_on_stack(struct sys_clone *arguments, int (*child)(void *), void *argument) {
    long result;
    register long nr __asm__("rax") = SYS_clone3;
    register void *clone_args __asm__("rdi") = arguments;
    register size_t size __asm__("rsi") = sizeof *arguments;
    register void *function __asm__("r12") = (void *)child;
    register void *value __asm__("r13") = argument;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "mov %%eax, %%edi\n\t"
                     "mov $231, %%eax\n\t" /* exit_group */
                     "syscall\n\t"
                     "hlt\n"
                     "1:"
                     : "+r"(nr)
                     : "r"(clone_args), "r"(size), "r"(function), "r"(value)
                     : "rcx", "r11", "memory", "cc");
    result = nr;
    return result;
}
#elif defined(__aarch64__)
static long clone_on_stack(struct sys_clone *arguments, int (*child)(void *), void *argument) {
    register long nr __asm__("x8") = SYS_clone3;
    register long result __asm__("x0") = (long)arguments;
    register size_t size __asm__("x1") = sizeof *arguments;
    register void *function __asm__("x19") = (void *)child;
    register void *value __asm__("x20") = argument;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x30, xzr\n\t"
                     "mov x0, x20\n\t"
                     "blr x19\n\t"
                     "mov x8, #94\n\t" /* exit_group */
                     "svc 0\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(result)
                     : "r"(nr), "r"(size), "r"(function), "r"(value)
                     : "memory", "cc", "x30");
    return result;
}
#endif

long sys_clone_child(struct sys_clone *arguments, int (*child)(void *), void *argument) {
    return clone_on_stack(arguments, child, argument);
}
