"""runner/http.h against clients of every kind, by the program checks/http_server (server.c),
whose patience is a second where the daemon's is half a minute."""

import os
import resource
import select
import signal
import socket
import struct
import subprocess
import time

import pytest

from client import DEADLINE, Reader, Server, chunked, exchange, get, post


class HttpServer(Server):
    def __init__(self, *words, **options):
        super().__init__("http_server", *words, **options)

    def alive(self):
        return self.ask(get("/echo"))[0].status == 200


@pytest.fixture
def server(tmp_path):
    server = HttpServer(f"unix:{tmp_path}/socket", "100000")
    yield server
    if server.process.poll() is None:
        server.end()


@pytest.fixture
def tcp_server():
    server = HttpServer("tcp", "100000")
    yield server
    server.end()


# --- answers ---------------------------------------------------------------------------


def test_a_connection_serves_many_requests(server):
    answers = server.ask(*[post(path, b"[%d]" % i) for i in range(20) for path in
                           ("/echo", "/later")])
    assert [a.body for a in answers] == [b"[%d]" % i for i in range(20) for _ in range(2)]
    assert all(a.headers["content-type"] == "application/json" for a in answers)


def test_pipelined_requests_are_answered_in_their_order(server):
    with server.connect() as client:
        client.sendall(b"".join(post("/later" if i % 3 else "/echo", b"%d" % i)
                                for i in range(100)))
        reader = Reader(client)
        assert [reader.answer().body for _ in range(100)] == [b"%d" % i for i in range(100)]


def test_a_request_may_come_byte_by_byte(server):
    with server.connect() as client:
        for byte in post("/later", b'{"a": 1}'):
            client.sendall(bytes([byte]))
        assert Reader(client).answer().body == b'{"a": 1}'


def test_a_body_may_come_in_chunks(server):
    assert server.ask(chunked("/later", b"ab", b"c" * 50000, b"d"))[0].body == b"ab" + b"c" * 50000 + b"d"
    assert server.ask(chunked("/echo"))[0].body == b""


def test_a_large_answer_reaches_a_client_that_reads_late(tmp_path):
    server = HttpServer(f"unix:{tmp_path}/socket", str(8 << 20))
    body = os.urandom(6 << 20)
    with server.connect() as client:
        client.sendall(post("/later", body))
        assert Reader(client).answer().body == body
    server.end()


def test_a_body_goes_to_a_file_where_the_handler_wants_it(server):
    assert server.ask(post("/spool", b"x" * 70000))[0].body == b"70000"
    assert server.ask(chunked("/spool", b"x" * 999, b"y"))[0].body == b"1000"


def test_expect_100_continue_is_told_to_go_on(server):
    with server.connect() as client:
        client.sendall(post("/echo", b"", "").replace(b"Length: 0", b"Length: 3\r\nExpect: 100-continue"))
        reader = Reader(client)
        assert reader.head()[0] == 100
        client.sendall(b"abc")
        assert reader.answer().body == b"abc"


def test_an_old_client_gets_its_answer_and_the_end(server):
    with server.connect() as client:
        client.sendall(b"GET /later HTTP/1.0\r\n\r\n")
        reader = Reader(client)
        assert reader.answer().status == 200
        assert reader.at_end()


def test_head_has_no_body(server):
    with server.connect() as client:
        client.sendall(b"HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n" + get("/echo"))
        reader = Reader(client)
        assert reader.head()[0] == 404
        assert reader.answer().status == 200


def test_a_query_is_decoded_and_a_coded_nul_is_not(server):
    answers = server.ask(get("/query?q=a%20b%3Ac"), get("/query"), get("/query?q=a%00b"),
                         get("/echo%00x"), get("/%65cho"))
    assert [a.body for a in answers[:3]] == [b"a b:c", b"none", b"a%00b"]
    assert [a.status for a in answers[3:]] == [404, 200]


def test_the_peer_of_a_unix_socket_is_known(server):
    assert server.ask(get("/peer"))[0].body.decode() == f"1 {os.getuid()} 1 0"


def test_supplementary_groups_of_the_peer_count(server):
    if os.getuid() != 0:
        pytest.skip("setting groups needs root")
    code = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'GET /peer HTTP/1.0\\r\\n\\r\\n'); print(s.recv(9999).decode())")
    out = subprocess.run(["/usr/bin/python3", "-c", code, server.address], text=True, check=True,
                         stdout=subprocess.PIPE, extra_groups=[54321, 7], timeout=DEADLINE).stdout
    assert out.strip().endswith("1 0 1 1")


