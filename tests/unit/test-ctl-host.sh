#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# virtnestctl host: recorded hosts are judged, and one of the test's own is changed, with a modprobe of the test's own first
# in PATH. Nothing here touches a module of this machine.

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"

trap 'umount "$folder/root/etc/modprobe.d" 2>/dev/null; rm -rf "$folder"' EXIT
root=$folder/root
hosts=$top_srcdir/tests/data/hosts
LC_ALL=C.UTF-8
export LC_ALL

# It changes what is below --dirname as a kernel would change /sys. Files in fake/ let it fail; fake/log has the calls.
mkdir "$folder/bin"
cat >"$folder/bin/modprobe" <<'MODPROBE'
#!/bin/sh
root= remove= module= option=
for argument; do
    case $argument in
    --dirname=*) root=${argument#--dirname=} ;;
    --config=*) ;;
    -r) remove=yes ;;
    nested=*) option=$argument ;;
    *=*) ;;
    *) module=$argument ;;
    esac
done
[ -n "$root" ] || exit 99
echo "${remove:+-r }$module${option:+ $option}" >>"$root/fake/log"
[ ! -e "$root/fake/full" ] || dd if=/dev/zero of="$root/etc/modprobe.d/filler" 2>/dev/null
if [ -n "$remove" ]; then
    if [ -e "$root/fake/busy" ]; then
        echo "modprobe: FATAL: Module $module is in use." >&2
        exit 1
    fi
    rm -r "$root/sys/module/$module"
    [ ! -e "$root/fake/interrupt" ] || kill -TERM $PPID
    exit 0
fi
# All options in one line, of which the last one counts.
nested=$(cat "$root"/etc/modprobe.d/*.conf 2>/dev/null | sed -n "s/^options $module nested=//p" | tail -n 1)
: "${nested:=0}"
[ -z "$option" ] || nested=${option#nested=}
[ ! -e "$root/fake/without-effect" ] || nested=0
if [ -e "$root/fake/refuse" ] && grep -qx "$nested" "$root/fake/refuse"; then
    echo "modprobe: ERROR: could not insert '$module': Operation not supported" >&2
    exit 1
fi
case $* in
*enable_shadow_vmcs=*) shadow=${*##*enable_shadow_vmcs=} ;;
*) shadow=$(sed -n "s/^options $module enable_shadow_vmcs=//p" "$root"/etc/modprobe.d/*.conf 2>/dev/null | tail -n 1) ;;
esac
mkdir -p "$root/sys/module/$module/parameters"
echo live >"$root/sys/module/$module/initstate"
echo 0 >"$root/sys/module/$module/refcnt"
echo "$nested" >"$root/sys/module/$module/parameters/nested"
[ ! -e "$root/fake/no-shadow" ] || shadow=N
[ "$module" != kvm_intel ] || echo "${shadow:-0}" >"$root/sys/module/$module/parameters/enable_shadow_vmcs"
[ ! -e "$root/fake/ept" ] || echo Y >"$root/sys/module/$module/parameters/ept"
MODPROBE
chmod +x "$folder/bin/modprobe"

# ctl ARGUMENT...: leaves what it says in $folder/out and $folder/err
ctl() {
    PATH=$folder/bin:$PATH "$top_builddir/virtnestctl" --root="$root" "$@" >"$folder/out" 2>"$folder/err"
}

# expect NAME STATUS FILE PATTERN ARGUMENT...: its exit status, and what must stand in out or err; '' is nothing in particular
expect() {
    name=$1 wanted=$2 stream=$3 pattern=$4
    shift 4
    ctl "$@"
    status=$?
    if [ $status -ne "$wanted" ]; then
        echo "# status $status, not $wanted"
        result "$name" 1
        return
    fi
    [ -z "$pattern" ] || grep -qe "$pattern" "$folder/$stream"
    result "$name" $?
}

file=$root/etc/modprobe.d/virtnest.conf
etc=$root${VIRTNEST_SYSCONFDIR:-/etc/virtnest}

# host MODULE NESTED: begins anew with that module loaded, or none
host() {
    rm -rf "$root"
    mkdir -p "$root/proc/sys/kernel" "$root/fake" "$root/sys/module/kvm/parameters" "$root/etc/modprobe.d" "$etc"
    echo x86_64 >"$root/proc/sys/kernel/arch"
    case $1 in
    kvm_intel) printf 'vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx ept\n\n' ;;
    *) printf 'vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm npt\n\n' ;;
    esac >"$root/proc/cpuinfo"
    echo N >"$root/sys/module/kvm/parameters/ignore_msrs"
    echo Y >"$root/sys/module/kvm/parameters/report_ignored_msrs"
    : >"$root/fake/log"
    [ $# -eq 2 ] || return 0
    mkdir -p "$root/sys/module/$1/parameters"
    echo live >"$root/sys/module/$1/initstate"
    echo 0 >"$root/sys/module/$1/refcnt"
    echo "$2" >"$root/sys/module/$1/parameters/nested"
    [ "$1" != kvm_intel ] || echo N >"$root/sys/module/$1/parameters/enable_shadow_vmcs"
}

# nested VALUE: whether the module has it now
nested() {
    [ "$(cat "$root"/sys/module/kvm_*/parameters/nested 2>/dev/null)" = "$1" ]
}

