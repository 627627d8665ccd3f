"""How events come in and results go out: byte for byte, from everywhere, of every size."""

import json
import os
import pty
import socket
import subprocess

import pytest
from harness import DEADLINE, FNRUN, environment, fnrun, invoke, limits_option, needs_node

LIMIT = 6 << 20
ECHO = "exec cat\n"  # hands the event's bytes back

ODD = [
    b"9007199254740993", b"-0.0", b"1E400", b"0.1000000000000000055511151231257827",
    b'{"b":1,"a":2,"b":3}', b' {"z" : [1,\t2 ] ,\r\n"a":null}\n', '"ü 😀 \u2028 \x7f"'.encode(),
    b'"\\u00fc\\ud83d\\ude00\\/\\u0000"', b'"\\ud83d"', b"true", b"null", b'""', b"[[[]]]",
    b"[" * 1000 + b"]" * 1000,
]


@pytest.fixture
def echo(script):
    return script(ECHO)


@pytest.mark.parametrize("event", ODD, ids=lambda event: ascii(event[:20].decode(errors="replace")))
def test_bytes_of_event_and_result_pass_through_unchanged(echo, event):
    result = invoke(echo, data=event)
    assert result.status == 0, result
    assert result.out == event


def test_the_event_option_passes_text_through_unchanged(echo):
    text = '{"z":9007199254740993, "ä":"😀"}'
    assert invoke(echo, "--event", text).out == text.encode()


def test_python_keeps_numbers_order_and_unicode(python):
    function = python("def handler(event, context):\n    return event\n")
    text = '{"z": 9007199254740993, "a": [1, 2.5, null], "ü": "😀"}'
    result = invoke(function, "--event", text)
    assert result.status == 0, result
    assert list(result.json.items()) == list(json.loads(text).items())
    assert b"9007199254740993" in result.out


@needs_node
def test_node_keeps_order_and_unicode(folder):
    function = folder({"index.js": "exports.handler = async (event) => event;\n"})
    result = invoke(function, "--event", '{"z":1,"a":[1,2.5,null],"ü":"😀"}')
    assert result.out == '{"z":1,"a":[1,2.5,null],"ü":"😀"}'.encode()


