"""What a function can see and do. A probe tries from inside; what the kernel knows is
looked at from outside, in /proc, while a function holds still."""

import contextlib
import json
import os
import pathlib
import platform
import re
import socket
import stat

import outside
import pytest
from harness import FNRUN, IS_ROOT, PROBES, fnrun, invoke, limits_option, need_groups, needs_root, running

ENOSYS, EPERM = 38, 1
LO_UP = 0x1 | 0x8  # IFF_UP, IFF_LOOPBACK
CALLERS = {"SECRET": "of-the-caller", "LD_PRELOAD": "", "PYTHONPATH": "/nonexistent", "HOME": "/root"}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the probe saw, with the caller's things that it was told to look for."""
    root = tmp_path_factory.mktemp("probe") / "looker"
    root.mkdir()
    root.chmod(0o755)
    (root / "app.py").write_text((PROBES / "look.py").read_text())
    (root / "app.py").chmod(0o644)
    (root / "function.ini").write_text("[limits]\ntimeout = 50s\nfiles = 100\nprocesses = 20\nmemory = 256M\n"
                                       "[environment]\nGIVEN = yes\n")
    secret = root.parent / "secret"
    secret.write_text("the caller's\n")
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        name = f"fnrun-test-{os.getpid()}"
        abstract.bind("\0" + name)
        abstract.listen()
        files = [str(secret), "/proc/self/cwd/../secret", "/proc/self/root" + str(secret), "../secret",
                 "/etc/shadow", "/root", f"/proc/self/fd/0/../{secret.name}", "/var/task/../../" + str(secret), "/run/fnrun",
                 "/sys/kernel", os.path.realpath(FNRUN)]
        event = {"port": server.getsockname()[1], "abstract": name, "files": files}
        with open(secret, "rb") as also_open:
            os.set_inheritable(also_open.fileno(), True)
            result = invoke(root, event=event, env=CALLERS, pass_fds=[also_open.fileno()], cwd=root.parent)
    return result.succeeded()


@pytest.fixture
def held(folder):
    """A function that holds still, looked at from outside: (call, pid of its process)."""
    function = folder({"app.py": (PROBES / "hold.py").read_text()}, "[limits]\nfiles = 100\nprocesses = 20\n", name="held")
    with running(function, "--timeout", "50s", event=45, env=CALLERS) as call:
        call.wait_for("here")
        yield call, outside.function_of(call.pid)


def in_single_id_form():
    result = fnrun("invoke", PROBES.parents[2] / "examples/hello-python", *limits_option(), "--json")
    return result.json["report"]["ids"] == "single"


# --- ids and capabilities ------------------------------------------------------------------


def test_inside_the_function_is_uid_1000_with_a_name_and_no_further_groups(seen):
    assert seen["ids"][:4] == [1000] * 4
    if not in_single_id_form():
        assert seen["ids"][4] == []
    assert re.search(rf"^{seen['names'][0]}:[^:]*:1000:1000:", seen["etc_texts"]["passwd"], re.MULTILINE)


@needs_root
def test_outside_the_function_has_a_host_id_of_the_reserved_range(held):
    first, count = outside.reserved_ids()
    status = outside.status_of(held[1])
    for row in ("Uid", "Gid"):
        ids = {int(number) for number in status[row].split()}
        assert len(ids) == 1 and first <= ids.pop() < first + count
    assert status["Groups"].strip() == ""


def test_the_slots_init_is_not_the_callers_root_either(held):
    call, pid = held
    inits = [out for out, inside in outside.sandboxed(call.pid).items() if inside == 1]
    assert len(inits) == 1
    status = outside.status_of(inits[0])
    assert status["CapEff"] == status["CapPrm"] == status["CapInh"] == "0" * 16
    if IS_ROOT:
        assert outside.status_of(pid)["Uid"] != status["Uid"]
        assert os.listdir(f"/proc/{inits[0]}/fd") == []


def test_all_five_capability_sets_are_empty_seen_from_outside(held):
    status = outside.status_of(held[1])
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert status[name] == "0" * 16, name


def test_no_new_privileges_and_the_filter_are_on_seen_from_outside(held):
    status = outside.status_of(held[1])
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"


