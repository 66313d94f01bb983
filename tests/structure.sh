#!/usr/bin/env bash
# What the tree promises about itself: which folder may include which, how long a file may be, that headers say what they are
# for, that the manual has every option and every function.
set -uo pipefail
cd "${TREE:?}" || exit 1

number=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Passes when the check, whose output names what is wrong, printed nothing.
check() { # NAME COMMAND…
    local name=$1
    shift
    number=$((number + 1))
    "$@" >"$log" 2>&1 || echo "the check itself failed with $?" >>"$log"
    if [ -s "$log" ]; then
        sed 's/^/# /' "$log"
        echo "not ok $number - $name"
    else
        echo "ok $number - $name"
    fi
}

c_files() { # FOLDER…
    local folder
    for folder in "$@"; do find "$folder" -name '*.[chS]'; done | sort
}

# A file may include from the top by folder, or by a plain name what is generated or what an author of plugins has.
check_includes() { # FOLDER 'ALLOWED FOLDERS' 'ALLOWED PLAIN NAMES'
    local file include folder
    while read -r file; do
        while read -r include; do
            folder=${include%/*}
            [ "$folder" != "$include" ] || folder="plain:$include"
            case " $2 $(printf ' plain:%s' $3) " in
            *" $folder "*) ;;
            *) echo "$file includes \"$include\"" ;;
            esac
        done < <(sed -n 's/^ *# *include  *"\([^"]*\)".*/\1/p' "$file")
    done < <(c_files "$1")
}

check_length() {
    local file lines
    while read -r file; do
        lines=$(wc -l <"$file")
        [ "$lines" -lt 500 ] || echo "$file has $lines lines"
    done < <(c_files $folders tests; find tests tools .ci policy -name '*.sh' -o -path '*/bed/*' -type f -o -name run -type f)
}

check_headers() {
    local file
    while read -r file; do
        awk -v file="$file" '
            NR == 1 && !/^\/\*/ { print file ": does not open with a paragraph"; exit }
            { length_of_it += length($0) }
            /\*\/$/ { if (length_of_it < 30) print file ": its paragraph says too little"; exit }' "$file"
        grep -q '^#ifndef VMSUP_\|^#ifndef CROSVM_\|^#ifndef _*CROSVM' "$file" || echo "$file has no include guard of ours"
    done < <(c_files $folders tests | grep '\.h$')
}

# Written so that this line does not find itself.
check_leftovers() {
    grep -rnE 'TO''DO|FIX''ME|XX''X[^X]|HACK''[^A-Z]' $folders tests man Makefile tools README.md ARCHITECTURE.md |
        grep -v -e 'mktemp' -e 'mkdtemp' -e 'mkstemp' -e '/corpus/' -e XXX''XXX -e structure.sh
    return 0
}

check_manual() {
    local page
    for page in vmsup.8 vmsup-policy.5 vmsup-plugin.3 vmsup-plugin.7; do
        [ -s "man/$page" ] || echo "there is no man/$page"
    done
    mandoc -Tlint man/*.[1-9] 2>&1 | grep -v -e 'referenced manual not found' -e 'outdated mandoc.db'
    return 0
}

# The synopsis of the long options is a table in one file; the manual writes them as "Fl -name".
check_manual_options() {
    local option found=0
    while read -r option; do
        found=1
        grep -qE "Fl ([a-z] , )?-$option( |\$)" man/vmsup.8 || echo "man/vmsup.8 does not have --$option"
    done < <(grep -hoE '\{ *"[a-z][a-z-]+", *(required_argument|no_argument|optional_argument)' supervisor/*.c |
        sed 's/^[^"]*"\([^"]*\)".*/\1/' | sort -u)
    [ "$found" = 1 ] || echo "no option was found in supervisor/"
}

# The codes of supervisor/exit_codes.h, each an item of the manual's, and no other from 100 on.
check_manual_codes() {
    diff <(sed -n 's/^ *EXIT_[A-Z_]* = \([0-9]*\),.*/\1/p' supervisor/exit_codes.h | sort -n) \
        <(sed -n 's/^\.It \(0\|1[0-9][0-9]\)$/\1/p' man/vmsup.8 | sort -n)
}

check_manual_functions() {
    local name found=0
    while read -r name; do
        found=1
        grep -qE "(Fn|Fo|Nm) $name( |\$)" man/vmsup-plugin.3 || echo "man/vmsup-plugin.3 does not have $name"
    done < <(grep -oE '\bvmsup_[a-z0-9_]+\(' plugin/vmsup-plugin.h | tr -d '(' | sort -u)
    [ "$found" = 1 ] || echo "no function was found in plugin/vmsup-plugin.h"
}

# What is shown of the adder is in it, but for how its lines are broken. The walk ends where it is built.
check_manual_quotes() {
    local block found=0 source
    source=$(cat plugin/examples/adder.c plugin/examples/adder_guest.S | tr -s ' \t\n' ' ')
    while read -r block; do
        found=$((found + 1))
        [[ $source == *"${block% }"* ]] || echo "man/vmsup-plugin.7 quotes what is not in the adder: $block"
    done < <(sed '/^\.Ss Building/,$d' man/vmsup-plugin.7 | sed -n '/^\.Bd -literal/,/^\.Ed/p' | sed 's/\\e/\\/g' |
        awk '/^\.Bd/ { block = ""; next } /^\.Ed/ { gsub(/[ \t]+/, " ", block); print block; next } { block = block $0 " " }')
    [ "$found" -ge 8 ] || echo "man/vmsup-plugin.7 quotes the adder $found times only"
}

check_top() {
    local entry
    for entry in */; do
        case ${entry%/} in
        common | jail | man | plugin | policy | proto | supervisor | tests | tools | vmproc | build | build-*) ;;
        *) echo "unexpected folder $entry" ;;
        esac
    done
}

