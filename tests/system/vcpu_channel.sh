#!/usr/bin/env bash
# The vCPUs' channels: plugins that write over all of theirs, deaths while the other side sleeps or spins, and what an idle VM costs.
# shellcheck source=tests/system/lib.sh
source "$(dirname "$0")/lib.sh"

plugin=$BUILD/tests/system/scribbler
scribbling=60
if [ "${SANITIZED:-0}" = 1 ] || [ "$TIME_FACTOR" -gt 1 ]; then scribbling=15; fi
snapshot >"$WORK/before"

child_of() { # ROLE
    local child
    for child in $(pgrep -P "$running_supervisor"); do
        case $1/$(cat "/proc/$child/comm") in
        vmproc/vmproc) echo "$child" ;;
        vmproc/* | plugin/vmproc) ;;
        plugin/*) echo "$child" ;;
        esac
    done
}

said() { # TEXT
    grep -qx "$1" "$WORK/console"
}

is_over() {
    ! kill -0 "$job" 2>/dev/null
}

# A VM in the foreground, whose supervisor is $running_supervisor.
launch() { # ARGUMENTS-OF-START…
    : >"$WORK/console"
    START_SECONDS=120 start -f "$@" </dev/null >"$WORK/console" 2>"$WORK/log" &
    job=$!
}

runs() { # NAME ARGUMENTS-OF-START…
    local name=$1
    shift
    launch "$@"
    check "$name" wait_until 20 said runs
    running_supervisor=$(cat "$RUN/demo/pid")
}

ended() { # NAME EXIT-CODE REGEX
    local status=0
    wait "$job" || status=$?
    if [[ $status =~ ^($2)$ ]] && tail -n 1 "$WORK/log" | grep -qE -e "$3"; then
        ok "$1"
    else
        not_ok "$1" "exit code $status, expected $2; expected /$3/ in:" "$(cat "$WORK/log")"
    fi
}

milliseconds() {
    echo $((${EPOCHREALTIME/[.,]/} / 1000))
}

# --- scribbling, from another beginning each time

scribbles_or_is_over() {
    said scribbles || is_over
}

wrong=0 count=0
declare -A seen
end=$((SECONDS + scribbling))
while { [ "$SECONDS" -lt "$end" ] || [ "$count" -lt 16 ]; } && [ "$wrong" = 0 ]; do
    count=$((count + 1))
    launch --grace $((5000 * TIME_FACTOR)) --plugin "$plugin" demo -- scribble $((SECONDS % 1000 * 1000000 + count))
    wait_until 20 scribbles_or_is_over
    lived=$((SECONDS + 2))
    until is_over || [ "$SECONDS" -gt "$lived" ]; do sleep 0.05; done
    is_over || stop --now demo 2>>"$WORK/log"
    status=0
    wait "$job" || status=$?
    # The guest's own ends, since it is given registers at random; KVM's, likewise; the plugin's protocol; and being stopped.
    case $status in
    103 | 105 | 106 | 107 | 108 | 113) seen[$status]=$((${seen[$status]:-0} + 1)) ;;
    *)
        wrong=1
        not_ok "VM $count of a plugin that scribbles" "exit code $status:" "$(cat "$WORK/log")" "$(head "$WORK/console")"
        ;;
    esac
done
for status in "${!seen[@]}"; do echo "# $count VMs: exit code $status ${seen[$status]} times"; done
check 'whatever a plugin writes into its channel, its VM ends with a reason, or is stopped' test "$wrong" = 0
check 'some of them broke the protocol' test "${seen[108]:-0}" -gt 0
check 'and some lived on' test "${seen[113]:-0}" -gt 0
check_host 'nothing was left behind by any of them' "$WORK/before"

# --- deaths

has_failed() { # PID
    grep -qx failed "/proc/$1/comm"
}

# Waits for it, and says how long it took.
at_once() { # NAME COMMAND…
    local name=$1 before took
    shift
    before=$(milliseconds)
    check "$name" wait_until 10 "$@"
    took=$(($(milliseconds) - before))
    check "$name at once: after $took ms" test "$took" -lt $((2000 * TIME_FACTOR))
}

dies() { # NAME ROLE EXIT-CODE REGEX ARGUMENTS-OF-START…
    local name=$1 role=$2 code=$3 reason=$4
    shift 4
    runs "$name: it runs" "$@"
    kill -KILL "$(child_of "$role")"
    at_once "$name: it ends" is_over
    ended "$name: with its reason" "$code" "$reason"
}

# The supervisor, which would end the plugin, does nothing meanwhile.
fails() { # NAME ARGUMENTS-OF-START…
    local name=$1 pid
    shift
    runs "$name: it runs" --disable-sandbox "$@"
    pid=$(child_of plugin)
    kill -STOP "$running_supervisor"
    kill -KILL "$(child_of vmproc)"
    at_once "$name: its wait fails" has_failed "$pid"
    kill -CONT "$running_supervisor"
    check "$name: it ends" wait_until 10 is_over
    ended "$name: with its reason" 111 'vmproc'
    check "$name: the wait said why" said 'Broken pipe'
}

# It is asleep on its pipe; mostly on the futex; and it spins.
for how in 'idle 100' 'busy 0' 'busy 10000'; do
    read -r part spin <<<"$how"
    dies "vmproc killed, a jailed plugin that is $part, spin $spin" vmproc 111 'vmproc' \
        --exit-spin "$spin" --plugin "$plugin" demo -- "$part"
    fails "vmproc killed, a plugin without a jail that is $part, spin $spin" --exit-spin "$spin" --plugin "$plugin" demo -- "$part"
done
# vmproc is in the guest, or waits for the plugin, asleep or spinning.
for how in 'idle 100' 'busy 0' 'busy 10000' 'hold 0' 'hold 10000'; do
    read -r part spin <<<"$how"
    dies "a plugin killed that is $part, spin $spin" plugin 101 'plugin died of signal 9' --exit-spin "$spin" --plugin "$plugin" demo -- "$part"
done
check_host 'nothing was left behind by deaths' "$WORK/before"

# --- an idle VM

ticks() {
    local pid
    for pid in "$running_supervisor" "$(child_of vmproc)" "$(child_of plugin)"; do
        sed 's/.*) //' "/proc/$pid/task"/*/stat
    done | awk '{ sum += $12 + $13 } END { print sum }'
}

is_quiet() {
    local before
    before=$(ticks)
    sleep 1
    [ "$(ticks)" = "$before" ]
}

runs 'an idle VM runs' --plugin "$plugin" demo -- idle
check 'it comes to rest' wait_until 10 is_quiet
before=$(ticks)
sleep 10
after=$(ticks)
check "and takes no time of any processor in ten seconds: $((after - before)) ticks" test $((after - before)) -le 2
check 'it is stopped' stop --now demo
ended 'as asked' 113 'stopped by'
check_host 'nothing was left behind by it' "$WORK/before"
done_testing
