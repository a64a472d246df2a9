#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What holds rewrites back, what changes them while virtnestd runs, and what is kept of the old definitions."""

import os
import pathlib
import re
import signal
import stat

import tap
from harness import STATE_NS, cpu_of, tag_xml
from tap import contains, equal, lacks, test

SVM = "<feature policy='require' name='svm'/>"
NOVA = "<nova:instance xmlns:nova='http://openstack.org/xmlns/libvirt/nova/1.1'><nova:name>i</nova:name>" \
       "</nova:instance>"
OVIRT = "<ovirt-vm:vm xmlns:ovirt-vm='http://ovirt.org/vm/1.0'/>"
KUBEVIRT = "<kubevirt xmlns='http://kubevirt.io'><uid>1</uid></kubevirt>"


def hold(host, mode):
    host.define("web1", metadata=tag_xml())
    before = host.dumpxml("web1")
    stamp = host.definition_stamp("web1")
    seen = host.wait_state("web1", "held")
    contains(seen["StateReason"], mode, "the reason")
    equal(seen["WantedCPUMode"], "host-model", "WantedCPUMode")
    equal(host.manager()["Mode"], mode, "Mode")
    host.settle()
    equal(host.dumpxml("web1"), before, "the definition")
    equal(host.definition_stamp("web1"), stamp, "inode and time of the definition's file")
    host.configure("Mode=enforce")
    host.wait_state("web1", "in-sync")
    equal(host.manager()["Mode"], "enforce", "Mode")
    host.configure(f"Mode={mode}")
    host.wait_manager(Mode=mode)
    host.untag("web1")
    host.wait_state("web1", "held")
    contains(host.dumpxml("web1"), STATE_NS)


@test("Mode=observe writes nothing and says what it would do", config="Mode=observe")
def _(host):
    hold(host, "observe")
    host.wait_log(r"\bweb1\b.*host-model")


@test("Mode=guard writes nothing", config="Mode=guard")
def _(host):
    hold(host, "guard")


@test("the kill switch stops all writing at once, and lets it go on")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    equal(host.manager()["WritesDisabled"], False, "WritesDisabled")
    host.write("etc/virtnest/disable", "")
    host.wait_manager(WritesDisabled=True)
    host.define("web2", metadata=tag_xml())
    before = host.dumpxml("web2")
    contains(host.wait_state("web2", "held")["StateReason"], "/etc/virtnest/disable")
    host.untag("web1")
    host.wait_state("web1", "held")
    host.settle()
    equal(host.dumpxml("web2"), before, "the definition")
    contains(cpu_of(host.dumpxml("web1")), SVM)
    host.remove("etc/virtnest/disable")
    host.wait_manager(WritesDisabled=False)
    host.wait_state("web2", "in-sync")
    host.wait_state("web1", "untagged")


@test("the kill switch counts at start too", daemon=False)
def _(host):
    host.write("etc/virtnest/disable", "")
    host.define("web1", metadata=tag_xml())
    stamp = host.definition_stamp("web1")
    host.start_daemon()
    host.wait_state("web1", "held")
    host.settle()
    equal(host.definition_stamp("web1"), stamp, "inode and time of the definition's file")


@test("the rewrite limit", daemon=False, config="RewritesPerMinute=2")
def _(host):
    names = [f"web{number}" for number in range(5)]
    for name in names:
        host.define(name, metadata=tag_xml())
    host.start_daemon()
    host.wait_manager(Synced=True)
    for name in names:
        host.wait_state(name, "in-sync", "held")
    host.settle()
    states = [host.domain(name)["State"] for name in names]
    equal(states.count("in-sync"), 2, "the number of domains in sync")
    equal(host.manager()["Rewrites"], 2, "Rewrites")
    held = host.domain(names[states.index("held")])
    contains(held["StateReason"], "RewritesPerMinute")
    host.configure("RewritesPerMinute=0")
    for name in names:
        host.wait_state(name, "in-sync")


@test("domains of nova, oVirt and KubeVirt are owned and left alone")
def _(host):
    owners = {"nova": (NOVA, "OpenStack nova"), "ovirt": (OVIRT, "oVirt"), "kubevirt": (KUBEVIRT, "KubeVirt")}
    for name, (metadata, _) in owners.items():
        host.define(name, metadata=metadata + tag_xml())
    before = {name: host.dumpxml(name) for name in owners}
    for name, (_, owner) in owners.items():
        seen = host.wait_state(name, "owned")
        equal(seen["Owner"], owner, "Owner")
        contains(seen["StateReason"], owner)
    host.settle()
    equal({name: host.dumpxml(name) for name in owners}, before, "the definitions")
    host.policy("default", "[CPU]\nMode=host-model\nRewriteOwned=yes\n")
    for name in owners:
        host.wait_state(name, "in-sync")


