"""Limits never depend on the code inside: time, memory, processes, cpu, files, /tmp."""

import pathlib
import signal
import time

import outside
import pytest
from harness import LATE, fnrun, invoke, megabytes, milliseconds, need_groups, needs_node, running

MB = 1 << 20
SECONDS = 0.4

# Each does its worst and never ends. All say "up" first.
HOSTILE = {
    "sleeps": "time.sleep(60)",
    "spins": "while True: pass",
    "ignores_sigterm_and_sigint": "for n in range(1, 65):\n        try: signal.signal(n, signal.SIG_IGN)\n"
                                  "        except (OSError, ValueError): pass\n    time.sleep(60)",
    "has_stopped_itself": "os.kill(os.getpid(), signal.SIGSTOP)",
    "has_forked_twice_in_sessions_of_their_own":
        "for _ in range(2):\n        if os.fork(): time.sleep(60)\n        os.setsid()\n    time.sleep(60)",
    "has_children_that_are_stopped":
        "for _ in range(5):\n        if not os.fork(): os.kill(os.getpid(), signal.SIGSTOP)\n    time.sleep(60)",
    "forks_without_end": "while True:\n        try: os.fork()\n        except OSError: pass",
    "fills_its_descriptors": "fds = []\n    while True:\n        try: fds.append(os.dup(1))\n        except OSError: time.sleep(1)",
    "runs_threads": "threading.stack_size(65536)\n    for _ in range(20): threading.Thread(target=lambda: time.sleep(60)).start()\n    time.sleep(60)",
}


@pytest.mark.parametrize("how", HOSTILE)
def test_the_time_limit_ends_a_function_that(python, how):
    function = python("import os, signal, threading, time\ndef handler(event, context):\n    print('up', flush=True)\n    "
                      f"{HOSTILE[how]}\n", "[limits]\nprocesses = 32\n")
    result = invoke(function, "--timeout", f"{int(SECONDS * 1000)}ms")
    text = result.failed(124, "Sandbox.Timedout")
    assert "0.40 seconds" in text and "timeout" in text
    assert milliseconds(result.report["Duration"]) >= SECONDS * 1000
    assert result.seconds - milliseconds(result.report["Init Duration"]) / 1000 < SECONDS + LATE
    assert result.report["Status"] == "timeout"
    assert "up\n" in result.log


def test_the_time_limit_ends_a_script_and_its_pipeline(script):
    result = invoke(script("sleep 60 | sleep 60 | cat\n"), "--timeout", "300ms")
    result.failed(124, "Sandbox.Timedout")
    assert 0.3 <= result.seconds < 0.3 + LATE


@needs_node
def test_the_time_limit_ends_a_node_loop(folder):
    result = invoke(folder({"index.js": "exports.handler = async () => { for (;;); };"}), "--timeout", "300ms")
    result.failed(124, "Sandbox.Timedout")


def test_the_time_limit_holds_while_the_function_floods_its_log(python):
    function = python("import os\ndef handler(event, context):\n    while True: os.write(1, b'x' * 65536)\n")
    result = invoke(function, "--timeout", "300ms")
    result.failed(124, "Sandbox.Timedout")
    assert result.seconds - milliseconds(result.report["Init Duration"]) / 1000 < 0.3 + LATE


