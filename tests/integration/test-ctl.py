#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""virtnestctl with a running daemon: what it shows, how it waits, several hosts, and a CPU for all of them."""

import contextlib
import fcntl
import json
import os
import pathlib
import pty
import re
import shlex
import signal
import struct
import subprocess
import termios
import time

import harness
import l1
import tap
from harness import CommandFailed, TemporaryHost, run, tag_xml
from tap import Skip, contains, equal, fails, lacks, test

BUS_VERBS = (("status",), ("show", "web1"), ("list",), ("monitor",), ("wait", "web1", "--safe"), ("reconcile", "web1"),
             ("reconcile", "--all"), ("release", "web1"), ("revoke", "web1"), ("drain",))

# Seconds for which a host says nothing: a number that no other run of this test on this machine has.
SILENCE = f"1000.{os.getpid()}"

# What sd-bus runs for --host: ssh -xT -- HOST systemd-stdio-bridge. A host is the folder of a temporary one.
SSH = """#!/bin/sh
while [ "$1" != -- ]; do shift; done
echo "$2" >> {top}/ssh.log
case $2 in
dead) echo "ssh: connect to host dead port 22: No route to host" >&2; exit 255 ;;
silent) exec sleep {silence} ;;
mute) exec cat >/dev/null ;; # and goes with who called it
*) exec systemd-stdio-bridge -p unix:path={top}/hosts/$2/dbus/system_bus_socket ;;
esac
"""


def program():
    return os.path.join(os.path.dirname(os.path.abspath(harness.find_daemon())), "virtnestctl")


def ctl(*arguments, **options):
    """Its exit status, standard output and standard error."""
    done = subprocess.run([program(), *arguments], capture_output=True, text=True, check=False, timeout=60,
                          env={**os.environ, "LC_ALL": "C.UTF-8", **options})
    return done.returncode, done.stdout, done.stderr


def on_bus(host, *arguments, **options):
    return ctl(f"--bus={host.bus_address}", *arguments, **options)


class Running:
    """A virtnestctl that goes on, with what it has printed so far on what it takes for a terminal."""

    def __init__(self, host, *arguments, start_new_session=False, **options):
        self.host = host
        self.text = ""
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen([program(), *arguments], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                                        start_new_session=start_new_session,
                                        env={**os.environ, "LC_ALL": "C.UTF-8", "NO_COLOR": "1", **options})
        os.close(theirs)
        host.inbox.watch(self._terminal, self._read)

    def _read(self):
        try:
            data = os.read(self._terminal, 1 << 16)
        except OSError:  # a terminal ends so
            data = b""
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return data

    def wait_line(self, pattern):
        return self.host.wait_for(f"a line with {pattern!r} (there is {self.text!r})",
                                  lambda: re.search(f"^.*(?:{pattern}).*$", self.text, re.MULTILINE)).group(0)

    def wait(self):
        return self.process.wait(timeout=harness.TIMEOUT)

    def stop(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running(host, *arguments, **options):
    child = Running(host, *arguments, **options)
    try:
        yield child
    finally:
        child.stop()


def on_terminal(arguments, columns=80, **options):
    """What a person at a terminal sees, and the exit status."""
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen([program(), *arguments], stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                             env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **options})
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # it ends so
        while data := os.read(terminal, 1 << 16):
            seen += data
    os.close(terminal)
    return child.wait(), seen.decode().replace("\r\n", "\n")


def fake_ssh(host, **hosts):
    """An ssh that knows these hosts, by the name of each, "dead", "silent" and "mute". Returns the environment for it."""
    os.makedirs(f"{host.top}/ssh")
    os.makedirs(f"{host.top}/hosts")
    path = host.write_file("ssh/ssh", SSH.format(top=host.top, silence=SILENCE))
    path.chmod(0o755)
    for name, other in hosts.items():
        os.symlink(other.top, f"{host.top}/hosts/{name}")
    return {"PATH": f"{host.top}/ssh:{os.environ['PATH']}"}


@contextlib.contextmanager
def second_host(**arguments):
    with TemporaryHost(**arguments) as other:
        other.start_daemon()
        other.wait_manager(Synced=True)
        yield other


SSHD_CONFIG = """Port 22
Port 2222
ListenAddress 127.0.0.1
HostKey {top}/ssh/host
AuthorizedKeysFile {top}/ssh/user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
"""

# The home of root is where ssh looks for its keys, whatever $HOME is; root may be locked, and the user of sshd missing.
SSHD_SCRIPT = """cd {top}/ssh
ssh-keygen -q -t ed25519 -N '' -f host
ssh-keygen -q -t ed25519 -N '' -f user
mkdir -p home/.ssh /run/sshd
mv user home/.ssh/id_ed25519
for name in localhost '[localhost]:2222'; do echo "$name $(cut -d' ' -f1,2 host.pub)"; done > home/.ssh/known_hosts
mount --bind home /root
(grep -v ^sshd: /etc/passwd; echo sshd:x:64057:65534::/run/sshd:/usr/sbin/nologin) > passwd
mount --bind passwd /etc/passwd
(echo 'root:*:19000:0:99999:7:::'; grep -v ^root: /etc/shadow) > shadow
chmod 600 shadow
mount --bind shadow /etc/shadow
exec {sshd} -D -e -f {top}/ssh/sshd_config
"""


