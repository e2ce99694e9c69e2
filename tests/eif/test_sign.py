# SPDX-License-Identifier: GPL-2.0-or-later
"""nefs-eif sign and verify, with openssl and an encoder of our own on the other side."""
import json
import os
import stat

import pytest

import image
from conftest import leftovers, openssl

CURVES = ["P-256", "P-384", "P-521"]


def pcr8(certificate):
    der = openssl("x509", "-in", certificate, "-outform", "DER")
    return image.extend(der).hexdigest()


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("how", ["build", "sign", "sign -o"])
def test_signed(build, tool, parts, make_pair, curve, how):
    key, certificate = make_pair(curve=curve)
    pair = ("--key", key, "--certificate", certificate)
    out = parts / "out.eif"
    if how == "build":
        result = build(*pair)
    elif how == "sign":
        build()
        result = tool("sign", *pair, out)
    else:
        build(output="plain.eif")
        result = tool("sign", *pair, parts / "plain.eif", "-o", out)
    assert (result.returncode, result.stderr) == (0, b"")
    sections = image.unpack(out.read_bytes())
    assert [kind for kind, _ in sections] == [1, 2, 5, 3, 3, 4]
    expected = [*enumerate(image.pcrs(sections)), (8, pcr8(certificate))]
    assert result.stdout.decode() == "".join(f"PCR{i} {pcr}\n" for i, pcr in expected)
    verified = tool("verify", out)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, b"", b"")

    # openssl agrees.
    entries, end = image.parse(sections[5][1])
    assert end == len(sections[5][1]) and list(entries[0]) == ["signing_certificate", "signature"]
    assert bytes(entries[0]["signing_certificate"]) == certificate.read_bytes()
    (protected, unprotected, payload, raw), _ = image.parse(bytes(entries[0]["signature"]))
    alg, digest, half = image.ALGORITHMS[curve]
    assert (protected, unprotected) == (image.cbor({1: alg}), {})
    assert payload == image.payload(sections) and len(raw) == 2 * half
    (parts / "public").write_bytes(openssl("x509", "-in", certificate, "-noout", "-pubkey"))
    (parts / "der").write_bytes(image.to_der(raw))
    text = image.cbor(["Signature1", protected, b"", payload])
    assert openssl("dgst", f"-{digest}", "-verify", parts / "public", "-signature", parts / "der",
                   input=text) == b"Verified OK\n"


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("tag", [b"", b"\xd2"])
def test_others_signature(tool, tmp_path, make_pair, curve, tag):
    """An image that another program made and signed."""
    key, certificate = make_pair(curve=curve)
    sections = [(1, b"KERNEL\n"), (2, b"c"), (5, b"{}"), (3, b"R")]
    sections.append((4, image.signature_section(sections, key, certificate, curve, tag)))
    (tmp_path / "i.eif").write_bytes(image.pack(sections))
    result = tool("verify", tmp_path / "i.eif")
    assert (result.returncode, result.stderr) == (0, b"")
    described = json.loads(tool("describe", tmp_path / "i.eif").stdout)
    assert described["measurements"]["PCR8"] == pcr8(certificate)
    assert described["signature"]["valid"] is True


def test_flipped(tool, build, parts, make_pair):
    key, certificate = make_pair()
    build("--key", key, "--certificate", certificate)
    good = (parts / "out.eif").read_bytes()
    sections = image.unpack(good)
    starts = [548 + 12]
    for _, data in sections:
        starts.append(starts[-1] + len(data) + 12)
    bad = parts / "bad.eif"
    places = [0, 4, 6, 26, 28, 284, 543, 544, 548, *starts[:-1], len(good) - 1]
    for at in places:
        for bit in (0, 7):
            data = bytearray(good)
            data[at] ^= 1 << bit
            bad.write_bytes(data)
            result = tool("verify", bad)
            assert result.returncode == 1, at
            assert result.stderr.count(b"\n") == 1 and b"bad.eif: " in result.stderr


