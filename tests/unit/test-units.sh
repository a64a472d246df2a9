#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# systemd takes each unit without a warning, rates its sandbox at 3.0 or better, and only one of them may load kernel modules.

set -u
: "${top_builddir:=.}"

if [ -z "${SYSTEMD_ANALYZE:=$(command -v systemd-analyze)}" ]; then
    echo "1..0 # SKIP no systemd-analyze"
    exit 0
fi

folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT
build=$(cd "$top_builddir" && pwd)
n=0

# report STATUS DESCRIPTION
report() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
    fi
}

for unit in "$top_builddir"/units/*.service; do
    name=$(basename "$unit")
    # systemd wants the program to exist: take the one that was just built.
    sed "s#^\(Exec[A-Za-z]*=\)[^ ]*/\(virtnest[a-z]*\)#\1$build/\2#" "$unit" >"$folder/$name"

    # Other units of this machine may have faults: --recursive-errors=no names those of this one alone.
    output=$("$SYSTEMD_ANALYZE" verify --man=no --recursive-errors=no "$folder/$name" 2>&1)
    status=$?
    echo "$output" | grep . | sed 's/^/# /'
    if [ $status -eq 0 ] && echo "$output" | grep -q virtnest; then
        status=1
    fi
    report $status "systemd-analyze verify $name"

    # The threshold is ten times the score.
    output=$("$SYSTEMD_ANALYZE" security --offline=yes --no-pager --threshold=30 "$folder/$name" 2>&1)
    status=$?
    if [ $status -eq 0 ]; then
        echo "$output" | tail -n 1 | sed 's/^/# /'
    else
        echo "$output" | sed 's/^/# /'
    fi
    report $status "systemd-analyze security $name"

    # "✓" or "✗", the name of the setting, and what it means
    for setting in ProtectKernelModules= CapabilityBoundingSet=~CAP_SYS_MODULE SystemCallFilter=~@module; do
        mark=$(echo "$output" | awk -v setting="$setting" '$2 == setting { print $1 }')
        if [ "$name" = virtnest-host.service ]; then
            [ "$mark" = "✗" ]
            report $? "$name may load modules: $setting"
        else
            [ "$mark" = "✓" ]
            report $? "$name may not load modules: $setting"
        fi
    done
done
echo "1..$n"
