"""An ordinary user: what works without root, and what the errors say where it does not."""

import os
import pwd
import shutil
import subprocess
import time

import outside
import pytest
from harness import DEADLINE, EXAMPLES, FNRUN, LATE, fnrun, limits_option, needs_root, running

NOBODY = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
HELLO = "def handler(event, context):\n    return {'uid': __import__('os').getuid(), 'event': event}\n"


def can_reach(path):
    """Whether others may enter every folder on the way."""
    path = os.path.realpath(path)
    while path != "/":
        path = os.path.dirname(path)
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


@pytest.fixture
def as_nobody(everybodys):
    """Runs fnrun as nobody, in no login session: call(words) -> Result."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root with setpriv can become another user")
    return as_user(["setpriv", *NOBODY, "--"], everybodys, "nobody")


def as_user(prefix, folder, name):
    if not can_reach(FNRUN):
        pytest.skip(f"another user cannot reach {FNRUN}")
    run_folder = folder / "run"
    run_folder.mkdir(mode=0o700)
    user = pwd.getpwnam(name)
    os.chown(run_folder, user.pw_uid, user.pw_gid)
    env = {"XDG_RUNTIME_DIR": str(run_folder), "HOME": str(folder), "USER": name, "DBUS_SESSION_BUS_ADDRESS": ""}
    def call(*words, **more):
        return fnrun(*words, prefix=prefix, env=env, cwd="/", **more)
    call.prefix, call.env, call.folder, call.run_folder = prefix, env, folder, run_folder
    return call


@pytest.fixture
def account(everybodys):
    """A new account with subordinate ids, gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("only root can make an account")
    for program in ("useradd", "userdel", "newuidmap", "setpriv"):
        if not shutil.which(program):
            pytest.skip(f"there is no {program}")
    name = f"fnrun-test-{os.getpid() % 10000}"
    subprocess.run(["useradd", "--no-create-home", "--home-dir", str(everybodys), "--shell", "/bin/sh", name], check=True,
                   capture_output=True)
    try:
        if not any(line.startswith(name + ":") for line in open("/etc/subuid", encoding="utf-8")):
            pytest.skip("useradd gave no subordinate ids")
        user = pwd.getpwnam(name)
        yield as_user(["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"], everybodys, name)
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


@pytest.fixture
def function(everybodys):
    def make(text=HELLO, ini=None):
        root = everybodys / "function"
        root.mkdir(exist_ok=True)
        root.chmod(0o755)
        (root / "app.py").write_text(text)
        (root / "app.py").chmod(0o644)
        if ini:
            (root / "function.ini").write_text(ini)
            (root / "function.ini").chmod(0o644)
        return root
    return make


def need_user_namespaces(call):
    result = call("doctor", "--json")
    items = {item["name"]: item["state"] for item in result.json["items"]}
    if items["user namespaces"] != "ok":
        pytest.skip("an ordinary user may make no user namespaces here")


# --- without control groups -------------------------------------------------------------------


def test_without_a_group_the_call_is_refused_with_the_ways_out(as_nobody, function):
    result = as_nobody("invoke", function())
    if result.status == 0:
        pytest.skip("this user can have control groups")
    result.refused(5, "ServiceException")
    for way in ("sudo", "systemd-run --user --scope -p Delegate=yes", "--cgroup", "--limits=rlimit"):
        assert way in result.err, way


def test_with_limits_rlimit_it_runs_and_the_report_says_what_it_is(as_nobody, function):
    need_user_namespaces(as_nobody)
    result = as_nobody("invoke", function(), "--limits=rlimit", "--event", '{"a":1}')
    assert result.succeeded() == {"uid": 1000, "event": {"a": 1}}
    assert "rlimit" in result.report["Limits"]
    assert "single-id" in result.report["Ids"], "nobody has no subordinate ids"


def test_with_limits_rlimit_the_time_limit_kills_everything(as_nobody, function):
    need_user_namespaces(as_nobody)
    root = function("import os, signal, time\ndef handler(event, context):\n    for _ in range(3):\n        if not os.fork():\n"
                    "            os.setsid(); signal.signal(15, signal.SIG_IGN); time.sleep(60)\n    time.sleep(60)\n")
    result = as_nobody("invoke", root, "--limits=rlimit", "--timeout", "400ms")
    result.failed(124, "Sandbox.Timedout")
    assert result.seconds < 0.4 + LATE + 1


def test_killed_with_minus_nine_an_ordinary_users_sandbox_dies(as_nobody, function):
    need_user_namespaces(as_nobody)
    root = function("import time\ndef handler(event, context):\n    print('here', flush=True)\n    time.sleep(50)\n")
    with running(root, *([] if limits_option() else ["--limits=rlimit"]), "--timeout", "40s", prefix=as_nobody.prefix,
                 env=as_nobody.env, cwd="/") as call:
        call.wait_for("here")
        inside = list(outside.sandboxed(call.pid))
        assert len(inside) >= 2
        call.process.kill()
        call.process.wait()
        deadline = time.monotonic() + outside.PATIENCE
        while any(outside.stat_of(pid) for pid in inside) and time.monotonic() < deadline:
            outside.reap_adopted()
            time.sleep(0.01)
        assert [pid for pid in inside if outside.stat_of(pid)] == []


