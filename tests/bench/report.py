# SPDX-License-Identifier: GPL-2.0-or-later
"""What nefs costs, in tables: report.py [--smoke] BUILD [PART...], called by scripts/bench."""
import os
import resource
import sys
import time

import measures
from measures import Reader
from rig import MIB, Bare, Nefs, Others, Rig, get, percentile, put, timed, until


def title(text):
    print(f"\n== {text}", flush=True)


def milliseconds(times):
    return f"p50 {percentile(times, 50) * 1e3:.2f} ms, longest {max(times) * 1e3:.2f} ms"


def operations(rig, smoke):
    """Single operations: all on one CPU, the client on another one, and wherever they run."""
    rounds = 2 if smoke else 30
    title("operations, server and client on one CPU (the ratio is that of nefs to bare)")
    print(measures.operations_table(rig, rounds, rig.cpus[0], rig.cpus[0]))
    if len(rig.cpus) > 1:
        title("operations, server and client on two CPUs")
        print(measures.operations_table(rig, rounds, rig.cpus[1], rig.cpus[0]))
    # Together or apart, batch by batch: no median tells both.
    title("operations, wherever the scheduler puts them")
    print(measures.operations_table(rig, rounds, None, None, "10,90"))
    print(measures.operations_table(rig, rounds, None, None, "50,99"))


def image(rig, smoke):
    """Images on equal media: the spool is on the tmpfs that is compared with."""
    size, rounds = (8, 2) if smoke else (128, 10)
    title(f"an image of {size} MiB in GB/s, and another enclave's reader meanwhile")
    for block in (4096, 128 << 10, MIB):
        figures = measures.image_write(rig, size, block, rounds)
        print("writes of {:4} KiB: nefs {:.2f}, tmpfs {:.2f}, ratio {:.2f}".format(block >> 10, *figures))
    measures.have_memory(rig, 2 * size)
    with Nefs(rig) as nefs:
        other = nefs.make("other", image=None)
        path = nefs.make("bulk", image=None) + "/image"
        reader = Reader(rig, other + "/state")
        for _ in range(rounds):
            measures.copy(rig.image(size), path)
        _, p50, p99, most = reader.results()[0]
        print(f"a reader while it is written {rounds} times, 1 MiB each: p50 {p50:.0f}, p99 {p99:.0f}, "
              f"longest {most:.0f} us")


def stall(rig, smoke):
    size = 16 if smoke else 1024
    title(f"another enclave's reader beside an image of {size} MiB, us (p50 p99 longest; an idle nefs's)")
    for phase, (ours, idle) in measures.stall(rig, size).items():
        print(f"{phase:10} {ours[1]:8.0f} {ours[2]:8.0f} {ours[3]:8.0f}; "
              f"{idle[1]:8.0f} {idle[2]:8.0f} {idle[3]:8.0f}")


def start(rig, smoke):
    """By memory, by image, and many at the same time."""
    title("start and stop without a virtual machine")
    rounds = 2 if smoke else 10
    for memory in (b"64M", b"512M", b"2G", b"16G"):
        starts, stops = measures.start_times(rig, memory, 0, rounds)
        print(f"memory {memory.decode():>5}: start {milliseconds(starts)}; stop {milliseconds(stops)}")
    for size in (1, 10) if smoke else (10, 100, 300, 1000):
        first, again = measures.measurements_time(rig, size)
        starts, stops = measures.start_times(rig, b"2G", size, rounds)
        print(f"image {size:4} MiB: start {milliseconds(starts)} (the first {starts[0] * 1e3:.2f} ms); "
              f"stop {milliseconds(stops)}; measurements {first * 1e3:.1f} ms, again {again * 1e3:.2f} ms")


def rest(rig, smoke):
    """Memory over lives, and wake-ups with nothing to do."""
    before, first, last, enclaves, seconds = (
        (10, 10, 50, 10, 2) if smoke else (1000, 100, 10000, 100, 30))
    title("memory over lives; wake-ups at rest")
    (begin, end), (wakes, threads) = measures.growth_and_rest(
        rig, before, first, last, enclaves, seconds)
    print(f"{begin >> 10} KiB after {first} lives, {(end - begin) >> 10:+d} KiB after {last}")
    print(f"{enclaves} running: {wakes} wake-ups of {threads} threads in {seconds} s")


