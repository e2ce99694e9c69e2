# SPDX-License-Identifier: GPL-2.0-or-later
"""Configuration tools on control files: docs/facts/fuse.md §3, row by row."""
import os

import pytest
from harness import outcome, run
from writers import EDITORS, WAY

NAMED = {writer.__name__: writer for writer in WAY}
OLD, NEW = b"64M\n", b"128M\n"


def tools(*ways, without=()):
    chosen = sorted(name for name, writer in NAMED.items()
                    if (not ways or WAY[writer] in ways) and writer not in without)
    return pytest.mark.parametrize("tool", chosen)


@pytest.fixture
def listing(enclave):
    """The names in the directory before the tool ran."""
    enclave.set("memory", OLD)
    return enclave.listing()


def without_backups(enclave):
    return [name for name in enclave.listing() if name not in ("memory~", "memory.bak")]


@tools()
def test_changes_the_value(enclave, listing, tool):
    NAMED[tool](enclave.path("memory"), NEW)
    assert enclave.get("memory") == NEW
    assert without_backups(enclave) == listing, "nothing is left behind"


@tools("backup")
def test_keeps_a_backup(enclave, listing, tool):
    NAMED[tool](enclave.path("memory"), NEW)
    backups = set(enclave.listing()) - set(listing)
    assert len(backups) == 1 and enclave.get(backups.pop()) == OLD


@tools(without=EDITORS)
def test_sets_what_was_unset(enclave, tool):
    NAMED[tool](enclave.path("memory"), NEW)
    assert enclave.get("memory") == NEW


@tools()
def test_twice_is_as_once(enclave, listing, tool):
    for _ in range(2):
        NAMED[tool](enclave.path("memory"), NEW)
    assert enclave.get("memory") == NEW
    assert without_backups(enclave) == listing


@tools()
def test_the_file_stays_a_control_file(enclave, listing, tool):
    """Whatever the tool put in its place: same mode and owner, and it is the one that counts."""
    NAMED[tool](enclave.path("memory"), NEW)
    status = os.stat(enclave.path("memory"))
    assert (status.st_mode & 0o7777, status.st_uid, status.st_size) == (0o644, 0, len(NEW))
    assert enclave.put("memory", b"512MB") == "EINVAL"
    enclave.running(memory=None)
    assert enclave.get("memory.effective") == b"134217728\n"
    assert enclave.put("memory", OLD) == "OK"
    assert enclave.get("pending") == b"memory\n"


@tools("write", "rename")
@pytest.mark.parametrize("bad", [b"512MB\n", b"65M\n"])
def test_bad_value_is_the_tools_failure(enclave, listing, tool, bad):
    result = outcome(NAMED[tool], enclave.path("memory"), bad)
    assert result != "OK"
    # vim does not say the errno, and dd calls what it could not write its own way.
    assert result in ("EINVAL", "0") if WAY[NAMED[tool]] == "write" else result == "EINVAL"
    assert enclave.get("memory") == OLD
    assert enclave.error.count(b"\n") == 1
    for name in set(enclave.listing()) - set(listing):
        assert outcome(os.unlink, enclave.path(name)) == "OK"
    assert enclave.listing() == listing


@tools("unlink")
def test_bad_value_after_unlink(enclave, listing, tool):
    """The tool has removed the old value itself; the file is back, unset."""
    assert outcome(NAMED[tool], enclave.path("memory"), b"512MB\n") == "EINVAL"
    if "memory" in enclave.listing():
        assert enclave.get("memory") == b""
    NAMED[tool](enclave.path("memory"), NEW)
    assert enclave.get("memory") == NEW


@tools("write", "rename")
def test_identical_write_while_running(enclave, tool):
    enclave.running(memory=OLD)
    slot = enclave.get("slot")
    listing = enclave.listing()
    NAMED[tool](enclave.path("memory"), OLD)
    assert (enclave.state, enclave.get("memory"), enclave.get("slot")) == ("running", OLD, slot)
    assert enclave.listing() == listing


