# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be measured, each on daemons of its own, nefs and its anchor in turn or at the same time."""
import mmap
import os
import subprocess
import threading
import time

import rig as rigs
from rig import MIB, Bare, Lxcfs, Nefs, get, put, timed, until


def targets(nefs, bare):
    return [f"nefs={nefs.root}=web/state=web/memory", f"bare={bare.root}=web/state=web/memory"]


def ratios(rig, rounds):
    """{operation: (ours, bare, ratio)}, all on one CPU."""
    cpu = rig.cpus[0]
    with Bare(rig, cpu) as bare, Nefs(rig, cpu=cpu) as nefs:
        nefs.make("web", image=None)
        text = rig.run("operations", "-m", rounds, *targets(nefs, bare), cpu=cpu)
    rows = [line.rsplit(" ", 3) for line in text.splitlines()]
    return {name: tuple(map(float, figures)) for name, *figures in rows}


def others(rig):
    """The other filesystems of the table, as operations wants them."""
    found = [f"tmpfs={rig.work}/tmpfs=memory=memory",
             "sysfs=/sys/kernel/mm/hugepages/hugepages-2048kB=nr_hugepages=-"]
    for path in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        if os.access(path + "/cgroup.procs", os.W_OK):
            found.append(f"cgroup2={path}=cgroup.controllers=+")
    return found


def operations_table(rig, rounds, server_cpu, client_cpu, percentiles="50,99"):
    """The table of all operations on all filesystems; the CPUs may be None, for wherever it runs."""
    with Bare(rig, server_cpu) as bare, Nefs(rig, cpu=server_cpu) as nefs:
        nefs.make("web", image=None)
        found, lxcfs = targets(nefs, bare) + others(rig), None
        try:
            lxcfs = Lxcfs(rig, server_cpu)
            found.append(f"lxcfs={lxcfs.root}=proc/uptime=-")
        except (subprocess.CalledProcessError, AssertionError, ValueError) as error:
            print(f"(no lxcfs here: {error})")
        text = rig.run("operations", "-p", percentiles, rounds, *found, cpu=client_cpu)
        if lxcfs:
            lxcfs.end()
    return text


def image_write(rig, mebibytes, block, rounds):
    """(ours, tmpfs's, ratio) in GB/s; the spool is on the very tmpfs that it is compared with."""
    with Nefs(rig) as nefs:
        path = nefs.make("bulk", image=None)
        text = rig.run("bulk", block, rounds, rig.image(mebibytes), path + "/image",
                       rig.work + "/tmpfs/copy")
    return tuple(map(float, text.split()))


class Reader:
    """tests/bench/reader: files that are read at fixed times, with or without something going on."""

    def __init__(self, rig, *paths, period=1000):
        self.process = subprocess.Popen(
            [rig.program("tests/bench/reader"), str(period), *paths], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=rigs.end_with_us)
        assert self.process.stdout.readline() == "ready\n"

    def results(self):
        """A (reads, p50, p99, longest) of each, in microseconds."""
        text, _ = self.process.communicate()
        assert self.process.returncode == 0
        return [tuple(map(float, line.split())) for line in text.splitlines()]


def copy(source, target):
    """In writes of 1 MiB, as cp does it: from a buffer that begins on a page, else they are split."""
    with open(source, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            with memoryview(data) as view:
                for offset in range(0, len(data), MIB):
                    with view[offset:offset + MIB] as part:
                        os.write(fd, part)
        finally:
            os.close(fd)


def have_memory(rig, mebibytes):
    """So much memory is free at once: a host gives it when it is first used, and takes its time."""
    path = rig.work + "/tmpfs/ballast"
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, mebibytes * MIB)
    os.unlink(path)


