#!/usr/bin/env bash
# What a running VM's vCPUs have counted, as `vmsup stats` shows it: over the channel, without spinning, over the pipes; several vCPUs;
# several who ask at once; a vmproc that does not answer.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

plugin=$BUILD/tests/system/scribbler
snapshot >"$WORK/before"

stats() { # ARGUMENTS…
    timeout $((10 * TIME_FACTOR)) "$VMSUP" stats --runtime-dir "$RUN" "$@"
}

# A number of the table: that of a vCPU in the column of a name.
number() { # VCPU COLUMN
    awk -v vcpu="$1" -v name="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == name) column = i }
        $1 == vcpu && column { print $column }' "$WORK/table"
}

look() {
    stats demo >"$WORK/table"
}

# Asks until the number is above LEAST.
is_above() { # LEAST VCPU COLUMN
    local now
    look || return 1
    now=$(number "$2" "$3")
    [ -n "$now" ] && [ "$now" -gt "$1" ]
}

# Twice: it goes on growing.
grows() { # NAME VCPU COLUMN
    check "$1" wait_until 20 is_above "${4:-0}" "$2" "$3"
    check "$1, and on" wait_until 20 is_above "$(number "$2" "$3")" "$2" "$3"
}

is_zero() { # COLUMN…
    local column
    for column in "$@"; do
        [ "$(number 0 "$column")" = 0 ] || { cat "$WORK/table" && return 1; }
    done
}

waits_suffice() {
    [ "$(($(number 0 ready) + $(number 0 spun) + $(number 0 slept)))" -ge "$(number 0 channel)" ] || { cat "$WORK/table" && return 1; }
}

runs() { # NAME ARGUMENTS-OF-START…
    local name=$1
    shift
    : >"$WORK/console"
    START_SECONDS=120 start -f "$@" </dev/null >"$WORK/console" 2>"$WORK/log" &
    job=$!
    check "$name" wait_until 20 test -s "$WORK/console"
}

stopped() {
    check 'it is stopped' stop --now demo
    wait "$job"
    check 'as asked' grep -q 'demo: stopped by uid 0' "$WORK/log"
}

# --- the channel

runs 'a guest that does nothing but exit' --plugin "$plugin" demo -- busy
grows 'exits over the channel are counted' 0 channel
grows 'writes that are not waited for are' 0 async
check 'each answer was waited for in one way or another' waits_suffice
check 'the pipes carried none' is_zero pipes
check 'the bound of spinning is within its limit' test "$(number 0 spin-ns)" -le 100000
check 'there is one vCPU' test "$(wc -l <"$WORK/table")" = 2

# --- several at once, and none that answers

for ((i = 0; i < 8; i++)); do
    stats demo >"$WORK/table.$i" 2>"$WORK/why.$i" &
    asking[i]=$!
done
failed=0
for ((i = 0; i < 8; i++)); do wait "${asking[i]}" && [ "$(wc -l <"$WORK/table.$i")" = 2 ] || failed=$((failed + 1)); done
check "eight who ask at once are answered, but for $failed" test "$failed" = 0
vmproc=$(pgrep -P "$(cat "$RUN/demo/pid")" -x vmproc)
kill -STOP "$vmproc"
expect_refusal 'a vmproc that does not answer is not waited for long' 75 'demo: its vmproc does not answer: it was waited for 2000 ms' stats demo
expect_refusal 'nor by the next' 75 'demo: its vmproc does not answer' stats demo
expect 'its supervisor has time for others' 0 '^demo *running' list
kill -CONT "$vmproc"
check 'once it goes on, it answers' wait_until 20 look
grows 'with numbers of the moment' 0 channel
stopped
expect_refusal 'a VM that is gone' 69 'demo is not running' stats demo

# --- without spinning, and over the pipes

runs 'one that may not spin' --exit-spin 0 --plugin "$plugin" demo -- busy
grows 'its exits are counted, too' 0 channel
grows 'its waits are slept through' 0 slept
check 'or were over at once' waits_suffice
check 'none is spun through' is_zero spun spun-us spin-ns pipes
stopped

runs 'one that has pipes' --exit-pipes --plugin "$plugin" demo -- busy
grows 'its exits are those of pipes' 0 pipes
grows 'its writes that are not waited for are counted' 0 async
check 'of a channel there is nothing' is_zero channel ready spun slept spin-ns spun-us woken
stopped

# --- several vCPUs

runs 'a guest of microvm'\''s, with three vCPUs' -c 3 --kernel "$BUILD/tests/system/guests/idle" demo
check 'its vCPUs are counted' look
check 'each of them' test "$(awk 'NR > 1 { print $1 }' "$WORK/table" | tr '\n' ' ')" = '0 1 2 '
check 'the first has printed something' test "$(number 0 channel)" -gt 0
stopped

# --- what is refused

expect_refusal 'no name' 64 'usage: vmsup stats' stats
expect_refusal 'two names' 64 'usage: vmsup stats' stats demo other
expect_refusal 'an option that there is not' 64 'usage: vmsup stats' stats --json demo
expect_refusal 'a name that is none' 64 'NAME: \.\./demo: expected a-z' stats ../demo
expect_refusal 'a VM that never was' 69 'other is not running' stats other
check_host 'nothing was left behind' "$WORK/before"
done_testing
