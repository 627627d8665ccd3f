"""The last of a zygote's own life: its memory gets the shape that all copies start from."""

import gc
import os

import fnrun_handler
from fnrun_handler import own_module

_gate = own_module("_gate")

HUGE = 2 << 20  # bytes, also on aarch64 with pages of 4 KiB
PAGE = os.sysconf("SC_PAGESIZE")


def settle():
    """Nothing but what waits for the first copy may run in the zygote after this."""
    gc.collect()
    collapse()
    # Libraries that stop their threads before a fork (OpenBLAS among them) do it now, and
    # start them again when they are next used: in the process of an event.
    try:
        child = os.fork()
    except OSError:
        pass  # the function holds as many processes as it may: the keeper will see
    else:
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
    fnrun_handler.flush()  # no copy may print it again
    gc.freeze()  # a collection in a copy does not write to what was made here


def collapse():
    """Puts the heap into huge pages: a fork copies one entry for each instead of 512."""
    try:
        for start, end in _writable():
            for address in _filled(start, end):
                if _gate.collapse(address, HUGE) < 0:
                    return
    except (OSError, ValueError):
        pass  # no /proc, or of another form: small pages it is


def _writable():
    """Ranges of private memory of no file, the heap among them."""
    with open("/proc/self/maps") as maps:
        for line in maps.read().splitlines():
            fields = line.split()
            if fields[1] == "rw-p" and (len(fields) == 5 or fields[5] == "[heap]"):
                start, _, end = fields[0].partition("-")
                start, end = int(start, 16), int(end, 16)
                if end - start >= HUGE:
                    yield -(-start // HUGE) * HUGE, end // HUGE * HUGE


def _filled(start, end):
    """Addresses of huge pages in the range that are in use for three quarters at least:
    what was reserved and never touched must not become memory."""
    if PAGE != 4096:
        return  # huge pages have another size as well
    entries = HUGE // PAGE
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        for address in range(start, end, HUGE):
            present = os.pread(pagemap.fileno(), 8 * entries, address // PAGE * 8)[7::8]
            if sum(byte >> 7 for byte in present) * 4 >= entries * 3:
                yield address
