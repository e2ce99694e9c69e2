# SPDX-License-Identifier: GPL-2.0-or-later
"""poll, select, epoll and inotify: what kernfs does (docs/facts/fuse.md §1)."""
import os
import select
import signal
import subprocess

import pytest
from harness import Child, eventually, fd_outcome, outcome, put, run, seconds
from nefs_mount import SIM_FILES, flat_keyed, is_sim
from watching import CHANGED, USABLE, Inotify, Watched, poll_change, poll_now

POLLABLE = ["events", "state", "error", "memory.effective", "cpus.effective", "cid.effective",
            "slot"]
# What a crash changes: all but `error`, which it may fill as well.
CHANGED_BY_CRASH = [name for name in POLLABLE if name != "error"]
PLAIN = ["memory", "vcpus", "cpus", "image", "cid", "debug", "boot_timeout", "start", "wait",
         "measurements", "image_info"]


# ---- the mask ----

@pytest.mark.parametrize("name", POLLABLE)
def test_poll_before_the_first_read_fires(enclave, name):
    fd = os.open(enclave.path(name), os.O_RDONLY)
    try:
        assert poll_now(fd) & (CHANGED | USABLE) == CHANGED | USABLE
        assert poll_now(fd) & CHANGED == CHANGED, "only a read may take it back"
        os.read(fd, 4096)
        assert poll_now(fd) & (CHANGED | USABLE) == USABLE
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["events", "error"])
def test_poll_in_the_root_before_the_first_read_fires(mount, name):
    fd = os.open(mount.path(name), os.O_RDONLY)
    try:
        assert poll_now(fd) & (CHANGED | USABLE) == CHANGED | USABLE
        os.read(fd, 4096)
        assert poll_now(fd) & (CHANGED | USABLE) == USABLE
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", PLAIN)
def test_other_files_answer_the_default_mask(running, name):
    fd = os.open(running.path(name), os.O_RDONLY)
    try:
        assert poll_now(fd) & (CHANGED | USABLE) == USABLE
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["version", "backend"])
def test_other_root_files_answer_the_default_mask(mount, name):
    fd = os.open(mount.path(name), os.O_RDONLY)
    try:
        assert poll_now(fd) & (CHANGED | USABLE) == USABLE
    finally:
        os.close(fd)


@pytest.mark.sim
@pytest.mark.parametrize("name", sorted(SIM_FILES))
def test_sim_files_answer_the_default_mask(mount, name):
    fd = os.open(mount.path("sim", name), os.O_WRONLY if name == "crash" else os.O_RDONLY)
    try:
        assert poll_now(fd) & (CHANGED | USABLE) == USABLE
    finally:
        os.close(fd)


def test_a_staged_file_answers_the_default_mask(enclave):
    with open(enclave.path("staged"), "wb") as file:
        assert poll_now(file.fileno()) & (CHANGED | USABLE) == USABLE


def test_default_masks_do_not_turn_poll_off(running):
    """ENOSYS to one POLL would turn it off for the whole mount: others still fire."""
    test_other_files_answer_the_default_mask(running, "memory")
    with Watched(running.path("state")) as state:
        assert running.stop() == "OK"
        assert state.changed() in (b"stopping\n", b"stopped\n")


# ---- a change fires once ----

@pytest.mark.device
@pytest.mark.parametrize("name", CHANGED_BY_CRASH)
def test_a_crash_fires_once(mount, running, name):
    with Watched(running.path(name)) as file:
        assert file.quiet()
        running.crash()
        assert poll_change(file.fd) & CHANGED == CHANGED
        assert poll_now(file.fd) & (CHANGED | USABLE) == CHANGED | USABLE, "until it is read"
        # What is left of the old life may change the file once more, then it is quiet.
        eventually(lambda: file.read() and file.quiet(), "it is quiet after a read")
        assert poll_now(file.fd, 0.2) & CHANGED == 0


@pytest.mark.parametrize("name", ["state", "events"])
def test_a_stop_fires(running, name):
    with Watched(running.path(name)) as file:
        before = file.read()
        assert running.stop() == "OK"
        assert file.changed() != before


