# SPDX-License-Identifier: GPL-2.0-or-later
"""A nefs whose system calls fail when a test says so: the other end of failing_calls.c."""
import errno
import mmap
import os
import struct
import tempfile

from nefs_mount import Mount, is_sanitized

LIBRARY = os.path.join(os.environ.get("NEFS_BUILD", ""), "tests", "fs", "failing_calls.so")

# enum call
CALLS = ("open", "openat", "memfd_create", "pread", "pwrite", "ftruncate", "fallocate", "fstatvfs", "dup3", "F_DUPFD",
         "pipe2", "socket", "socketpair", "eventfd", "timerfd_create", "epoll_ctl", "fork", "pthread_create", "mkfifo", "clock")

# struct order
ORDER = struct.Struct("=iIII")
SHORT = "half"


class FailingCalls:
    """What is to fail in a process that was started with environment()."""

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="nefs-calls-")
        self.file.write(bytes(ORDER.size * len(CALLS)))
        self.file.flush()
        self.orders = mmap.mmap(self.file.fileno(), ORDER.size * len(CALLS))

    def environment(self):
        result = {"LD_PRELOAD": os.path.abspath(LIBRARY), "NEFS_FAILING_CALLS": self.file.name}
        if is_sanitized():
            # It wants to be loaded first, to find what others put in front of it; this is not about its functions.
            options = os.environ.get("ASAN_OPTIONS", "")
            result["ASAN_OPTIONS"] = f"{options}:verify_asan_link_order=0".lstrip(":")
        return result

    def fail(self, call, how, left=0, times=0):
        """
        The call fails with this errno's name (SHORT: does half), after so many that work, so often (0: always).
        """
        code = -1 if how == SHORT else getattr(errno, how)
        ORDER.pack_into(self.orders, ORDER.size * CALLS.index(call), code, left, times, 0)

    def shift_clock(self, seconds):
        """The time of day, as it sees it, is so much later than it is."""
        ORDER.pack_into(self.orders, ORDER.size * CALLS.index("clock"), seconds, 0, 0, 0)

    def end(self):
        """All work from now on."""
        for number in range(len(CALLS)):
            ORDER.pack_into(self.orders, ORDER.size * number, 0, 0, 0, 0)

    def close(self):
        self.orders.close()
        self.file.close()


class FailingMount(Mount):
    """A mounted nefs with it."""

    def __init__(self, *options, **kwargs):
        self.calls = FailingCalls()
        super().__init__(*options, environment=self.calls.environment(), **kwargs)

    def delete(self):
        super().delete()
        self.calls.close()
