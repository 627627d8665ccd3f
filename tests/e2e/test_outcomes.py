"""Every way in which a call can end: its error type, its exit status, and a message that
says what to do."""

import shutil
import signal
import time

import outside
import pytest
from harness import LATE, fnrun, fnrun_measured, invoke, limits_option, milliseconds, need_groups, needs_node, running

MB = 1 << 20


# --- loading the handler -----------------------------------------------------------------


def test_a_missing_folder_is_no_such_function(tmp_path):
    invoke(tmp_path / "none").refused(3, "ResourceNotFoundException", str(tmp_path / "none"), "fnrun init")


def test_a_missing_handler_file_is_refused_with_what_is_there(folder):
    function = folder({"app.py": "def handler(event, context): pass\n"}, "[function]\nhandler = main.handler\n")
    invoke(function).refused(3, "function.ini:2:", "main.py", "app.py")


def test_a_missing_handler_function_is_named_with_what_there_is(python):
    text = invoke(python("def handle(event, context): pass\n")).failed(1, "Runtime.HandlerNotFound")
    assert "handler" in text and "app" in text


@needs_node
def test_a_missing_node_export_is_named(folder):
    text = invoke(folder({"index.js": "exports.other = async () => 1;"})).failed(1, "Runtime.HandlerNotFound")
    assert "handler" in text


def test_a_syntax_error_names_file_and_line(python):
    text = invoke(python("x = 1\ndef handler(event, context)\n    return 1\n")).failed(1, "Runtime.UserCodeSyntaxError")
    assert "app.py" in text and "line 2" in text


@needs_node
def test_a_node_syntax_error_is_one(folder):
    invoke(folder({"index.js": "exports.handler = async () => {\n"})).failed(1, "Runtime.UserCodeSyntaxError")


def test_an_import_error_names_the_module(python):
    text = invoke(python("import nosuchmodule\n")).failed(1, "Runtime.ImportModuleError")
    assert "nosuchmodule" in text


def test_an_error_at_import_is_the_functions_own(python):
    result = invoke(python("raise RuntimeError('at import')\n"))
    assert result.status == 1 and "at import" in result.json["errorMessage"], result


def test_loading_that_never_ends_is_stopped_after_init(python):
    result = invoke(python("while True: pass\n", "[limits]\ninit = 500ms\ntimeout = 30s\n"))
    text = result.failed(124, "Runtime.InitTimeout")
    assert "0.50 seconds" in text and "raise `init`" in text
    assert 0.5 <= result.seconds < 0.5 + LATE


def test_loading_time_does_not_count_against_the_timeout(python):
    function = python("import time\ntime.sleep(0.6)\ndef handler(event, context):\n    return 1\n",
                      "[limits]\ntimeout = 400ms\n")
    assert invoke(function).succeeded() == 1


def test_a_process_that_exits_at_import_is_an_exit(python):
    text = invoke(python("import os\nos._exit(3)\n")).failed(1, "Runtime.ExitError")
    assert "exit status 3" in text


def test_an_unreadable_handler_is_refused_with_the_command_that_mends_it(folder):
    function = folder({"app.py": "def handler(event, context): return 1\n"}, modes={"app.py": 0o600})
    invoke(function).refused(3, "chmod o+r", "app.py")


def test_a_folder_for_its_owner_alone_is_refused_with_the_command_that_mends_it(python):
    function = python("def handler(event, context): return 1\n")
    function.chmod(0o700)
    invoke(function).refused(3, "chmod o+rx")


def test_a_script_that_is_not_executable_says_chmod(folder):
    invoke(folder({"run": "#!/bin/sh\necho 1\n"}, modes={"run": 0o644})).refused(3, "chmod +x", "run")


def test_a_script_with_a_missing_interpreter_is_refused(folder):
    invoke(folder({"run": "#!/usr/bin/nosuchshell\n"})).refused(3, "/usr/bin/nosuchshell")


def test_a_script_without_first_line_is_refused(folder):
    invoke(folder({"run": "echo 1\n"}, modes={"run": 0o755})).refused(3, "#!/bin/sh")


def test_a_program_for_another_machine_cannot_be_started(folder):
    if not shutil.which("true"):
        pytest.skip("no true")
    data = bytearray(open(shutil.which("true"), "rb").read())
    data[18:20] = b"\x08\x00"  # e_machine: MIPS
    text = invoke(folder({"run": bytes(data)})).failed(1, "Runtime.InvalidEntrypoint")
    assert "/var/task/run" in text


