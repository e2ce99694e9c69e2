# SPDX-License-Identifier: GPL-2.0-or-later
"""Monitors: they look at files now and then, or are woken by a change."""
import json
import os
import socket
import urllib.request

import pytest

from harness import eventually, outcome
from program import Beside, settled, tool
from zabbix_server import ZabbixServer

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def restart(enclave):
    assert enclave.start() == "OK", enclave.error
    enclave.reaches("running")


# ---- What looks now and then ----

def test_monit(mount, running, tmp_path):
    """match on the journal, checksum and timestamp of state, a program, the filesystem."""
    def told(word):
        return f"exec \"/bin/sh -c 'echo {word} >>{tmp_path}/told'\""

    config = tmp_path / "monitrc"
    config.write_text(f"""
        set daemon 1
        set log {tmp_path}/log
        set pidfile {tmp_path}/pid
        set statefile {tmp_path}/states
        set idfile {tmp_path}/id
        check file journal with path {mount.path("journal")}
          if match "crashed" then {told("match")}
          if size > 10 MB then {told("size")}
        check file state with path {running.path("state")}
          if changed checksum then {told("checksum")}
          if changed timestamp then {told("timestamp")}
        check program crashes with path "/bin/grep -qx 'crashes 0' {running.path("events")}"
          if status != 0 then {told("program")}
        check filesystem nefs with path {mount.path()}
          if space usage > 99% then {told("full")}
        """)
    config.chmod(0o600)
    log = tmp_path / "log"
    with Beside(tmp_path / "out", "monit", "-I", "-v", "-c", config):
        # The first cycle only notes what is there.
        settled(log, lambda text: "time was not changed" in text, "monit has looked twice")
        running.crash()
        text = settled(tmp_path / "told", lambda text: {"match", "checksum", "timestamp", "program"} <=
                       set(text.split()), "monit has told of the crash")
    assert not {"full", "size"} & set(text.split())


def test_collectd(mount, running, tmp_path):
    """table reads the counters of `events`, tail counts matches in the journal."""
    config = tmp_path / "collectd.conf"
    config.write_text(f"""
        Hostname "h"
        Interval 1
        PIDFile "{tmp_path}/pid"
        BaseDir "{tmp_path}"
        LoadPlugin csv
        LoadPlugin table
        LoadPlugin tail
        LoadPlugin filecount
        <Plugin csv>
          DataDir "{tmp_path}/csv"
        </Plugin>
        <Plugin table>
          <Table "{running.path("events")}">
            Instance "web"
            Separator " \\n"
            <Result>
              Type gauge
              InstancesFrom 0
              ValuesFrom 1
            </Result>
          </Table>
        </Plugin>
        <Plugin tail>
          <File "{mount.path("journal")}">
            Instance "nefs"
            <Match>
              Regex "\\"event\\":\\"crashed\\""
              DSType "CounterInc"
              Type "counter"
              Instance "crashes"
            </Match>
          </File>
        </Plugin>
        <Plugin filecount>
          <Directory "{mount.path()}">
            Instance "root"
            Recursive false
            RegularOnly false
          </Directory>
        </Plugin>
        """)

    def last(pattern):
        files = sorted((tmp_path / "csv").glob(pattern))
        lines = files[-1].read_text().splitlines() if files else []
        return float(lines[-1].split(",")[1]) if len(lines) > 1 else None

    crashes = "h/table-web/gauge-crashes-*", "h/tail-nefs/counter-crashes-*"
    with Beside(tmp_path / "out", "collectd", "-f", "-C", config) as collectd:
        eventually(lambda: last(crashes[0]) == 0 and last("h/filecount-root/*") is not None,
                   f"collectd has begun: {collectd.said()}", bound=30)
        for _ in range(3):
            running.crash()
            restart(running)
        for pattern in crashes:
            eventually(lambda: last(pattern) == 3, f"{pattern} is 3; it is {last(pattern)}: {collectd.said()}",
                       bound=30)


def test_zabbix_items(running, tmp_path):
    """zabbix_agentd -t, as the agent answers a server."""
    config = tmp_path / "zabbix.conf"
    config.write_text(f"Server=127.0.0.1\nLogFile={tmp_path}/log\nPidFile={tmp_path}/pid\n")

    def item(key):
        return tool("zabbix_agentd", "-c", config, "-t", key).strip()

    def value(key):
        text = item(key)
        assert "ZBX_NOTSUPPORTED" not in text, text
        return text.rpartition("[")[2].rstrip("]").partition("|")[2]

    assert value(f"vfs.file.contents[{running.path('state')}]") == "running"
    assert value(f"vfs.file.regexp[{running.path('events')},\"^starts ([0-9]+)\",,,,\\1]") == "1"
    for file in ("journal", "events", "measurements", "image"):
        assert int(value(f"vfs.file.size[{running.path(file)}]")) == os.path.getsize(running.path(file))
    assert value(f"vfs.file.regmatch[{running.path('journal')},crashed]") == "0"
    running.crash()
    assert value(f"vfs.file.regmatch[{running.path('journal')},crashed]") == "1"
    assert '"crashed"' in item(f"vfs.file.contents[{running.path('journal')}]")
    assert int(value(f"vfs.file.time[{running.path('journal')},modify]")) >= \
        int(os.stat(running.path()).st_ctime) - 1
    for key in (f"vfs.file.cksum[{running.path('image')}]", f"vfs.dir.count[{running.path()}]",
                f"vfs.dir.size[{running.path()}]"):
        assert int(value(key)) > 0


