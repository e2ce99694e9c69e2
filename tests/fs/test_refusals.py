# SPDX-License-Identifier: GPL-2.0-or-later
"""What was refused is in the journals: of the enclave, and of the root."""
import os

import pytest
from harness import NOBODY, Child, eventually, outcome, put
from nefs_mount import journal_now


def refusals(journal):
    return [record for record in journal if record["event"] == "refused"]


def roots(mount):
    """Those about the root itself."""
    return [record for record in refusals(journal_now(mount.path("journal")))
            if record["enclave"] is None]


def test_a_refused_value(mount, enclave):
    assert enclave.put("memory", b"511Q") == "EINVAL"
    record, = refusals(enclave.journal())
    assert (record["file"], record["errno"], record["uid"]) == ("memory", "EINVAL", os.geteuid())
    assert record["error"].encode() + b"\n" == enclave.error
    assert record == refusals(journal_now(mount.path("journal")))[-1]
    assert "count" not in record


def test_each_file_of_a_loop(enclave):
    """A refusal is not lost to what is accepted, or refused, after it."""
    assert enclave.put("memory", b"1") == "ERANGE"
    assert enclave.put("vcpus", b"2") == "OK"
    assert enclave.put("cid", b"x") == "EINVAL"
    assert [(record["file"], record["errno"]) for record in refusals(enclave.journal())] == [
        ("memory", "ERANGE"), ("cid", "EINVAL")]


def test_whose_it_was(enclave):
    os.chmod(enclave.path("memory"), 0o666)
    assert Child(put, enclave.path("memory"), b"x", uid=NOBODY).result() == "EINVAL"
    assert refusals(enclave.journal())[-1]["uid"] == NOBODY


def test_in_the_root(mount):
    assert outcome(os.mkdir, mount.path("-bad")) == "EINVAL"
    record = roots(mount)[-1]
    assert record["file"] == "-bad" and record["errno"] == "EINVAL"
    assert record["error"].encode() + b"\n" == mount.error()


def test_a_name_that_is_no_text(mount):
    assert outcome(os.mkdir, os.fsencode(mount.path("bad")) + b"\xff\x01") == "EINVAL"
    assert "bad?" in roots(mount)[-1]["error"]


def test_equal_ones_are_counted(enclave):
    for _ in range(100):
        assert enclave.put("memory", b"x") == "EINVAL"
    assert len(refusals(enclave.journal())) == 1
    assert enclave.put("memory", b"y") == "EINVAL"
    found = refusals(enclave.journal())
    assert [record.get("count") for record in found] == [None, 99, None]
    assert found[0]["error"] == found[1]["error"] != found[2]["error"]


def test_what_was_counted_is_told_before_a_rename(mount, enclave):
    """Else it is of an enclave of that name that there is not yet, or no more."""
    for _ in range(3):
        assert enclave.put("memory", b"x") == "EINVAL"
    os.rename(enclave.path(), mount.path("other"))
    found = [(record["event"], record["enclave"], record.get("count"))
             for record in journal_now(mount.path("other/journal"))]
    assert found == [("created", enclave.name, None), ("refused", enclave.name, None), ("refused", enclave.name, 2),
                     ("renamed", "other", None)]


def test_the_count_is_told_by_itself(enclave):
    for _ in range(3):
        assert enclave.put("memory", b"x") == "EINVAL"
    eventually(lambda: len(refusals(enclave.journal())) == 2, "the others are told")
    assert refusals(enclave.journal())[-1]["count"] == 2


def test_it_is_told_before_the_end(mount, enclave):
    for _ in range(3):
        assert enclave.put("memory", b"x") == "EINVAL"
    os.rmdir(enclave.path())
    last = journal_now(mount.path("journal"))[-3:]
    assert [(record["event"], record.get("count")) for record in last] == [
        ("refused", None), ("refused", 2), ("removed", None)]
    assert {record["enclave"] for record in last} == {enclave.name}


def test_the_record_of_a_refusal_begins_a_new_file(mount):
    """What is refused may be what loses its name by being recorded."""
    for number in range(2100):
        for name in ("journal", "journal.1"):
            assert outcome(os.truncate, mount.path(name), number) in ("EACCES", "ENOENT")
    assert mount.alive()
    now = journal_now(mount.path("journal"))
    assert [record["seq"] for record in now] == list(range(now[0]["seq"], now[-1]["seq"] + 1))


@pytest.mark.parametrize("file", ["start", "memory"])
def test_a_loop_pushes_nothing_out(mount, enclave, file):
    other = mount.enclave()
    for _ in range(4200):
        assert enclave.put(file, b"1") != "OK"
    with open(mount.path("journal")) as journal:
        assert f'"{other.name}"' in journal.read()
    assert len(enclave.journal()) < 100
    assert enclave.events()["failures"] == (4200 if file == "start" else 0)
