#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "images/function.h"
#include "isolate/cleanup.h"

/* --- a folder for each test, and a function in it --------------------------------------- */

static char place[64]; /* the working directory; functions are at fn/ in it */

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int make_place(void **state) {
    (void)state;
    strcpy(place, "/tmp/fnrun-test-function-XXXXXX");
    umask(022);
    return mkdtemp(place) && chdir(place) == 0 && mkdir("fn", 0755) == 0 ? 0 : -1;
}

static int remove_place(void **state) {
    (void)state;
    return chdir("/") == 0 ? nftw(place, remove_one, 16, FTW_DEPTH | FTW_PHYS) : -1;
}

static void put_mode(const char *path, const char *text, mode_t mode) {
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
}
static void put(const char *path, const char *text) {
    put_mode(path, text, 0644);
}
#define SCRIPT "#!/bin/sh\n"
#define ELF    "\177ELF..."

struct loaded {
    struct function function;
    struct config_problems problems;
    struct error err;
    char *text;
    int result;
};

static void loaded_free(struct loaded *loaded) {
    function_free(&loaded->function);
    config_problems_free(&loaded->problems);
    free(loaded->text);
}
#define _cleanup_loaded_ _cleanup_(loaded_free)

static struct loaded load(const char *path) {
    struct loaded loaded = {0};
    size_t size;
    loaded.result = function_load(path, &loaded.function, &loaded.problems, &loaded.err);
    FILE *to = open_memstream(&loaded.text, &size);
    assert_non_null(to);
    config_problems_print(&loaded.problems, to);
    fclose(to);
    return loaded;
}

static void assert_loads(const char *path, int runtime, const char *handler) {
    _cleanup_loaded_ struct loaded loaded = load(path);
    assert_string_equal(loaded.text, "");
    assert_int_equal(loaded.result, 0);
    assert_string_equal(function_runtime_name(loaded.function.runtime),
                        function_runtime_name(runtime));
    assert_string_equal(loaded.function.handler, handler);
}

static void assert_problems(const char *path, const char *expected) {
    _cleanup_loaded_ struct loaded loaded = load(path);
    assert_string_equal(loaded.text, expected);
    assert_int_equal(loaded.result, -EINVAL);
}

/* --- what a folder is told by -------------------------------------------------------------- */

static void the_files_tell_the_runtime_in_their_order(void **state) {
    (void)state;
    put_mode("fn/run.sh", SCRIPT, 0755);
    put("fn/README.md", "text");
    assert_loads("fn", RUNTIME_EXEC, "run.sh");
    put("fn/f.so", ELF);
    assert_loads("fn", RUNTIME_NATIVE, "f.so");
    put("fn/app.py", "def handler(event, context):\n    return 1\n");
    assert_loads("fn", RUNTIME_PYTHON, "app.handler");
    put("fn/index.mjs", "export const handler = 1;");
    assert_loads("fn", RUNTIME_NODE, "index.handler");
    put("fn/function.json", "{\"bindings\":[]}");
    assert_loads("fn", RUNTIME_AZURE, "index.mjs");
}

static void the_python_handler_is_the_one_that_is_defined(void **state) {
    (void)state;
    put("fn/app.py", "import json\n\ndef lambda_handler(event, context):\n    return 1\n");
    assert_loads("fn", RUNTIME_PYTHON, "app.lambda_handler");
    put("fn/app.py", "def lambda_handler(e, c): pass\nhandler = lambda_handler\n");
    assert_loads("fn", RUNTIME_PYTHON, "app.handler");
    put("fn/app.py", "def lambda_handler(e, c): pass\ndef handler_of(x): pass\n");
    assert_loads("fn", RUNTIME_PYTHON, "app.lambda_handler");
    put("fn/app.py", "from other import lambda_handler\n");
    assert_loads("fn", RUNTIME_PYTHON, "app.lambda_handler");
    put("fn/app.py", "print('neither')\n");
    assert_loads("fn", RUNTIME_PYTHON, "app.handler");
    unlink("fn/app.py");
    put("fn/lambda_function.py", "def lambda_handler(e, c): pass\n");
    assert_loads("fn", RUNTIME_PYTHON, "lambda_function.lambda_handler");
    put("fn/lambda_function.py", "def handler(e, c): pass\n");
    assert_loads("fn", RUNTIME_PYTHON, "lambda_function.handler");
}

