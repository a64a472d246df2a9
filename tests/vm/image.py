#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a virtual L0 host is made of: a disk with a Debian release, a kernel, and an initramfs that brings the rest.

    image.py RELEASE...     make what is missing, and print where it is

The disk is made once for each list of packages, and never written to: a machine gets a temporary layer over it. All that
changes more often comes in the initramfs, which copies it over the disk before systemd starts: virtnest, built in a
chroot of the same release and installed with "make install", the tests' agent, and what an L1 guest boots from.

Everything is kept below VIRTNEST_VM_CACHE (~/.cache/virtnest/vm), in folders named after a hash of what they were made
from. The packages come from where this machine's own come from.
"""

import collections
import contextlib
import fcntl
import gzip
import hashlib
import io
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile

import vm

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
RELEASES = ("bookworm", "trixie")

L0_PACKAGES = ("apparmor", "dbus", "iproute2", "kmod", "libjson-glib-1.0-0", "libvirt-clients", "libvirt-daemon-system",
               "libvirt-glib-1.0-0", "libxml2", "polkitd", "python3", "qemu-system-x86", "qemu-utils", "systemd",
               "systemd-sysv", "udev")
# One of them on the message bus that Fedora and Arch Linux have, which reads the bus policies with a parser of its own.
RELEASE_PACKAGES = {"bookworm": (), "trixie": ("dbus-broker",)}
BUILD_PACKAGES = ("autoconf", "automake", "gcc", "libc6-dev", "libglib2.0-dev", "libjson-glib-dev", "libsystemd-dev",
                  "libtool", "libvirt-dev", "libvirt-glib-1.0-dev", "libxml2-dev", "make", "pkgconf")
# What is compiled and installed; tests are not, but automake wants their fragment.
BUILD_SOURCES = ("Makefile.am", "configure.ac", "ctl", "daemon", "lib", "man", "policy", "tests/Makefile.am.inc", "units")
# Left by a build in the source folder.
BUILT = re.compile(r"(\.(o|lo|la|a|log|trs|service|in~)|/Makefile\.in|/\.dirstamp)$|/\.(libs|deps)/|\.[158]$")

# Until systemd's own udev loads the rest.
L0_MODULES = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
# The last two are for a power button.
L1_MODULES = ("kvm-amd", "button", "evdev")
# What "systemctl enable" would do: in each L0, and in one that has virtnest.
TEST_UNITS = {"virtnest-vm-agent.service": "sysinit", "virtnest-vm-journal.service": "sysinit"}
PRODUCT_UNITS = {"virtnestd.service": "multi-user"}

GIGABYTE = 1 << 30
SPACE = 5 * GIGABYTE

# Of this machine's settings of apt those that tell how to reach the mirrors.
APT_SETTINGS = re.compile(r"^Acquire::(Check-|Retries|Force|https?(::|\s)|[^ ]*Proxy)", re.IGNORECASE)
# What mmdebstrap prints if nobody is at fault but the network.
NO_NETWORK = re.compile(r"Could not resolve|Temporary failure|Could not connect|Unable to connect|Connection timed out|"
                        r"Network is unreachable|Connection failed|Failed to fetch")


# Of AppArmor's rules for guests: names on the network, sound, and emulators of other machines.
UNUSED_RULES = re.compile(r"abstractions/nameservice|pulse|alsa|/snd/|/bin/qemu-(?!system-x86_64)")


class Missing(Exception):
    """This machine lacks what it takes. The message says what."""


def cache_folder():
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "virtnest/vm")
    return pathlib.Path(os.environ.get("VIRTNEST_VM_CACHE") or default)


def find_program(name):
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")


def missing_reason(machines=1):
    """Why no image can be made here, or that many machines not started, or None."""
    if os.geteuid() != 0:
        return "needs root, for chroots"
    for program in ("mmdebstrap", "mke2fs", "busybox", "cc", "unshare", "apt-get", "qemu-system-x86_64"):
        if find_program(program) is None:
            return f"{program} is not installed"
    # What is built runs in namespaces of its own; a container's root may lack the right.
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"],
                      stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode != 0:
        return "may not mount, for chroots"
    free = int(re.search(r"^MemAvailable: +(\d+)", pathlib.Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE)[1])
    if free < machines * vm.MEMORY * 1024:
        return f"less than {machines * vm.MEMORY} MiB of memory free"
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # Once all is there, nothing but logs and temporary layers is written.
    if not any(folder.glob("disk-*")) and shutil.disk_usage(folder).free < SPACE:
        return f"less than {SPACE // GIGABYTE} GiB free below {folder}"
    return None


def digest(*parts):
    total = hashlib.sha256()
    for part in parts:
        total.update(repr(part).encode())
    return total.hexdigest()[:16]


def run(command, log, what, **arguments):
    """Runs a command with its output to a file, which is shown if it fails."""
    with open(log, "ab") as output:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                timeout=1800, check=False, **arguments)
    if result.returncode != 0:
        text = pathlib.Path(log).read_text(encoding="utf-8", errors="replace")
        if NO_NETWORK.search(text):
            raise Missing(f"{what}: the mirrors of this machine's packages cannot be reached")
        raise RuntimeError(f"{what} failed; the end of {log}:\n" + "\n".join(text.splitlines()[-40:]))


def progress(text):
    print(f"# {text}", flush=True)


# Debian ---------------------------------------------------------------------------------------------------------------

def sources(release):
    """Lines of a sources.list for a release, with the mirrors of this machine."""
    codename = ""
    for line in pathlib.Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            codename = line.split("=", 1)[1].strip('"')
    listed = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
                             "Created-By: Packages"], capture_output=True, text=True, check=False).stdout
    lines = []
    for line in listed.splitlines():
        uri, suite, component = (line.split() + ["", "", ""])[:3]
        if component == "main" and suite in (codename, f"{codename}-updates", f"{codename}-security"):
            lines.append(f"deb {uri} {suite.replace(codename, release)} main")
    if not codename or not lines:
        raise Missing("this machine's apt has no Debian mirror with main")
    return sorted(set(lines))


def bootstrap(release, packages, target, log):
    """Installs a release into a folder."""
    settings = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    options = [f"--aptopt={line.rstrip(';')}" for line in settings.splitlines() if APT_SETTINGS.match(line)]
    # Manuals and translations of others' programs.
    for path in ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*"):
        options.append(f"--dpkgopt=path-exclude={path}")
    run(["mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", *options,
         f"--include={','.join(packages)}", release, str(target), *sources(release)], log, f"installing {release}")


def install_kernel(root, log):
    """Debian's kernel without its dependencies, of which the initramfs tools alone take a minute."""
    script = """set -e
    mkdir /tmp/kernel
    cd /tmp/kernel
    apt-get -q update
    apt-get -q download $(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p')
    dpkg-deb --fsys-tarfile *.deb | tar -x -C / --keep-directory-symlink
    rm -r /tmp/kernel /var/lib/apt/lists/*
    depmod $(ls /lib/modules)
    """
    run(["chroot", str(root), "sh", "-c", script], log, "installing the kernel")


