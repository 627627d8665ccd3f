/* What to do about a system call that the building of a sandbox needs and the kernel refused: the
 * end of a sentence, "" for most. Header only. */
#ifndef FNRUN_HINT_H
#define FNRUN_HINT_H

#include <errno.h>

/* code: a negative errno. */
static inline const char *hint(int code) {
    switch (code) {
    case -EPERM:
    case -EACCES:
        return ". `fnrun doctor` says what this machine allows";
    case -ENOSPC:
        return ". A limit on namespaces or mounts was reached: sysctl user.max_user_namespaces and "
               "its like, fs.mount-max";
    case -EMFILE:
    case -ENFILE:
        return ". Too many files are open: ulimit -n";
    case -ENOSYS:
    case -EINVAL:
        return ". The kernel may be too old: `fnrun doctor` says";
    default:
        return "";
    }
}

#endif
