"""Events by frames (runner/frame.h): load the handler, say READY, read the event, call,
answer, leave; with FNRUN_SERVE=1, read the next one instead of leaving. What a handler
is, is in fnrun_handler; events that come through the gate are fnrun_zygote's.

Start-up is what an invocation costs. Nothing is imported here that the
interpreter has not loaded for itself, and the rest waits until it is needed.
"""

import os
import sys
from posix import read, readv, write
from time import monotonic

import fnrun_handler

EVENT, READY, RESULT, ERROR = 1, 2, 3, 4
HEAD = 8
FIRST_READ = 8192  # most events come whole with the first read

_fd = 3
_unread = b""  # what came with the last read and is of the next frame


def main():
    """The whole life of a runtime process. Does not return."""
    if "FNRUN_LANGUAGE" in os.environ:
        import fnrun_language
        fnrun_language.main()
    if "FNRUN_GATE" in os.environ:
        import fnrun_zygote
        fnrun_zygote.main()
    serving = os.environ.pop("FNRUN_SERVE", "") == "1"
    task_root = os.environ.get("LAMBDA_TASK_ROOT", "/var/task")
    fnrun_handler.prepare(task_root)
    os.set_inheritable(_fd, False)
    os.register_at_fork(after_in_child=_forget)
    try:
        function = fnrun_handler.load(os.environ.get("_HANDLER", ""), task_root)
    except BaseException as error:
        _fail(error, _early_head())
    _send(READY)
    data = _receive_payload()
    if data is None:
        os._exit(1)  # the runner went away before it had an event
    while serving:
        _serve(function, data)
        data = _receive_payload()
        if data is None:
            fnrun_handler.finish(0)
    head, body = parse(data)
    try:
        result = fnrun_handler.invoke(function, head, body)
    except BaseException as error:
        _fail(error, head)
    _answer(RESULT, result)


def _serve(function, data):
    """One event of many. What ends a process on Lambda ends it here: sys.exit and its like."""
    head, body = parse(data)
    try:
        kind, payload = RESULT, fnrun_handler.invoke(function, head, body)
    except Exception as error:
        kind, payload = ERROR, fnrun_handler.describe(error, head.get("request-id", ""))
    except BaseException as error:
        _fail(error, head)
    if _fd < 0:
        fnrun_handler.finish(0)
    fnrun_handler.flush()
    _send(kind, payload)


def _forget():
    """In a process that the handler forked: the answer is not its to give."""
    global _fd
    os.close(_fd)
    _fd = -1


def _fail(error, head):
    """Ends the invocation with an error object. Does not return."""
    if _fd < 0:
        sys.excepthook(type(error), error, error.__traceback__)
        fnrun_handler.finish(1)
    _answer(ERROR, fnrun_handler.describe(error, head.get("request-id", "")))


def _answer(kind, payload):
    if _fd < 0:
        fnrun_handler.finish(0)
    fnrun_handler.flush()  # what the runner finds in the log before this frame is kept
    _send(kind, payload)
    fnrun_handler.finish(0)


def _send(kind, payload=b""):
    """Writes one frame whole. The runner that is gone needs no answer."""
    head = kind.to_bytes(4, "little") + len(payload).to_bytes(4, "little")
    try:
        if len(payload) <= FIRST_READ:
            _write_all(head + payload)
        else:  # two calls cost less than a copy
            _write_all(head)
            _write_all(payload)
    except OSError as error:
        os.write(2, b"fnrun: the answer could not be sent on descriptor 3: %s\n"
                 % error.strerror.encode())
        os._exit(1)


def _write_all(data):
    done = write(_fd, data)
    if done < len(data):
        rest = memoryview(data)
        while done < len(data):
            done += write(_fd, rest[done:])


def parse(data):
    """Returns the head's keys of an EVENT's payload as a dict, and the event's bytes. The
    head gets one key more: deadline, when the handler's time is over by the monotonic
    clock, or None."""
    now = monotonic()
    if data[:1] == b"\n":
        lines, start = "", 1
    else:
        start = data.index(b"\n\n") + 2
        lines = str(data[:start - 2], "utf-8", "replace")
    head = {}
    for line in lines.split("\n"):
        key, _, value = line.partition(": ")
        head[key] = value
    timeout = head.get("timeout-ms")
    head["deadline"] = now + int(timeout) / 1000 if timeout else None
    return head, memoryview(data)[start:]


def _receive_payload():
    """The payload of the next EVENT frame, or None at the stream's end."""
    global _unread
    data = _unread or read(_fd, FIRST_READ)
    while len(data) < HEAD:
        more = read(_fd, FIRST_READ)
        if not more:
            return None
        data += more
    if int.from_bytes(data[:4], "little") != EVENT:
        return None
    length = int.from_bytes(data[4:HEAD], "little")
    have = len(data) - HEAD
    if have >= length:
        _unread = data[HEAD + length:]
        return data[HEAD:HEAD + length]
    _unread = b""
    payload = bytearray(length)
    view = memoryview(payload)
    view[:have] = data[HEAD:]
    while have < length:
        count = readv(_fd, [view[have:]])
        if count == 0:
            return None
        have += count
    return payload


def _early_head():
    """What of the event's head is there already, without waiting for it: an error
    while the handler was loaded names its request where it can."""
    try:
        os.set_blocking(_fd, False)
        try:
            start = read(_fd, 4096)[HEAD:]
        finally:
            os.set_blocking(_fd, True)
        for line in start.partition(b"\n\n")[0].decode("utf-8", "replace").split("\n"):
            key, _, value = line.partition(": ")
            if key == "request-id":
                return {key: value}
    except OSError:
        pass
    return {}