check_scripts() {
    local file
    grep -rlE '^#!/' --exclude-dir=corpus .ci tools tests policy | while read -r file; do
        [ -x "$file" ] || echo "$file is not executable"
    done
}

# As authors have them: strict C11, and C++.
check_public_headers() {
    local header
    for header in vmsup-plugin.h crosvm.h; do
        echo "#include <$header>" | cc -std=c11 -Wall -Wextra -Wpedantic -Werror -Iplugin -fsyntax-only -x c - 2>&1
        echo "#include <$header>" | clang -std=c++11 -Wall -Wextra -Werror -Iplugin -fsyntax-only -x c++ - 2>&1
    done
    # Every name of ours has one of the original's, but for grants and coalesced writes, which that does not know; and every one of those is made of a name that there is.
    diff <(cc -fpreprocessed -dD -E -P -x c plugin/vmsup-plugin.h 2>/dev/null | grep -oE '\<(vmsup|VMSUP_[A-Z]|vmsup_[a-z])[A-Za-z0-9_]*' |
        grep -vx -e VMSUP_PLUGIN_H -e VMSUP_ASSERT_SIZE -e vmsup_granted_fd -e vmsup_coalesce_range | sort -u) \
        <(awk '$1 == "#define" && NF == 3 {
            if (tolower(substr($2, 8)) != tolower(substr($3, 7))) print $2, "is", $3
            print $3 }' plugin/crosvm.h | sort -u)
}

folders='common proto policy jail supervisor vmproc plugin'
echo "1..19"
check 'common includes nothing of ours but common' check_includes common 'common' ''
check 'proto includes common' check_includes proto 'common proto' 'plugin.pb-c.h control.pb-c.h'
check 'policy includes common, proto' check_includes policy 'common proto policy' 'policy_constants.h'
check 'jail includes common, proto, policy' check_includes jail 'common proto policy jail' ''
check 'supervisor includes common, proto, policy, jail' check_includes supervisor 'common proto policy jail supervisor' 'build_id.h'
check 'vmproc includes common, proto' check_includes vmproc 'common proto vmproc' 'build_id.h'
check 'plugin/lib includes common, proto' check_includes plugin/lib 'common proto plugin plugin/lib plugin/lib/crosvm' \
    'vmsup-plugin.h crosvm.h'
check 'plugin/examples include what authors have' check_includes plugin/examples 'plugin/examples' \
    "vmsup-plugin.h crosvm.h $(cd plugin/examples && echo *.h)"
check 'files are shorter than 500 lines' check_length
check 'headers open with a paragraph' check_headers
check 'nothing was left for later' check_leftovers
check 'the manual pages are there and in order' check_manual
check 'vmsup(8) has every option' check_manual_options
check 'vmsup(8) has every exit code' check_manual_codes
check 'vmsup-plugin(3) has every function' check_manual_functions
check 'vmsup-plugin(7) quotes the adder as it is' check_manual_quotes
check 'the public headers are C11 and C++' check_public_headers
check 'the folders are the known ones' check_top
check 'scripts are executable' check_scripts
