"""deploy, list, show, versions, rollback, remove, logs, top and usage against a daemon that
answers what each test wants: what is sent, what is printed where, and exit statuses."""
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tarfile
import termios
import time
import zipfile

import pytest

from fake_daemon import answers, fake_daemons
from harness import DEADLINE, FNRUN, environment, fnrun

DIGEST = "0123456789abcdef" * 4
SERVED = {"name": "hello", "version": 3, "digest": DIGEST, "unchanged": False, "way": "fork", "why": "", "warnings": []}
NAMED = ["show", "versions", "rollback", "remove", "logs", "usage"]


@pytest.fixture(name="daemon")
def daemon_of_the_test(tmp_path):
    yield from fake_daemons(tmp_path / "s")


def unpacked(body):
    """name: (type, mode, content or target) of a tar."""
    with tarfile.open(fileobj=io.BytesIO(body), mode="r:") as archive:
        found = {}
        for member in archive:
            content = archive.extractfile(member).read() if member.isreg() else member.linkname
            found[member.name] = (member.type, member.mode, content)
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        return found


# --- deploy: what is sent ------------------------------------------------------------------


def test_a_folder_is_sent_as_a_tar_of_its_content(daemon, folder):
    root = folder({"app.py": "def handler(e, c): pass\n", "sub/run": "#!/bin/sh\n", "sub/ä b": b"\xff\0", "empty": b""},
                  ini="[function]\nname = other\n")
    (root / "link").symlink_to("sub/run")
    (root / "none").mkdir()
    (root / ("long" * 40)).write_bytes(b"x" * 300_000)
    fake = daemon(answers(200, SERVED))
    result = fnrun("deploy", root, env=fake.env | {"LC_ALL": "C"})
    assert result.status == 0, result
    assert (fake.request.method, fake.request.path) == ("PUT", "/fnrun/v1/functions/other")
    assert fake.request.headers["transfer-encoding"] == "chunked"
    assert unpacked(fake.request.body) == {
        "app.py": (tarfile.REGTYPE, 0o644, b"def handler(e, c): pass\n"),
        "function.ini": (tarfile.REGTYPE, 0o644, b"[function]\nname = other\n"),
        "sub": (tarfile.DIRTYPE, 0o755, ""), "none": (tarfile.DIRTYPE, 0o755, ""),
        "sub/run": (tarfile.REGTYPE, 0o755, b"#!/bin/sh\n"), "sub/ä b": (tarfile.REGTYPE, 0o644, b"\xff\0"),
        "empty": (tarfile.REGTYPE, 0o644, b""), "long" * 40: (tarfile.REGTYPE, 0o644, b"x" * 300_000),
        "link": (tarfile.SYMTYPE, 0o755, "sub/run")}


def test_the_same_content_is_the_same_bytes(daemon, folder):
    fake = daemon(answers(200, SERVED))
    files = {f"{n}.py": "x" for n in range(30)}
    for name, order in (("one", list(files)), ("two", list(reversed(files)))):
        root = folder({file: files[file] for file in order}, name=name)
        os.utime(root / "3.py", (len(name), hash(name) % 1000))
        assert fnrun("deploy", root, "--name", "hello", env=fake.env).status == 0
    assert fake.requests[0].body == fake.requests[1].body


def test_a_single_file_is_sent_alone_under_its_own_name(daemon, folder):
    fake = daemon(answers(200, SERVED))
    root = folder({"my.app.py": "x", "other.py": "y"})
    assert fnrun("deploy", root / "my.app.py", env=fake.env).status == 0
    assert fake.request.path == "/fnrun/v1/functions/my-app"
    assert list(unpacked(fake.request.body)) == ["my.app.py"]


def test_a_zip_is_sent_as_it_is(daemon, tmp_path):
    fake = daemon(answers(200, SERVED))
    for name, ini in (("named", "[function]\n name = \"in-zip\" ; comment\n"), ("plain", None)):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            archive.writestr("app.py", "x" * 200_000)
            if ini:
                archive.writestr("function.ini", ini)
        assert fnrun("deploy", tmp_path / f"{name}.zip", env=fake.env).status == 0
        assert fake.requests[-1].body == (tmp_path / f"{name}.zip").read_bytes()
        assert fake.requests[-1].headers["content-type"] == "application/zip"
    assert [request.path.split("/")[-1] for request in fake.requests] == ["in-zip", "plain"]


