#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is wrong is published and logged, is left as it is, and holds up nobody else."""

import re

import tap
from harness import STATE_NS, TAG_NS, CommandFailed, cpu_of, domain_xml, tag_xml
from tap import contains, equal, test

SVM = "<feature policy='require' name='svm'/>"

# name: (the tag, what the error must name)
BAD_TAGS = {
    "policy-unknown": ("<nesting policy='nowhere'/>", "nowhere"),
    "policy-empty": ("<nesting policy=''/>", "policy"),
    "policy-path": ("<nesting policy='../../etc/shadow'/>", "../../etc/shadow"),
    "policy-long": (f"<nesting policy='{'x' * 65}'/>", "x" * 65),
    "attribute": ("<nesting polcy='default'/>", "polcy"),
    "boolean": ("<nesting enabled='perhaps'/>", "perhaps"),
    "element": ("<nested policy='default'/>", "nested"),
    "child": ("<nesting><vmx/></nesting>", "vmx"),
    "text": ("<nesting>yes</nesting>", "nesting"),
}


@test("each kind of bad tag is an error that names the cause, in the property and in the log")
def _(host):
    for name, (text, _) in BAD_TAGS.items():
        host.define(name)
        host.tag(name, text=text)
    before = {name: host.dumpxml(name) for name in BAD_TAGS}
    host.define("good", metadata=tag_xml())
    for name, (_, cause) in BAD_TAGS.items():
        seen = host.wait_state(name, "error", reason=cause)
        equal(seen["Tagged"], True, f"Tagged of {name}")
        host.wait_log(rf"<[34]>.*\b{name}\b.*{re.escape(cause)}")
        equal(host.dumpxml(name), before[name], f"the definition of {name}")
    host.wait_state("good", "in-sync")
    equal(host.manager()["Rewrites"], 1, "Rewrites")


@test("an error is logged once, not at each look")
def _(host):
    host.define("web1")
    host.tag("web1", text="<nesting polcy='default'/>")
    host.wait_state("web1", "error")
    for number in range(3):
        host.virsh("desc", "web1", "--config", f"again {number}")
    host.settle()
    lines = [line for line in host.daemon.log_text().splitlines() if "polcy" in line]
    equal(len(lines), 1, "the number of lines in the log")


@test("a domain recovers when the mistake is mended")
def _(host):
    host.define("web1")
    host.tag("web1", "nowhere")
    host.wait_state("web1", "error")
    host.tag("web1", "default")
    equal(host.wait_state("web1", "in-sync")["StateReason"], "", "StateReason")
    host.define("web2")
    host.tag("web2", "nowhere")
    host.wait_state("web2", "error")
    host.policy("nowhere", "[CPU]\nMode=host-model\n")
    host.wait_state("web2", "in-sync")


@test("a policy with a CPU model that libvirt does not know: error, untouched")
def _(host):
    host.policy("future", "[CPU]\nMode=custom\nModel=Frobnicator-v9\n")
    host.define("web1", metadata=tag_xml("future"))
    host.define("good", metadata=tag_xml())
    before = host.dumpxml("web1")
    stamp = host.definition_stamp("web1")
    host.wait_state("web1", "error", reason="Frobnicator-v9")
    host.wait_log(r"<[34]>.*\bweb1\b.*Frobnicator-v9")
    host.wait_state("good", "in-sync")
    equal(host.dumpxml("web1"), before, "the definition")
    equal(host.definition_stamp("web1"), stamp, "inode and time of the definition's file")


@test("a policy with a CPU model that this host cannot give: error, untouched")
def _(host):
    host.policy("big", "[CPU]\nMode=custom\nModel=EPYC-Milan\n")
    host.define("web1", metadata=tag_xml("big"))
    before = host.dumpxml("web1")
    host.wait_state("web1", "error", reason="hypervisor")
    equal(host.dumpxml("web1"), before, "the definition")