def test_a_tcp_peer_is_unknown(tcp_server):
    assert tcp_server.ask(get("/peer"))[0].body == b"0 0 0 0"
    assert tcp_server.ask(*[post("/later", b"%d" % i) for i in range(50)])[49].body == b"49"


# --- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("request_bytes", [
    post("/echo", b"x" * 100001),
    chunked("/echo", b"x" * 60000, b"y" * 60000),
    post("/spool", b"x" * 100001),
    chunked("/spool", b"x" * 100000, b"y"),
    get("/echo").replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\nx"),
], ids=["announced", "chunked", "spooled", "spooled-chunked", "get"])
def test_a_body_over_the_limit_is_413_and_the_connection_goes_on(server, request_bytes):
    with server.connect() as client:
        reader = Reader(client)
        client.sendall(request_bytes)
        answer = reader.answer()
        assert (answer.status, answer.headers["x-amzn-errortype"]) == (413, "RequestTooLargeException")
        client.sendall(post("/echo", b"still here"))
        assert reader.answer().body == b"still here"


def test_a_body_at_the_limit_is_taken(server):
    assert server.ask(post("/big", b"x" * 100000), chunked("/big", b"x" * 100000))[1].body == b"100000"


def test_one_that_asks_first_is_refused_before_it_sends(server):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100001\r\n"
                       b"Expect: 100-continue\r\n\r\n")
        reader = Reader(client)
        answer = reader.answer()
        assert (answer.status, answer.headers["connection"]) == (413, "close")
        assert reader.at_end()


def test_gigabytes_are_refused_before_they_come(server):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        reader = Reader(client)
        assert reader.answer().status == 413
        assert reader.at_end()


def test_an_endless_body_is_cut(server):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with pytest.raises(ConnectionError):
            for _ in range(3000):
                client.sendall(block)
    assert server.alive()


def test_refused_after_the_headers_the_body_is_thrown_away(server):
    answers = server.ask(post("/refused", b"x" * 50000), post("/echo", b"next"))
    assert [a.status for a in answers] == [403, 200]


@pytest.mark.parametrize("garbage", [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
    b"GET /echo HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 10000 + b"\r\n",
    b"GET /echo HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 13000 + b"\r\n\r\n",
    post("/echo", b"abc").replace(b"Length: 3", b"Length: 3x"),
    post("/echo", b"abc").replace(b"Length: 3", b"Length: -3"),
    post("/echo", b"abc").replace(b"Length: 3", b"Length: 99999999999999999999999"),
    post("/echo", b"abc").replace(b"Length: 3", b"Length: 3\r\nContent-Length: 4"),
    post("/echo", b"abc").replace(b"Length: 3", b"Length: 3\r\nTransfer-Encoding: chunked"),
    post("/echo", b"abc").replace(b"Content-Length: 3", b"Transfer-Encoding: gzip, chunked"),
    chunked("/echo", b"abc").replace(b"3\r\nabc", b"zz\r\nabc"),
    chunked("/echo", b"abc").replace(b"3\r\nabc", b"fffffffffffffffffffff\r\nabc"),
    chunked("/echo", b"abc").replace(b"abc\r\n", b"abcd\r\n"),
], ids=range(17))
def test_garbage_is_refused_or_dropped_and_hurts_nobody(server, garbage):
    with server.connect() as other, server.connect() as client:
        try:
            client.sendall(garbage)
            client.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass
        data = b""
        try:
            while more := client.recv(65536):
                data += more
        except ConnectionResetError:
            pass
        assert data == b"" or 400 <= int(data.split()[1]) < 506
        assert exchange(other, post("/later", b"fine")).body == b"fine"


# --- clients that go away ------------------------------------------------------------------


def test_a_closed_client_is_noticed_while_it_waits(server):
    for close in (lambda c: c.close(), lambda c: c.shutdown(socket.SHUT_RDWR)):
        client = server.connect()
        client.sendall(post("/hold", b"{}"))
        number = server.wait_for(r"holding (\d+)").group(1)
        close(client)
        server.wait_for(f"gone {number}")
        client.close()
    assert server.alive()


