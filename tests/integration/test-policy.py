#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fleet policies that take domains by their [Match], and reloads that touch nobody but those whom they concern."""

import pathlib
import signal

import tap
from harness import MANAGER, ROOT_PATH, STATE_NS, cpu_of, tag_xml
from tap import contains, equal, fails, test

SVM = "<feature policy='require' name='svm'/>"


def test_domain(name, policy, features=""):
    """For libvirt's test driver, whose domains are treated as KVM guests."""
    return f"""<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{name}</name>
 <memory unit='MiB'>32</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os>{features}
 <metadata>{tag_xml(policy)}</metadata><test:runstate>5</test:runstate></domain>"""


def start_on_test_driver(host, *domains):
    host.write_file("node.xml", f"<node>{''.join(domains)}</node>")
    host.start_daemon(uri=f"test://{host.top}/node.xml")


def reload(host, flags="0"):
    return host.call(ROOT_PATH, MANAGER, "Reload", "t", flags)


@test("a policy takes untagged domains by their name, gives them back when it is narrowed, and freezes when it is gone")
def _(host):
    for name in ("lab-1", "lab-2", "web1"):
        host.define(name)
    before = cpu_of(host.dumpxml("lab-1"))
    host.policy("lab", "[Match]\nName=lab-*\nTagged=no\nPriority=5\n[CPU]\nMode=host-model\n")
    for name in ("lab-1", "lab-2"):
        seen = host.wait_state(name, "in-sync")
        equal((seen["Tagged"], seen["Policy"]), (False, "lab"), "Tagged and Policy")
        contains(seen["PolicySource"], "/etc/virtnest/policy.d/lab.policy")
        contains(seen["PolicyReason"], "Name=lab-*")
        contains(cpu_of(host.dumpxml(name)), SVM)
    equal(host.domain("web1")["State"], "untagged", "State of web1")
    equal(host.manager()["Rewrites"], 2, "Rewrites")
    host.policy("lab", "[Match]\nName=lab-2\nTagged=no\n[CPU]\nMode=host-model\n")
    host.wait_state("lab-1", "untagged")
    equal(cpu_of(host.dumpxml("lab-1")), before, "<cpu>")
    host.remove("etc/virtnest/policy.d/lab.policy")
    contains(host.wait_state("lab-2", "error")["StateReason"], "is gone")
    host.settle()
    contains(cpu_of(host.dumpxml("lab-2")), SVM)
    host.tag("lab-2", text="<nesting enabled='no'/>")
    host.wait_state("lab-2", "untagged")
    equal(STATE_NS in host.dumpxml("lab-2"), False, "the state element is there")


@test("what beats what: enabled='no', a tag's policy, the priority; a tie is an error of the domain alone")
def _(host):
    host.policy("all", "[Match]\nName=*\nTagged=no\nPriority=-1\n[CPU]\nMode=custom\nModel=Opteron_G1\n")
    host.policy("win", "[Match]\nTitle=Windows*\n[CPU]\nMode=custom\nModel=Opteron_G2\n")
    reload(host)
    host.define("off", metadata="<n:nesting xmlns:n='urn:virtnest:domain:1' enabled='no'/>")
    host.define("named", metadata=tag_xml("default"))
    host.define("windows", metadata=tag_xml(None), extra="<title>Windows 11</title>")
    host.define("plain")
    for name, state, policy in (("off", "untagged", ""), ("named", "in-sync", "default"), ("windows", "in-sync", "win"),
                                ("plain", "in-sync", "all")):
        equal(host.wait_state(name, state)["Policy"], policy, f"Policy of {name}")
    host.policy("win", "[Match]\nTitle=Windows*\nPriority=-1\n[CPU]\nMode=custom\nModel=Opteron_G2\n")
    reason = host.wait_state("windows", "error")["StateReason"]
    for part in ("'all'", "'win'", "Priority"):
        contains(reason, part)
    contains(cpu_of(host.dumpxml("windows")), "Opteron_G2")
    equal(host.domain("plain")["State"], "in-sync", "State of plain")


@test("[Guard] is published with the policy, and changes with it")
def _(host):
    host.define("web1", metadata=tag_xml("lab"))
    host.policy("lab", "[Guard]\nBlockWhen=seen\nQuietAfter=1min 30s\nReleaseAfter=infinity\nOnUnknown=allow\n"
                       "Platforms=unsafe\n")
    host.wait_property("web1", {"BlockWhen": "seen", "QuietAfterUSec": 90000000, "OnUnknown": "allow",
                                "ReleaseAfterUSec": 2**64 - 1, "Platforms": "unsafe"})
    host.policy("lab", "[Guard]\nQuietAfter=2\n")
    host.wait_property("web1", {"BlockWhen": "running", "QuietAfterUSec": 2000000, "OnUnknown": "block",
                                "ReleaseAfterUSec": 600000000, "Platforms": "all"})
    host.untag("web1")
    host.wait_property("web1", {"State": "untagged", "BlockWhen": "", "QuietAfterUSec": 0, "Platforms": ""})


@test("Reload: returns when it is done, tells what is wrong, takes no flags")
def _(host):
    host.define("web1", metadata=tag_xml("late"))
    host.wait_state("web1", "error")
    reload(host)
    host.policy("late", "[CPU]\nMode=host-model\n")
    reload(host)
    host.wait_state("web1", "in-sync")
    host.policy("late", "[CPU]\nMode=sideways\n")
    fails(lambda: reload(host), "late.policy:2")
    contains(" ".join(host.manager()["ConfigurationErrors"]), "Mode=sideways")
    fails(lambda: reload(host, "1"), "flags")
    equal(host.domain("web1")["State"], "in-sync", "State")


