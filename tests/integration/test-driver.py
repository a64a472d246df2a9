#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""virtnestd on libvirt's test driver, whose domains need of a host what KVM guests need: so here the host's facts
matter, and can be anything. The emulated guests of the other tests need none."""

import signal

import tap
from harness import tag_xml
from tap import contains, equal, test

CUSTOM = "<cpu mode='custom' match='exact' check='partial'><model fallback='forbid'>qemu64</model></cpu>"


def node(*domains):
    """A host of the test driver. Its state is its client's own, so the domains must carry their tags from the start."""
    return f"<node>{''.join(domains)}</node>"


def domain(name, metadata=tag_xml(), state=5, cpu=CUSTOM):
    """state as virDomainState: 1 running, 5 shut off."""
    return f"""<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>32</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
  <metadata>{metadata}</metadata>
  {cpu}
  <test:runstate>{state}</test:runstate>
</domain>"""


def start(host, *domains):
    host.write_file("node.xml", node(*domains))
    host.start_daemon(uri=f"test://{host.top}/node.xml")
    host.wait_manager(Connected=True, Synced=True)


@test("test:///default shows the domain 'test'", daemon=False, libvirtd=False)
def _(host):
    host.start_daemon(uri="test:///default")
    host.wait_manager(Connected=True, Synced=True, URI="test:///default", DomainsTotal=1, DomainsTagged=0)
    host.wait_property("test", {"State": "untagged", "Running": True})


@test("no libvirt at a nonsense URI: not connected, and the reason given", daemon=False, libvirtd=False)
def _(host):
    host.start_daemon(uri="nonsense:///system")
    host.wait_for("the reason", lambda: host.manager()["ConnectionError"])
    host.wait_log(r"<[34]>.*nonsense:///system")
    equal(host.manager()["Connected"], False, "Connected")


@test("a ready AMD host: host-model with svm", daemon=False, libvirtd=False, cpu="amd", nested="1")
def _(host):
    start(host, domain("web1"), domain("plain", metadata=""))
    seen = host.wait_state("web1", "in-sync")
    equal(seen["Feature"], "svm", "Feature")
    host.wait_property("web1", {"CPUMode": "host-model", "WantedCPUMode": "host-model"})
    host.wait_state("plain", "untagged")
    equal(host.manager()["Rewrites"], 1, "Rewrites")


@test("a ready Intel host: host-model with vmx", daemon=False, libvirtd=False, cpu="intel", nested="Y")
def _(host):
    start(host, domain("web1"))
    equal(host.wait_state("web1", "in-sync")["Feature"], "vmx", "Feature")


@test("512 vCPUs and 200 devices", daemon=False, libvirtd=False, cpu="amd", nested="1")
def _(host):
    disks = "".join(f"<disk type='file' device='disk'><source file='/images/{n}.img'/><target dev='sd{chr(97 + n // 26)}"
                    f"{chr(97 + n % 26)}' bus='scsi'/></disk>" for n in range(200))
    big = domain("big").replace("<vcpu>1</vcpu>", "<vcpu>512</vcpu>").replace("</domain>",
                                                                             f"<devices>{disks}</devices></domain>")
    start(host, big, domain("web1"))
    host.wait_state("big", "in-sync")
    host.wait_state("web1", "in-sync")


@test("host-passthrough, custom and keep", daemon=False, libvirtd=False, cpu="intel", nested="1")
def _(host):
    host.policy("fast", "[CPU]\nMode=host-passthrough\n")
    host.policy("fleet", "[CPU]\nMode=custom\nModel=Skylake-Server\n")
    host.policy("own", "[CPU]\nMode=keep\n")
    start(host, *(domain(name, tag_xml(name)) for name in ("fast", "fleet", "own")))
    for name, mode in (("fast", "host-passthrough"), ("fleet", "custom"), ("own", "custom")):
        host.wait_property(name, {"State": "in-sync", "CPUMode": mode, "WantedCPUMode": mode})


@test("a running domain is pending", daemon=False, libvirtd=False)
def _(host):
    start(host, domain("web1", state=1))
    host.wait_property("web1", {"State": "pending-restart", "Running": True})


def not_ready(host, *parts):
    start(host, domain("web1"), domain("plain", metadata=""))
    seen = host.wait_state("web1", "host-not-ready")
    for part in parts:
        contains(seen["StateReason"], part, "the reason")
    equal(host.domain("web1")["CPUMode"], "custom", "CPUMode")
    equal(host.manager()["Rewrites"], 0, "Rewrites")
    host.wait_state("plain", "untagged")


@test("AMD with nesting off: host-not-ready", daemon=False, libvirtd=False, cpu="amd", nested="0")
def _(host):
    not_ready(host, "kvm_amd", "nested")


@test("Intel with nesting off: host-not-ready", daemon=False, libvirtd=False, cpu="intel", nested="N")
def _(host):
    not_ready(host, "kvm_intel", "nested")


@test("KVM module not loaded: host-not-ready", daemon=False, libvirtd=False, cpu="intel", nested=None)
def _(host):
    not_ready(host, "kvm_intel")


@test("no virtualization in the CPU: host-not-ready", daemon=False, libvirtd=False, cpu="none", nested=None)
def _(host):
    not_ready(host, "kvm_amd")


@test("a host that becomes ready is noticed at the next reload", daemon=False, libvirtd=False, cpu="amd", nested="0")
def _(host):
    start(host, domain("web1"))
    host.wait_state("web1", "host-not-ready")
    host.set_host_facts("amd", "1")
    host.daemon.signal(signal.SIGHUP)
    host.wait_state("web1", "in-sync")


@test("a kvm module that is loaded late is noticed by itself", daemon=False, libvirtd=False, cpu="intel", nested=None)
def _(host):
    start(host, domain("web1"), domain("plain", metadata=""))
    host.wait_state("web1", "host-not-ready", reason="kvm_intel is not loaded")
    host.set_host_facts("intel", "N")
    host.wait_state("web1", "host-not-ready", reason="switched off")
    host.set_host_facts("intel", "Y")
    host.wait_state("web1", "in-sync")
    host.wait_log("this host, nested: kvm_intel has nested=Y")


@test("nesting that is switched off, and a module that goes, are noticed by themselves", daemon=False, libvirtd=False,
      cpu="amd", nested="1")
def _(host):
    start(host, domain("web1"))
    host.wait_state("web1", "in-sync")
    host.set_host_facts("amd", "0")
    host.wait_state("web1", "host-not-ready", reason="switched off", timeout=60)
    host.set_host_facts("amd", None)
    host.wait_state("web1", "host-not-ready", reason="kvm_amd is not loaded")
    host.set_host_facts("amd", "1")
    host.wait_state("web1", "in-sync")


@test("an emulated guest needs nothing of the host", cpu="none", nested=None)
def _(host):
    host.define("web1", metadata=tag_xml())
    equal(host.wait_state("web1", "in-sync")["Feature"], "svm", "Feature")


if __name__ == "__main__":
    tap.main()
