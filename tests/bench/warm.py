"""Warm functions: latency by one keep-alive connection, throughput by four, the whole command."""
import json
import os
import subprocess

from commands import HERE, Command, command_rows, measure, usable, which
from daemon import Daemon, invoke_path
from rows import Failed, Row
from slices import Slices, interleave, same_reply

CORES = sorted(os.sched_getaffinity(0))
ORDERS = os.path.join(HERE, 'orders')
ORDERS_EVENT = os.path.join(ORDERS, 'event.json')
ORDERS_FILES = {'app.py': os.path.join(ORDERS, 'app.py')}
ORDERS_CONFIG = {'runtime': 'python', 'handler': 'app.handler'}


def native_files(bench):
    return {'heap.so': bench.program('heap.so', flags=('-shared', '-fPIC'))}


NATIVE_CONFIG = {'runtime': 'native', 'handler': 'heap.so'}


def native_event(bench):
    path = os.path.join(bench.work, 'event.json')
    with open(path, 'w') as file:
        file.write('{"name": "Ada"}')
    return path


def fork_server(bench, event, core):
    return Slices(bench, [bench.program('fork_server'), event, '--core', str(core)])


def python_fork_server(bench, core):
    return Slices(bench, ['/usr/bin/python3', os.path.join(HERE, 'fork_server.py'), bench.copied(ORDERS), ORDERS_EVENT,
                          '--core', str(core)])


def load(bench, daemon, name, event, *options):
    return Slices(bench, [bench.program('load'), '--socket', daemon.socket, '--path', invoke_path(name), '--event',
                          event], options)


