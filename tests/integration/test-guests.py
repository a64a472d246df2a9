#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""virtnestctl lint and verify: what they tell of real domains, whether the commands that they name do what they say, and
what they make of what a guest's agent answers."""

import base64
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import tap
from harness import HERE, CommandFailed, find_daemon, tag_xml
from tap import contains, equal, fails, lacks, test

SVM = "<feature policy='require' name='svm'/>"
CHANNEL = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
EMULATOR = "<emulator>{top}/agent/qemu</emulator>"
CPUINFO = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu {flags} lm\n\n"
COMMANDS = ("guest-info", "guest-file-open", "guest-file-read", "guest-file-close", "guest-get-osinfo")


def rows(host, verb, *arguments):
    """{id: (verdict, found, what to do)} of a command, whatever its exit status."""
    done = subprocess.run([os.path.join(os.path.dirname(os.path.abspath(find_daemon())), "virtnestctl"),
                           f"--root={host.root}", f"--connect={host.uri}", verb, "--json=short", *arguments],
                          capture_output=True, text=True, timeout=90, check=False)
    if done.returncode not in (0, 3):
        raise CommandFailed(done.stderr)
    found = json.loads(done.stdout)
    equal(done.returncode, 3 if any(row["verdict"] == "fail" for row in found) else 0, "the exit status")
    equal("Sanitizer" in done.stderr, False, "that a sanitizer complains")
    return {row["id"]: (row["verdict"], row["found"], row["todo"]) for row in found}


def ctl(host, *arguments):
    """What it prints, with another libvirt or none."""
    return subprocess.run([os.path.join(os.path.dirname(os.path.abspath(find_daemon())), "virtnestctl"),
                           f"--bus={host.bus_address}", f"--root={host.root}", *arguments],
                          capture_output=True, text=True, timeout=60, check=True).stdout


def verdicts(found, *names):
    return {name: found[name][0] for name in names if name in found}


# lint

@test("lint: a domain from its definition to the guest that has it")
def _(host):
    host.define("web1", memory=64)
    seen = rows(host, "lint", "web1")
    equal(verdicts(seen, "policy", "host", "cpu", "memory", "hypervisor"),
          {"policy": "warn", "host": "warn", "cpu": "warn", "memory": "warn", "hypervisor": "pass"}, "verdicts")
    lacks(list(seen), "running", "the rows")
    host.virsh("start", "web1")
    host.ctl("tag", "web1")
    host.wait_state("web1", "pending-restart")
    seen = rows(host, "lint", host.domain("web1")["UUID"])
    equal(verdicts(seen, "policy", "cpu", "running"), {"policy": "pass", "cpu": "pass", "running": "warn"}, "verdicts")
    contains(seen["running"][2], f"virsh -c '{host.uri}' shutdown web1", "what to do")
    host.virsh("destroy", "web1")
    host.virsh("start", "web1")
    seen = rows(host, "lint", "web1")
    equal(verdicts(seen, "running", "host-model"), {"running": "pass", "host-model": "pass"}, "verdicts")
    before = host.dumpxml("web1")
    rows(host, "lint", "web1")
    equal(host.dumpxml("web1"), before, "the definition")
    lacks(host.virsh("dominfo", "web1"), "custom", "what libvirt says of it")


