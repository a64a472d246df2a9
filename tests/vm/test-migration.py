#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Two hosts with a network of their own, between which libvirt moves L1 guests, with L2 guests in them and without.

    test-migration.py --release=bookworm|trixie [TEXT...]   only the tests whose description contains one of the texts
    test-migration.py --list

Both machines serve all tests, in order; each finds the L1 where the one before left it. Logs are kept if one fails.
"""

import pathlib
import re
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "integration")]

import scenarios
import vm
from scenarios import MESSAGE_JOB_ABORTED, MESSAGE_LOADED_WITH_L2, MESSAGE_MOVED_WITH_L2, REFUSAL, test
from tap import contains, diagnose, equal, lacks

# libvirtd listens for others: without a password, on a network that nobody else is on.
NETWORK = """set -e
ip address add 10.0.0.{number}/24 dev eth0
ip link set eth0 up
printf '10.0.0.1 node1\\n10.0.0.2 node2\\n' >>/etc/hosts
printf 'auth_tcp = "none"\\n' >>/etc/libvirt/libvirtd.conf
# All of them: virtnestd connects again at once, and would start it by one of its sockets.
systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service
systemctl start libvirtd-tcp.socket libvirtd.socket libvirtd-ro.socket libvirtd.service
"""


class Pair:
    """Two L0s, and the L1 that the tests share."""

    machines = [{"name": "node1", "number": 1}, {"name": "node2", "number": 2}]

    def __init__(self, release, machines):
        self.release = release
        self.machines_by_name = {machine.name: machine for machine in machines}
        self.l1 = vm.L1(machines[0], "web1")

    def set_up(self):
        machines = list(self.machines_by_name.values())
        for machine in machines:
            machine.wait_up()
        begun = [machine.begin(NETWORK.format(number=machine.number)) for machine in machines]
        for machine, number in zip(machines, begun):
            answer = machine.finish(number)
            equal(answer["status"], 0, f"the network of {machine.name}: {answer['stderr']}")
            machine.write("/etc/virtnest/policy.d/default.policy.d/50-test.conf", scenarios.RELEASE_AFTER)
            machine.run("systemctl reload virtnestd")
        # Wherever it is, it is the same guest.
        for machine in machines:
            machine.uuids["web1"] = self.l1.uuid
            machine.run(vm.CONSOLE.format(name="web1"))

    def recover(self):
        """After a test that failed: the L1 is gone from both, and the next test makes it anew."""
        for machine in self.machines_by_name.values():
            machine.try_run("pkill -x virsh; virsh destroy web1; virsh managedsave-remove web1; virsh undefine web1; "
                            "systemctl reset-failed; systemctl restart virtnestd")

    def report(self):
        for machine in self.machines_by_name.values():
            diagnose(machine.run("hostname; virsh list --all; journalctl -b --no-pager -n 30 -u virtnestd -u libvirtd"))

    @property
    def source(self):
        """The host that the L1 is on."""
        return self.l1.machine

    @property
    def target(self):
        other, = (machine for machine in self.machines_by_name.values() if machine is not self.source)
        return other

    def migrate_command(self, options=""):
        return f"virsh migrate --live --persistent --undefinesource {options} web1 qemu+tcp://{self.target.name}/system"

    def migrate(self, options=""):
        """Moves the L1 over, which must succeed; from here on it is the other's."""
        self.source.run(self.migrate_command(options))
        self.arrived()

    def arrived(self):
        self.l1.machine = self.target
        self.l1.mark()

    def free_l1(self):
        """The L1, running somewhere, without an L2."""
        for machine in self.machines_by_name.values():
            if machine.try_run("systemctl is-active virtnestd")["status"] != 0:
                machine.run("systemctl start virtnestd")
        if self.source.try_run("virsh domstate web1")["stdout"].strip() != "running":
            self.source.try_run("virsh undefine web1")
            self.l1.define(prepare=False)
            self.l1.tag()
            self.source.wait_property("web1", {"State": "in-sync"})
            equal(self.l1.start(), "with", "svm in L1")
        elif self.source.property("web1", "L2State") != "none":
            self.l1.stop_all_l2()
        self.wait_free()
        return self.l1

    def nested_l1(self):
        """The L1, running an L2, guarded; and the number of the L2."""
        l1 = self.free_l1()
        number = l1.start_l2()
        self.wait_guarded()
        return l1, number

    def wait_guarded(self):
        self.source.wait_property("web1", {"L2State": "running", "Guarded": True})

    def wait_free(self):
        self.source.wait_property("web1", {"L2State": "none", "Guarded": False})

    def stayed(self):
        """The L1 is where it was, runs, and nothing of it is on the other host."""
        equal(self.l1.state, "running", "the L1 at the source")
        equal(self.l1.run("echo I am here").count("I am here"), 2)
        self.target_is_clean()

    def target_is_clean(self):
        equal(self.target.run("virsh list --all --name").split(), [], f"domains of {self.target.name}")


