"""Clients that are slow, broken or hostile, against the whole daemon: while each does its
worst others are served without a failure, and afterwards nothing of it is left. (The same
against the HTTP server alone: tests/http.)"""

import contextlib
import json
import random
import re
import select
import socket

import pytest
from daemon import INVOKE, descriptors, eventually, pss

ECHO = "def handler(event, context): return event\n"
PATH = INVOKE.format("echo")


@pytest.fixture(name="abused")
def daemon_with_good_clients(daemon):
    """During the test two clients call all the time. None may be hurt; descriptors come back."""
    daemon.python("echo", ECHO, "[scale]\nconcurrency = 4\n")
    daemon.invoke("echo")
    before = descriptors(daemon.process.pid)
    judge = lambda name, number, answer: None if answer.error is None and answer.json == {"n": number} else repr(answer)  # noqa: E731
    with daemon.load("echo", clients=2, judge=judge) as load:
        load.wait_for(20)
        yield daemon
        load.wait_for(50)
    assert not load.wrong, load.wrong.most_common(3)
    assert daemon.is_alive()
    eventually(lambda: daemon.show("echo")["slots"]["busy"] == 0, "rest")
    # Environments and their slots have some, which is not the abuse's doing.
    functions = [daemon.show(each["name"]) for each in daemon.request("GET", "/fnrun/v1/functions").json["functions"]]
    allowed = before + 4 * sum(each["slots"]["total"] for each in functions) + 8 * len(functions)
    eventually(lambda: descriptors(daemon.process.pid) <= allowed, "the descriptors' closing")


def connect(daemon):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(daemon.socket))
    return client


def post(body=b"{}", *headers, path=PATH):
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def read_answer(reader):
    """(status, headers in lower case, body) of a file made of a socket; None at its end."""
    line = reader.readline()
    if not line:
        return None
    status = int(line.split()[1])
    headers = {}
    while (line := reader.readline().strip()):
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return status, headers, reader.read(int(headers.get("content-length", 0)))


def ask(daemon, *pieces):
    """Sends the pieces and reads one answer; None when the daemon closes or resets."""
    with connect(daemon) as client, client.makefile("rb") as reader:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for piece in pieces:
                client.sendall(piece)
            client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            return read_answer(reader)
    return None


def test_hundreds_of_silent_and_half_spoken_connections_keep_nobody_out(abused):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(abused)) for _ in range(400)]
        for number, client in enumerate(clients):
            client.sendall([b"", b"P", b"POST " + PATH.encode(), post()[:-30], post(b"{}" * 100)[:-50]][number % 5])
        assert [abused.invoke("echo", number).result() for number in range(50)] == list(range(50))


def test_beyond_the_limit_of_connections_the_idle_make_room(abused):
    with contextlib.ExitStack() as stack:
        for _ in range(1300):
            stack.enter_context(connect(abused))
        for number in range(20):
            assert abused.invoke("echo", number).result() == number


def test_a_request_that_comes_byte_by_byte_is_answered(abused):
    request = post(b'{"slow":true}')
    status, _, body = ask(abused, *[request[at:at + 1] for at in range(len(request))])
    assert (status, json.loads(body)) == (200, {"slow": True})


def test_a_half_closed_client_gets_its_answer(abused):
    abused.python("sleepy", "import time\ndef handler(event, context):\n    time.sleep(0.3)\n    return 'late'\n")
    with connect(abused) as client, client.makefile("rb") as reader:
        client.sendall(post(path=INVOKE.format("sleepy")))
        client.shutdown(socket.SHUT_WR)
        assert read_answer(reader)[::2] == (200, b'"late"')


def test_pipelined_calls_are_answered_in_their_order(abused):
    with connect(abused) as client, client.makefile("rb") as reader:
        client.sendall(b"".join(post(str(number).encode()) for number in range(100)))
        assert [json.loads(read_answer(reader)[2]) for _ in range(100)] == list(range(100))


def test_pipelined_calls_whose_client_leaves_run_once_at_most(abused):
    abused.python("sleepy", "import time\ndef handler(event, context):\n    time.sleep(2)\n")
    for _ in range(20):
        with connect(abused) as client:
            client.sendall(post(path=INVOKE.format("sleepy")) * 10)
    eventually(lambda: not (now := abused.show("sleepy"))["queued"] and not now["slots"]["busy"], "their ends")
    assert abused.show("sleepy")["calls"] <= 20


def chunked(*pieces, last=b"0\r\n\r\n"):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + last


def test_an_event_may_come_in_chunks(abused):
    body = json.dumps("y" * 300_000).encode()
    pieces = [body[at:at + 7919] for at in range(0, len(body), 7919)]
    status, _, answer = ask(abused, post(chunked(*pieces), "Transfer-Encoding: chunked"))
    assert (status, answer) == (200, body)


@pytest.mark.parametrize("headers, body", [
    (("Content-Length: 999999999999",), b""),
    (("Content-Length: 7000000",), b'"' + b"x" * 6_999_998 + b'"'),
    (("Transfer-Encoding: chunked",), chunked(*[b"x" * 65536] * 110)),
], ids=["announced", "sent", "in chunks"])
def test_what_is_larger_than_an_event_may_be_is_413_or_cut_off(abused, headers, body):
    answer = ask(abused, post(body, *headers))
    assert answer is None or answer[0] == 413, answer


