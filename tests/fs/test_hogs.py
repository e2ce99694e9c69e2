# SPDX-License-Identifier: GPL-2.0-or-later
"""
One user's work is no reason for another to wait: images that take minutes to read, and what of it is read for
nobody any more. How far nefs gets in an image is seen by the bytes that it reads, not by the time that passes.
"""
import grp
import os
import signal

import eif_image
import pytest
from harness import NOBODY, Child, eventually, get, outcome, put, seconds
from nefs_mount import Enclave

pytestmark = [pytest.mark.sim, pytest.mark.skipif(os.getuid() != 0, reason="needs two users")]

OTHER = NOBODY - 1
MACHINE, LARGE = eif_image.MACHINE, eif_image.LARGE
SOME = LARGE // 4                                # far more than is read in time by who looks at the flag


def write_sparse(path, size):
    """As cp --sparse does it."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        head = eif_image.sparse_head(size)
        assert os.write(fd, head) == len(head)
        os.ftruncate(fd, size)
    finally:
        os.close(fd)
    # The last close tells that it is whole.
    eventually(lambda: os.stat(path).st_size == size, "it takes its place")


def bytes_read(mount):
    """By nefs, so far."""
    with open(f"/proc/{mount.process.pid}/io") as file:
        return int(file.readline().split()[1])


def reads(mount):
    """Waits until nefs is amid an image."""
    before = bytes_read(mount)
    eventually(lambda: bytes_read(mount) > before + (16 << 20), "an image is being read")


def hog(mount, count):
    """So many enclaves with images without an end, each being read or about to be."""
    for number in range(count):
        os.mkdir(mount.path(f"hog{number}"))
        write_sparse(mount.path(f"hog{number}", "image"), LARGE)


def give_up(mount, count):
    for number in range(count):
        os.rmdir(mount.path(f"hog{number}"))


def live(mount):
    """What somebody else does meanwhile, all of it."""
    enclave = mount.enclave("another").running()
    assert enclave.get("measurements") == eif_image.measurements()
    assert enclave.stop() == "OK" and enclave.state == "stopped"
    assert enclave.start() == "OK" and enclave.state == "running"
    assert put(enclave.path("image"), eif_image.build(ramdisks=(b"another",))) == "OK"
    assert enclave.stop() == "OK" and enclave.state == "stopped"
    os.rmdir(enclave.path())


@pytest.fixture
def crowded(new_mount):
    return new_mount(f"group={grp.getgrgid(NOBODY).gr_name}", "sim_memory=20G")


def test_images_without_an_end(crowded):
    """More than there are workers; their owner removes them all, and then nothing is read for them any more."""
    mount, count = crowded, 70
    fds = mount.fds()
    Child(hog, mount, count, uid=NOBODY).result(60)
    reads(mount)
    Child(live, mount, uid=OTHER, groups=[NOBODY]).result(60)
    live(mount)
    # Nor is the owner behind themselves, but for what takes as long as it takes.
    assert Child(outcome, os.mkdir, mount.path("one-more"), uid=NOBODY).result() == "OK"
    assert Child(outcome, os.rmdir, mount.path("one-more"), uid=NOBODY).result() == "OK"
    before = bytes_read(mount)
    Child(give_up, mount, count, uid=NOBODY).result(60)
    eventually(lambda: mount.fds() <= fds, "what was read is given back")
    assert bytes_read(mount) - before < SOME


def test_a_reader_of_it_is_told_of_what_takes_its_place(crowded):
    enclave = crowded.enclave()
    write_sparse(enclave.path("image"), LARGE)
    reader = Child(get, enclave.path("measurements")).blocked("read")
    reads(crowded)
    before = bytes_read(crowded)
    with open(enclave.path("image.tmp"), "wb") as file:
        file.write(eif_image.SMALL)
    os.rename(enclave.path("image.tmp"), enclave.path("image"))
    assert reader.result() == eif_image.measurements()
    assert bytes_read(crowded) - before < SOME
    # And an image that is removed is not read to its end, either.
    write_sparse(enclave.path("image"), LARGE)
    reads(crowded)
    fds, before = crowded.fds(), bytes_read(crowded)
    os.unlink(enclave.path("image"))
    assert enclave.get("image_info") == b""
    eventually(lambda: crowded.fds() < fds, "it is given back")
    assert bytes_read(crowded) - before < SOME


def test_stop_of_a_start_that_reads(crowded):
    enclave = crowded.enclave().ready(image=None, memory=b"18G")
    write_sparse(enclave.path("image"), LARGE)
    assert enclave.start(os.O_NONBLOCK) == "OK"
    reads(crowded)
    assert enclave.state == "starting"
    before = bytes_read(crowded)
    assert enclave.stop() == "OK"
    assert enclave.reaches("stopped") == "stopped"
    # A report of it goes on meanwhile.
    assert bytes_read(crowded) - before < SOME
    assert enclave.get("start") == b"0\n"
    os.rmdir(enclave.path())


def test_starts_that_read(crowded):
    """As many as there are workers, by one user: a start for which there would be pages, and each reads its image."""
    mount, count = crowded, 70

    def start_all():
        hog(mount, count)
        for number in range(count):
            enclave = Enclave(mount, f"hog{number}").ready(image=None, memory=b"18G")
            assert enclave.start(os.O_NONBLOCK) == "OK"
    Child(start_all, uid=NOBODY).result(60)
    reads(mount)
    Child(live, mount, uid=OTHER, groups=[NOBODY]).result(60)
    live(mount)

    def stop_all():
        for number in range(count):
            assert Enclave(mount, f"hog{number}").stop(os.O_NONBLOCK) == "OK"
        for number in range(count):
            assert Enclave(mount, f"hog{number}").reaches("stopped") == "stopped"
        give_up(mount, count)
    before = bytes_read(mount)
    Child(stop_all, uid=NOBODY).result(60)
    assert bytes_read(mount) - before < SOME


def test_more_memory_than_there_is(crowded):
    """It is refused before the image is read, which could be had only to be told so."""
    enclave = crowded.enclave().ready(image=None, memory=b"1T")
    fd = os.open(enclave.path("image"), os.O_WRONLY)
    try:
        head = eif_image.sparse_head(LARGE)
        os.write(fd, head)
        os.ftruncate(fd, LARGE)
        os.close(os.open(enclave.path("image"), os.O_RDONLY))
    finally:
        os.close(fd)
    before = bytes_read(crowded)
    assert enclave.start() == "ENOMEM"
    assert b"not enough huge pages for 1048576 MiB" in enclave.error
    assert bytes_read(crowded) - before < SOME


def test_larger_than_the_machine(crowded):
    enclave = crowded.enclave().ready(image=None)
    size = MACHINE + (1 << 30)
    before = bytes_read(crowded)
    write_sparse(enclave.path("image"), size)
    assert enclave.get("measurements") == enclave.get("image_info") == b""
    sentence = f"the image has {size >> 20} MiB, and this machine has {MACHINE >> 20} MiB of memory: ".encode()
    assert sentence in enclave.error
    enclave.set("memory", b"4T")
    assert enclave.start() == "EINVAL"
    assert sentence in enclave.error
    assert bytes_read(crowded) - before < SOME


@pytest.mark.parametrize("started", [False, True])
def test_the_end_amid_all_that(new_mount, started):
    """Nothing is read on for a mount that is gone: nefs ends by itself, well, and leaves nothing."""
    mount = new_mount(f"group={grp.getgrgid(NOBODY).gr_name}", "sim_memory=20G")

    def work():
        hog(mount, 20)
        for number in range(20 if started else 0):
            assert Enclave(mount, f"hog{number}").ready(image=None, memory=b"18G").start(os.O_NONBLOCK) == "OK"
    Child(work, uid=NOBODY).result(60)
    reads(mount)
    mount.process.send_signal(signal.SIGTERM)
    status = mount.wait_exit()
    assert status == 0, f"{status}: {mount.said()}"
    assert not mount.mounted() and not mount.spooled()
    mount.discard()


def test_the_first_to_come_is_not_the_only_one(crowded):
    """A user whose images are being read, and one who wants to know of theirs."""
    mount = crowded
    Child(hog, mount, 10, uid=NOBODY).result(60)
    reads(mount)

    def others():
        enclave = mount.enclave("theirs").ready()
        return get(enclave.path("measurements"))
    found = Child(others, uid=OTHER, groups=[NOBODY]).result(seconds(15))
    assert found == eif_image.measurements()
    Child(give_up, mount, 10, uid=NOBODY).result(60)