def test_no_change_no_event(mount, running):
    other = mount.enclave().ready()
    with Watched(running.path("state")) as state, Watched(running.path("events")) as events:
        assert other.start() == "OK"
        assert running.put("memory", b"64M\n") == "OK"
        assert running.get("state") == b"running\n"
        assert state.quiet() and events.quiet()


def test_an_event_between_read_and_poll_is_not_lost(ready):
    with Watched(ready.path("state")) as state:
        assert ready.start() == "OK"
        assert poll_now(state.fd) & CHANGED == CHANGED


def test_error_fires_when_it_changes(enclave):
    with Watched(enclave.path("error")) as error:
        assert enclave.put("memory", b"nonsense") == "EINVAL"
        assert b"memory" in error.changed()
        assert enclave.put("memory", b"64M") == "OK"
        assert error.changed() == b""
        assert enclave.put("memory", b"64M") == "OK"
        assert error.quiet(), "it was empty before and is"


@pytest.mark.parametrize("name", CHANGED_BY_CRASH)
def test_a_start_fires(ready, name):
    with Watched(ready.path(name)) as file:
        before = file.read()
        assert ready.start() == "OK"
        ready.reaches("running")
        assert file.changed() != before


def test_two_pollers_have_a_place_each(enclave):
    with Watched(enclave.path("error")) as one, Watched(enclave.path("error")) as two:
        enclave.put("memory", b"nonsense")
        assert poll_change(one.fd) and poll_change(two.fd)
        one.read()
        assert one.quiet() and not two.quiet()
        two.read()
        assert two.quiet()


def test_a_write_on_the_same_fd_is_no_read(running):
    """Only reading acknowledges; stat and poll do not."""
    with Watched(running.path("state")) as state:
        running.stop()
        running.reaches("stopped")
        os.fstat(state.fd)
        poll_now(state.fd)
        assert poll_now(state.fd) & CHANGED == CHANGED
        assert state.read() == b"stopped\n"


# ---- the root's files ----

def test_root_events_fire(mount, enclave):
    with Watched(mount.path("events")) as events:
        before = flat_keyed(events.read())
        assert enclave.start() == "EINVAL"
        assert flat_keyed(events.changed())["failures"] == before["failures"] + 1


def test_root_error_fires(mount):
    with Watched(mount.path("error")) as error:
        assert outcome(os.mkdir, mount.path("-no")) == "EINVAL"
        assert error.changed().count(b"\n") == 1
        assert not error.read().startswith(b"\n")


# ---- other ways to wait ----

def test_select_reports_a_change_in_the_except_set(running):
    with Watched(running.path("state")) as state:
        assert select.select([], [], [state.fd], 0)[2] == []
        assert running.stop() == "OK"
        assert select.select([], [], [state.fd], seconds(10))[2] == [state.fd]


@pytest.mark.parametrize("edge", [0, select.EPOLLET], ids=["level", "edge"])
def test_epoll(running, edge):
    with Watched(running.path("events")) as events, select.epoll() as epoll:
        epoll.register(events.fd, select.EPOLLPRI | edge)
        epoll.poll(0)  # an edge-triggered EPOLLERR of the registration itself
        before = flat_keyed(events.read())
        assert running.stop() == "OK"
        (fd, got), = epoll.poll(seconds(10))
        assert fd == events.fd and got & CHANGED == CHANGED
        assert flat_keyed(events.read())["stops"] == before["stops"] + 1


# ---- sleepers ----

def sleep_in_poll(path):
    """In a child: what a poll without end for a change gives, and what is there then."""
    with Watched(path) as file:
        return poll_change(file.fd, 60), fd_outcome(file.fd)


def test_a_sleeper_is_woken(running):
    child = Child(sleep_in_poll, running.path("state")).blocked("poll")
    assert running.stop() == "OK"
    revents, content = child.result()
    assert revents & CHANGED == CHANGED and content in (b"stopping\n", b"stopped\n")


def test_many_sleepers_are_woken(running):
    children = [Child(sleep_in_poll, running.path("events")).blocked("poll") for _ in range(20)]
    assert running.stop() == "OK"
    for child in children:
        revents, content = child.result()
        assert revents & CHANGED == CHANGED and b"stops 1\n" in content