def test_several_candidates_are_an_error_that_lists_them(folder):
    text = invoke(folder({"one": "#!/bin/sh\n", "two": "#!/bin/sh\n"})).refused(3, "one", "two")
    assert "handler" in text


def test_an_empty_folder_is_refused_with_what_was_expected(folder):
    invoke(folder({})).refused(3, "app.py")


def test_provided_is_said_not_to_be_supported_yet(folder):
    function = folder({"bootstrap": "#!/bin/sh\n"}, "[function]\nruntime = provided\n")
    invoke(function).refused(3, "function.ini:2:", "not supported yet")
    result = fnrun("check", function)
    assert result.status == 3 and "not supported yet" in result.err


def test_a_device_or_socket_is_no_function():
    result = invoke("/dev/null")
    assert result.status == 3 and result.out == b"", result


# --- running it --------------------------------------------------------------------------------


def test_a_handler_that_raises_is_status_1(python):
    assert invoke(python("def handler(event, context):\n    return 1 / 0\n")).failed(1, "ZeroDivisionError")


@pytest.mark.parametrize("value", ["object()", "{1, 2}", "b'x'", "lambda: 0"])
def test_a_python_result_that_is_not_json_is_a_marshal_error(python, value):
    invoke(python(f"def handler(event, context):\n    return {value}\n")).failed(1, "Runtime.MarshalError")


@pytest.mark.parametrize("value", ["float('nan')", "[float('inf')]", "'\\ud800'"])
def test_python_values_that_json_lacks_are_never_let_through_broken(python, value):
    result = invoke(python(f"def handler(event, context):\n    return {value}\n"))
    if result.status == 0:
        result.out.decode("utf-8")
        assert b"NaN" not in result.out and b"Infinity" not in result.out, result
    else:
        result.failed(1, "Runtime.MarshalError")


@needs_node
def test_a_node_result_that_is_not_json_is_a_marshal_error(folder):
    invoke(folder({"index.js": "exports.handler = async () => 10n;"})).failed(1, "Runtime.MarshalError")


@pytest.mark.parametrize("how, part", [
    ("os._exit(0)", "without providing a reason"), ("os._exit(3)", "exit status 3"), ("sys.exit(4)", "4"),
    ("os.kill(os.getpid(), 9)", "signal: killed"), ("os.kill(os.getpid(), 11)", "segmentation fault"),
    ("os.abort()", "aborted"), ("ctypes.string_at(0)", "segmentation fault"),
])
def test_a_process_that_ends_itself_is_an_exit_error_with_the_reason(python, how, part):
    text = invoke(python(f"import ctypes, os, sys\ndef handler(event, context):\n    {how}\n")
                  ).failed(1, "Runtime.ExitError")
    assert part in text


def test_an_exec_that_is_killed_says_by_what(script):
    assert "signal: killed" in invoke(script("kill -9 $$\n")).failed(1, "Runtime.ExitError")
    assert "terminated" in invoke(script("kill -TERM $$\n")).failed(1, "Runtime.ExitError")


def test_a_handler_that_closes_its_descriptors_fails_at_once(python):
    result = invoke(python("import os\ndef handler(event, context):\n    os.closerange(0, 256)\n    return 1\n",
                           "[limits]\ntimeout = 20s\n"))
    result.failed(1, "Runtime.ExitError")
    assert result.seconds < 10


def test_an_exec_that_closes_its_descriptors_and_goes_on_is_ended_by_its_time(script):
    result = invoke(script("exec 0<&- 1>&- 2>&-\nsleep 60\n"), "--timeout", "300ms")
    result.failed(124, "Sandbox.Timedout")
    assert result.seconds < 0.3 + LATE


@pytest.mark.parametrize("frame, part", [
    ("b'\\x63\\0\\0\\0\\0\\0\\0\\0'", "unknown type"), ("b'\\2\\0\\0\\0\\0\\0\\0\\0'", "READY"),
    ("b'GET / HTTP/1.1\\r\\n'", "unknown type"),
])
def test_garbage_on_the_result_channel_is_an_exit_error(python, frame, part):
    function = python(f"import os, time\ndef handler(event, context):\n    os.write(3, {frame})\n    time.sleep(60)\n",
                      "[limits]\ntimeout = 20s\n")
    result = invoke(function)
    assert part in result.failed(1, "Runtime.ExitError")
    assert result.seconds < 10