@test("show has what lint finds, and says so where it cannot look")
def _(host):
    host.define("plain")
    host.define("web1", memory=64, metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    found = rows(host, "lint", "web1")
    shown = host.ctl("show", "web1")
    for name, (verdict, text, todo) in found.items():
        line = f"        Lint: {name}: {text}\n"
        equal(line in shown, verdict != "pass", f"that {name} is shown")
        if verdict != "pass":
            contains(shown, f"{line}       To do: {todo}\n")
    passed = sum(row[0] == "pass" for row in found.values())
    contains(shown, f"        Lint: {passed} of {len(found)} checks of its definition passed\n")
    document = json.loads(host.ctl("show", "-j", "web1"))
    equal({row["id"]: (row["verdict"], row["found"], row["todo"]) for row in document["Lint"]}, found, "Lint")
    lacks(host.ctl("show", "plain"), "Lint:", "what is said of a domain without a policy")
    lacks(list(json.loads(host.ctl("show", "-j", "plain"))), "Lint", "the properties of that")

    contains(ctl(host, "show", "web1"), "Lint: not looked at: with --root no libvirt is used by itself")
    contains(ctl(host, "--connect=test:///default", "show", "web1"), "Lint: not looked at: cannot look it up: ")
    contains(ctl(host, f"--connect=qemu+unix:///system?socket={host.top}/no", "show", "web1"), "not looked at: no connection")
    for name in ("broken", "wrong"):
        host.policy(name, "[CPU]\nMode=x\n")
    shown = host.ctl("show", "web1")
    for part in ("Lint: not looked at: ", "broken.policy:2: ", "; ", "wrong.policy:2: "):
        contains(shown, part)
    contains(json.loads(host.ctl("show", "-j", "web1"))["LintError"], "wrong.policy:2: ")


@test("show does not wait for a libvirt that hangs")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.libvirtd.signal(signal.SIGSTOP)
    try:
        shown = host.ctl("show", "web1")
        contains(shown, "State: in-sync")
        contains(shown, "Lint: not looked at: libvirt has not answered for 5 s")
    finally:
        host.libvirtd.signal(signal.SIGCONT)
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    contains(host.ctl("show", "web1"), "Lint: not looked at: virtnestd has no connection to libvirt, and so not all domains")


@test("lint: a managed-save image with the old CPU")
def _(host):
    host.define("web1")
    host.virsh("start", "web1")
    host.virsh("managedsave", "web1")
    host.ctl("tag", "web1")
    host.wait_state("web1", "managed-save")
    seen = rows(host, "lint", "web1")
    equal(seen["managed-save"][0], "warn", "the verdict")
    contains(seen["managed-save"][2], "managedsave-remove web1", "what to do")
    host.virsh("managedsave-remove", "web1")
    lacks(list(rows(host, "lint", "web1")), "managed-save", "the rows")


@test("lint: each command that edits does away with its row", daemon=False)
def _(host):
    cpu = ("<cpu mode='host-model' check='partial'>" + SVM + "<feature policy='disable' name='hypervisor'/>"
           "<feature policy='require' name='invtsc'/></cpu>")
    bad = {
        "hypervisor": ("web1", {"cpu": cpu, "extra": "<features><kvm><hidden state='on'/></kvm></features>"}),
        "invtsc": ("web2", {"cpu": cpu}),
        "memory": ("it's", {"memory": 64}),
        "policy": ("web3", {}),
    }
    for row, (name, arguments) in bad.items():
        host.define(name, **arguments)
        before = rows(host, "lint", name)
        equal(before[row][0] in ("warn", "fail"), True, f"that {row} is wrong")
        command = before[row][2].replace("virtnestctl ", f"{os.path.dirname(os.path.abspath(find_daemon()))}/virtnestctl ")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        equal(done.returncode, 0, f"the exit status of {command}: {done.stderr}")
        after = rows(host, "lint", name)
        if row == "policy":
            # There is no daemon here to carry it out.
            contains(after[row][2], "systemctl start virtnestd", "what to do")
        else:
            equal(after.get(row, ("pass",))[0], "pass", f"the verdict of {row} after {command}")


@test("lint: enlightenments are added to what libvirt has, of any shape", daemon=False)
def _(host):
    # Edited as virsh does it: of a domain of KVM's, which this libvirt would not define.
    shapes = {
        "no <features>": "",
        "no <hyperv>": "<features>\n    <acpi/>\n  </features>",
        "an empty one": "<features>\n    <hyperv/>\n  </features>",
        "a part": "<features>\n    <hyperv mode='custom'>\n      <relaxed state='on'/>\n    </hyperv>\n  </features>",
        "passthrough": "<features>\n    <hyperv mode='passthrough'/>\n  </features>",
        "all of it, in passthrough": "<features>\n    <hyperv mode='passthrough'>\n      <relaxed state='on'/>\n"
                                     "    </hyperv>\n  </features>",
    }
    template = pathlib.Path(HERE, "../data/domain/windows-11.xml").read_text()
    for clock in ("<clock offset='utc'/>", "<clock offset='utc'>\n    <timer name='rtc'/>\n  </clock>"):
        for what, features in shapes.items():
            xml = re.sub(r"<features>\n    <acpi.*?</features>", features, template, flags=re.DOTALL)
            xml = re.sub(r"<clock .*</clock>", clock, xml, flags=re.DOTALL)
            path = host.write_file("win.xml", xml)
            before = rows(host, "lint", str(path))
            row = "hv-passthrough" if "passthrough" in what else "hyperv"
            equal(before[row][0], "warn", f"the verdict of {row} with {what}")
            editor = re.match(r'(VISUAL=".*") virsh ', before[row][2])[1]
            subprocess.run(["sh", "-c", f'{editor}; sh -c "$VISUAL {path}"'], check=True, timeout=60)
            after = rows(host, "lint", str(path))
            equal(verdicts(after, "hyperv", "hv-passthrough"), {"hyperv": "pass"}, f"the verdicts with {what}")


@test("lint: files need no libvirt", daemon=False, libvirtd=False)
def _(host):
    path = pathlib.Path(HERE, "../data/domain/linux-9.xml").resolve()
    seen = rows(host, "lint", str(path))
    equal(seen["cpu"][0], "fail", "the verdict of cpu")
    seen = rows(host, "lint", "--policy=default", str(path))
    equal(verdicts(seen, "policy", "cpu"), {"policy": "pass", "cpu": "pass"}, "verdicts with a policy")
    fails(lambda: host.ctl("lint", "web1"), "cannot connect to libvirt")
    fails(lambda: host.ctl("lint", "./nowhere.xml"), "cannot open ./nowhere.xml")


# verify

def read_answer(text, eof=True):
    data = text if isinstance(text, bytes) else text.encode()
    return json.dumps({"return": {"count": len(data), "buf-b64": base64.b64encode(data).decode(), "eof": eof}})


def info_answer(**disabled):
    return json.dumps({"return": {"version": "7.2", "supported_commands": [
        {"name": name, "enabled": not disabled.get(name.replace("-", "_"), False), "success-response": True}
        for name in COMMANDS]}})


def honest(flags="svm", device=True, system="debian"):
    answers = {
        "guest-info": info_answer(),
        "guest-get-osinfo": json.dumps({"return": {"id": system}}),
        "guest-file-open /proc/cpuinfo": '{"return":1000}',
        "guest-file-read": read_answer(CPUINFO.format(flags=flags)),
        "guest-file-close": '{"return":{}}',
    }
    if device:
        answers["guest-file-open /dev/kvm"] = '{"return":1001}'
    return answers


class Guest:
    """A running guest with svm, and somebody who answers for it."""

    def __init__(self, host, name="web1"):
        self.host = host
        self.folder = pathlib.Path(host.top, "agent")
        self.folder.mkdir()
        shutil.copy(HERE / "agent_qemu.py", self.folder / "qemu")
        self.answers(honest())
        host.define(name, cpu=f"<cpu mode='host-model' check='partial'>{SVM}</cpu>", metadata=tag_xml(),
                    devices=EMULATOR.format(top=host.top) + CHANNEL)
        host.virsh("start", name)
        host.wait_for("the agent", lambda: host.virsh("qemu-agent-command", name, '{"execute":"guest-info"}'))

    def answers(self, answers):
        temporary = self.folder / "agent.new"
        temporary.write_text(json.dumps(answers))
        temporary.rename(self.folder / "agent")

    def asked(self):
        """What it was asked since this was called last."""
        path = self.folder / "log"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@test("verify: a guest that has it says so itself, and is not made to run anything", daemon=False)
def _(host):
    guest = Guest(host)
    guest.asked()
    seen = rows(host, "verify", "web1")
    equal({name: row[0] for name, row in seen.items()},
          dict.fromkeys(("running", "exposed", "pending", "agent", "cpuinfo", "kvm"), "pass"), "verdicts")
    asked = guest.asked()
    equal([question["execute"] for question in asked],
          ["guest-info", "guest-get-osinfo", "guest-file-open", "guest-file-read", "guest-file-close", "guest-file-open",
           "guest-file-close"], "what it was asked")
    equal([question["arguments"].get("mode") for question in asked if question["execute"] == "guest-file-open"],
          ["r", "r"], "the modes of files")
    rows(host, "verify", "--no-agent", "web1")
    equal(guest.asked(), [], "what it was asked with --no-agent")
    guest.answers(honest(flags="vme", device=False))
    seen = rows(host, "verify", "web1")
    equal(verdicts(seen, "exposed", "cpuinfo", "kvm"), {"exposed": "pass", "cpuinfo": "fail", "kvm": "warn"}, "verdicts")
    contains(seen["kvm"][1], "Failed to open file '/dev/kvm'", "what was found")


@test("verify: Windows, an agent that may not read files, and one that is not there", daemon=False)
def _(host):
    guest = Guest(host)
    guest.answers(honest(system="mswindows"))
    seen = rows(host, "verify", "web1")
    equal(list(seen), ["running", "exposed", "pending", "agent"], "the rows")
    contains(seen["agent"][2], "run inside: powershell", "what to do")
    guest.answers({**honest(), "guest-info": info_answer(guest_file_open=True)})
    guest.asked()
    seen = rows(host, "verify", "web1")
    contains(seen["agent"][1], "not allowed to read files", "what was found")
    contains(seen["agent"][2], "run inside: grep", "what to do")
    equal([question["execute"] for question in guest.asked()], ["guest-info", "guest-get-osinfo"], "what it was asked")
    host.define("web2", cpu=f"<cpu mode='host-model' check='partial'>{SVM}</cpu>", devices=CHANNEL)
    equal(rows(host, "verify", "web2")["running"][0], "fail", "the verdict of a guest that is off")
    host.virsh("start", "web2")
    seen = rows(host, "verify", "web2")
    equal(verdicts(seen, "exposed", "agent"), {"exposed": "pass", "agent": "warn"}, "verdicts without an agent")
    contains(seen["agent"][1], "agent is not connected", "what was found")
    host.define("web3", cpu="<cpu mode='custom' match='exact' check='none'><model>qemu64</model><feature "
                            "policy='disable' name='svm'/></cpu>")
    host.virsh("start", "web3")
    equal(rows(host, "verify", "web3")["exposed"][0], "fail", "the verdict of a guest without")
    fails(lambda: host.ctl("verify", "web4"), "libvirt has no domain 'web4'")


@test("verify: hostile answers end with a row, and with nothing else", daemon=False, timeout=150)
def _(host):
    guest = Guest(host)
    line = CPUINFO.format(flags="svm")
    hostile = {
        "no flags": {"guest-file-read": read_answer("x" * 16384, eof=False)},
        "zeros": {"guest-file-read": read_answer(b"\0" * 16384, eof=False)},
        "nothing, for ever": {"guest-file-read": read_answer("", eof=False)},
        "more than was asked for": {"guest-file-read": read_answer(line * 400)},
        "another count": {"guest-file-read": read_answer(line).replace('"count": ', '"count": 1')},
        "no base64": {"guest-file-read": '{"return":{"count":4,"buf-b64":"####","eof":true}}'},
        "a handle that is none": {"guest-file-open /proc/cpuinfo": '{"return":"1000"}'},
        "an array": {"guest-file-open /proc/cpuinfo": '{"return":[]}'},
    }
    for what, answers in hostile.items():
        guest.answers({**honest(), **answers})
        seen = rows(host, "verify", "web1")
        equal(verdicts(seen, "exposed", "agent", "cpuinfo"), {"exposed": "pass", "agent": "pass", "cpuinfo": "warn"},
              f"the verdicts with {what}")
        equal(len(guest.asked()) < 15, True, f"that it was asked few questions with {what}")
    for what, answers in {"no commands": {"guest-info": '{"return":{}}'},
                          "commands of no kind": {"guest-info": '{"return":{"supported_commands":{"a":1}}}'},
                          "deep": {"guest-info": '{"return":' + "[" * 200 + "]" * 200 + "}"},
                          "an operating system of no kind": {"guest-get-osinfo": '{"return":[1]}'}}.items():
        guest.answers({**honest(), **answers})
        equal(verdicts(rows(host, "verify", "web1"), "exposed", "agent"), {"exposed": "pass", "agent": "warn"},
              f"the verdicts with {what}")
    # A terminal gets none of what a guest would like to write on it.
    escape = json.dumps({"error": {"class": "GenericError", "desc": "\x1b[2J" + "long" * 1000}})
    guest.answers({**honest(), "guest-file-open /dev/kvm": escape})
    text = host.ctl("verify", "web1")
    lacks(text, "\x1b", "what is printed")
    equal(max(map(len, text.splitlines())) < 500, True, "that lines are short")


@test("verify: an agent that is silent costs seconds", daemon=False)
def _(host):
    guest = Guest(host)
    start = time.monotonic()
    for answers in ({"guest-info": None}, {**honest(), "guest-file-read": None}):
        guest.answers(answers)
        seen = rows(host, "verify", "web1")
        equal("warn" in (seen["agent"][0], seen.get("cpuinfo", ("",))[0]), True, "that it warns")
    equal(time.monotonic() - start < 40, True, "that it takes seconds")
    # libvirt has made up with it by the next time.
    guest.answers(honest())
    host.wait_for("an answer", lambda: rows(host, "verify", "web1").get("cpuinfo", ("",))[0] == "pass")


if __name__ == "__main__":
    tap.main()
