#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The schema of the domain tag takes every tests/data/tag/good-*.xml and refuses every bad-*.xml; the bus policy is
# well-formed, and polkit's actions fit its DTD.

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"

if [ -z "${XMLLINT:=$(command -v xmllint)}" ]; then
    skip_all "no xmllint"
fi

schema=$top_srcdir/policy/nesting.rng

for file in "$top_srcdir"/tests/data/tag/good-*.xml; do
    output=$("$XMLLINT" --nonet --noout --relaxng "$schema" "$file" 2>&1)
    status=$?
    [ $status -eq 0 ] || echo "$output" | sed 's/^/# /'
    result "$(basename "$file") is valid" $status
done

# xmllint answers 3 where the document does not fit the schema: any other status is a broken sample or schema.
for file in "$top_srcdir"/tests/data/tag/bad-*.xml; do
    output=$("$XMLLINT" --nonet --noout --relaxng "$schema" "$file" 2>&1)
    status=$?
    [ $status -eq 3 ] || echo "$output" | sed 's/^/# /'
    result "$(basename "$file") is refused" $((status != 3))
done

"$XMLLINT" --nonet --noout "$top_srcdir/policy/org.virtnest1.conf" 2>&1 | sed 's/^/# /' | grep .
result "org.virtnest1.conf is well-formed" $(($? != 1))

dtd=/usr/share/polkit-1/policyconfig-1.dtd # polkitd has it
[ -f "$dtd" ] || { echo "# no $dtd: only whether it is well-formed can be told"; dtd=; }
# It also warns that it would look for the DTD on the network.
output=$("$XMLLINT" --nonet --noout ${dtd:+--dtdvalid "$dtd"} "$top_srcdir/policy/org.virtnest1.policy" 2>&1)
status=$?
[ $status -eq 0 ] || echo "$output" | sed 's/^/# /'
result "org.virtnest1.policy is valid" $status

done_testing
