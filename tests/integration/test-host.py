#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whether the host is ready for nesting: org.virtnest1.Host, and the journal at start."""

import pathlib

import tap
from harness import HOST, PROPERTIES, ROOT_PATH, unwrap
from tap import contains, equal, lacks, test


def properties(host):
    return host.properties(ROOT_PATH, HOST)


def checks(host):
    """{name: (verdict, found, why, what to do)}"""
    return {row[0]: tuple(row[1:]) for row in properties(host)["Checks"]}


def wait_host(host, wanted):
    return host.wait_for(f"the host's {wanted}", lambda: all(properties(host)[n] == v for n, v in wanted.items()))


def host_changes(host):
    """What PropertiesChanged told of the host, one dict for each signal."""
    found = []
    for message in host.signals:
        if message.get("member") == "PropertiesChanged" and message.get("path") == ROOT_PATH:
            interface, changed, _ = unwrap(message["payload"])
            if interface == HOST:
                found.append(changed)
    return found


@test("a host that is ready")
def _(host):
    seen = properties(host)
    equal({name: seen[name] for name in ("Vendor", "Module", "ModuleLoaded", "Nested", "NestedAtBoot", "RebootRequired",
                                         "Hypervisor")},
          {"Vendor": "amd", "Module": "kvm_amd", "ModuleLoaded": True, "Nested": "yes", "NestedAtBoot": "yes",
           "RebootRequired": False, "Hypervisor": "none"}, "the host")
    rows = checks(host)
    for name in ("cpu", "module", "device", "nested", "nested-at-boot"):
        equal(rows[name][0], "pass", f"the verdict of {name}")
        equal(rows[name][3], "", f"what to do about {name}")
        assert rows[name][1] and rows[name][2], f"{name}: what was found, and why it matters"
    lacks(host.daemon.log_text(), "this host, nested", "the log")


@test("a host with nesting off: the journal says so at start, with what to do", daemon=False)
def _(host):
    host.set_host_facts("intel", "N")
    host.start_daemon()
    seen = properties(host)
    equal((seen["Vendor"], seen["Nested"], seen["Verdict"]), ("intel", "no", "fail"), "the host")
    problem = [text for text in seen["Problems"] if text.startswith("nested: ")]
    equal(len(problem), 1, "problems of nested")
    contains(problem[0], "virtnestctl host enable")
    contains(host.daemon.log_text(), f"<4>this host, {problem[0]}", "the log")
    equal(host.daemon.log_text().count("this host, nested:"), 1, "the messages about nested")


@test("what changes is told, and logged once")
def _(host):
    host.wait_for("libvirt's answer", lambda: "libvirt" in checks(host))
    host.write("etc/modprobe.d/zz.conf", "options kvm-amd nested=0\n")
    host.call(ROOT_PATH, "org.virtnest1.Manager", "Reload", "t", "0")
    wait_host(host, {"Nested": "yes", "NestedAtBoot": "no", "RebootRequired": True})
    host.wait_for("the signal", lambda: any(change.get("RebootRequired") is True for change in host_changes(host)))
    changed = [change for change in host_changes(host) if "RebootRequired" in change][0]
    equal(sorted(changed), ["Checks", "NestedAtBoot", "Problems", "RebootRequired"], "what changed")
    before = len(host_changes(host))
    for _ in range(3):
        host.call(ROOT_PATH, "org.virtnest1.Manager", "Reload", "t", "0")
    host.settle()
    equal(len(host_changes(host)), before, "the signals")
    equal(host.daemon.log_text().count("this host, nested-at-boot: /etc/modprobe.d/zz.conf:1"), 1, "the messages")
    host.remove("etc/modprobe.d/zz.conf")
    host.call(ROOT_PATH, "org.virtnest1.Manager", "Reload", "t", "0")
    wait_host(host, {"NestedAtBoot": "yes", "RebootRequired": False})
    contains(host.daemon.log_text(), "this host, nested-at-boot: nothing sets it", "the log")


