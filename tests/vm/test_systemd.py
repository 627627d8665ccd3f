"""fnrun on pure cgroup v2 under systemd: where its control groups come from in each
way of starting it, that they hold, and that nothing is left behind. Looks from
outside the sandbox, as root, and only runs in the virtual machine (tests/vm/run)."""
import contextlib
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import time

import pytest

from machine import (DEADLINE, EXAMPLES, GROUPS, SHELL, SYSTEMD_RUN, TESTER, USER_RUN, as_tester, group_of,
                     nothing_is_left, processes, sandboxed, wait_until, ways)

FNRUN = "/usr/local/bin/fnrun"
SLOT = re.compile(r"/fnrun-\d+-\d+-\w+$")
CONTROLLERS = ("memory", "pids", "cpu")

# --- ways to start fnrun ------------------------------------------------------------

# name: (what stands before fnrun, the group that the slot's groups are made in)
WAYS = {
    "root, beside others": ([], r"/system\.slice/fnrun-\d+\.scope"),
    "root, alone in a delegated scope":
        ([*SYSTEMD_RUN, "--scope", "-p", "Delegate=yes"], r"/system\.slice/run-\w+\.scope"),
    "root, the one process of a service":
        ([*SYSTEMD_RUN, "--wait", "--pipe"], r"/system\.slice/fnrun-\d+\.scope"),
    "root, in another's session":
        ([*SYSTEMD_RUN, "--scope", "--slice=user-1000.slice"], r"/system\.slice/fnrun-\d+\.scope"),
    "a user, beside others":
        ([*USER_RUN, "--wait", "--pipe", *SHELL],
         r"/user\.slice/user-1000\.slice/user@1000\.service/app\.slice/fnrun-\d+\.scope"),
    "a user, alone in a delegated scope":
        ([*USER_RUN, "--scope", "-p", "Delegate=yes"],
         r"/user\.slice/user-1000\.slice/user@1000\.service/app\.slice/run-\w+\.scope"),
    "a user, in a login session":
        (["runuser", "-l", "-c", '"$0" "$@"; exit $?', "--", "tester"],
         r"/user\.slice/user-1000\.slice/user@1000\.service/app\.slice/fnrun-\d+\.scope"),
}
BOTH = {"root": WAYS["root, beside others"], "a user": WAYS["a user, beside others"]}


class Result:
    def __init__(self, process, out, err):
        self.status, self.out, self.err = process.returncode, out, err

    def __repr__(self):
        return f"<exit {self.status}, stdout {self.out!r}, stderr:\n{self.err}>"

    @property
    def json(self):
        return json.loads(self.out)

    def field(self, name):
        return re.search(rf"\t{name}: ([^\t]*)", self.err)[1]


