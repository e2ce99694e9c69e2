# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is on a mount, for the model: users, directories, files, and what is open."""
from images import Image

READ, WRITE, EXEC = 4, 2, 1
O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC = 0o1, 0o2, 0o100, 0o200, 0o1000
O_APPEND, O_NONBLOCK, O_DIRECTORY = 0o2000, 0o4000, 0o200000
NOREPLACE, EXCHANGE = 1, 2
POLLIN, POLLPRI, POLLOUT, POLLERR, POLLHUP = 1, 2, 4, 8, 16

SETTINGS = ("memory", "vcpus", "cpus", "cid", "debug", "boot_timeout")
UNSET = {"memory": b"", "vcpus": b"", "cpus": b"", "image": b"", "cid": b"0\n", "debug": b"0\n",
         "boot_timeout": b"0\n"}
POLLED = {"pending", "memory.effective", "cpus.effective", "cid.effective", "slot", "state", "events", "error"}
ENCLAVE_ROWS = {"memory": 0o644, "vcpus": 0o644, "cpus": 0o644, "image": 0o600, "cid": 0o644, "debug": 0o644,
                "boot_timeout": 0o644, "start": 0o644, "pending": 0o444, "wait": 0o444,
                "memory.effective": 0o444, "cpus.effective": 0o444, "cid.effective": 0o444, "slot": 0o444,
                "state": 0o444, "events": 0o444, "journal": 0o444, "console": 0o400, "error": 0o444,
                "journal.follow": 0o444, "console.follow": 0o400, "measurements": 0o444, "image_info": 0o444}
STREAMS = {"journal.follow", "console.follow"}
LOGS = {"journal", "console"}
OLDER = {"journal.1", "console.1"}
SETTABLE = set(SETTINGS) | {"image", "start"}
ROOT_ROWS = {"version": 0o444, "backend": 0o444, "events": 0o444, "journal": 0o440, "error": 0o440,
             "journal.follow": 0o440}
SIM_ROWS = {"crash": 0o200, "fault": 0o644, "slots": 0o444}
COUNTERS = ("starts", "stops", "failures", "crashes", "restarts")
STAGED_MAX = 64
PAGE = 4096  # of the spool's filesystem, which is a tmpfs


class Any:
    """Whatever the mount gives, if it is one of these; nothing: anything at all."""

    def __init__(self, *values, check=None):
        self.values = values
        self.check = check

    def matches(self, value):
        return (not self.values or value in self.values) and (self.check is None or self.check(value))

    def __repr__(self):
        return f"one of {self.values}" if self.values else "anything"


class User:
    def __init__(self, name, uid, groups):
        self.name = name
        self.uid = self.gid = uid
        self.groups = {uid, *groups}
        self.slots = {}

    def may(self, node, bits):
        if self.uid == 0:
            return not bits & EXEC or node.is_dir or bool(node.mode & 0o111)
        shift = 6 if self.uid == node.uid else 3 if node.gid in self.groups else 0
        return node.mode >> shift & bits == bits

    def owns(self, node):
        return self.uid in (0, node.uid)


class Node:
    is_dir = False
    staged = None

    def inside(self):
        return []

    def __init__(self, model, directory, name, mode, uid, gid):
        self.directory, self.name = directory, name
        self.mode, self.uid, self.gid = mode, uid, gid
        # A time is nanoseconds that were set, an interval in which it was taken, or None: not looked at.
        self.mtime = self.atime = model.now
        self.handles = []
        self.generation = 0  # of the files that have had this name


class Row(Node):
    def __init__(self, model, directory, name, mode, uid, gid):
        super().__init__(model, directory, name, mode, uid, gid)
        self.hidden = False
        self.settable = name in SETTABLE and isinstance(directory, Enclave)
        self.writable = self.settable or name in ("crash", "fault") and directory.name == "sim"
        if UNSET.get(name) == b"" and self.settable:
            self.mtime = 0

    def touched(self):
        """It has changed by itself: who polls it sees that until the next read."""
        for handle in self.handles:
            handle.dirty = True