def definition(machine):
    """Its lines without their indentation, which libvirt changes in metadata."""
    return [line.strip() for line in machine.run("virsh dumpxml --inactive web1").splitlines()]


@test("an L1 without an L2 migrates live, and its tag, state and CPU go along")
def _(pair):
    l1 = pair.free_l1()
    before = definition(pair.source)
    cpu = pair.source.run("virsh dumpxml web1 | sed -n '/<cpu/,/<.cpu>/p'")
    pair.migrate()
    equal(l1.run("echo I am here").count("I am here"), 2)
    equal(definition(pair.source), before, "the definition")
    contains(" ".join(before), "urn:virtnest:state:1")
    equal(pair.source.run("virsh dumpxml web1 | sed -n '/<cpu/,/<.cpu>/p'"), cpu, "the CPU that it runs with")
    pair.source.wait_property("web1", {"Running": True, "Tagged": True, "Policy": "default", "State": "in-sync",
                                       "CPUMode": "host-model", "L2State": "none", "Guarded": False})
    pair.target_is_clean()
    equal(l1.run("grep -cw svm /proc/cpuinfo").split()[-1], "1", "svm in L1")
    number = l1.start_l2()
    pair.wait_guarded()
    l1.stop_l2(number)


@test("with an L2 the migration is refused at the source, by whoever's hand it is")
def _(pair):
    l1, number = pair.nested_l1()
    for options in ("", "--p2p", "--p2p --tunnelled"):
        pair.source.refuses(pair.migrate_command(options), REFUSAL)
    pair.stayed()
    l1.stop_l2(number)
    pair.wait_free()
    pair.migrate()
    pair.wait_free()


@test("an L2 that starts in the middle of a live migration aborts it, and the L1 goes on where it was")
def _(pair):
    l1 = pair.free_l1()
    source = pair.source
    since = source.run("date +%s.%N").strip()
    migration = source.begin(pair.migrate_command("--bandwidth 1"))
    vm.wait_for("the migration", lambda: "Outgoing migration" in source.run("virsh domjobinfo web1")
                and "status: active" in source.virsh("qemu-monitor-command web1 --hmp 'info migrate'"))
    begun = time.monotonic()
    l1.begin_l2()
    answer = source.finish(migration)
    if answer["status"] == 0:
        raise AssertionError("the migration went through")
    lacks(answer["stderr"], REFUSAL, "the error")
    diagnose(f"aborted {time.monotonic() - begun:.1f} s after the L2 was begun: {answer['stderr'].strip()}")
    equal(len(source.journal(f"--since=@{since}", f"MESSAGE_ID={MESSAGE_JOB_ABORTED}")), 1, "messages of it")
    pair.wait_guarded()
    pair.stayed()
    pair.source.refuses(pair.migrate_command(), REFUSAL)
    l1.stop_all_l2()
    pair.wait_free()


