#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""All that moves a guest's state, or writes it down, on real QEMU guests and between two libvirtds: refused with a
guard, done with a release, aborted when the guard comes later. And all that does neither, which a guard must not touch.
The guests are emulated: BlockWhen=always guards them."""

import contextlib
import os
import re
import select
import signal
import tempfile
import time

import tap
from guarded import (ALWAYS, NEVER, NODE, disk_xml, fdsets, guard, make_disk, migration_status, nodes, refused,
                     start)
from harness import CommandFailed, TemporaryHost, domain_xml, tag_xml
from tap import Skip, contains, equal, fails, lacks, test

# Untouched, and still so much that it is sent for half a minute at the speed of SLOW, in MiB/s.
LARGE_MIB = 8192
SLOW = "1"
FAST = "4096"

ACPI = "<features><acpi/></features>"


def is_guarded(host, name):
    """By what is published and by what QEMU has."""
    host.wait_property(name, {"Guarded": True, "GuardError": ""})
    equal(nodes(host, name), [NODE], f"QEMU's nodes of {name}")


def release(host, name):
    host.ctl("release", name, "--for=5min")
    host.wait_property(name, {"Guarded": False})
    equal((nodes(host, name), fdsets(host, name)), ([], []), f"what is left in {name}")


def revoke(host, name):
    """The guest is guarded again, as it is when a release's time has passed."""
    host.ctl("revoke", name)
    is_guarded(host, name)


def qemu(host, name):
    """Which process it is."""
    return host.read(f"libvirt/run/qemu/{name}.pid")


def condition(host, name):
    """What is other if a guest was stopped, however briefly, or is another process: libvirt keeps the reason."""
    return host.virsh("domstate", "--reason", name).strip(), qemu(host, name)


def job(host, name):
    """The operation of the job under way, such as Save; None if there is none."""
    found = re.search(r"^Operation: +(.*\S)", host.virsh("domjobinfo", name), re.MULTILINE)
    return found.group(1) if found else None


def refuses(host, *command, name="web1", stops=False):
    """virsh's command is refused at once, and its guest notices nothing of it. @stops: but that libvirt stops it before
    it asks QEMU, and lets it go on then."""
    before = condition(host, name)
    refused(host, *command)
    equal(condition(host, name), ("running (unpaused)", before[1]) if stops else before, f"the guest after {command}")
    equal(host.domain(name)["Guarded"], True, "Guarded")
    equal(host.manager()["AbortedJobs"], 0, "AbortedJobs")


# One host -------------------------------------------------------------------------------------------------------------


@test("save and restore: refused, released, guarded again")
def _(host):
    guard(host, "web1")
    image = f"{host.top}/image"
    refuses(host, "save", "web1", image)
    equal(host.exists("image"), False, "an image")
    release(host, "web1")
    before = qemu(host, "web1")
    host.virsh("save", "web1", image)
    host.wait_property("web1", {"Running": False, "Guarded": False, "ReleasedUntil": 0})
    host.virsh("restore", image)
    is_guarded(host, "web1")
    equal(qemu(host, "web1") == before, False, "the same QEMU")
    refuses(host, "save", "web1", image)
    # Restored to be paused, it is guarded before anybody lets it go on.
    release(host, "web1")
    host.virsh("save", "--paused", "web1", image)
    host.virsh("restore", image)
    is_guarded(host, "web1")
    refuses(host, "save", "web1", image)
    host.virsh("resume", "web1")
    is_guarded(host, "web1")


@test("managedsave and start: refused, released, guarded again")
def _(host):
    guard(host, "web1")
    refuses(host, "managedsave", "web1")
    equal(list(host.managed_save_images()), [], "images")
    release(host, "web1")
    host.virsh("managedsave", "web1")
    host.wait_property("web1", {"Running": False, "Guarded": False})
    host.virsh("start", "web1")
    is_guarded(host, "web1")
    refuses(host, "managedsave", "web1")


