"""The runner of tests is trusted with every other test: it must not lose a failure."""

import os
import pathlib
import stat
import subprocess
import sys

RUN_ALL = pathlib.Path(__file__).resolve().parents[1] / "run-all"


def program(folder, *lines, status=0):
    path = folder / "unit"
    path.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + f"\nEND\nexit {status}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return "unit"


def run(folder, *arguments):
    environment = {k: v for k, v in os.environ.items() if k not in ("ASAN_OPTIONS", "UBSAN_OPTIONS")}
    done = subprocess.run([sys.executable, RUN_ALL, "--source", folder, "--build", folder, *arguments],
                          capture_output=True, text=True, env=environment, check=False)
    return done.returncode, done.stdout.splitlines()


def test_passes_failures_and_skips_of_a_unit_program_are_counted(tmp_path):
    unit = program(tmp_path, "1..3", "ok 1 - one", "not ok 2 - two", "# why it failed",
                   "no such controller", "not ok 3 # SKIP three", status=1)
    status, lines = run(tmp_path, unit)
    assert (status, lines[-1]) == (1, "1 passed, 1 failed, 1 skipped")
    assert "# why it failed" in lines
    assert "SKIP unit: three: no such controller" in lines


def test_a_unit_program_that_ends_early_is_a_failure(tmp_path):
    unit = program(tmp_path, "1..2", "ok 1 - one")
    assert run(tmp_path, unit) == (1, [
        "unit: 1 passed, 1 FAILED", "--- unit: ended (exit status 0) before 1 of its tests",
        "1..2", "ok 1 - one", "---", "1 passed, 1 failed, 0 skipped"])


def test_a_unit_program_that_prints_nothing_is_a_failure(tmp_path):
    status, lines = run(tmp_path, program(tmp_path))
    assert (status, lines[-1]) == (1, "0 passed, 1 failed, 0 skipped")


def test_an_exit_status_without_a_failed_test_is_a_failure(tmp_path):
    status, lines = run(tmp_path, program(tmp_path, "1..1", "ok 1 - one", status=9))
    assert (status, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")


def test_a_run_without_any_test_is_a_failure(tmp_path):
    assert run(tmp_path, "--only", "nothing")[0] == 1


def test_a_run_of_nothing_but_skips_is_a_failure(tmp_path):
    status, lines = run(tmp_path, "--without-unit", "no cmocka")
    assert (status, lines[-1]) == (1, "0 passed, 0 failed, 1 skipped")


def test_pytest_failures_errors_and_skips_are_counted_once_each(tmp_path):
    folder = tmp_path / "tests" / "e2e"
    folder.mkdir(parents=True)
    (folder / "test_some.py").write_text("""
import pytest
@pytest.fixture
def broken_end():
    yield
    raise OSError
def test_good(): pass
def test_bad(): assert False
def test_bad_twice(broken_end): assert False
def test_good_but_for_its_end(broken_end): pass
@pytest.mark.skip(reason="no such thing")
def test_skipped(): pass
""")
    status, lines = run(tmp_path)
    assert (status, lines[-1]) == (1, "1 passed, 3 failed, 1 skipped")
    assert "SKIP test_skipped: no such thing" in lines


def test_a_test_file_that_cannot_be_imported_is_a_failure(tmp_path):
    folder = tmp_path / "tests" / "e2e"
    folder.mkdir(parents=True)
    (folder / "test_some.py").write_text("import nothing_of_this_name\ndef test_good(): pass\n")
    status, lines = run(tmp_path)
    assert status == 1
    assert lines[-1] == "0 passed, 1 failed, 0 skipped"


def test_a_sanitizers_report_is_a_failure(tmp_path):
    (tmp_path / "config.h").write_text("#define FNRUN_SANITIZERS 1\n")
    unit = tmp_path / "unit"
    unit.write_text("#!/bin/sh\necho 1..1; echo ok 1 - one\n"
                    "path=${ASAN_OPTIONS#*log_path=}; echo 'heap-use-after-free' >${path%%:*}.1\n")
    unit.chmod(0o755)
    status, lines = run(tmp_path, "unit")
    assert (status, lines[-1]) == (1, "1 passed, 1 failed, 0 skipped")
    assert "heap-use-after-free" in lines
