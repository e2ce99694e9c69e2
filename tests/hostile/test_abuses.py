# SPDX-License-Identifier: GPL-2.0-or-later
"""
While one user does his worst (abuses.py), another starts and stops an enclave, writes an image and reads a state, as
if nobody else were there; the daemon grows by no more than 64 MiB; and afterwards nothing is left.

How late a read is, its p99, is that of open(2), read(2) and close(2) at fixed times, a thousand a second, so that what
hangs for 20 ms is 20 late ones. It is compared with two others, and may be 5 times the worse of them:

* the same reader before and after the abuse: what is promised, on a machine that has CPUs to spare;
* a reader of a second nefs, which nobody abuses, at the same time: what the attacker's programs, which run here as well,
  and whatever else this machine does take from anybody.

Neither is taken for less than FLOOR, which is what one switch too many costs. Others make a measurement worse and
never better, so one that misses is done again. The table at the end has all figures, those with which it passed.
"""
import grp
import os
import shutil
import subprocess
import tempfile
import time

import abuses
import conftest
import images
import pytest
from abuses import ABUSES, GROUP, MIB, Attack
from eif_image import padded
from harness import Child, eventually, put, read_outcome, run
from nefs_mount import Mount

VICTIM = 20002
SECONDS = float(os.environ.get("NEFS_HOSTILE_SECONDS", "3"))
FACTOR = 5
FLOOR = 300  # microseconds
TRIES = 5
GROWTH = 64 * MIB
SPOOL = 256  # MiB
HEADER = (f"{'p50, p99 of a read':18} {'idle':>12} {'abused':>15} {'the other':>15} {'of idle':>7} {'grown by':>9} "
          f"{'longest start, stop, image of':>34}  what came of it")
conftest.TABLE.append(HEADER)


@pytest.fixture(scope="module")
def spool():
    """In memory, as by default, and of a size that can be filled."""
    path = tempfile.mkdtemp(prefix="nefs-spool-")
    assert run("mount", "-t", "tmpfs", "-o", f"size={SPOOL}M,mode=700", "none", path).returncode == 0
    yield path
    eventually(lambda: run("umount", path).returncode == 0, "unmounting the spool")
    os.rmdir(path)


class Pair:
    """The mount that is abused and the other one, with an enclave of the victim's in each."""

    def __init__(self, spool):
        self.mounts = []
        try:
            self.abused = self.mounted(f"spool={spool}")
            self.abused.spool = spool
            self.other = self.mounted()
            # The build may lie where only root can go.
            program = os.path.join(os.environ["NEFS_BUILD"], "tests/bench/reader")
            self.program = shutil.copy(program, os.path.join(self.other.top, "reader"))
            self.states = [mount.path("victim/state") for mount in self.mounts]
        except BaseException:
            self.end()
            raise

    def mounted(self, *options):
        mount = Mount(f"group={grp.getgrgid(GROUP).gr_name}", "sim_memory=20G", *options)
        self.mounts.append(mount)
        Child(prepare, mount, uid=VICTIM, groups=[GROUP]).result()
        return mount

    def end(self):
        try:
            for mount in self.mounts:
                mount.clear()
                mount.unmount()
        finally:
            for mount in self.mounts:
                mount.discard()
                mount.delete()

    def read(self, seconds, meanwhile=lambda: None):
        """[(reads, p50, p99, longest)], in microseconds, of the victim's states for so long, and what meanwhile gave."""
        with subprocess.Popen([self.program, "--open", "1000", *self.states], text=True, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, user=VICTIM, group=VICTIM, extra_groups=[]) as reader:
            try:
                assert reader.stdout.readline() == "ready\n"
                end = time.monotonic() + seconds
                result = meanwhile()
                time.sleep(max(0, end - time.monotonic()))
                text, _ = reader.communicate()
            finally:
                reader.kill()
        assert reader.returncode == 0
        return [tuple(map(float, line.split())) for line in text.splitlines()], result


@pytest.fixture(scope="module")
def pair(spool):
    pair = Pair(spool)
    yield pair
    pair.end()


