#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A temporary libvirt host: a private libvirtd and D-Bus daemon, and virtnestd between them.

    with TemporaryHost() as host:
        host.start_daemon()
        host.define("web1")
        host.tag("web1")
        host.wait_state("web1", "in-sync")

Everything runs in namespaces of its own below one temporary folder (see namespace_init.py), so that several hosts can
live side by side, none touches the machine's libvirtd, and all of it ends when the test does, even by SIGKILL. Tests
drive it from outside through `virsh` and `busctl`, as an administrator would.
"""

import contextlib
import itertools
import json
import os
import pathlib
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid as uuid_module
from xml.sax.saxutils import escape, quoteattr

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent

TAG_NS = "urn:virtnest:domain:1"
STATE_NS = "urn:virtnest:state:1"
NAME = "org.virtnest1"
ROOT_PATH = "/org/virtnest1"
MANAGER = "org.virtnest1.Manager"
HOST = "org.virtnest1.Host"
DOMAIN = "org.virtnest1.Domain"
PROPERTIES = "org.freedesktop.DBus.Properties"

# Generous, since it is only ever reached by a failing test: a sanitizer build on a loaded two-core machine is slow.
TIMEOUT = 20

BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
  <include>{policy}</include>
</busconfig>
"""

# libvirt refuses to migrate to the host that it finds itself on, by this number and by the host's name.
LIBVIRTD_CONFIG = """auth_unix_rw = "none"
unix_sock_group = "root"
host_uuid = "{host_uuid}"
"""

# No security driver, cgroups or namespaces: those need what a container or a build machine does not give.
QEMU_CONFIG = """user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
max_core = 0
"""

# What libvirtd's error log says on any machine without the devices and programs that these tests do without.
LIBVIRTD_NOISE = re.compile("virNetDevSendEthtoolIoctl|dnsmasqCapsNewFromBinary|udevGetDMIData|dmidecode|/dev/kvm|"
                            "virSecurityManagerNew|virCgroupDetectControllers|End of file while reading data")

# Probing QEMU takes libvirtd most of a second. Its result is kept here from one host to the next of the same test file;
# libvirtd itself checks that it still fits the machine.
qemu_capabilities = {}

# That of Debian 12. Nothing is read of the kernel that the tests run on.
LINUX_RELEASE = "6.1.0-37-amd64"
CPU_FLAGS = {
    "amd": ("AuthenticAMD", "fpu vme de pse tsc msr lm svm npt nrip_save"),
    "intel": ("GenuineIntel", "fpu vme de pse tsc msr lm vmx ept vpid"),
    "none": ("AuthenticAMD", "fpu vme de pse tsc msr lm"),
}
KVM_MODULE = {"amd": "kvm_amd", "intel": "kvm_intel"}


class CommandFailed(Exception):
    """A virsh or busctl call failed. The message is what it printed."""


class Missing(Exception):
    """This machine lacks what a temporary host needs. The message says what."""


