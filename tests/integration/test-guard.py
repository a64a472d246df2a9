#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The guard, on a real libvirtd and real QEMU guests: what it refuses, what it lets through, and that it is found again.
The guests are emulated, so that they have no L2 guests: BlockWhen=always guards them all the same."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal

import tap
from guarded import ALWAYS, NEVER, NODE, begin_save, fdsets, guard, migration_status, nodes, refused, start
from harness import DOMAIN, SOURCE, tag_xml
from tap import contains, equal, fails, lacks, test


@test("save, managedsave, snapshots and dump are refused, and the reason read")
def _(host):
    seen = guard(host, "web1")
    equal(seen["GuardReason"], "BlockWhen=always", "GuardReason")
    refused(host, "save", "web1", f"{host.top}/image")
    refused(host, "managedsave", "web1")
    refused(host, "snapshot-create-as", "web1", "s1", "--memspec", f"file={host.top}/memory,snapshot=external")
    refused(host, "dump", "web1", f"{host.top}/core")
    equal(host.exists("image"), False, "a saved image")
    equal(host.virsh("domstate", "web1").strip(), "running", "the state")
    equal(host.manager()["DomainsGuarded"], 1, "DomainsGuarded")
    host.wait_log(r"domain 'web1' is guarded")


@test("lifted by the policy, and what was refused goes through")
def _(host):
    guard(host, "web1")
    host.policy("default", NEVER)
    host.wait_property("web1", {"Guarded": False, "GuardReason": "BlockWhen=never"})
    equal((nodes(host, "web1"), fdsets(host, "web1")), ([], []), "what is left in QEMU")
    host.virsh("save", "web1", f"{host.top}/image")
    host.virsh("restore", f"{host.top}/image")
    host.policy("default", ALWAYS)
    host.wait_property("web1", {"Guarded": True})
    refused(host, "managedsave", "web1")


@test("a new QEMU process is guarded again")
def _(host):
    guard(host, "web1")
    host.virsh("destroy", "web1")
    host.wait_property("web1", {"Guarded": False})
    host.virsh("start", "web1")
    host.wait_property("web1", {"Guarded": True})
    equal(nodes(host, "web1"), [NODE], "QEMU's nodes")


@test("who has no policy is not guarded, but with Scope=all; nor is anybody with Mode=observe")
def _(host):
    host.policy("default", ALWAYS)
    start(host, "web1")
    host.define("plain")
    host.virsh("start", "plain")
    host.wait_property("web1", {"Guarded": True})
    host.wait_property("plain", {"Running": True, "Guarded": False})
    host.configure("Mode=observe")
    host.wait_property("web1", {"Guarded": False, "GuardReason": "Mode=observe"})
    host.configure("Mode=guard")
    host.wait_property("web1", {"Guarded": True})
    # Emulated guests have no L2 guests that the default policy would guard.
    host.write("etc/virtnest/virtnest.conf", "[Guard]\nScope=all\n")
    host.settle()
    equal(host.domain("plain")["Guarded"], False, "Guarded")


@test("the daemon dies and the guard stays; started again it finds it, and asks nobody else")
def _(host):
    guard(host, "web1")
    host.define("plain")
    host.virsh("start", "plain")
    host.daemon.kill()
    refused(host, "managedsave", "web1")
    host.start_daemon(inject=True)
    host.wait_property("web1", {"Guarded": True})
    host.daemon.kill()
    # Not wanted any more.
    host.policy("default", NEVER)
    host.start_daemon()
    host.wait_property("web1", {"Guarded": False})
    host.wait_for("the node to go", lambda: nodes(host, "web1") == [])
    lacks_taint(host, "plain")


@test("of a guest that ended or went while no daemon ran no record stays")
def _(host):
    guard(host, "web1")
    guard(host, "web2")
    host.stop_daemon()
    for name in ("web1", "web2"):
        host.virsh("destroy", name)
    host.virsh("undefine", "web2")
    equal(len(os.listdir(f"{host.root}/run/virtnest/guards")), 2, "the number of records")
    host.start_daemon()
    host.wait_property("web1", {"Running": False})
    host.wait_for("the records to go", lambda: os.listdir(f"{host.root}/run/virtnest/guards") == [])


