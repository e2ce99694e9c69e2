# SPDX-License-Identifier: GPL-2.0-or-later
"""What the daemon may do: no more than it needs (nefs/privileges.h)."""
import os
import select
import signal
import subprocess

import pytest
from harness import eventually, run, seconds
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


# ---- QEMU, for which a script stands ----

@pytest.fixture
def standing_in(new_mount, tmp_path):
    """Makes a mount whose QEMU is a script."""
    def make(script):
        program = tmp_path / "qemu-system-x86_64"
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(0o755)
        tmp_path.chmod(0o755)
        # Where only the root may go QEMU's user finds nothing.
        for folder in tmp_path.parents:
            if str(folder).startswith("/tmp/"):
                folder.chmod(folder.stat().st_mode | 0o011)
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{tmp_path}:{path}"
        try:
            return new_mount(base="backend=sim,sim_vm=qemu")
        finally:
            os.environ["PATH"] = path
    return make


def children(pid):
    """Of all its threads."""
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children") as file:
            found += [int(child) for child in file.read().split()]
    return found


def descendants(pid):
    """Its children and all that they have started."""
    found = children(pid)
    for child in found:
        found += children(child)
    return found


@pytest.mark.sim
def test_what_qemu_may_do(standing_in):
    mount = standing_in("exec sleep 1000")
    mount.enclave().running()
    qemu, = children(mount.process.pid)
    told = status(qemu, qemu)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(told[name], 16) == 0, name
    assert told["NoNewPrivs"] == "1"
    assert told["Seccomp"] == "2"
    assert told["Uid"].split() == ["65534"] * 4 and told["Groups"].strip() == ""
    with open(f"/proc/{qemu}/limits") as file:
        core, = [line for line in file if line.startswith("Max core file size")]
    assert core.split()[4:6] == ["0", "0"]
    # The first process of its namespace: whatever it starts ends with it.
    assert told["NSpid"].split() == [str(qemu), "1"]


@pytest.mark.sim
@pytest.mark.parametrize("script,words", [
    ("exit 1", "exited with status 1"),
    ("exit 0", "shut down or rebooted"),
    (r"printf 'no \033[31mluck\n' >&2; exit 3", "exited with status 3"),
    ("head -c 4000000 /dev/zero | tr '\\0' x >&2; exit 4", "exited with status 4"),
    ("exec /nonexistent", "exited with status 127"),
], ids=["fails", "ends", "escapes", "floods", "is-broken"])
def test_a_qemu_that_ends(standing_in, script, words):
    """Each is a crash with a sentence, and can be removed."""
    mount = standing_in(script)
    enclave = mount.enclave().ready()
    enclave.start()
    eventually(lambda: enclave.state == "crashed", "the enclave crashes", bound=20)
    assert words in enclave.error.decode()
    assert enclave.error.decode().strip().isprintable()
    os.rmdir(enclave.path())
    eventually(lambda: mount.slots() == [], "nothing is held")


@pytest.mark.sim
@pytest.mark.parametrize("script", [
    "kill -STOP $$; sleep 1000", "trap '' TERM INT HUP; while :; do sleep 1; done",
    "while :; do echo noise noise noise >&2; done", "setsid sleep 1000 & exec sleep 1000",
], ids=["stops", "ignores", "floods", "forks"])
def test_a_qemu_that_does_not_end(standing_in, script):
    """It is stopped and removed as any other, with all that it has started."""
    mount = standing_in(script)
    enclave = mount.enclave().running()
    left = children(mount.process.pid)
    os.kill(left[0], signal.SIGSTOP)
    assert enclave.stop() == "OK", enclave.error
    os.rmdir(enclave.path())
    eventually(lambda: mount.slots() == [], "nothing is held")
    assert children(mount.process.pid) == []
    # A daemon that is killed takes them with it, too.
    mount.enclave().running()
    family = [os.pidfd_open(pid) for pid in descendants(mount.process.pid)]
    mount.process.kill()
    mount.process.wait()
    for member in family:
        assert select.select([member], [], [], seconds(30))[0], "a process of the VM lives on"
        os.close(member)
    mount.discard()