@pytest.mark.parametrize("name", POLLABLE)
def test_rmdir_wakes(enclave, name):
    child = Child(sleep_in_poll, enclave.path(name)).blocked("poll")
    os.rmdir(enclave.path())
    revents, content = child.result()
    assert revents & CHANGED == CHANGED and content == "ENODEV"


def test_sigkill_ends_a_sleeper_at_once(enclave):
    child = Child(sleep_in_poll, enclave.path("state")).blocked("poll")
    child.signal(signal.SIGKILL)
    assert child.ended(seconds(2))
    assert put(enclave.path("memory"), b"64M") == "OK"


def poll_until_signal(path):
    def handler(*_):
        raise InterruptedError(4, "by the signal")
    signal.signal(signal.SIGUSR1, handler)
    with Watched(path) as file:
        return outcome(poll_change, file.fd, 60)


def test_a_signal_interrupts_a_sleeper(enclave):
    child = Child(poll_until_signal, enclave.path("state")).blocked("poll")
    child.signal(signal.SIGUSR1)
    assert child.result() == "EINTR"


# ---- inotify ----

def watches(process):
    """Has this inotifywait come as far as to watch something?"""
    fdinfo = f"/proc/{process.pid}/fdinfo"
    for fd in os.listdir(fdinfo):
        try:
            with open(os.path.join(fdinfo, fd)) as file:
                if "inotify wd" in file.read():
                    return True
        except FileNotFoundError:
            continue  # it had a library open when the directory was listed
    return False


def inotifywait(path):
    """The command of inotify-tools, as a script uses it; it watches."""
    for _ in range(5):
        waiter = subprocess.Popen(["inotifywait", "-qq", "-t", "20", "-e", "modify", path])
        eventually(lambda: waiter.poll() is not None or watches(waiter), "inotifywait watches")
        if waiter.poll() is None:
            return waiter
        assert waiter.returncode == 0  # word of an earlier change had still been on its way
    return pytest.fail("inotifywait sees changes all the time")


def test_inotifywait(running):
    with inotifywait(running.path("state")) as waiter:
        assert running.stop() == "OK"
        assert waiter.wait(seconds(15)) == 0


@pytest.mark.device
@pytest.mark.parametrize("name", CHANGED_BY_CRASH)
def test_inotify_of_a_crash(mount, running, name):
    with Inotify(running.path(name), running.path()) as watch:
        running.crash()
        watch.wait(running.path(name))
        watch.wait(running.path(), name)


def test_inotify_of_root_events(mount, enclave):
    with Inotify(mount.path("events"), mount.root) as watch:
        assert enclave.start() == "EINVAL"
        watch.wait(mount.path("events"))
        watch.wait(mount.root, "events")


def test_inotify_of_error(enclave):
    with Inotify(enclave.path("error"), enclave.path()) as watch:
        assert enclave.put("memory", b"nonsense") == "EINVAL"
        watch.wait(enclave.path("error"))
        watch.wait(enclave.path(), "error")


def test_inotify_leaves_others_alone(mount, running):
    other = mount.enclave()
    with Inotify(other.path("state"), running.path("state")) as watch:
        running.stop()
        watch.wait(running.path("state"))
        assert (other.path("state"), "") not in watch.seen


def test_the_content_is_new_when_inotify_tells(running):
    """State first, notification second: who reads on the event never sees the old text."""
    with Inotify(running.path("events")) as watch:
        assert running.stop() == "OK"
        watch.wait(running.path("events"))
        assert running.events()["stops"] == 1


def test_the_notifier_does_not_acknowledge_for_pollers(running):
    with Watched(running.path("state")) as state, Inotify(running.path("state")) as watch:
        running.stop()
        watch.wait(running.path("state"))
        assert poll_now(state.fd) & CHANGED == CHANGED


# ---- what must not get lost, nor do harm ----

def wait_for_change(path):
    """In a child: sleeps for one change; its content, and whether it is quiet after that."""
    with Watched(path) as file:
        return file.changed(), file.quiet()


def test_a_failed_start_wakes(enclave):
    child = Child(wait_for_change, enclave.path("state")).blocked("poll")
    assert enclave.start() == "EINVAL"
    assert child.result() == (b"failed\n", True)


