"""`fnrun invoke NAME` against a daemon that answers what each test wants: exit statuses, what
is printed where, what is sent, and answers that are none. (The other commands that speak to
the daemon: test_daemon_manage.py.)"""
import base64
import json
import os
import signal
import socket
import subprocess

import pytest

from fake_daemon import answers, fake_daemon, fake_daemons
from harness import DEADLINE, FNRUN, environment, fnrun

ID = "01234567-89ab-4cde-8f01-23456789abcd"
REPORT = {"requestId": ID, "outcome": "Success",
          "report": {"durationMs": 1.23, "billedDurationMs": 2, "memorySizeMB": 128, "maxMemoryUsedMB": 9,
                     "initDurationMs": 4.5, "cpuMs": 0.7, "limits": "cgroup", "cold": True}}


@pytest.fixture(name="daemon")
def daemon_of_the_test(tmp_path):
    yield from fake_daemons(tmp_path / "s")


def report_headers(log="", **report):
    return {"X-Fnrun-Report": json.dumps(REPORT | report), "X-Fnrun-Log": base64.b64encode(log.encode()).decode(),
            "X-Amzn-RequestId": ID, "Content-Type": "application/json"}


# --- invoke: what is sent ------------------------------------------------------------------


def test_the_event_and_the_name_are_sent_as_lambdas_api_wants_them(daemon):
    fake = daemon(answers(body=b'{"hello":1}'))
    result = fnrun("invoke", "hello", "--event", '{"name":"Ada"}', "--quiet", env=fake.env)
    assert (result.status, result.out, result.err) == (0, b'{"hello":1}', "")
    assert fake.request.method == "POST"
    assert fake.request.path == "/2015-03-31/functions/hello/invocations"
    assert fake.request.body == b'{"name":"Ada"}'
    assert "x-fnrun-report" not in fake.request.headers, "numbers cost time: only when they are printed"
    assert "x-fnrun-timeout" not in fake.request.headers


def test_the_event_comes_from_a_file_or_stdin_as_for_a_path(daemon, tmp_path):
    fake = daemon(answers())
    (tmp_path / "event.json").write_bytes(b" [1] \n")
    fnrun("invoke", "hello", "-q", "--event", f"@{tmp_path}/event.json", env=fake.env)
    fnrun("invoke", "hello", "-q", data=b'{"from":"pipe"}', env=fake.env)
    fnrun("invoke", "hello", "-q", "--event", "-", data=b'"dash"', env=fake.env)
    fnrun("invoke", "hello", "-q", env=fake.env)
    assert [request.body for request in fake.requests] == [b" [1] \n", b'{"from":"pipe"}', b'"dash"', b"{}"]


def test_a_large_event_arrives_whole(daemon):
    fake = daemon(answers())
    event = json.dumps("x" * 3_000_000).encode()
    assert fnrun("invoke", "hello", "-q", data=event, env=fake.env).status == 0
    assert fake.request.body == event


@pytest.mark.parametrize("event, part", [
    ("{", "the event is not JSON"), ("", "it is empty"), ("@/nowhere/at/all", "cannot be opened")])
def test_a_bad_event_is_refused_before_anything_is_sent(daemon, event, part):
    fake = daemon(answers())
    assert "InvalidRequestContentException" in fnrun("invoke", "hello", "--event", event, env=fake.env).refused(3, part)
    assert not fake.requests


def test_the_timeout_is_sent_and_checked(daemon):
    fake = daemon(answers())
    fnrun("invoke", "hello", "-q", "--timeout", "1.5s", env=fake.env)
    assert fake.request.headers["x-fnrun-timeout"] == "1.5s"
    fake.requests.clear()
    for right in ("1ms", "0.001s", "24h", "0.5m", "86400s"):
        assert fnrun("invoke", "hello", "-q", "--timeout", right, env=fake.env).status == 0
    del fake.requests[1:]
    for wrong in ("3", "x", "", "1s\r\nX-Other: 1", "-1s", "1" * 40 + "s", "0s", "0.0009s", "1.5ms", "1.s", ".5s", "25h",
                  "999999999h", "1.1234567s", "3 s"):
        assert fnrun("invoke", "hello", "--timeout", wrong, env=fake.env).refused(2, "--timeout: expected a time")
    assert len(fake.requests) == 1


