/* Release by scope: `_cleanup_close_ int fd = -EBADF;`. TAKE_FD and TAKE_PTR
 * hand a resource on. Header only, usable from every folder. */
#ifndef FNRUN_CLEANUP_H
#define FNRUN_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close(int *fd) {
    if (*fd >= 0) {
        int saved = errno;
        close(*fd);
        errno = saved;
        *fd = -EBADF;
    }
}
static inline void cleanup_free(void *pointer) {
    free(*(void **)pointer);
}
static inline void cleanup_fclose(FILE **file) {
    if (*file)
        fclose(*file);
}
static inline void cleanup_closedir(DIR **dir) {
    if (*dir)
        closedir(*dir);
}

#define _cleanup_(function) __attribute__((cleanup(function)))
#define _cleanup_close_     _cleanup_(cleanup_close)
#define _cleanup_free_      _cleanup_(cleanup_free)
#define _cleanup_fclose_    _cleanup_(cleanup_fclose)
#define _cleanup_closedir_  _cleanup_(cleanup_closedir)

#define TAKE_FD(fd)                                                                                \
    __extension__({                                                                                \
        int *taken_from_ = &(fd);                                                                  \
        int taken_ = *taken_from_;                                                                 \
        *taken_from_ = -EBADF;                                                                     \
        taken_;                                                                                    \
    })
#define TAKE_PTR(pointer)                                                                          \
    __extension__({                                                                                \
        __typeof__(pointer) *taken_from_ = &(pointer);                                             \
        __typeof__(pointer) taken_ = *taken_from_;                                                 \
        *taken_from_ = NULL;                                                                       \
        taken_;                                                                                    \
    })

#endif
