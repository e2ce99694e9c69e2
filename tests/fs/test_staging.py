# SPDX-License-Identifier: GPL-2.0-or-later
"""Staging files, rename-commit, unlink and re-creation; and what cannot be made at all."""
import ctypes
import os
import socket
import stat

import pytest
from eif_image import SMALL
from harness import (RENAME_EXCHANGE, RENAME_NOREPLACE, errno_name, fd_outcome, get, libc, outcome, put,
                     renameat2)
from nefs_mount import READ_ONLY, SETTABLE

CREATE = os.O_WRONLY | os.O_CREAT
CREATE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


# ---- Staging files ----

@pytest.mark.parametrize("name", ["x", ".hidden", ".memory.swp", "4913", "memory~", "a b",
                                  ".ansible_tmpabcdefghmemory", "memory.tmp", "MEMORY",
                                  "sedAbCdEf", "-dash", "caf\u00e9", "n" * 200, "x.lock"])
def test_any_name(enclave, name):
    assert enclave.put(name, b"content\n", CREATE_NEW) == "OK"
    assert enclave.get(name) == b"content\n"
    assert name in enclave.listing()
    assert outcome(os.unlink, enclave.path(name)) == "OK"
    assert name not in enclave.listing()


def test_name_too_long(enclave):
    assert enclave.put("n" * 256, b"", CREATE_NEW) == "ENAMETOOLONG"


KEEP_SIZE, PUNCH_HOLE, COLLAPSE_RANGE = 1, 2, 8


def fallocate(fd, mode, offset, length):
    """fallocate(2) itself: the C library's writes zeros where it is not supported."""
    function = libc.fallocate64
    function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return "OK" if function(fd, mode, offset, length) == 0 else errno_name(ctypes.get_errno())


def test_room_ahead_of_the_writes(enclave):
    """Tools that copy ask for it, and some give up without: CFEngine."""
    with open(enclave.path("x.new"), "wb+", buffering=0) as file:
        assert fallocate(file.fileno(), 0, 0, 5000) == "OK"
        assert os.fstat(file.fileno()).st_size == 5000
        assert file.read() == bytes(5000)
        assert fallocate(file.fileno(), 0, 10, 20) == fallocate(file.fileno(), KEEP_SIZE, 0, 9000) == "OK"
        assert os.fstat(file.fileno()).st_size == 5000
        # More than there can be is refused at once, and takes nothing.
        free = os.statvfs(enclave.path())
        for mode in (0, KEEP_SIZE):
            assert fallocate(file.fileno(), mode, 0, (free.f_bavail + 100000) * free.f_frsize) in ("ENOSPC", "EFBIG")
        assert os.pwrite(file.fileno(), b"x" * 5000, 0) == 5000
        assert fallocate(file.fileno(), PUNCH_HOLE | KEEP_SIZE, 100, 200) == "OK"
        assert fallocate(file.fileno(), PUNCH_HOLE | KEEP_SIZE, 4990, 4096) == "OK"
        assert fallocate(file.fileno(), PUNCH_HOLE | KEEP_SIZE, 5000, 4096) == "OK"
        assert fallocate(file.fileno(), COLLAPSE_RANGE, 0, 4096) == "EOPNOTSUPP"
        assert os.pread(file.fileno(), 9000, 0) == \
            b"x" * 100 + bytes(200) + b"x" * 4690 + bytes(10)
    with open(enclave.path("memory"), "wb", buffering=0) as file:
        assert fallocate(file.fileno(), 0, 0, 4) == "EOPNOTSUPP"