def large_event(size):
    """A JSON string of exactly so many bytes, with characters of several."""
    middle = ("äöü😀" * (size // 10)).encode()[:size - 2]
    text = b'"' + middle.decode("utf-8", "ignore").encode() + b'"'
    return text[:-1] + b"x" * (size - len(text)) + b'"'


@pytest.fixture(scope="module")
def six_megabytes():
    event = large_event(LIMIT)
    assert len(event) == LIMIT
    return event


def test_six_megabytes_pass_both_ways_from_a_file(echo, tmp_path, six_megabytes):
    (tmp_path / "event").write_bytes(six_megabytes)
    result = invoke(echo, "--event", f"@{tmp_path}/event")
    assert result.status == 0 and result.out == six_megabytes, result.err


def test_six_megabytes_pass_both_ways_from_stdin_by_name(echo, six_megabytes):
    result = invoke(echo, "--event", "-", data=six_megabytes)
    assert result.status == 0 and result.out == six_megabytes, result.err


def test_six_megabytes_pass_both_ways_from_a_pipe(echo, six_megabytes):
    result = invoke(echo, data=six_megabytes)
    assert result.status == 0 and result.out == six_megabytes, result.err


def test_six_megabytes_pass_both_ways_through_python(python, six_megabytes):
    function = python("def handler(event, context):\n    return event\n", "[limits]\nmemory = 256M\n")
    result = invoke(function, data=six_megabytes)
    assert result.status == 0 and result.json == json.loads(six_megabytes), result.err


def test_stdin_that_is_a_file_is_the_event(echo, tmp_path):
    (tmp_path / "event").write_bytes(b'{"from":"file"}')
    with open(tmp_path / "event", "rb") as stdin:
        assert invoke(echo, stdin=stdin).out == b'{"from":"file"}'


def test_stdin_that_is_a_socket_is_the_event(echo):
    ours, theirs = socket.socketpair()
    ours.sendall(b'{"from":"socket"}')
    ours.shutdown(socket.SHUT_WR)
    with ours, theirs:
        assert invoke(echo, stdin=theirs).out == b'{"from":"socket"}'


def test_dev_null_on_stdin_means_the_empty_event(echo):
    assert invoke(echo, stdin=subprocess.DEVNULL).out == b"{}"


def test_a_closed_stdin_means_the_empty_event(echo):
    command = ["sh", "-c", 'exec "$@" <&-', "sh", FNRUN, "invoke", str(echo), *limits_option()]
    done = subprocess.run(command, capture_output=True, timeout=DEADLINE, env=environment(), check=False)
    assert (done.returncode, done.stdout) == (0, b"{}"), done


def test_a_terminal_on_stdin_means_the_empty_event(echo):
    ours, theirs = pty.openpty()
    try:
        assert invoke(echo, stdin=theirs).out == b"{}"
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_terminal_on_stdin_can_be_asked_for_the_event(echo):
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b'{"typed":true}\n\x04')
        assert json.loads(invoke(echo, "--event", "-", stdin=theirs).out) == {"typed": True}
    finally:
        os.close(ours)
        os.close(theirs)


def test_the_option_wins_over_stdin(echo):
    assert invoke(echo, "--event", "1", data=b"2").out == b"1"


def slow_pipe(echo, *options):
    """Starts a call whose stdin says nothing until stderr has said something, or not."""
    return subprocess.Popen([FNRUN, "invoke", str(echo), *limits_option(), *options], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())


def test_a_pipe_without_data_is_waited_for_and_said_so(echo):
    process = slow_pipe(echo)
    assert process.stderr.readline() == b"fnrun: waiting for the event on stdin; use --event\n"
    out, err = process.communicate(b'{"late":1}', timeout=DEADLINE)
    assert (process.returncode, out) == (0, b'{"late":1}')
    assert err.count(b"waiting") == 0, "said once"


def test_an_empty_pipe_is_no_event_and_says_what_is_the_empty_one(echo):
    invoke(echo, data=b"").refused(3, "InvalidRequestContentException", "{} is the empty event")


# --- bad events -------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["{", "{'a':1}", "hello", '{"a":1,}', "[1 2]", "01", '"a\tb"', '"\\x"', "{}{}", "nul",
                                   '{"a"}', "NaN", "\ufeff{}"])
def test_an_event_that_is_not_json_is_refused_and_nothing_runs(echo, event):
    text = invoke(echo, "--event", event).refused(3, "InvalidRequestContentException", "not JSON", "at byte")
    assert "REPORT" not in text


