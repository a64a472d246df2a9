#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The D-Bus interface, as busctl sees it."""

import json
import uuid as uuid_module
from xml.etree import ElementTree

import tap
from harness import DOMAIN, HOST, MANAGER, NAME, PROPERTIES, ROOT_PATH, SOURCE, find_daemon, tag_xml, unwrap
from tap import contains, equal, fails, lacks, test

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"

MANAGER_PROPERTIES = {
    "Version": "s", "Mode": "s", "WritesDisabled": "b", "Connected": "b", "URI": "s", "LibvirtVersion": "s",
    "ConnectionError": "s", "Synced": "b", "ConfigurationErrors": "as", "DomainsTotal": "u", "DomainsTagged": "u",
    "Rewrites": "t", "DomainsGuarded": "u", "AbortedJobs": "t", "MissedJobs": "t",
    "HypervisorVersion": "s", "PolicyGeneration": "t", "PolicyErrors": "as", "DomainsRunning": "u",
    "MetricsError": "s",
}
HOST_PROPERTIES = {
    "Architecture": "s", "Vendor": "s", "Hypervisor": "s", "Module": "s", "ModuleLoaded": "b", "Nested": "s",
    "NestedAtBoot": "s", "RebootRequired": "b", "NestingLevel": "u", "Platform": "s", "PlatformReason": "s", "PlatformSource": "s",
    "Verdict": "s", "Checks": "a(sssss)", "Problems": "as",
}
DOMAIN_PROPERTIES = {
    "Name": "s", "UUID": "s", "Tagged": "b", "Policy": "s", "PolicySource": "s", "State": "s", "StateReason": "s",
    "Running": "b", "Persistent": "b", "CPUMode": "s", "WantedCPUMode": "s", "Feature": "s", "Owner": "s",
    "Conflicts": "as", "RewriteTime": "t", "PolicyReason": "s", "Skipped": "as", "BlockWhen": "s", "QuietAfterUSec": "t",
    "ReleaseAfterUSec": "t", "OnUnknown": "s", "Platforms": "s", "L2State": "s", "L2Reason": "s", "L2Source": "s",
    "L2Since": "t", "LastL2Activity": "t", "NestedRuns": "t", "Exposed": "s", "Guarded": "b", "GuardReason": "s",
    "GuardError": "s", "MigrationSafe": "b", "Blockers": "as", "LoadedL2Since": "t", "ReleasedUntil": "t", "ReleasedBy": "s", "ReleaseReason": "s",
}


def members(host, path, interface):
    """{(kind, name): (signature, reply)} as `busctl introspect` shows them."""
    rows = {}
    for line in host.busctl("introspect", NAME, path, interface).splitlines():
        fields = line.split()
        if fields[0].startswith("."):
            rows[fields[1], fields[0][1:]] = (fields[2], fields[3])
    return rows


def interface(text, name):
    """The members of an interface in an introspection document, to be compared."""
    found = {}
    for member in ElementTree.fromstring(text).find(f"interface[@name='{name}']"):
        arguments = [(a.get("name"), a.get("type"), a.get("direction")) for a in member.iter("arg")]
        annotations = {a.get("name"): a.get("value") for a in member.iter("annotation")}
        found[member.tag, member.get("name")] = (member.get("type"), member.get("access"), arguments, annotations)
    return found


def wait_signal(host, member, matches):
    def find():
        for message in host.signals:
            if message.get("member") == member and matches(message):
                return message
        return None

    return unwrap(host.wait_for(f"the signal {member}", find)["payload"])


@test("busctl tree shows the root object and one object per domain")
def _(host):
    for name in ("web1", "web2"):
        host.define(name)
        host.wait_state(name, "untagged")
    tree = host.busctl("tree", "--list", NAME).split()
    contains(tree, ROOT_PATH)
    for name in ("web1", "web2"):
        contains(tree, host.domain_path(name))


