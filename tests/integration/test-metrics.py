#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Numbers for a monitoring system: on D-Bus, from virtnestctl, and in a file that must never be an old one."""

import os
import pathlib
import re
import shutil

import tap
from harness import MANAGER, NAME, ROOT_PATH, SOURCE, tag_xml
from tap import contains, equal, fails, lacks, test

FILE = "var/lib/prometheus/virtnest.prom"
METRICS = f"[Metrics]\nFile=/{FILE}\nInterval=1s\n"


def parse(text):
    """{(name, labels): value} of the samples; labels as they are written."""
    samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, labels, value = re.fullmatch(r"([a-z0-9_]+)(?:\{(.*)\})? (\S+)", line).groups()
            samples[name, labels or ""] = float(value)
    return samples


def of_domain(samples, metric, uuid):
    """{the labels behind name and uuid: value}"""
    return {labels.split(f'uuid="{uuid}"')[1].lstrip(","): value for (name, labels), value in samples.items()
            if name == metric and f'uuid="{uuid}"' in labels}


def begin(host, text=METRICS):
    pathlib.Path(host.root, FILE).parent.mkdir(parents=True)
    host.write("etc/virtnest/virtnest.conf.d/50-metrics.conf", text)
    path = pathlib.Path(host.root, FILE)
    return path


def wait_written(host, path, after=None):
    """Waits for the file, or for another one than `after`; returns its inode number."""
    def look():
        inode = path.stat().st_ino if path.exists() else None
        return inode if inode != after else None

    return host.wait_for(f"{path.name} to be written", look)


def wait_removed(host, path):
    host.wait_for(f"{path.name} to be removed", lambda: not path.exists())


@test("GetMetrics and virtnestctl metrics give what the manual has, and nothing else")
def _(host):
    uuid = host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    manual = (SOURCE / "man/virtnest-metrics.7.rst").read_text()
    documented = set(re.findall(r"^``(virtnest_\w+)`` \(", manual, re.MULTILINE))
    text = host.ctl("metrics")
    equal(set(re.findall(r"^# HELP (\S+)", text, re.MULTILINE)), documented, "the names")
    samples = parse(text)
    equal(samples["virtnest_libvirt_connected", ""], 1, "virtnest_libvirt_connected")
    equal(samples["virtnest_domains", 'kind="tagged"'], 1, "virtnest_domains")
    equal(samples["virtnest_rewrites_total", ""], 1, "virtnest_rewrites_total")
    equal(of_domain(samples, "virtnest_domain_state", uuid), {'state="in-sync"': 1}, "virtnest_domain_state")
    equal(of_domain(samples, "virtnest_domain_info", uuid), {'policy="default",source=""': 1}, "virtnest_domain_info")
    contains(text, 'virtnest_build_info{version="', "the text")
    openmetrics = host.ctl("metrics", "--format=openmetrics")
    contains(openmetrics, "# TYPE virtnest_rewrites counter\nvirtnest_rewrites_total 1\n", "OpenMetrics")
    equal({key for key, _ in parse(openmetrics)}, {key for key, _ in samples}, "the names in OpenMetrics")
    fails(lambda: host.ctl("metrics", "--format=json"), "prometheus or openmetrics")
    fails(lambda: host.call(ROOT_PATH, MANAGER, "GetMetrics", "s", ""), "prometheus or openmetrics")


@test("others than root may ask for them, and promtool takes what they get")
def _(host):
    host.define('quo"te \\ ä', metadata=tag_xml())
    host.wait_state('quo"te \\ ä', "in-sync")
    process = host.spawn(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "busctl", "--system",
                          "--json=short", "call", NAME, ROOT_PATH, MANAGER, "GetMetrics", "s", "prometheus"],
                         log=f"{host.logs}/nobody.log")
    equal(process.wait(), 0, f"the status ({process.log_text()})")
    contains(process.log_text(), "# EOF", "the answer")
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if promtool is None:
        raise tap.Skip("no promtool")
    host.write_file("metrics", host.ctl("metrics"))
    process = host.spawn(["sh", "-c", f"'{promtool}' check metrics <'{host.top}/metrics'"], log=f"{host.logs}/promtool.log")
    equal((process.wait(), process.log_text()), (0, ""), "promtool's status and output")


