# SPDX-License-Identifier: GPL-2.0-or-later
"""Those who use the mount: root in this process, the others in one each, with uids and groups of their own."""
import mmap
import os
import pickle
import select
import signal
import stat
import sys
from os.path import dirname, join

sys.path.insert(0, join(dirname(__file__), "..", "fs"))
from harness import errno_name, renameat2, seconds  # noqa: E402


class Hands:
    """Operations on a mount, as system calls of whoever runs this."""

    def __init__(self, root):
        self.root = root
        self.fds = {}

    def path(self, path):
        return os.path.join(self.root, path)

    def do(self, name, arguments):
        """What it gives, or the name of an errno."""
        try:
            result = getattr(self, name)(*arguments)
        except OSError as error:
            return errno_name(error.errno)
        except KeyError:
            return "EBADF"
        return "OK" if result is None else result

    def mkdir(self, path, mode):
        os.mkdir(self.path(path), mode)

    def rmdir(self, path):
        os.rmdir(self.path(path))

    def unlink(self, path):
        os.unlink(self.path(path))

    def mknod(self, path, kind):
        os.mknod(self.path(path), 0o644 | (stat.S_IFREG if kind == "file" else stat.S_IFIFO))

    def symlink(self, path):
        os.symlink("x", self.path(path))

    def link(self, path, new_path):
        os.link(self.path(path), self.path(new_path))

    def rename(self, path, new_path, flags):
        return renameat2(self.path(path), self.path(new_path), flags)

    def open(self, slot, path, flags, mode):
        if slot in self.fds:
            os.close(self.fds.pop(slot))
        self.fds[slot] = os.open(self.path(path), flags, mode)

    def close(self, slot):
        os.close(self.fds.pop(slot))

    def pread(self, slot, size, offset):
        return os.pread(self.fds[slot], size, offset)

    def read(self, slot, size):
        return os.read(self.fds[slot], size)

    def pwrite(self, slot, data, offset):
        return os.pwrite(self.fds[slot], data, offset)

    def ftruncate(self, slot, size):
        os.ftruncate(self.fds[slot], size)

    def truncate(self, path, size):
        os.truncate(self.path(path), size)

    def poll(self, slot):
        poll = select.poll()
        poll.register(self.fds[slot], select.POLLIN | select.POLLOUT | select.POLLPRI)
        return dict(poll.poll(0)).get(self.fds[slot], 0)

    def mmap(self, slot):
        size = os.fstat(self.fds[slot]).st_size
        if not size:
            return b""
        with mmap.mmap(self.fds[slot], size, mmap.MAP_PRIVATE, mmap.PROT_READ) as mapping:
            return mapping[:]

    @staticmethod
    def attributes(status):
        return {"ino": status.st_ino, "mode": status.st_mode, "uid": status.st_uid, "gid": status.st_gid,
                "size": status.st_size, "nlink": status.st_nlink, "mtime": status.st_mtime_ns,
                "atime": status.st_atime_ns}

    def stat(self, path):
        return self.attributes(os.stat(self.path(path)))

    def fstat(self, slot):
        return self.attributes(os.fstat(self.fds[slot]))

    def listdir(self, path):
        return frozenset(os.listdir(self.path(path)))

    def chmod(self, path, mode):
        os.chmod(self.path(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self.path(path), uid, gid)

    def utimens(self, path, times):
        os.utime(self.path(path), ns=times) if times else os.utime(self.path(path))

    def setxattr(self, path):
        os.setxattr(self.path(path), "user.x", b"1")

    def getxattr(self, path):
        os.getxattr(self.path(path), "user.x")

    def end(self):
        for fd in self.fds.values():
            os.close(fd)
        self.fds = {}


class Hung(Exception):
    """An operation that does not come back."""


class Actor:
    """Hands in a process of its own."""

    def __init__(self, root, uid, groups):
        here, there = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.serve(root, uid, groups, there[0], here[1])
        os.close(there[0])
        os.close(here[1])
        self.answers, self.requests = here[0], there[1]

    @staticmethod
    def serve(root, uid, groups, requests, answers):
        status = 1
        try:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.setgroups(groups)
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.umask(0)
            hands = Hands(root)
            with os.fdopen(requests, "rb") as source, os.fdopen(answers, "wb") as sink:
                while True:
                    try:
                        name, arguments = pickle.load(source)
                    except EOFError:
                        break
                    pickle.dump(hands.do(name, arguments), sink)
                    sink.flush()
            status = 0
        finally:
            os._exit(status)

    def do(self, name, arguments):
        data = pickle.dumps((name, arguments))
        while data:
            data = data[os.write(self.requests, data):]
        parts = b""
        while True:
            if not select.select([self.answers], [], [], seconds(30))[0]:
                raise Hung(f"{name} does not come back")
            part = os.read(self.answers, 1 << 20)
            if not part:
                raise Hung(f"who did {name} has died")
            parts += part
            try:
                return pickle.loads(parts)
            except (pickle.UnpicklingError, EOFError):
                continue

    def end(self):
        os.close(self.requests)
        os.close(self.answers)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