@test("internal snapshot and revert: refused, released, guarded again")
def _(host):
    host.policy("default", ALWAYS)
    start(host, "web1", devices=disk_xml(make_disk(host, "disk.qcow2")))
    is_guarded(host, "web1")
    refuses(host, "snapshot-create", "web1")
    refuses(host, "snapshot-create-as", "web1", "s1")
    equal(host.virsh("snapshot-list", "--name", "web1").strip(), "", "the snapshots")
    release(host, "web1")
    before = qemu(host, "web1")
    host.virsh("snapshot-create-as", "web1", "s1")
    equal(qemu(host, "web1"), before, "the QEMU")
    revoke(host, "web1")
    refuses(host, "snapshot-create-as", "web1", "s2")
    # To go back to it moves no state out of this guest. It is another QEMU, or another state of this one.
    host.virsh("snapshot-revert", "web1", "s1", "--running", "--force")
    is_guarded(host, "web1")
    refuses(host, "snapshot-create-as", "web1", "s2")
    host.virsh("snapshot-delete", "web1", "s1")
    is_guarded(host, "web1")


@test("snapshot of memory and disk: refused, released, guarded again")
def _(host):
    host.policy("default", ALWAYS)
    start(host, "web1", devices=disk_xml(make_disk(host, "disk.qcow2")))
    is_guarded(host, "web1")
    for live in ([], ["--live"]):
        command = ["snapshot-create-as", "web1", f"s{len(live)}", *live, "--memspec",
                   f"file={host.top}/memory{len(live)},snapshot=external", "--diskspec",
                   f"vda,snapshot=external,file={host.top}/overlay{len(live)}"]
        refuses(host, *command, stops=not live)
        equal((host.exists(f"memory{len(live)}"), host.exists(f"overlay{len(live)}")), (False, False), "its files")
        release(host, "web1")
        host.virsh(*command)
        equal(host.exists(f"memory{len(live)}"), True, "its memory")
        revoke(host, "web1")
        contains(host.virsh("domblklist", "web1"), f"overlay{len(live)}", "the disks")


@test("dump: refused, released, guarded again; with --crash and --live as well")
def _(host):
    guard(host, "web1")
    core = f"{host.top}/core"
    refuses(host, "dump", "web1", core, "--live")
    for option in ([], ["--bypass-cache"], ["--reset"], ["--crash"]):
        refuses(host, "dump", "web1", core, *option, stops=True)
    release(host, "web1")
    host.virsh("dump", "--live", "web1", core)
    equal(host.exists("core"), True, "the dump")
    revoke(host, "web1")
    refuses(host, "dump", "web1", core, "--live")
    release(host, "web1")
    host.virsh("dump", "--crash", "web1", core)
    host.wait_property("web1", {"Running": False, "Guarded": False})
    host.virsh("start", "web1")
    is_guarded(host, "web1")


# None of the guard's --------------------------------------------------------------------------------------------------


