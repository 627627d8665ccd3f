#include "images/detect.h"

#include <string.h>

#include "images/handler.h"
#include "images/utf8.h"
#include "isolate/cleanup.h"
#include "images/json.h"

#define MAX_TEXT (1ul << 20) /* of a file that is looked into */

static const char *const index_files[] = {"index.js", "index.mjs", "index.cjs", NULL};
static const char *const python_files[] = {"app.py", "lambda_function.py", NULL};

static bool is_shared_object(const struct folder *folder, const char *name, const struct stat *st) {
    (void)folder, (void)st;
    return folder_ends_with(name, ".so");
}

static bool is_executable(const struct folder *folder, const char *name, const struct stat *st) {
    (void)folder;
    return (st->st_mode & 0111) && !folder_ends_with(name, ".so");
}

/* A script that lacks the bit only. */
static bool is_plain_script(const struct folder *folder, const char *name, const struct stat *st) {
    size_t length = 0;
    if (st->st_mode & 0111)
        return false;
    _cleanup_free_ char *head = folder_read(folder, name, 2, &length);
    return head && length == 2 && memcmp(head, "#!", 2) == 0;
}

static bool is_code(const struct folder *folder, const char *name, const struct stat *st) {
    (void)folder, (void)st;
    return folder_ends_with(name, ".py") || folder_ends_with(name, ".js") ||
           folder_ends_with(name, ".mjs") || folder_ends_with(name, ".cjs");
}

static size_t count_files(const struct folder *folder, const char *const *names) {
    size_t count = 0;
    for (; *names; names++)
        count += folder_has_file(folder, *names);
    return count;
}

static int set_handler(struct function *function, const char *text) {
    free(function->handler);
    function->handler = strdup(text);
    return function->handler ? 0 : -ENOMEM;
}

/* --- the runtime -------------------------------------------------------------------------- */

/* The only runtime whose form and files the named handler fits; else RUNTIME_UNSET. */
static int runtime_of_handler(const struct folder *folder, const char *handler) {
    static const int candidates[] = {RUNTIME_PYTHON, RUNTIME_NODE, RUNTIME_EXEC};
    char path[HANDLER_PATH], name[HANDLER_PATH];
    int found = RUNTIME_UNSET;
    if (handler_find(folder, RUNTIME_NATIVE, handler, path, name) == 0 &&
        folder_ends_with(path, ".so"))
        return RUNTIME_NATIVE;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (handler_find(folder, candidates[i], handler, path, name) < 0)
            continue;
        if (found)
            return RUNTIME_UNSET;
        found = candidates[i];
    }
    return found;
}

static void say_no_runtime(const struct folder *folder, struct config_problems *problems) {
    struct folder_names scripts = {0}, code = {0};
    char list[400];
    folder_list(folder, is_plain_script, &scripts);
    folder_list(folder, is_code, &code);
    if (scripts.count == 1)
        config_problem(problems, folder->shown, 0,
                       "nothing here tells the runtime, and the script %s is not executable: "
                       "chmod +x %s/%s",
                       scripts.names[0], folder->shown, scripts.names[0]);
    else
        config_problem(problems, folder->shown, 0,
                       "nothing here tells the runtime%s%s: expected function.json, package.json "
                       "or index.js, app.py or lambda_function.py, a .so, or one executable; or "
                       "set handler and runtime in [function] of function.ini",
                       code.count ? " of " : "", folder_names_text(&code, list, sizeof list));
    folder_names_free(&scripts);
    folder_names_free(&code);
}

int detect_runtime(const struct folder *folder, struct function *function,
                   struct config_problems *problems) {
    struct folder_names shared = {0}, programs = {0};
    if (function->handler)
        function->runtime = runtime_of_handler(folder, function->handler);
    if (function->runtime != RUNTIME_UNSET)
        return 0;
    if (folder_has_file(folder, "function.json"))
        function->runtime = RUNTIME_AZURE;
    else if (folder_has_file(folder, "package.json") || count_files(folder, index_files))
        function->runtime = RUNTIME_NODE;
    else if (count_files(folder, python_files))
        function->runtime = RUNTIME_PYTHON;
    if (function->runtime != RUNTIME_UNSET)
        return 0;
    int r = folder_list(folder, is_shared_object, &shared);
    if (r == 0 && !shared.count)
        r = folder_list(folder, is_executable, &programs);
    if (shared.count)
        function->runtime = RUNTIME_NATIVE;
    else if (programs.count)
        function->runtime = RUNTIME_EXEC;
    else if (r == 0)
        say_no_runtime(folder, problems);
    else if (r != -ENOMEM)
        config_problem(problems, folder->shown, 0, "the folder cannot be read: %s", strerror(-r));
    folder_names_free(&shared);
    folder_names_free(&programs);
    return r == -ENOMEM ? r : 0;
}

/* --- the handler --------------------------------------------------------------------------- */