def start_sshd(host):
    """On the host itself, as localhost. $SSHD is the one to take."""
    sshd = os.environ.get("SSHD") or harness.find_program("sshd")
    for name, path in (("sshd", sshd), ("ssh-keygen", harness.find_program("ssh-keygen")),
                       ("systemd-stdio-bridge", harness.find_program("systemd-stdio-bridge"))):
        if path is None:
            raise Skip(f"no {name}")
    os.makedirs(f"{host.top}/ssh")
    host.write_file("ssh/sshd_config", SSHD_CONFIG.format(top=host.top))
    process = host.spawn(["sh", "-ec", SSHD_SCRIPT.format(top=host.top, sshd=shlex.quote(sshd))], log=f"{host.logs}/sshd.log")
    process.asked_to_end = True
    host.wait_for("sshd", lambda: process.ended or process.log_text().count("Server listening") == 2)
    if process.ended:
        raise Skip(f"sshd does not start here: {process.log_text().strip()[-200:]}")


def ctl_inside(host, *arguments):
    """Run in the namespaces of the host. Its exit status and what it printed."""
    process = host.spawn([program(), *arguments], log=f"{host.logs}/ctl-{len(host.processes)}.log")
    return process.wait(60), process.log_text()


@test("without a daemon each verb says so, and how to start it", daemon=False, libvirtd=False)
def _(host):
    for verb in BUS_VERBS:
        status, output, error = on_bus(host, *verb)
        equal((status, output), (1, ""), f"status and output of {verb}")
        equal(error, "virtnestctl: virtnestd is not running; start it: systemctl start virtnestd\n", f"what {verb} says")
    for arguments, said in ((("status", "--json=short"), '[{"host":null,"error":"virtnestd is not running'),
                            (("list", "--json=short"), "[]")):
        status, output, _ = on_bus(host, *arguments)
        equal(status, 1, f"the status of {arguments}")
        contains(output, said, f"the output of {arguments}")


@test("status: the host, the domains that matter, and what is wrong")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.define("web2", metadata=tag_xml("no-such"))
    host.define("other")
    host.define("日本", metadata=tag_xml("keep"))
    for name, state in (("web1", "in-sync"), ("web2", "error"), ("other", "untagged"), ("日本", "in-sync")):
        host.wait_state(name, state)
    status, output, error = on_bus(host, "status")
    equal((status, error), (0, ""), "the status and what is said")
    contains(output, "AMD, nesting on; virtnestd ")
    contains(output, "Mode=enforce; libvirt ")
    rows = [line.split() for line in output.splitlines()]
    assert ["DOMAIN", "POLICY", "CPU", "STATE", "L2", "GUARD"] in rows, output
    assert ["web1", "default", "host-model", "in-sync", "-", "-"] in rows, output
    lacks(output, "other", "the output")
    contains(output, "\n3 domains, and 1 untagged; --all shows all.\n")
    # Each of these characters takes two cells of a terminal.
    by_name = {line.split()[0]: line for line in output.splitlines() if "in-sync" in line}
    equal(by_name["日本"].index("keep") + 2, by_name["web1"].index("default"), "the column")
    contains(on_bus(host, "status", "--all")[1], "\nother ")
    lacks(on_bus(host, "status", "--all", "--no-legend")[1], "DOMAIN")
    document = json.loads(on_bus(host, "status", "--json=pretty")[1])
    equal([domain["Name"] for domain in document[0]["domains"]], ["other", "web1", "web2", "日本"], "the names")
    for name, value in host.domain("web2").items():
        equal(document[0]["domains"][2][name], value, f"web2's {name}")
    equal(document[0]["manager"]["Mode"], "enforce", "Mode")
    equal(document[0]["readiness"]["Vendor"], "amd", "Vendor")
    host.policy("bad", "[CPU]\nMode=best\n")
    host.write("etc/virtnest/disable", "")
    host.wait_manager(WritesDisabled=True)
    host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])
    output = on_bus(host, "status")[1]
    contains(output, "Kill switch: no definition is written")
    contains(output, "bad.policy:2: [CPU] Mode=best")
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    host.wait_for("the reason", lambda: host.manager()["ConnectionError"])
    contains(on_bus(host, "status")[1], "No connection to libvirt: ")


