# SPDX-License-Identifier: GPL-2.0-or-later
"""
How configuration tools write a file: every row of docs/facts/fuse.md §3.

Each writer is function(path, content) and raises OSError with the tool's errno, or ToolFailed
where a program only says it in words. WAY tells what reaches the file: "write" (in place),
"rename" (a staged file over it), "unlink" (removed, then made anew), "backup" (renamed away, then
made anew).
"""
import errno
import hashlib
import os
import shutil
import tempfile
import time

from harness import run

WORDS = {errno.EINVAL: "Invalid argument", errno.ERANGE: "Numerical result out of range",
         errno.EBUSY: "Device or resource busy", errno.EACCES: "Permission denied",
         errno.EPERM: "Operation not permitted"}


class ToolFailed(OSError):
    """A program failed; its errno is told from its words, 0 if it does not say."""


def tool(*command, **kwargs):
    env = {**os.environ, "LC_ALL": "C", "HOME": "/nonexistent"}
    done = run(*command, env=env, **kwargs)
    if done.returncode != 0:
        said = done.stdout + done.stderr
        number = next((number for number, words in WORDS.items() if words in said), 0)
        raise ToolFailed(number, f"{command}: {done.returncode}: {said}")
    return done


class Outside:
    """A source file on another filesystem."""

    def __init__(self, content):
        self.folder = tempfile.mkdtemp(prefix="nefs-source-")
        self.path = os.path.join(self.folder, "source")
        with open(self.path, "wb") as file:
            file.write(content)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.folder)


def redirect(path, content):
    with Outside(content) as source:
        tool("sh", "-c", 'exec cat "$1" > "$2"', "sh", source, path)


def tee(path, content):
    with Outside(content) as source:
        tool("sh", "-c", 'tee "$2" < "$1" > /dev/null', "sh", source, path)


def dd(path, content):
    with Outside(content) as source:
        tool("dd", f"if={source}", f"of={path}", "bs=1M")


def dd_fsync(path, content):
    with Outside(content) as source:
        tool("dd", f"if={source}", f"of={path}", "bs=1M", "conv=fsync,notrunc")


def cp(path, content):
    with Outside(content) as source:
        tool("cp", source, path)


def cp_p(path, content):
    with Outside(content) as source:
        os.chmod(source, 0o644)
        tool("cp", "-p", source, path)


def cp_remove(path, content):
    with Outside(content) as source:
        tool("cp", "--remove-destination", source, path)


def install(path, content):
    with Outside(content) as source:
        tool("install", "-m", "644", source, path)


def mv(path, content):
    with Outside(content) as source:
        tool("mv", "-f", source, path)


def sed_i(path, content):
    # sed edits lines: give it one to replace, whatever the file holds.
    line = content.decode().rstrip("\n")
    tool("sed", "-i", "-e", f"1s/.*/{line}/", path)


def perl_i(path, content):
    line = content.decode().rstrip("\n")
    tool("perl", "-i", "-pe", f"s/^.*$/{line}/", path)


def vim(path, content):
    line = content.decode().rstrip("\n")
    tool("vim", "-es", "-u", "NONE", "-i", "NONE", "-c", "set noswapfile!", "-c", "set swapfile",
         "-c", f"%s/.*/{line}/", "-c", "wq", path)


def vim_backup(path, content):
    line = content.decode().rstrip("\n")
    tool("vim", "-es", "-u", "NONE", "-i", "NONE", "-c", "set backup backupcopy=no",
         "-c", f"%s/.*/{line}/", "-c", "wq", path)


def random_name(prefix, count=8):
    return prefix + next(tempfile._get_candidate_names())[:count]


def cleaned(temporary, call):
    """Runs call; removes the temporary file if it fails, as the tools do."""
    try:
        call()
    except OSError:
        os.unlink(temporary)
        raise


