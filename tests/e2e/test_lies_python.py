"""Python functions that are forked: what one event leaves the next never sees, twins draw
different random numbers, and code that cannot be copied is started ahead instead, with the
reason named."""

import subprocess

import pytest

import outside
from daemon import eventually
from liar_harness import daemon_of_a_file, deployed

PYTHON = "/usr/bin/python3"
ONE = "[limits]\nprocesses = 64\ntimeout = 20s\n[scale]\nconcurrency = 1\n"


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Looked at when the daemon has ended."""


@pytest.fixture(scope="module")
def daemon():
    yield from daemon_of_a_file()


@pytest.fixture
def python(daemon):
    return lambda text, ini=ONE: deployed(daemon, {"app.py": text}, ini)


def has_module(name):
    return subprocess.run([PYTHON, "-c", f"import {name}"], stderr=subprocess.DEVNULL, check=False).returncode == 0


# --- nothing is left ------------------------------------------------------------------------

LEAVES = '''
import os, glob, threading, logging, random, sys
count, kept = 0, []
def handler(event, context):
    global count
    count += 1
    kept.append(event)
    os.environ["TRACE"] = os.environ.get("TRACE", "") + "x"
    sys.modules["trace"] = None
    seen = {"count": count, "kept": kept, "trace": os.environ["TRACE"], "pid": os.getpid(),
            "files": glob.glob("/tmp/*") + glob.glob("/tmp/.*"), "threads": threading.active_count(),
            "processes": [pid for pid in os.listdir("/proc") if pid.isdigit()],
            "descriptors": sorted(os.listdir("/proc/self/fd")), "folder": os.getcwd(),
            "handlers": len(logging.getLogger().handlers)}
    open("/tmp/trace", "w").write("trace")
    open("/dev/shm/trace", "w").write("trace")
    os.chdir("/tmp")
    logging.getLogger().addHandler(logging.NullHandler())
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    if os.fork() == 0:
        os.setsid()
        while True:
            os.read(os.pipe()[0], 1)
    return seen
'''


def test_an_event_finds_nothing_of_the_ones_before_it(python):
    with python(LEAVES) as function:
        assert function.way == "fork", function.why
        function.settle()
        counts = function.counts()
        first, *rest = function.results(6, 1)
        assert rest == [first] * 5
        assert function.counts() == counts, "the slot was used again each time"
    assert (first["count"], first["kept"], first["trace"], first["pid"]) == (1, [1], "x", 2)
    assert (first["files"], first["threads"], first["processes"]) == ([], 1, ["2"])
    assert first["folder"] == "/var/task"


USES = '''
import asyncio, concurrent.futures, multiprocessing, sqlite3, subprocess, threading
async def wait():
    await asyncio.sleep(0)
    return "asyncio"
def handler(event, context):
    said = [asyncio.run(wait())]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        said.append(sum(pool.map(abs, range(-10, 0))))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        said.append(pool.map(abs, [-1, -2]))
    with multiprocessing.Lock():
        said.append(subprocess.run(["/bin/sh", "-c", "exit 3"]).returncode)
    base = sqlite3.connect("/tmp/base")
    said.append(base.execute("pragma journal_mode=wal").fetchone()[0])
    base.execute("create table t(x)")
    base.execute("insert into t values (1)")
    base.commit()
    return said + [base.execute("select count(*) from t").fetchone()[0]]
'''


def test_threads_pools_loops_and_databases_work_in_the_process_of_an_event(python):
    with python(USES) as function:
        assert function.way == "fork", function.why
        assert function.results(3) == [["asyncio", 55, [1, 2], 3, "wal", 1]] * 3


# --- what is started ahead ------------------------------------------------------------------

AHEAD = {
    "a thread": ("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
                 "threads: 2 after loading (python"),
    "a thread pool that was used": (
        "import concurrent.futures\npool = concurrent.futures.ThreadPoolExecutor(2)\npool.submit(abs, 1).result()",
        "threads: 2 after loading (python"),
    "an open file": ("kept = open(__file__)", "an open file after loading: descriptor 3 (/var/task/app.py)"),
    "a connection": ("import socket\nkept = socket.socketpair()", "an open file after loading: descriptor 3 (socket:["),
    "an event loop": ("import asyncio\nkept = asyncio.new_event_loop()",
                      "an open file after loading: descriptor 3 (anon_inode:[eventpoll])"),
    "a lock between processes": ("import multiprocessing\nkept = multiprocessing.get_context('fork').Lock()",
                                 "shared memory: a writable shared mapping of /dev/shm/"),
    "shared memory": ("import mmap\nkept = mmap.mmap(-1, 4096)", "shared memory: a writable shared mapping of /dev/zero"),
    "a database in WAL mode": (
        "import sqlite3\nkept = sqlite3.connect('/tmp/base')\nkept.execute('pragma journal_mode=wal')\n"
        "kept.execute('create table t(x)')", "an open file after loading: descriptor 3 (/tmp/base)"),
    "a process": ("import subprocess\nkept = subprocess.Popen(['sleep', '1000'])", "processes: 2 after loading"),
    "another working directory": ("import os\nos.chdir('/tmp')", "the copy's working directory is elsewhere"),
    "a hook that ends each child": ("import os\nos.register_at_fork(after_in_child=lambda: os._exit(1))",
                                    "the process ended before its event"),
}


@pytest.mark.parametrize("what", AHEAD)
def test_code_that_cannot_be_copied_is_started_ahead(python, what):
    code, why = AHEAD[what]
    with python(code + "\ndef handler(event, context):\n    return event\n") as function:
        if "/dev/shm/" in why:  # a link to /tmp in some images
            why = why.removesuffix("/dev/shm/")
        assert (function.way, function.why[:len(why)]) == ("ahead", why)
        assert function.invoke(7).result() == 7


def test_what_the_loading_code_started_ends_with_its_zygote(daemon, python):
    """In the slots where it is started ahead it has started it as well."""
    with python("import subprocess\nkept = subprocess.Popen(['sleep', '1000'])\ndef handler(event, context): return 1\n") as function:
        assert function.way == "ahead"

        def outside_of_slots():
            found = []
            for pid in outside.descendants(daemon.process.pid):
                try:
                    status = outside.status_of(pid)
                except OSError:
                    continue
                if status["Name"].strip() == "sleep" and len(status["NSpid"].split()) < 3:
                    found.append(pid)
            return found

        eventually(lambda: not outside_of_slots(), "the end of the zygote's child")


def test_a_merely_imported_library_is_forked(python):
    text = ("import asyncio, concurrent.futures, ctypes, decimal, json, logging, multiprocessing, sqlite3, ssl, "
            "urllib.request\npool = concurrent.futures.ThreadPoolExecutor(2)\n"
            "def handler(event, context):\n    return pool.submit(abs, event).result()\n")
    with python(text) as function:
        assert (function.way, function.why) == ("fork", "")
        assert function.results(3, -5) == [5] * 3


def test_a_timer_that_was_set_while_loading_does_no_harm(python):
    text = ("import signal\nticks = 0\ndef tick(*_):\n    global ticks\n    ticks += 1\n"
            "signal.signal(signal.SIGALRM, tick)\nsignal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)\n"
            "def handler(event, context):\n    return event\n")
    with python(text) as function:
        assert (function.way, function.why) == ("fork", "")
        assert function.settle().results(10, 1) == [1] * 10


def test_a_timer_of_an_event_does_not_cost_it_its_answer(python):
    text = ("import signal\nsignal.signal(signal.SIGALRM, lambda *_: None)\n"
            "def handler(event, context):\n    signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)\n    return event\n")
    with python(text) as function:
        assert function.settle().results(50, 1) == [1] * 50


# --- randomness -------------------------------------------------------------------------------

RANDOM = '''
import hashlib, multiprocessing, os, random, secrets, ssl, tempfile, uuid
try:
    import numpy
except ImportError:
    numpy = None
try:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
except ImportError:
    ec = None
def draw():
    drawn = {"random": random.random(), "choice": random.getrandbits(64), "uuid4": str(uuid.uuid4()),
             "uuid1": str(uuid.uuid1()), "secrets": secrets.token_hex(), "urandom": os.urandom(8).hex(),
             "openssl": ssl.RAND_bytes(16).hex(), "tempfile": next(tempfile._get_candidate_names()),
             "authkey": multiprocessing.current_process().authkey.hex()}
    if numpy:
        drawn["numpy"] = float(numpy.random.random())
        drawn["numpy generator"] = float(numpy.random.default_rng().random())
    if ec:
        key = ec.generate_private_key(ec.SECP256R1())
        drawn["key"] = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                         serialization.NoEncryption()).hex()
    return drawn
%s
def handler(event, context):
    return draw()
'''


@pytest.mark.parametrize("loading", ["", "drawn = draw()"], ids=["first used in the event", "used while loading"])
def test_twenty_events_draw_twenty_different_random_numbers(python, loading):
    with python(RANDOM % loading, ONE.replace("concurrency = 1", "concurrency = 2")) as function:
        if function.way != "fork" and "threads" in function.why:
            pytest.skip(f"a library of this machine cannot be copied: {function.why}")
        assert (function.way, function.why) == ("fork", "")
        drawn = function.results(20)
    for name in drawn[0]:
        assert len({answer[name] for answer in drawn}) == 20, name
    assert ("numpy" in drawn[0]) == has_module("numpy")
    assert ("key" in drawn[0]) == has_module("cryptography")
