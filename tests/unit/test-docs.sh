#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The manual pages tell of what there is, and of nothing else: keys, options, states, the D-Bus interfaces.

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"

man=$top_srcdir/man

# same NAME: whether $folder/code and $folder/manual have the same lines, and any
same() {
    sort "$folder/code" >"$folder/code.sorted"
    sort "$folder/manual" >"$folder/manual.sorted"
    output=$(diff "$folder/code.sorted" "$folder/manual.sorted" 2>&1 && test -s "$folder/code")
    status=$?
    [ -z "$output" ] || echo "$output" | sed 's/^</# only in the code:  /; s/^>/# only in the manual:/; s/^[^#]/# &/'
    result "$1" $status
}

# section FILE TITLE: the lines from that title to the next one of any level
section() {
    awk -v title="$2" '
        /^(=+|-+)$/ && length(previous) == length($0) { inside = previous == title }
        inside
        { previous = $0 }' "$1"
}

# subsections FILE TITLE: the titles below that one
subsections() {
    awk -v title="$2" '
        /^=+$/ && length(previous) == length($0) { inside = previous == title }
        /^-+$/ && length(previous) == length($0) && inside { print previous }
        { previous = $0 }' "$1"
}

# keys_of_code FILE: "GROUP KEY" of each of its key_specs
keys_of_code() {
    sed -n '/key_specs\[\] = {/,/^};/p' "$1" | grep -o '{[^{}]*}' | tr -d '{}",'
}

# keys_of_manual FILE: "GROUP KEY" of each term "KEY=" in a section "[GROUP]"
keys_of_manual() {
    awk '
        /^(=+|-+)$/ && length(previous) == length($0) { group = previous }
        /^``[A-Za-z]+=``$/ { print substr(group, 2, length(group) - 2), substr($0, 3, length($0) - 5) }
        { previous = $0 }' "$1"
}

# keys_of_file FILE: "GROUP KEY" of each line "#KEY=value" in the group above it
keys_of_file() {
    awk '
        /^\[.*\]$/ { group = substr($0, 2, length($0) - 2) }
        match($0, /^#[A-Za-z]+=/) { print group, substr($0, 2, RLENGTH - 2) }' "$1"
}

# interface_of_code FILE: its properties and methods, as org.virtnest1(5) writes the terms
interface_of_code() {
    awk '
        function attribute(name) {
            if (!match($0, " " name "=\"[^\"]*\""))
                return ""
            return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 4)
        }
        function flush() {
            if (member != "")
                print "``" member "`` (" text ")"
            member = ""
        }
        /<(property|method|signal) / { flush(); member = attribute("name"); text = "" }
        /<property / { text = "``" attribute("type") "``" }
        /EmitsChangedSignal/ { text = text (attribute("value") == "const" ? ", constant" : ", no signal") }
        /<arg / {
            text = text (text == "" ? "" : ", ") attribute("direction") " ``" attribute("type") "`` " attribute("name")
        }
        END { flush() }' "$1"
}

for name in settings:virtnest.conf policy:virtnest.policy; do
    keys_of_code "$top_srcdir/lib/${name%:*}.c" >"$folder/code"
    keys_of_manual "$man/${name#*:}.5.rst" >"$folder/manual"
    same "the keys of lib/${name%:*}.c are those of ${name#*:}(5)"
done

keys_of_code "$top_srcdir/lib/settings.c" >"$folder/code"
keys_of_file "$top_srcdir/policy/virtnest.conf" >"$folder/manual"
same "and the virtnest.conf that is shipped shows each of them"

option='s/^ *\(-[a-zA-Z], \)\{0,1\}\(--[a-z0-9-]*\)\(=[A-Z]*\)\{0,1\}  .*/\2\3/p'
LC_ALL=C "$top_builddir/virtnestd" --help | sed -n "$option" >"$folder/code"
section "$man/virtnestd.8.rst" OPTIONS | sed -n "$option" >"$folder/manual"
same "the options of virtnestd --help are those of virtnestd(8)"

