#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A save that begins at about the moment at which an L2 does, again and again. The guests are real and emulated, with
memory that takes a while to write; that they are KVM's and when an L2 runs is invented (l1.py). `make soak` does ten times
as many rounds. `test-save-race.py --bench` prints how long a guest with an L2 is without its guard."""

import os
import pathlib
import random
import re
import statistics
import struct
import sys
import time

import l1
import tap
from guarded import NODE, refused
from harness import TemporaryHost
from tap import equal, test

# So many at a time; the others lose their guards meanwhile, which takes some seconds.
GUESTS = 4
TURNS = tap.soaking(26, 250)
# A save of so much takes a few times as long as an abort does.
MEMORY = 512 << 20
# In milliseconds: between the start of an L2 and that of the save. Without a word of QEMU, an L2 is seen after one look
# at the latest, which is 200 ms.
LATEST = 260


def fill_disk(host, name):
    """A disk whose boot sector writes into all memory above 1 MiB, so that there is something to save. It reaches that
    with segments as in protected mode, and halts."""
    origin, bottom = 0x7c00, 1 << 20
    gdt = struct.pack("<QQ", 0, 0x00cf92000000ffff)
    code = (b"\xfa\x31\xc0\x8e\xd8"                          # cli; xor ax, ax; mov ds, ax
            b"\x0f\x01\x16" + struct.pack("<H", origin + 80) +  # lgdt
            b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0"              # mov eax, cr0; or al, 1; mov cr0, eax
            b"\xbb\x08\x00\x8e\xc3"                          # mov bx, 8; mov es, bx
            b"\x24\xfe\x0f\x22\xc0"                          # and al, 0xfe; mov cr0, eax
            b"\x66\xbf" + struct.pack("<I", bottom) +        # mov edi
            b"\x66\xb9" + struct.pack("<I", (MEMORY - bottom) // 4) +  # mov ecx
            b"\x66\xb8\x01\x01\x01\x01"                      # mov eax
            b"\xfc\xf3\x67\x66\xab"                          # cld; rep stosd
            b"\xf4\xeb\xfd")                                 # hlt; jmp to that
    sector = code.ljust(80, b"\0") + struct.pack("<HI", len(gdt) - 1, origin + 96)
    sector = sector.ljust(96, b"\0") + gdt
    path = pathlib.Path(host.top, f"disk-{name}")
    path.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return path


def is_full(host, name):
    resident = re.search(r"^rss (\d+)", host.virsh("dommemstat", name), re.MULTILINE)
    return resident is not None and int(resident[1]) << 10 > MEMORY


def start_l1(host, name):
    disk = (f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{fill_disk(host, name)}'/>"
            "<target dev='vda' bus='virtio'/></disk>")
    guest = l1.L1(host, name, memory=MEMORY >> 20, devices=disk)
    host.wait_for(f"the memory of {name} to be full", lambda: is_full(host, name))
    return guest


def outcome(host, name, process):
    """What became of the save."""
    status, said = process.wait(), process.log_text()
    if status != 0 and NODE in said:
        return "refused"
    # The second one is what libvirt makes of it when it has not heard yet that it was.
    if status != 0 and re.search("canceled by client|unexpectedly failed", said):
        return "aborted"
    raise AssertionError(f"the save of {name} ended with status {status}: {said}\n{host.daemon.log_text()[-2000:]}")


@test(f"{GUESTS * TURNS} saves race with an L2 that has just begun, and each is refused or aborted",
      timeout=tap.soaking(200, 3600), daemon=False)
def _(host):
    l1.start_daemon(host)
    groups = [[start_l1(host, f"web{number}") for number in range(first, first + GUESTS)] for first in (0, GUESTS)]
    counts = {"refused": 0, "aborted": 0}
    for turn in range(TURNS):
        guests, saves = groups[turn % 2], []
        for guest in guests:
            host.wait_property(guest.name, {"L2State": "none", "Guarded": False})
        for guest in guests:
            guest.run_l2()
            delay = random.randrange(LATEST)
            saves.append(host.spawn(["sh", "-c", f'sleep 0.{delay:03}; exec virsh -q -c "$1" save "$2" "$3"', "sh",
                                     host.uri, guest.name, f"{host.top}/image-{guest.name}"],
                                    log=f"{host.logs}/save-{guest.name}-{turn}.log"))
            saves[-1].asked_to_end = True
        for guest, save in zip(guests, saves):
            counts[outcome(host, guest.name, save)] += 1
            host.wait_property(guest.name, {"Guarded": True, "GuardError": "", "L2State": "running"})
            equal(host.virsh("domstate", guest.name).strip(), "running", "the state")
            refused(host, "save", guest.name, f"{host.top}/image-{guest.name}")
            guest.stop_l2()
    manager = host.manager()
    print(f"# {counts}, of which virtnest counts {manager['AbortedJobs']} as aborted")
    equal(manager["MissedJobs"], 0, "the jobs that came through")
    equal(manager["AbortedJobs"], counts["aborted"], "the jobs that were aborted")
    for what, n in counts.items():
        if n == 0:
            raise AssertionError(f"no save was {what}, so that this was no race")


@test("a save that is over before the guest can be asked for its job is told and counted", daemon=False)
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    os.mkfifo(f"{host.top}/saved")
    host.inject("virDomainGetJobStats.before", f"cat {host.top}/saved")
    guest.run_l2()
    host.wait_property("web1", {"L2State": "running"})
    host.virsh("save", "web1", f"{host.top}/image")
    pathlib.Path(f"{host.top}/saved").write_text("")
    host.inject_nothing("virDomainGetJobStats.before")
    host.wait_log("<3>domain 'web1' was saved while a guest of its own ran, which could not be told in time to prevent it")
    host.wait_property("web1", {"Running": False, "Guarded": False})
    manager = host.manager()
    equal((manager["MissedJobs"], manager["AbortedJobs"]), (1, 0), "the jobs that were missed, and aborted")


def changed_at(host, name, value):
    """When virtnestd last said that this is how it is; None: it did not."""
    times = [signal["timestamp-realtime"] for signal in host.signals if signal["member"] == "PropertiesChanged" and
             signal["payload"]["data"][1].get(name, {}).get("data") == value]
    return times[-1] / 1e6 if times else None


def bench():
    with TemporaryHost() as host:
        l1.start_daemon(host)
        guest = l1.L1(host, "web1")
        gaps, looks = [], []
        for _ in range(31):
            began = time.time()
            guest.run_l2()
            host.wait_property("web1", {"Guarded": True})
            seen, guarded = changed_at(host, "L2State", "running"), changed_at(host, "Guarded", True)
            looks.append(seen - began)
            gaps.append(guarded - began)
            guest.stop_l2()
            host.wait_property("web1", {"Guarded": False})
            # Not at the same moment between two looks each time.
            time.sleep(random.random() / 5)
        print(f"(k) from the first nested entry to the blocker in place: {statistics.median(gaps) * 1e3:.0f} ms median, "
              f"{max(gaps) * 1e3:.0f} ms worst of {len(gaps)}; until the look that sees it: "
              f"{statistics.median(looks) * 1e3:.0f} ms, {max(looks) * 1e3:.0f} ms (a look each 200 ms)")


if __name__ == "__main__":
    if "--bench" in sys.argv:
        bench()
    else:
        tap.main()
