# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs the tests of a file on emulated hosts that all of them share, in order, and reports in TAP.

A file has a class for its hosts: machines is a list of arguments for vm.Machine, and an object of it, made with the release
and the machines, has set_up(), report() and recover(). Each test gets that object. Logs are kept if one fails.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

import image
import vm
from tap import Skip, TimedOut, diagnose, time_limit

# daemon/log.h
MESSAGE_GUARDED = "f251166e3ec649ec82c3241137a26b2c"
MESSAGE_L2_RUNS = "ca575c4c42b944eca795dc15223a436f"
MESSAGE_LOADED_WITH_L2 = "1c47b31a8d2d4ad39a1711bd3fb4dff4"
MESSAGE_MOVED_WITH_L2 = "b7acfe0363a34a7e87150d8fed1ab1b7"
MESSAGE_JOB_ABORTED = "b8357da306384c7d86da1cd0e4df3a68"

# What libvirt says of a guest that is guarded.
REFUSAL = "virtnest-l2-running"
# Less patient than the defaults, so that each test takes some seconds less.
QUIET_AFTER = "[Guard]\nQuietAfter=3s\n"
RELEASE_AFTER = f"{QUIET_AFTER}ReleaseAfter=5s\n"

tests = []


def test(description, timeout=600):
    def register(function):
        tests.append((description, function, timeout))
        return function
    return register


def run_one(number, hosts, description, function, timeout):
    start = time.monotonic()
    try:
        with time_limit(timeout):
            function(hosts)
        result, note = "ok", ""
    except Skip as reason:
        result, note = "ok", f" # SKIP {reason}"
    except (Exception, TimedOut):
        result, note = "not ok", ""
        diagnose(traceback.format_exc())
        # The next test shall not suffer from it.
        with contextlib.suppress(Exception, TimedOut), time_limit(120):
            hosts.report()
            hosts.recover()
    print(f"{result} {number} - {description}{note}")
    diagnose(f"{time.monotonic() - start:.1f} s")
    return result == "ok"


def run_all(chosen, made, folder, hosts_class):
    """How many failed."""
    start = time.monotonic()
    with contextlib.ExitStack() as stack:
        network = f"{folder}/network" if len(hosts_class.machines) > 1 else None
        machines = [stack.enter_context(vm.Machine(made, folder / arguments["name"], network=network, **arguments))
                    for arguments in hosts_class.machines]
        hosts = hosts_class(made.release, machines)
        hosts.set_up()
        diagnose(f"{made.release} is up after {time.monotonic() - start:.1f} s")
        print(f"1..{len(chosen)}")
        failed = sum(not run_one(number, hosts, *entry) for number, entry in enumerate(chosen, 1))
        if failed:
            diagnose(f"{failed} of {len(chosen)} failed")
        for machine in machines:
            with contextlib.suppress(Exception):
                text = machine.run("tail -n 500 /run/l1/*.log /var/log/libvirt/qemu/*.log")
                (machine.folder / "l1.log").write_text(text, encoding="utf-8")
    return failed


def main(hosts_class):
    sys.stdout.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")
    for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGABRT):
        signal.signal(signum, lambda number, _: sys.exit(128 + number))
    options = dict(argument[2:].partition("=")[::2] for argument in sys.argv[1:] if argument.startswith("--"))
    texts = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    chosen = [entry for entry in tests if not texts or any(text in entry[0] for text in texts)]
    if "list" in options:
        for entry in chosen:
            print(entry[0])
        return
    made = None
    reason = image.missing_reason(len(hosts_class.machines))
    if not reason:
        try:
            made = image.Image(options.get("release", "bookworm"))
        except image.Missing as error:
            reason = str(error)
    if reason:
        print(f"1..0 # SKIP {reason}")
        return
    keep = os.environ.get("VIRTNEST_TEST_LOGS")
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"virtnest-vm-{made.release}-", dir=keep or "/var/tmp"))
    failed = True
    try:
        failed = run_all(chosen, made, folder, hosts_class)
    finally:
        if failed or keep:
            diagnose(f"console, journal and logs of L0 and L1: {folder}")
        else:
            shutil.rmtree(folder)
    sys.exit(1 if failed else 0)
