# SPDX-License-Identifier: GPL-2.0-or-later
"""
What one user's doings can take of the journals and of the log: a share, and nothing of what others have to say.
"""
import grp
import os
import stat
from datetime import datetime

import pytest
from harness import NOBODY, Child, eventually, outcome, put, renameat2
from nefs_mount import journal_now

OTHER = NOBODY - 1
SHARE = 512  # records of a user's at once
OWN_SHARE = 64  # and of all others together in an enclave's journal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs several users")


@pytest.fixture
def of_two(new_mount):
    """A mount on which two users, who are not root, make enclaves."""
    return new_mount(f"group={grp.getgrgid(NOBODY).gr_name}")


def by(uid, function, *args):
    return Child(function, *args, uid=uid, groups=[NOBODY]).result(60)


def everything(mount):
    return journal_now(mount.path("journal"))


def of(found, enclave):
    return [record for record in found if record["enclave"] == enclave]


def taken(found, share=SHARE):
    """What has a share in a journal may have by its end, as time gives it more."""
    first, last = (datetime.fromisoformat(record["time"]) for record in (found[0], found[-1]))
    return share + (last - first).total_seconds() / 2 + 2


def told(found):
    return [record for record in found if record["event"] != "suppressed"]


def left_out(found):
    return sum(record["count"] for record in found if record["event"] == "suppressed")


def missing(found):
    """How many numbers are not there between the first record and the last."""
    numbers = [record["seq"] for record in found]
    assert numbers == sorted(set(numbers))
    return numbers[-1] - numbers[0] + 1 - len(numbers)


# ---- kinds of floods: what each does `times` times, as a user who may make enclaves ----

