#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# virtnestctl, as far as it needs no daemon: on a recorded host, with configuration below a folder of its own.

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"

root=$folder/root
domains=$top_srcdir/tests/data/domain
LC_ALL=C.UTF-8
export LC_ALL

# ctl ARGUMENT...: leaves what it says in $folder/out and $folder/err
ctl() {
    "$top_builddir/virtnestctl" --root="$root" "$@" >"$folder/out" 2>"$folder/err"
}

# expect NAME STATUS FILE PATTERN ARGUMENT...: its exit status, and what must stand in out or err
expect() {
    name=$1 wanted=$2 file=$3 pattern=$4
    shift 4
    ctl "$@"
    status=$?
    if [ $status -ne "$wanted" ]; then
        echo "# status $status, not $wanted"
        result "$name" 1
        return
    fi
    grep -qe "$pattern" "$folder/$file"
    result "$name" $?
}

vendor=$root${VIRTNEST_VENDORDIR:-/usr/lib/virtnest}
etc=$root${VIRTNEST_SYSCONFDIR:-/etc/virtnest}
mkdir -p "$vendor/policy.d" "$vendor/virtnest.conf.d" "$etc/policy.d" "$root/proc" \
    "$root/sys/module/kvm_amd/parameters" "$folder/off/proc" "$folder/off/sys/module/kvm_amd/parameters"
# A distribution is read-only, and so would be copies of its files.
for file in "$top_srcdir"/policy/*.policy; do
    case $file in */org.*) continue ;; esac # is one of polkit's
    cat "$file" >"$vendor/policy.d/$(basename "$file")"
done
cat "$top_srcdir/policy/virtnest.conf" >"$vendor/virtnest.conf"
for host in "$root" "$folder/off"; do
    printf 'vendor_id\t: AuthenticAMD\nflags\t\t: fpu svm\n\n' >"$host/proc/cpuinfo"
done
echo 1 >"$root/sys/module/kvm_amd/parameters/nested"
echo 0 >"$folder/off/sys/module/kvm_amd/parameters/nested"
render() {
    ctl render --host-root="$root" "$@"
}

# What is in effect

expect "policy list shows the shipped policies" 0 out '^passthrough  *host-passthrough  *-  *-  *-  */' policy list
grep -q '^4 policies\.$' "$folder/out"
result "and counts them" $?
expect "--no-legend leaves nothing but rows" 0 out '^default ' policy list --no-legend
[ "$(wc -l <"$folder/out")" -eq 4 ]
result "four of them" $?
printf '[Policy]\nDescription=\346\227\245\346\234\254 \360\237\220\216\n[Match]\nName=lab-*;test\nTagged=no\nPriority=-7\n' \
    >"$etc/policy.d/lab.policy"
expect "a match and its priority are in the list" 0 out '^lab .*Name=lab-\*;test  *no  *-7  */.*/lab.policy ' policy list
expect "JSON" 0 out '^\[{"name":"default",.*"priority":-7,' policy list --json=short
if command -v python3 >/dev/null; then
    ctl policy list --json=pretty && python3 -c 'import json, sys; assert len(json.load(sys.stdin)) == 5' <"$folder/out"
    result "that is JSON" $?
    ctl policy show -j lab && python3 -c 'import json, sys; assert json.load(sys.stdin)["Match"]["Priority"] == "-7"' \
        <"$folder/out"
    result "policy show -j too" $?
else
    n=$((n + 1))
    echo "ok $n - that is JSON # SKIP no python3"
fi
expect "another --json= is refused" 2 err 'pretty, short or off' policy list --json=long
mkdir "$etc/policy.d/default.policy.d"
printf '[CPU]\nDisable=mpx\n' >"$etc/policy.d/default.policy.d/10-mpx.conf"
expect "policy show has drop-ins and defaults" 0 out '^Disable=mpx$' policy show default
grep -q '^QuietAfter=5s$' "$folder/out" && grep -q '^# .*/default.policy.d/10-mpx.conf$' "$folder/out"
result "and where they are from" $?
for policy in default keep lab passthrough windows; do
    ctl policy show $policy
    cat "$folder/out" >"$folder/$policy.policy"
    expect "what policy show $policy prints is a policy" 0 out '1 file is valid' policy check "$folder/$policy.policy"
