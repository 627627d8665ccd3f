"""fnrund on pure cgroup v2 under systemd, as root and as an ordinary user: each kind of
function, that its limits hold, and that slots are used again only when nothing is left."""
import os
import pathlib
import re

import pytest

from daemons import BOTH, Parts, environment_group, group_folder, running_daemon
from machine import EXAMPLES, groups, nothing_is_left, sandboxed, status_of, wait_until

APP = """
import os, socket, subprocess, sys, time

def handler(event, context):
    return globals()[event["do"]](event)

def answer(event):
    return event.get("value")

def sleep(event):
    time.sleep(60)

def eat(event):
    return len(bytearray(event["megabytes"] << 20))

def fill(event):
    with open("/tmp/file", "wb") as file:
        for _ in range(event["megabytes"]):
            file.write(bytes(1 << 20))

def bomb(event):
    made = 0
    try:
        while True:
            if os.fork() == 0:
                time.sleep(60)
            made += 1
    except BlockingIOError:
        return made

def busy(event):
    while True:
        pass

def leave(event):
    open("/tmp/left", "w").close()
    open("/dev/shm/left", "w").close()
    subprocess.Popen(["/bin/sleep", "100"], start_new_session=True)

def find(event):
    processes = [name for name in os.listdir("/proc") if name.isdigit()]
    return os.listdir("/tmp") + os.listdir("/dev/shm"), len(processes)

def group(event):
    return open("/proc/self/cgroup").read()

def connect(event):
    socket.socket(socket.AF_INET).close()
"""
NODE = pathlib.Path("/usr/bin/node")
PATIENT = {"limits_init": "60s", "limits_timeout": "30s"}


@pytest.fixture(scope="module", params=list(BOTH), name="daemon")
def shared_daemon(request):
    """One for all the tests here: each deploys a function of its own."""
    with running_daemon(BOTH[request.param]) as daemon:
        yield daemon
        assert daemon.end(15) == 0, daemon.said()
        nothing_is_left()


@pytest.fixture
def function(daemon, request):
    """Deploys APP under a name of the test's own, which is removed after it."""
    name = re.sub(r"\W+", "-", request.node.originalname.removeprefix("test_"))[:64].strip("-")

    def make(**keys):
        assert "forked from a loaded process" in daemon.put(name, {"app.py": APP}, **PATIENT | keys)
        return name
    yield make
    remove(daemon, name)


def remove(daemon, name):
    assert daemon.fnrun("remove", name).status == 0
    wait_until(lambda: not sandboxed(), sandboxed)


def call(daemon, name, do, **more):
    return daemon.invoke(name, {"do": do} | more)


# --- kinds of functions ---------------------------------------------------------------------


def test_a_python_function_answers_and_its_slot_is_used_again(daemon, function):
    name = function()
    for n in range(6):
        assert call(daemon, name, "answer", value=n).result() == n
    shown = daemon.wait_for(name, lambda seen: seen["slots"]["reused"] >= 3 and seen)
    assert shown["way"] == "fork" and shown["slots"]["built"] <= 4, shown
    assert "used again" in daemon.fnrun("show", name).out
    assert name in daemon.fnrun("list").out


def test_a_native_function_answers_and_its_slot_is_used_again(daemon):
    if not (EXAMPLES / "hello-c" / "handler.so").exists():
        pytest.skip("examples/hello-c is not built: no C compiler beside the build")
    assert "forked from a loaded process" in daemon.deploy(EXAMPLES / "hello-c")
    for _ in range(6):
        assert "Ada" in daemon.invoke("hello-c", {"name": "Ada"}).result()["message"]
    daemon.wait_for("hello-c", lambda seen: seen["slots"]["reused"] >= 3)
    remove(daemon, "hello-c")


def test_a_program_is_started_ahead_and_used_once(daemon):
    daemon.put("program", {"run": "#!/bin/sh\ncat\n"}, runtime="exec", handler="run", scale_prestart="yes")
    for n in range(3):
        assert daemon.invoke("program", n).result() == n
    shown = daemon.wait_for("program", lambda seen: seen["slots"]["built"] >= 3 and seen)
    assert shown["way"] == "ahead" and shown["slots"]["reused"] == 0, shown
    remove(daemon, "program")


