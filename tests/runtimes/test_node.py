"""The node runtime, Lambda form, outside any sandbox: see fake_runner.py.

NODE=/path/to/node takes another version than the machine's."""

import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from fake_runner import EXAMPLES, ERROR, READY, RESULT, frame, run, runtimes

NODE = os.environ.get("NODE") or "/usr/bin/node"
pytestmark = pytest.mark.skipif(not Path(NODE).exists(), reason=f"{NODE} is not there")


@pytest.fixture
def invoke(tmp_path):
    """invoke(files, event) writes {name: text} to a folder and runs it once."""

    def call(files, event=None, handler="index.handler", env=None, **more):
        if isinstance(files, str):
            files = {"index.js": files}
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if not isinstance(event, bytes):
            event = json.dumps({} if event is None else event).encode()
        settings = {"LAMBDA_TASK_ROOT": str(tmp_path), "_HANDLER": handler, **(env or {})}
        return run([NODE, runtimes("node/bootstrap.js")], event=event, env=settings, **more)

    return call


def version():
    if not Path(NODE).exists():
        return (0,)
    text = subprocess.run([NODE, "--version"], capture_output=True, check=True).stdout.decode()
    return tuple(int(part) for part in text.lstrip("v").split("."))


def failure(answer, kind):
    """The error of an answer, whose type must be `kind`."""
    assert answer.result is None and answer.error is not None, answer
    assert answer.error["errorType"] == kind, answer
    assert isinstance(answer.error["stackTrace"], list)
    assert answer.rest == b""
    return answer.error


# --- the three styles ------------------------------------------------------------


def test_the_example_greets_whoever_its_event_names():
    folder = EXAMPLES / "hello-node"
    argv = [NODE, runtimes("node/bootstrap.js")]
    env = {"LAMBDA_TASK_ROOT": str(folder), "_HANDLER": "index.handler"}
    assert run(argv, (folder / "event.json").read_bytes(), env).value == {"message": "Hello, Ada!"}
    assert run(argv, b"{}", env).value == {"message": "Hello, World!"}


def test_an_async_handler_answers_with_what_it_returns(invoke):
    answer = invoke("exports.handler = async (event) => ({ got: event });", {"a": [1, None, "ü"]})
    assert answer.value == {"got": {"a": [1, None, "ü"]}}
    assert [kind for kind, _ in answer.frames] == [READY, RESULT]
    assert answer.status == 0 and answer.rest == b""


def test_a_callback_answers(invoke):
    code = """exports.handler = (event, context, callback) => {
        setTimeout(() => callback(null, event.n + 1), 5);
    };"""
    assert invoke(code, {"n": 1}).value == 2


def test_a_callback_may_be_called_before_the_handler_returns(invoke):
    code = "exports.handler = (e, c, callback) => { callback(null, 'first'); return 'second'; };"
    assert invoke(code).value == "first"


def test_a_plain_return_value_is_the_result(invoke):
    assert invoke("exports.handler = (event) => ({ twice: event.n * 2 });", {"n": 4}).value == {
        "twice": 8
    }


def test_a_handle_that_the_handler_returns_does_not_hide_its_callback(invoke):
    code = "exports.handler = (e, c, callback) => setTimeout(() => callback(null, 'late'), 5);"
    assert invoke(code).value == "late"


@pytest.mark.parametrize(
    "body", ["async () => {}", "() => {}", "(e, c, cb) => cb()", "async () => null"]
)
def test_nothing_is_sent_as_null(invoke, body):
    assert invoke(f"exports.handler = {body};").result == b"null"


def test_a_thenable_counts_as_a_promise(invoke):
    code = "exports.handler = () => ({ then(ok) { setTimeout(() => ok('later'), 1); } });"
    assert invoke(code).value == "later"


@pytest.mark.parametrize(
    "call, expected",
    [
        ("context.succeed('ok')", "ok"),
        ("context.done(null, 'ok')", "ok"),
        ("context.succeed('ok'); context.fail(new Error('no'))", "ok"),
        ("context.succeed('ok'); throw new Error('no')", "ok"),
        ("context.succeed('ok'); process.exit(1)", "ok"),
        ("callback(null, 'ok'); context.succeed('no')", "ok"),
    ],
)
def test_the_first_answer_counts(invoke, call, expected):
    answer = invoke(f"exports.handler = (event, context, callback) => {{ {call}; }};")
    assert answer.value == expected
    assert len(answer.frames) == 2


