# SPDX-License-Identifier: GPL-2.0-or-later
"""An image that boots: a real kernel and a busybox whose init does what the command line says."""
import os
import stat

import eif_image

CMDLINE = "reboot=k panic=1 pci=off console=ttyS0 quiet no_timer_check"
FLOOD = 1300000

# Kernel parameters that it does not know become init's environment: do=...
INIT = f"""#!/bin/busybox sh
echo "guest: $do on $(/bin/busybox uname -m)"
case $do in
quit) /bin/busybox reboot -f ;;
tick) while :; do echo tick; /bin/busybox sleep 1; done ;;
flood)
	/bin/busybox yes 0123456789abcdef0123456789abcdef | /bin/busybox head -c {FLOOD}
	echo; echo "guest: flood ends" ;;
esac
while :; do /bin/busybox sleep 1000; done
""".encode()


def entry(name, mode, data=b"", device=(0, 0)):
    """One member of a newc cpio archive."""
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    head += bytes(-len(head) % 4)
    return head + data + bytes(-len(data) % 4)


def ramdisk():
    with open(os.environ["NEFS_BUSYBOX"], "rb") as file:
        busybox = file.read()
    folder, program = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
    return b"".join([
        entry("bin", folder), entry("dev", folder),
        entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)),
        entry("bin/busybox", program, busybox), entry("init", program, INIT),
        entry("TRAILER!!!", 0)])


def image(what):
    """An image whose init does `what`: quit, tick, flood, or anything else: sleeps."""
    with open(os.environ["NEFS_KERNEL"], "rb") as file:
        kernel = file.read()
    return eif_image.build(kernel=kernel, cmdline=f"{CMDLINE} do={what}".encode(),
                           ramdisks=(ramdisk(),))
