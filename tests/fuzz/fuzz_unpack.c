/* Any bytes as an archive. What must hold, whatever came in: unpacking ends well; below the
 * folder are only files of 0644 or 0755, folders of 0755 and links that do not lead out, within
 * the limits; and nothing beside the folder. With files as arguments it is a plain program. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <locale.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runner/package_tree.h"
#include "runner/unpack_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct unpack_limits limits = {.bytes = 1 << 20, .entries = 100};

struct found {
    int top;
    uint64_t bytes;
    size_t entries;
};

static void must(bool holds) {
    if (!holds)
        abort();
}

static void check_link(const struct found *found, const char *path, bool complete) {
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_BENEATH};
    long fd = syscall(SYS_openat2, found->top, path, &how, sizeof how);
    if (fd >= 0)
        close((int)fd);
    must(fd >= 0 || !complete || errno == ENOENT);
}

static void check_folder(struct found *found, const char *path, bool complete) {
    int fd = openat(found->top, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fdopendir(fd);
    if (!dir)
        abort();
    for (struct dirent *entry; (entry = readdir(dir));) {
        char below[8192];
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        snprintf(below, sizeof below, "%s/%s", path, entry->d_name);
        must(fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0);
        found->entries++;
        if (S_ISDIR(st.st_mode)) {
            must((st.st_mode & 07777) == 0755);
            check_folder(found, below, complete);
        } else if (S_ISLNK(st.st_mode)) {
            check_link(found, below, complete);
        } else {
            must(S_ISREG(st.st_mode));
            must((st.st_mode & 07777) == 0755 || (st.st_mode & 07777) == 0644);
            found->bytes += (uint64_t)st.st_size / (uint64_t)st.st_nlink;
        }
    }
    closedir(dir);
}

/* STORE/x is where it goes; nothing else may appear in STORE. */
static void check_beside(const char *store) {
    DIR *dir = opendir(store);
    if (!dir)
        abort();
    for (struct dirent *entry; (entry = readdir(dir));)
        must(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
             strcmp(entry->d_name, "x") == 0);
    closedir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int archive = -1, parent = -1;
    static char store[] = "/dev/shm/fnrun-fuzz-unpack-XXXXXX";
    struct error err = {0};
    if (archive < 0) {
        setlocale(LC_CTYPE, "C.UTF-8");
        umask(0);
        archive = memfd_create("archive", MFD_CLOEXEC);
        must(mkdtemp(store) != NULL);
        parent = open(store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    must(ftruncate(archive, 0) == 0 && pwrite(archive, data, size, 0) == (ssize_t)size);
    must(lseek(archive, 0, SEEK_SET) == 0);
    must(mkdirat(parent, "x", 0755) == 0);
    struct found found = {.top = openat(parent, "x", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    int r = unpack_files(archive, found.top, &limits, &err);
    must(r == 0 || (r < 0 && err.message[0]));
    check_folder(&found, ".", r == 0);
    check_beside(store);
    must(found.entries <= limits.entries + 1 && found.bytes <= limits.bytes);
    close(found.top);
    must(package_tree_remove(parent, "x") == 0);
    return 0;
}

#include "tests/fuzz/plain.h"