done
expect "policy show: no such policy, and which was meant" 1 err "'defualt'; did you mean 'default'?" policy show defualt
expect "cat-config names each file" 0 out '^# .*/virtnest.conf$' cat-config
[ "$(grep -c "^# $root/" "$folder/out")" -eq 7 ] && grep -q '^Disable=mpx$' "$folder/out"
result "all seven, with what is in them" $?

# Checking

expect "policy check: all are good" 0 out '^5 policies and the configuration of virtnestd are valid\.$' policy check
printf '[Manager]\nMdoe=observe\n' >"$vendor/virtnest.conf.d/10-typo.conf"
expect "an unknown key in virtnest.conf is a warning" 0 err '10-typo.conf:2: unknown key Mdoe=.*did you mean Mode=' policy check
printf '[CPU]\nMode=keep\n\nRequier=avx2\n' >"$etc/policy.d/bad.policy"
expect "an unknown key in a policy is an error" 1 err '/bad.policy:4: .*Requier=.*did you mean Require=?' policy check
[ ! -s "$folder/out" ]
result "and nothing is called valid" $?
expect "policy list says so too" 1 err '/bad.policy:4: ' policy list
expect "and so does render" 1 err '/bad.policy:4: ' render --host-root="$root" "$domains/minimal.xml"
rm "$etc/policy.d/bad.policy"
mkdir "$folder/x.policy.d"
printf '[Guard]\nQuietAfter=5 lightyears\n' >"$folder/x.policy.d/10-a.conf"
expect "a drop-in" 1 err '10-a.conf:2: \[Guard\] QuietAfter=5 lightyears: takes a time span' \
    policy check "$folder/x.policy.d/10-a.conf"
printf '[CPU]\nModel=EPYC\n[Match]\nPriority=4\n' >"$folder/x.policy.d/10-a.conf"
expect "a drop-in is good without the rest of its policy" 0 out 'is valid' policy check "$folder/x.policy.d/10-a.conf"
printf '[Manager]\nMode=sideways\n' >"$folder/virtnest.conf"
expect "a virtnest.conf" 1 err 'virtnest.conf:2: .*enforce, guard or observe' policy check "$folder/virtnest.conf"
expect "several files, of which one is good" 1 err 'virtnest.conf:2: ' policy check "$folder/lab.policy" "$folder/virtnest.conf"
expect "a file that is not there" 1 err 'nowhere.policy: ' policy check "$folder/nowhere.policy"
expect "a file of no kind" 1 err 'not the name of a file of virtnest' policy check "$folder/out"

# Rendering

cpu_of() {
    awk '/^  <cpu/ { inside = 1 } inside { print } /^  <\/cpu>|^  <cpu[^>]*\/>/ { inside = 0 }' "$1"
}

for domain in "$domains"/*.xml; do
    name=$(basename "$domain" .xml)
    for policy in default passthrough keep windows; do
        render --policy "$policy" "$domain"
        status=$?
        if [ $status -eq 1 ]; then
            [ ! -s "$folder/out" ] && grep -q "^virtnestctl: domain '.*' is left as it is (.*): ." "$folder/err"
            result "$name, $policy: refused, with a reason" $?
            continue
        fi
        cat "$folder/out" >"$folder/once.xml"
        render --policy "$policy" "$folder/once.xml" && cmp -s "$folder/out" "$folder/once.xml" && [ $status -eq 0 ]
        result "$name, $policy: twice is once" $?
        render --untag "$folder/once.xml"
        cat "$folder/out" >"$folder/back.xml"
        cpu_of "$folder/back.xml" >"$folder/back"
        cpu_of "$domain" >"$folder/before"
        cmp -s "$folder/back" "$folder/before"
        result "$name, $policy: and back" $?
    done
done

render --policy passthrough --diff "$domains/linux-9.xml"
cat "$folder/out" >"$folder/diff"
render --policy passthrough "$domains/linux-9.xml"
if command -v patch >/dev/null; then
    patch -s -o "$folder/patched.xml" "$domains/linux-9.xml" <"$folder/diff" >/dev/null 2>&1 &&
        cmp -s "$folder/patched.xml" "$folder/out"
    result "--diff is a patch" $?
else
    n=$((n + 1))
    echo "ok $n - --diff is a patch # SKIP no patch"
fi
ctl render --host-root="$root" - <"$domains/linux-9.xml"
cmp -s "$folder/out" "$domains/linux-9.xml"
result "an untagged document from standard input stays as it is" $?
render --diff "$domains/linux-9.xml" && [ ! -s "$folder/out" ]
result "and has no difference" $?
sed 's|<name>.*</name>|<name>lab-1</name>|' "$domains/linux-9.xml" >"$folder/lab-1.xml"
render --diff "$folder/lab-1.xml" && grep -q '^+.*policy="lab" chosen="match"' "$folder/out"
result "one that a policy matches is rewritten" $?
expect "a host with nesting off" 1 err "'build-07' is left as it is (host-not-ready): .*nested" \
    render --host-root="$folder/off" --policy default "$domains/linux-9.xml"
expect "no such policy" 1 err "'nowhere' does not exist" render --host-root="$root" --policy nowhere "$domains/linux-9.xml"
mkdir "$folder/try"
printf '[CPU]\nMode=host-passthrough\n' | tee "$folder/try/fresh.policy" >"$folder/try/default.policy"
render --policy "$folder/try/fresh.policy" "$domains/linux-9.xml" && grep -q 'mode="host-passthrough"' "$folder/out" &&
    grep -q 'policy="fresh"' "$folder/out"
result "a policy that is not installed counts as if it was" $?
render --policy "$folder/try/default.policy" "$domains/linux-9.xml" && grep -q 'mode="host-passthrough"' "$folder/out" &&
    grep -q 'policy="disable" name="mpx"' "$folder/out"
result "in place of the one of its name, with the drop-ins that are installed" $?
(cd "$folder/try" && render --policy fresh.policy "$domains/linux-9.xml")
result "its path needs no slash" $?
cp "$folder/try/fresh.policy" "$folder/try/fresh.conf"
expect "a name that would not be read" 1 err 'fresh.conf: .* ends in .policy' \
    render --host-root="$root" --policy "$folder/try/fresh.conf" "$domains/linux-9.xml"
echo Mdoe= >>"$folder/try/fresh.policy"
expect "a mistake in it" 1 err 'try/fresh.policy:3: .*Mdoe=' \
    render --host-root="$root" --policy "$folder/try/fresh.policy" "$domains/linux-9.xml"
expect "what is skipped is said" 0 err 'skipped: emsr_bitmap: .*10\.7' \
    render --host-root="$root" --libvirt-version=9.0 --policy windows "$domains/windows-11.xml"
render --libvirt-version=11.0.0 --policy windows "$domains/windows-11.xml" && grep -q '<emsr_bitmap' "$folder/out"
result "with a newer libvirt it is not" $?
expect "a file that is none" 1 err 'cannot open .*/nowhere.xml: No such file' render "$folder/nowhere.xml"
printf '<domain type="kvm">' >"$folder/broken.xml"
expect "a document that is cut off" 1 err 'not well-formed' render --host-root="$root" "$folder/broken.xml"
printf '<domain>\0</domain>' >"$folder/nul.xml"
expect "a document with a NUL" 1 err 'NUL' render "$folder/nul.xml"
head -c 17000000 /dev/zero | tr '\0' ' ' >"$folder/big.xml"
expect "a document without end" 1 err '16 MiB' render "$folder/big.xml"

# Linting, as far as it takes no libvirt

expect "lint: a domain that gives none" 3 out '^FAIL  cpu  *host-model alone gives no svm' lint "$domains/linux-9.xml"
grep -q '^ *To do: virtnestctl tag build-07$' "$folder/out" && grep -q '^[0-9] passed, 1 warned, 1 failed\.$' "$folder/out"
result "what to do, and the count" $?
expect "lint --policy: what that would make of it" 0 out '^PASS  cpu ' lint --policy=default "$domains/linux-9.xml"
expect "lint: a policy that does not exist" 3 out "^FAIL  policy .*'nowhere'" lint --policy=nowhere "$domains/linux-9.xml"
expect "lint: another host" 3 out '^FAIL  host  *the kernel module kvm_amd has nested' \
    lint --host-root="$folder/off" --policy=default "$domains/linux-9.xml"
ctl lint --no-legend - <"$domains/windows-11.xml"
[ $? -eq 3 ] && grep -q '^FAIL  hypervisor' "$folder/out" && ! grep -q 'passed' "$folder/out"
result "lint: from standard input, without the count" $?
expect "lint --policy=windows shows the hypervisor" 0 out '^PASS  hypervisor' lint --policy=windows "$domains/windows-11.xml"
expect "lint --json" 3 out '^\[{"id":"policy","verdict":"warn","found":".*","why":".*","todo":"virtnestctl tag build-07"}' \
    lint --json=short "$domains/linux-9.xml"
expect "lint: a file that is none" 1 err 'cannot open .*/nowhere.xml: No such file' lint "$folder/nowhere.xml"
expect "lint: no domain" 1 err 'broken.xml: .*not well-formed' lint "$folder/broken.xml"
expect "lint: a domain, and no libvirt" 1 err 'name it: --connect=URI' lint web1
expect "lint: nothing" 2 err 'DOMAIN|FILE|-' lint
expect "lint: a version that is none" 2 err 'libvirt-version' lint --libvirt-version=new "$domains/linux-9.xml"
expect "verify: no libvirt" 1 err 'name it: --connect=URI' verify web1
expect "verify: nothing" 2 err 'DOMAIN' verify
expect "lint: another host's libvirt" 1 err 'cannot connect\|run it there' --connect=test://elsewhere/default lint web1
printf '<domain type="kvm"><name>\033[2J</name><os><type arch="x86_64">hvm</type></os></domain>' >"$folder/escape.xml"
ctl lint "$folder/escape.xml"
! grep -q "$(printf '\033')" "$folder/out" "$folder/err"
result "lint: nothing that moves the cursor" $?

# The hook, as far as it is files

hook=$root${VIRTNEST_LIBVIRTDIR:-/etc/libvirt}/hooks/qemu.d/virtnest
shipped=$root${VIRTNEST_LIBEXECDIR:-/usr/libexec/virtnest}/virtnest-hook
incoming=$root${VIRTNEST_RUNDIR:-/run/virtnest}/incoming
uuid=c7a5fdbd-cdaf-9455-926a-d65c16db1809
hooks=$(dirname "$(dirname "$hook")")
mkdir -p "$(dirname "$shipped")"

# left NAME: is there nothing in libvirt's folders but what was there before?
left() {
    find "$hooks" | sort >"$folder/after"
    cmp -s "$folder/before" "$folder/after"
    result "$1: nothing is left behind" $?
}

expect "hook status: not enabled" 3 out ': not enabled$' hook status
expect "hook disable: nothing to do" 0 out 'is not there' hook disable
expect "hook enable: nothing to copy" 1 err '/virtnest-hook.: .*No such file' hook enable
cat "$top_builddir/virtnest-hook" >"$shipped"
expect "hook enable" 0 out 'systemctl reload libvirtd' hook enable
cmp -s "$hook" "$shipped" && [ "$(stat -c %a "$hook")" = 755 ] && [ ! -L "$hook" ] && [ "$(ls "$hooks")" = qemu.d ]
result "it is copied" $?
expect "hook status: enabled" 0 out ': enabled$' hook status
expect "hook status --json" 0 out '^{"state":"enabled","path":"/.*/qemu.d/virtnest","shipped":"/.*virtnest-hook"}$' hook status --json=short
expect "hook enable: enabled already" 0 out 'enabled already' hook enable
! grep -q reload "$folder/out"
result "then libvirt knows" $?
chmod 644 "$hook"
expect "hook status: one that cannot be run" 4 out 'not the one of this version' hook status
echo >>"$shipped"
expect "hook status: outdated" 4 out 'not the one of this version' hook status
expect "hook status -j: outdated" 4 out '"state":"outdated"' hook status -j
find "$hooks" | sort >"$folder/before"
cat "$hook" >"$folder/old"
(
    # A disk that is full.
    trap '' XFSZ
    ulimit -f 8
    expect "hook enable: no room" 1 err 'File too large' hook enable
    echo "$n" >"$folder/n"
)
n=$(cat "$folder/n")
cmp -s "$hook" "$folder/old"
result "no room: the old one is there" $?
left "no room"
if [ "$(id -u)" -ne 0 ]; then
    chmod 555 "$hooks"
    expect "hook enable: a folder that is read-only" 1 err 'Permission denied' hook enable
    chmod 555 "$(dirname "$hook")" && chmod 755 "$hooks"
    expect "hook enable: another" 1 err 'Permission denied' hook enable
    expect "hook disable: likewise" 1 err 'Permission denied' hook disable
    chmod 755 "$(dirname "$hook")"
else
    mv "$(dirname "$hook")" "$hooks/elsewhere" && : >"$hooks/qemu.d"
    expect "hook enable: a file in place of the folder" 1 err '/qemu.d: ' hook enable
    rm "$hooks/qemu.d" && mv "$hooks/elsewhere" "$hooks/qemu.d"
fi
cmp -s "$hook" "$folder/old"
result "no folder: the old one is there" $?
left "no folder"
expect "hook enable: an update" 0 out 'is enabled' hook enable
cmp -s "$hook" "$shipped" && [ "$(stat -c %a "$hook")" = 755 ]
result "it is the new one" $?
left "an update"
rm "$shipped"
expect "hook disable, with nothing shipped any more" 0 out 'is disabled' hook disable
[ ! -e "$hook" ] && [ -d "$(dirname "$hook")" ]
result "it is gone, and the folder is there" $?
cat "$top_builddir/virtnest-hook" >"$shipped"
for foreign in script link folder dangling; do
    case $foreign in
    script) printf '#!/bin/sh\nexit 0\n' >"$hook" ;;
    link) ln -s "$shipped" "$hook" ;;
    dangling) ln -s nowhere "$hook" ;;
    folder) mkdir "$hook" ;;
    esac
    expect "hook status: a foreign $foreign" 5 out "not virtnest's" hook status
    expect "hook enable: a foreign $foreign" 1 err "not virtnest's hook" hook enable
    expect "hook disable: a foreign $foreign" 1 err "not virtnest's hook" hook disable
    [ -e "$hook" ] || [ -L "$hook" ]
    result "a foreign $foreign stays" $?
    rm -d "$hook"
