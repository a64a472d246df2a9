#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# virtnest-hook as libvirt runs it: what it refuses, and that nothing else makes it fail, write to standard output or stay.

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"

builddir=$(cd "$top_builddir" && pwd) || exit 99
hook=$builddir/tests/unit/rooted-hook
cd "$folder" || exit 99
etc=root${VIRTNEST_SYSCONFDIR:-/etc/virtnest}
run=root${VIRTNEST_RUNDIR:-/run/virtnest}
uuid=c7a5fdbd-cdaf-9455-926a-d65c16db1809
now=$(date +%s)

# run ARGUMENT...: the hook, with standard input as it is
run() {
    timeout 30 "$hook" "$@" >out 2>err
}

# lets_in NAME ARGUMENT...: it exits 0 and says nothing
lets_in() {
    name=$1
    shift
    run "$@"
    status=$?
    [ $status -eq 0 ] && [ ! -s out ] && [ ! -s err ]
    result "$name" $?
}

# refuses NAME ARGUMENT...: it exits 1, and says why where libvirt takes it from
refuses() {
    name=$1
    shift
    run "$@"
    status=$?
    [ $status -eq 1 ] && [ ! -s out ] && grep -q "virtnestctl hook allow $uuid\$" err && [ "$(wc -l <err)" -eq 2 ]
    result "$name" $?
}

# domain ATTRIBUTE...: a definition that says so
domain() {
    echo "<domain type='kvm'><name>web1</name><uuid>$uuid</uuid><metadata><v:runtime xmlns:v='urn:virtnest:runtime:1' $*/>" \
        "</metadata><devices/></domain>"
}

domain "l2='running' since='1764207000' until='$((now + 3600))' host='node7'" >running.xml
domain "l2='quiet' since='1764207000' until='$((now + 3600))' host='node7'" >quiet.xml
domain "l2='unknown' since='1764207000' until='$((now + 3600))' host='node7'" >unknown.xml
domain "l2='none' since='1764207000' until='$((now + 3600))' host='node7'" >none.xml
domain "l2='running' since='1764207000' until='$((now - 60))' host='node7'" >stale.xml
domain "l2='running' since='1764207000' until='$((now + 3600))' released-until='$((now + 600))' host='node7'" >released.xml
domain "l2='running' since='1764207000' until='$((now + 3600))' released-until='$((now - 1))' host='node7'" >ended.xml
domain "l2='running' until='$((now + 3600))'" >short.xml

# The two operations

refuses "a migration" web1 migrate begin - <running.xml
grep -q "^virtnest refuses domain 'web1': it runs guests of its own (L2) on host 'node7', since 2025-11-27 01:30:00 UTC, " err
result "which domain, where it runs and since when" $?
refuses "a restore" web1 restore begin - <running.xml
grep -q "^virtnest refuses domain 'web1': it was saved while it ran guests " err
result "and why" $?
refuses "a migration of one that is quiet" web1 migrate begin - <quiet.xml
refuses "a restore of one that is quiet" web1 restore begin - <quiet.xml
refuses "without a host and a time" web1 migrate begin - <short.xml
grep -q "guests of its own (L2), and may crash" err
result "nothing is said of them" $?
refuses "a release that has ended" web1 migrate begin - <ended.xml
refuses "the same in an image" web1 restore begin - <ended.xml
refuses "a stale element in an image" web1 restore begin - <stale.xml
refuses "a name that is none" "$(printf 'web\033[31m\n1')" migrate begin - <running.xml
grep -q "domain 'web?\[31m?1': " err
result "is shown without what a terminal would obey" $?
refuses "a long name" "$(head -c 5000 /dev/zero | tr '\0' x)" migrate begin - <running.xml
[ "$(wc -c <err)" -lt 600 ]
result "is shown cut off" $?
refuses "one of letters of two bytes" "x$(yes "$(printf '\303\244')" | head -n 500 | tr -d '\n')" migrate begin - <running.xml
iconv -f UTF-8 -t UTF-8 err >/dev/null
result "is cut off between two of them" $?
lets_in "a migration with a stale element" web1 migrate begin - <stale.xml
for operation in migrate restore; do
    lets_in "$operation: the state unknown" web1 $operation begin - <unknown.xml
    lets_in "$operation: the state none" web1 $operation begin - <none.xml
    lets_in "$operation: released" web1 $operation begin - <released.xml
done

# Ways in

mkdir -p "$run/incoming" "$etc"
for operation in migrate restore; do
    echo $((now + 600)) >"$run/incoming/$uuid"
    lets_in "$operation: allowed" web1 $operation begin - <running.xml
    printf %s $((now + 600)) >"$run/incoming/$uuid"
    lets_in "$operation: allowed, without an end of line" web1 $operation begin - <running.xml
    for text in $((now - 1)) 0 "" x " $((now + 600))" "-$((now + 600))" "$((now + 600)) " "$((now + 600))x" \
        99999999999999999999999999999999999999999; do
        echo "$text" >"$run/incoming/$uuid"
        refuses "$operation: '$text' allows nothing" web1 $operation begin - <running.xml
    done
    rm "$run/incoming/$uuid"
    echo $((now + 600)) >"$run/incoming/00000000-0000-0000-0000-000000000000"
    refuses "$operation: another is allowed" web1 $operation begin - <running.xml
    echo $((now + 600)) >elsewhere
    ln -s "$folder/elsewhere" "$run/incoming/$uuid"
    refuses "$operation: a link allows nothing" web1 $operation begin - <running.xml
    rm "$run/incoming/$uuid"
    mkfifo "$run/incoming/$uuid"
    refuses "$operation: a pipe allows nothing, and nobody waits for it" web1 $operation begin - <running.xml
    rm "$run/incoming/$uuid"
    : >"$run/incoming/all"
    lets_in "$operation: all are allowed" web1 $operation begin - <running.xml
    rm "$run/incoming/all"
    : >"$etc/disable"
    lets_in "$operation: the kill switch" web1 $operation begin - <running.xml
    rm "$etc/disable"
    refuses "$operation: neither" web1 $operation begin - <running.xml
