# SPDX-License-Identifier: GPL-2.0-or-later
"""
Linux's driver and our device in the lab's parent VM (scripts/lab): what the device does wrong while an
enclave starts, and what is left of it.
"""
import glob
import os
import time

import device_port
import pytest
from harness import get, put, seconds
from watching import poll_change

pytestmark = pytest.mark.lab

COMMANDS = ["SLOT_ALLOC", "SLOT_ADD_MEM", "SLOT_ADD_VCPU", "ENCLAVE_START"]


def mapped_pages(pid):
    """Huge pages that the daemon has in its address space."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file
                   if line.startswith(("Private_Hugetlb", "Shared_Hugetlb"))) // 2048


class Figures:
    """What a start takes and must give back."""

    def __init__(self, mount):
        self.slots = len(mount.slots())
        self.cpus = device_port.free_cpus()
        self.pages = device_port.free_pages()
        self.fds = mount.fds()
        # Spool files have no names: they are among the fds, and count there with their bytes.
        self.spool = sum(os.stat(path).st_size
                         for path in glob.glob(f"/proc/{mount.process.pid}/fd/*")
                         if os.readlink(path).startswith(mount.spool + "/"))
        self.mapped = mapped_pages(mount.process.pid)

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return " ".join(f"{name} {value}" for name, value in vars(self).items())


def settled(mount, before):
    """The figures, as soon as they are those from before; else as they are after a while."""
    end = time.monotonic() + seconds(10)
    while True:
        now = Figures(mount)
        if now == before or time.monotonic() > end:
            return now
        time.sleep(0.2)


@pytest.fixture
def staged(new_mount):
    """A mount with an enclave that runs, beside one that is to be started."""
    mount = new_mount()
    mount.other = mount.enclave().running()
    mount.ready = mount.enclave().ready()
    # Once, as a first start leaves a thread and its fds behind that are used again.
    assert mount.ready.start() == "OK", mount.ready.error
    mount.ready.stop()
    assert mount.ready.reaches("stopped")
    mount.before = Figures(mount)
    return mount


def check_figures(mount, what):
    after = settled(mount, mount.before)
    print(f"\n{what}\n  before: {mount.before}\n  after:  {after}")
    assert after == mount.before


def check_next_start(mount):
    mount.faults()
    assert mount.ready.start() == "OK", mount.ready.error
    assert mount.ready.reaches("running")
    assert mount.ready.error == b""


@pytest.mark.parametrize("command", COMMANDS)
def test_fail(staged, command):
    staged.faults(f"{command} fail 5 1")
    assert staged.ready.start() == "EIO"
    assert staged.ready.reaches("failed")
    assert b"device" in staged.ready.error and staged.ready.error.count(b"\n") == 1
    check_figures(staged, f"{command} fails")
    assert staged.other.state == "running"
    check_next_start(staged)


@pytest.mark.parametrize("command", COMMANDS)
def test_delay(staged, command):
    staged.faults(f"{command} delay 1500 1")
    began = time.monotonic()
    assert staged.ready.start(os.O_NONBLOCK) == "OK"
    assert staged.ready.state == "starting"
    assert staged.other.state == "running"
    assert staged.ready.reaches("running")
    assert time.monotonic() - began >= 1.4
    staged.ready.stop()
    assert staged.ready.reaches("stopped")
    check_figures(staged, f"{command} takes 1.5 s")
    check_next_start(staged)


@pytest.mark.parametrize("command", COMMANDS)
def test_event_meanwhile(staged, command):
    """The death of one enclave and an event without a cause, while another starts."""
    staged.faults(f"{command} delay 1500 1")
    slot = staged.other.get("slot").decode().strip()
    assert staged.ready.start(os.O_NONBLOCK) == "OK"
    with device_port.DevicePort() as port:
        port.ask("spurious")
        port.ask(f"crash {slot}")
    assert staged.other.reaches("crashed")
    assert staged.ready.reaches("running")
    assert staged.ready.events()["crashes"] == 0
    staged.ready.stop()
    assert staged.ready.reaches("stopped")
    assert staged.other.start() == "OK", staged.other.error
    check_figures(staged, f"an event during {command}")
    check_next_start(staged)


@pytest.mark.drop
@pytest.mark.limit(240)
@pytest.mark.parametrize("command", COMMANDS)
def test_drop(staged, command):
    """The driver waits 120 s for a reply; nobody else does."""
    staged.faults(f"{command} drop 1")
    idle = staged.enclave()
    slowest = 0
    began = time.monotonic()
    assert staged.ready.start(os.O_NONBLOCK) == "OK"
    while staged.ready.state == "starting" and time.monotonic() - began < seconds(30) + 130:
        for path in (staged.other.path("state"), staged.ready.path("error"),
                     staged.path("events"), staged.ready.path("memory")):
            start = time.monotonic()
            get(path)
            slowest = max(slowest, time.monotonic() - start)
        start = time.monotonic()
        assert put(idle.path("memory"), b"128M\n") == "OK"
        slowest = max(slowest, time.monotonic() - start)
        time.sleep(0.5)
    assert time.monotonic() - began >= 115
    assert staged.ready.state == "failed"
    assert b"did not answer in time" in staged.ready.error
    # Far below the 120 s that one enclave is held up for; usually it is milliseconds.
    assert slowest < seconds(1)
    check_figures(staged, f"the reply to {command} is dropped; slowest call meanwhile "
                          f"{slowest * 1000:.0f} ms")
    check_next_start(staged)


def test_crash_reaches_a_poller(new_mount):
    mount = new_mount()
    enclave = mount.enclave().running()
    fd = os.open(enclave.path("events"), os.O_RDONLY)
    try:
        os.read(fd, 4096)
        mount.crash(enclave)
        assert poll_change(fd, 20)
        assert b"crashes 1" in os.pread(fd, 4096, 0)
    finally:
        os.close(fd)
    assert enclave.reaches("crashed")


def test_a_silent_stop_is_seen_at_the_next_event(new_mount):
    mount = new_mount()
    enclave = mount.enclave().running()
    device_port.ask(f"stop-silent {enclave.get('slot').decode().strip()}")
    time.sleep(0.3)
    assert enclave.state == "running"
    device_port.ask("spurious")
    assert enclave.reaches("crashed")