@contextlib.contextmanager
def new_folder(kind, key):
    """A folder of the cache that is there as a whole or not at all; takes the place of older ones of its kind, and of what
    a program left that was killed: whoever makes one has the lock of its release."""
    cache = cache_folder()
    path = cache / f"{kind}-{key}"
    for old in [*cache.glob(f"{kind}-*"), *cache.glob(f"new-{kind}-*")]:
        shutil.rmtree(old)
    temporary = pathlib.Path(tempfile.mkdtemp(prefix=f"new-{kind}-", dir=cache))
    try:
        yield temporary
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def disk_folder(release):
    """kernel, root.ext4 and modules/ of a release."""
    # With the newlines only the headings are meant, and not this line.
    code = pathlib.Path(__file__).read_bytes().split(b"\n# Debian ---")[1].split(b"\n# virtnest ---")[0]
    packages = L0_PACKAGES + RELEASE_PACKAGES[release]
    key = digest(packages, L0_MODULES, L1_MODULES, code)
    path = cache_folder() / f"disk-{release}-{key}"
    if path.exists():
        return path
    progress(f"making the disk of {release}")
    with new_folder(f"disk-{release}", key) as folder:
        root = folder / "root"
        bootstrap(release, packages, root, folder / "log")
        install_kernel(root, folder / "log")
        kernel, = root.glob("boot/vmlinuz-*")
        shutil.copy(kernel, folder / "kernel")
        # Where libvirt's AppArmor profiles let guests read from.
        shutil.copy(kernel, root / "var/lib/libvirt/images/l1.kernel")
        copy_modules(root / "lib/modules" / kernel.name.split("-", 1)[1], folder / "modules")
        trim(root)
        versions = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W"]
        (folder / "packages").write_text(subprocess.run(versions, capture_output=True, text=True, check=True).stdout,
                                         encoding="utf-8")
        run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-L", "root", "-d", str(root), str(folder / "root.ext4"),
             "3G"], folder / "log", "making the file system")
        shutil.rmtree(root)
        boot_once(release, folder)
    return path


