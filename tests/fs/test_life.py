# SPDX-License-Identifier: GPL-2.0-or-later
"""Start, stop, crash: what an enclave goes through and what its files say meanwhile."""
import os
import re

import pytest
from eif_image import SMALL, build
from harness import Child, eventually, get, outcome, raw_write, run
from nefs_mount import journal_now
from watching import Watched

OTHER = build(ramdisks=(b"another one",))
RFC3339_MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
# One change of each, in the order in which `pending` names them.
STAGED = {"memory": b"128M\n", "vcpus": b"4\n", "cpus": b"2-5\n", "image": OTHER, "cid": b"99\n",
          "debug": b"1\n", "boot_timeout": b"9\n"}
NOTHING_HELD = {"memory.effective": b"\n", "cpus.effective": b"\n", "cid.effective": b"\n",
                "slot": b"\n"}


def effective(enclave):
    return {name: enclave.get(name) for name in NOTHING_HELD}


def names(journal):
    return [record["event"] for record in journal]


# ---- Starting with something unset ----

@pytest.mark.parametrize("missing,word", [("memory", b"memory"), ("vcpus", b"vcpus"),
                                          ("image", b"image")])
def test_start_with_something_unset(enclave, missing, word):
    enclave.ready(**{missing: None})
    assert enclave.start() == "EINVAL"
    assert enclave.state == "failed"
    assert word in enclave.error and enclave.error.count(b"\n") == 1


def test_start_with_nothing_set(enclave):
    assert enclave.start() == "EINVAL"
    assert enclave.state == "failed"
    assert enclave.error != b""


def test_failed_start_keeps_the_configuration(enclave):
    enclave.ready(image=None, memory=b"64M", vcpus=b"2", cid=b"77\n", boot_timeout=b"9\n")
    assert enclave.start() == "EINVAL"
    assert [enclave.get(name) for name in ("memory", "vcpus", "cid", "boot_timeout", "image")] == [
        b"64M", b"2", b"77\n", b"9\n", b""]
    assert enclave.get("start") == b"0\n"
    assert effective(enclave) == NOTHING_HELD


def test_failed_start_counts(enclave):
    enclave.start()
    assert enclave.events()["failures"] == 1
    assert "failed" in names(enclave.journal())


def test_failed_start_can_be_mended(enclave):
    enclave.ready(image=None)
    assert enclave.start() == "EINVAL"
    enclave.set("image", SMALL)
    assert enclave.error != b"", "it stays until a start succeeds"
    assert enclave.start() == "OK"
    assert enclave.reaches("running")
    assert enclave.error == b""


def test_unset_is_refused_at_once_with_nonblock(enclave):
    """What can be checked without waiting is always refused at once."""
    assert enclave.start(os.O_NONBLOCK) == "EINVAL"
    assert enclave.state == "failed"


# ---- A running enclave ----

def test_start(ready):
    assert ready.start() == "OK"
    assert ready.get("wait") == b"running\n"
    assert ready.state == "running"


@pytest.mark.parametrize("text", [b"1", b"1\n", b" 1 \n"])
def test_start_reads_back(ready, text):
    assert ready.put("start", text) == "OK"
    ready.reaches("running")
    assert ready.get("start") == text
    assert ready.put("start", b"0") == "OK"
    ready.reaches("stopped")
    assert ready.get("start") == b"0"


def test_what_the_device_gave(running):
    gave = effective(running)
    assert gave["memory.effective"] == b"67108864\n"
    assert re.fullmatch(rb"\d+([-,]\d+)*\n", gave["cpus.effective"])
    assert 4 <= int(gave["cid.effective"]) <= 4294967294
    assert re.fullmatch(rb"0x[0-9a-f]+\n", gave["slot"])


def test_two_threads_of_one_core(running):
    text = running.get("cpus.effective").decode().strip()
    assert len(expand(text)) == 2


