"""The node runtime, Azure Functions form (JavaScript, v3 model), outside any sandbox."""

import base64
import json
import os
import re
from pathlib import Path

import pytest
from fake_runner import EXAMPLES, run, runtimes

NODE = os.environ.get("NODE") or "/usr/bin/node"
pytestmark = pytest.mark.skipif(not Path(NODE).exists(), reason=f"{NODE} is not there")

TRIGGER = {"type": "httpTrigger", "direction": "in", "name": "req"}
HTTP = [TRIGGER, {"type": "http", "direction": "out", "name": "res"}]
RETURN = [TRIGGER, {"type": "http", "direction": "out", "name": "$return"}]


def trigger(kind, *outputs, **more):
    return [{"type": kind, "direction": "in", "name": "item", **more}, *outputs]


def output(kind, name):
    return {"type": kind, "direction": "out", "name": name}


@pytest.fixture
def invoke(tmp_path):
    """invoke(code, event, bindings) writes a function to a folder and runs it once."""

    def call(code, event=None, bindings=None, config=None, files=None, env=None, **more):
        written = {"index.js": code} if code is not None else {}
        written["function.json"] = json.dumps(
            {"bindings": HTTP if bindings is None else bindings, **(config or {})}
        )
        written.update(files or {})
        for name, text in written.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if not isinstance(event, bytes):
            event = json.dumps({} if event is None else event).encode()
        settings = {"LAMBDA_TASK_ROOT": str(tmp_path), "FNRUN_RUNTIME_FORM": "azure", **(env or {})}
        return run([NODE, runtimes("node/bootstrap.js")], event=event, env=settings, **more)

    return call


def function(body, head="async function (context, req)"):
    return f"module.exports = {head} {{ {body} }};"


def loading_failure(answer, kind="Runtime.InvalidTaskConfig"):
    assert not answer.ready and answer.error, answer
    assert answer.error["errorType"] == kind, answer
    return answer.error["errorMessage"]


# --- answering --------------------------------------------------------------------


def test_the_example_greets_by_query_and_by_body():
    folder = EXAMPLES / "hello-azure"
    env = {"LAMBDA_TASK_ROOT": str(folder), "FNRUN_RUNTIME_FORM": "azure"}
    argv = [NODE, runtimes("node/bootstrap.js")]
    for event in ((folder / "event.json").read_bytes(), b'{"name":"Ada"}'):
        value = run(argv, event, env).value
        assert value["status"] == 200 and value["body"] == {"message": "Hello, Ada!"}
    assert run(argv, b"{}", env).value["status"] == 400


@pytest.mark.parametrize(
    "body, bindings",
    [
        ("context.res = { status: 201, body: 'made' };", HTTP),
        ("context.res = { statusCode: '201', body: 'made' };", HTTP),
        ("context.res.status = 201; context.res.body = 'made';", HTTP),
        ("context.bindings.res = { status: 201, body: 'made' };", HTTP),
        ("return { res: { status: 201, body: 'made' } };", HTTP),
        ("return { status: 201, body: 'made' };", RETURN),
        ("context.res = { status: 201, body: 'made' };", RETURN),
        ("context.res.status(201).send('made');", HTTP),
        ("context.done(null, { res: { status: 201, body: 'made' } });", HTTP),
        ("context.done(null, { status: 201, body: 'made' });", RETURN),
    ],
)
def test_every_way_to_answer_gives_the_same_response(invoke, body, bindings):
    answer = invoke(function(body), bindings=bindings)
    assert answer.value == {
        "status": 201,
        "headers": {"content-type": "text/plain; charset=utf-8"},
        "body": "made",
    }


@pytest.mark.parametrize(
    "body",
    [
        "context.res = { body: 'late' }; setTimeout(() => context.done(), 5);",
        "setTimeout(() => context.done(null, { res: { body: 'late' } }), 5);",
        "setTimeout(() => context.res.send('late'), 5);",
        "context.res = { body: 'late' }; context.done();",
    ],
)
def test_a_function_that_is_not_async_answers_by_done(invoke, body):
    answer = invoke(function(body, "function (context, req)"))
    assert answer.value["body"] == "late" and answer.value["status"] == 200


