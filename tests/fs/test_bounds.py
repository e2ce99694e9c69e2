# SPDX-License-Identifier: GPL-2.0-or-later
"""What one user may have, what is left for others, and that nothing stays which nobody can have any more."""
import json
import os
import random
import tempfile
import threading
import time

import eif_image
import pytest
from harness import NOBODY, Child, eventually, outcome, put, read_outcome, run
from nefs_mount import Mount, records

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs other users")

# Members of the group that the mounts here are made for; and somebody who is in none.
GROUP = 1
MEMBERS = 4001, 4002
STRANGER = NOBODY


def bounded(**bounds):
    """A mount in which the members may make enclaves."""
    return Mount("group=daemon", *(f"{name}={value}" for name, value in bounds.items()))


def as_member(nth, function, *args):
    return Child(function, *args, uid=MEMBERS[nth], groups=[GROUP]).result()


def as_stranger(function, *args):
    return Child(function, *args, uid=STRANGER).result()


def make(mount, *names):
    return [outcome(os.mkdir, mount.path(name)) for name in names]


# ---- enclaves ----

def test_a_user_has_so_many_enclaves(bounded_by_three):
    mount = bounded_by_three
    assert as_member(0, make, mount, "a1", "a2", "a3", "a4", "a5") == ["OK"] * 3 + ["EDQUOT"] * 2
    said = mount.error().decode()
    assert f"a5: user {MEMBERS[0]} has 3 enclaves, each may have 3" in said and "user_enclaves=" in said
    refused = [record for record in records(mount.get("journal")) if record["event"] == "refused"]
    assert refused[0]["errno"] == "EDQUOT" and refused[0]["uid"] == MEMBERS[0] and refused[0]["file"] == "a4"
    # Others have theirs, and root as many as it likes.
    assert as_member(1, make, mount, "b1") == ["OK"]
    assert make(mount, "r1", "r2", "r3", "r4", "r5") == ["OK"] * 5
    # One that is removed is none; nor is one that could not be made.
    assert as_member(0, make, mount, "a1", "-x") == ["EEXIST", "EINVAL"]
    assert as_member(0, outcome, os.rmdir, mount.path("a1")) == "OK"
    assert as_member(0, make, mount, "a4", "a5") == ["OK", "EDQUOT"]
    # Another name is no other enclave.
    assert as_member(0, outcome, os.rename, mount.path("a4"), mount.path("a6")) == "OK"
    assert as_member(0, make, mount, "a7") == ["EDQUOT"]


def test_chown_gives_an_enclave_to_another(bounded_by_three):
    mount = bounded_by_three
    assert as_member(0, make, mount, "a1", "a2", "a3") == ["OK"] * 3
    assert as_member(1, make, mount, "b1", "b2", "b3") == ["OK"] * 3
    # Root says so: it is not refused, though that is one more than he may make.
    os.chown(mount.path("a1"), MEMBERS[1], -1)
    assert as_member(0, make, mount, "a4", "a5") == ["OK", "EDQUOT"]
    assert as_member(1, make, mount, "b4") == ["EDQUOT"]
    assert as_member(1, outcome, os.rmdir, mount.path("b1")) == "OK"
    assert as_member(1, make, mount, "b4") == ["EDQUOT"]
    os.chown(mount.path("b2"), 0, -1)
    assert as_member(1, make, mount, "b4") == ["OK"]


@pytest.fixture(scope="module")
def three():
    with bounded(user_enclaves=3) as mount:
        yield mount


@pytest.fixture
def bounded_by_three(three):
    yield three
    three.clear()


# ---- open and staged files ----

@pytest.fixture(scope="module")
def eight():
    with bounded(user_files=8) as mount:
        yield mount


@pytest.fixture
def bounded_by_eight(eight):
    yield eight
    eight.clear()


def open_all(path, flags, count):
    """What each of so many opens gives, while all before it are kept."""
    results = []
    for _ in range(count):
        def keep():
            return os.open(path, flags)
        results.append(outcome(keep))
    return results


