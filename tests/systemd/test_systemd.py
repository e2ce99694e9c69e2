# SPDX-License-Identifier: GPL-2.0-or-later
"""
nefs under systemd, whose journal has what it logged. systemd is process 1 of a container of
systemd-nspawn(1) with this machine's /usr and nothing else of it; `guest` is what runs there.
NEFS_BUILD is the build.
"""
import json
import os
import re
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../fs"))
import eif_image  # noqa: E402

SLOWNESS = float(os.environ.get("NEFS_SLOWNESS", "1"))


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The directory with what the container left."""
    path = tmp_path_factory.mktemp("result")
    (path / "image").write_bytes(eif_image.SMALL)
    command = ["systemd-nspawn", "--quiet", "--directory=/", "--volatile=yes", "--register=no",
               "--keep-unit", "--private-network", "--console=pipe", "--bind=/dev/fuse", "--link-journal=no",
               f"--bind={path}:/run/result", f"--bind-ro={HERE}:/run/tests",
               f"--bind-ro={os.path.abspath(os.environ['NEFS_BUILD'])}:/run/build"]
    command += [f"--bind-ro={HERE}/{unit}:/etc/systemd/system/{unit}"
                for unit in ("nefs.service", "test.service")]
    done = subprocess.run([*command, "--boot", "systemd.unit=test.service"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60 * SLOWNESS, check=False)
    said = (path / "output").read_text() if (path / "output").exists() else ""
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}{said}"
    return path


def records(result, name):
    return [json.loads(line) for line in (result / name).read_text().splitlines()]


def test_a_crash_is_found(result):
    """journalctl ENCLAVE=web EVENT=crashed -o json"""
    for entry, name in zip(records(result, "crashed"), ("unit", "background"), strict=True):
        sentence = (result / f"{name}.error").read_text().strip()
        assert re.fullmatch(rf"web: crashed, CID \d+, slot 0x[0-9a-f]+: {re.escape(sentence)}",
                            entry["MESSAGE"])
        assert f"CID {entry['CID']}, slot {entry['SLOT']}:" in entry["MESSAGE"]
        assert entry["PRIORITY"] == "3" and entry["SYSLOG_IDENTIFIER"] == "nefs"
        assert entry["MESSAGE_ID"] == "24c9939a18d54f55aff788da5dae4476"
        assert entry["_TRANSPORT"] == "journal" and entry["_COMM"] == "nefs"


def test_a_refusal_is_found(result):
    for name in ("unit", "background"):
        entry, = [entry for entry in records(result, name) if entry.get("EVENT") == "refused"]
        assert entry["NEFS_FILE"] == "vcpus" and entry["ENCLAVE"] == "web" and entry["ERRNO"] == "22"


def test_the_unit_logs_once(result):
    """Its stderr is a stream to the journal: what goes there by fields does not go there again."""
    messages = [entry["MESSAGE"] for entry in records(result, "unit")]
    text = [line for line in (result / "unit.text").read_text().splitlines()
            if line.startswith(("nefs: ", "web: "))]
    assert text == messages
    assert {entry["_SYSTEMD_UNIT"] for entry in records(result, "unit")} == {"nefs.service"}


def test_why_it_ended(result):
    messages = [entry["MESSAGE"] for entry in records(result, "unit")]
    assert messages[-2:] == ["nefs: ending: SIGTERM from process 1 (systemd), user 0", "nefs: ended"]
    assert sum("SIGHUP" in message for message in messages) == 1
    messages = [entry["MESSAGE"] for entry in records(result, "background")]
    assert messages[-2:] == ["nefs: ending: /run/background was unmounted", "nefs: ended"]


def test_systemctl_status_says_what_it_serves(result):
    assert (result / "status").read_text() == "Serves /run/nefs\n"
