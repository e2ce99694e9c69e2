# SPDX-License-Identifier: GPL-2.0-or-later
"""All or nothing: whatever fails, everything is given back and the errno is the contract's."""
import os

import pytest
from harness import get

pytestmark = pytest.mark.device

START_COMMANDS = ["SLOT_ALLOC", "SLOT_ADD_MEM", "SLOT_ADD_VCPU", "ENCLAVE_START"]


def assert_nothing_held(enclave):
    for name in ("memory.effective", "cpus.effective", "cid.effective", "slot"):
        assert enclave.get(name) == b"\n", name


def assert_failed(enclave, *words):
    assert enclave.state == "failed"
    sentence = enclave.error
    assert sentence.endswith(b"\n") and sentence.count(b"\n") == 1 and len(sentence) > 20
    assert b"NE_ERR_" not in sentence or b" " in sentence
    for word in words:
        assert word in sentence, sentence
    assert enclave.get("start") == b"0\n"
    assert_nothing_held(enclave)


# ---- Running out ----

def test_out_of_memory(enclave):
    enclave.ready(memory=b"1T\n")
    assert enclave.start() == "ENOMEM"
    assert_failed(enclave, b"memory")
    enclave.set("memory", b"64M")
    assert enclave.start() == "OK", enclave.error


@pytest.mark.sim
def test_out_of_memory_because_of_others(new_mount):
    mount = new_mount("sim_memory=256M")
    first = mount.enclave().running(memory=b"128M")
    second = mount.enclave().ready(memory=b"192M")
    assert second.start() == "ENOMEM"
    assert_failed(second, b"192", b"128")
    first.stop()
    first.reaches("stopped")
    assert second.start() == "OK", second.error


@pytest.mark.sim
def test_all_the_memory_can_be_had(new_mount):
    mount = new_mount("sim_memory=256M")
    for _ in range(3):
        enclave = mount.enclave().running(memory=b"256M")
        enclave.stop()
        enclave.reaches("stopped")


def test_cpus_are_taken(mount):
    mount.enclave().running(vcpus=None, cpus=b"2-3")
    second = mount.enclave().ready(vcpus=None, cpus=b"2-3")
    assert second.start() == "EBUSY"
    assert_failed(second, b"2")


@pytest.mark.sim
def test_out_of_cpus(new_mount):
    mount = new_mount("sim_cpus=4")
    mount.enclave().running()
    second = mount.enclave().ready()
    assert second.start() == "EBUSY"
    assert_failed(second)


def test_more_cpus_than_there_are(enclave):
    enclave.ready(vcpus=b"1000")
    assert enclave.start() in ("EBUSY", "EINVAL")
    assert_failed(enclave, b"1000")


@pytest.mark.sim
def test_all_the_cpus_can_be_had(new_mount):
    mount = new_mount("sim_cpus=8")
    for _ in range(3):
        enclave = mount.enclave().running(vcpus=b"6")
        assert mount.enclave().ready().start() == "EBUSY"
        enclave.stop()
        enclave.reaches("stopped")


@pytest.mark.parametrize("cpus", [b"0-1", b"500-501"])
def test_cpus_outside_the_pool(enclave, cpus):
    enclave.ready(vcpus=None, cpus=cpus)
    assert enclave.start() in ("EINVAL", "EBUSY")
    assert_failed(enclave)


def test_cid_is_taken(mount):
    mount.enclave().running(cid=b"77")
    second = mount.enclave().ready(cid=b"77")
    assert second.start() == "EBUSY"
    assert_failed(second, b"77")


@pytest.mark.parametrize("values", [{"vcpus": b"1"}, {"vcpus": b"3"},
                                    {"vcpus": None, "cpus": b"2"},
                                    {"vcpus": None, "cpus": b"2,4"}])
def test_half_a_core(enclave, values):
    enclave.ready(**values)
    assert enclave.start() == "EINVAL"
    assert_failed(enclave)


# ---- A device that refuses ----

@pytest.mark.parametrize("command,number,code", [
    ("SLOT_ALLOC", 28, "ENOSPC"), ("SLOT_ALLOC", 5, "EIO"), ("SLOT_ADD_MEM", 12, "ENOMEM"),
    ("SLOT_ADD_MEM", 28, "ENOSPC"), ("SLOT_ADD_VCPU", 5, "EIO"), ("ENCLAVE_START", 5, "EIO"),
    ("ENCLAVE_START", 110, "ETIMEDOUT"), ("SLOT_ALLOC", 12, "ENOMEM")])
def test_errno_of_the_device(mount, ready, command, number, code):
    mount.faults(f"{command} fail {number} 1")
    assert ready.start() == code
    assert_failed(ready)