def test_a_user_has_so_many_files_open(bounded_by_eight):
    mount = bounded_by_eight
    assert as_member(0, make, mount, "web") == ["OK"]
    state = mount.path("web/state")
    # Whoever owns nothing has a bound, too; and the enclave's `error` is none of his.
    assert as_stranger(open_all, state, os.O_RDONLY, 10) == ["OK"] * 8 + ["EDQUOT"] * 2
    assert mount.get("web/error") == b"" == mount.error()
    # They are given back when the last process that has them ends.
    eventually(lambda: as_stranger(open_all, state, os.O_RDONLY, 8) == ["OK"] * 8, "closed files count no more")
    assert as_stranger(open_all, mount.path("web"), os.O_RDONLY | os.O_DIRECTORY, 9) == ["OK"] * 8 + ["EDQUOT"]
    # What is no open file is none.
    assert as_stranger(open_all, state, os.O_PATH, 20) == ["OK"] * 20
    # The owner is told.
    assert as_member(0, open_all, mount.path("web/memory"), os.O_RDWR, 9) == ["OK"] * 8 + ["EDQUOT"]
    assert f"memory: user {MEMBERS[0]} has 8 open and staged files".encode() in mount.get("web/error")
    assert Child(open_all, state, os.O_RDONLY, 20).result() == ["OK"] * 20


def test_one_line_of_the_log_for_who_tries_on(bounded_by_eight):
    mount = bounded_by_eight
    before = mount.said().count("4003 has 8")

    def flood():
        return open_all(mount.path("version"), os.O_RDONLY, 1000)
    assert Child(flood, uid=4003).result().count("EDQUOT") == 992
    assert mount.said().count("4003 has 8") == before + 1


def test_staged_files_count_by_their_object(bounded_by_eight):
    mount = bounded_by_eight

    def stage():
        """Files that are unlinked and held open: each is one that is staged, and one that is open."""
        os.mkdir(mount.path("web"))
        path = mount.path("web/.tmp")
        results = []

        def one():
            os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
            os.unlink(path)
        for _ in range(6):
            results.append(outcome(one))
        return results
    assert as_member(0, stage) == ["OK"] * 4 + ["EDQUOT"] * 2
    assert ".tmp" not in os.listdir(mount.path("web"))
    fds = mount.fds()

    def stage_names():
        flags = os.O_CREAT | os.O_WRONLY

        def one(nth):
            os.close(os.open(mount.path(f"web/.tmp{nth}"), flags))
        return [outcome(one, nth) for nth in range(9)]
    # An open one is one more, for a moment: the eighth finds no room for that.
    assert as_member(0, stage_names) == ["OK"] * 7 + ["EDQUOT"] * 2
    os.chown(mount.path("web/.tmp0"), MEMBERS[1], -1)
    assert as_member(0, outcome, os.mkdir, mount.path("web/x.lock")) == "OK"
    assert as_member(0, outcome, os.mkdir, mount.path("web/y.lock")) == "OK"
    assert as_member(0, outcome, os.mkdir, mount.path("web/z.lock")) == "EDQUOT"
    mount.clear()
    assert mount.fds() <= fds