# options LINE...: whether the file has these and no others
options() {
    printf '%s\n' "$@" >"$folder/wanted"
    grep -v '^#' "$file" 2>/dev/null | cmp -s - "$folder/wanted"
}

calls() {
    printf '%s\n' "$@" | cmp -s - "$root/fake/log"
}

no_file() {
    [ -z "$(ls -A "$root/etc/modprobe.d")" ]
}

# Checks

for recorded in "$hosts"/*/; do
    root=${recorded%/}
    ctl host --json=short
    status=$?
    fails=$(grep -c '"verdict":"fail"' "$folder/out")
    [ $status -eq $((fails > 0 ? 3 : 0)) ] && [ ! -s "$folder/err" ] &&
        { ! command -v python3 >/dev/null || python3 -c '
import json, sys
for check in json.load(sys.stdin):
    assert check["found"] and check["why"] and (check["verdict"] == "pass") == (check["todo"] == ""), check' \
            <"$folder/out" 2>>"$folder/err"; }
    result "$(basename "$root"): JSON, and a status that fits" $?
done
root=$hosts/intel-off
expect "a check that fails says why and what to do" 3 out '^FAIL  nested  *kvm_intel has nested=0$' host
grep -q '^ *To do: virtnestctl host enable --now' "$folder/out" && grep -q '^ *Why: While it is off' "$folder/out" &&
    grep -q '^[0-9]* passed, [0-9]* warned, [0-9]* failed\.$' "$folder/out"
result "and the sum" $?
expect "host check is the same; --no-legend leaves out the sum" 3 out '^PASS  module' host check --no-legend
! grep -q 'passed,' "$folder/out"
result "indeed" $?
root=$hosts/intel-ready
expect "nothing that fails is success" 0 out '^PASS  nested' host
expect "libvirt is asked if it is named" 0 out '^PASS  libvirt  *libvirt [0-9].*, QEMU of unknown version$' --connect=test:///default host
expect "one that is not there fails" 3 out '^FAIL  libvirt  *no connection' --connect=qemu+unix:///system?socket=/nonexistent host
root=$folder/root

# At boot

host kvm_amd 0
expect "enable writes the file" 0 out "^$file is written\.\$" host enable
options 'options kvm_amd nested=1' && [ "$(stat -c %a "$file")" = 644 ] && [ ! -s "$root/fake/log" ] && nested 0
result "with one line, for everybody to read, and leaves the module alone" $?
grep -q 'from the next boot on' "$folder/out"
result "it says that it takes a boot" $?
expect "a second time there is nothing to do" 0 out 'from the next boot on' host enable --at-boot
! grep -q written "$folder/out"
result "and nothing is written" $?
expect "the check knows it" 3 out '^PASS  nested-at-boot  */etc/modprobe.d/virtnest.conf:3 has' host
expect "disable replaces it" 0 out 'is written' host disable
options 'options kvm_amd nested=0'
result "with nested=0" $?
expect "the check leads back" 3 out '^ *To do: virtnestctl host enable$' host
host kvm_intel N
expect "--shadow-vmcs and --ignore-msrs" 0 out 'is written' host enable --shadow-vmcs --ignore-msrs
options 'options kvm_intel nested=1' 'options kvm_intel enable_shadow_vmcs=1' 'options kvm ignore_msrs=1' \
    'options kvm report_ignored_msrs=0'
