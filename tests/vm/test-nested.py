#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""virtnest on a real host kernel, libvirtd, systemd, bus and AppArmor, with real L1 and L2 guests, all emulated.

    test-nested.py --release=bookworm|trixie [TEXT...]   only the tests whose description contains one of the texts
    test-nested.py --list

One machine serves all tests, in order; each starts from an L1 that runs and has no L2. Logs are kept if one fails.
"""

import os
import pathlib
import random
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

import scenarios
import vm
from scenarios import MESSAGE_GUARDED, MESSAGE_JOB_ABORTED, MESSAGE_L2_RUNS, MESSAGE_MOVED_WITH_L2, REFUSAL, test
from tap import contains, diagnose, equal, lacks, soaking

IMAGES = "/var/lib/libvirt/images"

# An L1 of this kernel keeps its hypervisor on, so that only time tells when the last L2 is gone.
KEEPS_SVME = {"bookworm": False, "trixie": True}
SOURCE = {"bookworm": "debugfs", "trixie": "stats-fd"}
BUS = {"bookworm": "dbus.service", "trixie": "dbus-broker.service"}


class Host:
    """The L0 of a release, and the L1 that the tests share."""

    machines = [{"name": "l0"}]

    def __init__(self, release, machines):
        self.release = release
        self.machine, = machines
        machine = self.machine
        self.l1 = vm.L1(machine, "web1", disk=True)
        self.defined = False

    def set_up(self):
        self.machine.wait_up()
        # ReleaseAfter= only where nothing else releases an L1: on the other, this must not be what is waited for.
        self.machine.write("/etc/virtnest/policy.d/default.policy.d/50-test.conf",
                           scenarios.RELEASE_AFTER if KEEPS_SVME[self.release] else scenarios.QUIET_AFTER)
        self.machine.run("systemctl reload virtnestd")

    def recover(self):
        """After a test that failed."""
        self.machine.try_run("virsh destroy web1; systemctl reset-failed; systemctl restart virtnestd")

    def report(self):
        diagnose(self.machine.run("virsh list --all; systemctl status --no-pager -n 15 virtnestd"))

    def tagged_l1(self):
        """The L1, defined, tagged and rewritten."""
        if not self.defined:
            self.l1.define()
            self.defined = True
        if not self.machine.properties("web1") or not self.machine.property("web1", "Tagged"):
            self.l1.tag()
        return self.l1

    def free_l1(self):
        """The L1, running and without an L2."""
        l1 = self.tagged_l1()
        if self.machine.try_run("systemctl is-active virtnestd")["status"] != 0:
            self.machine.run("systemctl start virtnestd")
        self.machine.wait_property("web1", {"State": "in-sync"})
        if l1.state != "running":
            self.machine.try_run("virsh destroy web1; virsh managedsave-remove web1")
            equal(l1.start(), "with", "svm in L1")
        elif self.machine.property("web1", "L2State") != "none":
            l1.stop_all_l2()
        self.machine.wait_property("web1", {"L2State": "none", "Guarded": False})
        return l1

    def nested_l1(self, options=""):
        """The L1, running an L2, guarded; and the number of the L2."""
        l1 = self.free_l1()
        number = l1.start_l2(options)
        self.wait_guarded()
        return l1, number

    def wait_guarded(self):
        self.machine.wait_property("web1", {"L2State": "running", "Guarded": True})

    def wait_free(self):
        self.machine.wait_property("web1", {"L2State": "none", "Guarded": False})

    def check_refused(self):
        self.machine.refuses(f"virsh save web1 {IMAGES}/web1.save", REFUSAL)

    def save_and_restore(self):
        self.machine.virsh(f"save web1 {IMAGES}/web1.save")
        self.machine.virsh(f"restore {IMAGES}/web1.save")
        self.machine.run(f"rm {IMAGES}/web1.save")


@test("virtnestd runs as shipped, sandboxed, on the system bus, and AppArmor is enforcing")
def _(host):
    l0 = host.machine
    equal(l0.run("systemctl --failed --no-legend --plain").strip(), "", "failed units")
    status = l0.run("systemctl show virtnestd -p ActiveState -p FragmentPath -p DropInPaths -p NRestarts")
    contains(status, "ActiveState=active")
    contains(status, "/lib/systemd/system/virtnestd.service")
    contains(status, "DropInPaths=\n")
    contains(status, "NRestarts=0")
    equal(l0.run("cat /sys/module/apparmor/parameters/enabled /sys/module/kvm_amd/parameters/nested").split(), ["Y", "1"])
    equal(l0.run("systemctl show dbus -p Id --value").strip(), BUS[host.release], "the message bus")
    # Read by anybody, changed by root alone: what the shipped bus policy says.
    l0.run("runuser -u nobody -- busctl get-property org.virtnest1 /org/virtnest1 org.virtnest1.Manager Synced")
    contains(l0.run("systemd-analyze security --no-pager virtnestd | tail -n 1"), "OK")


PARAMETERS = "cat /sys/module/kvm_amd/parameters/nested /sys/module/kvm/parameters/ignore_msrs"


def host_settings(l0, settings):
    """Has virtnest-host.service do what the settings say."""
    l0.write("/etc/virtnest/virtnest.conf.d/50-host.conf", f"[Host]\n{settings}\n")
    l0.run("systemctl restart virtnest-host")


def nest_again(l0):
    """Whatever went wrong, the next test finds a host that nests, and as it was."""
    l0.run("rm -f /etc/virtnest/virtnest.conf.d/50-host.conf /etc/modprobe.d/virtnest.conf")
    l0.try_run("grep -q 1 /sys/module/kvm_amd/parameters/nested || { modprobe -r kvm_amd; modprobe kvm_amd nested=1; }; "
               "systemctl reload virtnestd")


@test("on a host with nested=0 nothing is rewritten, until virtnestctl host enable")
def _(host):
    l0 = host.machine
    # libvirt may be asking QEMU what KVM can do.
    vm.wait_for("KVM's module to be free", lambda: l0.try_run("modprobe -r kvm_amd")["status"] == 0)
    l0.run("modprobe kvm_amd nested=0 && systemctl reload virtnestd")
    try:
        other = vm.L1(l0, "web2")
        other.define()
        before = l0.virsh("dumpxml --inactive web2")
        other.tag()
        contains(l0.wait_property("web2", {"State": "host-not-ready"})["StateReason"], "nested")
        equal(l0.virsh("dumpxml --inactive web2").split("<cpu")[1], before.split("<cpu")[1], "the definition")
        contains(l0.try_run("virtnestctl host")["stdout"], "FAIL  nested")
        l0.run("virtnestctl host enable --now")
        l0.wait_property("web2", {"State": "in-sync"})
        equal(l0.run(PARAMETERS).split(), ["1", "N"], "the parameters")
        contains(l0.run("cat /etc/modprobe.d/virtnest.conf"), "options kvm_amd nested=1")
    finally:
        nest_again(l0)
        l0.try_run("virsh undefine web2")


@test("virtnest-host.service, as shipped, loads KVM's module as the settings say")
def _(host):
    l0 = host.machine
    try:
        # The last one leaves the module alone and writes a file in /sys, which takes a hole in ProtectKernelTunables=.
        for settings, wanted in (("Nested=no", ["0", "N"]), ("Nested=yes", ["1", "N"]),
                                 ("Nested=yes\nIgnoreMSRs=yes", ["1", "Y"])):
            host_settings(l0, settings)
            equal(l0.run(PARAMETERS).split(), wanted, f"the parameters after {settings!r}")
        host_settings(l0, "IgnoreMSRs=no")
        equal(l0.run(PARAMETERS).split(), ["1", "N"], "the parameters")
    finally:
        nest_again(l0)


@test("an L1 sees svm after it was tagged and switched off and on, and not before")
def _(host):
    host.l1.define()
    host.defined = True
    equal(host.l1.start(), "without", "svm in L1")
    host.l1.tag()
    host.machine.wait_property("web1", {"State": "pending-restart", "Feature": "svm"})
    host.machine.virsh("destroy web1")
    host.machine.wait_property("web1", {"State": "in-sync", "Running": False})
    equal(host.l1.start(), "with", "svm in L1")
    contains(host.machine.virsh("dominfo web1"), "(enforcing)", "AppArmor's label of L1")


@test("an L2 is seen within four ticks of what KVM counts, and guarded")
def _(host):
    l0 = host.machine
    l1 = host.free_l1()
    equal(l0.property("web1", "L2Source"), SOURCE[host.release], "L2Source")
    l0.run("systemd-run -q --unit=sampler sh -c 'exec python3 /usr/lib/virtnest-vm/sampler.py web1 >/run/l1/sampler'")
    vm.wait_for("the sampler", lambda: l0.try_run("grep -q ready /run/l1/sampler")["status"] == 0)
    since = l0.run("date +%s.%N").strip()
    l1.start_l2()
    host.wait_guarded()
    message = l0.journal(f"--since=@{since}", f"MESSAGE_ID={MESSAGE_L2_RUNS}")[0]
    seen = int(message["_SOURCE_REALTIME_TIMESTAMP"])
    vm.wait_for("the sampler", lambda: l0.try_run("systemctl is-active sampler")["stdout"].strip() != "active")
    looks = [int(line) for line in l0.run("cat /run/l1/sampler").split()[1:]]
    ticks = sum(look < seen for look in looks)
    diagnose(f"virtnestd told {(seen - looks[0]) / 1000:.0f} ms after the first look that saw it, {ticks} ticks")
    if ticks > 4:
        raise AssertionError(f"it took {ticks} ticks")
    denied = l0.run("journalctl -b -k -g 'apparmor=.DENIED' --no-pager || :")
    lacks(denied, "memfd", "AppArmor's denials")
    lacks(denied, "fdset", "AppArmor's denials")


@test("while an L2 runs, root cannot save, dump or snapshot its L1, and QEMU does not migrate it")
def _(host):
    l0 = host.machine
    l1, _ = host.nested_l1()
    host.check_refused()
    l0.refuses("virsh managedsave web1", REFUSAL)
    l0.refuses("virsh snapshot-create-as web1 internal", REFUSAL)
    l0.refuses(f"virsh snapshot-create-as web1 external --memspec file={IMAGES}/memory,snapshot=external "
               f"--diskspec vda,file={IMAGES}/disk", REFUSAL)
    l0.refuses(f"virsh dump web1 {IMAGES}/core", REFUSAL)
    contains(l0.virsh("qemu-monitor-command web1 --hmp 'migrate exec:cat>/dev/null'"), REFUSAL)
    equal(l1.run("echo I am here").count("I am here"), 2)
    contains(l0.virsh("metadata web1 urn:virtnest:runtime:1"), 'l2="running"')


@test("when its L2 ends, the L1 is released, and its save succeeds and restores")
def _(host):
    l1, number = host.nested_l1()
    start = time.monotonic()
    count = l1.stop_l2(number)
    if KEEPS_SVME[host.release]:
        host.machine.wait_property("web1", {"L2State": "quiet", "Guarded": True})
        host.check_refused()
    host.wait_free()
    diagnose(f"released {time.monotonic() - start:.1f} s after the end of an L2 that had come to {count}: "
             + host.machine.property("web1", "L2Reason"))
    host.save_and_restore()
    equal(l1.run("echo I am here").count("I am here"), 2)
    number = l1.start_l2(f"--from={count}")
    host.wait_guarded()
    if l1.stop_l2(number) <= count:
        raise AssertionError("the L2 did not go on from where it was")
    host.wait_free()


@test("of two L2s one ends: the L1 stays guarded until the other does")
def _(host):
    l1, first = host.nested_l1()
    second = l1.start_l2()
    l1.stop_l2(first)
    # Longer than it takes to count as quiet.
    hold(host, 5, {"L2State": "running", "Guarded": True})
    host.check_refused()
    l1.stop_l2(second)
    host.wait_free()


def hold(host, seconds, wanted):
    """The properties must be so for that long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        properties = host.machine.properties("web1")
        for key, value in wanted.items():
            equal(properties[key], value, key)


