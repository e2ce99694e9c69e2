# SPDX-License-Identifier: GPL-2.0-or-later
"""
nefs-device's control socket from inside the lab's parent VM (docs/man/nefs-device.8), and what of Linux's
driver there is only by ioctl.
"""
import contextlib
import fcntl
import glob
import os
import select
import struct
import time

from harness import OpenFd

NE_CREATE_VM = 0x8008AE20
NE_ADD_VCPU = 0xC004AE21
NO_CPUS_AVAIL_IN_POOL = 272


def find():
    """The virtio port's device node, or None: this is not the lab."""
    for name in glob.glob("/sys/class/virtio-ports/*/name"):
        with open(name) as file:
            if file.read() == "nefs.control\n":
                return "/dev/" + os.path.basename(os.path.dirname(name))
    return None


class DevicePort(OpenFd):
    """One request at a time; the port has one user at a time."""

    def __init__(self):
        self.fd = os.open(find(), os.O_RDWR | os.O_CLOEXEC)
        self.rest = b""
        # Whoever was here before may have left half a request, or an answer unread.
        os.write(self.fd, b"\nhello-%d\n" % os.getpid())
        while b"hello-%d" % os.getpid() not in self.line():
            pass

    def line(self, bound=30):
        end = time.monotonic() + bound
        while b"\n" not in self.rest:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.fd], [], [], left)[0], "the device is silent"
            self.rest += os.read(self.fd, 65536)
        line, self.rest = self.rest.split(b"\n", 1)
        return line

    def ask(self, request):
        """The lines of the answer."""
        os.write(self.fd, request.encode() + b"\n")
        lines = []
        while True:
            line = self.line()
            if line == b"ok":
                return lines
            assert not line.startswith(b"error "), f"{request}: {line}"
            lines.append(line)


def ask(request):
    with DevicePort() as port:
        return port.ask(request)


@contextlib.contextmanager
def all_cpus(most=1 << 16):
    """Gives an enclave that is never started the pool's CPUs, the lowest first; how many it got."""
    device = os.open("/dev/nitro_enclaves", os.O_RDWR | os.O_CLOEXEC)
    count = 0
    try:
        enclave = fcntl.ioctl(device, NE_CREATE_VM, bytearray(8))
    except OSError as error:
        assert error.errno == NO_CPUS_AVAIL_IN_POOL, error
        yield 0
        return
    finally:
        os.close(device)
    try:
        while count < most:
            fcntl.ioctl(enclave, NE_ADD_VCPU, bytearray(struct.pack("I", 0)))
            count += 1
    except OSError as error:
        assert error.errno == NO_CPUS_AVAIL_IN_POOL, error
    try:
        yield count
    finally:
        os.close(enclave)


def free_cpus():
    """How many CPUs an enclave could have now. Takes them all for a moment."""
    with all_cpus() as count:
        return count


def free_pages():
    """Huge pages of 2 MiB, of all nodes."""
    with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages") as file:
        return int(file.read())
