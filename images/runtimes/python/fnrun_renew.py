"""Randomness in the process of an event. All of them are copies of one: what a library
keeps of random numbers, the next event's process would have as well. Left is what nobody
but the function can know of: generators that its code made for itself, numbers drawn while
it was loaded, the hash seed, randomblob() of a database opened then.

`random` is not here: it seeds its own generator after every fork.
"""

import os
import sys

from fnrun_handler import own_module

_gate = own_module("_gate")


def prepare():
    """In the zygote, once all is loaded. Returns functions to call in each copy."""
    found = []
    for path in _mapped_files():
        if os.path.basename(path).startswith("libcrypto"):
            add = address_of(path, "RAND_add")
            if add:
                found.append(_openssl(add))
    for name, make in _modules.items():
        module = sys.modules.get(name)
        if module is not None:
            try:
                found.append(make(module))
            except AttributeError:
                pass  # another version of it, or a file of the function with that name
    return found


def address_of(path, name):
    """Where a function of a library that is loaded is (path None: of any), or 0."""
    try:
        import _ctypes
        return _ctypes.dlsym(_ctypes.dlopen(path, os.RTLD_NOW | os.RTLD_NOLOAD), name)
    except Exception:
        return 0


def _mapped_files():
    files = set()
    try:
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                start = line.find(b"/")
                if start >= 0:
                    files.add(os.fsdecode(line[start:].rstrip(b"\n")))
    except OSError:
        pass
    return sorted(files)


def _openssl(add):
    seed, urandom = _gate.seed, os.urandom
    # OpenSSL makes its generator when it is first used: rather here than in each copy.
    seed(add, urandom(32))
    return lambda: seed(add, urandom(32))


def _numpy(numpy_random):
    return numpy_random.mtrand._rand.seed


def _multiprocessing(process):
    current, urandom = process.current_process, os.urandom

    def renew():
        current().authkey = urandom(32)

    return renew


def _tempfile(tempfile):
    tempfile._RandomNameSequence

    def renew():
        tempfile._name_sequence = None  # made again when it is next used

    return renew


def _semaphores(synchronize):
    SemLock = synchronize.SemLock
    make = type(SemLock._rand)

    def renew():
        SemLock._rand = make()

    return renew


def _uuid(uuid):
    uuid._last_timestamp

    def renew():
        uuid._last_timestamp = None
        # A node that was drawn, as RFC 9562 6.10 marks it, not a network card's.
        if uuid._node is not None and uuid._node >> 40 & 1:
            uuid._node = uuid._random_getnode()

    return renew


_modules = {
    "numpy.random": _numpy,
    "multiprocessing.process": _multiprocessing,
    "multiprocessing.synchronize": _semaphores,
    "tempfile": _tempfile,
    "uuid": _uuid,
}
