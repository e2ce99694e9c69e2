# SPDX-License-Identifier: GPL-2.0-or-later
"""A device that takes its time: nobody sleeps where they cannot be woken, nobody waits for ever."""
import os
import signal
import time

import eif_image
import pytest
from harness import SLOWNESS, Child, eventually, get, outcome, put, raw_read, raw_write, run, seconds, timed
from watching import Watched, poll_now

pytestmark = pytest.mark.device

OTHER = eif_image.build(ramdisks=(b"another one",))
AT_MOST = 6  # seconds: the 5 s of the contract and the machine's own delay


@pytest.fixture
def slow(mount, ready):
    """An enclave whose start hangs in the device for some seconds, twice as long where the tests are slow too."""
    def make(delay=1500, command="SLOT_ALLOC"):
        mount.faults(f"{command} delay {int(delay * min(SLOWNESS, 2))} 1")
        return ready
    return make


def start(enclave):
    return enclave.start()


# ---- wait ----

def test_starting_is_seen(slow):
    enclave = slow()
    assert enclave.start(os.O_NONBLOCK) == "OK"
    assert enclave.state == "starting"
    assert enclave.get("start") == b"1\n"
    assert enclave.reaches("running")


def test_wait_would_block(slow):
    enclave = slow()
    enclave.start(os.O_NONBLOCK)
    assert outcome(get, enclave.path("wait"), os.O_NONBLOCK) == "EAGAIN"


def test_wait_blocks_until_it_runs(slow):
    enclave = slow()
    enclave.start(os.O_NONBLOCK)
    reader = Child(get, enclave.path("wait")).blocked("read")
    assert reader.result() == b"running\n"


def test_wait_wakes_at_failure(mount, ready):
    mount.faults("SLOT_ALLOC delay 500 1", "SLOT_ADD_MEM fail 5 1")
    ready.start(os.O_NONBLOCK)
    reader = Child(get, ready.path("wait")).blocked("read")
    assert reader.result() == b"failed\n\n"


def test_wait_wakes_many(slow):
    enclave = slow()
    enclave.start(os.O_NONBLOCK)
    readers = [Child(get, enclave.path("wait")) for _ in range(10)]
    for reader in readers:
        reader.blocked("read")
    assert {reader.result() for reader in readers} == {b"running\n"}


def test_wait_during_stop(mount, running):
    mount.faults("ENCLAVE_STOP delay 1500 1")
    assert running.stop(os.O_NONBLOCK) == "OK"
    assert running.state == "stopping"
    reader = Child(get, running.path("wait")).blocked("read")
    assert reader.result() == b"stopped\n"


def test_wait_on_an_fd_opened_before(slow):
    enclave = slow()
    fd = os.open(enclave.path("wait"), os.O_RDONLY)
    try:
        enclave.start(os.O_NONBLOCK)
        assert os.read(fd, 100) == b"running\n"
    finally:
        os.close(fd)


def test_poll_of_wait_is_not_parked(slow):
    enclave = slow()
    enclave.start(os.O_NONBLOCK)
    fd = os.open(enclave.path("wait"), os.O_RDONLY)
    try:
        _, took = timed(poll_now, fd)
        assert took < seconds(1)
    finally:
        os.close(fd)


def test_wait_dies_at_once_on_sigkill(slow):
    enclave = slow(3000)
    enclave.start(os.O_NONBLOCK)
    reader = Child(get, enclave.path("wait")).blocked("read")
    reader.signal(signal.SIGKILL)
    assert reader.ended(seconds(1)), "a blocked reader survives SIGKILL"