class Content:
    """The bytes of a staged file or of an image, which may be shared. What fits into a page takes nothing of the spool."""

    def __init__(self, uid, data=b""):
        self.uid = uid  # for whom it counts
        self.data = bytearray(data)
        self.pages = None  # those that the spool has of it, by number; or it is in memory

    def taken(self):
        return PAGE * len(self.pages or ())

    def needs(self, size, offset):
        """What the spool must have room for before such a write, at most."""
        end = offset + size
        if self.pages is None and end <= PAGE:
            return 0
        touched = round_up(end) - offset // PAGE * PAGE + (PAGE if self.pages is None and offset else 0)
        return max(0, min(touched, round_up(max(end, len(self.data))) - self.taken()))

    def move(self, size):
        """It is to have this size."""
        if self.pages is None and size > PAGE:
            self.pages = {0} if self.data else set()
        elif size <= PAGE:
            self.pages = None

    def write(self, data, offset):
        end = offset + len(data)
        self.move(max(end, len(self.data)) if self.pages is not None else end)
        if self.pages is not None:
            self.pages |= set(range(offset // PAGE, (end - 1) // PAGE + 1))
        if offset > len(self.data):
            self.data += bytes(offset - len(self.data))
        self.data[offset:end] = data

    def resize(self, size):
        self.move(size)
        if self.pages is not None:
            self.pages = {page for page in self.pages if page * PAGE < size}
        del self.data[size:]
        self.data += bytes(size - len(self.data))


class Staged(Node):
    staged = True

    def __init__(self, model, directory, name, mode, uid, gid, content=None):
        super().__init__(model, directory, name, mode, uid, gid)
        self.content = content or Content(uid)
        self.backup = content is not None


class Directory(Node):
    is_dir = True

    def __init__(self, model, directory, name, mode, uid, gid):
        super().__init__(model, directory, name, mode, uid, gid)
        self.rows = {}
        self.entries = {}
        self.removed = False

    def find(self, name):
        row = self.rows.get(name)
        if row:
            return None if row.hidden else row
        return self.entries.get(name)

    def inside(self):
        return list(self.entries.values())

    def home(self):
        """The enclave or root whose `error` tells of this directory."""
        return self

    def told(self, name):
        return name

    def listing(self):
        return {name for name, row in self.rows.items() if not row.hidden and name not in STREAMS} | \
            set(self.entries)

    def links(self):
        return 2 + sum(node.is_dir for node in self.entries.values())


class Part(Directory):
    """A directory that has no `error` of its own: sim, and those that tools make."""

    def home(self):
        return self.directory

    def told(self, name):
        return f"{self.name}/{name}"


class WithError(Directory):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.error, self.about = b"", None
        self.error_open = False  # the model does not know its text yet
        self.expects_error = self.errors_several = False
        self.records = []  # what its journal tells, without what cannot be foretold


class Enclave(WithError):
    def __init__(self, model, root, name, mode, uid, gid):
        super().__init__(model, root, name, mode, uid, gid)
        self.rows = {row: Row(model, self, row, bits, uid, gid) for row, bits in ENCLAVE_ROWS.items()}
        self.texts, self.values = {}, {}
        self.image = Image()
        self.applied, self.applied_image = None, None
        self.state = "init"
        self.counters = dict.fromkeys(COUNTERS, 0)
        self.start_text = None
        self.grant = None
        self.pending_was = set()

    @property
    def active(self):
        return self.state == "running"

    def value(self, setting):
        return self.values.get(setting, frozenset() if setting == "cpus" else 0)

    def pending(self):
        if self.applied is None:
            return set()
        found = {setting for setting in SETTINGS if self.value(setting) != self.applied[setting]}
        if self.image.file is not self.applied_image:
            found.add("image")
        return found

    def compare(self):
        now = self.pending()
        if now != self.pending_was:
            self.rows["pending"].touched()
        self.pending_was = now


class Handle:
    def __init__(self, node, flags):
        self.node, self.flags = node, flags
        self.dirty = True
        self.text = None      # what a read at the beginning has given
        self.position = 0     # None: it appends, and only the kernel knows
        self.serial = -1      # of the image that it has written to
        self.truncate = False
        self.gone = False
        self.amid = False     # a short read of a stream may have ended in a line
        self.moved = False    # it was a setting's that was renamed away: the kernel knows it by an id that is no more
        node.handles.append(self)

    @property
    def writes(self):
        return bool(self.flags & 3)


def round_up(size):
    return -(-size // PAGE) * PAGE


def json_lines(data, amid=False):
    """Whole lines; amid one at first, perhaps."""
    return data == b"" or (amid or data.startswith(b"{")) and data.endswith(b"}\n")


def json_object(data):
    return data.startswith(b"{") and data.endswith(b"}\n")