@test("a guard whose record is lost is found by the taint, and lifted where nobody wants it")
def _(host):
    guard(host, "web1")
    host.daemon.kill()
    shutil.rmtree(f"{host.root}/run/virtnest/guards")
    pathlib.Path(host.root, "run/libvirt").symlink_to(f"{host.top}/libvirt/run")
    host.policy("default", NEVER)
    host.start_daemon()
    host.wait_for("the node to go", lambda: nodes(host, "web1") == [])
    host.virsh("managedsave", "web1")


def lacks_taint(host, name):
    tap.lacks(host.virsh("dominfo", name), "custom monitor", "dominfo")


@test("libvirtd restarts, and nothing changes for the guest")
def _(host):
    guard(host, "web1")
    host.restart_libvirtd()
    host.wait_manager(Connected=True, Synced=True)
    refused(host, "managedsave", "web1")
    host.policy("default", NEVER)
    host.wait_property("web1", {"Guarded": False})
    equal(nodes(host, "web1"), [], "QEMU's nodes")


@test("somebody else takes the node away, or sets it")
def _(host):
    guard(host, "web1")
    host.virsh("qemu-monitor-command", "web1", '{"execute":"blockdev-del","arguments":{"node-name":"%s"}}' % NODE)
    host.policy("default", NEVER)
    host.wait_property("web1", {"Guarded": False, "GuardError": ""})


def send(host, signum, *pids):
    """To processes of the host, by the numbers that they have in it."""
    process = host.spawn(["kill", f"-{int(signum)}", *map(str, pids)])
    process.asked_to_end = True
    equal(process.wait(), 0, "kill's status")


@test("a policy that is gone or wrong lifts no guard, before a restart of the daemon and after")
def _(host):
    host.policy("lab", ALWAYS)
    start(host, "web1", "lab")
    host.wait_property("web1", {"Guarded": True})
    host.remove("etc/virtnest/policy.d/lab.policy")
    seen = host.wait_property("web1", {"State": "error", "Guarded": True})
    contains(seen["GuardReason"], "its policy cannot be told", "GuardReason")
    host.restart_daemon()
    host.wait_property("web1", {"State": "error", "Guarded": True})
    # No configuration at all that is valid.
    host.stop_daemon()
    host.policy("broken", "[CPU]\nMode=nonsense\n")
    host.start_daemon()
    host.wait_property("web1", {"Guarded": True})
    equal(nodes(host, "web1"), [NODE], "QEMU's nodes")
    host.remove("etc/virtnest/policy.d/broken.policy")
    host.policy("lab", NEVER)
    host.wait_property("web1", {"Guarded": False, "State": "in-sync"})


@test("the policy whose [Match] took a guest is gone: its guard stays, also if nothing was ever written of it")
def _(host):
    host.configure("Mode=guard")
    host.define("web1")
    host.policy("fleet", "[Match]\nName=web*\nTagged=no\n" + ALWAYS)
    host.virsh("start", "web1")
    host.wait_property("web1", {"Policy": "fleet", "State": "held", "Guarded": True})
    host.remove("etc/virtnest/policy.d/fleet.policy")
    seen = host.wait_property("web1", {"State": "error", "Guarded": True})
    contains(seen["StateReason"], "'fleet', which took this domain by its [Match], is gone", "StateReason")
    contains(seen["GuardReason"], "its policy cannot be told", "GuardReason")
    host.restart_daemon()
    host.wait_property("web1", {"State": "error", "Guarded": True})
    equal(nodes(host, "web1"), [NODE], "QEMU's nodes")
    # A policy that is there and takes it no more is what somebody wants.
    host.policy("fleet", "[Match]\nName=db*\nTagged=no\n" + ALWAYS)
    host.wait_property("web1", {"State": "untagged", "Guarded": False})


def release(host, name, seconds, reason=""):
    host.call(host.domain_path(name), DOMAIN, "Release", "tst", str(int(seconds * 1000000)), reason, "0")


@test("what QEMU did although its answer was lost is undone once nobody wants it", daemon=False)
def _(host):
    host.start_daemon(inject=True)
    host.policy("default", NEVER)
    start(host, "web1")
    lost = pathlib.Path(f"{host.top}/inject/fail-answer")
    lost.touch()
    host.policy("default", ALWAYS)
    host.wait_for("an error", lambda: host.domain("web1")["GuardError"])
    equal((nodes(host, "web1"), host.domain("web1")["Guarded"]), ([NODE], False), "QEMU's nodes, and what is known")
    host.policy("default", NEVER)
    host.wait_property("web1", {"GuardReason": "BlockWhen=never"})
    lost.unlink()
    host.wait_for("the node to go", lambda: nodes(host, "web1") == [])
    host.wait_property("web1", {"Guarded": False, "GuardError": ""})
    equal(os.listdir(f"{host.root}/run/virtnest/guards"), [], "records")


