# What the system tests share: TAP, a runtime folder and a range of ids of the test's own, and a snapshot of the host. Sourced.
# shellcheck shell=bash
set -uo pipefail

: "${TREE:?}" "${BUILD:?}" "${VMSUP:?}" "${EXAMPLES:?}"
TIME_FACTOR=${TIME_FACTOR:-1}
export ACTOR=$BUILD/tests/system/actor
LIB_NUMBER=0

# Below /run, since the runtime folder's path is short and root's alone; the ids are apart from those of other tests.
RUN=/run/vmsup-test.$$
FIRST_UID=$((1910000000 + ($$ % 30000) * 64))
WORK=$(mktemp -d)
chmod 0755 "$WORK"
LONG_LIVED=()

lib_clean() {
    local name
    for name in "$RUN"/*/; do
        [ ! -e "${name}pid" ] || timeout 20 "$VMSUP" stop --now --runtime-dir "$RUN" "$(basename "$name")" 2>/dev/null
    done
    [ "${#LONG_LIVED[@]}" = 0 ] || kill -9 "${LONG_LIVED[@]}" 2>/dev/null
    rm -rf "$RUN" "$WORK"
}
trap lib_clean EXIT

# The plan comes last: a script that does not reach its end has none, which is a failure.
done_testing() {
    echo "1..$LIB_NUMBER"
}

ok() { # NAME
    LIB_NUMBER=$((LIB_NUMBER + 1))
    echo "ok $LIB_NUMBER - $1"
}

not_ok() { # NAME WHY…
    LIB_NUMBER=$((LIB_NUMBER + 1))
    local name=$1
    shift
    [ "$#" = 0 ] || printf '%s\n' "$@" | sed 's/^/# /'
    echo "not ok $LIB_NUMBER - $name"
}

skip() { # NAME WHY
    LIB_NUMBER=$((LIB_NUMBER + 1))
    echo "ok $LIB_NUMBER - $1 # SKIP $2"
}

# Passes where the command succeeds; shows what it printed where it does not.
check() { # NAME COMMAND…
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then ok "$name"; else not_ok "$name" "$output"; fi
}

# Waits until a command succeeds; fails after SECONDS (of a plain machine).
wait_until() { # SECONDS COMMAND…
    local end=$((SECONDS + $1 * TIME_FACTOR))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# vmsup start with the test's own runtime folder and ids. In the foreground it lasts as long as the VM: START_SECONDS is for both.
start() { # ARGUMENTS…
    timeout --kill-after=5 $((${START_SECONDS:-30} * TIME_FACTOR)) "$VMSUP" start --runtime-dir "$RUN" --uid-range "$FIRST_UID:64" "$@"
}

stop() { # ARGUMENTS…
    timeout --kill-after=5 $((30 * TIME_FACTOR)) "$VMSUP" stop --runtime-dir "$RUN" "$@"
}

list() {
    timeout $((10 * TIME_FACTOR)) "$VMSUP" list --runtime-dir "$RUN"
}

# Processes of the test's VMs: those under its ids, and supervisors that name its runtime folder.
processes() {
    local pid uid
    # But for the last of a dead supervisor's children, which init reaps when it comes to it.
    # A process may end before it is looked at: cat goes on then, which not every awk does.
    cat /proc/[0-9]*/status 2>/dev/null |
        awk -v first="$FIRST_UID" '/^State:/ { state = $2 } /^Pid:/ { pid = $2 } /^PPid:/ { parent = $2 }
            /^Uid:/ && $2 >= first && $2 < first + 64 && state parent != "Z1" { print pid, $2 }' | while read -r pid uid; do
        echo "process $pid uid $uid $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null)"
    done
    grep -lszxF -e "$RUN" /proc/[0-9]*/cmdline | while IFS=/ read -r _ _ pid _; do
        case $(cat "/proc/$pid/comm" 2>/dev/null) in vmsup*) echo "process $pid supervisor" ;; esac
    done
}

# Every descriptor on the host, whoever has it, that leads into the test's runtime folder, is a socket bound there, or locks an id of the
# test's. (A VM's others go with its processes: these are those that could be kept by another's.)
descriptors() {
    find /proc/[0-9]*/fd -lname "$RUN/*" -printf 'descriptor %p %l\n' 2>/dev/null
    grep -F " $RUN/" /proc/net/unix | sed 's/.* /socket /'
    awk -v first="$FIRST_UID" '$2 == "OFDLCK" && $(NF - 1) >= first && $(NF - 1) < first + 64 { print "lock of id", $(NF - 1) }' /proc/locks
}

# The host as far as a VM could change it: equal before and after. The last reasons may stay.
snapshot() {
    processes
    descriptors
    ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/link \1/'
    cut -d' ' -f3- /proc/self/mountinfo | sed 's/^/mount /' | sort
    find /sys/fs/cgroup -type d -path "*/vmsup/*@${RUN:1:3}-${RUN:5}" 2>/dev/null | sed 's/^/cgroup /' | sort
    find "$RUN" -mindepth 1 -path "$RUN/.last" -prune -o -mindepth 1 -print 2>/dev/null | sort
    ! type nft >/dev/null 2>&1 || nft list tables 2>/dev/null | sed 's/^/nft /'
}

# What was there before is there again, soon.
same_as() { # FILE
    snapshot >"$WORK/snapshot.now"
    cmp -s "$1" "$WORK/snapshot.now"
}

check_host() { # NAME FILE
    if wait_until 10 same_as "$2"; then
        ok "$1"
    else
        not_ok "$1" "$(diff "$2" "$WORK/snapshot.now")"
    fi
}

# One line on standard error, with the text; the exit code; nothing on standard output; no bare number for an error.
expect_refusal() { # NAME EXIT-CODE REGEX COMMAND…
    local name=$1 code=$2 regex=$3 status=0 lines
    shift 3
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    # What such a build says of itself before anything else is no part of the refusal.
    [ "${SANITIZED:-0}" != 1 ] || sed -i '/this build has sanitizers/d' "$WORK/err"
    lines=$(wc -l <"$WORK/err")
    if [ "$status" != "$code" ]; then
        not_ok "$name" "exit code $status, expected $code:" "$(cat "$WORK/err")"
    elif [ "$lines" != 1 ]; then
        not_ok "$name" "$lines lines, expected one:" "$(cat "$WORK/err")"
    elif ! grep -qE -e "$regex" "$WORK/err"; then
        not_ok "$name" "expected /$regex/:" "$(cat "$WORK/err")"
    elif grep -qiE 'errno|error -?[0-9]|: -[0-9]+$' "$WORK/err"; then
        not_ok "$name" "a bare number:" "$(cat "$WORK/err")"
    elif [ -s "$WORK/out" ]; then
        not_ok "$name" "on standard output:" "$(cat "$WORK/out")"
    else
        ok "$name"
    fi
}

# The exit code, which is a regular expression, and a text in what was printed.
expect() { # NAME EXIT-CODE REGEX COMMAND…
    local name=$1 code=$2 regex=$3 status=0
    shift 3
    "$@" >"$WORK/both" 2>&1 </dev/null || status=$?
    if [[ $status =~ ^($code)$ ]] && grep -qE -e "$regex" "$WORK/both"; then
        ok "$name"
    else
        not_ok "$name" "exit code $status, expected $code; expected /$regex/ in:" "$(cat "$WORK/both")"
    fi
}