done

# All other operations, whatever comes on standard input. A pipe that nobody writes to stays open for ever.

mkfifo silent
exec 3<>silent
head -c 200 running.xml >cut.xml
head -c 100000 /dev/urandom >garbage
for operation in "prepare begin" "start begin" "started begin" "stopped end" "release end" "reconnect begin" "attach begin" \
    "migrate end" "migrate -" "restore end" "restore -" "migrate Begin" "Migrate begin" "migrating begin" "begin migrate" \
    "define begin" "- -" "x y"; do
    # shellcheck disable=SC2086
    {
        lets_in "$operation: a guest with L2 guests" web1 $operation - <running.xml
        run web1 $operation - <silent
        status=$?
        [ $status -eq 0 ] && [ ! -s out ] && [ ! -s err ]
        result "$operation: it reads nothing" $?
        lets_in "$operation: no end" web1 $operation - </dev/zero
        lets_in "$operation: closed" web1 $operation - <&-
        lets_in "$operation: garbage" web1 $operation - <garbage
    }
done
for arguments in "" web1 "web1 migrate" "web1 restore"; do
    # shellcheck disable=SC2086
    lets_in "arguments '$arguments'" $arguments <running.xml
done

# Those two, with an input that is none

for operation in migrate restore; do
    lets_in "$operation: nothing" web1 $operation begin - </dev/null
    lets_in "$operation: closed" web1 $operation begin - <&-
    lets_in "$operation: a folder" web1 $operation begin - <root
    lets_in "$operation: cut off" web1 $operation begin - <cut.xml
    lets_in "$operation: garbage" web1 $operation begin - <garbage
    lets_in "$operation: no end" web1 $operation begin - </dev/zero
    { sed 's|</domain>||' running.xml; yes '<a b="c"/>' | head -c 9000000; echo '</domain>'; } >big.xml
    lets_in "$operation: a document that is too long" web1 $operation begin - <big.xml
    { sed 's|</domain>||' running.xml; yes '<a b="c"/>' | head -c 4400000; echo '</domain>'; } >big.xml
    refuses "$operation: one that is as long as libvirt takes them" web1 $operation begin - <big.xml
    { head -c 300 running.xml; printf '\0'; tail -c +301 running.xml; } >nul.xml
    lets_in "$operation: a NUL" web1 $operation begin - <nul.xml
    run web1 $operation begin - <running.xml 2>&-
    [ $? -eq 1 ]
    result "$operation: nobody wants to know why" $?
done
# Slowly, and in pieces.
{ head -c 100 running.xml; sleep 0.1; tail -c +101 running.xml; } | refuses "a document in pieces" web1 migrate begin -
n=$((n + 1)) # counted in a process of its own

# What does not end takes five seconds. Both at once: one that says nothing, and one that goes on and on.
timeout 30 "$hook" web1 migrate begin - <silent >out.silent 2>&1 &
silent=$!
{
    while printf x; do sleep 0.2; done 2>/dev/null
} | timeout 30 "$hook" web1 restore begin - >out.slow 2>&1
status=$?
wait $silent
silent_status=$?
exec 3>&-
[ $status -eq 0 ] && [ ! -s out.slow ]
result "an input that trickles without end" $?
[ $silent_status -eq 0 ] && [ ! -s out.silent ]
result "an input that is silent" $?
[ $(($(date +%s) - now)) -lt 60 ]
result "nothing took long" $?

# The one that is installed

strings=$(tr -c '[:print:]' '\n' <"$builddir/virtnest-hook" | grep -c '^virtnest-hook program [0-9a-f]\{32\}')
[ "$strings" -eq 1 ]
result "the program has its marker" $?
if ! command -v ldd >/dev/null; then
    n=$((n + 1))
    echo "ok $n - it needs no libraries # SKIP no ldd"
elif ldd "$builddir/virtnest-hook" 2>/dev/null | grep -q lib.san; then
    n=$((n + 1))
    echo "ok $n - it needs no libraries # SKIP a build with sanitizers"
else
    ! ldd "$builddir/virtnest-hook" 2>&1 | grep -q '=>'
    result "it needs no libraries" $?
fi
cd "$builddir" && ./virtnest-hook web1 migrate begin - <"$folder/running.xml" >"$folder/out" 2>"$folder/err"
[ $? -eq 1 ] || [ -e "${VIRTNEST_SYSCONFDIR:-/etc/virtnest}/disable" ] ||
    [ -e "${VIRTNEST_RUNDIR:-/run/virtnest}/incoming/all" ]
result "and refuses as the one that was tested" $?

done_testing
