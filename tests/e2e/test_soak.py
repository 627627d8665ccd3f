"""The short one of `make soak`."""

import os
import subprocess
import sys

import pytest
from harness import IS_ROOT, SOURCE


def test_after_thousands_of_calls_of_every_kind_nothing_is_left_and_nothing_has_grown():
    if not IS_ROOT:
        pytest.skip("only root can start an fnrund whose functions have ids of their own")
    done = subprocess.run([sys.executable, SOURCE / "tests" / "soak", "3000"], capture_output=True, text=True, check=False,
                          timeout=600, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