result "have lines of their own" $?
host kvm_amd 1
rmdir "$root/etc/modprobe.d"
expect "a folder that is missing is made" 0 out 'is written' host enable --shadow-vmcs
grep -q "Intel's" "$folder/err" && options 'options kvm_amd nested=1'
result "and what is Intel's is left out on AMD" $?

# Now

host kvm_amd 0
expect "--now loads the module again" 0 out '^kvm_amd is loaded again\.$' host enable --now
nested 1 && calls '-r kvm_amd' kvm_amd && options 'options kvm_amd nested=1'
result "once, with nested on" $?
expect "a second time it stays loaded" 0 out '' host enable --now
calls '-r kvm_amd' kvm_amd
result "indeed" $?
host kvm_amd
expect "one that is not loaded is loaded" 0 out '^kvm_amd is loaded now\.$' host enable --now
nested 1 && calls kvm_amd
result "and not unloaded before" $?
host kvm_amd
expect "but not to switch it off" 0 out 'is written' host disable --now
[ ! -s "$root/fake/log" ]
result "indeed" $?
host kvm_intel N
expect "--now with all there is" 0 out 'again' host enable --now --shadow-vmcs --ignore-msrs
[ "$(cat "$root/sys/module/kvm/parameters/ignore_msrs")" = Y ] &&
    [ "$(cat "$root/sys/module/kvm/parameters/report_ignored_msrs")" = N ] &&
    [ "$(cat "$root/sys/module/kvm_intel/parameters/enable_shadow_vmcs")" = 1 ]
result "kvm's own parameters are set as well" $?
host kvm_amd 0
echo 3 >"$root/sys/module/kvm_amd/refcnt"
mkdir -p "$root/proc/71/fd"
ln -s anon_inode:kvm-vm "$root/proc/71/fd/9"
printf 'qemu\0-name\0guest=web1,debug-threads=on\0' >"$root/proc/71/cmdline"
expect "a module that is in use stays, and the domains that hold it are named" 1 err \
    'kvm_amd is in use: domain web1; nothing was changed\..*--at-boot' host enable --now
no_file && nested 0 && [ ! -s "$root/fake/log" ]
result "and nothing was changed" $?
rm -r "$root/proc/71"
# It reads what the program is called once it has seen it, and then that is gone.
mkdir -p "$root/proc/72/fd"
ln -s /dev/kvm "$root/proc/72/fd/9"
mkfifo "$root/proc/72/comm"
{
    echo qemu >"$root/proc/72/comm"
    rm -r "$root/proc/72"
    echo 0 >"$root/sys/module/kvm_amd/refcnt"
} &
expect "a probe of libvirt's is waited for" 0 out 'kvm_amd is loaded again' host enable --now
wait $!
host kvm_amd 0
echo 3 >"$root/sys/module/kvm_amd/refcnt"
expect "nobody may be to be seen" 1 err 'in use by somebody' host enable --now
echo 0 >"$root/sys/module/kvm_amd/refcnt"
expect "a domain that libvirt has running is a user, even if it has nothing open yet" 1 err \
    'kvm_amd is in use: domain test; nothing was changed' --connect=test:///default host enable --now
expect "if libvirt does not answer, the module's count has to do" 0 out 'loaded again' \
    --connect=qemu+unix:///system?socket=/nonexistent host enable --now
