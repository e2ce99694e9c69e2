# SPDX-License-Identifier: GPL-2.0-or-later
"""Bulk data, the way from a crash to a poller, and the cost of many enclaves. Called by
scripts/bench: enclaves.py BUILD WORK MEBIBYTES "COUNT COUNT..." (WORK holds nefs/, tmpfs/, spool/)"""
import os
import select
import struct
import subprocess
import sys
import time
import zlib

BUILD, WORK, BULK, COUNTS = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].split()
MOUNT = WORK + "/nefs"


def image():
    """The smallest EIF that a simulated device without a VM accepts."""
    kernel = bytearray(0x210)
    kernel[0x202:0x206] = b"HdrS"
    sections = [(1, bytes(kernel)), (2, b"console=ttyS0"), (5, b"{}"), (3, b"RAMDISK1")]
    offsets, sizes, body = [], [], b""
    for kind, data in sections:
        offsets.append(548 + len(body))
        sizes.append(len(data))
        body += struct.pack(">HHQ", kind, 0, len(data)) + data
    table = [offsets, sizes]
    head = b".eif" + struct.pack(">HHQQHH", 4, 0, 1 << 30, 2, 0, len(sections))
    for row in table:
        head += b"".join(struct.pack(">Q", x) for x in row + [0] * (32 - len(row)))
    head += bytes(4)
    return head + struct.pack(">I", zlib.crc32(body, zlib.crc32(head))) + body


def put(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


class Daemon:
    def __init__(self, options):
        self.process = subprocess.Popen(
            [BUILD + "/nefs/nefs", "-f", "-o",
             f"backend=sim,sim_vm=none,spool={WORK}/spool" + options, MOUNT])
        until = time.monotonic() + 10
        while not os.path.ismount(MOUNT):
            assert time.monotonic() < until and self.process.poll() is None
            time.sleep(0.02)

    def end(self):
        subprocess.run(["umount", MOUNT], check=True)
        self.process.wait(60)

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def make(name, eif):
    directory = f"{MOUNT}/{name}"
    os.mkdir(directory)
    put(directory + "/memory", b"64M")
    put(directory + "/vcpus", b"2")
    put(directory + "/image", eif)


def bandwidth(path):
    block = b".eif" + bytes((1 << 20) - 4)
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
    begin = time.perf_counter()
    for _ in range(BULK):
        os.write(fd, block)
    took = time.perf_counter() - begin
    os.close(fd)
    return BULK / 1024 / took


def p50_p99(function, times=500):
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        took.append((time.perf_counter() - begin) * 1e6)
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]


def bulk():
    daemon = Daemon("")
    os.mkdir(MOUNT + "/bulk")
    ours, tmpfs = [], []
    for _ in range(3):
        ours.append(bandwidth(MOUNT + "/bulk/image"))
        tmpfs.append(bandwidth(WORK + "/tmpfs/image"))
        os.unlink(WORK + "/tmpfs/image")
    print(f"\nimage, {BULK} MiB in writes of 1 MiB: nefs {max(ours):.2f} GiB/s, "
          f"tmpfs {max(tmpfs):.2f} GiB/s, ratio {max(ours) / max(tmpfs):.2f}")
    daemon.end()


def crash():
    daemon = Daemon("")
    make("web", image())
    took = []
    for _ in range(100):
        put(MOUNT + "/web/start", b"1")
        fd = os.open(MOUNT + "/web/events", os.O_RDONLY)
        os.pread(fd, 4096, 0)
        poller = select.poll()
        poller.register(fd, select.POLLPRI | select.POLLERR)
        begin = time.perf_counter()
        put(MOUNT + "/sim/crash", b"web")
        assert poller.poll(5000)
        took.append((time.perf_counter() - begin) * 1e6)
        os.close(fd)
        while open(MOUNT + "/web/slot", "rb").read() != b"\n":
            pass
    took.sort()
    print(f"crash to poll wake-up: p50 {took[50]:.0f} us, p99 {took[99]:.0f} us")
    daemon.end()


def many():
    eif = image()
    print(f"\n{'running enclaves':>16} {'create ms':>10} {'start ms':>10} {'KiB each':>9} "
          f"{'stat us':>8} {'pread us':>9}")
    for count in map(int, COUNTS):
        daemon = Daemon(f",sim_cpus={2 * count + 8},sim_memory={64 * count + 1024}M")
        empty = daemon.resident()
        begin = time.perf_counter()
        for i in range(count):
            make(f"e{i}", eif)
        made = time.perf_counter()
        for i in range(count):
            put(f"{MOUNT}/e{i}/start", b"1")
        started = time.perf_counter()
        path = f"{MOUNT}/e{count - 1}/state"
        fd = os.open(path, os.O_RDONLY)
        assert os.pread(fd, 64, 0) == b"running\n"
        stat, read = p50_p99(lambda: os.stat(path)), p50_p99(lambda: os.pread(fd, 64, 0))
        os.close(fd)
        print(f"{count:16} {(made - begin) * 1000 / count:10.3f} "
              f"{(started - made) * 1000 / count:10.3f} "
              f"{(daemon.resident() - empty) / 1024 / count:9.1f} {stat[0]:8.2f} {read[0]:9.2f}")
        daemon.end()


bulk()
crash()
many()
