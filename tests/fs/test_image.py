# SPDX-License-Identifier: GPL-2.0-or-later
"""The image file: a file with offsets and a size, checked at its first write and at start."""
import json
import os
import stat
import struct
import tempfile

import eif_image
import pytest
from eif_image import CMDLINE, KERNEL, METADATA, RAMDISK, SIGNATURE, SMALL, build, patched
from harness import Child, eventually, outcome, put, read_outcome, run
from nefs_mount import eif_binary
from watching import Watched

OTHER = build(ramdisks=(b"another one",))
PADDING = 8 << 20
BIG = eif_image.padded(PADDING)


def write_chunks(path, data, size):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        for offset in range(0, len(data), size):
            os.write(fd, data[offset:offset + size])
    finally:
        os.close(fd)


def test_image_reads_back(enclave):
    assert enclave.put("image", SMALL) == "OK"
    assert enclave.get("image") == SMALL


def test_image_is_private(enclave):
    enclave.set("image", SMALL)
    assert stat.S_IMODE(os.stat(enclave.path("image")).st_mode) == 0o600


def test_image_size_is_the_files(enclave):
    enclave.set("image", SMALL)
    assert os.stat(enclave.path("image")).st_size == len(SMALL)


@pytest.mark.parametrize("size", [1, 7, 100, 548, 4096])
def test_chunked_writes(enclave, size):
    write_chunks(enclave.path("image"), SMALL, size)
    assert enclave.get("image") == SMALL
    assert enclave.ready(image=None).start() == "OK", enclave.error


def test_size_grows_while_writing(enclave):
    fd = os.open(enclave.path("image"), os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(fd, SMALL[:600])
        assert os.fstat(fd).st_size == 600
        os.write(fd, SMALL[600:])
        assert os.fstat(fd).st_size == len(SMALL)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [4096, 65536, 1 << 20, 32 << 20])
def test_big_image(enclave, size):
    write_chunks(enclave.path("image"), BIG, size)
    assert os.stat(enclave.path("image")).st_size == len(BIG)
    assert enclave.get("image") == BIG


def test_big_image_starts(enclave):
    enclave.running(image=BIG, memory=b"128M")
    assert enclave.get("image") == BIG


def test_smaller_image_replaces_a_bigger(enclave):
    enclave.set("image", BIG)
    enclave.set("image", SMALL)
    assert os.stat(enclave.path("image")).st_size == len(SMALL)
    assert enclave.get("image") == SMALL


def test_read_at_an_offset(enclave):
    enclave.set("image", BIG)
    fd = os.open(enclave.path("image"), os.O_RDONLY)
    try:
        for offset in (0, 1, 547, 4095, 1 << 20, len(BIG) - 10, len(BIG), len(BIG) + 10):
            assert os.pread(fd, 5000, offset) == BIG[offset:offset + 5000]
    finally:
        os.close(fd)


@pytest.mark.parametrize("junk", [b"x", b"\n", b"\x7fELF" + bytes(1000), b"PK\3\4", bytes(548),
                                  b".eiF" + bytes(600), b"1\n"])
def test_first_write_that_is_no_eif(enclave, junk):
    enclave.set("image", SMALL)
    assert enclave.put("image", junk) == "EINVAL"
    assert b"image" in enclave.error or b"EIF" in enclave.error
    assert enclave.get("image") == SMALL
    assert os.stat(enclave.path("image")).st_size == len(SMALL)


def test_first_write_that_is_no_eif_leaves_it_unset(enclave):
    assert enclave.put("image", b"not an image") == "EINVAL"
    assert enclave.get("image") == b""
    assert os.stat(enclave.path("image")).st_size == 0


@pytest.mark.parametrize("call", [
    lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
    lambda path: os.truncate(path, 0), lambda path: put(path, b"")])
def test_truncation_keeps_the_image(enclave, call):
    enclave.set("image", SMALL)
    call(enclave.path("image"))
    assert enclave.get("image") == SMALL
    assert os.stat(enclave.path("image")).st_size == len(SMALL)


