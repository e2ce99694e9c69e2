# SPDX-License-Identifier: GPL-2.0-or-later
"""The image as the model sees it: the one that stands, and the one that is being written beside it."""
import struct
import sys
from os.path import dirname, join

sys.path.insert(0, join(dirname(__file__), "..", "fs"))
import eif_image  # noqa: E402

HEAD = eif_image.HEADER_SIZE
LONGEST = 1 << 40

# Small ones, of lengths that differ and of the same one, and what their `measurements` say.
KINDS = [{"cmdline": b"console=ttyS0"}, {"cmdline": b"console=ttyS1"}, {"ramdisks": (b"A" * 3000, b"B")},
         {"ramdisks": (b"R" * 70000,)}]
IMAGES = [eif_image.build(**kind) for kind in KINDS]
VALID = {image: eif_image.measurements(**kind) for image, kind in zip(IMAGES, KINDS)}


def plausible(data):
    return data[:4] == b".eif"[:len(data)]


def length_of(head):
    """What the header says; 0 before all of it is there, None if no image can be like that."""
    if len(head) < HEAD:
        return 0
    count, = struct.unpack_from(">H", head, 26)
    if not 2 <= count <= 32:
        return None
    end = HEAD
    for index in range(count):
        start, = struct.unpack_from(">Q", head, 28 + 8 * index)
        size, = struct.unpack_from(">Q", head, 28 + 256 + 8 * index)
        if start + 12 + size > LONGEST:
            return None
        end = max(end, start + 12 + size)
    return end


class Draft:
    def __init__(self, content):
        self.content = content
        self.written = self.head = self.length = 0

    def write(self, data, offset):
        """False if its header turns out to be none."""
        self.content.write(data, offset)
        self.written += len(data)
        if offset > self.head or offset >= HEAD:
            return True
        self.head = max(self.head, offset + len(data))
        if self.head < HEAD:
            return True
        length = length_of(bytes(self.content.data[:HEAD]))
        self.length = length or 0
        return length is not None

    def is_long_enough(self):
        return bool(self.length) and len(self.content.data) >= self.length

    def is_whole(self):
        return self.is_long_enough() and self.written >= self.length


class Image:
    def __init__(self):
        self.file = None    # the one that stands
        self.draft = None
        self.serial = 0     # of the last that was begun
        self.stale = False  # emptied, and not written yet
        self.known = False  # its measurements have been looked at
        self.sound = True
        self.time = 0       # of the image that stands, while there is a draft
        self.dropped = None  # the errno by which the last draft was lost: its writer may go on

    @staticmethod
    def is_whole(data):
        length = length_of(data)
        return bool(length) and len(data) >= length

    def content(self):
        return self.file or self.draft and self.draft.content

    def startable(self):
        return self.draft is None and self.file is not None and bool(self.file.data) and \
            (self.sound or not self.known)

    def end(self, truncated):
        if truncated or self.stale:
            return 0
        content = self.draft.content if self.draft else self.file
        return len(content.data) if content else 0

    def replace(self, content):
        self.draft = None
        self.serial += 1
        self.file = content
        self.stale = False
        self.dropped = None

    def begin(self, draft):
        self.draft = draft
        self.serial += 1
        self.stale = False
        self.dropped = None

    def commit(self):
        self.file = self.draft.content
        self.draft = None
        self.stale = False
        self.dropped = None