@test("an L1 whose L2 is paused stays guarded")
def _(host):
    l1, number = host.nested_l1()
    l1.signal_l2(number, "STOP")
    host.machine.wait_property("web1", {"L2State": "quiet"})
    equal(host.machine.property("web1", "Guarded"), True, "Guarded")
    host.check_refused()
    l1.signal_l2(number, "CONT")
    host.wait_guarded()
    l1.stop_l2(number)
    host.wait_free()


@test("an L2 that never leaves by itself is seen")
def _(host):
    l1, number = host.nested_l1("--spin")
    hold(host, 5, {"L2State": "running", "Guarded": True})
    host.check_refused()
    l1.stop_l2(number)
    host.wait_free()


@test("virtnestd is restarted, and killed, with an L2 running: the guard stays")
def _(host):
    l0 = host.machine
    host.nested_l1()
    l0.run("systemctl stop virtnestd")
    host.check_refused()
    l0.run("systemctl start virtnestd")
    host.wait_guarded()
    restarts = l0.run("systemctl show virtnestd -p NRestarts --value")
    l0.run("systemctl kill --signal=KILL virtnestd")
    host.check_refused()
    vm.wait_for("a new virtnestd",
                lambda: l0.run("systemctl show virtnestd -p NRestarts -p ActiveState") !=
                f"NRestarts={restarts}ActiveState=active\n"
                and l0.try_run("systemctl is-active virtnestd")["status"] == 0)
    host.wait_guarded()
    l0.run("systemctl reload virtnestd")
    host.check_refused()
    host.wait_guarded()
    equal(l0.property("web1", "GuardError"), "", "GuardError")