@pytest.mark.parametrize(
    "call", ["context.fail(new RangeError('no'))", "context.done(new RangeError('no'))",
             "callback(new RangeError('no'))"],
)
def test_an_error_may_be_given_by_every_callback(invoke, call):
    answer = invoke(f"exports.handler = (event, context, callback) => {{ {call}; }};")
    assert failure(answer, "RangeError")["errorMessage"] == "no"


def test_code_after_the_answer_goes_on_until_it_returns(invoke):
    answer = invoke("exports.handler = (e, c) => { c.succeed(1); console.log('after'); };")
    assert answer.value == 1 and b"after" in answer.stdout


def test_the_callback_waits_for_the_event_loop_to_be_empty(invoke):
    code = """exports.handler = (event, context, callback) => {
        setTimeout(() => console.log('still here'), 50);
        callback(null, context.callbackWaitsForEmptyEventLoop);
    };"""
    answer = invoke(code)
    assert answer.value is True
    assert b"still here" in answer.stdout


def test_the_callback_answers_at_once_where_it_shall_not_wait(invoke):
    code = """exports.handler = (event, context, callback) => {
        context.callbackWaitsForEmptyEventLoop = false;
        setInterval(() => console.log('never'), 20000);
        callback(null, 'done');
    };"""
    answer = invoke(code)
    assert answer.value == "done" and b"never" not in answer.stdout


def test_open_handles_do_not_keep_an_async_handler_alive(invoke):
    code = """const server = require('net').createServer();
    exports.handler = async () => {
        await new Promise((ok) => server.listen(0, '127.0.0.1', ok));
        setInterval(() => {}, 1000);
        return 'done';
    };"""
    answer = invoke(code)
    assert answer.value == "done" and answer.status == 0


# --- finding the handler ------------------------------------------------------------


@pytest.mark.parametrize(
    "files, handler",
    [
        ({"index.js": "exports.handler = async () => 'yes';"}, "index.handler"),
        ({"index.cjs": "exports.handler = async () => 'yes';"}, "index.handler"),
        ({"index.mjs": "export const handler = async () => 'yes';"}, "index.handler"),
        (
            {
                "index.js": "export const handler = async () => 'yes';",
                "package.json": '{"type": "module"}',
            },
            "index.handler",
        ),
        ({"src/deep/app.js": "exports.run = async () => 'yes';"}, "src/deep/app.run"),
        (
            {
                "src/app.js": "export const run = async () => 'yes';",
                "package.json": '{"type": "module"}',
            },
            "src/app.run",
        ),
        (
            {
                "src/app.js": "exports.run = async () => 'yes';",
                "src/package.json": "{}",
                "package.json": '{"type": "module"}',
            },
            "./src/app.run",
        ),
        ({"a.js": "exports.b = { c: async () => 'yes' };"}, "a.b.c"),
        ({"app/index.js": "exports.handler = async () => 'yes';"}, "app.handler"),
        (
            {"node_modules/made/index.js": "exports.handler = async () => 'yes';"},
            "made.handler",
        ),
        # .js before .mjs before .cjs
        (
            {
                "index.js": "exports.handler = async () => 'yes';",
                "index.mjs": "export const handler = async () => 'mjs';",
                "index.cjs": "exports.handler = async () => 'cjs';",
            },
            "index.handler",
        ),
        (
            {
                "index.mjs": "export const handler = async () => 'yes';",
                "index.cjs": "exports.handler = async () => 'cjs';",
            },
            "index.handler",
        ),
    ],
)
def test_the_handler_is_found_as_on_lambda(invoke, files, handler):
    assert invoke(files, handler=handler).value == "yes"


@pytest.mark.parametrize("name, package", [("index.mjs", "{}"), ("index.js", '{"type":"module"}')])
def test_an_es_module_may_await_at_its_top_level(invoke, name, package):
    code = """import { setTimeout as sleep } from 'timers/promises';
    const ready = await sleep(5, 'ready');
    export const handler = async () => ready;"""
    assert invoke({name: code, "package.json": package}).value == "ready"


