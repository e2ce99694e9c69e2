# SPDX-License-Identifier: GPL-2.0-or-later
"""nefs-eif sign in two steps; openssl has the key in between."""
import hashlib
import json
import os

import pytest

import image
from conftest import leftovers, openssl

HASHES = {"P-256": "sha256", "P-384": "sha384", "P-521": "sha512"}


@pytest.fixture
def unsigned(build, parts):
    assert build().returncode == 0
    return parts / "out.eif"


@pytest.mark.parametrize("curve", HASHES)
@pytest.mark.parametrize("form", ["der", "raw"])
@pytest.mark.parametrize("what", ["message", "digest"])
def test_two_steps(tool, unsigned, parts, make_pair, curve, form, what):
    key, certificate = make_pair(curve=curve)
    cose, digest, half = image.ALGORITHMS[curve]
    sections = image.unpack(unsigned.read_bytes())
    before = unsigned.read_bytes()
    result = tool("sign", f"--print-{what}", "--certificate", certificate, unsigned)
    assert (result.returncode, result.stderr) == (0, b"")
    message = image.cbor(["Signature1", image.cbor({1: cose}), b"", image.payload(sections)])
    if what == "message":
        assert result.stdout == message
        signature = openssl("dgst", f"-{digest}", "-sign", key, input=result.stdout)
    else:
        assert result.stdout == hashlib.new(digest, message).digest()
        (parts / "digest").write_bytes(result.stdout)
        signature = openssl("pkeyutl", "-sign", "-inkey", key, "-in", parts / "digest")
    assert unsigned.read_bytes() == before

    if form == "raw":
        signature = image.from_der(signature, half)
    (parts / "signature").write_bytes(signature)
    result = tool("sign", "--signature", parts / "signature", "--certificate", certificate,
                  unsigned)
    assert (result.returncode, result.stderr) == (0, b"")
    assert tool("verify", unsigned).returncode == 0
    described = json.loads(tool("describe", unsigned).stdout)
    assert described["signature"]["valid"] is True
    assert f"PCR8 {described['measurements']['PCR8']}\n" in result.stdout.decode()
    der = openssl("x509", "-in", certificate, "-outform", "der")
    assert described["measurements"]["PCR8"] == image.extend(der).hexdigest()
    after = image.unpack(unsigned.read_bytes())
    assert after[:5] == sections and len(after) == 6


def test_outputs(tool, unsigned, parts, make_pair):
    key, certificate = make_pair()
    printed = tool("sign", "--print-message", "--certificate", certificate, unsigned).stdout
    result = tool("sign", "--print-message", "--certificate", certificate, "-o", parts / "m",
                  unsigned)
    assert (result.returncode, result.stdout) == (0, b"")
    assert (parts / "m").read_bytes() == printed
    # Through pipes from end to end.
    with open(unsigned, "rb") as source:
        assert tool("sign", "--print-message", "--certificate", certificate, "-",
                    stdin=source).stdout == printed
    signature = openssl("dgst", "-sha384", "-sign", key, input=printed)
    result = tool("sign", "--signature", "-", "--certificate", certificate, "-o",
                  parts / "signed.eif", unsigned, input=signature)
    assert result.returncode == 0, result.stderr
    assert tool("verify", parts / "signed.eif").returncode == 0
    # A signature that is there says nothing of the next one.
    assert tool("sign", "--print-message", "--certificate", certificate,
                parts / "signed.eif").stdout == printed
    before = unsigned.read_bytes(), certificate.read_bytes()
    for name in (unsigned, certificate):
        result = tool("sign", "--print-message", "--certificate", certificate, "-o", name,
                      unsigned)
        assert result.returncode == 1 and b"would be replaced" in result.stderr
    assert (unsigned.read_bytes(), certificate.read_bytes()) == before


