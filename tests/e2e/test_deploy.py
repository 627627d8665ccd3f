"""What a user does with a daemon: deploy, invoke, look, roll back, remove; and that a
deployment costs nobody a call."""

import io
import json
import re
import subprocess
import tarfile
import zipfile

import pytest
from daemon import eventually, pack, running_daemon
from harness import EXAMPLES, FNRUN, UUID, environment, needs_node

VERSION = "def handler(event, context): return {}\n"


def test_a_deployed_example_answers_by_its_name(daemon):
    assert "version 1" in daemon.fnrun("deploy", EXAMPLES / "hello-python").out.decode()
    result = daemon.fnrun("invoke", "hello-python", "--event", '{"name":"Ada"}')
    assert result.succeeded() == {"message": "Hello, Ada!"}
    assert re.fullmatch(UUID, result.report["RequestId"])


@needs_node
def test_list_show_and_top_tell_what_is_deployed(daemon):
    for name in ("hello-python", "hello-node", "wordcount-sh"):
        assert daemon.fnrun("deploy", EXAMPLES / name).status == 0
    listed = daemon.fnrun("list")
    assert listed.status == 0
    assert [line.split()[0] for line in listed.out.decode().splitlines()[1:]] == ["hello-node", "hello-python", "wordcount-sh"]
    functions = {each["name"]: each for each in daemon.fnrun("list", "--json").json["functions"]}
    assert {name: each["way"] for name, each in functions.items()} == {
        "hello-python": "fork", "hello-node": "ahead", "wordcount-sh": "ahead"}
    shown = daemon.fnrun("show", "hello-python")
    assert "forked from a loaded process" in shown.out.decode()
    daemon.fnrun("invoke", "hello-python")
    top = {each["name"]: each for each in daemon.fnrun("top", "--json").json["functions"]}
    assert (top["hello-python"]["calls"], top["hello-node"]["calls"]) == (1, 0)
    assert top["hello-python"]["p50Us"] > 0


def test_the_log_can_be_read_by_function_by_call_and_since_a_time(daemon):
    daemon.python("talks", "def handler(event, context):\n    print('said', event)\n    return context.aws_request_id\n")
    first, second = daemon.invoke("talks", 1), daemon.invoke("talks", 2)
    assert [first.json, second.json] == [first.id, second.id]
    daemon.wait_for_log("talks", "said 2")
    lines = daemon.fnrun("logs", "talks").out.decode().splitlines()
    assert [line.split(" ", 2)[-1][-6:] for line in lines] == ["said 1", "said 2"]
    own = daemon.fnrun("logs", "talks", "--request-id", second.id).out.decode()
    assert "said 2" in own and "said 1" not in own
    assert len(daemon.fnrun("logs", "talks", "--since", "1h").out.splitlines()) == 2
    later = daemon.logs("talks")[1]["time"]
    assert [line["message"] for line in daemon.logs("talks", f"?since={later}")] == ["said 2"]


def test_a_followed_log_goes_on_until_its_reader_leaves(daemon):
    daemon.python("talks", "def handler(event, context):\n    print('said', event)\n")
    daemon.invoke("talks", "before")
    daemon.wait_for_log("talks", "said before")
    process = subprocess.Popen([FNRUN, "logs", "-f", "talks"], stdout=subprocess.PIPE, text=True,
                               env=environment(daemon.env))
    try:
        assert "said before" in process.stdout.readline()
        daemon.invoke("talks", "after")
        assert "said after" in process.stdout.readline()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def test_the_same_content_again_changes_nothing_and_says_so(daemon):
    first = daemon.python("same", VERSION.format(1))
    again = daemon.python("same", VERSION.format(1))
    assert (first["unchanged"], again["unchanged"]) == (False, True)
    assert (again["version"], again["digest"]) == (1, first["digest"])
    words = daemon.fnrun("deploy", EXAMPLES / "wordcount-sh"), daemon.fnrun("deploy", EXAMPLES / "wordcount-sh")
    assert "nothing has changed" not in words[0].out.decode()
    assert "nothing has changed" in words[1].out.decode()
    assert len(daemon.request("GET", "/fnrun/v1/functions/same/versions").json["versions"]) == 1


