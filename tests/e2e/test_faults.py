"""kill -9 of every part under load: each call is answered, what died is made again, nothing
is left, and what was deployed is still there."""

import contextlib
import os
import pathlib
import signal

import outside
import pytest
from daemon import eventually, pack, pinned_namespaces, still_there
from harness import needs_node

SLEEPY = "import time\ndef handler(event, context):\n    time.sleep(event.get('sleep', 0))\n    return event['n']\n"
LONG = "[limits]\ntimeout = 20s\n"


def kill(*pids):
    """Returns how many were still there."""
    killed = 0
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        except ProcessLookupError:
            pass
    return killed


def own_or_service(_name, number, answer):
    """The call's own result, or word that the environment failed. Nothing else, and never a hang."""
    if answer.error is None:
        return None if answer.json == number else f"not its own: {answer!r}"
    return None if answer.error == "ServiceException" else repr(answer)


def own_or_ended(_name, number, answer):
    """... or that the process itself was killed."""
    if answer.error == "Runtime.ExitError" and "killed" in answer.json["errorMessage"]:
        return None
    return own_or_service(_name, number, answer)


def number_event(_name, number):
    return {"n": number, "sleep": 0.01}


def deploy(daemon, kind):
    if kind == "python":
        daemon.python("f", SLEEPY, LONG + "[scale]\nconcurrency = 4\n")
    elif kind == "node":
        daemon.deploy("f", {"index.js": "exports.handler = async e => { await new Promise(r => setTimeout(r, 10)); return e.n; };\n"},
                      LONG + "[scale]\nconcurrency = 4\n")
    else:
        daemon.script("f", "read -r event\nevent=${event#*: }\necho ${event%%,*}\n", LONG + "[scale]\nconcurrency = 4\n")


PARTS = ["zygotes", "keepers", "inits", "copies", "functions"]


@needs_node
@pytest.mark.parametrize("kind, part", [("python", part) for part in PARTS] +
                         [(kind, part) for kind in ("node", "exec") for part in ("keepers", "inits", "functions")])
def test_killing_a_part_under_load_is_survived(daemon, kind, part):
    deploy(daemon, kind)
    judge = own_or_ended if part == "functions" else own_or_service
    with daemon.load("f", clients=4, event=number_event, judge=judge) as load:
        load.wait_for(20)
        killed = 0
        for _ in range(4):
            # A process that is just going may be the one that was found.
            killed += eventually(lambda: kill(*getattr(daemon.parts(), part)[:1]), f"one of the {part}")
            load.wait_for(10)
        assert killed == 4
        # It serves again as if nothing had been.
        eventually(lambda: daemon.invoke("f", {"n": 1}).error is None, "a result")
        good = load.answers["f", 200, None]
        eventually(lambda: load.answers["f", 200, None] > good + 40 or load.stopped, "results again")
    assert not load.wrong, load.wrong.most_common(3)
    assert load.answers["f", 200, None] > 40
    eventually(lambda: daemon.show("f")["slots"]["busy"] == 0, "rest")
    assert len(daemon.parts().keepers) == 1


@pytest.mark.parametrize("part", ["zygotes", "keepers"])
def test_a_call_in_flight_when_its_environment_dies_is_told_so_at_once(daemon, part):
    daemon.python("f", SLEEPY, "[limits]\ntimeout = 15m\n")
    before = daemon.groups()
    pending = daemon.begin("f", {"n": 1, "sleep": 800})
    eventually(lambda: daemon.show("f")["slots"]["busy"] == 1, "one that runs")
    parts = daemon.parts()
    kill(*getattr(parts, part))
    answer = pending.answer()
    assert (answer.status, answer.error) == (500, "ServiceException"), answer
    assert daemon.usage_of("f", answer.id)["outcome"] == "ServiceException"
    eventually(lambda: not [pid for pid in parts.zygotes + parts.copies + parts.functions + parts.inits if outside.stat_of(pid)],
               "the end of its processes")
    assert daemon.invoke("f", {"n": 2}).result() == 2
    eventually(lambda: not still_there(before), "the end of its groups")


def sleepers(daemon):
    """Functions' processes that sleep, rather than wait in their gate."""
    found = set()
    for pid in daemon.parts().functions:
        with contextlib.suppress(OSError):
            if "nanosleep" in pathlib.Path(f"/proc/{pid}/wchan").read_text():
                found.add(pid)
    return found


def neighbour(daemon, pid, part):
    """The part of the slot in which the process runs."""
    if part == "functions":
        return pid
    group = outside.group_of(pid, "pids")[0]
    for other in getattr(daemon.parts(), part):
        with contextlib.suppress(OSError):
            if outside.group_of(other, "pids")[0] == group:
                return other
    raise AssertionError(f"no {part} beside {pid}")


