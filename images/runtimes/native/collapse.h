/* The zygote's heap in huge pages. */
#ifndef FNRUN_NATIVE_COLLAPSE_H
#define FNRUN_NATIVE_COLLAPSE_H

/* Puts what is in use of private memory (not of a file) into huge pages: a fork then copies one
 * entry for each instead of 512. Where the kernel cannot (before Linux 6.1), or /proc is not
 * there, all stays as it is. */
void collapse_heap(void);

#endif