def test_the_time_limit_holds_while_nobody_reads_the_log(python):
    function = python("def handler(event, context):\n    print('up', flush=True)\n    while True: print('x' * 1000)\n")
    with running(function, "--timeout", "300ms", "--memory", "128M") as call:
        deadline = time.monotonic() + 20
        call.wait_for("up")
        while outside.sandboxed(call.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        late = time.monotonic() > deadline
        assert call.end().status == 124
    assert not late


def test_a_daemon_left_behind_does_not_hold_the_result_back(python):
    result = invoke(python("""
import os, time
def handler(event, context):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    return "done"
"""), "--timeout", "20s")
    assert result.succeeded() == "done"
    assert result.seconds < 5


def test_a_background_process_that_holds_stdout_does_not_hold_an_execs_result_back(script):
    result = invoke(script("sleep 60 &\necho 1\n"), "--timeout", "20s")
    assert result.succeeded() == 1
    assert result.seconds < 5


# --- memory -------------------------------------------------------------------------------------


TAKE = {
    "anonymous": "kept = [bytearray(b'x') * (1 << 20) for _ in range(400)]",
    "tmp": "with open('/tmp/big', 'wb') as file:\n        for _ in range(400): file.write(b'x' * (1 << 20))",
    "shm": "with open('/dev/shm/big', 'wb') as file:\n        for _ in range(400): file.write(b'x' * (1 << 20))",
    "mapped": "area = mmap.mmap(-1, 400 << 20)\n    for at in range(0, len(area), 4096): area[at] = 1",
    "memfd": "fd = os.memfd_create('x')\n    for _ in range(400): os.write(fd, b'x' * (1 << 20))",
    "children": "for _ in range(8):\n        if not os.fork():\n            kept = bytearray(b'x') * (40 << 20)\n"
                "            time.sleep(1)\n            os._exit(0)\n"
                "    if any(os.wait()[1] for _ in range(8)): raise RuntimeError('a child is gone')",
}


@pytest.mark.parametrize("what", TAKE)
def test_memory_is_limited_for_everything_together(python, what):
    need_groups()
    function = python(f"import mmap, os, time\ndef handler(event, context):\n    {TAKE[what]}\n    return 'all of it'\n",
                      "[limits]\nmemory = 64M\ntmp = 512M\ntimeout = 40s\n")
    result = invoke(function)
    text = result.failed(137, "Runtime.OutOfMemory")
    assert "64 MB" in text and "--memory" in text
    assert megabytes(result.report["Max Memory Used"]) <= 64


def test_memory_can_be_lowered_and_raised_for_a_call(python):
    need_groups()
    function = python("def handler(event, context):\n    return len(bytearray(b'x') * (100 << 20))\n",
                      "[limits]\nmemory = 64M\n")
    invoke(function).failed(137, "Runtime.OutOfMemory")
    assert invoke(function, "--memory", "256M").succeeded() == 100 * MB
    invoke(function, "--memory", "32M").failed(137, "Runtime.OutOfMemory")


def test_memory_at_import_counts_as_well(python):
    need_groups()
    function = python("kept = bytearray(b'x') * (200 << 20)\ndef handler(event, context):\n    return 1\n",
                      "[limits]\nmemory = 64M\n")
    invoke(function).failed(137, "Runtime.OutOfMemory")


def test_swap_is_no_way_out_of_the_memory_limit(python):
    need_groups()
    with running(python("import time\ndef handler(event, context):\n    print('up', flush=True)\n    time.sleep(50)\n"),
                 "--timeout", "40s", "--memory", "64M") as call:
        call.wait_for("up")
        group, version = outside.group_of(outside.function_of(call.pid), "memory")
        if version == 1:
            assert int((group / "memory.limit_in_bytes").read_text()) == 64 * MB
            swap = group / "memory.memsw.limit_in_bytes"
            assert not swap.exists() or int(swap.read_text()) == 64 * MB
        else:
            assert int((group / "memory.max").read_text()) == 64 * MB
            swap = group / "memory.swap.max"
            assert not swap.exists() or int(swap.read_text()) == 0


# --- processes -------------------------------------------------------------------------------------


FORKS = """
import os, time
def handler(event, context):
    made = 0
    try:
        while made < 1000:
            if not os.fork():
                time.sleep(30)
                os._exit(0)
            made += 1
    except OSError as error:
        return [made, error.errno]
    return [made, 0]
"""


@pytest.mark.parametrize("limit", [1, 10, 64])
def test_processes_are_limited(python, limit):
    need_groups()
    made, errno = invoke(python(FORKS, f"[limits]\nprocesses = {limit}\ntimeout = 20s\n")).succeeded()
    assert (made, errno) == (limit - 1, 11), "the function's own process is one of them; EAGAIN"


def test_threads_count_as_processes(python):
    need_groups()
    made = invoke(python("""
import threading, time
def handler(event, context):
    made = 0
    try:
        while made < 500:
            threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
            made += 1
    except RuntimeError:
        pass
    return made
""", "[limits]\nprocesses = 16\n")).succeeded()
    assert made == 15


def test_a_fork_bomb_does_not_reach_the_next_call(python):
    function = python("import os\ndef handler(event, context):\n    while True:\n        try: os.fork()\n"
                      "        except OSError: pass\n", "[limits]\nprocesses = 64\n")
    invoke(function, "--timeout", "300ms").failed(124, "Sandbox.Timedout")
    assert invoke(python(FORKS, "[limits]\nprocesses = 8\n", name="next"), "--timeout", "10s").status == 0


# --- cpu -----------------------------------------------------------------------------------------------


def cpu_account(group, version):
    """(microseconds used, times throttled) as the kernel's group has it."""
    numbers = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    if version == 2:
        return int(numbers["usage_usec"]), int(numbers["nr_throttled"])
    return None, int(numbers["nr_throttled"])


def test_cpu_is_limited_by_the_groups_own_account(python):
    need_groups()
    function = python("import os\ndef handler(event, context):\n    print('up', flush=True)\n"
                      "    os.fork(); os.fork()\n    while True: pass\n", "[limits]\ncpu = 0.2\n")
    with running(function, "--timeout", "50s") as call:
        call.wait_for("up")
        pid = outside.function_of(call.pid)
        group, version = outside.group_of(pid, "cpu")
        account, _ = outside.group_of(pid, "cpuacct") if version == 1 else (group, 2)
        before, _ = cpu_account(group, version)
        usage = account / "cpuacct.usage"
        before = int(usage.read_text()) // 1000 if before is None else before
        started = time.monotonic()
        time.sleep(1.2)  # what is measured is the share of this time
        used, throttled = cpu_account(group, version)
        used = int(usage.read_text()) // 1000 if used is None else used
        share = (used - before) / 1e6 / (time.monotonic() - started)
        result = call.end(signal.SIGINT)
    assert throttled > 3
    assert 0.05 < share < 0.3, share
    assert milliseconds(result.report["CPU Time"]) < 0.35 * milliseconds(result.report["Duration"]) + 100


def test_more_than_one_core_can_be_had(python):
    need_groups()
    with running(python("import time\ndef handler(event, context):\n    print('up', flush=True)\n    time.sleep(50)\n",
                        "[limits]\ncpu = 2.5\n"), "--timeout", "40s") as call:
        call.wait_for("up")
        group, version = outside.group_of(outside.function_of(call.pid), "cpu")
        if version == 1:
            quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        else:
            quota, period = map(int, (group / "cpu.max").read_text().split())
    assert quota / period == 2.5


# --- files and /tmp ----------------------------------------------------------------------------------------


def test_open_files_are_limited(python):
    opened, errno = invoke(python("""
import os
def handler(event, context):
    opened = len(os.listdir("/proc/self/fd")) - 1
    try:
        while True:
            os.open("/dev/null", os.O_RDONLY)
            opened += 1
    except OSError as error:
        return [opened, error.errno]
""", "[limits]\nfiles = 40\n")).succeeded()
    assert (opened, errno) == (40, 24)


WRITE = """
import os
def handler(path, context):
    wrote = 0
    try:
        with open(path, "wb", buffering=0) as file:
            while wrote < (100 << 20):
                wrote += file.write(b"x" * 65536)
    except OSError as error:
        return [wrote, error.errno]
    return [wrote, 0]
"""


@pytest.mark.parametrize("path", ["/tmp/file", "/dev/shm/file"])
def test_tmp_is_limited(python, path):
    wrote, errno = invoke(python(WRITE, "[limits]\ntmp = 8M\n"), event=f'"{path}"').succeeded()
    assert errno == 28 and 7 * MB < wrote <= 8 * MB


def test_tmp_and_shm_are_parts_of_one_limit(script):
    result = invoke(script("head -c 6M /dev/zero > /tmp/a; head -c 6M /dev/zero > /dev/shm/b; "
                           "stat -c %s /tmp/a /dev/shm/b | tr '\\n' ' '\n", "[limits]\ntmp = 8M\n"))
    first, second = map(int, result.succeeded().split())
    assert first == 6 * MB and second < 3 * MB


def test_tmp_can_be_none(python):
    wrote, errno = invoke(python(WRITE, "[limits]\ntmp = 0\n"), event='"/tmp/file"').succeeded()
    assert errno == 28 and wrote <= 4096


def test_one_call_does_not_see_the_tmp_of_another(script):
    function = script("ls -A /tmp /dev/shm | tr '\\n' ' '; echo x > /tmp/left; echo x > /dev/shm/left\n")
    first = invoke(function).succeeded()
    assert invoke(function).succeeded() == first


# --- without control groups -----------------------------------------------------------------------------------


def test_limits_rlimit_runs_without_groups_and_says_so(python):
    function = python("def handler(event, context):\n    print('here', flush=True)\n    import time; time.sleep(event)\n"
                      "    return 1\n")
    result = fnrun("invoke", function, "--limits=rlimit", "--event", "0")
    assert result.succeeded() == 1
    assert "rlimit" in result.report["Limits"]
    wrapped = fnrun("invoke", function, "--limits=rlimit", "--event", "0", "--json").json
    assert wrapped["report"]["limits"] == "rlimit"
    before = outside.slot_groups()
    with running(function, "--limits=rlimit", "--timeout", "20s", event=15) as call:
        call.wait_for("here")
        lines = pathlib.Path(f"/proc/{outside.function_of(call.pid)}/cgroup").read_text()
    assert "fnrun-" not in lines
    assert {group for group in outside.slot_groups() - before if not outside.is_others(group)} == set()


def test_limits_rlimit_limits_each_process(python):
    function = python("def handler(event, context):\n    return len(bytearray(300 << 20))\n", "[limits]\nmemory = 100M\n")
    result = fnrun("invoke", function, "--limits=rlimit")
    assert result.status == 1 and result.json["errorType"] == "MemoryError", result