def test_it_is_an_ordinary_file(enclave):
    """Offsets, truncation, append and seeking count here."""
    fd = os.open(enclave.path("x"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        assert os.write(fd, b"hello world") == 11
        assert os.pwrite(fd, b"J", 0) == 1
        assert os.pread(fd, 100, 0) == b"Jello world"
        os.ftruncate(fd, 5)
        assert os.pread(fd, 100, 0) == b"Jello"
        assert os.fstat(fd).st_size == 5
    finally:
        os.close(fd)
    assert enclave.put("x", b"!", os.O_WRONLY | os.O_APPEND) == "OK"
    assert enclave.get("x") == b"Jello!"
    assert enclave.put("x", b"new") == "OK"
    assert enclave.get("x") == b"new"


def test_exclusive_creation(enclave):
    assert enclave.put("x", b"1", CREATE_NEW) == "OK"
    assert enclave.put("x", b"2", CREATE_NEW) == "EEXIST"
    assert enclave.get("x") == b"1"


@pytest.mark.parametrize("name", ["memory", "state", "image"])
def test_exclusive_creation_of_a_control_file(enclave, name):
    assert enclave.put(name, b"64M", CREATE_NEW) == "EEXIST"


def test_mode_is_as_asked(enclave):
    old = os.umask(0o027)
    try:
        os.close(os.open(enclave.path("x"), CREATE_NEW, 0o666))
    finally:
        os.umask(old)
    assert enclave.mode("x") == 0o640


def test_attributes_are_real(enclave):
    enclave.put("x", b"content", CREATE_NEW)
    path = enclave.path("x")
    os.chmod(path, 0o751)
    os.chown(path, 12, 34)
    os.utime(path, (1000000000, 1100000000))
    status = os.stat(path)
    assert stat.S_IMODE(status.st_mode) == 0o751
    assert (status.st_uid, status.st_gid) == (12, 34)
    assert (status.st_atime, status.st_mtime) == (1000000000, 1100000000)
    assert status.st_size == 7


def test_each_change_of_its_length_is_one_of_its_time(enclave):
    """Else what looks at times (make, rsync -u) misses that it was emptied."""
    path = enclave.path("x.new")

    def fallocated():
        with open(path, "rb+") as file:
            assert fallocate(file.fileno(), 0, 0, 7000) == "OK"
    for change in (lambda: os.truncate(path, 3), lambda: put(path, b"", CREATE | os.O_TRUNC), fallocated):
        assert enclave.put("x.new", b"content", CREATE) == "OK"
        os.utime(path, (1, 1))
        change()
        assert os.stat(path).st_mtime > 1


def test_what_has_no_name_any_more_has_no_link(mount, enclave):
    def links_after(name, flags, change):
        fd = os.open(enclave.path(name), flags, 0o600)
        try:
            assert os.fstat(fd).st_nlink == 1
            change(enclave.path(name))
            return os.fstat(fd).st_nlink
        finally:
            os.close(fd)
    assert links_after("x.new", os.O_RDWR | os.O_CREAT, os.unlink) == 0
    assert links_after("events", os.O_RDONLY, os.unlink) == 0
    assert links_after("x.new", os.O_RDWR | os.O_CREAT, lambda _: os.rmdir(enclave.path())) == 0


def test_fsync(enclave):
    fd = os.open(enclave.path("x"), CREATE_NEW)
    try:
        os.write(fd, b"1")
        assert outcome(os.fsync, fd) == "OK"
    finally:
        os.close(fd)


def test_at_most_64(enclave):
    names = [f"s{i}" for i in range(64)]
    for name in names:
        assert enclave.put(name, b"", CREATE_NEW) == "OK"
    assert enclave.put("one-more", b"", CREATE_NEW) == "ENOSPC"
    assert "one-more" not in enclave.listing()
    os.unlink(enclave.path("s0"))
    assert enclave.put("one-more", b"", CREATE_NEW) == "OK"


def test_the_bound_is_per_enclave(mount):
    first, second = mount.enclave(), mount.enclave()
    for number in range(64):
        first.put(f"s{number}", b"", CREATE_NEW)
    assert second.put("x", b"", CREATE_NEW) == "OK"


def test_size_is_bounded(enclave):
    """A sparse file of a terabyte is refused; where the bound is, the contract leaves open."""
    fd = os.open(enclave.path("x"), CREATE_NEW)
    try:
        assert outcome(os.pwrite, fd, b"x", 1 << 42) in ("EFBIG", "ENOSPC")
        assert outcome(os.ftruncate, fd, 1 << 42) in ("EFBIG", "ENOSPC")
    finally:
        os.close(fd)


def test_unlinked_while_open(enclave):
    fd = os.open(enclave.path("x"), os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, b"still here")
        os.unlink(enclave.path("x"))
        assert os.pread(fd, 100, 0) == b"still here"
    finally:
        os.close(fd)


def test_unlinked_ones_leave_the_spool(mount, enclave):
    before = mount.spooled()
    for _ in range(100):
        enclave.put("x", b"content", CREATE_NEW)
        os.unlink(enclave.path("x"))
    assert mount.spooled() == before


def test_renamed_to_another_name(enclave):
    enclave.put("x", b"content", CREATE_NEW)
    assert outcome(os.rename, enclave.path("x"), enclave.path("y")) == "OK"
    assert enclave.get("y") == b"content"
    assert outcome(os.stat, enclave.path("x")) == "ENOENT"


def test_renamed_over_another(enclave):
    enclave.put("x", b"new", CREATE_NEW)
    enclave.put("y", b"old", CREATE_NEW)
    assert outcome(os.rename, enclave.path("x"), enclave.path("y")) == "OK"
    assert enclave.get("y") == b"new"
    assert "x" not in enclave.listing()


def test_private_to_the_directory(mount):
    first, second = mount.enclave(), mount.enclave()
    first.put("x", b"1", CREATE_NEW)
    assert outcome(os.stat, second.path("x")) == "ENOENT"


def test_rmdir_takes_staged_files_along(mount, enclave):
    enclave.put("x", b"content", CREATE_NEW)
    assert outcome(os.rmdir, enclave.path()) == "OK"
    assert mount.spooled() == []


def test_staging_while_running(running):
    assert running.put("x", b"content", CREATE_NEW) == "OK"
    assert outcome(os.unlink, running.path("x")) == "OK"


# ---- Rename as commit ----

def stage(enclave, content, name="staged"):
    assert enclave.put(name, content, CREATE_NEW) == "OK"
    return enclave.path(name)


def test_commit(enclave):
    assert outcome(os.rename, stage(enclave, b"128M\n"), enclave.path("memory")) == "OK"
    assert enclave.get("memory") == b"128M\n"
    assert outcome(os.stat, enclave.path("staged")) == "ENOENT"


def attributes(path):
    status = os.stat(path)
    return (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_atime,
            status.st_mtime)


CARRIED = (0o600, 12, 34, 1000000000, 1100000000)


def dress(path):
    os.chmod(path, CARRIED[0])
    os.chown(path, *CARRIED[1:3])
    os.utime(path, CARRIED[3:])


def test_commit_carries_mode_owner_and_times(enclave):
    """As any rename does: what compares them converges."""
    staged = stage(enclave, b"128M\n")
    dress(staged)
    before = os.stat(enclave.path("memory"))
    os.rename(staged, enclave.path("memory"))
    assert attributes(enclave.path("memory")) == CARRIED
    assert os.stat(enclave.path("memory")).st_ctime_ns > before.st_ctime_ns


def test_refused_commit_carries_nothing(enclave):
    before = attributes(enclave.path("memory"))
    staged = stage(enclave, b"512MB\n")
    dress(staged)
    assert outcome(os.rename, staged, enclave.path("memory")) == "EINVAL"
    assert attributes(enclave.path("memory")) == before
    assert attributes(staged) == CARRIED


@pytest.mark.parametrize("content,code", [(b"512MB", "EINVAL"), (b"62M", "ERANGE"),
                                          (b" " * 5000, "E2BIG")])
def test_refused_commit(enclave, content, code):
    enclave.set("memory", b"64M\n")
    staged = stage(enclave, content)
    assert outcome(os.rename, staged, enclave.path("memory")) == code
    assert enclave.get("memory") == b"64M\n"
    assert get(staged) == content, "the staged file is still there"
    assert enclave.error.startswith(b"memory") or b"memory" in enclave.error
    assert outcome(os.unlink, staged) == "OK"


def test_commit_of_an_empty_file_is_a_no_op(enclave):
    """As an empty write is."""
    enclave.set("memory", b"64M\n")
    assert outcome(os.rename, stage(enclave, b""), enclave.path("memory")) == "OK"
    assert enclave.get("memory") == b"64M\n"
    assert "staged" not in enclave.listing()


def test_writes_after_a_commit_reach_the_control_file(enclave):
    for value in (b"128M\n", b"256M\n"):
        os.rename(stage(enclave, value), enclave.path("memory"))
    enclave.set("memory", b"64M\n")
    assert enclave.get("memory") == b"64M\n"
    assert enclave.put("memory", b"x") == "EINVAL"


def test_an_fd_of_the_control_file_survives_a_commit(enclave):
    enclave.set("memory", b"64M\n")
    fd = os.open(enclave.path("memory"), os.O_RDWR)
    try:
        os.rename(stage(enclave, b"128M\n"), enclave.path("memory"))
        assert os.pread(fd, 100, 0) == b"128M\n"
        os.write(fd, b"256M\n")
    finally:
        os.close(fd)
    assert enclave.get("memory") == b"256M\n"


def test_an_fd_of_the_staged_file_after_a_commit(enclave):
    """Whoever still writes to the temporary file does not reach the control file unchecked."""
    fd = os.open(enclave.path("x"), os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, b"128M\n")
        os.rename(enclave.path("x"), enclave.path("memory"))
        outcome(os.pwrite, fd, b"garbage", 0)
        assert enclave.get("memory") == b"128M\n"
    finally:
        os.close(fd)


def test_same_staged_name_again(enclave):
    for value in (b"64M\n", b"128M\n", b"256M\n"):
        os.rename(stage(enclave, value), enclave.path("memory"))
        assert enclave.get("memory") == value


def test_commit_into_a_read_only_file(enclave):
    staged = stage(enclave, b"running\n")
    assert outcome(os.rename, staged, enclave.path("state")) in ("EPERM", "EACCES", "EINVAL")
    assert enclave.get("state") == b"init\n"
    assert get(staged) == b"running\n"


def test_commit_with_noreplace(enclave):
    enclave.set("memory", b"64M\n")
    staged = stage(enclave, b"128M\n")
    assert renameat2(staged, enclave.path("memory"), RENAME_NOREPLACE) == "EEXIST"
    assert enclave.get("memory") == b"64M\n"


def test_exchange_is_not_a_commit(enclave):
    enclave.set("memory", b"64M\n")
    staged = stage(enclave, b"128M\n")
    assert renameat2(staged, enclave.path("memory"), RENAME_EXCHANGE) != "OK"
    assert enclave.get("memory") == b"64M\n" and get(staged) == b"128M\n"


# ---- Control files renamed away: backups ----

SAMPLES = {"memory": (b"64M\n", b""), "vcpus": (b"2\n", b""), "cpus": (b"2-3\n", b""),
           "image": (SMALL, b""), "cid": (b"77\n", b"0\n"), "debug": (b"1\n", b"0\n"),
           "boot_timeout": (b"9\n", b"0\n"), "start": (b"0\n", b"0\n")}


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_renamed_away_it_is_a_backup(enclave, name):
    value, default = SAMPLES[name]
    path, backup = enclave.path(name), enclave.path(name + ".bak")
    enclave.set(name, value)
    dress(path)
    assert outcome(os.rename, path, backup) == "OK"
    assert get(backup) == value
    assert attributes(backup)[:3] + attributes(backup)[4:] == CARRIED[:3] + CARRIED[4:]
    assert name not in enclave.listing() and name + ".bak" in enclave.listing()
    assert outcome(os.stat, path) == "ENOENT"
    assert enclave.put(name, b"", CREATE_NEW) == "OK"
    assert enclave.get(name) == default and get(backup) == value
    assert outcome(os.rename, backup, path) == "OK"
    assert enclave.get(name) == value


def test_a_backup_takes_the_place_of_an_older_one(enclave):
    for value in (b"64M\n", b"128M\n", b"256M\n"):
        enclave.put("memory", value, CREATE)
        assert outcome(os.rename, enclave.path("memory"), enclave.path("memory~")) == "OK"
        assert enclave.get("memory~") == value
    assert enclave.listing().count("memory~") == 1


def test_a_backup_of_what_runs(running):
    """What runs does not hang on it; its command keeps its name."""
    running.set("memory", b"128M\n")
    assert outcome(os.rename, running.path("memory"), running.path("memory.bak")) == "OK"
    assert outcome(os.rename, running.path("image"), running.path("image.bak")) == "OK"
    assert running.state == "running" and running.get("image.bak") == SMALL
    assert outcome(os.rename, running.path("start"), running.path("start.bak")) == "EBUSY"
    assert b"start" in running.error
    assert outcome(os.rename, running.path("image.bak"), running.path("image")) == "OK"
    assert running.get("image") == SMALL


def test_backups_count_as_staged(enclave):
    for i in range(64):
        enclave.put(f"{i}", b"", CREATE_NEW)
    enclave.set("memory", b"64M\n")
    assert outcome(os.rename, enclave.path("memory"), enclave.path("memory~")) == "ENOSPC"
    assert enclave.get("memory") == b"64M\n"
    assert outcome(os.rename, enclave.path("memory"), enclave.path("1")) == "OK"
    assert enclave.get("1") == b"64M\n"


def test_who_has_it_open_has_the_backup(enclave):
    """As with any rename: perl -i.bak of old, for one, reads on."""
    enclave.set("memory", b"64M\n")
    fd = os.open(enclave.path("memory"), os.O_RDONLY)
    try:
        os.rename(enclave.path("memory"), enclave.path("memory.bak"))
        enclave.put("memory", b"128M\n", CREATE_NEW)
        assert fd_outcome(fd) == b"64M\n"
    finally:
        os.close(fd)


@pytest.mark.parametrize("name,target,code", [
    ("memory", "vcpus", "EPERM"), ("memory", "state", "EPERM"), ("state", "elsewhere", "EPERM"),
    ("state", "memory", "EPERM"), ("memory", "x.lock", "EISDIR")])
def test_what_cannot_be_renamed_away(enclave, name, target, code):
    os.mkdir(enclave.path("x.lock"))
    assert outcome(os.rename, enclave.path(name), enclave.path(target)) == code
    assert name in enclave.listing()
    if code == "EPERM":
        assert enclave.error.count(b"\n") == 1


def test_a_control_file_cannot_be_moved_to_another_enclave(mount):
    """mv copies, then."""
    first, second = mount.enclave(), mount.enclave()
    first.set("memory", b"64M\n")
    assert outcome(os.rename, first.path("memory"), second.path("memory")) == "EXDEV"
    assert outcome(os.rename, first.path("memory"), mount.path("memory")) == "EXDEV"
    assert first.get("memory") == b"64M\n" and second.get("memory") == b""


def test_a_staged_file_cannot_leave(mount, enclave):
    staged = stage(enclave, b"x")
    assert outcome(os.rename, staged, mount.path("x")) == "EXDEV"
    assert get(staged) == b"x"
    assert not os.path.exists(mount.path("x"))


# ---- Unlink of control files ----

@pytest.mark.parametrize("name,value,default", [
    ("memory", b"64M\n", b""), ("vcpus", b"2\n", b""), ("cpus", b"2-3\n", b""),
    ("cid", b"77\n", b"0\n"), ("debug", b"1\n", b"0\n"), ("boot_timeout", b"9\n", b"0\n")])
@pytest.mark.parametrize("flags", [CREATE_NEW, CREATE], ids=["O_EXCL", "O_CREAT"])
def test_unlink_resets_and_hides(enclave, name, value, default, flags):
    enclave.set(name, value)
    assert outcome(os.unlink, enclave.path(name)) == "OK"
    assert name not in enclave.listing()
    assert outcome(os.stat, enclave.path(name)) == "ENOENT"
    assert enclave.put(name, value, os.O_WRONLY) == "ENOENT"
    assert outcome(os.unlink, enclave.path(name)) == "ENOENT"
    os.close(os.open(enclave.path(name), flags, 0o644))
    assert name in enclave.listing()
    assert enclave.get(name) == default
    assert enclave.mode(name) == 0o644
    enclave.set(name, value)


def test_unlink_of_the_image(mount, enclave):
    enclave.ready()
    assert outcome(os.unlink, enclave.path("image")) == "OK"
    assert mount.spooled() == []
    assert outcome(os.stat, enclave.path("image")) == "ENOENT"
    assert enclave.get("measurements") == b""
    assert enclave.start() == "EINVAL"
    assert enclave.put("image", b"", CREATE_NEW) == "OK"
    assert enclave.get("image") == b""


def test_hidden_counts_as_unset(enclave):
    enclave.ready()
    os.unlink(enclave.path("memory"))
    assert enclave.start() == "EINVAL"
    assert b"memory" in enclave.error


def test_commit_brings_a_hidden_file_back(enclave):
    os.unlink(enclave.path("memory"))
    assert outcome(os.rename, stage(enclave, b"128M\n"), enclave.path("memory")) == "OK"
    assert enclave.get("memory") == b"128M\n"
    assert enclave.put("memory", b"x") == "EINVAL"


def test_refused_commit_onto_a_hidden_file(enclave):
    os.unlink(enclave.path("memory"))
    staged = stage(enclave, b"512MB")
    assert outcome(os.rename, staged, enclave.path("memory")) == "EINVAL"
    assert get(staged) == b"512MB"


def test_recreated_file_is_checked_as_before(enclave):
    os.unlink(enclave.path("memory"))
    assert enclave.put("memory", b"512MB", CREATE_NEW) == "EINVAL"
    assert enclave.get("memory") == b""
    assert enclave.put("memory", b"64M") == "OK"


@pytest.mark.parametrize("again", ["create", "rename"])
@pytest.mark.parametrize("name,value", [("memory", b"64M\n"), ("image", SMALL)])
def test_what_is_made_anew_is_another_file(enclave, name, value, again):
    """An fd of the one before neither reads nor writes it."""
    enclave.set(name, value)
    before = os.stat(enclave.path(name)).st_ino
    fd = os.open(enclave.path(name), os.O_RDWR)
    try:
        os.unlink(enclave.path(name))
        assert fd_outcome(fd) == "ENODEV"
        if again == "create":
            assert enclave.put(name, value, CREATE_NEW) == "OK"
        else:
            os.rename(stage(enclave, value), enclave.path(name))
        assert os.stat(enclave.path(name)).st_ino != before
        assert fd_outcome(fd) == "ENODEV"
        assert outcome(os.write, fd, value) == "ENODEV"
        assert outcome(os.fstat, fd) in ("ESTALE", "OK")
        assert enclave.get(name) == value
    finally:
        os.close(fd)
    assert enclave.get(name) == value


@pytest.mark.parametrize("name", sorted(READ_ONLY))
def test_unlink_hides_a_read_only_file_until_the_next_start(ready, name):
    assert outcome(os.unlink, ready.path(name)) == "OK"
    assert name not in ready.listing()
    assert outcome(os.stat, ready.path(name)) == "ENOENT"
    assert outcome(os.unlink, ready.path(name)) == "ENOENT"
    assert ready.put(name, b"x", CREATE_NEW) == "EACCES"
    assert outcome(os.mknod, ready.path(name), stat.S_IFREG | 0o600) == "EACCES"
    assert outcome(os.rename, stage(ready, b"x"), ready.path(name)) in ("EACCES", "EPERM")
    assert ready.start() == "OK"
    assert name in ready.listing()
    assert outcome(os.stat, ready.path(name)) == "OK"


def test_a_start_that_is_refused_shows_why(enclave):
    for name in ("error", "state", "journal"):
        os.unlink(enclave.path(name))
    assert enclave.start() == "EINVAL"
    assert b"memory is not set" in enclave.error and enclave.state == "failed"


@pytest.mark.parametrize("name", ["memory", "state"])
def test_unlink_in_what_runs(running, name):
    """Tools that remove before they write are told what to do instead."""
    assert outcome(os.unlink, running.path(name)) == "EBUSY"
    assert b"cp" in running.error and b"rename" in running.error
    assert name in running.listing()


@pytest.mark.parametrize("name", ["version", "backend", "events", "journal", "error"])
def test_root_files_stay(mount, name):
    outcome(os.unlink, mount.path(name))
    assert name in os.listdir(mount.root)
    assert outcome(os.stat, mount.path(name)) == "OK"


@pytest.mark.sim
def test_sim_files_stay(mount):
    for name in ("crash", "fault", "slots"):
        outcome(os.unlink, mount.path("sim", name))
        assert outcome(os.stat, mount.path("sim", name)) == "OK"


# ---- What cannot be made ----

def bind_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)


FORBIDDEN = {
    "symlink": lambda path: os.symlink("state", path),
    "fifo": lambda path: os.mkfifo(path),
    "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "socket": bind_socket,
    "hard link": lambda path: os.link(os.path.join(os.path.dirname(path), "state"), path),
}


@pytest.mark.parametrize("what", sorted(FORBIDDEN))
def test_forbidden_in_an_enclave(enclave, what):
    before = enclave.listing()
    os.chdir("/")
    assert outcome(FORBIDDEN[what], enclave.path("n")) == "EPERM"
    assert enclave.listing() == before


@pytest.mark.parametrize("what", sorted(FORBIDDEN))
def test_forbidden_in_the_root(mount, enclave, what):
    if what == "hard link":
        assert outcome(os.link, mount.path("version"), mount.path("n")) == "EPERM"
    else:
        assert outcome(FORBIDDEN[what], mount.path("n")) == "EPERM"
    assert "n" not in os.listdir(mount.root)


def test_hard_link_of_a_staged_file(enclave):
    enclave.put("x", b"1", CREATE_NEW)
    assert outcome(os.link, enclave.path("x"), enclave.path("y")) == "EPERM"


def test_mknod_of_a_regular_file_is_as_creation_or_forbidden(enclave):
    result = outcome(os.mknod, enclave.path("n"), stat.S_IFREG | 0o600)
    assert result in ("OK", "EPERM")
    assert ("n" in enclave.listing()) == (result == "OK")


def test_file_in_the_root(mount):
    assert put(mount.path("x"), b"1", CREATE_NEW) == "EPERM"
    assert put(mount.path("x"), b"1", CREATE) == "EPERM"
    assert "x" not in os.listdir(mount.root)


@pytest.mark.sim
def test_nothing_can_be_made_in_sim(mount):
    assert put(mount.path("sim/x"), b"1", CREATE_NEW) == "EPERM"
    assert outcome(os.mkdir, mount.path("sim/x")) == "EPERM"
    assert outcome(os.mkdir, mount.path("sim/x.lock")) == "EPERM"


# ---- Directories of staged files ----

@pytest.mark.parametrize("name", ["sub", ".~tmp~", "memory20240101-12-abc.lock", "a b"])
def test_directory(enclave, name):
    path = enclave.path(name)
    assert outcome(os.mkdir, path, 0o750) == "OK"
    assert name in enclave.listing() and enclave.mode(name) == 0o750
    assert os.path.isdir(path) and os.listdir(path) == []
    assert outcome(os.mkdir, path) == "EEXIST"
    assert outcome(os.rmdir, path) == "OK"
    assert outcome(os.stat, path) == "ENOENT"


def test_files_in_a_directory(enclave):
    enclave.set("memory", b"64M\n")
    os.mkdir(enclave.path("sub"))
    assert enclave.put("sub/memory", b"garbage", CREATE_NEW) == "OK"
    assert enclave.get("sub/memory") == b"garbage" and enclave.get("memory") == b"64M\n"
    assert os.listdir(enclave.path("sub")) == ["memory"]
    assert outcome(os.rmdir, enclave.path("sub")) == "ENOTEMPTY"
    assert enclave.error == b"", "that is no refusal of an enclave's"
    assert outcome(os.mkdir, enclave.path("sub/below")) == "EPERM"
    assert outcome(os.symlink, "x", enclave.path("sub/link")) == "EPERM"
    assert outcome(os.unlink, enclave.path("sub/memory")) == "OK"
    assert outcome(os.rmdir, enclave.path("sub")) == "OK"


def test_renames_across(enclave):
    enclave.set("memory", b"64M\n")
    os.mkdir(enclave.path("sub"))
    enclave.put("sub/memory", b"128M\n", CREATE_NEW)
    dress(enclave.path("sub/memory"))
    assert outcome(os.rename, enclave.path("sub/memory"), enclave.path("memory")) == "OK"
    assert enclave.get("memory") == b"128M\n" and os.listdir(enclave.path("sub")) == []
    assert attributes(enclave.path("memory")) == CARRIED
    enclave.put("sub/bad", b"512MB\n", CREATE_NEW)
    assert outcome(os.rename, enclave.path("sub/bad"), enclave.path("memory")) == "EINVAL"
    assert b"512MB" in enclave.error and enclave.get("sub/bad") == b"512MB\n"
    enclave.put("x", b"x", CREATE_NEW)
    assert outcome(os.rename, enclave.path("x"), enclave.path("sub/y")) == "OK"
    assert outcome(os.rename, enclave.path("sub/y"), enclave.path("z")) == "OK"
    assert enclave.get("z") == b"x"
    assert outcome(os.rename, enclave.path("memory"), enclave.path("sub/memory")) == "OK"
    assert enclave.get("sub/memory") == b"128M\n" and "memory" not in enclave.listing()
    assert outcome(os.rename, enclave.path("sub"), enclave.path("bus")) == "OK"
    assert enclave.get("bus/memory") == b"128M\n"
    os.mkdir(enclave.path("other"))
    assert outcome(os.rename, enclave.path("other"), enclave.path("bus/other")) == "EPERM"
    assert outcome(os.rename, enclave.path("other"), enclave.path("bus")) == "ENOTEMPTY"


def test_a_moved_file_can_still_be_used(enclave):
    os.mkdir(enclave.path("sub"))
    fd = os.open(enclave.path("sub/x"), os.O_RDWR | os.O_CREAT)
    try:
        os.write(fd, b"one")
        os.rename(enclave.path("sub/x"), enclave.path("x"))
        os.rmdir(enclave.path("sub"))
        assert os.pwrite(fd, b"two", 0) == 3 and os.fstat(fd).st_size == 3
    finally:
        os.close(fd)
    assert enclave.get("x") == b"two"


def test_directories_are_bounded(enclave):
    """They count as files do, and so does what is in them."""
    names = [enclave.path(f"{i}.lock") for i in range(40)]
    assert [outcome(os.mkdir, name) for name in names] == ["OK"] * 40
    files = [enclave.put(f"{i}.lock/x", b"", CREATE_NEW) for i in range(40)]
    assert files == ["OK"] * 24 + ["ENOSPC"] * 16
    assert outcome(os.mkdir, enclave.path("more")) == "ENOSPC"


def test_rmdir_takes_directories_along(mount, enclave):
    os.mkdir(enclave.path("sub"))
    fd = os.open(enclave.path("sub/x"), CREATE_NEW)
    try:
        os.write(fd, b"x" * 100000)
        assert outcome(os.rmdir, enclave.path()) == "OK"
        assert outcome(os.stat, enclave.path("sub/x")) == "ENOENT"
    finally:
        os.close(fd)
    assert mount.spooled() == []


# ---- Names that look like settings ----

@pytest.mark.parametrize("name", ["memry", "vcpu", "strat", "restart", "boot_timout"])
def test_a_misspelt_setting_is_told(enclave, name):
    enclave.put(name, b"1\n", CREATE)
    assert enclave.error.startswith(name.encode() + b" sets nothing")
    assert b"memory, vcpus, cpus, image" in enclave.error
    os.unlink(enclave.path(name))
    assert enclave.error == b""


def test_a_misspelt_setting_that_is_renamed(enclave):
    enclave.put("memry", b"64M\n", CREATE)
    os.rename(enclave.path("memry"), enclave.path("memroy"))
    assert enclave.error.startswith(b"memroy sets nothing")
    os.rename(enclave.path("memroy"), enclave.path("memory"))
    assert enclave.error == b"" and enclave.get("memory") == b"64M\n"


@pytest.mark.parametrize("name", [".memory.swp", "4913", "memory~", "sedAbCdEf", "memory.tmp",
                                  "MEMORY", "memory.bak"])
def test_what_tools_stage_is_not_told(enclave, name):
    enclave.put(name, b"1\n", CREATE)
    assert enclave.error == b""


@pytest.mark.parametrize("name", ["memory", "state"])
def test_directory_with_a_control_files_name(enclave, name):
    assert outcome(os.mkdir, enclave.path(name)) == "EEXIST"


def test_every_settable_file_can_be_staged_for(enclave):
    values = {"memory": b"64M\n", "vcpus": b"2\n", "cpus": b"2-3\n", "cid": b"9\n",
              "debug": b"1\n", "boot_timeout": b"5\n"}
    assert set(values) == set(SETTABLE) - {"image"}
    for name, value in values.items():
        assert outcome(os.rename, stage(enclave, value), enclave.path(name)) == "OK"
        assert enclave.get(name) == value


def test_directories_that_go_with_their_enclave_cost_nothing(new_mount):
    """The kernel remembers the name of what was open in it, and with that the directory, and its enclave's."""
    mount = new_mount()

    def rounds(count):
        for _ in range(count):
            enclave = mount.enclave()
            os.mkdir(enclave.path("tmp"))
            fd = os.open(enclave.path("tmp", "memory"), os.O_CREAT | os.O_WRONLY)
            os.rmdir(enclave.path())
            os.close(fd)
        return mount.resident()
    before = rounds(200)
    assert mount.sanitized() or rounds(2000) - before < 3 << 20
