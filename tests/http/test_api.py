"""The API's requests and answers, by the program checks/http_api_server (api_server.c): the real
API over a registry and a pool that do what the tests tell them."""

import base64
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading

import pytest

from client import DEADLINE, Reader, Server, chunked, exchange, get, post

INVOKE = "/2015-03-31/functions/{}/invocations"
FUNCTIONS = "/fnrun/v1/functions"
GROUP = 54321


@pytest.fixture
def server(tmp_path):
    tmp_path.chmod(0o755)
    for folder in list(tmp_path.parents)[:2]:
        folder.chmod(0o755)
    (tmp_path / "socket.store" / "incoming").mkdir(parents=True)
    server = Server("http_api_server", f"{tmp_path}/socket", str(GROUP))
    yield server
    server.end()


def invoke(server, event, headers="", name="hello", query=""):
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    answer = server.ask(post(INVOKE.format(name) + query, body, headers))[0]
    assert len(answer.headers["x-amzn-requestid"]) == 36
    return answer


def refusal(answer):
    body = json.loads(answer.body)
    assert body["Message"] == body["message"] and body["Message"]
    assert body["Type"] == ("Service" if answer.status >= 500 else "User")
    return answer.status, answer.headers["x-amzn-errortype"]


# --- invoking ------------------------------------------------------------------------------


def test_a_result_passes_through(server):
    answer = invoke(server, {"result": {"n": 1}})
    assert (answer.status, answer.body) == (200, b'{"n":1}')
    assert answer.headers["x-amz-executed-version"] == "$LATEST"
    assert answer.headers["content-type"] == "application/json"
    assert "x-amz-function-error" not in answer.headers


def test_raw_output_is_not_called_json(server):
    assert invoke(server, {"result": 1}, name="raw").headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize("outcome", range(1, 9))
def test_a_function_error_is_200_and_a_header(server, outcome):
    answer = invoke(server, {"outcome": outcome, "result": {"errorType": "X", "errorMessage": "y"}})
    assert (answer.status, answer.headers["x-amz-function-error"]) == (200, "Unhandled")
    assert json.loads(answer.body)["errorType"] == "X"


@pytest.mark.parametrize("outcome, expected", [
    (10, (400, "InvalidRequestContentException")),
    (11, (413, "RequestTooLargeException")),
    (12, (400, "InvalidParameterValueException")),
    (13, (404, "ResourceNotFoundException")),
    (14, (429, "TooManyRequestsException")),
    (15, (500, "ServiceException")),
])
def test_what_was_not_run_is_refused(server, outcome, expected):
    answer = invoke(server, {"outcome": outcome, "result": {"errorMessage": 'why "so"'}})
    assert refusal(answer) == expected
    assert json.loads(answer.body)["Message"] == 'why "so"'
    assert ("retry-after" in answer.headers) == (outcome == 14)


@pytest.mark.parametrize("code, expected, words", [
    (-16, (429, "TooManyRequestsException"), "concurrency"),
    (-112, (503, "ServiceException"), 'it "broke"'),
    (-108, (503, "ServiceException"), "taken away"),
    (-12, (500, "ServiceException"), "memory"),
])
def test_what_the_pool_does_not_take_is_refused(server, code, expected, words):
    answer = invoke(server, {"submit": code})
    assert refusal(answer) == expected
    assert words in json.loads(answer.body)["Message"]


