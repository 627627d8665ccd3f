"""The python runtime as a zygote: isolate/gate.h with a stand-in for the keeper."""

import json
import os
import shutil
import signal
import subprocess
import textwrap

import pytest

from fake_runner import run
from supervised import (PYTHON, Zygote, compile_c, make_supervisor, needs_huge_pages,
                        staged_python)


@pytest.fixture(scope="session")
def supervisor(tmp_path_factory):
    return make_supervisor(tmp_path_factory.mktemp("supervisor"))


@pytest.fixture(scope="session")
def runtime(tmp_path_factory):
    return staged_python(tmp_path_factory.mktemp("runtimes"))


@pytest.fixture
def zygote(supervisor, runtime, tmp_path):
    """zygote(source, files={}, handler="app.handler") -> a Zygote, with its first slot"""
    started = []

    def start(source, files=None, handler="app.handler", env=None, slot=True):
        for name, text in {"app.py": source, **(files or {})}.items():
            (tmp_path / name).write_text(textwrap.dedent(text))
        made = Zygote(supervisor, [PYTHON, runtime / "bootstrap.py"],
                      env={"_HANDLER": handler, "LAMBDA_TASK_ROOT": str(tmp_path), **(env or {})})
        started.append(made)
        if slot:
            facts = made.slot()
            assert isinstance(facts, dict), facts
        return made

    yield start
    for one in started:
        one.__exit__()


def returns(expression, before=""):
    return f"{textwrap.dedent(before)}\ndef handler(event, context):\n    return {expression}\n"


def does(body, before=""):
    return (textwrap.dedent(before) + "\ndef handler(event, context):\n"
            + textwrap.indent(textwrap.dedent(body), "    "))


# --- the life of the processes --------------------------------------------------------


def test_every_event_has_a_process_of_its_own_with_the_loaded_state(zygote):
    made = zygote(does("""
        seen.append(event)
        return [seen, os.getpid(), context.aws_request_id]
        """, "import os\nseen = ['loaded']"))
    first = made.event(b'{"a": 1}', request_id="r-1").value
    second = made.event(b"[2]", request_id="r-2").value
    assert (first[0], first[2]) == (["loaded", {"a": 1}], "r-1")
    assert (second[0], second[2]) == (["loaded", [2]], "r-2")
    assert first[1] != second[1]


def test_a_slots_copy_joins_everything_and_keeps_nothing(zygote, tmp_path):
    made = zygote(returns("1"), slot=False)
    slot = made.slot()
    assert slot["joined"] == ("setns:20000000 setns:20000 setns:8000000 setns:4000000 "
                              "setns:2000000 setns:40000000 gid:1092 uid:1092")
    assert (slot["descriptors"], slot["session"], slot["moved"]) == (0, True, "0")
    assert slot["folder"] == str(tmp_path)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert f"{name}:\t0000000000000000\n" in slot["status"]
    assert "Threads:\t1\n" in slot["status"]
    assert slot["zygote_descriptors"] == 3
    for _ in range(2):
        assert made.slot()["zygote_descriptors"] == 3
        assert made.event().value == 1


def test_a_process_of_an_event_has_descriptors_0_1_2_alone(zygote):
    made = zygote(returns("[[n for n in os.listdir('/proc/self/fd') if int(n) != 3], "
                          "os.getpgrp() == os.getpid()]", "import os"))
    assert made.event().value == [["0", "1", "2"], True]


def test_what_the_one_shot_path_shows_of_itself_is_the_same(zygote, runtime, tmp_path):
    source = does("""
        main = sys.modules['__main__']
        return [__name__, sys.argv, sys.path, sorted(vars(main)), main.__name__, os.getcwd(),
                sorted(k for k in os.environ if k != 'PWD'), sys.flags.safe_path
                if hasattr(sys.flags, 'safe_path') else None, sys.stdout.line_buffering,
                sys.stdout.errors, sys.stdout.fileno(), sys.dont_write_bytecode, __file__,
                threading.current_thread().name, threading.current_thread() is
                threading.main_thread(), gc.isenabled()]
        """, "import gc, os, sys, threading")
    made = zygote(source).event().value
    once = run([PYTHON, runtime / "bootstrap.py"],
               env={"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": str(tmp_path)}).value
    assert made == once


