# SPDX-License-Identifier: GPL-2.0-or-later
"""Copies, mirrors, archives, backups and editors: what brings files into an enclave's directory and out of it."""
import os
import shutil

import pytest

import eif_image
from nefs_mount import Enclave
from program import shell, tool

SYNCHRONIZE = ["--delay-updates", "-F", "--compress", "--archive", "--out-format=<<CHANGED>>%i %n%L"]


def test_rsync_twice_on_one_that_runs(running, declared):
    """The second run has nothing to say, and the first one but that times differ."""
    again = "rsync", "-ai", "--delay-updates", f"{declared}/", f"{running.path()}/"
    tool(*again)
    assert tool(*again) == ""
    assert running.state == "running" and running.get("pending") == b""
    (declared / "memory").write_text("128M\n")
    assert "memory" in tool(*again)
    assert tool(*again) == ""
    assert running.get("memory") == b"128M\n" and running.get("pending") == b"memory\n"
    assert not [name for name in running.listing() if name.startswith(".")]


@pytest.mark.parametrize("options", [
    ["-a"], ["-a", "--checksum"], ["-a", "--inplace"], ["-a", "--backup"], ["-a", "--partial-dir=.partial"],
    ["-rlt", "--chmod=F600"], ["-au"], [*SYNCHRONIZE], [*SYNCHRONIZE, "--checksum"]], ids=" ".join)
def test_rsync_options(web, declared, options):
    """The second run is silent, and on one that runs as well; what was said is what is set."""
    command = ["rsync", *options, "-i", f"{declared}/", f"{web.path()}/"]
    tool(*command)
    assert web.get("memory") == b"64M\n" and web.get("image") == eif_image.SMALL
    # What the directory itself is like is set by the first run.
    assert tool(*command) == ""
    assert web.start() == "OK", web.error
    web.reaches("running")
    assert tool(*command) == ""


def test_rsync_mirrors_onto_one_that_runs(running, declared):
    """--delete of what is not declared is told for what cannot go; nothing is harmed."""
    text = tool("rsync", "-a", "--delete", f"{declared}/", f"{running.path()}/", status=(0, 23))
    assert running.state == "running" and running.get("image") == eif_image.SMALL, text
    assert running.get("memory") == b"64M\n" and running.get("start") == b"1\n"


def test_rsync_away(running, tmp_path):
    """Out of an enclave: all that can be read, whole; a second run copies what has changed."""
    command = ["rsync", "-a", f"{running.path()}/", f"{tmp_path}/copy/"]
    tool(*command)
    for name in running.listing():
        assert (tmp_path / "copy" / name).read_bytes() == running.get(name), name
    running.crash()
    tool(*command)
    assert (tmp_path / "copy" / "journal").read_bytes() == running.get("journal")
    # A file whose size and whole second are the same is not looked into: that is rsync's way.
    tool(*command, "--checksum")
    assert (tmp_path / "copy" / "state").read_bytes() == b"crashed\n"


def test_a_copy_is_the_same(running, tmp_path):
    """Nothing has changed meanwhile: whoever compares the copy with what stands finds no difference."""
    tool("cp", "-a", running.path(), tmp_path / "copy")
    assert tool("diff", "-r", running.path(), tmp_path / "copy") == ""
    assert tool("rsync", "-ain", "--checksum", f"{running.path()}/", f"{tmp_path}/copy/") == ""
    shell('cd "$1" && find . -type f -exec sha256sum {} + >"$2"', running.path(), tmp_path / "sums")
    tool("sha256sum", "-c", "--quiet", tmp_path / "sums", cwd=running.path())


def test_cp(web, declared, eif):
    """-u onto what was never set, -p, -a, --backup, --reflink=auto, onto one that runs."""
    tool("cp", "-u", eif, web.path("image"))
    assert web.get("image") == eif_image.SMALL
    tool("cp", "-u", declared / "memory", declared / "vcpus", web.path())
    assert (web.get("memory"), web.get("vcpus")) == (b"64M\n", b"2\n")
    tool("cp", "-p", declared / "memory", web.path("memory"))
    assert os.stat(web.path("memory")).st_mtime == 1700000000
    tool("cp", "-a", f"{declared}/.", web.path())
    (declared / "memory").write_text("128M\n")
    tool("cp", "--backup=numbered", declared / "memory", web.path("memory"))
    assert web.get("memory") == b"128M\n" and web.get("memory.~1~") == b"64M\n"
    assert web.start() == "OK", web.error
    web.reaches("running")
    for option in ("--reflink=auto", "--sparse=always", "--preserve=all", "-u"):
        tool("cp", option, eif, web.path("image"))
    assert web.get("pending") == b"" and web.state == "running"