def missing_reason():
    """Why no temporary host can be had on this machine, or None."""
    if os.geteuid() != 0:
        return "needs root, for its own mount and PID namespaces"
    for program in ("libvirtd", "virsh", "qemu-system-x86_64", "dbus-daemon", "busctl", "unshare"):
        if find_program(program) is None:
            return f"{program} is not installed"
    probe = subprocess.run(["unshare", "--mount", "--pid", "--net", "--uts", "--fork", "--mount-proc", "true"],
                           capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        return f"no new namespaces here: {probe.stderr.strip()}"
    return None


def find_program(name):
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")


def find_daemon():
    """The virtnestd under test: $VIRTNESTD, or the one of the build folder that the test runs in or beside."""
    if os.environ.get("VIRTNESTD"):
        return os.environ["VIRTNESTD"]
    for folder in (os.environ.get("top_builddir"), os.getcwd(), SOURCE / "_build", SOURCE / "_build-asan", SOURCE):
        if folder and os.access(f"{folder}/virtnestd", os.X_OK) and os.path.isfile(f"{folder}/virtnestd"):
            return f"{folder}/virtnestd"
    return None


def unwrap(value):
    """busctl's JSON carries the D-Bus type of each variant; tests want the bare values."""
    if isinstance(value, dict):
        if set(value) == {"type", "data"}:
            return unwrap(value["data"])
        return {key: unwrap(item) for key, item in value.items()}
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    return value


def run(argv, *, timeout=60, env=None, text_input=None):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False, input=text_input,
                              env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})})
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{shlex.join(map(str, argv))}: no answer in {timeout} s") from error
    if done.returncode != 0:
        raise CommandFailed(f"{shlex.join(map(str, argv))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def domain_xml(name, *, uuid=None, kind="qemu", cpu="", metadata="", devices="", vcpus=1, memory=32, extra=""):
    """A guest as small as can be: no disk, no network; its firmware finds nothing to boot and idles."""
    return f"""<domain type='{kind}'>
  <name>{escape(name)}</name>
  <uuid>{uuid or uuid_module.uuid4()}</uuid>
  <metadata>{metadata}</metadata>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os><type arch='x86_64' machine='{'pc' if kind == 'qemu' else 'hvm'}'>hvm</type></os>
  {cpu}
  {extra}
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    {devices}
  </devices>
</domain>
"""


def tag_xml(policy="default"):
    attribute = "" if policy is None else f" policy={quoteattr(policy)}"
    return f"<nest:nesting xmlns:nest='{TAG_NS}'{attribute}/>"


def cpu_of(xml):
    """The <cpu> element of a definition, byte for byte; '' if it has none."""
    match = re.search(r"^  <cpu\b[^>]*?(/>|>.*?^  </cpu>)", xml, re.DOTALL | re.MULTILINE)
    return match.group(0) if match else ""


def without_cpu_and_tag(xml):
    """What no rewrite may change: all of a definition but <cpu>, the tag and virtnest's own state."""
    xml = xml.replace(cpu_of(xml), "")
    for namespace, element in ((STATE_NS, "state"), (TAG_NS, "nesting")):
        xml = re.sub(rf"""<((?:\w+:)?){element}\b[^>]*["']{namespace}["'][^>]*?(/>|>.*?</\1{element}>)""", "", xml,
                     flags=re.DOTALL)
    # libvirt itself writes <metadata/>, or <metadata></metadata> once something was in it.
    return re.sub(r"<metadata>\s*</metadata>|<metadata/>|\s+", " ", re.sub(r"\s+", " ", xml)).replace("  ", " ")


class Process:
    """A process inside the temporary host."""

    def __init__(self, host, number, argv, log):
        self.host = host
        self.number = number
        self.argv = argv
        self.log = pathlib.Path(log)
        self.pid = None  # as seen inside the host
        self.status = None  # like subprocess: negative for a signal
        self.error = None
        self.ended = False
        self.asked_to_end = False
        self.notifications = []  # what it told systemd, one assignment each, such as READY=1

    @property
    def name(self):
        return os.path.basename(self.argv[0])

    @property
    def ready(self):
        return "READY=1" in self.notifications

    def signal(self, signum):
        self.host.command(op="signal", id=self.number, signal=int(signum))

    def wait(self, timeout=TIMEOUT):
        if not self.host.inbox.wait_until(lambda: self.ended, timeout):
            raise AssertionError(f"{self.name} did not end within {timeout} s")
        return self.status

    def kill(self):
        self.asked_to_end = True
        self.signal(signal.SIGKILL)
        return self.wait()

    def log_text(self):
        try:
            return self.log.read_text(errors="replace")
        except FileNotFoundError:
            return ""


class Inbox:
    """Reads all that the host sends, on one thread, so that waiting reacts at once and no sender ever blocks."""

    def __init__(self):
        self._changed = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._wake = os.pipe()
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._arrivals = 0
        self._failure = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def watch(self, source, handle):
        """Calls handle() on the thread whenever source is readable, until it returns False."""
        self._selector.register(source, selectors.EVENT_READ, handle)
        os.write(self._wake, b".")

    def _run(self):
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == self._wakeup:
                    if os.read(self._wakeup, 4096).endswith(b"q"):
                        return
                    continue
                with self._changed:
                    try:
                        more = key.data()
                    except Exception as error:  # told to whoever waits
                        self._failure, more = error, False
                    if not more:
                        self._selector.unregister(key.fileobj)
                    self._arrivals += 1
                    self._changed.notify_all()

    def wait_until(self, done, timeout):
        """Waits until done() holds, looking again at each arrival; False if it does not after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._raise_failure() or done(), timeout)

    def _raise_failure(self):
        if self._failure is not None:
            raise self._failure

    @property
    def arrivals(self):
        return self._arrivals

    def wait_for_arrival(self, since, timeout):
        """Waits until something arrived after `since`, a value of arrivals, for at most `timeout` seconds."""
        self.wait_until(lambda: self._arrivals != since, timeout)

    def close(self):
        os.write(self._wake, b"q")
        self._thread.join()
        self._selector.close()
        os.close(self._wakeup)
        os.close(self._wake)


# What changes without a signal, and says so.
SILENT = [name for file in (SOURCE / "policy").glob("org.virtnest1.*.xml")
          for name in re.findall(r'<property name="(\w+)"[^/]*>\s*<annotation name="[^"]*EmitsChangedSignal" value="false"',
                                 file.read_text(encoding="utf-8"))]
BUS_DRIVER = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


class BusMonitor:
    """Follows the signals of virtnestd with `busctl monitor`."""

    def __init__(self, address, inbox):
        self.signals = []
        self._partial = b""
        self.process = subprocess.Popen(
            ["busctl", f"--address={address}", "--json=short", f"--match=type='signal',sender='{NAME}'", "monitor"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        # "Monitoring bus message stream." comes once the match is in place, and nothing after it.
        self.process.stderr.readline()
        inbox.watch(self.process.stdout, self._read)

    def _read(self):
        data = os.read(self.process.stdout.fileno(), 1 << 16)
        *lines, self._partial = (self._partial + data).split(b"\n")
        self.signals += [json.loads(line) for line in lines if line.startswith(b"{")]
        return data

    def properties(self, sender):
        """{(path, interface): {name: value}}, as far as that sender has told."""
        told = {}
        for signal in self.signals:
            if signal["sender"] != sender:
                continue
            data = unwrap(signal["payload"]["data"])
            if signal["member"] == "InterfacesAdded":
                told.update({(data[0], interface): dict(values) for interface, values in data[1].items()})
            elif signal["member"] == "InterfacesRemoved":
                for interface in data[1]:
                    told.pop((data[0], interface), None)
            elif signal["member"] == "PropertiesChanged":
                told.setdefault((signal["path"], data[0]), {}).update(data[1])
        return told

    def stop(self):
        self.process.kill()
        self.process.wait()


class TemporaryHost:
    """See the module's description. cpu/nested are the host facts that virtnestd finds below --root."""

    def __init__(self, *, cpu="amd", nested="1", libvirtd=True, bus=True, config=None):
        self.processes = []
        self.libvirtd = self.bus = self.daemon = None
        self._numbers = itertools.count(1)
        self._up = False
        self._unshare = None
        self._sockets = []
        self.inbox = Inbox()
        self._monitor = None
        self._want_libvirtd = libvirtd
        self._want_bus = bus
        # The path of a Unix socket has no more than 107 bytes.
        self.top = tempfile.mkdtemp(prefix="virtnest-", dir="/tmp" if len(tempfile.gettempdir()) > 50 else None)
        self.root = f"{self.top}/root"
        self.logs = f"{self.top}/log"
        self.uri = f"qemu+unix:///system?socket={self.top}/libvirt/run/libvirt-sock"
        self.bus_address = f"unix:path={self.top}/dbus/system_bus_socket"
        self._lay_out(cpu, nested, config)

    # The folder

    def _lay_out(self, cpu, nested, config):
        for folder in ("log", "dbus", "libvirt/etc", "root/etc/virtnest/policy.d", "root/usr/lib/virtnest/policy.d",
                       "root/run/virtnest", "root/var/lib", "inject"):
            os.makedirs(f"{self.top}/{folder}")
        pathlib.Path(f"{self.top}/bus.conf").write_text(
            BUS_CONFIG.format(socket=f"{self.top}/dbus/system_bus_socket", policy=SOURCE / "policy/org.virtnest1.conf"))
        pathlib.Path(f"{self.top}/libvirt/etc/libvirtd.conf").write_text(
            LIBVIRTD_CONFIG.format(host_uuid=uuid_module.uuid4()))
        pathlib.Path(f"{self.top}/libvirt/etc/qemu.conf").write_text(QEMU_CONFIG)
        for policy in (SOURCE / "policy").glob("*.policy"):
            if not policy.name.startswith("org."):  # that one is polkit's
                shutil.copy(policy, f"{self.root}/usr/lib/virtnest/policy.d/")
        for name, content in qemu_capabilities.items():
            self._capabilities_folder.mkdir(parents=True, exist_ok=True)
            (self._capabilities_folder / name).write_bytes(content)
        self.set_host_facts(cpu, nested)
        if config is not None:
            self.configure(config)

    @property
    def _capabilities_folder(self):
        return pathlib.Path(self.top, "libvirt/cache/qemu/capabilities")

    def set_host_facts(self, cpu, nested):
        """cpu is amd, intel or none; nested is the kvm module's parameter (Y, 1, N, 0), or None: module not loaded."""
        vendor, flags = CPU_FLAGS[cpu]
        self.write("proc/cpuinfo", "".join(f"processor\t: {number}\nvendor_id\t: {vendor}\nmodel name\t: virtnest test"
                                           f"\nflags\t\t: {flags}\n\n" for number in range(2)))
        self.write("proc/sys/kernel/osrelease", f"{LINUX_RELEASE}\n")
        shutil.rmtree(f"{self.root}/sys", ignore_errors=True)
        if nested is not None and cpu in KVM_MODULE:
            self.write(f"sys/module/{KVM_MODULE[cpu]}/parameters/nested", f"{nested}\n")
            self.write(f"sys/module/{KVM_MODULE[cpu]}/initstate", "live\n")
            self.write("sys/class/misc/kvm/dev", "10:232\n")
            self.write("sys/module/kvm/initstate", "live\n")

    def write(self, path, text):
        """A file below --root, swapped in whole as configuration management does."""
        target = pathlib.Path(self.root, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        temporary.write_text(text)
        temporary.rename(target)

    def remove(self, path):
        pathlib.Path(self.root, path).unlink()

    def remove_folder(self, path):
        shutil.rmtree(f"{self.root}/{path}")

    @property
    def copies_folder(self):
        return pathlib.Path(self.root, "var/lib/virtnest/definitions")

    def copies(self, uuid):
        """The definitions of a domain that were kept, oldest first."""
        return sorted(self.copies_folder.glob(f"{uuid}.*.xml"))

    def write_file(self, name, text):
        path = pathlib.Path(self.top, name)
        path.write_text(text)
        return path

    def exists(self, name):
        return pathlib.Path(self.top, name).exists()

    def read(self, name):
        return pathlib.Path(self.top, name).read_text()

    def configure(self, text):
        self.write("etc/virtnest/virtnest.conf", f"[Manager]\n{text.strip()}\n")

    def policy(self, name, text):
        self.write(f"etc/virtnest/policy.d/{name}.policy", text)

    # Life

    def __enter__(self):
        try:
            self._start_namespaces()
            if self._want_bus:
                self.start_bus()
            if self._want_libvirtd:
                self.start_libvirtd()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind, value, traceback):
        try:
            if kind is None:
                self._check_daemon()
            elif kind is not KeyboardInterrupt and getattr(value, "code", 1) != 0:
                self.show_logs()
        except AssertionError:
            self.show_logs()
            raise
        finally:
            self.stop()

    def _check_daemon(self):
        """A daemon that still runs is stopped as systemd would, and must take that well: leaks show at exit."""
        if self.daemon is None or self.daemon.asked_to_end:
            return
        if self.daemon.ended:
            raise AssertionError(f"virtnestd ended by itself, status {self.daemon.status}")
        if self._monitor is not None and self.bus is not None and not self.bus.ended:
            self._check_signals()
        self.stop_daemon()

    def _check_signals(self):
        """Who has read all properties once and listens since knows as much as who reads them now."""
        def differences():
            owner = json.loads(self.busctl("call", *BUS_DRIVER, "GetNameOwner", "s", NAME))["data"][0]
            told = self._monitor.properties(owner)
            read = self.call(ROOT_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")[0]
            for path, interfaces in read.items():
                for interface, properties in interfaces.items():
                    known = told.get((path, interface), {})
                    for name, value in properties.items():
                        if name in known and known[name] != value and name not in SILENT:
                            yield f"{path} {name}: {value!r}, and told was {known[name]!r}"

        try:
            self.wait_for("signals of all changes", lambda: not list(differences()), 5)
        except AssertionError:
            raise AssertionError("\n".join(["what was read last was not told of:", *differences()])) from None

    def _start_namespaces(self):
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sockets.append(self._control)
        with theirs:
            self._unshare = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--net", "--uts", "--fork", "--kill-child", "--mount-proc",
                 sys.executable, str(HERE / "namespace_init.py"), str(theirs.fileno()), self.top],
                pass_fds=[theirs.fileno()], start_new_session=True, stdin=subprocess.DEVNULL)
        self.inbox.watch(self._control, self._handle_message)
        if not self.inbox.wait_until(lambda: self._up, TIMEOUT):
            raise Missing("the namespaces did not come up")

    def stop(self):
        """Ends everything and removes the folder. May be called twice."""
        if self._capabilities_folder.is_dir():
            qemu_capabilities.update((path.name, path.read_bytes()) for path in self._capabilities_folder.glob("*.xml"))
        if self._monitor is not None:
            self._monitor.stop()
            self._monitor = None
        if self.inbox is not None:
            self.inbox.close()
            self.inbox = None
        for sock in self._sockets:
            sock.close()  # that of _control is the signal to end; see namespace_init.py
        if self._unshare is not None:
            try:
                self._unshare.wait(timeout=TIMEOUT)
            except subprocess.TimeoutExpired:
                self._unshare.kill()  # --kill-child takes the rest along
                self._unshare.wait()
            self._unshare = None
        shutil.rmtree(self.top, ignore_errors=True)

    # Processes

    def command(self, **message):
        self._control.send(json.dumps(message).encode())

    def _handle_message(self):
        data = self._control.recv(1 << 16)
        if not data:
            raise AssertionError("the temporary host's first process died")
        message = json.loads(data)
        if message["event"] == "failed":
            raise Missing(message["error"])
        if message["event"] == "ready":
            self._up = True
        for process in self.processes:
            if process.number == message.get("id"):
                if message["event"] == "started":
                    process.pid = message["pid"]
                else:
                    process.ended = True
                    process.status = message.get("status")
                    process.error = message.get("error")
        return True

    def _make_notify_socket(self, process):
        """Where systemd would hear from the service. It is read all the time: a full one would block the sender."""
        path = f"{self.top}/notify-{process.number}"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sockets.append(sock)
        sock.bind(path)

        def receive():
            process.notifications += sock.recv(1 << 16).decode(errors="replace").splitlines()
            return True

        self.inbox.watch(sock, receive)
        return path

    def spawn(self, argv, *, env=None, log=None, notify=False, timeout=TIMEOUT):
        """Starts a process inside the host; with notify, returns once it has said READY=1 as systemd would hear it."""
        number = next(self._numbers)
        log = log or f"{self.logs}/{os.path.basename(argv[0])}.log"
        process = Process(self, number, argv, log)
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                       "HOME": self.top, **(env or {})}
        if notify:
            environment["NOTIFY_SOCKET"] = self._make_notify_socket(process)
        self.processes.append(process)
        self.command(op="spawn", id=number, argv=argv, env=environment, log=log, cwd="/")
        self.inbox.wait_until(lambda: process.ended or (process.ready if notify else process.pid), timeout)
        if process.error:
            raise AssertionError(process.error)
        if notify and not process.ready:
            ended = f"ended with status {process.status}" if process.ended else f"was not ready in {timeout} s"
            raise AssertionError(f"{process.name} {ended}: {process.log_text()[-2000:]}")
        return process

    def start_bus(self):
        self.bus = self.spawn([find_program("dbus-daemon"), "--nofork", "--nopidfile", "--nosyslog",
                               f"--config-file={self.top}/bus.conf"])
        self.wait_for("the private bus", lambda: can_connect(f"{self.top}/dbus/system_bus_socket"))
        self._monitor = BusMonitor(self.bus_address, self.inbox)

    def start_libvirtd(self, env=None):
        self.libvirtd = self.spawn([find_program("libvirtd")], env=env)
        self.wait_for("the private libvirtd", lambda: self.libvirtd.ended or self._libvirtd_answers())
        if self.libvirtd.ended:
            errors = [line for line in self.libvirtd.log_text().splitlines()
                      if " error : " in line and not LIBVIRTD_NOISE.search(line)]
            raise Missing(f"libvirtd ended with status {self.libvirtd.status}: {errors[0] if errors else ''}")

    def _libvirtd_answers(self):
        return can_connect(f"{self.top}/libvirt/run/libvirt-sock") and self.virsh("version")

    def kill_libvirtd(self):
        self.libvirtd.kill()

    def restart_libvirtd(self):
        self.kill_libvirtd()
        self.start_libvirtd()

    def start_daemon(self, *arguments, env=None, uri="qemu:///system", bus=None, notify=True, inject=False,
                     wrapper=()):
        """virtnestd, with the host's own libvirtd and bus unless told otherwise, ready as systemd means it. @wrapper: a command
        that runs it, and takes it for its arguments."""
        program = find_daemon()
        if program is None:
            raise Missing("no virtnestd: build it, or set VIRTNESTD to its path")
        sanitizers = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99:handle_abort=1", "UBSAN_OPTIONS":
                      "print_stacktrace=1:halt_on_error=1", "G_DEBUG": "fatal-warnings"}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "G_DEBUG"):
            if name in os.environ:
                sanitizers[name] = os.environ[name]
        preload = {"LD_PRELOAD": self.injector(program), "INJECT_DIR": f"{self.top}/inject"} if inject else {}
        self.daemon = self.spawn([*wrapper, os.path.abspath(program), f"--uri={uri}", f"--bus={bus or self.bus_address}",
                                  f"--root={self.root}", *arguments],
                                 env={**sanitizers, **preload, **(env or {})}, notify=notify)
        return self.daemon

    def stop_daemon(self, timeout=TIMEOUT):
        """SIGTERM, and the exit code 0 that systemd expects."""
        self.daemon.asked_to_end = True
        self.daemon.signal(signal.SIGTERM)
        status = self.daemon.wait(timeout)
        if status != 0:
            raise AssertionError(f"virtnestd ended with status {status}")

    def restart_daemon(self):
        self.stop_daemon()
        self.start_daemon()

    def compile(self, source, *flags):
        """Builds a C file of this folder, once; returns the path of what came of it."""
        output = f"{self.top}/{pathlib.Path(source).stem}{'.so' if '-shared' in flags else ''}"
        if os.path.exists(output):
            return output
        run([*shlex.split(os.environ.get("CC", "cc")), "-std=gnu17", "-D_GNU_SOURCE", "-O1", "-g", "-Wall",
             "-o", output, str(HERE / source), *flags])
        return output

    # The injector

    def injector(self, program):
        """What to preload for inject.c: the sanitizer's runtime must come before it in a program that has one."""
        library = self.compile("inject.c", "-shared", "-fPIC", "-ldl", "-lpthread")
        libraries = re.findall(r"=> (\S*lib[at]san\.so\S*)", run(["ldd", program]))
        return " ".join([*libraries, library])

    def inject(self, point, script):
        """Runs a shell script at a point such as virDomainDefineXMLFlags.before; see inject.c. It gets the domain's
        name as $1, and in $2 the number of the call for that name."""
        path = pathlib.Path(self.top, "inject", point)
        temporary = path.with_suffix(".new")
        temporary.write_text(f"#!/bin/sh\n{script}\n")
        temporary.chmod(0o755)
        temporary.rename(path)

    def inject_nothing(self, point):
        pathlib.Path(self.top, "inject", point).unlink()

    # Talking to it

    def virsh(self, *arguments, timeout=60, env=None):
        return run(["virsh", "-q", "-c", self.uri, *arguments], timeout=timeout, env=env)

    def busctl(self, *arguments, timeout=30):
        return run(["busctl", f"--address={self.bus_address}", "--json=short", "--no-pager", *arguments],
                   timeout=timeout)

    def ctl(self, *arguments):
        """virtnestctl of the same build as virtnestd."""
        return run([os.path.join(os.path.dirname(os.path.abspath(find_daemon())), "virtnestctl"),
                    f"--bus={self.bus_address}", f"--connect={self.uri}", f"--root={self.root}", *arguments])

    def call(self, path, interface, method, signature="", *arguments):
        reply = self.busctl("call", NAME, path, interface, method, *([signature] if signature else []), *arguments)
        return unwrap(json.loads(reply)["data"]) if reply.strip() else []

    def properties(self, path, interface):
        return self.call(path, PROPERTIES, "GetAll", "s", interface)[0]

    def manager(self):
        return self.properties(ROOT_PATH, MANAGER)

    def domain_path(self, name):
        return self.call(ROOT_PATH, MANAGER, "GetDomainByName", "s", name)[0]

    def domain(self, name):
        """The D-Bus properties of a domain."""
        return self.properties(self.domain_path(name), DOMAIN)

    def domain_is_known(self, name):
        return any(row[1] == name for row in self.call(ROOT_PATH, MANAGER, "ListDomains")[0])

    def define(self, name, **arguments):
        """virsh define; returns the UUID."""
        uuid = arguments.setdefault("uuid", str(uuid_module.uuid4()))
        self.define_xml(domain_xml(name, **arguments))
        return uuid

    def define_xml(self, xml):
        path = pathlib.Path(self.top, f"define-{next(self._numbers)}.xml")
        path.write_text(xml)
        try:
            self.virsh("define", str(path))
        finally:
            path.unlink()

    def dumpxml(self, name):
        """The persistent definition, as the next start will see it."""
        return self.virsh("dumpxml", "--inactive", "--security-info", name)

    def live_xml(self, name):
        return self.virsh("dumpxml", name)

    def edit(self, name, change):
        """What a user does with `virsh edit`: change(xml) is the editor."""
        xml = self.dumpxml(name)
        changed = change(xml)
        if changed == xml:
            raise AssertionError("the edit changes nothing")
        self.define_xml(changed)

    def tag(self, name, policy="default", *, text=None, live=False):
        element = text or ("<nesting/>" if policy is None else f"<nesting policy={quoteattr(policy)}/>")
        self.virsh("metadata", name, TAG_NS, "--key", "nest", "--set", element, "--config",
                   *(["--live"] if live else []))

    def untag(self, name):
        self.virsh("metadata", name, TAG_NS, "--remove", "--config")

    def definition_file(self, name):
        """libvirtd replaces this file at each define, so that its inode number tells one definition from the next."""
        return pathlib.Path(self.top, "libvirt/etc/qemu", f"{name}.xml")

    def definition_stamp(self, name):
        status = self.definition_file(name).stat()
        return status.st_ino, status.st_mtime_ns

    def managed_save_images(self):
        return pathlib.Path(self.top, "libvirt/lib/qemu/save").glob("*.save")

    # Waiting

    def wait_for(self, what, predicate, timeout=TIMEOUT):
        """Waits until predicate() returns something true, and returns that. Looks again at each signal that virtnestd
        sends, and a few times a second for what sends none."""
        deadline = time.monotonic() + timeout
        pause = 0.005
        while True:
            arrivals = self.inbox.arrivals
            problem = ""
            try:
                value = predicate()
                if value:
                    return value
            except CommandFailed as error:
                problem = f" ({error})"
            if self.daemon is not None and self.daemon.ended and not self.daemon.asked_to_end:
                raise AssertionError(f"virtnestd ended with status {self.daemon.status} while waiting for {what}")
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout} s in vain for {what}{problem}")
            self.inbox.wait_for_arrival(arrivals, pause)
            pause = min(pause * 2, 0.2)

    def wait_property(self, name, expected, timeout=TIMEOUT):
        """Waits until the domain has these properties, given as a dictionary; returns all its properties."""
        seen = {}

        def matches():
            seen.clear()
            seen.update(self.domain(name))
            return all(seen.get(key) == value for key, value in expected.items())

        try:
            self.wait_for(f"{name} to have {expected}", matches, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; it has {seen}") from None
        return seen

    def wait_state(self, name, *states, reason="", timeout=TIMEOUT):
        """Waits until the domain is in one of these states, with this in its reason; returns its properties. A policy
        file or a setting written just before takes effect a moment later, so that another reason may come first."""
        seen = {}

        def matches():
            seen.clear()
            seen.update(self.domain(name))
            return seen.get("State") in states and reason in seen.get("StateReason", "")

        try:
            self.wait_for(f"{name} to be {' or '.join(states)} {reason!r}", matches, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {seen.get('State')}: {seen.get('StateReason')!r}") from None
        return seen

    def wait_manager(self, timeout=TIMEOUT, **expected):
        return self.wait_for(f"the manager to have {expected}",
                             lambda: (lambda seen: all(seen.get(key) == value for key, value in expected.items())
                                      and seen)(self.manager()), timeout)

    def wait_log(self, pattern, timeout=TIMEOUT):
        return self.wait_for(f"/{pattern}/ in virtnestd's log",
                             lambda: re.search(pattern, self.daemon.log_text()), timeout)

    def wait_gone(self, name, timeout=TIMEOUT):
        self.wait_for(f"{name} to be forgotten", lambda: not self.domain_is_known(name), timeout)

    def settle(self):
        """Returns once virtnestd has dealt with all that happened before: it sees events in order, so that a domain
        which appears and goes now is seen last. To prove that something did not happen."""
        name = f"settle-{next(self._numbers)}"
        for _ in range(2):  # the second one starts when the work that the first found queued is done
            self.define(name)
            self.wait_for(f"{name} to be looked at", lambda: self.domain(name)["State"] != "unknown")
            self.virsh("undefine", name)
            self.wait_gone(name)

    @property
    def signals(self):
        """The D-Bus signals that virtnestd has sent so far, as busctl shows them."""
        return list(self._monitor.signals)

    # When a test fails

    def show_logs(self):
        """Prints the end of each log, as TAP comments. With VIRTNEST_TEST_LOGS=FOLDER the whole of them stays there."""
        shown = set()
        for process in self.processes:
            if process.log in shown:
                continue
            shown.add(process.log)
            lines = process.log_text().splitlines()
            if process.name == "libvirtd":
                lines = [line for line in lines if line and not LIBVIRTD_NOISE.search(line)]
            how = "runs" if not process.ended else f"ended with status {process.status}"
            print(f"# {process.name} {how}; its log:", flush=True)
            for line in lines[-400:]:
                print(f"#   {line}")
        folder = os.environ.get("VIRTNEST_TEST_LOGS")
        if folder:
            shutil.copytree(self.logs, f"{folder}/{os.path.basename(self.top)}", dirs_exist_ok=True)
            print(f"# logs kept in {folder}/{os.path.basename(self.top)}", flush=True)


def can_connect(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(path)
        except OSError:
            return False
    return True


def main():
    """For ./bootstrap run, and for trying things out by hand: a temporary host with virtnestd, until standard input
    closes or SIGTERM comes. Prints how to reach it as shell assignments, and then READY=1. The line "keep" on standard
    input makes it stay until SIGTERM alone."""
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, frame: sys.exit(0))
    reason = missing_reason()
    if reason:
        sys.exit(f"harness.py: {reason}")
    with contextlib.suppress(KeyboardInterrupt), TemporaryHost() as host:
        host.start_daemon()
        for name, value in (("FOLDER", host.top), ("URI", host.uri), ("BUS", host.bus_address), ("PID", os.getpid())):
            print(f"{name}={shlex.quote(str(value))}")
        print("READY=1", flush=True)
        if any(line.strip() == "keep" for line in sys.stdin):
            print("KEPT=1", flush=True)
            while True:
                signal.pause()


if __name__ == "__main__":
    main()