@test("busctl introspect shows what is documented")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")
    seen = members(host, ROOT_PATH, MANAGER)
    for name, signature in MANAGER_PROPERTIES.items():
        equal(seen.get(("property", name), ("none",))[0], signature, f"the signature of {name}")
    for name, (arguments, reply) in {"GetDomainByName": ("s", "o"), "GetDomainByUUID": ("s", "o"),
                                     "ListDomains": ("-", "a(ssos)"), "ListPolicies": ("-", "a(sssu)"),
                                     "GetMetrics": ("s", "s"),
                                     "Reload": ("t", "-"), "ReleaseAll": ("tst", "uas"), "Sync": ("t", "-")}.items():
        equal(seen.get(("method", name)), (arguments, reply), name)
    seen = members(host, ROOT_PATH, HOST)
    for name, signature in HOST_PROPERTIES.items():
        equal(seen.get(("property", name), ("none",))[0], signature, f"the signature of {name}")
    seen = members(host, host.domain_path("web1"), DOMAIN)
    for name, signature in DOMAIN_PROPERTIES.items():
        equal(seen.get(("property", name), ("none",))[0], signature, f"the signature of {name}")
    contains(host.busctl("introspect", NAME, ROOT_PATH), OBJECT_MANAGER)


@test("GetAll gives each property with its type")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    for path, interface, properties in ((ROOT_PATH, MANAGER, MANAGER_PROPERTIES),
                                        (ROOT_PATH, HOST, HOST_PROPERTIES),
                                        (host.domain_path("web1"), DOMAIN, DOMAIN_PROPERTIES)):
        reply = json.loads(host.busctl("call", NAME, path, PROPERTIES, "GetAll", "s", interface))
        seen = {name: value["type"] for name, value in reply["data"][0].items()}
        equal({name: seen.get(name) for name in properties}, properties, "the types")
        for name, signature in properties.items():
            one = json.loads(host.busctl("get-property", NAME, path, interface, name))
            equal(one, {"type": signature, "data": reply["data"][0][name]["data"]}, name)


@test("ListDomains, GetDomainByName and GetDomainByUUID agree")
def _(host):
    uuids = {name: host.define(name) for name in ("web1", "web2", "with space")}
    for name in uuids:
        host.wait_state(name, "untagged")
    rows = host.call(ROOT_PATH, MANAGER, "ListDomains")[0]
    equal({row[1]: row[0] for row in rows}, uuids, "names and UUIDs")
    for uuid, name, path, state in rows:
        equal(host.domain_path(name), path, "GetDomainByName")
        equal(host.call(ROOT_PATH, MANAGER, "GetDomainByUUID", "s", uuid)[0], path, "GetDomainByUUID")
        equal(state, "untagged", "state")
        assert path.startswith(f"{ROOT_PATH}/domain/"), path
        equal(host.domain(name)["UUID"], uuid, "UUID")


@test("what does not exist is refused with words, and nothing can be set")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")
    path = host.domain_path("web1")
    fails(lambda: host.domain_path("nobody"), "nobody")
    fails(lambda: host.call(ROOT_PATH, MANAGER, "GetDomainByUUID", "s", str(uuid_module.uuid4())))
    fails(lambda: host.call(ROOT_PATH, MANAGER, "GetDomainByUUID", "s", "not-a-uuid"), "not-a-uuid")
    fails(lambda: host.properties(f"{ROOT_PATH}/domain/nothing", DOMAIN))
    fails(lambda: host.properties(path, "org.example.Nothing"))
    fails(lambda: host.busctl("set-property", NAME, path, DOMAIN, "State", "s", "in-sync"))
    fails(lambda: host.busctl("set-property", NAME, ROOT_PATH, MANAGER, "Mode", "s", "observe"))
    fails(lambda: host.call(path, DOMAIN, "Release", "tst", "1000000", "x" * 10000, "0"), "may have 8192 bytes")
    fails(lambda: host.call(f"/{'x' * 10000}", PROPERTIES, "GetAll", "s", DOMAIN), "may have 8192 bytes")
    equal(host.domain("web1")["State"], "untagged", "State")