def test_rlimits_are_set_seen_from_outside(held):
    limits = {}
    for line in pathlib.Path(f"/proc/{held[1]}/limits").read_text().splitlines()[1:]:
        name, soft, hard = re.match(r"(.{25})\s(\S+)\s+(\S+)", line).groups()
        limits[name.strip()] = (soft, hard)
    assert limits["Max core file size"] == ("0", "0")
    assert limits["Max open files"] == ("100", "100")
    assert int(limits["Max locked memory"][1]) <= 64 * 1024
    if not in_single_id_form():
        assert 20 <= int(limits["Max processes"][1]) < 1000, "wide, but a second line"


def test_setuid_programs_give_nothing(script):
    result = invoke(script("/usr/bin/su -c id </dev/null >&2; /usr/bin/passwd -S >&2; id -u; grep -h CapEff /proc/self/status\n"))
    lines = result.succeeded().split("\n")
    assert lines[0] == "1000" and lines[1] == "CapEff:\t" + "0" * 16


# --- namespaces ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mnt", "pid", "net", "ipc", "uts", "user", "cgroup"])
def test_each_of_the_seven_namespaces_is_its_own(held, kind):
    if kind == "cgroup" and limits_option():
        pytest.skip("without control groups")
    assert os.readlink(f"/proc/{held[1]}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


def test_two_calls_share_no_namespace(folder):
    function = folder({"app.py": (PROBES / "hold.py").read_text()})
    with running(function, "--timeout", "50s", event=40) as one, running(function, "--timeout", "50s", event=40) as two:
        one.wait_for("here")
        two.wait_for("here")
        pids = outside.function_of(one.pid), outside.function_of(two.pid)
        for kind in ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup"):
            assert len({os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids}) == 2, kind


def test_the_host_name_is_the_functions_name(seen):
    assert seen["host"] == ["looker", "looker"]


def test_proc_shows_the_functions_own_processes_alone(seen):
    assert seen["processes"] == [seen["pid"][0]]
    assert seen["pid"][0] < 10, "counted in a namespace of its own"


def test_nothing_of_pid_1_can_be_read_or_killed(seen):
    assert all(answer in ("ENOENT", "EACCES", "EPERM") for answer in seen["init"].values()), seen["init"]
    assert seen["kill_others"] in ("EPERM", None)  # None: the kernel shields PID 1 by ignoring it


def test_pid_1_survives_the_functions_kill(python):
    function = python("import os, time\ndef handler(event, context):\n    for number in range(1, 65):\n"
                      "        try: os.kill(1, number)\n        except OSError: pass\n    time.sleep(0.2)\n    return 'still here'\n")
    assert invoke(function).succeeded() == "still here"


def test_a_kill_of_everything_reaches_nobody_else(script):
    function = script("kill -9 -1\necho 1\n")
    before = outside.stat_of(os.getpid())
    assert invoke(function).status in (0, 1)
    assert outside.stat_of(os.getpid())[2] == before[2]


def test_the_function_leads_a_session_of_its_own(seen, held):
    pid, session, group = seen["pid"]
    assert pid == session == group
    text = pathlib.Path(f"/proc/{held[1]}/stat").read_text()
    fields = text[text.rindex(")") + 2:].split()
    assert fields[2] == fields[3] == str(held[1]), "group and session as the machine counts them"
    assert fields[4] == "0", "no terminal"


def test_proc_self_cgroup_shows_the_root(seen):
    if limits_option():
        pytest.skip("without control groups")
    wrong = [line for line in seen["cgroup"] if not line.endswith(":/")
             and any(name in line for name in ("memory", "pids", "cpu,", ":cpu:", "cpuacct", "0::"))]
    assert wrong == [] and seen["cgroup"]


# --- network --------------------------------------------------------------------------------------


def test_lo_is_the_only_interface_and_up(seen):
    assert list(seen["network"]["interfaces"]) == ["lo"]
    assert seen["network"]["interfaces"]["lo"] & LO_UP == LO_UP


def test_the_hosts_loopback_and_abstract_sockets_cannot_be_reached(seen):
    assert seen["network"]["host_port"] == "ECONNREFUSED"
    assert seen["network"]["host_abstract"] == "ECONNREFUSED"
    assert seen["network"]["internet"] == "ENETUNREACH"


def test_sockets_inside_the_slot_work(seen):
    for name in ("tcp", "unix", "abstract"):
        assert seen["network"]["inside_" + name] == "ping", name
    if os.path.exists("/proc/net/if_inet6"):
        assert seen["network"]["inside_tcp6"] == "ping"


def test_mode_host_reaches_the_hosts_loopback(python):
    function = python("import socket\ndef handler(port, context):\n"
                      "    with socket.create_connection(('127.0.0.1', port)) as peer:\n        return peer.recv(9).decode()\n",
                      "[network]\nmode = host\n")
    with socket.create_server(("127.0.0.1", 0)) as server, \
            running(function, "--timeout", "20s", event=server.getsockname()[1]) as call:
        server.settimeout(20)
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"from host")
        assert call.end().succeeded() == "from host"