@test("libvirtd is restarted with an L2 running: the guard stays, and what follows is seen")
def _(host):
    l1, number = host.nested_l1()
    host.machine.run("systemctl restart libvirtd")
    host.check_refused()
    host.wait_guarded()
    l1.stop_l2(number)
    host.wait_free()
    l1.start_l2()
    host.wait_guarded()


@test("an L1 that is rebooted with an L2 running is released, and has svm")
def _(host):
    l1, _ = host.nested_l1()
    l1.mark()
    l1.type("reboot -f")
    equal(l1.wait_boot(), "with", "svm in L1")
    host.wait_free()


@test("an L1 that is reset with an L2 running is released")
def _(host):
    l1, _ = host.nested_l1()
    l1.mark()
    host.machine.virsh("reset web1")
    equal(l1.wait_boot(), "with", "svm in L1")
    host.wait_free()


@test("an L1 that is destroyed with an L2 running leaves nothing behind")
def _(host):
    host.nested_l1()
    host.machine.virsh("destroy web1")
    host.machine.wait_property("web1", {"Running": False, "L2State": "none", "Guarded": False})
    equal(host.machine.run("ls /run/virtnest/guards 2>/dev/null || :").strip(), "", "notes of guards")
    lacks(host.machine.virsh("dumpxml --inactive web1"), "urn:virtnest:runtime:1")


