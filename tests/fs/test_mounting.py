# SPDX-License-Identifier: GPL-2.0-or-later
"""Where and how nefs is mounted: mount points, dead and living mounts, the spool, options, the caller."""
import contextlib
import errno
import fcntl
import os
import re
import shutil
import signal
import subprocess

import pytest
from eif_image import SMALL, padded
from harness import NOBODY, eventually, get, outcome, put, run, seconds
from nefs_mount import Mount, base_options, binary, daemons_with, is_sim, mounted

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def rows(point):
    """The lines of the mount table for a mount point."""
    with open("/proc/self/mountinfo") as file:
        return [line for line in file if line.split()[4] == str(point)]


def daemons(spool):
    """The pids of those that were started with that spool directory."""
    return daemons_with(lambda words: any(f"spool={spool}".encode() in word for word in words))


def finish(spool):
    """Has the daemons end whose mount is gone: somebody's mount namespace may have a copy of it."""
    for pid in daemons(spool):
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass
    eventually(lambda: not daemons(spool), "the daemons end")


def claimed(point):
    """Who serves what is mounted there, by what a second one says."""
    return int(re.search(r"process (\d+)", run(binary(), "-o", base_options(), point).stderr)[1])


class Place:
    """A mount point and a spool directory of the test's own."""

    def __init__(self, top):
        self.point = os.path.join(top, "point")
        self.spool = os.path.join(top, "spool")
        os.mkdir(self.point)
        self.options = f"{base_options()},spool={self.spool}"

    def nefs(self, *words, options="", **kwargs):
        """In the background."""
        return run(binary(), "-o", self.options + options, *words, self.point, **kwargs)

    def up(self, **kwargs):
        done = self.nefs(**kwargs)
        assert done.returncode == 0, done.stderr
        return self.pid()

    def pid(self):
        pid, = daemons(self.spool)
        return pid

    def die(self):
        """Its daemon dies, the mount stays."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not daemons(self.spool), "it dies")
        assert mounted(self.point)

    def end(self):
        while mounted(self.point):
            run("umount", "-l", self.point)
        finish(self.spool)


@pytest.fixture
def place(bounded, tmp_path):
    place = Place(str(tmp_path))
    yield place
    place.end()


def refused(result, status, *words):
    assert result.returncode == status, result
    assert result.stdout == "" and result.stderr.count("\n") == 1, result
    assert result.stderr.startswith("nefs: ")
    for word in words:
        assert str(word) in result.stderr, result.stderr


# ---- its own dead mount ----

def test_it_starts_over_its_own_dead_mount(place):
    place.up()
    place.die()
    assert outcome(os.stat, place.point) in ("ENOTCONN", "ECONNABORTED")
    place.up()
    assert len(rows(place.point)) == 1
    assert get(place.point + "/version").startswith(b"0.")


def test_dead_mounts_on_top_of_each_other(place, tmp_path):
    """However they came to be: moved onto one another."""
    places = [place]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        places.append(Place(str(tmp_path / name)))
    for other in places:
        other.up()
    for other in places[1:]:
        assert run("mount", "--bind", other.point, place.point).returncode == 0
    for other in places:
        os.kill(other.pid(), signal.SIGKILL)
    try:
        assert len(rows(place.point)) == 3
        place.up()
        assert len(rows(place.point)) == 1
        os.mkdir(place.point + "/web")
    finally:
        for other in places[1:]:
            other.end()


def test_a_dead_mount_that_is_in_use(place):
    """Whoever works in it keeps it, and is in nobody's way."""
    place.up()
    os.mkdir(place.point + "/web")
    with subprocess.Popen(["sleep", "1000"], cwd=place.point + "/web") as sleeper:
        try:
            place.die()
            place.up()
            assert len(rows(place.point)) == 1 and os.listdir(place.point)
        finally:
            sleeper.kill()


def test_right_after_an_umount(place):
    """umount(8) returns before the daemon has ended: the next one waits for its spool."""
    for _ in range(10):
        done = place.nefs()
        assert done.returncode == 0, done.stderr
        os.mkdir(place.point + "/web")
        assert run("umount", place.point).returncode == 0
        done = place.nefs()
        assert done.returncode == 0, done.stderr
        assert not os.path.exists(place.point + "/web")
        assert run("umount", place.point).returncode == 0


