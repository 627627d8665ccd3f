#include "images/function.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "images/detect.h"
#include "images/folder.h"
#include "images/handler.h"
#include "images/utf8.h"
#include "isolate/cleanup.h"

#define NAME_LENGTH 64
#define REMARK_TEXT (1ul << 20)

static void free_pairs(struct function_pair *pairs, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(pairs[i].key);
        free(pairs[i].value);
    }
    free(pairs);
}

void function_free(struct function *function) {
    free(function->name);
    free(function->handler);
    free(function->image);
    free(function->path);
    free(function->file);
    free(function->scale.warmup);
    free_pairs(function->environment, function->environment_count);
    free_pairs(function->secrets, function->secrets_count);
    *function = (struct function){0};
}

const char *function_runtime_name(int runtime) {
    switch (runtime) {
    case RUNTIME_PYTHON:
        return "python";
    case RUNTIME_NODE:
        return "node";
    case RUNTIME_AZURE:
        return "node (Azure form)";
    case RUNTIME_NATIVE:
        return "native";
    case RUNTIME_EXEC:
        return "exec";
    default:
        return "unknown";
    }
}

/* A valid name from that of a folder or file, without a file's ending. */
static char *make_name(const char *path, bool file) {
    const char *slash = strrchr(path, '/'), *from = slash ? slash + 1 : path;
    const char *dot = file ? strrchr(from, '.') : NULL;
    size_t length = dot && dot != from ? (size_t)(dot - from) : strlen(from);
    if (length > NAME_LENGTH)
        length = NAME_LENGTH;
    char *name = length ? strndup(from, length) : strdup("function");
    static const char valid[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    for (char *p = name; p && *p; p++)
        if (!strchr(valid, *p))
            *p = '-';
    return name;
}

/* --- function.ini ------------------------------------------------------------------------- */

static int read_config(const struct folder *folder, const char *ini, struct function *function,
                       struct config_problems *problems, struct error *err) {
    struct stat st;
    int r = folder_look(folder, "function.ini", &st);
    if (r == -ENOENT)
        return 0;
    if (r == 0 && !S_ISREG(st.st_mode)) {
        config_problem(problems, ini, 0, "this is no regular file");
        return 0;
    }
    _cleanup_close_ int fd = r < 0 ? r : folder_open(folder, "function.ini", O_RDONLY);
    if (fd >= 0)
        return config_read(fd, ini, function, problems, err);
    config_problem(problems, ini, 0, "cannot be read: %s%s",
                   fd == -EXDEV ? "it leads out of the folder" : strerror(-fd),
                   fd == -EACCES ? "; chmod a+r it" : "");
    return 0;
}

/* What only makes sense together with the runtime or the folder. */
static void check_rest(const struct folder *folder, const char *ini,
                       const struct function *function, struct config_problems *problems) {
    if (function->output == OUTPUT_RAW && function->runtime != RUNTIME_EXEC &&
        function->runtime != RUNTIME_UNSET)
        config_problem(problems, ini, function->lines.output,
                       "output: `raw` is for the runtime exec; the result of %s is JSON",
                       function_runtime_name(function->runtime));
    const char *warmup = function->scale.warmup;
    struct stat st;
    int r = warmup ? folder_look(folder, warmup, &st) : 0;
    if (r < 0 || (warmup && !S_ISREG(st.st_mode))) {
        char shown[UTF8_EXCERPT];
        config_problem(problems, ini, function->lines.warmup, "warmup: `%s` is no file in %s: %s",
                       utf8_excerpt(warmup, shown), folder->shown,
                       r == -EXDEV ? "it leads out of the folder"
                       : r < 0     ? strerror(-r)
                                   : "it is something else");
    }
}

/* --- loading ----------------------------------------------------------------------------- */

static int load_folder(const struct folder *folder, struct function *function,
                       struct config_problems *problems, struct error *err) {
    _cleanup_free_ char *ini = NULL;
    if (asprintf(&ini, "%s/function.ini", folder->shown) < 0) {
        ini = NULL;
        return -ENOMEM;
    }
    int r = read_config(folder, ini, function, problems, err);
    if (r < 0)
        return r;
    /* A key whose value was refused is not guessed around: one problem is enough. */
    if (function->runtime == RUNTIME_UNSET && !function->lines.runtime)
        r = detect_runtime(folder, function, problems);
    if (r == 0 && function->runtime == RUNTIME_NODE && folder_has_file(folder, "function.json"))
        function->runtime = RUNTIME_AZURE;
    if (r == 0 && function->runtime != RUNTIME_UNSET) {
        bool azure = function->runtime == RUNTIME_AZURE;
        if (azure || !function->lines.handler)
            r = detect_handler(folder, function, ini, problems);
        if (r == 0 && function->handler && !(azure && function->lines.handler))
            handler_check(folder, function, ini, problems);
    }
    if (r == 0)
        check_rest(folder, ini, function, problems);
    return r;
}

static int load_file(const struct folder *folder, struct function *function,
                     struct config_problems *problems) {
    int r = detect_file(folder, function, problems);
    if (r == 0 && function->handler)
        handler_check(folder, function, NULL, problems);
    return r;
}

/* Opens the folder of an absolute path, or that of its file. Returns a descriptor. */
static int open_place(const char *path, struct function *function, struct error *err) {
    struct stat st;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int r = -errno;
        if (fd >= 0)
            close(fd);
        return error_set(err, r, "%s: %s", path, strerror(-r));
    }
    function->device = st.st_dev;
    function->inode = st.st_ino;
    if (strcmp(path, "/") == 0) {
        close(fd);
        return error_set(err, -EINVAL,
                         "this is the whole machine: give a folder with the function's code alone");
    }
    if (S_ISDIR(st.st_mode))
        return fd;
    close(fd);
    if (!S_ISREG(st.st_mode))
        return error_set(err, -EINVAL, "this is neither a folder nor a file");
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *parent = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    function->single_file = true;
    function->file = strdup(slash + 1);
    if (!parent || !function->file)
        return error_set(err, -ENOMEM, "out of memory");
    fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? error_set(err, -errno, "%s: %s", parent, strerror(errno)) : fd;
}