@pytest.mark.skipif(not NODE.exists(), reason="there was no node beside the build")
def test_a_node_function_is_started_ahead(daemon):
    app = "exports.handler = async event => event.n + 1;\n"
    daemon.put("nodes", {"index.js": app}, runtime="node", handler="index.handler", **PATIENT,
               limits_memory="256M")
    for n in range(2):
        assert daemon.invoke("nodes", {"n": n}).result() == n + 1
    remove(daemon, "nodes")


def test_a_function_with_threads_is_started_ahead_and_says_why(daemon):
    app = ("import concurrent.futures\npool = concurrent.futures.ThreadPoolExecutor(1)\n"
           "pool.submit(int).result()\ndef handler(event, context): return pool.submit(len, event).result()\n")
    assert "threads: 2" in daemon.put("threads", {"app.py": app})
    assert daemon.invoke("threads", [1, 2]).result() == 2
    assert daemon.show("threads")["way"] == "ahead"
    # Its zygote is gone, and with it the last that could ask the keeper for anything.
    keeper = Parts().keeper
    wait_until(lambda: status_of(keeper)["State"].startswith("S"), lambda: status_of(keeper))
    remove(daemon, "threads")


def test_calls_at_the_same_time_have_their_own_results(daemon, function):
    name = function()
    pending = [daemon.begin_call(name, {"do": "answer", "value": n}) for n in range(8)]
    assert [daemon.finish(one).result() for one in pending] == list(range(8))


# --- groups, ids, mounts ----------------------------------------------------------------------


def test_everything_of_an_environment_is_in_a_group_of_its_own(daemon, function):
    name = function(limits_memory="96M", limits_processes=17, limits_cpu="0.5", scale_concurrency=4,
                    scale_provisioned=2)
    daemon.wait_for(name, lambda seen: seen["slots"]["ready"] >= 2 and not seen["slots"]["busy"])
    parts = wait_until(lambda: (lambda seen: seen if len(seen.functions) == len(seen.copies) == len(seen.inits) >= 2
                                and len(seen.inits) == daemon.show(name)["slots"]["ready"] else None)(Parts()),
                       lambda: vars(Parts()))
    whole = environment_group(parts.keeper)
    assert re.fullmatch(daemon.way[1], "/" + str(whole.parent.relative_to("/sys/fs/cgroup")))
    assert group_folder(parts.keeper) == whole / "keeper"
    assert group_folder(parts.zygote) == whole / "zygote"
    assert int((whole / "memory.max").read_text()) >= 4 * 96 << 20
    assert int((whole / "pids.max").read_text()) >= 4 * 17
    slots = {group_folder(pid) for pid in parts.functions}
    assert len(slots) == len(parts.functions)
    for slot in slots:
        assert slot.parent == whole
        members = {int(pid) for pid in (slot / "cgroup.procs").read_text().split()}
        assert [len(members & set(kind)) for kind in (parts.inits, parts.copies, parts.functions)] == [1, 1, 1]
        assert (slot / "memory.max").read_text() == f"{96 << 20}\n"
        # The slot's init and the frozen copy come on top.
        assert (slot / "pids.max").read_text() == f"{17 + 2}\n"
        assert (slot / "cpu.max").read_text() == "50000 100000\n"
    ids = {status_of(pid)["Uid"].split()[0] for pid in parts.functions + [parts.zygote]}
    assert len(ids) == len(parts.functions) + 1, "each slot has an id of its own"
    lowest, highest = (100000, 165535) if daemon.is_users else (1879048192, 1880096767)
    assert all(lowest <= int(number) <= highest for number in ids)


def test_inside_its_group_is_the_root(daemon, function):
    assert call(daemon, function(), "group").result() == "0::/\n"


def test_nothing_mounted_for_an_environment_shows_outside(daemon, function):
    """systemd makes the machine's mounts shared: a clone of one must not be."""
    before = pathlib.Path("/proc/self/mountinfo").read_text()
    call(daemon, function(), "answer").result()
    assert pathlib.Path("/proc/self/mountinfo").read_text() == before
    mounts = pathlib.Path(f"/proc/{Parts().zygote}/mountinfo").read_text()
    assert "shared:" not in mounts and "master:" not in mounts


