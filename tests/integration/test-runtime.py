#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the live definition of a guest says while guests of its own run in it. The guests are real ones, and only their
counters are invented."""

import json
import os
import pathlib
import re
import sys
import time

import l1
import tap
from guarded import NODE, disk_xml, enable_hook, make_disk, nodes
from harness import TemporaryHost
from tap import contains, equal, fails, lacks, test

URI = "urn:virtnest:runtime:1"
STRAY = "<virtnest:runtime xmlns:virtnest='urn:virtnest:runtime:1' l2='running' since='1764207000' until='9764207000' host='x'/>"


def l1_test(description, **arguments):
    return test(description, daemon=False, **arguments)


def noted(host, guest, wanted=True):
    host.wait_for(f"the element to be {'there' if wanted else 'gone'}", lambda: (guest.runtime() is not None) == wanted)
    return guest.runtime()


@l1_test("an L2 comes and goes: guarded and noted, and then neither")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    equal(guest.runtime(), None, "the element before")
    stamp = host.definition_stamp("web1")
    before = int(time.time())
    guest.run_l2()
    host.wait_property("web1", {"L2State": "running", "Guarded": True, "GuardError": ""})
    element = noted(host, guest)
    equal(sorted(element), ["host", "l2", "since", "until"], "its attributes")
    equal(element["l2"], "running", "l2")
    if not before <= int(element["since"]) <= int(time.time()):
        raise AssertionError(f"since {element['since']}")
    equal(int(element["until"]) - int(element["since"]) >= 7 * 86400, True, "the time until it counts no more")
    contains(fails(lambda: host.virsh("save", "web1", f"{host.top}/image")), "virtnest-l2-running", "the error")
    guest.stop_l2()
    host.wait_property("web1", {"L2State": "none", "Guarded": False}, timeout=30)
    noted(host, guest, False)
    equal(host.definition_stamp("web1"), stamp, "the persistent definition")
    host.virsh("save", "web1", f"{host.top}/image")
    host.virsh("restore", f"{host.top}/image")
    host.wait_property("web1", {"Running": True, "LoadedL2Since": 0})


@l1_test("one that moves and pauses is noted once, and virtnestd's own events cause no look")
def _(host):
    l1.start_daemon(host)
    host.policy("default", l1.POLICY.format(when="running") + "QuietAfter=1s\n")
    guest = l1.L1(host, "web1")
    guest.keep_hypervisor_on()
    # The look that its policy's change brings is over.
    host.wait_property("web1", {"QuietAfterUSec": 1000000, "State": "in-sync"})
    host.settle()
    host.inject("virDomainGetXMLDesc.after", f"[ $1 != web1 ] || echo $1 >> {host.top}/reads")
    guest.run_l2()
    host.wait_property("web1", {"L2State": "running", "Guarded": True})
    first = noted(host, guest)
    for _ in range(2):
        guest.stop_l2()
        host.wait_property("web1", {"L2State": "quiet"})
        guest.run_l2()
        host.wait_property("web1", {"L2State": "running"})
    equal(guest.runtime(), first, "the element")
    equal(os.path.exists(f"{host.top}/reads"), False, "that the domain was looked at")


@l1_test("a release is noted before the guard goes, and a revoke after")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    guest.run_l2()
    host.wait_property("web1", {"Guarded": True})
    noted(host, guest)
    # While the note takes its time, the guard has time enough to go before it.
    host.inject("virDomainSetMetadata.before", f"""
for i in $(seq 20); do
    virsh -c {host.uri} qemu-monitor-command $1 '{{"execute":"query-named-block-nodes"}}' | grep -q {NODE} || break
    sleep 0.05
