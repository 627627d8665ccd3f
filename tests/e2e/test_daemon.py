"""The daemon itself: how calls end, what is told of them, who may ask, signals."""

import base64
import contextlib
import grp
import json
import os
import pathlib
import pwd
import re
import signal
import socket
import subprocess

import outside
import pytest
from daemon import eventually, running_daemon, service_user
from harness import FNRUN, UUID, environment, needs_node

ECHO = "def handler(event, context): return event\n"
SLEEPY = "import time\ndef handler(event, context):\n    time.sleep(event['sleep'])\n    return 'slept'\n"


def ada():
    """Somebody who is neither root nor the daemon's owner."""
    for name in ("ada", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if name != service_user():
            return found
    pytest.skip("there is no other user")


def as_user(uid, gid, groups=""):
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", f"--groups={groups}" if groups else "--clear-groups"]


# --- how calls end ---------------------------------------------------------------------------


def test_a_call_that_takes_too_long_is_ended_as_lambda_says_it(daemon):
    daemon.python("sleepy", SLEEPY, "[limits]\ntimeout = 300ms\n")
    result = daemon.fnrun("invoke", "sleepy", "--event", '{"sleep":60}')
    assert "Task timed out after 0.30 seconds" in result.failed(124, "Sandbox.Timedout")
    assert daemon.invoke("sleepy", {"sleep": 0}).result() == "slept"


def test_a_caller_may_lower_the_time_limit_and_not_raise_it(daemon):
    daemon.python("sleepy", SLEEPY, "[limits]\ntimeout = 1s\n")
    lowered = daemon.fnrun("invoke", "sleepy", "--timeout", "100ms", "--event", '{"sleep":60}')
    assert "after 0.10 seconds" in lowered.failed(124, "Sandbox.Timedout")
    raised = daemon.invoke("sleepy", {"sleep": 60}, X_Fnrun_Timeout="1h")
    assert raised.error == "Sandbox.Timedout" and "after 1.00 seconds" in raised.json["errorMessage"]


@pytest.mark.parametrize("isolation", ["invocation", "strict", "environment"])
def test_more_memory_than_allowed_ends_the_call_alone(daemon, isolation):
    daemon.python("eats", "def handler(event, context): return len(bytearray(event << 20))\n",
                  f"[limits]\nmemory = 64M\n[scale]\nisolation = {isolation}\n")
    result = daemon.fnrun("invoke", "eats", "--event", "512")
    assert "memory limit of 64 MB" in result.failed(137, "Runtime.OutOfMemory")
    assert daemon.invoke("eats", 1).result() == 1 << 20


def test_a_program_that_runs_out_of_memory_before_it_is_timed_is_told_so(daemon):
    daemon.script("eats", "exec head -c 512M /dev/zero | tail\n", "[limits]\nmemory = 64M\n")
    assert daemon.invoke("eats").error == "Runtime.OutOfMemory"


def test_a_result_beyond_the_limit_is_an_error_that_says_both_sizes(daemon):
    daemon.python("wide", "def handler(event, context): return 'x' * event\n", "[limits]\nresponse = 1M\n")
    failed = daemon.fnrun("invoke", "wide", "--event", str(1 << 20)).failed(1, "Function.ResponseSizeTooLarge")
    assert f"({(1 << 20) + 2} bytes)" in failed and f"({1 << 20} bytes)" in failed
    assert len(daemon.invoke("wide", (1 << 20) - 2).result()) == (1 << 20) - 2


@needs_node
@pytest.mark.parametrize("kind", ["python", "node", "exec"])
def test_events_and_results_of_6_megabytes_pass_whole(daemon, kind):
    if kind == "python":
        daemon.python("echo", ECHO)
    elif kind == "node":
        daemon.deploy("echo", {"index.js": "exports.handler = async event => event;\n"})
    else:
        daemon.script("echo", "exec cat\n")
    event = json.dumps("0123456789abcde\n" * 400_000, ensure_ascii=False).encode()[: 6 * 1024 * 1024 - 1]
    event = event.rstrip(b"\\") + b'"'
    for _ in range(2):
        answer = daemon.invoke("echo", event)
        assert answer.status == 200, answer.body[:300]
        assert answer.json == json.loads(event)


def test_an_event_beyond_the_limit_is_refused_before_anything_runs(daemon):
    daemon.python("echo", ECHO, "[limits]\nevent = 1K\n")
    assert daemon.invoke("echo", b'"' + b"x" * 1023 + b'"').status == 413
    daemon.fnrun("invoke", "echo", "--event", '"' + "x" * 1023 + '"').refused(3, "RequestTooLargeException")
    assert daemon.show("echo")["calls"] == 0


def test_an_event_that_is_no_json_is_refused_before_anything_runs(daemon):
    daemon.python("echo", ECHO)
    for event in (b"{", b"nope", b"\xff\xfe", b'{"a":1}x'):
        answer = daemon.invoke("echo", event)
        assert (answer.status, answer.error) == (400, "InvalidRequestContentException")
    daemon.fnrun("invoke", "echo", "--event", "{").refused(3)
    assert daemon.show("echo")["calls"] == 0


@pytest.mark.parametrize("text, kind, words", [
    ("def handler(e, c): raise KeyError('k')", "KeyError", "k"),
    ("def handler(e, c): return object()", "Runtime.MarshalError", "not JSON serializable"),
    ("import os\ndef handler(e, c): os._exit(9)", "Runtime.ExitError", "exit status 9"),
    ("import os, signal\ndef handler(e, c): os.kill(os.getpid(), signal.SIGSEGV)", "Runtime.ExitError", "segmentation fault"),
])
def test_each_way_of_failing_has_its_error_and_the_next_call_works(daemon, text, kind, words):
    daemon.python("fails", text.replace("def handler(e, c):", "def handler(e, c):\n    if e == 1: return 1\n   ") + "\n")
    answer = daemon.invoke("fails", 0)
    assert (answer.status, answer.error) == (200, kind)
    assert words in answer.json["errorMessage"], answer
    assert daemon.invoke("fails", 1).result() == 1


# --- nobody waits any more -------------------------------------------------------------------


def function_pids(daemon):
    """Processes of functions that say so by their arguments."""
    found = []
    for pid in outside.descendants(daemon.process.pid):
        try:
            if b"a-marked-sleep" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:
            pass
    return found


MARKED = ("import os, subprocess\ndef handler(event, context):\n"
          "    subprocess.run(['/bin/sh', '-c', 'sleep 1000; true', 'a-marked-sleep'])\n")


MARKED_NODE = ("exports.handler = async () => require('child_process').execFileSync('/bin/sh', "
               "['-c', 'sleep 1000; true', 'a-marked-sleep']);\n")


@needs_node
@pytest.mark.parametrize("isolation", ["invocation", "strict", "environment"])
@pytest.mark.parametrize("kind", ["python", "node"])
def test_a_client_that_leaves_ends_its_call_with_all_its_processes(daemon, kind, isolation):
    daemon.deploy("long", {"app.py": MARKED} if kind == "python" else {"index.js": MARKED_NODE},
                  f"[limits]\ntimeout = 15m\n[scale]\nisolation = {isolation}\n")
    pending = daemon.begin("long", {})
    pids = eventually(lambda: function_pids(daemon), "the function's process")
    pending.leave()
    eventually(lambda: not any(outside.stat_of(pid) for pid in pids), "the process's end")
    eventually(lambda: [each for each in daemon.usage("long") if each["outcome"] == "Client.Gone"], "the usage record")
    assert daemon.show("long")["slots"]["busy"] == 0
    assert len(daemon.parts().keepers) == 1


def test_ctrl_c_ends_the_call(daemon):
    daemon.script("long", "exec /bin/sh -c 'sleep 1000; true' a-marked-sleep\n", "[limits]\ntimeout = 15m\n")
    process = subprocess.Popen([FNRUN, "invoke", "long"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment(daemon.env))
    pids = eventually(lambda: function_pids(daemon), "the function's process")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130, (out, err)
    eventually(lambda: not any(outside.stat_of(pid) for pid in pids), "the process's end")


def test_a_client_that_leaves_while_it_waits_is_not_run(daemon):
    daemon.python("one", SLEEPY, "[limits]\ntimeout = 15s\n[scale]\nconcurrency = 1\n")
    first, second = daemon.begin("one", {"sleep": 0.5}), daemon.begin("one", {"sleep": 14})
    eventually(lambda: daemon.show("one")["queued"] == 1, "one that waits")
    second.leave()
    eventually(lambda: daemon.show("one")["queued"] == 0, "its leaving")
    assert first.answer().result() == "slept"
    assert daemon.invoke("one", {"sleep": 0}).result() == "slept"


# --- what is told of a call -------------------------------------------------------------------


def test_every_answer_is_lambdas(daemon):
    daemon.python("echo", "def handler(event, context):\n    print('a line', event)\n    return event\n")
    answer = daemon.invoke("echo", {"n": 1}, X_Amz_Log_Type="Tail")
    assert answer.headers["X-Amz-Executed-Version"] == "$LATEST"
    assert re.fullmatch(UUID, answer.id)
    tail = base64.b64decode(answer.headers["X-Amz-Log-Result"]).decode()
    start, line, end, report = tail.splitlines()
    assert start == f"START RequestId: {answer.id} Version: $LATEST"
    assert line == "a line {'n': 1}"
    assert end == f"END RequestId: {answer.id}"
    assert report.startswith(f"REPORT RequestId: {answer.id}\tDuration: ")
    assert daemon.invoke("echo", {}).headers["X-Amz-Log-Result"] is None
    arn = "arn:aws:lambda:us-east-1:000000000000:function:echo"
    assert daemon.invoke(arn, 5).result() == 5
    assert daemon.invoke("echo", X_Amz_Invocation_Type="DryRun").status == 204
    assert daemon.show("echo")["calls"] == 3


def test_a_handler_sees_lambdas_context(daemon):
    daemon.python("ctx", "def handler(event, context):\n    return {'id': context.aws_request_id, 'name': context.function_name,\n"
                         "            'left': context.get_remaining_time_in_millis(), 'memory': context.memory_limit_in_mb,\n"
                         "            'custom': context.client_context and context.client_context.custom}\n")
    answer = daemon.invoke("ctx", {}, X_Amz_Client_Context=base64.b64encode(b'{"custom":{"a":"b"}}').decode())
    seen = answer.result()
    assert (seen["id"], seen["name"], int(seen["memory"]), seen["custom"]) == (answer.id, "ctx", 128, {"a": "b"})
    assert 0 < seen["left"] <= 3000


def test_a_usage_record_has_the_numbers_of_its_call(daemon):
    daemon.python("works", "import time\ndef handler(event, context):\n    end = time.process_time() + 0.05\n"
                           "    while time.process_time() < end: pass\n    return 'x' * len(bytearray(20 << 20)[:100])\n")
    answer = daemon.invoke("works", {"some": "event"})
    record = daemon.usage_of("works", answer.id)
    assert record["outcome"] == "Success" and record["version"] == 1 and record["function"] == "works"
    assert record["bytesIn"] == len(json.dumps({"some": "event"})) and record["bytesOut"] == 102
    assert record["cpuUs"] >= 50_000 <= record["durationUs"]
    assert record["peakMemory"] >= 20 << 20
    failed = daemon.invoke("works", b"{}", X_Fnrun_Timeout="10ms")
    assert daemon.usage_of("works", failed.id)["outcome"] == "Sandbox.Timedout"
    assert answer.id in daemon.fnrun("usage", "works").out.decode()


def test_usage_records_survive_a_restart(daemon):
    daemon.python("f", ECHO)
    ids = {daemon.invoke("f", number).id for number in range(20)}
    daemon.close()
    daemon.start()
    assert {record["requestId"] for record in daemon.usage("f")} == ids


def test_a_flood_of_log_lines_is_cut_and_hurts_nobody_else(daemon):
    daemon.python("floods", "def handler(event, context):\n    for _ in range(400_000): print('x' * 99)\n    return 'through'\n",
                  "[limits]\ntimeout = 20s\nlogs = 64K\n")
    daemon.python("quiet", "def handler(event, context):\n    print('heard')\n    return event\n")
    pending = daemon.begin("floods", {})
    answered = 0
    while not pending.is_answered():
        assert daemon.invoke("quiet", answered).result() == answered
        answered += 1
    assert pending.answer().result() == "through"
    assert answered > 0
    lines = daemon.logs("floods")
    assert lines[-1]["message"] == "[truncated]"
    assert sum(len(line["message"]) for line in lines[:-1]) <= 64 << 10
    assert len(daemon.logs("quiet")) == answered


def test_a_line_without_an_end_is_a_line_and_bytes_are_made_text(daemon):
    daemon.python("odd", "import os\ndef handler(event, context):\n    os.write(1, b'caf\\xe9\\n\\0\\nno end')\n")
    daemon.invoke("odd")
    messages = [line["message"] for line in eventually(lambda: len(daemon.logs("odd")) == 3 and daemon.logs("odd"), "3 lines")]
    assert messages[0].startswith("caf") and messages[2] == "no end"


# --- who may -------------------------------------------------------------------------------------


def test_others_get_403_and_the_group_may_invoke_and_nothing_else():
    other = ada()
    group = grp.getgrgid(other.pw_gid).gr_name
    with running_daemon(f"mode = 0666\ngroup = {group}\n") as daemon:
        daemon.python("echo", ECHO)
        member = as_user(other.pw_uid, other.pw_gid)
        stranger = as_user(other.pw_uid, 65000)
        assert daemon.fnrun("invoke", "echo", "--event", "1", prefix=member).succeeded() == 1
        for words in (("list",), ("show", "echo"), ("logs", "echo"), ("remove", "echo"), ("top", "--json"), ("usage", "echo")):
            assert "AccessDenied" in daemon.fnrun(*words, prefix=member).refused(4), words
        daemon.fnrun("invoke", "echo", prefix=stranger).refused(4, "AccessDenied")
        by_second_group = as_user(other.pw_uid, 65000, groups=str(other.pw_gid))
        assert daemon.fnrun("invoke", "echo", "--event", "2", prefix=by_second_group).succeeded() == 2
        owner = pwd.getpwnam(daemon.user)
        assert daemon.fnrun("list", prefix=as_user(owner.pw_uid, owner.pw_gid)).status == 0
        assert daemon.fnrun("invoke", "echo", "--event", "3").succeeded() == 3


def test_the_sockets_mode_keeps_others_out(daemon):
    other = ada()
    assert daemon.socket.stat().st_mode & 0o777 == 0o660
    daemon.python("echo", ECHO)
    result = daemon.fnrun("invoke", "echo", prefix=as_user(other.pw_uid, other.pw_gid))
    assert result.status in (4, 5) and result.out == b"", result


def test_nothing_but_the_launcher_keeps_roots_power(daemon):
    daemon.python("f", ECHO)
    parts = daemon.parts()
    status = outside.status_of(parts.fnrund)
    assert status["Uid"].split() == [str(pwd.getpwnam(daemon.user).pw_uid)] * 4
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
    looked_at = 0
    for pid in parts.keepers + parts.inits + parts.zygotes + parts.copies + parts.functions:
        with contextlib.suppress(OSError):  # a slot may just be replaced
            assert int(outside.status_of(pid)["Uid"].split()[0]) >= 65536
            looked_at += 1
    assert looked_at >= 4


# --- signals -----------------------------------------------------------------------------------------


def test_sigterm_finishes_what_runs_and_refuses_what_comes(daemon):
    daemon.python("slow", SLEEPY, "[limits]\ntimeout = 20s\n")
    idle = daemon.client()
    idle.invoke("slow", {"sleep": 0})
    running = [daemon.begin("slow", {"sleep": 1}) for _ in range(3)]
    eventually(lambda: daemon.show("slow")["slots"]["busy"] == 3, "three that run")
    daemon.process.send_signal(signal.SIGTERM)
    eventually(lambda: daemon.said("asked to stop"), "the word of it")
    with pytest.raises(OSError):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(daemon.socket))
        client.sendall(b"GET /fnrun/v1/functions HTTP/1.1\r\nHost: x\r\n\r\n")
        if not client.recv(100):
            raise ConnectionError
    assert [each.answer().result() for each in running] == ["slept"] * 3
    assert daemon.wait() == 0
    assert not daemon.socket.exists()
    daemon.fnrun("invoke", "slow").refused(5, "fnrund")


def test_work_that_outlasts_the_limit_of_stopping_is_answered_and_ended():
    with running_daemon("stop = 200ms\n") as daemon:
        daemon.python("slow", SLEEPY, "[limits]\ntimeout = 15m\n")
        pending = daemon.begin("slow", {"sleep": 800})
        eventually(lambda: daemon.show("slow")["slots"]["busy"] == 1, "one that runs")
        assert daemon.stop() == 0
        answer = pending.answer()
        assert answer.status in (500, 503) and answer.error == "ServiceException", answer


def test_sigint_stops_too_and_a_second_signal_is_in_a_hurry(daemon):
    daemon.python("slow", SLEEPY, "[limits]\ntimeout = 15m\n")
    pending = daemon.begin("slow", {"sleep": 800})
    eventually(lambda: daemon.show("slow")["slots"]["busy"] == 1, "one that runs")
    daemon.process.send_signal(signal.SIGINT)
    eventually(lambda: daemon.said("asked to stop (SIGINT)"), "the word of it")
    assert daemon.stop(signal.SIGINT) == 0
    assert pending.answer().error == "ServiceException"


def test_sighup_takes_over_what_it_can_and_names_what_needs_a_restart(daemon):
    daemon.python("f", ECHO)
    daemon.configure("mode = 0600\n[limits]\nmemory = 256M\n")
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: daemon.said("configuration read again"), "the word of it")
    assert "needs a restart: mode" in daemon.said()
    refused = daemon.put("big", {"app.py": ECHO}, "[limits]\nmemory = 512M\n")
    assert refused.status == 400 and "memory" in json.dumps(refused.json["problems"])
    assert daemon.invoke("f", 1).result() == 1