@test("a domain with 288 vCPUs, each with its pinning, and 200 disks")
def _(host):
    disks = "".join(f"<disk type='file' device='disk'><source file='/nonexistent/{number}'/>"
                    f"<target dev='sd{chr(97 + number // 26)}{chr(97 + number % 26)}' bus='scsi'/></disk>"
                    for number in range(200))
    pins = "".join(f"<vcpupin vcpu='{number}' cpuset='0'/>" for number in range(288))
    xml = domain_xml("big", vcpus=288, memory=1024, metadata=tag_xml(),
                     cpu="<cpu><topology sockets='2' cores='72' threads='2'/></cpu>",
                     extra=f"<cputune>{pins}</cputune><features><ioapic driver='qemu'/></features>",
                     devices=f"<iommu model='intel'><driver intremap='on' eim='on'/></iommu>{disks}")
    host.define_xml(xml.replace("machine='pc'", "machine='q35'"))
    host.wait_state("big", "in-sync")
    after = host.dumpxml("big")
    contains(cpu_of(after), SVM)
    equal(after.count("<vcpupin "), 288, "the number of pinned vCPUs")
    equal(after.count("<disk "), 200, "the number of disks")


@test("names with spaces, quotes, markup, UTF-8 and 200 characters")
def _(host):
    names = ["with space", "it's \"quoted\"", "<odd> & \\sharp;", "växthus-実験-🙂", "n" * 200, "%s%n", "a.b-c+d"]
    for name in names:
        host.define(name)
        host.tag(name)
    for name in names:
        seen = host.wait_state(name, "in-sync")
        equal(seen["Name"], name, "Name")
        contains(cpu_of(host.dumpxml(name)), SVM)
    host.virsh("start", names[0])
    contains(cpu_of(host.live_xml(names[0])), SVM)
    host.virsh("destroy", names[0])
    for name in names:
        host.untag(name)
        host.wait_state(name, "untagged")


@test("a state element that somebody damaged: error, untouched until it is removed")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.edit("web1", lambda xml: re.sub(r"(<virtnest:previous>).*?(</virtnest:previous>)", r"\1&lt;cpu mode=\2", xml,
                                         flags=re.DOTALL))
    seen = host.wait_state("web1", "error")
    contains(seen["StateReason"], STATE_NS)
    before = host.dumpxml("web1")
    host.untag("web1")
    host.settle()
    equal(cpu_of(host.dumpxml("web1")), cpu_of(before), "<cpu>")
    host.virsh("metadata", "web1", STATE_NS, "--remove", "--config")
    host.wait_state("web1", "untagged")


@test("a tag that is not in our namespace is none of ours")
def _(host):
    host.define("web1", metadata="<nesting xmlns='urn:example' policy='default'/>")
    stamp = host.definition_stamp("web1")
    equal(host.wait_state("web1", "untagged")["Tagged"], False, "Tagged")
    host.settle()
    equal(host.definition_stamp("web1"), stamp, "inode and time of the definition's file")


@test("a tag with comments, white space and another prefix is a good one")
def _(host):
    host.define("web1", metadata=f"<a:x xmlns:a='urn:example'><b/></a:x>\n"
                                 f"<q:nesting xmlns:q='{TAG_NS}' policy='default'>\n  <!-- why -->\n</q:nesting>")
    host.wait_state("web1", "in-sync")


@test("a guest of another architecture: error, untouched")
def _(host):
    xml = domain_xml("pi", metadata=tag_xml(), devices="").replace("arch='x86_64' machine='pc'",
                                                                    "arch='aarch64' machine='virt'")
    try:
        host.define_xml(xml.replace("<controller type='usb' model='none'/>", ""))
    except CommandFailed as error:
        raise tap.Skip(f"no emulator for it: {str(error).splitlines()[-1]}") from None
    before = host.dumpxml("pi")
    contains(host.wait_state("pi", "error")["StateReason"], "aarch64")
    equal(host.dumpxml("pi"), before, "the definition")


if __name__ == "__main__":
    tap.main()
