/* Packages from archive to version, through the real fnrun-unpack: it must stand beside this
 * program or one folder above it. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <archive.h>
#include <archive_entry.h>
#include <cmocka.h>
#include <systemd/sd-event.h>

#include "cli/programs.h"
#include "isolate/cleanup.h"
#include "runner/package.h"
#include "runner/package_tree.h"
#include "runner/unpack_files.h"
#include "runner/unpack_name.h"

#define DEADLINE 120 /* s: a test that hangs ends there */

static char store[64];

static int make_store(void **unused) {
    (void)unused;
    snprintf(store, sizeof store, "/tmp/fnrun-test-package-XXXXXX");
    if (!mkdtemp(store) || chdir(store) < 0)
        return -1;
    alarm(DEADLINE);
    return mkdir("versions", 0755) < 0 ? -1 : mkdir("incoming", 0700);
}

static int remove_store(void **unused) {
    (void)unused;
    alarm(0);
    return chdir("/") < 0 ? -1 : package_tree_remove(AT_FDCWD, store);
}

/* --- archives ------------------------------------------------------------------------------- */

struct file {
    const char *name;
    unsigned type; /* AE_IFREG ...; 0: a hard link */
    unsigned mode;
    const char *content; /* or where a link leads */
};

static struct archive *new_archive(const char *path, const char *format, const char *filter,
                                   const char *options) {
    struct archive *archive = archive_write_new();
    assert_int_equal(archive_write_set_format_by_name(archive, format), ARCHIVE_OK);
    if (filter)
        assert_int_equal(archive_write_add_filter_by_name(archive, filter), ARCHIVE_OK);
    if (options)
        assert_int_equal(archive_write_set_options(archive, options), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(archive, path), ARCHIVE_OK);
    return archive;
}

static void add_file(struct archive *archive, const struct file *file) {
    struct archive_entry *entry = archive_entry_new();
    bool regular = file->type == AE_IFREG;
    archive_entry_set_pathname(entry, file->name);
    archive_entry_set_filetype(entry, file->type ? file->type : AE_IFREG);
    archive_entry_set_perm(entry, (mode_t)file->mode);
    archive_entry_set_size(entry, regular ? (int64_t)strlen(file->content) : 0);
    if (file->type == AE_IFLNK)
        archive_entry_set_symlink(entry, file->content);
    else if (!file->type)
        archive_entry_set_hardlink(entry, file->content);
    assert_int_equal(archive_write_header(archive, entry), ARCHIVE_OK);
    if (regular)
        assert_int_equal(archive_write_data(archive, file->content, strlen(file->content)),
                         strlen(file->content));
    archive_entry_free(entry);
}

static void make_archive_of(const char *format, const char *filter, const struct file *files) {
    struct archive *archive = new_archive("archive", format, filter, NULL);
    for (; files->name; files++)
        add_file(archive, files);
    assert_int_equal(archive_write_close(archive), ARCHIVE_OK);
    archive_write_free(archive);
}
#define make_archive(...) make_archive_of("pax", NULL, (const struct file[]){__VA_ARGS__, {0}})

/* --- the helper ------------------------------------------------------------------------------ */

static sd_event *loop;
static int code;
static char text[PACKAGE_TEXT];

static void done(void *owner, int result, const char *said) {
    assert_ptr_equal(owner, &loop);
    assert_int_not_equal(result, 1);
    code = result;
    snprintf(text, sizeof text, "%s", said);
    sd_event_exit(loop, 0);
}