def test_a_dead_mount_of_another_filesystem(place, tmp_path):
    """... is not nefs's to unmount."""
    program = tmp_path / "dead.py"
    program.write_text("""
import os, sys
fuse = os.open("/dev/fuse", os.O_RDWR)
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
data = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
sys.exit(libc.mount(b"other", sys.argv[1].encode(), b"fuse.other", 0, data) and ctypes.get_errno())
""")
    assert run("python3", str(program), place.point).returncode == 0
    refused(place.nefs(), 32, place.point, "fuse.other", "umount -l")
    assert len(rows(place.point)) == 1


@pytest.mark.sim
def test_an_ordinary_user_starts_over_their_dead_mount(bounded):
    mount = Mount(uid=NOBODY)
    spool = os.path.join(mount.top, "spool")
    try:
        mount.process.kill()
        mount.process.wait(seconds(10))
        assert mount.mounted()
        program = os.path.join(mount.top, "nefs")
        done = run(*mount.as_user(program, "-o", mount.options, mount.root))
        assert done.returncode == 0, done.stderr
        with open(mount.namespace.mountinfo) as file:
            assert len([line for line in file if line.split()[4] == mount.root]) == 1
        assert run(*mount.as_user("cat", mount.path("version"))).returncode == 0
        second = run(*mount.as_user(program, "-o", mount.options, mount.root))
        refused(second, 32, mount.root, f"process {daemons(spool)[0]}")
        assert run(*mount.as_user("fusermount3", "-u", mount.root)).returncode == 0
        finish(spool)
    finally:
        for pid in daemons(spool):
            os.kill(pid, signal.SIGKILL)
        mount.discard()
        mount.delete()


# ---- a living one ----

def test_a_second_one_on_the_mount_point(place, tmp_path):
    """It is refused with the first one's pid, whatever spool it is to have, and by any path."""
    pid = place.up()
    os.mkdir(place.point + "/web")
    (tmp_path / "link").symlink_to(place.point)
    for options in ("", f",spool={tmp_path}/other"):
        for point in (place.point, f"{place.point}/../point", f"{tmp_path}/link"):
            done = run(binary(), "-o", place.options + options, point)
            refused(done, 32, f"process {pid}", place.point)
    assert len(rows(place.point)) == 1 and os.path.isdir(place.point + "/web")


def test_a_second_one_on_the_spool(place, tmp_path):
    pid = place.up()
    (tmp_path / "elsewhere").mkdir()
    done = run(binary(), "-o", place.options, str(tmp_path / "elsewhere"))
    refused(done, 2, f"process {pid}", place.spool)
    assert not mounted(str(tmp_path / "elsewhere"))


