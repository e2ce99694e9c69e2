# SPDX-License-Identifier: GPL-2.0-or-later
"""
One program in several languages, with what each of them has for files: it sets an enclave up, copies its
image in and back, starts it, reads what it has become, and is refused twice. languages/enclave.*
"""
import json
import os

import pytest

import eif_image
from nefs_mount import flat_keyed
from program import shell, tool

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "languages")
TOOLS = "cat cp dd sed tee tr printf".split()


def compiled(folder):
    tool("go", "build", "-o", folder / "enclave", f"{HERE}/enclave.go", bound=300,
         env={"GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"})
    return [folder / "enclave"]


def with_tools(folder, program):
    """A shell whose PATH has nothing but this multi-call program's tools; sed is Debian's where it has none."""
    path = folder / "bin"
    path.mkdir()
    has = tool(program, *(["--list"] if program == "busybox" else []), status=range(2)).replace(",", " ").split()
    for name in TOOLS:
        where = shell('command -v "$1"', program if name in has else name).strip()
        (path / name).symlink_to(where)
    interpreter = ["busybox", "sh"] if program == "busybox" else ["bash"]
    return ["/usr/bin/env", f"PATH={path}", shell('command -v "$1"', interpreter[0]).strip(), *interpreter[1:],
            f"{HERE}/enclave.sh"]


LANGUAGES = {
    "go": compiled,
    "python": lambda _: ["python3", "-B", f"{HERE}/enclave.py"],
    "node": lambda _: ["node", f"{HERE}/enclave.js"],
    "perl": lambda _: ["perl", f"{HERE}/enclave.pl"],
    "dash": lambda _: ["dash", f"{HERE}/enclave.sh"],
    "bash": lambda _: ["bash", f"{HERE}/enclave.sh"],
    "busybox": lambda folder: with_tools(folder, "busybox"),
    "uutils": lambda folder: with_tools(folder, "coreutils"),
}


@pytest.mark.limit(300)
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_enclave(mount, tmp_path, eif, language):
    web, other = mount.enclave("web"), mount.enclave("other")
    told = json.loads(tool(*LANGUAGES[language](tmp_path), web.path(), eif, other.path(), bound=120))
    assert told["wait"] == "running" and told["state"].strip() == "running"
    assert flat_keyed(told["events"].encode())["starts"] == 1
    assert told["measurements"].strip() == eif_image.measurements().decode().strip()
    assert told["journal"] == ["created", "starting", "running"]
    assert told["refused"] == told["unset"] == ("unknown" if language == "dash" else "EINVAL")
    assert web.get("image") == eif_image.SMALL and (tmp_path / "web.eif.back").read_bytes() == eif_image.SMALL
    assert web.get("memory") == b"64M\n" and web.get("cid.effective") == b"17\n"
    assert b"64MB" in web.error and other.state == "failed"


READERS = {
    "cat": "cat $1 >$2",
    "busybox": "busybox cat $1 >$2",
    "uutils": "coreutils cat $1 >$2",
    "dd": "dd status=none if=$1 of=$2",
    "cp": "cp $1 $2",
    "python": "python3 -c 'import shutil, sys; shutil.copyfile(*sys.argv[1:])' $1 $2",
    "bash": 'echo "$(<$1)" >$2',
}


@pytest.mark.parametrize("reader", READERS)
def test_wait_sleeps_for_each(mount, tmp_path, reader):
    """A slow start: whoever copies by sendfile, splice or copy_file_range waits as well."""
    web = mount.enclave("web").ready()
    mount.faults("ENCLAVE_START delay 1500")
    assert web.start(os.O_NONBLOCK) == "OK"
    assert web.state == "starting"
    shell(READERS[reader], web.path("wait"), tmp_path / "read")
    assert (tmp_path / "read").read_text().strip() == "running"
