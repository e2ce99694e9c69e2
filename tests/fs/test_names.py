# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories: names, mkdir, rmdir, rename, and what an open fd gets across rmdir."""
import os

import pytest
from harness import RENAME_EXCHANGE, RENAME_NOREPLACE, fd_outcome, outcome, renameat2
from nefs_mount import ROOT_FILES, flat_keyed, is_sim, journal_now
from watching import Watched

GOOD_NAMES = ["a", "Z", "0", "web", "web-1", "web_1", "web.example.org", "a@b", "a:b", "x" * 64,
              "_x", "@x", ":x", "a.", "a-", "1.2.3.4:80", "CON"]
BAD_NAMES = [".x", "-x", "..x", "x" * 65, "x" * 255, "a b", " a", "a ", "a\nb", "a\n", "a\tb",
             "caf\u00e9", "a\\b", "a*", "a?b", "a$b", "a;b", "a\"b", "a'b", "a%b", "a+b",
             "a,b", "a=b",
             "a~", "#a", "a!b", "a(b", "a\x01b", "a\x7fb"]
OWN_NAMES = sorted(ROOT_FILES) + (["sim"] if is_sim() else [])


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_good_name(mount, name):
    assert outcome(os.mkdir, mount.path(name)) == "OK"
    assert mount.enclaves() == [name]
    assert mount.get(f"{name}/state") == b"init\n"
    assert outcome(os.rmdir, mount.path(name)) == "OK"
    assert mount.enclaves() == []
    assert outcome(os.stat, mount.path(name)) == "ENOENT"


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_name(mount, name):
    assert outcome(os.mkdir, mount.path(name)) == "EINVAL"
    assert mount.enclaves() == []
    assert mount.error().count(b"\n") == 1
    assert mount.error().decode().rstrip("\n").isprintable()


def test_name_that_is_not_utf8(mount):
    assert outcome(os.mkdir, os.fsencode(mount.root) + b"/\xff\xfe") == "EINVAL"
    assert mount.error().decode("utf-8")


def test_name_too_long_for_any_filesystem(mount):
    assert outcome(os.mkdir, mount.path("x" * 300)) in ("EINVAL", "ENAMETOOLONG")


@pytest.mark.parametrize("name", OWN_NAMES)
def test_names_of_the_root_exist_already(mount, name):
    assert outcome(os.mkdir, mount.path(name)) == "EEXIST"


def test_mkdir_twice(enclave):
    assert outcome(os.mkdir, enclave.path()) == "EEXIST"


def test_case_matters(mount):
    mount.enclave("web")
    assert outcome(os.mkdir, mount.path("WEB")) == "OK"


def test_root_error_stays_until_that_name_is_accepted(mount):
    first, second = mount.enclave(), mount.enclave()
    assert outcome(os.rename, first.path(), second.path()) == "EEXIST"
    sentence = mount.error()
    assert second.name.encode() in sentence
    mount.enclave()
    os.rmdir(first.path())
    assert mount.error() == sentence
    os.rmdir(second.path())
    assert mount.error() == b""


def test_root_error_names_the_name(mount):
    outcome(os.mkdir, mount.path("a b"))
    assert b"a b" in mount.error()


# ---- rmdir ----

def test_rmdir_of_what_is_not_there(mount):
    assert outcome(os.rmdir, mount.path("none")) == "ENOENT"


@pytest.mark.parametrize("state", ["init", "failed", "stopped",
                                   pytest.param("crashed", marks=pytest.mark.device)])
def test_rmdir_in_every_resting_state(mount, enclave, state):
    if state == "failed":
        enclave.start()
    elif state != "init":
        enclave.running()
        enclave.crash() if state == "crashed" else enclave.stop()
        enclave.settle()
    assert enclave.state == state
    assert outcome(os.rmdir, enclave.path()) == "OK"
    assert mount.enclaves() == []
    assert mount.spooled() == []


@pytest.mark.sim
def test_sim_cannot_be_removed(mount):
    assert outcome(os.rmdir, mount.path("sim")) == "EPERM"
    assert outcome(os.rename, mount.path("sim"), mount.path("mis")) == "EPERM"
    assert os.path.isdir(mount.path("sim"))


