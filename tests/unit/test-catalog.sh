#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Each message id of daemon/log.h has one entry in the journal's catalog and the other way round, the entries use no
# field that is never logged, and the journal takes the catalog as it is.

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"

catalog=$top_srcdir/units/virtnest.catalog

sed -n 's/^#define MESSAGE_[A-Z0-9_]* "\(.*\)"$/\1/p' "$top_srcdir/daemon/log.h" | sort >"$folder/header"
sed -n 's/^-- //p' "$catalog" | sort >"$folder/catalog"
same_files "the ids of log.h are those of the catalog" "$folder/header" "$folder/catalog"

! uniq -d "$folder/header" | sed 's/^/# twice: /' | grep .
result "no two messages have one id" $?

! grep -vE '^[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}$' "$folder/header" | sed 's/^/# /' | grep .
result "each id is 32 hexadecimal digits, and random" $?

sed -n 's/.*{"\(VIRTNEST_[A-Z_]*\)".*/\1/p' "$top_srcdir/daemon/log.c" | sort -u >"$folder/logged"
grep -o '@[A-Z_]*@' "$catalog" | tr -d @ | sort -u >"$folder/used"
unknown=$(comm -13 "$folder/logged" "$folder/used")
[ -z "$unknown" ] || echo "$unknown" | sed 's/^/# never logged: /'
test -s "$folder/used" -a -z "$unknown"
result "the entries use fields that are logged" $?

if ! command -v journalctl >/dev/null; then
    skip "the journal takes the catalog" "no journalctl"
    skip "the journal has each entry with its subject" "no journalctl"
    done_testing
    exit 0
fi

# An entry that is wrong is a warning, and the rest is taken all the same.
mkdir -p "$folder/root/usr/lib/systemd/catalog" "$folder/root/var/lib/systemd/catalog"
cp "$catalog" "$folder/root/usr/lib/systemd/catalog/"
output=$(journalctl --root="$folder/root" --update-catalog 2>&1)
status=$?
[ -z "$output" ] || echo "$output" | sed 's/^/# /'
test $status -eq 0 -a -z "$output"
result "the journal takes the catalog" $?

awk '/^-- / { id = $2 } /^Subject: / { print id " virtnest: " substr($0, 10) }' "$catalog" | sort >"$folder/subjects"
journalctl --root="$folder/root" --no-pager --list-catalog 2>&1 | sort >"$folder/listed"
same_files "the journal has each entry with its subject" "$folder/subjects" "$folder/listed"

done_testing
