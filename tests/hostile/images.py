# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that cost more than they are worth."""
import eif_image


def nested(size, depth):
    """A valid image with so much metadata, which grows when it is indented: lists in lists."""
    ones = (size - 2 * depth) // 2
    return eif_image.build(metadata=b"[" * depth + b"1," * (ones - 1) + b"1" + b"]" * depth)


def wordy(size):
    """A valid image with so many bytes of metadata that are one word."""
    return eif_image.build(metadata=b'"' + b"a" * (size - 2) + b'"')
