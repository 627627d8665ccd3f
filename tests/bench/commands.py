"""Whole commands: one-shot fnrun against its peers, interleaved by timer.c."""
import json
import os
import shutil
import subprocess

from rows import Failed, Row

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
EVENT = '{"name": "Ada"}'


def which(name):
    return shutil.which(name) or ''


def run(command, **more):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, **more)


def works(command):
    """None when the command ends with 0, else the reason in a few words."""
    if not command[0] or not os.access(command[0], os.X_OK):
        return 'not installed'
    try:
        done = run(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)[:80]
    if done.returncode == 0:
        return None
    lines = (done.stderr or done.stdout).decode(errors='replace').strip().splitlines()
    return f'exit {done.returncode}: {lines[-1][:90]}' if lines else f'exit {done.returncode}'


def runc_bundle(work, arguments, mounts):
    """A bundle for runc that shows /usr and the mounts (source, target), without rlimits."""
    if not which('runc'):
        return None
    bundle = work
    for name in ('usr', 'task', 'runtime', 'proc', 'dev', 'tmp', 'etc'):
        os.makedirs(os.path.join(bundle, 'rootfs', name))
    for name in ('bin', 'lib', 'lib64'):
        os.symlink('usr/' + name, os.path.join(bundle, 'rootfs', name))
    run([which('runc'), 'spec'], cwd=bundle, check=True)
    path = os.path.join(bundle, 'config.json')
    with open(path) as file:
        spec = json.load(file)
    spec['process'].pop('rlimits', None)
    spec['process'].update(terminal=False, args=arguments)
    spec['root']['readonly'] = True
    spec['mounts'] = [mount for mount in spec['mounts'] if mount['destination'] in ('/proc', '/dev')]
    for source, target in (('/usr', '/usr'), *mounts):
        spec['mounts'].append({'destination': target, 'type': 'bind', 'source': source,
                               'options': ['rbind', 'ro', 'nosuid', 'nodev']})
    with open(path, 'w') as file:
        json.dump(spec, file)
    return bundle


def runc(bench, arguments, mounts):
    work = bench.folder('runc')
    return [which('runc'), '--root', os.path.join(work, 'state'), 'run', '--bundle',
            runc_bundle(work, arguments, mounts) or work, f'fnrun-bench-{os.getpid()}-{os.path.basename(work)}']


def firejail(*command):
    return [which('firejail'), '--quiet', '--noprofile', '--net=none', '--read-only=/usr', '--caps.drop=all',
            '--nonewprivs', '--seccomp', *command]


def bare_python(folder, event):
    return ['/usr/bin/python3', os.path.join(HERE, 'bare.py'), folder, event]


def bwrap_python(folder, event):
    return [which('bwrap'), '--unshare-all', '--ro-bind', '/usr', '/usr', '--symlink', 'usr/lib', '/lib',
            '--symlink', 'usr/lib64', '/lib64', '--ro-bind', '/etc/ld.so.cache', '/etc/ld.so.cache', '--proc',
            '/proc', '--ro-bind', folder, folder, '--ro-bind', HERE, HERE, *bare_python(folder, event)]


def bwrap_static(folder):
    return [which('bwrap'), '--unshare-all', '--ro-bind', '/usr', '/usr', '--ro-bind', folder, '/var/task',
            '/var/task/hello']


class Command:
    """One command. The first of a group is its baseline; peers may be n/a with a reason."""

    def __init__(self, name, command, must=None, aim=None):
        self.name, self.command, self.must, self.aim = name, command, must, aim


def static_commands(bench):
    program = bench.program('hello')
    folder = os.path.dirname(program)
    return [
        Command('bwrap --unshare-all', bwrap_static(folder)),
        Command('bare exec', [program]),
        Command('fnrun invoke', [bench.built('fnrun'), 'invoke', folder + '/'], must=0.8, aim=0.55),
        Command('fnrun invoke, fnrun-once alone', [bench.built('fnrun-once'), 'invoke', folder + '/']),
        Command('unshare(1), all namespaces', [which('unshare'), '--user', '--map-root-user', '--mount', '--pid',
                                               '--fork', '--mount-proc', '--ipc', '--uts', '--net', '--cgroup',
                                               program]),
        Command('isolate --run', [which('isolate'), '--run', '--', program]),
    ]


