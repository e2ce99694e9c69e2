# SPDX-License-Identifier: GPL-2.0-or-later
"""nefs-eif describe and extract."""
import json
import os
import resource
import subprocess

import pytest

import image


@pytest.fixture(scope="session")
def vector4():
    path = os.environ.get("NEFS_VECTOR4")
    if not path:
        # scripts/test takes this for a failure.
        pytest.skip("NEFS_VECTOR4 must be the path of hello.eif (scripts/fetch gets it)")
    return path


def test_vector4(tool, vector4, tmp_path):
    described = json.loads(tool("describe", vector4).stdout)
    assert described["header"]["arch"] == "aarch64" and described["crc32"] == "7db75a75"
    assert [(s["type"], s["offset"], s["size"]) for s in described["sections"]] == [
        ("kernel", 548, 10547712), ("cmdline", 10548272, 84), ("metadata", 10548368, 1785),
        ("ramdisk", 10550165, 760832), ("ramdisk", 11311009, 4104192)]
    assert described["measurements"]["PCR1"] == (
        "3b4a7e1b5f13c5a1000b3ed32ef8995ee13e9876329f9bc72650b918329ef9cf"
        "4e2e4d1e1e37375dab0ba56ba0974d03")
    assert described["warnings"] == [] and described["signature"] is None
    assert described["metadata"]["BuildMetadata"]["BuildTool"] == "nitro-cli"
    assert tool("verify", vector4).returncode == 3

    # Taken apart and put together again: the same bytes.
    out = tmp_path / "x"
    assert tool("extract", vector4, out).returncode == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "cmdline", "kernel", "metadata.json", "ramdisk0", "ramdisk1"]
    assert (out / "cmdline").read_bytes().startswith(b"reboot=k panic=30")
    result = tool("build", "--arch", "aarch64", "--kernel", out / "kernel",
                  "--cmdline-file", out / "cmdline", "--ramdisk", out / "ramdisk0",
                  "--ramdisk", out / "ramdisk1", "--raw-metadata", out / "metadata.json",
                  "-o", tmp_path / "again.eif")
    assert result.returncode == 0
    assert subprocess.run(["cmp", vector4, tmp_path / "again.eif"]).returncode == 0


def test_describe(tool, build, parts, make_pair):
    key, certificate = make_pair("described")
    build("--key", key, "--certificate", certificate, "--name", "web")
    result = tool("describe", parts / "out.eif")
    assert (result.returncode, result.stderr) == (0, b"")
    described = json.loads(result.stdout)
    data = (parts / "out.eif").read_bytes()
    assert described["size"] == len(data)
    assert described["crc32"] == data[544:548].hex()
    assert described["header"] == {"version": 4, "arch": "x86_64", "flags": 0,
                                   "default_mem": 1 << 30, "default_cpus": 2, "sections": 6}
    assert described["metadata"]["ImageName"] == "web"
    signature = described["signature"]
    assert signature["algorithm"] == "ES384" and signature["valid"] is True
    assert signature["reason"] is None
    assert signature["certificate"]["subject"] == "O=Example,CN=described"
    assert signature["certificate"]["curve"] == "P-384"


def test_describe_warns(tool, tmp_path):
    (tmp_path / "i.eif").write_bytes(
        image.pack([(1, b"K"), (2, b"c"), (5, b"junk")], flags=0x240) + b"tail")
    result = tool("describe", tmp_path / "i.eif")
    assert result.returncode == 1 and b"CRC-32" in result.stderr
    (tmp_path / "i.eif").write_bytes(image.pack([(1, b"K"), (2, b"c"), (5, b"junk")], flags=0x240))
    described = json.loads(tool("describe", tmp_path / "i.eif").stdout)
    assert described["warnings"] == ["unknown-flags", "kernel-format"]
    assert described["metadata"] is None and "no JSON" in described["metadata_error"]


@pytest.mark.parametrize("cmdline, words", [
    (b"a b", []), (b"a\0b", ["cmdline-not-one-line"]), (b"a\nb", ["cmdline-not-one-line"]),
    (b"x" * 2047, []), (b"x" * 2048, ["cmdline-too-long"]), (b"", []),
    (b"a\n" + b"x" * 4000, ["cmdline-too-long", "cmdline-not-one-line"]),
    (b"x" * 2047 + b"\n", ["cmdline-too-long"])])
