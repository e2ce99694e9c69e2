# SPDX-License-Identifier: GPL-2.0-or-later
"""nefs-eif build."""
import hashlib
import json
import os
import resource
import stat
import subprocess

import pytest

import image
from conftest import leftovers


def test_build(build, parts):
    result = build("--name", "web", "--version", "2.0",
                   env={**os.environ, "SOURCE_DATE_EPOCH": "1577934245"})
    assert (result.returncode, result.stderr) == (0, b"")
    sections = image.unpack((parts / "out.eif").read_bytes())
    assert [kind for kind, _ in sections] == [1, 2, 5, 3, 3]
    assert sections[0][1] == (parts / "kernel").read_bytes()
    assert sections[1][1] == b"quiet"
    assert sections[3][1] == b"ramdisk one!"
    metadata = json.loads(sections[2][1])
    assert metadata == {
        "ImageName": "web", "ImageVersion": "2.0",
        "BuildMetadata": {"BuildTime": "2020-01-02T03:04:05+00:00", "BuildTool": "nefs-eif",
                          "BuildToolVersion": metadata["BuildMetadata"]["BuildToolVersion"],
                          "OperatingSystem": "Linux", "KernelVersion": "6.1.0-test"},
        "DockerInfo": None, "CustomMetadata": None}
    expected = "".join(f"PCR{i} {pcr}\n" for i, pcr in enumerate(image.pcrs(sections)))
    assert result.stdout.decode() == expected
    assert leftovers(parts) == []


def test_defaults(build, parts):
    assert build().returncode == 0
    metadata = json.loads(image.unpack((parts / "out.eif").read_bytes())[2][1])
    assert (metadata["ImageName"], metadata["ImageVersion"]) == ("out", "1.0")


def test_same_input_same_image(build, parts):
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1"}
    build("--name", "n", output="a.eif", env=environment)
    build("--name", "n", output="b.eif", env=environment)
    assert (parts / "a.eif").read_bytes() == (parts / "b.eif").read_bytes()


def test_bad_epoch(build, parts):
    result = build(env={**os.environ, "SOURCE_DATE_EPOCH": "yesterday"})
    assert result.returncode == 1
    assert b'SOURCE_DATE_EPOCH is "yesterday"' in result.stderr
    assert not (parts / "out.eif").exists()


def test_vector3(tool, parts):
    (parts / "k").write_bytes(b"KERNEL\n")
    (parts / "r1").write_bytes(b"RAMDISK1")
    (parts / "r2").write_bytes(b"RAMDISK2")
    (parts / "m").write_bytes(b"{}")
    args = ["build", "--kernel", parts / "k", "--cmdline", "console=ttyS0", "--ramdisk",
            parts / "r1", "--ramdisk", parts / "r2", "--raw-metadata", parts / "m",
            "-o", parts / "v3.eif"]
    refused = tool(*args)
    assert refused.returncode == 1 and b"no bzImage" in refused.stderr
    result = tool(*args, "--any-kernel")
    assert result.returncode == 0
    assert hashlib.sha256((parts / "v3.eif").read_bytes()).hexdigest() == \
        "7a96bd256f66708a925465e2e7ba3868e931e65e03d23c8c455d9d5014342e54"
    assert result.stdout.decode().splitlines()[0] == \
        "PCR0 4063f19876dde88d7e3051b3b7beda6dbd30a152a954d680b2ff88d94a167046" \
        "e67ffd1890e521b728ed83ed8baefcc9"


def test_cmdline_file(tool, parts):
    for text, expected in ((b"a b\n", b"a b"), (b"a b", b"a b"), (b"", b"")):
        (parts / "cmdline").write_bytes(text)
        result = tool("build", "--kernel", parts / "kernel", "--cmdline-file", parts / "cmdline",
                      "--ramdisk", parts / "init.cpio", "-o", parts / "out.eif")
        assert result.returncode == 0, result.stderr
        assert image.unpack((parts / "out.eif").read_bytes())[1][1] == expected
    for text, sentence in ((b"a\nb\n", b"a newline at byte 1"), (b"a\n\n", b"a newline at byte 1"),
                           (b"a\0b", b"a NUL at byte 1")):
        (parts / "cmdline").write_bytes(text)
        result = tool("build", "--kernel", parts / "kernel", "--cmdline-file", parts / "cmdline",
                      "--ramdisk", parts / "init.cpio", "-o", parts / "bad.eif")
        assert result.returncode == 1 and sentence in result.stderr
        assert not (parts / "bad.eif").exists()


