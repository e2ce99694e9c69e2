# SPDX-License-Identifier: GPL-2.0-or-later
"""
No memory: whichever allocation fails, in nefs or in a library, whoever asked gets an errno, nothing ends, nothing
hangs, and with memory again everything is as if it had not happened.
"""
import errno
import os
import select
import signal
import time

import pytest
from eif_image import SMALL, padded
from harness import Child, eventually, get, outcome, put, raw_read, seconds
from short_memory import ShortMount

pytestmark = [pytest.mark.sim, pytest.mark.allocator, pytest.mark.preload]


@pytest.fixture(scope="module")
def short():
    with ShortMount() as mount:
        yield mount
        assert mount.alive(), mount.said()[-2000:]


@pytest.fixture
def e(short):
    enclave = short.enclave()
    yield enclave
    short.memory.end()
    assert short.alive(), short.said()[-2000:]
    short.clear()


def outcome_of(call):
    """"OK" or the errno's name, also for what reports it as a word."""
    try:
        result = call()
    except OSError as error:
        return errno.errorcode[error.errno]
    return result if isinstance(result, str) else "OK"


def sweep(short, call, check, settle=lambda: None):
    """
    Does it as often as there are allocations in it, each time with another one failing. check() gets the
    outcome, and makes things as they were before. settle() waits for what goes on behind the call.
    """
    seen = set()
    for nth in range(1000):
        short.memory.fail(nth)
        result = outcome_of(call)
        settle()
        failed = short.memory.end()
        assert short.alive(), f"{call}: allocation {nth}: {short.said()[-2000:]}"
        seen.add(result)
        check(result)
        if not failed:
            return seen
    raise AssertionError("there is no end of allocations")


def quiet(short):
    """Waits until nefs does nothing any more that allocates."""
    calls = -1
    while calls != short.memory.calls:
        calls = short.memory.calls
        time.sleep(0.005)


# ---- One allocation after the other ----

def test_mkdir_and_rmdir(short):
    path = short.path("made")

    def made(result):
        assert os.path.isdir(path) == (result == "OK")
        if result == "OK":
            os.rmdir(path)
    assert sweep(short, lambda: os.mkdir(path), made) == {"OK", "ENOMEM"}
    os.mkdir(path)

    def removed(result):
        assert os.path.isdir(path) == (result != "OK")
        if result == "OK":
            os.mkdir(path)
    assert sweep(short, lambda: os.rmdir(path), removed) == {"OK", "ENOMEM"}
    os.rmdir(path)


@pytest.mark.parametrize("file,old,new", [
    ("memory", b"64M\n", b"128M\n"), ("cpus", b"", b"2-3\n"), ("debug", b"0\n", b"1\n")])
def test_a_value(short, e, file, old, new):
    if old:
        e.set(file, old)

    def check(result):
        assert e.get(file) == (new if result == "OK" else old)
        e.set(file, old or b"\n")
        if not old:
            os.unlink(e.path(file))
            assert e.put(file, b"", os.O_WRONLY | os.O_CREAT) == "OK"
    assert sweep(short, lambda: e.put(file, new), check) == {"OK", "ENOMEM"}


def test_a_refusal_stays_one(short, e):
    e.set("cpus", b"2-3")

    def check(result):
        assert result in ("EINVAL", "ENOMEM")
        assert e.get("cpus") == b"2-3"
    sweep(short, lambda: e.put("cpus", b"x"), check)
    assert e.put("cpus", b"x") == "EINVAL" and b"cpu-list" in e.error


def test_an_image(short, e):
    """The old one or the new one, and what is told of it is never nothing."""
    other = padded(100000)
    e.set("image", SMALL)
    told = {image: e.set("image", image) or (e.get("measurements"), e.get("image_info"))
            for image in (other, SMALL)}

    def check(result):
        image = e.get("image")
        assert image == (other if result == "OK" else SMALL)
        assert (e.get("measurements"), e.get("image_info")) == told[image]
        e.set("image", SMALL)
        e.get("measurements")
    assert sweep(short, lambda: e.put("image", other), check, lambda: quiet(short)) == {"OK", "ENOMEM"}


def test_reading(short, e):
    e.ready()
    short.enclave()
    e.start()
    e.reaches("running")
    os.stat(e.path("measurements"))
    for path in [e.path(file) for file in e.listing() if file != "image"] + [
            short.path("journal"), short.path("events"), short.path("sim/slots")]:
        right = get(path)
        sweep(short, lambda: get(path).decode(), lambda result: None)
        for nth in range(100):
            short.memory.fail(nth)
            try:
                assert get(path) == right, path
            except OSError as error:
                assert error.errno == errno.ENOMEM, path
            if not short.memory.end():
                break
    sweep(short, lambda: os.listdir(e.path()), lambda result: None)
    sweep(short, lambda: os.stat(e.path("image")), lambda result: None)


