#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Completion in bash and zsh, with domains that a virtnestctl of this test has. Each line is typed into an interactive shell, and
# TAB is pressed: what becomes of it is readline's and zle's to decide.
#
# shellcheck disable=SC2016,SC2086

set -u
# shellcheck source=tests/unit/tap.sh
. "${top_srcdir:=.}/tests/unit/tap.sh"
top_srcdir=$(cd "$top_srcdir" && pwd)
top_builddir=$(cd "$top_builddir" && pwd)
export folder top_srcdir

here=$folder/here
mkdir -p "$folder/bin" "$folder/home/.ssh" "$folder/zsh" "$here/vmdata"
# Names that a shell would read otherwise. The last line of its history is "touch pwned".
nasty=('pwn $(touch pwned)' 'tick `touch pwned`' "it's; touch pwned; '" 'say"; touch pwned; "' 'slash\back' 'bang!!' "quote'!!\"!!"
    'home $HOME' 'star * [a]' '~root' '#x' '; touch pwned' '!-1')
printf '%s\n' web1 web2 'with space' db1 vm:one vm:two at@home --all -x '' >"$folder/names"
printf '%s\n' "${nasty[@]}" >"$folder/nasty"
cat "$folder/nasty" >>"$folder/names"

# What needs virtnestd is answered here, and what is run is written down; all else is virtnestctl's own.
cat >"$folder/bin/virtnestctl" <<SCRIPT
#!/bin/sh
echo "\$*" >>"$folder/calls"
case " \$* " in
*" list --names ") test ! -e "$folder/dead" && cat "$folder/names" ;;
" show --help ") exec "$top_builddir/virtnestctl" "\$@" ;;
" show "*) printf '<%s>\n' "\$@" >"$folder/ran" ;;
*) exec "$top_builddir/virtnestctl" "--root=$folder/root" "\$@" ;;
esac
SCRIPT
cat >"$folder/bin/virsh" <<SCRIPT
#!/bin/sh
echo "virsh \$*" >>"$folder/calls"
printf '%s\n' ours1 --all
SCRIPT
chmod +x "$folder"/bin/*

mkdir -p "$folder/root"
vendor=$folder/root${VIRTNEST_VENDORDIR:-/usr/lib/virtnest}/policy.d
mkdir -p "$vendor"
for policy in default keep passthrough windows; do
    cat "$top_srcdir/policy/$policy.policy" >"$vendor/$policy.policy"
done
touch "$here/lab.policy" "$here/guest.xml" "$here/notes.txt" "$here/vmdata/a.policy" "$here/file \$(touch pwned)"
printf 'Host hv-one hv-two *.lab !hv-no\n    HostName 192.0.2.1\n  host = hv-three\n' >"$folder/home/.ssh/config"

# Ctrl-X Ctrl-P tells what the line is now, and ends the shell.
cat >"$folder/bashrc" <<'RC'
PS1='> '
HISTFILE=
. "$top_srcdir/man/bash/virtnestctl"
# What readline is given, besides what it makes of it.
offer() {
    _virtnestctl "$@"
    printf '%s\n' "${COMPREPLY[@]}" >"$folder/offered"
}
complete -F offer virtnestctl
# As the completion of sudo(8) hands on what stands behind it.
offer_behind() {
    COMP_LINE=${COMP_LINE#sudo } COMP_POINT=$((COMP_POINT - 5))
    offer virtnestctl "${COMP_WORDS[COMP_CWORD]}"
}
complete -F offer_behind sudo
tell() {
    printf '%s\n' "$READLINE_LINE" >"$folder/line"
    exit
}
bind -x '"\C-x\C-p": tell'
history -s 'touch pwned'
RC
cat >"$folder/zsh/.zshrc" <<'RC'
fpath=($top_srcdir/man/zsh $fpath)
autoload -Uz compinit
compinit -u -d $folder/zcompdump
LISTMAX=1000
tell() {
    print -r -- "$BUFFER" >$folder/line
    exit
}
zle -N tell
bindkey '^X^P' tell
zle-line-init() {
    [[ -n ${told-} ]] || print -n REA''DY
    told=1
}
zle -N zle-line-init
print -s 'touch pwned'
RC

unset INPUTRC HOSTFILE
export HOME=$folder/home ZDOTDIR=$folder/zsh TERM=dumb LC_ALL=C.UTF-8 PATH=$folder/bin:$PATH

# press_in_SHELL KEYS: leaves $folder/line, what the shell ran, and what a terminal would show in $folder/out
press_in_bash() {
    # It needs no terminal. With one, job control would stop a test that is in the background.
    printf '%s' "$1" | (cd "$here" && timeout 60 setsid -w bash --noprofile --rcfile "$folder/bashrc" -i) >"$folder/out" 2>&1
}
press_in_zsh() {
    (cd "$here" && timeout 60 zsh -f -c '
        zmodload zsh/zpty
        zpty shell zsh -d -i
        zpty -r -m shell out "*READY*"
        zpty -w -n shell "$1"
        while zpty -r shell out; do print -rn -- "$out"; done' zsh "$1") >"$folder/out" 2>&1
}

# press SHELL KEYS
press() {
    rm -f "$folder/line" "$folder/offered" "$folder/ran" "$here/pwned"
    : >"$folder/calls"
    "press_in_$1" "$2"
}

has_shell() {
    command -v "$1" >/dev/null && return
    skip "$1: $2" "no $1"
    return 1
}

# offers LINE WORD...: what bash is given to offer, in any order
offers() {
    local line=$1 seen wanted
    shift

    press bash "$line"$'\t\030\020'
    seen=$(sort "$folder/offered")
    wanted=$(printf '%s\n' "$@" | sort)
    if [[ $seen == "$wanted" ]]; then
        result "bash: $line" 0
    else
        echo "# offered:" $seen
        result "bash: $line" 1
    fi
}

# completes SHELL LINE COMPLETED: what the line is once TAB is pressed
completes() {
    local seen

    has_shell "$1" "$2" || return
    press "$1" "$2"$'\t\030\020'
    seen=$(cat "$folder/line")
    [[ $seen == "$3" ]] || echo "# the line is: $seen"
    [[ $seen == "$3" ]]
    result "$1: $2" $?
}

both_complete() {
    completes bash "$@"
    completes zsh "$@"
}

# runs SHELL LINE NAME: TAB and Enter show the domain of that name, and do nothing else
runs() {
    has_shell "$1" "$2" || return
    press "$1" "$2"$'\t\r\030\020'
    [[ $(cat "$folder/ran" 2>&1) == $'<show>\n'"<$3>" && ! -e $here/pwned ]]
    result "$1: $2 is the domain $3" $?
}

# asks SHELL LINE CALL: what is asked for the domains
asks() {
    has_shell "$1" "$2" || return
    press "$1" "$2"$'\t\030\020'
    grep -qxFe "$3" "$folder/calls" || sed 's/^/# /' "$folder/calls"
    grep -qxFe "$3" "$folder/calls"
    result "$1: $2 asks $3" $?
}

# Commands ------------------------------------------------------------------------------------------------------------

# commands [ARGUMENT]: prints those, with what they take
commands() {
    LC_ALL=C "$top_builddir/virtnestctl" "$@" --help | sed -n "/^Commands:/,/^\$/s/^  \\([a-z][a-z-]* [^ ]*\\).*/${1:+$1 }\\1/p"
}
commands | grep -ve '^policy ' -e '^hook ' -e '^host ' >"$folder/commands"
for command in policy hook host; do
    commands $command