def boot_once(release, folder):
    """What a machine finds out or compiles at its first start and then keeps: AppArmor's profiles, for that kernel, and what
    QEMU can do, asked with KVM. It takes longer than all else of a start."""
    progress(f"booting {release} for the first time")
    initrd = folder / "initrd"
    archive = base_archive(folder, "l0")
    add_units(archive, TEST_UNITS)
    initrd.write_bytes(archive.finish())
    first = Files(folder / "kernel", initrd, folder / "root.ext4")
    with vm.Machine(first, folder / "boot", keep=True) as machine:
        machine.wait_up()
        # Under each of its names.
        for emulator in ("/usr/bin/kvm", "/usr/bin/qemu-system-x86_64"):
            machine.virsh(f"domcapabilities --virttype kvm --emulatorbin {emulator} >/dev/null", 3 * vm.PATIENCE)
        machine.power_off()
    initrd.unlink()


def trim(root):
    """Leaves out what would only make the machine's start longer."""
    # A machine gets these from its command line; "\n" rather than nothing would be wrong in the second.
    for name in ("etc/fstab", "etc/machine-id", "etc/hostname"):
        (root / name).write_text("", encoding="utf-8")
    # To compile the profiles of browsers takes most of a minute.
    for path in (root / "etc/apparmor.d").iterdir():
        if path.is_file() and "libvirt" not in path.name and "virt-aa" not in path.name:
            path.unlink()
    # libvirt has the profile of a guest compiled five times when it starts and some more when it is saved. This makes each
    # take a quarter of the time, and a profile that is larger and means the same.
    with open(root / "etc/apparmor/parser.conf", "a", encoding="utf-8") as file:
        file.write("Optimize=no-expr-simplify\nOptimize=no-minimize\n")
    # It allows less than it did, and what is left out no guest here asks for.
    abstraction = root / "etc/apparmor.d/abstractions/libvirt-qemu"
    abstraction.write_text("".join(line for line in abstraction.read_text(encoding="utf-8").splitlines(keepends=True)
                                   if not UNUSED_RULES.search(line)), encoding="utf-8")
    # Tests that need it start it.
    (root / "etc/systemd/system/multi-user.target.wants/libvirt-guests.service").unlink(missing_ok=True)
    for name in ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
                 "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "logrotate.timer",
                 "proc-sys-fs-binfmt_misc.automount", "systemd-binfmt.service", "systemd-pstore.service",
                 "systemd-tmpfiles-clean.timer"):
        (root / f"etc/systemd/system/{name}").symlink_to("/dev/null")
    # What has to be done once after an installation is done.
    for name in ("etc/.updated", "var/.updated"):
        (root / name).touch()


