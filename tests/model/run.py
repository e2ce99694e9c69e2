#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Random operations by root and three users on a mounted nefs, each compared with what the model (model.py) says.

    NEFS_BUILD=build tests/model/run.py [--operations N] [--seed S] [--episode N] [--random]

An episode is a mount with a seed of its own. At a difference it prints that seed, the fewest operations it finds
that still lead there, and what was expected; it exits 1 then. In its last line: N passed, N failed, in episodes.
"""
import argparse
import grp
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from os.path import dirname, join

sys.path.insert(0, join(dirname(__file__), "..", "fs"))
from nefs_mount import Mount  # noqa: E402
from harness import seconds  # noqa: E402
from actors import Actor, Hands, Hung  # noqa: E402
from choices import Choices  # noqa: E402
from images import VALID  # noqa: E402
from model import Model  # noqa: E402
from tree import LOGS, OLDER, Any, User  # noqa: E402
from values import Refused, cpu_list  # noqa: E402

PEOPLE = {"alice": 70001, "bob": 70002, "carol": 70003}
TEAM = 70100
MEMBERS = {"alice": [TEAM], "bob": [TEAM], "carol": []}
# A whole look at the mount after so many operations.
LOOK = 40


class Difference(Exception):
    """The mount and the model do not agree."""


def same(expected, got):
    if isinstance(expected, Any):
        return expected.matches(got)
    if isinstance(expected, dict) and isinstance(got, dict):
        return all(same_attribute(key, value, got[key]) for key, value in expected.items())
    if isinstance(expected, frozenset) and isinstance(got, frozenset):
        return expected == got - OLDER
    return type(expected) is type(got) and expected == got


def same_attribute(key, expected, got):
    if key in ("mtime", "atime"):
        if expected is None:
            return True
        return expected[0] <= got <= expected[1] if isinstance(expected, tuple) else expected == got
    return same(expected, got)


def brief(value):
    if isinstance(value, bytes) and len(value) > 80:
        return f"{value[:30]!r}... ({len(value)} bytes)"
    return repr(value)


def told(expected, got):
    if isinstance(expected, dict) and isinstance(got, dict):
        wrong = [key for key, value in expected.items() if not same_attribute(key, value, got[key])]
        return ", ".join(f"{key}: expected {expected[key]!r}, got {got[key]!r}" for key in wrong)
    if isinstance(expected, frozenset) and isinstance(got, frozenset):
        return f"not listed: {sorted(expected - got)}, listed: {sorted(got - expected - OLDER)}"
    return f"expected {brief(expected)}, got {brief(got)}"


def in_runs(records):
    """As the journal has them: how often each that may be counted came, until something else happened."""
    runs = [Counter()]
    for record in records:
        if record[0] in ("refused", "failed"):
            runs[-1][record] += 1
        else:
            runs += [record, Counter()]
    return runs


def group_name():
    """Any group that there is: the mount option wants a name, the users have its number."""
    for name in ("users", "games", "nogroup"):
        try:
            return name, grp.getgrnam(name).gr_gid
        except KeyError:
            continue
    raise SystemExit("there is no group users, games or nogroup")


class Setting:
    """How a mount is made: each other one for a group, three of four with bounds that are soon reached."""

    def __init__(self, seed):
        self.with_group = seed % 2 == 0
        kinds = seed // 2 % 4
        self.limits = {"enclaves": 1 + seed // 16 % 2, "files": 2 + seed // 8 % 5} if kinds in (1, 3) else {}
        if kinds in (2, 3):
            # Neither of the small images, one, a few; or one of the largest.
            self.limits["bytes"] = (4096, 10000, 40000, 100000)[seed // 8 % 4]

    def options(self, group):
        found = [f"group={group}"] if self.with_group else []
        return found + [f"user_{kind}={most}" for kind, most in self.limits.items()]

    def __str__(self):
        return ",".join(self.options("GROUP")) or "without options"


class Episode:
    """A mount, its users, and its model."""

    def __init__(self, setting):
        os.umask(0)
        name, gid = group_name()
        groups = {person: [gid, *more] if more else [] for person, more in MEMBERS.items()}
        self.spool = tempfile.mkdtemp(dir=Spools.top)
        self.mount = Mount(*setting.options(name), f"spool={self.spool}")
        self.hands = {"root": Hands(self.mount.root)}
        users = [User("root", 0, [])]
        for person, uid in PEOPLE.items():
            self.hands[person] = Actor(self.mount.root, uid, groups[person])
            users.append(User(person, uid, groups[person]))
        mode, root_gid = (0o1775, gid) if setting.with_group else (0o755, 0)
        self.model = Model(users, mode, root_gid, setting.limits)
        self.model.GROUP = gid
        self.journal = os.open(self.mount.path("journal.follow"), os.O_RDONLY | os.O_NONBLOCK)
        self.told = {None: []}  # by enclaves' names, what the root's journal has told
        self.seq = self.missing = 0  # of the last record; between the records, and not said to be left out
        self.gaps = False            # a user's records were left out

    def read(self, path):
        fd = os.open(self.mount.path(path), os.O_RDONLY)
        try:
            return os.read(fd, 1 << 20)
        finally:
            os.close(fd)

    def step(self, operation):
        """One operation, there and in the model."""
        if self.model.skips(operation):
            return
        user, name, *arguments = operation
        begin = time.clock_gettime_ns(time.CLOCK_REALTIME)
        got = self.hands[user].do(name, arguments)
        self.model.now = (begin, time.clock_gettime_ns(time.CLOCK_REALTIME))
        expected = self.model.do(operation)
        if not same(expected, got):
            raise Difference(told(expected, got))
        self.settle()
        self.errors()

    def settle(self):
        """What the device and the workers have to say of it is said."""
        model = self.model
        crashed = False
        for enclave in dict.fromkeys(model.unsettled):
            if enclave.removed or enclave.name is None:
                continue
            if enclave is model.crashed:
                self.until(lambda: self.read(f"{enclave.name}/state") == b"crashed\n", "it crashes")
                crashed = True
            elif not enclave.rows["wait"].hidden:
                self.read(f"{enclave.name}/wait")
            if enclave.grant and enclave.grant.get("unknown"):
                self.take_grant(enclave)
            self.take_report(enclave)
        if crashed:
            running = sum(one.active for one in model.enclaves())
            self.until(lambda: len(self.mount.slots()) == running, "the slot is given back")
            time.sleep(0.005)

    @staticmethod
    def until(condition, what):
        end = time.monotonic() + seconds(20)
        while not condition():
            if time.monotonic() > end:
                raise Difference(f"never: {what}")
            time.sleep(0.0005)

    def take_grant(self, enclave):
        texts = {name: self.read(f"{enclave.name}/{name}")
                 for name in ("memory.effective", "cpus.effective", "cid.effective", "slot", "state")}
        if texts["state"] != b"running\n":
            raise Difference(f"{enclave.name} is {texts['state']}, to be running: {self.read(enclave.name + '/error')}")
        cpus = cpu_list(texts["cpus.effective"].strip())
        wanted = enclave.value("cpus")
        if wanted and cpus != wanted or len(cpus) != (enclave.value("vcpus") or len(wanted)):
            raise Difference(f"cpus.effective is {texts['cpus.effective']}")
        if texts["memory.effective"] != b"%d\n" % enclave.value("memory"):
            raise Difference(f"memory.effective is {texts['memory.effective']}")
        cid = int(texts["cid.effective"])
        if enclave.value("cid") not in (0, cid):
            raise Difference(f"cid.effective is {cid}")
        enclave.grant = {**texts, "cpus": cpus, "cid": cid}

    def take_report(self, enclave):
        model, image = self.model, enclave.image
        if image.file is None or image.known:
            return
        self.read(f"{enclave.name}/image_info")
        image.known = True
        image.sound = bytes(image.file.data) in VALID
        if not image.sound:
            model.refused(Refused("EINVAL", enclave, "image"))
        model.merge(enclave)

    def errors(self):
        for home in dict.fromkeys(self.model.errors_touched):
            if home.removed or home.rows["error"].hidden:
                continue
            path = join(home.name, "error")
            problem = self.model.error_is(home, self.read(path))
            if problem:
                raise Difference(f"{path}: expected {problem}, got {brief(home.error or self.read(path))}")

    # ---- a look at all of it ----

    def look(self):
        """Everything that root can see."""
        self.look_at("", self.model.root)
        self.look_into_journal()

    def look_at(self, path, directory):
        self.compare(f"ls {path}", directory.listing(), frozenset(self.hands["root"].do("listdir", [path])))
        self.compare(f"stat {path}", self.model.attributes(directory), self.hands["root"].do("stat", [path]))
        for name in directory.listing():
            node, there = directory.find(name), join(path, name)
            if node.is_dir:
                self.look_at(there, node)
                continue
            status = self.hands["root"].do("stat", [there])
            self.compare(f"stat {there}", self.model.attributes(node), status)
            expected = bytes(node.content.data) if node.staged else self.model.text(node)
            try:
                got = self.read(there)
            except OSError as error:
                raise Difference(f"cat {there}: {error}") from error
            self.compare(f"cat {there}", expected, got)
            if node.name not in LOGS and len(got) != status["size"] and node.name != "slots":
                raise Difference(f"{there}: st_size is {status['size']}, a read gives {len(got)}")

    def look_into_journal(self):
        """
        Each event is there once, in order, but for those that may be counted: how many more of these there were may
        be yet to be told. Once a user's share is used up all that can be compared is how many are missing.
        """
        while True:
            try:
                lines = os.read(self.journal, 1 << 20).splitlines()
            except BlockingIOError:
                break
            for line in lines:
                self.take_record(json.loads(line))
        if self.gaps:
            return
        homes = {None: self.model.root, **{one.name: one for one in self.model.enclaves()}}
        for name, home in homes.items():
            got, expected = in_runs(self.told.get(name, [])), in_runs(home.records)
            last, all_of_it = got.pop(), expected.pop()
            if got != expected or last - all_of_it or (all_of_it - last).keys() - last.keys():
                raise Difference(f"journal of {name or 'the root'}: expected {home.records[-5:]}, "
                                 f"got {self.told.get(name, [])[-5:]}")

    def take_record(self, record):
        self.missing += record["seq"] - self.seq - 1
        self.seq = record["seq"]
        name, event = record["enclave"], record["event"]
        if event == "suppressed":
            self.missing -= record["count"]
        self.gaps = self.gaps or self.missing > 0
        if self.missing < 0 or event == "suppressed" and record["uid"] not in PEOPLE.values():
            raise Difference(f"journal: after {self.missing + record.get('count', 0)} that are missing: {record}")
        if self.gaps:
            return
        if event == "created":
            self.told[name] = []
        if record.get("old_name", name) not in self.told:
            raise Difference(f"journal: of an enclave that there is not: {record}")
        if event == "renamed":
            self.told[name] = self.told.pop(record["old_name"])
        entry = (event, record.get("file"), record["errno"]) if event == "refused" else (event,)
        self.told[name] += [entry] * record.get("count", 1)
        if event == "removed":
            del self.told[name]

    @staticmethod
    def compare(what, expected, got):
        if isinstance(expected, set):
            expected = frozenset(expected)
        if not same(expected, got):
            raise Difference(f"{what}: {told(expected, got)}")

    def close(self):
        if self.journal is not None:
            os.close(self.journal)
            self.journal = None
        for hands in self.hands.values():
            hands.end()
        self.hands = {}

    def end(self):
        self.close()
        self.mount.discard()
        self.mount.delete()
        shutil.rmtree(self.spool, ignore_errors=True)

    def finish(self):
        """The daemon must end cleanly."""
        self.close()
        self.mount.unmount()


class Spools:
    """Where the spool directories are: a tmpfs, where what files take is known to the page."""
    top = None

    @classmethod
    def begin(cls):
        cls.top = tempfile.mkdtemp(prefix="nefs-model-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", cls.top], check=True)

    @classmethod
    def end(cls):
        subprocess.run(["umount", "-l", cls.top], check=True)
        os.rmdir(cls.top)


def play(setting, operations, finish=True):
    """Plays them. (how many were done, what differed or None)"""
    episode = Episode(setting)
    done, problem = 0, None
    try:
        for operation in operations(episode.model):
            done += 1
            try:
                episode.step(operation)
                if done % LOOK == 0:
                    episode.look()
            except (Difference, Hung, OSError) as difference:
                problem = str(difference)
            if not episode.mount.alive():
                problem = f"nefs has ended: {episode.mount.said()[-3000:]}"
            if problem:
                return done, problem
        try:
            episode.look()
            if finish:
                episode.finish()
        except (Difference, AssertionError, OSError) as difference:
            problem = str(difference)
        return done, problem
    finally:
        episode.end()


def as_line(operation):
    user, name, *arguments = operation
    octal = name in ("open", "mkdir", "chmod")
    texts = [oct(one) if octal and isinstance(one, int) else brief(one) for one in arguments]
    return f"{user}: {name} {' '.join(texts)}"


def shorten(setting, operations, bound):
    """The fewest that still lead to a difference, as far as time allows."""
    end = time.monotonic() + bound
    size = max(1, len(operations) // 2)
    problem = None
    while time.monotonic() < end:
        at, less = 0, False
        while at < len(operations) and time.monotonic() < end:
            shorter = operations[:at] + operations[at + size:]
            done, found = play(setting, lambda _, some=shorter: some, finish=False)
            if found:
                operations, problem, less = shorter[:done], found, True
            else:
                at += size
        if size == 1 and not less:
            break
        size = max(1, size // 2)
    return operations, problem


def episode(seed, count, bound):
    """True if the mount did as the model says."""
    setting = Setting(seed)
    played = []

    def operations(model):
        choices = Choices(random.Random(seed), model)
        for _ in range(count):
            played.append(choices.next())
            yield played[-1]

    done, problem = play(setting, operations)
    if not problem:
        return done, True
    print(f"seed {seed}, operation {done}: {as_line(played[-1])}\n    {problem}", flush=True)
    shorter, found = shorten(setting, played, bound)
    print(f"the fewest operations found ({setting}):")
    for operation in shorter:
        print("    " + as_line(operation))
    print(f"    {found or problem}", flush=True)
    return done, False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--operations", type=int, default=20000)
    parser.add_argument("--episode", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", action="store_true", help="a seed that nobody knows before")
    parser.add_argument("--shorten", type=float, default=60, help="seconds to look for fewer operations")
    parser.add_argument("--keep-going", action="store_true", help="after a difference, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = random.SystemRandom().randrange(1 << 30) if options.random else options.seed
    print(f"seeds from {seed}", flush=True)
    done = passed = failed = 0
    Spools.begin()
    try:
        while done < options.operations:
            count, good = episode(seed, min(options.episode, options.operations - done), options.shorten)
            done, seed = done + count, seed + 1
            passed, failed = passed + good, failed + (not good)
            if failed and not options.keep_going:
                break
    finally:
        print(f"{done} operations", flush=True)
        Spools.end()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
