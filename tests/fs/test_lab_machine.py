# SPDX-License-Identifier: GPL-2.0-or-later
"""
Linux's driver on machines of all kinds: NUMA nodes, pages of two sizes, cores of two threads, memory in
pieces, and a pool that is empty or somebody else's. The lab for it has 2 nodes of 8 CPUs, the pool 2-7,
a page of 1 GiB, and a device that takes 8 regions (the suite lab-machine).
"""
import contextlib
import ctypes
import mmap
import struct

import device_port
import pytest

pytestmark = pytest.mark.machine

MIB = 1 << 20
POOL = "/sys/module/nitro_enclaves/parameters/ne_cpus"


def pages(node, size="2048kB", which="free"):
    path = f"/sys/devices/system/node/node{node}/hugepages/hugepages-{size}/"
    with open(path + ("nr_hugepages" if which == "nr" else "free_hugepages")) as file:
        return int(file.read())


def set_pages(node, count):
    path = f"/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages"
    with open(path, "w") as file:
        file.write(str(count))
    assert pages(node, which="nr") == count


def move_pool(cpus):
    with open(POOL, "w") as file:
        file.write(cpus)


@pytest.fixture
def machine(new_mount):
    """A mount, and behind the test the machine as it was."""
    before = {node: pages(node, which="nr") for node in (0, 1)}
    with open(POOL) as file:
        pool = file.read().strip()
    free = device_port.free_cpus()
    mount = new_mount()
    yield mount
    mount.clear()
    for node, count in before.items():
        set_pages(node, count)
    move_pool(pool)
    assert device_port.free_cpus() == free
    assert device_port.ask("list") == []


@contextlib.contextmanager
def taken(*sizes):
    """Huge pages of these sizes (MAP_HUGE_2MB, MAP_HUGE_1GB: (bytes, flag)), by somebody else."""
    held = []
    try:
        for size, flag in sizes:
            held.append(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000 | flag))
            for at in range(0, size, 2 * MIB):
                held[-1][at] = 1
        yield
    finally:
        for memory in held:
            memory.close()


def all_pages():
    """All free pages of 2 MiB, those at the highest address first."""
    held = [mmap.mmap(-1, 2 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000)
            for _ in range(pages(0) + pages(1))]
    for memory in held:
        memory[0] = 1
    return sorted(held, key=frame, reverse=True)


@contextlib.contextmanager
def in_pieces():
    """Of the free pages of 2 MiB none is beside another."""
    held = all_pages()
    odd = [memory for memory in held if frame(memory) % 2]
    assert len(odd) >= 64
    try:
        for memory in odd:
            memory.close()
        yield
    finally:
        for memory in held:
            memory.close()
        # The page that was freed last is given out first: those that follow are in a row again.
        for memory in all_pages():
            memory.close()