def test_rollback_brings_back_the_version_before(daemon):
    for number in (1, 2, 3):
        assert daemon.python("steps", VERSION.format(number))["version"] == number
    assert daemon.invoke("steps").result() == 3
    assert daemon.fnrun("rollback", "steps").status == 0
    assert daemon.invoke("steps").result() == 2
    assert daemon.request("POST", "/fnrun/v1/functions/steps/rollback?version=1").status == 200
    assert daemon.invoke("steps").result() == 1
    versions = daemon.request("GET", "/fnrun/v1/functions/steps/versions").json["versions"]
    assert [(each["version"], each["current"]) for each in versions] == [(3, False), (2, False), (1, True)]
    assert daemon.request("POST", "/fnrun/v1/functions/steps/rollback?version=9").status == 404
    assert daemon.invoke("steps").result() == 1


def test_a_removed_function_is_gone_and_leaves_no_process(daemon):
    daemon.python("leaves", VERSION.format(1))
    daemon.python("stays", VERSION.format(1))
    daemon.invoke("leaves"), daemon.invoke("stays")
    before = daemon.parts()
    assert len(before.keepers) == 2
    assert daemon.fnrun("remove", "leaves").status == 0
    assert daemon.invoke("leaves").error == "ResourceNotFoundException"
    assert daemon.fnrun("invoke", "leaves").status == 3
    eventually(lambda: len(daemon.parts().keepers) == 1, "the keeper's end")
    eventually(lambda: len(list((daemon.store / "versions").iterdir())) == 1, "the end of its files")
    assert daemon.invoke("stays").result() == 1
    assert daemon.request("DELETE", "/fnrun/v1/functions/leaves").status == 404


def test_a_version_that_fails_to_load_is_refused_with_its_error_and_its_log(daemon):
    daemon.python("good", VERSION.format(1))
    answer = daemon.put("good", {"app.py": "print('just before')\nraise ValueError('not today')\n"})
    assert answer.status == 400
    assert answer.json["error"]["errorType"] == "ValueError"
    assert answer.json["error"]["errorMessage"] == "not today"
    assert "just before" in answer.json["log"]
    assert daemon.invoke("good").result() == 1
    assert len(daemon.request("GET", "/fnrun/v1/functions/good/versions").json["versions"]) == 1


@pytest.mark.parametrize("text, words", [
    ("def handler(event, context:", "SyntaxError"),
    ("import nothing_of_that_name\ndef handler(e, c): pass", "nothing_of_that_name"),
    ("import os\nos._exit(7)", "exit status 7"),
    ("import time\ntime.sleep(60)\ndef handler(e, c): pass", "Loading the handler took longer"),
    ("big = bytearray(512 << 20)\ndef handler(e, c): pass", "memory limit"),
])
def test_each_way_of_failing_to_start_is_named(daemon, folder, text, words):
    root = folder({"app.py": text + "\n"}, ini="[function]\nname = fails\n[limits]\ninit = 1s\n")
    result = daemon.fnrun("deploy", root)
    assert result.status != 0, result
    assert words in result.err, result
    assert daemon.request("GET", "/fnrun/v1/functions").json["functions"] == []


def test_a_program_that_ends_before_its_event_is_the_same_failure_as_one_shot(daemon, script):
    root = script("echo too early >&2\nexit 3\n", "[function]\nname = early\nruntime = exec\nhandler = run\n")
    assert daemon.fnrun("deploy", root).status == 0
    for _ in range(5):
        result = daemon.fnrun("invoke", "early")
        assert "exit status 3" in result.failed(1, "Runtime.ExitError")
        assert result.log.strip() == "too early"


def test_a_program_that_cannot_be_started_says_why(daemon, folder):
    root = folder({"run": b"\x7fELF but nothing more"}, "[function]\nname = none\nruntime = exec\nhandler = run\n")
    assert daemon.fnrun("deploy", root).status == 0
    assert "cannot be started" in daemon.fnrun("invoke", "none").failed(1, "Runtime.InvalidEntrypoint")
    assert daemon.fnrun("deploy", root, "--name", "again").status == 0
    answers = [daemon.invoke("again") for _ in range(6)]
    assert {answer.error for answer in answers} <= {"Runtime.InvalidEntrypoint", "ServiceException"}, answers