static void several_candidates_are_listed(void **state) {
    (void)state;
    put_mode("fn/b.sh", SCRIPT, 0755);
    put_mode("fn/a.sh", SCRIPT, 0755);
    assert_problems("fn", "fn: several files could be the function: a.sh and b.sh; set handler in "
                          "[function] of function.ini\n");
    put("fn/x.so", ELF);
    put("fn/y.so", ELF);
    put("fn/z.so", ELF);
    assert_problems("fn", "fn: several files could be the function: x.so, y.so and z.so; set "
                          "handler in [function] of function.ini\n");
    put("fn/app.py", "");
    put("fn/lambda_function.py", "");
    assert_problems("fn", "fn: app.py and lambda_function.py are both there: set handler in "
                          "[function] of function.ini, as in handler = app.handler\n");
    put("fn/index.js", "");
    put("fn/index.cjs", "");
    assert_problems("fn", "fn: index.js and index.cjs are there: keep one, or say main in "
                          "package.json\n");
}

static void a_folder_that_tells_nothing_says_what_was_expected(void **state) {
    (void)state;
    assert_problems("fn", "fn: nothing here tells the runtime: expected function.json, "
                          "package.json or index.js, app.py or lambda_function.py, a .so, or one "
                          "executable; or set handler and runtime in [function] of function.ini\n");
    put("fn/main.py", "");
    _cleanup_loaded_ struct loaded loaded = load("fn");
    assert_non_null(strstr(loaded.text, "nothing here tells the runtime of main.py: expected"));
    put("fn/run.sh", SCRIPT);
    assert_problems("fn/", "fn: nothing here tells the runtime, and the script run.sh is not "
                           "executable: chmod +x fn/run.sh\n");
}

static void the_handler_tells_the_runtime_where_the_file_does_not(void **state) {
    (void)state;
    put_mode("fn/main.py", "def handler(e, c): pass\n", 0755);
    put("fn/function.ini", "[function]\nhandler = main.handler\n");
    assert_loads("fn", RUNTIME_PYTHON, "main.handler");
    put("fn/function.ini", "[function]\nhandler = main.py\n");
    put_mode("fn/main.py", SCRIPT, 0755);
    assert_loads("fn", RUNTIME_EXEC, "main.py");
}

static void package_json_names_the_node_file(void **state) {
    (void)state;
    mkdir("fn/src", 0755);
    put("fn/src/app.js", "");
    put("fn/src/index.js", "");
    put("fn/index.js", "");
    put("fn/package.json", "{\"name\":\"x\",\"main\":\"./src/app.js\"}");
    assert_loads("fn", RUNTIME_NODE, "src/app.handler");
    put("fn/package.json", "\xef\xbb\xbf{\"main\":\"src/\"}");
    assert_loads("fn", RUNTIME_NODE, "src/index.handler");
    put("fn/package.json", "{\"name\":\"x\"}");
    assert_loads("fn", RUNTIME_NODE, "index.handler");
    put("fn/package.json", "{\"main\":\"dist/app.js\"}");
    assert_problems("fn", "handler `dist/app.handler`: there is no dist/app.js (.mjs, .cjs) in fn, "
                          "which has index.js\n");
    put("fn/package.json", "{\"main\":\"app.min.js\"}");
    assert_problems("fn", "fn/package.json: app.min.js cannot be a handler's file: no further dot "
                          "may be in its name; rename it, or export its handler from index.js\n");
    put("fn/package.json", "{\n \"main\": oops}");
    assert_problems("fn", "fn/package.json:2: this is not JSON: expected a value\n");
    unlink("fn/index.js");
    put("fn/package.json", "{}");
    assert_problems("fn", "fn: there is no index.js (.mjs, .cjs) and no main in package.json: set "
                          "handler in [function] of function.ini to file.export\n");
}