def container_commands(bench):
    """The heavier peers, by themselves: what the kernel still tears down after one of them,
    and its writes to cgroup.procs, would be counted to the row that comes next."""
    program = bench.program('hello')
    folder = os.path.dirname(program)
    return [
        Command('bwrap --unshare-all', bwrap_static(folder)),
        Command('runc run', runc(bench, ['/task/hello'], [(folder, '/task')])),
        Command('firejail', firejail(program)),
        Command('runsc do', [which('runsc'), '--rootless', '--network=none', 'do', program]),
    ]


def python_commands(bench):
    folder = os.path.join(SOURCE, 'examples', 'hello-python')
    return [
        Command('bare /usr/bin/python3', bare_python(folder, EVENT)),
        Command('fnrun invoke', [bench.built('fnrun'), 'invoke', folder, '--event', EVENT], must=1.3, aim=1.0),
        Command('bwrap + python3', bwrap_python(folder, EVENT)),
    ]


def imports_commands(bench):
    """A handler that imports what many do: there the runtime's thrift shows less."""
    folder = bench.folder('imports')
    with open(os.path.join(folder, 'app.py'), 'w') as file:
        file.write('import datetime\nimport json\nimport logging\nimport urllib.request\n\n\n'
                   'def handler(event, context):\n    return {"message": json.dumps(event)}\n')
    return [
        Command('bare /usr/bin/python3', bare_python(folder, EVENT)),
        Command('fnrun invoke', [bench.built('fnrun'), 'invoke', folder + '/', '--event', EVENT], must=1.3, aim=1.0),
    ]


def node_commands(bench):
    folder = os.path.join(SOURCE, 'examples', 'hello-node')
    node = '/usr/bin/node' if os.path.exists('/usr/bin/node') else ''
    return [
        Command('bare node', [node, os.path.join(HERE, 'bare.js'), folder, EVENT]),
        Command('fnrun invoke', [bench.built('fnrun'), 'invoke', folder, '--event', EVENT]),
    ]


def measure(bench, rows, samples, quiet_ms):
    """rows: pairs of a Row and a command."""
    text = ''.join('\t'.join(command) + '\n' for _, command in rows)
    done = subprocess.run([bench.program('timer'), str(samples), str(quiet_ms)], input=text.encode(),
                          capture_output=True, check=True)
    for (row, command), line in zip(rows, done.stdout.decode().splitlines()):
        numbers, failures = line.split('|')
        if int(failures):
            raise Failed(f'{row.name} failed in {failures.strip()} of {samples} samples: {command}')
        row.fill(float(number) for number in numbers.split())


def usable(rows):
    """Leaves out what cannot run, with the reason."""
    kept = []
    for row, command in rows:
        row.why = works(command)
        if row.why is None:
            kept.append((row, command))
    return kept


def command_rows(group, commands, way, rows):
    """A row for each command, in pairs; they are added to rows too."""
    pairs = []
    for command in commands:
        row = Row(group, f'{command.name}{way}', must=command.must, aim=command.aim)
        row.baseline = pairs[0][0] if pairs else None
        pairs.append((row, command.command))
        rows.append(row)
    return pairs


def one_shot(group, commands):
    """What measures a group, quiet (60 ms of sleep before each sample) and back to back."""

    def measure_group(bench, rows):
        made = commands(bench)
        ways = [(command_rows(group, made, f' ({name})', rows), quiet_ms)
                for name, quiet_ms in (('quiet', 60), ('back to back', 0))]
        for pairs, quiet_ms in ways:
            kept = usable(pairs)
            if kept:
                measure(bench, kept, bench.samples, quiet_ms)

    return measure_group


GROUPS = [(name, one_shot(name, commands)) for name, commands in (
    ('static C program', static_commands),
    ('the same, heavier peers', container_commands),
    ('hello-python', python_commands),
    ('python with json, logging, datetime, urllib.request', imports_commands),
    ('hello-node', node_commands))]
