# SPDX-License-Identifier: GPL-2.0-or-later
"""A nefs that is mounted, the enclaves in it, and what files they have."""
import json
import os
import shutil
import stat
import subprocess
import tempfile
import time

import device_port
import eif_image
from harness import SLOWNESS, eventually, get, outcome, put, run, seconds
from own_namespace import Namespace
from watching import Watched, poll_change

ROOT_FILES = {"version": 0o444, "backend": 0o444, "events": 0o444, "journal": 0o440,
              "error": 0o440}
SIM_FILES = {"crash": 0o200, "fault": 0o644, "slots": 0o444}
SETTABLE = {"memory": 0o644, "vcpus": 0o644, "cpus": 0o644, "image": 0o600, "cid": 0o644,
            "debug": 0o644, "boot_timeout": 0o644}
READ_ONLY = {"memory.effective": 0o444, "cpus.effective": 0o444, "cid.effective": 0o444,
             "slot": 0o444, "state": 0o444, "wait": 0o444, "events": 0o444, "journal": 0o444,
             "console": 0o400, "pending": 0o444, "error": 0o444, "measurements": 0o444, "image_info": 0o444}
ENCLAVE_FILES = {**SETTABLE, "start": 0o644, **READ_ONLY}

# Streams, which no listing shows, and what is there once a file of text was full.
STREAMS = {"journal.follow": 0o444, "console.follow": 0o400}
OLDER = {"journal.1", "console.1"}

# Files and directories that later versions add to the contract.
LATER_FILES = {"restart"}
LATER_ROOT = {"metrics", "pool", "device"}


# ---- Text formats ----

def flat_keyed(data):
    """{"starts": 1, ...} of an `events` file."""
    pairs = [line.split(" ") for line in data.decode().splitlines()]
    return {key: int(value) for key, value in pairs}


def records(data):
    """The JSON objects of a journal."""
    assert data == b"" or data.endswith(b"\n"), f"a torn record: {data[-80:]!r}"
    return [json.loads(line) for line in data.splitlines()]


def journal_now(path):
    """All that a journal holds at this moment, the file before it included."""
    with open(path, "rb") as file:
        try:
            with open(path + ".1", "rb") as older:
                same = os.path.sameopenfile(older.fileno(), file.fileno())
                before = [] if same else records(older.read())
        except FileNotFoundError:
            before = []
        return before + records(file.read())


# ---- A mounted nefs ----

def binary():
    """The nefs executable under test."""
    path = os.environ.get("NEFS") or os.path.join(os.environ.get("NEFS_BUILD", ""), "nefs/nefs")
    return os.path.abspath(path)


def is_sanitized():
    """Is it built with a sanitizer that has an allocator of its own?"""
    with open(binary(), "rb") as file:
        content = file.read()
    return b"__asan_init" in content or b"__tsan_init" in content


def eif_binary():
    """The nefs-eif executable, or None."""
    if path := os.environ.get("NEFS_EIF"):
        return os.path.abspath(path)
    found = shutil.which("nefs-eif")
    for folder in ("nefs-eif", "backend/eif", "nefs", "tools"):
        path = os.path.join(os.environ.get("NEFS_BUILD", ""), folder, "nefs-eif")
        if os.access(path, os.X_OK) and os.path.isfile(path):
            found = os.path.abspath(path)
    return found


def base_options():
    return os.environ.get("NEFS_MOUNT_OPTIONS", "backend=sim,sim_vm=none")


def is_sim():
    return "backend=sim" in base_options().split(",")


