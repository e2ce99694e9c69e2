# SPDX-License-Identifier: GPL-2.0-or-later
"""
A disk that is broken or full, and a process that may have no more files: whichever system call fails, its errno is
that of the operation that needed it, `error` says so, what was there before stays, and nothing is kept open.
"""
import ctypes
import errno
import os

import pytest
from eif_image import SMALL, padded
from failing_calls import SHORT, FailingMount
from harness import eventually, get, libc, outcome, put

pytestmark = [pytest.mark.sim, pytest.mark.preload]

LARGE = padded(100000)
STAGED = b"x" * 20000
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL


def fallocate(path, mode, size):
    fd = os.open(path, os.O_RDWR)
    try:
        if libc.fallocate(fd, mode, ctypes.c_long(0), ctypes.c_long(size)):
            raise OSError(ctypes.get_errno(), "fallocate")
    finally:
        os.close(fd)


def write_all(path, data, flags=os.O_WRONLY | os.O_TRUNC):
    """As programs do: what was not taken is written again."""
    fd = os.open(path, flags)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


# What is done with a staged file of some bytes (.s), one of many (.l), an image (.i), and the enclave.
OPERATIONS = {
    "stage small": lambda p: write_all(p(".a"), b"1\n", CREATE),
    "stage large": lambda p: write_all(p(".a"), STAGED, CREATE),
    "append": lambda p: write_all(p(".l"), b"y" * 5000, os.O_WRONLY | os.O_APPEND),
    "commit": lambda p: os.rename(p(".s"), p("memory")),
    "commit image": lambda p: os.rename(p(".i"), p("image")),
    "backup": lambda p: os.rename(p("memory"), p(".a")),
    "write value": lambda p: write_all(p("memory"), b"128M\n"),
    "write image": lambda p: write_all(p("image"), LARGE),
    "read image": lambda p: get(p("image")),
    "read staged": lambda p: get(p(".l")),
    "cut to little": lambda p: os.truncate(p(".l"), 10),
    "cut": lambda p: os.truncate(p(".l"), 10000),
    "grow": lambda p: os.truncate(p(".s"), 50000),
    "allocate": lambda p: fallocate(p(".l"), 0, 50000),
    "punch": lambda p: fallocate(p(".l"), 3, 4096),
    "statfs": lambda p: os.statvfs(p()),
    "start": lambda p: write_all(p("start"), b"1\n"),
}
# These change nothing, so `error` has nothing to tell of them.
READS = {"read image", "read staged", "statfs"}

# The call, the errnos it may fail with, and what fails with it; all else works.
TABLE = [
    ("pwrite", "EIO ENOSPC EDQUOT",
     "stage small,stage large,append,backup,write image,cut to little,grow"),
    ("pread", "EIO", "commit,read image,read staged,cut to little,grow,start"),
    ("ftruncate", "EIO ENOSPC EDQUOT", "cut,grow,allocate"),
    ("fallocate", "EIO ENOSPC EDQUOT", "punch"),
    ("fstatvfs", "EIO", "allocate,statfs"),
    ("openat", "EIO ENOSPC EDQUOT EMFILE ENFILE", "stage large,write image,grow"),
    ("memfd_create", "EMFILE ENFILE ENOMEM",
     "stage small,stage large,backup,write image,cut to little"),
    ("dup3", "EMFILE EIO", "stage large,write image,cut to little,grow"),
    ("F_DUPFD", "EMFILE", "start"),
]


@pytest.fixture(scope="module")
def failing():
    with FailingMount() as mount:
        yield mount
        assert mount.alive(), mount.said()[-2000:]


@pytest.fixture
def e(failing):
    enclave = failing.enclave().ready()
    enclave.get("measurements")
    yield enclave
    failing.calls.end()
    assert failing.alive(), failing.said()[-2000:]
    failing.clear()


def prepare(e):
    """Everything as at first."""
    e.stop()
    e.settle()
    for name in (".a", ".s", ".l", ".i"):
        if os.path.exists(e.path(name)):
            os.unlink(e.path(name))
    if not os.path.exists(e.path("memory")):
        assert put(e.path("memory"), b"64M\n", CREATE) == "OK"
    e.set("memory", b"64M\n")
    e.set("image", SMALL)
    e.get("measurements")
    for name, content in ((".s", b"128M\n"), (".l", STAGED), (".i", LARGE)):
        write_all(e.path(name), content, CREATE)


def state(e):
    """All that an operation could have changed."""
    return {name: get(e.path(name)) for name in e.listing()
            if name in ("memory", "image", ".a", ".s", ".l", ".i")}