def test_a_function_that_never_calls_done_is_an_error(invoke):
    answer = invoke(function("context.res = { body: 1 };", "function (context)"))
    assert answer.error["errorType"] == "Runtime.NodeJsExit"
    assert "context.done" in answer.error["errorMessage"]


def test_the_return_value_is_used_where_azure_would_drop_it_and_the_log_says_so(invoke):
    answer = invoke(function("return { status: 418, body: 'tea' };"))
    assert answer.value["status"] == 418
    assert b"$return" in answer.stdout


@pytest.mark.parametrize("bindings", [HTTP, RETURN])
def test_no_response_at_all_is_204(invoke, bindings):
    answer = invoke(function(""), bindings=bindings)
    assert answer.value == {"status": 204, "headers": {}, "body": None}


def test_an_empty_response_is_200(invoke):
    for body in ("context.res.end();", "context.res = {};"):
        assert invoke(function(body)).value == {"status": 200, "headers": {}, "body": None}


@pytest.mark.parametrize(
    "body, expected, kind",
    [
        ("{ a: [1, null] }", {"a": [1, None]}, "application/json; charset=utf-8"),
        ("[1]", [1], "application/json; charset=utf-8"),
        ("7", 7, "application/json; charset=utf-8"),
        ("false", False, "application/json; charset=utf-8"),
        ("'text'", "text", "text/plain; charset=utf-8"),
        ("''", "", "text/plain; charset=utf-8"),
    ],
)
def test_a_body_keeps_its_json_value_and_gets_a_content_type(invoke, body, expected, kind):
    value = invoke(function(f"context.res = {{ body: {body} }};")).value
    assert value == {"status": 200, "headers": {"content-type": kind}, "body": expected}


@pytest.mark.parametrize(
    "bytes_of",
    ["Buffer.from([0, 255])", "new Uint8Array([0, 255])", "Uint8Array.of(0, 255).buffer"],
)
def test_bytes_are_base64_and_say_so(invoke, bytes_of):
    value = invoke(function(f"context.res = {{ body: {bytes_of} }};")).value
    assert base64.b64decode(value["body"]) == b"\x00\xff"
    assert value["isBase64Encoded"] is True
    assert value["headers"]["content-type"] == "application/octet-stream"


def test_header_names_are_lower_case_and_values_are_text(invoke):
    body = "context.res = { headers: { 'X-One': 1, 'Content-Type': 'a/b', x: null }, body: 'b' };"
    assert invoke(function(body)).value["headers"] == {"x-one": "1", "content-type": "a/b"}


def test_the_response_object_is_like_express(invoke):
    body = """const { res } = context;
    const chain = res.status(202).set('X-A', 'a').header('X-B', 'b').setHeader('X-C', 'c');
    chain.type('t/x');
    res.set('X-D', 'd'); res.removeHeader('x-d');
    res.send({ same: chain === res, a: res.get('x-a'), c: res.getHeader('X-C') });"""
    assert invoke(function(body)).value == {
        "status": 202,
        "headers": {"x-a": "a", "x-b": "b", "x-c": "c", "content-type": "t/x"},
        "body": {"same": True, "a": "a", "c": "c"},
    }


def test_json_and_send_status(invoke):
    value = invoke(function("context.res.json({ a: 1 });")).value
    assert value["headers"] == {"content-type": "application/json"} and value["body"] == {"a": 1}
    assert invoke(function("context.res.sendStatus(404);")).value["status"] == 404


def test_cookies_become_set_cookie_lines(invoke):
    body = """context.res = { cookies: [
        { name: 'a', value: 'x y', path: '/', maxAge: 60, secure: true, httpOnly: true,
          sameSite: 'Lax' },
        { name: 'b', value: '', expires: new Date(0) }] };"""
    assert invoke(function(body)).value["cookies"] == [
        "a=x%20y; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax",
        "b=; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
    ]


@pytest.mark.parametrize("value", ["'text'", "[1]", "7"])
def test_a_response_that_is_no_object_is_an_error(invoke, value):
    answer = invoke(function(f"return {value};"), bindings=RETURN)
    assert "must be an 'object'" in answer.error["errorMessage"]