def test_an_ordinary_users_function_is_locked_in_as_well(as_nobody, function):
    need_user_namespaces(as_nobody)
    root = function("import time\ndef handler(event, context):\n    print('here', flush=True)\n    time.sleep(50)\n")
    with running(root, *([] if limits_option() else ["--limits=rlimit"]), "--timeout", "40s", prefix=as_nobody.prefix,
                 env=as_nobody.env, cwd="/") as call:
        call.wait_for("here")
        pid = outside.function_of(call.pid)
        status = outside.status_of(pid)
        assert [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == ["0" * 16] * 5
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        for kind in ("mnt", "pid", "net", "ipc", "uts", "user"):
            assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_an_ordinary_users_files_are_out_of_reach_of_the_function(as_nobody, function):
    need_user_namespaces(as_nobody)
    secret = as_nobody.folder / "secret"
    secret.write_text("mine")
    secret.chmod(0o644)
    root = function("import os\ndef handler(event, context):\n    found = [os.path.exists(event), os.listdir('/'), []]\n"
                    "    for folder in ('/tmp', '/var/task', '/', '/etc', '/usr', '/dev', '/dev/shm', '/var', '/run'):\n"
                    "        try:\n            open(folder + '/x', 'w').close()\n            found[2].append(folder)\n"
                    "        except OSError:\n            pass\n    return found\n")
    exists, _, writable = as_nobody("invoke", root, "--limits=rlimit", "--event", f'"{secret}"').succeeded()
    assert not exists and writable == ["/tmp", "/dev/shm"]


def test_rlimits_without_groups_stop_a_process_that_takes_too_much(as_nobody, function):
    need_user_namespaces(as_nobody)
    root = function("def handler(event, context):\n    return len(bytearray(300 << 20))\n", "[limits]\nmemory = 100M\n")
    result = as_nobody("invoke", root, "--limits=rlimit")
    assert result.status in (1, 137) and "MemoryError" in result.err + result.out.decode(), result


def test_the_run_folder_of_another_user_is_refused(as_nobody, function):
    need_user_namespaces(as_nobody)
    (as_nobody.run_folder / "fnrun").mkdir(mode=0o755)  # root's
    result = as_nobody("invoke", function(), "--limits=rlimit")
    result.refused(5, str(as_nobody.run_folder / "fnrun"))


def test_doctor_says_what_an_ordinary_user_lacks(as_nobody, function):
    result = as_nobody("doctor", "--json")
    can = as_nobody("invoke", function()).status == 0
    assert result.json["ready"] == can == (result.status == 0)
    if not can:
        assert any(item["state"] == "missing" and item["hint"] for item in result.json["items"])


# --- with subordinate ids ------------------------------------------------------------------------


def test_an_account_with_subordinate_ids_runs_functions_under_one_of_them(account, function):
    need_user_namespaces(account)
    root = function("import time, os\ndef handler(event, context):\n    print('here', flush=True)\n    time.sleep(event)\n"
                    "    return os.getgroups()\n")
    result = account("invoke", root, "--limits=rlimit", "--event", "0")
    assert result.succeeded() == []
    assert "Ids" not in result.report
    with running(root, *([] if limits_option() else ["--limits=rlimit"]), "--timeout", "40s", event="30",
                 prefix=account.prefix, env=account.env, cwd="/") as call:
        call.wait_for("here")
        uid = int(outside.status_of(outside.function_of(call.pid))["Uid"].split()[0])
        name = account.env["USER"]
        ranges = [line.split(":") for line in open("/etc/subuid", encoding="utf-8") if line.startswith(name + ":")]
        assert any(int(first) <= uid < int(first) + int(count) for _, first, count in ranges), (uid, ranges)


@needs_root
def test_an_account_cannot_use_a_function_that_only_root_can_read(as_nobody, function):
    root = function()
    root.chmod(0o700)
    os.chown(root, 0, 0)
    result = as_nobody("invoke", root, "--limits=rlimit")
    assert result.status == 3 and result.out == b"", result


@needs_root
def test_root_runs_a_function_of_an_ordinary_user(function):
    root = function()
    for path in (root, root / "app.py"):
        os.chown(path, 65534, 65534)
    assert fnrun("invoke", root, *limits_option(), "--event", "1").succeeded()["event"] == 1


def test_a_user_who_is_not_root_gets_the_same_answers():
    """The whole suite means something as an ordinary user; this one runs as whoever it is."""
    done = subprocess.run([FNRUN, "invoke", str(EXAMPLES / "hello-python"), *limits_option(), "--event", '{"name":"Ada"}'],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0 and done.stdout == b'{"message": "Hello, Ada!"}', done
