# SPDX-License-Identifier: GPL-2.0-or-later
"""What comes through pipes, and what goes out by links."""
import os
import shlex
import socket
import stat
import subprocess

import pytest

import image
from conftest import leftovers


@pytest.fixture
def shell(tool):
    """Runs a bash script in which nefs-eif is the tool; {} of the arguments are quoted."""
    def run(script, *args, **options):
        script = script.format(*(shlex.quote(str(a)) for a in args))
        return subprocess.run(
            ["bash", "-c", f"nefs-eif() {{ {shlex.quote(tool.path)} \"$@\"; }}\n{script}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, **options)
    return run


def test_every_input_of_build(shell, build, parts, make_pair):
    key, certificate = make_pair()
    (parts / "cmdline").write_text("quiet\n")
    (parts / "meta.json").write_text('{"by": "pipe"}')
    fixed = {**os.environ, "SOURCE_DATE_EPOCH": "1"}
    result = shell(
        "cd {0} && nefs-eif build --kernel <(cat kernel) --cmdline-file <(cat cmdline)"
        " --ramdisk <(cat init.cpio) --ramdisk - --metadata <(cat meta.json) --name n"
        " --key <(cat {1}) --certificate <(cat {2}) -o piped.eif < <(cat rootfs.cpio)",
        parts, key, certificate, env=fixed)
    assert result.returncode == 0, result.stderr
    assert build("--metadata", parts / "meta.json", "--name", "n", "--key", key, "--certificate",
                 certificate, env=fixed).returncode == 0
    assert image.unpack((parts / "piped.eif").read_bytes())[:5] == \
        image.unpack((parts / "out.eif").read_bytes())[:5]


def test_raw_metadata(shell, parts):
    result = shell(
        "cd {0} && nefs-eif build --kernel kernel --cmdline c --ramdisk init.cpio"
        " --raw-metadata <(echo '{{\"a\": 1}}') -o o.eif", parts)
    assert result.returncode == 0, result.stderr
    assert image.unpack((parts / "o.eif").read_bytes())[2][1] == b'{"a": 1}\n'


@pytest.mark.parametrize("source", ["<(cat out.eif)", "/dev/stdin", "-"])
def test_images(shell, build, tool, parts, make_pair, source):
    key, certificate = make_pair()
    build()
    said = tool("describe", parts / "out.eif").stdout
    result = shell("cd {0} && cat out.eif | nefs-eif describe " + source, parts)
    assert (result.returncode, result.stdout) == (0, said), result.stderr
    assert shell("cd {0} && cat out.eif | nefs-eif verify " + source, parts).returncode == 3
    result = shell("cd {0} && cat out.eif | nefs-eif extract " + source + " x", parts)
    assert result.returncode == 0, result.stderr
    assert (parts / "x" / "kernel").read_bytes() == (parts / "kernel").read_bytes()

    sign = "cd {0} && cat out.eif | nefs-eif sign --key {1} --certificate {2} " + source
    result = shell(sign, parts, key, certificate)
    assert result.returncode == 2 and b"say with -o where the signed image goes" in result.stderr
    assert shell(sign + " -o signed.eif", parts, key, certificate).returncode == 0
    assert tool("verify", parts / "signed.eif").returncode == 0


def test_fifo(tool, build, parts):
    build()
    os.mkfifo(parts / "fifo")
    writer = subprocess.Popen(["sh", "-c", 'cat "$1" > "$2"', "sh", parts / "out.eif",
                               parts / "fifo"])
    try:
        assert tool("verify", parts / "fifo").returncode == 3
        assert writer.wait(60) == 0
    finally:
        writer.kill()
        writer.wait()


def test_socket_as_standard_input(tool, build, parts):
    """Some parents give their children sockets for pipes."""
    build()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall((parts / "out.eif").read_bytes())
        ours.shutdown(socket.SHUT_WR)
        theirs.setblocking(False)
        assert tool("verify", "-", stdin=theirs).returncode == 3
    ours, theirs = socket.socketpair()
    with ours, theirs:
        result = tool("verify", "/dev/stdin", stdin=theirs)
        assert result.returncode == 1 and b"is a socket; give" in result.stderr


def test_not_a_stream(tool, parts):
    sock = socket.socket(socket.AF_UNIX)
    with sock:
        here = os.getcwd()
        os.chdir(parts)
        sock.bind("sock")
        os.chdir(here)
        for path, sentence in ((parts, b"is a directory; give"), (parts / "sock", b"is a socket"),
                               ("/dev/zero", b"is a terminal or another device")):
            result = tool("describe", path)
            assert result.returncode == 1 and sentence in result.stderr, result.stderr
            assert result.stderr.count(b"\n") == 1


def test_file_of_unknown_size(shell, parts):
    """Files of /proc say that they are empty."""
    result = shell("cd {0} && nefs-eif build --kernel kernel --cmdline-file /proc/sys/kernel/ostype"
                   " --ramdisk init.cpio -o o.eif", parts)
    assert result.returncode == 0, result.stderr
    assert image.unpack((parts / "o.eif").read_bytes())[1][1] == b"Linux"


def test_failed_writer(shell, build, parts, make_pair):
    """A command that failed gives an empty pipe: nothing is built with that."""
    key, certificate = make_pair()
    build()
    before = (parts / "out.eif").read_bytes()
    for arguments in ("build --kernel kernel --cmdline c --ramdisk <(false) -o new.eif",
                      "build --kernel <(false) --cmdline c --ramdisk init.cpio -o new.eif",
                      "sign --key <(false) --certificate {1} out.eif",
                      "sign --key {2} --certificate <(false) out.eif",
                      "describe <(false)", "describe - </dev/null"):
        result = shell("cd {0} && nefs-eif " + arguments, parts, certificate, key)
        assert result.returncode == 1, arguments
        assert b"nothing came through" in result.stderr or b"another device" in result.stderr
        assert not (parts / "new.eif").exists()
    assert (parts / "out.eif").read_bytes() == before


def test_bounds(shell, build, parts, make_pair):
    key, certificate = make_pair()
    build()
    result = shell("cd {0} && nefs-eif sign --key <(cat /dev/zero) --certificate {1} out.eif",
                   parts, certificate)
    assert result.returncode == 1
    assert b"has more bytes; it may have at most 65536" in result.stderr
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    small = parts / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        result = shell("cat /dev/zero | nefs-eif describe -",
                       env={**os.environ, "TMPDIR": str(small)})
        assert result.returncode == 1 and b"No space left on device" in result.stderr
        assert f"in {small}".encode() in result.stderr and b"set TMPDIR" in result.stderr
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)
    result = shell("cat {0} | nefs-eif describe -", parts / "out.eif",
                   env={**os.environ, "TMPDIR": str(parts / "none")})
    assert result.returncode == 1 and b"cannot create a temporary file in" in result.stderr


# --- where the image goes ---

def test_standard_output(shell, build, tool, parts):
    """The image alone goes there, and the measurements to the standard error."""
    fixed = {**os.environ, "SOURCE_DATE_EPOCH": "1"}
    measured = build("--name", "n", env=fixed).stdout
    for name in ("-", "/dev/stdout", "/dev/fd/1"):
        result = shell("cd {0} && nefs-eif build --kernel kernel --cmdline quiet --name n --ramdisk"
                       " init.cpio --ramdisk rootfs.cpio -o " + name + " | cat", parts, env=fixed)
        assert result.stdout == (parts / "out.eif").read_bytes(), name
        assert result.stderr == measured
        result = shell("cd {0} && nefs-eif build --kernel kernel --cmdline quiet --name n --ramdisk"
                       " init.cpio --ramdisk rootfs.cpio -o " + name + " > file.eif", parts,
                       env=fixed)
        assert (parts / "file.eif").read_bytes() == (parts / "out.eif").read_bytes(), name
    assert os.path.islink("/dev/stdout")
    result = build(output="../" * 20 + "proc/self/fd/1")
    assert result.returncode == 0 and result.stdout[:4] == b".eif"


def test_name_without_a_name(shell, parts):
    result = shell("cd {0} && nefs-eif build --kernel kernel --cmdline c --ramdisk init.cpio -o - "
                   "| nefs-eif describe - | grep ImageName", parts)
    assert b'"image"' in result.stdout


def test_sign_in_a_pipeline(shell, build, tool, parts, make_pair):
    key, certificate = make_pair()
    build()
    result = shell("cd {0} && cat out.eif | nefs-eif sign --key {1} --certificate {2} -o - - "
                   "| nefs-eif verify -", parts, key, certificate)
    assert result.returncode == 0, result.stderr


def test_standard_output_that_fails(shell, parts):
    command = ("cd {0} && nefs-eif build --kernel kernel --cmdline c --ramdisk init.cpio -o - ")
    result = shell(command + "> /dev/full", parts)
    assert result.returncode == 1 and b"cannot write to the standard output" in result.stderr
    result = shell(command + ">&-", parts)
    assert result.returncode == 1 and b"cannot write to the standard output" in result.stderr


def test_closed_descriptors(shell, tool, parts):
    """What is printed never gets into an image that has got the number of a closed descriptor."""
    for closed in ("<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"):
        (parts / "o.eif").unlink(missing_ok=True)
        result = shell("cd {0} && nefs-eif build --kernel kernel --cmdline c --ramdisk init.cpio"
                       " -o o.eif " + closed, parts)
        assert result.returncode == (1 if ">&-" in closed.replace("2>&-", "") else 0), closed
        image.unpack((parts / "o.eif").read_bytes())
    assert leftovers(parts) == []


def links_to(parts, target):
    """A link there by each way that links are made."""
    (parts / "deep").mkdir(exist_ok=True)
    for name, text in (("relative", os.path.relpath(target, parts)), ("absolute", str(target)),
                       ("chain", "relative"), ("deep/up", f"../{os.path.relpath(target, parts)}")):
        (parts / name).symlink_to(text)
        yield name
        assert (parts / name).is_symlink()
        (parts / name).unlink() if name != "relative" else None
    (parts / "relative").unlink()


def test_link_to_a_file(build, tool, parts):
    (parts / "real.eif").write_bytes(b"old")
    os.chmod(parts / "real.eif", 0o604)
    for name in links_to(parts, parts / "real.eif"):
        (parts / "real.eif").write_bytes(b"old")
        assert build(output=name).returncode == 0, name
        assert tool("verify", parts / "real.eif").returncode == 3
        assert stat.S_IMODE(os.stat(parts / "real.eif").st_mode) == 0o604
    assert leftovers(parts) == [] and leftovers(parts / "deep") == []


def test_link_to_nothing_yet(build, tool, parts):
    """current.eif -> v2.eif, and v2.eif is to be made."""
    for name in links_to(parts, parts / "v2.eif"):
        assert build(output=name).returncode == 0, name
        assert not (parts / "v2.eif").is_symlink()
        assert tool("verify", parts / "v2.eif").returncode == 3
        (parts / "v2.eif").unlink()
    for text in ("none/v2.eif", "loop"):
        (parts / "loop").symlink_to(text)
        result = build(output="loop")
        assert result.returncode == 1 and result.stderr.count(b"\n") == 1
        assert os.readlink(parts / "loop") == text
        (parts / "loop").unlink()


@pytest.mark.parametrize("kind, sentence", [
    ("fifo", b"a pipe"), ("directory", b"a directory"), ("socket", b"a socket"),
    ("device", b"another device")])
def test_links_to_what_is_no_file(build, tool, parts, make_pair, kind, sentence):
    key, certificate = make_pair()
    assert build(output="good.eif").returncode == 0
    target = parts / kind
    sock = socket.socket(socket.AF_UNIX)
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "directory":
        target.mkdir()
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(parts)
        sock.bind("socket")
        os.chdir(here)
    else:
        target = "/dev/null"
    (parts / "link").symlink_to(target)
    for name in ("link", target):
        result = build(output=name)
        assert result.returncode == 1 and sentence in result.stderr, result.stderr
        result = tool("sign", "--key", key, "--certificate", certificate, "-o", parts / name,
                      parts / "good.eif")
        assert result.returncode == 1 and sentence in result.stderr, result.stderr
    assert (parts / "link").is_symlink() and leftovers(parts) == []
    assert not stat.S_ISREG(os.stat(parts / "link").st_mode)
    sock.close()


def test_file_without_a_name(build, parts):
    with open(parts / "gone", "wb") as gone:
        os.unlink(parts / "gone")
        (parts / "link").symlink_to(f"/proc/{os.getpid()}/fd/{gone.fileno()}")
        result = build(output="link")
    assert result.returncode == 1 and b"no name by which it could be replaced" in result.stderr
    assert (parts / "link").is_symlink() and leftovers(parts) == []


def test_trap(build, tool, parts):
    """Somebody else's link, in a directory where everybody may put one."""
    if os.geteuid() != 0:
        pytest.skip("another user's link needs root")
    shared = parts / "shared"
    shared.mkdir()
    os.chmod(shared, 0o1777)
    (shared / "out.eif").symlink_to(parts / "precious")
    os.lchown(shared / "out.eif", 1234, 1234)
    result = build(output="shared/out.eif")
    assert result.returncode == 1, result.stderr
    assert b"not followed" in result.stderr or b"Permission denied" in result.stderr
    assert not (parts / "precious").exists() and (shared / "out.eif").is_symlink()


def test_output_is_an_input(build, tool, parts, make_pair):
    key, certificate = make_pair()
    before = {p: p.read_bytes() for p in (parts / "kernel", parts / "init.cpio", key, certificate)}
    (parts / "link").symlink_to("init.cpio")
    for name in ("kernel", "init.cpio", "link", key.name, certificate.name):
        result = build("--key", key, "--certificate", certificate, output=name)
        assert result.returncode == 1 and b"would be replaced by what is written" in result.stderr
    assert build().returncode == 0
    for name in (key, certificate):
        result = tool("sign", "--key", key, "--certificate", certificate, "-o", name,
                      parts / "out.eif")
        assert result.returncode == 1 and b"would be replaced by what is written" in result.stderr
    assert {p: p.read_bytes() for p in before} == before
    assert tool("sign", "--key", key, "--certificate", certificate, "-o", parts / "out.eif",
                parts / "out.eif").returncode == 0

    # Nor is an image taken apart over itself.
    (parts / "x").mkdir()
    os.rename(parts / "out.eif", parts / "x" / "kernel")
    result = tool("extract", "--force", parts / "x" / "kernel", parts / "x")
    assert result.returncode == 1 and b"is the image itself" in result.stderr
    assert tool("verify", parts / "x" / "kernel").returncode == 0
    assert [p.name for p in (parts / "x").iterdir()] == ["kernel"]


def test_owner_and_permissions_stay(build, parts):
    assert build().returncode == 0
    out = parts / "out.eif"
    os.chmod(out, 0o640)
    if os.geteuid() == 0:
        os.chown(out, 1234, 2345)
    before = os.stat(out)
    assert build("--name", "other").returncode == 0
    after = os.stat(out)
    assert (after.st_mode, after.st_uid, after.st_gid) == \
        (before.st_mode, before.st_uid, before.st_gid)


def test_directory_that_cannot_be_written(tool, parts):
    """Not even if the file in it can: it would not be replaced, but written over."""
    closed = parts / "closed"
    closed.mkdir()
    (closed / "out.eif").write_bytes(b"old")
    closed.chmod(0o555)
    # Root without its powers is an owner like any other.
    powerless = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] \
        if os.geteuid() == 0 else []
    for name in ("out.eif", "new.eif"):
        result = subprocess.run(
            [*powerless, tool.path, "build", "--kernel", parts / "kernel", "--cmdline", "c",
             "--ramdisk", parts / "init.cpio", "-o", closed / name],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert result.returncode == 1, result.stderr
        assert b"cannot create a file in the directory of " + name.encode() in result.stderr
    closed.chmod(0o755)
    assert [p.name for p in closed.iterdir()] == ["out.eif"]
    assert (closed / "out.eif").read_bytes() == b"old"


def test_extract_where_there_is_a_link(build, tool, parts):
    """The directory may be a link; what is in it is not followed (test_inspect.py)."""
    build()
    (parts / "x").mkdir()
    (parts / "link").symlink_to("x")
    assert tool("extract", parts / "out.eif", parts / "link").returncode == 0
    assert (parts / "x" / "kernel").exists() and (parts / "link").is_symlink()
    (parts / "nowhere").symlink_to("none")
    (parts / "file").write_text("mine")
    for name in ("nowhere", "file"):
        result = tool("extract", parts / "out.eif", parts / name)
        assert result.returncode == 1 and b"cannot open the directory" in result.stderr


def test_file_size_limit(shell, parts):
    (parts / "rootfs.cpio").write_bytes(bytes(3 << 20))
    result = shell("cd {0} && ulimit -f 1000 && nefs-eif build --kernel kernel --cmdline c"
                   " --ramdisk rootfs.cpio -o o.eif", parts)
    assert result.returncode == 1 and b"File too large" in result.stderr
    assert not (parts / "o.eif").exists() and leftovers(parts) == []
