# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys and certificates in a PKCS#11 token: SoftHSM2, with a token directory of its own."""
import json
import os
import pty
import select
import shutil
import subprocess

import pytest

from conftest import leftovers, openssl

PIN = "4711pin"


@pytest.fixture
def token(tmp_path, monkeypatch):
    """An empty token; returns a function that puts a key, and its certificate if wanted, in it."""
    for program in ("softhsm2-util", "p11tool"):
        if not shutil.which(program):
            # scripts/test takes this for a failure.
            pytest.skip(f"{program} is missing: scripts/packages says what has it")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm2.conf").write_text(
        f"directories.tokendir = {tmp_path}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    monkeypatch.delenv("GNUTLS_PIN", raising=False)

    def run(*args, **options):
        subprocess.run(list(map(str, args)), check=True, stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, timeout=60, **options)
    run("softhsm2-util", "--init-token", "--free", "--label", "nefs test", "--pin", PIN,
        "--so-pin", "so" + PIN)
    made = []

    def put(key, certificate=None, label="signer"):
        made.append(label)
        number = f"{len(made):02x}"
        openssl("pkcs8", "-topk8", "-nocrypt", "-in", key, "-out", tmp_path / "p8")
        run("softhsm2-util", "--import", tmp_path / "p8", "--token", "nefs test", "--label", label,
            "--id", number, "--pin", PIN)
        if certificate:
            run("p11tool", "--login", "--write", "--load-certificate", certificate, "--label", label,
                "--id", number, "pkcs11:token=nefs%20test", env={**os.environ, "GNUTLS_PIN": PIN})
        return f"pkcs11:token=nefs%20test;object={label}"
    return put


@pytest.fixture
def unsigned(build, parts):
    assert build().returncode == 0
    return parts / "out.eif"


def with_pin(pin=PIN):
    return {**os.environ, "GNUTLS_PIN": pin}


@pytest.mark.parametrize("curve, algorithm", [
    ("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512")])
def test_curves(tool, token, unsigned, make_pair, curve, algorithm):
    key, certificate = make_pair(curve=curve)
    url = token(key, certificate)
    result = tool("sign", "--key", url, "--certificate", url, unsigned, env=with_pin())
    assert (result.returncode, result.stderr) == (0, b"")
    assert tool("verify", unsigned).returncode == 0
    described = json.loads(tool("describe", unsigned).stdout)
    assert described["signature"]["algorithm"] == algorithm
    # The certificate from the token is the one in the file.
    from_file = tool("sign", "--key", key, "--certificate", certificate, unsigned)
    assert from_file.stdout == result.stdout


def test_ways_to_give_the_pin(tool, token, unsigned, parts, make_pair):
    key, certificate = make_pair()
    url = token(key)
    (parts / "pin").write_text(PIN + "\nnot this line\n")
    for more, options in (
            ([url + "?pin-value=" + PIN], {}), ([url], {"env": with_pin()}),
            ([url + f"?pin-source=file:{parts}/onlypin"], {}),
            ([url, "--pin-file", parts / "pin"], {}),
            ([url, "--pin-file", parts / "pin"], {"env": with_pin("wrong")}),
            ([url, "--pin-file", "-"], {"input": PIN.encode()})):
        (parts / "onlypin").write_text(PIN)
        result = tool("sign", "--certificate", certificate, unsigned, "-o", parts / "signed.eif",
                      "--key", *more, **options)
        assert result.returncode == 0, (more, result.stderr)
        assert tool("verify", parts / "signed.eif").returncode == 0
        (parts / "signed.eif").unlink()


def test_build(build, tool, token, parts, make_pair):
    key, certificate = make_pair()
    url = token(key, certificate)
    (parts / "pin").write_text(PIN)
    assert build("--key", url, "--certificate", url, "--pin-file",
                 parts / "pin").returncode == 0
    assert tool("verify", parts / "out.eif").returncode == 0


def test_wrong_pin_is_tried_once(tool, token, unsigned, parts, make_pair):
    key, certificate = make_pair()
    url = token(key)
    before = unsigned.read_bytes()
    (parts / "pin").write_text("wrong1234")
    for more, options, sentence in (
            (["--pin-file", parts / "pin"], {}, b"it was tried once"),
            ([], {"env": with_pin("wrong1234")}, b"the PIN from GNUTLS_PIN is not that"),
            ([], {"env": with_pin("")}, b"it must have 1 to"),
            ([], {"env": with_pin("x" * 300)}, b"has 300 bytes"),
            (["--pin-file", parts / "none"], {}, b"cannot open")):
        result = tool("sign", "--key", url, "--certificate", certificate, unsigned, *more, **options)
        assert result.returncode == 1 and sentence in result.stderr, result.stderr
        assert b"wrong1234" not in result.stderr and result.stderr.count(b"\n") == 1
    result = tool("sign", "--key", url + "?pin-value=wrong1234", "--certificate", certificate,
                  unsigned)
    assert result.returncode == 1 and b"does not take the PIN" in result.stderr
    assert b"wrong1234" not in result.stderr
    assert unsigned.read_bytes() == before and leftovers(parts) == []


