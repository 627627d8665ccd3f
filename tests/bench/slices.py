"""Programs that measure slices of their work when told to (slices.h), and their interleaving."""
import array
import json
import os
import subprocess

from rows import Failed


class Slices:
    """One such program. Its latencies are read from its record, in us."""

    def __init__(self, bench, command, arguments=()):
        self.record = bench.path('record')
        self.name = os.path.basename(command[0])
        self.skip = 0
        self.asked = 0
        options = ['--record', self.record]
        self.process = subprocess.Popen([*command, *options, *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
            self.process.wait(10)
        except BrokenPipeError:
            self.process.wait()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def say(self, line):
        try:
            self.process.stdin.write(line.encode() + b'\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            self.ended()

    def ended(self):
        words = self.process.stderr.read().decode(errors='replace').strip().splitlines()
        raise Failed(f'{self.name} ended: {words[-1][:200] if words else self.process.wait()}')

    def answer(self, errors_allowed=False):
        line = self.process.stdout.readline()
        if not line:
            self.ended()
        answer = json.loads(line)
        if answer['errors'] and not errors_allowed:
            raise Failed(f'{self.name}: {answer["errors"]} of {answer["calls"]} calls failed: '
                         f'{short(answer["problem"])}')
        return answer

    def calls(self, count, errors_allowed=False):
        self.say(f'calls {count}')
        return self.answer(errors_allowed)

    def seconds(self, seconds):
        self.say(f'seconds {seconds}')
        return self.answer()

    def forget(self):
        """What has been measured until now was to warm up."""
        self.skip = os.path.getsize(self.record) if os.path.exists(self.record) else 0

    def latencies(self):
        values = array.array('Q')
        with open(self.record, 'rb') as file:
            file.seek(self.skip)
            values.frombytes(file.read())
        return [value / 1000 for value in values]


def short(text):
    """The first line of a reply's head, and what follows the head."""
    head, _, body = text.partition('\r\n\r\n')
    return f'{head.splitlines()[0] if head else ""} {body[:160]}'.strip()


def interleave(programs, slices, calls):
    """Slices of each in turn, the order turned by one each round, so that what the machine does
    meanwhile meets all alike; one slice to warm up. Returns the last answer of each."""
    answers = [program.calls(calls) for program in programs]
    for program in programs:
        program.forget()
    for turn in range(slices):
        for step in range(len(programs)):
            at = (turn + step) % len(programs)
            answers[at] = programs[at].calls(calls)
    return answers


def same_reply(one, other):
    """What is compared must do the same work: the replies are equal as JSON."""
    try:
        equal = json.loads(one['reply']) == json.loads(other['reply'])
    except ValueError:
        equal = False
    if not equal:
        raise Failed(f'the replies differ: {one["reply"][:120]} and {other["reply"][:120]}')