def test_a_folder_name_with_special_characters_can_be_imported(tmp_path):
    folder = tmp_path / "a #1%20?"
    folder.mkdir()
    (folder / "index.mjs").write_text("export const handler = async () => import.meta.url;")
    env = {"LAMBDA_TASK_ROOT": str(folder), "_HANDLER": "index.handler"}
    answer = run([NODE, runtimes("node/bootstrap.js")], env=env)
    assert answer.value.startswith("file:///") and answer.value.endswith("/index.mjs")


def test_vendored_packages_are_found_from_both_kinds_of_modules(invoke):
    package = {
        "node_modules/greet/package.json": '{"main": "main.js"}',
        "node_modules/greet/main.js": "module.exports = (n) => 'hi ' + n;",
    }
    one = invoke({**package, "index.js": "const g = require('greet');"
                                         "exports.handler = async () => g('a');"})
    assert one.value == "hi a"
    two = invoke({**package, "two.mjs": "import g from 'greet';"
                                        "export const handler = async () => g('b');"},
                 handler="two.handler")
    assert two.value == "hi b"


def test_the_handler_is_loaded_before_the_event_is_looked_at(invoke):
    code = "console.log('loaded'); exports.handler = async (e) => e;"
    answer = invoke(code, {"n": 1}, wait_for_ready=True)
    assert answer.value == {"n": 1} and b"loaded" in answer.stdout


# --- what the handler sees ----------------------------------------------------------


def test_the_context_has_every_member_of_lambdas(invoke):
    code = """exports.handler = async (event, context) => ({
        ...context,
        left: context.getRemainingTimeInMillis(),
        trace: process.env._X_AMZN_TRACE_ID,
    });"""
    answer = invoke(code, request_id="id-7", timeout_ms=4321, trace_id="Root=1-2-3",
                    client_context='{"custom":{"a":1}}')
    value = answer.value
    assert 0 < value.pop("left") <= 4321
    assert value == {
        "functionName": "hello",
        "functionVersion": "$LATEST",
        "invokedFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:hello",
        "memoryLimitInMB": "128",
        "awsRequestId": "id-7",
        "logGroupName": "/aws/lambda/hello",
        "logStreamName": "2025/01/01/[$LATEST]0123456789abcdef",
        "clientContext": {"custom": {"a": 1}},
        "callbackWaitsForEmptyEventLoop": True,
        "trace": "Root=1-2-3",
    }


def test_the_trace_id_of_the_environment_goes_when_the_event_has_none(invoke):
    code = "exports.handler = async () => process.env._X_AMZN_TRACE_ID ?? 'none';"
    assert invoke(code, env={"_X_AMZN_TRACE_ID": "old"}).value == "none"


def test_an_event_without_a_time_limit_has_time(invoke):
    code = "exports.handler = async (e, c) => c.getRemainingTimeInMillis() > 1000;"
    assert invoke(code, timeout_ms=None).value is True


def test_the_remaining_time_runs(invoke):
    code = """exports.handler = async (e, c) => {
        const before = c.getRemainingTimeInMillis();
        await new Promise((ok) => setTimeout(ok, 20));
        return before - c.getRemainingTimeInMillis() >= 19;
    };"""
    assert invoke(code).value is True


@pytest.mark.parametrize("event", [b"null", b"3", b'"text"', b"[]", b' {"a" : 1 } ', b"1e3"])
def test_every_json_value_can_be_the_event(invoke, event):
    assert invoke("exports.handler = async (event) => [event];", event).value == [json.loads(event)]


def test_an_event_that_is_not_json_is_an_unmarshal_error(invoke):
    failure(invoke("exports.handler = async () => 1;", b"{not json"), "Runtime.UnmarshalError")


def test_six_megabytes_come_in_and_go_out(invoke):
    text = "ä€😀x" * 600_000
    answer = invoke("exports.handler = async (event) => event;", json.dumps(text).encode())
    assert answer.value == text