def news_line(what, text):
    for line in text.splitlines():
        part, count, *figures = line.split()
        print(f"{what:26} {part:7} p50 {figures[0]:>6} p90 {figures[1]:>6} longest {figures[2]:>6} us "
              f"({count})", flush=True)


def crash(rig, smoke):
    """From a crash to who watches, taken apart; anchors first."""
    rounds = 5 if smoke else 50
    title("news: anchors, then a simulated crash with one enclave running")
    news_line("a socket's other end", rig.run("news", "epoll", rounds))
    with Bare(rig, changes=True) as bare:
        news_line("bare libfuse's POLLPRI",
                  rig.run("news", "poll", rounds, bare.bytes, bare.path("web/state")))
    with Nefs(rig) as nefs:
        # An enclave each: whoever reads a journal reads all of it.
        for source in ("state", "events", "journal"):
            nefs.make("web-" + source)
            news_line(source, crash_news(rig, nefs, "web-" + source, source, rounds))


def crash_news(rig, nefs, name, source, rounds):
    return rig.run("news", "crash", rounds, nefs.process.pid, nefs.path(name), source,
                   nefs.path("sim/crash"), name)


def most_enclaves():
    """A running enclave takes two fds of the daemon."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return min(10000, (hard - 200) // 2)


def many(rig, smoke):
    """10, 1,000 and 10,000 running; the last may be fewer, by the limit of fds, and says so."""
    for count in (10, 50) if smoke else (10, 1000, most_enclaves()):
        title(f"{count} running enclaves" + (
            " (no more: RLIMIT_NOFILE)" if 1000 < count < 10000 else ""))
        others = Others(rig)
        with Nefs(rig, enclaves=count + 2) as nefs:
            empty = nefs.smaps("Anonymous")
            names = [f"e{i}" for i in range(count)]
            makes = [timed(nefs.make, name) for name in names]
            configured = nefs.smaps("Anonymous")
            starts = [timed(put, nefs.path(name, "start"), b"1") for name in names]
            for name in names:
                nefs.reaches(nefs.path(name), b"running\n")
            running = nefs.smaps("Anonymous")
            print(f"mkdir and settings: {milliseconds(makes)}; start: {milliseconds(starts)}")
            print(f"memory each: configured {(configured - empty) / count / 1024:.2f} KiB, "
                  f"running {(running - empty) / count / 1024:.2f} KiB")
            path = nefs.path(names[-1])
            for what, function, argument in (
                    ("stat", os.stat, path + "/state"), ("read of state", get, path + "/state"),
                    ("ls", os.listdir, nefs.root), ("an enclave's journal", journal, path + "/journal"),
                    ("the root's journal", journal, nefs.path("journal"))):
                times = [timed(function, argument) for _ in range(20)]
                print(f"{what:21} p50 {percentile(times, 50) * 1e6:9.1f} us, "
                      f"p90 {percentile(times, 90) * 1e6:9.1f} us")
            put(path + "/start", b"0")
            nefs.reaches(path, b"stopped\n")
            news_line("crash to state", crash_news(rig, nefs, names[-1], "state", 5 if smoke else 20))
            begin = time.monotonic()
            for name in names[:-1]:
                put(nefs.path(name, "start"), b"0")
            for name in names[:-1]:
                nefs.reaches(nefs.path(name), b"stopped\n")
            print(f"stop, each: {(time.monotonic() - begin) / count * 1e3:.2f} ms")
            until(lambda: get(path + "/slot") == b"\n", "its slot is free")
            removals = [timed(os.rmdir, nefs.path(name)) for name in names]
            print(f"rmdir: {milliseconds(removals)}; memory then: "
                  f"{(nefs.smaps('Anonymous') - empty) / 1024:+.0f} KiB")
            print(f"(others had {100 * others.share():.0f} % of the CPUs)")


def journal(path):
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        while os.read(fd, 1 << 20):
            pass
    except BlockingIOError:
        pass
    finally:
        os.close(fd)


PARTS = {part.__name__: part for part in (operations, image, stall, start, rest, crash, many)}


def main():
    smoke = sys.argv[1] == "--smoke"
    words = sys.argv[2:] if smoke else sys.argv[1:]
    with Rig(words[0]) as rig:
        for part in words[1:] or PARTS:
            PARTS[part](rig, smoke)


if __name__ == "__main__":
    main()
