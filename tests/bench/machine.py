"""The machine and its neighbours: what a reader needs to judge the numbers by."""
import json
import os
import platform
import subprocess
import time


def processes_cpu():
    """pid: (command, clock ticks) of every process."""
    found = {}
    for name in os.listdir('/proc'):
        if not name.isdigit():
            continue
        try:
            with open(f'/proc/{name}/stat') as file:
                head, _, rest = file.read().rpartition(') ')
        except OSError:
            continue
        fields = rest.split()
        found[int(name)] = (head.partition('(')[2], int(fields[11]) + int(fields[12]))
    return found


def total_cpu():
    """Clock ticks of all cores together: not idle, stolen by the hypervisor."""
    with open('/proc/stat') as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return sum(fields[:3]) + sum(fields[5:8]), fields[7]


def neighbours(seconds):
    """What others do while we wait: busy and stolen parts of a core, and who."""
    tick = os.sysconf('SC_CLK_TCK')
    before, (busy, stolen) = processes_cpu(), total_cpu()
    time.sleep(seconds)
    after, (busy_then, stolen_then) = processes_cpu(), total_cpu()
    spent = lambda ticks: round(ticks / tick / seconds, 3)
    used = sorted(((name, ticks - before.get(pid, (name, 0))[1]) for pid, (name, ticks) in after.items()
                   if pid != os.getpid()), key=lambda pair: -pair[1])
    return {'busy_cores': spent(busy_then - busy), 'stolen_cores': spent(stolen_then - stolen),
            'who': [f'{name} {spent(ticks)}' for name, ticks in used[:5] if ticks]}


def first_line(path):
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return '?'


def field(path, name):
    try:
        with open(path) as file:
            for line in file:
                if line.startswith(name):
                    return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return '?'


def versions():
    """Of the interpreters that rows start."""
    found = {}
    for name, command in (('python', '/usr/bin/python3'), ('node', '/usr/bin/node')):
        try:
            done = subprocess.run([command, '--version'], capture_output=True, timeout=20, check=True)
            found[name] = done.stdout.decode().strip()
        except (OSError, subprocess.SubprocessError):
            found[name] = 'not installed'
    return found


def describe(bench):
    faults = json.loads(subprocess.run([bench.program('faults')], capture_output=True, check=True).stdout)
    return {'kernel': os.uname().release, 'machine': os.uname().machine,
            'cpu': field('/proc/cpuinfo', 'model name'), 'cores': len(os.sched_getaffinity(0)),
            'memory_kib': int(field('/proc/meminfo', 'MemTotal').split()[0]),
            'huge_pages': first_line('/sys/kernel/mm/transparent_hugepage/enabled'),
            'libc': ' '.join(platform.libc_ver()), **versions(), **faults, 'load': os.getloadavg()[0],
            'neighbours': neighbours(0.5 if bench.quick else 3),
            'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}


def print_machine(where):
    around = where['neighbours']
    print(f'{where["cpu"]}, {where["cores"]} cores, {where["memory_kib"] / 2**20:.0f} GiB, '
          f'Linux {where["kernel"]}; {where["python"]}, node {where["node"]}\n'
          f'page fault: {where["touch_us"]} us first touch, {where["copy_us"]} us copy on write; '
          f'huge pages: {where["huge_pages"]}\n'
          f'at the start: load {where["load"]:.2f}, others used {around["busy_cores"]} cores '
          f'(stolen: {around["stolen_cores"]}){": " + ", ".join(around["who"]) if around["who"] else ""}')
    if around['busy_cores'] > 0.1:
        print('bench: the machine is not idle: these figures are worth less', flush=True)
