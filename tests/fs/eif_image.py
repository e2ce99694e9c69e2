# SPDX-License-Identifier: GPL-2.0-or-later
"""Enclave images small enough for thousands of starts (docs/facts/eif.md §1-3)."""
import hashlib
import json
import os
import struct
import zlib

KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = 1, 2, 3, 4, 5
HEADER_SIZE = 548
SECTIONS_MAX = 32
CRC_OFFSET = 544

METADATA_JSON = json.dumps({
    "ImageName": "test", "ImageVersion": "1",
    "BuildMetadata": {"BuildTime": "2024-01-01T00:00:00Z", "BuildTool": "tests",
                      "BuildToolVersion": "1", "OperatingSystem": "Linux", "KernelVersion": "6.1"},
    "DockerInfo": {}, "CustomMetadata": None}).encode()


def bzimage(filler=b"\0"):
    """The smallest thing that looks like an x86_64 kernel."""
    kernel = bytearray(filler * 0x210)[:0x210]
    kernel[0x202:0x206] = b"HdrS"
    return bytes(kernel)


def build(kernel=None, cmdline=b"console=ttyS0", ramdisks=(b"RAMDISK1", b"RAMDISK2"),
          metadata=METADATA_JSON, version=4, flags=0, sections=None):
    """An EIF in the order of the AWS builder. `sections`, a list of (type, data), replaces all."""
    if sections is None:
        sections = [(KERNEL, bzimage() if kernel is None else kernel), (CMDLINE, cmdline),
                    (METADATA, metadata)]
        sections += [(RAMDISK, ramdisk) for ramdisk in ramdisks]
    offsets, body = [], b""
    for kind, data in sections:
        offsets.append(HEADER_SIZE + len(body))
        body += struct.pack(">HHQ", kind, 0, len(data)) + data
    sizes = [len(data) for _, data in sections]
    padding = [0] * (SECTIONS_MAX - len(sections))
    header = struct.pack(">4sHHQQHH", b".eif", version, flags, 1 << 30, 2, 0, len(sections))
    header += struct.pack(">32Q", *(offsets + padding))
    header += struct.pack(">32Q", *(sizes + padding))
    header += struct.pack(">I", 0)
    crc = zlib.crc32(body, zlib.crc32(header))
    return header + struct.pack(">I", crc) + body


def with_crc(image):
    """The same bytes with the CRC that fits them: the lie is elsewhere then."""
    head, tail = image[:CRC_OFFSET], image[CRC_OFFSET + 4:]
    return head + struct.pack(">I", zlib.crc32(tail, zlib.crc32(head))) + tail


def patched(image, offset, data):
    """The image with some bytes replaced and a CRC that fits."""
    return with_crc(image[:offset] + data + image[offset + len(data):])


def padded(size):
    """A valid image of at least `size` bytes."""
    return build(ramdisks=(b"RAMDISK1", bytes(range(256)) * (size // 256 + 1)))


# An image of this size takes minutes to read, and no bytes on the disk; one that no machine holds is not read at all.
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
LARGE = min(MACHINE // 2, 16 << 30) & -(2 << 20)


def sparse_head(size):
    """The beginning of an image of so many bytes, the rest of which are zeros. Its CRC is wrong: known at its end."""
    small = build(ramdisks=(b"",))
    ramdisk = size - len(small)
    image = bytearray(small)
    struct.pack_into(">Q", image, 284 + 8 * 3, ramdisk)  # its size in the header, and in its own
    struct.pack_into(">Q", image, len(small) - 8, ramdisk)
    return bytes(image)


def measurements(kernel=None, cmdline=b"console=ttyS0", ramdisks=(b"RAMDISK1", b"RAMDISK2")):
    """The text that `measurements` must show for build() with the same arguments."""
    kernel = bzimage() if kernel is None else kernel

    def pcr(*parts):
        inner = hashlib.sha384(b"".join(parts)).digest()
        return hashlib.sha384(bytes(48) + inner).hexdigest()

    values = (pcr(kernel, cmdline, *ramdisks), pcr(kernel, cmdline, ramdisks[0]),
              pcr(*ramdisks[1:]))
    return "".join(f"PCR{i} {value}\n" for i, value in enumerate(values)).encode()


SMALL = build()