# --- files -----------------------------------------------------------------------------------------------


def test_tmp_and_shm_are_the_only_places_where_files_can_be_made(seen):
    assert seen["folders"] > 100
    places = {path for path in seen["can_create"] if path != "/tmp" and not path.startswith("/tmp/")}
    assert places == set() or places == {"/dev/shm"}, places
    assert "/tmp" in seen["can_create"]
    assert seen["shm"] == "/tmp" or seen["shm"].startswith("/tmp/") or seen["shm"] == "/dev/shm"


def test_nothing_else_opens_for_writing(seen):
    own = {"/proc/self/oom_score_adj", "/proc/self/mem"}  # of the process itself
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")}
    assert set(seen["can_write"]) <= own | devices, set(seen["can_write"]) - own - devices


def test_the_tree_has_nothing_of_home_root_var_run_or_sys(seen):
    lists = seen["listings"]
    allowed = {"bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "tmp", "usr", "var"}
    assert set(lists["/"]) <= allowed, set(lists["/"]) - allowed
    for path in ("/home", "/root", "/run", "/srv", "/mnt", "/boot", "/opt", "/media"):
        assert not lists[path], path
    assert lists["/sys"] is None
    assert set(lists["/var"]) <= {"task", "runtime"}


def test_etc_has_made_files_and_no_secrets(seen):
    for name in ("shadow", "gshadow", "sudoers", "ssh", "subuid", "fstab", "machine-id", "sudoers.d", "ssl/private"):
        assert name not in seen["etc"]
    assert len(seen["etc_texts"]["passwd"].splitlines()) < 6
    assert "looker" in seen["etc_texts"]["hosts"] or "localhost" in seen["etc_texts"]["hosts"]


def test_the_callers_files_cannot_be_reached_by_any_way(seen):
    reached = {path: answer for path, answer in seen["callers_files"].items() if answer is None}
    # What has the same name in the sandbox is another file.
    assert set(reached) <= {"/usr/bin/fnrun", "/usr/local/bin/fnrun"}, reached
    assert seen["cwd"] == "/var/task" and seen["parent"] == "/"


def test_descriptors_are_those_it_was_meant_to_have(seen):
    assert sorted(map(int, seen["descriptors"])) == [0, 1, 2, 3]
    assert seen["descriptors"]["3"].startswith("socket:")
    assert seen["descriptors"]["0"] == "/dev/null"


def test_an_exec_has_exactly_three_descriptors(folder):
    function = folder({"run": "#!/usr/bin/python3\nimport json, os\nnames = os.listdir('/proc/self/fd')\n"
                              "print(json.dumps(sorted(int(n) for n in names if os.path.lexists('/proc/self/fd/' + n))))\n"})
    with open("/etc/passwd", "rb") as leak:
        os.set_inheritable(leak.fileno(), True)
        assert invoke(function, pass_fds=[leak.fileno()]).succeeded() == [0, 1, 2]


@needs_root
def test_descriptors_seen_from_outside_are_pipes_sockets_and_null_alone(held):
    links = {fd: os.readlink(f"/proc/{held[1]}/fd/{fd}") for fd in os.listdir(f"/proc/{held[1]}/fd")}
    assert set(links) == {"0", "1", "2", "3"}, links
    for link in links.values():
        assert link.startswith(("pipe:", "socket:")) or link == "/dev/null", links


def test_every_mount_is_nosuid_and_nodev_and_read_only_but_tmp(seen):
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")}
    points = []
    for line in seen["mounts"]:
        fields = line.split()
        point, options = fields[4], set(fields[5].split(","))
        points.append(point)
        kind = line.split(" - ")[1].split()[0]
        assert "nosuid" in options, line
        if point not in devices | {"/dev"} and not point.startswith("/proc/"):
            assert "nodev" in options, line
        if point != "/tmp":
            # A device's node may be opened for writing on a read-only mount.
            assert "ro" in options or point in devices or (point.startswith("/proc/") and kind in ("devtmpfs", "tmpfs")), line
    assert {"/", "/usr", "/proc", "/tmp", "/var/task"} <= set(points)
    assert not any(point.startswith("/sys") for point in points)


def test_the_devices_are_exactly_these(seen):
    assert seen["devices"].pop("shm")
    numbers = {"null": [1, 3], "zero": [1, 5], "full": [1, 7], "random": [1, 8], "urandom": [1, 9]}
    links = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
    found = {name: value.removeprefix("../") if isinstance(value, str) else value for name, value in seen["devices"].items()}
    for name, target in links.items():
        assert target.endswith(found.pop(name).lstrip("/")), name
    assert found == numbers


def test_what_proc_says_of_the_machine_is_hidden(seen):
    for name, answer in seen["masked"].items():
        assert answer in (0, "ENOENT", "EACCES", "EPERM"), (name, answer)


def test_the_umask_is_022(seen):
    assert seen["umask"] == 0o022


def test_the_environment_is_exactly_the_documented_one(seen):
    documented = {"PATH", "HOME", "LANG", "TZ", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV",
                  "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
                  "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_INITIALIZATION_TYPE",
                  "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "_HANDLER", "GIVEN"}
    # The interpreter may add its own on C.UTF-8.
    assert set(seen["environ"]) - {"LC_CTYPE"} <= documented, set(seen["environ"]) - documented
    assert documented - set(seen["environ"]) == set()
    assert seen["environ"]["GIVEN"] == "yes" and seen["environ"]["HOME"] == "/tmp"
    assert "of-the-caller" not in json.dumps(seen["environ"])


@needs_root
def test_the_callers_environment_is_not_to_be_seen_from_outside_either(held):
    text = pathlib.Path(f"/proc/{held[1]}/environ").read_bytes()
    assert b"of-the-caller" not in text and b"AWS_LAMBDA_FUNCTION_NAME=held" in text


def test_the_functions_folder_is_read_only_even_where_everybody_may_write(script):
    function = script("touch /var/task/x || echo x >> /var/task/open || mkdir /var/task/y || rm /var/task/open && echo 1\necho 0\n",
                      "[function]\nruntime = exec\nhandler = run\n")
    (function / "open").write_text("")
    (function / "open").chmod(0o666)
    function.chmod(0o777)
    result = invoke(function)
    assert result.succeeded() == 0
    assert result.log.count("Read-only file system") == 4
    assert sorted(os.listdir(function)) == ["function.ini", "open", "run"]


def test_what_a_link_in_the_folder_points_to_is_looked_up_inside(folder, tmp_path):
    (tmp_path / "secret").write_text("the caller's")
    function = folder({"app.py": "def handler(event, context):\n    try:\n        return open('/var/task/' + event).read()\n"
                                 "    except OSError as error:\n        return error.errno\n"})
    (function / "out").symlink_to(tmp_path / "secret")
    (function / "up").symlink_to("../secret")
    for name in ("out", "up"):
        assert invoke(function, event=json.dumps(name)).succeeded() == 2


def test_a_handler_that_is_a_link_out_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "app.py").write_text("def handler(event, context): return 1\n")
    function = folder({}, "[function]\nruntime = python\nhandler = app.handler\n")
    (function / "app.py").symlink_to(tmp_path / "app.py")
    invoke(function).refused(3, "out of the function's folder")


@needs_root
def test_the_prepared_root_belongs_to_root_and_nobody_can_write_it():
    limits_option()
    for name in os.listdir("/run/fnrun"):
        status = os.lstat(f"/run/fnrun/{name}")
        assert status.st_uid == 0 and not status.st_mode & 0o022, name
    assert not os.stat("/run/fnrun").st_mode & 0o022


# --- system calls ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calls_program(compiler, tmp_path_factory):
    return compiler(PROBES / "calls.c", tmp_path_factory.mktemp("calls") / "calls").read_bytes()


@pytest.fixture(scope="module")
def calls(calls_program, tmp_path_factory):
    root = tmp_path_factory.mktemp("probe") / "calls"
    root.mkdir()
    root.chmod(0o755)
    (root / "calls").write_bytes(calls_program)
    (root / "calls").chmod(0o755)
    return invoke(root).succeeded()


ALLOWED = {"socket inet", "socket inet6", "socket unix", "mknod fifo"}
NOT_THERE = {"clone3", "unknown call"}


def test_every_dangerous_call_is_refused(calls):
    given = {name for name, errno in calls.items() if errno == 0}
    assert given == ALLOWED
    assert {name for name, errno in calls.items() if errno == ENOSYS} == NOT_THERE
    # setuid and setgid are the kernel's to refuse, and it says EINVAL: id 0 may not be mapped.
    kernels = {"setuid 0", "setgid 0"}
    other = {name: errno for name, errno in calls.items() if errno not in (0, ENOSYS, EPERM) and name not in kernels}
    assert other == {}
    assert len(calls) > 60


@pytest.mark.parametrize("way", ["int80", "x32"])
def test_a_call_of_a_foreign_architecture_kills_and_the_outcome_says_so(folder, calls_program, way):
    if platform.machine() != "x86_64":
        pytest.skip("only x86-64 has these ways in")
    function = folder({"run": f"#!/bin/sh\nexec /var/task/calls {way}\n", "calls": calls_program},
                      "[function]\nruntime = exec\nhandler = run\n")
    text = invoke(function).failed(1, "Runtime.ExitError")
    assert "SIGSYS" in text and "foreign architecture" in text


def test_an_own_user_namespace_cannot_be_made_by_any_program(script):
    result = invoke(script("for way in -U -r -m -n; do /usr/bin/unshare $way true 2>/dev/null && echo $way; done; echo end\n"))
    assert result.succeeded() == "end\n"


# --- several at once ---------------------------------------------------------------------------------------


def test_eight_calls_at_once_all_succeed_with_ids_and_groups_of_their_own(folder):
    function = folder({"app.py": (PROBES / "hold.py").read_text()}, "[limits]\nmemory = 64M\n")
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(running(function, "--timeout", "50s", event=45)) for _ in range(8)]
        for call in calls:
            call.wait_for("here")
        pids = [outside.function_of(call.pid) for call in calls]
        uids = {outside.status_of(pid)["Uid"].split()[0] for pid in pids}
        gids = {outside.status_of(pid)["Gid"].split()[0] for pid in pids}
        groups = set() if limits_option() else {str(outside.group_of(pid, "memory")[0]) for pid in pids}
        (function / "go").touch()
        results = [call.end() for call in calls]
    assert all(result.succeeded() == 45 for result in results)
    if not in_single_id_form():
        assert len(uids) == len(gids) == 8
    if not limits_option():
        assert len(groups) == 8


def test_one_functions_end_is_not_anothers(python, folder):
    holder = folder({"app.py": (PROBES / "hold.py").read_text()}, name="holder")
    killer = python("import os\ndef handler(event, context):\n    os.kill(-1, 9)\n", name="killer")
    with running(holder, "--timeout", "50s", event=45) as call:
        call.wait_for("here")
        assert invoke(killer).status in (0, 1)
        (holder / "go").touch()
        assert call.end().succeeded() == 45


def test_the_group_of_the_function_holds_all_of_its_processes(python):
    need_groups()
    function = python("import os, time\ndef handler(event, context):\n    for _ in range(3):\n        if not os.fork():\n"
                      "            os.setsid()\n            time.sleep(40)\n    print('up', flush=True)\n    time.sleep(40)\n")
    with running(function, "--timeout", "40s") as call:
        call.wait_for("up")
        inside = {pid for pid, number in outside.sandboxed(call.pid).items() if number != 1}
        for controller in ("memory", "pids", "cpu"):
            group, _ = outside.group_of(outside.function_of(call.pid), controller)
            members = set(map(int, (group / "cgroup.procs").read_text().split()))
            assert members == inside and len(members) == 4, controller
            assert stat.S_IMODE(group.stat().st_mode) & 0o022 == 0