@pytest.mark.parametrize("option", [["--env", "A=b"], ["-eA=b"], ["--memory", "64M"], ["-m", "64M"], ["--cgroup", "a"],
                                    ["--limits=rlimit"]])
def test_options_of_one_shot_calls_are_wrong_usage_with_a_name(daemon, option):
    fake = daemon(answers())
    assert fnrun("invoke", "hello", *option, env=fake.env).refused(2, "is for one-shot calls (fnrun invoke ./PATH)")
    assert not fake.requests


def test_the_variable_for_one_shot_calls_does_not_stand_in_the_way_of_a_name(daemon):
    fake = daemon(answers())
    assert fnrun("invoke", "hello", "-q", env=fake.env | {"FNRUN_CGROUP": "a"}).status == 0


def test_a_word_that_is_no_name_is_refused_before_anything_is_sent(daemon):
    fake = daemon(answers())
    for word in ("a b", "a?b", "häl", "x" * 65, "a\r\nb"):
        assert fnrun("invoke", word, env=fake.env).refused(3, "cannot be the name of a function")
    assert not fake.requests


def test_a_path_is_run_here_although_a_daemon_is_there(daemon, tmp_path):
    fake = daemon(answers())
    for path in ("./hello", "hello/", "nowhere.py", str(tmp_path / "hello"), "."):
        result = fnrun("invoke", path, env=fake.env, cwd=tmp_path)
        assert result.status in (3, 5), result
        assert "fnrund" not in result.err
    assert not fake.requests


# --- invoke: what is printed -----------------------------------------------------------------


def test_result_log_and_report_line_look_as_those_of_a_one_shot_call(daemon):
    fake = daemon(answers(body=b'{"hello":1}', headers=report_headers("one\ntwo\n")))
    result = fnrun("invoke", "hello", env=fake.env)
    assert fake.request.headers["x-fnrun-report"] == "1"
    assert (result.status, result.out) == (0, b'{"hello":1}')
    assert result.log == "one\ntwo\n"
    assert result.report == {"RequestId": ID, "Duration": "1.23 ms", "Billed Duration": "2 ms", "Memory Size": "128 MB",
                             "Max Memory Used": "9 MB", "Init Duration": "4.50 ms", "CPU Time": "0.70 ms"}


def test_json_is_one_object_with_the_result_inside(daemon):
    fake = daemon(answers(body=b'{"hello":1}', headers=report_headers("a log\n")))
    result = fnrun("invoke", "hello", "--json", env=fake.env)
    assert result.err == ""
    assert result.json == {"requestId": ID, "outcome": "Success", "result": {"hello": 1}, "log": "a log\n",
                           "report": REPORT["report"]}


def test_a_raw_result_is_a_text_in_json_and_bytes_without(daemon):
    headers = report_headers() | {"Content-Type": "application/octet-stream"}
    fake = daemon(answers(body=b"123", headers=headers))
    assert fnrun("invoke", "hello", "--json", env=fake.env).json["result"] == "123"
    assert fnrun("invoke", "hello", "-q", env=fake.env).out == b"123"


def test_bytes_that_are_no_text_are_base64_in_json(daemon):
    fake = daemon(answers(body=b"\xff\x00", headers=report_headers() | {"Content-Type": "application/octet-stream"}))
    assert base64.b64decode(fnrun("invoke", "hello", "--json", env=fake.env).json["resultBase64"]) == b"\xff\x00"


@pytest.mark.parametrize("level, log, line", [("error", False, False), ("warn", True, False), ("info", True, True),
                                              ("debug", True, True)])
