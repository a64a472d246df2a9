#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""libvirtd comes late, dies, hangs, and comes back; virtnestd may be killed at any moment."""

import os
import pathlib
import re
import signal
import time

import tap
from harness import STATE_NS, cpu_of, domain_xml, tag_xml
from tap import contains, equal, lacks, test

SVM = "<feature policy='require' name='svm'/>"


def start_libvirtd_with_injector(host):
    host.kill_libvirtd()
    host.start_libvirtd(env={"LD_PRELOAD": host.injector("/usr/sbin/libvirtd"), "INJECT_DIR": f"{host.top}/inject"})


def pid_outside(process):
    """The process is known by its id inside the host; every namespace has one of its own for it."""
    for status in pathlib.Path("/proc").glob("[0-9]*/status"):
        try:
            ids = re.search(r"^NSpid:(.*)$", status.read_text(), re.MULTILINE).group(1).split()
            command = (status.parent / "cmdline").read_bytes()
        except (OSError, AttributeError):
            continue
        if len(ids) > 1 and int(ids[-1]) == process.pid and process.host.root.encode() in command:
            return ids[0]
    raise AssertionError(f"{process.argv[0]} does not run")


@test("virtnestd starts before libvirtd, and finds it when it comes", daemon=False, libvirtd=False)
def _(host):
    host.start_daemon()
    seen = host.manager()
    equal(seen["Connected"], False, "Connected")
    equal(seen["Synced"], False, "Synced")
    equal(seen["URI"], "qemu:///system", "URI")
    host.wait_for("the reason", lambda: host.manager()["ConnectionError"])
    host.start_libvirtd()
    seen = host.wait_manager(Connected=True, Synced=True, ConnectionError="")
    assert seen["LibvirtVersion"], "no LibvirtVersion"
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")


@test("libvirtd is killed and started again: what changed meanwhile is picked up")
def _(host):
    for name in ("web1", "web2", "web3"):
        host.define(name)
    host.tag("web1")
    host.wait_state("web1", "in-sync")
    stamp = host.definition_stamp("web1")
    host.kill_libvirtd()
    seen = host.wait_manager(Connected=False)
    assert seen["ConnectionError"], "no ConnectionError"
    definition = host.definition_file("web2")
    definition.write_text(definition.read_text().replace("<metadata/>", f"<metadata>{tag_xml()}</metadata>"))
    host.definition_file("web3").unlink()
    host.definition_file("web4").write_text(domain_xml("web4", metadata=tag_xml()))
    host.start_libvirtd()
    host.wait_manager(Connected=True, Synced=True, ConnectionError="")
    host.wait_state("web2", "in-sync")
    host.wait_state("web4", "in-sync")
    host.wait_gone("web3")
    host.wait_state("web1", "in-sync")
    equal(host.definition_stamp("web1"), stamp, "inode and time of web1's definition")
    host.tag("web1", "nowhere")  # events arrive again too
    host.wait_state("web1", "error")


@test("libvirtd is killed many times in a row")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    for _ in range(5):
        host.restart_libvirtd()
    host.wait_manager(Connected=True, Synced=True)
    host.define("web2", metadata=tag_xml())
    host.wait_state("web2", "in-sync")
    equal(host.domain("web1")["State"], "in-sync", "State of web1")


@test("a running guest survives libvirtd's death in virtnestd's view too")
def _(host):
    host.define("web1")
    host.virsh("start", "web1")
    host.tag("web1")
    host.wait_state("web1", "pending-restart")
    host.restart_libvirtd()
    host.wait_manager(Connected=True, Synced=True)
    host.wait_property("web1", {"State": "pending-restart", "Running": True})


@test("libvirtd hangs: the bus is answered at once, and work goes on when it wakes up")
def _(host):
    host.define("web1")
    host.define("web2", metadata=tag_xml())
    host.wait_state("web2", "in-sync")
    host.tag("web1", "nowhere")
    host.wait_state("web1", "error")
    host.libvirtd.signal(signal.SIGSTOP)
    host.policy("nowhere", "[CPU]\nMode=host-model\n")  # gives virtnestd something to ask libvirtd
    start = time.monotonic()
    for _ in range(20):
        equal(host.domain("web2")["State"], "in-sync", "State of web2")
    elapsed = time.monotonic() - start
    host.libvirtd.signal(signal.SIGCONT)
    assert elapsed < 5, f"20 answers took {elapsed:.1f} s"
    host.wait_state("web1", "in-sync")


@test("SIGTERM ends virtnestd quickly with status 0 while libvirtd hangs")
def _(host):
    host.policy("later", "[CPU]\nMode=host-model\n")
    host.define("web1", metadata=tag_xml("later"))
    host.wait_state("web1", "in-sync")
    host.libvirtd.signal(signal.SIGSTOP)
    host.policy("later", "[CPU]\nMode=keep\n")
    host.daemon.signal(signal.SIGHUP)
    host.wait_for("the bus to be answered", host.manager)
    start = time.monotonic()
    host.stop_daemon(timeout=20)
    elapsed = time.monotonic() - start
    host.libvirtd.signal(signal.SIGCONT)
    assert elapsed < 10, f"it took {elapsed:.1f} s"
    contains(host.daemon.notifications, "STOPPING=1")


