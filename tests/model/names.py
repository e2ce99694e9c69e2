# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model says of names: to look them up, to make, to move and to take them."""
import re
import stat

from tree import (Content, EXCHANGE, EXEC, Enclave, LOGS, NOREPLACE, OLDER, Part, READ, STAGED_MAX, Staged, UNSET,
                  WRITE)
from values import Refused


class Names:
    """Of a Model."""

    # ---- names ----

    def walk(self, user, path):
        """The directory that a path's last name is in, and the name."""
        directory = self.root
        *before, name = path.split("/")
        for part in before:
            if not user.may(directory, EXEC):
                raise Refused("EACCES")
            node = directory.find(part)
            if node is None:
                raise Refused("ENOENT")
            if not node.is_dir:
                raise Refused("ENOTDIR")
            directory = node
        if not user.may(directory, EXEC):
            raise Refused("EACCES")
        return directory, name

    def find(self, user, path):
        if path == "":
            return self.root
        directory, name = self.walk(user, path)
        node = directory.find(name)
        if node is None:
            raise Refused("ENOENT")
        return node

    @staticmethod
    def check_create(user, directory):
        if not user.may(directory, WRITE | EXEC):
            raise Refused("EACCES")

    @staticmethod
    def check_delete(user, directory, node, is_dir):
        """The kernel's may_delete()."""
        if not user.may(directory, WRITE | EXEC):
            raise Refused("EACCES")
        if directory.mode & stat.S_ISVTX and not user.owns(node) and not user.owns(directory):
            raise Refused("EPERM")
        if is_dir and not node.is_dir:
            raise Refused("ENOTDIR")
        if not is_dir and node.is_dir:
            raise Refused("EISDIR")

    def written(self, node):
        node.mtime = self.now

    @staticmethod
    def enclave_name(name):
        return re.fullmatch(r"[A-Za-z0-9_@:][A-Za-z0-9._@:-]{0,63}", name) is not None

    def op_mkdir(self, user, path, mode):
        directory, name = self.walk(user, path)
        if directory.find(name):
            raise Refused("EEXIST")
        self.check_create(user, directory)
        mode &= 0o1777
        if directory is self.root:
            if name in OLDER - {"console.1"}:
                raise Refused("EEXIST", directory, name)
            if not self.enclave_name(name):
                raise Refused("EINVAL", directory, name)
            self.check_enclave(user.uid, directory, name)
            made = Enclave(self, directory, name, mode, user.uid, user.gid)
            made.records.append(("created",))
        elif isinstance(directory, Enclave):
            self.check_stage(directory, name)
            self.check_staged(user.uid, directory, name)
            made = Part(self, directory, name, mode, user.uid, user.gid)
        else:
            raise Refused("EPERM", directory, name)
        directory.entries[name] = made
        self.written(directory)
        self.accepted(directory, name)

    def count(self, directory):
        home = directory.home()
        nameless = [node for node in self.nameless() if node.directory and node.directory.home() is home]
        return sum(1 + len(node.inside()) for node in home.entries.values()) + len(nameless)

    def check_stage(self, directory, name):
        if directory in (self.root, self.sim):
            raise Refused("EPERM", directory, name)
        if name in directory.rows or isinstance(directory, Enclave) and name in OLDER:
            raise Refused("EACCES", directory, name)
        if self.count(directory) >= STAGED_MAX:
            raise Refused("ENOSPC", directory, name)

    def op_rmdir(self, user, path):
        directory, name = self.walk(user, path)
        node = directory.find(name)
        if node is None:
            raise Refused("ENOENT")
        self.check_delete(user, directory, node, True)
        if node is self.sim:
            raise Refused("EPERM", directory, name)
        if isinstance(node, Enclave):
            if node.active:
                raise Refused("EBUSY", node, None)
            self.remove_enclave(node)
        elif node.entries:
            raise Refused("ENOTEMPTY")
        del directory.entries[name]
        node.removed = True
        self.written(directory)
        self.accepted(directory, name)

    def remove_enclave(self, enclave):
        enclave.removed = True
        for part in [enclave, *(node for node in enclave.entries.values() if node.is_dir)]:
            part.removed = True
            for node in list(part.entries.values()):
                node.directory = None
                node.name = None
            part.entries = {}

    def withdraw(self, row):
        """A settable file's name goes: what it holds is reset, and who has it open has nothing."""
        enclave = row.directory
        row.hidden = True
        for handle in row.handles:
            handle.gone = True
        row.handles = []
        row.generation += 1
        if row.name == "start":
            enclave.start_text = None
        elif row.name == "image":
            self.replace_image(enclave, None)
            row.mtime = 0
        else:
            enclave.texts.pop(row.name, None)
            enclave.values.pop(row.name, None)
            row.mtime = 0 if UNSET[row.name] == b"" else None
        enclave.compare()
        self.written(enclave)

    def op_unlink(self, user, path):
        directory, name = self.walk(user, path)
        node = directory.find(name)
        if node is None:
            raise Refused("ENOENT")
        self.check_delete(user, directory, node, False)
        if node.staged:
            self.unlink_staged(node)
        else:
            if directory in (self.root, self.sim):
                raise Refused("EPERM", directory, name)
            if directory.active:
                raise Refused("EBUSY", directory, name)
            if node.settable:
                self.withdraw(node)
            else:
                node.hidden = True
                self.written(directory)
        self.accepted(directory, name)

    def unlink_staged(self, node):
        del node.directory.entries[node.name]
        self.written(node.directory)
        node.name = None

    def staged_told(self, directory, name):
        node = directory.find(name)
        if node and node.staged and isinstance(directory, Enclave) and re.fullmatch("[a-z_]+", name):
            self.set_error(directory, name)

    def make_file(self, user, directory, name, mode):
        self.check_create(user, directory)
        row = directory.rows.get(name)
        if row:
            if not row.settable:
                raise Refused("EACCES", directory, name)
            row.hidden = False
            row.uid, row.gid, row.mode = user.uid, user.gid, mode & 0o777
            self.written(directory)
            return row
        self.check_stage(directory, name)
        self.check_staged(user.uid, directory, name)
        node = Staged(self, directory, name, mode & 0o7777, user.uid, user.gid)
        directory.entries[name] = node
        self.written(directory)
        return node

    def unmake(self, node):
        """It could not be opened, and is not made, then."""
        if node.staged:
            self.unlink_staged(node)
        else:
            node.hidden = True

    def op_mknod(self, user, path, kind):
        directory, name = self.walk(user, path)
        if directory.find(name):
            raise Refused("EEXIST")
        if kind != "file":
            self.check_create(user, directory)
            raise Refused("EPERM", directory, name)
        self.make_file(user, directory, name, 0o644)
        self.accepted(directory, name)
        self.staged_told(directory, name)

    def op_symlink(self, user, path):
        directory, name = self.walk(user, path)
        if directory.find(name):
            raise Refused("EEXIST")
        self.check_create(user, directory)
        raise Refused("EPERM", directory, name)

    def op_link(self, user, path, new_path):
        node = self.find(user, path)
        directory, name = self.walk(user, new_path)
        if directory.find(name):
            raise Refused("EEXIST")
        # fs.protected_hardlinks
        if not user.owns(node) and (node.is_dir or not user.may(node, READ | WRITE)):
            raise Refused("EPERM")
        self.check_create(user, directory)
        if node.is_dir:
            raise Refused("EPERM")
        raise Refused("EPERM", directory, name)

    # ---- rename ----

    def op_rename(self, user, path, new_path, flags):
        source, name = self.walk(user, path)
        to, new_name = self.walk(user, new_path)
        node, target = source.find(name), to.find(new_name)
        if node is None:
            raise Refused("ENOENT")
        if target and flags & NOREPLACE:
            raise Refused("EEXIST")
        if target is None and flags & EXCHANGE:
            raise Refused("ENOENT")
        if node.is_dir and node in (to, to.directory):
            raise Refused("EINVAL")
        if target and target.is_dir and target in (source, source.directory) and not flags & EXCHANGE:
            raise Refused("ENOTEMPTY")
        if flags & EXCHANGE and target.is_dir and target in (source, source.directory):
            raise Refused("EINVAL")
        if node is target:
            return
        self.check_delete(user, source, node, node.is_dir)
        if target is None:
            self.check_create(user, to)
        elif flags & EXCHANGE:
            self.check_delete(user, to, target, target.is_dir)
        else:
            self.check_delete(user, to, target, node.is_dir)
        if source is not to:
            for one in (node, target if flags & EXCHANGE else node):
                if one.is_dir and not user.may(one, WRITE):
                    raise Refused("EACCES")
        self.rename(source, to, node, target, new_name, flags)

    def rename(self, source, to, node, target, new_name, flags):
        name = node.name
        if flags & EXCHANGE:
            raise Refused("EINVAL", source, name)
        stays = source in (self.root, self.sim) if not isinstance(node, Enclave) else source is not to
        if stays or not (node.is_dir or node.staged or node.settable):
            raise Refused("EPERM", source, name)
        if (to.home() if to is not self.sim else to) is not (source.home() if source is not self.sim else source):
            raise Refused("EXDEV", source, name)
        if new_name in LOGS | OLDER and isinstance(to, Enclave) or to is self.root and new_name in (
                "journal", "journal.1"):
            raise Refused("EPERM", to, new_name)
        row = to.rows.get(new_name)
        if row and node.staged:
            self.commit(source, row, node)
            return
        if isinstance(node, Enclave):
            if target:
                raise Refused("EEXIST", to, new_name)
            if not self.enclave_name(new_name):
                raise Refused("EINVAL", to, new_name)
            self.move(source, to, node, new_name)
            node.records.append(("renamed",))
        elif node.staged or node.is_dir:
            if row or node.is_dir and source is not to:
                raise Refused("EPERM", to, new_name)
            if target and target.is_dir:
                if target.entries:
                    raise Refused("ENOTEMPTY", to, new_name)
                target.removed = True
                del to.entries[new_name]
            elif target:
                self.unlink_staged(target)
            self.move(source, to, node, new_name)
        else:
            if row:
                raise Refused("EPERM", to, new_name)
            if name == "start" and source.active:
                raise Refused("EBUSY", to, new_name)
            self.backup(node, to, target, new_name)
        self.accepted(source, name)
        self.accepted(to, new_name)
        if to is not self.root:
            self.staged_told(to, new_name)

    def move(self, source, to, node, new_name):
        del source.entries[node.name]
        to.entries[new_name] = node
        node.directory, node.name = to, new_name
        self.written(source)
        self.written(to)

    def backup(self, row, to, target, new_name):
        """A setting is renamed away."""
        enclave = row.directory
        if (target is None or target.handles) and self.count(to) >= STAGED_MAX:
            raise Refused("ENOSPC", to, new_name)
        self.check_staged(row.uid, to, new_name)
        if row.name == "image":
            content = enclave.image.file or Content(row.uid)
        else:
            content = Content(row.uid, self.text(row))
        staged = Staged(self, to, new_name, row.mode, row.uid, row.gid, content)
        staged.mtime, staged.atime = None if row.name == "start" else row.mtime, row.atime
        if target:
            self.unlink_staged(target)
        to.entries[new_name] = staged
        self.written(to)
        self.close_image_handles(row)
        for handle in row.handles:
            handle.node = staged
            handle.moved = True
        staged.handles, row.handles = row.handles, []
        self.withdraw(row)

    def commit(self, source, row, staged):
        """A staged file takes a control file's place."""
        enclave = row.directory
        data = bytes(staged.content.data)
        if not row.writable:
            raise Refused("EPERM", enclave, row.name)
        if row.name == "image":
            self.adopt(enclave, staged)
            self.accepted(enclave, "image")
        elif data:
            result = self.store(enclave, row.name, data[:4097], False)
            if result:
                raise Refused(result)
        if row.hidden:
            self.written(enclave)
        row.hidden = False
        row.mode, row.uid, row.gid = staged.mode, staged.uid, staged.gid
        row.mtime, row.atime = staged.mtime, staged.atime
        name = staged.name
        self.unlink_staged(staged)
        self.accepted(source, name)