@pytest.mark.device
def test_no_wake_up_is_lost_in_a_hundred_crashes(mount, running):
    with Watched(running.path("events")) as events:
        for number in range(1, 101):
            assert mount.crash(running) == "OK"
            while flat_keyed(events.read())["crashes"] < number:
                events.changed()
            assert running.start() == "OK"
            running.reaches("running")


def test_two_sleepers_share_one_open(running):
    """A poll handle belongs to the open, which a fork shares."""
    with Watched(running.path("state")) as state:
        children = [Child(poll_change, state.fd).blocked("poll") for _ in range(2)]
        assert running.stop() == "OK"
        assert all(child.result() & CHANGED == CHANGED for child in children)


def test_sleepers_that_are_gone_do_no_harm(mount, running):
    for _ in range(5):
        Child(sleep_in_poll, running.path("state")).blocked("poll").kill()
    assert running.stop() == "OK"
    assert running.reaches("stopped")
    assert mount.alive()


def test_poll_begun_after_rmdir(enclave):
    with Watched(enclave.path("state")) as state:
        os.rmdir(enclave.path())
        assert poll_now(state.fd) & select.POLLERR


def test_poll_and_inotify_across_a_rename(mount, running):
    path = running.path("events")
    with Watched(path) as events, Inotify(path) as watch:
        os.rename(running.path(), mount.path("renamed"))
        running.name = "renamed"
        assert running.stop() == "OK"
        assert b"stops 1\n" in events.changed()
        watch.wait(path)


def test_inotify_of_a_directory_by_inotifywait(running):
    """A script that watches the whole directory."""
    command = ["inotifywait", "-m", "-e", "modify", "--format", "%f", running.path()]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        try:
            while b"established" not in process.stderr.readline():
                assert process.poll() is None
            assert running.stop() == "OK"
            seen = b""
            while b"events\n" not in seen or b"state\n" not in seen:
                assert select.select([process.stdout], [], [], seconds(10))[0], seen
                seen += os.read(process.stdout.fileno(), 4096)
        finally:
            process.kill()


def test_the_notifier_changes_nothing(running):
    """Its touch of a file is neither a write to it nor a success that clears `error`."""
    assert running.put("memory", b"nonsense") == "EINVAL"
    before = running.error
    with Inotify(running.path("error")) as watch:
        assert running.put("vcpus", b"nonsense") in ("EINVAL", "EBUSY")
        watch.wait(running.path("error"))
        assert running.error not in (before, b"")


def test_changes_do_not_keep_a_mount_from_ending(new_mount):
    """The notifier uses the mount itself; umount comes right after what it is telling of."""
    for _ in range(5):
        mount = new_mount()
        enclave = mount.enclave().running()
        with Inotify(enclave.path("state")):
            assert enclave.stop() == "OK"
        mount.unmount()


def test_no_file_of_others_is_touched(new_mount, tmp_path):
    """After a lazy umount the paths lead elsewhere: to what a user has put there, who owns the mount point, say."""
    mount = new_mount()
    enclave = mount.enclave("web").ready(debug=b"1")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with Watched(enclave.path("events")) as events, open(enclave.path("start"), "wb", buffering=0) as start, \
            open(mount.path("sim/crash") if is_sim() else os.devnull, "wb", buffering=0) as crash, \
            Inotify(enclave.path("events")) as watch:
        # It has its copy of the mount, and uses it.
        start.write(b"1")
        watch.wait(enclave.path("events"))
        names = os.listdir(enclave.path())
        assert run("umount", "-l", mount.root).returncode == 0
        os.symlink(theirs, mount.path("web"))
        for name in names:
            (theirs / name).touch()
            os.utime(theirs / name, (1, 1))
        before = sorted(os.listdir(theirs))
        for value in (b"0", b"1") * 20:
            start.write(value)
            assert events.changed()
        if is_sim():
            crash.write(b"web")
            assert events.changed()
    # What the notifier has to do is done before its daemon ends, or not at all.
    assert mount.wait_exit() == 0, mount.said()
    assert sorted(os.listdir(theirs)) == before
    assert {os.stat(theirs / name).st_mtime for name in before} == {1}
    os.unlink(mount.path("web"))
    mount.discard()
