# SPDX-License-Identifier: GPL-2.0-or-later
"""
Other clients of Linux's driver in the lab, beside nefs: the sample of the kernel's source (NE_SAMPLE, built
from it; NE_SAMPLE_LARGE, with 1,024 regions of 2 MiB) and QEMU's nitro accelerator.
"""
import os
import re
import signal
import subprocess
import time

import device_port
import pytest
from eif_image import padded
from guest import image
from harness import eventually, seconds
from test_lab_enclave import VALUES, with_command  # noqa: F401

TICK = "while :; do echo tick; sleep 1; done"


class Client:
    """A foreign client, and what it printed."""

    def __init__(self, log, *command, environment=None):
        self.log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(
                ["stdbuf", "-oL", *map(str, command)], stdin=subprocess.DEVNULL, stdout=file,
                stderr=file, env={**os.environ, **(environment or {})})

    def said(self):
        with open(self.log) as file:
            return file.read()

    def says(self, text, bound=10):
        end = time.monotonic() + seconds(bound)
        while text not in self.said():
            assert time.monotonic() < end and self.process.poll() is None, self.said()
            time.sleep(0.01)

    def end(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def clients(tmp_path):
    """Makes clients, and ends them."""
    made = []

    def make(*command, **kwargs):
        made.append(Client(tmp_path / f"client{len(made)}.log", *command, **kwargs))
        return made[-1]
    yield make
    for client in made:
        client.end()


@pytest.fixture
def tick(tmp_path, with_command):  # noqa: F811
    path = tmp_path / "tick.eif"
    path.write_bytes(with_command(TICK))
    return path


def slots():
    """uid -> (state, cid) of each slot of the device."""
    return {line.split()[0].decode(): (line.split()[1].decode(), line.split()[4].decode())
            for line in device_port.ask("list")}


@pytest.mark.lab_vm
def test_sample_beside_ours(new_mount, clients, tick):
    """Each has its own CPUs and CID, and only the one that crashed is told so."""
    mount = new_mount("arch=any")
    sample = clients(os.environ["NE_SAMPLE"], tick)
    sample.says("Entering sleep")
    (theirs, (state, cid)), = slots().items()
    assert state == "running" and f"CID {cid}\n" in sample.said()
    enclave = mount.enclave().running(image=tick.read_bytes(), **VALUES)
    assert enclave.get("cid.effective").decode().strip() != cid
    taken = set(re.findall(r"Added vCPU (\d+)", sample.said()))
    first, last = enclave.get("cpus.effective").decode().strip().split("-")
    assert taken and not taken & {first, last}
    device_port.ask(f"crash {theirs}")
    sample.says("POLLHUP")
    assert enclave.state == "running"
    sample.end()
    eventually(lambda: len(slots()) == 1, "the sample's slot is free")
    # And the other way round.
    sample = clients(os.environ["NE_SAMPLE"], tick)
    sample.says("Entering sleep")
    mount.crash(enclave)
    assert enclave.reaches("crashed")
    assert "POLLHUP" not in sample.said()


@pytest.mark.lab_vm
def test_port_9000_is_taken(new_mount, clients, tick):
    """The sample holds it until its image has reported in, which this one never does."""
    mount = new_mount("arch=any")
    mute = tick.with_name("mute.eif")
    mute.write_bytes(image("tick"))
    sample = clients(os.environ["NE_SAMPLE"], mute)
    sample.says("Enclave started")
    enclave = mount.enclave().ready(image=tick.read_bytes(), **VALUES)
    enclave.start()
    assert enclave.reaches("failed", "running", bound=10) == "failed"
    assert b"9000" in enclave.error and b"another process" in enclave.error
    assert len(slots()) == 1
    sample.end()
    assert enclave.start() == "OK", enclave.error
    assert enclave.reaches("running", "failed", bound=15) == "running", enclave.error


@pytest.mark.lab_vm
def test_cpus_are_taken_by_the_sample(new_mount, clients, tick):
    """The pool has four CPUs, and the sample takes two."""
    mount = new_mount("arch=any")
    sample = clients(os.environ["NE_SAMPLE"], tick)
    sample.says("Entering sleep")
    enclave = mount.enclave().ready(image=tick.read_bytes(), **{**VALUES, "vcpus": b"4\n"})
    assert enclave.start() == "EBUSY"
    assert enclave.reaches("failed")
    assert b"after 2 of 4 vCPUs" in enclave.error
    assert len(slots()) == 1
    sample.end()
    assert enclave.start() == "OK", enclave.error


@pytest.mark.lab_vm
def test_qemus_accelerator(clients, tick):
    """
    It starts. It does not see a crash: QEMU 11.1's accel/nitro looks at no event of the enclave fd
    (its source registers none), so it goes on until it is ended, and gives all back then.
    """
    tools = os.environ["NEFS_LAB_TOOLS"]
    libraries = f"{tools}/usr/lib/x86_64-linux-gnu"
    qemu = clients(
        f"{libraries}/ld-linux-x86-64.so.2", "--library-path", f"{libraries}:{libraries}/pulseaudio",
        f"{tools}/usr/bin/qemu-system-x86_64", "-M", "nitro", "-accel", "nitro", "-m", "256M",
        "-smp", "2", "-kernel", tick, "-nodefaults", "-display", "none",
        environment={"QEMU_MODULE_DIR": f"{libraries}/qemu"})
    eventually(lambda: [state for state, _ in slots().values()] == ["running"],
               f"QEMU starts an enclave: {qemu.said()}", 20)
    uid, = slots()
    device_port.ask(f"crash {uid}")
    eventually(lambda: slots()[uid][0] == "stopped", "the enclave has crashed")
    time.sleep(1)
    assert qemu.process.poll() is None
    qemu.end()
    eventually(lambda: not slots(), "its slot is free")


def start_of_ours(enclave):
    began = time.monotonic()
    assert enclave.start() == "OK", enclave.error
    assert enclave.reaches("running", bound=20)
    taken = time.monotonic() - began
    enclave.stop()
    assert enclave.reaches("stopped", bound=20)
    eventually(lambda: not slots(), "the device is empty", 20)
    return taken


def start_of_the_sample(clients, path):
    began = time.monotonic()
    sample = clients(os.environ["NE_SAMPLE_LARGE"], path)
    sample.says("Enclave started", bound=20)
    taken = time.monotonic() - began
    sample.end()
    eventually(lambda: not slots(), "the device is empty", 20)
    return taken


def turns(enclave, clients, path, what, rounds=2):
    """Starts of the same image into 2 GiB of pages of 2 MiB, in turns; our best and the sample's."""
    times = [(start_of_ours(enclave), start_of_the_sample(clients, path)) for _ in range(rounds)]
    ours, theirs = (min(column) for column in zip(*times))
    print(f"\n2 GiB, {what}, in seconds, ours and the sample's: "
          f"{', '.join(f'{a:.2f} {b:.2f}' for a, b in times)}\n"
          f"  before: the sample's best {theirs:.2f} s\n  after:  ours {ours:.2f} s, "
          f"ratio {ours / theirs:.2f}")
    return ours, theirs


@pytest.mark.large
@pytest.mark.limit(240)
def test_2_gib_as_fast_as_the_sample(new_mount, clients, tmp_path):
    enclave = new_mount().enclave().ready(memory=b"2G\n")
    path = tmp_path / "image.eif"
    path.write_bytes(enclave.get("image"))
    ours, theirs = turns(enclave, clients, path, "a small image")
    assert ours <= theirs


@pytest.mark.large
@pytest.mark.limit(480)
def test_300_mib_in_six_tenths_of_the_samples_time(new_mount, clients, tmp_path):
    """Both are the best of few starts: where that is missed, there are more of them, twice at most."""
    path = tmp_path / "image.eif"
    path.write_bytes(padded(300 << 20))
    enclave = new_mount().enclave().ready(memory=b"2G\n", image=path.read_bytes())
    # The image has been looked at by then, as it is when somebody starts it later.
    assert enclave.get("measurements").startswith(b"PCR0")
    times = []
    for _ in range(3):
        times.append(turns(enclave, clients, path, "an image of 300 MiB"))
        ours, theirs = (min(column) for column in zip(*times))
        if ours <= 0.6 * theirs:
            break
    assert ours <= 0.6 * theirs, times


@pytest.mark.large
@pytest.mark.limit(120)
def test_2_gib_in_few_calls(new_mount, tmp_path):
    mount = new_mount()
    enclave = mount.enclave().ready(memory=b"2G\n")
    trace = tmp_path / "trace"
    strace = subprocess.Popen(["strace", "-f", "-e", "trace=ioctl", "-o", str(trace), "-p",
                               str(mount.process.pid)], stderr=subprocess.PIPE, text=True)
    try:
        while "attached" not in strace.stderr.readline():
            pass
        assert enclave.start() == "OK", enclave.error
        assert enclave.reaches("running", bound=20)
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(seconds(10))
    calls = re.findall(r"ioctl\(\d+, (?:NE_SET_USER_MEMORY_REGION|_IOC\(\w+, 0xae, 0x23)",
                       trace.read_text())
    print(f"\nNE_SET_USER_MEMORY_REGION for 2 GiB:\n  before: at most 16 wanted\n"
          f"  after:  {len(calls)} calls")
    assert 1 <= len(calls) <= 16
