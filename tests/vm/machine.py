"""What the tests in the virtual machine share: its users, and looking at all of it from
outside the sandbox, as root."""
import contextlib
import os
import pathlib
import re
import subprocess
import time

import pytest

GROUPS = pathlib.Path("/sys/fs/cgroup")
EXAMPLES = pathlib.Path(os.environ.get("FNRUN_SOURCE", "/job/source")) / "examples"
DEADLINE = 120  # seconds for anything: a hang, not a measure of speed; the machine is emulated
PROGRAMS = ("fnrun-once", "fnrun-manage", "fnrund", "fnrun-launcher", "fnrun-keeper", "fnrun-unpack")

# --- who starts things ----------------------------------------------------------------

LOGIN = {"HOME": "/home/tester", "USER": "tester", "LOGNAME": "tester", "SHELL": "/bin/bash",
         "LANG": "C.UTF-8", "TERM": "dumb", "PATH": "/usr/local/bin:/usr/bin:/bin"}
BUS = {"XDG_RUNTIME_DIR": "/run/user/1000", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/1000/bus"}


def as_tester(**more):
    return ["runuser", "-u", "tester", "--", "env", "-i", "-C", "/tmp",
            *(f"{key}={value}" for key, value in (LOGIN | more).items())]


TESTER = as_tester(**BUS)
SYSTEMD_RUN = ["systemd-run", "--quiet", "--collect"]
USER_RUN = [*TESTER, "systemd-run", "--user", "--quiet", "--collect"]
SHELL = ["/bin/sh", "-c", '"$@"; exit $?', "sh"]  # stays beside the program that it starts


def ways(names):
    return pytest.mark.parametrize("way", list(names.values()), ids=list(names))


# --- looking from outside -----------------------------------------------------------


def processes(*names):
    """The ids of the processes whose program has one of the names, threads and zombies left out."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.path.basename(os.readlink(f"/proc/{entry}/exe")) in names:
                found.append(int(entry))
    return found


def status_of(pid):
    """Its /proc/PID/status, by name."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def inside(pid):
    """Its numbers in the PID namespaces below this one, the outermost first."""
    return [int(number) for number in status_of(pid)["NSpid"].split()][1:]


def sandboxed():
    """Host ids of the processes that live in a PID namespace below this one."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if entry.isdigit() and inside(entry):
                found.append(int(entry))
    return found


def group_of(pid):
    return pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::")


def groups():
    return {folder for folder, _, _ in os.walk(GROUPS)
            if re.search(r"/(fnrun[^/]*|run-[^/]*\.(scope|service)|invocation)$", folder)}


def scopes():
    words = ["list-units", "--all", "--plain", "--no-legend", "fnrun*", "run-*.scope", "run-*.service"]
    system = subprocess.run(["systemctl", *words], stdout=subprocess.PIPE, text=True, check=True)
    user = subprocess.run([*TESTER, "systemctl", "--user", *words], stdout=subprocess.PIPE, text=True, check=True)
    return system.stdout + user.stdout


def wait_until(condition, what):
    """Waits for what tells nobody when it comes; what(): what is there instead."""
    deadline = time.monotonic() + DEADLINE
    while not (seen := condition()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)
    return seen


def left_behind():
    mounts = [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if "fnrun" in line]
    return {"groups": groups(), "scopes": scopes(), "processes": sandboxed() + processes(*PROGRAMS),
            "mounts": mounts}


def nothing_is_left():
    """systemd removes a unit some time after its last process has gone."""
    wait_until(lambda: not any(left_behind().values()), left_behind)