def interruptible(call, *args):
    """What a call gives if a signal with a handler arrives meanwhile."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    return call(*args)


def read_wait(path):
    return raw_read(os.open(path, os.O_RDONLY))


def test_wait_is_interrupted_by_a_signal(slow):
    enclave = slow(3000)
    enclave.start(os.O_NONBLOCK)
    reader = Child(interruptible, read_wait, enclave.path("wait")).blocked("read")
    reader.signal(signal.SIGUSR1)
    assert reader.result(2) == "EINTR"
    assert enclave.state == "starting"


# ---- The write that starts ----

def test_start_returns_once_it_runs(slow):
    enclave = slow(1000)
    result, took = timed(enclave.start)
    assert result == "OK" and 0.9 < took < seconds(3)
    assert enclave.state == "running"


def test_late_failure_is_the_writers_errno(mount, ready):
    mount.faults("SLOT_ALLOC delay 500 1", "SLOT_ADD_MEM fail 12 1")
    assert ready.start() == "ENOMEM"
    assert ready.state == "failed"


def test_failure_behind_a_nonblocking_start(mount, ready):
    mount.faults("SLOT_ALLOC delay 300 1", "SLOT_ADD_MEM fail 12 1")
    assert ready.start(os.O_NONBLOCK) == "OK"
    assert ready.reaches("failed")
    assert ready.error != b""
    assert ready.get("start") == b"0\n"


def test_signal_ends_the_wait_not_the_work(slow):
    enclave = slow(1500)

    def write():
        return raw_write(os.open(enclave.path("start"), os.O_WRONLY), b"1\n")
    writer = Child(interruptible, write).blocked("write")
    writer.signal(signal.SIGUSR1)
    assert writer.result(1.2) == "OK", "as when its bound has passed: shells do not write again"
    assert enclave.state == "starting"
    assert enclave.reaches("running")
    assert enclave.get("start") == b"1\n"


def test_signal_ends_the_wait_of_a_rename(slow):
    enclave = slow(1500)
    enclave.put("x.tmp", b"1\n", os.O_WRONLY | os.O_CREAT)

    def rename():
        os.rename(enclave.path("x.tmp"), enclave.path("start"))
        return "OK"
    writer = Child(interruptible, rename).blocked("rename")
    writer.signal(signal.SIGUSR1)
    assert writer.result(1.2) == "OK"
    assert enclave.state == "starting" and "x.tmp" not in enclave.listing()
    assert enclave.reaches("running")


def test_a_shell_whose_child_ends_meanwhile(slow):
    """bash is told of a child by a signal, and does not write again."""
    enclave = slow(1500)
    done = run("bash", "-c", 'sleep 0.2 & echo 1 > "$1"; echo "status $?"', "bash", enclave.path("start"))
    assert (done.stdout, done.stderr) == ("status 0\n", "")
    assert enclave.reaches("running")


def test_nonblock_that_was_set_after_the_open(mount, ready):
    """Runtimes such as Go's do that to every file: its user wants to hear of the refusal."""
    mount.faults("SLOT_ALLOC delay 300 1", "SLOT_ADD_MEM fail 12 1")
    fd = os.open(ready.path("start"), os.O_WRONLY | os.O_TRUNC)
    try:
        os.set_blocking(fd, False)
        assert outcome(os.write, fd, b"1\n") == "ENOMEM"
    finally:
        os.close(fd)


def test_sigkill_ends_the_writer_not_the_work(slow):
    enclave = slow(2000)
    writer = Child(enclave.start).blocked("write")
    writer.signal(signal.SIGKILL)
    assert writer.ended(seconds(1)), "a blocked writer survives SIGKILL"
    assert enclave.reaches("running")


def test_ctrl_c_of_a_shell(slow):
    enclave = slow(2000)
    done, took = timed(run, "timeout", "-s", "INT", "0.5", "sh", "-c", "exec /bin/echo 1 > start",
                       cwd=enclave.path())
    assert done.returncode != 0 or took < seconds(2)
    assert enclave.reaches("running")


def test_stop_of_a_nonblocking_start(slow):
    enclave = slow(1500)
    enclave.start(os.O_NONBLOCK)
    assert enclave.stop() == "OK"
    assert enclave.settle() == "stopped"
    assert enclave.get("start") == b"0\n"
    assert enclave.get("slot") == b"\n"
    eventually(lambda: enclave.mount.slots() == [], "all slots are given back")


