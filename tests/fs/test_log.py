# SPDX-License-Identifier: GPL-2.0-or-later
"""The log: a line for each transition, and why nefs ends. In the foreground it is stderr."""
import os
import re
import signal
import socket

import pytest
from harness import eventually, run, seconds
from nefs_mount import base_options, binary, mounted

SOURCES = os.path.join(os.path.dirname(__file__), "../..")


def lines(mount, count=None):
    """What the log says; waits for so many lines."""
    if count is not None:
        eventually(lambda: mount.said().count("\n") >= count, f"{count} lines: {mount.said()}")
    return mount.said().splitlines()


def ended(mount, status=0):
    """The last two lines of a mount that ends by itself, after the exit status."""
    assert mount.wait_exit() == status, mount.said()
    mount.discard()
    return lines(mount)[-2:]


def me(name):
    return f"{name} from process {os.getpid()} ({open('/proc/self/comm').read().strip()}), user {os.getuid()}"


def program(tmp_path, text):
    """A script that runs nefs in some way: $NEFS."""
    path = tmp_path / "nefs"
    path.write_text(f"#!/bin/sh\nNEFS='{binary()}'\n{text}\n")
    path.chmod(0o755)
    return str(path)


# ---- enclaves ----

def test_a_line_for_each_transition(new_mount):
    mount = new_mount()
    enclave = mount.enclave("web").running()
    held = ", ".join(["CID " + enclave.get("cid.effective").decode().strip(),
                      "slot " + enclave.get("slot").decode().strip()])
    assert enclave.stop() == "OK"
    enclave.reaches("stopped")
    os.rename(enclave.path(), mount.path("shop"))
    os.rmdir(mount.path("shop"))
    assert lines(mount)[0].startswith(f"nefs: mounted: {mount.root}, version 0.")
    assert [re.sub(r"^(web: stopped), .*", r"\1", line) for line in lines(mount)[1:]] == [
        "web: created", "web: starting", f"web: running, {held}", f"web: stopping, {held}",
        "web: stopped", "shop: renamed from web", "shop: removed"]


@pytest.mark.device
def test_a_crash_says_of_whom(new_mount):
    mount = new_mount()
    enclave = mount.enclave("web").running()
    slot = enclave.get("slot").decode().strip()
    cid = enclave.get("cid.effective").decode().strip()
    enclave.crash()
    line, = [line for line in lines(mount) if "crashed" in line]
    # What the device gave may be given back before it is told.
    assert line in (f"web: crashed, CID {cid}, slot {slot}: {enclave.error.decode().strip()}",
                    f"web: crashed: {enclave.error.decode().strip()}")


@pytest.mark.device
def test_a_failed_start_says_why(new_mount):
    mount = new_mount()
    enclave = mount.enclave("web").ready()
    mount.faults("SLOT_ALLOC fail 12 1")
    assert enclave.start() != "OK"
    assert f"web: failed: {enclave.error.decode().strip()}" in lines(mount)


# ---- nefs itself ----

def test_hangup_does_nothing(new_mount):
    mount = new_mount()
    enclave = mount.enclave().running()
    before = len(lines(mount))
    mount.process.send_signal(signal.SIGHUP)
    assert lines(mount, before + 1)[before:] == [f"nefs: {me('SIGHUP')}: nothing to do"]
    assert mount.alive() and enclave.state == "running"
    assert mount.events()["stops"] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_by_a_signal(new_mount, number):
    mount = new_mount()
    mount.process.send_signal(number)
    assert ended(mount) == [f"nefs: ending: {me(number.name)}", "nefs: ended"]


def test_what_ends_with_it(new_mount):
    mount = new_mount()
    mount.enclave("web").running()
    mount.process.terminate()
    assert mount.wait_exit() == 0
    said = lines(mount)
    assert f"nefs: ending: {me('SIGTERM')}; 1 enclave ends with it" in said
    assert said[-1] == "nefs: ended" and said[-2].startswith("web: stopped")
    mount.discard()


@pytest.mark.parametrize("lazy", [[], ["-l"]], ids=["umount", "lazy umount"])
def test_ends_by_umount(new_mount, lazy):
    mount = new_mount()
    assert run("umount", *lazy, mount.root).returncode == 0
    assert ended(mount) == [f"nefs: ending: {mount.root} was unmounted", "nefs: ended"]


