"""The language side of the python runtime, by frames and outside the sandbox."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import traceback

import pytest

from fake_runner import EXAMPLES, READY, RESULT, SOURCE, event_frame, frame, run, runtimes

PYTHON = "/usr/bin/python3"
LOG_LINE = r"\[%s\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t%s\t%s\n"


@pytest.fixture
def function(tmp_path):
    """function(source, files={}, handler="app.handler", **run's) -> Answer"""

    def call(source=None, files=None, handler="app.handler", env=None, **options):
        files = dict(files or {})
        if source is not None:
            files["app.py"] = source
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(text, bytes):
                path.write_bytes(text)
            else:
                path.write_text(textwrap.dedent(text))
        env = {"_HANDLER": handler, "LAMBDA_TASK_ROOT": str(tmp_path), **(env or {})}
        return run([PYTHON, runtimes("python/bootstrap.py")], env=env, **options)

    return call


def returns(expression, before=""):
    return f"{before}\ndef handler(event, context):\n    return {expression}\n"


def does(body, before=""):
    return (textwrap.dedent(before) + "\ndef handler(event, context):\n"
            + textwrap.indent(textwrap.dedent(body), "    "))


# --- the example and the frames ----------------------------------------------------


def test_the_example_greets_the_name_of_its_event():
    folder = EXAMPLES / "hello-python"
    answer = run([PYTHON, runtimes("python/bootstrap.py")],
                 event=(folder / "event.json").read_bytes(),
                 env={"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": str(folder)})
    assert answer.frames == [(READY, b""), (RESULT, b'{"message": "Hello, Ada!"}')]
    assert (answer.status, answer.rest, answer.stdout, answer.stderr) == (0, b"", b"", b"")


def test_the_example_greets_the_world_without_a_name():
    answer = run([PYTHON, runtimes("python/bootstrap.py")], event=b"{}",
                 env={"_HANDLER": "app.handler",
                      "LAMBDA_TASK_ROOT": str(EXAMPLES / "hello-python")})
    assert answer.value == {"message": "Hello, World!"}


def test_ready_comes_before_the_event_has_been_sent(function):
    answer = function(returns("event"), event=b"[1]", wait_for_ready=True)
    assert answer.frames == [(READY, b""), (RESULT, b"[1]")]


def test_an_event_of_6_mb_arrives_whole(function):
    event = json.dumps({"text": "é" * 3_000_000}, ensure_ascii=False).encode()
    assert function(returns("len(event['text'])"), event=event).value == 3_000_000


def test_a_result_of_8_mb_is_sent_whole(function):
    assert function(returns("'x' * 8_000_000")).result == b'"' + b"x" * 8_000_000 + b'"'


def test_an_event_frame_without_any_key_is_understood(function):
    answer = function(returns("[event, context.aws_request_id]"), request_id=None,
                      timeout_ms=None, event=b'"a\\n\\nb"')
    assert answer.value == ["a\n\nb", ""]


def test_unknown_keys_of_the_event_frame_are_ignored(function):
    assert function(returns("event"), event=b"1", new_thing="x: y").value == 1


def test_a_runner_that_goes_away_before_the_event_ends_the_process(function):
    for sent in (b"", frame(1)[:5], event_frame(b"1")[:-1], frame(9)):
        answer = function(returns("1"), raw=sent)
        assert (answer.frames, answer.status, answer.stderr) == ([(READY, b"")], 1, b"")


def test_a_frame_that_comes_in_pieces_is_put_together(tmp_path):
    (tmp_path / "app.py").write_text(returns("len(event)"))
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [PYTHON, "-c", "import os, sys; os.dup2(int(sys.argv[1]), 3);"
         "os.execv(sys.executable, [sys.executable, sys.argv[2]])",
         str(theirs.fileno()), runtimes("python/bootstrap.py")],
        pass_fds=[theirs.fileno()],
        env={"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": str(tmp_path)})
    theirs.close()
    data = event_frame(json.dumps("y" * 100_000).encode())
    assert ours.recv(8) == frame(READY)  # it waits in its first read from here on
    for start, end in ((0, 3), (3, 8), (8, 30), (30, 9000), (9000, len(data))):
        ours.sendall(data[start:end])
    assert ours.makefile("rb").read() == frame(RESULT, b"100000")
    assert process.wait() == 0


# --- the context object -------------------------------------------------------------