@test("a guard that comes too late, to a guest that was started anew meanwhile, is taken away again", daemon=False)
def _(host):
    host.start_daemon(inject=True)
    host.policy("default", NEVER)
    start(host, "web1")
    go = pathlib.Path(f"{host.top}/go")
    os.mkfifo(go)
    host.inject(f"{WITH_FD}.before", f'[ "$2" != 1 ] || read -r line <{go}')
    host.policy("default", ALWAYS)
    host.wait_property("web1", {"GuardReason": "BlockWhen=always"})
    host.virsh("destroy", "web1")
    host.wait_property("web1", {"Running": False})
    host.policy("default", NEVER)
    host.virsh("start", "web1")
    host.wait_property("web1", {"Running": True, "GuardReason": "BlockWhen=never", "Guarded": False})
    go.write_text("go\n")
    host.wait_log("is not guarded any more")
    host.wait_for("the node to go", lambda: nodes(host, "web1") == [])
    equal(host.domain("web1")["Guarded"], False, "Guarded")


@test("with no valid configuration nobody is guarded who was not, whatever was done with his monitor")
def _(host):
    host.policy("default", NEVER)
    start(host, "web1")
    host.virsh("qemu-monitor-command", "web1", '{"execute":"query-status"}')
    pathlib.Path(host.root, "run/libvirt").symlink_to(f"{host.top}/libvirt/run")
    host.stop_daemon()
    host.policy("broken", "[CPU]\nMode=nonsense\n")
    host.start_daemon()
    host.wait_property("web1", {"Running": True, "State": "error"})
    host.wait_manager(Synced=True)
    host.settle()
    equal((host.domain("web1")["Guarded"], nodes(host, "web1")), (False, []), "Guarded, and QEMU's nodes")
    lacks(host.daemon.log_text(), "'web1' is guarded", "the log")


@test("an operator releases a guest for some time, who is then guarded again")
def _(host):
    guard(host, "web1")
    release(host, "web1", 1800, "on fire")
    seen = host.wait_property("web1", {"Guarded": False, "ReleasedBy": "root", "ReleaseReason": "on fire",
                                       "GuardReason": "released by an operator"})
    if not seen["ReleasedUntil"]:
        raise AssertionError("ReleasedUntil is 0")
    host.wait_log(r"released from its guard for 30min by root: on fire")
    host.virsh("save", "web1", f"{host.top}/image")
    host.virsh("restore", f"{host.top}/image")
    # It was for that run of the guest.
    host.wait_property("web1", {"Guarded": True, "ReleasedUntil": 0, "ReleasedBy": ""})
    release(host, "web1", 1)
    host.wait_property("web1", {"Guarded": False})
    host.wait_property("web1", {"Guarded": True, "ReleasedUntil": 0})
    host.wait_log(r"its time has passed")


@test("a release outlives the daemon, and can be revoked")
def _(host):
    guard(host, "web1")
    release(host, "web1", 3600)
    host.wait_property("web1", {"Guarded": False})
    host.restart_daemon()
    host.wait_property("web1", {"Guarded": False, "ReleasedBy": "root"})
    host.call(host.domain_path("web1"), DOMAIN, "Revoke", "t", "0")
    host.wait_property("web1", {"Guarded": True, "ReleasedUntil": 0})
    host.restart_daemon()
    host.wait_property("web1", {"Guarded": True, "ReleasedUntil": 0})


@test("what cannot be released: too long, not at all, or with flags")
def _(host):
    guard(host, "web1")
    for seconds in (3601, 0, 2**43):
        contains(fails(lambda seconds=seconds: release(host, "web1", seconds)), "ReleaseMax=", "the error")
    fails(lambda: host.call(host.domain_path("web1"), DOMAIN, "Release", "tst", "1000000", "", "1"), "no flags are known")
    fails(lambda: release(host, "web1", 60, "x" * 1025), "longer than 1024")
    host.virsh("destroy", "web1")
    host.wait_property("web1", {"Running": False})
    fails(lambda: release(host, "web1", 60), "does not run")