@pytest.mark.parametrize("first", [b"not an image" * 100, None], ids=["refused", "left out"])
def test_a_writer_that_begins_in_the_middle(enclave, first):
    """One that ignores the refusal of its first block, as dd conv=noerror may, costs nothing."""
    enclave.set("image", SMALL)
    fd = os.open(enclave.path("image"), os.O_WRONLY | os.O_TRUNC)
    try:
        if first:
            assert outcome(lambda: os.pwrite(fd, first, 0)) == "EINVAL"
        assert outcome(lambda: os.pwrite(fd, OTHER[512:], 512)) == "EINVAL"
        assert b"first byte" in enclave.error and b"512" in enclave.error
        assert enclave.get("image") == SMALL
        os.pwrite(fd, OTHER[:512], 0)
        os.pwrite(fd, OTHER[512:], 512)
    finally:
        os.close(fd)
    assert enclave.get("image") == OTHER


@pytest.mark.parametrize("before", [None, OTHER], ids=["unset", "emptied"])
def test_appended_to_nothing(enclave, before):
    if before:
        enclave.set("image", before)
        os.truncate(enclave.path("image"), 0)
    fd = os.open(enclave.path("image"), os.O_WRONLY | os.O_APPEND)
    try:
        os.write(fd, SMALL[:600])
        os.write(fd, SMALL[600:])
    finally:
        os.close(fd)
    assert enclave.get("image") == SMALL


def test_two_enclaves_have_their_own(mount):
    first, second = mount.enclave(), mount.enclave()
    first.set("image", SMALL)
    second.set("image", OTHER)
    assert (first.get("image"), second.get("image")) == (SMALL, OTHER)


def test_replaced_after_a_stop(running):
    running.stop()
    running.settle()
    running.set("image", OTHER)
    assert running.get("image") == OTHER
    assert running.start() == "OK", running.error


# ---- By tools ----

@pytest.fixture
def source():
    """An image file outside the mount."""
    with tempfile.NamedTemporaryFile(prefix="nefs-image-", suffix=".eif", delete=False) as file:
        file.write(BIG)
    yield file.name
    if os.path.exists(file.name):
        os.unlink(file.name)


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("command", [
    "cp $S image", "cp -p $S image", "cp --remove-destination $S image", "mv $S image",
    "install -m 600 $S image", "dd if=$S of=image bs=1M status=none",
    "dd if=$S of=image bs=4k status=none conv=fsync", "tee image < $S > /dev/null",
    "cat $S > image", "cp $S staged && mv staged image"])
def test_image_by(enclave, source, command, again):
    if again:
        enclave.set("image", SMALL)
    done = run("sh", "-c", command, cwd=enclave.path(), env={**os.environ, "S": source})
    assert done.returncode == 0, done.stderr
    assert os.stat(enclave.path("image")).st_size == len(BIG)
    assert enclave.get("image") == BIG
    enclave.ready(image=None, memory=b"128M")
    assert enclave.start() == "OK", enclave.error


