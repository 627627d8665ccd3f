"""Every example runs on its own input."""

import base64
import io
import json
import shutil
import subprocess

import pytest
from harness import EXAMPLES, fnrun, invoke, needs_node


def copied(name, tmp_path):
    """A copy to build in: the source may be read-only."""
    target = tmp_path / name
    shutil.copytree(EXAMPLES / name, target)
    target.chmod(0o755)
    return target


def event_of(name):
    return f"@{EXAMPLES / name}/event.json"


def expected_of(name, file="expected.json"):
    return json.loads((EXAMPLES / name / file).read_text())


def test_hello_python_greets():
    result = invoke(EXAMPLES / "hello-python", "--event", event_of("hello-python"))
    assert result.succeeded() == {"message": "Hello, Ada!"}


@needs_node
def test_hello_node_greets_and_logs():
    result = invoke(EXAMPLES / "hello-node", "--event", event_of("hello-node"))
    assert result.succeeded() == {"message": "Hello, Ada!"}
    assert "INFO\tgreeting Ada\n" in result.log


@needs_node
def test_hello_azure_answers_the_request():
    result = invoke(EXAMPLES / "hello-azure", "--event", event_of("hello-azure"))
    answer = result.succeeded()
    assert list(answer) == ["status", "headers", "body"]
    assert answer["status"] == 200 and answer["body"] == {"message": "Hello, Ada!"}
    assert "greeting Ada" in result.log


@needs_node
def test_hello_azure_refuses_who_has_no_name():
    answer = invoke(EXAMPLES / "hello-azure").succeeded()
    assert answer["status"] == 400 and "name" in answer["body"]


def test_wordcount_sh_counts_words():
    result = invoke(EXAMPLES / "wordcount-sh", "--event", event_of("wordcount-sh"))
    assert result.succeeded() == expected_of("wordcount-sh")


@pytest.mark.parametrize("event, words, characters", [
    ('"to be"', 2, 5), ('"a \\"b\\" c"', 3, 7), ('""', 0, 0), ('{"a":{"text":"no no"},"text":"ja\\\\"}', 1, 3),
    ('{"te\\"xt":"no","k":"text","text" : "na\\u00efve \\ud83d\\ude00"}', 2, 7), ('{"text":"first","text":"x y"}', 1, 5),
])
def test_wordcount_sh_reads_json_as_it_is_written(event, words, characters):
    counts = invoke(EXAMPLES / "wordcount-sh", event=event).succeeded()
    assert (counts["words"], counts["characters"]) == (words, characters)


@pytest.mark.parametrize("event", ["{}", "5", '["text","no"]', '{"text":["text"]}', '{"k":"text"}', '{"a":{"text":"no"}}'])
def test_wordcount_sh_fails_without_a_text(event):
    result = invoke(EXAMPLES / "wordcount-sh", event=event)
    assert "exit status 1" in result.failed(1, "Runtime.ExitError")
    assert 'send {"text": "..."}' in result.log


def test_hello_c_greets(tmp_path):
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler (cc)")
    example = tmp_path / "hello-c"
    example.mkdir()
    example.chmod(0o755)
    subprocess.run([EXAMPLES / "hello-c/build", example / "handler.so"], check=True, umask=0o022)
    shutil.copy(EXAMPLES / "hello-c/function.ini", example)
    result = invoke(example, "--event", event_of("hello-c"))
    assert result.succeeded() == {"message": "Hello, Ada!"}


def test_hello_csharp_greets(tmp_path):
    for program, package in (("mcs", "mono-mcs"), ("mono", "mono-runtime")):
        if not shutil.which(program):
            pytest.skip(f"Mono's {program} is not installed: apt-get install {package}")
    example = copied("hello-csharp", tmp_path)
    subprocess.run([example / "build"], check=True, umask=0o022, capture_output=True)
    result = invoke(example, "--event", event_of("hello-csharp"))
    assert result.succeeded() == {"message": "Hello, Ada!"}
    assert "greeting Ada\n" in result.log


def test_hello_csharp_says_what_to_do_before_it_is_built(tmp_path):
    example = copied("hello-csharp", tmp_path)
    (example / "hello.exe").unlink(missing_ok=True)
    result = invoke(example)
    result.failed(1, "Runtime.ExitError")
    assert "build" in result.log


def test_access_log_summarises_the_file_in_its_folder():
    assert invoke(EXAMPLES / "access-log").succeeded() == expected_of("access-log", "expected-sample.json")


def test_access_log_summarises_the_event():
    assert invoke(EXAMPLES / "access-log", "--event", event_of("access-log")).succeeded() == expected_of("access-log")


