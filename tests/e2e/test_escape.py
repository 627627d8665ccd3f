"""What a function, or a caller's odd surroundings, might use to get around a limit or an
outcome. Each of these was possible once."""

import fcntl
import os
import pty
import signal
import subprocess
import time

import pytest
from harness import DEADLINE, FNRUN, LATE, fnrun, invoke, limits_option, need_groups, needs_root

SOCKETS = """
import os, socket

def fill(kind):
    kept, sent = [], 0
    for _ in range(20):
        if kind == "udp":
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
            one.bind(("127.0.0.1", 0))
            for _ in range(100):
                one.sendto(bytes(60000), one.getsockname())
            kept.append(one)
            continue
        listener = socket.create_server(("127.0.0.1", 0))
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        kept += [listener, near, far]
        for end in near, far:
            end.setblocking(False)
            try:
                while True:
                    end.send(bytes(65536))
            except BlockingIOError:
                pass
    return kept

def handler(event, context):
    kept = fill(event)
    for line in open("/proc/net/sockstat"):
        if line.startswith(event.upper() + ":"):
            return int(line.split()[line.split().index("mem") + 1]) * 4096
"""


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_what_waits_in_sockets_is_within_the_memory_limit(python, kind):
    need_groups()
    path = python(SOCKETS, "[limits]\nmemory = 64M\ntimeout = 20s\n")
    result = invoke(path, event=f'"{kind}"')
    if result.status == 137:  # v2 counts them in the memory of the group
        result.failed(137, "Runtime.OutOfMemory")
    else:  # a machine-wide number: what others hold is small beside 200 MB of a function's
        assert result.succeeded() < 100 << 20


def test_a_terminal_that_nobody_reads_does_not_stop_the_clock(script):
    path = script("cat >/dev/null; while :; do echo AAAAAAAAAAAAAAAAAAAAAAAAAAAA >&2; done\n")
    ours, theirs = pty.openpty()
    words = [FNRUN, "invoke", str(path), "--timeout", "500ms", "--event", "{}", *limits_option()]
    call = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs)
    assert os.read(ours, 1) == b"A"  # the function is there
    before = time.monotonic()
    while time.monotonic() - before < 0.5 + LATE and children(call.pid):
        time.sleep(0.02)
    left = children(call.pid)
    call.send_signal(signal.SIGTERM)  # it may still wait for the terminal, and is to go
    try:
        status = call.wait(5)
    except subprocess.TimeoutExpired:
        call.kill()
        status = call.wait(DEADLINE)
    os.close(ours)
    os.close(theirs)
    call.stdout.close()
    assert not left
    assert status == -signal.SIGTERM


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return file.read().split()
    except FileNotFoundError:
        return []


def test_a_caller_that_ignores_its_children_still_learns_how_they_ended(script):
    path = script("cat >/dev/null; exit 3\n")
    done = fnrun("invoke", str(path), "--event", "{}", *limits_option(), preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert "exit status 3" in done.failed(1, "Runtime.ExitError")


def test_what_the_caller_ignores_does_not_end_the_call(script):
    path = script("cat >/dev/null; echo started >&2; sleep 1; echo '\"done\"'\n")
    words = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh", FNRUN, "invoke", str(path), "--event", "{}", *limits_option()]
    call = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"started" in call.stderr.readline()
    call.send_signal(signal.SIGHUP)
    out, err = call.communicate(timeout=DEADLINE)
    assert (call.returncode, out.strip()) == (0, b'"done"'), err


def test_a_closed_stdout_is_not_success(script):
    path = script("cat >/dev/null; echo 1\n")
    done = fnrun("invoke", str(path), "--event", "{}", *limits_option(), preexec_fn=lambda: os.close(1))
    assert done.status == 5, done


def test_dev_stderr_and_dev_stdout_can_be_opened(script):
    path = script("cat /dev/stdin >/dev/stdout; echo logged >/dev/stderr\n")
    done = invoke(path, event="[1]")
    assert done.succeeded() == [1]
    assert "logged" in done.log


@needs_root
def test_where_mounts_are_shared_none_appears_outside(script):
    path = script("cat\n")
    lines = ("mount --make-rshared / && before=$(wc -l < /proc/self/mountinfo) && "
             "\"$@\" && test $before = $(wc -l < /proc/self/mountinfo)")
    done = fnrun("invoke", str(path), "--event", "{}",
                 prefix=("unshare", "--mount", "--propagation", "private", "sh", "-c", lines, "sh"))
    assert done.status == 0, done


@needs_root
def test_a_folder_that_is_swapped_meanwhile_is_not_followed(everybodys, script):
    """Root runs somebody's folder: where its name then leads to is nothing that is shown."""
    folder = script("cat >/dev/null; ls | grep -c secret\n", name="theirs")
    hidden = everybodys / "hidden"
    hidden.mkdir()
    (hidden / "run").write_text("#!/bin/sh\ncat >/dev/null; ls | grep -c secret\n")
    (hidden / "run").chmod(0o755)
    (hidden / "secret").write_text("secret")
    event_ours, event_theirs = os.pipe()
    call = subprocess.Popen([FNRUN, "invoke", str(folder), "--event", "-"], stdin=event_ours,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(event_ours)
    # It reads the event after the folder: a pipe that is full until it does.
    size = fcntl.fcntl(event_theirs, fcntl.F_GETPIPE_SZ)
    os.write(event_theirs, b" " * size)
    os.write(event_theirs, b" ")  # returns once something was read
    folder.rename(everybodys / "moved")
    folder.symlink_to(hidden)
    os.write(event_theirs, b"{}")
    os.close(event_theirs)
    out, err = call.communicate(timeout=DEADLINE)
    folder.unlink()
    assert out.strip() in (b"0", b""), (out, err)