def test_a_frame_that_announces_four_gigabytes_is_too_large(python):
    function = python("import os, time\ndef handler(event, context):\n"
                      "    os.write(3, b'\\3\\0\\0\\0\\xff\\xff\\xff\\xff')\n    time.sleep(60)\n", "[limits]\ntimeout = 20s\n")
    result = invoke(function)
    assert "4294967295" in result.failed(1, "Function.ResponseSizeTooLarge")


def test_half_a_frame_is_no_result(python):
    function = python("import os\ndef handler(event, context):\n    os.write(3, b'\\3\\0\\0\\0\\x64\\0\\0\\0{')\n    os._exit(0)\n")
    invoke(function).failed(1, "Runtime.ExitError")


def test_a_result_by_hand_that_is_not_json_is_a_marshal_error(python):
    function = python("import os, time\ndef handler(event, context):\n"
                      "    os.write(3, b'\\3\\0\\0\\0\\4\\0\\0\\0{no}')\n    time.sleep(60)\n", "[limits]\ntimeout = 20s\n")
    invoke(function).failed(1, "Runtime.MarshalError")


# --- floods ---------------------------------------------------------------------------------------


FLOOD = """
import os
def handler(event, context):
    line = b"x" * 1023 + b"\\n"
    block = line * 1024
    for _ in range(1024):
        rest = block
        while rest:
            rest = rest[os.write(1, rest):]
    return "done"
"""


def test_a_gigabyte_of_log_is_bounded_and_said_so(python, tmp_path):
    function = python(FLOOD, "[limits]\ntimeout = 50s\nlogs = 64K\n")
    result = fnrun_measured(tmp_path, "invoke", function, *limits_option())
    assert result.status == 0 and result.json == "done", result
    assert len(result.log) <= 64 * 1024 + 100
    assert result.log.endswith("[truncated]\n")
    assert result.peak < 32 * MB


def test_a_gigabyte_as_an_execs_result_is_bounded(script, tmp_path):
    result = fnrun_measured(tmp_path, "invoke", script("head -c 1073741824 /dev/zero\n", "[limits]\ntimeout = 50s\n"), *limits_option())
    result.failed(1, "Function.ResponseSizeTooLarge")
    assert result.peak < 64 * MB


def test_no_log_is_kept_where_none_is_wanted(python):
    result = invoke(python("def handler(event, context):\n    print('x')\n    return 1\n", "[limits]\nlogs = 0\n"))
    assert result.succeeded() == 1
    assert result.log == "[truncated]\n"


# --- being stopped ----------------------------------------------------------------------------------


HANG = "import time\ndef handler(event, context):\n    print('here', flush=True)\n    time.sleep(60)\n"


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_call_and_everything_in_it(python, number, status):
    with running(python(HANG), "--timeout", "50s") as call:
        call.wait_for("here")
        result = call.end(number)
    assert result.status == status, result
    assert result.seconds < LATE


def test_ctrl_c_says_that_the_client_is_gone(python):
    with running(python(HANG), "--timeout", "50s", "--json") as call:
        # --json keeps the log back: the function's process is there to be seen instead.
        deadline = time.monotonic() + 20
        while len(outside.sandboxed(call.pid)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        result = call.end(signal.SIGINT)
    assert result.status == 130
    assert result.json["outcome"] == "Client.Gone"


def test_exit_status_5_where_the_sandbox_cannot_be_made(python):
    need_groups()
    function = python("def handler(event, context): return 1\n")
    fnrun("invoke", function, "--cgroup", "fnrun-no-such-group").refused(5, "ServiceException", "fnrun-no-such-group")


def test_two_is_wrong_usage(python):
    assert fnrun("invoke", "--no-such-option").status == 2


def test_a_late_exit_handler_does_not_hold_the_result_back(python):
    result = invoke(python("import atexit, time\natexit.register(time.sleep, 60)\ndef handler(event, context):\n    return 1\n",
                           "[limits]\ntimeout = 20s\n"))
    assert result.succeeded() == 1
    assert result.seconds < 5
    assert milliseconds(result.report["Duration"]) < 5000
