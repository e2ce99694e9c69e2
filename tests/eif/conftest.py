# SPDX-License-Identifier: GPL-2.0-or-later
"""Black-box tests of nefs-eif: the program, files, and openssl as the independent witness.

The program is found by $NEFS_EIF, or $NEFS_BUILD/backend/eif/nefs-eif, or PATH.
"""
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def find_tool():
    if os.environ.get("NEFS_EIF"):
        return os.environ["NEFS_EIF"]
    if os.environ.get("NEFS_BUILD"):
        return os.path.join(os.environ["NEFS_BUILD"], "backend/eif/nefs-eif")
    return shutil.which("nefs-eif")


@pytest.fixture(scope="session")
def tool():
    """Runs nefs-eif; returns the finished process."""
    path = find_tool()
    assert path and os.access(path, os.X_OK), "nefs-eif not found: set NEFS_EIF or NEFS_BUILD"

    def run(*args, **options):
        options.setdefault("timeout", 60)
        result = subprocess.run([path, *map(str, args)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, **options)
        # Not even a refusal may be a crash, and a sanitizer's report is one.
        assert result.returncode in (0, 1, 2, 3), result.stderr.decode()
        assert b"Sanitizer" not in result.stderr, result.stderr.decode()
        assert b"runtime error" not in result.stderr, result.stderr.decode()
        return result

    run.path = path
    return run


@pytest.fixture
def parts(tmp_path):
    """A directory with a kernel of the right format and two ramdisks."""
    kernel = bytearray(0x400)
    kernel[0x202:0x206] = b"HdrS"
    kernel[0x20e:0x210] = (0x100).to_bytes(2, "little")
    kernel[0x300:0x30b] = b"6.1.0-test "
    (tmp_path / "kernel").write_bytes(kernel)
    (tmp_path / "init.cpio").write_bytes(b"ramdisk one!")
    (tmp_path / "rootfs.cpio").write_bytes(b"ramdisk two!")
    return tmp_path


@pytest.fixture
def build(tool, parts):
    """Builds parts/out.eif, with more arguments if wanted."""
    def run(*args, output="out.eif", **options):
        return tool("build", "--kernel", parts / "kernel", "--cmdline", "quiet",
                    "--ramdisk", parts / "init.cpio", "--ramdisk", parts / "rootfs.cpio",
                    "-o", parts / output, *args, **options)
    return run


def openssl(*args, **options):
    return subprocess.run(["openssl", *map(str, args)], check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **options).stdout


@pytest.fixture
def make_pair(tmp_path):
    """Makes NAME.key and NAME.crt; dates=(from, until) as YYYYMMDDHHMMSSZ."""
    def make(name="sign", curve="P-384", dates=None):
        key, certificate = tmp_path / f"{name}.key", tmp_path / f"{name}.crt"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}",
                "-out", key)
        if not dates:
            openssl("req", "-x509", "-new", "-key", key, "-days", "30", "-sha256",
                    "-subj", f"/CN={name}/O=Example", "-out", certificate)
            return key, certificate
        # Only `openssl ca` takes dates in the past, in every version that Debian has.
        authority = tmp_path / f"{name}.ca"
        authority.mkdir()
        (authority / "index.txt").touch()
        (authority / "ca.cnf").write_text(
            f"[ca]\ndefault_ca = d\n[d]\nnew_certs_dir = {authority}\n"
            f"database = {authority}/index.txt\nrand_serial = yes\ndefault_md = sha256\n"
            "policy = p\n[p]\ncommonName = supplied\n")
        request = tmp_path / f"{name}.csr"
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        openssl("ca", "-batch", "-selfsign", "-config", authority / "ca.cnf", "-notext",
                "-keyfile", key, "-in", request, "-out", certificate,
                "-startdate", dates[0], "-enddate", dates[1])
        return key, certificate
    return make


def leftovers(directory):
    """Files that a half-done output would leave."""
    return sorted(p.name for p in Path(directory).iterdir() if p.name.startswith("."))
