# SPDX-License-Identifier: GPL-2.0-or-later
"""Programs that tests run: to their end, or beside them."""
import os
import subprocess
import time

from harness import eventually, seconds

# As somebody has it who is logged in: Debian's programs, one language, a home.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
               "TERM": "dumb", "TMPDIR": os.environ.get("TMPDIR", "/tmp")}


def tool(*command, status=0, bound=60, env=(), **kwargs):
    """Runs a program that must end with this status (or one of these); what it printed on stdout."""
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, errors="replace", timeout=seconds(bound), check=False,
                          env={**ENVIRONMENT, **dict(env)}, **kwargs)
    wanted = (status,) if isinstance(status, int) else status
    assert done.returncode in wanted, \
        f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if done.returncode == 0 else done.stdout + done.stderr


def shell(script, *words, **kwargs):
    """The same for a line of shell; its words are $1 and so on."""
    return tool("bash", "-euo", "pipefail", "-c", script, "bash", *words, **kwargs)


class Beside:
    """A program that runs beside the test until its end; `out` is the file with what it prints."""

    def __init__(self, out, *command, env=(), **kwargs):
        self.out = out
        with open(out, "wb") as file:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=file,
                stderr=subprocess.STDOUT, env={**ENVIRONMENT, **dict(env)}, **kwargs)

    def said(self):
        with open(self.out, errors="replace") as file:
            return file.read()

    def says(self, condition, what, bound=30):
        """Waits until what it has printed is so; what that is."""
        def look():
            assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said()}"
            text = self.said()
            return (text,) if condition(text) else None
        try:
            return eventually(look, what, bound, step=0.05)[0]
        except AssertionError as error:
            raise AssertionError(f"{error}; it printed: {self.said()[-2000:]}") from None

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds(5))
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(seconds(10))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def settled(file, condition, what, bound=30):
    """Waits until a file that some program writes holds what the condition wants; its text."""
    def look():
        text = file.read_text(errors="replace") if file.exists() else ""
        return (text,) if condition(text) else None
    try:
        return eventually(look, what, bound, step=0.05)[0]
    except AssertionError as error:
        text = file.read_text(errors="replace") if file.exists() else "(no file)"
        raise AssertionError(f"{error}; there is: {text[-2000:]}") from None


def next_second():
    """Whoever compares times in whole seconds sees a change only then."""
    time.sleep(1.01 - time.time() % 1)
