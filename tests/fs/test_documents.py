# SPDX-License-Identifier: GPL-2.0-or-later
"""
What the documents show is what happens: the sessions of README.md and nefs(5), typed into a shell, and the tables of
files in docs/interface.md, held against a mount.
"""
import grp
import os
import re
import stat
import subprocess
import sys

import eif_image
import pytest
from nefs_mount import eif_binary

SOURCES = os.path.join(os.path.dirname(__file__), "../..")
MOUNT = "/run/nefs"


def read(name):
    with open(os.path.join(SOURCES, name), encoding="utf-8") as file:
        return file.read()


# ---- Sessions ----

def blocks(name):
    """The examples of a document, each as its lines, in their order."""
    if name.endswith(".md"):
        found = re.findall(r"(?ms)^```\w*\n(.*?)^```|((?:^    [^\n]*\n)+)", read(name))
        found = [fenced or re.sub(r"(?m)^    ", "", indented) for fenced, indented in found]
    else:
        found = re.findall(r"(?ms)^\.Bd -literal.*?\n(.*?)^\.Ed", read(name))
        found = [block.replace("\\e", "\\").replace("\\(ba", "|") for block in found]
    return [block.splitlines() for block in found]


def steps(lines):
    """[(command, the lines that it prints)] of a session; [] of what is none."""
    found = []
    for line in lines if lines[0].startswith(("# ", "$ ")) else ():
        if line.startswith(("# ", "$ ")):
            found.append((line[2:], []))
        elif found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0] + "\n" + line, [])
        else:
            found[-1][1].append(line)
    return found


def pattern(shown):
    """What a line looks like that is shown so: what stands before ... is a digest, or goes on; times vary."""
    if shown.startswith("{"):
        return r"\{.*"
    return re.sub(r"(?:[0-9a-f]{8,})?\\\.\\\.\\\.", ".*", re.escape(shown))


class Shell:
    """A bash in which sessions are typed, in a directory with an image."""

    def __init__(self, folder, mount, **user):
        self.root = mount.root
        path = os.pathsep.join([os.path.dirname(eif_binary() or ""), os.environ["PATH"]])
        for name, data in (("web.eif", eif_image.SMALL), ("vmlinuz", eif_image.bzimage()),
                           ("init.cpio", b"070701")):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
        self.child = subprocess.Popen(
            ["bash"], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={**os.environ, "HOME": folder, "LC_ALL": "C", "PATH": path}, **user)

    def type(self, command):
        """What somebody sees who types this."""
        self.child.stdin.write(command.replace(MOUNT, self.root) + "\nprintf '\\n\\1\\n'\n")
        self.child.stdin.flush()
        lines = []
        while (line := self.child.stdout.readline()) != "\1\n":
            assert line, f"the shell ended at: {command}"
            lines.append(line)
        return re.sub(r"(?m)^bash: line \d+: ", "bash: ", "".join(lines)[:-1]).replace(self.root, MOUNT)

    def session(self, lines):
        for command, shown in steps(lines):
            # Without a virtual machine no console has anything to say.
            if "/console" not in command:
                got = self.type(command)
                # A line that goes on in the next one is shown with a blank in front of that.
                wanted = "\n".join(pattern(line) for line in shown if not line.startswith(" "))
                assert re.fullmatch(wanted, got.rstrip("\n")), f"{command}\nshows {shown}\nand prints {got}"

    def end(self):
        self.child.kill()
        self.child.communicate()


@pytest.fixture
def shell(new_mount, tmp_path):
    shell = Shell(str(tmp_path), new_mount())
    yield shell
    shell.end()


def sessions(name):
    """Those that show how enclaves are used, and not how nefs is built or mounted."""
    return [block for block in blocks(name)
            if steps(block) and not re.search(r"scripts/|\btail -n \+1 -F|-o backend|journal.follow", block[0])]


@pytest.mark.sim
def test_the_beginning_of_the_readme(shell):
    shell.type(f"cd {shell.root}")
    lines = sessions("README.md")[0]
    shell.session(lines)
    assert len(steps(lines)) == 4


@pytest.mark.sim
def test_the_session_of_the_readme(shell):
    played = sessions("README.md")[1:]
    for lines in played:
        shell.session(lines)
    assert len(played) >= 4


@pytest.mark.sim
def test_the_examples_of_the_page(shell):
    lines = sessions("docs/man/nefs.5")[0]
    shell.session(lines)
    assert len(steps(lines)) > 6