def test_no_more_than_64_are_staged_in_an_enclave_by_whatever_name(mount, enclave):
    path = enclave.path(".tmp")
    held = []

    def one():
        held.append(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        os.unlink(path)
    try:
        assert [outcome(one) for _ in range(66)] == ["OK"] * 64 + ["ENOSPC"] * 2
        os.close(held.pop())
        assert outcome(one) == "OK"
    finally:
        for fd in held:
            os.close(fd)


# ---- bytes ----

MIB = 1 << 20


@pytest.fixture(scope="module")
def two_mib():
    with bounded(user_bytes="2M") as mount:
        yield mount


@pytest.fixture
def bounded_by_two_mib(two_mib):
    yield two_mib
    two_mib.clear()


def stage(path, size, at=0):
    """What writing so much into a staged file gives, and what that has then."""
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        def write():
            for offset in range(at, at + size, 64 << 10):
                os.pwrite(fd, b"x" * (64 << 10), offset)
        return outcome(write), os.fstat(fd).st_size
    finally:
        os.close(fd)


def test_a_user_has_so_many_bytes(bounded_by_two_mib):
    mount = bounded_by_two_mib
    assert as_member(0, make, mount, "web") == as_member(1, make, mount, "other") == ["OK"]
    assert as_member(0, stage, mount.path("web/.a"), MIB) == ("OK", MIB)
    assert as_member(0, stage, mount.path("web/.b"), 2 * MIB) == ("EDQUOT", MIB)
    assert f".b: user {MEMBERS[0]} has {2 * MIB} bytes".encode() in mount.get("web/error")
    assert b"user_bytes=" in mount.get("web/error")
    # What is there can be written again; another's room is another's; root has no bound.
    assert as_member(0, stage, mount.path("web/.a"), MIB) == ("OK", MIB)
    assert as_member(1, stage, mount.path("other/.a"), MIB) == ("OK", MIB)
    assert stage(mount.path("web/.r"), 3 * MIB) == ("OK", 3 * MIB)
    # A hole takes nothing.
    os.unlink(mount.path("web/.b"))
    assert as_member(0, stage, mount.path("web/.b"), 64 << 10, 1 << 30) == ("OK", (1 << 30) + (64 << 10))
    assert as_member(0, stage, mount.path("web/.c"), MIB) == ("EDQUOT", MIB - (64 << 10))
    # chown(2) gives it away.
    os.chown(mount.path("web/.a"), MEMBERS[1], -1)
    assert as_member(0, stage, mount.path("web/.d"), MIB) == ("OK", MIB)
    assert as_member(1, stage, mount.path("other/.b"), 64 << 10) == ("EDQUOT", 0)


def copy(path, data):
    """What writing all of an image gives."""
    def write():
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            for offset in range(0, len(data), 64 << 10):
                os.write(fd, data[offset:offset + (64 << 10)])
        finally:
            os.close(fd)
    return outcome(write)


def test_images_count(bounded_by_two_mib):
    """The one that stands, the one that is written beside it, and the one that runs, for as long as they are there."""
    mount = bounded_by_two_mib
    enclave = mount.enclave()
    for name in ("", "image", "memory", "vcpus", "start"):
        os.chown(enclave.path(name), MEMBERS[0], -1)
    first, second, large = (eif_image.padded(size) for size in (900 << 10, 900 << 10, 1500 << 10))
    assert as_member(0, copy, enclave.path("image"), first) == "OK"
    assert as_member(0, copy, enclave.path("image"), second) == "OK"
    assert as_member(0, copy, enclave.path("image"), large) == "EDQUOT"
    assert b"the image before it stays" in enclave.error and b"user_bytes=" in enclave.error
    assert os.path.getsize(enclave.path("image")) == len(second)
    # What is given back can be had again, time after time.
    for image in (first, second) * 3:
        assert as_member(0, copy, enclave.path("image"), image) == "OK"
    # It goes with the file, to another user.
    os.chown(enclave.path("image"), MEMBERS[1], -1)
    assert as_member(0, stage, enclave.path(".a"), 2 * MIB) == ("OK", 2 * MIB)
    assert as_member(1, copy, enclave.path("image"), large) == "EDQUOT"
    os.unlink(enclave.path(".a"))
    os.unlink(enclave.path("image"))
    assert as_member(1, stage_elsewhere, mount) == ("OK", 2 * MIB)


def stage_elsewhere(mount):
    os.mkdir(mount.path("elsewhere"))
    return stage(mount.path("elsewhere/.a"), 2 * MIB)


@pytest.fixture
def small_spool():
    """A mount with a spool of 8 MiB, a filesystem of its own."""
    path = tempfile.mkdtemp(prefix="nefs-spool-")
    assert run("mount", "-t", "tmpfs", "-o", "size=8M,mode=700", "none", path).returncode == 0
    with Mount("group=daemon", f"spool={path}") as mount:
        yield mount
    eventually(lambda: run("umount", path).returncode == 0, "unmounting the spool")
    os.rmdir(path)


def test_no_user_fills_the_spool(small_spool):
    """Half of it is the first one's, and all of them leave some for root."""
    mount, size = small_spool, 8 * MIB
    assert as_member(0, make, mount, "a") == as_member(1, make, mount, "b") == make(mount, "r") == ["OK"]
    result, first = as_member(0, stage, mount.path("a/.x"), size)
    assert result == "EDQUOT" and size * 0.4 < first < size * 0.6
    assert as_member(1, put, mount.path("b/image"), eif_image.SMALL) == "OK"
    result, second = as_member(1, stage, mount.path("b/.x"), size)
    assert result == "EDQUOT" and first + second < size
    assert b"kept for root" in mount.get("b/error")
    assert put(mount.path("r/image"), eif_image.padded(size // 32)) == "OK"


# ---- what waits ----

@pytest.fixture
def hanging():
    """A mount that is not waited for at its end, whatever its device is at."""
    mount = bounded(user_files=8)
    yield mount
    mount.discard()
    mount.delete()


@pytest.mark.sim
def test_so_many_reads_wait(hanging):
    mount = hanging
    enclave = mount.enclave()
    enclave.ready()
    mount.faults("SLOT_ALLOC delay 60000 1")
    assert put(enclave.path("start"), b"1", os.O_WRONLY | os.O_NONBLOCK) == "OK"

    def wait_all():
        """Forty reads of one open file: what those give that may not wait."""
        fd = os.open(enclave.path("wait"), os.O_RDONLY)
        refused = []

        def read():
            refused.append(outcome(os.pread, fd, 100, 0))
        threads = [threading.Thread(target=read, daemon=True) for _ in range(40)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(refused) >= 32, "all but eight are refused")
        return refused
    # As many may wait as files may be open.
    assert as_stranger(wait_all) == ["EDQUOT"] * 32
    # They are gone with their process; and another's are another's.
    assert as_stranger(wait_all) == ["EDQUOT"] * 32
    assert as_member(0, wait_all) == ["EDQUOT"] * 32
    assert as_member(0, read_outcome, enclave.path("state")) == b"starting\n"


# ---- what nobody can have any more ----

def churn(mount, count, keep):
    """Makes and removes enclaves; of each something is kept that keeps nothing of the daemon's."""
    kept = []
    for nth in range(count):
        path = mount.path(f"gone{nth}")
        os.mkdir(path)
        fd = os.open(f"{path}/.tmp", os.O_CREAT | os.O_WRONLY, 0o600)
        os.write(fd, b"x" * 100)
        os.close(fd)
        if keep:
            kept += [os.open(f"{path}/{name}", os.O_PATH) for name in ("", "memory", ".tmp")]
        os.rmdir(path)
    return kept


def test_what_the_kernel_remembers_keeps_nothing(mount):
    count = 1000
    churn(mount, count, False)
    fds, before = mount.fds(), mount.resident()
    kept = churn(mount, count, True)
    try:
        eventually(lambda: mount.fds() <= fds, "the files of what was removed are closed")
        # An enclave takes more than 4 KiB. A sanitizer keeps what is freed.
        if not mount.sanitized():
            assert mount.resident() - before < count * 1024
        # What they give is of no use, and does no harm.
        assert {outcome(os.stat, f"/proc/self/fd/{fd}") for fd in kept} <= {"ESTALE", "OK"}
        assert {outcome(os.open, f"/proc/self/fd/{fd}", os.O_RDONLY) for fd in kept} <= {"ESTALE", "ENOENT", "ENODEV"}
        assert {outcome(os.open, "memory", os.O_RDONLY, dir_fd=fd) for fd in kept[::3]} <= {"ESTALE", "ENOENT"}
        assert {outcome(os.listdir, f"/proc/self/fd/{fd}") for fd in kept[::3]} <= {"ENOENT", "ESTALE"}
    finally:
        for fd in kept:
            os.close(fd)


def test_a_working_directory_that_is_removed(mount, enclave):
    def stay():
        os.chdir(enclave.path())
        os.rmdir(enclave.path())
        return [outcome(os.stat, "memory"), outcome(os.mkdir, "x"), outcome(os.open, "x", os.O_CREAT | os.O_RDWR),
                outcome(os.stat, "../version"), outcome(os.listdir, ".")]
    assert Child(stay).result() == ["ENOENT", "ENOENT", "ENOENT", "OK", "ENOENT"]


# ---- texts ----

def large(nth):
    """An image that much can be told of."""
    note = f"{nth}" + "x" * (200 << 10)
    return eif_image.build(metadata=json.dumps({"BuildMetadata": {"Notes": note}}).encode())


def test_many_readers_of_a_large_text_have_one(mount, enclave):
    assert enclave.put("image", large(1)) == "OK"
    text = enclave.get("image_info")
    assert len(text) > 200 << 10
    before = mount.resident()

    def read_a_byte():
        fds = [os.open(enclave.path("image_info"), os.O_RDONLY) for _ in range(1000)]
        assert {os.pread(fd, 1, 0) for fd in fds} == {text[:1]}
        return mount.resident()
    if not mount.sanitized():
        assert as_stranger(read_a_byte) - before < 32 << 20


def test_a_large_text_that_is_void_is_not_kept(mount, enclave):
    """Else each reader could have one of his own: 256 KiB for each open file."""
    info = enclave.path("image_info")
    fds = []
    for nth in range(2):
        assert enclave.put("image", large(nth)) == "OK"
        fds.append(os.open(info, os.O_RDONLY))
        text = os.pread(fds[nth], 1 << 20, 0)
        assert len(text) > 200 << 10
    try:
        # The first is in the middle of what is told of no image any more, or at its end.
        assert outcome(os.pread, fds[0], 100, 1000) == "ESTALE"
        assert os.pread(fds[0], 100, len(text)) == b""
        assert os.pread(fds[1], 100, 1000) == text[1000:1100]
        assert os.pread(fds[0], 1 << 20, 0) == text
        assert os.pread(fds[0], 100, 1000) == text[1000:1100]
    finally:
        for fd in fds:
            os.close(fd)


# ---- whatever happened ----

def use(mount, nth, until):
    """Stages, opens, renames and removes what others do the same with; what was not expected of it."""
    chosen = random.Random(nth)
    kept, seen = [], set()

    def anything():
        path = mount.path(f"race{chosen.randrange(3)}")
        name = chosen.choice(["memory", "image", "state", ".tmp", ".tmp2", "x.lock/.tmp", "journal"])
        file = f"{path}/{name}"
        flags = os.O_CREAT | os.O_RDWR if "tmp" in name else os.O_RDONLY
        action = chosen.randrange(9)
        if action == 0:
            os.mkdir(path)
        elif action == 1:
            os.rmdir(path)
        elif action == 2:
            os.mkdir(f"{path}/x.lock")
        elif action == 3:
            os.rename(f"{path}/.tmp", f"{path}/memory")
        elif action == 4:
            os.rename(f"{path}/memory", f"{path}/.tmp2")
        elif action == 5 and name != "state":
            os.unlink(file)
        elif action == 6:
            kept.append(os.open(path, chosen.choice([os.O_PATH, os.O_DIRECTORY])))
        elif action == 7 and kept:
            os.close(kept.pop(chosen.randrange(len(kept))))
        else:
            kept.append(os.open(file, chosen.choice([flags, os.O_PATH])))
            os.write(kept[-1], b"64M\n")
    while time.monotonic() < until:
        seen.add(outcome(anything))
        while len(kept) > 50:
            os.close(kept.pop(0))
    return seen


def test_nothing_is_left_of_races(mount):
    fds = mount.fds()
    until = time.monotonic() + 1.5
    seen = set().union(*(child.result(30) for child in [Child(use, mount, nth, until) for nth in range(4)]))
    # EBADF: what was opened for reading, or O_PATH.
    assert seen <= {"OK", "EEXIST", "ENOENT", "ENODEV", "ENOTEMPTY", "ENOTDIR", "EISDIR", "EINVAL", "EBADF", "EACCES",
                    "ENOSPC", "EBUSY", "ESTALE", "EPERM"}
    mount.clear()
    eventually(lambda: mount.fds() <= fds, "what was staged is closed")
