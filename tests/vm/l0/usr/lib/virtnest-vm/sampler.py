#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Looks at what KVM itself counts for a guest, four times a second, beside virtnestd and without it.

    sampler.py DOMAIN

Prints "ready", and when the counter has moved, the times in microseconds since 1970 of the look that saw it and of those
that follow.
"""

import glob
import pathlib
import sys
import time

TICK = 0.25
LOOKS = 60


def main():
    pid = pathlib.Path(f"/run/libvirt/qemu/{sys.argv[1]}.pid").read_text(encoding="ascii").strip()
    counter, = (pathlib.Path(path) for path in glob.glob(f"/sys/kernel/debug/kvm/{pid}-*/nested_run"))
    before = counter.read_text(encoding="ascii")
    print("ready", flush=True)
    while counter.read_text(encoding="ascii") == before:
        time.sleep(TICK)
    for _ in range(LOOKS):
        print(time.time_ns() // 1000, flush=True)
        time.sleep(TICK)


main()
