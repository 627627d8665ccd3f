#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "images/copy.h"
#include "images/host.h"
#include "images/host_tree.h"

/* Each test has a machine of its own: a run directory, a /etc, a runtimes folder. */
static char base[64], run_dir[128], etc[128], runtimes[128];

static struct error err;

static const char *join(const char *folder, const char *name) {
    static char paths[8][PATH_MAX];
    static int next;
    next = (next + 1) % 8;
    size_t before = strlen(folder), after = strlen(name);
    assert_true(before + after + 2 <= sizeof paths[0]);
    memmove(paths[next], folder, before); /* may be an earlier result */
    paths[next][before] = '/';
    memcpy(paths[next] + before + 1, name, after + 1);
    return paths[next];
}

static void write_file(const char *folder, const char *name, const char *text, mode_t mode) {
    const char *path = join(folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void make_folder(const char *folder, const char *name, mode_t mode) {
    assert_int_equal(mkdir(join(folder, name), 0700), 0);
    assert_int_equal(chmod(join(folder, name), mode), 0);
}

/* The text of a file in the tree, or NULL. */
static const char *text_of(const char *folder, const char *name) {
    static char text[65536];
    FILE *file = fopen(join(folder, name), "r");
    if (!file)
        return NULL;
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    return text;
}

static mode_t mode_of(const char *folder, const char *name) {
    struct stat st;
    return lstat(join(folder, name), &st) < 0 ? 0 : st.st_mode;
}

static bool is_there(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static const char *link_of(const char *folder, const char *name) {
    static char target[PATH_MAX];
    ssize_t length = readlink(join(folder, name), target, sizeof target - 1);
    if (length < 0)
        return NULL;
    target[length] = 0;
    return target;
}

static int count_in_run_dir(const char *with) {
    int count = 0;
    DIR *entries = opendir(run_dir);
    assert_non_null(entries);
    for (struct dirent *entry; (entry = readdir(entries));)
        count += strstr(entry->d_name, with) != NULL;
    closedir(entries);
    return count;
}

static int open_image(char path[PATH_MAX]) {
    memset(&err, 0, sizeof err);
    return host_image_open_from(run_dir, etc, runtimes, path, PATH_MAX, &err);
}

/* Opens it, shows why where that fails, and lets its lock go. */
static void make_image(char path[PATH_MAX]) {
    int fd = open_image(path);
    if (fd < 0)
        fail_msg("%s", err.message);
    close(fd);
}

static int set_up(void **state) {
    (void)state;
    snprintf(base, sizeof base, "/tmp/fnrun-test-host-XXXXXX");
    if (!mkdtemp(base))
        return -1;
    chmod(base, 0755);
    snprintf(run_dir, sizeof run_dir, "%s/run", base);
    snprintf(etc, sizeof etc, "%s/etc", base);
    snprintf(runtimes, sizeof runtimes, "%s/runtimes", base);
    make_folder(base, "run", 0755);
    make_folder(base, "etc", 0755);
    make_folder(base, "runtimes", 0755);
    make_folder(runtimes, "python", 0755);
    make_folder(runtimes, "node", 0755);
    make_folder(runtimes, "native", 0755);
    write_file(runtimes, "python/bootstrap.py", "import sys\n", 0644);
    write_file(runtimes, "node/bootstrap.js", "'use strict';\n", 0644);
    write_file(runtimes, "native/fnrun-native", "\177ELF", 0755);
    write_file(etc, "services", "http 80/tcp\n", 0644);
    write_file(etc, "resolv.conf", "# made by nobody\nnameserver 192.0.2.1\n", 0644);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    umask(022);
    return host_tree_remove(AT_FDCWD, base);
}

static void the_first_call_makes_the_tree_and_the_next_finds_it(void **state) {
    char first[PATH_MAX], second[PATH_MAX];
    struct stat before, after;
    (void)state;
    make_image(first);
    assert_int_equal(stat(first, &before), 0);
    make_image(second);
    assert_string_equal(first, second);
    assert_int_equal(stat(second, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
    assert_int_equal(count_in_run_dir("host-"), 1);
}

static void a_tree_holds_every_mount_point_whatever_the_umask(void **state) {
    static const char *const folders[] = {"usr",      "proc",        "tmp", "etc", "var",
                                          "var/task", "var/runtime", "run", "dev", "."};
    static const char *const files[] = {"null", "zero", "full", "random", "urandom"};
    char tree[PATH_MAX];
    (void)state;
    umask(077);
    make_image(tree);
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        assert_int_equal(mode_of(tree, folders[i]), S_IFDIR | 0755);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        assert_true(mode_of(join(tree, "dev"), files[i]) == (S_IFCHR | 0666) ||
                    mode_of(join(tree, "dev"), files[i]) == (S_IFREG | 0644));
    assert_int_equal(mode_of(tree, "etc/services"), S_IFREG | 0644);
    assert_int_equal(mode_of(tree, "etc/passwd"), S_IFREG | 0644);
    assert_string_equal(link_of(tree, "dev/fd"), "/proc/self/fd");
    assert_string_equal(link_of(tree, "dev/stdin"), "/proc/self/fd/0");
    assert_string_equal(link_of(tree, "dev/stdout"), "/proc/self/fd/1");
    assert_string_equal(link_of(tree, "dev/stderr"), "/proc/self/fd/2");
    assert_string_equal(link_of(tree, "dev/shm"), "/tmp");
    assert_false(is_there(join(tree, "home")));
    assert_false(is_there(join(tree, "sys")));
}

static void the_top_is_laid_out_as_the_machines(void **state) {
    char tree[PATH_MAX], names[8][16];
    int mounts = 0;
    (void)state;
    make_image(tree);
    for (const char *const *name = host_tree_top; *name; name++) {
        mode_t kind = mode_of("/", *name) & S_IFMT;
        assert_int_equal(mode_of(tree, *name) & S_IFMT, kind);
        if (kind == S_IFLNK) {
            char target[PATH_MAX];
            snprintf(target, sizeof target, "%s", link_of("/", *name));
            assert_string_equal(link_of(tree, *name), target);
        }
        mounts += kind == S_IFDIR;
    }
    assert_int_equal(host_image_extra_mounts(names), mounts);
    for (int i = 0; i < mounts; i++)
        assert_int_equal(mode_of(tree, names[i]), S_IFDIR | 0755);
}

static void passwd_and_group_name_the_functions_id_alone(void **state) {
    char tree[PATH_MAX];
    (void)state;
    write_file(etc, "passwd", "ada:x:1001:1001:Ada:/home/ada:/bin/bash\n", 0644);
    make_image(tree);
    assert_non_null(
        strstr(text_of(tree, "etc/passwd"), "\nfn:x:1000:1000:function:/tmp:/bin/sh\n"));
    assert_null(strstr(text_of(tree, "etc/passwd"), "ada"));
    assert_non_null(strstr(text_of(tree, "etc/group"), "\nfn:x:1000:\n"));
    assert_non_null(strstr(text_of(tree, "etc/hosts"), "::1\tlocalhost"));
    assert_non_null(strstr(text_of(tree, "etc/nsswitch.conf"), "hosts: files dns\n"));
}

static void of_resolv_conf_only_what_a_resolver_needs_is_taken(void **state) {
    char tree[PATH_MAX];
    (void)state;
    write_file(
        etc, "resolv.conf",
        "# secret remark\nnameserver 192.0.2.7\nnameservers 1\nname 2\nsearch a.example\n; x\n"
        "options edns0\nsortlist 1",
        0644);
    make_image(tree);
    assert_string_equal(text_of(tree, "etc/resolv.conf"),
                        "nameserver 192.0.2.7\nsearch a.example\noptions edns0\n");
}

static void without_resolv_conf_there_is_an_empty_one(void **state) {
    char tree[PATH_MAX];
    (void)state;
    assert_int_equal(unlink(join(etc, "resolv.conf")), 0);
    make_image(tree);
    assert_string_equal(text_of(tree, "etc/resolv.conf"), "");
}

static void what_others_cannot_read_is_not_copied(void **state) {
    char tree[PATH_MAX];
    (void)state;
    write_file(etc, "services", "secret\n", 0640);
    write_file(etc, "resolv.conf", "nameserver 192.0.2.9\n", 0600);
    make_folder(etc, "ssl", 0755);
    make_folder(etc, "ssl/certs", 0755);
    make_folder(etc, "ssl/certs/closed", 0750);
    make_folder(etc, "ssl/certs/private", 0755);
    make_folder(etc, "ssl/private", 0755);
    write_file(etc, "ssl/certs/a.pem", "a", 0444);
    write_file(etc, "ssl/certs/b.key", "b", 0640);
    write_file(etc, "ssl/certs/closed/c", "c", 0644);
    write_file(etc, "ssl/certs/private/d", "d", 0644);
    write_file(etc, "ssl/private/e", "e", 0644);
    write_file(etc, "shadow", "root:secret\n", 0644);
    assert_int_equal(mkfifo(join(etc, "ssl/certs/pipe"), 0644), 0);
    assert_int_equal(chmod(join(etc, "ssl/certs/pipe"), 0644), 0);
    make_image(tree);
    assert_false(is_there(join(tree, "etc/services")));
    assert_string_equal(text_of(tree, "etc/resolv.conf"), "");
    assert_string_equal(text_of(tree, "etc/ssl/certs/a.pem"), "a");
    assert_int_equal(mode_of(tree, "etc/ssl/certs/a.pem"), S_IFREG | 0644);
    assert_false(is_there(join(tree, "etc/ssl/certs/b.key")));
    assert_false(is_there(join(tree, "etc/ssl/certs/closed")));
    assert_false(is_there(join(tree, "etc/ssl/certs/private")));
    assert_false(is_there(join(tree, "etc/ssl/certs/pipe")));
    assert_false(is_there(join(tree, "etc/ssl/private")));
    assert_false(is_there(join(tree, "etc/shadow")));
}

static void a_link_stays_a_link_where_its_target_is_in_the_tree(void **state) {
    char tree[PATH_MAX];
    (void)state;
    make_folder(etc, "ssl", 0755);
    make_folder(etc, "ssl/certs", 0755);
    make_folder(etc, "python3.99", 0755);
    write_file(etc, "ssl/certs/real.pem", "real", 0644);
    assert_int_equal(symlink("real.pem", join(etc, "ssl/certs/hash.0")), 0);
    assert_int_equal(symlink("/usr/share/x.crt", join(etc, "ssl/certs/x.pem")), 0);
    assert_int_equal(symlink("../../services", join(etc, "ssl/certs/services")), 0);
    assert_int_equal(symlink("/etc/python3.99/y", join(etc, "ssl/certs/y")), 0);
    assert_int_equal(symlink("../usr/lib/os-release", join(etc, "os-release")), 0);
    make_image(tree);
    assert_string_equal(link_of(tree, "etc/ssl/certs/hash.0"), "real.pem");
    assert_string_equal(link_of(tree, "etc/ssl/certs/x.pem"), "/usr/share/x.crt");
    assert_string_equal(link_of(tree, "etc/ssl/certs/services"), "../../services");
    assert_string_equal(link_of(tree, "etc/ssl/certs/y"), "/etc/python3.99/y");
    assert_string_equal(link_of(tree, "etc/os-release"), "../usr/lib/os-release");
    assert_int_equal(mode_of(tree, "etc/python3.99"), S_IFDIR | 0755);
}

static void of_any_other_link_the_content_is_copied_if_others_may_read_it(void **state) {
    char tree[PATH_MAX];
    (void)state;
    make_folder(base, "open", 0755);
    make_folder(base, "closed", 0700);
    write_file(base, "open/timezone", "Etc/UTC\n", 0644);
    write_file(base, "open/secret", "secret\n", 0600);
    write_file(base, "closed/magic", "hidden by its folder\n", 0644);
    assert_int_equal(symlink(join(base, "open/timezone"), join(etc, "timezone")), 0);
    assert_int_equal(symlink(join(base, "open/secret"), join(etc, "protocols")), 0);
    assert_int_equal(symlink(join(base, "closed/magic"), join(etc, "magic")), 0);
    assert_int_equal(symlink(join(base, "nowhere"), join(etc, "host.conf")), 0);
    assert_int_equal(symlink(join(base, "open"), join(etc, "terminfo")), 0);
    make_image(tree);
    assert_int_equal(mode_of(tree, "etc/timezone"), S_IFREG | 0644);
    assert_string_equal(text_of(tree, "etc/timezone"), "Etc/UTC\n");
    assert_false(is_there(join(tree, "etc/protocols")));
    assert_false(is_there(join(tree, "etc/magic")));
    assert_false(is_there(join(tree, "etc/host.conf")));
    assert_string_equal(text_of(tree, "etc/terminfo/timezone"), "Etc/UTC\n");
    assert_false(is_there(join(tree, "etc/terminfo/secret")));
}

static void an_alternative_never_brings_what_it_leads_to(void **state) {
    char tree[PATH_MAX];
    (void)state;
    make_folder(etc, "alternatives", 0755);
    write_file(base, "my.cnf", "password\n", 0644);
    assert_int_equal(symlink(join(base, "my.cnf"), join(etc, "alternatives/my.cnf")), 0);
    make_image(tree);
    assert_string_equal(link_of(tree, "etc/alternatives/my.cnf"), join(base, "my.cnf"));
}

static void a_file_beyond_the_bound_is_left_out(void **state) {
    char tree[PATH_MAX];
    (void)state;
    write_file(etc, "ld.so.cache", "", 0644);
    assert_int_equal(truncate(join(etc, "ld.so.cache"), COPY_MAX_FILE + 1), 0);
    write_file(etc, "mime.types", "", 0644);
    assert_int_equal(truncate(join(etc, "mime.types"), COPY_MAX_FILE), 0);
    make_image(tree);
    assert_false(is_there(join(tree, "etc/ld.so.cache")));
    assert_true(is_there(join(tree, "etc/mime.types")));
}

static void entries_and_depth_are_bounded(void **state) {
    char tree[PATH_MAX], path[PATH_MAX];
    int copied = 0;
    (void)state;
    make_folder(etc, "fonts", 0755);
    int used = snprintf(path, sizeof path, "%s/fonts", etc);
    for (int depth = 0; depth < 20; depth++) {
        used += snprintf(path + used, sizeof path - (size_t)used, "/d");
        assert_int_equal(mkdir(path, 0755), 0);
    }
    make_folder(etc, "mono", 0755);
    for (int i = 0; i < COPY_MAX_ENTRIES + 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "mono/%d", i);
        write_file(etc, name, "", 0644);
    }
    make_image(tree);
    assert_true(is_there(join(tree, "etc/fonts/d/d")));
    assert_false(is_there(join(tree, "etc/fonts/d/d/d/d/d/d/d/d")));
    DIR *entries = opendir(join(tree, "etc/mono"));
    assert_non_null(entries);
    while (readdir(entries))
        copied++;
    closedir(entries);
    assert_true(copied >= COPY_MAX_ENTRIES / 2 && copied <= COPY_MAX_ENTRIES);
}

static void the_runtimes_are_copied_whole_whatever_their_modes(void **state) {
    char tree[PATH_MAX];
    (void)state;
    make_folder(runtimes, "python/__pycache__", 0700);
    write_file(runtimes, "python/__pycache__/x.pyc", "compiled", 0600);
    assert_int_equal(symlink("bootstrap.js", join(runtimes, "node/index.js")), 0);
    make_image(tree);
    assert_string_equal(text_of(tree, "var/runtime/python/bootstrap.py"), "import sys\n");
    assert_string_equal(text_of(tree, "var/runtime/python/__pycache__/x.pyc"), "compiled");
    assert_int_equal(mode_of(tree, "var/runtime/python/__pycache__"), S_IFDIR | 0755);
    assert_int_equal(mode_of(tree, "var/runtime/python/__pycache__/x.pyc"), S_IFREG | 0644);
    assert_string_equal(link_of(tree, "var/runtime/node/index.js"), "bootstrap.js");
    assert_int_equal(mode_of(tree, "var/runtime/native/fnrun-native"), S_IFREG | 0755);
}

static void times_of_files_are_kept(void **state) {
    char tree[PATH_MAX];
    struct stat st;
    const struct timespec times[2] = {{1000000000, 5}, {1000000000, 5}};
    (void)state;
    assert_int_equal(utimensat(AT_FDCWD, join(etc, "services"), times, 0), 0);
    make_image(tree);
    assert_int_equal(stat(join(tree, "etc/services"), &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, 1000000000);
}

/* Each of these changes one thing after a tree was made. */
static void replace(const char *folder, const char *name, const char *text) {
    char fresh[PATH_MAX], old[PATH_MAX];
    struct stat before, after;
    snprintf(old, sizeof old, "%s", join(folder, name));
    assert_int_equal(stat(folder, &before), 0);
    do { /* until the file system's clock, which may tick each 4 ms, has gone on */
        write_file(folder, "fresh", text, 0644);
        snprintf(fresh, sizeof fresh, "%s", join(folder, "fresh"));
        assert_int_equal(rename(fresh, old), 0);
        assert_int_equal(stat(folder, &after), 0);
    } while (!memcmp(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim));
}
static void replace_a_file_as_packages_do(void) {
    replace(etc, "services", "http 81/tcp\n");
}
static void add_a_certificate(void) {
    make_folder(etc, "ssl", 0755);
    make_folder(etc, "ssl/certs", 0755);
    write_file(etc, "ssl/certs/new.pem", "new\n", 0644);
}
static void add_a_wildcards_folder(void) {
    make_folder(etc, "python3.98", 0755);
}
static void change_the_resolver(void) {
    write_file(etc, "resolv.conf", "nameserver 192.0.2.44\n", 0644);
}
static void replace_a_runtime(void) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", join(runtimes, "python"));
    replace(folder, "bootstrap.py", "import os\n");
}
static void add_to_a_runtime(void) {
    write_file(runtimes, "node/more.js", "\n", 0644);
}

static void a_change_of_any_source_makes_a_new_tree_and_removes_the_old(void **state) {
    static void (*const changes[])(void) = {
        replace_a_file_as_packages_do, add_a_certificate, add_a_wildcards_folder,
        change_the_resolver,           replace_a_runtime, add_to_a_runtime};
    char before[PATH_MAX], after[PATH_MAX];
    (void)state;
    make_image(before);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        changes[i]();
        make_image(after);
        if (!strcmp(before, after))
            fail_msg("change %zu was not seen", i);
        assert_false(is_there(before));
        assert_true(is_there(after));
        memcpy(before, after, sizeof before);
    }
    assert_string_equal(text_of(after, "etc/services"), "http 81/tcp\n");
    assert_string_equal(text_of(after, "etc/resolv.conf"), "nameserver 192.0.2.44\n");
    assert_string_equal(text_of(after, "var/runtime/python/bootstrap.py"), "import os\n");
    assert_int_equal(count_in_run_dir("host-"), 1);
}

static void an_outdated_tree_stays_while_somebody_holds_it(void **state) {
    char held[PATH_MAX], next[PATH_MAX];
    (void)state;
    int fd = open_image(held);
    assert_true(fd >= 0);
    change_the_resolver();
    make_image(next);
    assert_true(is_there(join(held, "etc/services")));
    close(fd);
    replace_a_runtime();
    make_image(next);
    assert_false(is_there(held));
    assert_int_equal(count_in_run_dir("host-"), 1);
}

static void the_tree_of_another_installation_stays(void **state) {
    char ours[PATH_MAX], theirs[PATH_MAX], again[PATH_MAX];
    (void)state;
    make_folder(base, "other", 0755);
    make_image(ours);
    int fd = host_image_open_from(run_dir, etc, join(base, "other"), theirs, sizeof theirs, &err);
    assert_true(fd >= 0);
    close(fd);
    assert_string_not_equal(ours, theirs);
    make_image(again);
    assert_string_equal(ours, again);
    assert_true(is_there(ours) && is_there(theirs));
}

/* A lock as a builder has it, from a process that is not this one's descriptor. */
static int hold_id(int id) {
    struct flock lock = {.l_type = F_WRLCK, .l_start = (1ll << 62) + id, .l_len = 1};
    int fd = open(join(run_dir, "host.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

static void leftovers_of_a_dead_builder_go_and_a_living_ones_stay(void **state) {
    static const char dead[] = "host-00000000000000000000000000000001.tmp.4000001";
    static const char alive[] = "host-00000000000000000000000000000001.tmp.4000002";
    char tree[PATH_MAX];
    (void)state;
    make_folder(run_dir, dead, 0700);
    make_folder(run_dir, alive, 0700);
    write_file(run_dir, "host-00000000000000000000000000000001.tmp.4000001/half", "x", 0600);
    make_folder(run_dir, "host-notes", 0700);
    int lock = hold_id(4000002);
    make_image(tree);
    assert_false(is_there(join(run_dir, dead)));
    assert_true(is_there(join(run_dir, alive)));
    assert_true(is_there(join(run_dir, "host-notes")));
    close(lock);
}

static void a_builder_that_dies_half_way_leaves_nothing_that_is_believed(void **state) {
    const struct rlimit small = {64, 64}; /* SIGXFSZ in the middle of passwd */
    char tree[PATH_MAX];
    int status;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        setrlimit(RLIMIT_FSIZE, &small);
        open_image(tree);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
    assert_int_equal(count_in_run_dir(".tmp."), 1);
    make_image(tree);
    assert_int_equal(count_in_run_dir(".tmp."), 0);
    assert_non_null(strstr(text_of(tree, "etc/passwd"), "nobody"));
    assert_string_equal(text_of(tree, "var/runtime/python/bootstrap.py"), "import sys\n");
}

static void a_failed_build_leaves_nothing(void **state) {
    const struct rlimit small = {64, 64};
    char tree[PATH_MAX];
    int status;
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &small);
        _exit(open_image(tree) == -EFBIG && strstr(err.message, "passwd") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(count_in_run_dir("host-"), 0);
}

static void builders_at_once_agree_on_one_tree(void **state) {
    enum { BUILDERS = 6 };
    pid_t pids[BUILDERS];
    char tree[PATH_MAX], first[PATH_MAX];
    int gate[2], paths[2], status;
    (void)state;
    assert_int_equal(pipe2(gate, O_CLOEXEC), 0);
    assert_int_equal(pipe2(paths, O_CLOEXEC), 0);
    for (int i = 0; i < BUILDERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            char byte;
            close(gate[1]);
            if (read(gate[0], &byte, 1) != 0) /* they all start when it is closed */
                _exit(2);
            memset(tree, 0, sizeof tree);
            int fd = open_image(tree);
            bool whole = fd >= 0 && text_of(tree, "var/runtime/node/bootstrap.js");
            _exit(whole && write(paths[1], tree, sizeof tree) == sizeof tree ? 0 : 1);
        }
    }
    close(gate[0]);
    close(gate[1]);
    close(paths[1]);
    memset(first, 0, sizeof first);
    for (int i = 0; i < BUILDERS; i++) {
        assert_int_equal(read(paths[0], tree, sizeof tree), sizeof tree);
        if (!*first)
            memcpy(first, tree, sizeof first);
        assert_string_equal(first, tree);
    }
    for (int i = 0; i < BUILDERS; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(count_in_run_dir("host-"), 1);
}

static void a_tree_that_others_could_write_is_refused(void **state) {
    char tree[PATH_MAX], again[PATH_MAX];
    (void)state;
    make_image(tree);
    assert_int_equal(chmod(tree, 0777), 0);
    assert_int_equal(open_image(again), -EPERM);
    assert_non_null(strstr(err.message, tree));
    assert_non_null(strstr(err.message, "mode 0777"));
}

static void a_tree_that_is_a_link_is_refused(void **state) {
    char tree[PATH_MAX], again[PATH_MAX];
    (void)state;
    make_image(tree);
    assert_int_equal(rename(tree, join(base, "elsewhere")), 0);
    assert_int_equal(symlink(join(base, "elsewhere"), tree), 0);
    assert_int_equal(open_image(again), -EPERM);
}

static void a_tree_of_another_owner_is_refused(void **state) {
    char tree[PATH_MAX], again[PATH_MAX];
    (void)state;
    if (geteuid() != 0)
        skip(); /* giving a folder away needs root */
    make_image(tree);
    assert_int_equal(lchown(tree, 12345, 12345), 0);
    assert_int_equal(open_image(again), -EPERM);
    assert_non_null(strstr(err.message, "uid 12345"));
}

static void a_run_directory_that_others_can_write_is_refused(void **state) {
    char tree[PATH_MAX];
    (void)state;
    assert_int_equal(chmod(run_dir, 0777), 0);
    assert_int_equal(open_image(tree), -EPERM);
    assert_non_null(strstr(err.message, run_dir));
}

static void a_lock_file_that_others_can_open_is_refused(void **state) {
    char tree[PATH_MAX];
    (void)state;
    write_file(run_dir, "host.lock", "", 0644);
    assert_int_equal(open_image(tree), -EPERM);
    assert_non_null(strstr(err.message, "host.lock"));
    assert_int_equal(unlink(join(run_dir, "host.lock")), 0);
    assert_int_equal(symlink(join(etc, "services"), join(run_dir, "host.lock")), 0);
    assert_int_equal(open_image(tree), -ELOOP);
}

static void missing_runtimes_are_an_error_that_says_how_to_get_them(void **state) {
    char tree[PATH_MAX];
    (void)state;
    assert_int_equal(
        host_image_open_from(run_dir, etc, join(base, "none"), tree, sizeof tree, &err), -ENOENT);
    assert_non_null(strstr(err.message, "make install"));
}

static void a_path_that_does_not_fit_is_an_error(void **state) {
    char tree[20];
    (void)state;
    assert_int_equal(host_image_open_from(run_dir, etc, runtimes, tree, sizeof tree, &err),
                     -ENAMETOOLONG);
    assert_int_equal(host_image_open_from("run", etc, runtimes, tree, sizeof tree, &err), -EINVAL);
}

static void the_machines_own_etc_makes_a_tree_without_secrets(void **state) {
    char tree[PATH_MAX];
    (void)state;
    int fd = host_image_open(run_dir, runtimes, tree, sizeof tree, &err);
    if (fd < 0)
        fail_msg("%s", err.message);
    close(fd);
    assert_false(is_there(join(tree, "etc/shadow")));
    assert_false(is_there(join(tree, "etc/ssl/private")));
    assert_false(is_there(join(tree, "etc/sudoers")));
    assert_int_equal(mode_of(tree, "etc/passwd"), S_IFREG | 0644);
}

static void the_descriptor_does_not_survive_exec(void **state) {
    char tree[PATH_MAX];
    (void)state;
    int fd = open_image(tree);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(the_first_call_makes_the_tree_and_the_next_finds_it),
        CASE(a_tree_holds_every_mount_point_whatever_the_umask),
        CASE(the_top_is_laid_out_as_the_machines),
        CASE(passwd_and_group_name_the_functions_id_alone),
        CASE(of_resolv_conf_only_what_a_resolver_needs_is_taken),
        CASE(without_resolv_conf_there_is_an_empty_one),
        CASE(what_others_cannot_read_is_not_copied),
        CASE(a_link_stays_a_link_where_its_target_is_in_the_tree),
        CASE(of_any_other_link_the_content_is_copied_if_others_may_read_it),
        CASE(an_alternative_never_brings_what_it_leads_to),
        CASE(a_file_beyond_the_bound_is_left_out),
        CASE(entries_and_depth_are_bounded),
        CASE(the_runtimes_are_copied_whole_whatever_their_modes),
        CASE(times_of_files_are_kept),
        CASE(a_change_of_any_source_makes_a_new_tree_and_removes_the_old),
        CASE(an_outdated_tree_stays_while_somebody_holds_it),
        CASE(the_tree_of_another_installation_stays),
        CASE(leftovers_of_a_dead_builder_go_and_a_living_ones_stay),
        CASE(a_builder_that_dies_half_way_leaves_nothing_that_is_believed),
        CASE(a_failed_build_leaves_nothing),
        CASE(builders_at_once_agree_on_one_tree),
        CASE(a_tree_that_others_could_write_is_refused),
        CASE(a_tree_that_is_a_link_is_refused),
        CASE(a_tree_of_another_owner_is_refused),
        CASE(a_run_directory_that_others_can_write_is_refused),
        CASE(a_lock_file_that_others_can_open_is_refused),
        CASE(missing_runtimes_are_an_error_that_says_how_to_get_them),
        CASE(a_path_that_does_not_fit_is_an_error),
        CASE(the_machines_own_etc_makes_a_tree_without_secrets),
        CASE(the_descriptor_does_not_survive_exec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