static void start(const char *archive, const char *folder) {
    struct error err = {0};
    code = 1;
    assert_true(sd_event_new(&loop) >= 0);
    if (package_unpack(loop, archive, folder, done, &loop, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(code, 1); /* done is never called from within */
}

static int unpack(const char *folder) {
    start("archive", folder);
    assert_true(sd_event_loop(loop) >= 0);
    loop = sd_event_unref(loop);
    return code;
}

static void assert_unpacked(const char *folder) {
    if (unpack(folder) < 0)
        fail_msg("%s", text);
    assert_string_equal(text, "");
}

static void assert_refused(const char *expected) {
    assert_int_equal(unpack("incoming/x"), -EINVAL);
    assert_string_equal(text, expected);
    assert_int_equal(access("incoming/x", F_OK), -1); /* nothing is left */
}

static unsigned mode_of(const char *path) {
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode;
}

static void assert_content(const char *path, const char *expected) {
    char content[64] = "";
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, content, sizeof content - 1) >= 0);
    assert_string_equal(content, expected);
}

/* --- what is taken ------------------------------------------------------------------------------
 */

static const struct file usual[] = {{"./", AE_IFDIR, 0700, NULL},
                                    {"./app.py", AE_IFREG, 0600, "code"},
                                    {"./lib/deep/run", AE_IFREG, 04711, "#!/bin/sh"},
                                    {"./empty/", AE_IFDIR, 0700, NULL},
                                    {NULL, 0, 0, NULL}};

static void every_compression_and_zip_give_the_same_files(void **unused) {
    (void)unused;
    static const char *const kinds[][2] = {
        {"pax", NULL},   {"gnutar", "gzip"}, {"ustar", "bzip2"},  {"pax", "xz"},
        {"pax", "zstd"}, {"pax", "lz4"},     {"pax", "compress"}, {"zip", NULL}};
    char digest[65], first[65] = "";
    struct error err = {0};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        make_archive_of(kinds[i][0], kinds[i][1], usual);
        assert_unpacked("incoming/x");
        assert_int_equal(package_digest("incoming/x", digest, &err), 0);
        if (!i)
            memcpy(first, digest, sizeof first);
        assert_string_equal(digest, first);
        assert_int_equal(package_remove("incoming/x", &err), 0);
    }
}

static void modes_become_plain(void **unused) {
    (void)unused;
    make_archive_of("pax", NULL, usual);
    mode_t before = umask(077);
    assert_unpacked("incoming/x");
    umask(before);
    assert_int_equal(mode_of("incoming/x"), S_IFDIR | 0755);
    assert_int_equal(mode_of("incoming/x/app.py"), S_IFREG | 0644);
    assert_int_equal(mode_of("incoming/x/lib"), S_IFDIR | 0755);
    assert_int_equal(mode_of("incoming/x/lib/deep/run"), S_IFREG | 0755);
    assert_int_equal(mode_of("incoming/x/empty"), S_IFDIR | 0755);
    assert_content("incoming/x/app.py", "code");
    assert_int_equal(mode_of("archive") & S_IFMT, S_IFREG); /* it stays */
}

static void links_that_stay_inside_are_kept(void **unused) {
    (void)unused;
    make_archive({"bin/tool", AE_IFREG, 0755, "tool"}, {"lib/link", AE_IFLNK, 0777, "../bin/tool"},
                 {"dangling", AE_IFLNK, 0777, "nothing/here"}, {"second", 0, 0644, "bin/tool"});
    assert_unpacked("incoming/x");
    char target[64] = "";
    assert_true(readlink("incoming/x/lib/link", target, sizeof target - 1) > 0);
    assert_string_equal(target, "../bin/tool");
    assert_content("incoming/x/lib/link", "tool");
    assert_content("incoming/x/second", "tool");
    assert_int_equal(mode_of("incoming/x/dangling") & S_IFMT, S_IFLNK);
}

/* --- what is refused
 * ------------------------------------------------------------------------------ */