def test_wrong_signatures(tool, build, unsigned, parts, make_pair):
    key, certificate = make_pair("a")
    other_key, other_certificate = make_pair("b")
    _, other_curve = make_pair("c", "P-256")
    message = tool("sign", "--print-message", "--certificate", certificate, unsigned).stdout
    good = openssl("dgst", "-sha384", "-sign", key, input=message)
    assert build("--name", "n", output="same.eif").returncode == 0
    (parts / "init.cpio").write_bytes(b"another one!")
    assert build(output="other.eif").returncode == 0
    wrong_key = openssl("dgst", "-sha384", "-sign", other_key, input=message)
    wrong_hash = openssl("dgst", "-sha256", "-sign", key, input=message)
    twice = openssl("dgst", "-sha384", "-sign", key, input=hashlib.sha384(message).digest())
    not_of = b"or not of this image"
    no_form = b"neither DER nor the 96 bytes r|s of ES384"
    before = {p: p.read_bytes() for p in (unsigned, parts / "other.eif")}
    for name, signature, by, sentence in (
            ("out.eif", wrong_key, certificate, not_of), ("out.eif", wrong_hash, certificate, not_of),
            ("out.eif", twice, certificate, not_of), ("other.eif", good, certificate, not_of),
            ("out.eif", good, other_certificate, not_of), ("out.eif", bytes(96), certificate, not_of),
            ("out.eif", os.urandom(96), certificate, not_of),
            ("out.eif", good, other_curve, b"r|s of ES256"),
            ("out.eif", good[:-1], certificate, no_form),
            ("out.eif", good + b"\n", certificate, no_form),
            ("out.eif", bytes(95), certificate, no_form),
            ("out.eif", b"MGUCMQDx\n", certificate, b"base64 -d"),
            ("out.eif", b"", certificate, no_form),
            ("out.eif", bytes(70000), certificate, b"it may have at most")):
        (parts / "signature").write_bytes(signature)
        result = tool("sign", "--signature", parts / "signature", "--certificate", by, parts / name)
        assert result.returncode == 1 and sentence in result.stderr, (sentence, result.stderr)
        assert result.stderr.count(b"\n") == 1
    assert {p: p.read_bytes() for p in before} == before and leftovers(parts) == []
    # What is not measured is not signed: the same kernel and ramdisks under another name.
    (parts / "signature").write_bytes(good)
    assert tool("sign", "--signature", parts / "signature", "--certificate", certificate,
                parts / "same.eif").returncode == 0


def test_expired(tool, unsigned, make_pair):
    key, certificate = make_pair(dates=("20200102030405Z", "20200202030405Z"))
    result = tool("sign", "--print-message", "--certificate", certificate, unsigned)
    assert result.returncode == 1 and b"expired on 2020-02-02" in result.stderr


def test_terminal(tool, unsigned, make_pair):
    """Bytes for a program are not shown to a person."""
    _, certificate = make_pair()
    ours, theirs = os.openpty()
    try:
        for arguments in (["--print-message"], ["--print-digest"]):
            result = tool("sign", *arguments, "--certificate", certificate, unsigned,
                          preexec_fn=lambda: os.dup2(theirs, 1))
            assert result.returncode == 1 and b"is a terminal" in result.stderr
    finally:
        os.close(ours)
        os.close(theirs)


def test_usage(tool):
    for args in (["--print-message", "x"], ["--signature", "s", "x"],
                 ["--certificate", "c", "--print-message", "--print-digest", "x"],
                 ["--certificate", "c", "--print-message", "--key", "k", "x"],
                 ["--certificate", "c", "--signature", "s", "--key", "k", "x"],
                 ["--certificate", "c", "--signature", "s", "--print-digest", "x"],
                 ["--certificate", "c", "x"], ["--certificate", "c", "--print-message"],
                 ["--certificate", "c", "--signature", "s", "-"]):
        result = tool("sign", *args)
        assert result.returncode == 2 and result.stderr.startswith(b"nefs-eif sign: "), args