def test_nonblocking_stop_of_a_nonblocking_start(slow):
    enclave = slow(1000)
    enclave.start(os.O_NONBLOCK)
    assert enclave.stop(os.O_NONBLOCK) == "OK"
    assert enclave.get("start") == b"0\n"
    assert enclave.settle() == "stopped"


def test_stop_while_a_writer_starts(slow):
    """
    The kernel holds the file's lock for the first writer, so the stop may only come through
    afterwards; whichever way, it wins, and the starter is told if it was cancelled.
    """
    enclave = slow(1500)
    starter = Child(start, enclave).blocked("write")
    stopper = Child(enclave.stop)
    assert stopper.result(AT_MOST + 1) == "OK"
    assert starter.result() in ("OK", "ECANCELED")
    assert enclave.settle() == "stopped"
    eventually(lambda: enclave.mount.slots() == [], "all slots are given back")


def test_cancelled_start_says_so(slow):
    """A second fd that was open before needs no lock of the open."""
    enclave = slow(1500)
    fd = os.open(enclave.path("start"), os.O_WRONLY | os.O_NONBLOCK)
    try:
        starter = Child(start, enclave).blocked("write")
        stopper = Child(os.write, fd, b"0\n")
        assert stopper.result(AT_MOST) == 2
        assert starter.result() in ("OK", "ECANCELED")
    finally:
        os.close(fd)
    assert enclave.settle() == "stopped"


def test_start_while_stopping_is_queued(mount, running):
    mount.faults("ENCLAVE_STOP delay 1000 1")
    assert running.stop(os.O_NONBLOCK) == "OK"
    assert running.state == "stopping"
    assert running.start() == "OK"
    assert running.reaches("running")
    assert running.get("start") == b"1\n"
    assert running.events()["starts"] == 2


def names_are_frozen(enclave):
    assert outcome(os.rmdir, enclave.path()) == "EBUSY"
    assert outcome(os.unlink, enclave.path("memory")) == "EBUSY"


def test_queued_start_behind_a_crash(mount, running):
    """The device still gives back what has crashed: every file tells of a start, as it will come."""
    mount.faults(f"SLOT_FREE delay {int(seconds(3) * 1000)} 1")
    running.crash()
    slots = mount.slots()
    assert running.start(os.O_NONBLOCK) == "OK"
    assert running.state == "starting"
    assert running.get("start") == b"1\n"
    assert outcome(get, running.path("wait"), os.O_NONBLOCK) == "EAGAIN"
    assert running.get("memory.effective") == b"\n", "nothing is held yet"
    names_are_frozen(running)
    assert mount.slots() == slots, "all of this while the old one was being given back"
    assert get(running.path("wait")) == b"running\n"
    assert running.get("memory.effective") == b"67108864\n"


def test_queued_start_behind_a_crash_and_a_stop(mount, running):
    """The same, if it is stopped and started before anybody has seen the crash: no file tells otherwise."""
    mount.faults(f"SLOT_FREE delay {int(seconds(2) * 1000)} 1")
    assert mount.crash(running) == "OK"
    assert running.stop(os.O_NONBLOCK) == "OK"
    assert running.start(os.O_NONBLOCK) == "OK"
    with Watched(running.path("state")) as state:
        while (now := state.read()) != b"running\n":
            assert now in (b"stopping\n", b"starting\n")
            assert running.get("start") == b"1\n"
            names_are_frozen(running)
            state.changed()
    assert running.get("memory.effective") == b"67108864\n"


def test_start_stop_start_ends_running(slow):
    enclave = slow(1000)
    for value in (b"1\n", b"0\n", b"1\n", b"0\n", b"1\n"):
        assert put(enclave.path("start"), value, os.O_WRONLY | os.O_NONBLOCK) == "OK"
    assert enclave.reaches("running")
    assert enclave.get("start") == b"1\n"
    assert len(enclave.mount.slots()) == 1


