# SPDX-License-Identifier: LGPL-2.1-or-later
"""A virtual L0: an emulated AMD host with nested paging, where a real KVM runs an L1 and that an L2.

    with vm.Machine(image.Image("bookworm"), folder) as l0:
        l0.wait_up()
        l1 = vm.L1(l0, "web1")
        l1.define()
        l1.start()
        l1.start_l2()
        l0.wait_property("web1", {"L2State": "running"})

QEMU's TCG emulates SVM, so this takes no hardware and no rights but to read the image. Everything that a machine says is
kept in its folder: console.log, journal.log, qemu.log. It ends with the process that started it.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
import uuid as uuid_module

TAG_NS = "urn:virtnest:domain:1"
RUNTIME_NS = "urn:virtnest:runtime:1"

# An emulated machine on a busy one: what takes a second there may take ten here. Only a test that fails comes to the end.
PATIENCE = 180

L1_XML = """<domain type='kvm'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>/var/lib/libvirt/images/l1.kernel</kernel>
    <initrd>/var/lib/libvirt/images/l1.initrd</initrd>
    <cmdline>console=ttyS0 rdinit=/init mitigations=off random.trust_cpu=on panic=-1 loglevel=4 nokaslr</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='{cpu}'/>
  <on_reboot>restart</on_reboot>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    {devices}
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='pipe'>
      <source path='/run/l1/{name}'/>
    </serial>
  </devices>