@test("the numbers follow what happens to a guest")
def _(host):
    host.policy("default", "[CPU]\nMode=keep\n[Guard]\nBlockWhen=always\n")
    uuid = host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    host.virsh("start", "web1")
    host.wait_property("web1", {"Guarded": True})
    samples = parse(host.ctl("metrics"))
    for metric, value in (("running", 1), ("guarded", 1), ("migration_safe", 0), ("released", 0), ("guard_failed", 0)):
        equal(of_domain(samples, f"virtnest_domain_{metric}", uuid), {"": value}, metric)
    equal(samples["virtnest_guard_set_seconds_count", ""], 1, "virtnest_guard_set_seconds_count")
    equal(samples["virtnest_domains", 'kind="guarded"'], 1, "virtnest_domains")
    host.ctl("release", "web1")
    samples = parse(host.ctl("metrics"))
    for metric, value in (("guarded", 0), ("migration_safe", 1), ("released", 1)):
        equal(of_domain(samples, f"virtnest_domain_{metric}", uuid), {"": value}, f"{metric} of a released one")
    host.policy("bad", "[CPU]\nMode=best\n")
    host.wait_for("a configuration error", lambda: parse(host.ctl("metrics"))["virtnest_configuration_errors", ""] == 1)
    equal(parse(host.ctl("metrics"))["virtnest_configuration_loads_total", 'result="rejected"'] >= 1, True, "rejections")
    host.kill_libvirtd()
    host.wait_manager(Connected=False)
    samples = parse(host.ctl("metrics"))
    equal((samples["virtnest_libvirt_connected", ""], samples["virtnest_synced", ""]), (0, 0), "connected and synced")


@test("the file is there for everyone, is replaced as a whole, and goes when virtnestd stops", daemon=False)
def _(host):
    path = begin(host)
    host.start_daemon()
    inode = wait_written(host, path)
    equal(path.stat().st_mode & 0o7777, 0o644, "its mode")
    second = wait_written(host, path, after=inode)
    contains(path.read_text(), "# EOF\n", "the file")
    equal(path.read_text().endswith("# EOF\n"), True, "that it is whole")
    wait_written(host, path, after=second)
    equal([name for name in os.listdir(path.parent) if name.endswith(".prom")], [path.name], "what a collector reads")
    equal(host.manager()["MetricsError"], "", "MetricsError")
    # No reload comes of it.
    equal(len(re.findall("configuration read", host.daemon.log_text())), 0, "reloads")
    host.stop_daemon()
    equal(os.listdir(path.parent), [], "what is left in the folder")


@test("the old file goes when it is to be another one, or none", daemon=False)
def _(host):
    path = begin(host)
    other = path.with_name("other.prom")
    host.start_daemon()
    wait_written(host, path)
    host.write("etc/virtnest/virtnest.conf.d/50-metrics.conf", METRICS.replace("virtnest.prom", "other.prom"))
    wait_written(host, other)
    wait_removed(host, path)
    host.write("etc/virtnest/virtnest.conf.d/60-none.conf", "[Metrics]\nFile=none\n")
    wait_removed(host, other)
    host.remove("etc/virtnest/virtnest.conf.d/60-none.conf")
    wait_written(host, other)
    host.remove("etc/virtnest/virtnest.conf.d/50-metrics.conf")
    wait_removed(host, other)


@test("a write that fails is told once, leaves no old file, and is tried again", daemon=False)
def _(host):
    path = begin(host)
    host.start_daemon()
    wait_written(host, path)
    # What is in the place of the new file, and cannot be taken away by unlink(2).
    blocker = path.with_name(f".{path.name}.new")
    host.wait_for("the folder to be made", lambda: not blocker.exists() and (blocker.mkdir() or True))
    seen = host.wait_for("MetricsError", lambda: host.manager()["MetricsError"])
    contains(seen, blocker.name, "MetricsError")
    wait_removed(host, path)
    loads = parse(host.ctl("metrics"))["virtnest_collected_timestamp_seconds", ""]
    host.wait_for("two more attempts", lambda: parse(host.ctl("metrics"))["virtnest_collected_timestamp_seconds", ""]
                  > loads + 2.5)
    equal(len(re.findall("metrics are not written", host.daemon.log_text())), 1, "messages")
    blocker.rmdir()
    wait_written(host, path)
    host.wait_manager(MetricsError="")
    host.wait_log("metrics are written again")


