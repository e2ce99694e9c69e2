# SPDX-License-Identifier: GPL-2.0-or-later
"""
The spool is on a disk that does not answer for a while: a filesystem of somebody else's (bindfs), which is
stopped. It holds up who reads or writes an image there, and nobody else.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import threading

import pytest

import eif_image
from harness import Child, eventually, get, outcome, put, seconds
from nefs_mount import Mount, mounted

# How bindfs is stopped is the same on any device.
pytestmark = pytest.mark.sim

MEBI = 1 << 20
LARGE = eif_image.padded(3 * MEBI)
OTHER = eif_image.padded(4 * MEBI)


class Disk:
    """A directory on a filesystem that can be stopped."""

    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="nefs-disk-")
        self.path = os.path.join(self.top, "spool")
        below = os.path.join(self.top, "below")
        os.mkdir(self.path)
        os.mkdir(below, 0o700)
        self.process = subprocess.Popen(["bindfs", "-f", below, self.path], stdin=subprocess.DEVNULL)
        eventually(lambda: mounted(self.path), "bindfs mounts")

    def stall(self):
        self.process.send_signal(signal.SIGSTOP)
        with open(f"/proc/{self.process.pid}/stat") as file:
            eventually(lambda: file.seek(0) or file.read().rsplit(")", 1)[1].split()[0] == "T",
                       "bindfs stops")

    def drop_pages(self, pid):
        """The kernel has nothing left of what a process has open there: to open a file drops its pages."""
        for fd in os.listdir(f"/proc/{pid}/fd"):
            link = f"/proc/{pid}/fd/{fd}"
            if os.readlink(link).startswith(self.path + "/"):
                os.close(os.open(link, os.O_RDONLY))

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.go_on()
        self.process.terminate()
        self.process.wait(seconds(10))
        subprocess.run(["umount", "-l", self.path], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.top)


@pytest.fixture
def disk():
    with Disk() as disk:
        yield disk


@pytest.fixture
def mount(disk):
    mount = Mount(f"spool={disk.path}")
    try:
        yield mount
        disk.go_on()
        if mount.alive():
            mount.clear()
            mount.unmount()
    finally:
        disk.go_on()
        mount.discard()
        mount.delete()


def stage(enclave, name, content):
    """Makes a file and writes it, in as many pieces as it takes."""
    with open(enclave.path(name), "wb") as file:
        file.write(content)
    return "OK"


def allocate(path, size):
    fd = os.open(path, os.O_WRONLY)
    try:
        return outcome(os.posix_fallocate, fd, 0, size)
    finally:
        os.close(fd)


def set_by_rename(enclave, file, content):
    stage(enclave, f".{file}.tmp", content)
    os.rename(enclave.path(f".{file}.tmp"), enclave.path(file))


def test_others_go_on(mount, disk):
    running = mount.enclave().running()
    written, read, replaced, removed = [mount.enclave().ready(image=LARGE) for _ in range(4)]
    for enclave in (written, read):
        enclave.get("measurements")
    stage(read, ".emptied", OTHER)
    disk.drop_pages(mount.process.pid)
    disk.stall()
    writer = Child(put, written.path("image"), OTHER).blocked("write")
    stager = Child(stage, written, ".large", OTHER).blocked("write")
    reader = Child(get, read.path("image")).blocked("read")
    # All that is known of these files, and of others.
    assert running.state == "running"
    assert written.state == read.state == "init"
    assert os.stat(written.path("image")).st_size == len(LARGE)
    assert os.stat(read.path("image")).st_size == len(LARGE)
    assert written.get("measurements").startswith(b"PCR0 ")
    assert written.start() == "EINVAL" and b"bytes are there" in written.error
    assert os.statvfs(mount.root).f_blocks > 0
    assert len(mount.enclaves()) == 5
    # Whatever sets a value, and a life with a small image.
    other = mount.enclave().running()
    for content in (b"128M\n", b"256M\n"):
        set_by_rename(other, "memory", content)
        set_by_rename(read, "memory", content)
    assert other.get("memory") == read.get("memory") == b"256M\n"
    assert other.get("pending") == b"memory\n"
    assert other.stop() == "OK" and running.stop() == "OK"
    os.rename(other.path("memory"), other.path("memory.bak"))
    assert get(other.path("memory.bak")) == b"256M\n"
    # What is large is emptied, or loses its name.
    set_by_rename(replaced, "image", eif_image.SMALL)
    assert replaced.start() == "OK" and replaced.stop() == "OK"
    os.rmdir(removed.path())
    with open(read.path(".emptied"), "wb") as file:
        assert os.fstat(file.fileno()).st_size == 0
        file.write(b"anew")
    assert get(read.path(".emptied")) == b"anew"
    assert not writer.ended() and not stager.ended() and not reader.ended()
    disk.go_on()
    assert writer.result() == stager.result() == "OK"
    assert reader.result() == LARGE
    assert written.get("image") == OTHER
    assert written.get("measurements") == eif_image.measurements(
        ramdisks=(b"RAMDISK1", OTHER[OTHER.index(bytes(range(256))):]))


def test_a_start_waits_by_itself(mount, disk):
    large = mount.enclave().ready(image=LARGE)
    other = mount.enclave().running()
    disk.stall()
    assert large.start(os.O_NONBLOCK) == "OK"
    assert large.state == "starting"
    assert other.state == "running" and other.stop() == "OK"
    disk.go_on()
    large.reaches("running")


def test_its_enclave_is_removed_amid_a_write(mount, disk):
    enclave = mount.enclave().ready(image=LARGE)
    disk.stall()
    writer = Child(put, enclave.path("image"), OTHER).blocked("write")
    os.rmdir(enclave.path())
    assert not writer.ended()
    disk.go_on()
    assert writer.result() == "ENODEV"


def test_sizes_of_staged_files(mount, disk):
    """What grows a file to the disk waits for it, and what makes it small again; what empties it does not."""
    enclave = mount.enclave()
    for name in ("grown", "shrunk", "allocated"):
        stage(enclave, name, b"x" * (10000 if name == "shrunk" else 10))
    disk.drop_pages(mount.process.pid)
    disk.stall()
    children = [Child(outcome, os.truncate, enclave.path("grown"), MEBI),
                Child(outcome, os.truncate, enclave.path("shrunk"), 5),
                Child(allocate, enclave.path("allocated"), MEBI)]
    stage(enclave, "small", b"small")
    os.truncate(enclave.path("small"), 4096)
    os.truncate(enclave.path("small"), 2)
    assert get(enclave.path("small")) == b"sm"
    assert not any(child.ended() for child in children)
    disk.go_on()
    assert [child.result() for child in children] == ["OK"] * 3
    assert get(enclave.path("grown")) == b"x" * 10 + bytes(MEBI - 10)
    assert get(enclave.path("allocated")) == b"x" * 10 + bytes(MEBI - 10)
    assert get(enclave.path("shrunk")) == b"xxxxx"


def test_many_writers_take_little_memory(mount, disk):
    enclaves = [mount.enclave() for _ in range(2)]
    content = bytes(range(256)) * 2048 * 2
    staged = [(enclave, f"f{i}") for enclave in enclaves for i in range(60)]
    before = mount.resident()
    disk.stall()
    threads = [threading.Thread(target=stage, args=(*where, content)) for where in staged]
    for thread in threads:
        thread.start()
    for enclave, name in staged:
        eventually(lambda: os.path.exists(enclave.path(name)), "it is made")
    assert enclaves[0].state == "init"
    grown = mount.resident() - before
    disk.go_on()
    for thread in threads:
        thread.join(seconds(30))
    for enclave, name in staged:
        assert get(enclave.path(name)) == content
    if not mount.sanitized():
        assert grown < 44 * MEBI, f"{grown / MEBI:.1f} MiB"


@pytest.mark.parametrize("amid", ["a write", "nothing"])
def test_an_end_is_bounded(mount, disk, amid):
    enclave = mount.enclave().ready(image=LARGE)
    enclave.get("measurements")
    mount.enclave().running()
    disk.stall()
    if amid == "a write":
        Child(put, enclave.path("image"), OTHER).blocked("write")
    mount.process.terminate()
    status = mount.wait_exit()
    disk.go_on()
    said = mount.said().splitlines()
    assert status == 2, said
    assert f"nefs: ended: the spool directory {disk.path} does not answer" in said[-1]