def expand(text):
    """The CPUs of a cpu-list."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@pytest.mark.parametrize("text", [b"0x4000000\n", b"65536k", b" 64M "])
def test_memory_effective_is_in_bytes(enclave, text):
    enclave.running(memory=text)
    assert enclave.get("memory") == text
    assert enclave.get("memory.effective") == b"67108864\n"


def test_wanted_cpus_are_given(enclave):
    enclave.running(vcpus=None, cpus=b"2-3\n")
    assert enclave.get("cpus.effective") == b"2-3\n"


def test_cpus_and_vcpus_that_agree(enclave):
    enclave.running(vcpus=b"2\n", cpus=b"2-3\n")
    assert enclave.get("cpus.effective") == b"2-3\n"


def test_cpus_and_vcpus_that_disagree(enclave):
    enclave.ready(vcpus=b"4\n", cpus=b"2-3\n")
    assert enclave.start() == "EINVAL"
    assert b"vcpus" in enclave.error and b"cpus" in enclave.error
    assert enclave.state == "failed"


def test_empty_cpus_means_any(enclave):
    enclave.running(vcpus=b"2\n", cpus=b"\n")
    assert len(expand(enclave.get("cpus.effective").decode().strip())) == 2


def test_empty_cpus_is_not_a_count(enclave):
    enclave.ready(vcpus=None, cpus=b"\n")
    assert enclave.start() == "EINVAL"


def test_wanted_cid_is_given(enclave):
    enclave.running(cid=b"4242\n")
    assert enclave.get("cid.effective") == b"4242\n"


@pytest.mark.device
def test_slot_is_listed(mount, running):
    line, = mount.slots()
    assert int(line.split()[0], 0) == int(running.get("slot"), 16)
    assert running.get("cid.effective").decode().strip() in line.replace("=", " ").split()


# ---- Stop, start, crash ----

def test_stop(running):
    assert running.stop() == "OK"
    assert running.reaches("stopped")
    assert running.get("start") == b"0\n"
    assert effective(running) == NOTHING_HELD
    assert running.error == b""


@pytest.mark.device
def test_stop_gives_back_the_slot(mount, running):
    running.stop()
    running.reaches("stopped")
    eventually(lambda: mount.slots() == [], "all slots are given back")


def test_start_again(running):
    for _ in range(5):
        running.stop()
        running.reaches("stopped")
        assert running.start() == "OK"
        running.reaches("running")
    assert running.events() == {"starts": 6, "stops": 5, "failures": 0, "crashes": 0,
                                "restarts": 0}


@pytest.mark.device
def test_crash(mount, running):
    assert mount.crash(running) == "OK"
    assert running.reaches("crashed")
    assert running.get("start") == b"0\n"
    assert effective(running) == NOTHING_HELD
    assert running.events()["crashes"] == 1
    assert running.error.count(b"\n") == 1, "the cause"


@pytest.mark.device
def test_crash_reads_start_back_truthfully(mount, ready):
    assert ready.put("start", b"1") == "OK"
    ready.reaches("running")
    ready.crash()
    assert ready.get("start") == b"0\n"


@pytest.mark.device
def test_restart_at_once_after_a_crash(mount, running):
    with Watched(running.path("state")) as state:
        for _ in range(10):
            assert mount.crash(running) == "OK"
            while state.read() != b"crashed\n":
                state.changed()
            assert running.start() == "OK", running.error
            running.reaches("running")


@pytest.mark.device
def test_crash_takes_only_its_own(mount):
    first, second = mount.enclave().running(), mount.enclave().running()
    first.crash()
    assert second.state == "running"
    assert second.events()["crashes"] == 0


@pytest.mark.sim
@pytest.mark.parametrize("name,result", [(b"nonsense", "ENOENT"), (b"", "OK"), (b"\n", "ENOENT"), (b"../x", "ENOENT"),
                                         (b"sim", "ENOENT"), (b"x" * 4097, "E2BIG")])
def test_crash_of_nothing(mount, running, name, result):
    assert mount.put("sim/crash", name) == result
    assert running.state == "running"


@pytest.mark.sim
def test_crash_of_what_does_not_run(mount, ready):
    assert mount.crash(ready) == "EINVAL"
    assert ready.state == "init"


@pytest.mark.sim
def test_crash_with_a_newline(mount, running):
    assert mount.put("sim/crash", running.name.encode() + b"\n") == "OK"
    assert running.reaches("crashed")


def test_start_of_a_running_one_is_a_no_op(running):
    before = effective(running)
    assert running.start() == "OK"
    assert running.state == "running"
    assert effective(running) == before
    assert running.events()["starts"] == 1


@pytest.mark.parametrize("file", ["init", "stopped"])
def test_stop_of_a_stopped_one_is_a_no_op(ready, file):
    if file == "stopped":
        ready.start()
        ready.reaches("running")
        ready.stop()
        ready.reaches("stopped")
    stops = ready.events()["stops"]
    assert ready.stop() == "OK"
    assert ready.state == file
    assert ready.events()["stops"] == stops


@pytest.mark.device
def test_stop_of_a_crashed_one_keeps_the_state(running):
    running.crash()
    assert running.stop() == "OK"
    assert running.state == "crashed"


def test_nonblocking_start(ready):
    assert ready.start(os.O_NONBLOCK) == "OK"
    assert ready.state in ("starting", "running")
    assert ready.get("start") == b"1\n"
    assert ready.reaches("running")


def test_nonblocking_stop(running):
    assert running.stop(os.O_NONBLOCK) == "OK"
    assert running.reaches("stopped")


def test_the_shell_session(ready):
    done = run("sh", "-c", "echo 1 > start && cat wait && cat state && echo 0 > start; cat wait",
               cwd=ready.path())
    assert done.stdout.split() == ["running", "running", "stopped"]


def test_several_at_once(mount):
    enclaves = [mount.enclave().ready() for _ in range(3)]
    for enclave in enclaves:
        assert enclave.start(os.O_NONBLOCK) == "OK"
    for enclave in enclaves:
        assert enclave.reaches("running")
    for name in ("cid.effective", "slot", "cpus.effective"):
        assert len({enclave.get(name) for enclave in enclaves}) == 3


# ---- While it runs ----

@pytest.mark.parametrize("name,value", [
    ("memory", b"128M\n"), ("vcpus", b"4\n"), ("cpus", b"2-3\n"), ("cid", b"99\n"),
    ("debug", b"1\n"), ("boot_timeout", b"9\n")])
def test_change_while_running_is_for_the_next_start(running, name, value):
    held = effective(running)
    with Watched(running.path("pending")) as pending:
        before = running.get(name)
        assert running.put(name, value) == "OK"
        assert running.get(name) == value
        assert pending.changed() == name.encode() + b"\n"
        assert running.put(name, before or b"\n") == "OK"
        assert pending.changed() == b""
    assert (running.state, effective(running)) == ("running", held)


def test_pending_is_in_the_order_of_the_table(running):
    for name in reversed(list(STAGED)):
        running.set(name, STAGED[name])
    assert running.get("pending").decode().split() == list(STAGED)
    running.stop()
    running.reaches("stopped")
    assert running.get("pending") == b"", "nothing runs"


@pytest.mark.parametrize("same", [b"65536K", b"0x4000000\n", b" 67108864 "])
def test_pending_compares_what_is_asked_for(running, same):
    running.set("memory", same)
    assert running.get("memory") == same
    assert running.get("pending") == b""


def test_changed_then_restarted(running):
    """What a handler does that is told of a change, and once more when nothing has changed."""
    def converge():
        if running.get("memory") == b"128M\n":
            return "ok"
        running.set("memory", b"128M\n")
        assert running.stop() == "OK" and running.start() == "OK", running.error
        return "changed"
    assert converge() == "changed"
    assert running.reaches("running")
    assert running.get("memory.effective") == b"134217728\n"
    assert running.get("pending") == b""
    assert converge() == "ok"
    assert running.events()["starts"] == 2


def test_a_start_while_running_applies_nothing(running):
    running.set("memory", b"128M")
    assert running.start() == "OK"
    assert running.get("memory.effective") == b"67108864\n"
    assert running.get("pending") == b"memory\n"


@pytest.mark.parametrize("name", ["memory", "vcpus", "cid", "debug", "boot_timeout"])
def test_same_value_while_running_succeeds(running, name):
    assert running.put(name, running.get(name)) == "OK"
    assert running.state == "running"


def test_bad_value_while_running_is_refused(running):
    assert running.put("memory", b"512MB") == "EINVAL"
    assert running.get("memory") == b"64M\n"


def test_image_while_running_is_for_the_next_start(running):
    assert running.put("image", OTHER) == "OK"
    assert running.get("image") == OTHER
    assert running.get("pending") == b"image\n"
    running.stop()
    running.reaches("stopped")
    assert running.start() == "OK", running.error
    assert running.get("pending") == b""


def test_rmdir_while_running_is_refused(running):
    assert outcome(os.rmdir, running.path()) == "EBUSY"
    assert running.state == "running"


@pytest.mark.parametrize("name", ["memory", "image", "cid", "start", "state", "journal"])
def test_unlink_while_running_is_refused(running, name):
    assert outcome(os.unlink, running.path(name)) == "EBUSY"
    assert name in running.listing()


@pytest.mark.parametrize("end", ["stop", pytest.param("crash", marks=pytest.mark.device)])
def test_changes_are_allowed_after_the_end(running, end):
    running.crash() if end == "crash" else running.stop()
    running.settle()
    assert running.put("memory", b"128M\n") == "OK"
    assert running.put("image", SMALL) == "OK"
    assert outcome(os.rmdir, running.path()) == "OK"


def test_truncation_while_running_changes_nothing(running):
    for name in ("memory", "image", "start"):
        before = running.get(name)
        assert outcome(os.truncate, running.path(name), 0) == "OK"
        assert running.get(name) == before
    assert running.state == "running"


def test_wait_is_immediate_when_nothing_happens(enclave):
    assert enclave.get("wait") == b"init\n\n\n\n"
    enclave.ready().start()
    enclave.settle()
    assert enclave.get("wait", os.O_NONBLOCK) == b"running\n"


# ---- Counters and journal ----

def test_counters_of_success(running):
    running.stop()
    running.reaches("stopped")
    assert running.events() == {"starts": 1, "stops": 1, "failures": 0, "crashes": 0,
                                "restarts": 0}


@pytest.mark.device
def test_counters_of_a_crash(running):
    running.crash()
    counters = running.events()
    assert (counters["starts"], counters["stops"], counters["crashes"]) == (1, 0, 1)


def test_root_counters_are_totals(mount):
    before = mount.events()
    for _ in range(2):
        enclave = mount.enclave().running()
        enclave.stop()
        enclave.reaches("stopped")
        os.rmdir(enclave.path())
    mount.enclave().start()
    after = mount.events()
    assert {name: after[name] - before[name] for name in before} == {
        "starts": 2, "stops": 2, "failures": 1, "crashes": 0, "restarts": 0}


def test_journal_of_a_life(running):
    running.stop()
    running.reaches("stopped")
    assert names(running.journal()) == ["created", "starting", "running", "stopping", "stopped"]


@pytest.mark.device
def test_journal_of_a_crash(running):
    running.crash()
    journal = running.journal()
    assert names(journal) == ["created", "starting", "running", "crashed"]
    assert journal[-1]["error"]


def test_journal_of_a_failure(enclave):
    enclave.start()
    record = enclave.journal()[-1]
    assert record["event"] == "failed"
    assert record["error"] == enclave.error.decode().strip()


def test_journal_fields(running):
    journal = running.journal()
    for record in journal:
        assert RFC3339_MICROSECONDS.fullmatch(record["time"]), record
        assert record["enclave"] == running.name
        assert isinstance(record["seq"], int)
    numbers = [record["seq"] for record in journal]
    assert numbers == sorted(set(numbers))
    assert journal[-1]["cid"] == int(running.get("cid.effective"))
    slot = journal[-1]["slot"]
    slot = int(slot, 0) if isinstance(slot, str) else slot
    assert slot == int(running.get("slot"), 16)


def test_root_journal_has_it_all(mount):
    first, second = mount.enclave("first"), mount.enclave("second")
    first.running()
    first.stop()
    first.reaches("stopped")
    os.rmdir(first.path())
    mine = [record for record in journal_now(mount.path("journal"))
            if record["enclave"] in ("first", "second")]
    assert [(record["enclave"], record["event"]) for record in mine] == [
        ("first", "created"), ("second", "created"), ("first", "starting"), ("first", "running"),
        ("first", "stopping"), ("first", "stopped"), ("first", "removed")]
    assert names(second.journal()) == ["created"]


def test_a_new_enclave_of_an_old_name_begins_anew(mount):
    first = mount.enclave("twice").running()
    first.stop()
    first.reaches("stopped")
    os.rmdir(first.path())
    second = mount.enclave("twice")
    assert second.state == "init"
    assert second.get("memory") == b"" and second.get("image") == b""
    assert set(second.events().values()) == {0}
    assert second.error == b""
    assert names(second.journal())[-1] == "created"


def test_start_by_a_child_and_by_raw_write(ready):
    """write(2) itself, without any runtime in between, gives the count."""
    def starter():
        fd = os.open(ready.path("start"), os.O_WRONLY)
        return raw_write(fd, b"1\n")
    assert Child(starter).result() == "OK"
    assert get(ready.path("wait")) == b"running\n"


@pytest.mark.device
def test_a_successful_start_clears_error(mount, ready):
    """Nothing else is written in between."""
    mount.faults("SLOT_ALLOC fail 5 1")
    assert ready.start() == "EIO" and ready.error
    assert ready.start() == "OK"
    assert ready.error == b""