@test("virtnestctl release, revoke and drain")
def _(host):
    equal(host.ctl("drain"), "0 domains keep this host from being evacuated.\n", "an empty drain")
    guard(host, "web1")
    start(host, "web2")
    host.wait_property("web2", {"Guarded": True})
    contains(fails(lambda: host.ctl("drain", "-j")), "web1", "drain")
    fails(lambda: host.ctl("drain"), "2 domains keep this host from being evacuated")
    host.ctl("release", "web1", "--for=30min", "--reason=moving house")
    host.wait_property("web1", {"Guarded": False, "ReleaseReason": "moving house"})
    host.ctl("revoke", "web1")
    host.wait_property("web1", {"Guarded": True})
    host.ctl("release", "--all")
    for name in ("web1", "web2"):
        host.wait_property(name, {"Guarded": False, "ReleasedBy": "root"})
    equal((nodes(host, "web1"), nodes(host, "web2")), ([], []), "QEMU's nodes")
    host.ctl("revoke", "--all")
    for name in ("web1", "web2"):
        host.wait_property(name, {"Guarded": True})
    fails(lambda: host.ctl("release", "web1", "--for=2h"), "ReleaseMax=")
    fails(lambda: host.ctl("release", "web1", "--for=soon"), "takes a time span")
    fails(lambda: host.ctl("release", "web3"), "libvirt has no domain 'web3'")
    fails(lambda: host.ctl("release"), "takes a domain or --all")
    fails(lambda: host.ctl("release", "web1", "--all"), "takes a domain or --all")
    uuid = host.domain("web1")["UUID"]
    host.ctl("release", uuid)
    host.wait_property("web1", {"Guarded": False})
    host.stop_daemon()
    fails(lambda: host.ctl("drain"), "systemctl start virtnestd")


@test("QEMUs that hang: six of them, and the seventh is guarded in time", timeout=120)
def _(host):
    host.policy("default", NEVER)
    names = [f"web{number}" for number in range(7)]
    for name in names:
        start(host, name)
    pids = {name: int(host.read(f"libvirt/run/qemu/{name}.pid")) for name in names}
    send(host, signal.SIGSTOP, *(pids[name] for name in names[:6]))
    host.policy("default", ALWAYS)
    host.wait_property("web6", {"Guarded": True})
    for name in names[:6]:
        host.wait_for("the reason", lambda name=name: "does not answer" in host.domain(name)["GuardError"])
    send(host, signal.SIGCONT, *(pids[name] for name in names[:6]))
    for name in names[:6]:
        host.wait_property(name, {"Guarded": True, "GuardError": ""}, timeout=60)


@test("a save that began before the guard is aborted, and the guest runs on")
def _(host):
    host.policy("default", NEVER)
    start(host, "web1", memory=4096)
    save, image = begin_save(host, "web1")
    host.policy("default", ALWAYS)
    host.wait_for("the abort", lambda: migration_status(host, "web1") in ("cancelling", "cancelled", None))
    os.close(image)
    host.wait_property("web1", {"Guarded": True})
    if save.wait() == 0:
        raise AssertionError("the save went through")
    equal(host.virsh("domstate", "web1").strip(), "running", "the state")
    equal(host.manager()["AbortedJobs"], 1, "AbortedJobs")
    host.wait_log(r"domain 'web1': its save was aborted")


def guarded_without(host, *what):
    """What QEMU tells of the node where these cannot be had; it is lifted again afterwards."""
    for thing in what:
        pathlib.Path(f"{host.top}/inject/fail-{thing}").touch()
    host.policy("default", ALWAYS)
    start(host, "web1")
    host.wait_property("web1", {"Guarded": True, "GuardError": ""})
    refused(host, "save", "web1", f"{host.top}/image")
    reply = host.virsh("qemu-monitor-command", "web1", '{"execute":"query-named-block-nodes"}')
    node, = (node for node in json.loads(reply)["return"] if node["node-name"] == NODE)
    host.policy("default", NEVER)
    host.wait_property("web1", {"Guarded": False, "GuardError": ""})
    equal((nodes(host, "web1"), fdsets(host, "web1")), ([], []), "what is left in QEMU")
    return node


@test("a QEMU without vdi gets the guard as vpc", daemon=False)
def _(host):
    host.start_daemon(inject=True)
    equal(guarded_without(host, "vdi")["drv"], "vpc", "the format")