def test_rmdir_of_a_file_and_unlink_of_a_directory(enclave):
    assert outcome(os.rmdir, enclave.path("memory")) == "ENOTDIR"
    assert outcome(os.unlink, enclave.path()) in ("EISDIR", "EPERM")


def test_the_name_is_free_again(mount):
    for _ in range(20):
        enclave = mount.enclave("again")
        enclave.set("memory", b"64M")
        os.rmdir(enclave.path())


# ---- An fd across rmdir ----

READABLE = ["memory", "state", "events", "error", "wait", "slot", "start", "image", "cpus",
            "memory.effective", "journal", "console", "measurements", "image_info"]


@pytest.mark.parametrize("name", READABLE)
def test_read_after_rmdir(enclave, name):
    fd = os.open(enclave.path(name), os.O_RDONLY)
    try:
        os.rmdir(enclave.path())
        assert outcome(os.read, fd, 65536) == "ENODEV"
    finally:
        os.close(fd)


@pytest.mark.parametrize("name,value", [("memory", b"64M"), ("start", b"1"), ("image", b".eif"),
                                        ("cid", b"0")])
def test_write_after_rmdir(enclave, name, value):
    fd = os.open(enclave.path(name), os.O_WRONLY)
    try:
        os.rmdir(enclave.path())
        assert outcome(os.write, fd, value) == "ENODEV"
    finally:
        os.close(fd)


def test_a_new_one_of_the_name_is_another(mount, enclave):
    fd = os.open(enclave.path("memory"), os.O_RDWR)
    try:
        os.rmdir(enclave.path())
        again = mount.enclave(enclave.name)
        again.set("memory", b"64M")
        assert fd_outcome(fd) == "ENODEV"
        assert outcome(os.write, fd, b"128M") == "ENODEV"
        assert again.get("memory") == b"64M"
    finally:
        os.close(fd)


