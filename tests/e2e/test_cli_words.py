"""What the command line says: help, suggestions, version, and the exit statuses of
everything that needs no sandbox. Also `init` and `doctor`, and that what init
writes runs unchanged."""
import json
import os
import re
import shutil
import stat
import subprocess

import pytest

FNRUN = os.path.abspath(os.environ.get("FNRUN", "fnrun"))
COMMANDS = ["invoke", "deploy", "list", "show", "logs", "top", "versions", "rollback", "remove", "usage", "check", "init",
            "doctor", "version", "help"]
RUNTIMES = ["python", "node", "azure", "native", "exec"]


def fnrun(*words, cwd=None, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FNRUN_")}
    environment |= more.pop("env", {})
    return subprocess.run([FNRUN, *words], cwd=cwd, env=environment, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **more)


def has_part(name):
    """Whether the sister program stands beside fnrun (as in a build folder)."""
    return os.access(os.path.join(os.path.dirname(os.path.realpath(FNRUN)), name), os.X_OK)


def refuses(result, status, *parts):
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.startswith("fnrun: ")
    assert result.stderr.count("\n") == 1, "an error is one line"
    for part in parts:
        assert part in result.stderr
    return True


# --- help and version ---------------------------------------------------------------


def test_no_arguments_give_a_short_overview_on_stderr():
    result = fnrun()
    assert result.returncode == 2
    assert result.stdout == ""
    for command in COMMANDS:
        assert f"\n  {command} " in result.stderr


@pytest.mark.parametrize("words", [["help"], ["--help"], ["-h"]])
def test_asked_for_the_overview_goes_to_stdout(words):
    result = fnrun(*words)
    assert result.returncode == 0
    assert result.stdout.startswith("usage: fnrun COMMAND")
    assert result.stderr == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_its_exit_statuses(command):
    first = fnrun(command, "--help")
    assert first.returncode == 0
    assert first.stderr == ""
    assert first.stdout.startswith(f"usage: fnrun {command}")
    assert "exit statuses:\n  0 " in first.stdout
    assert fnrun("help", command).stdout == first.stdout
    assert fnrun(command, "-h").stdout == first.stdout


def test_help_of_check_lists_what_function_ini_may_say():
    text = fnrun("help", "check").stdout
    for words in ("[limits]", "memory", "default: 128M", "[network]", "none or host"):
        assert words in text


def test_help_of_invoke_names_the_outcomes():
    text = fnrun("help", "invoke").stdout
    for status in [0, 1, 2, 3, 4, 5, 124, 130, 137]:
        assert f"\n  {status} " in text
    for option in ["--event", "--timeout", "--memory", "--env", "--json", "--quiet",
                   "--log-level", "--limits", "--cgroup", "--socket", "FNRUN_LOG_LEVEL", "FNRUN_CGROUP",
                   "FNRUN_SOCKET"]:
        assert option in text


def test_version_is_one_line_or_one_object():
    plain = fnrun("version")
    assert plain.returncode == 0
    assert plain.stdout.startswith("fnrun ") and plain.stdout.count("\n") == 1
    assert fnrun("--version").stdout == plain.stdout
    version = json.loads(fnrun("version", "--json").stdout)
    assert plain.stdout == f"fnrun {version['version']}\n"


def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w", encoding="ascii") as full:
        result = subprocess.run([FNRUN, "version"], stdout=full, stderr=subprocess.PIPE,
                                text=True, timeout=60, check=False)
    assert result.returncode == 5
    assert "cannot write to stdout" in result.stderr


# --- wrong usage ----------------------------------------------------------------------


@pytest.mark.parametrize("words, part", [
    (["invok", "./x"], "did you mean 'fnrun invoke'?"),
    (["docter"], "did you mean 'fnrun doctor'?"),
    (["run", "./x"], "did you mean 'fnrun invoke'?"),
    (["frobnicate"], "'fnrun help' lists them"),
    (["help", "chekc"], "did you mean 'fnrun help check'?"),
    (["--versoin"], "did you mean --version?"),
    (["invoke", "./x", "--evnt", "{}"], "did you mean --event?"),
    (["invoke", "./x", "--memroy=1G"], "did you mean --memory?"),
    (["invoke"], "PATH|NAME is missing"),
    (["check"], "PATH is missing"),
    (["init", "--runtime", "python"], "NAME is missing"),
    (["init", "hello"], "--runtime is missing"),
    (["init", "hello", "--runtime", "pyton"], "did you mean python?"),
    (["invoke", "./x", "--event"], "--event needs a value"),
    (["invoke", "./x", "{}"], "the event is given by --event"),
    (["invoke", "./x", "--limits=none"], "the only one is rlimit"),
    (["invoke", "./x", "--log-level", "loud"], "error, warn, info or debug"),
    (["check", "./x", "--timeout", "2s"], "check has no option --timeout"),
    (["doctor", "--json=yes"], "--json takes no value"),
    (["--json", "version"], "after the command"),
    (["deploy"], "DIR|FILE|ZIP is missing"),
    (["depoly", "."], "did you mean 'fnrun deploy'?"),
    (["delete", "x"], "did you mean 'fnrun remove'?"),
    (["show"], "NAME is missing"),
    (["rollback", "x", "1", "2"], "takes one NAME and one VERSION"),
    (["logs", "x", "--folow"], "did you mean --follow?"),
    (["invoke", "hello", "--memory", "1G"], "--memory is for one-shot calls"),
    (["invoke", "hello", "-eA=b"], "--env is for one-shot calls"),
])
def test_wrong_usage_exits_2_and_says_what_to_do(words, part):
    assert refuses(fnrun(*words), 2, part)


def test_a_wrong_variable_is_wrong_usage():
    assert refuses(fnrun("invoke", "./x", env={"FNRUN_LOG_LEVEL": "loud"}), 2, "FNRUN_LOG_LEVEL")


def test_a_path_instead_of_a_command_suggests_invoke(tmp_path):
    (tmp_path / "hello").mkdir()
    assert refuses(fnrun("hello", cwd=tmp_path), 2, "fnrun invoke ./hello")
    assert refuses(fnrun("./hello", cwd=tmp_path), 2, "fnrun invoke ./hello")


# --- names and paths --------------------------------------------------------------------


def no_daemon(tmp_path):
    return {"FNRUN_SOCKET": str(tmp_path / "nobody")}


def test_a_bare_word_is_a_deployed_name_and_there_is_no_daemon(tmp_path):
    assert refuses(fnrun("invoke", "nosuch", cwd=tmp_path, env=no_daemon(tmp_path)), 5, "no fnrund is running",
                   "`fnrund &`", "`systemctl start fnrund`")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_bare_word_that_a_folder_or_file_has_says_to_write_the_path(tmp_path, kind):
    if kind == "folder":
        (tmp_path / "hello").mkdir()
    else:
        (tmp_path / "hello").write_text("#!/bin/sh\n", encoding="ascii")
    result = fnrun("invoke", "hello", cwd=tmp_path, env=no_daemon(tmp_path))
    assert refuses(result, 5, f"`fnrun invoke ./hello` runs the {kind} of that name once")


def copy_alone(tmp_path, *parts):
    """fnrun in a folder of its own, with stand-ins for its parts that print their
    name and words."""
    folder = tmp_path / "programs"
    folder.mkdir()
    shutil.copy(os.path.realpath(FNRUN), folder / "fnrun")
    for part in parts:
        program = folder / part
        program.write_text('#!/bin/sh\necho "${0##*/}" "$@"\n', encoding="ascii")
        program.chmod(0o755)
    return folder / "fnrun"


def run_copy(program, *words, cwd):
    return subprocess.run([program, *words], cwd=cwd, text=True, capture_output=True, timeout=60,
                          check=False)


def test_paths_go_to_the_program_for_one_shot_calls_unchanged(tmp_path):
    program = copy_alone(tmp_path, "fnrun-once", "fnrun-manage")
    (tmp_path / "app.py").write_text("", encoding="ascii")
    for words in (["invoke", "./hello", "--event", "a b"], ["invoke", "app.py"],
                  ["invoke", "/nowhere"], ["check", "hello"], ["invoke", ".", "-q"], ["invoke", "nowhere.js"]):
        result = run_copy(program, *words, cwd=tmp_path)
        assert result.stdout == " ".join(["fnrun-once", *words]) + "\n"
    for words in (["doctor", "--json"], ["init", "a", "--runtime", "exec"], ["deploy", ".", "-n", "a"], ["list"],
                  ["show", "a"], ["logs", "-f", "a"], ["top"], ["versions", "a"], ["rollback", "a", "1"],
                  ["remove", "a"], ["usage", "a"]):
        result = run_copy(program, *words, cwd=tmp_path)
        assert result.stdout == " ".join(["fnrun-manage", *words]) + "\n"


def test_fnrun_finds_its_parts_through_a_link(tmp_path):
    program = copy_alone(tmp_path, "fnrun-once")
    link = tmp_path / "link"
    link.symlink_to(program)
    assert run_copy(link, "check", "x", cwd=tmp_path).stdout == "fnrun-once check x\n"


def test_fnrun_finds_its_parts_in_libexec_of_a_moved_installation(tmp_path):
    program = copy_alone(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "libexec/fnrun").mkdir(parents=True)
    moved = tmp_path / "bin/fnrun"
    program.rename(moved)
    once = tmp_path / "libexec/fnrun/fnrun-once"
    once.write_text("#!/bin/sh\necho moved\n", encoding="ascii")
    once.chmod(0o755)
    result = run_copy(moved, "check", "x", cwd=tmp_path)
    if result.stdout != "moved\n" and "no such" in result.stderr:
        pytest.skip("an installed fnrun is found first on this machine")
    assert result.stdout == "moved\n"


def test_a_missing_part_is_named(tmp_path):
    result = run_copy(copy_alone(tmp_path), "doctor", cwd=tmp_path)
    if "a part of fnrun is missing" not in result.stderr:
        pytest.skip("an installed fnrun-manage is found on this machine")
    assert result.returncode == 5
    assert "fnrun-manage" in result.stderr and str(tmp_path) in result.stderr


# --- init ----------------------------------------------------------------------------------

needs_manage = pytest.mark.skipif(not has_part("fnrun-manage"),
                                  reason="fnrun-manage is not beside fnrun")


@needs_manage
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_init_writes_files_that_everybody_may_read(tmp_path, runtime):
    result = fnrun("init", "hello", "--runtime", runtime, cwd=tmp_path, umask=0o077)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    folder = tmp_path / "hello"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    for file in folder.iterdir():
        mode = stat.S_IMODE(file.stat().st_mode)
        runs = file.name in ("run.sh", "handler.so")
        assert mode == (0o755 if runs else 0o644), file
        if file.suffix != ".so":
            assert "@NAME@" not in file.read_text() and "@INCLUDE@" not in file.read_text()
    json.loads((folder / "event.json").read_text())
    assert len((folder / "README.md").read_text().splitlines()) <= 6
    assert "--event @hello/event.json" in (folder / "README.md").read_text()


@needs_manage
def test_init_never_overwrites(tmp_path):
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello/mine").write_text("mine", encoding="ascii")
    assert refuses(fnrun("init", "hello", "--runtime", "python", cwd=tmp_path), 3,
                   "is there already")
    assert [f.name for f in (tmp_path / "hello").iterdir()] == ["mine"]
    (tmp_path / "file").write_text("mine", encoding="ascii")
    assert refuses(fnrun("init", "file", "--runtime", "exec", cwd=tmp_path), 3)
    (tmp_path / "link").symlink_to("elsewhere")
    assert refuses(fnrun("init", "link", "--runtime", "exec", cwd=tmp_path), 3)
    assert not (tmp_path / "elsewhere").exists()


@needs_manage
@pytest.mark.parametrize("name", ["a/b", "../up", "a b", "a.b", "häl", "a" * 65])
def test_init_checks_the_name(tmp_path, name):
    assert refuses(fnrun("init", name, "--runtime", "python", cwd=tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


@needs_manage
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_init_writes_runs_unchanged(tmp_path, runtime):
    if not has_part("fnrun-once"):
        pytest.skip("fnrun-once is not beside fnrun")
    machine = json.loads(fnrun("doctor", "--json").stdout)
    if not machine["ready"]:
        pytest.skip("one-shot calls do not work here (fnrun doctor)")
    states = {item["name"]: item["state"] for item in machine["items"]}
    language = "node" if runtime == "azure" else runtime
    if states.get(language, "ok") != "ok":
        pytest.skip(f"{language} is not on this machine")
    if runtime == "native" and not (shutil.which("make") and shutil.which("cc")):
        pytest.skip("no compiler on this machine")
    tmp_path.chmod(0o755)
    assert fnrun("init", "hello", "--runtime", runtime, cwd=tmp_path, umask=0o077).returncode == 0
    check = fnrun("check", "./hello", cwd=tmp_path)
    assert check.returncode == 0, check.stderr
    call = fnrun("invoke", "./hello", "--event", "@hello/event.json", cwd=tmp_path)
    assert call.returncode == 0, call.stderr
    result = json.loads(call.stdout)
    if runtime == "native":
        assert result["event"] == {"name": "Ada"}
    else:
        body = result["body"] if runtime == "azure" else result
        body = json.loads(body) if isinstance(body, str) else body
        assert body == {"message": "Hello, Ada!"}


# --- doctor -----------------------------------------------------------------------------------


@needs_manage
def test_doctor_has_one_line_on_each_missing_thing():
    result = fnrun("doctor")
    assert result.returncode in (0, 5)
    assert "\033" not in result.stdout, "no colours where stdout is no terminal"
    lines = result.stdout.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("  missing", "  optional", "  weaker")):
            assert lines[number + 1].strip().startswith("-> ")
    assert ("work here" in lines[-1]) and ("not work" in lines[-1]) == (result.returncode == 5)


@needs_manage
def test_doctor_prints_one_object_that_agrees_with_its_exit_status():
    result = fnrun("doctor", "--json")
    report = json.loads(result.stdout)
    assert report["ready"] == (result.returncode == 0)
    assert report["ready"] == (not any(item["needed"] and item["state"] == "missing"
                                       for item in report["items"]))
    names = [item["name"] for item in report["items"]]
    assert len(set(names)) == len(names)
    for name in ["kernel", "user namespaces", "fresh /proc", "mount calls", "overlay",
                 "memory controller", "pids controller", "cpu controller", "control groups",
                 "seccomp filters", "id maps", "systemd", "run folder", "python", "node", "daemon"]:
        assert name in names
    for item in report["items"]:
        assert item["state"] in ("ok", "weaker", "missing", "optional")
        assert item["detail"] and "\n" not in item["detail"] + item["hint"]
        assert (item["hint"] == "") == (item["state"] == "ok"), item


@needs_manage
def test_doctor_says_so_where_user_namespaces_are_off():
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$0" doctor --json'
    result = subprocess.run(["unshare", "-U", "-r", "sh", "-c", script, FNRUN], text=True,
                            capture_output=True, timeout=60, check=False)
    if not result.stdout:
        pytest.skip(f"no user namespace to try it in: {result.stderr.strip()}")
    items = {item["name"]: item for item in json.loads(result.stdout)["items"]}
    assert result.returncode == 5
    assert items["user namespaces"]["state"] == "missing"
    assert "user.max_user_namespaces=" in items["user namespaces"]["hint"]
    assert "user namespaces" in items["pid namespaces"]["hint"]


@needs_manage
def test_doctor_tells_when_a_fresh_proc_cannot_be_mounted():
    script = 'mount --bind /dev/null /proc/uptime && exec "$0" doctor --json'
    result = subprocess.run(["unshare", "-U", "-r", "-m", "sh", "-c", script, FNRUN], text=True,
                            capture_output=True, timeout=60, check=False)
    if not result.stdout:
        pytest.skip(f"/proc could not be covered: {result.stderr.strip()}")
    items = {item["name"]: item for item in json.loads(result.stdout)["items"]}
    assert items["fresh /proc"]["state"] == "missing"
    assert "/proc" in items["fresh /proc"]["hint"]


@needs_manage
def test_doctor_with_a_named_group_that_is_not_there():
    result = fnrun("doctor", "--json", "--cgroup", "fnrun-test-no-such-group")
    items = {item["name"]: item for item in json.loads(result.stdout)["items"]}
    assert result.returncode == 5
    assert items["control groups"]["state"] == "missing"
    assert "fnrun-test-no-such-group" in items["control groups"]["hint"]


@needs_manage
def test_the_scope_command_refuses_what_is_no_process():
    manage = os.path.join(os.path.dirname(os.path.realpath(FNRUN)), "fnrun-manage")
    for words in (["scope"], ["scope", "x"], ["scope", "-1"], ["scope", "12x"], ["scope", "0"]):
        result = subprocess.run([manage, *words], text=True, capture_output=True, timeout=60,
                                check=False)
        assert refuses(result, 2, "fnrun-manage scope PID")


# --- the manual page ------------------------------------------------------------------------

SOURCE = os.environ.get("FNRUN_SOURCE", os.path.join(os.path.dirname(__file__), "../.."))
PAGES = [os.path.join(SOURCE, page) for page in ("cli/fnrun.1", "images/function.ini.5.in")]


def test_the_manual_page_has_every_option_and_exit_status():
    with open(PAGES[0], encoding="utf-8") as file:
        page = file.read().replace("\\-", "-")
    for command in COMMANDS:
        assert f".SS fnrun {command}" in page
        text = fnrun("help", command).stdout
        for option in re.findall(r"--[a-z-]+", text.split("options:")[1]):
            assert option in page, option
        for status in re.findall(r"^  (\d+) ", text, re.MULTILINE):
            assert f"\n.TP\n.B {status}\n" in page, status
        for variable in re.findall(r"environment: (\w+)", text):
            assert f"\n.TP\n.B {variable}\n" in page, variable


def groff_has_nothing_to_say(text):
    if not shutil.which("groff"):
        pytest.skip("groff is not on this machine")
    result = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8"], input=text, text=True,
                            capture_output=True, timeout=60, check=False)
    return (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=os.path.basename)
def test_the_manual_pages_have_no_warnings(page):
    with open(page, encoding="utf-8") as file:
        assert groff_has_nothing_to_say(file.read())


def test_the_page_of_function_ini_has_the_table_of_keys_without_warnings():
    if not has_part("fnrun-once"):
        pytest.skip("fnrun-once is not beside fnrun")
    once = os.path.join(os.path.dirname(os.path.realpath(FNRUN)), "fnrun-once")
    table = subprocess.run([once, "config-man"], text=True, capture_output=True, timeout=60,
                           check=True).stdout
    assert ".SS [limits]" in table and "timeout" in table
    with open(PAGES[1], encoding="utf-8") as file:
        frame = file.read()
    assert frame.count("\n@CONFIG_TABLE@\n") == 1
    assert groff_has_nothing_to_say(frame.replace("@CONFIG_TABLE@\n", table))