@test("a changed policy reaches its domains, and untagging still restores")
def _(host):
    host.define("web1")
    host.define("other", metadata=tag_xml("other"))
    before = cpu_of(host.dumpxml("web1"))
    host.tag("web1")
    contains(host.wait_state("web1", "in-sync")["PolicySource"], "/usr/lib/virtnest/")
    host.policy("default", "[Policy]\nDescription=mine\n[CPU]\nMode=custom\nModel=Opteron_G2\n")
    host.wait_for("the new model", lambda: ">Opteron_G2</model>" in cpu_of(host.dumpxml("web1")))
    contains(host.wait_state("web1", "in-sync")["PolicySource"], "/etc/virtnest/policy.d/default.policy")
    host.remove("etc/virtnest/policy.d/default.policy")
    host.wait_for("the shipped policy's mode", lambda: "mode='host-model'" in cpu_of(host.dumpxml("web1")))
    host.write("run/virtnest/policy.d/default.policy", "[CPU]\nMode=custom\nModel=Opteron_G1\n")
    host.wait_for("the model of /run", lambda: ">Opteron_G1</model>" in cpu_of(host.dumpxml("web1")))
    host.untag("web1")
    host.wait_for("the old <cpu>", lambda: cpu_of(host.dumpxml("web1")) == before)


@test("an empty policy file masks the shipped one")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.policy("default", "")
    contains(host.wait_state("web1", "error")["StateReason"], "default")
    contains(cpu_of(host.dumpxml("web1")), SVM)
    host.remove("etc/virtnest/policy.d/default.policy")
    host.wait_state("web1", "in-sync")


@test("a bad policy file: the last good ones stay, and the mistake is named")
def _(host):
    host.policy("fleet", "[CPU]\nMode=custom\nModel=Opteron_G2\n")
    host.define("web1", metadata=tag_xml("fleet"))
    host.wait_state("web1", "in-sync")
    stamp = host.definition_stamp("web1")
    host.policy("fleet", "[CPU]\nMode=sideways\n")
    errors = host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])
    for part in ("/etc/virtnest/policy.d/fleet.policy", "Mode=sideways", "host-passthrough"):
        contains(" ".join(errors), part, "ConfigurationErrors")
    host.wait_log(r"<[34]>.*fleet\.policy.*Mode=sideways")
    host.define("web2", metadata=tag_xml("fleet"))
    host.wait_state("web2", "in-sync")
    contains(cpu_of(host.dumpxml("web2")), ">Opteron_G2</model>")
    equal(host.domain("web1")["State"], "in-sync", "State")
    equal(host.definition_stamp("web1"), stamp, "inode and time of the definition's file")
    host.policy("fleet", "[CPU]\nMode=host-model\n")
    host.wait_manager(ConfigurationErrors=[])
    host.wait_for("the mended policy", lambda: "mode='host-model'" in cpu_of(host.dumpxml("web1")))


@test("a bad policy file at start: domains say so, and go on when it is mended", daemon=False)
def _(host):
    host.policy("broken", "[CPU]\nMdoe=custom\n")
    host.define("web1", metadata=tag_xml())
    before = host.dumpxml("web1")
    host.start_daemon()
    contains(" ".join(host.manager()["ConfigurationErrors"]), "Mdoe")
    host.wait_state("web1", "error")
    equal(host.dumpxml("web1"), before, "the definition")
    host.remove("etc/virtnest/policy.d/broken.policy")
    host.wait_state("web1", "in-sync")
    equal(host.manager()["ConfigurationErrors"], [], "ConfigurationErrors")


@test("a bad virtnest.conf: the last good one stays; drop-ins are read")
def _(host):
    host.write("etc/virtnest/virtnest.conf.d/50-mode.conf", "[Manager]\nMode=observe\n")
    host.wait_manager(Mode="observe")
    host.configure("RewritesPerMinute=many")
    errors = host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])
    contains(" ".join(errors), "RewritesPerMinute=many")
    equal(host.manager()["Mode"], "observe", "Mode")
    host.remove("etc/virtnest/virtnest.conf.d/50-mode.conf")
    host.configure("RewritesPerMinute=5")
    host.wait_manager(Mode="enforce", ConfigurationErrors=[])


@test("drop-ins onto a policy: they come, change and go in folders that were not there before")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    drop_in = "etc/virtnest/policy.d/default.policy.d/10-features.conf"
    host.write(drop_in, "[CPU]\nDisable=mpx\n")
    host.wait_for("the drop-in", lambda: "policy='disable' name='mpx'" in cpu_of(host.dumpxml("web1")))
    host.write(drop_in, "[CPU]\nDisable=la57\n")
    host.wait_for("its change", lambda: "policy='disable' name='la57'" in cpu_of(host.dumpxml("web1")))
    lacks(cpu_of(host.dumpxml("web1")), "mpx")
    host.write(drop_in, "[CPU]\nDisable=svm\n")
    host.wait_for("the error", lambda: "10-features.conf:2" in " ".join(host.manager()["ConfigurationErrors"]))
    host.remove(drop_in)
    host.wait_for("the way back", lambda: "la57" not in cpu_of(host.dumpxml("web1")))
    contains(cpu_of(host.dumpxml("web1")), SVM)


