# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model says of bounds: how much each user has, and may have. Root has none."""
from values import Refused


class Bounds:
    """Of a Model; limits: {"enclaves": most, "files": most, "bytes": most}, without what has no bound."""

    def has_enclaves(self, uid):
        return sum(enclave.uid == uid for enclave in self.enclaves())

    def has_files(self, uid):
        """What one has open, and what is one's and staged: it counts for as long as it has a name or is open."""
        has = sum(len(user.slots) for user in self.users.values() if user.uid == uid)
        for enclave in self.enclaves():
            for node in enclave.entries.values():
                has += (node.uid == uid) + sum(one.uid == uid for one in node.inside())
        return has + sum(node.uid == uid for node in self.nameless())

    def nameless(self):
        """Staged files that are open, and nothing else."""
        handles = [handle for user in self.users.values() for handle in user.slots.values()]
        return {handle.node for handle in handles if handle.node.staged and handle.node.name is None}

    def contents(self):
        """Each once, however often it is used."""
        found = {id(node.content): node.content for node in self.staged_files()}
        for one in self.enclaves():
            for content in (one.image.file, one.applied_image, one.image.draft and one.image.draft.content):
                if content:
                    found[id(content)] = content
        return found.values()

    def contents_of(self, node):
        """What a chown gives to another: the draft, too, but not what runs and is no more what stands."""
        if node.staged:
            return [node.content]
        if node.is_dir or node.name != "image" or not node.settable:
            return []
        image = node.directory.image
        return [one for one in (image.file, image.draft and image.draft.content) if one]

    def has_bytes(self, uid):
        return sum(content.taken() for content in self.contents() if content.uid == uid)

    def may_write(self, content, size, offset):
        """Where nothing more is needed it is allowed, to whom has more than they may as well."""
        more = content.needs(size, offset)
        return not more or self.may_have(content.uid, "bytes", more)

    def may_have(self, uid, kind, more=1):
        limit = self.limits.get(kind)
        has = {"enclaves": self.has_enclaves, "files": self.has_files, "bytes": self.has_bytes}[kind]
        return limit is None or uid == 0 or has(uid) + more <= limit

    def check_enclave(self, uid, directory, name):
        if not self.may_have(uid, "enclaves"):
            raise Refused("EDQUOT", directory, name)

    def check_staged(self, uid, directory, name):
        if not self.may_have(uid, "files"):
            raise Refused("EDQUOT", directory, name)

    def check_open(self, user, node, writes, directory=None):
        """Of who neither writes nor owns the directory only the root's journal tells: once, until they have less."""
        if self.may_have(user.uid, "files"):
            return
        directory = directory or node.directory
        if node.name and (writes or user.uid == directory.uid):
            raise Refused("EDQUOT", directory, node.name)
        if user.uid not in self.told_of:
            self.told_of.add(user.uid)
            self.root.records.append(("refused", node.name or None, "EDQUOT"))
        raise Refused("EDQUOT")

    def forget_told(self):
        """Of whom it is news again."""
        self.told_of = {uid for uid in self.told_of if self.has_files(uid) > self.limits["files"] // 2}
