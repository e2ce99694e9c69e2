# SPDX-License-Identifier: GPL-2.0-or-later
"""
nefs in the hands of programs that nobody told about it. They run in a Debian tree that has them:
scripts/test tools, or, while working on one file,

    NEFS_BUILD=$PWD/build scripts/tools-tree python3 -B -m pytest $PWD/tests/tools/test_copying.py

What stands here is what a user of the tool expects of any directory of files; docs/interface.md promises it.
"""
import importlib.util
import os
import sys

import pytest

FS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../fs")
sys.path.insert(0, FS)
# The fixtures of the fs suite; its conftest.py has this file's name.
spec = importlib.util.spec_from_file_location("fs_conftest", os.path.join(FS, "conftest.py"))
fs_conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fs_conftest)

pytest_configure = fs_conftest.pytest_configure
pytest_sessionstart = fs_conftest.pytest_sessionstart
bounded = fs_conftest.bounded

import eif_image  # noqa: E402
from nefs_mount import Mount  # noqa: E402


@pytest.fixture
def mount(bounded):
    """A nefs of the test's own."""
    with Mount() as mount:
        yield mount


@pytest.fixture
def web(mount):
    """An enclave, nothing set."""
    return mount.enclave("web")


@pytest.fixture
def running(web):
    """An enclave that runs."""
    return web.running()


@pytest.fixture
def eif(tmp_path):
    """An image as somebody built it, some time ago."""
    path = tmp_path / "web.eif"
    path.write_bytes(eif_image.SMALL)
    os.utime(path, (1700000000, 1700000000))
    return path


@pytest.fixture
def declared(tmp_path, eif):
    """A directory that says what an enclave is to be: what a user keeps in git and copies."""
    path = tmp_path / "declared"
    path.mkdir()
    for name, value in (("memory", b"64M\n"), ("vcpus", b"2\n"), ("image", eif_image.SMALL)):
        (path / name).write_bytes(value)
        (path / name).chmod(0o600 if name == "image" else 0o644)
        os.utime(path / name, (1700000000, 1700000000))
    return path