grep -q 'cannot be asked' "$folder/err"
result "which is said" $?
host kvm_amd 0
rm "$root/sys/module/kvm_amd/refcnt"
expect "a kernel that cannot unload" 1 err 'may not unload' host enable --now
no_file
result "nothing was changed either" $?

# What fails leaves everything as it was

host kvm_amd 0
: >"$root/fake/busy"
expect "modprobe -r has the last word" 1 err 'modprobe -r kvm_amd. failed: modprobe: FATAL: Module kvm_amd is in use\.; nothing was changed' \
    host enable --now
no_file && nested 0
result "the file is gone again" $?
rm "$root/fake/busy"
: >"$root/fake/log"
ctl host disable
cp "$file" "$folder/before"
echo 1 >"$root/fake/refuse"
expect "a module that does not load any more is put back" 1 err \
    "could not insert 'kvm_amd': Operation not supported; kvm_amd is as it was before" host enable --now
cmp -s "$file" "$folder/before" && nested 0 && calls '-r kvm_amd' kvm_amd 'kvm_amd nested=0'
result "with what it had, and the file too" $?
echo 0 >>"$root/fake/refuse"
expect "if even that fails it says what is left" 1 err 'could not be put back either: .*kvm_amd is not loaded, see to it by hand' \
    host enable --now
cmp -s "$file" "$folder/before"
result "and the file is as before" $?
host kvm_amd 0
: >"$root/fake/without-effect"
expect "a module that does not take it is put back" 1 err 'has nested=0 all the same; kvm_amd is as it was before' host enable --now
no_file && nested 0
result "indeed" $?
host kvm_amd 0
mkdir "$folder/empty"
PATH=$folder/empty "$top_builddir/virtnestctl" --root="$root" host enable --now >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] && grep -q 'cannot run modprobe .*kmod' "$folder/err" && no_file
result "no modprobe: it says so, and changes nothing" $?

host kvm_intel N
: >"$root/fake/no-shadow"
expect "a CPU that may have no VMCS shadowing nests all the same" 0 err 'leaves VMCS shadowing as it is' \
    host enable --now --shadow-vmcs
nested 1
result "indeed" $?
host kvm_intel N
: >"$root/fake/no-shadow"
printf 'vendor_id\t: GenuineIntel\nflags\t\t: fpu vmx ept\nvmx flags\t: vnmi ept vpid\n\n' >"$root/proc/cpuinfo"
expect "a CPU without VMCS shadowing nests all the same" 0 err 'this CPU has no VMCS shadowing' host enable --now --shadow-vmcs
nested 1 && options 'options kvm_intel nested=1' 'options kvm_intel enable_shadow_vmcs=1'
result "indeed" $?
: >"$root/fake/log"
expect "and is not loaded again each time" 0 err '' host enable --now --shadow-vmcs
[ ! -s "$root/fake/log" ]
result "indeed" $?

host kvm_amd 0
: >"$root/fake/interrupt"
# timeout tells in its status that it was by a signal.
PATH=$folder/bin:$PATH timeout 60 "$top_builddir/virtnestctl" --root="$root" host enable --now >"$folder/out" 2>"$folder/err"
[ $? -eq 143 ] && nested 1 && options 'options kvm_amd nested=1'
result "an interruption counts once the module is loaded again" $?

host kvm_intel N
: >"$root/fake/ept"
echo N >"$root/sys/module/kvm_intel/parameters/ept"
expect "what somebody has set by hand and is lost is named" 0 err '^kvm_intel.ept was N, and is Y now' host enable --now
[ "$(wc -l <"$folder/err")" -eq 1 ]
result "and nothing else" $?

host kvm_intel N
echo Y >"$root/sys/module/kvm_intel/parameters/enable_shadow_vmcs"
echo 1 >"$root/fake/refuse"
expect "what somebody has loaded it with by hand is put back as well" 1 err 'kvm_intel is as it was before$' host enable --now
nested N && [ "$(cat "$root/sys/module/kvm_intel/parameters/enable_shadow_vmcs")" = Y ] && no_file
result "indeed" $?
host kvm_amd 0
ctl host disable
(umask 077 && ctl host enable)
[ "$(stat -c %a "$file")" = 644 ]
result "everybody may read it, whatever the umask" $?

