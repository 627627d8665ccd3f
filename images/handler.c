#include "images/handler.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "images/utf8.h"
#include "isolate/cleanup.h"

/* --- which file ------------------------------------------------------------------------ */

/* Two halves of at most HANDLER_PATH each. */
static bool split(const char *text, const char *at, char *before, char *after) {
    size_t length = (size_t)(at - text);
    if (length >= HANDLER_PATH || strlen(at + 1) >= HANDLER_PATH)
        return false;
    memcpy(before, text, length);
    before[length] = 0;
    memcpy(after, at + 1, strlen(at + 1) + 1);
    return true;
}

/* base with an ending, if that is a file. Returns 0, -ENOENT, -EXDEV, ... */
static int try_file(const struct folder *folder, const char *base, const char *ending,
                    char path[HANDLER_PATH]) {
    struct stat st;
    if (snprintf(path, HANDLER_PATH, "%s%s", base, ending) >= HANDLER_PATH)
        return -ENAMETOOLONG;
    int r = folder_look(folder, path, &st);
    if (r == 0 && !S_ISREG(st.st_mode))
        return -ENOENT;
    return r == -ENOTDIR ? -ENOENT : r;
}

static int try_endings(const struct folder *folder, const char *base, const char *const *endings,
                       char path[HANDLER_PATH]) {
    int r = -ENOENT;
    for (; r == -ENOENT && *endings; endings++)
        r = try_file(folder, base, *endings, path);
    return r;
}

/* An extension module: base.cpython-311-x86_64-linux-gnu.so, base.abi3.so, base.so. */
static int find_extension(const struct folder *folder, const char *base, char path[HANDLER_PATH]) {
    const char *slash = strrchr(base, '/'), *stem = slash ? slash + 1 : base;
    size_t stem_length = strlen(stem);
    char parent[HANDLER_PATH] = ".";
    if (slash)
        snprintf(parent, sizeof parent, "%.*s", (int)(slash - base), base);
    int fd = folder_open(folder, parent, O_RDONLY | O_DIRECTORY);
    _cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    if (!dir && fd >= 0)
        close(fd);
    while (dir && (entry = readdir(dir))) {
        const char *name = entry->d_name;
        if (strncmp(name, stem, stem_length) == 0 && name[stem_length] == '.' &&
            folder_ends_with(name, ".so"))
            return snprintf(path, HANDLER_PATH, "%s/%s", parent, name) < HANDLER_PATH
                       ? 0
                       : -ENAMETOOLONG;
    }
    return -ENOENT;
}

/* pkg/mod.func or pkg.mod.func: the last dot ends the module (as on Lambda). */
static int find_python(const struct folder *folder, const char *handler, char path[HANDLER_PATH],
                       char name[HANDLER_PATH]) {
    static const char *const endings[] = {".py", "/__init__.py", ".pyc", NULL};
    char module[HANDLER_PATH];
    const char *dot = strrchr(handler, '.');
    if (!dot || dot == handler || !dot[1] || !split(handler, dot, module, name))
        return -EINVAL;
    for (char *p = module; *p; p++)
        if (*p == '.')
            *p = '/';
    if (*module == '/' || strstr(module, "//") || module[strlen(module) - 1] == '/')
        return -EINVAL;
    int r = try_endings(folder, module, endings, path);
    return r == -ENOENT ? find_extension(folder, module, path) : r;
}

/* dir/file.export: the first dot of the last part ends the file (as on Lambda). */
static int find_node(const struct folder *folder, const char *handler, char path[HANDLER_PATH],
                     char name[HANDLER_PATH]) {
    static const char *const endings[] = {"",          ".js",           ".mjs", ".cjs",
                                          "/index.js", "/package.json", NULL};
    char module[HANDLER_PATH], package[HANDLER_PATH + 16];
    const char *slash = strrchr(handler, '/'), *file = slash ? slash + 1 : handler;
    const char *dot = strchr(file, '.');
    if (!dot || dot == file || !dot[1] || strstr(handler, "..") ||
        !split(handler, dot, module, name))
        return -EINVAL;
    int r = try_endings(folder, module, endings, path);
    if (r != -ENOENT)
        return r;
    snprintf(package, sizeof package, "node_modules/%s", module);
    return strlen(package) < HANDLER_PATH ? try_endings(folder, package, endings, path) : r;
}