@test("block jobs, disk snapshots and backups are none of the guard's")
def _(host):
    host.policy("default", ALWAYS)
    start(host, "web1", devices=disk_xml(make_disk(host, "disk.qcow2")))
    is_guarded(host, "web1")
    before = condition(host, "web1")
    host.virsh("snapshot-create-as", "web1", "--disk-only", "--no-metadata", "--diskspec",
               f"vda,snapshot=external,file={host.top}/overlay1")
    host.virsh("snapshot-create-as", "web1", "--disk-only", "--no-metadata", "--diskspec",
               f"vda,snapshot=external,file={host.top}/overlay2")
    is_guarded(host, "web1")
    host.virsh("blockcommit", "web1", "vda", "--top", f"{host.top}/overlay1", "--wait")
    host.virsh("blockcommit", "web1", "vda", "--active", "--pivot", "--wait")
    contains(host.virsh("domblklist", "web1"), "disk.qcow2", "the disks")
    host.virsh("snapshot-create-as", "web1", "--disk-only", "--no-metadata", "--diskspec",
               f"vda,snapshot=external,file={host.top}/overlay3")
    host.virsh("blockpull", "web1", "vda", "--wait")
    is_guarded(host, "web1")
    host.virsh("blockcopy", "web1", "vda", f"{host.top}/copy", "--wait", "--pivot", "--transient-job")
    contains(host.virsh("domblklist", "web1"), f"{host.top}/copy", "the disks")
    host.virsh("blockresize", "web1", "vda", "8M")
    host.virsh("checkpoint-create-as", "web1", "c1")
    is_guarded(host, "web1")
    backup(host, f"<domainbackup><disks><disk name='vda' type='file'><target file='{host.top}/backup'/>"
                 "<driver type='qcow2'/></disk></disks></domainbackup>")
    host.wait_for("the backup to end", lambda: job(host, "web1") is None)
    equal(host.exists("backup"), True, "the backup")
    pull(host)
    equal(job(host, "web1"), "Backup", "the job")
    is_guarded(host, "web1")
    host.virsh("domjobabort", "web1")
    is_guarded(host, "web1")
    equal(condition(host, "web1"), before, "the guest")
    equal(host.manager()["AbortedJobs"], 0, "AbortedJobs")


def backup(host, xml):
    host.virsh("backup-begin", "web1", str(host.write_file("backup.xml", xml)))


def pull(host):
    """A backup that waits for somebody to fetch it, for as long as nobody ends it."""
    backup(host, f"<domainbackup mode='pull'><server transport='unix' socket='{host.top}/nbd'/><disks><disk name='vda' "
                 f"type='file'><scratch file='{host.top}/scratch'/></disk></disks></domainbackup>")


@test("a backup or a block job that is under way when the guard comes goes on")
def _(host):
    host.policy("default", NEVER)
    disks = disk_xml(make_disk(host, "disk.qcow2")) + disk_xml(make_disk(host, "other.qcow2"), "vdb")
    start(host, "web1", devices=disks)
    pull(host)
    host.virsh("blockcopy", "web1", "vdb", f"{host.top}/copy", "--wait", "--transient-job")
    host.policy("default", ALWAYS)
    is_guarded(host, "web1")
    equal(job(host, "web1"), "Backup", "the job")
    equal(host.manager()["AbortedJobs"], 0, "AbortedJobs")
    host.virsh("domjobabort", "web1")
    host.virsh("blockjob", "web1", "vdb", "--pivot")
    contains(host.virsh("domblklist", "web1"), f"{host.top}/copy", "the disks")
    is_guarded(host, "web1")


USB_DISK = """<disk type='file'>
  <driver name='qemu' type='raw'/>
  <source file='{path}'/>
  <target dev='sda' bus='usb'/>
</disk>"""
USB_NETWORK = "<interface type='user'><mac address='52:54:00:00:00:01'/><model type='usb-net'/></interface>"