def test_what_is_wrong_with_a_function_is_said_line_by_line(daemon, folder):
    root = folder({"app.py": "def handler(e, c): pass\n"}, ini="[limits]\nmemory = lots\ntimeoutt = 3s\n")
    result = daemon.fnrun("deploy", root)
    assert result.status == 3
    assert "function.ini:2" in result.err and "function.ini:3" in result.err
    raw = daemon.put("wrong", {"app.py": VERSION, "function.ini": "[limits]\nmemory = lots\n"})
    assert raw.status == 400 and [problem["line"] for problem in raw.json["problems"]] == [4], raw


def test_a_function_can_be_a_file_a_folder_a_tar_or_a_zip(daemon, folder, tmp_path):
    root = folder({"app.py": VERSION.format(5)}, name="as-folder")
    assert daemon.fnrun("deploy", root).status == 0
    assert daemon.fnrun("deploy", root / "app.py", "--name", "as-file").status == 0
    with zipfile.ZipFile(tmp_path / "as-zip.zip", "w") as archive:
        archive.write(root / "app.py", "app.py")
    assert daemon.fnrun("deploy", tmp_path / "as-zip.zip", "--name", "as-zip").status == 0
    assert daemon.request("PUT", "/fnrun/v1/functions/as-tar", pack("as-tar", {"app.py": VERSION.format(5)})).status == 200
    for name in ("as-folder", "as-file", "as-zip", "as-tar"):
        assert daemon.invoke(name).result() == 5


@pytest.mark.parametrize("member", ["../outside", "/tmp/absolute", "link-to-etc/passwd"])
def test_a_package_that_reaches_out_of_its_folder_is_refused(daemon, member):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        if member.startswith("link"):
            link = tarfile.TarInfo("link-to-etc")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc"
            tar.addfile(link)
        for name in ("app.py", member):
            entry = tarfile.TarInfo(name)
            entry.size = 1
            tar.addfile(entry, io.BytesIO(b"x"))
    answer = daemon.request("PUT", "/fnrun/v1/functions/out", out.getvalue())
    assert answer.status == 400, answer
    assert daemon.request("GET", "/fnrun/v1/functions").json["functions"] == []
    assert list((daemon.store / "incoming").iterdir()) == []


@pytest.mark.parametrize("body", [b"", b"no archive at all" * 100, b"PK\3\4" + b"\0" * 100])
def test_what_is_no_archive_is_refused(daemon, body):
    answer = daemon.request("PUT", "/fnrun/v1/functions/out", body)
    assert answer.status == 400 and answer.json["Message"], answer


def test_keys_that_a_daemon_cannot_keep_are_refused_by_name():
    with running_daemon("[limits]\nmemory = 256M\ntimeout = 10s\nconcurrency = 4\n") as daemon:
        for section, key, value in (("limits", "memory", "512M"), ("limits", "timeout", "1m"), ("scale", "concurrency", "5")):
            answer = daemon.put("much", {"app.py": VERSION.format(1)}, f"[{section}]\n{key} = {value}\n")
            assert answer.status == 400, answer
            assert key in json.dumps(answer.json["problems"]), answer
        daemon.python("fits", VERSION.format(1), "[limits]\nmemory = 256M\n")


def test_one_shot_options_with_a_name_are_a_usage_error(daemon):
    daemon.python("f", VERSION.format(1))
    for option in (("--env", "A=1"), ("--memory", "64M")):
        daemon.fnrun("invoke", "f", *option).refused(2, option[0])


def test_a_path_runs_one_shot_while_the_daemon_serves_the_same_name(daemon, python):
    daemon.python("function", VERSION.format(1))
    root = python(VERSION.format(2))
    assert daemon.fnrun("invoke", f"{root}/").succeeded() == 2
    assert daemon.fnrun("invoke", "function").succeeded() == 1