IMAGE = padded(MIB // 4)


def prepare(mount):
    """The victim's: one to be started, and one whose image has much to tell."""
    mount.enclave("victim").ready(IMAGE)
    mount.enclave("library").ready(images.wordy(abuses.BIG_INFO))


def use(path, until):
    """What the victim wants of his enclave, four times a second: {operation: its longest seconds}."""
    longest = dict.fromkeys(("start", "stop", "write"), 0.0)
    lives = 0

    def do(what, call, *args):
        begin = time.monotonic()
        result = call(*args)
        longest[what] = max(longest[what], time.monotonic() - begin)
        return result

    def write(data):
        result = put(f"{path}/image", data)
        assert result == "OK", f"image: {result}: {read_outcome(path + '/error')}"

    def switch(value, state):
        result = put(f"{path}/start", value)
        assert result == "OK", f"start: {result}: {read_outcome(path + '/error')}"
        got = read_outcome(f"{path}/wait")
        assert got.strip() == state, f"{got}: {read_outcome(path + '/error')}"
    while lives == 0 or time.monotonic() < until:
        due = time.monotonic() + 0.25
        do("write", write, IMAGE)
        do("start", switch, b"1", b"running")
        do("stop", switch, b"0", b"stopped")
        lives += 1
        time.sleep(max(0, due - time.monotonic()))
    return lives, longest


def peak(mount):
    """Bytes of the daemon's memory, at most since forget_peak()."""
    with open(f"/proc/{mount.process.pid}/status", encoding="ascii") as status:
        line, = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def forget_peak(mount):
    with open(f"/proc/{mount.process.pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def measure(pair, abuse, processes):
    """The figures of one try."""
    mount = pair.abused
    (before, _), _ = pair.read(SECONDS / 3)
    resident = mount.resident()
    forget_peak(mount)
    attack = Attack(abuse, mount.root, mount.path("library"), processes)
    try:
        (ours, others), (lives, longest) = pair.read(SECONDS, lambda: Child(
            use, mount.path("victim"), time.monotonic() + SECONDS, uid=VICTIM, groups=[GROUP]).result(50))
    finally:
        counts = attack.end()
    grown = peak(mount) - resident
    mount.clear("victim", "library")
    (after, _), _ = pair.read(SECONDS / 3)
    return {"idle": [(before[i] + after[i]) / 2 for i in (1, 2)], "ours": ours[1:3], "others": others[1:3],
            "grown": grown, "lives": lives, "longest": longest, "counts": counts}


def row(name, found):
    longest = ", ".join(f"{1000 * found['longest'][what]:.0f}" for what in ("start", "stop", "write"))
    counts = ", ".join(f"{count} x {what}" for what, count in sorted(found["counts"].items()))
    times = " ".join("{:5.0f}, {:5.0f} us".format(*found[whose]) for whose in ("idle", "ours", "others"))
    return (f"{name:15} {times} {found['ours'][1] / found['idle'][1]:6.1f}x {found['grown'] / MIB:5.1f} MiB "
            f"{longest + ' ms of ' + str(found['lives']):>34}  {counts}")


@pytest.mark.sim
@pytest.mark.limit(120 + 12 * SECONDS * TRIES)
@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: abuse.__name__)
def test_others_go_on(pair, abuse):
    sanitized = pair.abused.sanitized()
    for _ in range(TRIES):
        found = measure(pair, abuse, ABUSES[abuse])
        late = found["ours"][1] > FACTOR * max(found["idle"][1], found["others"][1], FLOOR)
        # A sanitizer's memory and its time are not nefs's.
        if sanitized or not (late or found["grown"] > GROWTH):
            break
    conftest.TABLE.append(row(abuse.__name__, found))
    assert found["lives"] > 0
    if not sanitized:
        assert found["grown"] <= GROWTH, conftest.TABLE[-1]
        assert not late, conftest.TABLE[-1]


@pytest.mark.sim
def test_nothing_is_left_of_it(pair):
    """Files and room are as in the other daemon, where nothing happened."""
    eventually(lambda: pair.abused.fds() <= pair.other.fds(), "the daemon has closed what was the attacker's")
    free = os.statvfs(pair.abused.spool)
    assert (free.f_blocks - free.f_bfree) * free.f_bsize <= MIB
