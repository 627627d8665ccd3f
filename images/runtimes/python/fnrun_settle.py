"""The last of a zygote's own life: its memory gets the shape that all copies start from."""

import gc
import os
import sys

import fnrun_handler
from fnrun_handler import own_module

_gate = own_module("_gate")

HUGE = 2 << 20  # bytes, also on aarch64 with pages of 4 KiB
PAGE = os.sysconf("SC_PAGESIZE")
MANY_BLOCKS = 300000  # of memory, as the interpreter counts them


def settle():
    """Nothing but what waits for the first copy may run in the zygote after this."""
    _collect()
    unshare()
    _collapse()
    if _has_foreign_code():
        _fork_once()
    fnrun_handler.flush()  # no copy may print it again
    gc.freeze()  # a collection in a copy does not write to what was made here


def _collect():
    """What is garbage now is so in each copy. In a large heap looking for it takes longer
    than all else before the first event, and the interpreter has looked lately itself: then
    only where something could hang on it that a copy may not have."""
    if sys.getallocatedblocks() < MANY_BLOCKS or _has_descriptors():
        gc.collect()
    else:
        gc.collect(1)


def _has_descriptors():
    try:
        return len(os.listdir("/proc/self/fd")) > 4  # 0, 1, 2, and that of the list
    except OSError:
        return True


def unshare():
    """libc maps a file of its own as if it were to be shared (gconv-modules.cache). Each mapping
    like that is looked at in each copy, at length; so it is mapped anew."""
    try:
        with open("/proc/self/maps", "rb") as maps:
            lines = [line.split(None, 5) for line in maps if b" r--s " in line]
        for place, _, offset, _, inode, path in lines:
            start, end = (int(number, 16) for number in place.split(b"-"))
            fd = os.open(path.rstrip(b"\n"), os.O_RDONLY | os.O_CLOEXEC)
            if os.fstat(fd).st_ino == int(inode):
                _gate.unshare(start, end - start, fd, int(offset, 16))
            os.close(fd)
    except (OSError, ValueError):
        pass  # no /proc, or no file: the keeper looks at it as it is


def _has_foreign_code():
    """Whether libraries are loaded that are not the interpreter's own."""
    if fnrun_handler.uses_stdio():
        return True
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if (isinstance(file, str) and file.endswith(".so") and "/lib-dynload/" not in file
                and module is not _gate):
            return True
    return False


def _fork_once():
    """Libraries that stop their threads before a fork (OpenBLAS among them) do it now, and
    start them again when they are next used: in the process of an event."""
    try:
        child = os.fork()
    except OSError:
        pass  # the function holds as many processes as it may: the keeper will see
    else:
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)


def _collapse():
    """Puts the heap into huge pages: a fork copies one entry for each instead of 512. That
    takes a while, so it waits until the first copy is made, where there is memory for the
    pages that this copy goes on using."""
    try:
        addresses = [address for start, end in _writable() for address in _filled(start, end)]
        collapse = _gate.collapse_later if _has_room(len(addresses) * HUGE) else _gate.collapse
        for address in addresses:
            if collapse(address, HUGE) < 0:
                return
    except (OSError, ValueError):
        pass  # no /proc, or of another form: small pages it is


def _has_room(size):
    limit = int(os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0)) << 20
    with open("/proc/self/statm", "rb") as file:
        resident = int(file.read().split()[1]) * PAGE
    return (resident + size) * 4 < limit * 3


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