@test("a module that is loaded again shows without a reload")
def _(host):
    equal(properties(host)["Nested"], "yes", "Nested")
    host.set_host_facts("amd", "0")
    wait_host(host, {"Nested": "no", "RebootRequired": True, "Verdict": "fail"})
    host.wait_log("this host, nested: kvm_amd has nested=0")
    host.set_host_facts("amd", None)
    wait_host(host, {"Nested": "unknown", "ModuleLoaded": False})
    host.wait_log("this host, module: kvm_amd is not loaded")
    host.set_host_facts("amd", "0")
    host.wait_for("a second message about nested", lambda: properties(host)["ModuleLoaded"]
                  and host.daemon.log_text().count("this host, nested: kvm_amd has nested=0") == 2)


@test("a module that comes is told to those who listen, and libvirt is asked again", daemon=False)
def _(host):
    asked = "asking libvirt what it offers"
    host.set_host_facts("amd", None)
    host.start_daemon()
    host.wait_log("this host, cpu-modes: ")
    host.call("/org/freedesktop/LogControl1", PROPERTIES, "Set", "ssv", "org.freedesktop.LogControl1", "LogLevel", "s",
              "debug")
    host.set_host_facts("amd", "1")
    # Nobody asks for a property meanwhile, which would be a look by itself.
    host.wait_for("the signal", lambda: any(change.get("Nested") == "yes" for change in host_changes(host)), timeout=60)
    host.wait_for("libvirt to be asked", lambda: asked in host.daemon.log_text())


@test("libvirt is asked what it offers, each time that it is back")
def _(host):
    host.wait_for("libvirt's answer", lambda: "libvirt" in checks(host))
    rows = checks(host)
    equal(rows["libvirt"][0], "pass", "the verdict of libvirt")
    contains(rows["libvirt"][1], host.manager()["LibvirtVersion"])
    contains(rows["platform"][1], "on AMD")
    # The test's libvirtd sees no /dev/kvm.
    equal(rows["cpu-modes"][0], "fail", "the verdict of cpu-modes")
    host.restart_libvirtd()
    host.wait_manager(Connected=True)
    equal(checks(host)["libvirt"][0], "pass", "the verdict after a restart")


@test("of the platform the host's check and PlatformReason say the same", daemon=False)
def _(host):
    def judge(cpu, verdict, reason, *, osrelease=True):
        host.set_host_facts(cpu, "1")
        if not osrelease:
            host.remove("proc/sys/kernel/osrelease")
        host.start_daemon()
        host.wait_for("libvirt's answer", lambda: "libvirt" in checks(host))
        seen = host.properties(ROOT_PATH, HOST)
        equal(seen["Platform"], verdict, f"Platform with {cpu}")
        contains(seen["PlatformReason"], reason)
        contains(checks(host)["platform"][1], seen["PlatformReason"])
        host.stop_daemon()

    judge("amd", "unsafe", "on AMD to move a guest")
    judge("intel", "safe", "on Intel it is documented to work")
    judge("amd", "unsafe", "on AMD to move a guest", osrelease=False)
    judge("intel", "unknown", "depends on the version of Linux", osrelease=False)


@test("without libvirt the host is judged all the same", libvirtd=False)
def _(host):
    equal(properties(host)["Nested"], "yes", "Nested")
    lacks(list(checks(host)), "libvirt", "the checks")


@test("nothing to read, and garbage", daemon=False)
def _(host):
    host.remove_folder("sys")
    host.remove("proc/cpuinfo")
    host.start_daemon()
    equal((properties(host)["Nested"], properties(host)["Verdict"]), ("unknown", "fail"), "the host")
    host.stop_daemon()
    host.set_host_facts("amd", "\u2028")
    pathlib.Path(host.root, "sys/module/kvm_amd/parameters/nested").write_bytes(b"\xff\n")
    host.write("etc/modprobe.d/x.conf", "")
    pathlib.Path(host.root, "etc/modprobe.d/x.conf").write_bytes(b"options kvm_amd nested=\xff\n\\")
    host.start_daemon()
    equal((properties(host)["Nested"], properties(host)["NestedAtBoot"]), ("unknown", "unknown"), "the host")


if __name__ == "__main__":
    tap.main()