@test("hotplug, vCPUs, memory, devices and screenshots are none of the guard's")
def _(host):
    host.policy("default", ALWAYS)
    xml = domain_xml("web1", metadata=tag_xml(), devices="<video><model type='vga'/></video><graphics type='vnc'/>"
                     "<controller type='usb' index='1' model='qemu-xhci'/>")
    xml = xml.replace("<vcpu>1", "<vcpu current='1'>2").replace("<memballoon model='none'/>", "").replace(
        "<controller type='usb' model='none'/>", "")
    host.define_xml(xml)
    host.wait_state("web1", "in-sync")
    host.virsh("start", "web1")
    is_guarded(host, "web1")
    before = condition(host, "web1")
    disk = host.write_file("disk.xml", USB_DISK.format(path=host.write_file("disk.img", "x" * 65536)))
    network = host.write_file("network.xml", USB_NETWORK)
    # On USB, since a device on PCI goes when the guest's system lets it go, and this guest has none.
    for device in (disk, network):
        host.virsh("attach-device", "web1", str(device), "--live")
    contains(host.virsh("domblklist", "web1"), "disk.img", "the disks")
    host.virsh("domif-setlink", "web1", "52:54:00:00:00:01", "down")
    for device in (disk, network):
        host.virsh("detach-device", "web1", str(device), "--live")
    host.wait_for("the disk to be gone", lambda: "disk.img" not in host.virsh("domblklist", "web1"))
    host.wait_for("the network to be gone", lambda: "52:54" not in host.virsh("domiflist", "web1"))
    is_guarded(host, "web1")
    host.virsh("setvcpus", "web1", "2", "--live")
    host.virsh("setmem", "web1", "30M", "--live")
    host.virsh("dommemstat", "web1", "--period", "1", "--live")
    host.virsh("screenshot", "web1", f"{host.top}/screen")
    host.virsh("send-key", "web1", "KEY_A")
    host.virsh("metadata", "web1", "urn:x", "--key", "x", "--set", "<x/>", "--live")
    is_guarded(host, "web1")
    equal(condition(host, "web1"), before, "the guest")


@test("power and memory-only dumps are none of the guard's")
def _(host):
    host.policy("default", ALWAYS)
    start(host, "web1", extra=ACPI)
    is_guarded(host, "web1")
    host.virsh("dump", "--memory-only", "web1", f"{host.top}/core")
    equal(host.exists("core"), True, "the dump")
    host.virsh("suspend", "web1")
    is_guarded(host, "web1")
    refused(host, "save", "web1", f"{host.top}/image")
    host.virsh("resume", "web1")
    host.virsh("reset", "web1")
    # The firmware hears of these and does nothing.
    host.virsh("reboot", "web1")
    host.virsh("shutdown", "web1", "--mode=acpi")
    is_guarded(host, "web1")
    lacks(fails(lambda: host.virsh("domrename", "web1", "web2")), NODE, "the error")
    host.virsh("destroy", "web1")
    host.wait_property("web1", {"Guarded": False, "Running": False, "GuardReason": ""})
    host.virsh("domrename", "web1", "web2")
    host.virsh("start", "web2")
    is_guarded(host, "web2")


# Two hosts ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def another(policy=ALWAYS):
    """A host to migrate to, with a virtnestd of its own."""
    with TemporaryHost() as host:
        host.policy("default", policy)
        host.start_daemon()
        yield host


# The namespaces of the two hosts share no network, but they share what is in their folders.
WAYS = {
    "direct": [],
    "p2p": ["--p2p"],
    "tunnelled": ["--p2p", "--tunnelled"],
}


def migration(other, name, way, *options):
    uri = [] if way == "tunnelled" else ["--migrateuri", f"unix://{other.top}/migration"]
    return ["migrate", "--domain", name, "--desturi", other.uri, *uri, *WAYS[way], *options]


def domains(host):
    return host.virsh("list", "--all", "--name").split()


@test("migration, direct, p2p and tunnelled: refused, released, guarded by the other host", timeout=90)
def _(host):
    host.policy("default", ALWAYS)
    with another() as other:
        for way in WAYS:
            start(host, way)
            is_guarded(host, way)
            for live in ([], ["--live"], ["--live", "--persistent", "--undefinesource"]):
                refuses(host, *migration(other, way, way, *live), name=way)
            equal(way in domains(other), False, f"{way} at the destination")
            release(host, way)
            host.virsh(*migration(other, way, way, "--live"))
            is_guarded(other, way)
            seen = host.wait_property(way, {"Running": False, "Guarded": False, "ReleasedUntil": 0})
            equal(seen["GuardReason"], "", "GuardReason")
            refused(other, *migration(host, way, way, "--live"))
        # The release was for the run that has ended here, and for this host.
        equal(os.listdir(f"{host.root}/run/virtnest/releases"), [], "releases")
        equal(os.listdir(f"{host.root}/run/virtnest/guards"), [], "records")
        # And back, whole: then it is not known here any more.
        release(other, "p2p")
        other.virsh(*migration(host, "p2p", "p2p", "--live", "--persistent", "--undefinesource"))
        is_guarded(host, "p2p")
        other.wait_gone("p2p")
        for each in (host, other):
            equal(each.manager()["AbortedJobs"], 0, "AbortedJobs")


