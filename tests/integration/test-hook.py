#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""virtnest-hook under a real libvirtd: who is refused, how to get in all the same, and that nobody else notices it.

The element that a virtnestd leaves in the metadata is set by hand, with no virtnestd about: what is under test is the other
end of its way."""

import pathlib
import re
import signal
import time

import tap
from guarded import ctl_in_root, disk_xml, enable_hook, install_hook, make_disk
from harness import TemporaryHost
from tap import contains, equal, fails, lacks, test

RUNTIME_NS = "urn:virtnest:runtime:1"
SINCE = 1764207000  # 2025-11-27 01:30:00 UTC
REFUSED = "virtnest refuses domain 'web1': "


def set_runtime(host, name, *, l2="running", until=3600, released=None):
    """What virtnestd leaves in a guest that runs guests of its own."""
    now = int(time.time())
    more = "" if released is None else f" released-until='{now + released}'"
    host.virsh("metadata", name, RUNTIME_NS, "--key", "virtnest", "--live", "--set",
               f"<runtime l2='{l2}' since='{SINCE}' until='{now + until}'{more} host='node7'/>")


def start(host, name, **runtime):
    """A guest that runs guests of its own, as far as its metadata tells. Returns its UUID."""
    uuid = host.define(name)
    host.virsh("start", name)
    set_runtime(host, name, **runtime)
    return uuid


def save(host, name, **runtime):
    """Such a guest, saved into the file that is returned."""
    start(host, name, **runtime)
    host.virsh("save", name, f"{host.top}/image")
    return f"{host.top}/image"


def state(host, name):
    return host.virsh("domstate", name).strip()


@test("a restore is refused, the error tells all, and the image stays", daemon=False)
def _(host):
    enable_hook(host)
    image = save(host, "web1")
    before = pathlib.Path(image).read_bytes()
    error = fails(lambda: host.virsh("restore", image), REFUSED)
    contains(error, "on host 'node7', since 2025-11-27 01:30:00 UTC")
    equal(state(host, "web1"), "shut off", "the state")
    equal(pathlib.Path(image).read_bytes() == before, True, "the image is as before")
    command = re.search(r"virtnestctl (hook allow [0-9a-f-]{36})$", error, re.MULTILINE)
    contains(ctl_in_root(host, *command.group(1).split()), "may come in until")
    host.virsh("restore", image)
    equal(state(host, "web1"), "running", "the state")
    lacks(host.virsh("dominfo", "web1"), "hook", "its messages")


@test("the start of a managed-save image is refused likewise", daemon=False)
def _(host):
    enable_hook(host)
    uuid = start(host, "web1", l2="quiet")
    host.virsh("managedsave", "web1")
    contains(fails(lambda: host.virsh("start", "web1"), REFUSED), "it was saved while guests of its own (L2) may have been in it")
    equal(len(list(host.managed_save_images())), 1, "images")
    ctl_in_root(host, "hook", "allow", uuid, "--for=1h")
    host.virsh("start", "web1")
    equal(list(host.managed_save_images()), [], "images")
    contains(host.live_xml("web1"), RUNTIME_NS, "the guest, which was restored,")


@test("an image gets no safer with age, and a release has its time", daemon=False)
def _(host):
    enable_hook(host)
    image = save(host, "web1", until=-86400, released=-60)
    fails(lambda: host.virsh("restore", image), REFUSED)
    host.virsh("undefine", "web1")
    host.virsh("restore", save(host, "web1", released=600))


@test("ways out of libvirt's own", daemon=False)
def _(host):
    enable_hook(host)
    image = save(host, "web1")
    editor = {"EDITOR": f"sed -i /{RUNTIME_NS}/d"}
    fails(lambda: host.virsh("restore", image), REFUSED)
    host.virsh("save-image-edit", image, env=editor)
    host.virsh("restore", image)
    set_runtime(host, "web1")
    host.virsh("managedsave", "web1")
    fails(lambda: host.virsh("start", "web1"), REFUSED)
    host.virsh("managedsave-edit", "web1", env=editor)
    host.virsh("start", "web1")
    set_runtime(host, "web1")
    host.virsh("managedsave", "web1")
    fails(lambda: host.virsh("start", "web1"), REFUSED)
    host.virsh("start", "--force-boot", "web1")
    equal(state(host, "web1"), "running", "the state")


@test("a revert to a snapshot runs no hook", daemon=False)
def _(host):
    enable_hook(host)
    host.define("web1", devices=disk_xml(make_disk(host, "disk.qcow2")))
    host.virsh("start", "web1")
    set_runtime(host, "web1")
    host.virsh("snapshot-create-as", "web1", "one")
    host.virsh("destroy", "web1")
    host.virsh("snapshot-revert", "web1", "one")
    equal(state(host, "web1"), "running", "the state")


@test("libvirtd is restarted, and guests live on, however long their definition is", daemon=False)
def _(host):
    enable_hook(host)
    start(host, "web1")
    # More than fits into a pipe: the hook ends while libvirtd still writes.
    host.define("web2", extra=f"<description>{'x' * 300000}</description>")
    host.virsh("start", "web2")
    set_runtime(host, "web2", l2="quiet")
    pids = {name: host.read(f"libvirt/run/qemu/{name}.pid") for name in ("web1", "web2")}
    for _ in range(3):
        host.restart_libvirtd()
        for name in pids:
            host.wait_for("libvirtd to know it again", lambda name=name: state(host, name) == "running")
            equal(host.read(f"libvirt/run/qemu/{name}.pid"), pids[name], "the QEMU")


@test("start, reset, suspend, shutdown and a restore without L2 guests are as ever", daemon=False)
def _(host):
    enable_hook(host)
    # A `dumpxml | virsh define` leaves the element in the definition.
    host.define("web1", metadata=f"<v:runtime xmlns:v='{RUNTIME_NS}' l2='running' since='1' until='99999999999' host='n'/>")
    host.virsh("start", "web1")
    host.virsh("reset", "web1")
    host.virsh("suspend", "web1")
    host.virsh("resume", "web1")
    host.virsh("destroy", "web1")
    host.define("web2")
    host.virsh("start", "web2")
    for l2 in (None, "none", "unknown"):
        if l2 is not None:
            set_runtime(host, "web2", l2=l2)
        host.virsh("save", "web2", f"{host.top}/image")
        host.virsh("restore", f"{host.top}/image")
    host.virsh("managedsave", "web2")
    host.virsh("start", "web2")
    equal(state(host, "web2"), "running", "the state")


@test("the first hook takes a reload of libvirtd, and its removal none", daemon=False)
def _(host):
    install_hook(host)
    image = save(host, "web1")
    contains(ctl_in_root(host, "hook", "enable"), "systemctl reload libvirtd")
    host.virsh("restore", image)
    host.libvirtd.signal(signal.SIGHUP)

    def refused():
        host.virsh("destroy", "web1")
        contains(fails(lambda: host.virsh("restore", image)), REFUSED)
        return True

    def refused_by_now():
        try:
            return refused()
        except AssertionError:
            return False

    host.wait_for("libvirtd to know of the hook", refused_by_now)
    contains(ctl_in_root(host, "hook", "disable"), "is disabled")
    host.virsh("restore", image)
    host.virsh("destroy", "web1")
    # The folder is there still, and libvirtd looks into it.
    ctl_in_root(host, "hook", "enable")
    fails(lambda: host.virsh("restore", image), REFUSED)


@test("Incoming=allow and Mode=observe let everybody in while they are in force", daemon=False)
def _(host):
    enable_hook(host)
    image = save(host, "web1")
    all_file = pathlib.Path(host.root, "run/virtnest/incoming/all")

    def configure(text, allowed):
        host.write("etc/virtnest/virtnest.conf", text)
        host.wait_for(f"{text!r} to be in force", lambda: all_file.exists() == allowed)

    def refused():
        fails(lambda: host.virsh("restore", image), REFUSED)

    def let_in():
        host.virsh("restore", image)
        host.virsh("destroy", "web1")

    host.start_daemon()
    host.wait_manager(Connected=True)
    refused()
    configure("[Guard]\nIncoming=allow\n", True)
    let_in()
    # One that is wrong changes nothing.
    host.write("etc/virtnest/virtnest.conf", "[Guard]\nIncoming=perhaps\n")
    host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])
    let_in()
    # It outlives the daemon, and one that starts without a valid configuration leaves it as it is.
    host.restart_daemon()
    host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])
    let_in()
    configure("[Guard]\nIncoming=refuse\n", False)
    refused()
    host.write("etc/virtnest/virtnest.conf", "[Guard]\nIncoming=perhaps\n")
    host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])
    refused()
    host.restart_daemon()
    host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])
    refused()
    configure("[Manager]\nMode=observe\n", True)
    let_in()
    configure("[Manager]\nMode=guard\n", False)
    refused()


@test("hook allow takes a name where virtnestd knows it", daemon=False)
def _(host):
    enable_hook(host)
    image = save(host, "web1")
    fails(lambda: ctl_in_root(host, "hook", "allow", "web1"), "give the UUID of the guest")
    host.start_daemon()
    host.wait_manager(Synced=True)
    contains(ctl_in_root(host, "hook", "allow", "web1"), "may come in until")
    fails(lambda: ctl_in_root(host, "hook", "allow", "web2"), "give the UUID of the guest")
    host.virsh("restore", image)


def give_name(host, name):
    equal(host.spawn(["hostname", name]).wait(), 0, "the status of hostname")


@test("a migration is refused, and the guest goes on where it is", daemon=False, libvirtd=False)
def _(host):
    give_name(host, "node7")
    host.start_libvirtd()
    with TemporaryHost(libvirtd=False, bus=False) as other:
        give_name(other, "node8")
        other.start_libvirtd()
        enable_hook(other)
        sockets = iter(range(100))

        def migrate(*options):
            host.virsh("migrate", "--live", "web1", *options, "--desturi", other.uri, "--migrateuri",
                       f"unix://{host.top}/migrate-{next(sockets)}", "--disks-uri", f"unix://{host.top}/disks")

        uuid = start(host, "web1")
        error = fails(migrate, f"{REFUSED}it runs guests of its own (L2) on host 'node7', since 2025-11-27 01:30:00 UTC")
        fails(lambda: migrate("--p2p"), REFUSED)
        contains(error, f"virtnestctl hook allow {uuid}")
        equal(state(host, "web1"), "running", "the state")
        equal(other.virsh("list", "--all", "--name").split(), [], "the other host's domains")
        # A guest that was left by a virtnestd that is gone.
        set_runtime(host, "web1", until=-60)
        migrate()
        equal(other.virsh("domstate", "web1").strip(), "running", "the state")
        other.virsh("destroy", "web1")
        host.virsh("start", "web1")
        set_runtime(host, "web1")
        fails(migrate, REFUSED)
        ctl_in_root(other, "hook", "allow", uuid)
        migrate()
        equal(other.virsh("domstate", "web1").strip(), "running", "the state")
        equal(state(host, "web1"), "shut off", "the state")


if __name__ == "__main__":
    tap.main()