/* file.so or file.so:symbol */
static int find_native(const struct folder *folder, const char *handler, char path[HANDLER_PATH],
                       char name[HANDLER_PATH]) {
    char file[HANDLER_PATH];
    const char *colon = strrchr(handler, ':');
    snprintf(name, HANDLER_PATH, "handler");
    if (!colon)
        return try_file(folder, handler, "", path);
    if (!split(handler, colon, file, name) || !*file || !*name)
        return -EINVAL;
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '_')
            return -EINVAL;
    return try_file(folder, file, "", path);
}

int handler_find(const struct folder *folder, int runtime, const char *handler,
                 char path[HANDLER_PATH], char name[HANDLER_PATH]) {
    path[0] = name[0] = 0;
    switch (runtime) {
    case RUNTIME_PYTHON:
        return find_python(folder, handler, path, name);
    case RUNTIME_NODE:
        return find_node(folder, handler, path, name);
    case RUNTIME_NATIVE:
        return find_native(folder, handler, path, name);
    default:
        return try_file(folder, handler, "", path);
    }
}

/* --- what is wrong with it -------------------------------------------------------------- */

/* One check: everything it needs to say where and what. */
struct check {
    const struct folder *folder;
    const struct function *function;
    struct config_problems *problems;
    const char *file; /* function.ini where the handler is named there, else NULL */
    unsigned line;
    char path[HANDLER_PATH]; /* the handler's file */
};