def test_a_client_that_dies_is_noticed(server):
    code = ("import socket, sys, time; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "s.sendall(b'POST /hold HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 0\\r\\n\\r\\n'); time.sleep(99)")
    process = subprocess.Popen(["/usr/bin/python3", "-c", code, server.address])
    number = server.wait_for(r"holding (\d+)").group(1)
    process.kill()
    process.wait()
    server.wait_for(f"gone {number}")


def test_a_half_closed_client_gets_its_answer(server):
    with server.connect() as client:
        client.sendall(post("/hold", b"{}"))
        client.shutdown(socket.SHUT_WR)
        server.wait_for(r"holding \d+")
        server.ask(get("/release"))
        reader = Reader(client)
        assert reader.answer().body == b'"released"'
        assert reader.at_end()
    assert not any("gone" in line for line in server.lines)


def test_a_half_closed_client_gets_all_its_pipelined_answers(server):
    with server.connect() as client:
        client.sendall(post("/later", b"a" * 90000) + post("/later", b"b") + post("/echo", b"c"))
        client.shutdown(socket.SHUT_WR)
        reader = Reader(client)
        assert [reader.answer().body for _ in range(3)] == [b"a" * 90000, b"b", b"c"]


def test_a_tcp_client_that_ends_is_gone(tcp_server):
    client = tcp_server.connect()
    client.sendall(post("/hold", b"{}"))
    number = tcp_server.wait_for(r"holding (\d+)").group(1)
    client.close()
    tcp_server.wait_for(f"gone {number}")


def test_a_tcp_client_that_resets_is_gone(tcp_server):
    client = tcp_server.connect()
    client.sendall(post("/hold", b"{}"))
    number = tcp_server.wait_for(r"holding (\d+)").group(1)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    tcp_server.wait_for(f"gone {number}")


def test_one_gone_in_its_body_is_told(server):
    client = server.connect()
    client.sendall(post("/echo", b"x" * 100)[:-1])
    assert server.alive()
    client.close()
    server.wait_for(r"gone 1")


def test_pipelined_requests_behind_a_gone_one_are_dropped(server):
    client = server.connect()
    client.sendall(post("/hold", b"{}") * 3)
    number = server.wait_for(r"holding (\d+)").group(1)
    client.close()
    server.wait_for(f"gone {number}")
    assert server.alive()
    assert not any("holding" in line for line in server.lines)


def test_many_that_wait_are_all_released_or_noticed(server):
    clients = [server.connect() for _ in range(200)]
    for client in clients:
        client.sendall(post("/hold", b"{}"))
    for _ in clients:
        server.wait_for(r"holding \d+")
    for client in clients[::2]:
        client.close()
    for _ in clients[::2]:
        server.wait_for(r"gone \d+")
    server.ask(get("/release"))
    for client in clients[1::2]:
        assert Reader(client).answer().body == b'"released"'
        client.close()


# --- slow clients ---------------------------------------------------------------------------


def wait_for_end(client):
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        pass


def test_a_silent_client_is_closed(server):
    for first in (b"", b"POST /echo HTTP/1.1\r\n", post("/echo", b"abc")[:-1]):
        with server.connect() as client:
            client.sendall(first)
            wait_for_end(client)


def drip(client, data):
    """A byte at a time, each before the silence is too long, till the server has enough."""
    try:
        for byte in data:
            client.sendall(bytes([byte]))
            if select.select([client], [], [], 0.3)[0]:
                return True
    except ConnectionError:
        return True
    return False


def test_dripping_headers_are_cut(server):
    with server.connect() as client:
        assert drip(client, b"GET /echo HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200)


def test_a_dripping_body_is_cut(server):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert drip(client, b"a" * 200)
    server.wait_for("gone 1")


def test_waiting_for_an_answer_is_not_silence(server):
    with server.connect() as client, server.connect() as silent:
        client.sendall(post("/hold", b"{}"))
        server.wait_for(r"holding \d+")
        for _ in range(3):  # three times the patience
            wait_for_end(silent)
            silent.close()
            silent = server.connect()
        server.ask(get("/release"))
        assert Reader(client).answer().status == 200
        silent.close()


def test_one_that_does_not_take_its_answer_is_cut(tmp_path):
    server = HttpServer(f"unix:{tmp_path}/socket", str(8 << 20))
    with server.connect() as client:
        client.sendall(post("/later", b"x" * (6 << 20)))
        with server.connect() as other:
            wait_for_end(other)  # as long as the patience with anybody
        assert server.alive()
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            if not select.select([client], [], [], 0)[0]:
                continue
            break
        wait_for_end(client)
    server.end()


# --- many ---------------------------------------------------------------------------------------


def few_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))


