# SPDX-License-Identifier: GPL-2.0-or-later
"""The journal, the root's and an enclave's, as the stream that `journal.follow` is. As a file: test_text.py."""
import os
import select
import signal
import stat

import pytest
from harness import Child, outcome, raw_read, run, seconds
from nefs_mount import STREAMS, journal_now, records
from watching import poll_now

FILE = 2048  # records of the root's journal


@pytest.fixture
def follow():
    """Opens streams that are closed behind the test."""
    fds = []

    def make(path, flags=os.O_NONBLOCK):
        fds.append(os.open(path, os.O_RDONLY | flags))
        return fds[-1]
    yield make
    for fd in fds:
        os.close(fd)


def drain(fd, size=65536):
    """What there is now."""
    data = b""
    while poll_now(fd) & select.POLLIN:
        data += os.read(fd, size)
    return records(data)


def events(found):
    return [record["event"] for record in found]


def test_empty_journal_would_block(mount, follow):
    fd = follow(mount.path("journal.follow"))
    drain(fd)
    assert outcome(os.read, fd, 4096) == "EAGAIN"


def test_follows(mount, follow):
    fd = follow(mount.path("journal.follow"))
    drain(fd)
    enclave = mount.enclave()
    assert events(drain(fd)) == ["created"]
    os.rmdir(enclave.path())
    assert events(drain(fd)) == ["removed"]
    assert drain(fd) == []


def test_begins_with_the_oldest(mount, follow):
    mount.enclave("one")
    mount.enclave("two")
    found = drain(follow(mount.path("journal.follow")))
    assert [record["enclave"] for record in found][-2:] == ["one", "two"]
    assert [record["seq"] for record in found] == sorted({record["seq"] for record in found})


def test_each_open_reads_for_itself(mount, follow):
    mount.enclave()
    first, second = follow(mount.path("journal.follow")), follow(mount.path("journal.follow"))
    assert drain(first) == drain(second) != []


def test_enclave_journal_has_only_its_own(mount, follow):
    first, second = mount.enclave(), mount.enclave()
    fd = follow(first.path("journal.follow"))
    second.start()
    first.start()
    found = drain(fd)
    assert {record["enclave"] for record in found} == {first.name}
    assert (events(found)[0], events(found)[-1]) == ("created", "failed")


def test_it_is_a_part_of_the_roots(mount, enclave):
    enclave.running()
    everything = journal_now(mount.path("journal"))
    mine = journal_now(enclave.path("journal"))
    assert mine == [record for record in everything
                    if record["enclave"] == enclave.name and record["seq"] >= mine[0]["seq"]]


def test_history_stays_after_a_rename(mount, enclave):
    enclave.running()
    os.rename(enclave.path(), mount.path("new"))
    enclave.name = "new"
    enclave.stop()
    enclave.settle()
    assert events(enclave.journal()) == ["created", "starting", "running", "renamed", "stopping",
                                         "stopped"]


def test_follower_across_a_rename(mount, enclave, follow):
    fd = follow(enclave.path("journal.follow"))
    drain(fd)
    os.rename(enclave.path(), mount.path("new"))
    assert events(drain(fd)) == ["renamed"]


def test_history_of_a_removed_name_is_not_the_new_ones(mount):
    os.rmdir(mount.enclave("web").path())
    assert events(mount.enclave("web").journal()) == ["created"]


def test_whole_records(mount, follow):
    """A read gives as many whole records as fit."""
    for _ in range(20):
        mount.enclave()
    longest = 512  # more than any record of these has
    fd = follow(mount.path("journal.follow"))
    while True:
        try:
            part = os.read(fd, longest)
        except BlockingIOError:
            break
        assert part.endswith(b"\n") and part.startswith(b"{")
        records(part)


def test_offset_does_not_matter(mount, follow):
    fd = follow(mount.path("journal.follow"))
    drain(fd)
    enclave = mount.enclave()
    os.rmdir(enclave.path())
    assert events(drain(fd)) == ["created", "removed"]


# ---- Blocking ----

