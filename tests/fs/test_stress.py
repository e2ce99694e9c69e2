# SPDX-License-Identifier: GPL-2.0-or-later
"""Many at once: nothing torn, nothing lost, nothing hanging, nothing left."""
import errno
import os
import threading
import time

import pytest
from eif_image import SMALL, build, padded
from harness import Child, eventually, get, outcome, put, read_outcome, seconds
from nefs_mount import SETTABLE, is_sim
from watching import Watched, poll_change

WIDE = ("sim_cpus=512", "sim_memory=64G")


# ---- Races ----

def hammer(path, values, until):
    """Writes the values in turn; the outcomes seen."""
    seen = set()
    while time.monotonic() < until:
        for value in values:
            seen.add(put(path, value))
    return seen


def test_two_writers_of_one_value(enclave):
    """A reader sees the one or the other, never a mixture."""
    long, short = b"64M".rjust(3000) + b"\n", b"128M\n"
    enclave.set("memory", short)
    until = time.monotonic() + 1
    writers = [Child(hammer, enclave.path("memory"), [value], until) for value in (long, short)]
    seen = set()
    while time.monotonic() < until:
        seen.add(enclave.get("memory"))
    assert seen <= {long, short}
    assert [writer.result() for writer in writers] == [{"OK"}, {"OK"}]


def test_two_image_writers(enclave):
    """Each image is one of the two or a part of one; a start never takes a mixture as valid."""
    images = [padded(300000), build(ramdisks=(b"x" * 200000,))]
    until = time.monotonic() + 1
    writers = [Child(hammer, enclave.path("image"), [image], until) for image in images]
    outcomes = [writer.result() for writer in writers]
    assert all(seen <= {"OK", "EINVAL"} for seen in outcomes)
    enclave.ready(image=None, memory=b"128M")
    assert enclave.put("image", images[0]) == "OK"
    assert enclave.start() == "OK", enclave.error


def test_writer_against_starter(ready):
    """Every start runs with one of the two figures, whatever is staged meanwhile."""
    until = time.monotonic() + 2
    writer = Child(hammer, ready.path("memory"), [b"64M\n", b"128M\n"], until)
    while time.monotonic() < until:
        if ready.start() != "OK":
            continue
        ready.reaches("running")
        assert ready.get("memory.effective") in (b"67108864\n", b"134217728\n")
        ready.stop()
        ready.settle()
    assert writer.result() <= {"OK", "EBUSY"}


def test_starters_and_stoppers(ready):
    until = time.monotonic() + 2
    children = [Child(hammer, ready.path("start"), [value], until)
                for value in (b"1\n", b"0\n", b"1\n", b"0\n")]
    for child in children:
        assert child.result() <= {"OK", "ECANCELED"}
    state = ready.settle()
    assert state in ("running", "stopped")
    assert ready.get("start") == (b"1\n" if state == "running" else b"0\n")
    counters = ready.events()
    assert counters["crashes"] == 0
    assert counters["starts"] - counters["stops"] in ((1,) if state == "running" else (0,))


def removal(path, until):
    """mkdir and rmdir in turn; the outcomes seen."""
    seen = set()
    while time.monotonic() < until:
        seen.add("mkdir " + outcome(os.mkdir, path))
        seen.add("rmdir " + outcome(os.rmdir, path))
    return seen


def user(path, until):
    """Uses an enclave that comes and goes."""
    seen = set()
    while time.monotonic() < until:
        for file, value in (("memory", b"64M"), ("vcpus", b"2"), ("image", SMALL),
                            ("start", b"1"), ("start", b"0")):
            seen.add(put(f"{path}/{file}", value))
        for file in ("state", "wait", "error", "events"):
            content = read_outcome(f"{path}/{file}")
            seen.add(content if isinstance(content, str) else "OK")
    return seen


def test_rmdir_during_start(mount):
    path = mount.path("web")
    until = time.monotonic() + 3
    remover = Child(removal, path, until)
    users = [Child(user, path, until) for _ in range(2)]
    assert remover.result() <= {"mkdir OK", "mkdir EEXIST", "rmdir OK", "rmdir EBUSY"}
    for child in users:
        # ESTALE: as for the readers below.
        assert child.result() <= {"OK", "ENOENT", "ENODEV", "EINVAL", "EBUSY", "ECANCELED", "ESTALE"}
    assert mount.alive()


def test_readers_across_rmdir(mount):
    path = mount.path("web")
    until = time.monotonic() + 2
    remover = Child(removal, path, until)

    def read():
        seen = set()
        while time.monotonic() < until:
            for file in ("state", "memory", "journal", "measurements"):
                try:
                    fd = os.open(f"{path}/{file}", os.O_RDONLY | os.O_NONBLOCK)
                except OSError as error:
                    seen.add(error.errno)
                    continue
                try:
                    os.read(fd, 4096)
                except OSError as error:
                    seen.add(error.errno)
                finally:
                    os.close(fd)
        return seen
    readers = [Child(read) for _ in range(3)]
    remover.result()
    for reader in readers:
        # ESTALE: the name stood for another file twice within one open(2).
        assert reader.result() <= {errno.ENOENT, errno.ENODEV, errno.EAGAIN, errno.ESTALE}
    assert mount.alive()


