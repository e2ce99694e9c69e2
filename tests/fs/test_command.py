# SPDX-License-Identifier: GPL-2.0-or-later
"""The nefs command: options, how it starts, how it ends."""
import os
import shutil
import signal
import stat
import subprocess

import pytest
from harness import Child, eventually, get, outcome, read_outcome, run, seconds
from nefs_mount import Mount, base_options, binary, daemons_with, is_sim, mounted
from watching import Watched, poll_change


@pytest.fixture
def point(tmp_path):
    """An empty directory; whatever gets mounted there is taken down."""
    path = tmp_path / "point"
    path.mkdir()
    yield str(path)
    if mounted(str(path)):
        run("umount", "-l", str(path))


@pytest.fixture
def options(tmp_path):
    """The options of the mount under test."""
    return f"{base_options()},spool={tmp_path}/spool"


def nefs(*arguments):
    return run(binary(), *arguments)


# ---- without mounting ----

@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag):
    result = nefs(flag)
    assert result.returncode == 0 and result.stderr == ""
    assert result.stdout.startswith("usage: ")
    for word in ("MOUNTPOINT", "backend=", "device=", "spool=", "group=", "sim_cpus=",
                 "sim_memory=", "sim_vm=", "heartbeat=", "arch="):
        assert word in result.stdout


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(flag):
    result = nefs(flag)
    assert result.returncode == 0
    assert result.stdout.startswith("nefs 0.") and result.stdout.count("\n") == 1


def assert_refused(result, *words, status=1):
    """An exit status, as mount(8)'s are, and one sentence that has these words."""
    assert result.returncode == status, result
    assert result.stdout == ""
    assert result.stderr.startswith("nefs: ") and result.stderr.endswith("\n"), result.stderr
    for word in words:
        assert word in result.stderr, result.stderr


def test_no_mount_point():
    assert_refused(nefs("-f", "-o", "backend=sim"), "mount point")


def test_a_mount_point_that_is_not_there(point, options):
    assert_refused(nefs("-f", "-o", options, point + "/no"), point + "/no", "No such file")


def test_a_mount_point_that_is_a_file(point, options):
    with open(point + "/file", "wb"):
        pass
    assert nefs("-f", "-o", options, point + "/file").returncode == 1
    assert not mounted(point + "/file")


def test_too_many_words(point):
    assert_refused(nefs("-f", "-o", "backend=sim", "one", point, "three"), "three")


@pytest.mark.parametrize("option,words", [
    ("backend=nonsense", ["backend", "nonsense"]), ("backend=", ["backend"]),
    ("backend=sim,sim_cpus=x", ["sim_cpus", "x"]), ("backend=sim,sim_cpus=0", ["sim_cpus"]),
    ("backend=sim,sim_cpus=010", ["sim_cpus"]), ("backend=sim,sim_cpus=-4", ["sim_cpus"]),
    ("backend=sim,sim_memory=1", ["sim_memory"]), ("backend=sim,sim_memory=4GB", ["sim_memory"]),
    ("backend=sim,sim_memory=8T", ["sim_memory", "8T", "out of range", "4398046511104"]),
    ("backend=sim,sim_vm=kvm", ["sim_vm", "kvm"]),
    ("heartbeat=maybe", ["heartbeat", "maybe"]), ("arch=arm64", ["arch", "arm64"]),
    ("backend=sim,group=nosuchgroup", ["group", "nosuchgroup"])])
def test_bad_option(point, tmp_path, option, words):
    result = nefs("-f", "-o", f"{option},spool={tmp_path}/spool", point)
    assert_refused(result, *words)
    assert not mounted(point)


@pytest.mark.parametrize("foreground", [["-f"], []], ids=["foreground", "background"])
def test_unknown_option(point, options, foreground):
    result = nefs(*foreground, "-o", options + ",no_such_option", point)
    assert result.returncode == 1 and "no_such_option" in result.stderr
    assert not mounted(point)


@pytest.mark.parametrize("foreground", [["-f"], []], ids=["foreground", "background"])
@pytest.mark.parametrize("kind", ["backend=kernel", "rw"])
def test_without_a_device(point, tmp_path, foreground, kind):
    """The default, too, says what could be done."""
    device = f"{tmp_path}/no_device"
    result = nefs(*foreground, "-o", f"{kind},device={device},spool={tmp_path}/spool", point)
    assert_refused(result, device, "backend=sim")
    assert not mounted(point)