def test_start(short, e):
    """Refused, and then it holds nothing; or begun, and then it runs or has failed with a reason."""
    e.ready()

    def check(result):
        state = e.settle()
        assert result in ("OK", "ENOMEM", "EIO"), result
        if result == "OK":
            assert state == "running" or (state == "failed" and e.error), (state, e.error)
        if state != "running":
            eventually(lambda: short.slots() == [], "nothing is held")
        assert e.stop() == "OK"
        e.settle()
        eventually(lambda: short.slots() == [], "all is given back")
    fds = short.fds()
    assert {"OK", "ENOMEM"} <= sweep(short, e.start, check, lambda: quiet(short))
    eventually(lambda: short.fds() <= fds, "all fds are closed")
    assert e.start() == "OK"
    e.reaches("running")


def test_stop(short, e):
    """Once it was asked for nothing can hold it up."""
    e.running()

    def check(result):
        assert e.settle() == ("stopped" if result == "OK" else "running")
        eventually(lambda: len(short.slots()) == (0 if result == "OK" else 1), "the slot is freed")
        if result == "OK":
            assert e.start() == "OK", e.error
            e.reaches("running")
    assert sweep(short, e.stop, check, lambda: quiet(short)) == {"OK", "ENOMEM"}


def test_crash(short, e):
    """The news gets through."""
    e.running()
    crashes = e.events()["crashes"]

    def check(result):
        nonlocal crashes
        if result == "OK":
            crashes += 1
            assert e.reaches("crashed")
            assert e.start() == "OK", e.error
            e.reaches("running")
        assert e.events()["crashes"] == crashes
        assert e.state == "running"
    result = sweep(short, lambda: short.crash(e), check, lambda: quiet(short))
    assert result == {"OK", "ENOMEM"}


def test_staging(short, e):
    e.set("memory", b"64M\n")
    path = e.path(".t")
    create = os.O_WRONLY | os.O_CREAT | os.O_EXCL

    def staged(result):
        # open(2) and write(2): the first may have done its part.
        if os.path.exists(path):
            assert result == "ENOMEM" or get(path) == b"128M\n"
            os.unlink(path)
    fds = short.fds()
    assert sweep(short, lambda: put(path, b"128M\n", create), staged) == {"OK", "ENOMEM"}
    eventually(lambda: short.fds() <= fds, "all fds are closed")

    def committed(result):
        assert e.get("memory") == (b"128M\n" if result == "OK" else b"64M\n")
        assert os.path.exists(path) == (result != "OK")
        e.set("memory", b"64M\n")
        if result == "OK":
            assert put(path, b"128M\n", create) == "OK"
    assert put(path, b"128M\n", create) == "OK"
    assert sweep(short, lambda: os.rename(path, e.path("memory")), committed) == {"OK", "ENOMEM"}


def test_renaming(short, e):
    """What had the new name is there until something else has it."""
    old, new = e.path(".old"), e.path(".new")
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

    def check(result):
        assert get(new) == (b"1" if result == "OK" else b"2")
        put(old, b"1", create)
        put(new, b"2", create)
    check(put(old, b"1", create) and put(new, b"2", create) and "ENOMEM")
    assert sweep(short, lambda: os.rename(old, new), check) == {"OK", "ENOMEM"}

    def backed_up(result):
        assert get(new) == (b"64M\n" if result == "OK" else b"2")
        assert os.path.exists(e.path("memory")) == (result != "OK")
        if result == "OK":
            os.rename(new, e.path("memory"))
        assert e.get("memory") == b"64M\n"
        put(new, b"2", create)
    e.set("memory", b"64M\n")
    assert sweep(short, lambda: os.rename(e.path("memory"), new), backed_up) == {"OK", "ENOMEM"}
    os.unlink(new)
    os.unlink(old)


def test_renaming_an_enclave(short, e):
    there, elsewhere = e.path(), short.path("elsewhere")

    def check(result):
        assert os.path.isdir(elsewhere) == (result == "OK")
        assert os.path.isdir(there) == (result != "OK")
        if result == "OK":
            os.rename(elsewhere, there)
    assert sweep(short, lambda: os.rename(there, elsewhere), check) == {"OK", "ENOMEM"}


# ---- What must be done whatever it takes ----

