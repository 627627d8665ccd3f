#include <config.h>

#include "images/host_tree.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "images/copy.h"
#include "images/host.h"
#include "isolate/cleanup.h"

/* In order of worth, since copying stops at its bounds. */
const char *const host_image_etc[] = {"ld.so.cache",
                                      "ld.so.conf",
                                      "ld.so.conf.d",
                                      "alternatives",
                                      "localtime",
                                      "timezone",
                                      "ssl/openssl.cnf",
                                      "ssl/certs",
                                      "ca-certificates/extracted",
                                      "pki",
                                      "crypto-policies",
                                      "services",
                                      "protocols",
                                      "gai.conf",
                                      "host.conf",
                                      "ethertypes",
                                      "mime.types",
                                      "magic",
                                      "os-release",
                                      "debian_version",
                                      "terminfo",
                                      "xattr.conf",
                                      "python3*",
                                      "fonts",
                                      "ImageMagick-6",
                                      "ImageMagick-7",
                                      "mono",
                                      "java-*-openjdk",
                                      NULL};

const char *const host_tree_top[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32", NULL};

static const char *const directories[] = {"usr", "dev",      "proc", "tmp", "etc",
                                          "var", "var/task", "run",  NULL};

/* Made where this caller may make devices: the slot's /dev is then one mount (the tree
 * itself is nodev). Else plain files, places for the machine's devices to be bound. */
static const struct {
    const char *name;
    unsigned minor; /* of major 1, see the kernel's admin-guide/devices */
} devices[] = {{"null", 3}, {"zero", 5}, {"full", 7}, {"random", 8}, {"urandom", 9}};

static const struct {
    const char *name, *target;
} device_links[] = {{"fd", "/proc/self/fd"},
                    {"stdin", "/proc/self/fd/0"},
                    {"stdout", "/proc/self/fd/1"},
                    {"stderr", "/proc/self/fd/2"},
                    /* One limited tmpfs is all that can be written. */
                    {"shm", "/tmp"}};

static const struct {
    const char *name, *text;
} made_files[] = {
    {"passwd", "root:x:0:0:root:/tmp:/bin/sh\n"
               "fn:x:1000:1000:function:/tmp:/bin/sh\n"
               "nobody:x:65534:65534:nobody:/tmp:/bin/sh\n"},
    {"group", "root:x:0:\nfn:x:1000:\nnogroup:x:65534:\n"},
    {"hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"},
    {"nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"
                      "networks: files\nprotocols: files\nservices: files\nethers: files\n"
                      "rpc: files\n"},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int failed(int r, const char *path, struct error *err) {
    return error_set(err, r, "cannot make %s in the prepared root: %s", path, strerror(-r));
}

static int make_directories(int tree, struct error *err) {
    for (const char *const *name = directories; *name; name++) {
        _cleanup_close_ int fd = copy_make_directory(tree, *name, 0755);
        if (fd < 0)
            return failed(fd, *name, err);
    }
    return 0;
}

/* /bin and its like as they are on the machine: the same link, or a mount point. */
static int make_top(int tree, struct error *err) {
    for (const char *const *name = host_tree_top; *name; name++) {
        char path[16], target[256];
        struct stat st;
        snprintf(path, sizeof path, "/%s", *name);
        if (lstat(path, &st) < 0)
            continue;
        if (S_ISDIR(st.st_mode)) {
            _cleanup_close_ int fd = copy_make_directory(tree, *name, 0755);
            if (fd < 0)
                return failed(fd, path, err);
        } else if (S_ISLNK(st.st_mode)) {
            ssize_t length = readlink(path, target, sizeof target - 1);
            if (length < 0)
                return error_set(err, -errno, "cannot read the link %s: %s", path, strerror(errno));
            target[length] = 0;
            if (symlinkat(target, tree, *name) < 0)
                return failed(-errno, path, err);
        }
    }
    return 0;
}

static int make_devices(int tree, struct error *err) {
    _cleanup_close_ int dev = openat(tree, "dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dev < 0)
        return failed(-errno, "dev", err);
    for (size_t i = 0; i < COUNT(devices); i++) {
        const char *name = devices[i].name;
        int r = mknodat(dev, name, S_IFCHR | 0666, makedev(1, devices[i].minor));
        if (r == 0)
            r = fchmodat(dev, name, 0666, 0);
        else if (errno == EPERM)
            r = copy_make_file(dev, name, "", 0);
        if (r < 0)
            return failed(r == -1 ? -errno : r, name, err);
    }
    for (size_t i = 0; i < COUNT(device_links); i++)
        if (symlinkat(device_links[i].target, dev, device_links[i].name) < 0)
            return failed(-errno, device_links[i].name, err);
    return 0;
}

/* The lines of the machine's resolv.conf that a resolver needs. Returns the length of
 * what is in out, 0 when the machine has no such file or hides it. */
static size_t read_resolver(int etc, char *out, size_t size) {
    static const char *const wanted[] = {"nameserver", "search", "options", "domain"};
    char line[1024];
    struct stat st;
    size_t used = 0;
    int fd = copy_open_public(etc, "resolv.conf", &st);
    if (fd < 0)
        return 0;
    _cleanup_fclose_ FILE *file = S_ISREG(st.st_mode) ? fdopen(fd, "r") : NULL;
    if (!file) {
        close(fd);
        return 0;
    }
    while (fgets(line, sizeof line, file)) {
        size_t word = strcspn(line, " \t\r\n"), length = strlen(line);
        bool ended = length > 0 && line[length - 1] == '\n';
        for (size_t i = 0; i < COUNT(wanted) && used + length + 1 < size; i++)
            if (word == strlen(wanted[i]) && !strncmp(line, wanted[i], word)) {
                memcpy(out + used, line, length);
                used += length;
                if (!ended)
                    out[used++] = '\n';
            }
        for (int c = 0; !ended && c != '\n' && c != EOF;)
            c = fgetc(file); /* the rest of a line longer than any resolver reads */
    }
    return used;
}

static int make_files(int tree_etc, int etc, struct error *err) {
    char resolver[8192];
    for (size_t i = 0; i < COUNT(made_files); i++) {
        const char *text = made_files[i].text;
        int r = copy_make_file(tree_etc, made_files[i].name, text, strlen(text));
        if (r < 0)
            return failed(r, made_files[i].name, err);
    }
    size_t length = read_resolver(etc, resolver, sizeof resolver);
    int r = copy_make_file(tree_etc, "resolv.conf", resolver, length);
    return r < 0 ? failed(r, "etc/resolv.conf", err) : 0;
}

static bool is_below(const char *path, const char *directory, size_t length) {
    return !strncmp(path, directory, length) && (path[length] == '/' || path[length] == 0);
}

/* For links: what the tree has, or will have when slot.c is done. */
static bool in_tree(const char *path) {
    static const char *const mounted[] = {"usr", "proc", "dev", NULL};
    for (const char *const *name = mounted; *name; name++)
        if (path[0] == '/' && is_below(path + 1, *name, strlen(*name)))
            return true;
    for (const char *const *name = host_tree_top; *name; name++)
        if (path[0] == '/' && is_below(path + 1, *name, strlen(*name)))
            return true;
    if (strncmp(path, "/etc/", 5) != 0)
        return false;
    for (const char *const *name = host_image_etc; *name; name++) {
        char first[NAME_MAX + 1];
        snprintf(first, sizeof first, "%.*s", (int)strcspn(path + 5, "/"), path + 5);
        if (strchr(*name, '*') ? !fnmatch(*name, first, 0)
                               : is_below(path + 5, *name, strlen(*name)))
            return true;
    }
    return false;
}

/* An alternative is a name for something in the tree, or for nothing there: what a
 * link into the rest of /etc, /opt or /var leads to is not fetched for it. */
static bool anywhere(const char *path) {
    (void)path;
    return true;
}

/* Copies one entry; "ssl/certs" is the entry certs of the directory ssl. */
static int copy_source(struct copy *copy, int etc, const char *name, int tree_etc,
                       struct error *err) {
    char path[PATH_MAX], parent[64];
    struct stat st;
    const char *slash = strchr(name, '/');
    snprintf(path, sizeof path, "/etc/%s", name);
    copy->in_tree = strcmp(name, "alternatives") ? in_tree : anywhere;
    if (!slash)
        return copy_entry(copy, etc, name, tree_etc, path, err);
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - name), name);
    _cleanup_close_ int from = openat(etc, parent, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from < 0 || fstat(from, &st) < 0 || !(st.st_mode & S_IXOTH))
        return 0;
    _cleanup_close_ int to = copy_make_directory(tree_etc, parent, 0755);
    if (to < 0)
        return failed(to, parent, err);
    return copy_entry(copy, from, slash + 1, to, path, err);
}

static int copy_matching(struct copy *copy, int etc, const char *pattern, int tree_etc,
                         struct error *err) {
    int fd = openat(etc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_closedir_ DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        int r = -errno;
        if (fd >= 0)
            close(fd);
        return error_set(err, r, "cannot list /etc: %s", strerror(-r));
    }
    for (struct dirent *entry; (entry = readdir(entries));) {
        int r = fnmatch(pattern, entry->d_name, 0)
                    ? 0
                    : copy_source(copy, etc, entry->d_name, tree_etc, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_etc(int tree, int etc, struct error *err) {
    struct copy copy = {0};
    _cleanup_close_ int tree_etc = openat(tree, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (tree_etc < 0)
        return failed(-errno, "etc", err);
    int r = make_files(tree_etc, etc, err);
    for (size_t i = 0; r >= 0 && host_image_etc[i]; i++) {
        const char *name = host_image_etc[i];
        r = strchr(name, '*') ? copy_matching(&copy, etc, name, tree_etc, err)
                              : copy_source(&copy, etc, name, tree_etc, err);
    }
    return r;
}

int host_tree_make(int tree, int etc, int runtimes, struct error *err) {
    struct copy copy = {.own = true};
    int r = make_directories(tree, err);
    if (r >= 0)
        r = make_top(tree, err);
    if (r >= 0)
        r = make_devices(tree, err);
    if (r >= 0)
        r = make_etc(tree, etc, err);
    if (r < 0)
        return r;
    _cleanup_close_ int var = openat(tree, "var", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (var < 0)
        return failed(-errno, "var", err);
    return copy_contents(&copy, runtimes, "runtime", var, "/var/runtime", err);
}

static int remove_contents(int at, const char *name) {
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    _cleanup_closedir_ DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (!entries) {
        int r = -errno;
        if (fd >= 0)
            close(fd);
        return r;
    }
    for (struct dirent *entry; (entry = readdir(entries));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        int r = host_tree_remove(fd, entry->d_name);
        if (r < 0)
            return r;
    }
    return 0;
}

int host_tree_remove(int at, const char *name) {
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    /* Linux says EISDIR of a directory, POSIX EPERM. */
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int r = remove_contents(at, name);
    if (r < 0)
        return r;
    return unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -errno : 0;
}