@pytest.mark.parametrize("folder_name, ini, options, name", [
    ("hello", None, [], "hello"), ("my hello.v2", None, [], "my-hello-v2"), ("hello", "[limits]\nname = x\n", [], "hello"),
    ("hello", "[function]\nname = given\n", [], "given"), ("hello", "[function]\nname = given\n", ["--name", "mine"], "mine"),
    ("hello", "[function]\nname = not a name\n", [], "hello"), ("x" * 80, None, [], "x" * 64)])
def test_the_name_is_the_options_or_function_inis_or_the_folders(daemon, folder, folder_name, ini, options, name):
    fake = daemon(answers(200, SERVED))
    root = folder({"app.py": "x"}, ini=ini, name=folder_name)
    assert fnrun("deploy", ".", *options, env=fake.env, cwd=root).status == 0
    assert fake.request.path == f"/fnrun/v1/functions/{name}"


def test_what_is_no_file_of_a_function_is_refused_and_named(daemon, folder):
    fake = daemon(answers(200, SERVED))
    root = folder({"app.py": "x"})
    os.mkfifo(root / "pipe")
    fnrun("deploy", root, env=fake.env).refused(3, "pipe is a socket, pipe or device")
    (root / "pipe").unlink()
    os.mkfifo(root / "function.ini")
    fnrun("deploy", root, env=fake.env).refused(3, "function.ini is a socket, pipe or device")
    fnrun("deploy", root / "nothing", env=fake.env).refused(3, "nothing: No such file")
    fnrun("deploy", "/dev/null", env=fake.env).refused(3, "neither a folder nor a file")
    fnrun("deploy", root, "--name", "a b", env=fake.env).refused(2, "cannot be the name")


def test_folders_without_end_are_refused(daemon, folder):
    fake = daemon(answers(200, SERVED))
    root = folder({"app.py": "x"})
    os.makedirs(root / "/".join("d" * 80))
    fnrun("deploy", root, env=fake.env).refused(3, "nested deeper than")


def test_a_package_that_cannot_be_finished_is_never_ended_as_if_it_were_whole(daemon, folder):
    root = folder({"app.py": "x"})
    os.mkfifo(root / "z")
    bodies = []

    def handler(connection, request):
        bodies.append(request.body)

    fake = daemon(handler)
    assert fnrun("deploy", root, env=fake.env).status == 3
    for thread in fake.threads:
        thread.join(DEADLINE)
    assert all(body.endswith(b"<cut>") for body in bodies)


# --- deploy: what is said ------------------------------------------------------------------------


def test_deploy_prints_name_version_and_way(daemon, folder):
    root = folder({"app.py": "x"})
    fake = daemon(answers(200, SERVED))
    result = fnrun("deploy", root, env=fake.env)
    assert (result.status, result.err) == (0, "")
    assert result.out.decode() == "hello version 3 (0123456789ab): forked from a loaded process\n"


def test_deploy_says_why_it_is_started_ahead_and_prints_warnings(daemon, folder):
    root = folder({"app.py": "x"})
    more = {"way": "ahead", "why": "it has 4 threads after import", "warnings": ["too much memory"], "unchanged": True}
    fake = daemon(answers(200, SERVED | more))
    result = fnrun("deploy", root, env=fake.env)
    assert result.status == 0
    assert result.out.decode() == ("hello version 3 (0123456789ab): nothing has changed; started ahead in each slot: "
                                   "it has 4 threads after import\n")
    assert result.err == "warning: too much memory\n"
    assert fnrun("deploy", root, "--json", env=fake.env).json == SERVED | more
    quiet = fnrun("deploy", root, "-q", env=fake.env)
    assert (quiet.status, quiet.out, quiet.err) == (0, b"", "")


REFUSED = {"Type": "User", "Message": "the new version does not start", "problems": [
    {"file": "hello/function.ini", "line": 3, "message": "memory: 4M at least"}, {"file": None, "line": None, "message": "odd"}],
           "error": {"errorType": "ModuleNotFoundError", "errorMessage": "No module named 'x'", "stackTrace": ["  File app.py\n"]},
           "log": "printed while loading"}


