"""The language zygote: functions in python that were never run start from a process that has
an interpreter and no user's code, and cannot tell but by the time it takes."""

import os
import pathlib
import signal

import outside
import pytest
from daemon import Parts, eventually

# What a function can see of how its interpreter came to be. Asked while it is loaded, and
# again by its event.
LOOK = """
import os, sys
def look():
    before = set(sys.modules)
    import ctypes, gc, io, locale, resource, signal, stat, threading, time, warnings, json
    def text(path):
        with open(path, "rb") as file:
            return file.read()
    status = dict(line.split(":", 1) for line in text("/proc/self/status").decode().splitlines())
    auxv = memoryview(text("/proc/self/auxv")).cast("L").tolist()
    streams = []
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        streams.append([repr(stream), stream.errors, stream.line_buffering, stream.write_through, stream.seekable(),
                        stream.isatty(), stream.newlines, type(stream.buffer).__name__, repr(stream.buffer.raw)])
    def kind(fd):
        try:
            return stat.S_IFMT(os.fstat(fd).st_mode)
        except OSError:
            return None
    main = sys.modules["__main__"]
    return {
        "flags": repr(sys.flags), "argv": sys.argv, "orig_argv": sys.orig_argv, "path": sys.path,
        "executable": [sys.executable, sys.prefix, sys.base_prefix], "main": sorted(vars(main)),
        "locale": [locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()],
        "signals": [repr(signal.getsignal(number)) for number in range(1, 65) if number not in (32, 33)],
        "status": {key: value for key, value in status.items()
                   if key.startswith(("Sig", "Shd", "Cap", "NoNew", "Sec", "Uid", "Gid", "Groups", "Name", "Umask", "Cpus"))
                   and key != "SigQ"},
        "warnings": [repr(entry) for entry in warnings.filters], "umask": os.umask(0o22),
        "streams": streams, "descriptors": [kind(fd) for fd in range(64)],
        "environment": list(os.environ.items()), "start": text("/proc/self/environ").split(b"\\0")[:-1] and
        [entry.decode() for entry in text("/proc/self/environ").split(b"\\0")[:-1]],
        "command": text("/proc/self/cmdline").decode(), "comm": text("/proc/self/comm").decode(),
        "auxv": sorted((key, value) for key, value in zip(auxv[::2], auxv[1::2]) if key in (11, 12, 13, 14, 23)),
        "limits": [resource.getrlimit(number) for number in range(16)], "nice": os.nice(0),
        "oom": text("/proc/self/oom_score_adj").decode(),
        "folder": os.getcwd(), "session": os.getsid(0) == os.getpid(),
        "thread": [threading.main_thread().native_id == os.getpid(), threading.main_thread() is threading.current_thread(),
                   threading.main_thread().ident == threading.get_ident(), threading.active_count()],
        "keys": [ctypes.CDLL(None).prctl(number, 0, 0, 0, 0) for number in (3, 7, 27, 30, 39, 42)],
        "time": [time.tzname, time.timezone], "recursion": sys.getrecursionlimit(), "switch": sys.getswitchinterval(),
        "gc": [gc.isenabled(), gc.get_threshold()], "hooks": [sys.excepthook is sys.__excepthook__, sys.gettrace()],
        "cpu": ctypes.CDLL(None).sched_getcpu() in os.sched_getaffinity(0),
    }
loaded = look()
def child(out):
    out.put((os.getppid(), __name__, os.getcwd()))
def handler(event, context):
    import multiprocessing, json
    out = {"loaded": loaded, "event": look(), "parent": os.getppid(), "pid": os.getpid()}
    for way in ("fork", "spawn"):
        methods = multiprocessing.get_context(way)
        queue = methods.SimpleQueue()
        process = methods.Process(target=child, args=(queue,))
        process.start()
        out[way] = queue.get()
        process.join()
        out[way + " status"] = process.exitcode
    return out
"""