@pytest.mark.parametrize("event", [b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"'],
                         ids=repr)
def test_an_event_of_invalid_utf8_is_refused(echo, event):
    invoke(echo, data=event).refused(3, "InvalidRequestContentException", "UTF-8")


def test_an_event_nested_too_deeply_is_refused(echo):
    invoke(echo, data=b"[" * 100_000 + b"]" * 100_000).refused(3, "InvalidRequestContentException", "nest")
    invoke(echo, data=b"[" * 1001 + b"]" * 1001).refused(3, "InvalidRequestContentException", "nest")


@pytest.mark.parametrize("way", ["file", "pipe", "stdin"])
def test_an_event_of_seven_megabytes_is_refused(echo, tmp_path, way):
    event = b'"' + b"x" * (7 << 20) + b'"'
    (tmp_path / "event").write_bytes(event)
    if way == "file":
        result = invoke(echo, "--event", f"@{tmp_path}/event")
    elif way == "pipe":
        result = invoke(echo, data=event)
    else:
        with open(tmp_path / "event", "rb") as stdin:
            result = invoke(echo, "--event", "-", stdin=stdin)
    result.refused(3, "RequestTooLargeException", "6291456", "raise `event` in [limits]")


def test_one_byte_over_the_limit_is_too_much(echo, tmp_path):
    (tmp_path / "event").write_bytes(large_event(LIMIT + 1))
    invoke(echo, "--event", f"@{tmp_path}/event").refused(3, "RequestTooLargeException")


def test_an_endless_event_is_refused_without_reading_it_to_its_end(echo):
    with open("/dev/zero", "rb") as zeros:
        result = fnrun("invoke", echo, *limits_option(), "--event", "-", stdin=zeros)
    result.refused(3, "RequestTooLargeException")


def test_the_event_limit_can_be_raised_and_lowered(script, tmp_path):
    (tmp_path / "event").write_bytes(large_event(7 << 20))
    assert invoke(script("cat > /dev/null; echo 1\n", "[limits]\nevent = 8M\n", name="big"),
                  "--event", f"@{tmp_path}/event").succeeded() == 1
    small = script(ECHO, "[limits]\nevent = 1K\n", name="small")
    invoke(small, data=large_event(1025)).refused(3, "RequestTooLargeException")
    assert invoke(small, data=large_event(1024)).out == large_event(1024)


def test_a_missing_event_file_is_refused(echo, tmp_path):
    invoke(echo, "--event", f"@{tmp_path}/none.json").refused(3, "none.json", "No such file")


def test_a_folder_as_event_file_is_refused(echo, tmp_path):
    invoke(echo, "--event", f"@{tmp_path}").refused(3, str(tmp_path))


# --- results ------------------------------------------------------------------------------


def test_text_that_an_exec_prints_becomes_a_json_string(script):
    result = invoke(script('printf \'say "hi"\\n\\303\\274\\t\\001\'\n'))
    assert result.succeeded() == 'say "hi"\nü\t\x01'


def test_an_exec_that_prints_nothing_gives_the_empty_string(script):
    assert invoke(script("true\n")).succeeded() == ""


def test_raw_output_passes_any_bytes(script):
    function = script("printf '\\000\\377{not json'\n", "[limits]\noutput = raw\n")
    result = invoke(function)
    assert (result.status, result.out) == (0, b"\0\xff{not json")
    wrapped = invoke(function, "--json").json
    assert wrapped["resultBase64"] == "AP97bm90IGpzb24="


def test_bytes_that_are_no_utf8_are_a_marshal_error_that_names_the_way_out(script):
    text = invoke(script("printf '\\377'\n")).failed(1, "Runtime.MarshalError")
    assert "UTF-8" in text and "output = raw" in text


def test_a_result_over_the_limit_fails_and_says_how_large(script):
    function = script("head -c 2000 /dev/zero | tr '\\0' 1\n", "[limits]\nresponse = 1K\n")
    text = invoke(function).failed(1, "Function.ResponseSizeTooLarge")
    assert "1024 bytes" in text and "raise `response` in [limits]" in text


def test_a_python_result_over_the_limit_fails_and_says_how_large(python):
    function = python("def handler(event, context):\n    return 'x' * (7 << 20)\n")
    text = invoke(function).failed(1, "Function.ResponseSizeTooLarge")
    assert str((7 << 20) + 2) in text


def test_a_result_that_nobody_takes_is_an_error(script):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([FNRUN, "invoke", str(script("echo 1\n")), *limits_option()], stdin=subprocess.DEVNULL,
                              stdout=full, stderr=subprocess.PIPE, timeout=DEADLINE, env=environment(), check=False)
    assert done.returncode == 5 and b"stdout" in done.stderr


def test_an_exec_that_does_not_read_its_event_is_not_wrong(script, six_megabytes):
    assert invoke(script("echo 1\n"), data=six_megabytes).succeeded() == 1


def test_an_exec_that_answers_before_it_has_read_everything_is_not_stuck(script, six_megabytes):
    result = invoke(script("head -c 5000000 /dev/zero | tr '\\0' 1; cat > /dev/null\n"), data=six_megabytes)
    assert result.status == 0 and result.out == b"1" * 5_000_000