static void an_azure_function_is_told_by_function_json(void **state) {
    (void)state;
    mkdir("fn/dist", 0755);
    put("fn/dist/run.js", "");
    put("fn/function.json", "{\"scriptFile\":\"dist/run.js\",\"bindings\":[]}");
    put("fn/function.ini", "[function]\nruntime = node\n");
    assert_loads("fn", RUNTIME_AZURE, "dist/run.js");
    put("fn/function.ini", "[function]\nruntime = node\nhandler = dist/run.handler\n");
    assert_problems("fn", "fn/function.ini:3: handler: an Azure function's script is named by "
                          "scriptFile and entryPoint in function.json; remove this line\n");
    unlink("fn/function.ini");
    put("fn/function.json", "{\"scriptFile\":\"../run.js\",\"bindings\":[]}");
    put("run.js", "");
    assert_problems("fn", "fn/function.json: scriptFile `../run.js` leads out of the function's "
                          "folder, which is all that it sees: move it in\n");
    put("fn/function.json", "{\"bindings\":[]}");
    assert_problems("fn", "fn/function.json: there is no index.js beside it: add it, or name the "
                          "script by scriptFile\n");
}

/* --- function.ini and the handler's file ------------------------------------------------------ */

static void function_ini_wins_over_the_files(void **state) {
    (void)state;
    put("fn/index.js", "");
    mkdir("fn/pkg", 0755);
    put("fn/pkg/mod.py", "");
    put("fn/function.ini", "[function]\nname = other\nruntime = python\nhandler = pkg/mod.func\n"
                           "[limits]\nmemory = 64M\n");
    assert_loads("fn", RUNTIME_PYTHON, "pkg/mod.func");
    put("fn/function.ini", "[function]\nname = other\nruntime = python\nhandler = pkg.mod.func\n"
                           "[limits]\nmemory = 64M\n");
    _cleanup_loaded_ struct loaded loaded = load("fn");
    assert_int_equal(loaded.result, 0);
    assert_string_equal(loaded.function.name, "other");
    assert_int_equal(loaded.function.limits.memory, 64 << 20);
    assert_int_equal(loaded.function.limits.timeout_ms, 3000);
    char path[128];
    snprintf(path, sizeof path, "%s/fn", place);
    assert_string_equal(loaded.function.path, path);
    assert_false(loaded.function.single_file);
    assert_null(loaded.function.file);
}

static void a_python_module_may_be_a_package_or_an_extension(void **state) {
    (void)state;
    mkdir("fn/pkg", 0755);
    put("fn/pkg/__init__.py", "");
    put("fn/pkg/fast.cpython-311-x86_64-linux-gnu.so", ELF);
    put("fn/function.ini", "[function]\nruntime = python\nhandler = pkg.run\n");
    assert_loads("fn", RUNTIME_PYTHON, "pkg.run");
    put("fn/function.ini", "[function]\nruntime = python\nhandler = pkg.fast.run\n");
    assert_loads("fn", RUNTIME_PYTHON, "pkg.fast.run");
}

static void a_handler_of_the_wrong_form_is_told_the_right_one(void **state) {
    (void)state;
    static const struct {
        const char *runtime, *handler, *expected;
    } wrong[] = {
        {"python", "app", "module.function, as in app.handler or pkg/app.handler"},
        {"python", "app.", "module.function, as in app.handler or pkg/app.handler"},
        {"python", ".handler", "module.function, as in app.handler or pkg/app.handler"},
        {"python", "/app.handler", "module.function, as in app.handler or pkg/app.handler"},
        {"node", "index", "file.export, as in index.handler or src/index.handler"},
        {"node", "../index.handler", "file.export, as in index.handler or src/index.handler"},
        {"native", "x.so:", "file.so or file.so:symbol"},
        {"native", "x.so:a-b", "file.so or file.so:symbol"},
    };
    put("fn/app.py", "");
    put("fn/index.js", "");
    put("fn/x.so", ELF);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char ini[256], expected[256];
        snprintf(ini, sizeof ini, "[function]\nruntime = %s\nhandler = %s\n", wrong[i].runtime,
                 wrong[i].handler);
        put("fn/function.ini", ini);
        snprintf(expected, sizeof expected, "fn/function.ini:3: handler `%s`: expected %s\n",
                 wrong[i].handler, wrong[i].expected);
        assert_problems("fn", expected);
    }
}

