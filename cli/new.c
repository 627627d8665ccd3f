#include "cli/new.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/programs.h"
#include "cli/templates.h"
#include "isolate/cleanup.h"

#define NAME_MAX_LENGTH 64

static int check_name(const char *name, struct error *err) {
    size_t length = strlen(name);
    size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    if (length > NAME_MAX_LENGTH)
        return error_set(err, -EINVAL, "'%.20s...' is too long a name: 64 characters at most",
                         name);
    if (name[good] == '/')
        return error_set(err, -EINVAL,
                         "'%s' is a path; init makes the folder in the current one: change there "
                         "first, then give the name alone",
                         name);
    if (name[good] || !length)
        return error_set(err, -EINVAL,
                         "'%s' cannot be a function's name: letters, digits, - and _ only", name);
    return 0;
}

/* --- fnrun.h ---------------------------------------------------------------- */

static bool has_header(const char *folder) {
    char path[PATH_MAX];
    return (size_t)snprintf(path, sizeof path, "%s/fnrun.h", folder) < sizeof path &&
           access(path, R_OK) == 0;
}

/* The folder of fnrun.h: that of the sources for a program in its build tree, the
 * installed one for an installed program (libexec/fnrun/../../include). */
static int find_include(char *path, size_t size, struct error *err) {
    char own[PATH_MAX];
    static const char sources[] = FNRUN_SOURCEDIR "/images/runtimes/native";
    int r = programs_own_folder(own, sizeof own, err);
    if (r < 0)
        return r;
    bool installed = strcmp(own, FNRUN_LIBEXECDIR) == 0 || strstr(own, "/libexec/fnrun");
    if (!installed && has_header(sources)) {
        snprintf(path, size, "%s", sources);
        return 0;
    }
    char up[PATH_MAX];
    if ((size_t)snprintf(up, sizeof up, "%s/../../include", own) < sizeof up && has_header(up)) {
        _cleanup_free_ char *real = realpath(up, NULL);
        snprintf(path, size, "%s", real ? real : up);
        return 0;
    }
    /* Not found: the compiler's own folders may have it; nothing worse than that. */
    snprintf(path, size, "%s", has_header(sources) ? sources : "/usr/local/include");
    return 0;
}

/* --- writing ---------------------------------------------------------------- */

static int put(int fd, const char *text, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, text, length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        text += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Writes text with @NAME@ and @INCLUDE@ replaced. */
static int put_template(int fd, const char *text, const char *name, const char *include) {
    const char *const marks[] = {TEMPLATE_NAME, TEMPLATE_INCLUDE};
    const char *const values[] = {name, include};
    int r = 0;
    while (*text && r == 0) {
        size_t plain = strcspn(text, "@"), mark = 0;
        r = put(fd, text, plain);
        text += plain;
        while (r == 0 && mark < 2 && strncmp(text, marks[mark], strlen(marks[mark])) != 0)
            mark++;
        if (r < 0 || !*text)
            continue;
        r = mark < 2 ? put(fd, values[mark], strlen(values[mark])) : put(fd, "@", 1);
        text += mark < 2 ? strlen(marks[mark]) : 1;
    }
    return r;
}

static int write_file(int folder, const struct template *file, const char *name,
                      const char *include) {
    _cleanup_close_ int fd =
        openat(folder, file->file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int r = put_template(fd, file->text, name, include);
    /* fchmod, for the umask does not apply to it. */
    if (r == 0 && fchmod(fd, file->mode) < 0)
        r = -errno;
    return r;
}

/* Takes back what write_files made; the folder was new, so all of it is ours. */
static void remove_files(int folder, const char *name, const char *runtime) {
    for (size_t i = 0; i < templates_count; i++)
        if (strcmp(templates[i].runtime, runtime) == 0)
            unlinkat(folder, templates[i].file, 0);
    rmdir(name);
}

static int write_files(int folder, const char *name, const char *runtime, const char *include,
                       struct error *err) {
    for (size_t i = 0; i < templates_count; i++) {
        if (strcmp(templates[i].runtime, runtime) != 0)
            continue;
        int r = write_file(folder, &templates[i], name, include);
        if (r < 0)
            return error_set(err, r, "cannot write %s/%s: %s", name, templates[i].file,
                             strerror(-r));
    }
    return 0;
}

/* --- compiling --------------------------------------------------------------- */

/* Runs make in the folder. Its messages go to stderr. Returns whether it worked. */
static bool build(const char *name) {
    char *const arguments[] = {"make", "-s", "-C", (char *)name, NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return false;
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    int r = posix_spawnp(&pid, "make", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (r != 0)
        return false;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int new_function(const char *name, const char *runtime, bool *built, struct error *err) {
    char include[PATH_MAX] = "";
    bool native = strcmp(runtime, "native") == 0;
    int r = check_name(name, err);
    if (r == 0 && native)
        r = find_include(include, sizeof include, err);
    if (r < 0)
        return r;
    if (mkdir(name, 0700) < 0) {
        if (errno == EEXIST)
            return error_set(err, -EEXIST,
                             "%s is there already, and init never overwrites: choose another name, "
                             "or move it away",
                             name);
        return error_set(err, -errno, "cannot make the folder %s here: %s", name, strerror(errno));
    }
    _cleanup_close_ int folder = open(name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0) {
        r = error_set(err, -errno, "cannot open the folder %s: %s", name, strerror(errno));
        rmdir(name);
        return r;
    }
    r = write_files(folder, name, runtime, include, err);
    if (r == 0 && fchmod(folder, 0755) < 0)
        r = error_set(err, -errno, "cannot make %s readable: %s", name, strerror(errno));
    if (r < 0) {
        remove_files(folder, name, runtime);
        return r;
    }
    *built = !native || build(name);
    return 0;
}