@pytest.mark.device
@pytest.mark.parametrize("name, file", [("README.md", "events"), ("docs/man/nefs.5", "state")])
def test_the_poller(running, name, file):
    """The example in Python tells what is there, and then what changes."""
    lines, = [block for block in blocks(name) if block[0].startswith("import os, select")]
    program = "\n".join(lines).replace(MOUNT + "/web", running.path()).replace(MOUNT, running.mount.root)
    poller = subprocess.Popen([sys.executable, "-uc", program], stdout=subprocess.PIPE, text=True)
    try:
        first, second = ("running", "crashed") if file == "state" else ("crashes 0", "crashes 1")
        for wanted in (first, second):
            while wanted not in (line := poller.stdout.readline()):
                assert line, f"it ended before it told of {wanted}"
            if wanted == first:
                running.crash()
    finally:
        poller.kill()
        poller.communicate()


# ---- Several users ----

USERS = {"alice": 20001, "bob": 20002, "carol": 20003}
# A group that is on each machine, and who is in it here.
TEAM, MEMBERS = grp.getgrgid(65534), ("alice", "bob")


def by_prompt(lines):
    """[(whose prompt it is typed at, command, the lines that it prints)] of a session of several users."""
    found = []
    for line in lines:
        prompt = re.match(r"(#|\w+\$) ", line)
        if prompt:
            found.append((prompt[1].rstrip("$"), line[prompt.end():], []))
        elif found:
            found[-1][2].append(line)
    return found


def named(text, words):
    """With one word in place of the other."""
    return re.sub(r"\b(?:{})\b".format("|".join(words)), lambda match: str(words[match[0]]), text)


@pytest.mark.sim
@pytest.mark.skipif(os.getuid() != 0, reason="needs several users")
def test_the_sessions_of_several_users(new_mount):
    """docs/operations.md; its users are numbers here, and its group another."""
    mount = new_mount(f"group={TEAM.gr_name}", "user_enclaves=4")
    home = os.path.join(mount.top, "home")
    os.mkdir(home)
    shells = {"#": Shell(home, mount)}
    shells.update((name, Shell(home, mount, user=uid, group=uid,
                              extra_groups=[TEAM.gr_gid] if name in MEMBERS else []))
                  for name, uid in USERS.items())
    words = {**USERS, "nitro": TEAM.gr_name}
    typed = 0
    try:
        for lines in blocks("docs/operations.md"):
            for who, command, shown in by_prompt(lines):
                got = shells[who].type(named(command, words))
                wanted = "\n".join(pattern(named(line, words)) for line in shown)
                assert re.fullmatch(wanted, got.rstrip("\n")), f"{who} {command}\nshows {shown}\nand prints {got}"
                typed += 1
    finally:
        for shell in shells.values():
            shell.end()
    assert typed > 20


# ---- Tables ----

def rows(heading):
    """{file: mode} of the tables of a chapter of docs/interface.md."""
    chapter = re.search(rf"(?ms)^## {heading}.*?(?=^## |\Z)", read("docs/interface.md"))[0]
    found = {}
    for names, mode in re.findall(r"(?m)^\| ((?:`[^`]*`[ *]*)+)\| (0\d+) \|", chapter):
        found.update((name, int(mode, 8)) for name in re.findall(r"`([^`]*)`", names))
    return found


def modes(folder):
    return {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(folder)
            if not entry.is_dir()}


def test_the_tables_name_each_file_of_an_enclave(enclave):
    told = {**rows("3. "), **rows("4. "), **rows("5. ")}
    assert set(modes(enclave.path()).items()) - set(told.items()) == set()
    for name, mode in told.items():
        if not name.endswith(".1"):
            assert stat.S_IMODE(os.stat(enclave.path(name)).st_mode) == mode, name


@pytest.mark.sim
def test_the_table_names_each_file_of_the_root(mount):
    told = rows("7. ")
    there = modes(mount.root)
    there.update((f"sim/{name}", mode) for name, mode in modes(mount.path("sim")).items())
    assert set(there.items()) - set(told.items()) == set()
    for name, mode in told.items():
        if not name.endswith(".1"):
            assert stat.S_IMODE(os.stat(mount.path(name)).st_mode) == mode, name


# ---- Tests that documents name ----

def test_the_tests_that_hold_a_promise_are_there():
    """docs/SECURITY.md names a file, and behind it tests of that, or what they are called with."""
    named = re.findall(r"(tests/[\w/.]+)((?:,? `\w+`)+)", read("docs/SECURITY.md"))
    assert len(named) > 10
    for file, names in named:
        text = read(file) + (read("tests/hostile/abuses.py") if "hostile" in file else "")
        for name in re.findall(r"\w+", names):
            assert re.search(rf"(?m)^def {name}\(", text), f"{file} has no {name}"
