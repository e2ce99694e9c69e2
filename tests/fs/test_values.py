# SPDX-License-Identifier: GPL-2.0-or-later
"""Values: what is accepted reads back byte for byte, what is refused has its errno."""
import os
import tempfile

import pytest
from eif_image import SMALL
from harness import get, outcome, put, run

ACCEPTED = [
    *[("memory", value) for value in (
        b"512M", b"512M\n", b" 512M \n", b"\t64M\n", b"64M", b"65536K", b"65536k\n", b"1g", b"1G",
        b"1T\n", b"1t", b"0x4000000", b"0x20000000\n", b"67108864", b"66M", b"64M\n\n")],
    *[("vcpus", value) for value in (b"2", b"2\n", b" 2 \n", b"1", b"0x2", b"16\n")],
    *[("cpus", value) for value in (
        b"2-3", b"2-3\n", b" 2-3 \n", b"2,3", b"2-3,6-7\n", b"4", b"\n", b"1,3,5", b"2-2")],
    *[("cid", value) for value in (
        b"0", b"0\n", b"4", b"16\n", b"0x10", b" 20 \n", b"4294967294\n")],
    *[("debug", value) for value in (b"0", b"1", b"1\n", b" 1 ", b"0x1")],
    *[("boot_timeout", value) for value in (b"0", b"1", b"90\n", b"0x5a", b" 30 \n")],
    *[("start", value) for value in (b"0", b"0\n", b" 0 \n")],
]

REFUSED = [
    *[("memory", value, code) for value, code in (
        (b"010", "EINVAL"), (b"0100M", "EINVAL"), (b"512MB", "EINVAL"), (b"512MiB", "EINVAL"),
        (b"512 M", "EINVAL"), (b"1.5G", "EINVAL"), (b"+512M", "EINVAL"), (b"-1", "EINVAL"),
        (b"\n", "EINVAL"), (b"   ", "EINVAL"), (b"M", "EINVAL"), (b"lots", "EINVAL"),
        (b"512M 512M", "EINVAL"), (b"512M\n512M\n", "EINVAL"), (b"0x", "EINVAL"),
        (b"512P", "EINVAL"), (b"64M\0", "EINVAL"), (b"\xff\xfe", "EINVAL"),
        (b"65M", "EINVAL"), (b"67108865", "EINVAL"), (b"0x4000001", "EINVAL"),
        (b"0", "ERANGE"), (b"62M", "ERANGE"), (b"2M", "ERANGE"),
        (b"18446744073709551616", "ERANGE"), (b"16777216T", "ERANGE"),
        (b"99999999999999999999999999", "ERANGE"))],
    *[("vcpus", value, code) for value, code in (
        (b"010", "EINVAL"), (b"+5", "EINVAL"), (b"-1", "EINVAL"), (b"2x", "EINVAL"),
        (b"2K", "EINVAL"), (b"1.5", "EINVAL"), (b"\n", "EINVAL"), (b"two", "EINVAL"),
        (b"2 3", "EINVAL"), (b"2\x003", "EINVAL"), (b"00", "EINVAL"),
        (b"0", "ERANGE"), (b"4294967296", "ERANGE"), (b"99999999999999999999", "ERANGE"))],
    *[("cpus", value, code) for value, code in (
        (b"2-", "EINVAL"), (b"-3", "EINVAL"), (b"a", "EINVAL"), (b"2--3", "EINVAL"),
        (b"2;3", "EINVAL"), (b"2-3-4", "EINVAL"), (b"2 3", "EINVAL"), (b"3-2", "EINVAL"),
        (b"2,,3", "EINVAL"), (b"010", "EINVAL"), (b"2-3,x", "EINVAL"), (b"+2", "EINVAL"),
        (b"99999999999999999999", "ERANGE"))],
    *[("cid", value, code) for value, code in (
        (b"010", "EINVAL"), (b"+5", "EINVAL"), (b"-1", "EINVAL"), (b"16K", "EINVAL"),
        (b"\n", "EINVAL"), (b"any", "EINVAL"), (b"1.0", "EINVAL"),
        (b"1", "ERANGE"), (b"2", "ERANGE"), (b"3", "ERANGE"), (b"0x3\n", "ERANGE"),
        (b"4294967295", "ERANGE"), (b"4294967296", "ERANGE"),
        (b"18446744073709551632", "ERANGE"))],
    *[("debug", value, code) for value, code in (
        (b"2", "ERANGE"), (b"01", "EINVAL"), (b"yes", "EINVAL"), (b"\n", "EINVAL"),
        (b"-1", "EINVAL"), (b"+1", "EINVAL"), (b"4294967296", "ERANGE"))],
    *[("boot_timeout", value, code) for value, code in (
        (b"010", "EINVAL"), (b"5s", "EINVAL"), (b"1.5", "EINVAL"), (b"+5", "EINVAL"),
        (b"-1", "EINVAL"), (b"\n", "EINVAL"), (b"18446744073709551616", "ERANGE"))],
    *[("start", value, code) for value, code in (
        (b"2", "ERANGE"), (b"01", "EINVAL"), (b"yes", "EINVAL"), (b"\n", "EINVAL"),
        (b"+1", "EINVAL"), (b"-1", "EINVAL"))],
]

