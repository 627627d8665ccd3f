"""A zygote as a test sees it: a language runtime with FNRUN_GATE=1 under gate_supervisor.c,
which plays the keeper for it outside any sandbox.

    with Zygote([PYTHON, bootstrap], env={...}) as zygote:
        zygote.slot()                    # a new frozen copy; its facts as a dict
        zygote.trial()                   # what the runtime rehearses
        answer = zygote.event(b'{"a":1}')
        answer.kind    # "result", "error", "died", or "failed": the code was not loaded
        answer.value   # the result parsed as JSON; .error: the error object
        answer.stdout, answer.stderr     # bytes of descriptors 1 and 2 of its process
        answer.status  # wait(2)'s, of a process that died
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from fake_runner import RUNTIMES, SOURCE, environment

PYTHON = "/usr/bin/python3"
_STRICT = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{SOURCE}"]


def _has_huge_pages():
    """Whether the kernel can be told to make some now (Linux 6.1)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    size = 4 << 20
    start = libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, 0)  # private, anonymous
    ctypes.memset(start, 1, size)
    huge = -(-start // (2 << 20)) * (2 << 20)
    done = libc.madvise(ctypes.c_void_p(huge), ctypes.c_size_t(2 << 20), 25) == 0
    libc.munmap(ctypes.c_void_p(start), ctypes.c_size_t(size))
    return done


needs_huge_pages = pytest.mark.skipif(not _has_huge_pages(),
                                      reason="the kernel makes no huge pages on demand")


def compile_c(target, *arguments):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: apt-get install gcc")
    subprocess.run(["cc", *_STRICT, "-o", target, *arguments], check=True)
    return target


def make_supervisor(folder):
    return compile_c(folder / "gate_supervisor", Path(__file__).with_name("gate_supervisor.c"))


def staged_python(folder):
    """The folder of the python runtime with its gate module: the staged one, or one that is
    made in `folder` from the source tree."""
    if os.environ.get("FNRUN_RUNTIMES"):
        staged = RUNTIMES / "python"
    else:
        staged = folder / "python"
        shutil.copytree(RUNTIMES / "python", staged)
        flags = subprocess.run(["pkg-config", "--cflags", "python3"], stdout=subprocess.PIPE,
                               text=True, check=False).stdout.split()
        if flags:
            compile_c(staged / "_gate.abi3.so", *flags, "-DPy_LIMITED_API=0x03080000", "-fPIC",
                      "-shared", "-nostdlib", "-ffreestanding", "-fno-stack-protector",
                      staged / "gate.c")
    if not (staged / "_gate.abi3.so").exists():
        pytest.skip("no gate module: apt-get install python3-dev, then ./configure and make")
    return staged


class Answer:
    def __init__(self, facts, reply, stdout, stderr):
        self.facts, self.reply, self.stdout, self.stderr = facts, reply, stdout, stderr
        self.kind = facts["kind"]
        self.status = facts["status"]

    @property
    def value(self):
        assert self.kind == "result", self
        return json.loads(self.reply)

    @property
    def error(self):
        assert self.kind in ("error", "failed"), self
        return json.loads(self.reply)

    def __repr__(self):
        return (f"Answer({self.facts}, {self.reply[:2000]}, stdout={self.stdout[-2000:]}, "
                f"stderr={self.stderr[-4000:]})")


class Zygote:
    def __init__(self, supervisor, argv, env=None, cwd=None, deadline=60):
        env = environment(env)
        self.log = b""
        self.process = subprocess.Popen(
            [supervisor, *map(str, argv)], env=env, cwd=cwd or env.get("LAMBDA_TASK_ROOT"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        self._limit = threading.Timer(deadline, self._kill)
        self._limit.start()

    def _read_log(self):
        for line in self.process.stderr:
            self.log += line

    def _kill(self):
        # The event's process has a group of its own, the frozen copy a session.
        for pid in _descendants(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._limit.cancel()
        if self.process.stdin.closed:
            return
        self._kill()
        self.process.wait()
        self._reader.join()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.stderr.close()

    def _ask(self, command, payload=b""):
        try:
            self.process.stdin.write(command + b"\n" + payload)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self.process.stdout.readline()
        assert line, f"the supervisor ended: {self.log.decode(errors='replace')}"
        facts = json.loads(line)
        return Answer({"status": None, **facts},
                      *(self.process.stdout.read(facts[part]) for part in ("reply", "out", "err")))

    def end(self):
        """Ends all its processes. Returns what Z printed."""
        self.__exit__()
        return self.log

    def slot(self):
        answer = self._ask(b"slot")
        return answer.facts if answer.kind == "slot" else answer

    def trial(self):
        return self._ask(b"trial")

    def event(self, event=b"{}", request_id="req-1", timeout_ms=3000, **keys):
        head = {"request-id": request_id, "timeout-ms": timeout_ms,
                **{key.replace("_", "-"): value for key, value in keys.items()}}
        lines = "".join(f"{k}: {v}\n" for k, v in head.items() if v is not None)
        payload = lines.encode() + b"\n" + event
        return self._ask(b"event %d" % len(payload), payload)


def _descendants(pid):
    """All processes below pid; the supervisor adopts Z_s and F by CLONE_PARENT."""
    found = []
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return found
    for child in map(int, children):
        found += [child, *_descendants(child)]
    return found
