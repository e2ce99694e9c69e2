# SPDX-License-Identifier: GPL-2.0-or-later
"""
Enclaves that are machines with vsock, under Linux's driver in the lab (scripts/lab --vm qemu): an image
that nitro-cli made, and AWS's kernel and init with other commands.
"""
import os
import re
import subprocess

import pytest
from guest import entry, image
from harness import eventually, read_outcome
from nefs_mount import eif_binary
from watching import Watched, poll_change

pytestmark = [pytest.mark.lab_vm, pytest.mark.limit(60)]

VALUES = {"memory": b"256M\n", "debug": b"1\n"}


def vector4():
    with open(os.environ["NEFS_VECTOR4"], "rb") as file:
        return file.read()


@pytest.fixture(scope="module")
def with_command(tmp_path_factory):
    """Makes images of vector 4's kernel, init and files whose init runs another command."""
    parts = tmp_path_factory.mktemp("vector4") / "parts"
    subprocess.run([eif_binary(), "extract", os.environ["NEFS_VECTOR4"], parts], check=True)

    def make(script):
        # The kernel unpacks what comes later over what was there.
        command = b"/bin/sh\n-c\n" + script.encode() + b"\n"
        (parts / "command").write_bytes(entry("cmd", 0o100644, command) + entry("TRAILER!!!", 0))
        subprocess.run([eif_binary(), "build", "--arch", "aarch64", "--kernel", parts / "kernel",
                        "--cmdline-file", parts / "cmdline", "--ramdisk", parts / "ramdisk0",
                        "--ramdisk", parts / "ramdisk1", "--ramdisk", parts / "command",
                        "-o", parts / "image"], check=True)
        return (parts / "image").read_bytes()
    return make


@pytest.fixture
def lab_mount(new_mount):
    return new_mount("arch=any")


def test_nitro_clis_own_image(lab_mount):
    """It says hello and ends; AWS's init reports in before."""
    enclave = lab_mount.enclave().ready(image=vector4(), **VALUES)
    assert enclave.start() == "OK", enclave.error
    assert enclave.reaches("running", "failed", bound=15) == "running", enclave.error
    assert int(enclave.get("cid.effective")) >= 16
    with open(enclave.path("console.follow"), "rb") as console:
        said = console.read()
    assert b"nsm: loading out-of-tree module" in said and b"Hello (from a nitro enclave!)" in said
    assert enclave.reaches("crashed")
    assert enclave.events()["starts"] == 1 and enclave.events()["crashes"] == 1


def test_crash_and_stop(lab_mount, with_command):
    content = with_command("echo up $(uname -m); while :; do echo tick; sleep 1; done")
    enclave = lab_mount.enclave().running(image=content, **VALUES)
    with open(enclave.path("console.follow"), "rb", buffering=0) as console:
        said = b""
        while b"tick" not in said:
            said += console.read(4096)
    assert b"up aarch64" in said
    with Watched(enclave.path("events")) as events:
        lab_mount.crash(enclave)
        assert poll_change(events.fd, 10)
    assert enclave.reaches("crashed")
    assert b"ended by itself" in enclave.error
    # All of it is there again, and can be had again.
    assert enclave.start() == "OK", enclave.error
    assert enclave.reaches("running", "failed", bound=15) == "running", enclave.error
    enclave.stop()
    assert enclave.reaches("stopped")
    assert enclave.events()["crashes"] == 1
    eventually(lambda: lab_mount.slots() == [], "all slots are given back")


def test_without_debug_mode(lab_mount, with_command):
    """Its init has a console all the same, which nobody reads."""
    content = with_command("while :; do echo tick; sleep 1; done")
    enclave = lab_mount.enclave().running(image=content, memory=b"256M\n")
    assert read_outcome(enclave.path("console.follow"), os.O_NONBLOCK) in (b"", "EAGAIN")
    assert enclave.state == "running"


def test_much_output(lab_mount, with_command):
    """
    It comes in order and to its end. Not in full for certain: vhost-device-vsock stands between the
    hypervisor's port and the parent, and with a busy machine some lines of such a burst were missing.
    The last one, too: it comes again and again.
    """
    content = with_command("dmesg -n 1; sleep 1; i=0; while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done; "
                           "while :; do echo the end; sleep 1; done")
    enclave = lab_mount.enclave().running(image=content, **VALUES)
    with open(enclave.path("console.follow"), "rb", buffering=0) as console:
        said = b""
        while b"the end" not in said:
            said += console.read(65536)
    numbers = [int(number) for number in re.findall(rb"\nline (\d+)\r", said)]
    assert numbers == sorted(set(numbers)) and len(numbers) > 1000
    print(f"\n{len(numbers)} of 4000 lines")


def test_two_boot_at_the_same_time(lab_mount, with_command):
    """One listener for both; they are told apart by their CIDs."""
    content = with_command("while :; do sleep 1000; done")
    enclaves = [lab_mount.enclave().ready(image=content, **VALUES) for _ in range(2)]
    for enclave in enclaves:
        assert enclave.start(os.O_NONBLOCK) == "OK"
    for enclave in enclaves:
        assert enclave.reaches("running", "failed", bound=20) == "running", enclave.error
    assert len({enclave.get("cid.effective") for enclave in enclaves}) == 2


def test_no_heartbeat(lab_mount):
    """A kernel that boots and an init that does not report in."""
    enclave = lab_mount.enclave().ready(image=image("tick"), boot_timeout=b"12\n", **VALUES)
    assert enclave.start() == "OK", enclave.error
    assert enclave.reaches("failed", "running", bound=10) == "failed"
    assert b"heartbeat" in enclave.error and b" 12.0 s " in enclave.error
    eventually(lambda: lab_mount.slots() == [], "all slots are given back")


def test_death_during_boot_is_told_at_once(lab_mount):
    enclave = lab_mount.enclave().ready(image=image("quit"), boot_timeout=b"600\n", **VALUES)
    enclave.start()
    assert enclave.reaches("failed", "running", bound=8) == "failed"
    assert b"heartbeat" in enclave.error or b"boot" in enclave.error
    eventually(lambda: lab_mount.slots() == [], "all slots are given back")