static void names_that_lead_out_are_refused(void **unused) {
    (void)unused;
    make_archive({"ok", AE_IFREG, 0644, ""}, {"../x", AE_IFREG, 0644, "evil"});
    assert_refused("entry `../x`: a name with .. in it, which leads out of the folder");
    assert_int_equal(access("x", F_OK), -1);
    make_archive({"a/../../../x", AE_IFREG, 0644, "evil"});
    assert_refused("entry `a/../../../x`: a name with .. in it, which leads out of the folder");
    make_archive({"/tmp/fnrun-evil", AE_IFREG, 0644, "evil"});
    assert_refused("entry `/tmp/fnrun-evil`: an absolute name; pack the folder with relative "
                   "names");
    assert_int_equal(access("/tmp/fnrun-evil", F_OK), -1);
}

static void links_that_lead_out_are_refused(void **unused) {
    (void)unused;
    make_archive({"passwd", AE_IFLNK, 0777, "/etc/passwd"});
    assert_refused("entry `passwd`: a symbolic link out of the folder, to `/etc/passwd`");
    make_archive({"a/up", AE_IFLNK, 0777, "../../x"});
    assert_refused("entry `a/up`: a symbolic link out of the folder, to `../../x`");
    /* Inside by its words; `top` makes them worthless. */
    make_archive({"a/b/c/top", AE_IFLNK, 0777, "../../.."},
                 {"out", AE_IFLNK, 0777, "a/b/c/top/../../x"});
    assert_refused("entry `out`: a symbolic link that leads out of the folder");
    make_archive({"a", AE_IFLNK, 0777, "b"}, {"b", AE_IFLNK, 0777, "a"});
    assert_refused("entry `a`: a symbolic link that leads to itself");
}

static void nothing_is_written_through_a_link(void **unused) {
    (void)unused;
    make_archive({"d", AE_IFLNK, 0777, "."}, {"d/x", AE_IFREG, 0644, "evil"});
    assert_refused("entry `d/x`: its name leads through a symbolic link");
    make_archive({"d", AE_IFLNK, 0777, "."}, {"d/a/b/x", AE_IFREG, 0644, "evil"});
    assert_refused("entry `d/a/b/x`: its name leads through a symbolic link");
    make_archive({"f", AE_IFREG, 0644, "file"}, {"l", AE_IFLNK, 0777, "f"},
                 {"l", AE_IFREG, 0644, "evil"});
    assert_refused("entry `l`: the archive has this name twice");
    make_archive({"f", AE_IFREG, 0644, "file"}, {"f/x", AE_IFREG, 0644, "evil"});
    assert_refused("entry `f/x`: its name leads through something that is no folder");
}

static void hard_links_to_what_is_not_in_the_archive_are_refused(void **unused) {
    (void)unused;
    make_archive({"h", 0, 0644, "../archive"});
    assert_refused("entry `h`: a hard link out of the folder, to `../archive`");
    make_archive({"h", 0, 0644, "/etc/passwd"});
    assert_refused("entry `h`: a hard link out of the folder, to `/etc/passwd`");
    make_archive({"h", 0, 0644, "later"});
    assert_refused("entry `h`: a hard link to `later`, which is no file that came before it");
    make_archive({"l", AE_IFLNK, 0777, "x"}, {"h", 0, 0644, "l"});
    assert_refused("entry `h`: a hard link to `l`, which is no file that came before it");
}

static void devices_and_pipes_are_refused(void **unused) {
    (void)unused;
    make_archive({"null", AE_IFCHR, 0666, NULL});
    assert_refused("entry `null`: a device; only files, folders and links can be deployed");
    make_archive({"disk", AE_IFBLK, 0666, NULL});
    assert_refused("entry `disk`: a device; only files, folders and links can be deployed");
    make_archive({"pipe", AE_IFIFO, 0666, NULL});
    assert_refused("entry `pipe`: a named pipe; only files, folders and links can be deployed");
}

static void more_than_512_mib_are_refused_before_they_are_written(void **unused) {
    (void)unused;
    struct archive *archive = new_archive("archive", "ustar", NULL, NULL);
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, "big");
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (512 << 20) + 1);
    archive_write_header(archive, entry);
    archive_entry_free(entry);
    archive_write_free(archive); /* without the bytes */
    assert_refused("entry `big`: the files are larger than 512 MiB together");
}