def test_an_object_with_nothing_of_a_response_is_the_body(invoke):
    assert invoke(function("return { hello: 'you' };"), bindings=RETURN).value["body"] == {
        "hello": "you"
    }


def test_a_wrong_status_is_an_error(invoke):
    answer = invoke(function("context.res = { status: 'fine' };"))
    assert "status" in answer.error["errorMessage"] and "fine" in answer.error["errorMessage"]


def test_a_body_that_is_not_json_is_a_marshal_error(invoke):
    answer = invoke(function("context.res = { body: { n: 1n } };"))
    assert answer.error["errorType"] == "Runtime.MarshalError"


@pytest.mark.parametrize(
    "head, body, kind, message",
    [
        ("async function (context)", "throw new TypeError('no');", "TypeError", "no"),
        ("function (context)", "throw new TypeError('no');", "TypeError", "no"),
        ("function (context)", "context.done(new TypeError('no'));", "TypeError", "no"),
        ("function (context)", "context.done('no');", "string", "no"),
        ("async function (context)", "context.done(new TypeError('no'));", "TypeError", "no"),
        ("async function (context)", "return Promise.reject();", "string", "Unknown error"),
    ],
)
def test_a_failure_is_reported(invoke, head, body, kind, message):
    answer = invoke(function(body, head))
    assert answer.ready and answer.result is None
    assert (answer.error["errorType"], answer.error["errorMessage"]) == (kind, message)
    assert answer.error["requestId"] == "req-1"


def test_an_async_function_that_called_done_runs_to_its_end_with_a_warning(invoke):
    body = """context.res = { body: 'kept' }; context.done();
    await new Promise((ok) => setTimeout(ok, 10)); console.log('to the end');"""
    answer = invoke(function(body))
    assert answer.value["body"] == "kept"
    assert b"to the end" in answer.stdout and b"Choose either to return a promise" in answer.stdout
    answer = invoke(function("context.suppressAsyncDoneError = true; context.done();"))
    assert answer.value["status"] == 204 and answer.stdout == b""


def test_done_twice_is_logged_and_the_first_one_counts(invoke):
    body = """context.done(null, { res: { body: 1 } }); context.done(null, { res: { body: 2 } });"""
    answer = invoke(function(body, "function (context)"))
    assert answer.value["body"] == 1
    assert b"'done' has already been called" in answer.stdout


def test_an_async_function_that_never_ends_answers_once_it_called_done(invoke):
    answer = invoke(function("context.res.send('ok'); await new Promise(() => {});"))
    assert answer.value["body"] == "ok"


# --- the request --------------------------------------------------------------------

REQUEST = function("""
    const { method, url, originalUrl, headers, query, params, body, rawBody } = req;
    context.res = { body: { method, url, originalUrl, headers, query, params, body, rawBody,
        same: req === context.req && req === context.bindings.req,
        buffer: req.bufferBody instanceof Buffer,
        accept: req.get('ACCEPT') ?? null } };""")


def test_an_empty_event_is_a_get_without_a_body(invoke):
    value = invoke(REQUEST, {}).value["body"]
    assert value == {
        "method": "GET",
        "url": "http://localhost/api/hello",
        "originalUrl": "http://localhost/api/hello",
        "headers": {},
        "query": {},
        "params": {},
        "same": True,
        "buffer": False,
        "accept": None,
    }


@pytest.mark.parametrize("event", [{"name": "Ada"}, [1], "text", 5, None, {"method_": 1}])
def test_any_other_event_is_the_body_of_a_post(invoke, event):
    value = invoke(REQUEST, json.dumps(event).encode()).value["body"]
    assert value["method"] == "POST" and value["body"] == event
    assert value["headers"] == {"content-type": "application/json"} and value["buffer"] is True


def test_the_raw_body_is_the_events_own_text(invoke):
    text = b'{"n" : 9007199254740993 }'
    assert invoke(REQUEST, text).value["body"]["rawBody"].encode() == text


