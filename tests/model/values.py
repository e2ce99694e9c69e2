# SPDX-License-Identifier: GPL-2.0-or-later
"""What an errno is to the model, and values as people write them."""
import re

MIB = 1 << 20
VCPUS_MAX = 65536


class Refused(Exception):
    """An errno. With a directory it is nefs that refuses it, in `error` and the journal; else the kernel."""

    def __init__(self, name, directory=None, about=None):
        super().__init__(name)
        self.name = name
        self.directory = directory
        self.about = about


NUMBER = re.compile(rb"0[xX][0-9a-fA-F]+|0(?![0-9xX])|[1-9][0-9]*")


def trim(text):
    if len(text) > 4096:
        raise Refused("E2BIG")
    if b"\0" in text:
        raise Refused("EINVAL")
    return text.strip(b" \t\n\v\f\r")


def scan(value):
    found = NUMBER.match(value)
    if not found:
        raise Refused("EINVAL")
    return int(found.group(), 0), value[found.end():]


def number(value, low, high):
    result, rest = scan(value)
    if rest:
        raise Refused("EINVAL")
    if not low <= result <= high:
        raise Refused("ERANGE")
    return result


def memory(value):
    result, rest = scan(value)
    if len(rest) > 1 or rest.upper() not in (b"", b"K", b"M", b"G", b"T"):
        raise Refused("EINVAL")
    result <<= 10 * b" KMGT".index(rest.upper() or b" ")
    if not 64 * MIB <= result < 1 << 64:
        raise Refused("ERANGE")
    if result % (2 * MIB):
        raise Refused("EINVAL")
    return result


def cpu_list(value):
    cpus = set()
    while value:
        first, value = scan(value)
        last = first
        if value[:1] == b"-":
            last, value = scan(value[1:])
        if max(first, last) >= VCPUS_MAX:
            raise Refused("ERANGE")
        if last < first or (value and value[:1] != b",") or value == b",":
            raise Refused("EINVAL")
        cpus |= set(range(first, last + 1))
        value = value[1:]
    return frozenset(cpus)


def cid(value):
    result = number(value, 0, 0xfffffffe)
    if result in (1, 2, 3):
        raise Refused("ERANGE")
    return result


PARSERS = {"memory": memory, "vcpus": lambda value: number(value, 1, VCPUS_MAX), "cpus": cpu_list, "cid": cid,
           "debug": lambda value: number(value, 0, 1),
           "boot_timeout": lambda value: number(value, 0, 0xffffffff // 1000)}


def parse(setting, text):
    return PARSERS[setting](trim(text))
