"""Nothing stays behind, whatever happens. (The fixture in conftest.py looks after every
other test as well; here are the ways of ending that need a look of their own.)"""

import os
import pathlib
import signal
import subprocess
import time

import outside
import pytest
from harness import EXAMPLES, fnrun, invoke, limits_option, need_groups, needs_root, running

HIDING = """
import os, signal, time
def handler(event, context):
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    for _ in range(4):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0 and event == "stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(50)
    time.sleep(0.1)
    print("hidden", flush=True)
    time.sleep(50)
"""


def wait_until_gone(pids):
    """The processes that are still there after a while."""
    deadline = time.monotonic() + outside.PATIENCE
    while True:
        outside.reap_adopted()
        left = [pid for pid in pids if outside.stat_of(pid)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def groups_of(pid):
    return {str(outside.group_of(pid, name)[0]) for name in ("memory", "pids", "cpu")}


@pytest.mark.parametrize("how", ["sleeping", "stopped"])
def test_when_fnrun_is_killed_everything_in_the_sandbox_dies_with_it(python, how):
    with running(python(HIDING), "--timeout", "40s", event=f'"{how}"') as call:
        call.wait_for("hidden")
        inside = list(outside.sandboxed(call.pid))
        assert len(inside) >= 6
        call.process.kill()
        call.process.wait()
        assert wait_until_gone(inside) == []
    fnrun("invoke", EXAMPLES / "hello-python", *limits_option())  # sweeps the groups


def test_the_next_run_sweeps_the_groups_of_a_killed_one(python):
    need_groups()
    with running(python(HIDING), "--timeout", "40s", event='"sleeping"') as call:
        call.wait_for("hidden")
        groups = {(path, os.stat(path).st_ino) for path in groups_of(outside.function_of(call.pid))}
        assert groups and all("/fnrun-" in path for path, _ in groups)
        call.process.kill()
        call.process.wait()
    assert invoke(python("def handler(event, context): return 1\n", name="next")).succeeded() == 1
    assert groups & outside.slot_groups() == set()


def test_killed_while_it_builds_the_sandbox_nothing_stays(python):
    function = python("import time\ndef handler(event, context):\n    time.sleep(20)\n")
    for step in range(12):
        with running(function, "--timeout", "20s") as call:
            time.sleep(step * 0.0007)  # somewhere on the way
            call.process.kill()
            call.process.wait()
    assert invoke(python("def handler(event, context): return 1\n", name="next")).succeeded() == 1


def test_interrupted_while_it_builds_the_sandbox_nothing_stays(python):
    function = python("import time\ndef handler(event, context):\n    time.sleep(20)\n")
    for step in range(12):
        with running(function, "--timeout", "20s") as call:
            time.sleep(step * 0.0007)
            result = call.end(signal.SIGINT)
        assert result.status in (130, -signal.SIGINT), result


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_processes_that_hide(python, number):
    with running(python(HIDING), "--timeout", "40s", event='"stopped"') as call:
        call.wait_for("hidden")
        inside = list(outside.sandboxed(call.pid))
        groups = set() if limits_option() else groups_of(outside.function_of(call.pid))
        assert call.end(number).status == 128 + number
        # Not in a while: when fnrun has ended, it is all over.
        assert [pid for pid in inside if outside.stat_of(pid)] == []
        assert [group for group in groups if os.path.exists(group) and not outside.is_others((group, 0))] == []


def test_ctrl_c_at_the_terminal_reaches_the_whole_process_group_and_gives_130(python):
    with running(python(HIDING), "--timeout", "40s", event='"sleeping"') as call:
        call.wait_for("hidden")
        inside = list(outside.sandboxed(call.pid))
        os.killpg(call.pid, signal.SIGINT)
        assert call.end().status == 130
        assert [pid for pid in inside if outside.stat_of(pid)] == []


def test_at_the_time_limit_all_is_over_when_fnrun_ends(python):
    with running(python(HIDING), "--timeout", "1500ms", event='"stopped"') as call:
        call.wait_for("hidden")
        inside = list(outside.sandboxed(call.pid))
        assert call.end().status == 124
        assert [pid for pid in inside if outside.stat_of(pid)] == []


def test_after_success_all_is_over_when_fnrun_ends(python):
    function = python(HIDING.replace("    time.sleep(50)\n", "    time.sleep(1)\n    return 1\n").replace(
        "            time.sleep(1)\n    return 1\n", "            time.sleep(50)\n"))
    with running(function, "--timeout", "20s", event='"sleeping"') as call:
        call.wait_for("hidden")
        inside = list(outside.sandboxed(call.pid))
        assert call.end().status == 0
        assert [pid for pid in inside if outside.stat_of(pid)] == []


def test_group_directories_that_a_function_could_wish_for_do_not_exist(script):
    result = invoke(script("ls -d /sys/fs/cgroup 2>&1; mkdir /sys/fs/cgroup/x 2>&1; echo end\n"))
    assert result.succeeded().endswith("end\n")


@needs_root
def test_the_run_folder_keeps_the_prepared_root_alone():
    invoke(EXAMPLES / "hello-python")
    names = {name for name in os.listdir("/run/fnrun") if not name.startswith("host-")}
    assert names <= set(outside.KEPT)


@needs_root
def test_the_prepared_root_is_an_empty_tree_that_calls_do_not_write(script):
    invoke(EXAMPLES / "hello-python")
    roots = [f"/run/fnrun/{name}" for name in os.listdir("/run/fnrun")
             if name.startswith("host-") and os.path.isdir(f"/run/fnrun/{name}")]
    assert roots
    invoke(script("touch /tmp/x /dev/shm/y; echo 1\n"))
    for root in roots:
        for name in ("tmp", "usr", "proc", "run", "var/task"):
            assert os.listdir(f"{root}/{name}") == [], f"{root}/{name}"


def test_a_hundred_calls_leave_the_machine_as_it_was(script):
    function = script("echo 1\n")
    assert [invoke(function).status for _ in range(100)] == [0] * 100


@needs_root
def test_a_call_with_another_run_folder_does_not_end_this_one(python):
    """A chroot or container that sees the same control groups has claims of its own."""
    need_groups()
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no mount namespace can be made here")
    function = python("import time\ndef handler(event, context):\n    print('here', flush=True)\n    time.sleep(1)\n    return 1\n")
    elsewhere = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o mode=755 none /run && exec "$@"', "sh"]
    with running(function, "--timeout", "20s") as call:
        call.wait_for("here")
        fnrun("invoke", EXAMPLES / "hello-python", prefix=elsewhere)
        assert call.end().succeeded() == 1


# --- the looker itself -----------------------------------------------------------------------------


def test_the_looker_sees_a_process_that_stays(tmp_path):
    before = outside.Snapshot(tmp_path)
    orphan = subprocess.run(["sh", "-c", "setsid sleep 30 >/dev/null 2>&1 & echo $!"], stdout=subprocess.PIPE, text=True,
                            check=True).stdout.strip()
    assert any(f"process {orphan} " in line for line in before.look())
    os.kill(int(orphan), signal.SIGKILL)
    assert before.left() == []


@needs_root
def test_the_looker_sees_a_group_and_a_file_that_stay(tmp_path):
    need_groups()
    before = outside.Snapshot(tmp_path)
    group = outside.group_of(os.getpid(), "pids")[0] / f"fnrun-looker-{os.getpid()}"
    group.mkdir()
    stray = pathlib.Path(f"/run/fnrun/stray-{os.getpid()}")
    stray.touch()
    try:
        assert before.look() == sorted([f"control group {group}", f"file {stray}"])
    finally:
        group.rmdir()
        stray.unlink()
    assert before.look() == []


@needs_root
def test_the_looker_sees_a_mount_that_stays(tmp_path):
    before = outside.Snapshot(tmp_path)
    if subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], capture_output=True, check=False).returncode:
        pytest.skip("no mount can be made here")
    seen = before.look()
    subprocess.run(["umount", tmp_path], check=True)
    assert seen == [f"mount {tmp_path}"]