# A disk of a few pages, which fake/full lets modprobe fill once the file is written.
host kvm_amd 0
if mount -t tmpfs -o size=64k tmpfs "$root/etc/modprobe.d" 2>/dev/null; then
    ctl host disable
    cp "$file" "$folder/before"
    dd if=/dev/zero of="$root/etc/modprobe.d/filler" 2>/dev/null
    expect "a full disk" 1 err 'virtnest.conf.*No space left on device; nothing was changed$' host enable --now
    cmp -s "$file" "$folder/before" && nested 0 && [ ! -s "$root/fake/log" ] &&
        [ "$(ls -A "$root/etc/modprobe.d")" = "$(printf 'filler\nvirtnest.conf')" ]
    result "leaves the old file, and nothing beside it" $?
    rm "$root/etc/modprobe.d/filler"
    : >"$root/fake/busy"
    : >"$root/fake/full"
    expect "a file that cannot be put back is named" 1 err \
        "is in use\.; $file is another one now, and cannot be put back: .*No space left.*Somebody uses it" host enable --now
    options 'options kvm_amd nested=1' && nested 0
    result "and so it is" $?
    rm "$root/etc/modprobe.d/filler" "$root/fake/busy" "$root/fake/full"
    ctl host disable
    : >"$root/fake/full"
    echo 1 >"$root/fake/refuse"
    expect "after a failed load too" 1 err "kvm_amd is as it was before; $file is another one now" host enable --now
    nested 0
    result "with the module as before" $?
    umount "$root/etc/modprobe.d"
else
    for name in "a full disk" "leaves the old file" "a file that cannot be put back is named" "and so it is" \
        "after a failed load too" "with the module as before"; do
        skip "$name" "nothing can be mounted here"
    done
fi

host kvm_amd 0
ctl host disable
cp "$file" "$folder/before"
# Where nothing can be mounted a limit on the size of files stands for a full disk.
{ (
    trap '' XFSZ
    ulimit -f 0
    "$top_builddir/virtnestctl" --root="$root" host enable
    echo "status $?"
) 2>&1; } | cat >"$folder/out"
: >"$folder/err"
grep -q '^status 1$' "$folder/out" && cmp -s "$file" "$folder/before" && [ "$(ls -A "$root/etc/modprobe.d")" = virtnest.conf ]
result "a file that cannot be written leaves the old one, and nothing beside it" $?
if [ "$(id -u)" -eq 0 ]; then
    mount --bind "$root/etc/modprobe.d" "$root/etc/modprobe.d" 2>/dev/null &&
        mount -o remount,ro,bind "$root/etc/modprobe.d" 2>/dev/null
else
    chmod a-w "$root/etc/modprobe.d"
fi
if touch "$root/etc/modprobe.d/x" 2>/dev/null; then
    rm "$root/etc/modprobe.d/x"
    skip "a read-only /etc" "this machine makes nothing read-only"
    skip "the old file stays" "this machine makes nothing read-only"
else
    expect "a read-only /etc" 1 err 'virtnest.conf' host enable --now
    cmp -s "$file" "$folder/before" && nested 0 && [ ! -s "$root/fake/log" ]
    result "the old file stays" $?
fi
umount "$root/etc/modprobe.d" 2>/dev/null
chmod u+w "$root/etc/modprobe.d"

# Other people's

host kvm_amd 0
echo 'options kvm-amd nested=0' >"$root/etc/modprobe.d/zz-local.conf"
expect "a file that would win is named" 1 err '/etc/modprobe.d/zz-local.conf:1 has "kvm_amd nested=0", which would win' \
    host enable --now