def test_an_event_with_members_of_a_request_is_the_request(invoke):
    event = {
        "method": "put",
        "headers": {"Accept": "a/b", "X-Many": ["1", 2], "Host": "example.org"},
        "query": {"q": "a b", "n": 1, "none": None},
        "params": {"id": "7"},
        "body": {"a": 1},
    }
    value = invoke(REQUEST, event).value["body"]
    assert value["method"] == "PUT" and value["accept"] == "a/b"
    assert value["headers"] == {
        "accept": "a/b",
        "x-many": "1,2",
        "host": "example.org",
        "content-type": "application/json",
    }
    assert value["query"] == {"q": "a b", "n": "1", "none": ""}
    assert value["params"] == {"id": "7"}
    assert value["url"] == "http://example.org/api/hello?q=a+b&n=1&none="
    assert value["body"] == {"a": 1} and value["rawBody"] == '{"a":1}'


@pytest.mark.parametrize("member", ["method", "query", "headers", "body"])
def test_one_member_of_a_request_is_enough(invoke, member):
    event = {"method": {"method": "PATCH"}, "query": {"query": {"a": "1"}},
             "headers": {"headers": {"a": "1"}}, "body": {"body": {"a": "1"}}}[member]
    value = invoke(REQUEST, event).value["body"]
    assert value["method"] == {"method": "PATCH", "body": "POST"}.get(member, "GET")
    assert value.get("body") == ({"a": "1"} if member == "body" else None)


@pytest.mark.parametrize(
    "body, headers, expected",
    [
        ('{"a":1}', {}, {"a": 1}),  # parsed whatever its type
        ("a=1&b=2", {"content-type": "application/x-www-form-urlencoded"}, "a=1&b=2"),
        ("{broken", {"content-type": "application/json"}, "{broken"),
        ("\ufeff[1]", {}, [1]),
    ],
)
def test_a_text_body_is_parsed_when_it_parses(invoke, body, headers, expected):
    value = invoke(REQUEST, {"body": body, "headers": headers}).value["body"]
    assert value["body"] == expected and value["rawBody"] == body.lstrip("\ufeff")


def test_an_octet_stream_body_stays_bytes(invoke):
    body = "context.res = { body: { bytes: req.body.toString('hex'), raw: req.rawBody } };"
    code = function(body)
    event = {"body": base64.b64encode(b"[1]").decode(), "isBase64Encoded": True,
             "headers": {"Content-Type": "application/octet-stream"}}
    assert invoke(code, event).value["body"] == {"bytes": b"[1]".hex(), "raw": "[1]"}


def test_the_query_comes_from_the_url_and_the_parameters_from_the_route(invoke):
    bindings = [{**TRIGGER, "route": "items/{id:int?}/{*rest}"}, HTTP[1]]
    value = invoke(REQUEST, {"method": "GET", "url": "/api/items/7/a/b%20c?x=1&x=2"}, bindings)
    value = value.value["body"]
    assert value["params"] == {"id": "7", "rest": "a/b c"}
    assert value["query"] == {"x": "2"}
    assert value["url"] == "http://localhost/api/items/7/a/b%20c?x=1&x=2"


def test_a_query_may_be_text(invoke):
    assert invoke(REQUEST, {"query": "a=1&b=%20"}).value["body"]["query"] == {"a": "1", "b": " "}


def test_the_assumed_method_is_one_that_the_function_allows(invoke):
    bindings = [{**TRIGGER, "methods": ["put"]}, HTTP[1]]
    assert invoke(REQUEST, {"name": "Ada"}, bindings).value["body"]["method"] == "PUT"


def test_forms_are_parsed(invoke):
    code = function("""const form = req.parseFormBody();
    context.res = { body: { length: form.length, has: form.has('b'), none: form.get('c'),
        all: [...form].map(([name, { value, fileName, contentType }]) =>
            [name, value.toString(), fileName, contentType]),
        many: form.getAll('a').length } };""")
    value = invoke(code, {"body": "a=1&a=x%20y&b=", "headers": {
        "content-type": "application/x-www-form-urlencoded"}}).value["body"]
    parts = [["a", "1", None, None], ["a", "x y", None, None], ["b", "", None, None]]
    assert value == {"length": 3, "has": True, "none": None, "many": 2, "all": parts}
    multipart = ('--xyz\r\nContent-Disposition: form-data; name="a"\r\n\r\none\r\ntwo\r\n'
                 '--xyz\r\nContent-Disposition: form-data; name="b"; filename="f \\"1\\".txt"\r\n'
                 'Content-Type: text/plain\r\n\r\n\r\n--xyz--\r\n')
    value = invoke(code, {"body": multipart, "headers": {
        "content-type": "multipart/form-data; boundary=xyz"}}).value["body"]
    assert value["all"] == [["a", "one\r\ntwo", None, None], ["b", "", 'f "1".txt', "text/plain"]]