def test_without_a_terminal(tool, token, unsigned, make_pair):
    key, certificate = make_pair()
    result = tool("sign", "--key", token(key), "--certificate", certificate, unsigned,
                  stdin=subprocess.DEVNULL, start_new_session=True)
    assert result.returncode == 1
    assert b"the token nefs test needs a PIN: give --pin-file" in result.stderr


def at_a_terminal(command, answers):
    """Runs it with a terminal of its own, and gives an answer for each question."""
    process, terminal = pty.fork()
    if process == 0:
        try:
            os.execv(command[0], command)
        finally:
            os._exit(127)
    said = b""
    try:
        asked = 0
        while True:
            try:
                assert select.select([terminal], [], [], 60)[0], said
                piece = os.read(terminal, 4096)
            except OSError:  # what Linux says when the other side is closed
                break
            if not piece:
                break
            said += piece
            while asked < len(answers) and said.count(b"PIN of the token") > asked:
                os.write(terminal, answers[asked].encode() + b"\n")
                asked += 1
    finally:
        os.close(terminal)  # whoever waits for an answer is hung up
        _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), said


def test_at_a_terminal(tool, token, unsigned, make_pair):
    key, certificate = make_pair()
    command = [tool.path, "sign", "--key", token(key), "--certificate", str(certificate),
               str(unsigned)]
    status, said = at_a_terminal(command, [PIN])
    assert status == 0, said
    assert PIN.encode() not in said, "it was shown"
    assert tool("verify", unsigned).returncode == 0
    status, said = at_a_terminal(command, ["wrong", PIN])
    assert status == 0 and b"(the last one was wrong)" in said, said
    status, said = at_a_terminal(command, [""])
    assert status == 1 and b"no PIN was given" in said


def test_modules(tool, token, unsigned, make_pair):
    key, certificate = make_pair()
    url = token(key, certificate)
    listed = subprocess.run(["p11tool", "--list-tokens"], stdout=subprocess.PIPE, check=True).stdout
    module = [line.split(": ", 1)[1] for line in listed.decode().splitlines()
              if "softhsm" in line and "Module:" in line][0]
    for more in ([url, "--pkcs11-module", module],
                 [url + "?module-path=" + module.replace("/", "%2F")]):
        result = tool("sign", "--certificate", url, unsigned, "--key", *more, env=with_pin())
        assert result.returncode == 0, result.stderr
    for more in ([url, "--pkcs11-module", "/none.so"],
                 [url + "?pin-value=" + PIN + "&module-path=/none.so"]):
        result = tool("sign", "--certificate", certificate, unsigned, "--key", *more, env=with_pin())
        assert result.returncode == 1
        assert b"cannot load the PKCS#11 module /none.so" in result.stderr


def test_bad_urls(tool, token, unsigned, parts, make_pair):
    key, certificate = make_pair("a")
    other_key, other_certificate = make_pair("b")
    url = token(key, certificate)
    other = token(other_key, other_certificate, "other")
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", parts / "rsa", "-out",
            parts / "rsa.crt", "-subj", "/CN=rsa", "-days", "2")
    rsa = token(parts / "rsa", parts / "rsa.crt", "rsa")
    before = unsigned.read_bytes()
    for of_key, of_certificate, sentence in (
            ("pkcs11:token=none;object=signer", certificate, b"names no private key in any token"),
            ("pkcs11:token=nefs%20test;object=none", certificate, b"names no private key"),
            ("pkcs11:", certificate, b"names no private key"),
            ("pkcs11:%zz", certificate, b"cannot load the private key pkcs11:%zz"),
            (key, "pkcs11:token=nefs%20test;object=none", b"names no certificate"),
            (url, other_certificate, b"the key does not belong to the certificate"),
            (other, url, b"the key does not belong to the certificate"),
            (rsa, certificate, b"the key does not belong to the certificate"),
            (rsa, rsa, b"type RSA")):
        result = tool("sign", "--key", of_key, "--certificate", of_certificate, unsigned,
                      env=with_pin())
        assert result.returncode == 1 and sentence in result.stderr, (of_key, result.stderr)
        assert result.stderr.count(b"\n") == 1
    assert unsigned.read_bytes() == before and leftovers(parts) == []


def test_two_steps(tool, token, unsigned, make_pair):
    """The certificate for them may be in a token, too."""
    key, certificate = make_pair()
    url = token(key, certificate)
    message = tool("sign", "--print-message", "--certificate", url, unsigned)
    assert message.returncode == 0
    signature = openssl("dgst", "-sha384", "-sign", key, input=message.stdout)
    assert tool("sign", "--signature", "-", "--certificate", url, unsigned,
                input=signature).returncode == 0
    assert tool("verify", unsigned).returncode == 0
