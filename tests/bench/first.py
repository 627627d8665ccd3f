"""The first call of a function that has never run, against an interpreter of its own."""
import os

from commands import SOURCE, bare_python, bwrap_python, firejail, runc, works
from commands import HERE
from daemon import Daemon, invoke_path
from rows import Row
from slices import Slices, same_reply
from warm import ORDERS, ORDERS_CONFIG, ORDERS_EVENT, ORDERS_FILES, load

HELLO = os.path.join(SOURCE, 'examples', 'hello-python')


def down(daemon, files, config, count):
    """Deployed under `count` names, and then no process of any of them alive."""
    names = [f'never-run-{number}' for number in range(count)]
    for name in names:
        daemon.deploy(name, files, {'function': config, 'scale': {'keep_alive': '1s'}})
    daemon.wait_all_down(60)
    return names


def exec_loop(bench, command):
    return Slices(bench, [bench.program('exec_loop')], ['--', *command])


def first_calls(bench, row, baseline, files, config, event_path, command):
    with open(event_path) as file:
        event = file.read()
    with Daemon(bench) as daemon:
        names = down(daemon, files, config, bench.size(40, 5))
        with exec_loop(bench, command) as plain, load(bench, daemon, names[0], event_path) as fnrun:
            plain.calls(2)
            plain.forget()
            for name in names:
                one = plain.calls(1)
                fnrun.say(f'path {invoke_path(name)}')
                same_reply(one, fnrun.calls(1))
            baseline.fill(plain.latencies())
            row.fill(fnrun.latencies())
            cold = sum(daemon.show(name)['cold'] for name in names)
            row.note = f'{cold} of {len(names)} were counted as cold by fnrund'
    return event


def peers(bench, group, baseline):
    with open(ORDERS_EVENT) as file:
        event = file.read()
    orders = bench.copied(ORDERS)
    in_runc = ['/usr/bin/python3', '/runtime/bare.py', '/task', event]
    for name, command in (('bwrap + python3', bwrap_python(orders, event)),
                          ('runc run + python3', runc(bench, in_runc, [(orders, '/task'), (HERE, '/runtime')])),
                          ('firejail + python3', firejail(*bare_python(orders, event)))):
        row = Row(group, name, baseline=baseline)
        row.why = works(command)
        if row.why is None:
            with exec_loop(bench, command) as program:
                program.calls(bench.size(20, 1))
                row.fill(program.latencies())
        yield row


def python(bench, rows):
    """The same heap, imports and handler on both sides: most of it is the function's own."""
    group = 'daemon: first call, python'
    baseline = Row(group, '(c) bare /usr/bin/python3 for the event')
    row = Row(group, 'fnrun, never run, language zygote up', baseline=baseline, must=0.5, aim=0.15)
    rows += [baseline, row]
    with open(ORDERS_EVENT) as file:
        command = bare_python(bench.copied(ORDERS), file.read())
    first_calls(bench, row, baseline, ORDERS_FILES, ORDERS_CONFIG, ORDERS_EVENT, command)
    rows += peers(bench, group, baseline)


def hello(bench, rows):
    """A function that imports nothing: there the start is all there is."""
    group = 'daemon: first call, hello-python'
    baseline = Row(group, '(c) bare /usr/bin/python3 for the event')
    row = Row(group, 'fnrun, never run, language zygote up', baseline=baseline, must=0.5, aim=0.15)
    rows += [baseline, row]
    path = os.path.join(HELLO, 'event.json')
    with open(path) as file:
        command = bare_python(bench.copied(HELLO), file.read())
    first_calls(bench, row, baseline, {'app.py': os.path.join(HELLO, 'app.py')}, ORDERS_CONFIG, path, command)


GROUPS = [('daemon: first call, python', python), ('daemon: first call, hello-python', hello)]
