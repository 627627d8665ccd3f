"""Fixtures of the end-to-end tests. After every test the looker asks what was left
behind: no process, control group, mount or file may be."""

import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(__file__))
import harness  # noqa: E402
import outside  # noqa: E402
from daemon import running_daemon  # noqa: E402


def pytest_configure():
    outside.adopt_orphans()


@pytest.fixture(scope="session", autouse=True)
def program():
    if not os.access(harness.FNRUN, os.X_OK):
        pytest.skip(f"there is no {harness.FNRUN}: build it, or set FNRUN")


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path):
    before = outside.Snapshot(tmp_path)
    yield
    left = before.left()
    assert not left, "left behind: " + "; ".join(left)


@pytest.fixture
def folder(tmp_path):
    """Makes functions' folders: folder({"app.py": text, ...}, ini="[limits]\\n...").

    Everything is readable by the sandbox's ids; what begins with #! is executable."""

    def make(files=None, ini=None, name="function", modes=None):
        root = tmp_path / name
        root.mkdir(exist_ok=True)
        root.chmod(0o755)
        files = dict(files or {})
        if ini is not None:
            files["function.ini"] = ini
        for path, text in files.items():
            file = root / path
            for parent in reversed(file.relative_to(root).parents[:-1]):
                (root / parent).mkdir(exist_ok=True)
                (root / parent).chmod(0o755)
            data = text if isinstance(text, bytes) else text.encode()
            file.write_bytes(data)
            file.chmod((modes or {}).get(path, 0o755 if data[:2] == b"#!" or data[:4] == b"\x7fELF" else 0o644))
        return root

    return make


@pytest.fixture
def python(folder):
    """python(body of app.py, ini): a function's folder."""
    return lambda text, ini=None, **more: folder({"app.py": text}, ini, **more)


@pytest.fixture
def script(folder):
    """script(lines of a shell script, ini): an exec function's folder."""
    return lambda text, ini=None, **more: folder({"run": "#!/bin/sh\n" + text}, ini, **more)


@pytest.fixture(scope="session")
def compiler():
    """Compiles a probe to a file: static where that can be linked."""
    cc = shutil.which("cc")
    if not cc:
        pytest.skip("there is no C compiler (cc)")

    def build(source, target, *options):
        for link in (["-static"], []):
            done = subprocess.run([cc, "-O1", "-Wall", *link, *options, "-o", str(target), str(source)],
                                  capture_output=True, text=True, check=False)
            if done.returncode == 0:
                os.chmod(target, 0o755)
                return target
        pytest.fail(f"the probe does not compile:\n{done.stderr}")

    return build


@pytest.fixture
def everybodys(tmp_path):
    """A folder that other users can reach: pytest's own is for its owner alone."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="e2e-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, onerror=_make_writable)


def _make_writable(function, path, _):
    os.chmod(os.path.dirname(path), stat.S_IRWXU)
    os.chmod(path, stat.S_IRWXU)
    function(path)


@pytest.fixture
def daemon():
    """An fnrund that runs, nothing of which may be left after the test."""
    with running_daemon() as made:
        yield made