@test("offline migration goes through, of a guest that is guarded and of one that is off")
def _(host):
    host.policy("default", ALWAYS)
    with another() as other:
        start(host, "web1")
        is_guarded(host, "web1")
        before = condition(host, "web1")
        for way in ("direct", "p2p"):
            for off in (False, True):
                if off:
                    host.virsh("destroy", "web1")
                    host.wait_property("web1", {"Running": False, "Guarded": False})
                host.virsh("migrate", "--domain", "web1", "--desturi", other.uri, *WAYS[way], "--offline",
                           "--persistent")
                other.wait_property("web1", {"Running": False, "State": "in-sync"})
                other.virsh("undefine", "web1")
                other.wait_gone("web1")
                if not off:
                    equal(condition(host, "web1"), before, "the guest")
                    is_guarded(host, "web1")
            host.virsh("start", "web1")
            is_guarded(host, "web1")
            before = condition(host, "web1")


# Under way ------------------------------------------------------------------------------------------------------------


def begin(host, *command):
    """virsh in the background, with a log of its own."""
    log = tempfile.mkstemp(prefix="virsh-", suffix=".log", dir=host.logs)[1]
    process = host.spawn(["virsh", "-q", "-c", host.uri, *command], log=log)
    process.asked_to_end = True
    return process


def succeeds(process):
    status = process.wait(60)
    equal((status, process.log_text().strip()), (0, ""), f"what {process.argv[4]} says")


def was_aborted(host, process, what, count):
    """The command ended as one that somebody cancelled, the guest goes on here, and that is told."""
    if process.wait() == 0:
        raise AssertionError(f"the {what} went through")
    lacks(process.log_text(), NODE, "the error")
    is_guarded(host, "web1")
    equal(host.virsh("domstate", "web1").strip(), "running", "the state")
    equal(job(host, "web1"), None, "the job")
    equal(host.manager()["AbortedJobs"], count, "AbortedJobs")
    host.wait_log(rf"'web1': its {what} was aborted")


def migrate_slowly(host, other, way):
    """A migration that lasts for as long as nobody ends it or lets it go faster."""
    process = begin(host, *migration(other, "web1", way, "--live", "--bandwidth", SLOW))
    host.wait_for("QEMU to be at it", lambda: migration_status(host, "web1") == "active")
    return process


@test("a migration under way is aborted when a guard is wanted, and the destination is clean", timeout=120)
def _(host):
    host.policy("default", NEVER)
    with another() as other:
        start(host, "web1", memory=LARGE_MIB)
        before = qemu(host, "web1")
        for count, way in enumerate(WAYS, 1):
            process = migrate_slowly(host, other, way)
            host.policy("default", ALWAYS)
            was_aborted(host, process, "migration", count)
            equal(qemu(host, "web1"), before, "the QEMU")
            equal(domains(other), [], "domains at the destination")
            host.policy("default", NEVER)
            host.wait_property("web1", {"Guarded": False})
        # The destination's virtnestd had nothing to do with it.
        equal(other.manager()["AbortedJobs"], 0, "AbortedJobs of the destination")