def test_a_refused_version_is_told_with_problems_log_and_error(daemon, folder):
    fake = daemon(answers(400, REFUSED, {"x-amzn-ErrorType": "InvalidParameterValueException"}))
    result = fnrun("deploy", folder({"app.py": "x"}), "--name", "hello", env=fake.env)
    assert (result.status, result.out) == (3, b"")
    assert result.err == (
        "hello/function.ini:3: memory: 4M at least\nodd\nprinted while loading\n"
        "ModuleNotFoundError: No module named 'x'\n      File app.py\n"
        "fnrun: InvalidParameterValueException: the new version does not start\n"
        "fnrun: hello was not deployed\n")
    assert json.loads(fnrun("deploy", folder({"app.py": "x"}), "--json", env=fake.env).out) == REFUSED


def test_an_error_that_the_log_has_is_not_printed_again(daemon, folder):
    refused = REFUSED | {"problems": [], "log": "[ERROR] ModuleNotFoundError: No module named 'x'\n"}
    result = fnrun("deploy", folder({"app.py": "x"}), "-n", "hello", env=daemon(answers(400, refused)).env)
    assert result.err == (refused["log"] + "fnrun: the new version does not start\nfnrun: hello was not deployed\n")


def test_a_daemon_that_refuses_before_it_has_everything_is_heard(daemon, folder):
    def handler(connection, _):
        while connection.file.readline().strip():
            pass
        connection.answer(413, {"Type": "User", "Message": "larger than 1 MB"}, {"Connection": "close"})

    root = folder({"app.py": b"x" * 30_000_000})
    fnrun("deploy", root, env=daemon(handler, whole=False).env).refused(3, "larger than 1 MB")


@pytest.mark.parametrize("http, status", [(403, 4), (409, 4), (413, 3), (429, 4), (500, 5), (503, 5)])
def test_other_refusals_have_their_exit_statuses(daemon, folder, http, status):
    fake = daemon(answers(http, {"Type": "User", "Message": "words"}))
    fnrun("deploy", folder({"app.py": "x"}), env=fake.env).refused(status, "fnrun: words")


# --- what all others share ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", [*NAMED, "list", "top"])
def test_not_allowed_says_who_is(daemon, command):
    fake = daemon(answers(403, {"Type": "User", "Message": "no"}, {"x-amzn-ErrorType": "AccessDeniedException"}))
    words = [command, "hello"] if command in NAMED else [command]
    fnrun(*words, env=fake.env).refused(4, "AccessDeniedException: no (root and the daemon's owner may")


@pytest.mark.parametrize("command", NAMED)
def test_no_such_function_points_to_the_list(daemon, command):
    fake = daemon(answers(404, {"Type": "User", "Message": "Function not found: hello"}))
    fnrun(command, "hello", env=fake.env).refused(3, "Function not found: hello (`fnrun list`")
    fnrun(command, "a/b", env=fake.env).refused(3, "cannot be the name of a function")
    assert len(fake.requests) == 1


@pytest.mark.parametrize("command", ["list", "show", "versions", "usage", "top"])
def test_an_answer_that_is_no_json_is_the_daemons_failure(daemon, command):
    fake = daemon(answers(200, b"{]"))
    words = [command] if command in ("list", "top") else [command, "hello"]
    fnrun(*words, env=fake.env).refused(5, "it is not JSON")


@pytest.mark.parametrize("command", ["list", "show", "versions", "usage", "top"])
def test_json_of_another_shape_breaks_nothing(daemon, command):
    words = [command] if command in ("list", "top") else [command, "hello"]
    for body in (b"[]", b"{}", b"3", b'[1,null,"x"]', b'{"functions":{"a":1},"slots":[],"limits":3,"versions":7}'):
        result = fnrun(*words, env=daemon_env(daemon, body))
        assert result.status == 0, (body, result)


def daemon_env(daemon, body, _state={}):  # pylint: disable=dangerous-default-value
    """One fake for several bodies."""
    if _state.get("daemon") is not daemon:
        _state["daemon"] = daemon
        _state["fake"] = daemon(lambda connection, request: connection.answer(200, _state["body"]))
    _state["body"] = body
    return _state["fake"].env


def test_output_that_cannot_be_written_is_an_error(daemon):
    fake = daemon(answers(200, {"functions": [LISTED]}))
    with open("/dev/full", "wb") as full:
        done = subprocess.run([FNRUN, "list"], env=environment(fake.env), stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE,
                              check=False)
    assert done.returncode == 5 and b"cannot write to stdout" in done.stderr