def test_a_directory_fd_across_rmdir(mount, enclave):
    fd = os.open(enclave.path(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.rmdir(enclave.path())
        assert outcome(os.open, "memory", os.O_RDONLY, dir_fd=fd) in ("ENOENT", "ENODEV")
        assert outcome(os.open, "x", os.O_CREAT | os.O_WRONLY, dir_fd=fd) in ("ENOENT", "ENODEV")
        assert outcome(os.mkdir, "x.lock", dir_fd=fd) in ("ENOENT", "ENODEV")
        assert outcome(os.fstat, fd) in ("OK", "ENODEV", "ENOENT")
    finally:
        os.close(fd)
    assert mount.alive()


def test_a_working_directory_across_rmdir(mount, enclave):
    os.chdir(enclave.path())
    try:
        os.rmdir(enclave.path())
        assert outcome(os.stat, "memory") in ("ENOENT", "ENODEV")
    finally:
        os.chdir("/")


def test_fds_do_not_leak_across_rmdir(mount):
    before = mount.fds()
    for _ in range(50):
        enclave = mount.enclave()
        fd = os.open(enclave.path("state"), os.O_RDONLY)
        os.rmdir(enclave.path())
        os.close(fd)
    assert mount.fds() <= before + 2


# ---- rename ----

def test_mv(mount, enclave):
    enclave.set("memory", b"64M\n")
    assert outcome(os.rename, enclave.path(), mount.path("new")) == "OK"
    assert mount.enclaves() == ["new"]
    assert mount.get("new/memory") == b"64M\n"
    assert outcome(os.stat, enclave.path()) == "ENOENT"


def test_mv_of_a_running_one(mount, running):
    slot = running.get("slot")
    with Watched(running.path("state")) as state:
        os.rename(running.path(), mount.path("new"))
        assert state.read() == b"running\n"
        running.name = "new"
        assert (running.state, running.get("slot")) == ("running", slot)
        assert running.events()["starts"] == 1
        assert running.stop() == "OK"
        while state.read() != b"stopped\n":
            state.changed()


@pytest.mark.sim
def test_crash_under_the_new_name(mount, running):
    os.rename(running.path(), mount.path("new"))
    assert mount.put("sim/crash", running.name.encode()) == "ENOENT"
    running.name = "new"
    running.crash()


def test_an_open_fd_across_rename(mount, enclave):
    fd = os.open(enclave.path("memory"), os.O_RDWR)
    try:
        os.rename(enclave.path(), mount.path("new"))
        os.write(fd, b"64M\n")
        assert mount.get("new/memory") == b"64M\n"
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_mv_to_a_good_name(mount, enclave, name):
    assert outcome(os.rename, enclave.path(), mount.path(name)) == "OK"
    assert mount.enclaves() == [name]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_mv_to_a_bad_name(mount, enclave, name):
    assert outcome(os.rename, enclave.path(), mount.path(name)) == "EINVAL"
    assert mount.enclaves() == [enclave.name]
    assert mount.error() != b""


def test_mv_onto_an_existing_one(mount, enclave):
    other = mount.enclave()
    other.set("memory", b"64M\n")
    assert outcome(os.rename, enclave.path(), other.path()) == "EEXIST"
    assert set(mount.enclaves()) == {enclave.name, other.name}
    assert other.get("memory") == b"64M\n"


def test_mv_onto_a_running_one(mount, running):
    other = mount.enclave()
    assert outcome(os.rename, other.path(), running.path()) == "EEXIST"
    assert running.state == "running"


def test_noreplace(mount, enclave):
    other = mount.enclave()
    assert renameat2(enclave.path(), other.path(), RENAME_NOREPLACE) == "EEXIST"
    assert renameat2(enclave.path(), mount.path("new"), RENAME_NOREPLACE) == "OK"
    assert set(mount.enclaves()) == {"new", other.name}


def test_exchange_is_refused(mount, enclave):
    other = mount.enclave()
    enclave.set("memory", b"64M\n")
    assert renameat2(enclave.path(), other.path(), RENAME_EXCHANGE) == "EINVAL"
    assert enclave.get("memory") == b"64M\n"


@pytest.mark.parametrize("name", OWN_NAMES)
def test_mv_onto_a_name_of_the_root(mount, enclave, name):
    wanted = "EEXIST" if os.path.isdir(mount.path(name)) else "ENOTDIR"
    assert outcome(os.rename, enclave.path(), mount.path(name)) == wanted
    assert mount.enclaves() == [enclave.name]


@pytest.mark.parametrize("name", sorted(ROOT_FILES))
def test_root_files_cannot_be_renamed(mount, name):
    assert outcome(os.rename, mount.path(name), mount.path("elsewhere")) != "OK"
    assert name in os.listdir(mount.root)


def test_mv_to_itself(enclave):
    assert outcome(os.rename, enclave.path(), enclave.path()) == "OK"


def test_mv_into_another(mount, enclave):
    other = mount.enclave()
    assert outcome(os.rename, enclave.path(), other.path("inner")) != "OK"
    assert outcome(os.rename, enclave.path(), other.path("inner.lock")) != "OK"
    assert set(mount.enclaves()) == {enclave.name, other.name}


def test_mv_there_and_back(mount, enclave):
    for _ in range(20):
        os.rename(enclave.path(), mount.path("there"))
        os.rename(mount.path("there"), enclave.path())
    assert mount.enclaves() == [enclave.name]


def test_two_swap_their_names(mount):
    first, second = mount.enclave("first"), mount.enclave("second")
    first.set("vcpus", b"1")
    second.set("vcpus", b"2")
    os.rename(first.path(), mount.path("third"))
    os.rename(second.path(), first.path())
    os.rename(mount.path("third"), second.path())
    assert (first.get("vcpus"), second.get("vcpus")) == (b"2", b"1")


def test_rename_is_journalled(mount, enclave):
    os.rename(enclave.path(), mount.path("new"))
    records = journal_now(mount.path("new/journal"))
    assert [record["event"] for record in records] == ["created", "renamed"]
    assert records[-1]["enclave"] == "new"
    assert journal_now(mount.path("journal"))[-1] == records[-1]


def test_totals_survive_removal(mount, enclave):
    enclave.start()
    before = flat_keyed(mount.get("events"))
    os.rmdir(enclave.path())
    assert mount.events() == before


def test_times_are_plausible(mount, enclave):
    made = os.stat(enclave.path()).st_mtime
    assert abs(made - os.stat(mount.root).st_mtime) < 3600
    assert made > 1600000000
