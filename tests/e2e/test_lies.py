"""A zygote and its copies that lie (probes/liar.c): each lie is found by the check that is made
for it, and none of them ever has an event. Where the check fails before anything was served,
the function is started ahead instead, and deploy's answer names the reason."""

import concurrent.futures

import pytest

from daemon import eventually
from harness import fnrun
from liar_harness import daemon_of_a_file, deployed, shared_object

EPERM, ENOSYS, EINVAL = 1, 38, 22


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Looked at when the daemon has ended."""


@pytest.fixture(scope="module")
def daemon():
    yield from daemon_of_a_file()


@pytest.fixture(scope="module")
def liar(tmp_path_factory, daemon):
    """liar(lie, more of function.ini): the function, deployed for one test."""
    code = shared_object(tmp_path_factory.mktemp("liar"), "liar")

    def make(lie, scale="concurrency = 1", limits=""):
        return deployed(daemon, {"liar.so": code},
                        "[function]\nruntime = native\nhandler = liar.so\n"
                        f"[environment]\nLIE = {lie}\n[scale]\n{scale}\n[limits]\n{limits}\n")

    make.code = code
    return make


# --- what may never be copied, or be a copy ------------------------------------------------------

AHEAD = {
    # of the zygote
    "shared memory made in the zygote": "shared memory: a writable shared mapping of /dev/zero",
    "maps a writable file": "shared memory: a writable shared mapping of /tmp/map",
    "a descriptor open in the zygote": "an open file after loading: descriptor 3 (/dev/null)",
    "a helper of the zygote": "processes: 2 after loading",
    "a thread in the zygote": "threads: 2 after loading",
    "makes no copy": "the zygote made no copy",
    # of the way of its copy into the slot
    "impostor of the copy": "the copy is not the keeper's child",
    "a helper while copying": "processes beside the zygote: 1",
    "does not join pid": "the copy is not in the slot's pid_for_children namespace",
    "does not join mnt": "the copy is not in the slot's mnt namespace",
    "does not join ipc": "the copy is not in the slot's ipc namespace",
    "does not join uts": "the copy is not in the slot's uts namespace",
    "does not join cgroup": "the copy is not in the slot's cgroup namespace",
    "does not join net": "the copy is not in the slot's net namespace",
    "works in the zygote's /tmp": "the copy's working directory is elsewhere",
    "works in /tmp": "the copy's working directory is elsewhere",
    "works outside": "the copy's working directory is elsewhere",
    "keeps its user id": "the copy has the user ids",
    "keeps its group id": "the copy has the group ids",
    "is not dumpable": "the copy is not dumpable",
    "has no session": "the copy has no session of its own",
    # of the copy
    "keeps capabilities": "the copy kept capabilities (Cap",
    "keeps inheritable capabilities": "the copy kept capabilities (CapInh: 0000000000200000)",
    "another filter": "the copy has other filters",
    "a thread in the copy": "the copy has more than one thread",
    "a helper of the copy": "processes in the slot: 3, not 2",
    "a descriptor open in the copy": "the copy has open descriptors",
    "a directory open in the copy": "the copy has open descriptors",
    "shared memory made in the copy": "shared memory: a writable shared mapping of /dev/zero",
    "maps a file of /tmp for writing": "shared memory: a writable shared mapping of /tmp/map",
    # of the copy after it was verified, while its first process is made
    "a descriptor opened late": "the frozen copy has open descriptors",
    "shared memory made late": "shared memory: a new shared mapping",
    "a helper made late": "processes in the slot: 4, not 3",
    "leaves its gate for another's": "the frozen copy asked for something else",
    "leaves its gate to join": "the frozen copy asked for something else",
    "leaves its gate to be root": "the frozen copy asked for something else",
    "makes a helper of the keeper's": "the frozen copy asked for something else",
    # of the process of an event
    "F is the copy's own child": "a process asked for an event before its copy was verified",
    "F shares memory by vfork": "a process asked for an event before its copy was verified",
    "F stays in the copy's process group": "the process has no process group of its own",
    "F ends before its event": "the process ended before its event",
    "impostor of F": "the process is not the keeper's child",
}


@pytest.mark.parametrize("lie", AHEAD)
def test_code_that_lies_is_started_ahead_and_the_reason_named(liar, lie):
    with liar(lie) as function:
        assert (function.way, function.why[:len(AHEAD[lie])]) == ("ahead", AHEAD[lie])
        assert function.results(2) == [{"ahead": True}] * 2
        shown = function.daemon.show(function.name)
        assert (shown["way"], shown["why"]) == ("ahead", function.why)


def test_a_copy_outside_the_slots_control_groups_is_found(liar, daemon):
    with liar("stays in the zygote's groups") as function:
        if function.way == "fork":
            pytest.skip("here the keeper moves it (control groups v2)")
        assert function.why == "the copy is not in the slot's control groups"
        assert function.results(2) == [{"ahead": True}] * 2


CHANGED = {
    "shared memory made for the copy": "shared memory: a writable shared mapping",
    "a thread made late in the zygote": "threads: 2 after loading",
    "a descriptor opened late in the zygote": "an open file after loading: descriptor 3 (/dev/zero)",
}


@pytest.mark.parametrize("lie", CHANGED)
def test_a_zygote_that_changes_after_its_first_gate_ends_its_environment(liar, daemon, lie):
    answer = daemon.put("changed", {"liar.so": liar.code},
                        f"[function]\nruntime = native\nhandler = liar.so\n[environment]\nLIE = {lie}\n")
    if answer.status == 200:  # its first slot was ready before the second copy was asked for
        eventually(lambda: (daemon.invoke("changed"), daemon.show("changed")["broken"])[1], "the environment's end")
        said = daemon.show("changed")["broken"]
        daemon.request("DELETE", "/fnrun/v1/functions/changed")
    else:
        said = answer.json["Message"]
    assert "the zygote changed: " + CHANGED[lie] in said


def test_the_command_names_the_reason(liar, daemon, folder):
    root = folder({"liar.so": liar.code}, "[function]\nruntime = native\nhandler = liar.so\n"
                  "[environment]\nLIE = another filter\n", name="names-the-reason")
    for command in (["deploy", root], ["show", "names-the-reason"]):
        result = fnrun(*command, env=daemon.env)
        assert result.status == 0, result
        assert "the copy has other filters" in result.out.decode() + result.err, result
    assert fnrun("remove", "names-the-reason", env=daemon.env).status == 0


# --- lies told later ------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["a descriptor opened after events", "shared memory made after events"])
def test_a_copy_that_lies_after_some_events_loses_its_slot_and_nobody_his_event(liar, lie):
    with liar(lie) as function:
        function.settle()
        before = function.counts()
        answers = function.results(12)
        after = function.counts()
        assert {answer["lied"] for answer in answers} == {False}
        # Its fourth process is the one that would know.
        assert {answer["turn"] for answer in answers} == {0, 1, 2}
        assert after["unverified"] - before.get("unverified", 0) >= 3
        assert set(after) == {"built", "unverified"}


def test_a_timer_does_not_wake_a_frozen_copy(liar):
    with liar("an interval timer in the copy") as function:
        assert function.results(2)[-1]["tick"] == 2, "ENOENT: the file that its signal handler makes"


def test_copies_cannot_signal_renice_or_limit_the_processes_of_other_slots(liar):
    with liar("attacks all", "concurrency = 3\nprovisioned = 3") as function:
        function.daemon.wait_ready(function.name, 3)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: function.invoke({}).result(), range(12)))
        attacked = [answer for answer in answers if "killed" in answer]
        assert attacked
        for answer in attacked:
            assert (answer["killed"], answer["reniced"], answer["limited"]) == (0, 0, 0)
        assert set(function.counts()) == {"built"}


# --- what is refused on the way, and harmless then ------------------------------------------------


def refused(liar, lie):
    """What each forbidden thing was answered, by a function that then goes on honestly."""
    with liar(lie) as function:
        assert function.way == "fork", function.why
        answer = function.settle().invoke().result()
        assert set(function.counts()) == {"built"}
    assert answer.pop("lied") is False
    del answer["turn"], answer["pid"]
    return answer


def test_a_copy_becomes_nobody_but_its_slots_id(liar):
    said = refused(liar, "becomes somebody else")
    assert said.pop("newuser") in (EPERM, EINVAL)  # the descriptor is of another kind
    assert said == dict.fromkeys(said, EPERM)
    assert {"root", "neighbour", "saved", "keeps", "rootgroup", "setuid", "setreuid", "setfsuid", "setgroups",
            "unshare", "chroot", "mount", "gatezygote"} == set(said)


def test_a_copy_joins_once(liar):
    assert refused(liar, "enters and joins again") == {"enter": EPERM, "setns": EPERM, "setresuid": EPERM}


def test_a_copy_forks_in_one_way_only(liar):
    said = refused(liar, "clones otherwise")
    assert said.pop("clone3") == ENOSYS
    assert said == dict.fromkeys(["vm", "files", "fs", "vfork", "signal", "user", "newpid", "pidfd"], EPERM)


def test_a_zygote_makes_a_copy_only_when_asked(liar):
    assert refused(liar, "clones unasked") == dict.fromkeys(
        ["clone", "setns", "setresuid", "enter", "event", "reply"], EPERM)


def test_a_zygote_makes_one_copy_when_asked(liar):
    assert refused(liar, "two copies") == {"clone": EPERM}


def test_a_child_of_the_loading_code_does_not_become_root_of_the_environment(liar):
    assert refused(liar, "a child becomes root") == {"root": EPERM}


def test_a_private_mapping_of_the_zygotes_file_is_harmless(liar):
    assert refused(liar, "maps a file privately") == {}


def test_a_process_that_is_not_dumpable_is_served_all_the_same(liar):
    assert refused(liar, "F is not dumpable") == {}


# --- replies that are none ------------------------------------------------------------------------


def test_replies_that_are_none_hurt_their_own_call_alone(liar):
    with liar("honest") as function:
        assert function.invoke("reply from nowhere").error == "Runtime.ExitError"
        assert function.invoke("reply of everything").error == "Function.ResponseSizeTooLarge"
        assert function.invoke("reply from a child").result()["reply"] == EPERM
        assert function.invoke("reply of a strange kind").result() == {"lied": False}
        assert set(function.counts()) == {"built"}


def test_the_process_of_an_event_has_no_other_gate(liar):
    with liar("honest") as function:
        said = function.invoke("ask again").result()
        assert {name: said[name] for name in ("event", "zygote", "failed", "enter", "unknown")} == dict.fromkeys(
            ["event", "zygote", "failed", "enter", "unknown"], EPERM)
        assert said["more"] == EINVAL, "there is no more"
        assert said["setresuid"] == EPERM