/* module.function: `usual`, unless the file defines only the other. */
static int set_python(const struct folder *folder, struct function *function, const char *file,
                      const char *usual, const char *other) {
    size_t length = 0;
    char handler[300];
    _cleanup_free_ char *text = folder_read(folder, file, MAX_TEXT, &length);
    bool swap = text && !handler_python_defines(text, length, usual) &&
                handler_python_defines(text, length, other);
    snprintf(handler, sizeof handler, "%.*s.%s", (int)strlen(file) - 3, file, swap ? other : usual);
    return set_handler(function, handler);
}

static int detect_python(const struct folder *folder, struct function *function,
                         struct config_problems *problems) {
    bool app = folder_has_file(folder, "app.py");
    bool lambda = folder_has_file(folder, "lambda_function.py");
    if (app && lambda)
        config_problem(problems, folder->shown, 0,
                       "app.py and lambda_function.py are both there: set handler in [function] "
                       "of function.ini, as in handler = app.handler");
    else if (app)
        return set_python(folder, function, "app.py", "handler", "lambda_handler");
    else if (lambda)
        return set_python(folder, function, "lambda_function.py", "lambda_handler", "handler");
    else
        config_problem(problems, folder->shown, 0,
                       "there is neither app.py nor lambda_function.py: set handler in [function] "
                       "of function.ini to module.function");
    return 0;
}

/* The script at path as a node handler, file.handler. Its name must have one dot. */
static int set_node(const struct folder *folder, struct function *function, const char *path,
                    const char *said_by, struct config_problems *problems) {
    char file[HANDLER_PATH - 16], handler[HANDLER_PATH], shown[UTF8_EXCERPT];
    struct stat st;
    const char *from = path;
    while (strncmp(from, "./", 2) == 0)
        from += 2;
    size_t length = strlen(from);
    while (length && from[length - 1] == '/')
        length--;
    snprintf(file, sizeof file, "%.*s", (int)length, from);
    bool is_folder = *file && folder_look(folder, file, &st) == 0 && S_ISDIR(st.st_mode);
    for (const char *const *end = (const char *const[]){".js", ".mjs", ".cjs", NULL}; *end; end++) {
        if (!is_folder && folder_ends_with(file, *end)) {
            file[strlen(file) - strlen(*end)] = 0;
            break;
        }
    }
    const char *slash = strrchr(file, '/');
    if ((!is_folder && strchr(slash ? slash + 1 : file, '.')) || strstr(file, "..")) {
        config_problem(problems, said_by, 0,
                       "%s cannot be a handler's file: no further dot may be in its name; rename "
                       "it, or export its handler from index.js",
                       utf8_excerpt(path, shown));
        return 0;
    }
    snprintf(handler, sizeof handler, "%s%s.handler", file,
             is_folder ? "/index"
             : *file   ? ""
                       : "index");
    return set_handler(function, handler);
}

static unsigned line_of(const char *text, size_t offset) {
    unsigned line = 1;
    for (size_t i = 0; i < offset; i++)
        line += text[i] == '\n';
    return line;
}

/* A member of a JSON file that is a string without escapes. *value is NULL when it is
 * not there; the caller frees. Returns whether the file, where there is one, is JSON. */
static bool read_member(const struct folder *folder, const char *file, const char *key,
                        char **value, struct config_problems *problems) {
    struct json_problem problem;
    char shown[HANDLER_PATH];
    size_t length = 0, found_length = 0;
    *value = NULL;
    _cleanup_free_ char *data = folder_read(folder, file, MAX_TEXT, &length);
    if (!data)
        return true;
    const char *text = data;
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* node takes it, too */
        text += 3;
        length -= 3;
    }
    snprintf(shown, sizeof shown, "%s/%s", folder->shown, file);
    if (!json_scan(text, length, &problem)) {
        config_problem(problems, shown, line_of(text, problem.offset), "this is not JSON: %s",
                       problem.what);
        return false;
    }
    const char *found = json_member(text, length, key, &found_length);
    if (found && *found == '"' && !memchr(found, '\\', found_length))
        *value = strndup(found + 1, found_length - 2);
    return true;
}

/* index.js, or .mjs, or .cjs: the one that is there. */
static const char *only_index(const struct folder *folder) {
    for (const char *const *name = index_files; *name; name++)
        if (folder_has_file(folder, *name))
            return *name;
    return NULL;
}

static int detect_node(const struct folder *folder, struct function *function,
                       struct config_problems *problems) {
    _cleanup_free_ char *main = NULL;
    char said_by[HANDLER_PATH];
    size_t count = count_files(folder, index_files);
    if (!read_member(folder, "package.json", "main", &main, problems))
        return 0;
    if (main) {
        snprintf(said_by, sizeof said_by, "%s/package.json", folder->shown);
        return set_node(folder, function, main, said_by, problems);
    }
    if (count == 1)
        return set_node(folder, function, only_index(folder), folder->shown, problems);
    if (!count)
        config_problem(problems, folder->shown, 0,
                       "there is no index.js (.mjs, .cjs) and no main in package.json: set handler "
                       "in [function] of function.ini to file.export");
    else
        config_problem(problems, folder->shown, 0,
                       "%s are there: keep one, or say main in package.json",
                       count == 3                             ? "index.js, index.mjs and index.cjs"
                       : !folder_has_file(folder, "index.js") ? "index.mjs and index.cjs"
                       : folder_has_file(folder, "index.mjs") ? "index.js and index.mjs"
                                                              : "index.js and index.cjs");
    return 0;
}