LC_ALL=C "$top_builddir/virtnestctl" --help | sed -n "$option" >"$folder/code"
section "$man/virtnestctl.1.rst" OPTIONS | sed -n "$option" >"$folder/manual"
same "the options of virtnestctl --help are those of virtnestctl(1)"
for command in "policy list" "policy show" "policy check" cat-config render "hook enable" "hook disable" "hook status" \
    "hook allow" "host check" "host enable" "host disable" "host apply" tag untag lint verify metrics release revoke drain \
    status show list monitor wait reconcile baseline; do
    # shellcheck disable=SC2086
    LC_ALL=C "$top_builddir/virtnestctl" $command --help | sed -n "$option" | grep -v -e --help -e --host=
done | sort -u >"$folder/code"
sed -n "$option" "$man/virtnestctl.1.rst" | grep -v -e --help -e --root -e --bus -e --connect -e --no-ask -e --no-pager \
    -e --host= -e --version |
    sort -u >"$folder/manual"
same "the options of its commands too"
{
    for parent in policy hook host; do
        LC_ALL=C "$top_builddir/virtnestctl" $parent --help | sed -n "s/^  \([a-z][a-z-]* *[^ ]*\)  .*/$parent \1/p"
    done
    LC_ALL=C "$top_builddir/virtnestctl" --help | sed -n 's/^  \([a-z][a-z-]* *[^ ]*\)  .*/\1/p' |
        grep -v -e '^policy' -e '^hook' -e '^host'
} | sed 's/ *$//' >"$folder/code"
subsections "$man/virtnestctl.1.rst" COMMANDS >"$folder/manual"
same "and the commands"

# rows_of_code FILE...: the names of the rows that these files add, and those in their tables
rows_of_code() {
    {
        cat "$@" | tr '\n' ' ' | grep -oE '(judge_add|checks_add|guest_judge_live)\( *judge[a-z>-]*, *"[a-z.-]+"' | grep -o '"[^"]*"'
        cat "$@" | sed -n '/^static const Extension extensions/,/^};/s/^ *{\("[a-z-]*"\), .*/\1/p'
    } | tr -d '"' | sort -u
}

# rows_of_manual COMMAND: those in the terms of its section
rows_of_manual() {
    section "$man/virtnestctl.1.rst" "$1" | grep '^``[a-z.-]*``\(, ``[a-z.-]*``\)*$' | tr -d '`,' | tr ' ' '\n'
}

rows_of_code "$top_srcdir"/lib/host-*.c >"$folder/code"
rows_of_manual "host check" >"$folder/manual"
same "the rows of lib/host-*.c are those of host check in virtnestctl(1)"
rows_of_code "$top_srcdir"/lib/guest-checks.c "$top_srcdir"/lib/guest-features.c "$top_srcdir"/lib/guest-moves.c >"$folder/code"
rows_of_manual "lint DOMAIN|FILE|-" >"$folder/manual"
same "and those of lint"

# What virtnest(7) tells people to type can be typed.
commands_of() {
    {
        grep -o '``[^`]*``' "$man/virtnest.7.rst" | tr -d '`'
        sed -n 's/^   *\([a-z]\)/\1/p' "$man/virtnest.7.rst"
    } | sed 's/ [|]\{1,2\} /\n/g; s/ && /\n/g' | sed -n "s/^$1 //p" | sort -u
}

# options_of COMMAND: those in the rest of a line
options_of() {
    echo "$1" | tr ' ' '\n' | sed -n 's/^\(--[a-z-]*\).*/\1/p'
}

commands_of virtnestctl >"$folder/commands"
status=0
while read -r line; do
    # shellcheck disable=SC2086
    set -- $line
    case $1 in
    policy | hook | host) [ $# -gt 1 ] && command="$1 $2" || command="$1 check" ;;
    *) command=$1 ;;
    esac
    # shellcheck disable=SC2086
    if ! LC_ALL=C "$top_builddir/virtnestctl" $command --help >"$folder/help" 2>&1; then
        echo "# no such command: virtnestctl $line"
        status=1
    fi
    for option in $(options_of "$line"); do
        grep -q -e "^  *\(-[a-z], \)*$option\([= ]\|$\)" "$folder/help" || {
            echo "# no such option: virtnestctl $line"
            status=1
        }
    done
done <"$folder/commands"
[ "$(wc -l <"$folder/commands")" -gt 20 ] || status=1
result "each virtnestctl command in virtnest(7) is one, with its options" $status