done
printf '#!/bin/sh\nexit 0\n' >"$hooks/qemu" && chmod 755 "$hooks/qemu"
expect "hook enable beside another hook" 0 out 'is enabled' hook enable
! grep -q reload "$folder/out"
result "of which libvirt knows" $?

# A systemctl of our own, which says what it was asked.
mkdir "$folder/bin"
cat >"$folder/bin/systemctl" <<TEXT
#!/bin/sh
echo "systemctl \$*" >>"$folder/systemctl.log"
case "\$*" in
"is-active libvirtd.service --quiet") exit \$LIBVIRTD ;;
"is-active virtqemud.service --quiet") exit \$VIRTQEMUD ;;
"reload "*) exit \$RELOAD ;;
esac
exit 99
TEXT
chmod 755 "$folder/bin/systemctl"
path=$PATH
PATH=$folder/bin:$PATH
LIBVIRTD=0 VIRTQEMUD=4 RELOAD=0
export LIBVIRTD VIRTQEMUD RELOAD
expect "hook enable --reload" 0 out '^Reloaded libvirtd\.service\.$' hook enable --reload
grep -q '^systemctl reload libvirtd.service *$' "$folder/systemctl.log" && ! grep -q 'reload virtqemud' "$folder/systemctl.log"
result "libvirtd alone" $?
LIBVIRTD=3 VIRTQEMUD=0
expect "hook enable --reload, with virtqemud" 0 out '^Reloaded virtqemud\.service\.$' hook enable --reload
RELOAD=1
expect "hook enable --reload: it fails" 1 err 'virtqemud.service was not reloaded' hook enable --reload
VIRTQEMUD=3
expect "hook enable --reload: nothing runs" 0 out 'look for hooks when they are started' hook enable --reload
VIRTQEMUD=1
expect "hook enable --reload: no systemd" 1 err 'reload libvirt by hand' hook enable --reload
PATH=$folder/nowhere
"$top_builddir/virtnestctl" --root="$root" hook enable --reload >"$folder/out" 2>"$folder/err"
status=$?
PATH=$path
[ $status -eq 1 ] && grep -q 'cannot run systemctl' "$folder/err"
result "hook enable --reload: no systemctl" $?