def test_the_context_has_lambdas_attributes(function):
    answer = function(returns("""{k: getattr(context, k) for k in (
        'aws_request_id', 'function_name', 'function_version', 'invoked_function_arn',
        'memory_limit_in_mb', 'log_group_name', 'log_stream_name', 'client_context',
        'tenant_id')}"""), request_id="8a6b-1", env={"AWS_REGION": "eu-central-1"})
    assert answer.value == {
        "aws_request_id": "8a6b-1", "function_name": "hello", "function_version": "$LATEST",
        "invoked_function_arn": "arn:aws:lambda:eu-central-1:000000000000:function:hello",
        "memory_limit_in_mb": "128", "log_group_name": "/aws/lambda/hello",
        "log_stream_name": "2025/01/01/[$LATEST]0123456789abcdef",
        "client_context": None, "tenant_id": None}


def test_the_identity_is_there_and_empty(function):
    answer = function(returns("[context.identity.cognito_identity_id, "
                              "context.identity.cognito_identity_pool_id]"))
    assert answer.value == [None, None]


def test_the_client_context_has_its_parts(function):
    answer = function(
        returns("[context.client_context.custom, context.client_context.env, "
                "context.client_context.client.app_title, "
                "context.client_context.client.installation_id]"),
        client_context='{"custom":{"a":1},"env":{"b":"2"},"client":{"app_title":"T"}}')
    assert answer.value == [{"a": 1}, {"b": "2"}, "T", None]


@pytest.mark.parametrize("text", ["{", "[]", "7"])
def test_a_client_context_that_is_no_object_is_named(function, text):
    error = function(returns("1"), client_context=text).error
    assert error["errorType"] == "Runtime.LambdaContextUnmarshalError"


def test_the_remaining_time_counts_down_from_the_limit(function):
    answer = function(returns("[context.get_remaining_time_in_millis() for _ in '12']"),
                      timeout_ms=60_000)
    first, second = answer.value
    assert 30_000 < second <= first <= 60_000


def test_the_remaining_time_is_never_negative(function):
    assert function(returns("context.get_remaining_time_in_millis()"), timeout_ms=0).value == 0
    answer = function(does("""
        import time
        until = time.monotonic() + 0.02
        while time.monotonic() < until: pass
        return context.get_remaining_time_in_millis()
        """), timeout_ms=1)
    assert answer.value == 0


def test_context_log_writes_a_line_to_the_log(function):
    answer = function(does("context.log('one'); context.log({'two': 2})"))
    assert answer.stdout == b"one\n{'two': 2}\n"


def test_the_trace_id_is_in_the_environment_of_its_event_only(function):
    source = returns("os.environ.get('_X_AMZN_TRACE_ID')", "import os")
    assert function(source, trace_id="Root=1-2").value == "Root=1-2"
    assert function(source, env={"_X_AMZN_TRACE_ID": "old"}).value is None


# --- JSON in and out ----------------------------------------------------------------


@pytest.mark.parametrize("text", [
    "{}", "[]", "null", "true", "-0.5e3", '"x"', '  [1, {"a": [null]}]\r\n\t',
    "9007199254740993", "123456789012345678901234567890", '"\\ud800"', '"\\u00e9\\n\\ud83d\\ude00"',
    '{"é": "\U0001f600"}', "1e400",
])
def test_events_are_what_json_loads_makes_of_them(function, text):
    answer = function(returns("repr(event)"), event=text.encode())
    assert answer.value == repr(json.loads(text))


@pytest.mark.parametrize("text", [
    b"", b"{", b"[1,]", b'{"a":1} x', b"nul", b"'a'", b"\xff", b"[" * 100_000, b"1 2", b"\x0c1",
])
def test_an_event_that_is_not_json_is_an_unmarshal_error(function, text):
    answer = function(returns("1"), event=text)
    assert answer.ready
    assert answer.error["errorType"] == "Runtime.UnmarshalError"
    assert answer.error["errorMessage"].startswith("Unable to unmarshal input: ")


@pytest.mark.parametrize("expression", [
    "None", "True", "[]", "{}", "''", "0.1", "1e300", "10**30", "(1, 2)", "{1: 2, None: 3}",
    "{'a': [1, {'b': 'é\"\\\\\\n\\x00\\x7f'}]}", "[[[[]]]]", "{2.5: True}",
])
def test_results_are_what_json_dumps_makes_of_them(function, expression):
    assert (function(returns(expression)).result.decode()
            == json.dumps(eval(expression), ensure_ascii=False))