@test("colours on a terminal alone, and as NO_COLOR and SYSTEMD_COLORS want it")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    arguments = (f"--bus={host.bus_address}", "status", "--no-pager")
    green = "\033[32min-sync\033[0m"
    lacks(ctl(*arguments)[1], "\033", "a pipe")
    contains(ctl(*arguments, SYSTEMD_COLORS="1")[1], green, "a pipe that wants colours")
    contains(on_terminal(arguments)[1], green, "a terminal")
    lacks(on_terminal(arguments, NO_COLOR="1")[1], "\033", "a terminal with NO_COLOR")
    contains(on_terminal(arguments, NO_COLOR="1", SYSTEMD_COLORS="1")[1], green, "a terminal with both")
    lacks(on_terminal(arguments, SYSTEMD_COLORS="0")[1], "\033", "a terminal with SYSTEMD_COLORS=0")


@test("a name of 200 characters is cut to the terminal, and whole in a pipe and with --full")
def _(host):
    name = "a" + "x" * 198 + "z"
    host.define(name, metadata=tag_xml())
    host.wait_state(name, "in-sync")
    arguments = (f"--bus={host.bus_address}", "status", "--no-pager")
    seen = on_terminal(arguments, columns=100, NO_COLOR="1")[1]
    row = next(line for line in seen.splitlines() if line.startswith("ax"))
    equal((len(row) <= 100, "x…x" in row, "xz " in row, row.split()[1:]),
          (True, True, True, ["default", "host-model", "in-sync", "-", "-"]), "the row")
    contains(on_terminal((*arguments, "--full"), columns=100, NO_COLOR="1")[1], f"\n{name} ")
    contains(ctl(*arguments)[1], f"\n{name} ")


@test("a pager on a terminal: the one that is wished for, none, and not for sudo to choose")
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    mark = f"tee {host.top}/paged"
    arguments = (f"--bus={host.bus_address}", "status")

    def paged(*more, **options):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{host.top}/paged")
        status, seen = on_terminal((*arguments, *more), **options)
        equal(status, 0, "the status")
        contains(seen, "in-sync", "the screen")
        return host.exists("paged")

    equal(paged(PAGER=mark), True, "that PAGER is used")
    contains(host.read("paged"), "web1", "what it got")
    equal(paged(PAGER="false", SYSTEMD_PAGER=mark), True, "that SYSTEMD_PAGER wins")
    equal(paged("--no-pager", PAGER=mark), False, "that it is used with --no-pager")
    equal(paged(PAGER=mark, SYSTEMD_PAGER=""), False, "that it is used although none is wanted")
    equal(paged(PAGER=mark, SUDO_UID="1000"), False, "that somebody else's is used")
    equal(paged(PAGER=mark, TERM="dumb"), False, "that it is used on a dumb terminal")
    ctl(*arguments, PAGER=mark)
    equal(host.exists("paged"), False, "that it is used for a pipe")


def all_todo(document):
    """What the text of show has under "To do"."""
    return document["ToDo"] + [row["todo"] for row in document.get("Lint", []) if row["verdict"] != "pass" and row["todo"]]


@test("show: what is, what should be, why, and what to do", daemon=False)
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    output = on_bus(host, "show", "web1")[1]
    for line in ("Policy: default (", "Why: the tag names it", "CPU: host-model, to have svm", "State: in-sync",
                 "L2 guests: none since ", "Guard: not set", "May move: yes, as far as virtnest knows",
                 "By policy: BlockWhen=running QuietAfter=5s"):
        contains(output, line)
    guest.run_l2()
    host.wait_property("web1", {"Guarded": True})
    output = on_bus(host, "show", "web1")[1]
    for line in ("L2 guests: running since ", "Guard: set: QEMU refuses to migrate and save it",
                 "Why: it runs a guest of its own", "May move: no", "Why not: a guest of its own runs in it",
                 "To do: shut its guests down", "virtnestctl wait web1 --safe", "virtnestctl release web1 --for 10min",
                 "Platform: unsafe"):
        contains(output, line)
    document = json.loads(on_bus(host, "show", "web1", "-j")[1])
    equal(all_todo(document), re.findall(r"^ +To do: (.*)$", output, re.MULTILINE), "ToDo and that of Lint")
    equal([document[name] for name in ("Connected", "Platform")], [True, "unsafe"], "what is the manager's")
    host.ctl("release", "web1", "--for=30min", "--reason=moving house")
    output = on_bus(host, "show", "web1")[1]
    contains(output, "Released: until ")
    contains(output, "by root: moving house\n")
    lacks(output, "virtnestctl release", "the advice")
    equal(json.loads(on_bus(host, "show", "web1", "-j")[1])["ToDo"],
          ["it is released: libvirt moves it if told so, which may crash it"], "ToDo")
    document = json.loads(on_bus(host, "show", "web1", "-j")[1])
    seen = host.domain("web1")
    for name in seen.keys() - {"LastL2Activity", "NestedRuns"}:
        equal(document[name], seen[name], name)
    equal(on_bus(host, "status", "web1", "-j")[0], 0, "the status of status web1")
    host.policy("passthrough", "[CPU]\nMode=host-passthrough\n")
    host.define("two words", metadata=tag_xml("passthrough"))
    host.wait_state("two words", "error")
    output = on_bus(host, "show", "two")[1]
    contains(output, "State: error")
    contains(output, "To do: mend what the reason names; it is tried again by itself, or at once: "
                     "virtnestctl reconcile 'two words'")
    equal(all_todo(json.loads(on_bus(host, "show", "two", "-j")[1])), re.findall(r"^ +To do: (.*)$", output, re.MULTILINE),
          "ToDo and that of Lint")
    contains(on_bus(host, "show", "web1")[1], "Why: released by an operator")
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    contains(on_bus(host, "show", "web1")[1], "May move: unknown: virtnestd has no connection to libvirt")


