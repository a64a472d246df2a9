#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tag a domain, and its next start has nested virtualization; untag it, and it is as before."""

import re
import shlex
import signal

import tap
from harness import STATE_NS, TAG_NS, cpu_of, domain_xml, tag_xml, without_cpu_and_tag
from tap import contains, equal, fails, lacks, test

SVM = "<feature policy='require' name='svm'/>"
APPLICATION = "<app:note xmlns:app='urn:example:app'>&lt;kept &amp; well&gt;</app:note>"
VNC = "<graphics type='vnc' port='-1' passwd='s3cret'/><video><model type='none'/></video>"

# What users write. Some of it libvirt fills up or orders anew when it is defined.
CPUS = {
    "none": "",
    "named": "<cpu mode='custom' match='exact' check='partial'><model fallback='allow'>qemu64</model></cpu>",
    "features": "<cpu mode='custom' match='minimum'><model>Opteron_G2</model><feature policy='disable' name='x2apic'/>"
                "<feature policy='optional' name='svm'/></cpu>",
    "topology": "<cpu><topology sockets='1' cores='2' threads='1'/></cpu>",
    "numa": "<cpu mode='host-model'><topology sockets='2' cores='1' threads='1'/><numa>"
            "<cell id='0' cpus='0' memory='16' unit='MiB'/><cell id='1' cpus='1' memory='16' unit='MiB'/></numa></cpu>",
    "forced": "<cpu mode='host-model' check='none'><feature policy='forbid' name='svm'/></cpu>",
}


def define_all(host, **arguments):
    for name, cpu in CPUS.items():
        host.define(name, cpu=cpu, vcpus=2, **arguments)


@test("a tagged domain gets host-model with svm required, and nothing else changes")
def _(host):
    host.define("web1", metadata=APPLICATION, devices=VNC)
    before = host.dumpxml("web1")
    host.wait_state("web1", "untagged")
    host.tag("web1")
    seen = host.wait_state("web1", "in-sync")
    after = host.dumpxml("web1")
    contains(cpu_of(after), "mode='host-model'")
    contains(cpu_of(after), SVM)
    equal(without_cpu_and_tag(after), without_cpu_and_tag(before), "the rest of the definition")
    for key, value in {"Name": "web1", "Tagged": True, "Policy": "default", "StateReason": "", "Running": False,
                       "Persistent": True, "WantedCPUMode": "host-model", "Feature": "svm", "Owner": "",
                       "Conflicts": []}.items():
        equal(seen[key], value, key)
    contains(seen["PolicySource"], "/usr/lib/virtnest/policy.d/default.policy")
    assert seen["RewriteTime"] > 0
    host.wait_property("web1", {"CPUMode": "host-model"})
    manager = host.manager()
    equal(manager["Rewrites"], 1, "Rewrites")
    equal(manager["DomainsTagged"], 1, "DomainsTagged")
    equal(manager["DomainsTotal"], 1, "DomainsTotal")


@test("a guest started after that has svm")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.virsh("start", "web1")
    contains(cpu_of(host.live_xml("web1")), SVM)
    host.wait_property("web1", {"State": "in-sync", "Running": True})


@test("a guest that was running is pending until its power cycle")
def _(host):
    host.define("web1")
    host.virsh("start", "web1")
    host.wait_property("web1", {"Running": True})
    live = cpu_of(host.live_xml("web1"))
    host.tag("web1")
    seen = host.wait_state("web1", "pending-restart")
    assert seen["StateReason"], "no reason given"
    contains(cpu_of(host.dumpxml("web1")), SVM)
    equal(cpu_of(host.live_xml("web1")), live, "the running guest's <cpu>")
    host.virsh("reset", "web1")
    host.settle()
    equal(host.domain("web1")["State"], "pending-restart", "state after a reset, which keeps the CPU")
    host.virsh("destroy", "web1")
    host.wait_state("web1", "in-sync")
    host.virsh("start", "web1")
    host.wait_property("web1", {"State": "in-sync", "Running": True})
    contains(cpu_of(host.live_xml("web1")), SVM)


@test("pending survives a restart of virtnestd")
def _(host):
    host.define("web1", cpu=CPUS["named"])
    host.virsh("start", "web1")
    host.tag("web1")
    host.wait_state("web1", "pending-restart")
    host.restart_daemon()
    host.wait_state("web1", "pending-restart")


