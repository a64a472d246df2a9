#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Leaving: what virtnestctl takes away of virtnest, with the daemon and without, and how guests are shut down."""

import os
import pathlib

import l1
import tap
from harness import STATE_NS, cpu_of, find_daemon, tag_xml
from tap import contains, equal, fails, test

ALWAYS = l1.POLICY.format(when="always")
MATCHES = "[Match]\nName=web*\nTagged=no\n\n" + l1.POLICY.format(when="never")


def is_guarded(host, name):
    """By what QEMU itself says."""
    return "virtnest-l2-running" in host.virsh("qemu-monitor-command", name,
                                              '{"execute":"query-named-block-nodes","arguments":{"flat":true}}')


@test("release --all without a daemon lifts every guard, and leaves nothing behind", daemon=False)
def _(host):
    l1.start_daemon(host, when="always")
    guest = l1.L1(host, "web1")
    guest.run_l2()
    host.define("web2", metadata=tag_xml("default"))
    host.wait_state("web2", "in-sync")
    host.virsh("start", "web2")
    host.define("other")
    host.virsh("start", "other")
    for name in ("web1", "web2"):
        host.wait_property(name, {"Guarded": True, "GuardError": ""})
    host.wait_for("the element", guest.runtime)
    host.stop_daemon()
    for name in ("web1", "web2"):
        equal(is_guarded(host, name), True, f"the guard of {name}")
    contains(host.ctl("release", "--all"), "virtnestd does not run: 2 guards were lifted, until it is started again.")
    for name in ("web1", "web2"):
        equal(is_guarded(host, name), False, f"the guard of {name}")
    equal(guest.runtime(), None, "the element")
    equal("custom-monitor" in host.virsh("dominfo", "other"), False, "that the other guest was asked")
    equal(os.listdir(f"{host.root}/run/virtnest/guards"), [], "records")
    contains(host.ctl("release", "--all"), "0 guards were lifted")
    host.virsh("save", "web2", f"{host.top}/image")
    # It comes back, and so do they.
    host.start_daemon(inject=True)
    host.wait_property("web1", {"Guarded": True})


@test("a QEMU that hangs is named, and the others are released", daemon=False, timeout=150)
def _(host):
    l1.start_daemon(host, when="always")
    for name in ("web1", "web2"):
        host.define(name, metadata=tag_xml("default"))
        host.wait_state(name, "in-sync")
        host.virsh("start", name)
        host.wait_property(name, {"Guarded": True})
    host.stop_daemon()
    hung = pathlib.Path(host.top, "libvirt/run/qemu/web1.pid").read_text().strip()
    # A process of the host, by the number that it has in it.
    host.spawn(["kill", "-STOP", hung]).wait()
    error = fails(lambda: host.ctl("release", "--all"))
    contains(error, "domain 'web1'", "the error")
    host.spawn(["kill", "-CONT", hung]).wait()
    equal(is_guarded(host, "web2"), False, "the guard of web2")
    host.ctl("release", "--all")
    equal(is_guarded(host, "web1"), False, "the guard of web1")


@test("tag and untag do what virsh does, and untag waits for the <cpu> of before")
def _(host):
    host.define("web1")
    before = host.dumpxml("web1")
    host.ctl("tag", "web1", "--policy", "default")
    host.wait_state("web1", "in-sync")
    contains(cpu_of(host.dumpxml("web1")), "svm", "the <cpu>")
    host.ctl("untag", "web1")
    equal(host.dumpxml("web1"), before, "the definition")
    host.ctl("untag", "web1")
    uuid = host.domain("web1")["UUID"]
    host.ctl("tag", uuid)
    host.wait_state("web1", "in-sync")
    equal(host.domain("web1")["Policy"], "default", "Policy")
    contains(fails(lambda: host.ctl("tag", "no-such")), "libvirt has no domain 'no-such'", "the error")
    contains(fails(lambda: host.ctl("untag")), "takes a domain or --all", "the error")
    host.ctl("tag", "web1", "--policy", "not.there")
    contains(host.wait_state("web1", "error")["StateReason"], "not.there", "StateReason")
    contains(fails(lambda: host.ctl("tag", "web1", "--policy", "it's <new>")), "no policy can have that name", "the error")