@test("a domain by its name, UUID or the beginning of one, for every verb; if several begin so, they are listed")
def _(host):
    uuids = {"web1": "6695eb01-f6a4-4304-89aa-97f2502e193f", "web2": "6695eb02-f6a4-4304-89aa-97f2502e193f",
             "db1": "0ba7a1d2-f6a4-4304-89aa-97f2502e193f"}
    for name, uuid in uuids.items():
        host.define(name, uuid=uuid, metadata=tag_xml())
        host.wait_state(name, "in-sync")
    for verb in (("show",), ("status",), ("reconcile",), ("wait", "--in-sync"), ("tag",), ("untag",),
                 ("revoke",), ("hook", "allow")):
        for text in ("db1", "db", uuids["db1"], "0ba7"):
            host.ctl(*verb, text)
        said = fails(lambda: host.ctl(*verb, "web"))
        contains(said, "'web' may be any of these domains: web1, web2", f"what {verb} says")
        contains(fails(lambda: host.ctl(*verb, "wbe1")), "did you mean 'web1'?", f"what {verb} says")
        if verb == ("untag",):
            host.ctl("tag", "db1")
            host.wait_state("db1", "in-sync")
    contains(fails(lambda: host.ctl("release", "web")), "web1, web2", "what release says")
    contains(fails(lambda: host.ctl("release", "0b")), "domain 'db1' does not run", "what release says")
    contains(fails(lambda: host.ctl("monitor", "web")), "web1, web2", "what monitor says")


@test("wait ends at the signal, is not late, and polls nothing", daemon=False)
def _(host):
    l1.start_daemon(host)
    guest = l1.L1(host, "web1")
    bus = f"--bus={host.bus_address}"
    equal(on_bus(host, "wait", "web1", "--safe")[0], 0, "the status where it is so already")
    with running(host, bus, "wait", "web1", "--l2") as child:
        guest.run_l2()
        equal(child.wait(), 0, "the status of --l2")
    host.wait_property("web1", {"Guarded": True})
    status, output, error = on_bus(host, "wait", "web1", "--safe", "--timeout=100ms")
    equal((status, output), (124, ""), "the status and output when the time is over")
    contains(error, "the time is over, and domain 'web1' may not be moved: a guest of its own runs in it", "the error")
    with running(host, bus, "wait", "web1", "--safe", "--timeout=60s") as child:
        child.wait_line("Waiting: domain 'web1' may not be moved: a guest of its own runs in it")
        guest.stop_l2()
        host.wait_property("web1", {"MigrationSafe": True})
        seen = time.monotonic()
        equal(child.wait(), 0, "the status of --safe")
        assert time.monotonic() - seen < 5, "it noticed late"
    host.define("web2")
    host.wait_state("web2", "untagged")
    with running(host, bus, "wait", "web2", "--in-sync") as child:
        host.tag("web2")
        equal(child.wait(), 0, "the status of --in-sync")
    equal(on_bus(host, "wait", "web2", "--l2", "--timeout=1ms")[0], 124, "the status of --l2 where there is none")
    for wrong in ((), ("--safe", "--l2"), ("--safe", "--timeout=soon")):
        equal(on_bus(host, "wait", "web1", *wrong)[0], 2, f"the status of {wrong}")