def test_make(web, tmp_path, eif):
    """A rule that copies what is newer does so once."""
    shutil.copy(eif, tmp_path / "built.eif")
    (tmp_path / "Makefile").write_text(
        f"D = {web.path()}\nall: $D/image $D/memory $D/vcpus\n"
        "$D/image: built.eif\n\tcp $< $@\n"
        "$D/memory: Makefile\n\techo 64M >$@\n$D/vcpus: Makefile\n\techo 2 >$@\n")
    assert "cp" in tool("make", "-C", tmp_path)
    assert web.start() == "OK", web.error
    web.reaches("running")
    assert "Nothing to be done" in tool("make", "-C", tmp_path)
    os.utime(tmp_path / "built.eif")
    assert "cp" in tool("make", "-C", tmp_path)
    assert "Nothing to be done" in tool("make", "-C", tmp_path)
    assert web.state == "running"


ARCHIVERS = {
    "tar": ("tar -C $1 -cf $2 web", "tar -C $1 -xf $2"),
    "tar-unlink": ("tar -C $1 -cf $2 web", "tar -C $1 --unlink-first -xf $2"),
    "tar-overwrite": ("tar -C $1 -czf $2 web", "tar -C $1 --overwrite -xf $2"),
    "cpio": ("cd $1 && find web | cpio -oH newc --quiet >$2", "cd $1 && cpio -idmu --quiet <$2"),
    "zip": ("cd $1 && zip -qr $2.zip web && mv $2.zip $2", "cd $1 && unzip -qqo $2"),
    "busybox-tar": ("busybox tar -C $1 -cf $2 web", "busybox tar -C $1 -xf $2"),
}


@pytest.mark.parametrize("archiver", ARCHIVERS)
def test_an_archive_and_back(mount, tmp_path, archiver):
    """What can be set is set again, what cannot is told; it ends, whatever its status."""
    pack, unpack = ARCHIVERS[archiver]
    web = mount.enclave("web").ready()
    web.set("cid", b"17\n")
    shell(pack, mount.path(), tmp_path / "archive")
    os.rmdir(web.path())
    shell(unpack, mount.path(), tmp_path / "archive", status=range(0, 100))
    assert (web.get("memory"), web.get("vcpus"), web.get("cid")) == (b"64M\n", b"2\n", b"17\n")
    assert web.get("image") == eif_image.SMALL
    # Some remove what they cannot write: a start brings it back. `start` itself was 0 in the archive.
    assert web.get("start") == b"0\n"
    assert web.start() == "OK", web.error
    web.reaches("running")


def test_tar_compares(running, tmp_path):
    """tar --diff finds nothing that differs but what has happened meanwhile."""
    tool("tar", "-C", running.mount.path(), "-cf", tmp_path / "t", "web")
    tool("tar", "-C", running.mount.path(), "--diff", "-f", tmp_path / "t")


