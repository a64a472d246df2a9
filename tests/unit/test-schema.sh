#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The schema of the domain tag takes every tests/data/tag/good-*.xml and refuses every bad-*.xml; the bus policy is
# well-formed, and polkit's actions fit its DTD.

set -u
: "${top_srcdir:=.}"

if [ -z "${XMLLINT:=$(command -v xmllint)}" ]; then
    echo "1..0 # SKIP no xmllint"
    exit 0
fi

schema=$top_srcdir/policy/nesting.rng
n=0

# check NAME STATUS: one result; STATUS is 0 for success.
check() {
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
    fi
}

for file in "$top_srcdir"/tests/data/tag/good-*.xml; do
    output=$("$XMLLINT" --nonet --noout --relaxng "$schema" "$file" 2>&1)
    status=$?
    [ $status -eq 0 ] || echo "$output" | sed 's/^/# /'
    check "$(basename "$file") is valid" $status
done

# xmllint answers 3 where the document does not fit the schema: any other status is a broken sample or schema.
for file in "$top_srcdir"/tests/data/tag/bad-*.xml; do
    output=$("$XMLLINT" --nonet --noout --relaxng "$schema" "$file" 2>&1)
    status=$?
    [ $status -eq 3 ] || echo "$output" | sed 's/^/# /'
    check "$(basename "$file") is refused" $((status != 3))
done

"$XMLLINT" --nonet --noout "$top_srcdir/policy/org.virtnest1.conf" 2>&1 | sed 's/^/# /' | grep .
check "org.virtnest1.conf is well-formed" $(($? != 1))

dtd=/usr/share/polkit-1/policyconfig-1.dtd # polkitd has it
[ -f "$dtd" ] || { echo "# no $dtd: only whether it is well-formed can be told"; dtd=; }
# It also warns that it would look for the DTD on the network.
output=$("$XMLLINT" --nonet --noout ${dtd:+--dtdvalid "$dtd"} "$top_srcdir/policy/org.virtnest1.policy" 2>&1)
status=$?
[ $status -eq 0 ] || echo "$output" | sed 's/^/# /'
check "org.virtnest1.policy is valid" $status

echo "1..$n"