@test("wait fails if the domain goes, or the daemon; --safe counts what is known now alone", daemon=False)
def _(host):
    host.start_daemon()
    host.define("web1")
    host.wait_state("web1", "untagged")
    bus = f"--bus={host.bus_address}"
    host.define("web0")
    host.wait_state("web0", "untagged")
    with running(host, bus, "wait", "web0", "--l2") as child:
        child.wait_line("Waiting: domain 'web0' runs no guest of its own")
        # More comes in the same moment, and it is over all the same.
        child.process.send_signal(signal.SIGSTOP)
        host.virsh("undefine", "web0")
        host.wait_gone("web0")
        host.policy("broken", "[CPU]\nMode=nonsense\n")
        host.wait_for("the error", lambda: host.manager()["ConfigurationErrors"])
        child.process.send_signal(signal.SIGCONT)
        equal(child.wait(), 1, "the status where the domain goes, and more happens")
        contains(child.text, "domain 'web0' is gone", "what it said")
        lacks(child.text, "AddressSanitizer", "what it said")
    host.remove("etc/virtnest/policy.d/broken.policy")
    with running(host, bus, "wait", "web1", "--l2") as child:
        child.wait_line("Waiting: domain 'web1' runs no guest of its own")
        host.virsh("undefine", "web1")
        equal(child.wait(), 1, "the status when the domain has gone")
        child.wait_line("domain 'web1' is gone")
    host.define("web2")
    host.wait_state("web2", "untagged")
    with running(host, bus, "wait", "web2", "--l2") as child:
        child.wait_line("Waiting: domain 'web2'")
        host.stop_daemon()
        equal(child.wait(), 1, "the status when the daemon has gone")
        child.wait_line("virtnestd is not running")
    host.start_daemon()
    host.wait_manager(Synced=True)
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    equal(host.domain("web2")["MigrationSafe"], True, "MigrationSafe, as it was seen last")
    status, _, error = on_bus(host, "wait", "web2", "--safe", "--timeout=100ms")
    equal(status, 124, "the status without libvirt")
    contains(error, "virtnestd has no connection to libvirt", "the error")
    with running(host, bus, "wait", "web2", "--safe", "--timeout=60s") as child:
        host.start_libvirtd()
        equal(child.wait(), 0, "the status once libvirt is back")


@test("monitor prints each change once, with what was; as JSON too; and goes on when the daemon comes back")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")
    bus = f"--bus={host.bus_address}"
    with running(host, bus, "monitor") as text, running(host, bus, "monitor", "--json=short") as documents:
        for child in (text, documents):
            child.wait_line("ready")
        host.tag("web1")
        line = text.wait_line(r"  web1  State: untagged -> in-sync$")
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}  ", line), line
        document = json.loads(documents.wait_line('"property":"State"'))
        assert abs(document.pop("time") / 1e6 - time.time()) < 60, "the time"
        equal(document, {"event": "changed", "domain": "web1", "uuid": host.domain("web1")["UUID"],
                         "property": "State", "before": "untagged", "value": "in-sync"}, "the document")
        text.wait_line(r"  web1  Tagged: no -> yes$")
        host.define("web3")
        text.wait_line(r"  web3  appeared$")
        host.virsh("undefine", "web3")
        text.wait_line(r"  web3  vanished$")
        equal(json.loads(documents.wait_line('"event":"vanished"'))["domain"], "web3", "who vanished")
        host.stop_daemon()
        text.wait_line(r"  virtnestd  lost$")
        text.wait_line(r"virtnestd is not running")
        host.start_daemon()
        host.wait_for("it to be ready again", lambda: text.text.count("  virtnestd  ready\n") == 2)
        host.wait_state("web1", "in-sync")
        host.untag("web1")
        text.wait_line(r"  web1  State: in-sync -> untagged$")
        equal(text.text.count("web1  State: untagged -> in-sync\n"), 1, "lines")
        text.process.send_signal(signal.SIGINT)
        equal(text.wait(), 0, "the status when it is interrupted")
        host.bus.kill()
        host.daemon.asked_to_end = True
        equal(documents.wait(), 1, "the status when the bus has gone")


@test("monitor of one domain tells of no other; there is no such domain")
def _(host):
    for name in ("web1", "web2"):
        host.define(name)
        host.wait_state(name, "untagged")
    with running(host, f"--bus={host.bus_address}", "monitor", "web1") as child:
        child.wait_line("ready")
        host.tag("web2")
        host.wait_state("web2", "in-sync")
        host.tag("web1")
        child.wait_line(r"web1  State")
        lacks(child.text, "web2", "what is said")
    equal(on_bus(host, "monitor", "web3")[0], 1, "the status")


@test("reconcile sees what sends no event")
def _(host):
    for arguments in (("web1",), ("--all",)):
        host.define("web1")
        host.wait_state("web1", "untagged")
        host.virsh("start", "web1")
        host.virsh("managedsave", "web1")
        host.tag("web1")
        host.wait_state("web1", "managed-save")
        # libvirt tells nobody of that.
        host.virsh("managedsave-remove", "web1")
        host.ctl("reconcile", *arguments)
        equal(host.domain("web1")["State"], "in-sync", f"State after reconcile {arguments[0]}")
        host.virsh("undefine", "web1")
        host.wait_gone("web1")
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    contains(fails(lambda: host.ctl("reconcile")), "takes a domain or --all", "the error")
    contains(fails(lambda: host.ctl("reconcile", "web1", "--all")), "takes a domain or --all", "the error")
    host.tag("web1", "nonsense")
    status, _, error = on_bus(host, "reconcile", "web1")
    equal(status, 1, "the status where the policy is unknown")
    contains(error, "domain 'web1': the policy 'nonsense'", "the error")
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    contains(fails(lambda: host.ctl("reconcile", "web1")), "there is no connection to libvirt", "the error")


