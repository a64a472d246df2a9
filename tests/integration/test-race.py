#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Somebody else changes a domain while virtnestd is at it. inject.c makes that happen at a chosen moment."""

import os
import pathlib

import tap
from harness import STATE_NS, cpu_of, tag_xml
from tap import contains, equal, fails, lacks, test

SVM = "<feature policy='require' name='svm'/>"

# Where in virtnestd the other one acts. A look reads the definition, decides, reads it again right before it writes.
READ = "virDomainGetXMLDesc.after"
WRITE = "virDomainDefineXMLFlags.before"
WRITTEN = "virDomainDefineXMLFlags.after"


def act_once(host, point, command, call=1):
    """Runs a virsh command at the call with this number (or the first one after it, if it comes at all)."""
    host.inject(point, f'[ "$1" = web1 ] && [ "$2" -ge {call} ] || exit 0\nrm "$0"\n'
                       f"virsh -q -c qemu:///system {command} >{host.top}/acted 2>&1 || touch {host.top}/failed")


def check_that_it_acted(host):
    assert host.exists("acted"), "the other one never got to act"
    if host.exists("failed"):
        raise AssertionError(f"the other one failed: {host.read('acted')}")


@test("an edit between virtnestd's first read and its second: theirs wins, and is reconciled", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    act_once(host, READ, "desc web1 --config theirs")
    host.start_daemon(inject=True)
    host.wait_state("web1", "in-sync")
    check_that_it_acted(host)
    xml = host.dumpxml("web1")
    contains(xml, "<description>theirs</description>")
    contains(cpu_of(xml), SVM)


@test("an edit of <cpu> between the two reads: virtnestd builds on theirs", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    theirs = host.dumpxml("web1")
    theirs = theirs.replace(cpu_of(theirs), "  <cpu mode='custom' match='exact' check='partial'>\n"
                                            "    <model fallback='forbid'>Opteron_G2</model>\n  </cpu>")
    host.write_file("theirs.xml", theirs)
    act_once(host, READ, f"define {host.top}/theirs.xml")
    host.start_daemon(inject=True)
    host.wait_state("web1", "in-sync")
    check_that_it_acted(host)
    host.untag("web1")
    host.wait_for("the <cpu> of before", lambda: STATE_NS not in host.dumpxml("web1"))
    equal(cpu_of(host.dumpxml("web1")), cpu_of(theirs), "<cpu>")


@test("a reload between the two reads: what was decided before it is not written any more", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    before = host.dumpxml("web1")
    os.mkfifo(f"{host.top}/go")
    host.inject(READ, f'[ "$1" = web1 ] && [ "$2" = 2 ] || exit 0\ntouch {host.top}/there\nread -r line <{host.top}/go')
    host.start_daemon(inject=True)
    host.wait_for("the second read", lambda: host.exists("there"))
    host.configure("Mode=observe")
    host.wait_log("configuration read")
    pathlib.Path(host.top, "go").write_text("go\n")
    host.wait_state("web1", "held")
    host.settle()
    equal(host.dumpxml("web1"), before, "the definition")
    equal(host.domain("web1")["RewriteTime"], 0, "RewriteTime")


@test("an untag between the two reads", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    before = cpu_of(host.dumpxml("web1"))
    act_once(host, READ, "metadata web1 urn:virtnest:domain:1 --remove --config")
    host.start_daemon(inject=True)
    host.wait_state("web1", "untagged")
    host.settle()
    check_that_it_acted(host)
    equal(cpu_of(host.dumpxml("web1")), before, "<cpu>")
    lacks(host.dumpxml("web1"), STATE_NS)


@test("an edit right after the define: looked at again", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    act_once(host, WRITTEN, "metadata web1 urn:virtnest:domain:1 --remove --config")
    host.start_daemon(inject=True)
    host.wait_state("web1", "untagged")
    host.wait_for("the <cpu> of before", lambda: STATE_NS not in host.dumpxml("web1"))
    check_that_it_acted(host)
    lacks(cpu_of(host.dumpxml("web1")), "svm")


@test("somebody who edits at every read is left in peace in the end, and virtnestd does not spin", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    host.define("web2", metadata=tag_xml())
    host.inject(READ, f'[ "$1" = web1 ] && [ "$2" -le 12 ] || exit 0\n'
                      f"virsh -q -c qemu:///system desc web1 --config \"edit $2\"")
    host.start_daemon(inject=True)
    host.wait_state("web2", "in-sync")
    host.wait_state("web1", "in-sync")
    contains(host.dumpxml("web1"), "<description>edit ")


@test("the domain is undefined between the two reads: it stays undefined", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    act_once(host, READ, "undefine web1")
    host.start_daemon(inject=True)
    host.wait_manager(Synced=True)
    host.wait_gone("web1")
    host.settle()
    check_that_it_acted(host)
    fails(lambda: host.virsh("dominfo", "web1"), "web1")
    lacks(host.daemon.log_text(), "<3>", "the log")


# libvirt has no define that only updates, so this one makes the domain anew. Undoing it could hit one that somebody
# undefined and defined again, so virtnest says what happened and leaves it.
@test("the domain is undefined right before the define: it is there again, and the log warns of it", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    act_once(host, WRITE, "undefine web1")
    host.start_daemon(inject=True)
    host.wait_state("web1", "in-sync")
    check_that_it_acted(host)
    host.wait_log("<4>domain 'web1' was undefined at the moment")


@test("a running domain is undefined while virtnestd is at it: it stays transient", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    host.virsh("start", "web1")
    # Read for the look, read live, and read again right before the define.
    act_once(host, READ, "undefine web1", call=3)
    host.start_daemon(inject=True)
    host.wait_state("web1", "transient")
    check_that_it_acted(host)
    contains(host.virsh("dominfo", "web1"), "Persistent:     no")


@test("a domain is undefined and defined anew while virtnestd looks: it is not forgotten", daemon=False)
def _(host):
    host.start_daemon(inject=True)
    host.wait_manager(Synced=True)
    host.define("web1")
    host.wait_state("web1", "untagged")
    xml = host.dumpxml("web1").replace("<metadata/>", "").replace("</uuid>", f"</uuid><metadata>{tag_xml()}</metadata>")
    host.write_file("anew.xml", xml)
    host.inject("virDomainGetXMLDesc.before",
                f'[ "$1" = web1 ] || exit 0\nrm "$0"\nvirsh -q -c qemu:///system undefine web1\n')
    host.inject("virDomainGetXMLDesc.after",
                f'[ "$1" = web1 ] || exit 0\nrm "$0"\nvirsh -q -c qemu:///system define {host.top}/anew.xml\n')
    host.virsh("desc", "web1", "--config", "look")
    host.wait_state("web1", "in-sync")


@test("the domain is renamed between the two reads", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    act_once(host, READ, "domrename web1 web2")
    host.start_daemon(inject=True)
    host.wait_state("web2", "in-sync")
    check_that_it_acted(host)
    contains(cpu_of(host.dumpxml("web2")), SVM)
    equal(host.virsh("list", "--all", "--name").split(), ["web2"], "the domains")


@test("the domain is renamed right before the define", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    act_once(host, WRITE, "domrename web1 web2")
    host.start_daemon(inject=True)
    host.wait_state("web2", "in-sync")
    check_that_it_acted(host)
    contains(cpu_of(host.dumpxml("web2")), SVM)
    equal(host.virsh("list", "--all", "--name").split(), ["web2"], "the domains")


@test("the guest is started between the two reads", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    act_once(host, READ, "start web1")
    host.start_daemon(inject=True)
    host.wait_property("web1", {"State": "pending-restart", "Running": True})
    check_that_it_acted(host)
    contains(cpu_of(host.dumpxml("web1")), SVM)
    lacks(cpu_of(host.live_xml("web1")), "svm")


@test("the kill switch comes between the two reads: nothing is written", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml())
    stamp = host.definition_stamp("web1")
    host.inject(READ, f"touch {host.root}/etc/virtnest/disable; touch {host.top}/acted")
    host.start_daemon(inject=True)
    host.wait_state("web1", "held")
    host.settle()
    check_that_it_acted(host)
    equal(host.definition_stamp("web1"), stamp, "inode and time of the definition's file")


@test("a tag set while virtnestd writes another change is not lost", daemon=False)
def _(host):
    host.define("web1", metadata=tag_xml("first"))
    host.policy("first", "[CPU]\nMode=keep\n")
    host.policy("second", "[CPU]\nMode=custom\nModel=Opteron_G2\n")
    act_once(host, WRITTEN, "metadata web1 urn:virtnest:domain:1 --key nest --config "
                            "--set \"<nesting policy='second'/>\"")
    host.start_daemon(inject=True)
    host.wait_property("web1", {"State": "in-sync", "Policy": "second"})
    host.wait_for("the second policy's model", lambda: ">Opteron_G2</model>" in cpu_of(host.dumpxml("web1")))
    check_that_it_acted(host)


if __name__ == "__main__":
    tap.main()
