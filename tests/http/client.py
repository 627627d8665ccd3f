"""A server program of the tests, and a client that speaks HTTP byte by byte."""

import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import time

BUILD = pathlib.Path(os.environ.get("FNRUN_BUILD", "."))
DEADLINE = 20


class Server:
    def __init__(self, program, where, *words, **options):
        self.process = subprocess.Popen([BUILD / "checks" / program, where, *words], stdout=subprocess.PIPE, text=True,
                                        **options)
        self.address = where.removeprefix("unix:")
        self.lines = []
        if where == "tcp":
            self.address = ("127.0.0.1", int(self.wait_for(r"port (\d+)").group(1)))
        self.wait_for("ready")

    def wait_for(self, pattern):
        """The first line, not yet seen, that fits."""
        end = time.monotonic() + DEADLINE
        while True:
            for line in self.lines:
                if match := re.fullmatch(pattern, line):
                    self.lines.remove(line)
                    return match
            assert select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))[0], \
                f"no {pattern!r}, but {self.lines}"
            text = os.read(self.process.stdout.fileno(), 65536).decode()
            assert text, f"the server ended without {pattern!r}"
            while not text.endswith("\n"):
                text += os.read(self.process.stdout.fileno(), 65536).decode()
            self.lines += text.splitlines()

    def connect(self):
        client = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        client.settimeout(DEADLINE)
        client.connect(self.address)
        return client

    def ask(self, *requests):
        with self.connect() as client:
            return [exchange(client, request) for request in requests]

    def end(self):
        """SIGTERM; returns once everything was freed."""
        self.process.send_signal(signal.SIGTERM)
        self.wait_for("freed")
        assert self.process.wait(DEADLINE) == 0


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def post(path, body, headers=""):
    return (f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            f"{headers}\r\n").encode() + body


def chunked(path, *chunks):
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


class Reader:
    """Answers off a connection, one after the other."""

    def __init__(self, client):
        self.client, self.data = client, b""

    def more(self):
        data = self.client.recv(1 << 16)
        self.data += data
        return bool(data)

    def until(self, mark):
        while mark not in self.data:
            assert self.more(), f"the connection ended after {self.data!r}"
        found, self.data = self.data.split(mark, 1)
        return found

    def exactly(self, length):
        while len(self.data) < length:
            assert self.more(), f"the connection ended after {self.data!r}"
        found, self.data = self.data[:length], self.data[length:]
        return found

    def head(self):
        lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        headers = {key.lower(): value for key, value in
                   (line.split(": ", 1) for line in lines[1:])}
        return int(lines[0].split()[1]), headers

    def answer(self):
        status, headers = self.head()
        body = self.exactly(int(headers.get("content-length", 0)))
        return Answer(status, headers, body)

    def at_end(self):
        """Whether the server closes without a word more."""
        try:
            return not self.data and not self.client.recv(1)
        except ConnectionResetError:
            return True


def exchange(client, request):
    client.sendall(request)
    return Reader(client).answer()