@test("a migration under a release goes on until the release ends, or to its end", timeout=120)
def _(host):
    host.policy("default", ALWAYS)
    with another() as other:
        start(host, "web1", memory=LARGE_MIB)
        is_guarded(host, "web1")
        release(host, "web1")
        process = migrate_slowly(host, other, "direct")
        # Whatever else makes virtnest think again: the policy, a restart, another release.
        host.policy("default", f"{ALWAYS}QuietAfter=1s\n")
        host.wait_property("web1", {"QuietAfterUSec": 1000000})
        host.restart_daemon()
        host.wait_property("web1", {"ReleasedBy": "root"})
        host.ctl("release", "web1", "--for=4min")
        equal((job(host, "web1"), migration_status(host, "web1")), ("Outgoing migration", "active"), "the migration")
        host.ctl("revoke", "web1")
        was_aborted(host, process, "migration", 1)
        equal(domains(other), [], "domains at the destination")
        host.ctl("release", "web1", "--for=3s")
        host.wait_property("web1", {"Guarded": False})
        process = migrate_slowly(host, other, "p2p")
        was_aborted(host, process, "migration", 2)
        host.wait_log(r"its time has passed")
        release(host, "web1")
        process = migrate_slowly(host, other, "direct")
        host.virsh("migrate-setspeed", "web1", FAST)
        succeeds(process)
        is_guarded(other, "web1")
        equal(host.manager()["AbortedJobs"], 2, "AbortedJobs")


@test("the destination's virtnestd aborts no migration that comes in, and guards what came", timeout=90)
def _(host):
    host.policy("default", NEVER)
    with another() as other:
        start(host, "web1", memory=LARGE_MIB)
        process = migrate_slowly(host, other, "direct")
        other.wait_for("the guest to be there", lambda: other.domain_is_known("web1"))
        other.restart_daemon()
        other.policy("default", NEVER)
        other.wait_manager(Synced=True)
        other.policy("default", ALWAYS)
        other.settle()
        equal((job(host, "web1"), migration_status(host, "web1")), ("Outgoing migration", "active"), "the migration")
        # Whether it has a persistent definition there shows when it has come.
        equal(other.domain("web1")["State"], "transient", "State")
        lacks(other.daemon.log_text(), "is not rewritten", "the destination's log")
        host.virsh("migrate-setspeed", "web1", FAST)
        succeeds(process)
        is_guarded(other, "web1")
        other.wait_for("what is logged of a guest that stays transient",
                       lambda: "is not rewritten (transient)" in other.daemon.log_text())
        equal(other.virsh("domstate", "web1").strip(), "running", "the state")
        equal(other.manager()["AbortedJobs"], 0, "AbortedJobs of the destination")
        lacks(other.daemon.log_text(), "aborted", "the destination's log")


