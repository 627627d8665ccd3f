"""The life of fnrund under systemd: in each way of starting it, it serves from groups of its
own, and however it or a part of it ends, nothing of it is left behind."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess

import pytest

from daemons import BOTH, WAYS, Daemon, Parts, environment_group, running_daemon
from machine import DEADLINE, EXAMPLES, TESTER, as_tester, group_of, nothing_is_left, processes, sandboxed, wait_until, ways

SLOW = {"app.py": "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'slept'\n"}


@pytest.fixture(autouse=True)
def leaves_nothing_behind():
    yield
    nothing_is_left()


def greet(daemon):
    assert daemon.invoke("hello-python", {"name": "Ada"}).result() == {"message": "Hello, Ada!"}


def unit_of(pid):
    return group_of(pid).split("/fnrun-")[0].rsplit("/", 1)[1]


# --- in each way ------------------------------------------------------------------------------


@ways(WAYS)
def test_it_serves_and_sigterm_leaves_nothing(way):
    with running_daemon(way) as daemon:
        daemon.deploy(EXAMPLES / "hello-python")
        for _ in range(3):
            greet(daemon)
        own = re.fullmatch(f"({way[1]})/fnrun-\\d+-\\d+-\\w+-runner", group_of(daemon.pid))
        assert own, group_of(daemon.pid)
        assert group_of(Parts().keeper).startswith(own[1] + "/fnrun-")
        assert group_of(daemon.launcher) == own[0]
        assert daemon.end(signal.SIGTERM) == 0, daemon.said()
        assert "stopped" in daemon.said()
        assert not daemon.socket.exists()
        nothing_is_left()


@ways(WAYS)
def test_kill_9_of_fnrund_leaves_nothing_and_the_next_serves_what_was_deployed(way):
    with running_daemon(way) as daemon:
        daemon.deploy(EXAMPLES / "hello-python")
        greet(daemon)
        daemon.end(signal.SIGKILL)
        wait_until(lambda: not sandboxed(), sandboxed)
        nothing_is_left()
        daemon.start()
        greet(daemon)
        assert daemon.end(signal.SIGTERM) == 0, daemon.said()


@ways({name: WAYS[name] for name in WAYS if "delegated" in name})
def test_stopping_its_unit_is_an_ordinary_end(way):
    """systemd then signals every process in it, and not only the one it started."""
    with running_daemon(way) as daemon:
        daemon.deploy(EXAMPLES / "hello-python")
        greet(daemon)
        whose = [*TESTER, "systemctl", "--user"] if daemon.is_users else ["systemctl"]
        subprocess.run([*whose, "stop", unit_of(daemon.pid)], check=True, timeout=DEADLINE)
        assert daemon.process.wait(DEADLINE) == 0, daemon.said()
        assert "stopped" in daemon.said()


# --- parts that die -------------------------------------------------------------------------------


@ways(BOTH)
def test_a_killed_keeper_takes_its_environment_along_and_another_is_made(way):
    with running_daemon(way) as daemon:
        daemon.deploy(EXAMPLES / "hello-python")
        greet(daemon)
        keeper = Parts().keeper
        inside = sandboxed()
        group = environment_group(keeper)
        os.kill(keeper, signal.SIGKILL)
        wait_until(lambda: not set(inside) & set(sandboxed()), sandboxed)
        wait_until(lambda: not group.exists() or Parts().keeper not in (None, keeper), lambda: group)
        wait_until(lambda: daemon.invoke("hello-python", {"name": "Ada"}).status == 0, daemon.said)
        assert daemon.end(signal.SIGTERM) == 0, daemon.said()


@ways(BOTH)
def test_a_killed_launcher_ends_fnrund_which_says_so(way):
    with running_daemon(way) as daemon:
        daemon.deploy(EXAMPLES / "hello-python")
        greet(daemon)
        os.kill(daemon.launcher, signal.SIGKILL)
        assert daemon.process.wait(DEADLINE) == 5, daemon.said()
        assert "its launcher was lost" in daemon.said()
        nothing_is_left()
        daemon.start()
        greet(daemon)
        assert daemon.end(signal.SIGTERM) == 0, daemon.said()


@ways(BOTH)
def test_a_call_under_way_is_finished_before_the_end(way):
    with running_daemon(way) as daemon:
        daemon.put("slow", SLOW, limits_timeout="20s")
        pending = daemon.begin_call("slow", 3)
        daemon.wait_for("slow", lambda seen: seen["slots"]["busy"] == 1)
        assert daemon.end(signal.SIGTERM) == 0, daemon.said()
        assert daemon.finish(pending).result() == "slept"


@ways(BOTH)
def test_a_client_that_goes_takes_its_call_along(way):
    with running_daemon(way) as daemon:
        daemon.put("slow", SLOW, limits_timeout="20s")
        pending = daemon.begin_call("slow", 15)
        daemon.wait_for("slow", lambda seen: seen["slots"]["busy"] == 1)
        os.kill(processes("fnrun")[0], signal.SIGINT)
        daemon.finish(pending)
        record = wait_until(lambda: daemon.usage("slow"), daemon.said)[0]
        assert record["outcome"] == "Client.Gone" and record["durationUs"] < 14e6, record
        assert daemon.end(signal.SIGTERM) == 0, daemon.said()


# --- where it cannot serve ------------------------------------------------------------------------


@contextlib.contextmanager
def replaced(path, text):
    before = pathlib.Path(path).read_text()
    pathlib.Path(path).write_text(text)
    try:
        yield
    finally:
        pathlib.Path(path).write_text(before)


def refusal(way):
    daemon = Daemon(way)
    try:
        assert not daemon.launch(), daemon.said()
        return daemon.process.returncode, daemon.said()
    finally:
        daemon.destroy()


def test_a_user_without_a_range_of_ids_is_told_the_command():
    with replaced("/etc/subuid", "fnrun:1879048192:1048576\n"), replaced("/etc/subgid", "fnrun:1879048192:1048576\n"):
        status, said = refusal(BOTH["a user"])
    assert status == 5 and "usermod --add-subuids" in said, said


def test_a_user_without_a_bus_is_told_the_ways_out():
    status, said = refusal((as_tester(), ""))
    assert status == 5, said
    for way_out in ["as root", "systemd-run --user --scope -p Delegate=yes fnrund", "fnrun.ini"]:
        assert way_out in said, said