def test_pollers_across_rmdir(mount):
    path = mount.path("web")
    until = time.monotonic() + 2
    remover = Child(removal, path, until)

    def poll():
        while time.monotonic() < until:
            try:
                with Watched(f"{path}/state") as state:
                    poll_change(state.fd, 0.05)
            except OSError:
                pass
        return "alive"
    pollers = [Child(poll) for _ in range(4)]
    remover.result()
    assert {poller.result() for poller in pollers} == {"alive"}
    assert mount.alive()


def test_the_end_while_dead_names_are_dropped(new_mount):
    """
    fsync of a directory holds its lock for as long as the answer takes; who has the kernel drop the
    names of a removed directory waits for that lock, and keeps /dev/fuse open meanwhile. A daemon that
    stops answering before that is over never ends.
    """
    def sync(fd):
        for _ in range(300):
            os.fsync(fd)

    def cycles(root, number):
        for n in range(1000):
            path = f"{root}/e{number}.{n}"
            os.mkdir(path)
            fds = [os.open(f"{path}/{file}", os.O_RDONLY) for file in ("", *SETTABLE, "state")]
            pid = os.fork()
            if pid == 0:
                try:
                    sync(fds[0])
                finally:
                    os._exit(0)
            os.rmdir(path)
            sync(fds[0])
            for fd in fds:
                os.close(fd)
            os.waitpid(pid, 0)
    for _ in range(4):
        mount = new_mount()
        children = [Child(cycles, mount.root, number) for number in range(6)]
        assert not children[0].ended(1)
        mount.process.terminate()
        assert mount.wait_exit() == 0, mount.said()
        # Each learns that the connection is gone, and ends.
        assert all(child.ended(seconds(10)) for child in children)
        mount.discard()


def test_renames_against_users(mount, enclave):
    there, back = enclave.path(), mount.path("other")
    until = time.monotonic() + 2

    def rename():
        while time.monotonic() < until:
            os.rename(there, back)
            os.rename(back, there)
        return "done"
    renamer = Child(rename)
    seen = user(there, until)
    assert renamer.result() == "done"
    assert seen <= {"OK", "ENOENT", "EINVAL", "EBUSY", "ECANCELED"}
    enclave.settle()