def ansible(path, content):
    """ansible's atomic_move (copy, template, lineinfile)."""
    folder, base = os.path.split(path)
    if os.path.exists(path):
        with open(path, "rb") as file:
            same = hashlib.sha1(file.read()).digest() == hashlib.sha1(content).digest()
        if same:
            return
    with Outside(content) as source:
        try:
            os.rename(source, path)
            raise AssertionError("a rename across filesystems worked")
        except OSError as error:
            assert error.errno == errno.EXDEV
        fd, temporary = tempfile.mkstemp(prefix=".ansible_tmp", suffix=base, dir=folder)
        os.close(fd)

        def move():
            shutil.copyfile(source, temporary)
            os.chmod(temporary, 0o644)
            os.utime(temporary, (time.time(), time.time()))
            os.chown(temporary, os.getuid(), os.getgid())
            os.rename(temporary, path)
        cleaned(temporary, move)
    os.chown(path, os.getuid(), os.getgid())
    os.chmod(path, 0o644)


def ansible_always(path, content):
    """The same without the comparison: `force`."""
    folder, base = os.path.split(path)
    fd, temporary = tempfile.mkstemp(prefix=".ansible_tmp", suffix=base, dir=folder)

    def move():
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.rename(temporary, path)
    cleaned(temporary, move)


def puppet(path, content):
    """Puppet's Uniquefile and replace_file."""
    temporary = f"{path}{time.strftime('%Y%m%d')}-{os.getpid()}-{random_name('', 6)}"
    os.mkdir(temporary + ".lock")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.rmdir(temporary + ".lock")

    def replace():
        os.chown(temporary, os.getuid(), os.getgid())
        assert os.write(fd, content) == len(content)
        os.fsync(fd)
        os.fchmod(fd, 0o644)
        os.fsync(fd)
        os.close(fd)
        with open(temporary, "rb") as file:
            assert file.read() == content
        os.rename(temporary, path)
        os.chmod(path, 0o644)
    cleaned(temporary, replace)


def salt(path, content):
    """Salt's file.managed: files.copyfile."""
    folder, base = os.path.split(path)
    with Outside(content) as source:
        fd, temporary = tempfile.mkstemp(prefix=base, dir=folder)
        os.close(fd)

        def replace():
            shutil.copyfile(source, temporary)
            status = os.stat(path) if os.path.exists(path) else None
            os.rename(temporary, path)
            if status:
                os.chown(path, status.st_uid, status.st_gid)
                os.chmod(path, status.st_mode & 0o7777)
        cleaned(temporary, replace)


def chef(path, content):
    """Chef's file resource with its default staging in the destination's directory."""
    folder, base = os.path.split(path)
    fd, temporary = tempfile.mkstemp(prefix=f".chef-{base}", dir=folder)

    def replace():
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.chown(temporary, os.getuid(), os.getgid())
        os.chmod(temporary, 0o644)
        os.rename(temporary, path)
    cleaned(temporary, replace)


def sed_i_backup(path, content):
    line = content.decode().rstrip("\n")
    tool("sed", "-i.bak", "-e", f"1s/.*/{line}/", path)


def perl_i_backup(path, content):
    line = content.decode().rstrip("\n")
    tool("perl", "-i.bak", "-pe", f"s/^.*$/{line}/", path)


def cp_backup(path, content):
    with Outside(content) as source:
        tool("cp", "-b", source, path)


def install_backup(path, content):
    with Outside(content) as source:
        tool("install", "-b", "-m", "644", source, path)


def mv_backup(path, content):
    with Outside(content) as source:
        os.chmod(source, 0o644)
        tool("mv", "-b", "-f", source, path)


def emacs(path, content):
    """Renames the old file to a backup if it may, then writes in place."""
    try:
        os.rename(path, path + "~")
    except OSError:
        pass
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)


def write_in_place(path, content):
    with open(path, "wb") as file:
        file.write(content)


WAY = {
    redirect: "write", tee: "write", dd: "write", dd_fsync: "write", cp: "write", cp_p: "write",
    vim: "write", vim_backup: "write", write_in_place: "write",
    sed_i: "rename", perl_i: "rename", ansible: "rename", ansible_always: "rename",
    puppet: "rename", salt: "rename", chef: "rename",
    cp_remove: "unlink", install: "unlink", mv: "unlink",
    sed_i_backup: "backup", perl_i_backup: "backup", cp_backup: "backup",
    install_backup: "backup", mv_backup: "backup", emacs: "backup",
}

# Those that change a line that is there; an unset file has none.
EDITORS = {sed_i, perl_i, vim, vim_backup, sed_i_backup, perl_i_backup}
