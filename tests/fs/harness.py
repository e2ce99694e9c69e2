# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the tests share: a mounted nefs, enclaves in it, raw system calls whose errno is seen, and
children that may hang without hanging the suite.

System calls report "OK" or the name of their errno, so that a failed assertion reads as one.
"""
import ctypes
import errno
import json
import os
import pickle
import select
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import time
import traceback

import device_port
import eif_image

# Sanitizer builds and emulated machines are slower; every bound of the tests is stretched by this.
SLOWNESS = float(os.environ.get("NEFS_SLOWNESS", "1"))
NOBODY = 65534

ROOT_FILES = {"version": 0o444, "backend": 0o444, "events": 0o444, "journal": 0o444,
              "error": 0o444}
SIM_FILES = {"crash": 0o200, "fault": 0o644, "slots": 0o444}
SETTABLE = {"memory": 0o644, "vcpus": 0o644, "cpus": 0o644, "image": 0o600, "cid": 0o644,
            "debug": 0o644, "boot_timeout": 0o644}
READ_ONLY = {"memory.effective": 0o444, "cpus.effective": 0o444, "cid.effective": 0o444,
             "slot": 0o444, "state": 0o444, "wait": 0o444, "events": 0o444, "journal": 0o444,
             "console": 0o400, "error": 0o444, "measurements": 0o444, "image_info": 0o444}
ENCLAVE_FILES = {**SETTABLE, "start": 0o644, **READ_ONLY}

# Files and directories that later versions add to the contract.
LATER_FILES = {"restart"}
LATER_ROOT = {"metrics", "pool", "device"}

libc = ctypes.CDLL(None, use_errno=True)


# ---- Errors as words ----

def errno_name(number):
    # Two names for one number: the one of the contract.
    if number == errno.EOPNOTSUPP:
        return "EOPNOTSUPP"
    return errno.errorcode.get(number, str(number))


def outcome(call, *args, **kwargs):
    """"OK", or the name of the errno that the call failed with."""
    try:
        call(*args, **kwargs)
    except OSError as error:
        return errno_name(error.errno)
    return "OK"


def put(path, data, flags=os.O_WRONLY | os.O_TRUNC):
    """One write(2) of data, as echo does it."""
    def write():
        fd = os.open(path, flags)
        try:
            assert os.write(fd, data) == len(data)
        finally:
            os.close(fd)
    return outcome(write)


def get(path, flags=0, size=1 << 20):
    """The whole content; OSError as it comes."""
    fd = os.open(path, os.O_RDONLY | flags)
    try:
        parts = []
        while part := os.read(fd, size):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def read_outcome(path, flags=0):
    """What reading the file gives: its content, or the errno's name."""
    try:
        return get(path, flags)
    except OSError as error:
        return errno_name(error.errno)


def fd_outcome(fd, size=65536):
    """One pread(2) from the start of an open file: its content, or the errno's name."""
    try:
        return os.pread(fd, size, 0)
    except OSError as error:
        return errno_name(error.errno)


def raw_write(fd, data):
    """write(2) without Python's retry after a signal."""
    return "OK" if libc.write(fd, data, len(data)) >= 0 else errno_name(ctypes.get_errno())


def raw_read(fd, size=65536):
    """read(2) without Python's retry after a signal."""
    buffer = ctypes.create_string_buffer(size)
    count = libc.read(fd, buffer, size)
    return buffer.raw[:count] if count >= 0 else errno_name(ctypes.get_errno())


RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


def renameat2(old, new, flags):
    at_fdcwd = -100
    if libc.renameat2(at_fdcwd, os.fsencode(old), at_fdcwd, os.fsencode(new), flags) == 0:
        return "OK"
    return errno_name(ctypes.get_errno())


# ---- Time ----

def seconds(bound):
    """A bound on waiting, stretched on slow machines."""
    return bound * SLOWNESS


def eventually(condition, what, bound=10, step=0.01):
    """For what has no event to wait on: looks again until it holds. Returns what it gave."""
    end = time.monotonic() + seconds(bound)
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds(bound):g} s: {what}"
        time.sleep(step)


def timed(call, *args, **kwargs):
    """(result, seconds it took)"""
    begin = time.monotonic()
    result = call(*args, **kwargs)
    return result, time.monotonic() - begin


# ---- Other processes ----

