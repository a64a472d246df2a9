#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether a guest runs guests of its own, from the point of view of who reads D-Bus. The guests are those of libvirt's
test driver, and each has a process that stands in for its QEMU, with counters in a debugfs of the test's. The real
counters are read by test-kvm, where there is a KVM."""

import os
import pathlib
import signal
import sys
import uuid as uuid_module

import tap
from harness import tag_xml
from tap import contains, equal, test

EXPOSED = "<cpu mode='custom' match='exact' check='full'><model>EPYC</model><feature policy='require' name='svm'/></cpu>"
HIDDEN = "<cpu mode='custom' match='exact' check='full'><model>EPYC</model><feature policy='disable' name='svm'/></cpu>"


class L1:
    """A guest of the test driver that is running, or paused, and the process that is its QEMU."""

    def __init__(self, host, name, *, cpu=EXPOSED, metadata="", state=1, process=True, vm=True):
        self.host = host
        self.name = name
        self.uuid = str(uuid_module.uuid4())
        self.cpu = cpu
        self.metadata = metadata
        self.state = state
        self.process = None
        if process:
            self.process = host.spawn([sys.executable, "-c", "import signal; signal.pause()", "-uuid", self.uuid])
            self.process.asked_to_end = True
            self.write_pid()
            pathlib.Path(host.root, "proc").mkdir(exist_ok=True)
            os.symlink(f"/proc/{self.pid}", f"{host.root}/proc/{self.pid}")
            if vm:
                self.set(0, 0)

    @property
    def pid(self):
        return self.process.pid

    def write_pid(self):
        self.host.write(f"run/libvirt/qemu/{self.name}.pid", f"{self.pid}\n")

    @property
    def folder(self):
        return f"sys/kernel/debug/kvm/{self.pid}-7"

    def set(self, nested_run, guest_mode):
        self.host.write(f"{self.folder}/guest_mode", f"{guest_mode}\n")
        self.host.write(f"{self.folder}/nested_run", f"{nested_run}\n")

    def lock_down(self, guest_mode):
        self.host.write(f"{self.folder}/guest_mode", f"{guest_mode}\n")

    def taint(self):
        self.host.write(f"run/libvirt/qemu/{self.name}.xml", "<domstatus>\n  <taint flag='custom-monitor'/>\n</domstatus>\n")

    def xml(self):
        return f"""<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
  <name>{self.name}</name>
  <uuid>{self.uuid}</uuid>
  <memory unit='MiB'>32</memory>
  <vcpu>2</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
  <metadata>{self.metadata}</metadata>
  {self.cpu}
  <test:runstate>{self.state}</test:runstate>