# Letting guests in

# until_is FROM TO: is that guest allowed for so many seconds?
until_is() {
    left=$(($(cat "$incoming/$uuid") - $(date +%s)))
    [ $left -ge "$1" ] && [ $left -le "$2" ]
}

expect "hook allow" 0 out "^$uuid may come in until 20" hook allow "$uuid"
until_is 590 600 && [ "$(stat -c %a "$incoming")" = 755 ] && [ "$(stat -c %a "$incoming/$uuid")" = 644 ]
result "for ten minutes" $?
expect "hook allow --for" 0 out "^$uuid may come in" hook allow C7A5FDBD-CDAF-9455-926A-D65C16DB1809 --for=1h
until_is 3590 3600
result "for an hour" $?
expect "hook allow: longer than ReleaseMax=" 1 err 'ReleaseMax= allows 1h at most' hook allow "$uuid" --for=61min
expect "hook allow: for ever" 1 err 'ReleaseMax= allows 1h at most' hook allow "$uuid" --for=infinity
until_is 3580 3600
result "what was allowed before stays" $?
printf '[Guard]\nReleaseMax=1min\n' >"$vendor/virtnest.conf.d/20-guard.conf"
expect "hook allow: no longer than ReleaseMax= by default" 0 out 'may come in' hook allow "$uuid"
until_is 50 60
result "a minute" $?
printf '[Guard]\nReleaseMax=?\n' >"$vendor/virtnest.conf.d/20-guard.conf"
expect "hook allow: with a wrong configuration" 0 err 'the default of ReleaseMax= counts' hook allow "$uuid"
until_is 590 600
result "ten minutes all the same" $?
rm "$vendor/virtnest.conf.d/20-guard.conf"
for time in 0 soon 999ms -1s; do
    expect "hook allow --for=$time" 2 err "--for=$time: takes a time span" hook allow "$uuid" --for=$time