def test_aarch64(build, tool, parts):
    refused = build("--arch", "aarch64")
    assert refused.returncode == 1 and b"no Image, which aarch64 needs" in refused.stderr
    kernel = bytearray(64)
    kernel[0x38:0x3c] = b"ARM\x64"
    (parts / "kernel").write_bytes(kernel)
    assert build("--arch", "aarch64").returncode == 0
    assert (parts / "out.eif").read_bytes()[6:8] == b"\0\1"
    assert build("--arch", "x86_64").returncode == 1
    # The refusal has not touched the good image.
    assert json.loads(tool("describe", parts / "out.eif").stdout)["header"]["arch"] == "aarch64"


def test_custom_metadata(build, parts):
    (parts / "m.json").write_text('{"team": "web", "tags": [1, null]}')
    assert build("--metadata", parts / "m.json").returncode == 0
    metadata = json.loads(image.unpack((parts / "out.eif").read_bytes())[2][1])
    assert metadata["CustomMetadata"] == {"team": "web", "tags": [1, None]}

    (parts / "m.json").write_text('{"team": }')
    result = build("--metadata", parts / "m.json", output="bad.eif")
    assert result.returncode == 1 and b"no JSON: line 1, column" in result.stderr
    (parts / "m.json").write_text('"' + "x" * 4095 + '"')
    result = build("--metadata", parts / "m.json", output="bad.eif")
    assert result.returncode == 1 and b"4097 bytes; it may have at most 4096" in result.stderr
    (parts / "m.json").write_text("[]")
    result = build("--raw-metadata", parts / "m.json", output="bad.eif")
    assert result.returncode == 1 and b"no JSON object" in result.stderr
    assert not (parts / "bad.eif").exists()


def test_empty_kernel(build, parts):
    (parts / "kernel").write_bytes(b"")
    for args in ((), ("--any-kernel",)):
        result = build(*args)
        assert result.returncode == 1
    assert b"the kernel is empty" in result.stderr
    assert not (parts / "out.eif").exists()


def test_too_many_ramdisks(tool, parts):
    def run(count):
        ramdisks = [a for _ in range(count) for a in ("--ramdisk", parts / "init.cpio")]
        return tool("build", "--kernel", parts / "kernel", "--cmdline", "c", *ramdisks,
                    "-o", parts / "out.eif")
    assert run(28).returncode == 0
    result = run(29)
    assert result.returncode == 2 and b"more than the 28 ramdisks" in result.stderr


@pytest.mark.parametrize("missing", ["kernel", "init.cpio", "rootfs.cpio"])
def test_missing_input(build, parts, missing):
    (parts / missing).unlink()
    result = build()
    assert result.returncode == 1
    assert f"cannot open {parts / missing}: No such file".encode() in result.stderr
    assert not (parts / "out.eif").exists()


def test_odd_inputs(build, parts):
    (parts / "kernel").unlink()
    (parts / "kernel").mkdir()
    result = build()
    assert result.returncode == 1 and b"kernel is a directory" in result.stderr


def test_long_cmdline(tool, parts):
    """It is built, with a warning: kernels read 2047 bytes."""
    for size, warned in ((2047, False), (2048, True), (5000, True)):
        result = tool("build", "--kernel", parts / "kernel", "--cmdline", "x" * size,
                      "--ramdisk", parts / "init.cpio", "-o", parts / "out.eif")
        assert result.returncode == 0
        assert (f"the command line has {size} bytes".encode() in result.stderr) == warned
        warnings = json.loads(tool("describe", parts / "out.eif").stdout)["warnings"]
        assert warnings == (["cmdline-too-long"] if warned else [])


def test_usage(tool, parts):
    good = {"--kernel": "k", "--cmdline": "c", "--ramdisk": "r", "-o": "o"}
    for left_out in good:
        args = [a for k, v in good.items() if k != left_out for a in (k, v)]
        result = tool("build", *args)
        assert result.returncode == 2, left_out
        assert result.stderr and not result.stdout
    everything = [a for pair in good.items() for a in pair]
    for extra in (["--cmdline-file", "f"], ["--key", "k"], ["--certificate", "c"], ["surplus"],
                  ["--arch", "riscv"], ["--frobnicate"], ["--name"],
                  ["--raw-metadata", "m", "--name", "n"], ["--raw-metadata", "m", "--metadata", "n"]):
        result = tool("build", *everything, *extra)
        assert result.returncode == 2, extra
        assert result.stderr.startswith(b"nefs-eif build: "), result.stderr