def copy_modules(source, target):
    """The modules for both initramfs, unpacked, each before those that need it in the list of its name."""
    depends = {}
    for line in (source / "modules.dep").read_text(encoding="utf-8").splitlines():
        module, needs = line.split(":", 1)
        depends[module_name(module)] = (module, needs.split())
    target.mkdir()
    for machine, names in (("l0", L0_MODULES), ("l1", L1_MODULES)):
        order = []
        for name in names:
            module, needs = depends.get(name.replace("-", "_"), (None, []))
            # What is not there is part of the kernel.
            for path in [*reversed(needs), module] if module else []:
                if module_name(path) in order:
                    continue
                order.append(module_name(path))
                content = (source / path).read_bytes()
                (target / f"{module_name(path)}.ko").write_bytes(
                    lzma.decompress(content) if path.endswith(".xz") else content)
        (target / machine).write_text("\n".join(order) + "\n", encoding="utf-8")


def module_name(path):
    return path.rsplit("/", 1)[-1].split(".ko", 1)[0].replace("-", "_")


# virtnest -------------------------------------------------------------------------------------------------------------

def chroot_folder(release):
    """A folder with chroot.tar.gz, which has what a build takes."""
    key = digest(BUILD_PACKAGES)
    path = cache_folder() / f"chroot-{release}-{key}"
    if path.exists():
        return path
    progress(f"making the chroot to build for {release} in")
    with new_folder(f"chroot-{release}", key) as folder:
        bootstrap(release, BUILD_PACKAGES, folder / "root", folder / "log")
        run(["tar", "-c", "-I", "gzip -1", "-f", str(folder / "chroot.tar.gz"), "-C", str(folder / "root"), "."],
            folder / "log", "packing the chroot")
        shutil.rmtree(folder / "root")
    return path


def build_sources():
    for name in BUILD_SOURCES:
        path = SOURCE / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and not BUILT.search(str(file)):
                yield file


def virtnest_folder(release):
    """A folder with files/, what "make install" installs."""
    files = list(build_sources())
    # A change to the tests changes nothing of what is installed.
    key = digest(BUILD_PACKAGES, [(str(file.relative_to(SOURCE)), file.read_bytes()) for file in files
                                  if file.parent.name != "tests"])
    path = cache_folder() / f"virtnest-{release}-{key}"
    if path.exists():
        return path
    chroot = chroot_folder(release)
    progress(f"building virtnest for {release}")
    with new_folder(f"virtnest-{release}", key) as folder:
        root = folder / "root"
        root.mkdir()
        run(["tar", "-x", "-z", "-f", str(chroot / "chroot.tar.gz"), "-C", str(root)], folder / "log",
            "unpacking the chroot")
        for file in files:
            copy = root / "build" / file.relative_to(SOURCE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
        script = """set -e
        cd /build
        autoreconf -fi
        ./configure --prefix=/usr --sysconfdir=/etc --localstatedir=/var --runstatedir=/run CFLAGS=-O1
        make -j"$(nproc)"
        make install DESTDIR=/installed
        """
        run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
             'mount -t proc proc "$1/proc" && exec chroot "$1" sh -c "$2"', "sh", str(root), script], folder / "log",
            f"building virtnest for {release}", env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/"})
        (root / "installed").rename(folder / "files")
        shutil.rmtree(root)
    return path


# Initramfs ------------------------------------------------------------------------------------------------------------