@test("GetManagedObjects has every domain")
def _(host):
    for name in ("web1", "web2"):
        host.define(name)
        host.wait_state(name, "untagged")
    objects = host.call(ROOT_PATH, OBJECT_MANAGER, "GetManagedObjects")[0]
    for name in ("web1", "web2"):
        equal(objects[host.domain_path(name)][DOMAIN], host.domain(name), f"the object of {name}")


@test("ObjectManager's signals announce domains that come and go")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")
    path = host.domain_path("web1")
    added = wait_signal(host, "InterfacesAdded", lambda m: unwrap(m["payload"])[0] == path)
    equal(added[1][DOMAIN]["Name"], "web1", "Name")
    host.virsh("undefine", "web1")
    removed = wait_signal(host, "InterfacesRemoved", lambda m: unwrap(m["payload"])[0] == path)
    contains(removed[1], DOMAIN)
    fails(lambda: host.properties(path, DOMAIN))


@test("PropertiesChanged tells of a domain's new state, with the value")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")
    path = host.domain_path("web1")
    host.tag("web1")
    wait_signal(host, "PropertiesChanged",
                lambda m: m["path"] == path and unwrap(m["payload"])[1].get("State") == "in-sync")
    host.write("etc/virtnest/disable", "")
    wait_signal(host, "PropertiesChanged",
                lambda m: m["path"] == ROOT_PATH and unwrap(m["payload"])[1].get("WritesDisabled") is True)
    host.kill_libvirtd()
    wait_signal(host, "PropertiesChanged",
                lambda m: m["path"] == ROOT_PATH and unwrap(m["payload"])[1].get("Connected") is False)


@test("no signal where nothing changed")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    path = host.domain_path("web1")
    host.settle()
    before = len([m for m in host.signals if m.get("path") == path])
    for number in range(3):
        host.virsh("desc", "web1", "--config", f"edit {number}")
    host.settle()
    equal(len([m for m in host.signals if m.get("path") == path]), before, "the number of signals")


@test("a second virtnestd finds the name taken, says so and fails")
def _(host):
    second = host.spawn([find_daemon(), "--uri=qemu:///system", f"--bus={host.bus_address}", f"--root={host.root}"],
                        log=f"{host.logs}/second.log")
    status = second.wait()
    assert status > 0, f"status {status}"
    contains(second.log_text(), NAME, "the log")
    lacks(second.log_text(), "Sanitizer", "the log")
    equal(host.manager()["Connected"], True, "Connected of the first")


@test("no bus: virtnestd says so and fails", daemon=False, libvirtd=False)
def _(host):
    daemon = host.spawn([find_daemon(), "--bus=unix:path=/nonexistent", f"--root={host.root}"])
    assert daemon.wait() > 0, f"status {daemon.status}"
    contains(daemon.log_text(), "/nonexistent", "the log")


@test("--bus=system is the system bus", daemon=False)
def _(host):
    host.start_daemon(bus="system")
    host.wait_manager(Connected=True)


@test("when the bus goes away, virtnestd ends and does not linger unseen")
def _(host):
    host.bus.kill()
    host.daemon.asked_to_end = True
    assert host.daemon.wait() != 0, "status 0, which systemd would not restart"


@test("other users may read, and ask to change something, and no more, under the bus policy that is shipped")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")

    def as_nobody(*arguments):
        process = host.spawn(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "--system",
                              *arguments], log=f"{host.logs}/nobody-{arguments[0]}.log")
        return process.wait(), process.log_text().strip()

    equal(as_nobody("get-property", NAME, ROOT_PATH, MANAGER, "Connected"), (0, "b true"), "reading")
    status, output = as_nobody("call", NAME, ROOT_PATH, MANAGER, "GetDomainByName", "s", "web1")
    equal(status, 0, f"GetDomainByName ({output})")
    status, output = as_nobody("set-property", NAME, ROOT_PATH, MANAGER, "Mode", "s", "observe")
    assert status != 0, "nobody may set a property"
    contains(output, "denied", "the refusal")
    # Those that change something come through as far as to the check of their flags; see test-polkit.py for the rest.
    for where, arguments, refusal in ((MANAGER, ("Reload", "t", "1"), "no flags are known"),
                                      (DOMAIN, ("Release", "tst", "1000000", "", "1"), "no flags are known"),
                                      (DOMAIN, ("Revoke", "t", "1"), "no flags are known"),
                                      (MANAGER, ("ReloadAll", "t", "1"), "denied"),
                                      (DOMAIN, ("Reload", "t", "1"), "denied")):
        path = ROOT_PATH if where == MANAGER else host.domain_path("web1")
        status, output = as_nobody("call", NAME, path, where, *arguments)
        assert status != 0, f"nobody may call {arguments[0]}"
        contains(output.splitlines()[-1], refusal, f"the refusal of {arguments[0]}")