def daemons_with(wanted):
    """The pids of the nefs whose command line, as words, is wanted."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"nefs") and wanted(words):
            found.append(int(pid))
    return found


def mounted(path, mountinfo="/proc/self/mountinfo"):
    """Is something mounted exactly there?"""
    with open(mountinfo) as file:
        return any(line.split()[4] == path for line in file)


class Directory:
    """What has self.path(): the control files in it."""

    def put(self, file, data, flags=os.O_WRONLY | os.O_TRUNC):
        return put(self.path(file), data, flags)

    def get(self, file, flags=0):
        return get(self.path(file), flags)

    def events(self):
        return flat_keyed(self.get("events"))


class Mount(Directory):
    """
    A nefs in the foreground, mounted in a temporary directory. With a uid it is an ordinary user's, in a
    mount namespace, which the processes that use it have to enter: Child(namespace=).
    """
    living = set()

    def __init__(self, *options, base=None, program=None, uid=None, environment=None):
        self.top = tempfile.mkdtemp(prefix="nefs-fs-")
        os.chmod(self.top, 0o755)
        self.root = os.path.join(self.top, "mnt")
        self.spool = os.path.join(self.top, "spool")
        self.uid = uid
        os.mkdir(self.root)
        self.namespace = None if uid is None else Namespace(self.top)
        program = program or binary()
        if uid is not None:
            # The build may lie where only root can go.
            program = shutil.copy(program, os.path.join(self.top, "nefs"))
            os.mkdir(self.spool, 0o700)
            for path in (self.top, self.root, self.spool):
                os.chown(path, uid, uid)
        self.options = ",".join([base or base_options(), f"spool={self.spool}", *options])
        self.log = open(os.path.join(self.top, "log"), "w+")
        self.process = subprocess.Popen(
            self.as_user(program, "-f", "-o", self.options, self.root),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd="/",
            env={**os.environ, **(environment or {})})
        Mount.living.add(self)
        self.names = 0
        self.plan = ()

        def ready():
            assert self.alive(), f"nefs did not mount: {self.said()}"
            return self.mounted()
        eventually(ready, "nefs mounts")
        if uid is None:
            assert os.path.exists(self.path("version"))

    def as_user(self, *command):
        """A command as it is to be called, to run as the mount's user."""
        return list(command) if self.uid is None else self.namespace.command(self.uid, *command)

    def mounted(self):
        return mounted(self.root, *([self.namespace.mountinfo] if self.namespace else []))

    def alive(self):
        return self.process.poll() is None

    def said(self):
        """What the daemon printed."""
        with open(self.log.name) as file:
            return file.read()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def error(self):
        return self.get("error")

    # The device's controls: files of a simulated one, in the lab the control socket of nefs-device.

    def slots(self):
        if is_sim():
            return self.get("sim/slots").decode().splitlines()
        return [line.decode() for line in device_port.ask("list")]

    def enclaves(self):
        """The names in the root that are enclaves."""
        own = set(ROOT_FILES) | OLDER | {"sim"} | LATER_ROOT
        return [name for name in os.listdir(self.root) if name not in own]

    def enclave(self, name=None):
        """Makes one, with a name of its own if none is given."""
        if name is None:
            self.names += 1
            name = f"e{self.names}"
        os.mkdir(self.path(name))
        return Enclave(self, name)

    def crash(self, enclave):
        if is_sim():
            return self.put("sim/crash", enclave.name.encode())
        device_port.ask(f"crash {enclave.get('slot').decode().strip()}")
        return "OK"

    def faults(self, *lines):
        """Sets the device's fault plan."""
        self.plan = lines
        if is_sim():
            result = self.put("sim/fault", "".join(line + "\n" for line in lines).encode() or b"\n")
            assert result == "OK", f"sim/fault: {result}: {self.error()}"
        else:
            device_port.ask(" ".join(["fault", "; ".join(lines)]).strip())

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self):
        """RSS in bytes."""
        with open(f"/proc/{self.process.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def sanitized(self):
        with open(f"/proc/{self.process.pid}/maps") as file:
            maps = file.read()
        return "libasan" in maps or "libtsan" in maps or "shadow" in maps

    def spooled(self):
        """Files in the spool, as a sorted list of relative paths."""
        found = []
        for folder, _, files in os.walk(self.spool):
            found += [os.path.relpath(os.path.join(folder, name), self.spool) for name in files]
        return sorted(found)

    def clear(self, *but):
        """Removes every enclave but those with these names, whatever state it is in."""
        if self.plan or (is_sim() and os.path.exists(self.path("sim/fault"))):
            self.faults()
        enclaves = [Enclave(self, name) for name in self.enclaves() if name not in but]
        for enclave in enclaves:
            put(enclave.path("start"), b"0", os.O_WRONLY | os.O_NONBLOCK)
        for enclave in enclaves:
            enclave.settle(20)
            assert outcome(os.rmdir, enclave.path()) == "OK", f"{enclave.name}: {enclave.state}"

    def wait_exit(self, bound=20):
        """The daemon's exit status; it is killed if it does not end."""
        try:
            return self.process.wait(seconds(bound))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(seconds(10))
            return "does not end"

    def unmount(self):
        """Unmounts as a user would; the daemon must leave nothing behind."""
        def detached():
            # The daemon may be touching a file this moment, for inotify: busy, but not for long.
            helper = run(*self.as_user("fusermount3", "-u", self.root))
            assert helper.returncode == 0 or "busy" in helper.stderr, f"umount: {helper.stderr}"
            return helper.returncode == 0
        eventually(detached, "unmounting, the mount is busy", bound=5, step=0.05)
        status = self.wait_exit()
        left = self.spooled()
        said = self.said()
        self.discard()
        assert status == 0, f"nefs ended with {status}: {said}"
        assert "Sanitizer" not in said and "runtime error" not in said, said
        assert not left, f"left in the spool: {left}"

    def discard(self):
        """Makes sure that nothing of it is left, whatever happened; never fails, never hangs."""
        if self not in Mount.living:
            return
        Mount.living.discard(self)
        if self.alive():
            self.process.kill()
            try:
                self.process.wait(seconds(10))
            except subprocess.TimeoutExpired:
                pass
        if self.namespace:
            self.namespace.end()
        elif self.mounted():
            run("umount", "-l", self.root)
        self.log.close()
        if self.plan and not is_sim():
            self.faults()  # that device outlives the mount

    def delete(self):
        """Removes the temporary directory, once nothing is mounted there."""
        if not mounted(self.root):
            shutil.rmtree(self.top, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None and self in Mount.living and self.alive():
                self.clear()
                self.unmount()
        finally:
            self.discard()
            self.delete()


class Enclave(Directory):
    """A directory of the mount."""

    def __init__(self, mount, name):
        self.mount = mount
        self.name = name

    def path(self, *parts):
        return self.mount.path(self.name, *parts)

    def set(self, file, data):
        result = self.put(file, data)
        assert result == "OK", f"{file}: {result}: {self.error!r}"

    @property
    def state(self):
        return self.get("state").decode().strip()

    @property
    def error(self):
        return self.get("error")

    def journal(self):
        return journal_now(self.path("journal"))

    def ready(self, image=eif_image.SMALL, **values):
        """Sets everything a start needs; values set to None stay unset."""
        for file, value in {"memory": b"64M\n", "vcpus": b"2\n", **values}.items():
            if value is not None:
                self.set(file, value)
        if image is not None:
            self.set("image", image)
        return self

    def start(self, flags=0):
        return put(self.path("start"), b"1\n", os.O_WRONLY | os.O_TRUNC | flags)

    def stop(self, flags=0):
        return put(self.path("start"), b"0\n", os.O_WRONLY | os.O_TRUNC | flags)

    def running(self, **values):
        """Sets everything and starts."""
        self.ready(**values)
        result = self.start()
        assert result == "OK", f"start: {result}: {self.error!r}"
        self.reaches("running")
        return self

    def crash(self):
        result = self.mount.crash(self)
        assert result == "OK", f"sim/crash: {result}"
        self.reaches("crashed")

    def reaches(self, *states, bound=10):
        """Sleeps, by poll, until the state is one of these."""
        end = time.monotonic() + seconds(bound)
        with Watched(self.path("state")) as file:
            while True:
                now = file.read().decode().strip()
                if now in states:
                    return now
                left = end - time.monotonic()
                assert left > 0, f"{self.name} is {now}, not {'/'.join(states)}: {self.error!r}"
                # The tick only matters if a wake-up was lost, which has tests of its own.
                poll_change(file.fd, min(left, 0.5) / SLOWNESS)

    def settle(self, bound=15):
        return self.reaches("init", "running", "stopped", "failed", "crashed", bound=bound)

    def listing(self):
        return sorted(os.listdir(self.path()))

    def mode(self, file):
        return stat.S_IMODE(os.stat(self.path(file)).st_mode)