@pytest.mark.sim
def test_the_default_device_is_named(point, tmp_path):
    if os.path.exists("/dev/nitro_enclaves"):
        pytest.fail("this machine has a device: run with backend=kernel")
    assert_refused(nefs("-f", "-o", f"spool={tmp_path}/spool", point), "/dev/nitro_enclaves",
                   "backend=sim")


# ---- the foreground ----

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "running"])
def test_a_signal_ends_it(new_mount, number, busy):
    mount = new_mount()
    if busy:
        mount.enclave().running()
    mount.process.send_signal(number)
    assert mount.wait_exit() == 0, mount.said()
    assert not mounted(mount.root) and mount.spooled() == []
    mount.discard()


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "running"])
def test_umount_ends_it(new_mount, busy):
    mount = new_mount()
    if busy:
        mount.enclave().running()
    assert run("umount", mount.root).returncode == 0
    assert mount.wait_exit() == 0, mount.said()
    assert mount.spooled() == []
    mount.discard()


def test_umount_right_after_a_change(new_mount):
    """inotify's news of the last changes are not told by way of the mount that is to go."""
    for _ in range(5):
        mount = new_mount()
        for enclave in [mount.enclave().ready() for _ in range(3)]:
            assert enclave.start() == "OK"
        umount = run("umount", mount.root)
        assert umount.returncode == 0, umount.stderr
        assert mount.wait_exit() == 0, mount.said()
        mount.discard()


def test_a_mount_of_it_elsewhere_keeps_it(new_mount, tmp_path):
    """... and the copy of the mount that they are told by ends with the last real one."""
    mount = new_mount()
    enclave = mount.enclave().running()
    assert run("mount", "--bind", mount.root, str(tmp_path)).returncode == 0
    try:
        assert run("umount", mount.root).returncode == 0
        with pytest.raises(subprocess.TimeoutExpired):
            mount.process.wait(timeout=0.5)
        assert (tmp_path / enclave.name / "state").read_text() == "running\n"
    finally:
        assert run("umount", str(tmp_path)).returncode == 0
    assert mount.wait_exit() == 0, mount.said()
    mount.discard()


def test_umount_while_in_use_is_refused(new_mount):
    mount = new_mount()
    with open(mount.path("events"), "rb"):
        assert run("umount", mount.root).returncode != 0
    assert mount.alive() and mount.get("version")


@pytest.mark.device
def test_a_signal_ends_it_while_starting(new_mount):
    mount = new_mount()
    enclave = mount.enclave().ready()
    mount.faults("SLOT_ALLOC delay 1000 1")
    assert enclave.start(os.O_NONBLOCK) in ("OK", "EAGAIN")
    mount.process.terminate()
    assert mount.wait_exit() == 0, mount.said()
    assert mount.spooled() == []
    mount.discard()


@pytest.mark.device
def test_a_signal_ends_it_with_sleepers_in_it(new_mount):
    """A blocked writer, a blocked reader and a poller do not keep it from ending."""
    mount = new_mount()
    enclave, other = mount.enclave().ready(), mount.enclave()
    mount.faults("SLOT_ALLOC delay 2000 1")

    def poll():
        with Watched(other.path("state")) as state:
            return poll_change(state.fd, 20)
    writer = Child(enclave.start).blocked("write")
    reader = Child(read_outcome, enclave.path("wait")).blocked("read")
    poller = Child(poll).blocked("poll")
    mount.process.terminate()
    assert mount.wait_exit() == 0, mount.said()
    assert not mounted(mount.root)
    assert writer.result() != "OK", "it did not start"
    assert reader.result() != b"running\n"
    poller.kill()
    mount.discard()


def test_lazy_umount_ends_it_when_the_last_file_is_closed(new_mount):
    mount = new_mount()
    enclave = mount.enclave()
    with Watched(enclave.path("state")) as state:
        assert run("umount", "-l", mount.root).returncode == 0
        assert state.read() == b"init\n"
        assert mount.alive()
    assert mount.wait_exit() == 0, mount.said()
    mount.discard()


def test_a_forced_umount_ends_it(new_mount):
    """It aborts the connection before it unmounts: an umount all the same."""
    for _ in range(10):
        mount = new_mount()
        mount.enclave()
        assert run("umount", "-f", mount.root).returncode == 0
        assert mount.wait_exit() == 0, mount.said()
        mount.discard()


