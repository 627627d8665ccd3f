"""How late the time limit is on a machine that is busy."""
import os
import subprocess

from daemon import Daemon
from rows import Failed, Row
from steps import numbers
from warm import CORES, load, native_event

LIMIT_MS = 100


def busy_loops(bench, count):
    return [subprocess.Popen([bench.program('spin')], stdin=subprocess.DEVNULL) for _ in range(count)]


def handler(bench):
    folder = bench.folder('endless')
    path = os.path.join(folder, 'app.py')
    with open(path, 'w') as file:
        file.write('def handler(event, context):\n    while True:\n        pass\n')
    return {'app.py': path}


def late_us(program):
    """The client's clock starts before the limit's does, so this is never too little."""
    return [latency - LIMIT_MS * 1000 for latency in program.latencies()]


def limit(bench, rows):
    group = 'daemon: time limit'
    loops = 2 * len(CORES)
    reply = Row(group, 'from the deadline to the reply')
    reaped = Row(group, 'from the deadline to the last process reaped', must=20000, aim=500, judged='p99')
    told = Row(group, 'the same as fnrund reports it: its duration, less the limit')
    rows += [reply, reaped, told]
    reports = bench.path('reports')
    calls = bench.size(250, 12)
    with Daemon(bench) as daemon:
        daemon.deploy('endless', handler(bench), {'function': {'runtime': 'python', 'handler': 'app.handler'},
                                                  'limits': {'timeout': f'{LIMIT_MS}ms'}})
        event = native_event(bench)
        first = ('--realtime',) if os.geteuid() == 0 else ()
        spinning = busy_loops(bench, loops)
        try:
            with load(bench, daemon, 'endless', event, *first) as program, \
                    load(bench, daemon, 'endless', event, '--header', 'X-Fnrun-Report: 1', '--keep',
                         'X-Fnrun-Report', reports, *first) as reported:
                for _ in range(calls):
                    for each in (program, reported):
                        if 'Sandbox.Timedout' not in each.calls(1, errors_allowed=True)['problem']:
                            raise Failed('a call of an endless loop ended otherwise than by the time limit')
                reply.fill(late_us(program))
                reaped.fill(late_us(reported))
                told.fill((report['durationMs'] - LIMIT_MS) * 1000 for report in numbers(reports))
        finally:
            for process in spinning:
                process.kill()
                process.wait()
    reply.note = (f'{loops} busy loops on {len(CORES)} cores, outside fnrun\'s groups; the clock runs from '
                  f'sending the event, less the {LIMIT_MS} ms; ' +
                  ('the client is SCHED_FIFO' if first else 'the client is one of the many'))
    reaped.note = 'with X-Fnrun-Report, whose answer waits until the process is reaped'


GROUPS = [('daemon: time limit', limit)]
