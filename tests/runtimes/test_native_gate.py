"""The native runtime as a zygote: isolate/gate.h with a stand-in for the keeper."""

import json
import os
import signal

import pytest

from fake_runner import RUNTIMES, SOURCE
from supervised import Zygote, compile_c, make_supervisor, needs_huge_pages

NATIVE = SOURCE / "images" / "runtimes" / "native"
PRELUDE = """
#include <fnrun.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#define HANDLER int handler(const struct fnrun_event *event, struct fnrun_result *result)
#define SAY(text) fnrun_result_write(result, text, strlen(text))
"""


@pytest.fixture(scope="session")
def supervisor(tmp_path_factory):
    return make_supervisor(tmp_path_factory.mktemp("supervisor"))


@pytest.fixture(scope="session")
def loader(tmp_path_factory):
    if os.environ.get("FNRUN_RUNTIMES"):
        return RUNTIMES / "native" / "fnrun-native"
    return compile_c(tmp_path_factory.mktemp("native") / "fnrun-native", *NATIVE.glob("*.c"), "-ldl")


@pytest.fixture
def zygote(supervisor, loader, tmp_path):
    """zygote(body, before="") -> a Zygote whose handler has this body, with its first slot"""
    started = []

    def start(body, before="", symbol="handler", slot=True):
        (tmp_path / "f.c").write_text(
            f"{PRELUDE}{before}\nHANDLER {{ (void)event; (void)result; {body} }}\n")
        compile_c(tmp_path / "f.so", "-shared", "-fPIC", f"-I{NATIVE}", tmp_path / "f.c")
        made = Zygote(supervisor, [loader, tmp_path / "f.so", symbol], cwd=tmp_path)
        started.append(made)
        if slot:
            made.slot()
        return made

    yield start
    for one in started:
        one.__exit__()


def test_every_event_has_a_process_of_its_own_with_the_loaded_state(zygote):
    made = zygote("""
        char text[100];
        snprintf(text, sizeof text, "[%d, %d, \\"%s\\", %s]", ++count, getpid(), event->request_id,
                 event->data);
        return SAY(text);
        """, "static int count = 7;")
    first = made.event(b'{"a": 1}', request_id="r-1").value
    second = made.event(b"[2]", request_id="r-2").value
    assert (first[0], second[0]) == (8, 8)
    assert first[1] != second[1]
    assert (first[2:], second[2:]) == (["r-1", {"a": 1}], ["r-2", [2]])


def test_a_slots_copy_joins_everything_and_keeps_nothing(zygote, tmp_path):
    slot = zygote("return 0;", slot=False).slot()
    assert slot["joined"] == ("setns:20000000 setns:20000 setns:8000000 setns:4000000 "
                              "setns:2000000 setns:40000000 gid:1092 uid:1092")
    assert (slot["descriptors"], slot["session"], slot["moved"]) == (0, True, "0")
    assert slot["folder"] == str(tmp_path)
    for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert f"{name}:\t0000000000000000\n" in slot["status"]
    assert "Threads:\t1\n" in slot["status"]
    assert slot["zygote_descriptors"] == 3


def test_several_slots_can_be_made_of_one_zygote(zygote):
    made = zygote("return SAY(\"1\");")
    for _ in range(3):
        assert made.slot()["zygote_descriptors"] == 3
        assert made.event().value == 1


def test_a_process_of_an_event_has_descriptors_0_1_2_alone_and_its_own_group(zygote):
    made = zygote("""
        char text[200] = "";
        for (int fd = 0; fd < 64; fd++) {
            char path[32], to[8];
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            if (readlink(path, to, sizeof to) >= 0)
                snprintf(text + strlen(text), 100, "%d ", fd);
        }
        printf("%s|%d", text, getpgrp() == getpid());
        return 0;
        """)
    answer = made.event()
    assert (answer.reply, answer.stdout) == (b"null", b"0 1 2 |1")


def test_big_events_and_results_go_through_whole(zygote):
    made = zygote("return result->write(result, event->data, event->length);")
    for length in (65_000, 65_536, 65_600, 6_000_000):
        event = json.dumps("x" * length).encode()
        assert made.event(event).reply == event


def test_failures_are_errors_with_the_same_object_as_by_frames(zygote):
    made = zygote("""
        if (event->data[0] == '1')
            return fnrun_result_fail(result, "BadInput", "no \\"name\\"");
        return 7;
        """)
    assert made.event(b"1", request_id="r-2").error == {
        "errorMessage": 'no "name"', "errorType": "BadInput", "requestId": "r-2", "stackTrace": []}
    assert made.event(b"2").error["errorMessage"] == "the handler returned 7"
    assert made.event(b"1").kind == "error"


def test_what_cannot_be_loaded_is_told_to_the_keeper_and_ends_the_zygote(zygote):
    failed = zygote("return 0;", symbol="nothing", slot=False).slot()
    assert failed.kind == "failed"
    assert failed.error["errorType"] == "Runtime.HandlerNotFound"
    assert failed.error["requestId"] == ""
    assert os.WIFEXITED(failed.status)