def test_at_the_limit_the_longest_idle_makes_room(tmp_path):
    server = HttpServer(f"unix:{tmp_path}/socket", preexec_fn=few_descriptors)
    idle = [server.connect() for _ in range(24)]
    for client in idle:
        assert exchange(client, get("/echo")).status == 200
    for _ in range(5):
        assert server.alive()
    assert any(select.select([client], [], [], DEADLINE)[0] for client in idle[:1])
    for client in idle:
        client.close()
    server.end()


def test_busy_ones_keep_their_place_and_others_wait(tmp_path):
    server = HttpServer(f"unix:{tmp_path}/socket", preexec_fn=few_descriptors)
    busy = [server.connect() for _ in range(24)]
    for client in busy:
        client.sendall(post("/hold", b""))
        server.wait_for(r"holding \d+")
    late = server.connect()
    late.sendall(get("/echo"))
    assert not select.select([late], [], [], 0.2)[0]
    busy.pop().close()
    assert Reader(late).answer().status == 200
    late.close()
    server.ask(get("/release"))
    for client in busy:
        assert Reader(client).answer().body == b'"released"'
        client.close()
    server.end()


def test_a_thousand_connections_leave_nothing_behind(server):
    before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    for _ in range(10):
        clients = [server.connect() for _ in range(100)]
        for i, client in enumerate(clients):
            client.sendall(post("/later", b"%d" % i) if i % 4 else post("/echo", b"abc")[:-1])
        for i, client in enumerate(clients):
            if i % 4:
                assert Reader(client).answer().body == b"%d" % i
            client.close()
    end = time.monotonic() + DEADLINE
    while len(os.listdir(f"/proc/{server.process.pid}/fd")) > before:
        assert time.monotonic() < end


# --- streams ------------------------------------------------------------------------------------


def next_chunk(reader):
    length = int(reader.until(b"\r\n"), 16)
    data = reader.exactly(length)
    reader.exactly(2)
    return data


def test_a_stream_goes_on_until_it_is_ended(server):
    with server.connect() as client:
        client.sendall(get("/stream"))
        reader = Reader(client)
        status, headers = reader.head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert next_chunk(reader) == b"first\n"
        for _ in range(3):
            server.ask(get("/push"))
            assert next_chunk(reader) == b"pushed\n"
        server.ask(get("/end"))
        assert next_chunk(reader) == b""
        assert exchange(client, get("/echo")).status == 200


def test_a_stream_whose_client_leaves_is_told(server):
    with server.connect() as client:
        client.sendall(get("/stream"))
        number = server.wait_for(r"streaming (\d+)").group(1)
        reader = Reader(client)
        reader.head()
        next_chunk(reader)
    server.wait_for(f"gone {number}")
    assert server.ask(get("/push"))[0].status == 200


def test_head_of_a_stream_ends_it(server):
    with server.connect() as client:
        client.sendall(b"HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        server.wait_for(r"gone \d+")
        reader = Reader(client)
        assert reader.head()[0] == 200
        assert exchange(client, get("/echo")).status == 200


def test_a_stream_that_is_not_read_is_cut(server):
    with server.connect() as client:
        client.sendall(get("/flood"))
        server.wait_for(r"gone \d+")
    assert server.alive()


# --- the end --------------------------------------------------------------------------------------


def test_when_stopping_the_open_are_answered_and_closed(server):
    with server.connect() as waiting, server.connect() as idle, server.connect() as follower:
        assert exchange(idle, get("/echo")).status == 200
        follower.sendall(get("/stream"))
        number = server.wait_for(r"streaming (\d+)").group(1)
        waiting.sendall(post("/hold", b""))
        server.wait_for(r"holding \d+")
        with server.connect() as control:
            control.sendall(get("/stop") + get("/release"))
            reader = Reader(control)
            reader.answer()
            released = reader.answer()
            assert released.headers["connection"] == "close"
        server.wait_for(f"gone {number}")
        wait_for_end(idle)
        wait_for_end(follower)
        reader = Reader(waiting)
        answer = reader.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert reader.at_end()
        with pytest.raises(ConnectionError):
            server.connect()


def test_freed_with_open_requests_tells_each(server):
    clients = [server.connect() for _ in range(4)]
    for client, path in zip(clients, ("/hold", "/stream", "/echo", "/hold")):
        client.sendall(post(path, b"abc")[:-1 if path == "/echo" else None])
    for pattern in (r"holding \d+", r"streaming \d+", r"holding \d+"):
        server.wait_for(pattern)
    server.alive()
    server.process.send_signal(signal.SIGTERM)
    for _ in clients:
        server.wait_for(r"gone \d+")
    server.wait_for("freed")
    assert server.process.wait(DEADLINE) == 0