# --- list, show, versions, usage, rollback, remove -------------------------------------------------

LISTED = {"name": "hello", "version": 3, "digest": DIGEST, "runtime": "python", "up": True, "way": "fork", "ready": 2, "busy": 1,
          "concurrency": 16, "calls": 1234, "errors": 5, "broken": ""}


def test_list_is_an_aligned_table_without_colours(daemon):
    broken = LISTED | {"name": "a-much-longer-name", "broken": "it fails\x1b[31m", "up": False, "way": None, "calls": 1}
    fake = daemon(answers(200, {"functions": [LISTED, broken]}))
    result = fnrun("list", env=fake.env)
    assert result.status == 0
    assert result.out.decode() == (
        "FUNCTION            VERSION  RUNTIME  STATE   WAY     READY  BUSY  CALLS  ERRORS\n"
        "hello                     3  python   up      forked      2  1/16   1234       5\n"
        "a-much-longer-name        3  python   broken  -           2  1/16      1       5\n")
    assert fnrun("list", "--json", env=fake.env).json == {"functions": [LISTED, broken]}
    assert fake.requests[0].path == "/fnrun/v1/functions"


def test_an_empty_list_says_what_to_do(daemon):
    result = fnrun("list", env=daemon(answers(200, {"functions": []})).env)
    assert (result.status, result.out) == (0, b"")
    assert "fnrun deploy" in result.err


SHOWN = LISTED | {"handler": "app.handler", "image": "host", "network": "none", "isolation": "invocation",
                  "limits": {"memory": "128M", "timeout": "3s"}, "scale": {"concurrency": "16"}, "environment": ["GREETING", "B"],
                  "way": "ahead", "why": "threads", "slots": {"ready": 2, "busy": 1, "total": 3, "built": 9, "reused": 100,
                                                              "retired": {"tmp": 2}},
                  "queued": 0, "throttled": 7, "cold": 1, "p50Us": 321, "p99Us": 4567, "memory": 12 << 20, "cpuUs": 2_500_000}


def test_show_says_all_about_a_function(daemon):
    fake = daemon(answers(200, SHOWN))
    text = fnrun("show", "hello", env=fake.env).out.decode()
    for line in ("function      hello", "version       3 (0123456789ab)", "limits        memory 128M, timeout 3s",
                 "environment   GREETING, B", "way           started ahead in each slot: threads", "retired       tmp 2",
                 "slots         2 ready, 1 busy, 3 in all; 9 built, 100 used again", "duration      p50 321us, p99 4.57ms",
                 "memory        12M", "cpu           2.50s", "state         up"):
        assert f"{line}\n" in text, text
    assert fnrun("show", "hello", "--json", env=fake.env).json == SHOWN


def test_versions_mark_the_current_one(daemon):
    rows = [{"version": 2, "digest": DIGEST, "created": 1700000000, "current": True},
            {"version": 1, "digest": "f" * 64, "created": 1600000000, "current": False}]
    fake = daemon(answers(200, {"versions": rows}))
    text = fnrun("versions", "hello", env=fake.env | {"TZ": "UTC"}).out.decode()
    assert text == ("VERSION           DEPLOYED             DIGEST\n"
                    "      2  current  2023-11-14 22:13:20  0123456789ab\n"
                    "      1           2020-09-13 12:26:40  ffffffffffff\n")
    assert fake.request.path == "/fnrun/v1/functions/hello/versions"


def test_rollback_names_the_version(daemon):
    fake = daemon(answers(200, SERVED))
    assert fnrun("rollback", "hello", env=fake.env).status == 0
    assert b"hello version 3" in fnrun("rollback", "hello", "3", env=fake.env).out
    assert [(r.method, r.path, r.query) for r in fake.requests] == [
        ("POST", "/fnrun/v1/functions/hello/rollback", ""), ("POST", "/fnrun/v1/functions/hello/rollback", "version=3")]
    for wrong in ("x", "0", "3x", "-1"):
        assert fnrun("rollback", "--", "hello", wrong, env=fake.env).refused(2, "is no version")
    fnrun("rollback", "hello", "3", "4", env=fake.env).refused(2, "takes one NAME and one VERSION")