@test("an L2 that moves to an L1 on the other host leaves the first free and has the second guarded")
def _(pair):
    first, number = pair.nested_l1()
    second = vm.L1(pair.target, "web2")
    second.define()
    second.tag()
    pair.target.wait_property("web2", {"State": "in-sync"})
    equal(second.start(), "with", "svm in the second L1")
    pair.target.wait_property("web2", {"L2State": "none", "Guarded": False})
    try:
        count = first.stop_l2(number)
        number = second.start_l2(f"--from={count}")
        pair.target.wait_property("web2", {"L2State": "running", "Guarded": True})
        pair.wait_free()
        pair.target.refuses("virsh managedsave web2", REFUSAL)
        if second.stop_l2(number) <= count:
            raise AssertionError("the L2 did not go on from where it was")
    finally:
        pair.target.run("virsh destroy web2; virsh undefine web2")


@test("what a stopped virtnestd says of an L1 keeps it out at the destination, until it is allowed there")
def _(pair):
    l1, number = pair.nested_l1()
    pair.target.run("virtnestctl hook enable && systemctl restart libvirtd")
    pair.source.run("systemctl stop virtnestd")
    # The guard is lifted by somebody's hand, as if it had never been set.
    pair.source.virsh("qemu-monitor-command web1 '{\"execute\":\"blockdev-del\","
                      f"\"arguments\":{{\"node-name\":\"{REFUSAL}\"}}}}'")
    text = pair.source.refuses(pair.migrate_command(), "virtnest refuses domain 'web1'")
    contains(text, f"on host '{pair.source.name}'")
    pair.stayed()
    # What follows is about the way in, not about what an L2 makes of it.
    l1.stop_l2(number)
    allow = re.search(r"virtnestctl hook allow [0-9a-f-]{36}", text)[0]
    contains(pair.target.run(allow), "may come in until")
    pair.migrate()
    # It is told to be loaded with an L2, and is held until that is known to be wrong.
    pair.wait_free()
    equal(len(pair.source.journal(f"MESSAGE_ID={MESSAGE_LOADED_WITH_L2}")), 1, "messages of what was loaded")
    pair.source.run("virtnestctl hook disable")
    pair.target.run("systemctl start virtnestd")


# From here on each L0 may be the last time.
@test("control: released by an operator, an L1 migrates with a live L2, which is told; what becomes of it")
def _(pair):
    l1, number = pair.nested_l1()
    source = pair.source
    since = source.run("date +%s.%N").strip()
    source.run("virtnestctl release web1 --for=10min --reason=control")
    pair.migrate()
    vm.wait_for("what the source says of it",
                lambda: source.journal(f"--since=@{since}", f"MESSAGE_ID={MESSAGE_MOVED_WITH_L2}"))
    try:
        diagnose(f"the L1 is {l1.state} afterwards, and its state of L2 is {pair.source.property('web1', 'L2State')}")
        try:
            l1.run("true", 20)
            diagnose(f"the L1 answers, and its L2 came to {l1.stop_l2(number)}")
        except (TimeoutError, vm.CommandFailed) as error:
            diagnose(f"the L1 is lost: {str(error)[-400:]}")
        log = pair.source.try_run("journalctl -b -k -g 'BUG|Oops|WARNING|kvm' -n 10 -o cat --no-pager")["stdout"]
        diagnose("the kernel of its L0 said last: " + log)
    except vm.Dead as error:
        diagnose(f"the L0 is lost: {error}")
    pair.l1.machine = source


@test("when the host is shut down, a guarded L1 is shut down before libvirt-guests suspends the others")
def _(pair):
    l1, _ = pair.nested_l1()
    l0 = pair.source
    other = vm.L1(l0, "web2")
    other.define()
    equal(other.start(), "without", "svm in the other")
    l0.write("/etc/default/libvirt-guests", "ON_SHUTDOWN=suspend\nON_BOOT=ignore\n")
    l0.run("systemctl enable --now virtnest-shutdown libvirt-guests")
    l0.power_off()
    log = (l0.folder / "journal.log").read_text(encoding="utf-8", errors="replace")
    lines = [log.find(text) for text in ("Shutting web1 down", "web1 is off", "Suspending web2")]
    if -1 in lines or lines != sorted(lines):
        raise AssertionError(f"the journal has these in this order: {lines}")
    lacks(log, "Suspending web1", "the journal")


if __name__ == "__main__":
    scenarios.main(Pair)