__attribute__((format(printf, 2, 3))) static void say(const struct check *check, const char *format,
                                                      ...) {
    char text[1200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    config_problem(check->problems, check->file, check->line, "%s", text);
}

/* How the user would name a file of the folder. */
static const char *shown_path(const struct check *check, const char *path,
                              char text[HANDLER_PATH]) {
    const struct folder *folder = check->folder;
    if (check->function->single_file || strcmp(path, ".") == 0)
        snprintf(text, HANDLER_PATH, "%s", folder->shown);
    else
        snprintf(text, HANDLER_PATH, "%s/%s", folder->shown, path);
    return text;
}

static const char *form(int runtime) {
    switch (runtime) {
    case RUNTIME_PYTHON:
        return "module.function, as in app.handler or pkg/app.handler";
    case RUNTIME_NODE:
        return "file.export, as in index.handler or src/index.handler";
    case RUNTIME_NATIVE:
        return "file.so or file.so:symbol";
    default:
        return "a file in the folder";
    }
}

static bool is_script_of(int runtime, const char *name) {
    switch (runtime) {
    case RUNTIME_PYTHON:
        return folder_ends_with(name, ".py");
    case RUNTIME_NATIVE:
        return folder_ends_with(name, ".so");
    case RUNTIME_EXEC:
        return true;
    default:
        return folder_ends_with(name, ".js") || folder_ends_with(name, ".mjs") ||
               folder_ends_with(name, ".cjs");
    }
}
static bool is_python(const struct folder *folder, const char *name, const struct stat *st) {
    (void)folder, (void)st;
    return is_script_of(RUNTIME_PYTHON, name);
}
static bool is_node(const struct folder *folder, const char *name, const struct stat *st) {
    (void)folder, (void)st;
    return is_script_of(RUNTIME_NODE, name);
}
static bool is_native(const struct folder *folder, const char *name, const struct stat *st) {
    (void)folder, (void)st;
    return is_script_of(RUNTIME_NATIVE, name);
}
static bool is_any(const struct folder *folder, const char *name, const struct stat *st) {
    (void)folder, (void)name, (void)st;
    return true;
}

static void say_missing(const struct check *check) {
    int runtime = check->function->runtime;
    struct folder_names names = {0};
    char list[400], shown[UTF8_EXCERPT], path[UTF8_EXCERPT];
    folder_list(check->folder,
                runtime == RUNTIME_PYTHON   ? is_python
                : runtime == RUNTIME_NATIVE ? is_native
                : runtime == RUNTIME_EXEC   ? is_any
                                            : is_node,
                &names);
    folder_names_text(&names, list, sizeof list);
    utf8_excerpt(check->function->handler, shown);
    if (runtime == RUNTIME_PYTHON || runtime == RUNTIME_NODE) {
        char module[HANDLER_PATH];
        const char *slash = strrchr(check->function->handler, '/');
        const char *from = slash ? slash + 1 : check->function->handler;
        const char *dot = runtime == RUNTIME_NODE ? strchr(from, '.') : strrchr(from, '.');
        snprintf(module, sizeof module, "%.*s", (int)(dot - check->function->handler),
                 check->function->handler);
        say(check, "handler `%s`: there is no %s.%s in %s%s%s", shown, utf8_excerpt(module, path),
            runtime == RUNTIME_NODE ? "js (.mjs, .cjs)" : "py", check->folder->shown,
            names.count ? ", which has " : "", list);
    } else {
        say(check, "handler `%s`: there is no such file in %s%s%s", shown, check->folder->shown,
            names.count                 ? ", which has "
            : runtime == RUNTIME_NATIVE ? ": build it first"
                                        : "",
            list);
    }
    folder_names_free(&names);
}

/* The directories on the way to the file; the folder itself is one: it becomes
 * /var/task with the mode that it has here. */
static void check_way(const struct check *check) {
    bool python = check->function->runtime == RUNTIME_PYTHON; /* it lists directories */
    mode_t needed = python ? S_IROTH | S_IXOTH : S_IXOTH;
    char part[HANDLER_PATH] = ".", shown[HANDLER_PATH];
    const char *slash = check->path;
    while (slash) {
        struct stat st;
        if (folder_look(check->folder, part, &st) == 0 && (st.st_mode & needed) != needed)
            say(check, "others, as whom the function runs, cannot enter its folder: chmod o+rx %s",
                shown_path(check, part, shown));
        slash = strchr(slash, '/');
        if (slash) {
            snprintf(part, sizeof part, "%.*s", (int)(slash - check->path), check->path);
            slash++;
        }
    }
}

/* A script's first line: an interpreter that the sandbox has. */
static void check_interpreter(const struct check *check, const char *head) {
    char line[256], shown[HANDLER_PATH];
    shown_path(check, check->path, shown);
    size_t length = strcspn(head + 2, "\n");
    snprintf(line, sizeof line, "%.*s", (int)length, head + 2);
    if (strchr(line, '\r')) {
        say(check, "the #! line of %s ends with a carriage return: save it with LF line ends",
            shown);
        return;
    }
    char *program = line + strspn(line, " \t");
    program[strcspn(program, " \t")] = 0;
    static const char *const places[] = {"/usr/", "/bin/", "/sbin/", "/lib"};
    bool inside = strncmp(program, "/var/task/", 10) == 0, seen = inside;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        seen = seen || strncmp(program, places[i], strlen(places[i])) == 0;
    if (*program != '/')
        say(check, "the #! line of %s names no absolute path, as in #!/bin/sh", shown);
    else if (!seen)
        say(check, "the #! line of %s names %s, but functions see no programs outside /usr", shown,
            program);
    else if (!inside && access(program, F_OK) < 0)
        say(check, "the #! line of %s names %s, which is not there", shown, program);
}

static void check_executable(const struct check *check, const struct stat *st) {
    char shown[HANDLER_PATH];
    shown_path(check, check->path, shown);
    size_t length = 0;
    _cleanup_free_ char *head = folder_read(check->folder, check->path, 255, &length);
    bool script = head && length >= 2 && head[0] == '#' && head[1] == '!';
    bool elf = head && length >= 4 && memcmp(head, "\177ELF", 4) == 0;
    mode_t needed = elf ? S_IXOTH : S_IROTH | S_IXOTH;
    if (!(st->st_mode & 0111))
        say(check, "%s is not executable: chmod +x %s", shown, shown);
    else if ((st->st_mode & needed) != needed)
        say(check, "others, as whom the function runs, cannot execute %s: chmod o+rx %s", shown,
            shown);
    if (head && !elf && !script)
        say(check,
            "%s is neither a program (ELF) nor a script: begin a script with a #! line, as in "
            "#!/bin/sh",
            shown);
    if (script)
        check_interpreter(check, head);
}

static void check_readable(const struct check *check, const struct stat *st) {
    char shown[HANDLER_PATH];
    shown_path(check, check->path, shown);
    if (!(st->st_mode & S_IROTH))
        say(check, "others, as whom the function runs, cannot read %s: chmod o+r %s", shown, shown);
    if (check->function->runtime != RUNTIME_NATIVE)
        return;
    size_t length = 0;
    _cleanup_free_ char *head = folder_read(check->folder, check->path, 4, &length);
    if (head && (length < 4 || memcmp(head, "\177ELF", 4) != 0))
        say(check, "%s is no shared object (ELF): build it with cc -shared -fPIC", shown);
}

void handler_check(const struct folder *folder, const struct function *function, const char *ini,
                   struct config_problems *problems) {
    unsigned line = function->lines.handler;
    struct check check = {.folder = folder,
                          .function = function,
                          .problems = problems,
                          .file = line ? ini : NULL,
                          .line = line};
    char name[HANDLER_PATH], shown[UTF8_EXCERPT];
    struct stat st;
    utf8_excerpt(function->handler, shown);
    int r = handler_find(folder, function->runtime, function->handler, check.path, name);
    if (r == 0)
        r = folder_look(folder, check.path, &st);
    if (r == -EINVAL)
        say(&check, "handler `%s`: expected %s", shown, form(function->runtime));
    else if (r == -ENOENT)
        say_missing(&check);
    else if (r == -EXDEV)
        say(&check, "handler `%s` leads out of the function's folder, which is all that it sees",
            shown);
    else if (r < 0)
        say(&check, "handler `%s`: %s", shown, strerror(-r));
    if (r < 0)
        return;
    if (!function->single_file)
        check_way(&check);
    if (function->runtime == RUNTIME_EXEC)
        check_executable(&check, &st);
    else
        check_readable(&check, &st);
}

/* --- a look into the text ---------------------------------------------------------------- */

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* line begins with word and a blank; *line moves behind. */
static bool take_word(const char **line, const char *end, const char *word) {
    size_t length = strlen(word);
    const char *p = *line;
    if ((size_t)(end - p) <= length || memcmp(p, word, length) != 0 ||
        (p[length] != ' ' && p[length] != '\t'))
        return false;
    for (p += length; p < end && (*p == ' ' || *p == '\t');)
        p++;
    *line = p;
    return true;
}

/* name stands as a word of its own between p and end. */
static bool has_word(const char *p, const char *end, const char *name) {
    size_t length = strlen(name);
    for (const char *start = p; (size_t)(end - p) >= length; p++)
        if (memcmp(p, name, length) == 0 && (p == start || !is_word(p[-1])) &&
            (p + length == end || !is_word(p[length])))
            return true;
    return false;
}

static bool line_defines(const char *line, const char *end, const char *name) {
    size_t length = strlen(name);
    take_word(&line, end, "async");
    if (take_word(&line, end, "from") || take_word(&line, end, "import"))
        return has_word(line, end, name) || memchr(line, '*', (size_t)(end - line));
    if (!take_word(&line, end, "def") && !take_word(&line, end, "class") &&
        !memchr(line, '=', (size_t)(end - line)))
        return false;
    return (size_t)(end - line) > length && memcmp(line, name, length) == 0 &&
           !is_word(line[length]);
}

bool handler_python_defines(const char *text, size_t length, const char *name) {
    const char *end = text + length;
    while (text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop)
            stop = end;
        if (line_defines(text, stop, name))
            return true;
        text = stop + 1;
    }
    return false;
}