def test_throttling_says_why_and_when(server):
    answer = invoke(server, {"submit": -16})
    assert answer.headers["retry-after"] == "1"
    assert json.loads(answer.body)["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"


@pytest.mark.parametrize("event", [b"{", b"nope", b'"\xff"', b'{"a":1} x', b"[" * 1001])
def test_an_event_that_is_no_json_is_refused(server, event):
    answer = invoke(server, event)
    assert refusal(answer) == (400, "InvalidRequestContentException")
    assert "at byte" in json.loads(answer.body)["Message"]


def test_no_event_is_an_empty_object(server):
    assert invoke(server, b"").status == 200
    server.wait_for(r"call .* event={}")


def test_an_event_over_the_functions_limit_is_refused(server):
    assert refusal(invoke(server, b'"' + b"x" * 99999 + b'"')) == (413, "RequestTooLargeException")
    with server.connect() as client:
        client.sendall(chunked(INVOKE.format("hello"), b"x" * 60000, b"x" * 60000))
        assert refusal(Reader(client).answer()) == (413, "RequestTooLargeException")
    assert invoke(server, b'"' + b"x" * 99998 + b'"').status == 200


def test_a_dry_run_runs_nothing(server):
    answer = invoke(server, {"outcome": 1}, "X-Amz-Invocation-Type: DryRun\r\n")
    assert (answer.status, answer.body) == (204, b"")
    assert refusal(invoke(server, b"{", "X-Amz-Invocation-Type: DryRun\r\n"))[0] == 400
    assert not [line for line in server.lines if line.startswith("call")]


@pytest.mark.parametrize("header, words", [
    ("X-Amz-Invocation-Type: Event", "not supported yet"),
    ("X-Amz-Invocation-Type: Later", "RequestResponse"),
    ("X-Amz-Log-Type: Head", "Tail"),
    ("X-Fnrun-Timeout: 5", "500ms"),
    ("X-Fnrun-Timeout: 0s", "500ms"),
])
def test_a_header_that_asks_for_what_is_not_is_refused(server, header, words):
    answer = invoke(server, {}, header + "\r\n")
    assert refusal(answer) == (400, "InvalidParameterValueException")
    assert words in json.loads(answer.body)["Message"]


def test_the_headers_of_a_call_reach_the_pool(server):
    context = base64.b64encode(b'{"custom":{"a":1}}').decode()
    invoke(server, {}, f"X-Amz-Client-Context: {context}\r\nX-Fnrun-Timeout: 1500ms\r\n"
                       "X-Amzn-Trace-Id: Root=1-2-3\r\n")
    server.wait_for(r'call timeout=1500 context={"custom":{"a":1}} trace=Root=1-2-3 usage=0 event={}')


@pytest.mark.parametrize("context", ["!!!!", "e30=x", base64.b64encode(b"[1]").decode(),
                                     base64.b64encode(b"{").decode(), "A" * 3600, "e", "e30\x01"])
def test_a_client_context_must_be_a_json_object(server, context):
    assert refusal(invoke(server, {}, f"X-Amz-Client-Context: {context}\r\n")) == \
        (400, "InvalidRequestContentException")


def test_the_tail_of_the_log_has_lambdas_lines(server):
    answer = invoke(server, {"log": "one\ntwo"}, "X-Amz-Log-Type: Tail\r\n")
    tail = base64.b64decode(answer.headers["x-amz-log-result"]).decode()
    request_id = answer.headers["x-amzn-requestid"]
    assert tail.splitlines()[:4] == [f"START RequestId: {request_id} Version: $LATEST", "one", "two",
                                     f"END RequestId: {request_id}"]
    assert tail.splitlines()[4].startswith(
        f"REPORT RequestId: {request_id}\tDuration: 1.23 ms\tBilled Duration: 2 ms\t"
        "Memory Size: 128 MB\tMax Memory Used: 9 MB\tInit Duration: 5.68 ms")
    server.wait_for(r"call .* usage=1 .*")
    long = invoke(server, {"log": "x" * 50000}, "X-Amz-Log-Type: Tail\r\n")
    assert len(base64.b64decode(long.headers["x-amz-log-result"])) == 4096


def test_a_report_has_the_numbers_and_the_log(server):
    answer = invoke(server, {"result": 5, "log": "a\nb\n", "outcome": 3}, "X-Fnrun-Report: 1\r\n")
    report = json.loads(answer.headers["x-fnrun-report"])
    assert report == {"requestId": answer.headers["x-amzn-requestid"], "outcome": "Sandbox.Timedout",
                      "report": {"durationMs": 1.23, "billedDurationMs": 2, "memorySizeMB": 128,
                                 "maxMemoryUsedMB": 9, "initDurationMs": 5.68, "cpuMs": 0.91,
                                 "limits": "cgroup", "cold": True}}
    assert base64.b64decode(answer.headers["x-fnrun-log"]) == b"a\nb\n"
    assert answer.body == b"5"


def test_a_large_log_stands_behind_the_result(server):
    answer = invoke(server, {"result": 5, "log": "y" * 90000}, "X-Fnrun-Report: 1\r\n")
    assert answer.headers["x-fnrun-log-length"] == "90000"
    assert answer.body == b"5" + b"y" * 90000
    assert "x-fnrun-log" not in answer.headers


def test_the_largest_headers_fit(server):
    answer = invoke(server, {"result": 5, "log": "y" * 8192},
                    "X-Fnrun-Report: 1\r\nX-Amz-Log-Type: Tail\r\nX: " + "a" * 11000 + "\r\n")
    assert len(base64.b64decode(answer.headers["x-fnrun-log"])) == 8192
    assert len(base64.b64decode(answer.headers["x-amz-log-result"])) == 4096


def test_a_client_that_leaves_cancels_its_call(server):
    client = server.connect()
    client.sendall(post(INVOKE.format("hello"), b'{"hold": true}'))
    server.wait_for("call .*")
    client.close()
    server.wait_for(r'cancelled, event={"hold": true}')  # whose memory is still there
    assert invoke(server, {"result": 1}).body == b"1"


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name, version", [
    ("hello", "$LATEST"), ("hello:$LATEST", "$LATEST"), ("hello%3A%24LATEST", "$LATEST"), ("hello:7", "7"),
    ("123456789012:function:hello", "$LATEST"), ("123456789012:function:hello:7", "7"),
    ("arn:aws:lambda:eu-west-1:123456789012:function:hello", "$LATEST"),
    ("arn:aws:lambda:eu-west-1:123456789012:function:hello:7", "7"),
    ("hello?Qualifier=%24LATEST", "$LATEST"), ("hello?Qualifier=7", "7"), ("hello:7?Qualifier=7", "7"),
])
def test_a_function_has_several_names(server, name, version):
    name, _, query = name.partition("?")
    answer = invoke(server, {"result": 1}, name=name, query=f"?{query}" if query else "")
    assert (answer.status, answer.headers["x-amz-executed-version"]) == (200, version)


