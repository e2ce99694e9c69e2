# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that has no luck: stopped, its clock set, its limits low, its disk read-only. What fails has a reason, what
works goes on, and when it is over nothing is left of it."""
import datetime
import os
import resource
import signal
import subprocess

import pytest
from eif_image import SMALL, padded
from failing_calls import FailingMount
from harness import Child, eventually, get, outcome, put
from nefs_mount import Mount, binary

pytestmark = pytest.mark.sim


# ---- A process that is stopped ----

def test_stopped_and_continued(new_mount):
    """Who asked meanwhile gets an answer; what ran still runs, and what ended meanwhile is told."""
    mount = new_mount()
    running, starting = mount.enclave().running(), mount.enclave().ready()
    mount.process.send_signal(signal.SIGSTOP)
    try:
        readers = [Child(get, running.path("events")) for _ in range(3)]
        starter = Child(starting.start)
        assert not starter.ended(0.1) and not readers[0].ended()
    finally:
        mount.process.send_signal(signal.SIGCONT)
    assert {b"starts 1" in reader.result() for reader in readers} == {True}
    assert starter.result() == "OK", starting.error
    starting.reaches("running")
    assert running.state == "running"


# ---- A clock that is set ----

def times(enclave):
    return [datetime.datetime.fromisoformat(record["time"].replace("Z", "+00:00"))
            for record in enclave.journal()]


@pytest.mark.preload
def test_the_clock_is_set():
    """Only what is told as a time of day follows it: nothing waits longer, or shorter."""
    with FailingMount() as mount:
        enclave = mount.enclave().ready(boot_timeout=b"60")
        for shift in (-86400, 10 * 365 * 86400, 0):
            mount.calls.shift_clock(shift)
            now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=shift)
            assert enclave.start() == "OK", enclave.error
            enclave.reaches("running")
            assert abs((times(enclave)[-1] - now).total_seconds()) < 600
            assert abs(os.stat(enclave.path("state")).st_mtime - now.timestamp()) < 600
            assert enclave.stop() == "OK"
            enclave.reaches("stopped")
            assert enclave.start() == "OK"
            assert mount.crash(enclave) == "OK"
            enclave.reaches("crashed")
        numbers = [record["seq"] for record in enclave.journal()]
        assert numbers == sorted(set(numbers))
        assert mount.alive(), mount.said()[-2000:]


# ---- Limits ----

def limited(tmp_path, *limits):
    """An executable that is nefs with these, and without the right to raise them."""
    program = tmp_path / "nefs"
    program.write_text("#!/bin/sh\nexec setpriv --bounding-set -sys_resource "
                       f"prlimit {' '.join(limits)} '{binary()}' \"$@\"\n")
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize("fds", [26, 32])
def test_few_files(new_mount, tmp_path, fds):
    """Who comes last is refused, by a sentence; who was first goes on, and all can be had again."""
    mount = new_mount("sim_cpus=64", program=limited(tmp_path, f"--nofile={fds}:{fds}"))
    before = mount.fds()
    for _ in range(2):
        running, refused = [], None
        while not refused:
            assert len(running) < fds
            enclave = mount.enclave()
            for operation in (lambda: enclave.put("memory", b"64M"), lambda: enclave.put("vcpus", b"2"),
                              lambda: enclave.put("image", SMALL), enclave.start):
                result = operation()
                if result != "OK":
                    refused = result, enclave.error or mount.error()
                    break
            else:
                enclave.reaches("running", "failed")
                running.append(enclave)
        assert refused[0] in ("EMFILE", "EIO", "ENFILE"), refused
        assert b"files" in refused[1] or b"descriptor" in refused[1], refused
        assert {enclave.state for enclave in running} <= {"running"}
        assert mount.get("version")
        mount.clear()
        eventually(lambda: mount.slots() == [] and mount.fds() <= before, "all is given back")


def test_little_address_space(new_mount):
    """Taken away while it runs, and given again."""
    mount = new_mount()
    if mount.sanitized():
        return  # it has reserved more than there is
    running, other = mount.enclave().running(), mount.enclave().ready()
    other.get("measurements")
    with open(f"/proc/{mount.process.pid}/statm") as file:
        size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(mount.process.pid, resource.RLIMIT_AS, (size + (4 << 20), resource.RLIM_INFINITY))
    for _ in range(3):
        assert other.start() == "ENOMEM"
        assert b"LimitAS" in other.error or b"out of memory" in other.error, other.error
    assert outcome(get, running.path("journal")) == "OK"
    assert running.state == "running" and other.state == "failed"
    resource.prlimit(mount.process.pid, resource.RLIMIT_AS,
                     (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert other.start() == "OK", other.error
    assert running.stop() == "OK"


# ---- A disk that is read-only ----

def test_a_disk_that_becomes_read_only(tmp_path):
    """As after an error of the filesystem: what is there is served, what is new is refused."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700,size=16m", "tmpfs", disk], check=True)
    mount = Mount(f"spool={disk}")
    try:
        enclave = mount.enclave().ready()
        enclave.get("measurements")
        fds = mount.fds()
        # No file on it is open: a small image is in memory.
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert enclave.put("image", padded(200000)) == "EROFS"
        assert b"Read-only" in enclave.error and enclave.get("image") == SMALL
        assert put(enclave.path(".t"), b"x" * 10000, os.O_WRONLY | os.O_CREAT) == "EROFS"
        os.unlink(enclave.path(".t"))
        enclave.set("memory", b"128M\n")
        assert enclave.start() == "OK", enclave.error
        enclave.reaches("running")
        assert enclave.stop() == "OK"
        eventually(lambda: mount.fds() <= fds, "all fds are closed")
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        enclave.set("image", padded(200000))
        mount.clear()
        mount.unmount()
    finally:
        mount.discard()
        mount.delete()
        subprocess.run(["umount", "-l", disk], check=False)