@test("Reload is for root alone")
def _(host):
    process = host.spawn(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "--system", "call",
                          "org.virtnest1", ROOT_PATH, MANAGER, "Reload", "t", "0"], log=f"{host.logs}/nobody.log")
    assert process.wait() != 0, "nobody may reload"
    contains(process.log_text(), "denied", "the refusal")


@test("a reload asks libvirt about nobody but those whose outcome is another", daemon=False)
def _(host):
    host.policy("one", "[CPU]\nMode=host-model\n")
    host.policy("two", "[CPU]\nMode=host-model\n")
    for name, policy in (("web1", "one"), ("web2", "two"), ("off", None)):
        host.define(name, metadata=tag_xml(policy) if policy else "")
    host.inject("virDomainGetXMLDesc.before", f'echo "$1" >>{host.top}/calls')
    host.start_daemon(inject=True)
    for name, state in (("web1", "in-sync"), ("web2", "in-sync"), ("off", "untagged")):
        host.wait_state(name, state)
    host.settle()
    calls = pathlib.Path(host.top, "calls")
    assert calls.read_text().count("web1") > 0, "the injector sees no calls"
    calls.write_text("")
    for _ in range(3):
        reload(host)
        host.daemon.signal(signal.SIGHUP)
    host.policy("one", "# nothing else\n[CPU]\nMode=host-model\n")
    host.policy("three", "[Match]\nName=nobody\n")
    reload(host)
    host.wait_manager(Synced=True)
    equal(calls.read_text(), "", "the calls")
    host.policy("two", "[CPU]\nMode=host-model\nDisable=mpx\n")
    reload(host)
    host.wait_for("the change", lambda: "mpx" in cpu_of(host.dumpxml("web2")))
    host.wait_state("web2", "in-sync")
    equal(set(calls.read_text().split()), {"web2"}, "who was looked at")


@test("policy.d is a link that is switched to another release, whose changes count from then on")
def _(host):
    etc = pathlib.Path(host.root, "etc/virtnest")
    for number, model in ((1, "Opteron_G1"), (2, "Opteron_G2")):
        host.write(f"srv/release-{number}/fleet.policy", f"[CPU]\nMode=custom\nModel={model}\n")
    (etc / "policy.d").rmdir()
    (etc / "policy.d").symlink_to("../../srv/release-1")
    host.define("web1", metadata=tag_xml("fleet"))
    host.wait_for("the first release", lambda: ">Opteron_G1<" in cpu_of(host.dumpxml("web1")))
    (etc / ".next").symlink_to("../../srv/release-2")
    (etc / ".next").rename(etc / "policy.d")
    host.wait_for("the second release", lambda: ">Opteron_G2<" in cpu_of(host.dumpxml("web1")))
    host.write("srv/release-2/fleet.policy", "[CPU]\nMode=host-model\n")
    host.wait_for("a change of the second release", lambda: "mode='host-model'" in cpu_of(host.dumpxml("web1")))


@test("OnNotReady=apply: written all the same, and host-not-ready", daemon=False, libvirtd=False, cpu="amd", nested="0")
def _(host):
    host.policy("early", "[Host]\nOnNotReady=apply\n")
    start_on_test_driver(host, test_domain("web1", "early"))
    seen = host.wait_property("web1", {"State": "host-not-ready", "CPUMode": "host-model"})
    contains(seen["StateReason"], "nested")
    equal(host.manager()["Rewrites"], 1, "Rewrites")


@test("the policy windows: what this host has is switched on, and the rest is skipped and said", daemon=False,
      libvirtd=False, cpu="intel", nested="Y")
def _(host):
    hyperv = "<features><hyperv><vapic state='on'/></hyperv></features>"
    start_on_test_driver(host, test_domain("win", "windows", hyperv), test_domain("bare", "windows"))
    skipped = host.wait_state("win", "in-sync")["Skipped"]
    equal([text.split(":")[0] for text in skipped][-1:], ["tlbflush direct"], "the last one that is skipped")
    contains(skipped[-1], "vpindex" if "11.0" not in skipped[-1] else "libvirt")
    contains(host.daemon.log_text(), "enlightenments")
    skipped = host.wait_state("bare", "in-sync")["Skipped"]
    equal(len(skipped), 3, "the number of skipped ones")
    contains(skipped[0], "<hyperv>")


@test("a policy with [HyperV] on an emulated guest: skipped, and <cpu> is rewritten")
def _(host):
    host.define("win", metadata=tag_xml("windows"))
    skipped = host.wait_state("win", "in-sync")["Skipped"]
    equal(len(skipped), 3, "the number of skipped ones")
    contains(skipped[0], "KVM")
    contains(cpu_of(host.dumpxml("win")), SVM)
    contains(cpu_of(host.dumpxml("win")), "name='hypervisor'")
    host.virsh("start", "win")
    host.wait_property("win", {"State": "in-sync", "Running": True})
    host.tag("win", "default")
    host.wait_property("win", {"State": "in-sync", "Policy": "default", "Skipped": []})


if __name__ == "__main__":
    tap.main()
