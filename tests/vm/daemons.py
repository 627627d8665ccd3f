"""An fnrund of a test's own in the virtual machine: started in one of the ways that there are,
asked by its command line, looked at from outside."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import struct
import subprocess
import tempfile

from machine import (DEADLINE, GROUPS, SHELL, SYSTEMD_RUN, TESTER, USER_RUN, group_of, inside, sandboxed, wait_until)

FNRUN = "/usr/local/bin/fnrun"
FNRUND = "/usr/local/sbin/fnrund"
ZYGOTE = 30000  # its number inside; those of what it forks in a slot count from 2
PIPED = ["--wait", "--pipe"]
SERVICE = [*PIPED, "--property=Delegate=yes", "--property=Type=notify"]
SCOPE = ["--scope", "--property=Delegate=yes"]
USERS = r"/user\.slice/user-1000\.slice/user@1000\.service/app\.slice"

# name: (what stands before fnrund, the group that everything of it is in)
WAYS = {
    "root's delegated service": ([*SYSTEMD_RUN, *SERVICE], r"/system\.slice/run-\w+\.service"),
    "root's service without delegation": ([*SYSTEMD_RUN, *PIPED], r"/system\.slice/fnrun-\d+\.scope"),
    "root's delegated scope": ([*SYSTEMD_RUN, *SCOPE], r"/system\.slice/run-\w+\.scope"),
    "root, beside others": ([], r"/system\.slice/fnrun-\d+\.scope"),
    "a user's delegated service": ([*USER_RUN, *SERVICE], USERS + r"/run-\w+\.service"),
    "a user's delegated scope": ([*USER_RUN, *SCOPE], USERS + r"/run-\w+\.scope"),
    "a user, beside others": ([*USER_RUN, *PIPED, *SHELL], USERS + r"/fnrun-\d+\.scope"),
    "a user, in a login session":
        (["runuser", "-l", "-c", '"$0" "$@"; exit $?', "--", "tester"], USERS + r"/fnrun-\d+\.scope"),
}
BOTH = {"root": WAYS["root's delegated service"], "a user": WAYS["a user's delegated scope"]}


class Result:
    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f"<exit {self.status}, stdout {self.out!r}, stderr:\n{self.err}>"

    @property
    def json(self):
        return json.loads(self.out)

    def result(self):
        assert self.status == 0, self
        return self.json

    def failed(self, status, kind):
        assert (self.status, self.json["errorType"]) == (status, kind), self


class Daemon:
    def __init__(self, way):
        self.way = way
        self.is_users = "tester" in way[0]
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="daemon-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.socket, self.log, self.process = self.folder / "socket", self.folder / "log", None
        if self.is_users:
            os.chown(self.folder, 1000, 1000)

    # --- its life ---------------------------------------------------------------------

    def launch(self):
        """Returns whether it serves; else it has ended."""
        self.said_before = len(self.said())
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.way[0], FNRUND, "--socket", self.socket, "--store", self.folder / "store"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/tmp")
        wait_until(lambda: "serving as" in self.says() or self.process.poll() is not None, self.said)
        return self.process.poll() is None

    def start(self):
        assert self.launch(), self.said()
        return self

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def says(self):
        """Since it was started last."""
        return self.said()[self.said_before:]

    @property
    def pid(self):
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self.socket))
            return struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    @property
    def launcher(self):
        return int(pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])

    def end(self, number):
        os.kill(self.pid, number)
        return self.process.wait(DEADLINE)

    def destroy(self):
        if self.process and self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, 9)
            self.process.wait(DEADLINE)
        shutil.rmtree(self.folder)

    # --- asking ---------------------------------------------------------------------------

    def begin(self, *words):
        as_whom = [*TESTER, "env"] if self.is_users else ["env"]
        return subprocess.Popen([*as_whom, f"FNRUN_SOCKET={self.socket}", FNRUN, *map(str, words)], cwd="/tmp",
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def fnrun(self, *words):
        return self.finish(self.begin(*words))

    @staticmethod
    def finish(process):
        out, err = process.communicate(timeout=DEADLINE)
        return Result(subprocess.CompletedProcess([], process.returncode, out, err))

    def begin_call(self, name, event):
        return self.begin("invoke", name, "--event", json.dumps(event))

    def invoke(self, name, event=None):
        return self.finish(self.begin_call(name, event))

    def deploy(self, folder, *words):
        result = self.fnrun("deploy", folder, *words)
        assert result.status == 0, result
        return result.out

    def put(self, name, files, runtime="python", handler="app.handler", **keys):
        """Deploys the files {name: text}; keys are function.ini's, SECTION_KEY."""
        above = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        folder = above / name
        folder.mkdir()
        above.chmod(0o755)
        lines = {"function": [f"runtime = {runtime}", f"handler = {handler}"]}
        for key, value in keys.items():
            section, _, key = key.partition("_")
            lines.setdefault(section, []).append(f"{key} = {value}")
        files = files | {"function.ini": "".join(f"[{section}]\n" + "".join(f"{line}\n" for line in of_section)
                                                 for section, of_section in lines.items())}
        for path, text in files.items():
            (folder / path).write_text(text)
            (folder / path).chmod(0o755 if text.startswith("#!") else 0o644)
        return self.deploy(folder)

    def show(self, name):
        return self.fnrun("show", name, "--json").result()

    def usage(self, name):
        """The records of its calls, the latest first: written off the calls' way."""
        return self.fnrun("usage", name, "--json").result()

    def wait_for(self, name, condition):
        return wait_until(lambda: condition(self.show(name)), lambda: (self.show(name), self.said()))


class Parts:
    """What lives in the one environment that is up, by what it is; host ids."""

    def __init__(self):
        self.keeper = self.zygote = None
        self.inits, self.copies, self.functions = [], [], []
        for pid in sandboxed():
            with contextlib.suppress(OSError):
                numbers = inside(pid)
                if numbers == [1]:
                    self.keeper = pid
                elif numbers == [ZYGOTE]:
                    self.zygote = pid
                elif len(numbers) == 1:
                    self.copies.append(pid)
                else:
                    (self.inits if numbers[1] == 1 else self.functions).append(pid)


def group_folder(pid):
    return GROUPS / group_of(pid).lstrip("/")


def environment_group(keeper):
    """The folder of the environment's group: the keeper is in a leaf of it."""
    group = group_folder(keeper)
    assert re.fullmatch(r"fnrun-\d+-\d+-\w+", group.parent.name), group
    return group.parent


@contextlib.contextmanager
def running_daemon(way):
    daemon = Daemon(way)
    try:
        yield daemon.start()
    except BaseException:
        print(f"--- fnrund said:\n{daemon.said()[-4000:]}")
        raise
    finally:
        daemon.destroy()
