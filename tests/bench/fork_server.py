#!/usr/bin/python3
"""Baseline (b): os.fork for each event in an interpreter that has the python function loaded
and its heap frozen, without any isolation. The child replies over a pipe.

    fork_server.py FOLDER EVENT_FILE [--core N] [--record FILE]

It is its own client, as fork_server.c is: the clock runs from just before os.fork, with the
event at hand, to the reply's last byte. See slices.h for what it is told and prints."""
import array
import gc
import json
import os
import sys
import time

sys.path.insert(0, sys.argv[1])
import app


def call(event):
    """Returns the latency in ns and the reply."""
    out, into = os.pipe()
    start = time.monotonic_ns()
    pid = os.fork()
    if pid == 0:
        os.write(into, json.dumps(app.handler(json.loads(event), None)).encode())
        os._exit(0)
    os.close(into)
    reply = os.read(out, 65536)
    took = time.monotonic_ns() - start
    os.close(out)
    os.waitpid(pid, 0)
    return took, reply.decode()


def measure(line, event):
    word, number = line.split()
    latencies = array.array('Q')
    errors, first = 0, ''
    start = time.monotonic()
    end = start + float(number) if word == 'seconds' else None
    while time.monotonic() < end if end else len(latencies) + errors < int(number):
        took, reply = call(event)
        if reply:
            latencies.append(took)
            first = first or reply
        else:
            errors += 1
    seconds = time.monotonic() - start
    order = sorted(latencies) or [0]
    return latencies, {'calls': len(latencies), 'errors': errors, 'seconds': seconds,
                       'per_second': len(latencies) / seconds, 'p50_ns': order[len(order) // 2],
                       'p99_ns': order[len(order) * 99 // 100], 'max_ns': order[-1], 'reply': first,
                       'problem': 'no reply from the child' if errors else ''}


def main():
    options = dict(zip(sys.argv[3::2], sys.argv[4::2]))
    if '--core' in options:
        os.sched_setaffinity(0, {int(options['--core'])})
    with open(sys.argv[2], 'rb') as file:
        event = file.read()
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        if line.strip() == 'quit':
            return
        latencies, answer = measure(line, event)
        if '--record' in options:
            with open(options['--record'], 'ab') as file:
                latencies.tofile(file)
        print(json.dumps(answer), flush=True)


main()