def test_text_of_every_plane_passes_and_lone_surrogates_stay_escaped(invoke):
    answer = invoke("exports.handler = async (e) => e + '\\ud800';", '"é😀"'.encode())
    answer.result.decode()
    assert answer.result == '"é😀\\ud800"'.encode()


# --- the log -------------------------------------------------------------------------

LINE = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t(\S+)\t(\S+)\t(.*)$"


def lines(answer):
    return re.findall(LINE, answer.stdout.decode(), re.MULTILINE)


def test_console_writes_lambdas_lines(invoke):
    code = """console.log('loading');
    exports.handler = async () => {
        console.log('one', { a: 1 }, '%s', 2);
        console.info('%d-%s', 3, 'x');
        console.debug('d'); console.warn('w'); console.error('e'); console.trace('t');
        console.fatal('f');
        console.log();
    };"""
    answer = invoke(code, request_id="id-1")
    assert lines(answer) == [
        ("undefined", "INFO", "loading"),
        ("id-1", "INFO", "one { a: 1 } %s 2"),
        ("id-1", "INFO", "3-x"),
        ("id-1", "DEBUG", "d"),
        ("id-1", "WARN", "w"),
        ("id-1", "ERROR", "e"),
        ("id-1", "TRACE", "t"),
        ("id-1", "FATAL", "f"),
        ("id-1", "INFO", ""),
    ]
    assert answer.stderr == b""


def test_a_message_of_several_lines_keeps_them(invoke):
    answer = invoke("exports.handler = async () => console.log('a\\nb\\n  c');")
    assert answer.stdout.endswith(b"\tINFO\ta\nb\n  c\n")


def test_process_stdout_and_stderr_are_written_raw(invoke):
    code = """exports.handler = async () => {
        process.stdout.write('out'); process.stdout.write(Buffer.from([0xff, 10]));
        process.stderr.write('err\\n');
        return [process.stdout.fd, process.stderr.fd, process.stdout === process.stdout];
    };"""
    answer = invoke(code)
    assert answer.stdout == b"out\xff\n" and answer.stderr == b"err\n"
    assert answer.value == [1, 2, True]


def test_console_table_and_dir_work(invoke):
    answer = invoke("exports.handler = async () => { console.dir({ a: 1 }); console.table([1]); };")
    assert b"{ a: 1 }" in answer.stdout and "│".encode() in answer.stdout


def test_everything_written_is_in_the_log_before_the_result(invoke):
    # More than a pipe holds, in one write and in many, with a callback and without.
    code = """exports.handler = async () => {
        process.stdout.write('x'.repeat(300000));
        for (let i = 0; i < 2000; i++) console.log('y'.repeat(100));
        process.stdout.write('end', () => {});
        return 'done';
    };"""
    answer = invoke(code)
    assert answer.value == "done"
    assert answer.stdout.count(b"x") == 300000 and answer.stdout.count(b"y") == 200000
    assert answer.stdout.endswith(b"end")


def test_the_pipes_of_the_log_stay_blocking_for_children(invoke):
    code = """const { spawnSync } = require('child_process');
    exports.handler = async () => {
        process.stdout.write('first\\n');
        spawnSync('/bin/sh', ['-c', 'grep flags: /proc/self/fdinfo/1'], { stdio: 'inherit' });
    };"""
    answer = invoke(code)
    flags = int(re.search(rb"flags:\s*(\d+)", answer.stdout).group(1), 8)
    assert flags & os.O_NONBLOCK == 0


def test_a_stream_can_be_piped_to_stdout(invoke):
    code = """const { Readable } = require('stream');
    exports.handler = () => new Promise((ok, no) => {
        const from = Readable.from(['a', 'b', 'c']);
        from.on('end', () => ok('done')).on('error', no);
        from.pipe(process.stdout);
    });"""
    answer = invoke(code)
    assert answer.value == "done" and answer.stdout == b"abc"


def test_a_closed_log_costs_the_log_and_not_the_answer(invoke):
    code = """exports.handler = async () => {
        require('fs').closeSync(1);
        console.log('lost');
        return 'still';
    };"""
    assert invoke(code).value == "still"