def test_the_log_level_says_what_goes_to_stderr(daemon, level, log, line):
    fake = daemon(answers(headers=report_headers("a log\n")))
    result = fnrun("invoke", "hello", "--log-level", level, env=fake.env)
    assert ("a log\n" in result.err) == log and ("REPORT" in result.err) == line
    assert ("x-fnrun-report" in fake.request.headers) == log


def test_a_warm_call_has_no_init_duration(daemon):
    warm = {"report": REPORT["report"] | {"cold": False, "initDurationMs": 0.0}}
    result = fnrun("invoke", "hello", env=daemon(answers(headers=report_headers(**warm))).env)
    assert set(result.report) == {"RequestId", "Duration", "Billed Duration", "Memory Size", "Max Memory Used", "CPU Time"}


def test_a_long_log_comes_whole_in_a_header_or_behind_the_result(daemon):
    log = "".join(f"line {i:>10}\n" for i in range(4096))
    behind = report_headers() | {"X-Fnrun-Log-Length": str(len(log))}
    behind.pop("X-Fnrun-Log")

    def handler(connection, request):
        if "header" in request.path:
            connection.answer(200, b"[1]", report_headers(log))
        else:
            connection.answer(200, b"[1]" + log.encode(), behind)

    fake = daemon(handler)
    for name in ("header", "behind"):
        result = fnrun("invoke", name, env=fake.env)
        assert (result.out, result.log) == (b"[1]", log)
        assert fnrun("invoke", name, "--json", env=fake.env).json["log"] == log


@pytest.mark.parametrize("headers", [
    {"X-Fnrun-Report": "{"}, {"X-Fnrun-Report": "[1]"}, {"X-Fnrun-Report": '{"report":3,"outcome":[]}'},
    {"X-Fnrun-Report": '{"report":{"durationMs":-1,"cpuMs":1e99,"memorySizeMB":99999999999999999999999}}'},
    {"X-Fnrun-Log": "not base64!"}, {"X-Fnrun-Log": "abc"}, {"X-Fnrun-Log": "===="}, {"X-Fnrun-Log-Length": "99"},
    {"X-Fnrun-Log-Length": "-1"}, {"X-Fnrun-Log-Length": "x"}])
def test_headers_that_make_no_sense_do_not_cost_the_result(daemon, headers):
    fake = daemon(answers(body=b"[1]", headers=headers))
    assert fnrun("invoke", "hello", env=fake.env).succeeded() == [1]
    assert fnrun("invoke", "hello", "--json", env=fake.env).json["result"] == [1]


def test_a_large_result_comes_whole_however_it_is_sent(daemon):
    body = json.dumps(["x" * 1000] * 6000).encode()

    def handler(connection, request):
        if "plain" in request.path:
            connection.answer(200, body)
        elif "close" in request.path:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + body)
        else:
            connection.begin()
            for at in range(0, len(body), 70001):
                connection.chunk(body[at:at + 70001])
            connection.send("0\r\nTrailer: x\r\n\r\n")

    fake = daemon(handler)
    for name in ("plain", "close", "chunked"):
        result = fnrun("invoke", name, "-q", env=fake.env)
        assert result.status == 0 and result.out == body


def test_an_answer_in_small_pieces_is_put_together(daemon):
    def handler(connection, request):
        text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n[1,\r\n3\r\n2]\n\r\n0\r\n\r\n"
        for i in range(len(text)):
            connection.send(text[i:i + 1])

    assert fnrun("invoke", "hello", "-q", env=daemon(handler).env).out == b"[1,2]\n"


@pytest.mark.parametrize("kind, status", [
    ("ValueError", 1), ("Runtime.ExitError", 1), ("Sandbox.Timedout", 124), ("Runtime.InitTimeout", 124),
    ("Runtime.OutOfMemory", 137), ("Function.ResponseSizeTooLarge", 1), ("Runtime.MarshalError", 1),
    ("Runtime.ImportModuleError", 1), ("ServiceException", 1), ("ResourceNotFoundException", 1), ("Success", 1)])