[ "$(ls -A "$root/etc/modprobe.d")" = zz-local.conf ] && [ ! -s "$root/fake/log" ]
result "and nothing is written" $?
mv "$root/etc/modprobe.d/zz-local.conf" "$root/etc/modprobe.d/a-local.conf"
expect "one that loses is named too" 0 err 'a-local.conf:1 has .*overrules' host enable --now
nested 1 && grep -q nested=0 "$root/etc/modprobe.d/a-local.conf"
result "and stays as it is" $?
host kvm_amd 0
echo 'kvm_amd.nested=0' >"$root/proc/cmdline"
expect "the kernel's command line wins over all" 1 err "the kernel's command line has" host enable
host kvm_amd 0
echo 'options kvm_amd npt=0' >"$file"
expect "a virtnest.conf that somebody else wrote" 1 err 'virtnest did not write it' host enable --now
options 'options kvm_amd npt=0'
result "stays" $?
ln -sf /dev/null "$file"
expect "one that is masked" 1 err 'no plain file' host enable --now
[ -L "$file" ] && [ ! -s "$root/fake/log" ]
result "stays too" $?

# Places

for recorded in container:'its host' amd-builtin:'command line' aarch64:'kvm-arm.mode=nested' riscv64:'knows no nesting'; do
    root=$hosts/${recorded%%:*}
    expect "${recorded%%:*}: enable is refused with the way out" 1 err "${recorded#*:}" host enable --now
    [ ! -e "$root/etc/modprobe.d/virtnest.conf" ]
    result "${recorded%%:*}: nothing is written" $?
done
root=$folder/root

# Apply

host kvm_amd 0
expect "apply: nothing is configured, nothing is done" 0 out 'wants nothing changed' host apply
no_file && [ ! -s "$root/fake/log" ]
result "indeed" $?
printf '[Host]\nNested=yes\nIgnoreMSRs=yes\nShadowVMCS=yes\n' >"$etc/virtnest.conf"
expect "apply does what [Host] says" 0 out 'loaded again' host apply
nested 1 && options 'options kvm_amd nested=1' 'options kvm ignore_msrs=1' 'options kvm report_ignored_msrs=0'
result "file and module" $?
expect "and nothing more the next time" 0 out '' host apply
calls '-r kvm_amd' kvm_amd && [ ! -s "$folder/out" ]
result "indeed" $?
printf '[Host]\nNested=no\n' >"$etc/virtnest.conf"
echo 1 >"$root/sys/module/kvm_amd/refcnt"
expect "a module in use waits for the next boot, which is no failure" 0 out 'it takes a reboot' host apply
nested 1 && options 'options kvm_amd nested=0'
result "the file is written" $?
host kvm_amd 0
: >"$root/fake/busy"
printf '[Host]\nNested=yes\n' >"$etc/virtnest.conf"
expect "so does one that somebody takes in the last moment" 0 out 'is in use\.: it takes a reboot' host apply
nested 0 && options 'options kvm_amd nested=1'
result "the file is written for it too" $?
host kvm_amd
printf '[Host]\nNested=yes\n' >"$etc/virtnest.conf"
expect "a module that is not there yet is loaded" 0 out 'loaded now' host apply
printf '[Host]\nNested=perhaps\n' >"$etc/virtnest.conf"
expect "a configuration that is wrong" 1 err 'virtnest.conf:2: .*no, yes or keep' host apply
host kvm_amd 1
rm "$root/sys/module/kvm_amd/initstate"
printf '[Host]\nNested=yes\n' >"$etc/virtnest.conf"
expect "a module that is built in and as it should be" 0 out 'built into the kernel' host apply
printf '[Host]\nNested=yes\nIgnoreMSRs=yes\n' >"$etc/virtnest.conf"
expect "kvm's own parameters are set there too" 0 out 'have kvm.ignore_msrs=1 on' host apply
[ "$(cat "$root/sys/module/kvm/parameters/ignore_msrs")" = Y ] && no_file
result "indeed" $?

# The command line

expect "--now and --at-boot" 2 err 'do not go together' host enable --now --at-boot
expect "a typo" 2 err "did you mean 'enable'?" host enabel
expect "an unknown option" 2 err 'nonsense' host --nonsense
expect "an argument too many" 2 err 'no arguments' host apply x
expect "help" 0 out '^  enable ' host --help

done_testing