GOOD = {"memory": b"512M\n", "vcpus": b"4\n", "cpus": b"2-3\n", "cid": b"20\n", "debug": b"1\n",
        "boot_timeout": b"30\n", "start": b"0\n"}
VALUES = sorted(GOOD)
DEFAULTS = {"memory": b"", "vcpus": b"", "cpus": b"", "image": b"", "cid": b"0\n",
            "debug": b"0\n", "boot_timeout": b"0\n", "start": b"0\n", "memory.effective": b"\n",
            "cpus.effective": b"\n", "cid.effective": b"\n", "slot": b"\n", "state": b"init\n",
            "wait": b"init\n\n\n\n", "error": b"", "pending": b""}


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_default(enclave, name):
    assert enclave.get(name) == DEFAULTS[name]


def test_event_counters_begin_at_zero(enclave):
    assert enclave.events() == {"starts": 0, "stops": 0, "failures": 0, "crashes": 0,
                                "restarts": 0}


@pytest.mark.parametrize("name,value", ACCEPTED)
def test_accepted_value_reads_back(enclave, name, value):
    assert enclave.put(name, value) == "OK", enclave.error
    assert enclave.get(name) == value
    assert enclave.error == b""


@pytest.mark.parametrize("name,value,code", REFUSED)
def test_refused_value(enclave, name, value, code):
    enclave.set(name, GOOD[name])
    assert enclave.put(name, value) == code
    assert enclave.get(name) == GOOD[name]


@pytest.mark.parametrize("name,value,code", [row for row in REFUSED if row[1] in (
    b"010", b"62M", b"65M", b"0", b"2-", b"1", b"2", b"5s", b"yes")])
def test_error_says_why(enclave, name, value, code):
    assert enclave.put(name, value) == code
    sentence = enclave.error.decode()
    assert sentence.count("\n") == 1 and sentence.endswith("\n"), "one line"
    assert len(sentence) > 20 and name in sentence and value.decode() in sentence


def test_error_names_the_bound(enclave):
    enclave.put("memory", b"62M")
    assert b"64" in enclave.error


@pytest.mark.parametrize("bad", [b"a\nb\nc\n", b"\x1b[31m\n", b"\xff\xfe\n", b"\0" * 100])
def test_error_stays_one_printable_line(enclave, bad):
    """What the caller wrote must not play tricks on the terminal of whoever reads `error`."""
    assert enclave.put("memory", bad) == "EINVAL"
    sentence = enclave.error
    assert sentence.count(b"\n") == 1
    assert sentence.decode("utf-8").rstrip("\n").isprintable()


def test_error_stays_until_that_file_accepts_a_value(enclave):
    assert enclave.put("memory", b"x") == "EINVAL"
    sentence = enclave.error
    assert sentence != b""
    enclave.set("vcpus", b"2")
    enclave.set("start", b"0")
    assert enclave.error == sentence
    enclave.set("memory", b"64M")
    assert enclave.error == b""


def test_error_gives_way_to_a_newer_one(enclave):
    enclave.put("memory", b"x")
    enclave.put("vcpus", b"y")
    assert enclave.error.startswith(b"vcpus: ")
    enclave.set("memory", b"64M")
    assert enclave.error.startswith(b"vcpus: ")


def test_error_goes_when_a_start_succeeds(ready):
    assert ready.put("memory", b"x") == "EINVAL"
    assert ready.start() == "OK"
    assert ready.error == b""


def test_error_does_not_go_when_it_is_stopped(running):
    assert running.put("memory", b"1") == "ERANGE"
    said = running.error
    assert running.stop() == "OK"
    assert running.settle() == "stopped"
    assert running.error == said


def test_error_belongs_to_one_enclave(mount):
    first, second = mount.enclave(), mount.enclave()
    first.put("memory", b"x")
    assert first.error != b"" and second.error == b""


