/* What a version is called: the SHA-256 of its content. The stream is a line of its own, then
 * for each entry, folders in the order of their names' bytes and before what is in them:
 *
 *     a letter: D folder, F file, X executable file, L symbolic link
 *     the name from the top, and a 0
 *     F, X, L: the length of the content (of the target) in 8 bytes, the lowest first
 *     the content, or the target
 *
 * No two folders of different content make the same stream: every field ends by itself. */
#include "runner/package.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "isolate/cleanup.h"
#include "runner/package_tree.h"

#define START "fnrun package 1\n"
#define BLOCK 65536

struct digesting {
    EVP_MD_CTX *context;
    char path[PATH_MAX]; /* from the top */
    size_t length;
    unsigned depth;
    char *block;
    bool failed; /* libcrypto's */
    struct error *err;
};

static void put(struct digesting *digesting, const void *data, size_t size) {
    digesting->failed = digesting->failed || EVP_DigestUpdate(digesting->context, data, size) != 1;
}

static void put_head(struct digesting *digesting, char letter) {
    put(digesting, &letter, 1);
    put(digesting, digesting->path, digesting->length + 1);
}

static void put_length(struct digesting *digesting, uint64_t length) {
    unsigned char bytes[8];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(length >> (8 * i));
    put(digesting, bytes, sizeof bytes);
}

static int failed(const struct digesting *digesting, int code) {
    return error_set(digesting->err, code, "%s of the package cannot be read: %s",
                     digesting->length ? digesting->path : "the folder", strerror(-code));
}

/* --- one entry ---------------------------------------------------------------------------- */

static int set_mode(int fd, mode_t now, mode_t wanted) {
    return (now & 07777) == wanted || fchmod(fd, wanted) == 0 ? 0 : -errno;
}

static int digest_file(struct digesting *digesting, int parent, const char *name) {
    struct stat st;
    _cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(digesting, -errno);
    bool runs = st.st_mode & 0111;
    int r = set_mode(fd, st.st_mode, runs ? 0755 : 0644);
    if (r < 0)
        return failed(digesting, r);
    put_head(digesting, runs ? 'X' : 'F');
    put_length(digesting, (uint64_t)st.st_size);
    uint64_t left = (uint64_t)st.st_size;
    for (;;) {
        ssize_t got = read(fd, digesting->block, BLOCK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return failed(digesting, -errno);
        if ((uint64_t)got > left || (!got && left))
            return error_set(digesting->err, -EBUSY, "%s of the package changed while it was read",
                             digesting->path);
        if (!got)
            return 0;
        put(digesting, digesting->block, (size_t)got);
        left -= (uint64_t)got;
    }
}

static int digest_link(struct digesting *digesting, int parent, const char *name) {
    ssize_t length = readlinkat(parent, name, digesting->block, PATH_MAX);
    if (length < 0)
        return failed(digesting, -errno);
    put_head(digesting, 'L');
    put_length(digesting, (uint64_t)length);
    put(digesting, digesting->block, (size_t)length);
    return 0;
}

static int digest_folder(struct digesting *digesting, int parent, const char *name);

static int digest_entry(struct digesting *digesting, int parent, const char *name) {
    size_t before = digesting->length, length = strlen(name);
    struct stat st;
    int r;
    if (before + length + 2 > sizeof digesting->path)
        return error_set(digesting->err, -ENAMETOOLONG, "%s of the package: its name is too long",
                         digesting->path);
    if (before)
        digesting->path[digesting->length++] = '/';
    memcpy(digesting->path + digesting->length, name, length + 1);
    digesting->length += length;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        r = failed(digesting, -errno);
    else if (S_ISDIR(st.st_mode))
        r = digest_folder(digesting, parent, name);
    else if (S_ISREG(st.st_mode))
        r = digest_file(digesting, parent, name);
    else if (S_ISLNK(st.st_mode))
        r = digest_link(digesting, parent, name);
    else
        r = error_set(digesting->err, -EINVAL, "%s of the package is neither file, folder nor link",
                      digesting->path);
    digesting->length = before;
    digesting->path[before] = 0;
    return r;
}

/* --- folders ------------------------------------------------------------------------------ */

struct names {
    char **items;
    size_t count, capacity;
};

static void names_free(struct names *names) {
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
}

static int names_add(struct names *names, const char *name) {
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 16;
        char **more = reallocarray(names->items, capacity, sizeof *more);
        if (!more)
            return -ENOMEM;
        names->items = more;
        names->capacity = capacity;
    }
    names->items[names->count] = strdup(name);
    return names->items[names->count] ? (names->count++, 0) : -ENOMEM;
}

/* By bytes: the same in every locale. */
static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int read_names(DIR *dir, struct names *names) {
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int r = names_add(names, entry->d_name);
        if (r < 0)
            return r;
    }
    if (errno)
        return -errno;
    if (names->count)
        qsort(names->items, names->count, sizeof *names->items, by_name);
    return 0;
}

static int digest_folder(struct digesting *digesting, int parent, const char *name) {
    _cleanup_(names_free) struct names names = {0};
    struct stat st;
    _cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(digesting, -errno);
    int r = set_mode(fd, st.st_mode, 0755);
    if (r < 0)
        return failed(digesting, r);
    _cleanup_closedir_ DIR *dir = fdopendir(fd);
    if (!dir)
        return failed(digesting, -errno);
    (void)TAKE_FD(fd);
    r = ++digesting->depth > PACKAGE_TREE_DEPTH ? -ELOOP : read_names(dir, &names);
    if (r < 0)
        return failed(digesting, r);
    put_head(digesting, 'D');
    for (size_t i = 0; r == 0 && i < names.count; i++)
        r = digest_entry(digesting, dirfd(dir), names.items[i]);
    digesting->depth--;
    return r;
}

int package_digest(const char *folder, char digest[65], struct error *err) {
    unsigned char bytes[EVP_MAX_MD_SIZE] = {0};
    struct digesting digesting = {.context = EVP_MD_CTX_new(), .err = err};
    _cleanup_free_ char *block = malloc(BLOCK);
    int r;
    digesting.block = block;
    digesting.failed = !digesting.context || !block ||
                       EVP_DigestInit_ex(digesting.context, EVP_sha256(), NULL) != 1;
    if (digesting.failed) {
        r = -ENOMEM;
    } else {
        put(&digesting, START, strlen(START));
        r = digest_folder(&digesting, AT_FDCWD, folder);
    }
    if (r == 0)
        digesting.failed =
            digesting.failed || EVP_DigestFinal_ex(digesting.context, bytes, NULL) != 1;
    EVP_MD_CTX_free(digesting.context);
    if (digesting.failed)
        return error_set(err, -ENOMEM, "libcrypto makes no SHA-256: out of memory");
    for (size_t i = 0; r == 0 && i < 32; i++)
        snprintf(digest + 2 * i, 3, "%02x", bytes[i]);
    return r;
}