done
virsh -c {host.uri} qemu-monitor-command $1 '{{"execute":"query-named-block-nodes"}}' | grep -c {NODE} >> {host.top}/seen""")
    host.ctl("release", "web1", "--for", "10min")
    equal(host.domain("web1")["Guarded"], False, "Guarded once the command is done")
    until = host.domain("web1")["ReleasedUntil"] // 1000000
    equal(host.read("seen").split()[0], "1", "the guards when it was about to be noted")
    equal(guest.runtime()["released-until"], str(until), "released-until")
    host.inject_nothing("virDomainSetMetadata.before")
    host.virsh("save", "web1", f"{host.top}/image")
    host.wait_log(r"domain 'web1' was saved while a guest of its own ran, as an operator has released it")
    equal(host.manager()["MissedJobs"], 0, "MissedJobs")
    host.virsh("restore", f"{host.top}/image")
    host.wait_property("web1", {"Running": True})
    host.wait_for("it to be noticed", lambda: host.domain("web1")["LoadedL2Since"] > 0)


@l1_test("restored with an L2 in it: it counts as there, until the registers say otherwise")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    guest.run_l2()
    host.wait_property("web1", {"Guarded": True})
    since = int(noted(host, guest)["since"])
    guest.keep_hypervisor_on()
    host.ctl("release", "web1", "--for", "10min")
    host.virsh("save", "web1", f"{host.top}/image")
    host.wait_property("web1", {"Running": False})
    # Its vCPUs stand still: nothing moves, and nothing can be asked of a guest that is not tainted.
    host.virsh("restore", f"{host.top}/image", "--paused")
    host.wait_property("web1", {"Running": True, "L2State": "quiet", "Guarded": True, "ReleasedUntil": 0,
                                "LoadedL2Since": since * 1000000})
    host.wait_log(r"domain 'web1' was loaded from a state in which a guest of its own ran, since .* on ")
    contains(fails(lambda: host.virsh("save", "web1", f"{host.top}/again")), "virtnest-l2-running", "the error")
    noted(host, guest)
    host.virsh("resume", "web1")
    guest.keep_hypervisor_on(False)
    host.wait_property("web1", {"L2State": "none", "Guarded": False}, timeout=30)
    noted(host, guest, False)


@l1_test("a snapshot with an L2 in it is reverted to: no hook can refuse that, and it is published")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1", devices=disk_xml(make_disk(host, "disk.qcow2")))
    guest.run_l2()
    host.wait_property("web1", {"Guarded": True})
    noted(host, guest)
    host.ctl("release", "web1", "--for", "10min")
    host.virsh("snapshot-create-as", "web1", "with-l2")
    host.ctl("revoke", "web1")
    host.wait_property("web1", {"Guarded": True})
    host.virsh("snapshot-revert", "web1", "with-l2")
    host.wait_for("it to be published", lambda: host.domain("web1")["LoadedL2Since"] > 0)
    host.wait_for("its signal", lambda: any(signal["member"] == "PropertiesChanged" and "LoadedL2Since" in json.dumps(signal)
                                            for signal in host.signals))
    host.wait_property("web1", {"Running": True, "Guarded": True})
    host.virsh("destroy", "web1")
    host.wait_property("web1", {"Running": False, "Guarded": False, "LoadedL2Since": 0})


@l1_test("on the way to another host: kept out where the guard was missing, let in by a release, and guarded there", timeout=120)
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    guest.keep_hypervisor_on()
    guest.run_l2()
    host.wait_property("web1", {"Guarded": True})
    since = int(noted(host, guest)["since"])
    with TemporaryHost() as other:
        l1.start_daemon(other)
        enable_hook(other)
        other.wait_manager(Connected=True, Synced=True)

        def migrate():
            host.virsh("migrate", "web1", "--desturi", other.uri, "--migrateuri", f"unix://{other.top}/migration",
                       "--live", "--persistent")

        fails(migrate, "virtnest-l2-running")
        # Somebody takes the node away: what the daemon has noted goes along.
        host.stop_daemon()
        host.virsh("qemu-monitor-command", "web1",
                   '{"execute":"blockdev-del","arguments":{"node-name":"virtnest-l2-running"}}')
        error = fails(migrate, "virtnest refuses domain 'web1': it runs guests of its own (L2)")
        contains(error, f"virtnestctl hook allow {guest.uuid}", "the error")
        equal(host.virsh("domstate", "web1").strip(), "running", "the state")
        host.start_daemon(inject=True)
        host.wait_property("web1", {"Guarded": True})
        host.ctl("release", "web1", "--for", "5min")
        # There it is taken for one of KVM at once.
        pathlib.Path(other.top, "inject/kvm-web1").touch()
        there = l1.L1.known(other, "web1", guest.uuid)
        there.keep_hypervisor_on()
        migrate()
        host.wait_log("domain 'web1' was migrated while a guest of its own ran, as an operator has released it")
        host.wait_property("web1", {"Running": False, "Guarded": False})
        other.wait_property("web1", {"Running": True, "L2State": "quiet", "Guarded": True,
                                     "LoadedL2Since": since * 1000000})
        equal(URI in other.dumpxml("web1"), False, "that the persistent definition has it")
        other.wait_for("the element of here", lambda: "released-until" not in (there.runtime() or {"released-until": 1}))
        fails(lambda: other.virsh("save", "web1", f"{other.top}/image"), "virtnest-l2-running")
        there.keep_hypervisor_on(False)
        other.wait_property("web1", {"L2State": "none", "Guarded": False}, timeout=30)
        noted(other, there, False)


@l1_test("the daemon is restarted: what is noted stays, and what ended meanwhile is corrected")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    guest.run_l2()
    host.wait_property("web1", {"Guarded": True})
    first = noted(host, guest)
    host.stop_daemon()
    equal(guest.runtime(), first, "the element without a daemon")
    host.start_daemon(inject=True)
    host.wait_property("web1", {"L2State": "running", "Guarded": True, "LoadedL2Since": 0})
    host.settle()
    equal(guest.runtime(), first, "the element after the restart")
    host.stop_daemon()
    guest.stop_l2()
    host.start_daemon(inject=True)
    host.wait_property("web1", {"L2State": "none", "Guarded": False}, timeout=30)
    noted(host, guest, False)


@l1_test("the daemon is restarted with an L2 that is idle, seen by moments alone: it is not forgotten")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    guest.keep_hypervisor_on()
    host.stop_daemon()
    host.remove(f"sys/kernel/debug/kvm/{guest.pid}-7/nested_run")
    host.start_daemon(inject=True)
    host.wait_property("web1", {"L2State": "none", "L2Source": "debugfs-guest-mode"})
    mode = f"sys/kernel/debug/kvm/{guest.pid}-7/guest_mode"
    host.write(mode, "1\n")
    host.wait_property("web1", {"L2State": "running", "Guarded": True})
    noted(host, guest)
    host.write(mode, "0\n")
    host.wait_property("web1", {"L2State": "quiet", "Guarded": True})
    host.stop_daemon()
    host.start_daemon(inject=True)
    host.wait_property("web1", {"L2State": "quiet", "L2Source": "debugfs-guest-mode", "Guarded": True})
    host.settle()
    equal(host.domain("web1")["L2State"], "quiet", "L2State")
    lacks(host.daemon.log_text(), "runs no guest of its own any more", "the log")
    lacks(host.daemon.log_text(), "is not guarded any more", "the log")


@l1_test("the daemon is restarted under the kill switch: what is noted stays")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    guest.run_l2()
    host.wait_property("web1", {"Guarded": True})
    first = noted(host, guest)
    host.stop_daemon()
    host.write("etc/virtnest/disable", "")
    host.start_daemon(inject=True)
    host.wait_property("web1", {"L2State": "running", "Guarded": True})
    host.settle()
    equal(guest.runtime(), first, "the element")


@l1_test("a definition that is another type's from the next start on changes nothing for the guest that runs")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    guest.run_l2()
    host.wait_property("web1", {"L2State": "running", "Guarded": True})
    pathlib.Path(host.top, "inject/fail-live-web1").touch()
    guest.touch()
    host.settle()
    equal(host.domain("web1")["L2State"], "running", "L2State")
    lacks(host.daemon.log_text(), "is not guarded any more", "the log")


@l1_test("with no valid configuration from the start on, who has a tag is guarded as by default")
def _(host):
    l1.start_daemon(host, when="never")
    guest = l1.L1(host, "web1")
    guest.run_l2()
    host.wait_property("web1", {"L2State": "running", "Guarded": False})
    host.stop_daemon()
    host.policy("broken", "[CPU]\nMode=nonsense\n")
    host.start_daemon(inject=True)
    seen = host.wait_property("web1", {"State": "error", "L2State": "running", "Guarded": True})
    equal(seen["GuardReason"], "it runs a guest of its own", "GuardReason")


@l1_test("whose tag is gone is not guarded, also if libvirt refuses to have the <cpu> of before back")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    # What is posed as a guest of KVM is none that libvirt would define here.
    host.virsh("metadata", "web1", "urn:virtnest:domain:1", "--remove", "--config", "--live")
    host.wait_property("web1", {"State": "error", "Policy": ""})
    guest.run_l2()
    host.wait_property("web1", {"L2State": "running"})
    guest.set(guest.runs)
    host.wait_property("web1", {"L2State": "quiet"})
    equal((host.domain("web1")["Guarded"], nodes(host, "web1")), (False, []), "Guarded, and QEMU's nodes")
    lacks(host.daemon.log_text(), "is guarded", "the log")


@test("made persistent by somebody, it is taken out again, and a guest that starts with it is corrected")
def _(host):
    host.policy("default", l1.POLICY.format(when="running"))
    host.define("web1", metadata=STRAY)
    host.wait_for("it to be gone", lambda: URI not in host.dumpxml("web1"))
    host.wait_log(r"domain 'web1': took out of its persistent definition")
    host.define("tagged", metadata=STRAY + l1.tag_xml("default"))
    host.wait_state("tagged", "in-sync")
    equal(URI in host.dumpxml("tagged"), False, "that it is there")
    # It runs, and somebody makes a persistent one of what it was started from.
    host.virsh("start", "tagged")
    host.wait_property("tagged", {"Running": True})
    host.virsh("metadata", "tagged", URI, "--key", "v", "--set", "<runtime l2='running' since='1' until='2' host='x'/>",
               "--live")
    host.virsh("metadata", "tagged", "urn:virtnest:test", "--key", "test", "--set", "<x/>", "--live")
    host.wait_for("it to be gone", lambda: URI not in host.live_xml("tagged"))
    equal(host.domain("tagged")["LoadedL2Since"], 0, "LoadedL2Since")


@test("the kill switch and Mode=guard leave the persistent definition alone")
def _(host):
    host.write("etc/virtnest/disable", "")
    host.wait_manager(WritesDisabled=True)
    host.define("web1", metadata=STRAY)
    host.wait_state("web1", "untagged")
    host.settle()
    contains(host.dumpxml("web1"), URI, "the definition")
    host.remove("etc/virtnest/disable")
    host.wait_for("it to be gone", lambda: URI not in host.dumpxml("web1"))


@l1_test("libvirt does not let it be noted: guarded all the same, and released")
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1", memory=4096)
    # A job that a change of metadata waits for, and the monitor does not: a dump whose file nobody reads.
    os.mkfifo(f"{host.top}/dump")
    reader = os.open(f"{host.top}/dump", os.O_RDONLY | os.O_NONBLOCK)
    dump = host.spawn(["virsh", "-q", "-c", host.uri, "dump", "web1", f"{host.top}/dump", "--memory-only"])
    dump.asked_to_end = True
    host.wait_for("the dump", lambda: "Dump" in host.virsh("domjobinfo", "web1", "--rawstats") or
                  re.search(r"operation=8|Operation: *Dump", host.virsh("domjobinfo", "web1")))
    guest.run_l2()
    host.wait_property("web1", {"L2State": "running", "Guarded": True, "GuardError": ""})
    equal(guest.runtime(), None, "the element")
    host.ctl("release", "web1", "--for", "10min")
    equal(host.domain("web1")["Guarded"], False, "Guarded")
    os.close(reader)
    dump.wait()
    noted(host, guest)


if __name__ == "__main__":
    tap.main()