@test("untag --all, and whom it does not reach: held by the kill switch, taken by a [Match]")
def _(host):
    host.policy("farm", MATCHES)
    before = {}
    for name in ("web1", "db1", "db2"):
        host.define(name)
        before[name] = host.dumpxml(name)
    for name in ("db1", "db2"):
        host.ctl("tag", name)
        host.wait_state(name, "in-sync")
    host.wait_state("web1", "in-sync")
    host.write("etc/virtnest/disable", "")
    host.wait_manager(WritesDisabled=True)
    error = fails(lambda: host.ctl("untag", "db1"))
    contains(error, "domain 'db1' still has the <cpu> that virtnestd wrote (held)", "the error")
    contains(error, "/etc/virtnest/disable", "the error")
    host.remove("etc/virtnest/disable")
    host.wait_state("db1", "untagged")
    error = fails(lambda: host.ctl("untag", "--all"))
    contains(error, "domain 'web1' still has the policy 'farm'", "the error")
    contains(error, "virtnestctl tag web1 --disable", "the error")
    for name in ("db1", "db2"):
        equal(host.dumpxml(name), before[name], f"the definition of {name}")
    host.ctl("tag", "web1", "--disable")
    host.wait_state("web1", "untagged")
    # Of web1 it may have been rewritten before it was asked for here.
    equal(cpu_of(host.dumpxml("web1")), cpu_of(before["db1"]), "the <cpu> of web1")


@test("untag without the daemon says who puts the <cpu> back, and it does")
def _(host):
    host.define("web1")
    before = host.dumpxml("web1")
    host.ctl("tag", "web1")
    host.wait_state("web1", "in-sync")
    host.stop_daemon()
    contains(fails(lambda: host.ctl("untag", "--all")), "it puts the <cpu> of 1 domain back when it does", "the error")
    contains(host.dumpxml("web1"), STATE_NS, "the definition")
    host.start_daemon()
    host.wait_for("the definition of before", lambda: host.dumpxml("web1") == before)


@test("drain --shutdown shuts guarded guests down and no other; who does not listen goes on running", daemon=False)
def _(host):
    l1.start_daemon(host, when="always")
    host.policy("free", l1.POLICY.format(when="never"))
    for name, policy in (("web1", "default"), ("web2", "default"), ("db1", "free")):
        host.define(name, metadata=tag_xml(policy))
        host.wait_state(name, "in-sync")
        host.virsh("start", name)
    for name in ("web1", "web2"):
        host.wait_property(name, {"Guarded": True})
    # These have no operating system that would take the request; one of them gets somebody who does.
    host.spawn(["sh", "-c", f"virsh -q -c '{host.uri}' event web1 --event lifecycle --timeout 1 >/dev/null; "
                            f"exec virsh -q -c '{host.uri}' destroy web1"]).asked_to_end = True
    error = fails(lambda: host.ctl("drain", "--shutdown", "--timeout", "5s"))
    contains(error, "domain 'web2' has not shut down in time; it goes on running", "the error")
    equal("web1" in error, False, "that web1 is named")
    equal(host.virsh("domstate", "web2").strip(), "running", "the state of web2")
    equal(host.virsh("domstate", "web1").strip(), "shut off", "the state of web1")
    equal(host.virsh("domstate", "db1").strip(), "running", "the state of db1")
    host.virsh("destroy", "web2")
    host.wait_property("web2", {"Guarded": False})
    host.ctl("drain", "--shutdown")
    contains(fails(lambda: host.ctl("drain", "--shutdown", "--json=short")), "and not as JSON", "the error")
    contains(fails(lambda: host.ctl("drain", "--timeout", "soon")), "--timeout=soon: takes a time span", "the error")


def guarded(host, name="web1"):
    """The daemon, and a guest that it guards."""
    l1.start_daemon(host, when="always")
    host.define(name, metadata=tag_xml())
    host.wait_state(name, "in-sync")
    host.virsh("start", name)
    host.wait_property(name, {"Guarded": True})


@test("drain --shutdown: of whom libvirt does not tell any more, nobody says that it is off", daemon=False)
def _(host):
    guarded(host)
    program = pathlib.Path(find_daemon()).resolve().parent / "virtnestctl"
    drain = host.spawn([str(program), f"--bus={host.bus_address}", f"--connect={host.uri}", "drain", "--shutdown"],
                       log=f"{host.logs}/drain.log")
    drain.asked_to_end = True
    host.wait_for("the request", lambda: "Shutting web1 down" in drain.log_text())
    host.kill_libvirtd()
    equal(drain.wait(60), 1, f"the status ({drain.log_text()})")
    equal("is off" in drain.log_text(), False, f"that web1 is called off ({drain.log_text()})")
    contains(drain.log_text(), "whether domain 'web1' has shut down is not known", "the error")
    host.start_libvirtd()


@test("drain --shutdown with another libvirt than virtnestd's fails", daemon=False)
def _(host):
    guarded(host)
    error = fails(lambda: host.ctl("--connect=test:///default", "drain", "--shutdown"))
    contains(error, "domain 'web1': cannot look it up", "the error")
    equal(host.virsh("domstate", "web1").strip(), "running", "the state of web1")


@test("release --all does not take a bus that does not answer for a daemon that does not run", daemon=False)
def _(host):
    guarded(host)
    contains(fails(lambda: host.ctl("--bus=unix:path=/nowhere", "release", "--all")), "cannot", "the error")
    equal(is_guarded(host, "web1"), True, "the guard of web1")


if __name__ == "__main__":
    tap.main()