def stack_of(pid):
    """Where its program's arguments lie: the same in all copies of one program's start."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[48 - 3]


def language_of(daemon):
    """The language zygote that is ready: its next child waits for a request."""
    def find():
        launcher = daemon.parts().launcher
        for pid in daemon.parts().language:
            if outside.status_of(pid)["PPid"].strip() == str(launcher[0]):
                return pid if outside.descendants(pid) and is_listening(pid) else None
        return None
    return eventually(find, "the language zygote")


def is_listening(pid):
    """Whether one of its children waits for a message."""
    for child in outside.descendants(pid):
        try:
            if "unix" in pathlib.Path(f"/proc/{child}/wchan").read_text() or \
                    pathlib.Path(f"/proc/{child}/syscall").read_text().startswith("47 "):
                return True
        except OSError:
            pass
    return False


def shares_start(daemon, language):
    zygotes = daemon.parts().zygotes
    assert len(zygotes) == 1, daemon.parts()
    return stack_of(zygotes[0]) == stack_of(language)


def restart(daemon, language=None):
    """Without anything running: what was deployed has never been run by this one."""
    daemon.stop()
    daemon.start()
    return language_of(daemon)


HELLO = "def handler(event, context): return 'hello'\n"


def test_a_function_that_was_never_run_starts_from_the_language_zygote(daemon):
    daemon.python("hello", HELLO)
    language = restart(daemon)
    assert daemon.invoke("hello").result() == "hello"
    assert shares_start(daemon, language)


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "PYTHONPATH", "LD_BIND_NOW", "LC_ALL", "HOME"])
def test_variables_that_only_a_start_can_honour_get_one(daemon, name):
    daemon.python("hello", "import os\nseen = os.environ.get(%r)\ndef handler(event, context): return seen\n" % name,
                  f"[environment]\n{name} = 1\n")
    language = restart(daemon)
    assert daemon.invoke("hello").result() == "1"
    assert not shares_start(daemon, language)


def test_a_function_cannot_tell_how_its_interpreter_started(daemon):
    """But for the name of the one variable that makes the difference here."""
    daemon.python("shared", LOOK, "[environment]\nMARK = 1\n")
    daemon.python("alone", LOOK, "[environment]\nPYTHONMARK = 1\n")
    seen = {}
    for name in ("shared", "alone"):
        language = restart(daemon)
        seen[name] = daemon.invoke(name).result()
        assert shares_start(daemon, language) == (name == "shared")
    same = str(seen["alone"]).replace("PYTHONMARK", "MARK").replace("'alone'", "'shared'").replace("=alone'", "=shared'") \
        .replace("/alone'", "/shared'")
    alone = eval(same)  # noqa: S307: our own dict
    for when in ("loaded", "event"):
        for key in ("environment", "start"):
            for one in (seen["shared"], alone):
                one[when][key] = [entry for entry in one[when][key] if "LOG_STREAM" not in str(entry)]
        for key, value in seen["shared"][when].items():
            assert value == alone[when][key], (when, key)
    for key in seen["shared"].keys() - {"loaded", "event"}:
        assert seen["shared"][key] == alone[key], key
    assert seen["shared"]["parent"] == 0 and seen["shared"]["pid"] == 2
    assert seen["shared"]["loaded"]["thread"] == [True, True, True, 1] and seen["shared"]["loaded"]["cpu"]


@pytest.mark.parametrize("files", [
    {"json.py": "mine = True\n"},
    {"json/__init__.py": "mine = True\n"},
    {"decimal.py": "mine = True\n", "app.py": "import decimal as json\n"},
], ids=["module", "package", "other"])
def test_a_module_of_the_functions_stands_before_the_librarys(daemon, files):
    text = files.get("app.py", "import json\n") + "def handler(event, context): return json.mine\n"
    daemon.deploy("own", files | {"app.py": text})
    language = restart(daemon)
    assert daemon.invoke("own").result() is True
    assert not shares_start(daemon, language)


def test_a_folder_of_data_with_a_modules_name_is_no_module(daemon):
    daemon.deploy("data", {"json/data.txt": "x", "app.py": "import json\ndef handler(e, c): return json.dumps([open('json/data.txt').read()])\n"})
    language = restart(daemon)
    assert daemon.invoke("data").result() == '["x"]'
    assert shares_start(daemon, language)


def test_a_killed_language_zygote_comes_back_and_is_not_missed(daemon):
    for name in ("first", "second"):
        daemon.python(name, HELLO)
    language = restart(daemon)
    os.kill(language, signal.SIGKILL)
    assert daemon.invoke("first").result() == "hello"
    other = eventually(lambda: language_of(daemon) != language and language_of(daemon), "another one")
    first = daemon.parts().zygotes
    assert daemon.invoke("second").result() == "hello"
    second = set(daemon.parts().zygotes) - set(first)
    assert [stack_of(pid) for pid in second] == [stack_of(other)]
    assert daemon.said("will be started again")


def test_the_language_zygote_has_no_rights_and_an_id_of_no_environment(daemon):
    daemon.python("hello", HELLO)
    language = language_of(daemon)
    assert daemon.invoke("hello").result() == "hello"
    for pid in [language, *outside.descendants(language)]:
        status = outside.status_of(pid)
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(status[name], 16) == 0, (pid, name)
        assert status["NoNewPrivs"].strip() == "1" and not status["Groups"].split()
        ids = set(status["Uid"].split())
        assert len(ids) == 1 and ids == set(status["Gid"].split())
        owner = int(ids.pop())
        assert owner != 0
        for keeper in daemon.parts().keepers:
            for kind in ("uid_map", "gid_map"):
                for line in pathlib.Path(f"/proc/{keeper}/{kind}").read_text().splitlines():
                    _, first, count = map(int, line.split())
                    assert not first <= owner < first + count
        files = pathlib.Path(f"/proc/{pid}/maps").read_text()
        assert "/var/task" not in files


def test_the_network_is_the_machines_only_if_it_was_asked_for(daemon):
    text = "import os\nseen = os.readlink('/proc/self/ns/net')\ndef handler(event, context): return seen\n"
    daemon.python("none", text)
    daemon.python("host", text, "[network]\nmode = host\n")
    own = os.readlink("/proc/self/ns/net")
    for name, same in (("none", False), ("host", True)):
        language = restart(daemon)
        assert (daemon.invoke(name).result() == own) == same
        assert shares_start(daemon, language)


def test_two_functions_of_one_language_zygote_draw_different_numbers(daemon):
    text = ("import random, ssl, uuid, tempfile\n"
            "seen = [random.random(), ssl.RAND_bytes(8).hex(), str(uuid.uuid4()), tempfile.mktemp()]\n"
            "def handler(event, context): return seen + [random.random(), ssl.RAND_bytes(8).hex()]\n")
    for name in ("one", "two"):
        daemon.python(name, text)
    language_of(daemon)
    drawn = [daemon.invoke(name).result() for name in ("one", "two", "one", "two")]
    assert not set(drawn[0]) & set(drawn[1])
    # Of one function's calls, what it drew for itself while it was loaded is the same.
    assert not set(drawn[0][4:]) & set(drawn[2][4:])


def test_nothing_of_it_is_left_when_the_daemon_is_killed(daemon):
    language = language_of(daemon)
    handles = [os.pidfd_open(pid) for pid in [language, *outside.descendants(language)]]
    daemon.stop(signal.SIGKILL)
    for handle in handles:
        eventually(lambda: is_dead(handle), "its end")
        os.close(handle)


def is_dead(handle):
    import select
    return bool(select.select([handle], [], [], 0)[0])