def start(way, *words, **more):
    return subprocess.Popen([*way[0], FNRUN, *map(str, words)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/tmp", **more)


def finish(process, seen=b""):
    out, err = process.communicate(timeout=DEADLINE)
    return Result(process, out.decode(), (seen + err).decode())


def fnrun(way, *words):
    return finish(start(way, *words))


@pytest.fixture
def function(tmp_path):
    """Makes a function of the text of a program, in a folder that all may read."""
    for folder in [tmp_path, *tmp_path.parents]:
        if folder not in (pathlib.Path("/"), pathlib.Path("/tmp")):
            folder.chmod(0o755)

    def make(text, **limits):
        folder = tmp_path / "function"
        folder.mkdir()
        lines = "".join(f"{key} = {value}\n" for key, value in limits.items())
        (folder / "function.ini").write_text(
            f"[function]\nruntime = exec\nhandler = program\n[limits]\n{lines}")
        (folder / "program").write_text(text)
        (folder / "program").chmod(0o755)
        return folder
    return make


# --- looking from outside -----------------------------------------------------------


@pytest.fixture(autouse=True)
def leaves_nothing_behind():
    yield
    nothing_is_left()


@contextlib.contextmanager
def running(way, *words):
    """A call whose function has said "ready" on stderr."""
    process = start(way, *words)
    try:
        seen = b""
        while b"ready\n" not in seen:
            assert select.select([process.stderr], [], [], DEADLINE)[0], seen
            chunk = os.read(process.stderr.fileno(), 65536)
            assert chunk, finish(process, seen)
            seen += chunk
        process.seen = seen
        yield process
    finally:
        for pid in processes("fnrun-once"):
            os.kill(pid, signal.SIGTERM)
        process.wait(DEADLINE)
        process.stdout.close()
        process.stderr.close()


def its_function():
    """The host id of the one function's process that runs, and its group's folder."""
    inside = [pid for pid in sandboxed() if SLOT.search(group_of(pid))]
    assert inside, [(pid, group_of(pid)) for pid in sandboxed()]
    return min(inside), GROUPS / group_of(min(inside)).lstrip("/")


WAITS = "#!/bin/sh\ncat /proc/self/cgroup >&2\necho ready >&2\nsleep 100 & wait\n"


# --- groups ---------------------------------------------------------------------------


@ways(WAYS)
def test_a_function_has_a_group_of_its_own_with_its_limits(way, function):
    folder = function(WAITS, memory="96M", processes=17, cpu="0.5", timeout="80s")
    with running(way, "invoke", folder) as process:
        pid, group = its_function()
        assert re.fullmatch(way[1] + r"/fnrun-\d+-\d+-\w+", group_of(pid))
        assert (group / "memory.max").read_text() == f"{96 << 20}\n"
        # Without swap in the kernel or the machine there is no such file.
        if (group / "memory.swap.max").exists():
            assert (group / "memory.swap.max").read_text() == "0\n"
        assert (group / "pids.max").read_text() == "17\n"
        assert (group / "cpu.max").read_text() == "50000 100000\n"
        assert b"0::/\n" in process.seen, "inside, its group is the root"
        # Neither fnrun nor the slot's init count in the function's limits.
        assert all(pid in sandboxed() for pid in map(int, (group / "cgroup.procs").read_text().split()))
        assert process.pid not in map(int, (group / "cgroup.procs").read_text().split())


@ways(BOTH)
def test_a_result_comes_through(way):
    result = fnrun(way, "invoke", EXAMPLES / "hello-python", "--event", '{"name":"Ada"}')
    assert result.status == 0, result
    assert result.json == {"message": "Hello, Ada!"}
    assert "rlimit" not in result.err


def test_a_named_group_is_used_and_kept(function):
    group = GROUPS / "graders"
    group.mkdir()
    try:
        with running(([],), "invoke", function(WAITS, timeout="80s"), "--cgroup", "graders"):
            assert re.fullmatch(r"/graders/fnrun-\d+-\d+-\w+", group_of(its_function()[0]))
    finally:
        group.rmdir()


def test_a_user_may_name_a_group_of_his_own_unit(function):
    script = ('own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir $own/shell $own/slots;'
              'echo 0 >$own/shell/cgroup.procs; echo +memory +pids +cpu >$own/cgroup.subtree_control;'
              '"$@" --cgroup $own/slots; exit $?')
    way = ([*USER_RUN, "--wait", "--pipe", "-p", "Delegate=yes", "/bin/sh", "-c", script, "sh"],)
    with running(way, "invoke", function(WAITS, timeout="80s")):
        assert re.fullmatch(r"/user\.slice/.*/run-\w+\.service/slots/fnrun-\d+-\d+-\w+", group_of(its_function()[0]))


def test_a_group_that_cannot_be_entered_is_named_with_the_reason():
    group = GROUPS / "elsewhere"
    group.mkdir()
    try:
        for path in [group, group / "cgroup.procs", group / "cgroup.subtree_control"]:
            os.chown(path, 1000, 1000)
        result = fnrun(WAYS["a user, beside others"], "invoke", EXAMPLES / "hello-python", "--cgroup", group)
        assert result.status == 5, result
        assert "/sys/fs/cgroup/elsewhere" in result.err
        assert "common" in result.err and "cgroup.procs" in result.err
        assert os.listdir(group) and not [name for name in os.listdir(group) if name.startswith("fnrun")]
    finally:
        group.rmdir()


def test_a_group_that_holds_processes_is_refused_with_the_reason():
    holder = subprocess.Popen(["sleep", "100"])
    group = GROUPS / "crowded"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(holder.pid))
        result = fnrun(([],), "invoke", EXAMPLES / "hello-python", "--cgroup", "crowded")
        assert result.status == 5, result
        assert "crowded holds other processes" in result.err
    finally:
        holder.kill()
        holder.wait()
        wait_until(lambda: not (group / "cgroup.procs").read_text(), lambda: "crowded")
        group.rmdir()


@pytest.fixture
def handmade():
    """A group made as root does it by hand, and a way to start fnrun alone in it."""
    group = GROUPS / "invocation"
    group.mkdir()
    yield group, (["/bin/sh", "-c", f'echo 0 >{group}/cgroup.procs && exec "$@"', "sh"],)
    # A group with controlled children or children at all cannot be entered again.
    assert (group / "cgroup.subtree_control").read_text().strip() == ""
    assert not [entry for entry in group.iterdir() if entry.is_dir()]
    group.rmdir()


def test_a_group_in_which_fnrun_was_alone_is_as_it_was_before(handmade, function):
    group, way = handmade
    with running(way, "invoke", function(WAITS, timeout="80s")):
        assert re.fullmatch(r"/invocation/fnrun-\d+-\d+-\w+", group_of(its_function()[0]))


def test_the_run_after_a_killed_one_clears_its_group(handmade, function):
    group, way = handmade
    with running(way, "invoke", function(WAITS, timeout="80s")):
        os.kill(processes("fnrun-once")[0], signal.SIGKILL)
        wait_until(lambda: not sandboxed(), sandboxed)
    assert [entry for entry in group.iterdir() if entry.is_dir()], "there is something to clear"
    assert fnrun(([],), "invoke", EXAMPLES / "hello-python").status == 0


# --- limits hold ------------------------------------------------------------------------


@ways(BOTH)
def test_memory_beyond_the_limit_ends_the_function(way, function):
    result = fnrun(way, "invoke", function("#!/usr/bin/python3\nbytearray(200 << 20)\n", memory="64M"))
    assert result.status == 137, result
    assert result.json["errorType"] == "Runtime.OutOfMemory"
    assert result.field("Max Memory Used") == "64 MB"


@ways(BOTH)
def test_the_peak_of_memory_is_reported(way, function):
    result = fnrun(way, "invoke", function("#!/usr/bin/python3\nbytearray(50 << 20)\n", memory="256M"))
    assert result.status == 0, result
    assert 50 <= int(result.field("Max Memory Used").removesuffix(" MB")) <= 80


@ways(BOTH)
def test_files_on_tmp_count_in_the_memory_limit(way, function):
    program = "#!/bin/sh\nhead -c 100000000 /dev/zero >/tmp/file\n"
    result = fnrun(way, "invoke", function(program, memory="32M", tmp="200M"))
    assert result.status == 137, result


@ways(BOTH)
def test_a_fork_bomb_stops_at_its_number_of_processes(way, function):
    program = ("#!/usr/bin/python3\nimport os, sys, time\n"
               "try:\n    while True:\n        if os.fork() == 0:\n            time.sleep(100)\n"
               "except BlockingIOError:\n    print('ready', file=sys.stderr, flush=True)\n    time.sleep(100)\n")
    with running(way, "invoke", function(program, processes=20, timeout="80s")):
        group = its_function()[1]
        assert (group / "pids.current").read_text() == "20\n"
        assert len((group / "cgroup.procs").read_text().split()) == 20


@ways(BOTH)
def test_a_busy_function_is_held_to_its_share_of_the_cpu(way, function):
    program = "#!/bin/sh\necho ready >&2\nwhile :; do :; done\n"

    def throttled(group):
        return int(re.search(r"^nr_throttled (\d+)", (group / "cpu.stat").read_text(), re.M)[1])
    with running(way, "invoke", function(program, cpu="0.2", timeout="80s")):
        group = its_function()[1]
        wait_until(lambda: throttled(group) >= 3, lambda: (group / "cpu.stat").read_text())


@ways(BOTH)
def test_the_time_limit_ends_what_detached_itself(way, function):
    program = "#!/bin/sh\ntrap '' TERM\nsetsid sh -c 'trap \"\" TERM HUP; while :; do sleep 9; done' & wait\n"
    result = fnrun(way, "invoke", function(program, timeout="1s"))
    assert result.status == 124, result
    assert result.json["errorType"] == "Sandbox.Timedout"


# --- ends -----------------------------------------------------------------------------


@ways(WAYS)
def test_ctrl_c_ends_the_sandbox(way, function):
    with running(way, "invoke", function(WAITS, timeout="80s")) as process:
        os.kill(processes("fnrun-once")[0], signal.SIGINT)
        assert finish(process).status == 130


@ways(WAYS)
def test_kill_9_of_fnrun_ends_the_function_and_the_next_call_works(way, function):
    with running(way, "invoke", function(WAITS, timeout="80s")):
        os.kill(processes("fnrun-once")[0], signal.SIGKILL)
        wait_until(lambda: not sandboxed(), sandboxed)
    assert fnrun(way, "invoke", EXAMPLES / "hello-python").status == 0


@ways({"root": ([], ""), "a user": (TESTER, "")})
@pytest.mark.parametrize("end, whom", [(signal.SIGINT, os.kill), (signal.SIGINT, os.killpg), (signal.SIGKILL, os.kill),
                                       (signal.SIGKILL, os.killpg)],
                         ids=["SIGINT to fnrun", "Ctrl-C", "kill -9 of fnrun", "kill -9 of all"])
def test_ended_while_it_asks_for_a_scope_nothing_stays(way, end, whom):
    """The fixture looks. What a kill -9 of all leaves the next call takes away."""
    for step in range(12):
        process = start(way, "invoke", EXAMPLES / "hello-python", start_new_session=True)
        time.sleep(step * 0.012)
        with contextlib.suppress(ProcessLookupError):
            whom(process.pid, end)
        finish(process)
    assert fnrun(way, "invoke", EXAMPLES / "hello-python").status == 0


@ways(BOTH)
def test_calls_at_the_same_time_have_groups_of_their_own(way):
    calls = [start(way, "invoke", EXAMPLES / "hello-python", "--timeout", "60s", "--event", json.dumps({"name": str(i)}))
             for i in range(8)]
    for i, call in enumerate(calls):
        result = finish(call)
        assert result.status == 0, result
        assert result.json == {"message": f"Hello, {i}!"}


# --- ids and mounts -----------------------------------------------------------------------


@contextlib.contextmanager
def replaced(path, text):
    before = pathlib.Path(path).read_text()
    pathlib.Path(path).write_text(text)
    try:
        yield
    finally:
        pathlib.Path(path).write_text(before)


def uid_of(pid):
    return int(re.search(r"^Uid:\t(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


@pytest.mark.parametrize("name, lowest, highest", [("root", 1879048192, 1880096767), ("a user", 100000, 165535)])
def test_a_function_has_a_host_id_that_nobody_else_has(name, lowest, highest, function):
    with running(BOTH[name], "invoke", function(WAITS, timeout="80s")):
        assert lowest <= uid_of(its_function()[0]) <= highest


def test_without_a_range_of_ids_a_users_function_has_his_own_and_says_so(function):
    way = BOTH["a user"]
    with replaced("/etc/subuid", "fnrun:1879048192:1048576\n"), replaced("/etc/subgid", "fnrun:1879048192:1048576\n"):
        with running(way, "invoke", function(WAITS, timeout="80s")):
            pid, group = its_function()
            assert uid_of(pid) == 1000
            assert (group / "memory.max").read_text() == f"{128 << 20}\n"
        result = fnrun(way, "invoke", EXAMPLES / "hello-python")
        assert result.status == 0, result
        assert "single-id form" in result.err
        doctor = {item["name"]: item for item in fnrun(way, "doctor", "--json").json["items"]}
        assert doctor["id maps"]["state"] == "weaker"
        assert "usermod --add-subuids" in doctor["id maps"]["hint"]


def test_without_a_reserved_range_root_is_told_the_command():
    with replaced("/etc/subuid", "tester:100000:65536\n"):
        result = fnrun(BOTH["root"], "invoke", EXAMPLES / "hello-python")
        assert result.status == 5, result
        assert "tee -a /etc/subuid /etc/subgid" in result.err
        assert fnrun(BOTH["root"], "doctor").status == 5


def test_run_allows_neither_devices_nor_programs_here():
    """What the two tests below rest on."""
    flags = os.statvfs("/run").f_flag
    assert flags & os.ST_NOSUID and flags & os.ST_NODEV and flags & os.ST_NOEXEC


@ways(BOTH)
def test_devices_work_where_run_allows_none(way, function):
    program = "#!/bin/sh\necho lost >/dev/null\nhead -c 4 /dev/zero | od -An -tx1\nhead -c 4 /dev/urandom | wc -c\n"
    result = fnrun(way, "invoke", function(program))
    assert result.status == 0, result
    assert result.json.split() == ["00", "00", "00", "00", "4"]


@ways(BOTH)
def test_a_native_function_works_where_run_allows_no_programs(way):
    if not (EXAMPLES / "hello-c" / "handler.so").exists():
        pytest.skip("examples/hello-c is not built: no C compiler beside the build")
    result = fnrun(way, "invoke", EXAMPLES / "hello-c", "--event", '{"name":"Ada"}')
    assert result.status == 0, result


@pytest.mark.skipif(not os.path.exists("/usr/bin/node"), reason="there was no node beside the build")
@ways(BOTH)
def test_node_works_here(way):
    result = fnrun(way, "invoke", EXAMPLES / "hello-node", "--event", '{"name":"Ada"}', "--timeout", "60s")
    assert result.status == 0, result
    assert "Ada" in result.out


@ways(BOTH)
def test_nothing_mounted_for_a_function_shows_outside(way, function):
    """systemd makes the machine's mounts shared: a clone of one must not be."""
    before = pathlib.Path("/proc/self/mountinfo").read_text()
    with running(way, "invoke", function(WAITS, timeout="80s")):
        assert pathlib.Path("/proc/self/mountinfo").read_text() == before
        inside = pathlib.Path(f"/proc/{its_function()[0]}/mountinfo").read_text()
        assert "shared:" not in inside and "master:" not in inside


# --- where no group can be had ------------------------------------------------------------


NO_BUS = (as_tester(),)


def test_without_a_bus_the_ways_out_are_named():
    result = fnrun(NO_BUS, "invoke", EXAMPLES / "hello-python")
    assert result.status == 5, result
    for way_out in ["sudo", "systemd-run --user --scope -p Delegate=yes", "--cgroup", "--limits=rlimit"]:
        assert way_out in result.err


def test_without_a_bus_rlimits_work_when_asked_for_and_report_says_so():
    result = fnrun(NO_BUS, "invoke", EXAMPLES / "hello-python", "--limits=rlimit", "--event", '{"name":"Ada"}')
    assert result.status == 0, result
    assert result.json == {"message": "Hello, Ada!"}
    assert "Limits: rlimit" in result.err


def test_a_runtime_folder_without_a_bus_is_no_login(tmp_path):
    tmp_path.chmod(0o755)
    folder = tmp_path / "runtime"
    folder.mkdir(0o700)
    os.chown(folder, 1000, 1000)
    result = fnrun((as_tester(XDG_RUNTIME_DIR=str(folder)),), "invoke", EXAMPLES / "hello-python")
    assert result.status == 5, result
    assert "--limits=rlimit" in result.err


@pytest.fixture
def no_cpu_for_users():
    """As distributions have it whose user@.service delegates less than Debian's."""
    folder = pathlib.Path("/run/systemd/system/user@.service.d")
    folder.mkdir()
    (folder / "delegate.conf").write_text("[Service]\nDelegate=\nDelegate=memory pids\n")
    restart = ["sh", "-c", "systemctl daemon-reload && systemctl restart user@1000.service"]
    subprocess.run(restart, check=True)
    yield
    (folder / "delegate.conf").unlink()
    folder.rmdir()
    subprocess.run(restart, check=True)


def test_a_controller_that_a_user_is_not_given_is_named_with_the_way_to_it(no_cpu_for_users):
    way = WAYS["a user, in a login session"]
    result = fnrun(way, "invoke", EXAMPLES / "hello-python")
    assert result.status == 5, result
    assert "no cpu controller" in result.err and "fnrun doctor" in result.err and "--limits=rlimit" in result.err
    items = {item["name"]: item for item in fnrun(way, "doctor", "--json").json["items"]}
    assert items["control groups"]["state"] == "missing"
    assert items["memory controller"]["state"] == "ok"
    assert items["cpu controller"]["state"] == "missing"
    assert "Delegate=memory pids cpu" in items["cpu controller"]["hint"]


# --- doctor ------------------------------------------------------------------------------


@ways(WAYS)
def test_doctor_says_where_groups_come_from(way):
    result = fnrun(way, "doctor", "--json")
    assert result.status == 0, result
    items = {item["name"]: item for item in result.json["items"]}
    assert result.json["ready"]
    groups_of = items["control groups"]
    assert groups_of["state"] == "ok"
    asked = "fnrun-" in way[1]
    assert ("systemd" in groups_of["detail"]) == asked, groups_of
    for name in CONTROLLERS:
        assert items[f"{name} controller"]["detail"].startswith("v2, /sys/fs/cgroup/")
    assert items["systemd"]["needed"] == asked
    assert items["systemd"]["state"] == "ok"


def test_doctor_says_that_there_is_no_bus():
    result = fnrun(NO_BUS, "doctor", "--json")
    assert result.status == 5, result
    items = {item["name"]: item for item in result.json["items"]}
    assert not result.json["ready"]
    assert items["control groups"]["state"] == "missing"
    assert "--limits=rlimit" in items["control groups"]["hint"]
    assert items["systemd"]["state"] == "missing" and items["systemd"]["needed"]
    # What the group that will not do has or lacks says nothing of the machine.
    assert not [name for name in CONTROLLERS if items[f"{name} controller"]["state"] == "missing"]


def test_doctor_judges_the_group_that_is_named():
    group = GROUPS / "graders"
    group.mkdir()
    try:
        result = fnrun(([],), "doctor", "--json", "--cgroup", "graders")
        items = {item["name"]: item for item in result.json["items"]}
        assert items["control groups"]["detail"] == "can be made below graders"
        assert not items["systemd"]["needed"]
        assert not [name for name in os.listdir(group) if name.startswith("fnrun")]
    finally:
        group.rmdir()
    result = fnrun(([],), "doctor", "--json", "--cgroup", "graders")
    assert result.status == 5
    items = {item["name"]: item for item in result.json["items"]}
    assert items["control groups"]["state"] == "missing"
    assert "graders" in items["control groups"]["hint"]
