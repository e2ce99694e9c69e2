# SPDX-License-Identifier: GPL-2.0-or-later
"""Real guests: what they print arrives on the console, and their end is a crash or a stop."""
import os
import select
import signal
import stat

import guest
import pytest
from harness import Child, eventually, get, outcome, raw_read, read_outcome, seconds
from watching import Watched, poll_now

pytestmark = [pytest.mark.vm, pytest.mark.sim, pytest.mark.limit(120)]

MIB = 1 << 20
BOOT = 60  # seconds until a guest's init has printed something, at most


@pytest.fixture
def boot(new_mount):
    """Makes enclaves that run a guest; in debug mode if not told otherwise."""
    mount = new_mount(base="backend=sim,sim_vm=qemu")

    def make(what, debug=b"1"):
        enclave = mount.enclave()
        enclave.ready(image=guest.image(what), memory=b"256M", debug=debug)
        assert enclave.start() == "OK", enclave.error
        enclave.reaches("running", bound=30)
        return enclave
    return make


def children(mount):
    """The processes that the daemon has started."""
    found = []
    for task in os.listdir(f"/proc/{mount.process.pid}/task"):
        try:
            with open(f"/proc/{mount.process.pid}/task/{task}/children") as file:
                found += file.read().split()
        except OSError:
            pass  # that thread has just ended
    return found


def no_children(mount):
    eventually(lambda: not children(mount), "the VM's process is gone")


def read_until(path, word):
    """Reads on from the beginning, sleeping in the reads, until the word or the end comes."""
    fd = os.open(path, os.O_RDONLY)
    seen = b""
    while word not in seen and (part := os.read(fd, 65536)):
        seen += part
    return seen


def printed(enclave, word, bound=BOOT):
    """Waits until the guest has printed this; all that it had printed by then."""
    seen = Child(read_until, enclave.path("console.follow"), word).result(bound)
    assert word in seen, seen[-500:]
    return seen


def test_console_shows_what_the_guest_prints(boot):
    enclave = boot("sleep")
    printed(enclave, b"guest: sleep on x86_64")
    assert enclave.state == "running"


def test_guest_that_ends_by_itself_has_crashed(boot):
    enclave = boot("quit")
    with Watched(enclave.path("events")) as events:
        while b"crashes 1\n" not in events.read():
            events.changed(BOOT)
    assert enclave.reaches("crashed")
    console = enclave.get("console")
    assert b"guest: quit" in console
    assert enclave.get("console") == console, "kept, and read from the beginning again"
    assert enclave.error != b""
    no_children(enclave.mount)


def test_follower_ends_with_the_enclave(boot):
    enclave = boot("tick")
    reader = Child(get, enclave.path("console.follow"))
    printed(enclave, b"tick\r\ntick")
    assert not reader.ended()
    assert enclave.stop() == "OK"
    assert b"tick" in reader.result()
    no_children(enclave.mount)


def test_crash_ends_the_vm(boot):
    enclave = boot("tick")
    assert len(children(enclave.mount)) == 1
    printed(enclave, b"tick")
    enclave.crash()
    assert b"tick" in enclave.get("console")
    no_children(enclave.mount)


def test_death_of_the_vm_is_a_crash(boot):
    enclave = boot("sleep")
    pid, = children(enclave.mount)
    os.kill(int(pid), signal.SIGKILL)
    assert enclave.reaches("crashed")
    eventually(lambda: enclave.get("slot") == b"\n", "the slot is given back")
    assert enclave.start() == "OK", enclave.error
    enclave.reaches("running", bound=30)
    printed(enclave, b"guest: sleep")


def test_reader_that_has_it_all_sleeps_until_more_comes(boot):
    enclave = boot("tick")
    printed(enclave, b"tick")
    fd = os.open(enclave.path("console.follow"), os.O_RDONLY | os.O_NONBLOCK)
    try:
        def has_it_all():
            while (last := outcome(os.read, fd, 65536)) == "OK":
                pass
            assert last == "EAGAIN"
            return poll_now(fd) & select.POLLIN == 0
        # It ticks once a second: there is a moment when all has been read.
        eventually(has_it_all, "all has been read")
        assert select.select([fd], [], [], seconds(10))[0]
        assert os.read(fd, 65536)
    finally:
        os.close(fd)