def test_without_a_daemon_a_name_says_how_to_start_one(daemon):
    daemon.close()
    result = daemon.fnrun("invoke", "hello").refused(5, "fnrund")
    assert str(daemon.socket) in result


def test_deploying_under_load_fails_no_request_and_the_old_version_drains(daemon):
    slow = "import time\ndef handler(event, context):\n    time.sleep(event.get('sleep', 0))\n    return {}\n"
    daemon.python("busy", slow.format(0), "[limits]\ntimeout = 20s\n")

    def judge(_name, _number, answer):
        return None if answer.error is None and isinstance(answer.json, int) else repr(answer)

    long_one = daemon.begin("busy", {"sleep": 1})
    with daemon.load("busy", clients=4, judge=judge) as load:
        for number in range(1, 6):
            load.wait_for(30)
            daemon.python("busy", slow.format(number), "[limits]\ntimeout = 20s\n")
            # From the switch on nobody gets the old one.
            assert daemon.invoke("busy", {}).result() == number
        load.wait_for(30)
    assert not load.wrong, load.wrong
    assert long_one.answer().result() == 0
    eventually(lambda: len(daemon.parts().keepers) == 1, "the old versions' ends")


def test_refused_versions_under_load_fail_no_request_either(daemon):
    daemon.python("busy", VERSION.format(1))
    with daemon.load("busy", clients=3) as load:
        for number in range(3):
            load.wait_for(20)
            assert daemon.put("busy", {"app.py": f"raise ValueError({number})\n"}).status == 400
        load.wait_for(20)
    assert not load.wrong, load.wrong
    assert daemon.invoke("busy").result() == 1


def test_two_deployments_of_one_function_go_one_after_the_other(daemon):
    daemon.python("f", VERSION.format(0))
    bodies = [pack("f", {"app.py": VERSION.format(number)}) for number in (1, 2)]
    with daemon.client() as one, daemon.client() as two:
        for client, body in ((one, bodies[0]), (two, bodies[1])):
            client.connection.request("PUT", "/fnrun/v1/functions/f", body)
        statuses = [client.connection.getresponse().status for client in (one, two)]
    assert statuses == [200, 200]
    assert daemon.show("f")["version"] == 3
    assert daemon.invoke("f").result() in (1, 2)


def test_a_client_that_leaves_in_its_upload_leaves_nothing(daemon):
    with daemon.client() as client:
        client.connection.putrequest("PUT", "/fnrun/v1/functions/f")
        client.connection.putheader("Content-Length", "1000000")
        client.connection.endheaders(b"x" * 1000)
    eventually(lambda: not list((daemon.store / "incoming").iterdir()), "the end of the upload's file")
    assert daemon.request("GET", "/fnrun/v1/functions/f").status == 404


def test_a_limit_beyond_the_machine_is_a_warning(daemon):
    answer = daemon.put("huge", {"app.py": VERSION.format(1)}, "[limits]\nmemory = 64G\n[scale]\nconcurrency = 1000\n")
    assert answer.status == 200 or answer.json["problems"], answer
    if answer.status == 200:
        assert any("memory" in warning for warning in answer.json["warnings"]), answer


def test_a_function_that_cannot_be_forked_says_why_and_works(daemon):
    told = daemon.python("threads", "import threading, time\nthreading.Thread(target=time.sleep, args=(1e6,), daemon=True).start()\n"
                                    "def handler(event, context): return threading.active_count()\n")
    assert told["way"] == "ahead" and "thread" in told["why"], told
    assert daemon.invoke("threads").result() == 2
    shown = daemon.show("threads")
    assert (shown["way"], shown["why"]) == (told["way"], told["why"])
    assert "thread" in daemon.fnrun("show", "threads").out.decode()


def test_versions_are_forgotten_beyond_the_last_ones_and_files_with_them(daemon):
    for number in range(13):
        daemon.python("many", VERSION.format(number))
    daemon.close()
    daemon.start()
    versions = daemon.request("GET", "/fnrun/v1/functions/many/versions").json["versions"]
    assert len(versions) == 10 and versions[0]["version"] == 13
    assert daemon.invoke("many").result() == 12
