"""An fnrund of the lying tests' own, spoken to straight over its socket, so that a test sees
the answers as they are. One daemon serves a whole file of tests; what it left behind is
looked at when it has ended, not after each test, since its slots come and go."""

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
import time

import pytest

import outside
from harness import DEADLINE, FNRUN, SOURCE, environment

FNRUND = os.path.join(os.path.dirname(FNRUN), "fnrund")


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=DEADLINE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    """Of one invocation."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def __repr__(self):
        return f"<{self.status}, {self.body[:600]!r}>"

    @property
    def json(self):
        assert self.status == 200, self
        assert "X-Amz-Function-Error" not in self.headers, self
        return json.loads(self.body)

    @property
    def error(self):
        """The type of error."""
        assert self.status != 200 or "X-Amz-Function-Error" in self.headers, self
        return json.loads(self.body).get("errorType") or self.headers.get("x-amzn-ErrorType")


class Function:
    """A deployed function."""

    def __init__(self, daemon, name, deployed):
        self.daemon = daemon
        self.name = name
        self.deployed = deployed

    @property
    def why(self):
        return self.deployed["why"]

    def invoke(self, event=None):
        """One invocation; event: anything that JSON can say."""
        path = f"/2015-03-31/functions/{self.name}/invocations"
        return Answer(*self.daemon.request("POST", path, json.dumps(event).encode()))

    @contextlib.contextmanager
    def invoking(self, event):
        """An invocation that goes on meanwhile. Yields a function that waits for its answer."""
        connection = Connection(self.daemon.socket)
        connection.request("POST", f"/2015-03-31/functions/{self.name}/invocations", json.dumps(event).encode())

        def answer():
            got = connection.getresponse()
            return Answer(got.status, got.headers, got.read())

        try:
            yield answer
        finally:
            connection.close()

    def show(self):
        status, _, body = self.daemon.request("GET", f"/fnrun/v1/functions/{self.name}")
        assert status == 200, body
        return json.loads(body)

    @property
    def slots(self):
        return self.show()["slots"]

    def retired(self):
        """{reason: count}, without slots that were merely built too early or too many."""
        return {reason: count for reason, count in self.slots["retired"].items()
                if reason not in ("refreshed", "unwanted")}

    def wait_for(self, true):
        """Asks until true(show) is; what is waited for tells nobody when it comes."""
        end = time.monotonic() + DEADLINE
        while not true(shown := self.show()):
            assert time.monotonic() < end, shown
            time.sleep(0.005)
        return shown

    def settle(self):
        """Until there is a slot that was built with all that is learnt of the function, and
        the one before it is gone."""
        for _ in range(100):
            self.invoke({"do": "settle"})
            if "refreshed" in self.slots["retired"]:
                self.invoke({"do": "settle"})
                return self
        raise AssertionError(f"never refreshed: {self.show()}")


class Daemon:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lies-"))
        self.folder.chmod(0o755)
        self.socket = str(self.folder / "socket")
        self.count = 0
        config = self.folder / "fnrun.ini"
        config.write_text(f"[runner]\nuser = {user()}\nstop = 2s\n")
        self.process = subprocess.Popen(
            [FNRUND, "--config", config, "--socket", self.socket, "--store", self.folder / "store"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment())
        self.log = b""
        self.read_log(b"serving")

    def read_log(self, text):
        """Until text is in it."""
        end = time.monotonic() + DEADLINE
        while text not in self.log:
            ready, _, _ = select.select([self.process.stderr], [], [], max(end - time.monotonic(), 0))
            chunk = os.read(self.process.stderr.fileno(), 65536) if ready else b""
            if not chunk:
                self.process.kill()
                self.process.wait()
                pytest.fail(f"fnrund never said {text!r}: {self.log!r}")
            self.log += chunk

    def request(self, method, path, body=None, headers=None):
        connection = Connection(self.socket)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def try_deploy(self, files, sections):
        """Returns name, status and the answer's object. files: {name: text or bytes}."""
        self.count += 1
        name = f"f{self.count}"
        sections = {**sections, "function": {"name": name, **sections.get("function", {})}}
        status, _, body = self.request("PUT", f"/fnrun/v1/functions/{name}", pack(files, sections),
                                       {"Content-Type": "application/x-tar"})
        return name, status, json.loads(body)

    @contextlib.contextmanager
    def function(self, files, **sections):
        """Deploys it, and takes it away."""
        name, status, answer = self.try_deploy(files, sections)
        assert status == 200, answer
        try:
            yield Function(self, name, answer)
        finally:
            self.request("DELETE", f"/fnrun/v1/functions/{name}")

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail("fnrund did not end after SIGTERM")
        finally:
            self.process.stderr.close()
            shutil.rmtree(self.folder, ignore_errors=True)
        assert self.process.returncode == 0, self.log


def user():
    for name in ("fnrun", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("there is neither a user fnrun nor nobody for fnrund to become")


def pack(files, sections):
    """A tar of the files and function.ini."""
    lines = []
    for section, keys in sections.items():
        lines += [f"[{section}]", *(f"{key} = {value}" for key, value in keys.items())]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in {**files, "function.ini": "\n".join(lines) + "\n"}.items():
            data = text if isinstance(text, bytes) else text.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if name.endswith(".so") else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def daemon_of_a_file():
    """The body of a fixture for one file of tests."""
    if os.geteuid() != 0:
        pytest.skip("only root can start fnrund so that it drops its privileges")
    if not os.access(FNRUND, os.X_OK):
        pytest.skip(f"there is no {FNRUND}: build it, or set FNRUN")
    before = outside.Snapshot(tempfile.gettempdir() + "/lies-")
    daemon = Daemon()
    try:
        yield daemon
    finally:
        daemon.end()
    left = before.left()
    assert not left, "left behind: " + "; ".join(left)


def shared_object(folder, source):
    """The bytes of a native function."""
    cc = shutil.which("cc")
    if not cc:
        pytest.skip("there is no C compiler (cc)")
    target = folder / (source.stem + ".so")
    done = subprocess.run([cc, "-O1", "-Wall", "-Wno-unused-result", "-shared", "-fPIC", f"-I{SOURCE}",
                           f"-I{SOURCE}/images/runtimes/native", "-o", target, source],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return target.read_bytes()
