#include "isolate/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "isolate/cleanup.h"

#define FIRST 2048 /* bytes: most files are smaller, and a page that is not touched is free */

int file_read(const char *path, size_t limit, char **text) {
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    _cleanup_free_ char *data = NULL;
    size_t length = 0, capacity = 0;
    if (fd < 0)
        return -errno;
    for (;;) {
        if (capacity - length < 2) {
            capacity = capacity ? capacity * 2 : FIRST;
            char *more = realloc(data, capacity);
            if (!more)
                return -ENOMEM;
            data = more;
        }
        ssize_t got = read(fd, data + length, capacity - 1 - length);
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        length += (size_t)got;
        if (length > limit)
            return -EFBIG;
    }
    data[length] = 0;
    *text = TAKE_PTR(data);
    return 0;
}

int file_write_all(int fd, const char *bytes, size_t length) {
    while (length) {
        ssize_t wrote = write(fd, bytes, length);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? -errno : -EIO;
        bytes += wrote;
        length -= (size_t)wrote;
    }
    return 0;
}