@test("the introspection data that is installed is what the daemon says")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")
    path = host.domain_path("web1")
    for name, where in ((MANAGER, ROOT_PATH), (HOST, ROOT_PATH), (DOMAIN, path)):
        installed = (SOURCE / "policy" / f"{name}.xml").read_text()
        live = host.busctl("introspect", "--xml-interface", NAME, where)
        equal(interface(live, name), interface(installed, name), name)


@test("the watchdog is told that the main loop runs; stopping is announced", daemon=False)
def _(host):
    host.start_daemon(env={"WATCHDOG_USEC": "200000"})
    daemon = host.daemon
    host.wait_for("two pings", lambda: daemon.notifications.count("WATCHDOG=1") >= 2)
    assert any(line.startswith("STATUS=") for line in daemon.notifications), "no STATUS="
    host.stop_daemon()
    host.wait_for("STOPPING=1", lambda: "STOPPING=1" in daemon.notifications)


@test("--version and --help; what is not an option is refused", daemon=False, libvirtd=False, bus=False)
def _(host):
    for option, text in (("--version", "virtnest"), ("--help", "--root=")):
        process = host.spawn([find_daemon(), option], log=f"{host.logs}/{option}.log")
        equal(process.wait(), 0, f"the status of {option}")
        contains(process.log_text(), text)
    process = host.spawn([find_daemon(), "--nonsense"], log=f"{host.logs}/nonsense.log")
    assert process.wait() > 0, "status 0"
    contains(process.log_text(), "--nonsense")


@test("how much is logged, and where to, can be changed by root", config="Mode=enforce")
def _(host):
    path, interface = "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1"

    def get(name):
        return json.loads(host.busctl("get-property", NAME, path, interface, name))["data"]

    def put(name, value):
        host.busctl("set-property", NAME, path, interface, name, "s", value)

    equal([get(name) for name in ("LogLevel", "LogTarget", "SyslogIdentifier")], ["info", "auto", "virtnestd"], "the defaults")
    host.define("web1")
    host.wait_state("web1", "untagged")
    lacks(host.daemon.log_text(), "<7>", "the log")
    put("LogLevel", "debug")
    host.virsh("desc", "web1", "--config", "an edit")
    host.wait_log(r"<7>domain 'web1' is looked at")
    put("LogLevel", "err")
    equal(get("LogLevel"), "err", "LogLevel")
    host.tag("web1")
    host.wait_state("web1", "in-sync")
    lacks(host.daemon.log_text(), "done:", "the log")
    put("LogLevel", "info")
    put("LogTarget", "null")
    before = host.daemon.log_text()
    host.untag("web1")
    host.wait_state("web1", "untagged")
    equal(host.daemon.log_text(), before, "the log")
    put("LogTarget", "console")
    host.tag("web1")
    host.wait_log(r"<5>domain 'web1': done:")
    fails(lambda: put("LogLevel", "loud"), "emerg, alert, crit, err, warning, notice, info or debug")
    fails(lambda: put("LogTarget", "kmsg"), "auto, journal, console or null")
    fails(lambda: put("SyslogIdentifier", "x"))
    process = host.spawn(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "--system",
                          "get-property", NAME, path, interface, "LogLevel"], log=f"{host.logs}/nobody-get.log")
    equal((process.wait(), process.log_text().strip()), (0, 's "info"'), "what nobody reads")
    process = host.spawn(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "--system",
                          "set-property", NAME, path, interface, "LogLevel", "s", "debug"], log=f"{host.logs}/nobody-set.log")
    assert process.wait() != 0, "nobody may set LogLevel"
    equal(get("LogLevel"), "info", "LogLevel")