def test_a_signal_ends_the_wait_for_a_spool(place):
    """One that has the directory and no mount, as while it starts, is waited for; SIGTERM is not."""
    os.mkdir(place.spool, 0o700)
    fd = os.open(place.spool, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with subprocess.Popen([binary(), "-f", "-o", place.options, place.point], stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as process:
            eventually(lambda: "0000000000004003" in open(f"/proc/{process.pid}/status").read(), "signals are blocked")
            process.terminate()
            assert process.wait(seconds(20)) == 2
            assert f"process {os.getpid()}" in process.stderr.read()
    finally:
        os.close(fd)
    assert not mounted(place.point)


def test_a_place_in_another_one(place, tmp_path):
    pid = place.up()
    os.mkdir(place.point + "/web")
    for name in ["web", "web/../web", *["sim"] * is_sim()]:
        done = run(binary(), "-o", f"{base_options()},spool={tmp_path}/other", f"{place.point}/{name}")
        refused(done, 32, place.point, f"process {pid}")
    place.die()
    done = run(binary(), "-o", f"{base_options()},spool={tmp_path}/other", f"{place.point}/web")
    # Whether the kernel still knows the name or not.
    refused(done, 32 if done.returncode == 32 else 1, place.point, "daemon is dead")


@pytest.mark.parametrize("way", ["open file", "namespace"])
def test_after_a_lazy_umount(place, way):
    """What is still in use elsewhere keeps its daemon, and nobody from mounting; nor does its end."""
    options = base_options()
    spool = "/run/nefs-spool/" + place.point[1:].replace("/", "!")
    assert run(binary(), "-o", options, place.point).returncode == 0
    older = claimed(place.point)
    if way == "namespace":
        keeper = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", "echo; exec cat"],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert keeper.stdout.readline() == b"\n"
    else:
        keeper = open(place.point + "/events", "rb")
    try:
        assert run("umount", "-l", place.point).returncode == 0
        done = run(binary(), "-o", options, place.point)
        assert done.returncode == 0, done.stderr
        newer = claimed(place.point)
        assert older != newer
        os.kill(older, signal.SIGTERM)
        eventually(lambda: not os.path.exists(f"/proc/{older}"), "the older one ends")
        assert os.path.isdir(spool)
        enclave = place.point + "/web"
        os.mkdir(enclave)
        assert put(enclave + "/image", SMALL) == "OK"
        assert run("umount", place.point).returncode == 0
        # It ends by that already, unless somebody has a copy of the mount in another namespace.
        with contextlib.suppress(ProcessLookupError):
            os.kill(newer, signal.SIGTERM)
    finally:
        if way == "namespace":
            keeper.kill()
            keeper.communicate()
        else:
            keeper.close()
    eventually(lambda: not os.path.exists(spool), "the newer one ends")


# ---- the mount point ----

def test_what_is_no_mount_point(place, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    for name, words in (("nothing", ["mkdir"]), ("file", ["not a directory"]), ("dangling", ["mkdir"]),
                        ("loop", ["symbolic links"]), ("file/below", ["directory"]), ("x" * 300, ["long"])):
        done = run(binary(), "-o", place.options, str(tmp_path / name))
        refused(done, 1, tmp_path / name, *words)


@pytest.mark.parametrize("name", ["a,b", "a\\b", "a b", "a\nb", "a\tb", "-a", "a#b", "a\\040b", "\xe4",
                                  "spool=x,ro"])
def test_names_of_mount_points(bounded, tmp_path, name):
    """Any name that a directory can have; a link leads to one, too."""
    path = str(tmp_path / name)
    os.mkdir(path)
    spool = str(tmp_path / "spool")
    os.symlink(name, tmp_path / "link")
    try:
        for words, folder in ((["--", name], tmp_path), ([path], None), ([str(tmp_path / "link")], None)):
            done = run(binary(), "-o", f"{base_options()},spool={spool}", *words, cwd=folder)
            assert done.returncode == 0 and done.stderr == "", done
            os.mkdir(path + "/web")
            assert put(path + "/web/memory", b"64M\n") == "OK"
            again = run(binary(), "-o", f"{base_options()},spool={spool}", path)
            assert again.returncode == 32 and "process" in again.stderr, again
            assert run("umount", "--", path).returncode == 0
            finish(spool)
    finally:
        if os.path.ismount(path):
            run("umount", "-l", "--", path)


def test_a_long_mount_point(bounded, tmp_path):
    """Its default spool has a name of its own all the same."""
    path = tmp_path / ("x" * 200) / ("y" * 200) / ("z" * 200)
    path.mkdir(parents=True)
    assert run(binary(), "-o", base_options(), str(path)).returncode == 0
    pid = claimed(str(path))
    try:
        os.mkdir(path / "web")
        assert put(path / "web/image", SMALL) == "OK"
    finally:
        os.kill(pid, signal.SIGTERM)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "it ends")
    assert not mounted(str(path))


def test_what_is_hidden_is_told(place):
    with open(place.point + "/memory", "wb"):
        pass
    done = place.nefs()
    assert done.returncode == 0
    assert done.stderr == f"nefs: what is in {place.point} is hidden until nefs is unmounted\n"
    assert not os.path.exists(place.point + "/memory")


# ---- the spool ----

@pytest.mark.parametrize("flag", [[], ["-f"]], ids=["background", "foreground"])
def test_a_relative_spool(place, tmp_path, flag):
    with subprocess.Popen([binary(), *flag, "-o", f"{base_options()},spool=below/mine", "point"],
                          cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: mounted(place.point), "it mounts")
        assert (tmp_path / "below/mine").is_dir()
        os.kill(claimed(place.point), signal.SIGTERM)
        assert process.wait(seconds(20)) == 0
    eventually(lambda: not mounted(place.point), "it unmounts")


def test_a_relative_device(place, tmp_path):
    done = run(binary(), "-o", f"backend=kernel,device=mine,spool={place.spool}", place.point, cwd=tmp_path)
    refused(done, 1, f"{tmp_path}/mine")


def test_a_spool_that_cannot_be_written(place):
    os.mkdir(place.spool, 0o700)
    assert run("mount", "-t", "tmpfs", "-o", "ro,mode=700", "none", place.spool).returncode == 0
    try:
        refused(place.nefs(), 2, place.spool, "Read-only", "-o spool=")
        assert run("mount", "-o", "remount,rw,size=4k,nr_inodes=2", place.spool).returncode == 0
        with open(place.spool + "/full", "wb") as file:
            file.write(bytes(4096))
        refused(place.nefs(), 2, place.spool, "No space")
        os.unlink(place.spool + "/full")
        place.up()
    finally:
        place.end()
        assert run("umount", place.spool).returncode == 0


def test_the_default_spool_goes_with_the_mount(place):
    """... with what was made for it, and unless there is something in it."""
    spool = "/run/nefs-spool/" + place.point[1:].replace("/", "!")
    for left in (True, False):
        assert run(binary(), "-o", base_options(), place.point).returncode == 0
        pid = claimed(place.point)
        if left:
            open(spool + "/other", "wb").close()
        else:
            os.unlink(spool + "/other")
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not os.path.exists(f"/proc/{pid}"), "it ends")
        assert os.path.exists(spool) == left and not mounted(place.point)


def test_a_spool_that_was_given_stays(place):
    place.up()
    place.end()
    assert os.path.isdir(place.spool) and os.listdir(place.spool) == []


# ---- limits and closed descriptors ----

@pytest.mark.sim
def test_a_file_size_limit(place, new_mount, tmp_path):
    """RLIMIT_FSIZE: the writer is told by EFBIG and a sentence, and nefs goes on."""
    program = tmp_path / "limited"
    program.write_text(f"#!/bin/sh\nulimit -f 139264 || exit 9\nexec '{binary()}' \"$@\"\n")
    program.chmod(0o755)
    mount = new_mount("sim_memory=64M", program=str(program))
    limit = 139264 * 512
    enclave = mount.enclave()
    image = padded(limit + 4096)
    with open(enclave.path("image"), "wb", buffering=0) as file:
        assert file.write(image[:65536]) == 65536
        done = 65536
        with pytest.raises(OSError) as error:
            while True:
                done += file.write(image[done:done + (1 << 20)])
    assert error.value.errno == errno.EFBIG and done == limit
    assert str(limit).encode() in enclave.error and b"ulimit -f" in enclave.error
    assert put(enclave.path("image"), SMALL) == "OK"
    fd = os.open(enclave.path("staged.1"), os.O_WRONLY | os.O_CREAT)
    try:
        for call in (lambda: os.pwrite(fd, b"x", limit), lambda: os.ftruncate(fd, limit + 1)):
            assert put(enclave.path("memory"), b"64M") == "OK"
            assert outcome(call) == "EFBIG"
            assert enclave.error.startswith(b"staged.1: ") and b"ulimit -f" in enclave.error
    finally:
        os.close(fd)
        os.unlink(enclave.path("staged.1"))
    assert mount.alive()


@pytest.mark.sim
def test_a_file_size_limit_below_the_simulated_memory(new_mount, tmp_path):
    """It is about files: the memory is had all the same, and a user's write is bounded."""
    program = tmp_path / "limited"
    program.write_text(f"#!/bin/sh\nulimit -f 200 || exit 9\nexec '{binary()}' \"$@\"\n")
    program.chmod(0o755)
    mount = new_mount(program=str(program))
    enclave = mount.enclave().running(memory=b"1G")
    fd = os.open(enclave.path(".staged"), os.O_WRONLY | os.O_CREAT)
    try:
        assert os.write(fd, b"x" * 65536) == 65536
        assert outcome(os.pwrite, fd, b"x", 200 * 512) == "EFBIG"
    finally:
        os.close(fd)


@pytest.mark.sim
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux's setpriv is missing")
def test_a_file_size_limit_without_a_way_around(place):
    """As an ordinary user."""
    script = (f"ulimit -f 1000; exec setpriv --bounding-set=-sys_admin,-checkpoint_restore "
              f"'{binary()}' -o '{place.options}' '{place.point}'")
    refused(run("sh", "-c", script), 2, "4096 MiB", "ulimit -f", "sim_memory")


@pytest.mark.sim
@pytest.mark.parametrize("closed", ["0", "1", "2", "01", "02", "12", "012"])
@pytest.mark.parametrize("flag", ["", "-f"], ids=["background", "foreground"])
def test_closed_standard_descriptors(place, tmp_path, flag, closed):
    closing = " ".join(f"{fd}{'<' if fd == '0' else '>'}&-" for fd in closed)
    script = f"exec '{binary()}' {flag} -o '{place.options}' '{place.point}' {closing}"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        if not flag:
            assert process.wait(seconds(20)) == 0
        eventually(lambda: mounted(place.point), "it mounts")
        mount = Mount.__new__(Mount)
        mount.root, mount.names, mount.plan = place.point, 0, ()
        enclave = mount.enclave().running()
        assert enclave.stop() == "OK"
        for fd in closed:
            assert os.readlink(f"/proc/{place.pid()}/fd/{fd}") == "/dev/null"
        os.kill(place.pid(), signal.SIGTERM)
        assert process.wait(seconds(20)) == 0


# ---- the kernel's FUSE ----

@pytest.mark.parametrize("flag", [[], ["-f"]], ids=["background", "foreground"])
def test_an_init_that_fails(place, flag):
    """What libfuse does not agree to ends it, and leaves no mount."""
    done = run(binary(), *flag, "-o", place.options + ",max_read=65536", place.point)
    assert done.returncode == 32
    assert "nefs: " in done.stderr and "FUSE_INIT" in done.stderr
    assert not mounted(place.point) and not daemons(place.spool)


def test_dev_fuse_that_is_something_else(place):
    script = "mount --bind /dev/null /dev/fuse && exec \"$@\""
    done = run("unshare", "-m", "sh", "-c", script, "sh", binary(), "-o", place.options, place.point)
    assert done.returncode == 32 and "10:229" in done.stderr, done


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux's setpriv is missing")
@pytest.mark.sim
def test_dev_fuse_that_is_roots(bounded, tmp_path):
    """An ordinary user is told why they cannot mount."""
    top = tmp_path / "top"
    top.mkdir()
    program = shutil.copy(binary(), top / "nefs")
    for path in [tmp_path, *tmp_path.parents]:
        if path.stat().st_mode & 0o001 == 0 and path.stat().st_uid == 0:
            path.chmod(path.stat().st_mode | 0o011)
    for name in ("point", "spool"):
        (top / name).mkdir(0o700)
        os.chown(top / name, NOBODY, NOBODY)
    script = "mount -t tmpfs none /mnt && mknod -m 600 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse && " \
             'exec setpriv --reuid=65534 --regid=65534 --clear-groups "$@"'
    done = run("unshare", "-m", "sh", "-c", script, "sh", str(program), "-o",
               f"backend=sim,sim_vm=none,spool={top}/spool", str(top / "point"))
    assert done.returncode == 32, done
    assert "/dev/fuse" in done.stderr and "0600" in done.stderr and "65534" in done.stderr


# ---- options ----

@pytest.mark.parametrize("options", [
    "defaults", "auto,noauto,nofail,_netdev", "user,users,nouser,owner,group", "user=nobody,noowner,nogroup",
    "x-systemd.automount,x-gvfs-hide,X-mount.mkdir", "comment=a word", "rw,suid,dev,exec", "async,noatime"])
def test_options_of_fstab(place, options):
    place.up(options="," + options)
    flags = set(rows(place.point)[0].split()[5].split(","))
    assert {"rw", "nosuid", "nodev", "noexec"} <= flags


@pytest.mark.parametrize("option,words", [
    ("ro", ["ro", "bind"]), ("remount", ["remount", "unmount"]), ("remount,ro", ["remount"]),
    ("group=nosuchgroup", ["nosuchgroup", "groupadd"]), ("sim_memory=4X", ["sim_memory", "4X"]),
    ("sim_memory=", ["sim_memory"]), ("sim_memory=64M64M", ["64M64M"]), ("sim_cpus=4 4", ["sim_cpus"])])
def test_options_that_are_refused(place, option, words):
    refused(place.nefs(options="," + option), 1, *words)
    assert not mounted(place.point)


def test_options_given_twice(place, tmp_path):
    """The last one counts."""
    done = run(binary(), "-o", f"{base_options()},spool={tmp_path}/no", "-o", f"spool={place.spool}", place.point)
    assert done.returncode == 0
    assert os.path.isdir(place.spool) and not os.path.exists(tmp_path / "no")


@pytest.mark.parametrize("source,shown", [("one,two", "one,two"), ("a\\b", "a\\134b"), ("a b", "a\\040b"),
                                          ("a\nb", "a\\012b"), ("", "nefs"), (None, "nefs")])
def test_sources(place, source, shown):
    place.up() if source is None else place.nefs(source)
    assert rows(place.point)[0].split(" - ")[1].split()[:2] == ["fuse.nefs", shown]


def test_a_source_by_fsname(place):
    place.up(options=",fsname=mine")
    assert rows(place.point)[0].split(" - ")[1].split()[1] == "mine"


@pytest.mark.skipif(shutil.which("mount.fuse3") is None, reason="fuse3 is not installed")
@pytest.mark.parametrize("way", ["-t fuse.nefs 'a source' \"$1\" -o \"$OPTIONS\"", "-T \"$FSTAB\" \"$1\""],
                         ids=["command", "fstab"])
def test_by_mount(place, tmp_path, way):
    """mount(8) runs mount.fuse3, which finds nefs where programs are; here in a namespace."""
    (tmp_path / "bin").mkdir()
    shutil.copy(binary(), tmp_path / "bin/nefs")
    options = f"{place.options},nofail,_netdev,user,x-systemd.before=a.service,comment=x"
    (tmp_path / "fstab").write_text(f"a\\040source {place.point} fuse.nefs noauto,{options} 0 0\n")
    script = f"""
        for folder in /usr/local/bin /usr/local/sbin; do mount --bind '{tmp_path}/bin' "$folder" || exit; done
        mount {way} || exit
        cat "$1/version" && grep -F " $1 " /proc/self/mountinfo
        mount {way}; echo $?
        umount "$1" """
    done = run("unshare", "-m", "sh", "-c", script, "sh", place.point,
               env={**os.environ, "OPTIONS": options, "FSTAB": f"{tmp_path}/fstab"})
    assert done.returncode == 0, done
    version, row, again = done.stdout.splitlines()
    assert version.startswith("0.") and "a\\040source" in row and " fuse.nefs " in row
    assert {"nosuid", "nodev", "noexec"} <= set(row.split()[5].split(","))
    assert again == "32" and "process" in done.stderr


def test_flags_in_any_order(place):
    """-d says each request, whatever stands behind it."""
    with subprocess.Popen([binary(), "-d", "-f", "-o", place.options, place.point], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        eventually(lambda: mounted(place.point), "it mounts")
        os.stat(place.point + "/version")
        process.terminate()
        _, said = process.communicate(timeout=seconds(15))
        assert b"LOOKUP" in said


# ---- the caller ----

def test_what_the_caller_leaves_it(place):
    """An odd umask, ignored signals, a directory that goes: none of it is the daemon's."""
    script = f"""
        umask 0777; trap '' CHLD HUP TERM; mkdir -m 700 '{place.point}.gone'; cd '{place.point}.gone'
        rmdir '{place.point}.gone'; exec '{binary()}' -o '{place.options}' '{place.point}'"""
    done = run("sh", "-c", script)
    assert done.returncode == 0, done.stderr
    pid = place.pid()
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    with open(f"/proc/{pid}/status") as file:
        assert "Umask:\t0022\n" in file.read()
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    assert int(fields[3]) == pid and int(fields[4]) == 0, "a session of its own, and no terminal"
    os.kill(pid, signal.SIGHUP)
    os.mkdir(place.point + "/web")
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not daemons(place.spool), "it ends")
    assert not mounted(place.point)
