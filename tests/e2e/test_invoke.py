"""What a call prints and answers: streams, REPORT, --json, options; the runtimes as
their functions see them."""

import json
import re
import shutil
import subprocess

import pytest
from harness import (EXAMPLES, PROBES, SOURCE, UUID, fnrun, invoke, limits_option, megabytes, milliseconds, need_groups,
                     needs_node)

HELLO = "def handler(event, context):\n    print('in the log')\n    return {'got': event}\n"


# --- streams ---------------------------------------------------------------------------


def test_the_result_is_on_stdout_and_nothing_else_there(python):
    result = invoke(python(HELLO), event={"n": 1})
    assert result.status == 0
    assert result.out == b'{"got": {"n": 1}}'


def test_the_log_is_on_stderr_before_the_report(python):
    result = invoke(python(HELLO))
    lines = result.err.splitlines()
    assert lines[0] == "in the log" and lines[-1].startswith("REPORT ")


def test_the_report_has_the_fields_that_lambda_has(python):
    result = invoke(python(HELLO), "--memory", "192M")
    report = result.report
    assert re.fullmatch(UUID, report["RequestId"])
    assert list(report)[:4] == ["RequestId", "Duration", "Billed Duration", "Memory Size"]
    assert milliseconds(report["Duration"]) <= milliseconds(report["Billed Duration"])
    assert report["Billed Duration"] == f"{int(milliseconds(report['Billed Duration']))} ms"
    assert report["Memory Size"] == "192 MB"
    assert milliseconds(report["Init Duration"]) > 0
    assert "Status" not in report


def test_the_report_has_the_peak_of_memory(python):
    need_groups()
    result = invoke(python("def handler(event, context):\n    return len(bytearray(b'x') * (60 << 20))\n"))
    assert 60 <= megabytes(result.report["Max Memory Used"]) <= 128


def test_the_report_has_the_cpu_time_of_children_too(script):
    need_groups()
    result = invoke(script("sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done'\n"), "--timeout", "30s")
    cpu = milliseconds(result.report["CPU Time"])
    assert cpu > 0.3 * milliseconds(result.report["Duration"])


def test_a_failure_says_so_in_the_report(python):
    result = invoke(python("def handler(event, context):\n    raise KeyError('x')\n"))
    assert result.report["Status"] == "error"


def test_billed_time_is_the_handlers_and_not_its_loading(python):
    result = invoke(python("import time\ntime.sleep(0.5)\ndef handler(event, context):\n    return 1\n"))
    assert milliseconds(result.report["Init Duration"]) >= 500
    assert milliseconds(result.report["Duration"]) < 400


def test_json_prints_one_object(python):
    result = invoke(python(HELLO), "--json", event={"n": 1})
    assert result.status == 0 and result.err == "", result
    answer = result.json
    assert list(answer) == ["requestId", "outcome", "result", "log", "report"]
    assert re.fullmatch(UUID, answer["requestId"])
    assert answer["outcome"] == "Success"
    assert answer["result"] == {"got": {"n": 1}}
    assert answer["log"] == "in the log\n"
    assert answer["report"]["memorySizeMB"] == 128 and answer["report"]["durationMs"] >= 0


def test_json_of_a_failure_has_its_outcome_and_exit_status(python):
    function = python("def handler(event, context):\n    raise ValueError('no')\n")
    result = invoke(function, "--json")
    assert result.status == 1
    assert result.json["outcome"] == "Unhandled"
    assert result.json["result"]["errorType"] == "ValueError"
    result = invoke(python("import time\ndef handler(event, context):\n    time.sleep(9)\n"), "--json", "--timeout", "200ms")
    assert result.status == 124 and result.json["outcome"] == "Sandbox.Timedout"


def test_json_keeps_the_bytes_of_the_result(script):
    result = invoke(script("cat\n"), "--json", event='{"z": 9007199254740993}')
    assert b'"result":{"z": 9007199254740993}' in result.out


def test_quiet_prints_nothing_but_the_result(python):
    result = invoke(python(HELLO), "--quiet", event=1)
    assert (result.out, result.err) == (b'{"got": 1}', "")
    result = invoke(python("def handler(event, context):\n    raise ValueError('no')\n"), "-q")
    assert result.status == 1 and result.err == ""
    assert result.failed(1, "ValueError") == "no"


