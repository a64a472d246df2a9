#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README's tour, typed into a real terminal: its commands do what it says, and it shows what they print.

With VIRTNEST_TOUR=FOLDER the screens stay there, one file for each command."""

import os
import pathlib
import re
import shutil

import harness
import l1
import tap
from harness import SOURCE, TemporaryHost, run
from tap import Skip, test

SECTION = "## Five minutes"
COLUMNS, ROWS = 110, 60

# Stand before the real ones in PATH. What belongs to this test alone is in here, so that what is typed is what a person types.
CTL = """#!/bin/sh
exec {program} --root={root} --connect=qemu:///system "$@"
"""
# The way to the other host is no ssh, and both have one disk. Without polkit virsh says so on a terminal each time.
VIRSH = """#!/bin/sh
if [ "$1" = migrate ]; then
    [ "$4" = qemu+ssh://node2/system ] || exit 9
    set -- migrate "$2" "$3" --desturi '{uri}' --migrateuri unix://{top}/migrate --disks-uri unix://{top}/disks
fi
output=$({virsh} -c qemu:///system "$@" 2>&1)
status=$?
echo "$output" | grep -v "registering authentication agent"
exit $status
"""


def read_tour():
    """[(command, lines that it prints)] of the README, in order."""
    section = (SOURCE / "README.md").read_text().split(f"\n{SECTION}\n", 1)[1].split("\n## ", 1)[0]
    steps = []
    for line in section.splitlines():
        if line.startswith("    $ "):
            steps.append((line[6:], []))
        elif line.startswith("    ") and steps:
            steps[-1][1].append(line[4:])
    return steps


def normalise(line):
    """What may differ from one machine and one day to the next does not count."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", line)
    line = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", line)
    line = re.sub(r"\(/\S*(/etc/virtnest|/usr/lib/virtnest)", r"(\1", line)
    line = re.sub(r"\b\d+\.\d+\.\d+\b", "VERSION", line)
    line = re.sub(r"(Entries: )\d+", r"\1N", line)
    return re.sub(r"\s+", " ", line).strip()


class Terminal:
    """tmux inside of the temporary host, with a shell for a person in it."""

    def __init__(self, host, path):
        self.host = host
        self.socket = f"{host.top}/tmux"
        host.write_file("bashrc", f"PS1='$ '\nPATH={path}:$PATH\nunset HISTFILE MAILCHECK PROMPT_COMMAND\nNO_COLOR=1\n"
                                  "export NO_COLOR\ncd\n")
        process = host.spawn(["tmux", "-S", self.socket, "-f", "/dev/null", "new-session", "-d", "-x", str(COLUMNS),
                              "-y", str(ROWS), f"exec bash --noprofile --rcfile {host.top}/bashrc -i"])
        process.asked_to_end = True
        if process.wait() != 0:
            raise AssertionError(f"tmux: {process.log_text()}")
        self.wait_prompt(0)

    def tmux(self, *arguments):
        return run(["tmux", "-S", self.socket, *arguments])

    def screen(self):
        # -J: what was wrapped is one line.
        return self.tmux("capture-pane", "-p", "-J", "-S", "-").rstrip("\n")

    def wait_prompt(self, commands):
        def is_there():
            screen = self.screen()
            return (re.fullmatch(r"\$ *", screen.split("\n")[-1]) and
                    len(re.findall(r"^\$ \S", screen, re.MULTILINE)) == commands)

        self.host.wait_for("the prompt", is_there, timeout=60)

    def last(self):
        """The command that was typed last, and what it has printed."""
        return re.split(r"^\$ (?=\S)", self.screen(), flags=re.MULTILINE)[-1].removesuffix("\n$").rstrip("\n$ ")

    def type(self, command):
        self.tmux("send-keys", "-l", command)
        self.tmux("send-keys", "Enter")


class Guest(l1.L1):
    """One that is there already."""

    def __init__(self, host, name):  # pylint: disable=super-init-not-called
        self.host, self.name, self.runs = host, name, 0


def keep(number, command, screen):
    folder = os.environ.get("VIRTNEST_TOUR")
    if folder:
        os.makedirs(folder, exist_ok=True)
        name = re.sub(r"[^a-z0-9]+", "-", command.lower()).strip("-")[:40]
        pathlib.Path(folder, f"{number:02}-{name}.txt").write_text(f"$ {screen}\n")


def check(command, expected, screen):
    """Each line that the README shows is on the screen, in this order; "..." stands for any others."""
    lines = [normalise(line) for line in screen.splitlines()]
    position = 0
    for line in expected:
        if line.strip() in ("...", ""):
            continue
        wanted = normalise(line)
        if wanted not in lines[position:]:
            raise AssertionError(f"`{command}` does not print {line!r} there; it prints\n{screen}")
        position = lines.index(wanted, position) + 1


@test("the commands of the README's tour print what it shows", daemon=False, timeout=180)
def _(host):
    if shutil.which("tmux") is None:
        raise Skip("tmux is not installed")
    steps = read_tour()
    assert len(steps) > 6, f"the README's tour has {len(steps)} commands"
    with TemporaryHost() as other:
        os.makedirs(f"{host.top}/bin")
        program = os.path.join(os.path.dirname(os.path.abspath(harness.find_daemon())), "virtnestctl")
        for name, script in (("virtnestctl", CTL.format(program=program, root=host.root)),
                             ("virsh", VIRSH.format(uri=other.uri, top=host.top, virsh=shutil.which("virsh")))):
            host.write_file(f"bin/{name}", script).chmod(0o755)
        host.spawn(["hostname", "node1"]).wait()
        l1.start_daemon(host)
        os.unlink(f"{host.root}/etc/virtnest/policy.d/default.policy")
        host.wait_for("the shipped policy", lambda: "/usr/lib" in str(host.call(
            harness.ROOT_PATH, harness.MANAGER, "ListPolicies")[0]))
        for name in ("web1", "db1"):
            host.define(name)
            host.wait_state(name, "untagged")
        host.virsh("start", "web1")
        host.wait_property("web1", {"Running": True})
        guest = Guest(host, "web1")
        terminal = Terminal(host, f"{host.top}/bin")
        for number, (command, expected) in enumerate(steps):
            terminal.type(command)
            if "--safe" in command:
                # Somebody shuts the guest's own guests down meanwhile.
                host.wait_for("it to wait", lambda: "Waiting: " in terminal.last())
                guest.stop_l2()
            terminal.wait_prompt(number + 1)
            screen = terminal.last()
            keep(number, command, screen)
            check(command, expected, screen.split("\n", 1)[1] if "\n" in screen else "")
            if command.startswith("virtnestctl tag"):
                host.wait_state("web1", "pending-restart")
            elif command.endswith("virsh start web1"):
                host.wait_state("web1", "in-sync")
                # From here on virtnestd takes it for a guest of KVM.
                pathlib.Path(host.top, "inject/kvm-web1").touch()
                guest.touch()
                host.wait_property("web1", {"Running": True, "L2State": "none", "L2Source": "debugfs"})
                guest.run_l2()
                host.wait_property("web1", {"Guarded": True})
        terminal.tmux("kill-server")
        tap.equal(other.virsh("domstate", "web1").strip(), "running", "the state of web1 where it went")
        tap.equal(host.virsh("domstate", "web1").strip(), "shut off", "the state of web1 where it was")


if __name__ == "__main__":
    tap.main()