@pytest.mark.parametrize("name, status", [
    ("nobody", 404), ("hello:8", 404), ("hello:prod", 404), ("hello%20x", 400), ("a" * 65, 400),
    ("arn:aws:s3:r:1:function:hello", 400), ("arn:aws:lambda:r:1:layer:hello", 400), ("hello:", 400),
    (":hello", 400), ("a:b:c:d:e:f:g:h:i:j:k", 400), ("hello:7:8", 400), ("hello%00", 400),
])
def test_a_name_that_is_none_or_of_nobody_is_refused(server, name, status):
    assert refusal(invoke(server, {}, name=name))[0] == status


def test_two_qualifiers_must_agree(server):
    assert refusal(invoke(server, {}, name="hello:7", query="?Qualifier=%24LATEST"))[0] == 400


# --- managing ------------------------------------------------------------------------------------


def manage(server, method, path, body=b""):
    return server.ask(post(path, body).replace(b"POST", method.encode(), 1) if body or method != "GET"
                      else get(path))[0]


@pytest.mark.parametrize("path, body", [
    (FUNCTIONS, {"functions": []}),
    (FUNCTIONS + "/hello", {"name": "hello"}),
    (FUNCTIONS + "/hello/versions", {"versions": [{"version": 7, "digest": "a" * 64,
                                                   "created": 1700000000, "current": True}]}),
    (FUNCTIONS + "/hello/usage?limit=5", ["hello", 5]),
    (FUNCTIONS + "/hello/usage", ["hello", 100]),
    ("/fnrun/v1/top", {"time": 1}),
])
def test_looking(server, path, body):
    answer = manage(server, "GET", path)
    assert (answer.status, json.loads(answer.body)) == (200, body)


def test_health_has_a_version(server):
    answer = json.loads(manage(server, "GET", "/fnrun/v1/health").body)
    assert answer["status"] == "ok" and answer["version"]


