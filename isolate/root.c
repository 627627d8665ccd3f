#include "isolate/root.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

#include "isolate/sys.h"

/* Values of <linux/mount.h> and <fcntl.h>, which musl and older headers lack. */
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#define TREE_CLONE    1 /* OPEN_TREE_CLONE */
#define TREE_CLOEXEC  O_CLOEXEC
#define DETACH        2         /* MNT_DETACH */
#define PRIVATE_MOUNT (1 << 18) /* MS_PRIVATE */
#define BASE_ATTR     (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define NODE_ATTR     (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
#define PROC_ATTR     (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)
#define TMP_ATTR      (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME)

static const char *const node_names[ROOT_NODES] = {"null", "zero", "full", "random", "urandom"};
static const char *const node_paths[ROOT_NODES] = {"/dev/null", "/dev/zero", "/dev/full",
                                                   "/dev/random", "/dev/urandom"};

/* What anybody may read in /proc and no function needs: keys of other sessions,
 * the kernel's symbols, the machine's interrupts (their rates tell of keystrokes)
 * and hardware. What only root of the machine may read (kcore, kmsg, timer_list,
 * kpage*, slabinfo ...) is refused by its mode: no slot maps that id. */
static const char *const masked_files[] = {"keys", "key-users", "kallsyms", "interrupts",
                                           "latency_stats"};
static const char *const masked_directories[] = {"acpi", "asound", "scsi"};

#define TRY(name, call)                                                                            \
    __extension__({                                                                                \
        *step = name;                                                                              \
        long r_ = (call);                                                                          \
        if (r_ < 0)                                                                                \
            return (int)r_;                                                                        \
        (int)r_;                                                                                   \
    })

SYS_CHILD static long set_attributes(int mount, uint64_t set, uint64_t clear) {
    /* Private: a clone is a peer of what it was cloned from, and where the machine's
     * mounts are shared (systemd makes them so) what is attached to it would show up
     * outside as well. pivot_root refuses such a root. */
    struct mount_attr attributes = {
        .attr_set = set, .attr_clr = clear, .propagation = PRIVATE_MOUNT};
    return sys_call5(SYS_mount_setattr, mount, SYS_PTR(""), AT_EMPTY_PATH | AT_RECURSIVE,
                     SYS_PTR(&attributes), sizeof attributes);
}

/* A detached copy of the tree at path, some attributes set and some cleared. */
SYS_CHILD static int clone_tree_without(int dir, const char *path, uint64_t set, uint64_t clear) {
    /* An empty path names dir itself. */
    long mount =
        sys_call3(SYS_open_tree, dir, SYS_PTR(path),
                  TREE_CLONE | TREE_CLOEXEC | AT_RECURSIVE | (path[0] ? 0 : AT_EMPTY_PATH));
    if (mount < 0)
        return (int)mount;
    long r = set_attributes((int)mount, set, clear);
    if (r < 0) {
        sys_call1(SYS_close, mount);
        return (int)r;
    }
    return (int)mount;
}

SYS_CHILD static int clone_tree(int dir, const char *path, uint64_t set) {
    return clone_tree_without(dir, path, set, 0);
}

/* The prepared tree's dev/ as a mount of its own. /run may be mounted nodev: that is
 * cleared here and nowhere else, which takes root of the machine. */
