# SPDX-License-Identifier: GPL-2.0-or-later
"""A nefs whose memory runs out when a test says so: the other end of short_memory.c."""
import mmap
import os
import struct
import tempfile

from nefs_mount import Mount

LIBRARY = os.path.join(os.environ.get("NEFS_BUILD", ""), "tests", "fs", "short_memory.so")

# struct orders
LAYOUT = struct.Struct("=IIqQQ")
PERIOD, SEED, LEFT, CALLS, FAILURES = 0, 4, 8, 16, 24


class ShortMemory:
    """What is to fail in a process that was started with environment()."""

    def __init__(self):
        self.file = tempfile.NamedTemporaryFile(prefix="nefs-memory-")
        self.file.write(LAYOUT.pack(0, 0, -1, 0, 0))
        self.file.flush()
        self.orders = mmap.mmap(self.file.fileno(), LAYOUT.size)

    def environment(self):
        return {"LD_PRELOAD": os.path.abspath(LIBRARY), "NEFS_SHORT_MEMORY": self.file.name}

    def set(self, place, kind, value):
        struct.pack_into(kind, self.orders, place, value)

    def get(self, place):
        return struct.unpack_from("=Q", self.orders, place)[0]

    def one_in(self, period, seed=0):
        """One of so many allocations fails from now on; 0: none."""
        self.set(SEED, "=I", seed)
        self.set(PERIOD, "=I", period)

    def fail(self, nth):
        """The allocation with this number, from 0, fails, and no other."""
        self.set(CALLS, "=Q", 0)
        self.set(FAILURES, "=Q", 0)
        self.set(LEFT, "=q", nth)

    def end(self):
        """None fails from now on; has one failed since fail()?"""
        self.set(PERIOD, "=I", 0)
        self.set(LEFT, "=q", -1)
        return self.get(FAILURES) > 0

    @property
    def calls(self):
        return self.get(CALLS)

    @property
    def failures(self):
        return self.get(FAILURES)

    def close(self):
        self.orders.close()
        self.file.close()


class ShortMount(Mount):
    """A mounted nefs with it."""

    def __init__(self, *options):
        self.memory = ShortMemory()
        super().__init__(*options, environment=self.memory.environment())

    def delete(self):
        super().delete()
        self.memory.close()
