"""function.ini with every mistake one can make: each is named with file, line and what
was expected, all at once, by check and by invoke alike."""

import json
import os
import re

import pytest
from harness import fnrun, invoke

APP = "def handler(event, context):\n    return 1\n"

MISTAKES = [
    ("[limits]\nmemroy = 64M\n", 2, ["memroy", "did you mean memory?"]),
    ("[limit]\nmemory = 64M\n", 1, ["[limit]", "did you mean [limits]?"]),
    ("[nonsense]\nx = 1\n", 1, ["unknown section [nonsense]"]),
    ("memory = 64M\n", 1, ["before the first section", "[limits]"]),
    ("[function]\nmemory = 64M\n", 2, ["belongs into [limits]"]),
    ("[limits]\n\nmemory = 64X\n", 3, ["memory", "K, M or G", "64X"]),
    ("[limits]\nmemory = 64 potatoes\n", 2, ["memory", "64 potatoes"]),
    ("[limits]\nmemory = -64M\n", 2, ["memory", "-64M"]),
    ("[limits]\nmemory = 1K\n", 2, ["memory", "4M", "1K"]),
    ("[limits]\nmemory = 99999999999999999999G\n", 2, ["memory", "1024G"]),
    ("[limits]\nmemory = 2000G\n", 2, ["memory", "1024G"]),
    ("[limits]\nmemory =\n", 2, ["memory", "nothing"]),
    ("[limits]\ntimeout = 5\n", 2, ["timeout", "did you mean 5s?"]),
    ("[limits]\ntimeout = 5 minutes\n", 2, ["timeout", "ms, s, m or h"]),
    ("[limits]\ntimeout = 0s\n", 2, ["timeout", "1ms to 24h"]),
    ("[limits]\ntimeout = -3s\n", 2, ["timeout"]),
    ("[limits]\ntimeout = 25h\n", 2, ["timeout", "24h"]),
    ("[limits]\ntimeout = 1e3s\n", 2, ["timeout"]),
    ("[limits]\ninit = never\n", 2, ["init"]),
    ("[limits]\ncpu = 0\n", 2, ["cpu"]),
    ("[limits]\ncpu = 99999\n", 2, ["cpu"]),
    ("[limits]\ncpu = one\n", 2, ["cpu", "0.5"]),
    ("[limits]\nprocesses = 0\n", 2, ["processes", "1 to"]),
    ("[limits]\nprocesses = 1.5\n", 2, ["processes"]),
    ("[limits]\nfiles = 3\n", 2, ["files", "16"]),
    ("[limits]\ntmp = 1K\n", 2, ["tmp", "0, or 64K"]),
    ("[limits]\nevent = 100G\n", 2, ["event"]),
    ("[limits]\nresponse = -1\n", 2, ["response"]),
    ("[limits]\nlogs = many\n", 2, ["logs"]),
    ("[limits]\noutput = xml\n", 2, ["output", "json or raw"]),
    ("[function]\nruntime = pyton\n", 2, ["runtime", "did you mean python?"]),
    ("[function]\nruntime = provided\n", 2, ["not supported yet"]),
    ("[function]\nname = has space\n", 2, ["name", "letters, digits"]),
    ("[function]\nname = " + "x" * 65 + "\n", 2, ["name"]),
    ("[function]\nhandler = ../app.handler\n", 2, ["handler"]),
    ("[function]\nhandler = nosuch.handler\n", 2, ["nosuch.py", "app.py"]),
    ("[function]\nimage = ubuntu\n", 2, ["image", "host"]),
    ("[network]\nmode = outbound\n", 2, ["not supported yet"]),
    ("[network]\nmode = everything\n", 2, ["none or host"]),
    ("[scale]\nisolation = some\n", 2, ["isolation", "strict"]),
    ("[scale]\nprestart = maybe\n", 2, ["yes or no"]),
    ("[environment]\n1A = x\n", 2, ["1A"]),
    ("[environment]\nAWS_LAMBDA_FUNCTION_NAME = x\n", 2, ["set by fnrun"]),
    ("[quota]\ninvocations_per_week = 5\n", 2, ["_per_minute"]),
    ("[limits]\nmemory = 64M\nmemory = 128M\n", 3, ["memory", "line 2"]),
    ("[limits]\nmemory 64M\n", 2, ["key = value"]),
    ("[limits\nmemory = 64M\n", 1, ["]"]),
    ("[environment]\nA = \"open\n", 2, ["quote"]),
    ("[environment]\nA = \"x\\q\"\n", 2, ["escapes"]),
    ("[limits]\nmemory: 64M\n", 2, ["="]),
]


@pytest.mark.parametrize("text, line, parts", MISTAKES, ids=lambda value: value[:30].replace("\n", " ") if isinstance(value, str) else "")
def test_each_mistake_is_named_with_file_line_and_what_was_expected(python, text, line, parts):
    function = python(APP, text)
    check = fnrun("check", "function", cwd=function.parent)
    assert check.status == 3, check
    found = [row for row in check.err.splitlines() if row.startswith(f"function/function.ini:{line}: ")]
    assert found, check
    for part in parts:
        assert part in "\n".join(found), (part, check)
    call = invoke("./function", cwd=function.parent)
    call.refused(3, "InvalidParameterValueException")
    assert any(row.startswith(f"./function/function.ini:{line}: ") for row in call.err.splitlines()), call


