#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Shows the guard at work on a virtual host with a real L1 and a real L2: what "./bootstrap run --nested" runs.

    demo.py [--release=RELEASE] [--keep]    the demonstration; with --keep followed by a root shell in L0
    demo.py [--release=RELEASE] --shell     the shell alone
"""

import contextlib
import fcntl
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import termios
import tty

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import image
import vm

BOLD, GREEN, PLAIN = ("\033[1m", "\033[32m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
LEAVE = b"\x1d"  # Control-]


def say(text):
    print(f"\n{BOLD}{text}{PLAIN}", flush=True)


def show(machine, command, *, as_typed=None):
    """A command and what it prints, as root in L0."""
    print(f"\n{GREEN}l0# {as_typed or command}{PLAIN}", flush=True)
    answer = machine.try_run(command)
    print((answer["stdout"].strip("\n") + "\n" + answer["stderr"].strip("\n")).strip("\n"), flush=True)
    return answer["status"] == 0


def demonstrate(l0):
    l1 = vm.L1(l0, "web1")
    path = "/org/virtnest1/domain/" + l0.domain_object(l1.uuid)
    properties = f"busctl get-property org.virtnest1 {path} org.virtnest1.Domain L2State L2Source Guarded GuardReason"

    say("1. A host (L0) with virtnest, and a domain that is tagged to be a hypervisor itself (L1)")
    show(l0, "uname -r; virsh version | grep Running; systemctl is-active virtnestd")
    l1.define()
    show(l0, "virsh metadata web1 urn:virtnest:domain:1 --key nest --set \"<nesting policy='default'/>\" --config")
    l0.wait_property("web1", {"State": "in-sync"})
    show(l0, "virsh dumpxml --inactive web1 | grep -A 2 '<cpu'")

    say("2. It starts, and its kernel sees svm")
    l1.mark()
    show(l0, "virsh start web1")
    print(f"\n{l1.name}# grep -cw svm /proc/cpuinfo", flush=True)
    if l1.wait_boot() != "with":
        raise AssertionError("no svm in the L1")
    print(l1.run("grep -cw svm /proc/cpuinfo").splitlines()[-1], flush=True)
    l0.wait_property("web1", {"L2State": "none", "Guarded": False})
    show(l0, properties)

    say("3. It starts a guest of its own (L2); virtnest sees that from outside, and has QEMU refuse to save it")
    number = l1.start_l2()
    print(f"\n{l1.name}# l2 &\nl2: runs", flush=True)
    l0.wait_property("web1", {"L2State": "running", "Guarded": True})
    show(l0, properties)
    if show(l0, "virsh save web1 /var/lib/libvirt/images/web1.save"):
        raise AssertionError("that was to be refused")

    say("4. The L2 ends; the guard is lifted, and the same command goes through")
    count = l1.stop_l2(number)
    print(f"\n{l1.name}# kill $!\nl2: ended at {count}", flush=True)
    l0.wait_property("web1", {"L2State": "none", "Guarded": False})
    show(l0, properties)
    if not show(l0, "virsh save web1 /var/lib/libvirt/images/web1.save"):
        raise AssertionError("that was to succeed")
    show(l0, "virsh restore /var/lib/libvirt/images/web1.save")

    say("What virtnestd logged meanwhile")
    show(l0, "journalctl -u virtnestd -o cat --no-pager -g \"'web1'\"")


def shell(l0, folder):
    """A shell in L0 on this terminal, until it ends or Control-] is typed."""
    say("A root shell in L0. web1 is there if the demonstration ran, for the second half of the tour in README.md as well:\n"
        "virtnestctl show web1. Its console: cat /run/l1/web1.log, and type with echo 'l2 &' >/run/l1/web1.in. Control-] or\n"
        "exit ends it, and the machine.")
    size = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))) if os.isatty(0) else (24, 80)
    l0.run(f"stty -F /dev/hvc0 rows {size[0]} cols {size[1]}; systemctl start virtnest-vm-shell")
    terminal = socket.socket(socket.AF_UNIX)
    terminal.connect(f"{folder}/shell")
    before = termios.tcgetattr(0) if os.isatty(0) else None
    try:
        if before:
            tty.setraw(0)
        terminal.sendall(b"\n")
        while l0.process.poll() is None:
            readable, _, _ = select.select([0, terminal], [], [], 1)
            if not readable:
                if l0.try_run("systemctl is-active virtnest-vm-shell")["status"] != 0:
                    break
            if terminal in readable:
                os.write(1, terminal.recv(4096))
            if 0 in readable:
                data = os.read(0, 4096)
                if not data or LEAVE in data:
                    break
                terminal.sendall(data)
    finally:
        # It may have been hung up.
        with contextlib.suppress(OSError, termios.error):
            if before:
                termios.tcsetattr(0, termios.TCSADRAIN, before)
            print(flush=True)


def main():
    options = dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[1:])
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))
    reason = image.missing_reason()
    if reason:
        sys.exit(f"demo.py: {reason}")
    folder = tempfile.mkdtemp(prefix="virtnest-vm-", dir="/var/tmp")
    try:
        made = image.Image(options.get("release", "bookworm"))
        print(f"Booting Debian {made.release} on an emulated AMD host; its console is in {folder}/console.log", flush=True)
        with vm.Machine(made, folder, shell=True) as l0:
            l0.wait_up()
            if "shell" not in options:
                demonstrate(l0)
            if "keep" in options or "shell" in options:
                shell(l0, folder)
    except image.Missing as error:
        sys.exit(f"demo.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        if sys.exc_info()[0] in (None, SystemExit):
            shutil.rmtree(folder)
        else:
            print(f"The logs are in {folder}", file=sys.stderr)


if __name__ == "__main__":
    main()
