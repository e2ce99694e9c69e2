# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of docs/interface.md: which files there are, their modes, sizes, owners."""
import os
import stat
import time

import pytest
from harness import eventually, get, outcome
from nefs_mount import (ENCLAVE_FILES, LATER_FILES, LATER_ROOT, READ_ONLY, ROOT_FILES, SETTABLE,
                        SIM_FILES, is_sim)


def modes(folder):
    """{name: mode} of the regular files of a directory, from lstat."""
    found = {}
    for entry in os.scandir(folder):
        status = os.lstat(entry.path)
        if stat.S_ISREG(status.st_mode):
            found[entry.name] = oct(stat.S_IMODE(status.st_mode))
    return found


def octal(table):
    return {name: oct(mode) for name, mode in table.items()}


def test_root_has_exactly_its_files(mount):
    found = modes(mount.root)
    assert {name: mode for name, mode in found.items() if name not in LATER_ROOT} == octal(
        ROOT_FILES)


def test_root_has_only_the_sim_directory(mount):
    folders = {name for name in os.listdir(mount.root) if os.path.isdir(mount.path(name))}
    assert folders - LATER_ROOT == ({"sim"} if is_sim() else set())


@pytest.mark.sim
def test_sim_has_exactly_its_files(mount):
    assert modes(mount.path("sim")) == octal(SIM_FILES)


def test_enclave_has_exactly_its_files(enclave):
    found = modes(enclave.path())
    assert {name: mode for name, mode in found.items() if name not in LATER_FILES} == octal(
        ENCLAVE_FILES)


def test_enclave_has_no_directories(enclave):
    assert not [name for name in enclave.listing() if os.path.isdir(enclave.path(name))]


def test_readdir_gives_dot_and_types(enclave):
    kinds = {entry.name: entry.is_file(follow_symlinks=False)
             for entry in os.scandir(enclave.path())}
    assert all(kinds.values())
    names = os.popen(f"ls -a {enclave.path()}").read().split()
    assert {".", ".."} <= set(names)


def test_dotdot_leads_back(enclave):
    assert os.stat(enclave.path("..")).st_ino == os.stat(enclave.mount.root).st_ino
    assert os.path.exists(enclave.path("..", enclave.name, "state"))


def test_version(mount):
    assert mount.get("version") == b"0.1.0\n"


def test_backend(mount):
    assert mount.get("backend") == (b"sim\n" if is_sim() else b"kernel\n")


def test_files_belong_to_the_maker(enclave):
    for name in ENCLAVE_FILES:
        status = os.stat(enclave.path(name))
        assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid()), name


def test_files_have_one_link(enclave):
    assert {os.stat(enclave.path(name)).st_nlink for name in ENCLAVE_FILES} == {1}


def times_of(path):
    status = os.stat(path)
    return status.st_mtime_ns, status.st_ctime_ns


def changes(path, call, *args):
    """Does the call change the directory's mtime and ctime? The clock's tick is passed first."""
    before = times_of(path)
    eventually(lambda: time.time_ns() > max(before) + 20_000_000, "the clock stands still")
    assert outcome(call, *args) == "OK"
    return all(new > old for new, old in zip(times_of(path), before))


def test_times_and_links_of_the_root(mount):
    root, links = mount.root, os.stat(mount.root).st_nlink
    assert changes(root, os.mkdir, mount.path("a"))
    assert os.stat(root).st_nlink == links + 1
    assert changes(root, os.rename, mount.path("a"), mount.path("b"))
    assert changes(root, os.rmdir, mount.path("b"))
    assert os.stat(root).st_nlink == links


def test_times_and_links_of_an_enclave(enclave):
    path = enclave.path()
    assert os.stat(path).st_nlink == 2
    assert changes(path, os.mkdir, enclave.path("sub"))
    assert os.stat(path).st_nlink == 3
    assert changes(path, enclave.put, "x", b"1", os.O_WRONLY | os.O_CREAT)
    assert changes(enclave.path("sub"), os.rename, enclave.path("x"), enclave.path("sub/x"))
    assert changes(enclave.path("sub"), os.unlink, enclave.path("sub/x"))
    assert changes(path, os.rmdir, enclave.path("sub"))
    assert os.stat(path).st_nlink == 2
    assert changes(path, os.unlink, enclave.path("memory"))
    assert changes(path, enclave.put, "memory", b"64M", os.O_WRONLY | os.O_CREAT)
    assert changes(path, os.rename, enclave.path("memory"), enclave.path("memory~"))
    assert changes(path, os.rename, enclave.path("memory~"), enclave.path("memory"))


def test_what_comes_back_at_a_start_changes_the_directory(ready):
    os.unlink(ready.path("state"))
    assert changes(ready.path(), lambda: ready.set("start", b"1"))
    assert "state" in ready.listing()


def test_inode_numbers_differ(mount):
    first, second = mount.enclave(), mount.enclave()
    paths = [e.path(name) for e in (first, second) for name in ENCLAVE_FILES]
    paths += [mount.root, first.path(), second.path()] + [mount.path(n) for n in ROOT_FILES]
    numbers = [os.stat(path).st_ino for path in paths]
    assert len(set(numbers)) == len(numbers)


def test_inode_number_is_stable(enclave):
    assert os.stat(enclave.path("memory")).st_ino == os.stat(enclave.path("memory")).st_ino