/* The Azure form names its script in function.json; the handler only shows it. */
static int detect_azure(const struct folder *folder, struct function *function,
                        struct config_problems *problems) {
    _cleanup_free_ char *script = NULL;
    char shown[HANDLER_PATH];
    struct stat st;
    if (!read_member(folder, "function.json", "scriptFile", &script, problems))
        return 0;
    const char *path = script ? script : only_index(folder);
    snprintf(shown, sizeof shown, "%s/function.json", folder->shown);
    int r = path ? folder_look(folder, path, &st) : -ENOENT;
    if (!path)
        config_problem(problems, shown, 0,
                       "there is no index.js beside it: add it, or name the script by scriptFile");
    else if (r == -EXDEV)
        config_problem(problems, shown, 0,
                       "scriptFile `%s` leads out of the function's folder, which is all that it "
                       "sees: move it in",
                       path);
    else if (r < 0 || !S_ISREG(st.st_mode))
        config_problem(problems, shown, 0, "scriptFile `%s`: there is no such file", path);
    else
        return set_handler(function, path);
    return 0;
}

/* The one file that `wanted` takes. what: "executable". */
static int detect_sole(const struct folder *folder, struct function *function, const char *what,
                       bool (*wanted)(const struct folder *, const char *, const struct stat *),
                       struct config_problems *problems) {
    struct folder_names names = {0};
    char list[400];
    int r = folder_list(folder, wanted, &names);
    if (names.count == 1)
        r = set_handler(function, names.names[0]);
    else if (names.count)
        config_problem(problems, folder->shown, 0,
                       "several files could be the function: %s; set handler in [function] of "
                       "function.ini",
                       folder_names_text(&names, list, sizeof list));
    else if (r == 0)
        config_problem(problems, folder->shown, 0,
                       "there is no %s here; `fnrun init` makes a start", what);
    folder_names_free(&names);
    return r == -ENOMEM ? r : 0;
}

int detect_handler(const struct folder *folder, struct function *function, const char *ini,
                   struct config_problems *problems) {
    if (function->runtime == RUNTIME_AZURE && function->lines.handler) {
        config_problem(problems, ini, function->lines.handler,
                       "handler: an Azure function's script is named by scriptFile and entryPoint "
                       "in function.json; remove this line");
        return 0;
    }
    switch (function->runtime) {
    case RUNTIME_PYTHON:
        return detect_python(folder, function, problems);
    case RUNTIME_NODE:
        return detect_node(folder, function, problems);
    case RUNTIME_AZURE:
        return detect_azure(folder, function, problems);
    case RUNTIME_NATIVE:
        return detect_sole(folder, function, "shared object (.so)", is_shared_object, problems);
    default:
        return detect_sole(folder, function, "executable file", is_executable, problems);
    }
}

/* --- a single file ----------------------------------------------------------------------- */

/* A Python file is a program of its own when it is executable, says by what, and
 * defines neither of the two handlers. */
static int detect_python_file(const struct folder *folder, struct function *function,
                              const struct stat *st, struct config_problems *problems) {
    const char *file = function->file;
    size_t length = 0;
    _cleanup_free_ char *text = folder_read(folder, file, MAX_TEXT, &length);
    bool script = text && length > 2 && memcmp(text, "#!", 2) == 0 && (st->st_mode & 0111);
    if (script && !handler_python_defines(text, length, "handler") &&
        !handler_python_defines(text, length, "lambda_handler")) {
        function->runtime = RUNTIME_EXEC;
        return set_handler(function, file);
    }
    function->runtime = RUNTIME_PYTHON;
    if (memchr(file, '.', strlen(file) - 3)) {
        config_problem(problems, folder->shown, 0,
                       "a Python module's name has no dot in it: rename the file");
        return 0;
    }
    return set_python(folder, function, file, "handler", "lambda_handler");
}

int detect_file(const struct folder *folder, struct function *function,
                struct config_problems *problems) {
    const char *file = function->file;
    struct stat st;
    int r = folder_look(folder, file, &st);
    if (r < 0)
        return r;
    if (folder_ends_with(file, ".py"))
        return detect_python_file(folder, function, &st, problems);
    if (is_code(folder, file, &st)) {
        function->runtime = RUNTIME_NODE;
        return set_node(folder, function, file, folder->shown, problems);
    }
    if (folder_ends_with(file, ".so"))
        function->runtime = RUNTIME_NATIVE;
    else if (st.st_mode & 0111)
        function->runtime = RUNTIME_EXEC;
    else
        config_problem(
            problems, folder->shown, 0,
            "this file does not tell how to run it: .py, .js, .mjs, .cjs and .so do, and "
            "any executable file; chmod +x %s if it is a program or a script",
            folder->shown);
    return function->runtime == RUNTIME_UNSET ? 0 : set_handler(function, file);
}