def test_zabbix_ships_the_journal(running, tmp_path):
    """log[], an active check: each line once, what came before it and what comes after."""
    key = f"log[{running.path('journal')},event]"
    with ZabbixServer(key) as server:
        config = tmp_path / "zabbix.conf"
        config.write_text(f"ServerActive=127.0.0.1:{server.port}\nServer=127.0.0.1\nHostname=h\nStartAgents=0\n"
                          f"LogFile={tmp_path}/log\nPidFile={tmp_path}/pid\nBufferSend=1\nAllowRoot=1\n")
        with Beside(tmp_path / "out", "zabbix_agentd", "-f", "-c", config):
            eventually(lambda: len(server.of(key)) >= 3, f"the agent has sent what was there: {server.values}",
                       bound=30, step=0.1)
            for _ in range(5):
                running.crash()
                restart(running)
            eventually(lambda: sum('"crashed"' in line for line in server.of(key)) == 5,
                       "the crashes are sent", bound=30, step=0.1)
        seqs = [json.loads(line)["seq"] for line in server.of(key)]
    assert seqs == sorted(set(seqs))


def test_node_exporter(running, tmp_path):
    """Its textfile collector reads a file that lies on nefs; its filesystem collector sees the mount."""
    with open(running.path("web.prom"), "w") as file:
        file.write("# TYPE nefs_note gauge\nnefs_note 7\n")
    port = free_port()
    with Beside(tmp_path / "out", "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{port}",
                "--collector.disable-defaults", "--collector.textfile", "--collector.filesystem",
                "--collector.filesystem.mount-points-exclude=^/(dev|proc|sys)($|/)",
                f"--collector.textfile.directory={running.path()}") as exporter:
        def metrics():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    return answer.read().decode()
            except OSError:
                assert exporter.process.poll() is None, exporter.said()
                return None
        text = eventually(metrics, "the exporter answers", bound=30, step=0.1)
    assert "\nnefs_note 7\n" in text and "node_textfile_scrape_error 0" in text
    assert f'mountpoint="{running.mount.root}"' in text


# ---- What is woken ----

def test_inotifywait(running, tmp_path):
    """-m -r on the whole mount, made before the enclave crashed."""
    with Beside(tmp_path / "out", "inotifywait", "-m", "-r", "-e", "modify", "--format", "%w%f",
                running.mount.path()) as watcher:
        watcher.says(lambda text: "Watches established" in text, "it watches")
        running.crash()
        for file in ("state", "events", "journal"):
            watcher.says(lambda text: running.path(file) in text.splitlines(), f"{file} has changed")
        watcher.says(lambda text: running.mount.path("journal") in text.splitlines(), "the root's has changed")


def test_incron(running, tmp_path):
    """incrond runs a command at a change of state."""
    tables = tmp_path / "tables"
    tables.mkdir()
    for folder in ("system",):
        (tmp_path / folder).mkdir()
    told = tmp_path / "told"
    script = tmp_path / "tell"
    script.write_text(f"#!/bin/sh\ncat \"$1\" >>{told}\n")
    script.chmod(0o755)
    (tmp_path / "system" / "nefs").write_text(f"{running.path('state')} IN_MODIFY {script} $@\n")
    config = tmp_path / "incron.conf"
    config.write_text(f"system_table_dir = {tmp_path}/system\nuser_table_dir = {tables}\n"
                      f"allowed_users = {tmp_path}/allow\ndenied_users = {tmp_path}/deny\n"
                      f"lockfile_dir = {tmp_path}\nlockfile_name = incrond\n")
    with Beside(tmp_path / "out", "incrond", "-n", "-f", config) as incron:
        # It says nowhere that it watches: the descriptor with its watch does.
        def watches():
            folder = f"/proc/{incron.process.pid}/fdinfo"
            assert incron.process.poll() is None, incron.said()
            inode = os.stat(running.path("state")).st_ino
            return any(f"ino:{inode:x} " in open(f"{folder}/{fd}").read() for fd in os.listdir(folder))
        eventually(watches, "incrond watches")
        running.crash()
        settled(told, lambda text: "crashed" in text, "the command has seen the crash")


@pytest.mark.parametrize("way", ["Observer", "PollingObserver"])
def test_watchdog(running, tmp_path, way):
    """Python's watchdog, woken or by looking; on the whole mount."""
    with Beside(tmp_path / "out", "python3", "-u", f"{HERE}/languages/watchdog_main.py", way,
                running.mount.path()) as watcher:
        watcher.says(lambda text: "watching" in text, "it watches")
        running.crash()
        for file in ("state", "events", "journal"):
            watcher.says(lambda text: f"modified {running.path(file)}\n" in text, f"{file} has changed")
        other = running.mount.enclave("other")
        watcher.says(lambda text: f"created {other.path()}\n" in text, "a new enclave is seen")
        assert outcome(os.rmdir, other.path()) == "OK"
        watcher.says(lambda text: f"deleted {other.path()}\n" in text, "its removal is seen")


def test_node_watches(running, tmp_path):
    """fs.watch and fs.watchFile."""
    with Beside(tmp_path / "out", "node", f"{HERE}/languages/watch.js", running.path()) as watcher:
        watcher.says(lambda text: "watching" in text, "it watches")
        running.crash()
        watcher.says(lambda text: "watch state" in text, "fs.watch is called")
        watcher.says(lambda text: "watchFile events" in text, "fs.watchFile is called")
