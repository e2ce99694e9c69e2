# SPDX-License-Identifier: GPL-2.0-or-later
"""CFEngine: files promises, with the copies that it keeps by itself. A second run is silent."""
import pytest

from program import tool

STDLIB = "/usr/share/cfengine3/masterfiles/lib/stdlib.cf"

pytestmark = pytest.mark.limit(300)


def agent(folder, web, eif, memory):
    policy = folder / "nefs.cf"
    policy.write_text(f"""
        body file control {{ inputs => {{ "{STDLIB}" }}; }}
        bundle agent main
        {{
          vars:
            "d" string => "{web.path()}";
          files:
            "$(d)/." create => "true", perms => mog("0755", "root", "root");
            "$(d)/memory" create => "true", content => "{memory}$(const.n)", classes => if_repaired("changed");
            "$(d)/vcpus" create => "true", edit_line => insert_lines("2"), edit_defaults => empty;
            "$(d)/debug" create => "true", edit_template_string => "1$(const.n)",
              template_method => "inline_mustache", template_data => "{{}}";
            "$(d)/image" copy_from => local_dcp("{eif}"), perms => mog("0600", "root", "root");
            "$(d)/start" create => "true", content => "1$(const.n)", depends_on => {{ "restarted" }};
          commands:
            changed::
              "/bin/sh" args => "-c 'echo 0 >$(d)/start; cat $(d)/wait >/dev/null; echo 1 >$(d)/start'",
                contain => in_shell, handle => "restart";
          reports:
            any:: "" handle => "restarted", if => "cfengine_never";
        }}
        """)
    policy.chmod(0o600)
    return tool("cf-agent", "-K", "-I", "-f", policy, bound=120)


def test_promises(mount, eif, tmp_path):
    """content, edit_line, template, copy_from; its .cfsaved and .cf-before-edit are made beside them."""
    web = mount.enclave("web")
    said = agent(tmp_path, web, eif, "64M")
    assert "error" not in said, said
    assert web.get("memory") == b"64M\n" and web.get("vcpus").strip() == b"2"
    assert web.get("debug").strip() == b"1" and web.get("image") == eif.read_bytes()
    tool("sh", "-c", f"echo 1 >{web.path('start')}")
    web.reaches("running")
    assert agent(tmp_path, web, eif, "64M") == ""
    starts = web.events()["starts"]

    eif.write_bytes(eif.read_bytes())  # newer, the same
    said = agent(tmp_path, web, eif, "128M")
    assert "error" not in said, said
    web.reaches("running")
    assert int(web.get("memory.effective")) == 128 << 20 and web.events()["starts"] == starts + 1
    assert agent(tmp_path, web, eif, "128M") == ""
    assert web.events()["starts"] == starts + 1