def try_all(failing, e, call, how, expected):
    """Each operation while the call fails; what came of them, where it is not what was expected."""
    wrong = []
    for name, operation in OPERATIONS.items():
        prepare(e)
        before, fds = state(e), failing.fds()
        failing.calls.fail(call, how)
        result = outcome(operation, e.path)
        said = e.error
        failing.calls.end()
        assert failing.alive(), f"{name}: {failing.said()[-2000:]}"
        if result != expected(name):
            wrong.append((name, result, said))
        if result != "OK":
            after = state(e)
            # Made, and then not filled: the file is there, and empty.
            if name.startswith("stage"):
                after.pop(".a", None)
            if after != before:
                wrong.append((name, result, {key: len(value) for key, value in after.items()}))
            if name not in READS and os.strerror(getattr(errno, result)).encode() not in said:
                wrong.append((name, result, said))
        prepare(e)
        eventually(lambda: failing.fds() <= fds, f"{name}: all fds are closed")
    return wrong


@pytest.mark.parametrize("call,errnos,fails", TABLE, ids=[row[0] for row in TABLE])
def test_a_call_that_fails(failing, e, call, errnos, fails):
    fails = fails.split(",")
    assert set(fails) <= set(OPERATIONS)
    for how in errnos.split():
        wrong = try_all(failing, e, call, how, lambda name: how if name in fails else "OK")
        assert not wrong, (call, how, wrong)


# What each leaves, if it works.
RESULTS = {
    "stage small": {".a": b"1\n"}, "stage large": {".a": STAGED}, "append": {".l": STAGED + b"y" * 5000},
    "commit": {"memory": b"128M\n"}, "commit image": {"image": LARGE}, "backup": {".a": b"64M\n"},
    "write image": {"image": LARGE}, "cut to little": {".l": STAGED[:10]}, "cut": {".l": STAGED[:10000]},
    "grow": {".s": b"128M\n".ljust(50000, b"\0")}, "allocate": {".l": STAGED.ljust(50000, b"\0")},
    "punch": {".l": bytes(4096) + STAGED[4096:]},
}


@pytest.mark.parametrize("call", ["pread", "pwrite"])
def test_a_call_that_does_half(failing, e, call):
    """Nothing takes half of it for all."""
    for name, operation in OPERATIONS.items():
        prepare(e)
        failing.calls.fail(call, SHORT)
        result = outcome(operation, e.path)
        whole = [get(e.path("image")) == get(e.path("image")), e.get("measurements")[:5]]
        failing.calls.end()
        assert whole == [True, b"PCR0 "], name
        if result != "OK":
            assert name == "backup", (name, result)
            continue
        for file, content in RESULTS.get(name, {}).items():
            assert get(e.path(file)) == content, name
    prepare(e)


# ---- What a start takes ----

# The call, its errno, and what the start says then.
START = [("eventfd", "EMFILE", {"EIO"}), ("epoll_ctl", "ENOMEM", {"EIO"}), ("epoll_ctl", "ENOSPC", {"EIO"}),
         ("F_DUPFD", "EMFILE", {"EMFILE"})]


@pytest.mark.parametrize("call,how,results", START, ids=[f"{row[0]}-{row[1]}" for row in START])
def test_a_start_without(failing, e, call, how, results):
    fds = failing.fds()
    for left in range(6):
        failing.calls.fail(call, how, left=left)
        result = e.start()
        e.settle()
        said = e.error
        failing.calls.end()
        if result == "OK":
            break
        assert result in results and os.strerror(getattr(errno, how)).encode() in said, said
        assert e.state == "failed"
        eventually(lambda: failing.slots() == [] and failing.fds() <= fds, "nothing is held")
    assert left > 0
    e.reaches("running")


@pytest.mark.parametrize("call", ["mkfifo", "socket", "open", "pthread_create"])
def test_a_start_that_does_without(failing, e, call):
    """There is another way."""
    failing.calls.fail(call, "EAGAIN" if call == "pthread_create" else "EMFILE")
    assert e.start() == "OK", e.error
    e.reaches("running")
    assert failing.crash(e) == "OK"
    failing.calls.end()
    e.reaches("crashed")


QEMU = """#!/bin/sh
exec sleep 1000
"""


@pytest.mark.parametrize("call,how", [
    ("fork", "EAGAIN"), ("fork", "ENOMEM"), ("pipe2", "EMFILE"), ("socketpair", "EMFILE"), ("memfd_create", "EMFILE"),
    ("memfd_create", "ENOMEM")])
def test_a_machine_without(tmp_path, call, how):
    """What QEMU takes."""
    program = tmp_path / "qemu-system-x86_64"
    program.write_text(QEMU)
    program.chmod(0o755)
    tmp_path.chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{tmp_path}:{path}"
    try:
        mount = FailingMount(base="backend=sim,sim_vm=qemu")
    finally:
        os.environ["PATH"] = path
    with mount:
        e = mount.enclave().ready(debug=b"1")
        e.get("measurements")
        fds = mount.fds()
        mount.calls.fail(call, how)
        result = e.start()
        said = e.error
        mount.calls.end()
        assert result in (how, "EIO", "ENOMEM"), (result, said)
        assert os.strerror(getattr(errno, how)).encode() in said or how.encode() in said, said
        assert e.state == "failed"
        eventually(lambda: mount.slots() == [] and mount.fds() <= fds, "nothing is held")
        assert e.start() == "OK", e.error
        assert mount.alive(), mount.said()[-2000:]
