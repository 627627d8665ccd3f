"""A stand-in for the runner: starts a language runtime outside any sandbox and
speaks runner/frame.h with it over a socket pair, descriptor 3 in the runtime.

    from fake_runner import run, runtimes, frame

    answer = run(["/usr/bin/node", runtimes("node/bootstrap.js")],
                 event=b'{"name":"Ada"}',
                 env={"_HANDLER": "index.handler", "LAMBDA_TASK_ROOT": str(folder)})
    answer.result   # bytes of FRAME_RESULT, or None
    answer.error    # FRAME_ERROR's object as a dict, or None
    answer.ready    # whether FRAME_READY came (before result or error)
    answer.stdout   # bytes of descriptor 1
    answer.stderr   # bytes of descriptor 2
    answer.status   # exit status; minus the signal's number when it was killed
    answer.frames   # every frame as (type, payload), to check what else came

The language side is taken from the folder $FNRUN_RUNTIMES (as `make` stages it),
else from images/runtimes of the source tree.
"""

import json
import os
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

EVENT, READY, RESULT, ERROR = 1, 2, 3, 4
FRAME_FD = 3

SOURCE = Path(__file__).resolve().parents[2]
RUNTIMES = Path(os.environ.get("FNRUN_RUNTIMES") or SOURCE / "images" / "runtimes")
EXAMPLES = SOURCE / "examples"


def runtimes(path):
    """The absolute path of a file of the language side, as text."""
    return str(RUNTIMES / path)


def frame(kind, payload=b""):
    """The bytes of one frame."""
    return kind.to_bytes(4, "little") + len(payload).to_bytes(4, "little") + payload


def event_frame(event, request_id="req-1", timeout_ms=3000, **keys):
    """The bytes of FRAME_EVENT. keys: more head lines, underscores become dashes."""
    lines = []
    if request_id is not None:
        lines.append(f"request-id: {request_id}\n")
    if timeout_ms is not None:
        lines.append(f"timeout-ms: {timeout_ms}\n")
    for key, value in keys.items():
        lines.append(f"{key.replace('_', '-')}: {value}\n")
    return frame(EVENT, ("".join(lines) + "\n").encode() + event)


def environment(env=None):
    """What a function's process has in its environment, see images/runtimes.h."""
    made = {
        "AWS_LAMBDA_FUNCTION_NAME": "hello",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/hello",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2025/01/01/[$LATEST]0123456789abcdef",
        "AWS_REGION": "us-east-1",
        "LAMBDA_RUNTIME_DIR": str(RUNTIMES),
        "TZ": ":UTC",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing new in the source tree
    }
    made.update(env or {})
    return {key: value for key, value in made.items() if value is not None}


class Answer:
    """What came back from one run; see the top of this file."""

    def __init__(self):
        self.frames = []
        self.rest = b""
        self.stdout = b""
        self.stderr = b""
        self.status = None

    def _payload(self, kind):
        return next((payload for type_, payload in self.frames if type_ == kind), None)

    @property
    def ready(self):
        return any(kind == READY for kind, _ in self.frames)

    @property
    def result(self):
        return self._payload(RESULT)

    @property
    def error(self):
        payload = self._payload(ERROR)
        return None if payload is None else json.loads(payload)

    @property
    def value(self):
        """The result parsed as JSON."""
        assert self.result is not None, self
        return json.loads(self.result)

    def __repr__(self):
        frames = [(kind, payload[:500]) for kind, payload in self.frames]
        return (f"Answer(status={self.status}, frames={frames}, rest={self.rest[:100]}, "
                f"stdout={self.stdout[-2000:]}, stderr={self.stderr[-4000:]})")


def _take_frames(buffer, frames):
    while len(buffer) >= 8:
        length = int.from_bytes(buffer[4:8], "little")
        if len(buffer) < 8 + length:
            break
        frames.append((int.from_bytes(buffer[:4], "little"), bytes(buffer[8:8 + length])))
        del buffer[:8 + length]


def _start(argv, env, cwd, theirs, stdout, stderr):
    def place_socket():
        if theirs == FRAME_FD:
            os.set_inheritable(FRAME_FD, True)
        else:
            os.dup2(theirs, FRAME_FD)

    return subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout,
                            stderr=stderr, pass_fds=(FRAME_FD,), preexec_fn=place_socket,
                            start_new_session=True)


def run(argv, event=b"{}", env=None, request_id="req-1", timeout_ms=3000, cwd=None,
        deadline=30.0, raw=None, wait_for_ready=False, **keys):
    """Runs argv once.

    event: its bytes. env: added to environment(), a value of None removes. cwd:
    LAMBDA_TASK_ROOT of env by default. timeout_ms: what the event's head says;
    None leaves it out, as request_id. keys: more of the head (trace_id,
    client_context). raw: bytes sent instead of the event frame; nothing can be read
    after them, as when the runner has gone. wait_for_ready:
    the event is sent only after READY. deadline: seconds after which the
    process is killed and the test fails.
    """
    env = environment(env)
    going = raw is not None
    to_send = memoryview(event_frame(event, request_id, timeout_ms, **keys) if raw is None else raw)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    if to_send and not wait_for_ready:  # the event is there before the process is
        to_send = to_send[ours.send(to_send):]
    out_r, out_w = os.pipe()
    err_r, err_w = os.pipe()
    process = _start([str(part) for part in argv], env, cwd or env.get("LAMBDA_TASK_ROOT"),
                     theirs.fileno(), out_w, err_w)
    theirs.close()
    os.close(out_w)
    os.close(err_w)
    answer = Answer()
    try:
        _talk(ours, to_send, going, wait_for_ready, {out_r: "stdout", err_r: "stderr"}, answer,
              time.monotonic() + deadline)
        answer.status = process.wait(timeout=deadline)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        ours.close()
        os.close(out_r)
        os.close(err_r)
    return answer


def _talk(ours, to_send, going, wait_for_ready, pipes, answer, until):
    """Sends and reads until the socket and both pipes are at their end. going: the
    socket's own sending ends after what is sent."""
    buffer = bytearray()
    open_fds = {ours.fileno(), *pipes}
    while open_fds:
        if going and not len(to_send):
            ours.shutdown(socket.SHUT_WR)
            going = False
        may_send = len(to_send) and (not wait_for_ready or answer.ready)
        writable = [ours] if may_send and ours.fileno() in open_fds else []
        left = until - time.monotonic()
        readable, writable, _ = select.select(list(open_fds), writable, [], max(left, 0))
        if not readable and not writable:
            raise AssertionError(f"the runtime did not end in time: {answer!r}")
        if writable:
            try:
                to_send = to_send[ours.send(to_send):]
            except (BrokenPipeError, ConnectionResetError):
                to_send = to_send[:0]
        for fd in readable:
            try:
                data = os.read(fd, 1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                open_fds.discard(fd)
            elif fd in pipes:
                setattr(answer, pipes[fd], getattr(answer, pipes[fd]) + data)
            else:
                buffer += data
                _take_frames(buffer, answer.frames)
    answer.rest = bytes(buffer)
