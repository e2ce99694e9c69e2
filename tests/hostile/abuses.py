# SPDX-License-Identifier: GPL-2.0-or-later
"""
What one user may do to take the service from all others. Each abuse is a function that runs as that user, in a process
of its own (Attack), does its worst until it is told to end, and gives what came of it: {what: how often}.

Whatever is refused is tried again at once: the next one who writes such a program will not be polite either.
"""
import collections
import os
import signal
import threading
import time

import images
from eif_image import LARGE, sparse_head
from harness import Child, outcome, put, read_outcome, seconds

MIB = 1 << 20
ATTACKER = 20001
GROUP = 65534  # which may make enclaves here

BIG_INFO = 200 << 10  # of metadata; image_info has at most 256 KiB


class Told:
    """In an attacker: becomes false at SIGTERM; and what it counts."""

    def __init__(self, ready):
        self.go_on, self.ready, self.counts = True, ready, collections.Counter()

        def end(*_):
            self.go_on = False
        signal.signal(signal.SIGTERM, end)

    def __bool__(self):
        return self.go_on

    def stands(self):
        """The worst is there now: what is measured is measured from here on."""
        if self.ready is not None:
            os.write(self.ready, b"!")
            os.close(self.ready)
            self.ready = None

    def count(self, what, result):
        self.counts[what if result == "OK" else f"{what}: {result}"] += 1
        return result == "OK"


class Attack:
    """Runs an abuse in so many processes as the attacker: a with block of which they are at it."""

    def __init__(self, function, root, other, processes=1):
        self.children, ready = [], []
        for number in range(processes):
            receiver, sender = os.pipe()
            self.children.append(Child(self.run, function, root, other, number, sender,
                                       uid=ATTACKER, groups=[GROUP]))
            os.close(sender)
            ready.append(receiver)
        for receiver in ready:
            # It ends with the child, too.
            assert os.read(receiver, 1) == b"!", [child.result() for child in self.children]
            os.close(receiver)

    @staticmethod
    def run(function, root, other, number, ready):
        told = Told(ready)
        function(told, root, other, number)
        told.stands()
        return told.counts

    def end(self):
        """What came of it."""
        counts = collections.Counter()
        for child in self.children:
            child.signal(signal.SIGTERM)
        for child in self.children:
            # Who waits for nefs in a call that no signal ends waits for what they have had it do.
            if child.ended(seconds(2)):
                counts.update(child.result())
            else:
                child.kill()
                counts["killed in a call"] += 1
        return counts


def sparse_images(told, root, other, number):
    """64 images of gigabytes that take 4 KiB: checked, started and removed, again and again."""
    head, length = sparse_head(LARGE), LARGE
    # Before it has made all of them it may have to wait for its share of the workers.
    threading.Timer(1, told.stands).start()
    while told:
        for i in range(64):
            path = f"{root}/sparse-{i}"
            if not told or not told.count("mkdir", outcome(os.mkdir, path)):
                continue
            for file, value in (("memory", b"18G"), ("vcpus", b"2")):
                put(f"{path}/{file}", value)
            fd = os.open(f"{path}/image", os.O_WRONLY)
            told.count("write", outcome(os.write, fd, head))
            told.count("truncate", outcome(os.ftruncate, fd, length))
            os.close(fd)
            told.count("start", put(f"{path}/start", b"1", os.O_WRONLY | os.O_NONBLOCK))
        told.stands()
        for i in range(64):
            path = f"{root}/sparse-{i}"
            put(f"{path}/start", b"0", os.O_WRONLY | os.O_NONBLOCK)
            told.count("rmdir", outcome(os.rmdir, path))


def mkdirs(told, root, other, number):
    """20,000 enclaves; and again."""
    while told:
        for i in range(20000):
            if not told:
                break
            told.count("mkdir", outcome(os.mkdir, f"{root}/many-{i}"))
            if i == 1000:
                told.stands()
        for i in range(20000):
            if outcome(os.rmdir, f"{root}/many-{i}") == "ENOENT":
                break