def test_changed_after_signing(tool, build, parts, make_pair):
    """By somebody who also mends table and CRC."""
    key, certificate = make_pair()
    build("--key", key, "--certificate", certificate)
    sections = image.unpack((parts / "out.eif").read_bytes())
    for index in (0, 1, 3, 4):
        changed = list(sections)
        changed[index] = (changed[index][0], changed[index][1] + b"x")
        (parts / "bad.eif").write_bytes(image.pack(changed))
        result = tool("verify", parts / "bad.eif")
        assert result.returncode == 1 and b"not for this image" in result.stderr
    # Metadata may change: it is not measured.
    changed = list(sections)
    changed[2] = (5, b'{"other": 1}')
    (parts / "ok.eif").write_bytes(image.pack(changed))
    assert tool("verify", parts / "ok.eif").returncode == 0


def test_certificate_exchanged(tool, build, parts, make_pair):
    key, certificate = make_pair("a")
    _, other = make_pair("b")
    build("--key", key, "--certificate", certificate)
    sections = image.unpack((parts / "out.eif").read_bytes())
    entries, _ = image.parse(sections[5][1])
    entries[0]["signing_certificate"] = list(other.read_bytes())
    sections[5] = (4, image.cbor(entries))
    (parts / "bad.eif").write_bytes(image.pack(sections))
    result = tool("verify", parts / "bad.eif")
    assert result.returncode == 1
    assert b"was not made with its certificate's key" in result.stderr


def test_unsigned(tool, build, parts):
    build()
    result = tool("verify", parts / "out.eif")
    assert result.returncode == 3 and b"the image is not signed" in result.stderr


def test_expired(tool, tmp_path, make_pair):
    key, certificate = make_pair(curve="P-256", dates=("20200102030405Z", "20200202030405Z"))
    sections = [(1, b"KERNEL\n"), (2, b"c"), (5, b"{}"), (3, b"R")]
    unsigned = tmp_path / "u.eif"
    unsigned.write_bytes(image.pack(sections))
    sections.append((4, image.signature_section(sections, key, certificate, "P-256")))
    (tmp_path / "i.eif").write_bytes(image.pack(sections))
    result = tool("verify", tmp_path / "i.eif")
    assert result.returncode == 1
    assert b"certificate CN=sign expired on 2020-02-02 03:04:05 UTC" in result.stderr
    described = json.loads(tool("describe", tmp_path / "i.eif").stdout)
    assert described["signature"]["valid"] is False
    assert "expired on 2020-02-02" in described["signature"]["reason"]

    before = unsigned.read_bytes()
    result = tool("sign", "--key", key, "--certificate", certificate, unsigned)
    assert result.returncode == 1 and b"expired on 2020-02-02" in result.stderr
    assert unsigned.read_bytes() == before


def test_not_yet_valid(tool, tmp_path, make_pair):
    key, certificate = make_pair(curve="P-256", dates=("20990102030405Z", "20991231030405Z"))
    sections = [(1, b"KERNEL\n"), (2, b"c"), (5, b"{}"), (3, b"R")]
    sections.append((4, image.signature_section(sections, key, certificate, "P-256")))
    (tmp_path / "i.eif").write_bytes(image.pack(sections))
    result = tool("verify", tmp_path / "i.eif")
    assert result.returncode == 1
    assert b"is not valid before 2099-01-02 03:04:05 UTC" in result.stderr


def test_sign_again(tool, build, parts, make_pair):
    first = make_pair("first", "P-256")
    second = make_pair("second", "P-521")
    build("--key", first[0], "--certificate", first[1])
    before = image.unpack((parts / "out.eif").read_bytes())
    result = tool("sign", "--key", second[0], "--certificate", second[1], parts / "out.eif")
    assert result.returncode == 0
    after = image.unpack((parts / "out.eif").read_bytes())
    assert after[:5] == before[:5] and after[5] != before[5] and len(after) == 6
    assert f"PCR8 {pcr8(second[1])}\n" in result.stdout.decode()
    assert tool("verify", parts / "out.eif").returncode == 0


