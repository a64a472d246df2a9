#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# systemd takes the unit without a warning, and rates its sandbox at 3.0 or better.

set -u
: "${top_builddir:=.}"

if [ -z "${SYSTEMD_ANALYZE:=$(command -v systemd-analyze)}" ]; then
    echo "1..0 # SKIP no systemd-analyze"
    exit 0
fi

folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT
unit=$folder/virtnestd.service

# systemd wants the program to exist: take the one that was just built.
sed "s|^ExecStart=[^ ]*|ExecStart=$(cd "$top_builddir" && pwd)/virtnestd|" "$top_builddir/units/virtnestd.service" >"$unit"

echo "1..2"

# Other units of this machine may have faults: --recursive-errors=no names those of this one alone.
output=$("$SYSTEMD_ANALYZE" verify --man=no --recursive-errors=no "$unit" 2>&1)
status=$?
echo "$output" | grep . | sed 's/^/# /'
if [ $status -eq 0 ] && ! echo "$output" | grep -q virtnestd; then
    echo "ok 1 - systemd-analyze verify"
else
    echo "not ok 1 - systemd-analyze verify"
fi

# The threshold is ten times the score.
output=$("$SYSTEMD_ANALYZE" security --offline=yes --no-pager --threshold=30 "$unit" 2>&1)
status=$?
echo "$output" | tail -n 1 | sed 's/^/# /'
if [ $status -eq 0 ]; then
    echo "ok 2 - systemd-analyze security"
else
    echo "$output" | sed 's/^/# /'
    echo "not ok 2 - systemd-analyze security"
fi
