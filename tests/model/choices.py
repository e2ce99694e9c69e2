# SPDX-License-Identifier: GPL-2.0-or-later
"""Random operations that make sense often enough: what is chosen depends on what there is by the model."""
from images import IMAGES
from tree import (ENCLAVE_ROWS, EXCHANGE, NOREPLACE, O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NONBLOCK, O_RDWR,
                  O_TRUNC, O_WRONLY, SETTINGS, STREAMS)

ENCLAVES = ["a", "b2", "c-3"]
ODD_NAMES = [".x", "-y", "sp ace", "x" * 65, "events", "journal", "sim", "journal.follow"]
STAGED = [".t1", "T2", "memry", "s.3", ".memory.x", "restart"]
PARTS = ["D1", ".d2"]
MODES = [0o755, 0o750, 0o700, 0o770, 0o777, 0o1777, 0o555, 0o711]
FILE_MODES = [0o644, 0o644, 0o600, 0o664, 0o666, 0o444, 0o400, 0o755, 0]
VALUES = {
    "memory": [b"64M\n", b"64M", b"128M\n", b"67108864", b"0x4000000\n", b" 64m\t", b"63M", b"65M\n", b"junk", b"064M",
               b"4T", b"99999999999999999999", b"64M\0", b"\n", b"0", b"64 M", b"64MM", b"66M", b"6" * 4097],
    "vcpus": [b"2\n", b"2", b"4\n", b"2\n", b"0x2", b"3", b"0", b"02", b"two", b"65537", b"\n", b"-2"],
    "cpus": [b"\n", b" ", b"2-3\n", b"2,3", b"3,2\n", b"4-7", b"6-7\n", b"2-", b"3-2", b"2,,3", b"65536", b"0-1", b"2"],
    "cid": [b"0\n", b"0", b"16\n", b"16", b"17", b"3", b"4294967294", b"4294967295", b"0x10", b"010", b"x"],
    "debug": [b"0\n", b"1\n", b"1", b"2", b"yes", b"0"],
    "boot_timeout": [b"0\n", b"60\n", b"60", b"0x3c", b"99999999", b"-1", b"1.5"],
    "start": [b"1\n", b"1", b"1\n", b"0\n", b"0", b"0x1\n", b"2", b"on", b"\n"],
    "fault": [b"\n", b"\n", b"nonsense"],
}


