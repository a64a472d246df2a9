# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=sh
#
# Read by the tests that are scripts: results in TAP, numbered, and a folder that goes at the end. A script ends with done_testing.

: "${top_srcdir:=.}" "${top_builddir:=.}"

folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT
n=0

# skip_all REASON: instead of any result
skip_all() {
    echo "1..0 # SKIP $1"
    exit 0
}

# result NAME STATUS: one result; STATUS is 0 for success. A failure shows what a program left in these files.
result() {
    n=$((n + 1))
    if [ "$2" -eq 0 ]; then
        echo "ok $n - $1"
        return
    fi
    for file in out err root/fake/log; do
        [ ! -s "$folder/$file" ] || head -c 2000 "$folder/$file" | sed "s|^|# $file: |"
    done
    echo "not ok $n - $1"
}

# skip NAME REASON
skip() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}

# same_files NAME A B: whether two files are equal, and not empty
same_files() {
    output=$(diff "$2" "$3" 2>&1 && test -s "$2")
    status=$?
    [ -z "$output" ] || echo "$output" | sed 's/^/# /'
    result "$1" $status
}

done_testing() {
    echo "1..$n"
}
