"""Looks at the machine from outside the sandbox: what runs, in which namespaces and
groups, and what is left behind. Believes nothing that a function says."""

import ctypes
import glob
import os
import pathlib
import re
import time

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 3  # seconds for what the kernel does behind an exit
KEPT = ("claims", "host.lock")  # in the run folder, beside the prepared roots host-*


def adopt_orphans():
    """What outlives a killed fnrun becomes a child of this process, so that it is found
    here and nobody else's processes are looked at."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


# --- processes -----------------------------------------------------------------------


def stat_of(pid):
    """(parent, state, start time) or None."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2:].split()
    return int(fields[1]), fields[0], int(fields[19])


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def descendants(pid):
    """Every living process below pid, by parents."""
    children = {}
    for other in all_pids():
        stat = stat_of(other)
        if stat:
            children.setdefault(stat[0], []).append(other)
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def status_of(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text(errors="replace")
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def sandboxed(pid):
    """Of the processes below pid, those in a PID namespace below ours: {pid: pid inside}."""
    found = {}
    for below in descendants(pid):
        try:
            numbers = status_of(below).get("NSpid", "").split()
        except OSError:
            continue
        if len(numbers) > 1:
            found[below] = int(numbers[-1])
    return found


def function_of(pid):
    """The function's first process, of a call of fnrun that runs as pid."""
    inside = {number: outside for outside, number in sandboxed(pid).items()}
    inside.pop(1, None)
    assert inside, f"no sandboxed process below {pid}: {[(p, stat_of(p)) for p in descendants(pid)]}"
    return inside[min(inside)]


def describe(pid):
    try:
        command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return f"{pid} {status_of(pid).get('State', '?')}: {command or status_of(pid).get('Name')}"
    except OSError:
        return str(pid)


def reap_adopted():
    """Takes the exit statuses of orphans that have ended. Children that the test itself
    started have been waited for by then."""
    for pid in descendants(os.getpid()):
        stat = stat_of(pid)
        if stat and stat[1] == "Z" and stat[0] == os.getpid():
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass


# --- control groups --------------------------------------------------------------------


def group_mounts():
    """[(mount point, root, kind, options)] of this process's hierarchies."""
    found = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        front, _, back = line.partition(" - ")
        fields, rest = front.split(), back.split()
        if rest[0] in ("cgroup", "cgroup2"):
            found.append((fields[4], fields[3], rest[0], rest[2].split(",")))
    return found


def group_of(pid, controller):
    """The directory of the process's group with that controller, and 1 or 2."""
    lines = [line.split(":", 2) for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    for wanted in (controller, ""):
        for _, controllers, path in lines:
            if wanted not in controllers.split(","):
                continue
            for point, root, kind, options in group_mounts():
                if (kind == "cgroup2") == (not wanted) and (not wanted or wanted in options):
                    below = os.path.relpath(path, root) if root != "/" else path.lstrip("/")
                    return pathlib.Path(point) / below, 1 if wanted else 2
    raise AssertionError(f"no {controller} group of {pid}: {lines}")


def slot_groups():
    """Every directory named fnrun-* in every hierarchy, with its inode: a name may be
    used again by somebody else's call."""
    found = {}
    for point, *_ in group_mounts():
        for folder, below, _ in os.walk(point):
            for name in list(below):
                if name.startswith("fnrun-"):
                    path = os.path.join(folder, name)
                    try:
                        found[path, os.stat(path).st_ino] = True
                    except OSError:
                        pass
                    below.remove(name)
    return set(found)


def is_others(group):
    """Whether processes live in it of which none is ours, or it is a scope of another
    user's systemd, which may be empty for a while before it goes."""
    manager = re.search(r"/user@(\d+)\.service/|/system\.slice/", group[0])
    if manager and int(manager[1] or 0) != os.geteuid():
        return True
    try:
        members = pathlib.Path(group[0], "cgroup.procs").read_text().split()
    except OSError:
        return True  # it is just going
    mine = set(descendants(os.getpid()))
    return bool(members) and not any(int(pid) in mine for pid in members)


# --- mounts and files ------------------------------------------------------------------------


def run_folders():
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    own = f"{runtime}/fnrun" if runtime else f"/tmp/fnrun-{os.geteuid()}"
    return ["/run/fnrun", own]


def run_files():
    return {path for folder in run_folders() for path in glob.glob(glob.escape(folder) + "/*")
            if not os.path.basename(path).startswith("host-") and os.path.basename(path) not in KEPT}


def mounts(folder):
    """Mount points of this namespace; below /tmp those below folder alone: the rest is
    somebody else's."""
    points = set()
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        number, _, _, _, point = line.split()[:5]
        if not point.startswith("/tmp/") or point.startswith(str(folder)) or "fnrun" in point:
            points.add((number, point))
    return points


def reserved_ids():
    """The range in /etc/subuid that is reserved for functions: (first, count) or None."""
    try:
        for line in pathlib.Path("/etc/subuid").read_text().splitlines():
            owner, _, rest = line.partition(":")
            if owner == "fnrun":
                first, _, count = rest.partition(":")
                return int(first), int(count)
    except OSError:
        pass
    return None


def tmp_files():
    """What in /tmp and /dev/shm is fnrun's by name or owner."""
    reserved = reserved_ids() or (0, 0)
    found = set()
    for folder in ("/tmp", "/dev/shm"):
        for entry in os.scandir(folder) if os.path.isdir(folder) else ():
            try:
                owner = entry.stat(follow_symlinks=False).st_uid
            except OSError:
                continue
            named = entry.name.startswith("fnrun") and not entry.name.startswith("fnrun-")
            if named or reserved[0] <= owner < reserved[0] + reserved[1]:
                found.add(entry.path)
    return found


# --- before and after --------------------------------------------------------------------------


class Snapshot:
    """What there was before; `left` says what is there in addition."""

    def __init__(self, folder):
        self.folder = folder
        self.processes = set(descendants(os.getpid()))
        self.groups = slot_groups()
        self.mounts = mounts(folder)
        self.files = run_files() | tmp_files()

    def look(self):
        reap_adopted()
        left = [f"process {describe(pid)}" for pid in set(descendants(os.getpid())) - self.processes]
        left += [f"control group {group[0]}" for group in slot_groups() - self.groups if not is_others(group)]
        left += [f"mount {point}" for _, point in mounts(self.folder) - self.mounts]
        left += [f"file {path}" for path in (run_files() | tmp_files()) - self.files]
        return sorted(left)

    def left(self):
        deadline = time.monotonic() + PATIENCE
        while (found := self.look()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found