@test("what virtnestd has not seen nobody is told that it is not there")
def _(host):
    host.define("web10")
    host.define("-dash")
    # busctl would take the other for an option.
    host.wait_state("web10", "untagged")
    host.wait_manager(DomainsTotal=2)
    contains(on_bus(host, "show", "--no-pager", "--", "-dash")[1], "-dash", "what show prints")
    equal(on_bus(host, "wait", "web1", "--safe", "--timeout=0")[0], 0, "the status by the beginning of a name")
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    unknown = "virtnestd has no connection to libvirt, and so not all domains"
    for verb in (("show", "web1"), ("reconcile", "web1"), ("release", "web1")):
        status, _, error = on_bus(host, *verb)
        equal(status, 1, f"the status of {verb}")
        contains(error, f"no domain 'web1' is known so far: {unknown}", f"what {verb} says")
    contains(on_bus(host, "show", "web10", "--no-pager")[1], "web10", "what show prints of one that is known")
    host.restart_daemon()
    host.wait_manager(Connected=False)
    for verb in ("drain", "list"):
        status, output, error = on_bus(host, verb)
        equal(status, 1, f"the status of {verb}")
        contains(error, unknown, f"what {verb} says")
    equal(on_bus(host, "drain")[1], "", "what drain prints")
    status, _, error = on_bus(host, "wait", "web10", "--in-sync", "--timeout=0")
    equal(status, 124, "the status of wait")
    contains(error, f"the time is over, and {unknown}", "what wait says")
    with running(host, f"--bus={host.bus_address}", "wait", "web10", "--safe", "--timeout=60s") as child:
        host.start_libvirtd()
        equal(child.wait(), 0, "the status of wait once libvirt is back")


@test("a virtnestd that does not answer: wait takes no longer than it was told to")
def _(host):
    host.define("web1")
    host.wait_state("web1", "untagged")
    host.daemon.signal(signal.SIGSTOP)
    try:
        # Much less than a call over D-Bus takes to fail.
        status, _, error = on_bus(host, "wait", "web1", "--safe", "--timeout=100ms")
    finally:
        host.daemon.signal(signal.SIGCONT)
    equal(status, 124, "the status")
    contains(error, "the time is over, and virtnestd has not answered", "the error")


@test("tag without virtnestd: done, and told that nothing follows from it", daemon=False)
def _(host):
    host.define("web1")
    connect = f"--connect={host.uri}"
    status, _, error = on_bus(host, connect, "tag", "web1")
    equal(status, 0, "the status")
    contains(error, "domain 'web1' is tagged, but virtnestd is not running", "what it says")
    status, _, error = on_bus(host, connect, f"--root={host.root}", "tag", "web1", "--policy=defalut")
    contains(error, "Did you mean 'default'?", "what it says of a policy that is not there")
    equal(on_bus(host, connect, "tag", "web1", "--policy=a'b<c")[0], 2, "the status with a name that no policy has")
    host.start_daemon()
    host.wait_state("web1", "error")
    equal(on_bus(host, connect, f"--root={host.root}", "tag", "web1")[2], "", "what it says with virtnestd")
    # Without a command it is status, as with systemctl.
    contains(on_bus(host)[1], "web1", "what is printed without a command")