SYS_CHILD static int clone_devices(const char *prepared) {
    long tree =
        sys_call4(SYS_openat, AT_FDCWD, SYS_PTR(prepared), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (tree < 0)
        return (int)tree;
    int dev = clone_tree_without((int)tree, "dev", MOUNT_ATTR_RDONLY | NODE_ATTR, MOUNT_ATTR_NODEV);
    sys_call1(SYS_close, tree);
    return dev;
}

/* The machine's /proc, for a user namespace yet to come: the kernel lets one mount a /proc
 * only where one is there that hides nothing, and with no less strict flags than a plain
 * mount has. root leaves out what is mounted in it; for others the kernel would refuse that. */
SYS_CHILD static int clone_proc(bool privileged) {
    long mount = sys_call3(SYS_open_tree, AT_FDCWD, SYS_PTR("/proc"),
                           TREE_CLONE | TREE_CLOEXEC | (privileged ? 0 : AT_RECURSIVE));
    if (mount < 0)
        return (int)mount;
    /* MOUNT_ATTR_RELATIME, which is 0, in the place of what is set. */
    long r = set_attributes((int)mount, PROC_ATTR, privileged ? MOUNT_ATTR__ATIME : 0);
    if (r < 0) {
        sys_call1(SYS_close, mount);
        return (int)r;
    }
    return (int)mount;
}

SYS_CHILD static long attach(int mount, int dir, const char *path) {
    return sys_call5(SYS_move_mount, mount, SYS_PTR(""), dir, SYS_PTR(path),
                     MOVE_MOUNT_F_EMPTY_PATH);
}

/* A new file system, detached. Options are name, value pairs ended by NULL. */
SYS_CHILD static long new_mount(const char *type, uint64_t attributes, const char *const *options) {
    long context = sys_call2(SYS_fsopen, SYS_PTR(type), FSOPEN_CLOEXEC);
    if (context < 0)
        return context;
    long r = 0;
    for (; *options && r >= 0; options += 2)
        r = sys_call5(SYS_fsconfig, context, FSCONFIG_SET_STRING, SYS_PTR(options[0]),
                      SYS_PTR(options[1]), 0);
    if (r >= 0)
        r = sys_call5(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    if (r >= 0)
        r = sys_call3(SYS_fsmount, context, FSMOUNT_CLOEXEC, (long)attributes);
    sys_call1(SYS_close, context);
    return r;
}

const struct root_trees root_no_trees = {
    .prepared = -EBADF,
    .usr = -EBADF,
    .task = -EBADF,
    .dev = -EBADF,
    .proc = -EBADF,
    .extra = {[0 ... ROOT_EXTRA - 1] = -EBADF},
    .nodes = {[0 ... ROOT_NODES - 1] = -EBADF},
};

SYS_CHILD int root_open(const struct root_spec *spec, struct root_trees *trees, const char **step) {
    *trees = root_no_trees;
    /* /run is mounted noexec by some systems, and the native loader lies there. Only
     * root of the machine may clear what the machine has set. */
    trees->prepared = TRY("opening the prepared root",
                          clone_tree_without(AT_FDCWD, spec->prepared, BASE_ATTR,
                                             spec->privileged ? MOUNT_ATTR_NOEXEC : 0));
    trees->usr = TRY("opening /usr", clone_tree(AT_FDCWD, "/usr", BASE_ATTR));
    for (int i = 0; i < ROOT_EXTRA; i++) {
        char path[20] = "/";
        if (!spec->extra[i][0])
            continue;
        for (int k = 0; spec->extra[i][k]; k++)
            path[k + 1] = spec->extra[i][k], path[k + 2] = 0;
        trees->extra[i] = TRY("opening /bin or /lib", clone_tree(AT_FDCWD, path, BASE_ATTR));
    }
    if (spec->own_devices)
        trees->dev = TRY("opening the devices", clone_devices(spec->prepared));
    for (int i = 0; i < ROOT_NODES && !spec->own_devices; i++)
        trees->nodes[i] =
            TRY("opening a device in /dev", clone_tree(AT_FDCWD, node_paths[i], NODE_ATTR));
    trees->task = TRY("opening the function's folder",
                      spec->task_is_open ? clone_tree(spec->task_fd, "", BASE_ATTR)
                                         : clone_tree(AT_FDCWD, spec->task, BASE_ATTR));
    if (spec->machine_proc)
        trees->proc = TRY("opening the machine's /proc", clone_proc(spec->privileged));
    return 0;
}

SYS_CHILD static void close_one(int *fd) {
    if (*fd >= 0)
        sys_call1(SYS_close, *fd);
    *fd = -EBADF;
}

SYS_CHILD void root_close(struct root_trees *trees) {
    close_one(&trees->prepared);
    close_one(&trees->dev);
    close_one(&trees->usr);
    close_one(&trees->task);
    close_one(&trees->proc);
    for (int i = 0; i < ROOT_EXTRA; i++)
        close_one(&trees->extra[i]);
    for (int i = 0; i < ROOT_NODES; i++)
        close_one(&trees->nodes[i]);
}

/* A single file is shown in a directory of its own: a tmpfs with one name in it,
 * sealed read-only once the file is bound there. */
SYS_CHILD static int attach_task_file(const struct root_spec *spec, const struct root_trees *trees,
                                      const char **step) {
    static const char *const options[] = {"size", "4k", "nr_inodes", "3", "mode", "0755", NULL};
    int folder = TRY("making the folder of a single file",
                     new_mount("tmpfs", BASE_ATTR & ~MOUNT_ATTR_RDONLY, options));
    TRY("attaching /var/task", attach(folder, trees->prepared, "var/task"));
    long file = TRY("naming the function's file",
                    sys_call4(SYS_openat, folder, SYS_PTR(spec->task_file),
                              O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0444));
    sys_call1(SYS_close, file);
    TRY("attaching the function's file", attach(trees->task, folder, spec->task_file));
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
    TRY("sealing /var/task", sys_call5(SYS_mount_setattr, folder, SYS_PTR(""), AT_EMPTY_PATH,
                                       SYS_PTR(&attributes), sizeof attributes));
    sys_call1(SYS_close, folder);
    return 0;
}

/* Whether it is there for the function: this process still has an id of its own
 * outside, but no more rights on it than the function will have. */
SYS_CHILD static bool is_readable(int proc, const char *name) {
    return sys_call3(SYS_faccessat, proc, SYS_PTR(name), R_OK) == 0;
}

SYS_CHILD static int mask_proc(int proc, int root, const char **step) {
    for (size_t i = 0; i < sizeof masked_files / sizeof *masked_files; i++) {
        if (!is_readable(proc, masked_files[i]))
            continue;
        int null =
            TRY("masking a file in /proc",
                sys_call3(SYS_open_tree, root, SYS_PTR("dev/null"), TREE_CLONE | TREE_CLOEXEC));
        TRY("masking a file in /proc", attach(null, proc, masked_files[i]));
        sys_call1(SYS_close, null);
    }
    for (size_t i = 0; i < sizeof masked_directories / sizeof *masked_directories; i++) {
        if (!is_readable(proc, masked_directories[i]))
            continue;
        /* /run of the image is empty, and read-only. */
        int empty = TRY("masking a directory in /proc",
                        sys_call3(SYS_open_tree, root, SYS_PTR("run"), TREE_CLONE | TREE_CLOEXEC));
        TRY("masking a directory in /proc", attach(empty, proc, masked_directories[i]));
        sys_call1(SYS_close, empty);
    }
    return 0;
}

/* root: the directory that is, or will be, /. */
SYS_CHILD static int attach_proc(int root, const char **step) {
    /* hidepid: only processes of the same id are seen, so not the slot's init. */
    static const char *const options[] = {"hidepid", "2", NULL};
    int proc = TRY("mounting /proc (inside a container with a masked /proc the kernel refuses it)",
                   new_mount("proc", BASE_ATTR | MOUNT_ATTR_NOEXEC, options));
    TRY("attaching /proc", attach(proc, root, "proc"));
    int r = mask_proc(proc, root, step);
    sys_call1(SYS_close, proc);
    return r;
}

SYS_CHILD static char *put_number(char *at, uint64_t value) {
    char digits[24];
    int count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count)
        *at++ = digits[--count];
    *at = 0;
    return at;
}

SYS_CHILD static int attach_tmp(int root, uint64_t bytes, const char **step) {
    char size[24];
    /* 0 means no limit to tmpfs: an empty /tmp is the smallest one instead. */
    put_number(size, bytes ? bytes : 1);
    const char *options[] = {"size", size, "mode", "1777", NULL};
    int tmp = TRY("mounting the tmpfs on /tmp", new_mount("tmpfs", TMP_ATTR, options));
    TRY("attaching /tmp", attach(tmp, root, "tmp"));
    sys_call1(SYS_close, tmp);
    return 0;
}

SYS_CHILD static int attach_devices(const struct root_trees *trees, const char **step) {
    if (trees->dev >= 0) {
        TRY("attaching /dev", attach(trees->dev, trees->prepared, "dev"));
        return 0;
    }
    int dev = TRY("opening dev in the prepared root",
                  sys_call4(SYS_openat, trees->prepared, SYS_PTR("dev"),
                            O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    for (int i = 0; i < ROOT_NODES; i++)
        TRY("attaching a device", attach(trees->nodes[i], dev, node_names[i]));
    sys_call1(SYS_close, dev);
    return 0;
}

SYS_CHILD int root_attach(const struct root_spec *spec, const struct root_trees *trees,
                          const char **step) {
    /* The tree is attached over itself: pivot_root wants a mount point, and the
     * clone becomes one only where it is put. */
    TRY("attaching the prepared root", attach(trees->prepared, AT_FDCWD, spec->prepared));
    TRY("attaching /usr", attach(trees->usr, trees->prepared, "usr"));
    for (int i = 0; i < ROOT_EXTRA; i++)
        if (trees->extra[i] >= 0)
            TRY("attaching /bin or /lib", attach(trees->extra[i], trees->prepared, spec->extra[i]));
    int r = attach_devices(trees, step);
    if (r < 0)
        return r;
    if (trees->proc >= 0)
        TRY("attaching the machine's /proc", attach(trees->proc, trees->prepared, "proc"));
    if (spec->task_file)
        return attach_task_file(spec, trees, step);
    TRY("attaching /var/task", attach(trees->task, trees->prepared, "var/task"));
    return 0;
}

SYS_CHILD int root_pivot(const struct root_trees *trees, const char **step) {
    /* pivot_root(".", ".") stacks the old root on the new one; detaching "." takes
     * the old one away: see pivot_root(2), NOTES. */
    TRY("entering the root", sys_call1(SYS_fchdir, trees->prepared));
    TRY("pivot_root", sys_call2(SYS_pivot_root, SYS_PTR("."), SYS_PTR(".")));
    TRY("detaching the machine's root", sys_call2(SYS_umount2, SYS_PTR("."), DETACH));
    TRY("entering /", sys_call1(SYS_chdir, SYS_PTR("/")));
    return 0;
}

SYS_CHILD int root_enter(const struct root_spec *spec, const struct root_trees *trees,
                         const char **step) {
    int r = root_attach(spec, trees, step);
    if (r == 0)
        r = attach_proc(trees->prepared, step);
    if (r == 0)
        r = attach_tmp(trees->prepared, spec->tmp_bytes, step);
    return r < 0 ? r : root_pivot(trees, step);
}

SYS_CHILD int root_mount_private(uint64_t tmp_bytes, const char **step) {
    int root = TRY("opening /", sys_call4(SYS_openat, AT_FDCWD, SYS_PTR("/"),
                                          O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    int r = attach_proc(root, step);
    if (r == 0)
        r = attach_tmp(root, tmp_bytes, step);
    sys_call1(SYS_close, root);
    return r;
}

SYS_CHILD int root_mount_tmp(uint64_t tmp_bytes, const char **step) {
    int root = TRY("opening /", sys_call4(SYS_openat, AT_FDCWD, SYS_PTR("/"),
                                          O_PATH | O_DIRECTORY | O_CLOEXEC, 0));
    int r = attach_tmp(root, tmp_bytes, step);
    sys_call1(SYS_close, root);
    return r;
}
