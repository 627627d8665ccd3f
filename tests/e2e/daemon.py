"""An fnrund of a test's own: started on a socket and store in a folder of its own, asked,
looked at from outside, ended; and nothing of it may be left. Each start costs some ten
milliseconds, so every test has a new one."""

import collections
import contextlib
import http.client
import io
import json
import os
import pathlib
import pwd
import select
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import threading
import time

import harness
import outside
import pytest
from harness import DEADLINE, environment, fnrun

BUILD = pathlib.Path(os.environ.get("FNRUN_BUILD", harness.SOURCE))
FNRUND = BUILD / "fnrund"
INVOKE = "/2015-03-31/functions/{}/invocations"
ZYGOTE = 30000  # its number inside: what it forks in a slot counts from 2


def eventually(look, what="this", seconds=DEADLINE):
    """Waits until look() is true, and returns it: for what tells nobody when it comes."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds} s"
        time.sleep(0.005)
    return seen


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=DEADLINE):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body[:1500]!r}>"

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The kind of a failure, a function's or fnrun's; None for a result."""
        if self.status == 200:
            return self.json["errorType"] if self.headers["X-Amz-Function-Error"] else None
        return self.headers["x-amzn-ErrorType"]

    @property
    def id(self):
        return self.headers["X-Amzn-RequestId"]

    def result(self):
        assert self.status == 200 and not self.headers["X-Amz-Function-Error"], self
        return self.json


class Client:
    """One keep-alive connection."""

    def __init__(self, path, timeout=DEADLINE):
        self.connection = UnixConnection(path, timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def request(self, method, path, body=None, **headers):
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, names)
        return Answer(self.connection.getresponse())

    def invoke(self, name, event=None, **headers):
        body = event if isinstance(event, (bytes, type(None))) else json.dumps(event).encode()
        return self.request("POST", INVOKE.format(name), body, **headers)


class Pending:
    """A call of which the answer is not waited for yet."""

    def __init__(self, path, name, event, headers):
        self.connection = UnixConnection(path)
        self.connection.request("POST", INVOKE.format(name), json.dumps(event).encode(), headers)

    def is_answered(self):
        return bool(select.select([self.connection.sock], [], [], 0)[0])

    def answer(self):
        with contextlib.closing(self.connection):
            return Answer(self.connection.getresponse())

    def leave(self):
        self.connection.close()


class Load:
    """Clients that call all the time, in turn each of the names; until `with` ends, or until
    `calls` are through. event(name, number) makes the events, judge(name, number, answer) tells
    what is wrong with an answer, or nothing."""

    def __init__(self, daemon, names, clients=4, calls=None, event=None, judge=None):
        self.daemon, self.names, self.calls = daemon, list(names), calls
        self.event = event or (lambda name, number: {"n": number})
        self.judge = judge or (lambda name, number, answer: None if answer.error is None else repr(answer))
        self.lock = threading.Lock()
        self.stopped = False
        self.taken = self.done = 0
        self.wrong = collections.Counter()
        self.answers = collections.Counter()  # (name, status, error)
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped = self.calls is None or bool(_[0])
        for thread in self.threads:
            thread.join()

    def next_number(self):
        with self.lock:
            if self.stopped or (self.calls is not None and self.taken >= self.calls):
                return None
            self.taken += 1
            return self.taken - 1

    def work(self):
        client = Client(self.daemon.socket)
        while (number := self.next_number()) is not None:
            name = self.names[number % len(self.names)]
            try:
                answer = client.invoke(name, self.event(name, number))
                wrong, seen = self.judge(name, number, answer), (name, answer.status, answer.error)
            except (OSError, http.client.HTTPException, ValueError) as error:
                wrong, seen = f"{type(error).__name__}: {error}", (name, 0, type(error).__name__)
                client.connection.close()
                if not self.daemon.is_alive():
                    self.stopped = True
            with self.lock:
                self.done += 1
                self.answers[seen] += 1
                if wrong:
                    self.wrong[wrong] += 1
        client.connection.close()

    def wait_for(self, more):
        """Until so many more are through."""
        target = self.done + more
        eventually(lambda: self.done >= target or self.stopped, f"{more} answers more")


