# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole directories copied onto an enclave's, by rsync and out of archives."""
import os
import subprocess
import zipfile

import pytest
from eif_image import SMALL
from harness import eventually, outcome, run
from nefs_mount import Mount

VALUES = {"memory": b"128M\n", "vcpus": b"2\n", "cid": b"17\n", "image": SMALL}


@pytest.fixture
def source(tmp_path):
    """What is copied: older than anything here, with modes and owners of its own."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name, content in VALUES.items():
        (folder / name).write_bytes(content)
        os.utime(folder / name, (1700000000, 1700000000))
    os.chmod(folder / "cid", 0o640)
    os.chown(folder / "vcpus", 12, 34)
    return folder


@pytest.fixture(params=["idle", "running"])
def target(request, enclave):
    return (enclave.running if request.param == "running" else enclave.ready)(vcpus=b"4\n")


def check_values(enclave):
    assert {name: enclave.get(name) for name in VALUES} == VALUES


def rsync(source, enclave, *options):
    done = run("rsync", "-i", *options, f"{source}/", f"{enclave.path()}/")
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("options", [
    "-a", "-a --delay-updates", "-a --inplace", "-a --partial", "-a --partial-dir=.rp", "-rc",
    "-a -W --fsync", "-a --backup", "-a --backup --backup-dir=.old", "-aS",
    "-a --checksum --compress -F --delay-updates"])
def test_rsync(target, source, options):
    """It changes what differs, in any state, and a second run has nothing to do."""
    status, said, errors = rsync(source, target, *options.split())
    assert (status, errors) == (0, "") and "memory" in said
    check_values(target)
    assert rsync(source, target, *options.split()) == (0, "", "")


def test_rsync_carries_all_attributes(target, source):
    rsync(source, target, "-a")
    for name in VALUES:
        ours, theirs = os.stat(target.path(name)), os.stat(source / name)
        assert [getattr(ours, what) for what in ("st_mode", "st_uid", "st_gid", "st_mtime")] == \
            [getattr(theirs, what) for what in ("st_mode", "st_uid", "st_gid", "st_mtime")]


def test_rsync_is_told_of_a_bad_value(target, source):
    (source / "memory").write_bytes(b"512MB\n")
    status, _, errors = rsync(source, target, "-a", "--delay-updates")
    assert status == 23 and "memory" in errors
    assert target.get("memory") == b"64M\n" and target.get("cid") == VALUES["cid"]
    assert b"512MB" in target.error


def test_rsync_of_an_older_file(target, source):
    """-u: what is here was written later."""
    assert rsync(source, target, "-a", "-u")[0] == 0
    assert target.get("memory") == b"64M\n"


# ---- archives: GNU tar and unzip remove a file and make it anew ----

def tar(source, target):
    packed = subprocess.run(["tar", "-C", source, "-cf", "-", "."], stdout=subprocess.PIPE, check=True)
    return ["tar", "-C", target, "-xf", "-"], packed.stdout


def tar_overwrite(source, target):
    command, packed = tar(source, target)
    return [*command, "--overwrite"], packed


def cpio(source, target):
    names = "\n".join(sorted(os.listdir(source))).encode()
    packed = subprocess.run(["cpio", "-o", "--quiet", "-H", "newc"], input=names, cwd=source,
                            stdout=subprocess.PIPE, check=True)
    return ["cpio", "-iu", "--quiet", "-D", target], packed.stdout


def unzip(source, target):
    path = os.path.join(os.path.dirname(source), "source.zip")
    with zipfile.ZipFile(path, "w") as file:
        for name in sorted(os.listdir(source)):
            file.write(os.path.join(source, name), name)
    return ["unzip", "-oq", path, "-d", target], b""


def extract(way, source, target):
    command, packed = way(str(source), target)
    return subprocess.run(command, input=packed, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False, timeout=60).returncode


@pytest.mark.parametrize("way", [tar, tar_overwrite, cpio, unzip])
def test_archive(enclave, source, way):
    enclave.ready(memory=b"64M\n", vcpus=b"4\n")
    for _ in range(2):
        assert extract(way, source, enclave.path()) == 0
        check_values(enclave)


def test_archive_onto_what_runs(running, source):
    """What removes first is refused, and nothing is lost; what writes in place is not."""
    assert extract(tar, source, running.path()) == 2
    assert running.get("memory") == b"64M\n" and b"cp" in running.error
    assert extract(tar_overwrite, source, running.path()) == 0
    check_values(running)


@pytest.mark.sim
def test_backup_of_a_whole_mount(mount, tmp_path):
    """It comes back as far as it can be set, and tar ends."""
    mount.enclave("web").ready(memory=b"128M\n", cid=b"17\n")
    mount.enclave("db").running(vcpus=b"4\n")
    # What is still being found out of an image changes its files, of which tar tells by its status.
    assert all(mount.get(f"{name}/measurements") for name in ("web", "db"))
    path = tmp_path / "backup.tar"
    assert run("tar", "-C", mount.root, "-cf", str(path), ".").returncode == 0
    with Mount() as other:
        done = run("tar", "-C", other.root, "-xf", str(path))
        assert done.returncode == 2 and "journal: Cannot open" in done.stderr
        assert sorted(other.enclaves()) == ["db", "web"]
        assert other.get("web/cid") == b"17\n" and other.get("web/memory") == b"128M\n"
        assert other.get("web/image") == SMALL and other.get("db/vcpus") == b"4\n"
        assert other.get("db/start") == b"1\n"
        # Its other files come back with the next start.
        other.put("db/start", b"0\n")
        for name in other.enclaves():
            eventually(lambda name=name: outcome(os.rmdir, other.path(name)) == "OK", f"{name} goes")