@pytest.mark.parametrize("wrap", [lambda log: log, lambda log: {"log": log}], ids=["a string", "an object"])
def test_access_log_summarises_several_megabytes(tmp_path, wrap):
    log = subprocess.run([EXAMPLES / "access-log/make-log", "5M"], check=True, capture_output=True, text=True).stdout
    event = tmp_path / "event.json"
    event.write_text(json.dumps(wrap(log), ensure_ascii=False))
    assert event.stat().st_size > 5_000_000
    summary = invoke(EXAMPLES / "access-log", "--event", f"@{event}").succeeded()
    lines = log.splitlines()
    assert summary["requests"] + summary["unparsable"]["lines"] == len(lines)
    assert sum(summary["hours"].values()) == sum(summary["status"].values()) == summary["requests"]
    most = summary["topClients"][0]
    assert 0 <= sum(line.startswith(most["client"] + " ") for line in lines) - most["requests"] < 10


def test_the_sample_log_is_what_make_log_writes():
    made = subprocess.run([EXAMPLES / "access-log/make-log", "200K"], check=True, capture_output=True).stdout
    assert made == (EXAMPLES / "access-log/access.log").read_bytes()


def test_access_log_refuses_what_is_no_log():
    assert '{"log": "..."}' in invoke(EXAMPLES / "access-log", event={"lines": 5}).failed(1, "ValueError")


def thumbnail_reader():
    image = pytest.importorskip("PIL.Image", reason="this Python has no Pillow to look at the result: "
                                                    "apt-get install python3-pil")
    return lambda text: image.open(io.BytesIO(base64.b64decode(text, validate=True)))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_thumbnail_makes_a_small_picture_of_a_large_one(tmp_path, kind):
    read = thumbnail_reader()
    event = json.loads((EXAMPLES / "thumbnail/event.json").read_text())
    picture = read(event["image"])
    assert picture.width > 1000 and len(event["image"]) > 100_000
    event |= {"format": kind, "width": 120, "height": 120}
    (tmp_path / "event.json").write_text(json.dumps(event))
    result = invoke(EXAMPLES / "thumbnail", "--event", f"@{tmp_path}/event.json").succeeded()
    small = read(result["image"])
    assert small.format == kind.upper()
    assert small.size == (result["width"], result["height"]) == (120, 80)
    assert result["bytes"] == len(base64.b64decode(result["image"]))
    # The same picture: each of its quarters has about the colour that it had.
    def colours(image):
        return list(image.convert("RGB").resize((2, 2), 4).getdata())
    for before, after in zip(colours(picture), colours(small)):
        assert all(abs(a - b) < 12 for a, b in zip(before, after)), (before, after)


def test_thumbnail_works_with_convert_alone(tmp_path):
    read = thumbnail_reader()
    if not shutil.which("convert", path="/usr/local/bin:/usr/bin:/bin"):
        pytest.skip("there is no convert: apt-get install imagemagick")
    example = copied("thumbnail", tmp_path)
    (example / "PIL.py").write_text('raise ImportError("left out by the test")\n')
    result = invoke(example, "--event", event_of("thumbnail"))
    assert read(result.succeeded()["image"]).size == (160, 107)
    assert "by convert" in result.log


def can_make_thumbnails():
    if shutil.which("convert", path="/usr/local/bin:/usr/bin:/bin"):
        return True
    return subprocess.run(["/usr/bin/python3", "-c", "import PIL.Image"], capture_output=True,
                          check=False).returncode == 0


needs_pictures = pytest.mark.skipif(not can_make_thumbnails(), reason="neither Pillow nor convert is "
                                    "here: apt-get install python3-pil, or imagemagick")


@needs_pictures
@pytest.mark.parametrize("event, kind, part", [
    ({"image": "aGVsbG8gd29ybGQ="}, "NotAPicture", "cannot be read"),
    ({"image": "$$$"}, "NotAPicture", "not base64"),
    ({"image": ""}, "NotAPicture", "cannot be read"),
    ({"picture": "x"}, "ValueError", '{"image": "<base64>"}'),
    ({"image": "aGVsbG8=", "width": 0}, "ValueError", "width"),
    ({"image": "aGVsbG8=", "format": "tiff"}, "ValueError", "png or jpeg"),
])
def test_thumbnail_fails_with_a_reason_on_what_is_no_picture(event, kind, part):
    assert part in invoke(EXAMPLES / "thumbnail", event=event).failed(1, kind)


@needs_pictures
def test_thumbnail_fails_on_half_a_picture(tmp_path):
    event = json.loads((EXAMPLES / "thumbnail/event.json").read_text())
    event["image"] = event["image"][:40_000]
    (tmp_path / "event.json").write_text(json.dumps(event))
    invoke(EXAMPLES / "thumbnail", "--event", f"@{tmp_path}/event.json").failed(1, "NotAPicture")


@pytest.mark.parametrize("name", ["hello-python", "hello-node", "hello-azure", "wordcount-sh", "access-log", "thumbnail",
                                  "hello-csharp"])
def test_check_finds_nothing_wrong_with_the_example(name):
    result = fnrun("check", EXAMPLES / name)
    assert result.status == 0, result