class Daemon:
    def __init__(self, settings="", user=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="daemon-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.socket = self.folder / "fnrun.sock"
        self.store = self.folder / "store"
        self.config = self.folder / "fnrun.ini"
        self.log = self.folder / "log"
        self.env = {"FNRUN_SOCKET": str(self.socket)}
        self.process = None
        self.user = user or service_user()
        self.configure(settings)

    # --- its life -----------------------------------------------------------------------

    def configure(self, settings):
        """runner's keys first, further sections after them."""
        self.config.write_text(f"[runner]\nuser = {self.user}\n{settings or 'stop = 5s'}\n")

    def start(self):
        from_here = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [FNRUND, "--config", self.config, "--socket", self.socket, "--store", self.store],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment(), start_new_session=True)
        eventually(lambda: self.said("serving as", from_here) or self.process.poll() is not None, "fnrund's line")
        assert self.is_alive(), self.said()
        return self

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def said(self, text=None, from_byte=0):
        said = self.log.read_bytes()[from_byte:].decode(errors="replace")
        return said if text is None else text in said

    def wait(self):
        """Its exit status."""
        return self.process.wait(DEADLINE)

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def close(self):
        """Ends it and says what is left of it, its socket included."""
        if self.is_alive():
            left = self.groups()
            status = self.stop()
            assert status == 0, f"exit {status}: {self.said()}"
            assert not self.socket.exists(), "its socket is still there"
            assert not still_there(left), "its control groups are still there"

    def destroy(self):
        if self.is_alive():
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- asking ---------------------------------------------------------------------------

    def client(self, timeout=DEADLINE):
        return Client(self.socket, timeout)

    def request(self, method, path, body=None, **headers):
        with self.client() as client:
            return client.request(method, path, body, **headers)

    def invoke(self, name, event=None, **headers):
        with self.client() as client:
            return client.invoke(name, event, **headers)

    def begin(self, name, event=None, **headers):
        return Pending(self.socket, name, event, {key.replace("_", "-"): value for key, value in headers.items()})

    def fnrun(self, *words, **more):
        return fnrun(*words, env=self.env | more.pop("env", {}), **more)

    def load(self, *names, **more):
        return Load(self, names, **more)

    # --- functions ------------------------------------------------------------------------

    def put(self, name, files, ini=""):
        """Deploys files {path: text} over HTTP; the answer."""
        return self.request("PUT", f"/fnrun/v1/functions/{name}", pack(name, files, ini))

    def deploy(self, name, files, ini=""):
        answer = self.put(name, files, ini)
        assert answer.status == 200, answer
        return answer.json

    def python(self, name, text, ini=""):
        return self.deploy(name, {"app.py": text}, ini)

    def script(self, name, text, ini="", handler="run"):
        return self.deploy(name, {"run": "#!/bin/sh\n" + text},
                           ini if "[function]" in ini else f"[function]\nruntime = exec\nhandler = {handler}\n" + ini)

    def show(self, name):
        answer = self.request("GET", f"/fnrun/v1/functions/{name}")
        assert answer.status == 200, answer
        return answer.json

    def logs(self, name, query=""):
        answer = self.request("GET", f"/fnrun/v1/functions/{name}/logs{query}")
        assert answer.status == 200, answer
        return [json.loads(line) for line in answer.body.splitlines()]

    def usage(self, name, limit=1000):
        answer = self.request("GET", f"/fnrun/v1/functions/{name}/usage?limit={limit}")
        assert answer.status == 200, answer
        return answer.json

    def usage_of(self, name, request_id):
        """Its usage record: written off the call's way."""
        def find():
            return [record for record in self.usage(name) if record["requestId"] == request_id]
        return eventually(find, "the usage record")[0]

    def wait_for_log(self, name, text):
        return eventually(lambda: [line for line in self.logs(name) if text in line["message"]], f"{text!r} in the log")

    def wait_ready(self, name, count=1):
        eventually(lambda: self.show(name)["slots"]["ready"] >= count, f"{count} ready slots")

    # --- from outside ------------------------------------------------------------------------

    def parts(self):
        return Parts(self.process.pid)

    def groups(self):
        """The control groups of everything below it but the launcher's own: paths with their
        inodes, since a name may be taken by somebody else's daemon."""
        found = set()
        for pid in outside.descendants(self.process.pid):
            for controller in ("memory", "pids", "cpu"):
                with contextlib.suppress(OSError, AssertionError):
                    group = outside.group_of(pid, controller)[0]
                    if any(part.startswith("fnrun-") for part in group.parts):
                        found.add((group, group.stat().st_ino))
        return found


