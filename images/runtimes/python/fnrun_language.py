"""The language zygote: one interpreter for the machine, with the runtime's support and much
of the library loaded and never any user's code. Functions that were never run start from
it: each of their zygotes is a child (isolate/launcher.h has the contract, and
images/runtimes/language_client.h what happens between parent and child).

A function shall not be able to tell but by the time it takes. What only an interpreter's own
start can do, or what a loaded module would take from it, is left to one: the child
starts it in its place, which costs what it would have cost without.
"""

import os
import sys

import fnrun_zygote
from fnrun_handler import own_module

_gate = own_module("_gate")

_socket = 3
_before = frozenset(sys.modules)  # what every interpreter has loaded by now

# What functions commonly import, with all that these bring along. Each costs memory that
# the machine gives once: together about 9 MB.
_library = (
    "base64 collections contextlib copy csv dataclasses datetime decimal email.message "
    "email.parser enum functools glob gzip hashlib hmac html http.client io itertools json "
    "logging math operator os.path pathlib pickle queue random re secrets shutil socket ssl "
    "string struct subprocess tempfile textwrap threading time traceback types typing "
    "urllib.error urllib.parse urllib.request uuid warnings weakref zlib")


def main():
    """The whole life of the language zygote; goes on as a zygote in each of its children.
    Does not return in either."""
    del os.environ["FNRUN_LANGUAGE"]
    zone = os.environ.get("TZ")
    for name in ("fnrun_errors", "fnrun_logging", "fnrun_renew", "fnrun_settle"):
        own_module(name)
    for name in _library.split():
        __import__(name)
    taken = {name.partition(".")[0] for name in sys.modules if name not in _before}
    _rehearse()
    _rest()
    address_of = sys.modules["fnrun_renew"].address_of
    asked = _gate.serve(_socket, address_of(None, "__rseq_offset"), address_of(None, "__rseq_size"))

    if not asked:
        _warm_up()
    environment = _gate.become_zygote(_memory_map(), _read("/proc/self/auxv"))

    _take_environment(environment)
    if _is_other(taken):
        _start_anew()
    if os.environ.get("TZ") != zone:
        sys.modules["time"].tzset()
    sys.modules["threading"].main_thread()._set_native_id()
    _open_streams()
    fnrun_zygote.main()


def _rehearse():
    """Once for all functions: code settles how it is run. A function's own set-up is not
    anticipated, so the log's is taken back."""
    logging, own = sys.modules["logging"], sys.modules["fnrun_logging"]
    own.set_up(logging)
    for _ in range(fnrun_zygote._rehearsals):
        _rehearse_once()
    logging.getLogger().handlers.clear()
    own._rehearsal = None
    fnrun_zygote._rehearsals = 1


def _rehearse_once():
    for hook in fnrun_zygote._library_hooks():
        hook()
    fnrun_zygote._rehearse()


def _warm_up():
    """While nobody waits: what a zygote will do next, so that the pages it will write are
    this process's own by then."""
    sys.modules["fnrun_renew"].prepare()
    _rehearse_once()
    _take_environment(b"FNRUN_LANGUAGE=1")
    _open_streams()
    del sys.modules["fnrun_settle"]
    own_module("fnrun_settle")


def _rest():
    """What is here now is in all children, and no collection of theirs writes to it."""
    import gc
    sys.modules["fnrun_settle"].unshare()
    gc.collect()
    gc.freeze()


def _read(path):
    with open(path, "rb") as file:
        return file.read()


def _memory_map():
    """struct prctl_mm_map: proc(5) names the fields, counted from 1, of /proc/self/stat."""
    fields = (b"0 0 " + _read("/proc/self/stat").rpartition(b") ")[2]).split()

    def field(number):
        return int(fields[number - 1])

    return sys.modules["struct"].pack("=11QQII", field(26), field(27), field(45), field(46), field(47), 0, field(28),
                field(48), field(49), 0, 0, 0, 0, 0xffffffff)


def _take_environment(environment):
    os.environ.clear()
    for entry in environment.split(b"\0"):
        name, is_one, value = entry.partition(b"=")
        if is_one:
            os.environb[name] = value


def _is_other(taken):
    """Whether a file or package of the function's stands before a module of the library that
    is loaded here: an import has to find it."""
    task_root = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
    for entry in os.listdir(task_root):
        name, dot, _ = entry.partition(".")
        if name in taken and (dot or _is_package(f"{task_root}/{entry}")):
            return True
    return False


def _is_package(path):
    try:
        return any(entry.startswith("__init__.") for entry in os.listdir(path))
    except OSError:
        return False


def _start_anew():
    os.execve(sys.executable, sys.orig_argv, os.environ)


def _open_streams():
    """As an interpreter opens them when it starts; those of the language zygote are another
    kind of file's."""
    io = sys.modules["io"]
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        old = getattr(sys, name)
        binary = io.open(descriptor, mode + "b", closefd=False)
        binary.raw.name = f"<{name}>"
        stream = io.TextIOWrapper(binary, old.encoding, old.errors, "\n",
                                  line_buffering=name == "stderr")
        stream.mode = mode
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