def test_text_is_not_escaped_to_ascii(function):
    assert function(returns("'é\U0001f600'")).result == '"é\U0001f600"'.encode()


def test_lone_surrogates_come_out_escaped(function):
    answer = function(returns("{'\\ud800': 'é\\udfff'}"))
    assert answer.result == '{"\\ud800": "é\\udfff"}'.encode()
    assert answer.value == {"\ud800": "é\udfff"}


def test_decimals_are_numbers_with_all_their_digits(function):
    answer = function(returns(
        "{'a': [D('1.10'), D('123456789012345678901234567890.5')], 'é': 'x', 'c': D('1E+2')}",
        "from decimal import Decimal as D"))
    assert answer.result.decode() == ('{"a": [1.10, 123456789012345678901234567890.5], '
                                      '"é": "x", "c": 1E+2}')


@pytest.mark.parametrize("expression, words", [
    ("{1, 2}", "Object of type set is not JSON serializable"),
    ("object()", "Object of type object is not JSON serializable"),
    ("float('nan')", "not JSON compliant"),
    ("[float('-inf')]", "not JSON compliant"),
    ("[D('NaN')]", "not JSON compliant"),
    ("[D('1'), {2}]", "Object of type set is not JSON serializable"),
    ("{(1, 2): 3}", "keys must be str"),
    ("[b'x']", "Object of type bytes is not JSON serializable"),
    ("loop()", "Circular reference detected"),
    ("deep()", "recursion" if sys.version_info < (3, 14) else "Stack overflow"),
])
def test_a_result_that_is_not_json_is_a_marshal_error(function, expression, words):
    answer = function(returns(expression, textwrap.dedent("""
        from decimal import Decimal as D
        def loop():
            a = []
            a.append(a)
            return a
        def deep():
            a = []
            for _ in range(100000):
                a = [a]
            return a
        """)))
    assert answer.error["errorType"] == "Runtime.MarshalError"
    assert answer.error["errorMessage"].startswith("Unable to marshal response: ")
    assert words in answer.error["errorMessage"]


@pytest.mark.parametrize("expression", ["b'{\"a\":  1}'", "bytearray(b'{\"a\":  1}')"])
def test_a_bytes_result_goes_out_as_it_is(function, expression):
    assert function(returns(expression)).result == b'{"a":  1}'


def test_a_python_whose_json_has_no_c_core_works(function):
    answer = function(returns("[event, D('1.5'), 'é']", textwrap.dedent("""
        import sys
        from decimal import Decimal as D
        sys.modules["_json"] = None
        """)), event=b'{"a": [1]}')
    assert answer.result.decode() == '[{"a": [1]}, 1.5, "é"]'


# --- finding and loading ------------------------------------------------------------


def test_a_handler_in_a_package_is_written_with_a_slash_or_a_dot(function):
    files = {"pkg/sub/mod.py": returns("__name__")}
    assert function(files=files, handler="pkg/sub/mod.handler").value == "pkg.sub.mod"
    assert function(files=files, handler="pkg.sub.mod.handler").value == "pkg.sub.mod"


def test_a_package_in_the_functions_folder_wins_over_the_machines(function):
    answer = function(returns("[colorsys.mine, sys.path[0]]", "import colorsys, sys"),
                      files={"colorsys.py": "mine = 1"})
    assert answer.value[0] == 1


def test_the_runtimes_folder_is_not_on_the_path(function, tmp_path):
    answer = function(returns("sys.path", "import sys"))
    assert answer.value[0] == str(tmp_path)
    assert os.path.dirname(runtimes("python/bootstrap.py")) not in answer.value


def test_path_settings_of_the_user_and_the_system_are_kept(function, tmp_path):
    bare = subprocess.run([PYTHON, "-c", "import sys; print(sys.path[1:])"], check=True,
                          env={"PYTHONPATH": "/opt/mine"}, stdout=subprocess.PIPE).stdout
    answer = function(returns("sys.path", "import sys"), env={"PYTHONPATH": "/opt/mine"})
    assert answer.value == [str(tmp_path), *eval(bare)]


def test_pythonsafepath_does_not_hide_the_function(function, tmp_path):
    answer = function(returns("sys.path[0]", "import sys"), env={"PYTHONSAFEPATH": "1"})
    assert answer.value == str(tmp_path)