</domain>
"""
DISK_XML = """<disk type='file' device='disk'>
      <driver name='qemu' type='qcow2'/>
      <source file='/var/lib/libvirt/images/{name}.qcow2'/>
      <target dev='vda' bus='virtio'/>
    </disk>"""

# Of an L0, in MiB.
MEMORY = 3072

# The reader holds both ends of the pipe, so that it outlives each QEMU, and each domain of that name.
CONSOLE = """set -e
[ ! -e /run/l1/{name}.in ] || exit 0
mkdir -p /run/l1
mkfifo -m 666 /run/l1/{name}.in /run/l1/{name}.out
systemd-run -q --unit=console-{name} sh -c 'exec cat <>/run/l1/{name}.out >>/run/l1/{name}.log'
systemd-run -q --unit=keyboard-{name} sh -c 'exec sleep infinity <>/run/l1/{name}.in'
"""


class CommandFailed(Exception):
    """A command in the machine failed. The message is what it printed."""


class Dead(Exception):
    """The machine does not run any more, or does not answer."""


def wait_for(what, look, timeout=PATIENCE):
    """The first true value that look() returns. It looks ever more rarely: to be asked keeps a machine busy."""
    deadline = time.monotonic() + timeout
    interval = 0.1
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s for {what}")
        time.sleep(interval)
        interval = min(interval * 1.5, 1)


def end_with_parent():
    """The machine is not to outlive a test that is killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Machine:
    """An L0. Two with the same network, the path of a socket, have one to each other; number 1 listens. @keep: what it writes
    stays on its disk."""

    def __init__(self, image, folder, name="l0", number=1, network=None, memory=MEMORY, shell=False, keep=False):
        self.image = image
        self.name = name
        self.number = number
        self.network = network
        self.memory = memory
        self.shell = shell
        self.keep = keep
        self.folder = pathlib.Path(folder)
        self.process = None
        self.socket = None
        self.answers = {}
        self.changed = threading.Condition()
        self.requests = 0
        self.greeted = False
        self.uuids = {}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def arguments(self):
        """The command line of QEMU."""
        uuid = uuid_module.uuid4()
        arguments = [
            "qemu-system-x86_64", "-name", self.name, "-uuid", str(uuid), "-nodefaults", "-no-reboot", "-display", "none",
            # One thread: with more, the emulated kernel at times dies when the last KVM guest does.
            "-accel", "tcg,thread=single,tb-size=512", "-cpu", "EPYC,svm=on", "-smp", "1", "-m", str(self.memory),
            "-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd),
            # Ticks that come without being asked for: QEMU at times loses an interrupt while it emulates SVM, and a kernel that
            # waits for one that it asked for would wait until something else happens. The next tick brings both.
            "-append", f"console=ttyS0 rdinit=/init net.ifnames=0 mitigations=off random.trust_cpu=on panic=-1 "
                       f"nohz=off highres=off loglevel=5 systemd.show_status=0 systemd.hostname={self.name} systemd.machine_id={uuid.hex}",
            # Otherwise it goes to a file without a name.
            "-drive", f"file={self.image.disk},if=none,id=root,format=raw,snapshot={'off' if self.keep else 'on'},cache=unsafe",
            "-device", "virtio-blk-pci,drive=root", "-device", "virtio-rng-pci",
            "-serial", f"file:{self.folder}/console.log", "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={self.folder}/agent,server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=agent",
            "-chardev", f"file,id=journal,path={self.folder}/journal.log",
            "-device", "virtserialport,chardev=journal,name=journal",
        ]
        if self.shell:
            arguments += ["-chardev", f"socket,id=shell,path={self.folder}/shell,server=on,wait=off",
                          "-device", "virtconsole,chardev=shell"]
        if self.network:
            listen = "on" if self.number == 1 else "off"
            arguments += ["-netdev", f"stream,id=net,server={listen},addr.type=unix,addr.path={self.network}",
                          "-device", f"virtio-net-pci,netdev=net,mac=52:54:00:00:00:0{self.number}"]
        return arguments

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(self.arguments(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, preexec_fn=end_with_parent,
                                            start_new_session=True)
        self.socket = socket.socket(socket.AF_UNIX)
        wait_for("QEMU's socket", self.connect, 60)
        if self.network and self.number == 1:
            # The other connects to it once, when it starts.
            wait_for("QEMU's network", lambda: self.check_alive() or os.path.exists(self.network), 60)
        threading.Thread(target=self.read, daemon=True).start()

    def connect(self):
        if self.process.poll() is not None:
            raise Dead(f"QEMU ended: {(self.folder / 'qemu.log').read_text(errors='replace')}")
        try:
            self.socket.connect(str(self.folder / "agent"))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def read(self):
        """The agent's answers, until the machine ends."""
        with contextlib.suppress(OSError, ValueError), self.socket.makefile("rb") as lines:
            for line in lines:
                answer = json.loads(line)
                with self.changed:
                    self.greeted = True
                    self.answers[answer["id"]] = answer
                    self.changed.notify_all()
        with self.changed:
            self.changed.notify_all()

    def power_off(self, timeout=2 * PATIENCE):
        """As an admin does; returns when it is off."""
        self.begin("systemctl poweroff")
        self.process.wait(timeout)

    def stop(self):
        """At once: there is nothing in it to be kept."""
        if self.process:
            self.process.kill()
            self.process.wait()
        if self.socket:
            self.socket.close()

    # Commands ---------------------------------------------------------------------------------------------------------

    def begin(self, command, timeout=PATIENCE):
        """Starts a command, and returns what finish() takes."""
        return self.request({"command": command}, timeout), command, timeout

    def request(self, request, timeout):
        with self.changed:
            self.requests += 1
            number = self.requests
        self.socket.sendall(json.dumps({"id": number, "timeout": timeout, **request}).encode() + b"\n")
        return number

    def answer(self, number, what, timeout):
        with self.changed:
            done = self.changed.wait_for(lambda: number in self.answers or self.process.poll() is not None, timeout + 60)
            answer = self.answers.pop(number, None)
        if answer is None:
            raise Dead(f"{self.name} {'ended' if done else 'does not answer'} during: {what}")
        return answer

    def finish(self, begun):
        """The answer to begin(), as a dict with status, stdout and stderr."""
        number, command, timeout = begun
        answer = self.answer(number, command, timeout)
        if answer["timed_out"]:
            raise TimeoutError(f"took longer than {timeout} s: {command}\n{answer['stdout']}{answer['stderr']}")
        return answer

    def try_run(self, command, timeout=PATIENCE):
        return self.finish(self.begin(command, timeout))

    def run(self, command, timeout=PATIENCE):
        """What a shell command prints. It must succeed."""
        answer = self.try_run(command, timeout)
        if answer["status"] != 0:
            raise CommandFailed(f"{command}: {answer['stderr']}{answer['stdout']}")
        return answer["stdout"]

    def refuses(self, command, part):
        """The command must fail with that in its message."""
        answer = self.try_run(command)
        text = answer["stderr"] + answer["stdout"]
        if answer["status"] == 0 or part not in text:
            raise AssertionError(f"{command} was to fail with {part!r}: status {answer['status']}: {text}")
        return text

    def write(self, path, text):
        self.run(f"mkdir -p $(dirname {path}) && printf %s {shlex.quote(text)} >{path}")

    def wait_file(self, path, offset, pattern, timeout=PATIENCE):
        """Waits until the file has that behind the offset, and returns the match."""
        number = self.request({"file": path, "offset": offset, "pattern": pattern}, timeout)
        answer = self.answer(number, f"waiting for {pattern!r} in {path}", timeout)
        if answer["timed_out"]:
            raise TimeoutError(f"waited {timeout} s for {pattern!r} in {path}:\n{answer['stdout'][-2000:]}")
        return re.search(pattern, answer["stdout"], re.MULTILINE)

    def wait_up(self):
        """systemd has started all there is to start, and udev is through."""
        wait_for("the agent", lambda: self.greeted or self.check_alive(), 5 * PATIENCE)
        state = self.try_run("systemctl is-system-running --wait", 5 * PATIENCE)["stdout"].strip()
        if state not in ("running", "degraded"):
            raise AssertionError(f"the machine is {state}")
        # KVM's module is loaded when udev comes to the processor, which nothing waits for.
        self.run("udevadm settle --timeout=300", 2 * PATIENCE)
        wait_for("KVM", lambda: self.try_run("test -c /dev/kvm")["status"] == 0)

    def check_alive(self):
        if self.process.poll() is not None:
            raise Dead(f"{self.name} ended")
        return False

    # virtnest and libvirt ---------------------------------------------------------------------------------------------

    def virsh(self, command, timeout=PATIENCE):
        return self.run(f"virsh -q {command}", timeout)

    def properties(self, name):
        """All of the domain's properties, or None."""
        path = self.domain_object(self.uuids[name])
        answer = self.try_run(f"busctl --json=short call org.virtnest1 /org/virtnest1/domain/{path} "
                              "org.freedesktop.DBus.Properties GetAll s org.virtnest1.Domain")
        if answer["status"] != 0:
            return None
        return {key: value["data"] for key, value in json.loads(answer["stdout"])["data"][0].items()}

    @staticmethod
    def domain_object(uuid):
        """The last part of a domain's object path, as sd_bus_path_encode() makes it."""
        return "".join(c if c.isalpha() or c.isdigit() and i else f"_{ord(c):02x}" for i, c in enumerate(uuid))

    def property(self, name, key):
        return (self.properties(name) or {}).get(key)

    def wait_property(self, name, wanted, timeout=PATIENCE):
        last = {}

        def look():
            last["properties"] = self.properties(name)
            return last["properties"] and all(last["properties"].get(key) == value for key, value in wanted.items())

        try:
            wait_for(f"{name} to be {wanted}", look, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it is {last['properties']}") from None
        return last["properties"]

    def journal(self, *matches):
        """Messages of virtnestd in this boot, as dicts."""
        text = self.run(f"journalctl -b -o json -u virtnestd {shlex.join(matches)}")
        return [json.loads(line) for line in text.splitlines()]


class L1:
    """A guest hypervisor in an L0: Linux, a shell on its console, KVM."""

    def __init__(self, machine, name, *, cpu="host-model", disk=False, memory=192, uuid=None):
        self.machine = machine
        self.name = name
        self.cpu = cpu
        self.disk = disk
        self.memory = memory
        self.uuid = uuid or str(uuid_module.uuid4())
        machine.uuids[name] = self.uuid
        self.commands = 0
        self.seen = 0
        self.l2_count = 0

    def prepare(self):
        """What its definition refers to; also for a host that it is to be migrated to."""
        self.machine.run(CONSOLE.format(name=self.name))
        if self.disk:
            self.machine.run(f"qemu-img create -q -f qcow2 /var/lib/libvirt/images/{self.name}.qcow2 16M")

    def define(self, *, prepare=True):
        if prepare:
            self.prepare()
        xml = L1_XML.format(name=self.name, uuid=self.uuid, cpu=self.cpu, memory=self.memory,
                            devices=DISK_XML.format(name=self.name) if self.disk else "")
        self.machine.write(f"/run/l1/{self.name}.xml", xml)
        self.machine.virsh(f"define /run/l1/{self.name}.xml")

    def tag(self, policy="default"):
        """The documented command."""
        self.machine.run(f"virsh -q metadata {self.name} {TAG_NS} --key nest "
                         f"--set \"<nesting policy='{policy}'/>\" --config")

    def start(self):
        self.mark()
        self.machine.virsh(f"start {self.name}")
        return self.wait_boot()

    # Console ----------------------------------------------------------------------------------------------------------

    def mark(self):
        """From here on counts what wait_console() looks for."""
        self.seen = int(self.machine.run(f"stat -c %s /run/l1/{self.name}.log"))

    def wait_console(self, pattern, timeout=PATIENCE):
        return self.machine.wait_file(f"/run/l1/{self.name}.log", self.seen, pattern, timeout)

    def wait_boot(self):
        """Whether its kernel sees svm: "with" or "without"."""
        return self.wait_console(r"^l1: up (with|without) svm$", 2 * PATIENCE)[1]

    def type(self, text):
        """A line, typed on the console."""
        self.machine.run(f"printf '%s\\n' {shlex.quote(text)} >/run/l1/{self.name}.in", 20)

    def run(self, command, timeout=PATIENCE):
        """What a command in the L1 prints."""
        self.commands += 1
        self.mark()
        # The echo of what is typed has no number behind the colon.
        self.type(f"{command}; echo end-{self.commands}:$?")
        match = self.wait_console(rf"(?s)(.*)end-{self.commands}:(\d+)", timeout)
        if match[2] != "0":
            raise CommandFailed(f"in {self.name}: {command}: {match[1]}")
        return match[1]

    # L2 ---------------------------------------------------------------------------------------------------------------

    def start_l2(self, options=""):
        """Returns its number, once it runs."""
        self.l2_count += 1
        number = self.l2_count
        self.mark()
        self.type(f"l2 {options} >/tmp/l2-{number} 2>&1 & echo $! >/tmp/pid-{number}; "
                  f"until grep -s 'l2: ' /tmp/l2-{number}; do usleep 50000; done")
        self.wait_console(r"^l2: runs")
        return number

    def begin_l2(self, options="", after=0):
        """The same without waiting; it starts that many seconds later."""
        self.l2_count += 1
        self.type(f"usleep {after * 1000000:.0f}; l2 {options} >/tmp/l2-{self.l2_count} 2>&1 & echo $! >/tmp/pid-{self.l2_count}")
        return self.l2_count

    def signal_l2(self, number, name):
        self.run(f"kill -{name} $(cat /tmp/pid-{number})")

    def stop_l2(self, number):
        """Returns the count that it came to."""
        # Not for others that run.
        output = self.run(f"pid=$(cat /tmp/pid-{number}); kill -TERM $pid; wait $pid; cat /tmp/l2-{number}")
        return int(re.search(r"l2: ended at (\d+)", output)[1])

    def stop_all_l2(self):
        self.run("killall -CONT l2; killall -TERM l2; wait")

    @property
    def state(self):
        return self.machine.virsh(f"domstate {self.name}").strip()