def read_next(path):
    """Reads what is there, says so, and sleeps for what comes next."""
    fd = os.open(path, os.O_RDONLY)
    drain(fd)
    return raw_read(fd)


@pytest.mark.parametrize("where", ["root", "enclave"])
def test_blocked_reader_gets_the_next_record(mount, enclave, where):
    path = (mount if where == "root" else enclave).path("journal.follow")
    reader = Child(read_next, path).blocked("read")
    enclave.start()
    assert records(reader.result())[0]["enclave"] == enclave.name


def test_many_blocked_readers(mount):
    readers = [Child(read_next, mount.path("journal.follow")) for _ in range(10)]
    for reader in readers:
        reader.blocked("read")
    mount.enclave()
    assert all(events(records(reader.result())) == ["created"] for reader in readers)


def interruptible(path):
    signal.signal(signal.SIGUSR1, lambda *_: None)
    return read_next(path)


def test_blocked_reader_is_interrupted(mount):
    reader = Child(interruptible, mount.path("journal.follow")).blocked("read")
    reader.signal(signal.SIGUSR1)
    assert reader.result(2) == "EINTR"


def test_interrupted_reader_loses_nothing(enclave):
    told, tell = os.pipe()

    def read_twice(path):
        signal.signal(signal.SIGUSR1, lambda *_: None)
        fd = os.open(path, os.O_RDONLY)
        drain(fd)
        first = raw_read(fd)
        os.write(tell, b"once")
        return first, raw_read(fd)
    reader = Child(read_twice, enclave.path("journal.follow")).blocked("read")
    reader.signal(signal.SIGUSR1)
    assert os.read(told, 100) == b"once"
    enclave.start()
    first, second = reader.result()
    assert first == "EINTR"
    assert events(records(second))[0] in ("starting", "failed")
    os.close(told)
    os.close(tell)


def test_blocked_reader_dies_at_once_on_sigkill(mount):
    reader = Child(read_next, mount.path("journal.follow")).blocked("read")
    reader.signal(signal.SIGKILL)
    assert reader.ended(seconds(1))
    mount.enclave()
    assert mount.alive()


def test_rmdir_wakes_a_blocked_reader(enclave):
    reader = Child(read_next, enclave.path("journal.follow")).blocked("read")
    os.rmdir(enclave.path())
    assert reader.result() == "ENODEV"


def test_the_removal_is_in_the_roots_journal(mount, enclave, follow):
    fd = follow(mount.path("journal.follow"))
    drain(fd)
    os.rmdir(enclave.path())
    assert [(record["event"], record["enclave"]) for record in drain(fd)] == [
        ("removed", enclave.name)]


# ---- poll ----

def test_poll_says_when_there_is_something(mount, follow):
    fd = follow(mount.path("journal.follow"))
    drain(fd)
    assert poll_now(fd) & select.POLLIN == 0
    mount.enclave()
    assert poll_now(fd) & select.POLLIN
    drain(fd)
    assert poll_now(fd) & select.POLLIN == 0


def sleep_in_poll(path):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    drain(fd)
    ready = select.select([fd], [], [], seconds(10))[0]
    return events(drain(fd)) if ready else "nothing"


@pytest.mark.parametrize("where", ["root", "enclave"])
def test_sleeping_poller(mount, enclave, where):
    path = (mount if where == "root" else enclave).path("journal.follow")
    poller = Child(sleep_in_poll, path).blocked("poll")
    enclave.start()
    assert "nothing" != poller.result()[-1] in ("failed", "starting")


def test_others_do_not_wake_an_enclaves_poller(mount, enclave, follow):
    fd = follow(enclave.path("journal.follow"))
    drain(fd)
    mount.enclave().start()
    assert poll_now(fd) & select.POLLIN == 0


def test_rmdir_wakes_a_poller(enclave):
    def poller(path):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        drain(fd)
        return poll_now(fd, seconds(10)), outcome(os.read, fd, 4096)
    child = Child(poller, enclave.path("journal.follow")).blocked("poll")
    os.rmdir(enclave.path())
    revents, after = child.result()
    assert revents & (select.POLLERR | select.POLLHUP | select.POLLIN)
    assert after == "ENODEV"