static int resolve(const char *path, struct function *function, struct error *err) {
    if (!*path)
        return error_set(err, -ENOENT, "an empty path names no function");
    function->path = realpath(path, NULL);
    if (function->path)
        return 0;
    int r = -errno;
    if (r == -ENOENT || r == -ENOTDIR)
        return error_set(
            err, -ENOENT,
            "there is no folder or file %s; `fnrun init NAME --runtime R` makes one to "
            "start from",
            path);
    return error_set(err, r, "%s cannot be reached: %s", path, strerror(-r));
}

int function_load(const char *path, struct function *function, struct config_problems *problems,
                  struct error *err) {
    size_t before = problems->count, length = strlen(path);
    *function = (struct function){0};
    int r = resolve(path, function, err);
    if (r < 0)
        return r;
    config_defaults(function);
    _cleanup_close_ int fd = open_place(function->path, function, err);
    if (fd == -EINVAL)
        config_problem(problems, path, 0, "%s", err ? err->message : "this is no function");
    if (fd < 0)
        return fd;
    /* hello/ is shown as hello, so that files below read as one would write them. */
    while (length > 1 && path[length - 1] == '/')
        length--;
    _cleanup_free_ char *shown = strndup(path, length);
    struct folder folder = {.fd = fd, .shown = shown};
    if (!shown || !function->image)
        r = -ENOMEM;
    else if (function->single_file)
        r = load_file(&folder, function, problems);
    else
        r = load_folder(&folder, function, problems, err);
    if (r == 0 && !function->name)
        function->name = make_name(function->path, function->single_file);
    if (r == -ENOMEM || (r == 0 && !function->name))
        return error_set(err, -ENOMEM, "out of memory while reading %s", path);
    config_problems_sort(problems, before);
    if (r == 0 && problems->count > before)
        r = error_set(err, -EINVAL, "%zu problem%s in %s", problems->count - before,
                      problems->count - before == 1 ? "" : "s", path);
    return r;
}

/* --- a remark ------------------------------------------------------------------------------ */

bool function_remark(const struct function *function, char *text, size_t size) {
    char path[HANDLER_PATH], name[HANDLER_PATH];
    struct function copy = {0};
    size_t length = 0;
    bool python = function->runtime == RUNTIME_PYTHON;
    if (!python && function->runtime != RUNTIME_NODE && function->runtime != RUNTIME_NATIVE)
        return false;
    _cleanup_close_ int fd = open_place(function->path, &copy, NULL);
    struct folder folder = {.fd = fd, .shown = ""};
    function_free(&copy);
    if (fd < 0 || handler_find(&folder, function->runtime, function->handler, path, name) < 0)
        return false;
    _cleanup_free_ char *data = folder_read(&folder, path, REMARK_TEXT, &length);
    if (!data || length == REMARK_TEXT || memmem(data, length, name, strlen(name)))
        return false;
    if (python && (!folder_ends_with(path, ".py") || memmem(data, length, "import *", 8)))
        return false;
    if (folder_ends_with(path, ".json"))
        return false;
    snprintf(text, size, "%s does not seem to define `%s`, which is what will be called", path,
             name);
    return true;
}
