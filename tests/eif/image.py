# SPDX-License-Identifier: GPL-2.0-or-later
"""EIF by hand: read and written from the facts, sharing nothing with the tool's code."""
import hashlib
import struct
import subprocess
import zlib

KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = 1, 2, 3, 4, 5
ALGORITHMS = {"P-256": (-7, "sha256", 32), "P-384": (-35, "sha384", 48),
              "P-521": (-36, "sha512", 66)}


def pack(sections, version=4, flags=0):
    """The bytes of an image with these (type, data) sections."""
    body, offsets, sizes = b"", [], []
    for kind, data in sections:
        offsets.append(548 + len(body))
        sizes.append(len(data))
        body += struct.pack(">HHQ", kind, 0, len(data)) + data
    unused = [0] * (32 - len(sections))
    header = struct.pack(">4sHHQQHH32Q32QI", b".eif", version, flags, 1 << 30, 2, 0,
                         len(sections), *offsets, *unused, *sizes, *unused, 0)
    return header + struct.pack(">I", zlib.crc32(body, zlib.crc32(header))) + body


def unpack(image):
    """The (type, data) sections of an image, its CRC checked."""
    count, = struct.unpack_from(">H", image, 26)
    sections = []
    end = 548
    for i in range(count):
        offset, = struct.unpack_from(">Q", image, 28 + 8 * i)
        size, = struct.unpack_from(">Q", image, 284 + 8 * i)
        assert offset == end, "sections follow each other without gaps"
        kind, flags, own_size = struct.unpack_from(">HHQ", image, offset)
        assert (flags, own_size) == (0, size)
        end = offset + 12 + size
        sections.append((kind, image[offset + 12:end]))
    assert end == len(image)
    crc, = struct.unpack_from(">I", image, 544)
    assert crc == zlib.crc32(image[548:], zlib.crc32(image[:544]))
    return sections


def extend(data):
    return hashlib.sha384(bytes(48) + hashlib.sha384(data).digest())


def pcrs(sections):
    """PCR0, PCR1, PCR2 as hex."""
    measured = [(k, d) for k, d in sections if k in (KERNEL, CMDLINE, RAMDISK)]
    ramdisks = [d for k, d in measured if k == RAMDISK]
    boot = b"".join(d for k, d in measured if k != RAMDISK)
    return [extend(b"".join(d for _, d in measured)).hexdigest(),
            extend(boot + b"".join(ramdisks[:1])).hexdigest(),
            extend(b"".join(ramdisks[1:])).hexdigest()]


# --- CBOR, as much of it as a signature section needs ---

def head(major, value):
    if value < 24:
        return bytes([major << 5 | value])
    for code, size in ((24, 1), (25, 2), (26, 4)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | code]) + value.to_bytes(size, "big")
    raise ValueError(value)


def cbor(value):
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(cbor, value))
    return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


def parse(data, at=0):
    """One item, and where it ends."""
    major, value = data[at] >> 5, data[at] & 31
    at += 1
    if value >= 24:
        size = {24: 1, 25: 2, 26: 4}[value]
        value = int.from_bytes(data[at:at + size], "big")
        at += size
    if major == 0:
        return value, at
    if major == 1:
        return -1 - value, at
    if major in (2, 3):
        raw = data[at:at + value]
        return (raw if major == 2 else raw.decode()), at + value
    if major == 4:
        items = []
        for _ in range(value):
            item, at = parse(data, at)
            items.append(item)
        return items, at
    assert major == 5
    pairs = {}
    for _ in range(value):
        key, at = parse(data, at)
        pairs[key], at = parse(data, at)
    return pairs, at


def to_der(raw):
    half = len(raw) // 2

    def integer(number):
        text = int.from_bytes(number, "big")
        text = text.to_bytes(text.bit_length() // 8 + 1, "big")
        return bytes([2, len(text)]) + text

    body = integer(raw[:half]) + integer(raw[half:])
    return (bytes([0x30, len(body)]) if len(body) < 128 else bytes([0x30, 0x81, len(body)])) + body


def from_der(der, half):
    at = 3 if der[1] == 0x81 else 2
    numbers = []
    for _ in range(2):
        assert der[at] == 2
        numbers.append(int.from_bytes(der[at + 2:at + 2 + der[at + 1]], "big"))
        at += 2 + der[at + 1]
    return b"".join(n.to_bytes(half, "big") for n in numbers)


def payload(sections):
    return cbor({"register_index": 0, "register_value": list(bytes.fromhex(pcrs(sections)[0]))})


def signature_section(sections, key, certificate, curve, tag=b""):
    """The section that signs these sections, made with openssl."""
    alg, digest, half = ALGORITHMS[curve]
    protected = cbor({1: alg})
    text = cbor(["Signature1", protected, b"", payload(sections)])
    der = subprocess.run(["openssl", "dgst", f"-{digest}", "-sign", key], input=text,
                         stdout=subprocess.PIPE, check=True).stdout
    cose = tag + cbor([protected, {}, payload(sections), from_der(der, half)])
    return cbor([{"signing_certificate": list(certificate.read_bytes()), "signature": list(cose)}])