static void a_missing_file_is_told_with_those_that_are_there(void **state) {
    (void)state;
    put("fn/main.py", "");
    put("fn/util.py", "");
    put("fn/function.ini", "[function]\nruntime = python\nhandler = app.handler\n");
    assert_problems("fn", "fn/function.ini:3: handler `app.handler`: there is no app.py in fn, "
                          "which has main.py and util.py\n");
    put("fn/function.ini", "[function]\nruntime = exec\nhandler = run\n");
    assert_problems("fn", "fn/function.ini:3: handler `run`: there is no such file in fn, which "
                          "has main.py and util.py\n");
    put("fn/function.ini", "[function]\nruntime = native\nhandler = f.so\n");
    assert_problems("fn", "fn/function.ini:3: handler `f.so`: there is no such file in fn: build "
                          "it first\n");
}

static void a_handler_does_not_lead_out_of_the_folder(void **state) {
    (void)state;
    put_mode("out.sh", SCRIPT, 0755);
    const char *expected = "fn/function.ini:3: handler `%s` leads out of the function's folder, "
                           "which is all that it sees\n";
    char text[256];
    put("fn/function.ini", "[function]\nruntime = exec\nhandler = ../out.sh\n");
    snprintf(text, sizeof text, expected, "../out.sh");
    assert_problems("fn", text);
    put("fn/function.ini", "[function]\nruntime = exec\nhandler = /bin/sh\n");
    snprintf(text, sizeof text, expected, "/bin/sh");
    assert_problems("fn", text);
    assert_int_equal(symlink("../out.sh", "fn/link"), 0);
    put("fn/function.ini", "[function]\nruntime = exec\nhandler = link\n");
    snprintf(text, sizeof text, expected, "link");
    assert_problems("fn", text);
    put_mode("fn/in.sh", SCRIPT, 0755);
    assert_int_equal(unlink("fn/link"), 0);
    assert_int_equal(symlink("in.sh", "fn/link"), 0);
    assert_loads("fn", RUNTIME_EXEC, "link");
}

static void what_others_cannot_read_is_told_with_the_chmod(void **state) {
    (void)state;
    mkdir("fn/pkg", 0755);
    put_mode("fn/pkg/app.py", "", 0640);
    put("fn/function.ini", "[function]\nruntime = python\nhandler = pkg/app.handler\n");
    assert_problems("fn", "fn/function.ini:3: others, as whom the function runs, cannot read "
                          "fn/pkg/app.py: chmod o+r fn/pkg/app.py\n");
    put_mode("fn/pkg/app.py", "", 0644);
    chmod("fn/pkg", 0700);
    assert_problems("fn", "fn/function.ini:3: others, as whom the function runs, cannot enter its "
                          "folder: chmod o+rx fn/pkg\n");
    chmod("fn/pkg", 0755);
    chmod("fn", 0711);
    assert_problems("fn", "fn/function.ini:3: others, as whom the function runs, cannot enter its "
                          "folder: chmod o+rx fn\n");
    chmod("fn", 0755);
    assert_loads("fn", RUNTIME_PYTHON, "pkg/app.handler");
}

static void a_program_must_be_one_and_be_executable(void **state) {
    (void)state;
    put("fn/function.ini", "[function]\nruntime = exec\nhandler = run\n");
    put_mode("fn/run", ELF, 0711);
    assert_loads("fn", RUNTIME_EXEC, "run");
    put_mode("fn/run", SCRIPT, 0644);
    assert_problems("fn", "fn/function.ini:3: fn/run is not executable: chmod +x fn/run\n");
    put_mode("fn/run", SCRIPT, 0744);
    assert_problems("fn", "fn/function.ini:3: others, as whom the function runs, cannot execute "
                          "fn/run: chmod o+rx fn/run\n");
    put_mode("fn/run", SCRIPT, 0711);
    assert_problems("fn", "fn/function.ini:3: others, as whom the function runs, cannot execute "
                          "fn/run: chmod o+rx fn/run\n");
    put_mode("fn/run", "echo hello\n", 0755);
    assert_problems("fn", "fn/function.ini:3: fn/run is neither a program (ELF) nor a script: "
                          "begin a script with a #! line, as in #!/bin/sh\n");
    put_mode("fn/run", "#!/bin/sh\r\necho\r\n", 0755);
    assert_problems("fn", "fn/function.ini:3: the #! line of fn/run ends with a carriage return: "
                          "save it with LF line ends\n");
    put_mode("fn/run", "#! /usr/bin/no-such-thing -x\n", 0755);
    assert_problems("fn", "fn/function.ini:3: the #! line of fn/run names /usr/bin/no-such-thing, "
                          "which is not there\n");
    put_mode("fn/run", "#!/opt/tool\n", 0755);
    assert_problems("fn", "fn/function.ini:3: the #! line of fn/run names /opt/tool, but functions "
                          "see no programs outside /usr\n");
    put_mode("fn/run", "#!/usr/bin/env sh\n", 0755);
    assert_loads("fn", RUNTIME_EXEC, "run");
}