class Parts:
    """The processes of a daemon by what they are. Lists of pids of this namespace."""

    def __init__(self, root):
        self.fnrund = root
        self.launcher, self.keepers, self.inits, self.zygotes = [], [], [], []
        self.copies, self.functions, self.language = [], [], []
        keepers = set()
        for pid in outside.descendants(root):
            try:
                status = outside.status_of(pid)
            except OSError:
                continue
            name, inside = status["Name"].strip(), [int(number) for number in status["NSpid"].split()]
            if name == "fnrun-launcher":
                self.launcher.append(pid)
            elif len(inside) == 2 and inside[1] == 1:
                keepers.add(pid)
            elif len(inside) == 2 and inside[1] == ZYGOTE:
                self.zygotes.append(pid)
            elif len(inside) == 2:
                self.copies.append(pid)
            elif len(inside) == 3 and inside[2] == 1:
                self.inits.append(pid)
            elif len(inside) >= 3:
                self.functions.append(pid)
            elif name != "fnrund-socket":
                self.language.append(pid)
        self.keepers = sorted(keepers)

    def __repr__(self):
        return str(vars(self))


def pack(name, files, ini=""):
    """A tar with the files and a function.ini."""
    out = io.BytesIO()
    files = {"function.ini": ini or "[function]\n"} | files
    if "[function]" not in files["function.ini"]:
        files["function.ini"] = "[function]\n" + files["function.ini"]
    files["function.ini"] = files["function.ini"].replace("[function]\n", f"[function]\nname = {name}\n", 1)
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, text in files.items():
            data = text if isinstance(text, bytes) else text.encode()
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            entry.mode = 0o755 if data[:2] == b"#!" or data[:4] == b"\x7fELF" else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def service_user():
    """What fnrund becomes, started by root."""
    for name in ("fnrun", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("there is neither a user fnrun nor nobody for fnrund to become")


@contextlib.contextmanager
def running_daemon(settings="", **more):
    """One daemon, nothing of which may be left when it has ended."""
    if not harness.IS_ROOT:
        pytest.skip("only root can start an fnrund whose functions have ids of their own")
    if not os.access(FNRUND, os.X_OK):
        pytest.skip(f"there is no {FNRUND}: build it, or set FNRUN_BUILD")
    made = Daemon(settings, **more)
    try:
        yield made.start()
        made.close()
    except BaseException:
        print(f"--- fnrund said:\n{made.said()[-4000:] if made.log.exists() else ''}")
        raise
    finally:
        made.destroy()


def still_there(groups):
    """Of such groups those that are."""
    found = set()
    for path, inode in groups:
        with contextlib.suppress(OSError):
            if path.stat().st_ino == inode:
                found.add((path, inode))
    return found


def pinned_namespaces():
    """Those that a mount keeps alive: without one, and without a process or a descriptor, a
    namespace is gone. (Their numbers tell nothing: they are used again.)"""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return {line for line in lines if " - nsfs " in line}


def descriptors(pid):
    """How many it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def pss(pid):
    """Bytes of memory, shared ones in proportion. 0 where sanitizers keep what was freed."""
    config = BUILD / "config.h"
    if config.exists() and "#define FNRUN_SANITIZERS 1" in config.read_text():
        return 0
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0