@pytest.mark.parametrize("method, path, expected", [
    ("GET", "/", (404, "UnknownOperationException")),
    ("GET", FUNCTIONS + "/", (404, "UnknownOperationException")),
    ("GET", FUNCTIONS + "/hello/nothing", (404, "UnknownOperationException")),
    ("GET", "/2015-03-31/functions/hello/invocations", (405, "MethodNotAllowedException")),
    ("PATCH", FUNCTIONS + "/hello", (405, "MethodNotAllowedException")),
    ("GET", FUNCTIONS + "/nobody", (404, "ResourceNotFoundException")),
    ("GET", FUNCTIONS + "/nobody/versions", (404, "ResourceNotFoundException")),
    ("GET", FUNCTIONS + "/nobody/logs", (404, "ResourceNotFoundException")),
    ("POST", FUNCTIONS + "/nobody/rollback", (404, "ResourceNotFoundException")),
    ("DELETE", FUNCTIONS + "/nobody", (404, "ResourceNotFoundException")),
    ("DELETE", FUNCTIONS + "/raw", (409, "ResourceConflictException")),
    ("GET", FUNCTIONS + "/hello/usage?limit=x", (400, "InvalidParameterValueException")),
    ("GET", FUNCTIONS + "/hello/usage?limit=10001", (400, "InvalidParameterValueException")),
    ("GET", FUNCTIONS + "/hello/logs?since=-1", (400, "InvalidParameterValueException")),
    ("POST", FUNCTIONS + "/hello/rollback?version=1x", (400, "InvalidParameterValueException")),
    ("PUT", FUNCTIONS + "/hello:7", (400, "InvalidParameterValueException")),
    ("PUT", FUNCTIONS + "/hello", (400, "InvalidRequestContentException")),
])
def test_what_is_not_there_or_not_possible_says_so(server, method, path, expected):
    assert refusal(manage(server, method, path)) == expected


def test_removing_and_rolling_back(server):
    assert manage(server, "DELETE", FUNCTIONS + "/hello").status == 204
    assert manage(server, "POST", FUNCTIONS + "/hello/rollback?version=3").status == 200
    server.wait_for("rollback hello to 3")
    assert manage(server, "POST", FUNCTIONS + "/hello/rollback").status == 200
    server.wait_for("rollback hello to 0")
    assert manage(server, "POST", FUNCTIONS + "/hello/rollback?version=9").status == 400


def incoming(server):
    return list(pathlib.Path(f"{server.address}.store/incoming").iterdir())


def test_a_package_is_unpacked_deployed_and_its_upload_removed(server):
    for name, told in (("new", "deploy new as new"), ("-", "deploy function as -")):
        answer = manage(server, "PUT", f"{FUNCTIONS}/{name}", b"tar" * 100000)
        assert (answer.status, json.loads(answer.body)) == (200, {"name": "deployed"})
        server.wait_for(told)
        assert not incoming(server)


def test_a_package_that_cannot_be_unpacked_is_refused(server):
    answer = manage(server, "PUT", FUNCTIONS + "/new", b"bad" * 100)
    assert refusal(answer) == (400, "InvalidParameterValueException")
    assert "no archive at all" in json.loads(answer.body)["Message"]
    assert not incoming(server)


def test_an_upload_that_breaks_off_leaves_nothing(server):
    client = server.connect()
    client.sendall(post(FUNCTIONS + "/new", b"tar" * 10).replace(b"POST", b"PUT")[:-1])
    while not incoming(server):
        assert manage(server, "GET", "/fnrun/v1/health").status == 200
    client.close()
    for _ in range(1000):
        if not incoming(server):
            break
        manage(server, "GET", "/fnrun/v1/health")
    assert not incoming(server)


def test_a_deployment_goes_on_when_its_client_leaves(server):
    client = server.connect()
    client.sendall(post(FUNCTIONS + "/slow", b"tar").replace(b"POST", b"PUT"))
    server.wait_for("deploy slow as slow")
    client.close()
    assert incoming(server)
    assert manage(server, "GET", "/fnrun/v1/top").status == 200
    assert not incoming(server)


def test_logs_are_lines_of_json(server):
    lines = [json.loads(line) for line in
             manage(server, "GET", FUNCTIONS + "/hello/logs").body.splitlines()]
    assert [(line["requestId"], line["message"]) for line in lines] == \
        [("id-1", 'one "line"'), ("id-1", "and \ufffd"), ("id-2", "two")]
    assert manage(server, "GET", f"{FUNCTIONS}/hello/logs?since={lines[-1]['time'] + 1}").body == b""
    assert len(manage(server, "GET", f"{FUNCTIONS}/hello/logs?request_id=id-2").body.splitlines()) == 1


