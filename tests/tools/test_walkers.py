# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that read a whole tree: each comes to its end, with all of it, whatever the enclaves are doing."""
import os

import pytest

import eif_image
from nefs_mount import Enclave, Mount
from program import shell, tool

WALKERS = {
    "cp": "cp -a . $1/x",
    "find": "find . -type f -exec cat {} + >$1/x",
    "grep": "grep -r . . >$1/x",
    "tar": "tar cf - . | wc -c >$1/x",
    "busybox-grep": "busybox grep -r crashes . >$1/x",
    "busybox-cp": "busybox cp -a . $1/x",
    "uutils-cp": "coreutils cp -a \"$PWD\" $1/x",
    "rsync": "rsync -a . $1/x",
    "cpio": "find . | cpio -o --quiet >$1/x",
    "zip": "zip -qr $1/x.zip .",
    "md5sum": "find . -type f -print0 | xargs -0 md5sum >$1/x",
    "wc": "find . -type f -print0 | xargs -0 wc >$1/x",
    "python": "python3 -c 'import shutil, sys; shutil.copytree(\".\", sys.argv[1])' $1/x",
    "du": "du -a --apparent-size . >$1/x",
    "ls": "ls -lR . >$1/x",
    "git": "git hash-object $(find . -type f ! -path ./sim/crash) >$1/x",
    "borg": "borg init -e none $1/r && borg create $1/r::a .",
    "jq": "find . -name 'journal*' -exec cat {} + | jq -c .event >$1/x",
}

# These open without waiting, or look whether a file has changed meanwhile, and may end with this for `wait` of
# the one that is starting. (tar 1.34 waits and sees a change, 1.35 says that it would block.)
MINDS_WAIT = {"grep": (2,), "borg": (1,), "tar": (1, 2)}

# Room for more enclaves than the usual pool has.
ROOM = "sim_cpus=32"


@pytest.fixture
def mount(bounded):
    """A nefs of the test's own."""
    with Mount(ROOM) as mount:
        yield mount


@pytest.fixture
def ten(mount):
    """Ten enclaves: three that run, one that starts for two seconds, others that ended in some way or never began."""
    enclaves = [mount.enclave(f"e{number}").ready(debug=b"1\n") for number in range(10)]
    for enclave in (*enclaves[:3], *enclaves[4:7]):
        assert enclave.start() == "OK", enclave.error
        enclave.reaches("running")
    enclaves[4].crash()
    assert enclaves[5].stop() == enclaves[6].stop() == "OK"
    enclaves[5].reaches("stopped")
    enclaves[6].reaches("stopped")
    assert enclaves[7].put("memory", b"64MB\n") == "EINVAL"
    mount.faults("ENCLAVE_START delay 2000 1")
    assert enclaves[3].start(os.O_NONBLOCK) == "OK"
    assert enclaves[3].state == "starting"
    return enclaves


@pytest.mark.parametrize("walker", WALKERS)
def test_walkers(mount, ten, tmp_path, walker):
    """Of `wait` of the one that is starting some say that it would block, or that it changed: so it does."""
    base = tmp_path / "out"
    base.mkdir()
    env = {"BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_BASE_DIR": str(tmp_path)}
    said = shell(WALKERS[walker], base, cwd=mount.path(), env=env, status=(0, *MINDS_WAIT.get(walker, ())))
    if walker in MINDS_WAIT:
        assert {line for line in said.splitlines() if "binary file" not in line and "e3/wait" not in line
                and "previous errors" not in line} == set()
    assert ten[3].settle() == "running"
    assert sum(enclave.state == "running" for enclave in ten) == 4


def test_in_ten_seconds(mount, ten, tmp_path):
    """All that is in it, four times over, also while one is starting."""
    tool("timeout", "10", "sh", "-c", 'cp -a . "$0/x"; find . -type f -exec cat {} + >"$0/f"; grep -r . . >"$0/g"; '
         'tar cf - . | wc -c >"$0/t"', tmp_path, cwd=mount.path())
    assert int((tmp_path / "t").read_text()) > 10 * len(eif_image.SMALL)
    for number in range(10):
        for name in ("memory", "image", "events", "journal", "measurements"):
            assert (tmp_path / f"x/e{number}/{name}").stat().st_size > 0
    assert b'"crashed"' in (tmp_path / "f").read_bytes() and b"./e4/state:crashed" in (tmp_path / "g").read_bytes()


def test_a_whole_mount_onto_a_fresh_one(mount, ten, tmp_path):
    """tar sets what can be set, tells what cannot, and ends; what is set can be started."""
    tool("tar", "-C", mount.path(), "-cf", tmp_path / "t", ".", status=(0, *MINDS_WAIT["tar"]))
    with Mount(ROOM) as fresh:
        tool("tar", "-C", fresh.path(), "-xf", tmp_path / "t", status=(0, 2))
        assert sorted(fresh.enclaves()) == sorted(mount.enclaves())
        for name in fresh.enclaves():
            new, old = Enclave(fresh, name), Enclave(mount, name)
            for file in ("memory", "vcpus", "debug", "image"):
                assert new.get(file) == old.get(file), file
                assert int(os.stat(new.path(file)).st_mtime) == int(os.stat(old.path(file)).st_mtime), file
        # tar removed what it could not write then: a start brings it back.
        for name in fresh.enclaves():
            new = Enclave(fresh, name)
            assert new.start() == "OK", new.error
            new.reaches("running")
