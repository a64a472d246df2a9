#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Who may change something: root at once, everybody else whom polkit lets. The guest is one of libvirt's test driver, and
polkit is mock-polkit.c, which answers as the test tells it; the last tests have the real one, where it is installed."""

import collections
import os
import pathlib
import re
import shutil
import signal
import sys
import uuid as uuid_module

import tap
from harness import DOMAIN, MANAGER, NAME, ROOT_PATH, SOURCE, find_daemon, tag_xml
from tap import Skip, contains, equal, lacks, test

POLKIT = "org.freedesktop.PolicyKit1"
NOBODY = 65534
EVERYBODY_ELSE = 1  # like 2 to 6, one that every machine has: dbus-daemon takes no other

DENIED = "org.freedesktop.DBus.Error.AccessDenied"
PASSWORD = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
LIMITS = "org.freedesktop.DBus.Error.LimitsExceeded"

CPU = "<cpu mode='custom' match='exact' check='full'><model>EPYC</model><feature policy='require' name='svm'/></cpu>"


class Polkit:
    def __init__(self, host, answer="allowed"):
        self.host = host
        self.process = host.spawn([host.compile("mock-polkit.c", "-lsystemd")], log=f"{host.logs}/polkit.log")
        host.wait_for("the mocked polkit", lambda: host.busctl("status", POLKIT))
        self.answer(answer)

    def answer(self, text):
        self.host.busctl("call", POLKIT, "/mock", "org.virtnest1.Mock", "Answer", "s", text)

    def lines(self, kind):
        found = []
        for line in self.process.log_text().splitlines():
            first, *fields = line.split("\t")
            if first == kind:
                found.append(dict(field.split("=", 1) for field in fields))
        return found

    def asked(self):
        return self.lines("check")

    def wait_asked(self, n=1):
        return self.host.wait_for(f"polkit to be asked {n} times", lambda: len(self.asked()) >= n and self.asked())

    def wait_cancelled(self, check):
        self.host.wait_for("the check to be cancelled", lambda: {"id": check["id"]} in self.lines("cancel"))


def start_guest(host, **arguments):
    """A running guest with a counter of L2 entries. Returns the function that sets the counter."""
    uuid = str(uuid_module.uuid4())
    process = host.spawn([sys.executable, "-c", "import signal; signal.pause()", "-uuid", uuid])
    process.asked_to_end = True
    host.write("run/libvirt/qemu/web1.pid", f"{process.pid}\n")
    os.symlink(f"/proc/{process.pid}", f"{host.root}/proc/{process.pid}")

    def count(nested_run):
        host.write(f"sys/kernel/debug/kvm/{process.pid}-7/guest_mode", "0\n")
        host.write(f"sys/kernel/debug/kvm/{process.pid}-7/nested_run", f"{nested_run}\n")

    count(0)
    host.write_file("node.xml", f"""<node><domain type='test'>
  <name>web1</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64'>hvm</type></os>
  <metadata>{tag_xml()}</metadata>
  {CPU}