static void a_shared_object_must_be_one(void **state) {
    (void)state;
    put("fn/f.so", "text");
    assert_problems("fn", "fn/f.so is no shared object (ELF): build it with cc -shared -fPIC\n");
    put("fn/f.so", ELF);
    put("fn/function.ini", "[function]\nruntime = native\nhandler = f.so:go\n");
    assert_loads("fn", RUNTIME_NATIVE, "f.so:go");
}

static void all_problems_come_at_once_in_the_order_of_their_lines(void **state) {
    (void)state;
    put("fn/app.py", "");
    put("fn/function.ini", "[function]\nruntime = python\nhandler = main.handler\n[limits]\n"
                           "memory = 1M\noutput = raw\n[scale]\nwarmup = events\n");
    assert_problems("fn", "fn/function.ini:3: handler `main.handler`: there is no main.py in fn, "
                          "which has app.py\n"
                          "fn/function.ini:5: memory: 4M to 1024G, got `1M`\n"
                          "fn/function.ini:6: output: `raw` is for the runtime exec; the result of "
                          "python is JSON\n"
                          "fn/function.ini:8: warmup: `events` is no file in fn: No such file or "
                          "directory\n");
    put("fn/function.ini", "[function]\nruntime = pyhton\n");
    assert_problems("fn", "fn/function.ini:2: runtime: expected python, node, native or exec, got "
                          "`pyhton`; did you mean python?\n");
}

static void function_ini_that_is_no_file_is_no_wait(void **state) {
    (void)state;
    put("fn/app.py", "");
    assert_int_equal(mkfifo("fn/function.ini", 0644), 0);
    assert_problems("fn", "fn/function.ini: this is no regular file\n");
    unlink("fn/function.ini");
    put("out.ini", "[limits]\nmemory = 64M\n");
    assert_int_equal(symlink("../out.ini", "fn/function.ini"), 0);
    assert_problems("fn", "fn/function.ini: cannot be read: it leads out of the folder\n");
}

/* --- a single file, names, paths ------------------------------------------------------------- */

static void a_single_file_is_told_by_its_name(void **state) {
    (void)state;
    put("hello.py", "def handler(e, c): pass\n");
    assert_loads("hello.py", RUNTIME_PYTHON, "hello.handler");
    put("hello.py", "async def lambda_handler(e, c): pass\n");
    assert_loads("hello.py", RUNTIME_PYTHON, "hello.lambda_handler");
    put_mode("tool.py", "#!/usr/bin/env python3\nprint(1)\n", 0755);
    assert_loads("tool.py", RUNTIME_EXEC, "tool.py");
    put_mode("tool.py", "#!/usr/bin/env python3\nhandler = print\n", 0755);
    assert_loads("tool.py", RUNTIME_PYTHON, "tool.handler");
    put("x.js", "");
    assert_loads("x.js", RUNTIME_NODE, "x.handler");
    put("x.mjs", "");
    assert_loads("./x.mjs", RUNTIME_NODE, "x.handler");
    put("f.so", ELF);
    assert_loads("f.so", RUNTIME_NATIVE, "f.so");
    put_mode("run.sh", SCRIPT, 0755);
    assert_loads("run.sh", RUNTIME_EXEC, "run.sh");
    _cleanup_loaded_ struct loaded loaded = load("fn/../run.sh");
    char path[128];
    snprintf(path, sizeof path, "%s/run.sh", place);
    assert_true(loaded.function.single_file);
    assert_string_equal(loaded.function.file, "run.sh");
    assert_string_equal(loaded.function.path, path);
    assert_string_equal(loaded.function.name, "run");
}