# ---- While it is starting ----

@pytest.mark.parametrize("name,value", [("memory", b"128M"), ("vcpus", b"4"), ("cid", b"99"),
                                        ("debug", b"1"), ("image", OTHER)])
def test_change_while_starting_is_for_the_next_start(slow, name, value):
    enclave = slow()
    enclave.start(os.O_NONBLOCK)
    assert enclave.state == "starting"
    assert enclave.put(name, value) == "OK"
    assert enclave.get(name) == value
    assert enclave.get("pending") == name.encode() + b"\n"
    assert enclave.reaches("running")
    assert enclave.get("memory.effective") == b"67108864\n"
    assert enclave.get("pending") == name.encode() + b"\n"


@pytest.mark.parametrize("name", ["memory", "vcpus", "cid"])
def test_same_value_while_starting_succeeds(slow, name):
    enclave = slow()
    enclave.start(os.O_NONBLOCK)
    assert enclave.put(name, enclave.get(name)) == "OK"


def test_rmdir_and_unlink_while_starting_are_refused(slow):
    enclave = slow()
    enclave.start(os.O_NONBLOCK)
    assert outcome(os.rmdir, enclave.path()) == "EBUSY"
    assert outcome(os.unlink, enclave.path("memory")) == "EBUSY"
    assert outcome(os.unlink, enclave.path("state")) == "EBUSY"
    assert enclave.reaches("running")


def test_changes_while_stopping(mount, running):
    mount.faults("ENCLAVE_STOP delay 1000 1")
    running.stop(os.O_NONBLOCK)
    assert running.put("memory", b"128M") == "OK"
    assert running.get("pending") == b"memory\n"
    assert outcome(os.rmdir, running.path()) == "EBUSY"
    assert outcome(os.unlink, running.path("memory")) == "EBUSY"
    assert running.reaches("stopped")


def test_others_are_not_held_up(mount, slow):
    """Nothing a device does can stall another enclave."""
    enclave, other = slow(2000), mount.enclave()
    enclave.start(os.O_NONBLOCK)
    times = []
    for _ in range(50):
        took = (timed(other.put, "memory", b"64M")[1] + timed(other.get, "state")[1]
                + timed(os.listdir, enclave.path())[1])
        if enclave.state != "starting":
            break
        times.append(took)
    assert len(times) >= 3, "the device held them up, or the machine is too busy to tell"
    assert max(times) < seconds(0.5)


def test_rename_while_starting(slow):
    enclave = slow(1000)
    enclave.start(os.O_NONBLOCK)
    reader = Child(get, enclave.path("wait")).blocked("read")
    os.rename(enclave.path(), enclave.mount.path("renamed"))
    assert reader.result() == b"running\n"
    assert enclave.mount.get("renamed/state") == b"running\n"


# ---- The bound of 5 s ----

@pytest.fixture
def very_slow(mount, ready):
    mount.faults("SLOT_ALLOC delay 8000 1")
    return ready


@pytest.mark.long
def test_start_returns_after_five_seconds_and_goes_on(very_slow):
    with Watched(very_slow.path("state")) as state:
        result, took = timed(very_slow.start)
        assert result == "OK" and 4.5 <= took <= seconds(AT_MOST)
        assert very_slow.state == "starting"
        assert very_slow.get("start") == b"1\n"
        assert state.read() == b"starting\n"
        assert state.changed() == b"running\n"