</domain></node>""")
    host.start_daemon(uri=f"test://{host.top}/node.xml", **arguments)
    host.wait_manager(Connected=True, Synced=True)
    host.wait_property("web1", {"Running": True, "L2State": "none"})
    return count


def guest_test(description, **arguments):
    return test(description, daemon=False, libvirtd=False, **arguments)


def call(host, method, *, user=NOBODY, times=1, interactive=False, stay=False):
    """Begins a call as that user; the process ends with the answer, unless it is to stay."""
    path = ROOT_PATH if method in ("reload", "sync", "release-all") else host.domain_path("web1")
    number = len(host.processes)
    return host.spawn([host.compile("caller.c", "-lsystemd"), str(user), str(times),
                       "interactive" if interactive else "plain", method, path, *(["stay"] if stay else [])],
                      log=f"{host.logs}/caller-{number}.log")


def answer_of(process):
    process.wait()
    return process.log_text().strip()


def refused(host, method, error, *parts, **arguments):
    answer = answer_of(call(host, method, **arguments))
    for part in (f"{error}: ", *parts):
        contains(answer, part, "the answer")
    return answer


def not_released(host):
    equal(host.domain("web1")["ReleasedUntil"], 0, "ReleasedUntil")


METHODS = ("reload", "sync", "release", "release-all", "revoke", "reconcile")


@guest_test("each method that changes something is an action of its own: allowed, denied, and its caller gone")
def _(host):
    start_guest(host)
    text = (SOURCE / "policy/org.virtnest1.policy").read_text(encoding="utf-8")
    equal(sorted(re.findall('<action id="org.virtnest1.(.*)">', text)), sorted(METHODS), "the actions that polkit knows")
    polkit = Polkit(host)
    for n, method in enumerate(METHODS):
        polkit.answer("allowed")
        contains(answer_of(call(host, method)), "done", f"the answer to {method}")
        equal(polkit.wait_asked(3 * n + 1)[-1]["action"], f"org.virtnest1.{method}", "the action")
        host.ctl("revoke", "web1")
        polkit.answer("denied")
        refused(host, method, DENIED, f"org.virtnest1.{method}")
        polkit.answer("wait")
        caller = call(host, method, stay=True)
        check = polkit.wait_asked(3 * n + 3)[-1]
        caller.signal(signal.SIGKILL)
        polkit.wait_cancelled(check)
        not_released(host)


@guest_test("whom polkit lets may release, revoke and reload, and polkit is told who wants what")
def _(host):
    start_guest(host)
    polkit = Polkit(host)
    uuid = host.domain("web1")["UUID"]
    equal(answer_of(call(host, "release")), "done", "the answer")
    seen = host.domain("web1")
    equal((seen["ReleasedBy"], seen["ReleaseReason"]), (f"user {NOBODY}", "because"), "the release")
    equal(answer_of(call(host, "revoke")), "done", "the answer")
    not_released(host)
    host.wait_log(rf"revoked by user {NOBODY}")
    host.write("etc/virtnest/policy.d/lab.policy", "[CPU]\nMode=keep\n")
    equal(answer_of(call(host, "reload")), "done", "the answer")
    host.wait_log(rf"user {NOBODY} has the configuration read again")
    asked = polkit.wait_asked(3)
    equal([check["action"] for check in asked], ["org.virtnest1.release", "org.virtnest1.revoke", "org.virtnest1.reload"],
          "the actions")
    equal([(check.get("domain_name"), check.get("domain_uuid")) for check in asked],
          [("web1", uuid), ("web1", uuid), (None, None)], "the details")
    for check in asked:
        equal((check["subject"], check["flags"]), ("system-bus-name", "0"), "the subject and the flags")
        assert re.fullmatch(r":\d+\.\d+", check["name"]), check["name"]
    equal(len({check["name"] for check in asked}), 3, "the number of callers")
    equal(len({check["id"] for check in asked}), 3, "the number of ids")
    equal(polkit.lines("cancel"), [], "what was cancelled")


@guest_test("whom polkit does not let is told the action, and nothing is done")
def _(host):
    start_guest(host)
    Polkit(host, "denied")
    for method in ("release", "revoke", "reload"):
        refused(host, method, DENIED, f"org.virtnest1.{method}", f"user {NOBODY} may not", "as root")
    not_released(host)
    lacks(host.daemon.log_text(), "read again", "the log")


@guest_test("a password may be asked for if the caller lets it, and only then")
def _(host):
    start_guest(host)
    polkit = Polkit(host)
    equal(answer_of(call(host, "release", interactive=True)), "done", "the answer")
    equal(polkit.asked()[-1]["flags"], "1", "the flags")
    polkit.answer("challenge")
    refused(host, "reload", PASSWORD, "org.virtnest1.reload", "interactive")
    equal(polkit.asked()[-1]["flags"], "0", "the flags")
    # It was to be asked for, and there is nobody who would.
    refused(host, "reload", DENIED, "org.virtnest1.reload", "no agent", interactive=True)


@guest_test("root is let in at once, and polkit is not asked")
def _(host):
    start_guest(host)
    polkit = Polkit(host, "denied")
    for method in ("release", "revoke", "reload"):
        equal(answer_of(call(host, method, user=0)), "done", "the answer")
    equal(polkit.asked(), [], "what polkit was asked")
    polkit.process.kill()
    equal(answer_of(call(host, "release", user=0)), "done", "the answer without polkit")
    equal(host.domain("web1")["ReleasedBy"], "root", "ReleasedBy")


@guest_test("flags are looked at before anybody is asked")
def _(host):
    start_guest(host)
    polkit = Polkit(host)
    process = host.spawn(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "busctl", "--system", "call",
                          NAME, ROOT_PATH, MANAGER, "Reload", "t", "1"], log=f"{host.logs}/flags.log")
    contains(answer_of(process), "no flags are known", "the answer")
    equal(polkit.asked(), [], "what polkit was asked")


@guest_test("polkit is not there, is out of order, or goes away: refused, with that as the reason")
def _(host):
    start_guest(host)
    refused(host, "release", DENIED, "polkit cannot be asked", "org.virtnest1.release", "root may")
    polkit = Polkit(host, "error")
    refused(host, "release", DENIED, "polkit cannot be asked", "out of sorts", "root may")
    polkit.answer("wait")
    waiting = call(host, "release")
    polkit.wait_asked(2)
    polkit.process.kill()
    contains(answer_of(waiting), f"{DENIED}: polkit cannot be asked", "the answer")
    not_released(host)


@guest_test("polkit does not answer: refused after a while, and a yes that comes later counts for nothing")
def _(host):
    start_guest(host, inject=True)
    polkit = Polkit(host, "wait")
    host.write_file("inject/timeout-CheckAuthorization", "300000\n")
    refused(host, "release", DENIED, "polkit cannot be asked", "timed out", "root may")
    polkit.wait_cancelled(polkit.asked()[0])
    polkit.answer("allowed")
    not_released(host)
    equal(answer_of(call(host, "release")), "done", "the next answer")


@guest_test("the caller goes while polkit thinks: the check is cancelled, and a yes counts for nothing")
def _(host):
    start_guest(host)
    polkit = Polkit(host, "wait")
    gone, stays = call(host, "release"), call(host, "reload")
    asked = polkit.wait_asked(2)
    check = next(check for check in asked if check["action"] == "org.virtnest1.release")
    gone.kill()
    polkit.wait_cancelled(check)
    polkit.answer("allowed")
    equal(answer_of(stays), "done", "the answer of the other one")
    not_released(host)


@test("the domain goes while polkit thinks: a named error")
def _(host):
    polkit = Polkit(host)
    # What came to nothing takes up no room, although its caller is still there: as many as may wait, twice.
    for turn in (1, 2):
        polkit.answer("wait")
        host.define("web1")
        host.wait_state("web1", "untagged")
        waiting = call(host, "release", times=16, stay=True)
        polkit.wait_asked(16 * turn)
        host.virsh("undefine", "web1")
        host.wait_gone("web1")
        polkit.answer("allowed")
        host.wait_for("the answers", lambda: len(waiting.log_text().splitlines()) == 16)
        equal({line.split(": ")[0] for line in waiting.log_text().splitlines()},
              {"org.freedesktop.DBus.Error.UnknownObject"}, "the answers")


@guest_test("the daemon ends while polkit thinks")
def _(host):
    start_guest(host)
    polkit = Polkit(host, "wait")
    waiting = [call(host, "release"), call(host, "reload", interactive=True)]
    asked = polkit.wait_asked(2)
    host.stop_daemon()
    for process in waiting:
        contains(answer_of(process), "org.freedesktop.DBus.Error.NoReply: ", "the answer")
    for check in asked:
        polkit.wait_cancelled(check)


@guest_test("a flood of calls: few wait, the rest is refused, and neither root nor the counters wait for it")
def _(host):
    count = start_guest(host)
    polkit = Polkit(host, "wait")
    flood = call(host, "release", times=200)
    host.wait_for("the refusals", lambda: len(flood.log_text().splitlines()) >= 184)
    answers = collections.Counter(line.split(": ")[0] for line in flood.log_text().splitlines())
    equal(answers, {LIMITS: 184}, "the answers so far")
    contains(flood.log_text().splitlines()[0], f"16 calls of user {NOBODY} wait", "an answer")
    equal(len(polkit.asked()), 16, "how often polkit was asked")
    # Another connection of that user makes no difference, another user does.
    refused(host, "reload", LIMITS)
    other = call(host, "reload", user=EVERYBODY_ELSE)
    polkit.wait_asked(17)
    equal(answer_of(call(host, "release", user=0)), "done", "root's answer")
    count(7)
    host.wait_property("web1", {"L2State": "running", "NestedRuns": 7, "ReleasedBy": "root"})
    polkit.answer("allowed")
    equal(answer_of(other), "done", "the other user's answer")
    flood.wait()
    answers = collections.Counter(line.split(": ")[0] for line in flood.log_text().splitlines())
    equal(answers, {LIMITS: 184, "done": 16}, "the answers")
    equal(answer_of(call(host, "release")), "done", "the next answer")


@guest_test("many users: there is a limit for all of them, and root is not among them")
def _(host):
    start_guest(host)
    polkit = Polkit(host, "wait")
    users = [call(host, "reload", user=user, times=16) for user in (3, 4, 5, 6)]
    polkit.wait_asked(64)
    refused(host, "reload", LIMITS, "64 calls wait")
    equal(answer_of(call(host, "reload", user=0)), "done", "root's answer")
    polkit.answer("denied")
    for process in users:
        equal({line.split(": ")[0] for line in answer_of(process).splitlines()}, {DENIED}, "the answers")


def start_ctl(host, *arguments, terminal=False):
    """virtnestctl as nobody, who cannot reach the build folder."""
    program = "/run/virtnestctl"
    host.spawn(["install", "-m", "755", os.path.join(os.path.dirname(os.path.abspath(find_daemon())), "virtnestctl"),
                program]).wait()
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", program, *arguments]
    if terminal:
        argv = ["script", "--quiet", "--return", "--command", " ".join(argv), "/dev/null"]
    return host.spawn(argv, env={"PATH": "/run/bin:/usr/bin:/bin"}, log=f"{host.logs}/ctl-{len(host.processes)}.log")


def ctl(host, *arguments, **how):
    process = start_ctl(host, *arguments, **how)
    return process.wait(), process.log_text()


@guest_test("virtnestctl lets a password be asked for, brings an agent where it has a terminal, and says what is wrong")
def _(host):
    start_guest(host)
    polkit = Polkit(host)
    # It registers by closing the descriptor, and stays until it is told to go.
    agent = host.write_file("pkttyagent", "#!/bin/sh\necho \"agent $*\" >>/run/agents\nexec 3>&-\nexec sleep 1000\n")
    host.spawn(["sh", "-c", f"install -D -m 755 {agent} /run/bin/pkttyagent && install -m 666 /dev/null /run/agents"]).wait()
    agents = lambda: answer_of(host.spawn(["cat", "/run/agents"], log=f"{host.logs}/agents-{len(host.processes)}.log"))

    status, text = ctl(host, "release", "web1")
    equal(status, 0, "the status")
    contains(text, "Domain 'web1' is released until ", "what it says")
    equal(polkit.asked()[-1]["flags"], "1", "the flags")
    equal(agents(), "", "the agents without a terminal")
    equal(ctl(host, "revoke", "web1", terminal=True), (0, ""), "virtnestctl revoke")
    equal(polkit.asked()[-1]["flags"], "1", "the flags")
    equal(agents(), "agent --notify-fd=3 --fallback", "the agents")
    host.wait_for("the agent to be gone", lambda: host.spawn(["pgrep", "-x", "sleep"]).wait() == 1)
    equal(ctl(host, "--no-ask-password", "release", "web1", terminal=True)[0], 0, "the status")
    equal(polkit.asked()[-1]["flags"], "0", "the flags")
    equal(agents(), "agent --notify-fd=3 --fallback", "the agents")

    polkit.answer("denied")
    status, text = ctl(host, "release", "web1")
    equal(status, 1, "the status")
    contains(text, f"virtnestctl: user {NOBODY} may not release a domain from its guard", "the error")
    polkit.answer("challenge")
    contains(ctl(host, "release", "web1")[1], "no agent", "the error")
    contains(ctl(host, "--no-ask-password", "release", "web1")[1], "leave out --no-ask-password", "the error")
    polkit.process.kill()
    contains(ctl(host, "release", "web1")[1], "polkit cannot be asked", "the error")


def start_real_polkit(host, *, libvirt_group):
    """With what is shipped beside what this machine has, and these users in the group libvirt."""
    program = "/usr/lib/polkit-1/polkitd"
    if not os.access(program, os.X_OK):
        raise Skip(f"no {program}")
    folder = pathlib.Path(host.top, "polkit-1")
    for part, name in (("actions", "org.virtnest1.policy"), ("rules.d", "org.virtnest1.rules")):
        shutil.copytree(f"/usr/share/polkit-1/{part}", folder / part)
        shutil.copy(SOURCE / "policy" / name, folder / part)
    copy = pathlib.Path(host.top, "group")
    groups = [line for line in (copy if copy.exists() else pathlib.Path("/etc/group")).read_text().splitlines()
              if not line.startswith("libvirt:")]
    host.write_file("group.new", "\n".join([*groups, f"libvirt:x:64998:{','.join(libvirt_group)}"]) + "\n")
    host.spawn(["sh", "-ec", f"chmod -R u=rwX,go=rX {folder}; mount --bind {folder} /usr/share/polkit-1; "
                             f"chmod 644 {host.top}/group.new; mount --bind {host.top}/group.new /etc/group"]).wait()
    host.spawn([program, "--no-debug"], log=f"{host.logs}/polkitd.log")
    host.wait_for("polkitd", lambda: host.busctl("status", POLKIT))


@guest_test("the real polkit, with what is shipped: the group libvirt may release, an administrator's password all the rest")
def _(host):
    start_guest(host)
    start_real_polkit(host, libvirt_group=["nobody"])
    equal(answer_of(call(host, "release")), "done", "the answer for release")
    equal(host.domain("web1")["ReleasedBy"], f"user {NOBODY}", "ReleasedBy")
    equal(answer_of(call(host, "revoke")), "done", "the answer for revoke")
    refused(host, "reload", PASSWORD, "org.virtnest1.reload")
    for method in ("release", "revoke", "reload"):
        refused(host, method, PASSWORD, f"org.virtnest1.{method}", user=EVERYBODY_ELSE)
    not_released(host)


@guest_test("the real polkit asks on the terminal, naming the domain, and the question goes with the daemon")
def _(host):
    if not os.access("/usr/bin/pkttyagent", os.X_OK):
        raise Skip("no /usr/bin/pkttyagent")
    start_guest(host)
    start_real_polkit(host, libvirt_group=[])
    # Without --fallback, which takes a session of logind's.
    agent = host.write_file("pkttyagent", "#!/bin/sh\nexec /usr/bin/pkttyagent --notify-fd=3\n")
    host.spawn(["install", "-D", "-m", "755", str(agent), "/run/bin/pkttyagent"]).wait()
    process = start_ctl(host, "release", "web1", terminal=True)
    host.wait_for("the question", lambda: "Password: " in process.log_text())
    contains(process.log_text(), "let the virtual machine 'web1' be migrated", "the question")
    not_released(host)
    host.stop_daemon()
    equal(process.wait(), 1, "the status of virtnestctl")


@guest_test("the real polkit does not know the actions where they are not installed: only root may")
def _(host):
    if not os.access("/usr/lib/polkit-1/polkitd", os.X_OK):
        raise Skip("no polkitd")
    start_guest(host)
    host.spawn(["/usr/lib/polkit-1/polkitd", "--no-debug"], log=f"{host.logs}/polkitd.log")
    host.wait_for("polkitd", lambda: host.busctl("status", POLKIT))
    refused(host, "release", DENIED, "polkit cannot be asked", "not registered", "root may")
    equal(answer_of(call(host, "release", user=0)), "done", "root's answer")


if __name__ == "__main__":
    tap.main()