class Child:
    """
    A function in a process of its own, with another uid if asked. What it returns, or the
    exception, arrives by result(). It can be killed whatever it waits for.
    """
    living = set()
    SYSCALLS = {"read": {0, 17}, "write": {1, 18}, "poll": {7, 271, 270, 23, 232, 281},
                "rename": {82, 264, 316}}

    def __init__(self, function, *args, uid=None, groups=()):
        receiver, sender = os.pipe()
        self.begin = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(receiver)
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                if uid is not None:
                    os.setgroups(list(groups))
                    os.setgid(uid)
                    os.setuid(uid)
                    os.umask(0o022)
                try:
                    message = (True, function(*args))
                except BaseException:
                    message = (False, traceback.format_exc())
                with os.fdopen(sender, "wb") as pipe:
                    pickle.dump(message, pipe)
            finally:
                os._exit(0)
        os.close(sender)
        self.receiver = receiver
        self.pidfd = os.pidfd_open(self.pid)
        Child.living.add(self)

    def ended(self, bound=0):
        """Has it ended, after waiting at most so long?"""
        return bool(select.select([self.pidfd], [], [], bound)[0])

    def result(self, bound=15):
        """What the function returned; the test fails if it takes longer."""
        end = time.monotonic() + seconds(bound)
        data = b""
        while True:
            left = max(0, end - time.monotonic())
            ready, _, _ = select.select([self.receiver], [], [], left)
            assert ready, f"child {self.pid} hangs in {self.where()}"
            part = os.read(self.receiver, 1 << 20)
            if not part:
                break
            data += part
        self.reap()
        assert data, "the child was killed before it could answer"
        ok, value = pickle.loads(data)
        assert ok, f"in the child:\n{value}"
        return value

    def where(self):
        try:
            with open(f"/proc/{self.pid}/syscall") as file:
                return "syscall " + file.read().strip()
        except OSError:
            return "an unknown place"

    def blocked(self, syscall):
        """Waits until it sleeps in that system call: seen there several times in a row."""
        seen = 0

        def sleeping():
            nonlocal seen
            assert not self.ended(), f"child ended, was to block: {self.result()!r}"
            try:
                with open(f"/proc/{self.pid}/syscall") as file:
                    number = file.read().split()[0]
            except OSError:
                number = "gone"
            inside = number.isdigit() and int(number) in Child.SYSCALLS[syscall]
            seen = seen + 1 if inside else 0
            return seen >= 5
        eventually(sleeping, f"child {self.pid} blocks in {syscall}, is in {self.where()}")
        return self

    def signal(self, number):
        os.kill(self.pid, number)

    def reap(self, bound=5):
        if self not in Child.living:
            return
        assert self.ended(seconds(bound)), f"child {self.pid} does not end, in {self.where()}"
        os.waitpid(self.pid, 0)
        os.close(self.pidfd)
        os.close(self.receiver)
        Child.living.discard(self)

    def kill(self):
        """Ends it; False if even SIGKILL does not."""
        if self not in Child.living:
            return True
        os.kill(self.pid, signal.SIGKILL)
        if not self.ended(seconds(5)):
            return False
        self.reap()
        return True


def run(*command, bound=30, **kwargs):
    """A command's subprocess.CompletedProcess, output as text; never waits for ever."""
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=seconds(bound), check=False, **kwargs)


# ---- Events ----

CHANGED = select.POLLERR | select.POLLPRI
USABLE = select.POLLIN | select.POLLOUT


def poll_now(fd, bound=0):
    """revents of one poll(2) that asks for everything; 0 after `bound` seconds."""
    poller = select.poll()
    poller.register(fd, select.POLLIN | select.POLLOUT | select.POLLPRI)
    ready = poller.poll(bound * 1000)
    return ready[0][1] if ready else 0


def poll_change(fd, bound=10):
    """Sleeps until ERR|PRI is reported; returns revents, 0 if nothing came."""
    poller = select.poll()
    poller.register(fd, select.POLLPRI)
    ready = poller.poll(seconds(bound) * 1000)
    return ready[0][1] if ready else 0


