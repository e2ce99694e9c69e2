# SPDX-License-Identifier: GPL-2.0-or-later
"""enclave.py DIR IMAGE OTHER: an enclave from a Python program; OTHER is one that lacks everything."""
import errno
import json
import pathlib
import shutil
import sys

folder, image, other = map(pathlib.Path, sys.argv[1:])


def refusal(write, *args):
    try:
        write(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "OK"


def set_by_open(file, value):
    with open(file, "w") as stream:
        print(value, file=stream)


(folder / "memory").write_text("64M\n")
set_by_open(folder / "vcpus", 2)
set_by_open(folder / "cid", 17)
with open(folder / "debug", "r+") as stream:
    stream.write("1\n")
with open(folder / "boot_timeout", "wb", buffering=0) as stream:
    stream.write(b"30\n")
shutil.copyfile(image, folder / "image")
shutil.copy2(folder / "image", f"{image}.back")
(folder / "start").write_text("1\n")
told = {"wait": (folder / "wait").read_text().strip(), "state": (folder / "state").read_text(),
        "events": (folder / "events").read_text(), "measurements": (folder / "measurements").read_text()}
with open(folder / "journal") as stream:
    told["journal"] = [json.loads(line)["event"] for line in stream]
told["refused"] = refusal((folder / "memory").write_text, "64MB\n")
told["unset"] = refusal(set_by_open, other / "start", 1)
print(json.dumps(told))