def test_a_failure_is_logged_as_lambda_logs_it(invoke):
    code = "exports.handler = async () => { const e = new Error('no'); e.code = 'E7'; throw e; };"
    answer = invoke(code)
    (line,) = lines(answer)
    assert line[1] == "ERROR" and line[2].startswith("Invoke Error \t{")
    logged = json.loads(line[2].split("\t", 1)[1])
    assert logged["errorType"] == "Error" and logged["errorMessage"] == "no"
    assert logged["code"] == "E7" and logged["stack"][0] == "Error: no"


# --- errors -------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["async () => {", "() => {"])
def test_a_thrown_error_is_reported_with_its_class_and_stack(invoke, style):
    code = f"exports.handler = {style}\n  throw new TypeError('not a number');\n}};"
    answer = invoke(code, request_id="id-3")
    error = failure(answer, "TypeError")
    assert set(error) == {"errorType", "errorMessage", "stackTrace", "requestId"}
    assert error["errorMessage"] == "not a number" and error["requestId"] == "id-3"
    assert error["stackTrace"][0] == "TypeError: not a number"
    assert "index.js:2:9" in error["stackTrace"][1]
    assert answer.ready and answer.status != 0


@pytest.mark.parametrize("start", ["async () => { await null; deep(); }", "() => deep()"])
def test_a_stack_trace_shows_nothing_of_the_runtime(invoke, start):
    code = f"exports.handler = {start};\nfunction deep() {{ throw new Error('x'); }}"
    trace = invoke(code).error["stackTrace"]
    assert len(trace) == 3 and all("index.js" in line for line in trace[1:]), trace


def test_the_name_of_an_error_is_its_type(invoke):
    code = """class Wrong extends Error { constructor(m) { super(m); this.name = 'Wrong'; } }
    exports.handler = async () => { throw new Wrong('as said'); };"""
    assert failure(invoke(code), "Wrong")["errorMessage"] == "as said"


@pytest.mark.parametrize(
    "thrown, kind, message",
    [
        ("'text'", "string", "text"),
        ("42", "number", "42"),
        ("{ a: 1 }", "object", "{ a: 1 }"),
        ("{ name: 'Mine', message: 'looks like one', stack: 'Mine: x' }", "Mine", "looks like one"),
        ("undefined", "string", "handled"),
        ("null", "string", "handled"),
        ("Object.create(null)", None, None),
        ("new Proxy({}, { get() { throw new Error('trap'); } })", None, None),
        ("Symbol('s')", "symbol", "Symbol(s)"),
    ],
)
def test_anything_can_be_thrown(invoke, thrown, kind, message):
    answer = invoke(f"exports.handler = async () => {{ throw {thrown}; }};")
    assert answer.error and answer.error["errorMessage"], answer
    if kind:
        assert (answer.error["errorType"], answer.error["errorMessage"]) == (kind, message)


def test_an_uncaught_exception_is_the_answer(invoke):
    code = """exports.handler = () => new Promise(() => {
        setTimeout(() => { throw new RangeError('from a timer'); }, 1);
    });"""
    answer = invoke(code)
    assert failure(answer, "RangeError")["errorMessage"] == "from a timer"
    assert b"Uncaught Exception" in answer.stdout


def test_an_unhandled_rejection_is_the_answer(invoke):
    code = """exports.handler = () => new Promise(() => {
        Promise.reject(new Error('nobody listens'));
    });"""
    error = failure(invoke(code), "Runtime.UnhandledPromiseRejection")
    assert error["errorMessage"] == "Error: nobody listens"
    assert any("index.js" in line for line in error["stackTrace"])


def test_leaving_by_process_exit_is_an_error_that_says_so(invoke):
    code = """process.on('exit', () => console.log('leaving'));
    exports.handler = async () => process.exit(3);"""
    answer = invoke(code)
    assert "process.exit(3)" in failure(answer, "Runtime.NodeJsExit")["errorMessage"]
    assert b"leaving" in answer.stdout


def test_a_promise_that_nothing_can_settle_is_an_error(invoke):
    answer = invoke("exports.handler = () => new Promise(() => {});")
    assert "settle" in failure(answer, "Runtime.NodeJsExit")["errorMessage"]


