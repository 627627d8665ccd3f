"""Running fnrun and reading what it says. Everything that the tests share but the
looker (outside.py) and the fixtures (conftest.py)."""

import contextlib
import functools
import json
import os
import pathlib
import re
import select
import signal
import subprocess
import time

import pytest

SOURCE = pathlib.Path(os.environ.get("FNRUN_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
FNRUN = os.path.abspath(os.environ.get("FNRUN", SOURCE / "fnrun"))
PROBES = pathlib.Path(__file__).resolve().parent / "probes"
EXAMPLES = SOURCE / "examples"
NODE = "/usr/bin/node"
DEADLINE = 60  # seconds for anything: a hang, not a measure of speed
LATE = 2  # seconds that a time limit may come late

IS_ROOT = os.geteuid() == 0
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"

needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can")
needs_node = pytest.mark.skipif(not os.access(NODE, os.X_OK), reason=f"there is no {NODE}")


class Result:
    """How one call of fnrun ended."""

    def __init__(self, status, out, err, seconds, peak):
        self.status = status
        self.out = out
        self.err = err.decode("utf-8", "replace")
        self.seconds = seconds
        self.peak = peak  # bytes of resident memory of fnrun itself

    def __repr__(self):
        return f"<exit {self.status}, stdout {self.out[:2000]!r}, stderr:\n{self.err[-3000:]}>"

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def report(self):
        """The fields of the REPORT line."""
        lines = [line for line in self.err.splitlines() if line.startswith("REPORT ")]
        assert len(lines) == 1, self
        return dict(field.split(": ", 1) for field in lines[0][len("REPORT "):].strip("\t").split("\t"))

    @property
    def log(self):
        """stderr without REPORT."""
        return "".join(line for line in self.err.splitlines(True) if not line.startswith("REPORT "))

    def failed(self, status, kind):
        """That it is a failure of this kind; returns its message."""
        assert self.status == status, self
        error = self.json
        assert error["errorType"] == kind, self
        assert error["errorMessage"], self
        return error["errorMessage"]

    def refused(self, status, *parts):
        """That nothing was run, and that stderr says why; returns stderr."""
        assert self.status == status, self
        assert self.out == b"", self
        for part in parts:
            assert part in self.err, (part, self)
        return self.err

    def succeeded(self):
        assert self.status == 0, self
        return self.json


def environment(more=None):
    """This process's, without what would change how fnrun works."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("FNRUN_")}
    return clean | (more or {})


def fnrun(*words, stdin=subprocess.DEVNULL, data=None, env=None, prefix=(), **options):
    """Runs fnrun to its end. data: bytes for stdin, by a pipe."""
    started = time.monotonic()
    process = subprocess.Popen(
        [*prefix, FNRUN, *map(str, words)], stdin=subprocess.PIPE if data is not None else stdin,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(env), start_new_session=True, **options)
    try:
        out, err = process.communicate(data, timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"fnrun {words} was still running after {DEADLINE} s; stdout {out[:500]!r}, stderr {err[-500:]!r}")
    return Result(process.returncode, out, err, time.monotonic() - started, 0)


# What wait4 tells of a child includes the memory of the process that started it; so a
# small one starts fnrun, and says how it ended.
MEASURE = ("import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); _, status, usage = os.wait4(pid, 0); "
           "print(os.waitstatus_to_exitcode(status), usage.ru_maxrss, file=open(sys.argv[0], 'w'))")


def fnrun_measured(folder, *words):
    """The same with fnrun's own peak memory; output goes to files, so it may be large."""
    with open(folder / "out", "w+b") as out, open(folder / "err", "w+b") as err:
        started = time.monotonic()
        code = f"import sys; sys.argv[0] = {str(folder / 'measured')!r}; {MEASURE}"
        subprocess.run(["/usr/bin/python3", "-I", "-S", "-c", code, FNRUN, *map(str, words)], stdin=subprocess.DEVNULL, stdout=out,
                       stderr=err, env=environment(), start_new_session=True, timeout=DEADLINE, check=True)
        seconds = time.monotonic() - started
        status, kilobytes = (folder / "measured").read_text().split()
        out.seek(0)
        err.seek(0)
        return Result(int(status), out.read(), err.read(), seconds, int(kilobytes) * 1024)


def invoke(path, *options, event=None, **more):
    """fnrun invoke, with the limits that can be had here. event: anything that JSON can say."""
    words = ["invoke", path, *limits_option(), *options]
    if event is not None:
        words += ["--event", event if isinstance(event, str) else json.dumps(event)]
    return fnrun(*words, **more)


@functools.cache
def first_call():
    """Whether functions run here at all."""
    return fnrun("invoke", EXAMPLES / "hello-python")


@functools.cache
def limits_option():
    """Nothing, or --limits=rlimit where no control groups can be had."""
    if first_call().status == 5 and "--limits=rlimit" in first_call().err:
        return ("--limits=rlimit",)
    return ()


def need_groups():
    """Skips where control groups cannot be had."""
    if limits_option():
        pytest.skip("no control groups here: " + first_call().err.strip())


class Running:
    """A call that goes on while the test looks at it."""

    def __init__(self, process):
        self.process = process
        self.pid = process.pid
        self.err = b""
        self.seen = 0

    def wait_for(self, text):
        """Reads the log until text is in it, which is then behind."""
        deadline = time.monotonic() + DEADLINE
        text = text.encode()
        while text not in self.err[self.seen:]:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.process.stderr], [], [], max(left, 0))
            chunk = os.read(self.process.stderr.fileno(), 65536) if ready else b""
            if not chunk:
                self.process.kill()
                pytest.fail(f"never said {text!r}: exit {self.process.wait()}, stderr {self.err!r}, "
                            f"stdout {self.process.stdout.read()[:2000]!r}")
            self.err += chunk
        self.seen = self.err.index(text, self.seen) + len(text)

    def end(self, number=None):
        """Sends a signal, waits for the end, returns the Result."""
        started = time.monotonic()
        if number is not None:
            self.process.send_signal(number)
        try:
            out, err = self.process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            pytest.fail(f"fnrun did not end {DEADLINE} s after signal {number}")
        return Result(self.process.returncode, out, self.err + err, time.monotonic() - started, 0)


@contextlib.contextmanager
def running(path, *options, event=None, env=None, prefix=(), **more):
    words = ["invoke", path, *limits_option(), *options]
    if event is not None:
        words += ["--event", event if isinstance(event, str) else json.dumps(event)]
    process = subprocess.Popen([*prefix, FNRUN, *map(str, words)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment(env), start_new_session=True, **more)
    try:
        yield Running(process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        process.stderr.close()


def milliseconds(text):
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ms", text)
    assert match, text
    return float(match[1])


def megabytes(text):
    match = re.fullmatch(r"(\d+) MB", text)
    assert match, text
    return int(match[1])