def test_describe_warns_of_the_cmdline(tool, parts, cmdline, words):
    """Such an image is valid, and its kernel does not read what it says."""
    (parts / "i.eif").write_bytes(image.pack(
        [(1, (parts / "kernel").read_bytes()), (2, cmdline), (5, b"{}"), (3, b"R")]))
    assert json.loads(tool("describe", parts / "i.eif").stdout)["warnings"] == words
    assert tool("verify", parts / "i.eif").returncode == 3


@pytest.mark.parametrize("command", ["describe", "verify", "extract"])
def test_bad_images(tool, tmp_path, command):
    good = image.pack([(1, b"K"), (2, b"c"), (5, b"{}"), (3, b"R")])
    cases = {b"": b"0 bytes", b"hello": b"5 bytes", bytes(600): b"not an EIF",
             good[:-1]: b"cut short", good[:560]: b"cut short",
             good[:4] + b"\0\5" + good[6:]: b"version 5",
             good[:544] + bytes(4) + good[548:]: b"00000000",
             image.pack([(1, b"K"), (2, b"c"), (5, b"{}"), (4, b"junk")]): b"signature section"}
    for data, sentence in cases.items():
        (tmp_path / "i.eif").write_bytes(data)
        args = [tmp_path / "out"] if command == "extract" else []
        result = tool(command, tmp_path / "i.eif", *args)
        if command == "extract" and sentence == b"signature section":
            continue  # taking such an image apart is how one looks into it
        assert result.returncode == 1 and sentence in result.stderr, (data[:8], result.stderr)
        assert result.stdout == b"" and result.stderr.count(b"\n") == 1
        assert not (tmp_path / "out").exists()
    assert tool(command, tmp_path / "none", *args).returncode == 1
    assert tool(command, tmp_path, *args).returncode == 1


def test_extract(tool, build, parts, make_pair):
    key, certificate = make_pair()
    build("--key", key, "--certificate", certificate)
    sections = image.unpack((parts / "out.eif").read_bytes())
    names = ["kernel", "cmdline", "metadata.json", "ramdisk0", "ramdisk1", "signature.cbor"]
    out = parts / "x"
    assert tool("extract", parts / "out.eif", out).returncode == 0
    assert sorted(p.name for p in out.iterdir()) == sorted(names)
    for name, (_, data) in zip(names, sections):
        assert (out / name).read_bytes() == data


def test_extract_does_not_overwrite(tool, build, parts):
    build()
    out = parts / "x"
    out.mkdir()
    (out / "ramdisk1").write_text("mine")
    result = tool("extract", parts / "out.eif", out)
    assert result.returncode == 1 and b"ramdisk1 exists" in result.stderr
    assert [p.name for p in out.iterdir()] == ["ramdisk1"]
    assert (out / "ramdisk1").read_text() == "mine"

    # A link is not followed, with or without --force.
    victim = parts / "victim"
    victim.write_text("mine")
    (out / "ramdisk1").unlink()
    (out / "kernel").symlink_to(victim)
    assert tool("extract", parts / "out.eif", out).returncode == 1
    assert tool("extract", "--force", parts / "out.eif", out).returncode == 0
    assert victim.read_text() == "mine" and not (out / "kernel").is_symlink()
    assert tool("extract", parts / "out.eif", out, "--force").returncode == 0


def test_extract_disk_full(tool, build, parts):
    (parts / "rootfs.cpio").write_bytes(bytes(300000))
    build()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))
    result = tool("extract", parts / "out.eif", parts / "x", preexec_fn=limit,
                  restore_signals=False)
    assert result.returncode == 1 and b"ramdisk1: cannot write: File too large" in result.stderr
    assert not (parts / "x").exists()


def test_extract_usage(tool):
    for args in ([], ["a"], ["a", "b", "c"], ["--frob", "a", "b"]):
        assert tool("extract", *args).returncode == 2


def test_describe_standard_output_full(tool, build, parts):
    build()
    with open("/dev/full", "wb") as full:
        result = subprocess.run([tool.path, "describe", parts / "out.eif"], stdout=full,
                                stderr=subprocess.PIPE, timeout=60)
    assert result.returncode == 1 and b"cannot write to the standard output" in result.stderr