class Watched:
    """An open pollable file that has been read once: what comes next is a change."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)
        self.read()

    def read(self):
        return os.pread(self.fd, 65536, 0)

    def changed(self, bound=10):
        """Waits for a change; the new content."""
        revents = poll_change(self.fd, bound)
        assert revents & CHANGED == CHANGED, f"no change within {bound} s, revents {revents:#x}"
        return self.read()

    def quiet(self):
        """Nothing has changed since the last read."""
        return poll_now(self.fd) & CHANGED == 0

    def close(self):
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


IN_MODIFY, IN_ATTRIB = 0x2, 0x4


class Inotify:
    """inotify(7) on some paths, for IN_MODIFY."""

    def __init__(self, *paths):
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.paths = {}
        self.seen = []
        for path in paths:
            watch = libc.inotify_add_watch(self.fd, os.fsencode(path), IN_MODIFY)
            assert watch >= 0, f"inotify on {path}: {errno_name(ctypes.get_errno())}"
            self.paths[watch] = path

    def take(self):
        """The (path, name) of what has been modified by now."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        while data:
            watch, _, _, length = struct.unpack_from("iIII", data)
            name = data[16:16 + length].rstrip(b"\0").decode()
            self.seen.append((self.paths.get(watch), name))
            data = data[16 + length:]

    def wait(self, path, name="", bound=10):
        """Waits until this was modified."""
        end = time.monotonic() + seconds(bound)
        while True:
            self.take()
            if (path, name) in self.seen:
                return
            left = end - time.monotonic()
            assert left > 0, f"no IN_MODIFY on {path} {name}, only {self.seen}"
            select.select([self.fd], [], [], left)

    def clear(self):
        self.take()
        self.seen.clear()

    def close(self):
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


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
    """All that a journal holds at this moment."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        data = b""
        while True:
            try:
                part = os.read(fd, 65536)
            except BlockingIOError:
                return records(data)
            if not part:
                return records(data)
            data += part
    finally:
        os.close(fd)


# ---- A mounted nefs ----

def binary():
    """The nefs executable under test."""
    path = os.environ.get("NEFS") or os.path.join(os.environ.get("NEFS_BUILD", ""), "nefs/nefs")
    return os.path.abspath(path)


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


def mounted(path):
    """Is something mounted exactly there?"""
    with open("/proc/self/mountinfo") as file:
        return any(line.split()[4] == path for line in file)


class Mount:
    """A nefs in the foreground, mounted in a temporary directory."""
    living = set()

    def __init__(self, *options, base=None, program=None, uid=None):
        self.top = tempfile.mkdtemp(prefix="nefs-fs-")
        os.chmod(self.top, 0o755)
        self.root = os.path.join(self.top, "mnt")
        self.spool = os.path.join(self.top, "spool")
        self.uid = uid
        os.mkdir(self.root)
        if uid is not None:
            os.mkdir(self.spool, 0o700)
            for path in (self.top, self.root, self.spool):
                os.chown(path, uid, uid)
        self.options = ",".join([base or base_options(), f"spool={self.spool}", *options])
        self.log = open(os.path.join(self.top, "log"), "w+")
        ids = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        self.process = subprocess.Popen(
            [program or binary(), "-f", "-o", self.options, self.root],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd="/", **ids)
        Mount.living.add(self)
        self.names = 0
        self.plan = ()

        def ready():
            assert self.alive(), f"nefs did not mount: {self.said()}"
            return mounted(self.root)
        eventually(ready, "nefs mounts")
        if uid is None:
            assert os.path.exists(self.path("version"))

    def alive(self):
        return self.process.poll() is None

    def said(self):
        """What the daemon printed."""
        with open(self.log.name) as file:
            return file.read()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def put(self, file, data, flags=os.O_WRONLY | os.O_TRUNC):
        return put(self.path(file), data, flags)

    def get(self, file, flags=0):
        return get(self.path(file), flags)

    def error(self):
        return self.get("error")

    def events(self):
        return flat_keyed(self.get("events"))

    # The device's controls: files of a simulated one, in the lab the control socket of nefs-device.

    def slots(self):
        if is_sim():
            return self.get("sim/slots").decode().splitlines()
        return [line.decode() for line in device_port.ask("list")]

    def enclaves(self):
        """The names in the root that are enclaves."""
        own = set(ROOT_FILES) | {"sim"} | LATER_ROOT
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

    def clear(self):
        """Removes every enclave, whatever state it is in."""
        if self.plan or (is_sim() and os.path.exists(self.path("sim/fault"))):
            self.faults()
        enclaves = [Enclave(self, name) for name in self.enclaves()]
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
        ids = {} if self.uid is None else {"user": self.uid, "group": self.uid, "extra_groups": []}

        def detached():
            # The daemon may be touching a file this moment, for inotify: busy, but not for long.
            helper = run("fusermount3", "-u", self.root, **ids)
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
        if mounted(self.root):
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


class Enclave:
    """A directory of the mount."""

    def __init__(self, mount, name):
        self.mount = mount
        self.name = name

    def path(self, *parts):
        return self.mount.path(self.name, *parts)

    def put(self, file, data, flags=os.O_WRONLY | os.O_TRUNC):
        return put(self.path(file), data, flags)

    def get(self, file, flags=0):
        return get(self.path(file), flags)

    def set(self, file, data):
        result = self.put(file, data)
        assert result == "OK", f"{file}: {result}: {self.error!r}"

    @property
    def state(self):
        return self.get("state").decode().strip()

    @property
    def error(self):
        return self.get("error")

    def events(self):
        return flat_keyed(self.get("events"))

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


__all__ = [name for name in dir() if not name.startswith("_")]