@pytest.mark.parametrize("name", VALUES)
def test_value_of_4096_bytes(enclave, name):
    """The longest that is allowed: white space around it counts for nothing."""
    value = GOOD[name].strip().rjust(4096)
    assert enclave.put(name, value) == "OK"
    assert enclave.get(name) == value


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("size", [4097, 65536])
def test_value_too_long(enclave, name, size):
    enclave.set(name, GOOD[name])
    assert enclave.put(name, GOOD[name].strip().rjust(size)) == "E2BIG"
    assert enclave.get(name) == GOOD[name]


@pytest.mark.parametrize("name", VALUES)
def test_empty_write_is_a_no_op(enclave, name):
    enclave.set(name, GOOD[name])
    assert enclave.put(name, b"") == "OK"
    assert enclave.get(name) == GOOD[name]


@pytest.mark.parametrize("name", VALUES)
def test_open_with_truncation_changes_nothing(enclave, name):
    enclave.set(name, GOOD[name])
    os.close(os.open(enclave.path(name), os.O_WRONLY | os.O_TRUNC))
    assert enclave.get(name) == GOOD[name]
    assert os.stat(enclave.path(name)).st_size == len(GOOD[name])


@pytest.mark.parametrize("size", [0, 1, 100])
@pytest.mark.parametrize("name", VALUES)
def test_truncate_changes_nothing(enclave, name, size):
    enclave.set(name, GOOD[name])
    assert outcome(os.truncate, enclave.path(name), size) == "OK"
    assert enclave.get(name) == GOOD[name]
    assert os.stat(enclave.path(name)).st_size == len(GOOD[name])


def test_ftruncate_changes_nothing(enclave):
    enclave.set("memory", b"512M\n")
    fd = os.open(enclave.path("memory"), os.O_RDWR)
    try:
        assert outcome(os.ftruncate, fd, 0) == "OK"
        assert os.pread(fd, 100, 0) == b"512M\n"
    finally:
        os.close(fd)


@pytest.mark.parametrize("offset", [1, 5, 100, 1 << 40])
def test_offset_of_a_write_is_ignored(enclave, offset):
    enclave.set("memory", b"512M\n")
    fd = os.open(enclave.path("memory"), os.O_WRONLY)
    try:
        assert os.pwrite(fd, b"64M\n", offset) == 4
    finally:
        os.close(fd)
    assert enclave.get("memory") == b"64M\n"


def test_append_replaces(enclave):
    enclave.set("memory", b"512M\n")
    assert enclave.put("memory", b"64M\n", os.O_WRONLY | os.O_APPEND) == "OK"
    assert enclave.get("memory") == b"64M\n"


def test_two_writes_on_one_fd(enclave):
    fd = os.open(enclave.path("vcpus"), os.O_WRONLY)
    try:
        os.write(fd, b"2\n")
        os.write(fd, b"4\n")
    finally:
        os.close(fd)
    assert enclave.get("vcpus") == b"4\n"


def test_write_and_read_on_one_fd(enclave):
    fd = os.open(enclave.path("vcpus"), os.O_RDWR)
    try:
        os.write(fd, b"2\n")
        assert os.pread(fd, 100, 0) == b"2\n"
    finally:
        os.close(fd)


def test_refused_write_leaves_the_fd_usable(enclave):
    fd = os.open(enclave.path("vcpus"), os.O_RDWR)
    try:
        assert outcome(os.write, fd, b"x") == "EINVAL"
        assert os.write(fd, b"4\n") == 2
    finally:
        os.close(fd)
    assert enclave.get("vcpus") == b"4\n"


def test_an_open_reader_sees_the_new_value(enclave):
    enclave.set("vcpus", b"2\n")
    fd = os.open(enclave.path("vcpus"), os.O_RDONLY)
    try:
        assert os.pread(fd, 100, 0) == b"2\n"
        enclave.set("vcpus", b"16\n")
        assert os.pread(fd, 100, 0) == b"16\n"
    finally:
        os.close(fd)


@pytest.mark.parametrize("call", [
    lambda path: os.utime(path), lambda path: os.utime(path, (1, 2)),
    lambda path: os.chmod(path, 0o600), lambda path: os.chown(path, 1, 1)])
def test_attributes_can_be_changed(enclave, call):
    enclave.set("memory", b"64M\n")
    assert outcome(call, enclave.path("memory")) == "OK"
    assert enclave.get("memory") == b"64M\n"


def test_fsync_succeeds(enclave):
    fd = os.open(enclave.path("memory"), os.O_RDWR)
    try:
        os.write(fd, b"64M\n")
        assert outcome(os.fsync, fd) == "OK"
        assert outcome(os.fdatasync, fd) == "OK"
    finally:
        os.close(fd)