@pytest.mark.parametrize(
    "result", ["10n", "(() => { const a = {}; a.a = a; return a; })()", "() => 1", "Symbol('x')",
               "{ toJSON() { throw new Error('mine'); } }"],
)
def test_a_result_that_is_not_json_is_a_marshal_error(invoke, result):
    answer = invoke(f"exports.handler = async () => ({result});")
    assert "JSON" in failure(answer, "Runtime.MarshalError")["errorMessage"]


def test_a_process_that_kills_itself_sends_nothing(invoke):
    answer = invoke("exports.handler = async () => process.kill(process.pid, 'SIGKILL');")
    assert answer.ready and answer.result is None and answer.error is None and answer.status == -9


# --- what cannot be loaded ----------------------------------------------------------


def loading_failure(answer, kind):
    assert not answer.ready and [k for k, _ in answer.frames] == [ERROR], answer
    assert b"Uncaught Exception" in answer.stdout
    return failure(answer, kind)["errorMessage"]


@pytest.mark.parametrize(
    "files",
    [
        {"index.js": "require('left-pad'); exports.handler = async () => 1;"},
        {"index.mjs": "import pad from 'left-pad'; export const handler = async () => 1;"},
        {"index.js": "require('./lib/a');", "lib/a.js": "require('left-pad/deep/file');"},
    ],
)
def test_a_missing_package_is_named_with_the_way_to_add_it(invoke, files):
    message = loading_failure(invoke(files), "Runtime.ImportModuleError")
    assert "left-pad" in message and "npm install --prefix . left-pad" in message
    assert message.rstrip().endswith("left-pad"), "the package alone, not a file of it"


def test_a_scoped_package_is_named_whole(invoke):
    message = loading_failure(invoke("require('@a/b/c');"), "Runtime.ImportModuleError")
    assert "npm install --prefix . @a/b" in message and "(wanted by index.js)" in message


def test_a_missing_file_is_no_missing_package(invoke):
    message = loading_failure(invoke("require('./helper');"), "Runtime.ImportModuleError")
    assert "./helper" in message and "npm" not in message


def test_an_import_without_its_extension_is_told(invoke):
    files = {"index.mjs": "import './helper';", "helper.js": ""}
    message = loading_failure(invoke(files), "Runtime.ImportModuleError")
    assert "helper.js" in message


def test_an_unknown_built_in_module_is_an_import_error(invoke):
    message = loading_failure(invoke("require('node:nothing');"), "Runtime.ImportModuleError")
    assert "node:nothing" in message


def test_a_missing_handler_file_lists_what_is_there(invoke):
    message = loading_failure(invoke({"app.js": "", "b.mjs": ""}), "Runtime.ImportModuleError")
    assert "index" in message and "app.js, b.mjs" in message


def test_a_module_without_the_handler_lists_its_exports(invoke):
    answer = invoke("exports.main = 1; exports.run = 2;")
    message = loading_failure(answer, "Runtime.HandlerNotFound")
    assert "index.handler" in message and "main, run" in message


def test_a_handler_that_is_no_function_is_told(invoke):
    message = loading_failure(invoke("exports.handler = 'x';"), "Runtime.HandlerNotFound")
    assert "not a function" in message


@pytest.mark.parametrize("handler", ["index", "../index.handler", "index.", ".handler", "a/../b.c"])
def test_a_malformed_handler_is_told(invoke, handler):
    answer = invoke("exports.handler = async () => 1;", handler=handler)
    assert handler in loading_failure(answer, "Runtime.MalformedHandlerName")


@pytest.mark.parametrize(
    "name, text", [("index.js", "\nexports.handler = async ( => 1;"),
                   ("index.mjs", "\nexport const handler = async ( => 1;")],
)
def test_a_syntax_error_says_where(invoke, name, text):
    message = loading_failure(invoke({name: text}), "Runtime.UserCodeSyntaxError")
    assert "SyntaxError" in message and f"{name}:2" in message


def test_a_missing_export_is_a_syntax_error(invoke):
    files = {"index.mjs": "import { b } from './a.mjs';", "a.mjs": "export const a = 1;"}
    message = loading_failure(invoke(files), "Runtime.UserCodeSyntaxError")
    assert "'b'" in message and "index.mjs:1" in message