@test("several hosts at once: a table with all, and who is dead is named and costs nobody anything", timeout=120)
def _(host):
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    with second_host() as other:
        other.define("web1", metadata=tag_xml("keep"))
        other.wait_state("web1", "in-sync")
        ssh = fake_ssh(host, one=host, two=other)
        status, output, error = ctl("-H", "one,two", "status", **ssh)
        equal((status, error), (0, ""), "the status and what is said")
        rows = [line.split() for line in output.splitlines()]
        assert ["HOST", "DOMAIN", "POLICY", "CPU", "STATE", "L2", "GUARD"] in rows, output
        assert ["one", "web1", "default", "host-model", "in-sync", "-", "-"] in rows, output
        assert any(row[:3] == ["two", "web1", "keep"] for row in rows), output
        # Behind the verb too, and one of them dead.
        status, output, error = ctl("status", "-H", "one", "--host=dead", "-H", "root@two", **ssh)
        equal(status, 1, "the status with a dead one")
        contains(output, "\none   web1", "the output")
        contains(error, "virtnestctl: dead: there is no way to its bus; `ssh dead systemd-stdio-bridge` has to work")
        documents = json.loads(ctl("-H", "dead,two", "status", "-j", **ssh)[1])
        equal([document["host"] for document in documents], ["dead", "two"], "the hosts")
        contains(documents[0]["error"], "no way to its bus", "the error")
        equal(documents[1]["domains"][0]["Policy"], "keep", "the policy of web1")
        equal([(row["host"], row["Name"]) for row in json.loads(ctl("-H", "one,two", "list", "-j", **ssh)[1])],
              [("one", "web1"), ("two", "web1")], "the list")
        status, output, error = ctl("-H", "one,two", "drain", **ssh)
        equal((status, output), (0, "0 domains keep these hosts from being evacuated.\n"), "drain")
        # One host is enough for what changes something or is about one domain.
        contains(ctl("-H", "two", "show", "web1", **ssh)[1], "Lint: not looked at: half of what is judged is in the files")
        equal(ctl("-H", "two", "wait", "web1", "--in-sync", **ssh)[0], 0, "the status of wait")
        equal(ctl("-H", "two", "reconcile", "web1", **ssh)[0], 0, "the status of reconcile")
        for verb in (("show", "web1"), ("wait", "web1", "--safe"), ("reconcile", "web1"), ("release", "web1")):
            status, _, error = ctl("-H", "one,two", *verb, **ssh)
            equal(status, 2, f"the status of {verb} on two")
            contains(error, "that works on one --host at a time", f"what {verb} says")
        for verb in (("tag", "web1"), ("policy", "list"), ("host",), ("render", "-")):
            status, _, error = ctl("-H", "one", *verb, **ssh)
            equal(status, 2, f"the status of {verb}")
            contains(error, "that works on this host alone", f"what {verb} says")
        equal(ctl("-H", "one", f"--bus={host.bus_address}", "status", **ssh)[0], 2, "the status with --bus")
        equal(ctl("-H", "-oProxyCommand=x", "status", **ssh)[0], 2, "the status of an option as a host")
        # As with a variable that is not set.
        status, _, error = ctl("-H", "", "release", "web1", **ssh)
        equal(status, 2, "the status with no host")
        contains(error, "-H takes a host, and has none", "the error")
        with running(host, "-H", "one", "monitor", start_new_session=True, **ssh) as child:
            child.wait_line("  one  virtnestd  ready$")
            # As a terminal does: the ssh gets it too, and is gone first.
            child.process.send_signal(signal.SIGSTOP)
            os.killpg(child.process.pid, signal.SIGINT)
            child.process.send_signal(signal.SIGCONT)
            equal(child.wait(), 0, f"the status when it is interrupted ({child.text})")
            lacks(child.text, "lost", "what it printed")
        with running(host, "-H", "one,two", "monitor", **ssh) as child:
            for name in ("one", "two"):
                child.wait_line(f"  {name}  virtnestd  ready$")
            other.tag("web1", "default")
            child.wait_line(r"  two  web1  Policy: keep -> default$")
            other.stop_daemon()
            child.wait_line(r"  two  virtnestd  lost$")
            host.untag("web1")
            child.wait_line(r"  one  web1  State: in-sync -> untagged$")
        status, output, error = ctl("-H", "two,one", "status", **ssh)
        equal(status, 1, "the status")
        contains(error, "two: virtnestd is not running; start it: systemctl -H two start virtnestd", "the error")
        contains(output, "two  does not answer\n", "the output")
        other.start_daemon()


@test("a host that says nothing is given up after half a minute, and the ssh to it ended", timeout=120)
def _(host):
    ssh = fake_ssh(host, one=host)
    status, output, error = ctl("-H", "silent,one", "status", **ssh)
    equal(status, 1, "the status")
    contains(error, "silent: it has not answered for 30 s", "the error")
    contains(output, "one  AMD, nesting on", "the output")
    left = subprocess.run(["pgrep", "-f", f"^sleep {SILENCE}$"], capture_output=True, check=False, text=True)
    equal(left.stdout, "", "processes that are left")


def unlike(name, *features):
    """QEMU's capabilities as libvirtd has kept them, without some features of its emulated CPU."""
    changed = {}
    for key, content in harness.qemu_capabilities.items():
        text = content.decode()
        for feature in features:
            text, n = re.subn(rf"(<property name='{feature}' type='boolean' value=)'true'", r"\1'false'", text)
            assert n or "'tcg'" not in text, f"no {feature} in libvirt's cache"
        changed[key] = text.encode()
    return changed


@contextlib.contextmanager
def unlike_host(*features):
    saved = dict(harness.qemu_capabilities)
    harness.qemu_capabilities.update(unlike("", *features))
    try:
        with second_host() as other:
            harness.qemu_capabilities.update(saved)
            yield other
    finally:
        harness.qemu_capabilities.update(saved)