def test_endless_chunks_are_thrown_away_until_their_client_leaves(abused):
    memory = pss(abused.process.pid)
    with connect(abused) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(post(b"ffffffff\r\n" + b"x" * 20_000_000, "Transfer-Encoding: chunked"))
        assert pss(abused.process.pid) <= memory + (16 << 20)


@pytest.mark.parametrize("headers", [
    ("Content-Length: 2", "Content-Length: 20"),
    ("Content-Length: 2", "Transfer-Encoding: chunked"),
    ("Content-Length: -1",),
    ("Content-Length: 2x",),
    ("Content-Length: 18446744073709551618",),
    ("Transfer-Encoding: chunked, gzip",),
    ("Transfer-Encoding: nonsense",),
])
def test_headers_that_do_not_say_where_the_body_ends_are_refused(abused, headers):
    with connect(abused) as client, client.makefile("rb") as reader:
        # What follows must never be taken for a request of its own.
        client.sendall(post(b"{}", *headers) + b"DELETE /fnrun/v1/functions/echo HTTP/1.1\r\nHost: x\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        said = b""
        with contextlib.suppress(ConnectionResetError):
            said = reader.read()
    assert re.match(rb"HTTP/1\.1 (4..|501) |$", said) and b" 20" not in re.sub(rb"Date: .*", b"", said), said
    assert abused.invoke("echo", 1).result() == 1


@pytest.mark.parametrize("request_bytes", [
    b"\0" * 4096,
    b"\xff\xfe\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET  HTTP/1.1\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 500,
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % number for number in range(5000)) + b"\r\n",
    b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
    b"GET / HTTP/1.1\r\n folded: x\r\n\r\n",
    b"POST /2015-03-31/functions/%00%2e%2e%2f/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST /2015-03-31/functions/" + b"%41" * 2000 + b"/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"PUT /fnrun/v1/functions/../../etc HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
], ids=range(14))
def test_garbage_is_refused_or_cut_off(abused, request_bytes):
    for _ in range(5):
        with connect(abused) as client, client.makefile("rb") as reader:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(request_bytes)
                if request_bytes.endswith(b"\r\n\r\n"):
                    answer = read_answer(reader)
                    assert answer is None or 400 <= answer[0] < 600, answer


def test_clients_that_leave_while_their_calls_wait_for_a_slot_hurt_nothing(abused):
    abused.python("one", "import time\ndef handler(event, context): time.sleep(event)\n",
                  "[limits]\ntimeout = 20s\n[scale]\nconcurrency = 1\n")
    first = abused.begin("one", 1.5)
    eventually(lambda: abused.show("one")["slots"]["busy"] == 1, "one that runs")
    for _ in range(30):
        pending = [abused.begin("one", 0) for _ in range(8)]
        eventually(lambda: abused.show("one")["queued"] == 8 or first.is_answered(), "eight that wait")
        for each in pending:
            each.leave()
        eventually(lambda: abused.show("one")["queued"] == 0, "their leaving")
    assert first.answer().error is None


def test_a_thousand_spoilt_requests_leave_it_well(abused):
    chance = random.Random(20)
    whole = post(b'{"a":[1,2,3]}', "X-Amz-Log-Type: Tail", "X-Fnrun-Timeout: 1s", "X-Amz-Client-Context: e30=")
    memory = pss(abused.process.pid)
    for _ in range(1000):
        spoilt = bytearray(whole * chance.randint(1, 3))
        for _ in range(chance.randint(1, 8)):
            at = chance.randrange(len(spoilt))
            kind = chance.randrange(3)
            if kind == 0:
                spoilt[at] = chance.randrange(256)
            elif kind == 1:
                del spoilt[at:at + chance.randint(1, 20)]
            else:
                spoilt[at:at] = chance.randbytes(chance.randint(1, 20))
            spoilt = spoilt or bytearray(b"x")
        with connect(abused) as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                client.sendall(bytes(spoilt))
                if chance.random() < 0.5:
                    client.shutdown(socket.SHUT_WR)
                if chance.random() < 0.5:
                    select.select([client], [], [], 0.01)  # often there is no answer to come
    assert pss(abused.process.pid) <= memory + (32 << 20)


def test_large_answers_that_nobody_reads_hold_up_nobody(abused):
    abused.python("wide", "def handler(event, context): return 'x' * 5_000_000\n")
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(connect(abused))
            client.sendall(post(path=INVOKE.format("wide")))
        eventually(lambda: abused.show("wide")["calls"] == 8, "eight results")
        assert [abused.invoke("echo", number).result() for number in range(30)] == list(range(30))


def test_a_followed_log_that_nobody_reads_is_cut_and_its_function_goes_on(abused):
    abused.python("talks", "def handler(event, context):\n    for _ in range(20_000): print('x' * 99)\n    return 1\n",
                  "[limits]\ntimeout = 20s\nlogs = 8M\n")
    with connect(abused) as client:
        client.sendall(b"GET /fnrun/v1/functions/talks/logs?follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(6):
            assert abused.invoke("talks").result() == 1
        with contextlib.suppress(ConnectionResetError):
            while client.recv(1 << 20):
                pass
