/* The seccomp filter of every sandboxed process, and that of a zygote and its copies,
 * which tells the keeper of some calls and waits for its answer. The rules stand in
 * filter_rules.h; libseccomp resolves the names when fnrun is built and
 * filter_generate.c writes them as a search over ranges of numbers (the kernel
 * runs a filter once for every call number when it is loaded, so the length of
 * its paths is what loading costs: about 0.1 ms against 0.4 for a plain list). */
#ifndef FNRUN_FILTER_H
#define FNRUN_FILTER_H

#include <stddef.h>
#include <stdint.h>

struct sock_filter;

struct filter {
    const struct sock_filter *instructions;
    unsigned short count;
};

/* The filters of the machine this was built for. */
extern const struct filter filter_native;
extern const struct filter filter_zygote;

/* Loads it. The caller has set no_new_privs. Raw system calls only: may be
 * called in a child that shares the parent's memory. Returns 0 or a negative
 * errno. See seccomp(2). */
int filter_load(void);

/* Loads filter_zygote; otherwise as filter_load. Returns the listener, the descriptor
 * on which the notifications of the caller and of all its descendants come
 * (seccomp_unotify(2)), close-on-exec; the caller hands it to the keeper. Or a negative
 * errno: -EINVAL before Linux 5.19, -EBUSY where a filter of the caller has a listener
 * already. The kernel's has_duplicate_listener gives EBUSY to those inside too, so that
 * a filter they add is never answered by anybody but the keeper; once every copy of the
 * listener is closed, though, they could have their own, and each notified call answers
 * ENOSYS: whoever holds it must not outlive it.
 *
 * A notification that was received waits for its answer and a fatal signal alone, so
 * that no timer or signal of the caller's gets it out of there. Until then a signal may
 * withdraw it, and receiving it fails with ENOENT: the keeper waits for the next. */
int filter_load_listener(void);

#endif
