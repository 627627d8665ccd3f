"""An fnrund of the benchmark's own: started, given functions, looked at, ended."""
import http.client
import io
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tarfile
import time

from rows import Failed

START_SECONDS = 20
DEPLOY_SECONDS = 120


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__('localhost', timeout=DEPLOY_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def function_ini(sections):
    """{'scale': {'concurrency': 4}} as the text of a function.ini."""
    lines = []
    for section, keys in sections.items():
        lines.append(f'[{section}]')
        lines += [f'{key} = {value}' for key, value in keys.items()]
    return '\n'.join(lines) + '\n'


def pack(files, sections):
    """A tar with the files (name in it: path) and a function.ini."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for name, path in files.items():
            tar.add(path, arcname=name)
        text = function_ini(sections).encode()
        entry = tarfile.TarInfo('function.ini')
        entry.size = len(text)
        entry.mode = 0o644
        tar.addfile(entry, io.BytesIO(text))
    return out.getvalue()


def invoke_path(name):
    return f'/2015-03-31/functions/{name}/invocations'


class Daemon:
    """with Daemon(bench) as daemon: its socket, store and configuration are temporary. Root's
    becomes the user fnrun where there is one, else nobody. 200 slots may ask for more memory
    than a small machine has: idle, they use little of it."""

    def __init__(self, bench, socket=None):
        self.folder = bench.folder('daemon')
        self.socket = socket or os.path.join(self.folder, 'fnrun.sock')
        self.log = os.path.join(self.folder, 'log')
        program = bench.built('fnrund')
        if not os.access(program, os.X_OK):
            raise Failed(f'there is no {program}: make')
        config = os.path.join(self.folder, 'fnrun.ini')
        with open(config, 'w') as file:
            file.write(f'[runner]\nuser = {user()}\nstop = 2s\nmemory = 64G\n')
        environment = {name: value for name, value in os.environ.items() if not name.startswith('FNRUN_')}
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen([program, '--config', config, '--socket', self.socket, '--store',
                                             os.path.join(self.folder, 'store')], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=environment)
        try:
            self.wait(self.healthy, START_SECONDS, 'fnrund does not answer')
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed('fnrund did not end within 60 s of SIGTERM')
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def last_words(self):
        with open(self.log, errors='replace') as file:
            lines = file.read().strip().splitlines()
        return lines[-1][:300] if lines else 'no word of it'

    def request(self, method, path, body=None, headers=None):
        """Returns status, headers, body."""
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as error:
            if self.process.poll() is not None:
                raise Failed(f'fnrund ended with {self.process.returncode}: {self.last_words()}') from error
            raise Failed(f'{method} {path}: {error}') from error
        finally:
            connection.close()

    def healthy(self):
        if self.process.poll() is not None:
            raise Failed(f'fnrund ended with {self.process.returncode}: {self.last_words()}')
        try:
            return os.path.exists(self.socket) and self.request('GET', '/fnrun/v1/health')[0] == 200
        except Failed:
            return False

    def wait(self, true, seconds, complaint):
        """Asks again and again; what is waited for tells nobody when it comes."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                raise Failed(f'{complaint} within {seconds} s: {self.last_words()}')
            time.sleep(0.02)

    def deploy(self, name, files, sections):
        """Returns the answer's object."""
        sections = {'function': {}, **sections}
        sections['function'] = {'name': name, **sections['function']}
        status, _, body = self.request('PUT', f'/fnrun/v1/functions/{name}', pack(files, sections),
                                       {'Content-Type': 'application/x-tar'})
        if status != 200:
            raise Failed(f'deploy {name}: {status} {body[:300].decode(errors="replace")}')
        return json.loads(body)

    def show(self, name):
        status, _, body = self.request('GET', f'/fnrun/v1/functions/{name}')
        if status != 200:
            raise Failed(f'show {name}: {status} {body[:200].decode(errors="replace")}')
        return json.loads(body)

    def list(self):
        status, _, body = self.request('GET', '/fnrun/v1/functions')
        if status != 200:
            raise Failed(f'list: {status} {body[:200].decode(errors="replace")}')
        return json.loads(body)['functions']

    def wait_ready(self, name, count, seconds):
        try:
            self.wait(lambda: self.show(name)['slots']['ready'] >= count, seconds, '')
        except Failed:
            raise Failed(f'{name} has not {count} ready slots within {seconds} s: '
                         f'{json.dumps(self.show(name)["slots"])}') from None

    def wait_all_down(self, seconds):
        """No environment is up, and no process is left of one."""
        self.wait(lambda: not any(function['up'] for function in self.list()), seconds,
                  'functions stay up')

    def processes(self):
        """(pid, parent, command) of fnrund and all below it, the zygotes' too."""
        return descendants(self.process.pid)


def user():
    for name in ('fnrun', 'nobody'):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Failed('there is neither a user fnrun nor nobody for fnrund to become')


def descendants(root):
    parents = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                with open(f'/proc/{name}/stat') as file:
                    head, _, rest = file.read().rpartition(') ')
            except OSError:
                continue
            parents[int(name)] = (int(rest.split()[1]), head.partition('(')[2])
    found, fresh = [], {root}
    while fresh:
        found += [(pid, parents[pid][0], parents[pid][1]) for pid in sorted(fresh) if pid in parents]
        fresh = {pid for pid, (parent, _) in parents.items() if parent in fresh}
    return found


def pss_kib(pid):
    """Proportional set size; 0 when it has gone meanwhile."""
    try:
        with open(f'/proc/{pid}/smaps_rollup') as file:
            return sum(int(line.split()[1]) for line in file if line.startswith('Pss:'))
    except OSError:
        return 0