@pytest.mark.parametrize("command", START_COMMANDS)
def test_failure_gives_everything_back(mount, command):
    other = mount.enclave().running()
    enclave = mount.enclave().ready()
    before, fds, spool = mount.slots(), mount.fds(), mount.spooled()
    for _ in range(5):
        mount.faults(f"{command} fail 5 1")
        assert enclave.start() == "EIO"
        assert_failed(enclave)
        assert mount.slots() == before
        assert mount.spooled() == spool
    assert mount.fds() <= fds + 1
    assert [enclave.get(name) for name in ("memory", "vcpus")] == [b"64M\n", b"2\n"]
    assert enclave.start() == "OK", enclave.error
    assert other.state == "running"
    assert enclave.events()["failures"] == 5


@pytest.mark.parametrize("number", [1, 2, 13, 14, 16, 22, 28, 95, 110, 4000])
def test_no_device_errno_escapes_the_contract(mount, ready, number):
    mount.faults(f"ENCLAVE_START fail {number} 1")
    assert ready.start() in ("EINVAL", "ENOMEM", "EBUSY", "ENOSPC", "ETIMEDOUT", "ENODEV", "EIO")
    assert_failed(ready)


@pytest.mark.sim
@pytest.mark.parametrize("command", ["ENCLAVE_STOP", "SLOT_FREE"])
def test_failing_stop_still_ends(new_mount, command):
    """A device that refuses to stop cannot keep the enclave in `stopping`."""
    mount = new_mount()
    enclave = mount.enclave().running()
    mount.faults(f"{command} fail 5 1")
    enclave.stop()
    assert enclave.settle() in ("stopped", "failed")
    mount.faults()
    assert enclave.start() == "OK", enclave.error
    assert mount.enclave().ready().start() == "OK"


@pytest.mark.sim
def test_fault_during_a_crash(new_mount):
    mount = new_mount()
    enclave = mount.enclave().running()
    mount.faults("SLOT_FREE fail 5 1")
    enclave.crash()
    mount.faults()
    assert enclave.start() == "OK", enclave.error


@pytest.mark.sim
def test_spurious_event_changes_nothing(mount, running):
    mount.faults("event spurious")
    assert running.state == "running"
    assert running.events()["crashes"] == 0
    running.crash()


# ---- The fault plan itself ----

@pytest.mark.sim
def test_fault_plan_reads_back(mount):
    assert mount.put("sim/fault", b"SLOT_ALLOC fail 28 1\nSLOT_FREE delay 10 2\n") == "OK"
    assert mount.get("sim/fault") == b"SLOT_ALLOC fail 28 1\nSLOT_FREE delay 10 2\n"


@pytest.mark.sim
@pytest.mark.parametrize("plan", [
    b"SLOT_ALLOC fail 28\n", b"SLOT_ALLOC fail 28 3\n", b"ENCLAVE_START delay 10\n",
    b"SLOT_ADD_MEM drop\n", b"SLOT_INFO drop 1\n", b"\n", b"SLOT_COUNT fail 5\nNEXT_SLOT fail 5\n",
    b"ENCLAVE_GET_SLOT fail 5\nSLOT_ADD_BULK_VCPUS fail 5\n"])
def test_fault_plan_is_accepted(mount, plan):
    assert mount.put("sim/fault", plan) == "OK", mount.error()


@pytest.mark.sim
@pytest.mark.parametrize("plan", [
    b"NONSENSE fail 5\n", b"SLOT_ALLOC\n", b"SLOT_ALLOC explode\n", b"SLOT_ALLOC fail\n",
    b"SLOT_ALLOC fail x\n", b"SLOT_ALLOC fail -5\n", b"SLOT_ALLOC delay\n",
    b"SLOT_ALLOC fail 5 1 1\n", b"SLOT_ALLOC fail 5\nbad\n", b"slot_alloc_ fail 5\n"])
def test_fault_plan_is_refused(mount, plan):
    mount.faults("SLOT_FREE delay 1 1")
    assert mount.put("sim/fault", plan) in ("EINVAL", "ERANGE")
    assert mount.get("sim/fault") == b"SLOT_FREE delay 1 1\n"
    assert mount.error().count(b"\n") == 1


def test_fault_without_a_count_lasts(mount, ready):
    mount.faults("SLOT_ALLOC fail 28")
    for _ in range(3):
        assert ready.start() == "ENOSPC"
    mount.faults()
    assert ready.start() == "OK"


def test_fault_with_a_count_ends(mount, ready):
    mount.faults("SLOT_ALLOC fail 28 2")
    assert [ready.start() for _ in range(3)] == ["ENOSPC", "ENOSPC", "OK"]


def test_commands_of_others_are_not_hit(mount, ready):
    mount.faults("SLOT_FREE fail 5", "ENCLAVE_STOP fail 5")
    assert ready.start() == "OK"
    assert get(ready.path("wait"), os.O_NONBLOCK) == b"running\n"


def test_boot_failure_is_reported_at_once(mount, ready):
    """Not at a time-out: the heartbeat and the end are watched side by side."""
    ready.set("boot_timeout", b"60")
    mount.faults("ENCLAVE_START fail 5 1")
    assert ready.start() == "EIO"
