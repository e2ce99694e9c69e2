# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that follow a growing file: each record reaches them once, over rotations of the journal."""
import json
import os
from collections import Counter

import pytest

from nefs_mount import Enclave
from program import Beside, settled, tool

CRASHES = 1000


class Rsyslog(Beside):
    """imfile on some files, each with a tag, into one output file."""

    def __init__(self, folder, mode, **files):
        self.output = folder / "shipped"
        work = folder / "work"
        work.mkdir()
        interval = ' pollingInterval="1"' if mode == "polling" else ""
        inputs = "".join(f'input(type="imfile" file="{path}" tag="{tag}:" ruleset="out")\n'
                         for tag, path in files.items())
        conf = folder / "rsyslog.conf"
        conf.write_text(f"""
            global(workDirectory="{work}" maxMessageSize="16k")
            module(load="imfile" mode="{mode}"{interval})
            template(name="line" type="string" string="%syslogtag%%msg%\\n")
            ruleset(name="out") {{ action(type="omfile" file="{self.output}" template="line") }}
            {inputs}""")
        super().__init__(folder / "rsyslogd.out", "rsyslogd", "-n", "-f", conf, "-i", folder / "pid")

    def shipped(self, tag):
        """The lines with this tag so far."""
        if not self.output.exists():
            return []
        with open(self.output) as file:
            return [line[len(tag) + 1:].strip() for line in file if line.startswith(tag + ":")]

    def ships(self, tag, condition, what, bound=60):
        settled(self.output, lambda _: condition(self.shipped(tag)), what, bound)
        return self.shipped(tag)


def crash_often(mount, enclaves, times):
    """So many crashes over all of them; goes on with what runs meanwhile."""
    for turn in range(times):
        enclave = enclaves[turn % len(enclaves)]
        if turn >= len(enclaves):
            enclave.reaches("crashed")
        assert enclave.start() == "OK", enclave.error
        enclave.reaches("running")
        assert mount.crash(enclave) == "OK"
        yield turn


@pytest.mark.limit(400)
@pytest.mark.parametrize("mode", ["inotify", "polling"])
def test_rsyslog_ships_each_crash_once(mount, tmp_path, mode):
    """Another file that it watches is shipped undisturbed."""
    web = mount.enclave("web").ready()
    plain = tmp_path / "plain.log"
    plain.write_text("0\n")
    with Rsyslog(tmp_path, mode, root=mount.path("journal"), web=web.path("journal"), plain=plain) as rsyslog:
        rsyslog.ships("plain", lambda lines: lines, "rsyslog has begun")
        for turn in crash_often(mount, [web], CRASHES):
            with open(plain, "a") as file:
                file.write(f"{turn + 1}\n")
            if turn % 50 == 49:
                # A rotation's distance behind at the most: what is older than journal.1 is gone for anyone.
                for tag in ("root", "web"):
                    rsyslog.ships(tag, lambda lines: sum('"crashed"' in line for line in lines) > turn,
                                  f"{turn + 1} crashes of {tag} are shipped")
                rsyslog.ships("plain", lambda lines: len(lines) == turn + 2, "the other file is shipped")
        assert os.path.getsize(web.path("journal.1")) > 0, "there was no rotation"
        for tag in ("root", "web"):
            crashes = [record for record in map(json.loads, rsyslog.shipped(tag)) if record["event"] == "crashed"]
            assert len(crashes) == CRASHES
            seqs = Counter(record["seq"] for record in map(json.loads, rsyslog.shipped(tag)))
            assert max(seqs.values()) == 1, seqs.most_common(5)
        assert rsyslog.shipped("plain") == [str(n) for n in range(CRASHES + 1)]


def fill(enclave, number):
    """A record that is not equal to the one before it."""
    assert enclave.put("memory", f"x{number}\n".encode()) == "EINVAL"


def rotations(enclave, taken, bound=60):
    """Fills the journal until it has been rotated three times, never ahead of what `taken(seq)` waits for."""
    inode = os.stat(enclave.path("journal")).st_ino
    number = rotated = 0
    while rotated < 3:
        for _ in range(50):
            fill(enclave, number)
            number += 1
        now = os.stat(enclave.path("journal")).st_ino
        rotated += now != inode
        inode = now
        taken(enclave.journal()[-1]["seq"])
        assert number < 20000, "the journal is never rotated"
    return number


def test_tail_F_over_three_rotations(web, tmp_path):
    """Each record once, and in order."""
    with Beside(tmp_path / "out", "tail", "-n", "+1", "-s", "0.1", "--max-unchanged-stats=1", "-F",
                web.path("journal")) as tail:
        def read(text):
            return [json.loads(line)["seq"] for line in text.splitlines() if line.startswith("{")]

        def taken(seq):
            tail.says(lambda text: text.endswith("\n") and read(text)[-1:] >= [seq], f"record {seq} is printed")
        number = rotations(web, taken)
        seqs = read("".join(line + "\n" for line in tail.said().splitlines()))
    assert len(seqs) == number + 1 and seqs == sorted(set(seqs))


def test_tail_reads_the_end(running):
    """tail -n, tail -c, tac, wc, head."""
    path = running.path("journal")
    assert json.loads(tool("tail", "-n", "1", path))["event"] == "running"
    assert json.loads(tool("tac", path).splitlines()[0])["event"] == "running"
    assert int(tool("wc", "-c", path).split()[0]) == os.path.getsize(path) == len(running.get("journal"))
    assert tool("tail", "-c", "20", path).encode() == running.get("journal")[-20:]
    assert tool("jq", "-r", ".event", path).split() == ["created", "starting", "running"]


def test_logtail(web, tmp_path):
    """Each call gives what is new, also of a journal that was rotated meanwhile (its journal.1)."""
    seen = []

    def logtail():
        text = tool("logtail2", "-f", web.path("journal"), "-o", tmp_path / "offset")
        seen.extend(json.loads(line)["seq"] for line in text.splitlines())

    logtail()
    number = rotations(web, lambda seq: logtail())
    assert len(seen) == number + 1 and seen == sorted(set(seen))


def test_journal_follow(mount, tmp_path):
    """The stream that no listing shows: whoever wants to sleep asks for it by name."""
    web = Enclave(mount, "web")
    with Beside(tmp_path / "out", "cat", mount.path("journal.follow")) as cat:
        os.mkdir(web.path())
        web.running()
        web.crash()
        text = cat.says(lambda text: '"crashed"' in text, "the crash is told")
    assert [json.loads(line)["event"] for line in text.splitlines()] == ["created", "starting", "running", "crashed"]
    assert "journal.follow" not in os.listdir(mount.path()) + os.listdir(web.path())
