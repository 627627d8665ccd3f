"""A daemon that says what a test wants it to: HTTP on a unix socket, and a record of what it
was asked. For the command line's tests alone; it runs nothing."""
import contextlib
import json
import os
import socket
import threading


class Request:
    """One request, its body whole."""

    def __init__(self, method, target, headers, body):
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers  # by their names in small letters
        self.body = body


class Connection:
    """What a handler answers by."""

    def __init__(self, sock):
        self.socket = sock
        self.file = sock.makefile("rb")

    def read_request(self):
        line = self.file.readline().decode()
        if not line.strip():
            return None
        method, target, _ = line.split()
        headers = {}
        while (line := self.file.readline().decode().rstrip("\r\n")):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Request(method, target, headers, self.read_body(headers))

    def read_body(self, headers):
        if headers.get("transfer-encoding") != "chunked":
            return self.file.read(int(headers.get("content-length", 0)))
        body = b""
        while True:
            line = self.file.readline()
            if not line:
                return body + b"<cut>"
            length = int(line, 16)
            body += self.file.read(length)
            assert self.file.readline() == b"\r\n"
            if not length:
                return body

    def send(self, data):
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def answer(self, status, body=b"", headers=None):
        """Anything but bytes is sent as JSON."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def begin(self, status=200):
        self.send(f"HTTP/1.1 {status} OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data):
        data = data if isinstance(data, bytes) else data.encode()
        self.send(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def gone(self):
        """Waits until the client has closed the connection."""
        return self.file.read(1) == b""


class FakeDaemon:
    """Hands each connection to `handler(connection, request)`, in a thread of its own."""

    def __init__(self, path, handler, whole=True):
        self.path = str(path)
        self.handler = handler
        self.whole = whole  # the handler gets the request; else it reads itself
        self.requests = []
        self.failures = []
        self.threads = []
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen(64)
        self.accepting = threading.Thread(target=self.accept)
        self.accepting.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self.serve, args=(sock,))
            self.threads.append(thread)
            thread.start()

    def serve(self, sock):
        with sock:
            sock.settimeout(60)
            connection = Connection(sock)
            try:
                request = connection.read_request() if self.whole else None
                if request or not self.whole:
                    self.requests.append(request)
                    self.handler(connection, request)
            except (BrokenPipeError, ConnectionResetError):
                pass
            except Exception as error:  # pylint: disable=broad-exception-caught
                self.failures.append(error)
            connection.file.close()

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.accepting.join(60)
        for thread in self.threads:
            thread.join(60)
        os.unlink(self.path)
        assert not self.failures, self.failures

    @property
    def request(self):
        assert len(self.requests) == 1, [r.path for r in self.requests]
        return self.requests[0]


@contextlib.contextmanager
def fake_daemon(path, handler, whole=True):
    daemon = FakeDaemon(path, handler, whole)
    try:
        yield daemon
    finally:
        daemon.close()


def fake_daemons(path):
    """For a fixture: start(handler) starts one; fnrun finds it by its env."""
    started = []

    def start(handler, whole=True):
        context = fake_daemon(path, handler, whole)
        fake = context.__enter__()  # pylint: disable=unnecessary-dunder-call
        started.append(context)
        fake.env = {"FNRUN_SOCKET": str(path)}
        return fake

    yield start
    for context in started:
        context.__exit__(None, None, None)


def answers(status=200, body=b"{}", headers=None):
    """A handler that always says this."""
    return lambda connection, request: connection.answer(status, body, headers)
