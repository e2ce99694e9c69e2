# SPDX-License-Identifier: GPL-2.0-or-later
"""
Fixtures of the black-box suite. The environment says what is tested:

NEFS                the executable (default: $NEFS_BUILD/nefs/nefs)
NEFS_EIF            nefs-eif, for comparing what both say of an image
NEFS_MOUNT_OPTIONS  the backend (default: backend=sim,sim_vm=none)
NEFS_KERNEL         a bzImage for the tests that boot a VM; without it they are left out
NEFS_BUSYBOX        a static busybox for their ramdisk
NEFS_SLOWNESS       factor on every bound (default 1)

Markers: sim (is about the simulated device), device (crashes and faults: needs that one's controls or
the lab's), lab (needs the lab's parent VM), lab_vm (and its enclaves being VMs: choose them by -m), drop
(takes the driver's 120 s for a lost reply), allocator (replaces malloc(3): not under a sanitizer), preload
(loads a library of the build's tests in front of the C library), vm (boots a VM), long (takes over 10 s), limit(seconds) (the
test's own bound instead of 60 s).
"""
import os
import signal
import sys
import threading

import pytest

sys.path.insert(0, os.path.dirname(__file__))
import device_port  # noqa: E402
from harness import Child, seconds  # noqa: E402
from nefs_mount import Mount, binary, is_sanitized, is_sim  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "sim: is about the simulated device")
    config.addinivalue_line("markers", "device: needs a device's controls, such as crashes")
    config.addinivalue_line("markers", "lab: needs the lab's parent VM (scripts/lab)")
    config.addinivalue_line("markers", "lab_vm: needs enclaves that are VMs in the lab")
    config.addinivalue_line("markers", "machine: needs the lab's largest machine (suite lab-machine)")
    config.addinivalue_line("markers", "large: needs 2 GiB of huge pages in the lab, for itself")
    config.addinivalue_line("markers", "drop: takes the driver's 120 s for a lost reply")
    config.addinivalue_line("markers", "allocator: replaces malloc(3), as sanitizers do")
    config.addinivalue_line("markers", "preload: loads a library of the build's tests in front of the C library")
    config.addinivalue_line("markers", "vm: boots a virtual machine (NEFS_KERNEL)")
    config.addinivalue_line("markers", "long: takes over 10 s")
    config.addinivalue_line("markers", "limit(seconds): the most this test may take")


def pytest_collection_modifyitems(config, items):
    """What cannot run here is left out by name, not skipped: a skip would look like a pass."""
    def possible(item):
        if item.get_closest_marker("sim") and not is_sim():
            return False
        if item.get_closest_marker("device") and not (is_sim() or device_port.find()):
            return False
        if item.get_closest_marker("lab") and not device_port.find():
            return False
        if item.get_closest_marker("machine"):
            return device_port.find() is not None and os.path.isdir("/sys/devices/system/node/node1")
        if item.get_closest_marker("large"):
            return device_port.find() is not None and "NE_SAMPLE_LARGE" in os.environ
        if item.get_closest_marker("allocator"):
            return not is_sanitized()
        if item.get_closest_marker("lab_vm"):
            return device_port.find() is not None and "NEFS_VECTOR4" in os.environ
        return not item.get_closest_marker("vm") or {"NEFS_KERNEL", "NEFS_BUSYBOX"} <= os.environ.keys()
    left_out = [item for item in items if not possible(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if possible(item)]


def pytest_sessionstart(session):
    if not session.config.option.collectonly and not os.access(binary(), os.X_OK):
        pytest.exit(f"no nefs executable at {binary()}: set NEFS or NEFS_BUILD", returncode=2)


class TestTimeout(Exception):
    """The test took too long."""
    __test__ = False


@pytest.fixture(autouse=True)
def bounded(request):
    """
    No test hangs: SIGALRM ends what can be interrupted; what sleeps in the kernel for an answer
    of the daemon is freed by killing the daemon. Children are killed after every test.
    """
    marker = request.node.get_closest_marker("limit")
    limit = seconds(marker.args[0] if marker else 60)

    def expired(*_):
        raise TestTimeout(f"longer than {limit:g} s")

    def free():
        for mount in list(Mount.living):
            mount.process.kill()

    watchdog = threading.Timer(limit + 10, free)
    watchdog.daemon = True
    watchdog.start()
    old = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, limit)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, old)
    stuck = [child.pid for child in list(Child.living) if not child.kill()]
    watchdog.cancel()
    if stuck:
        free()
        pytest.fail(f"processes that even SIGKILL does not end: {stuck}")


class Shared:
    """One mount for the tests of a module, made anew if a test broke it."""

    def __init__(self):
        self.mount = None

    def get(self):
        if self.mount is None:
            self.mount = Mount()
        return self.mount

    def drop(self):
        if self.mount is not None:
            self.mount.discard()
            self.mount.delete()
            self.mount = None


@pytest.fixture(scope="module")
def shared():
    holder = Shared()
    yield holder
    mount = holder.mount
    if mount is None:
        return
    try:
        mount.unmount()
    finally:
        holder.drop()


@pytest.fixture
def mount(shared, bounded):
    """A mounted nefs without enclaves. What a test makes in it is removed behind it."""
    mount = shared.get()
    yield mount
    try:
        assert mount.alive(), f"nefs ended with {mount.process.returncode}: {mount.said()}"
        mount.clear()
    except BaseException:
        shared.drop()
        raise


@pytest.fixture
def new_mount(bounded):
    """Makes mounts with options of their own; they must end cleanly."""
    made = []

    def make(*options, **kwargs):
        mount = Mount(*options, **kwargs)
        made.append(mount)
        return mount
    yield make
    try:
        for mount in made:
            if mount in Mount.living:
                assert mount.alive(), f"nefs ended with {mount.process.returncode}: {mount.said()}"
                if mount.uid is None:
                    mount.clear()
                mount.unmount()
    finally:
        for mount in made:
            mount.discard()
            mount.delete()


@pytest.fixture
def enclave(mount):
    """A new enclave, nothing set."""
    return mount.enclave()


@pytest.fixture
def ready(enclave):
    """An enclave with everything set."""
    return enclave.ready()


@pytest.fixture
def running(enclave):
    """A running enclave."""
    return enclave.running()