def test_a_body_that_is_no_form_is_told(invoke):
    answer = invoke(function("req.parseFormBody();"), {"a": 1})
    assert "application/json" in answer.error["errorMessage"]


def test_the_user_is_read_from_the_principal_header(invoke):
    principal = {"identityProvider": "github", "userId": "u1", "userDetails": "ada"}
    encoded = base64.b64encode(json.dumps(principal).encode()).decode()
    code = function("context.res = { body: req.user };")
    value = invoke(code, {"headers": {"x-ms-client-principal": encoded}}).value["body"]
    assert (value["type"], value["id"], value["username"]) == ("StaticWebApps", "u1", "ada")


# --- the context --------------------------------------------------------------------


def test_the_context_has_every_member_of_azures(invoke, tmp_path):
    code = function("""
    const { invocationId, executionContext, traceContext, bindingDefinitions } = context;
    context.res = { body: { invocationId, executionContext, traceContext, bindingDefinitions,
        data: context.bindingData,
        done: typeof context.done,
        log: typeof context.log.verbose } };""")
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = invoke(code, {"query": {"q": "1"}, "params": {"id": "7"}}, request_id="id-9",
                    trace_id=parent)
    value = answer.value["body"]
    sys = value["data"].pop("sys")
    assert sys["methodName"] == "hello" and re.fullmatch(r"[0-9a-f-]{36}", sys["randGuid"])
    assert value == {
        "invocationId": "id-9",
        "executionContext": {"invocationId": "id-9", "functionName": "hello",
                             "functionDirectory": str(tmp_path), "retryContext": None},
        "traceContext": {"traceparent": parent, "tracestate": "", "attributes": {}},
        "bindingDefinitions": [{"name": "req", "type": "httpTrigger", "direction": "in"},
                               {"name": "res", "type": "http", "direction": "out"}],
        "data": {"invocationId": "id-9", "query": {"q": "1"}, "headers": {}, "id": "7"},
        "done": "function",
        "log": "function",
    }


def test_the_log_has_levels_and_formats(invoke):
    body = """context.log('a %s', 1, { b: 2 }); context.log.info('i'); context.log.warn('w');
    context.log.error('e'); context.log.verbose('v'); console.log('c'); context.res = {};"""
    answer = invoke(function(body))
    found = re.findall(r"^\S+Z\treq-1\t(\S+)\t(.*)$", answer.stdout.decode(), re.MULTILINE)
    assert found == [("INFO", "a 1 { b: 2 }"), ("INFO", "i"), ("WARN", "w"), ("ERROR", "e"),
                     ("TRACE", "v"), ("INFO", "c")]


# --- finding the function ------------------------------------------------------------


