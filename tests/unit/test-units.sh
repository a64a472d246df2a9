#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# systemd takes each unit without a warning, rates its sandbox at 3.0 or better, and only one of them may load kernel modules.

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"

if [ -z "${SYSTEMD_ANALYZE:=$(command -v systemd-analyze)}" ]; then
    skip_all "no systemd-analyze"
fi

build=$(cd "$top_builddir" && pwd)

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
    result "systemd-analyze verify $name" $status

    # The threshold is ten times the score.
    output=$("$SYSTEMD_ANALYZE" security --offline=yes --no-pager --threshold=30 "$folder/$name" 2>&1)
    status=$?
    if [ $status -eq 0 ]; then
        echo "$output" | tail -n 1 | sed 's/^/# /'
    else
        echo "$output" | sed 's/^/# /'
    fi
    result "systemd-analyze security $name" $status

    # "✓" or "✗", the name of the setting, and what it means
    for setting in ProtectKernelModules= CapabilityBoundingSet=~CAP_SYS_MODULE SystemCallFilter=~@module; do
        mark=$(echo "$output" | awk -v setting="$setting" '$2 == setting { print $1 }')
        if [ "$name" = virtnest-host.service ]; then
            [ "$mark" = "✗" ]
            result "$name may load modules: $setting" $?
        else
            [ "$mark" = "✓" ]
            result "$name may not load modules: $setting" $?
        fi
    done
done
done_testing
