"""Where the time of one invocation goes, and who spends processor time on it and on its slot.

Seen from outside: what a client waits for without a function (HTTP alone, then with the
checks of an invocation), what fnrund reports of each call, and each process's own
processor time (schedstat, ns) around a number of calls."""
import json
import os

from daemon import Daemon, descendants, invoke_path
from rows import Failed, Row
from slices import Slices, interleave
from warm import (NATIVE_CONFIG, ORDERS_CONFIG, ORDERS_EVENT, ORDERS_FILES, load, native_event, native_files)


def spent_ns(pid):
    try:
        with open(f'/proc/{pid}/schedstat') as file:
            return int(file.read().split()[0])
    except OSError:
        return 0


def who_is_there(daemon, client):
    """{pid: what it is called in the table}"""
    found = {}
    keepers = set()
    for pid, parent, command in descendants(daemon.process.pid):
        if command == 'fnrun-keeper' and parent not in keepers:
            keepers.add(pid)
            found[pid] = 'the keeper'
        elif pid == daemon.process.pid:
            found[pid] = 'fnrund'
        elif parent in keepers:
            found[pid] = "slots' init, zygote and frozen copies"
        else:
            found[pid] = 'launcher and others'
    for pid, _, _ in descendants(2):
        found[pid] = "the kernel's own threads"
    found[client] = 'the client'
    return found


def spent_by(daemon, program, calls):
    """us of processor time a call: {who: us}. What was not there before and after is left out:
    the processes of the events themselves, which fnrund reports."""
    names = who_is_there(daemon, program.process.pid)
    before = {pid: spent_ns(pid) for pid in names}
    program.calls(calls)
    found = {}
    for pid, name in names.items():
        spent = spent_ns(pid)
        if spent:
            found[name] = found.get(name, 0) + (spent - before[pid]) / 1000 / calls
    return found


def get(bench, daemon, path, event, *options):
    return Slices(bench, [bench.program('load'), '--socket', daemon.socket, '--path', path, '--event', event], options)


def numbers(path):
    """X-Fnrun-Report of each call, a line each."""
    with open(path) as file:
        lines = [line for line in file if line.strip()]
    if not lines:
        raise Failed('no X-Fnrun-Report came')
    return [json.loads(line)['report'] for line in lines]


def waits(bench, daemon, rows, group, event):
    """What a client waits for, step by step."""
    calls = bench.size(500, 100)
    reports = bench.path('reports')
    with get(bench, daemon, '/fnrun/v1/health', os.devnull, '--method', 'GET') as health, \
            get(bench, daemon, invoke_path('warm'), event, '--header', 'X-Amz-Invocation-Type: DryRun') as dry, \
            load(bench, daemon, 'warm', event) as whole, \
            load(bench, daemon, 'warm', event, '--header', 'X-Fnrun-Report: 1', '--keep', 'X-Fnrun-Report',
                 reports) as reported:
        programs = (health, dry, whole, reported)
        interleave(programs, bench.size(4, 1), calls)
        reports = numbers(reports)
        for name, program in (('HTTP alone: a request for /fnrun/v1/health', health),
                              ('with the checks of an invocation: DryRun', dry),
                              ('the whole call', whole),
                              ('until its process is reaped: X-Fnrun-Report', reported)):
            row = Row(group, name)
            row.fill(program.latencies())
            rows.append(row)
        alone, whole = rows[-4].median, rows[-2].median
    for name, key in (("of it, from event to result as fnrund reports it", 'durationMs'),
                      ("processor time of the event's own process", 'cpuMs')):
        row = Row(group, name)
        row.fill(report[key] * 1000 for report in reports)
        rows.append(row)
    waiting = Row(group, 'the rest of the whole call: waiting for a slot that is ready')
    waiting.fill_one(max(0, whole - alone - rows[-2].median), len(reports))
    rows.append(waiting)


def where(bench, rows, group, files, config, event):
    calls = bench.size(4000, 200)
    with Daemon(bench) as daemon:
        daemon.deploy('warm', files, {'function': config})
        waits(bench, daemon, rows, group, event)
        with load(bench, daemon, 'warm', event) as program:
            program.calls(calls // 10)
            spent = spent_by(daemon, program, calls)
        for name, us in sorted(spent.items(), key=lambda pair: -pair[1]):
            row = Row(group, f'processor time a call: {name}')
            row.fill_one(us, calls)
            rows.append(row)
        slots = daemon.show('warm')['slots']
        for name, key in (('building a slot', 'buildUs'), ('cleaning and proving a slot', 'cleanUs')):
            if key in slots:
                row = Row(group, name)
                row.fill_one(slots[key], slots['built' if key == 'buildUs' else 'reused'])
                rows.append(row)


def native(bench, rows):
    where(bench, rows, 'daemon: where the time goes, native', native_files(bench), NATIVE_CONFIG, native_event(bench))


def python(bench, rows):
    where(bench, rows, 'daemon: where the time goes, python', ORDERS_FILES, ORDERS_CONFIG, ORDERS_EVENT)


GROUPS = [('daemon: where the time goes, native', native), ('daemon: where the time goes, python', python)]