def test_a_process_that_dies_takes_only_its_event_along(zygote):
    made = zygote(does("""
        if event == 1: os.kill(os.getpid(), signal.SIGKILL)
        if event == 2: os.abort()
        if event == 3: signal.raise_signal(signal.SIGTERM)
        if event == 4: os._exit(3)
        return event
        """, "import os, signal"))
    for event, number in ((1, signal.SIGKILL), (2, signal.SIGABRT), (3, signal.SIGTERM)):
        answer = made.event(b"%d" % event)
        assert (answer.kind, os.WTERMSIG(answer.status)) == ("died", number)
    answer = made.event(b"4")
    assert (answer.kind, os.WEXITSTATUS(answer.status)) == ("died", 3)
    assert made.event(b"5").value == 5


# --- events and answers -----------------------------------------------------------------


def test_big_events_and_results_go_through_whole(zygote):
    made = zygote(returns("event"))
    for length in (65_000, 65_600, 6_000_000):
        event = json.dumps("x" * length).encode()
        assert made.event(event).reply == event


@pytest.mark.parametrize("expression", ["b'[1]'", "bytearray(b'[1]')"])
def test_a_bytes_result_goes_out_as_it_is(zygote, expression):
    assert zygote(returns(expression)).event().reply == b"[1]"


def test_the_context_is_that_of_the_event(zygote):
    made = zygote(returns("[context.get_remaining_time_in_millis() > 50_000, "
                          "context.client_context.custom, os.environ['_X_AMZN_TRACE_ID']]",
                          "import os"))
    answer = made.event(timeout_ms=60_000, client_context='{"custom": 1}', trace_id="Root=1")
    assert answer.value == [True, 1, "Root=1"]