@test("untagging restores <cpu> byte for byte", timeout=120)
def _(host):
    define_all(host)
    before = {name: host.dumpxml(name) for name in CPUS}
    for name in CPUS:
        host.tag(name)
    for name in CPUS:
        host.wait_state(name, "in-sync")
        contains(host.dumpxml(name), STATE_NS)
        contains(cpu_of(host.dumpxml(name)), SVM)
        host.untag(name)
    for name in CPUS:
        after = host.wait_for(f"{name} without our state", lambda n=name: without_state(host, n))
        equal(cpu_of(after), cpu_of(before[name]), f"<cpu> of {name}")
        equal(without_cpu_and_tag(after), without_cpu_and_tag(before[name]), f"the rest of {name}")


def without_state(host, name):
    xml = host.dumpxml(name)
    return xml if STATE_NS not in xml else None


@test("enabled='no' in the tag restores <cpu> too")
def _(host):
    host.define("web1")
    before = cpu_of(host.dumpxml("web1"))
    host.tag("web1")
    host.wait_state("web1", "in-sync")
    host.tag("web1", text="<nesting enabled='no'/>")
    host.wait_state("web1", "untagged")
    equal(cpu_of(host.dumpxml("web1")), before, "<cpu>")


@test("a tag without a policy means the policy named default")
def _(host):
    host.define("web1")
    host.tag("web1", None)
    equal(host.wait_state("web1", "in-sync")["Policy"], "default", "Policy")


@test("topology, NUMA cells and the user's own features survive a rewrite")
def _(host):
    define_all(host)
    for name in CPUS:
        host.tag(name)
    for name in CPUS:
        host.wait_state(name, "in-sync")
    contains(cpu_of(host.dumpxml("topology")), "<topology sockets='1' dies='1' cores='2' threads='1'/>")
    contains(cpu_of(host.dumpxml("numa")), "<cell id='1' cpus='1' memory='16384' unit='KiB'/>")
    contains(cpu_of(host.dumpxml("features")), "<feature policy='disable' name='x2apic'/>")


@test("what a user edits in between is kept, while tagged and after untagging")
def _(host):
    host.define("web1", vcpus=2, cpu=CPUS["named"])
    before = cpu_of(host.dumpxml("web1"))
    host.tag("web1")
    host.wait_state("web1", "in-sync")
    edit = "<feature policy='disable' name='x2apic'/>"
    host.edit("web1", lambda xml: xml.replace("  </cpu>", f"    {edit}\n  </cpu>"))
    host.settle()
    host.wait_state("web1", "in-sync")
    contains(cpu_of(host.dumpxml("web1")), edit)
    contains(cpu_of(host.dumpxml("web1")), SVM)
    host.untag("web1")
    host.wait_for("the old <cpu>", lambda: without_state(host, "web1"))
    equal(cpu_of(host.dumpxml("web1")).replace(f"    {edit}\n", ""), before, "<cpu> but for the edit")
    contains(cpu_of(host.dumpxml("web1")), edit)


@test("what a user takes away is put back while tagged")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.edit("web1", lambda xml: xml.replace(SVM, "<feature policy='disable' name='svm'/>"))
    host.wait_for("svm to be required again", lambda: SVM in cpu_of(host.dumpxml("web1")))
    host.wait_state("web1", "in-sync")


@test("an edit with virsh edit is seen")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")
    change = f"s|<metadata/>|<metadata>{tag_xml()}</metadata>|"
    editor = host.write_file("editor", f'#!/bin/sh\nexec sed -i {shlex.quote(change)} "$1"\n')
    editor.chmod(0o755)
    host.virsh("edit", "web1", env={"EDITOR": str(editor)})
    host.wait_state("web1", "in-sync")


@test("a definition that is defined anew from outside, without our state, is rewritten again and untags to that one")
def _(host):
    theirs = domain_xml("web1", metadata=tag_xml(), cpu=CPUS["features"])
    for round_number in range(1, 4):
        host.define_xml(theirs)
        host.wait_for("the rewrite", lambda: STATE_NS in host.dumpxml("web1"))
        host.wait_state("web1", "in-sync")
        host.settle()
        equal(host.manager()["Rewrites"], round_number, "Rewrites")
    host.untag("web1")
    restored = cpu_of(host.wait_for("the old <cpu>", lambda: without_state(host, "web1")))
    host.define_xml(theirs.replace(tag_xml(), ""))
    equal(restored, cpu_of(host.dumpxml("web1")), "<cpu>")


