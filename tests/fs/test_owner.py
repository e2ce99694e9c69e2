# SPDX-License-Identifier: GPL-2.0-or-later
"""Whose an enclave is, who may touch it, and the mount of an ordinary user."""
import grp
import os
import stat

import pytest
from eif_image import SMALL
from harness import NOBODY, Child, get, outcome, put, read_outcome
from nefs_mount import ENCLAVE_FILES, ROOT_FILES, SETTABLE, Mount, is_sim
from watching import CHANGED, Inotify, Watched

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs two users")


def as_nobody(function, *args, groups=(), namespace=None):
    """Runs it as another user than the mount's; what it returned."""
    return Child(function, *args, uid=NOBODY, groups=groups, namespace=namespace).result()


def put_all(enclave):
    """What writing each settable file gives."""
    values = {"memory": b"64M", "vcpus": b"2", "cpus": b"", "image": SMALL, "cid": b"0",
              "debug": b"0", "boot_timeout": b"0", "start": b"0"}
    return {name: put(enclave.path(name), values[name]) for name in values if values[name]}


def ids(path):
    status = os.stat(path)
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


# ---- somebody else's enclave ----

def test_others_may_not_write(enclave):
    assert set(as_nobody(put_all, enclave).values()) == {"EACCES"}
    assert enclave.get("memory") == b""


@pytest.mark.parametrize("name", sorted(set(ENCLAVE_FILES) - {"journal", "image", "console"}))
def test_others_may_read(running, name):
    assert as_nobody(get, running.path(name)) == running.get(name)


@pytest.mark.parametrize("name", ["image", "console"])
def test_others_may_not_read_what_is_private(running, name):
    assert as_nobody(read_outcome, running.path(name)) == "EACCES"


@pytest.mark.parametrize("name", sorted(ROOT_FILES.keys() - {"journal", "error"}))
def test_others_may_read_the_roots_files(mount, name):
    assert as_nobody(get, mount.path(name)) == mount.get(name)


def test_others_may_not_make_enclaves(mount):
    assert as_nobody(outcome, os.mkdir, mount.path("theirs")) == "EACCES"
    assert "theirs" not in os.listdir(mount.root)


def test_others_may_not_remove_or_rename(mount, enclave):
    assert as_nobody(outcome, os.rmdir, enclave.path()) == "EACCES"
    assert as_nobody(outcome, os.rename, enclave.path(), mount.path("other")) == "EACCES"
    assert as_nobody(outcome, os.unlink, enclave.path("memory")) == "EACCES"
    assert as_nobody(outcome, os.chown, enclave.path(), NOBODY, NOBODY) == "EPERM"
    assert as_nobody(outcome, os.chmod, enclave.path("memory"), 0o666) == "EPERM"


def test_others_may_not_stage(enclave):
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    assert as_nobody(put, enclave.path("staged"), b"x", flags) == "EACCES"


@pytest.mark.sim
def test_others_may_not_rehearse_failures(mount, running):
    assert as_nobody(put, mount.path("sim/crash"), running.name.encode()) == "EACCES"
    assert as_nobody(put, mount.path("sim/fault"), b"\n") == "EACCES"
    assert as_nobody(get, mount.path("sim/slots")) == mount.get("sim/slots")


def test_others_are_woken_too(running):
    def sleep(path):
        with Watched(path) as file:
            return file.changed()
    child = Child(sleep, running.path("state"), uid=NOBODY).blocked("poll")
    assert running.stop() == "OK"
    assert child.result() in (b"stopping\n", b"stopped\n")


# ---- delegation, as with cgroups ----

def chown_all(enclave, uid=NOBODY, gid=NOBODY):
    os.chown(enclave.path(), uid, gid)
    for name in [*SETTABLE, "start"]:
        os.chown(enclave.path(name), uid, gid)


def test_delegation_of_one_file(enclave):
    os.chown(enclave.path("memory"), NOBODY, NOBODY)
    assert ids(enclave.path("memory")) == (NOBODY, NOBODY, 0o644)
    results = as_nobody(put_all, enclave)
    assert results.pop("memory") == "OK" and set(results.values()) == {"EACCES"}
    assert enclave.get("memory") == b"64M"


def test_delegation_by_group(enclave):
    os.chown(enclave.path("memory"), -1, NOBODY)
    assert as_nobody(put, enclave.path("memory"), b"64M") == "EACCES"
    os.chmod(enclave.path("memory"), 0o664)
    assert ids(enclave.path("memory")) == (0, NOBODY, 0o664)
    assert as_nobody(put, enclave.path("memory"), b"64M") == "OK"


