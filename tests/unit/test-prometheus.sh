#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Prometheus takes the text in both formats, virtnest-metrics(7) has each name with its type and its labels, and the dashboard
# asks for nothing else.

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"

dashboard=$top_srcdir/contrib/grafana/virtnest.json

for format in prometheus openmetrics; do
    "$top_builddir/tests/unit/test-metrics" --dump $format >"$folder/$format" || exit 99
done

# Debian has promtool in the package of Prometheus; see bootstrap for how to have it without the service.
: "${PROMTOOL:=$(command -v promtool)}"
if [ ! -x "$PROMTOOL" ]; then
    skip "promtool check metrics" "no promtool"
    skip "promtool finds fault with what is wrong" "no promtool"
    skip "Prometheus's parser of OpenMetrics" "no promtool"
else
    output=$("$PROMTOOL" check metrics <"$folder/prometheus" 2>&1)
    status=$?
    [ -z "$output" ] || echo "$output" | sed 's/^/# /'
    test $status -eq 0 -a -z "$output"
    result "promtool check metrics" $?

    ! sed 's/^# TYPE virtnest_build_info gauge/# TYPE virtnest_build_info info/' "$folder/prometheus" |
        "$PROMTOOL" check metrics >/dev/null 2>&1
    result "promtool finds fault with what is wrong" $?

    # What reads OpenMetrics in promtool wants the time of each sample.
    sed '/^#/!s/$/ 1795574870/' "$folder/openmetrics" >"$folder/with-times"
    output=$("$PROMTOOL" tsdb create-blocks-from openmetrics "$folder/with-times" "$folder/tsdb" 2>&1)
    status=$?
    [ $status -eq 0 ] || echo "$output" | sed 's/^/# /'
    result "Prometheus's parser of OpenMetrics" $status
fi

# "NAME TYPE LABEL,LABEL" of each; in OpenMetrics, where info is a type of its own
awk '
    function base(name) { sub(/_(total|info|bucket|sum|count)$/, "", name); return name }
    /^# TYPE / { type[$3] = $4; next }
    /^#/ { next }
    {
        name = $0
        sub(/[{ ].*/, "", name)
        labels = ""
        rest = $0
        # Values of labels are of no interest, and may hold anything.
        gsub(/\\./, "", rest)
        gsub(/"[^"]*"/, "\"\"", rest)
        if (match(rest, /{[^}]*}/)) {
            labels = substr(rest, RSTART + 1, RLENGTH - 2)
            gsub(/=""/, "", labels)
        }
        family = name in type ? name : base(name)
        if (type[family] == "histogram") {
            if (labels != "le")
                next
            name = family
        }
        print name, type[family], labels
    }' "$folder/openmetrics" | sort -u >"$folder/emitted"
sed -n 's/^``\(virtnest_[a-z0-9_]*\)`` (\([a-z]*\);* *\(.*\))$/\1 \2 \3/p' "$top_srcdir/man/virtnest-metrics.7.rst" |
    tr -d '`' | sed 's/, /,/g' | sort >"$folder/manual"
same_files "virtnest-metrics(7) has each with its type and labels" "$folder/emitted" "$folder/manual"

# A family without samples is told of all the same.
sed -n 's/^# HELP \([a-z0-9_]*\) .*/\1/p' "$folder/prometheus" | sort >"$folder/families"
sed 's/ .*//' "$folder/emitted" >"$folder/names"
same_files "and each family has samples here" "$folder/families" "$folder/names"

# So has whatever the manuals do with them.
grep -oh 'virtnest_[a-z0-9_]*' "$top_srcdir"/man/*.rst | sed 's/_bucket$//' | sort -u >"$folder/asked"
unknown=$(comm -23 "$folder/asked" "$folder/names")
[ -z "$unknown" ] || echo "$unknown" | sed 's/^/# not emitted: /'
test -s "$folder/asked" -a -z "$unknown"
result "the manuals ask for these names alone" $?

if [ ! -x "$PROMTOOL" ]; then
    skip "promtool takes the alerts in virtnest-metrics(7)" "no promtool"
else
    sed -n '/^    groups:$/,/^$/s/^    //p' "$top_srcdir/man/virtnest-metrics.7.rst" >"$folder/alerts.yml"
    output=$("$PROMTOOL" check rules "$folder/alerts.yml" 2>&1)
    status=$?
    [ $status -eq 0 ] || echo "$output" | sed 's/^/# /'
    test $status -eq 0 -a -s "$folder/alerts.yml"
    result "promtool takes the alerts in virtnest-metrics(7)" $?
fi

# A dashboard asks in its expressions, and in the queries of its variables.
grep -o '"\(expr\|query\)": *"[^"]*\(\\"[^"]*\)*"' "$dashboard" | grep -o 'virtnest_[a-z0-9_]*' |
    sed 's/_\(bucket\|sum\|count\)$//' | sort -u >"$folder/asked"
unknown=$(comm -23 "$folder/asked" "$folder/names")
[ -z "$unknown" ] || echo "$unknown" | sed 's/^/# not emitted: /'
test -s "$folder/asked" -a -z "$unknown"
result "the dashboard asks for these names alone" $?

# Labels in selectors and groupings: each name of one that the numbers have, or that Prometheus adds.
grep -o '"\(expr\|query\)": *"[^"]*\(\\"[^"]*\)*"' "$dashboard" >"$folder/expressions"
{
    grep -o '[a-z_]* *=~*\\"' "$folder/expressions" | sed 's/ *=.*//'
    grep -o 'by *([^)]*)' "$folder/expressions" | sed 's/by *(//; s/)//' | tr -d ' ' | tr , '\n'
} | sort -u >"$folder/asked-labels"
{
    cut -d' ' -f3 "$folder/emitted" | tr , '\n'
    printf 'instance\njob\n'
} | sort -u >"$folder/labels"
unknown=$(comm -23 "$folder/asked-labels" "$folder/labels")
[ -z "$unknown" ] || echo "$unknown" | sed 's/^/# no label: /'
test -s "$folder/asked-labels" -a -z "$unknown"
result "and for their labels" $?

python3 -m json.tool "$dashboard" >/dev/null
result "and is JSON" $?

done_testing