def test_all_mistakes_are_said_at_once_in_order(python):
    function = python(APP, "[limits]\nmemory = 1K\ntimout = 3s\n\n[network]\nmode = x\n[function]\nhandler = no.handler\n")
    check = fnrun("check", "function", cwd=function.parent)
    lines = [int(number) for number in re.findall(r"^function/function\.ini:(\d+): ", check.err, re.MULTILINE)]
    assert lines == [2, 3, 6, 8]
    assert check.err.splitlines()[-1] == "4 problems"
    report = fnrun("check", "--json", "function", cwd=function.parent)
    assert report.status == 3
    assert [problem["line"] for problem in report.json["problems"]] == [2, 3, 6, 8]
    assert report.json["ok"] is False


@pytest.mark.parametrize("data", [b"[limits]\n\xff = 1\n", b"[limits]\nmemory = 64M\x00\n", b"[limits]\nmemory = 64M\rtimeout = 1s\n",
                                  b"[limits]\n\x1b[31m = 1\n", b"\x7fELF\x02\x01\x01\x00" * 50, b"[limits]\nmemory = " + b"9" * 70000 + b"\n"],
                         ids=["invalid UTF-8", "NUL", "lone CR", "escape sequence", "binary", "long line"])
def test_what_is_no_text_is_refused_without_printing_it_raw(python, data):
    function = python(APP)
    (function / "function.ini").write_bytes(data)
    result = invoke(function)
    result.refused(3, "function.ini:")
    assert "\x1b" not in result.err and "\0" not in result.err and len(result.err) < 20_000


@pytest.mark.parametrize("text", ["[limits]\r\nmemory = 64M\r\n\r\n; a comment\r\n[environment]\r\nA = b\r\n",
                                  "\ufeff[limits]\nmemory = 64M\n[environment]\nA = b\n",
                                  "\ufeff[limits]\r\n  memory=64M ; that much\r\n[environment]\r\nA = \"b\"",
                                  "# first\n[limits]\n\tmemory\t=\t64m\n[environment]\nA = b # last\n"],
                         ids=["CRLF", "BOM", "both, no last newline", "tabs"])
def test_line_ends_marks_and_blanks_of_every_editor_are_taken(folder, text):
    function = folder({"app.py": "import os\ndef handler(event, context):\n"
                                 "    return [int(context.memory_limit_in_mb), os.environ['A']]\n",
                       "function.ini": text.encode()})
    assert invoke(function).succeeded() == [64, "b"]


def test_values_longer_than_two_hundred_bytes_and_with_semicolons_are_whole(python):
    value = "x" * 5000 + ";y#z ä"
    function = python("import os\ndef handler(event, context):\n    return [os.environ['LONG'], os.environ['Q']]\n",
                      f"[environment]\nLONG = {value}\nQ = \" a ; b # c \\\"d\\\" \\n\"\n")
    assert invoke(function).succeeded() == [value, ' a ; b # c "d" \n']


def test_an_indented_line_does_not_continue_the_one_before(python):
    function = python(APP, "[environment]\nA = b\n   more\n")
    invoke(function).refused(3, "function.ini:3:")


def test_a_file_of_thousands_of_mistakes_is_bounded(python):
    function = python(APP, "[limits]\n" + "".join(f"key{number} = 1\n" for number in range(20_000)))
    result = invoke(function)
    result.refused(3, "function.ini:2:")
    assert len(result.err.splitlines()) < 200


def test_a_huge_function_ini_is_refused(python):
    invoke(python(APP, "; " + "x" * 100 + "\n" + "; filler\n" * 200_000)).refused(3, "function.ini")


def test_function_ini_that_is_a_folder_is_refused(python):
    function = python(APP)
    (function / "function.ini").mkdir()
    invoke(function).refused(3, "function.ini")


def test_function_ini_that_is_a_fifo_does_not_hang(python):
    function = python(APP)
    os.mkfifo(function / "function.ini")
    invoke(function).refused(3, "function.ini")


def test_secrets_are_said_to_be_the_daemons(python):
    function = python(APP, "[secrets]\nTOKEN = token\n")
    invoke(function).refused(3, "[secrets]", "--env")
    check = fnrun("check", function)
    assert check.status == 0 and "[secrets]" in check.err


def test_an_environment_that_is_too_large_is_refused_before_anything_runs(python):
    ini = "[environment]\n" + "".join(f"V{number} = {'x' * 1000}\n" for number in range(200))
    text = invoke(python(APP, ini)).err
    assert "environment has" in text and "131072" in text
    assert invoke(python(APP, ini, name="again")).status in (3, 5)


def test_check_is_right_about_what_invoke_accepts(python):
    for number, ini in enumerate(["", "[limits]\nmemory = 4M\n", "[limits]\nmemory=1G\ntimeout=24h\nprocesses=100000\nfiles=1048576\n",
                                  "[scale]\nconcurrency = 1\nwarmup =\n", "[function]\nname = a-b_c1\n", "[limits]\ntmp = 0\n"]):
        function = python(APP, ini, name=f"f{number}")
        check = fnrun("check", function)
        assert check.status == 0, (ini, check)
        result = invoke(function)
        assert result.status in (0, 137), (ini, result)
        assert json.loads(result.out)
