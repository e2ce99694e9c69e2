# SPDX-License-Identifier: GPL-2.0-or-later
"""The console: what a debug enclave prints, as a stream while it runs. As files: test_text.py, test_guest.py."""
import os
import select
import signal

import pytest
from harness import Child, outcome, raw_read, read_outcome, seconds
from watching import poll_now

IN = select.POLLIN


@pytest.fixture
def debug(enclave):
    """A running enclave whose console is followed."""
    return enclave.running(debug=b"1")


@pytest.fixture
def follow():
    """Opens consoles that are closed behind the test."""
    fds = []

    def make(enclave, flags=os.O_NONBLOCK):
        fds.append(os.open(enclave.path("console.follow"), os.O_RDONLY | flags))
        return fds[-1]
    yield make
    for fd in fds:
        os.close(fd)


def drain(fd):
    """Reads what there is now: all output of so far, and the word for why there is no more."""
    text = b""
    while isinstance(part := raw_read(fd), bytes) and part:
        text += part
    return text, part or "EOF"


def read_to_the_end(path):
    """In a child: sleeps until EOF or an error; which."""
    fd = os.open(path, os.O_RDONLY)
    while isinstance(part := raw_read(fd), bytes) and part:
        pass
    return part or "EOF"


def read_past_signals(path):
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.siginterrupt(signal.SIGUSR1, True)
    return read_to_the_end(path)


# ---- at rest ----

def test_there_is_none_before_the_first_start(enclave):
    assert enclave.get("console") == b""
    assert os.stat(enclave.path("console")).st_size == 0


def test_without_debug_there_is_none(running):
    assert running.get("console") == b""


def test_a_follower_may_come_before_the_first_start(enclave):
    """It has all of the boot then, and ends with the enclave."""
    reader = Child(read_to_the_end, enclave.path("console.follow")).blocked("read")
    enclave.running(debug=b"1")
    assert not reader.ended()
    assert enclave.stop() == "OK"
    assert reader.result() == "EOF"


def test_a_first_start_that_fails_ends_it(enclave):
    reader = Child(read_to_the_end, enclave.path("console.follow")).blocked("read")
    assert enclave.start() == "EINVAL"
    assert reader.result() == "EOF"


@pytest.mark.parametrize("debug", [b"0", b"1"])
def test_the_file_is_always_at_its_end(enclave, debug):
    assert enclave.get("console") == b""
    enclave.running(debug=debug)
    assert enclave.get("console") == b""


def test_without_debug_it_is_always_at_its_end(running, follow):
    fd = follow(running)
    assert drain(fd) == (b"", "EOF")
    assert poll_now(fd) & IN, "EOF is something to read, as on a pipe"


def test_it_takes_no_write(debug):
    assert debug.put("console", b"x") != "OK"


# ---- while it runs ----

def test_nothing_yet_would_block(debug, follow):
    fd = follow(debug)
    assert drain(fd)[1] == "EAGAIN"
    assert poll_now(fd) & (IN | select.POLLERR) == 0


@pytest.mark.parametrize("end", ["stop", pytest.param("crash", marks=pytest.mark.device)])
def test_the_end_of_the_enclave_is_the_end_of_the_file(debug, follow, end):
    reader = Child(read_to_the_end, debug.path("console.follow")).blocked("read")
    fd = follow(debug)
    assert drain(fd)[1] == "EAGAIN"
    getattr(debug, end)()
    assert reader.result() == "EOF"
    assert drain(fd)[1] == "EOF"


def test_the_end_wakes_a_poller(debug, follow):
    fd = follow(debug)
    drain(fd)
    poller = select.poll()
    poller.register(fd, IN)
    sleeper = Child(poller.poll, seconds(20) * 1000).blocked("poll")
    assert debug.stop() == "OK"
    (_, revents), = sleeper.result()
    assert revents & IN


def test_the_next_start_is_followed_on(debug, follow):
    fd = follow(debug)
    assert debug.stop() == "OK"
    debug.reaches("stopped")
    assert drain(fd)[1] == "EOF"
    assert debug.start() == "OK"
    debug.reaches("running")
    assert drain(fd)[1] == "EAGAIN"


def test_rmdir_ends_an_open_one(debug, follow):
    fd = follow(debug)
    assert debug.stop() == "OK"
    debug.reaches("stopped")
    os.rmdir(debug.path())
    assert raw_read(fd) == "ENODEV"
    assert outcome(os.open, debug.path("console.follow"), os.O_RDONLY) == "ENOENT"


def test_a_signal_interrupts_a_reader(debug):
    reader = Child(read_past_signals, debug.path("console.follow")).blocked("read")
    reader.signal(signal.SIGUSR1)
    assert reader.result() == "EINTR"


def test_sigkill_ends_a_reader_at_once(debug):
    reader = Child(read_to_the_end, debug.path("console.follow")).blocked("read")
    reader.signal(signal.SIGKILL)
    assert reader.ended(seconds(2))
    assert debug.state == "running"


def test_debug_turned_on_while_running_is_for_the_next_start(running):
    assert running.put("debug", b"1") == "OK"
    assert read_outcome(running.path("console")) == b""