def test_a_missing_package_is_an_import_error_that_says_how_to_add_it(function):
    error = function("import no_such_package.part\n").error
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert error["errorMessage"].startswith(
        "Unable to import module 'app': No module named 'no_such_package'")
    assert "pip install --target . no_such_package" in error["errorMessage"]
    assert "line 1, in <module>" in error["stackTrace"][0]


def test_the_package_to_install_is_named_where_it_differs_from_the_import(function):
    error = function("import cv2\n").error
    assert error["errorMessage"].endswith("pip install --target . opencv-python-headless")


def test_a_missing_name_is_an_import_error_without_that_advice(function):
    error = function("from json import no_such_name\n").error
    assert error["errorType"] == "Runtime.ImportModuleError"
    assert "cannot import name 'no_such_name'" in error["errorMessage"]
    assert "pip" not in error["errorMessage"]


def test_a_missing_handler_file_is_an_import_error_that_lists_what_is_there(function):
    answer = function(returns("1"), handler="main.handler", files={"other.py": ""})
    assert answer.error["errorType"] == "Runtime.ImportModuleError"
    assert "no main.py (modules there: app, other)" in answer.error["errorMessage"]
    assert "pip" not in answer.error["errorMessage"]
    assert not answer.ready


def test_an_error_before_ready_names_its_request(function):
    answer = function("import no_such_package\n", request_id="early-1")
    assert answer.error["requestId"] == "early-1"


def test_an_error_before_ready_does_not_wait_for_the_event(function):
    answer = function("1 / 0\n", wait_for_ready=True)
    assert (answer.error["errorType"], answer.error["requestId"]) == ("ZeroDivisionError", "")


def test_a_syntax_error_is_named_with_file_and_line(function, tmp_path):
    answer = function("x = 1\ndef handler(event, context)\n    return 1\n")
    assert answer.error["errorType"] == "Runtime.UserCodeSyntaxError"
    assert answer.error["errorMessage"].startswith("Syntax error in module 'app': ")
    assert "(app.py, line 2)" in answer.error["errorMessage"]
    assert answer.error["stackTrace"] == [
        f'  File "{tmp_path}/app.py" Line 2\n    def handler(event, context)\n']
    assert not answer.ready


@pytest.mark.parametrize("source", [b"\xff\xfe = 1\n", b"if 1:\nx\n", b"# coding: nonesuch\n"])
def test_other_sources_that_cannot_be_compiled_are_syntax_errors(function, source):
    assert function(files={"app.py": source}).error["errorType"] == "Runtime.UserCodeSyntaxError"


def test_a_handler_that_is_missing_lists_the_functions_there(function):
    answer = function("from os.path import join\ndef main(event, context): pass\n")
    assert answer.error["errorType"] == "Runtime.HandlerNotFound"
    assert answer.error["errorMessage"] == (
        "Handler 'handler' missing on module 'app' (functions there: main)")
    assert not answer.ready


def test_a_handler_that_cannot_be_called_is_not_found(function):
    answer = function("handler = 5\n")
    assert answer.error["errorType"] == "Runtime.HandlerNotFound"
    assert "is not a function" in answer.error["errorMessage"]


@pytest.mark.parametrize("handler", ["app", "", ".", "app.", ".handler"])
def test_a_handler_without_module_or_function_is_malformed(function, handler):
    error = function(returns("1"), handler=handler).error
    assert error["errorType"] == "Runtime.MalformedHandlerName"
    assert f"Bad handler '{handler}'" in error["errorMessage"]


@pytest.mark.parametrize("module", ["sys", "time", "os", "codecs"])
def test_a_file_named_like_a_loaded_module_is_a_conflict(function, module):
    answer = function(files={f"{module}.py": returns("1")}, handler=f"{module}.handler")
    assert answer.error["errorType"] == "Runtime.BuiltInModuleConflict"
    assert f"rename {module}.py" in answer.error["errorMessage"]


@pytest.mark.parametrize("module", ["json", "re", "traceback", "logging", "token", "handler"])
def test_a_file_named_like_a_library_module_can_be_the_handler(function, module):
    answer = function(files={f"{module}.py": returns("event")}, handler=f"{module}.handler")
    assert answer.value == {}


