#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A save and the first look that finds an L2, at the same moment, again and again. The guests are real and emulated;
that each is KVM's and what KVM tells of it is invented (inject.c). `make soak` does ten times as many rounds."""

import os
import re

import tap
from guarded import NODE, refused
from harness import tag_xml
from tap import equal, test

# As many as are asked for in one call of libvirt's.
GUESTS = 8
TURNS = tap.soaking(13, 125)
# In milliseconds: how long the look of a guest takes, and what virsh waits before it begins to save it. A save that was
# refused came too late to meet the look, and the next one of that guest begins earlier; one that was over came too
# early.
HELD = 400
BEGIN = 200
STEP = 17

# The look of a guest that is armed finds an L2, and begins the save; it ends a while later.
BEFORE = """mv "{inject}/armed-$1" "{inject}/going-$1" 2>/dev/null || exit 0
(
    read -r delay <"{inject}/going-$1"
    sleep "0.$delay"
    virsh -q -c '{uri}' save "$1" "{top}/image-$1" >"{top}/said-$1" 2>&1
    echo $? >"{top}/status-$1.new"
    mv "{top}/status-$1.new" "{top}/status-$1"
) </dev/null >/dev/null 2>&1 &
date +%s%3N >"{inject}/began-$1"
echo 'boolean vcpu.0.guest_mode.cur 1' >"{inject}/statistics-$1.new"
mv "{inject}/statistics-$1.new" "{inject}/statistics-$1"
"""
AFTER = """read -r began <"{inject}/began-$1" && rm "{inject}/began-$1" || exit 0
left=$((began + {held} - $(date +%s%3N)))
[ $left -le 0 ] || sleep "$(printf 0.%03d $left)"
"""


def completions(host, name):
    """When QEMU was through with what it wrote, by its own records, in microseconds."""
    found = re.findall(rf"event MIGRATION at (\d+)\.(\d+) for domain '{name}': {{\"status\":\"completed\"}}",
                       host.read("log/qemu-events.log"))
    return [int(seconds) * 1000000 + int(fraction) for seconds, fraction in found]


def first_seen(host, name):
    """When the daemon was first told of an L2 in this turn, by the record of who told; None if it was not yet."""
    rows = [line.split() for line in host.read("inject/answers").splitlines()]
    return min((int(time) for guest, value, time in rows if guest == name and value == "1"), default=None)


def outcome(host, name, before, log_before):
    """What became of the save. @before: how many the guest has completed until then; @log_before: how much was logged"""
    said = host.read(f"said-{name}")
    if host.read(f"status-{name}").strip() != "0":
        if NODE in said:
            return "refused"
        # The second one is what libvirt makes of it when it has not heard yet that it was.
        if re.search("canceled by client|unexpectedly failed", said):
            return "aborted"
        raise AssertionError(f"the save of {name} failed otherwise: {said}")
    host.wait_for("QEMU's record of the save", lambda: len(completions(host, name)) > before)
    if completions(host, name)[-1] < host.wait_for("the look to end", lambda: first_seen(host, name)):
        return "over"
    # QEMU was through with it before the daemon came to it, and nothing was left to abort. That is told.
    host.wait_for("the late save to be told", lambda: re.search(rf"'{name}' was saved while a guest of its own ran",
                                                                host.daemon.log_text()[log_before:]))
    return "late"


def start_all(host, names):
    processes = []
    for name in names:
        host.write_file(f"inject/statistics-{name}", "boolean vcpu.0.guest_mode.cur 0\n")
        processes.append(host.spawn(["virsh", "-q", "-c", host.uri, "start", name]))
        processes[-1].asked_to_end = True
    for name, process in zip(names, processes):
        equal(process.wait(), 0, f"the status of starting {name}")


@test(f"{GUESTS * TURNS} saves race with the first look that finds an L2, and none slips through untold",
      timeout=tap.soaking(200, 3600), daemon=False)
def _(host):
    host.policy("default", "[Guard]\nOnUnknown=allow\n")
    names = [f"web{number}" for number in range(GUESTS)]
    for name in names:
        host.define(name, metadata=tag_xml(), memory=512)
    host.start_daemon(inject=True)
    events = host.spawn(["virsh", "-c", host.uri, "qemu-monitor-event", "--event", "MIGRATION", "--loop"],
                        log=f"{host.logs}/qemu-events.log")
    events.asked_to_end = True
    for name in names:
        host.wait_state(name, "in-sync")
        host.write_file(f"inject/kvm-{name}", "")
    host.configure("Mode=guard")
    for point, script in (("before", BEFORE), ("after", AFTER)):
        text = script.format(inject=f"{host.top}/inject", uri=host.uri, top=host.top, held=HELD)
        host.inject(f"virDomainListGetStats.{point}", text)
    counts = {"refused": 0, "aborted": 0, "over": 0, "late": 0}
    saved = dict.fromkeys(names, 0)
    delays = {name: BEGIN + STEP * number for number, name in enumerate(names)}
    for _ in range(TURNS):
        host.write_file("inject/answers", "")
        log_before = len(host.daemon.log_text())
        start_all(host, names)
        for name in names:
            host.write_file(f"inject/armed-{name}", f"{delays[name]:03}\n")
        for name in names:
            host.wait_for("the save to end", lambda name=name: host.exists(f"status-{name}"))
            what = outcome(host, name, saved[name], log_before)
            counts[what] += 1
            saved[name] = len(completions(host, name))
            change = {"refused": -STEP, "over": STEP}.get(what, 0)
            delays[name] = min(max(delays[name] + change, 0), 999)
            if what in ("refused", "aborted"):
                host.wait_property(name, {"Guarded": True, "GuardError": "", "L2State": "running"})
                equal(host.virsh("domstate", name).strip(), "running", "the state")
                refused(host, "save", name, f"{host.top}/image-{name}")
                host.virsh("destroy", name)
            host.wait_property(name, {"Running": False, "Guarded": False})
            for file in (f"status-{name}", f"inject/going-{name}"):
                os.unlink(f"{host.top}/{file}")
    missed = host.manager()["MissedJobs"]
    print(f"# {counts}, of which virtnest tells {missed}")
    # Of one that was over the daemon hears of an L2 afterwards, and tells that too if it has not heard of its end.
    equal(counts["late"] <= missed <= counts["late"] + counts["over"], True, "that these are told, and no others")
    for what in ("refused", "aborted", "over"):
        if counts[what] == 0:
            raise AssertionError(f"no save was {what}, so that this was no race: {counts}")


if __name__ == "__main__":
    tap.main()
