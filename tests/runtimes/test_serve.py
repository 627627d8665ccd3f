"""FNRUN_SERVE=1: one process serves many events by frames, in each language."""

import json
import os
import shutil

import pytest

from fake_runner import ERROR, READY, RESULT, RUNTIMES, SOURCE, event_frame, frame, run, runtimes
from supervised import compile_c

NODE = "/usr/bin/node"
PYTHON = "/usr/bin/python3"
NATIVE = SOURCE / "images" / "runtimes" / "native"
needs_node = pytest.mark.skipif(not os.path.exists(NODE), reason="no node: apt-get install nodejs")


@pytest.fixture
def serve(tmp_path):
    """serve(argv, [event, ...], env) -> Answer; the runner goes when it has sent the last"""

    def call(argv, events, env=None):
        raw = b"".join(event if isinstance(event, bytes) else event_frame(
            json.dumps(event).encode(), request_id=f"r-{number}", trace_id=f"t-{number}")
            for number, event in enumerate(events))
        return run(argv, raw=raw, cwd=tmp_path,
                   env={"LAMBDA_TASK_ROOT": str(tmp_path), "FNRUN_SERVE": "1", **(env or {})})

    return call


@pytest.fixture
def python(serve, tmp_path):
    def call(source, events):
        (tmp_path / "app.py").write_text(source)
        return serve([PYTHON, runtimes("python/bootstrap.py")], events, {"_HANDLER": "app.handler"})

    return call


@pytest.fixture
def node(serve, tmp_path):
    def call(source, events):
        (tmp_path / "index.js").write_text(source)
        return serve([NODE, runtimes("node/bootstrap.js")], events, {"_HANDLER": "index.handler"})

    return call


@pytest.fixture(scope="session")
def loader(tmp_path_factory):
    if os.environ.get("FNRUN_RUNTIMES"):
        return RUNTIMES / "native" / "fnrun-native"
    return compile_c(tmp_path_factory.mktemp("native") / "fnrun-native", *NATIVE.glob("*.c"), "-ldl")


@pytest.fixture
def native(serve, loader, tmp_path):
    def call(source, events):
        if shutil.which("cc") is None:
            pytest.skip("no C compiler: apt-get install gcc")
        (tmp_path / "f.c").write_text("#include <fnrun.h>\n#include <stdio.h>\n#include <stdlib.h>\n"
                                      "#include <unistd.h>\n" + source)
        compile_c(tmp_path / "f.so", "-shared", "-fPIC", f"-I{NATIVE}", tmp_path / "f.c")
        return serve([loader, tmp_path / "f.so", "handler"], events)

    return call


def kinds(answer):
    return [kind for kind, _ in answer.frames]


def values(answer):
    return [json.loads(payload) for kind, payload in answer.frames if kind != READY]


# --- python ---------------------------------------------------------------------------


def test_python_serves_events_until_the_end_of_file(python):
    answer = python("""
import os
count = 0
def handler(event, context):
    global count
    count += 1
    print("line", count)
    return [count, event, context.aws_request_id, os.environ["_X_AMZN_TRACE_ID"],
            "FNRUN_SERVE" in os.environ]
""", [1, "x" * 20_000, {"a": 2}])
    assert kinds(answer) == [READY, RESULT, RESULT, RESULT]
    assert values(answer) == [[1, 1, "r-0", "t-0", False], [2, "x" * 20_000, "r-1", "t-1", False],
                              [3, {"a": 2}, "r-2", "t-2", False]]
    assert (answer.status, answer.stdout) == (0, b"line 1\nline 2\nline 3\n")


def test_an_error_of_a_python_handler_does_not_end_the_process(python):
    answer = python("""
import os
def handler(event, context):
    if event == 1: raise ValueError("no")
    if event == 2: return {1}
    return os.getpid()
""", [0, 1, 2, 0])
    assert kinds(answer) == [READY, RESULT, ERROR, ERROR, RESULT]
    first, error, unmarshalable, last = values(answer)
    assert first == last
    assert (error["errorType"], error["requestId"]) == ("ValueError", "r-1")
    assert unmarshalable["errorType"] == "Runtime.MarshalError"


def test_sys_exit_in_a_python_handler_ends_the_process_as_on_lambda(python):
    answer = python("import sys\ndef handler(event, context):\n    sys.exit(event)\n", [3, 4])
    assert kinds(answer) == [READY, ERROR]
    assert values(answer)[0]["errorType"] == "Runtime.ExitError"
    assert answer.status == 0


def test_threads_of_a_python_handler_live_on_to_the_next_event(python):
    answer = python("""
import threading, queue
asked, told = queue.Queue(), queue.Queue()
def work():
    while True: told.put(asked.get() * 2)
threading.Thread(target=work, daemon=True).start()
def handler(event, context):
    asked.put(event)
    return told.get()
""", [1, 2])
    assert values(answer) == [2, 4]


def test_a_python_handlers_forked_child_does_not_answer(python):
    answer = python("""
import os
def handler(event, context):
    if os.fork() == 0: return "child"
    os.wait()
    return "parent"
""", [1, 2])
    assert values(answer) == ["parent", "parent"]


def test_a_frame_that_is_cut_off_ends_a_serving_python(python):
    answer = python("def handler(event, context): return event\n", [1, event_frame(b"2")[:-1]])
    assert (kinds(answer), answer.stderr) == ([READY, RESULT], b"")


# --- native ---------------------------------------------------------------------------