</domain>"""


def start(host, *guests, **arguments):
    host.write_file("node.xml", f"<node>{''.join(guest.xml() for guest in guests)}</node>")
    host.start_daemon(uri=f"test://{host.top}/node.xml", **arguments)
    host.wait_manager(Connected=True, Synced=True)


def l2_test(description, **arguments):
    return test(description, daemon=False, libvirtd=False, **arguments)


def statistics(host, name, text):
    path = pathlib.Path(host.top, "inject", f"statistics-{name}")
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.rename(path)


@l2_test("an L2 begins, idles and goes; the untagged guest is watched too")
def _(host):
    host.policy("default", "[Guard]\nQuietAfter=1s\nReleaseAfter=1s\n")
    tagged, plain = L1(host, "web1", metadata=tag_xml()), L1(host, "plain")
    start(host, tagged, plain)
    seen = host.wait_property("web1", {"L2State": "none", "L2Source": "debugfs", "Exposed": "yes", "L2Reason": ""})
    equal((seen["NestedRuns"], seen["LastL2Activity"]), (0, 0), "NestedRuns and LastL2Activity")
    host.wait_property("plain", {"L2State": "none", "L2Source": "debugfs", "State": "untagged"})
    tagged.set(5, 0)
    seen = host.wait_property("web1", {"L2State": "running", "NestedRuns": 5})
    if not seen["L2Since"] or not seen["LastL2Activity"]:
        raise AssertionError(f"no times: {seen}")
    host.wait_log(r"domain 'web1' runs a guest of its own")
    host.wait_property("web1", {"L2State": "quiet"})
    host.wait_property("web1", {"L2State": "none"})
    host.wait_log(r"domain 'web1' runs no guest of its own any more")
    equal(host.domain("plain")["L2State"], "none", "L2State of the other one")
    plain.set(0, 1)
    host.wait_property("plain", {"L2State": "running"})


@l2_test("an L2 that was there before the daemon is quiet, and runs when it moves")
def _(host):
    guest = L1(host, "web1")
    guest.set(700, 0)
    start(host, guest)
    host.wait_property("web1", {"L2State": "quiet", "NestedRuns": 700})
    guest.set(701, 0)
    host.wait_property("web1", {"L2State": "running"})


@l2_test("an L2 that runs calls for a guard; where there can be none, that is an error with the way out")
def _(host):
    host.policy("default", "[Guard]\nQuietAfter=1s\nReleaseAfter=1s\n")
    guest = L1(host, "web1", metadata=tag_xml())
    start(host, guest)
    host.wait_property("web1", {"L2State": "none", "GuardReason": "", "GuardError": ""})
    guest.set(5, 0)
    host.wait_property("web1", {"GuardReason": "it runs a guest of its own", "Guarded": False})
    host.wait_for("the error", lambda: "that takes libvirt 8.2" in host.domain("web1")["GuardError"])
    host.wait_log(r"<4>domain 'web1' cannot be guarded")
    host.wait_property("web1", {"L2State": "none", "GuardReason": "", "GuardError": ""})


@l2_test("one signal for a change, none for a tick")
def _(host):
    guest = L1(host, "web1")
    start(host, guest)
    host.wait_property("web1", {"L2State": "none", "L2Source": "debugfs"})
    before = len(host.signals)
    for count in range(1, 6):
        guest.set(count, 0)
        host.wait_property("web1", {"L2State": "running", "NestedRuns": count})
    changes = [s for s in host.signals[before:] if s["member"] == "PropertiesChanged"]
    equal([sorted(s["payload"]["data"][1]) for s in changes], [["Blockers", "L2Since", "L2State", "MigrationSafe"]],
          "the changes")


@l2_test("QEMU ends: no L2, and nothing of it is held")
def _(host):
    guest = L1(host, "web1")
    start(host, guest)
    host.wait_property("web1", {"L2State": "none"})
    guest.set(5, 1)
    host.wait_property("web1", {"L2State": "running"})
    guest.process.kill()
    host.wait_property("web1", {"L2State": "none", "L2Source": ""})

    def held():
        return [os.readlink(f"/proc/{host_pid}/fd/{fd}") for host_pid in daemon_pids(host)
                for fd in os.listdir(f"/proc/{host_pid}/fd")]
    host.wait_for("the folder to be let go", lambda: not any(guest.folder in link for link in held()))


def daemon_pids(host):
    """As seen from here; the host has numbers of its own."""
    needle = f"--root={host.root}".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if needle in pathlib.Path("/proc", pid, "cmdline").read_bytes().split(b"\0"):
                found.append(pid)
        except OSError:
            pass
    return found


@l2_test("a number that another process has by now is not looked at")
def _(host):
    guest, other = L1(host, "web1"), L1(host, "web2")
    other.set(9, 1)
    host.write("run/libvirt/qemu/web1.pid", f"{other.pid}\n")
    start(host, guest, other)
    host.wait_property("web2", {"L2State": "running"})
    seen = host.wait_property("web1", {"L2State": "unknown", "L2Source": "libvirt"})
    host.wait_for("the reason", lambda: "is not this domain's QEMU" in host.domain("web1")["L2Reason"])
    equal(seen["NestedRuns"], 0, "NestedRuns")


@l2_test("lockdown: only guest_mode can be read, and the source says so")
def _(host):
    host.policy("default", "[Guard]\nQuietAfter=1s\nReleaseAfter=1s\n")
    guest = L1(host, "web1", metadata=tag_xml(), vm=False)
    guest.lock_down(0)
    start(host, guest)
    host.wait_property("web1", {"L2State": "none", "L2Source": "debugfs-guest-mode"})
    guest.lock_down(2)
    host.wait_property("web1", {"L2State": "running", "NestedRuns": 0})
    guest.lock_down(0)
    host.wait_property("web1", {"L2State": "none"})


@l2_test("a guest without svm is not watched, nor one that is off")
def _(host):
    hidden, off = L1(host, "hidden", cpu=HIDDEN), L1(host, "off", state=5, process=False)
    hidden.set(7, 1)
    start(host, hidden, off)
    seen = host.wait_property("hidden", {"L2State": "none", "L2Source": "", "Exposed": "no"})
    contains(seen["L2Reason"], "neither vmx nor svm", "L2Reason")
    host.wait_property("off", {"L2State": "none", "L2Source": "", "Exposed": "", "L2Reason": ""})


@l2_test("host-passthrough shows svm where the host gives it", cpu="amd", nested="0")
def _(host):
    start(host, L1(host, "web1", cpu="<cpu mode='host-passthrough' check='none'/>"))
    host.wait_property("web1", {"Exposed": "no", "L2Source": ""})
    host.set_host_facts("amd", "1")
    host.daemon.signal(signal.SIGHUP)
    host.wait_property("web1", {"Exposed": "yes"})
    host.wait_for("a source", lambda: host.domain("web1")["L2Source"] != "")


@test("an emulated guest has none, and the reason is given")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.virsh("start", "web1")
    seen = host.wait_property("web1", {"Running": True, "L2State": "none", "L2Source": ""})
    contains(seen["L2Reason"], "type='qemu'", "L2Reason")


@test("a paused guest goes on being what it is", daemon=False, libvirtd=False)
def _(host):
    host.policy("default", "[Guard]\nQuietAfter=1s\nReleaseAfter=1s\n")
    paused, running = (L1(host, name, metadata=tag_xml(), state=state) for name, state in (("paused", 3), ("running", 1)))
    for guest in (paused, running):
        guest.set(5, 0)
    start(host, paused, running)
    host.wait_property("running", {"L2State": "none", "NestedRuns": 5})
    equal(host.domain("paused")["L2State"], "quiet", "L2State of the paused one")


@l2_test("a source that fails is replaced by the next, and that is published")
def _(host):
    guest = L1(host, "web1")
    start(host, guest, inject=True)
    host.wait_property("web1", {"L2State": "none", "L2Source": "debugfs"})
    statistics(host, "web1", "ullong vcpu.0.nested_run.sum 0\n")
    host.remove_folder(guest.folder)
    host.wait_property("web1", {"L2State": "none", "L2Source": "libvirt"})
    host.wait_log(r"not seen through debugfs any more")
    statistics(host, "web1", "ullong vcpu.0.nested_run.sum 3\n")
    host.wait_property("web1", {"L2State": "running", "NestedRuns": 3})


@l2_test("libvirt's statistics: counters of vCPUs, a boolean and a number as guest_mode")
def _(host):
    guests = [L1(host, name, process=False) for name in ("web1", "web2", "web3")]
    statistics(host, "web1", "ullong vcpu.current 2\nullong vcpu.0.nested_run.sum 4\nullong vcpu.1.nested_run.sum 5\n"
                             "boolean vcpu.0.guest_mode.cur 0\nboolean vcpu.1.guest_mode.cur 0\n")
    statistics(host, "web2", "ullong vcpu.0.nested_run.sum 0\nboolean vcpu.0.guest_mode.cur 1\n")
    statistics(host, "web3", "ullong vcpu.0.guest_mode.cur 1\n")
    start(host, *guests, inject=True)
    host.wait_property("web1", {"L2State": "quiet", "L2Source": "libvirt", "NestedRuns": 9})
    host.wait_property("web2", {"L2State": "running"})
    host.wait_property("web3", {"L2State": "running", "NestedRuns": 0})


@l2_test("a name that is missing is unknown, not zero")
def _(host):
    guest = L1(host, "web1", process=False)
    statistics(host, "web1", "ullong vcpu.current 2\nullong vcpu.0.time 77\nullong vcpu.nested_run.sum 5\n"
                             "ullong vcpu.0.nested_run.max 5\nboolean vcpu.0.nested_run.sum 1\n")
    start(host, guest, inject=True)
    seen = host.wait_property("web1", {"L2State": "unknown", "L2Source": "libvirt"})
    seen = host.wait_for("the reason", lambda: (s := host.domain("web1")) and s["L2Reason"] and s)
    contains(seen["L2Reason"], "No such file", "L2Reason")
    host.wait_for("libvirt's reason", lambda: "no statistics of nested entries" in host.domain("web1")["L2Reason"])
    host.wait_log(r"<4>.*domain 'web1' may run guests of its own")


@l2_test("a monitor that hangs costs its own guest's answer, and nobody else's", timeout=120)
def _(host):
    guests = [L1(host, f"web{number}", process=False) for number in range(12)]
    stuck = {"web3", "web7", "web8"}
    for guest in guests:
        statistics(host, guest.name, "ullong vcpu.0.nested_run.sum 0\n")
    os.mkfifo(f"{host.top}/never")
    start(host, *guests, inject=True)
    for guest in guests:
        host.wait_property(guest.name, {"L2State": "none", "L2Source": "libvirt"})
    host.inject("virDomainListGetStats.before", f'case $1 in {"|".join(stuck)}) read x <>"{host.top}/never" ;; esac')
    for guest in guests:
        statistics(host, guest.name, "ullong vcpu.0.nested_run.sum 1\n")
    for guest in guests:
        if guest.name not in stuck:
            host.wait_property(guest.name, {"NestedRuns": 1}, timeout=50)
    # What was seen of them last may be wrong by now.
    for name in stuck:
        seen = host.wait_property(name, {"L2State": "unknown"}, timeout=50)
        contains(seen["L2Reason"], "its monitor does not answer", "L2Reason")
    host.inject_nothing("virDomainListGetStats.before")
    # One line for each that waits; a number that no test gets near to.
    fifo = os.open(f"{host.top}/never", os.O_RDWR)
    os.write(fifo, b"x\n" * 1000)
    for name in stuck:
        host.wait_property(name, {"NestedRuns": 1, "L2Reason": ""}, timeout=50)
    os.close(fifo)


REGISTERS = """
CPU#0
CR0=80050033 CR2=0000000000000000 CR3=0000000004a10000 CR4=000006f0
EFER={efer}
"""


@l2_test("registers tell that an L2 is gone, and are read of a tainted guest alone")
def _(host):
    tainted, clean = L1(host, "tainted"), L1(host, "clean")
    for guest in (tainted, clean):
        guest.set(5, 0)
        host.write_file(f"inject/registers-{guest.name}", REGISTERS.format(efer="0000000000001d01"))
    host.inject("virDomainQemuMonitorCommand.before", f'echo "$1" >>"{host.top}/asked"')
    tainted.taint()
    start(host, tainted, clean, inject=True)
    for guest in (tainted, clean):
        host.wait_property(guest.name, {"L2State": "quiet"})
    # Still on: that says nothing.
    host.wait_for("the registers to be read", lambda: host.exists("asked"))
    equal(host.domain("tainted")["L2State"], "quiet", "L2State")
    host.write_file("inject/registers-tainted", REGISTERS.format(efer="0000000000000d01"))
    host.wait_property("tainted", {"L2State": "none"})
    equal(host.domain("clean")["L2State"], "quiet", "L2State of the clean one")
    equal(set(host.read("asked").split()), {"tainted"}, "who was asked")


@l2_test("Interval= and QuietAfter= count at once", config="[Detection]\nInterval=1min")
def _(host):
    guest = L1(host, "web1", metadata=tag_xml())
    start(host, guest)
    host.wait_property("web1", {"L2State": "none"})
    guest.set(1, 0)
    host.write("etc/virtnest/virtnest.conf", "[Detection]\nInterval=50ms\n")
    host.wait_property("web1", {"L2State": "running"})
    host.policy("default", "[Guard]\nQuietAfter=1s\n")
    host.wait_property("web1", {"L2State": "quiet", "QuietAfterUSec": 1000000})


@l2_test("the daemon's restart loses nothing")
def _(host):
    guest = L1(host, "web1")
    start(host, guest)
    host.wait_property("web1", {"L2State": "none"})
    guest.set(1, 0)
    host.wait_property("web1", {"L2State": "running"})
    host.stop_daemon()
    start(host, guest)
    host.wait_property("web1", {"L2State": "quiet", "NestedRuns": 1})


if __name__ == "__main__":
    tap.main()
