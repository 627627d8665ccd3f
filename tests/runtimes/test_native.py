"""The native runtime's loader, by frames and outside the sandbox."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from fake_runner import EXAMPLES, READY, RESULT, RUNTIMES, SOURCE, event_frame, frame, run

pytestmark = pytest.mark.skipif(shutil.which("cc") is None,
                                reason="no C compiler: apt-get install gcc")
FNRUN_H = SOURCE / "images" / "runtimes" / "native"
PRELUDE = """
#include <fnrun.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#define HANDLER int handler(const struct fnrun_event *event, struct fnrun_result *result)
#define SAY(text) fnrun_result_write(result, text, strlen(text))
"""


@pytest.fixture(scope="session")
def loader(tmp_path_factory):
    """The staged fnrun-native, or one built from the source tree."""
    staged = RUNTIMES / "native" / "fnrun-native"
    if os.environ.get("FNRUN_RUNTIMES"):
        assert staged.exists(), staged
        return staged
    built = tmp_path_factory.mktemp("native") / "fnrun-native"
    subprocess.run(["cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror",
                    f"-I{SOURCE}", "-o", built, *FNRUN_H.glob("*.c"), "-ldl"], check=True)
    return built


@pytest.fixture
def build(tmp_path):
    """build(source, *flags) -> path of the shared object"""

    def compile_it(source, *flags, name="handler.so", compiler="cc"):
        suffix = "cc" if compiler == "c++" else "c"
        (tmp_path / f"source.{suffix}").write_text(PRELUDE + source)
        out = tmp_path / name
        subprocess.run([compiler, "-shared", "-fPIC", f"-I{FNRUN_H}", "-o", out,
                        tmp_path / f"source.{suffix}", *flags], check=True, cwd=tmp_path)
        return out

    return compile_it


@pytest.fixture
def function(loader, build, tmp_path):
    """function(body, before="", **run's) -> Answer of a handler with this body"""

    def call(body, before="", symbol="handler", **options):
        built = build(f"{before}\nHANDLER {{ (void)event; (void)result; {body} }}\n")
        return run([loader, built, symbol], cwd=tmp_path, **options)

    return call


def test_the_example_greets_the_name_of_its_event(loader, tmp_path):
    folder = EXAMPLES / "hello-c"
    built = tmp_path / "handler.so"
    subprocess.run([folder / "build", built], check=True, cwd=tmp_path,
                   env={"PATH": os.environ["PATH"], "CFLAGS": "-Werror"})
    answer = run([loader, built, "handler"], event=(folder / "event.json").read_bytes(),
                 cwd=tmp_path)
    assert answer.frames == [(READY, b""), (RESULT, b'{"message": "Hello, Ada!"}')]
    assert (answer.status, answer.rest, answer.stdout, answer.stderr) == (0, b"", b"", b"")
    for event, name in ((b"{}", "World"), (b'{"name" :\n"a\\"\\u00e9\\\\"}', 'a"é\\'),
                        (b'["name"]', "World"), (b'{"name": 5}', "World"),
                        (b'{"x": "name", "name": "B"}', "B")):
        answer = run([loader, built, "handler"], event=event, cwd=tmp_path)
        assert answer.value == {"message": f"Hello, {name}!"}


def test_ready_comes_before_the_event_has_been_sent(function):
    answer = function('SAY("1"); return 0;', wait_for_ready=True)
    assert answer.frames == [(READY, b""), (RESULT, b"1")]


def test_the_handler_sees_event_request_and_function(function):
    answer = function("""
        char text[500];
        snprintf(text, sizeof text, "[%zu, %zu, \\"%s\\", \\"%s\\", %s]", event->length,
                 strlen(event->data), event->request_id, event->function_name, event->data);
        SAY(text);
        return 0;
        """, event=b'{"a":"\xc3\xa9"}', request_id="r-5")
    assert answer.value == [10, 10, "r-5", "hello", {"a": "é"}]


def test_the_deadline_is_in_unix_time(function):
    body = """
        char text[30];
        snprintf(text, sizeof text, "%lld", (long long)event->deadline_ms);
        SAY(text);
        return 0;
        """
    before = time.time() * 1000
    deadline = function(body, timeout_ms=100_000).value
    assert before + 99_000 <= deadline <= time.time() * 1000 + 100_000
    assert function(body, timeout_ms=None).value == 0


def test_an_event_frame_without_any_key_is_understood(function):
    answer = function('SAY(event->data); SAY(event->request_id); return 0;', request_id=None,
                      timeout_ms=None, event=b'"a\n\nb"')
    assert answer.result == b'"a\n\nb"'


def test_big_events_and_results_go_through_whole(function):
    event = json.dumps("x" * 6_000_000).encode()
    answer = function("return result->write(result, event->data, event->length) +"
                      " result->write(result, event->data, event->length);", event=event)
    assert answer.result == event + event


def test_a_handler_that_writes_nothing_returns_null(function):
    assert function("return 0;").result == b"null"


def test_a_handler_that_fails_names_its_error(function):
    answer = function('return fnrun_result_fail(result, "BadInput", "no name");', request_id="r-2")
    assert answer.ready
    assert answer.error == {"errorMessage": "no name", "errorType": "BadInput",
                            "requestId": "r-2", "stackTrace": []}


def test_a_failure_counts_whatever_the_handler_returns_and_wrote(function):
    answer = function('SAY("1"); fnrun_result_fail(result, "A", "1");'
                      'fnrun_result_fail(result, "B", "2"); return 0;')
    assert (answer.result, answer.error["errorType"]) == (None, "B")


def test_a_return_value_without_fail_is_an_error(function):
    error = function("return 7;").error
    assert (error["errorType"], error["errorMessage"]) == ("Error", "the handler returned 7")


def test_an_error_without_texts_is_an_error(function):
    error = function("return fnrun_result_fail(result, NULL, NULL);").error
    assert (error["errorType"], error["errorMessage"]) == ("Error", "")


@pytest.mark.parametrize("written, read", [
    (r'\"\\\n\t\x01\x7f', '"\\\n\t\x01\x7f'), (r"\xc3\xa9\xf0\x9f\x98\x80", "é\U0001f600"),
    (r"\xff\xc3", "\ufffd\ufffd"), (r"\xed\xa0\x80", "\ufffd" * 3), (r"\xc0\xaf", "\ufffd" * 2),
    (r"\xf4\x90\x80\x80", "\ufffd" * 4), (r"\xe2\x82", "\ufffd" * 2),
    (r"\xe0\x80\x80", "\ufffd" * 3),
])
def test_messages_are_escaped_and_made_utf8(function, written, read):
    answer = function(f'return fnrun_result_fail(result, "T", "{written}");')
    assert answer.error["errorMessage"] == read


def test_a_missing_file_is_an_import_error(loader, tmp_path):
    answer = run([loader, tmp_path / "none.so", "handler"], request_id="early-1", cwd=tmp_path)
    assert not answer.ready
    assert answer.error["errorType"] == "Runtime.ImportModuleError"
    assert answer.error["requestId"] == "early-1"
    assert f"Unable to load '{tmp_path}/none.so': " in answer.error["errorMessage"]
    assert "No such file" in answer.error["errorMessage"]


def test_an_error_before_ready_does_not_wait_for_the_event(loader, tmp_path):
    answer = run([loader, tmp_path / "none.so", "handler"], wait_for_ready=True, cwd=tmp_path)
    assert answer.error["requestId"] == ""


def test_a_file_that_is_no_shared_object_says_how_to_build_one(loader, tmp_path):
    (tmp_path / "handler.so").write_text("int handler;\n" * 100)
    error = run([loader, tmp_path / "handler.so", "handler"], cwd=tmp_path).error
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "cc -shared -fPIC" in error["errorMessage"]


def test_an_undefined_symbol_is_an_import_error_that_names_it(function):
    error = function("return no_such_function();", "int no_such_function(void);").error
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "no_such_function" in error["errorMessage"]
    assert "-lNAME" in error["errorMessage"]


def test_a_missing_library_says_where_to_put_it(loader, build, tmp_path):
    build("int help(void) { return 0; }", name="libhelp.so")
    built = build("int help(void); HANDLER { (void)event; (void)result; return help(); }",
                  "-L.", "-lhelp")
    (tmp_path / "libhelp.so").unlink()
    error = run([loader, built, "handler"], cwd=tmp_path).error
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "libhelp.so" in error["errorMessage"]
    assert "-rpath,'$ORIGIN'" in error["errorMessage"]


def test_a_library_beside_the_handler_is_found_by_its_rpath(loader, build, tmp_path):
    build("int help(void) { return 0; }", name="libhelp.so")
    built = build('int help(void); HANDLER { (void)event; SAY("1"); return help(); }',
                  "-L.", "-lhelp", "-Wl,-rpath,$ORIGIN")
    assert run([loader, built, "handler"], cwd=tmp_path).result == b"1"


def test_a_missing_symbol_is_handler_not_found(function):
    answer = function("return 0;", symbol="main_handler")
    assert not answer.ready
    assert answer.error["errorType"] == "Runtime.HandlerNotFound"
    assert "'main_handler' missing in" in answer.error["errorMessage"]


def test_another_symbol_can_be_the_handler(function):
    answer = function("return 1;", "int other(const struct fnrun_event *event, "
                      'struct fnrun_result *result) { (void)event; SAY("2"); return 0; }',
                      symbol="other")
    assert answer.result == b"2"


def test_a_handler_in_cxx_works(loader, build, tmp_path):
    if shutil.which("c++") is None:
        pytest.skip("no C++ compiler: apt-get install g++")
    built = build('#include <string>\nextern "C" HANDLER { std::string s(event->data); '
                  "return result->write(result, s.data(), s.size()); }", compiler="c++")
    assert run([loader, built, "handler"], event=b"[1]", cwd=tmp_path).result == b"[1]"


def test_what_was_not_flushed_is_in_the_log(function):
    answer = function('printf("out"); fprintf(stderr, "err"); SAY("1"); return 0;')
    assert (answer.result, answer.stdout, answer.stderr) == (b"1", b"out", b"err")


def test_lines_are_in_the_log_of_a_process_that_is_killed(function):
    answer = function('printf("line\\n"); raise(SIGKILL); return 0;')
    assert (answer.frames, answer.stdout) == ([(READY, b"")], b"line\n")
    assert answer.status == -signal.SIGKILL


def test_a_crash_ends_without_an_answer(function):
    answer = function("abort();")
    assert (answer.frames, answer.status) == ([(READY, b"")], -signal.SIGABRT)


def test_exit_ends_without_an_answer(function):
    answer = function("exit(7);")
    assert (answer.frames, answer.status) == ([(READY, b"")], 7)


def test_a_handler_that_closes_the_socket_ends_without_an_answer(function):
    answer = function('close(3); SAY("1"); return 0;')
    assert (answer.frames, answer.status) == ([(READY, b"")], 1)
    assert b"descriptor 3" in answer.stderr


def test_a_forked_child_that_returns_does_not_answer(function):
    answer = function('if (fork() == 0) { SAY("1"); return 0; } wait(NULL); SAY("2"); return 0;')
    assert answer.frames == [(READY, b""), (RESULT, b"2")]


def test_a_forked_child_does_not_hold_the_frame_socket(function):
    answer = function("""
        int status;
        if (fork() == 0) _exit(fcntl(3, F_GETFD) == -1 && errno == EBADF ? 0 : 1);
        wait(&status);
        SAY(status == 0 ? "true" : "false");
        return fcntl(3, F_GETFD) == FD_CLOEXEC ? 0 : 1;
        """)
    assert answer.result == b"true"


def test_a_constructor_that_forks_says_ready_once(function):
    answer = function('SAY("1"); return 0;', "__attribute__((constructor)) static void early(void)"
                      "{ if (fork() > 0) wait(NULL); }")
    assert answer.frames == [(READY, b""), (RESULT, b"1")]


def test_a_runner_that_goes_away_before_the_event_ends_the_process(function):
    for sent in (b"", frame(1)[:5], event_frame(b"1")[:-1], frame(9)):
        answer = function("return 0;", raw=sent)
        assert (answer.frames, answer.status, answer.stderr) == ([(READY, b"")], 1, b"")


def test_wrong_arguments_say_the_usage(loader, tmp_path):
    answer = run([loader], cwd=tmp_path)
    assert answer.status == 2
    assert answer.stderr.startswith(b"usage: fnrun-native FILE.so SYMBOL")


def test_the_loader_needs_no_library_but_libc(loader):
    if shutil.which("readelf") is None:
        pytest.skip("no readelf: apt-get install binutils")
    listed = subprocess.run(["readelf", "-d", loader], check=True, stdout=subprocess.PIPE,
                            text=True).stdout
    needed = [line.split("[")[1].rstrip("]") for line in listed.splitlines() if "(NEEDED)" in line]
    assert all(name.startswith(("libc.", "libdl.")) for name in needed), needed