@test("a QEMU that may not read a memfd gets the guard from the installed file", daemon=False)
def _(host):
    installed = pathlib.Path(host.root, "usr/lib/virtnest/virtnest-l2-running.vdi")
    shutil.copy(SOURCE / "policy/virtnest-l2-running.vdi", installed)
    host.start_daemon(inject=True)
    equal(guarded_without(host, "memfd")["drv"], "vdi", "the format")


@test("where there is no way at all, the error says why, and it is tried again", daemon=False)
def _(host):
    host.start_daemon(inject=True)
    for thing in ("vdi", "memfd"):
        pathlib.Path(f"{host.top}/inject/fail-{thing}").touch()
    host.policy("default", ALWAYS)
    start(host, "web1")
    host.wait_for("the reason", lambda: "cannot use QEMU's monitor" in host.domain("web1")["GuardError"])
    equal(host.domain("web1")["Guarded"], False, "Guarded")
    os.unlink(f"{host.top}/inject/fail-memfd")
    host.wait_property("web1", {"Guarded": True, "GuardError": ""})


@test("of whom nothing can be told: guarded with OnUnknown=block, and not with allow", daemon=False)
def _(host):
    host.start_daemon(inject=True)
    host.policy("default", "[Guard]\nOnUnknown=block\n")
    start(host, "web1")
    pathlib.Path(f"{host.top}/inject/kvm-web1").touch()
    # So that it is looked at.
    host.virsh("metadata", "web1", "urn:virtnest:test", "--key", "test", "--set", "<x/>", "--live")
    seen = host.wait_property("web1", {"Guarded": True, "L2State": "unknown"})
    contains(seen["GuardReason"], "OnUnknown=block", "GuardReason")
    host.policy("default", "[Guard]\nOnUnknown=allow\n")
    host.wait_property("web1", {"Guarded": False, "L2State": "unknown"})
    host.policy("default", "[Guard]\nOnUnknown=block\n")
    host.wait_property("web1", {"Guarded": True})
    # Until it is known again that nothing can be told, what is there stays.
    host.stop_daemon()
    host.start_daemon(inject=True)
    host.wait_for("it to be known", lambda: "OnUnknown=block" in host.domain("web1")["GuardReason"])
    equal((host.domain("web1")["Guarded"], nodes(host, "web1")), (True, [NODE]), "Guarded, and QEMU's nodes")
    # Before, the policy said so once.
    equal(host.daemon.log_text().count("is not guarded any more"), 1, "how often the guard went")


GUESTS = tap.soaking(20, 100)
ROUNDS = tap.soaking(10, 50)


def outer_pid(needle):
    """Of the process with this among its arguments, as seen from here; the host has numbers of its own."""
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if needle.encode() in path.read_bytes().split(b"\0"):
                return int(path.parent.name)
    raise AssertionError(f"no process has {needle}")