@test("policies with who has them, and how often they came into force")
def _(host):
    host.define("web1", metadata=tag_xml("keep"))
    host.wait_state("web1", "in-sync")
    policies = {name: (mode, path, users) for name, mode, path, users in host.call(ROOT_PATH, MANAGER, "ListPolicies")[0]}
    equal(policies["keep"][::2], ("keep", 1), "the policy keep")
    equal(policies["default"][::2], ("host-model", 0), "the policy default")
    contains(policies["keep"][1], "/usr/lib/virtnest/policy.d/keep.policy", "its file")
    generation = host.manager()["PolicyGeneration"]
    host.policy("bad", "[CPU]\nMode=best\n")
    host.write("etc/virtnest/virtnest.conf", "[Manager]\nMode=sometimes\n")
    fails(lambda: host.call(ROOT_PATH, MANAGER, "Reload", "t", "0"), "bad.policy:2")
    manager = host.manager()
    equal(len(manager["PolicyErrors"]), 1, "PolicyErrors")
    equal(len(manager["ConfigurationErrors"]), 2, "ConfigurationErrors")
    equal(manager["PolicyGeneration"], generation, "PolicyGeneration")
    host.remove("etc/virtnest/policy.d/bad.policy")
    host.remove("etc/virtnest/virtnest.conf")
    host.wait_manager(ConfigurationErrors=[], PolicyErrors=[])
    equal(host.manager()["PolicyGeneration"] > generation, True, "that PolicyGeneration grew")


@test("Sync and Reconcile return when it is done, and say why not")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    # A change that sends no event.
    disk = "<disk type='file'><source file='/nonexistent'/><target dev='vdb' bus='virtio'/></disk>"
    host.write_file("disk.xml", disk)
    host.virsh("attach-device", "web1", f"{host.top}/disk.xml", "--config")
    path = host.domain_path("web1")
    host.call(path, DOMAIN, "Reconcile", "t", "0")
    host.call(ROOT_PATH, MANAGER, "Sync", "t", "0")
    equal(host.manager()["Synced"], True, "Synced")
    equal(host.domain("web1")["State"], "in-sync", "State")
    fails(lambda: host.call(path, DOMAIN, "Reconcile", "t", "1"), "no flags are known")
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    fails(lambda: host.call(ROOT_PATH, MANAGER, "Sync", "t", "0"), "there is no connection to libvirt")
    fails(lambda: host.call(path, DOMAIN, "Reconcile", "t", "0"), "there is no connection to libvirt")


@test("what keeps a domain from being moved, in words, and all of them released at once")
def _(host):
    host.policy("default", "[CPU]\nMode=keep\n[Guard]\nBlockWhen=always\n")
    for name in ("web1", "web2", "off"):
        host.define(name, metadata=tag_xml())
        host.wait_state(name, "in-sync")
    host.define("other")
    for name in ("web1", "web2", "other"):
        host.virsh("start", name)
    for name in ("web1", "web2"):
        seen = host.wait_property(name, {"Guarded": True, "MigrationSafe": False})
        equal(seen["Blockers"], ["QEMU refuses it: BlockWhen=always"], "Blockers")
    for name in ("off", "other"):
        seen = host.domain(name)
        equal((seen["MigrationSafe"], seen["Blockers"]), (True, []), f"MigrationSafe and Blockers of {name}")
    equal(host.manager()["DomainsRunning"], 3, "DomainsRunning")
    equal(host.call(ROOT_PATH, MANAGER, "ReleaseAll", "tst", "60000000", "fire", "0"), [2, []], "the answer")
    for name in ("web1", "web2"):
        seen = host.domain(name)
        equal((seen["Guarded"], seen["MigrationSafe"], seen["ReleaseReason"]), (False, True, "fire"), name)
    equal(host.call(ROOT_PATH, MANAGER, "ReleaseAll", "tst", "60000000", "", "0"), [0, []], "the answer with nobody guarded")
    for name in ("web1", "web2"):
        host.call(host.domain_path(name), DOMAIN, "Revoke", "t", "0")
        # The answer comes when it is so.
        equal(host.domain(name)["Guarded"], True, "Guarded")
    for usec, reason, part in ((0, "", "ReleaseMax="), (86400000000000, "", "ReleaseMax="), (1000000, "x" * 1025, "1024 bytes")):
        fails(lambda: host.call(ROOT_PATH, MANAGER, "ReleaseAll", "tst", str(usec), reason, "0"), part)
    # Without a CPU of its own nobody can tell what it has, which is to be told all the same.
    host.virsh("start", "off")
    host.wait_property("off", {"Running": True, "Guarded": True})