done >>"$folder/commands"

mapfile -t words < <(commands | sed 's/ .*//')
offers "virtnestctl " "${words[@]}"
offers "virtnestctl -H node1 mon" monitor
offers "virtnestctl policy " list show check
offers "virtnestctl nonsense " ''
both_complete "virtnestctl sta" "virtnestctl status "
both_complete "virtnestctl hook st" "virtnestctl hook status "

# Whatever takes a domain or the like by its own help.
while IFS= read -r command; do
    case $command in
    *\ *DOMAIN*) both_complete "virtnestctl ${command% *} db" "virtnestctl ${command% *} db1 " ;;
    *\ *FILE*) both_complete "virtnestctl ${command% *} vmdata/a" "virtnestctl ${command% *} vmdata/a.policy " ;;
    *\ *HOST*) both_complete "virtnestctl ${command% *} hv-th" "virtnestctl ${command% *} hv-three " ;;
    *\ *NAME*) both_complete "virtnestctl ${command% *} wi" "virtnestctl ${command% *} windows " ;;
    *) both_complete "virtnestctl ${command% *} d" "virtnestctl ${command% *} d" ;;
    esac
done <"$folder/commands"
both_complete "virtnestctl monitor web1 d" "virtnestctl monitor web1 db1 "
both_complete "virtnestctl show web1 d" "virtnestctl show web1 d"
both_complete "virtnestctl lint gu" "virtnestctl lint guest.xml "
both_complete "virtnestctl lint vmd" "virtnestctl lint vmdata/"
both_complete "virtnestctl lint no" "virtnestctl lint no"
both_complete "virtnestctl lint - d" "virtnestctl lint - d"
both_complete "virtnestctl baseline hv-one root@hv-th" "virtnestctl baseline hv-one root@hv-three "
both_complete "virtnestctl baseline hv-one >no" "virtnestctl baseline hv-one >notes.txt "
both_complete "virtnestctl lint <notes.txt d" "virtnestctl lint <notes.txt db1 "