@pytest.mark.parametrize(
    "files, config",
    [
        ({"index.js": "exports.sole = async (c) => { c.res = { body: 'yes' }; };"}, {}),
        ({"index.js": "exports.b = 1; exports.run = async (c) => { c.res = { body: 'yes' }; };"},
         {}),
        ({"index.js": "exports.b = 1; exports.index = async (c) => { c.res = { body: 'yes' }; };"},
         {}),
        ({"index.js": "exports.a = 1; exports.go = async (c) => { c.res = { body: 'yes' }; };"},
         {"entryPoint": "go"}),
        ({"index.js": """class F { constructor() { this.text = 'yes'; }
            async run(c) { c.res = { body: this.text }; } } module.exports = new F();"""}, {}),
        ({"dist/fn.js": "module.exports = async (c) => { c.res = { body: 'yes' }; };"},
         {"scriptFile": "dist/fn.js"}),
        ({"index.mjs": "export default async (c) => { c.res = { body: 'yes' }; };"},
         {"scriptFile": "index.mjs"}),
        ({"index.mjs": "export default async (c) => { c.res = { body: 'yes' }; };"}, {}),
        ({"index.js": "export default async (c) => { c.res = { body: 'yes' }; };",
          "package.json": '{"type": "module"}'}, {}),
        ({"index.js": """Object.defineProperty(exports, '__esModule', { value: true });
            exports.default = async (c) => { c.res = { body: 'yes' }; };"""}, {}),
        ({"index.js": "module.exports = async (c) => { c.res = { body: 'yes' }; };",
          "package.json": '{"devDependencies": {"@azure/functions": "^3.5.0"}}'},
         {"disabled": False}),
    ],
)
def test_the_function_is_found_as_on_azure(invoke, files, config):
    assert invoke(None, files=files, config=config).value["body"] == "yes"


@pytest.mark.parametrize(
    "code, config, kind, said",
    [
        ("exports.a = 1; exports.b = 2;", {}, "Runtime.HandlerNotFound", "a, b"),
        ("exports.a = () => 1;", {"entryPoint": "go"}, "Runtime.HandlerNotFound", "go"),
        ("", {}, "Runtime.HandlerNotFound", "module.exports"),
        ("module.exports = 'text';", {}, "Runtime.HandlerNotFound", "module.exports"),
        ("", {"scriptFile": "lib/x.js"}, "Runtime.ImportModuleError", "lib/x.js"),
        ("", {"scriptFile": "../dist/x.js"}, "Runtime.ImportModuleError", "outside"),
        ("module.exports = async (", {}, "Runtime.UserCodeSyntaxError", "index.js:1"),
        ("require('pad');", {}, "Runtime.ImportModuleError", "npm install --prefix . pad"),
    ],
)
def test_what_cannot_be_loaded_says_why(invoke, code, config, kind, said):
    assert said in loading_failure(invoke(code, config=config), kind)


@pytest.mark.parametrize(
    "bindings, said",
    [
        ([*HTTP, {"type": "blob", "direction": "in", "name": "doc"}],
         ["'doc'", "'blob'", "httpTrigger"]),
        ([*HTTP, {"type": "sendGrid", "direction": "out", "name": "mail"}],
         ["'mail'", "sendGrid", "queue"]),
        ([*HTTP, {"type": "blob", "direction": "inout", "name": "doc"}], ["'doc'", "inout"]),
        ([{"type": "orchestrationTrigger", "direction": "in", "name": "c"}],
         ["orchestrationTrigger"]),
        ([*HTTP, {"type": "queue", "direction": "out"}], ["binding 3", "name"]),
        ([HTTP[1]], ["one trigger", "0"]),
        ([TRIGGER, *HTTP], ["one trigger", "2"]),
        ({}, ["bindings"]),
    ],
)
def test_bindings_that_are_not_supported_are_named(invoke, bindings, said):
    message = loading_failure(invoke(function(""), bindings=bindings))
    assert all(part in message for part in said), message


def test_a_broken_function_json_is_told(invoke):
    answer = invoke(function(""), files={"function.json": '{"bindings": [}'})
    assert "function.json" in loading_failure(answer)


def test_a_function_json_with_a_bom_is_read(invoke):
    answer = invoke(function("context.res = { body: 1 };"),
                    files={"function.json": "\ufeff" + json.dumps({"bindings": HTTP})})
    assert answer.value["body"] == 1


@pytest.mark.parametrize("disabled, env", [(True, {}), ("OFF", {"OFF": "1"})])
def test_a_disabled_function_is_refused(invoke, disabled, env):
    answer = invoke(function(""), config={"disabled": disabled}, env=env)
    assert "disabled" in loading_failure(answer)


def test_a_disabling_setting_that_is_not_set_does_not_disable(invoke):
    answer = invoke(function("context.res = {};"), config={"disabled": "OFF"}, env={"OFF": "false"})
    assert answer.value["status"] == 200