# ---- Falling behind ----

def churn(mount, count):
    """That many records in the root's journal."""
    path = mount.path("churn")
    for _ in range(count // 2):
        os.mkdir(path)
        os.rmdir(path)


def test_falling_behind(mount, follow):
    """journal.1 and journal are what there is to follow."""
    fd = follow(mount.path("journal.follow"))
    drain(fd)
    mount.enclave("lost")
    churn(mount, 2 * FILE + 100)
    assert outcome(os.read, fd, 65536) == "EPIPE"
    found = drain(fd)
    assert FILE < len(found) <= 2 * FILE
    numbers = [record["seq"] for record in found]
    assert numbers == list(range(numbers[0], numbers[0] + len(found)))
    assert "lost" not in {record["enclave"] for record in found}
    assert found == journal_now(mount.path("journal"))
    assert outcome(os.read, fd, 65536) == "EAGAIN"


def test_not_quite_behind(mount, follow):
    fd = follow(mount.path("journal.follow"))
    drain(fd)
    churn(mount, FILE - 10)
    assert len(drain(fd)) == FILE - 10


def test_behind_after_having_read_a_part(mount, follow):
    churn(mount, 100)
    fd = follow(mount.path("journal.follow"))
    os.read(fd, 2000)
    churn(mount, 2 * FILE + 100)
    assert outcome(os.read, fd, 65536) == "EPIPE"
    assert drain(fd) == journal_now(mount.path("journal"))


def test_a_fresh_open_is_never_behind(mount, follow):
    churn(mount, 2 * FILE + 100)
    assert len(drain(follow(mount.path("journal.follow")))) > FILE


def test_poll_of_one_that_is_behind(mount, follow):
    fd = follow(mount.path("journal.follow"))
    drain(fd)
    churn(mount, 2 * FILE + 100)
    assert poll_now(fd) & (select.POLLIN | select.POLLERR)


def test_a_flood_of_others_pushes_nothing_out_of_an_enclaves(mount, enclave, follow):
    fd = follow(enclave.path("journal.follow"))
    churn(mount, 2 * FILE + 100)
    assert enclave.name not in {record["enclave"] for record in journal_now(mount.path("journal"))}
    assert events(enclave.journal()) == ["created"]
    enclave.start()
    assert [event for event in events(drain(fd)) if event != "refused"] == ["created", "failed"]


def test_follower_of_a_shell(enclave):
    """The stream as a shell uses it: sleeps until the line comes, and ends."""
    child = Child(lambda: run("grep", "-m1", "failed", enclave.path("journal.follow")).stdout)
    enclave.start()
    assert f'"{enclave.name}"' in child.result()


# ---- whom it is for ----

@pytest.mark.parametrize("stream", sorted(STREAMS))
def test_streams_are_found_and_not_listed(enclave, stream):
    assert stream not in enclave.listing()
    status = os.stat(enclave.path(stream))
    assert stat.S_IMODE(status.st_mode) == STREAMS[stream]
    # Not 0: BusyBox's cat, which begins with sendfile(2), would be at the end at once.
    assert status.st_size == 1


def test_the_roots_stream_is_not_listed(mount):
    assert "journal.follow" not in os.listdir(mount.root)
    assert stat.S_IMODE(os.stat(mount.path("journal.follow")).st_mode) == 0o440


@pytest.mark.parametrize("file", ["journal", "console"])
def test_a_stream_is_for_whom_its_file_is_for(enclave, file):
    os.stat(enclave.path(file + ".follow"))
    os.chown(enclave.path(file), 1234, 5678)
    os.chmod(enclave.path(file), 0o640)
    status = os.stat(enclave.path(file + ".follow"))
    assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (1234, 5678, 0o640)


def test_a_stream_cannot_be_sought(mount, follow):
    assert outcome(os.lseek, follow(mount.path("journal.follow")), 0, os.SEEK_SET) == "ESPIPE"