static void damaged_archives_are_refused(void **unused) {
    (void)unused;
    struct stat st;
    static char large[300000];
    unsigned seed = 1;
    for (size_t i = 0; i < sizeof large - 1; i++)
        large[i] = (char)('a' + rand_r(&seed) % 26);
    large[sizeof large - 1] = 0;
    make_archive_of("pax", "gzip", (const struct file[]){{"f", AE_IFREG, 0644, large}, {0}});
    assert_int_equal(stat("archive", &st), 0);
    assert_int_equal(truncate("archive", st.st_size / 2), 0);
    assert_int_equal(unpack("incoming/x"), -EINVAL);
    assert_non_null(strstr(text, "entry `f`: the archive is damaged here: "));
    assert_int_equal(access("incoming/x", F_OK), -1);
    assert_int_equal(truncate("archive", 100), 0); /* before the first entry */
    assert_int_equal(unpack("incoming/x"), -EINVAL);
    assert_non_null(strstr(text, "no archive that can be read (truncated gzip input): expected"));
    assert_int_equal(access("incoming/x", F_OK), -1);
}

static void what_is_no_archive_is_told_what_was_expected(void **unused) {
    (void)unused;
    close(open("archive", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    static const char expected[] = "this is no archive that can be read (Unrecognized archive "
                                   "format): expected a tar (plain, or compressed with gzip, "
                                   "bzip2, xz, zstd or lz4) or a zip";
    assert_refused(expected);
    FILE *file = fopen("archive", "w");
    fputs("import this\n", file);
    fclose(file);
    assert_refused(expected);
    make_archive({"./", AE_IFDIR, 0755, NULL});
    assert_refused("the archive is empty: there is nothing to run");
    assert_int_equal(remove("archive"), 0);
    assert_refused("the archive cannot be opened: No such file or directory");
}

static void encrypted_files_are_refused(void **unused) {
    (void)unused;
    struct archive *archive = archive_write_new();
    archive_write_set_format_zip(archive);
    archive_write_set_passphrase(archive, "secret");
    if (archive_write_set_options(archive, "zip:encryption=traditional") != ARCHIVE_OK) {
        archive_write_free(archive);
        skip(); /* libarchive was built without encryption */
    }
    archive_write_open_filename(archive, "archive");
    add_file(archive, &(struct file){"f", AE_IFREG, 0644, "hidden"});
    archive_write_close(archive);
    archive_write_free(archive);
    assert_refused("entry `f`: it is encrypted; pack it without a password");
}

static void a_text_is_one_line_whatever_the_names_are(void **unused) {
    (void)unused;
    make_archive_of("ustar", NULL,
                    (const struct file[]){{"a\n\033[2Jb\xff/../x", AE_IFREG, 0644, ""}, {0}});
    assert_refused("entry `a??[2Jb?/../x`: a name with .. in it, which leads out of the folder");
    char name[600];
    memset(name, 'n', sizeof name);
    strcpy(name + sizeof name - 4, "/..");
    make_archive({name, AE_IFREG, 0644, ""});
    assert_int_equal(unpack("incoming/x"), -EINVAL);
    assert_non_null(strstr(text, "nnn...`: a name with "));
}

/* An archive whose list says 10 bytes of a file that is a mebibyte of zeros. */
static void a_file_larger_than_its_archive_says_is_cut_off(void **unused) {
    (void)unused;
    static char zeros[1 << 20];
    const struct unpack_limits limits = {.bytes = 1000, .entries = 10};
    struct error err = {0};
    unsigned char bytes[8192];
    memset(zeros, '0', sizeof zeros - 1);
    make_archive_of("zip", NULL, (const struct file[]){{"f", AE_IFREG, 0644, zeros}, {0}});
    int fd = open("archive", O_RDWR | O_CLOEXEC);
    ssize_t length = read(fd, bytes, sizeof bytes);
    size_t changed = 0;
    for (ssize_t i = 0; i + 30 < length; i++) {
        bool local = memcmp(bytes + i, "PK\3\4", 4) == 0,
             list = memcmp(bytes + i, "PK\1\2", 4) == 0;
        if (!local && !list)
            continue;
        static const unsigned char ten[4] = {10, 0, 0, 0};
        assert_int_equal(pwrite(fd, ten, 4, i + (local ? 22 : 24)), 4);
        changed++;
    }
    assert_true(changed >= 1);
    lseek(fd, 0, SEEK_SET);
    assert_int_equal(mkdir("folder", 0755), 0);
    int folder = open("folder", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(unpack_files(fd, folder, &limits, &err) < 0);
    assert_non_null(strstr(err.message, "entry `f`: "));
    struct stat st;
    assert_true(stat("folder/f", &st) < 0 || st.st_size <= 1000);
    close(folder);
    close(fd);
}

/* The archive at hand into the new folder, in this process. */
static int unpack_within(uint64_t bytes, size_t entries, const char *name, struct error *err) {
    const struct unpack_limits limits = {.bytes = bytes, .entries = entries};
    _cleanup_close_ int fd = open("archive", O_RDONLY | O_CLOEXEC);
    assert_int_equal(mkdir(name, 0755), 0);
    _cleanup_close_ int folder = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return unpack_files(fd, folder, &limits, err);
}

static void the_limits_hold_for_all_files_together(void **unused) {
    (void)unused;
    struct error err = {0};
    make_archive({"a", AE_IFREG, 0644, "12345"}, {"b", AE_IFREG, 0644, "12345"});
    assert_int_equal(unpack_within(10, 2, "one", &err), 0);
    assert_int_equal(unpack_within(9, 2, "two", &err), -EFBIG);
    assert_int_equal(unpack_within(10, 1, "three", &err), -E2BIG);
    assert_string_equal(err.message, "entry `b`: more than 1 files and folders");
}

static void folders_that_only_stand_in_names_count_as_entries(void **unused) {
    (void)unused;
    struct error err = {0};
    make_archive({"a/b/c/file", AE_IFREG, 0644, ""}, {"a/b/link", AE_IFLNK, 0777, "c"},
                 {"a/hard", 0, 0644, "a/b/c/file"}, {"a/b/", AE_IFDIR, 0755, NULL});
    assert_int_equal(unpack_within(0, 6, "one", &err), 0);
    assert_int_equal(unpack_within(0, 5, "two", &err), -E2BIG);
    assert_int_equal(unpack_within(0, 3, "three", &err), -E2BIG);
    assert_int_equal(unpack_within(0, 2, "four", &err), -E2BIG);
}

/* --- names -------------------------------------------------------------------------------------
 */

static void names_lose_what_changes_nothing(void **unused) {
    (void)unused;
    char name[UNPACK_NAME_SIZE], raw[5000];
    struct error err = {0};
    assert_int_equal(unpack_name("./a//b/./c/", name, &err), 0);
    assert_string_equal(name, "a/b/c");
    assert_int_equal(unpack_name("./", name, &err), 0);
    assert_string_equal(name, "");
    assert_int_equal(unpack_name("..a/...", name, &err), 0);
    assert_int_equal(unpack_name("", name, &err), -EINVAL);
    memset(raw, 'a', sizeof raw);
    raw[255] = 0;
    assert_int_equal(unpack_name(raw, name, &err), 0);
    raw[255] = 'a';
    raw[256] = 0;
    assert_int_equal(unpack_name(raw, name, &err), -EINVAL);
    assert_non_null(strstr(err.message, "more than 255 bytes"));
    memset(raw, 'a', sizeof raw);
    for (size_t i = 127; i < sizeof raw; i += 128)
        raw[i] = '/';
    raw[4094] = 0;
    assert_int_equal(unpack_name(raw, name, &err), 0);
    raw[4094] = 'a';
    raw[4095] = 'a';
    raw[4096] = 0;
    assert_int_equal(unpack_name(raw, name, &err), -EINVAL);
    for (size_t i = 0; i < 65; i++)
        memcpy(raw + 2 * i, "d/", 2);
    raw[128] = 0;
    assert_int_equal(unpack_name(raw, name, &err), 0);
    raw[128] = 'd';
    raw[130] = 0;
    assert_int_equal(unpack_name(raw, name, &err), -EINVAL);
    assert_non_null(strstr(err.message, "more than 64 folders deep"));
}

static void a_link_stays_by_its_words(void **unused) {
    (void)unused;
    assert_true(unpack_link_stays("a", "b"));
    assert_true(unpack_link_stays("a", "."));
    assert_true(unpack_link_stays("a/b", ".."));
    assert_true(unpack_link_stays("a/b", "../c/../d"));
    assert_true(unpack_link_stays("a", "b/..//./c"));
    assert_false(unpack_link_stays("a", ".."));
    assert_false(unpack_link_stays("a", "b/../.."));
    assert_false(unpack_link_stays("a/b", "../.."));
    assert_false(unpack_link_stays("a", "/"));
    assert_false(unpack_link_stays("a", ""));
}

/* --- the helper's life
 * ----------------------------------------------------------------------------- */

/* A named pipe as archive: opening it waits until somebody writes. */
static void the_helper_is_killed_with_the_loop(void **unused) {
    (void)unused;
    assert_int_equal(mkfifo("archive", 0600), 0);
    start("archive", "incoming/x");
    loop = sd_event_unref(loop);
    assert_int_equal(code, 1); /* not told */
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void the_helper_dies_with_the_daemon(void **unused) {
    (void)unused;
    int status;
    assert_int_equal(mkfifo("archive", 0600), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t daemon = fork();
    assert_true(daemon >= 0);
    if (!daemon) {
        start("archive", "incoming/x");
        pause();
        _exit(1);
    }
    /* Open when the helper has opened its end: it is at work then, and reads for ever. */
    _cleanup_close_ int end = open("archive", O_WRONLY | O_CLOEXEC);
    assert_true(end >= 0);
    kill(daemon, SIGKILL);
    assert_int_equal(waitpid(daemon, NULL, 0), daemon);
    assert_true(waitpid(-1, &status, 0) > 0); /* the helper, now ours; SIGALRM ends the wait */
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
}

static void the_helper_leaves_no_folder_of_what_it_refuses(void **unused) {
    (void)unused;
    char program[4096];
    struct error err = {0};
    int status;
    make_archive({"ok", AE_IFREG, 0644, "content"}, {"../x", AE_IFREG, 0644, "evil"});
    assert_int_equal(programs_find("fnrun-unpack", program, sizeof program, &err), 0);
    pid_t helper = fork();
    assert_true(helper >= 0);
    if (!helper) {
        dup2(open("said", O_WRONLY | O_CREAT | O_CLOEXEC, 0600), STDERR_FILENO);
        execl(program, "fnrun-unpack", "archive", "folder", NULL);
        _exit(9);
    }
    assert_int_equal(waitpid(helper, &status, 0), helper);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_content("said", "entry `../x`: a name with .. in it, which leads out of the fold");
    assert_int_equal(access("folder", F_OK), -1);
}

/* --- digests
 * ---------------------------------------------------------------------------------------- */

static const char *digest_of(const char *folder) {
    static char digests[4][65];
    static unsigned next;
    struct error err = {0};
    char *digest = digests[next++ % 4];
    if (package_digest(folder, digest, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(strlen(digest), 64);
    return digest;
}

static void put_file(const char *path, const char *content, mode_t mode) {
    unlink(path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

static void a_digest_tells_every_difference(void **unused) {
    (void)unused;
    mkdir("f", 0755);
    put_file("f/a", "one", 0644);
    const char *before = digest_of("f");
    assert_string_equal(digest_of("f"), before);
    put_file("f/a", "two", 0644);
    assert_string_not_equal(digest_of("f"), before);
    put_file("f/a", "one", 0755);
    assert_string_not_equal(digest_of("f"), before);
    put_file("f/a", "one", 0644);
    assert_string_equal(digest_of("f"), before);
    rename("f/a", "f/b");
    assert_string_not_equal(digest_of("f"), before);
    rename("f/b", "f/a");
    mkdir("f/empty", 0755);
    assert_string_not_equal(digest_of("f"), before);
    rmdir("f/empty");
    assert_int_equal(symlink("a", "f/link"), 0);
    const char *linked = digest_of("f");
    assert_string_not_equal(linked, before);
    unlink("f/link");
    assert_int_equal(symlink("b", "f/link"), 0);
    assert_string_not_equal(digest_of("f"), linked);
    unlink("f/link");
    put_file("f/link", "a", 0644); /* a file that holds what the link said */
    assert_string_not_equal(digest_of("f"), linked);
}

static void a_digest_is_of_the_content_not_of_its_borders(void **unused) {
    (void)unused;
    mkdir("f", 0755);
    mkdir("g", 0755);
    put_file("f/a", "12", 0644);
    put_file("f/b", "3", 0644);
    put_file("g/a", "1", 0644);
    put_file("g/b", "23", 0644);
    assert_string_not_equal(digest_of("f"), digest_of("g"));
    package_tree_remove(AT_FDCWD, "f");
    package_tree_remove(AT_FDCWD, "g");
    mkdir("f", 0755);
    mkdir("f/d", 0755);
    put_file("f/d/x", "", 0644);
    mkdir("g", 0755);
    mkdir("g/d", 0755);
    put_file("g/x", "", 0644);
    assert_string_not_equal(digest_of("f"), digest_of("g"));
}

/* The digest is a name on the disk: what it is made of must not change with releases. Made by
 * hand: sha256 of "fnrun package 1\n" "D\0" "F" "a\0" 3 (8 bytes) "one". */
static void a_digest_is_the_sha256_of_the_documented_stream(void **unused) {
    (void)unused;
    mkdir("f", 0755);
    put_file("f/a", "one", 0644);
    assert_string_equal(digest_of("f"),
                        "66c3610ca8fb8be3aeeb5ac9a2aaf4de6150e32a94bead7fe812c72229bac001");
}

static void a_digest_makes_modes_plain_and_refuses_a_pipe(void **unused) {
    (void)unused;
    char digest[65];
    struct error err = {0};
    mkdir("f", 0700);
    mkdir("f/d", 0777);
    put_file("f/d/x", "", 0600);
    put_file("f/d/run", "", 0700);
    digest_of("f");
    assert_int_equal(mode_of("f") & 07777, 0755);
    assert_int_equal(mode_of("f/d") & 07777, 0755);
    assert_int_equal(mode_of("f/d/x") & 07777, 0644);
    assert_int_equal(mode_of("f/d/run") & 07777, 0755);
    assert_int_equal(mkfifo("f/d/pipe", 0644), 0);
    assert_int_equal(package_digest("f", digest, &err), -EINVAL);
    assert_string_equal(err.message, "d/pipe of the package is neither file, folder nor link");
    assert_int_equal(package_digest("nothing", digest, &err), -ENOENT);
}

/* --- keeping
 * ------------------------------------------------------------------------------------------- */

#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void a_version_is_moved_once_and_the_first_stays(void **unused) {
    (void)unused;
    struct error err = {0};
    for (int i = 0; i < 2; i++) {
        mkdir("incoming/x", 0755);
        put_file("incoming/x/file", i ? "second" : "first", 0644);
        assert_int_equal(symlink("/nonexistent", "incoming/x/link"), 0);
        assert_int_equal(package_keep(store, "incoming/x", DIGEST, &err), 0);
        assert_int_equal(access("incoming/x", F_OK), -1);
        assert_content("versions/" DIGEST "/file", "first");
    }
    assert_int_equal(package_keep(store, "incoming/none", DIGEST, &err), -ENOENT);
    assert_int_equal(package_keep(store, "incoming/x", "../x", &err), -EINVAL);
}

static void removing_does_not_follow_links(void **unused) {
    (void)unused;
    struct error err = {0};
    mkdir("kept", 0755);
    put_file("kept/file", "kept", 0644);
    mkdir("gone", 0755);
    mkdir("gone/deep", 0755);
    assert_int_equal(symlink("../kept", "gone/link"), 0);
    assert_int_equal(symlink("kept", "top"), 0);
    assert_int_equal(package_remove("gone", &err), 0);
    assert_int_equal(package_remove("top", &err), 0);
    assert_int_equal(package_remove("top", &err), 0); /* not there: no error */
    assert_content("kept/file", "kept");
    assert_int_equal(access("gone", F_OK), -1);
}

/* fnrun-unpack is found beside the program that asks for it; in a build tree this one is in
 * checks/, a folder below. One that was installed earlier is not meant. */
static int find_helper(void **unused) {
    char own[4096], beside[4200], above[4200];
    struct error err = {0};
    (void)unused;
    if (programs_own_folder(own, sizeof own, &err) < 0)
        return -1;
    snprintf(beside, sizeof beside, "%s/fnrun-unpack", own);
    snprintf(above, sizeof above, "%s/../fnrun-unpack", own);
    if (access(above, X_OK) == 0 && symlink("../fnrun-unpack", beside) < 0 && errno != EEXIST)
        return -1;
    return access(beside, X_OK);
}

#define STORE_TEST(test) cmocka_unit_test_setup_teardown(test, make_store, remove_store)

int main(void) {
    const struct CMUnitTest tests[] = {
        STORE_TEST(every_compression_and_zip_give_the_same_files),
        STORE_TEST(modes_become_plain),
        STORE_TEST(links_that_stay_inside_are_kept),
        STORE_TEST(names_that_lead_out_are_refused),
        STORE_TEST(links_that_lead_out_are_refused),
        STORE_TEST(nothing_is_written_through_a_link),
        STORE_TEST(hard_links_to_what_is_not_in_the_archive_are_refused),
        STORE_TEST(devices_and_pipes_are_refused),
        STORE_TEST(folders_that_only_stand_in_names_count_as_entries),
        STORE_TEST(more_than_512_mib_are_refused_before_they_are_written),
        STORE_TEST(damaged_archives_are_refused),
        STORE_TEST(what_is_no_archive_is_told_what_was_expected),
        STORE_TEST(encrypted_files_are_refused),
        STORE_TEST(a_text_is_one_line_whatever_the_names_are),
        STORE_TEST(a_file_larger_than_its_archive_says_is_cut_off),
        STORE_TEST(the_limits_hold_for_all_files_together),
        cmocka_unit_test(names_lose_what_changes_nothing),
        cmocka_unit_test(a_link_stays_by_its_words),
        STORE_TEST(the_helper_is_killed_with_the_loop),
        STORE_TEST(the_helper_dies_with_the_daemon),
        STORE_TEST(the_helper_leaves_no_folder_of_what_it_refuses),
        STORE_TEST(a_digest_tells_every_difference),
        STORE_TEST(a_digest_is_of_the_content_not_of_its_borders),
        STORE_TEST(a_digest_is_the_sha256_of_the_documented_stream),
        STORE_TEST(a_digest_makes_modes_plain_and_refuses_a_pipe),
        STORE_TEST(a_version_is_moved_once_and_the_first_stays),
        STORE_TEST(removing_does_not_follow_links),
    };
    return cmocka_run_group_tests(tests, find_helper, NULL);
}