def test_log_level_warn_leaves_the_report_out(python):
    result = invoke(python(HELLO), "--log-level", "warn")
    assert "REPORT" not in result.err
    result = invoke(python(HELLO), env={"FNRUN_LOG_LEVEL": "warn"})
    assert "REPORT" not in result.err


def test_env_gives_variables_to_this_call(python):
    function = python("import os\ndef handler(event, context):\n"
                      "    return {name: os.environ.get(name) for name in event}\n",
                      "[environment]\nA = ini\nB = ini\nC = a; no comment ; a comment\nQ = \"  quoted  \"\n")
    result = invoke(function, "--env", "B=call=x", "-e", "D", "--env", "E", event=["A", "B", "C", "D", "E", "Q"],
                    env={"D": "callers"})
    assert result.succeeded() == {"A": "ini", "B": "call=x", "C": "a; no comment", "D": "callers", "E": None,
                                  "Q": "  quoted  "}


@pytest.mark.parametrize("name", ["AWS_LAMBDA_FUNCTION_NAME", "_HANDLER", "FNRUN_X"])
def test_env_cannot_set_what_fnrun_sets(python, name):
    invoke(python(HELLO), "--env", f"{name}=1").refused(3, name)


def test_timeout_and_memory_can_be_raised_and_lowered_for_a_call(python):
    function = python("def handler(event, context):\n"
                      "    return [context.memory_limit_in_mb, context.get_remaining_time_in_millis()]\n",
                      "[limits]\nmemory = 128M\ntimeout = 3s\n")
    memory, left = invoke(function, "--memory", "64M", "--timeout", "1s").succeeded()
    assert int(memory) == 64 and 0 < left <= 1000
    memory, left = invoke(function, "--memory=1G", "--timeout=1m").succeeded()
    assert int(memory) == 1024 and 3000 < left <= 60_000
    memory, left = invoke(function).succeeded()
    assert int(memory) == 128 and 1000 < left <= 3000


@pytest.mark.parametrize("option, value", [("--timeout", "5"), ("--timeout", "-1s"), ("--timeout", "0s"), ("--timeout", "9999h"),
                                           ("--memory", "1K"), ("--memory", "lots"), ("--memory", "-64M")])
def test_wrong_values_of_options_are_wrong_usage(python, option, value):
    invoke(python(HELLO), f"{option}={value}").refused(2, option, value)


# --- what can be called ----------------------------------------------------------------------


def test_a_single_python_file_is_a_function(python, tmp_path):
    function = python(HELLO)
    (function / "secret.txt").write_text("beside it\n")
    assert invoke(function / "app.py", event=1).succeeded() == {"got": 1}
    assert invoke("app.py", event=1, cwd=function).succeeded() == {"got": 1}
    listing = python("import os\ndef handler(event, context):\n    return os.listdir('/var/task')\n", name="alone")
    (listing / "beside.txt").write_text("x")
    assert invoke(listing / "app.py").succeeded() == ["app.py"]


def test_a_single_script_is_a_function(script):
    function = script('printf \'{"pwd":"%s"}\' "$PWD"\n')
    assert invoke("./run", cwd=function).succeeded() == {"pwd": "/var/task"}


@needs_node
def test_a_single_node_file_is_a_function(folder):
    function = folder({"index.mjs": "export const handler = async (event) => ({ got: event });\n"})
    assert invoke(function / "index.mjs", event=1).succeeded() == {"got": 1}


def test_a_folder_through_a_link_and_with_a_slash_is_the_same(python, tmp_path):
    function = python(HELLO)
    (tmp_path / "link").symlink_to(function)
    assert invoke(tmp_path / "link", event=1).succeeded() == {"got": 1}
    assert invoke(f"{function}/", event=1).succeeded() == {"got": 1}
    assert invoke(".", event=1, cwd=function).succeeded() == {"got": 1}


