# SPDX-License-Identifier: GPL-2.0-or-later
"""Text that grows, `journal` and `console` as files: what any tool that reads files takes them for."""
import json
import os
import select
import subprocess
import time

import pytest
from harness import OpenFd, eventually, outcome, run, seconds
from nefs_mount import is_sim, journal_now, records
from watching import (CHANGED, IN_CREATE, IN_MOVE_SELF, IN_MOVED_FROM, IN_MOVED_TO, Inotify, Watched,
                      poll_now)

FILE = 2048  # records of the root's journal


def churn(mount, count):
    """That many records in the root's journal."""
    path = mount.path("churn")
    for _ in range(count // 2):
        os.mkdir(path)
        os.rmdir(path)


def fill(mount):
    """Until a new file begins."""
    number = os.stat(mount.path("journal")).st_ino
    while os.stat(mount.path("journal")).st_ino == number:
        churn(mount, 100)


class Opened(OpenFd):
    def __init__(self, path):
        self.fd = os.open(path, os.O_RDONLY)

    def stat(self):
        return os.fstat(self.fd)

    def all(self):
        return os.pread(self.fd, 1 << 21, 0)


# ---- as it grows ----

def test_it_has_an_end_and_a_size(mount, enclave):
    for path in (mount.path("journal"), enclave.path("journal")):
        with Opened(path) as file:
            for _ in range(3):
                text = file.all()
                assert file.stat().st_size == len(text) == os.stat(path).st_size
                assert os.pread(file.fd, 100, len(text)) == b""
                assert records(text)[-1]["enclave"] == enclave.name
                enclave.start()


def test_it_is_read_from_anywhere(enclave):
    text = enclave.get("journal")
    with Opened(enclave.path("journal")) as file:
        assert b"".join(os.pread(file.fd, 7, at) for at in range(0, len(text), 7)) == text
        assert os.lseek(file.fd, -5, os.SEEK_END) == len(text) - 5
        assert os.read(file.fd, 100) == text[-5:]


def test_growth_is_told_to_pollers(mount, enclave):
    with Watched(enclave.path("journal")) as own, Watched(mount.path("journal")) as roots:
        assert own.quiet() and roots.quiet()
        enclave.start()
        assert b'"failed"' in own.changed() and b'"failed"' in roots.changed()
        assert own.quiet()
        mount.enclave()
        assert own.quiet() and not roots.quiet()


def test_poll_before_the_first_read_is_at_once(enclave):
    with Opened(enclave.path("journal")) as file:
        assert poll_now(file.fd) & CHANGED == CHANGED
        assert poll_now(file.fd) & select.POLLIN


def test_growth_is_told_to_inotify(mount, enclave):
    with Inotify(enclave.path("journal"), enclave.path(), mount.path("journal")) as watch:
        enclave.start()
        watch.wait(enclave.path("journal"))
        watch.wait(enclave.path(), "journal")
        watch.wait(mount.path("journal"))


def test_it_takes_no_write(mount, enclave):
    for path in (mount.path("journal"), enclave.path("journal"), enclave.path("console")):
        assert outcome(os.open, path, os.O_WRONLY) == "EACCES"
        assert outcome(os.open, path, os.O_RDWR | os.O_APPEND) == "EACCES"
        before = os.stat(path).st_size
        assert outcome(os.truncate, path, 0) == "EACCES"
        assert os.stat(path).st_size == before


# ---- as one file follows the other ----

def test_a_full_one_is_the_one_before(mount):
    fill(mount)
    path, older = mount.path("journal"), mount.path("journal.1")
    with Opened(path) as file:
        number = file.stat().st_ino
        fill(mount)
        assert file.stat().st_ino == os.stat(older).st_ino == number
        assert os.stat(path).st_ino != number
        with open(older, "rb") as before:
            assert before.read() == file.all()
        held = records(file.all())
        assert len(held) <= FILE and file.stat().st_size <= 1 << 20
        now = journal_now(path)
        assert [record["seq"] for record in now] == list(
            range(held[0]["seq"], held[0]["seq"] + len(now))), "none is lost, none is cut"
        # Who still has it open once its name is gone, too, reads it to its end.
        fill(mount)
        assert os.stat(older).st_ino != number
        assert records(file.all()) == held
        assert file.stat().st_size == len(file.all())


def test_whoever_watches_sees_it_as_of_any_log(new_mount):
    mount = new_mount()
    mask = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE
    with Inotify(mount.root, mask=mask) as names, Inotify(mount.path("journal"), mask=IN_MOVE_SELF) as file:
        for count in range(1, 4):
            fill(mount)
            # By then the notifier is done with this one.
            eventually(lambda: names.take() or names.kinds.count((IN_CREATE, "journal")) == count,
                       f"journal {count} is made")
        found = [(kind, name) for kind, name in names.kinds if name != "churn"]
        assert found == 3 * [(IN_MOVED_FROM, "journal"), (IN_MOVED_TO, "journal.1"),
                             (IN_CREATE, "journal")]
        file.take()
        assert file.kinds == [(IN_MOVE_SELF, "")]
    assert {"journal", "journal.1"} <= set(os.listdir(mount.root))
    assert os.stat(mount.path("journal")).st_ino != os.stat(mount.path("journal.1")).st_ino


def test_none_is_missed_while_the_enclave_is_renamed(mount, enclave):
    """Each rename is a record, and comes at any moment of what repeats the rotations."""
    paths = enclave.path(), mount.path("other")
    mask = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE
    rotations = 0
    with Inotify(enclave.path(), mask=mask) as names, Opened(enclave.path()) as directory:
        number = os.stat("journal", dir_fd=directory.fd).st_ino
        for turn in range(8000):
            os.rename(paths[turn % 2], paths[1 - turn % 2])
            if turn % 100 == 99:
                now = os.stat("journal", dir_fd=directory.fd).st_ino
                rotations += now != number
                number = now
                names.take()
        eventually(lambda: names.take() or names.kinds.count((IN_CREATE, "journal")) == rotations,
                   f"{rotations} are seen")
    assert rotations > 10
    assert names.kinds == rotations * [(IN_MOVED_FROM, "journal"), (IN_MOVED_TO, "journal.1"), (IN_CREATE, "journal")]


def test_a_rotation_is_nobody_elses_to_make(mount):
    fill(mount)
    number = os.stat(mount.path("journal")).st_ino
    assert outcome(os.rename, mount.path("journal"), mount.path("journal.1")) == "EPERM"
    assert outcome(os.mknod, mount.path("journal")) == "EEXIST"
    assert os.stat(mount.path("journal")).st_ino == number


def test_mode_and_owner_go_on(mount):
    path = mount.path("journal")
    os.chmod(path, 0o444)
    os.chown(path, 12, 34)
    try:
        fill(mount)
        for name in ("journal", "journal.1"):
            status = os.stat(mount.path(name))
            assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (12, 34, 0o444)
    finally:
        os.chmod(path, 0o440)
        os.chown(path, 0, 0)


def test_an_enclaves_is_bounded(enclave):
    start = os.stat(enclave.path("journal")).st_ino
    while os.stat(enclave.path("journal")).st_ino == start:
        os.rename(enclave.path(), enclave.path() + "x")
        os.rename(enclave.path() + "x", enclave.path())
    assert 60 << 10 < os.stat(enclave.path("journal.1")).st_size <= 64 << 10
    numbers = [record["seq"] for record in enclave.journal()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_the_names_are_not_free(mount, enclave):
    assert outcome(os.mkdir, mount.path("journal.1")) == "EEXIST" or \
        os.path.isfile(mount.path("journal.1"))
    assert outcome(os.rename, enclave.path(), mount.path("journal.1")) in ("EEXIST", "ENOTDIR")
    for name in ("journal.1", "console.1"):
        assert name not in enclave.listing()
        assert outcome(os.open, enclave.path(name), os.O_CREAT | os.O_WRONLY) == "EACCES"
    with open(enclave.path("temporary"), "w") as file:
        file.write("x")
    for name in ("journal", "journal.1", "console"):
        assert outcome(os.rename, enclave.path("temporary"), enclave.path(name)) == "EPERM"
        assert outcome(os.rename, enclave.path(name), enclave.path("other")) in ("EPERM", "ENOENT")


def test_unlinked_it_is_hidden_until_the_next_start(enclave):
    os.unlink(enclave.path("journal"))
    os.unlink(enclave.path("console"))
    assert not {"journal", "console"} & set(enclave.listing())
    assert outcome(os.stat, enclave.path("journal")) == "ENOENT"
    enclave.running()
    assert {"journal", "console"} <= set(enclave.listing())
    assert [record["event"] for record in enclave.journal()] == ["created", "starting", "running"]


def test_an_open_one_of_a_removed_enclave(enclave):
    with Opened(enclave.path("journal")) as file:
        file.all()
        os.rmdir(enclave.path())
        assert outcome(file.all) == "ENODEV"
        assert poll_now(file.fd) & CHANGED


# ---- to those who know nothing of it ----

TOOLS = ["cat {}", "wc -l {}", "tail -n 2 {}", "head -n 1 {}", "md5sum {}", "grep created {}", "cp {} copy",
         "jq -c .event {}", "dd if={} bs=7 status=none", "tac {}"]
if "NEFS_BUSYBOX" in os.environ:
    TOOLS.append("$NEFS_BUSYBOX cat {}")


@pytest.mark.parametrize("tool", TOOLS)
def test_tool(enclave, tmp_path, tool):
    done = run("sh", "-c", tool.format(enclave.path("journal")), bound=10, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    if "copy" in tool:
        assert (tmp_path / "copy").read_bytes() == enclave.get("journal")
    elif tool.split()[0] in ("cat", "$NEFS_BUSYBOX", "dd"):
        assert done.stdout.encode() == enclave.get("journal")


def test_walkers_come_to_an_end(new_mount, tmp_path):
    """Ten enclaves, three of them running, one about to: `wait` of that one is all that may sleep."""
    mount = new_mount(*["sim_cpus=16"] * is_sim())
    enclaves = [mount.enclave().ready() for _ in range(10)]
    # The lab has CPUs for two.
    running = enclaves[:3 if is_sim() else 1]
    for enclave in running:
        enclave.running(debug=b"1")
    mount.faults("ENCLAVE_START delay 2000 1")
    assert enclaves[3].start(os.O_NONBLOCK) == "OK"
    assert enclaves[3].state == "starting"
    script = "cp -a . {0}/x; find . -type f -exec cat {{}} + >{0}/found; grep -r . . >{0}/grepped; " \
             "tar cf - . | wc -c >{0}/size".format(tmp_path)
    done = run("timeout", str(seconds(30)), "sh", "-c", script, bound=40, cwd=mount.root)
    assert done.returncode == 0, done.stderr
    assert enclaves[3].reaches("running")
    for enclave in running:
        copy = tmp_path / "x" / enclave.name
        assert (copy / "wait").read_bytes() == b"running\n"
        assert (copy / "journal").read_bytes() == enclave.get("journal")
    assert (tmp_path / "x/journal").stat().st_size
    assert int((tmp_path / "size").read_text()) > os.stat(enclaves[0].path("image")).st_size


def test_tail_over_three_files(new_mount, tmp_path):
    """tail -F follows the name: each record once."""
    mount = new_mount()
    with open(tmp_path / "out", "wb") as out:
        tail = subprocess.Popen(["tail", "-n", "+1", "-s", "0.05", "--max-unchanged-stats=2", "-F",
                                 mount.path("journal")], stdout=out, stderr=subprocess.DEVNULL)

    def shipped():
        assert tail.poll() is None
        with open(tmp_path / "out", "rb") as file:
            return [json.loads(line)["seq"] for line in file if line.endswith(b"\n")]
    try:
        made = 0
        for _ in range(3):
            fill(mount)
            churn(mount, 20)
            made = journal_now(mount.path("journal"))[-1]["seq"]
            eventually(lambda: shipped()[-1:] == [made], f"tail gives record {made}", bound=30)
        assert shipped() == list(range(1, made + 1))
    finally:
        tail.kill()
        tail.wait()
