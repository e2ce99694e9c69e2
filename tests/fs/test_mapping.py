# SPDX-License-Identifier: GPL-2.0-or-later
"""
Files that come by way of the kernel's page cache: mmap(2), sendfile(2), splice(2). Shared mappings are there
where both the libfuse that nefs was built with (3.17) and the kernel (6.6) have them.
"""
import mmap
import os
import re

import eif_image
import pytest
from harness import Child, eventually, get, outcome, put, read_outcome, run
from nefs_mount import binary
from watching import Inotify

TEXTS = ["state", "start", "memory", "vcpus", "cid", "events", "memory.effective", "cpus.effective", "slot",
         "image", "measurements", "image_info"]


def version(text):
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])


def has_shared():
    """Do this nefs and this kernel have shared mappings?"""
    libfuse = re.search(r"libfuse (\S+)\)", run(binary(), "-V").stdout).group(1)
    return version(libfuse) >= (3, 17) and version(os.uname().release) >= (6, 6)


def mapped(path, flags=mmap.MAP_PRIVATE, protection=mmap.PROT_READ):
    """A mapping of all of the file; only it keeps the file open."""
    writes = flags == mmap.MAP_SHARED and protection & mmap.PROT_WRITE
    fd = os.open(path, os.O_RDWR if writes else os.O_RDONLY)
    try:
        return mmap.mmap(fd, os.fstat(fd).st_size, flags, protection)
    finally:
        os.close(fd)


def sent(fd, offset=0):
    """What one sendfile(2) gives of an open file, from its beginning or (None) from where it is."""
    ours, theirs = os.pipe()
    try:
        size = os.sendfile(theirs, fd, offset, 4096)
        return os.read(ours, size) if size else b""
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("file", TEXTS)
def test_shared_mapping(running, file):
    want = get(running.path(file))
    if not has_shared():
        assert outcome(mapped, running.path(file), mmap.MAP_SHARED) == "ENODEV"
        return
    with mapped(running.path(file), mmap.MAP_SHARED) as mapping:
        assert mapping[:] == want


def test_mapping_of_text_that_grows(running):
    with mapped(running.path("journal"), kinds()[-1]) as mapping:
        assert mapping[:] == running.get("journal")


@pytest.mark.parametrize("file", TEXTS)
def test_private_mapping(running, file):
    with mapped(running.path(file)) as mapping:
        assert mapping[:] == get(running.path(file))


@pytest.mark.parametrize("file", ["version", "backend", "events"])
def test_mapping_of_the_root(mount, file):
    with mapped(mount.path(file)) as mapping:
        assert mapping[:] == mount.get(file)


def kinds():
    return [mmap.MAP_PRIVATE] + [mmap.MAP_SHARED] * has_shared()


def test_mapping_follows_a_change(ready):
    mappings = [mapped(ready.path("state"), kind) for kind in kinds()]
    assert {mapping[:] for mapping in mappings} == {b"init\n"}
    ready.set("start", b"1")
    for mapping in mappings:
        eventually(lambda: mapping[:5] == b"runni", "the mapping of `state` follows the start")
    ready.set("start", b"0")
    for mapping in mappings:
        eventually(lambda: mapping[:5] == b"stopp", "the mapping of `state` follows the stop")


def test_mapping_follows_a_write(enclave):
    enclave.set("memory", b"64M\n")
    mappings = [mapped(enclave.path("memory"), kind) for kind in kinds()]
    assert {mapping[:] for mapping in mappings} == {b"64M\n"}
    enclave.set("memory", b"72M\n")
    for mapping in mappings:
        eventually(lambda: mapping[:] == b"72M\n", "the mapping of `memory` follows a write")


def test_new_mapping_is_never_stale(enclave):
    for value in range(64, 96, 2):
        enclave.set("memory", b"%dM\n" % value)
        for kind in kinds():
            with mapped(enclave.path("memory"), kind) as mapping:
                assert mapping[:] == b"%dM\n" % value


def test_sendfile_follows_a_change(running):
    fd = os.open(running.path("state"), os.O_RDONLY)
    try:
        assert sent(fd) == b"running\n"
        running.set("start", b"0")
        eventually(lambda: sent(fd) == b"stopped\n", "sendfile(2) of `state` follows the stop")
    finally:
        os.close(fd)


def test_image_by_sendfile(enclave):
    image = eif_image.padded(300000)
    enclave.set("image", image)
    fd = os.open(enclave.path("image"), os.O_RDONLY)
    ours, theirs = os.pipe()
    found = b""
    try:
        while size := os.sendfile(theirs, fd, None, 32768):
            found += os.read(ours, size)
    finally:
        for each in (fd, ours, theirs):
            os.close(each)
    assert found == image