@pytest.mark.skipif(version() >= (20, 17), reason="this node may load such files as ES modules")
def test_es_module_syntax_in_a_common_js_file_is_explained(invoke):
    answer = invoke("import fs from 'fs'; export const handler = async () => 1;")
    assert ".mjs" in loading_failure(answer, "Runtime.UserCodeSyntaxError")


def test_an_error_thrown_while_loading_keeps_its_type(invoke):
    answer = invoke("throw new RangeError('at load');")
    assert loading_failure(answer, "RangeError") == "at load"


def test_leaving_while_loading_is_an_error(invoke):
    answer = invoke("process.exit(0);")
    assert not answer.ready
    assert "process.exit(0)" in failure(answer, "Runtime.NodeJsExit")["errorMessage"]


def test_a_module_that_waits_for_nothing_is_an_error(invoke):
    answer = invoke({"index.mjs": "await new Promise(() => {}); export const handler = 1;"})
    assert not answer.ready
    assert "top level" in failure(answer, "Runtime.NodeJsExit")["errorMessage"]


def test_azures_newer_model_is_named(invoke):
    files = {
        "package.json": '{"main": "src/app.js", "dependencies": {"@azure/functions": "^4.2.0"}}',
        "src/app.js": "require('@azure/functions').app.http('x', {});",
    }
    message = loading_failure(invoke(files), "Runtime.ImportModuleError")
    assert "v4 model is not supported yet" in message


def test_response_streaming_is_refused_in_words(invoke):
    answer = invoke("exports.handler = awslambda.streamifyResponse(async () => {});")
    assert "not supported yet" in loading_failure(answer, "Runtime.MalformedStreamingHandler")


# --- the socket ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "call", ["spawnSync('/bin/ls', ['-l', '/proc/self/fd'])",
             "spawnSync('/bin/sh', ['-c', 'ls -l /proc/self/fd'])"],
)
def test_children_do_not_inherit_the_runners_socket(invoke, call):
    code = f"""const {{ spawnSync }} = require('child_process');
    const {{ readlinkSync }} = require('fs');
    exports.handler = async () => [readlinkSync('/proc/self/fd/3'), {call}.stdout.toString()];"""
    ours, theirs = invoke(code).value
    assert ours.startswith("socket:[") and ours not in theirs


def test_a_handler_that_replaces_fs_functions_is_answered_all_the_same(invoke):
    code = """const fs = require('fs');
    fs.writeSync = fs.readSync = () => { throw new Error('mocked'); };
    exports.handler = async () => 'fine';"""
    assert invoke(code).value == "fine"


def test_a_runner_that_is_gone_ends_the_process(tmp_path):
    (tmp_path / "index.js").write_text("exports.handler = async () => 1;")
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [NODE, runtimes("node/bootstrap.js")],
        env={"LAMBDA_TASK_ROOT": str(tmp_path), "_HANDLER": "index.handler"},
        pass_fds=(3,),
        preexec_fn=lambda: os.dup2(theirs.fileno(), 3),
    )
    theirs.close()
    assert ours.recv(8) == frame(READY)
    ours.close()
    assert process.wait(timeout=20) != 0


def test_a_handler_that_closes_the_socket_ends_without_an_answer(invoke):
    answer = invoke("exports.handler = async () => { require('fs').closeSync(3); return 1; };")
    assert answer.ready and answer.result is None and answer.status not in (0, None)


def test_threads_do_not_keep_the_process_alive(invoke):
    code = """const { Worker } = require('worker_threads');
    exports.handler = () => new Promise((ok, no) => {
        const worker = new Worker(
            "require('worker_threads').parentPort.postMessage(7); setInterval(() => {}, 1000);",
            { eval: true });
        worker.on('message', ok).on('error', no);
    });"""
    answer = invoke(code)
    assert answer.value == 7 and answer.status == 0


def test_an_unknown_key_of_the_events_head_is_ignored(invoke):
    assert invoke("exports.handler = async (e) => e;", {"a": 1}, new_key="x: y").value == {"a": 1}
