# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real guests of a real libvirt and QEMU that virtnestd takes for guests of KVM, with counters that a test moves."""

import os
import pathlib
import uuid as uuid_module

from harness import tag_xml

POLICY = """[CPU]
Mode=host-model

[Guard]
BlockWhen={when}
"""

# Each new QEMU process gets counters before it is looked at.
SET_UP = """[ -e {top}/inject/kvm-$1 ] && [ -e /run/libvirt/qemu/$1.pid ] || exit 0
pid=$(cat /run/libvirt/qemu/$1.pid)
[ -e {root}/proc/$pid ] && exit 0
mkdir -p {root}/sys/kernel/debug/kvm/$pid-7
echo 0 > {root}/sys/kernel/debug/kvm/$pid-7/guest_mode
echo 0 > {root}/sys/kernel/debug/kvm/$pid-7/nested_run
ln -sf /proc/$pid {root}/proc/$pid"""
HYPERVISOR_ON = "EFER=0000000000001d01\n"


def start_daemon(host, when="running", **arguments):
    """The daemon with what makes it take guests for those of KVM."""
    host.policy("default", POLICY.format(when=when))
    pathlib.Path(host.root, "run/libvirt").symlink_to("/run/libvirt")
    pathlib.Path(host.root, "proc").mkdir(exist_ok=True)
    host.inject("virDomainGetXMLDesc.before", SET_UP.format(top=host.top, root=host.root))
    host.start_daemon(inject=True, **arguments)
    host.wait_manager(Connected=True, Synced=True)


class L1:
    """A guest that is running; its first look as one of KVM has been taken."""

    def __init__(self, host, name, **arguments):
        self.host = host
        self.name = name
        self.uuid = host.define(name, metadata=tag_xml("default"), **arguments)
        self.runs = 0
        host.wait_state(name, "in-sync")
        host.virsh("start", name)
        host.wait_property(name, {"Running": True})
        # A look that is under way is to find them, too.
        self.set(0)
        pathlib.Path(host.root, f"proc/{self.pid}").symlink_to(f"/proc/{self.pid}")
        pathlib.Path(host.top, f"inject/kvm-{name}").touch()
        self.touch()
        # Not only as emulated: from then on the counters are the test's.
        host.wait_property(name, {"L2State": "none", "L2Source": "debugfs"})

    @classmethod
    def known(cls, host, name, uuid):
        """One that is there, such as after a migration."""
        self = cls.__new__(cls)
        self.host, self.name, self.uuid, self.runs = host, name, uuid, 0
        return self

    @property
    def pid(self):
        return int(pathlib.Path(self.host.top, f"libvirt/run/qemu/{self.name}.pid").read_text())

    def touch(self):
        """An event, so that the daemon looks at it."""
        self.host.virsh("metadata", self.name, "urn:virtnest:test", "--key", "test", "--set",
                        f"<x n='{uuid_module.uuid4()}'/>", "--live")

    def set(self, nested_run, guest_mode=0):
        folder = f"sys/kernel/debug/kvm/{self.pid}-7"
        self.host.write(f"{folder}/guest_mode", f"{guest_mode}\n")
        self.host.write(f"{folder}/nested_run", f"{nested_run}\n")

    def run_l2(self):
        """An L2 that is in a vCPU all the time."""
        self.runs += 1
        self.set(self.runs, 1)

    def stop_l2(self):
        """The registers of the guest, which is a real one, say that no hypervisor is switched on."""
        self.set(self.runs, 0)

    def keep_hypervisor_on(self, yes=True):
        """From now on the registers say so."""
        path = pathlib.Path(self.host.top, f"inject/registers-{self.name}")
        if yes:
            path.write_text(HYPERVISOR_ON)
        else:
            path.unlink()

    def runtime(self):
        """The attributes of the runtime element in its live definition; None: there is none."""
        import xml.etree.ElementTree as ElementTree
        element = ElementTree.fromstring(self.host.live_xml(self.name)).find("metadata/{urn:virtnest:runtime:1}runtime")
        return dict(element.attrib) if element is not None else None