def test_the_exit_status_tells_how_a_function_failed(daemon, kind, status):
    error = {"errorType": kind, "errorMessage": "words"}
    fake = daemon(answers(200, error, {"X-Amz-Function-Error": "Unhandled"}))
    result = fnrun("invoke", "hello", "-q", env=fake.env)
    assert result.failed(status, kind) == "words"
    assert result.err == ""


def test_the_outcome_of_the_report_says_more_than_the_functions_own_words(daemon):
    error = {"errorType": "Sandbox.Timedout", "errorMessage": "a class of that name"}
    headers = report_headers(outcome="Unhandled") | {"X-Amz-Function-Error": "Unhandled"}
    result = fnrun("invoke", "hello", env=daemon(answers(200, error, headers)).env)
    assert result.status == 1
    assert result.report["Status"] == "error"


@pytest.mark.parametrize("http, kind, status", [
    (400, "InvalidRequestContentException", 3), (413, "RequestTooLargeException", 3), (404, "ResourceNotFoundException", 3),
    (429, "TooManyRequestsException", 4), (403, "AccessDeniedException", 4), (500, "ServiceException", 5),
    (503, "ServiceException", 5)])
def test_a_refusal_is_one_line_with_its_kind_and_exit_status(daemon, http, kind, status):
    body = {"Type": "User", "Message": "what is \"wrong\" \u2014 and what to do"}
    headers = {"x-amzn-ErrorType": kind} | ({"Retry-After": "1"} if http in (429, 503) else {})
    result = fnrun("invoke", "hello", env=daemon(answers(http, body, headers)).env)
    retry = "; try again in 1 s" if "Retry-After" in headers else ""
    assert result.refused(status) == f"fnrun: {kind}: what is \"wrong\" — and what to do{retry}\n"


def test_a_function_that_is_not_deployed_but_lies_here_says_to_write_its_path(daemon, tmp_path):
    (tmp_path / "hello").mkdir()
    fake = daemon(answers(404, {"Message": "Function not found: hello"}, {"x-amzn-ErrorType": "ResourceNotFoundException"}))
    fnrun("invoke", "hello", env=fake.env, cwd=tmp_path).refused(3, "Function not found: hello; `fnrun invoke ./hello` runs the folder")


# --- invoke: no answer, or none that is one ------------------------------------------------------

BAD = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a bad status": b"HTTP/1.1 2x0 OK\r\n\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n{}",
    "a length beyond all": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
    "a length that is too large": b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n{}",
    "a coding that is not known": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    "a chunk without length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "a chunk longer than it says": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "a chunk's line without end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 100000,
    "a header that is none": b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}",
    "a zero byte": b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n{}",
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100000,
}


@pytest.mark.parametrize("what", BAD)
def test_an_answer_that_is_none_is_the_daemons_failure(daemon, what):
    fake = daemon(lambda connection, request: connection.send(BAD[what]))
    for words in (["invoke", "hello"], ["list"], ["logs", "hello"]):
        result = fnrun(*words, env=fake.env)
        assert result.status == 5, (words, result)
        assert result.err.startswith("fnrun: the daemon") and result.err.count("\n") == 1, result
        if words[0] != "logs":
            assert result.out == b""


def test_no_daemon_says_how_to_start_one(tmp_path):
    for words in (["invoke", "hello"], ["list"], ["deploy", "."], ["top", "--json"], ["logs", "x"]):
        result = fnrun(*words, env={"FNRUN_SOCKET": str(tmp_path / "none")}, cwd=tmp_path)
        assert result.refused(5, "no fnrund is running", "`fnrund &`", "`systemctl start fnrund`", str(tmp_path / "none"))
        assert "./hello" not in result.err and result.err.count("\n") == 1