@tools("write", "rename")
def test_change_while_running(enclave, tool):
    enclave.running(memory=OLD)
    NAMED[tool](enclave.path("memory"), NEW)
    assert (enclave.state, enclave.get("memory")) == ("running", NEW)
    assert enclave.get("memory.effective") == b"67108864\n"
    assert enclave.get("pending") == b"memory\n"


@tools("unlink")
@pytest.mark.parametrize("content", [OLD, NEW])
def test_unlinkers_while_running(enclave, tool, content):
    """They begin by removing the file, which a running enclave does not allow: nothing is lost."""
    enclave.running(memory=OLD)
    assert outcome(NAMED[tool], enclave.path("memory"), content) == "EBUSY"
    assert (enclave.state, enclave.get("memory")) == ("running", OLD)


@tools(without=EDITORS)
@pytest.mark.parametrize("file,value", [("vcpus", b"4\n"), ("cpus", b"2-3,4-5\n"), ("cid", b"77"),
                                        ("debug", b"1\n"), ("boot_timeout", b"60\n")])
def test_other_files(enclave, tool, file, value):
    NAMED[tool](enclave.path(file), value)
    assert enclave.get(file) == value


@tools("write", "rename")
def test_start_by_a_tool(enclave, tool):
    """`start` as a managed file: converging it starts, and once more changes nothing."""
    enclave.ready()
    NAMED[tool](enclave.path("start"), b"1\n")
    assert enclave.reaches("running")
    NAMED[tool](enclave.path("start"), b"1\n")
    assert enclave.events()["starts"] == 1
    NAMED[tool](enclave.path("start"), b"0\n")
    assert enclave.reaches("stopped")


@tools("rename")
def test_failing_start_by_rename(enclave, tool):
    """The errno of the start is the rename's."""
    enclave.ready(image=None)
    assert outcome(NAMED[tool], enclave.path("start"), b"1\n") == "EINVAL"
    assert enclave.state == "failed"
    assert enclave.get("start") == b"0\n"


# ---- Removal ----

def test_rm_rf(mount, enclave):
    enclave.ready()
    enclave.put("leftover", b"x", os.O_WRONLY | os.O_CREAT)
    done = run("rm", "-rf", enclave.path())
    assert done.returncode == 0, done.stderr
    assert mount.enclaves() == []


def test_rm_rf_after_a_stop(mount, running):
    running.stop()
    running.settle()
    assert run("rm", "-rf", running.path()).returncode == 0
    assert mount.enclaves() == []


@pytest.mark.device
def test_rm_rf_after_a_crash(mount, running):
    running.crash()
    assert run("rm", "-rf", running.path()).returncode == 0
    assert mount.enclaves() == []


def test_rm_rf_of_a_running_one(running):
    before = {name: running.get(name) for name in ("memory", "vcpus", "cid", "image", "start")}
    listing = running.listing()
    done = run("rm", "-rf", running.path())
    assert done.returncode != 0 and "busy" in done.stderr
    assert running.state == "running"
    assert running.listing() == listing
    assert {name: running.get(name) for name in before} == before


def test_rm_rf_of_several_takes_what_it_may(mount, running):
    mount.enclave("idle")
    assert run("rm", "-rf", mount.path("idle"), running.path()).returncode != 0
    assert mount.enclaves() == [running.name]


def test_ansible_absent(mount, enclave):
    """state=absent: unlink of every file, then rmdir."""
    for name in enclave.listing():
        assert outcome(os.unlink, enclave.path(name)) == "OK", name
    assert outcome(os.rmdir, enclave.path()) == "OK"
    assert mount.enclaves() == []


# ---- Copies and comparisons of whole directories ----

def test_cp_r_of_an_enclave_out(enclave, tmp_path):
    enclave.ready()
    done = run("sh", "-c", 'for f in memory vcpus cid; do cp "$1/$f" "$2/"; done; '
               'diff -q "$1/memory" "$2/memory"', "sh", enclave.path(), str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_grep_and_find(enclave):
    enclave.ready()
    done = run("sh", "-c", "grep -l 64M *m*ory; find . -name 'v*' -size -1000c; "
               "du -s . > /dev/null; ls -l", cwd=enclave.path())
    assert "memory" in done.stdout and "./vcpus" in done.stdout and done.stderr == ""