def test_a_close_is_never_lost(short, e):
    """RELEASE: nobody hears what came of it, and nobody repeats it."""
    fds = short.fds()

    def check(result):
        eventually(lambda: short.fds() <= fds, "the file is closed")
    for _ in range(5):
        fd = os.open(e.path(".t"), os.O_RDWR | os.O_CREAT)
        os.write(fd, b"x" * 10000)
        os.unlink(e.path(".t"))
        assert short.fds() > fds
        short.memory.one_in(2, seed=7)
        os.close(fd)
        check("OK")
        short.memory.end()


def test_an_interrupt_is_never_lost(short, e):
    def follow():
        fd = os.open(e.path("journal.follow"), os.O_RDONLY)
        os.read(fd, 65536)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        return raw_read(fd)
    for nth in range(3):
        child = Child(follow).blocked("read")
        short.memory.fail(nth)
        child.signal(signal.SIGUSR1)
        assert child.result() == "EINTR"
        short.memory.end()


def test_a_watcher_by_poll_is_woken(short, e):
    e.ready()
    with open(e.path("state"), "rb", buffering=0) as file:
        file.read()
        poll = select.poll()
        poll.register(file, select.POLLPRI)
        assert not poll.poll(0)
        for nth in range(30):
            assert e.start() == "OK", e.error
            e.reaches("running")
            file.seek(0)
            file.read()
            poll.poll(0)
            short.memory.fail(nth)
            result = short.crash(e)
            quiet(short)
            short.memory.end()
            if result == "OK":
                e.reaches("crashed")
                assert poll.poll(seconds(10) * 1000)
            e.stop()
            e.settle()


# ---- One in N, under load ----

def use(mount, number, until):
    """What a thread does with an enclave of its own, and with one that all have; errnos it saw."""
    seen = set()

    def note(result):
        seen.add(result if isinstance(result, str) else "OK")
    name = f"own{number}"
    own, common = mount.path(name), mount.path("common")
    create = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    while time.monotonic() < until:
        note(outcome(os.mkdir, own))
        for directory in (own, common):
            for file, value in (("memory", b"64M"), ("vcpus", b"2"), ("cpus", b"y"), ("image", SMALL),
                                ("start", b"1"), (f".t{number}", b"128M")):
                note(put(f"{directory}/{file}", value, create))
            note(outcome(os.rename, f"{directory}/.t{number}", f"{directory}/memory"))
            note(outcome(os.rename, f"{directory}/vcpus", f"{directory}/.v{number}"))
            note(outcome(os.rename, f"{directory}/.v{number}", f"{directory}/vcpus"))
            for file in ("state", "journal", "measurements", "image_info", "error", "wait", "slot"):
                note(outcome(get, f"{directory}/{file}"))
            note(outcome(os.listdir, directory))
            if number % 2:
                note(put(mount.path("sim/crash"), os.path.basename(directory).encode()))
            note(put(f"{directory}/start", b"0"))
        note(outcome(get, mount.path("journal")))
        note(outcome(os.rename, own, own + "x"))
        note(outcome(os.rename, own + "x", own))
        note(outcome(os.rmdir, own))
    return seen


def load(mount, period, duration, seed):
    """Eight at once while one of so many allocations fails; what remains is all removable."""
    os.mkdir(mount.path("common"))
    fds = mount.fds()
    until = time.monotonic() + duration
    mount.memory.one_in(period, seed)
    children = [Child(use, mount, number, until) for number in range(8)]
    seen = set().union(*(child.result(duration + 60) for child in children))
    mount.memory.end()
    assert mount.alive(), mount.said()[-2000:]
    assert seen <= {"OK", "ENOMEM", "EINVAL", "EBUSY", "ENOENT", "EEXIST", "ENODEV", "ECANCELED", "EIO", "ESRCH",
                    "ESTALE", "EPERM"}, seen
    mount.clear()
    eventually(lambda: mount.slots() == [], "all slots are given back")
    eventually(lambda: mount.fds() <= fds, f"all fds are closed, {mount.fds()} of {fds}")
    counters = mount.events()
    # One that is stopped while it boots has not been counted as started.
    assert counters["starts"] <= counters["stops"] + counters["crashes"], counters
    after = mount.enclave().running()
    assert after.get("measurements").startswith(b"PCR0 ")
    mount.clear()


def test_load(short):
    for seed, period in enumerate((1000, 100, 20)):
        load(short, period, 1.5, seed)


@pytest.mark.long
@pytest.mark.limit(400)
def test_load_for_long():
    mount = ShortMount()
    try:
        for seed in range(10):
            for period in (1000, 100, 20, 5):
                load(mount, period, 5, seed)
        mount.unmount()
    finally:
        mount.discard()
        mount.delete()