@pytest.mark.parametrize("version", ["^4.0.0", "4.x", "~4.5.1", "latest"])
def test_the_v4_model_is_refused_in_words(invoke, version):
    package = json.dumps({"dependencies": {"@azure/functions": version}})
    message = loading_failure(invoke(function(""), files={"package.json": package}))
    assert "the v4 model is not supported yet" in message


# --- other triggers -----------------------------------------------------------------


def test_a_timer_gets_azures_object(invoke):
    code = "module.exports = async (context, timer) => timer;"
    bindings = trigger("timerTrigger", output("queue", "$return"), schedule="0 * * * * *")
    answer = invoke(code, {}, bindings)
    assert answer.value["isPastDue"] is False and answer.value["schedule"] == {"adjustForDST": True}
    assert set(answer.value["scheduleStatus"]) == {"last", "lastUpdated", "next"}
    answer = invoke(code, {"IsPastDue": True}, bindings)
    assert answer.value["isPastDue"] is True


@pytest.mark.parametrize(
    "kind",
    ["queueTrigger", "blobTrigger", "serviceBusTrigger", "eventHubTrigger", "eventGridTrigger",
     "cosmosDBTrigger"],
)
@pytest.mark.parametrize(
    "event, seen", [({"a": 1}, {"a": 1}), ('{"a":1}', {"a": 1}), ("text", "text"), ([1, 2], [1, 2])]
)
def test_the_event_is_the_triggers_value(invoke, kind, event, seen):
    code = function("context.bindings.out = { item, same: item === context.bindings.item };",
                    "async function (context, item)")
    answer = invoke(code, json.dumps(event).encode(), trigger(kind, output("table", "out")))
    assert answer.value["outputs"]["out"]["item"] == seen


def test_a_queue_message_has_its_binding_data(invoke):
    code = function("context.bindings.out = context.bindingData;")
    value = invoke(code, {"a": 1}, trigger("queueTrigger", output("queue", "out"))).value
    data = value["outputs"]["out"]
    assert data["queueTrigger"] == '{"a":1}' and data["dequeueCount"] == 1
    assert {"id", "insertionTime", "expirationTime", "nextVisibleTime", "popReceipt"} <= set(data)


def test_a_blob_may_be_bytes(invoke):
    code = "module.exports = async (context, blob) => blob.toString('hex');"
    event = {"body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}
    answer = invoke(code, event, trigger("blobTrigger", output("blob", "$return"), path="a/{name}"))
    assert answer.value == "00ff"


@pytest.mark.parametrize(
    "body, outputs, expected",
    [
        ("context.bindings.jobs = [1, 2];", ["jobs"], {"outputs": {"jobs": [1, 2]}}),
        ("return { jobs: 'a' };", ["jobs"], {"outputs": {"jobs": "a"}}),
        ("context.bindings.jobs = 'b'; return { jobs: 'a' };", ["jobs"],
         {"outputs": {"jobs": "a"}}),
        ("context.done(null, { jobs: 'a' });", ["jobs"], {"outputs": {"jobs": "a"}}),
        ("return 'value';", ["$return"], "value"),
        ("context.bindings.jobs = 1; return 'value';", ["jobs", "$return"],
         {"outputs": {"jobs": 1}, "$return": "value"}),
        ("return { other: 1 };", [], {"other": 1}),
        ("return { other: 1 };", ["jobs"], {"other": 1}),
        ("", ["jobs"], {"outputs": {}}),
        ("context.bindings.jobs = Buffer.from('x');", ["jobs"],
         {"outputs": {"jobs": {"body": "eA==", "isBase64Encoded": True}}}),
    ],
)
def test_the_outputs_of_other_triggers_are_the_result(invoke, body, outputs, expected):
    bindings = trigger("queueTrigger", *[output("queue", name) for name in outputs])
    assert invoke(function(body), {"a": 1}, bindings).value == expected


def test_an_http_function_shows_its_other_outputs_too(invoke):
    body = "context.bindings.jobs = [1]; context.res = { body: 'queued' };"
    value = invoke(function(body), {}, [*HTTP, output("queue", "jobs")]).value
    assert value["body"] == "queued" and value["outputs"] == {"jobs": [1]}
