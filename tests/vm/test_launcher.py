"""The launcher's own tests (tests/unit/test_launcher.c), in a delegated group of their own."""
import os
import pathlib
import re
import subprocess

import pytest

from daemons import SCOPE
from machine import DEADLINE, SYSTEMD_RUN, USER_RUN, nothing_is_left, ways

PROGRAM = pathlib.Path("/job/build/checks/test_launcher")
LAUNCHER = "FNRUN_BUILD=/usr/local/libexec/fnrun"


@pytest.mark.skipif(not os.access(PROGRAM, os.X_OK), reason="there was no checks/test_launcher: it takes cmocka")
@ways({"root": [*SYSTEMD_RUN, *SCOPE], "a user": [*USER_RUN, *SCOPE]})
def test_all_of_them_pass(way):
    done = subprocess.run([*way, "env", LAUNCHER, "CMOCKA_MESSAGE_OUTPUT=TAP", PROGRAM], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/tmp", timeout=DEADLINE)
    passed = len(re.findall(r"^ok \d+ - (?!.*# SKIP)", done.stdout, re.M))
    planned = sum(map(int, re.findall(r"^1\.\.(\d+)$", done.stdout, re.M)))
    assert done.returncode == 0 and passed == planned > 1, done.stdout
    nothing_is_left()