def frame(memory):
    """Which huge page of the machine this one is (Linux's pagemap.rst)."""
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    with open("/proc/self/pagemap", "rb") as file:
        file.seek(address // 4096 * 8)
        entry, = struct.unpack("Q", file.read(8))
    number = entry & (1 << 55) - 1
    assert number, "the kernel does not tell where pages are"
    return number // 512


def assert_failed(enclave, *words):
    assert enclave.state == "failed"
    for word in words:
        assert word in enclave.error.lower(), enclave.error
    for file in ("memory.effective", "cpus.effective", "cid.effective", "slot"):
        assert enclave.get(file) == b"\n"
    assert device_port.ask("list") == []


# ---- NUMA ----

def test_memory_is_of_the_pools_node(machine):
    set_pages(1, 64)
    free = pages(0), pages(1)
    enclave = machine.enclave().running()
    assert (pages(0), pages(1)) == (free[0] - 32, free[1])
    enclave.stop()
    enclave.reaches("stopped")
    assert (pages(0), pages(1)) == free


def test_memory_of_another_node_does_not_count(machine):
    set_pages(0, 16)
    set_pages(1, 64)
    enclave = machine.enclave().ready()
    with taken((1024 * MIB, 30 << 26)):
        assert enclave.start() == "ENOMEM"
    assert_failed(enclave, b"64 mib", b"16 of 16")
    assert (pages(0), pages(1)) == (16, 64)
    # What the sentence asks for.
    set_pages(0, 32)
    assert enclave.start() == "OK", enclave.error


def test_pool_of_another_node(machine):
    set_pages(1, 64)
    move_pool("10-13")
    enclave = machine.enclave().running()
    assert (pages(0), pages(1)) == (pages(0, which="nr"), 32)
    assert enclave.get("cpus.effective") in (b"10-11\n", b"12-13\n")


# ---- Page sizes ----

def test_pages_of_both_sizes(machine):
    free = pages(0)
    assert pages(0, "1048576kB") == 1
    enclave = machine.enclave().ready(memory=b"1088M")
    assert enclave.start() == "OK", enclave.error
    enclave.reaches("running")
    assert (pages(0, "1048576kB"), pages(0)) == (0, free - 32)
    assert enclave.get("memory.effective") == b"%d\n" % (1088 * MIB)
    assert [int(line.split()[3]) for line in device_port.ask("list")] == [1088 * MIB]
    enclave.stop()
    enclave.reaches("stopped")
    assert (pages(0, "1048576kB"), pages(0)) == (1, free)


def test_large_page_is_somebody_elses(machine):
    enclave = machine.enclave().ready(memory=b"1G")
    free = pages(0)
    with taken((1024 * MIB, 30 << 26)):
        assert pages(0, "1048576kB") == 0
        assert enclave.start() == "ENOMEM"
        assert_failed(enclave, b"0 of 1 pages of 1024 mib", b"%d of %d pages of 2 mib" % (free, free))
        assert pages(0) == free
    assert enclave.start() == "OK", enclave.error


def test_too_few_pages(machine):
    enclave = machine.enclave().ready(memory=b"320M")
    with taken((1024 * MIB, 30 << 26), ((pages(0) - 100) * 2 * MIB, 0)):
        free = pages(0)
        assert enclave.start() == "ENOMEM"
        assert_failed(enclave, b"320 mib", b"%d of" % free)
        assert pages(0) == free
    assert enclave.start() == "OK", enclave.error


# ---- The device's limit of regions ----

def test_memory_in_pieces(machine):
    """32 pages that are beside each other are few regions; one by one they are more than 8."""
    enclave = machine.enclave().ready()
    with taken((1024 * MIB, 30 << 26)):
        with in_pieces():
            free = pages(0), pages(1)
            assert enclave.start() == "ENOSPC"
            assert_failed(enclave, b"region")
            assert (pages(0), pages(1)) == free
        assert enclave.start() == "OK", enclave.error


# ---- Cores ----

@pytest.mark.parametrize("values", [{"vcpus": b"1"}, {"vcpus": b"3"}, {"vcpus": None, "cpus": b"2"},
                                    {"vcpus": None, "cpus": b"2,4"}, {"vcpus": None, "cpus": b"3-4"}])
def test_half_a_core(machine, values):
    cpus, free = device_port.free_cpus(), pages(0)
    enclave = machine.enclave().ready(**values)
    assert enclave.start() == "EINVAL"
    assert_failed(enclave, b"core")
    assert (device_port.free_cpus(), pages(0)) == (cpus, free)


def test_cores_are_whole(machine):
    """However enclaves come and go, each has both threads of its cores, and the pool keeps the rest."""
    with taken((1024 * MIB, 30 << 26)):
        enclaves = [machine.enclave().running() for _ in range(3)]
        assert sorted(enclave.get("cpus.effective") for enclave in enclaves) == \
            [b"2-3\n", b"4-5\n", b"6-7\n"]
        assert device_port.free_cpus() == 0
        late = machine.enclave().ready()
        assert late.start() == "EBUSY"
        assert late.error != b""
        middle = enclaves[1]
        freed = middle.get("cpus.effective")
        middle.stop()
        middle.reaches("stopped")
        assert device_port.free_cpus() == 2
        assert late.start() == "OK", late.error
        assert late.get("cpus.effective") == freed


# ---- The pool ----

def test_empty_pool(machine):
    # The driver refuses the text, and has given the old pool back by then.
    with pytest.raises(OSError):
        move_pool("nonsense")
    enclave = machine.enclave().ready()
    assert enclave.start() == "EBUSY"
    assert_failed(enclave, b"cpu")
    move_pool("2-7")
    assert enclave.start() == "OK", enclave.error


def test_pool_is_somebody_elses(machine):
    enclave = machine.enclave().ready()
    with device_port.all_cpus() as count:
        assert count == 6
        assert enclave.start() == "EBUSY"
        assert enclave.state == "failed"
        assert b"cpu" in enclave.error.lower()
        assert pages(0) == pages(0, which="nr")
    assert enclave.start() == "OK", enclave.error


def test_core_is_somebody_elses(machine):
    """By number only what is still there can be had."""
    with device_port.all_cpus(2):
        enclave = machine.enclave().ready(vcpus=None, cpus=b"2-3")
        assert enclave.start() == "EBUSY"
        assert enclave.state == "failed"
        assert b"cpu" in enclave.error.lower()
        other = machine.enclave().ready(vcpus=None, cpus=b"4-5")
        assert other.start() == "OK", other.error
    assert enclave.start() == "OK", enclave.error
