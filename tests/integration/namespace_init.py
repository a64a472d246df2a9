#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The first process of a temporary host: see harness.py.

It runs inside new mount, PID, network and UTS namespaces (`unshare` made them), lays private folders over the ones that
libvirtd uses, and then starts and signals processes as the harness asks. Being PID 1 it owns every process below it,
QEMU guests included. When the harness closes its end of the socket, on purpose or by dying, this process ends them all,
removes the folder and exits: nothing outlives a test, whatever became of the test.
"""

import ctypes
import errno
import fcntl
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys

MS_BIND = 4096
MS_REC = 16384
MS_MOVE = 8192
MS_PRIVATE = 1 << 18

# The device nodes that QEMU and libvirtd open. Not among them: kvm. Where it exists but cannot be used, libvirt probes
# QEMU anew at each define, which takes many seconds, and the tests want emulated guests in any case.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "net/tun")

libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, fstype=None, flags=0, options=None):
    encode = lambda text: None if text is None else os.fsencode(text)
    if libc.mount(encode(source), encode(target), encode(fstype), ctypes.c_ulong(flags), encode(options)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def bind(source, target):
    os.makedirs(source, exist_ok=True)
    # Left behind where libvirt's packages did not create it: an empty folder that belongs to them.
    os.makedirs(target, exist_ok=True)
    mount(source, target, flags=MS_BIND)


def make_private_dev(top):
    dev = f"{top}/dev"
    os.makedirs(dev)
    mount("tmpfs", dev, "tmpfs", options="mode=755")
    for name in DEVICES:
        if os.path.exists(f"/dev/{name}"):
            os.makedirs(os.path.dirname(f"{dev}/{name}"), exist_ok=True)
            open(f"{dev}/{name}", "w").close()
            mount(f"/dev/{name}", f"{dev}/{name}", flags=MS_BIND)
    os.mkdir(f"{dev}/pts")
    mount("devpts", f"{dev}/pts", "devpts", options="newinstance,ptmxmode=0666,mode=620")
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    os.mkdir(f"{dev}/shm")
    mount("tmpfs", f"{dev}/shm", "tmpfs", options="mode=1777")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")
    os.symlink("/proc/self/fd", f"{dev}/fd")
    mount(dev, "/dev", flags=MS_MOVE)


def add_accounts(top):
    """libvirtd refuses to start without the user that its QEMU driver was built to use, and in Debian only
    libvirt-daemon-system, which would also start the machine's own libvirtd, creates that."""
    for path, entry in (("/etc/passwd", "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin"),
                        ("/etc/group", "libvirt-qemu:x:64055:"), ("/etc/group", "kvm:x:64056:")):
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if not any(line.startswith(entry.split(":")[0] + ":") for line in text.splitlines()):
            copy = f"{top}/{os.path.basename(path)}"
            with open(copy, "w", encoding="utf-8") as file:
                file.write(f"{text.rstrip()}\n{entry}\n")
            mount(copy, path, flags=MS_BIND)


def loopback_up():
    """A guest's VNC server listens on 127.0.0.1, and a new network namespace has its loopback interface down."""
    SIOCSIFFLAGS, IFF_UP = 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))


def isolate(top):
    # util-linux made the mount tree private; said again, since a mount that spread would be a mess on the real host.
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    folder = os.open(top, os.O_PATH)
    # Hides the machine's own libvirtd, system bus and systemd.
    mount("tmpfs", "/run", "tmpfs", options="mode=755")
    if not os.path.exists(f"{top}/libvirt"):  # the temporary folder itself lies below /run
        os.makedirs(top)
        mount(f"/proc/self/fd/{folder}", top, flags=MS_BIND)
    os.close(folder)
    bind(f"{top}/libvirt/run", "/run/libvirt")
    bind(f"{top}/dbus", "/run/dbus")
    # The hook that libvirtd runs knows of no --root.
    bind(f"{top}/root/run/virtnest", "/run/virtnest")
    if os.path.isdir("/etc/virtnest"):
        bind(f"{top}/root/etc/virtnest", "/etc/virtnest")
    bind(f"{top}/libvirt/etc", "/etc/libvirt")
    bind(f"{top}/libvirt/lib", "/var/lib/libvirt")
    bind(f"{top}/libvirt/cache", "/var/cache/libvirt")
    bind(f"{top}/libvirt/log", "/var/log/libvirt")
    add_accounts(top)
    make_private_dev(top)
    loopback_up()
    # With a dot in it: libvirt asks the resolver about a name that has none.
    socket.sethostname(f"{os.path.basename(top)}.test")


class Init:
    def __init__(self, sock, top):
        self.sock = sock
        self.top = top
        self.children = {}  # pid -> (the harness's number for it, Popen)

    def send(self, **message):
        try:
            self.sock.send(json.dumps(message).encode())
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                raise

    def spawn(self, number, argv, env, log, cwd):
        with open(log, "ab") as output:
            try:
                process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output,
                                           stderr=output, start_new_session=True, restore_signals=True)
            except OSError as error:
                self.send(event="exit", id=number, error=f"{argv[0]}: {error.strerror}")
                return
        self.children[process.pid] = (number, process)
        self.send(event="started", id=number, pid=process.pid)

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number, process = self.children.pop(pid, (None, None))
            if process is not None:
                process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it again
                self.send(event="exit", id=number, status=process.returncode)

    def signal(self, number, signum):
        for pid, (other, _) in self.children.items():
            if other == number:
                os.kill(pid, signum)

    def handle(self, message):
        operation = message.pop("op")
        if operation == "spawn":
            self.spawn(message["id"], message["argv"], message["env"], message["log"], message["cwd"])
        elif operation == "signal":
            self.signal(message["id"], message["signal"])

    def run(self):
        wakeup, wakeup_writer = os.pipe()
        for fd in (wakeup, wakeup_writer):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wakeup_writer)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.send(event="ready")
        while True:
            readable, _, _ = select.select([self.sock, wakeup], [], [])
            if wakeup in readable:
                os.read(wakeup, 4096)
                self.reap()
            if self.sock in readable:
                try:
                    data = self.sock.recv(1 << 20)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return
                self.handle(json.loads(data))

    def end(self):
        try:
            os.kill(-1, signal.SIGKILL)  # everything in this PID namespace but ourselves
        except ProcessLookupError:
            pass
        try:
            while True:
                os.waitpid(-1, 0)
        except ChildProcessError:
            pass
        shutil.rmtree(self.top, ignore_errors=True)


def main():
    sock = socket.socket(fileno=int(sys.argv[1]))
    init = Init(sock, sys.argv[2])
    # Python's handler would raise KeyboardInterrupt; the kernel drops unhandled signals to the first process of a
    # namespace. Not SIG_IGN: the processes started here would inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        isolate(init.top)
        init.run()
    except Exception as error:  # reported to the harness, which shows it
        init.send(event="failed", error=f"{type(error).__name__}: {error}")
    finally:
        init.end()


if __name__ == "__main__":
    main()
