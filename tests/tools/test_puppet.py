# SPDX-License-Identifier: GPL-2.0-or-later
"""Puppet: apply --detailed-exitcodes ends with 2 where something was changed, and with 0 the next time."""
import os

import pytest

from nefs_mount import Enclave
from program import tool

CHANGED, NOTHING = 2, 0

pytestmark = pytest.mark.limit(300)


@pytest.fixture
def apply(tmp_path):
    """puppet apply of a manifest, which ends with this status."""
    home = tmp_path / "puppet"

    def apply(manifest, status, *options):
        return tool("puppet", "apply", "--detailed-exitcodes", "--color=false", "--confdir", home / "conf",
                    "--vardir", home / "var", "--logdir", home / "log", "--rundir", home / "run", *options,
                    "-e", manifest, status=status, bound=120)
    return apply


def site(web, eif, memory="64M"):
    return f"""
        $d = '{web.path()}'
        file {{ $d: ensure => directory, mode => '0755' }}
        file {{ "$d/memory": content => "{memory}\\n", owner => 'root', mode => '0644', notify => Exec['restart'] }}
        file {{ "$d/vcpus": content => "2\\n", notify => Exec['restart'] }}
        file {{ "$d/image": source => '{eif}', mode => '0600', backup => false, notify => Exec['restart'] }}
        file {{ "$d/start": content => "1\\n", require => Exec['restart'] }}
        exec {{ 'restart': command => "/bin/sh -c 'echo 0 >$d/start; cat $d/wait; echo 1 >$d/start; cat $d/wait'",
                refreshonly => true }}"""


def test_a_changed_setting_restarts(mount, eif, apply):
    """notify => Exec[restart]: the new memory is granted by the first run; the second changes nothing."""
    web = Enclave(mount, "web")
    apply(site(web, eif), CHANGED)
    assert web.state == "running"
    text = apply(site(web, eif), NOTHING)
    assert "changed" not in text and "created" not in text, text
    starts = web.events()["starts"]
    said = apply(site(web, eif, "128M"), NOTHING, "--noop", "--show_diff")
    assert "-64M" in said and "+128M" in said and web.get("memory") == b"64M\n"
    apply(site(web, eif, "128M"), CHANGED)
    assert web.state == "running" and int(web.get("memory.effective")) == 128 << 20
    assert web.events()["starts"] == starts + 1
    apply(site(web, eif, "128M"), NOTHING)
    assert web.events()["starts"] == starts + 1


@pytest.mark.parametrize("recurse", ["true", "remote"])
def test_a_directory_as_one_resource(mount, declared, apply, recurse):
    """recurse + source, onto what is new, what stands and what runs; the backup is Puppet's own."""
    web = mount.enclave("web")
    manifest = f"file {{ '{web.path()}': ensure => directory, recurse => {recurse}, source => '{declared}' }}"
    apply(manifest, CHANGED)
    apply(manifest, NOTHING)
    assert web.start() == "OK", web.error
    web.reaches("running")
    apply(manifest, NOTHING)
    (declared / "memory").write_text("128M\n")
    apply(manifest, CHANGED)
    assert web.get("memory") == b"128M\n" and web.get("pending") == b"memory\n" and web.state == "running"
    apply(manifest, NOTHING)


def test_purge(mount, declared, apply):
    """What is not in the source is taken away as far as it can be: it goes on and comes to rest."""
    web = mount.enclave("web")
    web.set("cid", b"17\n")
    manifest = f"""file {{ '{web.path()}': ensure => directory, recurse => true, purge => true, backup => false,
                           source => '{declared}' }}"""
    apply(manifest, CHANGED)
    assert web.get("memory") == b"64M\n" and not os.path.exists(web.path("cid"))
    apply(manifest, NOTHING)
    # Settings that were purged are their defaults: it starts.
    tool("sh", "-c", f"echo 1 >{web.path('start')}")
    web.reaches("running")


def test_owner(web, apply):
    manifest = f"""file {{ '{web.path()}': ensure => directory, recurse => true, owner => 'nobody',
                           group => 'nogroup' }}"""
    apply(manifest, CHANGED)
    assert {os.stat(web.path(name)).st_uid for name in ("memory", "start", "journal")} == {65534}
    apply(manifest, NOTHING)


def test_tidy(web, apply):
    for name in ("memory.bak", "old.bak", "kept.txt"):
        with open(web.path(name), "w") as file:
            file.write("64M\n")
        os.utime(web.path(name), (1600000000, 1600000000))
    manifest = f"tidy {{ '{web.path()}': recurse => 1, age => '1w', matches => '*.bak' }}"
    apply(manifest, CHANGED)
    assert [name for name in web.listing() if name.endswith((".bak", ".txt"))] == ["kept.txt"]
    apply(manifest, NOTHING)


def test_absent(web, apply):
    """ensure => absent harms nothing while it runs, whatever Puppet says of it; then it removes, once."""
    manifest = f"file {{ '{web.path()}': ensure => absent, force => true, backup => false }}"
    web.running()
    apply(manifest, (2, 4, 6))
    assert web.state == "running" and b"busy" in web.error.lower() or b"running" in web.error
    assert web.stop() == "OK"
    web.reaches("stopped")
    apply(manifest, CHANGED)
    assert not os.path.exists(web.path())
    apply(manifest, NOTHING)


def test_a_refusal(web, apply):
    """The errno is in Puppet's words, the sentence in `error` for as long as it stays unset."""
    text = apply(f"file {{ '{web.path('memory')}': content => \"511K\\n\" }} "
                 f"-> file {{ '{web.path('vcpus')}': content => \"2\\n\" }}", (4, 6))
    assert "Invalid argument" in text or "Numerical result" in text, text
    apply(f"file {{ '{web.path('vcpus')}': content => \"2\\n\" }}", CHANGED)
    assert b"memory" in web.error and b"511K" in web.error