def test_debug_stays_in_the_foreground(point, options):
    with subprocess.Popen([binary(), "-d", "-o", options, point], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        eventually(lambda: mounted(point), "it mounts")
        os.stat(point + "/version")
        process.terminate()
        _, said = process.communicate(timeout=seconds(15))
        assert process.returncode == 0
        assert b"LOOKUP" in said


# ---- the background ----

def daemons(point):
    """The pids of the nefs that serve this mount point."""
    return daemons_with(lambda words: os.fsencode(point) in words)


def assert_serves_and_ends(point):
    assert mounted(point), "when the command returns the mount can be used"
    assert get(point + "/version").startswith(b"0.")
    pid, = daemons(point)
    assert os.getsid(pid) != os.getsid(0)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    for fd in range(3):
        assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"
    os.mkdir(point + "/web")
    assert run("fusermount3", "-u", point).returncode == 0
    eventually(lambda: not daemons(point), "the daemon ends")


@pytest.mark.parametrize("source", [[], ["nefs"], ["anything"]])
def test_background(point, options, source):
    result = nefs("-o", options, *source, point)
    assert result.returncode == 0 and result.stdout + result.stderr == ""
    assert_serves_and_ends(point)


def test_source_and_type_in_the_mount_table(point, options):
    assert nefs("-o", options, "my-source", point).returncode == 0
    row = run("findmnt", "-n", "-o", "SOURCE,FSTYPE", point).stdout.split()
    assert row == ["my-source", "fuse.nefs"]
    assert_serves_and_ends(point)


def test_arguments_of_mount_fuse3(point, options):
    """What mount.fuse3 makes of `mount -t fuse.nefs -o OPTIONS source point`."""
    result = nefs("source", point, "-o", f"rw,nosuid,nodev,noexec,{options}")
    assert result.returncode == 0, result.stderr
    flags = run("findmnt", "-n", "-o", "OPTIONS", point).stdout.strip().split(",")
    assert {"rw", "nosuid", "nodev", "noexec", "allow_other", "default_permissions"} <= set(flags)
    assert_serves_and_ends(point)


@pytest.mark.skipif(shutil.which("mount.fuse3") is None, reason="fuse3 is not installed")
def test_mount_fuse(point, options, tmp_path):
    """mount(8) itself, which finds the program in PATH."""
    (tmp_path / "bin").mkdir()
    os.symlink(binary(), tmp_path / "bin/nefs")
    path = f"{tmp_path}/bin:" + os.environ["PATH"]
    result = run("mount.fuse3", "nefs#source", point, "-o", options,
                 env={**os.environ, "PATH": path})
    assert result.returncode == 0, result.stderr
    assert get(point + "/backend") == (b"sim\n" if is_sim() else b"kernel\n")
    assert run("umount", point).returncode == 0
    eventually(lambda: not daemons(point), "the daemon ends")


def test_a_relative_mount_point(point, options):
    folder, name = os.path.split(point)
    assert run(binary(), "-o", options, name, cwd=folder).returncode == 0
    os.mkdir(point + "/web")
    assert run("fusermount3", "-u", point).returncode == 0
    eventually(lambda: not daemons(name), "the daemon ends")


# ---- more than one; the spool ----

def test_two_mounts_know_nothing_of_each_other(new_mount):
    one, two = new_mount(), new_mount()
    one.enclave("web").ready()
    assert two.enclaves() == []
    two.enclave("web").running()
    assert one.get("web/state") == b"init\n" and one.events()["starts"] == 0


def test_the_spool_is_private(new_mount):
    mount = new_mount()
    assert stat.S_IMODE(os.stat(mount.spool).st_mode) == 0o700
    mount.enclave().ready()
    for folder, _, files in os.walk(mount.spool):
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode) & 0o077 == 0


def test_the_spool_is_made(tmp_path):
    with Mount() as mount:
        assert os.path.isdir(mount.spool)
    assert outcome(os.mkdir, tmp_path / "still works") == "OK"


def test_a_spool_that_cannot_be_made(point):
    result = nefs("-f", "-o", f"{base_options()},spool=/proc/nonsense", point)
    assert_refused(result, "/proc/nonsense", status=2)
    assert not mounted(point)
