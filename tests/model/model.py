# SPDX-License-Identifier: GPL-2.0-or-later
"""
The contract of docs/interface.md as a program: what each operation on a mounted nefs gives, and what is there
afterwards. It knows no mount. Where the contract is silent it says what the kernel and ordinary filesystems do.

Operations are tuples (user, name, arguments...); do() gives what they return, or the name of an errno. What
cannot be foretold, such as the text of a sentence, is a matcher, or is told to the model once it is there.
"""
import stat

from bounds import Bounds
from lives import Lives
from names import Names
from tree import (Any, COUNTERS, Enclave, Handle, LOGS, O_APPEND, O_CREAT, O_DIRECTORY, O_EXCL, O_NONBLOCK, O_RDWR,
                  O_TRUNC, O_WRONLY, POLLED, POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, Part, READ, ROOT_ROWS, Row,
                  SETTINGS, SIM_ROWS, STREAMS, WRITE, WithError, json_lines)
from values import Refused, number


class Model(Names, Lives, Bounds):
    CPUS = 8

    def __init__(self, users, root_mode, root_gid, limits):
        self.limits = limits
        self.told_of = set()  # users of whom it is no news that they have too many files open
        self.now = (0, 0)  # set before each operation: the clock before it and after it
        self.users = {user.name: user for user in users}
        self.root = WithError(self, None, "", root_mode, 0, root_gid)
        self.root.rows = {name: Row(self, self.root, name, mode, 0, 0 if "journal" in name else root_gid)
                          for name, mode in ROOT_ROWS.items()}
        self.root.counters = dict.fromkeys(COUNTERS, 0)
        self.sim = Part(self, self.root, "sim", 0o755, 0, root_gid)
        self.sim.rows = {name: Row(self, self.sim, name, mode, 0, root_gid) for name, mode in SIM_ROWS.items()}
        self.root.entries["sim"] = self.sim
        self.fault = b""
        self.errors_touched = []  # directories whose `error` has to be looked at
        self.unsettled = []       # enclaves about which the device or a worker has something to say
        self.crashed = None       # the enclave that just has
        self.inodes = {}          # st_ino: whose it was, or is

    def enclaves(self):
        return [node for node in self.root.entries.values() if isinstance(node, Enclave)]

    # ---- `error` ----

    def set_error(self, directory, about):
        """Some sentence about this file; None: that there is none."""
        home = directory.home()
        if home.removed:
            return
        home.about = about
        home.error_open = True
        home.expects_error = True
        self.errors_touched.append(home)

    def clear_error(self, home):
        if home.removed:
            return
        home.about = None
        home.error_open = True
        home.expects_error = False
        self.errors_touched.append(home)

    def accepted(self, directory, name):
        home = directory.home()
        if home.about is not None and home.about == directory.told(name):
            self.clear_error(home)

    def error_is(self, home, text):
        """What `error` says now. None if that fits, else what was to be."""
        home.error_open = False
        if bool(text) != home.expects_error:
            return "a sentence" if home.expects_error else "an empty file"
        if text != home.error:
            for handle in home.rows["error"].handles:
                handle.dirty = True
        elif home.errors_several:
            for handle in home.rows["error"].handles:
                handle.dirty = handle.dirty or None
        home.error = text
        return None

    # ---- open files ----

    def op_open(self, user, slot, path, flags, mode):
        if slot in user.slots:
            self.close(user, slot)
            self.forget_told()
        directory, name = self.walk(user, path)
        node = directory.find(name)
        if node and flags & O_CREAT and flags & O_EXCL:
            raise Refused("EEXIST")
        if node is None:
            if not flags & O_CREAT:
                raise Refused("ENOENT")
            node = self.make_file(user, directory, name, mode)
            try:
                self.check_open(user, node, bool(flags & 3))
            except Refused:
                self.unmake(node)
                raise
            handle = self.opened(node, flags)
            self.accepted(directory, name)
            self.staged_told(directory, name)
            user.slots[slot] = handle
            return
        if node.is_dir and flags & (3 | O_CREAT):
            raise Refused("EISDIR")
        if not node.is_dir and flags & O_DIRECTORY:
            raise Refused("ENOTDIR")
        bits = {0: READ, O_WRONLY: WRITE, O_RDWR: READ | WRITE}[flags & 3]
        if not user.may(node, bits | (WRITE if flags & O_TRUNC else 0)):
            raise Refused("EACCES")
        self.check_open(user, node, bool(flags & 3))
        if not node.staged and not node.writable and (flags & 3 or flags & O_TRUNC):
            raise Refused("EACCES", directory, name)
        user.slots[slot] = self.opened(node, flags)

    def opened(self, node, flags):
        handle = Handle(node, flags)
        if node.staged:
            if flags & O_TRUNC and not self.shared(node):
                node.content.resize(0)
                self.written(node)
        elif node.name == "image":
            handle.truncate = handle.writes and bool(flags & O_TRUNC)
        return handle

    def shared(self, staged):
        """Is its content that of an image, too, or of the backup that was made of it as an image?"""
        return any(staged.content in (one.image.file, one.applied_image) for one in self.enclaves()) or \
            any(staged.content is one.content for one in self.staged_files() if one is not staged)

    def staged_files(self):
        """All of them, those without a name that are open included."""
        for enclave in self.enclaves():
            for node in enclave.entries.values():
                yield from [node] if node.staged else node.inside()
        yield from self.nameless()

    def close(self, user, slot):
        handle = user.slots.pop(slot)
        if handle.gone:
            return
        if not handle.node.staged and handle.node.name == "image" and isinstance(handle.node.directory, Enclave):
            self.close_image_handle(handle)
        handle.node.handles.remove(handle)

    def op_close(self, user, slot):
        if slot not in user.slots:
            raise Refused("EBADF")
        self.close(user, slot)

    def handle(self, user, slot):
        if slot not in user.slots:
            raise Refused("EBADF")
        return user.slots[slot]

    @staticmethod
    def is_gone(handle):
        return handle.gone or not handle.node.staged and handle.node.directory.removed

    def op_pread(self, user, slot, size, offset):
        handle = self.handle(user, slot)
        node = handle.node
        if handle.flags & 3 == O_WRONLY:
            raise Refused("EBADF")
        if not node.staged and node.name in STREAMS:
            raise Refused("ESPIPE")
        if self.is_gone(handle):
            raise Refused("ENODEV")
        if node.staged:
            return bytes(node.content.data[offset:offset + size])
        if node.name == "image" and node.settable:
            return self.text(node)[offset:offset + size]
        if node.name in LOGS:
            return Any()
        if offset == 0 or handle.text is None:
            handle.text = self.text(node)
            handle.dirty = False
        if isinstance(handle.text, Any):
            return handle.text if offset == 0 and size > 300000 else Any()
        return handle.text[offset:offset + size]

    def op_read(self, user, slot, size):
        """From a stream, without sleeping."""
        handle = self.handle(user, slot)
        if handle.flags & 3 == O_WRONLY:
            raise Refused("EBADF")
        if self.is_gone(handle):
            raise Refused("ENODEV")
        if handle.node.name == "journal.follow":
            amid, handle.amid = handle.amid, size < 4096
            return Any(check=lambda got: got in ("EAGAIN", "EPIPE") or size < 4096 or json_lines(got, amid))
        return "EAGAIN" if handle.node.directory.state == "init" or self.prints(handle.node.directory) else b""

    @staticmethod
    def prints(enclave):
        return enclave.active and bool(enclave.applied["debug"])

    def op_pwrite(self, user, slot, data, offset):
        handle = self.handle(user, slot)
        node = handle.node
        if not node.staged and node.name in STREAMS:
            raise Refused("ESPIPE")
        if not handle.writes:
            raise Refused("EBADF")
        if not data:
            return 0
        if self.is_gone(handle):
            raise Refused("ENODEV")
        if node.staged:
            if self.shared(node):
                raise Refused("EBUSY")
            offset = len(node.content.data) if handle.flags & O_APPEND else offset
            if not self.may_write(node.content, len(data), offset):
                raise Refused("EDQUOT", node.directory if node.name else None, node.name)
            node.content.write(data, offset)
            self.written(node)
            return len(data)
        if node.name == "image":
            failed = self.write_image(user, node.directory, handle, data, offset)
            if failed:
                raise Refused(failed, node.directory, "image")
            self.accepted(node.directory, "image")
        else:
            result = self.store(node.directory, node.name, data, bool(handle.flags & O_NONBLOCK))
            if isinstance(result, Any):
                return Any(*(len(data) if value == "OK" else value for value in result.values))
            if result:
                raise Refused(result)
        self.written(node)
        return len(data)

    def op_ftruncate(self, user, slot, size):
        handle = self.handle(user, slot)
        if not handle.writes:
            raise Refused("EINVAL")
        if handle.moved or handle.gone:
            raise Refused("ESTALE")
        if self.is_gone(handle):
            raise Refused("ENODEV")
        self.resize(handle.node, size)

    def op_truncate(self, user, path, size):
        node = self.find(user, path)
        if node.is_dir:
            raise Refused("EISDIR")
        if not user.may(node, WRITE):
            raise Refused("EACCES")
        self.resize(node, size)

    def resize(self, node, size):
        if node.staged:
            if self.shared(node):
                raise Refused("EBUSY")
            node.content.resize(size)
            self.written(node)
        elif not node.writable:
            raise Refused("EACCES", node.directory, node.name)
        elif node.name == "image":
            self.truncate_image(node.directory, size)
            self.accepted(node.directory, "image")

    def op_poll(self, user, slot):
        handle = self.handle(user, slot)
        node = handle.node
        if handle.gone:
            return POLLIN | POLLOUT | POLLERR | POLLHUP
        if node.staged:
            return POLLIN | POLLOUT
        if node.directory.removed:
            return POLLIN | POLLOUT | POLLERR | POLLPRI | POLLHUP
        if node.name in STREAMS:
            return Any()
        if node.name in LOGS or handle.dirty is None:
            return Any(POLLIN | POLLOUT, POLLIN | POLLOUT | POLLERR | POLLPRI)
        polled = node.name in POLLED and not (node.directory is self.root and node.name not in ("events", "error"))
        return POLLIN | POLLOUT | (POLLERR | POLLPRI if polled and handle.dirty else 0)

    def op_mmap(self, user, slot):
        """A private mapping, and all that can be read in it."""
        handle = self.handle(user, slot)
        node = handle.node
        if node.staged:
            return bytes(node.content.data)
        handle.dirty = False
        handle.text = Any()  # the pages may be there already, or be read for it
        return self.text(node)

    # ---- attributes ----

    def size(self, node):
        if node.is_dir:
            return 0
        if node.staged:
            return len(node.content.data)
        if node.name in STREAMS:
            return 1
        text = self.text(node)
        return None if isinstance(text, Any) else len(text)

    def attributes(self, node):
        kind = stat.S_IFDIR if node.is_dir else stat.S_IFREG
        size = self.size(node)
        # What changes by itself takes its time by itself.
        timed = node.staged or not node.is_dir and node.settable and node.name != "start"
        return {"ino": Any(check=lambda ino: self.is_ino(node, ino)), "mode": kind | node.mode,
                "uid": node.uid, "gid": node.gid, "size": Any() if size is None else size,
                "nlink": node.links() if node.is_dir else 1 if node.name is not None else 0,
                "mtime": node.mtime if timed else None, "atime": node.atime if timed else None}

    def is_ino(self, node, ino):
        """An inode's number is its own, always."""
        whose = (node, node.generation)
        known = [number for number, one in self.inodes.items() if one == whose]
        return self.inodes.setdefault(ino, whose) == whose and known in ([], [ino])

    def op_stat(self, user, path):
        return self.attributes(self.find(user, path))

    def op_fstat(self, user, slot):
        handle = self.handle(user, slot)
        return Any() if self.is_gone(handle) or handle.moved else self.attributes(handle.node)

    def op_listdir(self, user, path):
        node = self.find(user, path)
        if not node.is_dir:
            raise Refused("ENOTDIR")
        if not user.may(node, READ):
            raise Refused("EACCES")
        self.check_open(user, node, False, node)
        return frozenset(node.listing())

    def op_chmod(self, user, path, mode):
        node = self.find(user, path)
        if not user.owns(node):
            raise Refused("EPERM")
        node.mode = mode
        self.share(node)

    def share(self, node):
        """A stream is for whom its file is for."""
        if not node.is_dir and not node.staged and node.name in LOGS:
            stream = node.directory.rows[node.name + ".follow"]
            stream.mode, stream.uid, stream.gid = node.mode, node.uid, node.gid

    def op_chown(self, user, path, uid, gid):
        node = self.find(user, path)
        if user.uid != 0:
            if user.uid != node.uid or uid not in (-1, node.uid) or gid not in (-1, node.gid, *user.groups):
                raise Refused("EPERM")
        if uid not in (-1, node.uid):
            for content in self.contents_of(node):
                content.uid = uid
        node.uid = node.uid if uid == -1 else uid
        node.gid = node.gid if gid == -1 else gid
        self.share(node)

    def op_utimens(self, user, path, times):
        node = self.find(user, path)
        if not user.owns(node):
            if times is not None:
                raise Refused("EPERM")
            if not user.may(node, WRITE):
                raise Refused("EACCES")
        node.atime, node.mtime = times or (self.now, self.now)

    def op_setxattr(self, user, path):
        node = self.find(user, path)
        if node.is_dir and node.mode & stat.S_ISVTX and not user.owns(node):
            raise Refused("EPERM")
        raise Refused("EOPNOTSUPP" if user.may(node, WRITE) else "EACCES")

    def op_getxattr(self, user, path):
        node = self.find(user, path)
        raise Refused("EOPNOTSUPP" if user.may(node, READ) else "EACCES")

    # ---- the entrance ----

    def skips(self, operation):
        """What would sleep, or is not foretold: it is not tried."""
        user, name, *arguments = operation
        if name == "open":
            try:
                node = self.find(self.users[user], arguments[1])
            except Refused:
                return False
            return node.is_dir and not arguments[2] & (3 | O_CREAT)
        if name == "rename" and arguments[0] == arguments[1]:
            # Onto itself: the kernel still has the setting's inode under a backup's name, and does not see that.
            try:
                node = self.find(self.users[user], arguments[0])
            except Refused:
                return False
            return bool(node.staged) and node.backup
        if name not in ("read", "mmap"):
            return False
        handle = self.users[user].slots.get(arguments[0])
        if handle is None or self.is_gone(handle):
            return name == "mmap" or handle is None
        node = handle.node
        if name == "mmap":
            return handle.flags & 3 == O_WRONLY or handle.moved or not (node.staged or node.name in SETTINGS)
        return bool(node.staged) or node.name not in STREAMS or not handle.flags & O_NONBLOCK

    def do(self, operation):
        user, name, *arguments = operation
        self.errors_touched, self.unsettled, self.crashed = [], [], None
        try:
            result = getattr(self, "op_" + name)(self.users[user], *arguments)
        except Refused as refused:
            if refused.directory is not None:
                self.refused(refused)
            result = refused.name
        self.forget_told()
        for home in self.errors_touched:
            home.errors_several = self.errors_touched.count(home) > 1
        return "OK" if result is None else result