# ---- As shells do it ----

SHELLS = pytest.mark.parametrize("shell", ["sh", "bash"])


@SHELLS
def test_shell_echo(enclave, shell):
    done = run(shell, "-c", "echo 512M > memory && echo 2 > vcpus", cwd=enclave.path())
    assert (done.returncode, done.stderr) == (0, "")
    assert (enclave.get("memory"), enclave.get("vcpus")) == (b"512M\n", b"2\n")


@SHELLS
@pytest.mark.parametrize("command,message", [
    ("echo 512MB > memory", "Invalid argument"), ("printf 62M > memory", ""),
    ("/bin/echo 512MB > memory", "Invalid argument"), ("echo x | tee memory", "Invalid argument"),
    ("echo x > x && cat x > memory", "Invalid argument"),
    ("echo x > x && cp x memory", "Invalid argument"),
    ("echo x | dd of=memory status=none", "Invalid argument"),
    ("perl -e 'open F, q(>), q(memory); print F q(x); close F or die $!'", "Invalid argument"),
    ("head -c 5000 /dev/zero | dd of=memory bs=5000 iflag=fullblock", "Argument list too long")])
def test_shell_sees_the_refusal(enclave, shell, command, message):
    enclave.set("memory", b"64M\n")
    done = run(shell, "-c", command, cwd=enclave.path(), env={"LC_ALL": "C", "PATH": "/usr/bin"})
    assert done.returncode != 0
    # dash calls every failed write of its builtins an I/O error.
    assert message in done.stderr or "I/O error" in done.stderr
    assert enclave.get("memory") == b"64M\n"


@SHELLS
def test_shell_truncation_keeps_the_value(enclave, shell):
    enclave.set("memory", b"64M\n")
    assert run(shell, "-c", ": > memory", cwd=enclave.path()).returncode == 0
    assert enclave.get("memory") == b"64M\n"


def test_bash_printf_of_two_lines_is_two_writes(enclave):
    done = run("bash", "-c", r"printf '2\n4\n' > vcpus", cwd=enclave.path())
    assert done.returncode == 0, done.stderr
    assert enclave.get("vcpus") == b"4\n"


def test_bash_append(enclave):
    enclave.set("vcpus", b"2\n")
    assert run("bash", "-c", "echo 4 >> vcpus", cwd=enclave.path()).returncode == 0
    assert enclave.get("vcpus") == b"4\n"


def test_shell_read(enclave):
    enclave.set("memory", b"64M\n")
    done = run("sh", "-c", "read x < memory; echo $x; wc -c < memory; cat state",
               cwd=enclave.path())
    assert done.stdout.split() == ["64M", "4", "init"]


def test_many_values_do_not_mix(mount):
    enclaves = [mount.enclave() for _ in range(20)]
    for number, enclave in enumerate(enclaves):
        enclave.set("memory", b"%dM" % (64 + 2 * number))
    for number, enclave in enumerate(enclaves):
        assert get(enclave.path("memory")) == b"%dM" % (64 + 2 * number)


def test_no_such_control_file_by_write(enclave):
    assert put(enclave.path("nonsense"), b"1") == "ENOENT"


def test_a_write_is_seen_in_the_mtime(enclave):
    """As of any file; of a neighbour it is not."""
    def mtime(name):
        return os.stat(enclave.path(name)).st_mtime_ns
    memory, vcpus = mtime("memory"), mtime("vcpus")
    enclave.set("memory", b"64M")
    assert mtime("memory") > memory and mtime("vcpus") == vcpus


@pytest.mark.parametrize("name", ["memory", "vcpus", "cpus", "image"])
def test_what_is_unset_is_older_than_any_file(enclave, name):
    """Or cp -u, rsync -u and make would take it for newer than what they bring."""
    def mtime():
        return os.stat(enclave.path(name)).st_mtime
    value = SMALL if name == "image" else GOOD[name]
    assert mtime() == 0
    enclave.set(name, value)
    assert mtime() > 1e9
    os.unlink(enclave.path(name))
    os.close(os.open(enclave.path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
    assert mtime() == 0


@pytest.mark.parametrize("name", ["memory", "image"])
def test_copied_if_newer(enclave, name):
    value = SMALL if name == "image" else GOOD[name]
    with tempfile.NamedTemporaryFile(prefix="nefs-values-") as source:
        source.write(value)
        source.flush()
        os.utime(source.name, (1e9, 1e9))
        done = run("cp", "-u", source.name, enclave.path(name))
    assert done.returncode == 0, done.stderr
    assert enclave.get(name) == value