@pytest.mark.parametrize("name", sorted(ENCLAVE_FILES))
def test_size_is_that_of_the_content(enclave, name):
    assert os.stat(enclave.path(name)).st_size == len(enclave.get(name))


@pytest.mark.parametrize("name", sorted(set(ROOT_FILES) - {"journal"}))
def test_size_in_root_is_that_of_the_content(mount, name):
    assert os.stat(mount.path(name)).st_size == len(mount.get(name))


@pytest.mark.parametrize("value", [b"512M", b"512M\n", b"0x20000000\n"])
def test_size_follows_a_write(enclave, value):
    os.stat(enclave.path("memory"))
    enclave.set("memory", value)
    assert os.stat(enclave.path("memory")).st_size == len(value)


@pytest.mark.parametrize("name", ["state", "slot", "memory.effective", "cid.effective", "events"])
def test_size_follows_the_enclave(ready, name):
    os.stat(ready.path(name))
    assert ready.start() == "OK"
    ready.reaches("running")
    eventually(lambda: os.stat(ready.path(name)).st_size == len(ready.get(name)),
               f"st_size of {name} is that of {ready.get(name)!r}", bound=2)


@pytest.mark.parametrize("name", ["state", "events", "cid", "journal", "error"])
def test_size_of_zero_does_not_hide_content(enclave, name):
    """cat, which may trust st_size, shows what there is."""
    content = enclave.get(name, os.O_NONBLOCK) if name != "journal" else None
    shown = os.popen(f"timeout 1 cat {enclave.path(name)}").read().encode()
    assert shown == content if content is not None else b'"created"' in shown


def check_no_write(path):
    """Root passes the mode check; the open says it all the same, as in sysfs."""
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | os.O_TRUNC):
        assert outcome(os.open, path, flags) == "EACCES"
    assert outcome(os.truncate, path, 0) == "EACCES"


@pytest.mark.parametrize("name", sorted(READ_ONLY))
def test_read_only_files_take_no_write(enclave, name):
    check_no_write(enclave.path(name))
    assert enclave.error == name.encode() + b": it can only be read\n"


@pytest.mark.parametrize("name", ["version", "backend", "events", "error"])
def test_read_only_root_files_take_no_write(mount, name):
    check_no_write(mount.path(name))
    assert mount.error() == name.encode() + b": it can only be read\n"


def test_read_at_an_offset(enclave):
    enclave.set("memory", b"512M\n")
    fd = os.open(enclave.path("memory"), os.O_RDONLY)
    try:
        assert os.pread(fd, 2, 1) == b"12"
        assert os.pread(fd, 10, 5) == b""
        assert os.pread(fd, 10, 500) == b""
    finally:
        os.close(fd)


def test_read_a_byte_at_a_time(enclave):
    enclave.set("memory", b"512M\n")
    assert get(enclave.path("memory"), size=1) == b"512M\n"


def test_300_enclaves(mount):
    names = {f"many-{i}" for i in range(300)}
    for name in names:
        os.mkdir(mount.path(name))
    assert set(mount.enclaves()) == names
    for name in sorted(names)[::25]:
        assert modes(mount.path(name)).keys() >= ENCLAVE_FILES.keys()
    for name in names:
        os.rmdir(mount.path(name))
    assert mount.enclaves() == []


def test_readdir_is_stable_while_others_come_and_go(mount):
    """What is there all the time is listed exactly once, whatever happens around it."""
    pad = "x" * 50
    stable = {f"stable-{i:04}{pad}" for i in range(400)}
    for number, name in enumerate(sorted(stable)):
        os.mkdir(mount.path(name))
        os.mkdir(mount.path(f"gone-{number:04}{pad}"))
    with os.scandir(mount.root) as entries:
        seen = [next(entries).name]
        for number in range(400):
            os.rmdir(mount.path(f"gone-{number:04}{pad}"))
            os.mkdir(mount.path(f"new-{number:04}{pad}"))
        seen += [entry.name for entry in entries]
    assert sorted(name for name in seen if name in stable) == sorted(stable)
    assert len(set(seen)) == len(seen)


def test_rewinddir_shows_the_present(mount):
    fd = os.open(mount.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        assert "late" not in os.listdir(fd)
        mount.enclave("late")
        assert "late" in os.listdir(fd)
    finally:
        os.close(fd)


def test_statfs_is_real(mount):
    status = os.statvfs(mount.root)
    assert status.f_blocks > 0 and status.f_bsize > 0
    assert status.f_namemax >= 64


@pytest.mark.parametrize("where", ["", "state", "memory"])
def test_xattr_is_not_supported(enclave, where):
    path = enclave.path(where)
    assert outcome(os.setxattr, path, "user.nefs", b"1") == "EOPNOTSUPP"
    assert outcome(os.getxattr, path, "user.nefs") == "EOPNOTSUPP"


def test_missing_file(enclave):
    assert outcome(os.stat, enclave.path("nonsense")) == "ENOENT"
    assert outcome(os.stat, enclave.mount.path("nonsense")) == "ENOENT"


def test_settable_files_are_readable_and_writable(enclave):
    for name in SETTABLE:
        assert outcome(os.close, os.open(enclave.path(name), os.O_RDWR)) == "OK"
