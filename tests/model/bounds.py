# SPDX-License-Identifier: GPL-2.0-or-later
"""What the model says of bounds: how much each user has, and may have. Root has none."""
from values import Refused


class Bounds:
    """Of a Model; limits: {"enclaves": most, "files": most}, without what has no bound."""

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

    def may_have(self, uid, kind, more=1):
        limit = self.limits.get(kind)
        has = {"enclaves": self.has_enclaves, "files": self.has_files}[kind]
        return limit is None or uid == 0 or has(uid) + more <= limit

    def check_enclave(self, uid, directory, name):
        if not self.may_have(uid, "enclaves"):
            raise Refused("EDQUOT", directory, name)

    def check_staged(self, uid, directory, name):
        if not self.may_have(uid, "files"):
            raise Refused("EDQUOT", directory, name)

    def check_open(self, user, node, writes, directory=None):
        """Who neither writes nor owns the directory is told in nobody's `error`."""
        if self.may_have(user.uid, "files"):
            return
        directory = directory or node.directory
        if node.name and (writes or user.uid == directory.uid):
            raise Refused("EDQUOT", directory, node.name)
        raise Refused("EDQUOT")