def test_a_trial_does_not_call_the_handler_and_answers_nothing(zygote):
    made = zygote('puts("called"); return SAY("1");')
    answer = made.trial()
    assert (answer.kind, answer.reply, answer.stdout) == ("trial", b"", b"")
    assert made.event().stdout == b"called\n"


def test_the_pages_that_a_trial_wrote_are_touched_before_a_later_event(zygote):
    made = zygote("return 0;")
    made.trial()
    made.slot()
    facts = made.event().facts
    assert facts["touched"] == facts["pages"] > 0


def test_output_is_flushed_before_the_answer(zygote):
    made = zygote('printf("no newline"); fprintf(stderr, "err"); return 0;')
    answer = made.event()
    assert (answer.stdout, answer.stderr) == (b"no newline", b"err")


def test_output_of_loading_is_the_zygotes_and_printed_once(zygote):
    made = zygote("return 0;", '__attribute__((constructor)) static void hello(void) '
                  '{ printf("loading"); }')
    assert [made.event().stdout, made.event().stdout] == [b"", b""]
    assert made.end().count(b"loading") == 1


@pytest.mark.parametrize("statement, number", [
    ("raise(SIGTERM)", signal.SIGTERM), ("abort()", signal.SIGABRT),
    ("*(volatile int *)0 = 1", signal.SIGSEGV)])
def test_a_process_that_dies_takes_only_its_event_along(zygote, statement, number):
    made = zygote(f"if (event->data[0] == '1') {statement}; return 0;")
    answer = made.event(b"1")
    assert answer.kind == "died"
    assert os.WTERMSIG(answer.status) == number
    assert made.event(b"2").reply == b"null"


def test_exit_before_an_answer_is_an_exit(zygote):
    answer = zygote("exit(3);").event()
    assert answer.kind == "died"
    assert os.WEXITSTATUS(answer.status) == 3


def test_libc_knows_the_id_of_its_new_thread(zygote):
    made = zygote("""
        pthread_mutexattr_t kind;
        pthread_mutex_t lock;
        pthread_mutexattr_init(&kind);
        pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
        pthread_mutex_init(&lock, &kind);
        pthread_mutex_lock(&lock);
        printf("%d ", ((int *)&lock)[2] == (int)syscall(SYS_gettid)); /* the owner, in glibc */
        pthread_t thread;
        void *got = NULL;
        pthread_create(&thread, NULL, work, &lock);
        pthread_join(thread, &got);
        printf("%d %d", got == &lock, pthread_kill(pthread_self(), 0));
        return 0;
        """, "static void *work(void *x) { return x; }")
    assert made.event().stdout == b"1 1 0"


def test_children_of_the_handler_work_and_do_not_answer_for_it(zygote):
    made = zygote("""
        if (fork() == 0)
            return SAY("\\"child\\"");
        int status;
        wait(&status);
        return system("exit 5") >> 8 == 5 ? SAY("\\"parent\\"") : 1;
        """)
    assert made.event().value == "parent"


def test_a_library_stops_its_threads_for_the_zygotes_one_fork(zygote):
    made = zygote('return SAY(running ? "1" : "0");', """
        static pthread_t thread;
        static int running, pipes[2];
        static void *work(void *x) { char c; read(pipes[0], &c, 1); return x; }
        static void stop(void) {
            if (running) { write(pipes[1], "", 1); pthread_join(thread, NULL); }
            running = 0;
            close(pipes[0]);
            close(pipes[1]);
        }
        __attribute__((constructor)) static void start(void) {
            running = pipe(pipes) == 0 && pthread_create(&thread, NULL, work, NULL) == 0;
            pthread_atfork(stop, NULL, NULL);
        }
        """, slot=False)
    slot = made.slot()
    assert "Threads:\t1\n" in slot["status"]
    assert slot["zygote_descriptors"] == 3
    assert made.event().value == 0


HEAP = """
        #include <sys/mman.h>
        __attribute__((unused)) static void fill(void) { static char *heap; heap = malloc(8 << 20);
            __asm__ volatile("" : : "r"(memset(heap, 1, 8 << 20)) : "memory"); }
        __attribute__((unused)) static void reserve(void) { mmap(NULL, 1 << 30, 3, 0x22, -1, 0); } /* private, anonymous */
        static int number(const char *key) {
            char line[200];
            int found = -1;
            FILE *file = fopen("/proc/self/smaps_rollup", "r");
            while (file && fgets(line, sizeof line, file))
                if (!strncmp(line, key, strlen(key)))
                    found = atoi(line + strlen(key));
            return found;
        }
"""


@needs_huge_pages
def test_the_heap_is_in_huge_pages(zygote):
    made = zygote('printf("%d", number("AnonHugePages:")); return 0;',
                  HEAP + "__attribute__((constructor)) static void go(void) { fill(); }")
    assert int(made.event().stdout) >= 4096  # kB, of 8192


def test_memory_that_was_only_reserved_is_not_filled(zygote):
    made = zygote('printf("%d", number("Rss:")); return 0;',
                  HEAP + "__attribute__((constructor)) static void go(void) { reserve(); }")
    assert 0 < int(made.event().stdout) < 16384


def test_the_function_does_not_see_how_it_is_run(zygote):
    assert zygote('return SAY(getenv("FNRUN_GATE") ? "1" : "0");').event().value == 0