def start_guarded(host):
    """A guest that is guarded whatever it runs. Returns its object."""
    host.policy("default", "[CPU]\nMode=keep\n[Guard]\nBlockWhen=always\n")
    host.define("web1", metadata=tag_xml())
    host.virsh("start", "web1")
    host.wait_property("web1", {"Guarded": True})
    return host.domain_path("web1")


@test("without libvirt nothing is half done, and nobody waits for it")
def _(host):
    path = start_guarded(host)
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    for where, interface, call in ((path, DOMAIN, ("Release", "tst", "60000000", "", "0")),
                                   (ROOT_PATH, MANAGER, ("ReleaseAll", "tst", "60000000", "", "0")),
                                   (ROOT_PATH, MANAGER, ("GetDomainByName", "s", "web2"))):
        contains(fails(lambda: host.call(where, interface, *call)), "there is no connection to libvirt", call[0])
    equal(host.call(ROOT_PATH, MANAGER, "GetDomainByName", "s", "web1"), [path], "the object of what is known")
    # It has no other name, though there are more that read so.
    fails(lambda: host.properties(f"{path}_00zzz", DOMAIN), "Unknown object")
    equal(host.domain("web1")["ReleasedUntil"], 0, "ReleasedUntil")
    host.start_libvirtd()
    host.wait_manager(Connected=True, Synced=True)
    equal(host.call(ROOT_PATH, MANAGER, "ReleaseAll", "tst", "60000000", "", "0"), [1, []], "the answer")


@test("the guard of a guest whose QEMU is stuck: each who waits for it is told", timeout=90)
def _(host):
    path = start_guarded(host)
    pid = host.read("libvirt/run/qemu/web1.pid").strip()
    equal(host.spawn(["kill", "-STOP", pid]).wait(), 0, "kill's status")
    try:
        for _ in range(2):
            problem = fails(lambda: host.call(path, DOMAIN, "Release", "tst", "60000000", "", "0"))
            contains(problem, "domain 'web1' is released, but its guard is not lifted yet", "the problem")
        contains(host.domain("web1")["Blockers"], "QEMU refuses it until its guard is lifted, which is to be done", "Blockers")
        released, problems = host.call(ROOT_PATH, MANAGER, "ReleaseAll", "tst", "60000000", "", "0")
        equal((released, len(problems)), (1, 1), "the answer")
        contains(problems[0], "domain 'web1' is released, but", "the problem")
        # One that has just been started cannot ask whether there is a guard, and passes over nobody.
        host.restart_daemon()
        host.wait_manager(Connected=True, Synced=True)
        equal(host.call(ROOT_PATH, MANAGER, "ReleaseAll", "tst", "60000000", "", "0")[0], 1, "how many are released")
    finally:
        equal(host.spawn(["kill", "-CONT", pid]).wait(), 0, "kill's status")
    host.wait_property("web1", {"Guarded": False, "GuardError": "", "MigrationSafe": True}, timeout=40)


if __name__ == "__main__":
    tap.main()
