# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon may do: no more than it needs (nefs/privileges.h)."""
import os
import subprocess

import pytest
from harness import run
from nefs_mount import base_options, is_sim

# capability(7): CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_SYS_ADMIN
KEPT = 1 << 1 | 1 << 3 | 1 << 21
# CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP
KEPT_SIM = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8


def status(pid, thread):
    with open(f"/proc/{pid}/task/{thread}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def statuses(mount):
    """Of all its threads."""
    pid = mount.process.pid
    found = [status(pid, thread) for thread in os.listdir(f"/proc/{pid}/task")]
    assert found
    return found


@pytest.fixture
def used(new_mount):
    """A mount with each kind of thread."""
    mount = new_mount()
    mount.enclave().running()
    return mount


@pytest.mark.parametrize("name", ["CapPrm", "CapEff", "CapBnd"])
def test_capabilities(used, name):
    kept = KEPT | (KEPT_SIM if is_sim() else 0)
    for told in statuses(used):
        assert int(told[name], 16) & ~kept == 0, told["Name"]


@pytest.mark.parametrize("name", ["CapInh", "CapAmb"])
def test_nothing_is_handed_on(used, name):
    for told in statuses(used):
        assert int(told[name], 16) == 0, told["Name"]


def test_no_new_privileges(used):
    assert {told["NoNewPrivs"] for told in statuses(used)} == {"1"}


def test_filter_on_system_calls(used):
    """What it lets through is tests/unit/test_syscall_filter.c's."""
    for told in statuses(used):
        assert told["Seccomp"] == "2", told["Name"]


@pytest.mark.sim
def test_filter_of_an_ordinary_user(new_mount):
    """Its threads and its QEMU's; fusermount3, which is the root's, has to take down the mount nevertheless."""
    mount = new_mount(uid=65534)
    # Whoever has an answer has one from under the filter.
    assert run(*mount.as_user("cat", mount.path("version"))).returncode == 0
    for told in statuses(mount):
        assert told["Seccomp"] == "2" and told["NoNewPrivs"] == "1", told["Name"]
        for name in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            assert int(told[name], 16) == 0
    mount.process.terminate()
    assert mount.wait_exit() == 0, mount.said()
    assert not mount.mounted()
    mount.discard()


def test_memory_is_not_looked_into(used):
    """As the root, but without the capability that is for this."""
    if used.sanitized():
        return  # a leak checker looks
    path = f"/proc/{used.process.pid}/fd/0"
    assert os.readlink(path)
    done = subprocess.run(["setpriv", "--bounding-set=-sys_ptrace", "readlink", "-v", path],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "denied" in done.stderr
    assert done.stdout == ""


def test_rank_when_memory_is_short(used):
    """Who starts nefs says it, or enclaves are worth more than other processes; simulated ones are not."""
    with open("/proc/self/oom_score_adj") as file:
        ours = int(file.read())
    with open(f"/proc/{used.process.pid}/oom_score_adj") as file:
        its = int(file.read())
    assert its == ours or (ours == 0 and its == -900 and not is_sim())


def test_mount_in_the_directory_of_another(new_mount):
    """The root finds its way there, and back."""
    mount = new_mount()
    enclave = mount.enclave()
    os.chown(enclave.path(), 12345, 12345)
    os.chmod(enclave.path(), 0o700)
    enclave.running()
    os.chown(mount.top, 12345, 12345)
    os.chmod(mount.top, 0o700)
    mount.unmount()