def test_ends_by_an_abort(new_mount, tmp_path):
    """The connection was aborted: the mount is still there, and nothing answers any more."""
    mount = new_mount()
    control = tmp_path / "control"
    control.mkdir()
    minor = run("mountpoint", "-d", mount.root).stdout.strip().split(":")[1]
    assert run("mount", "-t", "fusectl", "fusectl", str(control)).returncode == 0
    try:
        (control / minor / "abort").write_text("1")
    finally:
        assert run("umount", str(control)).returncode == 0
    assert ended(mount, 32) == [f"nefs: ending: the connection of the mount on {mount.root} was aborted",
                                "nefs: ended"]
    assert not mounted(mount.root), "a dead mount is in nobody's way"


@pytest.mark.sim
def test_ends_by_a_broken_mount(new_mount, tmp_path):
    mount = new_mount(program=program(tmp_path, """
        export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" # LeakSanitizer and strace are ptrace's both
        exec strace -f -qq -o /dev/null -P /dev/fuse -e inject=read:error=EIO:when=40 "$NEFS" "$@"
        """))

    def broken():
        try:
            os.listdir(mount.root)
        except OSError:
            pass
        return not mount.alive()
    eventually(broken, "its read gives EIO", step=0)
    assert ended(mount, 32) == [
        f"nefs: ending: the mount on {mount.root} broke: Input/output error", "nefs: ended"]


@pytest.mark.device
@pytest.mark.long
def test_who_does_not_stop_is_named(new_mount):
    mount = new_mount()
    mount.enclave("web").running()
    mount.enclave("shop")
    mount.faults("ENCLAVE_STOP delay 60000 1")
    mount.process.terminate()
    said = ended(mount, 2)
    assert said[-1] == ("nefs: ended: 1 enclaves did not stop within 10 s, the kernel stops them now: web")


@pytest.mark.sim
def test_a_touch_that_fails_is_told_once(new_mount, tmp_path):
    mount = new_mount(program=program(tmp_path, """
        export ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" # LeakSanitizer and strace are ptrace's both
        exec strace -f -qq -o /dev/null -e trace=utimensat -e inject=utimensat:error=EACCES "$NEFS" "$@"
        """))
    mount.enclave("web").running()

    def told():
        return [line for line in lines(mount) if "cannot touch" in line]
    eventually(told, "it is told")
    mount.enclave("shop").running()
    mount.clear()
    mount.unmount()
    line, = told()
    assert re.fullmatch(r"nefs: cannot touch \S+, so watchers by inotify\(7\) hear nothing of it: "
                        "Permission denied", line)


@pytest.mark.device
@pytest.mark.long
def test_a_device_that_does_not_answer_is_told(new_mount):
    mount = new_mount()
    enclave = mount.enclave("web").ready()
    mount.faults("SLOT_ALLOC delay 21000 1")
    assert enclave.start() == "OK"
    eventually(lambda: any(re.match(r"nefs: .* has kept a worker busy for \d+\.\d s", line)
                           for line in lines(mount)), "it is told", bound=25)
    enclave.reaches("running", bound=30)


# ---- a stderr that does not take it ----

def test_without_stdin_stdout_and_stderr(new_mount, tmp_path):
    """Their numbers are nobody else's."""
    mount = new_mount(program=program(tmp_path, 'exec "$NEFS" "$@" <&- >&- 2>&-'))
    mount.enclave().running()
    for fd in range(3):
        assert os.readlink(f"/proc/{mount.process.pid}/fd/{fd}") == "/dev/null"


def test_a_pipe_that_nobody_reads(new_mount, tmp_path):
    """The loop goes on without those lines, and says how many they were."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    mount = new_mount(program=program(tmp_path, f"exec \"$NEFS\" \"$@\" 2<>'{fifo}'"))
    # 64 KiB, as pipes have, are full after some 1,600 of these.
    for _ in range(2500):
        os.mkdir(mount.path("enclave"))
        os.rmdir(mount.path("enclave"))
    with open(fifo, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK),
              buffering=0) as pipe:
        early = b""
        while part := pipe.read(65536):
            early += part
        mount.enclave("web")
        late = pipe.read(65536).decode().splitlines()
    assert early.startswith(b"nefs: mounted") and early.endswith(b"\n")
    lost = re.fullmatch(r"nefs: (\d+) lines of this log are lost: they were not read in time", late[0])
    assert early.count(b"\n") + int(lost[1]) == 5001
    assert late[1:] == ["web: created"]


def test_a_reader_that_ends(new_mount, tmp_path):
    mount = new_mount(program=program(tmp_path, """
        mkfifo "$0.fifo"; head -n 1 <"$0.fifo" >/dev/null & exec "$NEFS" "$@" 2>"$0.fifo" """))
    for _ in range(10):
        mount.enclave()
    assert mount.alive()


# ---- the background: systemd's journal ----

@pytest.fixture
def journal(tmp_path):
    """A journal of the test's own, for what in_namespace runs."""
    (tmp_path / "journal").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "journal/socket"))
        end.settimeout(seconds(10))
        yield end


