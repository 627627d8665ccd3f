"""What idle functions cost: a warm slot of many, and a daemon with many functions, none up."""
import os
import subprocess
import time

from commands import HERE, SOURCE
from daemon import Daemon, pss_kib
from machine import field
from rows import Failed, Row
from warm import NATIVE_CONFIG, ORDERS_CONFIG, ORDERS_FILES, native_files


def available_kib():
    return int(field('/proc/meminfo', 'MemAvailable').split()[0])


def settled_kib():
    """MemAvailable when it has come to rest: the kernel gives memory back late. The highest of
    two seconds' looks."""
    looks = []
    for _ in range(10):
        looks.append(available_kib())
        time.sleep(0.2)
    return max(looks)


def each_kib(before, count):
    taken = before - settled_kib()
    if taken <= 0:
        raise Failed(f'MemAvailable grew by {-taken} KiB meanwhile: too few, or too busy a machine')
    return taken / count


def start_interpreters(started, count):
    for _ in range(count):
        started.append(subprocess.Popen(['/usr/bin/python3', os.path.join(HERE, 'idle.py')],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    for process in started[-count:]:
        process.stdout.readline()


def idle_interpreters(count):
    """KiB of MemAvailable for each of `count` that have the same imports and wait. One more is
    up before: what it reads is in memory for all."""
    started = []
    try:
        start_interpreters(started, 1)
        before = settled_kib()
        start_interpreters(started, count)
        return each_kib(before, count)
    finally:
        for process in started:
            process.stdin.close()
        for process in started:
            process.stdout.close()
            process.wait()


def by_command(processes):
    """{command: (how many, Pss in KiB)}"""
    found = {}
    for pid, _, command in processes:
        count, pss = found.get(command, (0, 0))
        found[command] = (count + 1, pss + pss_kib(pid))
    return found


def in_words(found):
    return ', '.join(f'{command} {pss / 1024:.1f} MB' + (f' ({count} of them)' if count > 1 else '')
                     for command, (count, pss) in sorted(found.items(), key=lambda pair: -pair[1][1]))


def keeper_and_zygote(daemon):
    """The keeper's child with the most private memory is the zygote: copies share it."""
    processes = daemon.processes()
    keepers = [pid for pid, _, command in processes if command == 'fnrun-keeper' and
               any(parent == pid for _, parent, _ in processes)]
    if not keepers:
        return 'no keeper was found'
    keeper = min(keepers)
    children = [(pss_kib(pid), pid) for pid, parent, _ in processes if parent == keeper]
    return (f'keeper {pss_kib(keeper):,} KiB, the largest of its {len(children)} children '
            f'{max(children)[0]:,} KiB (Pss)')


def slots(bench, rows):
    group = 'daemon: memory of a slot'
    count = bench.size(200, 20)
    bare = Row(group, f'a bare interpreter with the same imports, of {count} idle ones', 'KiB')
    slot = Row(group, f'fnrun, a warm python slot, of {count} idle ones', 'KiB', baseline=bare, must=0.4, aim=0.15)
    rows += [bare, slot]
    bare.fill_one(idle_interpreters(count), count, 'MemAvailable before and after')
    with Daemon(bench) as daemon:
        daemon.deploy('other', ORDERS_FILES, {'function': ORDERS_CONFIG, 'scale': {'keep_alive': '1s'}})
        daemon.wait_all_down(60)  # a language zygote is up, as it always is
        before = settled_kib()
        daemon.deploy('idle', ORDERS_FILES, {
            'function': ORDERS_CONFIG, 'scale': {'concurrency': count, 'provisioned': count}})
        daemon.wait_ready('idle', count, 120)
        slot.fill_one(each_kib(before, count), count)
        slot.note = f'MemAvailable before and after, environment included; {keeper_and_zygote(daemon)}'


def functions(bench, rows):
    count = bench.size(1000, 30)
    row = Row('daemon: memory of the daemon', f'fnrund, launcher, language zygotes with {count} functions, none up',
              'MB', must=32, aim=16, judged='median')
    rows.append(row)
    hello = {'app.py': os.path.join(SOURCE, 'examples', 'hello-python', 'app.py')}
    with Daemon(bench) as daemon:
        for number in range(count):
            files, config = (hello, ORDERS_CONFIG) if number % 2 else (native_files(bench), NATIVE_CONFIG)
            daemon.deploy(f'function-{number}', files, {'function': config, 'scale': {'keep_alive': '0s'}})
        daemon.wait_all_down(120)
        found = by_command(daemon.processes())
        row.fill_one(sum(pss for _, pss in found.values()) / 1024, 1, f'Pss: {in_words(found)}')


GROUPS = [('daemon: memory of a slot', slots), ('daemon: memory of the daemon', functions)]