grep -oh -e '--policy=[a-z][a-z]*' "$man/virtnest.7.rst" | sort -u >"$folder/commands"
status=0
while read -r option; do
    [ -f "$top_srcdir/policy/${option#*=}.policy" ] || {
        echo "# no such policy: $option"
        status=1
    }
done <"$folder/commands"
[ "$(wc -l <"$folder/commands")" -ge 3 ] || status=1
result "and each policy is shipped" $status

if ! command -v virsh >/dev/null; then
    skip "and each of virsh" "no virsh"
else
    commands_of virsh >"$folder/commands"
    status=0
    while read -r line; do
        if ! LC_ALL=C virsh help "${line%% *}" >"$folder/help" 2>&1; then
            echo "# no such command: virsh $line"
            status=1
        fi
        for option in $(options_of "$line"); do
            grep -q -e "$option" "$folder/help" || {
                echo "# no such option: virsh $line"
                status=1
            }
        done
    done <"$folder/commands"
    [ -s "$folder/commands" ] || status=1
    result "and each of virsh" $status
fi

for interface in org.virtnest1.Manager org.virtnest1.Host org.virtnest1.Domain; do
    interface_of_code "$top_srcdir/policy/$interface.xml" >"$folder/code"
    for kind in properties methods; do
        section "$man/org.virtnest1.5.rst" "$interface $kind" | grep '^``[A-Z]'
    done >"$folder/manual"
    same "the members of $interface are those of org.virtnest1(5)"
done

# What busctl is told in any manual. A command may go on behind a backslash.
sed -e ':more' -e '/\\$/{N;s/ *\\\n */ /;b more' -e '}' "$man"/*.rst | sed -n 's/^  *busctl \(-j \)*//p' | sort -u >"$folder/commands"
status=0
while read -r verb name path interface members; do
    case "$verb $name $path $interface" in
    "call org.virtnest1 /org/virtnest1 org.virtnest1."*) grep -q "<method name=\"${members%% *}\"" "$top_srcdir/policy/$interface.xml" ;;
    "get-property org.virtnest1 PATH org.virtnest1."*)
        for member in $members; do
            grep -q "<property name=\"$member\"" "$top_srcdir/policy/$interface.xml" || members=
        done
        [ -n "$members" ]
        ;;
    "introspect org.virtnest1 /org/virtnest1 org.virtnest1."*) [ -f "$top_srcdir/policy/$interface.xml" ] ;;
    "call org.virtnest1 /org/virtnest1 org.freedesktop.DBus."* | "monitor org.virtnest1  ") true ;;
    *) false ;;
    esac || {
        echo "# no such call: busctl $verb $name $path $interface $members"
        status=1
    }
done <"$folder/commands"
[ "$(wc -l <"$folder/commands")" -ge 4 ] || status=1
result "each call of busctl in the manuals is one" $status

# What changes something takes flags, and has an action of polkit: its name in lower case.
awk '
    /<method / { split($0, words, "\""); method = words[2] }
    /name="flags"/ {
        action = method
        gsub(/[A-Z]/, "-&", action)
        print method, "org.virtnest1." tolower(substr(action, 2))
    }' "$top_srcdir"/policy/org.virtnest1.Manager.xml "$top_srcdir"/policy/org.virtnest1.Domain.xml >"$folder/mutators"
cp "$folder/mutators" "$folder/code"
section "$man/org.virtnest1.5.rst" ACCESS | sed -n 's/^\* ``\([A-Z][A-Za-z]*\)``: ``\(org[^`]*\)``$/\1 \2/p' >"$folder/manual"
same "each method that changes something is in the list of org.virtnest1(5) with its action"
sed 's/.* //' "$folder/mutators" >"$folder/code"
sed -n 's/.*<action id="\([^"]*\)".*/\1/p' "$top_srcdir/policy/org.virtnest1.policy" >"$folder/manual"
same "and has an action in org.virtnest1.policy"
grep -oh '"org\.virtnest1\.[a-z-]*"' "$top_srcdir"/daemon/*.c | tr -d '"' >"$folder/manual"
same "of which polkit is asked"
sed 's/ .*//' "$folder/mutators" >"$folder/code"
sed -n '/These change something/,/<\/policy>/s/.*send_member="\([^"]*\)".*/\1/p' "$top_srcdir/policy/org.virtnest1.conf" >"$folder/manual"
same "and the bus policy lets it through to virtnestd"