def test_nothing_is_set_through_a_mapping(enclave):
    enclave.set("memory", b"64M\n")
    if not has_shared():
        assert outcome(mapped, enclave.path("memory"), mmap.MAP_SHARED,
                       mmap.PROT_READ | mmap.PROT_WRITE) == "ENODEV"
        return
    with mapped(enclave.path("memory"), mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
        mapping[:3] = b"72M"
        # Which errno msync(2) makes of it is the kernel's.
        assert outcome(mapping.flush) in ("EACCES", "EIO")
        assert enclave.get("memory") == b"64M\n"
        assert b"memory" in enclave.error and b"mmap" in enclave.error
        eventually(lambda: mapping[:] == b"64M\n", "the page that was refused is dropped")
    with mapped(enclave.path("memory")) as mapping:
        assert mapping[:] == b"64M\n"


def test_staged_file_through_a_mapping(enclave):
    """It is a file as any other until it is renamed over a setting."""
    staged = enclave.path(".new")
    assert put(staged, b"64M\n", os.O_WRONLY | os.O_CREAT) == "OK"
    if not has_shared():
        assert outcome(mapped, staged, mmap.MAP_SHARED,
                       mmap.PROT_READ | mmap.PROT_WRITE) == "ENODEV"
        return
    with mapped(staged, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE) as mapping:
        mapping[:2] = b"72"
        mapping.flush()
    os.rename(staged, enclave.path("memory"))
    assert enclave.get("memory") == b"72M\n"


# ---- what waits ----

def read_it(path):
    return get(path)


def send_it(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return sent(fd, None)
    finally:
        os.close(fd)


def map_it(path):
    with mapped(path) as mapping:
        return mapping[:]


WAYS = [read_it, send_it, map_it]


def asleep(child):
    """Does it sleep in the kernel, other than for its turn?"""
    with open(f"/proc/{child.pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] in ("S", "D")


def waiting(way, path):
    child = Child(way, path)
    seen = [False] * 10

    def sleeps():
        assert not child.ended(), f"{way.__name__} was to wait: {child.result()!r}"
        seen.append(asleep(child))
        return all(seen[-10:])
    eventually(sleeps, f"{way.__name__} waits")
    return child


@pytest.fixture
def starting(new_mount):
    """An enclave that starts for as long as the test takes; the mount ends with it."""
    mount = new_mount()
    enclave = mount.enclave().ready()
    mount.faults("ENCLAVE_START delay 600000 1")
    assert put(enclave.path("start"), b"1", os.O_WRONLY | os.O_NONBLOCK) == "OK"
    enclave.reaches("starting")
    yield enclave
    mount.discard()


@pytest.mark.sim
@pytest.mark.parametrize("way", WAYS)
def test_who_waits_can_be_killed(starting, way):
    """Whatever others do with the file: a page that waits is locked, and not all who want it can be."""
    path = starting.path("wait")
    children = [waiting(way, path)] + [waiting(other, path) for other in WAYS]
    # What has no reason to wait does not.
    assert Child(os.stat, path).result().st_size == 8
    assert Child(read_outcome, path, os.O_NONBLOCK).result() == "EAGAIN"
    for child in children[2:] + children[:2]:
        assert child.kill(), f"SIGKILL does not end {child.pid}, in {child.where()}"


@pytest.mark.device
def test_who_waits_learns_the_state(ready):
    """As no two of them are in each other's way, all do."""
    ready.mount.faults("ENCLAVE_START delay 1500 1")
    starter = Child(put, ready.path("start"), b"1")
    ready.reaches("starting", "running")
    children = [Child(way, ready.path("wait")) for way in WAYS + WAYS]
    assert [child.result(30) for child in children] == [b"running\n"] * len(children)
    assert starter.result() == "OK"


@pytest.mark.sim
def test_who_waits_holds_up_no_watcher(new_mount):
    """A page that waits over one state and into the next one is nobody else's concern."""
    mount = new_mount()
    enclave, other = mount.enclave().running(), mount.enclave()
    mount.faults("ENCLAVE_STOP delay 1500 1", "ENCLAVE_START delay 600000 1")
    assert put(enclave.path("start"), b"0", os.O_WRONLY | os.O_NONBLOCK) == "OK"
    enclave.reaches("stopping")
    child = waiting(send_it, enclave.path("wait"))
    try:
        assert put(enclave.path("start"), b"1", os.O_WRONLY | os.O_NONBLOCK) == "OK"
        enclave.reaches("starting")
        with Inotify(other.path("error")) as watch:
            assert put(other.path("memory"), b"x") == "EINVAL"
            watch.wait(other.path("error"))
    finally:
        # Else neither it nor nefs would end, if nefs waits for the page.
        child.kill()
    mount.discard()


@pytest.mark.parametrize("file", ["journal.follow", "console.follow"])
def test_stream_by_sendfile(enclave, file):
    """At an st_size of 0 it would be at its end; EINVAL is what sendfile(2)'s callers fall back to read(2) on."""
    assert outcome(send_it, enclave.path(file)) == "EINVAL"
