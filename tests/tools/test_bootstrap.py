"""bootstrap's reservation of host ids, tried on an /etc of its own."""

import os
import pathlib
import subprocess

import pytest

BOOTSTRAP = pathlib.Path(__file__).resolve().parents[2] / "bootstrap"
OURS = "fnrun:1879048192:1048576"


def can_mount():
    return os.geteuid() == 0 and subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not can_mount(), reason="needs root and a mount namespace of its own")


def reserve(before, subuid, subgid=None, times=1):
    """Runs `bootstrap --ids` with these two files; returns (status, output, subuid, subgid)."""
    write_uids = 'printf %s "$1" >/etc/subuid' if subuid is not None else ""
    write_gids = 'printf %s "$2" >/etc/subgid' if subgid is not None else ""
    script = f"""
        mount -t tmpfs none /mnt && cp -a /etc/alternatives /mnt && mount --move /mnt /etc || exit 99
        {write_uids}
        {write_gids}
        {before}
        status=0
        for i in $(seq {times}); do "$3" --ids 2>&1 || status=$?; done
        echo ====; cat /etc/subuid; echo ====; cat /etc/subgid; echo ====; ls /etc
        exit $status"""
    done = subprocess.run(["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh",
                           subuid or "", subgid or "", str(BOOTSTRAP)],
                          capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)
    output, uids, gids, names = done.stdout.split("====\n")
    assert set(names.split()) <= {"subuid", "subgid", "alternatives"}, "a temporary file or a lock stayed"
    return done.returncode, output, uids, gids


def test_empty_files_get_one_line_each_however_often_it_runs():
    status, _, uids, gids = reserve("", "", "", times=3)
    assert (status, uids, gids) == (0, OURS + "\n", OURS + "\n")


def test_missing_files_are_made():
    status, _, uids, gids = reserve("", None)
    assert (status, uids, gids) == (0, OURS + "\n", OURS + "\n")


def test_other_lines_stay_as_they_are():
    status, _, uids, gids = reserve("", "ada:100000:65536\n", "ada:100000:65536\nbob:165536:65536")
    assert status == 0
    assert uids == f"ada:100000:65536\n{OURS}\n"
    assert gids == f"ada:100000:65536\nbob:165536:65536\n{OURS}\n"


def test_a_range_that_another_owner_has_is_passed_over_in_both_files():
    status, _, uids, gids = reserve("", "ada:1879048192:65536\n", "bob:1880096767:10\n")
    assert status == 0
    assert uids.endswith("\nfnrun:1881145344:1048576\n")
    assert gids.endswith("\nfnrun:1881145344:1048576\n")


def test_a_range_that_is_there_is_kept():
    line = "fnrun:2000000000:1048576\n"
    assert reserve("", line, line)[2:] == (line, line)


def test_an_overlap_of_the_range_that_is_there_is_named():
    status, output, uids, _ = reserve("", f"{OURS}\nada:1879048200:10\n", f"{OURS}\n")
    assert status != 0
    assert "ada in /etc/subuid" in output
    assert uids == f"{OURS}\nada:1879048200:10\n"


def test_a_lock_whose_holder_is_gone_is_taken_over():
    status, _, uids, _ = reserve("sh -c 'echo $$' >/etc/subuid.lock", "", "")
    assert (status, uids) == (0, OURS + "\n")


def test_a_lock_that_is_held_is_waited_for():
    # The holder lets go once it sees that somebody has come for the lock.
    before = """sleep 60 & holder=$!
        echo $holder >/etc/subuid.lock
        (until [ -e "$(echo /etc/subuid.fnrun.*.pid)" ]; do sleep 0.02; done
         rm /etc/subuid.lock; kill $holder) >/dev/null 2>&1 &"""
    status, _, uids, _ = reserve(before, "", "")
    assert (status, uids) == (0, OURS + "\n")