sed -n 's/^#define BUS_ERROR_[A-Z_]* "\(.*\)"/\1/p' "$top_srcdir/daemon/bus-error.h" >"$folder/code"
section "$man/org.virtnest1.5.rst" ERRORS | sed -n 's/^``\(org\.virtnest1\.[^`]*\)``$/\1/p' >"$folder/manual"
same "the errors of daemon/bus-error.h are those of org.virtnest1(5)"
sed -n 's/^#define \(BUS_ERROR_[A-Z_]*\).*/\1/p' "$top_srcdir/daemon/bus-error.h" >"$folder/code"
sed -n 's/.*SD_BUS_ERROR_MAP(\(BUS_ERROR_[A-Z_]*\),.*/\1/p' "$top_srcdir/daemon/bus-error.c" >"$folder/manual"
same "each of them has an errno"

sed -n 's/^ *\[RECONCILE_[A-Z_]*\] = "\(.*\)",$/\1/p' "$top_srcdir/lib/reconcile.c" >"$folder/code"
section "$man/virtnestd.8.rst" "DOMAIN STATES" | sed -n 's/^``\([a-z-]*\)``$/\1/p' >"$folder/manual"
same "the states of lib/reconcile.c are in the list of virtnestd(8)"
subsections "$man/virtnestd.8.rst" TROUBLESHOOTING >"$folder/manual"
same "virtnestd(8) tells the way out of each state"
sed -n '/^``State`` /,/^$/p' "$man/org.virtnest1.5.rst" | tail -n +2 | grep -o '``[a-z-]*``' | tr -d '`' >"$folder/manual"
same "the states of lib/reconcile.c are in org.virtnest1(5)"

{
    sed -n 's/^ *\[L2_[A-Z]*\] = "\(.*\)",$/\1/p' "$top_srcdir/lib/l2.c"
    sed -n 's/^ *\.name = "\(.*\)",$/\1/p' "$top_srcdir/lib/stats-fd.c" "$top_srcdir/lib/debugfs.c"
    sed -n 's/.*->l2_source = "\([a-z].*\)";$/\1/p' "$top_srcdir/daemon/detector.c"
} >"$folder/code"
section "$man/virtnestd.8.rst" "L2 GUESTS" | sed -n 's/^``\([a-z-]*\)``$/\1/p' >"$folder/manual"
same "and so are those of L2 guests, and where these are seen"

if [ -z "${XMLLINT:=$(command -v xmllint)}" ]; then
    skip "the introspection documents are well-formed" "no xmllint"
else
    output=$("$XMLLINT" --nonet --noout "$top_srcdir"/policy/org.virtnest1.*.xml 2>&1)
    status=$?
    [ -z "$output" ] || echo "$output" | sed 's/^/# /'
    result "the introspection documents are well-formed" $status
fi

version=$("$top_builddir/virtnestd" --version)
for source in "$man"/*.rst; do
    name=$(basename "$source" .rst)
    [ "$name" = virtnest.7 ] || section "$source" "SEE ALSO" | grep -q -F '**virtnest**\(7)'
    result "$name leads to virtnest(7)" $?
    page=$top_builddir/man/$name
    [ -f "$page" ] || page=$man/$name
    if [ ! -f "$page" ]; then
        skip "$name renders without a warning" "not built: configure found no rst2man"
        skip "$name fits on a terminal of 80 columns" "not built: configure found no rst2man"
        skip "$name has this version" "not built: configure found no rst2man"
        continue
    fi
    # In a way that only man-db has.
    if ! man --version 2>/dev/null | grep -q '^man [0-9]'; then
        skip "$name renders without a warning" "no man-db"
        skip "$name fits on a terminal of 80 columns" "no man-db"
    else
        output=$(MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
        status=$?
        [ -z "$output" ] || echo "$output" | sed 's/^/# /'
        test $status -eq 0 -a -z "$output"
        result "$name renders without a warning" $?

        output=$(MANWIDTH=80 man -E ascii -l "$page" 2>/dev/null | awk 'length > 80')
        [ -z "$output" ] || echo "$output" | sed 's/^/# /'
        test -z "$output"
        result "$name fits on a terminal of 80 columns" $?
    fi
    grep -q "^\.TH .* \"virtnest ${version#virtnestd }\" " "$page"
    result "$name has this version" $?
done

done_testing