def stall(rig, mebibytes):
    """
    {phase: (ours, idle)} of another enclave's reader beside an image that is written, rewritten and
    removed in both ways; idle is a reader of a second nefs, that has nothing to do, at the same time.
    """
    found = {}
    source = rig.image(mebibytes)
    with Nefs(rig) as nefs, Nefs(rig, "idle") as idle:
        paths = [server.make("other", image=None) + "/state" for server in (nefs, idle)]

        def beside(phase, function, *arguments):
            reader = Reader(rig, *paths)
            begin = time.monotonic()
            function(*arguments)
            # What is given up may be given up a little later; and a p99 needs its hundreds.
            time.sleep(max(0.25, 0.6 - (time.monotonic() - begin)))
            found[phase] = reader.results()
        path = nefs.make("bulk", image=None)
        have_memory(rig, 2 * mebibytes + 256)
        beside("written", copy, source, path + "/image")
        beside("rewritten", copy, source, path + "/image")
        beside("unlinked", os.unlink, path + "/image")
        copy(source, path + "/image")
        beside("removed", os.rmdir, path)
    return found


def lives(nefs, count, crashes=4):
    """Enclaves that are made, run and are removed, one after another; each `crashes`th one crashes."""
    for i in range(count):
        path = nefs.running(f"life-{i}")
        if i % crashes == 0:
            put(nefs.path("sim/crash"), f"life-{i}".encode())
            nefs.reaches(path, b"crashed\n")
        else:
            put(path + "/start", b"0")
            nefs.reaches(path, b"stopped\n")
        # What is not given back yet keeps its directory.
        until(lambda: not removing_fails(path), f"{path} can be removed")


def removing_fails(path):
    try:
        os.rmdir(path)
    except OSError as error:
        return error
    return None


def rest(nefs, enclaves, seconds, calm=11):
    """
    How often nefs wakes in so many seconds with so many enclaves running, once its workers have gone,
    which wait for more work for a while. (wake-ups, threads).
    """
    for i in range(enclaves):
        nefs.running(f"rest-{i}")
    threads, since, end = nefs.threads(), time.monotonic(), time.monotonic() + 60
    while time.monotonic() < min(since + calm, end):
        time.sleep(0.5)
        if nefs.threads() != threads:
            threads, since = nefs.threads(), time.monotonic()
    before = nefs.wake_ups()
    time.sleep(seconds)
    return nefs.wake_ups() - before, len(threads)


def growth_and_rest(rig, before, first, last, enclaves, seconds):
    """
    ((memory after the first lives, after the last), (wake-ups, threads)): the daemon's own memory in
    bytes, and rest() of another daemon at the same time. The lives before fill the journal, which keeps
    2,048 records of the hundreds of bytes that theirs have, and are not counted. Nothing is mounted or unmounted meanwhile: each
    nefs looks at every such change, for it may be its own.
    """
    memory, failures = [], []

    def live(nefs):
        try:
            lives(nefs, before)
            for count in (first, last - first):
                lives(nefs, count)
                memory.append(nefs.smaps("Anonymous"))
        except (OSError, AssertionError) as error:
            failures.append(error)
    with Nefs(rig, "growing") as growing, Nefs(rig, "resting", enclaves) as resting:
        thread = threading.Thread(target=live, args=(growing,))
        thread.start()
        found = rest(resting, enclaves, seconds)
        thread.join()
    assert not failures, failures
    return tuple(memory), found


def start_times(rig, memory, mebibytes, rounds):
    """(start, stop): lists of seconds, of an enclave with so much memory and an image of so many MiB."""
    with Nefs(rig, enclaves=1024) as nefs:
        path = nefs.make("web", image=rigs.SMALL if not mebibytes else None, memory=memory)
        if mebibytes:
            copy(rig.image(mebibytes), path + "/image")
        starts, stops = [], []

        def start():
            put(path + "/start", b"1")
            nefs.reaches(path, b"running\n")

        def stop():
            put(path + "/start", b"0")
            nefs.reaches(path, b"stopped\n")
        for _ in range(rounds):
            starts.append(timed(start))
            stops.append(timed(stop))
        return starts, stops


def measurements_time(rig, mebibytes):
    """Seconds from the end of a write to `measurements`, and of a second read."""
    with Nefs(rig) as nefs:
        path = nefs.make("web", image=None)
        copy(rig.image(mebibytes), path + "/image")

        def read():
            until(lambda: get(path + "/measurements").startswith(b"PCR0"), "measurements")
        return timed(read), timed(read)