def test_sighup_with_a_broken_file_changes_nothing(daemon):
    daemon.python("f", ECHO)
    daemon.configure("mode = nonsense\n")
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: daemon.said("stays as it was"), "the word of it")
    assert "fnrun.ini:3" in daemon.said()
    assert daemon.invoke("f", 1).result() == 1


def test_sighup_under_load_fails_no_request(daemon):
    daemon.python("f", ECHO)
    with daemon.load("f", clients=3) as load:
        for _ in range(5):
            load.wait_for(20)
            daemon.process.send_signal(signal.SIGHUP)
    assert not load.wrong, load.wrong


def test_a_daemon_with_a_wrong_configuration_does_not_start(daemon):
    daemon.close()
    daemon.configure("memroy = 1G\n")
    done = subprocess.run([os.environ.get("FNRUN_BUILD", ".") + "/fnrund", "--config", daemon.config], capture_output=True,
                          text=True, check=False, env=environment())
    assert done.returncode == 3 and "fnrun.ini:3" in done.stderr and "memory" in done.stderr


def test_a_second_daemon_on_one_socket_or_one_store_says_so(daemon):
    words = [os.environ.get("FNRUN_BUILD", ".") + "/fnrund", "--config", daemon.config]
    for socket_path, store in ((daemon.socket, daemon.folder / "other"), (daemon.folder / "other.sock", daemon.store)):
        done = subprocess.run([*words, "--socket", socket_path, "--store", store], capture_output=True, text=True, timeout=20,
                              check=False, env=environment())
        assert done.returncode == 5, done
        assert str(socket_path if store != daemon.store else store) in done.stderr, done.stderr
    daemon.python("f", ECHO)
    assert daemon.invoke("f", 1).result() == 1


def test_functions_persist_over_a_restart(daemon):
    daemon.python("f", "def handler(event, context): return 'first'\n")
    daemon.python("f", "def handler(event, context): return 'second'\n")
    daemon.script("g", "printf '\"a script\"'\n")
    daemon.close()
    daemon.start()
    assert daemon.invoke("f").result() == "second"
    assert daemon.invoke("g").result() == "a script"
    assert daemon.fnrun("rollback", "f").status == 0
    assert daemon.invoke("f").result() == "first"
