# SPDX-License-Identifier: GPL-2.0-or-later
"""
st_size is the length of what a read gives, whatever state an enclave is in: who goes by it, as
sendfile(2), splice(2) and copy_file_range(2) do, gets the same as who reads.
"""
import ctypes
import os

import pytest
from harness import eventually, libc

STATES = ["init", "running", "stopped", "failed",
          *(pytest.param(state, marks=pytest.mark.device) for state in ("starting", "crashed"))]


def read(fd):
    text = b""
    while part := os.read(fd, 1 << 20):
        text += part
    return text


def sendfile(fd):
    """To a file, as much as goes."""
    out = os.memfd_create("copy")
    try:
        while os.sendfile(out, fd, None, 1 << 20):
            pass
        return os.pread(out, 1 << 24, 0)
    finally:
        os.close(out)


def splice(fd):
    ours, theirs = os.pipe()
    text = b""
    try:
        while libc.splice(fd, None, theirs, None, ctypes.c_size_t(1 << 16), 0) > 0:
            text += os.read(ours, 1 << 16)
        return text
    finally:
        os.close(ours)
        os.close(theirs)


def copy_file_range(fd):
    out = os.memfd_create("copy")
    try:
        while os.copy_file_range(fd, out, 1 << 20):
            pass
        return os.pread(out, 1 << 24, 0)
    except OSError:
        return None  # not between these filesystems: whoever calls it reads then
    finally:
        os.close(out)


def by(reader, path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return reader(fd)
    finally:
        os.close(fd)


def reach(mount, enclave, state):
    # Known to the kernel as they were before.
    for path in files(mount, enclave):
        by(sendfile, path)
    enclave.ready(debug=b"1")
    eventually(lambda: enclave.get("measurements") and enclave.get("image_info"), "both are made")
    if state == "failed":
        enclave.set("vcpus", b"3")
        assert enclave.start() == "EINVAL"
    elif state == "starting":
        mount.faults("ENCLAVE_START delay 2500 1")
        assert enclave.start(os.O_NONBLOCK) == "OK"
    elif state != "init":
        enclave.running()
        if state == "stopped":
            assert enclave.stop() == "OK"
            enclave.reaches("stopped")
        elif state == "crashed":
            enclave.crash()
    assert enclave.state == state
    return enclave


def files(mount, enclave):
    """Every listed file that can be read."""
    for top, _, names in os.walk(mount.root):
        for name in names:
            path = os.path.join(top, name)
            if os.stat(path).st_mode & 0o400 and (top == enclave.path() or name != "wait"):
                yield path


def differences(path):
    """By which way one gets something else than by reading."""
    size = os.stat(path).st_size
    text = by(read, path)
    found = {reader.__name__: by(reader, path) for reader in (sendfile, splice, copy_file_range)}
    return [name for name, got in found.items() if got not in (text, None)] + (
        ["st_size"] if size != len(text) else [])


@pytest.mark.parametrize("state", STATES)
def test_in_each_state(new_mount, state):
    mount = new_mount()
    enclave = reach(mount, mount.enclave(), state)
    paths = [path for path in files(mount, enclave) if not path.endswith("/wait")]
    assert len(paths) > 20
    for path in [*paths, enclave.path("wait")]:
        # What goes on at the device may change it in between.
        eventually(lambda: not differences(path), f"all ways to read {path} agree", bound=5)


@pytest.mark.parametrize("reader", [sendfile, splice])
def test_as_it_changes(mount, enclave, reader):
    """The same file by the same way, after each change: what the kernel kept of it is not shown again."""
    names = ["state", "events", "journal", "error", "memory", "start", "wait", "slot", "pending",
             "cpus.effective", "measurements", "image_info", "image"]

    def look(when):
        for name in names:
            path = enclave.path(name)
            # The kernel is told a moment later.
            eventually(lambda: by(reader, path) == by(read, path), f"{name} {when}", bound=5)
    look("at first")
    enclave.ready(memory=b"64M")
    look("when it is set up")
    enclave.set("memory", b"0x0000000000008000000\n")
    enclave.running()
    look("when it runs")
    enclave.set("memory", b"66M")
    look("when something is pending")
    assert enclave.stop() == "OK"
    enclave.reaches("stopped")
    look("when it was stopped")
    assert enclave.put("memory", b"x") == "EINVAL"
    look("when something was refused")