def test_remove_says_that_it_is_gone(daemon):
    fake = daemon(answers(204))
    result = fnrun("remove", "hello", env=fake.env)
    assert (result.status, result.out, result.err) == (0, b"hello is removed\n", "")
    assert (fake.request.method, fake.request.path) == ("DELETE", "/fnrun/v1/functions/hello")
    assert fnrun("remove", "hello", "--json", env=fake.env).json == {"name": "hello", "removed": True}
    assert fnrun("remove", "hello", "-q", env=fake.env).out == b""


def test_usage_is_a_table_of_calls(daemon):
    record = {"requestId": "r-1", "function": "hello", "version": 3, "outcome": "Sandbox.Timedout", "time": 1700000000123, "cold": True,
              "initUs": 0, "durationUs": 3000000, "cpuUs": 12, "peakMemory": 1 << 30, "peakExact": True, "bytesIn": 2, "bytesOut": 999}
    fake = daemon(answers(200, [record]))
    lines = fnrun("usage", "hello", "--limit", "7", env=fake.env | {"TZ": "UTC"}).out.decode().splitlines()
    assert lines[1].split() == ["2023-11-14", "22:13:20", "r-1", "3", "Sandbox.Timedout", "cold", "0", "3.00s", "12us", "1.0G", "2", "999"]
    assert fake.request.query == "limit=7"
    assert fnrun("usage", "hello", "--limit", "0", env=fake.env).refused(2, "from 1 to 10000")


# --- logs ---------------------------------------------------------------------------------------------


def log_line(message, request="r-1", at=1700000000123456):
    return json.dumps({"time": at, "requestId": request, "message": message}) + "\n"


def test_logs_print_time_request_and_message(daemon):
    def handler(connection, _):
        connection.begin()
        text = (log_line("one \u00e4") + log_line("of the environment", "")).encode()
        for at in range(0, len(text), 7):
            connection.chunk(text[at:at + 7])
        connection.send("0\r\n\r\n")

    fake = daemon(handler)
    result = fnrun("logs", "hello", env=fake.env | {"TZ": "UTC"})
    assert (result.status, result.err) == (0, "")
    assert result.out.decode() == ("2023-11-14T22:13:20.123 r-1 one ä\n"
                                   "2023-11-14T22:13:20.123 - of the environment\n")
    lines = fnrun("logs", "hello", "--json", env=fake.env).out.decode().splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["one ä", "of the environment"]


def test_logs_ask_for_what_the_options_say(daemon):
    fake = daemon(answers(200))
    before = time.time() - 300
    assert fnrun("logs", "hello", env=fake.env).status == 0
    assert fnrun("logs", "hello", "-f", "--since", "5m", "--request-id", "ab-12", env=fake.env).status == 0
    assert fake.requests[0].query == ""
    found = re.fullmatch(r"since=(\d+)&request_id=ab-12&follow=1", fake.requests[1].query)
    assert before - 1 < int(found[1]) / 1e6 < time.time() - 299
    for option, value in (("--since", "5"), ("--since", "x"), ("--request-id", "a b"), ("--request-id", "a" * 37)):
        fnrun("logs", "hello", option, value, env=fake.env).refused(2, f"{option}: expected")


def test_followed_lines_are_printed_as_they_come_and_an_interrupt_closes(daemon):
    seen = []

    def handler(connection, _):
        connection.begin()
        connection.chunk(log_line("first"))
        first.wait(DEADLINE)
        connection.chunk(log_line("second"))
        seen.append(connection.gone())

    import threading  # pylint: disable=import-outside-toplevel
    first = threading.Event()
    fake = daemon(handler)
    with subprocess.Popen([FNRUN, "logs", "-f", "hello"], env=environment(fake.env), stdout=subprocess.PIPE) as process:
        assert b"first" in process.stdout.readline()
        first.set()
        assert b"second" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) in (-signal.SIGINT, 130)
    for thread in fake.threads:
        thread.join(DEADLINE)
    assert seen == [True]


def test_a_log_that_is_cut_off_is_an_error_after_what_has_come(daemon):
    def handler(connection, _):
        connection.begin()
        connection.chunk(log_line("one"))

    result = fnrun("logs", "-f", "hello", env=daemon(handler).env)
    assert result.status == 5 and b" one\n" in result.out and "hung up in the middle" in result.err


