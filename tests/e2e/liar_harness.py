"""What the tests of lies share. One daemon serves a whole file of them: its slots come and go,
so what is left behind is looked at when it has ended, not after each test."""

import contextlib
import itertools
import shutil
import subprocess

import outside
import pytest
from daemon import eventually, running_daemon
from harness import PROBES, SOURCE

numbers = itertools.count(1)


class Function:
    """A deployed function."""

    def __init__(self, daemon, name, deployed):
        self.daemon = daemon
        self.name = name
        self.way = deployed["way"]
        self.why = deployed["why"]

    def invoke(self, event=None):
        return self.daemon.invoke(self.name, event)

    def results(self, count, event=None):
        with self.daemon.client() as client:
            return [client.invoke(self.name, event).result() for _ in range(count)]

    @property
    def slots(self):
        return self.daemon.show(self.name)["slots"]

    def counts(self):
        """Slots that were built, and that were taken away by reason; without those that were
        merely built too early or too many."""
        slots = self.slots
        counts = {reason: count for reason, count in slots["retired"].items() if reason not in ("refreshed", "unwanted")}
        return {"built": slots["built"], **counts}

    def settle(self):
        """Until its slot is one that was built with all that is learnt of the function."""
        def is_refreshed():
            self.invoke({"do": "settle"})
            return "refreshed" in self.slots["retired"]
        eventually(is_refreshed, "a slot that touches its pages ahead")
        self.invoke({"do": "settle"})
        return self


@contextlib.contextmanager
def deployed(daemon, files, ini=""):
    """A function for one test."""
    name = f"f{next(numbers)}"
    made = daemon.deploy(name, files, ini)
    try:
        yield Function(daemon, name, made)
    finally:
        daemon.request("DELETE", f"/fnrun/v1/functions/{name}")


def daemon_of_a_file():
    """The body of a fixture that lasts for one file."""
    with running_daemon() as daemon:
        before = outside.Snapshot(daemon.folder)
        before.processes -= set(outside.descendants(daemon.process.pid))
        before.groups -= {group for group in before.groups if not outside.is_others(group)}
        yield daemon
        daemon.close()
        left = before.left()
        assert not left, "left behind: " + "; ".join(left)


def shared_object(folder, name):
    """The bytes of a native function."""
    cc = shutil.which("cc")
    if not cc:
        pytest.skip("there is no C compiler (cc)")
    target = folder / f"{name}.so"
    done = subprocess.run([cc, "-O1", "-Wall", "-Wno-unused-result", "-shared", "-fPIC", f"-I{SOURCE}",
                           f"-I{SOURCE}/images/runtimes/native", "-o", target, PROBES / f"{name}.c"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return target.read_bytes()


def differences(before, after):
    """{reason: how much more}, zeros left out."""
    return {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)}