def fill_spool(told, root, other, number):
    """Staged files until no byte more is taken; and what is there is written anew."""
    fds, block, refused = [], b"x" * (MIB // 4), 0
    for i in range(32):
        told.count("mkdir", outcome(os.mkdir, f"{root}/full-{i}"))
    while told:
        for fd in fds:
            os.close(fd)
        fds = []
        for i in range(32 * 64):
            try:
                fd = os.open(f"{root}/full-{i % 32}/.{i}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
            except OSError as error:
                told.count("open", os.strerror(error.errno))
                break
            fds.append(fd)
            # 16 MiB a file, and all there is room for.
            taken = 0
            while told and taken < 64 and told.count("write 256 KiB", outcome(os.write, fd, block)):
                taken += 1
            refused = refused + 1 if taken == 0 else 0
            if refused > 100 or not told:
                break
        told.stands()


def parked_reads(told, root, other, number):
    """
    10,000 threads that sleep in a read: of a stream each, as many as may be opened; and, together on one fd, of the
    measurements of an image that takes minutes to read.
    """
    path = f"{root}/parked"
    head, length = sparse_head(LARGE), LARGE
    outcome(os.mkdir, path)
    fd = os.open(f"{path}/image", os.O_WRONLY)
    os.write(fd, head)
    os.ftruncate(fd, length)
    os.close(fd)
    measurements, lock = os.open(f"{path}/measurements", os.O_RDONLY), threading.Lock()

    def sleep(call, *args):
        # What is there is read first: a stream has a record already.
        while (result := outcome(call, *args)) == "OK":
            pass
        with lock:
            told.count("read", result)

    def start(*args):
        # Refused threads are gone again, and cost nobody anything.
        with lock:
            told.count("thread", "OK")
        threading.Thread(target=sleep, args=args, daemon=True).start()
    threading.stack_size(1 << 16)
    for i in range(10000):
        try:
            start(os.read, os.open(f"{path}/journal.follow", os.O_RDONLY), 4096) if i % 8 == 0 else \
                start(os.pread, measurements, 4096, 0)
        except OSError as error:
            with lock:
                told.count("open", os.strerror(error.errno))
    told.stands()
    while told:
        time.sleep(0.05)


def write_streams(told, root, other, number):
    """Of 8 processes half write an image each, and half a staged file: 8 MiB, over and over."""
    path = f"{root}/stream-{number}"
    outcome(os.mkdir, path)
    block = b"x" * MIB
    head = sparse_head(8 * MIB)
    fd = os.open(f"{path}/image" if number % 2 else f"{path}/.staged", os.O_CREAT | os.O_WRONLY, 0o600)
    told.stands()
    while told:
        told.count("write 1 MiB", outcome(os.pwrite, fd, head + block[len(head):], 0))
        for i in range(1, 8):
            told.count("write 1 MiB", outcome(os.pwrite, fd, block, i * MIB))


def refused_starts(told, root, other, number):
    """4 processes that start what cannot be started, as fast as it goes."""
    path = f"{root}/refused-{number}"
    outcome(os.mkdir, path)
    fd = os.open(f"{path}/start", os.O_WRONLY)
    other = os.open(f"{path}/memory", os.O_WRONLY)
    told.stands()
    while told:
        # Two in turn, so that none is equal to the one before.
        told.count("start", outcome(os.write, fd, b"1"))
        told.count("memory", outcome(os.write, other, b"%d" % sum(told.counts.values())))


def json_bomb(told, root, other, number):
    """1 MiB of lists in lists, 400 deep: 422 MB when it is indented."""
    path = f"{root}/bomb-{number}"
    outcome(os.mkdir, path)
    image = images.nested(MIB, 400)
    while told:
        if told.count("write", put(f"{path}/image", image)):
            text = read_outcome(f"{path}/image_info")
            told.count("read", text if isinstance(text, str) else "OK")
        told.stands()
    # What is left is not to be described behind our back.
    outcome(os.rmdir, path)


def info_handles(told, root, other, number):
    """Another's image_info of 256 KiB, opened 200 times and as often as it goes, and read a little."""
    while told:
        fds = []
        while told and len(fds) < 4000:
            try:
                fds.append(os.open(f"{other}/image_info", os.O_RDONLY))
            except OSError as error:
                told.count("open", os.strerror(error.errno))
                break
            told.count("read", outcome(os.pread, fds[-1], 1, 0))
        told.stands()
        for _ in range(20):
            for fd in fds if told else ():
                os.pread(fd, 4096, 100000)
        for fd in fds:
            os.close(fd)


# abuse: how many processes
ABUSES = {sparse_images: 1, mkdirs: 1, fill_spool: 1, parked_reads: 1, write_streams: 8, refused_starts: 4,
          json_bomb: 2, info_handles: 1}