@pytest.mark.parametrize("part, error", [("inits", "ServiceException"), ("functions", "Runtime.ExitError"), ("copies", None)])
def test_a_call_in_a_slot_of_which_a_part_is_killed_is_told_and_the_others_go_on(daemon, part, error):
    daemon.python("f", SLEEPY, LONG + "[scale]\nconcurrency = 2\n")
    other = daemon.begin("f", {"n": 1, "sleep": 1.5})
    others = eventually(lambda: sleepers(daemon), "the other one")
    pending = daemon.begin("f", {"n": 2, "sleep": 1 if part == "copies" else 15})
    victim = eventually(lambda: sleepers(daemon) - others, "the one").pop()
    kill(neighbour(daemon, victim, part))
    assert pending.answer().error == error
    assert other.answer().result() == 1
    assert daemon.invoke("f", {"n": 3}).result() == 3
    retired = eventually(lambda: daemon.show("f")["slots"]["retired"].get("died") or part == "functions", "the slot's end")
    assert retired


def test_a_dead_launcher_ends_the_daemon_with_every_request_answered(daemon):
    daemon.python("f", SLEEPY, "[limits]\ntimeout = 15m\n[scale]\nconcurrency = 8\n")
    pending = [daemon.begin("f", {"n": 1, "sleep": 800}) for _ in range(3)]
    eventually(lambda: daemon.show("f")["slots"]["busy"] == 3, "three that run")
    pids = outside.descendants(daemon.process.pid)
    kill(*daemon.parts().launcher)
    answers = [each.answer() for each in pending]
    assert {(each.status, each.error) for each in answers} <= {(500, "ServiceException"), (503, "ServiceException")}, answers
    assert daemon.wait() == 5
    assert "launcher" in daemon.said()
    eventually(lambda: not [pid for pid in pids if outside.stat_of(pid) and outside.stat_of(pid)[1] != "Z"], "the end of all")
    daemon.start()
    assert daemon.invoke("f", {"n": 5}).result() == 5


def test_a_dead_launcher_under_load_hangs_nobody(daemon):
    daemon.python("f", SLEEPY, LONG)
    with daemon.load("f", clients=6, event=number_event) as load:
        load.wait_for(20)
        kill(*daemon.parts().launcher)
        assert daemon.wait() == 5
    kinds = {answer[2] for answer in load.answers}
    assert kinds <= {None, "ServiceException", "ConnectionResetError", "RemoteDisconnected", "ConnectionRefusedError",
                     "FileNotFoundError", "BrokenPipeError"}, load.answers
    daemon.start()
    assert daemon.invoke("f", {"n": 5}).result() == 5


@pytest.mark.parametrize("idle", [True, False])
def test_with_fnrund_killed_everything_dies_and_the_next_start_serves(daemon, idle):
    daemon.python("f", SLEEPY, LONG + "[scale]\nconcurrency = 8\n")
    daemon.script("g", "printf 7\n")
    assert daemon.invoke("g").result() == 7
    groups, pinned = daemon.groups(), pinned_namespaces()
    with daemon.load("f", "f", clients=0 if idle else 4, event=number_event) as load:
        if not idle:
            load.wait_for(20)
        pids = outside.descendants(daemon.process.pid)
        daemon.process.kill()
        daemon.process.wait()
    eventually(lambda: not [pid for pid in pids if (stat := outside.stat_of(pid)) and stat[1] != "Z"], "the end of all")
    outside.reap_adopted()
    assert pinned_namespaces() <= pinned
    daemon.start()
    assert daemon.invoke("f", {"n": 5}).result() == 5
    assert daemon.invoke("g").result() == 7
    eventually(lambda: not still_there(groups), "the end of the old groups")


def test_killed_in_the_middle_of_deployments_the_old_or_the_new_version_is_whole(daemon):
    daemon.python("f", "def handler(event, context): return 0\n")
    for number in range(1, 9):
        with daemon.client() as client:
            body = pack("f", {"app.py": f"def handler(event, context): return {number}\n", "more": os.urandom(1 << 18)})
            client.connection.putrequest("PUT", "/fnrun/v1/functions/f")
            client.connection.putheader("Content-Length", str(len(body)))
            client.connection.endheaders(body)
            # At another instant each time: the deployment's own steps are the clock.
            for _ in range(number):
                daemon.request("GET", "/fnrun/v1/health")
            daemon.process.kill()
            daemon.process.wait()
        daemon.start()
        shown = daemon.show("f")
        assert daemon.invoke("f").result() in range(number + 1)
        assert shown["version"] <= number + 1
        eventually(lambda: not list((daemon.store / "incoming").iterdir()), "a clean incoming folder")
        versions = daemon.request("GET", "/fnrun/v1/functions/f/versions").json["versions"]
        assert sum(each["current"] for each in versions) == 1


def test_a_killed_zygote_of_one_function_does_not_touch_another(daemon):
    daemon.python("f", SLEEPY, LONG)
    keepers = set(daemon.parts().keepers)
    daemon.python("g", SLEEPY, LONG)
    other = set(daemon.parts().keepers) - keepers
    assert len(keepers) == len(other) == 1

    def judge(name, number, answer):
        return own_or_service(name, number, answer) if name == "f" else \
            None if answer.error is None and answer.json == number else repr(answer)

    with daemon.load("f", "g", clients=4, event=number_event, judge=judge) as load:
        for _ in range(3):
            load.wait_for(20)
            mine = [pid for pid in daemon.parts().keepers if pid not in other]
            kill(*mine)
        load.wait_for(20)
    assert not load.wrong, load.wrong.most_common(3)
    assert other <= set(daemon.parts().keepers)