def test_files_named_like_library_modules_do_not_break_errors(function):
    broken = "raise RuntimeError('mine')"
    answer = function(does("raise KeyError('x')"), files={
        f"{name}.py": broken for name in ("traceback", "linecache", "re", "json", "types")})
    assert answer.error["errorType"] == "KeyError"


def test_an_error_at_import_has_its_own_type(function, tmp_path):
    answer = function("class Mine(Exception): pass\nraise Mine('no')\n")
    assert not answer.ready
    assert answer.error == {
        "errorMessage": "no", "errorType": "Mine", "requestId": "req-1",
        "stackTrace": [f'  File "{tmp_path}/app.py", line 2, in <module>\n'
                       "    raise Mine('no')\n"]}


# --- errors of the handler ----------------------------------------------------------


def test_an_exception_becomes_an_error_object_with_the_functions_own_frames(function, tmp_path):
    answer = function(does("helper.fail('é')", "import helper"), request_id="r-7",
                      files={"helper.py": "def fail(text):\n    raise ValueError(text)\n"})
    assert answer.ready
    assert answer.error == {
        "errorMessage": "é", "errorType": "ValueError", "requestId": "r-7",
        "stackTrace": [
            f'  File "{tmp_path}/app.py", line 3, in handler\n    helper.fail(\'é\')\n',
            f'  File "{tmp_path}/helper.py", line 2, in fail\n    raise ValueError(text)\n']}
    assert answer.status == 0


def test_an_exception_is_in_the_log_with_its_trace(function):
    log = function(does("raise KeyError('x')")).stdout.decode()
    assert log.startswith("[ERROR] KeyError: 'x'\nTraceback (most recent call last):\n  File ")
    assert log.endswith("    raise KeyError('x')\n")


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4, 50])
def test_traces_are_what_traceback_makes_of_them(function, depth, tmp_path):
    source = f"""
        def down(n):
            if n: down(n - 1)
            else: eval("1 / 0")
        def handler(event, context):
            down({depth})
        """
    answer = function(source)
    scope = {}
    exec(compile((tmp_path / "app.py").read_text(), str(tmp_path / "app.py"), "exec"), scope)
    try:
        scope["handler"](None, None)
    except ZeroDivisionError as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
    expected = traceback.format_list([tuple(one) for one in frames])
    assert answer.error["stackTrace"] == expected


@pytest.mark.parametrize("statement, kind", [
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("raise GeneratorExit('x')", "GeneratorExit"),
    ("raise type('Mine', (BaseException,), {})", "Mine"),
    ("import no_such_package", "ModuleNotFoundError"),
    ("int('x')", "ValueError"),
])
def test_every_exception_is_caught(function, statement, kind):
    assert function(does(statement)).error["errorType"] == kind


@pytest.mark.parametrize("statement, message", [
    ("exit(3)", "exit status 3"), ("raise SystemExit('out')", "exit status 1"),
    ("import sys; sys.exit()", "without providing a reason"), ("exit(-1)", "exit status 255"),
])
@pytest.mark.parametrize("where", ["handler", "import"])
def test_sys_exit_is_an_exit_error(function, statement, message, where):
    source = does(statement) if where == "handler" else statement
    answer = function(source, request_id="r-1")
    assert answer.error["errorType"] == "Runtime.ExitError"
    assert answer.error["errorMessage"].startswith("RequestId: r-1 Error: Runtime exited with")
    assert answer.error["errorMessage"].endswith(message)
    assert (b"out\n" in answer.stderr) == ("out" in statement)


def test_endless_recursion_is_an_error_object(function):
    answer = function("def handler(event, context):\n    return handler(event, context)\n")
    assert answer.error["errorType"] == "RecursionError"
    assert "Previous line repeated" in answer.error["stackTrace"][-1]


