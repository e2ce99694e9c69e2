# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the tests share: raw system calls whose errno is seen, commands, and children that may hang without
hanging the suite. watching.py is about changes of files, nefs_mount.py about a mounted nefs.

System calls report "OK" or the name of their errno, so that a failed assertion reads as one.
"""
import ctypes
import errno
import os
import pickle
import select
import signal
import subprocess
import time
import traceback


# Sanitizer builds and emulated machines are slower; every bound of the tests is stretched by this.
SLOWNESS = float(os.environ.get("NEFS_SLOWNESS", "1"))
NOBODY = 65534

libc = ctypes.CDLL(None, use_errno=True)


# ---- Errors as words ----

def errno_name(number):
    # Two names for one number: the one of the contract.
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"
    return errno.errorcode.get(number, str(number))


def outcome(call, *args, **kwargs):
    """"OK", or the name of the errno that the call failed with."""
    try:
        call(*args, **kwargs)
    except OSError as error:
        return errno_name(error.errno)
    return "OK"


def put(path, data, flags=os.O_WRONLY | os.O_TRUNC):
    """One write(2) of data, as echo does it."""
    def write():
        fd = os.open(path, flags)
        try:
            assert os.write(fd, data) == len(data)
        finally:
            os.close(fd)
    return outcome(write)


def get(path, flags=0, size=1 << 20):
    """The whole content; OSError as it comes."""
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        parts = []
        while part := os.read(fd, size):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def read_outcome(path, flags=0):
    """What reading the file gives: its content, or the errno's name."""
    try:
        return get(path, flags)
    except OSError as error:
        return errno_name(error.errno)


def fd_outcome(fd, size=65536):
    """One pread(2) from the start of an open file: its content, or the errno's name."""
    try:
        return os.pread(fd, size, 0)
    except OSError as error:
        return errno_name(error.errno)


def raw_write(fd, data):
    """write(2) without Python's retry after a signal."""
    return "OK" if libc.write(fd, data, len(data)) >= 0 else errno_name(ctypes.get_errno())


def raw_read(fd, size=65536):
    """read(2) without Python's retry after a signal."""
    buffer = ctypes.create_string_buffer(size)
    count = libc.read(fd, buffer, size)
    return buffer.raw[:count] if count >= 0 else errno_name(ctypes.get_errno())


RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def renameat2(old, new, flags):
    at_fdcwd = -100
    if libc.renameat2(at_fdcwd, os.fsencode(old), at_fdcwd, os.fsencode(new), flags) == 0:
        return "OK"
    return errno_name(ctypes.get_errno())


class OpenFd:
    """What has self.fd, and closes it at the end of a with."""

    def close(self):
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ---- Time ----

def seconds(bound):
    """A bound on waiting, stretched on slow machines."""
    return bound * SLOWNESS


def eventually(condition, what, bound=10, step=0.01):
    """For what has no event to wait on: looks again until it holds. Returns what it gave."""
    end = time.monotonic() + seconds(bound)
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds(bound):g} s: {what}"
        time.sleep(step)


def timed(call, *args, **kwargs):
    """(result, seconds it took)"""
    begin = time.monotonic()
    result = call(*args, **kwargs)
    return result, time.monotonic() - begin


# ---- Other processes ----

class Child:
    """
    A function in a process of its own, with another uid and in another mount namespace if asked. What
    it returns, or the exception, arrives by result(). It can be killed whatever it waits for.
    """
    living = set()
    SYSCALLS = {"read": {0, 17}, "write": {1, 18}, "poll": {7, 271, 270, 23, 232, 281},
                "rename": {82, 264, 316}}

    def __init__(self, function, *args, uid=None, groups=(), namespace=None):
        receiver, sender = os.pipe()
        self.begin = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(receiver)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                if namespace is not None:
                    namespace.enter()
                if uid is not None:
                    os.setgroups(list(groups))
                    os.setgid(uid)
                    os.setuid(uid)
                    os.umask(0o022)
                try:
                    message = (True, function(*args))
                except BaseException:
                    message = (False, traceback.format_exc())
                with os.fdopen(sender, "wb") as pipe:
                    pickle.dump(message, pipe)
            finally:
                os._exit(0)
        os.close(sender)
        self.receiver = receiver
        self.pidfd = os.pidfd_open(self.pid)
        Child.living.add(self)

    def ended(self, bound=0):
        """Has it ended, after waiting at most so long?"""
        return bool(select.select([self.pidfd], [], [], bound)[0])

    def result(self, bound=15):
        """What the function returned; the test fails if it takes longer."""
        end = time.monotonic() + seconds(bound)
        data = b""
        while True:
            left = max(0, end - time.monotonic())
            ready, _, _ = select.select([self.receiver], [], [], left)
            assert ready, f"child {self.pid} hangs in {self.where()}"
            part = os.read(self.receiver, 1 << 20)
            if not part:
                break
            data += part
        self.reap()
        assert data, "the child was killed before it could answer"
        ok, value = pickle.loads(data)
        assert ok, f"in the child:\n{value}"
        return value

    def where(self):
        try:
            with open(f"/proc/{self.pid}/syscall") as file:
                return "syscall " + file.read().strip()
        except OSError:
            return "an unknown place"

    def blocked(self, syscall):
        """Waits until it sleeps in that system call: seen there several times in a row."""
        seen = 0

        def sleeping():
            nonlocal seen
            assert not self.ended(), f"child ended, was to block: {self.result()!r}"
            try:
                with open(f"/proc/{self.pid}/syscall") as file:
                    number = file.read().split()[0]
            except OSError:
                number = "gone"
            inside = number.isdigit() and int(number) in Child.SYSCALLS[syscall]
            seen = seen + 1 if inside else 0
            return seen >= 5
        eventually(sleeping, f"child {self.pid} blocks in {syscall}, is in {self.where()}")
        return self

    def signal(self, number):
        os.kill(self.pid, number)

    def reap(self, bound=5):
        if self not in Child.living:
            return
        assert self.ended(seconds(bound)), f"child {self.pid} does not end, in {self.where()}"
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        os.close(self.receiver)
        Child.living.discard(self)

    def kill(self):
        """Ends it; False if even SIGKILL does not."""
        if self not in Child.living:
            return True
        os.kill(self.pid, signal.SIGKILL)
        if not self.ended(seconds(5)):
            return False
        self.reap()
        return True


def run(*command, bound=30, **kwargs):
    """A command's subprocess.CompletedProcess, output as text; never waits for ever."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds(bound), check=False, **kwargs)