@test("saves around the moment in which an L2 starts: none that takes an L2 along is silent",
      timeout=soaking(600, 3600))
def _(host):
    l0 = host.machine
    seed = int(os.environ.get("VIRTNEST_TEST_SEED") or random.randrange(1 << 32))
    diagnose(f"VIRTNEST_TEST_SEED={seed}")
    moments = random.Random(seed)
    outcomes = {"refused": 0, "aborted": 0, "before": 0, "told": 0}
    for _ in range(soaking(2, 30)):
        l1 = host.free_l1()
        since = l0.run("date +%s.%N").strip()
        # virsh takes most of a second to come to it.
        delay = moments.uniform(-1.5, 0.5)
        save = l0.begin(f"sleep {max(delay, 0):.3f}; virsh save web1 {IMAGES}/web1.save")
        l1.begin_l2(after=max(-delay, 0))
        answer = l0.finish(save)
        text = answer["stderr"]
        if answer["status"] == 0:
            aboard = l0.try_run(f"grep -aq 'l2=\"running\"' {IMAGES}/web1.save")["status"] == 0
            told = l0.journal(f"--since=@{since}", f"MESSAGE_ID={MESSAGE_MOVED_WITH_L2}")
            saw = l0.journal(f"--since=@{since}", f"MESSAGE_ID={MESSAGE_L2_RUNS}")
            if (aboard or saw) and not told:
                raise AssertionError(f"a save {delay:+.3f} s from the start of an L2 took it along, and nobody told")
            outcomes["told" if told else "before"] += 1
            # Never restored: what is in it is what must not be.
            l0.run(f"rm {IMAGES}/web1.save")
            continue
        outcomes["refused" if REFUSAL in text else "aborted"] += 1
        if REFUSAL not in text and not l0.journal(f"--since=@{since}", f"MESSAGE_ID={MESSAGE_JOB_ABORTED}"):
            raise AssertionError(f"the save failed otherwise: {text}")
        equal(l1.state, "running", "the L1")
        host.wait_guarded()
        l1.run("true")
    diagnose(f"of these saves: {outcomes}")


@test("who is in the group libvirt may release a guard, and others may not")
def _(host):
    l0 = host.machine
    host.nested_l1()
    l0.run("id alice >/dev/null 2>&1 || useradd -G libvirt alice")
    l0.refuses("runuser -u nobody -- virtnestctl --no-ask-password release web1 --for=1min", "")
    equal(l0.property("web1", "Guarded"), True, "Guarded")
    l0.run("runuser -u alice -- virtnestctl --no-ask-password release web1 --for=1min --reason=test")
    equal(l0.property("web1", "Guarded"), False, "Guarded")
    l0.run("virtnestctl revoke web1")
    host.wait_guarded()


