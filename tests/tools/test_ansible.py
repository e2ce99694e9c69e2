# SPDX-License-Identifier: GPL-2.0-or-later
"""Ansible: the modules that come with it. A second run changes nothing, whether the enclave runs or not."""
import json
import mmap
import os
import re

import pytest

from nefs_mount import Enclave
from program import shell, tool

HERE = os.path.dirname(os.path.abspath(__file__))
QUIET = {"ANSIBLE_LOCALHOST_WARNING": "False", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "False",
         "ANSIBLE_BECOME_METHOD": "su", "ANSIBLE_RETRY_FILES_ENABLED": "False",
         "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3", "ANSIBLE_REMOTE_TMP": "/tmp/.ansible-remote"}

pytestmark = pytest.mark.limit(300)


def play(book, *options, status=0, **values):
    """ansible-playbook's (changed, failed), and what it printed."""
    text = tool("ansible-playbook", *options, "-e", json.dumps({key: str(value) for key, value in values.items()}),
                f"{HERE}/ansible/{book}.yml", env=QUIET, bound=120, status=status)
    recap = re.search(r"changed=(\d+) .*failed=(\d+)", text)
    assert recap, text
    return int(recap[1]), int(recap[2]), text


def test_changed_settings_restart(mount, eif):
    """The first run makes and starts it; the second changes nothing; a setting restarts it, once."""
    enclave = Enclave(mount, "web")
    site = {"web": enclave.path(), "eif": eif, "memory": "64M"}
    changed, failed, _ = play("site", **site)
    assert (changed > 0, failed) == (True, 0)
    assert enclave.state == "running"
    changed, failed, text = play("site", **site)
    assert (changed, failed) == (0, 0), text

    starts = enclave.events()["starts"]
    site["memory"] = "128M"
    changed, failed, text = play("site", "--check", "--diff", **site)
    assert "-64M" in text and "+128M" in text and failed == 0
    assert enclave.get("memory") == b"64M\n" and enclave.events()["starts"] == starts
    changed, failed, text = play("site", "--diff", **site)
    assert (changed, failed) == (2, 0), text  # the value, the handler
    assert enclave.state == "running" and enclave.events()["starts"] == starts + 1
    assert int(enclave.get("memory.effective")) == 128 << 20
    for options in ((), ("--check", "--diff")):
        changed, failed, text = play("site", *options, **site)
        assert (changed, failed) == (0, 0), text
    assert enclave.events()["starts"] == starts + 1


@pytest.fixture
def sources(tmp_path):
    """What a role has in templates/ and files/."""
    for name, text in (("memory.j2", "{{ size }}M\n"), ("fragments/10-on", "1\n"), ("values/vcpus", "2\n"),
                       ("values/memory", "256M\n")):
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "sources"


def test_modules_that_write(mount, eif, sources):
    """template, lineinfile, replace, assemble, copy of a directory, with backup and validate, file, touch."""
    enclave = mount.enclave("web")
    values = {"web": enclave.path(), "eif": eif, "sources": sources}
    changed, failed, text = play("modules", **values)
    assert failed == 0 and changed > 8, text
    assert enclave.get("memory") == b"256M\n" and enclave.get("vcpus") == b"2\n"
    assert enclave.get("cpus").strip() == b"2-3" and enclave.get("debug").strip() == b"1"
    assert enclave.get("boot_timeout").strip() == b"30" and enclave.mode("boot_timeout") == 0o640
    assert [name for name in enclave.listing() if re.match(r"cid\.\d+\.", name)], "there is no backup of cid"
    changed, failed, text = play("modules", **values)
    assert (changed, failed) == (0, 0), text
    enclave.set("vcpus", b"2\n")
    assert enclave.start() == "OK", enclave.error
    changed, failed, text = play("modules", **values)
    assert (changed, failed) == (0, 0), f"on one that runs: {text}"


def test_modules_that_read(running):
    """stat, slurp, find with contains, fetch, assert."""
    changed, failed, text = play("read", web=running.path(), root=running.mount.path(),
                                 size=os.stat(running.path("image")).st_size)
    assert failed == 0, text


def test_wait_for(running):
    """search_regex maps the file, which Linux and libfuse have to let it; what always does: to read `wait`."""
    with open(running.path("state"), "rb") as file:
        try:
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()
            status = 0
        except OSError:
            status = 2
    text = tool("ansible", "localhost", "-c", "local", "-m", "wait_for", "-a",
                f"path={running.path('state')} search_regex=^running timeout=5", env=QUIET, status=status)
    assert (status == 0) == ("SUCCESS" in text)
    text = tool("ansible", "localhost", "-c", "local", "-m", "command", "-a", f"cat {running.path('wait')}",
                env=QUIET)
    assert "running" in text


def test_a_refusal_can_be_read_afterwards(web):
    """A loop with one bad value goes on; what was wrong is in `error` and in the journal then."""
    changed, failed, text = play("loop", status=2, web=web.path())
    assert failed == 1 and (web.get("vcpus").strip(), web.get("debug").strip()) == (b"2", b"1"), text
    assert b"memory" in web.error and b"511K" in web.error, web.error
    assert b"511K" not in web.get("memory")
    refused, = [record for record in web.journal() if record["event"] == "refused"]
    assert refused["file"] == "memory" and "511K" in refused["error"]


def test_a_delegated_directory(mount, eif, tmp_path):
    """become_user: the directory is somebody's, who sets and starts."""
    shell("id team >/dev/null 2>&1 || useradd -m team")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    eif.chmod(0o644)
    enclave = Enclave(mount, "team")
    changed, failed, text = play("delegated", web=enclave.path(), eif=eif)
    assert failed == 0 and enclave.state == "running", text
    changed, failed, text = play("delegated", web=enclave.path(), eif=eif)
    assert (changed, failed) == (0, 0), text


def test_absent(web):
    """What runs is not removed; what was stopped is, and again is nothing to do."""
    web.running()
    changed, failed, text = play("absent", status=2, web=web.path())
    assert failed == 1 and web.state == "running"
    assert web.stop() == "OK"
    web.reaches("stopped")
    assert play("absent", web=web.path())[:2] == (1, 0)
    assert play("absent", web=web.path())[:2] == (0, 0)
    assert not os.path.exists(web.path())
