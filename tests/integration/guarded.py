# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of guards have in common. BlockWhen=always guards emulated guests too, which have no L2 guests."""

import json
import os
import pathlib
import shutil
import struct

from harness import find_daemon, run, tag_xml
from tap import contains, fails

NODE = "virtnest-l2-running"
ALWAYS = "[Guard]\nBlockWhen=always\n"
NEVER = "[Guard]\nBlockWhen=never\n"


def nodes(host, name):
    """The guard nodes that QEMU itself lists."""
    reply = json.loads(host.virsh("qemu-monitor-command", name,
                                  '{"execute":"query-named-block-nodes","arguments":{"flat":true}}'))
    return [node["node-name"] for node in reply["return"] if node["node-name"] == NODE]


def fdsets(host, name):
    return json.loads(host.virsh("qemu-monitor-command", name, '{"execute":"query-fdsets"}'))["return"]


def migration_status(host, name):
    reply = host.virsh("qemu-monitor-command", name, '{"execute":"query-migrate"}')
    return json.loads(reply)["return"].get("status")


def start(host, name, policy="default", **arguments):
    host.define(name, metadata=tag_xml(policy), **arguments)
    host.wait_state(name, "in-sync")
    host.virsh("start", name)


def guard(host, name):
    host.policy("default", ALWAYS)
    start(host, name)
    return host.wait_property(name, {"Guarded": True, "GuardError": ""})


def refused(host, *command):
    contains(fails(lambda: host.virsh(*command)), NODE, f"the error of {command[0]}")


def begin_save(host, name):
    """A save of a guest of 4 GiB, the rest of which nobody takes, so that it is under way until the descriptor is closed. Returns
    the process and the descriptor."""
    os.mkfifo(f"{host.top}/image")
    image = os.open(f"{host.top}/image", os.O_RDONLY | os.O_NONBLOCK)
    save = host.spawn(["virsh", "-c", host.uri, "save", name, f"{host.top}/image"])
    save.asked_to_end = True
    host.wait_for("QEMU to be at it", lambda: migration_status(host, name) == "active")
    return save, image


def make_disk(host, name, size=4 << 20):
    """An empty qcow2 image, since qemu-img is in a package of its own: four clusters of 64 KiB, which are the header,
    the table of counters, the counters and the table of what is allocated."""
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, size, 0, 1, 3 << 16, 1 << 16, 1, 0, 0)
    clusters = [header, struct.pack(">Q", 2 << 16), struct.pack(">4H", 1, 1, 1, 1), b""]
    path = pathlib.Path(host.top, name)
    path.write_bytes(b"".join(cluster.ljust(1 << 16, b"\0") for cluster in clusters))
    return path


def disk_xml(path, target="vda", bus="virtio"):
    return (f"<disk type='file'><driver name='qemu' type='qcow2'/><source file='{path}'/>"
            f"<target dev='{target}' bus='{bus}'/></disk>")


def ctl_in_root(host, *arguments):
    """virtnestctl for what libvirtd and its hook see as / and what is below the host's root."""
    return run([os.path.join(os.path.dirname(os.path.abspath(find_daemon())), "virtnestctl"), f"--root={host.root}",
                f"--bus={host.bus_address}", *arguments])


def install_hook(host):
    """What `make install` would do, for virtnestctl --root."""
    libvirt = pathlib.Path(host.root, "etc/libvirt")
    if not libvirt.is_symlink():
        libvirt.symlink_to(f"{host.top}/libvirt/etc")
        folder = pathlib.Path(host.root, "usr/libexec/virtnest")
        folder.mkdir(parents=True)
        shutil.copy(os.path.join(os.path.dirname(os.path.abspath(find_daemon())), "virtnest-hook"), folder)


def enable_hook(host):
    install_hook(host)
    contains(ctl_in_root(host, "hook", "enable"), "is enabled")
    host.restart_libvirtd()