class Choices:
    def __init__(self, random, model):
        self.random, self.model = random, model
        self.queue = []

    def pick(self, *lists):
        return self.random.choice([one for some in lists for one in some])

    def often(self, chance):
        return self.random.random() < chance

    # ---- names ----

    def enclave(self):
        found = [one.name for one in self.model.enclaves()]
        return self.pick(found) if found and self.often(0.95) else self.pick(ENCLAVES)

    def part(self):
        """An enclave, or a directory in one."""
        name = self.enclave()
        return f"{name}/{self.pick(PARTS)}" if self.often(0.15) else name

    def setting(self):
        return f"{self.enclave()}/{self.pick(SETTINGS, ['image', 'image', 'start'])}"

    def row(self):
        rows = [name for name in ENCLAVE_ROWS if name != "image_info"]
        return f"{self.enclave()}/{self.pick(rows)}"

    def staged(self):
        return f"{self.part()}/{self.pick(STAGED)}"

    def there(self):
        """A staged file that there is, if there is one."""
        found = [f"{one.name}/{name}" for one in self.model.enclaves() for name, node in one.entries.items()
                 if node.staged]
        found += [f"{one.name}/{part.name}/{name}" for one in self.model.enclaves()
                  for part in one.entries.values() if part.is_dir for name in part.entries]
        return self.pick(found) if found and self.often(0.8) else self.staged()

    def file(self):
        chance = self.random.random()
        if chance < 0.4:
            return self.setting()
        if chance < 0.6:
            return self.row()
        if chance < 0.9:
            return self.there()
        if chance < 0.95:
            return self.pick(["events", "error", "version", "journal", "journal.follow", "sim/crash", "sim/fault", "sim/slots",
                              "nothing"])
        return f"{self.part()}/{self.pick(PARTS)}"

    def name(self):
        """Anything that a path can be about."""
        chance = self.random.random()
        if chance < 0.75:
            return self.file()
        if chance < 0.85:
            return self.enclave()
        return f"{self.enclave()}/{self.pick(PARTS)}"

    # ---- what is written ----

    def content(self, path):
        name = path.rsplit("/", 1)[-1]
        if name == "image":
            return self.pick(IMAGES, IMAGES, [b"not an image", IMAGES[0][:700], IMAGES[1][:100], b""])
        if name == "crash":
            return self.pick(ENCLAVES).encode() + b"\n"
        if name in VALUES:
            good = VALUES[name][:5]
            return self.pick(good) if self.often(0.7) else self.pick(VALUES[name])
        return self.pick([b"64M\n", b"2\n", b"1\n", b"0\n", b"x", b"", b"y" * 5000], [b"1\n"], IMAGES)

    # ---- operations ----

    def next(self):
        """(user, operation, arguments...)"""
        while not self.queue:
            users = list(self.model.users)
            user = self.random.choices(users, weights=[3] + [2] * (len(users) - 1))[0]
            kind = self.random.choices(*zip(*KINDS))[0]
            for operation in getattr(self, "make_" + kind)(user):
                self.queue.append((user, *operation))
        return self.queue.pop(0)

    def slot(self):
        return self.random.randrange(4)

    def own_slot(self, user):
        found = list(self.model.users[user].slots)
        return self.pick(found) if found else self.slot()

    def flags(self):
        flags = self.pick([0, 0, O_WRONLY, O_RDWR])
        for flag, chance in ((O_CREAT, 0.3), (O_EXCL, 0.1), (O_TRUNC, 0.25), (O_APPEND, 0.1), (O_NONBLOCK, 0.15),
                             (O_DIRECTORY, 0.02)):
            if self.often(chance):
                flags |= flag
        if flags & O_DIRECTORY:
            flags &= ~O_CREAT  # EINVAL on some kernels
        return flags if flags & O_CREAT else flags & ~O_EXCL

    def make_open(self, user):
        path = self.file()
        flags = self.flags()
        if path.rsplit("/", 1)[-1] in STREAMS:
            flags |= O_NONBLOCK
        yield "open", self.slot(), path, flags, self.pick(FILE_MODES)

    def make_close(self, user):
        yield "close", self.own_slot(user)

    def make_put(self, user):
        """As a shell writes."""
        path, slot = self.pick([self.setting(), self.setting(), self.there(), "sim/crash", "sim/fault"]), self.slot()
        flags = O_WRONLY | self.pick([O_TRUNC, O_TRUNC | O_CREAT, 0, O_TRUNC | O_NONBLOCK, O_APPEND])
        yield "open", slot, path, flags, 0o644
        yield "pwrite", slot, self.content(path), 0
        yield "close", slot

    def make_ready(self, user):
        """All that a start needs, and the start."""
        enclave, slot = self.enclave(), self.slot()
        for name, value in (("memory", self.pick([b"64M\n", b"128M\n"])), ("vcpus", b"2\n"), ("cpus", b"\n"),
                            ("image", self.pick(IMAGES)), ("start", b"1\n")):
            yield "open", slot, f"{enclave}/{name}", O_WRONLY | O_TRUNC | O_CREAT, 0o644
            yield "pwrite", slot, value, 0
            yield "close", slot

    def make_crash(self, user):
        running = [one.name for one in self.model.enclaves() if one.active]
        if running:
            yield "open", 0, "sim/crash", O_WRONLY, 0
            yield "pwrite", 0, self.pick(running).encode(), 0

    def make_command(self, user):
        slot = self.slot()
        yield "open", slot, f"{self.enclave()}/start", O_WRONLY | self.pick([0, O_NONBLOCK]), 0
        yield "pwrite", slot, self.pick([b"1\n", b"0\n"]), 0

    def make_atomic(self, user):
        """As configuration tools write: a new file, its mode, a rename over the old one."""
        enclave, slot = self.part(), self.slot()
        name = self.pick(SETTINGS, ["image", "start", "memory", "state"])
        staged = f"{enclave}/.{name}.x" if name == "memory" else f"{enclave}/{self.pick(STAGED)}"
        yield "open", slot, staged, O_RDWR | O_CREAT | self.pick([O_EXCL, O_TRUNC]), self.pick(FILE_MODES)
        yield "pwrite", slot, self.content(name), 0
        if self.often(0.5):
            yield "chmod", staged, self.pick(FILE_MODES)
        if self.often(0.3):
            yield "utimens", staged, (self.random.randrange(1 << 60), self.random.randrange(1 << 60))
        if self.often(0.7):
            yield "close", slot
        yield "rename", staged, f"{enclave.split('/')[0]}/{name}", 0

    def make_pieces(self, user):
        """An image that comes in pieces, all of them or some, once or twice."""
        path, slot, image = f"{self.enclave()}/image", self.slot(), self.pick(IMAGES)
        if self.often(0.2):
            path = self.staged()
        yield "open", slot, path, O_RDWR | O_CREAT | self.pick([0, O_TRUNC]), 0o600
        at, step = 0, self.pick([100, 548, 600, 4096, 50000])
        while at < len(image) and not self.often(0.05):
            yield "pwrite", slot, image[at:at + step], at
            at += step
            if self.often(0.05):
                yield "ftruncate", slot, self.pick([0, len(image), 1000])
            if step < 600 and at > 2000:
                step = 50000
        if self.often(0.8):
            yield "close", slot

    def make_write(self, user):
        slot = self.own_slot(user)
        handle = self.model.users[user].slots.get(slot)
        name = handle.node.name if handle and handle.node.name else "x"
        offset = 0 if self.often(0.6) else self.pick([1, 100, 548, 3000, 70000])
        if name == "image":
            image = self.pick(IMAGES)
            data = image[offset:offset + self.pick([100, 1000, 100000])] or b"z"
            yield "pwrite", slot, self.pick([data] * 4, [b"not an image"]), offset
        else:
            yield "pwrite", slot, self.content(name), offset

    def make_read(self, user):
        slot = self.own_slot(user)
        handle = self.model.users[user].slots.get(slot)
        if handle and not handle.node.staged and handle.node.name in STREAMS and self.often(0.9):
            yield "read", slot, self.pick([100, 65536])
        else:
            yield "pread", slot, self.pick([400000, 400000, 5, 1]), 0 if self.often(0.8) else self.pick([1, 3, 600])

    def make_look(self, user):
        """Opens and reads."""
        slot, path = self.slot(), self.pick([self.row(), self.there(), self.setting()])
        if path.rsplit("/", 1)[-1] not in STREAMS:
            yield "open", slot, path, 0, 0
            yield "pread", slot, 400000, 0

    def make_poll(self, user):
        yield "poll", self.own_slot(user)

    def make_mmap(self, user):
        yield "mmap", self.own_slot(user)

    def make_fstat(self, user):
        yield "fstat", self.own_slot(user)

    def make_ftruncate(self, user):
        yield "ftruncate", self.own_slot(user), self.pick([0, 1, 100, 3000, len(IMAGES[0])])

    def make_truncate(self, user):
        yield "truncate", self.file(), self.pick([0, 0, 1, 100, len(IMAGES[0])])

    def make_stat(self, user):
        yield "stat", self.name()

    def make_listdir(self, user):
        yield "listdir", self.pick([self.part(), self.enclave(), "", "sim"])

    def make_mkdir(self, user):
        if len(self.model.enclaves()) < len(ENCLAVES) and self.often(0.6):
            yield "mkdir", self.pick(ENCLAVES), self.pick(MODES)
        elif self.often(0.8):
            name = self.pick(PARTS, PARTS, PARTS, STAGED, ["memory", "state"])
            yield "mkdir", f"{self.part()}/{name}", self.pick(MODES)
        else:
            yield "mkdir", self.pick(ODD_NAMES, ENCLAVES, ["sim/x"]), 0o755

    def make_rmdir(self, user):
        yield "rmdir", self.pick([f"{self.enclave()}/{self.pick(PARTS)}"] * 3, [self.enclave(), self.file(), "sim"])

    def make_unlink(self, user):
        yield "unlink", self.pick([self.there(), self.there(), self.file(), self.name()])

    def make_rename(self, user):
        flags = self.pick([0, 0, 0, NOREPLACE, EXCHANGE])
        there = self.there()
        enclave = there.split("/")[0]
        yield "rename", *self.pick([
            (there, f"{enclave}/{self.pick(STAGED, SETTINGS, PARTS, ['image', 'start', 'events', 'journal'])}"),
            (there, self.staged()), (self.setting(), self.staged()),
            (f"{enclave}/{self.pick(SETTINGS, ['image', 'start'])}", f"{enclave}/{self.pick(STAGED)}"),
            (f"{enclave}/{self.pick(SETTINGS)}", f"{enclave}/{self.pick(PARTS)}/{self.pick(STAGED)}"),
            (self.enclave(), self.pick(ENCLAVES, ODD_NAMES)), (self.name(), self.name()),
            (f"{enclave}/{self.pick(PARTS)}", f"{enclave}/{self.pick(PARTS, STAGED)}")]), flags

    def make_chmod(self, user):
        path = self.name()
        if not path.startswith("sim") and "/" in path or self.model.root.find(path) in self.model.enclaves():
            yield "chmod", path, self.pick(MODES if self.often(0.3) else FILE_MODES)

    def make_delegate(self, user):
        """Enclaves stay of use: whoever owns one, or root, opens it again."""
        yield "chmod", self.enclave(), self.pick([0o755, 0o777, 0o775, 0o1777])

    def make_chown(self, user):
        path = self.name()
        ids = [one.uid for one in self.model.users.values()]
        if not path.startswith("sim") and "/" in path or self.model.root.find(path) in self.model.enclaves():
            yield "chown", path, self.pick(ids, ids, [-1]), self.pick(ids, [self.model.GROUP])

    def make_utimens(self, user):
        path = self.file()
        if not path.startswith("sim") and "/" in path:
            yield "utimens", path, None if self.often(0.4) else (self.random.randrange(1 << 60),
                                                                 self.random.randrange(1 << 60))

    def make_refused(self, user):
        """What cannot be made, or is not there."""
        yield self.pick([("symlink", self.staged()), ("mknod", self.staged(), "fifo"), ("mknod", self.staged(), "file"),
                         ("link", self.name(), self.staged()), ("setxattr", self.file()), ("getxattr", self.file()),
                         ("symlink", "a/memory"), ("mknod", "new", "file"), ("link", "a/image", "b2/image")])


KINDS = [("open", 10), ("close", 4), ("put", 8), ("ready", 2), ("crash", 0.3), ("command", 2), ("atomic", 6),
         ("pieces", 3), ("write", 8), ("read", 8), ("look", 8), ("poll", 6), ("mmap", 2), ("fstat", 4),
         ("ftruncate", 1.5), ("truncate", 2), ("stat", 10), ("listdir", 4), ("mkdir", 4), ("rmdir", 2),
         ("unlink", 4), ("rename", 8), ("chmod", 2), ("delegate", 2), ("chown", 2), ("utimens", 2), ("refused", 3)]