def test_the_runtime_is_told_by_the_files_in_order(folder):
    py, js = HELLO, "exports.handler = async () => 'node';\n"
    azure = "module.exports = async () => ({ body: 'azure' });\n"
    trigger = '{"bindings":[{"type":"httpTrigger","direction":"in","name":"req"},{"type":"http","direction":"out","name":"$return"}]}'
    script_text = "#!/bin/sh\necho 1\n"
    expected = [({"function.json": trigger, "index.js": azure, "app.py": py, "run": script_text}, "node (Azure form)"),
                ({"index.js": js, "app.py": py, "run": script_text}, "node"),
                ({"package.json": '{"main":"lib/main.js"}', "lib/main.js": js, "app.py": py}, "node"),
                ({"app.py": py, "run": script_text, "x.so": b"\x7fELF"}, "python"),
                ({"lambda_function.py": "def lambda_handler(event, context):\n    return 1\n", "run": script_text}, "python"),
                ({"handler.so": b"\x7fELF", "run": script_text}, "native"),
                ({"run": script_text, "data.json": "{}"}, "exec")]
    for number, (files, runtime) in enumerate(expected):
        answer = fnrun("check", "--json", folder(files, name=f"f{number}"))
        assert answer.json["ok"], answer
        found = answer.json["function"]["runtime"]
        assert found == runtime, (files, found)


# --- python ----------------------------------------------------------------------------------


