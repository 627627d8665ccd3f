"""Slots as a caller and a looker from outside see them: how many, used how often, kept how
long; what happens when there are more calls than slots."""

import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest
from daemon import eventually, running_daemon, still_there
from harness import SOURCE, needs_node

SLEEPY = "import time\ndef handler(event, context):\n    time.sleep(event['sleep'])\n    return 'slept'\n"
WHO = ("import os\ncalls = 0\ndef handler(event, context):\n    global calls\n    calls += 1\n"
       "    seen = os.path.exists('/tmp/trace')\n    open('/tmp/trace', 'w').close()\n"
       "    return {'calls': calls, 'seen': seen, 'random': os.urandom(4).hex()}\n")


# --- more calls than slots -------------------------------------------------------------------------


def test_calls_beyond_concurrency_wait_for_a_slot_and_are_answered(daemon):
    daemon.python("two", SLEEPY, "[limits]\ntimeout = 20s\n[scale]\nconcurrency = 2\n")
    with daemon.load("two", clients=8, calls=24, event=lambda _, number: {"sleep": 0.02}) as load:
        most = 0
        while load.done < 24:
            shown = daemon.show("two")["slots"]
            most = max(most, shown["busy"])
            assert shown["total"] <= 2 and shown["busy"] <= 2
    assert not load.wrong, load.wrong
    assert most == 2