def test_borg(running, tmp_path):
    """Two backups: the second finds the large file unchanged; what is extracted is what was there."""
    env = {"BORG_REPO": str(tmp_path / "repo"), "BORG_BASE_DIR": str(tmp_path),
           "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    tool("borg", "init", "-e", "none", env=env)
    for name in ("a", "b"):
        said = tool("borg", "create", "--list", f"::{name}", running.path(), env=env)
        assert " E " not in said, said
    shutil.rmtree(tmp_path / "back", ignore_errors=True)
    (tmp_path / "back").mkdir()
    tool("borg", "extract", "::b", env=env, cwd=tmp_path / "back")
    back = tmp_path / "back" / running.path().lstrip("/")
    for name in running.listing():
        assert (back / name).read_bytes() == running.get(name), name


def test_git(web, tmp_path):
    """Settings under git: added, restored by checkout, clean again."""
    web.ready()
    git = ["git", "--git-dir", tmp_path / "git", "--work-tree", web.path(), "-c", "user.name=a", "-c",
           "user.email=a@b", "-c", "safe.directory=*"]
    tool(*git, "init", "-q")
    tool(*git, "add", "memory", "vcpus", "image", cwd=web.path())
    tool(*git, "commit", "-qm", "as it is", cwd=web.path())
    assert tool(*git, "status", "--porcelain", "-uno", cwd=web.path()) == ""
    web.set("memory", b"128M\n")
    assert tool(*git, "status", "--porcelain", "-uno", cwd=web.path()) == " M memory\n"
    tool(*git, "checkout", "-q", "--", "memory", cwd=web.path())
    assert web.get("memory") == b"64M\n"
    assert tool(*git, "status", "--porcelain", "-uno", cwd=web.path()) == ""
    # It removes before it writes, which what runs does not allow: `error` says what does.
    assert web.start() == "OK", web.error
    web.reaches("running")
    web.set("memory", b"128M\n")
    said = tool(*git, "checkout", "-q", "--", "memory", cwd=web.path(), status=range(1, 256))
    assert "busy" in said and b"memory" in web.error, (said, web.error)
    assert web.get("memory") == b"128M\n" and web.state == "running"
    assert tool(*git, "show", "HEAD:memory", cwd=web.path()) == "64M\n"


EDITORS = {
    "sed": ["sed", "-i", "s/64/128/"],
    "sed-backup": ["sed", "-i.bak", "s/64/128/"],
    "perl": ["perl", "-i", "-pe", "s/64/128/"],
    "perl-backup": ["perl", "-i.orig", "-pe", "s/64/128/"],
    "vim": ["vim", "-es", "-u", "NONE", "-i", "NONE", "-c", "%s/64/128/", "-c", "wq"],
    "vim-backup": ["vim", "-es", "-u", "NONE", "-i", "NONE", "-c", "set backup backupcopy=no backupskip=",
                   "-c", "%s/64/128/", "-c", "wq"],
    "vim-inplace": ["vim", "-es", "-u", "NONE", "-i", "NONE", "-c", "set backup backupcopy=yes backupskip=",
                    "-c", "%s/64/128/", "-c", "wq"],
    "ed": ["sh", "-c", "printf '%s\\n' ',s/64/128/' w q | ed -s $1", "sh"],
    "ex": ["sh", "-c", "printf '%s\\n' '%s/64/128/' x | vim -e -s -u NONE -i NONE $1", "sh"],
    "patch": ["sh", "-c", "printf '%s\\n' '--- a' '+++ b' '@@ -1 +1 @@' -64M +128M | patch -s $1", "sh"],
    "patch-backup": ["sh", "-c", "printf '%s\\n' '--- a' '+++ b' '@@ -1 +1 @@' -64M +128M | patch -sb $1", "sh"],
    "busybox-sed": ["busybox", "sed", "-i", "s/64/128/"],
    "busybox-sed-backup": ["busybox", "sed", "-i.bak", "s/64/128/"],
    "uutils-cp-backup": ["sh", "-c", "echo 128M >/tmp/v; coreutils cp --backup=simple /tmp/v $1", "sh"],
    "install-backup": ["sh", "-c", "echo 128M >/tmp/v; install -b -m 644 /tmp/v $1", "sh"],
    "mv-backup": ["sh", "-c", "echo 128M >/tmp/v; mv -b /tmp/v $1", "sh"],
}

@pytest.mark.parametrize("editor", EDITORS)
@pytest.mark.parametrize("state", ["init", "running"])
def test_editors(web, editor, state):
    """The value is changed, in any state, with its mode; a backup beside it has the old one."""
    web.ready()
    assert web.get("memory") == b"64M\n"
    if state == "running":
        assert web.start() == "OK", web.error
        web.reaches("running")
    before = set(web.listing())
    tool(*EDITORS[editor], web.path("memory"), cwd=web.path())
    assert web.get("memory") == b"128M\n" and web.state == state
    assert web.mode("memory") == 0o644
    made = set(web.listing()) - before
    backups = [name for name in made if web.get(name) == b"64M\n"]
    assert len(made) == len(backups) == ("backup" in editor or editor == "vim-inplace"), made
    if state == "running":
        assert web.get("pending") == b"memory\n"


def test_a_rename_of_the_directory(mount, declared):
    """mv of an enclave that runs; whoever follows by name finds it there."""
    web = mount.enclave("web")
    tool("cp", "-a", f"{declared}/.", web.path())
    assert web.start() == "OK", web.error
    web.reaches("running")
    tool("mv", web.path(), mount.path("shop"))
    assert Enclave(mount, "shop").state == "running"