done
expect "hook allow: nobody" 2 err 'DOMAIN|UUID' hook allow
expect "hook allow: a name, and no virtnestd" 1 err 'give the UUID' --bus=unix:path="$folder/nowhere" hook allow web1
expect "hook allow: a path" 1 err 'give the UUID' --bus=unix:path="$folder/nowhere" hook allow ../../../etc/passwd
echo 1764207000 >"$incoming/00000000-0000-0000-0000-000000000001"
echo 99999999999 >"$incoming/00000000-0000-0000-0000-000000000002"
: >"$incoming/all"
expect "hook allow: it tidies up" 0 out 'may come in' hook allow "$uuid"
[ "$(cd "$incoming" && echo *)" = "00000000-0000-0000-0000-000000000002 all $uuid" ]
result "what is over is gone" $?
expect "hook allow: no room to write" 1 err ': ' --root=/dev/null hook allow "$uuid"

# The command line

expect "a verb with a typo" 2 err "unknown command 'polcy'; did you mean 'policy'?" polcy
expect "a verb of a verb with a typo" 2 err "unknown command 'policy lst'; did you mean 'list'?" policy lst
expect "no verb, which is status" 1 err 'unix:path=/nonexistent' --bus=unix:path=/nonexistent
expect "no verb of a verb" 2 err 'policy what? Try' policy
expect "a format that there is not" 2 err 'takes prometheus or openmetrics' metrics --format=yaml
expect "an unknown option" 2 err 'nonsense' render --nonsense x
expect "one file too many" 2 err 'FILE|-' render x y
expect "--policy and --untag" 2 err 'do not go together' render --policy default --untag "$domains/minimal.xml"
expect "a version that is none" 2 err 'libvirt-version' render --libvirt-version=new "$domains/minimal.xml"
for version in 10 10. 10.7foo 10.7-rc1 10.1000 -1.0 10.7.0.1; do
    expect "the version $version" 2 err 'takes a version such as' render "--libvirt-version=$version" "$domains/minimal.xml"
done
sed "s|<domain [^>]*>|&<metadata><v:nesting xmlns:v='urn:virtnest:domain:1' policy='x\&#13;y\&#x9b;z'/></metadata>|" \
    "$domains/minimal.xml" >"$folder/hostile.xml"
expect "what a terminal would obey in somebody else's file" 1 err "x?y?z" render "$folder/hostile.xml"
expect "--version" 0 out '^virtnestctl [0-9]' --version
expect "--help lists the commands" 0 out '^  render FILE|-' --help
"$top_builddir/virtnestctl" --root="$root" policy list >/dev/full 2>"$folder/err"
result "a full disk is an error" $(($? == 0))

done_testing