def record(journal):
    return dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines())


def in_namespace(tmp_path, script):
    """Runs it where the journal is the test's, and mounts are nobody else's. $1 is a mount point."""
    point = tmp_path / "point"
    point.mkdir(exist_ok=True)
    keep = "mount -t tmpfs run /run && mkdir -p /run/systemd/journal && " \
           f"mount --bind '{tmp_path}/journal' /run/systemd/journal && "
    options = f"{base_options()},spool={tmp_path}/spool"
    return run("unshare", "-m", "sh", "-c", keep + script, "sh", str(point),
               env={**os.environ, "NEFS": binary(), "OPTIONS": options})


@pytest.mark.sim
def test_the_background_tells_the_journal(journal, tmp_path):
    done = in_namespace(tmp_path, '"$NEFS" -o "$OPTIONS" "$1" && mkdir "$1/web" && umount "$1"')
    assert done.returncode == 0 and done.stdout + done.stderr == ""
    found = [record(journal) for _ in range(4)]
    assert [entry["EVENT"] for entry in found] == ["mounted", "created", "ending", "ended"]
    assert {entry["NEFS_MOUNT"] for entry in found} == {f"{tmp_path}/point"}
    assert {entry["SYSLOG_IDENTIFIER"] for entry in found} == {"nefs"}
    assert found[1]["MESSAGE"] == "web: created" and found[1]["ENCLAVE"] == "web"
    assert found[2]["MESSAGE"] == f"nefs: ending: {tmp_path}/point was unmounted"
    assert "ENCLAVE" not in found[2]


@pytest.mark.sim
@pytest.mark.parametrize("flag", ["", "-f"], ids=["background", "foreground"])
def test_what_could_not_be_mounted_is_told_once(journal, tmp_path, flag):
    """On stderr to the caller; in the background to the journal, too."""
    failed = in_namespace(tmp_path, f'"$NEFS" {flag} -o "$OPTIONS,spool=/proc/nonsense" "$1"')
    assert failed.returncode == 2
    assert failed.stderr.startswith("nefs: ") and failed.stderr.count("\n") == 1
    if flag:
        journal.setblocking(False)
        with pytest.raises(BlockingIOError):
            journal.recv(1)
        return
    entry = record(journal)
    assert entry["EVENT"] == "ending" and entry["PRIORITY"] == "3" and int(entry["ERRNO"]) > 0
    assert "nefs: " + entry["MESSAGE"].removeprefix("nefs: ending: ") == failed.stderr.strip()


# ---- the command ----

@pytest.mark.parametrize("source", ["one,two=three\\four", "s" * 2000], ids=["comma", "long"])
def test_a_source_is_shown_as_it_is(tmp_path, source):
    point = tmp_path / "point"
    point.mkdir()
    try:
        made = run(binary(), "-o", f"{base_options()},spool={tmp_path}/spool", source, str(point))
        assert made.returncode == 0, made.stderr
        with open("/proc/self/mountinfo") as file:
            row, = [line.split(" - ")[1] for line in file if line.split()[4] == str(point)]
        shown = row.split()[1].encode().decode("unicode_escape")
        assert shown == source
    finally:
        if mounted(str(point)):
            assert run("umount", str(point)).returncode == 0


def test_events_are_documented():
    """nefs(8) has the id of each event, as people search for it."""
    with open(os.path.join(SOURCES, "backend/common/log.c")) as file:
        rows = re.findall(r'\{ "(\w+)", "([0-9a-f]{32})", LOG_', file.read())
    with open(os.path.join(SOURCES, "docs/man/nefs.8")) as file:
        manual = file.read()
    assert len(rows) >= 15 and len({identifier for _, identifier in rows}) == len(rows)
    for event, identifier in rows:
        assert re.search(rf"^\.It {event} Ta {identifier}( Ta|$)", manual, re.M), event
