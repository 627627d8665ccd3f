"""What an event leaves (probes/liar_event.c), and that the next one in the same environment
finds nothing of it: the slot is used again where every trace is provably gone, else it is
retired with the reason counted. Each proof has a test in which it is the one that finds the
trace; where no function can leave one, the test does it from outside."""

import contextlib
import os
import pathlib
import signal
import subprocess

import pytest

import outside
from daemon import Parts, eventually
from liar_harness import daemon_of_a_file, deployed, differences, shared_object

EPERM, ESRCH, EACCES, ENOSPC, EROFS, ENOSYS, EOPNOTSUPP = 1, 3, 13, 28, 30, 38, 95
SIGUSR1_BIT = 1 << (signal.SIGUSR1 - 1)
NATIVE = "[function]\nruntime = native\nhandler = {}.so\n"


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Looked at when the daemon has ended."""


@pytest.fixture(scope="module")
def daemon():
    yield from daemon_of_a_file()


@pytest.fixture(scope="module")
def code(tmp_path_factory, daemon):
    return shared_object(tmp_path_factory.mktemp("liar"), "liar_event")


@pytest.fixture(scope="module")
def function(daemon, code):
    """With one slot, which every event of these tests is handled in."""
    ini = (NATIVE.format("liar_event") + "[limits]\nmemory = 64M\nfiles = 2000\ntmp = 8M\ntimeout = 30s\n"
           "[scale]\nconcurrency = 1\n")
    with deployed(daemon, {"liar_event.so": code}, ini) as made:
        assert made.way == "fork", made.why
        yield made.settle()


def look(function):
    """All that an event can find. The number of its autogroup tells slots apart, and is not
    the former event's to choose."""
    seen = function.invoke({"do": "look"}).result()
    if seen["autogroup"]:
        seen["autogroup"] = seen["autogroup"].split()[1:]
    return seen


@contextlib.contextmanager
def leaves(function, retired=None, replaced=False, besides=()):
    """That what is done inside leaves nothing for the next event, and what became of the slot:
    used again, with a new /tmp if `replaced`, or retired for that reason. besides: reasons that
    slots may be retired for after that."""
    before, counts = look(function), function.counts()
    yield
    after = look(function)
    mounts = before.pop("mount"), after.pop("mount")
    assert after == before
    assert (after["pid"], after["processes"], after["tmp"], after["shm"]) == (2, ["2"], [], [])
    changes = {key: count for key, count in differences(counts, function.counts()).items() if key not in besides}
    assert changes == ({retired: 1, "built": 1} if retired else {})
    if mounts != (0, 0):  # a kernel that numbers each mount anew
        assert (mounts[0] != mounts[1]) == bool(replaced or retired)


# --- nothing to find ------------------------------------------------------------------------


def test_an_event_that_does_nothing_leaves_its_slot_as_it_was(function):
    with leaves(function):
        assert function.invoke({"do": "nothing"}).result() == {}


def test_namespaces_are_not_to_be_had(function):
    with leaves(function):
        said = function.invoke({"do": "namespaces"}).result()
    assert said.pop("clone3") == ENOSYS
    assert len(said) == 21 and set(said.values()) == {EPERM}


def test_what_would_last_is_refused(function):
    with leaves(function):
        said = function.invoke({"do": "forbidden"}).result()
    assert said.pop("nice") in (EPERM, EACCES)
    assert said.pop("own filter") != 0
    assert said == {"chmod": EPERM, "chown": EPERM, "xattr": EPERM, "utimes": EPERM, "autogroup": EROFS,
                    "oom_score_adj": EROFS, "hostname": EPERM, "setuid": EPERM, "keyctl": EPERM, "ptrace": EPERM,
                    "sibling": EPERM, "tmpfile": EOPNOTSUPP, "write": EROFS, "gate": EPERM}


def test_no_process_but_its_own_can_be_reached(function):
    with leaves(function):
        said = function.invoke({"do": "others"}).result()
    assert said == {"killed": 0, "reniced": 0, "limited": 0, "kill 1": EPERM, "kill all": ESRCH, "renice all": 0}


def test_what_a_process_does_to_itself_ends_with_it(function):
    with leaves(function):
        said = function.invoke({"do": "change"}).result()
    assert said == {"nice": 0, "limit": 0, "block": 0, "session": EPERM, "folder": 0}


def test_an_event_that_dies_leaves_its_slot_as_it_was(function):
    with leaves(function):
        assert function.invoke({"do": "die"}).error == "Runtime.ExitError"


# --- processes -------------------------------------------------------------------------------


@pytest.mark.parametrize("what, said", [("daemon", "fork"), ("stopped", "fork"), ("thread", "thread")])
def test_a_process_that_is_left_is_killed(function, what, said):
    with leaves(function):
        assert function.invoke({"do": what}).result() == {said: 0}


def test_the_next_event_has_the_same_number_whatever_was_forked(function):
    with leaves(function):
        assert function.invoke({"do": "forks"}).result() == {"last": 42}


# --- /tmp --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["file", "file gone", "folder", "shm", "touch"])
def test_a_tmp_that_was_touched_is_replaced(function, what):
    with leaves(function, replaced=True):
        assert set(function.invoke({"do": what}).result().values()) == {0}


def test_a_tmp_that_was_filled_is_replaced(function):
    with leaves(function, replaced=True):
        said = function.invoke({"do": "fill"}).result()
    assert said["write"] == ENOSPC and said["megabytes"] in (7, 8)


def test_a_tmp_that_was_only_looked_at_stays(function):
    with leaves(function):
        assert function.invoke({"do": "watch"}).result() == {"watch": 0, "open": 0}