static void a_single_file_that_cannot_run_says_what_to_do(void **state) {
    (void)state;
    put("run.sh", SCRIPT);
    assert_problems("run.sh", "run.sh: this file does not tell how to run it: .py, .js, .mjs, .cjs "
                              "and .so do, and any executable file; chmod +x run.sh if it is a "
                              "program or a script\n");
    put_mode("run.sh", "echo\n", 0755);
    assert_problems("run.sh", "run.sh is neither a program (ELF) nor a script: begin a script with "
                              "a #! line, as in #!/bin/sh\n");
    put("a.b.py", "");
    assert_problems("a.b.py", "a.b.py: a Python module's name has no dot in it: rename the file\n");
    put_mode("app.py", "", 0600);
    assert_problems("app.py", "others, as whom the function runs, cannot read app.py: chmod o+r "
                              "app.py\n");
}

static void the_name_is_made_valid(void **state) {
    (void)state;
    mkdir("my fn.v2", 0755);
    put("my fn.v2/app.py", "");
    _cleanup_loaded_ struct loaded loaded = load("my fn.v2");
    assert_string_equal(loaded.function.name, "my-fn-v2");
    char folder[128], file[140], name[65];
    memset(folder, 'n', 100);
    folder[100] = 0;
    mkdir(folder, 0755);
    snprintf(file, sizeof file, "%s/app.py", folder);
    put(file, "");
    memset(name, 'n', 64);
    name[64] = 0;
    _cleanup_loaded_ struct loaded cut = load(folder);
    assert_string_equal(cut.function.name, name);
    assert_int_equal(chdir("fn"), 0);
    put("app.py", "");
    _cleanup_loaded_ struct loaded here = load(".");
    assert_string_equal(here.function.name, "fn");
}

static void what_is_not_there_is_enoent(void **state) {
    (void)state;
    static const char *const paths[] = {"nothing", "nothing/at/all", ""};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        _cleanup_loaded_ struct loaded loaded = load(paths[i]);
        assert_int_equal(loaded.result, -ENOENT);
        assert_int_equal(loaded.problems.count, 0);
        assert_true(loaded.err.message[0]);
    }
    assert_int_equal(mkfifo("fifo", 0644), 0);
    assert_problems("fifo", "fifo: this is neither a folder nor a file\n");
}

static void a_name_that_nothing_defines_is_a_remark(void **state) {
    (void)state;
    char text[256];
    put("fn/app.py", "def main(e, c): pass\n");
    _cleanup_loaded_ struct loaded without = load("fn");
    assert_int_equal(without.result, 0);
    assert_true(function_remark(&without.function, text, sizeof text));
    assert_string_equal(text,
                        "app.py does not seem to define `handler`, which is what will be called");
    put("fn/app.py", "from other import *\n");
    assert_false(function_remark(&without.function, text, sizeof text));
    put("fn/app.py", "def handler(e, c): pass\n");
    assert_false(function_remark(&without.function, text, sizeof text));
    put("x.js", "exports.main = 1");
    _cleanup_loaded_ struct loaded node = load("x.js");
    assert_true(function_remark(&node.function, text, sizeof text));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_place, remove_place)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_files_tell_the_runtime_in_their_order),
        TEST(the_python_handler_is_the_one_that_is_defined),
        TEST(several_candidates_are_listed),
        TEST(a_folder_that_tells_nothing_says_what_was_expected),
        TEST(the_handler_tells_the_runtime_where_the_file_does_not),
        TEST(package_json_names_the_node_file),
        TEST(an_azure_function_is_told_by_function_json),
        TEST(function_ini_wins_over_the_files),
        TEST(a_python_module_may_be_a_package_or_an_extension),
        TEST(a_handler_of_the_wrong_form_is_told_the_right_one),
        TEST(a_missing_file_is_told_with_those_that_are_there),
        TEST(a_handler_does_not_lead_out_of_the_folder),
        TEST(what_others_cannot_read_is_told_with_the_chmod),
        TEST(a_program_must_be_one_and_be_executable),
        TEST(a_shared_object_must_be_one),
        TEST(all_problems_come_at_once_in_the_order_of_their_lines),
        TEST(function_ini_that_is_no_file_is_no_wait),
        TEST(a_single_file_is_told_by_its_name),
        TEST(a_single_file_that_cannot_run_says_what_to_do),
        TEST(the_name_is_made_valid),
        TEST(what_is_not_there_is_enoent),
        TEST(a_name_that_nothing_defines_is_a_remark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
