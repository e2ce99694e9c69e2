# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes of files as a monitor sees them: poll(2) and inotify(7)."""
import ctypes
import os
import select
import struct
import time

from harness import OpenFd, errno_name, libc, seconds

CHANGED = select.POLLERR | select.POLLPRI
USABLE = select.POLLIN | select.POLLOUT


def poll_now(fd, bound=0):
    """revents of one poll(2) that asks for everything; 0 after `bound` seconds."""
    poller = select.poll()
    poller.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI)
    ready = poller.poll(bound * 1000)
    return ready[0][1] if ready else 0


def poll_change(fd, bound=10):
    """Sleeps until ERR|PRI is reported; returns revents, 0 if nothing came."""
    poller = select.poll()
    poller.register(fd, select.POLLPRI)
    ready = poller.poll(seconds(bound) * 1000)
    return ready[0][1] if ready else 0


class Watched(OpenFd):
    """An open pollable file that has been read once: what comes next is a change."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)
        self.read()

    def read(self):
        return os.pread(self.fd, 65536, 0)

    def changed(self, bound=10):
        """Waits for a change; the new content."""
        revents = poll_change(self.fd, bound)
        assert revents & CHANGED == CHANGED, f"no change within {bound} s, revents {revents:#x}"
        return self.read()

    def quiet(self):
        """Nothing has changed since the last read."""
        return poll_now(self.fd) & CHANGED == 0


IN_MODIFY, IN_ATTRIB, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE = 0x2, 0x4, 0x40, 0x80, 0x100
IN_MOVE_SELF = 0x800


class Inotify(OpenFd):
    """inotify(7) on some paths, for IN_MODIFY or what else is asked for."""

    def __init__(self, *paths, mask=IN_MODIFY):
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.paths = {}
        self.seen = []
        self.kinds = []  # (mask, name) of each
        for path in paths:
            watch = libc.inotify_add_watch(self.fd, os.fsencode(path), mask)
            assert watch >= 0, f"inotify on {path}: {errno_name(ctypes.get_errno())}"
            self.paths[watch] = path

    def take(self):
        """The (path, name) of what has been modified by now."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        while data:
            watch, kind, _, length = struct.unpack_from("iIII", data)
            name = data[16:16 + length].rstrip(b"\0").decode()
            self.seen.append((self.paths.get(watch), name))
            self.kinds.append((kind, name))
            data = data[16 + length:]

    def wait(self, path, name="", bound=10):
        """Waits until this was modified."""
        end = time.monotonic() + seconds(bound)
        while True:
            self.take()
            if (path, name) in self.seen:
                return
            left = end - time.monotonic()
            assert left > 0, f"no IN_MODIFY on {path} {name}, only {self.seen}"
            select.select([self.fd], [], [], left)

    def clear(self):
        self.take()
        self.seen.clear()
