# SPDX-License-Identifier: GPL-2.0-or-later
"""
What is measured, and how it gets up and down again: nefs on a spool of its own, the bare libfuse
filesystem, a tmpfs. Works in a mount namespace of its own (scripts/bench), so that no mount of somebody
else's wakes a nefs that is measured, and none of ours is in anybody's way.
"""
import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fs"))
sys.dont_write_bytecode = True
import eif_image  # noqa: E402

MIB = 1 << 20
PR_SET_PDEATHSIG = 1
SMALL = eif_image.SMALL


def put(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CREAT)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def get(path):
    with open(path, "rb") as file:
        return file.read()


def until(true, what, bound=60):
    end = time.monotonic() + bound
    while not true():
        assert time.monotonic() < end, f"not within {bound} s: {what}"
        time.sleep(0.005)


def percentile(values, percent):
    values = sorted(values)
    return values[int((len(values) - 1) * percent / 100)]


def timed(function, *args):
    """Seconds that the call took."""
    begin = time.perf_counter()
    function(*args)
    return time.perf_counter() - begin


def end_with_us():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Server:
    """A program that is mounted on a directory until end()."""

    def __init__(self, rig, name, command, cpu=None, stdin=subprocess.DEVNULL):
        self.rig, self.root = rig, os.path.join(rig.work, name)
        os.mkdir(self.root)
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        # nefs has a line for each change of an enclave.
        self.log = self.root + ".log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([*command, self.root], stdin=stdin, stdout=log, stderr=log,
                                            preexec_fn=end_with_us)
        rig.servers.append(self)

        def mounted():
            assert self.process.poll() is None, f"{command} ended: {get(self.log).decode()}"
            return os.path.ismount(self.root)
        until(mounted, f"{name} is mounted", 20)

    def end(self):
        if self not in self.rig.servers:
            return
        self.rig.servers.remove(self)
        if subprocess.run(["umount", self.root], stderr=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(["umount", "-l", self.root], check=False)
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        os.rmdir(self.root)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def cpu_seconds(self):
        """What all its threads had of the CPUs."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Nefs(Server):
    """backend=sim, sim_vm=none. What is in the spool is on the rig's tmpfs."""

    def __init__(self, rig, name="nefs", enclaves=16, cpu=None):
        self.spool = os.path.join(rig.work, "tmpfs", name + ".spool")
        os.mkdir(self.spool, 0o700)
        options = (f"backend=sim,sim_vm=none,spool={self.spool},sim_cpus={2 * enclaves + 8},"
                   f"sim_memory={64 * enclaves + 1024}M")
        super().__init__(rig, name, [rig.program("nefs/nefs"), "-f", "-o", options], cpu)

    def end(self):
        super().end()
        shutil.rmtree(self.spool, ignore_errors=True)

    def make(self, name, image=SMALL, memory=b"64M"):
        """An enclave that can be started; without an image if that is None."""
        path = self.path(name)
        os.mkdir(path)
        put(path + "/memory", memory)
        put(path + "/vcpus", b"2")
        if image is not None:
            put(path + "/image", image)
        return path

    def running(self, name):
        path = self.make(name)
        put(path + "/start", b"1")
        self.reaches(path, b"running\n")
        return path

    @staticmethod
    def reaches(path, state):
        until(lambda: get(path + "/state") == state, f"{path} is {state}")

    def smaps(self, key):
        """Bytes of the daemon's memory: Rss, Anonymous, ..."""
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="ascii") as smaps:
            line, = [line for line in smaps if line.startswith(key + ":")]
        return int(line.split()[1]) * 1024

    def threads(self):
        return set(os.listdir(f"/proc/{self.process.pid}/task"))

    def wake_ups(self):
        """How often a thread of it has gone to sleep, ever."""
        total = 0
        for thread in self.threads():
            with open(f"/proc/{self.process.pid}/task/{thread}/status", encoding="utf-8") as status:
                total += sum(int(line.split()[1]) for line in status
                             if line.startswith("voluntary_ctxt_switches"))
        return total