@test("an edit that contradicts what is restored stays, and is published as a conflict")
def _(host):
    host.define("web1", cpu=CPUS["named"])
    host.tag("web1")
    host.wait_state("web1", "in-sync")
    host.stop_daemon()
    edited = "<cpu mode='custom' match='exact' check='partial'>\n    <model fallback='forbid'>Opteron_G2</model>\n" \
             f"    {SVM}\n  </cpu>"
    host.edit("web1", lambda xml: xml.replace(cpu_of(xml), "  " + edited))
    host.untag("web1")
    host.start_daemon()
    host.wait_for("the rest to be restored", lambda: without_state(host, "web1"))
    cpu = cpu_of(host.dumpxml("web1"))
    contains(cpu, "Opteron_G2", "<cpu>")
    lacks(cpu, "svm", "<cpu>")
    seen = host.wait_for("the conflict to be published", lambda: host.domain("web1")["Conflicts"])
    contains(" ".join(seen), "Opteron_G2")


@test("mode custom: the named model with svm")
def _(host):
    host.policy("fleet", "[CPU]\nMode=custom\nModel=Opteron_G2\n")
    host.define("web1", metadata=tag_xml("fleet"))
    equal(host.wait_state("web1", "in-sync")["WantedCPUMode"], "custom", "WantedCPUMode")
    contains(cpu_of(host.dumpxml("web1")), ">Opteron_G2</model>")
    host.virsh("start", "web1")
    contains(cpu_of(host.live_xml("web1")), SVM)
    host.wait_property("web1", {"State": "in-sync", "Running": True})


@test("mode keep: the domain's own <cpu> with svm added")
def _(host):
    host.policy("own", "[CPU]\nMode=keep\n")
    for name in ("named", "topology"):
        host.define(name, cpu=CPUS[name], vcpus=2)
    before = host.dumpxml("named")
    host.tag("named", "own")
    host.wait_state("named", "in-sync")
    cpu = cpu_of(host.dumpxml("named"))
    contains(cpu, SVM)
    equal(re.search("<cpu.*?>", cpu).group(0), re.search("<cpu.*?>", cpu_of(before)).group(0), "<cpu>")
    contains(cpu, ">qemu64</model>")
    host.virsh("start", "named")
    contains(cpu_of(host.live_xml("named")), SVM)


@test("mode host-passthrough: refused for an emulated guest, which is left as it was")
def _(host):
    host.policy("fast", "[CPU]\nMode=host-passthrough\n")
    host.define("web1", metadata=tag_xml("fast"))
    before = host.dumpxml("web1")
    seen = host.wait_state("web1", "error", reason="host-passthrough")
    equal(seen["WantedCPUMode"], "host-passthrough", "WantedCPUMode")
    equal(host.dumpxml("web1"), before, "the definition")


@test("rename: the object stays and gets the new name")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    path = host.domain_path("web1")
    host.virsh("domrename", "web1", "web2")
    host.wait_state("web2", "in-sync")
    equal(host.domain_path("web2"), path, "the object's path")
    fails(lambda: host.domain_path("web1"))
    equal(host.manager()["Rewrites"], 1, "Rewrites")


@test("undefine: the object goes; a running guest becomes transient, and goes when it stops")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.define("web2", metadata=tag_xml())
    host.virsh("start", "web2")
    host.wait_property("web2", {"Running": True})
    host.wait_state("web1", "in-sync")
    host.virsh("undefine", "web1")
    host.wait_gone("web1")
    host.virsh("undefine", "web2")
    host.wait_property("web2", {"Persistent": False})
    host.virsh("destroy", "web2")
    host.wait_gone("web2")
    equal(host.manager()["DomainsTotal"], 0, "DomainsTotal")


@test("a transient domain is published as such and left alone")
def _(host):
    path = f"{host.top}/transient.xml"
    with open(path, "w", encoding="utf-8") as file:
        file.write(domain_xml("web1", metadata=tag_xml()))
    host.virsh("create", path)
    before = host.live_xml("web1")
    seen = host.wait_state("web1", "transient")
    equal(seen["Persistent"], False, "Persistent")
    equal(host.live_xml("web1"), before, "the guest")
    equal(host.manager()["Rewrites"], 0, "Rewrites")
    host.define_xml(before)  # now it gets a definition, and with that its CPU
    host.wait_state("web1", "pending-restart")