def h2load(bench, daemon, name, event, *options):
    """Latencies in us of h2load, the second opinion; it connects, works and ends."""
    if not which('h2load'):
        raise Failed('not installed')
    log = bench.path('h2load')
    run = subprocess.run([which('h2load'), '--h1', '--base-uri', f'unix:{daemon.socket}', '--data', event, '--header',
                          'content-type: application/json', '--log-file', log, *options,
                          'http://localhost' + invoke_path(name)],
                         stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
    lines = [line.split('\t') for line in open(log)] if os.path.exists(log) else []
    if run.returncode or not lines:
        raise Failed(f'h2load: {(run.stderr or run.stdout).decode(errors="replace").strip()[-200:]}')
    wrong = sum(1 for line in lines if line[1] != '200')
    if wrong:
        raise Failed(f'h2load: {wrong} of {len(lines)} replies were not 200')
    return [float(line[2]) for line in lines], run.stdout.decode()


def second_opinions(bench, daemon, name, event, row, wrk, slices, calls):
    """wrk knows no unix sockets; h2load is not interleaved."""
    wrk.why = 'speaks TCP only' if which('wrk') else 'not installed'
    try:
        row.fill(h2load(bench, daemon, name, event, '-c', '1', '-n', str(slices * calls))[0])
    except Failed as failed:
        row.why = str(failed)


def forked(daemon, name):
    """The rows are about functions that are forked; one that is started ahead says why."""
    shown = daemon.show(name)
    if shown['way'] != 'fork':
        raise Failed(f'{name} is not forked but {shown["way"]}: {shown["why"]}')


def latency(bench, rows, group, baseline_name, start_baseline, files, config, event, targets):
    slices, calls = bench.size((21, 500), (3, 70))
    baseline = Row(group, baseline_name)
    warm = Row(group, 'fnrun, HTTP on a keep-alive connection', baseline=baseline, must=targets[0], aim=targets[1])
    paced = Row(group, 'the same, 2 ms of quiet before each call', baseline=baseline)
    kept = Row(group, 'the same, isolation = environment', baseline=baseline)
    other = Row(group, 'the same by h2load --h1 -c 1', baseline=baseline)
    wrk = Row(group, 'the same by wrk')
    rows += [baseline, warm, paced, kept, other, wrk]
    with Daemon(bench) as daemon:
        daemon.deploy('warm', files, {'function': config})
        daemon.deploy('kept', files, {'function': config, 'scale': {'isolation': 'environment'}})
        with start_baseline(CORES[-1]) as plain, load(bench, daemon, 'warm', event) as fnrun, \
                load(bench, daemon, 'warm', event, '--pause', '2000') as quiet, \
                load(bench, daemon, 'kept', event) as reused:
            first = fnrun.calls(1)
            forked(daemon, 'warm')
            same_reply(plain.calls(1), first)
            interleave([plain, fnrun], slices, calls)
            interleave([quiet, reused], slices, max(10, calls // 10))
            for row, program in ((baseline, plain), (warm, fnrun), (paced, quiet), (kept, reused)):
                row.fill(program.latencies())
        second_opinions(bench, daemon, 'warm', event, other, wrk, slices, calls)
        slots = daemon.show('warm')['slots']
        warm.note = f'slots built {slots["built"]}, reused {slots["reused"]}, retired {json.dumps(slots["retired"])}'
    return warm


def native(bench, rows):
    event = native_event(bench)
    latency(bench, rows, 'daemon: native, warm', '(a) a C process that forks for each event',
            lambda core: fork_server(bench, event, core), native_files(bench), NATIVE_CONFIG, event, (0.6, 0.3))


def python(bench, rows):
    group = 'daemon: python, warm'
    spread = Row(group, 'fnrun, p99 / p50', unit='', must=5, aim=3, judged='median')
    try:
        warm = latency(bench, rows, group, '(b) a python process with os.fork for each event',
                       lambda core: python_fork_server(bench, core), ORDERS_FILES, ORDERS_CONFIG, ORDERS_EVENT,
                       (0.25, 0.08))
        spread.fill_one(warm.p99 / warm.median, warm.samples)
    finally:
        rows.insert(2, spread)


class Loops:
    """A forking loop on each core, told and asked as one."""

    def __init__(self, programs):
        self.programs = programs

    def seconds(self, seconds):
        for program in self.programs:
            program.say(f'seconds {seconds}')
        answers = [program.answer() for program in self.programs]
        return {**answers[0], 'per_second': sum(answer['per_second'] for answer in answers)}


def sustained_rows(group):
    plain = Row(group, f'(a) a C process that forks, one on each of {len(CORES)} cores', '1/s')
    python_plain = Row(group, '(b) a python process with os.fork, one on each core', '1/s')
    higher = {'unit': '1/s', 'better': 'higher'}
    return {
        'a': plain,
        'invocation': Row(group, 'fnrun, native, 4 connections', baseline=plain, must=0.5, aim=0.95, **higher),
        'strict': Row(group, 'fnrun, native, isolation = strict', baseline=plain, must=0.10, aim=0.18, **higher),
        'h2load': Row(group, 'fnrun, native, by h2load --h1 -c 4', baseline=plain, **higher),
        'b': python_plain,
        'python': Row(group, 'fnrun, python, 4 connections', baseline=python_plain, must=0.75, aim=1.1, **higher),
    }


def sustained(bench, rows):
    """Each row in turn for some seconds, again and again. What ran before it has a moment to
    build its slots anew, and the row one to get going."""
    named = sustained_rows('daemon: sustained')
    rows += named.values()
    turns, seconds, moment = bench.size((6, 3.0, 0.7), (1, 0.6, 0.3))
    event = native_event(bench)
    connections = ('--connections', '4')
    rates = {name: [] for name in named}
    with Daemon(bench) as daemon:
        daemon.deploy('invocation', native_files(bench), {'function': NATIVE_CONFIG})
        daemon.deploy('strict', native_files(bench), {'function': NATIVE_CONFIG, 'scale': {'isolation': 'strict'}})
        daemon.deploy('python', ORDERS_FILES, {'function': ORDERS_CONFIG})
        programs = {
            'a': Loops([fork_server(bench, event, core) for core in CORES]),
            'invocation': load(bench, daemon, 'invocation', event, *connections),
            'strict': load(bench, daemon, 'strict', event, *connections),
            'b': Loops([python_fork_server(bench, core) for core in CORES]),
            'python': load(bench, daemon, 'python', ORDERS_EVENT, *connections),
        }
        try:
            for _ in range(turns):
                for name, program in programs.items():
                    program.seconds(moment)
                    rates[name].append(program.seconds(seconds)['per_second'])
            by_h2load(bench, daemon, event, named['h2load'], turns, seconds)
        finally:
            for program in programs.values():
                for each in getattr(program, 'programs', [program]):
                    each.__exit__()
        for name, values in rates.items():
            if values:
                named[name].fill(values)
                named[name].p99 = None
        for name in ('invocation', 'strict', 'python'):
            slots = daemon.show(name)['slots']
            named[name].note = (f'{turns} slices of {seconds} s; slots built {slots["built"]}, reused '
                                f'{slots["reused"]}, retired {json.dumps(slots["retired"])}')


def by_h2load(bench, daemon, event, row, turns, seconds):
    try:
        count, said = h2load(bench, daemon, 'invocation', event, '-c', '4', '-D', str(max(1, round(seconds))))
        words = said.split(' req/s')[0].split()
        row.fill_one(float(words[-1]), len(count))
    except (Failed, ValueError, IndexError) as failed:
        row.why = str(failed)


def shell_commands(bench, socket):
    event = '{"name": "Ada"}'
    musl = 'musl-gcc' if which('musl-gcc') else 'cc'
    return [
        Command('(d) bare exec of a static program' + (' (musl)' if musl != 'cc' else ''),
                [bench.program('hello', musl)]),
        Command('fnrun invoke NAME', [bench.built('fnrun'), 'invoke', 'warm', '--socket', socket, '--event', event],
                must=2.0, aim=1.3),
        Command('curl --unix-socket', [which('curl'), '--silent', '--fail', '--unix-socket', socket, '--data', event,
                                       'http://localhost' + invoke_path('warm')]),
    ]


def shell(bench, rows):
    """The whole command, from exec to exit."""
    group = 'daemon: the whole command'
    socket = bench.path('socket')
    commands = shell_commands(bench, socket)
    busy = command_rows(group, commands[:2], ' (back to back)', rows)
    quiet = command_rows(group, commands, ' (quiet)', rows)
    with Daemon(bench, socket) as daemon:
        daemon.deploy('warm', native_files(bench), {'function': NATIVE_CONFIG})
        measure(bench, usable(busy), bench.size(10000, 200), 0)
        measure(bench, usable(quiet), bench.size(200, 10), 60)


GROUPS = [('daemon: native, warm', native), ('daemon: python, warm', python), ('daemon: sustained', sustained),
          ('daemon: the whole command', shell)]
