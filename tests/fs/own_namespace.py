# SPDX-License-Identifier: GPL-2.0-or-later
"""
A mount namespace for an ordinary user's mount: /dev/fuse is for everyone there, and /etc/mtab is there.
Either is so on most machines and on some is not: without udev the node is the root's, and a bare
tree has no mtab, which fusermount3 -u looks a mount's owner up in. The machine's own stay as they are, and
what is mounted inside is not seen outside.
"""
import os
import signal
import subprocess

from harness import libc

CLONE_NEWNS = 0x20000

# The copies of other mounts of nefs go, so that this namespace keeps nobody's alive.
MAKE = r"""
set -e
umount -a -l -t fuse.nefs
mount -t tmpfs -o mode=755 tmpfs "$1"
mknod -m 666 "$1/fuse" c 10 229
mount --bind "$1/fuse" /dev/fuse
if [ ! -e /etc/mtab ]; then
	cp -a /etc "$1/etc"
	ln -sf ../proc/self/mounts "$1/etc/mtab"
	mount --bind "$1/etc" /etc
fi
echo made
exec cat
"""


class Namespace:
    """Lives until end(); top is a directory that it may mount in."""

    def __init__(self, top):
        place = os.path.join(top, "own")
        os.mkdir(place)
        # Its input ends with this process, and so does it.
        self.keeper = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "slave", "sh", "-c", MAKE, "sh", place],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.keeper.stdout.readline() == b"made\n", "no mount namespace could be made"

    @property
    def mountinfo(self):
        return f"/proc/{self.keeper.pid}/mountinfo"

    def command(self, uid, *command):
        """That command as it is to be called, to run inside as this user."""
        # To its root, too: that of the namespace is another where all of this runs in a chroot.
        return ["nsenter", f"--mount=/proc/{self.keeper.pid}/ns/mnt", f"--root=/proc/{self.keeper.pid}/root",
                "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command]

    def enter(self):
        """Takes this process there: one that has a single thread."""
        namespace = os.open(f"/proc/{self.keeper.pid}/ns/mnt", os.O_RDONLY)
        root = os.open(f"/proc/{self.keeper.pid}/root", os.O_RDONLY)
        assert libc.setns(namespace, CLONE_NEWNS) == 0
        os.fchdir(root)
        os.chroot(".")
        os.close(namespace)
        os.close(root)

    def end(self):
        self.keeper.send_signal(signal.SIGKILL)
        self.keeper.communicate()