@test("SIGHUP reloads, and tells systemd so", daemon=False)
def _(host):
    host.start_daemon()
    readies = host.daemon.notifications.count("READY=1")
    host.daemon.signal(signal.SIGHUP)
    host.wait_for("RELOADING=1 and READY=1",
                  lambda: "RELOADING=1" in host.daemon.notifications
                  and host.daemon.notifications.count("READY=1") == readies + 1)
    assert any(re.fullmatch(r"MONOTONIC_USEC=\d+", line) for line in host.daemon.notifications), "no MONOTONIC_USEC"


@test("the definition before a rewrite is kept for root alone, and no more than DefinitionCopies of them",
      config="DefinitionCopies=3\nRewritesPerMinute=0")
def _(host):
    uuid = host.define("web1", devices="<graphics type='vnc' port='-1' passwd='s3cret'/>")
    host.define("web2", metadata=tag_xml())
    original = host.dumpxml("web1")
    for number in range(4):
        host.tag("web1")
        host.wait_state("web1", "in-sync")
        if number == 0:
            copies = host.copies(uuid)
            equal(len(copies), 1, "the number of copies")
            contains(copies[0].read_text(), "passwd='s3cret'", "the copy")
            equal(cpu_of(copies[0].read_text()), cpu_of(original), "<cpu> of the copy")
        host.untag("web1")
        host.wait_for("the old <cpu>", lambda: STATE_NS not in host.dumpxml("web1"))
    copies = host.copies(uuid)
    equal(len(copies), 3, "the number of copies")
    equal(len(list(host.copies_folder.iterdir())), 4, "the number of files, web2's one among them")
    for path in (*host.copies_folder.iterdir(), host.copies_folder):
        equal(stat.S_IMODE(path.stat().st_mode) & 0o077, 0, f"what others may do with {path.name}")
    host.restart_daemon()
    host.tag("web1")
    host.wait_state("web1", "in-sync")
    equal(host.copies(uuid)[:2], copies[1:], "those that are left after a restart and one more rewrite")
    host.define_xml(copies[-1].read_text())  # each is a definition that libvirt takes


@test("DefinitionCopies=0 keeps none", config="DefinitionCopies=0")
def _(host):
    uuid = host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    equal(host.copies(uuid), [], "copies")


@test("no copy, no rewrite: a full or read-only disk is an error")
def _(host):
    host.write("var/lib/virtnest/definitions", "a file where the folder should be")
    host.define("web1", metadata=tag_xml())
    before = host.dumpxml("web1")
    contains(host.wait_state("web1", "error")["StateReason"], "/var/lib/virtnest/definitions")
    equal(host.dumpxml("web1"), before, "the definition")


@test("the folder of copies is removed: it is made again")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.remove_folder("var/lib/virtnest/definitions")
    host.define("web2", metadata=tag_xml())
    host.wait_state("web2", "in-sync")


@test("a folder of policies is exchanged for another: what changes in that one counts")
def _(host):
    host.policy("fleet", "[CPU]\nMode=custom\nModel=Opteron_G2\n")
    host.define("web1", metadata=tag_xml("fleet"))
    host.wait_state("web1", "in-sync")
    etc = pathlib.Path(host.root) / "etc"
    (etc / "virtnest").rename(etc / "before")
    host.wait_state("web1", "error")
    host.policy("fleet", "[CPU]\nMode=host-model\n")
    host.wait_for("the new policy", lambda: "mode='host-model'" in cpu_of(host.dumpxml("web1")))
    host.policy("fleet", "[CPU]\nMode=custom\nModel=Opteron_G1\n")
    host.wait_for("its change", lambda: ">Opteron_G1<" in cpu_of(host.dumpxml("web1")))


@test("a file name that is not UTF-8: the manager can be read all the same")
def _(host):
    folder = pathlib.Path(host.root) / "etc/virtnest/policy.d"
    folder.mkdir(parents=True, exist_ok=True)
    with open(os.fsencode(folder) + b"/\xff.policy", "w", encoding="utf-8") as file:
        file.write("[CPU]\nMode=keep\n")
    host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])


@test("configuration folders that come into being later are noticed", daemon=False)
def _(host):
    host.remove_folder("etc/virtnest")
    host.define("web1", metadata=tag_xml("late"))
    host.start_daemon()
    host.wait_state("web1", "error")
    host.policy("late", "[CPU]\nMode=host-model\n")
    host.wait_state("web1", "in-sync")
    host.configure("Mode=observe")
    host.wait_manager(Mode="observe")


@test("the log of a rewrite names the domain and what was done")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.wait_log(r"<[56]>.*\bweb1\b.*host-model.*svm")
    lacks(host.daemon.log_text(), "<3>", "the log")


if __name__ == "__main__":
    tap.main()