class Fifo:
    """A file that takes no more than a pipe holds until it is drained."""

    def __init__(self, path):
        self.path = path
        os.mkfifo(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def close(self):
        os.close(self.descriptor)
        os.unlink(self.path)

    def drain_until(self, process):
        """Reads all that is written, until the process has ended; the test's own time limit ends that."""
        while not process.ended:
            if select.select([self.descriptor], [], [], 0.05)[0]:
                with contextlib.suppress(BlockingIOError):
                    while os.read(self.descriptor, 1 << 20):
                        pass

    def has_data(self):
        return bool(select.select([self.descriptor], [], [], 0)[0])

    def wait_for_writer(self, host):
        """Until QEMU is at it. Before anything is written nobody asks it: who does in the first moment of a snapshot,
        in which libvirt lets nobody ask, waits for half a minute."""
        host.wait_for("a first byte", self.has_data)
        host.wait_for("QEMU to be at it", lambda: migration_status(host, "web1") == "active")


def writes(host, path):
    """What writes a guest's state to a file, and what virtnest calls it."""
    return {
        "save": ["save", "web1", path],
        "dump": ["dump", "web1", path],
        "snapshot": ["snapshot-create-as", "web1", "s1", "--memspec", f"file={path},snapshot=external"],
        "live snapshot": ["snapshot-create-as", "web1", "s1", "--live", "--memspec", f"file={path},snapshot=external"],
        "live dump": ["dump", "web1", path, "--live"],
    }


@test("a save, a dump or a snapshot under way is aborted when a guard is wanted", timeout=120)
def _(host):
    host.policy("default", NEVER)
    start(host, "web1", memory=LARGE_MIB)
    before = qemu(host, "web1")
    for count, (what, command) in enumerate(writes(host, f"{host.top}/image").items(), 1):
        fifo = Fifo(f"{host.top}/image")
        process = begin(host, *command)
        fifo.wait_for_writer(host)
        host.policy("default", ALWAYS)
        host.wait_for("the abort", lambda: migration_status(host, "web1") in ("cancelling", "cancelled", None))
        fifo.close()
        was_aborted(host, process, what.split()[-1], count)
        equal(qemu(host, "web1"), before, "the QEMU")
        host.policy("default", NEVER)
        host.wait_property("web1", {"Guarded": False})
    equal(host.virsh("snapshot-list", "--name", "web1").strip(), "", "the snapshots")


@test("where no blocker can be set, what begins is aborted all the same, and at once", daemon=False, timeout=90)
def _(host):
    host.write_file("inject/fail-virDomainQemuMonitorCommandWithFiles", "")
    host.inject("virDomainQemuMonitorCommandWithFiles.before", f"echo >> {host.top}/tries")
    host.policy("default", ALWAYS)
    host.start_daemon(inject=True)
    start(host, "web1", memory=LARGE_MIB)
    # By now the next attempt would come after eight seconds.
    host.wait_for("some attempts", lambda: host.exists("tries") and host.read("tries").count("\n") >= 12, timeout=30)
    contains(host.domain("web1")["GuardError"], "cannot use QEMU's monitor", "GuardError")
    fifo = Fifo(f"{host.top}/image")
    process = begin(host, "save", "web1", f"{host.top}/image")
    host.wait_for("the abort", lambda: migration_status(host, "web1") in ("cancelling", "cancelled"), timeout=6)
    fifo.close()
    equal(process.wait() == 0, False, "that the save went through")
    equal(host.virsh("domstate", "web1").strip(), "running", "the state")
    host.wait_log("domain 'web1': its save was aborted")
    equal(host.manager()["AbortedJobs"], 1, "AbortedJobs")
    os.unlink(f"{host.top}/inject/fail-virDomainQemuMonitorCommandWithFiles")
    host.wait_property("web1", {"Guarded": True, "GuardError": ""}, timeout=40)


@test("a memory-only dump under way goes on, and the guest is guarded meanwhile", timeout=90)
def _(host):
    host.policy("default", NEVER)
    start(host, "web1", memory=64)
    fifo = Fifo(f"{host.top}/core")
    process = begin(host, "dump", "--memory-only", "web1", f"{host.top}/core")
    host.wait_for("a first byte", fifo.has_data)
    equal(job(host, "web1"), "Dump", "the job")
    host.policy("default", ALWAYS)
    is_guarded(host, "web1")
    equal(job(host, "web1"), "Dump", "the job")
    fifo.drain_until(process)
    succeeds(process)
    is_guarded(host, "web1")
    equal(host.manager()["AbortedJobs"], 0, "AbortedJobs")


@test("post-copy cannot be aborted: that is told, and the other host guards the guest", timeout=120)
def _(host):
    host.policy("default", NEVER)
    with another() as other:
        start(host, "web1", memory=LARGE_MIB)
        process = begin(host, *migration(other, "web1", "direct", "--live", "--bandwidth", SLOW, "--postcopy",
                                         "--postcopy-bandwidth", SLOW))
        host.wait_for("QEMU to be at it", lambda: migration_status(host, "web1") == "active")
        try:
            host.virsh("migrate-postcopy", "web1")
        except CommandFailed as error:
            raise Skip(f"no post-copy here: {error}") from error
        host.wait_for("post-copy", lambda: migration_status(host, "web1") == "postcopy-active")
        host.policy("default", ALWAYS)
        host.wait_log("'web1': its migration .* post-copy")
        equal(job(host, "web1"), "Outgoing migration", "the job")
        equal(migration_status(host, "web1"), "postcopy-active", "the migration")
        # QEMU keeps a descriptor of each attempt until it is through.
        equal(sum(len(each["fds"]) for each in fdsets(host, "web1")) < 10, True, "that few were made")
        # What could not be set is not wanted any more, and no error.
        host.ctl("release", "web1", "--for=5min")
        seen = host.domain("web1")
        equal((seen["Guarded"], seen["GuardError"]), (False, ""), "the guard of one that is released")
        host.virsh("migrate-setspeed", "web1", FAST, "--postcopy")
        succeeds(process)
        is_guarded(other, "web1")
        equal(other.virsh("domstate", "web1").strip(), "running", "the state")
        host.wait_property("web1", {"Running": False, "Guarded": False, "GuardError": ""})
        lacks(host.daemon.log_text(), "cannot be guarded: it was started anew", "the log")
        lacks(host.daemon.log_text(), "cannot be guarded: cannot find", "the log")
        for each in (host, other):
            equal(each.manager()["AbortedJobs"], 0, "AbortedJobs")


@test("a save under a release is not aborted", timeout=120)
def _(host):
    host.policy("default", ALWAYS)
    start(host, "web1", memory=1024)
    is_guarded(host, "web1")
    release(host, "web1")
    fifo = Fifo(f"{host.top}/image")
    process = begin(host, "save", "web1", f"{host.top}/image")
    fifo.wait_for_writer(host)
    host.policy("default", f"{ALWAYS}QuietAfter=1s\n")
    host.restart_daemon()
    host.wait_property("web1", {"ReleasedBy": "root", "Guarded": False})
    fifo.drain_until(process)
    succeeds(process)
    equal(host.manager()["AbortedJobs"], 0, "AbortedJobs")
    fifo.close()


def claims_no_abort(host):
    """AbortJob() does nothing once QEMU is through, and says that it went well. virtnest does not fall for that, however
    long libvirt takes for the rest."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        equal(host.manager()["AbortedJobs"], 0, "AbortedJobs")
        host.inbox.wait_for_arrival(host.inbox.arrivals, 0.2)
    lacks(host.daemon.log_text(), "was aborted", "the log")


@test("a save that QEMU is through with is not called aborted")
def _(host):
    host.policy("default", NEVER)
    start(host, "web1", memory=64)
    fifo = Fifo(f"{host.top}/image")
    process = begin(host, "save", "web1", f"{host.top}/image")
    host.wait_for("a first byte", fifo.has_data)
    # What is left lies in pipes and in libvirt's helper, which nobody empties yet.
    host.wait_for("QEMU to be through", lambda: migration_status(host, "web1") == "completed")
    equal(process.ended, False, "that virsh has ended")
    host.policy("default", ALWAYS)
    host.wait_property("web1", {"GuardReason": "BlockWhen=always"})
    claims_no_abort(host)
    fifo.drain_until(process)
    succeeds(process)
    host.wait_property("web1", {"Running": False, "Guarded": False})
    claims_no_abort(host)


@test("a migration that QEMU is through with is not called aborted", timeout=90)
def _(host):
    host.policy("default", NEVER)
    with another(NEVER) as other:
        start(host, "web1", memory=LARGE_MIB)
        process = migrate_slowly(host, other, "direct")
        # It is the other libvirtd that ends it.
        other.libvirtd.signal(signal.SIGSTOP)
        host.virsh("migrate-setspeed", "web1", FAST)
        host.wait_for("QEMU to be through", lambda: migration_status(host, "web1") == "completed")
        host.policy("default", ALWAYS)
        host.wait_property("web1", {"GuardReason": "BlockWhen=always"})
        claims_no_abort(host)
        other.libvirtd.signal(signal.SIGCONT)
        succeeds(process)
        host.wait_property("web1", {"Running": False, "Guarded": False})
        claims_no_abort(host)


if __name__ == "__main__":
    tap.main()