# Options -------------------------------------------------------------------------------------------------------------

offers "virtnestctl wait web1 --" --safe --l2 --in-sync --timeout= --host= --help --no-pager
offers "virtnestctl host --" --json= --no-legend --help --no-pager
both_complete "virtnestctl wait db1 --in" "virtnestctl wait db1 --in-sync "
both_complete "virtnestctl wait db1 --ti" "virtnestctl wait db1 --timeout="
both_complete "virtnestctl status --no-p" "virtnestctl status --no-pager "
offers "virtnestctl tag web1 --policy=" default keep passthrough windows
offers "virtnestctl lint web1 --policy=" default keep passthrough windows lab.policy
both_complete "virtnestctl tag web1 --policy p" "virtnestctl tag web1 --policy passthrough "
both_complete "virtnestctl tag web1 --policy=la" "virtnestctl tag web1 --policy=la"
both_complete "virtnestctl render --policy=la" "virtnestctl render --policy=lab.policy "
both_complete "virtnestctl lint web1 --policy ./vmdata/" "virtnestctl lint web1 --policy ./vmdata/a.policy "
both_complete "virtnestctl lint web1 --policy=$here/la" "virtnestctl lint web1 --policy=$here/lab.policy "
both_complete "virtnestctl policy list --json=sh" "virtnestctl policy list --json=short "
both_complete "virtnestctl metrics --format=p" "virtnestctl metrics --format=prometheus "
both_complete "virtnestctl metrics --format o" "virtnestctl metrics --format openmetrics "
both_complete "virtnestctl baseline --virt-type=k" "virtnestctl baseline --virt-type=kvm "
both_complete "virtnestctl --bus se" "virtnestctl --bus session "
both_complete "virtnestctl --root=vm" "virtnestctl --root=vmdata/"
both_complete "virtnestctl lint --host-root vm" "virtnestctl lint --host-root vmdata/"
both_complete "virtnestctl -H hv-th" "virtnestctl -H hv-three "
both_complete "virtnestctl --host=hv-one,root@hv-th" "virtnestctl --host=hv-one,root@hv-three "
both_complete "virtnestctl -c qemu:///sy" "virtnestctl -c qemu:///system "
both_complete "virtnestctl --connect=qemu+ssh://root@hv-th" "virtnestctl --connect=qemu+ssh://root@hv-three/system "

# An option with a value that is taken for one without has its value taken for a command.
while IFS= read -r command; do
    LC_ALL=C "$top_builddir/virtnestctl" ${command% *} --help
done < <(echo "--no-pager "; cat "$folder/commands") | sed -n 's/^  .*--\([a-z-]*\)=.*/\1/p' | sort -u >"$folder/wanted"
for file in bash/virtnestctl zsh/_virtnestctl; do
    sed -n 's/.*takes_value=.*--(\([a-z|-]*\)).*/\1/p' "$top_srcdir/man/$file" | tr '|' '\n' | sort >"$folder/known"
    same_files "$file knows all options that take a value" "$folder/wanted" "$folder/known"
done

# Domains -------------------------------------------------------------------------------------------------------------