@test("the folder is not there: virtnestd says so, and goes on", daemon=False)
def _(host):
    host.write("etc/virtnest/virtnest.conf.d/50-metrics.conf", METRICS)
    host.start_daemon()
    host.wait_for("MetricsError", lambda: "No such file" in host.manager()["MetricsError"])
    host.define("web1", metadata=tag_xml())
    host.wait_state("web1", "in-sync")
    pathlib.Path(host.root, FILE).parent.mkdir(parents=True)
    wait_written(host, pathlib.Path(host.root, FILE))


@test("a file that virtnestd was killed over tells its age, and the next one replaces it", daemon=False)
def _(host):
    path = begin(host)
    host.start_daemon()
    inode = wait_written(host, path)
    host.daemon.kill()
    age = parse(path.read_text())["virtnest_collected_timestamp_seconds", ""]
    equal(abs(path.stat().st_mtime - age) < 60, True, "that the time in it is its own")
    host.start_daemon()
    wait_written(host, path, after=path.stat().st_ino)
    equal(path.stat().st_ino != inode, True, "that it is another one")


@test("a link in the place of the new file is not followed", daemon=False)
def _(host):
    path = begin(host)
    victim = host.write_file("victim", "precious\n")
    os.symlink(victim, path.with_name(f".{path.name}.new"))
    os.symlink(victim, path)
    host.start_daemon()
    host.wait_for("the file", lambda: not path.is_symlink() and path.exists())
    equal(victim.read_text(), "precious\n", "the file that the links lead to")


# Prints a line for each new file that it sees, up to four.
FULL_DISK = r"""
mount -t tmpfs -o size=256k tmpfs "$1" || exit 1
echo mounted
while [ ! -e "$1/virtnest.prom" ]; do sleep 0.05; done
dd if=/dev/zero of="$1/other" bs=4k 2>/dev/null
# Room for half of another one: it is as large as that after a change, too.
truncate -s -8k "$1/other"
for number in 1 2 3 4; do
    before=$(stat -c %i "$1/virtnest.prom" 2>/dev/null)
    until now=$(stat -c %i "$1/virtnest.prom" 2>/dev/null) && [ "$now" != "$before" ]; do sleep 0.05; done
    echo "file $number"
done
"""


@test("on a disk that has no room for two files there is one, time after time")
def _(host):
    path = begin(host, "")
    watcher = host.spawn(["sh", "-c", FULL_DISK, "sh", str(path.parent)], log=f"{host.logs}/watcher.log")
    host.wait_for("the file system", lambda: "mounted" in watcher.log_text())
    host.write("etc/virtnest/virtnest.conf.d/50-metrics.conf", METRICS)
    host.wait_for("four files", lambda: "file 4" in watcher.log_text())
    equal(host.manager()["MetricsError"], "", "MetricsError")
    lacks(host.daemon.log_text(), "metrics are not written", "the log")


@test("a path that would do harm or be of no use is refused", daemon=False)
def _(host):
    host.start_daemon()
    for value in ("virtnest.prom", "/var/lib/virtnest.txt", "/run/virtnest/virtnest.prom", "/etc/virtnest/policy.d/x.prom",
                  "/run/virtnest/metrics/../x.prom"):
        host.write("etc/virtnest/virtnest.conf.d/50-metrics.conf", f"[Metrics]\nFile={value}\n")
        host.wait_for(f"{value} to be refused", lambda value=value: any(
            f"[Metrics] File={value}: takes none, or" in error for error in host.manager()["ConfigurationErrors"]))
    host.write("etc/virtnest/virtnest.conf.d/50-metrics.conf", "[Metrics]\nInterval=500ms\n")
    host.wait_for("Interval= to be refused", lambda: any("[Metrics] Interval=500ms" in error
                                                        for error in host.manager()["ConfigurationErrors"]))
    lacks(host.daemon.log_text(), "Sanitizer", "the log")


if __name__ == "__main__":
    tap.main()