# --- limits -----------------------------------------------------------------------------------


def test_the_time_limit_ends_a_call_alone(daemon, function):
    name = function(limits_timeout="1s")
    call(daemon, name, "sleep").failed(124, "Sandbox.Timedout")
    assert call(daemon, name, "answer", value=1).result() == 1


@pytest.mark.parametrize("do", ["eat", "fill"])
def test_memory_beyond_the_limit_ends_a_call_alone(daemon, function, do):
    name = function(limits_memory="64M", limits_tmp="200M")
    call(daemon, name, do, megabytes=150).failed(137, "Runtime.OutOfMemory")
    assert call(daemon, name, "answer", value=1).result() == 1
    daemon.wait_for(name, lambda seen: seen["slots"]["retired"].get("outOfMemory"))


def test_a_fork_bomb_stops_at_its_number_of_processes(daemon, function):
    name = function(limits_processes=20)
    assert call(daemon, name, "bomb").result() == 19
    assert call(daemon, name, "bomb").result() == 19


def test_a_busy_call_is_held_to_its_share_of_the_cpu(daemon, function):
    name = function(limits_cpu="0.2", limits_timeout="5s")
    call(daemon, name, "busy").failed(124, "Sandbox.Timedout")
    record = wait_until(lambda: daemon.usage(name), lambda: "no usage record")[0]
    # A fifth of a processor for five seconds, and what a period or two is late.
    assert 0.2e6 < record["cpuUs"] < 1.5e6, record


def test_the_peak_of_memory_is_the_calls_own_where_the_kernel_can_tell(daemon, function):
    name = function(limits_memory="256M", scale_concurrency=1)
    call(daemon, name, "answer").result()
    call(daemon, name, "eat", megabytes=60).result()
    call(daemon, name, "answer").result()
    last, big = wait_until(lambda: len(daemon.usage(name)) >= 3 and daemon.usage(name), lambda: daemon.usage(name))[:2]
    assert big["peakMemory"] >= 60 << 20, big
    if kernel() >= (6, 12):
        assert last["peakExact"] and last["peakMemory"] < 30 << 20, last
    else:
        assert not last["peakExact"], last


def kernel():
    return tuple(int(part) for part in os.uname().release.split(".")[:2])


# --- used again, or not -------------------------------------------------------------------------


def test_what_a_call_leaves_is_gone_for_the_next_in_the_same_slot(daemon, function):
    name = function(scale_concurrency=1)
    for _ in range(3):
        call(daemon, name, "leave").result()
        found, processes = call(daemon, name, "find").result()
        assert found == [] and processes <= 2, (found, processes)
    daemon.wait_for(name, lambda seen: seen["slots"]["reused"] >= 3)


def test_with_strict_isolation_each_slot_is_used_once(daemon, function):
    name = function(scale_isolation="strict")
    for n in range(4):
        assert call(daemon, name, "answer", value=n).result() == n
    shown = daemon.wait_for(name, lambda seen: seen["slots"]["retired"].get("usedOnce", 0) >= 4 and seen)
    assert shown["slots"]["reused"] == 0, shown


def test_an_inet_socket_retires_the_slot(daemon, function):
    name = function()
    call(daemon, name, "connect").result()
    daemon.wait_for(name, lambda seen: seen["slots"]["retired"].get("sockets"))
    assert call(daemon, name, "answer", value=1).result() == 1


def test_an_idle_environment_leaves_and_comes_back(daemon, function):
    name = function(scale_keep_alive="1s")
    assert call(daemon, name, "answer", value=1).result() == 1
    daemon.wait_for(name, lambda seen: not seen["up"])
    wait_until(lambda: not sandboxed(), sandboxed)
    own = group_folder(daemon.pid).name
    wait_until(lambda: [path.name for path in group_folder(daemon.pid).parent.glob("fnrun-*/")] == [own], groups)
    assert call(daemon, name, "answer", value=2).result() == 2