def test_no_daemon_and_a_folder_of_that_name_says_to_write_its_path(tmp_path):
    (tmp_path / "hello").mkdir()
    result = fnrun("invoke", "hello", env={"FNRUN_SOCKET": str(tmp_path / "none")}, cwd=tmp_path)
    result.refused(5, "`fnrun invoke ./hello` runs the folder of that name once, without a daemon")


def test_a_socket_that_nobody_listens_on_any_more_is_no_daemon(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    fnrun("invoke", "hello", env={"FNRUN_SOCKET": str(path)}).refused(5, "no fnrund is running", "any more")
    path.unlink()


def test_a_socket_that_is_not_for_this_user_is_not_allowed(tmp_path, everybodys):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    path = everybodys / "s"
    with fake_daemon(path, answers()):
        path.chmod(0o600)
        for words in (["invoke", "hello"], ["list"]):
            result = fnrun(*words, env={"FNRUN_SOCKET": str(path)}, user=65534, group=65534, extra_groups=[], cwd="/")
            result.refused(4, "you may not use the daemon's socket", "group")


def test_the_socket_is_the_options_then_the_variables_then_the_users_own(tmp_path):
    (tmp_path / "run").mkdir()
    paths = {"option": tmp_path / "o", "variable": tmp_path / "v", "user": tmp_path / "run/fnrun.sock"}
    contexts = [fake_daemon(path, answers(body=json.dumps(name).encode())) for name, path in paths.items()]
    env = {"XDG_RUNTIME_DIR": str(tmp_path / "run")}
    for context in contexts:
        context.__enter__()  # pylint: disable=unnecessary-dunder-call
    try:
        both = env | {"FNRUN_SOCKET": str(paths["variable"])}
        assert fnrun("invoke", "a", "-q", "--socket", paths["option"], env=both).json == "option"
        assert fnrun("invoke", "a", "-q", env=both).json == "variable"
        assert fnrun("invoke", "a", "-q", env=env).json == "user"
        assert fnrun("invoke", "a", "-q", env=env | {"FNRUN_SOCKET": ""}).json == "user"
    finally:
        for context in contexts:
            context.__exit__(None, None, None)
    if not os.path.exists("/run/fnrun.sock"):
        fnrun("invoke", "a", env=env).refused(5, "/run/fnrun.sock", str(tmp_path / "run/fnrun.sock"))
    fnrun("invoke", "a", "--socket", "/" + "x" * 200).refused(5, "too long")


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_closes_the_connection(daemon, number, status):
    seen = []

    def handler(connection, request):
        seen.append(request.path)
        os.kill(process.pid, number)
        seen.append(connection.gone())

    fake = daemon(handler)
    process = subprocess.Popen([FNRUN, "invoke", "hello"], env=environment(fake.env), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out, err) == (status, b"", b"")
    for thread in fake.threads:
        thread.join(DEADLINE)
    assert seen[1] is True


def test_a_result_that_cannot_be_written_is_an_error(daemon):
    fake = daemon(answers(headers=report_headers()))
    with open("/dev/full", "wb") as full:
        done = subprocess.run([FNRUN, "invoke", "hello", "-q"], env=environment(fake.env), stdin=subprocess.DEVNULL, stdout=full,
                              stderr=subprocess.PIPE, timeout=DEADLINE, check=False)
    assert done.returncode == 5 and b"cannot be written to stdout" in done.stderr


def test_without_standard_descriptors_nothing_is_printed_into_the_connection(daemon):
    seen = []

    def handler(connection, request):
        connection.answer(200, b'{"secret":1}')
        seen.append(connection.file.read())

    fake = daemon(handler)
    done = subprocess.run(["/bin/sh", "-c", 'exec "$0" invoke hello --event {} <&- >&- 2>&-', FNRUN],
                          env=environment(fake.env), timeout=DEADLINE, check=False)
    assert done.returncode == 5
    for thread in fake.threads:
        thread.join(DEADLINE)
    assert seen == [b""]