def test_running_out_of_memory_is_an_error_object(function):
    answer = function(does("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
        held = []
        for size in (1 << 20, 1 << 10, 16):
            try:
                while True:
                    held.append(bytearray(size))
            except MemoryError:
                pass
        held.append([0] * (1 << 24))
        """))
    assert answer.error["errorType"] == "MemoryError"


def test_an_exception_whose_text_cannot_be_made_is_still_named(function):
    answer = function(does("raise Mine", """
        class Mine(Exception):
            def __str__(self):
                return 1 / 0
        """))
    assert answer.error["errorType"] == "Mine"
    assert "ZeroDivisionError" in answer.error["errorMessage"]


def test_an_exception_with_lone_surrogates_is_an_error_object(function):
    assert function(does("raise ValueError('\\ud800')")).error["errorMessage"] == "\ud800"


def test_a_coroutine_is_no_result(function):
    answer = function("async def handler(event, context):\n    return 1\n")
    assert answer.error["errorType"] == "Runtime.MarshalError"


# --- the log ------------------------------------------------------------------------


def test_what_was_not_flushed_is_in_the_log(function):
    answer = function(does("print('out', end=''); sys.stderr.write('err')", "import sys"))
    assert (answer.stdout, answer.stderr) == (b"out", b"err")


def test_lines_are_in_the_log_of_a_process_that_is_killed(function):
    answer = function(does("print('line'); os.kill(os.getpid(), 9)", "import os"))
    assert (answer.stdout, answer.status) == (b"line\n", -signal.SIGKILL)
    assert answer.frames == [(READY, b"")]


def test_what_c_code_holds_is_in_the_log(function):
    answer = function(does("ctypes.CDLL(None).printf(b'from C')", "import ctypes"))
    assert answer.stdout == b"from C"


def test_what_a_vendored_extension_prints_is_in_the_log(function, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: apt-get install gcc")
    source = tmp_path / "talk.c"
    source.write_text("""
        #include <stdio.h>
        void *PyModule_Create2(void *definition, int version);
        /* struct PyModuleDef of the stable ABI; Python.h may not be installed. */
        static void *definition[16] = {(void *)1, 0, 0, 0, 0, "talk", 0, (void *)-1};
        void *PyInit_talk(void) { printf("from C"); return PyModule_Create2(definition, 1013); }
        """)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "talk.so", source], check=True)
    assert function(returns("1", "import talk")).stdout == b"from C"


def test_unprintable_text_does_not_fail_the_handler(function):
    answer = function(does("print('\\ud800é'); return 1"))
    assert (answer.result, answer.stdout) == (b"1", "\\ud800é\n".encode())


def test_logging_writes_lambdas_lines(function):
    answer = function(does("""
        logging.warning("one %s", 1)
        logging.info("below the level")
        logging.getLogger("mine").error("two")
        """, "import logging\nlogging.warning('early')"), request_id="r-9")
    assert re.fullmatch(LOG_LINE % ("WARNING", "", "early") + LOG_LINE % ("WARNING", "r-9", "one 1")
                        + LOG_LINE % ("ERROR", "r-9", "two"), answer.stdout.decode())
    assert answer.stderr == b""


def test_the_level_of_the_root_logger_is_the_functions_to_set(function):
    answer = function(does("import logging; logging.getLogger().setLevel('INFO'); "
                           "logging.info('yes')"))
    assert re.fullmatch(LOG_LINE % ("INFO", "req-1", "yes"), answer.stdout.decode())


def test_basicconfig_changes_nothing_as_on_lambda(function):
    answer = function(does("logging.warning('x')",
                           "import logging\nlogging.basicConfig(format='mine %(message)s')"))
    assert re.fullmatch(LOG_LINE % ("WARNING", "req-1", "x"), answer.stdout.decode())


def test_an_exception_that_is_logged_has_its_trace_below(function):
    answer = function(does("""
        try:
            1 / 0
        except ZeroDivisionError:
            logging.exception("failed")
        """, "import logging"))
    assert re.match(LOG_LINE % ("ERROR", "req-1", "failed") + "Traceback", answer.stdout.decode())


def test_logging_that_sitecustomize_has_loaded_is_set_up_too(function):
    answer = function(does("import logging; logging.warning('x')"),
                      files={"site/sitecustomize.py": "import logging"}, env={"PYTHONPATH": "site"})
    assert re.fullmatch(LOG_LINE % ("WARNING", "req-1", "x"), answer.stdout.decode())


def test_logging_that_is_only_looked_for_is_still_set_up_when_it_is_imported(function):
    answer = function(does("""
        importlib.util.find_spec("logging")
        import logging
        logging.warning("x")
        """, "import importlib.util"))
    assert re.fullmatch(LOG_LINE % ("WARNING", "req-1", "x"), answer.stdout.decode())


# --- threads, processes, leaving ----------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works(function, method):
    answer = function(f"""
        import multiprocessing
        def double(n):
            return 2 * n
        def handler(event, context):
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                return pool.map(double, [1, 2, 3])
        """)
    assert answer.value == [2, 4, 6]
    assert len(answer.frames) == 2


def test_a_forked_child_that_returns_does_not_answer(function):
    answer = function(does("""
        if os.fork() == 0:
            return "child"
        os.wait()
        return "parent"
        """, "import os"))
    assert answer.frames == [(READY, b""), (RESULT, b'"parent"')]


def test_a_forked_child_that_raises_does_not_answer(function):
    answer = function(does("""
        if os.fork() == 0:
            raise KeyError("child")
        return os.wait()[1]
        """, "import os"))
    assert answer.value == 1 << 8
    assert b"KeyError: 'child'" in answer.stderr


def test_a_module_that_forks_while_it_is_loaded_says_ready_once(function):
    answer = function(returns("1", "import os\nif os.fork() > 0:\n    os.wait()\n"))
    assert answer.frames == [(READY, b""), (RESULT, b"1")]


def test_a_child_program_does_not_get_the_frame_socket(function):
    answer = function(does("return subprocess.run(['ls', '/proc/self/fd'], close_fds=False, "
                           "stdout=subprocess.PIPE, text=True).stdout.split()",
                           "import subprocess"))
    assert answer.value == ["0", "1", "2", "3"]  # 3 is ls reading the folder
    answer = function(does("return os.get_inheritable(3)", "import os"))
    assert answer.value is False


def test_threads_end_and_exit_functions_run_after_the_result(function):
    answer = function(does("""
        def work():
            threading.main_thread().join()
            print("thread")
        threading.Thread(target=work).start()
        atexit.register(print, "atexit")
        print("handler")
        return 1
        """, "import atexit, threading"))
    assert (answer.result, answer.stdout) == (b"1", b"handler\nthread\natexit\n")


def test_the_log_is_flushed_before_the_result_is_sent(function):
    answer = function(does("""
        print("before", end="")
        atexit.register(os.kill, os.getpid(), 9)
        return 1
        """, "import atexit, os"))
    assert (answer.result, answer.stdout, answer.status) == (b"1", b"before", -signal.SIGKILL)


def test_an_exit_function_that_raises_changes_nothing(function):
    answer = function(does("atexit.register(lambda: 1 / 0)", "import atexit"))
    assert (answer.result, answer.status) == (b"null", 0)
    assert b"ZeroDivisionError" in answer.stderr


@pytest.mark.parametrize("statement", [
    "sys.stdout.close()", "sys.stdout = None", "sys.stdout = object()", "os.close(1); os.close(2)",
    "del sys.stdout", "sys.modules.clear()",
])
def test_a_handler_that_breaks_its_stdout_is_answered(function, statement):
    source = does(statement + "\nif event: raise KeyError('x')", "import os, sys")
    assert function(source, event=b"0").result == b"null"
    assert function(source, event=b"1").error["errorType"] == "KeyError"


def test_a_handler_that_closes_the_socket_ends_without_an_answer(function):
    answer = function(does("os.close(3)", "import os"))
    assert (answer.frames, answer.status) == ([(READY, b"")], 1)
    assert b"descriptor 3" in answer.stderr


def test_os_exit_ends_without_an_answer(function):
    answer = function(does("os._exit(7)", "import os"))
    assert (answer.frames, answer.status) == ([(READY, b"")], 7)


# --- start-up -----------------------------------------------------------------------


def test_nothing_is_imported_that_a_bare_interpreter_has_not(function):
    bare = subprocess.run([PYTHON, "-c", "import sys; print(*sys.modules)"], check=True,
                          env={"LANG": "C.UTF-8"}, stdout=subprocess.PIPE, text=True).stdout
    answer = function(does("return sorted(sys.modules)", "import sys"))
    more = set(answer.value) - set(bare.split())
    assert more == {"fnrun_frames", "fnrun_handler", "app", "_json"}


def test_bootstrap_is_small_since_it_is_compiled_at_every_start():
    with open(runtimes("python/bootstrap.py")) as source:
        assert len(source.readlines()) < 10


def test_a_folder_that_cannot_be_written_gets_no_compiled_files(function, tmp_path):
    assert function(returns("1", "import helper"), files={"helper.py": ""}).value == 1
    assert not list(tmp_path.rglob("*.pyc"))


def test_the_tests_run_the_runtime_of_this_tree_or_the_staged_one():
    assert os.path.exists(runtimes("python/bootstrap.py"))
    assert (SOURCE / "images" / "runtimes" / "python" / "bootstrap.py").exists()
