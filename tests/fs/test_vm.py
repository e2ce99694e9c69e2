# SPDX-License-Identifier: GPL-2.0-or-later
"""Enclaves that really boot: the kernel NEFS_KERNEL, and busybox as their init."""
import os
import re
import signal
import subprocess

import pytest
import eif_image
from harness import Child, Mount, eventually, raw_read, seconds

pytestmark = [pytest.mark.sim, pytest.mark.vm, pytest.mark.limit(150)]

BOOT = 60  # seconds; without KVM some 15
SETUP = b"""#!/bin/busybox sh
busybox=/bin/busybox
$busybox mount -t proc proc /proc
$busybox mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
echo "hello from $($busybox uname -s), process $$"
"""
SLEEP = SETUP + b"exec $busybox sleep 3600\n"
END = SETUP + b"$busybox sleep 1\n$busybox reboot -f\n"
# Lines that are numbered: 1.4 MB of them.
TALK = SETUP + b"$busybox seq -f 'line %012.0f of many, many lines' 1 36000\necho done\n" \
               b"exec $busybox sleep 3600\n"


def image(folder, init):
    """An EIF with this init."""
    for name in ("bin", "dev", "proc"):
        (folder / "root" / name).mkdir(parents=True, exist_ok=True)
    with open("/bin/busybox", "rb") as file:
        (folder / "root/bin/busybox").write_bytes(file.read())
    (folder / "root/init").write_bytes(init)
    for name in ("init", "bin/busybox"):
        os.chmod(folder / "root" / name, 0o755)
    ramdisk = subprocess.run("find . | cpio --quiet -o -H newc", shell=True, check=True,
                             stdout=subprocess.PIPE, cwd=folder / "root",
                             timeout=seconds(30)).stdout
    with open(os.environ["NEFS_KERNEL"], "rb") as file:
        kernel = file.read()
    return eif_image.build(kernel=kernel, ramdisks=(ramdisk,),
                           cmdline=b"console=ttyS0 reboot=k panic=1 quiet")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The images, each built once."""
    made = {}

    def make(init):
        if init not in made:
            made[init] = image(tmp_path_factory.mktemp("image"), init)
        return made[init]
    return make


@pytest.fixture
def vm_mount(bounded):
    """A mount whose enclaves are QEMU processes."""
    with Mount(base="backend=sim,sim_vm=qemu") as mount:
        yield mount
        assert mount.alive(), mount.said()
        mount.clear()
        eventually(lambda: not machines(mount), "no VM outlives its enclave")


def machines(mount):
    """The pids of the VMs, children of the daemon."""
    found = run_ps(mount.process.pid)
    return [int(pid) for pid, name in found if name.startswith("qemu")]


def run_ps(parent):
    text = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(parent)], check=False,
                          stdout=subprocess.PIPE, timeout=seconds(10), text=True).stdout
    return [line.split(None, 1) for line in text.splitlines()]


def boot(mount, images, init=SLEEP, **values):
    return mount.enclave().running(image=images(init), memory=b"256M", **values)


def read_until(path, word):
    """In a child: follows the console from its start until the word was seen."""
    fd = os.open(path, os.O_RDONLY)
    text = b""
    while word not in text:
        part = raw_read(fd)
        assert isinstance(part, bytes) and part, (part, text[-2000:])
        text += part
    return text


def test_console_is_followed_and_kept(vm_mount, images):
    enclave = boot(vm_mount, images, debug=b"1")
    text = Child(read_until, enclave.path("console"), b"hello from Linux, process 1").result(BOOT)
    assert os.stat(enclave.path("console")).st_size >= len(text)
    assert enclave.stop() == "OK"
    enclave.reaches("stopped")
    kept = enclave.get("console")
    assert kept.startswith(text) and enclave.get("console") == kept
    assert os.stat(enclave.path("console")).st_size == len(kept)
    assert enclave.start() == "OK"
    assert not enclave.get("console", os.O_NONBLOCK | 0).startswith(kept) \
        if enclave.stop() == "OK" and enclave.settle() else True


def test_without_debug_nothing_is_shown(vm_mount, images):
    enclave = boot(vm_mount, images)
    assert len(machines(vm_mount)) == 1
    assert enclave.get("console") == b""


def test_an_enclave_that_ends_by_itself(vm_mount, images):
    enclave = boot(vm_mount, images, END, debug=b"1")
    assert enclave.reaches("crashed", bound=BOOT)
    assert b"hello from Linux" in enclave.get("console")
    assert enclave.error.count(b"\n") == 1
    assert (enclave.events()["crashes"], enclave.events()["stops"]) == (1, 0)
    assert machines(vm_mount) == [] and vm_mount.slots() == []


def test_a_killed_vm_is_a_crash(vm_mount, images):
    enclave = boot(vm_mount, images)
    pid, = machines(vm_mount)
    os.kill(pid, signal.SIGKILL)
    assert enclave.reaches("crashed")
    assert enclave.get("memory.effective") == b"\n" and machines(vm_mount) == []
    assert enclave.start() == "OK" and enclave.reaches("running")


def test_stop_ends_the_vm(vm_mount, images):
    enclave = boot(vm_mount, images)
    assert enclave.stop() == "OK"
    assert enclave.reaches("stopped") and machines(vm_mount) == []


def test_two_at_once(vm_mount, images):
    one, two = boot(vm_mount, images, debug=b"1"), boot(vm_mount, images, debug=b"1")
    assert len(machines(vm_mount)) == 2
    readers = [Child(read_until, enclave.path("console"), b"hello from Linux, process 1")
               for enclave in (one, two)]
    for reader in readers:
        reader.result(BOOT)
    one.crash()
    assert two.state == "running" and len(machines(vm_mount)) == 1


def test_umount_ends_the_vms(images, bounded):
    with Mount(base="backend=sim,sim_vm=qemu") as mount:
        boot(mount, images)
        pid, = machines(mount)
        mount.process.terminate()
        assert mount.wait_exit() == 0, mount.said()
        assert not os.path.exists(f"/proc/{pid}")


def test_the_last_mebibyte_is_kept(vm_mount, images):
    enclave = boot(vm_mount, images, TALK, debug=b"1")

    def last():
        return b"done" in enclave.get("console", os.O_NONBLOCK)[-200:] \
            if os.stat(enclave.path("console")).st_size == 1 << 20 else False
    eventually(last, "it has said it all", bound=BOOT, step=0.5)
    assert enclave.stop() == "OK"
    enclave.reaches("stopped")
    kept = enclave.get("console")
    assert len(kept) == 1 << 20
    numbers = [int(number) for number in re.findall(rb"line (\d{12}) of", kept)]
    assert numbers == list(range(numbers[0], 36001)), "nothing is missing in between"