def open_files(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


# The connections for guards are kept, and how many there are depends on how long libvirtd takes; each has these.
CONNECTION = ("socket:", "pipe:", "anon_inode:[eventfd]")
CONNECTIONS_MAX = 12


def files_of_daemon(pid):
    """How many files its connections have, and the others by name."""
    links = []
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(os.readlink(path))
    return (sum(link.startswith(CONNECTION) for link in links),
            sorted(link for link in links if not link.startswith(CONNECTION)))


def resident_kib(pid):
    """Of memory that no file has; None with AddressSanitizer, which keeps what was freed, and finds leaks itself."""
    if "libasan" in pathlib.Path(f"/proc/{pid}/maps").read_text():
        return None
    return int(re.search(r"^RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.MULTILINE).group(1))


@test(f"{GUESTS} guests are guarded and released, {ROUNDS} times, and nothing is left behind",
      timeout=tap.soaking(120, 3600), config="RewritesPerMinute=0")
def _(host):
    host.policy("default", NEVER)
    uuids = {f"web{number}": host.define(f"web{number}", metadata=tag_xml()) for number in range(GUESTS)}
    for name in uuids:
        host.wait_state(name, "in-sync")
    for name in uuids:
        host.virsh("start", name)
    host.wait_for("all to be seen", lambda: all(host.domain(name)["Running"] for name in uuids))
    daemon = outer_pid(f"--root={host.root}")
    qemus = {name: outer_pid(uuid) for name, uuid in uuids.items()}
    before = {}
    for turn in range(ROUNDS + 1):
        for wanted, policy in ((GUESTS, ALWAYS), (0, NEVER)):
            host.policy("default", policy)
            host.wait_manager(DomainsGuarded=wanted, timeout=60)
        # The first round opens connections and fills caches.
        if turn == 0:
            before = {"daemon": files_of_daemon(daemon), "KiB": resident_kib(daemon),
                      **{name: open_files(pid) for name, pid in qemus.items()}}
    for name in uuids:
        equal((nodes(host, name), fdsets(host, name)), ([], []), f"what is left in {name}")
        host.wait_for("as many files as before", lambda name=name: open_files(qemus[name]) == before[name])
    # A look at a guest may be under way.
    host.wait_for("the daemon to have no other files than before",
                  lambda: files_of_daemon(daemon)[1] == before["daemon"][1])
    if files_of_daemon(daemon)[0] > before["daemon"][0] + CONNECTIONS_MAX * len(CONNECTION):
        raise AssertionError(f"the daemon has {files_of_daemon(daemon)}, and had {before['daemon']}")
    if before["KiB"] is not None and resident_kib(daemon) > before["KiB"] + 4096:
        raise AssertionError(f"the daemon has {resident_kib(daemon)} KiB, and had {before['KiB']}")
    equal(os.listdir(f"{host.root}/run/virtnest/guards"), [], "records")


def kill_at(host, point, number):
    """The daemon dies at a point of its next change of the guard; the one that is started then finishes the work."""
    host.stop_daemon()
    host.inject(point, f'[ "$2" != {number} ] || kill -9 $PPID')
    host.start_daemon(inject=True)
    host.wait_manager(Connected=True, Synced=True)
    host.daemon.asked_to_end = True


def revive(host, point):
    host.daemon.wait()
    host.inject_nothing(point)
    host.start_daemon()


WITH_FD = "virDomainQemuMonitorCommandWithFiles"
COMMAND = "virDomainQemuMonitorCommand"


@test("kill -9 of the daemon at each step of setting and lifting", timeout=200)
def _(host):
    host.policy("default", NEVER)
    start(host, "web1")
    # add-fd; blockdev-add; remove-fd
    for point, number in ((f"{WITH_FD}.before", 1), (f"{WITH_FD}.after", 1), (f"{COMMAND}.before", 1), (f"{COMMAND}.after", 1),
                          (f"{COMMAND}.before", 2), (f"{COMMAND}.after", 2)):
        kill_at(host, point, number)
        host.policy("default", ALWAYS)
        revive(host, point)
        host.wait_property("web1", {"Guarded": True})
        equal(nodes(host, "web1"), [NODE], f"QEMU's nodes, {point} {number}")
        refused(host, "managedsave", "web1")
        host.policy("default", NEVER)
        host.wait_property("web1", {"Guarded": False})
        equal((nodes(host, "web1"), fdsets(host, "web1")), ([], []), f"what is left, {point} {number}")
    # blockdev-del; remove-fd. Each is the second command at the earliest: the first one looks for the node.
    for point, number in ((f"{COMMAND}.before", 2), (f"{COMMAND}.after", 2), (f"{COMMAND}.before", 3), (f"{COMMAND}.after", 3)):
        host.policy("default", ALWAYS)
        host.wait_property("web1", {"Guarded": True})
        kill_at(host, point, number)
        host.policy("default", NEVER)
        revive(host, point)
        host.wait_property("web1", {"Guarded": False})
        host.wait_for("nothing to be left", lambda: (nodes(host, "web1"), fdsets(host, "web1")) == ([], []))
    equal(os.listdir(f"{host.root}/run/virtnest/guards"), [], "records")


@test("kill -9 of libvirtd while a guard is set and lifted")
def _(host):
    host.policy("default", NEVER)
    start(host, "web1")
    host.stop_daemon()
    host.start_daemon(inject=True)
    host.wait_manager(Connected=True, Synced=True)
    for wanted, policy in ((True, ALWAYS), (False, NEVER), (True, ALWAYS)):
        host.inject(f"{COMMAND}.before", f'kill -9 {host.libvirtd.pid}; rm "$0"')
        host.libvirtd.asked_to_end = True
        host.policy("default", policy)
        host.libvirtd.wait()
        host.start_libvirtd()
        host.wait_property("web1", {"Guarded": wanted, "GuardError": ""}, timeout=50)
        equal(nodes(host, "web1"), [NODE] if wanted else [], "QEMU's nodes")


if __name__ == "__main__":
    tap.main()