def test_sleeping_readers_are_woken_interrupted_and_killed(boot):
    enclave = boot("sleep")
    printed(enclave, b"guest: sleep on x86_64\r\n")

    def drain_and_read(path):
        signal.signal(signal.SIGUSR1, lambda *_: None)
        fd = os.open(path, os.O_RDONLY)
        while poll_now(fd) & select.POLLIN:
            os.read(fd, 65536)
        return raw_read(fd)
    interrupted, killed, woken = (
        Child(drain_and_read, enclave.path("console.follow")).blocked("read") for _ in range(3))
    interrupted.signal(signal.SIGUSR1)
    assert interrupted.result(5) == "EINTR"
    killed.signal(signal.SIGKILL)
    assert killed.ended(seconds(1))
    assert enclave.stop() == "OK"
    assert woken.result() == b"", "end of file"


def test_two_consoles_are_two(boot):
    ticking, sleeping = boot("tick"), boot("sleep")
    printed(ticking, b"guest: tick")
    assert b"tick" not in printed(sleeping, b"guest: sleep")


def test_without_debug_mode_nothing_is_shown(boot):
    enclave = boot("quit", debug=b"0")
    assert read_outcome(enclave.path("console")) == b""
    enclave.reaches("crashed", bound=BOOT)
    assert enclave.get("console") == b""


def test_the_last_words_are_kept_over_a_restart(boot):
    enclave = boot("quit")
    enclave.reaches("crashed", bound=BOOT)
    said, number = enclave.get("console"), os.stat(enclave.path("console")).st_ino
    enclave.set("image", guest.image("sleep"))
    assert enclave.start() == "OK", enclave.error
    assert enclave.get("console.1") == said
    assert os.stat(enclave.path("console.1")).st_ino == number
    assert b"guest: quit" not in printed(enclave, b"guest: sleep")
    assert stat.S_IMODE(os.stat(enclave.path("console.1")).st_mode) == 0o400


def test_the_last_mebibyte_is_kept_at_least(boot):
    enclave = boot("flood")
    everything = printed(enclave, b"guest: flood ends", bound=100)
    assert len(everything) > guest.FLOOD, "a reader that keeps up gets it all"
    enclave.stop()
    enclave.reaches("stopped")
    older, newer = enclave.get("console.1"), enclave.get("console")
    assert MIB // 2 <= len(older) <= MIB and len(newer) <= MIB
    assert older.endswith(b"\n"), "no line is cut"
    kept = older + newer
    assert everything.endswith(kept[-MIB // 2:])
    assert b"guest: flood ends" in kept[-200:]
    assert b"guest: flood on" not in newer


def test_next_life_is_printed_too(boot):
    enclave = boot("quit")
    enclave.reaches("crashed", bound=BOOT)
    enclave.set("image", guest.image("sleep"))
    assert enclave.start() == "OK"
    enclave.reaches("running", bound=30)
    printed(enclave, b"guest: sleep")


def status(pid):
    with open(f"/proc/{pid}/status") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def check_privileges(pid):
    """All that QEMU has given up, whoever it runs as."""
    told = status(pid)
    for name in "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
        assert int(told[name], 16) == 0, name
    assert told["NoNewPrivs"] == "1"
    eventually(lambda: status(pid)["Seccomp"] == "2", "its sandbox is on")
    with open(f"/proc/{pid}/environ", "rb") as file:
        names = {line.split(b"=")[0] for line in file.read().split(b"\0") if line}
    assert names == {b"PATH", b"LANG"}
    with open(f"/proc/{pid}/limits") as file:
        core, = (line.split() for line in file if line.startswith("Max core file size"))
    assert core[4:6] == ["0", "0"]
    assert os.getpgid(int(pid)) == int(pid)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_the_guest_of_root_is_nobody(boot):
    enclave = boot("sleep")
    pid, = children(enclave.mount)
    check_privileges(pid)
    told = status(pid)
    assert told["Uid"].split() == told["Gid"].split() == ["65534"] * 4
    assert told["Groups"].split() in ([], [str(os.stat("/dev/kvm").st_gid)]
                                      if os.path.exists("/dev/kvm") else [])
    printed(enclave, b"guest: sleep")


def test_the_guest_runs_as_the_owner(boot):
    enclave = boot("quit")
    enclave.reaches("crashed", bound=BOOT)
    os.chown(enclave.path(), 12345, 12346)
    enclave.set("image", guest.image("sleep"))
    assert enclave.start() == "OK", enclave.error
    enclave.reaches("running", bound=30)
    pid, = children(enclave.mount)
    check_privileges(pid)
    told = status(pid)
    assert told["Uid"].split() == ["12345"] * 4
    assert told["Gid"].split() == ["12346"] * 4
    printed(enclave, b"guest: sleep")
    enclave.crash()
    assert enclave.reaches("crashed")
    no_children(enclave.mount)


def test_umount_ends_the_guests(boot):
    mount = boot("tick").mount
    pids = children(mount)
    assert len(pids) == 1
    mount.unmount()
    assert not os.path.exists(f"/proc/{pids[0]}")
