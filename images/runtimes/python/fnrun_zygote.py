"""Events through the gate (isolate/gate.h): this process loads the handler, settles and
waits; every event is handled by a copy of a copy of it. Three processes run this file:

    Z    all down to _gate.become_event(), where it stays
    Z_s  nothing of it: its life is within _gate
    F    from there on: one event, one answer

What Python code runs in F writes to pages (each use of an object counts its references),
and each such page is copied. So what can be made ready is made ready in Z, and F rehearses
before it asks for its event: the keeper learns from a trial which pages to touch ahead.
"""

import os
import sys

import fnrun_frames
import fnrun_handler
from fnrun_handler import own_module

_gate = own_module("_gate")

RESULT, ERROR = 0, 1
# As often as the interpreter watches code before it has settled how to run it: a copy of
# code that still changes would have to be made for every event.
_rehearsals = 20


def main():
    """The whole life of a zygote. Does not return."""
    os.environ.pop("FNRUN_GATE")
    task_root = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
    fnrun_handler.prepare(task_root)
    # Here a process that has loaded no user code yet could wait for what to load.
    become_events(_load(task_root))


def _load(task_root):
    process = os.getpid()
    try:
        function = fnrun_handler.load(os.environ.get("_HANDLER", ""), task_root)
    except BaseException as error:
        if os.getpid() != process:  # one that the module forked, and that went on
            sys.excepthook(type(error), error, error.__traceback__)
            fnrun_handler.finish(1)
        payload = fnrun_handler.describe(error, "")
        fnrun_handler.flush()
        _gate.failed(payload)
    if os.getpid() != process:
        fnrun_handler.finish(0)
    return function


def become_events(function):
    """Z waits in here, F handles its event. Does not return."""
    own_module("fnrun_errors")  # for F, which may be short of memory by then
    settle = own_module("fnrun_settle").settle
    renew = own_module("fnrun_renew").prepare()
    renew += _thread_id()
    flush = _make_flush()
    hooks = _library_hooks()
    for _ in range(_rehearsals):
        for what in hooks + renew:
            what()
        _rehearse()
        flush()
    settle()
    _gate.become_event()

    process = os.getpid()
    for what in renew:
        try:
            what()
        except Exception as error:  # of a library that the function has changed
            sys.excepthook(type(error), error, error.__traceback__)
    # What the event would find untouched is touched now, while nobody waits.
    kind, payload = _rehearse()
    flush()
    data = _gate.event()
    if data is not None:
        kind, payload = _handle(function, data)
    if os.getpid() != process:  # one that the handler forked: the answer is not its to give
        fnrun_handler.finish(kind)
    flush()
    _gate.reply(payload, kind)


def _handle(function, data):
    head = {}
    try:
        head, body = fnrun_frames.parse(data)
        return RESULT, fnrun_handler.invoke(function, head, body)
    except BaseException as error:
        return ERROR, fnrun_handler.describe(error, head.get("request-id", ""))


def _rehearse():
    """What the runtime and the libraries around a handler do for an event, and nothing of
    the function's own; all that a trial is."""
    sample = b'request-id: 0\ntimeout-ms: 1000\ntrace-id: 0\n\n{"a": ["b", 1, 2.5, null]}'
    _handle(_stand_in, sample)
    os.environ.pop("_X_AMZN_TRACE_ID", None)
    fnrun_handler.request_id = ""
    return RESULT, b""


def _stand_in(event, context):
    context.get_remaining_time_in_millis()
    json = _library("json")
    if json and _is_librarys(json.loads) and _is_librarys(json.dumps):
        json.loads(json.dumps(event))
    if _library("logging") and "fnrun_logging" in sys.modules:
        sys.modules["fnrun_logging"].rehearse()
    sys.__stdout__.write("")
    return event


def _library(name):
    """The library's module of this name if it is loaded, not one that the function brought."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    origin = getattr(spec, "origin", None) or ""
    return module if origin.startswith(_library_root) else None


def _is_librarys(function):
    """Whether the function is still the library's, not one that was put in its place."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename.startswith(_library_root)


_library_root = os.__file__.rpartition("/")[0] + "/"


def _thread_id():
    """threading keeps the kernel's id of the main thread, and few versions renew it after
    a fork."""
    try:
        return [sys.modules["threading"].main_thread()._set_native_id]
    except (KeyError, AttributeError):
        return []


def _library_hooks():
    """What the library does in the child of a fork: about the threads of its parent, of
    which a zygote has none. Hooks of the function's own are run in F alone."""
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() != 1:
        return []
    hooks = []
    for name, path in (("threading", ("_after_fork",)), ("random", ("_inst", "seed")),
                       ("logging", ("_after_at_fork_child_reinit_locks",))):
        hook = _library(name)
        for part in path:
            hook = getattr(hook, part, None)
        if hook is not None and _is_librarys(hook):
            hooks.append(hook)
    return hooks


def _make_flush():
    """Returns what hands on everything that was printed. In F asking every module whether
    it could use C's printf would write to every module: Z asks, once all is loaded, and F
    looks again only when it has loaded more."""
    uses = fnrun_handler.uses_stdio()
    known = len(sys.modules)
    address = own_module("fnrun_renew").address_of(None, "fflush")

    def flush():
        fnrun_handler.flush_streams()
        if uses or len(sys.modules) != known and fnrun_handler.uses_stdio():
            if address:
                _gate.flush_c(address)
            else:
                fnrun_handler.flush()

    return flush

