# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that cost more than they are worth."""
import struct

import eif_image

# In the header of eif_image.build: the size of section N.
SIZES_OFFSET = 28 + 8 * eif_image.SECTIONS_MAX
SECTION_SIZE = struct.calcsize(">HHQ")


def sparse(size):
    """(head, length): the head of an image with a ramdisk of so many bytes, of which none is there."""
    image = bytearray(eif_image.build(ramdisks=(b"",)))
    struct.pack_into(">Q", image, SIZES_OFFSET + 8 * 3, size)
    struct.pack_into(">Q", image, len(image) - 8, size)
    return bytes(image), len(image) + size


def nested(size, depth):
    """A valid image with so much metadata, which grows when it is indented: lists in lists."""
    ones = (size - 2 * depth) // 2
    return eif_image.build(metadata=b"[" * depth + b"1," * (ones - 1) + b"1" + b"]" * depth)


def wordy(size):
    """A valid image with so many bytes of metadata that are one word."""
    return eif_image.build(metadata=b'"' + b"a" * (size - 2) + b'"')