@test("baseline: two hosts that are not alike get a policy that starts a guest on both", timeout=120)
def _(host):
    with unlike_host("avx2", "smep", "adx", "bmi2") as other:
        status, policy, error = ctl("baseline", "--virt-type=qemu", host.uri, other.uri)
        equal((status, error), (0, ""), "the status and what is said")
        contains(policy, f"# {host.uri}: EPYC; lacks nothing that another one has\n")
        contains(policy, f"# {other.uri}: Opteron_G3; lacks adx avx2 bmi2 smep\n")
        document = json.loads(ctl("baseline", "--virt-type=qemu", "-j", other.uri, host.uri)[1])
        equal(document["hosts"][0]["lacks"], ["adx", "avx2", "bmi2", "smep"], "what it lacks")
        contains(document["require"], "svm", "Require")
        contains(policy, f"\nModel={document['model']}\n")
        file = host.write_file("fleet.policy", policy)
        contains(host.ctl("policy", "check", str(file)), "1 file is valid.")
        for one in (host, other):
            one.policy("fleet", policy)
            one.wait_for("the policy", lambda one=one: "fleet" in one.ctl("policy", "list"))
            one.define("web1", metadata=tag_xml("fleet"))
            one.wait_state("web1", "in-sync")
        host.virsh("start", "web1")
        contains(host.live_xml("web1"), "name='svm'", "the live definition")
        # The other one has the same QEMU in truth, which gives all that libvirt asks it for.
        other.virsh("start", "web1")
        contains(other.live_xml("web1"), "name='svm'", "the live definition")


@test("baseline: who does not answer, has no nesting or no KVM is named, and there is no policy", timeout=120)
def _(host):
    ssh = fake_ssh(host)
    status, output, error = ctl("baseline", "--virt-type=qemu", host.uri, "dead", **ssh)
    equal((status, output), (1, ""), "the status and output with a dead one")
    contains(error, "dead: cannot connect to its libvirt", "the error")
    status, output, error = ctl("baseline", host.uri)
    equal((status, output), (1, ""), "the status and output without KVM")
    contains(error, f"{host.uri}: cannot tell what its hypervisor can do", "the error")
    with unlike_host("svm") as other:
        status, output, error = ctl("baseline", "--virt-type=qemu", host.uri, other.uri)
        equal((status, output), (1, ""), "the status and output without nesting")
        contains(error, f"{other.uri} cannot give the CPU", "the error")
        contains(error, "svm", "the error")
    equal(ctl("baseline")[0], 2, "the status without a host")
    # One that ends before it was written to: the command must not go with it, whoever is faster.
    with running(host, "baseline", "mute", **ssh) as child:
        host.wait_for("ssh", lambda: "mute" in host.read("ssh.log"))
        status = pathlib.Path(f"/proc/{child.process.pid}/status").read_text()
        ignored = int(re.search(r"^SigIgn:\s+(\w+)$", status, re.MULTILINE).group(1), 16)
        equal(ignored >> (signal.SIGPIPE - 1) & 1, 1, "whether it ignores SIGPIPE")


@test("bash completes the domains of a running daemon")
def _(host):
    for name in ("web1", "web2", "with space"):
        host.define(name)
        host.wait_state(name, "untagged")
    script = (f"PATH={shlex.quote(os.path.dirname(program()))}:$PATH; . {harness.SOURCE}/man/bash/virtnestctl; "
              "COMP_LINE=\"virtnestctl --bus $1 show w\"; COMP_POINT=${#COMP_LINE}; "
              "COMP_WORDS=(virtnestctl --bus \"$1\" show w); COMP_CWORD=4; _virtnestctl virtnestctl w show 2>/dev/null; "
              "printf '%s\\n' \"${COMPREPLY[@]}\"")
    equal(run(["bash", "-c", script, "bash", host.bus_address]).splitlines(), ["web1", "web2", "with\\ space"],
          "what is offered")


@test("a host behind a real sshd: by name, user and port; without virtnestd; and with a key that it does not take")
def _(host):
    start_sshd(host)
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    for name in ("localhost", "root@localhost", "localhost:2222"):
        status, output = ctl_inside(host, "-H", name, "list", "--names")
        equal((status, output), (0, "web1\n"), f"what {name} lists")
    equal(ctl_inside(host, "-H", "localhost", "wait", "web1", "--in-sync", "--timeout=30s"), (0, ""), "wait")
    equal(ctl_inside(host, "-H", "localhost", "reconcile", "web1"), (0, ""), "reconcile")
    contains(ctl_inside(host, "-H", "localhost,localhost:2222", "list")[1], "localhost:2222  web1", "the list of two")
    host.stop_daemon()
    status, output = ctl_inside(host, "-H", "localhost", "status")
    equal(status, 1, "the status without virtnestd")
    contains(output, "virtnestctl: localhost: virtnestd is not running; start it: systemctl -H localhost start virtnestd")
    host.write_file("ssh/user.pub", "")
    status, output = ctl_inside(host, "-H", "localhost", "status")
    equal(status, 1, "the status without a key")
    contains(output, "Permission denied (publickey", "what ssh says")
    contains(output, "virtnestctl: localhost: there is no way to its bus; `ssh localhost systemd-stdio-bridge` has to work")
    contains(ctl_inside(host, "-H", "root@localhost:2222", "status")[1], "`ssh -p 2222 root@localhost systemd-stdio-bridge`")


if __name__ == "__main__":
    tap.main()
