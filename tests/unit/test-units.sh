#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# systemd takes the units without a warning, rates their sandboxes at 3.0 or better, and only one of them may load kernel
# modules.

set -u
: "${top_builddir:=.}"
# The marks in the tables of systemd-analyze depend on it.
LC_ALL=C.UTF-8
export LC_ALL

if [ -z "${SYSTEMD_ANALYZE:=$(command -v systemd-analyze)}" ]; then
    echo "1..0 # SKIP no systemd-analyze"
    exit 0
fi

folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT
built=$(cd "$top_builddir" && pwd)
n=0

# result NAME STATUS: STATUS is 0 for success; on failure $output is shown
result() {
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $n - $1"
    else
        echo "$output" | sed 's/^/# /'
        echo "not ok $n - $1"
    fi
}

# systemd wants the programs to exist: take those that were just built.
for name in virtnestd virtnest-host; do
    sed "s|^ExecStart=.*/\(virtnest[a-z]*\)|ExecStart=$built/\1|" "$top_builddir/units/$name.service" >"$folder/$name.service"
done

for name in virtnestd virtnest-host; do
    unit=$folder/$name.service
    # Other units of this machine may have faults: --recursive-errors=no names those of this one alone.
    output=$("$SYSTEMD_ANALYZE" verify --man=no --recursive-errors=no "$unit" 2>&1)
    status=$?
    echo "$output" | grep . | sed 's/^/# /'
    [ $status -eq 0 ] && ! echo "$output" | grep -q "$name"
    result "$name: systemd-analyze verify" $?

    # The threshold is ten times the score.
    output=$("$SYSTEMD_ANALYZE" security --offline=yes --no-pager --threshold=30 "$unit" 2>&1)
    status=$?
    echo "$output" | tail -n 1 | sed 's/^/# /'
    result "$name: systemd-analyze security" $status

    # "✓" or "✗", the name of the setting, and what it means
    for setting in ProtectKernelModules= CapabilityBoundingSet=~CAP_SYS_MODULE SystemCallFilter=~@module; do
        mark=$(echo "$output" | awk -v setting="$setting" '$2 == setting { print $1 }')
        if [ $name = virtnestd ]; then
            [ "$mark" = "✓" ]
            result "virtnestd may not load modules: $setting" $?
        else
            [ "$mark" = "✗" ]
            result "virtnest-host may: $setting" $?
        fi
    done
done

echo "1..$n"