@test("SIGTERM and SIGINT end virtnestd with status 0 while there is no libvirtd", daemon=False, libvirtd=False)
def _(host):
    host.start_daemon()
    host.stop_daemon(timeout=10)
    host.start_daemon()
    host.daemon.asked_to_end = True
    host.daemon.signal(signal.SIGINT)
    equal(host.daemon.wait(10), 0, "the exit status")


@test("a write to a libvirtd that just died cannot kill virtnestd: SIGPIPE is ignored")
def _(host):
    log = f"{host.logs}/status"
    host.spawn(["cat", f"/proc/{host.daemon.pid}/status"], log=log).wait()
    with open(log, encoding="ascii") as file:
        ignored = next(int(line.split()[1], 16) for line in file if line.startswith("SigIgn:"))
    assert ignored & 1 << signal.SIGPIPE - 1, f"SigIgn is {ignored:x}"


def kill_libvirtd_in_define(host, moment):
    """libvirtd dies while it serves virtnestd's define, before or after it wrote the file."""
    host.define("web1", metadata=tag_xml())
    host.define("web2", metadata=tag_xml())
    start_libvirtd_with_injector(host)
    host.inject(f"virDomainDefSave.{moment}", 'rm "$0"; kill -KILL $PPID')
    host.libvirtd.asked_to_end = True
    host.start_daemon()
    host.wait_for("libvirtd to die in a define", lambda: host.libvirtd.ended)
    host.wait_manager(Connected=False)
    written = [STATE_NS in host.definition_file(name).read_text() for name in ("web1", "web2")]
    equal(any(written), moment == "after", "a rewritten file")
    host.start_libvirtd()
    for name in ("web1", "web2"):
        host.wait_state(name, "in-sync")
        contains(cpu_of(host.dumpxml(name)), SVM)
        host.untag(name)
        host.wait_for(f"{name} as it was", lambda n=name: STATE_NS not in host.dumpxml(n))
        lacks(cpu_of(host.dumpxml(name)), "svm")


@test("libvirtd is killed in the middle of a define, before it wrote the definition", daemon=False)
def _(host):
    kill_libvirtd_in_define(host, "before")


@test("libvirtd is killed in the middle of a define, after it wrote the definition", daemon=False)
def _(host):
    kill_libvirtd_in_define(host, "after")


def kill_daemon_in_define(host, moment):
    host.define("web1", metadata=tag_xml())
    before = cpu_of(host.dumpxml("web1"))
    host.inject(f"virDomainDefineXMLFlags.{moment}", 'rm "$0"; kill -KILL $PPID')
    host.start_daemon(inject=True, notify=False)
    host.daemon.asked_to_end = True
    equal(host.daemon.wait(), -signal.SIGKILL, "the exit status")
    equal(cpu_of(host.dumpxml("web1")) == before, moment == "before", "an old <cpu>")
    host.start_daemon()
    host.wait_state("web1", "in-sync")
    equal(host.manager()["Rewrites"], 1 if moment == "before" else 0, "Rewrites")
    host.untag("web1")
    host.wait_for("the old <cpu>", lambda: cpu_of(host.dumpxml("web1")) == before)


@test("virtnestd is killed right before a define", daemon=False)
def _(host):
    kill_daemon_in_define(host, "before")


@test("virtnestd is killed right after a define", daemon=False)
def _(host):
    kill_daemon_in_define(host, "after")


@test("a connection that is lost leaves nothing behind")
def _(host):
    def descriptors():
        return len(os.listdir(f"/proc/{pid_outside(host.daemon)}/fd"))

    host.wait_manager(Synced=True)
    before = descriptors()
    for _ in range(3):
        host.kill_libvirtd()
        host.wait_manager(Connected=False)
        host.start_libvirtd()
        host.wait_manager(Connected=True, Synced=True)
    host.wait_for("as many descriptors as before", lambda: descriptors() <= before)


@test("one domain whose define hangs holds up no other, nor the bus", daemon=False)
def _(host):
    host.define("stuck", metadata=tag_xml())
    for number in range(8):
        host.define(f"web{number}", metadata=tag_xml())
    fifo = f"{host.top}/go"
    os.mkfifo(fifo)
    host.inject("virDomainDefineXMLFlags.before", f'[ "$1" != stuck ] || cat {fifo}')
    host.start_daemon(inject=True)
    for number in range(8):
        host.wait_state(f"web{number}", "in-sync")
    lacks(cpu_of(host.dumpxml("stuck")), "svm")
    with open(fifo, "w", encoding="utf-8"):
        pass
    host.wait_state("stuck", "in-sync")


if __name__ == "__main__":
    tap.main()