def test_python_gets_a_lambda_context_and_environment(folder):
    function = folder({"app.py": (PROBES / "context.py").read_text()}, "[limits]\nmemory = 256M\ntimeout = 7s\n", name="ctx")
    result = invoke(function)
    seen = result.succeeded()
    request = seen["aws_request_id"]
    assert re.fullmatch(UUID, request) and request == result.report["RequestId"]
    assert seen["function_name"] == "ctx" and seen["function_version"] == "$LATEST"
    assert str(seen["memory_limit_in_mb"]) == "256"
    assert seen["log_group_name"] == "/aws/lambda/ctx" and seen["log_stream_name"]
    assert re.fullmatch(r"arn:aws:lambda:[a-z0-9-]+:\d{12}:function:ctx(:.*)?", seen["invoked_function_arn"])
    assert 0 < seen["remaining"] <= 7000
    env = seen["environ"]
    assert env["AWS_LAMBDA_FUNCTION_NAME"] == "ctx" and env["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "256"
    assert env["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST" and env["LAMBDA_TASK_ROOT"] == "/var/task"
    assert env["_HANDLER"] == "app.handler" and env["TZ"] == ":UTC"
    assert env["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/ctx"


def test_python_logs_by_print_and_logging_unflushed_included(python):
    result = invoke(python("""
import logging, sys
logging.getLogger().setLevel("INFO")
def handler(event, context):
    print("printed")
    logging.info("by logging")
    sys.stdout.write("not flushed, no newline")
    return 1
"""))
    request = result.report["RequestId"]
    assert "printed\n" in result.log and "not flushed, no newline" in result.log
    assert re.search(rf"\[INFO\]\t\S+Z\t{request}\tby logging\n", result.log), result


def test_python_prints_while_it_runs_and_before_it_dies(python):
    result = invoke(python("import os\ndef handler(event, context):\n    print('first'); print('last words', flush=True)\n"
                           "    os._exit(4)\n"))
    assert "first\nlast words\n" in result.log
    assert "exit status 4" in result.failed(1, "Runtime.ExitError")


def test_python_errors_are_lambdas(python):
    result = invoke(python("class Odd(Exception):\n    pass\ndef handler(event, context):\n    raise Odd('why')\n"))
    assert result.failed(1, "Odd") == "why"
    error = result.json
    assert set(error) == {"errorMessage", "errorType", "requestId", "stackTrace"}
    assert error["requestId"] == result.report["RequestId"]
    assert any("app.py" in frame and "line 4" in frame for frame in error["stackTrace"])
    assert "Traceback" in result.log and "Odd: why" in result.log


def test_python_takes_a_vendored_package_before_the_machines(folder):
    function = folder({"app.py": "import json, yaml, pytest\ndef handler(event, context):\n    return [yaml.MINE, pytest.MINE]\n",
                       "yaml/__init__.py": "MINE = 'vendored'\n", "pytest.py": "MINE = 'too'\n"})
    assert invoke(function).succeeded() == ["vendored", "too"]


def test_python_says_how_to_add_a_missing_package(python):
    text = invoke(python("import no_such_package\ndef handler(event, context):\n    return 1\n")
                  ).failed(1, "Runtime.ImportModuleError")
    assert "no_such_package" in text and "pip" in text and "-t" in text


def test_python_handlers_can_be_in_a_package(folder):
    function = folder({"src/app/main.py": "from . import more\ndef go(event, context):\n    return more.X\n",
                       "src/app/more.py": "X = 5\n", "src/app/__init__.py": ""},
                      "[function]\nhandler = src.app.main.go\n")
    assert invoke(function).succeeded() == 5


def test_a_python_handler_may_use_threads_and_processes(python):
    result = invoke(python("""
import concurrent.futures as futures, multiprocessing, subprocess
def square(n):
    return n * n
def handler(event, context):
    with futures.ThreadPoolExecutor(4) as pool:
        threads = list(pool.map(square, range(8)))
    with multiprocessing.Pool(2) as pool:
        processes = pool.map(square, range(8))
    return [threads == processes, subprocess.check_output(["echo", "hi"], text=True)]
"""))
    assert result.succeeded() == [True, "hi\n"]


# --- node ---------------------------------------------------------------------------------------


@needs_node
@pytest.mark.parametrize("name, text", [
    ("index.js", "exports.handler = (event, context, callback) => setTimeout(() => callback(null, event.n + 1), 1);"),
    ("index.js", "exports.handler = async (event) => event.n + 1;"),
    ("index.mjs", "export const handler = async (event) => event.n + 1;"),
    ("index.cjs", "module.exports.handler = async (event) => event.n + 1;"),
], ids=["callback", "async", "ES module", "CommonJS"])
def test_node_handlers_of_every_style_run(folder, name, text):
    assert invoke(folder({name: text}), event={"n": 1}).succeeded() == 2


@needs_node
def test_node_errors_are_lambdas(folder):
    result = invoke(folder({"index.js": "exports.handler = async () => { throw new TypeError('why'); };"}))
    assert result.failed(1, "TypeError") == "why"
    assert isinstance(result.json.get("stackTrace", result.json.get("trace")), list)


@needs_node
def test_node_gets_a_lambda_context(folder):
    result = invoke(folder({"index.js": "exports.handler = async (event, context) => ({ id: context.awsRequestId, "
                                        "name: context.functionName, left: context.getRemainingTimeInMillis(), "
                                        "memory: context.memoryLimitInMB });"}, name="ctx"))
    seen = result.succeeded()
    assert seen["id"] == result.report["RequestId"] and seen["name"] == "ctx"
    assert 0 < seen["left"] <= 3000 and str(seen["memory"]) == "128"


@needs_node
def test_node_takes_vendored_packages_and_says_how_to_add_one(folder):
    function = folder({"index.js": "exports.handler = async () => require('left-pad');",
                       "node_modules/left-pad/index.js": "module.exports = 'vendored';"})
    assert invoke(function).succeeded() == "vendored"
    text = invoke(folder({"index.js": "require('no-such-package'); exports.handler = async () => 1;"}, name="without")
                  ).failed(1, "Runtime.ImportModuleError")
    assert "no-such-package" in text and "npm install" in text


AZURE = ('{"bindings":[{"type":"httpTrigger","direction":"in","name":"req","methods":["get","post"]},'
         '{"type":"http","direction":"out","name":"%s"}]}')


@needs_node
@pytest.mark.parametrize("out, text", [
    ("res", "module.exports = async function (context, req) { context.res = { status: 201, body: { got: req.body } }; };"),
    ("$return", "module.exports = async function (context, req) { return { status: 201, body: { got: req.body } }; };"),
    ("res", "module.exports = function (context, req) { context.res = { status: 201, body: { got: req.body } }; context.done(); };"),
], ids=["context.res", "return", "done"])
def test_azure_functions_answer_in_every_way(folder, out, text):
    function = folder({"function.json": AZURE % out, "index.js": text})
    answer = invoke(function, event={"n": 1}).succeeded()
    assert answer["status"] == 201 and answer["body"] == {"got": {"n": 1}}


@needs_node
def test_an_azure_function_sees_method_query_and_headers(folder):
    function = folder({"function.json": AZURE % "res", "index.js":
                       "module.exports = async function (context, req) { context.log.warn('careful'); "
                       "context.res = { body: [req.method, req.query.q, req.headers['x-a'], req.body] }; };"})
    result = invoke(function, event={"method": "POST", "query": {"q": "1"}, "headers": {"X-A": "2"}, "body": {"b": 3}})
    assert result.succeeded()["body"] == ["POST", "1", "2", {"b": 3}]
    assert "careful" in result.log


# --- exec and native --------------------------------------------------------------------------------


def test_exec_has_event_result_and_log_on_its_three_descriptors(script):
    result = invoke(script("echo to the log >&2\nread -r line\nprintf '{\"line\":%s}' \"$line\"\n"), event='"x"')
    assert result.succeeded() == {"line": "x"}
    assert result.log == "to the log\n"


def test_exec_that_exits_with_a_status_fails_with_it(script):
    result = invoke(script("echo half a result\nexit 7\n"))
    assert "exit status 7" in result.failed(1, "Runtime.ExitError")
    assert "half a result" in result.log


def test_exec_knows_its_request(script):
    result = invoke(script('printf \'"%s"\' "$AWS_LAMBDA_REQUEST_ID"\n'))
    assert result.succeeded() == result.report["RequestId"]


NATIVE = """#include <fnrun.h>
#include <stdio.h>
int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    fprintf(stderr, "%s for %s\\n", event->request_id, event->function_name);
    return fnrun_result_write(result, event->data, event->length);
}
int refuse(const struct fnrun_event *event, struct fnrun_result *result) {
    (void)event;
    return fnrun_result_fail(result, "BadInput", "no name");
}
"""


@pytest.fixture
def native(folder, compiler, tmp_path):
    source = tmp_path / "handler.c"
    source.write_text(NATIVE)

    def make(ini, name="function"):
        root = folder({}, ini, name=name)
        subprocess.run(["cc", "-shared", "-fPIC", f"-I{SOURCE}/images/runtimes/native", "-o", root / "handler.so", source],
                       check=True)
        (root / "handler.so").chmod(0o755)
        return root

    return make


def test_native_gets_the_event_unchanged_and_its_names(native):
    result = invoke(native("[function]\nruntime = native\nname = shared\n"), event='{"z" : 9007199254740993}')
    assert result.out == b'{"z" : 9007199254740993}', result
    assert result.log == f"{result.report['RequestId']} for shared\n"


def test_native_can_fail_by_another_symbol(native):
    result = invoke(native("[function]\nruntime = native\nhandler = handler.so:refuse\n"))
    assert result.failed(1, "BadInput") == "no name"
    text = invoke(native("[function]\nruntime = native\nhandler = handler.so:nosuch\n", name="none")
                  ).failed(1, "Runtime.HandlerNotFound")
    assert "nosuch" in text


# --- the other commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["python", "node", "azure", "native", "exec"])
def test_what_init_writes_passes_check_and_runs(tmp_path, runtime):
    if runtime in ("node", "azure") and not shutil.which("/usr/bin/node"):
        pytest.skip("there is no /usr/bin/node")
    made = fnrun("init", "mine", "--runtime", runtime, cwd=tmp_path)
    assert made.status == 0, made
    check = fnrun("check", "./mine", cwd=tmp_path)
    if runtime == "native" and not (tmp_path / "mine/handler.so").exists():
        pytest.skip("there is no C compiler (cc)")
    assert check.status == 0, check
    result = invoke("./mine", "--event", "@mine/event.json", cwd=tmp_path)
    assert result.status == 0, result
    assert "Ada" in json.dumps(result.json)


def test_check_prints_the_limits_in_force(python):
    result = fnrun("check", python(HELLO, "[limits]\nmemory = 1G\ntimeout = 90s\n[network]\nmode = host\n"))
    assert result.status == 0, result
    text = result.out.decode()
    for row in (r"runtime +python", r"handler +app\.handler", r"memory +1G", r"timeout +90s", r"processes +64"):
        assert re.search(row, text), (row, text)
    assert "loopback" in text and "abstract" in text, "what mode = host exposes"


def test_doctor_agrees_with_what_invoke_can_do():
    report = fnrun("doctor", "--json")
    assert report.status in (0, 5)
    assert report.json["ready"] == (fnrun("invoke", EXAMPLES / "hello-python").status == 0)
    assert report.json["ready"] == (limits_option() == ())