def test_a_tmp_that_is_still_in_use_retires_the_slot(daemon, tmp_path):
    """The frozen copy has mapped a file of it, so it cannot be taken away."""
    ini = NATIVE.format("liar") + "[environment]\nLIE = maps a file of /tmp\n[scale]\nconcurrency = 1\n"
    with deployed(daemon, {"liar.so": shared_object(tmp_path, "liar")}, ini) as function:
        answers = function.results(3)
        counts = function.counts()
    assert {answer["turn"] for answer in answers} == {0}, "each had a new slot"
    assert set(counts) == {"built", "tmp"} and counts["tmp"] >= 2


# --- what the kernel keeps --------------------------------------------------------------------


@pytest.mark.parametrize("what", ["shmget", "semget", "msgget", "mq_open"])
def test_an_ipc_object_retires_the_slot(function, what):
    with leaves(function, retired="ipc"):
        assert function.invoke({"do": what}).result() == {what: 0}


def test_an_ipc_object_with_a_key_is_not_there_for_the_next(function):
    for _ in range(2):
        with leaves(function, retired="ipc"):
            assert function.invoke({"do": "ipc"}).result() == {"shmget": 0, "semget": 0, "msgget": 0}


@pytest.mark.parametrize("what", ["inet", "inet6"])
def test_a_network_socket_retires_the_slot(function, what):
    with leaves(function, retired="sockets"):
        assert function.invoke({"do": what}).result()["socket"] == 0


def test_a_unix_socket_does_not(function):
    for _ in range(2):
        with leaves(function):
            assert function.invoke({"do": "unix"}).result() == {"bind": 0, "listen": 0}


def test_sockets_that_outlive_their_process_in_flight_retire_the_slot(function):
    """The kernel takes them away some time after their process, so perhaps before they are
    looked for: then the slot may be used again, with another /tmp."""
    def is_found():
        before, counts = look(function), function.counts()
        assert function.invoke({"do": "cycles"}).result() == {"pairs": 400}
        after, changes = look(function), differences(counts, function.counts())
        assert before.pop("mount") != after.pop("mount") or not before["mount"]
        assert before == after
        assert changes in ({}, {"sockets": 1, "built": 1})
        return changes
    eventually(is_found, "a slot retired for its sockets")


def test_running_out_of_memory_retires_the_slot(function):
    with leaves(function, retired="outOfMemory"):
        assert function.invoke({"do": "eat"}).error == "Runtime.OutOfMemory"


def test_a_strict_slot_is_used_once(daemon, code):
    ini = NATIVE.format("liar_event") + "[scale]\nconcurrency = 1\nisolation = strict\n"
    with deployed(daemon, {"liar_event.so": code}, ini) as function:
        assert {function.invoke({"do": "look"}).result()["pid"] for _ in range(4)} == {2}
        slots = function.slots
    assert slots["reused"] == 0 and slots["retired"]["usedOnce"] >= 3


# --- from outside ------------------------------------------------------------------------------


@contextlib.contextmanager
def held(function):
    """While an event waits for SIGUSR1. Yields its process and the frozen copy it came from."""
    pending = function.daemon.begin(function.name, {"do": "hold"})

    def waiting():
        for pid in Parts(function.daemon.process.pid).functions:
            with contextlib.suppress(OSError):
                if int(outside.status_of(pid)["SigCgt"], 16) & SIGUSR1_BIT:
                    return pid
        return None

    process = eventually(waiting, "the event's process")
    try:
        yield process, os.getsid(process)  # the copy leads the session
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGUSR1)
        held.answer = pending.answer()


def test_another_autogroup_retires_the_slot(function):
    """/proc is read-only in a slot, so that only somebody outside can change it."""
    def change(pid):
        path = pathlib.Path(f"/proc/{pid}/autogroup")
        if not path.exists():
            pytest.skip("this kernel has no autogroups")
        path.write_text("7")

    with leaves(function, retired="autogroup"), held(function) as (process, _):
        change(process)
    assert held.answer.result() == {"signal": signal.SIGUSR1}


def test_a_process_that_would_not_die_retires_the_slot(function):
    """One outside of the slot's PID namespace, where init cannot kill it. As long as it is in
    the slot's groups no other slot can be verified there."""
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        try:
            with leaves(function, retired="processes", besides=["unverified"]):
                with held(function) as (process, _):
                    group, _ = outside.group_of(process, "pids")
                    (group / "cgroup.procs").write_text(str(stranger.pid))
                assert held.answer.result() == {"signal": signal.SIGUSR1}
                eventually(lambda: function.counts().get("processes"), "the slot's end")
                stranger.kill()
                stranger.wait()
        finally:
            stranger.kill()


def test_a_copy_that_died_retires_the_slot(function):
    with leaves(function, retired="died"):
        with held(function) as (_, copy):
            os.kill(copy, signal.SIGKILL)
        assert held.answer.result() == {"signal": signal.SIGUSR1}, "the event goes on without it"


def test_an_init_that_died_retires_the_slot(function):
    with leaves(function, retired="died"):
        with held(function) as (process, _):
            init, = (pid for pid in Parts(function.daemon.process.pid).inits
                     if os.stat(f"/proc/{pid}/ns/pid").st_ino == os.stat(f"/proc/{process}/ns/pid").st_ino)
            os.kill(init, signal.SIGKILL)
            eventually(lambda: not os.path.exists(f"/proc/{process}"), "the end of its event's process")
        assert held.answer.error in ("Runtime.ExitError", "ServiceException")
