#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Completion in bash and zsh, with domains that a virtnestctl of this test has. Each line is typed, and TAB is pressed.

set -u
: "${top_srcdir:=.}" "${top_builddir:=.}"
top_srcdir=$(cd "$top_srcdir" && pwd)
top_builddir=$(cd "$top_builddir" && pwd)

folder=$(mktemp -d) || exit 99
trap 'rm -rf "$folder"' EXIT
n=0

# What needs virtnestd is answered here; all else is virtnestctl's own.
cat >"$folder/virtnestctl" <<SCRIPT
#!/bin/sh
echo "\$*" >>"$folder/calls"
case " \$* " in
*" list --names "*) printf '%s\n' web1 web2 'with space' db1 ;;
*) exec "$top_builddir/virtnestctl" "--root=$folder/root" "\$@" ;;
esac
SCRIPT
chmod +x "$folder/virtnestctl"
PATH=$folder:$PATH
mkdir -p "$folder/root"
: >"$folder/root/notes.policy"
vendor=$folder/root${VIRTNEST_VENDORDIR:-/usr/lib/virtnest}/policy.d
mkdir -p "$vendor"
for policy in default keep passthrough windows; do
    cat "$top_srcdir/policy/$policy.policy" >"$vendor/$policy.policy"
done

# shellcheck source=/dev/null
. "$top_srcdir/man/bash/virtnestctl"
# It is a builtin that works in a completion alone.
compopt() {
    [[ $* == "-o nospace" ]]
}

# complete_line LINE: as bash does it, which takes "=" for a word of its own
complete_line() {
    local line=${1//=/ = }

    read -r -a COMP_WORDS <<<"${line//\\ /$'\001'}"
    COMP_WORDS=("${COMP_WORDS[@]//$'\001'/\\ }")
    [[ $1 != *[\ =] || $1 == *= ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _virtnestctl
}

# offers LINE WORD...: what is offered, in any order
offers() {
    local line=$1 seen wanted
    shift

    n=$((n + 1))
    complete_line "$line"
    seen=$(printf '%s\n' "${COMPREPLY[@]}" | sort)
    wanted=$(printf '%s\n' "$@" | sort)
    if [[ $seen == "$wanted" ]]; then
        echo "ok $n - $line"
    else
        echo "# offered:" $seen
        echo "not ok $n - $line"
    fi
}

mapfile -t commands < <(LC_ALL=C "$top_builddir/virtnestctl" --help |
    sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p')
offers "virtnestctl " "${commands[@]}"
offers "virtnestctl sta" status
offers "virtnestctl -H node1 mon" monitor
offers "virtnestctl show " web1 web2 'with\ space' db1
offers "virtnestctl show web" web1 web2
offers "virtnestctl wait web" web1 web2
offers 'virtnestctl tag with\ s' 'with\ space'
offers "virtnestctl monitor web1 d" db1
offers "virtnestctl hook allow db" db1
offers "virtnestctl wait web1 --" --safe --l2 --in-sync --timeout= --host= --help
offers "virtnestctl tag web1 --policy=" default keep passthrough windows
offers "virtnestctl tag web1 --policy p" passthrough
offers "virtnestctl lint web1 --policy=$folder/root/no" "$folder/root/notes.policy"
offers "virtnestctl policy show wi" windows
offers "virtnestctl policy " list show check
offers "virtnestctl hook st" status
offers "virtnestctl policy list --json=p" pretty
offers "virtnestctl --bus s" system session
offers "virtnestctl nonsense " ''
n=$((n + 1))
: >"$folder/calls"
complete_line "virtnestctl -H root@node1 --bus=system show we"
if grep -qx -e '-H root@node1 --bus system list --names' "$folder/calls"; then
    echo "ok $n - whom the line talks to is asked for the domains"
else
    sed 's/^/# /' "$folder/calls"
    echo "not ok $n - whom the line talks to is asked for the domains"
fi

# Typed into a real shell of an interactive kind.
zsh_offers() {
    n=$((n + 1))
    if ! command -v zsh >/dev/null; then
        echo "ok $n - zsh: $1 # SKIP no zsh"
        return
    fi
    # LISTMAX and the like are for people; a word that is completed, or a list, is what is looked for.
    timeout 60 zsh -f -c '
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "PS1=\">\"; fpath=($1 \$fpath); autoload -Uz compinit; compinit -D -u; print REA\"\"DY"
        zpty -r -m shell line "*READY*"
        zpty -w -n shell "$2"$'"'\\t\\t'"'
        zpty -w -n shell ""
        if zpty -r -m shell line "*$3*"; then print -r -- "$line"; fi
        zpty -d shell' zsh "$top_srcdir/man/zsh" "$1" "$2" >"$folder/out" 2>&1
    if tr -d '\r' <"$folder/out" | grep -q -e "$2"; then
        echo "ok $n - zsh: $1"
    else
        sed 's/^/# /' "$folder/out" | tail -n 20
        echo "not ok $n - zsh: $1"
    fi
}

zsh_offers "virtnestctl sta" "virtnestctl status"
zsh_offers "virtnestctl show d" "show db1"
zsh_offers "virtnestctl show wi" 'show with\\ space'
zsh_offers "virtnestctl policy show win" "show windows"
zsh_offers "virtnestctl policy list --json=sh" "json=short"
zsh_offers "virtnestctl wait db1 --in" "db1 --in-sync"
zsh_offers "virtnestctl lint db1 --policy $folder/root/no" "root/notes.policy"

echo "1..$n"