def test_staged_image_that_is_none(enclave):
    enclave.set("image", SMALL)
    put(enclave.path("staged"), b"junk", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert outcome(os.rename, enclave.path("staged"), enclave.path("image")) == "EINVAL"
    assert enclave.get("image") == SMALL
    assert outcome(os.unlink, enclave.path("staged")) == "OK"


def test_staged_image_while_running(running):
    put(running.path("staged"), OTHER, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert outcome(os.rename, running.path("staged"), running.path("image")) == "OK"
    assert running.get("image") == OTHER
    assert (running.state, running.get("pending")) == ("running", b"image\n")


# ---- Corrupt images ----

def table(field, index):
    """Offset in the header of section_offsets[index] or section_sizes[index]."""
    return {"offset": 28, "size": 284}[field] + 8 * index


def u64(value):
    return struct.pack(">Q", value & (1 << 64) - 1)


def section_header(image, index):
    return struct.unpack_from(">Q", image, table("offset", index))[0]


def lying_size(value):
    """Both sizes of section 3 say the same lie."""
    image = patched(SMALL, table("size", 3), u64(value))
    return patched(image, section_header(image, 3) + 4, u64(value))


KERNEL_DATA = eif_image.bzimage()
CORRUPT = {
    "a header and no more": SMALL[:548],
    "half a header": SMALL[:300],
    "the magic alone": SMALL[:4],
    "a byte missing": SMALL[:-1],
    "cut in the kernel": SMALL[:700],
    "a bit of the kernel flipped": SMALL[:600] + bytes([SMALL[600] ^ 1]) + SMALL[601:],
    "a wrong CRC": SMALL[:544] + bytes(4) + SMALL[548:],
    "a byte too many": SMALL + b"x",
    "version 0": build(version=0),
    "version 1": build(version=1),
    "version 5": build(version=5),
    "no sections": patched(SMALL, 26, b"\0\0"),
    "one section": patched(SMALL, 26, b"\0\1"),
    "33 sections": patched(SMALL, 26, b"\0\x21"),
    "65535 sections": patched(SMALL, 26, b"\xff\xff"),
    "more sections than there are": patched(SMALL, 26, b"\0\x0a"),
    "an offset behind the end": patched(SMALL, table("offset", 4), u64(len(SMALL))),
    "an offset in the header": patched(SMALL, table("offset", 0), u64(100)),
    "an offset that wraps": patched(SMALL, table("offset", 4), u64(-4)),
    "an offset of 2^63": patched(SMALL, table("offset", 4), u64(1 << 63)),
    "a size that differs": patched(SMALL, table("size", 3), u64(1)),
    "a size of 2^64-1": lying_size(-1),
    "a size that wraps to the front": lying_size(-12),
    "a size of 1 TiB": lying_size(1 << 40),
    "a size one too large": lying_size(len(b"RAMDISK1") + 1 + 12 + len(b"RAMDISK2")),
    "sections that overlap": patched(SMALL, table("offset", 4),
                                     u64(section_header(SMALL, 3))),
    "type 0": build(sections=[(KERNEL, KERNEL_DATA), (CMDLINE, b"x"), (METADATA, b"{}"),
                              (RAMDISK, b"r"), (0, b"x")]),
    "type 6": build(sections=[(KERNEL, KERNEL_DATA), (CMDLINE, b"x"), (METADATA, b"{}"),
                              (RAMDISK, b"r"), (6, b"x")]),
    "a second kernel": build(sections=[(KERNEL, KERNEL_DATA), (KERNEL, KERNEL_DATA),
                                       (CMDLINE, b"x"), (METADATA, b"{}"), (RAMDISK, b"r")]),
    "a second command line": build(sections=[(KERNEL, KERNEL_DATA), (CMDLINE, b"x"),
                                             (CMDLINE, b"x"), (METADATA, b"{}"), (RAMDISK, b"r")]),
    "no kernel": build(sections=[(CMDLINE, b"x"), (METADATA, b"{}"), (RAMDISK, b"r")]),
    "no command line": build(sections=[(KERNEL, KERNEL_DATA), (METADATA, b"{}"),
                                       (RAMDISK, b"r")]),
    "version 4 without metadata": build(sections=[(KERNEL, KERNEL_DATA), (CMDLINE, b"x"),
                                                  (RAMDISK, b"r")]),
    "a ramdisk before the kernel": build(sections=[(RAMDISK, b"r"), (KERNEL, KERNEL_DATA),
                                                   (CMDLINE, b"x"), (METADATA, b"{}")]),
    "two signatures": build(sections=[(KERNEL, KERNEL_DATA), (CMDLINE, b"x"), (METADATA, b"{}"),
                                      (RAMDISK, b"r"), (SIGNATURE, b"x"), (SIGNATURE, b"x")]),
    "a signature too long": build(sections=[(KERNEL, KERNEL_DATA), (CMDLINE, b"x"),
                                            (METADATA, b"{}"), (RAMDISK, b"r"),
                                            (SIGNATURE, bytes(32769))]),
    "a kernel that is none": build(kernel=b"not a kernel at all" * 50),
    "a kernel of another architecture": build(flags=1),
}


# What the header tells is no length at all; is more than there is.
NO_LENGTH = {"no sections", "one section", "33 sections", "65535 sections", "an offset that wraps",
             "an offset of 2^63", "a size of 2^64-1", "a size that wraps to the front",
             "a size of 1 TiB"}
TORN = {"a header and no more", "half a header", "the magic alone", "a byte missing",
        "cut in the kernel", "an offset behind the end", "a size one too large"}


def assert_one_sentence(enclave):
    sentence = enclave.error
    assert sentence.count(b"\n") == 1 and len(sentence) > 20


@pytest.mark.parametrize("what", sorted(CORRUPT))
def test_corrupt_image_is_refused_at_start(enclave, what):
    """Where its header tells a length and it has that, it is kept; else there is none."""
    image = CORRUPT[what]
    assert enclave.put("image", image) == ("EINVAL" if what in NO_LENGTH else "OK")
    assert enclave.get("image") == (b"" if what in NO_LENGTH | TORN else image)
    if what in NO_LENGTH | TORN:
        assert_one_sentence(enclave)
    enclave.ready(image=None)
    assert enclave.start() == "EINVAL", what
    assert enclave.state == "failed"
    assert_one_sentence(enclave)
    assert enclave.get("slot") == b"\n"
    enclave.set("image", SMALL)
    assert enclave.start() == "OK", enclave.error


@pytest.mark.parametrize("what", ["a byte missing", "a size of 2^64-1", "a second kernel",
                                  "a wrong CRC", "half a header"])
def test_corrupt_image_has_no_measurements(enclave, what):
    enclave.put("image", CORRUPT[what])
    for name in ("measurements", "image_info"):
        assert read_outcome(enclave.path(name)) in (b"", "EINVAL")


def test_truncated_anywhere(enclave):
    """A cut at any place is dropped, and told with both figures."""
    enclave.ready(image=None)
    for size in range(4, len(SMALL), 37):
        assert enclave.put("image", SMALL[:size]) == "OK"
        assert enclave.get("image") == b""
        assert b"%d of " % size in enclave.error, enclave.error
        assert enclave.start() == "EINVAL", f"cut at {size}"
        assert b"%d of " % size in enclave.error, enclave.error


# ---- A new one beside the one that stands ----

@pytest.fixture
def half():
    """An image that is half written: (enclave, fd), its writer's."""
    opened = []

    def begin(enclave, image=BIG, flags=os.O_TRUNC, part=0.5):
        fd = os.open(enclave.path("image"), os.O_WRONLY | flags)
        opened.append(fd)
        os.write(fd, image[:int(len(image) * part)])
        return fd
    yield begin
    for fd in opened:
        os.close(fd)


@pytest.mark.parametrize("flags", [os.O_TRUNC, 0], ids=["truncated", "from offset 0"])
def test_the_old_one_stands_until_the_new_one_is_whole(enclave, half, flags):
    enclave.set("image", SMALL)
    fd = half(enclave, flags=flags)
    assert enclave.get("image") == SMALL
    assert os.stat(enclave.path("image")).st_size == len(SMALL)
    assert enclave.get("measurements") == eif_image.measurements()
    os.write(fd, BIG[len(BIG) // 2:])
    assert os.stat(enclave.path("image")).st_size == len(BIG), "whole, though it is still open"
    assert enclave.get("image") == BIG


def test_start_while_one_is_written(enclave, half):
    enclave.ready()
    fd = half(enclave)
    assert enclave.start() == "EINVAL"
    assert b"%d of %d bytes" % (len(BIG) // 2, len(BIG)) in enclave.error
    os.write(fd, BIG[len(BIG) // 2:])
    enclave.set("memory", b"128M")
    assert enclave.start() == "OK", enclave.error


def test_start_before_its_header_is_whole(enclave, half):
    enclave.ready()
    half(enclave, SMALL, part=0.2)
    assert enclave.start() == "EINVAL"
    assert b"%d of at least 548 bytes" % (len(SMALL) // 5) in enclave.error


def test_what_is_torn_costs_nothing(enclave):
    enclave.ready()
    before = os.stat(enclave.path("image")).st_mtime_ns
    assert enclave.put("image", BIG[:len(BIG) // 2]) == "OK"
    assert b"%d of %d bytes" % (len(BIG) // 2, len(BIG)) in enclave.error
    assert enclave.get("image") == SMALL
    status = os.stat(enclave.path("image"))
    assert (status.st_size, status.st_mtime_ns) == (len(SMALL), before)
    assert enclave.start() == "OK", enclave.error


def test_nothing_is_written_into_a_running_one(running, half):
    """Not by pieces either, and a writer that begins in the middle is told so."""
    fd = os.open(running.path("image"), os.O_WRONLY)
    try:
        assert outcome(os.ftruncate, fd, 600) == "EINVAL"
        assert outcome(os.pwrite, fd, b"x" * 100, 600) == "EINVAL"
    finally:
        os.close(fd)
    assert put(running.path("image"), b"more", os.O_WRONLY | os.O_APPEND) == "EINVAL"
    assert running.get("image") == SMALL
    fd = half(running)
    assert running.get("pending") == b"", "until it is whole"
    os.write(fd, BIG[len(BIG) // 2:])
    assert running.get("pending") == b"image\n"
    assert running.state == "running"


@pytest.mark.parametrize("order", [[0, 2, 1, 3], [0, 3, 2, 1]])
def test_pieces_in_any_order_after_the_first(enclave, order):
    size = len(BIG) // 4 + 1
    enclave.set("image", SMALL)
    fd = os.open(enclave.path("image"), os.O_WRONLY)
    try:
        for piece in order:
            assert enclave.get("image") == SMALL
            os.pwrite(fd, BIG[piece * size:(piece + 1) * size], piece * size)
    finally:
        os.close(fd)
    assert enclave.get("image") == BIG


def test_what_is_zeros_may_be_left_out(enclave):
    """As cp --sparse and dd conv=sparse do: the last close tells that it is whole."""
    image = build(ramdisks=(bytes(4 << 20), b"end"))
    hole = image.index(bytes(4096)) + 4096
    fd = os.open(enclave.path("image"), os.O_WRONLY | os.O_TRUNC)
    os.pwrite(fd, image[:hole], 0)
    os.pwrite(fd, image[hole + (3 << 20):], hole + (3 << 20))
    os.close(fd)
    assert enclave.get("image") == image
    assert enclave.ready(image=None).start() == "OK", enclave.error


def test_a_writer_may_go_back_to_its_header(enclave):
    """One who writes the CRC last: the same file, not another one."""
    fd = os.open(enclave.path("image"), os.O_WRONLY | os.O_TRUNC)
    os.write(fd, SMALL[:544] + bytes(4) + SMALL[548:])
    os.pwrite(fd, SMALL[:548], 0)
    os.close(fd)
    assert enclave.get("image") == SMALL
    assert enclave.error == b""


def test_an_announced_and_a_confirmed_size(enclave):
    """ftruncate(2) before the first byte and after the last one."""
    enclave.set("image", SMALL)
    fd = os.open(enclave.path("image"), os.O_WRONLY | os.O_TRUNC)
    try:
        os.ftruncate(fd, len(BIG))
        assert enclave.get("image") == SMALL
        os.write(fd, BIG)
        os.ftruncate(fd, len(BIG))
    finally:
        os.close(fd)
    assert enclave.get("image") == BIG
    for size in (len(BIG) - 1, len(BIG) + 1, 600):
        assert outcome(os.truncate, enclave.path("image"), size) == "EINVAL"
    assert enclave.get("image") == BIG


def test_a_staged_torso(enclave):
    enclave.set("image", SMALL)
    put(enclave.path("staged"), BIG[:1000], os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    assert outcome(os.rename, enclave.path("staged"), enclave.path("image")) == "EINVAL"
    assert b"1000 of %d bytes" % len(BIG) in enclave.error
    assert enclave.get("image") == SMALL


@pytest.fixture
def small_spool():
    """4 MiB."""
    path = tempfile.mkdtemp(prefix="nefs-spool-")
    assert run("mount", "-t", "tmpfs", "-o", "size=4M,mode=700", "none", path).returncode == 0
    yield path
    eventually(lambda: run("umount", path).returncode == 0, "unmounting the spool")
    os.rmdir(path)


@pytest.mark.sim
@pytest.mark.parametrize("running", [False, True], ids=["stopped", "running"])
def test_a_copy_that_does_not_fit(small_spool, new_mount, running):
    """ENOSPC: the old one stays, the room is back at once, and what fits works."""
    mount = new_mount(f"spool={small_spool}")
    enclave, other = mount.enclave().ready(), mount.enclave()
    if running:
        assert enclave.start() == "OK"
        enclave.reaches("running")
    free = os.statvfs(small_spool).f_bavail
    for _ in range(3):
        assert outcome(write_chunks, enclave.path("image"), BIG, 65536) == "ENOSPC"
        assert b"of %d bytes" % len(BIG) in enclave.error
        assert enclave.get("image") == SMALL
    assert other.put("image", OTHER) == "OK"
    assert enclave.put("image", OTHER) == "OK"
    assert enclave.get("image") == OTHER
    os.rmdir(other.path())
    eventually(lambda: os.statvfs(small_spool).f_bavail >= free - 1, "its room is given back")


@pytest.mark.sim
def test_a_large_write_that_does_not_fit(small_spool, new_mount):
    """It is short, as a part of it was taken; whoever goes on learns why, as often as they try."""
    enclave = new_mount(f"spool={small_spool}").enclave()
    enclave.set("image", SMALL)
    image = eif_image.padded(6 << 20)
    fd = os.open(enclave.path("image"), os.O_WRONLY | os.O_TRUNC)
    try:
        done = os.write(fd, image)
        assert 0 < done < len(image)
        for _ in range(2):
            assert outcome(os.write, fd, image[done:]) == "ENOSPC"
            assert b"No space left" in enclave.error and b"the image before it stays" in enclave.error
        # From its first byte on it is another attempt.
        assert os.pwrite(fd, SMALL, 0) == len(SMALL)
        assert enclave.error == b""
    finally:
        os.close(fd)
    assert enclave.get("image") == SMALL


@pytest.mark.parametrize("flags", [0, os.O_NONBLOCK])
def test_memory_too_small_for_the_image(enclave, flags):
    """Its size tells, so that is refused at once."""
    enclave.ready(memory=b"64M")
    write_chunks(enclave.path("image"), eif_image.padded(80 << 20), 1 << 20)
    assert enclave.start(flags) == "EINVAL"
    assert b"64" in enclave.error or b"67108864" in enclave.error
    enclave.set("memory", b"512M")
    assert enclave.start() == "OK", enclave.error


# ---- What verify refuses, and what no device here serves ----

@pytest.fixture
def signed(tmp_path):
    """SMALL, signed by nefs-eif."""
    key, certificate, image = tmp_path / "key", tmp_path / "certificate", tmp_path / "image"
    image.write_bytes(SMALL)
    done = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384",
               "-nodes", "-keyout", str(key), "-subj", "/CN=web", "-out", str(certificate))
    assert done.returncode == 0, done.stderr
    done = run(eif_binary(), "sign", "--key", str(key), "--certificate", str(certificate), str(image))
    assert done.returncode == 0, done.stderr
    return image.read_bytes()


def test_signed_image_starts(enclave, signed):
    enclave.set("image", signed)
    assert b"PCR8 " in enclave.get("measurements")
    assert os.stat(enclave.path("measurements")).st_size == 408
    assert enclave.ready(image=None).start() == "OK", enclave.error


@pytest.mark.parametrize("described", [False, True], ids=["at once", "described"])
def test_wrong_signature_is_refused(enclave, signed, described):
    enclave.ready(image=patched(signed, len(signed) - 1, bytes([signed[-1] ^ 1])))
    if described:
        assert b"PCR8 " in enclave.get("measurements")
    assert enclave.start() == "EINVAL"
    assert b"was not made with its certificate's key" in enclave.error
    assert (enclave.state, enclave.get("slot")) == ("failed", b"\n")


@pytest.mark.parametrize("described", [False, True], ids=["at once", "described"])
def test_signature_of_another_image_is_refused(enclave, signed, described):
    enclave.ready(image=patched(signed, 1000, bytes([signed[1000] ^ 1])))
    if described:
        enclave.get("measurements")
    assert enclave.start() == "EINVAL"
    assert b"is not for this image" in enclave.error


@pytest.mark.parametrize("flags", [0x40, 0x240, 0x100, 0x2, 0x8000])
def test_header_flags_that_ask_for_more(enclave, flags):
    """They are part of PCR0, nobody knows how: none is better than a wrong one."""
    enclave.ready(image=build(flags=flags))
    lines = enclave.get("measurements").decode().splitlines()
    assert lines[0].startswith("PCR0 unknown") and f"0x{flags:04x}" in lines[0]
    assert lines[1:] == eif_image.measurements().decode().splitlines()[1:]
    assert json.loads(enclave.get("image_info"))["measurements"]["PCR0"] is None
    assert enclave.start() == "EINVAL"
    assert b"0x%04x" % flags in enclave.error


# ---- What the image is ----

LARGE = 48 << 20


@pytest.fixture(scope="module")
def large():
    """One whose description takes some time."""
    return eif_image.padded(LARGE)


def by_sendfile(path, size):
    """What a program copies that goes by st_size."""
    fd = os.open(path, os.O_RDONLY)
    reader, writer = os.pipe()
    try:
        return os.read(reader, os.sendfile(writer, fd, 0, size)) if size else b""
    finally:
        for each in (fd, reader, writer):
            os.close(each)


def test_measurements_right_after_the_copy(enclave, large):
    """Their size is told as soon as the image is there: whoever asks first waits for it."""
    for image in (large, SMALL, BIG):
        write_chunks(enclave.path("image"), image, 1 << 20)
        for name in ("measurements", "image_info"):
            size = os.stat(enclave.path(name)).st_size
            assert size == 306 or name == "image_info"
            assert 0 < size == len(enclave.get(name)) == len(by_sendfile(enclave.path(name), size))


@pytest.mark.parametrize("name,text", [("measurements", b"PCR0"), ("image_info", b'"PCR0"')])
def test_nonblocking_readers_wait_too(enclave, large, name, text):
    """grep -r and borg open whatever they find with O_NONBLOCK."""
    write_chunks(enclave.path("image"), large, 1 << 20)
    assert text in enclave.get(name, os.O_NONBLOCK)


def test_stat_while_the_image_goes_away(enclave, large):
    """It is answered with what is there then; nobody is left waiting."""
    for _ in range(3):
        write_chunks(enclave.path("image"), large, 1 << 20)
        askers = [Child(os.stat, enclave.path("measurements")) for _ in range(3)]
        os.unlink(enclave.path("image"))
        assert {asker.result().st_size for asker in askers} <= {0, 306}
        assert os.stat(enclave.path("measurements")).st_size == 0
        os.close(os.open(enclave.path("image"), os.O_WRONLY | os.O_CREAT, 0o600))


def test_a_torso_has_no_measurements(enclave, half):
    half(enclave)
    assert os.stat(enclave.path("measurements")).st_size == 0
    assert enclave.get("measurements", os.O_NONBLOCK) == b""


def test_a_damaged_image_is_told_of_when_it_is_found(enclave):
    with Watched(enclave.path("error")) as error:
        enclave.set("image", CORRUPT["a wrong CRC"])
        assert b"CRC-32" in error.changed()
    enclave.ready(image=None)
    assert enclave.start() == "EINVAL"
    assert b"CRC-32" in enclave.error
    enclave.set("image", SMALL)
    assert enclave.start() == "OK", enclave.error


@pytest.mark.parametrize("way", ["written", "renamed"])
def test_the_same_image_onto_a_running_one(running, way):
    """It is no change, and it is not kept twice."""
    def settles(expected):
        while pending.read() != expected:
            pending.changed()
        running.get("measurements")
        assert pending.read() == expected
    with Watched(running.path("pending")) as pending:
        if way == "written":
            running.set("image", SMALL)
        else:
            put(running.path("staged"), SMALL, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.rename(running.path("staged"), running.path("image"))
        settles(b"")
        running.set("image", SMALL[:-1] + b"x")
        settles(b"image\n")


def test_the_same_image_from_a_writer_that_lingers(running):
    """Whoever has it open for writing may go on: it is no other once that is closed."""
    fd = os.open(running.path("image"), os.O_WRONLY | os.O_TRUNC)
    os.write(fd, SMALL)
    assert running.get("measurements") == eif_image.measurements()
    assert running.get("pending") == b"image\n"
    os.close(fd)
    assert running.get("pending") == b""


def test_image_info_is_bounded_and_shared(mount, enclave):
    """Whatever the metadata says, and however many have it open."""
    bound = 256 << 10
    fits = json.dumps({"ImageName": "x" * (bound - 8192)}).encode()
    enclave.set("image", build(metadata=fits))
    text = enclave.get("image_info")
    assert bound - 8192 < len(text) <= bound
    assert json.loads(text)["metadata"] == json.loads(fits)
    before = mount.resident()
    readers = [os.open(enclave.path("image_info"), os.O_RDONLY) for _ in range(200)]
    try:
        assert all(os.pread(reader, 100, 0) == text[:100] for reader in readers)
        assert mount.sanitized() or mount.resident() - before < 20 * bound
    finally:
        for reader in readers:
            os.close(reader)


@pytest.mark.parametrize("metadata", [
    json.dumps({"ImageName": "x" * (256 << 10)}).encode(),
    b"[" * 2000 + b"0," * 100000 + b"0" + b"]" * 2000,
    b"[" + b"{},\n" * 60000 + b"{}]",
    b'{"a":"' + b"\\u0001" * 43500 + b'"}',
    b" " * (2 << 20)], ids=["long", "deep", "many", "escaped", "blank"])
def test_image_info_leaves_out_what_is_too_long(mount, enclave, metadata):
    before = mount.resident()
    write_chunks(enclave.path("image"), build(metadata=metadata), 1 << 20)
    info = json.loads(enclave.get("image_info"))
    assert len(enclave.get("image_info")) <= 256 << 10
    assert info["metadata"] is None and info["metadata_error"]
    assert enclave.get("measurements") == eif_image.measurements()
    assert mount.sanitized() or mount.resident() - before < 64 << 20


def test_no_image_no_measurements(enclave):
    assert enclave.get("measurements") == b""
    assert enclave.get("image_info") == b""


@pytest.mark.parametrize("arguments", [
    {}, {"ramdisks": (b"only one",)}, {"cmdline": b"another=line"},
    {"ramdisks": (b"a", b"b", b"c")}, {"kernel": eif_image.bzimage(b"\x90")}])
def test_measurements(enclave, arguments):
    enclave.set("image", build(**arguments))
    assert enclave.get("measurements") == eif_image.measurements(**arguments)


def test_measurements_of_one_ramdisk(enclave):
    """PCR2 of nothing: vector 1 of docs/facts/eif.md."""
    enclave.set("image", build(ramdisks=(b"r",)))
    assert (b"PCR2 21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba6"
            b"7310f7b964fc500a\n") in enclave.get("measurements")


def test_measurements_follow_the_image(enclave):
    enclave.set("image", SMALL)
    before = enclave.get("measurements")
    enclave.set("image", OTHER)
    assert enclave.get("measurements") not in (before, b"")


def test_measurements_of_the_next_image_while_one_is_measured(enclave):
    """Closing BIG has it measured; what is asked for is what took its place meanwhile."""
    for _ in range(5):
        enclave.set("image", BIG)
        enclave.set("image", SMALL)
        readers = [Child(enclave.get, name) for name in ("measurements", "image_info")]
        assert readers[0].result() == eif_image.measurements()
        assert "ImageName" in readers[1].result().decode()


def test_measurements_while_running(running):
    assert running.get("measurements") == eif_image.measurements()


def test_measurements_of_a_big_image(enclave):
    enclave.set("image", BIG)
    ramdisks = (b"RAMDISK1", bytes(range(256)) * (PADDING // 256 + 1))
    assert enclave.get("measurements") == eif_image.measurements(ramdisks=ramdisks)


def test_image_info_is_json(enclave):
    enclave.set("image", SMALL)
    info = json.loads(enclave.get("image_info"))
    text = json.dumps(info)
    assert isinstance(info, dict)
    assert "ImageName" in text and "x86_64" in text


def test_image_info_agrees_with_nefs_eif(enclave, source):
    tool = eif_binary()
    assert tool, "nefs-eif not found: set NEFS_EIF"
    enclave.set("image", BIG)
    done = run(tool, "describe", source)
    assert done.returncode == 0, done.stderr
    assert json.loads(enclave.get("image_info")) == json.loads(done.stdout)