def test_commits_race(enclave):
    """Two tools at the same file by staging: each commit is whole."""
    until = time.monotonic() + 1.5

    def commit(value):
        seen = set()
        name = enclave.path(f"tmp{os.getpid()}")
        while time.monotonic() < until:
            put(name, value, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            seen.add(outcome(os.rename, name, enclave.path("memory")))
        return seen
    children = [Child(commit, value) for value in (b"64M\n", b"128M\n")]
    while time.monotonic() < until:
        assert enclave.get("memory") in (b"", b"64M\n", b"128M\n")
    assert [child.result() for child in children] == [{"OK"}, {"OK"}]


@pytest.mark.device
def test_unlink_against_writers(enclave):
    until = time.monotonic() + 1.5
    path = enclave.path("memory")

    def unlink():
        seen = set()
        while time.monotonic() < until:
            seen.add(outcome(os.unlink, path))
            seen.add(put(path, b"64M", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        return seen
    children = [Child(unlink) for _ in range(2)] + [Child(hammer, path, [b"128M"], until)]
    for child in children:
        # ESTALE: the name stood for another file twice within one open(2).
        assert child.result() <= {"OK", "ENOENT", "EEXIST", "ENODEV", "ESTALE"}
    if not os.path.exists(path):
        assert put(path, b"", os.O_WRONLY | os.O_CREAT) == "OK"
    enclave.set("memory", b"64M")


# ---- 200 parallel starts and a reader ----

def sample(path, stop, report):
    """Opens, reads and closes until told to stop; sends the 99th percentile, in seconds."""
    took = []
    while not stop.is_set() or len(took) < 1000:
        begin = time.perf_counter()
        fd = os.open(path, os.O_RDONLY)
        os.read(fd, 100)
        os.close(fd)
        took.append(time.perf_counter() - begin)
        time.sleep(0.0005)
    took.sort()
    report.append((took[len(took) * 99 // 100], len(took)))


def p99s_while(paths, work):
    """The readers, one a path, are processes of their own and read while `work` is being done."""
    receiver, sender = os.pipe()

    def reader(path):
        os.close(sender)
        os.set_blocking(receiver, False)

        class Stop:
            """Told by the end of the pipe."""
            def is_set(self):
                try:
                    return os.read(receiver, 1) == b""
                except BlockingIOError:
                    return False
        report = []
        sample(path, Stop(), report)
        return report[0]
    children = [Child(reader, path) for path in paths]
    os.close(receiver)
    try:
        work()
    finally:
        os.close(sender)
    return [child.result(60) for child in children]


def start_all(enclaves):
    """A thread each, all at the same time."""
    barrier = threading.Barrier(len(enclaves))
    results = []

    def start(enclave):
        barrier.wait()
        results.append(enclave.start())
    threads = [threading.Thread(target=start, args=(enclave,)) for enclave in enclaves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) == {"OK"}, set(results)
    for enclave in enclaves:
        enclave.reaches("running", bound=30)


def stop_all(enclaves):
    for enclave in enclaves:
        enclave.stop(os.O_NONBLOCK)
    for enclave in enclaves:
        enclave.reaches("stopped", bound=30)


@pytest.mark.sim
@pytest.mark.long
@pytest.mark.limit(180)
@pytest.mark.parametrize("fault", [None, "SLOT_ALLOC delay 20"], ids=["fast", "slow-device"])
def test_200_parallel_starts_do_not_hold_up_a_reader(new_mount, fault):
    """
    Its p99 stays within twice the idle figure: that of a reader of an idle nefs, at the same time, so
    that both have the same neighbours on the machine. The best of several rounds counts. A sanitizer
    makes the starts' own work on the loop dearer by its factor.
    """
    bound = seconds(2)
    mount = new_mount(*WIDE)
    enclaves = [mount.enclave().ready() for _ in range(200)]
    paths = [mount.enclave().path("state"), new_mount().enclave().path("state")]
    if fault:
        mount.faults(fault)
    rounds = []
    for _ in range(12):
        (busy, count), (idle, _) = p99s_while(paths, lambda: start_all(enclaves))
        assert count > 100
        stop_all(enclaves)
        rounds.append((busy / idle, idle, busy))
        if rounds[-1][0] <= bound:
            break
    print(f"p99 ratio {min(rounds)[0]:.2f}", [f"{i * 1e6:.0f}->{b * 1e6:.0f} us"
                                              for _, i, b in rounds])
    assert min(rounds)[0] <= bound, rounds


@pytest.mark.sim
@pytest.mark.long
def test_200_enclaves_are_all_different(new_mount):
    mount = new_mount(*WIDE)
    enclaves = [mount.enclave().ready() for _ in range(200)]
    start_all(enclaves)
    for name in ("cid.effective", "slot", "cpus.effective"):
        assert len({enclave.get(name) for enclave in enclaves}) == 200
    assert len(mount.slots()) == 200
    assert mount.events()["starts"] == 200
    for enclave in enclaves:
        assert mount.crash(enclave) == "OK"
    for enclave in enclaves:
        enclave.reaches("crashed")
    # The crash is told first; what the enclaves held is given back behind it.
    eventually(lambda: mount.slots() == [], "all slots are given back")
    assert mount.events()["crashes"] == 200


# ---- Nothing leaks ----

@pytest.mark.device
@pytest.mark.long
@pytest.mark.limit(180)
def test_cycles_leave_nothing(new_mount):
    """create, start, crash, remove. A virtual machine without hardware's help has time for fewer."""
    mount = new_mount()
    rounds = 1000 if is_sim() else 250

    def cycle(number):
        enclave = mount.enclave(f"cycle-{number}")
        enclave.ready()

        def starts():
            result = enclave.start()
            # The CPUs of those that crashed before may still be on their way back.
            assert result in ("OK", "EBUSY"), enclave.error
            return result == "OK"
        eventually(starts, "the device has CPUs for it")
        assert mount.crash(enclave) == "OK"
        enclave.reaches("crashed")
        if number % 10 == 0:
            enclave.get("measurements")
            enclave.put("staged", b"x", os.O_WRONLY | os.O_CREAT)
        os.rmdir(enclave.path())

    # Until all that is kept for a while has been there once.
    for number in range(rounds // 5 if mount.sanitized() else rounds):
        cycle(number)
    fds, resident, spool = mount.fds(), mount.resident(), mount.spooled()
    for number in range(rounds):
        cycle(number)
    eventually(lambda: mount.slots() == [], "all slots are given back")
    assert mount.spooled() == spool == []
    eventually(lambda: mount.fds() <= fds, "all fds are closed")
    if not mount.sanitized():
        assert mount.resident() - resident < 3 << 20


@pytest.mark.device
def test_failed_starts_leave_nothing(new_mount):
    mount = new_mount()
    enclave = mount.enclave().ready()
    bad = mount.enclave().ready(image=SMALL[:-1])

    def cycle():
        mount.faults("SLOT_ADD_MEM fail 5 1")
        assert enclave.start() == "EIO"
        assert bad.start() == "EINVAL"
    for _ in range(20):
        cycle()
    fds, spool = mount.fds(), mount.spooled()
    for _ in range(100):
        cycle()
    assert mount.spooled() == spool
    eventually(lambda: mount.fds() <= fds and mount.slots() == [], "fds and slots are given back")


def test_measuring_leaves_nothing(mount, enclave):
    for _ in range(5):
        enclave.set("image", SMALL)
        get(enclave.path("measurements"))
    fds, spool = mount.fds(), mount.spooled()
    for _ in range(100):
        enclave.set("image", SMALL)
        get(enclave.path("measurements"))
        get(enclave.path("image_info"))
    assert mount.fds() <= fds + 1
    assert len(mount.spooled()) == len(spool)