@pytest.mark.long
def test_everybody_is_answered_within_six_seconds(very_slow):
    """While one start waits: a second writer of it, lookups in its directory, a stop."""
    def issued(call, *args):
        return timed(call, *args)

    def look():
        worst = 0
        end = time.monotonic() + 6
        number = 0
        while time.monotonic() < end:
            number += 1
            # A name that was never asked for, so that the lookup reaches the daemon.
            worst = max(worst, timed(os.path.exists, very_slow.path(f"none{number}"))[1],
                        timed(os.stat, very_slow.path("start"))[1],
                        timed(os.listdir, very_slow.path())[1])
            time.sleep(0.05)
        return worst

    first = Child(issued, start, very_slow).blocked("write")
    second = Child(issued, start, very_slow)
    lookup = Child(look)
    stop = Child(issued, very_slow.stop)
    result, took = first.result()
    assert result in ("OK", "ECANCELED") and took <= seconds(AT_MOST)
    result, took = second.result()
    assert result in ("OK", "ECANCELED") and took <= seconds(AT_MOST), f"second writer: {took}"
    result, took = stop.result()
    assert result == "OK" and took <= seconds(AT_MOST), f"stop: {took}"
    assert lookup.result() <= seconds(AT_MOST)


@pytest.mark.long
def test_rename_commit_of_a_slow_start_is_answered_in_time(very_slow):
    """The kernel holds the directory's lock meanwhile: everything in it waits, but not for long."""
    with open(very_slow.path("start.tmp"), "w") as file:
        file.write("1\n")
    renamer = Child(timed, outcome, os.rename, very_slow.path("start.tmp"),
                    very_slow.path("start")).blocked("rename")
    lookup = Child(timed, os.path.exists, very_slow.path("never-asked-for"))
    result, took = renamer.result()
    assert result == "OK" and took <= seconds(AT_MOST)
    found, took = lookup.result()
    assert not found and took <= seconds(AT_MOST)
    assert very_slow.reaches("running")


@pytest.mark.long
def test_stop_returns_after_five_seconds_and_goes_on(mount, running):
    mount.faults("ENCLAVE_STOP delay 8000 1")
    result, took = timed(running.stop)
    assert result == "OK" and took <= seconds(AT_MOST)
    assert running.state == "stopping"
    assert running.reaches("stopped")


@pytest.mark.sim
def test_dropped_reply_times_out(new_mount):
    """The driver gives up after 120 s (here 1 s); meanwhile everything else works."""
    mount = new_mount("sim_reply_timeout=1000")
    enclave = mount.enclave().ready()
    mount.faults("SLOT_ALLOC drop 1")
    starter = Child(start, enclave).blocked("write")
    other = mount.enclave()
    assert other.put("memory", b"64M") == "OK"
    assert starter.result() == "ETIMEDOUT"
    assert enclave.state == "failed"
    assert enclave.error.count(b"\n") == 1 and len(enclave.error) > 20
    mount.faults()
    assert mount.enclave().ready().start() == "OK"


def test_harness_sees_eintr():
    """The helper really reports EINTR: pause(2) in a pipe's read."""
    receiver, _sender = os.pipe()
    child = Child(interruptible, raw_read, receiver).blocked("read")
    child.signal(signal.SIGUSR1)
    assert child.result() == "EINTR"


def test_wait_is_decided_by_its_first_read(slow):
    """What a reader got is not continued by another wait: cat ends after the answer."""
    enclave = slow()
    fd = os.open(enclave.path("wait"), os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert os.read(fd, 100) == b"init\n\n\n\n"
        assert enclave.start(os.O_NONBLOCK) == "OK" and enclave.state == "starting"
        assert os.pread(fd, 100, 8) == b""
    finally:
        os.close(fd)
    enclave.reaches("running")


def test_crash_while_stopping_is_a_stop(mount, running):
    """Who asked for the end gets it, however it comes."""
    mount.faults("ENCLAVE_STOP delay 1000 1")
    assert running.stop(os.O_NONBLOCK) == "OK" and running.state == "stopping"
    mount.crash(running)
    assert running.reaches("stopped", "crashed") == "stopped"
    events = running.events()
    assert (events["stops"], events["crashes"]) == (1, 0)