class Archive:
    """A cpio archive as the kernel unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst)."""

    def __init__(self):
        self.stream = io.BytesIO()
        self.names = set()

    def add(self, name, content=b"", mode=stat.S_IFREG | 0o644, device=(0, 0)):
        name = name.strip("/")
        if name in self.names:
            if stat.S_ISDIR(mode):
                return
            raise ValueError(f"{name} is there already")
        parent = name.rpartition("/")[0]
        if parent:
            self.add(parent, mode=stat.S_IFDIR | 0o755)
        self.names.add(name)
        self.write(name, content, mode, device)

    def write(self, name, content, mode, device=(0, 0)):
        encoded = name.encode() + b"\0"
        fields = (len(self.names), mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
        self.stream.write(b"070701" + b"".join(b"%08x" % field for field in fields) + encoded)
        self.pad()
        self.stream.write(content)
        self.pad()

    def pad(self):
        self.stream.write(b"\0" * (-self.stream.tell() % 4))

    def program(self, name, content):
        self.add(name, content, stat.S_IFREG | 0o755)

    def link(self, name, target):
        self.add(name, target.encode(), stat.S_IFLNK | 0o777)

    def tree(self, folder, prefix):
        for path in sorted(pathlib.Path(folder).rglob("*")):
            # The disk's /lib is a link to /usr/lib.
            name = re.sub(r"^(lib|bin|sbin)/", r"usr/\1/", str(path.relative_to(folder)))
            info = path.lstat()
            if stat.S_ISLNK(info.st_mode):
                self.link(f"{prefix}/{name}", os.readlink(path))
            elif stat.S_ISREG(info.st_mode):
                self.add(f"{prefix}/{name}", path.read_bytes(), info.st_mode)

    def finish(self):
        self.write("TRAILER!!!", b"", 0)
        return self.stream.getvalue()


def base_archive(disk, machine):
    """busybox, the init of that machine, and its modules in the order in which they are to be loaded."""
    archive = Archive()
    for name in ("dev", "proc", "sys", "tmp"):
        archive.add(name, mode=stat.S_IFDIR | 0o755)
    archive.add("dev/console", mode=stat.S_IFCHR | 0o600, device=(5, 1))
    archive.program("bin/busybox", pathlib.Path(find_program("busybox")).read_bytes())
    archive.link("bin/sh", "busybox")
    archive.program("init", (HERE / f"{machine}-init").read_bytes())
    order = (disk / "modules" / machine).read_text(encoding="utf-8")
    archive.add("modules/order", order.encode())
    for name in order.split():
        archive.add(f"modules/{name}.ko", (disk / f"modules/{name}.ko").read_bytes())
    return archive


def l2_program():
    """The static program that is an L2."""
    source = HERE / "l2.c"
    path = cache_folder() / f"l2-{digest(source.read_bytes())}"
    if not path.exists():
        subprocess.run(["cc", "-O1", "-Wall", "-static", "-o", f"{path}.new", str(source)], check=True)
        os.rename(f"{path}.new", path)
    return path.read_bytes()


def add_units(archive, units):
    """The tests' own part of an L0, and what is enabled there."""
    archive.tree(HERE / "l0", "overlay")
    for name, target in units.items():
        archive.link(f"overlay/etc/systemd/system/{target}.target.wants/{name}", f"/lib/systemd/system/{name}")


# What vm.py starts a machine with, as paths.
Files = collections.namedtuple("Files", ("kernel", "initrd", "disk"))


class Image:
    """The same of a release, with virtnest as it is now."""

    def __init__(self, release):
        cache = cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / f"lock-{release}", "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            disk = disk_folder(release)
            virtnest = virtnest_folder(release)
            self.release = release
            self.kernel = disk / "kernel"
            self.disk = disk / "root.ext4"
            self.initrd = cache / f"initrd-{release}"
            initrd = self.make_initrd(disk, virtnest)
            # Under a new inode: a machine that is just being started may still read the old one.
            (cache / f"initrd-{release}.new").write_bytes(initrd)
            (cache / f"initrd-{release}.new").rename(self.initrd)

    @staticmethod
    def make_initrd(disk, virtnest):
        l1 = base_archive(disk, "l1")
        l1.program("bin/l2", l2_program())
        l0 = base_archive(disk, "l0")
        l0.tree(virtnest / "files", "overlay")
        add_units(l0, {**TEST_UNITS, **PRODUCT_UNITS})
        l0.add("overlay/var/lib/libvirt/images/l1.initrd", gzip.compress(l1.finish(), 1))
        return l0.finish()


def main():
    reason = missing_reason()
    if reason:
        sys.exit(f"image.py: {reason}")
    for release in sys.argv[1:] or RELEASES:
        image = Image(release)
        print(image.kernel, image.initrd, image.disk)


if __name__ == "__main__":
    main()