@test("a tag on the running guest alone counts while it runs")
def _(host):
    host.define("web1")
    before = cpu_of(host.dumpxml("web1"))
    host.virsh("start", "web1")
    host.virsh("metadata", "web1", TAG_NS, "--key", "nest", "--set", "<nesting/>", "--live")
    host.wait_state("web1", "pending-restart")
    contains(cpu_of(host.dumpxml("web1")), SVM)
    host.virsh("destroy", "web1")
    host.wait_state("web1", "untagged")
    equal(cpu_of(host.dumpxml("web1")), before, "<cpu>")


@test("a managed-save image is published and left alone")
def _(host):
    host.define("web1")
    host.virsh("start", "web1")
    host.virsh("managedsave", "web1")
    image = next(iter(host.managed_save_images()))
    stamp = image.stat().st_mtime_ns, image.stat().st_size
    host.tag("web1")
    seen = host.wait_state("web1", "managed-save")
    assert seen["StateReason"], "no reason given"
    contains(cpu_of(host.dumpxml("web1")), SVM)
    equal((image.stat().st_mtime_ns, image.stat().st_size), stamp, "the image")
    host.virsh("start", "web1")
    lacks(cpu_of(host.live_xml("web1")), "svm")
    host.wait_state("web1", "pending-restart")
    host.virsh("destroy", "web1")
    host.virsh("start", "web1")
    host.wait_property("web1", {"State": "in-sync", "Running": True})


@test("a managed-save image that already has the CPU is in sync")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.virsh("start", "web1")
    host.virsh("managedsave", "web1")
    host.wait_property("web1", {"State": "in-sync", "Running": False})


@test("a graphics password survives a rewrite, and untagging")
def _(host):
    host.define("web1", devices=VNC)
    host.tag("web1")
    host.wait_state("web1", "in-sync")
    contains(host.dumpxml("web1"), "passwd='s3cret'")
    host.untag("web1")
    host.wait_for("the old <cpu>", lambda: without_state(host, "web1"))
    contains(host.dumpxml("web1"), "passwd='s3cret'")


@test("a domain in sync is never defined again, by events, reloads or restarts")
def _(host):
    for name in ("web1", "web2"):
        host.define(name, metadata=tag_xml(), devices=VNC)
        host.wait_state(name, "in-sync")
    host.define("plain", metadata=APPLICATION)
    host.settle()
    stamps = {name: host.definition_stamp(name) for name in ("web1", "web2", "plain")}
    host.virsh("start", "web1")
    host.wait_property("web1", {"Running": True})
    host.virsh("suspend", "web1")
    host.virsh("resume", "web1")
    host.daemon.signal(signal.SIGHUP)
    host.settle()
    host.virsh("destroy", "web1")
    host.wait_property("web1", {"Running": False})
    host.settle()
    equal(host.manager()["Rewrites"], 2, "Rewrites")
    host.restart_daemon()
    for name in ("web1", "web2"):
        equal(host.wait_state(name, "in-sync")["Tagged"], True, "Tagged")
    host.settle()
    equal(host.manager()["Rewrites"], 0, "Rewrites after the restart")
    equal({name: host.definition_stamp(name) for name in stamps}, stamps, "inode and time of the definitions' files")


@test("a domain that is only looked at is never defined", daemon=False)
def _(host):
    define_all(host)
    stamps = {name: host.definition_stamp(name) for name in CPUS}
    host.start_daemon()
    host.wait_manager(Synced=True)
    for name in CPUS:
        host.wait_state(name, "untagged")
    host.settle()
    equal({name: host.definition_stamp(name) for name in CPUS}, stamps, "inode and time of the definitions' files")


@test("forty domains tagged at once are all rewritten", config="RewritesPerMinute=0", timeout=120)
def _(host):
    names = [f"web{number}" for number in range(40)]
    for name in names:
        host.define(name, metadata=tag_xml())
    for name in names:
        host.wait_state(name, "in-sync")
        contains(cpu_of(host.dumpxml(name)), SVM)
    host.settle()
    equal(host.manager()["Rewrites"], 40, "Rewrites")
    equal(host.manager()["DomainsTagged"], 40, "DomainsTagged")


if __name__ == "__main__":
    tap.main()