ERRORS = [
    ("raise ValueError('é')", "ValueError"),
    ("return {1}", "Runtime.MarshalError"),
    ("import sys; sys.exit(3)", "Runtime.ExitError"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("import no_such_module", "ModuleNotFoundError"),
    ("return handler(event, context)", "RecursionError"),
    ("return json.loads('{')", "JSONDecodeError"),
]


@pytest.mark.parametrize("statement, kind", ERRORS)
def test_errors_are_the_same_objects_and_log_lines_as_by_frames(zygote, runtime, tmp_path,
                                                                statement, kind):
    made = zygote(does(statement, "import json")).event(request_id="r-9")
    once = run([PYTHON, runtime / "bootstrap.py"], request_id="r-9",
               env={"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": str(tmp_path)})
    assert made.kind == "error"
    assert made.error["errorType"] == kind
    if kind == "RecursionError":  # how deep it was is of no importance
        assert made.error["errorMessage"] == once.error["errorMessage"]
    else:
        assert json.loads(made.reply) == once.error
        assert (made.stdout, made.stderr) == (once.stdout, once.stderr)


def test_an_event_that_is_not_json_is_an_unmarshal_error(zygote):
    assert zygote(returns("1")).event(b"{").error["errorType"] == "Runtime.UnmarshalError"


def test_running_out_of_memory_is_an_error_object(zygote):
    made = zygote(does("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
        held = []
        for size in (1 << 20, 1 << 10, 16):
            try:
                while True:
                    held.append(bytearray(size))
            except MemoryError:
                pass
        held.append([0] * (1 << 24))
        """))
    assert made.event().error["errorType"] == "MemoryError"


# --- loading ------------------------------------------------------------------------------


@pytest.mark.parametrize("source, kind", [
    ("import no_such_module", "Runtime.ImportModuleError"),
    ("def handler(", "Runtime.UserCodeSyntaxError"),
    ("1 / 0", "ZeroDivisionError"),
    ("x = 1", "Runtime.HandlerNotFound"),
    ("import sys; sys.exit(4)", "Runtime.ExitError"),
])
def test_what_cannot_be_loaded_is_told_to_the_keeper_as_by_frames(zygote, runtime, tmp_path,
                                                                  source, kind):
    made = zygote(source, slot=False)
    failed = made.slot()
    once = run([PYTHON, runtime / "bootstrap.py"], request_id=None,
               env={"_HANDLER": "app.handler", "LAMBDA_TASK_ROOT": str(tmp_path)})
    assert failed.kind == "failed"
    assert failed.error["errorType"] == kind
    assert failed.reply == once.frames[0][1]
    assert b"[ERROR]" in made.end()


def test_a_module_that_forks_while_it_is_loaded_makes_one_zygote(zygote):
    made = zygote(returns("1", """
        import os
        if os.fork():
            os.wait()
        """))
    assert made.event().value == 1


def test_the_function_does_not_see_how_it_is_run(zygote):
    assert zygote(returns("[k for k in os.environ if 'FNRUN' in k]",
                          "import os")).event().value == []


# --- the log ------------------------------------------------------------------------------


def test_output_is_in_the_log_before_the_answer(zygote):
    answer = zygote(does("print('out', end=''); sys.stderr.write('err')", "import sys")).event()
    assert (answer.stdout, answer.stderr) == (b"out", b"err")


def test_output_of_loading_is_the_zygotes_and_printed_once(zygote):
    made = zygote(returns("1", "import sys\nprint('loading', end='')\n"
                          "sys.stderr.write('problem')"))
    assert [made.event().stdout, made.event().stderr] == [b"", b""]
    log = made.end()
    assert (log.count(b"loading"), log.count(b"problem")) == (1, 1)


def test_what_c_code_holds_is_in_the_log(zygote):
    made = zygote(does("ctypes.CDLL(None).printf(b'from C')", "import ctypes"))
    assert made.event().stdout == b"from C"
    made = zygote(does("import ctypes; ctypes.CDLL(None).printf(b'from C')"))
    assert made.event().stdout == b"from C"


def test_what_a_vendored_extension_prints_is_in_the_log(zygote, tmp_path):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: apt-get install gcc")
    source = tmp_path / "talk.c"
    source.write_text("""
        #include <stdio.h>
        void *PyModule_Create2(void *definition, int version);
        extern char _Py_NoneStruct[];
        static void *say(void *self, void *none) {
            (void)self, (void)none;
            printf("from C");
            ++*(long *)_Py_NoneStruct;
            return _Py_NoneStruct;
        }
        static struct { char *name; void *call; int flags; char *doc; } functions[] = {
            {"say", (void *)say, 4, 0}, {0}};
        static void *definition[16] = {(void *)1, 0, 0, 0, 0, "talk", 0, (void *)-1, functions};
        void *PyInit_talk(void) { return PyModule_Create2(definition, 1013); }
        """)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "talk.so", source], check=True)
    assert zygote(does("talk.say()", "import talk")).event().stdout == b"from C"


def test_log_lines_carry_the_id_of_their_event(zygote):
    made = zygote(does("logging.getLogger().warning('w %s', event)", "import logging"))
    for number in (b"1", b"2"):
        lines = made.event(number, request_id=f"r-{number.decode()}").stdout.split(b"\t")
        assert (lines[0], lines[2:]) == (b"[WARNING]", [b"r-" + number, b"w " + number + b"\n"])


# --- the trial ------------------------------------------------------------------------------


def test_a_trial_runs_nothing_of_the_function_and_prints_nothing(zygote):
    made = zygote(does("print('called'); return 1", """
        import json, logging
        class Mine(logging.Handler):
            def emit(self, record): print('emitted')
        logging.getLogger().addHandler(Mine())
        logging.getLogger().addFilter(lambda record: print('filtered') or True)
        """))
    answer = made.trial()
    assert (answer.kind, answer.reply, answer.stdout, answer.stderr) == ("trial", b"", b"", b"")
    assert made.event().stdout == b"called\n"


def test_the_pages_that_a_trial_wrote_are_touched_before_a_later_event(zygote):
    made = zygote(returns("event", "import json, logging"))
    made.trial()
    made.slot()
    facts = made.event().facts
    assert facts["touched"] == facts["pages"] > 50


def test_a_function_whose_files_have_library_names_can_rehearse(zygote):
    broken = "def dumps(*a): print('mine')\ndef getLogger(*a): print('mine')\n"
    made = zygote(returns("event", "import json, logging"),
                  files={"json.py": broken, "logging.py": broken})
    answer = made.trial()
    assert (answer.kind, answer.stdout, answer.stderr) == ("trial", b"", b"")
    assert made.event(b"1").value == 1


def test_a_trial_does_not_run_what_was_put_in_the_place_of_library_functions(zygote):
    made = zygote(returns("1", """
        import json, logging
        json.dumps = json.loads = lambda *a: print("mine")
        logging.LogRecord = lambda *a: print("mine")
        """))
    answer = made.trial()
    assert (answer.kind, answer.stdout, answer.stderr) == ("trial", b"", b"")
    assert b"mine" not in made.end()


# --- randomness -----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def one_pid(tmp_path_factory):
    """Every process of a slot may have the pid that others had before. Libraries that tell
    copies apart by it (OpenSSL, tempfile) must not be left to do so: here all have one."""
    folder = tmp_path_factory.mktemp("pid")
    (folder / "pid.c").write_text("int getpid(void); int getpid(void) { return 4242; }\n")
    library = compile_c(folder / "pid.so", "-shared", "-fPIC", folder / "pid.c")
    return {"LD_PRELOAD": str(library)}


@pytest.mark.parametrize("expression, before", [
    ("random.random()", "import random; random.seed(1)"),
    ("ssl.RAND_bytes(8).hex()", "import ssl; ssl.RAND_bytes(8)"),
    ("ssl.RAND_bytes(8).hex()", "import ssl"),
    ("str(uuid.uuid4())", "import uuid; uuid.uuid4()"),
    ("uuid.getnode()", "import uuid; uuid._node = uuid._random_getnode()"),
    ("next(tempfile._get_candidate_names())",
     "import tempfile; next(tempfile._get_candidate_names())"),
    ("secrets.token_hex(8)", "import secrets; secrets.token_hex(8)"),
    ("os.urandom(8).hex()", "import os"),
    ("multiprocessing.current_process().authkey.hex()", "import multiprocessing"),
    ("next(multiprocessing.synchronize.SemLock._rand)",
     "import multiprocessing.synchronize as s; next(s.SemLock._rand)\nimport multiprocessing"),
    ("float(numpy.random.random())", "import numpy; numpy.random.seed(1)"),
])
def test_no_two_events_draw_the_same(zygote, one_pid, expression, before):
    if "numpy" in before:
        pytest.importorskip("numpy")
    made = zygote(returns(expression, before), env=one_pid)
    assert made.event().value != made.event().value


def test_openssl_is_seeded_where_only_another_library_loaded_it(zygote, one_pid):
    made = zygote(does("""
        out = ctypes.create_string_buffer(8)
        crypto.RAND_bytes(out, 8)
        return out.raw.hex()
        """, """
        import ctypes, os, _hashlib
        path = next(line.split()[-1] for line in open('/proc/self/maps') if 'libcrypto' in line)
        crypto = ctypes.CDLL(path)
        crypto.RAND_bytes(ctypes.create_string_buffer(8), 8)
        """), env=one_pid)
    assert made.event().value != made.event().value


# --- what handlers do -------------------------------------------------------------------------


@pytest.mark.parametrize("body, expected", [
    ("out = []; t = [threading.Thread(target=out.append, args=(i,)) for i in range(4)]\n"
     "[x.start() for x in t]; [x.join() for x in t]; return sorted(out)", [0, 1, 2, 3]),
    ("with concurrent.futures.ThreadPoolExecutor(4) as p: return sum(p.map(abs, [-1, -2]))", 3),
    ("return subprocess.run(['/bin/sh', '-c', 'echo hi; exit 3'], stdout=subprocess.PIPE,"
     " text=True).stdout", "hi\n"),
    ("return os.system('exit 5') >> 8", 5),
    ("async def main():\n"
     "    p = await asyncio.create_subprocess_exec('/bin/echo', 'x', stdout=-1)\n"
     "    out, _ = await p.communicate()\n"
     "    return [out.decode(), await asyncio.gather(asyncio.sleep(0.001, 7)),\n"
     "            await asyncio.to_thread(lambda: 9)]\n"
     "return asyncio.run(main())", ["x\n", [7], 9]),
    ("with multiprocessing.get_context('fork').Pool(2) as p: return p.map(abs, [-1, 2])", [1, 2]),
    ("with multiprocessing.get_context('spawn').Pool(1) as p: return p.map(abs, [-1, 2])", [1, 2]),
    ("q = multiprocessing.get_context('fork').Queue()\n"
     "p = multiprocessing.get_context('fork').Process(target=q.put, args=(5,)); p.start()\n"
     "return [q.get(timeout=20), p.join()]", [5, None]),
    ("with concurrent.futures.ProcessPoolExecutor(2) as p: return list(p.map(abs, [-4]))", [4]),
    ("got = []; signal.signal(signal.SIGUSR1, lambda *a: got.append(1))\n"
     "signal.raise_signal(signal.SIGUSR1); os.kill(os.getpid(), signal.SIGUSR1)\n"
     "signal.pthread_kill(threading.get_ident(), signal.SIGUSR1); return got", [1, 1, 1]),
    ("got = []; signal.signal(signal.SIGALRM, lambda *a: got.append(1))\n"
     "signal.setitimer(signal.ITIMER_REAL, 0.01); signal.sigwait([]) if 0 else signal.pause()\n"
     "return got", [1]),
    ("return threading.get_native_id() == os.getpid() == threading.main_thread().native_id", True),
    ("c = threading.Condition()\nwith c: return c.wait(0.001)", False),
    ("p = os.fork()\nif not p: os.abort()\nreturn os.waitpid(p, 0)[1] & 127", 6),
    ("p = os.fork()\nif not p: return 'child'\nos.wait(); return 'parent'", "parent"),
    ("import weakref, gc\nclass C: pass\nd = []; c = C(); c.me = c\n"
     "weakref.finalize(c, d.append, 1); del c; gc.collect(); return d", [1]),
    ("s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()\n"
     "c = socket.create_connection(s.getsockname(), 5); c.send(b'z')\n"
     "return s.accept()[0].recv(1).decode()", "z"),
    ("with tempfile.NamedTemporaryFile() as f: return os.path.exists(f.name)", True),
    ("import sqlite3; return sqlite3.connect(':memory:').execute('select 1').fetchall()", [[1]]),
    ("threading.Thread(target=time.sleep, args=(1000,)).start(); return 1", 1),
    ("return [sys.stdin.read(), sys.stdout.isatty(), sys.stdout.seekable()]", ["", False, False]),
])
def test_handlers_can_use_the_whole_library(zygote, body, expected):
    made = zygote(does(body, """
        import asyncio, concurrent.futures, faulthandler, multiprocessing, os, signal, socket
        import subprocess, sys, tempfile, threading, time
        faulthandler.enable()
        """))
    assert made.event().value == expected


def test_hooks_of_a_fork_run_once_for_an_event(zygote):
    made = zygote(returns("hooks", """
        import os
        hooks = []
        os.register_at_fork(before=lambda: hooks.append('before'),
                            after_in_parent=lambda: hooks.append('parent'),
                            after_in_child=lambda: hooks.append('child'))
        """))
    assert made.event().value[-2:] == ["before", "child"]


def test_garbage_of_the_handler_is_collected_without_looking_at_the_zygotes(zygote):
    made = zygote(returns("[gc.get_freeze_count() > 1000, len(gc.get_objects()) < 2000]",
                          "import gc\ndata = [{'a': [i]} for i in range(5000)]"))
    assert made.event().value == [True, True]


@needs_huge_pages
def test_the_heap_is_in_huge_pages(zygote):
    made = zygote(returns("open('/proc/self/smaps_rollup').read()",
                          "data = [{'a': [i], 'b': str(i)} for i in range(300_000)]"))
    made.event()
    made.slot()  # the first copy did not wait for them
    sizes = dict(line.split()[:2] for line in made.event().value.splitlines()[1:])
    assert int(sizes["AnonHugePages:"]) >= 8192  # kB


@needs_huge_pages
def test_with_little_memory_the_heap_is_in_huge_pages_before_the_first_copy(zygote):
    made = zygote(returns("open('/proc/self/smaps_rollup').read()",
                          "data = [{'a': [i], 'b': str(i)} for i in range(300_000)]"),
                  env={"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "96"})
    sizes = dict(line.split()[:2] for line in made.event().value.splitlines()[1:])
    assert int(sizes["AnonHugePages:"]) >= 8192  # kB


def test_memory_that_was_only_reserved_is_not_filled(zygote):
    made = zygote(returns("open('/proc/self/smaps_rollup').read()", """
        import mmap
        reserved = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        """))
    sizes = dict(line.split()[:2] for line in made.event().value.splitlines()[1:])
    assert int(sizes["Rss:"]) < 65536


def test_a_thread_that_stays_is_left_as_it_is(zygote):
    """The keeper refuses such a zygote; the function's state must not be changed by then."""
    made = zygote(returns("1", """
        import threading
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait, daemon=True)
        thread.start()
        """), slot=False)
    made.slot()
    status = open(f"/proc/{_zygote_of(made)}/status").read()
    assert "Threads:\t2\n" in status


def _zygote_of(made):
    pid = made.process.pid
    return open(f"/proc/{pid}/task/{pid}/children").read().split()[0]