def test_delegation_of_an_enclave(enclave):
    """Who has the directory and its files can do everything with it but remove it."""
    def live(enclave):
        enclave.running()
        enclave.stop()
        enclave.reaches("stopped")
        os.unlink(enclave.path("cid"))
        enclave.put("staged", b"65536K\n", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.rename(enclave.path("staged"), enclave.path("memory"))
        return outcome(os.rmdir, enclave.path())
    chown_all(enclave)
    assert as_nobody(live, enclave) == "EACCES"
    assert enclave.get("memory") == b"65536K\n" and "cid" not in os.listdir(enclave.path())
    assert enclave.events()["starts"] == 1


def test_delegation_can_be_taken_back(enclave):
    chown_all(enclave)
    chown_all(enclave, 0, 0)
    assert set(as_nobody(put_all, enclave).values()) == {"EACCES"}


@pytest.mark.parametrize("change", [(os.chmod, 0o666), (os.utime, (5, 5)), (os.chown, NOBODY, -1)])
def test_a_former_owner_is_none_whatever_the_kernel_remembers(enclave, change):
    """A rename over it, and a chown of the file that a stream belongs to, change the owner behind the kernel's back."""
    call, *arguments = change
    os.chown(enclave.path("memory"), NOBODY, 0)
    os.chown(enclave.path("journal"), NOBODY, 0)
    fd = os.open(enclave.path("memory"), os.O_RDONLY)
    assert os.stat(enclave.path("journal.follow")).st_uid == NOBODY
    assert as_nobody(outcome, call, fd, *arguments) == "OK"
    assert as_nobody(outcome, call, enclave.path("journal.follow"), *arguments) == "OK"
    staged = enclave.path(".staged")
    put(staged, b"64M\n", os.O_WRONLY | os.O_CREAT)
    os.chmod(staged, 0o600)
    os.rename(staged, enclave.path("memory"))
    os.chown(enclave.path("journal"), 0, 0)
    os.chmod(enclave.path("journal"), 0o400)
    assert as_nobody(outcome, call, fd, *arguments) in ("ESTALE", "EPERM")
    assert as_nobody(outcome, call, enclave.path("journal.follow"), *arguments) == "EPERM"
    os.close(fd)
    for name, mode in (("memory", 0o600), ("journal.follow", 0o400)):
        assert ids(enclave.path(name)) == (0, 0, mode)
    assert os.stat(enclave.path("memory")).st_mtime != 5


def test_a_read_only_file_can_be_closed_to_others(running):
    os.chmod(running.path("state"), 0o400)
    assert as_nobody(read_outcome, running.path("state")) == "EACCES"
    assert running.get("state") == b"running\n"


def test_ownership_survives_a_rename(mount, enclave):
    chown_all(enclave)
    os.chmod(enclave.path(), 0o750)
    os.rename(enclave.path(), mount.path("elsewhere"))
    assert ids(mount.path("elsewhere")) == (NOBODY, NOBODY, 0o750)
    assert ids(mount.path("elsewhere", "memory"))[:2] == (NOBODY, NOBODY)


@pytest.mark.parametrize("name", sorted(ENCLAVE_FILES))
def test_chown_and_chmod_of_every_file(enclave, name):
    os.chown(enclave.path(name), 12, 34)
    os.chmod(enclave.path(name), 0o640)
    assert ids(enclave.path(name)) == (12, 34, 0o640)
    os.chown(enclave.path(name), -1, 56)
    assert ids(enclave.path(name)) == (12, 56, 0o640)


def test_delegation_to_a_supplementary_group(enclave):
    os.chown(enclave.path("memory"), 0, 4242)
    os.chmod(enclave.path("memory"), 0o664)
    assert as_nobody(put, enclave.path("memory"), b"64M") == "EACCES"
    assert as_nobody(put, enclave.path("memory"), b"64M", groups=[4242]) == "OK"


def test_delegation_survives_a_life_and_a_commit(enclave):
    chown_all(enclave)
    enclave.running()
    enclave.stop()
    enclave.reaches("stopped")
    enclave.put("staged", b"128M\n", os.O_WRONLY | os.O_CREAT)
    os.chown(enclave.path("staged"), NOBODY, NOBODY)
    os.chmod(enclave.path("staged"), 0o644)
    os.rename(enclave.path("staged"), enclave.path("memory"))
    assert ids(enclave.path("memory")) == (NOBODY, NOBODY, 0o644)
    assert as_nobody(put, enclave.path("memory"), b"64M") == "OK"


def test_what_the_owner_makes_again_is_theirs(enclave):
    chown_all(enclave)

    def make_again():
        os.unlink(enclave.path("memory"))
        made = put(enclave.path("memory"), b"64M\n", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        return made, put(enclave.path("memory"), b"128M\n")
    assert as_nobody(make_again) == ("OK", "OK")
    assert enclave.get("memory") == b"128M\n"


def test_a_staged_file_is_its_makers(enclave):
    os.chown(enclave.path(), NOBODY, NOBODY)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    assert as_nobody(put, enclave.path("staged"), b"x", flags) == "OK"
    assert ids(enclave.path("staged"))[:2] == (NOBODY, NOBODY)


# ---- mkdir ----

@pytest.mark.parametrize("mode,mask,result", [(0o777, 0o022, 0o755), (0o700, 0o022, 0o700),
                                              (0o770, 0, 0o770), (0o755, 0o077, 0o700)])
def test_mkdir_gives_the_mode_asked_for(mount, mode, mask, result):
    old = os.umask(mask)
    try:
        os.mkdir(mount.path("mine"), mode)
    finally:
        os.umask(old)
    assert ids(mount.path("mine")) == (0, 0, result)


def test_a_closed_directory_hides_its_files(mount):
    os.mkdir(mount.path("closed"), 0o700)
    assert as_nobody(read_outcome, mount.path("closed", "state")) == "EACCES"


# ---- -o group= ----

def test_root_without_a_group(mount):
    assert ids(mount.root) == (0, 0, 0o755)


def test_group_may_make_enclaves(new_mount):
    group = grp.getgrgid(NOBODY).gr_name
    mount = new_mount(f"group={group}")

    def live():
        enclave = mount.enclave("ours").running()
        enclave.stop()
        enclave.reaches("stopped")
        return ids(enclave.path()), ids(enclave.path("memory")), ids(enclave.path("image"))
    assert ids(mount.root) == (0, NOBODY, 0o1775)
    directory, memory, image = as_nobody(live)
    assert directory == (NOBODY, NOBODY, 0o755)
    assert memory == (NOBODY, NOBODY, 0o644) and image == (NOBODY, NOBODY, 0o600)
    assert as_nobody(outcome, os.rmdir, mount.path("ours")) == "OK"


def test_a_group_of_some_of_the_users(new_mount):
    mount = new_mount(f"group={grp.getgrgid(1).gr_name}")
    assert as_nobody(outcome, os.mkdir, mount.path("no")) == "EACCES"
    assert as_nobody(outcome, os.mkdir, mount.path("yes"), groups=[1]) == "OK"


def test_no_member_of_the_group_takes_anothers_name(new_mount):
    """As in /tmp: who may make enclaves removes and renames those of his own alone."""
    mount = new_mount(f"group={grp.getgrgid(NOBODY).gr_name}")
    assert as_nobody(outcome, os.mkdir, mount.path("hers")) == "OK"

    def as_other(call, *args):
        return Child(outcome, call, *args, uid=NOBODY - 1, groups=[NOBODY]).result()
    assert as_other(os.mkdir, mount.path("his")) == "OK"
    assert as_other(os.rmdir, mount.path("hers")) == "EPERM"
    assert as_other(os.rename, mount.path("hers"), mount.path("stolen")) == "EPERM"
    assert as_other(os.rename, mount.path("his"), mount.path("still-his")) == "OK"
    assert as_other(os.rmdir, mount.path("still-his")) == "OK"
    assert as_nobody(outcome, os.rmdir, mount.path("hers")) == "OK"


# ---- a mount of one's own ----

@pytest.fixture
def own(bounded):
    """A mount by an ordinary user, through fusermount3. Only they see into it, and only in its namespace."""
    if not is_sim():
        pytest.fail("an ordinary user's mount is for backend=sim")
    mount = Mount(uid=NOBODY)
    yield mount
    try:
        mount.unmount()
    finally:
        mount.discard()
        mount.delete()


@pytest.mark.sim
def test_own_mount(own):
    def live():
        enclave = own.enclave().running()
        seen = ids(own.root), ids(enclave.path()), enclave.state
        enclave.crash()
        os.rmdir(enclave.path())
        return seen, own.events()
    seen, events = as_nobody(live, namespace=own.namespace)
    assert seen == ((NOBODY, NOBODY, 0o755), (NOBODY, NOBODY, 0o755), "running")
    assert events["starts"] == 1 and events["crashes"] == 1


@pytest.mark.sim
def test_own_mount_has_poll_and_inotify(own):
    def live():
        enclave = own.enclave().running()
        path = enclave.path("state")
        with Watched(path) as state, Inotify(path, enclave.path()) as watch:
            enclave.crash()
            assert state.changed() in (b"crashed\n", b"stopping\n")
            watch.wait(path)
            watch.wait(enclave.path(), "state")
        os.rmdir(enclave.path())
        return CHANGED
    assert as_nobody(live, namespace=own.namespace) == CHANGED


@pytest.mark.sim
def test_own_mount_ends_its_enclaves(own):
    """Unmounting with an enclave running stops it; the fixture sees to the rest."""
    def live():
        return own.enclave().running().state
    assert as_nobody(live, namespace=own.namespace) == "running"


def test_a_file_made_again_is_its_makers(enclave):
    """As any new file: owner, group and mode are those of who makes it after an unlink."""
    def remake(path):
        os.unlink(path)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640))
        return ids(path)
    os.chown(enclave.path(), NOBODY, NOBODY)
    assert ids(enclave.path("memory")) == (0, 0, 0o644)
    assert as_nobody(remake, enclave.path("memory")) == (NOBODY, NOBODY, 0o640)