def test_in_place_keeps_permissions(tool, build, parts, make_pair):
    key, certificate = make_pair()
    build()
    out = parts / "out.eif"
    os.chmod(out, 0o600)
    if os.geteuid() == 0:
        os.chown(out, 1234, 2345)
    before = os.stat(out)
    assert tool("sign", "--key", key, "--certificate", certificate, out).returncode == 0
    after = os.stat(out)
    assert stat.S_IMODE(after.st_mode) == 0o600
    assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert leftovers(parts) == []


def test_other_output_leaves_input(tool, build, parts, make_pair):
    key, certificate = make_pair()
    build()
    before = (parts / "out.eif").read_bytes()
    assert tool("sign", "--key", key, "--certificate", certificate, "-o", parts / "signed.eif",
                parts / "out.eif").returncode == 0
    assert (parts / "out.eif").read_bytes() == before


def bad_pairs(parts, make_pair):
    key, certificate = make_pair("a")
    other_key, other_certificate = make_pair("b")
    encrypted, rsa_key, rsa_crt, brainpool = (parts / n for n in ("enc", "rsa", "rsac", "bp"))
    openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", encrypted)
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", rsa_key, "-out", rsa_crt,
            "-subj", "/CN=rsa", "-days", "2")
    junk = parts / "junk"
    junk.write_bytes(os.urandom(500))
    large = parts / "large"
    large.write_bytes(bytes(65537))
    return [
        (other_key, certificate, b"the key does not belong to the certificate"),
        (key, other_certificate, b"the key does not belong to the certificate"),
        (encrypted, certificate, b"the key is encrypted"),
        (rsa_key, rsa_crt, b"type RSA"),
        (junk, certificate, b"no private key in PEM"),
        (key, junk, b"no X.509 certificate in PEM"),
        (certificate, key, b"no X.509 certificate in PEM"),
        (key, key, b"no X.509 certificate in PEM"),
        (large, certificate, b"65537 bytes; it may have at most 65536"),
        (parts / "none", certificate, b"cannot open"),
        (key, parts, b"is a directory"),
    ]


def test_bad_pairs(tool, build, parts, make_pair):
    build()
    before = (parts / "out.eif").read_bytes()
    for key, certificate, sentence in bad_pairs(parts, make_pair):
        result = tool("sign", "--key", key, "--certificate", certificate, parts / "out.eif")
        assert result.returncode == 1 and sentence in result.stderr, (key.name, result.stderr)
        assert result.stderr.count(b"\n") == 1
        assert (parts / "out.eif").read_bytes() == before
        result = build("--key", key, "--certificate", certificate, output="new.eif")
        assert result.returncode == 1 and sentence in result.stderr
        assert not (parts / "new.eif").exists()
    assert leftovers(parts) == []


def test_sign_bad_image(tool, parts, make_pair):
    key, certificate = make_pair()
    (parts / "bad.eif").write_bytes(b".eif" + bytes(100))
    result = tool("sign", "--key", key, "--certificate", certificate, parts / "bad.eif")
    assert result.returncode == 1 and b"it has 104 bytes, the header alone takes 548" in result.stderr


def test_usage(tool):
    for args in ([], ["x.eif"], ["--key", "k", "x.eif"], ["--certificate", "c", "x.eif"],
                 ["--key", "k", "--certificate", "c"],
                 ["--key", "k", "--certificate", "c", "x.eif", "y.eif"],
                 ["--key", "k", "--certificate", "c", "--frob", "x.eif"]):
        assert tool("sign", *args).returncode == 2, args
    for command in ("describe", "verify"):
        for args in ([], ["a", "b"], ["--frob", "a"]):
            assert tool(command, *args).returncode == 2