def test_native_serves_events_until_the_end_of_file(native):
    answer = native("""
static int count;
int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    char text[100];
    printf("line %d\\n", ++count);
    int length = snprintf(text, sizeof text, "[%d, %s, \\"%s\\", %d]", count, event->data,
                          event->request_id, getenv("FNRUN_SERVE") != NULL);
    return fnrun_result_write(result, text, (size_t)length);
}""", [1, {"a": 2}])
    assert kinds(answer) == [READY, RESULT, RESULT]
    assert values(answer) == [[1, 1, "r-0", 0], [2, {"a": 2}, "r-1", 0]]
    assert (answer.status, answer.stdout) == (0, b"line 1\nline 2\n")


def test_an_error_of_a_native_handler_does_not_end_the_process(native):
    answer = native("""
int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    if (event->data[0] == '1')
        return fnrun_result_fail(result, "Mine", "no");
    return event->data[0] == '2' ? 7 : 0;
}""", [0, 1, 2, 0])
    assert kinds(answer) == [READY, RESULT, ERROR, ERROR, RESULT]
    assert [v and v["errorType"] for v in values(answer)] == [None, "Mine", "Error", None]


def test_a_native_handlers_forked_child_does_not_answer(native):
    answer = native("""
#include <sys/wait.h>
int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    (void)event;
    if (fork() == 0)
        return fnrun_result_write(result, "0", 1);
    wait(NULL);
    return fnrun_result_write(result, "1", 1);
}""", [1, 2])
    assert values(answer) == [1, 1]


# --- node -----------------------------------------------------------------------------


@needs_node
def test_node_serves_events_until_the_end_of_file(node):
    answer = node("""
let count = 0;
exports.handler = async (event, context) => {
    await null;
    console.log('line', ++count);
    return [count, event, context.awsRequestId, process.env._X_AMZN_TRACE_ID,
        'FNRUN_SERVE' in process.env];
};""", [1, "x" * 100_000, {"a": 2}])
    assert kinds(answer) == [READY, RESULT, RESULT, RESULT]
    assert values(answer) == [[1, 1, "r-0", "t-0", False], [2, "x" * 100_000, "r-1", "t-1", False],
                              [3, {"a": 2}, "r-2", "t-2", False]]
    assert answer.status == 0
    assert [line.split(b"\t")[1:] for line in answer.stdout.splitlines()] == [
        [b"r-%d" % n, b"INFO", b"line %d" % (n + 1)] for n in range(3)]


@needs_node
@pytest.mark.parametrize("body", [
    "(event, context, callback) => callback(null, event)",
    "(event, context, callback) => { setTimeout(() => callback(null, event), 1); }",
    "(event) => event",
    "(event, context) => context.succeed(event)",
    "(event, context, callback) => {"
    " context.callbackWaitsForEmptyEventLoop = false; callback(null, event); }",
    "async (event) => event",
    "(event) => new Promise((resolve) => setTimeout(resolve, 1, event))",
])
def test_every_way_to_answer_in_node_goes_on_to_the_next_event(node, body):
    answer = node(f"exports.handler = {body};", [1, 2, 3])
    assert values(answer) == [1, 2, 3]
    assert answer.status == 0


@needs_node
def test_an_error_of_a_node_handler_does_not_end_the_process(node):
    answer = node("""
exports.handler = (event, context, callback) => {
    if (event === 1) throw new TypeError('no');
    if (event === 2) return Promise.reject(new RangeError('no'));
    if (event === 3) return callback(new Error('no'));
    return Promise.resolve(process.pid);
};""", [0, 1, 2, 3, 0])
    assert kinds(answer) == [READY, RESULT, ERROR, ERROR, ERROR, RESULT]
    first, *errors, last = values(answer)
    assert first == last
    assert [(e["errorType"]) for e in errors] == ["TypeError", "RangeError", "Error"]


@needs_node
@pytest.mark.parametrize("body", [
    "process.exit(3)", "setTimeout(() => { throw new Error('late'); }, 1)",
    "setTimeout(() => Promise.reject(new Error('late')), 1)"])
def test_what_ends_node_on_lambda_ends_it_after_its_error(node, body):
    answer = node(f"exports.handler = () => new Promise(() => {{ {body}; setTimeout(() => 1, 9999) }});",
                  [1, 2])
    assert kinds(answer) == [READY, ERROR]
    assert answer.status == 1


@needs_node
def test_timers_of_a_node_handler_live_on_to_the_next_event(node):
    answer = node("""
let told;
exports.handler = async (event) => {
    if (event === 1) {
        setTimeout(() => { told = 'from the first'; }, 1);
        return 1;
    }
    while (told === undefined) await new Promise((resolve) => setTimeout(resolve, 1));
    return told;
};""", [1, 2])
    assert values(answer) == [1, "from the first"]


@needs_node
def test_an_azure_function_serves_events_too(serve, tmp_path):
    (tmp_path / "function.json").write_text(
        '{"bindings": [{"type": "queueTrigger", "direction": "in", "name": "item"}]}')
    (tmp_path / "index.js").write_text("let n = 0;\nmodule.exports = async (context, item) => "
                                       "{ context.log(item); n += 1; if (n === 2) throw Error('no'); };")
    answer = serve([NODE, runtimes("node/bootstrap.js")], ["a", "b", "c"],
                   {"FNRUN_RUNTIME_FORM": "azure"})
    assert kinds(answer) == [READY, RESULT, ERROR, RESULT]