class Bare(Server):
    """With changes: whatever is written to .bytes, a FIFO, wakes who polls web/state."""

    def __init__(self, rig, cpu=None, changes=False):
        command, fifo, self.bytes = [rig.program("tests/bench/bare_fs")], None, rig.work + "/bytes"
        if changes:
            os.mkfifo(self.bytes)
            fifo = os.open(self.bytes, os.O_RDWR)
            command.append("--changes")
        super().__init__(rig, "bare", command, cpu, stdin=fifo or subprocess.DEVNULL)
        if fifo:
            os.close(fifo)

    def end(self):
        super().end()
        if os.path.exists(self.bytes):
            os.unlink(self.bytes)


class Lxcfs(Server):
    """Debian's lxcfs, unpacked into our directory: nothing is installed."""

    def __init__(self, rig, cpu=None):
        unpacked = os.path.join(rig.work, "lxcfs.unpacked")
        if not os.path.exists(unpacked):
            os.mkdir(unpacked)
            subprocess.run(["apt-get", "-qq", "download", "lxcfs"], cwd=unpacked, check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            package, = os.listdir(unpacked)
            subprocess.run(["dpkg", "-x", package, "."], cwd=unpacked, check=True)
        library, = subprocess.run(["find", unpacked, "-name", "liblxcfs.so"], check=True,
                                  capture_output=True, text=True).stdout.split()
        super().__init__(rig, "lxcfs", [
            "env", "LD_LIBRARY_PATH=" + os.path.dirname(library), unpacked + "/usr/bin/lxcfs", "-f",
            "-p", rig.work + "/lxcfs.pid"], cpu)


class Rig:
    """A directory with a tmpfs in it, and what is mounted there."""

    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.work = tempfile.mkdtemp(prefix="nefs-bench-")
        self.servers = []
        # The CPUs that may be used: on the first one, and on the first two.
        self.cpus = sorted(os.sched_getaffinity(0))
        os.mkdir(self.work + "/tmpfs")
        subprocess.run(["mount", "-t", "tmpfs", "none", self.work + "/tmpfs"], check=True)
        put(self.work + "/tmpfs/memory", b"64M\n")

    def end(self):
        for server in list(self.servers):
            server.end()
        subprocess.run(["umount", self.work + "/tmpfs"], check=False)
        shutil.rmtree(self.work)

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *_):
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        self.end()

    def program(self, name):
        return os.path.join(self.build, name)

    def run(self, name, *arguments, cpu=None, **options):
        """What a program of tests/bench prints."""
        command = [self.program("tests/bench/" + name), *map(str, arguments)]
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True,
                              preexec_fn=end_with_us, **options).stdout

    def image(self, mebibytes):
        """The path of an image of so many MiB, on the tmpfs."""
        path = f"{self.work}/tmpfs/{mebibytes}.eif"
        if not os.path.exists(path):
            put_all(path, eif_image.padded(mebibytes * MIB - 4096))
        return path


def put_all(path, data):
    with open(path, "wb") as file:
        file.write(data)


class Others:
    """How much of the CPUs others had, from now until share() is asked for."""

    def __init__(self, rig):
        self.rig = rig
        self.known = {server: server.cpu_seconds() for server in rig.servers}
        self.ours = self.of_children()
        self.busy, self.begin = self.of_all(), time.monotonic()

    @staticmethod
    def of_children():
        return sum(usage.ru_utime + usage.ru_stime for usage in map(
            resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    @staticmethod
    def of_all():
        """What was not idle, steal among it."""
        with open("/proc/stat", encoding="ascii") as stat:
            user, nice, system, _, _, irq, softirq, steal = map(int, stat.readline().split()[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    def share(self):
        """0 (none) to 1 (all that there was). Servers that have ended meanwhile count as children."""
        ours = self.of_children() - self.ours
        for server in self.rig.servers:
            ours += server.cpu_seconds() - self.known.get(server, 0)
        ours -= sum(seconds for server, seconds in self.known.items()
                    if server not in self.rig.servers)
        took = self.of_all() - self.busy - ours
        return max(0.0, took / ((time.monotonic() - self.begin) * os.cpu_count()))