@test("the journal has whom a message is about, journalctl explains it, and systemctl changes how much is logged")
def _(host):
    l0 = host.machine
    host.nested_l1()
    message = l0.journal(f"MESSAGE_ID={MESSAGE_GUARDED}")[-1]
    equal([message.get(f"VIRTNEST_{name}") for name in ("DOMAIN", "UUID", "POLICY")], ["web1", host.l1.uuid, "default"],
          "its fields")
    # As a package's installation does.
    l0.run("journalctl --update-catalog")
    contains(l0.run(f"journalctl -b -x -n 1 --no-pager -u virtnestd MESSAGE_ID={MESSAGE_GUARDED}"),
             "Subject: Domain web1 is guarded")
    since = l0.run("date +%s.%N").strip()
    equal(l0.run("systemctl service-log-level virtnestd").strip(), "info", "the level")
    l0.run("systemctl service-log-level virtnestd debug && virtnestctl reconcile web1")
    vm.wait_for("a message of that level", lambda: l0.journal(f"--since=@{since}", "PRIORITY=7"))
    l0.run("systemctl service-log-level virtnestd info")
    equal(l0.run("systemctl service-log-level virtnestd").strip(), "info", "the level")


@test("with a guest in the way virtnest-host.service leaves the module as it is, and has it be as it shall at the next boot")
def _(host):
    l0 = host.machine
    l1 = host.free_l1()
    try:
        host_settings(l0, "Nested=no")
        equal(l0.run(PARAMETERS).split(), ["1", "N"], "the parameters")
        contains(l0.run("cat /etc/modprobe.d/virtnest.conf"), "options kvm_amd nested=0")
        l1.run("true")
    finally:
        nest_again(l0)


@test("a policy that is dropped into /etc changes the mode, and its removal changes it back")
def _(host):
    l0 = host.machine
    l1 = host.free_l1()
    l0.write("/etc/virtnest/policy.d/default.policy.d/60-mode.conf", "[CPU]\nMode=host-passthrough\n")
    l0.wait_property("web1", {"WantedCPUMode": "host-passthrough", "State": "pending-restart"})
    contains(l0.virsh("dumpxml --inactive web1"), "mode='host-passthrough'")
    l0.virsh("destroy web1")
    equal(l1.start(), "with", "svm in L1")
    l0.wait_property("web1", {"CPUMode": "host-passthrough", "State": "in-sync"})
    l0.run("rm /etc/virtnest/policy.d/default.policy.d/60-mode.conf")
    l0.wait_property("web1", {"WantedCPUMode": "host-model", "State": "pending-restart"})


# The last one, since what is shown here may take the L0 with it.
@test("control: what becomes of the same L1 without virtnest, saved and restored with an L2")
def _(host):
    l0 = host.machine
    # Whatever CPU it has from the test before.
    l1 = host.l1
    if l1.state != "running":
        l1 = host.free_l1()
    number = l1.start_l2()
    host.wait_guarded()
    l0.run("systemctl stop virtnestd && virtnestctl release --all")
    saved = l0.try_run(f"virsh save web1 {IMAGES}/web1.save")
    diagnose("virsh save " + ("succeeds" if saved["status"] == 0 else f"fails: {saved['stderr']}"))
    equal(saved["status"], 0, "the status of virsh save, with nothing to refuse it")
    try:
        restored = l0.try_run(f"virsh restore {IMAGES}/web1.save")
        diagnose("virsh restore " + ("succeeds" if restored["status"] == 0 else f"fails: {restored['stderr']}"))
        diagnose(f"the L1 is {l1.state} afterwards")
        try:
            l1.run("true", 30)
            count = l1.stop_l2(number)
            diagnose(f"the L1 answers, and its L2 came to {count}")
        except (TimeoutError, vm.CommandFailed) as error:
            diagnose(f"the L1 is lost: {str(error)[-800:]}")
        log = l0.try_run("journalctl -b -k -g 'BUG|Oops|WARNING|kvm' -n 10 -o cat --no-pager")["stdout"]
        diagnose("the kernel of L0 said last: " + log)
    except vm.Dead as error:
        diagnose(f"the L0 is lost: {error}")


if __name__ == "__main__":
    scenarios.main(Host)