def test_replaces_atomically(build, parts):
    (parts / "out.eif").write_bytes(b"old")
    before = os.stat(parts / "out.eif").st_ino
    assert build().returncode == 0
    assert os.stat(parts / "out.eif").st_ino != before
    assert leftovers(parts) == []


def test_umask(build, parts):
    old = os.umask(0o027)
    try:
        assert build().returncode == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(parts / "out.eif").st_mode) == 0o640


def test_symlink_is_followed(build, parts):
    (parts / "real.eif").write_bytes(b"old")
    (parts / "out.eif").symlink_to("real.eif")
    assert build().returncode == 0
    assert (parts / "out.eif").is_symlink()
    assert (parts / "real.eif").read_bytes()[:4] == b".eif"


def test_devices_are_not_replaced(build, parts):
    os.mkfifo(parts / "fifo")
    result = build(output="fifo")
    assert result.returncode == 1 and b"no regular file" in result.stderr
    assert stat.S_ISFIFO(os.stat(parts / "fifo").st_mode)
    result = build(output="")
    assert result.returncode == 1
    result = build(output="nowhere/out.eif")
    assert result.returncode == 1 and b"No such file or directory" in result.stderr


def test_disk_full(build, parts):
    """A write error in the middle: the old image stays, and nothing else is left."""
    (parts / "out.eif").write_bytes(b"old")
    (parts / "rootfs.cpio").write_bytes(bytes(300000))
    before = sorted(p.name for p in parts.iterdir())

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))
    # Python ignores SIGXFSZ; the tool inherits that and sees EFBIG.
    result = build(preexec_fn=limit, restore_signals=False)
    assert result.returncode == 1 and b"File too large" in result.stderr
    assert (parts / "out.eif").read_bytes() == b"old"
    assert sorted(p.name for p in parts.iterdir()) == before


def test_small_filesystem(build, parts):
    """The same on a filesystem that really is full; needs root."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    small = parts / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], check=True)
    try:
        (parts / "rootfs.cpio").write_bytes(bytes(300000))
        result = build(output="small/out.eif")
        assert result.returncode == 1 and b"No space left on device" in result.stderr
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_standard_output_full(tool, parts):
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            [tool.path, "build", "--kernel", parts / "kernel", "--cmdline", "c",
             "--ramdisk", parts / "init.cpio", "-o", parts / "out.eif"],
            stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 1 and b"cannot write to the standard output" in result.stderr


def test_top_level(tool):
    assert tool().returncode == 2
    assert tool("frobnicate").returncode == 2
    for args in (["--help"], ["build", "--help"]):
        result = tool(*args)
        assert result.returncode == 0 and result.stdout.startswith(b"Usage: nefs-eif build")
    result = tool("--version")
    assert result.returncode == 0 and result.stdout.startswith(b"nefs-eif 0.")


def test_without_proc(tool, parts):
    """Where a nameless file cannot be given a name, a temporary one is used, and removed."""
    if os.geteuid() != 0:
        pytest.skip("hiding /proc needs root")
    # In a chroot / need not be a mount point, which is what unshare's own propagation insists on.
    hidden = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c",
              'mount --make-rprivate /proc && mount -t tmpfs none /proc/$$/fd && exec "$@"', "sh"]
    base = [tool.path, "build", "--kernel", parts / "kernel", "--cmdline", "c",
            "--ramdisk", parts / "init.cpio", "-o", parts / "out.eif"]
    before = sorted(p.name for p in parts.iterdir())

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    failed = subprocess.run([*hidden, *base], stderr=subprocess.PIPE,
                            preexec_fn=limit, restore_signals=False, timeout=60)
    assert failed.returncode == 1 and b"File too large" in failed.stderr
    assert sorted(p.name for p in parts.iterdir()) == before
    subprocess.run([*hidden, *base], check=True, timeout=60, stdout=subprocess.PIPE)
    assert sorted(p.name for p in parts.iterdir()) == sorted([*before, "out.eif"])
    assert tool("verify", parts / "out.eif").returncode == 3
    # The same for a file that must not be there yet.
    subprocess.run([*hidden, tool.path, "extract", parts / "out.eif", parts / "x"], check=True,
                   timeout=60)
    assert leftovers(parts / "x") == [] and (parts / "x" / "cmdline").read_bytes() == b"c"