def refused_in_turn(mount, times):
    os.mkdir(mount.path("hers"))
    for turn in range(times // 2):
        assert put(mount.path("hers/memory"), b"x%d" % (turn % 11)) == "EINVAL"
        assert put(mount.path("hers/vcpus"), b"y%d" % (turn % 13)) == "EINVAL"


def refused_starts(mount, times):
    os.mkdir(mount.path("hers"))
    for turn in range(times // 2):
        assert put(mount.path("hers/start"), b"1") == "EINVAL"
        assert put(mount.path("hers/start"), b"start%d" % turn) == "EINVAL"


def making(mount, times):
    for _ in range(times // 2):
        os.mkdir(mount.path("hers"))
        os.rmdir(mount.path("hers"))


def renaming(mount, times):
    names = mount.path("hers"), mount.path("also-hers")
    os.mkdir(names[0])
    for turn in range(times):
        os.rename(names[turn % 2], names[1 - turn % 2])


def refused_names(mount, times):
    for turn in range(times):
        assert outcome(os.mkdir, mount.path(f"-{turn}")) == "EINVAL"


def long_names(mount, times):
    for turn in range(times):
        assert outcome(os.mkdir, mount.path(f".{turn}".ljust(255, '"'))) == "EINVAL"


def torn_images(mount, times):
    os.mkdir(mount.path("hers"))
    for turn in range(times):
        assert put(mount.path("hers/image"), b".eif".ljust(100 + turn, b"\0")) in ("OK", "EINVAL")


KINDS = [refused_in_turn, refused_starts, making, renaming, refused_names, long_names, torn_images]


def too_many_open(mount, times):
    for _ in range(times):
        fds = []
        while outcome(lambda: fds.append(os.open(mount.path("version"), os.O_RDONLY))) == "OK":
            pass
        assert 0 < len(fds) <= 8
        for fd in fds:
            os.close(fd)


def test_what_is_told_of_who_only_reads(new_mount):
    """It is in the root's journal, and in its share."""
    mount = new_mount("user_files=8")
    by(NOBODY, too_many_open, mount, 1500)
    found = everything(mount)
    assert found[0]["event"] == "refused" and found[0]["uid"] == NOBODY and found[0]["file"] == "version"
    assert found[0]["errno"] == "EDQUOT"
    assert len(found) <= taken(found) and mount.said().count("\n") <= taken(found) + 3


@pytest.mark.parametrize("flood", KINDS)
def test_nothing_of_anothers_is_pushed_out(of_two, flood):
    by(OTHER, os.mkdir, of_two.path("his"))
    assert by(OTHER, put, of_two.path("his/memory"), b"odd") == "EINVAL"
    by(NOBODY, flood, of_two, 3000)
    found = everything(of_two)
    assert [record["event"] for record in of(found, "his")] == ["created", "refused"]
    assert not os.path.exists(of_two.path("journal.1")), "not even one file is full of it"
    assert 100 < len(found) <= taken(found)
    # Nor is anything else kept from the journal.
    assert by(OTHER, put, of_two.path("his/memory"), b"odder") == "EINVAL"
    found = everything(of_two)
    assert of(found, "his")[-1]["error"].startswith("memory: 'odder'")
    # The log has the same.
    said = of_two.said()
    assert said.count("\n") <= taken(found) + 3 and "his: refused: memory: 'odder'" in said


def test_it_is_told_how_many_were_left_out(of_two):
    """The numbers that are missing in the root's journal are those."""
    by(NOBODY, making, of_two, 2000)
    eventually(lambda: left_out(everything(of_two)) + len(told(everything(of_two))) == 2000, "all are told", bound=20)
    found = everything(of_two)
    record = [one for one in found if one["event"] == "suppressed"][-1]
    assert record["enclave"] is None and record["uid"] == NOBODY
    assert left_out(found) == missing(found) > 1000
    assert str(record["count"]) in record["error"] and str(NOBODY) in record["error"]
    eventually(lambda: f"nefs: suppressed, {record['count']} more: {record['error']}" in of_two.said(), "in the log")
    # It is over: what comes now is told again.
    by(NOBODY, os.mkdir, of_two.path("again"))
    assert of(everything(of_two), "again")


def test_the_enclaves_own_journal_has_all(of_two):
    by(NOBODY, making, of_two, 1000)
    by(NOBODY, renaming, of_two, 100)
    found = journal_now(of_two.path("hers/journal"))
    assert [record["event"] for record in found] == ["created"] + 100 * ["renamed"]


def test_root_has_no_bound(of_two):
    for turn in range(SHARE + 100):
        assert outcome(os.mkdir, of_two.path(f"-{turn}")) == "EINVAL"
    found = everything(of_two)
    assert len(found) == SHARE + 100 and missing(found) == 0


@pytest.mark.device
def test_an_end_is_told_in_a_flood(of_two):
    """That an enclave has crashed is not lost in what its owner does besides."""
    enclave = of_two.enclave("hers")
    os.rmdir(enclave.path())
    by(NOBODY, os.mkdir, enclave.path())
    enclave.ready()
    assert by(NOBODY, put, enclave.path("start"), b"1") == "OK"
    enclave.reaches("running")
    by(NOBODY, refused_names, of_two, 1000)
    enclave.crash()
    assert of(everything(of_two), "hers")[-1]["event"] == "crashed"
    assert of_two.events()["crashes"] == 1


@pytest.mark.device
def test_a_flood_of_ends(of_two):
    """Those have a share as well."""
    by(NOBODY, os.mkdir, of_two.path("hers"))
    of_two.enclave("his")
    enclave = type(of_two.enclave("mine"))(of_two, "hers").ready()
    assert enclave.name == "hers"

    def start_in_vain():
        for _ in range(400):
            put(enclave.path("start"), b"1")
    of_two.faults("SLOT_ALLOC fail 12 1000")
    by(NOBODY, start_in_vain)
    of_two.faults("")
    enclave.settle()
    assert enclave.events()["failures"] == 400
    found = everything(of_two)
    assert len(of(found, "hers")) <= taken(found)
    assert of(found, "his") and of(found, "mine")


# ---- an enclave that several may write to ----

def refused_values(path, times):
    for turn in range(times):
        assert put(path, b"x%d" % turn) == "EINVAL"


def test_others_have_a_share_of_an_enclaves_journal(of_two):
    by(NOBODY, os.mkdir, of_two.path("hers"))
    os.chmod(of_two.path("hers/memory"), 0o666)
    assert by(NOBODY, put, of_two.path("hers/vcpus"), b"none") == "EINVAL"
    by(OTHER, refused_values, of_two.path("hers/memory"), 2000)
    assert by(NOBODY, put, of_two.path("hers/vcpus"), b"few") == "EINVAL"
    found = journal_now(of_two.path("hers/journal"))
    assert [record["event"] for record in found[:2]] == ["created", "refused"]
    assert [record for record in found if record.get("file") == "vcpus"][-1]["error"].startswith("vcpus: 'few'")
    assert len(found) <= taken(found, OWN_SHARE) + 3
    eventually(lambda: left_out(journal_now(of_two.path("hers/journal"))) + len(
        told(journal_now(of_two.path("hers/journal")))) == 2003, "all are told", bound=20)
    record = [one for one in journal_now(of_two.path("hers/journal")) if one["event"] == "suppressed"][-1]
    assert record["enclave"] == "hers" and "uid" not in record


def test_the_owner_has_no_bound_there(of_two):
    by(NOBODY, os.mkdir, of_two.path("hers"))
    by(NOBODY, refused_values, of_two.path("hers/memory"), 1000)
    found = journal_now(of_two.path("hers/journal"))
    assert found[-1]["error"].startswith("memory: 'x999'")
    assert not [record for record in found if record["event"] == "suppressed"]


def test_who_has_roots_program_write_is_who_writes(of_two):
    """An fd that a user opened is the user's, whoever is made to write to it."""
    by(NOBODY, os.mkdir, of_two.path("hers"))
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        fd = os.open(of_two.path("hers/memory"), os.O_WRONLY)
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert outcome(os.write, fd, b"su: Authentication failure") == "EINVAL"
    os.close(fd)
    assert journal_now(of_two.path("hers/journal"))[-1]["uid"] == NOBODY


# ---- a few things in turn are told as one each ----

def test_a_few_refusals_in_turn_are_counted(enclave):
    for _ in range(100):
        assert enclave.put("memory", b"x") == "EINVAL"
        assert enclave.put("vcpus", b"y") == "EINVAL"
        assert enclave.put("cid", b"z") == "EINVAL"
    assert len(enclave.journal()) == 1 + 3
    eventually(lambda: len(enclave.journal()) == 1 + 6, "the others are told")
    assert [(record["file"], record["count"]) for record in enclave.journal()[-3:]] == [
        ("memory", 99), ("vcpus", 99), ("cid", 99)]


def test_the_log_counts_them_as_well(new_mount):
    mount = new_mount()
    enclave = mount.enclave("web")
    for _ in range(100):
        assert enclave.put("memory", b"x") == "EINVAL"
    os.rmdir(enclave.path())
    lines = mount.said().splitlines()[1:]
    sentence = lines[1].removeprefix("web: refused: ")
    assert lines == ["web: created", f"web: refused: {sentence}", f"web: refused, 99 more: {sentence}", "web: removed"]


# ---- whom it is for ----

def readable(path):
    return outcome(lambda: os.close(os.open(path, os.O_RDONLY)))


FOR_ROOT = ["journal", "journal.1", "journal.follow"]


@pytest.mark.parametrize("with_group", [False, True], ids=["alone", "group"])
def test_whom_the_roots_journal_is_for(new_mount, with_group):
    """It tells of enclaves into which not everybody may look, and not all who may make some."""
    mount = new_mount(*([f"group={grp.getgrgid(NOBODY).gr_name}"] if with_group else []))
    for turn in range(2100):
        outcome(os.mkdir, mount.path(f"-{turn}"))
    for name in FOR_ROOT:
        status = os.stat(mount.path(name))
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o440, 0, 0), name
        assert by(OTHER, readable, mount.path(name)) == "EACCES"
    # Whoever watches over all of them is let in, and stays so.
    os.chown(mount.path("journal"), -1, OTHER)
    for turn in range(2100):
        outcome(os.mkdir, mount.path(f"-{turn}"))
    for name in FOR_ROOT:
        assert os.stat(mount.path(name)).st_gid == OTHER, name


def test_whom_the_roots_error_is_for(of_two):
    """Those who can be refused something there."""
    assert by(NOBODY, outcome, os.mkdir, of_two.path("-hers")) == "EINVAL"
    assert b"-hers" in by(NOBODY, of_two.error)
    assert Child(readable, of_two.path("error"), uid=1234).result() == "EACCES"


@pytest.mark.parametrize("there, flags", [(".x", 0), ("his/.x", 0), ("his/.y", 2)],
                         ids=["to the root", "to another", "exchanged"])
def test_a_name_stays_in_its_directory(of_two, there, flags):
    """Where it could not be moved to nothing is said of it: others may read that."""
    def hers():
        os.mkdir(of_two.path("hers"), 0o700)
        for name in ("hers/.secret", "his/.y"):
            with open(of_two.path(name), "w"):
                pass
    os.mkdir(of_two.path("his"))
    os.chmod(of_two.path("his"), 0o777)
    by(NOBODY, hers)
    assert by(NOBODY, renameat2, of_two.path("hers/.secret"), of_two.path(there), flags) in ("EXDEV", "EINVAL")
    for path in ("error", "his/error", "his/journal"):
        with open(of_two.path(path)) as file:
            assert "secret" not in file.read(), path
    with open(of_two.path("hers/error")) as file:
        assert ".secret" in file.read()
    assert everything(of_two)[-1]["enclave"] == "hers"