def test_a_log_line_without_end_is_not_kept(daemon):
    def handler(connection, _):
        connection.begin()
        while True:
            connection.chunk("x" * 60000)

    result = fnrun("logs", "hello", env=daemon(handler).env)
    assert result.status == 5 and "no log" in result.err


def on_terminal(words, env, size=(30, 120)):
    """Starts fnrun on a terminal of its own; returns the process and the terminal's other end."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen([FNRUN, *words], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                               env=environment(env) | {"TERM": "xterm"})
    os.close(theirs)
    return process, mine


def read_until(terminal, text, seen=b""):
    deadline = time.monotonic() + DEADLINE
    while text not in seen:
        ready, _, _ = select.select([terminal], [], [], deadline - time.monotonic())
        assert ready, f"never said {text!r}: {seen!r}"
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            chunk = b""
        assert chunk, f"ended without {text!r}: {seen!r}"
        seen += chunk
    return seen


def read_all(terminal):
    seen = b""
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            return seen
        if not chunk:
            return seen
        seen += chunk


def test_a_functions_words_do_not_command_the_readers_terminal(daemon):
    evil = "\x1b]0;title\x07\x1b[2J\u009b31m\ttext\x7f"
    fake = daemon(answers(200, log_line(evil).encode()))
    process, terminal = on_terminal(["logs", "hello"], fake.env | {"NO_COLOR": "1"})
    seen = read_all(terminal)
    assert process.wait(DEADLINE) == 0
    os.close(terminal)
    assert b"?]0;title??[2J?31m\ttext?" in seen.replace(b"        ", b"\t"), seen
    assert b"\x1b" not in seen
    assert evil.encode() in fnrun("logs", "hello", env=fake.env).out, "a pipe gets the bytes"


# --- top -------------------------------------------------------------------------------------------------


def topped(calls, cpu, at):
    return {"time": at, "functions": [{"name": "hello", "up": True, "busy": 3, "queued": 0, "ready": 2, "slots": 5, "calls": calls,
                                       "errors": 0, "throttled": 0, "cold": 1, "p50Us": 99, "p99Us": 1500, "memory": 5 << 20,
                                       "cpuUs": cpu, "broken": ""}]}


def test_top_prints_once_where_there_is_no_terminal(daemon):
    fake = daemon(answers(200, topped(10, 1500, 1)))
    lines = fnrun("top", env=fake.env).out.decode().splitlines()
    assert lines[0].split() == ["FUNCTION", "BUSY", "READY", "QUEUE", "CALLS", "/S", "P50", "P99", "ERR", "THR", "MEM",
                                "CPU"]
    assert lines[1].split() == ["hello", "3", "2", "0", "10", "-", "99us", "1.50ms", "0", "0", "5M", "1.50ms"]
    assert fnrun("top", "--json", env=fake.env).json == topped(10, 1500, 1)
    assert {request.path for request in fake.requests} == {"/fnrun/v1/top"}


def test_top_on_a_terminal_is_drawn_anew_until_q(daemon):
    count = iter(range(1000))

    def handler(connection, _):
        n = next(count)
        connection.answer(200, topped(100 * n, 500_000 * n, 1_000_000 * (n + 1)))

    process, terminal = on_terminal(["top"], daemon(handler).env)
    seen = read_until(terminal, b"50%")
    assert b"1 function, 1 up, 3 in flight" in seen and b"\x1b[?25l" in seen
    os.write(terminal, b"q")
    seen = read_all(terminal)
    assert process.wait(DEADLINE) == 0
    os.close(terminal)
    assert seen.endswith(b"\x1b[?25h"), "the cursor is there again"


def test_top_ends_with_words_when_the_daemon_does(daemon):
    count = iter(range(1000))

    def handler(connection, _):
        if next(count) == 0:
            connection.answer(200, topped(1, 1, 1))

    process, terminal = on_terminal(["top"], daemon(handler).env)
    seen = read_all(terminal)
    assert process.wait(DEADLINE) == 5
    os.close(terminal)
    assert b"the daemon hung up" in seen and b"\x1b[?25h" in seen


def test_colours_are_for_terminals_that_want_them(daemon):
    fake = daemon(answers(200, {"functions": [LISTED]}))
    for env, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
        process, terminal = on_terminal(["list"], fake.env | env)
        seen = read_all(terminal)
        assert process.wait(DEADLINE) == 0
        os.close(terminal)
        assert (b"\x1b[32mup" in seen) == colours
