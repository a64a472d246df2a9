#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the journal gets: a message with an id for each event that an operator acts on, with fields to search by, and nothing on
standard error."""

import json
import os
import pathlib
import re
import select
import sys

import l1
import tap
from guarded import ALWAYS, NEVER, begin_save, migration_status, start
from harness import DOMAIN, HERE, SOURCE, tag_xml
from tap import equal, test

IDS = dict(re.findall(r'^#define MESSAGE_(\w+) "(.*)"$', (SOURCE / "daemon/log.h").read_text(), re.MULTILINE))

CPU = "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>{model}</model></cpu>"


class Journal:
    def __init__(self, host):
        self.host = host
        self.process = host.spawn([sys.executable, str(HERE / "journal.py")], log=f"{host.logs}/journal.log")
        host.wait_for("the journal", lambda: "listening" in self.process.log_text())
        # For start_daemon().
        self.wrapper = [sys.executable, str(HERE / "journal.py")]

    def entries(self, event):
        """Those of an event, named as in daemon/log.h; None: all of them."""
        # The last line may be half written.
        lines = self.process.log_text().rpartition("\n")[0].splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [entry for entry in found if event is None or entry.get("MESSAGE_ID") == IDS[event]]

    def wait(self, event, **expected):
        """Waits for an entry with these fields, VIRTNEST_ left out, and with `message` in its text. Returns it."""
        part = expected.pop("message", "")
        fields = {f"VIRTNEST_{name}": value for name, value in expected.items()}

        def look():
            for entry in self.entries(event):
                if part in entry["MESSAGE"] and all(entry.get(name) == value for name, value in fields.items()):
                    return entry
            return None

        try:
            entry = self.host.wait_for(f"{event} {fields} {part!r} in the journal", look)
        except AssertionError as error:
            raise AssertionError(f"{error}; it has {self.entries(event)}") from None
        equal(entry["SYSLOG_IDENTIFIER"], "virtnestd", "SYSLOG_IDENTIFIER")
        return entry


@test("definitions: rewritten, pending, held, failed, in conflict", daemon=False)
def _(host):
    journal = Journal(host)
    host.start_daemon(wrapper=journal.wrapper)
    uuid = host.define("web1", metadata=tag_xml())
    who = {"DOMAIN": "web1", "UUID": uuid, "POLICY": "default"}
    entry = journal.wait("RECONCILED", message="domain 'web1': done: rewrite <cpu>", **who)
    equal(entry["PRIORITY"], "5", "PRIORITY")
    host.wait_state("web1", "in-sync")
    other = host.define("web2")
    host.virsh("start", "web2")
    host.tag("web2")
    journal.wait("PENDING_RESTART", DOMAIN="web2", UUID=other, POLICY="default", message="is pending-restart")
    # QEMU's emulation takes no host-passthrough.
    host.policy("default", "[CPU]\nMode=host-passthrough\n")
    entry = journal.wait("RECONCILE_FAILED", **who)
    equal(entry["PRIORITY"], "4", "PRIORITY")
    host.write("etc/virtnest/disable", "")
    host.policy("default", "[CPU]\nMode=host-model\n")
    uuid = host.define("web3", metadata=tag_xml())
    journal.wait("RECONCILE_HELD", DOMAIN="web3", UUID=uuid, message="(held)")


@test("the configuration: rejected, valid again, changed; and a start says nothing of it", daemon=False)
def _(host):
    journal = Journal(host)
    host.start_daemon(wrapper=journal.wrapper)
    host.wait_manager(Synced=True)
    equal([entry["MESSAGE"] for entry in journal.entries(None) if "configuration" in entry["MESSAGE"]], [], "what is told")
    equal(host.daemon.log_text(), "", "what standard error got")
    host.policy("lab", "[CPU]\nMode=nonsense\n")
    entry = journal.wait("CONFIGURATION_REJECTED", POLICY="lab", message="lab.policy:2: [CPU] Mode=nonsense: takes ")
    equal(entry["PRIORITY"], "4", "PRIORITY")
    host.policy("lab", "[CPU]\nMode=keep\n")
    journal.wait("CONFIGURATION_LOADED", POLICY="lab", message="configuration is valid again: policy 'lab' is new")
    host.policy("lab", "[CPU]\nMode=host-model\n")
    journal.wait("CONFIGURATION_LOADED", message="configuration is loaded anew: policy 'lab' is changed")
    host.configure("RewritesPerMinute=5")
    journal.wait("CONFIGURATION_LOADED", message="configuration is loaded anew: settings of virtnest.conf are changed")
    before = len(journal.entries("CONFIGURATION_LOADED"))
    host.call("/org/virtnest1", "org.virtnest1.Manager", "Reload", "t", "0")
    equal(len(journal.entries("CONFIGURATION_LOADED")), before, "the entries, after a reload that changes nothing")
    host.remove("etc/virtnest/policy.d/lab.policy")
    journal.wait("CONFIGURATION_LOADED", POLICY="lab", message="policy 'lab' is gone")
    host.stop_daemon()
    host.policy("lab", "[CPU]\nMode=keep\n")
    host.start_daemon(wrapper=journal.wrapper)
    host.wait_manager(Synced=True)
    # Both in one reload: by a rename of the folder.
    host.write("etc/virtnest/new/lab.policy", "[CPU]\nMode=host-model\n")
    host.write("etc/virtnest/new/rack.policy", "[CPU]\nMode=keep\n")
    folder = pathlib.Path(host.root, "etc/virtnest")
    (folder / "policy.d").rename(folder / "old")
    (folder / "new").rename(folder / "policy.d")
    host.call("/org/virtnest1", "org.virtnest1.Manager", "Reload", "t", "0")
    journal.wait("CONFIGURATION_LOADED", POLICY=["lab", "rack"], message="policy 'lab' is changed; policy 'rack' is new")


@test("libvirt: lost, and back", daemon=False)
def _(host):
    journal = Journal(host)
    host.start_daemon(wrapper=journal.wrapper)
    host.wait_manager(Synced=True)
    host.kill_libvirtd()
    entry = journal.wait("LIBVIRT_LOST", message="no connection to libvirt at qemu:///system, trying again")
    equal(entry["PRIORITY"], "4", "PRIORITY")
    # Another reason than that the connection was closed.
    host.wait_for("another reason", lambda: re.search("refused|No such file", host.manager()["ConnectionError"]))
    equal(len(journal.entries("LIBVIRT_LOST")), 1, "how often it is told")
    host.start_libvirtd()
    journal.wait("LIBVIRT_BACK", message="connected to libvirt")


@test("guests of guests: appeared, gone; the guard that comes and goes with them; a release", daemon=False)
def _(host):
    journal = Journal(host)
    l1.start_daemon(host, wrapper=journal.wrapper)
    guest = l1.L1(host, "web1")
    who = {"DOMAIN": "web1", "UUID": guest.uuid, "POLICY": "default"}
    guest.run_l2()
    journal.wait("L2_RUNS", message="runs a guest of its own (L2), seen through debugfs", **who)
    entry = journal.wait("GUARDED", **who)
    equal(entry["PRIORITY"], "5", "PRIORITY")
    host.call(host.domain_path("web1"), DOMAIN, "Release", "tst", "60000000", "moving\nhouse \x1b[2J", "0")
    # As blob data journalctl would hide it.
    entry = journal.wait("RELEASED", BY="root", message="is released from its guard for 1min by root: moving\nhouse ?[2J", **who)
    equal(entry["PRIORITY"], "4", "PRIORITY")
    journal.wait("UNGUARDED", message="released by an operator, although a guest of its own may run in it", **who)
    host.call(host.domain_path("web1"), DOMAIN, "Revoke", "t", "0")
    journal.wait("RELEASE_ENDED", BY="root", message="revoked by root", **who)
    host.wait_property("web1", {"Guarded": True})
    guest.stop_l2()
    journal.wait("L2_GONE", **who)
    host.wait_property("web1", {"Guarded": False})
    journal.wait("UNGUARDED", message="is not guarded any more: it runs no guest of its own", **who)
    equal(len(journal.entries("GUARDED")), 2, "the number of guards")
    # What virtnestd keeps below /run is no configuration.
    equal([entry["MESSAGE"] for entry in journal.entries(None) if "configuration" in entry["MESSAGE"]], [], "what was read")
    equal([entry["MESSAGE"] for entry in journal.entries(None) if "MESSAGE" not in entry or "SYSLOG_IDENTIFIER" not in entry],
          [], "the entries that lack something")


@test("a job that is aborted, and a guard that cannot be set", daemon=False)
def _(host):
    journal = Journal(host)
    host.start_daemon(wrapper=journal.wrapper)
    host.policy("default", NEVER)
    start(host, "web1", memory=4096)
    _, image = begin_save(host, "web1")
    host.policy("default", ALWAYS)
    uuid = host.domain("web1")["UUID"]
    host.wait_for("the abort", lambda: migration_status(host, "web1") in ("cancelling", "cancelled", None))
    os.close(image)
    entry = journal.wait("JOB_ABORTED", DOMAIN="web1", UUID=uuid, POLICY="default", message="its save was aborted")
    equal(entry["PRIORITY"], "4", "PRIORITY")
    host.wait_property("web1", {"Guarded": True})
    pid = host.read("libvirt/run/qemu/web1.pid").strip()
    host.spawn(["kill", "-STOP", pid]).wait()
    host.policy("default", NEVER)
    journal.wait("GUARD_FAILED", DOMAIN="web1", UUID=uuid, POLICY="default", message="does not answer")
    host.spawn(["kill", "-CONT", pid]).wait()
    host.wait_property("web1", {"Guarded": False})


@test("a job that cannot be aborted", daemon=False)
def _(host):
    journal = Journal(host)
    host.policy("default", NEVER)
    host.start_daemon(wrapper=journal.wrapper)
    start(host, "web1", memory=64)
    who = {"DOMAIN": "web1", "UUID": host.domain("web1")["UUID"], "POLICY": "default"}
    os.mkfifo(f"{host.top}/core")
    core = os.open(f"{host.top}/core", os.O_RDONLY | os.O_NONBLOCK)
    dump = host.spawn(["virsh", "-c", host.uri, "dump", "--memory-only", "web1", f"{host.top}/core"])
    dump.asked_to_end = True
    host.wait_for("a first byte", lambda: select.select([core], [], [], 0)[0])
    host.policy("default", ALWAYS)
    entry = journal.wait("JOB_NOT_ABORTED", message="its dump began before the guest could be guarded", **who)
    equal(entry["PRIORITY"], "4", "PRIORITY")
    equal(journal.entries("JOB_ABORTED"), [], "the jobs that were aborted")
    os.close(core)


@test("a guard that somebody else takes away", daemon=False)
def _(host):
    journal = Journal(host)
    host.policy("default", ALWAYS)
    host.start_daemon(inject=True, wrapper=journal.wrapper)
    start(host, "web1")
    host.wait_property("web1", {"Guarded": True})
    host.virsh("qemu-monitor-command", "web1",
               '{"execute":"blockdev-del","arguments":{"node-name":"virtnest-l2-running"}}')
    # Nobody tells. It is looked after at a look that comes long enough after the last one.
    host.write_file("inject/clock", "100")
    host.virsh("metadata", "web1", "urn:virtnest:test", "--key", "test", "--set", "<x/>", "--live")
    entry = journal.wait("GUARD_TAKEN", DOMAIN="web1", UUID=host.domain("web1")["UUID"], POLICY="default")
    equal(entry["PRIORITY"], "4", "PRIORITY")
    host.wait_for("the guard", lambda: "virtnest-l2-running" in host.virsh(
        "qemu-monitor-command", "web1", '{"execute":"query-named-block-nodes"}'))


@test("a definition that may have been brought back", daemon=False)
def _(host):
    journal = Journal(host)
    uuid = host.define("web1", metadata=tag_xml())
    host.inject("virDomainDefineXMLFlags.before", f'rm "$0"\nvirsh -q -c {host.uri} undefine web1')
    host.start_daemon(inject=True, wrapper=journal.wrapper)
    entry = journal.wait("DEFINED_AGAIN", DOMAIN="web1", UUID=uuid, message="undefine it once more")
    equal(entry["PRIORITY"], "4", "PRIORITY")


@test("an edit that contradicts what is restored", daemon=False)
def _(host):
    journal = Journal(host)
    host.start_daemon()
    uuid = host.define("web1", metadata=tag_xml(), cpu=CPU.format(model="Opteron_G3"))
    host.wait_state("web1", "in-sync")
    host.stop_daemon()
    host.edit("web1", lambda xml: re.sub("<cpu.*</cpu>", CPU.format(model="Opteron_G2"), xml, flags=re.DOTALL))
    host.untag("web1")
    host.start_daemon(wrapper=journal.wrapper)
    entry = journal.wait("RECONCILE_CONFLICT", DOMAIN="web1", UUID=uuid, message="Opteron_G2")
    equal(entry["PRIORITY"], "4", "PRIORITY")


@test("this host: what it lacks, and metrics that cannot be written", daemon=False)
def _(host):
    journal = Journal(host)
    host.start_daemon(wrapper=journal.wrapper)
    host.wait_manager(Synced=True)
    host.set_host_facts("amd", "0")
    host.call("/org/virtnest1", "org.virtnest1.Manager", "Reload", "t", "0")
    entry = journal.wait("HOST_PROBLEM", CHECK="nested", message="this host, nested: kvm_amd has nested=0")
    equal(entry["PRIORITY"], "4", "PRIORITY")
    host.write("etc/virtnest/virtnest.conf.d/50-metrics.conf", "[Metrics]\nFile=/nowhere/virtnest.prom\nInterval=1s\n")
    entry = journal.wait("METRICS_FAILED", message="metrics are not written: ")
    equal(entry["PRIORITY"], "4", "PRIORITY")


@test("guests of guests: saved with them, and loaded with them", daemon=False)
def _(host):
    journal = Journal(host)
    l1.start_daemon(host, wrapper=journal.wrapper)
    guest = l1.L1(host, "web1")
    who = {"DOMAIN": "web1", "UUID": guest.uuid, "POLICY": "default"}
    guest.run_l2()
    host.wait_property("web1", {"Guarded": True})
    guest.keep_hypervisor_on()
    host.ctl("release", "web1", "--for", "10min")
    host.virsh("save", "web1", f"{host.top}/image")
    entry = journal.wait("MOVED_WITH_L2", message="was saved while a guest of its own ran, as an operator has released it", **who)
    equal(entry["PRIORITY"], "4", "PRIORITY")
    host.virsh("restore", f"{host.top}/image")
    entry = journal.wait("LOADED_WITH_L2", message="was loaded from a state in which a guest of its own ran", **who)
    equal(entry["PRIORITY"], "4", "PRIORITY")


@test("guests of guests: nothing tells whether they are there", daemon=False)
def _(host):
    journal = Journal(host)
    host.start_daemon(inject=True, wrapper=journal.wrapper)
    start(host, "web1")
    pathlib.Path(f"{host.top}/inject/kvm-web1").touch()
    # So that it is looked at.
    host.virsh("metadata", "web1", "urn:virtnest:test", "--key", "test", "--set", "<x/>", "--live")
    entry = journal.wait("L2_UNKNOWN", DOMAIN="web1", UUID=host.domain("web1")["UUID"], POLICY="default",
                         message="may run guests of its own (L2), and nothing tells whether it does: ")
    equal(entry["PRIORITY"], "4", "PRIORITY")


@test("there is no event that nothing here has looked for", daemon=False, libvirtd=False)
def _(_):
    text = pathlib.Path(__file__).read_text(encoding="utf-8")
    equal([event for event in IDS if f'journal.wait("{event}"' not in text], [], "the events without a test")


if __name__ == "__main__":
    tap.main()