def test_logs_can_be_followed(server):
    with server.connect() as client:
        client.sendall(get(FUNCTIONS + "/hello/logs?follow=1&request_id=id-2"))
        reader = Reader(client)
        status, headers = reader.head()
        assert (status, headers["content-type"]) == (200, "application/x-ndjson")
        assert json.loads(reader.until(b"}\n").split(b"\r\n")[-1] + b"}")["message"] == "two"
        for _ in range(3):
            server.process.send_signal(signal.SIGUSR1)
            assert json.loads(reader.until(b"}\n").split(b"\r\n")[-1] + b"}")["message"] == "and more"
    server.process.send_signal(signal.SIGUSR1)
    assert manage(server, "GET", "/fnrun/v1/health").status == 200


# --- who may ---------------------------------------------------------------------------------------


def as_user(server, request, user=65534, groups=()):
    code = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(sys.stdin.buffer.read()); s.shutdown(1)\n"
            "while d := s.recv(65536): sys.stdout.buffer.write(d)")
    out = subprocess.run(["/usr/bin/python3", "-c", code, server.address], input=request, check=True,
                         stdout=subprocess.PIPE, user=user, group=user, extra_groups=groups,
                         timeout=DEADLINE).stdout
    return int(out.split()[1])


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_the_group_invokes_and_others_do_nothing(server):
    call, look = post(INVOKE.format("hello"), b"{}"), get(FUNCTIONS)
    health = get("/fnrun/v1/health")
    assert [as_user(server, r) for r in (call, look, health)] == [403, 403, 200]
    assert [as_user(server, r, groups=[7, GROUP]) for r in (call, look, health)] == [200, 403, 200]
    assert [as_user(server, r, user=0) for r in (call, look, health)] == [200, 200, 200]


def test_when_stopping_all_but_health_is_503(server):
    server.process.send_signal(signal.SIGUSR2)
    server.wait_for("stopping")
    answer = invoke(server, {})
    assert refusal(answer) == (503, "ServiceException")
    assert answer.headers["retry-after"] == "1"
    assert manage(server, "GET", "/fnrun/v1/health").status == 200


# --- Amazon's client -------------------------------------------------------------------------------


@pytest.fixture
def amazon(server):
    """boto3's Lambda client; it speaks TCP, so somebody in between does."""
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed: python3-boto3")
    from botocore.config import Config
    listening = socket.create_server(("127.0.0.1", 0))

    def carry(source, target):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def serve():
        while True:
            try:
                client = listening.accept()[0]
            except OSError:
                return
            there = server.connect()
            there.settimeout(None)
            for pair in ((client, there), (there, client)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield boto3.client("lambda", region_name="us-east-1", aws_access_key_id="x",
                       aws_secret_access_key="x", config=Config(retries={"max_attempts": 0}),
                       endpoint_url=f"http://127.0.0.1:{listening.getsockname()[1]}")
    listening.close()


def test_amazons_client_understands_the_answers(amazon):
    answer = amazon.invoke(FunctionName="arn:aws:lambda:us-east-1:123456789012:function:hello",
                           Payload=b'{"result": {"n": 1}, "log": "hi"}', LogType="Tail",
                           ClientContext=base64.b64encode(b"{}").decode())
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    assert answer["Payload"].read() == b'{"n":1}'
    assert b"hi" in base64.b64decode(answer["LogResult"])
    assert "FunctionError" not in answer
    failed = amazon.invoke(FunctionName="hello", Payload=b'{"outcome": 1, "result": {"errorType": "E"}}')
    assert failed["FunctionError"] == "Unhandled"
    assert json.loads(failed["Payload"].read())["errorType"] == "E"
    assert amazon.invoke(FunctionName="hello", Qualifier="7")["ExecutedVersion"] == "7"
    assert amazon.invoke(FunctionName="hello", InvocationType="DryRun")["StatusCode"] == 204


def test_amazons_client_understands_the_refusals(amazon):
    for exception, arguments in {
        "ResourceNotFoundException": {"FunctionName": "nobody"},
        "TooManyRequestsException": {"FunctionName": "hello", "Payload": b'{"submit": -16}'},
        "InvalidRequestContentException": {"FunctionName": "hello", "Payload": b"{"},
        "ServiceException": {"FunctionName": "hello", "Payload": b'{"submit": -12}'},
        "RequestTooLargeException": {"FunctionName": "hello", "Payload": b'"%s"' % (b"x" * 200000)},
    }.items():
        with pytest.raises(getattr(amazon.exceptions, exception)) as raised:
            amazon.invoke(**arguments)
        assert raised.value.response["Error"]["Message"]