def test_more_than_may_wait_are_throttled_with_a_time_to_come_again(daemon):
    daemon.python("one", SLEEPY, "[limits]\ntimeout = 30s\n[scale]\nconcurrency = 1\n")
    pending = [daemon.begin("one", {"sleep": 25}) for _ in range(66)]
    refused = eventually(lambda: [each for each in pending if each.is_answered()], "a refusal")
    answer = refused[0].answer()
    assert (answer.status, answer.error) == (429, "TooManyRequestsException"), answer
    assert answer.json["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert int(answer.headers["Retry-After"]) >= 1
    result = daemon.fnrun("invoke", "one", "--event", '{"sleep":0}')
    assert result.status == 4 and "TooManyRequests" in result.err, result
    assert daemon.show("one")["throttled"] >= 2
    for each in pending:
        each.leave()
    eventually(lambda: daemon.show("one")["queued"] == 0 and daemon.show("one")["slots"]["busy"] == 0, "their leaving")
    assert daemon.invoke("one", {"sleep": 0}).result() == "slept"


def test_one_that_waits_longer_than_its_limit_is_throttled(daemon):
    daemon.python("one", SLEEPY, "[limits]\ntimeout = 20s\n[scale]\nconcurrency = 1\n")
    first = daemon.begin("one", {"sleep": 15})
    eventually(lambda: daemon.show("one")["slots"]["busy"] == 1, "one that runs")
    answer = daemon.invoke("one", {"sleep": 0}, X_Fnrun_Timeout="200ms")
    assert (answer.status, answer.error) == (429, "TooManyRequestsException"), answer
    first.leave()


@needs_node
def test_64_clients_on_functions_of_every_kind_get_each_their_own_answer(daemon):
    daemon.python("py", "def handler(event, context): return [context.aws_request_id, event]\n", "[scale]\nconcurrency = 8\n")
    daemon.deploy("js", {"index.js": "exports.handler = async (event, context) => [context.awsRequestId, event];\n"},
                  "[limits]\ntimeout = 30s\n[scale]\nconcurrency = 4\n")
    daemon.script("sh", 'read -r event; printf \'["%s",%s]\' "$AWS_REQUEST_ID" "$event"\n',
                  "[limits]\ntimeout = 30s\n[scale]\nconcurrency = 8\n")
    names = ["py", "js", "py", "sh"]
    if (library := native_echo()):
        daemon.deploy("so", {"handler.so": library}, "[function]\nruntime = native\nhandler = handler.so\n[scale]\nconcurrency = 8\n")
        names += ["so", "so"]

    def judge(name, number, answer):
        if answer.error is not None:
            return repr(answer)
        result = answer.json
        got = result[1] if isinstance(result, list) else result
        if got != {"name": name, "n": number}:
            return f"{name}: not its own: {answer.body[:200]!r}"
        if name in ("py", "js") and result[0] != answer.id:
            return f"{name}: request id {result[0]} is not {answer.id}"
        return None

    with daemon.load(*names, clients=64, calls=800, event=lambda name, number: {"name": name, "n": number}, judge=judge) as load:
        pass
    assert not load.wrong, load.wrong.most_common(3)
    assert load.done == 800
    for name in set(names):
        eventually(lambda name=name: daemon.show(name)["slots"]["busy"] == 0, "rest")
        shown = daemon.show(name)
        assert shown["errors"] == 0 and shown["slots"]["total"] <= 8


@needs_node
def test_short_programs_under_load_are_all_answered(daemon):
    """A program may end before the keeper has heard of it, or before it is timed."""
    daemon.script("short", "printf 1\n")
    daemon.script("failing", "exit 4\n")
    daemon.deploy("js", {"index.js": "exports.handler = async () => 1;\n"})

    def judge(name, _number, answer):
        expected = "Runtime.ExitError" if name == "failing" else None
        return None if answer.error == expected else repr(answer)

    with daemon.load("short", "failing", "short", "failing", "js", clients=8, calls=1000, judge=judge) as load:
        pass
    assert not load.wrong, load.wrong.most_common(3)
    for name in ("short", "failing", "js"):
        assert "died" not in daemon.show(name)["slots"]["retired"], daemon.show(name)


def test_programs_started_before_their_event_are_each_used_once(daemon):
    ini = "[function]\nruntime = exec\nhandler = run\n[limits]\ntimeout = 20s\n[scale]\nprestart = yes\nconcurrency = 4\n"
    daemon.script("waits", "started=$$\nread -r event\nprintf '[%d,%s]' $started \"$event\"\n", ini)
    judge = lambda _, number, answer: None if answer.error is None and answer.json[1] == {"n": number} else repr(answer)  # noqa: E731
    with daemon.load("waits", clients=6, calls=200, judge=judge) as load:
        pass
    assert not load.wrong, load.wrong.most_common(3)
    assert daemon.show("waits")["slots"]["reused"] == 0
    daemon.script("dies", "echo 'last words' >&2\nexit 3\n", ini)
    answer = daemon.invoke("dies")
    assert answer.error in ("Runtime.ExitError", "ServiceException") and "exit status 3" in answer.body.decode(), answer


# --- how often a slot is used ---------------------------------------------------------------------------


def test_a_slot_is_used_again_and_shows_no_trace_of_the_last_call(daemon):
    daemon.python("who", WHO, "[scale]\nconcurrency = 1\n")
    results = [daemon.invoke("who").result() for _ in range(20)]
    assert {(each["calls"], each["seen"]) for each in results} == {(1, False)}
    assert len({each["random"] for each in results}) == 20
    slots = daemon.show("who")["slots"]
    assert slots["reused"] >= 15, slots


def test_strict_uses_each_slot_once(daemon):
    daemon.python("who", WHO, "[scale]\nconcurrency = 2\nisolation = strict\n")
    results = [daemon.invoke("who").result() for _ in range(12)]
    assert {(each["calls"], each["seen"]) for each in results} == {(1, False)}
    slots = eventually(lambda: (now := daemon.show("who")["slots"])["retired"].get("usedOnce") == 12 and now, "12 retired slots")
    assert slots["reused"] == 0 and slots["built"] >= 12, slots


@needs_node
@pytest.mark.parametrize("kind", ["python", "node"])
def test_isolation_environment_keeps_one_process_for_many_calls(daemon, kind):
    ini = "[scale]\nconcurrency = 1\nisolation = environment\n"
    if kind == "python":
        daemon.python("who", WHO, ini)
    else:
        daemon.deploy("who", {"index.js": "let calls = 0;\nexports.handler = async () => ({calls: ++calls});\n"}, ini)
    assert [daemon.invoke("who").result()["calls"] for _ in range(30)] == list(range(1, 31))
    assert daemon.show("who")["slots"]["built"] == 1


def test_a_kept_process_that_fails_is_replaced(daemon):
    daemon.python("who", "import os\ncalls = 0\ndef handler(event, context):\n    global calls\n    calls += 1\n"
                         "    if event == 'die': os._exit(3)\n    if event == 'raise': raise ValueError\n    return calls\n",
                  "[scale]\nconcurrency = 1\nisolation = environment\n")
    assert daemon.invoke("who", 1).result() == 1
    assert daemon.invoke("who", "raise").error == "ValueError"
    assert daemon.invoke("who", 1).result() == 3
    assert daemon.invoke("who", "die").error == "Runtime.ExitError"
    assert daemon.invoke("who", 1).result() == 1


TAINTS = {
    "a socket": "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "a process that stays": "import subprocess; subprocess.Popen(['/bin/sleep', '1000'])",
    "a file in /tmp": "open('/tmp/x', 'w').write('x' * 100000)",
    "a full /tmp": "import os\n    for n in range(200): os.makedirs(f'/tmp/{n}/{n}')",
}


@pytest.mark.parametrize("what", list(TAINTS))
def test_what_a_call_leaves_behind_the_next_does_not_find(daemon, what):
    daemon.python("leaves", f"import os\ndef handler(event, context):\n    {TAINTS[what]}\n"
                            "    return [len(os.listdir('/tmp')), len([p for p in os.listdir('/proc') if p.isdigit()])]\n",
                  "[scale]\nconcurrency = 1\n")
    results = [daemon.invoke("leaves").result() for _ in range(5)]
    assert all(result == results[0] for result in results), results
    assert daemon.show("leaves")["errors"] == 0


# --- how long, and how many stand ready ------------------------------------------------------------------


def test_an_idle_function_scales_to_zero_and_the_next_call_starts_it_again(daemon):
    daemon.python("idle", "def handler(event, context): return event\n", "[scale]\nkeep_alive = 300ms\n")
    assert daemon.invoke("idle", 1).result() == 1
    groups = daemon.groups()
    eventually(lambda: not daemon.show("idle")["up"], "its leaving")
    eventually(lambda: not (parts := daemon.parts()).keepers + parts.functions, "the end of its processes")
    eventually(lambda: not still_there(groups), "the end of its control groups")
    answer = daemon.invoke("idle", 2)
    assert answer.result() == 2
    assert daemon.usage_of("idle", answer.id)["cold"] is True
    assert daemon.show("idle")["cold"] >= 1


def test_provisioned_slots_stand_ready_before_any_call_and_after_idling(daemon):
    daemon.python("warm", SLEEPY, "[scale]\nprovisioned = 4\nconcurrency = 6\nkeep_alive = 200ms\n")
    daemon.wait_ready("warm", 4)
    pids = set(daemon.parts().keepers)
    with daemon.load("warm", clients=4, calls=60, event=lambda *_: {"sleep": 0}) as load:
        pass
    assert not load.wrong, load.wrong
    assert daemon.show("warm")["cold"] == 0
    daemon.wait_ready("warm", 4)
    daemon.close()
    daemon.start()
    daemon.wait_ready("warm", 4)
    assert set(daemon.parts().keepers) != pids
    answer = daemon.invoke("warm", {"sleep": 0})
    assert daemon.usage_of("warm", answer.id)["cold"] is False


def test_slots_are_built_ahead_of_load_up_to_concurrency(daemon):
    daemon.python("grows", SLEEPY, "[limits]\ntimeout = 20s\n[scale]\nconcurrency = 6\n")
    assert daemon.show("grows")["slots"]["total"] <= 2
    with daemon.load("grows", clients=6, event=lambda *_: {"sleep": 0.05}) as load:
        eventually(lambda: daemon.show("grows")["slots"]["total"] == 6, "six slots")
    assert not load.wrong, load.wrong


def test_a_small_budget_lets_the_longest_idle_leave_for_others():
    with running_daemon("memory = 300M\n") as daemon:
        for name in ("a", "b", "c"):
            daemon.python(name, f"def handler(event, context): return '{name}'\n", "[limits]\nmemory = 128M\n[scale]\nconcurrency = 1\n")
        for _ in range(3):
            for name in ("a", "b", "c"):
                assert daemon.invoke(name).result() == name
                assert sum(each["up"] for each in daemon.request("GET", "/fnrun/v1/functions").json["functions"]) <= 2


# --- code that keeps failing --------------------------------------------------------------------------------


def test_code_that_does_not_load_any_more_opens_the_breaker_with_its_last_log(daemon):
    loads_until = time.time() + 2
    daemon.python("flips", "import time\nprint('it is', 'late')\n"
                           f"if time.time() > {loads_until}: raise RuntimeError('too late')\n"
                           "def handler(event, context): return 1\n", "[scale]\nkeep_alive = 100ms\n")
    eventually(lambda: not daemon.show("flips")["up"] and time.time() > loads_until, "its leaving")
    assert daemon.invoke("flips").error == "RuntimeError"
    answer = eventually(lambda: (got := daemon.invoke("flips")).status == 503 and got, "the breaker")
    assert answer.error == "ServiceException" and answer.headers["Retry-After"]
    for told in (answer.json["Message"], daemon.show("flips")["broken"], daemon.fnrun("show", "flips").out.decode()):
        assert "too late" in told and "it is late" in told
    result = daemon.fnrun("invoke", "flips")
    assert result.status in (1, 5), result
    # After its time it is tried again, and the call gets the function's own error.
    eventually(lambda: daemon.invoke("flips").error == "RuntimeError", "another try")
    daemon.python("flips", "def handler(event, context): return 2\n")
    assert daemon.invoke("flips").result() == 2


@needs_node
def test_a_broken_function_hurts_no_other(daemon):
    daemon.deploy("broken", {"index.js": "if (Date.now() > " + str(int(time.time() * 1000) + 1000) + ") process.exit(5);\n"
                                         "exports.handler = async () => 1;\n"}, "[scale]\nkeep_alive = 100ms\n")
    daemon.python("well", "def handler(event, context): return event\n")

    def judge(name, number, answer):
        if name == "well":
            return None if answer.error is None and answer.json == {"n": number} else repr(answer)
        return None if answer.error != "Sandbox.Timedout" else repr(answer)

    with daemon.load("well", "broken", clients=4, judge=judge) as load:
        eventually(lambda: daemon.show("broken")["broken"], "the breaker")
        load.wait_for(100)
    assert not load.wrong, load.wrong.most_common(3)


NATIVE_ECHO = """
#include <fnrun.h>
int handler(const struct fnrun_event *event, struct fnrun_result *result) {
    return fnrun_result_write(result, event->data, event->length) < 0 ? fnrun_result_fail(result, "OutOfMemory", "") : 0;
}
"""


def native_echo():
    """A shared object, or None where there is no compiler."""
    if not shutil.which("cc"):
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, target = pathlib.Path(folder, "echo.c"), pathlib.Path(folder, "handler.so")
        source.write_text(NATIVE_ECHO)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-I", SOURCE / "images" / "runtimes" / "native", "-o", target, source],
                       check=True)
        return target.read_bytes()
