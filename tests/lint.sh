#!/usr/bin/env bash
# Looks at every C file with clang-tidy and cppcheck, and at every script with shellcheck where that is installed: one test a file. What cppcheck
# has to say about the tests' own leaks at their ends is of no interest.
set -uo pipefail
cd "${TREE:?}" || exit 1
: "${BUILD:?}"

# clang-tidy sees what the compiler sees; guests' sources are not C.
flags=(-std=gnu17 -D_GNU_SOURCE -I. "-I$BUILD/gen" -Iplugin "-I$BUILD/plugin/examples" "-I$BUILD/tests/conformance")
overlay=(-DLIBBSD_OVERLAY -DLIBBSD_NETBSD_VIS -isystem /usr/include/bsd)
mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.c' 2>/dev/null | sort -u | while read -r f; do
    [ ! -e "$f" ] || echo "$f"; done)
[ "${#sources[@]}" -gt 0 ] || mapfile -t sources < <(find common proto policy jail supervisor vmproc plugin tests -name '*.c' | sort)
mapfile -t scripts < <(grep -lE '^#!/(usr/)?bin/(env )?(ba)?sh' -r .ci tools tests policy 2>/dev/null | sort)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The analyzer does not know that an assertion of cmocka's does not come back.
tidy() { # SOURCE
    local checks='' used=("${flags[@]}")
    case $1 in tests/*) checks='-clang-analyzer-*' ;; esac
    # An author's programs are compiled without our flags.
    case $1 in plugin/examples/* | tests/system/* | tests/conformance/*) ;; *) used+=("${overlay[@]}") ;; esac
    clang-tidy --quiet --checks="$checks" "$1" -- "${used[@]}" >"$folder/${1//\//_}.tidy" 2>&1
    echo $? >"$folder/${1//\//_}.tidy.status"
}

check() { # SOURCE
    cppcheck --quiet --std=c11 --enable=warning,portability,performance --inline-suppr --suppress=missingIncludeSystem \
        --suppress='*:/usr/include/*' --library=posix --library=gnu --library=bsd --error-exitcode=1 --max-configs=1 \
        --platform=unix64 -D__x86_64__=1 -D__linux__=1 -D_GNU_SOURCE -DPROTOBUF_C_VERSION_NUMBER=1004000 \
        -DPROTOBUF_C_MIN_COMPILER_VERSION=1000000 -I. "-I$BUILD/gen" -I/usr/include/bsd -Iplugin "$1" \
        >"$folder/${1//\//_}.check" 2>&1
    echo $? >"$folder/${1//\//_}.check.status"
}

export -f tidy check
export folder BUILD

# Arrays are not exported: each worker takes the flags from a file.
declare -p flags overlay >"$folder/flags"
printf '%s\n' "${sources[@]}" |
    xargs -P "$(nproc)" -I{} bash -c 'source "$folder/flags"; tidy "$1"; case $1 in tests/*) ;; *) check "$1" ;; esac' - {}

number=0
report() { # NAME STATUS-FILE OUTPUT
    number=$((number + 1))
    if [ "$(cat "$2" 2>/dev/null)" = 0 ]; then
        echo "ok $number - $1"
    else
        sed 's/^/# /' "$3"
        echo "not ok $number - $1"
    fi
}

shell=0
! type shellcheck >/dev/null 2>&1 || shell=${#scripts[@]}
tests_only=$(printf '%s\n' "${sources[@]}" | grep -c '^tests/')
echo "1..$((2 * ${#sources[@]} - tests_only + shell))"
for source in "${sources[@]}"; do
    stem=$folder/${source//\//_}
    report "clang-tidy $source" "$stem.tidy.status" "$stem.tidy"
    case $source in tests/*) continue ;; esac
    report "cppcheck $source" "$stem.check.status" "$stem.check"
done
[ "$shell" = 0 ] || for script in "${scripts[@]}"; do
    shellcheck -S warning -e SC1090,SC1091 "$script" >"$folder/script" 2>&1
    echo $? >"$folder/script.status"
    report "shellcheck $script" "$folder/script.status" "$folder/script"
done