mapfile -t words < <(while IFS= read -r name; do printf '%q\n' "$name"; done <"$folder/nasty")
offers "virtnestctl show " web1 web2 'with\ space' db1 vm:one vm:two at@home "${words[@]}"
offers "virtnestctl show web" web1 web2
offers 'virtnestctl tag with\ s' 'with\ space'
both_complete 'virtnestctl show wi' 'virtnestctl show with\ space '
both_complete 'virtnestctl show "wi' 'virtnestctl show "with space" '
completes bash 'virtnestctl show "with "s' 'virtnestctl show with\ space '
completes zsh 'virtnestctl show "with "s' 'virtnestctl show "with space" '
both_complete "virtnestctl show 'with s" "virtnestctl show 'with space' "
# One of these would be all of them.
both_complete 'virtnestctl untag "' 'virtnestctl untag "'
both_complete 'virtnestctl show vm' 'virtnestctl show vm:'
both_complete 'virtnestctl show vm:o' 'virtnestctl show vm:one '
completes bash 'virtnestctl show vm\:o' 'virtnestctl show vm:one '
completes zsh 'virtnestctl show vm\:o' 'virtnestctl show vm:one '
both_complete 'virtnestctl show "vm:o' 'virtnestctl show "vm:one" '
offers 'virtnestctl show vm:' one two
completes bash 'sudo virtnestctl show vm:o' 'sudo virtnestctl show vm:one '
completes bash 'sudo virtnestctl show "pw' 'sudo virtnestctl show "pwn \$(touch pwned)" '
offers 'sudo virtnestctl show vm:' one two
offers 'sudo virtnestctl list --json=' pretty short off
both_complete 'virtnestctl show at@h' 'virtnestctl show at@home '
both_complete 'virtnestctl -c qemu:///system tag db' 'virtnestctl -c qemu:///system tag db1 '
both_complete 'virtnestctl --connect=qemu:///system tag vm:o' 'virtnestctl --connect=qemu:///system tag vm:one '
both_complete 'virtnestctl --connect "qemu:///session" tag ' 'virtnestctl --connect "qemu:///session" tag ours1 '
# What a shell would run, or read otherwise, it is kept from, however its name was begun.
for shell in bash zsh; do
    for name in "${nasty[@]}"; do
        for quote in '' \" \'; do
            begin=$quote${name:0:2}
            [[ -n $quote ]] || printf -v begin %q "$begin"
            # What has the quote in it bash does not offer there, and "!" neither.
            case $shell$quote$name in
            bash\"*[\"!]* | bash\'*\'*) completes bash "virtnestctl show $begin" "virtnestctl show $begin" ;;
            *) runs $shell "virtnestctl show $begin" "$name" ;;
            esac
        done
    done
    runs $shell 'virtnestctl show "pwn \$(to' "${nasty[0]}"
    runs $shell 'virtnestctl show pwn\ \$\(to' "${nasty[0]}"
    runs $shell 'virtnestctl show pwn" \$(to' "${nasty[0]}"
    completes $shell 'virtnestctl render fi' 'virtnestctl render file\ \$\(touch\ pwned\) '
    completes $shell 'virtnestctl render "fi' 'virtnestctl render "file \$(touch pwned)" '
done
# Alt-* inserts all that is offered, without the quote.
press bash $'virtnestctl show "pw\e*\r\030\020'
[[ $(cat "$folder/ran" 2>&1) == $'<show>\n'"<${nasty[0]}>" && ! -e $here/pwned ]]
result "bash: all that is offered is inserted" $?
press bash $'virtnestctl show "; t\e*\r\030\020'
[[ $(cat "$folder/ran" 2>&1) == $'<show>\n<; touch pwned>' && ! -e $here/pwned ]]
result "bash: all that is offered in a quote is inserted" $?

# Who is asked ----------------------------------------------------------------------------------------------------------

for shell in bash zsh; do
    asks $shell "virtnestctl -H root@node1 --bus=system show we" '--host root@node1 --bus system list --names'
    asks $shell "virtnestctl -c 'qemu+ssh://a b/system' tag ou" 'virsh -q -r -c qemu+ssh://a b/system list --all --name'
done
: >"$folder/dead"
both_complete 'virtnestctl show ou' 'virtnestctl show ours1 '
# These are another host's.
both_complete 'virtnestctl -H node1 show ou' 'virtnestctl -H node1 show ou'

done_testing
