# SPDX-License-Identifier: GPL-2.0-or-later
"""
One user against all others: suite hostile, or, while working on it, as root and after a build with its benchmarks
(ninja -C build meson-benchmark-prereq),

    NEFS_BUILD=$PWD/build python3 -B -m pytest -s tests/hostile

NEFS_HOSTILE_SECONDS is how long each abuse lasts (default 3). The fixtures are those of tests/fs.
"""
import importlib.util
import os
import sys

FS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../fs")
sys.path.insert(0, FS)
# Its conftest.py has this file's name.
spec = importlib.util.spec_from_file_location("fs_conftest", os.path.join(FS, "conftest.py"))
fs_conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(fs_conftest)

pytest_configure = fs_conftest.pytest_configure
pytest_sessionstart = fs_conftest.pytest_sessionstart
bounded = fs_conftest.bounded
new_mount = fs_conftest.new_mount

# What test_abuses.py measured, for the table at the end: a line each.
TABLE = []


def pytest_terminal_summary(terminalreporter):
    for line in TABLE:
        terminalreporter.write_line(line)
