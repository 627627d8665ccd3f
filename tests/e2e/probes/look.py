"""Tries, from inside, what a function must not be able to do, and says what it saw. The
tests judge; what can be looked at from outside they look at themselves.

The event: {"port": a listening port of the machine's loopback, "abstract": the name of
a listening abstract socket, "files": paths of the caller's}."""

import errno
import fcntl
import grp
import os
import pwd
import resource
import socket
import stat
import struct
import sys

SIOCGIFFLAGS = 0x8913
MASKED = ["kcore", "keys", "key-users", "timer_list", "kallsyms", "sched_debug", "kmsg", "kpagecount", "kpageflags",
          "kpagecgroup", "vmallocinfo", "slabinfo", "interrupts", "mtrr", "acpi/wakeup"]
STATUS = ["Uid", "Gid", "Groups", "NSpid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"]


def error_of(call, *arguments):
    """None, or the name of the error."""
    try:
        made = call(*arguments)
        if isinstance(made, int) and made > 2:
            os.close(made)
        return None
    except OSError as error:
        return errno.errorcode[error.errno]


def network(event):
    # By /proc: if_nameindex() asks by netlink, which is refused.
    names = [line.split(":")[0].strip() for line in open("/proc/net/dev", encoding="ascii") if ":" in line]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        flags = {}
        for name in names:
            answer = fcntl.ioctl(probe, SIOCGIFFLAGS, struct.pack("16sh14x", name.encode(), 0))
            flags[name] = struct.unpack("16sh14x", answer)[1]

    def connect(family, address):
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(3)
            try:
                client.connect(address)
                return None
            except socket.timeout:
                return "ETIMEDOUT"
            except OSError as error:
                return errno.errorcode[error.errno]

    def talk(family, address):
        """Both sides inside."""
        with socket.socket(family, socket.SOCK_STREAM) as server:
            server.bind(address)
            server.listen()
            with socket.socket(family, socket.SOCK_STREAM) as client:
                client.connect(server.getsockname())
                peer, _ = server.accept()
                with peer:
                    client.sendall(b"ping")
                    return peer.recv(4).decode()

    seen = {
        "interfaces": flags,
        "host_port": connect(socket.AF_INET, ("127.0.0.1", event["port"])),
        "host_abstract": connect(socket.AF_UNIX, "\0" + event["abstract"]),
        "internet": connect(socket.AF_INET, ("192.0.2.1", 80)),
    }
    for name, family, address in (("tcp", socket.AF_INET, ("127.0.0.1", 0)), ("tcp6", socket.AF_INET6, ("::1", 0)),
                                  ("unix", socket.AF_UNIX, "/tmp/socket"), ("abstract", socket.AF_UNIX, "\0mine")):
        try:
            seen["inside_" + name] = talk(family, address)
        except OSError as error:
            seen["inside_" + name] = errno.errorcode[error.errno]
    return seen


def writable_folders():
    """Every folder in which a file could be made, over the whole tree."""
    found, folders = [], 0
    for folder, below, _ in os.walk("/"):
        if folder == "/proc":
            below[:] = ["self", "sys", "fs", "irq", "driver", "tty"]
        if folder.startswith("/proc/self"):
            below[:] = []
        folders += 1
        path = os.path.join(folder, ".probe")
        if error_of(os.open, path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600) is None:
            found.append(folder)
            os.unlink(path)
    return found, folders


def writable_files():
    """Of the files in /proc, /etc, /dev and /var, those that open for writing."""
    found = []
    for top in ("/proc/sys", "/proc/irq", "/etc", "/dev", "/var", "/run"):
        for folder, _, files in os.walk(top):
            found += [path for path in (os.path.join(folder, name) for name in files)
                      if not os.path.islink(path) and error_of(os.open, path, os.O_WRONLY | os.O_NONBLOCK) is None]
    for name in ("sysrq-trigger", "kmsg", "mtrr", "sys/kernel/core_pattern", "sys/kernel/hostname", "self/oom_score_adj",
                 "self/uid_map", "self/setgroups", "self/mem"):
        if error_of(os.open, "/proc/" + name, os.O_WRONLY) is None:
            found.append("/proc/" + name)
    return found


def masked():
    """What could be read of each, as a number of bytes, or the error."""
    seen = {}
    for name in MASKED:
        try:
            with open("/proc/" + name, "rb") as file:
                seen[name] = len(file.read(64))
        except OSError as error:
            seen[name] = errno.errorcode[error.errno]
    return seen


def devices():
    seen = {}
    for name in os.listdir("/dev"):
        status = os.lstat("/dev/" + name)
        if stat.S_ISLNK(status.st_mode):
            seen[name] = os.readlink("/dev/" + name)
        elif stat.S_ISCHR(status.st_mode):
            seen[name] = [os.major(status.st_rdev), os.minor(status.st_rdev)]
        else:
            seen[name] = stat.filemode(status.st_mode)
    return seen


def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:  # the listing's own
            pass
    return found


def look(event):
    with open("/proc/self/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    mask = os.umask(0o22)
    os.umask(mask)
    can_create, folders = writable_folders()
    return {
        "descriptors": descriptors(),
        "status": {name: status.get(name) for name in STATUS},
        "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()],
        "names": [pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name],
        "host": [os.uname().nodename, socket.gethostname()],
        "pid": [os.getpid(), os.getsid(0), os.getpgid(0)],
        "umask": mask,
        "environ": dict(os.environ),
        "limits": {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name))
                   for name in ("CORE", "NOFILE", "NPROC", "MEMLOCK")},
        "network": network(event),
        "can_create": can_create,
        "folders": folders,
        "can_write": writable_files(),
        "listings": {path: sorted(os.listdir(path)) if os.path.isdir(path) else None
                     for path in ("/", "/home", "/root", "/var", "/run", "/sys", "/srv", "/mnt", "/boot", "/opt", "/media")},
        "etc": sorted(os.listdir("/etc")),
        "etc_texts": {name: open("/etc/" + name, encoding="utf-8").read()
                      for name in ("passwd", "group", "hosts", "resolv.conf", "nsswitch.conf") if os.path.exists("/etc/" + name)},
        "mounts": open("/proc/self/mountinfo", encoding="utf-8").read().splitlines(),
        "devices": devices(),
        "shm": os.path.realpath("/dev/shm"),
        "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
        "init": {name: error_of(os.open, f"/proc/1/{name}", os.O_RDONLY) for name in ("environ", "root", "fd", "maps", "exe")},
        "masked": masked(),
        "cgroup": open("/proc/self/cgroup", encoding="ascii").read().splitlines(),
        "callers_files": {path: error_of(os.open, path, os.O_RDONLY) for path in event["files"]},
        "cwd": os.getcwd(),
        "parent": os.path.realpath("/proc/self/cwd/../../../../.."),
        "argv": sys.argv,
        "kill_others": error_of(os.kill, 1, 9),
    }


def handler(event, context):
    return look(event)
